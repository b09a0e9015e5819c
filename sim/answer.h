/* SPDX-License-Identifier: Apache-2.0 */
/* What a node that has shards, and neither a server nor anything of the lattice, answers to
 * requests: in scenario `shards` (sim/bare.h), and in tests of shards on several nodes. */
#ifndef LW_SIM_ANSWER_H
#define LW_SIM_ANSWER_H

#include "node/gc.h"
#include "node/shards.h"
#include "node/snapshot.h"

typedef struct lw_sim_parts {
    lw_shards *shards;
    lw_snapshots *snapshots;
    lw_gc *gc;
} lw_sim_parts;

/* `from`: the node that asks; 0: the client of `session`. */
LW_MUST_USE LW_YIELDS lw_status lw_sim_answer(const lw_sim_parts *parts, const lw_request *request,
                                              uint64_t from, uint64_t session, lw_buffer *reply);

#endif
