/* SPDX-License-Identifier: Apache-2.0 */
/* Variable-length integers, the tracked heap, growing buffers and arenas.
 *
 * Invariants
 * 1. Every block of a heap is in its list, with the header right before the bytes handed out:
 *    closing the heap frees each block once. `used` is the sum of the sizes asked for.
 * 2. A header carries its magic exactly while its block is allocated, and names its heap: freeing
 *    twice, or into another heap, is caught.
 * 3. Large blocks come from the system page by page, and go back to it when they are freed: among
 *    small ones they would leave holes, which no budget counts. Only of those that arenas take a
 * few are kept for the next arena, since new pages cost time; and no longer than others allocate.
 * 4. A buffer's bytes come from its memory, or are lent, and size <= capacity.
 * 5. The newest block of an arena is the only one that still hands out pieces. */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#include <sanitizer/asan_interface.h>
#define POISON(from, size)   __asan_poison_memory_region((from), (size))
#define UNPOISON(from, size) __asan_unpoison_memory_region((from), (size))
#else
#define POISON(from, size)   ((void)0)
#define UNPOISON(from, size) ((void)0)
#endif

enum {
    ALIGNMENT = 16, /* of every block and piece; what malloc gives */
    ALIGNMENT_MAX = 4096,
    PAGE_SIZE = 4096,
    LARGE_SIZE = 64 * 1024, /* bytes of a block, with its header, that is large */
    CLOSE_ALIGNMENT = 4,    /* of pieces that are to lie close together */
    BUFFER_CAPACITY_MIN = 64,
    ARENA_BLOCK_MIN = 1024,      /* with the block's header, as asked of the heap */
    ARENA_BLOCK_MAX = 64 * 1024, /* with the heap's header too: just large */
    KEPT_MAX = 32,               /* blocks of arenas that are kept */
    KEPT_ALLOCATIONS = 1024,     /* after so many others one of them goes back */
    ARENA_PIECE_MAX = 16 * 1024, /* beyond it a piece stands alone, so at most a quarter is lost */
};

/* ---- fields ---------------------------------------------------------------------------------- */

size_t lw_put_varint_long(uint8_t *to, uint64_t value) {
    size_t size = 0;
    while (value >= 0x80) {
        to[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    to[size++] = (uint8_t)value;
    return size;
}

bool lw_take_varint_long(lw_bytes *rest, uint64_t *value) {
    uint64_t result = 0;
    size_t limit = rest->size < LW_VARINT_SIZE_MAX ? rest->size : LW_VARINT_SIZE_MAX;
    for (size_t index = 0; index < limit; index++) {
        uint8_t byte = rest->data[index];
        if (index == LW_VARINT_SIZE_MAX - 1 && byte > 1) {
            return false;
        }
        result |= (uint64_t)(byte & 0x7f) << (7 * index);
        if (byte < 0x80) {
            if (byte == 0 && index > 0) {
                return false;
            }
            *value = result;
            *rest = lw_view(rest->data + index + 1, rest->size - index - 1);
            return true;
        }
    }
    return false;
}

/* ---- memory ---------------------------------------------------------------------------------- */

#define BLOCK_MAGIC  0x4c775f4dU
#define MAPPED_MAGIC 0x4c775f50U /* of a large block */

typedef struct block {
    struct block *next, *previous;
    lw_memory *memory;
    void *start;        /* what malloc returned; before the header where alignment asked for it */
    size_t size;        /* asked for */
    uint32_t magic;     /* one of the two while allocated */
    uint32_t alignment; /* asked for, at least ALIGNMENT */
} block;
_Static_assert(sizeof(block) % ALIGNMENT == 0, "the bytes behind the header must be aligned");

/* Freed blocks of the sizes that every request asks for are kept for the next one: the heap's own
 * cache of them holds seven of a size, and requests come by the hundred. */
enum {
    SPARE_STEP = 64, /* bytes between the sizes of two classes */
    SPARE_CLASSES = 16,
    SPARE_BYTES_MAX = 64 * 1024, /* of each class: what 64 requests at once take of it */
};

struct lw_memory {
    block ends; /* the list's head and tail in one: ends.next is the newest block */
    size_t used;
    block *spares[SPARE_CLASSES]; /* linked by `next`; of spare_size() bytes */
    uint32_t spare_counts[SPARE_CLASSES];
    bool maps_nothing;
    block *kept;                       /* large blocks of LARGE_SIZE, not allocated */
    uint32_t kept_count, unkept_count; /* allocations since one of them was taken or given back */
};

static _Noreturn void out_of_memory(size_t size) {
    fprintf(stderr,
            "lathwork: out of memory: cannot allocate %zu bytes; give it more memory or "
            "lower its budgets\n",
            size);
    abort();
}

static void link_block(lw_memory *memory, block *added) {
    added->previous = &memory->ends;
    added->next = memory->ends.next;
    added->next->previous = added;
    memory->ends.next = added;
    memory->used += added->size;
}

static void unlink_block(lw_memory *memory, block *removed) {
    LW_ASSERT(memory->used >= removed->size);
    removed->next->previous = removed->previous;
    removed->previous->next = removed->next;
    memory->used -= removed->size;
}

/* The class of blocks that hold `size` bytes; SPARE_CLASSES if there is none. With a sanitizer
 * there is never one: it wants to see what is freed. */
static uint32_t spare_class(size_t size) {
#ifdef SANITIZED
    (void)size;
    return SPARE_CLASSES;
#else
    return size > (size_t)SPARE_STEP * SPARE_CLASSES ? (uint32_t)SPARE_CLASSES
           : size == 0                               ? 0
                                                     : (uint32_t)((size - 1) / SPARE_STEP);
#endif
}

/* What the heap is asked for, so that a block of a class serves all its sizes. */
static size_t spare_size(uint32_t class, size_t size) {
    return class < SPARE_CLASSES ? (size_t)SPARE_STEP * (class + 1) : size;
}

static block *spare_take(lw_memory *memory, uint32_t class) {
    block *taken = class < SPARE_CLASSES ? memory->spares[class] : NULL;
    if (taken != NULL) {
        memory->spares[class] = taken->next;
        memory->spare_counts[class]--;
    }
    return taken;
}

/* False if there are enough of them. */
static bool spare_keep(lw_memory *memory, block *freed) {
    uint32_t class = freed->alignment == ALIGNMENT ? spare_class(freed->size) : SPARE_CLASSES;
    if (class == SPARE_CLASSES ||
        memory->spare_counts[class] * spare_size(class, 0) >= SPARE_BYTES_MAX) {
        return false;
    }
    freed->next = memory->spares[class];
    memory->spares[class] = freed;
    memory->spare_counts[class]++;
    return true;
}

/* The header of a pointer that this memory handed out. */
static block *block_of(const lw_memory *memory, void *pointer) {
    block *found = (block *)pointer - 1;
    LW_ASSERT(found->magic == BLOCK_MAGIC || found->magic == MAPPED_MAGIC);
    LW_ASSERT(found->memory == memory);
    return found;
}

/* ---- large blocks ---------------------------------------------------------------------------- */

static bool is_large(const lw_memory *memory, size_t size) {
#ifdef SANITIZED
    (void)memory, (void)size; /* malloc puts guards around them */
    return false;
#else
    return size >= LARGE_SIZE - sizeof(block) && !memory->maps_nothing;
#endif
}

/* Bytes of pages that a block of this size takes. */
static size_t mapped_size(size_t size) {
    return (size + sizeof(block) + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
}

static void unmap_kept(lw_memory *memory) {
    block *going = memory->kept;
    memory->kept = going->next;
    memory->kept_count--;
    (void)munmap(going, LARGE_SIZE);
}

static bool keep_mapped(lw_memory *memory, block *freed) {
    if (mapped_size(freed->size) != LARGE_SIZE || memory->kept_count == KEPT_MAX) {
        return false;
    }
    freed->magic = 0;
    freed->next = memory->kept;
    memory->kept = freed;
    memory->kept_count++;
    return true;
}

/* Counts an allocation that has no use for what is kept. */
static void age_kept(lw_memory *memory) {
    if (memory->kept_count > 0 && ++memory->unkept_count == KEPT_ALLOCATIONS) {
        memory->unkept_count = 0;
        unmap_kept(memory);
    }
}

static block *take_kept(lw_memory *memory) {
    block *taken = memory->kept;
    memory->kept = taken->next;
    memory->kept_count--;
    memory->unkept_count = 0;
    return taken;
}

/* Zeroed memory, if it must be. NULL if the system gives none: there may be too many pieces, and
 * malloc helps. */
static void *map_block(lw_memory *memory, size_t size, bool zero) {
    bool kept = !zero && memory->kept != NULL && mapped_size(size) == LARGE_SIZE;
    block *added = kept ? take_kept(memory)
                        : mmap(NULL, mapped_size(size), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (added == MAP_FAILED) {
        return NULL;
    }
    *added = (block){.memory = memory,
                     .start = added,
                     .size = size,
                     .magic = MAPPED_MAGIC,
                     .alignment = ALIGNMENT};
    link_block(memory, added);
    return added + 1;
}

/* Makes a large block one of another size that is large too. NULL if that cannot be had. */
static void *map_again(lw_memory *memory, block *old, size_t size) {
    unlink_block(memory, old);
    size_t size_before = old->size;
    block *moved = mremap(old, mapped_size(size_before), mapped_size(size), MREMAP_MAYMOVE);
    bool done = moved != MAP_FAILED;
    moved = done ? moved : old;
    moved->start = moved;
    moved->size = done ? size : size_before;
    link_block(memory, moved);
    return done ? moved + 1 : NULL;
}

/* ---- the heap -------------------------------------------------------------------------------- */

lw_memory *lw_memory_open(void) {
    lw_memory *memory = calloc(1, sizeof(*memory));
    if (memory == NULL) {
        out_of_memory(sizeof(*memory));
    }
    memory->ends.next = &memory->ends;
    memory->ends.previous = &memory->ends;
    return memory;
}

void lw_memory_map_nothing(lw_memory *memory) {
    memory->maps_nothing = true;
}

void lw_memory_close(lw_memory *memory) {
    LW_ASSERT(memory != NULL);
    while (memory->ends.next != &memory->ends) {
        lw_free(memory, memory->ends.next + 1);
    }
    LW_ASSERT(memory->used == 0);
    for (uint32_t class = 0; class < SPARE_CLASSES; class ++) {
        block *spare;
        while ((spare = spare_take(memory, class)) != NULL) {
            free(spare);
        }
    }
    while (memory->kept != NULL) {
        unmap_kept(memory);
    }
    free(memory);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void *allocate(lw_memory *memory, size_t size, size_t alignment, bool zero) {
    size_t overhead = sizeof(block) + alignment - ALIGNMENT;
    if (size > SIZE_MAX / 2) {
        out_of_memory(size);
    }
    void *mapped =
        is_large(memory, size) && alignment == ALIGNMENT ? map_block(memory, size, zero) : NULL;
    if (mapped != NULL) {
        return mapped;
    }
    age_kept(memory);
    uint32_t class = alignment == ALIGNMENT ? spare_class(size) : SPARE_CLASSES;
    void *start = spare_take(memory, class);
    if (start != NULL && zero) {
        memset(start, 0, sizeof(block) + size);
    }
    if (start == NULL) {
        size_t asked = spare_size(class, size) + overhead;
        start = zero ? calloc(1, asked) : malloc(asked);
    }
    if (start == NULL) {
        out_of_memory(size);
    }
    uintptr_t first = (uintptr_t)start + sizeof(block);
    uintptr_t aligned = (first + alignment - 1) & ~(uintptr_t)(alignment - 1);
    block *added = (block *)(void *)((char *)start + (aligned - first));
    *added = (block){.memory = memory,
                     .start = start,
                     .size = size,
                     .magic = BLOCK_MAGIC,
                     .alignment = (uint32_t)alignment};
    link_block(memory, added);
    return added + 1;
}

void *lw_allocate(lw_memory *memory, size_t size) {
    return allocate(memory, size, ALIGNMENT, false);
}

void *lw_allocate_zero(lw_memory *memory, size_t size) {
    return allocate(memory, size, ALIGNMENT, true);
}

void *lw_allocate_aligned(lw_memory *memory, size_t size, size_t alignment) {
    LW_ASSERT(alignment != 0);
    LW_ASSERT((alignment & (alignment - 1)) == 0);
    LW_ASSERT(alignment <= ALIGNMENT_MAX);
    return allocate(memory, size, alignment < ALIGNMENT ? ALIGNMENT : alignment, false);
}

void *lw_reallocate(lw_memory *memory, void *pointer, size_t size) {
    if (pointer == NULL) {
        return lw_allocate(memory, size);
    }
    block *old = block_of(memory, pointer);
    LW_ASSERT(old->alignment == ALIGNMENT);
    if (size > SIZE_MAX / 2) {
        out_of_memory(size);
    }
    bool mapped = old->magic == MAPPED_MAGIC;
    void *again = mapped && is_large(memory, size) ? map_again(memory, old, size) : NULL;
    if (again != NULL) {
        return again;
    }
    if (mapped || is_large(memory, size)) {
        void *copy = lw_allocate(memory, size);
        memcpy(copy, pointer, old->size < size ? old->size : size);
        lw_free(memory, pointer);
        return copy;
    }
    uint32_t class = spare_class(size);
    if (class<SPARE_CLASSES &&class> spare_class(old->size) && memory->spares[class] != NULL) {
        void *grown = lw_allocate(memory, size); /* quicker than the heap */
        memcpy(grown, pointer, old->size);
        lw_free(memory, pointer);
        return grown;
    }
    unlink_block(memory, old);
    bool fits = class < SPARE_CLASSES && class == spare_class(old->size);
    block *moved = fits ? old : realloc(old->start, sizeof(block) + spare_size(class, size));
    if (moved == NULL) {
        out_of_memory(size);
    }
    moved->start = moved;
    moved->size = size;
    link_block(memory, moved);
    return moved + 1;
}

void lw_free(lw_memory *memory, void *pointer) {
    if (pointer == NULL) {
        return;
    }
    block *freed = block_of(memory, pointer);
    unlink_block(memory, freed);
    if (freed->magic == MAPPED_MAGIC) {
        if (!keep_mapped(memory, freed)) {
            (void)munmap(freed, mapped_size(freed->size));
        }
        return;
    }
    freed->magic = 0;
    if (!spare_keep(memory, freed)) {
        free(freed->start);
    }
}

size_t lw_memory_used(const lw_memory *memory) {
    return memory->used;
}

lw_bytes lw_copy(lw_memory *memory, lw_bytes bytes) {
    uint8_t *copy = lw_allocate(memory, bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return lw_view(copy, bytes.size);
}

/* ---- buffers --------------------------------------------------------------------------------- */

uint8_t *lw_buffer_grow(lw_buffer *buffer, size_t size) {
    if (size > SIZE_MAX / 4 - buffer->size) {
        out_of_memory(size);
    }
    size_t needed = buffer->size + size;
    if (needed > buffer->capacity || buffer->data == NULL) {
        size_t capacity = buffer->capacity * 2;
        capacity = capacity < BUFFER_CAPACITY_MIN ? BUFFER_CAPACITY_MIN : capacity;
        capacity = capacity < needed ? needed : capacity;
        if (buffer->lent) {
            LW_ASSERT(buffer->data != NULL);
            uint8_t *own = lw_allocate(buffer->memory, capacity);
            memcpy(own, buffer->data, buffer->size);
            buffer->data = own;
            buffer->lent = false;
        } else {
            buffer->data = lw_reallocate(buffer->memory, buffer->data, capacity);
        }
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

void lw_buffer_append(lw_buffer *buffer, lw_bytes bytes) {
    if (bytes.size == 0) {
        return;
    }
    LW_ASSERT((uintptr_t)bytes.data - (uintptr_t)buffer->data >= buffer->capacity);
    memcpy(lw_buffer_reserve(buffer, bytes.size), bytes.data, bytes.size);
    buffer->size += bytes.size;
}

void lw_buffer_append_u8(lw_buffer *buffer, uint8_t value) {
    *lw_buffer_reserve(buffer, sizeof(value)) = value;
    buffer->size += sizeof(value);
}

void lw_buffer_append_u32(lw_buffer *buffer, uint32_t value) {
    lw_put_u32(lw_buffer_reserve(buffer, sizeof(value)), value);
    buffer->size += sizeof(value);
}

void lw_buffer_append_u64(lw_buffer *buffer, uint64_t value) {
    lw_put_u64(lw_buffer_reserve(buffer, sizeof(value)), value);
    buffer->size += sizeof(value);
}

void lw_buffer_append_varint(lw_buffer *buffer, uint64_t value) {
    buffer->size += lw_put_varint(lw_buffer_reserve(buffer, LW_VARINT_SIZE_MAX), value);
}

void lw_buffer_print(lw_buffer *buffer, const char *format, ...) {
    LW_ASSERT(format != NULL);
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    LW_ASSERT(size >= 0);
    /* vsnprintf insists on its closing zero, which stays behind the end. */
    size_t room = (size_t)size + 1;
    vsnprintf((char *)lw_buffer_reserve(buffer, room), room, format, again);
    va_end(again);
    buffer->size += (size_t)size;
}

/* ---- arenas ---------------------------------------------------------------------------------- */

struct lw_arena_block {
    struct lw_arena_block *next;
    size_t room; /* bytes for pieces; 0 for a piece that stands alone */
    size_t used;
    size_t size; /* of all of it; 0: it is lent */
    _Alignas(ALIGNMENT) uint8_t pieces[];
};

/* A new block with `room` for pieces, not yet in the list. */
static struct lw_arena_block *arena_block_open(lw_arena *arena, size_t room) {
    struct lw_arena_block *added = lw_allocate(arena->memory, sizeof(*added) + room);
    added->used = 0;
    added->room = room;
    added->size = sizeof(*added) + room;
    arena->reserved += added->size;
    POISON(added->pieces, room);
    return added;
}

lw_arena lw_arena_on(lw_memory *memory, void *space, size_t size) {
    struct lw_arena_block *first = space;
    LW_ASSERT((uintptr_t)space % ALIGNMENT == 0 && size > sizeof(*first));
    *first = (struct lw_arena_block){.room = size - sizeof(*first)};
    POISON(first->pieces, first->room);
    return (lw_arena){.memory = memory, .blocks = first};
}

/* A piece that stands alone goes behind the newest block, which stays the one that hands out. */
static void *arena_allocate_alone(lw_arena *arena, size_t size) {
    struct lw_arena_block *alone = arena_block_open(arena, size);
    alone->room = 0;
    struct lw_arena_block **link = arena->blocks == NULL ? &arena->blocks : &arena->blocks->next;
    alone->next = *link;
    *link = alone;
    arena->used += size;
    UNPOISON(alone->pieces, size);
    return alone->pieces;
}

static void arena_grow(lw_arena *arena, size_t size) {
    size_t block_size = ARENA_BLOCK_MIN;
    if (arena->blocks != NULL && arena->blocks->room > 0) {
        block_size = (sizeof(struct lw_arena_block) + arena->blocks->room) * 2;
    }
    while (block_size - sizeof(struct lw_arena_block) < size) {
        block_size *= 2;
    }
    if (block_size >= ARENA_BLOCK_MAX) {
        block_size = ARENA_BLOCK_MAX - sizeof(block);
    }
    struct lw_arena_block *added =
        arena_block_open(arena, block_size - sizeof(struct lw_arena_block));
    added->next = arena->blocks;
    arena->blocks = added;
}

static size_t round_up(size_t size, size_t alignment) {
    return (size + alignment - 1) & ~(alignment - 1);
}

/* Whether so many bytes are left, from where the next piece of this alignment begins. */
static bool arena_has(const lw_arena *arena, size_t taken, size_t alignment) {
    const struct lw_arena_block *newest = arena->blocks;
    size_t start = newest != NULL ? round_up(newest->used, alignment) : 0;
    return newest != NULL && start <= newest->room && newest->room - start >= taken;
}

static void *arena_take(lw_arena *arena, size_t size, size_t alignment) {
    if (size > ARENA_PIECE_MAX) {
        return arena_allocate_alone(arena, size);
    }
    /* An empty piece takes room too, so that no two pieces share their address. */
    size_t taken = size == 0 ? alignment : round_up(size, alignment);
    if (!arena_has(arena, taken, alignment)) {
        arena_grow(arena, taken);
    }
    struct lw_arena_block *newest = arena->blocks;
    size_t start = round_up(newest->used, alignment);
    LW_ASSERT(newest->room - start >= taken);
    uint8_t *piece = newest->pieces + start;
    newest->used = start + taken;
    arena->used += size;
    UNPOISON(piece, size);
    return piece;
}

void *lw_arena_allocate(lw_arena *arena, size_t size) {
    return arena_take(arena, size, ALIGNMENT);
}

void *lw_arena_allocate_close(lw_arena *arena, size_t size) {
    return arena_take(arena, size, CLOSE_ALIGNMENT);
}

lw_bytes lw_arena_copy(lw_arena *arena, lw_bytes bytes) {
    uint8_t *copy = lw_arena_allocate(arena, bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return lw_view(copy, bytes.size);
}

size_t lw_arena_spare(const lw_arena *arena) {
    return arena->blocks == NULL ? 0 : arena->blocks->room - arena->blocks->used;
}

bool lw_arena_reduce(lw_arena *arena, size_t size) {
    size_t wanted = arena->reserved > size ? arena->reserved - size : 0;
    while (arena->blocks != NULL && (arena->reserved > wanted || arena->blocks->size == 0)) {
        struct lw_arena_block *freed = arena->blocks;
        arena->blocks = freed->next;
        arena->reserved -= freed->size;
        if (freed->size > 0) {
            lw_free(arena->memory, freed);
        } else {
            UNPOISON(freed->pieces, freed->room);
        }
    }
    return arena->blocks != NULL;
}

void lw_arena_reset(lw_arena *arena) {
    (void)lw_arena_reduce(arena, SIZE_MAX);
    *arena = lw_arena_in(arena->memory);
}
