/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds the shards of bare nodes: what operators share. */
#ifndef LW_SIM_BARE_HOLD_H
#define LW_SIM_BARE_HOLD_H

#include "sim/bare.h"

enum { BARE_STEP_MS = 30 };

typedef struct bare_holders {
    uint64_t voters[LW_SHARD_REPLICAS_MAX], learner; /* 0: none */
    uint32_t voter_count;
    bool changing;
} bare_holders;

bare_holders bare_holders_of(const lw_shard_descriptor *shard);
bool bare_votes(const bare_holders *all, uint64_t node);
/* A node that has nothing of it, and did not vote before; 0: there is none. */
uint64_t bare_draw_other(bare_asker *self, const lw_shard_descriptor *shard,
                         const bare_holders *before);
/* One step: whoever learns becomes a voter, in place of another one if there are enough: of who is
 * away for long, if that is one. */
LW_YIELDS void bare_step(bare_asker *self, uint32_t key, const lw_shard_descriptor *shard,
                         bool comes);
/* Whether every shard is held as it should be; else one is brought nearer to that: whoever learns
 * goes, or comes to vote. */
LW_YIELDS bool bare_tidy(bare_asker *self);

#endif
