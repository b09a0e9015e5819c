/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that come, and that go.
 *
 * A node that is made a member of a group hears from its leader, and has nothing: it asks whoever
 * wrote for the shard's descriptor. So it does when it hears from who would lead: it may be a voter
 * of a child whose parent came here as a snapshot from behind the split, and be needed. If that
 * names this node, and nothing speaks against it, a replica is made that waits for a snapshot.
 * Against it speak a tombstone    this node held the shard in a later configuration than the asked
 * one knows, and is no member any more (hazard R14) an overlap     a replica here holds some of
 * these keys (hazard R11): its parent, which has not come to the split yet, and then makes the
 * child itself; or what the shard was split from, which does not know yet that it was removed
 * Whoever wrote goes on writing, so it is looked at again.
 *
 * A replica that is a member no more is told so by the leader, or finds out by asking now and then,
 * and is removed: it ends, its tombstone is durable, its tree is dropped, the log lets go; and so
 * does what was ended for a snapshot of it that it just installed (shards_beneath.c). A crash in
 * between leaves a replica that is told again, or a tombstone by which the next start does the
 * rest. Until the tombstone is durable nobody else comes to hold any of its keys here: a crash
 * would leave two trees that do (hazard R11), and a folder that cannot be opened. */
#include "node/shards_state.h"

#include "node/snapshot.h"

enum {
    DESCRIBE_MS = 3000,
    REMOVAL_PAUSE_MS = 100,
    BENEATH_MAX = 64, /* shards that a snapshot may hold and that are here still */
    PATROL_MS = 5000, /* to twice as much, between two looks after replicas that do not lead */
};
#define NS_PER_MS UINT64_C(1000000)

/* ---- fibers of its own ---------------------------------------------------------------------- */

void shards_background_end(lw_shards *shards) {
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

/* The reply to DESCRIBE. */
static lw_status read_description(lw_bytes reply, uint64_t asked, lw_shard_descriptor *shard,
                                  lw_describe_tail *tail) {
    lw_reader reader;
    uint32_t count = 0;
    LW_TRY(lw_topology_open(reply, &reader, &count));
    if (count == 1) {
        LW_TRY(lw_topology_next(&reader, shard));
    }
    lw_describe_tail_read(&reader, count == 1, tail);
    bool sound = count == 1 ? shard->id == asked : count == 0 && tail->into != 0;
    if (!sound || !lw_reader_done(&reader)) {
        tail->into = 0;
        return lw_fail(LW_INVALID_ARGUMENT, "a description of a shard is not well-formed");
    }
    return tail->into == 0 ? LW_OK
                           : lw_fail(LW_NOT_FOUND, "shard %llu has become part of shard %llu",
                                     (unsigned long long)asked, (unsigned long long)tail->into);
}

/* `asked` goes there, and `told` and `tail` are filled; if that fails, `tail` may say why. Views of
 * `reply`. */
LW_YIELDS static lw_status ask_for_descriptor(lw_shards *shards, uint64_t node,
                                              const lw_describe_request *asked, lw_buffer *reply,
                                              lw_shard_descriptor *shard, lw_describe_tail *tail) {
    *tail = (lw_describe_tail){.into = 0};
    lw_buffer body = lw_buffer_in(shards->env->memory);
    lw_describe_request_encode(asked, &body);
    lw_request request = {
        .kind = LW_MESSAGE_DESCRIBE, .timeout_ms = DESCRIBE_MS, .body = lw_buffer_view(&body)};
    uint64_t until_ns = lw_env_now(shards->env) + DESCRIBE_MS * NS_PER_MS;
    lw_status status =
        shards->others.ask(shards->options.argument, node, &request, until_ns, reply);
    lw_buffer_reset(&body);
    LW_TRY(status);
    return read_description(lw_buffer_view(reply), asked->shard, shard, tail);
}

lw_status shards_hear_of(lw_shards *shards, uint64_t node, uint64_t shard, lw_buffer *reply,
                         lw_shard_descriptor *told, lw_describe_tail *tail) {
    lw_describe_request asked = {.shard = shard};
    return ask_for_descriptor(shards, node, &asked, reply, told, tail);
}

lw_status shards_describe_by(lw_shards *shards, uint64_t node, uint64_t shard, lw_buffer *reply,
                             lw_shard_descriptor *told, uint64_t *applied) {
    lw_describe_tail tail;
    LW_TRY(shards_hear_of(shards, node, shard, reply, told, &tail));
    *applied = tail.applied;
    return LW_OK;
}

lw_status shards_compare(lw_shards *shards, uint64_t node, uint64_t shard, uint64_t *index,
                         uint64_t *digest) {
    lw_shard_descriptor told;
    lw_describe_tail tail;
    lw_describe_request asked = {.shard = shard, .index = *index, .digest = *digest};
    lw_buffer reply = lw_buffer_in(shards->env->memory);
    lw_status status = ask_for_descriptor(shards, node, &asked, &reply, &told, &tail);
    lw_buffer_reset(&reply);
    LW_TRY(status);
    *index = tail.index;
    *digest = tail.digest;
    return LW_OK;
}

lw_status shards_look_at(lw_shards *shards, uint64_t node, uint64_t shard, uint64_t renews,
                         uint64_t *leader, bool *damaged) {
    lw_shard_descriptor told;
    lw_describe_tail tail;
    lw_describe_request asked = {.shard = shard, .renews = renews};
    lw_buffer reply = lw_buffer_in(shards->env->memory);
    lw_status status = ask_for_descriptor(shards, node, &asked, &reply, &told, &tail);
    *leader = status == LW_OK ? told.leader : 0;
    *damaged = status == LW_OK && tail.damaged;
    lw_buffer_reset(&reply);
    return status;
}

bool shards_names(const lw_shard_descriptor *shard, uint64_t node) {
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
    if (past != NULL && past->gone && past->into != 0) {
        LW_MARK(shards->env, "shards.merged_stays_merged");
        return false;
    }
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
    return shards_names(shard, shards->options.node) && shards_member_of(shards, shard->id) == NULL;
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

lw_status shards_take_in(lw_shards *shards, const lw_shard_descriptor *shard, uint64_t applied) {
    const shards_past *past = shards_past_of(shards, shard->id);
    uint64_t let_go = past != NULL && past->gone ? past->epoch.config_version : 0;
    LW_TRY(admit(shards, shard));
    shards_member *member = shards_member_of(shards, shard->id);
    member->let_go = let_go;
    member->told_index = applied;
    return LW_OK;
}

LW_YIELDS static void introduce_main(void *argument) {
    introduction *job = argument;
    lw_shards *shards = job->shards;
    lw_shard_descriptor shard;
    uint64_t applied;
    if (shards_describe_by(shards, job->from, job->group, &job->reply, &shard, &applied) == LW_OK &&
        shards->serving && !shards->dead && welcome(shards, &shard) &&
        shards_take_in(shards, &shard, applied) != LW_OK) {
        lw_logline(shards->env, LW_LEVEL_ERROR, "a replica could not be made",
                   "shard=%llu reason=\"%s\"", (unsigned long long)shard.id, lw_error_slot()->text);
    }
    shards->introducing[job->place] = 0;
    lw_buffer_reset(&job->reply);
    lw_free(shards->env->memory, job);
    shards_background_end(shards);
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
    bool wants_member = kind == LW_RAFT_APPEND || kind == LW_RAFT_PREVOTE || kind == LW_RAFT_VOTE;
    if (!wants_member || group == 0 || shards->others.ask == NULL || !shards->serving ||
        shards->dead || place == SHARDS_INTRODUCTIONS ||
        place_of(shards, group) < SHARDS_INTRODUCTIONS || shards_member_of(shards, group) != NULL ||
        shards_is_headless(shards, group)) {
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

static lw_status describe_absent(const lw_shards *shards, uint64_t shard, lw_buffer *reply) {
    const shards_past *past = shards_past_of(shards, shard);
    if (past == NULL || !past->gone || past->into == 0) {
        return lw_fail(LW_NOT_FOUND, "shard %llu is not on this node", (unsigned long long)shard);
    }
    lw_topology_encode(NULL, 0, reply);
    lw_describe_tail_write(&(lw_describe_tail){.into = past->into}, reply);
    return LW_OK;
}

lw_status lw_shards_describe(lw_shards *shards, lw_bytes body, lw_buffer *reply) {
    lw_describe_request asked;
    LW_TRY(lw_describe_request_decode(body, &asked));
    lw_replica *replica = lw_shards_find(shards, asked.shard);
    if (replica == NULL) {
        return describe_absent(shards, asked.shard, reply);
    }
    lw_shard_descriptor shard;
    lw_replica_figures figures;
    lw_replica_descriptor(replica, &shard);
    lw_replica_figures_get(replica, &figures);
    const shards_member *member = shards_member_of(shards, asked.shard);
    lw_describe_tail tail = {.applied = figures.applied_index,
                             .damaged = member != NULL && member->damaged};
    if (asked.index != 0 && lw_replica_digest(replica, asked.index, &tail.digest)) {
        tail.index = asked.index;
    }
    lw_topology_encode(&shard, 1, reply);
    lw_describe_tail_write(&tail, reply);
    if (tail.index != 0 && tail.digest != asked.digest) {
        shards_differs(shards, replica, tail.index);
    }
    if (asked.renews != 0 && !tail.damaged) {
        lw_replica_send_anew(replica, asked.renews);
    }
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

bool lw_shards_snapshot_needed(void *argument, uint64_t shard, uint64_t node) {
    const lw_replica *replica = lw_shards_find(argument, shard);
    return replica != NULL && lw_replica_snapshot_needed(replica, node);
}

/* A replica of the shard has to be here, and nobody else may hold any of its keys (hazard R11). */
static lw_status check_arrival(const lw_shards *shards, const lw_snapshot_arrival *offered) {
    lw_shard_descriptor told;
    LW_TRY(lw_replica_snapshot_shard(offered->head, offered->shard, &told));
    const shards_member *member = shards_member_of(shards, offered->shard);
    if (!shards->serving || member == NULL || member->leaving ||
        !shards_names(&told, shards->options.node)) {
        return lw_fail(LW_REFUSED, "no replica of shard %llu waits for a snapshot here",
                       (unsigned long long)offered->shard);
    }
    if (told.epoch.config_version <= member->let_go &&
        !LW_BUG(shards->env, "shards.snapshot_of_before")) {
        LW_MARK(shards->env, "shards.snapshot_too_old");
        return lw_fail(LW_REFUSED,
                       "this node let go of shard %llu since: make a newer snapshot of it",
                       (unsigned long long)offered->shard);
    }
    if (!shards_beneath_may_go(shards, &told) && !LW_BUG(shards->env, "shards.overlap_ignored")) {
        LW_MARK(shards->env, "shards.snapshot_overlaps");
        return lw_fail(LW_REFUSED, "another shard holds keys of shard %llu here, still or already",
                       (unsigned long long)offered->shard);
    }
    return LW_OK;
}

lw_status lw_shards_snapshot_wanted(void *argument, const lw_snapshot_arrival *offered) {
    LW_TRY(check_arrival(argument, offered));
    const lw_replica *replica = shards_member_of(argument, offered->shard)->replica;
    lw_replica_figures figures;
    lw_replica_figures_get(replica, &figures);
    if (lw_replica_renews(replica)) {
        return figures.applied_index <= offered->index
                   ? LW_OK
                   : lw_fail(LW_REFUSED, "shard %llu has come farther here: make a newer snapshot",
                             (unsigned long long)offered->shard);
    }
    return figures.applied_index >= offered->index
               ? lw_fail(LW_EXISTS, "shard %llu has come as far by itself",
                         (unsigned long long)offered->shard)
               : LW_OK;
}

typedef struct installing {
    lw_shards *shards;
    const lw_snapshot_arrival *arrived;
    lw_shard_descriptor told;
    uint64_t beneath[BENEATH_MAX];
    uint32_t beneath_count;
} installing;

/* What became part of the shard in the meantime ends; then all is looked at again. Not before the
 * snapshot is about to be taken in for certain: who comes as far by itself merges what is here. */
LW_YIELDS static lw_status end_beneath(void *argument, const uint64_t **drops,
                                       uint32_t *drop_count) {
    installing *job = argument;
    LW_TRY(shards_end_beneath(job->shards, &job->told));
    LW_TRY(check_arrival(job->shards, job->arrived));
    job->beneath_count = shards_ended_beneath(job->shards, &job->told, job->beneath, BENEATH_MAX);
    *drops = job->beneath;
    *drop_count = job->beneath_count;
    return LW_OK;
}

lw_status lw_shards_snapshot_install(void *argument, const lw_snapshot_arrival *arrived) {
    installing job = {.shards = argument, .arrived = arrived};
    LW_TRY(check_arrival(job.shards, arrived));
    LW_TRY(lw_replica_snapshot_shard(arrived->head, arrived->shard, &job.told));
    if (LW_BUG(job.shards->env, "shards.ended_for_nothing")) {
        LW_TRY(shards_end_beneath(job.shards, &job.told));
        LW_TRY(check_arrival(job.shards, arrived));
    }
    lw_replica_snapshot snapshot = {.index = arrived->index,
                                    .term = arrived->term,
                                    .head = arrived->head,
                                    .directory = arrived->directory,
                                    .end_beneath = end_beneath,
                                    .argument = &job};
    lw_status status =
        lw_replica_install(shards_member_of(job.shards, arrived->shard)->replica, &snapshot);
    if (status == LW_OK) {
        shards_forget_beneath(job.shards, job.beneath, job.beneath_count);
    }
    return status;
}

void shards_installed(void *argument, lw_replica *replica) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    shards_member *member = shards_member_of(shards, shard.id);
    if (member->waits && !member->leaving) {
        shards_arrived(shards, member);
    }
    if (member->anew || member->damaged) {
        member->anew = member->damaged = member->nowhere_whole = false;
        shards_repaired(shards, shard.id);
    }
}

/* ---- going ---------------------------------------------------------------------------------- */

typedef struct removal {
    lw_shards *shards;
    shards_member *member;
    shards_past gone;
} removal;

/* The tree, and what the log keeps for it. Until it is done, or the node ends. */
lw_status shards_drop(lw_shards *shards, lw_log *log, uint64_t shard) {
    lw_status status = lw_store_drop_tree(shards->options.store, shard);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    lw_log_release(log, shard, UINT64_MAX - 1); /* but for the tombstone */
    return LW_OK;
}

lw_status shards_bury(lw_shards *shards, shards_member *member, const shards_past *gone) {
    lw_replica *replica = member->replica;
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    member->going = true; /* also one that waits: its first snapshot may just be taken in */
    lw_buffer_append(&member->going_start, shard.start);
    lw_buffer_append(&member->going_end, shard.end);
    member->replica = NULL;
    lw_replica_close(replica);
    if (LW_RARE(shards->env, "shards.slow_burial")) {
        lw_env_sleep(shards->env, REMOVAL_PAUSE_MS * NS_PER_MS);
    }
    LW_TRY(shards_past_bury(shards, gone));
    member->going = false;
    return LW_OK;
}

LW_YIELDS static lw_status remove_replica(removal *job) {
    lw_shards *shards = job->shards;
    LW_TRY(shards_bury(shards, job->member, &job->gone));
    if (LW_RARE(shards->env, "shards.slow_removal")) {
        lw_env_sleep(shards->env, REMOVAL_PAUSE_MS * NS_PER_MS);
    }
    LW_TRY(shards_drop(shards, shards->log, job->member->shard));
    return shards_drop_beneath(shards, job->member->shard);
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
    shards_background_end(shards);
}

void shards_send_away(lw_shards *shards, shards_member *member, lw_epoch epoch, uint64_t index) {
    lw_replica_figures figures;
    if (member->leaving || !shards->serving || shards->dead) {
        return;
    }
    lw_replica_figures_get(member->replica, &figures);
    removal *job = lw_allocate_zero(shards->env->memory, sizeof(*job));
    *job = (removal){.shards = shards, .member = member};
    job->gone =
        (shards_past){.group = member->shard, .term = figures.term, .epoch = epoch, .index = index};
    member->leaving = true;
    shards_unsort(shards, member);
    shards->background_count++;
    lw_env_start(shards->env, "remove replica", remove_main, job);
}

void shards_gone(void *argument, lw_replica *replica, uint64_t index) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    shards_member *member = shards_member_of(shards, shard.id);
    if (member == NULL) {
        return;
    }
    if (member->waits && index <= member->told_index &&
        !LW_BUG(shards->env, "shards.old_removal_believed")) {
        LW_MARK(shards->env, "shards.removed_before_it_came");
        return; /* late news: it was made a member again since, as who introduced it knew */
    }
    shards_send_away(shards, member, shard.epoch, index);
}

/* ---- looking after it ----------------------------------------------------------------------- */

/* Who holds a shard by what is told of a later configuration, in which this node is no member: of
 * those that the replica here knows none may hold the shard any more. Its leader or any, as who
 * leads may be older news. 0: nothing is told. */
static uint64_t holder_told(const lw_shards *shards, const lw_shard_descriptor *shard) {
    lw_shard_descriptor now = {0};
    bool later = shards->others.locate != NULL &&
                 shards->others.locate(shards->options.argument, shard->start, &now) &&
                 now.id == shard->id && now.epoch.config_version > shard->epoch.config_version &&
                 !shards_names(&now, shards->options.node);
    if (!later || LW_BUG(shards->env, "shards.only_peers_asked")) {
        return 0;
    }
    uint64_t choice = lw_env_random_below(shards->env, (uint64_t)now.replica_count + 1);
    bool any = choice < now.replica_count && !LW_BUG(shards->env, "shards.only_leader_asked");
    return any ? now.replicas[choice].node : now.leader;
}

/* Somebody who knows more of the shard than a replica here that does not lead: its leader, or in
 * turn the others. 0: nobody. */
static uint64_t whom_to_ask(const lw_shards *shards, const lw_shard_descriptor *shard) {
    uint64_t own = shards->options.node, told = holder_told(shards, shard);
    if (told != 0) {
        LW_MARK(shards->env, "shards.asks_who_is_told_to_hold");
        return told;
    }
    if (shard->leader != 0 && shard->leader != own) {
        return shard->leader;
    }
    uint64_t first =
        shard->replica_count == 0 ? 0 : lw_env_random_below(shards->env, shard->replica_count);
    for (uint32_t step = 0; step < shard->replica_count; step++) {
        uint64_t node = shard->replicas[(first + step) % shard->replica_count].node;
        if (node != own) {
            return node;
        }
    }
    return 0;
}

/* Nobody may have told it that it is no member any more, or the message was lost. */
LW_YIELDS static void look_after(lw_shards *shards, uint64_t id) {
    lw_shard_descriptor known = {0}, told = {0};
    uint64_t applied = 0;
    if (shards_end_left_over(shards, shards->log, id) != LW_OK) {
        return; /* the next start tries again */
    }
    shards_member *member = shards_member_of(shards, id);
    if (member == NULL || member->leaving || lw_replica_leads(member->replica)) {
        return;
    }
    if (member->waits) {
        shards_announce(shards, member);
    }
    lw_replica_descriptor(member->replica, &known);
    uint64_t node = whom_to_ask(shards, &known);
    lw_buffer reply = lw_buffer_in(shards->env->memory);
    if (node != 0 && shards_describe_by(shards, node, id, &reply, &told, &applied) == LW_OK &&
        (member = shards_member_of(shards, id)) != NULL && !member->leaving) {
        lw_replica_descriptor(member->replica, &known);
        /* It may have applied itself what took it out, and nobody tells it again. */
        if (told.epoch.config_version >= known.epoch.config_version &&
            !shards_names(&told, shards->options.node)) {
            LW_MARK(shards->env, "shards.found_to_be_gone");
            shards_send_away(shards, member, told.epoch, applied);
        }
    }
    lw_buffer_reset(&reply);
    if ((member = shards_member_of(shards, id)) != NULL && !member->leaving &&
        shards_is_orphan(shards, id)) {
        shards_send_orphan(shards, shards_member_of(shards, id)->replica);
    }
}

uint64_t *shards_ids(const lw_shards *shards) {
    uint32_t count = 0;
    uint64_t *ids = lw_allocate_zero(shards->env->memory, (shards->by_id.count + 1) * sizeof(*ids));
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (const lw_map_node *node = shards->by_id.buckets[index]; node != NULL;
             node = node->next) {
            ids[count++] = LW_MAP_ENTRY(node, shards_member, node)->shard;
        }
    }
    return ids;
}

/* Whether any replica here does not lead: it may miss that it is to go. A lone node has none, and
 * no timer therefore. */
static bool any_follows(const lw_shards *shards) {
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (const lw_map_node *node = shards->by_id.buckets[index]; node != NULL;
             node = node->next) {
            const lw_replica *replica = LW_MAP_ENTRY(node, shards_member, node)->replica;
            if (replica == NULL || !lw_replica_leads(replica)) {
                return true;
            }
        }
    }
    return false;
}

LW_YIELDS static void patrol_main(void *argument) {
    lw_shards *shards = argument;
    while (shards->serving && !shards->dead) {
        if (!any_follows(shards)) {
            lw_queue_wait(&shards->patrol);
            continue;
        }
        uint64_t pause_ms = PATROL_MS + lw_env_random_below(shards->env, PATROL_MS);
        (void)lw_env_wait(shards->env, &shards->stop,
                          lw_env_now(shards->env) + pause_ms * NS_PER_MS);
        uint64_t *ids = shards_ids(shards);
        for (uint64_t *id = ids; *id != 0 && shards->serving && !shards->dead; id++) {
            look_after(shards, *id);
        }
        lw_free(shards->env->memory, ids);
    }
    shards_background_end(shards);
}

void shards_patrol(lw_shards *shards) {
    shards->background_count++;
    lw_env_start(shards->env, "patrol", patrol_main, shards);
}

lw_status shards_finish_removals(lw_shards *shards, lw_log *log) {
    for (uint32_t index = 0; index < shards->count;) {
        shards_member *member = shards->sorted[index];
        const shards_past *past = shards_past_of(shards, member->shard);
        if (past == NULL || !past->gone || past->into != 0) {
            index++;
            continue;
        }
        LW_MARK(shards->env, "shards.removal_finished_at_start");
        shards_unsort(shards, member);
        lw_replica_close(member->replica);
        member->replica = NULL;
        uint64_t shard = member->shard;
        shards_forget(shards, member);
        LW_TRY(shards_drop(shards, log, shard));
    }
    return LW_OK;
}
