/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client library: the handle, and the one way in which everything else talks to nodes.
 */
#ifndef LW_CLIENT_H
#define LW_CLIENT_H

#include "base/env.h"
#include "client/contacts.h"
#include "client/lathwork.h"
#include "client/routes.h"

struct lw_client {
    lw_env *env;
    bool owns_env;
    bool usable; /* false: only the error and closing are left */
    lw_error error;
    lw_bytes label;
    uint32_t timeout_ms;
    uint64_t write_memory;   /* bytes of writes that a transaction keeps */
    lw_contacts contacts;    /* the nodes, and the links to them */
    bool wants_nodes;        /* some are not known that hold shards */
    uint64_t nodes_asked_ns; /* when a node was last asked for all; 0: never */
    bool reached;            /* a node has answered once */
    uint64_t spare;          /* a timestamp of ours to use; 0: none */
    uint64_t spare_taken_ns; /* when it came */
    lw_routes routes;        /* where requests go */
    lw_buffer token;         /* of the last commit that ended undetermined, with its zero */
    lw_arena arena;          /* decoded replies; reset at the next request */
    lw_txn *transactions;    /* open ones */
};

/* One request to a shard (from LW_MESSAGE_TIMESTAMP on) or to the node, and what came of it. */
typedef struct lw_call {
    /* Set by the caller; the rest begins as zeros. */
    lw_message_kind kind;
    lw_bytes body; /* lives until the call is over */
    /* What it is about, which must lie in one shard: keys from `first` to `last`, or a range
     * [first, last) with an empty end for no bound. Empty keys mean the shard of the first keys,
     * which is the root shard. */
    lw_bytes first, last;
    bool range;
    bool done;
    bool moved; /* it does not lie in one shard (any more): nothing was done; group anew */
    bool lost;  /* without an answer: some attempt may have been carried out */
    bool kept;  /* the client's own: the reply is in its arena */
    lw_status status;
    lw_reply reply; /* with LW_OK and LW_CONFLICT; its views live until the client's next call */
} lw_call;

/* As lw_open, in the world of `env`, which outlives the client: for simulations and for nodes. */
LW_MUST_USE lw_status lw_client_open_in(lw_env *env, const lw_client_options *options,
                                        lw_client **client);

/* Every public call enters here, so that its error lands in the client, and leaves through
 * lw_client_leave, which passes the status on. */
lw_error *lw_client_enter(lw_client *client);
lw_status lw_client_leave(lw_error *outer, lw_status status);

enum { LW_CALL_COUNT_MAX = 64 }; /* made together */

/* Makes requests, all at once and each by itself again after anything that can be tried again, with
 * growing jittered pauses, until `deadline_ns`. All requests are idempotent. Where they go follows
 * from what is known of the shards and of who leads them, and what a node answers that knows
 * better; when a node cannot be reached, or knows nothing, the next one is asked.
 *
 * Returns LW_OK if all were answered so, else the status of the first that was not, with its
 * reason. Without a reply in time that is LW_TIMEOUT, or LW_UNAVAILABLE at once if no node was ever
 * reached. A call that moved has LW_UNAVAILABLE. */
LW_MUST_USE LW_YIELDS lw_status lw_client_call_all(lw_client *client, lw_call *calls,
                                                   uint32_t count, uint64_t deadline_ns);
/* The same for one request about one key. `lost` may be NULL. */
LW_MUST_USE LW_YIELDS lw_status lw_client_call(lw_client *client, lw_message_kind kind,
                                               lw_bytes key, lw_bytes body, uint64_t deadline_ns,
                                               lw_reply *reply, bool *lost);
/* Sends a request about keys of one shard, and does not wait for its reply; it may be dropped. */
void lw_client_send_behind(lw_client *client, lw_message_kind kind, lw_bytes key, lw_bytes body);
/* The shard that holds `key`; before: that holds the last keys below it (empty: the last of all).
 * Asks for it if it is not known. The pointer lives until the client's next call. */
LW_MUST_USE LW_YIELDS lw_status lw_client_route(lw_client *client, lw_bytes key, bool before,
                                                uint64_t deadline_ns,
                                                const lw_shard_descriptor **shard);
/* Takes in what a node says of shards, after a question about `key`; `*news` tells whether any of
 * where keys lie was new. */
void lw_client_learn_shards(lw_client *client, lw_bytes key, lw_bytes topology, bool *news);
/* Asks for the members of the lattice, unless that was done lately: a node that is connected, and
 * soon answers. */
LW_YIELDS void lw_client_ask_nodes(lw_client *client, uint64_t deadline_ns);
/* What is left until the deadline, at least 1. */
uint32_t lw_client_remaining_ms(lw_client *client, uint64_t deadline_ns);
/* A timestamp that is this client's alone: the spare one if it is fresh, else a new one. */
LW_MUST_USE LW_YIELDS lw_status lw_client_timestamp(lw_client *client, uint64_t deadline_ns,
                                                    uint64_t *timestamp);
/* The first of `count` new ones. */
LW_MUST_USE LW_YIELDS lw_status lw_client_fresh_timestamp(lw_client *client, uint32_t count,
                                                          uint64_t deadline_ns,
                                                          uint64_t *timestamp);
/* A pause before the attempt after `attempt` failed ones: doubling from 1 ms to 200 ms, half of it
 * by chance, never beyond the deadline. False if the deadline has passed. */
LW_YIELDS bool lw_client_pause(lw_client *client, uint32_t attempt, uint64_t deadline_ns);
/* The deadline of a call without a transaction. */
uint64_t lw_client_deadline(lw_client *client, uint32_t timeout_ms);

#endif
