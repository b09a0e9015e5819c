/* SPDX-License-Identifier: Apache-2.0 */
/* A workload: a counter to which all clients add one, with lw_add_now or by reading and putting it
 * in lw_run. What each is told tells everything: no number twice, each higher than all that were
 * told before it was begun, and in the end the counter is as high as the additions that happened.
 */
#ifndef LW_COUNTER_H
#define LW_COUNTER_H

#include "base/env.h"
#include "client/lathwork.h"

typedef struct lw_counter {
    bool by_run; /* it is read and put; else lw_add_now adds to it */
    uint64_t begun;
    uint64_t refused; /* certainly did not happen */
    uint64_t highest; /* that anybody was told */
    lw_buffer told;   /* every number, u64 each */
} lw_counter;

static inline lw_counter lw_counter_in(lw_memory *memory, bool by_run) {
    return (lw_counter){.by_run = by_run, .told = lw_buffer_in(memory)};
}
/* Adds one. Broken promises go to `violations`, one line each. */
LW_MUST_USE LW_YIELDS lw_status lw_counter_add(lw_counter *counter, lw_client *client,
                                               lw_buffer *violations);
/* Reads the counter once all is calm, and holds everything against it. */
LW_MUST_USE LW_YIELDS lw_status lw_counter_final(lw_counter *counter, lw_client *client,
                                                 lw_buffer *violations);

#endif
