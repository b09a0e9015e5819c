/* SPDX-License-Identifier: Apache-2.0 */
/* The fiber that sees to the space on the disk. While there is some it keeps the reserve as large
 * as the store may need it. When the disk was met full and the reserve is gone it makes the store
 * give space back: what is in memory is flushed, so that deletions reach the tables and the log can
 * let go; and every level is merged downwards (store->squeezing), until deletions and what they
 * delete are both gone. When nothing more is to be done, it tries to take the reserve again; once
 * that succeeds there is room, and writes are let in again by themselves.
 *
 * Invariants
 * 1. The reserve is not taken back while a flush or a compaction may need the space: each of them
 *    frees more in the end than it takes. */
#include "storage/compaction.h"
#include "storage/tree.h"

enum {
    CATALOG_PART = 128 * 1024,        /* bytes: what is appended before a rewriting, twice */
    GROW_PAUSE_NS = 5 * 1000 * 1000,  /* between steps, so that it takes little from others */
    LOOK_PAUSE_NS = 100 * 1000000,    /* between looks at a full disk, and twice as long ... */
    LOOK_DOUBLINGS = 3,               /* ... with each that changed nothing, so many times */
    FLUSH_PERIOD_NS = 1000 * 1000000, /* on a full disk */
    FAILURE_PAUSE_S = 60,             /* after the reserve could not be written */
    LEFT_PERIOD_NS = 1000 * 1000000,  /* between two looks at what the disk has left */
};

/* ---- how much ------------------------------------------------------------------------------- */

void lw_space_tables_changed(const lw_tree *tree) {
    const lw_store *store = tree->store;
    uint64_t bytes = store->folder.value_live_bytes;
    uint64_t enough = LW_RESERVE_STEP_TABLES * store->options.table_size;
    for (uint32_t level = 0; level < LW_LEVEL_COUNT && bytes < enough; level++) {
        bytes += lw_version_bytes(tree->version, level);
    }
    lw_reserve_want(store->reserve, LW_RESERVE_COMPACTION, bytes < enough ? bytes : enough);
    lw_reserve_want(store->reserve, LW_RESERVE_CATALOG,
                    bytes < CATALOG_PART ? bytes : CATALOG_PART);
}

/* ---- giving back ---------------------------------------------------------------------------- */

/* Flushes whatever is in memory. */
static void flush_all(lw_store *store) {
    for (lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        if (tree->applied > tree->rotated) {
            lw_tree_rotate(tree);
        }
    }
}

static bool at_work(const lw_store *store) {
    return store->flush_first != NULL || store->compacting;
}

/* A number that changes whenever something was done that may have changed the space on the disk. */
static uint64_t progress(const lw_store *store) {
    uint64_t sum = 0;
    for (const lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        sum += tree->applied + tree->flushed + tree->flushed_bytes + tree->compacted_bytes;
    }
    return sum;
}

/* Looks how much the disk has left. False if that cannot be told: then the reserve is held. */
LW_YIELDS static bool look_at_disk(lw_store *store) {
    uint64_t left = 0;
    bool told = lw_file_left(store->env, store->lock, &left) == LW_OK;
    lw_reserve_note_left(store->reserve, told ? left : 0);
    return told;
}

/* A reserve that cannot be written loses nothing (R3): whether the disk still takes what matters,
 * the next write of that tells. Meanwhile deletes may fail on a full disk. */
LW_YIELDS static lw_status grow(lw_store *store, uint64_t pause_ns) {
    (void)look_at_disk(store);
    lw_status status = lw_reserve_grow(store->reserve, pause_ns);
    if (status == LW_BACKPRESSURE) {
        lw_store_pause_short(store);
    } else if (status != LW_OK && status != LW_FULL) {
        LW_MARK(store->env, "reserve.not_written");
        lw_logline(store->env, LW_LEVEL_WARN, "the reserve cannot be written", "reason=\"%s\"",
                   lw_error_slot()->text);
        (void)lw_env_wait(store->env, &store->stopping,
                          lw_env_now(store->env) + FAILURE_PAUSE_S * UINT64_C(1000000000));
    }
    return status;
}

LW_YIELDS static void take_again(lw_store *store) {
    lw_status status = grow(store, 0);
    if (status == LW_OK && !lw_reserve_short(store->reserve)) {
        store->squeezing = false;
        store->flush_full = store->compaction_full = false;
    }
    lw_queue_wake_all(&store->changed);
}

/* On a full disk, until it is not, or the store stops. */
LW_YIELDS static void squeeze(lw_store *store) {
    uint64_t flushed_ns = 0, before = progress(store);
    uint32_t doublings = 0;
    LW_MARK(store->env, "store.squeezed");
    store->squeezing = true;
    lw_queue_wake_all(&store->compaction_wanted);
    while (!lw_store_stopping(store) && lw_reserve_short(store->reserve)) {
        uint64_t now_ns = lw_env_now(store->env);
        if (store->reserve->log_waits || now_ns - flushed_ns >= FLUSH_PERIOD_NS) {
            store->reserve->log_waits = false;
            flush_all(store);
            flushed_ns = now_ns;
        }
        uint64_t pause_ns = (uint64_t)LOOK_PAUSE_NS << doublings;
        bool woken = lw_env_wait(store->env, &store->reserve->changed, now_ns + pause_ns);
        if (woken || lw_store_stopping(store) || at_work(store)) {
            continue;
        }
        take_again(store);
        doublings = progress(store) != before ? 0 : doublings + (doublings < LOOK_DOUBLINGS);
        before = progress(store);
    }
}

/* ---- the fiber ------------------------------------------------------------------------------ */

LW_YIELDS static void keep(lw_store *store) {
    (void)grow(store, lw_reserve_unknown(store->reserve) ? 0 : GROW_PAUSE_NS);
    lw_queue_wake_all(&store->changed);
}

void lw_space_main(void *argument) {
    lw_store *store = argument;
    lw_reserve *reserve = store->reserve;
    while (!lw_store_stopping(store)) {
        bool told = reserve->size_max > 0 && look_at_disk(store);
        if (lw_store_stopping(store)) {
            break;
        }
        if (lw_reserve_short(reserve)) {
            squeeze(store);
        } else if (lw_reserve_wanting(reserve) || lw_reserve_unknown(reserve)) {
            keep(store);
        } else if (told) {
            uint64_t look_ns = lw_env_now(store->env) + LEFT_PERIOD_NS;
            (void)lw_env_wait(store->env, &reserve->changed, look_ns);
        } else {
            lw_queue_wait(&reserve->changed);
        }
    }
    store->fibers--;
    lw_queue_wake_all(&store->changed);
}
