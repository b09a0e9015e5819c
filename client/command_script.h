/* SPDX-License-Identifier: Apache-2.0 */
/* The language of `txn` and `shell`: one step a line, words separated by blanks.
 *
 *   get KEY · put KEY VALUE [TIME] · insert KEY VALUE · del KEY... · del-range FROM TO ·
 *   scan PREFIX [COUNT] · add KEY NUMBER · min KEY NUMBER · max KEY NUMBER · append KEY VALUE ·
 *   put-stamped-key PREFIX SUFFIX VALUE ·
 *   expect KEY VALUE · expect-absent KEY · savepoint NAME · rollback-to NAME
 *
 * Words are in the escaped form of command_text.h, and \" is a quote. A word that begins with a
 * double quote goes to the next one, blanks included. An empty line, and one that begins with #, is
 * no step. */
#ifndef LW_COMMAND_SCRIPT_H
#define LW_COMMAND_SCRIPT_H

#include "client/command_text.h"
#include "client/json.h"
#include "client/lathwork.h"

typedef enum lw_step_kind {
    LW_STEP_GET,
    LW_STEP_PUT,
    LW_STEP_INSERT,
    LW_STEP_DEL,
    LW_STEP_DEL_RANGE,
    LW_STEP_SCAN,
    LW_STEP_ADD,
    LW_STEP_MIN,
    LW_STEP_MAX,
    LW_STEP_APPEND,
    LW_STEP_PUT_STAMPED_KEY,
    LW_STEP_EXPECT,
    LW_STEP_EXPECT_ABSENT,
    LW_STEP_SAVEPOINT,
    LW_STEP_ROLLBACK_TO,
} lw_step_kind;

/* Words of a line, decoded; they live in the arena they were read into. */
typedef struct lw_words {
    lw_bytes *words;
    size_t count;
} lw_words;

typedef struct lw_step {
    lw_step_kind kind;
    uint64_t line;   /* from 1 */
    lw_words words;  /* without the first, which named the kind */
    uint64_t limit;  /* SCAN: 0: all */
    uint64_t ttl_ms; /* PUT: 0: it lasts */
    int64_t number;  /* ADD, MIN, MAX */
} lw_step;

/* Takes a line without its newline apart. LW_INVALID_ARGUMENT says what is wrong with it. */
LW_MUST_USE lw_status lw_words_read(lw_bytes line, lw_arena *arena, lw_words *words);
/* The step that the words are. Whether keys and values are within the limits is not its business:
 * the client says. */
LW_MUST_USE lw_status lw_step_read(const lw_words *words, uint64_t line, lw_step *step);

/* Where the answers of steps go: lines, or the elements of an array. */
typedef struct lw_step_answers {
    lw_buffer *out;
    lw_form form;
    bool as_json;
    lw_json json; /* to `out` */
} lw_step_answers;

/* Carries out one step. LW_NOT_FOUND or LW_EXISTS when an expectation or an insert failed; the
 * reason is then in `why`, which is untouched otherwise. */
LW_MUST_USE lw_status lw_step_run(lw_txn *txn, const lw_step *step, lw_step_answers *answers,
                                  lw_error *why);

#endif
