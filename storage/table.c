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
 */
#include "storage/table_inner.h"

enum { FILTER_ALIGNMENT = LW_FILTER_LINE_SIZE };

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
    LW_TRY(lw_part_read(table->env, table->file, lw_table_path_of(table), &filter,
                        table->filter_bytes, footer->filter.size));
    if (!lw_filter_open(lw_view(table->filter_bytes, filter_size), &table->filter)) {
        return lw_table_damaged(lw_table_path_of(table), filter.offset, "the filter is none");
    }
    size_t index_size = footer->index.size - LW_SEAL_SIZE;
    lw_part index = {LW_PART_INDEX, table->origin, footer->index.offset};
    uint8_t *bytes = lw_allocate(memory, footer->index.size);
    lw_status status = lw_part_read(table->env, table->file, lw_table_path_of(table), &index, bytes,
                                    footer->index.size);
    if (status == LW_OK && !lw_table_index_open(memory, lw_view(bytes, index_size),
                                                footer->filter.offset, &table->index)) {
        status = lw_table_damaged(lw_table_path_of(table), index.offset, "the index is none");
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
    opened->direct = LW_NO_HANDLE;
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

bool lw_table_read_direct(lw_table *table) {
    LW_ASSERT(!lw_handle_valid(table->direct));
    lw_status status =
        lw_file_open_direct(table->env, lw_table_path_of(table), &table->direct, &table->alignment);
    if (status == LW_OK && table->alignment == 1) {
        lw_file_close(table->env, table->direct);
        table->direct = LW_NO_HANDLE;
    }
    return lw_handle_valid(table->direct);
}

void lw_table_close(lw_table *table) {
    LW_ASSERT(table->cursor_count == 0);
    if (lw_handle_valid(table->direct)) {
        lw_file_close(table->env, table->direct);
    }
    lw_file_close(table->env, table->file);
    lw_table_spare_free(table);
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
