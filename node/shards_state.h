/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the shards of a node, shared by node/shards*.c and nobody else.
 *
 *   shards.c      who is there; requests of clients; opening and closing
 *   shards_ask.c  requests of the node's own, to shards here and elsewhere */
#ifndef LW_SHARDS_STATE_H
#define LW_SHARDS_STATE_H

#include "base/map.h"
#include "node/shards.h"

/* One replica, and its place in the map. */
typedef struct shards_member {
    lw_map_node node; /* by id */
    lw_replica *replica;
} shards_member;

struct lw_shards {
    lw_shards_options options;
    lw_shards_others others; /* on a lone node: zeroed */
    lw_env *env;
    lw_groups *groups;
    lw_timestamps *timestamps;
    lw_lock_table *locks;
    lw_latch_slots *latch_slots;
    lw_key_marks *key_marks;
    lw_recent *writers, *killed;
    lw_key_marks *written;
    lw_map by_id;
    shards_member **sorted; /* by start key, once started */
    uint32_t count, capacity;
    bool serving, dead;
    bool settled;  /* no shard waits any more for sessions of before the start */
    lw_queue stop; /* where pauses are slept; woken at the end */
};

/* The replica that holds `key`, as far as its descriptor says; NULL if none does. */
lw_replica *shards_holding(const lw_shards *shards, lw_bytes key);

#endif
