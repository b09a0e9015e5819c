/* SPDX-License-Identifier: Apache-2.0 */
/* What lies beneath a snapshot: one from behind a merge holds the keys of shards that may still be
 * here (hazard R11).
 *
 * Whatever is at a key where a shard began, in a range of a higher version than that shard's, is
 * what became of it, since the versions of what a key lies in only rise. So these are known to be
 * part of what comes, are ended, and their trees go with the edit that brings it. */
#include "node/shards_state.h"

static bool begins_in(const lw_shard_descriptor *range, lw_bytes key) {
    return lw_compare(range->start, key) <= 0 &&
           (range->end.size == 0 || lw_compare(key, range->end) < 0);
}

static bool overlap(const lw_shard_descriptor *one, const lw_shard_descriptor *other) {
    return (one->end.size == 0 || lw_compare(other->start, one->end) < 0) &&
           (other->end.size == 0 || lw_compare(one->start, other->end) < 0);
}

bool shards_is_part_of(const lw_shard_descriptor *shard, const lw_shard_descriptor *now) {
    return shard->id != now->id && now->epoch.range_version > shard->epoch.range_version &&
           begins_in(now, shard->start);
}

/* What speaks against a member beneath: it is not known to be part of what comes, or is about to be
 * gone or merged by itself. */
static bool may_go(const shards_member *member, const lw_shard_descriptor *told) {
    lw_shard_descriptor held;
    if (member->replica == NULL) {
        return member->absorbed && member->beneath == told->id;
    }
    lw_replica_descriptor(member->replica, &held);
    return !member->waits && (!member->leaving || member->absorbed) &&
           shards_is_part_of(&held, told);
}

static bool is_beneath(const lw_shards *shards, const shards_member *member,
                       const lw_shard_descriptor *told) {
    lw_shard_descriptor held;
    if (member->shard == told->id) {
        return false;
    }
    return shards_held(shards, member, &held) ? overlap(&held, told) : member->beneath == told->id;
}

static shards_member *find_beneath(const lw_shards *shards, const lw_shard_descriptor *told,
                                   bool ended) {
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (lw_map_node *node = shards->by_id.buckets[index]; node != NULL; node = node->next) {
            shards_member *member = LW_MAP_ENTRY(node, shards_member, node);
            if (is_beneath(shards, member, told) && (member->replica == NULL) == ended) {
                return member;
            }
        }
    }
    return NULL;
}

bool shards_beneath_may_go(const lw_shards *shards, const lw_shard_descriptor *told) {
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (const lw_map_node *node = shards->by_id.buckets[index]; node != NULL;
             node = node->next) {
            const shards_member *member = LW_MAP_ENTRY(node, shards_member, node);
            if (is_beneath(shards, member, told) && !may_go(member, told)) {
                return false;
            }
        }
    }
    return true;
}

lw_status shards_end_beneath(lw_shards *shards, const lw_shard_descriptor *told) {
    shards_member *member;
    while ((member = find_beneath(shards, told, false)) != NULL) {
        LW_MARK(shards->env, "shards.snapshot_covers_merged");
        lw_replica *replica = member->replica;
        member->leaving = member->absorbed = true;
        member->beneath = told->id;
        member->replica = NULL;
        shards_unsort(shards, member);
        lw_replica_retire(replica);
        lw_status status = shards_bury_merged(shards, replica, told->id);
        lw_replica_discard(replica);
        LW_TRY(status);
    }
    return LW_OK;
}

uint32_t shards_ended_beneath(const lw_shards *shards, const lw_shard_descriptor *told,
                              uint64_t *ids, uint32_t limit) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (const lw_map_node *node = shards->by_id.buckets[index]; node != NULL;
             node = node->next) {
            const shards_member *member = LW_MAP_ENTRY(node, shards_member, node);
            if (member->replica == NULL && member->beneath == told->id && count < limit) {
                ids[count++] = member->shard;
            }
        }
    }
    return count;
}

void shards_forget_beneath(lw_shards *shards, const uint64_t *ids, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        shards_member *member = shards_member_of(shards, ids[index]);
        if (member != NULL && lw_store_tree(shards->options.store, ids[index]) == NULL) {
            shards_forget(shards, member);
            lw_log_release(shards->log, ids[index], UINT64_MAX - 1);
        }
    }
}

lw_status shards_drop_beneath(lw_shards *shards, uint64_t shard) {
    lw_shard_descriptor told = {.id = shard};
    uint64_t id;
    while (shards_ended_beneath(shards, &told, &id, 1) > 0 &&
           !LW_BUG(shards->env, "shards.beneath_left_over")) {
        LW_MARK(shards->env, "shards.beneath_dropped");
        LW_TRY(shards_drop(shards, shards->log, id));
        shards_member *member = shards_member_of(shards, id);
        if (member != NULL) {
            shards_forget(shards, member);
        }
    }
    return LW_OK;
}
