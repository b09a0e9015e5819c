/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/commit.h"

void lw_commit_machine_init(lw_commit_machine *commit, bool one_round, bool may_propose,
                            bool prewritten) {
    LW_ASSERT(!prewritten || (!one_round && !may_propose));
    *commit = (lw_commit_machine){
        .phase = one_round     ? LW_COMMIT_PHASE_NOW
                 : may_propose ? LW_COMMIT_PHASE_PROPOSAL
                               : LW_COMMIT_PHASE_PREWRITE,
        .begins = true,
        .may_propose = may_propose,
        .prewritten = prewritten,
    };
}

lw_commit_action lw_commit_machine_next(const lw_commit_machine *commit) {
    static const lw_commit_action_kind kinds[] = {
        [LW_COMMIT_PHASE_NOW] = LW_COMMIT_SEND_NOW,
        [LW_COMMIT_PHASE_PROPOSAL] = LW_COMMIT_SEND_PROPOSAL,
        [LW_COMMIT_PHASE_VALIDATE_APART] = LW_COMMIT_SEND_VALIDATE_APART,
        [LW_COMMIT_PHASE_PREWRITE] = LW_COMMIT_SEND_PREWRITE,
        [LW_COMMIT_PHASE_TIMESTAMP] = LW_COMMIT_SEND_TIMESTAMP,
        [LW_COMMIT_PHASE_VALIDATE] = LW_COMMIT_SEND_VALIDATE,
        [LW_COMMIT_PHASE_PRIMARY] = LW_COMMIT_SEND_PRIMARY,
        [LW_COMMIT_PHASE_FINISH] = LW_COMMIT_SEND_FINISH,
        [LW_COMMIT_PHASE_ASK] = LW_COMMIT_ASK,
        [LW_COMMIT_PHASE_ROLLBACK] = LW_COMMIT_SEND_ROLLBACK,
        [LW_COMMIT_PHASE_DONE] = LW_COMMIT_DONE,
    };
    if (commit->blocked) {
        return (lw_commit_action){.kind = LW_COMMIT_RESOLVE};
    }
    return (lw_commit_action){.kind = kinds[commit->phase],
                              .begins = commit->begins,
                              .first = commit->primary_done,
                              .timestamp = commit->commit_timestamp != 0 ? commit->commit_timestamp
                                                                         : commit->proposed};
}

static void enter(lw_commit_machine *commit, lw_commit_phase phase) {
    commit->phase = phase;
    commit->begins = true;
    commit->blocked = false;
}

/* ---- good news ------------------------------------------------------------------------------ */

static void succeed(lw_commit_machine *commit, uint64_t commit_timestamp) {
    LW_ASSERT(commit_timestamp != 0);
    commit->commit_timestamp = commit_timestamp;
    commit->outcome = LW_OK;
    commit->lost_now = commit->undetermined = false;
    enter(commit, commit->prewritten ? LW_COMMIT_PHASE_FINISH : LW_COMMIT_PHASE_DONE);
}

/* Goes on behind what was done, or with the next phase when all of this one is. */
static void advance(lw_commit_machine *commit, const lw_commit_event *event, lw_commit_phase next) {
    if (!event->more) {
        enter(commit, next);
    }
}

static void prewrite_done(lw_commit_machine *commit, const lw_commit_event *event) {
    advance(commit, event, LW_COMMIT_PHASE_TIMESTAMP);
    if (commit->phase == LW_COMMIT_PHASE_TIMESTAMP && commit->proposed != 0) {
        succeed(commit, commit->proposed); /* all is locked with it */
    }
}

static void phase_done(lw_commit_machine *commit, const lw_commit_event *event) {
    switch (commit->phase) {
    case LW_COMMIT_PHASE_NOW:
        succeed(commit, event->timestamp);
        break;
    case LW_COMMIT_PHASE_PROPOSAL:
        commit->proposed = event->timestamp;
        enter(commit, LW_COMMIT_PHASE_VALIDATE_APART);
        break;
    case LW_COMMIT_PHASE_VALIDATE_APART:
        advance(commit, event, LW_COMMIT_PHASE_PREWRITE);
        break;
    case LW_COMMIT_PHASE_PREWRITE:
        prewrite_done(commit, event);
        break;
    case LW_COMMIT_PHASE_TIMESTAMP:
        commit->commit_timestamp = event->timestamp;
        enter(commit, LW_COMMIT_PHASE_VALIDATE);
        break;
    case LW_COMMIT_PHASE_VALIDATE:
        advance(commit, event, LW_COMMIT_PHASE_PRIMARY);
        break;
    case LW_COMMIT_PHASE_PRIMARY:
        commit->primary_done = true;
        succeed(commit, commit->commit_timestamp);
        break;
    case LW_COMMIT_PHASE_ASK:
        succeed(commit, event->timestamp);
        break;
    case LW_COMMIT_PHASE_FINISH:
    case LW_COMMIT_PHASE_ROLLBACK:
        advance(commit, event, LW_COMMIT_PHASE_DONE);
        break;
    case LW_COMMIT_PHASE_DONE:
        LW_ASSERT(false && "a reply after the end");
    }
}

/* ---- bad news ------------------------------------------------------------------------------- */

/* Ends with `outcome`: asks first if that is not certain, and rolls back what may be prewritten
 * (C4). */
static void give_up(lw_commit_machine *commit, lw_status outcome) {
    LW_ASSERT(outcome != LW_OK);
    commit->outcome = outcome;
    enter(commit, commit->undetermined || commit->lost_now ? LW_COMMIT_PHASE_ASK
                  : commit->prewritten                     ? LW_COMMIT_PHASE_ROLLBACK
                                                           : LW_COMMIT_PHASE_DONE);
}

/* Whether all may be locked though not all was answered so (C2): when what was lost was all that
 * was missing. What is sent again may have been locked before, whatever is said of it now. */
static bool may_be_all_locked(const lw_commit_machine *commit, const lw_commit_event *event) {
    bool all = commit->again || (event->lost && !event->refused && !event->more);
    return commit->proposed != 0 && event->status != LW_OK && all;
}

/* Learns from the answers of this phase what became of requests whose own answers were lost. */
static void weigh(lw_commit_machine *commit, const lw_commit_event *event) {
    switch (commit->phase) {
    case LW_COMMIT_PHASE_NOW:
        commit->lost_now = (commit->lost_now || event->lost) && !event->denied;
        break;
    case LW_COMMIT_PHASE_PREWRITE:
        /* Whoever locks or refuses a key has looked for a record of the one round there. */
        commit->lost_now = commit->lost_now && !event->looked;
        /* A key that is in conflict is not locked, and one with a classic lock never will be. */
        commit->undetermined = (commit->undetermined || may_be_all_locked(commit, event)) &&
                               !event->denied && !event->classic;
        commit->prewritten = true;
        commit->again = commit->again || event->status != LW_OK;
        commit->proposed = event->classic ? 0 : commit->proposed;
        break;
    case LW_COMMIT_PHASE_PRIMARY:
        commit->undetermined = (commit->undetermined || event->lost) && !event->denied;
        break;
    case LW_COMMIT_PHASE_PROPOSAL:
    case LW_COMMIT_PHASE_VALIDATE_APART:
    case LW_COMMIT_PHASE_TIMESTAMP:
    case LW_COMMIT_PHASE_VALIDATE:
    case LW_COMMIT_PHASE_FINISH:
    case LW_COMMIT_PHASE_ASK:
    case LW_COMMIT_PHASE_ROLLBACK:
    case LW_COMMIT_PHASE_DONE:
        break; /* these say nothing of it */
    }
}

static void phase_failed(lw_commit_machine *commit, const lw_commit_event *event) {
    if (commit->phase == LW_COMMIT_PHASE_FINISH || commit->phase == LW_COMMIT_PHASE_ROLLBACK) {
        enter(commit, LW_COMMIT_PHASE_DONE); /* decided: whoever meets the locks finishes them */
    } else if (commit->phase != LW_COMMIT_PHASE_ASK) {
        give_up(commit, event->status);
    } else if (event->status == LW_NOT_FOUND) {
        commit->lost_now = commit->undetermined = false;
        give_up(commit, commit->outcome);
    } else {
        commit->outcome = LW_UNDETERMINED;
        enter(commit, LW_COMMIT_PHASE_DONE);
    }
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* The keys of some request have moved apart. What was answered already is asked once more. */
static void regroup(lw_commit_machine *commit) {
    if (commit->phase == LW_COMMIT_PHASE_NOW) {
        enter(commit, commit->may_propose ? LW_COMMIT_PHASE_PROPOSAL : LW_COMMIT_PHASE_PREWRITE);
    } else if (commit->phase == LW_COMMIT_PHASE_PREWRITE && commit->proposed != 0) {
        /* Other reads may now lie where nothing is written (C5). */
        enter(commit, LW_COMMIT_PHASE_VALIDATE_APART);
    }
}

void lw_commit_machine_step(lw_commit_machine *commit, const lw_commit_event *event) {
    LW_ASSERT(commit->phase != LW_COMMIT_PHASE_DONE);
    if (commit->blocked) {
        commit->blocked = false;
        if (event->status != LW_OK) {
            phase_failed(commit, event);
        }
        return;
    }
    commit->begins = false;
    weigh(commit, event);
    if (commit->phase == LW_COMMIT_PHASE_PREWRITE && event->timestamp != 0) {
        succeed(commit, event->timestamp); /* it turned out to be committed */
    } else if (commit->phase == LW_COMMIT_PHASE_PREWRITE && commit->exact && event->classic) {
        commit->ungranted = true;
        give_up(commit, LW_CONFLICT); /* C6 */
    } else if (event->status == LW_OK) {
        phase_done(commit, event);
    } else if (event->moved && event->status == LW_UNAVAILABLE) {
        regroup(commit);
    } else if (event->status == LW_CONFLICT && event->obstacle == LW_OBSTACLE_LOCK) {
        commit->blocked = true;
    } else {
        phase_failed(commit, event);
    }
}

/* ---- events --------------------------------------------------------------------------------- */

lw_commit_event lw_commit_event_of(lw_status status, lw_obstacle_kind obstacle, bool lost,
                                   bool moved) {
    bool conflict = status == LW_CONFLICT;
    /* These are said to who waits for a lock, before anything is looked at. */
    bool unseen = obstacle == LW_OBSTACLE_DEADLOCK || obstacle == LW_OBSTACLE_KILLED;
    bool denied = conflict && !unseen;
    lost = lost && status != LW_OK && !denied; /* these know what became of earlier copies */
    return (lw_commit_event){.status = status,
                             .obstacle = conflict ? obstacle : 0,
                             .moved = moved,
                             .looked = status == LW_OK || denied,
                             .denied = denied,
                             .refused = status != LW_OK && !lost,
                             .lost = lost};
}

/* How much a status says: the more it hinders, the more. Keys that have moved outweigh a lock in
 * the way: that is met again. */
static int weight(const lw_commit_event *event) {
    bool lock = event->obstacle == LW_OBSTACLE_LOCK;
    return event->status == LW_OK                            ? 0
           : event->status == LW_CONFLICT                    ? (lock ? 1 : 4)
           : event->moved && event->status == LW_UNAVAILABLE ? 2
                                                             : 3;
}

/* Of two that weigh the same, the one whose numbers are lower. */
static bool outweighs(const lw_commit_event *one, const lw_commit_event *other) {
    if (weight(one) != weight(other)) {
        return weight(one) > weight(other);
    }
    return one->status != other->status ? one->status < other->status
                                        : one->obstacle < other->obstacle;
}

void lw_commit_event_merge(lw_commit_event *into, const lw_commit_event *one) {
    if (outweighs(one, into)) {
        into->status = one->status;
        into->obstacle = one->obstacle;
    }
    into->moved = into->moved || one->moved;
    into->looked = into->looked || one->looked;
    into->denied = into->denied || one->denied;
    into->refused = into->refused || one->refused;
    into->lost = into->lost || one->lost;
    into->classic = into->classic || one->classic;
    into->timestamp = one->timestamp > into->timestamp ? one->timestamp : into->timestamp;
}
