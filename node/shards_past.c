/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of groups that have no tree here.
 *
 * Either the replica waited for its first snapshot when the node stopped: then it may have voted,
 * and must not do so again in the same term. Or it was removed: then a message that is late, or
 * from another replica that does not know it yet, must not call it back to life (hazard R14). It
 * may come back all the same, as a member of a later configuration; what it voted counts then, too.
 *
 * The newest LW_GONE_COUNT_MAX of those that were removed are remembered; the log lets go of the
 * others. */
#include "node/shards_state.h"

#include "base/hash.h"
#include "node/group.h"

enum {
    GONE_SIZE = 3 * 8 + 1,
    GONE_MARK = 1,
    MERGED_SIZE = 4 * 8 + 1,
    MERGED_MARK = 2,
    GONE_COUNT_MAX = 4096
};

shards_past *shards_past_of(const lw_shards *shards, uint64_t group) {
    lw_map_node *node = lw_map_first(&shards->pasts, lw_mix(group));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, shards_past, node);
}

static shards_past *remember(lw_shards *shards, uint64_t group) {
    shards_past *past = shards_past_of(shards, group);
    if (past == NULL) {
        past = lw_allocate_zero(shards->env->memory, sizeof(*past));
        past->group = group;
        lw_map_insert(&shards->pasts, &past->node, lw_mix(group));
    }
    return past;
}

static void forget(lw_shards *shards, shards_past *past) {
    lw_map_remove(&shards->pasts, &past->node);
    lw_free(shards->env->memory, past);
}

void shards_past_close(lw_shards *shards) {
    for (uint32_t index = 0; index < shards->pasts.bucket_count; index++) {
        while (shards->pasts.buckets[index] != NULL) {
            forget(shards, LW_MAP_ENTRY(shards->pasts.buckets[index], shards_past, node));
        }
    }
    lw_map_reset(&shards->pasts);
}

/* ---- replay --------------------------------------------------------------------------------- */

static bool is_merged(const lw_log_record *record) {
    return record->payload.size == MERGED_SIZE &&
           record->payload.data[MERGED_SIZE - 1] == MERGED_MARK;
}

static bool is_tombstone(const lw_log_record *record) {
    bool gone =
        record->payload.size == GONE_SIZE && record->payload.data[GONE_SIZE - 1] == GONE_MARK;
    return record->kind == LW_LOG_STATE && (gone || is_merged(record));
}

static void take_tombstone(lw_shards *shards, const lw_log_record *record) {
    shards_past *past = remember(shards, record->group);
    past->term = record->term;
    past->gone = true;
    past->epoch = (lw_epoch){.range_version = lw_get_u64(record->payload.data),
                             .config_version = lw_get_u64(record->payload.data + 8)};
    past->index = lw_get_u64(record->payload.data + 16);
    past->into = is_merged(record) ? lw_get_u64(record->payload.data + 24) : 0;
    past->state_size = 0;
}

bool shards_past_replay(lw_shards *shards, const lw_log_record *record) {
    if (is_tombstone(record)) {
        take_tombstone(shards, record);
        return true;
    }
    bool here = shards_member_of(shards, record->group) != NULL;
    shards_past *past =
        here ? shards_past_of(shards, record->group) : remember(shards, record->group);
    if (past == NULL) {
        return false;
    }
    if (record->kind == LW_LOG_STATE && record->payload.size <= sizeof(past->state)) {
        past->gone = false; /* it has come back since */
        past->term = record->term;
        past->state_size = (uint32_t)record->payload.size;
        if (record->payload.size > 0) {
            memcpy(past->state, record->payload.data, record->payload.size);
        }
    }
    past->entries = record->kind == LW_LOG_ENTRY || (past->entries && record->kind != LW_LOG_BEGIN);
    return !here;
}

lw_status shards_past_check(const lw_shards *shards) {
    for (uint32_t index = 0; index < shards->pasts.bucket_count; index++) {
        for (const lw_map_node *node = shards->pasts.buckets[index]; node != NULL;
             node = node->next) {
            const shards_past *past = LW_MAP_ENTRY(node, shards_past, node);
            if (past->entries && !past->gone && shards_member_of(shards, past->group) == NULL &&
                !shards_is_headless(shards, past->group)) {
                return lw_fail(LW_CORRUPTION,
                               "the log has entries of shard %llu, which this folder never held",
                               (unsigned long long)past->group);
            }
        }
    }
    return LW_OK;
}

void shards_past_let_go(const lw_shards *shards) {
    for (uint32_t index = 0; index < shards->pasts.bucket_count; index++) {
        for (const lw_map_node *node = shards->pasts.buckets[index]; node != NULL;
             node = node->next) {
            const shards_past *past = LW_MAP_ENTRY(node, shards_past, node);
            if (past->gone && shards_member_of(shards, past->group) == NULL &&
                lw_store_tree(shards->options.store, past->group) == NULL) {
                lw_log_release(shards->log, past->group,
                               UINT64_MAX - 1); /* but for the tombstone */
            }
        }
    }
}

/* ---- going and coming back ------------------------------------------------------------------ */

/* Of many that were removed, one more makes one of lower terms be forgotten. */
static void forget_one(lw_shards *shards) {
    shards_past *oldest = NULL;
    for (uint32_t index = 0; index < shards->pasts.bucket_count; index++) {
        for (lw_map_node *node = shards->pasts.buckets[index]; node != NULL; node = node->next) {
            shards_past *past = LW_MAP_ENTRY(node, shards_past, node);
            if (past->gone &&
                (oldest == NULL || past->epoch.config_version < oldest->epoch.config_version)) {
                oldest = past;
            }
        }
    }
    if (oldest != NULL) {
        lw_log_release(shards->log, oldest->group, UINT64_MAX);
        forget(shards, oldest);
    }
}

lw_status shards_past_bury(lw_shards *shards, const shards_past *gone) {
    uint8_t payload[MERGED_SIZE];
    bool merged = gone->into != 0;
    size_t size = merged ? MERGED_SIZE : GONE_SIZE;
    lw_put_u64(payload, gone->epoch.range_version);
    lw_put_u64(payload + 8, gone->epoch.config_version);
    lw_put_u64(payload + 16, gone->index);
    lw_put_u64(payload + 24, gone->into);
    payload[size - 1] = merged ? MERGED_MARK : GONE_MARK;
    lw_log_record record = {.group = gone->group,
                            .term = gone->term,
                            .kind = LW_LOG_STATE,
                            .payload = lw_view(payload, size)};
    if (shards->pasts.count >= GONE_COUNT_MAX) {
        forget_one(shards);
    }
    take_tombstone(shards, &record);
    return lw_log_wait(shards->log, lw_log_append(shards->log, &record, 1));
}

/* The log begins where the replica does: at nothing, or, of one that a split has made, behind what
 * came with that. */
static void begin_log(lw_shards *shards, const lw_replica *replica, uint64_t group) {
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    lw_log_record begin = {.group = group, .index = figures.applied_index, .kind = LW_LOG_BEGIN};
    (void)lw_log_append(shards->log, &begin, 1);
    lw_log_begun(shards->log, group, true);
}

/* What it had voted, when it was removed, was not kept: for nobody but itself in that term. And it
 * votes again only once it knows of the entry that removed it. */
static lw_status revive_gone(lw_shards *shards, lw_replica *replica, const shards_past *past) {
    uint8_t payload[4 * 8] = {0};
    lw_put_u64(payload, shards->options.node);
    lw_put_u64(payload + 3 * 8, past->index);
    lw_log_record state = {.group = past->group,
                           .term = past->term,
                           .kind = LW_LOG_STATE,
                           .payload = lw_view(payload, sizeof(payload))};
    return lw_replica_replay(replica, &state);
}

/* Whether the log knows of no entry, and expects one that the replica has already: it waited here
 * for its first snapshot, and comes off another one now. */
static bool begins_before(const lw_shards *shards, const lw_replica *replica, uint64_t group) {
    uint64_t first = 0, last = 0;
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    return lw_log_span(shards->log, group, &first, &last) && first > last &&
           last < figures.applied_index;
}

lw_status shards_past_revive(lw_shards *shards, lw_replica *replica, uint64_t group) {
    shards_past *past = shards_past_of(shards, group);
    if (past == NULL) {
        return LW_OK;
    }
    if (past->gone || begins_before(shards, replica, group)) {
        begin_log(shards, replica, group);
    }
    lw_log_record state = {.group = group,
                           .term = past->term,
                           .kind = LW_LOG_STATE,
                           .payload = lw_view(past->state, past->state_size)};
    lw_status status =
        past->gone ? revive_gone(shards, replica, past) : lw_replica_replay(replica, &state);
    forget(shards, past);
    return status;
}
