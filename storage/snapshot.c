/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, and the reading of single keys: newest first, and the first entry found is the answer
 * (V2). A table is opened, and its blocks are read, only if its bounds and its filter allow the
 * key. */
#include "storage/tree.h"
#include "storage/value_fetch.h"

lw_snapshot *lw_snapshot_open(lw_tree *tree) {
    lw_store_relieve_readers(tree->store);
    lw_snapshot *snapshot = lw_allocate(tree->store->memory, sizeof(*snapshot));
    *snapshot = (lw_snapshot){.tree = tree, .version = tree->version, .sequence = tree->sequence};
    lw_version_hold(snapshot->version);
    lw_tree_hold(tree);
    tree->store->snapshots++;
    return snapshot;
}

void lw_snapshot_close(lw_snapshot *snapshot) {
    lw_store *store = snapshot->tree->store;
    size_t before = store->budget->parts[LW_BUDGET_MEMTABLES];
    lw_version_release(snapshot->version);
    if (store->budget->parts[LW_BUDGET_MEMTABLES] < before) {
        lw_queue_wake_all(&store->changed); /* somebody may wait for this memory */
    }
    store->snapshots--;
    lw_tree_release(snapshot->tree);
    lw_free(store->memory, snapshot);
}

/* Puts the value in the place of the reference to it, which `value` has from `start` on. */
LW_YIELDS static lw_status follow(lw_table_file *file, lw_bytes key, size_t start,
                                  lw_buffer *value) {
    uint8_t reference[LW_REFERENCE_SIZE_MAX];
    size_t size = value->size - start;
    if (size > sizeof(reference)) {
        size = 0; /* it is none, and reported as such */
    }
    memcpy(reference, value->data + start, size);
    value->size = start;
    return lw_value_fetch(file, key, lw_view(reference, size), value);
}

LW_YIELDS static lw_status seek_table(lw_table_file *file, lw_table *table, uint64_t sequence,
                                      lw_bytes key, lw_buffer *value, bool *found) {
    lw_entry_kind kind;
    size_t start = value->size;
    lw_status status = lw_table_get(table, key, sequence, value, &kind);
    if (status != LW_OK) {
        return status == LW_NOT_FOUND ? LW_OK : status;
    }
    *found = true;
    if (kind == LW_ENTRY_DELETE) {
        return LW_NOT_FOUND;
    }
    return kind == LW_ENTRY_REFERENCE ? follow(file, key, start, value) : LW_OK;
}

/* Looks into one table. `*found` tells whether it has an entry of the key that the snapshot sees;
 * the answer is in the status then. */
LW_YIELDS static lw_status table_get(uint64_t sequence, lw_table_file *file, lw_bytes key,
                                     lw_buffer *value, bool *found) {
    lw_table *table = NULL;
    lw_status status = LW_OK;
    LW_TRY(lw_table_file_use(file, &table));
    if (lw_table_may_hold(table, key)) {
        status = seek_table(file, table, sequence, key, value, found);
    }
    lw_table_file_done(file);
    return status;
}

LW_YIELDS static lw_status level_get(const lw_version *version, uint64_t sequence, uint32_t level,
                                     lw_bytes key, lw_buffer *value, bool *found) {
    lw_table_file *const *files = lw_version_files(version, level);
    uint32_t count = lw_version_count(version, level);
    uint32_t index = level == 0 ? 0 : lw_files_find(files, count, key);
    uint32_t end = level == 0 || index == count ? count : index + 1;
    for (; index < end && !*found; index++) {
        if (lw_table_file_overlaps(files[index], &key, &key)) {
            LW_TRY(table_get(sequence, files[index], key, value, found));
        }
    }
    return LW_OK;
}

LW_YIELDS static lw_status version_get(const lw_version *version, uint64_t sequence, lw_bytes key,
                                       lw_buffer *value) {
    bool found = false;
    for (uint32_t index = 0; index < version->memtable_count; index++) {
        lw_memtable_cursor cursor = lw_memtable_cursor_in(version->memtables[index]->memtable);
        lw_memtable_cursor_seek(&cursor, key, sequence);
        const lw_entry *entry = lw_memtable_cursor_entry(&cursor);
        if (entry != NULL && lw_equal(entry->key, key)) {
            if (entry->kind == LW_ENTRY_DELETE) {
                return LW_NOT_FOUND;
            }
            lw_buffer_append(value, entry->value);
            return LW_OK;
        }
    }
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        lw_status status = level_get(version, sequence, level, key, value, &found);
        if (found || status != LW_OK) {
            return status;
        }
    }
    return LW_NOT_FOUND;
}

lw_status lw_snapshot_get(lw_snapshot *snapshot, lw_bytes key, lw_buffer *value) {
    bool ignored = LW_BUG(snapshot->tree->store->env, "store.snapshot_ignored");
    lw_version *version = ignored ? snapshot->tree->version : snapshot->version;
    lw_version_hold(version);
    lw_status status = version_get(version, snapshot->sequence, key, value);
    lw_version_release(version);
    return status;
}
