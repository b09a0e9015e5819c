/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `lathwork sim` share: command.c reads the flags and runs the seeds,
 * command_failure.c has failures shrunk and reported, command_summary.c tells what all came to. */
#ifndef LW_SIM_COMMAND_PRIVATE_H
#define LW_SIM_COMMAND_PRIVATE_H

#include "sim/command.h"
#include "sim/coverage.h"
#include "sim/shrink.h"

enum {
    LW_SIM_SHRINKS_MAX = 3,   /* failures that are shrunk; others are told as they are */
    LW_SIM_FAILURES_MAX = 50, /* kept for the answer as JSON */
    LW_SIM_FILE_SIZE = 80,
};

/* A run that failed. */
typedef struct lw_sim_failure {
    const lw_scenario *scenario;
    uint64_t seed;
    lw_child_outcome outcome;
    bool shrunk;                 /* `faults` were run, and fail */
    uint64_t attempts;           /* runs that this took */
    lw_strike_list faults;       /* the smallest list that was found; else all */
    char file[LW_SIM_FILE_SIZE]; /* where they stand; empty: nowhere */
    lw_buffer replay;            /* the command that repeats it, with a zero at its end */
} lw_sim_failure;

/* What was asked for, and what all runs together came to. */
typedef struct lw_sim_tally {
    lw_command *command;
    lw_memory *memory;
    uint64_t seed, run_goal;
    const struct lw_sim_workload *user; /* NULL: our own */
    const lw_scenario *only;            /* NULL: all */
    const char *bugs[2];                /* one that is planted, ended by NULL */
    const char *bug;                    /* NULL: none */
    uint32_t node_count;                /* 0: each scenario's own */
    uint32_t client_count;              /* 0: as drawn */
    const bool *allowed;                /* faults; NULL: all */
    bool allowed_flags[LW_FAULT_COUNT];
    const lw_strike_list *strikes; /* NULL: as drawn */
    lw_strike_list given;
    bool once, list_marks, shrink;
    bool here;                      /* runs are made in this process, where a debugger looks */
    FILE *trace, *history, *hashes; /* NULL: none */
    lw_coverage *coverage;
    lw_buffer passed;   /* planted bugs whose place the run passed: " NAME NAME" */
    double began, told; /* real seconds */
    uint64_t runs, failed_runs, damaged_runs, boots, violations;
    uint64_t committed, failed, in_doubt;
    uint64_t broken_constraints;
    uint64_t virtual_ns;
    uint64_t resumed_ms, lively_ms, converged_ms; /* the longest */
    uint64_t shrinks;
    lw_sim_failure failures[LW_SIM_FAILURES_MAX];
    size_t failure_count;
} lw_sim_tally;

double lw_sim_real_seconds(void);
/* Takes the line of progress off the terminal. */
void lw_sim_clear_progress(const lw_sim_tally *all);
/* The options of a run, without what it writes. */
lw_run_options lw_sim_tally_options(const lw_sim_tally *all, const lw_scenario *scenario,
                                    uint64_t seed);

/* Has a failure shrunk, if that is wanted, tells it on standard error, and keeps it. Takes over the
 * outcome. */
void lw_sim_tell_failure(lw_sim_tally *all, const lw_scenario *scenario, uint64_t seed,
                         lw_child_outcome *outcome);
/* The failure as an object of an array. */
void lw_sim_failure_json(const lw_sim_failure *failure, lw_json *json);
void lw_sim_failure_reset(lw_sim_failure *failure);

/* Appends the answer, as text or as one JSON object. */
void lw_sim_summarize(const lw_sim_tally *all, lw_buffer *text);

#endif
