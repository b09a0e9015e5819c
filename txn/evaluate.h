/* SPDX-License-Identifier: Apache-2.0 */
/* What a request means: evaluated against a snapshot of the shard's tree, it gives an answer, an
 * obstacle, or a batch of writes. Percolator's rules, with a transaction of one shard committed in
 * one step. Whoever calls holds the latches (readers: has waited for writers), proposes the batch,
 * and lets go when it is applied; here nothing is written and no clock is read.
 *
 * Invariants
 * E1. A transaction is decided at its primary key, in one step that either writes its commit
 *     record, or makes it impossible by a rollback record (hazards T1, T2); an async commit also by
 *     E6. What is there is never replaced by its opposite; and what is not there any more is taken
 *     for neither (T12).
 * E2. A reader at a timestamp never misses a version that will be committed at or below it: it is
 *     refused while there is a lock that might become one.
 * E3. A request that is repeated, late or reordered finds what its first copy left, and answers the
 *     same or refuses; it never does its work twice (hazard T6).
 * E4. Whoever commits is checked against everything that was committed since it looked: what it
 *     writes, what it locked (locks in memory are hints only, hazard T7), and with strict isolation
 *     all that it read, ranges included (hazard T13).
 * E5. Expiry of locks is judged by the oracle's time (hazard T8); that of values by the timestamp
 * at which they are read, so that a snapshot never changes. To whoever saw a value before it
 *     expired, and commits after, it is as if somebody had deleted it in between.
 * E6. An async commit at C is decided when the last of its keys is locked with C, and holds from
 *     then on, as (hazards T4, T5)
 *       - a key is locked with C only if no read at or above C was answered there, no version at or
 *         above C stands there, and what the transaction read on the shard holds up to C. Who
 *         calls lets readers above C wait from before this is looked at until the lock can be seen
 *         (latch.drawn); every evaluation that answers for what is not there raises the read marks
 *         before anything is looked at: GET and SCAN, LOCK, VALIDATE, and whoever commits what it
 *         read or locked without writing it;
 *       - such a lock stays as it is until the transaction is committed or rolled back there;
 *       - who finds one of the keys not locked, and does not want to wait, leaves a rollback
 * record, so that it never will be;
 *       - CHECK never rolls back an async primary: that takes one of the keys as a witness.
 * E7. A transaction that reads (or locks) a key sees the intent that it has there, or hears that it
 *     was rolled back: never what was there before it. */
#ifndef LW_EVALUATE_H
#define LW_EVALUATE_H

#include "storage/store.h"
#include "txn/oracle.h"
#include "txn/read_marks.h"
#include "txn/record.h"

enum {
    LW_EVALUATION_REPLY_SIZE_MAX = 23 * 1024 * 1024, /* bytes of values and keys in one answer */
    LW_EVALUATION_BATCH_SIZE = 4 * 1024 * 1024,      /* a batch that reached it is proposed */
    LW_LOCK_LIFETIME_MAX_MS = 10 * 60 * 1000,
};

/* One request being evaluated. */
typedef struct lw_evaluation {
    /* Set by the caller. */
    lw_env *env; /* for marks and planted bugs only */
    lw_snapshot *snapshot;
    lw_arena *arena;  /* answers live in it */
    uint64_t now;     /* the oracle's time, as a timestamp */
    uint64_t given;   /* the highest timestamp that the oracle has given */
    uint64_t session; /* whose request it is */
    lw_read_marks *marks;
    /* What transactions that began below this timestamp have left may be gone (txn/retention.h):
     * who finds nothing of one knows nothing of it. 0: all is there. */
    uint64_t forgotten;
    /* The transaction must commit below this timestamp: something that it saw expires then. Known
     * once a request was checked without its commit timestamp. */
    uint64_t valid_until;
    bool unlocked; /* the snapshot certainly holds no locks at all */
    /* The data records of a key are at or below the greater of its mark and `written_before`. NULL:
     * nothing is known. */
    lw_key_marks *written;
    uint64_t written_before;

    lw_buffer batch;           /* receives the writes */
    uint32_t locks_put;        /* in this batch: new locks of the request's transaction */
    uint32_t locks_taken;      /* ... and those of it that are gone with it */
    lw_obstacle obstacle;      /* with LW_CONFLICT; lives in the arena, the label is empty */
    uint64_t obstacle_session; /* of the lock in the way; 0: unknown */

    /* Of a commit in one round: its mutations with the atomic ones worked out, and what those did.
     * In the arena. */
    const lw_mutation *mutations;
    lw_commit_result *results;
    uint32_t result_count;

    lw_buffer key, bound, record, lock; /* scratch */
} lw_evaluation;

lw_evaluation lw_evaluation_in(lw_env *env, lw_arena *arena);
void lw_evaluation_reset(lw_evaluation *evaluation);

/* All of these return LW_CONFLICT with the obstacle, or LW_CORRUPTION; LW_TOO_OLD, when the answer
 * is not known any more; others as said. */

/* `read_timestamp` is not 0 any more. The reply may answer fewer keys than asked. */
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_get(lw_evaluation *evaluation,
                                                const lw_get_request *request, lw_get_reply *reply);
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_scan(lw_evaluation *evaluation,
                                                 const lw_scan_request *request,
                                                 lw_scan_reply *reply);
/* The newest values, once the keys are locked in memory and latched; `reply` knows its start and
 * for_update. Conflicts with any lock of another. */
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_lock(lw_evaluation *evaluation,
                                                 const lw_lock_request *request,
                                                 lw_lock_reply *reply);
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_validate(lw_evaluation *evaluation,
                                                     const lw_validate_request *request);

/* Checks. `*committed` becomes the timestamp at which an earlier copy of the request committed, or
 * 0: then draw one, above all that was given before, and write; but if it is not below valid_until,
 * check anew. */
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_commit_now(lw_evaluation *evaluation,
                                                       const lw_commit_now_request *request,
                                                       uint64_t *committed);
void lw_evaluate_commit_now_write(lw_evaluation *evaluation, const lw_commit_now_request *request,
                                  uint64_t commit_timestamp);

/* These three go on from mutation or key number `*position` until all are done or the batch is
 * large; called again after the batch was proposed and emptied, until `*position` is their count.
 * The keys of a finish request are distinct, and its primary, if it is among them, is the first. */
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_prewrite(lw_evaluation *evaluation,
                                                     const lw_prewrite_request *request,
                                                     uint32_t *position, lw_prewrite_reply *reply);
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_commit(lw_evaluation *evaluation,
                                                   const lw_finish_request *request,
                                                   uint32_t *position);
/* The primary that the lock of `start` on a key names, in the arena; LW_NOT_FOUND without one. */
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_primary(lw_evaluation *evaluation, uint64_t start,
                                                    lw_bytes key, lw_bytes *primary);
/* LW_REFUSED if the transaction is committed. */
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_rollback(lw_evaluation *evaluation,
                                                     const lw_finish_request *request,
                                                     uint32_t *position);

LW_MUST_USE LW_YIELDS lw_status lw_evaluate_check(lw_evaluation *evaluation,
                                                  const lw_check_request *request,
                                                  lw_check_reply *reply);
/* The latch holds the keys. */
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_check_secondaries(
    lw_evaluation *evaluation, const lw_check_secondaries_request *request,
    lw_check_secondaries_reply *reply);
LW_MUST_USE LW_YIELDS lw_status lw_evaluate_heartbeat(lw_evaluation *evaluation,
                                                      const lw_heartbeat_request *request);

#endif
