/* SPDX-License-Identifier: Apache-2.0 */
/* Reading one entry of a block, for block.c and block_search.c: the format is at the head of
 * block.h. Every step of every scan and search comes through here, so the usual sizes are read
 * without loops and with one look at where the block ends. */
#ifndef LW_BLOCK_ENTRY_H
#define LW_BLOCK_ENTRY_H

#include "storage/block.h"

enum {
    LW_BLOCK_REFERENCE_FLAG = 1 << 27,                       /* in the size of a value */
    LW_BLOCK_HEAD_SIZE_MAX = 3 + 3 + LW_VARINT_SIZE_MAX + 4, /* bytes before the key, at most */
};
_Static_assert((int)LW_TREE_VALUE_SIZE_MAX < (int)LW_BLOCK_REFERENCE_FLAG, "no value is so long");

/* What stands before the bytes of an entry. */
struct lw_block_head {
    uint64_t shared_size, unshared_size, sequence, value_size;
    lw_entry_kind kind;
    const uint8_t *unshared; /* the value follows */
};

/* Takes a varint of which the first LW_VARINT_SIZE_MAX bytes can be read, wherever it ends. */
static inline bool lw_block_take_quick(const uint8_t **at, uint64_t *value) {
    const uint8_t *from = *at;
    if (__builtin_expect(from[0] < 0x80, 1)) {
        *value = from[0];
        *at = from + 1;
        return true;
    }
    uint32_t word;
    memcpy(&word, from, sizeof(word));
    uint32_t ends = ~word & 0x80808080U;
    if (__builtin_expect(ends != 0, 1)) {
        /* The sizes of sequences change from entry to entry: no branch depends on them. */
        uint32_t last = (uint32_t)__builtin_ctz(ends); /* the highest bit of the last byte */
        word &= UINT32_MAX >> (31 - last);
        *value =
            (word & 0x7f) | (word >> 1 & 0x3f80) | (word >> 2 & 0x1fc000) | (word >> 3 & 0xfe00000);
        *at = from + last / 8 + 1;
        return (word >> (last - 7)) != 0; /* the shortest form only */
    }
    lw_bytes rest = lw_view(from, LW_VARINT_SIZE_MAX);
    bool taken = lw_take_varint(&rest, value);
    *at = rest.data;
    return taken;
}

static inline bool lw_block_take_careful(const uint8_t **at, const uint8_t *end, uint64_t *value) {
    lw_bytes rest = lw_view(*at, (size_t)(end - *at));
    bool taken = lw_take_varint(&rest, value);
    *at = rest.data;
    return taken;
}

/* The numbers of a head, wherever the block ends; a delete has no size of a value. */
static inline bool lw_block_take_numbers(const uint8_t **at, const uint8_t *end,
                                         lw_block_head *head, uint64_t *unshared) {
    head->value_size = 0;
    if (__builtin_expect(end - *at >= LW_BLOCK_HEAD_SIZE_MAX + LW_VARINT_SIZE_MAX, 1)) {
        return lw_block_take_quick(at, &head->shared_size) && lw_block_take_quick(at, unshared) &&
               head->shared_size <= LW_TREE_KEY_SIZE_MAX &&
               *unshared <= 2 * LW_TREE_KEY_SIZE_MAX + 1 &&
               lw_block_take_quick(at, &head->sequence) &&
               ((*unshared & 1) != 0 || lw_block_take_quick(at, &head->value_size));
    }
    return lw_block_take_careful(at, end, &head->shared_size) &&
           lw_block_take_careful(at, end, unshared) &&
           lw_block_take_careful(at, end, &head->sequence) &&
           ((*unshared & 1) != 0 || lw_block_take_careful(at, end, &head->value_size));
}

/* Reads the head at `offset`, and makes sure that the whole entry lies in the block. */
static inline bool lw_block_head_read(const lw_block *block, uint32_t offset, lw_block_head *head) {
    const uint8_t *at = block->bytes + offset, *end = block->bytes + block->entries_size;
    uint64_t unshared;
    if (!lw_block_take_numbers(&at, end, head, &unshared)) {
        return false;
    }
    head->kind = (unshared & 1) != 0 ? LW_ENTRY_DELETE : LW_ENTRY_PUT;
    head->unshared_size = unshared >> 1;
    if ((head->value_size & LW_BLOCK_REFERENCE_FLAG) != 0) {
        head->kind = LW_ENTRY_REFERENCE;
        head->value_size ^= LW_BLOCK_REFERENCE_FLAG;
    }
    head->unshared = at;
    size_t left = (size_t)(end - at);
    return head->unshared_size <= left && head->value_size <= left - head->unshared_size &&
           head->shared_size <= LW_TREE_KEY_SIZE_MAX &&
           head->unshared_size <= LW_TREE_KEY_SIZE_MAX - head->shared_size &&
           head->value_size <= LW_TREE_VALUE_SIZE_MAX;
}

static inline size_t lw_block_key_size(const lw_block_head *head) {
    return head->shared_size + head->unshared_size;
}
/* Where the next entry begins, or entries_size. */
static inline uint32_t lw_block_end_of(const lw_block *block, const lw_block_head *head) {
    return (uint32_t)(head->unshared + head->unshared_size + head->value_size - block->bytes);
}

/* The offset of a restart, or entries_size, at which nothing can be read, if it points outside. */
static inline uint32_t lw_block_restart(const lw_block *block, uint32_t restart) {
    LW_ASSERT(restart < block->restart_count);
    uint32_t offset = lw_get_u32(block->bytes + block->entries_size + restart * sizeof(uint32_t));
    return offset < block->entries_size ? offset : block->entries_size;
}

#endif
