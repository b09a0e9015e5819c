/* SPDX-License-Identifier: Apache-2.0 */
#include "node/kill.h"

#include "node/resolve.h"

/* The primary that any of its locks names; LW_NOT_FOUND if it has none. */
LW_YIELDS static lw_status find_primary(lw_shards *shards, uint64_t start, lw_buffer *primary) {
    lw_status status = LW_NOT_FOUND;
    for (uint32_t index = 0; index < lw_shards_count(shards) && status == LW_NOT_FOUND; index++) {
        status = lw_replica_primary_of(lw_shards_at(shards, index), start, primary);
    }
    return status;
}

/* Whether a request that writes for it was under way; none is any more. Shards may be split off
 * meanwhile, so those are looked at until there is nothing to wait for in any. */
LW_YIELDS static bool await_writes(lw_shards *shards, uint64_t start) {
    bool any = false;
    for (uint32_t index = 0; index < lw_shards_count(shards); index++) {
        if (lw_replica_await_writes(lw_shards_at(shards, index), start)) {
            any = true;
            index = UINT32_MAX; /* from the first again */
        }
    }
    return any;
}

LW_YIELDS static lw_status ask(void *argument, lw_message_kind kind, lw_bytes key, lw_bytes body,
                               lw_buffer *reply) {
    return lw_shards_ask(argument, kind, key, body, reply);
}

/* Its locks are ended behind the reply. */
static void doom(lw_shards *shards, uint64_t start) {
    for (uint32_t index = 0; index < lw_shards_count(shards); index++) {
        lw_replica_doom(lw_shards_at(shards, index), start);
    }
}

/* Of a transaction that is marked, with nothing of it under way any more. `had`: it had locks in
 * memory, or requests under way, or a mark. */
LW_YIELDS static lw_status settle(lw_shards *shards, uint64_t start, bool had, lw_memory *memory,
                                  lw_kill_reply *answer) {
    lw_buffer primary = lw_buffer_in(memory);
    lw_check_reply fate = {.fate = had ? LW_FATE_ABORTED : LW_FATE_UNKNOWN};
    lw_status status = find_primary(shards, start, &primary);
    if (status == LW_OK) {
        status = lw_resolve_by_asking(lw_shards_env(shards), ask, shards, start,
                                      lw_buffer_view(&primary), 0, true, &fate);
    } else if (status == LW_NOT_FOUND) {
        const lw_recent_entry *wrote = lw_recent_find(lw_shards_writers(shards), start);
        if (wrote != NULL && wrote->commit_timestamp != 0) {
            fate = (lw_check_reply){.fate = LW_FATE_COMMITTED,
                                    .commit_timestamp = wrote->commit_timestamp};
        }
        status = LW_OK;
    }
    lw_buffer_reset(&primary);
    LW_TRY(status);
    doom(shards, start);
    *answer = (lw_kill_reply){.fate = fate.fate, .commit_timestamp = fate.commit_timestamp};
    return LW_OK;
}

lw_status lw_kill(lw_shards *shards, lw_bytes body, uint64_t session, lw_buffer *reply) {
    lw_env *env = lw_shards_env(shards);
    lw_arena arena = lw_arena_in(env->memory);
    lw_kill_request request;
    lw_status status = lw_kill_request_decode(body, &arena, &request);
    if (status == LW_OK) {
        status = lw_timestamps_given(lw_shards_timestamps(shards), request.start, 0);
    }
    if (status != LW_OK) {
        lw_arena_reset(&arena);
        return status;
    }
    lw_recent *killed = lw_shards_killed(shards);
    bool had = lw_recent_find(killed, request.start) != NULL; /* it was killed before */
    if (!had) {
        lw_recent_note(killed, request.start, 0, lw_shards_label(shards, session));
    }
    had = lw_lock_table_end(lw_shards_locks(shards), request.start) || had;
    if (!LW_BUG(env, "node.kill_waits_for_nothing")) {
        had = await_writes(shards, request.start) || had;
    }
    lw_kill_reply answer;
    status = settle(shards, request.start, had, env->memory, &answer);
    if (status == LW_OK) {
        if (answer.fate != LW_FATE_ABORTED) {
            lw_recent_forget(killed, request.start);
        } else {
            LW_MARK(env, "node.transaction_killed");
        }
        lw_kill_reply_encode(&answer, reply);
    }
    lw_arena_reset(&arena);
    return status;
}
