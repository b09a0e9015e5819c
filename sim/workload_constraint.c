/* SPDX-License-Identifier: Apache-2.0 */
/* Constraints that a transaction keeps if nothing changes under it: of a pair of rows at least one
 * is set, and a range holds at most so many. Two transactions that each keep them can break them
 * together: by write skew, and by rows that appear in a range another has looked at. */
#include "sim/workload_private.h"

enum { PAIRS = 2, RANGES = 2, GUESTS_MAX = 2, GUESTS_SEEN = 8, MULL_NS = 15 * 1000 * 1000 };

static lw_bytes duty_key(uint64_t pair, uint64_t side, char key[WORKLOAD_KEY_SIZE]) {
    int size = snprintf(key, WORKLOAD_KEY_SIZE, "duty/%" PRIu64 "/%" PRIu64, pair, side);
    return lw_view(key, (size_t)size);
}

/* A row that is not there counts as set. */
LW_YIELDS static lw_status read_duty(lw_txn *txn, uint64_t pair, uint64_t side, bool *on) {
    char key[WORKLOAD_KEY_SIZE];
    lw_bytes value;
    lw_status status = lw_get(txn, duty_key(pair, side, key), &value);
    *on = status == LW_NOT_FOUND || (status == LW_OK && value.size > 0);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

LW_YIELDS static lw_status change_duty(lw_env *env, lw_txn *txn, bool *broken) {
    uint64_t pair = workload_below(env, PAIRS), side = workload_below(env, 2);
    bool on[2];
    char key[WORKLOAD_KEY_SIZE];
    LW_TRY(read_duty(txn, pair, 0, &on[0]));
    LW_TRY(read_duty(txn, pair, 1, &on[1]));
    *broken = !on[0] && !on[1];
    lw_env_sleep(env, workload_below(env, MULL_NS)); /* others decide by the same meanwhile */
    if (workload_below(env, 4) == 0) {
        return LW_OK; /* looked, and left */
    }
    bool both = on[0] && on[1];
    if (!both) {
        side = on[0] ? 1 : 0;
    }
    return lw_put(txn, duty_key(pair, side, key), lw_text(both ? "" : "on"));
}

/* Counts the guests of a range, and keeps their keys. */
LW_YIELDS static lw_status count_guests(lw_txn *txn, const char *prefix, uint64_t *guest_count,
                                        char keys[GUESTS_SEEN][WORKLOAD_KEY_SIZE]) {
    lw_scan_options options = {.prefix = lw_text(prefix)};
    lw_scan *scan = NULL;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    lw_bytes key, value;
    lw_status status;
    *guest_count = 0;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        if (*guest_count < GUESTS_SEEN) {
            (void)snprintf(keys[*guest_count], WORKLOAD_KEY_SIZE, "%.*s", (int)key.size,
                           (const char *)key.data);
        }
        ++*guest_count;
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* Takes a seat if there is one; if not, all or one may be asked to leave. */
LW_YIELDS static lw_status seat_guest(lw_env *env, lw_workload *workload, lw_txn *txn,
                                      bool *broken) {
    char prefix[WORKLOAD_KEY_SIZE], key[WORKLOAD_KEY_SIZE], keys[GUESTS_SEEN][WORKLOAD_KEY_SIZE];
    uint64_t guest_count;
    (void)snprintf(prefix, sizeof(prefix), "guest/%" PRIu64 "/", workload_below(env, RANGES));
    LW_TRY(count_guests(txn, prefix, &guest_count, keys));
    *broken = guest_count > GUESTS_MAX;
    lw_env_sleep(env, workload_below(env, MULL_NS));
    if (guest_count < GUESTS_MAX) {
        int size = snprintf(key, sizeof(key), "%s%08" PRIu64, prefix, workload->next_element++);
        return lw_insert(txn, lw_view(key, (size_t)size), lw_text("guest"));
    }
    if (workload_below(env, 2) == 0) {
        (void)snprintf(key, sizeof(key), "%s", prefix);
        key[strlen(prefix) - 1]++; /* the first key beyond */
        return lw_delete_range(txn, lw_text(prefix), lw_text(key), NULL);
    }
    return lw_delete(txn, lw_text(keys[0]), NULL);
}

void workload_run_constraint(lw_env *env, lw_workload_client *self, lw_client *client) {
    workload_txn in;
    if (!workload_begin(&in, env, self, client, false)) {
        return;
    }
    bool broken = false;
    lw_status status = workload_below(env, 2) == 0
                           ? change_duty(env, in.txn, &broken)
                           : seat_guest(env, self->workload, in.txn, &broken);
    lw_outcome outcome = workload_finish(&in, status);
    self->workload->broken_constraints += broken && outcome == LW_OUTCOME_OK;
    workload_close(&in);
}
