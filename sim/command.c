/* SPDX-License-Identifier: Apache-2.0 */
/* The flags of `lathwork sim`, and the loop over seeds. */
#include "sim/command_private.h"
#include "sim/place.h"
#include "sim/user.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

enum { PROGRESS_SECONDS = 30, FAULTS_FILE_MAX = 64 * 1024 * 1024 };

double lw_sim_real_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- runs --------------------------------------------------------------------------------- */

lw_run_options lw_sim_tally_options(const lw_sim_tally *all, const lw_scenario *scenario,
                                    uint64_t seed) {
    return (lw_run_options){.scenario = scenario,
                            .seed = seed,
                            .node_count = all->node_count,
                            .client_count = all->client_count,
                            .allowed = all->allowed,
                            .strikes = all->strikes,
                            .bugs = all->bugs,
                            .user = all->user,
                            .settings = all->command->operands};
}

/* Of the form lw_run_marks. */
static void take_mark(void *argument, const lw_mark *mark) {
    lw_sim_tally *all = argument;
    lw_coverage_add(all->coverage, mark);
    if (mark->passed) {
        lw_buffer_print(&all->passed, " %s", mark->name);
    }
}

static void run_once(lw_sim_tally *all, const lw_scenario *scenario, uint64_t seed,
                     lw_child_outcome *outcome) {
    lw_strike_list wanted = lw_strike_list_in(all->memory);
    lw_run_options options = lw_sim_tally_options(all, scenario, seed);
    options.trace = all->trace;
    options.history = all->history;
    options.struck = &wanted;
    options.report = stderr;
    lw_buffer_clear(&all->passed);
    (all->here ? lw_child_run_here : lw_child_run)(&options, false, all->memory, take_mark, all,
                                                   outcome);
}

/* Once more, with memory laid out otherwise: everything must be the same. */
static void run_again(lw_sim_tally *all, const lw_scenario *scenario, uint64_t seed,
                      lw_run_result *result) {
    lw_run_options options = lw_sim_tally_options(all, scenario, seed);
    lw_child_outcome again;
    lw_child_run(&options, true, all->memory, NULL, NULL, &again);
    if (again.result.hash != result->hash) {
        result->passed = false;
        lw_buffer_print(&result->failures,
                        "determinism: the same seed gave trace hash %016" PRIx64
                        ", then %016" PRIx64 "\n",
                        result->hash, again.result.hash);
    }
    if (again.result.hash != result->hash && all->user != NULL) {
        lw_user_differ(&options, all->memory, &result->failures);
    }
    lw_child_outcome_reset(&again);
}

static void raise(uint64_t *highest, uint64_t value) {
    *highest = value > *highest ? value : *highest;
}

static void count(lw_sim_tally *all, const lw_run_result *result) {
    all->runs++;
    all->failed_runs += !result->passed;
    all->damaged_runs += result->damaged;
    all->boots += result->boots;
    all->committed += result->committed;
    all->failed += result->failed;
    all->in_doubt += result->in_doubt;
    all->broken_constraints += result->broken_constraints;
    all->virtual_ns += result->virtual_ns;
    raise(&all->resumed_ms, result->resumed_ms);
    raise(&all->lively_ms, result->lively_ms);
    raise(&all->converged_ms, result->converged_ms);
}

/* Once more, for its page: the first one, and instead of it the first that fails. */
static void draw(lw_sim_tally *all, const lw_scenario *scenario, uint64_t seed, bool passed) {
    const char *path = all->command->flags[LW_FLAG_TRACE_HTML].text;
    if (path == NULL || scenario->machines != NULL ||
        (passed ? all->runs > 1 : all->failed_runs > 1)) {
        return;
    }
    lw_run_options options = lw_sim_tally_options(all, scenario, seed);
    options.page = path;
    lw_child_outcome drawn;
    lw_child_run(&options, false, all->memory, NULL, NULL, &drawn);
    lw_child_outcome_reset(&drawn);
}

/* One seed, twice unless once is enough. Returns whether it passed. */
static bool run_seed(lw_sim_tally *all, const lw_scenario *scenario, uint64_t seed) {
    lw_child_outcome outcome;
    run_once(all, scenario, seed, &outcome);
    if (!all->once && outcome.ended) {
        run_again(all, scenario, seed, &outcome.result);
    }
    if (all->hashes != NULL) {
        (void)fprintf(all->hashes, "%s %" PRIu64 " %016" PRIx64 " %s%.*s\n", scenario->name, seed,
                      outcome.result.hash, outcome.result.passed ? "passed" : "failed",
                      (int)all->passed.size, (const char *)all->passed.data);
        (void)fflush(all->hashes); /* the next run may end this process */
    }
    count(all, &outcome.result);
    bool passed = outcome.result.passed;
    draw(all, scenario, seed, passed);
    if (passed) {
        lw_child_outcome_reset(&outcome);
    } else {
        lw_sim_tell_failure(all, scenario, seed, &outcome);
    }
    return passed;
}

/* On a terminal a line that is drawn anew, else a line now and then. */
static void tell_progress(lw_sim_tally *all, uint64_t total) {
    bool drawn = all->command->talk_terminal;
    double now = lw_sim_real_seconds();
    if (!drawn && now - all->told < PROGRESS_SECONDS) {
        return;
    }
    all->told = now;
    (void)fprintf(stderr,
                  "%s%" PRIu64 " of %" PRIu64 " runs, %" PRIu64 " failed, %.2f simulated hours%s",
                  drawn ? "\r\033[K" : "", all->runs, total, all->failed_runs,
                  (double)all->virtual_ns / 3.6e12, drawn ? "" : "\n");
}

void lw_sim_clear_progress(const lw_sim_tally *all) {
    if (all->command->talk_terminal) {
        (void)fprintf(stderr, "\r\033[K");
    }
}

/* Users' transactions need nodes. */
static bool is_meant(const lw_sim_tally *all, const lw_scenario *scenario) {
    return all->only == NULL ? all->user == NULL || lw_scenario_has_clients(scenario)
                             : all->only == scenario;
}

static void run_all(lw_sim_tally *all) {
    uint64_t scenario_count = 0;
    for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
        scenario_count += is_meant(all, one);
    }
    all->told = all->began;
    for (uint64_t run = 0; run < all->run_goal; run++) {
        for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
            if (!is_meant(all, one)) {
                continue;
            }
            bool passed = run_seed(all, one, all->seed + run);
            tell_progress(all, all->run_goal * scenario_count);
            if (!passed && all->bug != NULL) {
                return;
            }
        }
    }
}

/* ---- flags -------------------------------------------------------------------------------- */

/* Opens the file a flag names; none if it is not given. */
static lw_exit open_output(lw_sim_tally *all, lw_flag_id flag, FILE **file) {
    const char *path = all->command->flags[flag].text;
    if (path == NULL) {
        return LW_EXIT_DONE;
    }
    *file = fopen(path, "w");
    if (*file != NULL) {
        return LW_EXIT_DONE;
    }
    return lw_command_fail(all->command, LW_REFUSED, strerror(errno),
                           "name a file in a folder that is there, and may be written to",
                           "cannot write \"%s\"", path);
}

static void close_output(FILE *file) {
    if (file != NULL) {
        (void)fclose(file);
    }
}

/* A number that a flag may give, or 0. */
static lw_exit read_count(lw_sim_tally *all, lw_flag_id flag, uint32_t highest, uint32_t *count) {
    uint64_t given = all->command->flags[flag].number;
    if (!lw_command_given(all->command, flag)) {
        return LW_EXIT_DONE;
    }
    if (given == 0 || given > highest) {
        char cause[64];
        (void)snprintf(cause, sizeof(cause), "a world has room for %u", highest);
        return lw_command_fail(all->command, LW_INVALID_ARGUMENT, cause, "lathwork help sim",
                               "%" PRIu64 " %s cannot be simulated", given, lw_flag(flag)->name);
    }
    *count = (uint32_t)given;
    return LW_EXIT_DONE;
}

/* Appends names with commas between them. */
static void list_names(lw_buffer *text, bool faults) {
    if (faults) {
        for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
            lw_buffer_print(text, "%s%s", fault > 0 ? ", " : "", lw_fault_name((lw_fault)fault));
        }
    } else {
        for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
            lw_buffer_print(text, "%s%s", one == lw_scenarios ? "" : ", ", one->name);
        }
    }
    lw_buffer_append_u8(text, 0);
}

static lw_exit fail_name(const lw_sim_tally *all, bool fault, lw_bytes name) {
    lw_buffer names = lw_buffer_in(all->memory);
    lw_buffer_print(&names, "%s are ",
                    fault ? "all, none, and a name of these, or -name," : "They");
    list_names(&names, fault);
    lw_exit code =
        lw_command_fail(all->command, LW_INVALID_ARGUMENT, (const char *)names.data,
                        "lathwork help sim", "there is no %s \"%.*s\"",
                        fault ? "fault" : "scenario", (int)name.size, (const char *)name.data);
    lw_buffer_reset(&names);
    return code;
}

/* "all", "none", names, and names to be left out after a minus: one after the other. A list that
 * begins with a minus begins with all. */
static lw_exit read_faults(lw_sim_tally *all) {
    const char *at = all->command->flags[LW_FLAG_FAULTS].text;
    if (at == NULL) {
        return LW_EXIT_DONE;
    }
    all->allowed = all->allowed_flags;
    memset(all->allowed_flags, at[0] == '-', sizeof(all->allowed_flags));
    for (bool more = true; more;) {
        lw_bytes word = lw_view(at, strcspn(at, ","));
        more = at[word.size] == ',';
        at += word.size + 1;
        bool minus = word.size > 0 && word.data[0] == '-';
        lw_bytes name = lw_view(word.data + minus, word.size - minus);
        lw_fault fault = lw_fault_find(name);
        if (lw_equal(word, lw_text("all")) || lw_equal(word, lw_text("none"))) {
            memset(all->allowed_flags, word.data[0] == 'a', sizeof(all->allowed_flags));
        } else if (fault != LW_FAULT_COUNT) {
            all->allowed_flags[fault] = !minus;
        } else {
            return fail_name(all, true, word);
        }
    }
    return LW_EXIT_DONE;
}

static lw_exit read_faults_file(lw_sim_tally *all) {
    const char *path = all->command->flags[LW_FLAG_FAULTS_FILE].text;
    if (path == NULL) {
        return LW_EXIT_DONE;
    }
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return lw_command_fail(all->command, LW_REFUSED, strerror(errno),
                               "name the file that a failure's report named", "cannot read \"%s\"",
                               path);
    }
    lw_buffer text = lw_buffer_in(all->memory);
    size_t count = 1;
    while (count > 0 && text.size < FAULTS_FILE_MAX) {
        count = fread(lw_buffer_reserve(&text, 65536), 1, 65536, file);
        text.size += count;
    }
    (void)fclose(file);
    all->given = lw_strike_list_in(all->memory);
    all->strikes = &all->given;
    lw_status status = lw_strike_list_parse(&all->given, lw_view(text.data, text.size));
    lw_buffer_reset(&text);
    return status == LW_OK ? LW_EXIT_DONE
                           : lw_command_fail(all->command, status, lw_error_slot()->text, NULL,
                                             "\"%s\" is no list of faults", path);
}

static lw_exit read_scenario(lw_sim_tally *all) {
    const char *name = all->command->flags[LW_FLAG_SCENARIO].text;
    name = name == NULL && all->user != NULL ? all->user->scenario : name;
    all->only = name == NULL ? NULL : lw_scenario_find(name);
    bool drawn = all->command->flags[LW_FLAG_TRACE_HTML].text != NULL;
    if (all->only != NULL && ((all->user != NULL && !lw_scenario_has_clients(all->only)) ||
                              (drawn && all->only->machines != NULL))) {
        return lw_command_fail(all->command, LW_INVALID_ARGUMENT,
                               "it has neither nodes nor clients", "lathwork help sim",
                               "scenario %s has no %s", name, drawn ? "page" : "transactions");
    }
    return name != NULL && all->only == NULL ? fail_name(all, false, lw_text(name)) : LW_EXIT_DONE;
}

/* Fewer nodes than a scenario is made for would break what it promises. */
static lw_exit read_least(lw_sim_tally *all) {
    for (const lw_scenario *one = lw_scenarios; all->node_count != 0 && one->name != NULL; one++) {
        if (is_meant(all, one) && all->node_count < one->node_min) {
            char cause[64];
            (void)snprintf(cause, sizeof(cause), "scenario %s takes %u at least", one->name,
                           one->node_min);
            return lw_command_fail(all->command, LW_INVALID_ARGUMENT, cause, "lathwork help sim",
                                   "so few nodes as %u cannot be simulated", all->node_count);
        }
    }
    return LW_EXIT_DONE;
}

static lw_exit read_bug(lw_sim_tally *all) {
    all->bug = all->bugs[0] = all->command->flags[LW_FLAG_BUG].text;
    size_t count = 0;
    const char **names = lw_place_names(all->memory, LW_PLACE_BUG, &count);
    bool known = all->bug == NULL;
    for (size_t index = 0; index < count; index++) {
        known = known || strcmp(names[index], all->bug) == 0;
    }
    lw_free(all->memory, names);
    return known
               ? LW_EXIT_DONE
               : lw_command_fail(all->command, LW_INVALID_ARGUMENT,
                                 count == 0 ? "this program was built without planted bugs"
                                            : "no place of this program has that name",
                                 count == 0 ? "make sim builds one with them: build/debug/lathwork"
                                            : "tests/planted_bugs.h names all of them",
                                 "there is no bug \"%s\"", all->bug);
}

/* Whoever planted a bug is not to take a clean answer for a clean program. */
static void tell_bug(const lw_sim_tally *all) {
    if (all->bug != NULL && all->failed_runs == 0) {
        lw_command_say(
            all->command,
            "the bug %s was not found: give it more --runs, or the scenario and seed that "
            "tests/planted_bugs.h names",
            all->bug);
    }
}

static lw_exit read_flags(lw_sim_tally *all) {
    const lw_command *command = all->command;
    all->seed = command->flags[LW_FLAG_SEED].number;
    all->run_goal = command->flags[LW_FLAG_RUNS].number;
    all->once = lw_command_given(command, LW_FLAG_ONCE);
    all->list_marks = lw_command_given(command, LW_FLAG_MARKS);
    all->shrink = !lw_command_given(command, LW_FLAG_NO_SHRINK);
    /* A run that is cut short is drawn by whoever outlives it. */
    all->here = all->once && !all->shrink && command->flags[LW_FLAG_TRACE_HTML].text == NULL;
    lw_exit code = read_count(all, LW_FLAG_NODES, LW_SCENARIO_NODES_MAX, &all->node_count);
    if (code == LW_EXIT_DONE) {
        code = read_count(all, LW_FLAG_CLIENTS, LW_SCENARIO_CLIENTS_MAX, &all->client_count);
    }
    static lw_exit (*const readers[])(lw_sim_tally * all) = {read_bug, read_scenario, read_least,
                                                             read_faults, read_faults_file};
    for (size_t index = 0; index < sizeof(readers) / sizeof(readers[0]) && code == LW_EXIT_DONE;
         index++) {
        code = readers[index](all);
    }
    FILE *page = NULL; /* who draws opens it anew */
    struct {
        lw_flag_id flag;
        FILE **file;
    } outputs[] = {{LW_FLAG_TRACE, &all->trace},
                   {LW_FLAG_HISTORY, &all->history},
                   {LW_FLAG_HASHES, &all->hashes},
                   {LW_FLAG_TRACE_HTML, &page}};
    for (size_t index = 0; index < 4 && code == LW_EXIT_DONE; index++) {
        code = open_output(all, outputs[index].flag, outputs[index].file);
    }
    close_output(page);
    return code;
}

/* ---- all of it ---------------------------------------------------------------------------- */

static lw_exit run(lw_sim_tally *all) {
    lw_exit code = read_flags(all);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    run_all(all);
    lw_sim_clear_progress(all);
    lw_buffer text = lw_buffer_in(all->memory);
    lw_sim_summarize(all, &text);
    lw_command_drain(all->command, &text, true);
    lw_buffer_clear(&text);
    tell_bug(all);
    bool complete = !all->list_marks || lw_coverage_missing(all->coverage, &text) == 0;
    if (text.size > 0) {
        (void)fwrite(text.data, 1, text.size, stderr);
    }
    lw_buffer_reset(&text);
    return all->failed_runs > 0 || !complete ? LW_EXIT_NEGATIVE : LW_EXIT_DONE;
}

lw_exit lw_sim_command(lw_command *command) {
    return lw_sim_command_of(command, NULL);
}

lw_exit lw_sim_command_of(lw_command *command, const lw_sim_workload *user) {
    lw_memory *memory = lw_memory_open();
    lw_sim_tally *all = lw_allocate_zero(memory, sizeof(*all));
    all->command = command;
    all->user = user;
    all->memory = memory;
    all->began = lw_sim_real_seconds();
    all->coverage = lw_coverage_open(memory);
    all->passed = lw_buffer_in(memory);
    lw_exit code = command->flags[LW_FLAG_CHECK].text != NULL
                       ? lw_sim_command_check(command, memory)
                       : run(all);
    close_output(all->trace);
    close_output(all->history);
    close_output(all->hashes);
    lw_memory_close(memory);
    return lw_command_finish(command, code);
}
