/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: a store and a log, put together without replication. What a node does with a Raft
 * group this does with a counter: a write becomes an entry of the log, whose group is the tree and
 * whose index counts the tree's writes, and is then applied to the tree. All trees share the one
 * log, so that whatever is written in one turn, to however many trees, is one durable write.
 *
 * Invariants
 * E1. Entries of a tree stand in the log in the order in which they were applied, with indexes that
 *     ascend by one: between the append and the apply nothing suspends.
 * E2. After a crash the trees hold a prefix of the writes, in the order of the log, over all trees
 *     together; of a write to several trees all or nothing. The prefix holds every write that was
 *     durable.
 * E3. So a flush is made durable only when the log holds what it flushes: tables never tell of
 *     writes that the log lost, which would tear what E2 promises.
 * E4. The log stays bounded: once a tree that is written to seldom holds more of it than PINNED_MAX
 *     segments (engine.c), it is flushed.
 * E5. Once a write to the log or the store failed for good, nothing is written any more: every
 *     later write fails, and the folder has to be opened again (hazard S4).
 *
 * Everything but the looking belongs in a fiber. Reading goes through lw_engine_tree and the calls
 * of storage/store.h. */
#ifndef LW_ENGINE_H
#define LW_ENGINE_H

#include "storage/log.h"
#include "storage/store.h"

typedef struct lw_engine lw_engine;

typedef struct lw_engine_options {
    /* The directory holds the log too, in log/. Its `flushed` and `before_flush` are the engine's
     * own, and NULL here. */
    lw_store_options store;
    lw_log_options log;
} lw_engine_options;

/* Opens or creates the folder, and applies again what the log has above the tables of each tree.
 * The statuses of lw_store_open and lw_log_open. */
LW_MUST_USE LW_YIELDS lw_status lw_engine_open(lw_env *env, const lw_engine_options *options,
                                               lw_engine **engine);
/* Makes durable what is not yet, and closes. Flushes nothing: the log has it. All cursors and
 * snapshots must be closed, and no other call be under way. */
LW_YIELDS void lw_engine_close(lw_engine *engine);

/* Creates an empty tree, durably. LW_EXISTS if there is one of this id. The id of a tree that was
 * dropped must not be used again: the log may still have entries of it. */
LW_MUST_USE LW_YIELDS lw_status lw_engine_create_tree(lw_engine *engine, uint64_t id);
/* The tree of this id, for reading, or NULL. */
lw_tree *lw_engine_tree(const lw_engine *engine, uint64_t id);

typedef struct lw_engine_change {
    uint64_t tree;
    lw_bytes batch; /* storage/batch.h */
} lw_engine_change;

enum { LW_ENGINE_CHANGES_MAX = 64 };

/* Writes one batch. It is visible to later reads at once, whole; with `durable` the call returns
 * when it would survive a power loss, else it may return before, and is lost in a crash only
 * together with everything written after it. Waits while flush, compaction or the log are behind.
 * LW_NOT_FOUND: no such tree. LW_CORRUPTION: the batch cannot be read. LW_FULL: nothing was
 * written, for want of space. Any failure of the wait for durability is final (E5), and says that a
 * restart may or may not find the write. */
LW_MUST_USE LW_YIELDS lw_status lw_engine_write(lw_engine *engine, uint64_t tree, lw_bytes batch,
                                                bool durable);
/* The same for up to LW_ENGINE_CHANGES_MAX batches, of different trees or the same, which become
 * visible together and survive together or not at all. */
LW_MUST_USE LW_YIELDS lw_status lw_engine_write_all(lw_engine *engine,
                                                    const lw_engine_change *changes, uint32_t count,
                                                    bool durable);
/* Returns when everything written so far is durable. */
LW_MUST_USE LW_YIELDS lw_status lw_engine_sync(lw_engine *engine);

/* ---- looking ------------------------------------------------------------------------------ */

lw_store *lw_engine_store(const lw_engine *engine);
lw_log *lw_engine_log(const lw_engine *engine);

#endif
