/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of a shard, from its leader to a member that needs what the log does not have any more.
 * How the files move is somebody else's (node/snapshot.h); here stands what a snapshot says of
 * itself, its descriptor as of then, and how a replica comes to stand on one: its tree is replaced
 * by one edit, and in the same turn it takes that descriptor. */
#include "node/replica_state.h"

/* ---- sending -------------------------------------------------------------------------------- */

typedef struct sending {
    lw_replica *replica;
    uint64_t node;
    uint32_t place; /* SNAPSHOTS_SENT_MAX: there was none left, and it comes to nothing */
} sending;

/* Where a node stands among those that are sent something; SNAPSHOTS_SENT_MAX: nowhere. */
static uint32_t place_of(const lw_replica *replica, uint64_t node) {
    uint32_t place = 0;
    while (place < SNAPSHOTS_SENT_MAX && replica->sending_to[place] != node) {
        place++;
    }
    return place;
}

bool replica_sends_to(const lw_replica *replica, uint64_t node) {
    return place_of(replica, node) < SNAPSHOTS_SENT_MAX;
}

bool replica_sends(const lw_replica *replica) {
    bool sends = false;
    for (uint32_t place = 0; place < SNAPSHOTS_SENT_MAX; place++) {
        sends = sends || replica->sending_to[place] != 0;
    }
    return sends;
}

LW_YIELDS static void send_main(void *argument) {
    sending *job = argument;
    lw_replica *replica = job->replica;
    const lw_replica_options *options = &replica->options;
    uint64_t index = 0;
    lw_status status = LW_UNAVAILABLE;
    if (job->place < SNAPSHOTS_SENT_MAX) {
        status = options->send_snapshot(options->argument, options->shard, job->node, &index);
        replica->sending_to[job->place] = 0;
    }
    if (status == LW_OK) {
        LW_MARK(replica->env, "replica.snapshot_sent");
    } else if (job->place < SNAPSHOTS_SENT_MAX && !replica->closing && !replica->dead) {
        lw_logline(replica->env, LW_LEVEL_WARN, "a snapshot could not be sent",
                   "shard=%llu node=%016llx reason=\"%s\"", (unsigned long long)options->shard,
                   (unsigned long long)job->node, lw_error_slot()->text);
        status = status == LW_CORRUPTION ? replica_damaged(replica) : status;
    }
    lw_group_snapshot_sent(replica->group, job->node, status == LW_OK ? index : 0);
    lw_free(replica->env->memory, job);
    replica_background_end(replica);
}

void replica_wants_snapshot(void *argument, uint64_t node) {
    lw_replica *replica = argument;
    uint32_t place = place_of(replica, 0);
    if (replica->closing || replica->dead || replica->options.send_snapshot == NULL) {
        return;
    }
    if (place < SNAPSHOTS_SENT_MAX) {
        replica->sending_to[place] = node;
        replica->sending_splits[place] = replica->splits - replica->tree_is_whole;
    }
    sending *job = lw_allocate(replica->env->memory, sizeof(*job));
    *job = (sending){.replica = replica, .node = node, .place = place};
    replica->background_count++;
    lw_env_start(replica->env, "send snapshot", send_main, job);
}

void lw_replica_send_anew(lw_replica *replica, uint64_t node) {
    lw_group_figures figures;
    lw_group_figures_get(replica->group, &figures);
    bool member = false;
    for (uint32_t index = 0; index < figures.peer_count; index++) {
        member = member || figures.peers[index].node == node;
    }
    if (replica->serving && member && place_of(replica, node) == SNAPSHOTS_SENT_MAX) {
        LW_MARK(replica->env, "replica.sends_anew");
        replica_wants_snapshot(replica, node);
    }
}

lw_status lw_replica_describe(lw_replica *replica, uint64_t node, uint64_t index,
                              lw_snapshot *state, uint64_t *term, lw_buffer *head) {
    uint32_t place = place_of(replica, node);
    /* Between the entry of a split and that of the tree, the one has the new descriptor, and the
     * other all keys. */
    if (place == SNAPSHOTS_SENT_MAX || replica->sending_splits[place] != replica->splits ||
        replica->tree_is_whole) {
        LW_MARK(replica->env, "replica.snapshot_crosses_split");
        return lw_fail(LW_UNAVAILABLE, "shard %llu was split meanwhile: make a newer snapshot",
                       (unsigned long long)replica->options.shard);
    }
    LW_TRY(lw_group_snapshot_begin(replica->group, node, index, term));
    lw_buffer key = lw_buffer_in(replica->env->memory);
    lw_record_meta_key(replica->descriptor.start, "shard", &key);
    lw_status status = lw_snapshot_get(state, lw_buffer_view(&key), head);
    lw_buffer_reset(&key);
    return status;
}

bool lw_replica_snapshot_needed(const lw_replica *replica, uint64_t node) {
    return !replica->closing && !replica->dead && lw_group_names(replica->group, node);
}

/* ---- receiving ------------------------------------------------------------------------------ */

lw_status lw_replica_snapshot_shard(lw_bytes head, uint64_t shard, lw_shard_descriptor *told) {
    lw_reader reader;
    uint32_t count = 0;
    if (lw_topology_open(head, &reader, &count) != LW_OK || count != 1 ||
        lw_topology_next(&reader, told) != LW_OK || told->id != shard) {
        return lw_fail(LW_INVALID_ARGUMENT, "what a snapshot of shard %llu says is not well-formed",
                       (unsigned long long)shard);
    }
    return LW_OK;
}

typedef struct installing {
    lw_replica *replica;
    const lw_replica_snapshot *snapshot;
    lw_error damage; /* of what was taken in */
} installing;

/* The one edit, and what has to change in the same turn. */
LW_YIELDS static lw_status ingest(void *argument) {
    installing *job = argument;
    lw_replica *replica = job->replica;
    uint64_t shard = replica->options.shard;
    lw_ingest taken = {.directory = job->snapshot->directory,
                       .source = shard,
                       .tree = shard,
                       .kind = LW_INGEST_REPLACE,
                       .index = job->snapshot->index};
    LW_TRY(job->snapshot->end_beneath(job->snapshot->argument, &taken.drops, &taken.drop_count));
    LW_TRY(lw_store_ingest(replica->options.store, &taken));
    replica->tree = lw_store_tree(replica->options.store, shard);
    replica->described = true;
    replica->written_index = replica->aging_index = replica->aging_until = 0;
    LW_TRY(replica_take_descriptor(replica, job->snapshot->head));
    replica->renews = false;
    LW_MARK(replica->env, "replica.snapshot_installed");
    replica->options.installed(replica->options.argument, replica);
    /* Before anything behind it is applied. The tree is another one, whatever is damaged in it. */
    lw_status status = replica_load_merges(replica);
    if (status != LW_OK && LW_BUG(replica->env, "replica.rotten_counts_as_refused")) {
        return status;
    }
    if (status != LW_OK) {
        LW_MARK(replica->env, "replica.snapshot_rotten");
        job->damage = *lw_error_slot();
        lw_group_stick(replica->group);
    }
    return LW_OK;
}

/* Only now the group knows its members, whom a repair asks. The snapshot was taken in, whatever
 * cannot be read of it. */
LW_YIELDS static void look_into(installing *job) {
    lw_replica *replica = job->replica;
    if (replica_load_past(replica) != LW_OK && job->damage.status == LW_OK) {
        job->damage = *lw_error_slot();
    }
    if (job->damage.status != LW_OK && !LW_BUG(replica->env, "replica.rotten_newcomer_left_so")) {
        *lw_error_slot() = job->damage;
        (void)!replica_damaged(replica);
    }
}

lw_status lw_replica_install(lw_replica *replica, const lw_replica_snapshot *snapshot) {
    lw_shard_descriptor told = {0};
    LW_TRY(lw_replica_snapshot_shard(snapshot->head, replica->options.shard, &told));
    if (replica->serving || replica->closing || replica->dead || replica->following_split) {
        return lw_fail(LW_UNAVAILABLE, "shard %llu takes no snapshot now: try again",
                       (unsigned long long)replica->options.shard);
    }
    lw_group_snapshot taken = {
        .index = snapshot->index, .term = snapshot->term, .renews = replica->renews};
    taken.members.count = told.replica_count;
    memcpy(taken.members.replicas, told.replicas, sizeof(told.replicas));
    installing job = {.replica = replica, .snapshot = snapshot};
    replica->background_count++;
    lw_status status = lw_group_install(replica->group, &taken, ingest, &job);
    if (status == LW_OK) {
        look_into(&job);
    }
    replica_background_end(replica);
    return status;
}
