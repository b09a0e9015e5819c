/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle's time, which each node has looked at lately; and whose wall clock is wrong. */
#include "node/lattice_state.h"

LW_YIELDS static void learn_time_main(void *argument) {
    lw_lattice *lattice = argument;
    uint64_t timestamp, until_ns = lw_env_now(lattice->env) + LATTICE_ASK_MS * LATTICE_NS_PER_MS;
    uint64_t pause_ms = LATTICE_SOON_MS; /* it may come to be the oracle before the next look */
    if (lattice->shards != NULL && !lattice->stopping &&
        lw_timestamps_take(lw_shards_timestamps(lattice->shards), 1, until_ns, &timestamp) ==
            LW_OK) {
        pause_ms = LATTICE_TIME_MS;
    }
    lattice->time_ms = lattice_now_ms(lattice) + pause_ms;
    lattice_job_end(lattice);
}

void lattice_learn_time(lw_lattice *lattice, uint64_t now_ms) {
    if (now_ms >= lattice->time_ms) {
        lattice->time_ms = UINT64_MAX; /* one look at a time */
        lattice_job_begin(lattice);
        lw_env_start(lattice->env, "learn the time", learn_time_main, lattice);
    }
}

/* ---- wall clocks ------------------------------------------------------------------------------
 */

int64_t lattice_clock_ahead(const lw_lattice *lattice, uint64_t node) {
    lw_gossip_peer peer = {.clock_ahead_ms = 0};
    if (node == lattice_self(lattice)) {
        return lw_gossip_own_clock(lattice->gossip);
    }
    return lw_gossip_peer_of(lattice->gossip, node, &peer) ? peer.clock_ahead_ms : 0;
}
