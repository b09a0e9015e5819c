/* SPDX-License-Identifier: Apache-2.0 */
/* Reading without writing, by lease or by a round of heartbeats; and silence, in which neither side
 * has a deadline, because the leader said that nothing was left to say. */
#include "lattice/raft_state.h"

/* ---- leases ---------------------------------------------------------------------------------- */

static uint64_t lease_from(const lw_raft *raft, const lw_raft_member *member) {
    if (member->node == raft->options.self) {
        return UINT64_MAX;
    }
    const lw_raft_peer *peer = lw_raft_peer_of(raft, member->node);
    return peer->lease_from;
}

/* The part of the election timeout that is safe whichever clock is fast (F4). */
static uint64_t lease_ns(const lw_raft_options *options) {
    uint64_t timeout = options->election_timeout_ns;
    return timeout - timeout / 1000000 * 2 * options->drift_ppm -
           timeout % 1000000 * 2 * options->drift_ppm / 1000000;
}

/* Whether what it has committed is all there is, once it is known to lead (R8). */
static bool knows_all(const lw_raft *raft) {
    return raft->role == LW_RAFT_LEADER &&
           (raft->commit >= raft->term_start || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_READ_EARLY));
}

bool lw_raft_lease(const lw_raft *raft, uint64_t now, uint64_t *index) {
    /* A leader that no longer votes has none: those who do may begin anew without asking it. */
    const lw_raft_member *self = lw_raft_config_find(&raft->config, raft->options.self);
    if (!knows_all(raft) || self == NULL || self->membership == LW_RAFT_LEARNER) {
        return false;
    }
    if (raft->transfer_to != 0 && !LW_RAFT_PLANTED(raft, LW_RAFT_BUG_LEASE_IN_TRANSFER)) {
        return false;
    }
    uint64_t from = lw_raft_quorum(raft, lease_from);
    uint64_t length = LW_RAFT_PLANTED(raft, LW_RAFT_BUG_LEASE_WITHOUT_DRIFT)
                          ? raft->options.election_timeout_ns
                          : lease_ns(&raft->options);
    if (from != UINT64_MAX && (from == 0 || now < from || now - from >= length)) {
        return false;
    }
    *index = raft->commit;
    return true;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static uint64_t round_of(const lw_raft *raft, const lw_raft_member *member) {
    if (member->node == raft->options.self || LW_RAFT_PLANTED(raft, LW_RAFT_BUG_READ_UNCONFIRMED)) {
        return raft->round;
    }
    const lw_raft_peer *peer = lw_raft_peer_of(raft, member->node);
    return peer->round;
}

uint64_t lw_raft_round_confirmed(const lw_raft *raft) {
    return lw_raft_quorum(raft, round_of);
}

lw_status lw_raft_read(lw_raft *raft, uint64_t now, lw_raft_ticket *ticket) {
    if (now > raft->now) {
        raft->now = now;
    }
    if (!knows_all(raft)) {
        return lw_fail(LW_UNAVAILABLE, "this node does not lead the group, or does not know yet "
                                       "what was committed before it did");
    }
    lw_raft_busy(raft);
    if (raft->round_sent) {
        raft->round++;
        raft->round_sent = false;
        for (uint32_t place = 0; place < LW_RAFT_MEMBERS_MAX; place++) {
            raft->peers[place].heartbeat_due = raft->peers[place].node != 0;
        }
    }
    *ticket = (lw_raft_ticket){.round = raft->round, .index = raft->commit};
    return LW_OK;
}

/* ---- silence --------------------------------------------------------------------------------- */

void lw_raft_wake(lw_raft *raft, uint64_t now) {
    if (now > raft->now) {
        raft->now = now;
    }
    if (!raft->quiescent) {
        return;
    }
    raft->quiescent = false;
    if (raft->role != LW_RAFT_LEADER) {
        lw_raft_arm_election(raft);
        return;
    }
    raft->busy_at = raft->now;
    raft->heartbeat_at = raft->now + raft->options.heartbeat_ns;
    raft->deadline = raft->now + raft->options.election_timeout_ns;
    for (uint32_t place = 0; place < LW_RAFT_MEMBERS_MAX; place++) {
        lw_raft_peer *peer = &raft->peers[place];
        peer->heard_at = raft->now; /* nobody was asked to answer meanwhile */
        peer->heartbeat_due = peer->node != 0;
    }
}

void lw_raft_busy(lw_raft *raft) {
    lw_raft_wake(raft, raft->now);
    raft->busy_at = raft->now;
}

static uint64_t has_all(const lw_raft *raft, const lw_raft_member *member) {
    if (member->node == raft->options.self) {
        return 1;
    }
    const lw_raft_peer *peer = lw_raft_peer_of(raft, member->node);
    return !peer->unreachable && peer->match == raft->last_index;
}

void lw_raft_rest(lw_raft *raft) {
    LW_ASSERT(raft->role == LW_RAFT_LEADER);
    bool idle = raft->options.quiesce_after_ns != LW_RAFT_NEVER &&
                raft->now - raft->busy_at >= raft->options.quiesce_after_ns;
    bool settled = raft->commit == raft->last_index && raft->persisted == raft->last_index &&
                   raft->commit >= raft->term_start && raft->round == raft->round_readable &&
                   raft->transfer_to == 0 && !lw_raft_config_joint(&raft->config);
    if (!idle || !settled || lw_raft_quorum(raft, has_all) == 0) {
        return;
    }
    for (uint32_t place = 0; place < LW_RAFT_MEMBERS_MAX; place++) {
        const lw_raft_peer *peer = &raft->peers[place];
        if (peer->node != 0 && !peer->unreachable && peer->match != raft->last_index) {
            return;
        }
    }
    raft->quiescent = true;
}
