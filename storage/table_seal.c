/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, compressed and sealed on another thread: see table_seal.h. */
#include "storage/table_seal.h"

#include "storage/table_index.h"

enum {
    FULL_SIZE = 128 * 1024, /* bytes of blocks that are sealed together: some 300 us of work */
    FEW_SIZE = 16 * 1024,   /* bytes for which another thread does not pay */
    KEPT_SIZE = 512 * 1024, /* buffers that one large block made larger are given back */
};

struct sealer_block {
    size_t raw_end, key_end; /* where they end in the buffers */
    uint64_t fence_sequence;
    size_t sealed_size;
};

void lw_sealer_reset(lw_sealer *sealer) {
    lw_buffer_reset(&sealer->raw);
    lw_buffer_reset(&sealer->keys);
    lw_free(sealer->memory, sealer->blocks);
    sealer->blocks = NULL;
    sealer->count = sealer->capacity = 0;
}

void lw_sealer_add(lw_sealer *sealer, lw_bytes block, lw_bytes fence_key, uint64_t fence_sequence) {
    if (sealer->count == sealer->capacity) {
        sealer->capacity = sealer->capacity == 0 ? 8 : 2 * sealer->capacity;
        sealer->blocks = lw_reallocate(sealer->memory, sealer->blocks,
                                       sealer->capacity * sizeof(sealer->blocks[0]));
    }
    lw_buffer_append(&sealer->raw, block);
    lw_buffer_append(&sealer->keys, fence_key);
    sealer->blocks[sealer->count++] = (struct sealer_block){.raw_end = sealer->raw.size,
                                                            .key_end = sealer->keys.size,
                                                            .fence_sequence = fence_sequence};
}

bool lw_sealer_full(const lw_sealer *sealer) {
    return sealer->raw.size >= FULL_SIZE;
}

/* On another thread. */
static void seal_blocks(void *argument) {
    lw_sealer *sealer = argument;
    uint64_t offset = sealer->offset;
    size_t start = 0;
    for (uint32_t index = 0; index < sealer->count; index++) {
        struct sealer_block *block = &sealer->blocks[index];
        lw_part part = {LW_PART_DATA, sealer->number, offset};
        lw_bytes bytes = lw_view(sealer->raw.data + start, block->raw_end - start);
        block->sealed_size = lw_part_seal(&part, bytes, sealer->compressor, sealer->out);
        offset += block->sealed_size;
        start = block->raw_end;
    }
}

/* What was learned of the blocks goes into the index. */
static void add_to_index(lw_env *env, const lw_sealer *sealer, lw_block_builder *index) {
    size_t raw_start = 0, key_start = 0;
    for (uint32_t at = 0; at < sealer->count; at++) {
        const struct sealer_block *block = &sealer->blocks[at];
        size_t size = block->raw_end - raw_start;
        if (sealer->compressor != NULL && !lw_part_compressed(block->sealed_size, size)) {
            LW_MARK(env, "table.block_incompressible");
        }
        lw_bytes key = lw_view(sealer->keys.data + key_start, block->key_end - key_start);
        lw_table_index_add(index, key, block->fence_sequence, block->sealed_size, size);
        raw_start = block->raw_end;
        key_start = block->key_end;
    }
}

void lw_sealer_seal(lw_env *env, lw_sealer *sealer, uint64_t written, lw_buffer *out,
                    lw_block_builder *index) {
    if (sealer->count == 0) {
        return;
    }
    size_t room = sealer->raw.size + sealer->count * (size_t)LW_SEAL_SIZE;
    lw_buffer_reserve(out, room);
    const uint8_t *data = out->data;
    sealer->offset = written + out->size;
    sealer->out = out;
    if (sealer->raw.size < FEW_SIZE && !LW_RARE(env, "table.seals_elsewhere")) {
        seal_blocks(sealer);
    } else {
        lw_env_offload(env, seal_blocks, sealer);
    }
    LW_ASSERT(out->data == data); /* nothing was allocated */
    add_to_index(env, sealer, index);
    sealer->count = 0;
    lw_buffer_clear(&sealer->raw);
    lw_buffer_clear(&sealer->keys);
    if (sealer->raw.capacity > KEPT_SIZE) {
        lw_buffer_reset(&sealer->raw);
    }
}
