/* SPDX-License-Identifier: Apache-2.0 */
/* What the tree knows about one user key: the lock on it, and its versions. Shared by the
 * evaluation of reads and of writes; nobody else includes it. */
#ifndef LW_HISTORY_H
#define LW_HISTORY_H

#include "txn/evaluate.h"

/* The lock on a key; views live until the next call. LW_NOT_FOUND if there is none. */
LW_MUST_USE LW_YIELDS lw_status lw_history_lock(lw_evaluation *evaluation, lw_bytes key,
                                                lw_lock_record *lock);

/* The record at exactly this timestamp; views live until the next call. LW_NOT_FOUND if there is
 * none. */
LW_MUST_USE LW_YIELDS lw_status lw_history_at(lw_evaluation *evaluation, lw_bytes key,
                                              uint64_t timestamp, lw_data_record *record);

/* A walk over the versions of one key, newest first; rollback records and marks are met too. */
typedef struct lw_history {
    lw_cursor *cursor; /* NULL after lw_history_version, mostly */
    bool valid;
    uint64_t timestamp;
    lw_data_record record; /* views live until the next step */
} lw_history;
/* To the newest version at or below `timestamp`, and no further: nothing else may be asked of the
 * walk then but to be closed, also after a failure. Cheaper than the walk: versions of a key are
 * written in the order of their timestamps, since each was locked or latched from before its
 * timestamp was settled until it was written, so no table of before the one that is found is
 * looked at (storage/newest.c). Rollback records come in any order. */
LW_MUST_USE LW_YIELDS lw_status lw_history_version(lw_evaluation *evaluation, lw_bytes key,
                                                   uint64_t timestamp, lw_history *history);
/* To the newest record at or below `timestamp`. Always to be closed, also after a failure. */
LW_MUST_USE LW_YIELDS lw_status lw_history_open(lw_evaluation *evaluation, lw_bytes key,
                                                uint64_t timestamp, lw_history *history);
LW_MUST_USE LW_YIELDS lw_status lw_history_next(lw_history *history);
void lw_history_close(lw_history *history);
/* Reads the record under a cursor of data records. */
LW_MUST_USE lw_status lw_history_decode(const lw_cursor *cursor, uint64_t *timestamp,
                                        lw_data_record *record);

/* Whether a version gives its value to a reader at `timestamp`. */
bool lw_history_gives(const lw_evaluation *evaluation, const lw_data_record *record,
                      uint64_t timestamp);
/* Holds a version that was seen at `seen` against the commit: LW_CONFLICT if it expired in between,
 * as far as that can be told when `commit_timestamp` is UINT64_MAX, which says that it is not known
 * yet; see lw_evaluation.valid_until. */
LW_MUST_USE lw_status lw_history_outlasts(lw_evaluation *evaluation, lw_bytes key, uint64_t expires,
                                          uint64_t start, uint64_t seen, uint64_t commit_timestamp);

static inline bool lw_history_is_version(lw_record_kind kind) {
    return kind == LW_RECORD_PUT || kind == LW_RECORD_DELETE;
}

/* What became of a transaction at a key, and the newest version that others put there. */
typedef struct lw_account {
    uint64_t committed; /* when the transaction committed here; 0: it did not */
    bool rolled_back;   /* it never will */
    uint64_t newest;    /* the newest version of another; 0: none above `since` */
    uint64_t newest_start;
    uint64_t expires, expiring_start; /* when the version at or below `since` does, and whose it is;
                                         0: never, or `newest` is known */
} lw_account;
/* Looks at everything at or above `start`, and at versions above `since`, and the one below. */
LW_MUST_USE LW_YIELDS lw_status lw_history_account(lw_evaluation *evaluation, lw_bytes key,
                                                   uint64_t start, uint64_t since,
                                                   lw_account *account);

/* LW_TOO_OLD if what the transaction left may have been forgotten. */
LW_MUST_USE lw_status lw_history_known(const lw_evaluation *evaluation, lw_bytes key,
                                       uint64_t start);

/* ---- atomic mutations: txn/atomic.h against what the key has ----------------------------------
 */

/* What the mutation comes to if it is carried out now, and what it then did. Both live in the
 * arena. It commits at `earliest` or later; a value that expires is there if it still is at
 * `earliest`, and lowers valid_until. Fails as lw_atomic_apply. */
LW_MUST_USE LW_YIELDS lw_status lw_history_become(lw_evaluation *evaluation,
                                                  const lw_mutation *mutation, uint64_t earliest,
                                                  lw_mutation *becomes, lw_commit_result *result);
/* The same on top of what the transaction itself is about to write. LW_INVALID_ARGUMENT also if
 * nobody knows yet what that is. */
LW_MUST_USE lw_status lw_history_become_own(lw_evaluation *evaluation, const lw_mutation *mutation,
                                            const lw_lock_record *lock, lw_mutation *becomes);
/* What the mutation did when its transaction committed at `committed`. */
LW_MUST_USE LW_YIELDS lw_status lw_history_became(lw_evaluation *evaluation,
                                                  const lw_mutation *mutation, uint64_t start,
                                                  uint64_t committed, lw_commit_result *result);

/* For how long others may not roll the lock back; 0: they may. */
static inline uint64_t lw_lock_remaining_ms(const lw_lock_record *lock, uint64_t now) {
    return lock->expires > now ? lw_timestamp_ms(lock->expires - now) + 1 : 0;
}

/* ---- obstacles: each returns LW_CONFLICT ---------------------------------------------------- */

LW_MUST_USE lw_status lw_obstacle_lock(lw_evaluation *evaluation, lw_bytes key,
                                       const lw_lock_record *lock);
LW_MUST_USE lw_status lw_obstacle_newer(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                                        uint64_t start);
LW_MUST_USE lw_status lw_obstacle_expired(lw_evaluation *evaluation, lw_bytes key, uint64_t expires,
                                          uint64_t start);
LW_MUST_USE lw_status lw_obstacle_rolled_back(lw_evaluation *evaluation, lw_bytes key,
                                              uint64_t start);

#endif
