/* SPDX-License-Identifier: Apache-2.0 */
/* One ordered walk over many sources: see merge.h. The sources that stand on an entry are kept
 * sorted by it. There are few of them, and mostly the one that was first stays first after its
 * step, so that one comparison is enough. */
#include "storage/merge.h"

#include "storage/clip.h"

typedef struct source {
    const lw_entry *entry; /* NULL beyond either end */
    bool of_files;
    lw_memtable_cursor memtable; /* if not of files */
    lw_table_file *const *files; /* if of files */
    uint32_t count;
    uint32_t index;          /* the file under the cursor */
    lw_table_cursor *cursor; /* NULL before the first use */
} source;

struct lw_merge {
    lw_memory *memory;
    uint32_t capacity, count;
    uint32_t standing; /* sources in `order` */
    bool forward;
    source **order; /* those that stand on an entry, the next one first */
    source sources[];
};

typedef enum placement { PLACE_SEEK, PLACE_SEEK_BEFORE, PLACE_FIRST, PLACE_LAST } placement;

lw_merge *lw_merge_open(lw_memory *memory, uint32_t capacity) {
    lw_merge *merge = lw_allocate_zero(memory, sizeof(*merge) + capacity * sizeof(source));
    merge->memory = memory;
    merge->capacity = capacity;
    merge->order = lw_allocate_zero(memory, capacity * sizeof(source *));
    return merge;
}

static void run_leave(source *run) {
    if (run->cursor != NULL) {
        lw_table_cursor_close(run->cursor);
        lw_table_file_done(run->files[run->index]);
        run->cursor = NULL;
    }
}

void lw_merge_close(lw_merge *merge) {
    for (uint32_t index = 0; index < merge->count; index++) {
        run_leave(&merge->sources[index]);
    }
    lw_free(merge->memory, merge->order);
    lw_free(merge->memory, merge);
}

void lw_merge_add_memtable(lw_merge *merge, const lw_memtable *memtable) {
    LW_ASSERT(merge->count < merge->capacity);
    merge->sources[merge->count++] = (source){.memtable = lw_memtable_cursor_in(memtable)};
}

void lw_merge_add_run(lw_merge *merge, lw_table_file *const *files, uint32_t count) {
    LW_ASSERT(merge->count < merge->capacity);
    LW_ASSERT(count > 0);
    merge->sources[merge->count++] = (source){.of_files = true, .files = files, .count = count};
}

const lw_entry *lw_merge_entry(const lw_merge *merge) {
    return merge->standing > 0 ? merge->order[0]->entry : NULL;
}

bool lw_merge_forward(const lw_merge *merge) {
    return merge->forward;
}

/* ---- one source ----------------------------------------------------------------------------- */

/* Opens a cursor on the file `index`, unless the one at hand is on it. */
LW_YIELDS static lw_status run_enter(source *run, uint32_t index) {
    lw_table *table = NULL;
    if (run->cursor != NULL && run->index == index) {
        return LW_OK;
    }
    LW_TRY(lw_table_file_use(run->files[index], &table));
    run_leave(run);
    run->cursor = lw_table_cursor_open(table);
    run->index = index;
    return LW_OK;
}

static const lw_table_file *file_under(const source *run) {
    return run->files[run->index];
}

/* From a file that is exhausted to the next one of the run, while there is one. */
LW_YIELDS static lw_status run_go_on(source *run, bool forward) {
    while ((run->entry = lw_clip_entry(file_under(run), run->cursor)) == NULL) {
        if (run->index == (forward ? run->count - 1 : 0)) {
            return LW_OK;
        }
        LW_TRY(run_enter(run, forward ? run->index + 1 : run->index - 1));
        LW_TRY(forward ? lw_clip_first(file_under(run), run->cursor)
                       : lw_clip_last(file_under(run), run->cursor));
    }
    return LW_OK;
}

LW_YIELDS static lw_status run_seek(source *run, lw_bytes key, uint64_t sequence) {
    uint32_t index = lw_files_find(run->files, run->count, key);
    if (index == run->count) {
        return LW_OK;
    }
    LW_TRY(run_enter(run, index));
    LW_TRY(lw_clip_seek(file_under(run), run->cursor, key, sequence));
    return run_go_on(run, true);
}

LW_YIELDS static lw_status run_seek_before(source *run, lw_bytes key) {
    uint32_t index = lw_files_find(run->files, run->count, key);
    if (index == run->count || lw_compare(run->files[index]->low, key) >= 0) {
        if (index == 0) {
            return LW_OK;
        }
        index--;
    }
    LW_TRY(run_enter(run, index));
    LW_TRY(lw_clip_seek_before(file_under(run), run->cursor, key));
    return run_go_on(run, false);
}

LW_YIELDS static lw_status run_place(source *run, placement where, lw_bytes key,
                                     uint64_t sequence) {
    run->entry = NULL;
    switch (where) {
    case PLACE_SEEK:
        return run_seek(run, key, sequence);
    case PLACE_SEEK_BEFORE:
        return run_seek_before(run, key);
    case PLACE_FIRST:
        LW_TRY(run_enter(run, 0));
        LW_TRY(lw_clip_first(file_under(run), run->cursor));
        return run_go_on(run, true);
    case PLACE_LAST:
        LW_TRY(run_enter(run, run->count - 1));
        LW_TRY(lw_clip_last(file_under(run), run->cursor));
        return run_go_on(run, false);
    }
    return LW_OK;
}

static void memtable_place(source *memtable, placement where, lw_bytes key, uint64_t sequence) {
    lw_memtable_cursor *cursor = &memtable->memtable;
    switch (where) {
    case PLACE_SEEK:
        lw_memtable_cursor_seek(cursor, key, sequence);
        break;
    case PLACE_SEEK_BEFORE:
        lw_memtable_cursor_seek_before(cursor, key);
        break;
    case PLACE_FIRST:
        lw_memtable_cursor_first(cursor);
        break;
    case PLACE_LAST:
        lw_memtable_cursor_last(cursor);
        break;
    }
    memtable->entry = lw_memtable_cursor_entry(cursor);
}

LW_YIELDS static lw_status source_step(source *moved, bool forward) {
    if (moved->of_files) {
        LW_TRY(forward ? lw_table_cursor_next(moved->cursor)
                       : lw_table_cursor_previous(moved->cursor));
        return run_go_on(moved, forward);
    }
    if (forward) {
        lw_memtable_cursor_next(&moved->memtable);
    } else {
        lw_memtable_cursor_previous(&moved->memtable);
    }
    moved->entry = lw_memtable_cursor_entry(&moved->memtable);
    return LW_OK;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* Whether `a` comes before `b` in the direction of the merge. Two sources never hold the same key
 * at the same sequence (V2). */
static bool comes_first(const lw_merge *merge, const source *a, const source *b) {
    int order = lw_compare(a->entry->key, b->entry->key);
    if (order == 0) {
        LW_ASSERT(a->entry->sequence != b->entry->sequence);
        order = a->entry->sequence > b->entry->sequence ? -1 : 1;
    }
    return merge->forward ? order < 0 : order > 0;
}

/* Moves the source at `position` of the order, whose followers are sorted, to its place among them.
 */
static void sink(lw_merge *merge, uint32_t position) {
    source *moved = merge->order[position];
    while (position + 1 < merge->standing &&
           comes_first(merge, merge->order[position + 1], moved)) {
        merge->order[position] = merge->order[position + 1];
        position++;
    }
    merge->order[position] = moved;
}

LW_YIELDS static lw_status place(lw_merge *merge, placement where, lw_bytes key,
                                 uint64_t sequence) {
    merge->standing = 0;
    merge->forward = where == PLACE_SEEK || where == PLACE_FIRST;
    for (uint32_t index = 0; index < merge->count; index++) {
        source *placed = &merge->sources[index];
        if (placed->of_files) {
            LW_TRY(run_place(placed, where, key, sequence));
        } else {
            memtable_place(placed, where, key, sequence);
        }
    }
    /* Only now, since a memtable may have grown while a table was read: entries are looked at in
     * one go. What was inserted meanwhile has a sequence that no cursor of this merge wants. */
    for (uint32_t index = merge->count; index-- > 0;) {
        if (merge->sources[index].entry != NULL) {
            memmove(merge->order + 1, merge->order, merge->standing * sizeof(source *));
            merge->order[0] = &merge->sources[index];
            merge->standing++;
            sink(merge, 0);
        }
    }
    return LW_OK;
}

lw_status lw_merge_seek(lw_merge *merge, lw_bytes key, uint64_t sequence) {
    return place(merge, PLACE_SEEK, key, sequence);
}

lw_status lw_merge_seek_before(lw_merge *merge, lw_bytes key) {
    return place(merge, PLACE_SEEK_BEFORE, key, 0);
}

lw_status lw_merge_first(lw_merge *merge) {
    return place(merge, PLACE_FIRST, lw_view(NULL, 0), 0);
}

lw_status lw_merge_last(lw_merge *merge) {
    return place(merge, PLACE_LAST, lw_view(NULL, 0), 0);
}

lw_status lw_merge_step(lw_merge *merge) {
    LW_ASSERT(merge->standing > 0);
    source *moved = merge->order[0];
    lw_status status = source_step(moved, merge->forward);
    if (status != LW_OK) {
        merge->standing = 0;
        return status;
    }
    if (moved->entry == NULL) {
        merge->standing--;
        memmove(merge->order, merge->order + 1, merge->standing * sizeof(source *));
    } else {
        sink(merge, 0);
    }
    return LW_OK;
}
