/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask of bare nodes: shards that are split, merged, led and held by others; in
 * trouble without end, and then until each has all of its voters. */
#include "node/shards_state.h"
#include "sim/bare_hold.h"

enum {
    MOVE_STEPS = 6,
    REPLACE_STEPS = 60,
    WAITS_MS = 300, /* within which a replica is made that waits for its first snapshot */
    UNSEEN_STEPS = 40,
    REMOVE_SHARE = 300, /* one in so many moments of some 10 ms */
    REMOVE_MS = 40000,  /* while two nodes are apart for longer */
    LAST_MS = 10000,    /* of peace, after which nothing more is begun */
};

/* Somebody's mistake: a voter goes, and none comes. It is refused. */
LW_YIELDS static void remove_one(bare_asker *self, uint32_t key, const bare_holders *all) {
    lw_change_replicas_request request = {.leaves =
                                              all->voters[bare_below(self, all->voter_count)]};
    bare_change(self, key, &request);
}

/* Of a shard's three voters two are cut off from the third, and one of these is to go: it is
 * refused, as one alone of those that would be left answers. */
LW_YIELDS static void remove_second(bare_asker *self) {
    const uint64_t *away = self->of->away;
    const bare_node *leader = bare_leader(self->of, bare_key(BARE_KEYS - 1));
    if (leader != NULL && (leader->id == away[0] || leader->id == away[1])) {
        lw_change_replicas_request request = {.leaves = leader->id == away[0] ? away[1] : away[0],
                                              .fewer = true};
        bare_change(self, BARE_KEYS - 1, &request);
    }
}

/* As many steps as it takes, if nothing stands in the way, for another node to have a vote. */
LW_YIELDS static void move(bare_asker *self, uint32_t key) {
    for (uint32_t steps = 1 + (uint32_t)bare_below(self, MOVE_STEPS); steps > 0; steps--) {
        lw_shard_descriptor shard;
        if (!bare_locate(self->of, bare_key(key), &shard)) {
            return;
        }
        bare_step(self, key, &shard, true);
        lw_arena_reset(&self->arena);
        lw_env_sleep(self->env, bare_below(self, BARE_STEP_MS * LW_SIM_NS_PER_MS));
    }
}

/* Somebody who cannot decide: a node is to learn, and is not, and is again, before it has anything;
 * and what was to be learnt may become part of another shard meanwhile. */
LW_YIELDS static void waver(bare_asker *self, uint32_t key) {
    uint64_t node = 0;
    for (uint32_t steps = 2 + (uint32_t)bare_below(self, MOVE_STEPS); steps > 0; steps--) {
        lw_shard_descriptor shard;
        if (!bare_locate(self->of, bare_key(key), &shard)) {
            return;
        }
        bare_holders all = bare_holders_of(&shard);
        node = node == 0 ? bare_draw_other(self, &shard, &all) : node;
        bool comes = all.learner == 0;
        lw_change_replicas_request request = {.learner = comes ? node : 0,
                                              .leaves = comes ? 0 : all.learner};
        if (!all.changing && node != 0) {
            bare_change(self, key, &request);
        }
        if (bare_below(self, 4) == 0) {
            bare_merge(self, key);
        }
        lw_arena_reset(&self->arena);
        lw_env_sleep(self->env, bare_below(self, BARE_STEP_MS * LW_SIM_NS_PER_MS));
    }
}

/* One of those who vote, and do not lead, misses what is to come. */
static bool strike_voter(bare_asker *self, const bare_holders *all, uint64_t leader) {
    uint64_t node = all->voters[bare_below(self, all->voter_count)];
    return node != leader && bare_part(self->of, node);
}

/* Before another one is cut off. */
LW_YIELDS static void rejoin(bare_asker *self) {
    bare_join(self->of);
    lw_env_sleep(self->env, BARE_STEP_MS * LW_SIM_NS_PER_MS);
}

/* One step towards none of `before` having a vote any more. False: none has. */
LW_YIELDS static bool replace_one(bare_asker *self, uint32_t key, const bare_holders *before,
                                  const lw_shard_descriptor *shard) {
    bare_holders all = bare_holders_of(shard);
    uint64_t stays = 0;
    lw_change_replicas_request request = {.voter = all.learner};
    for (uint32_t index = 0; index < all.voter_count; index++) {
        bool old = bare_votes(before, all.voters[index]);
        request.leaves = old ? all.voters[index] : request.leaves;
        stays = old ? stays : all.voters[index];
    }
    if (request.leaves == 0) {
        return false;
    }
    if (request.leaves == shard->leader && stays != 0) {
        bare_transfer(self, key, stays); /* who leads does not go */
        return true;
    }
    if (all.learner == 0) {
        request = (lw_change_replicas_request){.learner = bare_draw_other(self, shard, before)};
    }
    if (!all.changing && (request.learner | request.voter) != 0) {
        bare_change(self, key, &request);
    }
    return true;
}

/* None of those who vote is to hold the shard any more: who hears nothing of it knows nobody then
 * who still does. */
LW_YIELDS static void replace_all(bare_asker *self, uint32_t key) {
    bare_holders before = {.voter_count = 0};
    bool goes_on = true, struck = false;
    for (uint32_t steps = 0; steps < REPLACE_STEPS && goes_on; steps++) {
        lw_shard_descriptor shard;
        if (bare_locate(self->of, bare_key(key), &shard)) {
            if (before.voter_count == 0) {
                before = bare_holders_of(&shard);
                struck = before.voter_count > 0 && strike_voter(self, &before, shard.leader);
            }
            goes_on = replace_one(self, key, &before, &shard);
        }
        lw_arena_reset(&self->arena);
        lw_env_sleep(self->env, bare_below(self, BARE_STEP_MS * LW_SIM_NS_PER_MS));
    }
    if (struck) {
        rejoin(self);
    }
}

/* One of the halves of a shard is held by others than who is away, which has both. */
LW_YIELDS static void replace_absent(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint32_t key = 1 + (uint32_t)bare_below(self, BARE_KEYS - 1);
    uint64_t absent = of->absent;
    lw_shard_descriptor shard;
    bare_split(self, key);
    key -= (uint32_t)bare_below(self, 2);
    while (of->absent == absent) {
        lw_env_sleep(self->env, bare_below(self, BARE_STEP_MS * LW_SIM_NS_PER_MS));
        if (!bare_locate(of, bare_key(key), &shard)) {
            continue;
        }
        bare_holders all = bare_holders_of(&shard);
        if (!bare_votes(&all, absent) && all.learner == 0) {
            return;
        }
        bare_step(self, key, &shard, true);
        lw_arena_reset(&self->arena);
    }
}

/* Whether a replica waits there for its first snapshot. */
static bool waits_at(const bare_node *node, uint64_t shard) {
    const shards_member *member = bare_up(node) ? shards_member_of(node->shards, shard) : NULL;
    return member != NULL && member->waits && !member->leaving;
}

/* A node is to learn a shard, and is cut off before it has anything of it. It is not to learn it
 * then, and the shard becomes part of the one on its left: nobody tells it. */
LW_YIELDS static void merge_unseen(bare_asker *self, uint32_t key) {
    lw_sim_bare *of = self->of;
    lw_shard_descriptor shard, now;
    bare_split(self, key);
    if (!bare_locate(of, bare_key(key), &shard) || !lw_equal(shard.start, bare_key(key))) {
        return;
    }
    bare_holders all = bare_holders_of(&shard);
    uint64_t node = bare_draw_other(self, &shard, &all);
    if (node == 0 || all.learner != 0 || all.changing) {
        return;
    }
    bare_change(self, key, &(lw_change_replicas_request){.learner = node});
    for (uint32_t ms = 0; ms < WAITS_MS && !waits_at(&of->nodes[node - 1], shard.id); ms++) {
        lw_env_sleep(self->env, LW_SIM_NS_PER_MS);
    }
    if (!waits_at(&of->nodes[node - 1], shard.id) || !bare_part(of, node)) {
        return;
    }
    for (uint32_t steps = 0;
         steps < UNSEEN_STEPS && bare_locate(of, bare_key(key), &now) && now.id == shard.id;
         steps++) {
        bare_change(self, key, &(lw_change_replicas_request){.leaves = node});
        bare_merge(self, key - 1);
        lw_arena_reset(&self->arena);
        lw_env_sleep(self->env, bare_below(self, BARE_STEP_MS * LW_SIM_NS_PER_MS));
    }
    rejoin(self);
}

LW_YIELDS static void operate_once(bare_asker *self) {
    uint32_t key = (uint32_t)bare_below(self, BARE_KEYS);
    uint64_t roll = bare_below(self, 100);
    lw_shard_descriptor shard;
    if (!bare_locate(self->of, bare_key(key), &shard)) {
        return;
    }
    bare_holders all = bare_holders_of(&shard);
    if (all.voter_count == 0) {
        return; /* all of them are changing */
    }
    if (self->of->merges) {
        roll = 40 + roll * 57 / 100;
    }
    if (self->of->absent != 0 && bare_below(self, 2) == 0) {
        replace_absent(self);
        return;
    }
    bool flips = self->of->kind == BARE_FLIP, quiet = self->of->kind == BARE_QUIET;
    if (roll < 30 && !self->of->wavers) {
        move(self, key);
    } else if (roll < 30) {
        waver(self, key);
    } else if (roll < 58) {
        key = quiet ? 0 : key; /* the oracle comes and goes */
        bare_transfer(self, key, all.voters[bare_below(self, all.voter_count)]);
    } else if (roll < 76 && key > 0 && !flips) {
        bare_split(self, key);
    } else if (roll < 97 && !flips) {
        bare_merge(self, key);
    } else if (roll >= 97) {
        remove_one(self, key, &all);
    }
}

/* With the trouble over, some shards meet what is left of it. Where a snapshot takes eight seconds,
 * by rare paths, all of them would take longer than peace lasts. */
LW_YIELDS static void end_operating(bare_asker *self) {
    const lw_sim_bare *of = self->of;
    bool changes = of->kind == BARE_STORM || of->kind == BARE_QUIET;
    bool misled = of->misled != 0 && changes, merges = of->merges;
    uint64_t until_ns = lw_env_now(self->env) + LAST_MS * LW_SIM_NS_PER_MS;
    for (uint32_t key = 0; key < BARE_KEYS && lw_env_now(self->env) < until_ns; key++) {
        if (of->wavers) {
            waver(self, key);
        }
        if ((of->wavers || misled) && of->of->node_count > 2 * of->of->voters &&
            bare_below(self, 3) == 0) {
            replace_all(self, key);
        }
        if (merges && key > 0 && of->of->node_count > of->of->voters && bare_below(self, 5) == 0) {
            merge_unseen(self, key);
        }
    }
}

void bare_operate_main(void *argument) {
    bare_asker *self = argument;
    lw_sim_bare *of = self->of;
    of->wavering = of->wavers;
    if (of->kind == BARE_LONELY) {
        bare_operate_lonely(self);
    }
    uint64_t until_ns = lw_env_now(self->env) + REMOVE_MS * LW_SIM_NS_PER_MS;
    while (of->of->troubled && !of->of->damaged) {
        if (of->kind == BARE_APART && of->parted && lw_env_now(self->env) < until_ns &&
            bare_below(self, REMOVE_SHARE) == 0) {
            remove_second(self);
        }
        if (of->operate_every_ms != 0) {
            operate_once(self);
            lw_arena_reset(&self->arena);
        }
        lw_env_sleep(self->env, (10 + bare_below(self, 2 * (uint64_t)of->operate_every_ms + 1)) *
                                    LW_SIM_NS_PER_MS);
    }
    end_operating(self);
    of->wavering = false;
    while (!of->of->damaged) {
        of->of->operator_done = bare_tidy(self);
        lw_env_sleep(self->env, BARE_STEP_MS * LW_SIM_NS_PER_MS);
    }
}
