/* SPDX-License-Identifier: Apache-2.0 */
/* Write batches: built by appending, read from the front, checked before they are believed.
 *
 * Invariants
 * 1. What put and delete append, next takes back, and a batch has only one encoding.
 * 2. An operation taken from any bytes keeps within the limits of a tree (storage/table.h), so that
 *    whoever applies it need not look again. */
#include "storage/batch.h"

#include "storage/table.h"

static void append_sized(lw_buffer *batch, lw_bytes bytes) {
    lw_buffer_append_varint(batch, bytes.size);
    lw_buffer_append(batch, bytes);
}

void lw_batch_put(lw_buffer *batch, lw_bytes key, lw_bytes value) {
    LW_ASSERT(key.size <= LW_TREE_KEY_SIZE_MAX);
    LW_ASSERT(value.size <= LW_TREE_VALUE_SIZE_MAX);
    lw_buffer_append_u8(batch, LW_BATCH_PUT);
    append_sized(batch, key);
    append_sized(batch, value);
}

void lw_batch_delete(lw_buffer *batch, lw_bytes key) {
    LW_ASSERT(key.size <= LW_TREE_KEY_SIZE_MAX);
    lw_buffer_append_u8(batch, LW_BATCH_DELETE);
    append_sized(batch, key);
}

static bool take_sized(lw_bytes *rest, size_t size_max, lw_bytes *taken) {
    uint64_t size;
    return lw_take_varint(rest, &size) && size <= size_max && lw_take_bytes(rest, size, taken);
}

bool lw_batch_next(lw_bytes *rest, lw_batch_operation *operation) {
    lw_bytes after = *rest;
    lw_bytes kind;
    lw_batch_operation taken = {.kind = LW_BATCH_DELETE};
    if (!lw_take_bytes(&after, 1, &kind) ||
        (kind.data[0] != LW_BATCH_PUT && kind.data[0] != LW_BATCH_DELETE)) {
        return false;
    }
    taken.kind = (lw_batch_kind)kind.data[0];
    if (!take_sized(&after, LW_TREE_KEY_SIZE_MAX, &taken.key)) {
        return false;
    }
    if (taken.kind == LW_BATCH_PUT && !take_sized(&after, LW_TREE_VALUE_SIZE_MAX, &taken.value)) {
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
