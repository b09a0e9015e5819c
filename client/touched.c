/* SPDX-License-Identifier: Apache-2.0 */
#include "client/touched.h"

/* Halves the ranges, each becoming one with the next. */
static void merge(lw_touched *touched) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < touched->count; index += 2) {
        uint32_t last = index + 1 < touched->count ? index + 1 : index;
        touched->ranges[count++] = (lw_seen_range){.lower = touched->ranges[index].lower,
                                                   .upper = touched->ranges[last].upper};
    }
    touched->count = count;
}

/* The first range that does not end at or before the key. */
static uint32_t place_of(const lw_touched *touched, lw_bytes key) {
    uint32_t low = 0, high = touched->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lw_compare(touched->ranges[middle].upper, key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool lw_touched_holds(const lw_touched *touched, lw_bytes key) {
    uint32_t place = place_of(touched, key);
    return place < touched->count && lw_compare(touched->ranges[place].lower, key) <= 0;
}

void lw_touched_add(lw_touched *touched, lw_arena *arena, lw_bytes first, lw_bytes last) {
    if (touched->ranges == NULL) {
        touched->ranges =
            lw_arena_allocate(arena, (LW_TOUCHED_COUNT_MAX + 1) * sizeof(lw_seen_range));
    }
    uint8_t *behind = lw_arena_allocate(arena, last.size + 1);
    memcpy(behind, last.data, last.size);
    behind[last.size] = 0;
    lw_seen_range made = {.lower = lw_arena_copy(arena, first),
                          .upper = lw_view(behind, last.size + 1)};
    uint32_t place = 0, end;
    while (place < touched->count && lw_compare(touched->ranges[place].upper, made.lower) < 0) {
        place++;
    }
    for (end = place;
         end < touched->count && lw_compare(touched->ranges[end].lower, made.upper) <= 0; end++) {
        const lw_seen_range *met = &touched->ranges[end];
        made.lower = lw_compare(met->lower, made.lower) < 0 ? met->lower : made.lower;
        made.upper = lw_compare(met->upper, made.upper) > 0 ? met->upper : made.upper;
    }
    memmove(&touched->ranges[place + 1], &touched->ranges[end],
            (touched->count - end) * sizeof(lw_seen_range));
    touched->ranges[place] = made;
    touched->count = touched->count - (end - place) + 1;
    if (touched->count > LW_TOUCHED_COUNT_MAX) {
        merge(touched);
    }
}
