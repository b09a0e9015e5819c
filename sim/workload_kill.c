/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions that somebody else kills: who does is told what became of each, and the history must
 * say the same. */
#include "sim/workload_private.h"

enum { COMMITTING_PERCENT = 75 };

uint64_t lw_workload_victim(lw_env *env, const lw_workload_client *clients, uint32_t count) {
    bool committing = workload_below(env, 100) < COMMITTING_PERCENT;
    uint64_t victim = 0, seen = 0;
    for (uint32_t index = 0; index < count; index++) {
        const lw_workload_client *each = &clients[index];
        bool open = each->open != NULL && each->open->known_as != 0;
        if (open && (each->committing || !committing) && workload_below(env, ++seen) == 0) {
            victim = each->open->known_as;
        }
    }
    return victim;
}

void lw_workload_note_kill(lw_workload *workload, const lw_kill_note *note) {
    workload->kills[workload->kill_count++ % LW_KILLS_MAX] = *note;
}

/* Who is told that it was killed is told that it had not committed when that was asked, or if
 * nobody came to lead meanwhile, when it was told. One that loses the node which keeps that in mind
 * may go on, and commit later (node/kill.h: Y2). */
static void judge_kill(lw_workload *workload, const lw_kill_note *kill, const lw_history_txn *txn) {
    bool committed = txn->outcome == LW_OUTCOME_OK && txn->commit_timestamp != 0;
    if (kill->commit_timestamp == 0 && committed && txn->commit_timestamp <= kill->given) {
        lw_buffer_print(&workload->violations,
                        "kills: the transaction of %" PRIu64 " was told to be killed when %" PRIu64
                        " had been given, and has committed at %" PRIu64 "\n",
                        kill->start, kill->given, txn->commit_timestamp);
    }
    bool otherwise = committed && txn->commit_timestamp != kill->commit_timestamp;
    if (kill->commit_timestamp != 0 && (otherwise || txn->outcome == LW_OUTCOME_FAIL)) {
        lw_buffer_print(&workload->violations,
                        "kills: the transaction of %" PRIu64
                        " was told to have committed at %" PRIu64 ", and %s\n",
                        kill->start, kill->commit_timestamp,
                        otherwise ? "did so at another timestamp" : "was refused");
    }
}

void workload_judge_kills(lw_workload *workload) {
    for (const lw_history_txn *txn = workload->history.txns; txn != NULL; txn = txn->next) {
        for (uint32_t index = 0; index < workload->kill_count && index < LW_KILLS_MAX; index++) {
            if (txn->known_as != 0 && txn->known_as == workload->kills[index].start) {
                judge_kill(workload, &workload->kills[index], txn);
            }
        }
    }
}
