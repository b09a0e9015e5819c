/* SPDX-License-Identifier: Apache-2.0 */
/* What a merge leaves in a shard: that it is frozen, or has taken another one in; and how a shard
 * goes on when its merge came to nothing. The steps, and why they are safe, are in
 * node/replica_merge.c.
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
    THAW_PAUSE_MS = 200, /* between two attempts */
    DAWDLE_NS = 100 * 1000 * 1000,
};
#define NS_PER_MS UINT64_C(1000000)

void replica_absorbed_name(uint64_t right, char name[REPLICA_NAME_SIZE]) {
    (void)snprintf(name, REPLICA_NAME_SIZE, "absorbed.%016" PRIx64, right);
}

void replica_merge_dawdle(lw_replica *replica) {
    if (LW_RARE(replica->env, "replica.slow_merge")) {
        lw_env_sleep(replica->env, lw_env_random_below(replica->env, DAWDLE_NS));
    }
}

/* ---- records -------------------------------------------------------------------------------- */

void replica_put_record(lw_bytes start, const char *name, lw_bytes value, lw_buffer *batch) {
    lw_buffer key = lw_buffer_in(batch->memory);
    lw_record_meta_key(start, name, &key);
    lw_batch_put(batch, lw_buffer_view(&key), value);
    lw_buffer_reset(&key);
}

void replica_put_shard(const lw_shard_descriptor *shard, lw_buffer *batch) {
    lw_buffer bytes = lw_buffer_in(batch->memory);
    lw_topology_encode(shard, 1, &bytes);
    replica_put_record(shard->start, "shard", lw_buffer_view(&bytes), batch);
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
    lw_status status = lw_replica_kept(replica, replica_frozen_name, &value);
    if (status == LW_OK) {
        status = take_frozen(replica, lw_buffer_view(&value));
    }
    lw_buffer_clear(&value);
    if (status == LW_OK || status == LW_NOT_FOUND) {
        status = lw_replica_kept(replica, replica_merge_name, &value);
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
        if (!lw_equal(lw_record_meta_name(operation.key), lw_text(replica_frozen_name))) {
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
    replica_merge_dawdle(replica);
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
        } else if (lw_equal(name, lw_text(replica_merge_name))) {
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

/* Step 5 of node/replica_merge.c: of the readers. */
static void take_over_readers(lw_replica *left, const lw_replica *right) {
    uint64_t led_ns = right->serving ? right->led_ns : lw_env_now(left->env);
    if (led_ns > left->led_ns && !LW_BUG(left->env, "merge.readers_not_awaited")) {
        LW_MARK(left->env, "replica.merge_awaits_readers");
        left->led_ns = led_ns;
    }
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
        take_over_readers(left, right);
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

/* ---- asking others ----------------------------------------------------------------------------
 */

lw_status replica_ask_apart(lw_replica *replica, lw_message_kind kind, lw_bytes key,
                            const lw_buffer *body, uint64_t deadline_ns, lw_buffer *reply) {
    const lw_replica_options *options = &replica->options;
    lw_errand errand = {.kind = kind,
                        .key = key,
                        .body = lw_buffer_view(body),
                        .deadline_ns = deadline_ns,
                        .given_up = &replica->closing,
                        .asked = &replica->asked};
    if (LW_BUG(replica->env, "merge.awaits_who_asks")) {
        return options->ask(options->argument, kind, key, errand.body, reply);
    }
    return options->ask_apart(options->argument, &errand, reply);
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
    lw_status status = replica_ask_apart(replica, LW_MESSAGE_MERGED, start, &body, 0, &reply);
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
    replica_put_shard(&next, &batch);
    lw_record_meta_key(next.start, replica_frozen_name, &key);
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
        replica_merge_dawdle(replica);
        if (status == LW_OK && !merged && replica_runs(replica) == LW_OK) {
            (void)!unfreeze(replica, leadership, epoch);
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

/* The versions of what a key lies in only rise. */
bool lw_replica_frozen_for(const lw_replica *replica, const lw_shard_descriptor *range) {
    const replica_frozen *into = &replica->frozen_into;
    return replica->frozen && range->epoch.range_version <= into->range_version &&
           lw_compare(range->start, into->start) <= 0 &&
           (range->end.size == 0 || lw_compare(into->start, range->end) < 0);
}

/* ---- MERGED --------------------------------------------------------------------------------- */

lw_status replica_was_absorbed(lw_replica *replica, const lw_merged_request *asked, bool *merged) {
    char name[REPLICA_NAME_SIZE];
    lw_buffer key = lw_buffer_in(replica->env->memory), value = key;
    replica_absorbed_name(asked->right, name);
    lw_record_meta_key(asked->start, name, &key);
    lw_snapshot *snapshot = lw_snapshot_open(replica->tree);
    lw_status status = lw_snapshot_get(snapshot, lw_buffer_view(&key), &value);
    lw_snapshot_close(snapshot);
    lw_buffer_reset(&key);
    lw_buffer_reset(&value);
    *merged = status == LW_OK;
    return status == LW_NOT_FOUND ? LW_OK : status;
}

bool lw_replica_has_absorbed(lw_replica *replica, uint64_t right) {
    lw_merged_request asked = {.right = right, .start = replica->descriptor.start};
    bool merged = false;
    replica->background_count++; /* it stays meanwhile */
    lw_status status = replica_was_absorbed(replica, &asked, &merged);
    bool absorbing = replica->absorbing && replica->absorbs.right == right;
    replica_background_end(replica);
    return status == LW_OK && merged && !absorbing;
}

/* From here to the entry in the log nothing suspends but for room. */
LW_YIELDS static lw_status raise_version(replica_call *call) {
    lw_replica *replica = call->replica;
    LW_TRY(replica_call_room(call, ENTRY_SIZE + 2 * replica->descriptor_bytes.size));
    lw_buffer batch = lw_buffer_in(replica->env->memory);
    replica_proposal proposal = {.base = {.term = replica_leadership_of(call)}};
    lw_shard_descriptor next = replica->descriptor;
    next.epoch.range_version++;
    replica_put_shard(&next, &batch);
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
    /* What comes off it may be led elsewhere already, and merge. */
    bool given = LW_BUG(replica->env, "merge.asked_of_who_gave_it_away");
    if (!given) {
        LW_TRY(replica_await_given(call, asked.start));
    }
    if (!lies_in(&replica->descriptor, asked.start)) {
        call->misrouted = true;
        return lw_fail(LW_UNAVAILABLE, "shard %" PRIu64 " does not hold this key",
                       replica->options.shard);
    }
    LW_MARK(replica->env, "replica.asked_whether_merged");
    LW_TRY(replica_was_absorbed(replica, &asked, &merged));
    LW_TRY(replica_check_epoch(call));
    if (!merged) {
        LW_TRY(forestall(call, &asked));
        LW_TRY(replica_was_absorbed(replica, &asked, &merged));
    }
    LW_TRY(replica_confirm(call));
    if (!given && !merged && replica->options.shard != asked.left) {
        LW_TRY(replica_await_given(call, asked.start));
        LW_TRY(replica_check_epoch(call));
    }
    lw_merged_reply_encode(merged, reply);
    return LW_OK;
}
