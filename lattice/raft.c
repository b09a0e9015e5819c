/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/raft_state.h"

/* ---- shared ---------------------------------------------------------------------------------- */

uint64_t lw_raft_chance(lw_raft *raft, uint64_t bound) {
    LW_ASSERT(bound > 0);
    raft->chance += 0x9e3779b97f4a7c15U;
    uint64_t value = raft->chance;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return (value ^ (value >> 31)) % bound;
}

void lw_raft_arm_election(lw_raft *raft) {
    if (!lw_raft_votes(raft)) {
        raft->deadline = LW_RAFT_NEVER;
        return;
    }
    uint64_t timeout = raft->options.election_timeout_ns;
    raft->deadline = raft->now + timeout + lw_raft_chance(raft, timeout);
}

void lw_raft_follow(lw_raft *raft, uint64_t term, uint64_t leader) {
    LW_ASSERT(term >= raft->term);
    if (term > raft->term) {
        raft->term = term;
        raft->vote = 0;
    }
    raft->role = LW_RAFT_FOLLOWER;
    raft->leader = leader;
    raft->quiescent = false;
    raft->prevoting = false;
    raft->handed_over = false;
    raft->requests_due = 0;
    raft->verified = 0;
    raft->acknowledge_due = false;
    raft->acknowledged = 0;
    raft->echo_round = 0;
    raft->echo_sent_at = 0;
    raft->echo_handover = 0;
    raft->transfer_to = 0;
    lw_raft_arm_election(raft);
}

void lw_raft_answer(lw_raft *raft, const lw_raft_reply *reply) {
    lw_raft_reply *slot = NULL;
    for (uint32_t place = 0; place < LW_RAFT_REPLIES_MAX; place++) {
        lw_raft_reply *one = &raft->replies[place];
        if (one->kind != 0 && one->to == reply->to) {
            slot = one;
            break;
        }
        if (one->kind == 0 && slot == NULL) {
            slot = one;
        }
    }
    if (slot != NULL) {
        *slot = *reply;
    }
}

static void pass_time(lw_raft *raft, uint64_t now) {
    if (now > raft->now) {
        raft->now = now;
    }
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void check_options(const lw_raft_options *options) {
    LW_ASSERT(options->self != 0);
    LW_ASSERT(options->commit >= options->start_index);
    LW_ASSERT(options->heartbeat_ns > 0);
    LW_ASSERT(options->heartbeat_ns < options->election_timeout_ns);
    LW_ASSERT(options->drift_ppm < 500000);
    LW_ASSERT(options->entries_in_flight_max > 0);
    LW_ASSERT(options->bytes_in_flight_max > 0);
    LW_ASSERT(options->entries_per_append_max > 0);
    LW_ASSERT(options->config.count == 0 || lw_raft_config_valid(&options->config));
}

void lw_raft_init(lw_raft *raft, const lw_raft_options *options) {
    check_options(options);
    *raft = (lw_raft){
        .options = *options,
        .chance = options->seed,
        .role = LW_RAFT_FOLLOWER,
        .term = options->term,
        .vote = options->vote,
        .deadline = LW_RAFT_NEVER,
        .start_index = options->start_index,
        .start_term = options->start_term,
        .last_index = options->start_index,
        .commit = options->start_index,
        .applied = options->start_index,
        .committed_told = options->start_index,
        .committed_config = options->config,
        .config = options->config,
        .committed_config_index = options->config_index,
        .config_index = options->config_index,
        .told_role = LW_RAFT_FOLLOWER,
    };
}

lw_status lw_raft_replay(lw_raft *raft, uint64_t index, uint64_t term, uint64_t commit,
                         const lw_raft_config *config) {
    if (index <= raft->commit || index > raft->last_index + 1) {
        return lw_fail(LW_CORRUPTION,
                       "a group's log goes on with entry %llu after %llu, of which %llu are "
                       "committed: restore this replica from its peers",
                       (unsigned long long)index, (unsigned long long)raft->last_index,
                       (unsigned long long)raft->commit);
    }
    if (index <= raft->last_index) {
        lw_raft_log_cut(raft, index);
    }
    if (term < lw_raft_last_term(raft) || commit >= index) {
        return lw_fail(LW_CORRUPTION,
                       "entry %llu of a group's log has term %llu after %llu and says that %llu is "
                       "committed: restore this replica from its peers",
                       (unsigned long long)index, (unsigned long long)term,
                       (unsigned long long)lw_raft_last_term(raft), (unsigned long long)commit);
    }
    if (commit > raft->commit) {
        lw_raft_commit(raft, commit);
    }
    if (!lw_raft_log_append(raft, 1, term)) {
        return lw_fail(LW_CORRUPTION,
                       "a group's log holds more than %d terms that are not known to be committed: "
                       "restore this replica from its peers",
                       LW_RAFT_TERMS_MAX);
    }
    if (config != NULL && index > raft->config_index) {
        if (!lw_raft_config_valid(config) || !lw_raft_config_take(raft, index, config)) {
            return lw_fail(LW_CORRUPTION,
                           "entry %llu of a group's log changes its members while a change is in "
                           "flight: restore this replica from its peers",
                           (unsigned long long)index);
        }
    }
    return LW_OK;
}

void lw_raft_start(lw_raft *raft, uint64_t now) {
    raft->now = now;
    /* Zero would mean that nothing was ever granted a vote or a lease in an earlier life. */
    bool reborn = raft->term > 0 && !LW_RAFT_PLANTED(raft, LW_RAFT_BUG_VOTES_AFTER_RESTART);
    raft->quiet_until = reborn ? now + raft->options.election_timeout_ns : now;
    raft->saved_term = raft->term;
    raft->saved_vote = raft->vote;
    raft->asked_term = raft->term;
    raft->asked_vote = raft->vote;
    raft->told_term = raft->term;
    uint64_t last_term = lw_raft_last_term(raft);
    if (last_term > raft->term) {
        raft->term = last_term;
        raft->vote = 0;
    }
    raft->persisted = raft->last_index;
    uint64_t known =
        raft->options.commit < raft->last_index ? raft->options.commit : raft->last_index;
    if (lw_raft_alone(raft)) {
        known = raft->last_index;
    }
    if (known > raft->commit) {
        lw_raft_commit(raft, known);
    }
    lw_raft_arm_election(raft);
    if (lw_raft_alone(raft)) {
        lw_raft_campaign(raft, now);
    }
}

void lw_raft_lead_on(lw_raft *raft, uint64_t persisted, uint64_t now) {
    LW_ASSERT(raft->config.count == 1 && lw_raft_alone(raft));
    LW_ASSERT(raft->term > 0 && raft->start_term == raft->term);
    LW_ASSERT(persisted >= raft->start_index && persisted <= raft->last_index);
    raft->now = now;
    raft->saved_term = raft->asked_term = raft->told_term = raft->term;
    raft->saved_vote = raft->asked_vote = raft->vote;
    raft->persisted = persisted;
    raft->role = LW_RAFT_CANDIDATE;
    lw_raft_lead(raft);
    raft->term_start = raft->start_index;
    raft->told_role = raft->role;
    raft->told_leader = raft->leader;
    lw_raft_count(raft);
}

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t heard_of(const lw_raft *raft, const lw_raft_member *member) {
    if (member->node == raft->options.self) {
        return raft->now;
    }
    const lw_raft_peer *peer = lw_raft_peer_of(raft, member->node);
    return peer->heard_at;
}

/* A leader that no quorum answers makes room for one that may have it (R6). */
static void check_quorum(lw_raft *raft) {
    raft->deadline = lw_raft_quorum(raft, heard_of) + raft->options.election_timeout_ns;
    if (raft->deadline <= raft->now && LW_RAFT_PLANTED(raft, LW_RAFT_BUG_STAYS_UNHEARD)) {
        raft->deadline = raft->now + raft->options.election_timeout_ns;
    } else if (raft->deadline <= raft->now) {
        lw_raft_follow(raft, raft->term, 0);
    }
}

static void beat(lw_raft *raft) {
    raft->heartbeat_at = raft->now + raft->options.heartbeat_ns;
    raft->commit_at_beat = raft->commit;
    lw_raft_rest(raft);
    for (uint32_t place = 0; place < LW_RAFT_MEMBERS_MAX; place++) {
        lw_raft_peer *peer = &raft->peers[place];
        uint64_t since = raft->now - raft->options.heartbeat_ns;
        bool settled = peer->next - 1 == peer->match; /* else a heartbeat shows what was lost */
        bool fresh = settled && peer->sent_at > since && peer->heard_at > since;
        if (peer->node != 0 && (!fresh || raft->quiescent || peer->probe_sent)) {
            peer->heartbeat_due = true;
            peer->probe_sent = false;
        }
    }
}

static void tick_leader(lw_raft *raft) {
    if (raft->transfer_to != 0 && raft->now >= raft->transfer_until) {
        lw_raft_transfer_end(raft);
    }
    if (raft->now >= raft->deadline) {
        check_quorum(raft);
    }
    if (raft->role == LW_RAFT_LEADER && raft->now >= raft->heartbeat_at) {
        beat(raft);
    }
}

void lw_raft_tick(lw_raft *raft, uint64_t now) {
    pass_time(raft, now);
    if (now < lw_raft_deadline(raft)) {
        return;
    }
    if (raft->role == LW_RAFT_LEADER) {
        tick_leader(raft);
    } else {
        lw_raft_arm_election(raft);
        lw_raft_prevote(raft);
    }
}

static bool has_peers(const lw_raft *raft) {
    for (uint32_t place = 0; place < LW_RAFT_MEMBERS_MAX; place++) {
        if (raft->peers[place].node != 0) {
            return true;
        }
    }
    return false;
}

uint64_t lw_raft_deadline(const lw_raft *raft) {
    if (raft->quiescent) {
        return LW_RAFT_NEVER;
    }
    if (raft->role != LW_RAFT_LEADER) {
        return raft->deadline;
    }
    if (!has_peers(raft)) {
        return LW_RAFT_NEVER;
    }
    uint64_t next = raft->deadline < raft->heartbeat_at ? raft->deadline : raft->heartbeat_at;
    if (raft->transfer_to != 0 && raft->transfer_until < next) {
        next = raft->transfer_until;
    }
    return next;
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Someone stands for election in a silent group: whoever is awake then finds out. A follower's
 * silence was its leader's word, which counts until now (F4). */
static void wake_for(lw_raft *raft, const lw_raft_message *message) {
    bool append = message->kind == LW_RAFT_APPEND && raft->role == LW_RAFT_FOLLOWER;
    if (!raft->quiescent || append || lw_raft_stranger(raft, message->from)) {
        return;
    }
    if (raft->role == LW_RAFT_FOLLOWER) {
        raft->heard_at = raft->now;
    }
    lw_raft_wake(raft, raft->now);
}

/* Of the leader of an older term: it learns so, and steps down. */
static void refuse_old(lw_raft *raft, const lw_raft_message *message) {
    if (message->kind != LW_RAFT_APPEND) {
        return;
    }
    lw_raft_answer(raft, &(lw_raft_reply){.kind = LW_RAFT_ACKNOWLEDGE,
                                          .to = message->from,
                                          .term = raft->term,
                                          .index = message->index});
}

/* Believed if it is about a configuration newer than what this node knows itself to be in: news of
 * an earlier removal may come late, when it is a member again (R14). A snapshot that is just taken
 * in was sent to a member, and knows of all up to its index, before the core does. */
static void gone(lw_raft *raft, const lw_raft_message *message) {
    bool named = lw_raft_config_find(&raft->config, raft->options.self) != NULL;
    bool newer =
        message->index > raft->config_index || (message->index == raft->config_index && !named);
    if (raft->installing && message->index <= raft->install_index &&
        !LW_RAFT_PLANTED(raft, LW_RAFT_BUG_GONE_AMID_INSTALL)) {
        return;
    }
    if ((newer || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_GONE_BELIEVED)) &&
        message->index > raft->options.votes_from) {
        raft->removed_by = message->from;
        raft->removed_index = message->index;
    }
}

static void receive_of_term(lw_raft *raft, const lw_raft_message *message, lw_raft_write *write) {
    if (message->term < raft->term) {
        refuse_old(raft, message);
        return;
    }
    if (message->term > raft->term) {
        if (message->kind == LW_RAFT_HAND_OVER) {
            return;
        }
        lw_raft_follow(raft, message->term, 0);
    }
    switch (message->kind) {
    case LW_RAFT_APPEND:
        lw_raft_append_received(raft, message, write);
        break;
    case LW_RAFT_ACKNOWLEDGE:
        lw_raft_acknowledged(raft, message);
        break;
    case LW_RAFT_HAND_OVER:
        lw_raft_handed_over(raft, message);
        break;
    case LW_RAFT_PREVOTE:
    case LW_RAFT_PREVOTE_REPLY:
    case LW_RAFT_VOTE:
    case LW_RAFT_VOTE_REPLY:
    case LW_RAFT_GONE:
        LW_ASSERT(false);
    }
}

void lw_raft_receive(lw_raft *raft, const lw_raft_message *message, uint64_t now,
                     lw_raft_write *write) {
    *write = (lw_raft_write){.cuts = raft->cuts};
    pass_time(raft, now);
    if (message->from == raft->options.self || message->from == 0 || message->term == 0) {
        return;
    }
    wake_for(raft, message);
    switch (message->kind) {
    case LW_RAFT_PREVOTE:
    case LW_RAFT_VOTE:
        lw_raft_vote_asked(raft, message);
        break;
    case LW_RAFT_PREVOTE_REPLY:
    case LW_RAFT_VOTE_REPLY:
        lw_raft_vote_answered(raft, message);
        break;
    case LW_RAFT_GONE:
        gone(raft, message);
        break;
    case LW_RAFT_APPEND:
    case LW_RAFT_ACKNOWLEDGE:
    case LW_RAFT_HAND_OVER:
        receive_of_term(raft, message, write);
        break;
    }
}

/* ---- what became durable, and was applied ---------------------------------------------------- */

void lw_raft_persisted(lw_raft *raft, uint64_t index, uint64_t cuts) {
    if (cuts != raft->cuts && !LW_RAFT_PLANTED(raft, LW_RAFT_BUG_CUTS_IGNORED)) {
        return; /* what replaced it is still to come, and covers it */
    }
    if (index > raft->last_index) {
        index = raft->last_index;
    }
    if (index <= raft->persisted) {
        return;
    }
    raft->persisted = index;
    if (raft->role == LW_RAFT_LEADER) {
        lw_raft_count(raft);
    } else if (raft->leader != 0 && lw_raft_acknowledgeable(raft) > raft->acknowledged) {
        raft->acknowledge_due = true;
    }
}

void lw_raft_saved(lw_raft *raft, uint64_t term, uint64_t vote) {
    if (term != raft->term || vote != raft->vote) {
        return;
    }
    raft->saved_term = term;
    raft->saved_vote = vote;
    if (raft->role == LW_RAFT_CANDIDATE && !raft->prevoting) {
        lw_raft_count_votes(raft);
    }
}

void lw_raft_vouch(lw_raft *raft, uint64_t index) {
    if (index > raft->commit) {
        lw_raft_commit(raft, index);
    }
}

void lw_raft_applied(lw_raft *raft, uint64_t index, uint64_t digest_index, uint64_t digest) {
    LW_ASSERT(index <= raft->commit);
    if (index > raft->applied) {
        raft->applied = index;
    }
    if (digest_index != 0) {
        raft->digest_index = digest_index;
        raft->digest = digest;
    }
}

/* ---- snapshots coming in --------------------------------------------------------------------- */

bool lw_raft_install_begin(lw_raft *raft, uint64_t index, uint64_t term) {
    LW_ASSERT(!raft->installing);
    uint64_t known;
    bool has = lw_raft_term_at(raft, index, &known) && known == term;
    if (has && index > raft->commit) {
        /* What is in a snapshot is committed; the leader must hear that this node has it, or it
         * would send the snapshot for ever. */
        lw_raft_commit(raft, index);
        raft->acknowledge_due = raft->role == LW_RAFT_FOLLOWER && raft->leader != 0;
    }
    if (index <= raft->commit || raft->role == LW_RAFT_LEADER) {
        return false;
    }
    if (raft->role == LW_RAFT_CANDIDATE) {
        lw_raft_follow(raft, raft->term, 0);
    }
    raft->installing = true;
    raft->install_index = index;
    return true;
}

void lw_raft_install_end(lw_raft *raft, uint64_t index, uint64_t term, const lw_raft_config *config,
                         uint64_t config_index, uint64_t now) {
    LW_ASSERT(raft->installing);
    pass_time(raft, now);
    raft->installing = false;
    if (index == 0) {
        return;
    }
    LW_ASSERT(index > raft->commit);
    LW_ASSERT(config_index <= index);
    lw_raft_log_reset(raft, index, term);
    raft->commit = index;
    raft->applied = index;
    raft->committed_told = index;
    raft->verified = index;
    raft->config_index = raft->committed_config_index; /* one in flight went with the log */
    bool taken = lw_raft_config_take(raft, config_index, config);
    LW_ASSERT(taken);
    if (term > raft->term) {
        lw_raft_follow(raft, term, 0);
    }
    raft->acknowledge_due = raft->leader != 0;
}
