/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated world: hosts with disks and clocks, processes on them, a network between them, all
 * in one thread on virtual time, all decided by one 64-bit seed. The processes are production code
 * on an lw_env; scenario code boots, crashes and watches them from outside.
 *
 * Invariants
 * 1. The same seed, faults and scenario give the same events in the same order: lw_world_hash is
 *    equal. Nothing depends on addresses, on the real clock, or on another world in the process.
 * 2. Time moves only between events. Fibers of a process run only within an event of that process,
 *    until none is ready, and their deferred operations last.
 * 3. A buffer that was given to a write or a send must not change until its completion: checked.
 * One given to a read or a receive holds nothing useful until then: overwritten (hazard S7).
 * 4. Scenario code runs outside of fibers: between steps, or in calls made by lw_world_at. */
#ifndef LW_SIM_WORLD_H
#define LW_SIM_WORLD_H

#include "base/env.h"
#include "sim/disk.h"
#include "sim/network.h"

typedef struct lw_world lw_world;
/* A machine: its disk outlives crashes; its name is its address. */
typedef struct lw_host lw_host;

/* Virtual time begins here, in nanoseconds, so that no time is 0. */
#define LW_WORLD_BEGIN_NS UINT64_C(1000000000)

/* ---- the world ------------------------------------------------------------------------------ */

/* `faults` is copied. A failed assertion prints the seed and the last notes of the world that was
 * opened or stepped last. */
lw_world *lw_world_open(uint64_t seed, const lw_faults *faults);
/* Drops everything in it. */
void lw_world_close(lw_world *world);
/* From now on other faults happen: none, say, so that the cluster can show that it heals. */
void lw_world_set_faults(lw_world *world, const lw_faults *faults);
/* Switches a planted bug (LW_BUG) on; `name` outlives the world. */
void lw_world_plant(lw_world *world, const char *name);
/* What strikes in this world: to record it, or to give it (sim/strike.h). */
struct lw_strikes *lw_world_strikes(lw_world *world);
/* Whether something that nobody throws for is to strike, on the occasion of this number: always, or
 * when the list that was given has it. The words say for readers what it does. */
LW_MUST_USE bool lw_world_strike(lw_world *world, lw_fault fault, const char *place,
                                 uint64_t ordinal, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Everything that is no fault takes other times than the seed has: one schedule of many, before
 * there are any hosts; 0: none other. */
void lw_world_reschedule(lw_world *world, uint64_t schedule);
/* Notes from now on what is drawn of the world (sim/page.h), which outlives it. */
struct lw_page;
void lw_world_draw(lw_world *world, struct lw_page *page);
/* Calls function(argument) when an assertion has failed, after the report. */
void lw_world_at_failure(lw_world *world, void (*function)(void *argument), void *argument);
/* Writes every note to `file` as it happens; NULL: no longer. */
void lw_world_trace_to(lw_world *world, FILE *file);

/* Runs one event. False if nothing is left that could happen. */
bool lw_world_step(lw_world *world);
/* Runs all events up to and at `until_ns`, and moves the time there. False if nothing is left. */
bool lw_world_run(lw_world *world, uint64_t until_ns);
/* Virtual nanoseconds. Clocks of hosts may disagree. */
uint64_t lw_world_now(const lw_world *world);
/* Where they stand, for who looks at them often. */
const uint64_t *lw_world_clock(const lw_world *world);
/* The time of day, in milliseconds since 1970, that clocks without a fault show. */
uint64_t lw_world_wall_ms(const lw_world *world);
uint64_t lw_world_hash(const lw_world *world);
uint64_t lw_world_seed(const lw_world *world);
/* A stream of the world's seed for the scenario to draw from. */
lw_chance lw_world_chance(const lw_world *world, const char *purpose);
/* Calls function(argument) at a virtual time, outside of all processes. */
void lw_world_at(lw_world *world, uint64_t time_ns, void (*function)(void *argument),
                 void *argument);

/* From now on the rare path of this name is not taken any more. */
void lw_world_calm(lw_world *world, const char *name);
/* ... or is taken each time, also where no others are. */
void lw_world_insist(lw_world *world, const char *name);
/* How often a mark, a rare path or a fault ("fault.sync_error") was reached. */
uint64_t lw_world_marked(lw_world *world, const char *name);
/* All that were, sorted by name; valid until the next call on this world. */
const lw_mark *const *lw_world_marks(lw_world *world, size_t *count);
/* Writes seed, faults, time and the last notes: for the report of a failure. */
void lw_world_report(const lw_world *world, FILE *to);

lw_network *lw_world_network(lw_world *world);
/* Cuts the way from one host to another, or both ways; mending is the same with `cut` false. */
void lw_world_cut_one_way(lw_world *world, const lw_host *from, const lw_host *to, bool cut);
void lw_world_cut(lw_world *world, const lw_host *one, const lw_host *other, bool cut);
/* Whether what goes from one host to another arrives there now, and how much longer it takes. */
LW_MUST_USE bool lw_world_reaches(const lw_world *world, const lw_host *from, const lw_host *to,
                                  uint64_t *lag_ns);
/* From now on what goes from one host to another takes so much longer; 0: as usual. */
void lw_world_lag(lw_world *world, const lw_host *from, const lw_host *to, uint64_t lag_ns);
/* From now on so many bytes a second get from one host to another; 0: any number. */
void lw_world_clamp(lw_world *world, const lw_host *from, const lw_host *to,
                    uint64_t bytes_per_second);

/* ---- hosts ---------------------------------------------------------------------------------- */

/* The host of this name, made if there is none yet: with power, an empty disk, and nobody on it. */
lw_host *lw_world_host(lw_world *world, const char *name);
const char *lw_host_name(const lw_host *host);
lw_disk *lw_host_disk(lw_host *host);

/* Starts a process, with power if there was none. The env is valid until the host crashes or is
 * killed, or lw_env_close. Several processes may run on one host. */
lw_env *lw_host_boot(lw_host *host);
/* Whether a process runs: false after a crash, so also after lw_host_crash_after has struck. */
bool lw_host_running(const lw_host *host);
/* Power loss: the processes are gone, and so is what the disk does not promise. */
void lw_host_crash(lw_host *host);
/* The processes end, the machine goes on: what they wrote is kept, peers see closed connections. */
void lw_host_kill(lw_host *host);
/* Nothing of the host's processes runs for so long; its kernel does. */
void lw_host_pause(lw_host *host, uint64_t duration_ns);

/* Until when it is, or was. */
uint64_t lw_host_paused_until(const lw_host *host);

/* A step of a host is an operation by which it changes something outside its memory: a write, sync,
 * resize, open that may create, change of a name, or send. */
uint64_t lw_host_steps(const lw_host *host);
typedef enum lw_crash {
    LW_CRASH_BEFORE, /* the step did not happen */
    LW_CRASH_WITHIN, /* it happened in part, if it has parts */
    LW_CRASH_AFTER,  /* it happened, but its process never learned it */
} lw_crash;
/* What happens when a process of the host passes a place in its code: a mark, a rare path, the
 * place of a planted bug, or LW_PLACE_DURABLE_WRITE, where the env is given one. */
#define LW_PLACE_DURABLE_WRITE "a durable write"
typedef struct lw_passage {
    const char *name; /* of the place; NULL: every name of which a hash, divided by `places`, */
    uint64_t places, choice; /* leaves `choice` behind */
    uint64_t count;          /* passes until it happens; 0: none is waited for */
    uint64_t stop_ns;        /* the processor stops there for so long; 0: it goes on */
    uint64_t delay_ns;       /* after which, but not before the turn is over, this is called: */
    void (*function)(void *argument);
    void *argument;
} lw_passage;
/* Waits for one pass, once; one that was waited for before is forgotten. A processor that stops
 * does so within the turn: what the process does afterwards happens so much later, on its clocks,
 * too. */
void lw_host_await(lw_host *host, const lw_passage *passage);

/* Calls function(argument) after each turn in which some process passed the mark of this name, and
 * nothing else that was to be called then. A few marks may be watched. */
void lw_world_watch_mark(lw_world *world, const char *name, void (*function)(void *argument),
                         void *argument);

/* Lets power fail at the host's step number `steps` from now; 0: its next one. */
void lw_host_crash_after(lw_host *host, uint64_t steps, lw_crash crash);

/* Adds to the trace what somebody sees at the host; `text` may be NULL. */
void lw_host_note(const lw_host *host, const char *what, const char *text);
/* The host, on which nothing runs, gets a new, empty disk. */
void lw_host_replace_disk(lw_host *host);
/* From now on disk operations take `factor` times as long; 1: as usual. */
void lw_host_slow_disk(lw_host *host, uint32_t factor);
/* The clocks of the host run fast (or slow) by so many parts per million from now on. */
void lw_host_set_drift(lw_host *host, int32_t drift_ppm);
void lw_host_jump_wall(lw_host *host, int64_t jump_ms);

#endif
