/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, built by appending, and cursors that walk in them; searching is in block_search.c. The
 * format and the invariants are at the head of block.h.
 *
 * To go back is to walk up from a restart once, noting where entries begin (the trail), and then to
 * take these one by one: the key before is put together from what it shares with the one at hand,
 * its own bytes, and where it shares more than that, the entries before it. */
#include "storage/block_entry.h"

/* ---- building -------------------------------------------------------------------------------- */

void lw_block_builder_reset(lw_block_builder *builder) {
    lw_buffer_reset(&builder->bytes);
    lw_buffer_reset(&builder->restarts);
    lw_buffer_reset(&builder->last_key);
    builder->entry_count = 0;
}

void lw_block_builder_clear(lw_block_builder *builder) {
    lw_buffer_clear(&builder->bytes);
    lw_buffer_clear(&builder->restarts);
    lw_buffer_clear(&builder->last_key);
    builder->entry_count = 0;
}

void lw_block_builder_add(lw_block_builder *builder, const lw_entry *entry) {
    LW_ASSERT(entry->key.size <= LW_TREE_KEY_SIZE_MAX);
    LW_ASSERT(entry->value.size <= LW_TREE_VALUE_SIZE_MAX);
    LW_ASSERT(entry->kind >= LW_ENTRY_PUT && entry->kind <= LW_ENTRY_REFERENCE);
    LW_ASSERT(entry->kind != LW_ENTRY_DELETE || entry->value.size == 0);
    lw_buffer *out = &builder->bytes;
    size_t shared = 0;
    if (builder->entry_count % builder->restart_interval == 0) {
        lw_buffer_append_u32(&builder->restarts, (uint32_t)out->size);
    } else {
        shared = lw_common_prefix(lw_buffer_view(&builder->last_key), entry->key);
    }
    bool is_delete = entry->kind == LW_ENTRY_DELETE;
    lw_bytes unshared = lw_view(entry->key.data + shared, entry->key.size - shared);
    lw_buffer_append_varint(out, shared);
    lw_buffer_append_varint(out, unshared.size << 1 | is_delete);
    lw_buffer_append_varint(out, entry->sequence);
    if (!is_delete) {
        bool is_reference = entry->kind == LW_ENTRY_REFERENCE;
        lw_buffer_append_varint(out,
                                entry->value.size | (is_reference ? LW_BLOCK_REFERENCE_FLAG : 0));
    }
    lw_buffer_append(out, unshared);
    lw_buffer_append(out, entry->value);
    builder->last_key.size = shared;
    lw_buffer_append(&builder->last_key, unshared);
    builder->entry_count++;
    LW_ASSERT(lw_block_builder_size(builder) <= UINT32_MAX);
}

size_t lw_block_builder_size(const lw_block_builder *builder) {
    return builder->bytes.size + builder->restarts.size + sizeof(uint32_t);
}

size_t lw_block_entry_size_max(const lw_entry *entry) {
    /* Two sizes of a key, a sequence, the size of a value, a restart. */
    enum { HEAD_SIZE_MAX = 3 + 3 + LW_VARINT_SIZE_MAX + 4 + sizeof(uint32_t) };
    _Static_assert(LW_TREE_KEY_SIZE_MAX < 1 << 20 && LW_TREE_VALUE_SIZE_MAX < 1 << 28,
                   "sizes take that many bytes");
    return HEAD_SIZE_MAX + entry->key.size + entry->value.size;
}

lw_bytes lw_block_builder_finish(lw_block_builder *builder) {
    LW_ASSERT(builder->entry_count > 0);
    uint32_t restart_count = (uint32_t)(builder->restarts.size / sizeof(uint32_t));
    lw_buffer_append(&builder->bytes, lw_buffer_view(&builder->restarts));
    lw_buffer_append_u32(&builder->bytes, restart_count);
    return lw_buffer_view(&builder->bytes);
}

/* ---- standing on an entry -------------------------------------------------------------------- */

static bool stand_nowhere(lw_block_cursor *cursor, bool damaged) {
    cursor->standing = false;
    cursor->damaged = damaged;
    return false;
}

static void make_room(lw_buffer *key, size_t size) {
    if (size > key->capacity || key->data == NULL) {
        (void)lw_buffer_reserve(key, size - key->size);
    }
}

/* Puts the key of an entry together from cursor->key, of which `known_size` bytes may be shared. */
static inline bool take_key(lw_block_cursor *cursor, const lw_block_head *head, size_t known_size) {
    lw_buffer *key = &cursor->key;
    size_t size = lw_block_key_size(head);
    if (head->shared_size > known_size) {
        return false;
    }
    make_room(key, size);
    uint8_t *to = key->data + head->shared_size;
    /* A builder shares all that it can, so the first bytes mostly differ. */
    cursor->repeats =
        size == key->size && (head->unshared_size == 0 || *to == *head->unshared) &&
        (head->unshared_size == 0 || memcmp(to, head->unshared, head->unshared_size) == 0);
    if (head->unshared_size > 0) {
        memcpy(to, head->unshared, head->unshared_size);
    }
    key->size = size;
    return true;
}

/* Stands on the entry of this head, whose key has been put together. */
static inline bool stand(lw_block_cursor *cursor, uint32_t offset, const lw_block_head *head) {
    cursor->offset = offset;
    cursor->next = lw_block_end_of(&cursor->block, head);
    cursor->shared_size = (uint32_t)head->shared_size;
    cursor->entry =
        (lw_entry){.key = lw_buffer_view(&cursor->key),
                   .sequence = head->sequence,
                   .kind = head->kind,
                   .value = lw_view(head->unshared + head->unshared_size, head->value_size)};
    cursor->standing = true;
    return true;
}

/* Stands on the entry at `offset`. cursor->key holds the key that the cursor stood on before; if
 * that is the entry before this one, `known_size` is its size, else 0. */
static inline bool stand_at(lw_block_cursor *cursor, uint32_t offset, size_t known_size) {
    lw_block_head head;
    cursor->trail_count = 0;
    if (offset == cursor->block.entries_size) {
        return stand_nowhere(cursor, false);
    }
    if (!lw_block_head_read(&cursor->block, offset, &head) ||
        !take_key(cursor, &head, known_size)) {
        return stand_nowhere(cursor, true);
    }
    return stand(cursor, offset, &head);
}

void lw_block_cursor_reset(lw_block_cursor *cursor) {
    lw_buffer_reset(&cursor->key);
    *cursor = lw_block_cursor_in(cursor->key.memory);
}

bool lw_block_cursor_open(lw_block_cursor *cursor, lw_bytes block) {
    bool opened = lw_block_open(block, &cursor->block);
    (void)stand_nowhere(cursor, !opened);
    return opened;
}

void lw_block_cursor_open_image(lw_block_cursor *cursor, const uint8_t *image) {
    lw_block_image_open(image, &cursor->block);
    (void)stand_nowhere(cursor, false);
}

/* ---- forward --------------------------------------------------------------------------------- */

bool lw_block_cursor_first(lw_block_cursor *cursor) {
    return stand_at(cursor, 0, 0);
}

bool lw_block_cursor_next(lw_block_cursor *cursor) {
    LW_ASSERT(cursor->standing);
    return stand_at(cursor, cursor->next, cursor->key.size);
}

bool lw_block_cursor_seek(lw_block_cursor *cursor, lw_bytes key, uint64_t sequence) {
    uint32_t offset;
    lw_block_head head;
    bool equal;
    lw_block_found found = lw_block_search(&cursor->block, key, sequence, &offset, &head, &equal);
    if (found != LW_BLOCK_FOUND) {
        return stand_nowhere(cursor, found == LW_BLOCK_DAMAGED);
    }
    cursor->trail_count = 0;
    make_room(&cursor->key, lw_block_key_size(&head));
    if (head.shared_size > 0) {
        memcpy(cursor->key.data, key.data, head.shared_size);
    }
    cursor->key.size = head.shared_size;
    return take_key(cursor, &head, head.shared_size) && stand(cursor, offset, &head);
}

/* ---- back ------------------------------------------------------------------------------------ */

/* The last restart before `end`, or the first of all. */
static uint32_t restart_before(const lw_block *block, uint32_t end) {
    uint32_t low = 0, high = block->restart_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (lw_block_restart(block, middle) < end) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return lw_block_restart(block, low);
}

/* Walks up from a restart to the entry that ends where `end` begins. */
static bool stand_before(lw_block_cursor *cursor, uint32_t end) {
    bool standing = stand_at(cursor, restart_before(&cursor->block, end), 0);
    while (standing && cursor->next < end) {
        standing = lw_block_cursor_next(cursor);
    }
    return standing && cursor->next == end ? true : stand_nowhere(cursor, true);
}

/* Notes where the entries from the restart on begin; the older half goes when there is no room. */
static bool make_trail(lw_block_cursor *cursor) {
    uint32_t offset = restart_before(&cursor->block, cursor->offset);
    cursor->trail_count = 0;
    while (offset < cursor->offset) {
        lw_block_head head;
        if (!lw_block_head_read(&cursor->block, offset, &head)) {
            return false;
        }
        if (cursor->trail_count == LW_BLOCK_TRAIL_MAX) {
            cursor->trail_count /= 2;
            memmove(cursor->trail, cursor->trail + cursor->trail_count,
                    cursor->trail_count * sizeof(cursor->trail[0]));
        }
        cursor->trail[cursor->trail_count++] = offset;
        offset = lw_block_end_of(&cursor->block, &head);
    }
    return offset == cursor->offset && cursor->trail_count > 0;
}

/* Puts the bytes from `from` to `to` of the key before into cursor->key: the entries of the trail
 * have them. False if it does not reach so far back, or something is wrong. */
static bool gather(lw_block_cursor *cursor, size_t from, size_t to) {
    for (uint32_t index = cursor->trail_count; to > from; index--) {
        lw_block_head head;
        if (index == 0 || !lw_block_head_read(&cursor->block, cursor->trail[index - 1], &head) ||
            lw_block_key_size(&head) < to) {
            return false;
        }
        if (head.shared_size < to) {
            memcpy(cursor->key.data + head.shared_size, head.unshared, to - head.shared_size);
            to = head.shared_size;
        }
    }
    return true;
}

bool lw_block_cursor_previous(lw_block_cursor *cursor) {
    LW_ASSERT(cursor->standing);
    uint32_t end = cursor->offset;
    size_t known_size = cursor->shared_size;
    lw_block_head head;
    if (end == 0) {
        return stand_nowhere(cursor, false);
    }
    if (cursor->trail_count == 0 && !make_trail(cursor)) {
        return stand_nowhere(cursor, true);
    }
    uint32_t offset = cursor->trail[--cursor->trail_count];
    if (!lw_block_head_read(&cursor->block, offset, &head) ||
        lw_block_key_size(&head) < known_size) {
        return stand_nowhere(cursor, true);
    }
    make_room(&cursor->key, lw_block_key_size(&head));
    if (!gather(cursor, known_size, head.shared_size)) {
        return stand_before(cursor, end);
    }
    if (head.unshared_size > 0) {
        memcpy(cursor->key.data + head.shared_size, head.unshared, head.unshared_size);
    }
    cursor->key.size = lw_block_key_size(&head);
    cursor->repeats = false;
    return stand(cursor, offset, &head);
}

bool lw_block_cursor_last(lw_block_cursor *cursor) {
    return stand_before(cursor, cursor->block.entries_size);
}

bool lw_block_cursor_seek_before(lw_block_cursor *cursor, lw_bytes key, uint64_t sequence) {
    if (lw_block_cursor_seek(cursor, key, sequence)) {
        return lw_block_cursor_previous(cursor);
    }
    return cursor->damaged ? false : lw_block_cursor_last(cursor);
}

bool lw_block_cursor_check_restarts(lw_block_cursor *cursor) {
    const lw_block *block = &cursor->block;
    uint32_t restart = 0;
    for (bool on = lw_block_cursor_first(cursor); on; on = lw_block_cursor_next(cursor)) {
        if (restart < block->restart_count && lw_block_restart(block, restart) == cursor->offset) {
            /* The size of what is shared comes first. */
            if (block->bytes[cursor->offset] != 0) {
                return false;
            }
            restart++;
        }
    }
    return !cursor->damaged && restart == block->restart_count;
}
