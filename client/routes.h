/* SPDX-License-Identifier: Apache-2.0 */
/* Where keys lie: what the client has heard of the shards, from which each request gets its shard
 * and its epoch. Only a hint: a shard that knows better says so, is learnt from, and the request is
 * routed again. Pure: no I/O.
 *
 * Invariants
 * H1. The descriptors are sorted by start key and do not overlap; between them may be gaps, of
 *     which nothing is known.
 * H2. Of two that overlap the newer stays: the higher range version, then the higher config
 *     version. So learning is the same in any order, once the newest of every key was among what
 *     was learnt. */
#ifndef LW_ROUTES_H
#define LW_ROUTES_H

#include "lattice/message.h"

typedef struct lw_routes {
    lw_memory *memory;
    lw_shard_descriptor *shards; /* their bytes are copies */
    uint32_t count, capacity;
    uint64_t changes; /* how often something was learnt or forgotten */
} lw_routes;

static inline lw_routes lw_routes_in(lw_memory *memory) {
    return (lw_routes){.memory = memory};
}
void lw_routes_reset(lw_routes *routes);
/* Takes a descriptor in, if it is news. Returns whether it was. */
bool lw_routes_learn(lw_routes *routes, const lw_shard_descriptor *shard);
/* Takes a whole TOPOLOGY body in; what cannot be read changes nothing. Returns whether any of it
 * was news. */
bool lw_routes_learn_all(lw_routes *routes, lw_bytes topology);
/* Takes from a TOPOLOGY body who leads the shards that are known as they are in it, and of which
 * that is not known: who was found to lead is believed until it says otherwise. */
void lw_routes_learn_leaders(lw_routes *routes, lw_bytes topology);
/* The shard that holds `key` is led by this node, at this address, as far as that is known (0,
 * empty). Nothing happens in a gap. Not a change: it tells nothing of where keys lie. */
void lw_routes_lead(lw_routes *routes, lw_bytes key, uint64_t leader, lw_bytes address);
/* Forgets the descriptor that holds `key`, which led nowhere. */
void lw_routes_forget(lw_routes *routes, lw_bytes key);

/* The shard that holds `key`, or NULL in a gap. Views and pointers here live until the next change.
 */
const lw_shard_descriptor *lw_routes_find(const lw_routes *routes, lw_bytes key);
/* The shard that holds the last keys below `bound` (empty: the last of all), or NULL in a gap. */
const lw_shard_descriptor *lw_routes_find_before(const lw_routes *routes, lw_bytes bound);
/* Whether anything is known of who leads the shard. */
static inline bool lw_shard_led(const lw_shard_descriptor *shard) {
    return shard->leader != 0 || shard->leader_address.size > 0;
}
/* Whether `key` lies in the shard's range. */
static inline bool lw_shard_holds(const lw_shard_descriptor *shard, lw_bytes key) {
    return (shard->end.size == 0 || lw_compare(key, shard->end) < 0) &&
           (shard->start.size == 0 || lw_compare(shard->start, key) <= 0);
}
/* Whether [lower, upper) lies in it; an empty upper bound is none. */
static inline bool lw_shard_spans(const lw_shard_descriptor *shard, lw_bytes lower,
                                  lw_bytes upper) {
    return lw_shard_holds(shard, lower) &&
           (shard->end.size == 0 || (upper.size > 0 && lw_compare(upper, shard->end) <= 0));
}

#endif
