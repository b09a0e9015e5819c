/* SPDX-License-Identifier: Apache-2.0 */
/* The files of tables, shared by the trees: see shared_file.h. */
#include "storage/shared_file.h"

#include "base/hash.h"

#include <inttypes.h>

/* ---- open files ---------------------------------------------------------------------------------
 */

static void idle_add(lw_table_folder *folder, lw_shared_file *file) {
    file->idle_next = NULL;
    file->idle_previous = folder->idle_last;
    *(folder->idle_last != NULL ? &folder->idle_last->idle_next : &folder->idle_first) = file;
    folder->idle_last = file;
}

static void idle_remove(lw_table_folder *folder, lw_shared_file *file) {
    *(file->idle_previous != NULL ? &file->idle_previous->idle_next : &folder->idle_first) =
        file->idle_next;
    *(file->idle_next != NULL ? &file->idle_next->idle_previous : &folder->idle_last) =
        file->idle_previous;
}

static bool is_open(const lw_shared_file *file) {
    return file->table != NULL || file->reader != NULL;
}

/* Closes an open file that is in no list. Only what was open is touched while this suspends: the
 * file may be opened anew, or freed, meanwhile. */
LW_YIELDS static void close_file(lw_shared_file *file) {
    lw_table *table = file->table;
    lw_value_reader *reader = file->reader;
    file->table = NULL;
    file->reader = NULL;
    file->folder->handle_count -= file->handle_count;
    if (table != NULL) {
        lw_table_close(table);
    } else {
        lw_value_reader_close(reader);
    }
}

bool lw_table_folder_close_idle(lw_table_folder *folder) {
    lw_shared_file *file = folder->idle_first;
    if (file != NULL) {
        LW_MARK(folder->env, "store.table_closed");
        idle_remove(folder, file);
        close_file(file);
    }
    return file != NULL;
}

/* Bytes that index and filter will take, roughly: ten bits for a key, and a fence for a block. */
static uint64_t parts_size(const lw_table_info *table) {
    return table == NULL ? 0 : table->entry_count * 10 / 8 + table->size / 64;
}

LW_YIELDS static void make_room(lw_table_folder *folder, uint64_t parts) {
    const lw_budget *budget = lw_cache_budget(folder->cache);
    while (folder->handle_count >= folder->open_max ||
           lw_budget_of_tables(budget) + parts > lw_budget_for_tables(budget) ||
           LW_RARE(folder->env, "store.closes_early")) {
        if (!lw_table_folder_close_idle(folder)) {
            return;
        }
    }
}

static bool reads_direct(const lw_table_folder *folder) {
    return LW_RARE(folder->env, "store.direct_reads") ||
           lw_table_folder_beyond(folder->memory_size, lw_cache_budget(folder->cache)->limit,
                                  folder->table_bytes);
}

LW_YIELDS static lw_status open_once(lw_shared_file *file, const lw_table_info *table,
                                     const lw_value_file *values) {
    char path[LW_PATH_SIZE];
    lw_table_folder *folder = file->folder;
    LW_TRY(lw_table_path(path, folder->path, file->number));
    return table != NULL
               ? lw_table_open(folder->env, folder->cache, path, table, folder->filter_part,
                               &file->table)
               : lw_value_reader_open(folder->env, path, values,
                                      lw_cache_decompressor(folder->cache), &file->reader);
}

/* As a table or, if `table` is NULL, as a value file. */
LW_YIELDS static lw_status open_file(lw_shared_file *file, const lw_table_info *table,
                                     const lw_value_file *values) {
    lw_table_folder *folder = file->folder;
    make_room(folder, parts_size(table));
    lw_status status = open_once(file, table, values);
    while (status == LW_BACKPRESSURE && lw_table_folder_close_idle(folder)) {
        LW_MARK(folder->env, "store.table_closed_for_another");
        status = open_once(file, table, values);
    }
    if (status == LW_OK) {
        bool direct = table != NULL && reads_direct(folder) && lw_table_read_direct(file->table);
        file->handle_count = direct ? 2 : 1;
        folder->handle_count += file->handle_count;
    }
    return status;
}

LW_YIELDS static lw_status use(lw_shared_file *file, const lw_table_info *table,
                               const lw_value_file *values) {
    LW_ASSERT(file->references > 0);
    while (file->opening) {
        lw_queue_wait(&file->opened);
    }
    if (!is_open(file)) {
        file->opening = true;
        lw_status status = open_file(file, table, values);
        file->opening = false;
        lw_queue_wake_all(&file->opened);
        LW_TRY(status);
    } else if (file->uses == 0) {
        idle_remove(file->folder, file);
    }
    file->uses++;
    return LW_OK;
}

lw_status lw_shared_file_use(lw_shared_file *file, const lw_table_info *info, lw_table **table) {
    LW_TRY(use(file, info, NULL));
    LW_ASSERT(file->table != NULL);
    *table = file->table;
    return LW_OK;
}

lw_status lw_shared_file_use_values(lw_shared_file *file, const lw_value_file *info,
                                    lw_value_reader **reader) {
    LW_TRY(use(file, NULL, info));
    LW_ASSERT(file->reader != NULL);
    *reader = file->reader;
    return LW_OK;
}

void lw_shared_file_done(lw_shared_file *file) {
    LW_ASSERT(file->uses > 0);
    if (--file->uses == 0) {
        idle_add(file->folder, file);
    }
}

/* ---- references ---------------------------------------------------------------------------------
 */

/* lw_mix permutes, so equal hashes are equal numbers. */
static lw_shared_file *hold_number(lw_table_folder *folder, uint64_t number) {
    lw_map_node *node = lw_map_first(&folder->files, lw_mix(number));
    if (node != NULL) {
        lw_shared_file *found = LW_MAP_ENTRY(node, lw_shared_file, node);
        found->references++;
        return found;
    }
    lw_shared_file *file = lw_allocate_zero(folder->env->memory, sizeof(*file));
    *file = (lw_shared_file){.folder = folder, .number = number, .references = 1};
    lw_map_insert(&folder->files, &file->node, lw_mix(number));
    return file;
}

lw_shared_file *lw_shared_file_of(lw_table_folder *folder, const lw_table_info *info) {
    lw_shared_file *file = hold_number(folder, info->number);
    if (file->value_count == 0 && info->value_count > 0) {
        lw_memory *memory = folder->env->memory;
        file->values = lw_allocate(memory, info->value_count * sizeof(file->values[0]));
        file->live_sizes = lw_allocate(memory, info->value_count * sizeof(file->live_sizes[0]));
        for (uint32_t index = 0; index < info->value_count; index++) {
            file->values[index] = hold_number(folder, info->values[index].number);
            file->values[index]->size = info->values[index].size;
            file->live_sizes[index] = info->values[index].live_size;
        }
        file->value_count = info->value_count;
    }
    file->size = info->size;
    LW_ASSERT(file->value_count == info->value_count);
    return file;
}

/* From now on nobody refers to it, and nobody finds it. */
static void retire(lw_shared_file *file) {
    lw_table_folder *folder = file->folder;
    LW_ASSERT(!file->opening);
    LW_ASSERT(file->uses == 0);
    if (is_open(file)) {
        idle_remove(folder, file);
    }
    lw_map_remove(&folder->files, &file->node);
    file->next_unused = folder->unused;
    folder->unused = file;
    lw_queue_wake_all(&folder->sweep_wanted);
}

static void release_one(lw_shared_file *file) {
    LW_ASSERT(file->references > 0);
    if (--file->references == 0) {
        retire(file);
    }
}

void lw_shared_file_release(lw_shared_file *file) {
    if (file->references == 1) {
        for (uint32_t index = 0; index < file->value_count; index++) {
            LW_ASSERT(file->values[index]->value_count == 0);
            release_one(file->values[index]);
        }
    }
    release_one(file);
}

/* ---- names --------------------------------------------------------------------------------------
 */

static void name_one(lw_shared_file *file) {
    file->name_count++;
    file->obsolete = false;
}

/* A value file gains or loses a name, or some of what is alive in it. */
static void count_values(lw_shared_file *values, bool wasted_before) {
    values->folder->wasted_count -= wasted_before;
    values->folder->wasted_count += lw_shared_file_wasted(values);
}

static void name_values(lw_shared_file *values, uint64_t live_size) {
    lw_table_folder *folder = values->folder;
    bool wasted_before = lw_shared_file_wasted(values);
    name_one(values);
    if (values->name_count == 1) {
        folder->value_file_count++;
        folder->value_bytes += values->size;
    }
    values->live_size += live_size;
    folder->value_live_bytes += live_size;
    count_values(values, wasted_before);
}

void lw_shared_file_name(lw_shared_file *table) {
    name_one(table);
    bool first = table->name_count == 1;
    table->folder->table_bytes += first ? table->size : 0;
    for (uint32_t index = 0; index < table->value_count; index++) {
        name_values(table->values[index], first ? table->live_sizes[index] : 0);
    }
}

static void unname_one(lw_shared_file *file) {
    LW_ASSERT(file->name_count > 0);
    file->obsolete = --file->name_count == 0 || LW_BUG(file->folder->env, "store.unlink_shared");
}

static void unname_values(lw_shared_file *values, uint64_t live_size) {
    lw_table_folder *folder = values->folder;
    bool wasted_before = lw_shared_file_wasted(values);
    LW_ASSERT(values->live_size >= live_size);
    values->live_size -= live_size;
    folder->value_live_bytes -= live_size;
    unname_one(values);
    if (values->name_count == 0) {
        LW_ASSERT(values->live_size == 0);
        folder->value_file_count--;
        folder->value_bytes -= values->size;
    }
    count_values(values, wasted_before);
}

void lw_shared_file_unname(lw_shared_file *table) {
    unname_one(table);
    bool last = table->name_count == 0;
    LW_ASSERT(!last || table->folder->table_bytes >= table->size);
    table->folder->table_bytes -= last ? table->size : 0;
    for (uint32_t index = 0; index < table->value_count; index++) {
        unname_values(table->values[index], last ? table->live_sizes[index] : 0);
    }
}

void lw_shared_file_leave(lw_shared_file *values) {
    bool wasted_before = lw_shared_file_wasted(values);
    values->unreadable = true;
    count_values(values, wasted_before);
}

void lw_shared_file_discard(lw_shared_file *table) {
    LW_ASSERT(table->name_count == 0);
    table->obsolete = true;
    for (uint32_t index = 0; index < table->value_count; index++) {
        table->values[index]->obsolete = table->values[index]->name_count == 0;
    }
}

/* ---- paths and sweeping -------------------------------------------------------------------------
 */

lw_status lw_table_path(char path[LW_PATH_SIZE], const char *folder, uint64_t number) {
    char name[17];
    for (int digit = 0; digit < 16; digit++) {
        name[digit] = "0123456789abcdef"[number >> (60 - 4 * digit) & 15];
    }
    name[16] = 0;
    return lw_path_join(path, folder, name);
}

bool lw_table_name_number(const char *name, uint64_t *number) {
    uint64_t value = 0;
    if (strlen(name) != 16) {
        return false;
    }
    for (const char *at = name; *at != 0; at++) {
        bool decimal = *at >= '0' && *at <= '9';
        if (!decimal && !(*at >= 'a' && *at <= 'f')) {
            return false;
        }
        value = value << 4 | (uint64_t)(decimal ? *at - '0' : *at - 'a' + 10);
    }
    *number = value;
    return true;
}

LW_YIELDS static void sweep_one(lw_shared_file *file) {
    char path[LW_PATH_SIZE];
    lw_table_folder *folder = file->folder;
    lw_env *env = folder->env;
    if (is_open(file)) {
        close_file(file);
    }
    if (file->obsolete) {
        lw_cache_forget(folder->cache, file->number);
        lw_status status = lw_table_path(path, folder->path, file->number);
        if (status == LW_OK) {
            status = lw_path_unlink(env, path);
        }
        if (status != LW_OK && status != LW_NOT_FOUND) {
            lw_logline(env, LW_LEVEL_WARN, "a file that is needed no more could not be removed",
                       "file=%016" PRIx64 " reason=\"%s\"", file->number, lw_error_slot()->text);
        }
    }
    lw_free(env->memory, file->values);
    lw_free(env->memory, file->live_sizes);
    lw_free(env->memory, file);
}

void lw_table_folder_sweep(lw_table_folder *folder) {
    while (folder->unused != NULL) {
        lw_shared_file *file = folder->unused;
        folder->unused = file->next_unused;
        sweep_one(file);
    }
}
