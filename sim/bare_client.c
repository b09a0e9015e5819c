/* SPDX-License-Identifier: Apache-2.0 */
/* What who works asks of shards, as a client library would, but for its care: it asks whoever
 * leads, or whoever believes to, or anybody. */
#include "sim/bare.h"

#include "node/group.h"
#include "node/resolve.h"
#include "txn/oracle.h"

enum {
    ATTEMPT_MS = 600,
    STALE_PERCENT = 25, /* of the requests go to somebody who believes to lead, or to anybody */
    ANYBODY_PERCENT = 4,
    AGAIN_MS_MAX = 25,
    GET_MS = 2500,
    KEPT_SHARE = 12, /* of the timestamps one is kept for who reads the past */
};

lw_buffer bare_body(bare_asker *from) {
    return lw_buffer_in(from->env->memory);
}

/* ---- one request ------------------------------------------------------------------------------
 */

/* One of those that believe to lead; NULL: nobody does. */
static bare_node *any_leader(bare_asker *from, lw_bytes key) {
    lw_sim_bare *of = from->of;
    bare_node *chosen = NULL;
    uint64_t seen = 0;
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        const lw_replica *replica = bare_replica(&of->nodes[place], key);
        lw_group_figures figures = {.leading = false};
        if (replica != NULL && lw_replica_tree(replica) != NULL) {
            lw_replica_group_figures(replica, &figures);
        }
        if (figures.leading && lw_chance_below(&from->chance, ++seen) == 0) {
            chosen = &of->nodes[place];
        }
    }
    return chosen;
}

static bare_node *choose(bare_asker *from, lw_bytes key) {
    lw_sim_bare *of = from->of;
    uint64_t roll = lw_chance_below(&from->chance, 100);
    bare_node *chosen = roll < STALE_PERCENT ? any_leader(from, key) : bare_leader(of, key);
    if (chosen == NULL || roll < ANYBODY_PERCENT) {
        chosen = &of->nodes[lw_chance_below(&from->chance, of->of->node_count)];
    }
    return chosen;
}

/* What it says of the shard that it means is what the node knows of it. */
static void address(const bare_node *to, lw_bytes key, lw_request *request) {
    const lw_replica *replica = to->member == NULL ? NULL : bare_replica(to, key);
    if (replica != NULL) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(replica, &shard);
        request->shard = shard.id;
        request->epoch = shard.epoch;
    }
}

static bool is_final(lw_status status) {
    return status != LW_UNAVAILABLE && status != LW_TIMEOUT && status != LW_UNDETERMINED &&
           status != LW_BACKPRESSURE;
}

bare_answer bare_call(bare_asker *from, lw_message_kind kind, lw_bytes key, const lw_buffer *body,
                      uint64_t patience_ms) {
    lw_env *env = from->env;
    uint64_t until_ns = lw_env_now(env) + patience_ms * LW_SIM_NS_PER_MS;
    bool doubt = false;
    for (;;) {
        bare_node *to = choose(from, key);
        lw_request request = {.kind = kind,
                              .id = ++from->of->request_id,
                              .timeout_ms = ATTEMPT_MS,
                              .body = lw_buffer_view(body)};
        address(to, key, &request);
        bare_answer answer = {.status = LW_UNAVAILABLE};
        bare_ask_once(from, to, &request, ATTEMPT_MS, &answer);
        answer.doubt = answer.doubt || doubt;
        if (is_final(answer.status)) {
            return answer;
        }
        doubt = answer.doubt = true;
        if (lw_env_now(env) >= until_ns) {
            return answer;
        }
        lw_env_sleep(env, lw_chance_below(&from->chance, AGAIN_MS_MAX * LW_SIM_NS_PER_MS));
    }
}

/* ---- timestamps -------------------------------------------------------------------------------
 */

/* Some of them for long. */
static void remember(bare_asker *from, uint64_t timestamp) {
    lw_sim_bare *of = from->of;
    if (of->old_count < BARE_OLD_MAX) {
        of->olds[of->old_count++] = timestamp;
    } else if (lw_chance_below(&from->chance, KEPT_SHARE) == 0) {
        of->olds[lw_chance_below(&from->chance, BARE_OLD_MAX)] = timestamp;
    }
}

uint64_t bare_timestamp(bare_asker *from) {
    lw_sim_bare *of = from->of;
    uint64_t before = of->acknowledged;
    lw_buffer body = bare_body(from);
    lw_timestamp_request_encode(&(lw_timestamp_request){.count = 1}, &body);
    bare_answer answer = bare_call(from, LW_MESSAGE_TIMESTAMP, (lw_bytes){0}, &body, GET_MS);
    lw_buffer_reset(&body);
    lw_timestamp_reply reply = {0};
    if (answer.status != LW_OK ||
        lw_timestamp_reply_decode(answer.body, &from->arena, &reply) != LW_OK) {
        return 0;
    }
    if (reply.first <= before) {
        lw_sim_broken_first(of->of, "timestamps",
                            "%llu was given, and something was committed at %llu before",
                            (unsigned long long)reply.first, (unsigned long long)before);
    }
    remember(from, reply.first);
    return reply.first;
}

/* ---- locks that are in the way ----------------------------------------------------------------
 */

bare_answer bare_finish(bare_asker *from, uint64_t start, uint64_t commit_timestamp, uint32_t key) {
    lw_buffer body = bare_body(from);
    lw_bytes keys[] = {bare_key(key)};
    lw_finish_request request = {
        .start = start, .commit_timestamp = commit_timestamp, .keys = keys, .key_count = 1};
    lw_finish_request_encode(&request, &body);
    bare_answer answer =
        bare_call(from, commit_timestamp != 0 ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK, keys[0],
                  &body, GET_MS);
    lw_buffer_reset(&body);
    return answer;
}

/* lw_ask */
LW_YIELDS static lw_status ask_shard(void *argument, lw_message_kind kind, lw_bytes key,
                                     lw_bytes body, lw_buffer *reply) {
    bare_asker *from = argument;
    lw_buffer copy = bare_body(from);
    lw_buffer_append(&copy, body);
    bare_answer answer = bare_call(from, kind, key, &copy, GET_MS);
    lw_buffer_reset(&copy);
    lw_buffer_append(reply, answer.body);
    return answer.status == LW_OK ? LW_OK : lw_fail(answer.status, "as it was answered");
}

void bare_resolve(bare_asker *from, const lw_obstacle *obstacle) {
    lw_check_reply fate = {.fate = LW_FATE_ALIVE};
    if (obstacle->kind != LW_OBSTACLE_LOCK || obstacle->key.size != 1) {
        return;
    }
    lw_status status =
        lw_resolve_by_asking(from->env, ask_shard, from, obstacle->start, obstacle->primary,
                             obstacle->remaining_ms, false, &fate);
    if (status != LW_OK || fate.fate == LW_FATE_ALIVE || fate.fate == LW_FATE_UNKNOWN) {
        lw_env_sleep(from->env, lw_chance_below(&from->chance, AGAIN_MS_MAX * LW_SIM_NS_PER_MS));
        return;
    }
    uint64_t timestamp = fate.fate == LW_FATE_COMMITTED ? fate.commit_timestamp : 0;
    (void)bare_finish(from, obstacle->start, timestamp, (uint32_t)(obstacle->key.data[0] - 'a'));
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* What stands in the value: which transaction wrote it. */
static uint32_t writer_of(lw_bytes value) {
    return value.size >= 9 && memcmp(value.data, "bare:", 5) == 0 ? lw_get_u32(value.data + 5)
                                                                  : UINT32_MAX;
}

static lw_status take_reply(bare_asker *from, uint32_t key, uint64_t timestamp, lw_bytes body,
                            uint64_t *found) {
    lw_get_reply reply;
    LW_TRY(lw_get_reply_decode(body, &from->arena, &reply));
    const lw_get_value *value = &reply.values[0];
    *found = value->found ? value->commit_timestamp : 0;
    bare_note_read(from->of, &(bare_read){.timestamp = timestamp,
                                          .found = *found,
                                          .writer = value->found ? writer_of(value->value) : 0,
                                          .key = (uint8_t)key});
    return LW_OK;
}

lw_status bare_get(bare_asker *from, uint32_t key, uint64_t timestamp, uint32_t timeout_ms,
                   uint64_t *found) {
    lw_env *env = from->env;
    uint64_t until_ns = lw_env_now(env) + GET_MS * LW_SIM_NS_PER_MS;
    lw_bytes keys[] = {bare_key(key)};
    lw_get_request request = {.read_timestamp = timestamp, .keys = keys, .key_count = 1};
    lw_buffer body = bare_body(from);
    lw_get_request_encode(&request, &body);
    lw_status status = LW_TIMEOUT;
    while (lw_env_now(env) < until_ns && !is_final(status)) {
        bare_node *to = choose(from, keys[0]);
        lw_request asked = {.kind = LW_MESSAGE_GET,
                            .id = ++from->of->request_id,
                            .timeout_ms = timeout_ms != 0 ? timeout_ms : (uint32_t)ATTEMPT_MS,
                            .body = lw_buffer_view(&body)};
        bare_answer answer = {.status = LW_UNAVAILABLE};
        lw_obstacle obstacle;
        address(to, keys[0], &asked);
        bare_ask_once(from, to, &asked, ATTEMPT_MS, &answer);
        status = answer.status;
        if (status == LW_OK) {
            status = take_reply(from, key, timestamp, answer.body, found);
        } else if (status == LW_CONFLICT &&
                   lw_obstacle_decode(answer.body, &from->arena, &obstacle) == LW_OK) {
            bare_resolve(from, &obstacle);
            status = LW_TIMEOUT;
        } else if (!is_final(status)) {
            lw_env_sleep(env, lw_chance_below(&from->chance, AGAIN_MS_MAX * LW_SIM_NS_PER_MS));
        }
    }
    lw_buffer_reset(&body);
    return status;
}
