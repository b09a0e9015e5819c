/* SPDX-License-Identifier: Apache-2.0 */
/* The memory budget: sums, and how the limit is divided. See budget.h. */
#include "storage/budget.h"

enum {
    BUFFER_PART = 32, /* of the limit, that a single buffer may have */
    BUFFER_SIZE_MIN = 4096,
};

lw_budget *lw_budget_make(lw_memory *memory, size_t limit) {
    lw_budget *made = lw_allocate_zero(memory, sizeof(*made));
    made->memory = memory;
    made->references = 1;
    made->limit = limit;
    made->memtables_max = SIZE_MAX;
    return made;
}

void lw_budget_hold(lw_budget *budget) {
    budget->references++;
}

void lw_budget_release(lw_budget *budget) {
    LW_ASSERT(budget->references > 0);
    if (--budget->references == 0) {
        LW_ASSERT(budget->used == 0);
        lw_free(budget->memory, budget);
    }
}

void lw_budget_set_evict(lw_budget *budget, void (*evict)(void *argument, size_t size),
                         void *argument) {
    LW_ASSERT(evict == NULL || budget->evict == NULL); /* there is one cache */
    budget->evict = evict;
    budget->argument = argument;
}

const char *lw_budget_part_name(lw_budget_part part) {
    static const char *const names[] = {
        [LW_BUDGET_MEMTABLES] = "memtables", [LW_BUDGET_BLOCKS] = "blocks",
        [LW_BUDGET_INDEXES] = "indexes",     [LW_BUDGET_FILTERS] = "filters",
        [LW_BUDGET_BUFFERS] = "buffers",
    };
    LW_ASSERT(part < LW_BUDGET_PART_COUNT);
    return names[part];
}

/* What is taken and cannot be evicted. */
static size_t firm(const lw_budget *budget) {
    LW_ASSERT(budget->evictable <= budget->parts[LW_BUDGET_BLOCKS]);
    return budget->used - budget->evictable;
}

size_t lw_budget_room(const lw_budget *budget) {
    size_t taken = firm(budget);
    return budget->limit > taken ? budget->limit - taken : 0;
}

lw_status lw_budget_allow(const lw_budget *budget, size_t size, const char *what) {
    if (size > lw_budget_room(budget)) {
        const size_t *parts = budget->parts;
        return lw_fail(LW_BACKPRESSURE,
                       "%zu bytes for %s are more than is left of the memory budget of %zu bytes: "
                       "memtables have %zu, blocks being read %zu, indexes and filters %zu, "
                       "buffers %zu; try again later, or give the node more with --memory",
                       size, what, budget->limit, parts[LW_BUDGET_MEMTABLES],
                       parts[LW_BUDGET_BLOCKS] - budget->evictable, lw_budget_of_tables(budget),
                       parts[LW_BUDGET_BUFFERS]);
    }
    return LW_OK;
}

lw_status lw_budget_take(lw_budget *budget, lw_budget_part part, size_t size, const char *what) {
    LW_TRY(lw_budget_allow(budget, size, what));
    lw_budget_charge(budget, part, size);
    LW_ASSERT(budget->used <= budget->limit);
    return LW_OK;
}

lw_status lw_budget_share_take(lw_budget_share *share, size_t size, const char *what) {
    LW_ASSERT(size >= share->size);
    LW_TRY(lw_budget_take(share->budget, share->part, size - share->size, what));
    share->size = size;
    return LW_OK;
}

size_t lw_budget_for_memtables(const lw_budget *budget) {
    size_t limit = budget->limit;
    size_t work = firm(budget) - budget->parts[LW_BUDGET_MEMTABLES] - lw_budget_of_tables(budget);
    work = work > limit / 8 ? work : limit / 8;
    size_t others = work + lw_budget_of_tables(budget);
    size_t rest = limit > others ? limit - others : 0;
    /* However much the others have: without any memtables nothing would be written, ever. */
    rest = rest > limit / 8 ? rest : limit / 8;
    rest = rest < limit / 8 * 3 ? rest : limit / 8 * 3;
    return rest < budget->memtables_max ? rest : budget->memtables_max;
}

size_t lw_budget_for_tables(const lw_budget *budget) {
    return budget->limit / 8 * 3;
}

size_t lw_budget_for_buffer(const lw_budget *budget, size_t wanted) {
    size_t most = budget->limit / BUFFER_PART;
    most = most > BUFFER_SIZE_MIN ? most : BUFFER_SIZE_MIN;
    return wanted < most ? wanted : most;
}
