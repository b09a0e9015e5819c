/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the lock table, shared by txn/lock_table.c and txn/lock_cycle.c and nobody else. */
#ifndef LW_LOCK_TABLE_INNER_H
#define LW_LOCK_TABLE_INNER_H

#include "base/hash.h"
#include "txn/lock_table.h"

typedef struct lw_pessimistic_lock {
    lw_map_node node; /* by key */
    lw_bytes key;     /* behind the struct */
    struct lw_lock_holder *owner;
    struct lw_pessimistic_lock *previous, *next; /* of the same owner */
    lw_lock_waiter *first, *last;                /* the queue */
    uint32_t waiter_count;
    bool kept;
    uint64_t since_ns;
    uint64_t walk, walk_number; /* the walk that went through the queue, from this number on */
} lw_pessimistic_lock;

/* A session that has such transactions. */
typedef struct lw_lock_session {
    lw_map_node node; /* by id */
    uint64_t id;
    struct lw_lock_holder *first;
} lw_lock_session;

/* A transaction that has a lock, waits for one, or is watched. */
typedef struct lw_lock_holder {
    lw_map_node node; /* by start */
    uint64_t start;
    struct lw_lock_holder *previous, *next; /* in the order they came */
    lw_lock_session *session;
    struct lw_lock_holder *session_previous, *session_next;
    /* Those that somebody waits for before the others. */
    lw_pessimistic_lock *first_lock, *last_lock;
    lw_lock_waiter *waiters;
    lw_lock_waiter *watchers;   /* linked by `next` */
    uint64_t walk;              /* the walk that met it */
    const lw_lock_waiter *wait; /* ... as it waits, with this, */
    struct lw_lock_holder *of;  /* for this one */
    struct lw_lock_holder *walk_next;
} lw_lock_holder;

enum { LW_LOCK_OVER_MAX = 128 }; /* transactions that are remembered to be over */

struct lw_lock_table {
    lw_env *env;
    lw_memory *memory;
    lw_map locks, holders, sessions;
    lw_lock_holder *first, *last;
    uint32_t waiter_count;
    uint32_t watcher_count;          /* of these */
    uint64_t number, walk;           /* last given */
    size_t bytes;                    /* of locks */
    lw_budget_share share;           /* of them, in steps */
    uint64_t over[LW_LOCK_OVER_MAX]; /* a ring of starts */
    uint32_t over_next;
};

/* Whether the last in its queue, or one that watches, waits for itself in the end; then says how.
 */
bool lw_lock_cycle_closed(lw_lock_table *table, const lw_lock_waiter *waiter, lw_lock_cycle *cycle);

#endif
