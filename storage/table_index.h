/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a table: which block may hold a key. In the file it is a block (storage/block.h)
 * whose entries are fences; in memory the fences lie apart from where the blocks are, with eight
 * bytes of each as a number, so that a search reads few cache lines.
 *
 *   entry: key = the fence's key, sequence = the complement of the fence's (which is 0, so one
 * byte, where the key alone is the fence), kind = put, value = sealed size varint · size before
 * compression varint
 *
 * Invariants
 * 1. A fence is at or before the first entry of its block and after the last of the block before;
 *    the first one is before everything. They ascend.
 * 2. Data blocks stand one behind another from offset 0, up to the filter. */
#ifndef LW_TABLE_INDEX_H
#define LW_TABLE_INDEX_H

#include "storage/block.h"

typedef struct lw_table_index {
    lw_memory *memory;
    uint32_t block_count;
    struct index_block *blocks; /* and one more: the end */
    uint64_t *heads;            /* of the fences, behind the bytes that all but the first share */
    uint8_t *keys;              /* of the fences, one behind another */
    size_t shared_size;
    size_t memory_size; /* bytes taken */
} lw_table_index;

/* A data block as the index knows it. */
typedef struct lw_table_place {
    uint64_t offset;
    uint32_t sealed_size, size;
} lw_table_place;

/* Makes the fence of a block that begins with `first`, after a block that ended with the key
 * `before` (NULL: there is none). */
void lw_table_index_fence(const lw_bytes *before, const lw_entry *first, lw_buffer *fence_key,
                          uint64_t *fence_sequence);
/* Appends it, once the block's sizes are known, to the block that becomes the index. */
void lw_table_index_add(lw_block_builder *builder, lw_bytes fence_key, uint64_t fence_sequence,
                        uint64_t sealed_size, uint64_t size);

/* Reads the index of blocks that fill `data_size` bytes. False if the block is no such index. */
LW_MUST_USE bool lw_table_index_open(lw_memory *memory, lw_bytes block, uint64_t data_size,
                                     lw_table_index *index);
void lw_table_index_close(lw_table_index *index);
/* The last block whose fence is at or before (key, sequence). */
uint32_t lw_table_index_find(const lw_table_index *index, lw_bytes key, uint64_t sequence);
/* Whether the block behind this one begins inside the versions of a key. */
bool lw_table_index_splits(const lw_table_index *index, uint32_t block);
/* The key of its fence: a view. */
lw_bytes lw_table_index_fence_key(const lw_table_index *index, uint32_t block);
lw_table_place lw_table_index_place(const lw_table_index *index, uint32_t block);

#endif
