/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine of tests/engine_model.h does with whole trees: splits and merges them, creates and
 * drops them, copies them as files and takes them over. */
#ifndef LW_TESTS_ENGINE_TREES_H
#define LW_TESTS_ENGINE_TREES_H

#include "tests/engine_model.h"

/* ---- trees of parts, and trees that come and go -------------------------------------------------
 */

/* The filter part that keys of ten begin with: a range may end here. */
static inline lw_bytes boundary(uint32_t ten, char to[16]) {
    return lw_view(to, (size_t)snprintf(to, 16, "k%03u", (unsigned)ten));
}

/* Reads a part of a tree through whichever tree holds it now. */
static inline void look_at_parts(engine *on, uint32_t tree, lw_tree *child, uint32_t low,
                                 uint32_t high) {
    lw_snapshot *rest = lw_snapshot_open(on->trees[tree]), *part = lw_snapshot_open(child);
    engine_values inside = on->values[tree], outside = on->values[tree];
    for (uint32_t key = 0; key < ENGINE_KEYS; key++) {
        *(key >= low && key < high ? &outside.of[key] : &inside.of[key]) = 0;
    }
    engine_check_cursor(on, rest, &outside);
    engine_check_cursor(on, part, &inside);
    for (uint32_t count = 0; count < 8 && !on->stopped; count++) {
        uint32_t key = engine_below(on, ENGINE_KEYS);
        engine_check_get(on, rest, &outside, key);
        engine_check_get(on, part, &inside, key);
    }
    lw_snapshot_close(rest);
    lw_snapshot_close(part);
}

/* Splits a tree, uses both, and merges them again. */
static inline void split_and_merge(engine *on) {
    char lower[16], upper[16];
    uint32_t tree = engine_below(on, ENGINE_TREES);
    /* Not from 0 on: the first key is empty, and lies before every range with a lower bound. */
    uint32_t low = 1 + engine_below(on, ENGINE_KEYS / 10 - 2);
    uint32_t high = low + 1 + engine_below(on, ENGINE_KEYS / 10 - low - 1);
    lw_key_range range = {.lower = boundary(low, lower), .upper = boundary(high, upper)};
    lw_tree_split split = {.child = engine_child(tree),
                           .child_index = on->appended[tree],
                           .ranges = &range,
                           .range_count = 1};
    lw_tree *child = NULL;
    if (!engine_worked(on, lw_store_split_tree(on->store, on->trees[tree], &split, &child),
                       "splitting")) {
        return;
    }
    look_at_parts(on, tree, child, low * 10, high * 10);
    if (!on->stopped && engine_below(on, 2) == 0) {
        (void)engine_worked(on, lw_tree_compact(child), "compacting a part");
    }
    if (!on->stopped && engine_below(on, 3) == 0) {
        (void)engine_worked(on, lw_tree_compact(on->trees[tree]), "compacting the rest");
        look_at_parts(on, tree, child, low * 10, high * 10);
    }
    lw_status status = LW_FULL;
    while (status == LW_FULL && !on->stopped) {
        status = lw_store_merge_trees(on->store, on->trees[tree], child);
        (void)engine_worked(on, status, "merging");
        lw_disk_set_capacity(engine_disk(on), 0);
    }
}

/* Another tree, for a while: what is in it is not looked at. */
static inline void create_and_drop(engine *on) {
    uint64_t id = 1000 + on->operations;
    lw_tree *tree = NULL;
    if (!engine_worked(on, lw_store_create_tree(on->store, id, &tree), "creating")) {
        return;
    }
    uint8_t key[16];
    for (uint64_t index = 1; index < 60; index++) {
        lw_buffer batch = lw_buffer_in(on->env->memory);
        lw_batch_put(&batch, engine_key((uint32_t)index, key), lw_view(key, 10));
        LW_ASSERT(lw_tree_apply(tree, index, lw_buffer_view(&batch)) == LW_OK);
        lw_buffer_reset(&batch);
        if (index % 20 == 0 && engine_below(on, 2) == 0) {
            (void)engine_worked(on, lw_tree_flush(tree), "flushing");
        }
    }
    if (!on->stopped) {
        (void)engine_worked(on, lw_store_drop_tree(on->store, id), "dropping");
    }
}

/* Checks a copy of the folder that has just been made. */
static inline void check_copy(engine *on) {
    lw_buffer faults = lw_buffer_in(on->env->memory);
    lw_status status = lw_store_check(on->env, "copy", engine_filter_part, &faults);
    if (status != LW_OK && !on->faults) {
        engine_wrong(on, "checking the copy: %s: %.*s", lw_error_slot()->text, (int)faults.size,
                     (const char *)faults.data);
    }
    lw_buffer_reset(&faults);
}

/* Puts another tree of the copy in the place of one that was taken over, and is written to. */
static inline void replace_taken(engine *on, uint32_t tree, uint32_t by) {
    lw_tree *before = lw_store_tree(on->store, engine_taken(tree));
    uint64_t index = lw_tree_applied(before) + 1;
    lw_buffer batch = lw_buffer_in(on->env->memory);
    lw_batch_put(&batch, lw_text("of before"), lw_text("nobody sees it any more"));
    LW_ASSERT(lw_tree_apply(before, index, lw_buffer_view(&batch)) == LW_OK);
    lw_buffer_reset(&batch);
    lw_ingest ingest = {.directory = "copy",
                        .source = by + 1,
                        .tree = engine_taken(tree),
                        .kind = LW_INGEST_REPLACE,
                        .index = index + 1};
    if (!engine_worked(on, lw_store_ingest(on->store, &ingest), "replacing")) {
        return;
    }
    lw_tree *after = lw_store_tree(on->store, ingest.tree);
    lw_snapshot *snapshot = lw_snapshot_open(after);
    if (after == before || lw_tree_applied(after) != index + 1) {
        engine_wrong(on, "a tree that was replaced is what it was");
    }
    engine_check_cursor(on, snapshot, &on->values[by]);
    lw_snapshot_close(snapshot);
}

/* Takes one tree of the copy over, under another id, reads it, and drops it again. */
static inline void take_tree(engine *on, uint32_t tree) {
    lw_ingest ingest = {.directory = "copy",
                        .source = tree + 1,
                        .tree = engine_taken(tree),
                        .kind = LW_INGEST_CREATE,
                        .index = on->appended[tree]};
    if (!engine_worked(on, lw_store_ingest(on->store, &ingest), "taking over")) {
        return;
    }
    lw_tree *taken = lw_store_tree(on->store, ingest.tree);
    lw_snapshot *snapshot = lw_snapshot_open(taken);
    for (uint32_t count = 0; count < 3 && !on->stopped; count++) {
        engine_check_cursor(on, snapshot, &on->values[tree]);
        engine_check_get(on, snapshot, &on->values[tree], engine_below(on, ENGINE_KEYS));
    }
    if (!on->stopped && engine_below(on, 2) == 0) {
        (void)engine_worked(on, lw_tree_compact(taken), "compacting what was taken over");
        engine_check_cursor(on, snapshot, &on->values[tree]);
    }
    if (!on->stopped && engine_below(on, 2) == 0) {
        replace_taken(on, tree, engine_below(on, ENGINE_TREES));
        engine_check_cursor(on, snapshot, &on->values[tree]); /* of before */
    }
    lw_snapshot_close(snapshot);
    if (!on->stopped) {
        (void)engine_worked(on, lw_store_drop_tree(on->store, ingest.tree), "dropping");
    }
}

/* A checkpoint, and back. */
static inline void copy_and_take(engine *on) {
    if (engine_worked(on, lw_store_checkpoint(on->store, NULL, 0, "copy"), "copying")) {
        check_copy(on);
        take_tree(on, engine_below(on, ENGINE_TREES));
    }
    lw_status status = on->stopped ? LW_OK : lw_bundle_remove(on->env, "copy");
    if (status != LW_NOT_FOUND && !on->stopped) {
        (void)engine_worked(on, status, "removing the copy");
    }
}

#endif
