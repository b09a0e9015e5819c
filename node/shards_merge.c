/* SPDX-License-Identifier: Apache-2.0 */
/* Merging, as far as it is about more than one replica: the last step of node/replica_merge.c, in
 * which the right one of two becomes part of the left one on this node.
 *
 *   1. the right one has applied the entry that froze it. After a crash it may not know that this
 * is committed; the entry in the left one's log was made only because it is
 *   2. it ends. What its transactions have open is known, or is counted
 *   3. a tombstone says that it is part of the left one, durably: entries of a group that has
 * neither a tree nor a tombstone are damage. Such a tombstone does not drop the tree
 *   4. the trees are merged, by one edit of the catalog. In the same turn: what
 * lw_replica_take_over does, and the right one is not here any more
 *
 * A crash before 4 leaves two trees, and a left one whose descriptor says more than its tree holds:
 * the start does what is missing, before anything behind is applied. If the start does not know yet
 * that the merge is committed, the right one is kept as it is, and does nothing, until the left one
 * has heard.
 *
 * A replica of the left one that finds no right one as it should be can never go on by itself: its
 * tree is replaced, as if it were damaged (node/shards_repair.c). It may come by a snapshot from
 * behind a merge in any case: that holds the keys of shards that may still be here (hazard R11).
 * Whatever is at a key where a shard began, in a range of a higher version than that shard's, is
 * what became of it, since the versions of what a key lies in only rise. So these are known to be
 * part of what comes, are ended, and their trees go with the edit that brings it.
 *
 * The left one may also come by a snapshot that holds none of the right one's keys, as they were
 * split off again since, or become part of yet another one. A right one that a start has set aside
 * for it is of no use then, and stands in the way of whoever holds its keys now: it goes as soon as
 * the left one's records say that it has been taken in, or the left one is here no more.
 *
 * A replica of the right one that nobody tells, since this node lost the left one before it came to
 * the merge, is found by the same rule. It stays while what the left one came off is here, and has
 * not come to that split: the left one comes by itself then, from before the merge. */
#include "node/shards_state.h"

#include <inttypes.h>

enum {
    APPLIED_PAUSE_MS = 20, /* until replicas are asked again what they have applied */
    FULL_PAUSE_MS = 100,   /* until a full disk is */
    MERGED_LOOKS = 3,      /* until a left neighbour that may have use for it is waited for no more:
                              it comes anew then */
    AWAIT_MS = 1000,       /* who asks for a shard that is being merged waits so long here */
};
#define NS_PER_MS UINT64_C(1000000)

static bool runs(const lw_shards *shards) {
    return shards->serving && !shards->dead;
}

/* ---- for the leader ------------------------------------------------------------------------- */

lw_replica *shards_beginning(void *argument, lw_bytes key) {
    lw_shards *shards = argument;
    lw_replica *replica = shards_holding(shards, key);
    lw_shard_descriptor shard;
    if (replica == NULL || lw_replica_tree(replica) == NULL) {
        return NULL;
    }
    lw_replica_descriptor(replica, &shard);
    return lw_equal(shard.start, key) ? replica : NULL;
}

/* Whether another node's replica has come so far. */
LW_YIELDS static bool has_applied(lw_shards *shards, uint64_t node,
                                  const lw_replica_merge *frozen) {
    lw_shard_descriptor told;
    uint64_t applied = 0;
    lw_buffer reply = lw_buffer_in(shards->env->memory);
    lw_status status = shards_describe_by(shards, node, frozen->right, &reply, &told, &applied);
    lw_buffer_reset(&reply);
    return status == LW_OK && applied >= frozen->index;
}

/* Whether another node's replica waits for another tree, and applies nothing before. */
LW_YIELDS static bool is_damaged(lw_shards *shards, uint64_t node, uint64_t shard) {
    uint64_t leader;
    bool damaged;
    return shards_look_at(shards, node, shard, 0, &leader, &damaged) == LW_OK && damaged;
}

/* The next node, from `first` on, that has not; UINT32_MAX: all have. */
LW_YIELDS static uint32_t next_behind(lw_shards *shards, const lw_shard_replica *replicas,
                                      uint32_t first, uint32_t count,
                                      const lw_replica_merge *frozen) {
    for (uint32_t index = first; index < count; index++) {
        if (replicas[index].node != shards->options.node &&
            !has_applied(shards, replicas[index].node, frozen)) {
            return index;
        }
    }
    return UINT32_MAX;
}

lw_status shards_await_applied(void *argument, const lw_replica_merge *frozen,
                               uint64_t deadline_ns) {
    lw_shards *shards = argument;
    const lw_replica *right = lw_shards_find(shards, frozen->right);
    lw_shard_descriptor shard;
    if (right == NULL) {
        return lw_fail(LW_UNAVAILABLE, "shard %" PRIu64 " is not on this node any more",
                       frozen->right);
    }
    lw_replica_descriptor(right, &shard);
    uint32_t place = 0;
    while ((place = next_behind(shards, shard.replicas, place, shard.replica_count, frozen)) !=
           UINT32_MAX) {
        uint64_t now_ns = lw_env_now(shards->env);
        if (now_ns >= deadline_ns || !runs(shards)) {
            LW_MARK(shards->env, "shards.merge_waited_in_vain");
            return lw_fail(LW_UNAVAILABLE,
                           "node %016" PRIx64 " did not hear of the merge in time: ask again",
                           shard.replicas[place].node);
        }
        if (is_damaged(shards, shard.replicas[place].node, frozen->right)) {
            LW_MARK(shards->env, "shards.merge_meets_damage");
            return lw_fail(LW_UNAVAILABLE,
                           "node %016" PRIx64 " repairs its replica of shard %" PRIu64
                           ": ask again later",
                           shard.replicas[place].node, frozen->right);
        }
        (void)lw_env_wait(shards->env, &shards->stop, now_ns + APPLIED_PAUSE_MS * NS_PER_MS);
    }
    return LW_OK;
}

/* ---- who waits ------------------------------------------------------------------------------ */

void shards_thawed(void *argument) {
    lw_shards *shards = argument;
    lw_queue_wake_all(&shards->thawed);
}

static bool in_between(const lw_shards *shards, uint64_t shard) {
    const shards_member *member = shards_member_of(shards, shard);
    uint64_t left;
    return member != NULL && (member->absorbed || (member->replica != NULL && !member->leaving &&
                                                   lw_replica_leads(member->replica) &&
                                                   lw_replica_frozen(member->replica, &left)));
}

void shards_await_merge(lw_shards *shards, uint64_t shard, uint32_t timeout_ms) {
    if (!in_between(shards, shard) || LW_BUG(shards->env, "merge.reads_while_frozen")) {
        return;
    }
    uint64_t wait_ms = timeout_ms != 0 && timeout_ms / 2 < AWAIT_MS ? timeout_ms / 2 : AWAIT_MS;
    uint64_t until_ns = lw_env_now(shards->env) + wait_ms * NS_PER_MS;
    LW_MARK(shards->env, "shards.request_awaits_merge");
    shards->background_count++;
    while (runs(shards) && in_between(shards, shard) &&
           lw_env_wait(shards->env, &shards->thawed, until_ns)) {
    }
    shards_background_end(shards);
}

/* ---- the steps ------------------------------------------------------------------------------ */

/* Step 3. */
lw_status shards_bury_merged(lw_shards *shards, const lw_replica *right, uint64_t into) {
    lw_shard_descriptor shard;
    lw_replica_figures figures;
    lw_replica_descriptor(right, &shard);
    lw_replica_figures_get(right, &figures);
    const shards_past *known = shards_past_of(shards, shard.id);
    if (known != NULL && known->gone && known->into == into) {
        return LW_OK; /* before a crash */
    }
    shards_past gone = {.group = shard.id,
                        .term = figures.term,
                        .epoch = shard.epoch,
                        .index = figures.applied_index,
                        .into = LW_BUG(shards->env, "merge.tombstone_drops_data") ? 0 : into};
    return shards_past_bury(shards, &gone);
}

LW_YIELDS static lw_status merge_trees(lw_shards *shards, lw_replica *left, lw_replica *right) {
    lw_status status;
    while ((status = lw_store_merge_trees(shards->options.store, lw_replica_tree(left),
                                          lw_replica_tree(right))) == LW_FULL &&
           runs(shards)) {
        LW_MARK(shards->env, "shards.merge_meets_full_disk");
        (void)lw_env_wait(shards->env, &shards->stop,
                          lw_env_now(shards->env) + FULL_PAUSE_MS * NS_PER_MS);
    }
    return status;
}

/* All that has to change in one turn. */
static void switch_over(lw_shards *shards, lw_replica *left, lw_replica *right,
                        shards_member *member) {
    uint64_t id = member->shard;
    lw_replica_take_over(left, right);
    member->passing = NULL;
    lw_replica_discard(right);
    shards_forget(shards, member);
    lw_log_release(shards->log, id, UINT64_MAX - 1); /* but for the tombstone */
    lw_replica_go_on_merged(left);
    shards_thawed(shards);
}

/* Steps 2 to 4. `right` is this call's from now on. */
LW_YIELDS static lw_status take_in(lw_shards *shards, lw_replica *left, lw_replica *right,
                                   shards_member *member) {
    lw_shard_descriptor shard;
    lw_replica_descriptor(left, &shard);
    uint64_t id = shard.id;
    lw_replica_retire(right);
    lw_status status = lw_replica_prepare_take_over(left, right);
    if (status == LW_OK) {
        status = shards_bury_merged(shards, right, id);
    }
    if (LW_RARE(shards->env, "shards.slow_absorbing")) {
        lw_env_sleep(shards->env, FULL_PAUSE_MS * NS_PER_MS);
    }
    if (status == LW_OK) {
        status = merge_trees(shards, left, right);
    }
    if (status == LW_OK) {
        switch_over(shards, left, right, member);
    } else {
        member->passing = NULL;
        lw_replica_discard(right);
    }
    return status;
}

/* It is needed, and is not what it should be. Who was no member when they merged, and is one again
 * and goes on with its log, may lack it. */
static lw_status part_is_missing(lw_shards *shards, lw_replica *left, uint64_t right) {
    if (shards_names(lw_replica_shard(left), shards->options.node)) {
        LW_MARK(shards->env, "shards.part_is_missing");
    }
    (void)!lw_fail(LW_CORRUPTION,
                   "shard %" PRIu64 " is to be merged into another one, and is not on this node as "
                   "it has to be",
                   right);
    if (shards->others.ask == NULL) {
        return LW_CORRUPTION;
    }
    lw_replica_stick(left);
    if (shards->serving) { /* else the start does so later */
        (void)shards_damaged(shards, left);
    }
    return LW_UNAVAILABLE;
}

LW_YIELDS static lw_status absorb(lw_shards *shards, lw_replica *left) {
    lw_replica_merge what;
    bool absorbs = lw_replica_absorbs(left, &what);
    LW_ASSERT(absorbs);
    shards_member *member = shards_member_of(shards, what.right);
    bool here = member != NULL && member->replica != NULL && !member->waits &&
                (!member->leaving || member->absorbed) && lw_replica_tree(member->replica) != NULL;
    if (!here || lw_replica_vouch(member->replica, what.index, what.term) != LW_OK) {
        return part_is_missing(shards, left, what.right);
    }
    lw_replica *right = member->replica;
    member->leaving = member->absorbed = true;
    member->replica = NULL;
    member->passing = right;
    shards_unsort(shards, member);
    LW_MARK(shards->env, "shards.absorbs");
    lw_status status = take_in(shards, left, right, member);
    if (status == LW_OK) {
        LW_MARK(shards->env, "shards.absorbed");
    }
    return status;
}

lw_status shards_absorb(void *argument, lw_replica *left) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    shards->background_count++;
    lw_status status = absorb(shards, left);
    if (status == LW_OK) {
        lw_replica_merge what;
        (void)lw_replica_absorbs(left, &what);
        lw_replica_descriptor(left, &shard);
        lw_logline(shards->env, LW_LEVEL_INFO, "a shard became part of its left neighbour",
                   "shard=%" PRIu64 " into=%" PRIu64, what.right, shard.id);
    } else if (status != LW_UNAVAILABLE && runs(shards)) {
        lw_error reason = *lw_error_slot();
        shards_die(shards, &reason);
    }
    shards_background_end(shards);
    return status;
}

/* ---- at the start --------------------------------------------------------------------------- */

/* Those that are part of another one, as far as that one knows, or will. */
static void set_aside(lw_shards *shards) {
    for (uint32_t index = 0; index < shards->count;) {
        shards_member *member = shards->sorted[index];
        const shards_past *past = shards_past_of(shards, member->shard);
        if (past == NULL || !past->gone || past->into == 0) {
            index++;
            continue;
        }
        shards_unsort(shards, member);
        member->leaving = member->absorbed = true;
    }
}

/* One of those for which something is left to do; NULL: none. */
static lw_replica *next_absorbing(const lw_shards *shards) {
    for (uint32_t index = 0; index < shards->count; index++) {
        lw_replica_merge what;
        const shards_member *member = shards->sorted[index];
        if (!member->lacks_part && lw_replica_absorbs(member->replica, &what)) {
            return member->replica;
        }
    }
    return NULL;
}

static shards_member *member_of_replica(const lw_shards *shards, const lw_replica *replica) {
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    return shards_member_of(shards, shard.id);
}

/* Whether nobody needs one that was set aside: what it is part of has taken it in elsewhere. */
LW_YIELDS static bool is_left_over(lw_shards *shards, uint64_t shard) {
    const shards_past *past = shards_past_of(shards, shard);
    if (past == NULL || lw_store_tree(shards->options.store, past->into) == NULL) {
        return true;
    }
    const shards_member *left = shards_member_of(shards, past->into);
    bool whole = left != NULL && left->replica != NULL && !left->waits && !left->leaving &&
                 !left->damaged && !left->lacks_part;
    return whole && !LW_BUG(shards->env, "shards.set_aside_for_ever") &&
           lw_replica_has_absorbed(left->replica, shard);
}

static bool is_set_aside(const shards_member *member) {
    return member != NULL && member->absorbed && member->replica != NULL;
}

bool shards_is_part_set_aside(const lw_shards *shards, const shards_member *member, uint64_t of) {
    const shards_past *past = shards_past_of(shards, member->shard);
    return is_set_aside(member) && past != NULL && past->into == of &&
           !LW_BUG(shards->env, "shards.part_keeps_it_headless");
}

lw_status shards_end_left_over(lw_shards *shards, lw_log *log, uint64_t shard) {
    shards_member *member = shards_member_of(shards, shard);
    if (!is_set_aside(member) || !is_left_over(shards, shard) ||
        !is_set_aside(member = shards_member_of(shards, shard))) {
        return LW_OK;
    }
    LW_MARK(shards->env, "shards.merged_elsewhere");
    lw_replica *replica = member->replica;
    member->replica = NULL; /* nobody else takes it */
    lw_replica_close(replica);
    LW_TRY(shards_drop(shards, log, shard));
    shards_forget(shards, member);
    return LW_OK;
}

lw_status shards_finish_merges(lw_shards *shards, lw_log *log) {
    for (uint32_t index = 0; index < shards->count; index++) {
        LW_TRY(lw_replica_replay_alone(shards->sorted[index]->replica));
    }
    set_aside(shards);
    lw_replica *left;
    while ((left = next_absorbing(shards)) != NULL) {
        LW_MARK(shards->env, "shards.merge_finished_at_start");
        lw_status status = absorb(shards, left);
        if (status == LW_UNAVAILABLE) {
            member_of_replica(shards, left)->lacks_part = true;
        } else {
            LW_TRY(status);
        }
    }
    uint64_t *ids = shards_ids(shards);
    lw_status status = LW_OK;
    for (const uint64_t *id = ids; *id != 0 && status == LW_OK; id++) {
        status = shards_end_left_over(shards, log, *id);
    }
    lw_free(shards->env->memory, ids);
    return status;
}

void shards_mend_merges(lw_shards *shards) {
    for (uint32_t index = 0; index < shards->count; index++) {
        shards_member *member = shards->sorted[index];
        if (member->lacks_part) {
            member->lacks_part = false;
            (void)!lw_fail(LW_CORRUPTION,
                           "a shard that is to be merged into shard %" PRIu64
                           " is not on this node as it has to be",
                           member->shard);
            (void)shards_damaged(shards, member->replica);
        }
    }
}

/* ---- replicas that nobody tells ---------------------------------------------------------------
 */

/* Whether a replica here is, or may be, the one that it becomes part of. One whose range has this
 * version, or a higher one, is not any more: it came by a snapshot from behind the merge. */
static bool may_take_in(const lw_replica *left, const lw_replica *replica, uint64_t version) {
    uint64_t into;
    lw_shard_descriptor shard, other;
    bool frozen = lw_replica_frozen(replica, &into);
    lw_replica_descriptor(replica, &shard);
    lw_replica_descriptor(left, &other);
    bool beside =
        frozen ? other.id == into : other.end.size > 0 && lw_equal(other.end, shard.start);
    return beside && other.epoch.range_version < version;
}

/* Whether one that it was frozen for may still come off a replica here, which has not heard of that
 * split yet, or waits for its first snapshot: with the whole log, and the merge in it. Or off what
 * is just taken in by such a one, and has its keys until then. */
static bool may_bring_it(const lw_shards *shards, const shards_member *member,
                         const lw_replica *replica) {
    lw_shard_descriptor parent;
    const lw_replica *held = member->leaving ? member->passing : member->replica;
    bool overlooked = member->leaving && LW_BUG(shards->env, "shards.passing_parent_overlooked");
    if (held == NULL || overlooked) {
        return false;
    }
    lw_replica_descriptor(held, &parent);
    return lw_replica_frozen_for(replica, &parent);
}

static bool neighbour_is_here(const lw_shards *shards, const lw_replica *replica,
                              uint64_t version) {
    for (uint32_t index = 0; index < shards->count; index++) {
        if (may_take_in(shards->sorted[index]->replica, replica, version)) {
            return true;
        }
    }
    if (LW_BUG(shards->env, "shards.parent_of_left_overlooked")) {
        return false;
    }
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (const lw_map_node *node = shards->by_id.buckets[index]; node != NULL;
             node = node->next) {
            if (may_bring_it(shards, LW_MAP_ENTRY(node, shards_member, node), replica)) {
                LW_MARK(shards->env, "shards.parent_of_left_is_here");
                return true;
            }
        }
    }
    return false;
}

/* Another node that has a shard: its leader, or any, since who leads may be older news, and this
 * shard may keep those who are to elect one from having it. Not `asked`. 0: none. */
static uint64_t holder_of(const lw_shards *shards, const lw_shard_descriptor *shard,
                          uint64_t asked) {
    uint64_t own = shards->options.node;
    bool leader = shard->leader != 0 && shard->leader != own;
    if (leader && (LW_BUG(shards->env, "shards.orphan_asks_who_leads") ||
                   (shard->leader != asked && lw_env_random_below(shards->env, 2) == 0))) {
        return shard->leader;
    }
    uint64_t first =
        shard->replica_count == 0 ? 0 : lw_env_random_below(shards->env, shard->replica_count);
    for (uint32_t step = 0; step < shard->replica_count; step++) {
        uint64_t node = shard->replicas[(first + step) % shard->replica_count].node;
        if (node != own && node != asked) {
            return node;
        }
    }
    return 0;
}

/* Whether somebody who has what is at the key now says that this shard has become part of it, or of
 * what it came off; in which version. Two are asked: one may not have it, or be behind. */
LW_YIELDS static bool is_merged(lw_shards *shards, const lw_shard_descriptor *shard,
                                uint64_t *version) {
    lw_shard_descriptor now = {0}, told = {0};
    if (!shards->others.locate(shards->options.argument, shard->start, &now) ||
        !shards_is_part_of(shard, &now)) {
        return false;
    }
    uint64_t applied, node = 0;
    bool merged = false;
    uint32_t most = LW_BUG(shards->env, "shards.one_holder_asked") ? 1 : 2;
    for (uint32_t asks = 0; asks < most && !merged; asks++) {
        node = holder_of(shards, &now, node);
        if (node == 0) {
            break;
        }
        lw_buffer reply = lw_buffer_in(shards->env->memory);
        merged = shards_describe_by(shards, node, now.id, &reply, &told, &applied) == LW_OK &&
                 shards_is_part_of(shard, &told);
        *version = told.epoch.range_version;
        lw_buffer_reset(&reply);
    }
    return merged;
}

bool shards_is_orphan(lw_shards *shards, uint64_t id) {
    lw_memory *memory = shards->env->memory;
    shards_member *member = shards_member_of(shards, id);
    lw_shard_descriptor shard;
    uint64_t version;
    if (shards->others.locate == NULL) {
        return false;
    }
    lw_replica_descriptor(member->replica, &shard);
    shard.start = lw_copy(memory, shard.start);
    bool merged = is_merged(shards, &shard, &version);
    lw_free(memory, (void *)(uintptr_t)shard.start.data);
    if ((member = shards_member_of(shards, id)) == NULL || member->leaving) {
        return false;
    }
    /* Who is asked may be behind, or silent: what others said before is so all the same. */
    bool anew = !merged && LW_BUG(shards->env, "shards.merged_looks_begin_anew");
    member->merged_looks = anew ? 0 : member->merged_looks + merged;
    /* What has no tree is of no use to a left neighbour, but keeps that from coming anew. */
    bool useless = member->waits && !LW_BUG(shards->env, "shards.waiting_orphan_stays");
    return merged && (useless || member->merged_looks >= MERGED_LOOKS ||
                      !neighbour_is_here(shards, member->replica, version));
}

/* Also one that waits for its first snapshot: what has become part of another one is no late news,
 * as that it was removed may be (shards_gone). */
void shards_send_orphan(lw_shards *shards, lw_replica *replica) {
    lw_replica_figures figures;
    lw_shard_descriptor shard;
    shards_member *member = member_of_replica(shards, replica);
    LW_MARK(shards->env, "shards.orphan_sent_away");
    lw_replica_figures_get(replica, &figures);
    if (member == NULL || LW_BUG(shards->env, "shards.orphan_waits_on")) {
        shards_gone(shards, replica, figures.applied_index);
        return;
    }
    lw_replica_descriptor(replica, &shard);
    shards_send_away(shards, member, shard.epoch, figures.applied_index);
}

void shards_orphaned(void *argument, lw_replica *replica) {
    lw_shards *shards = argument;
    if (!neighbour_is_here(shards, replica, UINT64_MAX)) {
        shards_send_orphan(shards, replica);
    }
}
