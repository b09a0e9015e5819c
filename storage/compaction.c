/* SPDX-License-Identifier: Apache-2.0 */
/* The fiber that compacts, one step at a time: the tree and level that need it most. What a step is
 * to do and to keep is decided in pick.c.
 *
 * The order that makes it safe (T2): outputs are durable, then their names; one edit removes the
 * inputs and adds the outputs; then the tree shows them; the inputs are unlinked by the sweeper
 * when no version names them any more. */
#include "storage/compaction.h"
#include "storage/tree.h"

#include <inttypes.h>

enum { READ_ERROR_PAUSE_S = 60 };

/* ---- one step -----------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status write_outputs(lw_tree *tree, lw_merge *merge, lw_sieve *sieve,
                                         lw_output *output) {
    uint32_t work = 0;
    const lw_entry *entry;
    LW_TRY(lw_merge_first(merge));
    while ((entry = lw_merge_entry(merge)) != NULL) {
        if (lw_store_stopping(tree->store)) {
            return lw_store_stopped(tree->store);
        }
        if (lw_sieve_keeps(sieve, entry)) {
            LW_TRY(lw_output_add(output, lw_merge_file(merge), entry, sieve));
        }
        LW_TRY(lw_merge_step(merge));
        lw_work_done(&work);
    }
    return lw_output_finish(output);
}

LW_YIELDS static lw_status merge_inputs(lw_tree *tree, const lw_version *version,
                                        const lw_compaction *compaction, lw_output *output) {
    lw_memory *memory = tree->store->memory;
    lw_merge *merge = lw_merge_open(memory, compaction->run_count);
    lw_sieve sieve = lw_tree_sieve(tree, version, compaction->output_level + 1);
    uint32_t start = 0;
    for (uint32_t run = 0; run < compaction->run_count; run++) {
        lw_merge_add_run(merge, compaction->inputs + start, compaction->run_ends[run] - start);
        start = compaction->run_ends[run];
    }
    lw_sieve_merges(&sieve, compaction->inputs, compaction->input_count);
    lw_status status = write_outputs(tree, merge, &sieve, output);
    lw_sieve_reset(&sieve);
    lw_merge_close(merge);
    return status;
}

LW_YIELDS static lw_status commit_compacted(lw_tree *tree, const lw_compaction *compaction,
                                            const lw_version_file *added, uint32_t count) {
    lw_store *store = tree->store;
    lw_buffer edit = lw_buffer_in(store->memory);
    for (uint32_t index = 0; index < compaction->input_count; index++) {
        lw_edit_remove(&edit, tree->id, &compaction->inputs[index]->info);
    }
    for (uint32_t index = 0; index < count; index++) {
        lw_edit_add(&edit, tree->id, added[index].level, &added[index].file->info);
    }
    lw_status status =
        lw_store_commit_surely(store, lw_buffer_view(&edit), &store->compaction_full);
    lw_buffer_reset(&edit);
    return status;
}

/* Puts `files` in the place of the inputs: durably, then for readers. */
LW_YIELDS static lw_status replace_inputs(lw_tree *tree, const lw_compaction *compaction,
                                          lw_table_file *const *files, uint32_t count) {
    lw_store *store = tree->store;
    lw_version_file *added = lw_allocate(store->memory, count * sizeof(*added));
    for (uint32_t index = 0; index < count; index++) {
        added[index] = (lw_version_file){.level = compaction->output_level, .file = files[index]};
    }
    lw_status status = commit_compacted(tree, compaction, added, count);
    if (status == LW_OK) {
        lw_tree_install(tree, &(lw_version_change){.add = added,
                                                   .add_count = count,
                                                   .remove = compaction->inputs,
                                                   .remove_count = compaction->input_count});
    }
    lw_free(store->memory, added);
    return status;
}

LW_YIELDS static void unlink_inputs(lw_tree *tree, const lw_compaction *compaction) {
    char path[LW_PATH_SIZE];
    for (uint32_t index = 0; index < compaction->input_count; index++) {
        uint64_t number = compaction->inputs[index]->info.number;
        if (lw_table_path(path, tree->store->table_path, number) == LW_OK) {
            (void)!lw_path_unlink(tree->store->env, path);
        }
    }
}

LW_YIELDS static lw_status compaction_run(lw_tree *tree, const lw_version *version,
                                          const lw_compaction *compaction) {
    lw_store *store = tree->store;
    if (compaction->move) {
        LW_MARK(store->env, "store.trivial_move");
        return replace_inputs(tree, compaction, compaction->inputs, compaction->input_count);
    }
    lw_output output = lw_output_in(store, store->options.table_size);
    output.last = lw_version_last_level(version) <= compaction->output_level;
    lw_status status = merge_inputs(tree, version, compaction, &output);
    if (status != LW_OK) {
        lw_output_reset(&output, true);
        return status;
    }
    if (LW_BUG(store->env, "store.unlink_before_catalog")) {
        unlink_inputs(tree, compaction);
    }
    status = replace_inputs(tree, compaction, output.files, output.count);
    tree->compacted_bytes += output.bytes;
    /* Without success the store has stopped, and which tables the catalog names is unknown. */
    lw_output_reset(&output, false);
    return status;
}

static void remember_turn(lw_tree *tree, uint32_t level, lw_bytes key) {
    lw_memory *memory = tree->store->memory;
    lw_free(memory, (void *)tree->turn[level].data);
    tree->turn[level] = lw_copy(memory, key);
}

/* Steps once at `level`, or merges everything. */
LW_YIELDS static lw_status tree_step(lw_tree *tree, uint32_t level, bool all) {
    lw_memory *memory = tree->store->memory;
    lw_version *version = tree->version;
    lw_version_hold(version);
    lw_compaction compaction =
        all ? lw_compaction_of_all(memory, version)
            : lw_compaction_of_level(memory, version, level, tree->turn[level]);
    lw_status status = LW_OK;
    if (compaction.input_count > 0) {
        status = compaction_run(tree, version, &compaction);
    }
    if (!all && level > 0) {
        remember_turn(tree, level, compaction.inputs[0]->high);
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
        if (tree->score < most_score) {
            continue;
        }
        if (tree->compact_again_ns > lw_env_now(store->env)) {
            *wake_ns = tree->compact_again_ns;
            continue;
        }
        most = tree;
        most_score = tree->score;
    }
    return most;
}

/* Tables that cannot be read stop the compaction of their tree for a while, and not the store:
 * other trees go on, and the tables' owner may be mended from a peer. */
static void note_unreadable(lw_tree *tree) {
    lw_env *env = tree->store->env;
    tree->compact_error = *lw_error_slot();
    tree->compact_again_ns = lw_env_now(env) + READ_ERROR_PAUSE_S * UINT64_C(1000000000);
    lw_logline(env, LW_LEVEL_ERROR, "a tree cannot be compacted", "tree=%" PRIu64 " reason=\"%s\"",
               tree->id, tree->compact_error.text);
}

/* One step of one tree, and what follows from how it ended. */
LW_YIELDS static void compact_tree(lw_tree *tree) {
    lw_store *store = tree->store;
    uint32_t ticket = tree->compact_wanted;
    bool all = tree->compact_done < ticket;
    store->compacting = true;
    lw_status status = tree_step(tree, tree->score_level, all);
    store->compacting = false;
    if (lw_store_stopping(store) || (status == LW_FULL && lw_reserve_spend(store->reserve))) {
        return;
    }
    store->compaction_full = status == LW_FULL;
    store->full_streak = status == LW_FULL ? store->full_streak : 0;
    if (status == LW_OK) {
        tree->compact_error = (lw_error){.status = LW_OK};
        tree->compact_again_ns = 0;
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

void lw_compaction_main(void *argument) {
    lw_store *store = argument;
    while (!lw_store_stopping(store)) {
        uint64_t wake_ns = 0;
        lw_tree *tree = neediest(store, &wake_ns);
        if (tree != NULL) {
            compact_tree(tree);
        } else if (wake_ns != 0) {
            (void)lw_env_wait(store->env, &store->compaction_wanted, wake_ns);
        } else {
            lw_queue_wait(&store->compaction_wanted);
        }
    }
    store->fibers--;
    lw_queue_wake_all(&store->changed);
}
