/* SPDX-License-Identifier: Apache-2.0 */
/* Many gossip machines on one clock, and a bus between them that loses, repeats and delays. */
#ifndef LW_TESTS_GOSSIP_STORY_H
#define LW_TESTS_GOSSIP_STORY_H

#include "lattice/gossip.h"
#include "tests/unit.h"

#define GOSSIP_WALL_MS INT64_C(1700000000000)
enum { GOSSIP_NODES_MAX = 300, GOSSIP_EVENTS_MAX = 4096 };

static const uint8_t gossip_cluster[LW_MEMBER_CLUSTER_SIZE] = "our own lattice";

static uint64_t gossip_planted; /* bits of lw_planted_bug */

typedef struct gossip_flight {
    uint32_t from, to;
    uint64_t at_ms;
    lw_bus_kind kind;
    bool directed;
    uint8_t *body;
    size_t size;
} gossip_flight;

typedef struct gossip_world {
    lw_memory *memory;
    uint64_t now_ms, seed;
    uint32_t count;
    lw_identity identities[GOSSIP_NODES_MAX];
    uint64_t ids[GOSSIP_NODES_MAX];
    lw_gossip *nodes[GOSSIP_NODES_MAX]; /* NULL: not running */
    int64_t ahead_ms[GOSSIP_NODES_MAX]; /* its wall clock, of what is right */
    bool deaf[GOSSIP_NODES_MAX];        /* the bus does not reach it, nor it the bus */
    uint32_t loss_percent, repeat_percent, delay_ms;
    gossip_flight *flights;
    uint32_t flight_count, flight_capacity;
    struct gossip_heard {
        uint32_t node; /* index of who says it */
        lw_gossip_event event;
    } events[GOSSIP_EVENTS_MAX];
    uint32_t event_count;
    size_t body_max;
} gossip_world;

static inline uint32_t gossip_index(const gossip_world *world, uint64_t id) {
    for (uint32_t index = 0; index < world->count; index++) {
        if (world->ids[index] == id) {
            return index;
        }
    }
    return UINT32_MAX;
}

static inline void gossip_start(gossip_world *world, uint32_t index, uint64_t incarnation) {
    char address[32];
    (void)snprintf(address, sizeof(address), "10.0.0.%u:7400", index);
    lw_gossip_options options = {
        .memory = world->memory,
        .identity = &world->identities[index],
        .self = {.node = world->ids[index],
                 .incarnation = incarnation,
                 .state = LW_MEMBER_UP,
                 .address = lw_text(address),
                 .capacity = UINT64_C(1) << 40},
        .grace_ms = 60 * 1000,
    };
#ifdef LW_SIMULATION
    options.bugs = gossip_planted;
#else
    (void)gossip_planted;
#endif
    memcpy(options.cluster_id, gossip_cluster, sizeof(gossip_cluster));
    world->nodes[index] = lw_gossip_open(&options, world->now_ms);
}

static inline gossip_world *gossip_world_open(uint32_t count, uint64_t seed) {
    lw_memory *memory = lw_memory_open();
    gossip_world *world = lw_allocate_zero(memory, sizeof(*world));
    world->memory = memory;
    world->seed = seed;
    world->now_ms = 1000000;
    world->count = count;
    for (uint32_t index = 0; index < count; index++) {
        uint8_t bytes[LW_SEED_SIZE] = {(uint8_t)index, (uint8_t)(index >> 8), 3};
        lw_identity_derive(bytes, &world->identities[index]);
        world->ids[index] = lw_identity_number(world->identities[index].public_key);
        gossip_start(world, index, 1);
    }
    return world;
}

static inline void gossip_world_close(gossip_world *world) {
    lw_memory_close(world->memory);
}

/* As the node that lets a newcomer in hands its records over, and gets the newcomer's. */
static inline void gossip_learn_page(void *argument, lw_bytes page) {
    gossip_world *world = ((void **)argument)[0];
    assert_int_equal(lw_gossip_learn(((void **)argument)[1], page, world->now_ms), LW_OK);
}
static inline void gossip_introduce(gossip_world *world, uint32_t one, uint32_t other) {
    void *to_other[] = {world, world->nodes[other]}, *to_one[] = {world, world->nodes[one]};
    lw_members_pages(lw_gossip_members(world->nodes[one]), gossip_learn_page, to_other);
    lw_members_pages(lw_gossip_members(world->nodes[other]), gossip_learn_page, to_one);
}

static inline void gossip_fly(gossip_world *world, uint32_t from, uint32_t to, uint64_t at_ms,
                              const lw_gossip_message *message) {
    if (world->flight_count == world->flight_capacity) {
        world->flight_capacity = world->flight_capacity == 0 ? 64 : 2 * world->flight_capacity;
        world->flights = lw_reallocate(world->memory, world->flights,
                                       world->flight_capacity * sizeof(*world->flights));
    }
    lw_bytes body = lw_copy(world->memory, message->body);
    world->flights[world->flight_count++] = (gossip_flight){.from = from,
                                                            .to = to,
                                                            .at_ms = at_ms,
                                                            .kind = message->kind,
                                                            .directed = message->to != 0,
                                                            .body = (uint8_t *)(uintptr_t)body.data,
                                                            .size = body.size};
}

static inline void gossip_send(gossip_world *world, uint32_t from,
                               const lw_gossip_message *message) {
    assert_true(message->body.size <= LW_BUS_BODY_SIZE_MAX);
    world->body_max = message->body.size > world->body_max ? message->body.size : world->body_max;
    for (uint32_t to = 0; to < world->count; to++) {
        if (to == from || (message->to != 0 && message->to != world->ids[to])) {
            continue;
        }
        uint32_t copies = 1 + (unit_random_below(&world->seed, 100) < world->repeat_percent);
        for (uint32_t copy = 0; copy < copies; copy++) {
            bool lost = unit_random_below(&world->seed, 100) < world->loss_percent;
            if (!lost && !world->deaf[from] && !world->deaf[to]) {
                uint64_t delay_ms = unit_random_below(&world->seed, world->delay_ms + 1);
                gossip_fly(world, from, to, world->now_ms + delay_ms, message);
            }
        }
    }
}

static inline void gossip_drain(gossip_world *world, uint32_t index) {
    lw_gossip_message message;
    lw_gossip_event event;
    while (lw_gossip_next_message(world->nodes[index], &message)) {
        gossip_send(world, index, &message);
    }
    while (lw_gossip_next_event(world->nodes[index], &event)) {
        if (world->event_count < GOSSIP_EVENTS_MAX) {
            world->events[world->event_count++] = (struct gossip_heard){index, event};
        }
    }
}

/* Delivers what has arrived, in the order of departure only as far as delays agree. */
static inline void gossip_deliver(gossip_world *world) {
    uint32_t kept = 0, count = world->flight_count;
    for (uint32_t index = 0; index < count; index++) {
        gossip_flight flight = world->flights[index];
        if (flight.at_ms > world->now_ms) {
            world->flights[kept++] = flight;
            continue;
        }
        if (world->nodes[flight.to] != NULL) {
            lw_bus_message message = {.kind = flight.kind,
                                      .from = world->ids[flight.from],
                                      .directed = flight.directed,
                                      .body = lw_view(flight.body, flight.size)};
            lw_gossip_receive(world->nodes[flight.to], &message, world->now_ms);
        }
        lw_free(world->memory, flight.body);
    }
    memmove(&world->flights[kept], &world->flights[count],
            (world->flight_count - count) * sizeof(*world->flights));
    world->flight_count -= count - kept;
    for (uint32_t index = 0; index < world->count; index++) {
        if (world->nodes[index] != NULL) {
            gossip_drain(world, index);
        }
    }
}

/* Runs so many milliseconds, in steps of five. */
static inline void gossip_run(gossip_world *world, uint64_t duration_ms) {
    uint64_t end_ms = world->now_ms + duration_ms;
    for (; world->now_ms < end_ms; world->now_ms += 5) {
        for (uint32_t index = 0; index < world->count; index++) {
            lw_gossip *node = world->nodes[index];
            if (node != NULL && lw_gossip_deadline(node) <= world->now_ms) {
                int64_t wall_ms = GOSSIP_WALL_MS + (int64_t)world->now_ms + world->ahead_ms[index];
                lw_gossip_wall(node, (uint64_t)wall_ms, world->now_ms);
                lw_gossip_tick(node, world->now_ms);
                gossip_drain(world, index);
            }
        }
        gossip_deliver(world);
    }
}

/* How often `index` said `kind` of `about` (an index too; of shards: an id). */
static inline uint32_t gossip_said_of(const gossip_world *world, uint32_t index,
                                      lw_gossip_event_kind kind, uint64_t about) {
    uint32_t count = 0;
    for (uint32_t place = 0; place < world->event_count; place++) {
        const lw_gossip_event *event = &world->events[place].event;
        bool of =
            kind == LW_GOSSIP_DISPUTED ? event->shard == about : event->node == world->ids[about];
        count += world->events[place].node == index && event->kind == kind && of;
    }
    return count;
}

static inline bool gossip_equal(const gossip_world *world) {
    const lw_gossip *first = NULL;
    for (uint32_t index = 0; index < world->count; index++) {
        const lw_gossip *node = world->nodes[index];
        first = first == NULL ? node : first;
        if (node != NULL && (lw_members_digest(lw_gossip_members(node)) !=
                                 lw_members_digest(lw_gossip_members(first)) ||
                             lw_directory_digest(lw_gossip_directory(node)) !=
                                 lw_directory_digest(lw_gossip_directory(first)))) {
            return false;
        }
    }
    return true;
}

/* Runs until all know the same; the rounds of heartbeats that took, or fails after `round_max`. */
static inline uint32_t gossip_settle(gossip_world *world, uint32_t round_max) {
    for (uint32_t round = 0; round <= round_max; round++) {
        if (gossip_equal(world)) {
            return round;
        }
        uint64_t slow_ms = (uint64_t)world->count * 1000 / LW_GOSSIP_BEATS_MAX;
        gossip_run(world, slow_ms > LW_GOSSIP_HEARTBEAT_MS ? slow_ms : LW_GOSSIP_HEARTBEAT_MS);
    }
    fail_msg("nodes still differ after %u rounds", round_max);
    return 0;
}

static inline void gossip_put_shard(gossip_world *world, uint32_t index, uint64_t shard,
                                    uint64_t version, uint64_t term) {
    char start[24], end[24];
    (void)snprintf(start, sizeof(start), "key-%012llu", (unsigned long long)shard);
    (void)snprintf(end, sizeof(end), "key-%012llu", (unsigned long long)shard + 1);
    lw_directory_row row = {.shard = {.id = shard,
                                      .epoch = {version, 1},
                                      .start = lw_text(start),
                                      .end = lw_text(end),
                                      .leader = world->ids[index],
                                      .replica_count = 3},
                            .term = term};
    for (uint32_t replica = 0; replica < 3; replica++) {
        row.shard.replicas[replica] = (lw_shard_replica){10 + replica, LW_REPLICA_VOTER};
    }
    lw_gossip_shard(world->nodes[index], &row, true, world->now_ms);
}

#endif
