/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: eight bytes of a key as a number that sorts like them. Sorted arrays of keys keep them
 * apart from the keys, so that a search touches a few lines of numbers and then one key or two. */
#ifndef LW_HEADS_H
#define LW_HEADS_H

#include "base/bytes.h"

/* Up to eight bytes of `key` behind the first `shared_size`, which it has. Keys that differ only by
 * zeros at their end, or later, have equal heads. */
static inline uint64_t lw_head_of(lw_bytes key, size_t shared_size) {
    LW_ASSERT(key.size >= shared_size);
    size_t size = key.size - shared_size;
    if (size >= sizeof(uint64_t)) {
        return lw_get_u64_sorted(key.data + shared_size);
    }
    uint64_t head = 0;
    for (size_t index = 0; index < size; index++) {
        head |= (uint64_t)key.data[shared_size + index] << (56 - 8 * index);
    }
    return head;
}

/* The index of the first of `count` ascending heads that is not below `head`, found without
 * branches that the processor would guess wrong. */
static inline uint32_t lw_heads_search(const uint64_t *heads, uint32_t count, uint64_t head) {
    const uint64_t *base = heads;
    while (count > 1) {
        uint32_t half = count / 2;
        base += half & (0U - (uint32_t)(base[half - 1] < head)); /* gcc makes a branch of ?: */
        count -= half;
    }
    return (uint32_t)(base - heads) + (count == 1 && *base < head);
}

#endif
