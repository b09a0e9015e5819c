/* SPDX-License-Identifier: Apache-2.0 */
/* SPLIT: what a shard has from a key on becomes a shard of its own. Nothing is copied: the child's
 * tree sees the same files (lw_store_split_tree), and what follows from its descriptor.
 *
 *   1. An exclusive latch on the whole range: no command is under way, so that no lock is put or
 *      taken, and none that was evaluated here is still to be proposed. Reads go on, but, from step
 *      3 on, of what is given away: others may have carried the split out before, as a full or slow
 *      disk here delays it, and one of them may lead the child and write to it (hazard T14).
 *   2. The locks that the child will have are counted, transaction by transaction.
 *   3. An ENTRY_SPLIT in the parent's log: the parent's new descriptor, and the child's at the
 *      child's own place (txn/record.h). Once that is durable the split has happened (P6). No entry
 *      behind it is applied before step 4 is done.
 *   4. The tree is split, by one edit of the catalog. In the same turn the parent takes its new
 *      descriptor, and the child takes over its open transactions and its place among the shards:
 *      so nobody reads from a tree that no longer holds the key. Whoever waited at the parent finds
 *      another epoch, and is told where to go.
 *   5. The child begins its first term in its own log, and serves.
 *
 * On a follower there are only the last three steps, in a fiber of its own, with the group paused
 * meanwhile: there is nobody to latch out, and no account of open transactions. The same goes for a
 * leader's entry that is applied once nobody waits for it any more. Children begin alike on all
 * nodes; the first leader is whoever leads the parent.
 *
 * A crash before the entry is durable: nothing has happened. After that, and before the catalog is:
 * replay, or the tree itself if it was flushed, has the new descriptor, the tree still holds more
 * than that says, and the start does step 4 (lw_replica_finish_split). Later: the catalog has both
 * trees; the child's log may be empty. */
#include "node/replica_state.h"

#include "base/hash.h"
#include "storage/range.h"

enum {
    /* Its log begins behind this entry, which nobody has: so a replica that has nothing at all is
     * not taken for one that can go on from there. */
    CHILD_INDEX = 1,
    ENTRY_SIZE = 1024,                  /* of an ENTRY_SPLIT, without the keys, rounded up */
    RETRY_PAUSE_NS = 100 * 1000 * 1000, /* until a full disk is asked again */
    DAWDLE_NS = 100 * 1000 * 1000,      /* in simulations, between two steps, */
    LATE_NS = 1500 * 1000 * 1000,       /* and until what is committed is carried out */
};

/* Known everywhere from the parent's log alone, and nobody else's: an index is used once. */
static uint64_t child_id(uint64_t parent, uint64_t index) {
    uint8_t bytes[16];
    lw_put_u64(bytes, parent);
    lw_put_u64(bytes + 8, index);
    return lw_hash(0, lw_view(bytes, sizeof(bytes)));
}

/* ---- the tree ------------------------------------------------------------------------------- */

/* All that a tree has of user keys at or behind `key`: their data, their locks, and the records of
 * shards that begin there. */
typedef struct split_ranges {
    lw_key_range ranges[3];
    uint32_t count;
    lw_buffer keys[6];
} split_ranges;

static void add_range(split_ranges *to) {
    lw_buffer *lower = &to->keys[2 * to->count], *upper = lower + 1;
    to->ranges[to->count++] = (lw_key_range){lw_buffer_view(lower), lw_buffer_view(upper)};
}

static split_ranges ranges_from(lw_env *env, lw_bytes key) {
    split_ranges made = {.count = 0};
    for (size_t index = 0; index < sizeof(made.keys) / sizeof(made.keys[0]); index++) {
        made.keys[index] = lw_buffer_in(env->memory);
    }
    lw_record_data_prefix(key, &made.keys[0]);
    lw_record_data_end(lw_view(NULL, 0), &made.keys[1]);
    add_range(&made);
    if (!LW_BUG(env, "shard.child_without_locks")) {
        lw_record_lock_key(key, &made.keys[2 * made.count]);
        lw_record_lock_end(&made.keys[2 * made.count + 1]);
        add_range(&made);
    }
    lw_record_meta_prefix(key, &made.keys[2 * made.count]);
    lw_record_meta_end(&made.keys[2 * made.count + 1]);
    add_range(&made);
    return made;
}

static void ranges_reset(split_ranges *ranges) {
    for (size_t index = 0; index < sizeof(ranges->keys) / sizeof(ranges->keys[0]); index++) {
        lw_buffer_reset(&ranges->keys[index]);
    }
}

/* What the tree has of it: not more than its bounds. */
static void cut_ranges(const lw_tree *tree, const split_ranges *wanted, lw_range_list *ranges) {
    const lw_key_range whole = {.lower = lw_view(NULL, 0), .upper = lw_view(NULL, 0)};
    uint32_t bound_count;
    const lw_key_range *bounds = lw_tree_bounds(tree, &bound_count);
    if (bound_count == 0) {
        bounds = &whole;
        bound_count = 1;
    }
    for (uint32_t index = 0; index < bound_count; index++) {
        for (uint32_t part = 0; part < wanted->count; part++) {
            lw_key_range shared;
            if (lw_range_cut(&bounds[index], &wanted->ranges[part], &shared)) {
                lw_range_list_add(ranges, shared);
            }
        }
    }
}

LW_YIELDS static lw_status split_tree(lw_replica *replica, lw_bytes key, uint64_t id,
                                      lw_tree **child) {
    split_ranges wanted = ranges_from(replica->env, key);
    lw_range_list ranges = lw_range_list_in(replica->env->memory);
    cut_ranges(replica->tree, &wanted, &ranges);
    lw_tree_split split = {.child = id,
                           .child_index = CHILD_INDEX,
                           .ranges = ranges.ranges,
                           .range_count = ranges.count};
    lw_status status = lw_store_split_tree(replica->options.store, replica->tree, &split, child);
    lw_range_list_reset(&ranges);
    ranges_reset(&wanted);
    return status;
}

/* ---- finishing what a crash interrupted ----------------------------------------------------- */

/* The record of the shard that begins where this one ends, if this tree has it. */
LW_YIELDS static lw_status read_child(lw_replica *replica, lw_buffer *value) {
    lw_buffer key = lw_buffer_in(replica->env->memory);
    lw_record_meta_key(replica->descriptor.end, "shard", &key);
    lw_status status = LW_NOT_FOUND;
    if (lw_tree_may_hold(replica->tree, lw_buffer_view(&key))) {
        lw_snapshot *snapshot = lw_snapshot_open(replica->tree);
        status = lw_snapshot_get(snapshot, lw_buffer_view(&key), value);
        lw_snapshot_close(snapshot);
        if (status == LW_NOT_FOUND) {
            status = lw_fail(LW_CORRUPTION,
                             "shard %llu was split, and its tree does not say into what: restore "
                             "the folder from a backup",
                             (unsigned long long)replica->options.shard);
        }
    }
    lw_buffer_reset(&key);
    return status;
}

static lw_status decode_child(const lw_replica *replica, lw_bytes bytes,
                              lw_shard_descriptor *child) {
    lw_reader reader;
    uint32_t count = 0;
    if (lw_topology_open(bytes, &reader, &count) != LW_OK || count != 1 ||
        lw_topology_next(&reader, child) != LW_OK ||
        !lw_equal(child->start, replica->descriptor.end)) {
        return lw_fail(LW_CORRUPTION,
                       "the descriptor of the shard split from shard %llu is damaged",
                       (unsigned long long)replica->options.shard);
    }
    return LW_OK;
}

lw_status lw_replica_finish_split(lw_replica *replica, uint64_t *child) {
    LW_ASSERT(replica->log == NULL);
    *child = 0;
    LW_TRY(lw_group_replay_end(replica->group));
    if (replica->descriptor.end.size == 0) {
        return LW_OK;
    }
    lw_buffer bytes = lw_buffer_in(replica->env->memory);
    lw_shard_descriptor shard = {0};
    lw_tree *tree;
    lw_status status = read_child(replica, &bytes);
    bool left = status != LW_NOT_FOUND;
    if (status == LW_OK) {
        status = decode_child(replica, lw_buffer_view(&bytes), &shard);
    }
    if (status == LW_OK) {
        LW_MARK(replica->env, "replica.split_finished_at_start");
        status = split_tree(replica, shard.start, shard.id, &tree);
    }
    lw_buffer_reset(&bytes);
    if (!left) {
        return LW_OK;
    }
    LW_TRY(status);
    *child = shard.id;
    return LW_OK;
}

/* ---- the steps ------------------------------------------------------------------------------ */

typedef struct splitting {
    lw_replica *parent, *child;
    lw_bytes key;
    uint64_t leadership;           /* of the parent's, in which it was asked for */
    lw_shard_descriptor low, high; /* of parent and child, as they will be; views */
    lw_buffer low_bytes, high_bytes, both_bytes, batch;
} splitting;

static void describe(splitting *work) {
    const lw_replica *parent = work->parent;
    work->low = work->high = parent->descriptor;
    work->low.end = work->high.start = work->key;
    work->high.id = child_id(parent->options.shard, lw_group_last_index(parent->group) + 1);
    work->low.epoch.range_version++;
    work->high.epoch.range_version++;
    lw_topology_encode(&work->low, 1, &work->low_bytes);
    lw_topology_encode(&work->high, 1, &work->high_bytes);
    lw_topology_encode((lw_shard_descriptor[]){work->low, work->high}, 2, &work->both_bytes);
}

static void put_descriptors(splitting *work) {
    lw_buffer key = lw_buffer_in(work->parent->env->memory);
    lw_record_meta_key(work->low.start, "shard", &key);
    lw_batch_put(&work->batch, lw_buffer_view(&key), lw_buffer_view(&work->low_bytes));
    lw_record_meta_key(work->high.start, "shard", &key);
    lw_batch_put(&work->batch, lw_buffer_view(&key), lw_buffer_view(&work->high_bytes));
    lw_buffer_reset(&key);
    replica_put_past(work->parent, work->high.start, &work->batch);
}

/* Step 3. From the index that the child is named by to the entry of that index nothing suspends. */
LW_YIELDS static lw_status propose_split(splitting *work) {
    lw_replica *parent = work->parent;
    replica_proposal proposal = {.base = {.term = work->leadership}};
    describe(work);
    put_descriptors(work);
    work->child->options.shard = work->high.id;
    replica_propose(parent, ENTRY_SPLIT, &work->batch, &proposal);
    LW_ASSERT(proposal.base.index == 0 ||
              child_id(parent->options.shard, proposal.base.index) == work->high.id);
    return replica_wait(parent, &proposal);
}

/* Sleeps until what failed may be tried again; false when the replica stops. */
LW_YIELDS static bool pause_full(lw_replica *replica) {
    LW_MARK(replica->env, "replica.split_meets_full_disk");
    uint64_t until_ns = lw_env_now(replica->env) + RETRY_PAUSE_NS;
    return replica_background_sleep(replica, &replica->stop, until_ns);
}

/* Lets others come between two steps more often than they would. */
LW_YIELDS static void dawdle(lw_replica *replica) {
    if (LW_RARE(replica->env, "replica.slow_split")) {
        lw_env_sleep(replica->env, lw_env_random_below(replica->env, DAWDLE_NS));
    }
}

/* All that has to change in one turn. */
static void switch_over(splitting *work) {
    lw_replica *parent = work->parent, *child = work->child;
    lw_status status = replica_take_descriptor(child, lw_buffer_view(&work->high_bytes));
    LW_ASSERT(status == LW_OK);
    status = replica_take_descriptor(parent, lw_buffer_view(&work->low_bytes));
    LW_ASSERT(status == LW_OK);
    parent->tree_is_whole = false;
    child->described = true;
    child->floor = parent->floor;
    child->forgotten = parent->forgotten;
    replica_open_group(child, CHILD_INDEX, CHILD_INDEX);
    if (parent->serving && parent->leadership == work->leadership) {
        replica_open_hand_over(parent, child);
    } else {
        replica_open_forget(child); /* it led no more meanwhile: there is no account of it */
    }
    child->background_count++; /* until it serves */
    parent->options.split(parent->options.argument, child);
    status = lw_group_replay_end(child->group);
    LW_ASSERT(status == LW_OK); /* there was nothing to replay */
    replica_tell(parent);
    lw_group_resume(parent->group);
}

/* Step 4. It has to be, now: only the end of the node comes before. */
LW_YIELDS static lw_status give_away(splitting *work) {
    lw_replica *parent = work->parent, *child = work->child;
    lw_status status;
    dawdle(parent);
    while ((status = split_tree(parent, work->key, work->high.id, &child->tree)) == LW_FULL &&
           pause_full(parent)) {
    }
    if (status != LW_OK) {
        if (!parent->closing && !parent->dead) {
            replica_die(parent);
        }
        return lw_fail(LW_UNDETERMINED, "the node stops while the shard is being split");
    }
    switch_over(work);
    return LW_OK;
}

/* Followers learn that an entry is committed with what comes behind it. */
LW_YIELDS static void push_commit(const splitting *work) {
    lw_buffer nothing = lw_buffer_in(work->parent->env->memory);
    replica_proposal proposal = {.base = {.term = work->leadership}};
    replica_propose(work->parent, ENTRY_KEPT, &nothing, &proposal);
    (void)!replica_wait(work->parent, &proposal);
    LW_MARK(work->parent->env, "replica.split_known");
    lw_buffer_reset(&nothing);
}

/* Step 5. The same. */
LW_YIELDS static void begin_child(splitting *work, bool leads) {
    lw_replica *child = work->child;
    if (leads && !replica_alone(work->parent)) {
        push_commit(work);
    }
    child->log = work->parent->log;
    lw_status status;
    dawdle(child);
    while ((status = replica_begin_child(child, leads)) == LW_FULL && pause_full(child)) {
    }
    if (status != LW_OK && status != LW_FULL && !child->closing) {
        replica_die(work->parent);
    }
    replica_background_end(child);
}

/* ---- without a proposer ---------------------------------------------------------------------- */

static void work_reset(splitting *work) {
    lw_buffer_reset(&work->low_bytes);
    lw_buffer_reset(&work->high_bytes);
    lw_buffer_reset(&work->both_bytes);
    lw_buffer_reset(&work->batch);
}

/* The descriptors that an ENTRY_SPLIT puts: the parent's first. */
static lw_status read_entry(splitting *work, lw_bytes batch) {
    lw_batch_operation operation;
    while (lw_batch_next(&batch, &operation)) {
        if (operation.kind == LW_BATCH_PUT &&
            lw_equal(lw_record_meta_name(operation.key), lw_text("shard"))) {
            lw_buffer_append(work->low_bytes.size == 0 ? &work->low_bytes : &work->high_bytes,
                             operation.value);
        }
    }
    lw_reader low, high;
    uint32_t low_count = 0, high_count = 0;
    LW_TRY(lw_topology_open(lw_buffer_view(&work->low_bytes), &low, &low_count));
    LW_TRY(lw_topology_open(lw_buffer_view(&work->high_bytes), &high, &high_count));
    if (low_count != 1 || high_count != 1) {
        return lw_fail(LW_CORRUPTION, "an entry that splits a shard does not hold both halves");
    }
    LW_TRY(lw_topology_next(&low, &work->low));
    return lw_topology_next(&high, &work->high);
}

LW_YIELDS static void follow_main(void *argument) {
    splitting *work = argument;
    lw_replica *parent = work->parent;
    lw_memory *memory = parent->env->memory;
    if (give_away(work) == LW_OK) {
        LW_MARK(parent->env, "replica.split_followed");
        begin_child(work, false);
    } else {
        replica_free(work->child);
    }
    work_reset(work);
    lw_free(memory, work);
    parent->following_split = false;
    replica_background_end(parent);
}

lw_status replica_split_follow(lw_replica *replica, lw_bytes batch) {
    lw_memory *memory = replica->env->memory;
    lw_buffer empty = lw_buffer_in(memory);
    splitting *work = lw_allocate_zero(memory, sizeof(*work));
    *work = (splitting){.parent = replica,
                        .low_bytes = empty,
                        .high_bytes = empty,
                        .both_bytes = empty,
                        .batch = empty};
    lw_status status = read_entry(work, batch);
    if (status != LW_OK) {
        work_reset(work);
        lw_free(memory, work);
        return lw_fail(LW_CORRUPTION, "the entry that splits shard %llu is not well-formed",
                       (unsigned long long)replica->options.shard);
    }
    work->key = work->high.start;
    work->child = replica_make(&replica->options);
    work->child->options.shard = work->high.id;
    replica->following_split = true;
    replica->background_count++;
    lw_env_start(replica->env, "split", follow_main, work);
    return LW_OK;
}

/* ---- with one -------------------------------------------------------------------------------- */

/* Flushed, so that little is left for the latch; and a full disk shows now, when the split can
 * still be refused. */
LW_YIELDS static lw_status prepare(replica_call *call) {
    LW_TRY(replica_admit(call, ENTRY_SIZE, false));
    return lw_tree_flush(call->replica->tree);
}

LW_YIELDS static lw_status split_latched(replica_call *call, splitting *work) {
    lw_replica *parent = work->parent;
    LW_TRY(replica_open_load(work->child, parent->tree, work->key)); /* step 2 */
    LW_TRY(
        replica_call_room(call, ENTRY_SIZE + 8 * (work->key.size + parent->descriptor.start.size +
                                                  parent->descriptor.end.size)));
    dawdle(parent);
    LW_TRY(replica_call_gate(call));
    if (!LW_BUG(parent->env, "shard.read_while_given_away")) {
        parent->giving_away = &call->latch;
        parent->given_from = work->key;
    }
    lw_status status = propose_split(work);
    if (LW_RARE(parent->env, "replica.splits_late")) { /* others may be done by then */
        lw_env_sleep(parent->env, lw_env_random_below(parent->env, LATE_NS));
    }
    if (status == LW_OK) {
        status = give_away(work);
    }
    parent->giving_away = NULL;
    return status;
}

/* Steps 1 to 4. */
LW_YIELDS static lw_status split_at(replica_call *call, splitting *work) {
    lw_replica *parent = work->parent;
    LW_TRY(prepare(call));
    lw_latch_range *whole = lw_arena_allocate(&call->arena, sizeof(*whole));
    *whole = (lw_latch_range){.lower = lw_arena_copy(&call->arena, parent->descriptor.start),
                              .upper = lw_arena_copy(&call->arena, parent->descriptor.end)};
    if (!LW_BUG(parent->env, "shard.split_without_latch")) {
        call->latch.exclusive_ranges = whole;
        call->latch.exclusive_range_count = 1;
    }
    LW_TRY(replica_latch(call));
    lw_status status = split_latched(call, work);
    replica_unlatch(call);
    return status;
}

LW_YIELDS static lw_status split_here(replica_call *call, lw_bytes key, lw_buffer *reply) {
    lw_replica *parent = call->replica;
    lw_buffer empty = lw_buffer_in(parent->env->memory);
    splitting work = {.parent = parent,
                      .child = replica_make(&parent->options),
                      .key = key,
                      .leadership = replica_leadership_of(call),
                      .low_bytes = empty,
                      .high_bytes = empty,
                      .both_bytes = empty,
                      .batch = empty};
    lw_status status = replica_reshape_begin(call);
    if (status == LW_OK) {
        status = split_at(call, &work);
        replica_reshape_end(parent);
    }
    if (status == LW_OK) {
        LW_MARK(parent->env, "replica.split");
        begin_child(&work, true);
        lw_buffer_append(reply, lw_buffer_view(&work.both_bytes));
    } else {
        replica_free(work.child);
    }
    work_reset(&work);
    return status;
}

lw_status replica_split(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_split_request request;
    const lw_shard_descriptor *shard = &call->replica->descriptor;
    LW_TRY(lw_split_request_decode(body, &request));
    if (request.key.size > LW_USER_KEY_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a shard cannot begin at a key of %zu bytes: keys have %d at most",
                       request.key.size, LW_USER_KEY_SIZE_MAX);
    }
    LW_TRY(replica_await_keys(call, 0, &request.key, 1));
    if (lw_equal(request.key, shard->start)) {
        lw_topology_encode(shard, 1, reply); /* that is done already */
        return LW_OK;
    }
    return split_here(call, request.key, reply);
}
