/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of keys: see range.h. A lower bound of size 0 sorts before every key by itself; an upper
 * one has to be looked at. */
#include "storage/range.h"

static bool before_upper(lw_bytes key, lw_bytes upper) {
    return upper.size == 0 || lw_compare(key, upper) < 0;
}

/* Whether the upper bound `a` lies before the upper bound `b`. */
static bool ends_before(lw_bytes a, lw_bytes b) {
    return a.size > 0 && before_upper(a, b);
}

bool lw_range_has(const lw_key_range *range, lw_bytes key) {
    return lw_compare(key, range->lower) >= 0 && before_upper(key, range->upper);
}

bool lw_ranges_overlap(const lw_key_range *a, const lw_key_range *b) {
    return before_upper(b->lower, a->upper) && before_upper(a->lower, b->upper);
}

bool lw_range_cut(const lw_key_range *a, const lw_key_range *b, lw_key_range *shared) {
    if (!lw_ranges_overlap(a, b)) {
        return false;
    }
    shared->lower = lw_compare(a->lower, b->lower) >= 0 ? a->lower : b->lower;
    shared->upper = ends_before(a->upper, b->upper) ? a->upper : b->upper;
    return true;
}

/* ---- lists ---------------------------------------------------------------------------------- */

void lw_range_list_reset(lw_range_list *list) {
    lw_free(list->memory, list->ranges);
    *list = lw_range_list_in(list->memory);
}

void lw_range_list_add(lw_range_list *list, lw_key_range range) {
    lw_key_range *last = list->count == 0 ? NULL : &list->ranges[list->count - 1];
    LW_ASSERT(before_upper(range.lower, range.upper));
    LW_ASSERT(last == NULL || !before_upper(range.lower, last->upper));
    if (last != NULL && lw_equal(last->upper, range.lower)) {
        last->upper = range.upper;
        return;
    }
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 4 : 2 * list->capacity;
        list->ranges =
            lw_reallocate(list->memory, list->ranges, list->capacity * sizeof(list->ranges[0]));
    }
    list->ranges[list->count++] = range;
}

bool lw_ranges_valid(const lw_key_range *ranges, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        if (!before_upper(ranges[index].lower, ranges[index].upper) ||
            (index > 0 && (before_upper(ranges[index].lower, ranges[index - 1].upper) ||
                           lw_equal(ranges[index].lower, ranges[index - 1].upper)))) {
            return false;
        }
    }
    return count > 0;
}

bool lw_ranges_have(const lw_key_range *ranges, uint32_t count, lw_bytes key) {
    for (uint32_t index = 0; index < count; index++) {
        if (lw_range_has(&ranges[index], key)) {
            return true;
        }
    }
    return false;
}

bool lw_ranges_contain(const lw_key_range *ranges, uint32_t count, const lw_key_range *part) {
    for (uint32_t index = 0; index < count; index++) {
        if (lw_compare(ranges[index].lower, part->lower) <= 0 &&
            !ends_before(ranges[index].upper, part->upper)) {
            return true;
        }
    }
    return false;
}

/* What is left of one range. */
static void subtract_from(lw_key_range left, const lw_key_range *minus, uint32_t minus_count,
                          lw_range_list *list) {
    for (uint32_t index = 0; index < minus_count; index++) {
        if (!lw_ranges_overlap(&left, &minus[index])) {
            continue;
        }
        if (lw_compare(left.lower, minus[index].lower) < 0) {
            lw_range_list_add(list, (lw_key_range){left.lower, minus[index].lower});
        }
        if (!ends_before(minus[index].upper, left.upper)) {
            return;
        }
        left.lower = minus[index].upper;
    }
    lw_range_list_add(list, left);
}

void lw_ranges_subtract(const lw_key_range *ranges, uint32_t count, const lw_key_range *minus,
                        uint32_t minus_count, lw_range_list *list) {
    LW_ASSERT(list->count == 0);
    for (uint32_t index = 0; index < count; index++) {
        subtract_from(ranges[index], minus, minus_count, list);
    }
}

bool lw_ranges_join(const lw_key_range *a, uint32_t a_count, const lw_key_range *b,
                    uint32_t b_count, lw_range_list *list) {
    LW_ASSERT(list->count == 0);
    for (uint32_t index = 0; index < b_count; index++) {
        for (uint32_t other = 0; other < a_count; other++) {
            if (lw_ranges_overlap(&a[other], &b[index])) {
                return false;
            }
        }
    }
    while (a_count > 0 || b_count > 0) {
        bool first = b_count == 0 || (a_count > 0 && lw_compare(a->lower, b->lower) < 0);
        lw_range_list_add(list, first ? *a : *b);
        a += first;
        a_count -= first;
        b += !first;
        b_count -= !first;
    }
    return true;
}
