/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlocks between nodes. A node's lock table (txn/lock_table.h) finds the cycles that lie in it
 * at once; of one that goes through several nodes each sees a part. So each node reports, again and
 * again, who has waited there for whom for longer than a moment, to the one that leads the root
 * shard, which puts the parts together. Pure: no I/O, no clock.
 *
 * Invariants
 * 1. A report replaces what its node said before, and counts for LW_DETECTOR_FRESH_NS: so a
 * detector that is new knows everything after one round of reports (hazard T16).
 * 2. Of a cycle the transaction that began last is refused: every cycle has one of them, and it has
 *    done the least.
 * 3. Memory is bounded by LW_DETECTOR_EDGES_MAX of each node and LW_DETECTOR_NODES_MAX nodes;
 * beyond that cycles are found later, when there are fewer, or by the deadline of those who wait.
 */
#ifndef LW_DETECTOR_H
#define LW_DETECTOR_H

#include "txn/request.h"

enum {
    LW_DETECTOR_EDGES_MAX = 4096,
    LW_DETECTOR_NODES_MAX = 512,
    LW_DETECTOR_STEPS_MAX = 8, /* of a cycle, that are told */
    LW_DETECTOR_LABEL_SIZE_MAX = 64,
};
#define LW_DETECTOR_FRESH_NS UINT64_C(700000000)

/* `waiter` waits for `key`, which `holder` has or asked for before it. */
typedef struct lw_wait_edge {
    uint64_t waiter, holder; /* start timestamps */
    lw_bytes key;
    lw_bytes label; /* of the waiter's client */
} lw_wait_edge;

/* WAITS, to the holder of the empty key: all that wait on a node. */
typedef struct lw_waits_request {
    uint64_t node;
    const lw_wait_edge *edges;
    uint32_t edge_count;
} lw_waits_request;
/* The reply: those of them that are to give up, each with the obstacle that its client is told. */
typedef struct lw_waits_victim {
    uint64_t start;
    lw_obstacle obstacle; /* LW_OBSTACLE_DEADLOCK, with the cycle */
} lw_waits_victim;
typedef struct lw_waits_reply {
    const lw_waits_victim *victims;
    uint32_t victim_count;
} lw_waits_reply;
void lw_waits_request_encode(const lw_waits_request *message, lw_buffer *body);
LW_MUST_USE lw_status lw_waits_request_decode(lw_bytes body, lw_arena *arena,
                                              lw_waits_request *message);
void lw_waits_reply_encode(const lw_waits_reply *message, lw_buffer *body);
LW_MUST_USE lw_status lw_waits_reply_decode(lw_bytes body, lw_arena *arena,
                                            lw_waits_reply *message);

typedef struct lw_detector lw_detector;
lw_detector *lw_detector_open(lw_memory *memory);
void lw_detector_close(lw_detector *detector);
/* Takes a report, copying it, and says who of it is to give up: arrays and views live in `arena`.
 */
void lw_detector_report(lw_detector *detector, const lw_waits_request *report, uint64_t now_ns,
                        lw_arena *arena, lw_waits_reply *reply);

#endif
