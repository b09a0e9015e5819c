/* SPDX-License-Identifier: Apache-2.0 */
/* The fiber that compacts, one step at a time: the tree and level that need it most. What a step is
 * to do is decided in levels.c and pick.c, what is kept in sieve.c.
 *
 * The order that makes it safe (T2): outputs are durable, then their names; one edit removes the
 * inputs and adds the outputs; then the tree shows them; the inputs are unlinked by the sweeper
 * when no version names them any more. */
#include "storage/compaction.h"
#include "storage/tree.h"
#include "storage/value_garbage.h"

#include <inttypes.h>

enum {
    READ_ERROR_PAUSE_MAX_S = 60, /* doubling from a second on: a disk may fail only once */
    PACE_SIZE = 64 * 1024,       /* bytes merged between two looks at the pace */
    DAWDLE_NS = 1000 * 1000,     /* in simulations, at one of them */
};

/* ---- one step -----------------------------------------------------------------------------------
 */

/* Goes no faster than it should while there are writers. `*merged` counts since the last look. */
LW_YIELDS static void keep_pace(lw_tree *tree, size_t *merged) {
    lw_store *store = tree->store;
    uint64_t now_ns = lw_env_now(store->env), wait_ns = 0;
    bool urgent = store->squeezing || tree->compact_done < tree->compact_wanted;
    if (!urgent && !tree->dropped) {
        double pressure = lw_pressure_most(lw_tree_pressure(tree, 0));
        wait_ns = lw_pace_compaction(&store->pace, pressure, tree->need.work, *merged, now_ns);
    }
    *merged = 0;
    if (LW_RARE(store->env, "store.compacts_slowly")) {
        wait_ns += DAWDLE_NS;
    }
    if (wait_ns > 0) {
        LW_MARK(store->env, "store.compaction_paced");
        (void)lw_env_wait(store->env, &store->stopping, now_ns + wait_ns);
    }
}

LW_YIELDS static lw_status write_outputs(lw_tree *tree, lw_merge *merge, lw_sieve *sieve,
                                         lw_output *output) {
    uint32_t work = 0;
    size_t merged = 0;
    const lw_entry *entry;
    LW_TRY(lw_merge_first(merge));
    while ((entry = lw_merge_entry(merge)) != NULL) {
        if (lw_store_stopping(tree->store)) {
            return lw_store_stopped(tree->store);
        }
        if (lw_sieve_keeps(sieve, entry)) {
            LW_TRY(lw_output_add(output, lw_merge_file(merge), entry, sieve));
        }
        size_t size = entry->key.size + entry->value.size;
        merged += size;
        LW_TRY(lw_merge_step(merge));
        lw_work_done_on(&work, size);
        if (merged >= PACE_SIZE || LW_RARE(tree->store->env, "store.paced_early")) {
            keep_pace(tree, &merged);
        }
        if (tree->dropped) { /* nobody wants what it would come to */
            LW_MARK(tree->store->env, "store.compaction_given_up");
            return lw_tree_gone(tree);
        }
    }
    return lw_output_finish(output);
}

/* The tables of level 0 cut in two where a slice ends (P2). */
typedef struct slice {
    lw_memory *memory;
    lw_table_file **views; /* of the first inputs, what is merged */
    lw_table_file **rests; /* what stays in level 0 */
    uint32_t view_count, rest_count;
} slice;

static slice slice_of(lw_store *store, const lw_compaction *compaction) {
    slice cut = {.memory = store->memory};
    size_t size = compaction->sliced_count * sizeof(lw_table_file *);
    cut.views = lw_allocate(store->memory, size);
    cut.rests = lw_allocate(store->memory, size);
    for (; cut.view_count < compaction->sliced_count; cut.view_count++) {
        lw_table_file *input = compaction->inputs[cut.view_count];
        if (lw_table_file_before(input, compaction->upper)) {
            cut.views[cut.view_count] = input;
            lw_table_file_hold(input);
            continue;
        }
        LW_MARK(store->env, "store.table_sliced");
        lw_table_info info = input->info;
        info.clip.upper = compaction->upper;
        cut.views[cut.view_count] = lw_table_file_make(&store->folder, &info);
        info.clip = (lw_key_range){.lower = compaction->upper, .upper = input->info.clip.upper};
        if (!LW_BUG(store->env, "store.slice_without_rest")) {
            cut.rests[cut.rest_count++] = lw_table_file_make(&store->folder, &info);
        }
    }
    return cut;
}

static void slice_reset(slice *cut) {
    for (uint32_t index = 0; index < cut->view_count; index++) {
        lw_table_file_release(cut->views[index]);
    }
    for (uint32_t index = 0; index < cut->rest_count; index++) {
        lw_table_file_release(cut->rests[index]);
    }
    lw_free(cut->memory, cut->views);
    lw_free(cut->memory, cut->rests);
}

LW_YIELDS static lw_status merge_inputs(lw_tree *tree, const lw_version *version,
                                        const lw_compaction *compaction, const slice *cut,
                                        lw_output *output) {
    lw_memory *memory = tree->store->memory;
    lw_merge *merge = lw_merge_open(memory, compaction->run_count);
    lw_merge_set_once(merge);
    lw_sieve sieve = lw_tree_sieve(tree, version, compaction->output_level + 1);
    sieve.newest = &tree->version;
    uint32_t start = 0;
    for (uint32_t run = 0; run < compaction->run_count; run++) {
        bool sliced = start < cut->view_count;
        lw_table_file *const *files = sliced ? cut->views : compaction->inputs;
        lw_merge_add_run(merge, files + start, compaction->run_ends[run] - start);
        start = compaction->run_ends[run];
    }
    lw_sieve_merges(&sieve, compaction->inputs, compaction->input_count);
    sieve.upper = compaction->upper;
    lw_status status = write_outputs(tree, merge, &sieve, output);
    lw_sieve_reset(&sieve);
    lw_merge_close(merge);
    return status;
}

LW_YIELDS static lw_status commit_compacted(lw_tree *tree, uint32_t shape,
                                            const lw_compaction *compaction,
                                            const lw_version_file *added, uint32_t count) {
    lw_store *store = tree->store;
    lw_buffer edit = lw_buffer_in(store->memory);
    for (uint32_t index = 0; index < compaction->input_count; index++) {
        lw_edit_remove(&edit, tree->id, &compaction->inputs[index]->info);
    }
    for (uint32_t index = 0; index < count; index++) {
        lw_edit_add(&edit, tree->id, added[index].level, &added[index].file->info);
    }
    lw_status status = lw_tree_commit(tree, shape, lw_buffer_view(&edit), &store->compaction_full);
    lw_buffer_reset(&edit);
    return status;
}

/* Puts `files`, and the rests of a slice (NULL: there are none), in the place of the inputs:
 * durably, then for readers. */
LW_YIELDS static lw_status replace_inputs(lw_tree *tree, uint32_t shape,
                                          const lw_compaction *compaction,
                                          lw_table_file *const *files, uint32_t file_count,
                                          const slice *cut) {
    lw_store *store = tree->store;
    uint32_t count = 0, rest_count = cut != NULL ? cut->rest_count : 0;
    lw_version_file *added = lw_allocate(store->memory, (file_count + rest_count) * sizeof(*added));
    for (uint32_t index = 0; index < file_count; index++) {
        added[count++] = (lw_version_file){compaction->output_level, files[index]};
    }
    for (uint32_t index = 0; index < rest_count; index++) {
        added[count++] = (lw_version_file){0, cut->rests[index]};
    }
    lw_status status = commit_compacted(tree, shape, compaction, added, count);
    if (status == LW_OK) {
        lw_tree_install(tree, &(lw_version_change){.add = added,
                                                   .add_count = count,
                                                   .remove = compaction->inputs,
                                                   .remove_count = compaction->input_count});
    }
    lw_free(store->memory, added);
    return status;
}

LW_YIELDS static void unlink_file(const lw_store *store, uint64_t number) {
    char path[LW_PATH_SIZE];
    if (lw_table_path(path, store->table_path, number) == LW_OK) {
        (void)!lw_path_unlink(store->env, path);
    }
}

LW_YIELDS static void unlink_inputs(const lw_store *store, const lw_compaction *compaction) {
    for (uint32_t index = 0; index < compaction->input_count; index++) {
        unlink_file(store, compaction->inputs[index]->info.number);
    }
}

/* The value files of the inputs, though outputs may refer to them, and other tables. */
LW_YIELDS static void unlink_values(const lw_store *store, const lw_compaction *compaction) {
    for (uint32_t index = 0; index < compaction->input_count; index++) {
        const lw_table_info *info = &compaction->inputs[index]->info;
        for (uint32_t file = 0; file < info->value_count; file++) {
            unlink_file(store, info->values[file].number);
        }
    }
}

/* Outputs of a step that was made for what can be dropped: what is left could not be. */
static void note_swept(const lw_compaction *compaction, const lw_tree *tree,
                       const lw_output *output) {
    bool in_place = compaction->output_level > 0 && compaction->input_count == 1;
    for (uint32_t index = 0; index < output->count; index++) {
        output->files[index]->swept = in_place;
        output->files[index]->swept_at = tree->safepoint;
    }
}

LW_YIELDS static lw_status rewrite_inputs(lw_tree *tree, uint32_t shape, const lw_version *version,
                                          const lw_compaction *compaction, const slice *cut) {
    lw_store *store = tree->store;
    bool gathers = compaction->output_level == 0;
    lw_output output = lw_output_in(store, gathers ? UINT64_MAX : store->options.table_size);
    output.values.move_size = compaction->move_size;
    output.last =
        compaction->output_level > 0 && lw_version_last_level(version) <= compaction->output_level;
    output.below = gathers || compaction->output_level == LW_LEVEL_LAST ? NULL : version;
    output.below_level = compaction->output_level + 1;
    lw_status status = merge_inputs(tree, version, compaction, cut, &output);
    if (status != LW_OK) {
        lw_output_reset(&output, true);
        return status;
    }
    if (LW_BUG(store->env, "store.unlink_before_catalog")) {
        unlink_inputs(store, compaction);
    }
    note_swept(compaction, tree, &output);
    status = replace_inputs(tree, shape, compaction, output.files, output.count, cut);
    tree->compacted_bytes += output.bytes;
    if (status == LW_OK && LW_BUG(store->env, "value.live_file_removed")) {
        unlink_values(store, compaction);
    }
    /* When the store has stopped it is unknown which tables the catalog names. */
    lw_output_reset(&output, status == LW_CONFLICT);
    return status;
}

LW_YIELDS static lw_status compaction_run(lw_tree *tree, const lw_version *version,
                                          const lw_compaction *compaction) {
    uint32_t shape = tree->shape;
    if (compaction->move) {
        LW_MARK(tree->store->env, "store.trivial_move");
        return replace_inputs(tree, shape, compaction, compaction->inputs, compaction->input_count,
                              NULL);
    }
    slice cut = slice_of(tree->store, compaction);
    lw_status status = rewrite_inputs(tree, shape, version, compaction, &cut);
    slice_reset(&cut);
    return status;
}

/* Begins a round of level 0, unless one is under way: all tables that are there now. */
static void begin_round(lw_tree *tree) {
    const lw_version *version = tree->version;
    lw_table_file *const *files = lw_version_files(version, 0);
    uint64_t newest = 0;
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        uint64_t sequence = files[index]->info.sequence_max;
        newest = sequence > newest ? sequence : newest;
        if (sequence <= tree->round_sequence) {
            return;
        }
    }
    uint64_t size = lw_version_bytes(version, 0);
    tree->round_size = 0;
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        tree->round_size += files[index]->info.raw_size;
    }
    tree->round_ns = lw_env_now(tree->store->env);
    tree->round_sequence = newest;
    tree->batch_size = tree->batch_size == 0 ? size : (3 * tree->batch_size + size) / 4;
}

/* After the last step of a round it is known how fast level 0 goes down. */
static void note_round(lw_tree *tree) {
    lw_tuning tuning = lw_tree_tuning(tree);
    for (uint32_t index = 0; index < lw_version_count(tree->version, 0); index++) {
        if (lw_levels_in_round(lw_version_files(tree->version, 0)[index], &tuning)) {
            return;
        }
    }
    lw_pace_sunk(&tree->store->pace, tree->round_size,
                 lw_env_now(tree->store->env) - tree->round_ns);
}

/* The step that the tree needs, or one that merges everything. */
LW_YIELDS static lw_status tree_step(lw_tree *tree, bool all) {
    lw_store *store = tree->store;
    lw_need need = tree->need;
    if (!all && need.gather) {
        LW_MARK(store->env, "store.level0_gathered");
        tree->round_sequence = 0; /* the new table belongs to none */
    } else if (!all && need.level == 0) {
        begin_round(tree);
    }
    lw_tuning tuning = lw_tree_tuning(tree);
    lw_version *version = lw_version_of_tables(tree->version);
    lw_compaction compaction = all ? lw_compaction_of_all(store->memory, version)
                                   : lw_compaction_of_need(store->memory, version, &need, &tuning,
                                                           store->options.filter_part);
    lw_status status = LW_OK;
    if (compaction.input_count > 0) {
        status = compaction_run(tree, version, &compaction);
    }
    if (status == LW_OK && !all && need.level == 0 && !need.gather && !compaction.move) {
        note_round(tree);
    }
    lw_compaction_reset(&compaction);
    lw_version_release(version);
    return status;
}

/* ---- the fiber ----------------------------------------------------------------------------------
 */

/* The tree that needs a step most, or NULL; `*wake_ns` is when one will that may not yet (0: none).
 */
static lw_tree *neediest(lw_store *store, uint64_t *wake_ns) {
    lw_tree *most = NULL;
    bool forced = store->squeezing || LW_RARE(store->env, "store.forced_compaction");
    double most_score = forced ? 0.01 : 1;
    *wake_ns = 0;
    for (lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        if (tree->compact_done < tree->compact_wanted) {
            return tree;
        }
        if (tree->need.score < most_score) {
            continue;
        }
        if (tree->compact_again_ns > lw_env_now(store->env)) {
            *wake_ns = tree->compact_again_ns;
            continue;
        }
        most = tree;
        most_score = tree->need.score;
    }
    return most;
}

/* Tables that cannot be read stop the compaction of their tree for a while, and not the store:
 * other trees go on, and the tables' owner may be mended from a peer. */
static void note_unreadable(lw_tree *tree) {
    lw_env *env = tree->store->env;
    tree->compact_error = *lw_error_slot();
    uint32_t doublings = tree->compact_read_errors < 6 ? tree->compact_read_errors : 6;
    uint64_t pause_s = UINT64_C(1) << doublings;
    pause_s = pause_s < READ_ERROR_PAUSE_MAX_S ? pause_s : READ_ERROR_PAUSE_MAX_S;
    tree->compact_read_errors++;
    tree->compact_again_ns = lw_env_now(env) + pause_s * UINT64_C(1000000000);
    lw_logline(env, LW_LEVEL_ERROR, "a tree cannot be compacted", "tree=%" PRIu64 " reason=\"%s\"",
               tree->id, tree->compact_error.text);
    if (tree->compact_error.status == LW_CORRUPTION && tree->store->options.damaged != NULL) {
        tree->store->options.damaged(tree->store->options.argument, tree);
    }
}

/* A step takes memory for what it reads and writes. While flushes are under way, which give some
 * back, they come first. */
LW_YIELDS static void await_memory(lw_store *store) {
    while (store->flush_first != NULL && !store->flush_full && !lw_store_stopping(store) &&
           (lw_budget_room(store->budget) < store->budget->limit / 8 ||
            LW_RARE(store->env, "store.flushes_first"))) {
        LW_MARK(store->env, "store.compaction_waits_for_memory");
        lw_store_wait(store, 0);
    }
    if (LW_RARE(store->env, "store.compacts_later")) {
        (void)lw_env_wait(store->env, &store->stopping, lw_env_now(store->env) + DAWDLE_NS);
    }
}

/* There were too few handles, or there was too little memory: both come back. */
LW_YIELDS static void pause_short(lw_tree *tree) {
    lw_store *store = tree->store;
    tree->compact_error = *lw_error_slot();
    tree->compact_again_ns = lw_env_now(store->env) + 1;
    lw_store_pause_short(store);
}

/* Waiting may have seen the tree dropped, or all of its tables go to another one. */
static bool needs_nothing(const lw_tree *tree, bool all) {
    return tree->dropped || (!all && tree->need.score <= 0);
}

/* One step of one tree, and what follows from how it ended. */
LW_YIELDS static void compact_tree(lw_tree *tree) {
    lw_store *store = tree->store;
    uint32_t ticket = tree->compact_wanted;
    bool all = tree->compact_done < ticket;
    await_memory(store);
    if (needs_nothing(tree, all) && !LW_BUG(store->env, "store.need_not_looked_at_again")) {
        LW_MARK(store->env, "store.needless_after_waiting");
        return;
    }
    store->compacting = true;
    lw_status status = tree_step(tree, all);
    store->compacting = false;
    if (tree->dropped || status == LW_CONFLICT) {
        return;
    }
    if (lw_store_stopping(store) || (status == LW_FULL && lw_reserve_spend(store->reserve))) {
        return;
    }
    if (status == LW_BACKPRESSURE) {
        pause_short(tree);
        return;
    }
    store->compaction_full = status == LW_FULL;
    store->full_streak = status == LW_FULL ? store->full_streak : 0;
    if (status == LW_OK) {
        tree->compact_error = (lw_error){.status = LW_OK};
        tree->compact_again_ns = 0;
        tree->compact_read_errors = 0;
    } else if (status == LW_FULL) {
        LW_MARK(store->env, "store.compaction_met_full_disk");
        tree->compact_error = *lw_error_slot();
    } else {
        note_unreadable(tree);
    }
    tree->compact_done = ticket;
    lw_queue_wake_all(&store->changed);
    if (status == LW_FULL) {
        lw_store_pause_full(store);
    }
}

/* One step against garbage in value files; false if none is to be done. */
LW_YIELDS static bool collect_garbage(lw_store *store) {
    lw_tree *tree;
    lw_compaction compaction;
    if (lw_store_stopping(store) || !lw_garbage_find(store, &tree, &compaction)) {
        return false;
    }
    lw_version *version = lw_version_of_tables(tree->version);
    store->compacting = true;
    lw_status status = compaction_run(tree, version, &compaction);
    store->compacting = false;
    lw_compaction_reset(&compaction);
    lw_version_release(version);
    if (status == LW_OK) {
        LW_MARK(store->env, "value.garbage_collected");
        lw_queue_wake_all(&store->changed);
    } else if (status == LW_FULL && !lw_reserve_spend(store->reserve)) {
        LW_MARK(store->env, "value.garbage_met_full_disk");
        lw_store_pause_full(store);
    } else if (status != LW_FULL && status != LW_CONFLICT && !tree->dropped &&
               !lw_store_stopping(store)) {
        note_unreadable(tree);
    }
    lw_tree_release(tree);
    return true;
}

/* What is to be done now, if anything: a step of compaction, and one against garbage. */
LW_YIELDS static bool take_turn(lw_store *store) {
    uint64_t ignored;
    lw_tree *tree = neediest(store, &ignored);
    if (tree != NULL) {
        lw_tree_hold(tree);
        compact_tree(tree);
        lw_tree_release(tree);
    }
    return collect_garbage(store) || tree != NULL;
}

/* Whether an idle store would find more to do. */
static bool more_when_idle(const lw_store *store) {
    const lw_tree *tree = store->first_tree;
    while (tree != NULL && lw_version_depth(tree->version) < LW_LEVEL0_COMPACT_IDLE) {
        tree = tree->next;
    }
    return tree != NULL && !store->idle;
}

/* When nobody has written for a while, every tree is looked at with that in mind. */
static void notice_idleness(lw_store *store) {
    if (store->idle || !lw_pace_idle(&store->pace, lw_env_now(store->env))) {
        return;
    }
    LW_MARK(store->env, "store.idle");
    store->idle = true;
    for (lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        lw_tree_look(tree);
    }
}

/* Waits for something to do, at most until `wake_ns` (0: for ever). */
LW_YIELDS static void await_work(lw_store *store, uint64_t wake_ns) {
    if (more_when_idle(store)) {
        uint64_t look_ns = lw_env_now(store->env) + LW_PACE_IDLE_NS;
        wake_ns = wake_ns == 0 || look_ns < wake_ns ? look_ns : wake_ns;
    }
    if (wake_ns != 0) {
        (void)lw_env_wait(store->env, &store->compaction_wanted, wake_ns);
    } else {
        lw_queue_wait(&store->compaction_wanted);
    }
    notice_idleness(store);
}

void lw_compaction_main(void *argument) {
    lw_store *store = argument;
    while (!lw_store_stopping(store)) {
        uint64_t wake_ns = 0;
        bool done = take_turn(store);
        /* Looked at again, since looking for garbage may have suspended. */
        if (!done && neediest(store, &wake_ns) == NULL && !lw_store_stopping(store)) {
            await_work(store, wake_ns);
        }
    }
    store->fibers--;
    lw_queue_wake_all(&store->changed);
}
