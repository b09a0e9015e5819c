/* SPDX-License-Identifier: Apache-2.0 */
/* The block cache: a segmented LRU (Karedla, Love and Wherry, 1994) whose segments are clocks: a
 * use leaves a note on the block, and only eviction, when it comes to the oldest, moves it because
 * of that. So a hit writes to one line of memory, which is read anyway.
 *
 * Invariants
 * C1. used = the sizes of all blocks with their headers, as the budget counts them; of these
 *     budget->evictable = used - pinned. The budget is kept, unless what cannot be evicted exceeds
 *     it.
 * C2. A block is in one of the two rings exactly while it is published and not forgotten. Eviction
 *     passes pinned ones by.
 * C3. Published blocks that are not forgotten are in the map and in the list of their file; at most
 *     one block of a (number, offset) is.
 * C4. Before anything is evicted, protected blocks are cut back to four fifths of what the cache
 *     may have: what is new always finds room to prove itself.
 * C5. The slot of a block points to it; it has none when it is not in the map. */
#include "storage/cache.h"

#include "base/hash.h"
#include "storage/compress.h"

typedef struct ring {
    struct ring *next, *previous;
} ring;

struct lw_cache_block {
    lw_map_node node;
    ring order;              /* in probation or protected (C2) */
    ring of_file;            /* in cache_file.blocks (C3) */
    struct cache_file *file; /* NULL: unpublished or forgotten */
    lw_cache_slot *slot;     /* or NULL (C5) */
    uint64_t number, offset;
    size_t size;
    uint32_t pin_count;
    bool is_protected;
    bool used; /* again, since it came to where it is in its ring */
    _Alignas(16) uint8_t data[];
};

enum {
    SECOND_CHANCES = 32
}; /* blocks that one eviction passes by at most because they were used */

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
static void evict_one(lw_cache *cache, uint32_t *chances);

size_t lw_cache_cost(size_t size) {
    return LW_BUDGET_ALLOCATION + sizeof(lw_cache_block) + size;
}

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
    uint32_t chances = 0;
    while (cache->used > 0) {
        evict_one(cache, &chances);
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

/* Gives a block the slot, if it has none yet. */
static void take_slot(lw_cache_block *block, lw_cache_slot *slot) {
    if (slot != NULL && block->slot == NULL) {
        block->slot = slot;
        *slot = block;
    }
}

lw_cache_block *lw_cache_find(lw_cache *cache, uint64_t number, uint64_t offset,
                              lw_cache_slot *slot) {
    lw_cache_block *found = slot != NULL ? *slot : NULL;
    if (found == NULL) {
        found = find_block(cache, number, offset);
        if (found == NULL) {
            cache->misses++;
            return NULL;
        }
        take_slot(found, slot);
    }
    LW_ASSERT(found->number == number && found->offset == offset);
    cache->hits++;
    pin(cache, found);
    found->used = true;
    return found;
}

void lw_cache_leave(lw_cache_slot *slots, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        if (slots[index] != NULL) {
            slots[index]->slot = NULL;
            slots[index] = NULL;
        }
    }
}

lw_cache_block *lw_cache_make(lw_cache *cache, uint64_t number, uint64_t offset, size_t size) {
    size_t cost = lw_cache_cost(size);
    lw_budget_charge(cache->budget, LW_BUDGET_BLOCKS, cost);
    lw_cache_block *made = lw_allocate(cache->memory, sizeof(*made) + size);
    *made = (lw_cache_block){.number = number, .offset = offset, .size = size, .pin_count = 1};
    ring_init(&made->order);
    ring_init(&made->of_file);
    cache->used += cost;
    cache->pinned += cost;
    return made;
}

lw_cache_block *lw_cache_publish(lw_cache *cache, lw_cache_block *block, lw_cache_slot *slot) {
    LW_ASSERT(block->pin_count == 1);
    LW_ASSERT(block->file == NULL);
    lw_cache_block *earlier = find_block(cache, block->number, block->offset);
    if (earlier != NULL) {
        pin(cache, earlier);
        take_slot(earlier, slot);
        lw_cache_unpin(cache, block);
        return earlier;
    }
    attach(cache, block);
    take_slot(block, slot);
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
    size_t cost = lw_cache_cost(block->size);
    LW_ASSERT(cache->pinned >= cost);
    cache->pinned -= cost;
    cache->budget->evictable += cost;
    if (block->file == NULL) {
        release(cache, block);
    } else {
        lw_budget_prepare(cache->budget, 0);
    }
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

static void pin(lw_cache *cache, lw_cache_block *block) {
    if (block->pin_count++ == 0) {
        cache->pinned += lw_cache_cost(block->size);
        cache->budget->evictable -= lw_cache_cost(block->size);
    }
}

/* Into one of the rings, as its newest. */
static void enter_ring(lw_cache *cache, lw_cache_block *block, bool is_protected) {
    block->is_protected = is_protected;
    block->used = false;
    ring_push(is_protected ? &cache->protected : &cache->probation, &block->order);
    cache->protected_size += is_protected ? lw_cache_cost(block->size) : 0;
}

static void leave_ring(lw_cache *cache, lw_cache_block *block) {
    ring_take(&block->order);
    cache->protected_size -= block->is_protected ? lw_cache_cost(block->size) : 0;
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
    enter_ring(cache, block, false);
    lw_map_insert(&cache->blocks, &block->node, hash_of(block->number, block->offset));
}

/* Makes a block impossible to find, and takes it out of its ring. */
static void detach(lw_cache *cache, lw_cache_block *block) {
    cache_file *file = block->file;
    LW_ASSERT(file != NULL);
    lw_map_remove(&cache->blocks, &block->node);
    ring_take(&block->of_file);
    leave_ring(cache, block);
    block->file = NULL;
    if (block->slot != NULL) {
        *block->slot = NULL;
        block->slot = NULL;
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
    size_t cost = lw_cache_cost(block->size);
    LW_ASSERT(cache->budget->evictable >= cost);
    cache->used -= cost;
    cache->budget->evictable -= cost;
    lw_budget_discharge(cache->budget, LW_BUDGET_BLOCKS, cost);
    lw_free(cache->memory, block);
}

/* Sends the oldest protected ones back to probation, where they are the next to go, but for those
 * that were used meanwhile (C4). */
static void demote(lw_cache *cache, uint32_t *chances) {
    size_t room = lw_budget_room(cache->budget);
    while (cache->protected_size > room / 5 * 4) {
        lw_cache_block *oldest = RING_ENTRY(cache->protected.previous, lw_cache_block, order);
        bool again = oldest->used && *chances > 0;
        *chances -= again;
        leave_ring(cache, oldest);
        enter_ring(cache, oldest, again);
        if (!again) {
            ring_take(&oldest->order);
            ring_push(cache->probation.previous, &oldest->order);
        }
    }
}

/* The oldest of a ring that is neither pinned nor was used again; those that were are protected. */
static lw_cache_block *oldest_unused(lw_cache *cache, const ring *of, uint32_t *chances) {
    for (ring *at = of->previous, *newer; at != of; at = newer) {
        lw_cache_block *block = RING_ENTRY(at, lw_cache_block, order);
        newer = at->previous;
        if (block->pin_count > 0) {
            continue;
        }
        bool last = newer == of && block->is_protected;
        if (!block->used || *chances == 0 || last) {
            return block;
        }
        --*chances;
        leave_ring(cache, block);
        enter_ring(cache, block, true);
    }
    return NULL;
}

static void evict_one(lw_cache *cache, uint32_t *chances) {
    demote(cache, chances);
    lw_cache_block *going = oldest_unused(cache, &cache->probation, chances);
    going = going != NULL ? going : oldest_unused(cache, &cache->protected, chances);
    LW_ASSERT(going != NULL);
    cache->budget->evicted += lw_cache_cost(going->size);
    detach(cache, going);
    release(cache, going);
}

/* Makes room for `size` bytes within the budget, as far as blocks are not pinned. */
static void evict(void *argument, size_t size) {
    lw_cache *cache = argument;
    uint32_t chances = SECOND_CHANCES;
    while (cache->budget->used + size > cache->budget->limit && cache->used > cache->pinned) {
        evict_one(cache, &chances);
    }
}
