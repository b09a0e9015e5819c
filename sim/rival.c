/* SPDX-License-Identifier: Apache-2.0 */
/* A rival of the operator: somebody else who asks for things at the same time, and does not know
 * what the first one does. Leadership is thrown to and fro, so that what was begun in one goes on
 * in the next; shards are merged while it is; replicas are to go without others to take their
 * place, by mistake; and transactions are killed, also while they commit. Which of these a run has
 * is drawn; half of the runs have nobody. */
#include "client/client.h"
#include "client/operate.h"
#include "client/operate_lattice.h"
#include "node/shards.h"
#include "sim/run.h"

enum {
    RUNS_PERCENT = 50, /* that have one */
    ASK_MS = 1500,
    KEY_MAX = 64,
    THROWS_MAX = 12,
    CATCH_NS = 20 * 1000 * 1000, /* between two throws, at most */
};

static const uint32_t shares[] = {0, 1, 1, 4};

#define DRAW(chance, table) ((table)[lw_chance_below((chance), sizeof(table) / sizeof((table)[0]))])

typedef struct rival {
    lw_sim_trial *of;
    lw_env *env;
    lw_client *client;
    uint32_t every_ms;
    uint32_t kills, throws, merges, mistakes; /* the share of each */
} rival;

static uint64_t below(const rival *self, uint64_t bound) {
    return lw_env_random_below(self->env, bound);
}

/* A shard that somebody serves, and two of its voters. */
typedef struct target {
    uint8_t key[KEY_MAX];
    lw_bytes start;
    uint64_t one, other;
} target;

static bool draw_target(const rival *self, target *drawn) {
    lw_sim_trial *it = self->of;
    const lw_shards *shards = lw_sim_shards_of(&it->nodes[below(self, it->node_count)]);
    uint32_t count = shards == NULL ? 0 : lw_shards_count(shards);
    if (count == 0) {
        return false;
    }
    lw_shard_descriptor shard;
    lw_replica_descriptor(lw_shards_at(shards, (uint32_t)below(self, count)), &shard);
    if (shard.start.size > KEY_MAX || shard.replica_count < 2) {
        return false;
    }
    if (shard.start.size > 0) {
        memcpy(drawn->key, shard.start.data, shard.start.size);
    }
    drawn->start = lw_view(drawn->key, shard.start.size);
    uint64_t first = below(self, shard.replica_count), step = below(self, shard.replica_count - 1);
    drawn->one = shard.replicas[first].node;
    drawn->other = shard.replicas[(first + 1 + step) % shard.replica_count].node;
    return true;
}

LW_YIELDS static void throw_leadership(rival *self) {
    target drawn;
    if (!draw_target(self, &drawn)) {
        return;
    }
    for (uint64_t count = 2 + below(self, THROWS_MAX); count > 0 && self->of->troubled; count--) {
        (void)!lw_operate_transfer(self->client, drawn.start,
                                   count % 2 == 0 ? drawn.one : drawn.other);
        lw_env_sleep(self->env, below(self, CATCH_NS));
    }
}

LW_YIELDS static void merge_shard(rival *self) {
    target drawn;
    if (draw_target(self, &drawn)) {
        (void)!lw_operate_merge(self->client, drawn.start, 0);
    }
}

/* One is to take the other's place, and has a place of its own. */
LW_YIELDS static void ask_by_mistake(rival *self) {
    target drawn;
    if (draw_target(self, &drawn)) {
        (void)!lw_operate_move(self->client, drawn.start, drawn.one, drawn.other);
    }
}

/* How often a node came to lead something, or was started. Marks of who is killed go with the node
 * that leads (node/kill.h). */
static uint64_t leaderships(const lw_sim_trial *it) {
    return lw_world_marked(it->world, "group.leads") + it->result->boots;
}

LW_YIELDS static void kill_transaction(rival *self) {
    lw_sim_trial *it = self->of;
    lw_kill_note note = {.start = lw_workload_victim(self->env, it->clients, it->client_count)};
    if (note.start == 0) {
        return;
    }
    uint64_t changes = leaderships(it), given = it->watch.given;
    lw_status status = lw_operate_kill(self->client, note.start, &note.commit_timestamp);
    note.given = leaderships(it) == changes ? it->watch.given : given;
    if (status == LW_OK || status == LW_REFUSED) {
        lw_workload_note_kill(&it->workload, &note);
    }
}

LW_YIELDS static void ask_something(rival *self) {
    uint64_t choice =
        below(self, (uint64_t)self->kills + self->throws + self->merges + self->mistakes);
    if (choice < self->kills) {
        kill_transaction(self);
    } else if (choice < (uint64_t)self->kills + self->throws) {
        throw_leadership(self);
    } else if (choice < (uint64_t)self->kills + self->throws + self->merges) {
        merge_shard(self);
    } else {
        ask_by_mistake(self);
    }
}

LW_YIELDS static void rival_main(void *argument) {
    rival *self = argument;
    lw_sim_trial *it = self->of;
    lw_client_options options = {.address = it->addresses, .label = "rival", .timeout_ms = ASK_MS};
    lw_status opened = lw_client_open_in(self->env, &options, &self->client);
    LW_ASSERT(opened == LW_OK);
    while (it->troubled) {
        lw_env_sleep(self->env, below(self, 2 * (uint64_t)self->every_ms) * LW_SIM_NS_PER_MS);
        if (it->troubled) {
            ask_something(self);
        }
    }
    lw_close(self->client);
}

void lw_sim_rival(lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "rival");
    rival drawn = {.of = it};
    bool comes = lw_chance_percent(&chance, RUNS_PERCENT);
    drawn.kills = DRAW(&chance, shares);
    drawn.throws = DRAW(&chance, shares);
    drawn.merges = DRAW(&chance, shares);
    drawn.mistakes = DRAW(&chance, shares);
    drawn.every_ms = (uint32_t)lw_chance_between(&chance, 10, 150);
    if (!comes || drawn.kills + drawn.throws + drawn.merges + drawn.mistakes == 0) {
        return;
    }
    drawn.env = lw_host_boot(lw_world_host(it->world, "rival"));
    rival *self = lw_allocate(drawn.env->memory, sizeof(*self));
    *self = drawn;
    lw_env_start(self->env, "rival", rival_main, self);
}
