/* SPDX-License-Identifier: Apache-2.0 */
/* The timestamps of a node, for all of its shards. While the node leads the root shard they come
 * from an oracle of its own (txn/oracle.h), whose ceiling is kept durable ahead of need in that
 * shard's log; while another node does, they are fetched from there. Which of the two it is may
 * change at any time, also under those who wait for one.
 *
 * Invariants
 * N1. The own oracle gives none that is not below a ceiling which is durable (hazard O2), and none
 *     while another node's may give any: only between lw_timestamps_lead and lw_timestamps_unlead,
 *     and then only under a lease, or to those who came before the leadership was confirmed (hazard
 *     O1). It begins above the ceiling that the log of the root shard holds.
 * N2. Every timestamp was drawn after it was asked for, and is one taker's alone. None is kept for
 *     who comes later: what was acknowledged before a request came lies below its timestamp
 *     (hazard O5).
 * N3. lw_timestamps_last is at or above every timestamp that this node took, or was shown and found
 *     to be given. So nothing at or above a timestamp C was answered here if C is the last one
 *     when its taker goes on; as it always is with one of the own oracle, since who takes that does
 *     not suspend on the way out. One that was fetched may have been overtaken.
 * N4. Who hands the leadership over leaves a ceiling just above what it has given, so that the next
 *     oracle does not begin seconds ahead: locks, and values, live by its time. */
#ifndef LW_TIMESTAMPS_H
#define LW_TIMESTAMPS_H

#include "base/env.h"

typedef struct lw_timestamps lw_timestamps;

/* What the oracle of the leader of the root shard stands on. */
typedef struct lw_timestamps_ground {
    /* Makes a higher ceiling durable. What it could not keep is tried again. */
    LW_YIELDS lw_status (*keep)(void *argument, uint64_t ceiling);
    /* Whether no other node can have become the leader: asked before each drawing. NULL: none ever
     * can, as in a group whose only voter is this node. */
    bool (*may_give)(void *argument);
    /* With may_give: finds out that no other node had become the leader when this was called. */
    LW_YIELDS lw_status (*confirm)(void *argument, uint64_t deadline_ns);
    void *argument;
} lw_timestamps_ground;

/* Gets the first of `count` timestamps in a row from wherever the oracle is now, trying until the
 * deadline. They must have been drawn after it was called. */
typedef LW_YIELDS lw_status lw_timestamps_fetch(void *argument, uint32_t count,
                                                uint64_t deadline_ns, uint64_t *first);

/* Gives none before it leads or knows where to fetch. */
lw_timestamps *lw_timestamps_open(lw_env *env);
/* Waits until its fibers have ended, and frees. Nobody may be taking any more. */
LW_YIELDS void lw_timestamps_close(lw_timestamps *timestamps);
/* Nobody gets one any more; who waits is sent home with LW_UNAVAILABLE. */
void lw_timestamps_stop(lw_timestamps *timestamps);
/* Where they come from while this node does not lead the root shard. */
void lw_timestamps_fetch_by(lw_timestamps *timestamps, lw_timestamps_fetch *fetch, void *argument);

/* This node leads the root shard now: its oracle begins above `ceiling`, the one in the shard's log
 * once everything of earlier terms is applied (0: there was none), and at the time of the oracles
 * before, if any was seen or told of since this was opened (hazard O3). Returns the one to make
 * durable first; once lw_timestamps_raised says that it is, timestamps are given, and later ones
 * are kept from here: so that none comes behind a higher one into the log. */
uint64_t lw_timestamps_lead(lw_timestamps *timestamps, uint64_t ceiling,
                            const lw_timestamps_ground *ground);
void lw_timestamps_raised(lw_timestamps *timestamps, uint64_t ceiling);
/* It does not any more, or is not sure to. Nothing happens if it did not. */
void lw_timestamps_unlead(lw_timestamps *timestamps);
/* It is to be handed over: none is given any more, and the durable ceiling comes down (N4). Until
 * another node leads, or lw_timestamps_go_on. LW_UNAVAILABLE if it does not lead any more; else as
 * the ground's `keep`, and then the ceiling may be where it was. */
LW_MUST_USE LW_YIELDS lw_status lw_timestamps_hand_over(lw_timestamps *timestamps);
void lw_timestamps_go_on(lw_timestamps *timestamps);
bool lw_timestamps_leads(const lw_timestamps *timestamps);
/* Whether it does, and no other node can by now: lw_timestamps_last is above all that was given. */
bool lw_timestamps_sure(const lw_timestamps *timestamps);

/* Takes `count` timestamps in a row, waiting for them if it must. LW_TIMEOUT at the deadline (0:
 * none), LW_UNAVAILABLE if they could not be fetched. */
LW_MUST_USE LW_YIELDS lw_status lw_timestamps_take(lw_timestamps *timestamps, uint32_t count,
                                                   uint64_t deadline_ns, uint64_t *first);
/* The same for who asks this node as the oracle's: it fetches none, since the one who asks may be
 * its own fetch, or that of another node which it would ask. LW_UNAVAILABLE if it does not lead, or
 * no more. */
LW_MUST_USE LW_YIELDS lw_status lw_timestamps_give(lw_timestamps *timestamps, uint32_t count,
                                                   uint64_t deadline_ns, uint64_t *first);
/* One to hand out with a reply, or 0 when none can be given without waiting. */
uint64_t lw_timestamps_spare(lw_timestamps *timestamps);
/* LW_INVALID_ARGUMENT if this one has not been given yet. What this node has not heard of it finds
 * out: then it fails as taking does. */
LW_MUST_USE LW_YIELDS lw_status lw_timestamps_given(lw_timestamps *timestamps, uint64_t timestamp,
                                                    uint64_t deadline_ns);
/* The highest one given, as far as this node knows (N3). */
uint64_t lw_timestamps_last(const lw_timestamps *timestamps);
/* The oracle's time in milliseconds, if this process leads it or has seen it; else 0, and then it
 * can be told. */
uint64_t lw_timestamps_time_ms(lw_timestamps *timestamps);
void lw_timestamps_time_told(lw_timestamps *timestamps, uint64_t time_ms);
/* The oracle's time as a timestamp that is nobody's: what expiry is judged by (hazard T8). Away
 * from the oracle it is what was fetched last, and what has passed since. */
uint64_t lw_timestamps_now(lw_timestamps *timestamps);

#endif
