/* SPDX-License-Identifier: Apache-2.0 */
/* Running a transaction until it commits: the one place that knows what may be repeated. Only whole
 * transactions are, never parts whose reads were used (hazard T10). */
#include "client/transaction.h"

static const uint64_t ns_per_ms = 1000000;

/* One attempt from begin to close. */
LW_YIELDS static lw_status run_once(lw_client *client, const lw_txn_options *options,
                                    lw_txn_body body, void *argument) {
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, options, &txn));
    lw_status status = body(txn, argument);
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    return status;
}

LW_YIELDS static lw_status run(lw_client *client, const lw_txn_options *options, lw_txn_body body,
                               void *argument) {
    uint64_t deadline_ns = lw_client_deadline(client, options->timeout_ms);
    for (uint32_t attempt = 0;; attempt++) {
        uint64_t now = lw_env_now(client->env);
        uint64_t left_ms = now < deadline_ns ? (deadline_ns - now) / ns_per_ms : 0;
        lw_txn_options this_time = *options;
        this_time.timeout_ms = left_ms == 0 ? 1 : (uint32_t)left_ms;
        lw_status status = run_once(client, &this_time, body, argument);
        bool nobody = status == LW_UNAVAILABLE && !client->reached; /* nor ever was */
        if (nobody || !lw_status_retryable(status)) {
            return status;
        }
        lw_error reason = client->error;
        if (!lw_client_pause(client, attempt, deadline_ns)) {
            return lw_fail(status, "given up after %u attempts; the last: %.400s", attempt + 1,
                           reason.status == status ? reason.text : lw_status_text(status));
        }
        LW_MARK(client->env, "client.transaction_run_again");
    }
}

lw_status lw_run(lw_client *client, const lw_txn_options *options, lw_txn_body body,
                 void *argument) {
    static const lw_txn_options defaults;
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer,
                           run(client, options == NULL ? &defaults : options, body, argument));
}
