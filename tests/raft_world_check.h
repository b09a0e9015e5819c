/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold at every step of tests/raft_world.h, judged from outside the core:
 *
 *   election safety      one leader a term
 *   vote safety          one vote a term, on disk before it is given, over restarts too
 *   persistence          what is acknowledged is on disk
 *   state machine safety the committed entry of an index is the same everywhere
 *   leader completeness  who begins to lead has all that was committed in earlier terms
 *   lease exclusivity    one lease at one true instant, and it knows all that was acknowledged
 *   reads                a confirmed read knows all that was acknowledged before it began */
#ifndef LW_TESTS_RAFT_WORLD_CHECK_H
#define LW_TESTS_RAFT_WORLD_CHECK_H

#include "tests/raft_world_state.h"

static inline bool same_entry(const entry *a, const entry *b) {
    return a->term == b->term && a->value == b->value;
}

static inline void check_vote(world *w, uint64_t voter, uint64_t term, uint64_t candidate) {
    const node *n = &w->nodes[voter];
    if (n->disk.term != term || n->disk.vote != candidate) {
        world_fail(w, "node %d votes in term %d before that is on disk", (int)voter, (int)term);
    }
    if (term >= TERM_MAX) {
        world_fail(w, "too many terms");
        return;
    }
    uint64_t *voted = &w->voted_for[voter][term];
    if (*voted != 0 && *voted != candidate && term > w->wiped[voter]) {
        world_fail(w, "node %d votes for %d and %d in term %d", (int)voter, (int)*voted,
                   (int)candidate, (int)term);
    }
    *voted = candidate;
}

static inline void check_sent(world *w, const lw_raft_message *message) {
    const node *n = &w->nodes[message->from];
    bool promises = message->kind != LW_RAFT_PREVOTE && message->kind != LW_RAFT_PREVOTE_REPLY &&
                    message->kind != LW_RAFT_GONE;
    if (promises && n->disk.term < message->term) {
        world_fail(w, "node %d speaks of term %d before it is on disk", (int)message->from,
                   (int)message->term);
    }
    if (message->kind == LW_RAFT_VOTE) {
        check_vote(w, message->from, message->term, message->from);
    }
    if (message->kind == LW_RAFT_VOTE_REPLY && message->granted) {
        check_vote(w, message->from, message->term, message->to);
    }
    if (message->kind == LW_RAFT_ACKNOWLEDGE && message->granted &&
        message->index > n->disk.start &&
        (n->disk.last < message->index ||
         !same_entry(&n->disk.entries[message->index], &n->log[message->index]))) {
        world_fail(w, "node %d acknowledges %d before it is on disk", (int)message->from,
                   (int)message->index);
    }
}

static inline void check_leader(world *w, uint64_t id) {
    const node *n = &w->nodes[id];
    uint64_t term = n->raft.term;
    if (term >= TERM_MAX || (w->leader_of[term] != 0 && w->leader_of[term] != id)) {
        world_fail(w, "nodes %d and %d lead term %d",
                   (int)(term < TERM_MAX ? w->leader_of[term] : 0), (int)id, (int)term);
        return;
    }
    w->leader_of[term] = id;
    for (uint64_t index = n->disk.start + 1; index <= w->commit; index++) {
        if (w->committed_in[index] >= term) {
            break; /* by a later leader: this one wakes up in the past */
        }
        if (index > n->raft.last_index || !same_entry(&n->log[index], &w->committed[index])) {
            world_fail(w, "leader %d of term %d lacks entry %d, which is committed", (int)id,
                       (int)term, (int)index);
            return;
        }
    }
}

static inline void check_applied(world *w, uint64_t id, uint64_t index) {
    const node *n = &w->nodes[id];
    if (index > n->raft.last_index || index > n->disk.last) {
        world_fail(w, "node %d applies %d, which is not on disk", (int)id, (int)index);
    }
    if (n->leads && index > w->acknowledged) {
        w->acknowledged = index;
    }
}

static inline void check_readable(world *w, uint64_t id, uint64_t round) {
    node *n = &w->nodes[id];
    if (n->ticket.round == 0 || n->ticket.round > round) {
        return;
    }
    if (n->ticket.index < n->ticket_needs) {
        world_fail(w, "node %d reads at %d, when %d was acknowledged", (int)id,
                   (int)n->ticket.index, (int)n->ticket_needs);
    }
    n->ticket.round = 0;
    w->reads++;
}

static inline void check_committed(world *w, uint64_t id) {
    node *n = &w->nodes[id];
    for (; n->checked < n->raft.commit; n->checked++) {
        uint64_t index = n->checked + 1;
        if (index > w->commit) {
            w->commit = index;
            w->committed[index] = n->log[index];
            w->committed_in[index] = n->raft.term;
        } else if (!same_entry(&n->log[index], &w->committed[index])) {
            world_fail(w, "node %d commits another entry %d than others did", (int)id, (int)index);
            return;
        }
    }
}

static inline void check_leases(world *w) {
    uint64_t holder = 0;
    for (uint64_t id = 1; id <= NODE_COUNT; id++) {
        const node *n = &w->nodes[id];
        uint64_t index = 0;
        if (!n->up || n->raft.role != LW_RAFT_LEADER ||
            !lw_raft_lease(&n->raft, clock_of(w, n), &index)) {
            continue;
        }
        w->leases++;
        if (holder != 0) {
            world_fail(w, "nodes %d and %d both hold a lease", (int)holder, (int)id);
        }
        if (index < w->acknowledged) {
            world_fail(w, "node %d holds a lease up to %d, when %d was acknowledged", (int)id,
                       (int)index, (int)w->acknowledged);
        }
        holder = id;
    }
}

static inline void check_node(world *w, uint64_t id) {
    node *n = &w->nodes[id];
    if (n->up) {
        check_committed(w, id);
    }
    check_leases(w);
}

#endif
