/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/commit.h"

void lw_commit_machine_init(lw_commit_machine *commit, uint64_t mutation_count, uint64_t read_count,
                            bool one_round) {
    LW_ASSERT(mutation_count > 0);
    *commit = (lw_commit_machine){
        .phase = one_round ? LW_COMMIT_PHASE_NOW : LW_COMMIT_PHASE_PREWRITE,
        .mutation_count = mutation_count,
        .read_count = read_count,
    };
}

lw_commit_action lw_commit_machine_next(const lw_commit_machine *commit) {
    static const lw_commit_action_kind kinds[] = {
        [LW_COMMIT_PHASE_NOW] = LW_COMMIT_SEND_NOW,
        [LW_COMMIT_PHASE_PREWRITE] = LW_COMMIT_SEND_PREWRITE,
        [LW_COMMIT_PHASE_TIMESTAMP] = LW_COMMIT_SEND_TIMESTAMP,
        [LW_COMMIT_PHASE_VALIDATE] = LW_COMMIT_SEND_VALIDATE,
        [LW_COMMIT_PHASE_PRIMARY] = LW_COMMIT_SEND_COMMIT,
        [LW_COMMIT_PHASE_SECONDARIES] = LW_COMMIT_SEND_COMMIT,
        [LW_COMMIT_PHASE_ROLLBACK] = LW_COMMIT_SEND_ROLLBACK,
        [LW_COMMIT_PHASE_DONE] = LW_COMMIT_DONE,
    };
    if (commit->blocked) {
        return (lw_commit_action){.kind = LW_COMMIT_RESOLVE};
    }
    return (lw_commit_action){.kind = kinds[commit->phase], .first = commit->position};
}

static void enter(lw_commit_machine *commit, lw_commit_phase phase) {
    commit->phase = phase;
    commit->position = 0;
    commit->blocked = false;
}

/* Ends with `outcome`, after rolling back what may be prewritten (C4). */
static void give_up(lw_commit_machine *commit, lw_status outcome) {
    LW_ASSERT(outcome != LW_OK);
    commit->outcome = outcome;
    bool clean = commit->prewritten == 0 || outcome == LW_UNDETERMINED;
    enter(commit, clean ? LW_COMMIT_PHASE_DONE : LW_COMMIT_PHASE_ROLLBACK);
}

static void validate_or_decide(lw_commit_machine *commit) {
    bool reads = commit->position < commit->read_count;
    commit->phase = reads ? LW_COMMIT_PHASE_VALIDATE : LW_COMMIT_PHASE_PRIMARY;
    commit->position = reads ? commit->position : 0;
}

static void succeed(lw_commit_machine *commit, const lw_commit_event *event) {
    switch (commit->phase) {
    case LW_COMMIT_PHASE_NOW:
        commit->commit_timestamp = event->timestamp;
        commit->outcome = LW_OK;
        enter(commit, LW_COMMIT_PHASE_DONE);
        break;
    case LW_COMMIT_PHASE_PREWRITE:
        LW_ASSERT(event->count > 0);
        commit->position += event->count;
        if (commit->position >= commit->mutation_count) {
            enter(commit, LW_COMMIT_PHASE_TIMESTAMP);
        }
        break;
    case LW_COMMIT_PHASE_TIMESTAMP:
        commit->commit_timestamp = event->timestamp;
        enter(commit, LW_COMMIT_PHASE_VALIDATE);
        validate_or_decide(commit);
        break;
    case LW_COMMIT_PHASE_VALIDATE:
        LW_ASSERT(event->count > 0);
        commit->position += event->count;
        validate_or_decide(commit);
        break;
    case LW_COMMIT_PHASE_PRIMARY:
        commit->outcome = LW_OK;
        commit->undetermined = false;
        enter(commit, LW_COMMIT_PHASE_DONE);
        if (commit->mutation_count > 1) {
            enter(commit, LW_COMMIT_PHASE_SECONDARIES);
            commit->position = 1;
        }
        break;
    case LW_COMMIT_PHASE_SECONDARIES:
    case LW_COMMIT_PHASE_ROLLBACK:
        LW_ASSERT(event->count > 0);
        commit->position += event->count;
        if (commit->position >= (commit->phase == LW_COMMIT_PHASE_ROLLBACK
                                     ? commit->prewritten
                                     : commit->mutation_count)) {
            enter(commit, LW_COMMIT_PHASE_DONE);
        }
        break;
    case LW_COMMIT_PHASE_DONE:
        LW_ASSERT(false && "a reply after the end");
    }
}

/* A reply that says no, or none at all. */
static void fail(lw_commit_machine *commit, const lw_commit_event *event) {
    bool deciding =
        commit->phase == LW_COMMIT_PHASE_NOW || commit->phase == LW_COMMIT_PHASE_PRIMARY;
    if (commit->phase == LW_COMMIT_PHASE_SECONDARIES || commit->phase == LW_COMMIT_PHASE_ROLLBACK) {
        enter(commit, LW_COMMIT_PHASE_DONE); /* decided: whoever meets the locks finishes them */
        return;
    }
    if (deciding && event->lost) {
        commit->undetermined = true;
    }
    /* A conflict is said by who looked for our own record first, so it is definite. Other refusals
     * of a later attempt say nothing of an earlier one. */
    bool definite = event->status == LW_CONFLICT;
    if (commit->undetermined && !definite) {
        give_up(commit, LW_UNDETERMINED);
        return;
    }
    commit->undetermined = false;
    give_up(commit, event->status);
}

void lw_commit_machine_step(lw_commit_machine *commit, const lw_commit_event *event) {
    LW_ASSERT(commit->phase != LW_COMMIT_PHASE_DONE);
    if (commit->blocked) {
        commit->blocked = false;
        if (event->status != LW_OK) {
            fail(commit, event);
        }
        return;
    }
    if (commit->phase == LW_COMMIT_PHASE_PREWRITE) {
        uint64_t reached = commit->position + event->count;
        commit->prewritten = reached > commit->prewritten ? reached : commit->prewritten;
    }
    if (event->status == LW_OK) {
        succeed(commit, event);
    } else if (event->status == LW_CONFLICT && event->obstacle == LW_OBSTACLE_LOCK) {
        /* Somebody's lock, met after our own record was looked for: we have not committed. */
        commit->undetermined = false;
        commit->blocked = true;
    } else {
        fail(commit, event);
    }
}
