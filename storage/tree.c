/* SPDX-License-Identifier: Apache-2.0 */
/* A tree's writes: batches into the active memtable, its rotation, and the brake on writers. The
 * invariants are in store.h and tree.h.
 *
 * Applying never waits, since what is replicated must be applied; the brake is lw_tree_admit,
 * before a write is proposed. Half of the store's memory is for memtables. When the active ones of
 * all trees take half of that, the largest is rotated, so that the other half is there while it is
 * flushed. */
#include "storage/tree.h"

#include "storage/batch.h"
#include "storage/compaction.h"

#include <inttypes.h>

enum {
    WORK_UNTIL_PASS = 64,        /* pieces of work between two passes: well below a millisecond */
    SLICE_TABLES = 6,            /* of the base level, that a step of level 0 takes */
    LEVEL0_SLOW = 8,             /* tables of level 0 from which writers are slowed down */
    LEVEL0_STOP = 20,            /* and from which they wait */
    DELAY_MAX_NS = 20 * 1000000, /* for one admission, just before the stop */
    TINY_MEMTABLE_SIZE = 4096,   /* bytes, when the simulator wants them tiny */
};

void lw_work_done(uint32_t *count) {
    if (++*count % WORK_UNTIL_PASS == 0 && lw_fiber_current() != NULL) {
        lw_fiber_pass();
    }
}

void lw_tree_free(lw_tree *tree) {
    lw_memory *memory = tree->store->memory;
    if (tree->version != NULL) {
        lw_version_release(tree->version);
    }
    lw_free(memory, tree);
}

uint64_t lw_tree_id(const lw_tree *tree) {
    return tree->id;
}

uint64_t lw_tree_applied(const lw_tree *tree) {
    return tree->applied;
}

uint64_t lw_tree_flushed(const lw_tree *tree) {
    return tree->flushed;
}

void lw_tree_set_safepoint(lw_tree *tree, uint64_t safepoint) {
    LW_ASSERT(safepoint >= tree->safepoint && safepoint < UINT64_MAX);
    tree->safepoint = safepoint;
    lw_tree_look(tree);
    lw_queue_wake_all(&tree->store->compaction_wanted);
}

uint64_t lw_tree_safepoint(const lw_tree *tree) {
    return tree->safepoint;
}

lw_sieve lw_tree_sieve(const lw_tree *tree, const lw_version *version, uint32_t below) {
    const lw_store *store = tree->store;
    lw_sieve sieve = lw_sieve_in(store->env, version, below);
    sieve.retention = store->options.retention;
    sieve.filter_part = store->options.filter_part;
    sieve.safepoint = tree->safepoint;
    return sieve;
}

static lw_memtable_share *active(const lw_tree *tree) {
    return tree->version->memtables[0];
}

lw_tuning lw_tree_tuning(const lw_tree *tree) {
    lw_store *store = tree->store;
    bool tiny = LW_RARE(store->env, "store.tiny_slices");
    return (lw_tuning){.table_size = store->options.table_size,
                       .batch_size = tree->batch_size,
                       .round_sequence = tree->round_sequence,
                       .slice_size = tiny || store->squeezing
                                         ? 1
                                         : SLICE_TABLES * store->options.table_size,
                       .safepoint = tree->safepoint};
}

void lw_tree_look(lw_tree *tree) {
    lw_tuning tuning = lw_tree_tuning(tree);
    tree->need = lw_levels_need(tree->version, &tuning);
}

/* ---- rotation ------------------------------------------------------------------------------- */

void lw_tree_install(lw_tree *tree, const lw_version_change *change) {
    lw_version *before = tree->version;
    tree->version = lw_version_next(tree->store->memory, before, change);
    for (uint32_t index = 0; index < change->add_count; index++) {
        lw_shared_file_name(change->add[index].file->shared);
    }
    for (uint32_t index = 0; index < change->remove_count; index++) {
        lw_shared_file_unname(change->remove[index]->shared);
    }
    LW_ASSERT(lw_version_check(tree->version));
    lw_tree_look(tree);
    lw_space_tables_changed(tree);
    if (before != NULL) {
        lw_version_release(before);
    }
}

void lw_tree_rotate(lw_tree *tree) {
    lw_store *store = tree->store;
    LW_ASSERT(tree->applied > tree->rotated);
    LW_MARK(store->env, "store.memtable_rotated");
    active(tree)->index = tree->applied;
    active(tree)->sequence = tree->sequence;
    store->active_bytes -= lw_memtable_size(active(tree)->memtable);
    tree->rotated = tree->applied;
    lw_memtable_share *fresh = lw_memtable_share_make(store->memory);
    lw_tree_install(tree, &(lw_version_change){.add_memtable = fresh});
    store->active_bytes += lw_memtable_size(fresh->memtable);
    store->memtable_bytes += lw_memtable_size(fresh->memtable);
    lw_memtable_share_release(fresh);
    if (!tree->in_flush_list) {
        tree->in_flush_list = true;
        tree->flush_next = NULL;
        *(store->flush_first == NULL ? &store->flush_first : &store->flush_last->flush_next) = tree;
        store->flush_last = tree;
    }
    lw_queue_wake_all(&store->flush_wanted);
}

/* False if no tree has anything to rotate. */
static bool rotate_largest(lw_store *store) {
    lw_tree *largest = NULL;
    size_t largest_size = 0;
    for (lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        size_t size = lw_memtable_size(active(tree)->memtable);
        if (tree->applied > tree->rotated && (largest == NULL || size > largest_size)) {
            largest = tree;
            largest_size = size;
        }
    }
    if (largest != NULL) {
        lw_tree_rotate(largest);
    }
    return largest != NULL;
}

/* Keeps the memtables within their share. While the flush is behind by more than the share of those
 * being flushed, more rotations would only make smaller tables. */
static void watch_memory(lw_tree *tree) {
    lw_store *store = tree->store;
    size_t share = store->memtable_budget / 2;
    size_t waiting = store->memtable_bytes - store->active_bytes;
    lw_reserve_want(store->reserve, LW_RESERVE_FLUSH, store->memtable_bytes);
    if (store->active_bytes > share && waiting <= share) {
        (void)rotate_largest(store);
    } else if (LW_RARE(store->env, "store.forced_flush") ||
               (lw_memtable_size(active(tree)->memtable) > TINY_MEMTABLE_SIZE &&
                LW_RARE(store->env, "store.tiny_memtable"))) {
        lw_tree_rotate(tree);
    }
}

/* ---- applying ------------------------------------------------------------------------------- */

lw_status lw_tree_apply(lw_tree *tree, uint64_t index, lw_bytes batch) {
    lw_store *store = tree->store;
    lw_memtable *memtable = active(tree)->memtable;
    lw_batch_operation operation;
    LW_ASSERT(index > tree->applied);
    LW_TRY(lw_batch_check(batch));
    size_t size_before = lw_memtable_size(memtable);
    tree->sequence++;
    while (lw_batch_next(&batch, &operation)) {
        lw_entry entry = {
            .key = operation.key,
            .sequence = tree->sequence,
            .kind = operation.kind == LW_BATCH_PUT ? LW_ENTRY_PUT : LW_ENTRY_DELETE,
            .value = operation.value,
        };
        lw_memtable_insert(memtable, &entry);
    }
    LW_ASSERT(batch.size == 0);
    tree->applied = index;
    size_t grown = lw_memtable_size(memtable) - size_before;
    store->memtable_bytes += grown;
    store->active_bytes += grown;
    watch_memory(tree);
    return LW_OK;
}

/* ---- the brake ------------------------------------------------------------------------------ */

/* How far writers have to be slowed down: 0 not at all, from 1 on they have to wait. */
static double pressure(const lw_tree *tree, size_t size) {
    const lw_store *store = tree->store;
    double budget = (double)store->memtable_budget, soft = 0.75 * budget;
    double memory = ((double)(store->memtable_bytes + size) - soft) / (budget - soft);
    double tables =
        ((double)lw_version_depth(tree->version) - LEVEL0_SLOW) / (LEVEL0_STOP - LEVEL0_SLOW);
    double most = memory > tables ? memory : tables;
    return most < 0 ? 0 : most;
}

static lw_status disk_full(const lw_store *store) {
    return lw_fail(LW_FULL,
                   "the disk of %s is full: delete something, or give it more room; until then "
                   "only reads and deletes go on",
                   store->directory);
}

/* Why a writer that waits would wait in vain, or LW_OK. */
static lw_status hopeless(const lw_tree *tree) {
    const lw_store *store = tree->store;
    bool too_many_tables = lw_version_depth(tree->version) >= LEVEL0_STOP;
    if (lw_store_stopping(store)) {
        return lw_store_stopped(store);
    }
    if (lw_reserve_short(store->reserve) || store->flush_full ||
        (store->compaction_full && too_many_tables)) {
        return disk_full(store);
    }
    if (too_many_tables && tree->compact_again_ns != 0) {
        return lw_fail(tree->compact_error.status, "tree %" PRIu64 " cannot be compacted: %s",
                       tree->id, tree->compact_error.text);
    }
    return LW_OK;
}

/* Whether the disk has room is found out soon after opening. */
LW_YIELDS static void await_verdict(lw_store *store) {
    while (lw_reserve_unknown(store->reserve) && !lw_store_stopping(store)) {
        lw_store_wait(store, 0);
    }
}

lw_status lw_tree_admit(lw_tree *tree, size_t size) {
    lw_store *store = tree->store;
    await_verdict(store);
    LW_TRY(hopeless(tree));
    double most = pressure(tree, size);
    if (most > 0 && most < 1) {
        lw_env_sleep(store->env, (uint64_t)(most * most * DELAY_MAX_NS));
        return lw_store_stopping(store) ? lw_store_stopped(store) : LW_OK;
    }
    while (pressure(tree, size) >= 1) {
        bool nothing_waits = store->memtable_bytes == store->active_bytes;
        LW_MARK(store->env, "store.stall");
        if (nothing_waits && lw_version_depth(tree->version) < LEVEL0_STOP) {
            bool nearly_empty = store->active_bytes <= store->memtable_budget / 4;
            if (nearly_empty || !rotate_largest(store)) {
                break; /* more than the whole budget at once: it will never fit better */
            }
        }
        lw_store_wait(store, 0);
        LW_TRY(hopeless(tree));
    }
    return LW_OK;
}

lw_status lw_tree_admit_freeing(lw_tree *tree, size_t size) {
    lw_store *store = tree->store;
    await_verdict(store);
    if (lw_store_stopping(store) || !lw_reserve_short(store->reserve)) {
        return lw_tree_admit(tree, size);
    }
    LW_MARK(store->env, "store.freeing_on_a_full_disk");
    if (store->flush_full && store->memtable_bytes + size > store->memtable_budget) {
        return disk_full(store);
    }
    return LW_OK;
}

/* ---- waiting for work to be done ------------------------------------------------------------ */

lw_status lw_tree_flush(lw_tree *tree) {
    lw_store *store = tree->store;
    uint64_t target = tree->applied, full_count = store->full_count;
    if (tree->applied > tree->rotated) {
        lw_tree_rotate(tree);
    }
    while (tree->flushed < target) {
        if (lw_store_stopping(store)) {
            return lw_store_stopped(store);
        }
        if (store->flush_full && store->full_count > full_count) {
            return lw_fail(LW_FULL, "tree %" PRIu64 " could not be flushed: the disk of %s is full",
                           tree->id, store->directory);
        }
        lw_store_wait(store, 0);
    }
    return LW_OK;
}

lw_status lw_tree_compact(lw_tree *tree) {
    lw_store *store = tree->store;
    LW_TRY(lw_tree_flush(tree));
    uint32_t ticket = ++tree->compact_wanted;
    lw_queue_wake_all(&store->compaction_wanted);
    while (tree->compact_done < ticket) {
        if (lw_store_stopping(store)) {
            return lw_store_stopped(store);
        }
        lw_store_wait(store, 0);
    }
    if (tree->compact_error.status != LW_OK) {
        return lw_fail(tree->compact_error.status, "%s", tree->compact_error.text);
    }
    return LW_OK;
}

void lw_tree_figures_get(const lw_tree *tree, lw_tree_figures *figures) {
    const lw_version *version = tree->version;
    *figures = (lw_tree_figures){.flushed_bytes = tree->flushed_bytes,
                                 .compacted_bytes = tree->compacted_bytes};
    for (uint32_t index = 0; index < version->memtable_count; index++) {
        figures->memtable_bytes += lw_memtable_size(version->memtables[index]->memtable);
        figures->memtable_count++;
    }
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        figures->table_bytes[level] = lw_version_bytes(version, level);
        figures->table_count[level] = lw_version_count(version, level);
    }
}
