/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a table, from its index alone. */
#include "storage/table_inner.h"

void lw_table_parts(const lw_table *table, const lw_key_range *range, uint32_t count,
                    void (*visit)(void *argument, lw_bytes key, uint64_t bytes), void *argument) {
    const lw_table_index *index = &table->index;
    LW_ASSERT(count > 0);
    if (index->block_count == 0) {
        return;
    }
    uint32_t first = lw_table_index_find(index, range->lower, UINT64_MAX);
    uint32_t end = range->upper.size == 0
                       ? index->block_count
                       : lw_table_index_find(index, range->upper, UINT64_MAX) + 1;
    /* Where one block ends and the next begins may be the end of the range, whatever it has. */
    if (range->upper.size > 0 && end > first + 1 &&
        lw_equal(lw_table_index_fence_key(index, end - 1), range->upper)) {
        end--;
    }
    uint32_t block_count = end - first;
    count = count < block_count ? count : block_count;
    for (uint32_t part = 0; part < count; part++) {
        uint32_t from = first + (uint32_t)((uint64_t)part * block_count / count);
        uint32_t until = first + (uint32_t)(((uint64_t)part + 1) * block_count / count);
        lw_table_place last = lw_table_index_place(index, until - 1);
        visit(argument, part == 0 ? range->lower : lw_table_index_fence_key(index, from),
              last.offset + last.sealed_size - lw_table_index_place(index, from).offset);
    }
}
