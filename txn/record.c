/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values of a shard's tree. The formats are in record.h. */
#include "txn/record.h"

#include "base/logline.h"
#include "txn/atomic.h"

enum {
    TAG_DATA = 'd',
    TAG_LOCK = 'l',
    TAG_META = 'm',
    ESCAPE = 0x00,
    ESCAPED_ZERO = 0xff,
    KEY_END = 0x01,
    KEY_BEHIND = 0x02, /* sorts behind all versions of a key, and before all that goes on from it */
    END_SIZE = 2,
    TIMESTAMP_SIZE = 8,
    DATA_KEY_SIZE_MIN = 1 + 1 + END_SIZE + TIMESTAMP_SIZE,
    /* In the place of a kind. */
    EXPIRING_PUT = LW_RECORD_MARK + 1,
    PUT_WITH_TTL = LW_MUTATION_STAMP + 1,
    PUT_UNTIL = LW_MUTATION_STAMP + 2,
};

/* ---- keys ----------------------------------------------------------------------------------- */

/* Bounds may be one byte longer than keys. */
_Static_assert(1 + 2 * (LW_USER_KEY_SIZE_MAX + 1) + END_SIZE + TIMESTAMP_SIZE <= 64 * 1024,
               "an escaped user key fits a tree key");

static void append_escaped(lw_buffer *tree_key, lw_bytes user_key) {
    const uint8_t zero[2] = {ESCAPE, ESCAPED_ZERO};
    while (user_key.size > 0) {
        const uint8_t *found = memchr(user_key.data, ESCAPE, user_key.size);
        size_t plain_size = found == NULL ? user_key.size : (size_t)(found - user_key.data);
        lw_buffer_append(tree_key, lw_view(user_key.data, plain_size));
        if (found != NULL) {
            lw_buffer_append(tree_key, lw_view(zero, sizeof(zero)));
            plain_size++;
        }
        user_key = lw_view(user_key.data + plain_size, user_key.size - plain_size);
    }
}

/* tag · escaped user key · 00 · end */
static void key_begin(uint8_t tag, lw_bytes user_key, uint8_t end, lw_buffer *tree_key) {
    lw_buffer_clear(tree_key);
    lw_buffer_reserve(tree_key, user_key.size + DATA_KEY_SIZE_MIN);
    lw_buffer_append_u8(tree_key, tag);
    append_escaped(tree_key, user_key);
    lw_buffer_append_u8(tree_key, ESCAPE);
    lw_buffer_append_u8(tree_key, end);
}

/* What there is up to the end of the escaped key, behind the tag; all of it if there is no end. */
static size_t prefix_size_of(lw_bytes tree_key) {
    size_t at = 1;
    while (at < tree_key.size) {
        const uint8_t *zero = memchr(tree_key.data + at, ESCAPE, tree_key.size - at);
        size_t place = zero == NULL ? tree_key.size : (size_t)(zero - tree_key.data);
        if (place + 1 < tree_key.size && tree_key.data[place + 1] == KEY_END) {
            return place + END_SIZE;
        }
        at = place + END_SIZE;
    }
    return tree_key.size;
}

void lw_record_data_key(lw_bytes user_key, uint64_t timestamp, lw_buffer *tree_key) {
    LW_ASSERT(user_key.size > 0);
    key_begin(TAG_DATA, user_key, KEY_END, tree_key);
    lw_put_u64_sorted(lw_buffer_reserve(tree_key, TIMESTAMP_SIZE), ~timestamp);
    tree_key->size += TIMESTAMP_SIZE;
}

void lw_record_data_prefix(lw_bytes user_key, lw_buffer *tree_key) {
    key_begin(TAG_DATA, user_key, KEY_END, tree_key);
}

void lw_record_data_end(lw_bytes user_key, lw_buffer *tree_key) {
    if (user_key.size == 0) {
        lw_buffer_clear(tree_key);
        lw_buffer_append_u8(tree_key, TAG_DATA + 1);
        return;
    }
    key_begin(TAG_DATA, user_key, KEY_BEHIND, tree_key);
}

void lw_record_lock_key(lw_bytes user_key, lw_buffer *tree_key) {
    lw_buffer_clear(tree_key);
    lw_buffer_append_u8(tree_key, TAG_LOCK);
    lw_buffer_append(tree_key, user_key);
}

void lw_record_lock_end(lw_buffer *tree_key) {
    lw_buffer_clear(tree_key);
    lw_buffer_append_u8(tree_key, TAG_LOCK + 1);
}

void lw_record_meta_prefix(lw_bytes start_key, lw_buffer *tree_key) {
    key_begin(TAG_META, start_key, KEY_END, tree_key);
}

void lw_record_meta_key(lw_bytes start_key, const char *name, lw_buffer *tree_key) {
    lw_record_meta_prefix(start_key, tree_key);
    lw_buffer_append(tree_key, lw_text(name));
}

void lw_record_meta_end(lw_buffer *tree_key) {
    lw_buffer_clear(tree_key);
    lw_buffer_append_u8(tree_key, TAG_META + 1);
}

lw_bytes lw_record_meta_name(lw_bytes tree_key) {
    if (tree_key.size == 0 || tree_key.data[0] != TAG_META) {
        return lw_view(NULL, 0);
    }
    size_t prefix_size = prefix_size_of(tree_key);
    return lw_view(tree_key.data + prefix_size, tree_key.size - prefix_size);
}

static lw_status damaged(lw_bytes tree_key, const char *what) {
    char text[LW_PRINTABLE_SIZE];
    return lw_fail(LW_CORRUPTION,
                   "the %s \"%s\" is damaged: stop the node and run 'lathwork check' on its folder",
                   what, lw_printable(tree_key, text, sizeof(text)));
}

bool lw_record_is_data(lw_bytes tree_key) {
    return tree_key.size > 0 && tree_key.data[0] == TAG_DATA;
}

bool lw_record_is_meta(lw_bytes tree_key) {
    return tree_key.size > 0 && tree_key.data[0] == TAG_META;
}

lw_status lw_record_data_key_split(lw_bytes tree_key, lw_bytes *prefix, uint64_t *timestamp) {
    if (tree_key.size < DATA_KEY_SIZE_MIN || tree_key.data[0] != TAG_DATA) {
        return damaged(tree_key, "key of a data record");
    }
    size_t prefix_size = tree_key.size - TIMESTAMP_SIZE;
    if (tree_key.data[prefix_size - 2] != ESCAPE || tree_key.data[prefix_size - 1] != KEY_END) {
        return damaged(tree_key, "key of a data record");
    }
    *prefix = lw_view(tree_key.data, prefix_size);
    *timestamp = ~lw_get_u64_sorted(tree_key.data + prefix_size);
    return LW_OK;
}

lw_status lw_record_user_key(lw_bytes prefix, lw_buffer *user_key) {
    LW_ASSERT(prefix.size > 1 + END_SIZE);
    lw_bytes rest = lw_view(prefix.data + 1, prefix.size - 1 - END_SIZE);
    while (rest.size > 0) {
        const uint8_t *found = memchr(rest.data, ESCAPE, rest.size);
        size_t plain_size = found == NULL ? rest.size : (size_t)(found - rest.data) + 1;
        lw_buffer_append(user_key, lw_view(rest.data, plain_size));
        if (found != NULL) {
            if (plain_size == rest.size || found[1] != ESCAPED_ZERO) {
                return damaged(prefix, "key of a data record");
            }
            plain_size++;
        }
        rest = lw_view(rest.data + plain_size, rest.size - plain_size);
    }
    return LW_OK;
}

void lw_record_user_key_piece(lw_bytes piece, lw_buffer *user_key) {
    LW_ASSERT(piece.size == 0 || piece.data[0] == TAG_DATA);
    for (size_t at = 1; at < piece.size; at++) {
        bool escape = piece.data[at] == ESCAPE;
        if (escape && (at + 1 == piece.size || piece.data[at + 1] != ESCAPED_ZERO)) {
            return; /* the key ends here, or nobody knows what follows */
        }
        lw_buffer_append_u8(user_key, piece.data[at]);
        at += escape;
    }
}

lw_bytes lw_record_locked_key(lw_bytes tree_key) {
    LW_ASSERT(tree_key.size > 1 && tree_key.data[0] == TAG_LOCK);
    return lw_view(tree_key.data + 1, tree_key.size - 1);
}

size_t lw_record_filter_part(lw_bytes tree_key) {
    return tree_key.size > 0 && tree_key.data[0] == TAG_DATA ? prefix_size_of(tree_key)
                                                             : tree_key.size;
}

/* ---- values --------------------------------------------------------------------------------- */

/* K2, as far as one record can tell. */
static bool data_record_sound(const lw_data_record *record, uint64_t timestamp) {
    bool known = record->kind >= LW_RECORD_PUT && record->kind <= LW_RECORD_MARK;
    bool placed =
        record->kind == LW_RECORD_ROLLBACK ? record->start == timestamp : record->start < timestamp;
    bool filled =
        record->kind == LW_RECORD_PUT || (record->value.size == 0 && record->expires == 0);
    return known && placed && filled;
}

void lw_lock_secondary_add(lw_bytes key, lw_buffer *secondaries) {
    LW_ASSERT(key.size > 0);
    lw_buffer_append_varint(secondaries, key.size);
    lw_buffer_append(secondaries, key);
}

bool lw_lock_secondary(lw_bytes *secondaries, lw_bytes *key) {
    uint64_t size;
    return lw_take_varint(secondaries, &size) && size > 0 && lw_take_bytes(secondaries, size, key);
}

static bool secondaries_sound(lw_bytes secondaries) {
    lw_bytes key;
    uint32_t count = 0;
    size_t size = 0;
    while (secondaries.size > 0) {
        if (!lw_lock_secondary(&secondaries, &key)) {
            return false;
        }
        count++;
        size += key.size;
    }
    return count <= LW_SECONDARY_COUNT_MAX && size <= LW_SECONDARY_BYTES_MAX;
}

/* K3, as far as one record can tell. */
static bool lock_record_sound(const lw_lock_record *record) {
    bool known = (record->kind >= LW_MUTATION_PUT && record->kind <= LW_MUTATION_LOCK) ||
                 record->kind == LW_MUTATION_STAMP;
    bool named = record->start != 0 && record->primary.size > 0;
    bool placed = record->commit_timestamp == 0 ? record->secondaries.size == 0
                                                : record->commit_timestamp > record->start &&
                                                      record->floor == record->commit_timestamp - 1;
    bool lasting = record->ttl_ms == 0 && record->put_expires == 0;
    bool timed = record->kind == LW_MUTATION_PUT && record->ttl_ms <= LW_USER_TTL_MAX_MS &&
                 (record->ttl_ms == 0 || record->put_expires == 0);
    return known && named && placed && (lasting || timed) &&
           secondaries_sound(record->secondaries) &&
           lw_atomic_operand_valid(record->kind, record->value);
}

void lw_data_record_encode(const lw_data_record *record, uint64_t timestamp, lw_buffer *out) {
    LW_ASSERT(data_record_sound(record, timestamp));
    lw_buffer_clear(out);
    lw_buffer_append_u8(out, record->expires == 0 ? (uint8_t)record->kind : EXPIRING_PUT);
    lw_buffer_append_varint(out, timestamp - record->start);
    if (record->expires != 0) {
        lw_buffer_append_u64(out, record->expires);
    }
    lw_buffer_append(out, record->value);
}

bool lw_data_record_expiring(lw_bytes bytes) {
    return bytes.size > 0 && bytes.data[0] == EXPIRING_PUT;
}

bool lw_data_record_is_version(lw_bytes bytes) {
    return bytes.size > 0 && (bytes.data[0] == LW_RECORD_PUT || bytes.data[0] == LW_RECORD_DELETE ||
                              bytes.data[0] == EXPIRING_PUT);
}

void lw_lock_record_encode(const lw_lock_record *record, lw_buffer *out) {
    LW_ASSERT(lock_record_sound(record));
    lw_buffer_clear(out);
    lw_buffer_append_u8(out, record->ttl_ms != 0        ? PUT_WITH_TTL
                             : record->put_expires != 0 ? PUT_UNTIL
                                                        : (uint8_t)record->kind);
    lw_buffer_append_u64(out, record->start);
    lw_buffer_append_u64(out, record->floor);
    lw_buffer_append_u64(out, record->expires);
    lw_buffer_append_u64(out, record->session);
    lw_buffer_append_u64(out, record->commit_timestamp);
    lw_buffer_append_varint(out, record->sequence);
    lw_buffer_append_varint(out, record->primary.size);
    lw_buffer_append(out, record->primary);
    lw_buffer_append_varint(out, record->secondaries.size);
    lw_buffer_append(out, record->secondaries);
    if (record->ttl_ms != 0 || record->put_expires != 0) {
        lw_buffer_append_u64(out, record->ttl_ms != 0 ? record->ttl_ms : record->put_expires);
    }
    lw_buffer_append(out, record->value);
}

static bool take_u64(lw_bytes *bytes, uint64_t *number) {
    lw_bytes taken;
    bool good = lw_take_bytes(bytes, sizeof(*number), &taken);
    if (good) {
        *number = lw_get_u64(taken.data);
    }
    return good;
}

lw_status lw_data_record_decode(lw_bytes tree_key, uint64_t timestamp, lw_bytes bytes,
                                lw_data_record *record) {
    lw_bytes kind;
    uint64_t lead;
    if (!lw_take_bytes(&bytes, 1, &kind) || !lw_take_varint(&bytes, &lead) || lead > timestamp) {
        return damaged(tree_key, "data record");
    }
    lw_data_record read = {.kind = (lw_record_kind)kind.data[0], .start = timestamp - lead};
    if (kind.data[0] == EXPIRING_PUT) {
        read.kind = LW_RECORD_PUT;
        if (!take_u64(&bytes, &read.expires) || read.expires == 0) {
            return damaged(tree_key, "data record");
        }
    }
    read.value = bytes;
    if (!data_record_sound(&read, timestamp)) {
        return damaged(tree_key, "data record");
    }
    *record = read;
    return LW_OK;
}

/* Takes a size and so many bytes. */
static bool take_part(lw_bytes *bytes, lw_bytes *part) {
    uint64_t size;
    return lw_take_varint(bytes, &size) && lw_take_bytes(bytes, size, part);
}

lw_status lw_lock_record_decode(lw_bytes tree_key, lw_bytes bytes, lw_lock_record *record) {
    lw_bytes kind, numbers, primary, secondaries;
    uint64_t sequence;
    if (!lw_take_bytes(&bytes, 1, &kind) || !lw_take_bytes(&bytes, 5 * 8, &numbers) ||
        !lw_take_varint(&bytes, &sequence) || sequence > UINT32_MAX ||
        !take_part(&bytes, &primary) || !take_part(&bytes, &secondaries)) {
        return damaged(tree_key, "lock record");
    }
    lw_lock_record read = {
        .kind = (lw_mutation_kind)kind.data[0],
        .start = lw_get_u64(numbers.data),
        .floor = lw_get_u64(numbers.data + 8),
        .expires = lw_get_u64(numbers.data + 16),
        .session = lw_get_u64(numbers.data + 24),
        .commit_timestamp = lw_get_u64(numbers.data + 32),
        .sequence = (uint32_t)sequence,
        .primary = primary,
        .secondaries = secondaries,
    };
    if (kind.data[0] == PUT_WITH_TTL || kind.data[0] == PUT_UNTIL) {
        uint64_t *life = kind.data[0] == PUT_WITH_TTL ? &read.ttl_ms : &read.put_expires;
        read.kind = LW_MUTATION_PUT;
        if (!take_u64(&bytes, life) || *life == 0) {
            return damaged(tree_key, "lock record");
        }
    }
    read.value = bytes;
    if (!lock_record_sound(&read)) {
        return damaged(tree_key, "lock record");
    }
    *record = read;
    return LW_OK;
}
