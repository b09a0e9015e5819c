/* SPDX-License-Identifier: Apache-2.0 */
/* The server: connections, frames, and a fiber for each request. It knows how to carry requests and
 * replies, not what they mean.
 *
 * Invariants
 * V1. A connection costs a few KB until its HELLO is accepted, has 10 s for it, and nothing it
 *     announces is allocated before it has arrived (hazards X5, X8).
 * V2. Per connection, requests in flight and bytes not yet sent are bounded: beyond that the server
 *     stops reading, and TCP holds the client back (hazard R18).
 * V3. Replies ready in one turn leave in one send.
 * V4. What the requests of all connections take together is bounded (node/intake.h): beyond that
 * who comes waits its turn, and is refused with LW_BACKPRESSURE after two seconds. Who holds room
 *     and lets the server wait for 30 s is cut off.
 * V5. A session is detached when its connection ends, whatever requests of it still wait for: what
 *     its client has locked is not to outlive it by their patience. Who has so many that the server
 *     has stopped reading (V2) is noticed to be gone once one of them ends. A connection also ends
 * when the client's machine has given no sign of life for LW_KEEPALIVE_NS (node/silence.h). */
#ifndef LW_SERVER_H
#define LW_SERVER_H

#include "base/env.h"
#include "lattice/message.h"
#include "storage/budget.h"

typedef struct lw_server lw_server;

typedef struct lw_server_options {
    const char *listen; /* "HOST:PORT" */
    bool held;          /* takes nobody in before lw_server_begin: who connects waits */
    /* What requests may take at once (V4), which is charged to the budget; 0 and NULL: no bound. */
    size_t request_memory;
    lw_budget *budget;
    /* What a welcome says, besides session and protocol. */
    uint64_t node_id, retention_ms;
    lw_bytes cluster_id, version; /* live as long as the server */
    /* Carries out one request. `body` receives the reply's body; the reason of a failure is in the
     * error slot. Runs in a fiber of its own. */
    lw_status (*handle)(void *argument, const lw_request *request, uint64_t session,
                        lw_buffer *body);
    /* A spare timestamp to send along with a reply, or 0. */
    uint64_t (*spare)(void *argument);
    /* Takes over a connection whose first bytes are the greeting of another node
     * (lattice/greeting.h): the socket, and what was read from it, which lives during the call.
     * Must not suspend. NULL: such a connection is refused like any other that makes no sense. */
    void (*peer)(void *argument, lw_handle socket, lw_bytes received);
    /* See lw_session_events. The first two may be NULL: every session ends after its grace. */
    bool (*session_holds)(void *argument, uint64_t session);
    LW_YIELDS bool (*session_lives)(void *argument, uint64_t session);
    void (*session_ended)(void *argument, uint64_t session);
    void *argument;
} lw_server_options;

/* Listens; from then on connections are served. LW_REFUSED names the port when it is in use. */
LW_MUST_USE LW_YIELDS lw_status lw_server_open(lw_env *env, const lw_server_options *options,
                                               lw_server **server);
/* Takes connections in, of a server that was opened `held`. */
void lw_server_begin(lw_server *server);
/* Stops accepting and reading, waits for requests under way and for their replies to leave (5 s at
 * most), frees. */
LW_YIELDS void lw_server_close(lw_server *server);
uint16_t lw_server_port(const lw_server *server);
/* The label of a session; empty if unknown. */
lw_bytes lw_server_label(const lw_server *server, uint64_t session);
/* Whether its client is connected, or may still come back. */
bool lw_server_has_session(const lw_server *server, uint64_t session);
/* Only whether it is connected. */
bool lw_server_is_connected(const lw_server *server, uint64_t session);

typedef struct lw_server_figures {
    uint32_t connections, sessions, requests_in_flight;
    uint64_t requests, refused; /* since opening; refused: garbage and wrong protocols */
} lw_server_figures;
void lw_server_figures_get(const lw_server *server, lw_server_figures *figures);

#endif
