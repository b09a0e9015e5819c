/* SPDX-License-Identifier: Apache-2.0 */
/* The first entry of a range whose keys belong together, found without a merge: sources are asked
 * from new to old, and of what was written before the best so far nothing is looked at.
 *
 * Why that is enough (lw_snapshot_newest says what the owner promises): an entry that counts and
 * has a lower key was written later, so it has a higher sequence. A table all of whose sequences
 * are below that of the best so far holds no better one. That says nothing of entries whose
 * sequence is not known any more (storage/output.c): a table that may hold such is always asked. */
#include "storage/clip.h"
#include "storage/tree.h"
#include "storage/value_fetch.h"

enum { UNKNOWN_SEQUENCE = 1 };

typedef struct search {
    lw_env *env;
    lw_newest *asked;
    uint64_t seen;         /* the snapshot's sequence */
    uint64_t sequence;     /* of the best so far; 0: there is none */
    lw_table_file *refers; /* where its value is only referred to; or NULL */
} search;

/* Holds the first entry of a source against the best so far. */
static void consider(search *of, lw_table_file *file, const lw_entry *entry) {
    lw_newest *asked = of->asked;
    bool apart = entry->kind == LW_ENTRY_REFERENCE;
    if (entry->kind == LW_ENTRY_DELETE || entry->sequence > of->seen ||
        (!apart && !asked->counts(entry->value) && !LW_BUG(of->env, "store.newest_of_anything"))) {
        asked->outcome = LW_NEWEST_UNCLEAR; /* what counts may be behind it */
        return;
    }
    lw_bytes best = lw_view(asked->bytes.data, asked->key_size);
    if (of->sequence != 0 && lw_compare(entry->key, best) >= 0) {
        return;
    }
    lw_buffer_clear(&asked->bytes);
    (void)lw_buffer_reserve(&asked->bytes, entry->key.size + entry->value.size);
    lw_buffer_append(&asked->bytes, entry->key);
    lw_buffer_append(&asked->bytes, entry->value);
    asked->key_size = entry->key.size;
    asked->outcome = LW_NEWEST_FOUND;
    of->sequence = entry->sequence;
    of->refers = apart ? file : NULL;
}

static bool within(const search *of, const lw_entry *entry) {
    return entry != NULL && lw_compare(entry->key, of->asked->upper) < 0;
}

static void ask_memtable(search *of, const lw_memtable *memtable) {
    lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
    lw_memtable_cursor_seek(&cursor, of->asked->lower, UINT64_MAX);
    const lw_entry *entry = lw_memtable_cursor_entry(&cursor);
    while (within(of, entry) && entry->sequence > of->seen) {
        lw_memtable_cursor_next(&cursor);
        entry = lw_memtable_cursor_entry(&cursor);
    }
    if (within(of, entry)) {
        consider(of, NULL, entry);
    }
}

/* Whether the table may hold something better. */
static bool worth_asking(const search *of, const lw_table_file *file) {
    if (file->info.sequence_min <= UNKNOWN_SEQUENCE || file->info.sequence_max >= of->sequence) {
        return true;
    }
    LW_MARK(of->env, "store.newest_left_out");
    return false;
}

/* `*passed`: the table ends before the range, or what is seen of it does. */
LW_YIELDS static lw_status ask_open(search *of, lw_table_file *file, lw_table *table,
                                    bool *passed) {
    if (!lw_table_may_hold(table, of->asked->lower)) {
        return LW_OK;
    }
    lw_table_cursor *cursor = lw_table_cursor_open(table);
    lw_status status = lw_clip_seek(file, cursor, of->asked->lower, UINT64_MAX);
    if (status == LW_OK) {
        const lw_entry *entry = lw_clip_entry(file, cursor);
        *passed = entry == NULL;
        if (within(of, entry)) {
            consider(of, file, entry);
        }
    }
    lw_table_cursor_close(cursor);
    return status;
}

LW_YIELDS static lw_status ask_table(search *of, lw_table_file *file, bool *passed) {
    lw_table *table = NULL;
    *passed = false;
    LW_TRY(lw_table_file_use(file, &table));
    lw_status status = ask_open(of, file, table, passed);
    lw_table_file_done(file);
    return status;
}

/* Tables of level 0 overlap, the newest first. */
LW_YIELDS static lw_status ask_level0(search *of, const lw_version *version) {
    lw_table_file *const *files = lw_version_files(version, 0);
    uint32_t count = lw_version_count(version, 0);
    const lw_newest *asked = of->asked;
    for (uint32_t index = 0; index < count && asked->outcome != LW_NEWEST_UNCLEAR; index++) {
        bool passed;
        if (worth_asking(of, files[index]) &&
            lw_table_file_overlaps(files[index], &asked->lower, &asked->upper)) {
            LW_TRY(ask_table(of, files[index], &passed));
        }
    }
    return LW_OK;
}

/* The others ascend: what the first that reaches into the range has is before what others have. */
LW_YIELDS static lw_status ask_level(search *of, const lw_version *version, uint32_t level) {
    lw_table_file *const *files = lw_version_files(version, level);
    uint32_t count = lw_version_count(version, level);
    uint32_t index = lw_files_find(files, count, of->asked->lower);
    bool passed = true;
    for (; index < count && passed && lw_compare(files[index]->low, of->asked->upper) < 0;
         index++) {
        passed = !worth_asking(of, files[index]);
        if (!passed) {
            LW_TRY(ask_table(of, files[index], &passed));
        }
    }
    return LW_OK;
}

LW_YIELDS static lw_status ask_all(search *of, const lw_version *version) {
    const lw_newest *asked = of->asked;
    for (uint32_t index = 0; index < version->memtable_count && asked->outcome == LW_NEWEST_NONE;
         index++) {
        ask_memtable(of, version->memtables[index]->memtable);
    }
    if (asked->outcome != LW_NEWEST_UNCLEAR) {
        LW_TRY(ask_level0(of, version));
    }
    for (uint32_t level = 1; level < LW_LEVEL_COUNT && asked->outcome != LW_NEWEST_UNCLEAR;
         level++) {
        LW_TRY(ask_level(of, version, level));
    }
    return LW_OK;
}

/* Puts the value in the place of the reference to it. */
LW_YIELDS static lw_status follow(const search *of) {
    lw_newest *asked = of->asked;
    uint8_t reference[LW_REFERENCE_SIZE_MAX];
    size_t size = asked->bytes.size - asked->key_size;
    size = size > sizeof(reference) ? 0 : size; /* it is none, and reported as such */
    memcpy(reference, asked->bytes.data + asked->key_size, size);
    asked->bytes.size = asked->key_size;
    lw_bytes key = lw_copy(asked->bytes.memory, lw_buffer_view(&asked->bytes));
    lw_status status = lw_value_fetch(of->refers, key, lw_view(reference, size), &asked->bytes);
    lw_free(asked->bytes.memory, (void *)(uintptr_t)key.data);
    return status;
}

lw_status lw_snapshot_newest(lw_snapshot *snapshot, lw_newest *asked) {
    search of = {.env = snapshot->tree->store->env, .asked = asked, .seen = snapshot->sequence};
    asked->outcome = LW_NEWEST_NONE;
    LW_ASSERT(asked->lower.size > 0 && asked->upper.size > 0);
    LW_TRY(ask_all(&of, snapshot->version));
    return asked->outcome == LW_NEWEST_FOUND && of.refers != NULL ? follow(&of) : LW_OK;
}
