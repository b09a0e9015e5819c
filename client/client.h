/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client library: the handle, and the one way in which everything else talks to nodes.
 */
#ifndef LW_CLIENT_H
#define LW_CLIENT_H

#include "base/env.h"
#include "client/lathwork.h"
#include "client/link.h"

struct lw_client {
    lw_env *env;
    bool owns_env;
    bool usable; /* false: only the error and closing are left */
    lw_error error;
    lw_bytes label;
    uint32_t timeout_ms;
    lw_link link;
    bool reached;              /* a node has answered once */
    uint64_t spare;            /* a timestamp of ours to use; 0: none */
    uint64_t spare_taken_ns;   /* when it came */
    lw_shard_descriptor shard; /* where requests go; one shard so far */
    lw_buffer topology;        /* what its views point into */
    lw_buffer token;           /* of the last commit that ended undetermined, with its zero */
    lw_arena arena;            /* decoded replies; reset at the next request */
    lw_txn *transactions;      /* open ones */
};

/* As lw_open, in the world of `env`, which outlives the client: for simulations and for nodes. */
LW_MUST_USE lw_status lw_client_open_in(lw_env *env, const lw_client_options *options,
                                        lw_client **client);

/* Every public call enters here, so that its error lands in the client, and leaves through
 * lw_client_leave, which passes the status on. */
lw_error *lw_client_enter(lw_client *client);
lw_status lw_client_leave(lw_error *outer, lw_status status);

/* Sends a request to the shard (from LW_MESSAGE_TIMESTAMP on) or to the node, and
 * again after anything that can be tried again, with growing jittered pauses, until `deadline_ns`.
 * All requests are idempotent.
 *
 * Returns the reply's status: with LW_OK and LW_CONFLICT `reply` is filled, its views live until
 * the next call. Without a reply in time: LW_TIMEOUT, or LW_UNAVAILABLE at once if no node was ever
 * reached; *lost then says whether some attempt may have been carried out. `lost` may be NULL. */
LW_MUST_USE LW_YIELDS lw_status lw_client_call(lw_client *client, lw_message_kind kind,
                                               lw_bytes body, uint64_t deadline_ns, lw_reply *reply,
                                               bool *lost);
/* A timestamp that is this client's alone: the spare one if it is fresh, else a new one. */
LW_MUST_USE LW_YIELDS lw_status lw_client_timestamp(lw_client *client, uint64_t deadline_ns,
                                                    uint64_t *timestamp);
/* A pause before the attempt after `attempt` failed ones: doubling from 1 ms to 200 ms, half of it
 * by chance, never beyond the deadline. False if the deadline has passed. */
LW_YIELDS bool lw_client_pause(lw_client *client, uint32_t attempt, uint64_t deadline_ns);
/* The deadline of a call without a transaction. */
uint64_t lw_client_deadline(lw_client *client, uint32_t timeout_ms);

#endif
