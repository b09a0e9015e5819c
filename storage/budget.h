/* SPDX-License-Identifier: Apache-2.0 */
/* The memory budget of a store: one limit over everything whose size follows the data or the work,
 * in whatever tree. Whoever takes memory charges it to a part before, and gives it back after:
 *
 *   memtables   those that take writes, those being flushed, those that snapshots still read
 *   blocks      the block cache
 *   indexes     of open tables
 *   filters     of open tables
 *   buffers     tables being built, blocks on their way, read-ahead, large values being read, what
 *               the log has not written yet
 *
 * The cache has no share of its own: it has whatever nobody else needs, and gives it back at once.
 * The others have bounds, which whoever starts work keeps to before it starts:
 *
 *   memtables   lw_budget_for_memtables: three eighths of the limit, less where tables or work
 *               take more. Writers wait before they pass it (lw_tree_admit).
 *   tables      lw_budget_for_tables: three eighths of the limit for indexes and filters. Tables
 *               that nobody reads are closed before another one is opened beyond it.
 *   work        an eighth is left for buffers and for blocks that readers stand on.
 *
 * Invariants
 * G1. used is the sum of the parts, and never above the limit but by what had to be taken
 *     (lw_budget_charge) with nothing left in the cache to evict. lw_budget_take never passes it.
 * G2. Nothing here suspends, and nothing is freed but blocks of the cache: so charging is allowed
 *     anywhere.
 *
 * What is not counted: structs of trees, versions and tables that are not open (a few hundred bytes
 * each), stacks of fibers, and what the callers of a store hold themselves. */
#ifndef LW_BUDGET_H
#define LW_BUDGET_H

#include "base/bytes.h"
#include "base/status.h"

typedef enum lw_budget_part {
    LW_BUDGET_MEMTABLES,
    LW_BUDGET_BLOCKS,
    LW_BUDGET_INDEXES,
    LW_BUDGET_FILTERS,
    LW_BUDGET_BUFFERS,
    LW_BUDGET_PART_COUNT,
} lw_budget_part;

enum {
    LW_BUDGET_LIMIT_DEFAULT = 64 * 1024 * 1024,
    LW_BUDGET_ALLOCATION = 64, /* bytes that one allocation costs besides its own: to be charged for
                                  the many small ones */
};

typedef struct lw_budget {
    lw_memory *memory;
    uint32_t references;
    size_t limit, used;
    size_t used_max; /* since it was made */
    size_t parts[LW_BUDGET_PART_COUNT];
    size_t memtables_max; /* a bound of their own, or SIZE_MAX */
    size_t evictable;     /* bytes of blocks that can be given back at once; kept by the cache */
    uint64_t evicted;     /* bytes of blocks given back since it was made; kept by the cache */
    /* Evicts blocks until `used` and `size` fit the limit, or nothing is evictable. */
    void (*evict)(void *argument, size_t size);
    void *argument;
} lw_budget;

/* One reference, the caller's. */
lw_budget *lw_budget_make(lw_memory *memory, size_t limit);
void lw_budget_hold(lw_budget *budget);
/* With the last reference everything has been given back. */
void lw_budget_release(lw_budget *budget);
/* The cache says how it is told to give memory back; NULL: no more. */
void lw_budget_set_evict(lw_budget *budget, void (*evict)(void *argument, size_t size),
                         void *argument);
/* "memtables", "blocks", ... */
const char *lw_budget_part_name(lw_budget_part part);

/* ---- taking --------------------------------------------------------------------------------- */

/* Evicts, so that `size` more bytes fit as far as possible. */
static inline void lw_budget_prepare(lw_budget *budget, size_t size) {
    if (budget->used + size > budget->limit && budget->evict != NULL) {
        budget->evict(budget->argument, size);
    }
}
/* Takes what has to be taken, also beyond the limit: for work that gives memory back in the end (a
 * flush), or that was bounded before it began (the batch of an admitted write). */
static inline void lw_budget_charge(lw_budget *budget, lw_budget_part part, size_t size) {
    lw_budget_prepare(budget, size);
    budget->parts[part] += size;
    budget->used += size;
    budget->used_max = budget->used > budget->used_max ? budget->used : budget->used_max;
}
static inline void lw_budget_discharge(lw_budget *budget, lw_budget_part part, size_t size) {
    LW_ASSERT(budget->parts[part] >= size);
    budget->parts[part] -= size;
    budget->used -= size;
}
/* Takes it within the limit, or fails with LW_BACKPRESSURE, which says who has the memory; `what`
 * it is for: "the index of a table". */
LW_MUST_USE lw_status lw_budget_take(lw_budget *budget, lw_budget_part part, size_t size,
                                     const char *what);

/* Whether it could be taken now. */
LW_MUST_USE lw_status lw_budget_allow(const lw_budget *budget, size_t size, const char *what);

/* Memory whose size changes: a buffer that grows. Plain memory of the caller's. */
typedef struct lw_budget_share {
    lw_budget *budget; /* NULL: none, and nothing is counted */
    lw_budget_part part;
    size_t size; /* charged now */
} lw_budget_share;
static inline lw_budget_share lw_budget_share_in(lw_budget *budget, lw_budget_part part) {
    return (lw_budget_share){.budget = budget, .part = part};
}
/* Makes it `size` bytes: as lw_budget_charge for what is more. */
static inline void lw_budget_share_set(lw_budget_share *share, size_t size) {
    if (share->budget != NULL && size > share->size) {
        lw_budget_charge(share->budget, share->part, size - share->size);
    } else if (share->budget != NULL) {
        lw_budget_discharge(share->budget, share->part, share->size - size);
    }
    share->size = size;
}

/* Makes it `size` bytes, which is more: as lw_budget_take. */
LW_MUST_USE lw_status lw_budget_share_take(lw_budget_share *share, size_t size, const char *what);

/* ---- bounds --------------------------------------------------------------------------------- */

/* What may be taken now, after evicting whatever can be. */
size_t lw_budget_room(const lw_budget *budget);
/* Bytes that memtables, and indexes with filters, may come to now; see above. */
size_t lw_budget_for_memtables(const lw_budget *budget);
size_t lw_budget_for_tables(const lw_budget *budget);
static inline size_t lw_budget_of_tables(const lw_budget *budget) {
    return budget->parts[LW_BUDGET_INDEXES] + budget->parts[LW_BUDGET_FILTERS];
}
/* What of `wanted` bytes a single buffer may have: at least a page, at most 1/32 of the limit. */
size_t lw_budget_for_buffer(const lw_budget *budget, size_t wanted);

#endif
