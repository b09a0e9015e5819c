/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: what trees hold at one time, as a bundle of hard links (storage/bundle.h). Nothing
 * is copied, so it costs a link for each table.
 *
 * All trees are taken as they are in one turn, so the bundle is a state that the store was in.
 * Their versions are held until the links are made: so no file of them is unlinked before. */
#include "storage/bundle.h"
#include "storage/tree.h"

#include <inttypes.h>

typedef struct checkpoint {
    lw_store *store;
    const char *directory;
    lw_version **versions; /* held */
    uint32_t version_count;
    lw_buffer state; /* what the CATALOG is to say */
} checkpoint;

static void describe_tree(lw_buffer *state, const lw_tree *tree) {
    lw_edit_tree(state, tree->id);
    if (tree->bounds.count > 0) {
        lw_edit_bounds(state, tree->id, tree->bounds.ranges, tree->bounds.count);
    }
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        for (uint32_t index = 0; index < lw_version_count(tree->version, level); index++) {
            const lw_table_file *file = lw_version_files(tree->version, level)[index];
            lw_edit_add(state, tree->id, level, &file->info);
        }
    }
    lw_edit_flushed(state, tree->id, tree->flushed, tree->flushed_sequence);
}

/* Takes what the trees are now, all in this turn. */
static lw_status pin_trees(checkpoint *of, const uint64_t *ids, uint32_t count) {
    lw_store *store = of->store;
    of->versions =
        lw_allocate(store->memory, (count > 0 ? count : store->trees.count) * sizeof(lw_version *));
    lw_edit_numbers(&of->state, store->number_limit);
    lw_tree *each = store->first_tree;
    for (uint32_t index = 0; count > 0 ? index < count : each != NULL; index++) {
        lw_tree *tree = count > 0 ? lw_store_tree(store, ids[index]) : each;
        if (tree == NULL) {
            return lw_fail(LW_NOT_FOUND, "there is no tree %" PRIu64, ids[index]);
        }
        describe_tree(&of->state, tree);
        lw_version_hold(tree->version);
        of->versions[of->version_count++] = tree->version;
        each = tree->next;
    }
    return LW_OK;
}

LW_YIELDS static lw_status link_file(const checkpoint *of, const char *table_path,
                                     lw_inventory_file *file) {
    char from[LW_PATH_SIZE], to[LW_PATH_SIZE];
    if (file->seen) {
        return LW_OK;
    }
    file->seen = true;
    LW_TRY(lw_table_path(from, of->store->table_path, file->number));
    LW_TRY(lw_table_path(to, table_path, file->number));
    return lw_path_link(of->store->env, from, to);
}

LW_YIELDS static lw_status link_files(const checkpoint *of, const char *table_path,
                                      const lw_inventory *inventory) {
    for (const lw_inventory_tree *tree = inventory->first; tree != NULL; tree = tree->next) {
        for (const lw_inventory_table *table = tree->first; table != NULL; table = table->next) {
            LW_TRY(link_file(of, table_path, table->file));
            for (uint32_t index = 0; index < table->info.value_count; index++) {
                uint64_t number = table->info.values[index].number;
                LW_TRY(link_file(of, table_path, lw_inventory_find_file(inventory, number)));
            }
        }
    }
    return LW_OK;
}

LW_YIELDS static lw_status write_bundle(const checkpoint *of, const char *table_path) {
    lw_env *env = of->store->env;
    lw_inventory inventory = lw_inventory_in(env->memory);
    lw_status status = lw_inventory_take(&inventory, 0, lw_buffer_view(&of->state));
    LW_ASSERT(status == LW_OK);
    status = link_files(of, table_path, &inventory);
    lw_inventory_reset(&inventory);
    return status == LW_OK ? lw_bundle_end(env, of->directory, lw_buffer_view(&of->state)) : status;
}

LW_YIELDS static lw_status make_bundle(const checkpoint *of) {
    char table_path[LW_PATH_SIZE];
    lw_env *env = of->store->env;
    LW_TRY(lw_bundle_begin(env, of->directory, table_path));
    lw_status status = write_bundle(of, table_path);
    if (status != LW_OK) {
        lw_error why = *lw_error_slot();
        (void)!lw_bundle_remove(env, of->directory);
        *lw_error_slot() = why; /* clearing up must not hide it */
    }
    return status;
}

/* Whatever was applied before the call belongs to the checkpoint. */
LW_YIELDS static lw_status flush_trees(lw_store *store, const uint64_t *ids, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        lw_tree *tree = lw_store_tree(store, ids[index]);
        if (tree != NULL) {
            LW_TRY(lw_tree_flush(tree));
        }
    }
    return LW_OK;
}

/* The same of all trees that there are when it begins. One that is dropped meanwhile is none. */
LW_YIELDS static lw_status flush_all(lw_store *store) {
    uint32_t count = 0;
    uint64_t *ids = lw_allocate(store->memory, store->trees.count * sizeof(*ids));
    for (const lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        ids[count++] = tree->id;
    }
    lw_status status = LW_OK;
    for (uint32_t index = 0; index < count && status == LW_OK; index++) {
        status = flush_trees(store, ids + index, 1);
        status = status == LW_NOT_FOUND ? LW_OK : status;
    }
    lw_free(store->memory, ids);
    return status;
}

static void reset(checkpoint *of) {
    for (uint32_t index = 0; index < of->version_count; index++) {
        lw_version_release(of->versions[index]);
    }
    lw_free(of->store->memory, of->versions);
    lw_buffer_reset(&of->state);
}

lw_status lw_store_checkpoint(lw_store *store, const uint64_t *trees, uint32_t tree_count,
                              const char *directory) {
    checkpoint of = {.store = store, .directory = directory, .state = lw_buffer_in(store->memory)};
    LW_TRY(tree_count > 0 ? flush_trees(store, trees, tree_count) : flush_all(store));
    lw_status status = pin_trees(&of, trees, tree_count);
    if (status == LW_OK) {
        status = make_bundle(&of);
    }
    reset(&of);
    return status;
}

lw_status lw_store_checkpoint_tree(lw_store *store, uint64_t tree, const char *directory,
                                   uint64_t *index, lw_snapshot **state) {
    checkpoint of = {.store = store, .directory = directory, .state = lw_buffer_in(store->memory)};
    LW_TRY(flush_trees(store, &tree, 1));
    lw_status status = pin_trees(&of, &tree, 1);
    if (status == LW_OK) {
        /* What was applied since the last flush is in memtables of the version, and of later
         * sequences. */
        const lw_tree *pinned = lw_store_tree(store, tree);
        uint64_t flushed = pinned->flushed;
        lw_snapshot *held = lw_snapshot_open(lw_store_tree(store, tree));
        held->sequence = pinned->flushed_sequence;
        status = make_bundle(&of);
        if (status == LW_OK) {
            *index = flushed;
            *state = held;
        } else {
            lw_snapshot_close(held);
        }
    }
    reset(&of);
    return status;
}
