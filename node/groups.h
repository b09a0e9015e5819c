/* SPDX-License-Identifier: Apache-2.0 */
/* The groups of a node together: what they share, and what one fiber does for all of them.
 *
 *   watcher   one fiber, while anything waits for it: waits for the log's durable position, and
 *             tells the groups what of theirs it covers
 *   alarm     one timer, over the deadlines of all groups; none while no group has one
 *   wire      a message between nodes is "which group" and what node/group_message.h says; all that
 *             goes to one node in a turn leaves in one write, since `send` only queues
 *
 * A node whose groups have no other members has neither fiber nor timer here.
 *
 * Invariants
 * H1. The groups are told in the order of the log, and after a group is closed nobody tells it.
 * H2. Nothing a peer sends makes this allocate more than the message itself, or fail: what cannot
 *     be read is dropped and counted. */
#ifndef LW_GROUPS_H
#define LW_GROUPS_H

#include "base/env.h"
#include "lattice/raft.h"
#include "storage/budget.h"
#include "storage/log.h"

typedef struct lw_groups lw_groups;

typedef struct lw_groups_options {
    lw_env *env;
    uint64_t node;       /* this one's id */
    lw_budget *budget;   /* charged for entries that are kept; NULL: nobody is */
    size_t kept_size;    /* bytes of entries kept in memory for followers, all groups together; what
                            is more is read back from the log; 0: an eighth of the budget, 8 MiB at
                            most */
    uint64_t behind_max; /* bytes of log that a group keeps for followers that are behind; who needs
                            older entries gets a snapshot; 0: 64 MiB */
    uint64_t election_timeout_ns; /* the same on all nodes; 0: a second */
    uint32_t drift_ppm;           /* of clocks, at most: see lattice/raft.h, F4; 0: 2000 */
    /* Queues a message to a node, or drops it. Copies; never suspends. NULL where no group has
     * other members, ever. */
    void (*send)(void *argument, uint64_t node, lw_bytes message);
    /* A node has sent something to a group that is not here. LW_RAFT_APPEND: it leads, and counts
     * on a replica here, which is to be made with `joins`, unless it is known to have gone. Else it
     * may itself be no member any more: lw_groups_gone. May be NULL. Must not suspend. */
    void (*stranger)(void *argument, uint64_t from, uint64_t group, lw_raft_kind kind);
    void *argument;
} lw_groups_options;

#ifdef LW_SIMULATION
/* The bugs of the core (lattice/raft.h) that are switched on, as its options take them. */
uint64_t lw_groups_planted(lw_env *env);
#endif
lw_groups *lw_groups_open(const lw_groups_options *options);
/* After replay, before any group starts. */
void lw_groups_start(lw_groups *groups, lw_log *log);
/* All groups are closed. Waits for what the watcher still has to do. */
LW_YIELDS void lw_groups_close(lw_groups *groups);

/* A message that a node's `send` handed in there. Never suspends. */
void lw_groups_receive(lw_groups *groups, uint64_t from, lw_bytes message);
/* Tells a node that it is no member of a group any more, since the change at `index` (R14). */
void lw_groups_gone(lw_groups *groups, uint64_t node, uint64_t group, uint64_t index);
/* Tells a node that this one's replica of a group has nothing of what an earlier one had. */
void lw_groups_anew(lw_groups *groups, uint64_t node, uint64_t group, uint64_t term);
/* The link to a node is up, or down: wakes groups that rest. Links are down at first. */
void lw_groups_link(lw_groups *groups, uint64_t node, bool up);
/* The node with the lowest id above `after` to which the link is up; 0: none. */
uint64_t lw_groups_linked(const lw_groups *groups, uint64_t after);

typedef struct lw_groups_figures {
    uint64_t kept_bytes;                 /* entries in memory */
    uint64_t sent, received, unreadable; /* messages */
    uint64_t read_back_bytes;            /* of entries read from the log for followers */
} lw_groups_figures;
void lw_groups_figures_get(const lw_groups *groups, lw_groups_figures *figures);

#endif
