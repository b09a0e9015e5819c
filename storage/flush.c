/* SPDX-License-Identifier: Apache-2.0 */
/* The fiber that flushes: the oldest memtable that takes no more writes becomes a table of level 0.
 *
 * The order that makes it safe (T1): the table is durable; its name is durable; one edit adds it
 * and moves the flushed index; only then does the tree show it, and the log may let go. A full disk
 * is waited out: nothing is lost meanwhile, since the log has it. */
#include "storage/tree.h"

/* Writes the newest entry of each key. */
LW_YIELDS static lw_status write_entries(lw_tree *tree, const lw_memtable *memtable,
                                         lw_output *output) {
    lw_version *version = tree->version;
    lw_sieve sieve = lw_tree_sieve(tree, version, 0);
    sieve.memtable = memtable;
    lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
    lw_status status = LW_OK;
    const lw_entry *entry;
    uint32_t work = 0;
    lw_version_hold(version);
    lw_memtable_cursor_first(&cursor);
    while (status == LW_OK && (entry = lw_memtable_cursor_entry(&cursor)) != NULL) {
        if (lw_sieve_keeps(&sieve, entry)) {
            status = lw_output_add(output, NULL, entry, &sieve);
        }
        lw_work_done_on(&work, entry->key.size + entry->value.size);
        lw_memtable_cursor_next(&cursor);
    }
    lw_version_release(version);
    lw_sieve_reset(&sieve);
    return status == LW_OK ? lw_output_finish(output) : status;
}

LW_YIELDS static lw_status commit_flushed(lw_tree *tree, uint32_t shape,
                                          const lw_memtable_share *share, const lw_output *output) {
    lw_store *store = tree->store;
    lw_buffer edit = lw_buffer_in(store->memory);
    for (uint32_t index = 0; index < output->count; index++) {
        lw_edit_add(&edit, tree->id, 0, &output->files[index]->info);
    }
    lw_edit_flushed(&edit, tree->id, share->index, share->sequence);
    lw_status status = lw_tree_commit(tree, shape, lw_buffer_view(&edit), &store->flush_full);
    lw_buffer_reset(&edit);
    return status;
}

/* The catalog has it: now the tree shows it (I2). */
static void install_flushed(lw_tree *tree, lw_memtable_share *share, const lw_output *output) {
    lw_store *store = tree->store;
    LW_ASSERT(output->count <= 1);
    LW_ASSERT(share->index > tree->flushed);
    lw_version_file added = {.level = 0, .file = output->count > 0 ? output->files[0] : NULL};
    tree->flushed = share->index;
    if (share->sequence > tree->flushed_sequence) {
        tree->flushed_sequence = share->sequence;
    }
    tree->flushed_bytes += output->bytes;
    store->memtable_bytes -= lw_memtable_size(share->memtable);
    lw_tree_install(tree, &(lw_version_change){
                              .remove_memtable = share, .add = &added, .add_count = output->count});
    if (store->options.flushed != NULL) {
        store->options.flushed(store->options.argument, tree, tree->flushed);
    }
    lw_queue_wake_all(&store->changed);
    lw_queue_wake_all(&store->compaction_wanted);
}

LW_YIELDS static lw_status flush_share(lw_tree *tree, lw_memtable_share *share) {
    lw_store *store = tree->store;
    uint32_t shape = tree->shape;
    lw_output output = lw_output_in(store, UINT64_MAX);
    if (LW_BUG(store->env, "store.flush_index_before_table")) {
        LW_TRY(commit_flushed(tree, shape, share, &output));
    }
    lw_status status = write_entries(tree, share->memtable, &output);
    if (status != LW_OK) {
        lw_output_reset(&output, true);
        return status;
    }
    if (store->options.before_flush != NULL) {
        status = store->options.before_flush(store->options.argument, tree, share->index);
    }
    if (status != LW_OK) {
        if (!lw_store_stopping(store)) {
            (void)!lw_store_judge(store, status);
        }
        lw_output_reset(&output, true);
        return status;
    }
    status = commit_flushed(tree, shape, share, &output);
    if (status == LW_OK) {
        install_flushed(tree, share, &output);
    }
    /* When the store has stopped it is unknown whether the catalog names the table. */
    lw_output_reset(&output, status == LW_CONFLICT);
    return status;
}

LW_YIELDS static lw_status flush_oldest(lw_tree *tree) {
    LW_ASSERT(tree->version->memtable_count > 1);
    lw_memtable_share *share = tree->version->memtables[tree->version->memtable_count - 1];
    share->references++; /* the tree may be dropped meanwhile */
    lw_store *store = tree->store;
    uint64_t began_ns = store->flushing_ns = lw_env_now(store->env);
    lw_status status = flush_share(tree, share);
    if (status == LW_OK) {
        lw_pace_flushed(&store->pace, lw_memtable_size(share->memtable),
                        lw_env_now(store->env) - began_ns);
        lw_queue_wake_all(&store->changed);
    }
    lw_memtable_share_release(share);
    return status;
}

/* To the end of the list with a tree that has more to flush; out of it with one that has not. */
static void next_tree(lw_store *store) {
    lw_tree *tree = store->flush_first;
    bool more = tree->version->memtable_count > 1;
    if (more && tree != store->flush_last) {
        store->flush_last->flush_next = tree;
        store->flush_last = tree;
        store->flush_first = tree->flush_next;
        tree->flush_next = NULL;
    } else if (!more) {
        store->flush_first = tree->flush_next;
        store->flush_last = store->flush_first == NULL ? NULL : store->flush_last;
        tree->flush_next = NULL;
        tree->in_flush_list = false;
    }
}

void lw_flush_main(void *argument) {
    lw_store *store = argument;
    while (!lw_store_stopping(store)) {
        if (store->flush_first == NULL) {
            lw_queue_wait(&store->flush_wanted);
            continue;
        }
        lw_tree *tree = store->flush_first;
        lw_tree_hold(tree);
        lw_status status = flush_oldest(tree);
        if (status == LW_OK) {
            store->flush_full = false;
            store->full_streak = 0;
        }
        if (status == LW_OK && !tree->dropped) {
            next_tree(store);
        }
        bool gone = status == LW_CONFLICT || tree->dropped;
        lw_tree_release(tree);
        if (status == LW_OK || gone) {
            continue;
        }
        if (status == LW_FULL) {
            LW_MARK(store->env, "store.flush_met_full_disk");
            lw_store_make_room(store, &store->flush_full);
        } else if (status == LW_BACKPRESSURE) {
            lw_store_pause_short(store);
        } else {
            LW_ASSERT(lw_store_stopping(store));
        }
    }
    store->fibers--;
    lw_queue_wake_all(&store->changed);
}
