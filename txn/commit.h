/* SPDX-License-Identifier: Apache-2.0 */
/* The commit machine: what the committing client sends next, and what it may believe. Percolator's
 * two-phase commit with the one-round shortcut. Pure: no I/O, no clock, no allocation.
 *
 * The transaction's mutations are known here by their number only, in key order; number 0 is the
 * primary. The driver asks lw_commit_machine_next, carries out the action, reports what came of it
 * with lw_commit_machine_step, until the action is LW_COMMIT_DONE.
 *
 * Invariants
 * C1. The outcome is committed only after the one-round commit or the primary's commit was answered
 *     so.
 * C2. Once a request that may decide was sent and its answer lost, the outcome stays undetermined
 *     until a definite answer comes; no later failure clears it (hazard T9).
 * C3. Secondaries are committed only after the primary was (hazard T1).
 * C4. What was prewritten is rolled back when the outcome is that nothing was committed. */
#ifndef LW_TXN_COMMIT_H
#define LW_TXN_COMMIT_H

#include "base/bytes.h"
#include "txn/request.h"

typedef enum lw_commit_action_kind {
    LW_COMMIT_SEND_NOW,       /* COMMIT_NOW with everything */
    LW_COMMIT_SEND_PREWRITE,  /* PREWRITE of mutations from `first` on, as many as fit a message */
    LW_COMMIT_SEND_TIMESTAMP, /* TIMESTAMP, for the commit timestamp */
    LW_COMMIT_SEND_VALIDATE,  /* VALIDATE of reads from `first` on */
    LW_COMMIT_SEND_COMMIT, /* COMMIT of keys from `first` on; of the primary alone if first is 0 */
    LW_COMMIT_SEND_ROLLBACK, /* ROLLBACK of keys from `first` on */
    LW_COMMIT_RESOLVE,       /* the lock in the way: check its primary, finish it, then go on */
    LW_COMMIT_DONE,
} lw_commit_action_kind;

typedef struct lw_commit_action {
    lw_commit_action_kind kind;
    uint64_t first;
} lw_commit_action;

typedef enum lw_commit_phase {
    LW_COMMIT_PHASE_NOW,
    LW_COMMIT_PHASE_PREWRITE,
    LW_COMMIT_PHASE_TIMESTAMP,
    LW_COMMIT_PHASE_VALIDATE,
    LW_COMMIT_PHASE_PRIMARY,
    LW_COMMIT_PHASE_SECONDARIES,
    LW_COMMIT_PHASE_ROLLBACK,
    LW_COMMIT_PHASE_DONE,
} lw_commit_phase;

typedef struct lw_commit_machine {
    lw_commit_phase phase;
    uint64_t mutation_count, read_count;
    uint64_t position;         /* first mutation or read of the phase not yet done */
    uint64_t prewritten;       /* mutations that may be prewritten somewhere */
    uint64_t commit_timestamp; /* drawn (two phases) or answered (one round) */
    bool blocked;              /* a lock is in the way of the phase */
    bool undetermined;         /* C2 */
    lw_status outcome;         /* when done */
} lw_commit_machine;

/* What came of the last action. */
typedef struct lw_commit_event {
    lw_status status; /* of the reply; LW_TIMEOUT or LW_UNAVAILABLE: there was none in time */
    bool lost;        /* with these: the request may have been carried out all the same */
    lw_obstacle_kind obstacle; /* with LW_CONFLICT */
    uint64_t count;            /* mutations, keys or reads it was about */
    uint64_t timestamp;        /* with LW_OK of NOW and TIMESTAMP */
} lw_commit_event;

/* Begins. `mutation_count` is not 0. `one_round`: everything fits a COMMIT_NOW of one shard.
 * `read_count`: reads to validate in two phases (keys, then ranges). */
void lw_commit_machine_init(lw_commit_machine *commit, uint64_t mutation_count, uint64_t read_count,
                            bool one_round);
lw_commit_action lw_commit_machine_next(const lw_commit_machine *commit);
/* Takes what came of the action that lw_commit_machine_next gave. After RESOLVE: LW_OK means try
 * again. */
void lw_commit_machine_step(lw_commit_machine *commit, const lw_commit_event *event);

#endif
