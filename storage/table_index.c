/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a table, written as fences and read into arrays; the format is at the head of
 * table_index.h. */
#include "storage/table_index.h"

#include "storage/heads.h"
#include "storage/table_file.h"

struct index_block {
    uint64_t offset;   /* of the block in the file */
    uint64_t sequence; /* of the fence */
    uint32_t size;     /* of the block before compression */
    uint32_t key;      /* where in `keys` the fence's key begins; it ends where the next begins */
};

/* ---- writing --------------------------------------------------------------------------------- */

/* The shortest key after `before` that `first` begins with stands for all its versions; where a
 * block begins inside the versions of one key, the fence tells them apart. */
void lw_table_index_fence(const lw_bytes *before, const lw_entry *first, lw_buffer *fence_key,
                          uint64_t *fence_sequence) {
    size_t size = 0;
    bool same_key = before != NULL && lw_equal(*before, first->key);
    if (same_key) {
        size = first->key.size;
    } else if (before != NULL) {
        LW_ASSERT(lw_compare(*before, first->key) < 0);
        size = lw_common_prefix(*before, first->key) + 1;
    }
    lw_buffer_clear(fence_key);
    lw_buffer_append(fence_key, lw_view(first->key.data, size));
    *fence_sequence = same_key ? first->sequence : UINT64_MAX;
}

void lw_table_index_add(lw_block_builder *builder, lw_bytes fence_key, uint64_t fence_sequence,
                        uint64_t sealed_size, uint64_t size) {
    LW_ASSERT(lw_part_sizes_valid(sealed_size, size));
    uint8_t sizes[2 * LW_VARINT_SIZE_MAX];
    size_t end = lw_put_varint(sizes, sealed_size);
    end += lw_put_varint(sizes + end, size);
    lw_block_builder_add(builder, &(lw_entry){.key = fence_key,
                                              .sequence = ~fence_sequence,
                                              .kind = LW_ENTRY_PUT,
                                              .value = lw_view(sizes, end)});
}

/* ---- reading --------------------------------------------------------------------------------- */

static lw_bytes fence_key(const lw_table_index *index, uint32_t block) {
    uint32_t start = index->blocks[block].key;
    return lw_view(index->keys + start, index->blocks[block + 1].key - start);
}

/* Walks the fences; checks them and counts when `index` has no arrays yet, else fills these. */
static bool walk(lw_table_index *index, lw_block_cursor *fences, uint64_t data_size,
                 size_t *keys_size) {
    uint64_t offset = 0;
    uint32_t block = 0;
    *keys_size = 0;
    for (bool standing = lw_block_cursor_first(fences); standing;
         standing = lw_block_cursor_next(fences)) {
        const lw_entry *fence = lw_block_cursor_entry(fences);
        lw_bytes rest = fence->value;
        uint64_t sealed_size, size;
        if (!lw_take_varint(&rest, &sealed_size) || !lw_take_varint(&rest, &size) ||
            rest.size > 0 || !lw_part_sizes_valid(sealed_size, size) ||
            sealed_size > data_size - offset || (block == 0 && fence->key.size > 0)) {
            return false;
        }
        if (index->blocks != NULL) {
            index->blocks[block] = (struct index_block){.offset = offset,
                                                        .sequence = ~fence->sequence,
                                                        .size = (uint32_t)size,
                                                        .key = (uint32_t)*keys_size};
            if (fence->key.size > 0) {
                memcpy(index->keys + *keys_size, fence->key.data, fence->key.size);
            }
        }
        offset += sealed_size;
        *keys_size += fence->key.size;
        block++;
    }
    index->block_count = block;
    return !fences->damaged && offset == data_size && *keys_size <= UINT32_MAX;
}

/* Whether the fences ascend; their heads besides. */
static bool fill_heads(lw_table_index *index) {
    index->shared_size =
        index->block_count < 2
            ? 0
            : lw_common_prefix(fence_key(index, 1), fence_key(index, index->block_count - 1));
    for (uint32_t block = 1; block < index->block_count; block++) {
        lw_bytes key = fence_key(index, block);
        if (lw_entry_compare(fence_key(index, block - 1), index->blocks[block - 1].sequence, key,
                             index->blocks[block].sequence) >= 0 ||
            key.size < index->shared_size) {
            return false;
        }
        index->heads[block] = lw_head_of(key, index->shared_size);
    }
    return true;
}

bool lw_table_index_open(lw_memory *memory, lw_bytes block, uint64_t data_size,
                         lw_table_index *index) {
    lw_table_index opened = {.memory = memory};
    lw_block_cursor fences = lw_block_cursor_in(memory);
    size_t keys_size;
    bool valid =
        lw_block_cursor_open(&fences, block) && walk(&opened, &fences, data_size, &keys_size);
    if (valid) {
        size_t blocks_size = (opened.block_count + (size_t)1) * sizeof(struct index_block);
        size_t heads_size = opened.block_count * sizeof(uint64_t);
        opened.memory_size = blocks_size + heads_size + keys_size;
        opened.blocks = lw_allocate(memory, opened.memory_size);
        opened.heads = (uint64_t *)(void *)((uint8_t *)opened.blocks + blocks_size);
        opened.keys = (uint8_t *)opened.heads + heads_size;
        valid = walk(&opened, &fences, data_size, &keys_size);
        LW_ASSERT(valid);
        opened.blocks[opened.block_count] =
            (struct index_block){.offset = data_size, .key = (uint32_t)keys_size};
        valid = fill_heads(&opened);
    }
    lw_block_cursor_reset(&fences);
    if (!valid) {
        lw_table_index_close(&opened);
        return false;
    }
    *index = opened;
    return true;
}

void lw_table_index_close(lw_table_index *index) {
    lw_free(index->memory, index->blocks);
    *index = (lw_table_index){.memory = index->memory};
}

uint32_t lw_table_index_find(const lw_table_index *index, lw_bytes key, uint64_t sequence) {
    if (index->block_count == 1) {
        return 0;
    }
    lw_bytes shared = lw_view(index->keys, index->shared_size);
    lw_bytes begin = lw_view(key.data, key.size < shared.size ? key.size : shared.size);
    int order = lw_compare(begin, shared);
    if (order != 0) {
        return order < 0 ? 0 : index->block_count - 1;
    }
    uint64_t head = lw_head_of(key, index->shared_size);
    uint32_t low = 1 + lw_heads_search(index->heads + 1, index->block_count - 1, head);
    uint32_t high = index->block_count;
    /* `low` becomes the first block whose fence is after the target. */
    while (low < high && index->heads[low] == head) {
        uint32_t middle = low + (high - low) / 2;
        bool after = index->heads[middle] > head ||
                     lw_entry_compare(fence_key(index, middle), index->blocks[middle].sequence, key,
                                      sequence) > 0;
        *(after ? &high : &low) = after ? middle : middle + 1;
    }
    return low - 1;
}

bool lw_table_index_splits(const lw_table_index *index, uint32_t block) {
    return block + 1 < index->block_count && index->blocks[block + 1].sequence != UINT64_MAX;
}

lw_bytes lw_table_index_fence_key(const lw_table_index *index, uint32_t block) {
    LW_ASSERT(block < index->block_count);
    return fence_key(index, block);
}

lw_table_place lw_table_index_place(const lw_table_index *index, uint32_t block) {
    LW_ASSERT(block < index->block_count);
    const struct index_block *at = &index->blocks[block];
    return (lw_table_place){.offset = at->offset,
                            .sealed_size = (uint32_t)(at[1].offset - at->offset),
                            .size = at->size};
}
