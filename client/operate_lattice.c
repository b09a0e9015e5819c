/* SPDX-License-Identifier: Apache-2.0 */
#include "client/operate_lattice.h"

#include "client/client.h"

/* ---- asking --------------------------------------------------------------------------------- */

LW_YIELDS static lw_status ask(lw_client *client, lw_message_kind kind, lw_bytes key, lw_bytes body,
                               lw_bytes *answer) {
    lw_reply reply;
    LW_TRY(lw_client_call(client, kind, key, body, lw_client_deadline(client, 0), &reply, NULL));
    *answer = reply.body;
    return LW_OK;
}

LW_YIELDS static lw_status visit_nodes(lw_client *client,
                                       void (*visit)(void *argument, const lw_member_row *row),
                                       void *argument) {
    lw_bytes answer;
    lw_reader reader;
    uint32_t count;
    LW_TRY(ask(client, LW_MESSAGE_NODES, (lw_bytes){0}, (lw_bytes){0}, &answer));
    LW_TRY(lw_member_rows_open(answer, &reader, &count));
    for (uint32_t index = 0; index < count; index++) {
        lw_member_row row;
        LW_TRY(lw_member_row_next(&reader, &row));
        visit(argument, &row);
    }
    return LW_OK;
}

lw_status lw_operate_nodes(lw_client *client,
                           void (*visit)(void *argument, const lw_member_row *row),
                           void *argument) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, visit_nodes(client, visit, argument));
}

LW_YIELDS static lw_status visit_events(lw_client *client, uint64_t after,
                                        void (*visit)(void *argument, const lw_event_row *row),
                                        void *argument) {
    lw_bytes answer;
    lw_reader reader;
    uint32_t count;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_events_request_encode(after, &body);
    lw_status status =
        ask(client, LW_MESSAGE_EVENTS, (lw_bytes){0}, lw_buffer_view(&body), &answer);
    lw_buffer_reset(&body);
    LW_TRY(status);
    LW_TRY(lw_report_open(answer, &reader, &count));
    for (uint32_t index = 0; index < count; index++) {
        lw_event_row row;
        LW_TRY(lw_event_row_next(&reader, &row));
        visit(argument, &row);
    }
    return LW_OK;
}

lw_status lw_operate_events(lw_client *client, uint64_t after,
                            void (*visit)(void *argument, const lw_event_row *row),
                            void *argument) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, visit_events(client, after, visit, argument));
}

LW_YIELDS static lw_status visit_plan(lw_client *client,
                                      void (*visit)(void *argument, const lw_plan_row *row),
                                      void *argument) {
    lw_bytes answer;
    lw_reader reader;
    uint32_t count;
    LW_TRY(ask(client, LW_MESSAGE_PLAN, (lw_bytes){0}, (lw_bytes){0}, &answer));
    LW_TRY(lw_report_open(answer, &reader, &count));
    for (uint32_t index = 0; index < count; index++) {
        lw_plan_row row;
        LW_TRY(lw_plan_row_next(&reader, &row));
        visit(argument, &row);
    }
    return LW_OK;
}

lw_status lw_operate_plan(lw_client *client, void (*visit)(void *argument, const lw_plan_row *row),
                          void *argument) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, visit_plan(client, visit, argument));
}

/* ---- telling -------------------------------------------------------------------------------- */

LW_YIELDS static lw_status tell(lw_client *client, lw_message_kind kind, uint64_t node, bool flag) {
    lw_bytes answer;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_node_request_encode(node, flag, &body);
    lw_status status = ask(client, kind, (lw_bytes){0}, lw_buffer_view(&body), &answer);
    lw_buffer_reset(&body);
    return status;
}

lw_status lw_operate_drain(lw_client *client, uint64_t node, bool on) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, tell(client, LW_MESSAGE_DRAIN, node, on));
}

lw_status lw_operate_leave(lw_client *client, uint64_t node, bool force) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, tell(client, LW_MESSAGE_LEAVE, node, force));
}

LW_YIELDS static lw_status change(lw_client *client, lw_bytes start,
                                  const lw_change_replicas_request *request) {
    lw_bytes answer;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_change_replicas_request_encode(request, &body);
    lw_status status =
        ask(client, LW_MESSAGE_CHANGE_REPLICAS, start, lw_buffer_view(&body), &answer);
    lw_buffer_reset(&body);
    LW_TRY(status);
    (void)lw_routes_learn_all(&client->routes, answer);
    return LW_OK;
}

/* A call is made again until the newcomer has caught up. */
lw_status lw_operate_move(lw_client *client, lw_bytes start, uint64_t node, uint64_t leaves) {
    lw_error *outer = lw_client_enter(client);
    lw_status status = change(client, start, &(lw_change_replicas_request){.learner = node});
    if (status == LW_OK) {
        status =
            change(client, start, &(lw_change_replicas_request){.voter = node, .leaves = leaves});
    }
    return lw_client_leave(outer, status);
}

lw_status lw_operate_transfer(lw_client *client, lw_bytes start, uint64_t node) {
    lw_error *outer = lw_client_enter(client);
    lw_bytes answer;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_transfer_request_encode(&(lw_transfer_request){.node = node}, &body);
    lw_status status = ask(client, LW_MESSAGE_TRANSFER, start, lw_buffer_view(&body), &answer);
    lw_buffer_reset(&body);
    return lw_client_leave(outer, status);
}

/* ---- tokens --------------------------------------------------------------------------------- */

LW_YIELDS static lw_status visit_tokens(lw_client *client,
                                        void (*visit)(void *argument, const lw_token_row *row),
                                        void *argument) {
    lw_bytes answer;
    lw_reader reader;
    uint32_t count;
    LW_TRY(ask(client, LW_MESSAGE_TOKENS, (lw_bytes){0}, (lw_bytes){0}, &answer));
    LW_TRY(lw_report_open(answer, &reader, &count));
    for (uint32_t index = 0; index < count; index++) {
        lw_token_row row;
        LW_TRY(lw_token_row_next(&reader, &row));
        visit(argument, &row);
    }
    return LW_OK;
}

lw_status lw_operate_tokens(lw_client *client,
                            void (*visit)(void *argument, const lw_token_row *row),
                            void *argument) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, visit_tokens(client, visit, argument));
}

LW_YIELDS static lw_status revoke(lw_client *client, const lw_revoke_request *request,
                                  void (*visit)(void *argument, uint64_t node, bool knows),
                                  void *argument) {
    lw_bytes answer;
    lw_reader reader;
    uint32_t count;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_revoke_request_encode(request, &body);
    lw_status status =
        ask(client, LW_MESSAGE_REVOKE, (lw_bytes){0}, lw_buffer_view(&body), &answer);
    lw_buffer_reset(&body);
    LW_TRY(status);
    LW_TRY(lw_report_open(answer, &reader, &count));
    for (uint32_t index = 0; index < count; index++) {
        uint64_t node;
        bool knows;
        LW_TRY(lw_node_row_next(&reader, &node, &knows));
        visit(argument, node, knows);
    }
    return LW_OK;
}

lw_status lw_operate_revoke(lw_client *client, const lw_revoke_request *request,
                            void (*visit)(void *argument, uint64_t node, bool knows),
                            void *argument) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, revoke(client, request, visit, argument));
}

lw_status lw_operate_merge(lw_client *client, lw_bytes start, uint64_t right) {
    lw_error *outer = lw_client_enter(client);
    lw_bytes answer;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_merge_request_encode(&(lw_merge_request){.right = right}, &body);
    lw_status status = ask(client, LW_MESSAGE_MERGE, start, lw_buffer_view(&body), &answer);
    lw_buffer_reset(&body);
    if (status == LW_OK) {
        (void)lw_routes_learn_all(&client->routes, answer);
    }
    return lw_client_leave(outer, status);
}

/* ---- keys ----------------------------------------------------------------------------------- */

LW_YIELDS static lw_status rotate(lw_client *client, uint64_t *epoch) {
    lw_bytes answer;
    LW_TRY(ask(client, LW_MESSAGE_ROTATE, (lw_bytes){0}, (lw_bytes){0}, &answer));
    lw_reader reader = lw_reader_of(answer);
    uint64_t read = lw_read_u64(&reader);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "the answer to a change of the key is not well-formed");
    }
    *epoch = read;
    return LW_OK;
}

lw_status lw_operate_rotate(lw_client *client, uint64_t *epoch) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, rotate(client, epoch));
}
