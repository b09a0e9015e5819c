/* SPDX-License-Identifier: Apache-2.0 */
/* Expiry: a client's own keys, whose values it lets live for a while: so long, by the timestamps
 * that it is told, they are there, and no longer; and what was read of them while they lived is
 * committed, at strict isolation, before they expire. */
#include "sim/workload_private.h"

enum { TTL_MAX_MS = 3000, COUNTER_BITS = 18, LATE_NS = 20 * 1000000 };

static lw_bytes lease_key(const lw_workload_client *self, uint64_t index,
                          char key[WORKLOAD_KEY_SIZE]) {
    int size = snprintf(key, WORKLOAD_KEY_SIZE, "lease/%u/%" PRIu64, self->number, index);
    return lw_view(key, (size_t)size);
}

static void violation(lw_workload_client *self, uint64_t index, const lw_lease *lease,
                      uint64_t timestamp, const char *what) {
    lw_buffer_print(&self->workload->violations,
                    "expiry: client %u, key %" PRIu64 ", from %" PRIu64 " to %" PRIu64
                    ", at timestamp %" PRIu64 ": %s\n",
                    self->number, index, lease->from, lease->expires, timestamp, what);
}

/* Holds what was read at a timestamp, at or above its beginning, against the lease. */
static void check(lw_workload_client *self, uint64_t index, const lw_lease *lease,
                  uint64_t timestamp, lw_status status, lw_bytes value) {
    bool alive = lease->number != 0 && timestamp < lease->expires;
    bool same = value.size == sizeof(lease->number) &&
                memcmp(value.data, &lease->number, sizeof(lease->number)) == 0;
    if (status == LW_NOT_FOUND && alive) {
        violation(self, index, lease, timestamp, "it is gone too early");
    } else if (status == LW_OK && !alive) {
        violation(self, index, lease, timestamp, "it is there too long");
    } else if (status == LW_OK && !same) {
        violation(self, index, lease, timestamp, "it is another value");
    }
}

/* Reads the key as of a moment since the lease began, which may be too long ago. */
LW_YIELDS static void look_back(lw_env *env, lw_workload_client *self, lw_client *client,
                                uint64_t index) {
    char key[WORKLOAD_KEY_SIZE];
    lw_lease lease = self->leases[index];
    uint64_t until = self->workload->highest_timestamp;
    if (!lease.known || lease.number == 0 || until <= lease.from) {
        return;
    }
    lw_txn_options options = {.at_timestamp = lease.from + workload_below(env, until - lease.from)};
    lw_txn *txn = NULL;
    lw_bytes value = {0};
    if (lw_begin(client, &options, &txn) != LW_OK) {
        return;
    }
    lw_status status = lw_get(txn, lease_key(self, index, key), &value);
    check(self, index, &lease, options.at_timestamp, status, value);
    lw_txn_close(txn);
}

/* One transaction: reads the key, perhaps writes elsewhere what it saw, perhaps a new lease. */
typedef struct lease_plan {
    uint64_t index;
    bool saw_it;
    uint64_t number, ttl_ms; /* 0: no new one */
} lease_plan;

LW_YIELDS static lw_status lease_body(workload_txn *in, lease_plan *plan) {
    char key[WORKLOAD_KEY_SIZE];
    lw_workload_client *self = in->self;
    const lw_lease *lease = &self->leases[plan->index];
    lw_bytes value = {0};
    lw_status status = lw_get(in->txn, lease_key(self, plan->index, key), &value);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    plan->saw_it = status == LW_OK;
    workload_note_timestamp(in);
    if (lease->known) {
        check(self, plan->index, lease, lw_read_timestamp(in->txn), status, value);
    }
    lw_env_sleep(in->env,
                 workload_below(in->env, 4) == 0 ? workload_below(in->env, 1000000000) : 0);
    if (workload_below(in->env, 2) == 0) {
        plan->number = self->workload->next_element++;
        plan->ttl_ms = 1 + workload_below(in->env, TTL_MAX_MS);
        LW_TRY(lw_put_ttl(in->txn, lease_key(self, plan->index, key),
                          lw_view(&plan->number, sizeof(plan->number)), plan->ttl_ms));
    }
    return lw_put(in->txn, lease_key(self, LW_LEASES, key),
                  lw_text(plan->saw_it ? "seen" : "gone"));
}

/* Waits until the lease is about to end: what is read of it then may not be there at the commit. */
LW_YIELDS static void come_late(lw_env *env, const lw_workload_client *self,
                                const lw_lease *lease) {
    uint64_t now = self->workload->highest_timestamp, before = workload_below(env, LATE_NS);
    if (lease->known && lease->number != 0 && now < lease->expires) {
        uint64_t left_ns = ((lease->expires - now) >> COUNTER_BITS) * 1000000;
        lw_env_sleep(env, left_ns > before ? left_ns - before : 0);
    }
}

void workload_run_expiry(lw_env *env, lw_workload_client *self, lw_client *client) {
    workload_txn in;
    lease_plan plan = {.index = workload_below(env, LW_LEASES)};
    if (workload_below(env, 4) == 0) {
        look_back(env, self, client, plan.index);
    }
    if (workload_below(env, 4) == 0) {
        come_late(env, self, &self->leases[plan.index]);
    }
    if (!workload_begin(&in, env, self, client, false)) {
        return;
    }
    lw_lease *lease = &self->leases[plan.index], before = *lease;
    lw_status status = lease_body(&in, &plan);
    lease->known = before.known && plan.number == 0; /* should this fiber be dropped */
    lw_outcome outcome = workload_finish(&in, status);
    uint64_t committed = lw_commit_timestamp(in.txn);
    if (outcome == LW_OUTCOME_OK && in.strict && before.known && plan.saw_it &&
        committed >= before.expires) {
        violation(self, plan.index, &before, committed, "who saw it has committed after it");
    }
    if (outcome == LW_OUTCOME_OK && plan.number != 0 && committed != 0) {
        *lease = (lw_lease){.known = true,
                            .number = plan.number,
                            .from = committed,
                            .expires = committed + (plan.ttl_ms << COUNTER_BITS)};
    } else if (outcome == LW_OUTCOME_FAIL) {
        lease->known = before.known;
    }
    workload_close(&in);
}
