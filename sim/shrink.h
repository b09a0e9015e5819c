/* SPDX-License-Identifier: Apache-2.0 */
/* Shrinking: of all that struck in a run that failed, as little as possible with which it still
 * fails in the same way: something is violated that was violated then, too. First whole kinds of
 * faults are left out, then ever smaller parts of the list (delta debugging); each attempt is a run
 * of the same seed that is given its list.
 *
 * A list that came out has been run: given again (--faults-file), it fails. */
#ifndef LW_SIM_SHRINK_H
#define LW_SIM_SHRINK_H

#include "sim/child.h"

enum { LW_SHRINK_REPORT_MAX = 200 }; /* strikes in a report */

typedef struct lw_shrink {
    lw_run_options run;      /* what failed; its lists are not looked at */
    const char *failures;    /* what it failed with, a line each */
    uint64_t seconds;        /* real ones, after which the smallest list so far must do */
    uint64_t attempts;       /* receives how many runs were made */
    lw_strike_list smallest; /* begins as all that struck, and receives the result */
    /* Called after each attempt; or NULL. */
    void (*tell)(void *argument, const struct lw_shrink *shrink);
    void *argument;
} lw_shrink;

/* False if all of the list, given again, does not fail in that way: then it stays as it is. */
LW_MUST_USE bool lw_shrink_run(lw_shrink *shrink, lw_memory *memory);
/* How the failure of a line is called: what stands before its details. Within the line. */
lw_bytes lw_shrink_property(const char *line);

#endif
