/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask of bare nodes before all begins: enough voters, some shards, and in some runs
 * one whose voters are to be apart from the others. */
#include "sim/bare_hold.h"

/* Those that have nothing of the first shard are to be apart: the two of them. */
LW_YIELDS static void choose_away(bare_asker *self) {
    lw_sim_bare *of = self->of;
    lw_shard_descriptor root;
    uint32_t count = 0;
    while (!bare_locate(of, bare_key(0), &root)) {
        lw_env_sleep(self->env, BARE_STEP_MS * LW_SIM_NS_PER_MS);
    }
    bare_holders roots = bare_holders_of(&root);
    for (uint64_t node = 1; node <= of->of->node_count && count < 2; node++) {
        if (!bare_votes(&roots, node)) {
            of->away[count++] = node;
        }
    }
}

static bool is_away(const lw_sim_bare *of, uint64_t node) {
    return node == of->away[0] || node == of->away[1];
}

/* One step towards the two having votes of a shard. False: they have. */
LW_YIELDS static bool give_votes(bare_asker *self, uint32_t key, const lw_shard_descriptor *shard) {
    const uint64_t *away = self->of->away;
    bare_holders all = bare_holders_of(shard);
    bool first = bare_votes(&all, away[0]), second = bare_votes(&all, away[1]);
    if (first && second && all.learner == 0 && !all.changing) {
        return false;
    }
    lw_change_replicas_request request = {.voter = all.learner};
    for (uint32_t index = 0; index < all.voter_count && all.learner != 0; index++) {
        uint64_t voter = all.voters[index];
        bool may_go = !is_away(self->of, voter) && voter != shard->leader;
        request.leaves = may_go ? voter : request.leaves;
    }
    request.learner = all.learner != 0 ? 0 : first ? away[1] : away[0];
    if (!all.changing) {
        bare_change(self, key, &request);
    }
    return true;
}

/* The last shard comes to have two voters that have nothing of the first one, and one of them leads
 * it: who begins to lead needs the oracle's time. */
LW_YIELDS static void move_apart(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint32_t last = BARE_KEYS - 1;
    bare_split(self, BARE_KEYS / 2);
    choose_away(self);
    for (bool apart = false; !apart;) {
        lw_shard_descriptor shard;
        lw_env_sleep(self->env, BARE_STEP_MS * LW_SIM_NS_PER_MS);
        lw_arena_reset(&self->arena);
        if (!bare_locate(of, bare_key(last), &shard) || give_votes(self, last, &shard)) {
            continue;
        }
        const bare_node *leader = bare_leader(of, bare_key(last));
        apart = leader != NULL && is_away(of, leader->id);
        if (!apart) {
            bare_transfer(self, last, of->away[0]);
        }
    }
}

void bare_set_up_main(void *argument) {
    bare_asker *self = argument;
    lw_sim_bare *of = self->of;
    while (!bare_up(&of->nodes[0]) || bare_leader(of, bare_key(0)) == NULL) {
        lw_env_sleep(self->env, BARE_STEP_MS * LW_SIM_NS_PER_MS);
    }
    while (!bare_tidy(self)) {
        lw_env_sleep(self->env, BARE_STEP_MS * LW_SIM_NS_PER_MS);
    }
    uint64_t splits = bare_below(self, 4);
    splits = of->kind == BARE_FLIP ? 0 : of->kind == BARE_LONELY ? 3 : splits;
    for (; splits > 0; splits--) {
        bare_split(self, 1 + (uint32_t)bare_below(self, BARE_KEYS - 1));
        lw_arena_reset(&self->arena);
    }
    while (!bare_tidy(self)) {
        lw_env_sleep(self->env, BARE_STEP_MS * LW_SIM_NS_PER_MS);
    }
    if (of->parts) {
        move_apart(self);
    }
    of->set_up = true;
}
