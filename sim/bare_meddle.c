/* SPDX-License-Identifier: Apache-2.0 */
/* Who meddles in merges: is gone with locks in both; has another node lead what was just frozen,
 * and, in a storm, keeps that one from being heard by who merges; has somebody hear of a merge by a
 * snapshot, too. */
#include "sim/bare.h"

enum {
    MEDDLE_PERCENT = 40, /* of the replicas that freeze bring it about */
    SOON_MS = 20,        /* within which the other one is to lead, */
    CUT_MS = 60,         /* and so much later is heard no more, */
    LAG_MS = 150,        /* while others are heard so late */
    UNHEARD_MS = 2000,   /* for so long at most */
    DEAF_PERCENT = 30,   /* of those who merge bring about that another one hears nothing of it */
    DEAF_MS = 400,       /* for as long as that, or twice, */
    HEARS_MS = 5,        /* or until so long after a snapshot has come that says so */
};

/* A shard that is frozen is to be led by another one. */
typedef struct meddling {
    lw_sim_occasion occasion;
    bare_node *from, *to;
    uint64_t shard, unheard_ms;
} meddling;

/* Who leads a shard that is frozen; NULL: nobody does. */
static bare_node *who_merges(lw_sim_bare *of, lw_shard_descriptor *shard) {
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        bare_node *node = &of->nodes[place];
        for (uint32_t index = 0; bare_up(node) && index < lw_shards_count(node->shards); index++) {
            const lw_replica *replica = lw_shards_at(node->shards, index);
            uint64_t left;
            if (lw_replica_leads(replica) && lw_replica_frozen(replica, &left)) {
                lw_replica_descriptor(replica, shard);
                return node;
            }
        }
    }
    return NULL;
}

static bare_node *draw_other(lw_sim_occasion *now, const bare_node *leader,
                             const lw_shard_descriptor *shard) {
    uint64_t node = shard->replica_count == 0
                        ? 0
                        : shard->replicas[lw_chance_below(&now->chance, shard->replica_count)].node;
    return node == 0 || node == leader->id ? NULL : &leader->of->nodes[node - 1];
}

/* As a node does that is about to stop. */
LW_YIELDS static void hand_over_main(void *argument) {
    meddling *self = argument;
    lw_replica *replica = lw_shards_find(self->from->shards, self->shard);
    if (replica != NULL && lw_replica_leads(replica)) {
        (void)!lw_replica_hand_over(replica, self->to->id);
    }
}

static void hand_over(void *argument) {
    meddling *self = argument;
    if (bare_up(self->from)) {
        (void)lw_env_start(self->from->env, "hands over", hand_over_main, self);
    }
}

static void cut(void *argument) {
    meddling *self = argument;
    lw_sim_trial *it = self->occasion.of;
    if (it->troubled && lw_sim_strikes(&self->occasion, LW_FAULT_PARTED,
                                       "%s is not heard by %s for %u ms", self->to->member->name,
                                       self->from->member->name, (unsigned)self->unheard_ms)) {
        lw_world_cut_one_way(it->world, self->to->member->host, self->from->member->host, true);
        lw_sim_after(it, self->unheard_ms, lw_sim_mend_network);
    }
}

/* Who merges asks all that hold the shard whether they know: the answers of others take longer. */
static void slow_others(const meddling *self, uint64_t lag_ms) {
    lw_sim_trial *it = self->occasion.of;
    if (!lw_sim_strikes(&self->occasion, LW_FAULT_CUT, "%s has slow links for %u ms",
                        self->from->member->name, (unsigned)self->unheard_ms)) {
        return;
    }
    for (uint32_t place = 0; place < it->node_count; place++) {
        const bare_node *each = &it->bare->nodes[place];
        if (each != self->from && each != self->to) {
            const lw_host *one = self->from->member->host, *other = it->nodes[place].host;
            lw_world_lag(it->world, one, other, lag_ms * LW_SIM_NS_PER_MS);
            lw_world_lag(it->world, other, one, lag_ms * LW_SIM_NS_PER_MS);
        }
    }
    lw_sim_after(it, self->unheard_ms, lw_sim_mend_network);
}

static void at(lw_sim_trial *it, uint64_t in_ms, void (*function)(void *argument), meddling *self) {
    lw_world_at(it->world, lw_world_now(it->world) + in_ms * LW_SIM_NS_PER_MS, function, self);
}

static void meddle(void *argument) {
    lw_sim_bare *of = argument;
    lw_sim_trial *it = of->of;
    lw_shard_descriptor shard;
    bare_node *leader = who_merges(of, &shard);
    if (!it->troubled || leader == NULL) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_MEDDLINGS);
    bool comes = lw_chance_percent(&now.chance, MEDDLE_PERCENT);
    bool unheard = lw_chance_percent(&now.chance, 60) && of->kind == BARE_STORM;
    bare_node *other = draw_other(&now, leader, &shard);
    if (!comes || other == NULL) {
        return;
    }
    uint64_t unheard_ms = lw_chance_between(&now.chance, 1, UNHEARD_MS);
    meddling *self = lw_allocate(of->memory, sizeof(*self));
    *self = (meddling){
        .occasion = now, .from = leader, .to = other, .shard = shard.id, .unheard_ms = unheard_ms};
    uint64_t soon_ms = lw_chance_below(&now.chance, SOON_MS);
    at(it, soon_ms, hand_over, self);
    if (unheard) {
        slow_others(self, lw_chance_below(&now.chance, LAG_MS));
        at(it, soon_ms + lw_chance_below(&now.chance, CUT_MS), cut, self);
    }
}

/* Somebody who is not to hear that a shard was merged before a snapshot comes that says so. */
typedef struct unaware {
    lw_sim_bare *of;
    bare_node *node;
    const bare_node *leader; /* of the left one */
    uint64_t left, right;
} unaware;

/* Who has one that is frozen, and follows in the one that it is to become part of. */
static bool is_unaware(bare_node *node, const lw_replica *right, unaware *found) {
    lw_sim_bare *of = node->of;
    uint64_t left;
    const lw_replica *replica =
        lw_replica_frozen(right, &left) ? lw_shards_find(node->shards, left) : NULL;
    if (replica == NULL || lw_replica_leads(replica)) {
        return false;
    }
    *found = (unaware){.of = of, .node = node, .left = left, .right = lw_replica_shard(right)->id};
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        const bare_node *each = &of->nodes[place];
        replica = bare_up(each) ? lw_shards_find(each->shards, left) : NULL;
        found->leader = replica != NULL && lw_replica_leads(replica) ? each : found->leader;
    }
    return found->leader != NULL;
}

static bool find_unaware(lw_sim_bare *of, unaware *found) {
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        bare_node *node = &of->nodes[place];
        for (uint32_t index = 0; bare_up(node) && index < lw_shards_count(node->shards); index++) {
            if (is_unaware(node, lw_shards_at(node->shards, index), found)) {
                return true;
            }
        }
    }
    return false;
}

/* As to one that is damaged, once it is merged. */
static void send_anew(void *argument) {
    const unaware *one = argument;
    lw_sim_trial *it = one->of->of;
    const bare_node *leader = one->leader;
    lw_replica *replica = bare_up(leader) ? lw_shards_find(leader->shards, one->left) : NULL;
    if (replica == NULL || lw_world_now(it->world) >= one->of->deaf_until_ns) {
        return;
    }
    if (lw_shards_find(leader->shards, one->right) == NULL) {
        lw_replica_send_anew(replica, one->node->id);
    } else {
        lw_world_at(it->world, lw_world_now(it->world) + LW_SIM_NS_PER_MS, send_anew, argument);
    }
}

/* Now or a little later the entry of the merge is on its way. */
static void deafen(void *argument) {
    lw_sim_bare *of = argument;
    lw_sim_trial *it = of->of;
    uint64_t now_ns = lw_world_now(it->world);
    unaware found;
    if (!it->troubled || now_ns < of->deaf_until_ns || !find_unaware(of, &found)) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_MEDDLINGS);
    bool comes = lw_chance_percent(&now.chance, DEAF_PERCENT);
    uint64_t deaf_ms = lw_chance_between(&now.chance, DEAF_MS, 2 * DEAF_MS);
    if (comes && lw_sim_strikes(&now, LW_FAULT_CUT, "%s gets nothing but requests for %u ms",
                                found.node->member->name, (unsigned)deaf_ms)) {
        unaware *one = lw_allocate(of->memory, sizeof(*one));
        *one = found;
        of->deaf = found.node->id;
        of->deaf_until_ns = now_ns + deaf_ms * LW_SIM_NS_PER_MS;
        send_anew(one);
    }
}

void bare_hear(const bare_node *node) {
    lw_sim_bare *of = node->of;
    uint64_t soon_ns =
        lw_world_now(of->of->world) + lw_env_random_below(node->env, HEARS_MS) * LW_SIM_NS_PER_MS;
    if (of->deaf == node->id && soon_ns < of->deaf_until_ns) {
        of->deaf_until_ns = soon_ns;
    }
}

void bare_leave(lw_sim_bare *of, uint64_t within_ms) {
    if (of->leaves != 0) {
        uint64_t delay_ns = lw_chance_below(&of->dice.chance, within_ms * LW_SIM_NS_PER_MS + 1);
        bare_end_session_in(of, of->leaves, delay_ns);
        of->leaves = 0;
    }
}

/* As the left one is latched, */
static void latched(void *argument) {
    lw_sim_bare *of = argument;
    if (lw_chance_percent(&of->dice.chance, 20)) {
        bare_leave(of, 0);
    }
    deafen(of);
}

/* or while the two trees become one, where both were led. */
static void leave_absorbed(void *argument) {
    lw_sim_bare *of = argument;
    for (uint32_t place = 0; of->leaves != 0 && place < of->of->node_count; place++) {
        const bare_node *node = &of->nodes[place];
        const lw_replica *left =
            bare_up(node) ? bare_replica(node, bare_key(of->leaves_at - 1)) : NULL;
        lw_replica_merge what;
        if (left != NULL && lw_replica_leads(left) && lw_replica_absorbs(left, &what)) {
            bare_leave(of, 0);
        }
    }
}

void bare_meddle(lw_sim_bare *of) {
    if (of->merges) {
        lw_world_watch_mark(of->of->world, "replica.frozen", meddle, of);
        lw_world_watch_mark(of->of->world, "replica.merge_latched", latched, of);
        lw_world_watch_mark(of->of->world, "shards.absorbs", leave_absorbed, of);
    }
}
