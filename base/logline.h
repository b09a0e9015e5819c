/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says to its operator: one logfmt line an event, on standard error in the real world
 * and in the trace in the simulated one. Never secrets, never whole values. */
#ifndef LW_LOGLINE_H
#define LW_LOGLINE_H

#include "base/bytes.h"

struct lw_env;

typedef enum lw_level { LW_LEVEL_DEBUG, LW_LEVEL_INFO, LW_LEVEL_WARN, LW_LEVEL_ERROR } lw_level;

/* Writes `level=info event="replica opened" shard=1 …`. `event` is a constant in plain words;
 * `format` gives logfmt pairs, whose text values are made with lw_logline_quote. NULL: none. */
void lw_logline(struct lw_env *env, lw_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Renders `bytes` for people into `text`: printable ASCII as it is, the rest as \xNN, cut with "…"
 * to fit `size`. Also for keys in error messages. Returns `text`. */
const char *lw_printable(lw_bytes bytes, char *text, size_t size);
/* Room for a key in a message. */
enum { LW_PRINTABLE_SIZE = 96 };

#endif
