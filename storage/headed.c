/* SPDX-License-Identifier: Apache-2.0 */
/* A radix sort, a byte of the heads at a time, from the last one on: each round deals the items out
 * to as many places as a byte has values, in the order in which it finds them. Bytes that all heads
 * share take no round. */
#include "storage/headed.h"

enum { HEAD_BYTES = sizeof(uint64_t), BYTE_VALUES = 256 };

typedef struct tally {
    uint32_t counts[HEAD_BYTES][BYTE_VALUES];
} tally;

static uint8_t byte_of(uint64_t head, uint32_t byte) {
    return (uint8_t)(head >> (8 * byte));
}

static void count_bytes(tally *of, const lw_headed *items, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        for (uint32_t byte = 0; byte < HEAD_BYTES; byte++) {
            of->counts[byte][byte_of(items[index].head, byte)]++;
        }
    }
}

/* Makes counts the places where the items of each value begin. */
static void become_places(uint32_t *counts) {
    uint32_t place = 0;
    for (uint32_t value = 0; value < BYTE_VALUES; value++) {
        uint32_t here = counts[value];
        counts[value] = place;
        place += here;
    }
}

void lw_headed_sort(lw_memory *memory, lw_headed *items, uint32_t count) {
    if (count < 2) {
        return;
    }
    tally *of = lw_allocate_zero(memory, sizeof(*of));
    lw_headed *other = lw_allocate(memory, count * sizeof(*other));
    lw_headed *from = items, *to = other;
    count_bytes(of, items, count);
    for (uint32_t byte = 0; byte < HEAD_BYTES; byte++) {
        uint32_t *places = of->counts[byte];
        if (places[byte_of(items[0].head, byte)] == count) {
            continue;
        }
        become_places(places);
        for (uint32_t index = 0; index < count; index++) {
            to[places[byte_of(from[index].head, byte)]++] = from[index];
        }
        lw_headed *dealt = to;
        to = from;
        from = dealt;
    }
    if (from != items) {
        memcpy(items, from, count * sizeof(*items));
    }
    lw_free(memory, other);
    lw_free(memory, of);
}
