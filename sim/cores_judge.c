/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold at every step of the cores, judged from outside of them. Failures are named after
 * these, and the hazards are those of docs/SIMULATION.md:
 *
 *   election safety      one leader a term
 *   vote safety          one vote a term, over restarts too (R1)
 *   durability           term, vote and entries are on disk before a message says so (R1), and what
 *                        the core takes for durable is (R9)
 *   append only          a leader's log only grows
 *   log matching         logs that have one entry alike have all before it alike
 *   commit rule          a leader commits by counting what is of its own term (R2)
 *   commit               never goes back, and is on disk before it is applied
 *   state machine safety the committed entries of an index are the same everywhere
 *   leader completeness  who begins to lead has all that was committed in earlier terms
 *   members              in effect is the newest configuration in the log (R3), the next one
 *                        comes behind a committed entry of the leader's term (R3), who is to vote
 *                        has all that its leader had committed when it last asked (R5), and only
 *                        who is out is taken away (R14)
 *   lease safety         nobody is elected while another has a lease, and a lease knows all that
 *                        was acknowledged: also by clocks as wrong as they may be (R7)
 *   reads                a confirmed read knows all that was acknowledged before it began (R8)
 *   liveness             in peace all come to rest, with the same entries (R6)
 *
 * Entries are compared by their chains, so that one comparison is one of all that comes before. */
#include "sim/cores.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- what leaves a node ---------------------------------------------------------------------- */

static void check_vote(lw_cores *world, uint64_t voter, uint64_t term, uint64_t candidate) {
    const lw_cores_disk *disk = &world->nodes[voter].disk;
    if (disk->term != term || disk->vote != candidate) {
        lw_cores_fail(world, "durability",
                      "node %" PRIu64 " votes in term %" PRIu64 " before that is on disk", voter,
                      term);
    }
    LW_ASSERT(term < LW_CORES_TERMS_MAX);
    uint64_t *voted = &world->voted_for[voter][term];
    if (*voted != 0 && *voted != candidate) {
        lw_cores_fail(world, "vote safety",
                      "node %" PRIu64 " votes for %" PRIu64 " and %" PRIu64 " in term %" PRIu64,
                      voter, *voted, candidate, term);
    }
    *voted = candidate;
}

static void check_acknowledged(lw_cores *world, const lw_raft_message *message) {
    const lw_cores_node *node = &world->nodes[message->from];
    uint64_t index = message->index;
    if (index > node->disk.start &&
        (node->disk.last < index || node->disk.entries[index].chain != node->log[index].chain)) {
        lw_cores_fail(world, "durability",
                      "node %" PRIu64 " acknowledges entry %" PRIu64 " before it is on disk",
                      message->from, index);
    }
}

void lw_cores_check_sent(lw_cores *world, const lw_raft_message *message) {
    const lw_cores_node *node = &world->nodes[message->from];
    bool promises = message->kind != LW_RAFT_PREVOTE && message->kind != LW_RAFT_PREVOTE_REPLY &&
                    message->kind != LW_RAFT_GONE;
    if (promises && node->disk.term < message->term) {
        lw_cores_fail(world, "durability",
                      "node %" PRIu64 " speaks of term %" PRIu64 " before it is on disk",
                      message->from, message->term);
    }
    if (message->kind == LW_RAFT_VOTE) {
        check_vote(world, message->from, message->term, message->from);
    }
    if (message->kind == LW_RAFT_VOTE_REPLY && message->granted) {
        check_vote(world, message->from, message->term, message->to);
    }
    if (message->kind == LW_RAFT_ACKNOWLEDGE && message->granted) {
        check_acknowledged(world, message);
    }
}

/* ---- logs ------------------------------------------------------------------------------------ */

void lw_cores_check_taken(lw_cores *world, const lw_cores_event *event) {
    const lw_cores_node *node = &world->nodes[event->node];
    for (uint32_t place = 0; place < event->message.count; place++) {
        uint64_t index = event->message.index + 1 + place;
        const lw_cores_entry *ours = &node->log[index], *theirs = &event->entries[place];
        bool held = index > node->disk.start && index <= node->raft.last_index;
        if (held && ours->term == theirs->term && ours->chain != theirs->chain) {
            lw_cores_fail(world, "log matching",
                          "nodes %" PRIu64 " and %" PRIu64 " have entry %" PRIu64
                          " of term %" PRIu64 ", and differ in it or below",
                          event->node, event->message.from, index, ours->term);
            return;
        }
    }
}

static void check_persisted(lw_cores *world, uint64_t id) {
    const lw_cores_node *node = &world->nodes[id];
    uint64_t index = node->raft.persisted;
    bool on_disk =
        index <= node->disk.start ||
        (index <= node->disk.last && node->disk.entries[index].chain == node->log[index].chain);
    if (!on_disk) {
        lw_cores_fail(world, "durability",
                      "node %" PRIu64 " takes entry %" PRIu64 " for durable, which is not", id,
                      index);
    }
}

static void check_config(lw_cores *world, uint64_t id) {
    const lw_cores_node *node = &world->nodes[id];
    if (node->raft.config_index != node->config_at) {
        lw_cores_fail(world, "members",
                      "node %" PRIu64 " goes by the configuration of entry %" PRIu64
                      ", and the newest of its log is at %" PRIu64,
                      id, node->raft.config_index, node->config_at);
    }
}

/* ---- what is committed ----------------------------------------------------------------------- */

void lw_cores_check_applied(lw_cores *world, uint64_t id, uint64_t index) {
    const lw_cores_node *node = &world->nodes[id];
    if (index > node->raft.last_index || index > node->disk.last) {
        lw_cores_fail(world, "commit",
                      "node %" PRIu64 " applies entry %" PRIu64 ", which is not on disk", id,
                      index);
    }
    if (node->leads && index > world->acknowledged) {
        world->acknowledged = index;
    }
}

void lw_cores_check_committed(lw_cores *world, uint64_t id, bool counted) {
    lw_cores_node *node = &world->nodes[id];
    uint64_t commit = node->raft.commit;
    if (commit < node->checked) {
        lw_cores_fail(world, "commit", "node %" PRIu64 " goes back from %" PRIu64 " to %" PRIu64,
                      id, node->checked, commit);
    }
    if (counted && commit > node->checked && node->raft.role == LW_RAFT_LEADER &&
        node->log[commit].term != node->raft.term) {
        lw_cores_fail(world, "commit rule",
                      "leader %" PRIu64 " of term %" PRIu64 " counts entry %" PRIu64
                      " of term %" PRIu64,
                      id, node->raft.term, commit, node->log[commit].term);
    }
    for (; node->checked < commit; node->checked++) {
        uint64_t index = node->checked + 1;
        if (index > world->commit) {
            world->commit = index;
            world->committed[index] = node->log[index];
            world->committed_in[index] = node->raft.term;
        } else if (node->log[index].chain != world->committed[index].chain) {
            lw_cores_fail(world, "state machine safety",
                          "node %" PRIu64 " commits another entry %" PRIu64 " than others did", id,
                          index);
            return;
        }
    }
}

/* ---- members --------------------------------------------------------------------------------- */

/* Those that begin to vote have what they should. */
static void check_joining(lw_cores *world, uint64_t id, const lw_raft_config *config,
                          const lw_raft_config *before, uint64_t before_index) {
    const lw_cores_node *leader = &world->nodes[id];
    uint64_t due = leader->raft.commit_at_beat;
    due = due > before_index ? due : before_index;
    for (uint32_t place = 0; place < config->count; place++) {
        uint64_t joining = config->members[place].node;
        const lw_raft_member *was = lw_raft_config_find(before, joining);
        const lw_cores_disk *disk = &world->nodes[joining].disk;
        if (config->members[place].membership != LW_RAFT_JOINING || joining == id) {
            continue;
        }
        if (was == NULL || was->membership != LW_RAFT_LEARNER || disk->last < due) {
            lw_cores_fail(world, "members",
                          "node %" PRIu64 " is to vote and has entries up to %" PRIu64
                          ", when its leader had known %" PRIu64 " to be committed",
                          joining, disk->last, due);
        }
    }
}

void lw_cores_check_change(lw_cores *world, uint64_t id, const lw_raft_config *config,
                           const lw_raft_config *before, uint64_t before_index) {
    const lw_cores_node *leader = &world->nodes[id];
    if (leader->log[leader->raft.commit].term != leader->raft.term) {
        lw_cores_fail(world, "members",
                      "leader %" PRIu64 " changes them before an entry of its term %" PRIu64
                      " is committed",
                      id, leader->raft.term);
    }
    if (leader->raft.term >= world->term) {
        /* One that wakes up in the past takes for members who may be gone. */
        check_joining(world, id, config, before, before_index);
    }
}

void lw_cores_check_removed(lw_cores *world, uint64_t id, uint64_t index) {
    const lw_cores_node *node = &world->nodes[id];
    const lw_cores_entry *entry = &world->committed[index];
    bool out = index <= world->commit && entry->config != 0 &&
               lw_raft_config_find(&world->configs[entry->config], id) == NULL;
    if (!out || node->config_at > index) {
        lw_cores_fail(world, "members",
                      "node %" PRIu64 " is taken away by news of entry %" PRIu64
                      ", and goes by that of entry %" PRIu64,
                      id, index, node->config_at);
    }
    if (node->raft.installing && node->raft.install_index >= index) {
        lw_cores_fail(world, "members",
                      "node %" PRIu64 " is taken away by news of entry %" PRIu64
                      " while it takes in a snapshot of entry %" PRIu64,
                      id, index, node->raft.install_index);
    }
}

/* ---- leaders --------------------------------------------------------------------------------- */

/* What was committed in earlier terms is in its log: by the last such entry's chain, all of it. */
static void check_complete(lw_cores *world, uint64_t id) {
    const lw_cores_node *node = &world->nodes[id];
    uint64_t index = world->commit;
    while (index > node->disk.start && world->committed_in[index] >= node->raft.term) {
        index--; /* by a later leader: this one wakes up in the past */
    }
    if (index > node->raft.last_index ||
        (index >= node->disk.start && node->log[index].chain != world->committed[index].chain)) {
        lw_cores_fail(world, "leader completeness",
                      "leader %" PRIu64 " of term %" PRIu64 " lacks entry %" PRIu64
                      ", which is committed",
                      id, node->raft.term, index);
    }
}

static bool has_lease(const lw_cores *world, uint64_t id, uint64_t *index) {
    const lw_cores_node *node = &world->nodes[id];
    return node->up && node->raft.role == LW_RAFT_LEADER &&
           lw_raft_lease(&node->raft, lw_cores_clock(world, node), index);
}

void lw_cores_check_leader(lw_cores *world, uint64_t id) {
    uint64_t term = world->nodes[id].raft.term;
    LW_ASSERT(term < LW_CORES_TERMS_MAX);
    if (world->leader_of[term] != 0 && world->leader_of[term] != id) {
        lw_cores_fail(world, "election safety",
                      "nodes %" PRIu64 " and %" PRIu64 " lead term %" PRIu64,
                      world->leader_of[term], id, term);
        return;
    }
    world->leader_of[term] = id;
    world->term = term > world->term ? term : world->term;
    check_complete(world, id);
    for (uint64_t other = 1; other <= world->node_count; other++) {
        uint64_t index;
        bool older = world->nodes[other].raft.term < term; /* else this one wakes up in the past */
        if (older && has_lease(world, other, &index)) {
            lw_cores_fail(world, "lease safety",
                          "node %" PRIu64 " is elected while node %" PRIu64 " has a lease", id,
                          other);
        }
    }
}

static void check_leases(lw_cores *world) {
    uint64_t holder = 0;
    for (uint64_t id = 1; id <= world->node_count; id++) {
        uint64_t index = 0;
        if (!has_lease(world, id, &index)) {
            continue;
        }
        world->counts[LW_CORES_LEASED]++;
        if (holder != 0) {
            lw_cores_fail(world, "lease safety",
                          "nodes %" PRIu64 " and %" PRIu64 " both have a lease", holder, id);
        }
        if (index < world->acknowledged) {
            lw_cores_fail(world, "lease safety",
                          "node %" PRIu64 " has a lease up to entry %" PRIu64 ", when %" PRIu64
                          " was acknowledged",
                          id, index, world->acknowledged);
        }
        holder = id;
    }
}

void lw_cores_check_readable(lw_cores *world, uint64_t id, uint64_t round) {
    lw_cores_node *node = &world->nodes[id];
    if (node->ticket.round == 0 || node->ticket.round > round) {
        return;
    }
    if (node->ticket.index < node->ticket_needs) {
        lw_cores_fail(world, "reads",
                      "node %" PRIu64 " reads at entry %" PRIu64 ", when %" PRIu64
                      " was acknowledged",
                      id, node->ticket.index, node->ticket_needs);
    }
    node->ticket.round = 0;
    world->counts[LW_CORES_READ]++;
}

void lw_cores_check_node(lw_cores *world, uint64_t id) {
    if (world->nodes[id].up) {
        lw_cores_check_committed(world, id, true);
        check_persisted(world, id);
        check_config(world, id);
    }
    check_leases(world);
}

/* ---- peace ----------------------------------------------------------------------------------- */

static uint64_t newest_leader(const lw_cores *world) {
    uint64_t leader = 0;
    for (uint64_t id = 1; id <= world->node_count; id++) {
        const lw_cores_node *node = &world->nodes[id];
        if (node->up && node->leads &&
            (leader == 0 || node->raft.term > world->nodes[leader].raft.term)) {
            leader = id;
        }
    }
    return leader;
}

/* Whether the member has all that its leader has, knows it to be its leader, and rests if it may.
 */
static bool at_rest(const lw_cores *world, uint64_t id, uint64_t leader,
                    char why[LW_CORES_WHY_SIZE]) {
    const lw_cores_node *node = &world->nodes[id];
    uint64_t last = world->nodes[leader].raft.last_index;
    bool rests = lw_raft_deadline(&node->raft) == LW_RAFT_NEVER;
    if (node->applied != last || node->raft.leader != leader) {
        (void)snprintf(why, LW_CORES_WHY_SIZE,
                       "in peace node %" PRIu64 " applied %" PRIu64 " of %" PRIu64
                       " and follows %" PRIu64 ", not %" PRIu64,
                       id, node->applied, last, node->raft.leader, leader);
        return false;
    }
    if (world->habits.quiesce_after != LW_RAFT_NEVER && !rests) {
        (void)snprintf(why, LW_CORES_WHY_SIZE, "in peace node %" PRIu64 " is never silent", id);
        return false;
    }
    return true;
}

bool lw_cores_healed(lw_cores *world, char why[LW_CORES_WHY_SIZE]) {
    uint64_t leader = newest_leader(world);
    if (leader == 0) {
        (void)snprintf(why, LW_CORES_WHY_SIZE, "in peace nobody leads");
        return false;
    }
    const lw_raft *raft = &world->nodes[leader].raft;
    if (lw_raft_config_joint(&raft->config) || lw_raft_config_in_flight(raft)) {
        (void)snprintf(why, LW_CORES_WHY_SIZE, "in peace members go on changing");
        return false;
    }
    for (uint32_t place = 0; place < raft->config.count; place++) {
        if (!at_rest(world, raft->config.members[place].node, leader, why)) {
            return false;
        }
    }
    world->counts[LW_CORES_RESTING] += world->habits.quiesce_after != LW_RAFT_NEVER;
    return true;
}
