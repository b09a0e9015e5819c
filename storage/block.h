/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: the sorted entries that a table reads and checks at once.
 *
 *   entry+ · restart offset u32 + · restart count u32
 *   entry = shared key size varint · (unshared key size << 1 | is delete) varint · sequence varint
 * · [not delete: value size varint] · unshared key · [not delete: value]
 *
 * The value size is 2^27 more, beyond any that there is, if what stands there is a reference
 * instead of the value (storage/value_file.h).
 *
 * `shared` bytes of the key are those of the entry before. At every restart an entry shares
 * nothing, so that a search can begin there. The first restart is at 0; there is at least one
 * entry.
 *
 * Invariants
 * 1. A cursor reads no byte outside the block, whatever the bytes are, and every move ends. What it
 *    cannot read it reports as damage, and stands nowhere.
 * 2. In a block that was built here, entries ascend by key, and within one key descend by sequence.
 */
#ifndef LW_BLOCK_H
#define LW_BLOCK_H

#include "storage/table.h"

enum {
    /* Before compression. A block holds one entry of any size, or several up to its wanted size. */
    LW_BLOCK_SIZE_MAX = LW_TREE_VALUE_SIZE_MAX + 1024 * 1024,
};

/* ---- building -------------------------------------------------------------------------------- */

typedef struct lw_block_builder {
    lw_buffer bytes;
    lw_buffer restarts;
    lw_buffer last_key;
    uint32_t restart_interval;
    uint32_t entry_count; /* since the last clear */
} lw_block_builder;

static inline lw_block_builder lw_block_builder_in(lw_memory *memory, uint32_t restart_interval) {
    return (lw_block_builder){.bytes = lw_buffer_in(memory),
                              .restarts = lw_buffer_in(memory),
                              .last_key = lw_buffer_in(memory),
                              .restart_interval = restart_interval};
}
void lw_block_builder_reset(lw_block_builder *builder);
void lw_block_builder_add(lw_block_builder *builder, const lw_entry *entry);
/* Bytes of the block if it were finished now, and an upper bound of what an entry adds. */
size_t lw_block_builder_size(const lw_block_builder *builder);
size_t lw_block_entry_size_max(const lw_entry *entry);
/* The block, to be read until the builder is cleared for the next one. */
lw_bytes lw_block_builder_finish(lw_block_builder *builder);
void lw_block_builder_clear(lw_block_builder *builder);

/* ---- reading --------------------------------------------------------------------------------- */

/* A block to be read: views of it. */
typedef struct lw_block {
    const uint8_t *bytes;
    uint32_t entries_size; /* where the restarts begin */
    uint32_t restart_count;
    /* Samples, if it lies in an image: of every few entries the offset, and the head (heads.h) of
     * the key behind `prefix`, with which all keys of the block begin. */
    uint32_t sample_count;
    uint32_t prefix_size;
    const uint8_t *prefix;
    const uint64_t *heads;
    const uint16_t *offsets;
} lw_block;

/* Begins to read a block, which must stay where it is. False if it is damaged. */
LW_MUST_USE bool lw_block_open(lw_bytes bytes, lw_block *block);

/* An image is a block as it lies in memory to be searched often: the samples, then the block. With
 * them a search touches a few lines instead of many. It is made in two steps, since its size must
 * be known before there is room for it. */
typedef struct lw_block_plan {
    lw_block block; /* as it is now, without samples */
    uint32_t sample_count, prefix_size;
    size_t size; /* of the image */
} lw_block_plan;
/* Looks through the block. False if it is damaged anywhere. */
LW_MUST_USE bool lw_block_plan_make(lw_bytes bytes, lw_block_plan *plan);
/* Writes the image to `to`, which is aligned to 8 bytes and has room for plan->size. */
void lw_block_image_write(const lw_block_plan *plan, uint8_t *to);
/* Begins to read an image, and fetches the lines that a search needs first. */
void lw_block_image_open(const uint8_t *image, lw_block *block);

/* Looks for the newest entry of a key that is not newer than `sequence`. */
typedef enum lw_block_found {
    LW_BLOCK_FOUND,
    LW_BLOCK_NONE,
    LW_BLOCK_BEYOND, /* the block ended before the place where it would be */
    LW_BLOCK_DAMAGED,
} lw_block_found;
/* The entry's key is `key`, and its value a view into the block; it is written only if found. */
lw_block_found lw_block_find(const lw_block *block, lw_bytes key, uint64_t sequence,
                             lw_entry *entry);

enum { LW_BLOCK_TRAIL_MAX = 32 };

typedef struct lw_block_cursor {
    lw_block block;
    uint32_t offset, next; /* of the entry the cursor stands on, and of the one behind it */
    uint32_t shared_size;  /* what the entry shares with the one before */
    bool standing, damaged;
    bool repeats;  /* the key is the one that the cursor stood on before it moved here */
    lw_buffer key; /* the entry's key, put together */
    lw_entry entry;
    /* Going back: where the entries before this one begin, as far as they are known. */
    uint32_t trail_count;
    uint32_t trail[LW_BLOCK_TRAIL_MAX];
} lw_block_cursor;

static inline lw_block_cursor lw_block_cursor_in(lw_memory *memory) {
    return (lw_block_cursor){.key = lw_buffer_in(memory)};
}
void lw_block_cursor_reset(lw_block_cursor *cursor);
/* Begins to read another block, which must stay where it is. False if it is damaged. */
LW_MUST_USE bool lw_block_cursor_open(lw_block_cursor *cursor, lw_bytes block);
void lw_block_cursor_open_image(lw_block_cursor *cursor, const uint8_t *image);

/* Moves. They answer whether the cursor stands on an entry afterwards; if it does not, it is beyond
 * an end or, with `damaged` set, the block could not be read. */
/* The first entry at or after (key, sequence); the last entry before it. */
bool lw_block_cursor_seek(lw_block_cursor *cursor, lw_bytes key, uint64_t sequence);
bool lw_block_cursor_seek_before(lw_block_cursor *cursor, lw_bytes key, uint64_t sequence);
bool lw_block_cursor_first(lw_block_cursor *cursor);
bool lw_block_cursor_last(lw_block_cursor *cursor);
/* The cursor must stand on an entry. */
bool lw_block_cursor_next(lw_block_cursor *cursor);
bool lw_block_cursor_previous(lw_block_cursor *cursor);
/* The entry under the cursor; its key lives until the cursor moves, its value as long as the block.
 */
static inline const lw_entry *lw_block_cursor_entry(const lw_block_cursor *cursor) {
    return cursor->standing ? &cursor->entry : NULL;
}

/* Whether every restart is an entry that shares nothing, in order: what moves take for granted, and
 * report as damage only where they meet it. Leaves the cursor beyond the end. */
bool lw_block_cursor_check_restarts(lw_block_cursor *cursor);

/* ---- for block.c: where a search ended ------------------------------------------------------- */

typedef struct lw_block_head lw_block_head;
/* The first entry at or after (key, sequence): its offset and its head. What it shares with the
 * entry before, it shares with `key` too. `*equal`: its key is `key`. */
lw_block_found lw_block_search(const lw_block *block, lw_bytes key, uint64_t sequence,
                               uint32_t *offset, lw_block_head *head, bool *equal);

/* The order of entries: by key, then newest first. */
static inline int lw_entry_compare(lw_bytes key, uint64_t sequence, lw_bytes other_key,
                                   uint64_t other_sequence) {
    int order = lw_compare(key, other_key);
    return order != 0 ? order : (sequence < other_sequence) - (sequence > other_sequence);
}

#endif
