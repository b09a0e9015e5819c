/* SPDX-License-Identifier: Apache-2.0 */
/* The faults that strike in a run, as a list: recorded while chance decides, or given, and then
 * these strike and no others. A list that is cut down (sim/shrink.h) shows what a failure needs.
 *
 * A strike is named by its place, its fault and the number of its occasion there. What it is like
 * (how long a delay is, which bit rots) is not in the list: that follows from the run's seed and
 * this name (sim/fault.h, 2), as does the time of what scenarios let strike.
 *
 * What a receive gets of the bytes that are there harms nobody and happens all the time: it is part
 * of the schedule, and never a strike.
 *
 * Invariants
 * 1. A run that is given all that struck in it has the same hash.
 * 2. Given strikes whose occasion does not come, or comes when the fault may not happen any more,
 *    do not strike.
 *
 * As text, a line a strike, in the order in which they struck; what follows # is for readers:
 *
 *   PLACE FAULT ORDINAL # SECONDS WHAT
 *   node2 sync_error 17 # 3.204518822 s
 *   trouble crash 4 # 5.120000000 s node1, before its step 12 from then
 *   schedule 3
 *
 * A schedule is how long everything takes that is no fault: operations and ways. 0 is the one that
 * the seed has; with fewer faults a failure often needs another one to show. */
#ifndef LW_SIM_STRIKE_H
#define LW_SIM_STRIKE_H

#include "sim/fault.h"

enum { LW_STRIKE_PLACE_SIZE = 24, LW_STRIKE_TEXT_SIZE = 72 };

typedef struct lw_strike {
    char place[LW_STRIKE_PLACE_SIZE]; /* a host's name, "network", "bus" or "trouble" */
    lw_fault fault;
    uint64_t ordinal;               /* of its occasion, from 1 */
    uint64_t time_ns;               /* virtual; 0: it was read from a file */
    char text[LW_STRIKE_TEXT_SIZE]; /* what it did; empty: the fault says it */
} lw_strike;

typedef struct lw_strike_list {
    lw_memory *memory; /* NULL: `items` are the caller's, and what does not fit is left out */
    lw_strike *items;
    size_t count, capacity;
    uint64_t schedule; /* to be run on; 0: the seed's own */
} lw_strike_list;

lw_strike_list lw_strike_list_in(lw_memory *memory);
void lw_strike_list_reset(lw_strike_list *list);
void lw_strike_list_add(lw_strike_list *list, const lw_strike *strike);
void lw_strike_list_print(const lw_strike_list *list, lw_buffer *out);
/* Adds what stands in `text`, as above. LW_INVALID_ARGUMENT names the first line that is wrong. */
LW_MUST_USE lw_status lw_strike_list_parse(lw_strike_list *list, lw_bytes text);

struct lw_page;

/* What decides in a world, and remembers. */
typedef struct lw_strikes {
    lw_memory *memory;
    const uint64_t *now_ns; /* the world's time */
    lw_strike_list *record; /* NULL: none */
    struct lw_page *page;   /* on which strikes are marked; NULL: none */
    bool given;             /* a list decides: */
    uint64_t *wanted;       /* a hash set of its names; 0: a free place */
    size_t wanted_capacity; /* a power of two */
} lw_strikes;

lw_strikes lw_strikes_in(lw_memory *memory, const uint64_t *now_ns);
/* From now on what struck is added to `list`; NULL: it is not. */
void lw_strikes_record(lw_strikes *strikes, lw_strike_list *list);
/* From now on these strike, and no others. */
void lw_strikes_give(lw_strikes *strikes, const lw_strike_list *list);
/* Whether a fault that may happen strikes on this occasion, given that chance would have it so. */
bool lw_strikes_decide(lw_strikes *strikes, const char *place, lw_fault fault, uint64_t ordinal,
                       bool drawn);
/* Says what the last strike did. */
void lw_strikes_explain(lw_strikes *strikes, const char *text);

#endif
