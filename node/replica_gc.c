/* SPDX-License-Identifier: Apache-2.0 */
/* What the collector of garbage (node/gc.h) asks of a replica. */
#include "node/replica_state.h"

lw_status replica_stand(replica_call *call, uint64_t timestamp) {
    const lw_replica_options *options = &call->replica->options;
    LW_TRY(replica_given(call, timestamp));
    if (timestamp < call->stands_on) {
        call->stands_on = timestamp;
    }
    return lw_gc_stand(options->gc, call->session, timestamp, call->timeout_ms);
}

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
