/* SPDX-License-Identifier: Apache-2.0 */
/* The end of transactions that have locks: committed, rolled back, or found out about. */
#include "txn/evaluate_inner.h"

/* ---- the second phase ----------------------------------------------------------------------- */

/* The lock is not there any more, or never was. */
LW_YIELDS static lw_status commit_without_lock(lw_evaluation *evaluation, lw_bytes key,
                                               const lw_finish_request *request) {
    lw_account account;
    LW_TRY(lw_history_account(evaluation, key, request->start, UINT64_MAX, &account));
    if (account.committed == request->commit_timestamp) {
        LW_MARK(evaluation->env, "txn.commit_repeated");
        return LW_OK;
    }
    if (account.committed != 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "transaction %llu is committed at %llu, not at %llu",
                       (unsigned long long)request->start, (unsigned long long)account.committed,
                       (unsigned long long)request->commit_timestamp);
    }
    if (LW_BUG(evaluation->env, "txn.commit_without_lock")) {
        return LW_OK;
    }
    LW_TRY(account.rolled_back ? LW_OK : lw_history_known(evaluation, key, request->start));
    LW_MARK(evaluation->env, "txn.commit_of_a_dead_transaction");
    return lw_obstacle_rolled_back(evaluation, key, request->start);
}

/* Whether a lock came after its transaction was committed. In one round nothing is recorded at keys
 * that were only locked: so if the answer to that was lost, and the shard was split before the
 * owner came again, in two phases, what it only locks is locked anew, and nothing there would ever
 * fit the commit timestamp. Nobody misses anything that is not written. */
static bool came_late(const lw_evaluation *evaluation, const lw_lock_record *lock, lw_bytes key) {
    bool late = lock->kind == LW_MUTATION_LOCK && !lw_equal(lock->primary, key);
    if (late) {
        LW_MARK(evaluation->env, "txn.locked_after_commit");
    }
    return late;
}

LW_YIELDS static lw_status commit_one(lw_evaluation *evaluation, const lw_finish_request *request,
                                      lw_bytes key) {
    lw_lock_record lock;
    lw_status status = lw_history_lock(evaluation, key, &lock);
    if (status == LW_NOT_FOUND || (status == LW_OK && lock.start != request->start)) {
        return commit_without_lock(evaluation, key, request);
    }
    LW_TRY(status);
    if (request->commit_timestamp <= lock.floor && !came_late(evaluation, &lock, key)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "commit timestamp %llu was drawn before all locks were there: draw it after "
                       "the last prewrite",
                       (unsigned long long)request->commit_timestamp);
    }
    LW_TRY(evaluation_place_free(evaluation, key, request->commit_timestamp, request->start));
    if (lock.kind == LW_MUTATION_LOCK) {
        lw_read_marks_raise(evaluation->marks, key, request->commit_timestamp);
    }
    lw_mutation intent = {.kind = lock.kind,
                          .key = key,
                          .value = lock.value,
                          .ttl_ms = lock.ttl_ms,
                          .expires = lock.put_expires};
    evaluation_put_committed(evaluation, &intent, request->start, request->commit_timestamp);
    evaluation_take_lock(evaluation, key);
    return LW_OK;
}

lw_status lw_evaluate_commit(lw_evaluation *evaluation, const lw_finish_request *request,
                             uint32_t *position) {
    LW_ASSERT(request->commit_timestamp > request->start);
    while (*position < request->key_count && !evaluation_batch_full(evaluation)) {
        LW_TRY(commit_one(evaluation, request, request->keys[*position]));
        ++*position;
    }
    return LW_OK;
}

/* ---- the way back --------------------------------------------------------------------------- */

/* The same for the lock of an async commit, whose record will stand at the timestamp it has. */
LW_YIELDS static lw_status place_not_promised(lw_evaluation *evaluation, lw_bytes key,
                                              uint64_t start) {
    lw_lock_record lock;
    lw_status status = lw_history_lock(evaluation, key, &lock);
    if (status == LW_NOT_FOUND || (status == LW_OK && lock.commit_timestamp != start)) {
        return LW_OK;
    }
    LW_TRY(status);
    return LW_BUG(evaluation->env, "txn.timestamps_shared") ? LW_OK
                                                            : evaluation_taken(start, lock.start);
}

/* Rolls back at one key, whatever is there. With `*committed` not 0 afterwards nothing was done. */
LW_YIELDS static lw_status roll_back(lw_evaluation *evaluation, lw_bytes key, uint64_t start,
                                     const lw_lock_record *own_lock, uint64_t *committed) {
    lw_account account = {0};
    if (own_lock == NULL) {
        LW_TRY(lw_history_account(evaluation, key, start, UINT64_MAX, &account));
        *committed = LW_BUG(evaluation->env, "txn.rollback_of_committed") ? 0 : account.committed;
        if (*committed != 0 || account.rolled_back) {
            return LW_OK;
        }
        LW_TRY(lw_history_known(evaluation, key, start));
        LW_TRY(place_not_promised(evaluation, key, start));
    }
    *committed = 0;
    LW_TRY(evaluation_place_free(evaluation, key, start, start));
    evaluation_put_rollback(evaluation, key, start);
    if (own_lock != NULL) {
        evaluation_take_lock(evaluation, key);
    }
    return LW_OK;
}

/* The lock of `start` on a key; *own is NULL if there is none, or another's. */
LW_YIELDS static lw_status find_own_lock(lw_evaluation *evaluation, lw_bytes key, uint64_t start,
                                         lw_lock_record *lock, const lw_lock_record **own) {
    lw_status status = lw_history_lock(evaluation, key, lock);
    *own = status == LW_OK && lock->start == start ? lock : NULL;
    return status == LW_NOT_FOUND ? LW_OK : status;
}

lw_status lw_evaluate_primary(lw_evaluation *evaluation, uint64_t start, lw_bytes key,
                              lw_bytes *primary) {
    lw_lock_record lock;
    const lw_lock_record *own;
    LW_TRY(find_own_lock(evaluation, key, start, &lock, &own));
    if (own == NULL) {
        return LW_NOT_FOUND;
    }
    *primary = lw_arena_copy(evaluation->arena, own->primary);
    return LW_OK;
}

lw_status lw_evaluate_rollback(lw_evaluation *evaluation, const lw_finish_request *request,
                               uint32_t *position) {
    while (*position < request->key_count && !evaluation_batch_full(evaluation)) {
        lw_lock_record lock;
        const lw_lock_record *own;
        uint64_t committed;
        lw_bytes key = request->keys[*position];
        LW_TRY(find_own_lock(evaluation, key, request->start, &lock, &own));
        LW_TRY(roll_back(evaluation, key, request->start, own, &committed));
        if (committed != 0) {
            LW_MARK(evaluation->env, "txn.rollback_of_committed");
            return lw_fail(LW_REFUSED,
                           "transaction %llu is committed at %llu: it cannot be rolled back",
                           (unsigned long long)request->start, (unsigned long long)committed);
        }
        ++*position;
    }
    return LW_OK;
}

/* ---- deciding ------------------------------------------------------------------------------- */

static void tell_secondaries(lw_evaluation *evaluation, lw_bytes secondaries,
                             lw_check_reply *reply) {
    if (secondaries.size == 0) {
        return;
    }
    lw_bytes *keys = lw_arena_allocate(evaluation->arena, LW_SECONDARY_COUNT_MAX * sizeof(*keys));
    lw_bytes rest = lw_arena_copy(evaluation->arena, secondaries);
    while (lw_lock_secondary(&rest, &keys[reply->secondary_count])) {
        reply->secondary_count++;
    }
    reply->secondaries = keys;
}

LW_YIELDS static lw_status check_lock(lw_evaluation *evaluation, const lw_check_request *request,
                                      const lw_lock_record *lock, lw_check_reply *reply) {
    if (!lw_equal(lock->primary, request->primary)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the key asked about is not the primary of transaction %llu",
                       (unsigned long long)request->start);
    }
    bool alive =
        lock->expires > evaluation->now && !LW_BUG(evaluation->env, "txn.check_ignores_expiry");
    if (lock->commit_timestamp != 0 || (alive && !request->decide)) {
        reply->fate = LW_FATE_ALIVE;
        reply->commit_timestamp = lock->commit_timestamp;
        reply->remaining_ms = lw_lock_remaining_ms(lock, evaluation->now);
        reply->asynchronous = lock->commit_timestamp != 0;
        tell_secondaries(evaluation, lock->secondaries, reply);
        return LW_OK;
    }
    if (!alive) {
        LW_MARK(evaluation->env, "txn.lock_expired");
    }
    uint64_t committed;
    reply->fate = LW_FATE_ABORTED;
    return roll_back(evaluation, request->primary, request->start, lock, &committed);
}

lw_status lw_evaluate_check(lw_evaluation *evaluation, const lw_check_request *request,
                            lw_check_reply *reply) {
    lw_lock_record lock;
    const lw_lock_record *own;
    *reply = (lw_check_reply){0};
    LW_TRY(find_own_lock(evaluation, request->primary, request->start, &lock, &own));
    if (own != NULL) {
        return check_lock(evaluation, request, own, reply);
    }
    uint64_t committed;
    if (request->patient) {
        lw_account account;
        LW_TRY(
            lw_history_account(evaluation, request->primary, request->start, UINT64_MAX, &account));
        if (account.committed == 0 && !account.rolled_back) {
            LW_TRY(lw_history_known(evaluation, request->primary, request->start));
            LW_MARK(evaluation->env, "txn.unknown_left_alone");
            reply->fate = LW_FATE_UNKNOWN;
            return LW_OK;
        }
    }
    LW_TRY(roll_back(evaluation, request->primary, request->start, NULL, &committed));
    reply->fate = committed != 0 ? LW_FATE_COMMITTED : LW_FATE_ABORTED;
    reply->commit_timestamp = committed;
    if (evaluation->batch.size > 0) {
        LW_MARK(evaluation->env, "txn.unknown_rolled_back");
    }
    return LW_OK;
}

/* ---- the secondaries of an async commit (E6) ------------------------------------------------- */

LW_YIELDS static lw_status look_at(lw_evaluation *evaluation,
                                   const lw_check_secondaries_request *request, lw_bytes key,
                                   lw_check_secondaries_reply *found) {
    lw_lock_record lock;
    const lw_lock_record *own;
    *found = (lw_check_secondaries_reply){.state = LW_SECONDARIES_MISSING};
    LW_TRY(find_own_lock(evaluation, key, request->start, &lock, &own));
    if (own != NULL) {
        found->state = own->commit_timestamp == request->commit_timestamp ? LW_SECONDARIES_LOCKED
                                                                          : LW_SECONDARIES_CLASSIC;
        return LW_OK;
    }
    lw_account account;
    LW_TRY(lw_history_account(evaluation, key, request->start, UINT64_MAX, &account));
    if (account.committed != 0) {
        found->state = LW_SECONDARIES_COMMITTED;
        found->commit_timestamp = account.committed;
    } else if (account.rolled_back) {
        found->state = LW_SECONDARIES_ABORTED;
    } else if (LW_BUG(evaluation->env, "txn.missing_counts_as_locked")) {
        found->state = LW_SECONDARIES_LOCKED;
    }
    return LW_OK;
}

/* Which of two answers the caller is to hear. */
static int weight_of(lw_secondary_state state) {
    static const int weights[] = {
        [LW_SECONDARIES_LOCKED] = 0,  [LW_SECONDARIES_MISSING] = 1,   [LW_SECONDARIES_CLASSIC] = 2,
        [LW_SECONDARIES_ABORTED] = 3, [LW_SECONDARIES_COMMITTED] = 4,
    };
    return weights[state];
}

lw_status lw_evaluate_check_secondaries(lw_evaluation *evaluation,
                                        const lw_check_secondaries_request *request,
                                        lw_check_secondaries_reply *reply) {
    lw_bytes missing = {0};
    *reply = (lw_check_secondaries_reply){.state = LW_SECONDARIES_LOCKED};
    for (uint32_t index = 0; index < request->key_count; index++) {
        lw_check_secondaries_reply found;
        LW_TRY(look_at(evaluation, request, request->keys[index], &found));
        if (found.state == LW_SECONDARIES_MISSING && missing.size == 0) {
            missing = request->keys[index];
        }
        if (weight_of(found.state) > weight_of(reply->state)) {
            *reply = found;
        }
    }
    if (reply->state != LW_SECONDARIES_MISSING || !request->decide) {
        return LW_OK;
    }
    LW_MARK(evaluation->env, "txn.missing_rolled_back");
    reply->state = LW_SECONDARIES_ABORTED;
    if (LW_BUG(evaluation->env, "txn.missing_not_recorded")) {
        return LW_OK;
    }
    uint64_t committed;
    return roll_back(evaluation, missing, request->start, NULL, &committed);
}

/* ---- keeping alive -------------------------------------------------------------------------- */

lw_status lw_evaluate_heartbeat(lw_evaluation *evaluation, const lw_heartbeat_request *request) {
    lw_lock_record lock;
    const lw_lock_record *own;
    LW_TRY(find_own_lock(evaluation, request->primary, request->start, &lock, &own));
    if (own == NULL) {
        lw_account account;
        LW_TRY(
            lw_history_account(evaluation, request->primary, request->start, UINT64_MAX, &account));
        return account.committed != 0
                   ? LW_OK
                   : lw_obstacle_rolled_back(evaluation, request->primary, request->start);
    }
    uint64_t expires = evaluation_expiry(evaluation, request->lifetime_ms);
    if (expires > lock.expires) {
        lock.expires = expires;
        evaluation_put_lock(evaluation, request->primary, &lock);
    }
    return LW_OK;
}
