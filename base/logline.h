/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says to its operator: one logfmt line an event, on standard error in the real world,
 * behind `time=` in universal time, and in the trace in the simulated one. Never secrets, never
 * whole values. */
#ifndef LW_LOGLINE_H
#define LW_LOGLINE_H

#include "base/bytes.h"

struct lw_env;

typedef enum lw_level { LW_LEVEL_DEBUG, LW_LEVEL_INFO, LW_LEVEL_WARN, LW_LEVEL_ERROR } lw_level;

enum { LW_LOGLINE_SIZE = 1024 }; /* bytes, with the closing zero; a longer line is cut with "…" */

/* Writes `level=info event="replica opened" shard=1 …`. `event` is a constant in plain words;
 * `format` gives logfmt pairs, whose text values go through lw_printable and stand between double
 * quotes. NULL: none. Control characters that come along all the same are written as "?". */
void lw_logline(struct lw_env *env, lw_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Renders `bytes` for people into `text`: printable ASCII as it is, but `"` and `\` with a
 * backslash before them, the rest as \xNN; cut with "…", between two of these, to fit `size`, which
 * counts the closing zero and is at least 4. Also for keys in error messages. Returns `text`. */
const char *lw_printable(lw_bytes bytes, char *text, size_t size);
/* Room for a key in a message. */
enum { LW_PRINTABLE_SIZE = 96 };

#endif
