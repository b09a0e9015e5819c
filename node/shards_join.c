/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that come, and that go.
 *
 * A node that is made a member of a group hears from its leader, and has nothing: it asks whoever
 * wrote for the shard's descriptor. If that names this node, and nothing speaks against it, a
 * replica is made that waits for a snapshot. Against it speak
 *   a tombstone    this node held the shard in a later configuration than the asked one knows, and
 *                  is no member any more (hazard R14)
 *   an overlap     a replica here holds some of these keys (hazard R11): its parent, which has not
 *                  come to the split yet, and then makes the child itself; or what the shard was
 *                  split from, which does not know yet that it was removed
 * Whoever wrote goes on writing, so it is looked at again.
 *
 * A replica that is a member no more is told so, and removed: it ends, its tombstone is durable,
 * its tree is dropped, the log lets go. A crash in between leaves a replica that is told again, or
 * a tombstone by which the next start does the rest. */
#include "node/shards_state.h"

#include "node/snapshot.h"

enum { DESCRIBE_MS = 3000, REMOVAL_PAUSE_MS = 100 };
#define NS_PER_MS UINT64_C(1000000)

/* ---- fibers of its own ---------------------------------------------------------------------- */

static void background_end(lw_shards *shards) {
    LW_ASSERT(shards->background_count > 0);
    if (--shards->background_count == 0) {
        lw_queue_wake_all(&shards->idle);
    }
}

void shards_await_idle(lw_shards *shards) {
    while (shards->background_count > 0) {
        lw_queue_wait(&shards->idle);
    }
}

/* ---- coming --------------------------------------------------------------------------------- */

typedef struct introduction {
    lw_shards *shards;
    uint64_t from, group;
    uint32_t place; /* among those under way */
    lw_buffer reply;
} introduction;

/* What the one who wrote knows of the shard. Views of job->reply. */
LW_YIELDS static lw_status ask_for_descriptor(introduction *job, lw_shard_descriptor *shard) {
    lw_shards *shards = job->shards;
    lw_buffer body = lw_buffer_in(shards->env->memory);
    lw_describe_request_encode(job->group, &body);
    lw_request request = {
        .kind = LW_MESSAGE_DESCRIBE, .timeout_ms = DESCRIBE_MS, .body = lw_buffer_view(&body)};
    uint64_t until_ns = lw_env_now(shards->env) + DESCRIBE_MS * NS_PER_MS;
    lw_status status =
        shards->others.ask(shards->options.argument, job->from, &request, until_ns, &job->reply);
    lw_buffer_reset(&body);
    LW_TRY(status);
    lw_reader reader;
    uint32_t count = 0;
    LW_TRY(lw_topology_open(lw_buffer_view(&job->reply), &reader, &count));
    if (count != 1) {
        return lw_fail(LW_INVALID_ARGUMENT, "a description of a shard is not well-formed");
    }
    LW_TRY(lw_topology_next(&reader, shard));
    return LW_OK;
}

static bool names(const lw_shard_descriptor *shard, uint64_t node) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].node == node) {
            return true;
        }
    }
    return false;
}

/* Whether nothing speaks against a replica of the shard here. */
static bool welcome(const lw_shards *shards, const lw_shard_descriptor *shard) {
    const shards_past *past = shards_past_of(shards, shard->id);
    if (past != NULL && past->gone && shard->epoch.config_version <= past->epoch.config_version &&
        !LW_BUG(shards->env, "shards.tombstone_ignored")) {
        LW_MARK(shards->env, "shards.tombstone_holds");
        return false;
    }
    if (shards_overlap(shards, shard->id, shard) &&
        !LW_BUG(shards->env, "shards.overlap_ignored")) {
        LW_MARK(shards->env, "shards.overlap_refused");
        return false;
    }
    return names(shard, shards->options.node) && shards_member_of(shards, shard->id) == NULL;
}

static lw_status admit(lw_shards *shards, const lw_shard_descriptor *shard) {
    lw_replica_options options = shards_replica_options(shards, shard->id);
    lw_replica *replica;
    LW_TRY(lw_replica_open_waiting(&options, shard, &replica));
    LW_TRY(shards_past_revive(shards, replica, shard->id));
    (void)shards_enter(shards, shard->id, replica, true);
    LW_MARK(shards->env, "shards.replica_waits");
    lw_replica_start_waiting(replica, shards->log);
    return LW_OK;
}

LW_YIELDS static void introduce_main(void *argument) {
    introduction *job = argument;
    lw_shards *shards = job->shards;
    lw_shard_descriptor shard;
    if (ask_for_descriptor(job, &shard) == LW_OK && shard.id == job->group && shards->serving &&
        !shards->dead && welcome(shards, &shard) && admit(shards, &shard) != LW_OK) {
        lw_logline(shards->env, LW_LEVEL_ERROR, "a replica could not be made",
                   "shard=%llu reason=\"%s\"", (unsigned long long)shard.id, lw_error_slot()->text);
    }
    shards->introducing[job->place] = 0;
    lw_buffer_reset(&job->reply);
    lw_free(shards->env->memory, job);
    background_end(shards);
}

/* Where a group is, or may be, among those that are asked about; SHARDS_INTRODUCTIONS: nowhere. */
static uint32_t place_of(const lw_shards *shards, uint64_t group) {
    uint32_t place = 0;
    while (place < SHARDS_INTRODUCTIONS && shards->introducing[place] != group) {
        place++;
    }
    return place;
}

void shards_stranger(void *argument, uint64_t from, uint64_t group, lw_raft_kind kind) {
    lw_shards *shards = argument;
    uint32_t place = place_of(shards, 0);
    if (kind != LW_RAFT_APPEND || group == 0 || shards->others.ask == NULL || !shards->serving ||
        shards->dead || place == SHARDS_INTRODUCTIONS ||
        place_of(shards, group) < SHARDS_INTRODUCTIONS || shards_member_of(shards, group) != NULL) {
        return;
    }
    introduction *job = lw_allocate_zero(shards->env->memory, sizeof(*job));
    *job = (introduction){.shards = shards,
                          .from = from,
                          .group = group,
                          .place = place,
                          .reply = lw_buffer_in(shards->env->memory)};
    shards->introducing[place] = group;
    shards->background_count++;
    lw_env_start(shards->env, "introduce", introduce_main, job);
}

lw_status lw_shards_describe(const lw_shards *shards, lw_bytes body, lw_buffer *reply) {
    uint64_t id;
    LW_TRY(lw_describe_request_decode(body, &id));
    const lw_replica *replica = lw_shards_find(shards, id);
    if (replica == NULL) {
        return lw_fail(LW_NOT_FOUND, "shard %llu is not on this node", (unsigned long long)id);
    }
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    lw_topology_encode(&shard, 1, reply);
    return LW_OK;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

lw_status lw_shards_snapshot_describe(void *argument, uint64_t shard, uint64_t node, uint64_t index,
                                      lw_snapshot *state, uint64_t *term, lw_buffer *head) {
    lw_replica *replica = lw_shards_find(argument, shard);
    if (replica == NULL) {
        return lw_fail(LW_UNAVAILABLE, "shard %llu is not on this node any more",
                       (unsigned long long)shard);
    }
    return lw_replica_describe(replica, node, index, state, term, head);
}

/* A replica of the shard has to be here, and nobody else may hold any of its keys (hazard R11). */
static lw_status check_arrival(const lw_shards *shards, const lw_snapshot_arrival *offered) {
    lw_shard_descriptor told;
    LW_TRY(lw_replica_snapshot_shard(offered->head, offered->shard, &told));
    const shards_member *member = shards_member_of(shards, offered->shard);
    if (!shards->serving || member == NULL || member->leaving ||
        !names(&told, shards->options.node)) {
        return lw_fail(LW_REFUSED, "no replica of shard %llu waits for a snapshot here",
                       (unsigned long long)offered->shard);
    }
    if (shards_overlap(shards, offered->shard, &told) &&
        !LW_BUG(shards->env, "shards.overlap_ignored")) {
        LW_MARK(shards->env, "shards.snapshot_overlaps");
        return lw_fail(LW_REFUSED, "another shard holds keys of shard %llu here, still or already",
                       (unsigned long long)offered->shard);
    }
    return LW_OK;
}

lw_status lw_shards_snapshot_wanted(void *argument, const lw_snapshot_arrival *offered) {
    return check_arrival(argument, offered);
}

lw_status lw_shards_snapshot_install(void *argument, const lw_snapshot_arrival *arrived) {
    lw_shards *shards = argument;
    LW_TRY(check_arrival(shards, arrived));
    lw_replica_snapshot snapshot = {.index = arrived->index,
                                    .term = arrived->term,
                                    .head = arrived->head,
                                    .directory = arrived->directory};
    return lw_replica_install(shards_member_of(shards, arrived->shard)->replica, &snapshot);
}

void shards_installed(void *argument, lw_replica *replica) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    shards_member *member = shards_member_of(shards, shard.id);
    if (member->waits && !member->leaving) {
        shards_arrived(shards, member);
    }
}

/* ---- going ---------------------------------------------------------------------------------- */

typedef struct removal {
    lw_shards *shards;
    shards_member *member;
    uint64_t term;
    lw_epoch epoch;
} removal;

/* The tree, and what the log keeps for it. Until it is done, or the node ends. */
LW_YIELDS static lw_status drop(lw_shards *shards, lw_log *log, uint64_t shard) {
    lw_status status = lw_store_drop_tree(shards->options.store, shard);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    lw_log_release(log, shard, UINT64_MAX - 1); /* but for the tombstone */
    return LW_OK;
}

LW_YIELDS static lw_status remove_replica(removal *job) {
    lw_shards *shards = job->shards;
    lw_replica *replica = job->member->replica;
    job->member->replica = NULL;
    lw_replica_close(replica);
    LW_TRY(shards_past_bury(shards, job->member->shard, job->term, &job->epoch));
    if (LW_RARE(shards->env, "shards.slow_removal")) {
        lw_env_sleep(shards->env, REMOVAL_PAUSE_MS * NS_PER_MS);
    }
    return drop(shards, shards->log, job->member->shard);
}

LW_YIELDS static void remove_main(void *argument) {
    removal *job = argument;
    lw_shards *shards = job->shards;
    if (remove_replica(job) == LW_OK) {
        LW_MARK(shards->env, "shards.replica_removed");
        shards_forget(shards, job->member);
    } else if (!shards->dead && shards->serving) {
        lw_logline(shards->env, LW_LEVEL_ERROR, "a replica could not be removed",
                   "shard=%llu reason=\"%s\"", (unsigned long long)job->member->shard,
                   lw_error_slot()->text);
    }
    lw_free(shards->env->memory, job);
    background_end(shards);
}

void shards_gone(void *argument, lw_replica *replica) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_replica_figures figures;
    lw_replica_descriptor(replica, &shard);
    shards_member *member = shards_member_of(shards, shard.id);
    if (member == NULL || member->leaving || !shards->serving) {
        return;
    }
    lw_replica_figures_get(replica, &figures);
    removal *job = lw_allocate_zero(shards->env->memory, sizeof(*job));
    *job =
        (removal){.shards = shards, .member = member, .term = figures.term, .epoch = shard.epoch};
    member->leaving = true;
    shards_unsort(shards, member);
    shards->background_count++;
    lw_env_start(shards->env, "remove replica", remove_main, job);
}

lw_status shards_finish_removals(lw_shards *shards, lw_log *log) {
    for (uint32_t index = 0; index < shards->count;) {
        shards_member *member = shards->sorted[index];
        const shards_past *past = shards_past_of(shards, member->shard);
        if (past == NULL || !past->gone) {
            index++;
            continue;
        }
        LW_MARK(shards->env, "shards.removal_finished_at_start");
        shards_unsort(shards, member);
        lw_replica_close(member->replica);
        member->replica = NULL;
        uint64_t shard = member->shard;
        shards_forget(shards, member);
        LW_TRY(drop(shards, log, shard));
    }
    return LW_OK;
}
