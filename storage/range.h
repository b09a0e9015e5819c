/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of keys, and lists of them: what trees hold and what of a table is to be seen. Pure; keys
 * are views that the caller keeps.
 *
 * A list is ascending, and its ranges neither overlap nor touch: so there is one list for each set
 * of keys. A shard's keys may lie in several ranges of a tree, one for each kind of record. */
#ifndef LW_RANGE_H
#define LW_RANGE_H

#include "storage/table.h"

bool lw_range_has(const lw_key_range *range, lw_bytes key);
bool lw_ranges_overlap(const lw_key_range *a, const lw_key_range *b);
/* What two ranges share; false if nothing. */
LW_MUST_USE bool lw_range_cut(const lw_key_range *a, const lw_key_range *b, lw_key_range *shared);

typedef struct lw_range_list {
    lw_memory *memory;
    lw_key_range *ranges;
    uint32_t count, capacity;
} lw_range_list;

static inline lw_range_list lw_range_list_in(lw_memory *memory) {
    return (lw_range_list){.memory = memory};
}
void lw_range_list_reset(lw_range_list *list);
/* Appends a range that lies behind all others; one that touches the last becomes one with it. */
void lw_range_list_add(lw_range_list *list, lw_key_range range);

/* Whether this could be a list, and holds at least one range. */
bool lw_ranges_valid(const lw_key_range *ranges, uint32_t count);
bool lw_ranges_have(const lw_key_range *ranges, uint32_t count, lw_bytes key);
/* Whether every key of `part` lies in the list. */
bool lw_ranges_contain(const lw_key_range *ranges, uint32_t count, const lw_key_range *part);
/* Adds to `list`, which is empty, what is in `ranges` and not in `minus`. */
void lw_ranges_subtract(const lw_key_range *ranges, uint32_t count, const lw_key_range *minus,
                        uint32_t minus_count, lw_range_list *list);
/* Adds to `list`, which is empty, what is in one of two lists. False if they overlap. */
LW_MUST_USE bool lw_ranges_join(const lw_key_range *a, uint32_t a_count, const lw_key_range *b,
                                uint32_t b_count, lw_range_list *list);

#endif
