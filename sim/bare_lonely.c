/* SPDX-License-Identifier: Apache-2.0 */
/* One node is apart from all others for long, and is to be a member of shards all the same:
 * whoever leads one tries to send it a snapshot that never arrives. Nothing else is wrong, and
 * nobody may mind: who is to hold a shard, and can be reached, soon does, and who is not lets go
 * of it (hazard R18). */
#include "sim/bare.h"

#include <inttypes.h>

enum {
    SETTLE_MS = 1000,
    STEP_MS = 100,
    SEND_MS = 800,     /* within which a snapshot is on its way */
    LOOK_COUNT = 30,   /* steps until what was asked should be so */
    STUCK_MS = 9000,   /* that a snapshot is on its way to nowhere, and another one waits */
    TAKES_MS = 8000,   /* until somebody who is to hold a shard does, */
    LETS_GO_MS = 4000, /* or who is not lets go of it */
};

LW_YIELDS static void nap(bare_asker *self, uint64_t duration_ms) {
    lw_env_sleep(self->env, duration_ms * LW_SIM_NS_PER_MS);
}

/* ---- a node that is apart ---------------------------------------------------------------------
 */

/* Outside of fibers. */
static void cut(void *argument) {
    lw_sim_bare *of = argument;
    lw_sim_trial *it = of->of;
    const lw_sim_member *one = &it->nodes[of->lonely - 1];
    for (uint32_t place = 0; place < it->node_count; place++) {
        if (place != of->lonely - 1) {
            lw_world_cut(it->world, one->host, it->nodes[place].host, of->is_lonely);
        }
    }
}

bool bare_part(lw_sim_bare *of, uint64_t node) {
    lw_sim_occasion now = lw_sim_next_occasion(of->of, LW_SIM_CUTS);
    of->is_lonely = lw_sim_strikes(&now, LW_FAULT_CUT, "node%u from all others", (unsigned)node);
    of->lonely = node;
    lw_world_at(of->of->world, lw_world_now(of->of->world), cut, of);
    return of->is_lonely;
}

void bare_join(lw_sim_bare *of) {
    of->is_lonely = false;
    lw_world_at(of->of->world, lw_world_now(of->of->world), cut, of);
}

/* ---- what is asked meanwhile ------------------------------------------------------------------
 */

static const lw_shard_replica *find(const lw_shard_descriptor *shard, uint64_t node) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].node == node) {
            return &shard->replicas[index];
        }
    }
    return NULL;
}

static uint64_t learner_of(const lw_shard_descriptor *shard) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].role == LW_REPLICA_LEARNER) {
            return shard->replicas[index].node;
        }
    }
    return 0;
}

/* One that can be reached and holds nothing of it. 0: none. */
static uint64_t free_node(const lw_sim_bare *of, const lw_shard_descriptor *shard) {
    for (uint64_t node = 1; node <= of->of->node_count; node++) {
        if (node != of->lonely && find(shard, node) == NULL) {
            return node;
        }
    }
    return 0;
}

/* Asks until the node is a learner, a voter (0: not a member); false: it does not come to it. */
LW_YIELDS static bool have(bare_asker *self, uint32_t key, uint64_t node, lw_replica_role role,
                           const lw_change_replicas_request *request) {
    for (uint32_t count = 0; count < LOOK_COUNT && self->of->of->troubled; count++) {
        lw_shard_descriptor shard;
        if (bare_locate(self->of, bare_key(key), &shard)) {
            const lw_shard_replica *member = find(&shard, node);
            if (role == 0 ? member == NULL : member != NULL && member->role == role) {
                return true;
            }
            bare_change(self, key, request);
        }
        nap(self, STEP_MS);
    }
    return false;
}

LW_YIELDS static bool comes(bare_asker *self, uint32_t key, uint64_t node) {
    lw_change_replicas_request request = {.learner = node};
    return have(self, key, node, LW_REPLICA_LEARNER, &request);
}

LW_YIELDS static bool leaves(bare_asker *self, uint32_t key, uint64_t node) {
    lw_change_replicas_request request = {.leaves = node};
    return have(self, key, node, 0, &request);
}

/* While the one snapshot gets nowhere, whoever sends it is to send another one, of another shard.
 */
LW_YIELDS static void send_another(bare_asker *self, uint64_t shard, uint64_t leader) {
    lw_sim_bare *of = self->of;
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        lw_shard_descriptor other;
        bool fits = bare_locate(of, bare_key(key), &other) && other.id != shard &&
                    other.leader == leader && learner_of(&other) == 0;
        uint64_t node = fits ? free_node(of, &other) : 0;
        if (node == 0) {
            continue;
        }
        if (comes(self, key, node)) {
            for (uint32_t count = 0; count * STEP_MS < STUCK_MS && of->of->troubled; count++) {
                nap(self, STEP_MS);
            }
            (void)leaves(self, key, node);
        }
        return;
    }
}

/* Who sends it is to have nothing of the shard any more. */
LW_YIELDS static void replace_leader(bare_asker *self, uint32_t key,
                                     const lw_shard_descriptor *shard) {
    uint64_t next = shard->leader, node = free_node(self->of, shard);
    for (uint32_t index = 0; index < shard->replica_count && next == shard->leader; index++) {
        bool votes = shard->replicas[index].role == LW_REPLICA_VOTER;
        next = votes ? shard->replicas[index].node : next;
    }
    if (node == 0 || next == shard->leader) {
        return;
    }
    bare_transfer(self, key, next);
    lw_change_replicas_request request = {.voter = node, .leaves = shard->leader};
    if (comes(self, key, node) && have(self, key, node, LW_REPLICA_VOTER, &request)) {
        nap(self, LETS_GO_MS + SETTLE_MS);
    }
}

/* Has a node learn a shard, and cuts it off as soon as a snapshot is on its way there. */
LW_YIELDS static bool strike(bare_asker *self, uint32_t key, const lw_shard_descriptor *shard,
                             uint64_t node) {
    lw_sim_bare *of = self->of;
    const bare_node *leader = &of->nodes[shard->leader - 1];
    bare_change(self, key, &(lw_change_replicas_request){.learner = node});
    for (uint32_t count = 0; count < SEND_MS && bare_up(leader); count++) {
        lw_snapshots_figures figures;
        lw_snapshots_figures_get(leader->snapshots, &figures);
        if (figures.sending == shard->id) {
            return bare_part(of, node);
        }
        nap(self, 1);
    }
    return false;
}

LW_YIELDS static void have_one_stuck(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint32_t key = (uint32_t)bare_below(self, BARE_KEYS);
    lw_shard_descriptor shard;
    uint64_t node = 0;
    if (bare_locate(of, bare_key(key), &shard)) {
        node = of->lonely != 0 && find(&shard, of->lonely) == NULL ? of->lonely
                                                                   : free_node(of, &shard);
    }
    if (node == 0 || !strike(self, key, &shard, node)) {
        return;
    }
    bool replaces = lw_chance_percent(&self->chance, 50);
    if (!replaces) {
        send_another(self, shard.id, shard.leader);
    }
    if (leaves(self, key, node) && replaces) {
        replace_leader(self, key, &shard);
    }
    bare_join(of);
}

void bare_operate_lonely(bare_asker *self) {
    while (self->of->of->troubled && !self->of->of->damaged) {
        have_one_stuck(self);
        lw_arena_reset(&self->arena);
        nap(self, SETTLE_MS);
    }
}

/* ---- whether it is so -------------------------------------------------------------------------
 */

static void judge_node(bare_node *node, uint32_t key, const lw_shard_descriptor *shard) {
    lw_sim_bare *of = node->of;
    const lw_replica *replica = bare_replica(node, bare_key(key));
    bool is_member = find(shard, node->id) != NULL;
    bool holds = (replica != NULL && lw_replica_shard(replica)->id == shard->id) ||
                 (!is_member && lw_store_tree(node->store, shard->id) != NULL);
    uint64_t now_ns = lw_world_now(of->of->world);
    bare_unlike *unlike = &node->unlike[key];
    if (is_member == holds || unlike->holds != holds || unlike->shard != shard->id) {
        *unlike = (bare_unlike){.since_ns = now_ns, .shard = shard->id, .holds = holds};
    }
    uint64_t limit_ms = is_member ? TAKES_MS : LETS_GO_MS;
    if (is_member != holds && now_ns > unlike->since_ns + limit_ms * LW_SIM_NS_PER_MS) {
        lw_sim_broken_first(of->of, "members", "%s %s shard %" PRIu64 " for %" PRIu64 " ms",
                            node->member->name,
                            is_member ? "is a member and has nothing of" : "is no member and holds",
                            shard->id, limit_ms);
    }
}

void bare_judge_lonely(lw_sim_bare *of) {
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        lw_shard_descriptor shard;
        bool judged =
            of->kind == BARE_LONELY && of->of->troubled && bare_locate(of, bare_key(key), &shard);
        for (uint32_t place = 0; judged && place < of->of->node_count; place++) {
            bare_node *node = &of->nodes[place];
            if (node->id != of->lonely && bare_up(node)) {
                judge_node(node, key, &shard);
            }
        }
    }
}
