/* SPDX-License-Identifier: Apache-2.0 */
/* Leading: what each member is sent next, and what a quorum has. A peer is probed until an append
 * fits, then entries flow without waiting for answers, up to a bound; heartbeats go by the same
 * path and claim that everything sent has arrived, so that a lost message is noticed by the next.
 */
#include "lattice/raft_state.h"

lw_raft_peer *lw_raft_peer_slot(lw_raft *raft, uint64_t node) {
    for (uint32_t place = 0; node != 0 && place < LW_RAFT_MEMBERS_MAX; place++) {
        if (raft->peers[place].node == node) {
            return &raft->peers[place];
        }
    }
    return NULL;
}

const lw_raft_peer *lw_raft_peer_of(const lw_raft *raft, uint64_t node) {
    for (uint32_t place = 0; node != 0 && place < LW_RAFT_MEMBERS_MAX; place++) {
        if (raft->peers[place].node == node) {
            return &raft->peers[place];
        }
    }
    return NULL;
}

void lw_raft_peers_set(lw_raft *raft) {
    lw_raft_peer before[LW_RAFT_MEMBERS_MAX];
    memcpy(before, raft->peers, sizeof(before));
    memset(raft->peers, 0, sizeof(raft->peers));
    uint32_t count = 0;
    for (uint32_t place = 0; place < raft->config.count; place++) {
        uint64_t node = raft->config.members[place].node;
        if (node == raft->options.self) {
            continue;
        }
        lw_raft_peer *peer = &raft->peers[count++];
        *peer = (lw_raft_peer){.node = node,
                               .state = LW_RAFT_PROBE,
                               .next = raft->last_index + 1,
                               .heard_at = raft->now,
                               .heartbeat_due = true};
        for (uint32_t old = 0; old < LW_RAFT_MEMBERS_MAX; old++) {
            if (before[old].node == node) {
                *peer = before[old];
            }
        }
    }
}

void lw_raft_lead(lw_raft *raft) {
    LW_ASSERT(raft->role == LW_RAFT_CANDIDATE);
    LW_ASSERT(!raft->installing);
    raft->role = LW_RAFT_LEADER;
    raft->leader = raft->options.self;
    raft->requests_due = 0;
    raft->handed_over = false;
    raft->term_start = raft->last_index + 1;
    raft->leave_asked = 0;
    raft->round++;
    raft->round_readable = raft->round;
    raft->round_sent = true;
    raft->handover = 0;
    raft->heard_term = raft->term;
    raft->heard_handover = 0;
    raft->transfer_to = 0;
    raft->commit_at_beat = raft->last_index + 1;
    raft->busy_at = raft->now;
    raft->heartbeat_at = raft->now + raft->options.heartbeat_ns;
    raft->deadline = raft->now + raft->options.election_timeout_ns;
    memset(raft->peers, 0, sizeof(raft->peers));
    lw_raft_peers_set(raft);
}

/* ---- proposing ------------------------------------------------------------------------------- */

static lw_status check_config(lw_raft *raft, uint32_t count, const lw_raft_config *config) {
    bool early =
        raft->commit < raft->term_start && !LW_RAFT_PLANTED(raft, LW_RAFT_BUG_CHANGES_EARLY);
    if (count != 1 || early || lw_raft_config_in_flight(raft) ||
        !lw_raft_config_follows(raft, config)) {
        return lw_fail(LW_REFUSED,
                       "the members of this group cannot change so, or not now: one change at a "
                       "time, and new voters must have caught up");
    }
    return LW_OK;
}

lw_status lw_raft_propose(lw_raft *raft, uint32_t count, const lw_raft_config *config, uint64_t now,
                          lw_raft_write *write) {
    LW_ASSERT(count > 0);
    if (now > raft->now) {
        raft->now = now;
    }
    if (raft->role != LW_RAFT_LEADER || raft->transfer_to != 0) {
        return lw_fail(LW_UNAVAILABLE, "this node does not lead the group, or hands it over");
    }
    if (config != NULL) {
        LW_TRY(check_config(raft, count, config));
    }
    bool appended = lw_raft_log_append(raft, count, raft->term);
    LW_ASSERT(appended); /* lw_raft_electable saw that there is room for a term */
    if (config != NULL) {
        bool taken = lw_raft_config_take(raft, raft->last_index, config);
        LW_ASSERT(taken);
    }
    lw_raft_busy(raft);
    *write = (lw_raft_write){.first = raft->last_index + 1 - count,
                             .count = count,
                             .term = raft->term,
                             .cuts = raft->cuts};
    return LW_OK;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void probe_from(lw_raft_peer *peer, uint64_t next) {
    peer->state = LW_RAFT_PROBE;
    peer->next = next;
    peer->probe_sent = false;
    peer->bytes_in_flight = 0;
    peer->snapshot_asked = false;
}

static bool wants_entries(const lw_raft *raft, const lw_raft_peer *peer) {
    if (peer->loading || peer->unreachable || peer->next > raft->last_index) {
        return false;
    }
    if (peer->state == LW_RAFT_PROBE) {
        return !peer->probe_sent;
    }
    return peer->state == LW_RAFT_REPLICATE &&
           peer->next - 1 - peer->match < raft->options.entries_in_flight_max &&
           peer->bytes_in_flight < raft->options.bytes_in_flight_max;
}

/* As many entries from peer->next on as may be in flight, and of few terms. */
static void name_entries(const lw_raft *raft, const lw_raft_peer *peer, lw_raft_message *message) {
    uint64_t room = raft->options.entries_in_flight_max;
    if (peer->state == LW_RAFT_REPLICATE) {
        room -= peer->next - 1 - peer->match;
    }
    if (room > raft->options.entries_per_append_max) {
        room = raft->options.entries_per_append_max;
    }
    uint64_t end = raft->last_index - peer->next < room ? raft->last_index : peer->next + room - 1;
    uint64_t index = peer->next;
    while (index <= end && message->run_count < LW_RAFT_RUNS_MAX) {
        uint64_t term = 0;
        bool known = lw_raft_term_at(raft, index, &term);
        LW_ASSERT(known);
        message->run_firsts[message->run_count] = index;
        message->run_terms[message->run_count] = term;
        message->run_count++;
        index = lw_raft_log_run_end(raft, index) + 1;
    }
    uint64_t last = index - 1 < end ? index - 1 : end;
    message->count = (uint32_t)(last + 1 - peer->next);
}

static bool previous_known(const lw_raft *raft, const lw_raft_peer *peer, uint64_t *term) {
    return lw_raft_term_at(raft, peer->next - 1, term);
}

bool lw_raft_append_next(lw_raft *raft, lw_raft_peer *peer, lw_raft_message *message) {
    uint64_t term = 0;
    bool entries = wants_entries(raft, peer);
    if (!entries && !peer->heartbeat_due) {
        return false;
    }
    bool known = peer->state != LW_RAFT_BEHIND && previous_known(raft, peer, &term);
    if (!known) {
        peer->state = LW_RAFT_BEHIND;
        entries = false;
        if (!peer->heartbeat_due) {
            return false;
        }
    }
    *message = (lw_raft_message){.kind = LW_RAFT_APPEND,
                                 .from = raft->options.self,
                                 .to = peer->node,
                                 .term = raft->term,
                                 .index = known ? peer->next - 1 : 0,
                                 .index_term = term,
                                 .commit = raft->commit,
                                 .round = raft->round,
                                 .sent_at = raft->now,
                                 .handover = raft->handover,
                                 .digest_index = raft->digest_index,
                                 .digest = raft->digest};
    if (entries) {
        name_entries(raft, peer, message);
        peer->loading = true;
        peer->probe_sent = peer->state == LW_RAFT_PROBE;
    }
    message->quiesce = raft->quiescent && !entries && peer->match == raft->last_index;
    peer->heartbeat_due = false;
    peer->sent_at = raft->now;
    raft->round_sent = true;
    return true;
}

void lw_raft_sent(lw_raft *raft, uint64_t node, uint64_t term, uint32_t count, size_t bytes) {
    lw_raft_peer *peer = lw_raft_peer_slot(raft, node);
    if (raft->role != LW_RAFT_LEADER || raft->term != term || peer == NULL || !peer->loading) {
        return;
    }
    peer->loading = false;
    if (count == 0) {
        probe_from(peer, peer->match + 1);
        peer->probe_sent = true;
    } else if (peer->state == LW_RAFT_REPLICATE) {
        peer->next += count;
        peer->bytes_in_flight += bytes;
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static uint64_t matched(const lw_raft *raft, const lw_raft_member *member) {
    if (member->node == raft->options.self) {
        return raft->persisted;
    }
    const lw_raft_peer *peer = lw_raft_peer_of(raft, member->node);
    return peer->match;
}

void lw_raft_count(lw_raft *raft) {
    LW_ASSERT(raft->role == LW_RAFT_LEADER);
    uint64_t index = lw_raft_quorum(raft, matched);
    uint64_t term = 0;
    if (index <= raft->commit || index > raft->last_index || !lw_raft_term_at(raft, index, &term)) {
        return;
    }
    if (term == raft->term || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_OLD_TERM_COUNTED)) {
        lw_raft_commit(raft, index);
    }
}

/* It answered: alive, and for as long as it keeps its word it elects nobody else (F4). */
static void note_answer(lw_raft *raft, lw_raft_peer *peer, const lw_raft_message *message) {
    peer->heard_at = raft->now;
    peer->unreachable = false;
    if (message->round > peer->round && message->round <= raft->round) {
        peer->round = message->round;
    }
    bool counts = message->handover == raft->handover && message->sent_at <= raft->now &&
                  (raft->transfer_to == 0 || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_LEASE_IN_TRANSFER));
    if (LW_RAFT_PLANTED(raft, LW_RAFT_BUG_OLD_HANDOVER)) {
        counts = raft->transfer_to == 0;
    }
    if (counts && message->sent_at > peer->lease_from) {
        peer->lease_from =
            LW_RAFT_PLANTED(raft, LW_RAFT_BUG_LEASE_FROM_ANSWER) ? raft->now : message->sent_at;
    }
}

/* Goes back to where the logs may agree; a refusal of what is settled by now says nothing. */
static void refused(lw_raft *raft, lw_raft_peer *peer, const lw_raft_message *message) {
    /* A learner that was a member before may have been taken away, and begin anew (R14). So may a
     * voter that threw away what was damaged: it has nothing then, and does not vote until it knows
     * as much as before (votes_from), so that it may be counted as one that is merely slow. */
    if (message->conflict_index < peer->match &&
        (message->conflict_index == 0 ||
         lw_raft_config_find(&raft->config, peer->node)->membership == LW_RAFT_LEARNER)) {
        peer->match = message->conflict_index;
    }
    bool no_room = message->conflict_index >= message->index;
    uint64_t settled = no_room ? peer->match : peer->match + 1; /* what is below says nothing */
    bool stale = peer->state == LW_RAFT_REPLICATE ? message->index < settled
                                                  : message->index != peer->next - 1;
    if (peer->state == LW_RAFT_BEHIND || stale) {
        return;
    }
    uint64_t agree = lw_raft_log_find(raft, message->conflict_index, message->conflict_term);
    probe_from(peer, (agree > peer->match ? agree : peer->match) + 1);
    lw_raft_busy(raft);
}

static void advance(lw_raft *raft, lw_raft_peer *peer, uint64_t index) {
    if (index > peer->match) {
        uint64_t before = peer->next - 1 - peer->match;
        uint64_t after = peer->next - 1 > index ? peer->next - 1 - index : 0;
        if (before > 0) {
            peer->bytes_in_flight = peer->bytes_in_flight / before * after;
        }
        peer->match = index;
        if (peer->next <= index) {
            peer->next = index + 1;
        }
        lw_raft_busy(raft);
    }
    bool found = peer->state == LW_RAFT_PROBE && index + 1 >= peer->next;
    uint64_t term;
    bool returned = peer->state == LW_RAFT_BEHIND && lw_raft_term_at(raft, peer->match, &term);
    if (found || returned) {
        probe_from(peer, peer->match + 1);
        peer->state = LW_RAFT_REPLICATE;
    }
}

void lw_raft_acknowledged(lw_raft *raft, const lw_raft_message *message) {
    lw_raft_peer *peer = lw_raft_peer_slot(raft, message->from);
    if (raft->role != LW_RAFT_LEADER || peer == NULL) {
        return;
    }
    note_answer(raft, peer, message);
    if (!message->granted) {
        refused(raft, peer, message);
        return;
    }
    if (message->index > raft->last_index) {
        return; /* it claims what was never sent */
    }
    advance(raft, peer, message->index);
    lw_raft_count(raft);
    if (raft->role == LW_RAFT_LEADER && raft->transfer_to != 0) {
        lw_raft_transfer_step(raft);
    }
}

void lw_raft_snapshot_sent(lw_raft *raft, uint64_t node, uint64_t index, uint64_t now) {
    if (now > raft->now) {
        raft->now = now;
    }
    lw_raft_peer *peer = lw_raft_peer_slot(raft, node);
    if (raft->role != LW_RAFT_LEADER || peer == NULL || peer->state != LW_RAFT_BEHIND) {
        return;
    }
    probe_from(peer, (index > peer->match ? index : peer->match) + 1);
    peer->probe_sent = index == 0;
    lw_raft_busy(raft);
}

bool lw_raft_caught_up(const lw_raft *raft, uint64_t node) {
    const lw_raft_peer *peer = lw_raft_peer_of(raft, node);
    const lw_raft_member *member = lw_raft_config_find(&raft->config, node);
    if (raft->role != LW_RAFT_LEADER || peer == NULL || member == NULL) {
        return false;
    }
    /* In silence nobody is heard, and nobody is behind. */
    bool heard = raft->quiescent || raft->now < peer->heard_at + raft->options.election_timeout_ns;
    return member->membership == LW_RAFT_LEARNER && !peer->unreachable && heard &&
           peer->match >= raft->commit_at_beat && peer->match >= raft->config_index;
}

/* ---- links ----------------------------------------------------------------------------------- */

/* Its leader mostly is dead then, and others notice too. What was promised to it counts until its
 * time is up (F4), there as well as here, but then nothing more is worth waiting for than that not
 * all stand at once. */
static void expect_no_more(lw_raft *raft) {
    uint64_t timeout = raft->options.election_timeout_ns;
    uint64_t over = raft->heard_at + timeout + timeout / 16;
    uint64_t soon = (over > raft->now ? over : raft->now) + lw_raft_chance(raft, timeout / 3);
    if (lw_raft_votes(raft) && soon < raft->deadline) {
        raft->deadline = soon;
    }
}

void lw_raft_unreachable(lw_raft *raft, uint64_t node, uint64_t now) {
    if (now > raft->now) {
        raft->now = now;
    }
    lw_raft_peer *peer = lw_raft_peer_slot(raft, node);
    if (raft->role == LW_RAFT_LEADER && peer != NULL) {
        peer->unreachable = true;
        if (peer->state == LW_RAFT_REPLICATE) {
            probe_from(peer, peer->match + 1);
        }
        if (raft->quiescent) {
            lw_raft_wake(raft, raft->now);
        }
    } else if (raft->quiescent && raft->leader == node) {
        lw_raft_wake(raft, raft->now);
        raft->deadline = raft->now + lw_raft_chance(raft, raft->options.election_timeout_ns);
    } else if (raft->role == LW_RAFT_FOLLOWER && raft->leader == node) {
        expect_no_more(raft);
    }
}

void lw_raft_reachable(lw_raft *raft, uint64_t node, uint64_t now) {
    if (now > raft->now) {
        raft->now = now;
    }
    lw_raft_peer *peer = lw_raft_peer_slot(raft, node);
    if (raft->role != LW_RAFT_LEADER || peer == NULL) {
        return;
    }
    peer->unreachable = false;
    peer->heartbeat_due = true;
    if (raft->quiescent) {
        lw_raft_wake(raft, raft->now);
    }
}
