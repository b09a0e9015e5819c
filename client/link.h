/* SPDX-License-Identifier: Apache-2.0 */
/* A link: one connection to a node, made when needed and made again after it broke, always for the
 * same session. Several requests can be under way at once: those of one call, which waits for all
 * of their replies, and those that were sent behind, whose replies nobody waits for. Every call is
 * one attempt, retrying is the client's business.
 *
 * A link does not wait for a node that is gone, whose connection nobody has ended (a power failure,
 * a network that is cut): it asks with PING, once it has heard nothing for a while, whether it is
 * still there. A node may take its time over a request as long as it answers that.
 *
 * Invariants
 * K1. Frames leave in the order in which they were handed over. Sending never waits for receiving,
 *     nor the other way round, so that neither side can hold the other up for ever.
 * K2. Nothing runs between calls: what was sent behind leaves at once as far as the socket takes
 *     it, the rest and the replies are seen to by the next call. */
#ifndef LW_LINK_H
#define LW_LINK_H

#include "base/env.h"
#include "lattice/message.h"

typedef struct lw_link {
    lw_env *env;
    char address[LW_ADDRESS_SIZE];
    lw_bytes label;        /* the owner's, for the greeting */
    lw_handle socket;      /* none: not connected */
    uint64_t session;      /* its owner's choice; 0: given by the first node that greets us */
    uint64_t node;         /* who greeted us; 0: nobody yet */
    uint64_t retention_ms; /* of that node; 0: it did not say */
    bool pinged;           /* and nothing was heard since */
    uint64_t heard_ns;     /* when something was, or the call began */
    uint64_t patience_ns;  /* how long an answer to PING is waited for */
    uint64_t request_id;
    lw_buffer in;           /* what was received; frames before `taken` have been looked at */
    size_t taken;           /* bytes of it */
    lw_buffer out, sending; /* frames that wait, and those under way */
    lw_op send;
    bool is_sending;     /* `send` is submitted */
    bool broken;         /* it failed: the connection is of no more use */
    lw_queue sent;       /* waits for `send` */
    uint32_t unanswered; /* requests sent behind, whose replies have not come */
} lw_link;

/* One request of a call and what it came to. */
typedef struct lw_attempt {
    lw_request request; /* its id is filled in by the link */
    bool answered;      /* `reply` is filled; its views live until the link's next call */
    bool sent;          /* not answered: but the request may have reached the node */
    size_t place;       /* the link's own: of the reply in `in`, and its size */
    size_t size;
    lw_reply reply;
} lw_attempt;

void lw_link_init(lw_link *link, lw_env *env, const char *address, lw_bytes label);
/* Closes the connection, frees the buffers. */
LW_YIELDS void lw_link_reset(lw_link *link);
/* Closes the connection and gives the session up: the next call begins another. */
LW_YIELDS void lw_link_abandon(lw_link *link);
/* Sends all requests and waits for all replies. LW_OK when every one is answered, whatever the
 * replies' statuses. Else LW_TIMEOUT, LW_UNAVAILABLE (refused, broken) or LW_REFUSED (the other
 * side does not want us, or is not a node), and the connection is closed; some may be answered all
 * the same. */
LW_MUST_USE LW_YIELDS lw_status lw_link_call(lw_link *link, lw_attempt *attempts, uint32_t count,
                                             uint64_t deadline_ns);
/* Sends a request whose reply nobody waits for. Never waits: the request is dropped if there is no
 * connection, or if too much is on its way already. */
void lw_link_send_behind(lw_link *link, lw_request *request);
/* Waits until what was sent behind is answered, at most until the deadline. */
LW_YIELDS void lw_link_settle(lw_link *link, uint64_t deadline_ns);

#endif
