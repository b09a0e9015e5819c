/* SPDX-License-Identifier: Apache-2.0 */
/* A line of JSON, read piece by piece. What it holds was written by whoever was recorded, so
 * nothing of it is believed: every function says false once something is wrong, and `problem` says
 * what. */
#ifndef LW_LINE_H
#define LW_LINE_H

#include "base/bytes.h"

typedef struct lw_line {
    const uint8_t *at, *end;
    const char *problem; /* the first one; NULL: none */
} lw_line;

static inline lw_line lw_line_of(lw_bytes text) {
    return (lw_line){.at = text.data, .end = text.data + text.size};
}
/* Notes a problem, unless there is one already; false. */
bool lw_line_problem(lw_line *in, const char *what);
void lw_line_skip_space(lw_line *in);
/* Takes a character, or a word, if it is the next. */
bool lw_line_take(lw_line *in, char wanted);
bool lw_line_take_word(lw_line *in, const char *word);
/* Takes what must be next. */
bool lw_line_want(lw_line *in, char wanted, const char *otherwise);
/* Escapes are left as they are: they are compared, not shown. */
bool lw_line_want_text(lw_line *in, lw_bytes *text);
bool lw_line_want_number(lw_line *in, uint64_t *number);
/* A number that may have a sign. */
bool lw_line_want_signed(lw_line *in, int64_t *number);
/* "ok", "fail" or "info": 0, 1, 2. */
bool lw_line_want_status(lw_line *in, int *status);
/* Passes over any value. */
bool lw_line_skip_value(lw_line *in);
/* Calls member(argument, in, name) for each member of an object, which takes its value. */
bool lw_line_want_object(lw_line *in, bool (*member)(void *argument, lw_line *in, lw_bytes name),
                         void *argument);
/* That nothing is left. */
bool lw_line_want_end(lw_line *in);

#endif
