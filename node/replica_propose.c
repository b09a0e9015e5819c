/* SPDX-License-Identifier: Apache-2.0 */
/* Entries: proposed to the shard's group, and applied when it says so. */
#include "node/replica_state.h"

void replica_die(lw_replica *replica) {
    if (replica->dead) {
        return;
    }
    replica->dead = true;
    replica->reason = *lw_error_slot();
    if (!replica->starting) {
        replica->options.died(replica->options.argument, &replica->reason);
    }
    lw_queue_wake_all(&replica->stop);
    lw_queue_wake_all(&replica->doomed.waiting);
    if (replica->group != NULL) {
        lw_group_die(replica->group, &replica->reason);
    }
    lw_lock_table_clear(replica->locks);
}

void replica_propose(lw_replica *replica, entry_kind kind, lw_buffer *batch,
                     replica_proposal *proposal) {
    bool now = proposal->epoch.range_version == 0;
    lw_epoch epoch = now ? replica->descriptor.epoch : proposal->epoch;
    lw_buffer_append_u8(batch, (uint8_t)kind);
    lw_buffer_append_u64(batch, epoch.range_version);
    lw_buffer_append_u64(batch, epoch.config_version);
    lw_group_propose(replica->group, batch, &proposal->base);
    if (proposal->start != 0) {
        replica->written_index = lw_group_last_index(replica->group);
        lw_gc_written(replica->options.gc);
    }
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
    return *kind >= ENTRY_NOOP && *kind <= ENTRY_MERGE;
}

/* Who is no member any more since this entry is told by the leader: it hears of nothing else. */
static void tell_gone(const lw_replica *replica, const lw_shard_descriptor *before,
                      uint64_t index) {
    const lw_shard_descriptor *now = &replica->descriptor;
    for (uint32_t one = 0; one < before->replica_count && replica->serving; one++) {
        bool stays = false;
        for (uint32_t other = 0; other < now->replica_count && !stays; other++) {
            stays = now->replicas[other].node == before->replicas[one].node;
        }
        if (!stays) {
            lw_groups_gone(replica->options.groups, before->replicas[one].node,
                           replica->options.shard, index);
        }
    }
}

/* Whether an entry came too late: for a range that is another one by now, or behind a freeze. */
static bool is_void(const lw_replica *replica, entry_kind kind, lw_epoch epoch) {
    bool same = epoch.range_version == replica->descriptor.epoch.range_version;
    bool bound = kind == ENTRY_COMMAND || kind == ENTRY_SPLIT || kind >= ENTRY_FREEZE;
    bool frozen = replica->frozen && kind != ENTRY_UNFREEZE; /* whatever it is */
    return ((bound && !same) || frozen) && !LW_BUG(replica->env, "shard.epoch_unchecked_at_apply");
}

/* A new descriptor, of whatever kind of entry. */
static lw_status apply_descriptor(lw_replica *replica, const lw_group_entry *entry, entry_kind kind,
                                  lw_bytes batch) {
    lw_shard_descriptor before = replica->descriptor; /* but for its views */
    LW_TRY(take_new_descriptor(replica, batch));
    if (kind == ENTRY_FREEZE || kind == ENTRY_UNFREEZE) {
        LW_TRY(replica_freeze_applied(replica, batch));
    }
    if (replica->log != NULL) {
        tell_gone(replica, &before, entry->index);
        replica_leave_joint(replica);
        replica_tell(replica);
    }
    return LW_OK;
}

/* Applies an entry, or skips a void one: then `*status` is LW_UNAVAILABLE. */
static lw_status apply(lw_replica *replica, const lw_group_entry *entry, lw_status *status) {
    lw_bytes batch;
    entry_kind kind;
    lw_epoch epoch;
    *status = LW_OK;
    if (entry->bytes.size == 0) {
        return lw_tree_apply(replica->tree, entry->index, entry->bytes);
    }
    if (!entry_split(entry->bytes, &batch, &kind, &epoch)) {
        return lw_fail(LW_CORRUPTION, "entry %llu of shard %llu is not well-formed",
                       (unsigned long long)entry->index,
                       (unsigned long long)replica->options.shard);
    }
    if (is_void(replica, kind, epoch)) {
        LW_MARK(replica->env, "replica.entry_void");
        *status = LW_UNAVAILABLE;
        batch.size = 0;
    }
    LW_TRY(lw_tree_apply(replica->tree, entry->index, batch));
    if (*status == LW_OK && kind == ENTRY_SPLIT && replica->log != NULL) {
        replica->splits++;
        replica->tree_is_whole = true;
        lw_group_pause(replica->group); /* its proposer, if there is one, goes on from here */
        return entry->proposal != NULL ? LW_OK : replica_split_follow(replica, batch);
    }
    if (*status == LW_OK && kind == ENTRY_MERGE) {
        return replica_merge_applied(replica, entry, batch);
    }
    if (kind == ENTRY_KEPT) {
        replica_take_past(replica, batch);
    }
    bool changes = kind == ENTRY_DESCRIPTOR || kind == ENTRY_SPLIT || kind == ENTRY_FREEZE ||
                   kind == ENTRY_UNFREEZE;
    return changes && *status == LW_OK ? apply_descriptor(replica, entry, kind, batch) : LW_OK;
}

lw_status replica_apply(void *argument, const lw_group_entry *entry) {
    lw_replica *replica = argument;
    lw_status status;
    LW_TRY(apply(replica, entry, &status));
    if (entry->proposal == NULL) {
        replica_gc_applied(replica, entry->index, entry->bytes);
    }
    if (entry->proposal != NULL) {
        replica_proposal *proposal = LW_MAP_ENTRY(entry->proposal, replica_proposal, base);
        proposal->status = status;
        if (status == LW_OK) {
            replica_open_count(replica, proposal);
        }
    }
    return LW_OK;
}

/* ---- waiting -------------------------------------------------------------------------------- */

lw_status replica_wait(lw_replica *replica, replica_proposal *proposal) {
    LW_TRY(lw_group_wait(replica->group, &proposal->base));
    return proposal->status == LW_OK
               ? LW_OK
               : lw_fail(proposal->status, "the shard changed while the request was under way");
}

lw_status replica_keep_entry(lw_replica *replica, uint64_t leadership, lw_buffer *batch) {
    replica_proposal kept = {.base = {.term = leadership}};
    replica_propose(replica, ENTRY_KEPT, batch, &kept);
    return lw_group_wait_committed(replica->group, &kept.base);
}

/* ---- what else the group says --------------------------------------------------------------- */

bool replica_has_room(void *argument, size_t size, bool applies) {
    const lw_replica *replica = argument;
    return replica->tree != NULL && (applies ? lw_tree_has_room(replica->tree, size)
                                             : lw_tree_has_memory(replica->tree, size));
}

void replica_members_changed(void *argument, const lw_group_members *members) {
    lw_replica *replica = argument;
    (void)members; /* the descriptor has them once they are applied */
    lw_queue_wake_all(&replica->roles_changed);
}

void replica_removed(void *argument, uint64_t index) {
    lw_replica *replica = argument;
    LW_MARK(replica->env, "replica.gone");
    if (!replica->closing && !replica->dead) {
        replica->options.gone(replica->options.argument, replica, index);
    }
}

void replica_diverged(void *argument, uint64_t node, uint64_t index) {
    lw_replica *replica = argument;
    lw_logline(replica->env, LW_LEVEL_ERROR, "two replicas of a shard differ",
               "shard=%llu other=%016llx index=%llu", (unsigned long long)replica->options.shard,
               (unsigned long long)node, (unsigned long long)index);
    replica->options.differs(replica->options.argument, replica, index);
}
