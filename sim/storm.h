/* SPDX-License-Identifier: Apache-2.0 */
/* A storm: a short run of a small lattice in which leaders are struck all the time, wherever in the
 * code they are. Each run draws which of these it has, and how hard: so some are extreme in one.
 *
 *   timers     election timeouts from 50 ms to a second, and clocks as fast and slow as the drawn
 *              bound of their drift allows
 *   places     a node is struck when it passes a drawn place of its code: a mark, a rare path, or
 *              the place of a planted bug (lw_host_await). Its processor stops in the middle of the
 *              turn for longer than a lease, or it is struck as below
 *   hunts      the leader of some shard loses power, now or a few steps later, stops, is cut off,
 * in one direction or both, or gets links on which everything takes up to seconds
 *   years      the wall clock of one node is years off at every start
 *
 * Stops leave room: about half of the time no node is stopped. Else each could stop as soon as
 * another one goes on, and nobody could come to agree with anybody for as long as that lasts. And
 * a storm in which nothing could be set up before the clients come is over after its eight seconds:
 * then that must be done, and the rest of the run has peace.
 *
 * All of it is scenario code, outside of fibers. */
#ifndef LW_SIM_STORM_H
#define LW_SIM_STORM_H

#include "sim/chance.h"

struct lw_sim_trial;
struct lw_sim_member;

typedef struct lw_sim_storm {
    uint64_t election_timeout_ms; /* 0: the usual one, and there is no storm */
    uint32_t drift_ppm;
    uint32_t liar; /* whose wall clock is years off; 0, the founder: nobody's */
    uint32_t await_every_ms, hunt_every_ms; /* 0: never in this run */
    uint32_t powers, pauses, lags, cuts;    /* the shares of the ways to strike */
    uint32_t stop_percent, write_percent;   /* of the places: it stops there; it loses power while
                                               a durable write is under way */
    uint32_t disk_factor;                   /* as in lw_host_slow_disk */
    uint64_t begun_ns,
        stopped_ns;      /* since when it is on; in how much of that a node was stopped, */
    uint64_t counted_ns; /* up to then */
} lw_sim_storm;

/* Draws how many nodes there are. */
uint32_t lw_sim_storm_nodes(const struct lw_sim_trial *it);
/* Draws how nodes are started in a run. */
void lw_sim_storm_draw(struct lw_sim_trial *it);
/* Draws what strikes, and lets it. */
void lw_sim_storm_begin(struct lw_sim_trial *it, lw_chance *chance);
/* What a node of a storm meets at a start. */
void lw_sim_storm_start(struct lw_sim_member *node, lw_chance *chance);

#endif
