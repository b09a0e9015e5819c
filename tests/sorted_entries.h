/* SPDX-License-Identifier: Apache-2.0 */
/* The simplest implementation of a block or a table: entries in a sorted array. Tests hold the real
 * ones against it. */
#ifndef LW_TESTS_SORTED_ENTRIES_H
#define LW_TESTS_SORTED_ENTRIES_H

#include "storage/block.h"
#include "tests/unit.h"

#include <stdlib.h>

typedef struct sorted_entries {
    lw_entry *list;
    size_t count;
} sorted_entries;

/* Shapes of keys that go wrong in one structure or another. */
typedef enum sorted_shape {
    SORTED_RANDOM,   /* any bytes, any size up to 12, so also empty and prefixes of each other */
    SORTED_VERSIONS, /* few keys, many versions each */
    SORTED_COMMON,   /* a long prefix in common */
    SORTED_ZEROS,    /* only the bytes 0 and 255 */
    SORTED_LARGE,    /* values that fill blocks on their own */
    SORTED_SHAPES,
} sorted_shape;

static inline lw_bytes sorted_key(lw_memory *memory, sorted_shape shape, uint64_t *chance) {
    uint8_t key[64];
    size_t size = 0;
    if (shape == SORTED_COMMON) {
        memcpy(key, "tenant/7/table/12/row/", 22);
        size = 22;
    }
    size_t more = shape == SORTED_VERSIONS ? 1 : (size_t)unit_random_below(chance, 13);
    for (size_t index = 0; index < more; index++) {
        uint8_t byte = (uint8_t)unit_random(chance);
        if (shape == SORTED_VERSIONS) {
            byte = 'a' + byte % 4;
        } else if (shape == SORTED_ZEROS) {
            byte = byte % 2 == 0 ? 0 : 255;
        }
        key[size++] = byte;
    }
    return lw_copy(memory, lw_view(key, size));
}

static inline int sorted_compare(const void *a, const void *b) {
    const lw_entry *left = a, *right = b;
    return lw_entry_compare(left->key, left->sequence, right->key, right->sequence);
}

/* Up to `count` entries, sorted, no (key, sequence) twice, made from the seed. */
static inline sorted_entries sorted_make(lw_memory *memory, sorted_shape shape, uint64_t seed,
                                         size_t count) {
    uint64_t chance = seed;
    sorted_entries made = {.list = lw_allocate(memory, count * sizeof(lw_entry))};
    for (size_t index = 0; index < count; index++) {
        lw_entry *entry = &made.list[index];
        *entry = (lw_entry){.key = sorted_key(memory, shape, &chance),
                            .sequence = unit_random(&chance),
                            .kind = LW_ENTRY_PUT};
        entry->sequence >>= unit_random_below(&chance, 64);
        if (unit_random_below(&chance, 5) == 0) {
            entry->kind = LW_ENTRY_DELETE;
            continue;
        }
        size_t size = (size_t)unit_random_below(&chance, shape == SORTED_LARGE ? 20000 : 40);
        uint8_t *value = lw_allocate(memory, size);
        memset(value, (int)unit_random_below(&chance, 256), size);
        entry->value = lw_view(value, size);
    }
    qsort(made.list, count, sizeof(lw_entry), sorted_compare);
    for (size_t index = 0; index < count; index++) {
        if (made.count == 0 || sorted_compare(&made.list[made.count - 1], &made.list[index]) != 0) {
            made.list[made.count++] = made.list[index];
        }
    }
    return made;
}

/* The index of the first entry at or after (key, sequence). */
static inline size_t sorted_seek(const sorted_entries *in, lw_bytes key, uint64_t sequence) {
    size_t index = 0;
    while (index < in->count &&
           lw_entry_compare(in->list[index].key, in->list[index].sequence, key, sequence) < 0) {
        index++;
    }
    return index;
}

/* That a cursor whose entry is `entry` stands on index `index`; beyond either end: on none. */
static inline void sorted_assert_at(const sorted_entries *in, size_t index, const lw_entry *entry) {
    if (index >= in->count) {
        assert_null(entry);
        return;
    }
    assert_non_null(entry);
    const lw_entry *wanted = &in->list[index];
    assert_true(lw_equal(entry->key, wanted->key));
    assert_true(entry->sequence == wanted->sequence);
    assert_int_equal(entry->kind, wanted->kind);
    assert_true(lw_equal(entry->value, wanted->value));
}

#endif
