/* SPDX-License-Identifier: Apache-2.0 */
/* Your own transactions under faults: runs code that is written against lathwork.h in a simulated
 * world, where nodes of the production code crash, disks fail and networks stall, all decided by
 * one seed. What fails once fails again with the same seed.
 *
 *     cc program.c $(pkg-config --cflags --libs lathwork-sim)
 *     ./program --runs 100
 *
 * instead of lathwork, not beside it: this library has all of lathwork.h, in the simulated world.
 * It compiles alone, as C and as C++.
 *
 * Shapes
 *   lw_sim_workload  what a user registers: callbacks, and what they are to find.
 *   lw_sim           who a callback runs as: a client, or whoever sets up or checks.
 *
 * A run. `setup` stores what clients begin with, while nothing goes wrong. Then several clients at
 * once call `client`, each again and again, in trouble; `invariant` is called beside them all the
 * time. After twelve seconds of virtual time, mostly, faults end, and each client has to get on:
 * within a minute of virtual time it must come through a few rounds. Then clients stop, all nodes
 * lose power a last time, and `check` looks at what is left. The run has failed if anything called
 * lw_sim_fail, if a callback returned what it cannot mean, left a transaction open or did not
 * return, or if Lathwork itself broke a promise. Each seed runs twice and must give the same run.
 *
 * In a callback every call of lathwork.h works as it does elsewhere: it blocks its caller, while
 * virtual time goes by and others run. lw_open works too, and reaches the simulated nodes whatever
 * address it is given.
 *
 * What a callback must not do, for it would make two runs of one seed differ:
 *   look at a clock, or sleep  lw_sim_now_us and lw_sim_sleep_us are the world's;
 *   draw random numbers        lw_sim_random is the seed's;
 *   keep state in variables    static ones still hold what the last run left: lw_sim_state is fresh
 *                              in each;
 *   let addresses decide       order by pointer, print %p, hash a pointer;
 *   use threads, sockets, files that change.
 * If two runs of a seed do differ, the failure shows where, and what to look for. A callback runs
 * on a stack of which 100 KiB are its own. Callbacks of one run never run at the same time, and
 * change places only in calls of lathwork.h and in lw_sim_sleep_us: between two of them they may
 * share lw_sim_state freely. */
#ifndef LATHWORK_SIM_H
#define LATHWORK_SIM_H

#include "client/lathwork.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lw_sim lw_sim;

/* ---- what a user registers ------------------------------------------------------------------ */

/* One of the callbacks. `client` is connected, and belongs to the library: not to be closed, and
 * another one the next time. Every transaction begun on it is closed before returning.
 *
 * LW_OK  it came through.
 * What lathwork.h returned otherwise may be returned as it is: that a node did not answer, that
 * another transaction was first, that an outcome is in doubt, is what faults bring. These end the
 * run as failed, with what the client says:
 *   LW_INVALID_ARGUMENT, LW_CORRUPTION (unless the scenario damages disks)  from any;
 *   anything but LW_OK  from `setup` and `check`, where no fault is in the way. They are called
 *                       again after LW_UNAVAILABLE, LW_TIMEOUT, LW_BACKPRESSURE and LW_CONFLICT,
 *                       for a minute of virtual time: they must be ready for that. */
typedef lw_status (*lw_sim_callback)(lw_sim *sim, lw_client *client);

/* Zeroed means: the defaults. All of it outlives the runs. */
typedef struct lw_sim_workload {
    const char *name;          /* for help and reports; NULL: the program's */
    const char *text;          /* what it is about, for help; NULL: nothing */
    lw_sim_callback setup;     /* stores what clients begin with; NULL: nothing */
    lw_sim_callback client;    /* one round of a client; needed */
    lw_sim_callback invariant; /* looks whether all is well, meanwhile; NULL: nobody does */
    lw_sim_callback check;     /* the same at the end, without faults; NULL: likewise */
    size_t state_size;         /* bytes of lw_sim_state */
    uint32_t client_count;     /* 1 to 12; 0: 2 to 6, drawn by seed */
    uint32_t round_count;      /* rounds after which a client is done; 0: until the run ends */
    uint32_t pause_us;     /* at most so long between two rounds of a client; 0: drawn by seed */
    uint32_t duration_ms;  /* of the trouble, virtual; 0: the scenario's */
    uint32_t retention_ms; /* how long nodes keep the past; 0: ten minutes, as they do by default */
    int clients_die;       /* also the clients' processes end, at any moment: their callback does
                              not return, and is called anew. What it had allocated otherwise than
                              by lw_sim_allocate is lost */
    const char *scenario;  /* what may go wrong unless --scenario says; NULL: each in turn */
    void *argument;        /* for lw_sim_argument; read only in callbacks */
} lw_sim_workload;

/* ---- what a callback may call --------------------------------------------------------------- */

/* The client's number, from 0, the same after its process died; -1 in other callbacks. */
LW_PUBLIC int lw_sim_client_number(const lw_sim *sim);
/* How many clients there are in this run. */
LW_PUBLIC int lw_sim_client_count(const lw_sim *sim);
/* `state_size` bytes that all callbacks of a run share; zeros when it begins. */
LW_PUBLIC void *lw_sim_state(const lw_sim *sim);
/* The workload's argument. */
LW_PUBLIC void *lw_sim_argument(const lw_sim *sim);
/* The value of NAME=VALUE on the command line, or in lw_sim_options; NULL: it was not given. */
LW_PUBLIC const char *lw_sim_setting(const lw_sim *sim, const char *name);
/* Zeros that live until the run ends, whichever process dies. */
LW_PUBLIC void *lw_sim_allocate(lw_sim *sim, size_t size);

/* Drawn by seed: any number; one below `bound`, which is not 0. */
LW_PUBLIC uint64_t lw_sim_random(lw_sim *sim);
LW_PUBLIC uint64_t lw_sim_random_below(lw_sim *sim, uint64_t bound);
/* Microseconds of virtual time, as traces and reports tell it: a world begins at one second. */
LW_PUBLIC uint64_t lw_sim_now_us(const lw_sim *sim);
/* Lets virtual time go by: others run meanwhile. Costs no real time. */
LW_PUBLIC void lw_sim_sleep_us(lw_sim *sim, uint64_t duration_us);
/* Whether the run wants its clients to return: what loops for long looks at it. */
LW_PUBLIC int lw_sim_stopping(const lw_sim *sim);

/* Fails the run: what was promised does not hold. It ends once the callback waits or returns. Which
 * bug it is goes by the words before the first colon or digit: so a failure is made smaller. */
LW_PUBLIC void lw_sim_fail(lw_sim *sim, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
/* Says what the caller does: the last ones said tell the story of a failure; --history writes all
 * of them, and --trace puts them between what nodes did. Costs little. */
LW_PUBLIC void lw_sim_note(lw_sim *sim, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
/* Counts that something rare was reached: the summary tells how often. `name` is a constant. */
LW_PUBLIC void lw_sim_mark(lw_sim *sim, const char *name);

/* ---- running -------------------------------------------------------------------------------- */

/* The command line of `lathwork sim`, for this workload: --seed, --runs, --scenario, --nodes,
 * --trace, --history, --json and the others that --help lists; and NAME=VALUE for lw_sim_setting.
 * A failure's report ends with the command that repeats it. Returns the exit code: 0, 1 if a run
 * failed, 2 if the command line is wrong. */
LW_PUBLIC int lw_sim_main(int argc, char **argv, const lw_sim_workload *workload);

/* Zeroed means: seed 1, once, the workload's scenario, or else lattice. */
typedef struct lw_sim_options {
    uint64_t seed;               /* the first one; 0: 1 */
    uint64_t run_count;          /* so many seeds from the first on; 0: 1 */
    const char *scenario;        /* as --scenario takes it */
    uint32_t node_count;         /* 1 to 7; 0: the scenario's */
    const char *const *settings; /* "NAME=VALUE", ended by NULL; or NULL */
    const char *trace_path;      /* where every event is written; NULL: nowhere */
    int once;                    /* do not run each seed twice to compare */
} lw_sim_options;

typedef struct lw_sim_result {
    uint64_t run_count, failed_count;
    uint64_t seed;              /* the first that failed; 0: none */
    uint64_t hash;              /* of the last run: tells whether two were the same */
    uint64_t came_through;      /* rounds of clients that returned LW_OK, */
    uint64_t refused, in_doubt; /* something else, LW_UNDETERMINED */
    uint64_t virtual_ms;        /* simulated, in all runs */
    char failure[4096]; /* of that seed: what was violated, a line each, and what was said */
} lw_sim_result;

/* The same for programs that have a frame of their own, such as a unit test: prints nothing.
 * Returns LW_OK when it could run, whatever it found: see `failed_count`.
 *
 * LW_INVALID_ARGUMENT  the workload has no `client`, or something is beyond what is said above;
 *                      `failure` says what. */
LW_MUST_USE LW_PUBLIC lw_status lw_sim_run(const lw_sim_workload *workload,
                                           const lw_sim_options *options, lw_sim_result *result);

#ifdef __cplusplus
}
#endif

#endif
