/* SPDX-License-Identifier: Apache-2.0 */
/* Trouble: what goes wrong in a run beside the faults that disks, networks and clocks draw for
 * themselves. Swarm: any kind may be absent from a run. Here is which kinds a run has, and when
 * something may strike.
 *
 *   trouble_end.c      nodes and clients end, and pause
 *   trouble_start.c    and what nodes meet as they start
 *   trouble_network.c  what machines are cut off from others, and whose links are thin
 *   trouble_disk.c     disks are slow, full or lost, and logs decay
 *
 * Invariants
 * 1. What strikes, when, where and how follows from the seed, the schedule and the number of the
 *    occasion on it: whether one strikes changes nothing about those to come.
 * 2. Nothing strikes that lw_world_strike was not asked about (sim/strike.h). */
#include "sim/engine.h"
#include "sim/trouble_private.h"
#include "sim/user.h"

#include <stdarg.h>

enum { COPY_MS = 1500 };

/* ---- occasions ---------------------------------------------------------------------------- */

lw_sim_occasion lw_sim_next_occasion(lw_sim_trial *it, lw_sim_schedule schedule) {
    uint64_t number = ++it->occasions[schedule];
    return (lw_sim_occasion){.of = it,
                             .number = number,
                             .chance =
                                 lw_chance_of(it->trouble_seed, (uint64_t)schedule << 56 ^ number)};
}

void lw_sim_strike_after(lw_sim_occasion *now, uint32_t mean_ms, void (*function)(void *it)) {
    lw_sim_after(now->of, trouble_below(now, 2 * (uint64_t)mean_ms), function);
}

bool lw_sim_strikes(const lw_sim_occasion *now, lw_fault fault, const char *format, ...) {
    lw_sim_trial *it = now->of;
    if (!lw_sim_allows(it, fault)) {
        return false;
    }
    char text[LW_STRIKE_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return lw_world_strike(it->world, fault, "trouble", now->number, "%s", text);
}

bool lw_sim_allows(const lw_sim_trial *it, lw_fault fault) {
    return it->options->allowed == NULL || it->options->allowed[fault];
}

lw_sim_member *lw_sim_draw_node(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    return &it->nodes[it->node_count == 1 ? 0 : trouble_below(now, it->node_count)];
}

/* ---- which kinds ---------------------------------------------------------------------------- */

void lw_sim_begin_faults(lw_sim_trial *it) {
    it->trouble_seed = lw_world_chance(it->world, "trouble").state;
    const lw_scenario *scenario = it->options->scenario;
    lw_faults profile = lw_faults_usual();
    lw_faults faults = lw_faults_swarm(&profile, it->options->seed);
    for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
        bool may = scenario->faults[fault] && lw_sim_allows(it, (lw_fault)fault);
        faults.rates[fault] = may ? faults.rates[fault] : 0;
    }
    lw_world_set_faults(it->world, &faults);
}

uint64_t lw_sim_safety_ms(const lw_sim_trial *it) {
    if (it->user != NULL && it->user->workload->duration_ms > 0) {
        return it->user->workload->duration_ms;
    }
    if (it->engine != NULL) {
        return LW_SIM_ENGINE_MS;
    }
    return it->options->scenario->storm ? LW_SIM_STORM_MS : LW_SIM_SAFETY_MS;
}

/* Which kinds a run has. */
typedef struct kinds {
    bool crashes, pauses, cuts, fills, loses, slow;
} kinds;

static kinds draw_kinds(lw_sim_trial *it, lw_sim_occasion *begin) {
    const lw_scenario *scenario = it->options->scenario;
    kinds has = {.crashes = trouble_percent(begin, 85)};
    has.pauses = trouble_percent(begin, 50);
    has.cuts = trouble_percent(begin, 50);
    has.fills = trouble_percent(begin, scenario->full_percent);
    has.loses = trouble_percent(begin, scenario->lose_percent);
    has.slow = trouble_percent(begin, 30);
    has.crashes = has.crashes && scenario->crash_every_ms != 0;
    has.pauses = has.pauses && scenario->pause_every_ms != 0;
    has.cuts = has.cuts && scenario->cut_every_ms != 0;
    has.loses = has.loses && it->node_count > 2;
    has.slow = has.slow && scenario->crash_every_ms != 0;
    it->jumpy = trouble_percent(begin, 50) && scenario->faults[LW_FAULT_WALL_JUMP];
    return has;
}

/* Nodes end, stop for a while, and lose each other. */
static void strike_nodes(lw_sim_trial *it, lw_sim_occasion *begin, const kinds *has) {
    const lw_scenario *scenario = it->options->scenario;
    if (has->crashes) {
        for (uint32_t index = 0; index < it->node_count; index++) {
            it->nodes[index].storm = trouble_percent(begin, 30);
        }
        lw_sim_strike_after(begin, scenario->crash_every_ms, trouble_crash_something);
    }
    if (has->pauses) {
        lw_sim_strike_after(begin, scenario->pause_every_ms, trouble_pause_something);
    }
    if (has->cuts) {
        lw_sim_strike_after(begin, scenario->cut_every_ms, trouble_cut_something);
    }
}

static void strike_disks(lw_sim_trial *it, lw_sim_occasion *begin, const kinds *has) {
    const lw_scenario *scenario = it->options->scenario;
    if (has->fills) {
        lw_sim_strike_after(begin, (uint32_t)lw_sim_safety_ms(it) / 2, trouble_fill_disk);
    }
    if (has->loses) {
        lw_sim_strike_after(begin, LW_SIM_SAFETY_MS / 2, trouble_lose_disk);
    }
    if (scenario->rot_every_ms != 0) {
        lw_sim_strike_after(begin, scenario->rot_every_ms, lw_sim_rot_something);
    }
    if (scenario->rot_every_ms != 0 || scenario->faults[LW_FAULT_READ_ERROR]) {
        lw_sim_strike_newcomers(it);
    }
    if (has->slow) {
        trouble_slow_disk(begin);
    }
}

void lw_sim_begin_trouble(lw_sim_trial *it) {
    const lw_scenario *scenario = it->options->scenario;
    lw_sim_begin_faults(it);
    lw_sim_occasion begin = lw_sim_next_occasion(it, LW_SIM_BEGINNING);
    it->troubled = true;
    it->operate_every_ms = scenario->operate_every_ms;
    kinds has = draw_kinds(it, &begin);
    if (trouble_percent(&begin, 40) && scenario->damage) {
        /* And no other end of the node, which could come before it is time. */
        trouble_decay_log(it);
        return;
    }
    strike_nodes(it, &begin, &has);
    strike_disks(it, &begin, &has);
    if (scenario->storm) {
        lw_sim_storm_begin(it, &begin.chance);
    }
    it->copies = trouble_percent(&begin, scenario->copy_percent);
    if (it->copies) {
        lw_sim_strike_after(&begin, COPY_MS, lw_sim_copy_folder);
    }
}

static void disarm(const lw_sim_member *node) {
    lw_dice *dice = lw_disk_dice(lw_host_disk(node->host));
    for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
        lw_dice_arm(dice, (lw_fault)fault, 0);
    }
}

void lw_sim_end_trouble(lw_sim_trial *it) {
    lw_faults peace = lw_faults_none();
    peace.rare_paths = true;
    lw_world_set_faults(it->world, &peace);
    lw_world_calm(it->world, "client.dawdles");   /* others must wait for its locks for seconds, */
    lw_world_calm(it->world, "client.asks_late"); /* and it for others' */
    lw_world_calm(it->world, "group.takes_nothing"); /* what lacks hundreds of entries gets few */
    it->troubled = false;
    it->peace_ns = lw_world_now(it->world);
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_host_slow_disk(it->nodes[index].host, 1);
        disarm(&it->nodes[index]);
    }
    lw_sim_mend_network(it);
    lw_sim_free_disks(it);
    lw_sim_count_leads(it);
}
