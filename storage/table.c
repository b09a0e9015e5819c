/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, read. The file, all numbers little-endian:
 *
 *   sealed data block +        one behind another from offset 0
 *   sealed filter              storage/filter.h, over the hashes of the filter parts of all keys
 *   sealed index               storage/table_index.h
 *   sealed properties          MessagePack array: entry count, delete count, lowest sequence,
 *                              highest sequence, first key, last key; from format 2 on: size of
 *                              the data blocks before compression, compression as below, count of
 *                              entries that some safepoint makes needless, the lowest and the
 *                              highest safepoint that does; a later version may append more
 *   footer
 *
 * A sealed block:
 *
 *   stored bytes               data blocks: storage/block.h, or that as one LZ4 block or as one
 *                              zstd frame
 *   kind u8                    1 data, 2 index, 3 filter, 4 properties
 *   compression u8             0 none, 1 LZ4, 2 zstd (from format 2 on); all but data blocks: 0
 *   crc32c u32                 of table number u64 · offset of the block in the file u64 ·
 *                              stored bytes · kind u8 · compression u8
 *
 * A data block's size before compression stands in the index. It is compressed exactly if it is
 * stored in fewer bytes than that.
 *
 * The footer, 60 bytes at the end of the file:
 *
 *    0  "LWTABLE\n"
 *    8  format u32             2; 1 is read too
 *   12  table number u64
 *   20  filter: offset u64, sealed size u32
 *   32  index: the same
 *   44  properties: the same
 *   56  crc32c u32             of the bytes before; also in the catalog
 *
 * Invariants (those of table.h, and)
 * 1. A cursor that stands on an entry has that entry's block pinned; one that stands nowhere pins
 *    nothing.
 * 2. Whatever may have happened while a block was read, only the cursor itself is believed to be
 *    unchanged: the cache is asked again (a block may have been published twice). */
#include "storage/block.h"
#include "storage/filter.h"
#include "storage/table_file.h"
#include "storage/table_index.h"

enum {
    FILTER_ALIGNMENT = LW_FILTER_LINE_SIZE,
    SPARE_KEY_SIZE_MAX = 1024, /* of the key buffer that a spare cursor keeps */
};

struct lw_table {
    lw_env *env;
    lw_cache *cache;
    lw_bytes path; /* with its closing zero */
    lw_handle file;
    uint64_t number;            /* of the file: the cache knows its blocks by it */
    uint64_t origin;            /* the number its checksums cover */
    lw_filter_part filter_part; /* NULL: the whole key */
    uint8_t *filter_bytes;
    lw_filter filter;
    lw_table_index index;
    lw_cache_slot *slots; /* of the blocks, in their order */
    lw_budget_share filter_share, index_share;
    lw_table_cursor *spare; /* closed last: a read that opens a cursor need not allocate */
    uint32_t cursor_count;  /* open ones */
};

struct lw_table_cursor {
    lw_table *table;
    lw_cache_block *block; /* pinned; NULL: standing nowhere */
    uint32_t block_index;
    lw_block_cursor entries; /* in the block */
};

static const char *path_of(const lw_table *table) {
    return (const char *)table->path.data;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Reads the filter to where it stays, and the index into its arrays. */
static LW_YIELDS lw_status read_parts(lw_table *table, const lw_table_footer *footer) {
    lw_memory *memory = table->env->memory;
    size_t filter_size = footer->filter.size - LW_SEAL_SIZE;
    LW_TRY(
        lw_budget_share_take(&table->filter_share, footer->filter.size, "the filter of a table"));
    LW_TRY(lw_budget_share_take(&table->index_share, 2 * (size_t)footer->index.size,
                                "the index of a table"));
    lw_part filter = {LW_PART_FILTER, table->origin, footer->filter.offset};
    table->filter_bytes = lw_allocate_aligned(memory, footer->filter.size, FILTER_ALIGNMENT);
    LW_TRY(lw_part_read(table->env, table->file, path_of(table), &filter, table->filter_bytes,
                        footer->filter.size));
    if (!lw_filter_open(lw_view(table->filter_bytes, filter_size), &table->filter)) {
        return lw_table_damaged(path_of(table), filter.offset, "the filter is none");
    }
    size_t index_size = footer->index.size - LW_SEAL_SIZE;
    lw_part index = {LW_PART_INDEX, table->origin, footer->index.offset};
    uint8_t *bytes = lw_allocate(memory, footer->index.size);
    lw_status status =
        lw_part_read(table->env, table->file, path_of(table), &index, bytes, footer->index.size);
    if (status == LW_OK && !lw_table_index_open(memory, lw_view(bytes, index_size),
                                                footer->filter.offset, &table->index)) {
        status = lw_table_damaged(path_of(table), index.offset, "the index is none");
    }
    lw_free(memory, bytes);
    if (status == LW_OK) {
        size_t slots_size = table->index.block_count * sizeof(lw_cache_slot);
        lw_budget_share_set(&table->index_share, table->index.memory_size + slots_size);
        table->slots = lw_allocate_zero(memory, slots_size);
    }
    return status;
}

static void table_free(lw_table *table) {
    lw_memory *memory = table->env->memory;
    lw_free(memory, table->filter_bytes);
    lw_budget_share_set(&table->filter_share, 0);
    lw_budget_share_set(&table->index_share, 0);
    if (table->slots != NULL) {
        lw_cache_leave(table->slots, table->index.block_count);
        lw_free(memory, table->slots);
    }
    if (table->index.memory != NULL) {
        lw_table_index_close(&table->index);
    }
    lw_free(memory, (void *)(uintptr_t)table->path.data);
    lw_free(memory, table);
}

static const char *disagreement(const lw_table_info *info, const lw_table_footer *footer,
                                uint64_t file_size) {
    if (info->origin != footer->number) {
        return "its number is not the one in the catalog";
    }
    if (info->size != file_size) {
        return "its size is not the one in the catalog";
    }
    return info->checksum == footer->checksum ? NULL : "its checksum is not the one in the catalog";
}

lw_status lw_table_open(lw_env *env, lw_cache *cache, const char *path, const lw_table_info *info,
                        lw_filter_part filter_part, lw_table **table) {
    lw_handle file;
    uint64_t file_size;
    lw_table_footer footer;
    LW_TRY(lw_table_file_open(env, path, &file, &file_size, &footer));
    lw_table *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    opened->cache = cache;
    opened->path = lw_copy(env->memory, lw_view(path, strlen(path) + 1));
    opened->file = file;
    opened->number = info->number;
    opened->origin = info->origin;
    opened->filter_part = filter_part;
    opened->filter_share = lw_budget_share_in(lw_cache_budget(cache), LW_BUDGET_FILTERS);
    opened->index_share = lw_budget_share_in(lw_cache_budget(cache), LW_BUDGET_INDEXES);
    const char *reason = disagreement(info, &footer, file_size);
    lw_status status = reason == NULL
                           ? read_parts(opened, &footer)
                           : lw_table_damaged(path, file_size - LW_TABLE_FOOTER_SIZE, reason);
    if (status != LW_OK) {
        lw_file_close(env, file);
        table_free(opened);
        return status;
    }
    *table = opened;
    return LW_OK;
}

void lw_table_close(lw_table *table) {
    LW_ASSERT(table->cursor_count == 0);
    lw_file_close(table->env, table->file);
    if (table->spare != NULL) {
        lw_block_cursor_reset(&table->spare->entries);
        lw_free(table->env->memory, table->spare);
    }
    table_free(table);
}

bool lw_table_may_hold(const lw_table *table, lw_bytes key) {
    size_t part_size = table->filter_part != NULL ? table->filter_part(key) : key.size;
    LW_ASSERT(part_size <= key.size);
    bool may = lw_filter_may_hold(&table->filter, lw_filter_hash(lw_view(key.data, part_size)));
    if (!may) {
        LW_MARK(table->env, "table.filter_denied");
    }
    return may;
}

/* ---- cursors --------------------------------------------------------------------------------- */

lw_table_cursor *lw_table_cursor_open(lw_table *table) {
    lw_table_cursor *cursor = table->spare;
    table->spare = NULL;
    if (cursor == NULL) {
        cursor = lw_allocate_zero(table->env->memory, sizeof(*cursor));
        cursor->table = table;
        cursor->entries = lw_block_cursor_in(table->env->memory);
    }
    table->cursor_count++;
    return cursor;
}

/* Stands nowhere. */
static void release(lw_table_cursor *cursor) {
    if (cursor->block != NULL) {
        lw_cache_unpin(cursor->table->cache, cursor->block);
    }
    cursor->block = NULL;
}

void lw_table_cursor_close(lw_table_cursor *cursor) {
    lw_table *table = cursor->table;
    release(cursor);
    LW_ASSERT(table->cursor_count > 0);
    table->cursor_count--;
    if (table->spare == NULL && cursor->entries.key.capacity <= SPARE_KEY_SIZE_MAX) {
        table->spare = cursor;
        return;
    }
    lw_block_cursor_reset(&cursor->entries);
    lw_free(table->env->memory, cursor);
}

bool lw_table_cursor_repeats(const lw_table_cursor *cursor) {
    return cursor->block != NULL && cursor->entries.repeats;
}

const lw_entry *lw_table_cursor_entry(const lw_table_cursor *cursor) {
    return cursor->block != NULL ? lw_block_cursor_entry(&cursor->entries) : NULL;
}

/* A part as it came from the file, checked, and decompressed: the bytes of a block. */
typedef struct fetched {
    uint8_t *sealed, *plain; /* owned; `plain` is NULL if it was not compressed */
    lw_bytes block;
} fetched;

static void fetched_reset(const lw_table *table, fetched *what) {
    lw_free(table->env->memory, what->sealed);
    lw_free(table->env->memory, what->plain);
}

static LW_YIELDS lw_status fetch(lw_table *table, lw_table_place place, fetched *what) {
    lw_part part = {LW_PART_DATA, table->origin, place.offset};
    *what = (fetched){.sealed = lw_allocate(table->env->memory, place.sealed_size)};
    LW_TRY(lw_part_read(table->env, table->file, path_of(table), &part, what->sealed,
                        place.sealed_size));
    what->block = lw_view(what->sealed, place.size);
    if (lw_part_compressed(place.sealed_size, place.size)) {
        what->plain = lw_allocate(table->env->memory, place.size);
        what->block = lw_view(what->plain, place.size);
        if (!lw_part_decompress(lw_cache_decompressor(table->cache),
                                lw_view(what->sealed, place.sealed_size), what->plain,
                                place.size)) {
            return lw_table_damaged(path_of(table), place.offset, "it cannot be decompressed");
        }
    }
    return LW_OK;
}

/* Puts the image of a block into the cache, pinned. */
static lw_status keep(lw_table *table, uint32_t block_index, lw_bytes bytes,
                      lw_cache_block **block) {
    uint64_t offset = lw_table_index_place(&table->index, block_index).offset;
    lw_block_plan plan;
    if (!lw_block_plan_make(bytes, &plan)) {
        return lw_table_damaged(path_of(table), offset, "the block cannot be read");
    }
    LW_TRY(lw_budget_allow(lw_cache_budget(table->cache), lw_cache_cost(plan.size), "a block"));
    lw_cache_block *made = lw_cache_make(table->cache, table->number, offset, plan.size);
    lw_block_image_write(&plan, lw_cache_block_data(made));
    *block = lw_cache_publish(table->cache, made, &table->slots[block_index]);
    if (*block != made) {
        LW_MARK(table->env, "table.block_published_twice");
    }
    return LW_OK;
}

static LW_YIELDS lw_status read_block(lw_table *table, uint32_t block_index,
                                      lw_cache_block **block) {
    fetched what;
    lw_status status = fetch(table, lw_table_index_place(&table->index, block_index), &what);
    if (status == LW_OK) {
        status = keep(table, block_index, what.block, block);
    }
    fetched_reset(table, &what);
    return status;
}

/* Finds a block in the cache, or reads it there; pins it. */
static LW_YIELDS lw_status pin(lw_table *table, uint32_t block_index, lw_cache_block **block) {
    uint64_t offset = lw_table_index_place(&table->index, block_index).offset;
    *block = lw_cache_find(table->cache, table->number, offset, &table->slots[block_index]);
    return *block != NULL ? LW_OK : read_block(table, block_index, block);
}

/* Pins a block and begins to read it. */
static LW_YIELDS lw_status load(lw_table_cursor *cursor, uint32_t block_index) {
    if (cursor->block != NULL && cursor->block_index == block_index) {
        return LW_OK;
    }
    release(cursor);
    LW_TRY(pin(cursor->table, block_index, &cursor->block));
    cursor->block_index = block_index;
    lw_block_cursor_open_image(&cursor->entries, lw_cache_block_data(cursor->block));
    return LW_OK;
}

/* Goes over to the first entry of the next block, or to the last of the one before. */
static LW_YIELDS lw_status cross(lw_table_cursor *cursor, bool forward) {
    uint32_t block_index = cursor->block_index;
    if (forward ? block_index + 1 == cursor->table->index.block_count : block_index == 0) {
        release(cursor);
        return LW_OK;
    }
    LW_TRY(load(cursor, forward ? block_index + 1 : block_index - 1));
    (void)(forward ? lw_block_cursor_first(&cursor->entries)
                   : lw_block_cursor_last(&cursor->entries));
    return LW_OK;
}

static lw_status damaged_entry(const lw_table *table, uint32_t block_index) {
    uint64_t offset = lw_table_index_place(&table->index, block_index).offset;
    return lw_table_damaged(path_of(table), offset, "an entry of the block cannot be read");
}

/* Ends a move: where the block ended it goes over to the neighbour, where the block could not be
 * read it stands nowhere. */
static LW_YIELDS lw_status settle(lw_table_cursor *cursor, bool forward) {
    if (!cursor->entries.standing && !cursor->entries.damaged) {
        LW_TRY(cross(cursor, forward));
    }
    if (cursor->block != NULL && !cursor->entries.standing) {
        release(cursor);
        return damaged_entry(cursor->table, cursor->block_index);
    }
    return LW_OK;
}

lw_status lw_table_cursor_seek(lw_table_cursor *cursor, lw_bytes key, uint64_t sequence) {
    LW_TRY(load(cursor, lw_table_index_find(&cursor->table->index, key, sequence)));
    (void)lw_block_cursor_seek(&cursor->entries, key, sequence);
    return settle(cursor, true);
}

lw_status lw_table_cursor_seek_before(lw_table_cursor *cursor, lw_bytes key) {
    LW_TRY(load(cursor, lw_table_index_find(&cursor->table->index, key, UINT64_MAX)));
    (void)lw_block_cursor_seek_before(&cursor->entries, key, UINT64_MAX);
    return settle(cursor, false);
}

lw_status lw_table_cursor_first(lw_table_cursor *cursor) {
    LW_TRY(load(cursor, 0));
    (void)lw_block_cursor_first(&cursor->entries);
    return settle(cursor, true);
}

lw_status lw_table_cursor_last(lw_table_cursor *cursor) {
    LW_TRY(load(cursor, cursor->table->index.block_count - 1));
    (void)lw_block_cursor_last(&cursor->entries);
    return settle(cursor, false);
}

lw_status lw_table_cursor_next(lw_table_cursor *cursor) {
    LW_ASSERT(cursor->block != NULL);
    (void)lw_block_cursor_next(&cursor->entries);
    return settle(cursor, true);
}

lw_status lw_table_cursor_previous(lw_table_cursor *cursor) {
    LW_ASSERT(cursor->block != NULL);
    (void)lw_block_cursor_previous(&cursor->entries);
    return settle(cursor, false);
}

/* ---- single keys ----------------------------------------------------------------------------- */

/* Looks in one block. */
static LW_YIELDS lw_status find_in(lw_table *table, uint32_t block_index, lw_bytes key,
                                   uint64_t sequence, lw_buffer *value, lw_entry_kind *kind,
                                   lw_block_found *found) {
    lw_cache_block *pinned;
    lw_block block;
    lw_entry entry;
    LW_TRY(pin(table, block_index, &pinned));
    lw_block_image_open(lw_cache_block_data(pinned), &block);
    *found = lw_block_find(&block, key, sequence, &entry);
    if (*found == LW_BLOCK_FOUND) {
        LW_ASSERT(entry.sequence <= sequence);
        lw_buffer_append(value, entry.value);
        *kind = entry.kind;
    }
    lw_cache_unpin(table->cache, pinned);
    return *found == LW_BLOCK_DAMAGED ? damaged_entry(table, block_index) : LW_OK;
}

lw_status lw_table_get(lw_table *table, lw_bytes key, uint64_t sequence, lw_buffer *value,
                       lw_entry_kind *kind) {
    uint32_t block_index = lw_table_index_find(&table->index, key, sequence);
    lw_block_found found;
    LW_TRY(find_in(table, block_index, key, sequence, value, kind, &found));
    if (found == LW_BLOCK_BEYOND && lw_table_index_splits(&table->index, block_index)) {
        LW_TRY(find_in(table, block_index + 1, key, sequence, value, kind, &found));
    }
    return found == LW_BLOCK_FOUND ? LW_OK : LW_NOT_FOUND;
}
