/* SPDX-License-Identifier: Apache-2.0 */
#include "node/timestamps.h"

#include "txn/oracle.h"

enum {
    RETRY_PAUSE_NS = 100 * 1000 * 1000, /* until a full disk is asked again */
    LEAD_PAUSE_NS = 5 * 1000 * 1000,    /* until time may have passed */
};

struct lw_timestamps {
    lw_env *env;
    lw_oracle oracle;
    /* NULL: not serving yet. */
    LW_YIELDS lw_status (*keep)(void *argument, uint64_t ceiling);
    void *argument;
    bool stopped;
    bool raising; /* a fiber raises the ceiling */
    lw_queue takers;
    lw_queue stop; /* where that fiber sleeps */
    lw_queue idle; /* woken when it has ended */
};

static lw_clock_reading clock_of(lw_timestamps *timestamps) {
    return (lw_clock_reading){.now_ns = lw_env_now(timestamps->env),
                              .wall_ms = lw_env_wall_ms(timestamps->env)};
}

lw_timestamps *lw_timestamps_open(lw_env *env) {
    lw_timestamps *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    return opened;
}

void lw_timestamps_stop(lw_timestamps *timestamps) {
    timestamps->stopped = true;
    lw_queue_wake_all(&timestamps->stop);
    lw_queue_wake_all(&timestamps->takers);
}

void lw_timestamps_close(lw_timestamps *timestamps) {
    lw_timestamps_stop(timestamps);
    while (timestamps->raising) {
        lw_queue_wait(&timestamps->idle);
    }
    LW_ASSERT(lw_queue_empty(&timestamps->takers));
    lw_free(timestamps->env->memory, timestamps);
}

uint64_t lw_timestamps_load(lw_timestamps *timestamps, uint64_t ceiling) {
    LW_ASSERT(timestamps->keep == NULL);
    lw_oracle_init(&timestamps->oracle, ceiling, clock_of(timestamps));
    bool wanted = lw_oracle_wants(&timestamps->oracle, clock_of(timestamps), &ceiling);
    LW_ASSERT(wanted);
    return ceiling;
}

void lw_timestamps_serve(lw_timestamps *timestamps, uint64_t ceiling,
                         LW_YIELDS lw_status (*keep)(void *argument, uint64_t ceiling),
                         void *argument) {
    LW_ASSERT(timestamps->keep == NULL);
    timestamps->keep = keep;
    timestamps->argument = argument;
    lw_oracle_raise(&timestamps->oracle, ceiling);
}

/* ---- raising -------------------------------------------------------------------------------- */

LW_YIELDS static void pause_raising(lw_timestamps *timestamps, uint64_t pause_ns) {
    uint64_t until_ns = lw_env_now(timestamps->env) + pause_ns;
    (void)lw_env_wait(timestamps->env, &timestamps->stop, until_ns);
}

/* One step; false when there is nothing more to do. */
LW_YIELDS static bool raise_step(lw_timestamps *timestamps) {
    uint64_t ceiling;
    if (!lw_oracle_wants(&timestamps->oracle, clock_of(timestamps), &ceiling)) {
        if (lw_queue_empty(&timestamps->takers)) {
            return false;
        }
        LW_MARK(timestamps->env, "timestamps.oracle_leads");
        pause_raising(timestamps, LEAD_PAUSE_NS);
        lw_queue_wake_all(&timestamps->takers);
        return true;
    }
    if (LW_BUG(timestamps->env, "txn.ceiling_not_durable")) {
        lw_oracle_raise(&timestamps->oracle, ceiling);
    }
    if (timestamps->keep(timestamps->argument, ceiling) != LW_OK) {
        LW_MARK(timestamps->env, "timestamps.ceiling_not_kept");
        lw_oracle_stick(&timestamps->oracle);
        lw_queue_wake_all(&timestamps->takers);
        if (!timestamps->stopped) {
            pause_raising(timestamps, RETRY_PAUSE_NS);
        }
        return true;
    }
    lw_oracle_raise(&timestamps->oracle, ceiling);
    lw_queue_wake_all(&timestamps->takers);
    return true;
}

LW_YIELDS static void raise_main(void *argument) {
    lw_timestamps *timestamps = argument;
    while (!timestamps->stopped && raise_step(timestamps)) {
    }
    timestamps->raising = false;
    lw_queue_wake_all(&timestamps->takers);
    lw_queue_wake_all(&timestamps->idle);
}

/* ---- taking --------------------------------------------------------------------------------- */

static void see_to_ceiling(lw_timestamps *timestamps, bool short_of_it) {
    uint64_t ceiling;
    if (!timestamps->raising &&
        (short_of_it || lw_oracle_wants(&timestamps->oracle, clock_of(timestamps), &ceiling))) {
        timestamps->raising = true;
        lw_env_start(timestamps->env, "ceiling", raise_main, timestamps);
    }
}

static bool serving(const lw_timestamps *timestamps) {
    return timestamps->keep != NULL && !timestamps->stopped;
}

lw_status lw_timestamps_take(lw_timestamps *timestamps, uint32_t count, uint64_t deadline_ns,
                             uint64_t *first) {
    for (;;) {
        if (!serving(timestamps)) {
            return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
        }
        bool taken = lw_oracle_take(&timestamps->oracle, clock_of(timestamps), count, first);
        see_to_ceiling(timestamps, !taken);
        if (taken) {
            return LW_OK;
        }
        LW_MARK(timestamps->env, "timestamps.taker_waits");
        if (!lw_env_wait(timestamps->env, &timestamps->takers, deadline_ns)) {
            return lw_fail(LW_TIMEOUT, "no timestamp could be given in time: the disk is too slow "
                                       "or full");
        }
    }
}

uint64_t lw_timestamps_spare(lw_timestamps *timestamps) {
    uint64_t first;
    if (!serving(timestamps) ||
        !lw_oracle_take(&timestamps->oracle, clock_of(timestamps), 1, &first)) {
        return 0;
    }
    see_to_ceiling(timestamps, false);
    return first;
}

lw_status lw_timestamps_given(const lw_timestamps *timestamps, uint64_t timestamp) {
    if (timestamp > timestamps->oracle.last) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "timestamp %llu lies in the future: use those that the node has given",
                       (unsigned long long)timestamp);
    }
    return LW_OK;
}

uint64_t lw_timestamps_last(const lw_timestamps *timestamps) {
    return timestamps->oracle.last;
}

uint64_t lw_timestamps_now(lw_timestamps *timestamps) {
    return lw_oracle_now(&timestamps->oracle, clock_of(timestamps));
}
