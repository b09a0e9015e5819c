/* SPDX-License-Identifier: Apache-2.0 */
/* A history: what clients asked, when, and what they were told, for checkers to judge. Kept in
 * memory, and written as JSON lines. Three kinds of operation: transactions over lists (every
 * appended element is unique in its key), transfers and reads of a bank, reads and writes of
 * registers.
 *
 * Times are of one clock that all clients share. A transaction's outcome is OK only if the client
 * was told that it committed, FAIL only if it was told that it certainly did not; in doubt INFO. */
#ifndef LW_HISTORY_H
#define LW_HISTORY_H

#include "base/bytes.h"

typedef enum lw_outcome { LW_OUTCOME_OK, LW_OUTCOME_FAIL, LW_OUTCOME_INFO } lw_outcome;

/* One read or append of a transaction, in program order. */
typedef struct lw_list_op {
    bool append;
    uint32_t key;
    uint64_t element;         /* append */
    const uint64_t *elements; /* read: what the list held */
    uint32_t element_count;
    bool unknown; /* read: its result never came */
    struct lw_list_op *next;
} lw_list_op;

typedef struct lw_list_txn {
    uint32_t number; /* from zero, in the order they were begun */
    uint32_t process;
    uint64_t invoke_ns, complete_ns; /* complete: 0 when in doubt */
    lw_outcome outcome;
    bool strict;                                /* its isolation; else snapshot */
    bool final;                                 /* reads taken after recovery and quiet */
    uint64_t start_timestamp, commit_timestamp; /* 0: not known */
    lw_list_op *ops, *last_op;
    struct lw_list_txn *next;
} lw_list_txn;

typedef struct lw_history {
    lw_arena arena;
    lw_list_txn *txns, *last_txn;
    uint32_t txn_count;
} lw_history;

static inline lw_history lw_history_in(lw_memory *memory) {
    return (lw_history){.arena = lw_arena_in(memory)};
}
void lw_history_reset(lw_history *history);
/* A transaction begins; until it is told otherwise its outcome is INFO. */
lw_list_txn *lw_history_begin(lw_history *history, uint32_t process, bool strict,
                              uint64_t invoke_ns);
/* Elements are copied. A count of 0 is a list that does not exist. */
void lw_history_read(lw_history *history, lw_list_txn *txn, uint32_t key, const uint64_t *elements,
                     uint32_t element_count);
void lw_history_append(lw_history *history, lw_list_txn *txn, uint32_t key, uint64_t element);
void lw_history_end(lw_list_txn *txn, lw_outcome outcome, uint64_t complete_ns);
/* One line a transaction, as JSON. */
void lw_history_write(const lw_history *history, lw_buffer *lines);

#endif
