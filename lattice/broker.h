/* SPDX-License-Identifier: Apache-2.0 */
/* The broker: a nats-server of the node's own, started, watched and ended by the node. Brokers of
 * one lattice join each other by routes.
 *
 * Invariants
 * 1. The broker does not outlive the node, however that ends: the kernel kills it when the *thread*
 *    that started it ends. So a broker is opened on a thread that lives as long as the node.
 * 2. Nothing that was not written by the running child is believed: a file that names its process
 *    id, which cannot be another's as long as we have not waited for it.
 * 3. It listens for its node on a port of 127.0.0.1, and for other brokers where it is told to;
 * both ports stay the same from the first start on, so that those who know it find it again.
 * 4. A failure of the broker is never a failure of the node: it is said, and tried again. */
#ifndef LW_BROKER_H
#define LW_BROKER_H

#include "lattice/bus.h"

typedef struct lw_broker lw_broker;

typedef struct lw_broker_options {
    const char *folder; /* the child's own; made if absent */
    uint64_t node;
    uint8_t lattice[LW_BUS_LATTICE_SIZE];
    uint8_t key[LW_BUS_KEY_SIZE];
    const char *listen_host; /* for other brokers */
    const char *public_host; /* the same host, as others know it */
    uint16_t route_port;     /* 0: a free one, the same at every start */
    /* It takes connections. The next two suspend, and run in the broker's fiber. */
    LW_YIELDS void (*ready)(void *argument, const char *url, const char *token);
    /* It fails again and again, and nobody need try to connect for a while. */
    LW_YIELDS void (*rests)(void *argument);
    /* How many other nodes were heard since the last call. */
    uint32_t (*heard)(void *argument);
    /* Rises as long as the server answers. */
    uint64_t (*beats)(void *argument);
    /* The reason is another, or the address is known. */
    void (*changed)(void *argument);
    void *argument;
} lw_broker_options;

/* Begins to start the server; strings are copied. */
lw_broker *lw_broker_open(lw_env *env, const lw_broker_options *options);
/* Why it does not run, in words; "" while it runs or starts for the first time. */
const char *lw_broker_reason(const lw_broker *broker);
/* "HOST:PORT" for other brokers; "" until it is known. */
const char *lw_broker_address(const lw_broker *broker);
/* How often the server ended without being told to. */
uint64_t lw_broker_exits(const lw_broker *broker);
/* As lw_bus_set_routes. Addresses that cannot be written down safely are left out. New ones are
 * taken in by the next start of the server, which comes soon, unless by then all are heard: others
 * dial, too. */
void lw_broker_set_routes(lw_broker *broker, const char *const *addresses, uint32_t count);
/* Ends the server, which gets half a second for it. */
LW_YIELDS void lw_broker_close(lw_broker *broker);

#endif
