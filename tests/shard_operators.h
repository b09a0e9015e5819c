/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask of shards on several nodes: splits, other members, other leaders. */
#ifndef LW_TESTS_SHARD_OPERATORS_H
#define LW_TESTS_SHARD_OPERATORS_H

#include "tests/shard_story.h"

/* The shard of a key is split there. */
static inline lattice_ask *split(lattice *in, const char *key) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_split_request_encode(&(lw_split_request){.key = lw_text(key)}, &body);
    return lattice_call(in, LW_MESSAGE_SPLIT, key, &body);
}

/* Its leader is asked for other members. LW_TIMEOUT: nobody answered. */
static inline lw_status change(lattice *in, const char *key,
                               const lw_change_replicas_request *request) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_change_replicas_request_encode(request, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_CHANGE_REPLICAS, key, &body);
    return ask->done ? ask->status : LW_TIMEOUT;
}

/* Until that node leads the shard of a key; fails the story if it never does. */
static inline void transfer(lattice *in, const char *key, uint64_t to) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_transfer_request_encode(&(lw_transfer_request){.node = to}, &body);
    uint64_t until_ns = lw_world_now(in->world) + 20000 * LATTICE_MS;
    while (lattice_leader(in, lw_text(key)) != to && lw_world_now(in->world) < until_ns) {
        (void)lattice_call(in, LW_MESSAGE_TRANSFER, key, &body);
        lattice_pass_ms(in, 50);
    }
    expect(in, lattice_leader(in, lw_text(key)) == to, "another node leads");
}

/* Another of the first three nodes. */
static inline uint64_t next_of(uint64_t leader) {
    return leader % 3 + 1;
}

/* Until the node sends a snapshot. */
static inline void await_sending(lattice *in, uint64_t id) {
    lw_snapshots_figures figures = {.sending = 0};
    for (int tries = 0; tries < 3000 && figures.sending == 0; tries++) {
        lattice_pass_ms(in, 1);
        lw_snapshots_figures_get(in->nodes[id].snapshots, &figures);
    }
    expect(in, figures.sending != 0, "a snapshot is on its way");
}

#endif
