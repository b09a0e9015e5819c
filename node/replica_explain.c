/* SPDX-License-Identifier: Apache-2.0 */
/* What a request that did not go through is told: which key, whose transaction, and how long it
 * waited. And transactions that were killed, which are refused from then on. */
#include "node/replica_state.h"

#define NS_PER_MS UINT64_C(1000000)

/* ---- labels --------------------------------------------------------------------------------- */

static lw_bytes label_of(const replica_call *call, uint64_t session) {
    const lw_replica_options *options = &call->replica->options;
    return session == 0 ? (lw_bytes){0} : options->session_label(options->argument, session);
}

void replica_note_writer(const replica_call *call, uint64_t start, uint64_t commit_timestamp) {
    lw_recent_note(call->replica->options.writers, start, commit_timestamp,
                   label_of(call, call->session));
}

/* ---- obstacles ------------------------------------------------------------------------------ */

/* A transaction whose locks were ended by a kill met its rollback record. */
static void tell_killer(const replica_call *call, lw_obstacle *obstacle) {
    const lw_recent_entry *killed = lw_recent_find(call->replica->options.killed, obstacle->start);
    if (obstacle->kind == LW_OBSTACLE_ROLLED_BACK && killed != NULL) {
        obstacle->kind = LW_OBSTACLE_KILLED;
        obstacle->label = lw_recent_label(killed);
    }
}

void replica_obstacle(const replica_call *call, lw_buffer *reply) {
    lw_obstacle obstacle = call->evaluation.obstacle;
    obstacle.waited_ms = call->waited_ns / NS_PER_MS;
    if (call->evaluation.obstacle_session != 0) {
        obstacle.label = label_of(call, call->evaluation.obstacle_session);
    }
    if (obstacle.label.size == 0) {
        obstacle.label =
            lw_recent_label(lw_recent_find(call->replica->options.writers, obstacle.start));
    }
    tell_killer(call, &obstacle);
    lw_obstacle_encode(&obstacle, reply);
}

lw_status replica_deadlock(replica_call *call, lw_bytes key, const lw_lock_cycle *cycle) {
    char text[LW_PRINTABLE_SIZE];
    LW_MARK(call->replica->env, "replica.deadlock");
    lw_deadlock_step *steps = lw_arena_allocate(&call->arena, cycle->step_count * sizeof(*steps));
    for (uint32_t index = 0; index < cycle->step_count; index++) {
        const lw_lock_step *step = &cycle->steps[index];
        steps[index] =
            (lw_deadlock_step){.start = step->start,
                               .key = lw_arena_copy(&call->arena, step->key),
                               .label = lw_arena_copy(&call->arena, label_of(call, step->session))};
    }
    call->evaluation.obstacle = (lw_obstacle){.kind = LW_OBSTACLE_DEADLOCK,
                                              .key = steps[0].key,
                                              .start = steps[1].start,
                                              .label = steps[1].label,
                                              .cycle_length = cycle->length,
                                              .step_count = cycle->step_count,
                                              .steps = steps};
    call->evaluation.obstacle_session = 0;
    return lw_fail(LW_CONFLICT, "waiting for key \"%s\" would be a deadlock",
                   lw_printable(key, text, sizeof(text)));
}

lw_status replica_refused(replica_call *call, lw_lock_waiter *waiter) {
    char text[LW_PRINTABLE_SIZE];
    lw_bytes why = lw_arena_copy(&call->arena, lw_buffer_view(&waiter->why));
    lw_buffer_reset(&waiter->why);
    lw_status status = lw_obstacle_decode(why, &call->arena, &call->evaluation.obstacle);
    LW_ASSERT(status == LW_OK); /* it was encoded here */
    call->evaluation.obstacle_session = 0;
    return lw_fail(LW_CONFLICT, "waiting for key \"%s\" is a deadlock between nodes",
                   lw_printable(waiter->key, text, sizeof(text)));
}

lw_status replica_waits(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *replica = call->replica;
    lw_waits_request report;
    lw_waits_reply victims;
    if (replica->options.shard != LW_ROOT_SHARD || call->session != 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "waits are reported by nodes, to the root shard");
    }
    LW_TRY(lw_waits_request_decode(body, &call->arena, &report));
    lw_detector_report(replica->options.detector, &report, lw_env_now(replica->env), &call->arena,
                       &victims);
    lw_waits_reply_encode(&victims, reply);
    return LW_OK;
}

lw_status replica_waited_too_long(const replica_call *call, lw_bytes key) {
    const lw_replica *replica = call->replica;
    lw_lock_view lock;
    char text[LW_PRINTABLE_SIZE], label[LW_PRINTABLE_SIZE];
    unsigned long long waited_ms = call->waited_ns / NS_PER_MS;
    LW_MARK(replica->env, "replica.lock_timeout");
    (void)lw_printable(key, text, sizeof(text));
    if (!lw_lock_table_look(replica->locks, key, &lock)) {
        return lw_fail(LW_TIMEOUT, "waited %llu ms for the key \"%s\"", waited_ms, text);
    }
    lw_bytes name = label_of(call, lock.session);
    return lw_fail(LW_TIMEOUT,
                   "waited %llu ms for the key \"%s\", which transaction %llu%s%s%s has locked for "
                   "%llu ms",
                   waited_ms, text, (unsigned long long)lock.start,
                   name.size > 0 ? " of client \"" : "", lw_printable(name, label, sizeof(label)),
                   name.size > 0 ? "\"" : "",
                   (unsigned long long)(lw_env_now(replica->env) - lock.since_ns) / NS_PER_MS);
}

/* ---- the killed ----------------------------------------------------------------------------- */

lw_status replica_spared(replica_call *call, uint64_t start) {
    const lw_recent_entry *killed =
        start == 0 ? NULL : lw_recent_find(call->replica->options.killed, start);
    if (killed == NULL) {
        return LW_OK;
    }
    LW_MARK(call->replica->env, "replica.killed_refused");
    call->evaluation.obstacle =
        (lw_obstacle){.kind = LW_OBSTACLE_KILLED,
                      .start = start,
                      .label = lw_arena_copy(&call->arena, lw_recent_label(killed))};
    call->evaluation.obstacle_session = 0;
    return lw_fail(LW_CONFLICT, "transaction %llu was killed", (unsigned long long)start);
}
