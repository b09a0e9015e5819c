/* SPDX-License-Identifier: Apache-2.0 */
/* A user's workload in a run: what stands in for our own (sim/workload.h) where the run's options
 * name one. sim/lathwork_sim.h promises what is carried out here.
 *
 * Invariants
 * U1. What outlives a client's process belongs to the run: state, notes, how far each client is.
 * U2. After the first failure the run ends: what is found later may follow from it.
 * U3. A callback that returned left nothing open on its client. */
#ifndef LW_SIM_USER_H
#define LW_SIM_USER_H

#include "base/env.h"
#include "sim/lathwork_sim.h"
#include "sim/run.h"

enum {
    LW_USER_NOTES = 24, /* kept for the report */
    LW_USER_NOTE_SIZE = 160,
    LW_USER_ROLE_SIZE = 16,
    LW_USER_ROUNDS_AFTER = 3, /* by which every client must get on after the faults */
};

/* Something that a callback said. */
typedef struct lw_user_note {
    uint64_t time_ns;
    char role[LW_USER_ROLE_SIZE];
    char text[LW_USER_NOTE_SIZE];
} lw_user_note;

/* What is known of a client, whichever process it is. */
typedef struct lw_user_client {
    uint64_t rounds;   /* that returned */
    uint64_t began_ns; /* when the one under way was called; 0: none is */
    bool done;         /* it has done its rounds */
    lw_status last;    /* what its last round returned */
} lw_user_client;

typedef struct lw_user {
    lw_sim_trial *of;
    const lw_sim_workload *workload;
    const char *const *settings; /* ended by NULL; or NULL */
    void *state;
    lw_arena arena; /* of lw_sim_allocate */
    uint64_t pause_ns;
    char name[64]; /* of the run, for the watchdog */
    struct lw_watchdog *watchdog;
    uint64_t look_began_ns; /* when the look at the invariant under way was called; 0: none is */
    lw_user_client clients[LW_SIM_CLIENTS_MAX];
    lw_user_note notes[LW_USER_NOTES]; /* a ring */
    uint64_t note_count;
} lw_user;

/* Who a callback runs as: lives in its process. */
struct lw_sim {
    lw_user *of;
    lw_env *env;
    lw_host *host;
    int number; /* of the client; -1: none */
    char role[LW_USER_ROLE_SIZE];
};

/* Makes what the run needs, in its memory; and gives it back. */
void lw_user_begin(lw_sim_trial *it);
void lw_user_end(lw_sim_trial *it);
/* How many clients the run has. */
uint32_t lw_user_client_count(lw_sim_trial *it);
/* Starts a client in a new process, and whoever looks at the invariant. */
void lw_user_start(lw_sim_trial *it, uint32_t index, lw_env *env);
void lw_user_watch(lw_sim_trial *it);
/* Whether all clients have done their rounds. */
bool lw_user_all_done(const lw_sim_trial *it);
/* Whether its process may end now. */
bool lw_user_mortal(const lw_sim_trial *it, uint32_t index);
/* Sets up, or checks, once. LW_OK: that is over, well or as a failure of the run; else it is to be
 * done again. */
LW_MUST_USE LW_YIELDS lw_status lw_user_judge(lw_sim_trial *it, lw_env *env, lw_client *client,
                                              bool final);
/* Says who has not returned: for a run whose clients do not get on, or do not stop. */
void lw_user_blame(lw_sim_trial *it, const char *what);
/* Writes the last notes. */
void lw_user_report(const lw_user *user, FILE *to);

/* Appends where two runs of one seed part, and what to look for. */
void lw_user_differ(const lw_run_options *options, lw_memory *memory, lw_buffer *text);
/* Notes a failure of the run, with when and whom. */
void lw_user_fail(lw_sim *who, const char *text);

#endif
