/* SPDX-License-Identifier: Apache-2.0 */
/* Who meddles in merges: has another node lead what was just frozen, and, in a storm, keeps that
 * one from being heard by who merges. */
#include "sim/bare.h"

enum {
    MEDDLE_PERCENT = 40, /* of the replicas that freeze bring it about */
    SOON_MS = 20,        /* within which the other one is to lead, */
    CUT_MS = 60,         /* and so much later is heard no more, */
    LAG_MS = 150,        /* while others are heard so late */
    UNHEARD_MS = 2000,   /* for so long at most */
    ASK_MS = 200,
};

/* A shard that is frozen is to be led by another one. */
typedef struct meddling {
    bare_asker asker;
    lw_sim_occasion occasion;
    bare_node *from, *to;
    uint64_t shard, delay_ms, unheard_ms;
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

LW_YIELDS static void transfer_main(void *argument) {
    meddling *self = argument;
    lw_replica *replica;
    bare_asker *asker = &self->asker;
    lw_env_sleep(asker->env, self->delay_ms * LW_SIM_NS_PER_MS);
    if (bare_up(self->from) &&
        (replica = lw_shards_find(self->from->shards, self->shard)) != NULL) {
        lw_shard_descriptor shard;
        lw_buffer body = bare_body(asker);
        bare_answer answer;
        lw_replica_descriptor(replica, &shard);
        lw_transfer_request_encode(&(lw_transfer_request){.node = self->to->id}, &body);
        lw_request request = {.kind = LW_MESSAGE_TRANSFER,
                              .id = ++asker->of->request_id,
                              .shard = shard.id,
                              .epoch = shard.epoch,
                              .timeout_ms = ASK_MS,
                              .body = lw_buffer_view(&body)};
        bare_ask_once(asker, self->from, &request, ASK_MS, &answer);
        lw_buffer_reset(&body);
        lw_arena_reset(&asker->arena);
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
    meddling *self = lw_allocate_zero(of->memory, sizeof(*self));
    *self = (meddling){.asker = of->askers[BARE_OPERATOR],
                       .occasion = now,
                       .from = leader,
                       .to = other,
                       .shard = shard.id,
                       .delay_ms = lw_chance_below(&now.chance, SOON_MS),
                       .unheard_ms = lw_chance_between(&now.chance, 1, UNHEARD_MS)};
    self->asker.arena = lw_arena_in(of->memory);
    (void)lw_env_start(self->asker.env, "meddles", transfer_main, self);
    if (unheard) {
        slow_others(self, lw_chance_below(&now.chance, LAG_MS));
        uint64_t cut_ms = self->delay_ms + lw_chance_below(&now.chance, CUT_MS);
        lw_world_at(it->world, lw_world_now(it->world) + cut_ms * LW_SIM_NS_PER_MS, cut, self);
    }
}

void bare_meddle(lw_sim_bare *of) {
    if (of->merges) {
        lw_world_watch_mark(of->of->world, "replica.frozen", meddle, of);
    }
}
