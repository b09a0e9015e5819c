/* SPDX-License-Identifier: Apache-2.0 */
/* Pessimistic locks: which transaction has which key to itself until it ends, and who waits for it.
 * In memory only, and so only a hint: a crash or a new leader forgets them, and whoever commits is
 * checked against what was committed meanwhile all the same (hazard T7). Bookkeeping only: who has
 * to wait does so in its waiter's queue.
 *
 * A commit without locks of its own that meets the lock of another waits in the same queue, and
 * then has the key for as long as the command takes (`kept` false): so neither kind starves.
 *
 * Invariants
 * X1. A key has one owner; those who want it get it in the order they asked.
 * X2. There is no cycle of transactions that wait for one another: who would close one is refused.
 *     Waiting for a key means waiting for its owner and for all who asked before.
 * X3. When a session has ended nothing is held or waited for in its name. */
#ifndef LW_LOCK_TABLE_H
#define LW_LOCK_TABLE_H

#include "base/fiber.h"

typedef struct lw_lock_table lw_lock_table;

/* One key that a command wants: in its frame, from the request until it is held or given up. */
typedef struct lw_lock_waiter {
    /* Set before the request. */
    uint64_t start, session;
    lw_bytes key; /* stays as it is */
    bool kept;    /* until the transaction ends, not only for the command */

    lw_queue changed; /* woken when one of these becomes true */
    bool held;
    bool fresh; /* ... and was not before */
    bool cut;   /* the session ended: it will never be held */

    /* The table's. */
    struct lw_pessimistic_lock *lock; /* NULL: not waiting */
    struct lw_lock_holder *holder;
    struct lw_lock_waiter *previous, *next;               /* in the queue of the key */
    struct lw_lock_waiter *holder_previous, *holder_next; /* of the same transaction */
    uint64_t number;                                      /* rises with every request */
} lw_lock_waiter;

typedef enum lw_lock_answer {
    LW_LOCK_HELD,
    LW_LOCK_QUEUED,   /* wait in waiter->changed until it is held or cut */
    LW_LOCK_DEADLOCK, /* waiting would close a cycle; the waiter is not entered */
} lw_lock_answer;

lw_lock_table *lw_lock_table_open(lw_memory *memory);
void lw_lock_table_close(lw_lock_table *table);

/* Asks for a key. With DEADLOCK, `*other` is the transaction that would be waited for, and `cycle`
 * receives a sentence that names them all. */
LW_MUST_USE lw_lock_answer lw_lock_table_request(lw_lock_table *table, lw_lock_waiter *waiter,
                                                 uint64_t *other, lw_buffer *cycle);
/* Gives up waiting. Nothing happens if it is held or cut. */
void lw_lock_table_cancel(lw_lock_table *table, lw_lock_waiter *waiter);

/* Whether another transaction than `start` has the key; says which, and its session. Either may be
 * NULL. */
bool lw_lock_table_foreign(const lw_lock_table *table, uint64_t start, lw_bytes key,
                           uint64_t *owner, uint64_t *session);
/* Frees a key if `start` has it; with `passing`, only if it is not kept. */
void lw_lock_table_release(lw_lock_table *table, uint64_t start, lw_bytes key, bool passing);
/* Frees all keys of a transaction. */
void lw_lock_table_release_all(lw_lock_table *table, uint64_t start);
/* Frees all keys of a session's transactions, and cuts its waiters. */
void lw_lock_table_session_ended(lw_lock_table *table, uint64_t session);
/* Cuts all waiters and frees all keys. */
void lw_lock_table_clear(lw_lock_table *table);

uint32_t lw_lock_table_count(const lw_lock_table *table);
uint32_t lw_lock_table_waiting(const lw_lock_table *table);
/* Asserts that the structure is sound: for tests. */
void lw_lock_table_check(const lw_lock_table *table);

#endif
