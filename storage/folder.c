/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the folder of a store: making it, locking it, reading its catalog, and removing what no
 * catalog names (T2). What a crash can leave behind at any instruction is put right here:
 *
 *   sst/<number> that no edit names    a flush or compaction that did not come to its end: removed
 *   CATALOG.new                        a rewriting that did not come to its end: removed
 *   a torn end of CATALOG              an edit that was never acknowledged: left out (catalog.c)
 *   no CATALOG, and no tables          the first start did not come to its end: begun again
 *
 * Tables without a CATALOG, and tables that are named but not there, are left by no crash: that is
 * LW_CORRUPTION, and nothing is touched. */
#include "storage/bundle.h"
#include "storage/tree.h"

#include <inttypes.h>

enum {
    FIRST_NUMBERS = 256, /* file numbers that a new folder begins with */
    NUMBERS_STEP = 256,  /* file numbers taken by one edit */
    TABLE_SIZE_DEFAULT = 8 * 1024 * 1024,
    TABLE_SIZE_LEAST = 1024 * 1024, /* where there is little memory: ... */
    TABLE_SIZE_PART = 8,            /* ... this part of it, since a table's filter is made in it */
    TABLE_SIZE_TINY = 8 * 1024,     /* when the simulator wants many of them */
    OPEN_MAX_DEFAULT = 512,         /* half of the usual limit of open files */
    RESERVE_SIZE_MAX_DEFAULT = 256 * 1024 * 1024,
};

/* ---- the folder itself --------------------------------------------------------------------------
 */

LW_YIELDS static lw_status lock_folder(lw_store *store) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, store->directory, "LOCK"));
    LW_TRY(lw_file_open(store->env, path, LW_OPEN_CREATE, &store->lock));
    lw_status status = lw_file_lock(store->env, store->lock);
    if (status == LW_REFUSED) {
        return lw_fail(LW_REFUSED,
                       "%s is in use by another process: stop it, or choose another folder with "
                       "--data",
                       store->directory);
    }
    return status;
}

/* Makes what has to be there before the catalog can be read. */
LW_YIELDS static lw_status make_folder(lw_store *store) {
    lw_env *env = store->env;
    LW_TRY(lw_path_mkdir(env, store->directory));
    LW_TRY(lock_folder(store));
    LW_TRY(lw_path_mkdir(env, store->table_path));
    LW_TRY(lw_path_sync_parent(env, store->directory));
    return lw_path_sync_directory(env, store->directory);
}

/* ---- files and catalog --------------------------------------------------------------------------
 */

static lw_status take_edit(void *argument, uint64_t offset, lw_bytes edit) {
    lw_store *store = argument;
    return lw_inventory_take(store->loading, offset, edit);
}

LW_YIELDS static lw_status create_catalog(lw_store *store, lw_bytes names) {
    const char *name;
    uint64_t number;
    while ((name = lw_names_next(&names)) != NULL) {
        if (lw_table_name_number(name, &number)) {
            return lw_fail(LW_CORRUPTION,
                           "%s has tables but no CATALOG, which says what they are: restore the "
                           "folder from a backup, or choose an empty one",
                           store->directory);
        }
    }
    store->number_next = 1;
    store->number_limit = 1 + FIRST_NUMBERS;
    return lw_catalog_create(store->env, store->directory, lw_store_describe, store,
                             &store->catalog);
}

static void see_files(lw_store *store, lw_bytes names) {
    const char *name;
    uint64_t number;
    while ((name = lw_names_next(&names)) != NULL) {
        bool ours = lw_table_name_number(name, &number);
        lw_inventory_file *file = ours ? lw_inventory_find_file(store->loading, number) : NULL;
        if (file != NULL) {
            file->seen = true;
        } else if (!ours) {
            lw_logline(store->env, LW_LEVEL_WARN, "a file that is not ours is left alone",
                       "folder=\"%s\" name=\"%s\"", store->table_path, name);
        }
    }
}

/* Removes tables that the catalog does not name. Only now, when it is known to make sense. */
LW_YIELDS static lw_status remove_orphans(lw_store *store, lw_bytes names) {
    char path[LW_PATH_SIZE];
    const char *name;
    uint64_t number;
    while ((name = lw_names_next(&names)) != NULL) {
        if (lw_table_name_number(name, &number) &&
            lw_inventory_find_file(store->loading, number) == NULL) {
            LW_MARK(store->env, "store.orphan_removed");
            LW_TRY(lw_path_join(path, store->table_path, name));
            LW_TRY(lw_path_unlink(store->env, path));
        }
    }
    LW_TRY(lw_path_join(path, store->directory, "CATALOG.new"));
    lw_status status = lw_path_unlink(store->env, path);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* ---- trees --------------------------------------------------------------------------------------
 */

static lw_status missing(const lw_store *store, uint64_t number, const char *what, uint64_t tree) {
    return lw_fail(LW_CORRUPTION,
                   "%s/%016" PRIx64 ", a %s of tree %" PRIu64 ", is missing: restore the folder "
                   "from a backup, or let the node join again with an empty one",
                   store->table_path, number, what, tree);
}

static lw_status check_values(const lw_store *store, const lw_table_info *info, uint64_t tree) {
    for (uint32_t index = 0; index < info->value_count; index++) {
        uint64_t number = info->values[index].number;
        if (!lw_inventory_find_file(store->loading, number)->seen) {
            return missing(store, number, "value file", tree);
        }
    }
    return LW_OK;
}

/* Without every file, or with tables that break V2 or V3, the tree cannot be read. */
static lw_status check_tables(lw_store *store, const lw_inventory_tree *from,
                              const lw_version *version) {
    for (const lw_inventory_table *table = from->first; table != NULL; table = table->next) {
        if (!table->file->seen) {
            return missing(store, table->info.number, "table", from->id);
        }
        LW_TRY(check_values(store, &table->info, from->id));
    }
    if (!lw_version_check(version) ||
        !lw_version_within(version, from->bounds, from->bound_count)) {
        return lw_fail(LW_CORRUPTION,
                       "the catalog of %s gives tree %" PRIu64 " tables that overlap, or that lie "
                       "outside of it: restore the folder from a backup, or let the node join "
                       "again with an empty one",
                       store->directory, from->id);
    }
    return LW_OK;
}

static lw_status load_tree(lw_store *store, const lw_inventory_tree *from) {
    lw_version *version = lw_version_of_inventory(&store->folder, from);
    lw_status status = check_tables(store, from, version);
    if (status != LW_OK) {
        lw_version_release(version);
        return status;
    }
    lw_tree *tree = lw_store_add_tree(store, from->id, version);
    lw_tree_set_bounds(tree, from->bounds, from->bound_count);
    tree->applied = tree->rotated = tree->flushed = from->flushed_index;
    tree->sequence = tree->flushed_sequence = from->sequence;
    for (const lw_inventory_table *table = from->first; table != NULL; table = table->next) {
        uint64_t sequence = table->info.sequence_max;
        tree->sequence = sequence > tree->sequence ? sequence : tree->sequence;
    }
    return LW_OK;
}

static lw_status load_trees(lw_store *store) {
    lw_status status = LW_OK;
    const lw_inventory_tree *tree = store->loading->first;
    for (; tree != NULL && status == LW_OK; tree = tree->next) {
        status = load_tree(store, tree);
    }
    /* Numbers below the limit may have been used before a crash: none of them again. */
    store->number_next = store->number_limit = store->loading->number_limit;
    return status;
}

/* ---- opening ------------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status load_folder(lw_store *store, lw_buffer *names) {
    LW_TRY(make_folder(store));
    LW_TRY(lw_path_list(store->env, store->table_path, names));
    lw_status status = lw_catalog_open(store->env, store->directory, take_edit, lw_store_describe,
                                       store, &store->catalog);
    if (status == LW_OK || status == LW_NOT_FOUND) {
        LW_TRY(lw_reserve_open(store->reserve, status == LW_NOT_FOUND));
    }
    if (status == LW_NOT_FOUND) {
        return create_catalog(store, lw_buffer_view(names));
    }
    LW_TRY(status);
    see_files(store, lw_buffer_view(names));
    LW_TRY(load_trees(store));
    status = lw_catalog_settle(store->catalog);
    if (status == LW_FULL && lw_reserve_spend(store->reserve)) {
        status = lw_catalog_settle(store->catalog);
    }
    LW_TRY(status);
    return remove_orphans(store, lw_buffer_view(names));
}

static lw_store *store_make(lw_env *env, const lw_store_options *options) {
    lw_store *store = lw_allocate_zero(env->memory, sizeof(*store));
    store->env = env;
    store->memory = env->memory;
    store->lock = LW_NO_HANDLE;
    store->options = *options;
    store->options.directory = store->directory;
    if (options->memory_size == 0) {
        store->options.memory_size = LW_BUDGET_LIMIT_DEFAULT;
    }
    if (options->table_size == 0) {
        size_t most = store->options.memory_size / TABLE_SIZE_PART;
        most = most > TABLE_SIZE_LEAST ? most : TABLE_SIZE_LEAST;
        store->options.table_size = TABLE_SIZE_DEFAULT < most ? TABLE_SIZE_DEFAULT : most;
        if (LW_RARE(env, "store.small_tables")) {
            store->options.table_size = TABLE_SIZE_TINY;
        }
    }
    store->steep = LW_RARE(env, "store.steep_levels");
    store->number_step = LW_RARE(env, "store.few_numbers") ? 1 : NUMBERS_STEP;
    store->trees = lw_map_in(env->memory);
    store->budget = lw_budget_make(env->memory, store->options.memory_size);
    if (options->memtables_max != 0) {
        store->budget->memtables_max = options->memtables_max;
    }
    store->cache = lw_cache_open(env->memory, store->budget);
    uint64_t reserve_max =
        options->reserve_size_max != 0 ? options->reserve_size_max : RESERVE_SIZE_MAX_DEFAULT;
    store->reserve =
        lw_reserve_make(env, options->directory, reserve_max != UINT64_MAX ? reserve_max : 0);
    uint32_t open_usual = LW_RARE(env, "store.opens_few") ? 1 : OPEN_MAX_DEFAULT;
    store->folder =
        (lw_table_folder){.env = env,
                          .cache = store->cache,
                          .path = store->table_path,
                          .files = lw_map_in(env->memory),
                          .memory_size = lw_env_memory_size(env),
                          .open_max = options->open_max != 0 ? options->open_max : open_usual,
                          .filter_part = options->filter_part};
    return store;
}

lw_status lw_store_open(lw_env *env, const lw_store_options *options, lw_store **opened) {
    lw_store *store = store_make(env, options);
    lw_inventory inventory = lw_inventory_in(env->memory);
    lw_buffer names = lw_buffer_in(env->memory);
    store->loading = &inventory;
    lw_status status = lw_path_join(store->table_path, options->directory, "sst");
    if (status == LW_OK) {
        memcpy(store->directory, options->directory, strlen(options->directory) + 1);
        status = load_folder(store, &names);
    }
    store->loading = NULL;
    lw_inventory_reset(&inventory);
    lw_buffer_reset(&names);
    if (status != LW_OK) {
        lw_error why = *lw_error_slot();
        lw_store_free(store);
        *lw_error_slot() = why; /* closing must not hide it */
        return status;
    }
    lw_store_start(store);
    *opened = store;
    return LW_OK;
}
