/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes and where they live: views, little-endian fields, growing buffers, arenas, and the memory
 * that one node may drop as a whole.
 *
 * Invariants
 * 1. Everything a node allocates comes from its lw_memory, so that dropping it frees all of it (a
 *    simulated crash does just that) and so that it can be counted.
 * 2. Running out of memory stops the process: what is acknowledged is on disk, and budgets refuse
 *    work long before. No allocation returns NULL. */
#ifndef LW_BYTES_H
#define LW_BYTES_H

#include "base/status.h"

#include <string.h>

/* ---- views ---------------------------------------------------------------------------------- */

static inline lw_bytes lw_view(const void *data, size_t size) {
    return (lw_bytes){.data = data, .size = size};
}
/* A view of a C string, without its closing zero. */
static inline lw_bytes lw_text(const char *text) {
    return lw_view(text, strlen(text));
}
/* Negative, zero or positive: byte order, a prefix before what it begins. */
static inline int lw_compare(lw_bytes a, lw_bytes b) {
    size_t shared = a.size < b.size ? a.size : b.size;
    int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}
static inline bool lw_equal(lw_bytes a, lw_bytes b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
static inline bool lw_starts_with(lw_bytes whole, lw_bytes prefix) {
    return whole.size >= prefix.size && lw_equal(lw_view(whole.data, prefix.size), prefix);
}
static inline size_t lw_common_prefix(lw_bytes a, lw_bytes b) {
    size_t shared = a.size < b.size ? a.size : b.size;
    size_t index = 0;
    while (index < shared && a.data[index] == b.data[index]) {
        index++;
    }
    return index;
}

/* ---- fixed fields: little-endian for files, big-endian where bytes must sort ---------------- */

static inline void lw_put_u16(uint8_t *to, uint16_t value) {
    memcpy(to, &value, sizeof(value));
}
static inline void lw_put_u32(uint8_t *to, uint32_t value) {
    memcpy(to, &value, sizeof(value));
}
static inline void lw_put_u64(uint8_t *to, uint64_t value) {
    memcpy(to, &value, sizeof(value));
}
static inline uint16_t lw_get_u16(const uint8_t *from) {
    uint16_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}
static inline uint32_t lw_get_u32(const uint8_t *from) {
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}
static inline uint64_t lw_get_u64(const uint8_t *from) {
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}
static inline void lw_put_u64_sorted(uint8_t *to, uint64_t value) {
    lw_put_u64(to, __builtin_bswap64(value));
}
static inline uint64_t lw_get_u64_sorted(const uint8_t *from) {
    return __builtin_bswap64(lw_get_u64(from));
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian machines need swaps here");

/* Variable-length unsigned integers (LEB128): seven bits a byte, low first, 1..10 bytes. */
enum { LW_VARINT_SIZE_MAX = 10 };
/* Writes `value`, returns the bytes used; `to` has room for LW_VARINT_SIZE_MAX. */
size_t lw_put_varint_long(uint8_t *to, uint64_t value);
static inline size_t lw_put_varint(uint8_t *to, uint64_t value) {
    if (__builtin_expect(value < 0x80, 1)) {
        *to = (uint8_t)value;
        return 1;
    }
    return lw_put_varint_long(to, value);
}
/* Takes one from the front of `*rest`. False, and nothing changed, if it is cut off, longer than
 * needed, or beyond 64 bits. */
LW_MUST_USE bool lw_take_varint_long(lw_bytes *rest, uint64_t *value);
LW_MUST_USE static inline bool lw_take_varint(lw_bytes *rest, uint64_t *value) {
    if (__builtin_expect(rest->size > 0 && rest->data[0] < 0x80, 1)) {
        *value = rest->data[0];
        *rest = lw_view(rest->data + 1, rest->size - 1);
        return true;
    }
    return lw_take_varint_long(rest, value);
}
/* Takes `size` bytes from the front of `*rest`; false, and nothing changed, if there are fewer. */
LW_MUST_USE static inline bool lw_take_bytes(lw_bytes *rest, size_t size, lw_bytes *taken) {
    if (size > rest->size) {
        return false;
    }
    *taken = lw_view(rest->data, size);
    if (size > 0) {
        *rest = lw_view(rest->data + size, rest->size - size);
    }
    return true;
}

/* ---- memory --------------------------------------------------------------------------------- */

typedef struct lw_memory lw_memory;

/* A heap of its own. Not shared between threads, but for offloaded work, which is given its own. */
lw_memory *lw_memory_open(void);
/* Its large blocks, too, come from malloc from now on: of many heaps that live for moments, as
 * simulations have them, mapping and clearing them anew would be one part in ten. */
void lw_memory_map_nothing(lw_memory *memory);
/* Frees everything allocated from it, and itself. */
void lw_memory_close(lw_memory *memory);
/* Uninitialised and zeroed memory, aligned to 16 bytes; of size 0 too it can be freed. */
void *lw_allocate(lw_memory *memory, size_t size) __attribute__((malloc, returns_nonnull));
void *lw_allocate_zero(lw_memory *memory, size_t size) __attribute__((malloc, returns_nonnull));
/* Aligned to `alignment` (a power of two, up to 4096), as direct I/O needs. */
void *lw_allocate_aligned(lw_memory *memory, size_t size, size_t alignment)
    __attribute__((malloc, returns_nonnull));
/* `pointer` may be NULL. The contents move along; an aligned block must not be resized. */
void *lw_reallocate(lw_memory *memory, void *pointer, size_t size) __attribute__((returns_nonnull));
/* `pointer` may be NULL; it must come from this memory. */
void lw_free(lw_memory *memory, void *pointer);
/* Bytes allocated now, without the allocator's own overhead. */
size_t lw_memory_used(const lw_memory *memory);
/* A copy of the bytes, allocated; freed with lw_free. */
lw_bytes lw_copy(lw_memory *memory, lw_bytes bytes);

/* ---- buffers: bytes that grow --------------------------------------------------------------- */

typedef struct lw_buffer {
    uint8_t *data;
    size_t size;     /* bytes written */
    size_t capacity; /* bytes there is room for */
    lw_memory *memory;
    bool lent; /* `data` is somebody else's */
} lw_buffer;

static inline lw_buffer lw_buffer_in(lw_memory *memory) {
    return (lw_buffer){.memory = memory};
}
/* One that begins in `space`, which outlives it, and allocates only what does not fit in. */
static inline lw_buffer lw_buffer_on(lw_memory *memory, void *space, size_t size) {
    return (lw_buffer){.data = space, .capacity = size, .memory = memory, .lent = true};
}
/* Frees what it holds; it can be used again. */
static inline void lw_buffer_reset(lw_buffer *buffer) {
    if (buffer->data != NULL && !buffer->lent) {
        lw_free(buffer->memory, buffer->data);
    }
    *buffer = lw_buffer_in(buffer->memory);
}
/* Forgets the contents, keeps the room. */
static inline void lw_buffer_clear(lw_buffer *buffer) {
    buffer->size = 0;
}
/* Makes room for `size` more bytes and returns where they go; buffer->size is left alone. */
uint8_t *lw_buffer_grow(lw_buffer *buffer, size_t size);
static inline uint8_t *lw_buffer_reserve(lw_buffer *buffer, size_t size) {
    LW_ASSERT(buffer->size <= buffer->capacity);
    bool fits = size <= buffer->capacity - buffer->size && buffer->data != NULL;
    return __builtin_expect(fits, 1) ? buffer->data + buffer->size : lw_buffer_grow(buffer, size);
}
/* `bytes` must not lie in the buffer itself, which may move. */
void lw_buffer_append(lw_buffer *buffer, lw_bytes bytes);
void lw_buffer_append_u8(lw_buffer *buffer, uint8_t value);
void lw_buffer_append_u32(lw_buffer *buffer, uint32_t value);
void lw_buffer_append_u64(lw_buffer *buffer, uint64_t value);
void lw_buffer_append_varint(lw_buffer *buffer, uint64_t value);
/* Appends formatted text, without a closing zero. */
void lw_buffer_print(lw_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline lw_bytes lw_buffer_view(const lw_buffer *buffer) {
    return lw_view(buffer->data, buffer->size);
}

/* ---- arenas: many small pieces, freed together ---------------------------------------------- */

typedef struct lw_arena {
    lw_memory *memory;
    struct lw_arena_block *blocks; /* newest first */
    size_t used;                   /* bytes handed out */
    size_t reserved;               /* bytes allocated from memory */
} lw_arena;

static inline lw_arena lw_arena_in(lw_memory *memory) {
    return (lw_arena){.memory = memory};
}
/* One whose first pieces lie in `space`, which outlives it and is aligned to 16 bytes; it is not
 * counted in `reserved`. */
lw_arena lw_arena_on(lw_memory *memory, void *space, size_t size);
/* Frees every piece. The arena can be used again. */
void lw_arena_reset(lw_arena *arena);
/* Frees some of its blocks, of at least `size` bytes together; none may be used any more. False if
 * none is left. */
bool lw_arena_reduce(lw_arena *arena, size_t size);
/* Aligned to 16 bytes, uninitialised. Blocks double from 1 KiB to 64 KiB; a piece above 16 KiB
 * stands alone. */
void *lw_arena_allocate(lw_arena *arena, size_t size) __attribute__((malloc, returns_nonnull));
/* The same, aligned to 4 bytes: for many small pieces, of which less is lost so. */
void *lw_arena_allocate_close(lw_arena *arena, size_t size)
    __attribute__((malloc, returns_nonnull));
lw_bytes lw_arena_copy(lw_arena *arena, lw_bytes bytes);
/* Bytes that were allocated, and that the next pieces take before any more are. */
size_t lw_arena_spare(const lw_arena *arena);

#endif
