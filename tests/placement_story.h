/* SPDX-License-Identifier: Apache-2.0 */
/* A lattice of nothing but placement: nodes, shards, who leads them and how far their replicas are.
 * Every round each node decides for the shards it leads, on what was true at the end of the round
 * before, and its steps are carried out. */
#ifndef LW_TESTS_PLACEMENT_STORY_H
#define LW_TESTS_PLACEMENT_STORY_H

#include "base/hash.h"
#include "lattice/placement.h"
#include "tests/unit.h"

static uint64_t story_planted; /* bits of lw_planted_bug */

enum { STORY_NODES_MAX = 320, STORY_FILL_ROUNDS = 2 };

typedef struct story_replica {
    uint32_t node; /* index */
    bool voter;
    uint32_t filling; /* rounds until it has caught up */
} story_replica;

typedef struct story_shard {
    uint64_t id;
    uint64_t leader; /* index; UINT32_MAX: none */
    story_replica replicas[8];
    uint32_t replica_count;
    uint64_t rate;
    uint64_t anchor; /* as which it is placed; 0: as itself */
} story_shard;

typedef struct story_node {
    lw_placement_node as;
    bool alive;
    uint32_t silent_rounds; /* since it died */
} story_node;

typedef struct story_lattice {
    lw_memory *memory;
    story_node nodes[STORY_NODES_MAX]; /* ascending by id */
    uint32_t node_count;
    story_shard *shards;
    uint32_t shard_count;
    uint32_t grace_rounds;
    bool calm;
    uint64_t round;
    lw_placement_view view;
    uint32_t steps[6]; /* by kind, of the last run */
    uint32_t receiving_most;
    char trace[4096]; /* of runs of one shard */
} story_lattice;

static inline uint64_t story_id(uint32_t index) {
    return 1000 + index;
}

static inline void story_add_node(story_lattice *of, const char *zone, uint64_t capacity) {
    story_node *node = &of->nodes[of->node_count];
    *node = (story_node){.alive = true,
                         .as = {.node = story_id(of->node_count),
                                .state = LW_MEMBER_UP,
                                .zone = lw_text(zone),
                                .capacity = capacity,
                                .settled = true,
                                .loaded = true}};
    of->node_count++;
}

/* `node_count` nodes, and all shards with one voter on node 0. */
static inline story_lattice *story_open(uint32_t node_count, uint32_t shard_count) {
    lw_memory *memory = lw_memory_open();
    story_lattice *of = lw_allocate_zero(memory, sizeof(*of));
    of->memory = memory;
    of->calm = true;
    of->grace_rounds = 5;
    of->shard_count = shard_count;
    of->shards = lw_allocate_zero(memory, shard_count * sizeof(*of->shards));
    for (uint32_t index = 0; index < node_count; index++) {
        story_add_node(of, "", 0);
    }
    for (uint32_t index = 0; index < shard_count; index++) {
        of->shards[index] = (story_shard){
            .id = lw_mix(index), .replicas = {{.node = 0, .voter = true}}, .replica_count = 1};
    }
    return of;
}

/* The same shards, one voter each, on all nodes in turn: who grew is not what is tried. */
static inline void story_spread(story_lattice *of) {
    for (uint32_t index = 0; index < of->shard_count; index++) {
        of->shards[index].replicas[0].node = index % of->node_count;
        of->shards[index].leader = index % of->node_count;
    }
}

static inline void story_close(story_lattice *of) {
    lw_memory_close(of->memory);
}

/* ---- what is so ---------------------------------------------------------------------------------
 */

static inline bool story_healthy(const story_lattice *of, const story_replica *replica) {
    return of->nodes[replica->node].alive && replica->filling == 0;
}

static inline uint32_t story_voters(const story_lattice *of, const story_shard *shard,
                                    uint32_t *healthy) {
    uint32_t voters = 0;
    *healthy = 0;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        voters += shard->replicas[index].voter;
        *healthy += shard->replicas[index].voter && story_healthy(of, &shard->replicas[index]);
    }
    return voters;
}

static inline story_replica *story_find(story_shard *shard, uint32_t node) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].node == node) {
            return &shard->replicas[index];
        }
    }
    return NULL;
}

/* A leader that died or has no quorum is no leader; a voter that is healthy is elected. */
static inline void story_elect(const story_lattice *of, story_shard *shard) {
    uint32_t healthy, voters = story_voters(of, shard, &healthy);
    story_replica *leader = story_find(shard, (uint32_t)shard->leader);
    if (healthy < voters / 2 + 1) {
        shard->leader = UINT32_MAX;
        return;
    }
    if (leader != NULL && leader->voter && story_healthy(of, leader)) {
        return;
    }
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].voter && story_healthy(of, &shard->replicas[index])) {
            shard->leader = shard->replicas[index].node;
            return;
        }
    }
}

static inline void story_count_loads(story_lattice *of) {
    for (uint32_t index = 0; index < of->node_count; index++) {
        of->nodes[index].as.load = (lw_member_load){0};
    }
    for (uint32_t index = 0; index < of->shard_count; index++) {
        story_shard *shard = &of->shards[index];
        story_elect(of, shard);
        if (shard->leader != UINT32_MAX) {
            of->nodes[shard->leader].as.load.leaders++;
            of->nodes[shard->leader].as.load.reads += shard->rate;
        }
        for (uint32_t place = 0; place < shard->replica_count; place++) {
            lw_member_load *load = &of->nodes[shard->replicas[place].node].as.load;
            load->shards++;
            load->receiving += !shard->replicas[place].voter; /* as node/lattice_place.c counts */
            of->receiving_most = load->receiving > of->receiving_most ? (uint32_t)load->receiving
                                                                      : of->receiving_most;
        }
    }
}

/* ---- a round ------------------------------------------------------------------------------------
 */

static inline void story_view(story_lattice *of, uint32_t self) {
    lw_placement_options options = {
        .self = story_id(self), .calm = of->calm, .bugs = story_planted};
    lw_placement_begin(&of->view, &options, 0);
    for (uint32_t index = 0; index < of->node_count; index++) {
        story_node *node = &of->nodes[index];
        if (node->as.state == LW_MEMBER_GONE) {
            continue;
        }
        lw_placement_node seen = node->as;
        seen.linked = node->alive;
        seen.round = of->round;
        seen.dead = !node->alive && node->silent_rounds > of->grace_rounds;
        lw_placement_add(&of->view, &seen);
    }
}

static inline void story_describe(const story_lattice *of, const story_shard *shard,
                                  lw_shard_descriptor *descriptor,
                                  lw_placement_progress *progress) {
    *descriptor = (lw_shard_descriptor){.id = shard->id, .replica_count = shard->replica_count};
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const story_replica *replica = &shard->replicas[index];
        descriptor->replicas[index] = (lw_shard_replica){
            story_id(replica->node), replica->voter ? LW_REPLICA_VOTER : LW_REPLICA_LEARNER};
        progress[index] = (lw_placement_progress){.node = story_id(replica->node),
                                                  .caught_up = story_healthy(of, replica)};
    }
}

/* P1 and P6, whatever the step. */
static inline void story_apply(story_lattice *of, story_shard *shard,
                               const lw_placement_step *step) {
    if (step->kind == LW_PLACEMENT_TRANSFER) {
        story_replica *to = story_find(shard, (uint32_t)(step->node - story_id(0)));
        assert_true(to != NULL && to->voter && story_healthy(of, to));
        shard->leader = to->node;
        return;
    }
    story_shard before = *shard;
    shard->replica_count = step->replica_count;
    for (uint32_t index = 0; index < step->replica_count; index++) {
        const lw_shard_replica *wanted = &step->replicas[index];
        story_replica *known = story_find(&before, (uint32_t)(wanted->node - story_id(0)));
        shard->replicas[index] =
            known != NULL ? *known
                          : (story_replica){.node = (uint32_t)(wanted->node - story_id(0)),
                                            .filling = STORY_FILL_ROUNDS};
        shard->replicas[index].voter = wanted->role == LW_REPLICA_VOTER;
        bool promoted = shard->replicas[index].voter && (known == NULL || !known->voter);
        assert_true(!promoted || story_healthy(of, &shard->replicas[index]));
    }
    uint32_t healthy, voters = story_voters(of, shard, &healthy);
    assert_true(healthy >= voters / 2 + 1);
    uint32_t unused, voted = story_voters(of, &before, &unused);
    assert_true(voted <= 1 || voted % 2 == 0 || voters % 2 == 1);
    story_replica *leader = story_find(shard, (uint32_t)shard->leader);
    assert_true(leader != NULL && leader->voter);
}

static inline void story_decide(story_lattice *of, uint32_t self, story_shard *shard) {
    lw_shard_descriptor descriptor;
    lw_placement_progress progress[8];
    lw_placement_step step;
    story_describe(of, shard, &descriptor, progress);
    lw_placement_shard input = {.shard = &descriptor,
                                .progress = progress,
                                .progress_count = shard->replica_count,
                                .settled = true,
                                .rate = shard->rate,
                                .anchor = shard->anchor};
    lw_placement_decide(&of->view, &input, &step);
    assert_true(step.reason[0] != '\0');
    if (of->shard_count == 1 && step.kind != LW_PLACEMENT_NOTHING) {
        size_t size = strlen(of->trace);
        (void)snprintf(of->trace + size, sizeof(of->trace) - size, "%s %u: %s\n",
                       lw_placement_step_name(step.kind), (unsigned)(step.node - story_id(0)),
                       step.reason);
    }
    of->steps[step.kind]++;
    if (step.kind != LW_PLACEMENT_NOTHING) {
        lw_placement_took(&of->view, &step);
        story_apply(of, shard, &step);
    }
    (void)self;
}

/* Returns the number of steps taken. */
static inline uint32_t story_round(story_lattice *of) {
    story_count_loads(of);
    of->round++;
    memset(of->steps, 0, sizeof(of->steps));
    uint32_t *led = lw_allocate(of->memory, of->shard_count * sizeof(*led));
    for (uint32_t index = 0; index < of->shard_count; index++) {
        led[index] = (uint32_t)of->shards[index].leader; /* decided by who led at the beginning */
    }
    for (uint32_t self = 0; self < of->node_count; self++) {
        if (!of->nodes[self].alive || of->nodes[self].as.load.leaders == 0) {
            continue;
        }
        story_view(of, self);
        uint32_t begin = (uint32_t)(lw_mix(of->round ^ self) % of->shard_count);
        for (uint32_t step = 0; step < of->shard_count; step++) {
            uint32_t index = (begin + step) % of->shard_count;
            if (led[index] == self) {
                story_decide(of, self, &of->shards[index]);
            }
        }
    }
    lw_free(of->memory, led);
    uint32_t filling = 0;
    for (uint32_t index = 0; index < of->shard_count; index++) {
        for (uint32_t place = 0; place < of->shards[index].replica_count; place++) {
            story_replica *replica = &of->shards[index].replicas[place];
            bool fills = replica->filling > 0 && of->nodes[replica->node].alive;
            replica->filling -= fills;
            filling += fills;
        }
    }
    for (uint32_t index = 0; index < of->node_count; index++) {
        of->nodes[index].silent_rounds += !of->nodes[index].alive;
    }
    uint32_t taken = filling;
    for (int kind = LW_PLACEMENT_ADD; kind <= LW_PLACEMENT_TRANSFER; kind++) {
        taken += of->steps[kind];
    }
    return taken;
}

/* Runs until nothing was to be done for some rounds; how many rounds something was. `steps` gets
 * the sums by kind. */
static inline uint32_t story_settle(story_lattice *of, uint32_t round_max, uint32_t steps[6]) {
    enum { QUIET_ROUNDS = 8 };
    uint32_t sums[6] = {0}, last = 0;
    for (uint32_t round = 1; round <= last + QUIET_ROUNDS; round++) {
        if (round > round_max) {
            fail_msg("placement has not come to rest after %u rounds", round_max);
        }
        if (story_round(of) > 0) {
            last = round;
        }
        for (int kind = 0; kind < 6; kind++) {
            sums[kind] += of->steps[kind];
        }
    }
    if (steps != NULL) {
        memcpy(steps, sums, sizeof(sums));
    }
    story_count_loads(of);
    return last;
}

static inline void story_kill(story_lattice *of, uint32_t index) {
    of->nodes[index].alive = false;
    of->nodes[index].silent_rounds = 0;
}

#endif
