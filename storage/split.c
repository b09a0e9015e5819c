/* SPDX-License-Identifier: Apache-2.0 */
/* Splitting a tree, and merging two: one edit that says anew which part of each table every tree
 * sees. No table is read or written, and both end as they began if the disk is full.
 *
 * Splitting: each place of a table is cut with the ranges of both trees (storage/range.h); what is
 * left of it stays at its level. Merging: two places of one table at one level that touch become
 * one again; all others stand side by side, also in level 0, where their sequences come from two
 * trees and say nothing of each other (V2): they share no key. */
#include "storage/tree.h"

#include <inttypes.h>

/* Places of tables, gathered for one tree. */
typedef struct places {
    lw_store *store;
    lw_version_file *files; /* one reference each */
    uint32_t count, capacity;
} places;

static void places_add(places *to, uint32_t level, lw_table_file *file) {
    if (to->count == to->capacity) {
        to->capacity = to->capacity == 0 ? 16 : 2 * to->capacity;
        to->files =
            lw_reallocate(to->store->memory, to->files, to->capacity * sizeof(lw_version_file));
    }
    to->files[to->count++] = (lw_version_file){.level = level, .file = file};
}

static void places_reset(places *gathered) {
    for (uint32_t index = 0; index < gathered->count; index++) {
        lw_table_file_release(gathered->files[index].file);
    }
    lw_free(gathered->store->memory, gathered->files);
}

static void edit_places(lw_buffer *edit, uint64_t tree, const places *added) {
    for (uint32_t index = 0; index < added->count; index++) {
        lw_edit_add(edit, tree, added->files[index].level, &added->files[index].file->info);
    }
}

/* A place of a table with another clip, each bound only if it cuts something off. */
static lw_table_file *make_place(lw_store *store, const lw_table_file *of, lw_key_range clip) {
    lw_table_info info = of->info;
    bool from_first = lw_compare(clip.lower, info.key_min) <= 0;
    bool to_last = clip.upper.size > 0 && lw_compare(clip.upper, info.key_max) > 0;
    info.clip.lower = from_first ? lw_view(NULL, 0) : clip.lower;
    info.clip.upper = to_last ? lw_view(NULL, 0) : clip.upper;
    return lw_table_file_make(&store->folder, &info);
}

/* Adds what of a table lies in the ranges. True if that is all of it: then nothing is added. */
static bool cut_place(places *to, uint32_t level, const lw_table_file *file,
                      const lw_key_range *ranges, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        const lw_key_range *range = &ranges[index];
        lw_key_range clip;
        bool ends = range->upper.size == 0 || lw_table_file_before(file, range->upper);
        if (ends && lw_range_has(range, file->low)) {
            return true;
        }
        if (lw_range_cut(&file->info.clip, range, &clip) &&
            lw_compare(clip.lower, file->high) <= 0 &&
            (clip.upper.size == 0 || lw_compare(clip.upper, file->low) > 0)) {
            places_add(to, level, make_place(to->store, file, clip));
        }
    }
    return false;
}

/* ---- splitting ----------------------------------------------------------------------------------
 */

typedef struct split_work {
    lw_tree *tree;
    const lw_tree_split *split;
    lw_range_list rest; /* what the tree keeps */
    places kept, given; /* new places of the tree, and those of the child */
    lw_table_file **removed;
    uint32_t removed_count;
    lw_buffer edit;
} split_work;

static void split_place(split_work *work, uint32_t level, lw_table_file *file) {
    const lw_tree_split *split = work->split;
    if (cut_place(&work->kept, level, file, work->rest.ranges, work->rest.count)) {
        return; /* the tree keeps all of it */
    }
    work->removed[work->removed_count++] = file;
    if (cut_place(&work->given, level, file, split->ranges, split->range_count)) {
        lw_table_file_hold(file);
        places_add(&work->given, level, file);
    }
}

static void split_places(split_work *work) {
    const lw_version *version = work->tree->version;
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        for (uint32_t index = 0; index < lw_version_count(version, level); index++) {
            split_place(work, level, lw_version_files(version, level)[index]);
        }
    }
}

static void write_split(split_work *work) {
    const lw_tree_split *split = work->split;
    lw_tree *tree = work->tree;
    for (uint32_t index = 0; index < work->removed_count; index++) {
        lw_edit_remove(&work->edit, tree->id, &work->removed[index]->info);
    }
    lw_edit_bounds(&work->edit, tree->id, work->rest.ranges, work->rest.count);
    edit_places(&work->edit, tree->id, &work->kept);
    lw_edit_tree(&work->edit, split->child);
    lw_edit_bounds(&work->edit, split->child, split->ranges, split->range_count);
    edit_places(&work->edit, split->child, &work->given);
    lw_edit_flushed(&work->edit, split->child, split->child_index, tree->sequence);
}

static lw_tree *install_split(split_work *work) {
    lw_tree *tree = work->tree;
    lw_store *store = tree->store;
    const lw_tree_split *split = work->split;
    lw_tree *child = lw_store_add_tree(store, split->child, NULL);
    lw_tree_set_bounds(child, split->ranges, split->range_count);
    child->applied = child->rotated = child->flushed = split->child_index;
    child->sequence = child->flushed_sequence = tree->sequence;
    lw_tree_install(child,
                    &(lw_version_change){.add = work->given.files, .add_count = work->given.count});
    lw_tree_set_bounds(tree, work->rest.ranges, work->rest.count);
    lw_tree_install(tree, &(lw_version_change){.add = work->kept.files,
                                               .add_count = work->kept.count,
                                               .remove = work->removed,
                                               .remove_count = work->removed_count});
    LW_ASSERT(lw_version_within(tree->version, tree->bounds.ranges, tree->bounds.count));
    LW_ASSERT(lw_version_within(child->version, child->bounds.ranges, child->bounds.count));
    return child;
}

/* Flushed, and held back from everything else. */
LW_YIELDS static lw_status split_still(split_work *work, lw_tree **child) {
    lw_store *store = work->tree->store;
    bool full = false;
    work->removed = lw_allocate(store->memory, work->tree->version->level_start[LW_LEVEL_COUNT] *
                                                   sizeof(lw_table_file *));
    split_places(work);
    write_split(work);
    lw_status status = lw_store_commit_surely(store, lw_buffer_view(&work->edit), &full);
    if (status == LW_OK) {
        LW_MARK(store->env, "store.tree_split");
        *child = install_split(work);
    }
    return status;
}

static lw_status check_split(lw_tree *tree, const lw_tree_split *split, lw_range_list *rest) {
    const lw_key_range whole = {.lower = lw_view(NULL, 0), .upper = lw_view(NULL, 0)};
    bool bounded = tree->bounds.count > 0;
    const lw_key_range *bounds = bounded ? tree->bounds.ranges : &whole;
    uint32_t bound_count = bounded ? tree->bounds.count : 1;
    if (lw_store_tree(tree->store, split->child) != NULL) {
        return lw_fail(LW_EXISTS, "there is a tree %" PRIu64 " already", split->child);
    }
    bool good = lw_ranges_valid(split->ranges, split->range_count);
    for (uint32_t index = 0; index < split->range_count && good; index++) {
        good = lw_ranges_contain(bounds, bound_count, &split->ranges[index]);
    }
    if (good) {
        lw_ranges_subtract(bounds, bound_count, split->ranges, split->range_count, rest);
    }
    if (rest->count == 0) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "tree %" PRIu64 " cannot be split like this: what goes to tree %" PRIu64
                       " has to lie within it, and not to be all of it",
                       tree->id, split->child);
    }
    return LW_OK;
}

/* Flushes, and takes the turn of reshaping with nothing left in memory. */
LW_YIELDS static lw_status still(lw_tree *tree) {
    lw_store *store = tree->store;
    for (;;) {
        LW_TRY(lw_tree_flush(tree));
        lw_store_shaping_begin(store);
        if (tree->dropped || tree->flushed == tree->applied) {
            break;
        }
        lw_store_shaping_end(store);
    }
    if (tree->dropped) {
        lw_store_shaping_end(store);
        return lw_tree_gone(tree);
    }
    return LW_OK;
}

LW_YIELDS static lw_status split_tree(lw_tree *tree, const lw_tree_split *split, lw_tree **child) {
    lw_store *store = tree->store;
    LW_TRY(still(tree));
    split_work work = {.tree = tree,
                       .split = split,
                       .rest = lw_range_list_in(store->memory),
                       .kept = {.store = store},
                       .given = {.store = store},
                       .edit = lw_buffer_in(store->memory)};
    tree->frozen = true;
    lw_tree_reshape_begin(tree);
    lw_status status = check_split(tree, split, &work.rest);
    if (status == LW_OK) {
        status = split_still(&work, child);
    }
    tree->frozen = false;
    places_reset(&work.kept);
    places_reset(&work.given);
    lw_free(store->memory, work.removed);
    lw_range_list_reset(&work.rest);
    lw_buffer_reset(&work.edit);
    lw_tree_reshape_end(tree, status == LW_OK);
    lw_store_shaping_end(store);
    return status;
}

lw_status lw_store_split_tree(lw_store *store, lw_tree *tree, const lw_tree_split *split,
                              lw_tree **child) {
    LW_ASSERT(tree->store == store);
    lw_tree_hold(tree);
    lw_status status = split_tree(tree, split, child);
    lw_tree_release(tree);
    return status;
}

/* ---- merging ------------------------------------------------------------------------------------
 */

typedef struct merge_place {
    uint32_t level;
    bool old;            /* the tree has it already */
    lw_table_file *file; /* one reference; NULL: became part of another place */
} merge_place;

typedef struct merge_work {
    lw_tree *tree, *other;
    lw_range_list both;
    merge_place *all; /* what the tree has in the end */
    uint32_t all_count, all_capacity;
    places taken;            /* of those, the ones that it has not yet */
    lw_table_file **removed; /* places of the tree that come back cut, or larger */
    uint32_t removed_count;
    lw_buffer edit;
} merge_work;

static void add_place(merge_work *work, uint32_t level, lw_table_file *file, bool old) {
    if (work->all_count == work->all_capacity) {
        work->all_capacity = work->all_capacity == 0 ? 32 : 2 * work->all_capacity;
        work->all = lw_reallocate(work->tree->store->memory, work->all,
                                  work->all_capacity * sizeof(merge_place));
    }
    lw_table_file_hold(file);
    work->all[work->all_count++] = (merge_place){.level = level, .old = old, .file = file};
}

/* Gathers a place of one of the trees, cut with its bounds: a table that a compaction wrote may
 * reach over a gap between them, in which the other tree has tables. */
static void gather_place(merge_work *work, const lw_tree *from, uint32_t level,
                         lw_table_file *file) {
    places cut = {.store = from->store};
    bool old = from == work->tree;
    if (cut_place(&cut, level, file, from->bounds.ranges, from->bounds.count)) {
        add_place(work, level, file, old);
    } else if (old) {
        work->removed[work->removed_count++] = file;
    }
    for (uint32_t index = 0; index < cut.count; index++) {
        add_place(work, level, cut.files[index].file, false);
    }
    places_reset(&cut);
}

static void gather(merge_work *work, const lw_tree *from) {
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        for (uint32_t index = 0; index < lw_version_count(from->version, level); index++) {
            gather_place(work, from, level, lw_version_files(from->version, level)[index]);
        }
    }
}

/* Whether one place of a table ends where another begins. */
static bool touch(const merge_place *low, const merge_place *high) {
    return high->file != NULL && low->level == high->level &&
           low->file->shared == high->file->shared && low->file->high_open &&
           lw_equal(low->file->info.clip.upper, high->file->info.clip.lower);
}

static void leave_place(merge_work *work, merge_place *place) {
    if (place->old) {
        work->removed[work->removed_count++] = place->file;
    }
    lw_table_file_release(place->file); /* an old one is still in the version */
    *place = (merge_place){.level = place->level};
}

/* Makes a place larger by the one that begins where it ends. False if there is none. */
static bool extend(merge_work *work, merge_place *low) {
    for (uint32_t index = 0; index < work->all_count; index++) {
        merge_place *high = &work->all[index];
        if (touch(low, high)) {
            LW_MARK(work->tree->store->env, "store.places_joined");
            lw_key_range clip = {low->file->info.clip.lower, high->file->info.clip.upper};
            lw_table_file *joined = make_place(work->tree->store, low->file, clip);
            leave_place(work, high);
            leave_place(work, low);
            low->file = joined;
            return true;
        }
    }
    return false;
}

/* Everything that the tree is to have, each table in as few places as can be. */
static void gather_all(merge_work *work) {
    gather(work, work->tree);
    gather(work, work->other);
    for (uint32_t index = 0; index < work->all_count; index++) {
        merge_place *place = &work->all[index];
        while (place->file != NULL && place->file->high_open && extend(work, place)) {
        }
    }
    for (uint32_t index = 0; index < work->all_count; index++) {
        const merge_place *place = &work->all[index];
        if (place->file != NULL && !place->old) {
            lw_table_file_hold(place->file);
            places_add(&work->taken, place->level, place->file);
        }
    }
}

static void merge_reset(merge_work *work) {
    lw_memory *memory = work->tree->store->memory;
    for (uint32_t index = 0; index < work->all_count; index++) {
        if (work->all[index].file != NULL) {
            lw_table_file_release(work->all[index].file);
        }
    }
    lw_free(memory, work->all);
    places_reset(&work->taken);
    lw_free(memory, work->removed);
    lw_range_list_reset(&work->both);
    lw_buffer_reset(&work->edit);
}

static void write_merge(merge_work *work) {
    lw_tree *tree = work->tree;
    lw_edit_drop(&work->edit, work->other->id);
    for (uint32_t index = 0; index < work->removed_count; index++) {
        lw_edit_remove(&work->edit, tree->id, &work->removed[index]->info);
    }
    lw_edit_bounds(&work->edit, tree->id, work->both.ranges, work->both.count);
    edit_places(&work->edit, tree->id, &work->taken);
    lw_edit_flushed(&work->edit, tree->id, tree->flushed, tree->sequence);
}

static void install_merge(merge_work *work) {
    lw_tree *tree = work->tree;
    lw_tree_set_bounds(tree, work->both.ranges, work->both.count);
    lw_tree_install(tree, &(lw_version_change){.add = work->taken.files,
                                               .add_count = work->taken.count,
                                               .remove = work->removed,
                                               .remove_count = work->removed_count});
    tree->flushed_sequence = tree->sequence;
    lw_tree_remove(work->other);
}

/* Both are flushed, and held back from everything else. */
LW_YIELDS static lw_status merge_still(merge_work *work) {
    lw_store *store = work->tree->store;
    bool full = false;
    work->removed = lw_allocate(store->memory, work->tree->version->level_start[LW_LEVEL_COUNT] *
                                                   sizeof(lw_table_file *));
    gather_all(work);
    /* Whatever is written from now on is newer than what either held. */
    if (work->other->sequence > work->tree->sequence) {
        work->tree->sequence = work->other->sequence;
    }
    write_merge(work);
    lw_status status = lw_store_commit_surely(store, lw_buffer_view(&work->edit), &full);
    if (status == LW_OK) {
        LW_MARK(store->env, "store.trees_merged");
        install_merge(work);
    }
    return status;
}

static lw_status check_merge(const merge_work *work, lw_range_list *both) {
    const lw_range_list *a = &work->tree->bounds, *b = &work->other->bounds;
    if (a->count == 0 || b->count == 0 ||
        !lw_ranges_join(a->ranges, a->count, b->ranges, b->count, both)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "trees %" PRIu64 " and %" PRIu64 " cannot be merged: their bounds overlap",
                       work->tree->id, work->other->id);
    }
    if (both->count == 1 && both->ranges[0].lower.size + both->ranges[0].upper.size == 0) {
        both->count = 0; /* every key */
    }
    return LW_OK;
}

LW_YIELDS static lw_status merge_turn(merge_work *work) {
    lw_tree *tree = work->tree, *other = work->other;
    tree->frozen = other->frozen = true;
    lw_tree_reshape_begin(tree);
    lw_tree_reshape_begin(other);
    lw_status status = check_merge(work, &work->both);
    if (status == LW_OK) {
        status = merge_still(work);
    }
    tree->frozen = other->frozen = false;
    merge_reset(work);
    lw_tree_reshape_end(tree, status == LW_OK);
    if (status != LW_OK) {
        lw_tree_reshape_end(other, false);
    }
    return status;
}

LW_YIELDS static lw_status merge_trees(lw_tree *tree, lw_tree *other) {
    lw_store *store = tree->store;
    LW_TRY(lw_tree_flush(other));
    LW_TRY(still(tree));
    lw_status status = LW_OK;
    if (other->dropped) {
        status = lw_tree_gone(other);
    } else if (other->flushed != other->applied) {
        status = lw_fail(LW_INVALID_ARGUMENT,
                         "tree %" PRIu64 " was written to while it was being merged", other->id);
    } else {
        merge_work work = {.tree = tree,
                           .other = other,
                           .both = lw_range_list_in(store->memory),
                           .taken = {.store = store},
                           .edit = lw_buffer_in(store->memory)};
        status = merge_turn(&work);
    }
    lw_store_shaping_end(store);
    return status;
}

lw_status lw_store_merge_trees(lw_store *store, lw_tree *tree, lw_tree *other) {
    LW_ASSERT(tree->store == store && other->store == store);
    LW_ASSERT(tree != other);
    lw_tree_hold(tree);
    lw_tree_hold(other);
    lw_status status = merge_trees(tree, other);
    lw_tree_release(other);
    lw_tree_release(tree);
    return status;
}
