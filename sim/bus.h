/* SPDX-License-Identifier: Apache-2.0 */
/* The bus of a simulated world: brokers on hosts, joined by routes, that lose, delay, repeat and
 * reorder what is said, and can be cut off from each other without the network knowing, or the
 * other way round.
 *
 * Invariants
 * 1. Two nodes hear each other only if a way of routes leads from one to the other: each route was
 *    given to some node by lw_bus_set_routes. As with NATS one known member is enough, and with
 * none there is nobody to hear.
 * 2. The cuts of the bus are its own: those of the network (sim/network.h) do not concern it.
 * 3. A node that ended hears nothing any more, and what it said arrives all the same. */
#ifndef LW_SIM_BUS_H
#define LW_SIM_BUS_H

#include "lattice/bus.h"
#include "sim/world.h"

enum { LW_SIM_BUS_PORT = 6248 };

/* An lw_bus_opener; `argument` is not used. The broker's address is "HOST:6248", and there is one a
 * host. */
LW_MUST_USE LW_YIELDS lw_status lw_sim_bus_open(void *argument, lw_env *env,
                                                const lw_bus_options *options, lw_bus **bus);

/* Cuts the way of messages from one host's broker to another's, or mends it; not the way back. An
 * island is a set of hosts cut off from all others, both ways. */
void lw_sim_bus_cut_one_way(lw_world *world, const lw_host *from, const lw_host *to, bool cut);
void lw_sim_bus_cut(lw_world *world, const lw_host *one, const lw_host *other, bool cut);
/* Stops the host's broker, or starts it again. The bus of a node there is degraded meanwhile. */
void lw_sim_bus_stop(lw_world *world, const lw_host *host, bool stopped);
/* The host's broker hangs for so long: what is said there comes behind that, in a burst. */
void lw_sim_bus_hold(lw_world *world, const lw_host *host, uint64_t duration_ns);

#endif
