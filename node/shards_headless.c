/* SPDX-License-Identifier: Apache-2.0 */
/* Trees that do not say any more what they are: what is damaged is where the shard's descriptor
 * stands, so that no replica can be opened (hazard S15). Others know the shard too:
 *
 *   1. the node starts without it. Nobody is told anything in its name, and its log is kept
 *   2. all that can be reached are asked for the shard, again and again, until one names this node
 *   3. a replica is made of what that one says, of the tree, and of the log. It takes entries,
 *      acknowledges and votes as before, and applies nothing: from here on it is one whose tree is
 *      damaged (node/shards_repair.c)
 *
 * Invariants
 * 1. What was acknowledged, and whom it voted for, is in the log, and counts: so it makes no
 *    difference how many are damaged at once, as long as one is not.
 * 2. Nothing else takes the place of such a tree, but for a shard that this node does not belong to
 *    any more, as somebody says who has come as far as the log here; or that has become part of
 *    another one, as anybody's tombstone says.
 *
 * A lone node refuses to start, as does whoever has a shard of which nobody else has anything:
 * there it stays out. */
#include "node/shards_state.h"

enum {
    ASK_PAUSE_MS = 200,
    READ_SIZE = 256 * 1024, /* of the log, at once */
};

bool shards_has_others(const lw_shards *shards) {
    return shards->others.ask != NULL && !shards->options.alone;
}

static shards_headless *find(const lw_shards *shards, uint64_t shard) {
    for (uint32_t index = 0; index < shards->headless_count; index++) {
        if (shards->headless[index].shard == shard) {
            return &shards->headless[index];
        }
    }
    return NULL;
}

bool shards_is_headless(const lw_shards *shards, uint64_t shard) {
    return find(shards, shard) != NULL;
}

lw_status shards_behead(lw_shards *shards, uint64_t shard) {
    lw_error reason = *lw_error_slot();
    if (!shards_has_others(shards)) {
        return reason.status;
    }
    LW_MARK(shards->env, "shards.headless");
    shards_say(shards, LW_LEVEL_ERROR, "damaged", shard, "%s", reason.text);
    uint32_t count = shards->headless_count + 1;
    shards->headless =
        lw_reallocate(shards->env->memory, shards->headless, count * sizeof(*shards->headless));
    shards->headless[shards->headless_count++] = (shards_headless){.shard = shard};
    return LW_OK;
}

static void forget(lw_shards *shards, uint64_t shard) {
    shards_headless *found = find(shards, shard);
    *found = shards->headless[--shards->headless_count];
}

lw_status shards_finish_headless(lw_shards *shards, lw_log *log) {
    for (uint32_t index = 0; index < shards->headless_count;) {
        uint64_t shard = shards->headless[index].shard;
        const shards_past *past = shards_past_of(shards, shard);
        if (past == NULL || !past->gone) {
            index++;
            continue;
        }
        forget(shards, shard);
        LW_TRY(shards_drop(shards, log, shard));
    }
    return LW_OK;
}

/* ---- the log -------------------------------------------------------------------------------- */

typedef struct reading {
    lw_replica *replica;
    uint64_t next;
} reading;

static lw_status replay_one(void *argument, const lw_log_record *record) {
    reading *at = argument;
    at->next = record->index + 1;
    return lw_replica_replay(at->replica, record);
}

/* Whom it voted for, and all entries that count: as at a start. */
LW_YIELDS static lw_status replay(lw_shards *shards, lw_replica *replica, uint64_t shard) {
    uint64_t first, last;
    LW_TRY(shards_past_revive(shards, replica, shard));
    if (!lw_log_span(shards->log, shard, &first, &last)) {
        return LW_OK;
    }
    reading at = {.replica = replica, .next = first};
    while (at.next <= last) {
        LW_TRY(lw_log_read(shards->log, shard, at.next, last, READ_SIZE, replay_one, &at));
    }
    return LW_OK;
}

/* Up to where this node has come, as far as it can know. */
static uint64_t last_entry(const lw_shards *shards, uint64_t shard) {
    const lw_tree *tree = lw_store_tree(shards->options.store, shard);
    uint64_t first, last, flushed = lw_tree_flushed(tree);
    bool spans = lw_log_span(shards->log, shard, &first, &last);
    return spans && last > flushed ? last : flushed;
}

/* ---- what others say --------------------------------------------------------------------------
 */

/* Of those who say it somebody else has to vote, or there is nobody to get a tree from. */
static bool others_vote(const lw_shards *shards, const lw_shard_descriptor *told) {
    bool others = false;
    for (uint32_t index = 0; index < told->replica_count; index++) {
        const lw_shard_replica *each = &told->replicas[index];
        others = others || (shards_votes(each) && each->node != shards->options.node);
    }
    return others;
}

LW_YIELDS static lw_status open_again(lw_shards *shards, const lw_shard_descriptor *told,
                                      uint64_t applied) {
    lw_replica *replica;
    lw_replica_options options = shards_replica_options(shards, told->id);
    LW_TRY(lw_replica_open_damaged(&options, told, applied, &replica));
    lw_status status = replay(shards, replica, told->id);
    if (status == LW_OK && shards_run(shards) && !shards_overlap(shards, told->id, told)) {
        status = lw_replica_start_damaged(replica, shards->log);
    } else if (status == LW_OK) {
        status = lw_fail(LW_REFUSED, "another shard holds keys of it here");
    }
    if (status != LW_OK) {
        lw_error reason = *lw_error_slot();
        lw_replica_close(replica);
        return lw_fail(status, "%s", reason.text);
    }
    forget(shards, told->id);
    LW_MARK(shards->env, "shards.head_told");
    shards_repair_begin(shards, shards_enter(shards, told->id, replica, false));
    return LW_OK;
}

/* It was removed, or became part of another one, and could not hear of it. */
LW_YIELDS static void bury(lw_shards *shards, uint64_t shard, lw_epoch epoch, uint64_t applied) {
    const shards_past *past = shards_past_of(shards, shard);
    shards_past gone = {
        .group = shard, .term = past == NULL ? 0 : past->term, .epoch = epoch, .index = applied};
    if (shards_past_bury(shards, &gone) == LW_OK && shards_run(shards) &&
        shards_drop(shards, shards->log, shard) == LW_OK) {
        LW_MARK(shards->env, "shards.headless_buried");
        forget(shards, shard);
    }
}

static void give_up(lw_shards *shards, uint64_t shard) {
    lw_error reason = *lw_error_slot();
    if (shards_run(shards)) {
        shards_say(shards, LW_LEVEL_ERROR, "repair failed", shard, "%s", reason.text);
        find(shards, shard)->given_up = true;
    }
}

/* True once one has said enough. Views of `reply` are used up to the end. */
LW_YIELDS static bool ask_one(lw_shards *shards, uint64_t shard, uint64_t node, lw_buffer *reply) {
    static const lw_epoch last = {.range_version = UINT64_MAX, .config_version = UINT64_MAX};
    lw_shard_descriptor told;
    lw_describe_tail tail;
    lw_status status = shards_hear_of(shards, node, shard, reply, &told, &tail);
    bool merged = tail.into != 0 && !LW_BUG(shards->env, "shards.merged_stays_headless");
    if (!shards_run(shards) || (status != LW_OK && !merged)) {
        return false;
    }
    if (merged || !shards_names(&told, shards->options.node)) {
        if (merged || tail.applied >= last_entry(shards, shard)) {
            bury(shards, shard, merged ? last : told.epoch, tail.applied);
        }
        return !shards_is_headless(shards, shard);
    }
    if (!others_vote(shards, &told) || shards_overlap(shards, shard, &told)) {
        return false;
    }
    if (open_again(shards, &told, tail.applied) != LW_OK) {
        give_up(shards, shard);
    }
    return true;
}

LW_YIELDS static void ask_around(lw_shards *shards, uint64_t shard) {
    bool told = false;
    for (uint64_t node = lw_groups_linked(shards->groups, 0); node != 0 && !told;
         node = lw_groups_linked(shards->groups, node)) {
        lw_buffer reply = lw_buffer_in(shards->env->memory);
        told = ask_one(shards, shard, node, &reply);
        lw_buffer_reset(&reply);
        if (!shards_run(shards)) {
            return;
        }
    }
}

/* The next one behind `shard`, in some order; 0: none. */
static uint64_t next_of(const lw_shards *shards, uint64_t shard) {
    uint64_t next = 0;
    for (uint32_t index = 0; index < shards->headless_count; index++) {
        const shards_headless *each = &shards->headless[index];
        if (!each->given_up && each->shard > shard && (next == 0 || each->shard < next)) {
            next = each->shard;
        }
    }
    return next;
}

LW_YIELDS static void headless_main(void *argument) {
    lw_shards *shards = argument;
    while (shards_run(shards) && next_of(shards, 0) != 0) {
        for (uint64_t shard = next_of(shards, 0); shard != 0 && shards_run(shards);
             shard = next_of(shards, shard)) {
            ask_around(shards, shard);
        }
        shards_pause(shards, ASK_PAUSE_MS);
    }
    shards_background_end(shards);
}

void shards_headless_start(lw_shards *shards) {
    if (shards->headless_count > 0) {
        shards->background_count++;
        lw_env_start(shards->env, "headless", headless_main, shards);
    }
}
