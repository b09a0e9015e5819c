/* SPDX-License-Identifier: Apache-2.0 */
/* The resolve machine: what became of a transaction whose lock is in the way, found out by whoever
 * met it, a client or the sweeper of a node. Percolator's lazy clean-up, and the recovery of async
 * commits as in TiKV and CockroachDB (there: parallel commits). Pure: no I/O, no clock, no
 * allocation.
 *
 * The primary decides. If it is locked for an async commit, it decides by what the secondaries are:
 * all locked, and the transaction is committed, whether anybody knows it yet or not; one that is
 * not, and never will be, and it is not. The machine finds out which, has it written down at the
 * primary, and only then says it.
 *
 * The driver asks lw_resolve_machine_next, carries out the action, reports what came of it with
 * lw_resolve_machine_step, until the action is LW_RESOLVE_DONE. Secondaries are known here by their
 * number only, in the order of the CHECK reply.
 *
 * Invariants
 * V1. The fate is committed only after the primary was answered or made so.
 * V2. An async primary is committed only after each secondary, in one run, was found locked with
 *     its commit timestamp, or after one was found committed.
 * V3. An async primary is rolled back only after a secondary was found that is rolled back, or that
 *     has a classic lock while the transaction is to be decided: so that it can never be committed
 *     without its primary.
 * V4. Nothing is rolled back that is alive, unless the transaction is to be decided.
 * V5. Any answer that is late, lost or contradicted by a later one costs at most another run: the
 *     shards decide, each in one step, and what they have decided stays. */
#ifndef LW_TXN_RESOLVE_H
#define LW_TXN_RESOLVE_H

#include "txn/request.h"

typedef enum lw_resolve_action_kind {
    LW_RESOLVE_SEND_CHECK, /* CHECK of the primary, with `decide` and `patient` */
    /* CHECK_SECONDARIES of secondaries from `first` on, as many as lie in one shard, at
     * `commit_timestamp`, with `decide` */
    LW_RESOLVE_SEND_SECONDARIES,
    LW_RESOLVE_SEND_COMMIT,   /* COMMIT of the primary at `commit_timestamp` */
    LW_RESOLVE_SEND_ROLLBACK, /* ROLLBACK of the primary */
    LW_RESOLVE_DONE,
} lw_resolve_action_kind;

typedef struct lw_resolve_action {
    lw_resolve_action_kind kind;
    bool decide, patient;
    uint32_t first;
    uint64_t commit_timestamp;
} lw_resolve_action;

typedef struct lw_resolve_machine {
    lw_resolve_action_kind phase;
    bool decide;   /* do not wait: for the owner, and for a session that is no more */
    bool patient;  /* the lock that was met is alive: its primary's may be on its way */
    bool expired;  /* the async primary is: others may decide */
    uint32_t runs; /* begun */
    uint32_t secondary_count, position;
    uint64_t commit_timestamp;
    /* When done. */
    lw_status status; /* LW_OK, or the first failure */
    lw_fate fate;     /* with LW_OK; ALIVE: undecided, come again later. Never UNKNOWN */
} lw_resolve_machine;

/* What came of the last action. */
typedef struct lw_resolve_event {
    lw_status status; /* of the reply; any that is not expected below ends the machine */
    /* With LW_OK of CHECK. */
    lw_fate fate;
    bool asynchronous, expired;
    uint32_t secondary_count;
    uint64_t commit_timestamp; /* also of SECONDARIES, and of COMMIT */
    /* With LW_OK of SECONDARIES. */
    lw_secondary_state state;
    uint32_t count; /* secondaries it was about; not 0 */
} lw_resolve_event;

/* Begins. `remaining_ms`: how long the lock that was met still lives (lw_obstacle); 0 if it is
 * unknown. `decide`: see above; the fate will not be ALIVE. */
void lw_resolve_machine_init(lw_resolve_machine *resolve, uint64_t remaining_ms, bool decide);
lw_resolve_action lw_resolve_machine_next(const lw_resolve_machine *resolve);
/* Takes what came of the action that lw_resolve_machine_next gave. COMMIT: LW_CONFLICT or
 * LW_INVALID_ARGUMENT, and ROLLBACK: LW_REFUSED mean that somebody else decided meanwhile. */
void lw_resolve_machine_step(lw_resolve_machine *resolve, const lw_resolve_event *event);

/* What the answers mean to the machine. */
lw_resolve_event lw_resolve_checked(const lw_check_reply *reply);
lw_resolve_event lw_resolve_looked(const lw_check_secondaries_reply *reply, uint32_t count);

#endif
