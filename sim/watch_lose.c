/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes can do without: for who takes away disks and lets bits rot, and for who reads what may
 * have been forgotten. */
#include "node/group.h"
#include "node/shards.h"
#include "sim/run.h"
#include "storage/store.h"

/* ---- what may be lost ----------------------------------------------------------------------- */

/* Whether `node` is dispensable to a shard that `replica` serves: not while its members change, be
 * it in the log alone. */
static bool dispensable_to(const lw_replica *replica, uint64_t node) {
    lw_group_figures figures;
    if (!lw_group_may_change(lw_replica_group(replica))) {
        return false;
    }
    lw_replica_group_figures(replica, &figures);
    uint32_t voters = 0, others = 0;
    for (uint32_t index = 0; index < figures.members.count; index++) {
        const lw_shard_replica *member = &figures.members.replicas[index];
        if (member->role != LW_REPLICA_VOTER) {
            return false;
        }
        voters++;
        others += member->node != node;
    }
    return voters >= 3 && others > voters / 2;
}

/* ... of the shard that begins there. */
static const lw_replica *server_from(const lw_sim_trial *it, lw_bytes key) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_shards *shards = lw_sim_shards_of(&it->nodes[place]);
        for (uint32_t index = 0; shards != NULL && index < lw_shards_count(shards); index++) {
            lw_shard_descriptor shard;
            const lw_replica *replica = lw_shards_at(shards, index);
            lw_replica_descriptor(replica, &shard);
            if (lw_replica_leads(replica) && lw_equal(shard.start, key)) {
                return replica;
            }
        }
    }
    return NULL;
}

/* Whether some shard that is served now holds each key: then one that nobody has became part of
 * another. */
static bool all_is_served(const lw_sim_trial *it) {
    lw_shard_descriptor shard = {0};
    for (uint32_t count = 0; count < LW_SIM_WATCHED_MAX; count++) {
        const lw_replica *replica = server_from(it, shard.end);
        if (replica == NULL) {
            return false;
        }
        lw_replica_descriptor(replica, &shard);
        if (shard.end.size == 0) {
            return true;
        }
    }
    return false;
}

bool lw_sim_watch_absent(const lw_sim_trial *it, uint64_t shard) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_shards *shards = lw_sim_shards_of(&it->nodes[place]);
        if (shards != NULL && lw_shards_find(shards, shard) != NULL) {
            return false;
        }
    }
    return true;
}

bool lw_sim_watch_source(const lw_sim_trial *it, uint32_t node) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_shards *shards = lw_sim_shards_of(&it->nodes[place]);
        if (place != node && shards != NULL && lw_shards_repairing(shards) > 0) {
            return true;
        }
    }
    return false;
}

bool lw_sim_watch_dispensable(lw_sim_trial *it, uint32_t node) {
    for (uint32_t index = 0; index < it->watch.shard_count; index++) {
        bool served = false;
        for (uint32_t place = 0; place < it->node_count; place++) {
            const lw_sim_member *each = &it->nodes[place];
            const lw_shards *shards = lw_sim_shards_of(each);
            const lw_replica *replica =
                shards == NULL ? NULL : lw_shards_find(shards, it->watch.shards[index].shard);
            if (replica != NULL && lw_replica_leads(replica)) {
                served = true;
                if (!dispensable_to(replica, it->nodes[node].id)) {
                    return false;
                }
            }
        }
        if (!served &&
            (!lw_sim_watch_absent(it, it->watch.shards[index].shard) || !all_is_served(it))) {
            return false;
        }
    }
    return it->watch.shard_count > 0;
}

/* Whether `node` has all that is committed of a shard that `replica` serves. */
static bool is_up_to_date(const lw_replica *replica, uint64_t node) {
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    if (figures.leader == node) {
        return true;
    }
    for (uint32_t index = 0; index < figures.peer_count; index++) {
        const lw_group_peer *peer = &figures.peers[index];
        if (peer->node == node) {
            return peer->match >= figures.committed_index && !peer->in_snapshot;
        }
    }
    return false;
}

bool lw_sim_watch_has_all(lw_sim_trial *it, uint32_t node) {
    for (uint32_t index = 0; index < it->watch.shard_count; index++) {
        for (uint32_t place = 0; place < it->node_count; place++) {
            const lw_shards *shards = lw_sim_shards_of(&it->nodes[place]);
            const lw_replica *replica =
                shards == NULL ? NULL : lw_shards_find(shards, it->watch.shards[index].shard);
            if (replica != NULL && lw_replica_leads(replica) &&
                !is_up_to_date(replica, it->nodes[node].id)) {
                return false;
            }
        }
    }
    return it->nodes[node].id != 0;
}

/* ---- what is forgotten ---------------------------------------------------------------------- */

static bool holds(const lw_replica *replica, lw_bytes key) {
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    return lw_replica_leads(replica) && lw_replica_tree(replica) != NULL &&
           lw_compare(shard.start, key) <= 0 &&
           (shard.end.size == 0 || lw_compare(key, shard.end) < 0);
}

uint64_t lw_sim_watch_forgotten(void *run, lw_bytes key) {
    const lw_sim_trial *it = run;
    uint64_t lowest = UINT64_MAX;
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_shards *shards = lw_sim_shards_of(&it->nodes[place]);
        for (uint32_t index = 0; shards != NULL && index < lw_shards_count(shards); index++) {
            const lw_replica *replica = lw_shards_at(shards, index);
            if (holds(replica, key) && lw_tree_safepoint(lw_replica_tree(replica)) < lowest) {
                lowest = lw_tree_safepoint(lw_replica_tree(replica));
            }
        }
    }
    return lowest == UINT64_MAX ? 0 : lowest;
}
