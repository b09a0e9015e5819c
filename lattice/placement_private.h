/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of placement share. */
#ifndef LW_PLACEMENT_PRIVATE_H
#define LW_PLACEMENT_PRIVATE_H

#include "lattice/placement.h"

/* NULL if it is no member, or gone. */
const lw_placement_node *placement_node(const lw_placement_view *view, uint64_t node);

/* Its capacity, as it counts in ranks. */
uint64_t placement_weight(const lw_placement_node *node);

typedef struct placement_wanted {
    uint64_t nodes[LW_SHARD_REPLICAS_MAX]; /* best first */
    uint32_t count;                        /* may be below `target`: there are no more */
    uint32_t target;
} placement_wanted;

/* Where a shard with these voters should be. */
void placement_want(const lw_placement_view *view, uint64_t shard, const uint64_t *voters,
                    uint32_t voter_count, placement_wanted *wanted);

/* The voter that is to lead a shard instead of this node, for balance; 0: none. `eligible` are
 * voters that could. */
uint64_t placement_leader(const lw_placement_view *view, uint64_t shard_rate,
                          const uint64_t *eligible, uint32_t count);

#endif
