/* SPDX-License-Identifier: Apache-2.0 */
/* A history: what clients asked, when, and what they were told, for checkers to judge. Kept in
 * memory, and written to and read from JSON lines.
 *
 * It consists of transactions over two kinds of key, which may meet in one transaction: lists,
 * which are only ever appended to, and registers, which are overwritten. Every value is unique in
 * its key. A scan is a read of every key that lies in its range, those it did not show being
 * absent.
 *
 * Times are of one clock that all clients share. A transaction's outcome is OK only if the client
 * was told that it committed, FAIL only if it was told that it certainly did not; in doubt INFO.
 *
 * The format, a line a transaction, in any order; blank lines and those that start with # are
 * skipped, and so are members that are not named here:
 *
 *   {"txn": 17, "process": 3, "invoke_ns": 1200, "complete_ns": 1950, "status": "ok",
 *    "ops": [["r","x",[1,2]], ["append","x",3], ["r","y",[]], ["r","z",7], ["w","z",8]],
 *    "start_ts": 88, "commit_ts": 91, "isolation": "strict", "final": false}
 *
 * [] is an absent key, null in its place a read whose result never came; complete_ns is null in
 * doubt. Lines of two other kinds may stand among these: sim/single.h, sim/bank.h. Of two lines
 * with the same "txn" the later one counts: a client that may die writes the first before it
 * commits, with status "info". */
#ifndef LW_HISTORY_H
#define LW_HISTORY_H

#include "base/bytes.h"
#include "base/hash.h"
#include "sim/bank.h"
#include "sim/single.h"

typedef enum lw_outcome { LW_OUTCOME_OK, LW_OUTCOME_FAIL, LW_OUTCOME_INFO } lw_outcome;

typedef enum lw_history_kind {
    LW_HISTORY_READ,
    LW_HISTORY_APPEND, /* to a list */
    LW_HISTORY_WRITE,  /* of a register */
} lw_history_kind;

/* One operation of a transaction, in program order. */
typedef struct lw_history_op {
    lw_history_kind kind;
    uint32_t key;
    uint64_t value;         /* append, write */
    const uint64_t *values; /* read: what the list held; of a register one, or none if absent */
    uint32_t value_count;
    bool unknown; /* read: its result never came */
    struct lw_history_op *next;
} lw_history_op;

typedef struct lw_history_txn {
    uint32_t number; /* from zero, in the order they were begun */
    uint64_t id;     /* as the file names it; else the number */
    uint32_t process;
    uint64_t invoke_ns, complete_ns; /* complete: 0 when in doubt */
    lw_outcome outcome;
    bool strict;                                /* its isolation; else snapshot */
    bool final;                                 /* reads taken after recovery and quiet */
    uint64_t start_timestamp, commit_timestamp; /* 0: not known */
    uint64_t known_as;                          /* to nodes; 0: not, as far as is known here */
    const char *token;                          /* to ask for the outcome by; NULL: none */
    lw_history_op *ops, *last_op;
    struct lw_history_txn *next;
} lw_history_txn;

typedef struct lw_history_key {
    lw_map_node node;
    lw_bytes name;
    uint32_t number;
    bool is_list, is_register; /* neither: only ever read, and absent */
} lw_history_key;

typedef struct lw_history {
    lw_arena arena;
    lw_history_txn *txns, *last_txn;
    uint32_t txn_count;
    lw_map names;
    lw_history_key **keys; /* by number */
    uint32_t key_count, key_capacity;
    lw_singles singles;
    lw_bank bank;
} lw_history;

static inline lw_history lw_history_in(lw_memory *memory) {
    return (lw_history){.arena = lw_arena_in(memory),
                        .names = lw_map_in(memory),
                        .singles = lw_singles_in(memory),
                        .bank = lw_bank_in(memory)};
}
void lw_history_reset(lw_history *history);
/* The number of the key with this name, which is a new one if there is none yet. */
uint32_t lw_history_key_of(lw_history *history, lw_bytes name);
/* A transaction begins; until it is told otherwise its outcome is INFO. */
lw_history_txn *lw_history_begin(lw_history *history, uint32_t process, bool strict,
                                 uint64_t invoke_ns);
/* Elements are copied. A count of 0 is a list that does not exist. */
void lw_history_read_list(lw_history *history, lw_history_txn *txn, uint32_t key,
                          const uint64_t *elements, uint32_t element_count);
/* `value` NULL: the register is absent. */
void lw_history_read_register(lw_history *history, lw_history_txn *txn, uint32_t key,
                              const uint64_t *value);
void lw_history_append(lw_history *history, lw_history_txn *txn, uint32_t key, uint64_t element);
void lw_history_write(lw_history *history, lw_history_txn *txn, uint32_t key, uint64_t value);
void lw_history_end(lw_history_txn *txn, lw_outcome outcome, uint64_t complete_ns);

/* As JSON lines. */
void lw_history_print(const lw_history *history, lw_buffer *lines);
void lw_history_print_txn(const lw_history *history, const lw_history_txn *txn, lw_buffer *lines);
/* Adds the transactions of JSON lines. LW_INVALID_ARGUMENT names the line and what is wrong with
 * it. */
LW_MUST_USE lw_status lw_history_parse(lw_history *history, lw_bytes lines);

#endif
