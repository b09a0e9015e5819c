/* SPDX-License-Identifier: Apache-2.0 */
/* The network of a simulated world: byte streams between hosts, as TCP gives them, with delays,
 * partitions, resets and half-open connections. Calls never wait: what cannot be done now answers
 * EAGAIN, and the wake callback of the endpoint says when to try again.
 *
 * Invariants
 * 1. Bytes arrive in order, once and unharmed as long as the connection lives; a receive gets any
 *    part of what has arrived.
 * 2. At most LW_NETWORK_WINDOW bytes of one direction are on their way or unread; the sender waits.
 * 3. While the way is cut, or the other host has no power, what was sent stalls and is tried again;
 *    after LW_NETWORK_PATIENCE_NS the sender's side breaks, and only that side knows. A stalled end
 *    knows for how long (lw_endpoint_unheard).
 * 4. Who sends to an endpoint that is gone from a host with power is told by a reset.
 * 5. An accepted end whose other end vanished, or is out of reach in either direction, breaks after
 *    LW_KEEPALIVE_NS, also if it sends nothing; but not while something that it sent stalls.
 * 6. A wake callback only notes; it calls nothing of the network. */
#ifndef LW_SIM_NETWORK_H
#define LW_SIM_NETWORK_H

#include "base/env.h"
#include "sim/agenda.h"
#include "sim/fault.h"
#include "sim/trace.h"

enum {
    LW_NETWORK_WINDOW = 256 * 1024, /* bytes */
    LW_NETWORK_BACKLOG = 64,        /* connections that wait for accept, per listener */
};
#define LW_NETWORK_PATIENCE_NS UINT64_C(900000000000) /* to be had with Linux, nearly */

typedef struct lw_network lw_network;
/* A listener, or one end of a connection. */
typedef struct lw_endpoint lw_endpoint;
typedef void (*lw_endpoint_wake)(void *owner);

/* Lives in `memory` and goes with it. `faults` and `hits`: see lw_dice. */
lw_network *lw_network_open(lw_memory *memory, lw_agenda *agenda, lw_trace *trace, lw_chance chance,
                            const lw_faults *faults, uint64_t *hits);
lw_dice *lw_network_dice(lw_network *network);
/* What arrives from now on is drawn (sim/page.h). */
struct lw_page;
void lw_network_draw(lw_network *network, struct lw_page *page);

/* Adds a host, with power; the first is 0. `name` outlives the network. */
uint32_t lw_network_add_host(lw_network *network, const char *name);
/* The number of the host that `name` means to `from`: a host's name, or from itself "localhost",
 * "127.0.0.1" and "::1". -1: none. */
int32_t lw_network_find_host(const lw_network *network, uint32_t from, const char *name);
/* Without power all endpoints of the host vanish. Peers learn it by sending, or are told at once,
 * as chance has it. */
void lw_network_power_loss(lw_network *network, uint32_t host);
void lw_network_power_on(lw_network *network, uint32_t host);
/* Cuts the way from one host to another, or mends it. The way back is another. */
void lw_network_cut(lw_network *network, uint32_t from, uint32_t to, bool cut);
/* Whether that way is not cut, and how much longer segments take on it. */
LW_MUST_USE bool lw_network_reaches(const lw_network *network, uint32_t from, uint32_t to,
                                    uint64_t *lag_ns);
/* From now on segments from one host to another take so much longer. */
void lw_network_lag(lw_network *network, uint32_t from, uint32_t to, uint64_t lag_ns);
/* From now on only so many bytes a second get from one host to another, of all connections
 * together; 0: any number. */
void lw_network_clamp(lw_network *network, uint32_t from, uint32_t to, uint64_t bytes_per_second);

/* Port 0 takes a free one. EADDRINUSE. */
int lw_network_listen(lw_network *network, uint32_t host, uint16_t *port, lw_endpoint_wake wake,
                      void *owner, lw_endpoint **listener);
/* Starts to connect; lw_endpoint_connected tells how it went. */
lw_endpoint *lw_network_connect(lw_network *network, uint32_t from, uint32_t to, uint16_t port,
                                lw_endpoint_wake wake, void *owner);
/* 0, EAGAIN while connecting, ECONNREFUSED, ETIMEDOUT. */
int lw_endpoint_connected(const lw_endpoint *endpoint);
int lw_endpoint_accept(lw_endpoint *listener, lw_endpoint_wake wake, void *owner,
                       lw_endpoint **accepted);
/* *count 0 at the end of the stream. */
int lw_endpoint_receive(lw_endpoint *endpoint, void *buffer, size_t size, uint64_t *count);
/* Takes as many bytes as the window has room for. */
int lw_endpoint_send(lw_endpoint *endpoint, lw_bytes bytes, size_t *count);
/* As lw_socket_unheard. */
bool lw_endpoint_unheard(const lw_endpoint *endpoint, uint64_t *silence_ns);
/* What was sent arrives, then the end of the stream; unread bytes make it a reset. The endpoint is
 * not to be used again. */
void lw_endpoint_close(lw_endpoint *endpoint);

#endif
