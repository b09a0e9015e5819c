/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/command.h"

#include "client/json.h"
#include "sim/coverage.h"
#include "sim/user.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

/* What all runs together came to. */
typedef struct tally {
    lw_command *command;
    lw_memory *memory;
    uint64_t seed, run_goal;
    const lw_sim_workload *user;                  /* NULL: our own */
    const lw_scenario *only;                      /* NULL: all */
    const char *bug;                              /* NULL: none */
    const char *bugs[2];                          /* the same, ended by NULL */
    uint32_t node_count;                          /* 0: each scenario's own */
    uint64_t resumed_ms, lively_ms, converged_ms; /* the longest */
    bool once;
    FILE *trace, *history; /* NULL: none */
    uint64_t runs, failed_runs, damaged_runs, boots;
    uint64_t committed, failed, in_doubt;
    uint64_t broken_constraints;
    uint64_t virtual_ns;
    double began; /* real seconds */
    lw_coverage *coverage;
    bool list_marks;
} tally;

static double real_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- runs --------------------------------------------------------------------------------- */

static lw_run_options options_of(const tally *all, const lw_scenario *scenario, uint64_t seed) {
    return (lw_run_options){.scenario = scenario,
                            .seed = seed,
                            .node_count = all->node_count,
                            .bugs = all->bugs,
                            .user = all->user,
                            .settings = all->command->operands,
                            .trace = all->trace,
                            .history = all->history,
                            .report = stderr};
}

/* The second time everything must be the same. */
static void run_again(const tally *all, lw_run_options *options, lw_run_result *result) {
    lw_run_result again;
    options->trace = options->history = options->report = NULL;
    lw_scenario_run(options, all->memory, NULL, NULL, &again);
    if (again.hash != result->hash) {
        result->passed = false;
        lw_buffer_print(&result->failures,
                        "determinism: the same seed gave trace hash %016" PRIx64
                        ", then %016" PRIx64 "\n",
                        result->hash, again.hash);
    }
    if (again.hash != result->hash && all->user != NULL) {
        lw_user_differ(options, all->memory, &result->failures);
    }
    lw_buffer_reset(&again.failures);
}

static void print_failure(const tally *all, const lw_scenario *scenario, uint64_t seed,
                          const lw_run_result *result) {
    if (all->command->talk_terminal) {
        (void)fprintf(stderr, "\r\033[K");
    }
    (void)fprintf(stderr, "scenario %s, seed %" PRIu64 ":\n%.*s", scenario->name, seed,
                  (int)result->failures.size, (const char *)result->failures.data);
    (void)fprintf(stderr, "again with: %s --scenario %s --seed %" PRIu64 "%s%s",
                  all->user != NULL ? all->command->spec->name : "lathwork sim", scenario->name,
                  seed, all->bug != NULL ? " --bug " : "", all->bug != NULL ? all->bug : "");
    for (int index = 0; index < all->command->operand_count; index++) {
        (void)fprintf(stderr, " %s", all->command->operands[index]);
    }
    (void)fprintf(stderr, "\n");
}

static void raise(uint64_t *highest, uint64_t value) {
    *highest = value > *highest ? value : *highest;
}

/* One seed, twice: the second time everything must be the same. Returns whether it passed. */
static bool run_seed(tally *all, const lw_scenario *scenario, uint64_t seed) {
    lw_run_result result;
    lw_run_options options = options_of(all, scenario, seed);
    lw_scenario_run(&options, all->memory, lw_coverage_add, all->coverage, &result);
    if (!all->once) {
        run_again(all, &options, &result);
    }
    if (!result.passed) {
        print_failure(all, scenario, seed, &result);
    }
    all->runs++;
    all->failed_runs += !result.passed;
    all->damaged_runs += result.damaged;
    all->boots += result.boots;
    all->committed += result.committed;
    all->failed += result.failed;
    all->in_doubt += result.in_doubt;
    all->broken_constraints += result.broken_constraints;
    all->virtual_ns += result.virtual_ns;
    raise(&all->resumed_ms, result.resumed_ms);
    raise(&all->lively_ms, result.lively_ms);
    raise(&all->converged_ms, result.converged_ms);
    lw_buffer_reset(&result.failures);
    return result.passed;
}

static void draw_progress(const tally *all, uint64_t total) {
    if (all->command->talk_terminal) {
        (void)fprintf(
            stderr, "\r\033[K%" PRIu64 " of %" PRIu64 " runs, %" PRIu64 " failed, %.0f simulated s",
            all->runs, total, all->failed_runs, (double)all->virtual_ns / 1e9);
    }
}

static void run_all(tally *all) {
    uint64_t scenario_count = 0;
    for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
        scenario_count += all->only == NULL || all->only == one;
    }
    for (uint64_t run = 0; run < all->run_goal; run++) {
        for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
            if (all->only != NULL && all->only != one) {
                continue;
            }
            bool passed = run_seed(all, one, all->seed + run);
            draw_progress(all, all->run_goal * scenario_count);
            if (!passed && all->bug != NULL) {
                return;
            }
        }
    }
}

/* ---- the summary -------------------------------------------------------------------------- */

static void print_text(const tally *all, double seconds, lw_buffer *text) {
    double simulated = (double)all->virtual_ns / 1e9;
    lw_buffer_print(
        text,
        "runs        %" PRIu64 " (%" PRIu64 " failed, %" PRIu64 " ended by damage that was found)\n"
        "simulated   %.1f s, %.0f per real second%s\n"
        "boots       %" PRIu64 "\n"
        "commits     %" PRIu64 " acknowledged, %" PRIu64 " refused, %" PRIu64 " in doubt\n"
        "healing     after at most %" PRIu64 " ms commits went on, after %" PRIu64
        " every client, after %" PRIu64 " several nodes were at one\n",
        all->runs, all->failed_runs, all->damaged_runs, simulated,
        simulated * (all->once ? 1 : 2) / seconds, all->once ? "" : " (each seed twice)",
        all->boots, all->committed, all->failed, all->in_doubt, all->resumed_ms, all->lively_ms,
        all->converged_ms);
    if (all->user == NULL) {
        lw_buffer_print(text,
                        "skew        %" PRIu64
                        " constraints seen broken at snapshot isolation, which allows it\n",
                        all->broken_constraints);
    }
    lw_coverage_print(all->coverage, all->list_marks, text);
}

static void print_mark(void *json, const char *name, uint64_t count) {
    lw_json_number(json, name, count);
}

static void print_json(const tally *all, double seconds, lw_buffer *text) {
    lw_json json = lw_json_to(text);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "runs", all->runs);
    lw_json_number(&json, "failed_runs", all->failed_runs);
    lw_json_number(&json, "damaged_runs", all->damaged_runs);
    lw_json_number(&json, "boots", all->boots);
    lw_json_number(&json, "committed", all->committed);
    lw_json_number(&json, "refused", all->failed);
    lw_json_number(&json, "in_doubt", all->in_doubt);
    lw_json_number(&json, "broken_constraints", all->broken_constraints);
    lw_json_number(&json, "resumed_ms_max", all->resumed_ms);
    lw_json_number(&json, "lively_ms_max", all->lively_ms);
    lw_json_number(&json, "converged_ms_max", all->converged_ms);
    lw_json_number(&json, "simulated_ms", all->virtual_ns / 1000000);
    lw_json_number(&json, "real_ms", (uint64_t)(seconds * 1000));
    lw_json_object_open(&json, "marks");
    lw_coverage_each(all->coverage, print_mark, &json);
    lw_json_object_close(&json);
    lw_json_object_close(&json);
    lw_buffer_append_u8(text, '\n');
}

/* Opens the file a flag names; none if it is not given. */
static lw_exit open_output(tally *all, lw_flag_id flag, FILE **file) {
    const char *path = all->command->flags[flag].text;
    if (path == NULL) {
        return LW_EXIT_DONE;
    }
    *file = fopen(path, "w");
    if (*file != NULL) {
        return LW_EXIT_DONE;
    }
    return lw_command_fail(all->command, LW_REFUSED, strerror(errno), NULL, "cannot write \"%s\"",
                           path);
}

static void close_output(FILE *file) {
    if (file != NULL) {
        (void)fclose(file);
    }
}

static lw_exit read_flags(tally *all) {
    const lw_command *command = all->command;
    all->seed = command->flags[LW_FLAG_SEED].number;
    all->run_goal = command->flags[LW_FLAG_RUNS].number;
    all->bug = all->bugs[0] = command->flags[LW_FLAG_BUG].text;
    all->once = lw_command_given(command, LW_FLAG_ONCE);
    all->list_marks = lw_command_given(command, LW_FLAG_MARKS);
    if (lw_command_given(command, LW_FLAG_NODES)) {
        uint64_t count = command->flags[LW_FLAG_NODES].number;
        if (count == 0 || count > LW_SCENARIO_NODES_MAX) {
            return lw_command_fail(all->command, LW_INVALID_ARGUMENT,
                                   "a world has room for seven nodes", "lathwork help sim",
                                   "%" PRIu64 " nodes cannot be simulated", count);
        }
        all->node_count = (uint32_t)count;
    }
#ifndef LW_SIMULATION
    if (all->bug != NULL) {
        return lw_command_fail(all->command, LW_INVALID_ARGUMENT,
                               "this program was built without planted bugs",
                               "make sim builds one with them: build/debug/lathwork",
                               "there is no bug \"%s\"", all->bug);
    }
#endif
    const char *name = command->flags[LW_FLAG_SCENARIO].text;
    if (name == NULL && all->user != NULL) {
        name = all->user->scenario;
    }
    all->only = name == NULL ? NULL : lw_scenario_find(name);
    if (name != NULL && all->only == NULL) {
        return lw_command_fail(all->command, LW_INVALID_ARGUMENT,
                               "scenarios are calm, crash, disk, rot, lattice-calm, lattice, "
                               "lattice-disk, lattice-moves and lattice-storm",
                               "lathwork help sim", "there is no scenario \"%s\"", name);
    }
    lw_exit code = open_output(all, LW_FLAG_TRACE, &all->trace);
    return code != LW_EXIT_DONE ? code : open_output(all, LW_FLAG_HISTORY, &all->history);
}

static lw_exit run(tally *all) {
    lw_exit code = read_flags(all);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    run_all(all);
    if (all->command->talk_terminal) {
        (void)fprintf(stderr, "\r\033[K");
    }
    lw_buffer text = lw_buffer_in(all->memory);
    (all->command->json ? print_json : print_text)(all, real_seconds() - all->began, &text);
    lw_command_drain(all->command, &text, true);
    lw_buffer_clear(&text);
    bool complete = !all->list_marks || lw_coverage_missing(all->coverage, &text) == 0;
    (void)fwrite(text.data, 1, text.size, stderr);
    lw_buffer_reset(&text);
    return all->failed_runs > 0 || !complete ? LW_EXIT_NEGATIVE : LW_EXIT_DONE;
}

lw_exit lw_sim_command(lw_command *command) {
    return lw_sim_command_of(command, NULL);
}

lw_exit lw_sim_command_of(lw_command *command, const lw_sim_workload *user) {
    lw_memory *memory = lw_memory_open();
    tally *all = lw_allocate_zero(memory, sizeof(*all));
    all->command = command;
    all->user = user;
    all->memory = memory;
    all->began = real_seconds();
    all->coverage = lw_coverage_open(memory);
    lw_exit code = command->flags[LW_FLAG_CHECK].text != NULL
                       ? lw_sim_command_check(command, memory)
                       : run(all);
    close_output(all->trace);
    close_output(all->history);
    lw_memory_close(memory);
    return lw_command_finish(command, code);
}
