/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots that are kept for longer than the node keeps the past by itself: see node/gc.h. */
#include "client/transaction.h"
#include "txn/request.h"

LW_YIELDS static lw_status call(lw_client *client, lw_message_kind kind,
                                const lw_pin_request *request, lw_reply *reply) {
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_pin_request_encode(request, &body);
    lw_status status = lw_client_call(client, kind, (lw_bytes){0}, lw_buffer_view(&body),
                                      lw_client_deadline(client, 0), reply, NULL);
    lw_buffer_reset(&body);
    return status;
}

LW_YIELDS static lw_status pin(lw_client *client, uint64_t lifetime_ms, uint64_t *timestamp) {
    if (lifetime_ms == 0 || lifetime_ms > LW_PIN_LIFETIME_MAX_MS) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a pin of %llu ms is none: it is at least 1 ms, at most 1000 hours",
                       (unsigned long long)lifetime_ms);
    }
    lw_pin_request request = {.timestamp = *timestamp, .lifetime_ms = lifetime_ms, .asked = true};
    lw_reply reply;
    lw_pin_reply answer;
    LW_TRY(call(client, LW_MESSAGE_PIN, &request, &reply));
    LW_TRY(lw_pin_reply_decode(reply.body, &client->arena, &answer));
    *timestamp = answer.timestamp;
    return LW_OK;
}

lw_status lw_pin(lw_client *client, uint64_t lifetime_ms, uint64_t *timestamp) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, pin(client, lifetime_ms, timestamp));
}

LW_YIELDS static lw_status unpin(lw_client *client, uint64_t timestamp) {
    if (timestamp == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "nothing is pinned at timestamp 0");
    }
    lw_reply reply;
    return call(client, LW_MESSAGE_UNPIN, &(lw_pin_request){.timestamp = timestamp, .asked = true},
                &reply);
}

lw_status lw_unpin(lw_client *client, uint64_t timestamp) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, unpin(client, timestamp));
}

void lw_txn_let_go(lw_txn *txn) {
    lw_client *client = txn->client;
    uint64_t timestamp =
        txn->start != 0 && (txn->read_timestamp == 0 || txn->start < txn->read_timestamp)
            ? txn->start
            : txn->read_timestamp;
    uint64_t lasts_ms = (txn->deadline_ns - txn->begun_ns) / 1000000;
    uint64_t retention_ms = lw_contacts_retention_ms(&client->contacts);
    bool pinned = lasts_ms > retention_ms || txn->options.at_timestamp != 0;
    if (timestamp == 0 || retention_ms == 0 || !pinned) {
        return;
    }
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_pin_request_encode(&(lw_pin_request){.timestamp = timestamp}, &body);
    lw_client_send_behind(client, LW_MESSAGE_UNPIN, (lw_bytes){0}, lw_buffer_view(&body));
    lw_buffer_reset(&body);
}
