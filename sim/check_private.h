/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the checker share: sim/check.c indexes what was written and looks at single
 * transactions, sim/check_append.c and sim/check_register.c at lists and registers. */
#ifndef LW_CHECK_PRIVATE_H
#define LW_CHECK_PRIVATE_H

#include "sim/check.h"
#include "sim/dependency.h"

/* A value of a key, and who wrote it. */
typedef struct check_version {
    lw_map_node node;
    uint32_t key;
    uint64_t value;
    const lw_history_txn *txn;
    bool intermediate; /* its transaction wrote the key again */
    uint32_t position; /* list: its place in the longest read, from 1; 0: it was never read */
    struct check_version *next_of_key; /* the last value of another transaction */
} check_version;

/* One read; of a register only if its value came from outside of its transaction. */
typedef struct check_read {
    const lw_history_txn *txn;
    const lw_history_op *op;
    uint32_t foreign_count; /* values that others wrote; the transaction's own come behind them */
    struct check_read *next_of_key;
} check_read;

typedef struct check_key {
    const check_read *longest; /* list */
    check_read *reads;         /* that make sense, newest first */
    check_version *versions;   /* final values of transactions, newest first */
} check_key;

typedef struct check {
    const lw_history *history;
    lw_buffer *report;
    lw_memory *memory;
    lw_arena arena;
    lw_map versions;
    check_key *keys;
    const lw_history_txn **txns; /* by number */
    bool *committed;             /* by number: for all that is known */
    bool *strict;                /* by node of the graph */
    uint32_t complaints;
    bool unsound; /* reads make no sense, and dependencies would not either */
    lw_dependencies graph;
} check;

/* Reports an anomaly; `detail` may be "". */
void check_complain(check *job, const char *what, const lw_history_txn *txn, uint32_t key,
                    const char *detail);
check_version *check_find(const check *job, uint32_t key, uint64_t value);
/* Whether a value may be read by `txn`: somebody wrote it, did not fail, and left it there. */
bool check_value(check *job, const lw_history_txn *txn, uint32_t key, uint64_t value, bool last);

/* Looks at all reads of a key. Marks who is known to have committed. */
void check_list(check *job, uint32_t key);
void check_register(check *job, uint32_t key);
/* Lost updates, and edges of the graph; once all keys were looked at. */
void check_list_order(check *job, uint32_t key);
void check_register_order(check *job, uint32_t key);

#endif
