/* SPDX-License-Identifier: Apache-2.0 */
/* Which trees there are: making and dropping them, and what every change of that kind stands on.
 * Splitting and merging are in split.c.
 *
 * A flush or a compaction works for long on what a tree was when it began, and commits at the end.
 * A reshaping (I5) lets a commit under way return, holds back all others of the tree, commits its
 * own edit, and counts up the tree's shape: who comes with the old one is told LW_CONFLICT.
 *
 * Dropping costs one edit of a few bytes however large the tree is. Its files go when the snapshots
 * have let them go, swept by the fiber that sweeps. */
#include "storage/tree.h"

#include "base/hash.h"

#include <inttypes.h>

/* ---- bounds -------------------------------------------------------------------------------------
 */

static lw_bytes keep_key(uint8_t **at, lw_bytes key) {
    uint8_t *copy = *at;
    if (key.size > 0) {
        memcpy(copy, key.data, key.size);
    }
    *at += key.size;
    return lw_view(copy, key.size);
}

static void free_bounds(lw_tree *tree) {
    lw_range_list_reset(&tree->bounds);
    lw_free(tree->store->memory, tree->bound_keys);
    tree->bound_keys = NULL;
}

void lw_tree_set_bounds(lw_tree *tree, const lw_key_range *ranges, uint32_t count) {
    lw_range_list bounds = lw_range_list_in(tree->store->memory);
    size_t size = 0;
    for (uint32_t index = 0; index < count; index++) {
        size += ranges[index].lower.size + ranges[index].upper.size;
    }
    uint8_t *keys = lw_allocate(tree->store->memory, size), *at = keys;
    for (uint32_t index = 0; index < count; index++) {
        lw_bytes lower = keep_key(&at, ranges[index].lower);
        lw_range_list_add(&bounds, (lw_key_range){lower, keep_key(&at, ranges[index].upper)});
    }
    free_bounds(tree); /* only now: `ranges` may be its own */
    tree->bounds = bounds;
    tree->bound_keys = keys;
}

bool lw_tree_may_hold(const lw_tree *tree, lw_bytes key) {
    return tree->bounds.count == 0 || lw_ranges_have(tree->bounds.ranges, tree->bounds.count, key);
}

const lw_key_range *lw_tree_bounds(const lw_tree *tree, uint32_t *count) {
    *count = tree->bounds.count;
    return tree->bounds.ranges;
}

/* In between a table may reach over a gap of the bounds, in which it has nothing. */
bool lw_table_file_within(const lw_table_file *file, const lw_key_range *bounds,
                          uint32_t bound_count) {
    bool high = bound_count == 0;
    for (uint32_t index = 0; index < bound_count; index++) {
        const lw_key_range *range = &bounds[index];
        bool ends = range->upper.size == 0 || lw_table_file_before(file, range->upper);
        high |= ends && lw_compare(file->high, range->lower) >= 0;
    }
    return high && (bound_count == 0 || lw_ranges_have(bounds, bound_count, file->low));
}

bool lw_version_within(const lw_version *version, const lw_key_range *bounds,
                       uint32_t bound_count) {
    for (uint32_t index = 0; index < version->level_start[LW_LEVEL_COUNT]; index++) {
        if (!lw_table_file_within(version->files[index], bounds, bound_count)) {
            return false;
        }
    }
    return true;
}

/* ---- the life of a tree -------------------------------------------------------------------------
 */

static void tree_free(lw_tree *tree) {
    lw_memory *memory = tree->store->memory;
    if (tree->version != NULL) {
        lw_version_release(tree->version);
    }
    free_bounds(tree);
    lw_free(memory, tree);
}

void lw_tree_release(lw_tree *tree) {
    LW_ASSERT(tree->references > 0);
    if (--tree->references == 0) {
        tree_free(tree);
    }
}

lw_status lw_tree_gone(const lw_tree *tree) {
    LW_ASSERT(tree->dropped);
    return lw_fail(LW_NOT_FOUND, "tree %" PRIu64 " was dropped", tree->id);
}

/* ---- turns --------------------------------------------------------------------------------------
 */

void lw_store_shaping_begin(lw_store *store) {
    while (store->shaping) {
        lw_queue_wait(&store->shaping_turn);
    }
    store->shaping = true;
}

void lw_store_shaping_end(lw_store *store) {
    store->shaping = false;
    lw_queue_wake_one(&store->shaping_turn);
}

void lw_tree_reshape_begin(lw_tree *tree) {
    LW_ASSERT(tree->store->shaping);
    LW_ASSERT(!tree->reshaping);
    tree->reshaping = true;
    while (tree->committing > 0) {
        LW_MARK(tree->store->env, "store.reshape_waits");
        lw_store_wait(tree->store, 0);
    }
}

void lw_tree_reshape_end(lw_tree *tree, bool reshaped) {
    tree->reshaping = false;
    tree->shape += reshaped;
    lw_queue_wake_all(&tree->store->changed);
}

/* One attempt, when no reshaping is under way. */
LW_YIELDS static lw_status commit_once(lw_tree *tree, uint32_t shape, lw_bytes edit) {
    while (tree->reshaping) {
        lw_store_wait(tree->store, 0);
    }
    if (tree->shape != shape) {
        LW_MARK(tree->store->env, "store.edit_outdated");
        return lw_fail(LW_CONFLICT, "tree %" PRIu64 " was reshaped meanwhile", tree->id);
    }
    tree->committing++;
    lw_status status = lw_store_commit(tree->store, edit);
    tree->committing--;
    if (tree->reshaping) {
        lw_queue_wake_all(&tree->store->changed);
    }
    return status;
}

lw_status lw_tree_commit(lw_tree *tree, uint32_t shape, lw_bytes edit, bool *full) {
    lw_store *store = tree->store;
    lw_status status;
    while ((status = commit_once(tree, shape, edit)) == LW_FULL) {
        LW_MARK(store->env, "store.catalog_met_full_disk");
        lw_store_make_room(store, full);
        if (lw_store_stopping(store)) {
            return lw_store_stopped(store);
        }
    }
    return status;
}

/* ---- creating -----------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status create_tree(lw_store *store, uint64_t id, lw_tree **tree) {
    lw_buffer edit = lw_buffer_in(store->memory);
    if (lw_store_tree(store, id) != NULL) {
        return lw_fail(LW_EXISTS, "there is a tree %" PRIu64 " already", id);
    }
    lw_edit_tree(&edit, id);
    lw_status status = lw_store_commit(store, lw_buffer_view(&edit));
    if (status == LW_OK) {
        *tree = lw_store_add_tree(store, id, NULL);
    }
    lw_buffer_reset(&edit);
    return status;
}

lw_status lw_store_create_tree(lw_store *store, uint64_t id, lw_tree **tree) {
    lw_store_shaping_begin(store);
    lw_status status = create_tree(store, id, tree);
    lw_store_shaping_end(store);
    return status;
}

/* ---- dropping -----------------------------------------------------------------------------------
 */

static void leave_flush_list(lw_tree *tree) {
    lw_store *store = tree->store;
    lw_tree *before = NULL;
    if (!tree->in_flush_list) {
        return;
    }
    for (lw_tree *at = store->flush_first; at != tree; at = at->flush_next) {
        before = at;
    }
    *(before == NULL ? &store->flush_first : &before->flush_next) = tree->flush_next;
    store->flush_last = store->flush_last == tree ? before : store->flush_last;
    tree->flush_next = NULL;
    tree->in_flush_list = false;
}

static void forget_memtables(lw_tree *tree) {
    lw_store *store = tree->store;
    const lw_version *version = tree->version;
    store->active_bytes -= lw_memtable_size(version->memtables[0]->memtable);
    for (uint32_t index = 0; index < version->memtable_count; index++) {
        store->memtable_bytes -= lw_memtable_size(version->memtables[index]->memtable);
    }
}

void lw_tree_remove(lw_tree *tree) {
    lw_store *store = tree->store;
    leave_flush_list(tree);
    forget_memtables(tree);
    lw_map_remove(&store->trees, &tree->node);
    *(tree->previous != NULL ? &tree->previous->next : &store->first_tree) = tree->next;
    *(tree->next != NULL ? &tree->next->previous : &store->last_tree) = tree->previous;
    tree->next = tree->previous = NULL;
    for (uint32_t index = 0; index < tree->version->level_start[LW_LEVEL_COUNT]; index++) {
        lw_shared_file_unname(tree->version->files[index]->shared);
    }
    lw_version_release(tree->version);
    tree->version = NULL;
    tree->dropped = true;
    lw_tree_reshape_end(tree, true);
    lw_tree_release(tree);
}

LW_YIELDS static lw_status drop_tree(lw_tree *tree) {
    lw_store *store = tree->store;
    lw_buffer edit = lw_buffer_in(store->memory);
    bool full = false;
    lw_edit_drop(&edit, tree->id);
    lw_tree_reshape_begin(tree);
    lw_status status = lw_store_commit_surely(store, lw_buffer_view(&edit), &full);
    if (status == LW_OK) {
        LW_MARK(store->env, "store.tree_dropped");
        lw_tree_remove(tree);
    } else {
        lw_tree_reshape_end(tree, false);
    }
    lw_buffer_reset(&edit);
    return status;
}

lw_status lw_store_drop_tree(lw_store *store, uint64_t id) {
    lw_store_shaping_begin(store);
    lw_tree *tree = lw_store_tree(store, id);
    lw_status status =
        tree != NULL ? drop_tree(tree) : lw_fail(LW_NOT_FOUND, "there is no tree %" PRIu64, id);
    lw_store_shaping_end(store);
    return status;
}
