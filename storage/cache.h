/* SPDX-License-Identifier: Apache-2.0 */
/* The block cache: checked, uncompressed blocks of tables, shared by all trees of a node, in what
 * the others leave of the memory budget (storage/budget.h), exact to the byte. A block is known by
 * (file number, offset); file numbers are never reused, so a block of a deleted file can never
 * answer for another (hazard S16). Eviction resists scans: a block enters on probation and is
 * protected only when it is used again. To find a block costs little, since nothing is moved: it is
 * only noted as used. */
#ifndef LW_CACHE_H
#define LW_CACHE_H

#include "storage/budget.h"

typedef struct lw_cache lw_cache;
typedef struct lw_cache_block lw_cache_block;
typedef struct lw_decompressor lw_decompressor;

/* Holds the budget, whose one cache this is. */
lw_cache *lw_cache_open(lw_memory *memory, lw_budget *budget);
void lw_cache_close(lw_cache *cache);
/* A shortcut: where a reader of a file remembers one of its blocks, so that it is found without a
 * search. NULL, or a block that the cache has; the cache clears it when it lets the block go. It
 * stays where it is until lw_cache_leave. */
typedef lw_cache_block *lw_cache_slot;
/* The block, pinned, or NULL. `slot` is this block's, or NULL. */
lw_cache_block *lw_cache_find(lw_cache *cache, uint64_t number, uint64_t offset,
                              lw_cache_slot *slot);
/* Empties slots, before they go. */
void lw_cache_leave(lw_cache_slot *slots, uint32_t count);
/* Bytes that a block of `size` bytes costs. */
size_t lw_cache_cost(size_t size);
/* A new pinned block of `size` bytes for the caller to fill; it can be found only after
 * lw_cache_publish. Evicts what is not pinned; passes the limit of the budget only where nothing is
 * left to evict. */
lw_cache_block *lw_cache_make(lw_cache *cache, uint64_t number, uint64_t offset, size_t size);
/* Makes a filled block findable. If another fiber published the same block meanwhile, that one is
 * returned, pinned, and this one is freed. `slot` as above. */
lw_cache_block *lw_cache_publish(lw_cache *cache, lw_cache_block *block, lw_cache_slot *slot);
uint8_t *lw_cache_block_data(lw_cache_block *block);
size_t lw_cache_block_size(const lw_cache_block *block);
/* An unpublished block is freed by this. */
void lw_cache_unpin(lw_cache *cache, lw_cache_block *block);
/* Forgets every block of a file. Pinned ones vanish when unpinned. */
void lw_cache_forget(lw_cache *cache, uint64_t number);

/* The scratch with which blocks are decompressed on their way into the cache; lives as long. */
lw_decompressor *lw_cache_decompressor(lw_cache *cache);

/* What the blocks are counted in: also for who reads them. */
lw_budget *lw_cache_budget(const lw_cache *cache);

typedef struct lw_cache_figures {
    size_t used, pinned; /* bytes */
    uint64_t hits, misses;
} lw_cache_figures;
void lw_cache_figures_get(const lw_cache *cache, lw_cache_figures *figures);

#endif
