/* SPDX-License-Identifier: Apache-2.0 */
/* What a world keeps of its bus: sim/bus.c works on it, sim/world.c and sim/env_sim.c hold it. */
#ifndef LW_SIM_BUS_PRIVATE_H
#define LW_SIM_BUS_PRIVATE_H

#include "sim/fault.h"

struct lw_process;

enum { LW_SIM_BUS_HOSTS_MAX = 64 }; /* whose ways can be cut: a bit each */

typedef struct lw_sim_bus_host {
    uint64_t cut_to;        /* a bit a host, by its number */
    uint64_t held_until_ns; /* until then nothing leaves it: then all comes at once */
    bool stopped;
} lw_sim_bus_host;

typedef struct lw_sim_bus {
    struct lw_world *world;
    lw_dice dice;
    lw_sim_bus_host *hosts; /* by number; those beyond are as they began */
    uint32_t host_count;
    uint64_t serial;               /* of the last member */
    struct lw_sim_member *members; /* oldest first */
} lw_sim_bus;

/* Lives in the world's memory and goes with it. */
lw_sim_bus *lw_sim_bus_of(struct lw_world *world);
/* Drops what a process had open. */
void lw_sim_bus_end_process(lw_sim_bus *whole, const struct lw_process *process);

#endif
