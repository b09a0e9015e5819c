/* SPDX-License-Identifier: Apache-2.0 */
/* Shards without data: who holds them, who leads, who lacks something, as their Raft groups would
 * have it. A group changes only by a leader that reaches a quorum of voters which lack nothing. */
#include "sim/lore.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    QUORUM_MS = 1000, /* a leader that reaches none for so long is none */
    ELECTS_MS_MIN = 200,
    ELECTS_MS_MAX = 1500,
    CATCHES_UP_MS_MIN = 50,
    CATCHES_UP_MS_MAX = 2500,
    STEP_PAUSE_MS = 1000, /* after one that failed */
    RATE_MAX = 3000,
    RATED_PERCENT = 30, /* of the runs: shards are asked for something */
    KEYS = 65536,
    IDLE_PERCENT = 60,   /* of the shards, at first */
    TURNS_PER_MILLE = 4, /* of them, at a look, are used otherwise from then on */
    IDLE_MS = 800,       /* after which a leader says that one is idle */
};

/* ---- looking -------------------------------------------------------------------------------- */

lore_replica *lore_replica_of(lore_shard *shard, uint32_t soul) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].soul == soul) {
            return &shard->replicas[index];
        }
    }
    return NULL;
}

static uint32_t voter_count(const lore_shard *shard) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        count += shard->replicas[index].voter;
    }
    return count;
}

/* Voters that a node reaches; `current`: and that lack nothing. */
static uint32_t reached(lore *it, const lore_place *place, const lore_shard *shard, bool current) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lore_replica *replica = &shard->replicas[index];
        count += replica->voter && (!current || replica->current) &&
                 lore_reaches(it, place, replica->soul);
    }
    return count;
}

static bool is_quorum(const lore_shard *shard, uint32_t count) {
    return count >= voter_count(shard) / 2 + 1;
}

/* NULL if nobody does. */
static lore_place *leader_of(lore *it, const lore_shard *shard) {
    lore_place *leader = shard->leader == LORE_NOBODY ? NULL : &it->places[shard->leader];
    bool leads = leader != NULL && leader->gossip != NULL && leader->life == shard->leader_life;
    return leads ? leader : NULL;
}

bool lore_can_lose(lore *it, uint32_t soul) {
    for (uint32_t index = 0; index < it->shard_count; index++) {
        const lore_shard *shard = &it->shards[index];
        uint32_t left = 0;
        for (uint32_t place = 0; place < shard->replica_count; place++) {
            const lore_replica *replica = &shard->replicas[place];
            lore_fate fate = it->places[replica->soul].fate;
            left += replica->voter && replica->current && replica->soul != soul &&
                    !it->expelled[replica->soul] && !it->copied[replica->soul] &&
                    (fate == LORE_RUNS || fate == LORE_DOWN);
        }
        if (!is_quorum(shard, left)) {
            return false;
        }
    }
    return true;
}

static int order_of(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

lw_directory_row lore_row(const lore *it, const lore_shard *shard) {
    lw_directory_row row = {.shard = {.id = shard->id,
                                      .epoch = shard->epoch,
                                      .start = lw_text(shard->start),
                                      .end = lw_text(shard->end),
                                      .replica_count = shard->replica_count},
                            .term = shard->term};
    row.shard.leader = shard->leader == LORE_NOBODY ? 0 : it->places[shard->leader].id;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lore_replica *replica = &shard->replicas[index];
        lw_shard_replica made = {it->places[replica->soul].id,
                                 replica->voter ? LW_REPLICA_VOTER : LW_REPLICA_LEARNER};
        uint32_t place = index;
        for (; place > 0 && order_of(row.shard.replicas[place - 1].node, made.node) > 0; place--) {
            row.shard.replicas[place] = row.shard.replicas[place - 1];
        }
        row.shard.replicas[place] = made;
    }
    return row;
}

/* ---- telling -------------------------------------------------------------------------------- */

static uint64_t version_of(const lore_shard *shard) {
    uint64_t epoch = lw_mix(shard->epoch.range_version) ^ shard->epoch.config_version;
    return lw_mix(lw_mix(epoch ^ shard->term << 32) ^ shard->leader) | 1;
}

/* As lw_lattice_learned does: who leads tells all. */
static void tell_replica(lore *it, lore_shard *shard, lore_replica *replica) {
    lore_place *place = lore_body(it, replica->soul);
    const lore_place *leader = leader_of(it, shard);
    bool knows =
        place != NULL && lore_awake(place) && leader != NULL &&
        (place == leader || (replica->current && lore_way(it, leader->index, place->index)));
    if (!knows || replica->told == version_of(shard)) {
        return;
    }
    lw_directory_row row = lore_row(it, shard);
    replica->told = version_of(shard);
    lw_gossip_shard(place->gossip, &row, place == leader, lore_clock_ms(place));
    lore_settle(place);
}

void lore_shards_tell(lore_place *place) {
    lore *it = place->of;
    for (uint32_t index = 0; index < it->shard_count; index++) {
        lore_replica *replica = lore_replica_of(&it->shards[index], place->soul);
        if (replica != NULL) {
            replica->told = 0;
        }
    }
}

/* ---- leaders -------------------------------------------------------------------------------- */

/* It is over, whatever became of it; who began it may have ended meanwhile. */
static void step_over(lore *it, lore_shard *shard, bool done) {
    lore_place *place = &it->places[shard->step_place];
    if (place->life == shard->step_life) {
        lw_placement_handed(&place->ledger, &shard->step, done, lore_clock_ms(place));
    }
    shard->step.kind = LW_PLACEMENT_NOTHING;
}

static void lead(lore *it, lore_shard *shard, const lore_place *leader) {
    shard->leader = leader->index;
    shard->leader_life = leader->life;
    shard->quorum_ns = shard->led_ns = lore_now(it);
    shard->elects_ns = 0;
    shard->term++;
    step_over(it, shard, shard->step.node == leader->id);
    lw_machines_note(it->machines, leader->name, "leads", shard->id, "term %" PRIu64, shard->term);
}

/* A voter that lacks nothing and reaches a quorum, one of several by luck. */
static const lore_place *candidate(lore *it, const lore_shard *shard, uint64_t luck) {
    for (uint32_t step = 0; step < shard->replica_count; step++) {
        const lore_replica *replica = &shard->replicas[(luck + step) % shard->replica_count];
        const lore_place *place = lore_body(it, replica->soul);
        if (replica->voter && replica->current && place != NULL && lore_awake(place) &&
            !place->ends && is_quorum(shard, reached(it, place, shard, false))) {
            return place;
        }
    }
    return NULL;
}

static void elect(lore *it, lore_shard *shard) {
    if (candidate(it, shard, 0) == NULL) {
        shard->elects_ns = 0;
    } else if (shard->elects_ns == 0) {
        uint64_t after_ms = lore_between(it, ELECTS_MS_MIN, ELECTS_MS_MAX);
        shard->elects_ns = lore_now(it) + after_ms * LW_MACHINES_NS_PER_MS;
    } else if (shard->elects_ns <= lore_now(it)) {
        lead(it, shard, candidate(it, shard, lw_chance_next(&it->chance) >> 32));
    }
}

static void keep_lead(lore *it, lore_shard *shard, const lore_place *leader) {
    if (is_quorum(shard, reached(it, leader, shard, false))) {
        shard->quorum_ns = lore_now(it);
    } else if (lore_now(it) - shard->quorum_ns > QUORUM_MS * LW_MACHINES_NS_PER_MS) {
        shard->leader = LORE_NOBODY;
    }
}

void lore_hand_over(lore *it, uint32_t index, uint64_t luck) {
    lore_shard *shard = &it->shards[index];
    const lore_place *next = candidate(it, shard, luck);
    if (leader_of(it, shard) != NULL && next != NULL && next->index != shard->leader) {
        lead(it, shard, next);
    }
}

/* ---- replicas ------------------------------------------------------------------------------- */

/* While something is committed, who is not reached falls behind; who is again catches up with its
 * leader, which lacks nothing. */
static void replicate(lore *it, lore_shard *shard, const lore_place *leader) {
    bool commits = is_quorum(shard, reached(it, leader, shard, true));
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        lore_replica *replica = &shard->replicas[index];
        bool gets = lore_reaches(it, leader, replica->soul);
        if (!gets) {
            replica->current = replica->current && !commits;
            replica->catches_up_ns = 0;
        } else if (!replica->current && replica->catches_up_ns == 0) {
            uint64_t after_ms = lore_between(it, CATCHES_UP_MS_MIN, CATCHES_UP_MS_MAX);
            replica->catches_up_ns = lore_now(it) + after_ms * LW_MACHINES_NS_PER_MS;
        } else if (!replica->current && replica->catches_up_ns <= lore_now(it)) {
            replica->current = true;
        }
    }
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* The replicas that a step makes. */
static lore_shard after(lore *it, const lore_shard *shard) {
    lore_shard made = *shard;
    made.replica_count = shard->step.replica_count;
    LW_ASSERT(made.replica_count <= LORE_REPLICAS_MAX);
    for (uint32_t index = 0; index < made.replica_count; index++) {
        const lw_shard_replica *wanted = &shard->step.replicas[index];
        uint32_t soul = lore_soul_of(it, wanted->node);
        const lore_replica *known = lore_replica_of((lore_shard *)(uintptr_t)shard, soul);
        made.replicas[index] = known != NULL ? *known : (lore_replica){.soul = soul};
        made.replicas[index].voter = wanted->role == LW_REPLICA_VOTER;
    }
    made.epoch.config_version++;
    return made;
}

/* Whether the group would carry it out: its leader is what it was, and both sets agree. */
static bool carry_out(lore *it, lore_shard *shard, const lore_place *leader) {
    bool same = shard->epoch.range_version == shard->step_epoch.range_version &&
                shard->epoch.config_version == shard->step_epoch.config_version;
    if (!same || !is_quorum(shard, reached(it, leader, shard, true))) {
        return false;
    }
    if (shard->step.kind == LW_PLACEMENT_TRANSFER) {
        uint32_t soul = lore_soul_of(it, shard->step.node);
        const lore_replica *replica = lore_replica_of(shard, soul);
        bool can =
            replica != NULL && replica->voter && replica->current && lore_reaches(it, leader, soul);
        if (can) {
            lead(it, shard, lore_body(it, soul));
        }
        return can;
    }
    lore_shard made = after(it, shard);
    if (!is_quorum(&made, reached(it, leader, &made, true))) {
        return false;
    }
    *shard = made;
    return true;
}

static void end_step(lore *it, lore_shard *shard, const lore_place *leader) {
    const char *name = lw_placement_step_name(shard->step.kind);
    bool done = carry_out(it, shard, leader);
    lw_machines_note(it->machines, leader->name, name, shard->id, "%s: %s",
                     done ? "done" : "failed", shard->step.reason);
    step_over(it, shard, done);
    if (done) {
        shard->changed_ns = lore_now(it);
    } else {
        uint64_t more_ms = lore_between(it, 0, STEP_PAUSE_MS);
        shard->waits_ns = lore_now(it) + (STEP_PAUSE_MS + more_ms) * LW_MACHINES_NS_PER_MS;
    }
}

void lore_split(lore *it, uint32_t index, uint64_t luck) {
    lore_shard *shard = &it->shards[index];
    const lore_place *leader = leader_of(it, shard);
    uint64_t low = strtoull(shard->start[0] == '\0' ? "0" : shard->start + 1, NULL, 10);
    uint64_t high = shard->end[0] == '\0' ? KEYS : strtoull(shard->end + 1, NULL, 10);
    if (it->shards_made == LORE_SHARDS_MAX || leader == NULL || high - low < 2 ||
        shard->step.kind != LW_PLACEMENT_NOTHING ||
        !is_quorum(shard, reached(it, leader, shard, true))) {
        return;
    }
    lore_shard *child = &it->shards[it->shard_count++];
    it->shards_made++;
    *child = *shard;
    (void)snprintf(child->start, sizeof(child->start), "k%05u",
                   (unsigned)(low + 1 + luck % (high - low - 1)));
    memcpy(shard->end, child->start, sizeof(shard->end));
    shard->epoch.range_version++;
    child->id = lw_mix(lw_mix(shard->id) ^ shard->epoch.range_version);
    child->epoch = (lw_epoch){shard->epoch.range_version, 1};
    child->term = 1;
    lw_machines_note(it->machines, leader->name, "splits", shard->id, "at %s", child->start);
}

/* ---- idleness ------------------------------------------------------------------------------- */

lw_idleness lore_idleness(const lore *it, const lore_shard *shard) {
    bool long_led = lore_now(it) - shard->led_ns >= IDLE_MS * LW_MACHINES_NS_PER_MS;
    return !shard->idle ? LW_IDLENESS_BUSY : long_led ? LW_IDLENESS_IDLE : LW_IDLENESS_UNKNOWN;
}

static void use_otherwise(lore *it, lore_shard *shard) {
    if (lw_chance_below(&it->whims, 1000) < TURNS_PER_MILLE) {
        shard->idle = !shard->idle;
    }
}

static lore_shard *left_of(lore *it, const lore_shard *shard) {
    for (uint32_t index = 0; index < it->shard_count; index++) {
        if (shard->start[0] != '\0' && strcmp(it->shards[index].end, shard->start) == 0) {
            return &it->shards[index];
        }
    }
    return NULL;
}

/* Whether it is led, nothing of it changes, and all of it is there. */
static bool may_merge(lore *it, const lore_shard *shard) {
    const lore_place *leader = leader_of(it, shard);
    bool may = leader != NULL && lore_awake(leader) && shard->idle &&
               shard->step.kind == LW_PLACEMENT_NOTHING;
    for (uint32_t index = 0; index < shard->replica_count && may; index++) {
        const lore_replica *replica = &shard->replicas[index];
        may = replica->voter && replica->current && lore_reaches(it, leader, replica->soul);
    }
    return may;
}

void lore_merge(lore *it, uint32_t index) {
    lore_shard *right = &it->shards[index], *left = left_of(it, right);
    if (left == NULL || !may_merge(it, left) || !may_merge(it, right) ||
        left->replica_count != right->replica_count) {
        return;
    }
    for (uint32_t place = 0; place < left->replica_count; place++) {
        if (lore_replica_of(right, left->replicas[place].soul) == NULL) {
            return;
        }
    }
    uint64_t above = right->epoch.range_version > left->epoch.range_version
                         ? right->epoch.range_version
                         : left->epoch.range_version;
    left->epoch.range_version = above + 1;
    memcpy(left->end, right->end, sizeof(left->end));
    lw_machines_note(it->machines, it->places[left->leader].name, "merges", left->id, "%016" PRIx64,
                     right->id);
    it->stepped_ns = lore_now(it);
    it->shard_count--;
    memmove(right, right + 1, (it->shard_count - index) * sizeof(*right));
}

/* ---- all of it ------------------------------------------------------------------------------ */

void lore_shards_make(lore *it, uint32_t count) {
    bool rated = lore_percent(it, RATED_PERCENT);
    for (uint32_t index = 0; index < count; index++) {
        lore_shard *shard = &it->shards[index];
        *shard = (lore_shard){.id = index == 0 ? LW_ROOT_SHARD : lw_mix(index),
                              .epoch = {1, 1},
                              .replicas = {{.soul = 0, .voter = true, .current = true}},
                              .replica_count = 1,
                              .leader = LORE_NOBODY,
                              .rate = rated ? lore_between(it, 0, RATE_MAX) : 0,
                              .idle = lw_chance_percent(&it->whims, IDLE_PERCENT)};
        if (index > 0) {
            (void)snprintf(shard->start, sizeof(shard->start), "k%05u", index * KEYS / count);
        }
        if (index + 1 < count) {
            (void)snprintf(shard->end, sizeof(shard->end), "k%05u", (index + 1) * KEYS / count);
        }
    }
    it->shard_count = it->shards_made = count;
}

void lore_turn_shards(lore *it) {
    for (uint32_t index = 0; index < it->shard_count; index++) {
        lore_shard *shard = &it->shards[index];
        const lore_place *leader = leader_of(it, shard);
        if (it->troubled) {
            use_otherwise(it, shard);
        }
        if (leader == NULL) {
            shard->leader = LORE_NOBODY;
        } else {
            keep_lead(it, shard, leader);
            replicate(it, shard, leader);
        }
        leader = leader_of(it, shard);
        if (leader == NULL) {
            elect(it, shard);
        } else if (lore_awake(leader) && shard->step.kind != LW_PLACEMENT_NOTHING &&
                   shard->step_due_ns <= lore_now(it)) {
            end_step(it, shard, leader);
        }
        for (uint32_t place = 0; place < shard->replica_count; place++) {
            tell_replica(it, shard, &shard->replicas[place]);
        }
    }
}
