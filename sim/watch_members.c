/* SPDX-License-Identifier: Apache-2.0 */
/* The watch over who holds which shard: sim/watch.h, 10 to 12. */
#include "node/shards_state.h"
#include "sim/run.h"
#include "storage/store.h"

#include <inttypes.h>

enum { CHILD_INDEX = 1 }; /* behind which the log of what a split makes begins */

/* ---- how many vote -------------------------------------------------------------------------- */

/* Whether a node stays for good, as far as anybody has asked. */
static bool stays(const lw_sim_trial *it, uint64_t node) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_sim_member *each = &it->nodes[place];
        if (each->id == node) {
            return !each->drain_asked && !each->leaving && !each->expelled && !each->out;
        }
    }
    return false;
}

static bool all_stay(const lw_sim_trial *it, const lw_sim_shard_past *shard) {
    for (uint32_t index = 0; index < shard->voter_count; index++) {
        if (!stays(it, shard->voters[index])) {
            return false;
        }
    }
    return true;
}

/* An even number of voters, or more than are wanted, may become fewer. */
static void judge_voters(lw_sim_trial *it, uint32_t place, lw_sim_shard_past *shard,
                         const lw_shard_descriptor *now) {
    uint64_t voters[LW_SHARD_REPLICAS_MAX];
    uint32_t count = 0, leaving = 0;
    for (uint32_t index = 0; index < now->replica_count; index++) {
        const lw_shard_replica *each = &now->replicas[index];
        leaving += each->role == LW_REPLICA_LEAVING;
        if (each->role == LW_REPLICA_VOTER || each->role == LW_REPLICA_JOINING) {
            voters[count++] = each->node;
        }
    }
    if (now->epoch.config_version <= shard->config || count == 0) {
        return;
    }
    bool wanted = shard->voter_count % 2 == 1 && shard->voter_count <= it->voters;
    if (count < shard->voter_count && wanted && all_stay(it, shard)) {
        lw_sim_watch_broken(it, place, shard->shard, "voters",
                            "has %u of them, or is to, and had %u, which are all there", count,
                            shard->voter_count);
    }
    if (leaving == 0) {
        shard->config = now->epoch.config_version;
        shard->voter_count = count;
        memcpy(shard->voters, voters, count * sizeof(voters[0]));
    }
}

/* ---- who holds what ------------------------------------------------------------------------- */

/* Made by a split, whatever was let go of here: a node that is no member any more may get what it
 * was split off after that, by a snapshot from before the split, and that log makes it. The keys
 * have to go somewhere until it asks whether it is to go; but it does not lead. Its log goes back
 * to the split; what is taken in has a later one, or waited before, and was looked at then. */
static bool comes_off_parent(const lw_replica *replica) {
    uint64_t term;
    return !lw_replica_leads(replica) &&
           lw_group_term_at(lw_replica_group(replica), CHILD_INDEX, &term);
}

static void judge_return(lw_sim_trial *it, uint32_t place, const lw_sim_shard_past *shard,
                         uint64_t config) {
    const lw_sim_holding *holding = &shard->holdings[place];
    /* one that is damaged comes anew, as does one that differs */
    bool replaced = it->options->scenario->rot_every_ms != 0 || it->flips;
    if (!replaced && holding->boot == it->nodes[place].boot && config <= holding->left) {
        lw_sim_watch_broken(it, place, shard->shard, "removed replicas",
                            "is here again in configuration %" PRIu64
                            ", and had been let go of in %" PRIu64,
                            config, holding->left);
    }
}

/* What comes behind the entry that froze it is void. */
static void judge_frozen(lw_sim_trial *it, uint32_t place, lw_sim_shard_past *shard,
                         const lw_replica *replica, uint64_t range_version) {
    lw_sim_holding *holding = &shard->holdings[place];
    const lw_tree *tree = lw_replica_tree(replica);
    lw_tree_figures figures = {0};
    uint64_t into, flushed = tree == NULL ? 0 : lw_tree_flushed(tree);
    uint64_t frozen = tree != NULL && lw_replica_frozen(replica, &into) ? range_version : 0;
    if (frozen != 0) {
        lw_tree_figures_get(tree, &figures);
    }
    bool before = frozen != 0 && holding->frozen == frozen &&
                  holding->boot == it->nodes[place].boot && holding->look + 1 == it->watch.looks &&
                  holding->flushed == flushed && holding->memtables == figures.memtable_count;
    if (before && holding->size != figures.memtable_bytes) {
        lw_sim_watch_broken(it, place, shard->shard, "frozen shards",
                            "was written to while it was frozen");
    }
    holding->frozen = frozen;
    holding->memtables = figures.memtable_count;
    holding->size = figures.memtable_bytes;
    holding->flushed = flushed;
}

static bool overlap(const lw_key_range *one, const lw_key_range *other) {
    return (one->upper.size == 0 || lw_compare(other->lower, one->upper) < 0) &&
           (other->upper.size == 0 || lw_compare(one->lower, other->upper) < 0);
}

/* By their bounds: what a split has taken out of a tree is not in it, whatever its shard is. */
static bool share_keys(const lw_tree *one, const lw_tree *other) {
    static const lw_key_range everything;
    uint32_t counts[2];
    const lw_key_range *ranges = lw_tree_bounds(one, &counts[0]);
    const lw_key_range *others = lw_tree_bounds(other, &counts[1]);
    ranges = counts[0] == 0 ? &everything : ranges;
    others = counts[1] == 0 ? &everything : others;
    bool any = false;
    for (uint32_t index = 0; index < counts[0] + (counts[0] == 0); index++) {
        for (uint32_t at = 0; at < counts[1] + (counts[1] == 0); at++) {
            any = any || overlap(&ranges[index], &others[at]);
        }
    }
    return any;
}

/* What a crash would bring back, as its tombstone is not durable yet, keeps its keys. */
static void judge_going(lw_sim_trial *it, uint32_t place, const lw_shards *shards,
                        const shards_member *going) {
    lw_tree *was = lw_store_tree(shards->options.store, going->shard);
    for (uint32_t index = 0; index < it->watch.shard_count; index++) {
        const shards_member *other = shards_member_of(shards, it->watch.shards[index].shard);
        lw_tree *tree = other == NULL || other == going || other->replica == NULL
                            ? NULL
                            : lw_replica_tree(other->replica);
        if (was != NULL && tree != NULL && share_keys(was, tree)) {
            lw_sim_watch_broken(it, place, other->shard, "ranges",
                                "has keys of shard %" PRIu64
                                ", which is being removed and would come back",
                                going->shard);
        }
    }
}

/* Also one that waited for its first snapshot, by its tombstone. */
static void note_left(lw_sim_holding *holding, uint64_t boot, const shards_past *past, bool had) {
    uint64_t left = had ? holding->config : 0;
    if (past != NULL && past->gone && past->into == 0 && past->epoch.config_version > left) {
        left = past->epoch.config_version;
    }
    holding->left = holding->boot == boot && left < holding->left ? holding->left : left;
    holding->boot = boot;
}

static void look_at_holding(lw_sim_trial *it, uint32_t place, const lw_shards *shards,
                            lw_sim_shard_past *shard) {
    lw_sim_holding *holding = &shard->holdings[place];
    const lw_replica *replica = lw_shards_find(shards, shard->shard);
    const shards_member *member = shards_member_of(shards, shard->shard);
    if (member != NULL && member->going) {
        judge_going(it, place, shards, member);
    }
    if (member != NULL && member->waits && !member->leaving) { /* for a snapshot */
        judge_return(it, place, shard, lw_replica_shard(member->replica)->epoch.config_version);
    }
    if (replica == NULL) {
        bool had = holding->boot == it->nodes[place].boot && holding->look + 1 == it->watch.looks;
        note_left(holding, it->nodes[place].boot, shards_past_of(shards, shard->shard), had);
        return;
    }
    const lw_shard_descriptor *descriptor = lw_replica_shard(replica);
    if (!comes_off_parent(replica)) {
        judge_return(it, place, shard, descriptor->epoch.config_version);
    }
    holding->config = descriptor->epoch.config_version;
    judge_frozen(it, place, shard, replica, descriptor->epoch.range_version);
    holding->left = holding->boot == it->nodes[place].boot ? holding->left : 0;
    holding->boot = it->nodes[place].boot;
    holding->look = it->watch.looks;
    if (lw_replica_leads(replica)) {
        judge_voters(it, place, shard, descriptor);
    }
}

void lw_sim_watch_members(lw_sim_trial *it) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_shards *shards = lw_sim_shards_of(&it->nodes[place]);
        for (uint32_t index = 0; shards != NULL && index < it->watch.shard_count; index++) {
            look_at_holding(it, place, shards, &it->watch.shards[index]);
        }
    }
}
