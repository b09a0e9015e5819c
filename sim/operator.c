/* SPDX-License-Identifier: Apache-2.0 */
/* Operators: a process that asks what people ask on the command line, while everything goes on:
 * nodes drain and fill again, shards move and are merged, leaders hand over, a node leaves for
 * good. In the peace it sets right what it began, so that it is known what should come of it. */
#include "client/client.h"
#include "client/operate_lattice.h"
#include "node/shards.h"
#include "sim/run.h"

enum {
    ASK_MS = 4000,
    PAUSE_MS = 200,
    UNHEARD_OF_MAX = 25, /* times in a row that it is so, and at first it may be news */
    ECHO_MS = 3000,      /* between looks at what may have been carried out late, */
    ECHO_COUNT = 6,      /* for longer than a node is paused */
    KEY_MAX = 64,
    LEAVERS_MIN_NODES = 4, /* fewer would have fewer replicas afterwards */
};

typedef struct operator_fiber {
    lw_sim_trial *of;
    lw_env *env;
    lw_client *client;
} operator_fiber;

static uint64_t below(lw_env *env, uint64_t bound) {
    return lw_env_random_below(env, bound);
}

static lw_sim_member *draw_node(const operator_fiber *self) {
    return &self->of->nodes[below(self->env, self->of->node_count)];
}

/* Where some shard begins, as any node knows. */
static bool draw_shard(const operator_fiber *self, uint8_t key[KEY_MAX], lw_bytes *start) {
    const lw_sim_member *node = draw_node(self);
    const lw_shards *shards = lw_sim_shards_of(node);
    uint32_t count = shards == NULL ? 0 : lw_shards_count(shards);
    if (count == 0) {
        return false;
    }
    lw_shard_descriptor shard;
    lw_replica_descriptor(lw_shards_at(shards, (uint32_t)below(self->env, count)), &shard);
    if (shard.start.size > KEY_MAX) {
        return false;
    }
    if (shard.start.size > 0) {
        memcpy(key, shard.start.data, shard.start.size);
    }
    *start = lw_view(key, shard.start.size);
    return true;
}

/* ---- what is asked while there is trouble --------------------------------------------------- */

LW_YIELDS static void move_shard(operator_fiber *self) {
    uint8_t key[KEY_MAX];
    lw_bytes start;
    uint64_t to = draw_node(self)->id, from = draw_node(self)->id;
    if (to == 0 || from == 0 || to == from || !draw_shard(self, key, &start)) {
        return;
    }
    if (below(self->env, 2) == 0) {
        (void)!lw_operate_transfer(self->client, start, to);
    } else {
        (void)!lw_operate_move(self->client, start, to, from);
    }
}

/* Mostly of shards that are not on the same nodes, or have changed meanwhile: then it is refused.
 */
LW_YIELDS static void merge_shard(operator_fiber *self) {
    uint8_t key[KEY_MAX];
    lw_bytes start;
    if (draw_shard(self, key, &start)) {
        (void)!lw_operate_merge(self->client, start, 0);
    }
}

LW_YIELDS static void drain_node(operator_fiber *self) {
    lw_sim_member *node = draw_node(self);
    if (node->id == 0 || node->out || node->leaving) {
        return;
    }
    bool on = !node->drained;
    node->drain_asked = true;
    node->drained = true; /* whatever becomes of the request */
    if (lw_operate_drain(self->client, node->id, on) == LW_OK) {
        node->drained = on;
    }
}

LW_YIELDS static void have_node_leave(operator_fiber *self) {
    lw_sim_trial *it = self->of;
    lw_sim_member *node = draw_node(self);
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *each = &it->nodes[index];
        if (each->leaving || each->lost_id != 0 || each->id == 0) {
            return; /* one at a time */
        }
    }
    if (it->node_count >= LEAVERS_MIN_NODES) {
        node->leaving = true;
        (void)!lw_operate_leave(self->client, node->id, false);
    }
}

LW_YIELDS static void change_key(operator_fiber *self) {
    uint64_t epoch;
    self->of->key_changed = true; /* whatever becomes of the request */
    (void)!lw_operate_rotate(self->client, &epoch);
}

LW_YIELDS static void ask_something(operator_fiber *self) {
    uint64_t choice = below(self->env, 21);
    if (choice == 20) {
        change_key(self);
    } else if (choice < 5) {
        merge_shard(self);
    } else if (choice < 13) {
        move_shard(self);
    } else if (choice < 19) {
        drain_node(self);
    } else {
        have_node_leave(self);
    }
}

/* ---- the peace ------------------------------------------------------------------------------ */

/* Who was there before a disk was lost is taken out. Nobody may ever have heard of it: it joined,
 * and was lost before it had greeted anybody. */
LW_YIELDS static bool take_out(operator_fiber *self, lw_sim_member *node) {
    lw_status status = lw_operate_leave(self->client, node->lost_id, true);
    node->unheard_of = status == LW_NOT_FOUND ? node->unheard_of + 1 : 0;
    if (status == LW_OK || node->unheard_of > UNHEARD_OF_MAX) {
        node->lost_id = node->unheard_of = 0;
    }
    return node->lost_id == 0;
}

/* True if there is nothing more to ask about the node. */
LW_YIELDS static bool settle_node(operator_fiber *self, lw_sim_member *node) {
    if (node->lost_id != 0 && !take_out(self, node)) {
        return false;
    }
    if (node->out || node->id == 0) {
        return node->out;
    }
    if (node->leaving) {
        (void)!lw_operate_leave(self->client, node->id, false);
        return false; /* until it is out */
    }
    if (node->drained && lw_operate_drain(self->client, node->id, false) == LW_OK) {
        node->drained = false;
    }
    return !node->drained;
}

/* Whether the lattice's key was changed without a node, so that none of those who use a later one
 * knows its key: then its log says what to do. It may have taken in others since. */
static bool is_left_behind(const lw_sim_trial *it, const lw_sim_member *node) {
    const lw_node *serving = lw_sim_serving(node);
    if (serving == NULL || node->out) {
        return false;
    }
    uint32_t epoch = lw_node_key_epoch(serving);
    bool later = false;
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_node *other = lw_sim_serving(&it->nodes[index]);
        if (other == NULL || lw_node_key_epoch(other) <= epoch) {
            continue;
        }
        if (lw_node_has_key(other, epoch)) {
            return false;
        }
        later = true;
    }
    return later;
}

/* It is started again, with a token: the keeper sees to it. */
static bool bring_back(lw_sim_trial *it) {
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_sim_member *node = &it->nodes[index];
        if (is_left_behind(it, node)) {
            node->left_behind = node->ending = true;
            return true;
        }
    }
    return false;
}

LW_YIELDS static bool settle_all(operator_fiber *self) {
    bool settled = !bring_back(self->of);
    for (uint32_t index = 0; index < self->of->node_count; index++) {
        settled = settle_node(self, &self->of->nodes[index]) && settled;
    }
    return settled;
}

/* What was asked, and sent again for want of an answer, may be carried out late once more. */
LW_YIELDS static void fill_again(operator_fiber *self) {
    for (uint32_t index = 0; index < self->of->node_count; index++) {
        const lw_sim_member *node = &self->of->nodes[index];
        if (node->drain_asked && !node->out && !node->leaving) {
            (void)!lw_operate_drain(self->client, node->id, false);
        }
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

LW_YIELDS static void operator_main(void *argument) {
    operator_fiber *self = argument;
    lw_sim_trial *it = self->of;
    lw_client_options options = {
        .address = it->addresses, .label = "operator", .timeout_ms = ASK_MS};
    lw_status opened = lw_client_open_in(self->env, &options, &self->client);
    LW_ASSERT(opened == LW_OK);
    uint64_t every_ms = it->operate_every_ms;
    while (it->troubled) {
        lw_env_sleep(self->env, (every_ms == 0 ? PAUSE_MS : below(self->env, 2 * every_ms)) *
                                    LW_SIM_NS_PER_MS);
        if (it->troubled && every_ms != 0) {
            ask_something(self);
        }
    }
    while (!settle_all(self)) {
        lw_env_sleep(self->env, PAUSE_MS * LW_SIM_NS_PER_MS);
    }
    it->operator_done = true;
    for (uint32_t count = 0; count < ECHO_COUNT; count++) {
        lw_env_sleep(self->env, ECHO_MS * LW_SIM_NS_PER_MS);
        fill_again(self);
        /* The key may have been changed behind the last look, or a disk found rotten and replaced.
         */
        (void)settle_all(self);
    }
    lw_close(self->client);
}

void lw_sim_operate(lw_sim_trial *it) {
    it->operator_host = lw_world_host(it->world, "operator");
    lw_env *env = lw_host_boot(it->operator_host);
    operator_fiber *self = lw_allocate(env->memory, sizeof(*self));
    *self = (operator_fiber){.of = it, .env = env};
    lw_env_start(env, "operator", operator_main, self);
}
