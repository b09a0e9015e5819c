/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: built by appending, searched from their restarts. The format and the invariants are at
 * the head of block.h.
 *
 * A search halves the restarts, whose keys lie whole in the block, then walks on from the last one
 * before its target. To go back is to walk up from a restart. */
#include "storage/block.h"

enum { REFERENCE_FLAG = 1 << 27 }; /* in the size of a value */
_Static_assert((int)LW_TREE_VALUE_SIZE_MAX < (int)REFERENCE_FLAG, "no value is so long");

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
        lw_buffer_append_varint(out, entry->value.size | (is_reference ? REFERENCE_FLAG : 0));
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

/* ---- reading --------------------------------------------------------------------------------- */

/* What stands before the bytes of an entry. */
typedef struct entry_head {
    uint64_t shared_size, unshared_size, sequence, value_size;
    lw_entry_kind kind;
    const uint8_t *unshared; /* the value follows */
} entry_head;

enum { SHORT_SIZE_MAX = 4 }; /* bytes of a varint that are taken without a loop */

/* As lw_take_varint, but quick for short ones: most are one byte, sequences a few. */
static inline bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *value) {
    const uint8_t *from = *at;
    if (from < end && from[0] < 0x80) {
        *value = from[0];
        *at = from + 1;
        return true;
    }
    if (end - from >= SHORT_SIZE_MAX && (from[1] < 0x80 || from[2] < 0x80 || from[3] < 0x80)) {
        uint64_t taken = (from[0] & 0x7fU) | (uint64_t)(from[1] & 0x7f) << 7;
        uint32_t size = 2;
        for (; from[size - 1] >= 0x80; size++) {
            taken |= (uint64_t)(from[size] & 0x7f) << 7 * size;
        }
        *value = taken;
        *at = from + size;
        return from[size - 1] != 0; /* the shortest form only */
    }
    lw_bytes rest = lw_view(from, (size_t)(end - from));
    bool taken = lw_take_varint(&rest, value);
    *at = rest.data;
    return taken;
}

/* Reads the head at `offset`, and makes sure that the whole entry lies in the block. */
static inline bool read_head(const lw_block_cursor *cursor, uint32_t offset, entry_head *head) {
    const uint8_t *at = cursor->bytes + offset, *end = cursor->bytes + cursor->entries_size;
    uint64_t unshared;
    if (!take_varint(&at, end, &head->shared_size) || !take_varint(&at, end, &unshared) ||
        !take_varint(&at, end, &head->sequence)) {
        return false;
    }
    head->value_size = 0;
    head->kind = (unshared & 1) != 0 ? LW_ENTRY_DELETE : LW_ENTRY_PUT;
    head->unshared_size = unshared >> 1;
    if (head->kind == LW_ENTRY_PUT && !take_varint(&at, end, &head->value_size)) {
        return false;
    }
    if ((head->value_size & REFERENCE_FLAG) != 0) {
        head->kind = LW_ENTRY_REFERENCE;
        head->value_size ^= REFERENCE_FLAG;
    }
    head->unshared = at;
    size_t left = (size_t)(end - at);
    return head->unshared_size <= left && head->value_size <= left - head->unshared_size &&
           head->shared_size <= LW_TREE_KEY_SIZE_MAX &&
           head->unshared_size <= LW_TREE_KEY_SIZE_MAX - head->shared_size &&
           head->value_size <= LW_TREE_VALUE_SIZE_MAX;
}

static bool stand_nowhere(lw_block_cursor *cursor, bool damaged) {
    cursor->standing = false;
    cursor->damaged = damaged;
    return false;
}

/* Puts the key of an entry together from the one that cursor->key holds, of which `known_size`
 * bytes may be shared. */
static inline bool take_key(lw_block_cursor *cursor, const entry_head *head, size_t known_size) {
    lw_buffer *key = &cursor->key;
    size_t size = head->shared_size + head->unshared_size;
    if (head->shared_size > known_size) {
        return false;
    }
    if (size > key->capacity || key->data == NULL) {
        (void)lw_buffer_reserve(key, size - key->size);
    }
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

/* Stands on the entry at `offset`. cursor->key holds the key that the cursor stood on before; if
 * that is the entry before this one, `known_size` is its size, else 0. */
static inline bool stand_at(lw_block_cursor *cursor, uint32_t offset, size_t known_size) {
    entry_head head;
    if (offset == cursor->entries_size) {
        return stand_nowhere(cursor, false);
    }
    if (!read_head(cursor, offset, &head) || !take_key(cursor, &head, known_size)) {
        return stand_nowhere(cursor, true);
    }
    const uint8_t *value = head.unshared + head.unshared_size;
    cursor->offset = offset;
    cursor->next = (uint32_t)(value + head.value_size - cursor->bytes);
    cursor->entry = (lw_entry){.key = lw_buffer_view(&cursor->key),
                               .sequence = head.sequence,
                               .kind = head.kind,
                               .value = lw_view(value, head.value_size)};
    cursor->standing = true;
    return true;
}

void lw_block_cursor_reset(lw_block_cursor *cursor) {
    lw_buffer_reset(&cursor->key);
    *cursor = lw_block_cursor_in(cursor->key.memory);
}

bool lw_block_cursor_open(lw_block_cursor *cursor, lw_bytes block) {
    (void)stand_nowhere(cursor, true);
    if (block.size < 2 * sizeof(uint32_t) || block.size > UINT32_MAX) {
        return false;
    }
    uint32_t restart_count = lw_get_u32(block.data + block.size - sizeof(uint32_t));
    size_t room = block.size - sizeof(uint32_t);
    if (restart_count == 0 || restart_count > room / sizeof(uint32_t)) {
        return false;
    }
    cursor->bytes = block.data;
    cursor->restart_count = restart_count;
    cursor->entries_size = (uint32_t)(room - restart_count * sizeof(uint32_t));
    if (cursor->entries_size == 0 || lw_get_u32(block.data + cursor->entries_size) != 0) {
        return false;
    }
    cursor->damaged = false;
    return true;
}

/* The offset of a restart, or entries_size, at which nothing can be read, if it points outside. */
static uint32_t restart_offset(const lw_block_cursor *cursor, uint32_t restart) {
    LW_ASSERT(restart < cursor->restart_count);
    uint32_t offset = lw_get_u32(cursor->bytes + cursor->entries_size + restart * sizeof(uint32_t));
    return offset < cursor->entries_size ? offset : cursor->entries_size;
}

static bool stand_at_restart(lw_block_cursor *cursor, uint32_t restart) {
    cursor->restart = restart;
    return stand_at(cursor, restart_offset(cursor, restart), 0) || stand_nowhere(cursor, true);
}

/* Finds the last restart whose entry is before (key, sequence), or the first of all. */
static bool find_restart(const lw_block_cursor *cursor, lw_bytes key, uint64_t sequence,
                         uint32_t *restart) {
    uint32_t low = 0, high = cursor->restart_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        entry_head head;
        if (!read_head(cursor, restart_offset(cursor, middle), &head) || head.shared_size != 0) {
            return false;
        }
        lw_bytes restart_key = lw_view(head.unshared, head.unshared_size);
        if (lw_entry_compare(restart_key, head.sequence, key, sequence) < 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    *restart = low;
    return true;
}

bool lw_block_cursor_next(lw_block_cursor *cursor) {
    LW_ASSERT(cursor->standing);
    return stand_at(cursor, cursor->next, cursor->key.size);
}

bool lw_block_cursor_seek(lw_block_cursor *cursor, lw_bytes key, uint64_t sequence) {
    uint32_t restart;
    if (!find_restart(cursor, key, sequence, &restart)) {
        return stand_nowhere(cursor, true);
    }
    bool standing = stand_at_restart(cursor, restart);
    while (standing &&
           lw_entry_compare(cursor->entry.key, cursor->entry.sequence, key, sequence) < 0) {
        standing = lw_block_cursor_next(cursor);
    }
    return standing;
}

/* Walks up from a restart to the entry that ends where `end` begins. */
static bool stand_before(lw_block_cursor *cursor, uint32_t restart, uint32_t end) {
    bool standing = stand_at_restart(cursor, restart);
    while (standing && cursor->next < end) {
        standing = lw_block_cursor_next(cursor);
    }
    return standing && cursor->next == end ? true : stand_nowhere(cursor, true);
}

bool lw_block_cursor_first(lw_block_cursor *cursor) {
    return stand_at_restart(cursor, 0);
}

bool lw_block_cursor_last(lw_block_cursor *cursor) {
    return stand_before(cursor, cursor->restart_count - 1, cursor->entries_size);
}

bool lw_block_cursor_previous(lw_block_cursor *cursor) {
    LW_ASSERT(cursor->standing);
    uint32_t end = cursor->offset;
    if (end == 0) {
        return stand_nowhere(cursor, false);
    }
    /* The last restart before the entry: its own, or the one before if it is at it itself, or one
     * further on if it came here by walking. */
    uint32_t restart = cursor->restart;
    while (restart + 1 < cursor->restart_count && restart_offset(cursor, restart + 1) < end) {
        restart++;
    }
    while (restart > 0 && restart_offset(cursor, restart) >= end) {
        restart--;
    }
    return stand_before(cursor, restart, end);
}

bool lw_block_cursor_seek_before(lw_block_cursor *cursor, lw_bytes key, uint64_t sequence) {
    if (lw_block_cursor_seek(cursor, key, sequence)) {
        return lw_block_cursor_previous(cursor);
    }
    return cursor->damaged ? false : lw_block_cursor_last(cursor);
}

bool lw_block_cursor_check_restarts(lw_block_cursor *cursor) {
    uint32_t restart = 0;
    for (bool on = lw_block_cursor_first(cursor); on; on = lw_block_cursor_next(cursor)) {
        if (restart < cursor->restart_count && restart_offset(cursor, restart) == cursor->offset) {
            /* The size of what is shared comes first. */
            if (cursor->bytes[cursor->offset] != 0) {
                return false;
            }
            restart++;
        }
    }
    return !cursor->damaged && restart == cursor->restart_count;
}
