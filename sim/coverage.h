/* SPDX-License-Identifier: Apache-2.0 */
/* Which coverage marks, rare paths and faults many runs reached, and how often: those that were
 * never reached are known too, since the program knows its places (sim/place.h). */
#ifndef LW_SIM_COVERAGE_H
#define LW_SIM_COVERAGE_H

#include "sim/trace.h"

typedef struct lw_coverage lw_coverage;

/* Lives in `memory` and goes with it. */
lw_coverage *lw_coverage_open(lw_memory *memory);
/* Counts what one run reached; of the form lw_run_marks. */
void lw_coverage_add(void *coverage, const lw_mark *mark);
/* "marks       240 of 251 reached, …", a line for each mark of a user and its count, and with `all`
 * one for every mark. */
void lw_coverage_print(const lw_coverage *coverage, bool all, lw_buffer *text);
/* Calls function(argument, name, count) for each mark, rare path and fault, by name; also for those
 * that were never reached. */
void lw_coverage_each(const lw_coverage *coverage,
                      void (*function)(void *argument, const char *name, uint64_t count),
                      void *argument);
/* What many runs of all scenarios left out, in lines for people: what was never reached, what was
 * seldom, how often, and what no run reaches, with the test that does. */
void lw_coverage_print_gaps(const lw_coverage *coverage, lw_buffer *text);
/* How many marks, or rare paths, were reached. */
size_t lw_coverage_reached(const lw_coverage *coverage, lw_place_kind kind);
/* How many marks and rare paths were never reached, but for those that no run can reach; `names`
 * gets them, a line each. */
size_t lw_coverage_missing(const lw_coverage *coverage, lw_buffer *names);

#endif
