/* SPDX-License-Identifier: Apache-2.0 */
/* One run: what is drawn for it, who plays it, and what came of it. */
#include "sim/bare.h"
#include "sim/engine.h"
#include "sim/links.h"
#include "sim/machines.h"
#include "sim/run.h"
#include "sim/user.h"

enum { MEGABYTE = 1024 * 1024, NODE_PORT = 7871 };

/* How long the past can be read: mostly so short that garbage is collected in a run. */
static const uint64_t retentions_ms[] = {0, 300, 1000, 1000, 3000, 10000};
/* How long a node may be away before it is replaced, and replicas of each shard. */
static const uint64_t dead_after_ms[] = {0, 2000, 5000, 20000};
static const uint32_t voters[] = {3, 3, 3, 3, 3, 1, 5, 5};
/* How long small shards must have had little to do before they are merged; 0: minutes. */
static const uint64_t merges_ms[] = {0, 0, 0, 500, 2000};
enum { MERGE_COUNT = sizeof(merges_ms) / sizeof(merges_ms[0]) };
enum { RETENTION_COUNT = sizeof(retentions_ms) / sizeof(retentions_ms[0]) };

/* From which shards are split: some hold what a run writes in one, others in many. */
enum { SHARD_SIZE_MIN = 4 * 1024, SHARD_SIZES = 6 };

static uint64_t world_now(void *world) {
    return lw_world_now(world);
}

/* One that is alone has no number. */
static void name_node(lw_sim_member *node, const char *number) {
    (void)snprintf(node->name, sizeof(node->name), "node%s", number);
    (void)snprintf(node->address, sizeof(node->address), "node%s:%u", number, NODE_PORT);
}

static void make_nodes(lw_sim_trial *it) {
    const lw_run_options *options = it->options;
    uint32_t wanted =
        options->node_count == 0 ? options->scenario->node_count : options->node_count;
    it->node_count = wanted == 0 ? 1 : wanted;
    it->node_count = options->scenario->engine ? 1 : it->node_count;
    if (options->node_count == 0 && options->scenario->storm) {
        it->node_count = options->scenario->bare ? lw_sim_bare_nodes(it) : lw_sim_storm_nodes(it);
    }
    LW_ASSERT(it->node_count <= LW_SIM_NODES_MAX);
    size_t size = 0;
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_sim_member *node = &it->nodes[index];
        char number[11] = "";
        if (it->node_count > 1) {
            (void)snprintf(number, sizeof(number), "%u", index + 1);
        }
        name_node(node, number);
        node->of = it;
        node->host = lw_world_host(it->world, node->name);
        size += (size_t)snprintf(it->addresses + size, sizeof(it->addresses) - size, "%snode%s:%u",
                                 index > 0 ? "," : "", number, NODE_PORT);
    }
}

/* As nodes may be started. One of its own has none of this, so that its seeds stay what they are.
 */
static void draw_options(lw_sim_trial *it) {
    it->memory_size = 2 * (size_t)MEGABYTE;
    if (it->node_count > 1) {
        it->memory_size = (size_t)lw_chance_between(&it->chance, 1, 4) * MEGABYTE;
        it->voters = voters[lw_chance_below(&it->chance, sizeof(voters) / sizeof(voters[0]))];
        it->dead_after_ms =
            dead_after_ms[lw_chance_below(&it->chance, sizeof(dead_after_ms) / sizeof(uint64_t))];
        lw_chance merges = lw_world_chance(it->world, "merges");
        it->merge_after_ms = merges_ms[lw_chance_below(&merges, MERGE_COUNT)];
    }
    if (it->options->scenario->storm) {
        lw_sim_storm_draw(it);
    }
}

static void report_failure(const lw_sim_trial *it) {
    FILE *to = it->options->report;
    if (to != NULL && it->user != NULL) {
        lw_user_report(it->user, to);
    } else if (to != NULL) {
        lw_world_report(it->world, to);
        if (it->account.size > 0) {
            (void)fwrite(it->account.data, 1, it->account.size, to);
        }
    }
}

static void write_history(lw_sim_trial *it) {
    lw_buffer lines = lw_buffer_in(it->memory);
    lw_history_print(&it->workload.history, &lines);
    (void)fwrite(lines.data, 1, lines.size, it->options->history);
    lw_buffer_reset(&lines);
}

/* The world of a run, with what was asked for. */
static void open_world(lw_sim_trial *it) {
    const lw_run_options *options = it->options;
    lw_faults none = lw_faults_none();
    it->world = lw_world_open(options->seed, &none);
    it->chance = lw_world_chance(it->world, "scenario");
    it->keeping = lw_world_chance(it->world, "keeper");
    lw_world_trace_to(it->world, options->trace);
    lw_strikes_record(lw_world_strikes(it->world), options->struck);
    if (options->strikes != NULL) {
        lw_strikes_give(lw_world_strikes(it->world), options->strikes);
        lw_world_reschedule(it->world, options->strikes->schedule);
    }
    for (const char *const *bug = options->bugs; bug != NULL && *bug != NULL; bug++) {
        lw_world_plant(it->world, *bug);
    }
}

static void draw_workload(lw_sim_trial *it) {
    lw_workload_init(&it->workload, it->memory, &it->chance, world_now, it->world);
    lw_chance more = lw_world_chance(it->world, "more workloads");
    lw_workload_add(&it->workload, &more);
    it->retention_ms = retentions_ms[lw_chance_below(&it->chance, RETENTION_COUNT)];
    lw_chance sizes = lw_world_chance(it->world, "shard size");
    it->shard_size = (uint64_t)SHARD_SIZE_MIN << lw_chance_below(&sizes, SHARD_SIZES);
    it->workload.marching = lw_chance_percent(&it->chance, 30);
    it->workload.undisturbed = it->options->scenario->crash_every_ms == 0;
    it->workload.forgotten = lw_sim_watch_forgotten;
    it->workload.looker = it;
    it->workload.prompt = it->workload.undisturbed && !lw_workload_has_more(&it->workload);
}

static lw_sim_trial *begin_trial(const lw_run_options *options, lw_memory *memory,
                                 lw_run_result *result) {
    lw_sim_trial *it = lw_allocate_zero(memory, sizeof(*it));
    it->options = options;
    it->result = result;
    it->memory = memory;
    it->account = lw_buffer_in(memory);
    it->storm_memory = lw_arena_in(memory);
    open_world(it);
    make_nodes(it);
    draw_options(it);
    it->judge_host = lw_world_host(it->world, "judge");
    draw_workload(it);
    if (options->user != NULL) {
        lw_user_begin(it);
    }
    if (options->scenario->engine) {
        lw_sim_engine_begin(it);
    }
    if (options->scenario->bare) {
        lw_sim_bare_begin(it);
    }
    if (options->scenario->links) {
        lw_sim_links_begin(it);
    }
    lw_chance disks = lw_world_chance(it->world, "disks");
    it->disks_tell = lw_chance_percent(&disks, 30);
    lw_sim_free_disks(it);
    return it;
}

static void play(lw_sim_trial *it) {
    if (it->engine != NULL) {
        lw_sim_engine_run(it);
    } else if (it->bare != NULL) {
        lw_sim_bare_run(it);
    } else if (it->links != NULL) {
        lw_sim_links_run(it);
    } else {
        lw_sim_run_phases(it);
        if (it->user == NULL && !lw_workload_judge(&it->workload, &it->result->failures)) {
            LW_ASSERT(it->result->failures.size > 0);
        }
    }
}

static void sum_up(const lw_sim_trial *it) {
    lw_run_result *result = it->result;
    result->hash = lw_world_hash(it->world);
    result->virtual_ns = lw_world_now(it->world) - LW_WORLD_BEGIN_NS;
    result->committed = it->workload.committed;
    result->failed = it->workload.failed;
    result->in_doubt = it->workload.in_doubt;
    result->strict = !it->workload.snapshot;
    result->broken_constraints = it->workload.broken_constraints;
}

static void tell_marks(const lw_sim_trial *it, lw_run_marks marks, void *argument) {
    size_t mark_count = 0;
    const lw_mark *const *reached = lw_world_marks(it->world, &mark_count);
    for (size_t index = 0; marks != NULL && index < mark_count; index++) {
        marks(argument, reached[index]);
    }
}

static void end_trial(lw_sim_trial *it) {
    lw_world_close(it->world);
    if (it->user != NULL) {
        lw_user_end(it);
    }
    lw_workload_reset(&it->workload);
    lw_sim_compare_close(it);
    lw_buffer_reset(&it->account);
    lw_arena_reset(&it->storm_memory);
    lw_free(it->memory, it);
}

void lw_scenario_run(const lw_run_options *options, lw_memory *memory, lw_run_marks marks,
                     void *argument, lw_run_result *result) {
    if (options->scenario->machines != NULL) {
        lw_machines_run(options, memory, marks, argument, result);
        return;
    }
    *result = (lw_run_result){.failures = lw_buffer_in(memory)};
    lw_sim_trial *it = begin_trial(options, memory, result);
    lw_sim_draw_begin(it);
    play(it);
    lw_sim_draw_end(it);
    result->passed = result->failures.size == 0;
    result->damaged = it->damaged && result->passed;
    lw_sim_engine_end(it);
    lw_sim_bare_end(it);
    lw_sim_links_end(it);
    sum_up(it);
    if (!result->passed) {
        report_failure(it);
    }
    if (options->history != NULL && it->user == NULL) {
        write_history(it);
    }
    tell_marks(it, marks, argument);
    end_trial(it);
}
