/* SPDX-License-Identifier: Apache-2.0 */
/* Requests about transactions that have locks: COMMIT, ROLLBACK, CHECK, CHECK_SECONDARIES,
 * HEARTBEAT. */
#include "node/replica_state.h"

/* ---- COMMIT and ROLLBACK -------------------------------------------------------------------- */

/* Puts the primary first, if it is among the keys: it decides (E1). */
LW_YIELDS static lw_status primary_first(replica_call *call, uint64_t start, lw_bytes *keys,
                                         uint32_t key_count) {
    for (uint32_t index = 0; index < key_count && key_count > 1; index++) {
        lw_bytes primary;
        lw_status status = lw_evaluate_primary(&call->evaluation, start, keys[index], &primary);
        if (status == LW_NOT_FOUND) {
            continue;
        }
        LW_TRY(status);
        for (uint32_t other = 0; other < key_count; other++) {
            if (lw_equal(keys[other], primary)) {
                lw_bytes first = keys[0];
                keys[0] = keys[other];
                keys[other] = first;
                break;
            }
        }
        return LW_OK;
    }
    return LW_OK;
}

LW_YIELDS static lw_status finish_latched(replica_call *call, const lw_finish_request *request) {
    uint32_t position = 0;
    while (position < request->key_count) {
        LW_TRY(request->commit_timestamp != 0
                   ? lw_evaluate_commit(&call->evaluation, request, &position)
                   : lw_evaluate_rollback(&call->evaluation, request, &position));
        LW_TRY(replica_write_batch(call, request->start));
    }
    return LW_OK;
}

lw_status replica_finish(replica_call *call, const lw_finish_request *request) {
    lw_replica *replica = call->replica;
    uint32_t key_count = request->key_count;
    call->latch.exclusive = replica_sorted(call, request->keys, &key_count);
    call->latch.exclusive_count = key_count;
    lw_bytes *keys = lw_arena_allocate(&call->arena, key_count * sizeof(*keys));
    if (key_count > 0) {
        memcpy(keys, call->latch.exclusive, key_count * sizeof(*keys));
    }
    lw_finish_request ordered = *request;
    ordered.keys = keys;
    ordered.key_count = key_count;
    LW_TRY(replica_latch(call));
    LW_TRY(replica_evaluation_open(call));
    lw_status status = primary_first(call, request->start, keys, key_count);
    if (status == LW_OK) {
        status = finish_latched(call, &ordered);
    }
    replica_evaluation_close(call);
    replica_unlatch(call);
    for (uint32_t index = 0; index < key_count && status == LW_OK; index++) {
        lw_lock_table_release(replica->locks, request->start, keys[index], false);
        lw_lock_table_unlocked(replica->locks, request->start, keys[index]);
    }
    return status;
}

lw_status replica_commit(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *replica = call->replica;
    lw_finish_request request;
    LW_TRY(lw_finish_request_decode(body, &call->arena, &request));
    if (request.commit_timestamp == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "a commit request says no commit timestamp");
    }
    LW_TRY(replica_given(call, request.commit_timestamp));
    /* Its locks hold the values already, and go. */
    LW_TRY(replica_admit(call, body.size, true));
    LW_TRY(replica_finish(call, &request));
    lw_recent_committed(replica->options.writers, request.start, request.commit_timestamp);
    replica->figures.commits++;
    lw_commit_reply_encode(&(lw_commit_reply){.commit_timestamp = request.commit_timestamp}, reply);
    return LW_OK;
}

lw_status replica_rollback(replica_call *call, lw_bytes body, lw_buffer *reply) {
    (void)reply;
    lw_replica *replica = call->replica;
    lw_finish_request request;
    LW_TRY(lw_finish_request_decode(body, &call->arena, &request));
    if (request.commit_timestamp != 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "a rollback request says a commit timestamp");
    }
    LW_TRY(replica_given(call, request.start));
    if (request.key_count == 0) {
        if (LW_BUG(replica->env, "replica.late_lock_given")) {
            lw_lock_table_release_all(replica->locks, request.start);
        } else {
            lw_lock_table_over(replica->locks, request.start);
        }
        return LW_OK;
    }
    LW_TRY(replica_admit(call, body.size, true));
    return replica_finish(call, &request);
}

/* ---- CHECK and HEARTBEAT -------------------------------------------------------------------- */

/* The latch may outlive the frame that `key` comes from: it is released with the call at the
 * latest. */
LW_YIELDS static lw_status latch_one(replica_call *call, lw_bytes key) {
    lw_bytes *keys = lw_arena_allocate(&call->arena, sizeof(*keys));
    *keys = key;
    call->latch.exclusive = keys;
    call->latch.exclusive_count = 1;
    return replica_latch(call);
}

/* Writes what was evaluated. */
LW_YIELDS static lw_status write_evaluated(replica_call *call, lw_status status, uint64_t start) {
    replica_evaluation_close(call);
    LW_TRY(status);
    return replica_write_batch(call, start);
}

LW_YIELDS static lw_status check_latched(replica_call *call, const lw_check_request *request,
                                         lw_check_reply *fate) {
    LW_TRY(replica_evaluation_open(call));
    return write_evaluated(call, lw_evaluate_check(&call->evaluation, request, fate),
                           request->start);
}

lw_status replica_check(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_check_request request;
    LW_TRY(lw_check_request_decode(body, &call->arena, &request));
    LW_TRY(replica_given(call, request.start));
    LW_TRY(replica_admit(call, body.size, true));
    lw_check_reply fate;
    LW_TRY(latch_one(call, request.primary));
    LW_TRY(check_latched(call, &request, &fate));
    replica_unlatch(call);
    if (fate.fate == LW_FATE_COMMITTED || fate.fate == LW_FATE_ABORTED) {
        lw_lock_table_release(call->replica->locks, request.start, request.primary, false);
        lw_lock_table_unlocked(call->replica->locks, request.start, request.primary);
    }
    lw_check_reply_encode(&fate, reply);
    return LW_OK;
}

LW_YIELDS static lw_status look_latched(replica_call *call,
                                        const lw_check_secondaries_request *request,
                                        lw_check_secondaries_reply *found) {
    LW_TRY(replica_evaluation_open(call));
    return write_evaluated(call, lw_evaluate_check_secondaries(&call->evaluation, request, found),
                           request->start);
}

lw_status replica_check_secondaries(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_check_secondaries_request request;
    LW_TRY(lw_check_secondaries_request_decode(body, &call->arena, &request));
    LW_TRY(replica_given(call, request.commit_timestamp));
    LW_TRY(replica_admit(call, body.size, true));
    call->latch.exclusive_count = request.key_count;
    call->latch.exclusive = replica_sorted(call, request.keys, &call->latch.exclusive_count);
    LW_TRY(replica_latch(call));
    lw_check_secondaries_reply found;
    LW_TRY(look_latched(call, &request, &found));
    lw_check_secondaries_reply_encode(&found, reply);
    return LW_OK;
}

lw_status replica_heartbeat(replica_call *call, lw_bytes body, lw_buffer *reply) {
    (void)reply;
    lw_heartbeat_request request;
    LW_TRY(lw_heartbeat_request_decode(body, &call->arena, &request));
    LW_TRY(replica_stand(call, request.start));
    LW_TRY(latch_one(call, request.primary));
    LW_TRY(replica_evaluation_open(call));
    return write_evaluated(call, lw_evaluate_heartbeat(&call->evaluation, &request), request.start);
}
