/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that write nothing: TIMESTAMP, GET, SCAN, VALIDATE, LOCK. */
#include "node/replica_state.h"

lw_status replica_timestamp(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_timestamp_request request;
    LW_TRY(lw_timestamp_request_decode(body, &call->arena, &request));
    lw_timestamp_reply answer;
    LW_TRY(replica_gate(call->replica));
    LW_TRY(lw_timestamps_give(call->replica->options.timestamps, request.count, call->deadline_ns,
                              &answer.first));
    lw_timestamp_reply_encode(&answer, reply);
    return LW_OK;
}

/* The timestamp to read at: the one asked for, or a fresh one, which also names the reader. */
LW_YIELDS static lw_status settle_timestamps(replica_call *call, uint64_t *read_timestamp,
                                             uint64_t *start) {
    bool fresh = *read_timestamp == 0;
    if (fresh) {
        LW_TRY(replica_take(call->replica, 1, call->deadline_ns, read_timestamp));
        *start = *read_timestamp;
    }
    uint64_t stands_on = *start != 0 && *start < *read_timestamp ? *start : *read_timestamp;
    LW_TRY(replica_given(call, *read_timestamp));
    LW_TRY(replica_stand(call, stands_on));
    if (fresh && LW_BUG(call->replica->env, "txn.snapshot_of_before")) {
        *read_timestamp -= lw_timestamp_of_ms(5);
    }
    return LW_OK;
}

/* What was evaluated counts if this replica led until then. */
LW_YIELDS static lw_status confirm_evaluated(replica_call *call, lw_status status) {
    replica_evaluation_close(call);
    LW_TRY(status);
    return replica_confirm(call);
}

lw_status replica_get(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_get_request request;
    LW_TRY(lw_get_request_decode(body, &call->arena, &request));
    LW_TRY(settle_timestamps(call, &request.read_timestamp, &request.start));
    call->start = request.start;
    LW_TRY(replica_spared(call, request.start));
    LW_TRY(replica_await_keys(call, request.read_timestamp, request.keys, request.key_count));
    lw_get_reply answer;
    LW_TRY(replica_evaluation_open(call));
    LW_TRY(confirm_evaluated(call, lw_evaluate_get(&call->evaluation, &request, &answer)));
    call->replica->figures.reads++;
    lw_get_reply_encode(&answer, reply);
    return LW_OK;
}

lw_status replica_scan(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_scan_request request;
    LW_TRY(lw_scan_request_decode(body, &call->arena, &request));
    LW_TRY(settle_timestamps(call, &request.read_timestamp, &request.start));
    call->start = request.start;
    LW_TRY(replica_spared(call, request.start));
    lw_latch_range range = {.lower = request.lower, .upper = request.upper};
    LW_TRY(replica_await_range(call, request.read_timestamp, range));
    lw_scan_reply answer;
    LW_TRY(replica_evaluation_open(call));
    LW_TRY(confirm_evaluated(call, lw_evaluate_scan(&call->evaluation, &request, &answer)));
    call->replica->figures.scans++;
    lw_scan_reply_encode(&answer, reply);
    return LW_OK;
}

/* ---- VALIDATE ------------------------------------------------------------------------------- */

lw_status replica_validate(replica_call *call, lw_bytes body, lw_buffer *reply) {
    (void)reply;
    lw_validate_request request;
    LW_TRY(lw_validate_request_decode(body, &call->arena, &request));
    call->start = request.start;
    LW_TRY(replica_stand(call, request.start));
    LW_TRY(replica_given(call, request.commit_timestamp));
    replica_share_reads(call, request.keys, request.key_count, request.ranges, request.range_count);
    LW_TRY(replica_latch(call));
    LW_TRY(replica_evaluation_open(call));
    return confirm_evaluated(call, lw_evaluate_validate(&call->evaluation, &request));
}

/* ---- LOCK ----------------------------------------------------------------------------------- */

/* Gets all locks, in the order asked for. `*fresh_count` of the keys in `fresh` were not held
 * before. */
LW_YIELDS static lw_status lock_keys(replica_call *call, const lw_lock_request *request,
                                     lw_bytes *fresh, uint32_t *fresh_count) {
    uint64_t deadline_ns = lw_env_now(call->replica->env) + request->wait_ms * UINT64_C(1000000);
    if (call->deadline_ns != 0 && call->deadline_ns < deadline_ns) {
        deadline_ns = call->deadline_ns;
    }
    for (uint32_t index = 0; index < request->key_count; index++) {
        bool is_fresh;
        LW_TRY(replica_lock_key(call, request->start, request->keys[index], true, deadline_ns,
                                &is_fresh));
        if (is_fresh) {
            fresh[(*fresh_count)++] = request->keys[index];
        }
    }
    return LW_OK;
}

/* With the latches nobody's commit is on its way to these keys: what is read is the newest there
 * is, and a timestamp drawn now is above all of it. Whoever goes on to read elsewhere reads at
 * that; the last one that is known here may lie below what somebody was told before the request
 * came. */
LW_YIELDS static lw_status lock_and_read(replica_call *call, const lw_lock_request *request,
                                         lw_lock_reply *answer) {
    call->latch.exclusive_count = request->key_count;
    call->latch.exclusive = replica_sorted(call, request->keys, &call->latch.exclusive_count);
    LW_TRY(replica_latch(call));
    uint64_t known = lw_timestamps_last(call->replica->options.timestamps);
    LW_TRY(replica_take(call->replica, 1, call->deadline_ns, &answer->for_update));
    if (LW_BUG(call->replica->env, "replica.lock_reads_in_the_past")) {
        answer->for_update = known;
    }
    LW_TRY(replica_evaluation_open(call));
    return confirm_evaluated(call, lw_evaluate_lock(&call->evaluation, request, answer));
}

lw_status replica_lock(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *replica = call->replica;
    lw_lock_request request;
    LW_TRY(lw_lock_request_decode(body, &call->arena, &request));
    if (request.start == 0) {
        LW_TRY(replica_take(replica, 1, call->deadline_ns, &request.start));
    }
    call->start = request.start;
    LW_TRY(replica_stand(call, request.start));
    bool full = lw_lock_table_full(replica->locks) || LW_RARE(replica->env, "replica.few_locks");
    if (full && !LW_BUG(replica->env, "replica.locks_unbounded")) {
        LW_MARK(replica->env, "replica.locks_full");
        return lw_fail(LW_BACKPRESSURE,
                       "%u pessimistic locks take all memory there is for them: wait until some "
                       "have ended, commit without locking first, or give the nodes more --memory",
                       lw_lock_table_count(replica->locks));
    }
    lw_bytes *fresh = lw_arena_allocate(&call->arena, request.key_count * sizeof(*fresh));
    uint32_t fresh_count = 0;
    lw_lock_reply answer = {.start = request.start};
    lw_status status = lock_keys(call, &request, fresh, &fresh_count);
    if (status == LW_OK) {
        status = lock_and_read(call, &request, &answer);
    }
    if (status == LW_OK && call->orphaned) {
        status = lw_fail(LW_UNAVAILABLE, "the session ended while keys were locked");
    }
    for (uint32_t index = 0; index < fresh_count && status != LW_OK; index++) {
        lw_lock_table_release(replica->locks, request.start, fresh[index], false);
    }
    LW_TRY(status);
    lw_lock_reply_encode(&answer, reply);
    return LW_OK;
}
