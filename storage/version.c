/* SPDX-License-Identifier: Apache-2.0 */
/* What a tree is made of at one time: see version.h. */
#include "storage/version.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- table files ---------------------------------------------------------------------------- */

/* Copies a key to `*at`, and moves on behind it. */
static lw_bytes keep_key(uint8_t **at, lw_bytes key) {
    uint8_t *copy = *at;
    if (key.size > 0) {
        memcpy(copy, key.data, key.size);
    }
    *at += key.size;
    return lw_view(copy, key.size);
}

lw_table_file *lw_table_file_make(lw_table_folder *folder, const lw_table_info *info) {
    lw_memory *memory = folder->env->memory;
    size_t values_size = info->value_count * sizeof(info->values[0]);
    size_t keys_size =
        info->key_min.size + info->key_max.size + info->clip.lower.size + info->clip.upper.size;
    lw_table_file *file = lw_allocate(memory, sizeof(*file) + values_size + keys_size);
    *file = (lw_table_file){.memory = memory, .references = 1, .info = *info};
    lw_value_file *values = (lw_value_file *)(void *)(file + 1);
    if (values_size > 0) {
        memcpy(values, info->values, values_size);
    }
    file->info.values = values;
    uint8_t *at = (uint8_t *)(values + info->value_count);
    file->info.key_min = keep_key(&at, info->key_min);
    file->info.key_max = keep_key(&at, info->key_max);
    file->info.clip.lower = keep_key(&at, info->clip.lower);
    file->info.clip.upper = keep_key(&at, info->clip.upper);
    file->low = info->clip.lower.size > 0 ? file->info.clip.lower : file->info.key_min;
    file->high = info->clip.upper.size > 0 ? file->info.clip.upper : file->info.key_max;
    file->high_open = info->clip.upper.size > 0;
    file->clipped = file->high_open || info->clip.lower.size > 0;
    file->shared = lw_shared_file_of(folder, info);
    return file;
}

void lw_table_file_release(lw_table_file *file) {
    LW_ASSERT(file->references > 0);
    if (--file->references == 0) {
        lw_shared_file_release(file->shared);
        lw_free(file->memory, file);
    }
}

/* ---- memtables ------------------------------------------------------------------------------ */

lw_memtable_share *lw_memtable_share_make(lw_memory *memory, lw_budget *budget, lw_spent *spent) {
    lw_memtable_share *share = lw_allocate_zero(memory, sizeof(*share));
    *share = (lw_memtable_share){.memory = memory,
                                 .references = 1,
                                 .memtable = lw_memtable_open(memory),
                                 .spent = spent,
                                 .charge = lw_budget_share_in(budget, LW_BUDGET_MEMTABLES)};
    lw_budget_share_set(&share->charge, lw_memtable_size(share->memtable));
    return share;
}

void lw_memtable_share_release(lw_memtable_share *share) {
    LW_ASSERT(share->references > 0);
    if (--share->references == 0) {
        lw_spent_add(share->spent, share);
    }
}

/* ---- versions ------------------------------------------------------------------------------- */

static int order_by_key(const void *left, const void *right) {
    const lw_table_file *a = *(lw_table_file *const *)left, *b = *(lw_table_file *const *)right;
    return lw_compare(a->low, b->low);
}

/* One order, whatever the one before: by key what has the same sequences. */
static int order_newest_first(const void *left, const void *right) {
    const lw_table_info *a = &(*(lw_table_file *const *)left)->info;
    const lw_table_info *b = &(*(lw_table_file *const *)right)->info;
    int order = (a->sequence_max < b->sequence_max) - (a->sequence_max > b->sequence_max);
    return order != 0 ? order : order_by_key(left, right);
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

lw_version *lw_version_of_tables(const lw_version *version) {
    uint32_t count = version->level_start[LW_LEVEL_COUNT];
    lw_version *tables = version_allocate(version->memory, 0, count);
    memcpy(tables->level_start, version->level_start, sizeof(version->level_start));
    for (uint32_t index = 0; index < count; index++) {
        tables->files[index] = version->files[index];
        lw_table_file_hold(tables->files[index]);
    }
    return tables;
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
        lw_shared_file_name(files[index].file->shared);
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

/* V2: a table of level 0 against those that come behind it. */
static bool newer_than_rest(lw_table_file *const *files, uint32_t count) {
    for (uint32_t index = 1; index < count; index++) {
        if (files[0]->info.sequence_min <= files[index]->info.sequence_max &&
            lw_table_files_overlap(files[0], files[index])) {
            return false;
        }
    }
    return true;
}

bool lw_version_check(const lw_version *version) {
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        if (!newer_than_rest(lw_version_files(version, 0) + index,
                             lw_version_count(version, 0) - index)) {
            return false;
        }
    }
    for (uint32_t level = 1; level < LW_LEVEL_COUNT; level++) {
        lw_table_file *const *files = lw_version_files(version, level);
        for (uint32_t index = 1; index < lw_version_count(version, level); index++) {
            if (!lw_table_file_before(files[index - 1], files[index]->low)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- looking -------------------------------------------------------------------------------- */

uint32_t lw_version_last_level(const lw_version *version) {
    uint32_t level = LW_LEVEL_COUNT - 1;
    while (level > 0 && lw_version_count(version, level) == 0) {
        level--;
    }
    return level;
}

uint64_t lw_version_bytes(const lw_version *version, uint32_t level) {
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < lw_version_count(version, level); index++) {
        bytes += lw_version_files(version, level)[index]->info.size;
    }
    return bytes;
}

uint32_t lw_version_depth(const lw_version *version) {
    uint32_t depth = 0;
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        lw_table_file *const *file = lw_version_files(version, 0) + index;
        depth += index == 0 || file[0]->shared != file[-1]->shared;
    }
    return depth;
}

bool lw_table_file_before(const lw_table_file *file, lw_bytes key) {
    int order = lw_compare(file->high, key);
    return order < 0 || (order == 0 && file->high_open);
}

bool lw_table_file_overlaps(const lw_table_file *file, const lw_bytes *low, const lw_bytes *high) {
    return (low == NULL || !lw_table_file_before(file, *low)) &&
           (high == NULL || lw_compare(file->low, *high) <= 0);
}

bool lw_table_files_overlap(const lw_table_file *a, const lw_table_file *b) {
    return !lw_table_file_before(a, b->low) && !lw_table_file_before(b, a->low);
}

uint32_t lw_files_find(lw_table_file *const *files, uint32_t count, lw_bytes key) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lw_table_file_before(files[middle], key)) {
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
