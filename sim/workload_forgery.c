/* SPDX-License-Identifier: Apache-2.0 */
/* A client that makes timestamps up (hazard T3): it says that a transaction which began at
 * another's commit timestamp is to be rolled back where that other one wrote. The rollback record
 * would take the place of what was committed. */
#include "sim/workload_private.h"

#include "client/client.h"
#include "txn/request.h"

/* The key that a transaction wrote, if it touched no other: there it was decided. Of several nobody
 * knows which is the primary, as what was read may have been locked, too; and on the others locks
 * may stand for a while, which do not tell at which timestamp they will be committed. */
static const lw_history_key *only_touched(const lw_history *history, const lw_history_txn *txn) {
    const lw_history_key *only = NULL;
    bool wrote = false;
    for (const lw_history_op *op = txn->ops; op != NULL; op = op->next) {
        const lw_history_key *key = history->keys[op->key];
        if (only != NULL && only != key) {
            return NULL;
        }
        only = key;
        wrote = wrote || op->kind != LW_HISTORY_READ;
    }
    return wrote ? only : NULL;
}

/* A key and the timestamp of a commit that wrote it, one of the latest; false if there is none. */
static bool find_victim(lw_env *env, const lw_history *history, lw_bytes *key,
                        uint64_t *timestamp) {
    bool found = false;
    for (const lw_history_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        const lw_history_key *only = only_touched(history, txn);
        bool wrote = only != NULL && txn->commit_timestamp != 0;
        if (wrote && (!found || workload_below(env, 3) == 0)) {
            found = true;
            *key = only->name;
            *timestamp = txn->commit_timestamp;
        }
    }
    return found;
}

void workload_run_forgery(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_bytes key = {0};
    uint64_t timestamp = 0;
    if (!find_victim(env, &self->workload->history, &key, &timestamp)) {
        return;
    }
    lw_finish_request request = {.start = timestamp, .keys = &key, .key_count = 1};
    lw_buffer body = lw_buffer_in(env->memory);
    lw_finish_request_encode(&request, &body);
    lw_reply reply;
    lw_error *outer = lw_client_enter(client);
    lw_status status = lw_client_call(client, LW_MESSAGE_ROLLBACK, key, lw_buffer_view(&body),
                                      lw_client_deadline(client, 0), &reply, NULL);
    (void)!lw_client_leave(outer, status); /* whether it was refused, the victim's fate tells */
    lw_buffer_reset(&body);
}
