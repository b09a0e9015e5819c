/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of one shard, all in one round. */
#include "txn/atomic.h"
#include "txn/evaluate_inner.h"

lw_status evaluation_check_mutation(lw_evaluation *evaluation, const lw_mutation *mutation,
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
        LW_TRY(evaluation_check_mutation(evaluation, mutation, request->start, &account));
    }
    lw_validate_request reads = {.start = request->start,
                                 .commit_timestamp = UINT64_MAX,
                                 .keys = request->keys,
                                 .key_count = request->key_count,
                                 .ranges = request->ranges,
                                 .range_count = request->range_count};
    LW_TRY(evaluation_validate(evaluation, &reads));
    if (atomic_count == 0) {
        return LW_OK;
    }
    return work_out(
        evaluation, request,
        lw_arena_allocate(evaluation->arena, request->mutation_count * sizeof(lw_mutation)));
}

void lw_evaluate_commit_now_write(lw_evaluation *evaluation, const lw_commit_now_request *request,
                                  uint64_t commit_timestamp) {
    LW_ASSERT(commit_timestamp > request->start);
    evaluation_raise_seen(evaluation, request->keys, request->key_count, request->ranges,
                          request->range_count, commit_timestamp);
    for (uint32_t index = 0; index < request->mutation_count; index++) {
        const lw_mutation *mutation = &evaluation->mutations[index];
        if (mutation->kind == LW_MUTATION_LOCK) {
            lw_read_marks_raise(evaluation->marks, mutation->key, commit_timestamp);
        }
        if (mutation->kind == LW_MUTATION_LOCK && index > 0) {
            continue; /* the first mutation's record tells a repeated request what it did (E3) */
        }
        evaluation_put_committed(evaluation, mutation, request->start, commit_timestamp);
    }
}
