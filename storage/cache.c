/* SPDX-License-Identifier: Apache-2.0 */
/* The block cache: a segmented LRU (Karedla, Love and Wherry, 1994).
 *
 * Invariants
 * C1. used = the sizes of all blocks with their headers, as the budget counts them; of these
 *     budget->evictable = used - pinned. The budget is kept, unless what cannot be evicted exceeds
 *     it.
 * C2. A block is in one of the two rings exactly while it is published, not forgotten and not
 *     pinned: so eviction takes the oldest of a ring and never has to look for one.
 * C3. Published blocks that are not forgotten are in the map and in the list of their file; at most
 *     one block of a (number, offset) is.
 * C4. Protected blocks in the ring hold at most four fifths of what the cache may have: what is new
 *     always finds room to prove itself. */
#include "storage/cache.h"

#include "base/hash.h"
#include "base/map.h"
#include "storage/compress.h"

typedef struct ring {
    struct ring *next, *previous;
} ring;

struct lw_cache_block {
    lw_map_node node;
    ring order;              /* in probation or protected (C2) */
    ring of_file;            /* in cache_file.blocks (C3) */
    struct cache_file *file; /* NULL: unpublished or forgotten */
    uint64_t number, offset;
    size_t size;
    uint32_t pin_count;
    bool is_protected;
    _Alignas(16) uint8_t data[];
};

/* The published blocks of one file, so that forgetting it does not walk the cache. */
typedef struct cache_file {
    lw_map_node node;
    uint64_t number;
    ring blocks;
} cache_file;

struct lw_cache {
    lw_memory *memory;
    lw_budget *budget;
    size_t used, pinned;
    size_t protected_size; /* of the blocks in the ring `protected` */
    uint64_t hits, misses;
    ring probation, protected; /* newest first */
    lw_map blocks, files;
    lw_decompressor *decompressor;
};

#define RING_ENTRY(at, type, member) ((type *)(void *)((char *)(at)-offsetof(type, member)))

static lw_cache_block *find_block(const lw_cache *cache, uint64_t number, uint64_t offset);
static void pin(lw_cache *cache, lw_cache_block *block);
static void attach(lw_cache *cache, lw_cache_block *block);
static void detach(lw_cache *cache, lw_cache_block *block);
static void release(lw_cache *cache, lw_cache_block *block);
static void evict(void *argument, size_t size);
static void evict_oldest(lw_cache *cache);

/* Bytes that a block costs. */
static size_t cost_of(size_t size) {
    return LW_BUDGET_ALLOCATION + sizeof(lw_cache_block) + size;
}

static bool has_evictable(const lw_cache *cache);

/* ---- rings ----------------------------------------------------------------------------------- */

static void ring_init(ring *of) {
    of->next = of->previous = of;
}

static bool ring_empty(const ring *of) {
    return of->next == of;
}

static void ring_push(ring *of, ring *added) {
    added->next = of->next;
    added->previous = of;
    of->next->previous = added;
    of->next = added;
}

static void ring_take(ring *taken) {
    taken->next->previous = taken->previous;
    taken->previous->next = taken->next;
    ring_init(taken);
}

/* ---- the cache ------------------------------------------------------------------------------- */

lw_cache *lw_cache_open(lw_memory *memory, lw_budget *budget) {
    lw_cache *cache = lw_allocate_zero(memory, sizeof(*cache));
    cache->memory = memory;
    cache->budget = budget;
    lw_budget_hold(budget);
    lw_budget_set_evict(budget, evict, cache);
    cache->blocks = lw_map_in(memory);
    cache->files = lw_map_in(memory);
    cache->decompressor = lw_decompressor_open(memory);
    ring_init(&cache->probation);
    ring_init(&cache->protected);
    return cache;
}

void lw_cache_close(lw_cache *cache) {
    LW_ASSERT(cache->pinned == 0);
    while (has_evictable(cache)) {
        evict_oldest(cache);
    }
    LW_ASSERT(cache->used == 0);
    lw_budget_set_evict(cache->budget, NULL, NULL);
    lw_budget_release(cache->budget);
    LW_ASSERT(cache->files.count == 0);
    lw_map_reset(&cache->blocks);
    lw_map_reset(&cache->files);
    lw_decompressor_close(cache->decompressor);
    lw_free(cache->memory, cache);
}

lw_decompressor *lw_cache_decompressor(lw_cache *cache) {
    return cache->decompressor;
}

lw_budget *lw_cache_budget(const lw_cache *cache) {
    return cache->budget;
}

lw_cache_block *lw_cache_find(lw_cache *cache, uint64_t number, uint64_t offset) {
    lw_cache_block *found = find_block(cache, number, offset);
    if (found == NULL) {
        cache->misses++;
        return NULL;
    }
    cache->hits++;
    pin(cache, found);
    found->is_protected = true;
    return found;
}

lw_cache_block *lw_cache_make(lw_cache *cache, uint64_t number, uint64_t offset, size_t size) {
    size_t cost = cost_of(size);
    lw_budget_charge(cache->budget, LW_BUDGET_BLOCKS, cost);
    lw_cache_block *made = lw_allocate(cache->memory, sizeof(*made) + size);
    *made = (lw_cache_block){.number = number, .offset = offset, .size = size, .pin_count = 1};
    ring_init(&made->order);
    ring_init(&made->of_file);
    cache->used += cost;
    cache->pinned += cost;
    return made;
}

lw_cache_block *lw_cache_publish(lw_cache *cache, lw_cache_block *block) {
    LW_ASSERT(block->pin_count == 1);
    LW_ASSERT(block->file == NULL);
    lw_cache_block *earlier = find_block(cache, block->number, block->offset);
    if (earlier != NULL) {
        pin(cache, earlier);
        lw_cache_unpin(cache, block);
        return earlier;
    }
    attach(cache, block);
    return block;
}

uint8_t *lw_cache_block_data(lw_cache_block *block) {
    return block->data;
}

size_t lw_cache_block_size(const lw_cache_block *block) {
    return block->size;
}

void lw_cache_unpin(lw_cache *cache, lw_cache_block *block) {
    LW_ASSERT(block->pin_count > 0);
    if (--block->pin_count > 0) {
        return;
    }
    size_t cost = cost_of(block->size);
    LW_ASSERT(cache->pinned >= cost);
    cache->pinned -= cost;
    cache->budget->evictable += cost;
    if (block->file == NULL) {
        release(cache, block);
        return;
    }
    if (block->is_protected) {
        ring_push(&cache->protected, &block->order);
        cache->protected_size += cost;
    } else {
        ring_push(&cache->probation, &block->order);
    }
    size_t room = lw_budget_room(cache->budget);
    while (cache->protected_size > room / 5 * 4) {
        lw_cache_block *oldest = RING_ENTRY(cache->protected.previous, lw_cache_block, order);
        ring_take(&oldest->order);
        ring_push(&cache->probation, &oldest->order);
        oldest->is_protected = false;
        cache->protected_size -= cost_of(oldest->size);
    }
    lw_budget_prepare(cache->budget, 0);
}

static cache_file *find_file(const lw_cache *cache, uint64_t number) {
    lw_map_node *node = lw_map_first(&cache->files, lw_mix(number));
    while (node != NULL && LW_MAP_ENTRY(node, cache_file, node)->number != number) {
        node = lw_map_next(node);
    }
    return node != NULL ? LW_MAP_ENTRY(node, cache_file, node) : NULL;
}

void lw_cache_forget(lw_cache *cache, uint64_t number) {
    cache_file *file;
    /* Detaching the last block frees the file. */
    while ((file = find_file(cache, number)) != NULL) {
        lw_cache_block *block = RING_ENTRY(file->blocks.next, lw_cache_block, of_file);
        detach(cache, block);
        if (block->pin_count == 0) {
            release(cache, block);
        }
    }
}

void lw_cache_figures_get(const lw_cache *cache, lw_cache_figures *figures) {
    *figures = (lw_cache_figures){
        .used = cache->used, .pinned = cache->pinned, .hits = cache->hits, .misses = cache->misses};
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static uint64_t hash_of(uint64_t number, uint64_t offset) {
    return lw_mix(number ^ lw_mix(offset));
}

static lw_cache_block *find_block(const lw_cache *cache, uint64_t number, uint64_t offset) {
    lw_map_node *node = lw_map_first(&cache->blocks, hash_of(number, offset));
    for (; node != NULL; node = lw_map_next(node)) {
        lw_cache_block *block = LW_MAP_ENTRY(node, lw_cache_block, node);
        if (block->number == number && block->offset == offset) {
            return block;
        }
    }
    return NULL;
}

/* Takes an unpinned block out of its ring. */
static void take_from_ring(lw_cache *cache, lw_cache_block *block) {
    LW_ASSERT(block->pin_count == 0);
    ring_take(&block->order);
    if (block->is_protected) {
        LW_ASSERT(cache->protected_size >= cost_of(block->size));
        cache->protected_size -= cost_of(block->size);
    }
}

static void pin(lw_cache *cache, lw_cache_block *block) {
    if (block->pin_count == 0) {
        take_from_ring(cache, block);
        cache->pinned += cost_of(block->size);
        cache->budget->evictable -= cost_of(block->size);
    }
    block->pin_count++;
}

/* Makes a block findable. */
static void attach(lw_cache *cache, lw_cache_block *block) {
    cache_file *file = find_file(cache, block->number);
    if (file == NULL) {
        file = lw_allocate(cache->memory, sizeof(*file));
        file->number = block->number;
        ring_init(&file->blocks);
        lw_map_insert(&cache->files, &file->node, lw_mix(file->number));
    }
    block->file = file;
    ring_push(&file->blocks, &block->of_file);
    lw_map_insert(&cache->blocks, &block->node, hash_of(block->number, block->offset));
}

/* Makes a block impossible to find, and takes it out of its ring. */
static void detach(lw_cache *cache, lw_cache_block *block) {
    cache_file *file = block->file;
    LW_ASSERT(file != NULL);
    lw_map_remove(&cache->blocks, &block->node);
    ring_take(&block->of_file);
    block->file = NULL;
    if (block->pin_count == 0) {
        take_from_ring(cache, block);
    }
    if (ring_empty(&file->blocks)) {
        lw_map_remove(&cache->files, &file->node);
        lw_free(cache->memory, file);
    }
}

static void release(lw_cache *cache, lw_cache_block *block) {
    LW_ASSERT(block->pin_count == 0);
    LW_ASSERT(block->file == NULL);
    LW_ASSERT(ring_empty(&block->order));
    size_t cost = cost_of(block->size);
    LW_ASSERT(cache->budget->evictable >= cost);
    cache->used -= cost;
    cache->budget->evictable -= cost;
    lw_budget_discharge(cache->budget, LW_BUDGET_BLOCKS, cost);
    lw_free(cache->memory, block);
}

static bool has_evictable(const lw_cache *cache) {
    return !ring_empty(&cache->probation) || !ring_empty(&cache->protected);
}

static void evict_oldest(lw_cache *cache) {
    ring *from = !ring_empty(&cache->probation) ? &cache->probation : &cache->protected;
    lw_cache_block *oldest = RING_ENTRY(from->previous, lw_cache_block, order);
    cache->budget->evicted += cost_of(oldest->size);
    detach(cache, oldest);
    release(cache, oldest);
}

/* Makes room for `size` bytes within the budget, as far as blocks are not pinned. */
static void evict(void *argument, size_t size) {
    lw_cache *cache = argument;
    while (cache->budget->used + size > cache->budget->limit && has_evictable(cache)) {
        evict_oldest(cache);
    }
}
