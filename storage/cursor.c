/* SPDX-License-Identifier: Apache-2.0 */
/* Cursors: of all entries that the merge meets, the newest of each key that the snapshot sees,
 * unless it is a deletion, within bounds.
 *
 * Going forward the merge stands on the entry the cursor shows, so nothing is copied. Going
 * back the merge meets the oldest entry of a key first and the one that counts last, so the cursor
 * keeps a copy and the merge stands before all entries of the key. A change of direction places the
 * merge anew. */
#include "storage/tree.h"
#include "storage/value_fetch.h"

struct lw_cursor {
    lw_snapshot *snapshot;
    lw_merge *merge;
    lw_bytes lower, upper; /* owned; size 0: none */
    lw_buffer key;         /* going back: where the cursor stands */
    lw_buffer copy;        /* ... and the value there, or the reference to it */
    lw_ahead *ahead;       /* for values that lie elsewhere; NULL before the first */
    lw_bytes shown, value; /* what the cursor stands on, if valid */
    bool valid;
    bool one_part; /* see has_one_part */
};

/* ---- opening -------------------------------------------------------------------------------- */

/* Whether all keys within the bounds have one filter part: then tables without it can be left out.
 */
static bool has_one_part(const lw_cursor *cursor) {
    lw_filter_part part = cursor->snapshot->tree->store->options.filter_part;
    if (part == NULL || cursor->lower.size == 0 || cursor->upper.size == 0) {
        return false;
    }
    size_t size = part(cursor->lower);
    return size == part(cursor->upper) && memcmp(cursor->lower.data, cursor->upper.data, size) == 0;
}

/* Whether the filter of a table that is open says that nothing within the bounds is there. One that
 * is not open yet is opened by the merge, which may suspend, and is asked the next time. */
static bool certainly_without(const lw_cursor *cursor, const lw_table_file *file) {
    return cursor->one_part && file->shared->table != NULL &&
           !lw_table_may_hold(file->shared->table, cursor->lower);
}

/* Adds those files of a level that reach into the bounds. */
static void add_level(lw_cursor *cursor, uint32_t level) {
    const lw_version *version = cursor->snapshot->version;
    lw_table_file *const *files = lw_version_files(version, level);
    const lw_bytes *low = cursor->lower.size > 0 ? &cursor->lower : NULL;
    const lw_bytes *high = cursor->upper.size > 0 ? &cursor->upper : NULL;
    uint32_t count = lw_version_count(version, level), start = 0;
    if (level > 0) {
        start = low == NULL ? 0 : lw_files_find(files, count, *low);
        while (count > start && high != NULL && lw_compare(files[count - 1]->low, *high) >= 0) {
            count--;
        }
        bool without = count == start + 1 && certainly_without(cursor, files[start]);
        if (count > start && !without) {
            lw_merge_add_run(cursor->merge, files + start, count - start);
        }
        return;
    }
    for (uint32_t index = 0; index < count; index++) {
        if (lw_table_file_overlaps(files[index], low, high) &&
            !certainly_without(cursor, files[index])) {
            lw_merge_add_run(cursor->merge, files + index, 1);
        }
    }
}

lw_cursor *lw_cursor_open(lw_snapshot *snapshot, lw_bytes lower, lw_bytes upper) {
    const lw_version *version = snapshot->version;
    lw_memory *memory = snapshot->tree->store->memory;
    lw_cursor *cursor = lw_allocate(memory, sizeof(*cursor));
    uint32_t source_count =
        version->memtable_count + lw_version_count(version, 0) + LW_LEVEL_COUNT - 1;
    *cursor = (lw_cursor){.snapshot = snapshot,
                          .merge = lw_merge_open(memory, source_count),
                          .lower = lw_copy(memory, lower),
                          .upper = lw_copy(memory, upper),
                          .key = lw_buffer_in(memory),
                          .copy = lw_buffer_in(memory)};
    cursor->one_part = has_one_part(cursor);
    for (uint32_t index = 0; index < version->memtable_count; index++) {
        lw_merge_add_memtable(cursor->merge, version->memtables[index]->memtable);
    }
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        add_level(cursor, level);
    }
    return cursor;
}

void lw_cursor_close(lw_cursor *cursor) {
    lw_memory *memory = cursor->snapshot->tree->store->memory;
    lw_merge_close(cursor->merge);
    lw_ahead_close(cursor->ahead);
    lw_free(memory, (void *)cursor->lower.data);
    lw_free(memory, (void *)cursor->upper.data);
    lw_buffer_reset(&cursor->key);
    lw_buffer_reset(&cursor->copy);
    lw_free(memory, cursor);
}

/* ---- settling ------------------------------------------------------------------------------- */

static bool below_upper(const lw_cursor *cursor, lw_bytes key) {
    return cursor->upper.size == 0 || lw_compare(key, cursor->upper) < 0;
}

static bool above_lower(const lw_cursor *cursor, lw_bytes key) {
    return cursor->lower.size == 0 || lw_compare(key, cursor->lower) >= 0;
}

static void remember_key(lw_cursor *cursor, lw_bytes key) {
    lw_buffer_clear(&cursor->key);
    lw_buffer_append(&cursor->key, key);
}

/* Shows `key`, whose value `file` refers to; that is read to where the cursor keeps it. */
LW_YIELDS static lw_status show_value(lw_cursor *cursor, lw_table_file *file, lw_bytes key,
                                      lw_bytes reference) {
    if (cursor->ahead == NULL) {
        cursor->ahead = lw_ahead_open(cursor->snapshot->tree->store->memory,
                                      cursor->snapshot->tree->store->budget);
    }
    LW_TRY(lw_ahead_fetch(cursor->ahead, file, key, reference, &cursor->value));
    cursor->shown = key;
    cursor->valid = true;
    return LW_OK;
}

/* From where the merge stands forward to the next key that has a value. */
LW_YIELDS static lw_status settle_forward(lw_cursor *cursor) {
    uint32_t work = 0;
    const lw_entry *entry;
    while ((entry = lw_merge_entry(cursor->merge)) != NULL && below_upper(cursor, entry->key)) {
        bool seen = entry->sequence <= cursor->snapshot->sequence;
        if (seen && entry->kind == LW_ENTRY_REFERENCE) {
            return show_value(cursor, lw_merge_file(cursor->merge), entry->key, entry->value);
        }
        if (seen && entry->kind == LW_ENTRY_PUT) {
            cursor->shown = entry->key;
            cursor->value = entry->value;
            cursor->valid = true;
            return LW_OK;
        }
        LW_TRY(seen ? lw_merge_next_key(cursor->merge) : lw_merge_step(cursor->merge));
        lw_work_done(&work);
    }
    return LW_OK;
}

/* What counts of the entries of a key. */
typedef struct taken {
    bool has_value;
    lw_table_file *file; /* in which the value is but a reference; or NULL */
} taken;

/* Moves the merge back beyond all entries of the key it stands on, and keeps what counts of them.
 */
LW_YIELDS static lw_status take_key_back(lw_cursor *cursor, taken *what, uint32_t *work) {
    const lw_entry *entry;
    *what = (taken){.has_value = false};
    while ((entry = lw_merge_entry(cursor->merge)) != NULL &&
           lw_equal(entry->key, lw_buffer_view(&cursor->key))) {
        if (entry->sequence <= cursor->snapshot->sequence) {
            what->has_value = entry->kind != LW_ENTRY_DELETE;
            what->file = entry->kind == LW_ENTRY_REFERENCE ? lw_merge_file(cursor->merge) : NULL;
            lw_buffer_clear(&cursor->copy);
            lw_buffer_append(&cursor->copy, entry->value);
        }
        LW_TRY(lw_merge_step(cursor->merge));
        lw_work_done(work);
    }
    return LW_OK;
}

LW_YIELDS static lw_status settle_back(lw_cursor *cursor) {
    uint32_t work = 0;
    const lw_entry *entry;
    while ((entry = lw_merge_entry(cursor->merge)) != NULL && above_lower(cursor, entry->key)) {
        taken what;
        remember_key(cursor, entry->key);
        LW_TRY(take_key_back(cursor, &what, &work));
        if (what.file != NULL) {
            return show_value(cursor, what.file, lw_buffer_view(&cursor->key),
                              lw_buffer_view(&cursor->copy));
        }
        if (what.has_value) {
            cursor->shown = lw_buffer_view(&cursor->key);
            cursor->value = lw_buffer_view(&cursor->copy);
            cursor->valid = true;
            return LW_OK;
        }
    }
    return LW_OK;
}

/* ---- moving --------------------------------------------------------------------------------- */

lw_status lw_cursor_seek(lw_cursor *cursor, lw_bytes key) {
    cursor->valid = false;
    bool inside = above_lower(cursor, key);
    LW_TRY(lw_merge_seek(cursor->merge, inside ? key : cursor->lower, UINT64_MAX));
    return settle_forward(cursor);
}

lw_status lw_cursor_seek_before(lw_cursor *cursor, lw_bytes key) {
    cursor->valid = false;
    bool inside = below_upper(cursor, key);
    LW_TRY(lw_merge_seek_before(cursor->merge, inside ? key : cursor->upper));
    return settle_back(cursor);
}

lw_status lw_cursor_first(lw_cursor *cursor) {
    return lw_cursor_seek(cursor, cursor->lower);
}

lw_status lw_cursor_last(lw_cursor *cursor) {
    if (cursor->upper.size > 0) {
        return lw_cursor_seek_before(cursor, cursor->upper);
    }
    cursor->valid = false;
    LW_TRY(lw_merge_last(cursor->merge));
    return settle_back(cursor);
}

lw_status lw_cursor_next(lw_cursor *cursor) {
    LW_ASSERT(cursor->valid);
    cursor->valid = false;
    if (lw_merge_forward(cursor->merge)) {
        LW_TRY(lw_merge_next_key(cursor->merge));
    } else {
        LW_TRY(lw_merge_seek(cursor->merge, lw_buffer_view(&cursor->key), 0));
    }
    return settle_forward(cursor);
}

lw_status lw_cursor_previous(lw_cursor *cursor) {
    LW_ASSERT(cursor->valid);
    cursor->valid = false;
    if (lw_merge_forward(cursor->merge)) {
        remember_key(cursor, cursor->shown); /* which the merge is about to leave */
        LW_TRY(lw_merge_seek_before(cursor->merge, lw_buffer_view(&cursor->key)));
    }
    return settle_back(cursor);
}

bool lw_cursor_valid(const lw_cursor *cursor) {
    return cursor->valid;
}

lw_bytes lw_cursor_key(const lw_cursor *cursor) {
    LW_ASSERT(cursor->valid);
    return cursor->shown;
}

lw_bytes lw_cursor_value(const lw_cursor *cursor) {
    LW_ASSERT(cursor->valid);
    return cursor->value;
}
