/* SPDX-License-Identifier: Apache-2.0 */
/* A tree's writes: batches into the active memtable, its rotation, and the brake on writers. The
 * invariants are in store.h and tree.h.
 *
 * Applying never waits, since what is replicated must be applied; the brake is lw_tree_admit,
 * before a write is proposed. The budget says what memtables may take (storage/budget.h). When the
 * active ones of all trees take half of that, the largest is rotated, so that the other half is
 * there while it is flushed; and when nothing is written, but readers push one another's blocks out
 * of the cache, the largest is flushed to give its memory to them.
 *
 * What was let in and is not applied yet is counted too (store->admitted), so that many writers at
 * once find no more room than one after the other. Some of it never comes, since what was to be
 * written failed elsewhere: it is forgotten after a while. */
#include "storage/tree.h"

#include "storage/batch.h"
#include "storage/compaction.h"

#include <inttypes.h>

#define FLUSHED_MAX 0.9 /* how far a flush that is not done may be believed to be */

enum {
    WORK_UNTIL_PASS = 64,  /* pieces of work between two passes: well below a millisecond */
    SLICE_TABLES = 6,      /* of the base level, that a step of level 0 takes */
    LEVEL0_SLOW = 20,      /* tables of level 0 from which writers are slowed down */
    LEVEL0_STOP = 36,      /* and from which they wait */
    DEBT_SLOW_TABLES = 32, /* tables' worth to be merged from which they are slowed down */
    DEBT_STOP_TABLES = 128,
    PIECE_SIZE = 1024,                   /* bytes that count as one more piece of work */
    TINY_MEMTABLE_SIZE = 4096,           /* bytes, when the simulator wants them tiny */
    MEMORY_PATIENCE_NS = 1000 * 1000000, /* for memory that no flush gives back */
    ADMITTED_PERIOD_NS = 500 * 1000000,  /* what was let in is counted for one to two of these */
    DEFERRED_PART = 6,      /* of the limit, for entries that are deferred while replaying ... */
    DEFERRED_MAX = 1 << 20, /* ... and at most so many */
    LARGE_PART = 32,        /* of the limit: a larger batch asks for its room by itself */
    IDLE_RATIO = 16, /* bytes evicted for each one written, from which memtables count as idle */
};

void lw_work_done_on(uint32_t *count, size_t size) {
    uint32_t pieces = (uint32_t)(size / PIECE_SIZE);
    if (*count % WORK_UNTIL_PASS + pieces >= WORK_UNTIL_PASS) {
        *count = WORK_UNTIL_PASS - 1;
    } else {
        *count += pieces;
    }
    lw_work_done(count);
}

void lw_work_done(uint32_t *count) {
    if (++*count % WORK_UNTIL_PASS == 0 && lw_fiber_current() != NULL) {
        lw_fiber_pass();
    }
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
    if (!tree->dropped) {
        lw_tree_look(tree);
    }
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
                       .slice_size =
                           tiny || store->squeezing ? 1 : SLICE_TABLES * store->options.table_size,
                       .idle = store->idle,
                       .steep = store->steep,
                       .gather = LW_RARE(store->env, "store.gather"),
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
    tree->depth = lw_version_depth(tree->version);
    lw_tree_look(tree);
    lw_space_tables_changed(tree);
    if (before != NULL) {
        lw_version_release(before);
    }
}

static void count_grown(lw_store *store, lw_memtable_share *share) {
    size_t grown = lw_memtable_size(share->memtable) - share->charge.size;
    lw_budget_share_set(&share->charge, share->charge.size + grown);
    store->memtable_bytes += grown;
    store->active_bytes += grown;
}

static void settle(lw_tree *tree) {
    lw_memtable_settle(active(tree)->memtable);
    count_grown(tree->store, active(tree));
}

static void settle_all(lw_store *store) {
    for (lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        settle(tree);
    }
    store->deferred = 0;
}

void lw_tree_rotate(lw_tree *tree) {
    lw_store *store = tree->store;
    LW_ASSERT(tree->applied > tree->rotated);
    settle(tree);
    LW_MARK(store->env, "store.memtable_rotated");
    store->idle = false;
    active(tree)->index = tree->applied;
    active(tree)->sequence = tree->sequence;
    store->active_bytes -= lw_memtable_size(active(tree)->memtable);
    tree->rotated = tree->applied;
    lw_memtable_share *fresh = lw_memtable_share_make(store->memory, store->budget, &store->spent);
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

/* Bytes that active memtables may have: half of what those leave that snapshots hold. */
static size_t active_share(const lw_store *store) {
    const lw_budget *budget = store->budget;
    size_t most = lw_budget_for_memtables(budget);
    size_t held = budget->parts[LW_BUDGET_MEMTABLES] - store->memtable_bytes;
    size_t least = most / 4;
    return held + 2 * least < most ? (most - held) / 2 : least;
}

/* Keeps the memtables within their share. While the flush is behind by more than the share of those
 * being flushed, more rotations would only make smaller tables. */
static void watch_memory(lw_tree *tree) {
    lw_store *store = tree->store;
    size_t share = active_share(store);
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

void lw_store_relieve_readers(lw_store *store) {
    const lw_budget *budget = store->budget;
    if (budget->evicted - store->evicted < budget->limit / 2 &&
        !LW_RARE(store->env, "store.relieves_early")) {
        return;
    }
    store->evicted = budget->evicted;
    bool much = store->active_bytes >= budget->limit / 16 ||
                (store->active_bytes > 0 && LW_RARE(store->env, "store.flushes_little"));
    if (much && !lw_store_stopping(store) && rotate_largest(store)) {
        LW_MARK(store->env, "store.idle_memtable_flushed");
    }
}

/* ---- applying ------------------------------------------------------------------------------- */

void lw_store_replaying(lw_store *store, bool replaying) {
    size_t most = store->budget->limit / DEFERRED_PART / LW_MEMTABLE_DEFERRED_SIZE;
    store->replaying = replaying;
    store->deferred_max = most < DEFERRED_MAX ? (uint32_t)most : DEFERRED_MAX;
    if (LW_RARE(store->env, "store.defers_little")) {
        store->deferred_max = 1;
    }
    settle_all(store);
}

static void count_applied(lw_store *store, lw_memtable_share *share, size_t batch_size) {
    count_grown(store, share);
    store->pace.written += batch_size;
    size_t rest = batch_size > store->admitted_before ? batch_size - store->admitted_before : 0;
    store->admitted_before -= batch_size - rest;
    store->admitted -= rest < store->admitted ? rest : store->admitted;
    uint64_t idle = store->budget->evicted - store->evicted;
    uint64_t busy = (uint64_t)batch_size * IDLE_RATIO;
    store->evicted += busy < idle ? busy : idle;
}

lw_status lw_tree_check_batch(const lw_tree *tree, lw_bytes batch) {
    lw_batch_operation operation;
    LW_TRY(lw_batch_check(batch));
    while (tree->bounds.count > 0 && lw_batch_next(&batch, &operation)) {
        if (!lw_tree_may_hold(tree, operation.key)) {
            return lw_fail(LW_INVALID_ARGUMENT,
                           "a batch has a key that lies outside of tree %" PRIu64
                           ": it was split off, and belongs to another tree",
                           tree->id);
        }
    }
    return LW_OK;
}

void lw_tree_apply_checked(lw_tree *tree, uint64_t index, lw_bytes batch) {
    lw_store *store = tree->store;
    lw_memtable_share *share = active(tree);
    lw_batch_operation operation;
    LW_ASSERT(index > tree->applied);
    LW_ASSERT(!tree->frozen);
    size_t batch_size = batch.size;
    lw_budget_prepare(store->budget, batch_size);
    tree->sequence++;
    while (lw_batch_next(&batch, &operation)) {
        lw_entry entry = {
            .key = operation.key,
            .sequence = tree->sequence,
            .kind = operation.kind == LW_BATCH_PUT ? LW_ENTRY_PUT : LW_ENTRY_DELETE,
            .value = operation.value,
        };
        if (store->replaying) {
            lw_memtable_defer(share->memtable, &entry);
            store->deferred++;
        } else {
            lw_memtable_insert(share->memtable, &entry);
        }
    }
    LW_ASSERT(batch.size == 0);
    tree->applied = index;
    if (store->replaying && store->deferred >= store->deferred_max) {
        settle_all(store);
    }
    count_applied(store, share, batch_size);
    watch_memory(tree);
}

lw_status lw_tree_apply(lw_tree *tree, uint64_t index, lw_bytes batch) {
    LW_TRY(lw_tree_check_batch(tree, batch));
    lw_tree_apply_checked(tree, index, batch);
    return LW_OK;
}

/* ---- the brake ------------------------------------------------------------------------------ */

/* Bytes of memtables, now and when all is applied that was let in. */
static size_t memory_taken(const lw_store *store) {
    return store->budget->parts[LW_BUDGET_MEMTABLES] + store->admitted + store->admitted_before;
}

/* A flush gives its memory back only when it is done, so writers have until then what is left
 * beside it: they are slowed down as they get ahead of how far it should be. */
static double memory_pressure(const lw_store *store, size_t taken_size) {
    double most = (double)lw_budget_for_memtables(store->budget), soft = 0.75 * most;
    double taken = (double)taken_size;
    double waiting = (double)(store->memtable_bytes - store->active_bytes);
    if (waiting == 0 || waiting >= most) {
        return (taken - soft) / (most - soft);
    }
    double filled = (taken - waiting) / (most - waiting);
    uint64_t now_ns = lw_env_now(store->env);
    double flushed = lw_pace_drained(&store->pace, now_ns - store->flushing_ns) / waiting;
    flushed = flushed < FLUSHED_MAX ? flushed : FLUSHED_MAX;
    return (filled - flushed) / (1 - flushed);
}

/* A large batch stands in the log's buffer and in a memtable at the same time. */
static bool fits(const lw_store *store, size_t size) {
    const lw_budget *budget = store->budget;
    bool small = size <= budget->limit / LARGE_PART && !LW_RARE(store->env, "store.all_large");
    return small || 2 * size <= lw_budget_room(budget);
}

static double part_between(double value, double slow, double stop) {
    return value <= slow ? 0 : (value - slow) / (stop - slow);
}

lw_pressure lw_tree_pressure(const lw_tree *tree, size_t size) {
    /* What the memtable has allocated ahead is not taken yet: else the pressure would mount by
     * steps, and the first writer of each wait for all that come before the next one. */
    size_t spare = lw_memtable_spare(active(tree)->memtable);
    double memory = memory_pressure(tree->store, memory_taken(tree->store) - spare + size);
    memory = memory < 1 && !fits(tree->store, size) ? 1 : memory;
    double tables = part_between((double)tree->depth, LEVEL0_SLOW, LEVEL0_STOP);
    double debt = part_between((double)tree->need.debt / (double)tree->store->options.table_size,
                               DEBT_SLOW_TABLES, DEBT_STOP_TABLES);
    return (lw_pressure){.memory = memory < 0 ? 0 : memory,
                         .tables = tables > debt ? tables : debt};
}

/* Whether compaction is so far behind that writers wait for it. */
static bool compaction_behind(const lw_tree *tree) {
    return tree->depth >= LEVEL0_STOP ||
           tree->need.debt >= DEBT_STOP_TABLES * tree->store->options.table_size;
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
    if (tree->dropped) {
        return lw_tree_gone(tree);
    }
    bool behind = compaction_behind(tree);
    if (lw_store_stopping(store)) {
        return lw_store_stopped(store);
    }
    if (lw_reserve_short(store->reserve) || store->flush_full ||
        (store->compaction_full && behind)) {
        return disk_full(store);
    }
    if (behind && tree->compact_again_ns != 0) {
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

static void forget_admitted(lw_store *store) {
    if (store->admitted + store->admitted_before == 0) {
        store->admitted_ns = 0; /* to look at the clock would cost as much as all the rest */
        return;
    }
    uint64_t now_ns = lw_env_now(store->env);
    if (store->admitted_ns == 0) {
        store->admitted_ns = now_ns;
    } else if (now_ns - store->admitted_ns >= ADMITTED_PERIOD_NS) {
        bool long_ago = now_ns - store->admitted_ns >= 2 * (uint64_t)ADMITTED_PERIOD_NS;
        store->admitted_before = long_ago ? 0 : store->admitted;
        store->admitted = 0;
        store->admitted_ns = now_ns;
    }
}

/* A batch so large that it would leave no room for anything else. */
static lw_status too_large(const lw_store *store, size_t size) {
    return lw_fail(LW_REFUSED,
                   "a write of %zu bytes is too large for the memory budget of %zu bytes, which "
                   "has to hold it "
                   "twice: split it, or give the node more with --memory",
                   size, store->budget->limit);
}

/* Nothing is to be flushed, and still there is no memory. */
static lw_status memory_held(const lw_store *store) {
    const lw_budget *budget = store->budget;
    size_t held = budget->parts[LW_BUDGET_MEMTABLES] - store->memtable_bytes;
    if (held > lw_budget_for_memtables(budget) / 4) {
        return lw_fail(LW_BACKPRESSURE,
                       "%" PRIu32 " open snapshots of %s hold %zu bytes of memory that was flushed "
                       "already, of %zu for writes: nothing can be written before they are closed",
                       store->snapshots, store->directory, held, lw_budget_for_memtables(budget));
    }
    return lw_fail(LW_BACKPRESSURE,
                   "the memory budget of %zu bytes has no room for writes: reads and open tables "
                   "have %zu of it; try again later, or give the node more with --memory",
                   budget->limit, budget->used - budget->parts[LW_BUDGET_MEMTABLES]);
}

/* Waits for memory that no flush gives back: until `*deadline_ns`, which is set at the first call.
 * A batch for which there never will be more room need not wait. */
LW_YIELDS static lw_status await_memory(lw_store *store, size_t size, uint64_t *deadline_ns,
                                        bool *enough) {
    bool nearly_empty = memory_taken(store) <= lw_budget_for_memtables(store->budget) / 4;
    *enough = nearly_empty && fits(store, size) && size <= lw_budget_room(store->budget);
    if (*enough || lw_table_folder_close_idle(&store->folder)) {
        return LW_OK;
    }
    uint64_t now_ns = lw_env_now(store->env);
    if (*deadline_ns == 0) {
        *deadline_ns = now_ns + MEMORY_PATIENCE_NS;
    } else if (now_ns >= *deadline_ns) {
        LW_MARK(store->env, "store.memory_held");
        return memory_held(store);
    }
    lw_store_wait(store, *deadline_ns);
    forget_admitted(store);
    return LW_OK;
}

/* Waits while the pressure is too high. */
LW_YIELDS static lw_status stall(lw_tree *tree, size_t size) {
    lw_store *store = tree->store;
    uint64_t deadline_ns = 0;
    bool enough = false;
    store->stalled_count++;
    LW_MARK(store->env, "store.stall");
    while (!enough && lw_pressure_most(lw_tree_pressure(tree, size)) >= 1) {
        bool flushing = store->memtable_bytes > store->active_bytes;
        bool worth = store->active_bytes > lw_budget_for_memtables(store->budget) / 4;
        if (flushing || compaction_behind(tree) || (worth && rotate_largest(store))) {
            lw_store_wait(store, 0);
        } else {
            LW_TRY(await_memory(store, size, &deadline_ns, &enough));
        }
        LW_TRY(hopeless(tree));
    }
    return LW_OK;
}

bool lw_tree_has_memory(lw_tree *tree, size_t size) {
    lw_store *store = tree->store;
    if (lw_tree_pressure(tree, size).memory < 1) {
        return true;
    }
    if (store->memtable_bytes == store->active_bytes &&
        store->active_bytes > lw_budget_for_memtables(store->budget) / 4) {
        (void)rotate_largest(store);
    }
    return store->memtable_bytes == store->active_bytes;
}

bool lw_tree_has_room(lw_tree *tree, size_t size) {
    return lw_tree_has_memory(tree, size) && !compaction_behind(tree);
}

/* Whether nothing at all is in the way: so it is nearly always. */
static bool free_way(const lw_tree *tree, size_t size) {
    const lw_store *store = tree->store;
    bool troubled = tree->dropped || lw_store_stopping(store) || store->flush_full ||
                    store->compaction_full || lw_reserve_unknown(store->reserve) ||
                    lw_reserve_short(store->reserve);
    size_t most = lw_budget_for_memtables(store->budget);
    bool behind = tree->depth > LEVEL0_SLOW ||
                  tree->need.debt > DEBT_SLOW_TABLES * store->options.table_size ||
                  store->memtable_bytes > store->active_bytes;
    return !troubled && !behind && memory_taken(store) + size <= most / 4 * 3 &&
           size <= store->budget->limit / 2;
}

/* Lets a writer, who is let in, wait for what it takes. */
LW_YIELDS static lw_status slow_down(lw_tree *tree, lw_pressure pressure, size_t size) {
    lw_store *store = tree->store;
    uint64_t now_ns = lw_env_now(store->env), flush_count = store->pace.flush_count;
    lw_pace_delay delay = lw_pace_writer(&store->pace, pressure, size, now_ns);
    if (delay.memory_ns == 0 && delay.tables_ns == 0) {
        return LW_OK;
    }
    store->slowed_count++;
    LW_MARK(store->env, "store.writer_slowed");
    uint64_t memory_until_ns = now_ns + delay.memory_ns, tables_until_ns = now_ns + delay.tables_ns;
    while (now_ns < memory_until_ns && store->pace.flush_count == flush_count &&
           !lw_store_stopping(store)) {
        lw_store_wait(store, memory_until_ns);
        now_ns = lw_env_now(store->env);
    }
    if (now_ns < tables_until_ns) {
        lw_env_sleep(store->env, tables_until_ns - now_ns);
    }
    LW_TRY(tree->dropped ? lw_tree_gone(tree) : LW_OK);
    return lw_store_stopping(store) ? lw_store_stopped(store) : LW_OK;
}

LW_YIELDS static lw_status admit(lw_tree *tree, size_t size) {
    lw_store *store = tree->store;
    await_verdict(store);
    LW_TRY(hopeless(tree));
    if (size > store->budget->limit / 16 * 7) { /* twice, and an eighth for work */
        return too_large(store, size);
    }
    forget_admitted(store);
    lw_pressure pressure = lw_tree_pressure(tree, size);
    double most = lw_pressure_most(pressure);
    if (most >= 1) {
        LW_TRY(stall(tree, size));
    }
    store->admitted += size;
    return most > 0 && most < 1 ? slow_down(tree, pressure, size) : LW_OK;
}

lw_status lw_tree_admit(lw_tree *tree, size_t size) {
    forget_admitted(tree->store);
    if (free_way(tree, size)) {
        tree->store->admitted += size;
        return LW_OK;
    }
    lw_tree_hold(tree);
    lw_status status = admit(tree, size);
    lw_tree_release(tree);
    return status;
}

lw_status lw_tree_admit_freeing(lw_tree *tree, size_t size) {
    lw_store *store = tree->store;
    await_verdict(store);
    if (lw_store_stopping(store) || !lw_reserve_short(store->reserve)) {
        return lw_tree_admit(tree, size);
    }
    LW_MARK(store->env, "store.freeing_on_a_full_disk");
    if (store->flush_full && memory_taken(store) + size > lw_budget_for_memtables(store->budget)) {
        return disk_full(store);
    }
    return LW_OK;
}

/* ---- waiting for work to be done ------------------------------------------------------------ */

LW_YIELDS static lw_status flush(lw_tree *tree) {
    lw_store *store = tree->store;
    uint64_t target = tree->applied, full_count = store->full_count;
    if (tree->applied > tree->rotated) {
        lw_tree_rotate(tree);
    }
    while (tree->flushed < target) {
        if (lw_store_stopping(store)) {
            return lw_store_stopped(store);
        }
        LW_TRY(tree->dropped ? lw_tree_gone(tree) : LW_OK);
        if (store->flush_full && store->full_count > full_count) {
            return lw_fail(LW_FULL, "tree %" PRIu64 " could not be flushed: the disk of %s is full",
                           tree->id, store->directory);
        }
        lw_store_wait(store, 0);
    }
    return LW_OK;
}

lw_status lw_tree_flush(lw_tree *tree) {
    lw_tree_hold(tree);
    lw_status status = flush(tree);
    lw_tree_release(tree);
    return status;
}

LW_YIELDS static lw_status compact(lw_tree *tree) {
    lw_store *store = tree->store;
    LW_TRY(flush(tree));
    uint32_t ticket = ++tree->compact_wanted;
    lw_queue_wake_all(&store->compaction_wanted);
    while (tree->compact_done < ticket) {
        if (lw_store_stopping(store)) {
            return lw_store_stopped(store);
        }
        LW_TRY(tree->dropped ? lw_tree_gone(tree) : LW_OK);
        lw_store_wait(store, 0);
    }
    if (tree->compact_error.status != LW_OK) {
        return lw_fail(tree->compact_error.status, "%s", tree->compact_error.text);
    }
    return LW_OK;
}

lw_status lw_tree_compact(lw_tree *tree) {
    lw_tree_hold(tree);
    lw_status status = compact(tree);
    lw_tree_release(tree);
    return status;
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
    for (uint32_t index = 0; index < version->level_start[LW_LEVEL_COUNT]; index++) {
        const lw_table_info *info = &version->files[index]->info;
        figures->entry_count += info->entry_count;
        figures->delete_count += info->delete_count;
        figures->stale_count += info->stale_count;
        uint64_t bytes = info->size;
        for (uint32_t place = 0; place < info->value_count; place++) {
            bytes += info->values[place].live_size;
        }
        figures->held_bytes += bytes / version->files[index]->shared->name_count;
    }
}

uint64_t lw_tree_stale_after(const lw_tree *tree, uint64_t safepoint) {
    const lw_version *version = tree->version;
    uint64_t lowest = UINT64_MAX;
    if (tree->dropped) { /* under whoever holds it still: it has no version any more */
        return lowest;
    }
    for (uint32_t index = 0; index < version->level_start[LW_LEVEL_COUNT]; index++) {
        const lw_table_info *info = &version->files[index]->info;
        if (info->stale_count > 0 && safepoint < info->stale_to) {
            uint64_t next = safepoint < info->stale_from ? info->stale_from : safepoint + 1;
            lowest = next < lowest ? next : lowest;
        }
    }
    return lowest;
}

static const char *slowed_by(const lw_store *store, size_t held) {
    if (lw_reserve_short(store->reserve) || store->flush_full) {
        return "disk";
    }
    if (memory_pressure(store, memory_taken(store)) > 0) {
        return held > lw_budget_for_memtables(store->budget) / 4 ? "snapshots" : "memory";
    }
    for (const lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        if (lw_version_depth(tree->version) > LEVEL0_SLOW) {
            return "tables";
        }
    }
    return "nothing";
}

void lw_store_memory_get(const lw_store *store, lw_memory_figures *figures) {
    const lw_budget *budget = store->budget;
    size_t held = budget->parts[LW_BUDGET_MEMTABLES] - store->memtable_bytes;
    *figures =
        (lw_memory_figures){.limit = budget->limit,
                            .used = budget->used,
                            .used_max = budget->used_max,
                            .memtables_flushing = store->memtable_bytes - store->active_bytes,
                            .memtables_held = held,
                            .slowed = store->slowed_count,
                            .stalled = store->stalled_count,
                            .short_count = store->short_count,
                            .slowed_by = slowed_by(store, held)};
    memcpy(figures->parts, budget->parts, sizeof(figures->parts));
}
