/* SPDX-License-Identifier: Apache-2.0 */
/* The bus of the real world: NATS, through a broker of the node's own or one that was there before.
 * Messages are sealed (lattice/bus_wire.h), so whoever runs the broker need not be trusted: it can
 * drop them, see who talks to whom, and nothing else. */
#ifndef LW_BUS_REAL_H
#define LW_BUS_REAL_H

#include "lattice/bus.h"

/* How the node gets onto the bus. Strings are copied by lw_bus_real_open. */
typedef struct lw_bus_real {
    const char *url; /* "nats://HOST:PORT" of a server that is there; NULL: a broker of its own */
    const char *folder;      /* of that broker; made if absent */
    const char *listen_host; /* where other brokers are to reach it: a private address */
    const char *public_host; /* the same, as others know it */
    uint16_t route_port;     /* 0: a free one, the same at every start */
} lw_bus_real;

enum { LW_BUS_URL_SIZE = 512 };

/* An lw_bus_opener, of which an lw_bus_real is the argument. Returns at once; the bus comes up
 * later, or says why it does not. To be called on a thread that lives as long as the bus
 * (lattice/broker.h). LW_INVALID_ARGUMENT: not a URL. */
LW_MUST_USE LW_YIELDS lw_status lw_bus_real_open(void *argument, lw_env *env,
                                                 const lw_bus_options *options, lw_bus **bus);

#endif
