/* SPDX-License-Identifier: Apache-2.0 */
/* Pessimistic locks: which transaction has which key to itself until it ends, and who waits for it.
 * In memory only, and so only a hint: a crash or a new leader forgets them, and whoever commits is
 * checked against what was committed meanwhile all the same (hazard T7). Bookkeeping only: who has
 * to wait does so in its waiter's queue. The clock is looked at for what is told to people; nothing
 * is decided by it.
 *
 * A commit without locks of its own that meets the lock of another waits in the same queue, and
 * then has the key for as long as the command takes (`kept` false): so neither kind starves.
 *
 * Who meets a lock in the tree, a commit under way, may watch its transaction: that is no turn in
 * a queue, but a wait like any other where cycles are looked for.
 *
 * Invariants
 * X1. A key has one owner; those who want it get it in the order they asked.
 * X2. There is no cycle of transactions that wait for one another. Waiting for a key means waiting
 *     for its owner and for all who asked before. The victim is who would close the cycle: it has
 *     waited for nothing yet, and the others go on undisturbed.
 * X3. When a session has ended nothing is held or waited for in its name; when a transaction was
 *     ended, nothing in that one's. Of one that is over requests may still come, or go on: they
 *     get nothing either, as far as it is among the last LW_LOCK_OVER_MAX.
 * X4. Nothing costs more than the locks and waiters it is about: neither a transaction's hundred
 *     thousand locks nor a key's ten thousand waiters make a request of another slower.
 * X5. What locks take is charged to the node's budget. Whoever lets transactions have more asks
 *     before whether the table is full; one whose key is locked in the tree by now needs no lock
 *     here any more. */
#ifndef LW_LOCK_TABLE_H
#define LW_LOCK_TABLE_H

#include "base/env.h"
#include "storage/budget.h"

typedef struct lw_lock_table lw_lock_table;

/* One key that a command wants: in its frame, from the request until it is held or given up. */
typedef struct lw_lock_waiter {
    /* Set before the request. */
    uint64_t start, session;
    lw_bytes key; /* stays as it is */
    bool kept;    /* until the transaction ends, not only for the command */

    lw_queue changed; /* woken when one of these becomes true */
    bool held;
    bool fresh;    /* ... and was not before */
    bool cut;      /* its session, or it, was ended: it will never be held */
    bool refused;  /* it waits in a cycle that goes through other nodes, as `why` tells */
    lw_buffer why; /* whoever finds itself refused frees it */

    /* The table's. */
    struct lw_pessimistic_lock *lock; /* in whose queue it is; NULL: in none */
    struct lw_lock_holder *watched;   /* whom it watches; NULL: nobody */
    struct lw_lock_holder *holder;
    struct lw_lock_waiter *previous, *next; /* in the queue of the key, or of those that watch */
    struct lw_lock_waiter *holder_previous, *holder_next; /* of the same transaction */
    uint64_t number;                                      /* rises with every request */
    uint64_t since_ns;                                    /* of lw_env_now */
} lw_lock_waiter;

/* A cycle that was not closed: each transaction waits for its key, which the next one has, or asked
 * for before it; the last one's the first has. Views live until somebody suspends. */
typedef struct lw_lock_step {
    uint64_t start, session;
    lw_bytes key;
} lw_lock_step;
enum { LW_LOCK_CYCLE_MAX = 8 };
typedef struct lw_lock_cycle {
    lw_lock_step steps[LW_LOCK_CYCLE_MAX]; /* the first ones */
    uint32_t step_count;                   /* of these */
    uint32_t length;                       /* of the cycle, 2 or more */
} lw_lock_cycle;

typedef enum lw_lock_answer {
    LW_LOCK_HELD,
    LW_LOCK_QUEUED,   /* wait in waiter->changed until it is held or cut, or it is cut already */
    LW_LOCK_DEADLOCK, /* waiting would close a cycle; the waiter is not entered */
} lw_lock_answer;

/* `budget` outlives it; NULL: none, and it is never full. */
lw_lock_table *lw_lock_table_open(lw_env *env, lw_budget *budget);
void lw_lock_table_close(lw_lock_table *table);

/* Asks for a key. With DEADLOCK `cycle` is filled, the refused transaction first. */
LW_MUST_USE lw_lock_answer lw_lock_table_request(lw_lock_table *table, lw_lock_waiter *waiter,
                                                 lw_lock_cycle *cycle);
/* Waits, as `waiter`, for another transaction to end its commit at waiter->key: QUEUED until `held`
 * says that it did, or DEADLOCK. Who waits so gets nothing by it. */
LW_MUST_USE lw_lock_answer lw_lock_table_watch(lw_lock_table *table, lw_lock_waiter *waiter,
                                               uint64_t other, uint64_t other_session,
                                               lw_lock_cycle *cycle);
/* A transaction's lock on the key is gone from the tree: who watches it for that is told. */
void lw_lock_table_unlocked(lw_lock_table *table, uint64_t start, lw_bytes key);
/* Who waits since before a moment, and for whom: the owner of the key, whoever asked for it just
 * before, or who is watched. At most `limit` of them; views live until somebody suspends. */
typedef struct lw_lock_edge {
    uint64_t waiter, session, holder;
    lw_bytes key;
} lw_lock_edge;
uint32_t lw_lock_table_edges(const lw_lock_table *table, uint64_t before_ns, uint32_t limit,
                             lw_lock_edge *edges);
/* Ends what a transaction waits for: it is refused, for a reason that the table does not look into.
 */
void lw_lock_table_refuse(lw_lock_table *table, uint64_t start, lw_bytes why);
/* Gives up waiting. Nothing happens if it is held or cut. */
void lw_lock_table_cancel(lw_lock_table *table, lw_lock_waiter *waiter);

/* Whether another transaction than `start` has the key; says which, and its session. Either may be
 * NULL. */
bool lw_lock_table_foreign(const lw_lock_table *table, uint64_t start, lw_bytes key,
                           uint64_t *owner, uint64_t *session);
/* Frees a key if `start` has it; with `passing`, only if it is not kept. */
void lw_lock_table_release(lw_lock_table *table, uint64_t start, lw_bytes key, bool passing);
/* The transaction has the key locked in the tree: the lock here is freed, unless somebody waits for
 * it. Who comes from now on gets it, and meets that in the tree. */
void lw_lock_table_hand_over(lw_lock_table *table, uint64_t start, lw_bytes key);
/* Frees all keys of a transaction. */
void lw_lock_table_release_all(lw_lock_table *table, uint64_t start);
/* Frees all keys of a transaction, and cuts its waiters. True if it had a key, or waited for one,
 * that it was to keep: not only for a command. */
bool lw_lock_table_end(lw_lock_table *table, uint64_t start);
/* The same, and the transaction is over: it asks for nothing any more. */
void lw_lock_table_over(lw_lock_table *table, uint64_t start);
/* Frees all keys of a session's transactions, and cuts its waiters. */
void lw_lock_table_session_ended(lw_lock_table *table, uint64_t session);
/* Whether it has any, or waits for any. */
bool lw_lock_table_session_holds(const lw_lock_table *table, uint64_t session);
/* Cuts all waiters and frees all keys. */
void lw_lock_table_clear(lw_lock_table *table);
/* The same of the keys in [lower, upper); an empty bound is none. Who watches is left to look again
 * by itself. Looks at every lock. */
void lw_lock_table_clear_range(lw_lock_table *table, lw_bytes lower, lw_bytes upper);

/* A lock as it is told to people. Views live until somebody suspends. */
typedef struct lw_lock_view {
    lw_bytes key;
    uint64_t start, session; /* of the owner */
    uint64_t since_ns;       /* when it got the key */
    uint32_t waiting;
    const lw_lock_waiter *first; /* of those that wait, in their order */
} lw_lock_view;
/* The first `limit` locks in [lower, upper), in the order of their keys; an empty bound is none.
 * Returns how many there are in `views`. Looks at every lock. */
uint32_t lw_lock_table_page(const lw_lock_table *table, lw_bytes lower, lw_bytes upper,
                            uint32_t limit, lw_lock_view *views);
/* How many watch a transaction for a key; the first `limit` of them, in their order, are put into
 * `watchers`, where they live until somebody suspends. Looks at all that watch it. */
uint32_t lw_lock_table_watchers(const lw_lock_table *table, uint64_t start, lw_bytes key,
                                uint32_t limit, const lw_lock_waiter **watchers);
/* The lock on a key; false if there is none. */
bool lw_lock_table_look(const lw_lock_table *table, lw_bytes key, lw_lock_view *view);

uint32_t lw_lock_table_count(const lw_lock_table *table);
/* Whether locks take an eighth of the budget. */
bool lw_lock_table_full(const lw_lock_table *table);
uint32_t lw_lock_table_waiting(const lw_lock_table *table);
/* Asserts that the structure is sound: for tests. */
void lw_lock_table_check(const lw_lock_table *table);

#endif
