/* SPDX-License-Identifier: Apache-2.0 */
/* From a reference in a table to the value in a value file. Single reads go through the block cache
 * if the value is small enough to be worth its room; a walk over many values reads ahead where they
 * stand side by side, and leaves the cache to others.
 *
 * Invariants
 * 1. A value is checked each time it comes from disk, and never shown before (W1).
 * 2. What one cursor reads ahead is bounded: AHEAD_WINDOWS windows of AHEAD_SIZE_MAX bytes, and the
 *    one value it stands on.
 * 3. Damage is the damage of one value: the next one can be read. */
#ifndef LW_VALUE_FETCH_H
#define LW_VALUE_FETCH_H

#include "storage/version.h"

/* Appends the value of an entry of kind LW_ENTRY_REFERENCE in `file`, which somebody holds. */
LW_MUST_USE LW_YIELDS lw_status lw_value_fetch(lw_table_file *file, lw_bytes key,
                                               lw_bytes reference, lw_buffer *value);
/* The same without a look at the cache: for whoever reads a value to write it again. */
LW_MUST_USE LW_YIELDS lw_status lw_value_fetch_uncached(lw_table_file *file, lw_bytes key,
                                                        lw_bytes reference, lw_buffer *value);

enum { LW_AHEAD_WINDOWS = 4 };

/* What is known of one value file that a walk has met. */
typedef struct lw_ahead_window {
    lw_shared_file *file; /* held; NULL: none */
    uint64_t first, last; /* the bytes of the value met last */
    uint64_t offset;      /* of `bytes` in the file */
    size_t ahead_size;    /* how much the next read takes */
    lw_buffer bytes;
    uint64_t used; /* when: the least lately used one is given up */
} lw_ahead_window;

typedef struct lw_ahead {
    lw_memory *memory;
    uint64_t clock;
    lw_ahead_window windows[LW_AHEAD_WINDOWS];
    lw_buffer value; /* one that is not in a window */
    lw_budget_share share;
} lw_ahead;

/* Its buffers are charged to the budget. */
lw_ahead *lw_ahead_open(lw_memory *memory, lw_budget *budget);
/* `ahead` may be NULL. */
void lw_ahead_close(lw_ahead *ahead);
/* The value of a reference, as a view until the next call. */
LW_MUST_USE LW_YIELDS lw_status lw_ahead_fetch(lw_ahead *ahead, lw_table_file *file, lw_bytes key,
                                               lw_bytes reference, lw_bytes *value);

#endif
