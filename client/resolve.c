/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of others in the way of a transaction: whoever meets one asks its primary key what became
 * of its transaction, and finishes the key accordingly (Percolator's lazy clean-up). */
#include "client/transaction.h"

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

LW_YIELDS static lw_status check_primary(lw_txn *txn, uint64_t start, lw_bytes primary,
                                         lw_check_reply *answer) {
    lw_check_request request = {.start = start, .primary = primary};
    lw_buffer body = lw_buffer_in(txn->client->env->memory);
    lw_check_request_encode(&request, &body);
    lw_reply reply;
    lw_status status = lw_client_call(txn->client, LW_MESSAGE_CHECK, primary, lw_buffer_view(&body),
                                      txn->deadline_ns, &reply, NULL);
    lw_buffer_reset(&body);
    LW_TRY(status);
    return lw_check_reply_decode(reply.body, &txn->client->arena, answer);
}

/* `key` and `primary` are copies, since the calls here overwrite the reply they came in. */
LW_YIELDS static lw_status resolve(lw_txn *txn, uint64_t start, lw_bytes key, lw_bytes primary,
                                   uint32_t attempt) {
    lw_check_reply answer;
    LW_TRY(check_primary(txn, start, primary, &answer));
    if (answer.fate == LW_FATE_ALIVE) {
        LW_MARK(txn->client->env, "client.waits_for_a_live_lock");
        if (!lw_client_pause(txn->client, attempt, txn->deadline_ns)) {
            char text[LW_PRINTABLE_SIZE];
            return lw_fail(LW_TIMEOUT,
                           "the key \"%s\" was still locked by transaction %llu at the "
                           "deadline",
                           lw_printable(key, text, sizeof(text)), (unsigned long long)start);
        }
        return LW_OK;
    }
    LW_MARK(txn->client->env, "client.finishes_a_dead_lock");
    return finish_key(txn, start, answer.fate == LW_FATE_COMMITTED ? answer.commit_timestamp : 0,
                      key);
}

lw_status lw_txn_resolve(lw_txn *txn, const lw_obstacle *obstacle, uint32_t attempt) {
    LW_ASSERT(obstacle->kind == LW_OBSTACLE_LOCK);
    lw_memory *memory = txn->client->env->memory;
    lw_bytes key = lw_copy(memory, obstacle->key);
    lw_bytes primary = lw_copy(memory, obstacle->primary);
    lw_status status = resolve(txn, obstacle->start, key, primary, attempt);
    lw_free(memory, (void *)(uintptr_t)key.data);
    lw_free(memory, (void *)(uintptr_t)primary.data);
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
