/* SPDX-License-Identifier: Apache-2.0 */
/* What the collector of garbage (node/gc.h) asks of a replica.
 *
 * A shard that spreads from the node that had it alone takes along what was collected there: a
 * record "collected", u64 little-endian, at its start key. Whoever leads it refuses what is older,
 * and children have the same. */
#include "node/replica_state.h"

enum { COLLECTED_ENTRY_SIZE = 64 };

/* ---- what was collected --------------------------------------------------------------------- */

static const char collected_name[] = "collected";

lw_status replica_stands(const lw_replica *replica, uint64_t timestamp) {
    if (timestamp < replica->collected && !LW_BUG(replica->env, "replica.forgets_what_it_forgot")) {
        LW_MARK(replica->env, "replica.too_old");
        return lw_fail(LW_TOO_OLD,
                       "timestamp %llu lies below the safepoint %llu of shard %llu: begin anew",
                       (unsigned long long)timestamp, (unsigned long long)replica->collected,
                       (unsigned long long)replica->options.shard);
    }
    return lw_gc_stands(replica->options.gc, timestamp);
}

lw_status replica_load_collected(lw_replica *replica) {
    lw_buffer value = lw_buffer_in(replica->env->memory);
    lw_status status = lw_replica_kept(replica, collected_name, &value);
    bool sound = value.size == sizeof(uint64_t);
    replica->collected = status == LW_OK && sound ? lw_get_u64(value.data) : 0;
    lw_buffer_reset(&value);
    if (status == LW_OK && !sound) {
        return lw_fail(LW_CORRUPTION, "what shard %llu says of its past is damaged",
                       (unsigned long long)replica->options.shard);
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

void replica_put_collected(lw_replica *replica, lw_bytes start, uint64_t collected,
                           lw_buffer *batch) {
    lw_buffer key = lw_buffer_in(replica->env->memory);
    uint8_t value[8];
    lw_record_meta_key(start, collected_name, &key);
    lw_put_u64(value, collected);
    lw_batch_put(batch, lw_buffer_view(&key), lw_view(value, sizeof(value)));
    lw_buffer_reset(&key);
}

/* Takes it out of an entry of the shard's own. */
void replica_take_collected(lw_replica *replica, lw_bytes batch) {
    lw_batch_operation operation;
    while (lw_batch_next(&batch, &operation)) {
        if (operation.kind == LW_BATCH_PUT && operation.value.size == sizeof(uint64_t) &&
            lw_equal(lw_record_meta_name(operation.key), lw_text(collected_name))) {
            replica->collected = lw_get_u64(operation.value.data);
        }
    }
}

lw_status replica_spread(lw_replica *replica) {
    uint64_t decided = lw_gc_decided(replica->options.gc);
    if (decided <= replica->collected) {
        return LW_OK;
    }
    LW_TRY(replica_log_room(replica, COLLECTED_ENTRY_SIZE + replica->descriptor_bytes.size, false));
    LW_MARK(replica->env, "replica.spreads_with_its_past");
    lw_buffer batch = lw_buffer_in(replica->env->memory);
    replica_proposal proposal = {.base = {.term = replica->leadership}};
    replica_put_collected(replica, replica->descriptor.start, decided, &batch);
    replica_propose(replica, ENTRY_KEPT, &batch, &proposal);
    lw_status status = replica_wait(replica, &proposal);
    lw_buffer_reset(&batch);
    return status;
}

bool lw_replica_alone(const lw_replica *replica) {
    return replica_alone(replica) && !replica->spreading;
}

/* ---- standing on timestamps ----------------------------------------------------------------- */

lw_status replica_stand(replica_call *call, uint64_t timestamp) {
    const lw_replica_options *options = &call->replica->options;
    LW_TRY(replica_given(call, timestamp));
    LW_TRY(replica_stands(call->replica, timestamp));
    if (timestamp < call->stands_on) {
        call->stands_on = timestamp;
    }
    return lw_gc_stand(options->gc, call->session, timestamp, call->timeout_ms);
}

/* ---- settling and collecting ---------------------------------------------------------------- */

bool lw_replica_settle(lw_replica *replica, uint64_t safepoint) {
    bool settled = replica_open_doom_below(replica, safepoint) == 0;
    for (const replica_call *each = replica->calls; each != NULL; each = each->next) {
        settled &= !(each->standing && each->stands_on < safepoint);
    }
    return settled;
}

void lw_replica_collect(lw_replica *replica, uint64_t safepoint) {
    if (lw_tree_safepoint(replica->tree) < safepoint) {
        lw_tree_set_safepoint(replica->tree, safepoint);
    }
}

uint64_t lw_replica_stale_after(const lw_replica *replica, uint64_t safepoint) {
    return lw_tree_stale_after(replica->tree, safepoint);
}

/* ---- memtables ------------------------------------------------------------------------------ */

/* Whether an entry that is replayed came from a request: the shard's own change nothing but its
 * records about itself. */
static bool from_request(lw_bytes entry) {
    lw_batch_operation operation;
    return entry.size > ENTRY_TRAILER_SIZE &&
           lw_batch_next(&(lw_bytes){entry.data, entry.size - ENTRY_TRAILER_SIZE}, &operation) &&
           !lw_record_is_meta(operation.key);
}

void replica_gc_replayed(lw_replica *replica, uint64_t index, lw_bytes entry) {
    if (from_request(entry)) {
        replica->written_index = index;
    }
}

bool lw_replica_unflushed(const lw_replica *replica) {
    return replica->written_index > lw_tree_flushed(replica->tree);
}

void lw_replica_flush_old(lw_replica *replica, uint64_t safepoint, uint64_t newest) {
    if (!lw_replica_unflushed(replica)) {
        return;
    }
    if (replica->aging_index <= lw_tree_flushed(replica->tree)) {
        replica->aging_index = replica->written_index;
        replica->aging_until = newest;
    }
    if (replica->aging_until <= safepoint) {
        LW_MARK(replica->env, "replica.old_memtable_flushed");
        (void)!lw_tree_flush(replica->tree); /* the store itself tries again */
    }
}
