/* SPDX-License-Identifier: Apache-2.0 */
/* What a seed decides. Each run has habits of its own, since what only shows where links are quick
 * and disks slow would be drowned if everything always went wrong: sizes from one entry in flight
 * to many, timeouts many ways long or few, clocks as wrong as they may be or right. None of it
 * follows from what happens, or from which faults may strike. */
#include "sim/cores.h"

enum {
    TIMEOUT_MS = 100, /* an election timeout: the measure of all else */
    NEVER_PERCENT = 40,
    CODEC_PERCENT = 12,
};

/* Draws come from a stream of their own from now on; answers the usual one. */
static lw_chance draw_from(lw_cores *world, uint64_t stream) {
    lw_chance usual = world->chance;
    world->chance = lw_chance_of(world->seed, lw_hash(stream, lw_text("raft habits")));
    return usual;
}

static uint64_t pick(lw_cores *world, const uint64_t *values, size_t count) {
    return values[lw_chance_below(&world->chance, count)];
}
#define PICK(world, ...)                         \
    pick(world, (const uint64_t[]){__VA_ARGS__}, \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void draw_sizes(lw_cores *world, lw_cores_habits *habits) {
    if (world->node_count == 0) {
        world->node_count = (uint32_t)lw_cores_between(world, 3, LW_CORES_NODES_MAX);
    }
    uint32_t voters = (uint32_t)PICK(world, 1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5);
    habits->voters = voters < world->node_count ? voters : world->node_count;
    habits->entries_in_flight_max = (uint32_t)PICK(world, 1, 3, 20, 20);
    habits->entries_per_append_max =
        (uint32_t)PICK(world, 1, 2, LW_CORES_BATCH_MAX, LW_CORES_BATCH_MAX);
    habits->bytes_in_flight_max = (uint32_t)PICK(world, 1, 600, 6000);
    habits->rounds = (uint32_t)lw_cores_between(world, 2, 10);
}

static void draw_times(lw_cores *world, lw_cores_habits *habits) {
    habits->timeout = TIMEOUT_MS * LW_CORES_MS;
    habits->heartbeat = habits->timeout / PICK(world, 3, 5, 5, 10);
    habits->quiesce_after = lw_cores_percent(world, 50)
                                ? LW_RAFT_NEVER
                                : lw_cores_between(world, 1, 4) * habits->heartbeat;
    habits->drift_ppm = (uint32_t)PICK(world, 2000, 20000, 200000, 200000);
    habits->extreme_clocks = lw_cores_percent(world, 50);
}

void lw_cores_draw(lw_cores *world) {
    lw_cores_habits *habits = &world->habits;
    lw_chance usual = draw_from(world, 0);
    draw_sizes(world, habits);
    draw_times(world, habits);
    habits->through_codec = lw_cores_percent(world, CODEC_PERCENT);
    world->chance = usual;
    lw_cores_draw_round(world, 0);
}

static void draw_network(lw_cores *world, lw_cores_habits *habits) {
    habits->delay_max = PICK(world, 300, 1000, 5000, 5000, 20000) * 1000;
    habits->late_max = PICK(world, 1, 3, 3, 10, 30) * habits->timeout;
    habits->loss_percent = (uint32_t)PICK(world, 0, 0, 2, 10);
    habits->double_percent = (uint32_t)PICK(world, 0, 0, 5, 30);
    habits->late_percent = (uint32_t)PICK(world, 0, 0, 5, 20);
    habits->stale_percent = (uint32_t)PICK(world, 0, 20, 60);
}

/* Which troubles a round prefers is chance too: some only happen where others do not interfere. */
static void draw_troubles(lw_cores *world, lw_cores_habits *habits) {
    for (uint32_t place = 0; place < lw_cores_trouble_count(); place++) {
        bool never = lw_cores_percent(world, NEVER_PERCENT);
        uint64_t weight = lw_cores_between(world, 1, lw_cores_trouble_weight(place));
        habits->preferred[place] = never ? 0 : (uint32_t)weight;
    }
    habits->preferred[LW_CORES_MEND] += (uint32_t)lw_cores_between(world, 3, 30);
    habits->trouble_gap = PICK(world, 20, 60, 150, 400) * LW_CORES_MS;
    habits->hunt_percent = (uint32_t)PICK(world, 0, 30, 60, 100);
    habits->unheard_percent = (uint32_t)PICK(world, 0, 0, 20, 50);
    habits->hunt_within = PICK(world, 2, 10, 50, 200) * LW_CORES_MS;
}

void lw_cores_draw_round(lw_cores *world, uint32_t round) {
    lw_cores_habits *habits = &world->habits;
    lw_chance usual = draw_from(world, round + 1);
    draw_network(world, habits);
    draw_troubles(world, habits);
    habits->disk_max = PICK(world, 100, 500, 4000, 4000) * 1000;
    habits->stall_percent = (uint32_t)PICK(world, 0, 0, 1, 4);
    habits->compact_percent = (uint32_t)PICK(world, 0, 1, 3, 10);
    habits->client_gap = PICK(world, 10, 20, 50, 200) * LW_CORES_MS;
    habits->trouble_for = PICK(world, 12, 12, 12, 12, 30) * habits->timeout;
    habits->install_max = PICK(world, LW_CORES_INSTALL_MS, LW_CORES_INSTALL_MS, 400) * LW_CORES_MS;
    world->chance = usual;
}
