/* SPDX-License-Identifier: Apache-2.0 */
/* Small shards with little to do are to become one, and have to be on the same nodes for that. So
 * each is placed as one of its run would be, by nothing but what all know of it: nobody asks,
 * promises or remembers anything, and whoever comes to lead goes on where the last one was.
 *
 * A *run* is a row of neighbours that are idle, all of them, as their leaders say
 * (lw_directory_row.idle_turns). In it each shard points at the one of its neighbours and itself
 * that ranks lowest by a hash of its id. Whoever points at itself is an *anchor*, and stays where
 * it is; the others are placed as the anchor to which pointing leads. About a third of a run are
 * anchors, so groups are small. Of each group one shard is left in the end, and then runs are
 * shorter, until each is one shard, or as large as one that is idle may be.
 *
 * Invariants
 * N1. An anchor is its own, and of the same run as the shards that are placed as it is; a shard
 *     that is not idle is its own. All between the two are placed as it is, too.
 * N2. Of a run of more than one shard two neighbours have the same anchor: it gets shorter.
 * N3. Whether others are idle matters within a run, and next to it, only: what changes elsewhere
 *     moves nothing.
 * N4. The root shard never moves for this: it ranks first. */
#ifndef LW_NEIGHBOUR_H
#define LW_NEIGHBOUR_H

#include "lattice/directory.h"

/* What the one who leads a shard makes of it. */
typedef enum lw_idleness {
    LW_IDLENESS_UNKNOWN = 0, /* not looked at for long enough: it is as it is known to be */
    LW_IDLENESS_IDLE,
    LW_IDLENESS_BUSY, /* or too large */
} lw_idleness;

/* What it is to tell of it, given what is known. */
uint64_t lw_neighbour_turns(uint64_t known_turns, lw_idleness judged);

/* The shard as which this one is to be placed: itself, or an idle one of its run. */
uint64_t lw_neighbour_anchor(const lw_directory *directory, uint64_t shard);

#endif
