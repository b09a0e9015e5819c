/* SPDX-License-Identifier: Apache-2.0 */
/* The first phase: locks with intents, classic ones and those of async commits (E6). */
#include "txn/atomic.h"
#include "txn/evaluate_inner.h"

/* One request being evaluated. */
typedef struct prewriting {
    lw_evaluation *evaluation;
    const lw_prewrite_request *request;
    lw_prewrite_reply *reply;
    lw_buffer secondaries; /* of the request, as locks hold them */
} prewriting;

/* What the mutation comes to; in the arena. `lock` is the intent it replaces, or NULL. */
LW_YIELDS static lw_status work_out(prewriting *job, const lw_mutation *mutation,
                                    const lw_lock_record *lock, lw_mutation *becomes) {
    lw_commit_result result;
    *becomes = *mutation;
    if (!lw_mutation_is_atomic(mutation->kind)) {
        return LW_OK;
    }
    if (lock != NULL && lock->kind != LW_MUTATION_LOCK) {
        return lw_history_become_own(job->evaluation, mutation, lock, becomes);
    }
    uint64_t earliest =
        job->reply->asynchronous ? job->request->commit_timestamp : job->evaluation->given + 1;
    return lw_history_become(job->evaluation, mutation, earliest, becomes, &result);
}

/* ---- a lock of its own is there ------------------------------------------------------------- */

/* A later flush of the same transaction. The floor stays: the commit timestamp may be drawn. */
LW_YIELDS static lw_status replace(prewriting *job, const lw_mutation *mutation,
                                   lw_lock_record *lock) {
    lw_evaluation *evaluation = job->evaluation;
    lw_mutation becomes;
    LW_MARK(evaluation->env, "txn.intent_replaced");
    LW_TRY(work_out(job, mutation, lock, &becomes));
    uint64_t expires = evaluation_expiry(evaluation, job->request->lifetime_ms);
    lock->expires = expires > lock->expires ? expires : lock->expires;
    lock->sequence = job->request->sequence;
    if (becomes.kind != LW_MUTATION_LOCK) {
        lock->kind = becomes.kind;
        lock->value = becomes.value;
        lock->ttl_ms = becomes.ttl_ms;
        lock->put_expires = becomes.expires;
    }
    evaluation_put_lock(evaluation, mutation->key, lock);
    return LW_OK;
}

/* An async lock stays as it is: whoever found it may have counted it. */
LW_YIELDS static lw_status meet_own(prewriting *job, const lw_mutation *mutation,
                                    lw_lock_record *lock) {
    const lw_prewrite_request *request = job->request;
    if (lock->commit_timestamp == 0 || lock->commit_timestamp != request->commit_timestamp) {
        job->reply->asynchronous = false;
    }
    if (lock->commit_timestamp == 0 && request->sequence > lock->sequence) {
        return replace(job, mutation, lock);
    }
    LW_MARK(job->evaluation->env, "txn.prewrite_repeated");
    return LW_OK;
}

/* ---- a fresh one ---------------------------------------------------------------------------- */

/* Whether the key may be locked for the commit timestamp asked for (E6). `account` was taken from
 * below it on. */
static bool grants(const prewriting *job, lw_bytes key, const lw_account *account) {
    lw_evaluation *evaluation = job->evaluation;
    uint64_t wanted = job->request->commit_timestamp;
    if (!job->reply->asynchronous || LW_RARE(evaluation->env, "txn.grants_nothing")) {
        return false;
    }
    if (account->newest >= wanted) {
        LW_MARK(evaluation->env, "txn.async_below_a_version");
        return false;
    }
    /* Marks begin at the last timestamp that was given when a replica began to serve, be it this.
     */
    if (lw_read_marks_of(evaluation->marks, key) >= wanted &&
        !LW_BUG(evaluation->env, "txn.read_mark_ignored")) {
        LW_MARK(evaluation->env, "txn.async_below_a_read");
        return false;
    }
    return true;
}

LW_YIELDS static lw_status put_fresh(prewriting *job, const lw_mutation *mutation) {
    lw_evaluation *evaluation = job->evaluation;
    const lw_prewrite_request *request = job->request;
    bool asynchronous = job->reply->asynchronous;
    lw_mutation becomes;
    LW_TRY(work_out(job, mutation, NULL, &becomes));
    lw_lock_record lock = {.kind = becomes.kind,
                           .start = request->start,
                           .floor = evaluation->given,
                           .expires = evaluation_expiry(evaluation, request->lifetime_ms),
                           .session = evaluation->session,
                           .sequence = request->sequence,
                           .primary = request->primary,
                           .value = becomes.value,
                           .ttl_ms = becomes.ttl_ms,
                           .put_expires = becomes.expires};
    if (asynchronous) {
        LW_MARK(evaluation->env, "txn.async_lock");
        lock.floor = request->commit_timestamp - 1;
        lock.commit_timestamp = request->commit_timestamp;
        if (lw_equal(mutation->key, request->primary)) {
            lock.secondaries = lw_buffer_view(&job->secondaries);
        }
    }
    evaluation_put_lock(evaluation, mutation->key, &lock);
    evaluation->locks_put++;
    return LW_OK;
}

/* Takes the account from just below the commit timestamp on, so that a version above it is met even
 * if the mutation does not mind; but from what was seen on, if that is what expires. */
LW_YIELDS static lw_status take_account(prewriting *job, const lw_mutation *mutation,
                                        lw_account *account) {
    uint64_t wanted = job->request->commit_timestamp, since = mutation->seen;
    since = wanted != 0 && wanted - 1 < since ? wanted - 1 : since;
    LW_TRY(lw_history_account(job->evaluation, mutation->key, job->request->start, since, account));
    if (account->newest == 0 || account->newest > mutation->seen) {
        return LW_OK;
    }
    uint64_t newest = account->newest;
    LW_TRY(lw_history_account(job->evaluation, mutation->key, job->request->start, mutation->seen,
                              account));
    account->newest = newest;
    return LW_OK;
}

/* What a repeated request has to tell again: an async lock was granted below whatever expires. */
static lw_status still_valid(const prewriting *job, const lw_mutation *mutation,
                             const lw_lock_record *lock, const lw_account *account) {
    return lock->commit_timestamp != 0
               ? LW_OK
               : lw_history_outlasts(job->evaluation, mutation->key, account->expires,
                                     account->expiring_start, mutation->seen, UINT64_MAX);
}

LW_YIELDS static lw_status prewrite_one(prewriting *job, const lw_mutation *mutation) {
    lw_evaluation *evaluation = job->evaluation;
    uint64_t start = job->request->start;
    lw_account account;
    LW_TRY(take_account(job, mutation, &account));
    if (account.committed != 0) {
        LW_MARK(evaluation->env, "txn.prewrite_after_commit");
        *job->reply = (lw_prewrite_reply){.committed = account.committed};
        return LW_OK;
    }
    lw_lock_record lock;
    lw_status status = lw_history_lock(evaluation, mutation->key, &lock);
    if (status == LW_OK && lock.start == start) {
        LW_TRY(still_valid(job, mutation, &lock, &account));
        return meet_own(job, mutation, &lock);
    }
    if (account.rolled_back) {
        LW_MARK(evaluation->env, "txn.late_prewrite");
    }
    LW_TRY(evaluation_check_mutation(evaluation, mutation, start, &account));
    bool granted = grants(job, mutation->key, &account);
    if (granted) { /* or the lock could never be ended */
        LW_TRY(evaluation_place_free(evaluation, mutation->key, job->request->commit_timestamp,
                                     start));
    }
    job->reply->asynchronous = granted;
    status = put_fresh(job, mutation);
    if (!granted && job->request->commit_timestamp != 0 &&
        LW_BUG(evaluation->env, "txn.fallback_kept_async")) {
        job->reply->asynchronous = true;
    }
    return status;
}

/* ---- the request ---------------------------------------------------------------------------- */

/* What was read holds up to the commit timestamp, or there will be no lock. */
LW_YIELDS static lw_status validate_reads(const prewriting *job) {
    const lw_prewrite_request *request = job->request;
    if (request->commit_timestamp == 0) {
        return LW_OK;
    }
    lw_validate_request reads = {.start = request->start,
                                 .commit_timestamp = request->commit_timestamp,
                                 .keys = request->keys,
                                 .key_count = request->key_count,
                                 .ranges = request->ranges,
                                 .range_count = request->range_count};
    return lw_evaluate_validate(job->evaluation, &reads);
}

/* What was read may be locked or newer by now if it was committed long ago. */
LW_YIELDS static lw_status find_committed(prewriting *job, lw_status conflict) {
    lw_evaluation *evaluation = job->evaluation;
    lw_account account;
    lw_error reason = *lw_error_slot();
    LW_TRY(take_account(job, &job->request->mutations[0], &account));
    if (account.committed == 0) {
        *lw_error_slot() = reason;
        return conflict;
    }
    LW_MARK(evaluation->env, "txn.prewrite_after_commit");
    evaluation->obstacle = (lw_obstacle){0};
    *job->reply = (lw_prewrite_reply){.committed = account.committed};
    return LW_OK;
}

LW_YIELDS static lw_status begin(prewriting *job) {
    *job->reply = (lw_prewrite_reply){.asynchronous = job->request->commit_timestamp != 0};
    lw_status status = validate_reads(job);
    return status == LW_CONFLICT && job->request->mutation_count > 0 ? find_committed(job, status)
                                                                     : status;
}

LW_YIELDS static lw_status go_on(prewriting *job, uint32_t *position) {
    const lw_prewrite_request *request = job->request;
    if (*position == 0) {
        LW_TRY(begin(job));
        *position = job->reply->committed != 0 ? request->mutation_count : 0;
    }
    while (*position < request->mutation_count && !evaluation_batch_full(job->evaluation)) {
        LW_TRY(prewrite_one(job, &request->mutations[*position]));
        *position = job->reply->committed != 0 ? request->mutation_count : *position + 1;
    }
    return LW_OK;
}

lw_status lw_evaluate_prewrite(lw_evaluation *evaluation, const lw_prewrite_request *request,
                               uint32_t *position, lw_prewrite_reply *reply) {
    prewriting job = {.evaluation = evaluation,
                      .request = request,
                      .reply = reply,
                      .secondaries = lw_buffer_in(evaluation->env->memory)};
    for (uint32_t index = 0; index < request->secondary_count; index++) {
        lw_lock_secondary_add(request->secondaries[index], &job.secondaries);
    }
    lw_status status = go_on(&job, position);
    lw_buffer_reset(&job.secondaries);
    return status;
}
