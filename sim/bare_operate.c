/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask of bare nodes: shards that are split, merged, led and held by others; in
 * trouble without end, and then until each has all of its voters. */
#include "node/shards_state.h"
#include "sim/bare.h"

enum {
    CALL_MS = 1500,
    STEP_MS = 30,
    MOVE_STEPS = 6,
    REPLACE_STEPS = 60,
    WAITS_MS = 300, /* within which a replica is made that waits for its first snapshot */
    UNSEEN_STEPS = 40,
    REMOVE_SHARE = 300, /* one in so many moments of some 10 ms */
    REMOVE_MS = 40000,  /* while two nodes are apart for longer */
};

/* ---- single requests --------------------------------------------------------------------------
 */

void bare_split(bare_asker *self, uint32_t key) {
    lw_buffer body = bare_body(self);
    lw_split_request_encode(&(lw_split_request){.key = bare_key(key)}, &body);
    (void)bare_call(self, LW_MESSAGE_SPLIT, bare_key(key), &body, CALL_MS);
    lw_buffer_reset(&body);
}

void bare_merge(bare_asker *self, uint32_t key) {
    lw_buffer body = bare_body(self);
    lw_merge_request_encode(&(lw_merge_request){.right = 0}, &body);
    (void)bare_call(self, LW_MESSAGE_MERGE, bare_key(key), &body, 1);
    lw_buffer_reset(&body);
}

void bare_transfer(bare_asker *self, uint32_t key, uint64_t node) {
    lw_buffer body = bare_body(self);
    lw_transfer_request_encode(&(lw_transfer_request){.node = node}, &body);
    (void)bare_call(self, LW_MESSAGE_TRANSFER, bare_key(key), &body, 1);
    lw_buffer_reset(&body);
}

void bare_change(bare_asker *self, uint32_t key, const lw_change_replicas_request *request) {
    lw_buffer body = bare_body(self);
    lw_change_replicas_request_encode(request, &body);
    (void)bare_call(self, LW_MESSAGE_CHANGE_REPLICAS, bare_key(key), &body, 1);
    lw_buffer_reset(&body);
}

/* ---- who holds a shard ------------------------------------------------------------------------
 */

typedef struct holders {
    uint64_t voters[LW_SHARD_REPLICAS_MAX], learner; /* 0: none */
    uint32_t voter_count;
    bool changing;
} holders;

static holders holders_of(const lw_shard_descriptor *shard) {
    holders all = {.voter_count = 0};
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lw_shard_replica *each = &shard->replicas[index];
        if (each->role == LW_REPLICA_VOTER) {
            all.voters[all.voter_count++] = each->node;
        } else if (each->role == LW_REPLICA_LEARNER) {
            all.learner = each->node;
        } else {
            all.changing = true;
        }
    }
    if (shard->replica_count == 0) {
        all.voters[all.voter_count++] = 1; /* of before there were several nodes */
    }
    return all;
}

static bool votes(const holders *all, uint64_t node) {
    for (uint32_t index = 0; index < all->voter_count; index++) {
        if (all->voters[index] == node) {
            return true;
        }
    }
    return false;
}

/* A node that has nothing of it, and did not vote before; 0: there is none. */
static uint64_t draw_other(bare_asker *self, const lw_shard_descriptor *shard,
                           const holders *before) {
    uint64_t chosen = 0, seen = 0;
    for (uint64_t node = 1; node <= self->of->of->node_count; node++) {
        bool holds = (shard->replica_count == 0 && node == 1) || votes(before, node);
        for (uint32_t index = 0; index < shard->replica_count; index++) {
            holds = holds || shard->replicas[index].node == node;
        }
        if (!holds && bare_below(self, ++seen) == 0) {
            chosen = node;
        }
    }
    return chosen;
}

/* One step: whoever learns becomes a voter, in place of another one if there are enough: of who is
 * away for long, if that is one. */
LW_YIELDS static void step(bare_asker *self, uint32_t key, const lw_shard_descriptor *shard,
                           bool comes) {
    holders all = holders_of(shard);
    bool enough = all.voter_count >= self->of->of->voters;
    lw_change_replicas_request request = {.learner = 0};
    if (all.learner != 0 && (comes || !enough)) {
        request.voter = all.learner;
        uint64_t away = self->of->absent;
        uint64_t leaves = votes(&all, away) ? away : all.voters[bare_below(self, all.voter_count)];
        request.leaves = enough ? leaves : 0;
    } else if (all.learner != 0) {
        request.leaves = all.learner;
    } else if (comes || !enough) {
        request.learner = draw_other(self, shard, &all);
    }
    if (!all.changing && (request.learner | request.voter | request.leaves) != 0) {
        bare_change(self, key, &request);
    }
}

/* Whether every shard is held as it should be; else one is brought nearer to that: whoever learns
 * goes, or comes to vote. */
LW_YIELDS static bool tidy(bare_asker *self) {
    bool tidied = true;
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        lw_shard_descriptor shard;
        if (!bare_locate(self->of, bare_key(key), &shard)) {
            return false;
        }
        holders all = holders_of(&shard);
        if (all.changing || all.learner != 0 || all.voter_count < self->of->of->voters) {
            tidied = false;
            step(self, key, &shard, self->of->wavers && all.learner != 0);
            lw_env_sleep(self->env, STEP_MS * LW_SIM_NS_PER_MS);
        }
        lw_arena_reset(&self->arena);
    }
    return tidied;
}

/* The last shard comes to have two voters that have nothing of the first one, and one of them leads
 * it: who begins to lead needs the oracle's time. */
LW_YIELDS static void move_apart(bare_asker *self) {
    lw_sim_bare *of = self->of;
    lw_shard_descriptor root, shard;
    uint32_t last = BARE_KEYS - 1, count = 0;
    bare_split(self, BARE_KEYS / 2);
    while (!bare_locate(of, bare_key(0), &root)) {
        lw_env_sleep(self->env, STEP_MS * LW_SIM_NS_PER_MS);
    }
    holders roots = holders_of(&root);
    for (uint64_t node = 1; node <= of->of->node_count && count < 2; node++) {
        if (!votes(&roots, node)) {
            of->away[count++] = node;
        }
    }
    for (bool apart = false; !apart;) {
        lw_env_sleep(self->env, STEP_MS * LW_SIM_NS_PER_MS);
        lw_arena_reset(&self->arena);
        if (!bare_locate(of, bare_key(last), &shard)) {
            continue;
        }
        holders all = holders_of(&shard);
        bool first = votes(&all, of->away[0]), second = votes(&all, of->away[1]);
        apart = first && second && all.learner == 0 && !all.changing;
        lw_change_replicas_request request = {.voter = all.learner};
        for (uint32_t index = 0; index < all.voter_count && all.learner != 0; index++) {
            uint64_t voter = all.voters[index];
            bool may_go = voter != of->away[0] && voter != of->away[1] && voter != shard.leader;
            request.leaves = may_go ? voter : request.leaves;
        }
        request.learner = all.learner != 0 ? 0 : first ? of->away[1] : of->away[0];
        if (!apart && !all.changing) {
            bare_change(self, last, &request);
        }
        const bare_node *leader = apart ? bare_leader(of, bare_key(last)) : NULL;
        bool leads = leader != NULL && (leader->id == of->away[0] || leader->id == of->away[1]);
        if (apart && !leads) {
            bare_transfer(self, last, of->away[0]);
            apart = false;
        }
    }
}

void bare_set_up_main(void *argument) {
    bare_asker *self = argument;
    lw_sim_bare *of = self->of;
    while (!bare_up(&of->nodes[0]) || bare_leader(of, bare_key(0)) == NULL) {
        lw_env_sleep(self->env, STEP_MS * LW_SIM_NS_PER_MS);
    }
    while (!tidy(self)) {
        lw_env_sleep(self->env, STEP_MS * LW_SIM_NS_PER_MS);
    }
    uint64_t splits = bare_below(self, 4);
    splits = of->kind == BARE_FLIP ? 0 : of->kind == BARE_LONELY ? 3 : splits;
    for (; splits > 0; splits--) {
        bare_split(self, 1 + (uint32_t)bare_below(self, BARE_KEYS - 1));
        lw_arena_reset(&self->arena);
    }
    while (!tidy(self)) {
        lw_env_sleep(self->env, STEP_MS * LW_SIM_NS_PER_MS);
    }
    if (of->parts) {
        move_apart(self);
    }
    of->set_up = true;
}

/* ---- without end ------------------------------------------------------------------------------
 */

/* Somebody's mistake: a voter goes, and none comes. It is refused. */
LW_YIELDS static void remove_one(bare_asker *self, uint32_t key, const holders *all) {
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
        step(self, key, &shard, true);
        lw_arena_reset(&self->arena);
        lw_env_sleep(self->env, bare_below(self, STEP_MS * LW_SIM_NS_PER_MS));
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
        holders all = holders_of(&shard);
        node = node == 0 ? draw_other(self, &shard, &all) : node;
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
        lw_env_sleep(self->env, bare_below(self, STEP_MS * LW_SIM_NS_PER_MS));
    }
}

/* One of those who vote, and do not lead, misses what is to come. */
static bool strike_voter(bare_asker *self, const holders *all, uint64_t leader) {
    uint64_t node = all->voters[bare_below(self, all->voter_count)];
    return node != leader && bare_part(self->of, node);
}

/* Before another one is cut off. */
LW_YIELDS static void rejoin(bare_asker *self) {
    bare_join(self->of);
    lw_env_sleep(self->env, STEP_MS * LW_SIM_NS_PER_MS);
}

/* One step towards none of `before` having a vote any more. False: none has. */
LW_YIELDS static bool replace_one(bare_asker *self, uint32_t key, const holders *before,
                                  const lw_shard_descriptor *shard) {
    holders all = holders_of(shard);
    uint64_t stays = 0;
    lw_change_replicas_request request = {.voter = all.learner};
    for (uint32_t index = 0; index < all.voter_count; index++) {
        bool old = votes(before, all.voters[index]);
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
        request = (lw_change_replicas_request){.learner = draw_other(self, shard, before)};
    }
    if (!all.changing && (request.learner | request.voter) != 0) {
        bare_change(self, key, &request);
    }
    return true;
}

/* None of those who vote is to hold the shard any more: who hears nothing of it knows nobody then
 * who still does. */
LW_YIELDS static void replace_all(bare_asker *self, uint32_t key) {
    holders before = {.voter_count = 0};
    bool goes_on = true, struck = false;
    for (uint32_t steps = 0; steps < REPLACE_STEPS && goes_on; steps++) {
        lw_shard_descriptor shard;
        if (bare_locate(self->of, bare_key(key), &shard)) {
            if (before.voter_count == 0) {
                before = holders_of(&shard);
                struck = before.voter_count > 0 && strike_voter(self, &before, shard.leader);
            }
            goes_on = replace_one(self, key, &before, &shard);
        }
        lw_arena_reset(&self->arena);
        lw_env_sleep(self->env, bare_below(self, STEP_MS * LW_SIM_NS_PER_MS));
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
        lw_env_sleep(self->env, bare_below(self, STEP_MS * LW_SIM_NS_PER_MS));
        if (!bare_locate(of, bare_key(key), &shard)) {
            continue;
        }
        holders all = holders_of(&shard);
        if (!votes(&all, absent) && all.learner == 0) {
            return;
        }
        step(self, key, &shard, true);
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
    holders all = holders_of(&shard);
    uint64_t node = draw_other(self, &shard, &all);
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
        lw_env_sleep(self->env, bare_below(self, STEP_MS * LW_SIM_NS_PER_MS));
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
    holders all = holders_of(&shard);
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
    bool changes = of->kind == BARE_STORM || of->kind == BARE_QUIET;
    bool misled = of->misled != 0 && changes, merges = of->merges;
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
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
    of->wavering = false;
    while (!of->of->damaged) {
        of->of->operator_done = tidy(self);
        lw_env_sleep(self->env, STEP_MS * LW_SIM_NS_PER_MS);
    }
}
