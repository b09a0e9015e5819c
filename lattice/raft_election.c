/* SPDX-License-Identifier: Apache-2.0 */
/* Elections. A candidate first asks whether it would be voted for, so that a node that cannot win
 * does not raise the term of those who have a leader; who hears a leader answers neither question
 * (F4); and a leader that nobody hears steps down, without which the first two could leave a group
 * without one (R6). */
#include "lattice/raft_state.h"

static uint16_t bit_of(const lw_raft *raft, uint64_t node) {
    const lw_raft_member *member = lw_raft_config_find(&raft->config, node);
    if (member == NULL) {
        return 0;
    }
    return (uint16_t)(1U << (member - raft->config.members));
}

/* Whether a promise to a leader forbids to help another candidate. A transfer lifts it, if it is
 * the newest that this leader began. */
static bool bound(const lw_raft *raft, const lw_raft_message *request) {
    if (LW_RAFT_PLANTED(raft, LW_RAFT_BUG_VOTES_FREELY)) {
        return raft->role == LW_RAFT_LEADER;
    }
    if (lw_raft_mute(raft) || raft->now < raft->quiet_until) {
        return true;
    }
    if (request != NULL && request->kind == LW_RAFT_VOTE && request->granted) {
        bool newest =
            request->term - 1 > raft->heard_term ||
            (request->term - 1 == raft->heard_term && request->handover >= raft->heard_handover);
        if (newest || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_OLD_HANDOVER)) {
            return false;
        }
    }
    if (raft->role == LW_RAFT_LEADER || raft->quiescent) {
        return true;
    }
    return raft->heard_term != 0 && raft->now < raft->heard_at + raft->options.election_timeout_ns;
}

/* ---- standing for election ------------------------------------------------------------------- */

static uint16_t voters(const lw_raft *raft) {
    uint16_t bits = 0;
    for (uint32_t place = 0; place < raft->config.count; place++) {
        if (raft->config.members[place].membership != LW_RAFT_LEARNER) {
            bits |= (uint16_t)(1U << place);
        }
    }
    return bits;
}

static void stand(lw_raft *raft) {
    uint16_t self = bit_of(raft, raft->options.self);
    raft->role = LW_RAFT_CANDIDATE;
    raft->leader = 0;
    raft->grants = 0;
    raft->refusals = 0;
    raft->requests_due = voters(raft) & (uint16_t)~self;
}

static void vote_begin(lw_raft *raft) {
    bool handed_over = raft->handed_over;
    lw_raft_follow(raft, raft->term + 1, 0);
    raft->vote = raft->options.self;
    raft->handed_over = handed_over;
    stand(raft);
}

void lw_raft_prevote(lw_raft *raft) {
    if (!lw_raft_electable(raft) || bound(raft, NULL)) {
        return;
    }
    raft->quiescent = false;
    raft->handed_over = false;
    if (lw_raft_alone(raft)) {
        vote_begin(raft);
        return;
    }
    stand(raft);
    raft->prevoting = true;
    raft->grants = bit_of(raft, raft->options.self);
}

void lw_raft_campaign(lw_raft *raft, uint64_t now) {
    if (now > raft->now) {
        raft->now = now;
    }
    bool alone = lw_raft_alone(raft);
    if (raft->role == LW_RAFT_LEADER || (raft->role == LW_RAFT_CANDIDATE && !raft->prevoting)) {
        return;
    }
    if (alone) {
        /* Whoever led before, in a configuration of others, holds no lease under this one: see
         * lw_raft_lease. So a lone node need not wait after its restart. */
        raft->quiet_until = raft->now;
    }
    lw_raft_prevote(raft);
}

static uint64_t granted(const lw_raft *raft, const lw_raft_member *member) {
    return raft->grants >> (member - raft->config.members) & 1;
}

bool lw_raft_granted(const lw_raft *raft, uint64_t node) {
    const lw_raft_member *member = lw_raft_config_find(&raft->config, node);
    bool stands = raft->role == LW_RAFT_CANDIDATE && !raft->prevoting;
    bool leads = raft->role == LW_RAFT_LEADER && raft->config_index < raft->term_start;
    return (stands || leads) && member != NULL && granted(raft, member) != 0;
}

static uint64_t not_refused(const lw_raft *raft, const lw_raft_member *member) {
    return ~((uint64_t)raft->refusals >> (member - raft->config.members)) & 1;
}

void lw_raft_count_votes(lw_raft *raft) {
    LW_ASSERT(raft->role == LW_RAFT_CANDIDATE);
    bool saved = !lw_raft_unsaved(raft) || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_UNSAVED_VOTE);
    if (!raft->prevoting && saved) {
        raft->grants |= bit_of(raft, raft->options.self);
    }
    if (lw_raft_quorum(raft, granted) > 0) {
        if (raft->prevoting) {
            vote_begin(raft);
        } else {
            lw_raft_lead(raft);
        }
    } else if (lw_raft_quorum(raft, not_refused) == 0) {
        lw_raft_follow(raft, raft->term, 0);
    }
}

void lw_raft_vote_answered(lw_raft *raft, const lw_raft_message *message) {
    bool prevote = message->kind == LW_RAFT_PREVOTE_REPLY;
    bool would = prevote && message->granted;
    if (!would && message->term > raft->term) {
        lw_raft_follow(raft, message->term, 0);
        return;
    }
    uint64_t expected = would ? raft->term + 1 : raft->term;
    if (raft->role != LW_RAFT_CANDIDATE || raft->prevoting != prevote ||
        message->term != expected) {
        return;
    }
    uint16_t bit = bit_of(raft, message->from);
    if (message->granted) {
        raft->grants |= bit;
    } else {
        raft->refusals |= bit;
    }
    lw_raft_count_votes(raft);
}

/* ---- being asked ----------------------------------------------------------------------------- */

static bool as_complete(const lw_raft *raft, const lw_raft_message *request) {
    if (LW_RAFT_PLANTED(raft, LW_RAFT_BUG_ANY_LOG_ELECTED)) {
        return true;
    }
    uint64_t last_term = lw_raft_last_term(raft);
    return request->index_term > last_term ||
           (request->index_term == last_term && request->index >= raft->last_index);
}

static void answer(lw_raft *raft, const lw_raft_message *request, bool given, uint64_t term) {
    lw_raft_answer(raft,
                   &(lw_raft_reply){.kind = request->kind == LW_RAFT_PREVOTE ? LW_RAFT_PREVOTE_REPLY
                                                                             : LW_RAFT_VOTE_REPLY,
                                    .to = request->from,
                                    .term = term,
                                    .granted = given});
}

/* Who is no member any more would ask for ever; who is to be one knows a newer configuration, and
 * does not believe it (R14). */
static void tell_gone(lw_raft *raft, const lw_raft_message *request) {
    if (lw_raft_stranger(raft, request->from)) {
        lw_raft_answer(raft, &(lw_raft_reply){.kind = LW_RAFT_GONE,
                                              .to = request->from,
                                              .term = raft->term,
                                              .index = raft->committed_config_index});
    }
}

static void prevote_asked(lw_raft *raft, const lw_raft_message *request) {
    if (request->term <= raft->term) {
        answer(raft, request, false, raft->term);
    } else if (bound(raft, request)) {
        tell_gone(raft, request);
    } else {
        bool would = as_complete(raft, request);
        answer(raft, request, would, would ? request->term : raft->term);
    }
}

static void real_vote_asked(lw_raft *raft, const lw_raft_message *request) {
    if (request->term < raft->term) {
        answer(raft, request, false, raft->term);
        return;
    }
    bool again = request->term == raft->term && raft->vote == request->from;
    if (!again && bound(raft, request)) {
        return;
    }
    if (request->term > raft->term) {
        lw_raft_follow(raft, request->term, 0);
    }
    bool free_to = raft->vote == request->from || (raft->vote == 0 && raft->leader == 0);
    bool given = free_to && as_complete(raft, request);
    if (given) {
        raft->vote = request->from;
        lw_raft_arm_election(raft);
    }
    answer(raft, request, given, raft->term);
}

void lw_raft_vote_asked(lw_raft *raft, const lw_raft_message *message) {
    if (message->kind == LW_RAFT_PREVOTE) {
        prevote_asked(raft, message);
    } else {
        real_vote_asked(raft, message);
    }
}

/* ---- transfer -------------------------------------------------------------------------------- */

lw_status lw_raft_transfer(lw_raft *raft, uint64_t to, uint64_t now) {
    if (now > raft->now) {
        raft->now = now;
    }
    if (raft->role != LW_RAFT_LEADER) {
        return lw_fail(LW_UNAVAILABLE, "leadership is not this node's to hand over");
    }
    const lw_raft_member *member = lw_raft_config_find(&raft->config, to);
    lw_raft_peer *peer = lw_raft_peer_slot(raft, to);
    bool possible = peer != NULL && !peer->unreachable && member != NULL &&
                    (member->membership == LW_RAFT_VOTER || member->membership == LW_RAFT_JOINING);
    if (!possible || raft->transfer_to != 0 || raft->last_index < raft->term_start) {
        return lw_fail(LW_REFUSED,
                       "leadership cannot go to node %016llx now: it must be a voter that can be "
                       "reached, and no other transfer under way",
                       (unsigned long long)to);
    }
    lw_raft_busy(raft);
    raft->transfer_to = to;
    raft->transfer_until = raft->now + raft->options.election_timeout_ns;
    for (uint32_t place = 0; place < LW_RAFT_MEMBERS_MAX; place++) {
        raft->peers[place].lease_from = 0;
    }
    lw_raft_transfer_step(raft);
    return LW_OK;
}

void lw_raft_transfer_step(lw_raft *raft) {
    lw_raft_peer *peer = lw_raft_peer_slot(raft, raft->transfer_to);
    if (peer == NULL) {
        return;
    }
    if (peer->match == raft->last_index) {
        peer->hand_over_due = true;
    }
}

/* Taken back: whoever has heard so no longer helps the candidate that was asked. */
void lw_raft_transfer_end(lw_raft *raft) {
    lw_raft_peer *peer = lw_raft_peer_slot(raft, raft->transfer_to);
    if (peer != NULL) {
        peer->hand_over_due = false;
    }
    raft->transfer_to = 0;
    raft->handover++;
    raft->heard_handover = raft->handover;
}

void lw_raft_handed_over(lw_raft *raft, const lw_raft_message *message) {
    bool current = raft->role == LW_RAFT_FOLLOWER && raft->leader == message->from &&
                   raft->heard_term == message->term &&
                   (message->handover >= raft->heard_handover ||
                    LW_RAFT_PLANTED(raft, LW_RAFT_BUG_OLD_HANDOVER));
    if (!current || !lw_raft_electable(raft) || raft->now < raft->quiet_until) {
        return;
    }
    raft->handed_over = true;
    raft->handover_received = message->handover;
    vote_begin(raft);
}
