/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/machines.h"

#include <stdarg.h>

enum { TEXT_SIZE = 400 };

/* ---- what its env has ----------------------------------------------------------------------- */

static lw_machines *run_of(lw_env *env) {
    return LW_MAP_ENTRY(env, lw_machines, env);
}

static void env_mark(lw_env *env, const lw_place *place) {
    lw_trace_mark(&run_of(env)->trace, place);
}

static bool env_rare(lw_env *env, const lw_place *place) {
    return run_of(env)->faults.rare_paths && lw_trace_rare(&run_of(env)->trace, place);
}

static bool env_bug(lw_env *env, const lw_place *place) {
    return lw_trace_bug(&run_of(env)->trace, place);
}

static const lw_env_world env_world = {.mark = env_mark, .rare = env_rare, .bug = env_bug};

/* ---- chance and faults ---------------------------------------------------------------------- */

lw_chance lw_machines_chance(const lw_machines *it, const char *purpose) {
    return lw_chance_of(it->options->seed + it->schedule, lw_hash(it->schedule, lw_text(purpose)));
}

lw_dice lw_machines_dice(lw_machines *it, const char *place) {
    lw_chance chance = lw_chance_of(it->options->seed, lw_hash(0, lw_text(place)));
    lw_dice dice = lw_dice_of(chance, &it->faults, it->hits);
    lw_dice_follow(&dice, &it->strikes, place);
    return dice;
}

bool lw_machines_strikes(lw_machines *it, lw_fault fault, uint64_t ordinal, const char *format,
                         ...) {
    const bool *allowed = it->options->allowed;
    if ((allowed != NULL && !allowed[fault]) ||
        !lw_strikes_decide(&it->strikes, "trouble", fault, ordinal, true)) {
        return false;
    }
    char text[LW_STRIKE_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    lw_strikes_explain(&it->strikes, text);
    lw_machines_note(it, "trouble", lw_fault_name(fault), 0, "%s", text);
    it->hits[fault]++;
    return true;
}

static void draw_faults(lw_machines *it) {
    lw_faults profile = lw_faults_usual();
    it->faults = lw_faults_swarm(&profile, it->options->seed);
    for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
        bool may = it->options->scenario->faults[fault] &&
                   (it->options->allowed == NULL || it->options->allowed[fault]);
        it->faults.rates[fault] = may ? it->faults.rates[fault] : 0;
    }
}

/* ---- time and words ------------------------------------------------------------------------- */

void lw_machines_run_until(lw_machines *it, uint64_t time_ns) {
    while (!it->broken && lw_agenda_due(&it->agenda) <= time_ns) {
        (void)lw_agenda_step(&it->agenda);
    }
    if (!it->broken && it->agenda.now_ns < time_ns) {
        it->agenda.now_ns = time_ns;
    }
}

void lw_machines_note(lw_machines *it, const char *who, const char *what, uint64_t contents,
                      const char *format, ...) {
    char text[TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    lw_trace_note(
        &it->trace,
        &(lw_trace_event){
            .time_ns = it->agenda.now_ns, .what = what, .handle = -1, .contents = contents},
        who, text);
}

void lw_machines_pass(lw_machines *it, uint64_t contents) {
    it->trace.hash = lw_mix(it->trace.hash ^ lw_mix(contents ^ it->agenda.now_ns));
}

void lw_machines_broken(lw_machines *it, const char *property, const char *format, ...) {
    char text[TEXT_SIZE];
    va_list arguments;
    if (it->broken) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    it->broken = true;
    lw_buffer_print(&it->result->failures, "%s: %s\n", property, text);
    lw_machines_note(it, NULL, "violation", 0, "%s: %s", property, text);
}

/* ---- a run ---------------------------------------------------------------------------------- */

static void witness(void *argument) {
    const lw_machines *it = argument;
    lw_trace_report(&it->trace, it->agenda.now_ns, &it->faults, stderr);
}

static lw_machines *open_run(const lw_run_options *options, lw_run_result *result) {
    lw_memory *memory = lw_memory_open();
    lw_machines *it = lw_allocate_zero(memory, sizeof(*it));
    it->options = options;
    it->result = result;
    it->memory = memory;
    it->agenda = lw_agenda_in(memory, LW_MACHINES_BEGIN_NS);
    it->trace = lw_trace_in(memory, options->seed);
    it->trace.file = options->trace;
    it->strikes = lw_strikes_in(memory, &it->agenda.now_ns);
    it->env = (lw_env){.world = &env_world, .memory = memory};
    lw_strikes_record(&it->strikes, options->struck);
    if (options->strikes != NULL) {
        lw_strikes_give(&it->strikes, options->strikes);
        it->schedule = options->strikes->schedule;
    }
    for (const char *const *bug = options->bugs; bug != NULL && *bug != NULL; bug++) {
        lw_trace_plant(&it->trace, *bug);
    }
    draw_faults(it);
    lw_assert_set_witness(witness, it);
    return it;
}

static void tell_marks(lw_machines *it, lw_run_marks marks, void *argument) {
    for (uint32_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        if (it->hits[fault] > 0) {
            lw_trace_count(&it->trace, lw_fault_mark((lw_fault)fault), it->hits[fault]);
        }
    }
    size_t count = 0;
    const lw_mark *const *reached = lw_trace_marks(&it->trace, &count);
    for (size_t index = 0; marks != NULL && index < count; index++) {
        marks(argument, reached[index]);
    }
}

void lw_machines_run(const lw_run_options *options, lw_memory *memory, lw_run_marks marks,
                     void *argument, lw_run_result *result) {
    *result = (lw_run_result){.failures = lw_buffer_in(memory), .strict = true};
    lw_machines *it = open_run(options, result);
    options->scenario->machines(it);
    result->passed = result->failures.size == 0;
    result->hash = it->trace.hash;
    result->virtual_ns = it->agenda.now_ns - LW_MACHINES_BEGIN_NS;
    if (!result->passed && options->report != NULL) {
        lw_trace_report(&it->trace, it->agenda.now_ns, &it->faults, options->report);
    }
    tell_marks(it, marks, argument);
    lw_assert_set_witness(NULL, NULL);
    lw_memory_close(it->memory);
}
