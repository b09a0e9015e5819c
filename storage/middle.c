/* SPDX-License-Identifier: Apache-2.0 */
/* Where the bytes of a tree have their middle, from what its tables know of themselves: their
 * bounds, and the fences of their blocks. Each table is cut into parts of like size, of which the
 * first keys are known; what lies before a key is about the sum of the parts that begin before it.
 *
 * Memory is bounded: so many parts, and so many bytes of each key. */
#include "storage/tree.h"

#include <stdlib.h>

enum {
    PARTS_MAX = 4096,     /* of all tables; each has one at least */
    TABLE_PARTS_MAX = 64, /* of one */
    LEAST_SHARE = 16,     /* of the bytes, one in so many has to be on either side */
};

typedef struct part {
    lw_bytes key; /* at or before its first */
    uint64_t bytes;
} part;

typedef struct middle_work {
    lw_env *env;
    lw_arena arena;
    part *parts;
    uint32_t count, capacity;
    lw_filter_part filter_part; /* nothing ends within one */
    double scale;               /* of the table's blocks, for its values apart */
    uint64_t bytes;
} middle_work;

static void add_part(void *argument, lw_bytes key, uint64_t bytes) {
    middle_work *work = argument;
    LW_ASSERT(work->count < work->capacity);
    if (work->filter_part != NULL) {
        key.size = work->filter_part(key);
    }
    if (key.size > LW_MIDDLE_KEY_SIZE_MAX) {
        key.size = LW_MIDDLE_KEY_SIZE_MAX;
    }
    bytes = (uint64_t)((double)bytes * work->scale);
    work->parts[work->count++] = (part){.key = lw_arena_copy(&work->arena, key), .bytes = bytes};
    work->bytes += bytes;
}

static uint64_t value_bytes(const lw_table_info *info) {
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < info->value_count; index++) {
        bytes += info->values[index].live_size;
    }
    return bytes;
}

/* What is seen of a table, as far as it lies in the range. */
LW_YIELDS static lw_status add_table(middle_work *work, lw_table_file *file,
                                     const lw_key_range *range, uint32_t count) {
    lw_key_range seen = {.lower = file->low};
    if (lw_compare(seen.lower, range->lower) < 0) {
        seen.lower = range->lower;
    }
    seen.upper = file->info.clip.upper;
    if (range->upper.size > 0 &&
        (seen.upper.size == 0 || lw_compare(range->upper, seen.upper) < 0)) {
        seen.upper = range->upper;
    }
    if (seen.upper.size > 0 && lw_compare(seen.lower, seen.upper) >= 0) {
        return LW_OK; /* it begins where the range ends */
    }
    lw_table *table;
    LW_TRY(lw_table_file_use(file, &table));
    work->scale = 1 + (double)value_bytes(&file->info) / (double)file->info.size;
    lw_table_parts(table, &seen, count, add_part, work);
    lw_table_file_done(file);
    return LW_OK;
}

LW_YIELDS static lw_status add_tables(middle_work *work, const lw_version *version,
                                      const lw_key_range *range) {
    uint32_t file_count = version->level_start[LW_LEVEL_COUNT];
    uint32_t each = file_count == 0 ? 1 : PARTS_MAX / file_count;
    if (LW_RARE(work->env, "store.middle_of_few")) {
        each = 1;
    }
    each = each == 0 ? 1 : each > TABLE_PARTS_MAX ? TABLE_PARTS_MAX : each;
    work->capacity = file_count * each;
    work->parts =
        lw_arena_allocate(&work->arena, (work->capacity + (size_t)1) * sizeof(*work->parts));
    const lw_bytes *upper = range->upper.size == 0 ? NULL : &range->upper;
    for (uint32_t index = 0; index < file_count; index++) {
        lw_table_file *file = version->files[index];
        if (lw_table_file_overlaps(file, &range->lower, upper)) {
            LW_TRY(add_table(work, file, range, each));
        }
    }
    return LW_OK;
}

static int by_key(const void *a, const void *b) {
    const part *one = a, *other = b;
    return lw_compare(one->key, other->key);
}

/* The key whose share below is nearest to a half; NULL if there is none with enough on either side.
 */
static const lw_bytes *choose(middle_work *work) {
    const lw_bytes *chosen = NULL;
    uint64_t below = 0, nearest = work->bytes - 2 * (work->bytes / LEAST_SHARE);
    qsort(work->parts, work->count, sizeof(*work->parts), by_key);
    for (uint32_t index = 0; index < work->count; index++) {
        const part *at = &work->parts[index];
        bool another = index > 0 && !lw_equal(at->key, work->parts[index - 1].key);
        uint64_t above = work->bytes - below;
        uint64_t off = below > above ? below - above : above - below;
        if (another && off < nearest) {
            nearest = off;
            chosen = &at->key;
        }
        below += at->bytes;
    }
    return chosen;
}

lw_status lw_tree_middle(lw_tree *tree, const lw_key_range *range, lw_buffer *key,
                         uint64_t *bytes) {
    lw_version *version = lw_version_of_tables(tree->version);
    middle_work work = {.env = tree->store->env,
                        .arena = lw_arena_in(tree->store->memory),
                        .filter_part = tree->store->options.filter_part};
    lw_tree_hold(tree);
    lw_status status = add_tables(&work, version, range);
    if (status == LW_OK) {
        const lw_bytes *chosen = choose(&work);
        if (chosen != NULL) {
            lw_buffer_append(key, *chosen);
            *bytes = work.bytes;
        } else {
            status =
                lw_fail(LW_NOT_FOUND,
                        "tree %llu holds too little to be divided, or nearly all of it is one key",
                        (unsigned long long)tree->id);
        }
    }
    lw_tree_release(tree);
    lw_version_release(version);
    lw_arena_reset(&work.arena);
    return status;
}
