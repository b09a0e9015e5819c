/* SPDX-License-Identifier: Apache-2.0 */
/* Write batches: built by appending, read from the front, checked before they are believed.
 *
 * Invariants
 * 1. What put and delete append, next takes back, and a batch has only one encoding.
 * 2. An operation taken from any bytes keeps within the limits of a tree (storage/table.h), so that
 *    whoever applies it need not look again. */
#include "storage/batch.h"

#include "storage/table.h"

enum { KEY_ROOM = 1 + LW_VARINT_SIZE_MAX }; /* bytes before a key, at most */

/* Writes bytes behind their size; returns where they end. */
static uint8_t *put_sized(uint8_t *to, lw_bytes bytes) {
    to += lw_put_varint(to, bytes.size);
    if (bytes.size > 0) {
        memcpy(to, bytes.data, bytes.size);
    }
    return to + bytes.size;
}

void lw_batch_put(lw_buffer *batch, lw_bytes key, lw_bytes value) {
    LW_ASSERT(key.size <= LW_TREE_KEY_SIZE_MAX);
    LW_ASSERT(value.size <= LW_TREE_VALUE_SIZE_MAX);
    uint8_t *to = lw_buffer_reserve(batch, KEY_ROOM + key.size + LW_VARINT_SIZE_MAX + value.size);
    *to++ = LW_BATCH_PUT;
    batch->size = (size_t)(put_sized(put_sized(to, key), value) - batch->data);
}

void lw_batch_delete(lw_buffer *batch, lw_bytes key) {
    LW_ASSERT(key.size <= LW_TREE_KEY_SIZE_MAX);
    uint8_t *to = lw_buffer_reserve(batch, KEY_ROOM + key.size);
    *to++ = LW_BATCH_DELETE;
    batch->size = (size_t)(put_sized(to, key) - batch->data);
}

static bool take_sized(lw_bytes *rest, size_t size_max, lw_bytes *taken) {
    uint64_t size;
    return lw_take_varint(rest, &size) && size <= size_max && lw_take_bytes(rest, size, taken);
}

bool lw_batch_next(lw_bytes *rest, lw_batch_operation *operation) {
    if (rest->size == 0) {
        return false;
    }
    uint8_t kind = rest->data[0];
    lw_bytes after = lw_view(rest->data + 1, rest->size - 1);
    lw_batch_operation taken = {.kind = (lw_batch_kind)kind};
    if ((kind != LW_BATCH_PUT && kind != LW_BATCH_DELETE) ||
        !take_sized(&after, LW_TREE_KEY_SIZE_MAX, &taken.key) ||
        (kind == LW_BATCH_PUT && !take_sized(&after, LW_TREE_VALUE_SIZE_MAX, &taken.value))) {
        return false;
    }
    *rest = after;
    *operation = taken;
    return true;
}

lw_status lw_batch_check(lw_bytes batch) {
    lw_bytes rest = batch;
    lw_batch_operation operation;
    while (lw_batch_next(&rest, &operation)) {
    }
    if (rest.size > 0) {
        return lw_fail(LW_CORRUPTION,
                       "a write batch of %zu bytes cannot be read from byte %zu on; the log entry "
                       "or the message that holds it is damaged",
                       batch.size, batch.size - rest.size);
    }
    return LW_OK;
}

bool lw_batch_only_deletes(lw_bytes batch) {
    lw_batch_operation operation;
    while (lw_batch_next(&batch, &operation)) {
        if (operation.kind != LW_BATCH_DELETE) {
            return false;
        }
    }
    return true;
}
