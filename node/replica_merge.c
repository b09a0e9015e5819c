/* SPDX-License-Identifier: Apache-2.0 */
/* MERGE: the right neighbour of a shard becomes part of it. *L* is the left one, which stays, *R*
 * the right one, which ends. Two logs have to agree, and whoever leads may change in between.
 *
 *   1. *R* is led here as well as *L*, by the same voters, who are all there. Both are held back
 *      from other changes. *R*'s sweeper has ended: it asks *L* for the fate of transactions, and
 *      would wait for the latch of step 4 while step 5 waits for it. An exclusive latch on all of
 *      *R*, as for a split.
 *   2. ENTRY_FREEZE in *R*'s log raises its range version. Nothing behind it changes *R* (what is
 *      there is void), and nobody is served from it any more, readers neither: a leader of *R* that
 *      has not heard of the merge would answer from before what is written to *L* afterwards.
 *   3. Every replica of *R* has applied that: so each has what step 5 needs.
 *   4. ENTRY_MERGE in *L*'s log: its new descriptor, of a range version above both; which entry
 *      froze *R*; and a record that *R* was absorbed. Void in another epoch of *L*. Once it is
 *      durable the merge has happened.
 *   5. Each replica of *L* that applies it pauses, and *R*'s tree becomes part of its own: the
 * steps of that are in node/shards_merge.c. In the same turn *L* takes its descriptor, and what *R*
 *      knew of open transactions; its read marks rise above all that *R* has answered (hazard T4);
 *      and it counts as led for no longer than *R*, some of whose readers may be known only to who
 *      led that before (node/replica_gc.c; hazard T11).
 *
 * When it comes to nothing behind step 2, or nobody is left who knows, *R* has to go on. Whoever
 * leads it then (`thaw`) asks whoever holds the key at which *L* began: MERGED. The record of step
 * 4 answers yes. Else *L*'s range version is raised, unless it has been since, so that no
 * ENTRY_MERGE that may still be on its way, in a log that wins an election later, ever counts; when
 * that is applied the answer is no, for good. Only then ENTRY_UNFREEZE goes into *R*'s log. */
#include "node/replica_state.h"

#include <inttypes.h>

enum {
    ENTRY_SIZE = 4096,  /* of any of these, without the keys, rounded up */
    FREEZE_MS = 5000,   /* for all steps, unless the request gives less */
    LAG_MAX = 256,      /* entries that a replica may lack when it begins */
    LEAD_PAUSE_MS = 20, /* until another look whether R is led here */
};
#define NS_PER_MS UINT64_C(1000000)

/* ---- MERGE: who may ------------------------------------------------------------------------- */

/* The two, and what is made of them. */
typedef struct merging {
    replica_call *call; /* of L */
    replica_call other; /* of R: it stays as long as this is open */
    lw_replica *left, *right;
    uint64_t deadline_ns;
    lw_replica_merge frozen; /* by which entry */
} merging;

static lw_status check_members(const lw_replica *left, const lw_replica *right) {
    lw_group_members of_left, of_right;
    replica_members(left, &of_left);
    replica_members(right, &of_right);
    bool same = of_left.count == of_right.count;
    for (uint32_t index = 0; index < of_left.count && same; index++) {
        same = of_left.replicas[index].node == of_right.replicas[index].node;
    }
    if (!same) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "shards %" PRIu64 " and %" PRIu64
                       " are on different nodes: bring them together first (lathwork shards, "
                       "lathwork move)",
                       left->options.shard, right->options.shard);
    }
    for (uint32_t index = 0; index < of_left.count; index++) {
        if (of_left.replicas[index].role != LW_REPLICA_VOTER ||
            of_right.replicas[index].role != LW_REPLICA_VOTER) {
            return lw_fail(LW_UNAVAILABLE,
                           "replicas of one of the shards are being moved: ask again");
        }
    }
    return LW_OK;
}

/* All are there, and none is far behind. */
static lw_status check_peers(const lw_replica *replica) {
    lw_group_figures figures;
    lw_group_figures_get(replica->group, &figures);
    for (uint32_t index = 0; index < figures.peer_count; index++) {
        const lw_group_peer *peer = &figures.peers[index];
        if (!peer->reachable || peer->in_snapshot ||
            peer->match + LAG_MAX < figures.committed_index) {
            return lw_fail(LW_UNAVAILABLE,
                           "node %016" PRIx64 " is away, or lacks entries of shard %" PRIu64
                           ": a merge needs all that hold it",
                           peer->node, replica->options.shard);
        }
    }
    return LW_OK;
}

/* Nobody is sent a snapshot, be it one who was removed since: what takes the shard in would wait
 * for the end of that, for seconds where that one cannot be reached. */
static lw_status check_sends(const lw_replica *right) {
    if (replica_sends(right) && !LW_BUG(right->env, "merge.amid_a_snapshot")) {
        return lw_fail(LW_UNAVAILABLE,
                       "a snapshot of shard %" PRIu64 " is just being sent: try again",
                       right->options.shard);
    }
    return LW_OK;
}

static lw_status find_right(merging *work, const lw_merge_request *request) {
    lw_replica *left = work->left;
    if (left->descriptor.end.size == 0) {
        return lw_fail(LW_NOT_FOUND, "shard %" PRIu64 " is the last one: it has no right neighbour",
                       left->options.shard);
    }
    work->right = left->options.beginning(left->options.argument, left->descriptor.end);
    if (work->right == NULL) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the right neighbour of shard %" PRIu64
                       " is not on the node that leads it: bring them together first (lathwork "
                       "shards, lathwork move)",
                       left->options.shard);
    }
    if (request->right != 0 && work->right->options.shard != request->right) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the right neighbour of shard %" PRIu64 " is shard %" PRIu64
                       ", and not shard %" PRIu64,
                       left->options.shard, work->right->options.shard, request->right);
    }
    return check_members(left, work->right);
}

/* R as it is now, unless another shard begins there. */
static lw_status find_again(merging *work, const lw_merge_request *request, uint64_t shard) {
    work->right = NULL;
    LW_TRY(replica_call_gate(work->call));
    LW_TRY(find_right(work, request));
    LW_ASSERT(work->right != NULL);
    if (work->right->options.shard != shard || work->right->merging) {
        return lw_fail(LW_UNAVAILABLE, "the shards changed meanwhile: ask again");
    }
    return LW_OK;
}

/* Has R be led here. It may end meanwhile, as part of L by another request, or L may, as part of
 * its own left neighbour: who takes one in waits until nobody is at it. */
LW_YIELDS static lw_status lead_right(merging *work, const lw_merge_request *request) {
    lw_replica *left = work->left, *right = work->right;
    uint64_t shard = right->options.shard;
    if (right->serving) {
        return LW_OK;
    }
    LW_MARK(left->env, "replica.merge_leads_both");
    bool held = LW_BUG(left->env, "merge.awaits_who_asks");
    right->background_count += held;
    lw_buffer body = lw_buffer_in(left->env->memory), reply = body;
    lw_transfer_request_encode(&(lw_transfer_request){.node = left->options.node}, &body);
    lw_bytes start = lw_arena_copy(&work->call->arena, right->descriptor.start);
    lw_status status =
        replica_ask_apart(left, LW_MESSAGE_TRANSFER, start, &body, work->deadline_ns, &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    if (held) {
        replica_background_end(right);
    }
    while (status == LW_OK && (status = find_again(work, request, shard)) == LW_OK &&
           !work->right->serving && lw_env_now(left->env) < work->deadline_ns) {
        uint64_t until_ns = lw_env_now(left->env) + LEAD_PAUSE_MS * NS_PER_MS;
        (void)lw_env_wait(left->env, &left->stop, until_ns);
    }
    LW_TRY(status);
    return replica_gate(work->right);
}

/* ---- MERGE: the steps ----------------------------------------------------------------------- */

static void latch_all(replica_call *call) {
    const lw_shard_descriptor *shard = &call->replica->descriptor;
    lw_latch_range *whole = lw_arena_allocate(&call->arena, sizeof(*whole));
    *whole = (lw_latch_range){.lower = lw_arena_copy(&call->arena, shard->start),
                              .upper = lw_arena_copy(&call->arena, shard->end)};
    call->latch.exclusive_ranges = whole;
    call->latch.exclusive_range_count = 1;
}

static void put_frozen(const merging *work, lw_buffer *batch) {
    const lw_shard_descriptor *left = &work->left->descriptor;
    lw_shard_descriptor next = work->right->descriptor;
    next.epoch.range_version++;
    replica_put_shard(&next, batch);
    lw_buffer value = lw_buffer_in(batch->memory);
    lw_buffer_append_u64(&value, next.id);
    lw_buffer_append_u64(&value, left->id);
    lw_buffer_append_u64(&value, left->epoch.range_version);
    lw_buffer_append(&value, left->start);
    replica_put_record(next.start, replica_frozen_name, lw_buffer_view(&value), batch);
    lw_buffer_reset(&value);
}

/* Step 2, under the latch. */
LW_YIELDS static lw_status propose_freeze(merging *work) {
    lw_replica *right = work->right;
    LW_TRY(replica_call_room(&work->other, ENTRY_SIZE + 2 * right->descriptor_bytes.size +
                                               work->left->descriptor_bytes.size));
    replica_merge_dawdle(right);
    LW_TRY(replica_call_gate(&work->other));
    LW_TRY(replica_call_gate(work->call));
    lw_buffer batch = lw_buffer_in(right->env->memory);
    replica_proposal proposal = {.base = {.term = right->leadership}};
    put_frozen(work, &batch);
    replica_propose(right, ENTRY_FREEZE, &batch, &proposal);
    work->frozen = (lw_replica_merge){
        .right = right->options.shard, .index = proposal.base.index, .term = proposal.base.term};
    lw_status status = replica_wait(right, &proposal);
    lw_buffer_reset(&batch);
    return status;
}

LW_YIELDS static lw_status await_sweeper(merging *work) {
    lw_replica *right = work->right;
    lw_queue_wake_all(&right->doomed.waiting);
    while (right->sweeping && !LW_BUG(right->env, "merge.sweeper_not_awaited")) {
        LW_MARK(right->env, "replica.merge_awaits_sweeper");
        if (!lw_env_wait(right->env, &right->swept, work->deadline_ns)) {
            return lw_fail(LW_TIMEOUT,
                           "shard %" PRIu64
                           " did not come to rest for its merge in time: ask again",
                           right->options.shard);
        }
    }
    return replica_call_gate(&work->other);
}

LW_YIELDS static lw_status freeze_latched(merging *work) {
    latch_all(&work->other);
    LW_TRY(replica_latch(&work->other));
    lw_status status = propose_freeze(work);
    replica_unlatch(&work->other);
    replica_send_home(work->right);
    return status;
}

/* Steps 1 and 2. Flushed first, so that little is left for later; a full disk shows now. */
LW_YIELDS static lw_status freeze(merging *work) {
    lw_replica *right = work->right;
    LW_TRY(replica_admit(&work->other, ENTRY_SIZE, true));
    LW_TRY(lw_tree_flush(work->left->tree));
    LW_TRY(lw_tree_flush(right->tree));
    LW_TRY(replica_reshape_begin(&work->other));
    lw_status status = check_members(work->left, right);
    if (status == LW_OK) {
        status = check_peers(work->left);
    }
    if (status == LW_OK) {
        status = check_peers(right);
    }
    if (status == LW_OK) {
        status = check_sends(right);
    }
    if (status == LW_OK) {
        status = freeze_latched(work);
    }
    replica_reshape_end(right);
    return status;
}

static void put_merge(const merging *work, lw_buffer *batch) {
    const lw_shard_descriptor *right = &work->right->descriptor;
    lw_shard_descriptor next = work->left->descriptor;
    char name[REPLICA_NAME_SIZE];
    next.end = right->end;
    if (right->epoch.range_version > next.epoch.range_version) {
        next.epoch.range_version = right->epoch.range_version;
    }
    next.epoch.range_version++;
    replica_put_shard(&next, batch);
    lw_buffer value = lw_buffer_in(batch->memory);
    lw_buffer_append_u64(&value, work->frozen.right);
    lw_buffer_append_u64(&value, work->frozen.index);
    lw_buffer_append_u64(&value, work->frozen.term);
    lw_buffer_append(&value, right->start);
    replica_put_record(next.start, replica_merge_name, lw_buffer_view(&value), batch);
    lw_buffer_reset(&value);
    replica_absorbed_name(right->id, name);
    replica_put_record(next.start, name, lw_view(NULL, 0), batch);
    replica_put_past_of_both(work->left, work->right, batch);
}

/* Step 4, under the latch of L, so that no command is under way that it would make void. */
LW_YIELDS static lw_status propose_merge(merging *work) {
    lw_replica *left = work->left;
    LW_TRY(replica_call_room(work->call, ENTRY_SIZE + 2 * left->descriptor_bytes.size +
                                             work->right->descriptor_bytes.size));
    replica_merge_dawdle(left);
    LW_TRY(replica_call_gate(work->call));
    if (!work->right->frozen ||
        work->right->frozen_into.range_version != left->descriptor.epoch.range_version) {
        return lw_fail(LW_UNAVAILABLE,
                       "the shards changed while they were being merged: ask again");
    }
    lw_buffer batch = lw_buffer_in(left->env->memory);
    replica_proposal proposal = {.base = {.term = replica_leadership_of(work->call)}};
    put_merge(work, &batch);
    replica_propose(left, ENTRY_MERGE, &batch, &proposal);
    lw_status status = replica_wait(left, &proposal);
    lw_buffer_reset(&batch);
    return status;
}

/* R's call ends before it is waited for that nobody is at R any more. */
static void let_go_of_right(merging *work) {
    if (work->right != NULL) {
        work->right->merging = false;
        replica_sweep(work->right);
        replica_call_close(&work->other);
        work->right = NULL;
    }
}

LW_YIELDS static lw_status merge_latched(merging *work) {
    lw_replica *left = work->left;
    LW_TRY(propose_merge(work));
    let_go_of_right(work);
    replica_merge_dawdle(left);
    lw_status status = left->options.absorb(left->options.argument, left);
    return status == LW_OK || status == LW_UNAVAILABLE
               ? status
               : lw_fail(LW_UNDETERMINED, "the node stops while shards are being merged");
}

/* Steps 3 to 5. */
LW_YIELDS static lw_status merge_frozen(merging *work) {
    lw_replica *left = work->left;
    if (!LW_BUG(left->env, "merge.before_all_froze")) {
        LW_TRY(
            left->options.await_applied(left->options.argument, &work->frozen, work->deadline_ns));
    }
    latch_all(work->call);
    LW_TRY(replica_latch(work->call));
    LW_MARK(left->env, "replica.merge_latched");
    lw_status status = merge_latched(work);
    replica_unlatch(work->call);
    return status;
}

LW_YIELDS static lw_status merge_both(merging *work) {
    lw_replica *right = work->right;
    replica_call_open(right, 0, work->deadline_ns, &work->other);
    right->merging = true;
    lw_status status = await_sweeper(work);
    if (status == LW_OK) {
        status = freeze(work);
    }
    if (status == LW_OK) {
        status = merge_frozen(work);
    }
    if (work->right != NULL) { /* it came to nothing, or nobody here knows */
        bool frozen = right->frozen;
        right->merging = false;
        if (frozen) {
            LW_MARK(right->env, "replica.merge_given_up");
            replica_thaw(right);
        }
        let_go_of_right(work);
    }
    return status;
}

LW_YIELDS static lw_status merge(merging *work, const lw_merge_request *request) {
    LW_TRY(find_right(work, request));
    LW_ASSERT(work->right != NULL);
    uint64_t shard = work->right->options.shard;
    LW_TRY(lead_right(work, request));
    LW_TRY(replica_reshape_begin(work->call));
    lw_status status = find_again(work, request, shard);
    if (status == LW_OK) {
        status = replica_gate(work->right);
    }
    if (status == LW_OK) {
        status = merge_both(work);
    }
    replica_reshape_end(work->left);
    return status;
}

/* Asked again, of one that has become part already. */
LW_YIELDS static lw_status was_merged(replica_call *call, uint64_t right, bool *merged) {
    lw_merged_request asked = {.right = right, .start = call->replica->descriptor.start};
    *merged = false;
    return right == 0 ? LW_OK : replica_was_absorbed(call->replica, &asked, merged);
}

lw_status replica_merge_request(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *left = call->replica;
    lw_merge_request request;
    bool merged;
    uint64_t until_ns = lw_env_now(left->env) + FREEZE_MS * NS_PER_MS;
    LW_TRY(lw_merge_request_decode(body, &request));
    LW_TRY(was_merged(call, request.right, &merged));
    LW_TRY(replica_check_epoch(call));
    if (!merged && request.if_idle && !left->options.idle(left->options.argument, left)) {
        return lw_fail(LW_REFUSED, "shard %" PRIu64 " has something to do", left->options.shard);
    }
    if (!merged) {
        LW_TRY(replica_admit(call, ENTRY_SIZE, true));
        merging work = {.call = call, .left = left};
        if (call->deadline_ns == 0 || until_ns < call->deadline_ns) {
            call->deadline_ns = until_ns;
        }
        work.deadline_ns = call->deadline_ns;
        LW_TRY(merge(&work, &request));
    }
    lw_topology_encode(&left->descriptor, 1, reply);
    return LW_OK;
}

void replica_send_home(lw_replica *replica) {
    for (replica_call *each = replica->calls; each != NULL; each = each->next) {
        lw_lock_waiter *waiter = each->waiter;
        if (waiter != NULL && !waiter->held && !waiter->cut && !waiter->refused) {
            LW_MARK(replica->env, "replica.waiter_sent_home");
            lw_lock_table_cancel(replica->locks, waiter);
            waiter->cut = true;
            lw_queue_wake_all(&waiter->changed);
        }
    }
}
