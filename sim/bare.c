/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/bare.h"

#include <inttypes.h>

enum {
    SET_UP_MS = 20000,
    STORM_MS = 7000, /* of trouble, */
    CALM_MS = 5000,  /* of what is no storm, */
    PATIENT_MS = 24000,
    APART_MS = 48000,
    LONELY_MS = 24000,
    STRIKE_MS = 2000, /* between two deaths of nodes in a patient run, at least, */
    STRIKE_MS_MAX = 10000,
    STRIKE_LOOK_MS = 200,
    LIVELY_MS = 20000, /* within which all get on, */
    LIVELY_WORKS = 1,  /* and with how much; */
    RESUME_MS = 10000, /* within which one who wants to commits */
    STOP_MS = 30000,
    FINAL_MS = 40000,
    CONVERGE_MS = 60000,
    SEVEN_PERCENT = 10, /* of the runs have seven nodes, */
    FIVE_PERCENT = 50,  /* and five */
    STORM_PERCENT = 48,
    QUIET_PERCENT = 20,
    PATIENT_PERCENT = 12,
    APART_PERCENT = 8,
    LONELY_PERCENT = 25, /* of the quiet runs, where there are five nodes or more */
    MERGES_PERCENT = 50,
    PARTS_PERCENT =
        60, /* of the patient runs of five nodes have two of them cut off now and then */
    WAVERS_PERCENT = 50,
    LOSES_PERCENT = 20,
    MERGES_LOSE_PERCENT = 60,
    DAWDLES_PERCENT = 30,
    FLUSHES_PERCENT = 30,
    MISLED_PERCENT = 30, /* of the runs have directories that say of one node that it leads all, */
    SEVEN_MISLED_PERCENT = 60, /* and of those with seven nodes, */
    SLOW_BURIALS_PERCENT = 40, /* who lets go of a replica takes long to, in so many of them */
    GENTLE = 3,                /* times as seldom nodes are struck in most storms */
    GENTLE_PERCENT = 70,
    LONG_RETENTION_MS = 3600 * 1000,
    FLIP_INDEX_MIN = 64, /* what came by a snapshot is compared from a next stretch on */
    FLIP_INDEX_MAX = 200,
    STRETCH_WRITES = 160, /* and so much is written behind it: replicas compare after 64 entries */
};

#define DRAW(chance, values) (values)[lw_chance_below(chance, sizeof(values) / sizeof((values)[0]))]

/* ---- a run is drawn ---------------------------------------------------------------------------
 */

static bare_kind draw_kind(lw_chance *chance) {
    uint64_t roll = lw_chance_below(chance, 100);
    if (roll < STORM_PERCENT) {
        return BARE_STORM;
    }
    roll -= STORM_PERCENT;
    if (roll < QUIET_PERCENT) {
        return BARE_QUIET;
    }
    roll -= QUIET_PERCENT;
    if (roll < PATIENT_PERCENT) {
        return BARE_PATIENT;
    }
    return roll - PATIENT_PERCENT < APART_PERCENT ? BARE_APART : BARE_FLIP;
}

/* What a kind of run cannot do without, whatever was drawn. */
static void fit_to_kind(lw_sim_bare *of) {
    if (of->kind == BARE_APART) {
        of->parts = true; /* two read, so that others have to write */
        of->worker_count = of->worker_count < 3 ? 3 : of->worker_count;
        of->of->retention_ms = 1000;
        of->operate_every_ms = 0;
        of->merge_after_ms = UINT64_MAX;
    }
    if (of->kind == BARE_LONELY) {
        of->pause_us = of->pause_us < 10000 ? 10000 : of->pause_us;
        of->operate_every_ms = 0;
        of->merge_after_ms = UINT64_MAX;
        of->wavers = of->merges = false;
    }
    if (of->kind == BARE_FLIP) {
        of->of->retention_ms = LONG_RETENTION_MS; /* what differs stays */
        of->operate_every_ms = 0;
        of->merge_after_ms = UINT64_MAX;
    }
}

static void draw_run(lw_sim_bare *of, lw_chance *chance) {
    static const uint64_t retentions_ms[] = {100, 300, 300, 1000};
    static const uint32_t pauses_us[] = {0, 300, 2000, 10000};
    static const uint32_t lifetimes_ms[] = {20, 60, 300, 2000};
    static const uint32_t abandons[] = {0, 3, 10};
    static const uint32_t operations_ms[] = {0, 30, 100, 400};
    static const uint32_t hops_ms[] = {1, 2, 2, 15};
    static const uint64_t merges_ms[] = {500, UINT64_MAX};
    static const uint32_t losses[] = {0, 20, 80}, agains[] = {0, 1, 4};
    static const size_t memtables[] = {0, 64 * 1024};
    of->kind = draw_kind(chance);
    of->kind = of->kind == BARE_APART && of->of->node_count < 5 ? BARE_QUIET : of->kind;
    bool lonely = lw_chance_percent(chance, LONELY_PERCENT) && of->of->node_count >= 5;
    of->kind = of->kind == BARE_QUIET && lonely ? BARE_LONELY : of->kind;
    of->of->retention_ms = DRAW(chance, retentions_ms);
    of->pause_us = DRAW(chance, pauses_us);
    of->lifetime_ms = DRAW(chance, lifetimes_ms);
    of->abandon_percent = DRAW(chance, abandons);
    of->operate_every_ms = DRAW(chance, operations_ms);
    of->hop_ms = DRAW(chance, hops_ms);
    of->merge_after_ms = DRAW(chance, merges_ms);
    of->memtables_size = DRAW(chance, memtables);
    of->worker_count = (uint32_t)lw_chance_between(chance, 2, BARE_WORKERS_MAX);
    uint64_t flip_at = lw_chance_between(chance, FLIP_INDEX_MIN, FLIP_INDEX_MAX);
    of->flip_at = of->kind == BARE_FLIP ? flip_at : 0;
    if (of->kind == BARE_PATIENT) { /* so that leases are what counts */
        of->of->retention_ms = of->of->retention_ms < 300 ? 300 : of->of->retention_ms;
        of->operate_every_ms = 0;
        of->abandon_percent = 0;
        of->pause_us = of->pause_us < 2000 ? 2000 : of->pause_us;
        of->parts = of->of->node_count == 5 && lw_chance_percent(chance, PARTS_PERCENT);
    }
    bool merges = lw_chance_percent(chance, MERGES_PERCENT);
    of->merges = merges && (of->kind == BARE_STORM || of->kind == BARE_QUIET);
    if (of->merges) {
        of->operate_every_ms = of->operate_every_ms < 30 ? 30 : of->operate_every_ms;
    }
    of->of->flips = of->kind == BARE_FLIP;
    of->wavers = lw_chance_percent(chance, WAVERS_PERCENT) && of->operate_every_ms != 0;
    of->gone_lost_percent = DRAW(chance, losses);
    of->gone_again = DRAW(chance, agains);
    fit_to_kind(of);
}

uint32_t lw_sim_bare_nodes(const lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "bare nodes");
    uint64_t roll = lw_chance_below(&chance, 100);
    return roll < SEVEN_PERCENT ? 7 : roll < SEVEN_PERCENT + FIVE_PERCENT ? 5 : 3;
}

/* In some runs that split and merge there is time for others between any two steps. */
static void draw_more(lw_sim_bare *of) {
    static const char *const dawdles[] = {"replica.slow_split", "replica.sweeps_late",
                                          "shards.slow_absorbing", "shards.starts_slowly"};
    lw_chance chance = lw_world_chance(of->of->world, "more");
    bool seven = of->of->node_count == 7;
    bool misled = lw_chance_percent(&chance, seven ? SEVEN_MISLED_PERCENT : MISLED_PERCENT);
    of->misled = misled ? lw_chance_between(&chance, 1, of->of->node_count) : 0;
    if (lw_chance_percent(&chance, SLOW_BURIALS_PERCENT)) {
        lw_world_insist(of->of->world, "shards.slow_burial");
    }
    of->flushes = lw_chance_percent(&chance, FLUSHES_PERCENT);
    of->dawdles = lw_chance_percent(&chance, DAWDLES_PERCENT) && of->merges;
    if (of->dawdles) {
        for (size_t index = 0; index < sizeof(dawdles) / sizeof(dawdles[0]); index++) {
            lw_world_insist(of->of->world, dawdles[index]);
        }
    }
    bool may_lose = of->kind == BARE_STORM || of->kind == BARE_QUIET;
    uint32_t loses = of->merges ? MERGES_LOSE_PERCENT : LOSES_PERCENT;
    of->loses = lw_chance_percent(&chance, loses) && may_lose;
    if (of->loses) { /* else who collects ends all locks that are as old */
        of->of->retention_ms = LONG_RETENTION_MS;
    }
}

void lw_sim_bare_begin(lw_sim_trial *it) {
    static const char *const names[BARE_ASKERS] = {"worker0", "worker1",  "worker2", "worker3",
                                                   "worker4", "operator", "reader"};
    _Static_assert((int)BARE_ASKERS <= (int)LW_SIM_CLIENTS_MAX, "each has a host");
    lw_memory *memory = lw_memory_open();
    lw_chance chance = lw_world_chance(it->world, "bare");
    lw_sim_bare *of = lw_allocate_zero(memory, sizeof(*of));
    of->of = it;
    of->memory = memory;
    of->sessions = BARE_ASKERS;
    of->where = lw_allocate_zero(memory, BARE_SESSIONS_MAX);
    of->txns = lw_allocate(memory, BARE_TXNS_MAX * sizeof(*of->txns));
    of->reads = lw_allocate(memory, BARE_READS_MAX * sizeof(*of->reads));
    const lw_dice *dice = lw_network_dice(lw_world_network(it->world));
    of->dice = lw_dice_of(lw_world_chance(it->world, "mail"), dice->faults, dice->hits);
    lw_dice_follow(&of->dice, lw_world_strikes(it->world), "mail");
    draw_run(of, &chance);
    draw_more(of);
    it->voters = it->node_count < 3 ? 1 : 3;
    it->storm.liar = 0; /* nobody tells nodes the time by heartbeats here */
    it->bare = of;
    for (uint32_t number = 0; number < BARE_ASKERS; number++) {
        it->client_hosts[number] = lw_world_host(it->world, names[number]);
        of->askers[number] = (bare_asker){.of = of,
                                          .number = number,
                                          .chance = lw_world_chance(it->world, names[number]),
                                          .arena = lw_arena_in(memory),
                                          .session = number + 1};
    }
}

void lw_sim_bare_end(lw_sim_trial *it) {
    if (it->bare != NULL) {
        lw_memory_close(it->bare->memory);
        it->bare = NULL;
    }
}

/* ---- phases -----------------------------------------------------------------------------------
 */

static void start(lw_sim_bare *of, uint32_t number, void (*body)(void *argument)) {
    bare_asker *asker = &of->askers[number];
    if (asker->env == NULL) {
        asker->env = lw_host_boot(of->of->client_hosts[number]);
    }
    asker->ended = false;
    (void)lw_env_start(asker->env, "asker", body, asker);
}

static bool failed(const lw_sim_trial *it) {
    return it->damaged || it->result->failures.size > 0;
}

static void pass(lw_sim_trial *it, uint64_t duration_ms) {
    (void)lw_world_run(it->world, lw_world_now(it->world) + duration_ms * LW_SIM_NS_PER_MS);
}

/* False: not in time, or something is broken. */
static bool wait_for(lw_sim_trial *it, const bool *done, uint64_t limit_ms) {
    uint64_t end = lw_world_now(it->world) + limit_ms * LW_SIM_NS_PER_MS;
    while (!*done && !failed(it) && lw_world_now(it->world) < end) {
        pass(it, 5);
    }
    return *done && !failed(it);
}

static void cut_in_two(lw_sim_trial *it, bool cut) {
    const uint64_t *away = it->bare->away;
    for (uint64_t node = 1; node <= it->node_count; node++) {
        for (uint32_t index = 0; index < 2 && node != away[0] && node != away[1]; index++) {
            lw_world_cut(it->world, it->nodes[node - 1].host, it->nodes[away[index] - 1].host, cut);
        }
    }
    it->bare->parted = cut;
}

/* Two nodes are cut off from all others: to the end of the trouble, or, in a patient run, when
 * a silent reader has begun, until the next one dies. */
static void part_in_two(void *argument) {
    lw_sim_trial *it = argument;
    const uint64_t *away = it->bare->away;
    bool *wanted = &it->bare->part_now;
    if (!it->troubled) {
        return;
    }
    if (it->bare->kind == BARE_PATIENT) {
        lw_sim_after(it, STRIKE_LOOK_MS, part_in_two);
        if (it->bare->parted || !*wanted) {
            return;
        }
        *wanted = false;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_CUTS);
    if (lw_sim_strikes(&now, LW_FAULT_CUT, "node%u and node%u from all others", (unsigned)away[0],
                       (unsigned)away[1])) {
        cut_in_two(it, true);
    }
}

/* Nodes die one at a time: the one that a silent reader has asked, or any when there is none. */
static void strike(void *argument) {
    lw_sim_trial *it = argument;
    lw_sim_bare *of = it->bare;
    uint64_t since_ns = lw_world_now(it->world) - of->struck_ns;
    if (!it->troubled) {
        return;
    }
    lw_sim_after(it, STRIKE_LOOK_MS, strike);
    if (since_ns < (of->silent != 0 ? STRIKE_MS : STRIKE_MS_MAX) * LW_SIM_NS_PER_MS) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_CRASHES);
    lw_sim_member *node = lw_sim_draw_node(&now);
    node = of->silent != 0 ? &it->nodes[of->silent - 1] : node;
    of->silent = 0;
    if (lw_host_running(node->host) &&
        lw_sim_strikes(&now, LW_FAULT_CRASH, "%s loses power", node->name)) {
        lw_sim_end_node(node, true);
        of->struck_ns = lw_world_now(it->world);
        if (of->parted) { /* so that what was kept only there may be forgotten */
            cut_in_two(it, false);
        }
    }
}

static void count_leaders(void *argument) {
    lw_sim_bare *of = argument;
    of->led++;
    lw_sim_watch_look(of->of);
}

/* Only messages are late, lost and doubled, where there is no storm. */
static void begin_trouble(lw_sim_trial *it) {
    if (it->bare->kind == BARE_STORM) {
        lw_sim_begin_trouble(it);
        lw_chance chance = lw_world_chance(it->world, "gentle");
        uint32_t factor = lw_chance_percent(&chance, GENTLE_PERCENT) ? (uint32_t)GENTLE : 1;
        it->storm.await_every_ms *= factor;
        it->storm.hunt_every_ms *= factor;
        lw_sim_part(it);
        return;
    }
    bool mail = it->bare->kind == BARE_QUIET || it->bare->kind == BARE_FLIP;
    lw_faults usual = lw_faults_usual(), faults = lw_faults_swarm(&usual, it->options->seed);
    for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
        bool late =
            fault == LW_FAULT_BUS_LATE || fault == LW_FAULT_BUS_LOSS || fault == LW_FAULT_BUS_TWICE;
        bool may = mail && late && lw_sim_allows(it, (lw_fault)fault);
        faults.rates[fault] = may ? faults.rates[fault] : 0;
    }
    lw_world_set_faults(it->world, &faults);
    it->trouble_seed = lw_world_chance(it->world, "trouble").state;
    it->troubled = true;
    if (it->bare->kind == BARE_PATIENT) {
        lw_sim_after(it, STRIKE_MS, strike);
        if (it->bare->away[0] != 0) {
            lw_sim_after(it, BARE_APART_MS, part_in_two);
        }
    } else if (it->bare->kind == BARE_APART) {
        lw_sim_after(it, BARE_APART_MS, part_in_two);
    }
}

/* Replicas that differ are noticed once enough was written behind that. */
static void write_on(lw_sim_trial *it) {
    uint64_t goal = it->workload.committed + STRETCH_WRITES;
    uint64_t end = lw_world_now(it->world) + LIVELY_MS * LW_SIM_NS_PER_MS;
    while (it->bare->kind == BARE_FLIP && it->workload.committed < goal && !failed(it) &&
           lw_world_now(it->world) < end) {
        pass(it, 20);
    }
}

static bool have_got_on(const lw_sim_bare *of, const uint64_t *goals) {
    for (uint32_t number = 0; number < of->worker_count; number++) {
        if (of->askers[number].done < goals[number]) {
            return false;
        }
    }
    return true;
}

static void get_on(lw_sim_trial *it) {
    const lw_sim_bare *of = it->bare;
    uint64_t goals[BARE_WORKERS_MAX], begun = lw_world_now(it->world);
    bool all = false;
    for (uint32_t number = 0; number < of->worker_count; number++) {
        goals[number] = of->askers[number].done + LIVELY_WORKS;
    }
    while (!all && !failed(it) && lw_world_now(it->world) < begun + LIVELY_MS * LW_SIM_NS_PER_MS) {
        pass(it, 20);
        all = have_got_on(of, goals);
    }
    it->result->lively_ms = (lw_world_now(it->world) - begun) / LW_SIM_NS_PER_MS;
    it->result->resumed_ms = it->result->lively_ms;
    if (!all && !failed(it)) {
        lw_sim_broken(it, "liveness", "somebody did not get on within 20 s after the faults");
    }
}

/* Those who got on may all have read, or died amid what they wrote: then somebody comes who wants
 * nothing but to commit. */
static void resume(lw_sim_trial *it) {
    uint64_t begun = lw_world_now(it->world);
    if (failed(it) || it->workload.committed > it->bare->committed_in_trouble) {
        return;
    }
    start(it->bare, BARE_JUDGE, bare_resume_main);
    if (!wait_for(it, &it->bare->askers[BARE_JUDGE].ended, RESUME_MS) && !failed(it)) {
        lw_sim_broken(it, "liveness", "no commit came through within 10 s after the faults");
    }
    it->result->resumed_ms += (lw_world_now(it->world) - begun) / LW_SIM_NS_PER_MS;
}

static void stop_workers(lw_sim_trial *it) {
    it->bare->stopping = true;
    for (uint32_t number = 0; number < it->bare->worker_count; number++) {
        if (!wait_for(it, &it->bare->askers[number].ended, STOP_MS) && !failed(it)) {
            lw_sim_broken(it, "liveness", "somebody did not end within 30 s");
        }
    }
}

static void read_all(lw_sim_trial *it) {
    if (failed(it)) {
        return;
    }
    start(it->bare, BARE_JUDGE, bare_final_main);
    if (!wait_for(it, &it->bare->askers[BARE_JUDGE].ended, FINAL_MS) && !failed(it)) {
        lw_sim_broken(it, "liveness", "not all keys could be read within 40 s");
    }
}

static void converge(lw_sim_trial *it) {
    char why[LW_SIM_WHY_SIZE] = "";
    uint64_t begun = lw_world_now(it->world), end = begun + CONVERGE_MS * LW_SIM_NS_PER_MS;
    bool converged = false, reading = false;
    uint64_t boots = 0;
    lw_sim_likeness likeness = LW_SIM_READING;
    while (!failed(it) && likeness < LW_SIM_ALIKE && lw_world_now(it->world) < end) {
        if (boots != it->result->boots) { /* who was struck may fall late: nobody reads there */
            boots = it->result->boots;
            converged = reading = false;
        }
        if (!converged) {
            converged = lw_sim_converged(it, why) && bare_judge_trees(it->bare, why);
            it->result->converged_ms = (lw_world_now(it->world) - begun) / LW_SIM_NS_PER_MS;
        } else if (!reading) {
            lw_sim_compare_begin(it);
            reading = true;
        } else {
            likeness = lw_sim_compare_end(it, why);
            converged = reading = likeness != LW_SIM_UNLIKE_MOMENTS;
        }
        pass(it, 20);
    }
    if (likeness != LW_SIM_ALIKE && !failed(it)) {
        lw_sim_broken(it, likeness == LW_SIM_DIFFERENT ? "replicas differ" : "no convergence", why);
    }
}

static void lose_power(lw_sim_trial *it) {
    for (uint32_t place = 0; place < it->node_count && !failed(it); place++) {
        lw_sim_end_node(&it->nodes[place], true);
    }
}

void lw_sim_bare_run(lw_sim_trial *it) {
    lw_sim_bare *of = it->bare;
    static const uint64_t durations_ms[] = {
        [BARE_STORM] = STORM_MS,     [BARE_QUIET] = CALM_MS,
        [BARE_PATIENT] = PATIENT_MS, [BARE_APART] = BARE_APART_MS + APART_MS,
        [BARE_FLIP] = CALM_MS,       [BARE_LONELY] = LONELY_MS};
    lw_sim_keep(it);
    bare_watch_links(of);
    lw_sim_watch_begin(it);
    lw_world_watch_mark(it->world, "group.leads", count_leaders, of);
    start(of, BARE_OPERATOR, bare_set_up_main);
    if (!wait_for(it, &of->set_up, SET_UP_MS)) {
        if (!failed(it)) {
            lw_sim_broken(it, "liveness", "shards did not come to have their voters");
        }
        return;
    }
    begin_trouble(it);
    start(of, BARE_OPERATOR, bare_operate_main);
    bare_meddle(of);
    bare_absence(of);
    bare_falls(of);
    for (uint32_t number = 0; number < of->worker_count; number++) {
        start(of, number, bare_work_main);
    }
    uint64_t end = lw_world_now(it->world) + durations_ms[of->kind] * LW_SIM_NS_PER_MS;
    while (!failed(it) && lw_world_now(it->world) < end) {
        pass(it, 20);
    }
    lw_sim_end_trouble(it);
    of->healed_ns = lw_world_now(it->world);
    of->committed_in_trouble = it->workload.committed;
    get_on(it);
    resume(it);
    write_on(it);
    stop_workers(it);
    read_all(it);
    converge(it);
    lose_power(it);
    read_all(it);
    if (!failed(it)) {
        bare_judge(of);
    }
}
