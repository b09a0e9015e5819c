/* SPDX-License-Identifier: Apache-2.0 */
/* The commit machine: what the committing client sends next, and what it may believe. Percolator's
 * two-phase commit with two shortcuts: one round when everything lies in one shard, and async
 * commit over several, in which the transaction is committed at a timestamp proposed beforehand, at
 * the moment when all of its keys are locked with it. Pure: no I/O, no clock, no allocation.
 *
 * The driver asks lw_commit_machine_next, carries out the action, reports what came of it with
 * lw_commit_machine_step, until the action is LW_COMMIT_DONE. How far it is with a phase is the
 * driver's: an action is about as many of the mutations, keys or reads as it sends at once, in any
 * number of requests, whose answers lw_commit_event_merge turns into one. Mutation number 0 is the
 * primary.
 *
 *   ONE ROUND    now → done; if the keys have moved apart: → one of the others
 *   ASYNC        propose → validate what is read where nothing is written → prewrite, with the rest
 *                of what is read → finish behind the answer → done
 *                a lock that could not be granted so: → two phases from TIMESTAMP on
 *   TWO PHASES   prewrite → timestamp → validate → commit the primary → finish → done
 *
 * Invariants
 * C1. The outcome is committed only after the one-round commit or the primary's commit was answered
 *     so, after all keys were locked with the proposed timestamp, or after somebody who looked said
 *     that it is.
 * C2. Once a request that may decide was sent and its answer lost, the outcome stays undetermined
 *     until a definite answer comes; no later failure clears it (hazard T9). With a proposed
 *     timestamp every prewrite may decide that could be the last missing. A conflict is definite
 *     from who looked for what an earlier copy of the request had left: not one that comes of
 *     waiting for a lock before that.
 * C3. Secondaries are committed only after the transaction was (hazard T1).
 * C4. What was prewritten is rolled back when the outcome is that nothing was committed.
 * C5. What is read is validated up to the commit timestamp before the transaction can be committed
 *     at it: what does not travel with a prewrite before the first prewrite is sent.
 * C6. An exact commit, whose keys hold its timestamp, is committed at that or not at all. */
#ifndef LW_TXN_COMMIT_H
#define LW_TXN_COMMIT_H

#include "base/bytes.h"
#include "txn/request.h"

typedef enum lw_commit_action_kind {
    LW_COMMIT_SEND_NOW,      /* COMMIT_NOW with everything */
    LW_COMMIT_SEND_PROPOSAL, /* TIMESTAMP, for the timestamp of an async commit; one that came after
                                the transaction began will do */
    LW_COMMIT_SEND_VALIDATE_APART, /* VALIDATE, of reads that do not travel with a prewrite */
    LW_COMMIT_SEND_PREWRITE,
    LW_COMMIT_SEND_TIMESTAMP, /* TIMESTAMP, a fresh one, for the commit timestamp */
    LW_COMMIT_SEND_VALIDATE,  /* VALIDATE, of all reads */
    LW_COMMIT_SEND_PRIMARY,   /* COMMIT of the primary */
    LW_COMMIT_SEND_FINISH,    /* COMMIT of keys from `first` on, and of what else is prewritten */
    LW_COMMIT_SEND_ROLLBACK,  /* ROLLBACK of all keys, and of what else is prewritten */
    LW_COMMIT_RESOLVE,        /* the lock in the way: check its primary, finish it, then go on */
    LW_COMMIT_ASK,            /* what became of this transaction: LW_OK with its timestamp, or
                                 LW_NOT_FOUND if it never will be committed */
    LW_COMMIT_DONE,
} lw_commit_action_kind;

typedef struct lw_commit_action {
    lw_commit_action_kind kind;
    bool begins;        /* with the first items of the phase, else with the first not yet done */
    uint32_t first;     /* of FINISH: 0, or 1 if the primary is done */
    uint64_t timestamp; /* of PREWRITE: the proposed one, or 0; of VALIDATE, PRIMARY, FINISH: it */
} lw_commit_action;

typedef enum lw_commit_phase {
    LW_COMMIT_PHASE_NOW,
    LW_COMMIT_PHASE_PROPOSAL,
    LW_COMMIT_PHASE_VALIDATE_APART,
    LW_COMMIT_PHASE_PREWRITE,
    LW_COMMIT_PHASE_TIMESTAMP,
    LW_COMMIT_PHASE_VALIDATE,
    LW_COMMIT_PHASE_PRIMARY,
    LW_COMMIT_PHASE_FINISH,
    LW_COMMIT_PHASE_ASK,
    LW_COMMIT_PHASE_ROLLBACK,
    LW_COMMIT_PHASE_DONE,
} lw_commit_phase;

typedef struct lw_commit_machine {
    lw_commit_phase phase;
    bool begins;               /* nothing of the phase was reported yet */
    bool may_propose;          /* async commit is open to it */
    bool exact;                /* ... and only that: set after the beginning */
    bool ungranted;            /* exact, and the timestamp was not granted: outcome LW_CONFLICT */
    bool primary_done;         /* committed by itself */
    bool prewritten;           /* something may be prewritten somewhere */
    uint64_t proposed;         /* the timestamp of an async commit; 0: none, or not any more */
    uint64_t commit_timestamp; /* once known */
    bool again;                /* some prewrite may have been sent more than once */
    bool blocked;              /* a lock is in the way of the phase */
    bool lost_now;             /* C2, by a one-round commit whose answer was lost */
    bool undetermined;         /* C2, by anything else */
    lw_status outcome;         /* when done */
} lw_commit_machine;

/* What came of the last action. */
typedef struct lw_commit_event {
    lw_status status; /* of the replies, merged; LW_TIMEOUT or LW_UNAVAILABLE: some did not come */
    lw_obstacle_kind obstacle; /* with LW_CONFLICT */
    bool moved;   /* some keys that were to go together lie in several shards; done otherwise */
    bool looked;  /* some answer came from who first looked for what this transaction left there */
    bool denied;  /* ... and found that a key is neither locked nor committed */
    bool refused; /* some request certainly did nothing */
    bool lost;    /* some request may have been carried out, though no answer says so */
    bool classic; /* of PREWRITE with a proposed timestamp: some lock is not granted with it */
    bool more;    /* items of the phase are left behind these */
    uint64_t timestamp; /* with LW_OK of NOW, PROPOSAL, TIMESTAMP, ASK; of a PREWRITE: at which the
                           transaction turned out to be committed already, or 0 */
} lw_commit_event;

/* Begins. `one_round`: everything fits a COMMIT_NOW of one shard; `may_propose`: an async commit is
 * open to it if that is not so. `prewritten`: something of it is already (a large transaction). */
void lw_commit_machine_init(lw_commit_machine *commit, bool one_round, bool may_propose,
                            bool prewritten);
lw_commit_action lw_commit_machine_next(const lw_commit_machine *commit);
/* Takes what came of the action that lw_commit_machine_next gave. After RESOLVE: LW_OK means try
 * again. */
void lw_commit_machine_step(lw_commit_machine *commit, const lw_commit_event *event);
/* The event of one request, given the status of its reply, or of none. */
lw_commit_event lw_commit_event_of(lw_status status, lw_obstacle_kind obstacle, bool lost,
                                   bool moved);
/* Adds what came of another request of the same action; `into` begins zeroed, `more` is the
 * driver's. Comes to the same in any order: what ends the commit outweighs what makes it wait.
 */
void lw_commit_event_merge(lw_commit_event *into, const lw_commit_event *one);

#endif
