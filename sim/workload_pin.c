/* SPDX-License-Identifier: Apache-2.0 */
/* Pins: a client keeps a snapshot for a while, as a backup does, and reads the bank in it again and
 * again: it is whole, and the same each time. */
#include "sim/workload_private.h"

enum { LIFETIME_MAX_MS = 5000, LOOKS_MAX = 6, PAUSE_NS = 700 * 1000 * 1000, MARGIN = 2 };

/* Reads it all as of the pin. LW_TOO_OLD is no answer while the pin lasts, unless the client's
 * session may have ended in between, or the node that had the pin lost. */
LW_YIELDS static lw_status look(lw_workload_client *self, lw_client *client, uint64_t timestamp,
                                bool lasts) {
    lw_workload *workload = self->workload;
    lw_txn_options options = {.at_timestamp = timestamp};
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, &options, &txn));
    lw_status status = workload_sum_accounts(workload, txn, false);
    lw_txn_close(txn);
    if (status == LW_TOO_OLD && lasts && workload->undisturbed) {
        lw_buffer_print(&workload->violations,
                        "pins: the snapshot at %" PRIu64 " is pinned, and gone: %s\n", timestamp,
                        lw_client_error(client));
    }
    return status;
}

void workload_run_pin(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    uint64_t began_ns = workload->now_ns(workload->clock), timestamp = 0;
    uint64_t lifetime_ms = 1 + workload_below(env, LIFETIME_MAX_MS);
    /* One of a while ago may be gone already. */
    timestamp = workload_below(env, 3) == 0 ? workload->highest_timestamp : 0;
    lw_status status = lw_pin(client, lifetime_ms, &timestamp);
    for (uint64_t looks = 1 + workload_below(env, LOOKS_MAX);
         looks > 0 && status == LW_OK && !workload->stopping; looks--) {
        uint64_t now_ns = workload->now_ns(workload->clock);
        bool lasts = (now_ns - began_ns) / 1000000 < lifetime_ms / MARGIN;
        status = look(self, client, timestamp, lasts);
        lw_env_sleep(env, workload_below(env, PAUSE_NS));
    }
    if (timestamp != 0 && workload_below(env, 2) == 0) {
        (void)!lw_unpin(client, timestamp);
    }
}
