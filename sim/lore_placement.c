/* SPDX-License-Identifier: Apache-2.0 */
/* A node looks after the shards that it leads, as node/lattice_place.c does. */
#include "sim/lore.h"

#define WALL_MS INT64_C(1700000000000) /* of all that are right, when the world begins */
enum {
    STEP_MS_MIN = 20,
    STEP_MS_MAX = 400,
    SHARD_BYTES = 1 << 20,
};

/* ---- load ----------------------------------------------------------------------------------- */

static bool leads(const lore_place *place, const lore_shard *shard) {
    return shard->leader == place->index && shard->leader_life == place->life;
}

static void count_load(lore_place *place, lw_member_load *load) {
    lore *it = place->of;
    *load = (lw_member_load){0};
    place->changing = 0;
    for (uint32_t index = 0; index < it->shard_count; index++) {
        lore_shard *shard = &it->shards[index];
        const lore_replica *replica = lore_replica_of(shard, place->soul);
        bool led = leads(place, shard);
        load->shards += replica != NULL;
        load->receiving += replica != NULL && !replica->voter;
        bool stays = led && shard->step.kind != LW_PLACEMENT_TRANSFER;
        load->leaders += stays;
        load->reads += stays ? shard->rate : 0;
        place->changing += led && shard->step.kind != LW_PLACEMENT_NOTHING;
    }
    load->bytes = load->shards * SHARD_BYTES;
}

/* ---- the view ------------------------------------------------------------------------------- */

static void look_around(lore_place *place, const lw_member_load *own) {
    lore *it = place->of;
    lw_placement_options options = {.voters = it->voters};
    lw_placement_look look = {.gossip = place->gossip,
                              .own_load = own,
                              .ledger = &place->ledger,
                              .changing = place->changing,
                              .settled_ms = it->settled_ms,
                              .now_ms = lore_clock_ms(place)};
#ifdef LW_SIMULATION
    options.bugs = it->bugs;
#endif
    lw_placement_look_around(it->view, &options, &look);
}

/* What the leader knows of the others. */
static uint32_t progress_of(lore *it, const lore_shard *shard, lw_placement_progress *progress) {
    const lore_place *leader = &it->places[shard->leader];
    uint32_t count = 0;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lore_replica *replica = &shard->replicas[index];
        if (replica->soul != leader->soul) {
            progress[count++] = (lw_placement_progress){
                .node = it->places[replica->soul].id,
                .caught_up = replica->current && lore_reaches(it, leader, replica->soul)};
        }
    }
    return count;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void decide(lore_place *place, lore_shard *shard) {
    lore *it = place->of;
    lw_directory_row row = lore_row(it, shard);
    lw_placement_progress progress[LORE_REPLICAS_MAX];
    uint32_t count = progress_of(it, shard, progress);
    uint64_t now_ns = lore_now(it), settled_ns = it->settled_ms * LW_MACHINES_NS_PER_MS;
    lw_placement_shard input = {
        .shard = &row.shard,
        .progress = progress,
        .progress_count = count,
        .changing = shard->step.kind != LW_PLACEMENT_NOTHING || now_ns < shard->waits_ns,
        .settled = shard->changed_ns == 0 || now_ns - shard->changed_ns >= settled_ns,
        .rate = shard->rate,
        .anchor = lw_neighbour_anchor(lw_gossip_directory(place->gossip), shard->id),
    };
    lw_placement_step step;
    lw_placement_decide(it->view, &input, &step);
    memcpy(shard->reason, step.reason, sizeof(shard->reason));
    if (step.kind == LW_PLACEMENT_NOTHING) {
        return;
    }
    lore_watch_step(place, shard, progress, count, &step);
    lw_placement_took(it->view, &step);
    lw_placement_hand(&place->ledger, &step);
    shard->step = step;
    shard->step_epoch = shard->epoch;
    shard->step_place = place->index;
    shard->step_life = place->life;
    shard->step_due_ns =
        now_ns + lore_between(it, STEP_MS_MIN, STEP_MS_MAX) * LW_MACHINES_NS_PER_MS;
    it->stepped_ns = now_ns;
    lw_machines_note(it->machines, place->name, lw_placement_step_name(step.kind), shard->id,
                     "begins: %s", step.reason);
}

/* One that leaves is gone once it holds nothing. */
static void leave(lore_place *place, const lw_member_load *load) {
    if (lw_gossip_self(place->gossip)->state == LW_MEMBER_LEAVING && load->shards == 0) {
        lw_gossip_set_state(place->gossip, LW_MEMBER_GONE, lore_clock_ms(place));
        place->unsaved = true;
        lore_greet_all(place);
    }
}

void lore_look(lore_place *place) {
    lore *it = place->of;
    lw_member_load load;
    int64_t wall_ms = WALL_MS + (int64_t)(lore_now(it) / LW_MACHINES_NS_PER_MS);
    lw_gossip_wall(place->gossip, (uint64_t)(wall_ms + place->wall_ahead_ms), lore_clock_ms(place));
    count_load(place, &load);
    lw_gossip_load(place->gossip, &load);
    leave(place, &load);
    if (load.leaders == 0) {
        return;
    }
    look_around(place, &load);
    uint32_t first = (uint32_t)lore_between(it, 0, it->shard_count - 1);
    for (uint32_t step = 0; step < it->shard_count; step++) {
        lore_shard *shard = &it->shards[(first + step) % it->shard_count];
        if (leads(place, shard)) {
            decide(place, shard);
            (void)lw_gossip_idleness(place->gossip, shard->id, lore_idleness(it, shard),
                                     lore_clock_ms(place));
        }
    }
    uint32_t last = (uint32_t)lw_chance_below(&it->whims, it->shard_count);
    if (leads(place, &it->shards[last])) {
        lore_merge(it, last);
    }
}
