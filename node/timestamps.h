/* SPDX-License-Identifier: Apache-2.0 */
/* The timestamps of a node: one oracle (txn/oracle.h) for all of its shards, and the fiber that
 * raises the durable ceiling over it ahead of need. What the ceiling is kept in is told to it: the
 * log of the root shard.
 *
 * Invariants
 * N1. No timestamp is given that is not below a ceiling which is durable (hazards O1, O2); none is
 *     given before lw_timestamps_serve, nor after lw_timestamps_stop.
 * N2. Who takes does not suspend on the way out: between the drawing of a timestamp and the
 *     caller's next step nobody else draws one. */
#ifndef LW_TIMESTAMPS_H
#define LW_TIMESTAMPS_H

#include "base/env.h"

typedef struct lw_timestamps lw_timestamps;

lw_timestamps *lw_timestamps_open(lw_env *env);
/* Waits until the raising fiber has ended, and frees. Nobody may be taking any more. */
LW_YIELDS void lw_timestamps_close(lw_timestamps *timestamps);
/* Nobody gets one any more; who waits is sent home with LW_UNAVAILABLE. */
void lw_timestamps_stop(lw_timestamps *timestamps);

/* Begins above `ceiling`, the durable one of before (0: there was none). Returns the one to make
 * durable first. */
uint64_t lw_timestamps_load(lw_timestamps *timestamps, uint64_t ceiling);
/* `ceiling` is durable: timestamps are given from now on. `keep` makes later ones durable; what it
 * could not keep, on a full disk, is tried again. */
void lw_timestamps_serve(lw_timestamps *timestamps, uint64_t ceiling,
                         LW_YIELDS lw_status (*keep)(void *argument, uint64_t ceiling),
                         void *argument);

/* Takes `count` timestamps in a row, waiting for the ceiling if it must. LW_TIMEOUT at the deadline
 * (0: none). */
LW_MUST_USE LW_YIELDS lw_status lw_timestamps_take(lw_timestamps *timestamps, uint32_t count,
                                                   uint64_t deadline_ns, uint64_t *first);
/* One to hand out with a reply, or 0 when none can be given without waiting. */
uint64_t lw_timestamps_spare(lw_timestamps *timestamps);
/* LW_INVALID_ARGUMENT if this one has not been given yet. */
LW_MUST_USE lw_status lw_timestamps_given(const lw_timestamps *timestamps, uint64_t timestamp);
/* The highest one given. */
uint64_t lw_timestamps_last(const lw_timestamps *timestamps);
/* The oracle's time as a timestamp that is nobody's: what expiry is judged by (hazard T8). */
uint64_t lw_timestamps_now(lw_timestamps *timestamps);

#endif
