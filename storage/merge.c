/* SPDX-License-Identifier: Apache-2.0 */
/* One ordered walk over many sources: see merge.h. The sources that stand on an entry are kept
 * sorted by it. There are few of them, and mostly the one that was first stays first after its
 * step, so that one comparison is enough. */
#include "storage/merge.h"

#include "storage/clip.h"

typedef struct source {
    const lw_entry *entry; /* NULL beyond either end */
    bool of_files;
    bool once;                   /* see lw_merge_set_once */
    bool repeats;                /* the last step forward led to another entry of the same key */
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
    bool once;
    bool apart;     /* the second source is known to stand on another key than the first */
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

void lw_merge_set_once(lw_merge *merge) {
    LW_ASSERT(merge->count == 0);
    merge->once = true;
}

void lw_merge_add_memtable(lw_merge *merge, const lw_memtable *memtable) {
    LW_ASSERT(merge->count < merge->capacity);
    merge->sources[merge->count++] = (source){.memtable = lw_memtable_cursor_in(memtable)};
}

void lw_merge_add_run(lw_merge *merge, lw_table_file *const *files, uint32_t count) {
    LW_ASSERT(merge->count < merge->capacity);
    LW_ASSERT(count > 0);
    merge->sources[merge->count++] =
        (source){.of_files = true, .once = merge->once, .files = files, .count = count};
}

const lw_entry *lw_merge_entry(const lw_merge *merge) {
    return merge->standing > 0 ? merge->order[0]->entry : NULL;
}

lw_table_file *lw_merge_file(const lw_merge *merge) {
    const source *first = merge->order[0];
    LW_ASSERT(merge->standing > 0);
    return first->of_files ? first->files[first->index] : NULL;
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
    run->cursor = run->once ? lw_table_cursor_open_once(table) : lw_table_cursor_open(table);
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
        uint32_t index = moved->index;
        LW_TRY(forward ? lw_table_cursor_next(moved->cursor)
                       : lw_table_cursor_previous(moved->cursor));
        LW_TRY(run_go_on(moved, forward));
        /* No two files of a run hold the same key (V3). */
        moved->repeats = index == moved->index && lw_table_cursor_repeats(moved->cursor);
        return LW_OK;
    }
    lw_bytes key = moved->entry->key; /* stays where it is */
    if (forward) {
        lw_memtable_cursor_next(&moved->memtable);
    } else {
        lw_memtable_cursor_previous(&moved->memtable);
    }
    moved->entry = lw_memtable_cursor_entry(&moved->memtable);
    moved->repeats = moved->entry != NULL && lw_equal(key, moved->entry->key);
    return LW_OK;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* Whether `a` comes before `b` in the direction of the merge. Two sources never hold the same key
 * at the same sequence (V2). */
static bool comes_first(lw_merge *merge, const source *a, const source *b) {
    int order = lw_compare(a->entry->key, b->entry->key);
    merge->apart = order != 0;
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
    uint32_t from = position;
    merge->apart = false;
    while (position + 1 < merge->standing &&
           comes_first(merge, merge->order[position + 1], moved)) {
        merge->order[position] = merge->order[position + 1];
        position++;
    }
    merge->order[position] = moved;
    merge->apart = merge->apart && from == 0 && position == 0;
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

/* Steps the source at `position` of the order; the order is then to be mended. */
LW_YIELDS static lw_status step_at(lw_merge *merge, uint32_t position) {
    lw_status status = source_step(merge->order[position], merge->forward);
    merge->standing = status == LW_OK ? merge->standing : 0;
    return status;
}

/* Mends the order from `position` on, where a source was stepped. */
static void mend(lw_merge *merge, uint32_t position) {
    if (merge->order[position]->entry != NULL) {
        sink(merge, position);
        return;
    }
    merge->standing--;
    memmove(merge->order + position, merge->order + position + 1,
            (merge->standing - position) * sizeof(source *));
    merge->apart = false;
}

lw_status lw_merge_step(lw_merge *merge) {
    LW_ASSERT(merge->standing > 0);
    LW_TRY(step_at(merge, 0));
    mend(merge, 0);
    return LW_OK;
}

/* How many sources stand on the key of the first; they come first. */
static uint32_t count_same(const lw_merge *merge) {
    uint32_t count = 1;
    lw_bytes key = merge->order[0]->entry->key;
    while (!merge->apart && count < merge->standing &&
           lw_equal(merge->order[count]->entry->key, key)) {
        count++;
    }
    return count;
}

/* Steps a source beyond all entries of its key. A memtable may have very many. */
LW_YIELDS static lw_status leave_key(lw_merge *merge, uint32_t position) {
    source *left = merge->order[position];
    LW_TRY(step_at(merge, position));
    if (left->repeats && !left->of_files) {
        memtable_place(left, PLACE_SEEK, left->entry->key, 0);
        left->repeats = false;
    }
    while (left->repeats) {
        LW_TRY(step_at(merge, position));
    }
    return LW_OK;
}

lw_status lw_merge_next_key(lw_merge *merge) {
    LW_ASSERT(merge->standing > 0 && merge->forward);
    for (uint32_t left = count_same(merge); left > 0; left--) {
        LW_TRY(leave_key(merge, left - 1));
        mend(merge, left - 1);
    }
    return LW_OK;
}
