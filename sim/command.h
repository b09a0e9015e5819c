/* SPDX-License-Identifier: Apache-2.0 */
/* `lathwork sim`: runs seeds, each of them twice, and tells what was found. */
#ifndef LW_SIM_COMMAND_H
#define LW_SIM_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

typedef struct lw_sim_options {
    uint64_t seed;        /* the first one */
    uint64_t runs;        /* seeds from there on */
    const char *scenario; /* NULL: all of them, each with every seed */
    const char *bug;      /* a planted bug to switch on; NULL: none */
    const char *trace;    /* file for every event; NULL: none */
    const char *history;  /* file for the history of lists; NULL: none */
    bool until_failure;   /* with a bug: stop at the first seed that catches it */
    bool once;            /* each seed once: no check that it repeats itself */
    bool json;
} lw_sim_options;

/* Returns the exit code: 0 nothing found, 1 something was, 2 usage (unknown scenario, file that
 * cannot be written). Progress and reports go to standard error, the summary to standard output. */
int lw_sim_command(const lw_sim_options *options);

#endif
