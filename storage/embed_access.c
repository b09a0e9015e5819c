/* SPDX-License-Identifier: Apache-2.0 */
/* lathwork_storage.h: writing and reading. See embed.h. */
#include "storage/embed.h"

#include "storage/batch.h"

enum { OPERATION_SIZE_MAX = 16 }; /* bytes of an operation in a batch, besides key and value */

struct lw_storage_batch {
    lw_storage *storage;
    lw_buffer operations;
};

struct lw_storage_snapshot {
    lw_storage *storage;
    lw_snapshot *snapshot;
};

struct lw_storage_cursor {
    lw_storage *storage;
    lw_cursor *cursor;
};

/* The caller's bytes as ours. */
static lw_bytes ours(lw_storage_bytes bytes) {
    return lw_view(bytes.data, bytes.size);
}
static lw_storage_bytes theirs(lw_bytes bytes) {
    return lw_storage_view(bytes.data, bytes.size);
}

/* ---- writing ------------------------------------------------------------------------------------
 */

typedef struct writing {
    lw_bytes operations;
    bool durable;
} writing;

LW_YIELDS static lw_status write_body(lw_storage *storage, void *argument) {
    const writing *asked = argument;
    return lw_engine_write(storage->engine, LW_EMBED_TREE, asked->operations, asked->durable);
}

static lw_storage_status write_operations(lw_storage *storage, const lw_buffer *operations,
                                          bool durable, lw_storage_error *error) {
    writing asked = {.operations = lw_buffer_view(operations), .durable = durable};
    return lw_embed_perform(storage, write_body, &asked, error);
}

/* Appends a put, or a delete if `value` is NULL. */
static lw_storage_status append_operation(lw_buffer *operations, lw_storage_bytes key,
                                          const lw_storage_bytes *value, lw_storage_error *error) {
    size_t value_size = value != NULL ? value->size : 0;
    if (key.size > LW_STORAGE_KEY_SIZE_MAX || value_size > LW_STORAGE_VALUE_SIZE_MAX) {
        bool too_long_a_key = key.size > LW_STORAGE_KEY_SIZE_MAX;
        return lw_embed_invalid(
            error, "a %s of %zu bytes is longer than the %d allowed",
            too_long_a_key ? "key" : "value", too_long_a_key ? key.size : value_size,
            too_long_a_key ? (int)LW_STORAGE_KEY_SIZE_MAX : (int)LW_STORAGE_VALUE_SIZE_MAX);
    }
    if (operations->size + key.size + value_size > LW_STORAGE_BATCH_SIZE_MAX - OPERATION_SIZE_MAX) {
        return lw_embed_invalid(error, "a batch has at most %d bytes: write it, then begin another",
                                (int)LW_STORAGE_BATCH_SIZE_MAX);
    }
    if (value != NULL) {
        lw_batch_put(operations, ours(key), ours(*value));
    } else {
        lw_batch_delete(operations, ours(key));
    }
    return LW_STORAGE_OK;
}

static lw_storage_status write_one(lw_storage *storage, lw_storage_bytes key,
                                   const lw_storage_bytes *value, lw_storage_error *error) {
    lw_buffer_clear(&storage->batch);
    lw_storage_status status = append_operation(&storage->batch, key, value, error);
    return status != LW_STORAGE_OK
               ? status
               : write_operations(storage, &storage->batch, storage->durable, error);
}

lw_storage_status lw_storage_put(lw_storage *storage, lw_storage_bytes key, lw_storage_bytes value,
                                 lw_storage_error *error) {
    return write_one(storage, key, &value, error);
}

lw_storage_status lw_storage_delete(lw_storage *storage, lw_storage_bytes key,
                                    lw_storage_error *error) {
    return write_one(storage, key, NULL, error);
}

LW_YIELDS static lw_status sync_body(lw_storage *storage, void *argument) {
    (void)argument;
    return lw_engine_sync(storage->engine);
}

lw_storage_status lw_storage_sync(lw_storage *storage, lw_storage_error *error) {
    return lw_embed_perform(storage, sync_body, NULL, error);
}

lw_storage_batch *lw_storage_batch_open(lw_storage *storage) {
    lw_storage_batch *batch = lw_allocate_zero(storage->env->memory, sizeof(*batch));
    batch->storage = storage;
    batch->operations = lw_buffer_in(storage->env->memory);
    storage->opened++;
    return batch;
}

void lw_storage_batch_close(lw_storage_batch *batch) {
    if (batch != NULL) {
        batch->storage->opened--;
        lw_buffer_reset(&batch->operations);
        lw_free(batch->storage->env->memory, batch);
    }
}

lw_storage_status lw_storage_batch_put(lw_storage_batch *batch, lw_storage_bytes key,
                                       lw_storage_bytes value, lw_storage_error *error) {
    return append_operation(&batch->operations, key, &value, error);
}

lw_storage_status lw_storage_batch_delete(lw_storage_batch *batch, lw_storage_bytes key,
                                          lw_storage_error *error) {
    return append_operation(&batch->operations, key, NULL, error);
}

void lw_storage_batch_clear(lw_storage_batch *batch) {
    lw_buffer_clear(&batch->operations);
}

size_t lw_storage_batch_size(const lw_storage_batch *batch) {
    return batch->operations.size;
}

lw_storage_status lw_storage_write(lw_storage *storage, const lw_storage_batch *batch, bool durable,
                                   lw_storage_error *error) {
    if (batch->storage != storage) {
        return lw_embed_invalid(error, "the batch was opened from another handle");
    }
    return write_operations(storage, &batch->operations, durable, error);
}

/* ---- reading ------------------------------------------------------------------------------------
 */

typedef struct reading {
    lw_snapshot *snapshot; /* NULL: what is there now */
    lw_bytes key;
} reading;

LW_YIELDS static lw_status get_body(lw_storage *storage, void *argument) {
    const reading *asked = argument;
    lw_snapshot *snapshot =
        asked->snapshot != NULL ? asked->snapshot : lw_snapshot_open(storage->tree);
    lw_buffer_clear(&storage->value);
    lw_status status = lw_snapshot_get(snapshot, asked->key, &storage->value);
    if (asked->snapshot == NULL) {
        lw_snapshot_close(snapshot);
    }
    return status;
}

static lw_storage_status get(lw_storage *storage, lw_snapshot *snapshot, lw_storage_bytes key,
                             lw_storage_bytes *value, lw_storage_error *error) {
    reading asked = {.snapshot = snapshot, .key = ours(key)};
    lw_storage_status status = lw_embed_perform(storage, get_body, &asked, error);
    *value = status == LW_STORAGE_OK ? theirs(lw_buffer_view(&storage->value))
                                     : lw_storage_view(NULL, 0);
    return status;
}

lw_storage_status lw_storage_get(lw_storage *storage, lw_storage_bytes key, lw_storage_bytes *value,
                                 lw_storage_error *error) {
    return get(storage, NULL, key, value, error);
}

lw_storage_snapshot *lw_storage_snapshot_open(lw_storage *storage) {
    lw_storage_snapshot *snapshot = lw_allocate(storage->env->memory, sizeof(*snapshot));
    *snapshot =
        (lw_storage_snapshot){.storage = storage, .snapshot = lw_snapshot_open(storage->tree)};
    storage->opened++;
    return snapshot;
}

void lw_storage_snapshot_close(lw_storage_snapshot *snapshot) {
    if (snapshot != NULL) {
        snapshot->storage->opened--;
        lw_snapshot_close(snapshot->snapshot);
        lw_free(snapshot->storage->env->memory, snapshot);
    }
}

lw_storage_status lw_storage_snapshot_get(lw_storage_snapshot *snapshot, lw_storage_bytes key,
                                          lw_storage_bytes *value, lw_storage_error *error) {
    return get(snapshot->storage, snapshot->snapshot, key, value, error);
}

/* ---- cursors ------------------------------------------------------------------------------------
 */

lw_storage_cursor *lw_storage_cursor_open(lw_storage_snapshot *snapshot, lw_storage_bytes lower,
                                          lw_storage_bytes upper) {
    lw_storage *storage = snapshot->storage;
    lw_storage_cursor *cursor = lw_allocate(storage->env->memory, sizeof(*cursor));
    *cursor = (lw_storage_cursor){
        .storage = storage, .cursor = lw_cursor_open(snapshot->snapshot, ours(lower), ours(upper))};
    storage->opened++;
    return cursor;
}

void lw_storage_cursor_close(lw_storage_cursor *cursor) {
    if (cursor != NULL) {
        cursor->storage->opened--;
        lw_cursor_close(cursor->cursor);
        lw_free(cursor->storage->env->memory, cursor);
    }
}

typedef struct placing {
    lw_cursor *cursor;
    lw_status (*place)(lw_cursor *cursor);
    lw_status (*seek)(lw_cursor *cursor, lw_bytes key);
    lw_bytes key;
} placing;

LW_YIELDS static lw_status place_body(lw_storage *storage, void *argument) {
    (void)storage;
    const placing *asked = argument;
    LW_TRY(asked->seek != NULL ? asked->seek(asked->cursor, asked->key)
                               : asked->place(asked->cursor));
    return lw_cursor_valid(asked->cursor) ? LW_OK : LW_NOT_FOUND;
}

static lw_storage_status place(lw_storage_cursor *cursor, lw_status (*call)(lw_cursor *cursor),
                               lw_storage_error *error) {
    placing asked = {.cursor = cursor->cursor, .place = call};
    return lw_embed_perform(cursor->storage, place_body, &asked, error);
}

static lw_storage_status seek(lw_storage_cursor *cursor,
                              lw_status (*call)(lw_cursor *cursor, lw_bytes key),
                              lw_storage_bytes key, lw_storage_error *error) {
    placing asked = {.cursor = cursor->cursor, .seek = call, .key = ours(key)};
    return lw_embed_perform(cursor->storage, place_body, &asked, error);
}

/* One on or back, from where it stands. */
static lw_storage_status move(lw_storage_cursor *cursor, lw_status (*call)(lw_cursor *cursor),
                              lw_storage_error *error) {
    return lw_cursor_valid(cursor->cursor) ? place(cursor, call, error)
                                           : lw_embed_tell(LW_NOT_FOUND, NULL, error);
}

lw_storage_status lw_storage_cursor_first(lw_storage_cursor *cursor, lw_storage_error *error) {
    return place(cursor, lw_cursor_first, error);
}

lw_storage_status lw_storage_cursor_last(lw_storage_cursor *cursor, lw_storage_error *error) {
    return place(cursor, lw_cursor_last, error);
}

lw_storage_status lw_storage_cursor_seek(lw_storage_cursor *cursor, lw_storage_bytes key,
                                         lw_storage_error *error) {
    return seek(cursor, lw_cursor_seek, key, error);
}

lw_storage_status lw_storage_cursor_seek_before(lw_storage_cursor *cursor, lw_storage_bytes key,
                                                lw_storage_error *error) {
    return seek(cursor, lw_cursor_seek_before, key, error);
}

lw_storage_status lw_storage_cursor_next(lw_storage_cursor *cursor, lw_storage_error *error) {
    return move(cursor, lw_cursor_next, error);
}

lw_storage_status lw_storage_cursor_previous(lw_storage_cursor *cursor, lw_storage_error *error) {
    return move(cursor, lw_cursor_previous, error);
}

lw_storage_bytes lw_storage_cursor_key(const lw_storage_cursor *cursor) {
    return lw_cursor_valid(cursor->cursor) ? theirs(lw_cursor_key(cursor->cursor))
                                           : lw_storage_view(NULL, 0);
}

lw_storage_bytes lw_storage_cursor_value(const lw_storage_cursor *cursor) {
    return lw_cursor_valid(cursor->cursor) ? theirs(lw_cursor_value(cursor->cursor))
                                           : lw_storage_view(NULL, 0);
}
