/* SPDX-License-Identifier: Apache-2.0 */
/* The evaluation of writes: what transactions validate, lock, commit and roll back. */
#include "txn/evaluate.h"
#include "base/logline.h"
#include "storage/batch.h"
#include "txn/atomic.h"
#include "txn/history.h"

/* ---- writing records ------------------------------------------------------------------------ */

static void put_data(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                     const lw_data_record *record) {
    lw_record_data_key(key, timestamp, &evaluation->key);
    lw_data_record_encode(record, timestamp, &evaluation->record);
    lw_batch_put(&evaluation->batch, lw_buffer_view(&evaluation->key),
                 lw_buffer_view(&evaluation->record));
}

static void put_rollback(lw_evaluation *evaluation, lw_bytes key, uint64_t start) {
    if (LW_BUG(evaluation->env, "txn.no_rollback_record")) {
        return;
    }
    put_data(evaluation, key, start, &(lw_data_record){.kind = LW_RECORD_ROLLBACK, .start = start});
}

/* `lock` must not be a view of evaluation->record. */
static void put_lock(lw_evaluation *evaluation, lw_bytes key, const lw_lock_record *lock) {
    lw_record_lock_key(key, &evaluation->key);
    lw_lock_record_encode(lock, &evaluation->record);
    lw_batch_put(&evaluation->batch, lw_buffer_view(&evaluation->key),
                 lw_buffer_view(&evaluation->record));
}

static void take_lock(lw_evaluation *evaluation, lw_bytes key) {
    lw_record_lock_key(key, &evaluation->key);
    lw_batch_delete(&evaluation->batch, lw_buffer_view(&evaluation->key));
    evaluation->locks_taken++;
}

static bool batch_full(const lw_evaluation *evaluation) {
    return evaluation->batch.size >= LW_EVALUATION_BATCH_SIZE;
}

static uint64_t expiry(const lw_evaluation *evaluation, uint32_t lifetime_ms) {
    uint64_t lifetime =
        lifetime_ms < LW_LOCK_LIFETIME_MAX_MS ? lifetime_ms : LW_LOCK_LIFETIME_MAX_MS;
    return evaluation->now + lw_timestamp_of_ms(lifetime);
}

/* Fails unless `account` leaves room for a record of `start` at `timestamp`: timestamps are given
 * once, so another's record there means that a client made its own up (hazard T3). */
LW_YIELDS static lw_status place_free(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                                      uint64_t start) {
    lw_data_record record;
    lw_status status = lw_history_at(evaluation, key, timestamp, &record);
    if (status == LW_NOT_FOUND || (status == LW_OK && record.start == start) ||
        LW_BUG(evaluation->env, "txn.timestamps_shared")) {
        return LW_OK;
    }
    if (status != LW_OK) {
        return status;
    }
    return lw_fail(LW_INVALID_ARGUMENT,
                   "timestamp %llu belongs to transaction %llu: each may be used once",
                   (unsigned long long)timestamp, (unsigned long long)record.start);
}

/* ---- validation (E4) ------------------------------------------------------------------------ */

/* Whether the lock of another may become a version that a transaction which commits at or below
 * `commit_timestamp` had to see. */
static bool hinders_validation(const lw_lock_record *lock, uint64_t start,
                               uint64_t commit_timestamp) {
    return lock->start != start && lock->kind != LW_MUTATION_LOCK &&
           lock->start < commit_timestamp && lock->floor < commit_timestamp;
}

/* Looks at versions of one key in (seen, commit_timestamp], newest first, and at the one that was
 * seen. */
LW_YIELDS static lw_status check_versions(lw_evaluation *evaluation, lw_bytes key, uint64_t start,
                                          uint64_t seen, uint64_t commit_timestamp,
                                          lw_history *history) {
    LW_TRY(lw_history_open(evaluation, key, commit_timestamp, history));
    for (; history->valid && history->timestamp > seen;) {
        if (lw_history_is_version(history->record.kind) && history->record.start != start) {
            return lw_obstacle_newer(evaluation, key, history->timestamp, history->record.start);
        }
        LW_TRY(lw_history_next(history));
    }
    while (history->valid && !lw_history_is_version(history->record.kind)) {
        LW_TRY(lw_history_next(history));
    }
    return history->valid ? lw_history_outlasts(evaluation, key, history->record.expires,
                                                history->record.start, seen, commit_timestamp)
                          : LW_OK;
}

LW_YIELDS static lw_status validate_key(lw_evaluation *evaluation, const lw_seen_key *read,
                                        uint64_t start, uint64_t commit_timestamp) {
    lw_lock_record lock;
    lw_status status = lw_history_lock(evaluation, read->key, &lock);
    if (status == LW_OK && hinders_validation(&lock, start, commit_timestamp)) {
        return lw_obstacle_lock(evaluation, read->key, &lock);
    }
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    lw_history history;
    status = check_versions(evaluation, read->key, start, read->seen, commit_timestamp, &history);
    lw_history_close(&history);
    return status;
}

LW_YIELDS static lw_status check_range_locks(lw_evaluation *evaluation, lw_cursor *locks,
                                             uint64_t start, uint64_t commit_timestamp) {
    LW_TRY(lw_cursor_first(locks));
    while (lw_cursor_valid(locks)) {
        lw_lock_record lock;
        LW_TRY(lw_lock_record_decode(lw_cursor_key(locks), lw_cursor_value(locks), &lock));
        if (hinders_validation(&lock, start, commit_timestamp)) {
            return lw_obstacle_lock(evaluation, lw_record_locked_key(lw_cursor_key(locks)), &lock);
        }
        LW_TRY(lw_cursor_next(locks));
    }
    return LW_OK;
}

LW_YIELDS static lw_status validate_range_locks(lw_evaluation *evaluation,
                                                const lw_seen_range *range, uint64_t start,
                                                uint64_t commit_timestamp) {
    if (evaluation->unlocked) {
        return LW_OK;
    }
    lw_record_lock_key(range->lower, &evaluation->key);
    if (range->upper.size > 0) {
        lw_record_lock_key(range->upper, &evaluation->bound);
    } else {
        lw_record_lock_end(&evaluation->bound);
    }
    lw_cursor *locks = lw_cursor_open(evaluation->snapshot, lw_buffer_view(&evaluation->key),
                                      lw_buffer_view(&evaluation->bound));
    lw_status status = check_range_locks(evaluation, locks, start, commit_timestamp);
    lw_cursor_close(locks);
    return status;
}

static lw_status found_newer(lw_evaluation *evaluation, lw_bytes prefix, uint64_t timestamp,
                             uint64_t start) {
    lw_buffer key = lw_buffer_in(evaluation->env->memory);
    lw_status status = lw_record_user_key(prefix, &key);
    if (status == LW_OK) {
        status = lw_obstacle_newer(evaluation, lw_buffer_view(&key), timestamp, start);
    }
    lw_buffer_reset(&key);
    return status;
}

/* A version that was there before the range was seen, and expires: whether it was seen is looked up
 * only if it would matter. */
LW_YIELDS static lw_status check_expiring(lw_evaluation *evaluation, lw_bytes prefix,
                                          uint64_t timestamp, const lw_data_record *record,
                                          uint64_t seen, uint64_t commit_timestamp) {
    bool known = commit_timestamp != UINT64_MAX;
    if (record->expires <= seen || (known && record->expires > commit_timestamp) ||
        (!known && record->expires >= evaluation->valid_until)) {
        return LW_OK;
    }
    lw_history history;
    lw_buffer key = lw_buffer_in(evaluation->env->memory);
    uint64_t expires = record->expires, start = record->start;
    lw_status status = lw_record_user_key(prefix, &key);
    if (status == LW_OK) {
        status = lw_history_open(evaluation, lw_buffer_view(&key), seen, &history);
        while (status == LW_OK && history.valid && !lw_history_is_version(history.record.kind)) {
            status = lw_history_next(&history);
        }
        bool seen_itself = status == LW_OK && history.valid && history.timestamp == timestamp;
        lw_history_close(&history);
        if (seen_itself) {
            status = lw_history_outlasts(evaluation, lw_buffer_view(&key), expires, start, seen,
                                         commit_timestamp);
        }
    }
    lw_buffer_reset(&key);
    return status;
}

/* Every record in the range is looked at: older ones lie between those that matter. */
LW_YIELDS static lw_status check_range_versions(lw_evaluation *evaluation, lw_cursor *data,
                                                const lw_seen_range *range, uint64_t start,
                                                uint64_t commit_timestamp) {
    LW_TRY(lw_cursor_first(data));
    while (lw_cursor_valid(data)) {
        lw_bytes prefix;
        uint64_t timestamp;
        LW_TRY(lw_record_data_key_split(lw_cursor_key(data), &prefix, &timestamp));
        if (timestamp <= range->seen && lw_data_record_expiring(lw_cursor_value(data))) {
            lw_data_record record;
            LW_TRY(lw_history_decode(data, &timestamp, &record));
            LW_TRY(check_expiring(evaluation, prefix, timestamp, &record, range->seen,
                                  commit_timestamp));
        } else if (timestamp > range->seen && timestamp <= commit_timestamp) {
            lw_data_record record;
            LW_TRY(lw_history_decode(data, &timestamp, &record));
            if (lw_history_is_version(record.kind) && record.start != start) {
                return found_newer(evaluation, prefix, timestamp, record.start);
            }
        }
        LW_TRY(lw_cursor_next(data));
    }
    return LW_OK;
}

LW_YIELDS static lw_status validate_range(lw_evaluation *evaluation, const lw_seen_range *range,
                                          uint64_t start, uint64_t commit_timestamp) {
    bool empty = range->upper.size > 0 && lw_compare(range->lower, range->upper) >= 0;
    if (empty || LW_BUG(evaluation->env, "txn.ranges_not_validated")) {
        return LW_OK;
    }
    LW_TRY(validate_range_locks(evaluation, range, start, commit_timestamp));
    lw_record_data_prefix(range->lower, &evaluation->key);
    if (range->upper.size > 0) {
        lw_record_data_prefix(range->upper, &evaluation->bound);
    } else {
        lw_record_data_end(range->upper, &evaluation->bound);
    }
    lw_cursor *data = lw_cursor_open(evaluation->snapshot, lw_buffer_view(&evaluation->key),
                                     lw_buffer_view(&evaluation->bound));
    lw_status status = check_range_versions(evaluation, data, range, start, commit_timestamp);
    lw_cursor_close(data);
    return status;
}

lw_status lw_evaluate_validate(lw_evaluation *evaluation, const lw_validate_request *request) {
    if (LW_BUG(evaluation->env, "txn.no_validation")) {
        return LW_OK;
    }
    for (uint32_t index = 0; index < request->key_count; index++) {
        LW_TRY(validate_key(evaluation, &request->keys[index], request->start,
                            request->commit_timestamp));
    }
    for (uint32_t index = 0; index < request->range_count; index++) {
        LW_TRY(validate_range(evaluation, &request->ranges[index], request->start,
                              request->commit_timestamp));
    }
    return LW_OK;
}

/* ---- one round ------------------------------------------------------------------------------ */

/* What a mutation may meet. `account` is of its key. */
LW_YIELDS static lw_status check_mutation(lw_evaluation *evaluation, const lw_mutation *mutation,
                                          uint64_t start, const lw_account *account) {
    if (account->rolled_back) {
        return lw_obstacle_rolled_back(evaluation, mutation->key, start);
    }
    lw_lock_record lock;
    lw_status status = lw_history_lock(evaluation, mutation->key, &lock);
    if (status == LW_OK && lock.start != start) {
        return lw_obstacle_lock(evaluation, mutation->key, &lock);
    }
    if (status == LW_OK) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "transaction %llu has begun to commit in two phases, and cannot in one",
                       (unsigned long long)start);
    }
    if (status != LW_NOT_FOUND) {
        return status;
    }
    if (account->newest > mutation->seen && !LW_BUG(evaluation->env, "txn.seen_ignored")) {
        return lw_obstacle_newer(evaluation, mutation->key, account->newest, account->newest_start);
    }
    return lw_history_outlasts(evaluation, mutation->key, account->expires, account->expiring_start,
                               mutation->seen, UINT64_MAX);
}

/* Tells what the atomic mutations did when an earlier copy of the request committed. */
LW_YIELDS static lw_status recall_results(lw_evaluation *evaluation,
                                          const lw_commit_now_request *request,
                                          uint64_t committed) {
    for (uint32_t index = 0; index < request->mutation_count; index++) {
        const lw_mutation *mutation = &request->mutations[index];
        if (lw_mutation_is_atomic(mutation->kind)) {
            LW_TRY(lw_history_became(evaluation, mutation, request->start, committed,
                                     &evaluation->results[evaluation->result_count]));
            evaluation->result_count++;
        }
    }
    return LW_OK;
}

/* Works the atomic mutations out. */
LW_YIELDS static lw_status work_out(lw_evaluation *evaluation, const lw_commit_now_request *request,
                                    lw_mutation *mutations) {
    memcpy(mutations, request->mutations, request->mutation_count * sizeof(*mutations));
    for (uint32_t index = 0; index < request->mutation_count; index++) {
        if (lw_mutation_is_atomic(mutations[index].kind)) {
            LW_TRY(lw_history_become(evaluation, &request->mutations[index], evaluation->given + 1,
                                     &mutations[index],
                                     &evaluation->results[evaluation->result_count]));
            evaluation->result_count++;
        }
    }
    evaluation->mutations = mutations;
    return LW_OK;
}

static uint32_t count_atomic(const lw_commit_now_request *request) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < request->mutation_count; index++) {
        count += lw_mutation_is_atomic(request->mutations[index].kind);
    }
    return count;
}

lw_status lw_evaluate_commit_now(lw_evaluation *evaluation, const lw_commit_now_request *request,
                                 uint64_t *committed) {
    *committed = 0;
    evaluation->valid_until = UINT64_MAX;
    uint32_t atomic_count = count_atomic(request);
    evaluation->mutations = request->mutations;
    evaluation->result_count = 0;
    if (atomic_count > 0) {
        evaluation->results =
            lw_arena_allocate(evaluation->arena, atomic_count * sizeof(lw_commit_result));
    }
    for (uint32_t index = 0; index < request->mutation_count; index++) {
        const lw_mutation *mutation = &request->mutations[index];
        lw_account account;
        LW_TRY(lw_history_account(evaluation, mutation->key, request->start, mutation->seen,
                                  &account));
        bool first_copy = LW_BUG(evaluation->env, "txn.no_idempotence");
        if (index == 0 && account.committed != 0 && !first_copy) {
            LW_MARK(evaluation->env, "txn.commit_repeated");
            *committed = account.committed;
            return recall_results(evaluation, request, account.committed);
        }
        LW_TRY(check_mutation(evaluation, mutation, request->start, &account));
    }
    lw_validate_request reads = {.start = request->start,
                                 .commit_timestamp = UINT64_MAX,
                                 .keys = request->keys,
                                 .key_count = request->key_count,
                                 .ranges = request->ranges,
                                 .range_count = request->range_count};
    LW_TRY(lw_evaluate_validate(evaluation, &reads));
    if (atomic_count == 0) {
        return LW_OK;
    }
    return work_out(
        evaluation, request,
        lw_arena_allocate(evaluation->arena, request->mutation_count * sizeof(lw_mutation)));
}

static lw_record_kind record_kind(lw_mutation_kind kind) {
    return kind == LW_MUTATION_PUT || kind == LW_MUTATION_STAMP ? LW_RECORD_PUT
           : kind == LW_MUTATION_DELETE                         ? LW_RECORD_DELETE
                                                                : LW_RECORD_MARK;
}

/* Writes what a mutation that was worked out leaves when it commits. Its value must not be a view
 * of evaluation->record. */
static void put_committed(lw_evaluation *evaluation, const lw_mutation *mutation, uint64_t start,
                          uint64_t commit_timestamp) {
    lw_buffer stamped = lw_buffer_in(evaluation->env->memory);
    lw_data_record record = {.kind = record_kind(mutation->kind),
                             .start = start,
                             .expires = mutation->expires,
                             .value = mutation->value};
    if (mutation->kind == LW_MUTATION_STAMP) {
        lw_stamp_apply(mutation->value, commit_timestamp, &stamped);
        record.value = lw_buffer_view(&stamped);
    }
    if (mutation->ttl_ms != 0) {
        record.expires = commit_timestamp + lw_timestamp_of_ms(mutation->ttl_ms);
    }
    put_data(evaluation, mutation->key, commit_timestamp, &record);
    lw_buffer_reset(&stamped);
}

void lw_evaluate_commit_now_write(lw_evaluation *evaluation, const lw_commit_now_request *request,
                                  uint64_t commit_timestamp) {
    LW_ASSERT(commit_timestamp > request->start);
    for (uint32_t index = 0; index < request->mutation_count; index++) {
        const lw_mutation *mutation = &evaluation->mutations[index];
        if (mutation->kind == LW_MUTATION_LOCK && index > 0) {
            continue; /* the first mutation's record tells a repeated request what it did (E3) */
        }
        put_committed(evaluation, mutation, request->start, commit_timestamp);
    }
}

/* ---- the first phase ------------------------------------------------------------------------ */

LW_YIELDS static lw_status prewrite_one(lw_evaluation *evaluation,
                                        const lw_prewrite_request *request,
                                        const lw_mutation *mutation) {
    lw_account account;
    LW_TRY(lw_history_account(evaluation, mutation->key, request->start, mutation->seen, &account));
    if (account.committed != 0) {
        LW_MARK(evaluation->env, "txn.prewrite_after_commit");
        return LW_OK;
    }
    lw_lock_record lock;
    lw_status status = lw_history_lock(evaluation, mutation->key, &lock);
    if (status == LW_OK && lock.start == request->start) {
        LW_MARK(evaluation->env, "txn.prewrite_repeated");
        return LW_OK;
    }
    if (account.rolled_back) {
        LW_MARK(evaluation->env, "txn.late_prewrite");
    }
    LW_TRY(check_mutation(evaluation, mutation, request->start, &account));
    lw_mutation becomes = *mutation;
    if (lw_mutation_is_atomic(mutation->kind)) {
        lw_commit_result result;
        LW_TRY(lw_history_become(evaluation, mutation, evaluation->given + 1, &becomes, &result));
    }
    put_lock(evaluation, mutation->key,
             &(lw_lock_record){.kind = becomes.kind,
                               .start = request->start,
                               .floor = evaluation->given,
                               .expires = expiry(evaluation, request->lifetime_ms),
                               .session = evaluation->session,
                               .primary = request->primary,
                               .value = becomes.value,
                               .ttl_ms = becomes.ttl_ms,
                               .put_expires = becomes.expires});
    evaluation->locks_put++;
    return LW_OK;
}

lw_status lw_evaluate_prewrite(lw_evaluation *evaluation, const lw_prewrite_request *request,
                               uint32_t *position) {
    while (*position < request->mutation_count && !batch_full(evaluation)) {
        LW_TRY(prewrite_one(evaluation, request, &request->mutations[*position]));
        ++*position;
    }
    return LW_OK;
}

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
    LW_MARK(evaluation->env, "txn.commit_of_a_dead_transaction");
    return lw_obstacle_rolled_back(evaluation, key, request->start);
}

LW_YIELDS static lw_status commit_one(lw_evaluation *evaluation, const lw_finish_request *request,
                                      lw_bytes key) {
    lw_lock_record lock;
    lw_status status = lw_history_lock(evaluation, key, &lock);
    if (status == LW_NOT_FOUND || (status == LW_OK && lock.start != request->start)) {
        return commit_without_lock(evaluation, key, request);
    }
    LW_TRY(status);
    if (request->commit_timestamp <= lock.floor) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "commit timestamp %llu was drawn before all locks were there: draw it after "
                       "the last prewrite",
                       (unsigned long long)request->commit_timestamp);
    }
    LW_TRY(place_free(evaluation, key, request->commit_timestamp, request->start));
    lw_mutation intent = {.kind = lock.kind,
                          .key = key,
                          .value = lock.value,
                          .ttl_ms = lock.ttl_ms,
                          .expires = lock.put_expires};
    put_committed(evaluation, &intent, request->start, request->commit_timestamp);
    take_lock(evaluation, key);
    return LW_OK;
}

lw_status lw_evaluate_commit(lw_evaluation *evaluation, const lw_finish_request *request,
                             uint32_t *position) {
    LW_ASSERT(request->commit_timestamp > request->start);
    while (*position < request->key_count && !batch_full(evaluation)) {
        LW_TRY(commit_one(evaluation, request, request->keys[*position]));
        ++*position;
    }
    return LW_OK;
}

/* ---- the way back --------------------------------------------------------------------------- */

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
    }
    *committed = 0;
    LW_TRY(place_free(evaluation, key, start, start));
    put_rollback(evaluation, key, start);
    if (own_lock != NULL) {
        take_lock(evaluation, key);
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
    while (*position < request->key_count && !batch_full(evaluation)) {
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

LW_YIELDS static lw_status check_lock(lw_evaluation *evaluation, const lw_check_request *request,
                                      const lw_lock_record *lock, lw_check_reply *reply) {
    if (!lw_equal(lock->primary, request->primary)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the key asked about is not the primary of transaction %llu",
                       (unsigned long long)request->start);
    }
    bool alive =
        lock->expires > evaluation->now && !LW_BUG(evaluation->env, "txn.check_ignores_expiry");
    if (alive && !request->decide) {
        reply->fate = LW_FATE_ALIVE;
        reply->remaining_ms = lw_lock_remaining_ms(lock, evaluation->now);
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
    LW_TRY(roll_back(evaluation, request->primary, request->start, NULL, &committed));
    reply->fate = committed != 0 ? LW_FATE_COMMITTED : LW_FATE_ABORTED;
    reply->commit_timestamp = committed;
    if (evaluation->batch.size > 0) {
        LW_MARK(evaluation->env, "txn.unknown_rolled_back");
    }
    return LW_OK;
}

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
    uint64_t expires = expiry(evaluation, request->lifetime_ms);
    if (expires > lock.expires) {
        lock.expires = expires;
        put_lock(evaluation, request->primary, &lock);
    }
    return LW_OK;
}
