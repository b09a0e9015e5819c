/* SPDX-License-Identifier: Apache-2.0 */
/* Following: which of a leader's entries are taken, and what it is told. Only what conflicts is cut
 * off, since messages come late, twice and in any order, and what was acknowledged must stay. */
#include "lattice/raft_state.h"

uint64_t lw_raft_acknowledgeable(const lw_raft *raft) {
    uint64_t agreed = raft->verified > raft->commit ? raft->verified : raft->commit;
    if (LW_RAFT_PLANTED(raft, LW_RAFT_BUG_UNPERSISTED_ENTRIES)) {
        return agreed;
    }
    return agreed < raft->persisted ? agreed : raft->persisted;
}

/* The leader lives; the newest of what it said comes back with the next acknowledgement. */
static void hear(lw_raft *raft, const lw_raft_message *message) {
    raft->heard_at = raft->now;
    if (raft->heard_term != message->term) {
        raft->heard_term = message->term;
        raft->heard_handover = 0;
    }
    if (message->handover > raft->heard_handover) {
        raft->heard_handover = message->handover;
    }
    if (message->round >= raft->echo_round) {
        raft->echo_round = message->round;
    }
    if (message->sent_at >= raft->echo_sent_at) {
        raft->echo_sent_at = message->sent_at;
        raft->echo_handover = message->handover;
    }
    lw_raft_arm_election(raft);
}

static void refuse(lw_raft *raft, const lw_raft_message *message) {
    uint64_t index = lw_raft_log_find(raft, message->index, message->index_term);
    if (index < raft->commit) {
        index = raft->commit;
    }
    uint64_t term = 0;
    bool known = lw_raft_term_at(raft, index, &term);
    LW_ASSERT(known);
    lw_raft_answer(raft, &(lw_raft_reply){.kind = LW_RAFT_ACKNOWLEDGE,
                                          .to = message->from,
                                          .term = raft->term,
                                          .index = message->index,
                                          .conflict_index = index,
                                          .conflict_term = term,
                                          .round = raft->echo_round,
                                          .sent_at = raft->echo_sent_at,
                                          .handover = raft->echo_handover});
}

/* ---- entries --------------------------------------------------------------------------------- */

static uint32_t message_run(const lw_raft_message *message, uint64_t index) {
    uint32_t run = message->run_count - 1;
    while (run > 0 && message->run_firsts[run] > index) {
        run--;
    }
    return run;
}

static uint64_t message_run_end(const lw_raft_message *message, uint32_t run) {
    uint64_t end = message->index + message->count;
    return run + 1 < message->run_count && message->run_firsts[run + 1] <= end
               ? message->run_firsts[run + 1] - 1
               : end;
}

/* Runs must begin behind `index`, follow each other and rise up to the message's term. */
static bool well_formed(const lw_raft_message *message) {
    if (message->index > UINT64_MAX - message->count - 1 || message->index_term > message->term) {
        return false;
    }
    if (message->count == 0) {
        return true;
    }
    if (message->run_count == 0 || message->run_count > LW_RAFT_RUNS_MAX ||
        message->run_firsts[0] != message->index + 1 ||
        message->run_terms[0] < message->index_term) {
        return false;
    }
    for (uint32_t run = 1; run < message->run_count; run++) {
        if (message->run_firsts[run] <= message->run_firsts[run - 1] ||
            message->run_terms[run] <= message->run_terms[run - 1]) {
            return false;
        }
    }
    return message->run_terms[message->run_count - 1] <= message->term;
}

/* The first entry above `from` that the log lacks or has otherwise; beyond the last: none. */
static uint64_t first_new(const lw_raft *raft, const lw_raft_message *message, uint64_t from) {
    uint64_t end = message->index + message->count;
    uint64_t index = from + 1;
    while (index <= end && index <= raft->last_index) {
        uint32_t run = message_run(message, index);
        uint64_t term = 0;
        bool known = lw_raft_term_at(raft, index, &term);
        LW_ASSERT(known); /* it is not committed */
        if (term != message->run_terms[run] || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_CUT_ALWAYS)) {
            return index;
        }
        uint64_t ours = lw_raft_log_run_end(raft, index);
        uint64_t theirs = message_run_end(message, run);
        index = (ours < theirs ? ours : theirs) + 1;
    }
    return index;
}

/* At most one configuration may be above what is committed (F3); a leader's log never has more. */
static bool configs_fit(const lw_raft *raft, const lw_raft_message *message, uint64_t first,
                        uint64_t commit) {
    uint32_t in_flight =
        lw_raft_config_in_flight(raft) && raft->config_index > commit && raft->config_index < first;
    uint64_t last = message->index;
    for (uint32_t place = 0; place < message->config_count; place++) {
        const lw_raft_config_entry *entry = &message->configs[place];
        if (entry->index <= last || entry->index > message->index + message->count ||
            !lw_raft_config_valid(&entry->config)) {
            return false;
        }
        last = entry->index;
        in_flight += entry->index >= first && entry->index > commit;
    }
    return in_flight <= 1;
}

static void commit_up_to(lw_raft *raft, uint64_t index) {
    if (index > raft->commit) {
        lw_raft_commit(raft, index);
    }
}

/* Appends what is new, as far as there is room for its terms; answers the last that was taken. */
static uint64_t take(lw_raft *raft, const lw_raft_message *message, uint64_t first,
                     lw_raft_write *write) {
    uint64_t end = message->index + message->count;
    if (first <= raft->last_index) {
        lw_raft_log_cut(raft, first);
    }
    uint64_t index = first;
    uint64_t term = 0;
    while (index <= end) {
        uint32_t run = message_run(message, index);
        uint64_t run_end = message_run_end(message, run);
        if (!lw_raft_log_append(raft, (uint32_t)(run_end + 1 - index), message->run_terms[run])) {
            break;
        }
        term = message->run_terms[run];
        index = run_end + 1;
    }
    *write = (lw_raft_write){
        .first = first, .count = (uint32_t)(index - first), .term = term, .cuts = raft->cuts};
    return index - 1;
}

static void take_configs(lw_raft *raft, const lw_raft_message *message, uint64_t first,
                         uint64_t last, uint64_t commit) {
    for (uint32_t place = 0; place < message->config_count; place++) {
        const lw_raft_config_entry *entry = &message->configs[place];
        if (entry->index < first || entry->index > last ||
            entry->index <= raft->committed_config_index) {
            continue; /* what is committed behind it was told before the log had it */
        }
        commit_up_to(raft, entry->index - 1 < commit ? entry->index - 1 : commit);
        bool taken = lw_raft_config_take(raft, entry->index, &entry->config);
        LW_ASSERT(taken || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_CONFIG_KEPT));
    }
    commit_up_to(raft, commit);
}

/* ---- the message ----------------------------------------------------------------------------- */

static bool agrees(const lw_raft *raft, uint64_t index, uint64_t index_term) {
    uint64_t term;
    return lw_raft_term_at(raft, index, &term) && term == index_term;
}

/* An idle leader's last word: true if there is nothing to answer. */
static bool fall_silent(lw_raft *raft, const lw_raft_message *message) {
    bool newest = message->sent_at >= raft->echo_sent_at;
    if (!message->quiesce || !newest || message->index != raft->last_index ||
        raft->commit != raft->last_index || raft->persisted != raft->last_index) {
        return false;
    }
    raft->quiescent = true;
    return true;
}

static void append(lw_raft *raft, const lw_raft_message *message, lw_raft_write *write) {
    uint64_t end = message->index + message->count;
    /* What is committed agrees, wherever the log's start is by now. */
    uint64_t from = message->index < raft->commit ? raft->commit : message->index;
    if (message->index > raft->commit && !agrees(raft, message->index, message->index_term)) {
        refuse(raft, message);
        return;
    }
    uint64_t commit = message->commit < end ? message->commit : end;
    if (message->no_room) {
        commit_up_to(raft, commit);
        refuse(raft, message);
        return;
    }
    if (LW_RAFT_PLANTED(raft, LW_RAFT_BUG_COMMIT_UNVERIFIED)) {
        uint64_t last = raft->last_index > end ? raft->last_index : end;
        commit = message->commit < last ? message->commit : last;
    }
    uint64_t first = end <= from ? end + 1 : first_new(raft, message, from);
    bool news = end > from && first <= end;
    if (news && (!configs_fit(raft, message, first, commit) || !lw_raft_log_room(raft))) {
        return;
    }
    if (news) {
        end = take(raft, message, first, write);
        commit = commit < end ? commit : end;
        take_configs(raft, message, first, end, commit);
    } else {
        commit_up_to(raft, commit);
    }
    raft->verified = end > raft->verified ? end : raft->verified;
    bool silent = message->count == 0 && fall_silent(raft, message);
    bool waits = news && !LW_RAFT_PLANTED(raft, LW_RAFT_BUG_UNPERSISTED_ENTRIES);
    raft->acknowledge_due |= !waits && !silent;
}

void lw_raft_append_received(lw_raft *raft, const lw_raft_message *message, lw_raft_write *write) {
    bool second =
        raft->role == LW_RAFT_LEADER || (raft->leader != 0 && raft->leader != message->from);
    if (second || !well_formed(message)) {
        return; /* nobody else leads in this term */
    }
    if (raft->role == LW_RAFT_CANDIDATE || raft->leader == 0) {
        lw_raft_follow(raft, message->term, message->from);
    }
    raft->quiescent = false;
    hear(raft, message);
    if (raft->installing) {
        raft->acknowledge_due = true;
        return;
    }
    append(raft, message, write);
}
