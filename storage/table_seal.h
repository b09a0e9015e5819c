/* SPDX-License-Identifier: Apache-2.0 */
/* Data blocks on their way into a table: collected as they are filled, then compressed and sealed
 * together on another thread, so that the reactor spends no time on it (in the simulator: inline).
 *
 * Invariants
 * 1. While the work runs, nobody but it touches the blocks, the compressor and `out`; all memory it
 *    needs was taken before.
 * 2. Blocks are sealed in the order in which they were added. */
#ifndef LW_TABLE_SEAL_H
#define LW_TABLE_SEAL_H

#include "storage/block.h"
#include "storage/table_file.h"

typedef struct lw_sealer {
    lw_memory *memory;
    lw_compressor *compressor; /* the builder's; or NULL */
    uint64_t number;           /* of the table */
    lw_buffer raw, keys;       /* the blocks, and their fences, one behind another */
    struct sealer_block *blocks;
    uint32_t count, capacity;
    uint64_t offset; /* of the first of them in the file, while they are being sealed */
    lw_buffer *out;
} lw_sealer;

static inline lw_sealer lw_sealer_in(lw_memory *memory, lw_compressor *compressor,
                                     uint64_t number) {
    return (lw_sealer){.memory = memory,
                       .compressor = compressor,
                       .number = number,
                       .raw = lw_buffer_in(memory),
                       .keys = lw_buffer_in(memory)};
}
void lw_sealer_reset(lw_sealer *sealer);
/* Copies a block and its fence. */
void lw_sealer_add(lw_sealer *sealer, lw_bytes block, lw_bytes fence_key, uint64_t fence_sequence);
/* Whether it is time to seal what there is. */
bool lw_sealer_full(const lw_sealer *sealer);
/* Seals what there is behind `out`, whose first byte stands at `written` in the file, and adds it
 * to the index. */
LW_YIELDS void lw_sealer_seal(lw_env *env, lw_sealer *sealer, uint64_t written, lw_buffer *out,
                              lw_block_builder *index);

#endif
