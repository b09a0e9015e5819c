/* SPDX-License-Identifier: Apache-2.0 */
/* CHANGE_REPLICAS and TRANSFER: which nodes hold the shard, and which of them leads.
 *
 * A change is an entry with the new descriptor, whose config version is one higher, and with the
 * new members for the group, which act on them as soon as the entry is in their logs. Where voters
 * change there are two entries: with the first both sets of voters have to agree (joint consensus),
 * with the second the old one is gone. The second is proposed by whoever leads once the first is
 * applied, be it another leader.
 *
 * Invariants
 * 1. One change at a time, and none beside a split: the descriptor that an entry puts is that of
 *    the moment before, but for what it changes.
 * 2. A learner becomes a voter only when it holds all that was committed when that was asked for,
 *    and can be reached (hazard R5).
 * 3. Unless asked for there are never fewer voters after a change than before (hazard R15).
 * 4. Voters change only once most of those who are to vote have answered since that was asked for:
 *    else nothing may ever be committed again, and what was cannot be taken back. */
#include "node/replica_state.h"

enum {
    ENTRY_SIZE = 4096,    /* of a change, without the keys, rounded up */
    TRANSFER_MS = 3000,   /* until the other one leads */
    LOOK_MS = 50,         /* between two looks whether it still may */
    FINISH_PAUSE_MS = 50, /* until leaving the old set is tried again */
    HEAR_MS = 500,        /* of a learner, in a group that was at rest */
    HEAR_PAUSE_MS = 20,
    ANSWER_MS = 1500, /* of those who are to vote */
};
#define NS_PER_MS UINT64_C(1000000)

void replica_members(const lw_replica *replica, lw_group_members *members) {
    const lw_shard_descriptor *shard = &replica->descriptor;
    *members = (lw_group_members){.count = shard->replica_count};
    memcpy(members->replicas, shard->replicas, sizeof(shard->replicas));
    if (members->count == 0) {
        members->replicas[0] =
            (lw_shard_replica){.node = replica->options.node, .role = LW_REPLICA_VOTER};
        members->count = 1;
    }
}

/* ---- what the members are to be -------------------------------------------------------------- */

static lw_shard_replica *find(lw_group_members *members, uint64_t node) {
    for (uint32_t index = 0; index < members->count; index++) {
        if (members->replicas[index].node == node) {
            return &members->replicas[index];
        }
    }
    return NULL;
}

bool replica_members_joint(const lw_group_members *members) {
    for (uint32_t index = 0; index < members->count; index++) {
        lw_replica_role role = members->replicas[index].role;
        if (role == LW_REPLICA_JOINING || role == LW_REPLICA_LEAVING) {
            return true;
        }
    }
    return false;
}

static uint32_t voter_count(const lw_group_members *members) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < members->count; index++) {
        count += members->replicas[index].role == LW_REPLICA_VOTER;
    }
    return count;
}

static void take_out(lw_group_members *members, const lw_shard_replica *left) {
    size_t place = (size_t)(left - members->replicas);
    memmove(&members->replicas[place], &members->replicas[place + 1],
            (members->count - place - 1) * sizeof(members->replicas[0]));
    members->count--;
}

static lw_status add_learner(lw_group_members *members, uint64_t node) {
    if (find(members, node) != NULL) {
        return LW_OK;
    }
    if (members->count == LW_SHARD_REPLICAS_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a shard has at most %d replicas: take one away first",
                       LW_SHARD_REPLICAS_MAX);
    }
    uint32_t place = members->count;
    for (; place > 0 && members->replicas[place - 1].node > node; place--) {
        members->replicas[place] = members->replicas[place - 1];
    }
    members->replicas[place] = (lw_shard_replica){.node = node, .role = LW_REPLICA_LEARNER};
    members->count++;
    return LW_OK;
}

/* Invariant 2. */
static lw_status check_caught_up(const lw_group_figures *figures, uint64_t node) {
    for (uint32_t index = 0; index < figures->peer_count; index++) {
        const lw_group_peer *peer = &figures->peers[index];
        if (peer->node == node && peer->caught_up) {
            return LW_OK;
        }
    }
    return lw_fail(LW_UNAVAILABLE, "node %016llx has not caught up yet: ask again",
                   (unsigned long long)node);
}

static lw_status promote(lw_group_members *members, const lw_group_figures *figures,
                         uint64_t node) {
    lw_shard_replica *rising = find(members, node);
    if (rising == NULL) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "node %016llx does not hold the shard: have it learn first",
                       (unsigned long long)node);
    }
    if (rising->role == LW_REPLICA_VOTER) {
        return LW_OK;
    }
    LW_TRY(check_caught_up(figures, node));
    rising->role = LW_REPLICA_JOINING;
    return LW_OK;
}

static lw_status leave(lw_group_members *members, uint64_t node, uint64_t leader) {
    lw_shard_replica *leaving = find(members, node);
    if (leaving == NULL) {
        return LW_OK;
    }
    if (leaving->node == leader) {
        return lw_fail(LW_INVALID_ARGUMENT, "node %016llx leads the shard: have it hand over first",
                       (unsigned long long)leader);
    }
    if (leaving->role == LW_REPLICA_VOTER) {
        leaving->role = LW_REPLICA_LEAVING;
    } else {
        take_out(members, leaving);
    }
    return LW_OK;
}

/* Invariant 3; and somebody has to be left. */
static lw_status check_voters(lw_env *env, const lw_group_members *before, lw_group_members after,
                              bool fewer) {
    replica_members_left(&after);
    uint32_t count = voter_count(&after);
    if (count == 0 ||
        (count < voter_count(before) && !fewer && !LW_BUG(env, "replica.too_few_voters"))) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "%u voters would be left of %u: add one first, or ask for fewer", count,
                       voter_count(before));
    }
    return LW_OK;
}

void replica_members_left(lw_group_members *members) {
    for (uint32_t index = members->count; index > 0; index--) {
        lw_shard_replica *each = &members->replicas[index - 1];
        if (each->role == LW_REPLICA_LEAVING) {
            take_out(members, each);
        } else if (each->role == LW_REPLICA_JOINING) {
            each->role = LW_REPLICA_VOTER;
        }
    }
}

lw_status replica_members_plan(lw_env *env, const lw_group_figures *figures,
                               const lw_change_replicas_request *request, uint64_t leader,
                               lw_group_members *members) {
    lw_group_members planned = *members;
    if (replica_members_joint(members)) {
        return lw_fail(LW_UNAVAILABLE, "another change of replicas is under way: ask again");
    }
    if (request->learner != 0) {
        LW_TRY(add_learner(&planned, request->learner));
    }
    const uint64_t rising[] = {request->voter, request->second_voter};
    const uint64_t leaving[] = {request->leaves, request->second_leaves};
    for (uint32_t index = 0; index < 2; index++) {
        if (rising[index] != 0) {
            LW_TRY(promote(&planned, figures, rising[index]));
        }
        if (leaving[index] != 0) {
            LW_TRY(leave(&planned, leaving[index], leader));
        }
    }
    LW_TRY(check_voters(env, members, planned, request->fewer));
    *members = planned;
    return LW_OK;
}

/* ---- the entry ------------------------------------------------------------------------------ */

static bool same_members(const lw_group_members *a, const lw_group_members *b) {
    bool same = a->count == b->count;
    for (uint32_t index = 0; index < a->count && same; index++) {
        same = a->replicas[index].node == b->replicas[index].node &&
               a->replicas[index].role == b->replicas[index].role;
    }
    return same;
}

static void put_descriptor(lw_replica *replica, const lw_group_members *members, lw_buffer *batch) {
    lw_buffer key = lw_buffer_in(replica->env->memory), bytes = key;
    lw_shard_descriptor next = replica->descriptor;
    next.epoch.config_version++;
    next.replica_count = members->count;
    memcpy(next.replicas, members->replicas, sizeof(next.replicas));
    lw_topology_encode(&next, 1, &bytes);
    lw_record_meta_key(next.start, "shard", &key);
    lw_batch_put(batch, lw_buffer_view(&key), lw_buffer_view(&bytes));
    lw_buffer_reset(&key);
    lw_buffer_reset(&bytes);
}

/* From here to the entry in the log nothing suspends. */
LW_YIELDS static lw_status propose_members(lw_replica *replica, const lw_group_members *members) {
    if (!lw_group_may_change(replica->group)) {
        return lw_fail(LW_UNAVAILABLE, "another change of replicas is under way: ask again");
    }
    lw_buffer batch = lw_buffer_in(replica->env->memory);
    replica_proposal proposal = {.base = {.term = replica->leadership, .members = members}};
    put_descriptor(replica, members, &batch);
    replica_propose(replica, ENTRY_DESCRIPTOR, &batch, &proposal);
    lw_status status = replica_wait(replica, &proposal);
    lw_buffer_reset(&batch);
    if (status == LW_REFUSED) { /* not now, then */
        lw_error why = *lw_error_slot();
        return lw_fail(LW_UNAVAILABLE, "%s", why.text);
    }
    return status;
}

/* ---- leaving the old set of voters ---------------------------------------------------------- */

LW_YIELDS static void leave_joint_main(void *argument) {
    lw_replica *replica = argument;
    lw_group_members members;
    while (replica_gate(replica) == LW_OK &&
           (replica_members(replica, &members), replica_members_joint(&members))) {
        LW_MARK(replica->env, "replica.leaves_joint");
        replica_members_left(&members);
        if (replica->reshaping || propose_members(replica, &members) != LW_OK) {
            uint64_t until_ns = lw_env_now(replica->env) + FINISH_PAUSE_MS * NS_PER_MS;
            (void)replica_background_sleep(replica, &replica->stop, until_ns);
        }
    }
    replica->leaving_joint = false;
    lw_queue_wake_all(&replica->roles_changed);
    replica_background_end(replica);
}

void replica_leaves_joint(void *argument, const lw_group_members *members) {
    (void)members; /* what is left of those in the descriptor */
    replica_leave_joint(argument);
}

void replica_leave_joint(lw_replica *replica) {
    lw_group_members members;
    replica_members(replica, &members);
    if (!replica->leaving_joint && replica->serving && replica_members_joint(&members)) {
        replica->leaving_joint = true;
        replica_background_start(replica, "leave joint", leave_joint_main);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

/* Waits until neither a split nor another change is under way, and claims the next. */
lw_status replica_reshape_begin(replica_call *call) {
    lw_replica *replica = call->replica;
    while (replica->reshaping || replica->leaving_joint) {
        if (!lw_env_wait(replica->env, &replica->roles_changed, call->deadline_ns)) {
            return lw_fail(LW_TIMEOUT, "another change of the shard is under way: ask again");
        }
    }
    LW_TRY(replica_call_gate(call));
    LW_TRY(replica_check_epoch(call));
    replica->reshaping = true;
    return LW_OK;
}

void replica_reshape_end(lw_replica *replica) {
    LW_ASSERT(replica->reshaping);
    replica->reshaping = false;
    lw_queue_wake_all(&replica->roles_changed);
}

static bool seems_behind(const lw_group_figures *figures, uint64_t node) {
    for (uint32_t index = 0; index < figures->members.count; index++) {
        const lw_shard_replica *each = &figures->members.replicas[index];
        if (each->node == node && each->role == LW_REPLICA_LEARNER) {
            return check_caught_up(figures, node) != LW_OK;
        }
    }
    return false;
}

/* A group at rest has not heard of its learners for long: does so, if the one that is to vote seems
 * to be behind. */
LW_YIELDS static void hear_of(replica_call *call, uint64_t learner, lw_group_figures *figures) {
    lw_replica *replica = call->replica;
    uint64_t until_ns = lw_env_now(replica->env) + HEAR_MS * NS_PER_MS;
    lw_group_figures_get(replica->group, figures);
    while (seems_behind(figures, learner) && replica_call_gate(call) == LW_OK &&
           lw_env_now(replica->env) < until_ns) {
        lw_group_wake(replica->group);
        lw_env_sleep(replica->env, HEAR_PAUSE_MS * NS_PER_MS);
        lw_group_figures_get(replica->group, figures);
    }
}

/* Invariant 4. */
LW_YIELDS static lw_status await_voters(replica_call *call, const lw_group_members *next) {
    lw_replica *replica = call->replica;
    if (!replica_members_joint(next) || LW_BUG(replica->env, "replica.voters_unheard")) {
        return LW_OK;
    }
    uint64_t until_ns = lw_env_now(replica->env) + ANSWER_MS * NS_PER_MS;
    LW_TRY(lw_group_hear(replica->group, next, until_ns));
    LW_TRY(replica_call_gate(call));
    return replica_check_epoch(call);
}

/* `next` may have more members than this node: what it has collected alone goes along. */
LW_YIELDS static lw_status propose_change(lw_replica *replica, const lw_group_members *next) {
    replica->spreading = true;
    LW_TRY(replica_spread(replica));
    return propose_members(replica, next);
}

LW_YIELDS static lw_status change(replica_call *call, const lw_change_replicas_request *request) {
    lw_replica *replica = call->replica;
    lw_group_members before, after;
    lw_group_figures figures;
    LW_TRY(replica_call_room(call, ENTRY_SIZE + 2 * replica->descriptor_bytes.size));
    LW_TRY(replica_confirm(call));
    hear_of(call, request->voter, &figures);
    LW_TRY(replica_call_gate(call));
    LW_TRY(replica_check_epoch(call));
    replica_members(replica, &before);
    after = before;
    LW_TRY(replica_members_plan(replica->env, &figures, request, replica->options.node, &after));
    if (same_members(&before, &after)) {
        return LW_OK;
    }
    LW_TRY(await_voters(call, &after));
    LW_MARK(replica->env, "replica.members_changed");
    lw_status status = propose_change(replica, &after);
    replica->spreading = false;
    return status;
}

/* Waits until there is one set of voters again; the change itself has happened. */
LW_YIELDS static void await_left(replica_call *call) {
    lw_replica *replica = call->replica;
    while (replica->leaving_joint && replica_call_gate(call) == LW_OK &&
           lw_env_wait(replica->env, &replica->roles_changed, call->deadline_ns)) {
    }
}

lw_status replica_change_replicas(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *replica = call->replica;
    lw_change_replicas_request request;
    LW_TRY(lw_change_replicas_request_decode(body, &request));
    LW_TRY(replica_admit(call, ENTRY_SIZE, true));
    LW_TRY(replica_reshape_begin(call));
    lw_status status = change(call, &request);
    replica_reshape_end(replica);
    LW_TRY(status);
    replica_leave_joint(replica);
    await_left(call);
    lw_topology_encode(&replica->descriptor, 1, reply);
    return LW_OK;
}

/* ---- TRANSFER ------------------------------------------------------------------------------- */

/* Until the other node leads, or will not. */
LW_YIELDS static lw_status await_leader(lw_replica *replica, uint64_t node, uint64_t deadline_ns) {
    while (lw_group_leader(replica->group) != node) {
        if (replica->closing || replica->dead) {
            return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
        }
        uint64_t now_ns = lw_env_now(replica->env);
        if (now_ns >= deadline_ns || !lw_group_handing_over(replica->group)) {
            return lw_fail(LW_UNAVAILABLE, "node %016llx does not come to lead shard %llu",
                           (unsigned long long)node, (unsigned long long)replica->options.shard);
        }
        uint64_t until_ns = now_ns + LOOK_MS * NS_PER_MS;
        (void)lw_env_wait(replica->env, &replica->roles_changed,
                          until_ns < deadline_ns ? until_ns : deadline_ns);
    }
    return LW_OK;
}

LW_YIELDS static lw_status hand_over(lw_replica *replica, uint64_t node, uint64_t deadline_ns) {
    lw_timestamps *timestamps = replica->options.timestamps;
    bool oracle = replica->options.shard == LW_ROOT_SHARD;
    if (lw_group_leader(replica->group) == node) {
        return LW_OK;
    }
    if (oracle && lw_timestamps_hand_over(timestamps) != LW_OK) {
        LW_MARK(replica->env, "replica.ceiling_not_lowered");
    }
    lw_status status = lw_group_transfer(replica->group, node);
    if (status != LW_OK) {
        lw_error why = *lw_error_slot();
        status = lw_fail(LW_UNAVAILABLE, "%s", why.text);
    } else {
        status = await_leader(replica, node, deadline_ns);
    }
    if (oracle && status != LW_OK) {
        lw_timestamps_go_on(timestamps);
    }
    LW_TRY(status);
    LW_MARK(replica->env, "replica.handed_over");
    return LW_OK;
}

lw_status replica_transfer(replica_call *call, lw_bytes body, lw_buffer *reply) {
    (void)reply;
    lw_replica *replica = call->replica;
    lw_transfer_request request;
    LW_TRY(lw_transfer_request_decode(body, &request));
    lw_group_members members;
    replica_members(replica, &members);
    const lw_shard_replica *next = find(&members, request.node);
    if (next == NULL || next->role != LW_REPLICA_VOTER) {
        return lw_fail(LW_INVALID_ARGUMENT, "node %016llx is no voter of shard %llu",
                       (unsigned long long)request.node,
                       (unsigned long long)replica->options.shard);
    }
    if (replica_sends_to(replica, request.node) &&
        !LW_BUG(replica->env, "shards.damaged_leads_again")) {
        return lw_fail(
            LW_UNAVAILABLE, "node %016llx is being sent a snapshot of shard %llu: ask again",
            (unsigned long long)request.node, (unsigned long long)replica->options.shard);
    }
    uint64_t until_ns = lw_env_now(replica->env) + TRANSFER_MS * NS_PER_MS;
    if (call->deadline_ns != 0 && call->deadline_ns < until_ns) {
        until_ns = call->deadline_ns;
    }
    return hand_over(replica, request.node, until_ns);
}
