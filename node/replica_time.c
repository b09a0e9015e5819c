/* SPDX-License-Identifier: Apache-2.0 */
/* Timestamps of a replica, and the fiber that raises the durable ceiling over them ahead of need.
 */
#include "node/replica_state.h"

enum {
    CEILING_ENTRY_SIZE = 64,           /* bytes, rounded up */
    FULL_PAUSE_NS = 100 * 1000 * 1000, /* until a full disk is asked again */
    LEAD_PAUSE_NS = 5 * 1000 * 1000,   /* until time may have passed */
};

lw_clock_reading replica_clock(lw_replica *replica) {
    return (lw_clock_reading){.now_ns = lw_env_now(replica->env),
                              .wall_ms = lw_env_wall_ms(replica->env)};
}

void replica_put_ceiling(lw_buffer *batch, uint64_t ceiling) {
    lw_buffer key = lw_buffer_in(batch->memory);
    uint8_t value[8];
    lw_record_meta_key("ceiling", &key);
    lw_put_u64(value, ceiling);
    lw_batch_put(batch, lw_buffer_view(&key), lw_view(value, sizeof(value)));
    lw_buffer_reset(&key);
}

/* ---- raising -------------------------------------------------------------------------------- */

LW_YIELDS static lw_status raise_to(lw_replica *replica, uint64_t ceiling) {
    replica_proposal proposal = {0};
    lw_buffer batch = lw_buffer_in(replica->env->memory);
    replica_put_ceiling(&batch, ceiling);
    if (LW_BUG(replica->env, "txn.ceiling_not_durable")) {
        lw_oracle_raise(&replica->oracle, ceiling);
    }
    replica_propose(replica, ENTRY_COMMAND, &batch, &proposal);
    lw_status status = replica_wait(replica, &proposal);
    lw_buffer_reset(&batch);
    if (status == LW_OK) {
        lw_oracle_raise(&replica->oracle, ceiling);
    }
    return status;
}

/* One step; false when there is nothing more to do. */
LW_YIELDS static bool raise_step(lw_replica *replica) {
    uint64_t ceiling;
    if (!lw_oracle_wants(&replica->oracle, replica_clock(replica), &ceiling)) {
        if (lw_queue_empty(&replica->takers)) {
            return false;
        }
        LW_MARK(replica->env, "replica.oracle_leads");
        uint64_t until_ns = lw_env_now(replica->env) + LEAD_PAUSE_NS;
        bool on = replica_background_sleep(replica, &replica->stop, until_ns);
        lw_queue_wake_all(&replica->takers);
        return on;
    }
    if (replica_log_room(replica, CEILING_ENTRY_SIZE) != LW_OK) {
        LW_MARK(replica->env, "replica.ceiling_waits_for_room");
        uint64_t until_ns = lw_env_now(replica->env) + FULL_PAUSE_NS;
        return replica_background_sleep(replica, &replica->stop, until_ns);
    }
    bool raised = raise_to(replica, ceiling) == LW_OK;
    lw_queue_wake_all(&replica->takers);
    return raised;
}

LW_YIELDS static void raise_main(void *argument) {
    lw_replica *replica = argument;
    while (replica_gate(replica) == LW_OK && raise_step(replica)) {
    }
    replica->raising = false;
    lw_queue_wake_all(&replica->takers);
    replica_background_end(replica);
}

/* ---- taking --------------------------------------------------------------------------------- */

static void see_to_ceiling(lw_replica *replica, bool short_of_it) {
    uint64_t ceiling;
    if (!replica->raising &&
        (short_of_it || lw_oracle_wants(&replica->oracle, replica_clock(replica), &ceiling))) {
        replica->raising = true;
        replica_background_start(replica, "ceiling", raise_main);
    }
}

lw_status replica_take(lw_replica *replica, uint32_t count, uint64_t deadline_ns, uint64_t *first) {
    for (;;) {
        LW_TRY(replica_gate(replica));
        bool taken = lw_oracle_take(&replica->oracle, replica_clock(replica), count, first);
        see_to_ceiling(replica, !taken);
        if (taken) {
            return LW_OK;
        }
        LW_MARK(replica->env, "replica.taker_waits");
        if (!lw_env_wait(replica->env, &replica->takers, deadline_ns)) {
            return lw_fail(LW_TIMEOUT, "no timestamp could be given in time: the disk is too slow "
                                       "or full");
        }
    }
}

lw_status replica_given(const lw_replica *replica, uint64_t timestamp) {
    if (timestamp > replica->oracle.last) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "timestamp %llu lies in the future: use those that the node has given",
                       (unsigned long long)timestamp);
    }
    return LW_OK;
}

uint64_t lw_replica_spare(lw_replica *replica) {
    uint64_t first;
    if (!replica->serving || replica->closing || replica->dead ||
        !lw_oracle_take(&replica->oracle, replica_clock(replica), 1, &first)) {
        return 0;
    }
    see_to_ceiling(replica, false);
    return first;
}
