/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the world share: world.c (time, hosts, clocks) and env_sim.c (processes). */
#ifndef LW_SIM_WORLD_PRIVATE_H
#define LW_SIM_WORLD_PRIVATE_H

#include "lattice/known.h"
#include "sim/bus_private.h"
#include "sim/page.h"
#include "sim/strike.h"
#include "sim/world.h"

typedef struct lw_process lw_process;

/* Monotonic time is base_ns + elapsed, wall time wall_ns + elapsed, where `elapsed` is the virtual
 * time since `since_ns`, made longer by the drift. */
typedef struct lw_host_clock {
    uint64_t since_ns;
    uint64_t base_ns;
    int64_t wall_ns; /* since 1970 */
    int32_t drift_ppm;
    uint64_t stuck_until_ns; /* virtual: until then the wall clock shows stuck_ms */
    uint64_t stuck_ms;
} lw_host_clock;

struct lw_host {
    lw_world *world;
    lw_host *next;
    char *name;
    uint32_t number; /* in the network */
    uint64_t seed;
    bool power;
    lw_disk *disk;
    lw_dice dice;     /* for what is neither the disk's nor the network's */
    lw_chance timing; /* how long operations take */
    lw_host_clock clock;
    uint32_t disk_factor;
    uint32_t boot_count;
    uint64_t paused_until_ns;
    uint64_t stopped_until_ns; /* what its processes see is this late, if it is not passed */
    lw_passage awaited;
    uint64_t steps;
    uint64_t crash_step; /* of `steps`; 0: none */
    lw_crash crash;
    lw_process *processes; /* oldest first */
};

enum { WORLD_WATCHED_MAX = 12 };

/* A mark, and what is called when it is passed. */
typedef struct world_watched {
    const lw_mark *mark;
    void (*function)(void *argument);
    void *argument;
} world_watched;

struct lw_world {
    lw_memory *memory;
    uint64_t seed;
    uint64_t schedule; /* 0: the seed's own */
    lw_faults faults;
    uint64_t hits[LW_FAULT_COUNT]; /* not yet counted as marks */
    lw_strikes strikes;
    void (*failed)(void *argument); /* called when an assertion has; NULL: nothing is */
    void *failed_argument;
    lw_page *page; /* that is drawn of it; NULL: none */
    lw_agenda agenda;
    lw_trace trace;
    lw_known known; /* to its nodes */
    lw_network *network;
    lw_sim_bus *bus;
    lw_host *hosts;                           /* oldest first */
    uint32_t ready_count;                     /* processes that have ready fibers */
    world_watched watched[WORLD_WATCHED_MAX]; /* see lw_world_watch_mark */
    uint32_t watched_count;
    const lw_mark **listed;
    bool stepping;
};

/* ---- world.c -------------------------------------------------------------------------------- */

/* The virtual time at which the code of its processes is. */
static inline uint64_t lw_host_time(const lw_host *host) {
    uint64_t now = host->world->agenda.now_ns;
    return host->stopped_until_ns > now ? host->stopped_until_ns : now;
}
/* A process of the host passes the place of this name. */
void lw_host_pass(lw_host *host, const char *name);

uint64_t lw_host_clock_now(const lw_host *host);
uint64_t lw_host_clock_wall_ms(lw_host *host);
/* The virtual time at which the host's monotonic clock will show `host_ns`, as it runs now. */
uint64_t lw_host_clock_virtual(const lw_host *host, uint64_t host_ns);

/* ---- env_sim.c ------------------------------------------------------------------------------ */

lw_env *lw_process_open(lw_host *host);
/* Drops a process. What it had in flight happens, or not, or in part. With power its files and
 * connections are closed; without, the disk and the network see to that. */
void lw_process_end(lw_process *process);
lw_process *lw_process_next(const lw_process *process);
/* Runs its ready fibers, unless it is paused. False if there was nothing to run. */
bool lw_process_turn(lw_process *process);
/* Has the process turn when its pause is over. */
void lw_process_resume_at(lw_process *process, uint64_t time_ns);

#endif
