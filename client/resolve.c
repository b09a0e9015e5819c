/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of others in the way of a transaction: whoever meets one finds out what became of its
 * transaction, and finishes the key accordingly (Percolator's lazy clean-up). */
#include "client/resolve.h"
#include "client/transaction.h"

enum {
    WAY_HOME_NS = 50 * 1000 * 1000,
    LATE_NS = 1000 * 1000 * 1000, /* in simulations, see ask_late */
};

/* ---- finding out ---------------------------------------------------------------------------- */

/* One run of the resolve machine. */
typedef struct resolution {
    lw_client *client;
    lw_resolve_machine machine;
    uint64_t start, deadline_ns;
    lw_bytes primary;
    lw_arena arena;        /* what outlives a call: the keys */
    lw_bytes *secondaries; /* of the last CHECK */
    uint32_t secondary_count;
    lw_buffer body;
} resolution;

LW_YIELDS static lw_status call_primary(resolution *in, lw_message_kind kind, lw_reply *reply) {
    return lw_client_call(in->client, kind, in->primary, lw_buffer_view(&in->body), in->deadline_ns,
                          reply, NULL);
}

LW_YIELDS static void check(resolution *in, const lw_resolve_action *action,
                            lw_resolve_event *event) {
    lw_check_request request = {.start = in->start,
                                .primary = in->primary,
                                .decide = action->decide,
                                .patient = action->patient};
    lw_check_reply answer;
    lw_reply reply;
    lw_check_request_encode(&request, &in->body);
    event->status = call_primary(in, LW_MESSAGE_CHECK, &reply);
    if (event->status == LW_OK) {
        event->status = lw_check_reply_decode(reply.body, &in->client->arena, &answer);
    }
    if (event->status != LW_OK) {
        return;
    }
    *event = lw_resolve_checked(&answer);
    in->secondary_count = answer.secondary_count;
    in->secondaries = lw_arena_allocate(&in->arena, answer.secondary_count * sizeof(lw_bytes));
    for (uint32_t index = 0; index < answer.secondary_count; index++) {
        in->secondaries[index] = lw_arena_copy(&in->arena, answer.secondaries[index]);
    }
}

/* Asks of as many secondaries as lie in one shard. */
LW_YIELDS static void check_secondaries(resolution *in, const lw_resolve_action *action,
                                        lw_resolve_event *event) {
    const lw_shard_descriptor *shard;
    const lw_bytes *keys = in->secondaries + action->first;
    lw_call call;
    uint32_t count;
    do {
        event->status = lw_client_route(in->client, keys[0], false, in->deadline_ns, &shard);
        if (event->status != LW_OK) {
            return;
        }
        count = 1;
        while (action->first + count < in->secondary_count && lw_shard_holds(shard, keys[count])) {
            count++;
        }
        lw_check_secondaries_request request = {.start = in->start,
                                                .commit_timestamp = action->commit_timestamp,
                                                .keys = keys,
                                                .key_count = count,
                                                .decide = action->decide};
        lw_buffer_clear(&in->body);
        lw_check_secondaries_request_encode(&request, &in->body);
        call = (lw_call){.kind = LW_MESSAGE_CHECK_SECONDARIES,
                         .body = lw_buffer_view(&in->body),
                         .first = keys[0],
                         .last = keys[count - 1]};
        event->status = lw_client_call_all(in->client, &call, 1, in->deadline_ns);
    } while (call.moved);
    lw_check_secondaries_reply answer;
    if (event->status == LW_OK) {
        event->status =
            lw_check_secondaries_reply_decode(call.reply.body, &in->client->arena, &answer);
    }
    if (event->status == LW_OK) {
        *event = lw_resolve_looked(&answer, count);
    }
}

/* Has it written down at the primary. */
LW_YIELDS static void end_primary(resolution *in, const lw_resolve_action *action,
                                  lw_resolve_event *event) {
    bool commits = action->kind == LW_RESOLVE_SEND_COMMIT;
    lw_finish_request request = {.start = in->start,
                                 .commit_timestamp = commits ? action->commit_timestamp : 0,
                                 .keys = &in->primary,
                                 .key_count = 1};
    lw_reply reply;
    lw_finish_request_encode(&request, &in->body);
    event->status = call_primary(in, commits ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK, &reply);
    event->commit_timestamp = request.commit_timestamp;
}

LW_YIELDS static lw_status run(resolution *in) {
    for (;;) {
        lw_resolve_action action = lw_resolve_machine_next(&in->machine);
        lw_resolve_event event = {0};
        lw_buffer_clear(&in->body);
        switch (action.kind) {
        case LW_RESOLVE_SEND_CHECK:
            check(in, &action, &event);
            break;
        case LW_RESOLVE_SEND_SECONDARIES:
            LW_MARK(in->client->env, "client.checks_secondaries");
            check_secondaries(in, &action, &event);
            break;
        case LW_RESOLVE_SEND_COMMIT:
        case LW_RESOLVE_SEND_ROLLBACK:
            end_primary(in, &action, &event);
            break;
        case LW_RESOLVE_DONE:
            return in->machine.status;
        }
        lw_resolve_machine_step(&in->machine, &event);
    }
}

lw_status lw_client_resolve(lw_client *client, uint64_t start, lw_bytes primary,
                            uint64_t remaining_ms, bool decide, uint64_t deadline_ns, lw_fate *fate,
                            uint64_t *commit_timestamp) {
    lw_memory *memory = client->env->memory;
    resolution in = {.client = client,
                     .start = start,
                     .deadline_ns = deadline_ns,
                     .arena = lw_arena_in(memory),
                     .body = lw_buffer_in(memory)};
    in.primary = lw_arena_copy(&in.arena, primary);
    lw_resolve_machine_init(&in.machine, remaining_ms, decide);
    lw_status status = run(&in);
    if (status == LW_OK) {
        *fate = in.machine.fate;
        *commit_timestamp = in.machine.fate == LW_FATE_COMMITTED ? in.machine.commit_timestamp : 0;
    }
    lw_buffer_reset(&in.body);
    lw_arena_reset(&in.arena);
    return status;
}

/* ---- locks in the way ----------------------------------------------------------------------- */

/* Tells one key of a decided transaction its fate. */
LW_YIELDS static lw_status finish_key(lw_txn *txn, uint64_t start, uint64_t commit_timestamp,
                                      lw_bytes key) {
    lw_finish_request request = {
        .start = start, .commit_timestamp = commit_timestamp, .keys = &key, .key_count = 1};
    lw_buffer body = lw_buffer_in(txn->client->env->memory);
    lw_finish_request_encode(&request, &body);
    lw_reply reply;
    lw_status status =
        lw_client_call(txn->client, commit_timestamp != 0 ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK,
                       key, lw_buffer_view(&body), txn->deadline_ns, &reply, NULL);
    lw_buffer_reset(&body);
    return status;
}

/* Whether an answer would be home before the deadline: else it is better to say who is in the way.
 */
static bool worth_asking_again(const lw_txn *txn) {
    uint64_t now_ns = lw_env_now(txn->client->env), allowed_ns = txn->deadline_ns - txn->held_up_ns;
    uint64_t margin_ns = allowed_ns / 8 < WAY_HOME_NS ? allowed_ns / 8 : (uint64_t)WAY_HOME_NS;
    return now_ns + margin_ns < txn->deadline_ns;
}

/* In simulations some have been away for long when they ask about a lock that they met. */
LW_YIELDS static void ask_late(const lw_txn *txn) {
    lw_env *env = txn->client->env;
    if (LW_RARE(env, "client.asks_late")) {
        lw_env_sleep(env, lw_env_random_below(env, LATE_NS));
    }
}

/* `obstacle` consists of copies, since the calls here overwrite the reply it came in. */
LW_YIELDS static lw_status resolve(lw_txn *txn, const lw_obstacle *obstacle, uint32_t attempt) {
    lw_fate fate = LW_FATE_ABORTED;
    uint64_t commit_timestamp = 0;
    lw_status status = LW_OK;
    ask_late(txn);
    if (!LW_BUG(txn->client->env, "txn.secondary_decided_alone")) {
        status = lw_client_resolve(txn->client, obstacle->start, obstacle->primary,
                                   obstacle->remaining_ms, false, txn->deadline_ns, &fate,
                                   &commit_timestamp);
    }
    if (status == LW_TIMEOUT) {
        return lw_txn_held_up(txn, obstacle);
    }
    if (status == LW_TOO_OLD) {
        LW_MARK(txn->client->env, "client.meets_a_forgotten_lock");
        fate = LW_FATE_ALIVE; /* the shards end such locks by themselves */
        status = LW_OK;
    }
    LW_TRY(status);
    if (fate == LW_FATE_ALIVE) {
        LW_MARK(txn->client->env, "client.waits_for_a_live_lock");
        attempt = obstacle->waited_ms > 0 ? 0 : attempt; /* it was waited for at the shard */
        bool in_time =
            lw_client_pause(txn->client, attempt, txn->deadline_ns) && worth_asking_again(txn);
        return in_time ? LW_OK : lw_txn_held_up(txn, obstacle);
    }
    LW_MARK(txn->client->env, "client.finishes_a_dead_lock");
    status = finish_key(txn, obstacle->start, commit_timestamp, obstacle->key);
    return status == LW_TOO_OLD ? LW_OK : status; /* somebody has ended it long ago */
}

lw_status lw_txn_resolve(lw_txn *txn, const lw_obstacle *obstacle, uint32_t attempt) {
    LW_ASSERT(obstacle->kind == LW_OBSTACLE_LOCK);
    lw_memory *memory = txn->client->env->memory;
    lw_obstacle kept = *obstacle;
    kept.key = lw_copy(memory, obstacle->key);
    kept.primary = lw_copy(memory, obstacle->primary);
    kept.label = lw_copy(memory, obstacle->label);
    if (attempt == 0) {
        txn->held_up_ns = lw_env_now(txn->client->env);
    }
    lw_status status = resolve(txn, &kept, attempt);
    lw_free(memory, (void *)(uintptr_t)kept.key.data);
    lw_free(memory, (void *)(uintptr_t)kept.primary.data);
    lw_free(memory, (void *)(uintptr_t)kept.label.data);
    return status;
}

lw_status lw_txn_take_conflict(lw_txn *txn, lw_bytes body, uint32_t attempt) {
    lw_obstacle obstacle;
    LW_TRY(lw_obstacle_decode(body, &txn->client->arena, &obstacle));
    if (obstacle.kind != LW_OBSTACLE_LOCK) {
        txn->state = LW_TXN_ENDED;
        return lw_txn_conflict(&obstacle);
    }
    return lw_txn_resolve(txn, &obstacle, attempt);
}

lw_status lw_txn_call(lw_txn *txn, lw_call *call) {
    for (uint32_t attempt = 0;; attempt++) {
        call->body = lw_buffer_view(&txn->request);
        call->done = false;
        lw_status status = lw_client_call_all(txn->client, call, 1, txn->deadline_ns);
        if (status != LW_CONFLICT) {
            return status;
        }
        LW_TRY(lw_txn_take_conflict(txn, call->reply.body, attempt));
    }
}
