/* SPDX-License-Identifier: Apache-2.0 */
/* Partings: the leader of a shard loses the other voters of it, and nobody else: clients reach it,
 * other nodes do, and if the oracle is none of those voters it goes on to be given timestamps. So
 * it finds out by nothing but what those voters do not say that it leads no more. */
#include "node/group.h"
#include "node/shards.h"
#include "sim/run.h"

enum {
    RUNS_PERCENT = 50, /* that have them */
    DURATION_MIN_MS = 50,
    DURATION_MAX_MS = 4000,
    STORM_TIMEOUTS = 12, /* the same in a storm, in election timeouts */
};

/* The replica that leads the shard, and the place of its node. */
static const lw_replica *leader_of(const lw_sim_trial *it, uint64_t shard, uint32_t *place) {
    for (*place = 0; *place < it->node_count; (*place)++) {
        const lw_shards *shards = lw_sim_shards_of(&it->nodes[*place]);
        const lw_replica *replica = shards == NULL ? NULL : lw_shards_find(shards, shard);
        if (replica != NULL && lw_replica_leads(replica)) {
            return replica;
        }
    }
    return NULL;
}

static bool is_member(const lw_group_figures *figures, uint64_t node) {
    for (uint32_t index = 0; index < figures->members.count; index++) {
        if (figures->members.replicas[index].node == node) {
            return true;
        }
    }
    return false;
}

static uint64_t draw_duration_ms(lw_sim_occasion *now) {
    uint64_t timeout_ms = now->of->storm.election_timeout_ms;
    return timeout_ms == 0 ? lw_chance_between(&now->chance, DURATION_MIN_MS, DURATION_MAX_MS)
                           : timeout_ms * lw_chance_between(&now->chance, 1, STORM_TIMEOUTS);
}

static void part(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_PARTINGS);
    lw_sim_strike_after(&now, it->part_every_ms, part);
    uint64_t choice = lw_chance_next(&now.chance), way = lw_chance_below(&now.chance, 5);
    uint64_t duration_ms = draw_duration_ms(&now);
    uint32_t place = 0;
    if (it->watch.shard_count == 0) {
        return;
    }
    uint64_t shard = it->watch.shards[choice % it->watch.shard_count].shard;
    const lw_replica *replica = leader_of(it, shard, &place);
    if (replica == NULL ||
        !lw_sim_strikes(&now, LW_FAULT_PARTED, "%s from the voters of a shard for %u ms",
                        it->nodes[place].name, (unsigned)duration_ms)) {
        return;
    }
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    const lw_host *host = it->nodes[place].host;
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *other = &it->nodes[index];
        if (index == place || !is_member(&figures, other->id)) {
            continue;
        }
        if (way != 0) {
            lw_world_cut_one_way(it->world, host, other->host, true);
        }
        if (way != 1) {
            lw_world_cut_one_way(it->world, other->host, host, true);
        }
    }
    lw_sim_after(it, duration_ms, lw_sim_mend_network);
}

void lw_sim_part(lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "partings");
    bool parts = lw_chance_percent(&chance, RUNS_PERCENT);
    it->part_every_ms = (uint32_t)lw_chance_between(&chance, 200, 2000);
    if (parts) {
        lw_sim_after(it, it->part_every_ms, part);
    }
}
