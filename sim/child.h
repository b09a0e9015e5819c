/* SPDX-License-Identifier: Apache-2.0 */
/* One run in a process of its own, so that an assertion that fails, a fault that a sanitizer finds
 * and a run that never ends are failures like others: told with what struck, and shrunk. */
#ifndef LW_SIM_CHILD_H
#define LW_SIM_CHILD_H

#include "sim/scenario.h"

enum {
    LW_CHILD_SECONDS_MAX = 600, /* real ones, after which a run counts as one that never ends */
    LW_CHILD_STRIKES_MAX = 200000,
};

typedef struct lw_child_outcome {
    lw_run_result result;  /* of one that was cut short: not passed, and the failure says why */
    bool ended;            /* it was not cut short */
    lw_strike_list struck; /* nothing without options->struck */
    lw_buffer report;      /* what it wrote to standard error: the last events of a failure */
} lw_child_outcome;

/* As lw_scenario_run, but `struck` of the options only says whether it is wanted, and `report` too.
 * With `other_heap` memory is handed out at other addresses and comes filled with other bytes: what
 * differs then was read before it was set, or depends on an address. */
void lw_child_run(const lw_run_options *options, bool other_heap, lw_memory *memory,
                  lw_run_marks marks, void *argument, lw_child_outcome *outcome);
/* The same in this process, for a debugger: an assertion that fails ends it, and the report of a
 * failure goes where `report` says. */
void lw_child_run_here(const lw_run_options *options, bool other_heap, lw_memory *memory,
                       lw_run_marks marks, void *argument, lw_child_outcome *outcome);
void lw_child_outcome_reset(lw_child_outcome *outcome);

/* What a run frees stays with the process, for its next moments and the next run: clearing pages
 * anew would be one part in ten. */
void lw_child_keep_heap(void);

#endif
