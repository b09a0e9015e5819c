/* SPDX-License-Identifier: Apache-2.0 */
/* What a tree is made of at one time: see version.h. */
#include "storage/version.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- table files ---------------------------------------------------------------------------- */

lw_table_file *lw_table_file_make(lw_table_folder *folder, const lw_table_info *info) {
    size_t key_size = info->key_min.size + info->key_max.size;
    lw_table_file *file = lw_allocate(folder->env->memory, sizeof(*file) + key_size);
    *file = (lw_table_file){.folder = folder, .references = 1, .info = *info};
    uint8_t *keys = (uint8_t *)(file + 1);
    if (info->key_min.size > 0) {
        memcpy(keys, info->key_min.data, info->key_min.size);
    }
    if (info->key_max.size > 0) {
        memcpy(keys + info->key_min.size, info->key_max.data, info->key_max.size);
    }
    file->info.key_min = lw_view(keys, info->key_min.size);
    file->info.key_max = lw_view(keys + info->key_min.size, info->key_max.size);
    return file;
}

/* ---- open tables --------------------------------------------------------------------------------
 */

static void idle_add(lw_table_folder *folder, lw_table_file *file) {
    file->idle_next = NULL;
    file->idle_previous = folder->idle_last;
    *(folder->idle_last != NULL ? &folder->idle_last->idle_next : &folder->idle_first) = file;
    folder->idle_last = file;
}

static void idle_remove(lw_table_folder *folder, lw_table_file *file) {
    *(file->idle_previous != NULL ? &file->idle_previous->idle_next : &folder->idle_first) =
        file->idle_next;
    *(file->idle_next != NULL ? &file->idle_next->idle_previous : &folder->idle_last) =
        file->idle_previous;
}

/* Closes an open table that is in no list. Only the table is touched while this suspends: the file
 * may be opened anew, or freed, meanwhile. */
LW_YIELDS static void close_table(lw_table_file *file) {
    lw_table *table = file->table;
    file->table = NULL;
    file->folder->open_count--;
    lw_table_close(table);
}

LW_YIELDS static void make_room(lw_table_folder *folder) {
    while (folder->open_count >= folder->open_max && folder->idle_first != NULL) {
        lw_table_file *file = folder->idle_first;
        LW_MARK(folder->env, "store.table_closed");
        idle_remove(folder, file);
        close_table(file);
    }
}

LW_YIELDS static lw_status open_table(lw_table_file *file) {
    char path[LW_PATH_SIZE];
    lw_table_folder *folder = file->folder;
    make_room(folder);
    LW_TRY(lw_table_path(path, folder->path, file->info.number));
    LW_TRY(lw_table_open(folder->env, folder->cache, path, &file->info, folder->filter_part,
                         &file->table));
    folder->open_count++;
    return LW_OK;
}

lw_status lw_table_file_use(lw_table_file *file, lw_table **table) {
    LW_ASSERT(file->references > 0);
    while (file->opening) {
        lw_queue_wait(&file->opened);
    }
    if (file->table == NULL) {
        file->opening = true;
        lw_status status = open_table(file);
        file->opening = false;
        lw_queue_wake_all(&file->opened);
        LW_TRY(status);
    } else if (file->uses == 0) {
        idle_remove(file->folder, file);
    }
    file->uses++;
    *table = file->table;
    return LW_OK;
}

void lw_table_file_done(lw_table_file *file) {
    LW_ASSERT(file->uses > 0);
    if (--file->uses == 0) {
        idle_add(file->folder, file);
    }
}

/* ---- references ---------------------------------------------------------------------------------
 */

void lw_table_file_release(lw_table_file *file) {
    lw_table_folder *folder = file->folder;
    LW_ASSERT(file->references > 0);
    if (--file->references > 0) {
        return;
    }
    LW_ASSERT(!file->opening);
    LW_ASSERT(file->uses == 0);
    if (file->table != NULL) {
        idle_remove(folder, file);
    }
    file->next_unused = folder->unused;
    folder->unused = file;
    lw_queue_wake_all(&folder->sweep_wanted);
}

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

LW_YIELDS static void sweep_one(lw_table_file *file) {
    char path[LW_PATH_SIZE];
    lw_table_folder *folder = file->folder;
    lw_env *env = folder->env;
    if (file->table != NULL) {
        close_table(file);
    }
    if (file->obsolete) {
        lw_cache_forget(folder->cache, file->info.number);
        lw_status status = lw_table_path(path, folder->path, file->info.number);
        if (status == LW_OK) {
            status = lw_path_unlink(env, path);
        }
        if (status != LW_OK && status != LW_NOT_FOUND) {
            lw_logline(env, LW_LEVEL_WARN, "a table that is needed no more could not be removed",
                       "table=%016" PRIx64 " reason=\"%s\"", file->info.number,
                       lw_error_slot()->text);
        }
    }
    lw_free(env->memory, file);
}

void lw_table_folder_sweep(lw_table_folder *folder) {
    while (folder->unused != NULL) {
        lw_table_file *file = folder->unused;
        folder->unused = file->next_unused;
        sweep_one(file);
    }
}

/* ---- memtables ------------------------------------------------------------------------------ */

lw_memtable_share *lw_memtable_share_make(lw_memory *memory) {
    lw_memtable_share *share = lw_allocate_zero(memory, sizeof(*share));
    *share = (lw_memtable_share){
        .memory = memory, .references = 1, .memtable = lw_memtable_open(memory)};
    return share;
}

void lw_memtable_share_release(lw_memtable_share *share) {
    LW_ASSERT(share->references > 0);
    if (--share->references == 0) {
        lw_memtable_close(share->memtable);
        lw_free(share->memory, share);
    }
}

/* ---- versions ------------------------------------------------------------------------------- */

static int order_newest_first(const void *left, const void *right) {
    const lw_table_info *a = &(*(lw_table_file *const *)left)->info;
    const lw_table_info *b = &(*(lw_table_file *const *)right)->info;
    return (a->sequence_max < b->sequence_max) - (a->sequence_max > b->sequence_max);
}

static int order_by_key(const void *left, const void *right) {
    const lw_table_info *a = &(*(lw_table_file *const *)left)->info;
    const lw_table_info *b = &(*(lw_table_file *const *)right)->info;
    return lw_compare(a->key_min, b->key_min);
}

static int order_by_address(const void *left, const void *right) {
    uintptr_t a = (uintptr_t) * (lw_table_file *const *)left;
    uintptr_t b = (uintptr_t) * (lw_table_file *const *)right;
    return (a > b) - (a < b);
}

static lw_version *version_allocate(lw_memory *memory, uint32_t memtable_count,
                                    uint32_t file_count) {
    size_t files_size = file_count * sizeof(lw_table_file *);
    size_t memtables_size = memtable_count * sizeof(lw_memtable_share *);
    lw_version *version = lw_allocate_zero(memory, sizeof(*version) + files_size + memtables_size);
    version->memory = memory;
    version->references = 1;
    version->memtables = (lw_memtable_share **)(void *)(version->files + file_count);
    return version;
}

static void copy_memtables(lw_version *version, const lw_version *base,
                           const lw_version_change *change) {
    if (change->add_memtable != NULL) {
        version->memtables[version->memtable_count++] = change->add_memtable;
    }
    for (uint32_t index = 0; base != NULL && index < base->memtable_count; index++) {
        if (base->memtables[index] != change->remove_memtable) {
            version->memtables[version->memtable_count++] = base->memtables[index];
        }
    }
    for (uint32_t index = 0; index < version->memtable_count; index++) {
        version->memtables[index]->references++;
    }
}

/* Fills one level at the end of the files; `removed` is sorted by address. */
static void copy_level(lw_version *version, uint32_t level, const lw_version *base,
                       const lw_version_change *change, lw_table_file *const *removed) {
    uint32_t start = version->level_start[level], end = start;
    for (uint32_t index = 0; base != NULL && index < lw_version_count(base, level); index++) {
        lw_table_file *file = lw_version_files(base, level)[index];
        if (change->remove_count == 0 ||
            bsearch(&file, removed, change->remove_count, sizeof(file), order_by_address) == NULL) {
            version->files[end++] = file;
        }
    }
    for (uint32_t index = 0; index < change->add_count; index++) {
        if (change->add[index].level == level) {
            version->files[end++] = change->add[index].file;
        }
    }
    if (end - start > 1) {
        qsort(version->files + start, end - start, sizeof(version->files[0]),
              level == 0 ? order_newest_first : order_by_key);
    }
    for (uint32_t index = start; index < end; index++) {
        lw_table_file_hold(version->files[index]);
    }
    version->level_start[level + 1] = end;
}

lw_version *lw_version_next(lw_memory *memory, const lw_version *base,
                            const lw_version_change *change) {
    uint32_t base_memtables = base == NULL ? 0 : base->memtable_count;
    uint32_t base_files = base == NULL ? 0 : base->level_start[LW_LEVEL_COUNT];
    LW_ASSERT(change->remove_count <= base_files);
    lw_version *version =
        version_allocate(memory, base_memtables + 1, base_files + change->add_count);
    copy_memtables(version, base, change);
    size_t removed_size = change->remove_count * sizeof(lw_table_file *);
    lw_table_file **removed = lw_allocate(memory, removed_size);
    if (change->remove_count > 0) {
        memcpy(removed, change->remove, removed_size);
        qsort(removed, change->remove_count, sizeof(removed[0]), order_by_address);
    }
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        copy_level(version, level, base, change, removed);
    }
    lw_free(memory, removed);
    LW_ASSERT(version->level_start[LW_LEVEL_COUNT] ==
              base_files + change->add_count - change->remove_count);
    return version;
}

lw_version *lw_version_of_inventory(lw_table_folder *folder, const lw_inventory_tree *tree) {
    lw_memory *memory = folder->env->memory;
    lw_version_file *files = lw_allocate(memory, tree->table_count * sizeof(*files));
    uint32_t count = 0;
    for (const lw_inventory_table *table = tree->first; table != NULL; table = table->next) {
        files[count++] = (lw_version_file){.level = table->level,
                                           .file = lw_table_file_make(folder, &table->info)};
    }
    LW_ASSERT(count == tree->table_count);
    lw_version *version =
        lw_version_next(memory, NULL, &(lw_version_change){.add = files, .add_count = count});
    for (uint32_t index = 0; index < count; index++) {
        lw_table_file_release(files[index].file);
    }
    lw_free(memory, files);
    return version;
}

void lw_version_release(lw_version *version) {
    LW_ASSERT(version->references > 0);
    if (--version->references > 0) {
        return;
    }
    for (uint32_t index = 0; index < version->memtable_count; index++) {
        lw_memtable_share_release(version->memtables[index]);
    }
    for (uint32_t index = 0; index < version->level_start[LW_LEVEL_COUNT]; index++) {
        lw_table_file_release(version->files[index]);
    }
    lw_free(version->memory, version);
}

bool lw_version_check(const lw_version *version) {
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        lw_table_file *const *files = lw_version_files(version, level);
        for (uint32_t index = 1; index < lw_version_count(version, level); index++) {
            const lw_table_info *before = &files[index - 1]->info, *after = &files[index]->info;
            if (level == 0 ? before->sequence_min <= after->sequence_max
                           : lw_compare(before->key_max, after->key_min) >= 0) {
                return false;
            }
        }
    }
    return true;
}

/* ---- looking -------------------------------------------------------------------------------- */

uint64_t lw_version_bytes(const lw_version *version, uint32_t level) {
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < lw_version_count(version, level); index++) {
        bytes += lw_version_files(version, level)[index]->info.size;
    }
    return bytes;
}

bool lw_table_file_overlaps(const lw_table_file *file, const lw_bytes *low, const lw_bytes *high) {
    return (low == NULL || lw_compare(file->info.key_max, *low) >= 0) &&
           (high == NULL || lw_compare(file->info.key_min, *high) <= 0);
}

uint32_t lw_files_find(lw_table_file *const *files, uint32_t count, lw_bytes key) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lw_compare(files[middle]->info.key_max, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool lw_version_may_hold(const lw_version *version, uint32_t level, lw_bytes key) {
    for (; level < LW_LEVEL_COUNT; level++) {
        lw_table_file *const *files = lw_version_files(version, level);
        uint32_t count = lw_version_count(version, level);
        uint32_t index = level == 0 ? 0 : lw_files_find(files, count, key);
        uint32_t end = level == 0 || index == count ? count : index + 1;
        for (; index < end; index++) {
            if (lw_table_file_overlaps(files[index], &key, &key)) {
                return true;
            }
        }
    }
    return false;
}
