/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask a node about the lattice, and tell it: events, plans, draining, leaving.
 *
 *   EVENTS   [ after ]                → [ [ number, wall ms, name str, node, shard, text str ], … ]
 *            those with a higher number than `after`, oldest first; numbers are the asked node's
 *   PLAN     nothing                  → [ [ shard, step str, node, other, reason str ], … ]
 *            the next step of each shard that the asked node leads, and why
 *   DRAIN    [ node, on ]             → nothing
 *   LEAVE    [ node, force ]          → nothing
 *
 *   TOKENS   nothing                  → [ [ id, expires ms, revoked ], … ]
 *            those that the asked node made since its start, and all that are revoked
 *   REVOKE   [ id, expires ms, cluster id bin ]  → [ [ node, knows ], … ]   the live members
 *            expires 0: not known; the cluster id is empty if only the token's id is known. Returns
 *            once it is durable on all members that are reached; the others hear of it later
 *
 * A node of 0 is the one that is asked. DRAIN and LEAVE return once the node has taken them to
 * heart (durably, where it has a folder), not when it is empty: NODES shows that. `force` takes out
 * another node that is lost, at once and unasked; what it alone held is lost with it. */
#ifndef LW_REPORT_H
#define LW_REPORT_H

#include "base/codec.h"
#include "lattice/message.h"

enum { LW_REPORT_TEXT_MAX = 256 };

typedef struct lw_event_row {
    uint64_t number;  /* rises by one with every event of the node */
    uint64_t wall_ms; /* as the node's clock said */
    lw_bytes name;    /* "joined", "quiet", "dead", "state", "step", … */
    uint64_t node;    /* that it is about; 0: none */
    uint64_t shard;   /* 0: none */
    lw_bytes text;    /* one sentence, or nothing */
} lw_event_row;

typedef struct lw_plan_row {
    uint64_t shard;
    lw_bytes step; /* lw_placement_step_name */
    uint64_t node, other;
    lw_bytes reason;
    uint64_t wanted[LW_SHARD_REPLICAS_MAX]; /* where it should be; none: that is not known */
    uint32_t wanted_count;
} lw_plan_row;

void lw_events_request_encode(uint64_t after, lw_buffer *body);
LW_MUST_USE lw_status lw_events_request_decode(lw_bytes body, uint64_t *after);
/* Rows follow an lw_write_array of their count. */
void lw_event_row_encode(const lw_event_row *row, lw_buffer *body);
void lw_plan_row_encode(const lw_plan_row *row, lw_buffer *body);
/* Starts reading an answer to EVENTS or PLAN: `*count` rows follow. */
LW_MUST_USE lw_status lw_report_open(lw_bytes body, lw_reader *reader, uint32_t *count);
LW_MUST_USE lw_status lw_event_row_next(lw_reader *reader, lw_event_row *row);
LW_MUST_USE lw_status lw_plan_row_next(lw_reader *reader, lw_plan_row *row);

typedef struct lw_token_row {
    uint64_t id;
    uint64_t expires_ms; /* since 1970; UINT64_MAX: never */
    bool revoked;
} lw_token_row;

typedef struct lw_revoke_request {
    uint64_t id, expires_ms;
    lw_bytes cluster_id;
} lw_revoke_request;

void lw_token_row_encode(const lw_token_row *row, lw_buffer *body);
/* The answer is opened by lw_report_open. */
LW_MUST_USE lw_status lw_token_row_next(lw_reader *reader, lw_token_row *row);
void lw_revoke_request_encode(const lw_revoke_request *request, lw_buffer *body);
LW_MUST_USE lw_status lw_revoke_request_decode(lw_bytes body, lw_revoke_request *request);
/* A row of the answer to REVOKE: whether a node knows. Its form is that of a request about a node.
 */
LW_MUST_USE lw_status lw_node_row_next(lw_reader *reader, uint64_t *node, bool *flag);

/* DRAIN, with `on`, and LEAVE, with `force`. */
void lw_node_request_encode(uint64_t node, bool flag, lw_buffer *body);
LW_MUST_USE lw_status lw_node_request_decode(lw_bytes body, uint64_t *node, bool *flag);

#endif
