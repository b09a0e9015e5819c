/* SPDX-License-Identifier: Apache-2.0 */
/* The changes within an edit of the catalog, written, read, and printed for people. The format is
 * in catalog.h. */
#include "storage/catalog.h"

#include "storage/range.h"
#include "storage/store.h"

#include <inttypes.h>

enum {
    /* The fewest bytes of each: a count beyond what is left of the edit asks for no memory. */
    VALUE_FILE_SIZE_MIN = 4,
    RANGE_SIZE_MIN = 2,
};

static void append_key(lw_buffer *edit, lw_bytes key) {
    LW_ASSERT(key.size <= LW_TREE_KEY_SIZE_MAX);
    lw_buffer_append_varint(edit, key.size);
    lw_buffer_append(edit, key);
}

static void append_range(lw_buffer *edit, const lw_key_range *range) {
    append_key(edit, range->lower);
    append_key(edit, range->upper);
}

void lw_edit_tree(lw_buffer *edit, uint64_t tree) {
    lw_buffer_append_u8(edit, LW_CHANGE_TREE);
    lw_buffer_append_varint(edit, tree);
}

void lw_edit_drop(lw_buffer *edit, uint64_t tree) {
    lw_buffer_append_u8(edit, LW_CHANGE_DROP);
    lw_buffer_append_varint(edit, tree);
}

void lw_edit_bounds(lw_buffer *edit, uint64_t tree, const lw_key_range *ranges, uint32_t count) {
    lw_buffer_append_u8(edit, LW_CHANGE_BOUNDS);
    lw_buffer_append_varint(edit, tree);
    lw_buffer_append_varint(edit, count);
    for (uint32_t index = 0; index < count; index++) {
        append_range(edit, &ranges[index]);
    }
}

static void append_values(lw_buffer *edit, const lw_table_info *info) {
    lw_buffer_append_varint(edit, info->value_count);
    for (uint32_t index = 0; index < info->value_count; index++) {
        const lw_value_file *file = &info->values[index];
        lw_buffer_append_varint(edit, file->number);
        lw_buffer_append_varint(edit, file->origin);
        lw_buffer_append_varint(edit, file->live_size);
        lw_buffer_append_varint(edit, file->size);
    }
}

static void append_statistics(lw_buffer *edit, const lw_table_info *info) {
    lw_buffer_append_varint(edit, info->raw_size);
    lw_buffer_append_u8(edit, (uint8_t)info->compression);
    lw_buffer_append_varint(edit, info->stale_count);
    lw_buffer_append_varint(edit, info->stale_from);
    lw_buffer_append_varint(edit, info->stale_to);
}

void lw_edit_add(lw_buffer *edit, uint64_t tree, uint32_t level, const lw_table_info *info) {
    LW_ASSERT(level < LW_LEVEL_COUNT);
    lw_buffer_append_u8(edit, LW_CHANGE_ADD);
    lw_buffer_append_varint(edit, tree);
    lw_buffer_append_u8(edit, (uint8_t)level);
    lw_buffer_append_varint(edit, info->number);
    lw_buffer_append_varint(edit, info->origin);
    lw_buffer_append_varint(edit, info->size);
    lw_buffer_append_varint(edit, info->entry_count);
    lw_buffer_append_varint(edit, info->delete_count);
    lw_buffer_append_varint(edit, info->sequence_min);
    lw_buffer_append_varint(edit, info->sequence_max);
    lw_buffer_append_u32(edit, info->checksum);
    append_key(edit, info->key_min);
    append_key(edit, info->key_max);
    append_range(edit, &info->clip);
    append_values(edit, info);
    append_statistics(edit, info);
}

void lw_edit_remove(lw_buffer *edit, uint64_t tree, const lw_table_info *info) {
    lw_buffer_append_u8(edit, LW_CHANGE_REMOVE);
    lw_buffer_append_varint(edit, tree);
    lw_buffer_append_varint(edit, info->number);
    append_key(edit, info->clip.lower);
}

void lw_edit_flushed(lw_buffer *edit, uint64_t tree, uint64_t index, uint64_t sequence) {
    lw_buffer_append_u8(edit, LW_CHANGE_FLUSHED);
    lw_buffer_append_varint(edit, tree);
    lw_buffer_append_varint(edit, index);
    lw_buffer_append_varint(edit, sequence);
}

void lw_edit_numbers(lw_buffer *edit, uint64_t limit) {
    lw_buffer_append_u8(edit, LW_CHANGE_NUMBERS);
    lw_buffer_append_varint(edit, limit);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool take_key(lw_bytes *rest, lw_bytes *key) {
    uint64_t size = 0;
    return lw_take_varint(rest, &size) && size <= LW_TREE_KEY_SIZE_MAX &&
           lw_take_bytes(rest, (size_t)size, key);
}

/* A range that holds at least one key. */
static bool take_range(lw_bytes *rest, lw_key_range *range) {
    return take_key(rest, &range->lower) && take_key(rest, &range->upper) &&
           (range->upper.size == 0 || lw_compare(range->lower, range->upper) < 0);
}

/* Whether a bound of a clip cuts something off, and leaves something. */
static bool bound_cuts(const lw_table_info *info, lw_bytes bound) {
    return bound.size == 0 ||
           (lw_compare(bound, info->key_min) > 0 && lw_compare(bound, info->key_max) <= 0);
}

/* Only what a builder could have finished: a table has entries, and its bounds are in order. */
static bool info_sensible(const lw_table_info *info) {
    return info->number > 0 && info->origin > 0 && info->entry_count > 0 &&
           info->delete_count <= info->entry_count && info->sequence_min > 0 &&
           info->sequence_min <= info->sequence_max &&
           lw_compare(info->key_min, info->key_max) <= 0 && bound_cuts(info, info->clip.lower) &&
           bound_cuts(info, info->clip.upper);
}

static bool take_value(lw_bytes *rest, const lw_table_info *info, lw_value_file *file) {
    return lw_take_varint(rest, &file->number) && lw_take_varint(rest, &file->origin) &&
           lw_take_varint(rest, &file->live_size) && lw_take_varint(rest, &file->size) &&
           file->number > 0 && file->number != info->number && file->origin > 0 && file->size > 0 &&
           file->live_size <= file->size;
}

static bool take_values(lw_arena *arena, lw_bytes *rest, lw_table_info *info) {
    uint64_t count = 0;
    if (!lw_take_varint(rest, &count) || count > rest->size / VALUE_FILE_SIZE_MIN) {
        return false;
    }
    if (count == 0) {
        return true;
    }
    lw_value_file *files = lw_arena_allocate(arena, (size_t)count * sizeof(*files));
    for (uint64_t index = 0; index < count; index++) {
        if (!take_value(rest, info, &files[index])) {
            return false;
        }
    }
    info->values = files;
    info->value_count = (uint32_t)count;
    return true;
}

/* What picking goes by. */
static bool take_statistics(lw_bytes *rest, lw_table_info *info) {
    lw_bytes compression;
    if (!lw_take_varint(rest, &info->raw_size) || !lw_take_bytes(rest, 1, &compression) ||
        !lw_take_varint(rest, &info->stale_count) || !lw_take_varint(rest, &info->stale_from) ||
        !lw_take_varint(rest, &info->stale_to)) {
        return false;
    }
    info->compression = (lw_compression)compression.data[0];
    return compression.data[0] <= LW_COMPRESSION_ZSTD && info->stale_count <= info->entry_count &&
           info->stale_from <= info->stale_to;
}

/* A table as added by format 1 (`plain`), or since then. */
static bool take_add(lw_arena *arena, lw_bytes *rest, lw_change *change, bool plain) {
    lw_table_info *info = &change->info;
    lw_bytes level, checksum;
    if (!lw_take_varint(rest, &change->tree) || !lw_take_bytes(rest, 1, &level) ||
        !lw_take_varint(rest, &info->number) || (!plain && !lw_take_varint(rest, &info->origin)) ||
        !lw_take_varint(rest, &info->size) || !lw_take_varint(rest, &info->entry_count) ||
        !lw_take_varint(rest, &info->delete_count) || !lw_take_varint(rest, &info->sequence_min) ||
        !lw_take_varint(rest, &info->sequence_max) || !lw_take_bytes(rest, 4, &checksum) ||
        !take_key(rest, &info->key_min) || !take_key(rest, &info->key_max)) {
        return false;
    }
    if (plain) {
        info->origin = info->number;
    } else if (!take_range(rest, &info->clip) || !take_values(arena, rest, info) ||
               !take_statistics(rest, info)) {
        return false;
    }
    change->level = level.data[0];
    info->checksum = lw_get_u32(checksum.data);
    return change->level < LW_LEVEL_COUNT && info_sensible(info);
}

static bool take_bounds(lw_arena *arena, lw_bytes *rest, lw_change *change) {
    uint64_t count = 0;
    if (!lw_take_varint(rest, &change->tree) || !lw_take_varint(rest, &count) ||
        count > rest->size / RANGE_SIZE_MIN) {
        return false;
    }
    lw_key_range *ranges = lw_arena_allocate(arena, (size_t)count * sizeof(*ranges));
    for (uint64_t index = 0; index < count; index++) {
        if (!take_range(rest, &ranges[index])) {
            return false;
        }
    }
    change->ranges = ranges;
    change->range_count = (uint32_t)count;
    return count == 0 || lw_ranges_valid(ranges, (uint32_t)count);
}

static bool take_change(lw_arena *arena, lw_bytes *rest, lw_change *change) {
    lw_bytes kind;
    if (!lw_take_bytes(rest, 1, &kind)) {
        return false;
    }
    change->kind = (lw_change_kind)kind.data[0];
    switch (change->kind) {
    case LW_CHANGE_TREE:
    case LW_CHANGE_DROP:
        return lw_take_varint(rest, &change->tree);
    case LW_CHANGE_BOUNDS:
        return take_bounds(arena, rest, change);
    case LW_CHANGE_ADD:
    case LW_CHANGE_ADD_PLAIN:
        return take_add(arena, rest, change, change->kind == LW_CHANGE_ADD_PLAIN);
    case LW_CHANGE_REMOVE:
        return lw_take_varint(rest, &change->tree) && lw_take_varint(rest, &change->info.number) &&
               take_key(rest, &change->info.clip.lower);
    case LW_CHANGE_REMOVE_PLAIN:
        return lw_take_varint(rest, &change->info.number);
    case LW_CHANGE_FLUSHED:
        return lw_take_varint(rest, &change->tree) && lw_take_varint(rest, &change->index) &&
               lw_take_varint(rest, &change->sequence);
    case LW_CHANGE_NUMBERS:
        return lw_take_varint(rest, &change->limit);
    }
    return false;
}

bool lw_edit_next(lw_arena *arena, lw_bytes *rest, lw_change *change) {
    lw_bytes left = *rest;
    lw_change taken = {0};
    if (left.size == 0 || !take_change(arena, &left, &taken)) {
        return false;
    }
    *rest = left;
    *change = taken;
    return true;
}

/* ---- showing -------------------------------------------------------------------------------- */

static void print_range(lw_buffer *text, const lw_key_range *range) {
    char lower[LW_PRINTABLE_SIZE], upper[LW_PRINTABLE_SIZE];
    if (range->lower.size > 0) {
        lw_buffer_print(text, " from \"%s\"", lw_printable(range->lower, lower, sizeof(lower)));
    }
    if (range->upper.size > 0) {
        lw_buffer_print(text, " below \"%s\"", lw_printable(range->upper, upper, sizeof(upper)));
    }
}

static void print_origin(lw_buffer *text, uint64_t number, uint64_t origin) {
    if (origin != number) {
        lw_buffer_print(text, ", built as %016" PRIx64, origin);
    }
    lw_buffer_append_u8(text, '\n');
}

static void print_added(lw_buffer *text, const lw_change *change) {
    char low[LW_PRINTABLE_SIZE], high[LW_PRINTABLE_SIZE];
    const lw_table_info *info = &change->info;
    lw_buffer_print(text,
                    "  add table %016" PRIx64 " to tree %" PRIu64 " level %" PRIu32 ": %" PRIu64
                    " bytes, %" PRIu64 " entries (%" PRIu64 " deletions), sequences %" PRIu64
                    "..%" PRIu64 ", keys \"%s\"..\"%s\"",
                    info->number, change->tree, change->level, info->size, info->entry_count,
                    info->delete_count, info->sequence_min, info->sequence_max,
                    lw_printable(info->key_min, low, sizeof(low)),
                    lw_printable(info->key_max, high, sizeof(high)));
    if (info->clip.lower.size > 0 || info->clip.upper.size > 0) {
        lw_buffer_print(text, ", seen");
        print_range(text, &info->clip);
    }
    print_origin(text, info->number, info->origin);
    for (uint32_t index = 0; index < info->value_count; index++) {
        const lw_value_file *file = &info->values[index];
        lw_buffer_print(text, "    %" PRIu64 " of %" PRIu64 " bytes of values in %016" PRIx64,
                        file->live_size, file->size, file->number);
        print_origin(text, file->number, file->origin);
    }
}

static void print_bounds(lw_buffer *text, const lw_change *change) {
    lw_buffer_print(text, "  tree %" PRIu64 " holds keys", change->tree);
    for (uint32_t index = 0; index < change->range_count; index++) {
        lw_buffer_append(text, lw_text(index > 0 ? " and" : ""));
        print_range(text, &change->ranges[index]);
    }
    lw_buffer_append(text, lw_text(change->range_count == 0 ? " without bounds\n" : "\n"));
}

static void print_removed(lw_buffer *text, const lw_change *change) {
    char lower[LW_PRINTABLE_SIZE];
    const lw_table_info *info = &change->info;
    lw_buffer_print(text, "  remove table %016" PRIx64, info->number);
    if (change->kind == LW_CHANGE_REMOVE) {
        lw_buffer_print(text, " from tree %" PRIu64, change->tree);
    }
    if (info->clip.lower.size > 0) {
        lw_buffer_print(text, ", seen from \"%s\"",
                        lw_printable(info->clip.lower, lower, sizeof(lower)));
    }
    lw_buffer_append_u8(text, '\n');
}

static void print_change(lw_buffer *text, const lw_change *change) {
    switch (change->kind) {
    case LW_CHANGE_TREE:
        lw_buffer_print(text, "  create tree %" PRIu64 "\n", change->tree);
        break;
    case LW_CHANGE_DROP:
        lw_buffer_print(text, "  drop tree %" PRIu64 "\n", change->tree);
        break;
    case LW_CHANGE_BOUNDS:
        print_bounds(text, change);
        break;
    case LW_CHANGE_ADD:
    case LW_CHANGE_ADD_PLAIN:
        print_added(text, change);
        break;
    case LW_CHANGE_REMOVE:
    case LW_CHANGE_REMOVE_PLAIN:
        print_removed(text, change);
        break;
    case LW_CHANGE_FLUSHED:
        lw_buffer_print(
            text, "  tree %" PRIu64 " is flushed up to index %" PRIu64 ", sequence %" PRIu64 "\n",
            change->tree, change->index, change->sequence);
        break;
    case LW_CHANGE_NUMBERS:
        lw_buffer_print(text, "  file numbers below %" PRIu64 " are taken\n", change->limit);
        break;
    }
}

static lw_status print_edit(void *argument, uint64_t offset, lw_bytes edit) {
    lw_buffer *text = argument;
    lw_arena arena = lw_arena_in(text->memory);
    lw_change change;
    lw_buffer_print(text, "%" PRIu64 ": edit of %zu bytes\n", offset, edit.size);
    while (lw_edit_next(&arena, &edit, &change)) {
        print_change(text, &change);
    }
    lw_arena_reset(&arena);
    return edit.size == 0 ? LW_OK : lw_fail(LW_CORRUPTION, "a change in it cannot be read");
}

lw_status lw_catalog_inspect(lw_env *env, const char *path, lw_buffer *text) {
    lw_catalog_facts facts;
    LW_TRY(lw_catalog_read(env, path, print_edit, text, &facts));
    lw_buffer_print(text,
                    "catalog of format %" PRIu32 ", generation %" PRIu64 ": %" PRIu64
                    " edits in %" PRIu64 " bytes; ",
                    facts.format, facts.generation, facts.edit_count, facts.size);
    if (facts.torn_size > 0) {
        lw_buffer_print(text, "%" PRIu64 " more of a write that was never acknowledged\n",
                        facts.torn_size);
    } else {
        lw_buffer_print(text, "all valid\n");
    }
    return LW_OK;
}
