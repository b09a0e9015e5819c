/* SPDX-License-Identifier: Apache-2.0 */
/* MERGE: the right neighbour of a shard becomes part of it. *L* is the left one, which stays, *R*
 * the right one, which ends. Two logs have to agree, and whoever leads may change in between.
 *
 *   1. *R* is led here as well as *L*, by the same voters, who are all there. Both are held back
 *      from other changes. An exclusive latch on all of *R*, as for a split.
 *   2. ENTRY_FREEZE in *R*'s log raises its range version. Nothing behind it changes *R* (what is
 *      there is void), and nobody is served from it any more, readers neither: a leader of *R* that
 *      has not heard of the merge would answer from before what is written to *L* afterwards.
 *   3. Every replica of *R* has applied that: so each has what step 5 needs.
 *   4. ENTRY_MERGE in *L*'s log: its new descriptor, of a range version above both; which entry
 *      froze *R*; and a record that *R* was absorbed. Void in another epoch of *L*. Once it is
 *      durable the merge has happened.
 *   5. Each replica of *L* that applies it pauses, and *R*'s tree becomes part of its own: the
 * steps of that are in node/shards_merge.c. In the same turn *L* takes its descriptor, and what *R*
 *      knew of open transactions; its read marks rise above all that *R* has answered (hazard T4).
 *
 * When it comes to nothing behind step 2, or nobody is left who knows, *R* has to go on. Whoever
 * leads it then (`thaw`) asks whoever holds the key at which *L* began: MERGED. The record of step
 * 4 answers yes. Else *L*'s range version is raised, unless it has been since, so that no
 * ENTRY_MERGE that may still be on its way, in a log that wins an election later, ever counts; when
 * that is applied the answer is no, for good. Only then ENTRY_UNFREEZE goes into *R*'s log.
 *
 * Records, by the start key of their shard
 *   frozen            of R: R u64 · L u64 · L's range version u64 · L's start key
 *   merge             of L: R u64 · index u64 and term u64 of ENTRY_FREEZE · R's start key
 *   absorbed.<R>      of L: nothing. One for each shard that became part of it
 * That of R stay in the tree, where they are nobody's: another shard may begin at that key later,
 * so a frozen record says of whom it is.
 *
 * A start finds that step 5 is missing by the record "merge" if the tree cannot hold where R began,
 * or by the entry, which its log has above what is flushed. */
#include "node/replica_state.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    ENTRY_SIZE = 4096, /* of any of these, without the keys, rounded up */
    FROZEN_SIZE = 3 * 8,
    MERGE_SIZE = 3 * 8,
    NAME_SIZE = 32,
    FREEZE_MS = 5000,    /* for all steps, unless the request gives less */
    LAG_MAX = 256,       /* entries that a replica may lack when it begins */
    THAW_PAUSE_MS = 200, /* between two attempts */
    LEAD_PAUSE_MS = 20,  /* until another look whether R is led here */
    DAWDLE_NS = 100 * 1000 * 1000,
};
#define NS_PER_MS UINT64_C(1000000)

static const char frozen_name[] = "frozen";
static const char merge_name[] = "merge";

static void absorbed_name(uint64_t right, char name[NAME_SIZE]) {
    (void)snprintf(name, NAME_SIZE, "absorbed.%016" PRIx64, right);
}

/* Lets others come between two steps more often than they would. */
LW_YIELDS static void dawdle(lw_replica *replica) {
    if (LW_RARE(replica->env, "replica.slow_merge")) {
        lw_env_sleep(replica->env, lw_env_random_below(replica->env, DAWDLE_NS));
    }
}

/* ---- records -------------------------------------------------------------------------------- */

static void put_record(lw_bytes start, const char *name, lw_bytes value, lw_buffer *batch) {
    lw_buffer key = lw_buffer_in(batch->memory);
    lw_record_meta_key(start, name, &key);
    lw_batch_put(batch, lw_buffer_view(&key), value);
    lw_buffer_reset(&key);
}

static void put_shard(const lw_shard_descriptor *shard, lw_buffer *batch) {
    lw_buffer bytes = lw_buffer_in(batch->memory);
    lw_topology_encode(shard, 1, &bytes);
    put_record(shard->start, "shard", lw_buffer_view(&bytes), batch);
    lw_buffer_reset(&bytes);
}

static lw_status record_damaged(const lw_replica *replica) {
    return lw_fail(LW_CORRUPTION, "what shard %" PRIu64 " says of its merging is damaged",
                   replica->options.shard);
}

static lw_status take_frozen(lw_replica *replica, lw_bytes value) {
    lw_memory *memory = replica->env->memory;
    replica_frozen *into = &replica->frozen_into;
    if (value.size < FROZEN_SIZE) {
        return record_damaged(replica);
    }
    replica->frozen = lw_get_u64(value.data) == replica->options.shard;
    lw_free(memory, (void *)(uintptr_t)into->start.data);
    *into = (replica_frozen){
        .left = lw_get_u64(value.data + 8),
        .range_version = lw_get_u64(value.data + 16),
        .start = lw_copy(memory, lw_view(value.data + FROZEN_SIZE, value.size - FROZEN_SIZE))};
    return LW_OK;
}

static lw_status take_merge(lw_replica *replica, lw_bytes value) {
    lw_memory *memory = replica->env->memory;
    replica_merge *merge = &replica->absorbs;
    if (value.size < MERGE_SIZE) {
        return record_damaged(replica);
    }
    lw_free(memory, (void *)(uintptr_t)merge->start.data);
    *merge = (replica_merge){
        .right = lw_get_u64(value.data),
        .index = lw_get_u64(value.data + 8),
        .term = lw_get_u64(value.data + 16),
        .start = lw_copy(memory, lw_view(value.data + MERGE_SIZE, value.size - MERGE_SIZE))};
    return LW_OK;
}

void replica_merge_close(lw_replica *replica) {
    lw_memory *memory = replica->env->memory;
    lw_free(memory, (void *)(uintptr_t)replica->frozen_into.start.data);
    lw_free(memory, (void *)(uintptr_t)replica->absorbs.start.data);
    lw_buffer_reset(&replica->absorbs_shard);
}

static bool lies_in(const lw_shard_descriptor *shard, lw_bytes key) {
    return lw_compare(key, shard->start) >= 0 &&
           (shard->end.size == 0 || lw_compare(key, shard->end) < 0);
}

/* Whether the tree may hold what the shard has from `start` on. */
static bool tree_reaches(const lw_replica *replica, lw_bytes start) {
    lw_buffer key = lw_buffer_in(replica->env->memory);
    lw_record_meta_key(start, "shard", &key);
    bool reaches = lw_tree_may_hold(replica->tree, lw_buffer_view(&key));
    lw_buffer_reset(&key);
    return reaches;
}

lw_status replica_load_merges(lw_replica *replica) {
    lw_buffer value = lw_buffer_in(replica->env->memory);
    replica->frozen = replica->absorbing = replica->tree_is_whole = false;
    lw_status status = lw_replica_kept(replica, frozen_name, &value);
    if (status == LW_OK) {
        status = take_frozen(replica, lw_buffer_view(&value));
    }
    lw_buffer_clear(&value);
    if (status == LW_OK || status == LW_NOT_FOUND) {
        status = lw_replica_kept(replica, merge_name, &value);
    }
    if (status == LW_OK) {
        status = take_merge(replica, lw_buffer_view(&value));
        replica->absorbing = status == LW_OK &&
                             lies_in(&replica->descriptor, replica->absorbs.start) &&
                             !tree_reaches(replica, replica->absorbs.start);
        replica->tree_is_whole = replica->absorbing;
    }
    lw_buffer_reset(&value);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* ---- applying ------------------------------------------------------------------------------- */

lw_status replica_freeze_applied(lw_replica *replica, lw_bytes batch) {
    lw_batch_operation operation;
    while (lw_batch_next(&batch, &operation)) {
        if (!lw_equal(lw_record_meta_name(operation.key), lw_text(frozen_name))) {
            continue;
        }
        if (operation.kind == LW_BATCH_PUT) {
            LW_TRY(take_frozen(replica, operation.value));
        } else {
            replica->frozen = false;
        }
    }
    if (replica->log == NULL) {
        return LW_OK;
    }
    if (replica->frozen) {
        LW_MARK(replica->env, "replica.frozen");
        replica_thaw(replica);
    } else {
        LW_MARK(replica->env, "replica.unfrozen");
        replica_open_sweep_leftovers(replica);
        replica->options.thawed(replica->options.argument);
    }
    return LW_OK;
}

LW_YIELDS static void follow_main(void *argument) {
    lw_replica *replica = argument;
    LW_MARK(replica->env, "replica.merge_followed");
    dawdle(replica);
    (void)!replica->options.absorb(replica->options.argument, replica);
    replica_background_end(replica);
}

/* The group is paused; what follows from it is done by its proposer, a fiber, or the start. */
lw_status replica_merge_applied(lw_replica *replica, const lw_group_entry *entry, lw_bytes batch) {
    lw_bytes rest = batch;
    lw_batch_operation operation;
    bool described = false, found = false;
    while (lw_batch_next(&rest, &operation)) {
        lw_bytes name = lw_record_meta_name(operation.key);
        if (lw_equal(name, lw_text("shard"))) {
            lw_buffer_clear(&replica->absorbs_shard);
            lw_buffer_append(&replica->absorbs_shard, operation.value);
            described = true;
        } else if (lw_equal(name, lw_text(merge_name))) {
            LW_TRY(take_merge(replica, operation.value));
            found = true;
        }
    }
    if (!described || !found) {
        return lw_fail(LW_CORRUPTION,
                       "the entry that merges a shard into shard %" PRIu64 " is not well-formed",
                       replica->options.shard);
    }
    replica_take_past(replica, batch);
    replica->splits++;
    replica->absorbing = replica->tree_is_whole = true;
    lw_group_pause(replica->group);
    if (replica->log != NULL && entry->proposal == NULL) {
        replica_background_start(replica, "merge", follow_main);
    }
    return LW_OK;
}

lw_status lw_replica_replay_alone(lw_replica *replica) {
    return lw_group_replay_alone(replica->group);
}

/* ---- step 5, as far as it is the replicas' --------------------------------------------------- */

bool lw_replica_absorbs(const lw_replica *replica, lw_replica_merge *what) {
    const replica_merge *merge = &replica->absorbs;
    *what = (lw_replica_merge){.right = merge->right, .index = merge->index, .term = merge->term};
    return replica->absorbing;
}

lw_status lw_replica_vouch(lw_replica *replica, uint64_t index, uint64_t term) {
    LW_TRY(lw_group_vouch(replica->group, index, term));
    return replica->frozen
               ? LW_OK
               : lw_fail(LW_UNAVAILABLE, "shard %" PRIu64 " is not frozen", replica->options.shard);
}

/* Who serves knows what is open; any other account is none. */
lw_status lw_replica_prepare_take_over(const lw_replica *left, lw_replica *right) {
    if (!left->serving || right->serving) {
        return LW_OK;
    }
    LW_MARK(right->env, "replica.merge_counts_anew");
    replica_open_forget(right);
    return replica_open_load(right, right->tree, lw_view(NULL, 0));
}

void lw_replica_take_over(lw_replica *left, lw_replica *right) {
    LW_ASSERT(left->absorbing && lw_replica_tree(left) != NULL);
    if (left->absorbs_shard.size > 0) {
        lw_status status = replica_take_descriptor(left, lw_buffer_view(&left->absorbs_shard));
        LW_ASSERT(status == LW_OK); /* it was encoded here, or decoded before */
    }
    left->absorbing = left->tree_is_whole = false;
    if (left->serving) {
        uint64_t given = lw_timestamps_last(left->options.timestamps);
        if (!LW_BUG(left->env, "merge.marks_not_raised")) {
            lw_read_marks_raise_all(&left->marks, given);
        }
        if (right->written_before > left->written_before) {
            left->written_before = right->written_before;
        }
        if (!right->serving) {
            left->written_before = given;
        }
        replica_open_take_over(left, right);
    }
    LW_MARK(left->env, "replica.merged");
}

void lw_replica_stick(lw_replica *left) {
    if (left->absorbing) {
        left->absorbing = false;
        lw_group_stick(left->group);
    }
}

void lw_replica_go_on_merged(lw_replica *left) {
    LW_ASSERT(!left->absorbing);
    if (left->log != NULL) {
        replica_tell(left);
        replica_sweep(left);
    }
    lw_group_resume(left->group);
}

/* ---- thawing -------------------------------------------------------------------------------- */

/* Whether it has become part of the other one; else it never will by what froze it. */
LW_YIELDS static lw_status ask_merged(lw_replica *replica, bool *merged) {
    const replica_frozen *into = &replica->frozen_into;
    lw_memory *memory = replica->env->memory;
    lw_buffer body = lw_buffer_in(memory), reply = body;
    lw_bytes start = lw_copy(memory, into->start);
    *merged = false;
    if (LW_BUG(replica->env, "merge.unfreeze_unasked")) {
        lw_free(memory, (void *)(uintptr_t)start.data);
        return LW_OK;
    }
    lw_merged_request request = {.right = replica->options.shard,
                                 .left = into->left,
                                 .range_version = into->range_version,
                                 .start = start};
    lw_merged_request_encode(&request, &body);
    lw_status status = replica->options.ask(replica->options.argument, LW_MESSAGE_MERGED, start,
                                            lw_buffer_view(&body), &reply);
    if (status == LW_OK) {
        status = lw_merged_reply_decode(lw_buffer_view(&reply), merged);
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    lw_free(memory, (void *)(uintptr_t)start.data);
    return status;
}

LW_YIELDS static lw_status unfreeze(lw_replica *replica, uint64_t leadership, lw_epoch epoch) {
    LW_TRY(replica_log_room(replica, ENTRY_SIZE + 2 * replica->descriptor_bytes.size, true));
    lw_buffer batch = lw_buffer_in(replica->env->memory), key = batch;
    replica_proposal proposal = {.base = {.term = leadership}, .epoch = epoch};
    lw_shard_descriptor next = replica->descriptor;
    next.epoch.range_version++;
    put_shard(&next, &batch);
    lw_record_meta_key(next.start, frozen_name, &key);
    lw_batch_delete(&batch, lw_buffer_view(&key));
    replica_propose(replica, ENTRY_UNFREEZE, &batch, &proposal);
    lw_status status = replica_wait(replica, &proposal);
    lw_buffer_reset(&batch);
    lw_buffer_reset(&key);
    return status;
}

LW_YIELDS static void thaw_main(void *argument) {
    lw_replica *replica = argument;
    while (replica_runs(replica) == LW_OK && replica->frozen && !replica->merging) {
        uint64_t leadership = replica->leadership;
        lw_epoch epoch = replica->descriptor.epoch;
        bool merged;
        lw_status status = ask_merged(replica, &merged);
        dawdle(replica);
        if (status == LW_OK && !merged && replica_runs(replica) == LW_OK) {
            status = unfreeze(replica, leadership, epoch);
        } else if (status == LW_OK && merged && replica_runs(replica) == LW_OK) {
            LW_MARK(replica->env, "replica.found_to_be_merged");
            replica->options.orphaned(replica->options.argument, replica);
        }
        if (replica_runs(replica) == LW_OK && replica->frozen) {
            uint64_t until_ns = lw_env_now(replica->env) + THAW_PAUSE_MS * NS_PER_MS;
            (void)replica_background_sleep(replica, &replica->stop, until_ns);
        }
    }
    replica->thawing = false;
    replica_background_end(replica);
}

void replica_thaw(lw_replica *replica) {
    if (replica->frozen && replica->serving && !replica->merging && !replica->thawing &&
        !replica->closing && !replica->dead) {
        LW_MARK(replica->env, "replica.thaws");
        replica->thawing = true;
        replica_background_start(replica, "thaw", thaw_main);
    }
}

bool lw_replica_frozen(const lw_replica *replica, uint64_t *left) {
    *left = replica->frozen_into.left;
    return replica->frozen;
}

/* ---- MERGED --------------------------------------------------------------------------------- */

LW_YIELDS static lw_status look_absorbed(lw_replica *replica, const lw_merged_request *asked,
                                         bool *merged) {
    char name[NAME_SIZE];
    lw_buffer key = lw_buffer_in(replica->env->memory), value = key;
    absorbed_name(asked->right, name);
    lw_record_meta_key(asked->start, name, &key);
    lw_snapshot *snapshot = lw_snapshot_open(replica->tree);
    lw_status status = lw_snapshot_get(snapshot, lw_buffer_view(&key), &value);
    lw_snapshot_close(snapshot);
    lw_buffer_reset(&key);
    lw_buffer_reset(&value);
    *merged = status == LW_OK;
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* From here to the entry in the log nothing suspends but for room. */
LW_YIELDS static lw_status raise_version(replica_call *call) {
    lw_replica *replica = call->replica;
    LW_TRY(replica_call_room(call, ENTRY_SIZE + 2 * replica->descriptor_bytes.size));
    lw_buffer batch = lw_buffer_in(replica->env->memory);
    replica_proposal proposal = {.base = {.term = replica_leadership_of(call)}};
    lw_shard_descriptor next = replica->descriptor;
    next.epoch.range_version++;
    put_shard(&next, &batch);
    replica_propose(replica, ENTRY_DESCRIPTOR, &batch, &proposal);
    lw_status status = replica_wait(replica, &proposal);
    lw_buffer_reset(&batch);
    LW_MARK(replica->env, "replica.merge_forestalled");
    return status;
}

/* A merge that is under way here is waited for; one that is not comes to nothing from now on. */
LW_YIELDS static lw_status forestall(replica_call *call, const lw_merged_request *asked) {
    lw_replica *replica = call->replica;
    if (replica->options.shard != asked->left ||
        replica->descriptor.epoch.range_version != asked->range_version) {
        return LW_OK;
    }
    call->freeing = true;
    LW_TRY(replica_reshape_begin(call));
    lw_status status = raise_version(call);
    replica_reshape_end(replica);
    return status;
}

lw_status replica_merged_request(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *replica = call->replica;
    lw_merged_request asked;
    bool merged;
    if (call->session != 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "what became of a merge is asked by nodes");
    }
    LW_TRY(lw_merged_request_decode(body, &asked));
    if (!lies_in(&replica->descriptor, asked.start)) {
        call->misrouted = true;
        return lw_fail(LW_UNAVAILABLE, "shard %" PRIu64 " does not hold this key",
                       replica->options.shard);
    }
    LW_MARK(replica->env, "replica.asked_whether_merged");
    LW_TRY(look_absorbed(replica, &asked, &merged));
    LW_TRY(replica_check_epoch(call));
    if (!merged) {
        LW_TRY(forestall(call, &asked));
        LW_TRY(look_absorbed(replica, &asked, &merged));
    }
    LW_TRY(replica_confirm(call));
    lw_merged_reply_encode(merged, reply);
    return LW_OK;
}

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

/* Has R be led here. */
LW_YIELDS static lw_status lead_right(merging *work) {
    lw_replica *right = work->right;
    const lw_replica_options *options = &right->options;
    if (right->serving) {
        return LW_OK;
    }
    LW_MARK(right->env, "replica.merge_leads_both");
    right->background_count++; /* it stays meanwhile */
    lw_buffer body = lw_buffer_in(right->env->memory), reply = body;
    lw_transfer_request_encode(&(lw_transfer_request){.node = options->node}, &body);
    lw_bytes start = lw_arena_copy(&work->call->arena, right->descriptor.start);
    lw_status status =
        options->ask(options->argument, LW_MESSAGE_TRANSFER, start, lw_buffer_view(&body), &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    while (status == LW_OK && !right->serving && !right->closing && !right->dead &&
           lw_env_now(right->env) < work->deadline_ns) {
        lw_env_sleep(right->env, LEAD_PAUSE_MS * NS_PER_MS);
    }
    status = status == LW_OK ? replica_gate(right) : status;
    replica_background_end(right);
    return status;
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
    put_shard(&next, batch);
    lw_buffer value = lw_buffer_in(batch->memory);
    lw_buffer_append_u64(&value, next.id);
    lw_buffer_append_u64(&value, left->id);
    lw_buffer_append_u64(&value, left->epoch.range_version);
    lw_buffer_append(&value, left->start);
    put_record(next.start, frozen_name, lw_buffer_view(&value), batch);
    lw_buffer_reset(&value);
}

/* Step 2, under the latch. */
LW_YIELDS static lw_status propose_freeze(merging *work) {
    lw_replica *right = work->right;
    LW_TRY(replica_call_room(&work->other, ENTRY_SIZE + 2 * right->descriptor_bytes.size +
                                               work->left->descriptor_bytes.size));
    dawdle(right);
    LW_TRY(replica_call_gate(&work->other));
    LW_TRY(replica_call_gate(work->call));
    lw_buffer batch = lw_buffer_in(right->env->memory);
    replica_proposal proposal = {.base = {.term = right->leadership}};
    put_frozen(work, &batch);
    right->merging = true;
    replica_propose(right, ENTRY_FREEZE, &batch, &proposal);
    work->frozen = (lw_replica_merge){
        .right = right->options.shard, .index = proposal.base.index, .term = proposal.base.term};
    lw_status status = replica_wait(right, &proposal);
    lw_buffer_reset(&batch);
    return status;
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
        status = freeze_latched(work);
    }
    replica_reshape_end(right);
    return status;
}

static void put_merge(const merging *work, lw_buffer *batch) {
    const lw_shard_descriptor *right = &work->right->descriptor;
    lw_shard_descriptor next = work->left->descriptor;
    char name[NAME_SIZE];
    next.end = right->end;
    if (right->epoch.range_version > next.epoch.range_version) {
        next.epoch.range_version = right->epoch.range_version;
    }
    next.epoch.range_version++;
    put_shard(&next, batch);
    lw_buffer value = lw_buffer_in(batch->memory);
    lw_buffer_append_u64(&value, work->frozen.right);
    lw_buffer_append_u64(&value, work->frozen.index);
    lw_buffer_append_u64(&value, work->frozen.term);
    lw_buffer_append(&value, right->start);
    put_record(next.start, merge_name, lw_buffer_view(&value), batch);
    lw_buffer_reset(&value);
    absorbed_name(right->id, name);
    put_record(next.start, name, lw_view(NULL, 0), batch);
    replica_put_past_of_both(work->left, work->right, batch);
}

/* Step 4, under the latch of L, so that no command is under way that it would make void. */
LW_YIELDS static lw_status propose_merge(merging *work) {
    lw_replica *left = work->left;
    LW_TRY(replica_call_room(work->call, ENTRY_SIZE + 2 * left->descriptor_bytes.size +
                                             work->right->descriptor_bytes.size));
    dawdle(left);
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
        replica_call_close(&work->other);
        work->right = NULL;
    }
}

LW_YIELDS static lw_status merge_latched(merging *work) {
    lw_replica *left = work->left;
    LW_TRY(propose_merge(work));
    let_go_of_right(work);
    dawdle(left);
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
    lw_status status = merge_latched(work);
    replica_unlatch(work->call);
    return status;
}

LW_YIELDS static lw_status merge_both(merging *work) {
    lw_replica *right = work->right;
    replica_call_open(right, 0, work->deadline_ns, &work->other);
    lw_status status = freeze(work);
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
    uint64_t shard = work->right->options.shard;
    lw_status status = lead_right(work);
    LW_TRY(status);
    LW_TRY(replica_reshape_begin(work->call));
    status = find_right(work, request); /* it may be another one by now */
    if (status == LW_OK && (work->right->options.shard != shard || work->right->merging)) {
        status = lw_fail(LW_UNAVAILABLE, "the shards changed meanwhile: ask again");
    }
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
    return right == 0 ? LW_OK : look_absorbed(call->replica, &asked, merged);
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
