/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that have grown are split by the node that leads them, near the middle of what their
 * tables hold. One fiber looks when something was flushed, or another shard is led here, and sleeps
 * without a timer otherwise: a node with nothing to do has nothing to split. One split at a time,
 * and a pause behind each, since it flushes and holds back writes for a moment. */
#include "node/shards_state.h"

#include "txn/record.h"

enum {
    SHARD_SIZE = 128 * 1024 * 1024,
    SPLIT_MS = 10 * 1000,
    PAUSE_MS = 500,         /* behind a split */
    FAILED_PAUSE_MS = 2000, /* behind one that came to nothing */
    GROWTH = 8, /* a shard that could not be split is looked at again when it is larger by 1/8 */
};
#define NS_PER_MS UINT64_C(1000000)

static uint64_t bytes_of(const lw_shards *shards, uint64_t shard) {
    const lw_tree *tree = lw_store_tree(shards->options.store, shard);
    lw_tree_figures figures;
    if (tree == NULL) {
        return 0;
    }
    lw_tree_figures_get(tree, &figures);
    return figures.held_bytes;
}

/* Of those that may have grown, one that this node leads, that is too large, and that there is hope
 * for; NULL: none. */
static shards_member *find_large(const lw_shards *shards) {
    for (uint32_t index = 0; index < shards->count; index++) {
        shards_member *member = shards->sorted[index];
        if (!member->grown) {
            continue;
        }
        uint64_t bytes = bytes_of(shards, member->shard);
        if (bytes >= shards->options.shard_size && lw_replica_leads(member->replica) &&
            bytes > member->undivided_bytes + member->undivided_bytes / GROWTH) {
            return member;
        }
        member->grown = false;
    }
    return NULL;
}

/* ---- the key ------------------------------------------------------------------------------------
 */

/* Makes a user key out of a key of the tree, which may be cut off. False if it is no use. */
static bool key_between(const lw_shard_descriptor *shard, lw_bytes tree_key, lw_buffer *key) {
    lw_record_user_key_piece(tree_key, key);
    return key->size <= LW_USER_KEY_SIZE_MAX && lw_compare(lw_buffer_view(key), shard->start) > 0 &&
           (shard->end.size == 0 || lw_compare(lw_buffer_view(key), shard->end) < 0);
}

/* Where the shard has its middle, and how many bytes it holds by its tables' own account. */
LW_YIELDS static lw_status find_middle(lw_shards *shards, const lw_shard_descriptor *shard,
                                       lw_buffer *key, uint64_t *bytes) {
    lw_memory *memory = shards->env->memory;
    lw_buffer lower = lw_buffer_in(memory), upper = lower, middle = lower;
    lw_record_data_prefix(shard->start, &lower);
    if (shard->end.size > 0) {
        lw_record_data_prefix(shard->end, &upper);
    } else {
        lw_record_data_end(shard->end, &upper);
    }
    lw_key_range range = {.lower = lw_buffer_view(&lower), .upper = lw_buffer_view(&upper)};
    lw_tree *tree = lw_store_tree(shards->options.store, shard->id);
    lw_status status = lw_tree_middle(tree, &range, &middle, bytes);
    if (status == LW_OK && !key_between(shard, lw_buffer_view(&middle), key)) {
        status = lw_fail(LW_NOT_FOUND, "the middle of shard %llu is not known",
                         (unsigned long long)shard->id);
    }
    lw_buffer_reset(&lower);
    lw_buffer_reset(&upper);
    lw_buffer_reset(&middle);
    return status;
}

/* ---- the split ----------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status split_at(lw_shards *shards, const lw_shard_descriptor *shard,
                                    lw_bytes key) {
    lw_buffer body = lw_buffer_in(shards->env->memory), reply = body;
    lw_split_request_encode(&(lw_split_request){.key = key}, &body);
    lw_request request = {.kind = LW_MESSAGE_SPLIT,
                          .shard = shard->id,
                          .epoch = shard->epoch,
                          .timeout_ms = SPLIT_MS,
                          .body = lw_buffer_view(&body)};
    lw_status status = lw_shards_execute(shards, &request, 0, &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

/* LW_NOT_FOUND: it is not large, looked at closely, or nobody knows where to split it. */
LW_YIELDS static lw_status divide(lw_shards *shards, const lw_shard_descriptor *shard) {
    lw_buffer key = lw_buffer_in(shards->env->memory);
    uint64_t bytes = 0;
    lw_status status = find_middle(shards, shard, &key, &bytes);
    if (status == LW_OK && bytes < shards->options.shard_size) {
        status = lw_fail(LW_NOT_FOUND, "shard %llu is small", (unsigned long long)shard->id);
    }
    if (status == LW_OK) {
        status = split_at(shards, shard, lw_buffer_view(&key));
    }
    lw_buffer_reset(&key);
    return status;
}

LW_YIELDS static lw_status divide_one(lw_shards *shards, shards_member *member) {
    lw_arena bounds = lw_arena_in(shards->env->memory);
    lw_shard_descriptor shard;
    uint64_t bytes = bytes_of(shards, member->shard);
    lw_replica_descriptor(member->replica, &shard);
    shard.start = lw_arena_copy(&bounds, shard.start);
    shard.end = lw_arena_copy(&bounds, shard.end);
    lw_status status = divide(shards, &shard);
    if (status == LW_OK) {
        LW_MARK(shards->env, "shards.split_by_size");
        shards_say(shards, LW_LEVEL_INFO, "split", shard.id, "it had grown to %llu bytes",
                   (unsigned long long)bytes);
    } else if (status == LW_NOT_FOUND && (member = shards_member_of(shards, shard.id)) != NULL) {
        member->undivided_bytes = bytes;
    }
    lw_arena_reset(&bounds);
    return status;
}

/* ---- the fiber ----------------------------------------------------------------------------------
 */

static bool stopping(const lw_shards *shards) {
    return !shards->serving || shards->dead;
}

LW_YIELDS static void split_main(void *argument) {
    lw_shards *shards = argument;
    while (!stopping(shards)) {
        shards_member *member = find_large(shards);
        if (member == NULL) {
            lw_queue_wait(&shards->grown);
            continue;
        }
        lw_status status = divide_one(shards, member);
        if (status != LW_NOT_FOUND) {
            uint64_t pause_ms = status == LW_OK ? PAUSE_MS : FAILED_PAUSE_MS;
            (void)lw_env_wait(shards->env, &shards->stop,
                              lw_env_now(shards->env) + pause_ms * NS_PER_MS);
        }
    }
    shards_background_end(shards);
}

void shards_split_start(lw_shards *shards) {
    if (shards->options.shard_size == 0) {
        shards->options.shard_size = SHARD_SIZE;
    }
    shards->background_count++;
    lw_env_start(shards->env, "split by size", split_main, shards);
}

void shards_grown(lw_shards *shards, uint64_t shard) {
    shards_member *member = shards_member_of(shards, shard);
    if (member != NULL) {
        member->grown = true;
        lw_queue_wake_all(&shards->grown);
        shards_shrunk(shards);
    }
}
