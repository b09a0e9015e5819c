/* SPDX-License-Identifier: Apache-2.0 */
/* Taking over the tables of a bundle (storage/bundle.h): a shard that moves here, or data that was
 * sorted elsewhere.
 *
 * The order that makes it safe: every block is verified; the files get second names in sst/, under
 * numbers that nobody had (hazard S16), and those names are durable; one edit adds the tables. A
 * crash before leaves names that no catalog has, which the next opening removes. What a file's
 * checksums cover is the number it was built under, so that goes along as its origin.
 *
 * Tables come to the level they were at. That keeps what a tree promises (V2, V3) since the tree
 * holds nothing between their keys: only among themselves they may overlap, as they did before.
 * Their sequences are those of another tree; the tree's own go on above them.
 *
 * A tree that is replaced is dropped and made again by one edit: no restart finds neither, or a
 * part of each (hazards R10, S12). */
#include "storage/bundle.h"
#include "storage/tree.h"

#include <inttypes.h>

typedef struct ingestion {
    lw_store *store;
    const lw_ingest *ingest;
    lw_inventory inventory;
    const lw_inventory_tree *source;
    lw_version_file *files; /* one reference each */
    uint32_t count;
    uint64_t *linked; /* numbers of names that were made */
    uint32_t linked_count;
    lw_buffer edit;
} ingestion;

/* ---- verifying ----------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status verify(ingestion *of) {
    lw_store *store = of->store;
    const char *directory = of->ingest->directory;
    lw_buffer faults = lw_buffer_in(store->memory);
    of->source = lw_inventory_find_tree(&of->inventory, of->ingest->source);
    if (of->source == NULL) {
        return lw_fail(LW_NOT_FOUND, "%s has no tree %" PRIu64, directory, of->ingest->source);
    }
    lw_status status = LW_OK;
    if (!LW_BUG(store->env, "ingest.not_verified")) {
        status = lw_check_tree(store->env, directory, &of->inventory, of->source,
                               store->options.filter_part, &faults);
    }
    if (status == LW_CORRUPTION) {
        const uint8_t *end = memchr(faults.data, '\n', faults.size);
        lw_logline(store->env, LW_LEVEL_ERROR, "damaged tables are not taken over",
                   "folder=\"%s\" first=\"%.*s\"", directory,
                   end == NULL ? 0 : (int)(end - faults.data), (const char *)faults.data);
    }
    lw_buffer_reset(&faults);
    return status;
}

/* ---- names --------------------------------------------------------------------------------------
 */

/* Gives a file of the bundle a number here, and a second name; once. */
LW_YIELDS static lw_status link_file(ingestion *of, lw_inventory_file *file) {
    char from[LW_PATH_SIZE], to[LW_PATH_SIZE], folder[LW_PATH_SIZE];
    uint64_t number = 0;
    if (file->new_number != 0) {
        return LW_OK;
    }
    LW_TRY(lw_path_join(folder, of->ingest->directory, "sst"));
    LW_TRY(lw_table_path(from, folder, file->number));
    LW_TRY(lw_store_number(of->store, &number));
    LW_TRY(lw_table_path(to, of->store->table_path, number));
    LW_TRY(lw_path_link(of->store->env, from, to));
    file->new_number = number;
    of->linked[of->linked_count++] = number;
    return LW_OK;
}

/* Links the files of one place of a table, and makes the place here. */
LW_YIELDS static lw_status take_place(ingestion *of, const lw_inventory_table *table) {
    lw_memory *memory = of->store->memory;
    lw_table_info info = table->info;
    LW_TRY(link_file(of, table->file));
    for (uint32_t index = 0; index < info.value_count; index++) {
        LW_TRY(link_file(of, lw_inventory_find_file(&of->inventory, info.values[index].number)));
    }
    lw_value_file *values = lw_allocate(memory, info.value_count * sizeof(*values));
    for (uint32_t index = 0; index < info.value_count; index++) {
        values[index] = info.values[index];
        values[index].number =
            lw_inventory_find_file(&of->inventory, values[index].number)->new_number;
    }
    info.number = table->file->new_number;
    info.values = values;
    lw_table_file *file = lw_table_file_make(&of->store->folder, &info);
    of->files[of->count++] = (lw_version_file){.level = table->level, .file = file};
    lw_free(memory, values);
    return LW_OK;
}

LW_YIELDS static lw_status take_files(ingestion *of) {
    lw_memory *memory = of->store->memory;
    of->files = lw_allocate(memory, of->source->table_count * sizeof(lw_version_file));
    of->linked = lw_allocate(memory, of->inventory.file_map.count * sizeof(uint64_t));
    for (lw_inventory_table *table = of->source->first; table != NULL; table = table->next) {
        LW_TRY(take_place(of, table));
    }
    if (of->count == 0 || LW_BUG(of->store->env, "ingest.no_directory_sync")) {
        return LW_OK;
    }
    return lw_store_sync_tables(of->store);
}

/* No edit names the files, so their names go again. */
LW_YIELDS static void unlink_files(const ingestion *of) {
    char path[LW_PATH_SIZE];
    for (uint32_t index = 0; index < of->linked_count; index++) {
        if (lw_table_path(path, of->store->table_path, of->linked[index]) == LW_OK) {
            (void)!lw_path_unlink(of->store->env, path);
        }
    }
}

/* ---- whether there is a place for them ----------------------------------------------------------
 */

static bool memtables_hold(const lw_version *version, const lw_table_file *file) {
    for (uint32_t index = 0; index < version->memtable_count; index++) {
        lw_memtable_cursor cursor = lw_memtable_cursor_in(version->memtables[index]->memtable);
        lw_memtable_cursor_seek(&cursor, file->low, UINT64_MAX);
        const lw_entry *entry = lw_memtable_cursor_entry(&cursor);
        if (entry != NULL && !lw_table_file_before(file, entry->key)) {
            return true;
        }
    }
    return false;
}

static bool tables_hold(const lw_version *version, const lw_table_file *file) {
    for (uint32_t index = 0; index < version->level_start[LW_LEVEL_COUNT]; index++) {
        if (lw_table_files_overlap(version->files[index], file)) {
            return true;
        }
    }
    return false;
}

static lw_status check_place(const ingestion *of, const lw_tree *tree) {
    for (uint32_t index = 0; index < of->count; index++) {
        const lw_table_file *file = of->files[index].file;
        if (!lw_table_file_within(file, tree->bounds.ranges, tree->bounds.count)) {
            return lw_fail(LW_INVALID_ARGUMENT,
                           "tables of %s reach out of the bounds of tree %" PRIu64,
                           of->ingest->directory, tree->id);
        }
        if (memtables_hold(tree->version, file) || tables_hold(tree->version, file)) {
            return lw_fail(LW_EXISTS,
                           "tree %" PRIu64 " holds something between the keys of tables of %s",
                           tree->id, of->ingest->directory);
        }
    }
    return LW_OK;
}

/* ---- naming them --------------------------------------------------------------------------------
 */

static void edit_files(ingestion *of, uint64_t tree) {
    for (uint32_t index = 0; index < of->count; index++) {
        lw_edit_add(&of->edit, tree, of->files[index].level, &of->files[index].file->info);
    }
}

LW_YIELDS static lw_status commit(ingestion *of, bool *unknown) {
    bool full = false;
    lw_status status = lw_store_commit_surely(of->store, lw_buffer_view(&of->edit), &full);
    *unknown = status != LW_OK;
    return status;
}

LW_YIELDS static lw_status into_tree(ingestion *of, lw_tree *tree, bool *unknown) {
    uint64_t sequence = of->source->sequence;
    LW_TRY(check_place(of, tree));
    /* From now on, and not only when the edit is durable: what is written meanwhile is newer. */
    tree->sequence = sequence > tree->sequence ? sequence : tree->sequence;
    sequence = sequence > tree->flushed_sequence ? sequence : tree->flushed_sequence;
    edit_files(of, tree->id);
    lw_edit_flushed(&of->edit, tree->id, tree->flushed, sequence);
    LW_TRY(commit(of, unknown));
    tree->flushed_sequence = sequence;
    lw_tree_install(tree, &(lw_version_change){.add = of->files, .add_count = of->count});
    return LW_OK;
}

static void edit_new_tree(ingestion *of, const lw_tree *before) {
    const lw_inventory_tree *source = of->source;
    uint64_t id = of->ingest->tree;
    if (before != NULL) {
        lw_edit_drop(&of->edit, id);
    }
    lw_edit_tree(&of->edit, id);
    if (source->bound_count > 0) {
        lw_edit_bounds(&of->edit, id, source->bounds, source->bound_count);
    }
    edit_files(of, id);
    lw_edit_flushed(&of->edit, id, of->ingest->index, source->sequence);
}

static void install_new_tree(ingestion *of) {
    const lw_inventory_tree *source = of->source;
    lw_tree *tree = lw_store_add_tree(of->store, of->ingest->tree, NULL);
    lw_tree_set_bounds(tree, source->bounds, source->bound_count);
    tree->applied = tree->rotated = tree->flushed = of->ingest->index;
    tree->sequence = tree->flushed_sequence = source->sequence;
    lw_tree_install(tree, &(lw_version_change){.add = of->files, .add_count = of->count});
}

/* Holds back everything else from the trees that are to go. */
LW_YIELDS static void drops_begin(ingestion *of) {
    for (uint32_t index = 0; index < of->ingest->drop_count; index++) {
        lw_tree *tree = lw_store_tree(of->store, of->ingest->drops[index]);
        if (tree != NULL) {
            tree->frozen = true;
            lw_tree_reshape_begin(tree);
            lw_edit_drop(&of->edit, tree->id);
        }
    }
}

static void drops_end(ingestion *of, bool dropped) {
    for (uint32_t index = 0; index < of->ingest->drop_count; index++) {
        lw_tree *tree = lw_store_tree(of->store, of->ingest->drops[index]);
        if (tree != NULL) {
            tree->frozen = false;
            if (dropped) {
                LW_MARK(of->store->env, "store.tree_dropped_with_another");
                lw_tree_remove(tree);
            } else {
                lw_tree_reshape_end(tree, false);
            }
        }
    }
}

LW_YIELDS static lw_status into_new_tree(ingestion *of, bool *unknown) {
    drops_begin(of);
    edit_new_tree(of, NULL);
    lw_status status = commit(of, unknown);
    drops_end(of, status == LW_OK);
    if (status == LW_OK) {
        install_new_tree(of);
    }
    return status;
}

/* Dropping the old tree and making the new one is one edit, and one turn (I2): a flush or
 * compaction of the old one under way finds it dropped, as after lw_store_drop_tree. */
LW_YIELDS static lw_status in_place_of(ingestion *of, lw_tree *before, bool *unknown) {
    drops_begin(of);
    before->frozen = true;
    lw_tree_reshape_begin(before);
    edit_new_tree(of, before);
    lw_status status = commit(of, unknown);
    before->frozen = false;
    drops_end(of, status == LW_OK);
    if (status != LW_OK) {
        lw_tree_reshape_end(before, false);
        return status;
    }
    LW_MARK(of->store->env, "store.tree_replaced");
    lw_tree_remove(before);
    install_new_tree(of);
    return LW_OK;
}

LW_YIELDS static lw_status into_that_tree(ingestion *of, lw_tree *tree, bool *unknown) {
    if (tree == NULL) {
        return lw_fail(LW_NOT_FOUND, "there is no tree %" PRIu64, of->ingest->tree);
    }
    lw_tree_reshape_begin(tree);
    lw_status status = into_tree(of, tree, unknown);
    lw_tree_reshape_end(tree, false); /* its tables are what they were, and more */
    return status;
}

LW_YIELDS static lw_status name_files(ingestion *of, bool *unknown) {
    lw_store *store = of->store;
    lw_status status;
    lw_store_shaping_begin(store);
    lw_tree *tree = lw_store_tree(store, of->ingest->tree);
    if (of->ingest->kind == LW_INGEST_INTO) {
        status = into_that_tree(of, tree, unknown);
    } else if (tree == NULL) {
        status = into_new_tree(of, unknown);
    } else if (of->ingest->kind == LW_INGEST_REPLACE) {
        status = in_place_of(of, tree, unknown);
    } else {
        status = lw_fail(LW_EXISTS, "there is a tree %" PRIu64 " already", of->ingest->tree);
    }
    lw_store_shaping_end(store);
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

/* The bundle is let go of before the edit, since that takes time, too. */
LW_YIELDS static lw_status take(ingestion *of) {
    lw_env *env = of->store->env;
    lw_handle lock = LW_NO_HANDLE;
    LW_TRY(lw_bundle_read(env, of->ingest->directory, &of->inventory, &lock));
    lw_status status = verify(of);
    if (status == LW_OK) {
        status = take_files(of);
    }
    lw_file_close(env, lock);
    return status;
}

lw_status lw_store_ingest(lw_store *store, const lw_ingest *ingest) {
    lw_memory *memory = store->memory;
    ingestion of = {.store = store,
                    .ingest = ingest,
                    .inventory = lw_inventory_in(memory),
                    .edit = lw_buffer_in(memory)};
    bool unknown = false; /* whether a restart would find the edit */
    lw_status status = take(&of);
    if (status == LW_OK) {
        status = name_files(&of, &unknown);
    }
    for (uint32_t index = 0; index < of.count; index++) {
        lw_table_file_release(of.files[index].file);
    }
    if (status == LW_OK) {
        LW_MARK(store->env, "store.ingested");
        lw_queue_wake_all(&store->compaction_wanted);
    } else if (!unknown) {
        lw_error why = *lw_error_slot();
        unlink_files(&of);
        *lw_error_slot() = why; /* clearing up must not hide it */
    }
    lw_free(memory, of.files);
    lw_free(memory, of.linked);
    lw_buffer_reset(&of.edit);
    lw_inventory_reset(&of.inventory);
    return status;
}
