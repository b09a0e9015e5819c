/* SPDX-License-Identifier: Apache-2.0 */
/* Who meddles in merges: is gone with locks in both; has another node lead what was just frozen,
 * and, in a storm, keeps that one from being heard by who merges. */
#include "sim/bare.h"

enum {
    MEDDLE_PERCENT = 40, /* of the replicas that freeze bring it about */
    SOON_MS = 20,        /* within which the other one is to lead, */
    CUT_MS = 60,         /* and so much later is heard no more, */
    LAG_MS = 150,        /* while others are heard so late */
    UNHEARD_MS = 2000,   /* for so long at most */
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

void bare_leave(lw_sim_bare *of) {
    if (of->leaves != 0) {
        bare_end_session_in(of, of->leaves, 0);
        of->leaves = 0;
    }
}

static void leave(void *argument) {
    bare_leave(argument);
}

void bare_meddle(lw_sim_bare *of) {
    if (of->merges) {
        lw_world_watch_mark(of->of->world, "replica.frozen", meddle, of);
        lw_world_watch_mark(of->of->world, "replica.merge_latched", leave, of);
    }
}
