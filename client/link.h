/* SPDX-License-Identifier: Apache-2.0 */
/* A link: one connection to a node, made when needed and made again after it broke, always for the
 * same session. One request at a time; every call is one attempt, retrying is the client's
 * business. */
#ifndef LW_LINK_H
#define LW_LINK_H

#include "base/env.h"
#include "lattice/message.h"

typedef struct lw_link {
    lw_env *env;
    char address[LW_ADDRESS_SIZE];
    lw_bytes label;   /* the owner's, for the greeting */
    lw_handle socket; /* none: not connected */
    uint64_t session; /* given by the first node that greeted us; 0 before */
    uint64_t request_id;
    lw_buffer in, out;
} lw_link;

/* What an attempt came to, beyond its status. */
typedef struct lw_attempt {
    bool answered; /* `reply` is filled; its views live until the link's next call */
    bool sent;     /* not answered: but the request may have reached the node */
    lw_reply reply;
} lw_attempt;

void lw_link_init(lw_link *link, lw_env *env, const char *address, lw_bytes label);
/* Closes the connection, frees the buffers. */
LW_YIELDS void lw_link_reset(lw_link *link);
/* Closes the connection and gives the session up: the next call begins another. */
LW_YIELDS void lw_link_abandon(lw_link *link);
/* Sends `request` (its id is filled in here) and waits for the reply. LW_OK when answered, whatever
 * the reply's status. Else LW_TIMEOUT, LW_UNAVAILABLE (refused, broken) or LW_REFUSED (the other
 * side does not want us, or is not a node), and the connection is closed. */
LW_MUST_USE LW_YIELDS lw_status lw_link_call(lw_link *link, lw_request *request,
                                             uint64_t deadline_ns, lw_attempt *attempt);

#endif
