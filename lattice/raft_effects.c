/* SPDX-License-Identifier: Apache-2.0 */
/* What is to be done, one effect at a time. Everything is derived from the state when it is asked
 * for, so nothing here queues up, and nothing is sent that is no longer true. */
#include "lattice/raft_state.h"

static bool next_save(lw_raft *raft, lw_raft_effect *effect) {
    bool asked = raft->asked_term == raft->term && raft->asked_vote == raft->vote;
    if (!lw_raft_unsaved(raft) || asked) {
        return false;
    }
    raft->asked_term = raft->term;
    raft->asked_vote = raft->vote;
    *effect = (lw_raft_effect){.kind = LW_RAFT_SAVE, .term = raft->term, .vote = raft->vote};
    return true;
}

static bool next_role(lw_raft *raft, lw_raft_effect *effect) {
    if (raft->told_role == raft->role && raft->told_term == raft->term &&
        raft->told_leader == raft->leader) {
        return false;
    }
    raft->told_role = raft->role;
    raft->told_term = raft->term;
    raft->told_leader = raft->leader;
    *effect = (lw_raft_effect){
        .kind = LW_RAFT_ROLE, .role = raft->role, .term = raft->term, .leader = raft->leader};
    return true;
}

/* ---- messages -------------------------------------------------------------------------------- */

static bool send(lw_raft_effect *effect, const lw_raft_message *message) {
    *effect = (lw_raft_effect){.kind = LW_RAFT_SEND, .message = *message};
    return true;
}

static bool next_request(lw_raft *raft, lw_raft_effect *effect, bool saved) {
    if (raft->requests_due == 0 || (!raft->prevoting && !saved)) {
        return false;
    }
    uint32_t place = (uint32_t)__builtin_ctz(raft->requests_due);
    raft->requests_due &= (uint16_t)(raft->requests_due - 1);
    bool handed = raft->handed_over && !raft->prevoting;
    return send(effect, &(lw_raft_message){
                            .kind = raft->prevoting ? LW_RAFT_PREVOTE : LW_RAFT_VOTE,
                            .from = raft->options.self,
                            .to = raft->config.members[place].node,
                            .term = raft->term + raft->prevoting,
                            .index = raft->last_index,
                            .index_term = lw_raft_last_term(raft),
                            .granted = handed,
                            .handover = handed ? raft->handover_received : 0,
                        });
}

/* Whether an answer may leave (F1), or is void, since the term it was for is over. */
static bool may_leave(const lw_raft *raft, lw_raft_reply *reply, bool saved) {
    if (reply->kind == LW_RAFT_PREVOTE_REPLY || reply->kind == LW_RAFT_GONE) {
        return true;
    }
    if (reply->term != raft->term) {
        reply->kind = 0;
        return false;
    }
    return saved;
}

static bool next_reply(lw_raft *raft, lw_raft_effect *effect, bool saved) {
    for (uint32_t place = 0; place < LW_RAFT_REPLIES_MAX; place++) {
        lw_raft_reply *reply = &raft->replies[place];
        if (reply->kind == 0 || !may_leave(raft, reply, saved)) {
            continue;
        }
        lw_raft_message message = {.kind = reply->kind,
                                   .from = raft->options.self,
                                   .to = reply->to,
                                   .term = reply->term,
                                   .index = reply->index,
                                   .round = reply->round,
                                   .sent_at = reply->sent_at,
                                   .handover = reply->handover,
                                   .granted = reply->granted,
                                   .conflict_index = reply->conflict_index,
                                   .conflict_term = reply->conflict_term};
        reply->kind = 0;
        return send(effect, &message);
    }
    return false;
}

static bool next_acknowledgement(lw_raft *raft, lw_raft_effect *effect) {
    if (!raft->acknowledge_due || raft->leader == 0) {
        return false;
    }
    LW_ASSERT(raft->role == LW_RAFT_FOLLOWER);
    raft->acknowledge_due = false;
    raft->acknowledged = lw_raft_acknowledgeable(raft);
    return send(effect, &(lw_raft_message){.kind = LW_RAFT_ACKNOWLEDGE,
                                           .from = raft->options.self,
                                           .to = raft->leader,
                                           .term = raft->term,
                                           .index = raft->acknowledged,
                                           .round = raft->echo_round,
                                           .sent_at = raft->echo_sent_at,
                                           .handover = raft->echo_handover,
                                           .granted = true,
                                           .digest_index = raft->digest_index,
                                           .digest = raft->digest});
}

static bool next_to_peer(lw_raft *raft, lw_raft_peer *peer, lw_raft_effect *effect) {
    if (peer->hand_over_due) {
        peer->hand_over_due = false;
        return send(effect, &(lw_raft_message){.kind = LW_RAFT_HAND_OVER,
                                               .from = raft->options.self,
                                               .to = peer->node,
                                               .term = raft->term,
                                               .handover = raft->handover});
    }
    lw_raft_message message;
    return lw_raft_append_next(raft, peer, &message) && send(effect, &message);
}

static bool next_append(lw_raft *raft, lw_raft_effect *effect) {
    for (uint32_t place = 0; raft->role == LW_RAFT_LEADER && place < LW_RAFT_MEMBERS_MAX; place++) {
        if (raft->peers[place].node != 0 && next_to_peer(raft, &raft->peers[place], effect)) {
            return true;
        }
    }
    return false;
}

static bool next_message(lw_raft *raft, lw_raft_effect *effect) {
    bool saved = !lw_raft_unsaved(raft) || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_UNSAVED_VOTE);
    if (next_request(raft, effect, saved) || next_reply(raft, effect, saved)) {
        return true;
    }
    return saved && (next_acknowledgement(raft, effect) || next_append(raft, effect));
}

/* ---- the driver's ---------------------------------------------------------------------------- */

static bool next_commit(lw_raft *raft, lw_raft_effect *effect) {
    uint64_t index = raft->commit < raft->persisted ? raft->commit : raft->persisted;
    if (index <= raft->committed_told) {
        return false;
    }
    raft->committed_told = index;
    *effect = (lw_raft_effect){.kind = LW_RAFT_COMMITTED, .index = index};
    return true;
}

static bool next_readable(lw_raft *raft, lw_raft_effect *effect) {
    if (raft->role != LW_RAFT_LEADER || raft->round == raft->round_readable) {
        return false;
    }
    uint64_t round = lw_raft_round_confirmed(raft);
    if (round <= raft->round_readable) {
        return false;
    }
    raft->round_readable = round;
    *effect = (lw_raft_effect){.kind = LW_RAFT_READABLE, .round = round};
    return true;
}

static bool next_snapshot(lw_raft *raft, lw_raft_effect *effect) {
    for (uint32_t place = 0; raft->role == LW_RAFT_LEADER && place < LW_RAFT_MEMBERS_MAX; place++) {
        lw_raft_peer *peer = &raft->peers[place];
        if (peer->node != 0 && peer->state == LW_RAFT_BEHIND && !peer->snapshot_asked &&
            !peer->unreachable) {
            peer->snapshot_asked = true;
            *effect = (lw_raft_effect){.kind = LW_RAFT_SNAPSHOT, .node = peer->node};
            return true;
        }
    }
    return false;
}

static bool next_leave(lw_raft *raft, lw_raft_effect *effect) {
    bool wanted = raft->role == LW_RAFT_LEADER && raft->transfer_to == 0 &&
                  raft->commit >= raft->term_start && !lw_raft_config_in_flight(raft) &&
                  lw_raft_config_joint(&raft->config);
    if (!wanted || raft->leave_asked == raft->config_index) {
        return false;
    }
    raft->leave_asked = raft->config_index;
    *effect = (lw_raft_effect){.kind = LW_RAFT_LEAVE_JOINT};
    return true;
}

static bool next_removed(lw_raft *raft, lw_raft_effect *effect) {
    if (raft->removed_by == 0) {
        return false;
    }
    *effect = (lw_raft_effect){
        .kind = LW_RAFT_REMOVED, .node = raft->removed_by, .index = raft->removed_index};
    raft->removed_by = 0;
    return true;
}

bool lw_raft_next(lw_raft *raft, lw_raft_effect *effect) {
    return next_save(raft, effect) || next_role(raft, effect) || next_message(raft, effect) ||
           next_commit(raft, effect) || next_readable(raft, effect) ||
           next_snapshot(raft, effect) || next_leave(raft, effect) || next_removed(raft, effect);
}
