/* SPDX-License-Identifier: Apache-2.0 */
/* Failures: shrunk, told, and kept for the answer as JSON. */
#include "sim/command_private.h"

#include <inttypes.h>

enum { SHRINK_SECONDS = 30 };

/* ---- the command that repeats it ------------------------------------------------------------ */

static void print_flag(lw_buffer *line, const lw_command *command, lw_flag_id flag) {
    if (lw_command_given(command, flag)) {
        lw_buffer_print(line, " --%s %s", lw_flag(flag)->name, command->flags[flag].text);
    }
}

static void print_replay(const lw_sim_tally *all, lw_sim_failure *failure) {
    lw_buffer *line = &failure->replay;
    lw_buffer_clear(line);
    lw_buffer_print(line, "%s --scenario %s --seed %" PRIu64,
                    all->user != NULL ? all->command->spec->name : "lathwork sim",
                    failure->scenario->name, failure->seed);
    static const lw_flag_id repeated[] = {LW_FLAG_NODES, LW_FLAG_CLIENTS, LW_FLAG_FAULTS,
                                          LW_FLAG_BUG};
    for (size_t index = 0; index < sizeof(repeated) / sizeof(repeated[0]); index++) {
        print_flag(line, all->command, repeated[index]);
    }
    if (failure->file[0] != 0) {
        lw_buffer_print(line, " --faults-file %s", failure->file);
    } else {
        print_flag(line, all->command, LW_FLAG_FAULTS_FILE);
    }
    for (int index = 0; index < all->command->operand_count; index++) {
        lw_buffer_print(line, " %s", all->command->operands[index]);
    }
    lw_buffer_append_u8(line, 0);
}

/* ---- shrinking ------------------------------------------------------------------------------ */

static void tell_shrinking(void *argument, const lw_shrink *shrink) {
    const lw_sim_tally *all = argument;
    if (all->command->talk_terminal) {
        (void)fprintf(stderr, "\r\033[Kshrinking: %zu faults left after %" PRIu64 " runs",
                      shrink->smallest.count, shrink->attempts);
    }
}

/* Into the folder that the command was given in. */
static void write_faults(const lw_sim_tally *all, lw_sim_failure *failure) {
    (void)snprintf(failure->file, sizeof(failure->file), "lathwork-sim-%s-%" PRIu64 ".faults",
                   failure->scenario->name, failure->seed);
    lw_buffer text = lw_buffer_in(all->memory);
    lw_buffer_print(&text, "# %s", (const char *)failure->outcome.result.failures.data);
    lw_buffer_print(&text, "# again with: %s --faults-file %s\n",
                    (const char *)failure->replay.data, failure->file);
    lw_strike_list_print(&failure->faults, &text);
    FILE *file = fopen(failure->file, "w");
    bool written = file != NULL && fwrite(text.data, 1, text.size, file) == text.size;
    if (file == NULL || fclose(file) != 0 || !written) {
        lw_command_say(all->command, "cannot write \"%s\"", failure->file);
        failure->file[0] = 0;
    }
    lw_buffer_reset(&text);
}

static void shrink(lw_sim_tally *all, lw_sim_failure *failure) {
    lw_shrink work = {.run = lw_sim_tally_options(all, failure->scenario, failure->seed),
                      .failures = (const char *)failure->outcome.result.failures.data,
                      .seconds = SHRINK_SECONDS,
                      .smallest = failure->faults,
                      .tell = tell_shrinking,
                      .argument = all};
    failure->shrunk = lw_shrink_run(&work, all->memory);
    failure->faults = work.smallest;
    failure->attempts = work.attempts;
    lw_sim_clear_progress(all);
    if (failure->shrunk) {
        write_faults(all, failure);
        print_replay(all, failure);
    }
}

/* ---- telling -------------------------------------------------------------------------------- */

static void print_faults(const lw_sim_failure *failure, lw_buffer *text) {
    size_t all = failure->outcome.struck.count;
    if (!failure->shrunk) {
        lw_buffer_print(text, "%zu faults struck\n", all);
        return;
    }
    lw_buffer_print(text, "of %zu faults that struck %zu are enough, as %" PRIu64 " runs showed:\n",
                    all, failure->faults.count, failure->attempts);
    lw_strike_list shown = failure->faults;
    shown.count = shown.count < LW_SHRINK_REPORT_MAX ? shown.count : LW_SHRINK_REPORT_MAX;
    lw_strike_list_print(&shown, text);
    if (shown.count < failure->faults.count) {
        lw_buffer_print(text, "… and %zu more in %s\n", failure->faults.count - shown.count,
                        failure->file);
    }
}

static void tell(lw_sim_tally *all, const lw_sim_failure *failure) {
    const lw_child_outcome *outcome = &failure->outcome;
    lw_buffer text = lw_buffer_in(all->memory);
    lw_buffer_append(&text, lw_view(outcome->report.data, outcome->report.size));
    lw_buffer_print(&text, "scenario %s, seed %" PRIu64 ":\n%s", failure->scenario->name,
                    failure->seed, (const char *)outcome->result.failures.data);
    print_faults(failure, &text);
    lw_buffer_print(&text, "again with: %s\n", (const char *)failure->replay.data);
    if (!outcome->ended) {
        lw_buffer_print(&text, "it was cut short: the summary counts nothing of it%s\n",
                        all->history != NULL && all->user == NULL ? ", and the history lacks it"
                                                                  : "");
    }
    lw_sim_clear_progress(all);
    (void)fwrite(text.data, 1, text.size, stderr);
    lw_buffer_reset(&text);
}

static uint64_t count_lines(const lw_buffer *text) {
    uint64_t count = 0;
    for (size_t index = 0; index < text->size; index++) {
        count += text->data[index] == '\n';
    }
    return count;
}

void lw_sim_tell_failure(lw_sim_tally *all, const lw_scenario *scenario, uint64_t seed,
                         lw_child_outcome *outcome) {
    lw_sim_failure failure = {.scenario = scenario,
                              .seed = seed,
                              .outcome = *outcome,
                              .faults = lw_strike_list_in(all->memory),
                              .replay = lw_buffer_in(all->memory)};
    all->violations += count_lines(&failure.outcome.result.failures);
    lw_buffer_append_u8(&failure.outcome.result.failures, 0);
    for (size_t index = 0; index < outcome->struck.count; index++) {
        lw_strike_list_add(&failure.faults, &outcome->struck.items[index]);
    }
    print_replay(all, &failure);
    if (all->shrink && all->shrinks < LW_SIM_SHRINKS_MAX) {
        all->shrinks++;
        shrink(all, &failure);
    }
    tell(all, &failure);
    if (all->failure_count < LW_SIM_FAILURES_MAX) {
        all->failures[all->failure_count++] = failure;
    } else {
        lw_sim_failure_reset(&failure);
    }
}

void lw_sim_failure_reset(lw_sim_failure *failure) {
    lw_child_outcome_reset(&failure->outcome);
    lw_strike_list_reset(&failure->faults);
    lw_buffer_reset(&failure->replay);
}

/* ---- as JSON -------------------------------------------------------------------------------- */

/* Each line of a text as an element. */
static void lines_json(lw_json *json, const char *name, const uint8_t *text, size_t size) {
    lw_json_array_open(json, name);
    for (size_t begin = 0; begin < size && text[begin] != 0;) {
        const uint8_t *newline = memchr(text + begin, '\n', size - begin);
        size_t end = newline == NULL ? size : (size_t)(newline - text);
        lw_json_bytes(json, NULL, lw_view(text + begin, end - begin));
        begin = end + 1;
    }
    lw_json_array_close(json);
}

void lw_sim_failure_json(const lw_sim_failure *failure, lw_json *json) {
    const lw_buffer *violations = &failure->outcome.result.failures;
    const lw_buffer *report = &failure->outcome.report;
    const char *first = (const char *)violations->data;
    lw_json_object_open(json, NULL);
    lw_json_text(json, "scenario", lw_text(failure->scenario->name));
    lw_json_number(json, "seed", failure->seed);
    lw_json_bytes(json, "property", lw_shrink_property(first));
    lines_json(json, "violations", violations->data, violations->size);
    lw_json_text(json, "replay", lw_text((const char *)failure->replay.data));
    lw_json_number(json, "faults_struck", failure->outcome.struck.count);
    lw_json_boolean(json, "shrunk", failure->shrunk);
    lw_json_number(json, "shrink_runs", failure->attempts);
    lw_strike_list shown = failure->faults;
    size_t count = failure->shrunk ? shown.count : 0;
    shown.count = count < LW_SHRINK_REPORT_MAX ? count : LW_SHRINK_REPORT_MAX;
    lw_buffer faults = lw_buffer_in(violations->memory);
    lw_strike_list_print(&shown, &faults);
    lines_json(json, "faults", faults.data, faults.size);
    lw_buffer_reset(&faults);
    lines_json(json, "events", report->data, report->size);
    lw_json_object_close(json);
}
