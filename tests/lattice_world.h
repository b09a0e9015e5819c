/* SPDX-License-Identifier: Apache-2.0 */
/* Whole nodes on hosts of one simulated world, with a bus of its own: for tests of what a node does
 * among others. The first one founds the lattice; the others join it with its token. */
#ifndef LW_TESTS_LATTICE_WORLD_H
#define LW_TESTS_LATTICE_WORLD_H

#include "client/lathwork.h"
#include "lattice/report.h"
#include "node/node_state.h"
#include "sim/bus.h"
#include "sim/world.h"
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>

enum { HOUSES_MAX = 5 };

#define SECOND (UINT64_C(1000000000))
#define MS     (UINT64_C(1000000))

/* One process of a node. */
typedef struct house {
    struct town *in;
    lw_host *host;
    lw_env *env;
    lw_node *node; /* while it serves */
    char address[32];
    lw_error ended; /* why it stopped by itself, or could not start */
} house;

typedef struct town {
    lw_world *world;
    char token[LW_NODE_TOKEN_SIZE];
    const char *join; /* where others knock; NULL: at the first one */
    bool without_bus;
    house houses[HOUSES_MAX];
} town;

/* A request that is carried out in a fiber of a node. */
typedef struct errand {
    house *at;
    lw_request request;
    lw_buffer reply;
    lw_status status;
    bool done;
} errand;

static inline void town_run(town *in, uint64_t ns) {
    (void)lw_world_run(in->world, lw_world_now(in->world) + ns);
}

static inline void house_died(void *argument, const lw_error *reason) {
    house *self = argument;
    self->ended = *reason;
    self->node = NULL;
}

LW_YIELDS static inline void house_main(void *argument) {
    house *self = argument;
    town *in = self->in;
    bool founder = self == &in->houses[0];
    const char *join = in->join != NULL ? in->join : in->houses[0].address;
    lw_node_options options = {.directory = "data",
                               .listen = self->address,
                               .version = LW_VERSION,
                               .join = founder ? NULL : join,
                               .token = in->token,
                               .dead_after_ms = 20 * 1000,
                               .open_bus = in->without_bus ? NULL : lw_sim_bus_open,
                               .died = house_died,
                               .argument = self};
    lw_node *node = NULL;
    if (lw_node_open(self->env, &options, &node) != LW_OK) {
        self->ended = *lw_error_slot();
        return;
    }
    self->node = node;
    if (founder && in->token[0] == '\0') {
        lw_node_token(node, 0, in->token);
    }
}

/* Starts a node, and waits until it serves or has given up. */
static inline house *house_boot(town *in, uint32_t number) {
    house *self = &in->houses[number];
    self->node = NULL;
    self->ended = (lw_error){0};
    self->env = lw_host_boot(self->host);
    lw_env_start(self->env, "node", house_main, self);
    for (int step = 0; step < 600 && self->node == NULL && self->ended.status == LW_OK; step++) {
        town_run(in, 50 * MS);
    }
    return self;
}

static inline town *town_open(uint64_t seed) {
    static const char *const names[HOUSES_MAX] = {"alpha", "beta", "gamma", "delta", "epsilon"};
    static const lw_faults none = {0};
    town *in = calloc(1, sizeof(*in));
    in->world = lw_world_open(seed, &none);
    for (uint32_t number = 0; number < HOUSES_MAX; number++) {
        house *self = &in->houses[number];
        self->in = in;
        self->host = lw_world_host(in->world, names[number]);
        (void)snprintf(self->address, sizeof(self->address), "%s:7400", names[number]);
    }
    return in;
}

static inline void town_close(town *in) {
    lw_world_close(in->world);
    free(in);
}

static inline uint64_t house_id(const house *self) {
    return self->node->identity.node_id;
}

/* ---- asking ------------------------------------------------------------------------------- */

LW_YIELDS static inline void errand_main(void *argument) {
    errand *job = argument;
    job->status = node_handle(job->at->node, 0, &job->request, 0, &job->reply);
    job->done = true;
}

/* As a client would. The reply is of the node's memory. */
static inline lw_status house_ask(house *at, lw_message_kind kind, lw_bytes body,
                                  lw_buffer *reply) {
    errand job = {.at = at,
                  .request = {.kind = kind, .timeout_ms = 5000, .body = body},
                  .reply = lw_buffer_in(at->env->memory)};
    lw_env_start(at->env, "errand", errand_main, &job);
    for (int step = 0; step < 1000 && !job.done; step++) {
        town_run(at->in, 10 * MS);
    }
    assert_true(job.done);
    *reply = job.reply;
    return job.status;
}

static inline lw_status house_tell(house *at, lw_message_kind kind, uint64_t node, bool flag) {
    lw_buffer body = lw_buffer_in(at->env->memory), reply;
    lw_node_request_encode(node, flag, &body);
    lw_status status = house_ask(at, kind, lw_buffer_view(&body), &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

/* Splits the shard that holds `key` there, wherever it is led. */
typedef struct splitting {
    house *at;
    lw_bytes key;
    lw_status status;
    bool done;
} splitting;
LW_YIELDS static inline void splitting_main(void *argument) {
    splitting *job = argument;
    lw_buffer body = lw_buffer_in(job->at->env->memory), reply = body;
    lw_split_request_encode(&(lw_split_request){.key = job->key}, &body);
    job->status = lw_shards_ask(job->at->node->shards, LW_MESSAGE_SPLIT, job->key,
                                lw_buffer_view(&body), &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    job->done = true;
}
static inline void house_split(house *at, const char *key) {
    splitting job = {.at = at, .key = lw_text(key)};
    lw_env_start(at->env, "split", splitting_main, &job);
    for (int step = 0; step < 1000 && !job.done; step++) {
        town_run(at->in, 10 * MS);
    }
    assert_true(job.done);
    assert_int_equal(job.status, LW_OK);
}

/* ---- looking ------------------------------------------------------------------------------ */

static inline uint32_t house_shards(const house *self) {
    return self->node == NULL ? 0 : lw_shards_count(self->node->shards);
}

static inline uint32_t house_leads(const house *self) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < house_shards(self); index++) {
        count += lw_replica_leads(lw_shards_at(self->node->shards, index));
    }
    return count;
}

/* Whether each of `shard_count` shards is led once, and has so many voters and nothing else. */
static inline bool town_whole(const town *in, uint32_t shard_count, uint32_t voter_count) {
    uint32_t led = 0;
    for (uint32_t number = 0; number < HOUSES_MAX; number++) {
        const house *self = &in->houses[number];
        for (uint32_t index = 0; index < house_shards(self); index++) {
            const lw_replica *replica = lw_shards_at(self->node->shards, index);
            lw_shard_descriptor shard;
            lw_replica_descriptor(replica, &shard);
            if (!lw_replica_leads(replica)) {
                continue;
            }
            led++;
            if (shard.replica_count != voter_count) {
                return false;
            }
            for (uint32_t place = 0; place < voter_count; place++) {
                if (shard.replicas[place].role != LW_REPLICA_VOTER) {
                    return false;
                }
            }
        }
    }
    return led == shard_count;
}

/* Runs until that is so; fails after `second_max`. The seconds that took. */
static inline uint32_t town_settle(town *in, uint32_t shard_count, uint32_t voter_count,
                                   uint32_t second_max) {
    for (uint32_t second = 0; second <= second_max; second++) {
        if (town_whole(in, shard_count, voter_count)) {
            return second;
        }
        town_run(in, SECOND);
    }
    for (uint32_t number = 0; number < HOUSES_MAX; number++) {
        const house *self = &in->houses[number];
        print_message("%s: %s, %u shards, leads %u\n", self->address,
                      self->node == NULL ? "down" : "up", house_shards(self), house_leads(self));
    }
    fail_msg("not %u shards of %u voters after %u s", shard_count, voter_count, second_max);
    return 0;
}

#endif
