/* SPDX-License-Identifier: Apache-2.0 */
/* Cursors of a table.
 *
 * Invariants (those of table.h, and)
 * 1. A cursor that stands on an entry has that entry's block pinned, or a copy of its own; one that
 *    stands nowhere has neither.
 * 2. Whatever may have happened while a block was read, only the cursor itself is believed to be
 *    unchanged: the cache is asked again (a block may have been published twice).
 * 3. A cursor that reads everything once (lw_table_cursor_open_once) changes nothing in the cache:
 *    what is there it neither pins nor marks as used, and it leaves nothing behind. */
#include "storage/table_inner.h"

enum { SPARE_KEY_SIZE_MAX = 1024 }; /* of the key buffer that a spare cursor keeps */

struct lw_table_cursor {
    lw_table *table;
    lw_cache_block *block; /* pinned, or NULL */
    lw_table_fetched copy; /* if it reads everything once */
    uint32_t block_index;
    bool once, loaded;
    lw_table_ahead ahead;
    lw_block_cursor entries; /* in the block, while loaded */
};

/* ---- opening --------------------------------------------------------------------------------- */

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

lw_table_cursor *lw_table_cursor_open_once(lw_table *table) {
    lw_table_cursor *cursor = lw_table_cursor_open(table);
    cursor->once = true;
    return cursor;
}

/* Stands nowhere. */
static void release(lw_table_cursor *cursor) {
    if (cursor->block != NULL) {
        lw_cache_unpin(cursor->table->cache, cursor->block);
        cursor->block = NULL;
    }
    if (cursor->once) {
        lw_table_fetched_reset(cursor->table, &cursor->copy);
        cursor->copy = (lw_table_fetched){.sealed = NULL};
    }
    cursor->loaded = false;
}

static void cursor_free(lw_table_cursor *cursor) {
    lw_block_cursor_reset(&cursor->entries);
    lw_free(cursor->table->env->memory, cursor);
}

void lw_table_cursor_close(lw_table_cursor *cursor) {
    lw_table *table = cursor->table;
    release(cursor);
    lw_table_ahead_reset(table, &cursor->ahead);
    cursor->once = false;
    LW_ASSERT(table->cursor_count > 0);
    table->cursor_count--;
    if (table->spare == NULL && cursor->entries.key.capacity <= SPARE_KEY_SIZE_MAX &&
        !LW_RARE(table->env, "table.cursor_not_kept")) {
        table->spare = cursor;
        return;
    }
    cursor_free(cursor);
}

void lw_table_spare_free(lw_table *table) {
    if (table->spare != NULL) {
        cursor_free(table->spare);
    }
}

bool lw_table_cursor_repeats(const lw_table_cursor *cursor) {
    return cursor->loaded && cursor->entries.repeats;
}

const lw_entry *lw_table_cursor_entry(const lw_table_cursor *cursor) {
    return cursor->loaded ? lw_block_cursor_entry(&cursor->entries) : NULL;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* Takes a copy of the block. */
static LW_YIELDS lw_status load_copy(lw_table_cursor *cursor, uint32_t block_index,
                                     lw_table_way way) {
    lw_table *table = cursor->table;
    way = way == LW_TABLE_ALONE ? LW_TABLE_FORWARD : way;
    LW_TRY(lw_table_fetch(table, block_index, &cursor->ahead, way, &cursor->copy));
    return lw_block_cursor_open(&cursor->entries, cursor->copy.block)
               ? LW_OK
               : lw_table_damaged(lw_table_path_of(table),
                                  lw_table_index_place(&table->index, block_index).offset,
                                  "the block cannot be read");
}

/* Pins a block, or takes a copy, and begins to read it. */
static LW_YIELDS lw_status load(lw_table_cursor *cursor, uint32_t block_index, lw_table_way way) {
    if (cursor->loaded && cursor->block_index == block_index) {
        return LW_OK;
    }
    release(cursor);
    cursor->block_index = block_index;
    if (way == LW_TABLE_ALONE) {
        cursor->ahead.window = 0;
    }
    if (cursor->once) {
        LW_TRY(load_copy(cursor, block_index, way));
    } else {
        LW_TRY(lw_table_pin(cursor->table, block_index, &cursor->ahead, way, &cursor->block));
        lw_block_cursor_open_image(&cursor->entries, lw_cache_block_data(cursor->block));
    }
    cursor->loaded = true;
    return LW_OK;
}

/* Goes over to the first entry of the next block, or to the last of the one before. */
static LW_YIELDS lw_status cross(lw_table_cursor *cursor, bool forward) {
    uint32_t block_index = cursor->block_index;
    if (forward ? block_index + 1 == cursor->table->index.block_count : block_index == 0) {
        release(cursor);
        return LW_OK;
    }
    LW_TRY(load(cursor, forward ? block_index + 1 : block_index - 1,
                forward ? LW_TABLE_FORWARD : LW_TABLE_BACK));
    (void)(forward ? lw_block_cursor_first(&cursor->entries)
                   : lw_block_cursor_last(&cursor->entries));
    return LW_OK;
}

/* Ends a move: where the block ended it goes over to the neighbour, where the block could not be
 * read it stands nowhere. */
static LW_YIELDS lw_status settle(lw_table_cursor *cursor, bool forward) {
    if (!cursor->entries.standing && !cursor->entries.damaged) {
        LW_TRY(cross(cursor, forward));
    }
    if (cursor->loaded && !cursor->entries.standing) {
        release(cursor);
        return lw_table_damaged_entry(cursor->table, cursor->block_index);
    }
    return LW_OK;
}

lw_status lw_table_cursor_seek(lw_table_cursor *cursor, lw_bytes key, uint64_t sequence) {
    LW_TRY(load(cursor, lw_table_index_find(&cursor->table->index, key, sequence), LW_TABLE_ALONE));
    (void)lw_block_cursor_seek(&cursor->entries, key, sequence);
    return settle(cursor, true);
}

lw_status lw_table_cursor_seek_before(lw_table_cursor *cursor, lw_bytes key) {
    LW_TRY(
        load(cursor, lw_table_index_find(&cursor->table->index, key, UINT64_MAX), LW_TABLE_ALONE));
    (void)lw_block_cursor_seek_before(&cursor->entries, key, UINT64_MAX);
    return settle(cursor, false);
}

lw_status lw_table_cursor_first(lw_table_cursor *cursor) {
    LW_TRY(load(cursor, 0, LW_TABLE_ALONE));
    (void)lw_block_cursor_first(&cursor->entries);
    return settle(cursor, true);
}

lw_status lw_table_cursor_last(lw_table_cursor *cursor) {
    LW_TRY(load(cursor, cursor->table->index.block_count - 1, LW_TABLE_ALONE));
    (void)lw_block_cursor_last(&cursor->entries);
    return settle(cursor, false);
}

lw_status lw_table_cursor_next(lw_table_cursor *cursor) {
    LW_ASSERT(cursor->loaded);
    (void)lw_block_cursor_next(&cursor->entries);
    return settle(cursor, true);
}

lw_status lw_table_cursor_previous(lw_table_cursor *cursor) {
    LW_ASSERT(cursor->loaded);
    (void)lw_block_cursor_previous(&cursor->entries);
    return settle(cursor, false);
}
