/* SPDX-License-Identifier: Apache-2.0 */
/* Says to the detector of deadlocks (txn/detector.h) who waits on this node, while anybody does for
 * longer than a moment, and ends the waiting of those whom it names.
 *
 * Invariants
 * 1. While nobody waits there is no timer and no message. */
#ifndef LW_WAITS_H
#define LW_WAITS_H

#include "node/resolve.h"
#include "txn/lock_table.h"

typedef struct lw_waits lw_waits;

typedef struct lw_waits_options {
    lw_env *env;
    uint64_t node;
    lw_lock_table *locks; /* outlives it */
    lw_ask *ask;          /* to the holder of a key */
    /* The label of a session; empty if unknown. */
    lw_bytes (*session_label)(void *argument, uint64_t session);
    void *argument;
} lw_waits_options;

lw_waits *lw_waits_open(const lw_waits_options *options);
/* Somebody has begun to wait. Does not suspend. `waits` may be NULL, where there are no others. */
void lw_waits_stir(lw_waits *waits);
/* Ends soon. */
void lw_waits_stop(lw_waits *waits);
/* Stops, and waits until its fiber has ended. */
LW_YIELDS void lw_waits_close(lw_waits *waits);

#endif
