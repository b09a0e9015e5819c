/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: log, then tree, in one turn. The invariants are in engine.h. */
#include "storage/engine.h"

#include "storage/batch.h"

#include <inttypes.h>

enum {
    /* Bytes that writers who wait for nothing may write before the loop turns once: so that the
     * log's writes, the flush and everybody else go on meanwhile. */
    TURN_SIZE = 64 * 1024,
    RECORD_OVERHEAD = 48, /* bytes of a record's header in the log, at most */
    /* Segments kept ready should cost no more disk than what they are for: a share of the memory
     * that the log stands behind. */
    SEGMENT_SHARE = 32,
    SEGMENT_SIZE_MIN = 1024 * 1024,
    SEGMENT_SIZE_MAX = 16 * 1024 * 1024,
    /* Segments that one tree may hold. What is written is flushed before it fills the memory, so
     * that only a tree that is written to seldom comes to hold more than all the memory. */
    PINNED_MAX = 2 * SEGMENT_SHARE,
};

struct lw_engine {
    lw_env *env;
    lw_store *store;
    lw_log *log;       /* NULL while it is being opened */
    uint64_t position; /* of the last append */
    size_t unturned;   /* bytes written since the loop turned */
    uint64_t segment_size;
    bool open_failed, closing;
    lw_queue opened; /* flushes wait here for the log */
    bool easer_runs;
    lw_queue eased; /* closing waits here for its end */
};

/* ---- what the store asks ------------------------------------------------------------------------
 */

/* The rule of E3. While the folder is being opened nothing is flushed: what is in memory then was
 * in memory before, so it fits, and the last of it is not durable before the log is open. */
LW_YIELDS static lw_status before_flush(void *argument, lw_tree *tree, uint64_t index) {
    lw_engine *engine = argument;
    LW_ASSERT(lw_tree_applied(tree) >= index);
    if (LW_BUG(engine->env, "engine.flush_before_log")) {
        return LW_OK;
    }
    while (engine->log == NULL && !engine->open_failed) {
        LW_MARK(engine->env, "engine.flush_waits_for_opening");
        lw_queue_wait(&engine->opened);
    }
    if (engine->log == NULL) {
        return lw_fail(LW_UNAVAILABLE, "the log could not be opened, so nothing is flushed");
    }
    if (lw_log_wait(engine->log, engine->position) != LW_OK) {
        /* Whatever it was, also want of space: the log takes nothing any more. */
        return lw_fail(LW_INTERNAL, "the log has stopped: %s", lw_error_slot()->text);
    }
    return LW_OK;
}

static bool holds_too_much(const lw_engine *engine, lw_tree *tree) {
    uint64_t most = LW_RARE(engine->env, "engine.eased_early") ? 1 : PINNED_MAX;
    return lw_tree_flushed(tree) != lw_tree_applied(tree) &&
           lw_log_pinned(engine->log, lw_tree_id(tree)) > most * engine->segment_size;
}

/* The tree whose entries hold too many segments of the log, or NULL. */
static lw_tree *find_idle(const lw_engine *engine) {
    lw_tree *tree = lw_store_next_tree(engine->store, NULL);
    while (tree != NULL && !holds_too_much(engine, tree)) {
        tree = lw_store_next_tree(engine->store, tree);
    }
    return tree;
}

/* A fiber that exists while there are such trees. */
LW_YIELDS static void easer_main(void *argument) {
    lw_engine *engine = argument;
    lw_tree *tree;
    while (!engine->closing && (tree = find_idle(engine)) != NULL) {
        LW_MARK(engine->env, "engine.idle_tree_flushed");
        if (lw_tree_flush(tree) != LW_OK) {
            break; /* on a full disk the next flush that succeeds looks again */
        }
    }
    engine->easer_runs = false;
    lw_queue_wake_all(&engine->eased);
}

static void flushed(void *argument, lw_tree *tree, uint64_t index) {
    lw_engine *engine = argument;
    if (engine->log == NULL) {
        return;
    }
    lw_log_release(engine->log, lw_tree_id(tree), index);
    if (!engine->easer_runs && !engine->closing && find_idle(engine) != NULL) {
        engine->easer_runs = true;
        (void)lw_env_start(engine->env, "log easer", easer_main, engine);
    }
}

/* ---- opening and closing ------------------------------------------------------------------------
 */

/* An lw_log_visit. */
static lw_status replay(void *argument, const lw_log_record *record) {
    lw_engine *engine = argument;
    lw_tree *tree = lw_store_tree(engine->store, record->group);
    if (tree == NULL || record->index <= lw_tree_flushed(tree)) {
        return LW_OK; /* dropped, or in tables */
    }
    if (record->kind != LW_LOG_ENTRY || record->index != lw_tree_applied(tree) + 1) {
        return lw_fail(LW_CORRUPTION,
                       "the log has entry %" PRIu64 " of tree %" PRIu64 " behind entry %" PRIu64
                       ": it is not the log of these tables, or parts of it are missing; restore "
                       "the folder from a backup",
                       record->index, record->group, lw_tree_applied(tree));
    }
    return lw_tree_apply(tree, record->index, record->payload);
}

static uint64_t segment_size_for(size_t memory_size) {
    uint64_t size = memory_size / SEGMENT_SHARE;
    size = size > SEGMENT_SIZE_MIN ? size : SEGMENT_SIZE_MIN;
    return size < SEGMENT_SIZE_MAX ? size : SEGMENT_SIZE_MAX;
}

LW_YIELDS static lw_status open_parts(lw_engine *engine, const lw_engine_options *options) {
    lw_store_options store_options = options->store;
    LW_ASSERT(store_options.flushed == NULL && store_options.before_flush == NULL);
    store_options.flushed = flushed;
    store_options.before_flush = before_flush;
    store_options.argument = engine;
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, options->store.directory, "log"));
    LW_TRY(lw_store_open(engine->env, &store_options, &engine->store));
    lw_log *log = NULL;
    lw_log_options log_options = options->log;
    log_options.reserve = lw_store_reserve(engine->store);
    log_options.budget = lw_store_budget(engine->store);
    if (log_options.segment_size == 0) {
        log_options.segment_size = segment_size_for(lw_store_budget(engine->store)->limit);
    }
    engine->segment_size = log_options.segment_size;
    lw_store_replaying(engine->store, true);
    lw_status status = lw_log_open(engine->env, path, &log_options, replay, engine, &log);
    lw_store_replaying(engine->store, false);
    LW_TRY(status);
    engine->log = log;
    for (lw_tree *tree = lw_store_next_tree(engine->store, NULL); tree != NULL;
         tree = lw_store_next_tree(engine->store, tree)) {
        lw_log_release(log, lw_tree_id(tree), lw_tree_flushed(tree));
    }
    lw_queue_wake_all(&engine->opened);
    return LW_OK;
}

lw_status lw_engine_open(lw_env *env, const lw_engine_options *options, lw_engine **engine) {
    lw_engine *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    lw_status status = open_parts(opened, options);
    if (status != LW_OK) {
        lw_error why = *lw_error_slot();
        opened->open_failed = true;
        lw_engine_close(opened);
        *lw_error_slot() = why; /* closing must not hide it */
        return status;
    }
    *engine = opened;
    return LW_OK;
}

void lw_engine_close(lw_engine *engine) {
    engine->closing = true;
    lw_queue_wake_all(&engine->opened);
    while (engine->easer_runs) {
        lw_queue_wait(&engine->eased);
    }
    if (engine->store != NULL) {
        lw_store_close(engine->store); /* its last flush may wait for the log */
    }
    if (engine->log != NULL) {
        lw_log_close(engine->log);
    }
    lw_free(engine->env->memory, engine);
}

/* ---- trees --------------------------------------------------------------------------------------
 */

lw_status lw_engine_create_tree(lw_engine *engine, uint64_t id) {
    lw_tree *tree;
    return lw_store_create_tree(engine->store, id, &tree);
}

lw_tree *lw_engine_tree(const lw_engine *engine, uint64_t id) {
    return lw_store_tree(engine->store, id);
}

lw_store *lw_engine_store(const lw_engine *engine) {
    return engine->store;
}

lw_log *lw_engine_log(const lw_engine *engine) {
    return engine->log;
}

/* ---- writing ------------------------------------------------------------------------------------
 */

static lw_status no_tree(uint64_t id) {
    return lw_fail(LW_NOT_FOUND, "there is no tree %" PRIu64 ": create it first", id);
}

/* Waits until the tree can take the batch. `*freeing` stays if all it does is to delete: that is
 * let in on a full disk. */
LW_YIELDS static lw_status admit(lw_engine *engine, uint64_t id, lw_bytes batch, bool *freeing) {
    lw_tree *tree = lw_store_tree(engine->store, id);
    if (tree == NULL) {
        return no_tree(id);
    }
    if (batch.size > LW_LOG_PAYLOAD_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a batch of %zu bytes is larger than the %d that one may have: split it",
                       batch.size, (int)LW_LOG_PAYLOAD_SIZE_MAX);
    }
    LW_TRY(lw_tree_check_batch(tree, batch));
    *freeing = *freeing && lw_batch_only_deletes(batch);
    return *freeing ? lw_tree_admit_freeing(tree, batch.size) : lw_tree_admit(tree, batch.size);
}

/* Waits until the log has room. */
LW_YIELDS static lw_status make_room(lw_engine *engine, size_t size, bool freeing) {
    return freeing ? lw_log_room_freeing(engine->log, size) : lw_log_room(engine->log, size);
}

static void apply(lw_engine *engine, lw_tree *tree, const lw_log_record *record) {
    lw_tree_apply_checked(tree, record->index, record->payload);
    engine->unturned += record->payload.size + RECORD_OVERHEAD;
}

/* Waits for the write, or lets the loop turn now and then under writers who never wait. */
LW_YIELDS static lw_status finish(lw_engine *engine, bool durable) {
    if (durable) {
        return lw_log_wait(engine->log, engine->position);
    }
    if (engine->unturned >= TURN_SIZE) {
        engine->unturned = 0;
        lw_op end_of_turn = {.kind = LW_OP_DEFER};
        lw_status status = lw_env_perform(engine->env, &end_of_turn);
        LW_ASSERT(status == LW_OK);
    }
    return LW_OK;
}

lw_status lw_engine_write(lw_engine *engine, uint64_t id, lw_bytes batch, bool durable) {
    bool freeing = true;
    LW_TRY(admit(engine, id, batch, &freeing));
    LW_TRY(make_room(engine, batch.size + RECORD_OVERHEAD, freeing));
    lw_tree *tree = lw_store_tree(engine->store, id); /* it may have been dropped meanwhile */
    if (tree == NULL) {
        return no_tree(id);
    }
    lw_log_record record = {
        .group = id, .index = lw_tree_applied(tree) + 1, .kind = LW_LOG_ENTRY, .payload = batch};
    engine->position = lw_log_append(engine->log, &record, 1);
    apply(engine, tree, &record);
    return finish(engine, durable);
}

/* Numbers the entries; later ones of a tree follow its earlier ones. */
static lw_status make_records(lw_engine *engine, const lw_engine_change *changes, uint32_t count,
                              lw_tree **trees, lw_log_record *records) {
    for (uint32_t index = 0; index < count; index++) {
        trees[index] = lw_store_tree(engine->store, changes[index].tree);
        if (trees[index] == NULL) {
            return no_tree(changes[index].tree);
        }
        uint64_t entry = lw_tree_applied(trees[index]) + 1;
        for (uint32_t other = 0; other < index; other++) {
            entry += trees[other] == trees[index];
        }
        records[index] = (lw_log_record){.group = changes[index].tree,
                                         .index = entry,
                                         .kind = LW_LOG_ENTRY,
                                         .payload = changes[index].batch};
    }
    return LW_OK;
}

lw_status lw_engine_write_all(lw_engine *engine, const lw_engine_change *changes, uint32_t count,
                              bool durable) {
    lw_tree *trees[LW_ENGINE_CHANGES_MAX] = {NULL};
    lw_log_record records[LW_ENGINE_CHANGES_MAX] = {0};
    size_t size = 0;
    bool freeing = true;
    LW_ASSERT(count > 0 && count <= LW_ENGINE_CHANGES_MAX);
    for (uint32_t index = 0; index < count; index++) {
        LW_TRY(admit(engine, changes[index].tree, changes[index].batch, &freeing));
        size += changes[index].batch.size + RECORD_OVERHEAD;
    }
    LW_TRY(make_room(engine, size, freeing));
    LW_TRY(make_records(engine, changes, count, trees, records));
    engine->position = lw_log_append(engine->log, records, count);
    for (uint32_t index = 0; index < count; index++) {
        apply(engine, trees[index], &records[index]);
    }
    return finish(engine, durable);
}

lw_status lw_engine_sync(lw_engine *engine) {
    return lw_log_wait(engine->log, engine->position);
}
