/* SPDX-License-Identifier: Apache-2.0 */
#include "node/resolve.h"

#include "txn/resolve.h"

typedef struct resolving {
    lw_ask *ask;
    void *argument;
    uint64_t start;
    lw_bytes primary;
    const lw_bytes *secondaries; /* of the last CHECK, in the arena */
    lw_arena arena;
    lw_buffer body, reply;
} resolving;

LW_YIELDS static lw_status send(resolving *job, lw_message_kind kind, lw_bytes key) {
    lw_buffer_clear(&job->reply);
    return job->ask(job->argument, kind, key, lw_buffer_view(&job->body), &job->reply);
}

LW_YIELDS static lw_status check(resolving *job, const lw_resolve_action *action,
                                 lw_resolve_event *event) {
    lw_check_request request = {.start = job->start,
                                .primary = job->primary,
                                .decide = action->decide,
                                .patient = action->patient};
    lw_check_reply reply;
    lw_check_request_encode(&request, &job->body);
    LW_TRY(send(job, LW_MESSAGE_CHECK, job->primary));
    lw_bytes copy = lw_arena_copy(&job->arena, lw_buffer_view(&job->reply));
    LW_TRY(lw_check_reply_decode(copy, &job->arena, &reply));
    job->secondaries = reply.secondaries;
    *event = lw_resolve_checked(&reply);
    return LW_OK;
}

/* One at a time: the next may lie in another shard, and asking costs little inside a node. */
LW_YIELDS static lw_status look(resolving *job, const lw_resolve_action *action,
                                lw_resolve_event *event) {
    LW_ASSERT(job->secondaries != NULL);
    lw_bytes key = job->secondaries[action->first];
    lw_check_secondaries_request request = {.start = job->start,
                                            .commit_timestamp = action->commit_timestamp,
                                            .keys = &key,
                                            .key_count = 1,
                                            .decide = action->decide};
    lw_check_secondaries_reply reply;
    lw_check_secondaries_request_encode(&request, &job->body);
    LW_TRY(send(job, LW_MESSAGE_CHECK_SECONDARIES, key));
    LW_TRY(lw_check_secondaries_reply_decode(lw_buffer_view(&job->reply), &job->arena, &reply));
    *event = lw_resolve_looked(&reply, 1);
    return LW_OK;
}

LW_YIELDS static lw_status finish(resolving *job, const lw_resolve_action *action) {
    bool commits = action->kind == LW_RESOLVE_SEND_COMMIT;
    lw_finish_request request = {.start = job->start,
                                 .commit_timestamp = action->commit_timestamp,
                                 .keys = &job->primary,
                                 .key_count = 1};
    lw_finish_request_encode(&request, &job->body);
    return send(job, commits ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK, job->primary);
}

LW_YIELDS static void carry_out(resolving *job, const lw_resolve_action *action,
                                lw_resolve_event *event) {
    lw_buffer_clear(&job->body);
    switch (action->kind) {
    case LW_RESOLVE_SEND_CHECK:
        event->status = check(job, action, event);
        return;
    case LW_RESOLVE_SEND_SECONDARIES:
        event->status = look(job, action, event);
        return;
    case LW_RESOLVE_SEND_COMMIT:
    case LW_RESOLVE_SEND_ROLLBACK:
        event->status = finish(job, action);
        return;
    case LW_RESOLVE_DONE:
        break;
    }
    LW_ASSERT(false && "an action without a request");
}

lw_status lw_resolve_by_asking(lw_env *env, lw_ask *ask, void *argument, uint64_t start,
                               lw_bytes primary, uint64_t remaining_ms, bool decide,
                               lw_check_reply *fate) {
    lw_buffer empty = lw_buffer_in(env->memory);
    resolving job = {.ask = ask,
                     .argument = argument,
                     .start = start,
                     .primary = primary,
                     .arena = lw_arena_in(env->memory),
                     .body = empty,
                     .reply = empty};
    lw_resolve_machine machine;
    lw_resolve_machine_init(&machine, remaining_ms, decide);
    for (;;) {
        lw_resolve_action action = lw_resolve_machine_next(&machine);
        if (action.kind == LW_RESOLVE_DONE) {
            break;
        }
        lw_resolve_event event = {.status = LW_OK};
        carry_out(&job, &action, &event);
        lw_resolve_machine_step(&machine, &event);
    }
    lw_arena_reset(&job.arena);
    lw_buffer_reset(&job.body);
    lw_buffer_reset(&job.reply);
    LW_TRY(machine.status);
    *fate = (lw_check_reply){.fate = machine.fate};
    if (machine.fate == LW_FATE_COMMITTED) {
        fate->commit_timestamp = machine.commit_timestamp;
    }
    return LW_OK;
}
