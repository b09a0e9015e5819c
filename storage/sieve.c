/* SPDX-License-Identifier: Apache-2.0 */
/* What a flush or a compaction keeps: see sieve.h and retention.h. */
#include "storage/sieve.h"

#include "storage/value_file.h"

#include <stdlib.h>

static int order_by_address(const void *left, const void *right) {
    uintptr_t a = (uintptr_t) * (lw_table_file *const *)left;
    uintptr_t b = (uintptr_t) * (lw_table_file *const *)right;
    return (a > b) - (a < b);
}

void lw_sieve_merges(lw_sieve *sieve, lw_table_file *const *inputs, uint32_t input_count) {
    LW_ASSERT(sieve->inputs == NULL && input_count > 0);
    sieve->inputs = lw_allocate(sieve->env->memory, input_count * sizeof(*inputs));
    memcpy(sieve->inputs, inputs, input_count * sizeof(*inputs));
    qsort(sieve->inputs, input_count, sizeof(*inputs), order_by_address);
    sieve->input_count = input_count;
}

void lw_sieve_reset(lw_sieve *sieve) {
    lw_free(sieve->env->memory, sieve->inputs);
    lw_buffer_reset(&sieve->key);
    *sieve = lw_sieve_in(sieve->env, NULL, 0);
}

/* ---- other sources ------------------------------------------------------------------------------
 */

static bool is_input(const lw_sieve *sieve, lw_table_file *file) {
    return sieve->input_count > 0 && bsearch(&file, sieve->inputs, sieve->input_count, sizeof(file),
                                             order_by_address) != NULL;
}

/* Whether the table may hold an entry of the part at or behind the key, by its bounds. Keys of the
 * part stand together, and begin with it. */
static bool reaches(const lw_table_file *file, lw_bytes key, lw_bytes part) {
    return !lw_table_file_before(file, key) &&
           (lw_compare(file->low, key) <= 0 || lw_starts_with(file->low, part));
}

static const lw_version *newest_of(const lw_sieve *sieve) {
    /* A tree that was dropped meanwhile has none any more, and what is written is thrown away. */
    bool there = sieve->newest != NULL && *sieve->newest != NULL;
    return there ? *sieve->newest : sieve->version;
}

static bool level_reaches(const lw_sieve *sieve, uint32_t level, lw_bytes key, lw_bytes part) {
    lw_table_file *const *files = lw_version_files(newest_of(sieve), level);
    uint32_t count = lw_version_count(newest_of(sieve), level);
    uint32_t index = level == 0 ? 0 : lw_files_find(files, count, key);
    for (; index < count; index++) {
        bool there = reaches(files[index], key, part);
        if (there && !is_input(sieve, files[index])) {
            return true;
        }
        if (!there && level > 0) {
            return false; /* the tables of the level ascend */
        }
    }
    return false;
}

/* Whether an entry of the part, at or behind the key, may lie in what is not merged. */
static bool others_reach(const lw_sieve *sieve, lw_bytes key, lw_bytes part) {
    const lw_version *version = newest_of(sieve);
    if (sieve->upper.size > 0 && lw_starts_with(sieve->upper, part)) {
        return true; /* the inputs themselves may have more of the part behind the slice */
    }
    for (uint32_t index = 0; index < version->memtable_count; index++) {
        const lw_memtable *memtable = version->memtables[index]->memtable;
        if (memtable == sieve->memtable) {
            continue;
        }
        lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
        lw_memtable_cursor_seek(&cursor, key, UINT64_MAX);
        const lw_entry *entry = lw_memtable_cursor_entry(&cursor);
        if (entry != NULL && lw_starts_with(entry->key, part)) {
            return true;
        }
    }
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        if (level_reaches(sieve, level, key, part)) {
            return true;
        }
    }
    return false;
}

/* ---- judging ------------------------------------------------------------------------------------
 */

static bool keeps_deletion(lw_sieve *sieve, lw_bytes key) {
    if (LW_BUG(sieve->env, "store.drop_tombstone_early") ||
        !lw_version_may_hold(sieve->version, sieve->below, key)) {
        LW_MARK(sieve->env, "store.tombstone_dropped");
        return false;
    }
    return true;
}

/* What the rule says; it is asked also while there is no safepoint, for the figures of tables. */
static bool keeps_value(lw_sieve *sieve, const lw_entry *entry) {
    const lw_retention *retention = &sieve->retention;
    uint64_t safepoint = sieve->safepoint;
    lw_reference apart = {.place = {.value_size = 0}};
    lw_bytes value = entry->value;
    if (entry->kind == LW_ENTRY_REFERENCE) {
        if (!lw_reference_read(value, &apart)) {
            return true; /* damage is kept as it is */
        }
        value = lw_view(NULL, 0);
    }
    lw_needless needless = retention->judge(retention->argument, entry->key, value,
                                            value.size + apart.place.value_size, &sieve->state);
    sieve->needless_from =
        needless.from < needless.at_bottom_from ? needless.from : needless.at_bottom_from;
    if (safepoint == 0) {
        return true;
    }
    if (LW_BUG(sieve->env, "store.safepoint_passed")) {
        safepoint++;
    }
    if (needless.from <= safepoint) {
        LW_MARK(sieve->env, "store.needless_dropped");
        return false;
    }
    if (needless.at_bottom_from <= safepoint) {
        bool hidden = others_reach(sieve, entry->key, lw_view(entry->key.data, sieve->part_size));
        if (!hidden) {
            LW_MARK(sieve->env, "store.hider_dropped");
            return false;
        }
        LW_MARK(sieve->env, "store.hider_kept");
        return !LW_BUG(sieve->env, "store.drop_hider_early");
    }
    return true;
}

/* Takes note of where the entry stands in its part. */
static void enter_part(lw_sieve *sieve, lw_bytes key) {
    size_t part_size = sieve->filter_part != NULL ? sieve->filter_part(key) : key.size;
    LW_ASSERT(part_size <= key.size);
    sieve->same_part = sieve->begun && sieve->part_size == part_size &&
                       lw_starts_with(lw_buffer_view(&sieve->key), lw_view(key.data, part_size));
    sieve->part_size = part_size;
    if (!sieve->same_part) {
        sieve->state = 0;
    }
}

bool lw_sieve_keeps(lw_sieve *sieve, const lw_entry *entry) {
    if (sieve->begun && lw_equal(entry->key, lw_buffer_view(&sieve->key))) {
        return false; /* a newer entry of the key came before */
    }
    enter_part(sieve, entry->key);
    sieve->begun = true;
    sieve->needless_from = UINT64_MAX;
    lw_buffer_clear(&sieve->key);
    lw_buffer_append(&sieve->key, entry->key);
    if (entry->kind == LW_ENTRY_DELETE) {
        return keeps_deletion(sieve, entry->key);
    }
    return sieve->retention.judge == NULL || sieve->filter_part == NULL ||
           keeps_value(sieve, entry);
}
