/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios of pure machines: no hosts, no files, no fibers and no clients, only production
 * machines that are functions of what they are told, in company that the scenario makes up. What
 * they share is here: virtual time, chance, faults by name, the trace and its hash, planted bugs,
 * and the verdict. So `lathwork sim` repeats, shrinks and reports them as any other scenario.
 *
 * A scenario is a function (lw_scenario.machines) that plays one run and says what was violated:
 * sim/lore.h is one.
 *
 * Invariants
 * 1. What happens follows from the seed, the faults that strike, and the schedule; nothing depends
 *    on an address. Draws that are faults come from dice, which no schedule changes.
 * 2. All that a scenario allocates is in `memory`, and goes with the run. */
#ifndef LW_SIM_MACHINES_H
#define LW_SIM_MACHINES_H

#include "sim/agenda.h"
#include "sim/scenario.h"
#include "sim/trace.h"

#define LW_MACHINES_BEGIN_NS  UINT64_C(1000000000) /* of virtual time, so that no time is 0 */
#define LW_MACHINES_NS_PER_MS UINT64_C(1000000)

typedef struct lw_machines {
    const lw_run_options *options;
    lw_run_result *result;
    lw_memory *memory;
    lw_agenda agenda;
    lw_trace trace;
    lw_faults
        faults; /* of this run; the scenario may change them, and ends them with its trouble */
    uint64_t hits[LW_FAULT_COUNT];
    lw_strikes strikes;
    uint64_t schedule;
    /* Has marks, rare paths and planted bugs, and nothing else: for what drivers of these machines
     * ask an env (lw_lattice_planted). */
    lw_env env;
    bool broken; /* a promise was: nothing more is to be learned */
} lw_machines;

/* What lw_scenario_run does for a scenario of machines. */
void lw_machines_run(const lw_run_options *options, lw_memory *memory, lw_run_marks marks,
                     void *argument, lw_run_result *result);

/* ---- for scenarios -------------------------------------------------------------------------- */

/* A stream of numbers for what is no fault. */
lw_chance lw_machines_chance(const lw_machines *it, const char *purpose);
/* For faults with a rate; `place` (a constant) names them in lists. */
lw_dice lw_machines_dice(lw_machines *it, const char *place);
/* Whether trouble that was drawn, the occasion of this number, strikes; the words say what it does.
 */
LW_MUST_USE bool lw_machines_strikes(lw_machines *it, lw_fault fault, uint64_t ordinal,
                                     const char *format, ...) __attribute__((format(printf, 4, 5)));
static inline uint64_t lw_machines_now(const lw_machines *it) {
    return it->agenda.now_ns;
}
/* Runs all events up to this time, or until a promise is broken. */
void lw_machines_run_until(lw_machines *it, uint64_t time_ns);
/* Notes what happened to `who`: `contents` is a checksum of the bytes that moved, or 0. */
void lw_machines_note(lw_machines *it, const char *who, const char *what, uint64_t contents,
                      const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The same, of what happens all the time: it counts in the hash, and is told nowhere. */
void lw_machines_pass(lw_machines *it, uint64_t contents);
/* A promise was broken: `property` names it in words without digits, the rest tells how. Only the
 * first one of a run counts. */
void lw_machines_broken(lw_machines *it, const char *property, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
