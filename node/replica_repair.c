/* SPDX-License-Identifier: Apache-2.0 */
/* What the repair of a replica asks of it (node/shards_repair.c, node/shards_headless.c, and
 * node/shards_judge.c): that it leads no more, waits for another tree, halts, or goes on. */
#include "node/replica_state.h"

/* ---- a tree of which nobody here knows what it is ---------------------------------------------
 */

lw_status lw_replica_open_damaged(const lw_replica_options *options,
                                  const lw_shard_descriptor *shard, uint64_t index,
                                  lw_replica **replica) {
    lw_replica *opened = replica_make(options);
    lw_buffer bytes = lw_buffer_in(opened->env->memory);
    lw_topology_encode(shard, 1, &bytes);
    lw_status status = replica_take_descriptor(opened, lw_buffer_view(&bytes));
    lw_buffer_reset(&bytes);
    opened->tree = lw_store_tree(options->store, options->shard);
    LW_ASSERT(opened->tree != NULL);
    if (status != LW_OK) {
        replica_free(opened);
        return status;
    }
    opened->described = true;
    replica_open_group(opened, lw_tree_flushed(opened->tree), index);
    lw_replica_leave_tree(opened);
    *replica = opened;
    return LW_OK;
}

lw_status lw_replica_start_damaged(lw_replica *replica, lw_log *log) {
    LW_ASSERT(replica->log == NULL);
    LW_TRY(lw_group_replay_end(replica->group));
    replica->log = log;
    lw_group_start(replica->group);
    return LW_OK;
}

void lw_replica_leave_tree(lw_replica *replica) {
    lw_group_pause(replica->group);
    lw_group_stick(replica->group);
}

/* ---- a tree that is damaged -------------------------------------------------------------------
 */

lw_status lw_replica_hand_over(lw_replica *replica, uint64_t node) {
    return lw_group_transfer(replica->group, node);
}

void lw_replica_renew(lw_replica *replica, bool on) {
    replica->renews = on && !replica->closing && !replica->dead;
    if (!replica->closing && !replica->dead) {
        lw_group_hold(replica->group, on);
    }
}

bool lw_replica_renews(const lw_replica *replica) {
    return replica->renews;
}

bool lw_replica_stuck(const lw_replica *replica) {
    return lw_group_stuck(replica->group);
}

/* ---- replicas that differ ----------------------------------------------------------------------
 */

bool lw_replica_digest(const lw_replica *replica, uint64_t index, uint64_t *digest) {
    return lw_group_digest(replica->group, index, digest);
}

void lw_replica_go_on(lw_replica *replica) {
    if (!replica->closing && !replica->dead) {
        lw_group_go_on(replica->group);
    }
}

void lw_replica_suspend(lw_replica *replica) {
    lw_group_suspend(replica->group);
}

void lw_replica_halt(lw_replica *replica, uint64_t index) {
    replica->halted = true;
    uint64_t position = lw_group_halt(replica->group, index);
    replica->background_count++;
    (void)!lw_log_wait(replica->log, position); /* a log that died stops the node */
    replica_background_end(replica);
}

bool lw_replica_halted(const lw_replica *replica) {
    return lw_group_halted_at(replica->group) != 0;
}

void lw_replica_forgive(lw_replica *replica) {
    lw_group_forgive(replica->group);
}
