/* SPDX-License-Identifier: Apache-2.0 */
#include "client/operate.h"

#include "client/client.h"

/* ---- locks ---------------------------------------------------------------------------------- */

/* One page, from `from` on; then `from` is where to go on. LW_NOT_FOUND behind the last. */
LW_YIELDS static lw_status visit_page(lw_client *client, uint32_t page_rows, lw_buffer *from,
                                      bool (*visit)(void *argument, const lw_lock_row *row),
                                      void *argument) {
    lw_locks_request request = {.lower = lw_buffer_view(from), .row_limit = page_rows};
    lw_locks_reply answer;
    lw_reply reply;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_locks_request_encode(&request, &body);
    lw_status status =
        lw_client_call(client, LW_MESSAGE_LOCKS, lw_buffer_view(from), lw_buffer_view(&body),
                       lw_client_deadline(client, 0), &reply, NULL);
    lw_buffer_reset(&body);
    LW_TRY(status);
    LW_TRY(lw_locks_reply_decode(reply.body, &client->arena, &answer));
    for (uint32_t index = 0; index < answer.row_count; index++) {
        if (!visit(argument, &answer.rows[index])) {
            return LW_NOT_FOUND;
        }
    }
    if (!answer.more) {
        return LW_NOT_FOUND;
    }
    if (lw_compare(answer.next, lw_buffer_view(from)) <= 0) {
        return lw_fail(LW_INTERNAL, "the node went back in the list of its locks");
    }
    lw_buffer_clear(from);
    lw_buffer_append(from, answer.next);
    return LW_OK;
}

lw_status lw_operate_locks(lw_client *client, uint32_t page_rows,
                           bool (*visit)(void *argument, const lw_lock_row *row), void *argument) {
    lw_error *outer = lw_client_enter(client);
    lw_buffer from = lw_buffer_in(client->env->memory);
    lw_status status;
    do {
        status = visit_page(client, page_rows, &from, visit, argument);
    } while (status == LW_OK);
    lw_buffer_reset(&from);
    return lw_client_leave(outer, status == LW_NOT_FOUND ? LW_OK : status);
}

/* ---- kill ----------------------------------------------------------------------------------- */

LW_YIELDS static lw_status kill_transaction(lw_client *client, uint64_t transaction,
                                            uint64_t *commit_timestamp) {
    lw_kill_request request = {.start = transaction};
    lw_kill_reply answer;
    lw_reply reply;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_kill_request_encode(&request, &body);
    lw_status status = lw_client_call(client, LW_MESSAGE_KILL, lw_text(""), lw_buffer_view(&body),
                                      lw_client_deadline(client, 0), &reply, NULL);
    lw_buffer_reset(&body);
    LW_TRY(status);
    LW_TRY(lw_kill_reply_decode(reply.body, &client->arena, &answer));
    if (answer.fate == LW_FATE_COMMITTED) {
        *commit_timestamp = answer.commit_timestamp;
        return lw_fail(LW_REFUSED, "transaction %llu has committed, at %llu",
                       (unsigned long long)transaction,
                       (unsigned long long)answer.commit_timestamp);
    }
    if (answer.fate == LW_FATE_UNKNOWN) {
        return lw_fail(LW_NOT_FOUND, "transaction %llu has no locks, and writes nothing",
                       (unsigned long long)transaction);
    }
    return LW_OK;
}

lw_status lw_operate_kill(lw_client *client, uint64_t transaction, uint64_t *commit_timestamp) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, kill_transaction(client, transaction, commit_timestamp));
}

/* ---- shards --------------------------------------------------------------------------------- */

/* Those of one answer, from `from` on; then `from` is where to go on. LW_NOT_FOUND behind the last.
 */
LW_YIELDS static lw_status visit_shards(lw_client *client, lw_buffer *from,
                                        bool (*visit)(void *argument, const lw_shard_row *row),
                                        void *argument) {
    lw_reply reply;
    lw_reader reader;
    uint32_t count;
    LW_TRY(lw_client_call(client, LW_MESSAGE_SHARDS, (lw_bytes){0}, lw_buffer_view(from),
                          lw_client_deadline(client, 0), &reply, NULL));
    LW_TRY(lw_topology_open(reply.body, &reader, &count));
    lw_shard_row row = {0};
    for (uint32_t index = 0; index < count; index++) {
        LW_TRY(lw_shard_row_next(&reader, &row));
        if (!visit(argument, &row)) {
            return LW_NOT_FOUND;
        }
    }
    if (row.shard.end.size == 0) {
        return LW_NOT_FOUND;
    }
    if (lw_compare(row.shard.end, lw_buffer_view(from)) <= 0) {
        return lw_fail(LW_INTERNAL, "the node went back in the list of its shards");
    }
    lw_buffer_clear(from);
    lw_buffer_append(from, row.shard.end);
    return LW_OK;
}

lw_status lw_operate_shards(lw_client *client,
                            bool (*visit)(void *argument, const lw_shard_row *row),
                            void *argument) {
    lw_error *outer = lw_client_enter(client);
    lw_buffer from = lw_buffer_in(client->env->memory);
    lw_status status;
    do {
        status = visit_shards(client, &from, visit, argument);
    } while (status == LW_OK);
    lw_buffer_reset(&from);
    return lw_client_leave(outer, status == LW_NOT_FOUND ? LW_OK : status);
}

LW_YIELDS static lw_status split(lw_client *client, lw_bytes key) {
    if (key.size == 0 || key.size > LW_KEY_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a shard cannot begin at a key of %zu bytes: 1 to %d",
                       key.size, (int)LW_KEY_SIZE_MAX);
    }
    lw_reply reply;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_split_request_encode(&(lw_split_request){.key = key}, &body);
    lw_status status = lw_client_call(client, LW_MESSAGE_SPLIT, key, lw_buffer_view(&body),
                                      lw_client_deadline(client, 0), &reply, NULL);
    lw_buffer_reset(&body);
    LW_TRY(status);
    (void)lw_routes_learn_all(&client->routes, reply.body);
    return LW_OK;
}

lw_status lw_split(lw_client *client, lw_bytes key) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, split(client, key));
}
