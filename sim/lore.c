/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/lore.h"

#include "node/lattice.h"

#include <inttypes.h>

enum {
    TURN_MS = 100,          /* between two looks at links and shards */
    FOUNDING_MS = 3000,     /* within which the founders come */
    TROUBLE_MS_MIN = 15000, /* how long trouble lasts */
    TROUBLE_MS_MAX = 40000,
    CONVERGE_BEATS = 40, /* heartbeats within which all must know the same after the peace, */
    CONVERGE_MS = 15000, /* ... and time for what is no heartbeat: starts, links, grace */
    PLACE_MS = 240000,   /* within which shards must be where they should be, */
    REST_MS = 12000,     /* and for how long no step may be taken then */
};

/* ---- what a run is like --------------------------------------------------------------------- */

static const uint64_t heartbeats_ms[] = {500, 500, 1000, 1500};
static const uint32_t voters[] = {3, 3, 3, 1, 5};

static void draw(lore *it) {
    uint32_t founders = it->machines->options->node_count;
    uint32_t drawn = (uint32_t)lore_between(it, 2, 6);
    uint32_t newcomers = (uint32_t)lore_between(it, 1, 3);
    founders = founders == 0 ? drawn : founders;
    it->place_count = founders + newcomers + 1; /* the last one for a copy */
    LW_ASSERT(it->place_count <= LORE_PLACES_MAX);
    it->heartbeat_ms = heartbeats_ms[lore_between(it, 0, 3)];
    it->grace_ms = lore_between(it, 3000, 9000);
    it->look_ms = lore_between(it, 200, 1000);
    it->settled_ms = lore_between(it, 1000, 5000);
    it->voters = voters[lore_between(it, 0, 4)];
    for (uint32_t index = 0; index < it->place_count; index++) {
        lore_place_make(it, index);
    }
    uint32_t hurry = (uint32_t)lore_between(it, 1, FOUNDING_MS); /* mostly many come at once */
    for (uint32_t index = 0; index < founders; index++) {
        lore_place *place = &it->places[index];
        uint64_t after_ms = index == 0 ? 0 : lore_between(it, 1, hurry);
        place->fate = LORE_DOWN;
        lw_agenda_add(&it->machines->agenda, &place->boots,
                      lore_now(it) + after_ms * LW_MACHINES_NS_PER_MS);
    }
}

static void turn(lw_agenda_event *event) {
    lore *it = event->owner;
    lore_turn_links(it);
    lore_turn_shards(it);
    lw_agenda_add(&it->machines->agenda, event, lore_now(it) + TURN_MS * LW_MACHINES_NS_PER_MS);
}

static lore *open(lw_machines *machines) {
    lore *it = lw_allocate_zero(machines->memory, sizeof(*it));
    it->machines = machines;
    it->memory = machines->memory;
    it->chance = lw_machines_chance(machines, "lore");
    it->whims = lw_machines_chance(machines, "whims");
    it->dice = lw_machines_dice(machines, "bus");
#ifdef LW_SIMULATION
    it->bugs = lw_lattice_planted(&machines->env);
#endif
    lw_chance_fill(&it->chance, it->cluster, sizeof(it->cluster));
    uint8_t seed[LW_SEED_SIZE];
    lw_chance_fill(&it->chance, seed, sizeof(seed));
    lw_identity_derive(seed, &it->intruder);
    it->view = lw_allocate_zero(it->memory, sizeof(*it->view));
    it->turns = (lw_agenda_event){.run = turn, .owner = it};
    return it;
}

/* ---- phases --------------------------------------------------------------------------------- */

static void run_for(lore *it, uint64_t duration_ms) {
    lw_machines_run_until(it->machines, lore_now(it) + duration_ms * LW_MACHINES_NS_PER_MS);
}

/* Runs until it is so, and says how long that took; false: it is not within the limit. */
static bool await(lore *it, bool (*reached)(lore *it, char why[LORE_WHY_SIZE]), uint64_t limit_ms,
                  uint64_t *took_ms, char why[LORE_WHY_SIZE]) {
    uint64_t begin_ns = lore_now(it);
    bool is_so = reached(it, why);
    while (!it->machines->broken && !is_so && *took_ms < limit_ms) {
        run_for(it, TURN_MS);
        *took_ms = (lore_now(it) - begin_ns) / LW_MACHINES_NS_PER_MS;
        is_so = reached(it, why);
    }
    return is_so;
}

/* Placed, and no step for a while. */
static bool at_rest(lore *it, char why[LORE_WHY_SIZE]) {
    if (!lore_placed(it, why)) {
        return false;
    }
    (void)snprintf(why, LORE_WHY_SIZE, "steps go on being taken");
    return lore_now(it) - it->stepped_ns >= REST_MS * LW_MACHINES_NS_PER_MS;
}

/* Of two copies one goes on. Its heartbeats may be those of before the other's: people start it
 * again, and it has an incarnation of its own. */
static void start_copies_again(lore *it) {
    for (uint32_t soul = 0; soul < it->place_count; soul++) {
        lore_place *body = it->copied[soul] ? lore_body(it, soul) : NULL;
        if (body != NULL) {
            lore_crash(body, TURN_MS);
        }
    }
}

static void judge_peace(lore *it) {
    char why[LORE_WHY_SIZE] = "";
    uint64_t limit_ms = CONVERGE_BEATS * it->heartbeat_ms + CONVERGE_MS + it->grace_ms;
    uint64_t took_ms = 0, placed_ms = 0;
    if (!await(it, lore_converged, limit_ms, &took_ms, why)) {
        lw_machines_broken(it->machines, "no convergence", "after %" PRIu64 " ms of peace %s",
                           took_ms, why);
        return;
    }
    it->machines->result->converged_ms = took_ms;
    start_copies_again(it);
    if (!await(it, at_rest, PLACE_MS, &placed_ms, why)) {
        lw_machines_broken(it->machines, "no rest", "after %" PRIu64 " ms of peace %s",
                           took_ms + placed_ms, why);
        return;
    }
    uint64_t again_ms = 0; /* what leaves is gone by now, and known to be */
    if (!await(it, lore_converged, limit_ms, &again_ms, why)) {
        lw_machines_broken(it->machines, "no convergence", "after shards came to rest %s", why);
        return;
    }
    lore_judge_order(it);
}

void lore_play(lw_machines *machines) {
    lore *it = open(machines);
    draw(it);
    lw_agenda_add(&machines->agenda, &it->turns, lore_now(it));
    run_for(it, FOUNDING_MS);
    lore_trouble_begin(it);
    run_for(it, lore_between(it, TROUBLE_MS_MIN, TROUBLE_MS_MAX));
    lore_trouble_end(it);
    if (!machines->broken) {
        judge_peace(it);
    }
}
