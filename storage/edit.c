/* SPDX-License-Identifier: Apache-2.0 */
/* The changes within an edit of the catalog, written, read, and printed for people. The format is
 * in catalog.h. */
#include "storage/catalog.h"

#include "storage/store.h"

#include <inttypes.h>

static void append_key(lw_buffer *edit, lw_bytes key) {
    LW_ASSERT(key.size <= LW_TREE_KEY_SIZE_MAX);
    lw_buffer_append_varint(edit, key.size);
    lw_buffer_append(edit, key);
}

void lw_edit_tree(lw_buffer *edit, uint64_t tree) {
    lw_buffer_append_u8(edit, LW_CHANGE_TREE);
    lw_buffer_append_varint(edit, tree);
}

void lw_edit_add(lw_buffer *edit, uint64_t tree, uint32_t level, const lw_table_info *info) {
    LW_ASSERT(level < LW_LEVEL_COUNT);
    lw_buffer_append_u8(edit, LW_CHANGE_ADD);
    lw_buffer_append_varint(edit, tree);
    lw_buffer_append_u8(edit, (uint8_t)level);
    lw_buffer_append_varint(edit, info->number);
    lw_buffer_append_varint(edit, info->size);
    lw_buffer_append_varint(edit, info->entry_count);
    lw_buffer_append_varint(edit, info->delete_count);
    lw_buffer_append_varint(edit, info->sequence_min);
    lw_buffer_append_varint(edit, info->sequence_max);
    lw_buffer_append_u32(edit, info->checksum);
    append_key(edit, info->key_min);
    append_key(edit, info->key_max);
}

void lw_edit_remove(lw_buffer *edit, uint64_t number) {
    lw_buffer_append_u8(edit, LW_CHANGE_REMOVE);
    lw_buffer_append_varint(edit, number);
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

/* Only what a builder could have finished: a table has entries, and its bounds are in order. */
static bool info_sensible(const lw_table_info *info) {
    return info->number > 0 && info->entry_count > 0 && info->delete_count <= info->entry_count &&
           info->sequence_min > 0 && info->sequence_min <= info->sequence_max &&
           lw_compare(info->key_min, info->key_max) <= 0;
}

static bool take_add(lw_bytes *rest, lw_change *change) {
    lw_table_info *info = &change->info;
    lw_bytes level, checksum;
    if (!lw_take_varint(rest, &change->tree) || !lw_take_bytes(rest, 1, &level) ||
        !lw_take_varint(rest, &info->number) || !lw_take_varint(rest, &info->size) ||
        !lw_take_varint(rest, &info->entry_count) || !lw_take_varint(rest, &info->delete_count) ||
        !lw_take_varint(rest, &info->sequence_min) || !lw_take_varint(rest, &info->sequence_max) ||
        !lw_take_bytes(rest, 4, &checksum) || !take_key(rest, &info->key_min) ||
        !take_key(rest, &info->key_max)) {
        return false;
    }
    change->level = level.data[0];
    info->checksum = lw_get_u32(checksum.data);
    return change->level < LW_LEVEL_COUNT && info_sensible(info);
}

static bool take_change(lw_bytes *rest, lw_change *change) {
    lw_bytes kind;
    if (!lw_take_bytes(rest, 1, &kind)) {
        return false;
    }
    change->kind = (lw_change_kind)kind.data[0];
    switch (change->kind) {
    case LW_CHANGE_TREE:
        return lw_take_varint(rest, &change->tree);
    case LW_CHANGE_ADD:
        return take_add(rest, change);
    case LW_CHANGE_REMOVE:
        return lw_take_varint(rest, &change->info.number);
    case LW_CHANGE_FLUSHED:
        return lw_take_varint(rest, &change->tree) && lw_take_varint(rest, &change->index) &&
               lw_take_varint(rest, &change->sequence);
    case LW_CHANGE_NUMBERS:
        return lw_take_varint(rest, &change->limit);
    }
    return false;
}

bool lw_edit_next(lw_bytes *rest, lw_change *change) {
    lw_bytes left = *rest;
    lw_change taken = {0};
    if (left.size == 0 || !take_change(&left, &taken)) {
        return false;
    }
    *rest = left;
    *change = taken;
    return true;
}

/* ---- showing -------------------------------------------------------------------------------- */

static void print_added(lw_buffer *text, const lw_change *change) {
    char low[LW_PRINTABLE_SIZE], high[LW_PRINTABLE_SIZE];
    const lw_table_info *info = &change->info;
    lw_buffer_print(text,
                    "  add table %016" PRIx64 " to tree %" PRIu64 " level %" PRIu32 ": %" PRIu64
                    " bytes, %" PRIu64 " entries (%" PRIu64 " deletions), sequences %" PRIu64
                    "..%" PRIu64 ", keys \"%s\"..\"%s\"\n",
                    info->number, change->tree, change->level, info->size, info->entry_count,
                    info->delete_count, info->sequence_min, info->sequence_max,
                    lw_printable(info->key_min, low, sizeof(low)),
                    lw_printable(info->key_max, high, sizeof(high)));
}

static void print_change(lw_buffer *text, const lw_change *change) {
    switch (change->kind) {
    case LW_CHANGE_TREE:
        lw_buffer_print(text, "  create tree %" PRIu64 "\n", change->tree);
        break;
    case LW_CHANGE_ADD:
        print_added(text, change);
        break;
    case LW_CHANGE_REMOVE:
        lw_buffer_print(text, "  remove table %016" PRIx64 "\n", change->info.number);
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
    lw_change change;
    lw_buffer_print(text, "%" PRIu64 ": edit of %zu bytes\n", offset, edit.size);
    while (lw_edit_next(&edit, &change)) {
        print_change(text, &change);
    }
    return edit.size == 0 ? LW_OK : lw_fail(LW_CORRUPTION, "a change in it cannot be read");
}

lw_status lw_catalog_inspect(lw_env *env, const char *path, lw_buffer *text) {
    lw_catalog_facts facts;
    LW_TRY(lw_catalog_read(env, path, print_edit, text, &facts));
    lw_buffer_print(text,
                    "catalog of format %d, generation %" PRIu64 ": %" PRIu64 " edits in %" PRIu64
                    " bytes; ",
                    LW_CATALOG_FORMAT, facts.generation, facts.edit_count, facts.size);
    if (facts.torn_size > 0) {
        lw_buffer_print(text, "%" PRIu64 " more of a write that was never acknowledged\n",
                        facts.torn_size);
    } else {
        lw_buffer_print(text, "all valid\n");
    }
    return LW_OK;
}
