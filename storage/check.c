/* SPDX-License-Identifier: Apache-2.0 */
/* The checker of a folder that no process has open. It believes nothing: the catalog is read as at
 * opening but not mended, every block of every table and every value are read, and what the catalog
 * says of a table is held against what is in it. One line per fault; it goes on after each. */
#include "storage/tree.h"
#include "storage/value_fetch.h"

#include <inttypes.h>

enum { CACHE_SIZE = 3 * LW_TREE_VALUE_SIZE_MAX }; /* the largest value stands in it twice */

typedef struct checker {
    lw_env *env;
    lw_buffer *faults;
    lw_inventory *inventory;
    lw_table_folder folder;
    char table_path[LW_PATH_SIZE];
    uint32_t fault_count;
    const lw_inventory_tree *only; /* of lw_check_tree */
} checker;

/* Notes a fault of one table, or of the folder if there is none. */
static void fault(checker *check, const lw_table_info *info, const char *what) {
    check->fault_count++;
    if (info != NULL) {
        lw_buffer_print(check->faults, "%s/%016" PRIx64 ": %s\n", check->table_path, info->number,
                        what);
    } else {
        lw_buffer_print(check->faults, "%s\n", what);
    }
}

/* ---- one table ----------------------------------------------------------------------------------
 */

/* What was met in a table, to be held against what the catalog says. */
typedef struct census {
    uint64_t entries, deletes, sequence_min, sequence_max;
    lw_buffer key_min, key; /* the first and the last so far */
    bool out_of_order, outside_filter;
    uint64_t *live_sizes; /* bytes referred to, of each value file in the table's list */
} census;

static void count_entry(census *met, const lw_table *table, const lw_entry *entry) {
    lw_bytes last = lw_buffer_view(&met->key);
    bool first = met->entries++ == 0;
    /* One entry a key: flushes and compactions write no more (storage/compaction.h). */
    met->out_of_order |= !first && lw_compare(last, entry->key) >= 0;
    met->outside_filter |= !lw_table_may_hold(table, entry->key);
    met->deletes += entry->kind == LW_ENTRY_DELETE;
    met->sequence_min =
        first || entry->sequence < met->sequence_min ? entry->sequence : met->sequence_min;
    met->sequence_max = entry->sequence > met->sequence_max ? entry->sequence : met->sequence_max;
    if (first) {
        lw_buffer_append(&met->key_min, entry->key);
    }
    lw_buffer_clear(&met->key);
    lw_buffer_append(&met->key, entry->key);
}

static void hold_against(checker *check, const lw_table_info *info, const census *met) {
    if (met->out_of_order) {
        fault(check, info, "its entries are out of order");
    }
    if (met->outside_filter) {
        fault(check, info, "its filter denies a key that it holds");
    }
    if (met->entries != info->entry_count || met->deletes != info->delete_count) {
        fault(check, info, "it does not hold as many entries as the catalog says");
    }
    if (met->sequence_min != info->sequence_min || met->sequence_max != info->sequence_max) {
        fault(check, info, "it does not hold the sequences that the catalog says");
    }
    if (!lw_equal(lw_buffer_view(&met->key_min), info->key_min) ||
        !lw_equal(lw_buffer_view(&met->key), info->key_max)) {
        fault(check, info, "its first or last key is not what the catalog says");
    }
}

/* Reads a value that lies elsewhere. One that cannot be read is a fault, and hides no others. */
LW_YIELDS static void check_value(checker *check, lw_table_file *file, lw_ahead *ahead,
                                  const lw_entry *entry, census *met) {
    lw_reference reference;
    lw_bytes value;
    if (lw_ahead_fetch(ahead, file, entry->key, entry->value, &value) != LW_OK) {
        fault(check, &file->info, lw_error_slot()->text);
    } else if (lw_reference_read(entry->value, &reference)) {
        met->live_sizes[reference.file] += lw_value_extent(&reference.place, entry->key.size);
    }
}

/* What the table says of the files its values lie in; and those files, each once. */
LW_YIELDS static void check_value_files(checker *check, const lw_table_info *info,
                                        const census *met) {
    char path[LW_PATH_SIZE];
    lw_buffer text = lw_buffer_in(check->env->memory);
    for (uint32_t index = 0; index < info->value_count; index++) {
        const lw_value_file *values = &info->values[index];
        lw_inventory_file *file = lw_inventory_find_file(check->inventory, values->number);
        if (met->live_sizes[index] != values->live_size) {
            fault(check, info, "it does not refer to as many bytes of values as the catalog says");
        }
        if (!file->seen && lw_table_path(path, check->table_path, values->number) == LW_OK &&
            lw_value_inspect(check->env, path, &text) != LW_OK) {
            fault(check, NULL, lw_error_slot()->text);
        }
        file->seen = true;
        lw_buffer_clear(&text);
    }
    lw_buffer_reset(&text);
}

LW_YIELDS static lw_status walk_table(checker *check, lw_table_file *file, lw_table *table,
                                      census *met) {
    lw_ahead *ahead = lw_ahead_open(check->env->memory, lw_cache_budget(check->folder.cache));
    lw_table_cursor *cursor = lw_table_cursor_open(table);
    const lw_entry *entry;
    uint32_t work = 0;
    lw_status status = lw_table_cursor_first(cursor);
    while (status == LW_OK && (entry = lw_table_cursor_entry(cursor)) != NULL) {
        count_entry(met, table, entry);
        if (entry->kind == LW_ENTRY_REFERENCE) {
            check_value(check, file, ahead, entry, met);
        }
        lw_work_done(&work);
        status = lw_table_cursor_next(cursor);
    }
    lw_table_cursor_close(cursor);
    lw_ahead_close(ahead);
    return status;
}

/* The parts that reading entries does not touch. */
LW_YIELDS static lw_status inspect_table(checker *check, const lw_table_info *info) {
    char path[LW_PATH_SIZE];
    lw_buffer text = lw_buffer_in(check->env->memory);
    LW_TRY(lw_table_path(path, check->table_path, info->number));
    lw_status status = lw_table_inspect(check->env, path, &text);
    lw_buffer_reset(&text);
    return status;
}

LW_YIELDS static void check_table(checker *check, lw_table_file *file) {
    lw_table *table = NULL;
    census met = {.key_min = lw_buffer_in(check->env->memory),
                  .key = lw_buffer_in(check->env->memory),
                  .live_sizes = lw_allocate_zero(check->env->memory,
                                                 file->info.value_count * sizeof(uint64_t))};
    lw_status status = lw_table_file_use(file, &table);
    if (status == LW_OK) {
        status = walk_table(check, file, table, &met);
        lw_table_file_done(file);
    }
    if (status == LW_OK) {
        hold_against(check, &file->info, &met);
        check_value_files(check, &file->info, &met);
        status = inspect_table(check, &file->info);
    }
    if (status != LW_OK) {
        fault(check, &file->info, lw_error_slot()->text);
    }
    lw_buffer_reset(&met.key_min);
    lw_buffer_reset(&met.key);
    lw_free(check->env->memory, met.live_sizes);
}

/* A table that stands in several places is looked at once. */
LW_YIELDS static void check_file(checker *check, lw_table_file *file) {
    lw_inventory_file *known = lw_inventory_find_file(check->inventory, file->info.number);
    if (!known->seen) {
        known->seen = true;
        check_table(check, file);
    }
}

/* ---- the folder ---------------------------------------------------------------------------------
 */

LW_YIELDS static void check_tree(checker *check, const lw_inventory_tree *tree) {
    lw_version *version = lw_version_of_inventory(&check->folder, tree);
    for (uint32_t index = 0; index < version->level_start[LW_LEVEL_COUNT]; index++) {
        lw_table_file *file = version->files[index];
        check_file(check, file);
        if (file->info.sequence_max > tree->sequence) {
            fault(check, &file->info, "it holds sequences that its tree never reached");
        }
    }
    if (!lw_version_check(version)) {
        check->fault_count++;
        lw_buffer_print(check->faults, "tree %" PRIu64 ": tables of one level overlap\n", tree->id);
    }
    if (!lw_version_within(version, tree->bounds, tree->bound_count)) {
        check->fault_count++;
        lw_buffer_print(check->faults, "tree %" PRIu64 ": a table reaches out of its bounds\n",
                        tree->id);
    }
    lw_version_release(version);
    lw_table_folder_sweep(&check->folder);
}

LW_YIELDS static lw_status check_locked(checker *check, const char *directory) {
    char path[LW_PATH_SIZE];
    lw_catalog_facts facts;
    LW_TRY(lw_path_join(path, directory, "CATALOG"));
    lw_status status =
        lw_catalog_read(check->env, path, lw_inventory_take, check->inventory, &facts);
    if (status == LW_CORRUPTION) {
        fault(check, NULL, lw_error_slot()->text);
        return LW_OK;
    }
    LW_TRY(status);
    for (lw_inventory_tree *tree = check->inventory->first; tree != NULL; tree = tree->next) {
        check_tree(check, tree);
    }
    return LW_OK;
}

LW_YIELDS static lw_status check_folder(checker *check, const char *directory) {
    char path[LW_PATH_SIZE];
    lw_handle lock = LW_NO_HANDLE;
    LW_TRY(lw_path_join(path, directory, "LOCK"));
    LW_TRY(lw_file_open(check->env, path, 0, &lock));
    lw_status status = lw_file_lock(check->env, lock);
    if (status == LW_OK) {
        status = check_locked(check, directory);
    } else if (status == LW_REFUSED) {
        status = lw_fail(LW_REFUSED, "%s is in use by another process: stop it first", directory);
    }
    lw_file_close(check->env, lock);
    return status;
}

/* Calls `body` with what it needs to read tables; LW_CORRUPTION if there was any fault. */
LW_YIELDS static lw_status with_folder(checker *check, const char *directory,
                                       lw_filter_part filter_part,
                                       lw_status (*body)(checker *check, const char *directory)) {
    lw_env *env = check->env;
    lw_budget *budget = lw_budget_make(env->memory, CACHE_SIZE);
    lw_cache *cache = lw_cache_open(env->memory, budget);
    check->folder = (lw_table_folder){.env = env,
                                      .cache = cache,
                                      .path = check->table_path,
                                      .files = lw_map_in(env->memory),
                                      .filter_part = filter_part,
                                      .open_max = 1};
    lw_status status = lw_path_join(check->table_path, directory, "sst");
    if (status == LW_OK) {
        status = body(check, directory);
    }
    lw_map_reset(&check->folder.files);
    lw_cache_close(cache);
    lw_budget_release(budget);
    if (status == LW_OK && check->fault_count > 0) {
        status = lw_fail(LW_CORRUPTION, "%s has %" PRIu32 " faults", directory, check->fault_count);
    }
    return status;
}

lw_status lw_store_check(lw_env *env, const char *directory, lw_filter_part filter_part,
                         lw_buffer *faults) {
    lw_inventory inventory = lw_inventory_in(env->memory);
    checker check = {.env = env, .faults = faults, .inventory = &inventory};
    lw_status status = with_folder(&check, directory, filter_part, check_folder);
    lw_inventory_reset(&inventory);
    return status;
}

LW_YIELDS static lw_status check_one_tree(checker *check, const char *directory) {
    (void)directory;
    check_tree(check, check->only);
    return LW_OK;
}

lw_status lw_check_tree(lw_env *env, const char *directory, lw_inventory *inventory,
                        const lw_inventory_tree *tree, lw_filter_part filter_part,
                        lw_buffer *faults) {
    checker check = {.env = env, .faults = faults, .inventory = inventory, .only = tree};
    return with_folder(&check, directory, filter_part, check_one_tree);
}
