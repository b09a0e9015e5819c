/* SPDX-License-Identifier: Apache-2.0 */
/* Entries: appended to the log in the order in which they are proposed, applied in that order once
 * they are durable. Whoever wakes first applies all that became durable with its own. */
#include "node/replica_state.h"

void replica_die(lw_replica *replica) {
    if (replica->dead) {
        return;
    }
    replica->dead = true;
    replica->reason = *lw_error_slot();
    if (replica->serving) { /* who starts it is told by the call */
        replica->options.died(replica->options.argument, &replica->reason);
    }
    lw_queue_wake_all(&replica->stop);
    lw_queue_wake_all(&replica->doomed.waiting);
    lw_queue_wake_all(&replica->split_finished);
    lw_lock_table_clear(replica->locks);
}

void replica_propose(lw_replica *replica, entry_kind kind, lw_buffer *batch,
                     replica_proposal *proposal) {
    LW_ASSERT(replica->log != NULL);
    bool now = proposal->epoch.range_version == 0;
    lw_epoch epoch = now ? replica->descriptor.epoch : proposal->epoch;
    lw_buffer_append_u8(batch, (uint8_t)kind);
    lw_buffer_append_u64(batch, epoch.range_version);
    lw_buffer_append_u64(batch, epoch.config_version);
    LW_ASSERT(batch->size <= LW_LOG_PAYLOAD_SIZE_MAX);
    proposal->entry = lw_buffer_view(batch);
    proposal->index = ++replica->last_index;
    if (proposal->start != 0) {
        replica->written_index = proposal->index;
        lw_gc_written(replica->options.gc);
    }
    proposal->next = NULL;
    proposal->applied = false;
    lw_log_record record = {.group = replica->options.shard,
                            .term = replica->term,
                            .index = proposal->index,
                            .kind = LW_LOG_ENTRY,
                            .payload = proposal->entry};
    proposal->position = lw_log_append(replica->log, &record, 1);
    if (replica->proposal_last == NULL) {
        replica->proposal_first = proposal;
    } else {
        LW_ASSERT(replica->proposal_last->index + 1 == proposal->index);
        LW_ASSERT(replica->proposal_last->position <= proposal->position);
        replica->proposal_last->next = proposal;
    }
    replica->proposal_last = proposal;
}

/* ---- applying ------------------------------------------------------------------------------- */

lw_status replica_take_descriptor(lw_replica *replica, lw_bytes bytes) {
    lw_buffer copy = lw_buffer_in(replica->env->memory);
    lw_buffer_append(&copy, bytes);
    lw_reader reader;
    uint32_t count = 0;
    lw_shard_descriptor read = {0};
    lw_status status = lw_topology_open(lw_buffer_view(&copy), &reader, &count);
    if (status == LW_OK && count == 1) {
        status = lw_topology_next(&reader, &read);
    }
    if (status != LW_OK || count != 1 || read.id != replica->options.shard) {
        lw_buffer_reset(&copy);
        return lw_fail(LW_CORRUPTION, "the descriptor of shard %llu in its own tree is damaged",
                       (unsigned long long)replica->options.shard);
    }
    lw_buffer_reset(&replica->descriptor_bytes);
    replica->descriptor_bytes = copy;
    replica->descriptor = read;
    return LW_OK;
}

/* The new descriptor in the batch of an ENTRY_DESCRIPTOR. */
static lw_status take_new_descriptor(lw_replica *replica, lw_bytes batch) {
    lw_buffer key = lw_buffer_in(replica->env->memory);
    lw_record_meta_key(replica->descriptor.start, "shard", &key);
    lw_status status = LW_CORRUPTION;
    lw_batch_operation operation;
    bool found = false;
    while (!found && lw_batch_next(&batch, &operation)) {
        found = operation.kind == LW_BATCH_PUT && lw_equal(operation.key, lw_buffer_view(&key));
    }
    lw_buffer_reset(&key);
    if (found) {
        replica->described = true;
        return replica_take_descriptor(replica, operation.value);
    }
    return lw_fail(status, "an entry that changes the shard's descriptor holds none");
}

static bool entry_split(lw_bytes entry, lw_bytes *batch, entry_kind *kind, lw_epoch *epoch) {
    if (entry.size < ENTRY_TRAILER_SIZE) {
        return false;
    }
    const uint8_t *trailer = entry.data + entry.size - ENTRY_TRAILER_SIZE;
    *batch = lw_view(entry.data, entry.size - ENTRY_TRAILER_SIZE);
    *kind = (entry_kind)trailer[0];
    *epoch = (lw_epoch){.range_version = lw_get_u64(trailer + 1),
                        .config_version = lw_get_u64(trailer + 9)};
    return *kind >= ENTRY_NOOP && *kind <= ENTRY_KEPT;
}

lw_status replica_apply(lw_replica *replica, uint64_t index, lw_bytes entry, lw_status *status) {
    lw_bytes batch;
    entry_kind kind;
    lw_epoch epoch;
    if (!entry_split(entry, &batch, &kind, &epoch)) {
        return lw_fail(LW_CORRUPTION, "entry %llu of shard %llu is not well-formed",
                       (unsigned long long)index, (unsigned long long)replica->options.shard);
    }
    const lw_epoch *current = &replica->descriptor.epoch;
    bool same = epoch.range_version == current->range_version &&
                epoch.config_version == current->config_version;
    *status = LW_OK;
    bool bound = kind == ENTRY_COMMAND || kind == ENTRY_SPLIT;
    if (bound && !same && !LW_BUG(replica->env, "shard.epoch_unchecked_at_apply")) {
        LW_MARK(replica->env, "replica.entry_void");
        *status = LW_UNAVAILABLE;
        batch.size = 0;
    }
    LW_TRY(lw_tree_apply(replica->tree, index, batch));
    if (*status == LW_OK && kind == ENTRY_SPLIT) {
        replica->splitting = replica->log != NULL; /* then its proposer goes on from here */
        return replica->splitting ? LW_OK : take_new_descriptor(replica, batch);
    }
    return kind == ENTRY_DESCRIPTOR ? take_new_descriptor(replica, batch) : LW_OK;
}

static void free_left(lw_replica *replica, replica_proposal *left) {
    lw_buffer_reset(&left->batch);
    lw_free(replica->env->memory, left);
}

/* Applies what is durable, in order; nothing behind a split that is not finished (P6). */
static lw_status apply_through(lw_replica *replica, uint64_t position) {
    while (replica->proposal_first != NULL && replica->proposal_first->position <= position &&
           !replica->splitting) {
        replica_proposal *next = replica->proposal_first;
        LW_TRY(replica_apply(replica, next->index, next->entry, &next->status));
        replica->proposal_first = next->next;
        if (next->next == NULL) {
            replica->proposal_last = NULL;
        }
        next->applied = true;
        if (next->status == LW_OK) {
            replica_open_count(replica, next);
        }
        if (next->left) {
            free_left(replica, next);
        }
    }
    return LW_OK;
}

/* Takes a proposal that will never be applied out of the queue: its memory goes. */
static void forget(lw_replica *replica, const replica_proposal *forgotten) {
    replica_proposal *before = NULL;
    for (replica_proposal *each = replica->proposal_first; each != NULL;
         before = each, each = each->next) {
        if (each != forgotten) {
            continue;
        }
        *(before == NULL ? &replica->proposal_first : &before->next) = each->next;
        if (each->next == NULL) {
            replica->proposal_last = before;
        }
        return;
    }
}

lw_status replica_wait(lw_replica *replica, replica_proposal *proposal) {
    lw_status status = LW_OK;
    if (!LW_BUG(replica->env, "txn.apply_before_durable")) {
        status = lw_log_wait(replica->log, proposal->position);
    }
    if (status == LW_OK && !replica->dead) {
        status = apply_through(replica, proposal->position);
    }
    while (status == LW_OK && !proposal->applied && !replica->dead) {
        LW_ASSERT(replica->splitting);
        LW_MARK(replica->env, "replica.entry_waits_for_split");
        lw_queue_wait(&replica->split_finished);
        if (replica->closing && replica->splitting) {
            forget(replica, proposal);
            return lw_fail(LW_UNDETERMINED, "the node stops while the shard is being split");
        }
        status = replica->dead ? LW_OK : apply_through(replica, proposal->position);
    }
    if (proposal->applied) {
        return proposal->status == LW_OK
                   ? LW_OK
                   : lw_fail(proposal->status, "the shard changed while the request was under way");
    }
    if (!replica->dead) {
        LW_ASSERT(status != LW_OK);
        replica_die(replica);
    }
    forget(replica, proposal);
    return lw_fail(LW_UNDETERMINED, "the node stops before it knows the outcome: %s",
                   replica->reason.text);
}

/* ---- entries that do not wait for a split ---------------------------------------------------- */

lw_status replica_keep_entry(lw_replica *replica, lw_buffer *batch) {
    replica_proposal *kept = lw_allocate_zero(replica->env->memory, sizeof(*kept));
    kept->batch = *batch;
    *batch = lw_buffer_in(replica->env->memory);
    replica_propose(replica, ENTRY_KEPT, &kept->batch, kept);
    if (lw_log_wait(replica->log, kept->position) == LW_OK && !replica->dead && !kept->applied &&
        replica->splitting) {
        LW_MARK(replica->env, "replica.entry_left_behind_split");
        kept->left = true;
        replica->left_position = kept->position;
        return LW_OK;
    }
    lw_status status = replica_wait(replica, kept);
    free_left(replica, kept);
    return status;
}

void replica_split_finish(lw_replica *replica) {
    replica->splitting = false;
    if (!replica->dead && apply_through(replica, replica->left_position) != LW_OK) {
        replica_die(replica);
    }
    lw_queue_wake_all(&replica->split_finished);
}

void replica_forget_left(lw_replica *replica) {
    while (replica->proposal_first != NULL) {
        replica_proposal *next = replica->proposal_first;
        LW_ASSERT(next->left);
        replica->proposal_first = next->next;
        free_left(replica, next);
    }
}
