/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of an open table: from the file, checked, into the cache; and the reading of single keys.
 *
 * Whoever goes through a table block by block reads ahead: from the second block on that is not in
 * the cache and follows the last, a piece of 16 KiB is read at once, and each piece is twice the
 * one before, up to 256 KiB, or a 256th of what is left of the budget. The kernel is told that
 * tables are read at random (LW_OPEN_RANDOM), so that it reads what it is asked for and nothing
 * besides.
 *
 * A single block of a table that was opened so (lw_table_read_direct) is read past the page cache,
 * in the sectors that hold it: through the page cache more than half of them take two pages.
 *
 * Invariants
 * 1. What was read ahead is checked like everything else, when it is wanted (B2). What could not be
 *    read ahead is read again alone: an error counts only where somebody wants the block. */
#include "storage/table_inner.h"

#include <inttypes.h>

enum {
    WINDOW_SIZE_MIN = 16 * 1024,
    WINDOW_SIZE_MAX = 256 * 1024,
    /* At most this part of what is left of the budget is for one cursor: there may be many, and
     * what a compaction takes is missing for memtables. */
    WINDOW_PART = 256,
};

/* ---- reading ahead --------------------------------------------------------------------------- */

void lw_table_ahead_reset(lw_table *table, lw_table_ahead *ahead) {
    if (ahead->bytes != NULL) {
        lw_free(table->env->memory, ahead->bytes);
        lw_budget_share_set(&ahead->share, 0);
    }
    *ahead = (lw_table_ahead){.bytes = NULL};
}

static bool holds(const lw_table_ahead *ahead, lw_table_place place) {
    return place.offset >= ahead->offset &&
           place.offset + place.sealed_size <= ahead->offset + ahead->size;
}

/* The next size of a piece; 0 where there is no memory for one. */
static size_t next_window(const lw_table *table, const lw_table_ahead *ahead) {
    size_t most = lw_budget_room(lw_cache_budget(table->cache)) / WINDOW_PART;
    size_t window = ahead->window < WINDOW_SIZE_MIN ? WINDOW_SIZE_MIN : 2 * ahead->window;
    most = most < WINDOW_SIZE_MAX ? most : WINDOW_SIZE_MAX;
    window = window < most ? window : most;
    if (LW_RARE(table->env, "table.reads_not_ahead")) {
        return 0;
    }
    return window < WINDOW_SIZE_MIN / 2 ? 0 : window;
}

/* The blocks from `block_index` on, or up to it, that fit a piece of this size. */
static lw_table_place piece_of(const lw_table *table, uint32_t block_index, lw_table_way way,
                               size_t window) {
    lw_table_place piece = lw_table_index_place(&table->index, block_index);
    uint32_t last = way == LW_TABLE_FORWARD ? table->index.block_count - 1 : 0;
    while (block_index != last) {
        block_index = way == LW_TABLE_FORWARD ? block_index + 1 : block_index - 1;
        lw_table_place more = lw_table_index_place(&table->index, block_index);
        if (more.sealed_size > window || piece.sealed_size > window - more.sealed_size) {
            break;
        }
        piece.sealed_size += more.sealed_size;
        piece.offset = way == LW_TABLE_FORWARD ? piece.offset : more.offset;
    }
    return piece;
}

static void make_room(lw_table *table, lw_table_ahead *ahead, size_t size) {
    if (ahead->capacity < size) {
        lw_table_ahead_reset(table, ahead);
        ahead->share = lw_budget_share_in(lw_cache_budget(table->cache), LW_BUDGET_BUFFERS);
        lw_budget_share_set(&ahead->share, size);
        ahead->bytes = lw_allocate(table->env->memory, size);
        ahead->capacity = size;
    }
}

/* Reads the piece that begins or ends with a block. Whether that went well `ahead` shows. */
static LW_YIELDS void read_ahead(lw_table *table, uint32_t block_index, lw_table_way way,
                                 lw_table_ahead *ahead) {
    size_t window = next_window(table, ahead), read_size = 0;
    lw_table_place piece = piece_of(table, block_index, way, window);
    ahead->size = 0;
    if (piece.sealed_size > window) {
        return;
    }
    make_room(table, ahead, window);
    ahead->window = window;
    lw_status status = lw_file_read(table->env, table->file, piece.offset, ahead->bytes,
                                    piece.sealed_size, &read_size);
    if (status == LW_OK) {
        ahead->offset = piece.offset;
        ahead->size = read_size;
        LW_MARK(table->env, "table.read_ahead");
    }
}

/* ---- one block ------------------------------------------------------------------------------- */

void lw_table_fetched_reset(lw_table *table, lw_table_fetched *fetched) {
    lw_budget_share_set(&fetched->share, 0);
    lw_free(table->env->memory, fetched->sealed);
    lw_free(table->env->memory, fetched->plain);
}

/* The sealed block, with what it shares its sectors with. */
static LW_YIELDS lw_status read_direct(lw_table *table, lw_table_place place,
                                       lw_table_fetched *fetched, lw_bytes *sealed) {
    uint64_t alignment = table->alignment;
    uint64_t from = place.offset & ~(alignment - 1);
    uint64_t to = (place.offset + place.sealed_size + alignment - 1) & ~(alignment - 1);
    size_t size = (size_t)(to - from), before = (size_t)(place.offset - from), read_size;
    lw_budget_share_set(&fetched->share, fetched->share.size + size);
    fetched->sealed = lw_allocate_aligned(table->env->memory, size, (size_t)alignment);
    lw_status status =
        lw_file_read(table->env, table->direct, from, fetched->sealed, size, &read_size);
    if (status != LW_OK) {
        return lw_fail_in(status, "reading the table %s at offset %" PRIu64,
                          lw_table_path_of(table), place.offset);
    }
    if (read_size < before + place.sealed_size) {
        return lw_table_damaged(lw_table_path_of(table), place.offset, "the file ends too early");
    }
    LW_MARK(table->env, "table.block_read_direct");
    *sealed = lw_view(fetched->sealed + before, place.sealed_size);
    return LW_OK;
}

/* The sealed block, checked. */
static LW_YIELDS lw_status fetch_sealed(lw_table *table, uint32_t block_index,
                                        lw_table_ahead *ahead, lw_table_way way,
                                        lw_table_fetched *fetched, lw_bytes *sealed) {
    lw_table_place place = lw_table_index_place(&table->index, block_index);
    lw_part part = {LW_PART_DATA, table->origin, place.offset};
    const char *path = lw_table_path_of(table);
    if (ahead != NULL && way != LW_TABLE_ALONE && !holds(ahead, place)) {
        read_ahead(table, block_index, way, ahead);
    }
    if (ahead != NULL && holds(ahead, place)) {
        *sealed = lw_view(ahead->bytes + (place.offset - ahead->offset), place.sealed_size);
        return lw_part_verify(table->env, path, &part, *sealed);
    }
    if (lw_handle_valid(table->direct)) {
        LW_TRY(read_direct(table, place, fetched, sealed));
        return lw_part_verify(table->env, path, &part, *sealed);
    }
    lw_budget_share_set(&fetched->share, fetched->share.size + place.sealed_size);
    fetched->sealed = lw_allocate(table->env->memory, place.sealed_size);
    *sealed = lw_view(fetched->sealed, place.sealed_size);
    return lw_part_read(table->env, table->file, path, &part, fetched->sealed, place.sealed_size);
}

lw_status lw_table_fetch(lw_table *table, uint32_t block_index, lw_table_ahead *ahead,
                         lw_table_way way, lw_table_fetched *fetched) {
    lw_table_place place = lw_table_index_place(&table->index, block_index);
    lw_bytes sealed;
    *fetched = (lw_table_fetched){
        .share = lw_budget_share_in(lw_cache_budget(table->cache), LW_BUDGET_BUFFERS)};
    LW_TRY(lw_budget_allow(lw_cache_budget(table->cache), lw_cache_cost(place.size), "a block"));
    LW_TRY(fetch_sealed(table, block_index, ahead, way, fetched, &sealed));
    fetched->block = lw_view(sealed.data, place.size);
    if (lw_part_compressed(place.sealed_size, place.size)) {
        lw_budget_share_set(&fetched->share, fetched->share.size + place.size);
        fetched->plain = lw_allocate(table->env->memory, place.size);
        fetched->block = lw_view(fetched->plain, place.size);
        if (!lw_part_decompress(lw_cache_decompressor(table->cache), sealed, fetched->plain,
                                place.size)) {
            return lw_table_damaged(lw_table_path_of(table), place.offset,
                                    "it cannot be decompressed");
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
        return lw_table_damaged(lw_table_path_of(table), offset, "the block cannot be read");
    }
    lw_cache_block *made = lw_cache_make(table->cache, table->number, offset, plan.size);
    lw_block_image_write(&plan, lw_cache_block_data(made));
    *block = lw_cache_publish(table->cache, made, &table->slots[block_index]);
    if (*block != made) {
        LW_MARK(table->env, "table.block_published_twice");
    }
    return LW_OK;
}

lw_status lw_table_pin(lw_table *table, uint32_t block_index, lw_table_ahead *ahead,
                       lw_table_way way, lw_cache_block **block) {
    uint64_t offset = lw_table_index_place(&table->index, block_index).offset;
    *block = lw_cache_find(table->cache, table->number, offset, &table->slots[block_index]);
    if (*block != NULL && LW_RARE(table->env, "table.reads_cached_block")) {
        lw_cache_unpin(table->cache, *block);
        *block = NULL;
    }
    if (*block != NULL) {
        if (ahead != NULL) {
            ahead->window = 0; /* what comes next may be in the cache too */
        }
        return LW_OK;
    }
    lw_table_fetched fetched;
    lw_status status = lw_table_fetch(table, block_index, ahead, way, &fetched);
    if (status == LW_OK) {
        status = keep(table, block_index, fetched.block, block);
    }
    lw_table_fetched_reset(table, &fetched);
    return status;
}

lw_status lw_table_damaged_entry(const lw_table *table, uint32_t block_index) {
    uint64_t offset = lw_table_index_place(&table->index, block_index).offset;
    return lw_table_damaged(lw_table_path_of(table), offset,
                            "an entry of the block cannot be read");
}

/* ---- single keys ----------------------------------------------------------------------------- */

/* Looks in one block. */
static LW_YIELDS lw_status find_in(lw_table *table, uint32_t block_index, lw_bytes key,
                                   uint64_t sequence, lw_buffer *value, lw_entry_kind *kind,
                                   lw_block_found *found) {
    lw_cache_block *pinned;
    lw_block block;
    lw_entry entry;
    LW_TRY(lw_table_pin(table, block_index, NULL, LW_TABLE_ALONE, &pinned));
    lw_block_image_open(lw_cache_block_data(pinned), &block);
    *found = lw_block_find(&block, key, sequence, &entry);
    if (*found == LW_BLOCK_FOUND) {
        LW_ASSERT(entry.sequence <= sequence);
        lw_buffer_append(value, entry.value);
        *kind = entry.kind;
    }
    lw_cache_unpin(table->cache, pinned);
    return *found == LW_BLOCK_DAMAGED ? lw_table_damaged_entry(table, block_index) : LW_OK;
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
