/* SPDX-License-Identifier: Apache-2.0 */
/* The store: its trees, its catalog, its fibers, and how it stops. Opening and cleaning the folder
 * is in folder.c. The invariants are in store.h and tree.h. */
#include "storage/tree.h"

#include "base/hash.h"

#include <inttypes.h>

enum {
    FULL_PAUSE_NS = 100 * 1000000,  /* between attempts on a full disk, and twice as long ... */
    FULL_DOUBLINGS = 5,             /* ... with each that failed, so many times */
    SHORT_PAUSE_NS = 100 * 1000000, /* between attempts while handles or memory are short */
    LATE_NS = 10000000,             /* by which numbers come late in some simulations */
    SHORT_CLOSED = 8,               /* idle files that are closed before each */
    BUFFER_SIZE = 128 * 1024,       /* bytes of a table that wait for one write, if memory allows */
};

/* ---- stopping -----------------------------------------------------------------------------------
 */

static void wake_everyone(lw_store *store) {
    lw_queue_wake_all(&store->flush_wanted);
    lw_queue_wake_all(&store->compaction_wanted);
    lw_queue_wake_all(&store->folder.sweep_wanted);
    lw_queue_wake_all(&store->spent.wanted);
    lw_queue_wake_all(&store->stopping);
    lw_reserve_stop(store->reserve);
    lw_queue_wake_all(&store->reserve->changed);
    lw_queue_wake_all(&store->changed);
}

lw_status lw_store_judge(lw_store *store, lw_status status) {
    LW_ASSERT(status != LW_OK);
    if (status != LW_FULL && status != LW_BACKPRESSURE && !store->dead) {
        store->dead = true;
        store->why_dead = *lw_error_slot();
        lw_logline(store->env, LW_LEVEL_ERROR, "the store has stopped: a write failed",
                   "folder=\"%s\" reason=\"%s\"", store->directory, store->why_dead.text);
        wake_everyone(store);
        if (store->options.died != NULL) {
            store->options.died(store->options.argument, &store->why_dead);
        }
    }
    return status;
}

bool lw_store_dead(const lw_store *store, lw_error *why) {
    if (store->dead && why != NULL) {
        *why = store->why_dead;
    }
    return store->dead;
}

lw_status lw_store_stopped(const lw_store *store) {
    LW_ASSERT(lw_store_stopping(store));
    if (store->dead) {
        return lw_fail(LW_INTERNAL, "the store in %s has stopped: %s", store->directory,
                       store->why_dead.text);
    }
    return lw_fail(LW_UNAVAILABLE, "the store in %s is closing", store->directory);
}

void lw_store_wait(lw_store *store, uint64_t deadline_ns) {
    if (deadline_ns == 0) {
        lw_queue_wait(&store->changed);
    } else {
        (void)lw_env_wait(store->env, &store->changed, deadline_ns);
    }
}

void lw_store_pause_full(lw_store *store) {
    uint32_t doublings = store->full_streak < FULL_DOUBLINGS ? store->full_streak : FULL_DOUBLINGS;
    store->full_count++;
    store->full_streak++;
    lw_queue_wake_all(&store->changed);
    if (!lw_store_stopping(store)) {
        uint64_t pause_ns = (uint64_t)FULL_PAUSE_NS << doublings;
        (void)lw_env_wait(store->env, &store->stopping, lw_env_now(store->env) + pause_ns);
    }
}

void lw_store_make_room(lw_store *store, bool *full) {
    if (lw_store_stopping(store) || !lw_reserve_spend(store->reserve)) {
        *full = true;
        lw_store_pause_full(store);
    }
}

void lw_store_pause_short(lw_store *store) {
    LW_MARK(store->env, "store.short");
    store->short_count++;
    lw_queue_wake_all(&store->changed);
    for (int closed = 0; closed < SHORT_CLOSED; closed++) {
        (void)lw_table_folder_close_idle(&store->folder);
    }
    if (!lw_store_stopping(store)) {
        (void)lw_env_wait(store->env, &store->stopping, lw_env_now(store->env) + SHORT_PAUSE_NS);
    }
}

/* ---- committing ---------------------------------------------------------------------------------
 */

lw_status lw_store_commit(lw_store *store, lw_bytes edit) {
    while (store->committing) {
        lw_queue_wait(&store->commit_turn);
    }
    if (store->dead) {
        lw_queue_wake_one(&store->commit_turn);
        return lw_store_stopped(store);
    }
    store->committing = true;
    lw_status status = lw_catalog_commit(store->catalog, edit);
    store->committing = false;
    lw_queue_wake_one(&store->commit_turn);
    return status == LW_OK ? LW_OK : lw_store_judge(store, status);
}

lw_status lw_store_commit_surely(lw_store *store, lw_bytes edit, bool *full) {
    lw_status status;
    while ((status = lw_store_commit(store, edit)) == LW_FULL || status == LW_BACKPRESSURE) {
        if (status == LW_FULL) {
            LW_MARK(store->env, "store.catalog_met_full_disk");
            lw_store_make_room(store, full);
        } else {
            lw_store_pause_short(store);
        }
        if (lw_store_stopping(store)) {
            return lw_store_stopped(store);
        }
    }
    return status;
}

lw_status lw_store_sync_tables(lw_store *store) {
    if (LW_BUG(store->env, "store.no_directory_sync")) {
        return LW_OK;
    }
    lw_status status = lw_path_sync_directory(store->env, store->table_path);
    return status == LW_OK ? LW_OK : lw_store_judge(store, status);
}

/* Numbers are taken durably before they are used, so that a file never gets the number of another
 * that was there before a crash (hazard S16). One fiber takes some at a time: edits of two could
 * come into the catalog in the other order, and it would say that numbers were given back. */
lw_status lw_store_number(lw_store *store, uint64_t *number) {
    while (store->number_next == store->number_limit) {
        if (store->numbering && !LW_BUG(store->env, "store.numbers_go_back")) {
            lw_queue_wait(&store->numbered);
            continue;
        }
        uint64_t limit = store->number_limit + store->number_step;
        lw_buffer edit = lw_buffer_in(store->memory);
        lw_edit_numbers(&edit, limit);
        store->numbering = true;
        if (LW_RARE(store->env, "store.slow_numbers")) {
            lw_env_sleep(store->env, LATE_NS);
        }
        lw_status status = lw_store_commit(store, lw_buffer_view(&edit));
        store->numbering = false;
        lw_queue_wake_all(&store->numbered);
        lw_buffer_reset(&edit);
        LW_TRY(status);
        store->number_limit = limit > store->number_limit ? limit : store->number_limit;
    }
    *number = store->number_next++;
    return LW_OK;
}

lw_table_options lw_store_table_options(const lw_store *store, bool last) {
    lw_store_compression chosen = store->options.compression;
    bool dense = last && chosen != LW_COMPRESS_QUICK;
    lw_compression compression = dense ? LW_COMPRESSION_ZSTD : LW_COMPRESSION_LZ4;
    if (chosen == LW_COMPRESS_NOTHING) {
        compression = LW_COMPRESSION_NONE;
    }
    bool small = LW_RARE(store->env, "store.small_buffer");
    return (lw_table_options){
        .compression = compression,
        .compression_level = chosen == LW_COMPRESS_DENSE ? LW_ZSTD_DENSE : LW_ZSTD_QUICK,
        .filter_part = store->options.filter_part,
        .buffer_size = lw_budget_for_buffer(store->budget, small ? 1 : BUFFER_SIZE),
        .budget = store->budget};
}

/* ---- trees --------------------------------------------------------------------------------------
 */

lw_tree *lw_store_tree(lw_store *store, uint64_t id) {
    /* lw_mix permutes, so equal hashes are equal ids. */
    lw_map_node *node = lw_map_first(&store->trees, lw_mix(id));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lw_tree, node);
}

lw_tree *lw_store_next_tree(const lw_store *store, const lw_tree *tree) {
    return tree == NULL ? store->first_tree : tree->next;
}

lw_tree *lw_store_add_tree(lw_store *store, uint64_t id, lw_version *tables) {
    lw_tree *tree = lw_allocate_zero(store->memory, sizeof(*tree));
    lw_memtable_share *memtable =
        lw_memtable_share_make(store->memory, store->budget, &store->spent);
    size_t size = lw_memtable_size(memtable->memtable);
    tree->id = id;
    tree->store = store;
    tree->references = 1;
    tree->bounds = lw_range_list_in(store->memory);
    tree->version = tables;
    lw_tree_install(tree, &(lw_version_change){.add_memtable = memtable});
    lw_memtable_share_release(memtable);
    store->memtable_bytes += size;
    store->active_bytes += size;
    lw_map_insert(&store->trees, &tree->node, lw_mix(id));
    tree->previous = store->last_tree;
    *(store->first_tree == NULL ? &store->first_tree : &store->last_tree->next) = tree;
    store->last_tree = tree;
    return tree;
}

void lw_store_value_figures(const lw_store *store, lw_value_figures *figures) {
    const lw_table_folder *folder = &store->folder;
    *figures = (lw_value_figures){.file_count = folder->value_file_count,
                                  .bytes = folder->value_bytes,
                                  .live_bytes = folder->value_live_bytes,
                                  .wasted_count = folder->wasted_count,
                                  .moved_bytes = store->moved_bytes};
}

lw_cache *lw_store_cache(lw_store *store) {
    return store->cache;
}

lw_budget *lw_store_budget(lw_store *store) {
    return store->budget;
}

lw_filter_part lw_store_filter_part(const lw_store *store) {
    return store->options.filter_part;
}

lw_reserve *lw_store_reserve(lw_store *store) {
    return store->reserve;
}

/* An lw_catalog_describe. */
void lw_store_describe(void *argument, lw_buffer *edit) {
    const lw_store *store = argument;
    lw_edit_numbers(edit, store->number_limit);
    for (const lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        lw_edit_tree(edit, tree->id);
        if (tree->bounds.count > 0) {
            lw_edit_bounds(edit, tree->id, tree->bounds.ranges, tree->bounds.count);
        }
        for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
            for (uint32_t index = 0; index < lw_version_count(tree->version, level); index++) {
                lw_table_file *file = lw_version_files(tree->version, level)[index];
                lw_edit_add(edit, tree->id, level, &file->info);
            }
        }
        lw_edit_flushed(edit, tree->id, tree->flushed, tree->flushed_sequence);
    }
}

/* ---- the fibers ---------------------------------------------------------------------------------
 */

LW_YIELDS static void sweep_main(void *argument) {
    lw_store *store = argument;
    while (!lw_store_stopping(store)) {
        if (store->folder.unused == NULL) {
            lw_queue_wait(&store->folder.sweep_wanted);
        } else {
            lw_table_folder_sweep(&store->folder);
        }
    }
    store->fibers--;
    lw_queue_wake_all(&store->changed);
}

LW_YIELDS static void spent_main(void *argument) {
    lw_store *store = argument;
    while (!lw_store_stopping(store)) {
        if (lw_spent_reduce(&store->spent)) {
            lw_queue_wake_all(&store->changed);
            lw_fiber_pass();
        } else {
            lw_queue_wait(&store->spent.wanted);
        }
    }
    store->fibers--;
    lw_queue_wake_all(&store->changed);
}

void lw_store_start(lw_store *store) {
    store->fibers = 5;
    (void)lw_env_start(store->env, "flush", lw_flush_main, store);
    (void)lw_env_start(store->env, "compaction", lw_compaction_main, store);
    (void)lw_env_start(store->env, "sweep", sweep_main, store);
    (void)lw_env_start(store->env, "spent", spent_main, store);
    (void)lw_env_start(store->env, "space", lw_space_main, store);
}

/* ---- closing ------------------------------------------------------------------------------------
 */

/* Frees what an open store or one half opened holds. */
void lw_store_free(lw_store *store) {
    LW_ASSERT(store->fibers == 0);
    LW_ASSERT(store->snapshots == 0);
    while (store->first_tree != NULL) {
        lw_tree *tree = store->first_tree;
        store->first_tree = tree->next;
        LW_ASSERT(tree->references == 1);
        lw_tree_release(tree);
    }
    while (lw_spent_reduce(&store->spent)) {
    }
    lw_table_folder_sweep(&store->folder);
    LW_ASSERT(store->folder.handle_count == 0);
    lw_map_reset(&store->folder.files);
    lw_map_reset(&store->trees);
    if (store->catalog != NULL) {
        lw_catalog_close(store->catalog);
    }
    if (store->cache != NULL) {
        lw_cache_close(store->cache);
    }
    lw_budget_release(store->budget);
    if (lw_handle_valid(store->lock)) {
        lw_file_close(store->env, store->lock);
    }
    lw_reserve_release(store->reserve);
    lw_free(store->memory, store);
}

void lw_store_close(lw_store *store) {
    store->closing = true;
    wake_everyone(store);
    while (store->fibers > 0) {
        lw_store_wait(store, 0);
    }
    lw_status status = store->dead ? LW_OK : lw_catalog_seal(store->catalog);
    if (status != LW_OK) {
        (void)lw_store_judge(store, status); /* says so */
    }
    lw_store_free(store);
}
