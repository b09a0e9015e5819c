/* SPDX-License-Identifier: Apache-2.0 */
/* The store: one node's data folder and the trees in it.
 *
 *   RESERVE    space for what frees space, when the disk is full (storage/reserve.h)
 *   LOCK       held while a process has the folder open
 *   IDENTITY   who this node is (storage/identity.h)
 *   CATALOG    which trees there are and which tables make them up (storage/catalog.h)
 *   log/       the write-ahead log, opened by the node through storage/log.h
 *   sst/       tables and files of large values, named by their number in 16 hexadecimal digits
 *
 * A tree is an LSM tree: a memtable that takes writes, memtables that are being flushed, level 0 of
 * tables as flushed, then levels of disjoint tables. The trees of a store share the block cache,
 * the memtable budget and the compaction fiber.
 *
 * Invariants
 * T1. What a tree holds durably is exactly the batches up to its flushed index: one catalog edit
 *     adds the table and moves the index (hazard S12). The log keeps what is above.
 * T2. A file is removed only after the catalog that no longer names it is durable; files that no
 *     catalog names are removed at opening.
 * T3. A snapshot sees the same entries for its whole life, under flush, compaction and later
 *     writes.
 * T4. A deletion entry is dropped only where no older entry of its key can lie below (hazard S11)
 *     and no snapshot needs it. */
#ifndef LW_STORE_H
#define LW_STORE_H

#include "base/env.h"
#include "storage/reserve.h"
#include "storage/retention.h"
#include "storage/table.h"

typedef struct lw_store lw_store;
typedef struct lw_tree lw_tree;
typedef struct lw_snapshot lw_snapshot;
typedef struct lw_cursor lw_cursor;

/* How tables are compressed. Nearly all data is in the last level of a tree, and is rarely
 * rewritten there; what is above is soon merged on. */
typedef enum lw_store_compression {
    LW_COMPRESS_BY_LEVEL, /* LZ4, and quick zstd in the last level */
    LW_COMPRESS_QUICK,    /* LZ4 */
    LW_COMPRESS_DENSE,    /* LZ4, and dense zstd in the last level */
    LW_COMPRESS_NOTHING,
} lw_store_compression;

typedef struct lw_store_options {
    const char *directory;
    size_t memory_size;   /* bytes: the limit of storage/budget.h; 0: 64 MiB */
    size_t memtables_max; /* bytes that memtables of all trees may have, and so what the log has
                             to replay; 0: what the limit allows, three eighths of it at most */
    lw_filter_part filter_part; /* see lw_table_options */
    lw_retention retention;     /* what may be forgotten; takes effect with a filter part only */
    lw_store_compression compression;
    uint64_t table_size;       /* bytes at which compaction cuts a table; 0: 8 MiB, or an eighth of
                                  a smaller memory_size */
    uint64_t value_threshold;  /* bytes from which a value is kept apart from its key, so that
                                  compaction does not write it again; 0: 4096; UINT64_MAX: never */
    uint32_t open_max;         /* tables kept open, besides those that cursors stand in; 0: 512 */
    uint64_t reserve_size_max; /* bytes of RESERVE (storage/reserve.h) at most; 0: 256 MiB;
                                  UINT64_MAX: there is none, and on a full disk deletes may fail */
    /* Called after a flush of `tree` became durable: everything up to `index` is in tables. May be
     * NULL. Must not suspend. */
    void (*flushed)(void *argument, lw_tree *tree, uint64_t index);
    /* Called before that is made durable; returns once the log would not lose any of it in a crash.
     * A failure stops the store. May be NULL, where only what is durable is applied. */
    LW_YIELDS lw_status (*before_flush)(void *argument, lw_tree *tree, uint64_t index);
    /* Called when a compaction met tables of `tree` that fail their check, with the reason in the
     * error slot; again when it is tried again. May be NULL. Must not suspend. */
    void (*damaged)(void *argument, lw_tree *tree);
    /* Called once, when a write failed for good: see lw_store_dead. May be NULL. Must not suspend.
     */
    void (*died)(void *argument, const lw_error *why);
    void *argument;
} lw_store_options;

/* Opens or creates the folder, and locks it. LW_REFUSED: locked by another process, or of a newer
 * format (says which and what to do). LW_CORRUPTION: names the file. LW_FULL. */
LW_MUST_USE LW_YIELDS lw_status lw_store_open(lw_env *env, const lw_store_options *options,
                                              lw_store **store);
/* Flushes nothing (the log has it); waits for the flush under way, gives up the compaction. All
 * cursors and snapshots must be closed, and no other call on the store be under way. */
LW_YIELDS void lw_store_close(lw_store *store);
/* Whether a write or sync of a table or of the catalog failed for good. Nothing is written any more
 * then, and the node has to stop (hazard S4). `why` may be NULL. */
bool lw_store_dead(const lw_store *store, lw_error *why);

/* ---- trees -------------------------------------------------------------------------------- */

/* The tree of this id, or NULL. A tree lives until it is dropped, or merged into another one. */
lw_tree *lw_store_tree(lw_store *store, uint64_t id);
/* The one created after `tree`, or the first for NULL; NULL behind the last. */
lw_tree *lw_store_next_tree(const lw_store *store, const lw_tree *tree);
/* Creates an empty tree, durably. LW_EXISTS if there is one of this id. */
LW_MUST_USE LW_YIELDS lw_status lw_store_create_tree(lw_store *store, uint64_t id, lw_tree **tree);
/* Drops a tree and all it holds, durably, by one edit of a few bytes whatever its size. Calls that
 * wait at it return LW_NOT_FOUND; open snapshots stay good; its memory and its files go with the
 * last of them. Afterwards nothing but lw_snapshot_close and the reading of snapshots may be asked
 * of the tree. Who creates a tree of this id again sees to it that the log has nothing of the old
 * one. While the disk is full it spends the reserve, then waits. LW_NOT_FOUND if there is none. */
LW_MUST_USE LW_YIELDS lw_status lw_store_drop_tree(lw_store *store, uint64_t id);

/* Whether a tree may hold a key: within its bounds, which splitting and merging set. The list is
 * storage/range.h's; of 0 ranges: every key. Valid until the tree is split or merged. */
bool lw_tree_may_hold(const lw_tree *tree, lw_bytes key);
const lw_key_range *lw_tree_bounds(const lw_tree *tree, uint32_t *count);

typedef struct lw_tree_split {
    uint64_t child;             /* the id of the new tree */
    uint64_t child_index;       /* from which the child's own log goes on: what lw_tree_applied and
                                   lw_tree_flushed say of it then */
    const lw_key_range *ranges; /* what goes over to the child, as in storage/range.h: within the
                                   tree's bounds, and not all of it. No range may begin or end
                                   within a filter part */
    uint32_t range_count;
} lw_tree_split;

/* Splits a tree: flushes it, then one edit gives the child its ranges and leaves the rest; both see
 * the same files, clipped, so it costs nothing but what compactions rewrite later. Nothing may be
 * applied to the tree meanwhile; it may be read. Neither open snapshots nor the tree's own flushed
 * index change. LW_EXISTS if there is a tree of the child's id; LW_INVALID_ARGUMENT for such
 * ranges; LW_FULL if it could not be flushed. */
LW_MUST_USE LW_YIELDS lw_status lw_store_split_tree(lw_store *store, lw_tree *tree,
                                                    const lw_tree_split *split, lw_tree **child);
/* The inverse: `tree` takes over all that `other` holds, which is dropped as by lw_store_drop_tree.
 * Both have bounds, which do not overlap. Nothing may be applied to either meanwhile. The index of
 * `tree` stays what it is. LW_INVALID_ARGUMENT for such trees; LW_FULL if one could not be flushed.
 */
LW_MUST_USE LW_YIELDS lw_status lw_store_merge_trees(lw_store *store, lw_tree *tree,
                                                     lw_tree *other);

enum { LW_MIDDLE_KEY_SIZE_MAX = 1024 };

/* Where to split: appends a key of which about half of what the tables of the tree have in a range
 * lies before, large values with it, and says how many bytes all of that is. What is in memory only
 * does not count. No block of data is read. The key need not be there, and ends where it is longer
 * than LW_MIDDLE_KEY_SIZE_MAX bytes; it is no version of what lies before. LW_NOT_FOUND if no key
 * is known with a sixteenth on either side: there is too little, or nearly all of it is one key's.
 */
LW_MUST_USE LW_YIELDS lw_status lw_tree_middle(lw_tree *tree, const lw_key_range *range,
                                               lw_buffer *key, uint64_t *bytes);

uint64_t lw_tree_id(const lw_tree *tree);

/* LW_CORRUPTION if a batch cannot be read, LW_INVALID_ARGUMENT if it has a key outside of the
 * bounds of the tree. */
LW_MUST_USE lw_status lw_tree_check_batch(const lw_tree *tree, lw_bytes batch);

/* While the owner applies again what its log has: then nothing is read, and applying is quicker. */
void lw_store_replaying(lw_store *store, bool replaying);
/* Applies the batch of the entry `index`, which is above the applied index. Visible at once, whole.
 * Never suspends. As lw_tree_check_batch; what fails is not applied. */
LW_MUST_USE lw_status lw_tree_apply(lw_tree *tree, uint64_t index, lw_bytes batch);
/* The same for a batch that was checked before, and for which it was LW_OK. */
void lw_tree_apply_checked(lw_tree *tree, uint64_t index, lw_bytes batch);
/* The last index applied, and the last that a restart would find in tables. Both are the same after
 * opening: the owner applies again what the log has above. */
uint64_t lw_tree_applied(const lw_tree *tree);
uint64_t lw_tree_flushed(const lw_tree *tree);
/* Sets the safepoint that the retention rule is held against: entries that nobody at or above it
 * needs go with the next compaction that meets them. Never lower than before; 0, as after opening:
 * everything is kept. What the owner promises with it stands in storage/retention.h. */
void lw_tree_set_safepoint(lw_tree *tree, uint64_t safepoint);
uint64_t lw_tree_safepoint(const lw_tree *tree);
/* The lowest safepoint above this one that makes more of the tables' entries needless, as far as
 * they know; UINT64_MAX: none. */
uint64_t lw_tree_stale_after(const lw_tree *tree, uint64_t safepoint);
/* Suspends writers, smoothly and then hard, while flushing and compaction are behind. LW_FULL while
 * the disk is full: before anything of the store itself fails, and until there is room again for
 * the reserve. */
LW_MUST_USE LW_YIELDS lw_status lw_tree_admit(lw_tree *tree, size_t size);
/* The same for a batch that in the end gives back more space than it takes: one that deletes, or
 * lets go of locks. Let in on a full disk as long as there is memory for it. */
LW_MUST_USE LW_YIELDS lw_status lw_tree_admit_freeing(lw_tree *tree, size_t size);
/* Whether a batch that others have decided on is to be applied now: false while flushing or
 * compaction, which go on, are so far behind that writers wait. Never suspends. */
bool lw_tree_has_room(lw_tree *tree, size_t size);
/* The same for one that is not to be applied to this tree, which may be damaged, and never be
 * compacted again: whether there is memory for it. */
bool lw_tree_has_memory(lw_tree *tree, size_t size);
/* Flushes what is in memory and waits for it. LW_FULL after an attempt that met a full disk: the
 * store goes on trying by itself. */
LW_MUST_USE LW_YIELDS lw_status lw_tree_flush(lw_tree *tree);
/* Flushes, then merges all tables of the tree into one level, and waits: for tests and tools. */
LW_MUST_USE LW_YIELDS lw_status lw_tree_compact(lw_tree *tree);

/* ---- whole trees as files ------------------------------------------------------------------ */

/* Makes a checkpoint of these trees (`tree_count` 0: of all): a folder of hard links that holds
 * what was applied before the call, and may hold more (storage/bundle.h). It opens as a store, can
 * be ingested by another, and is checked by lw_store_check; it has neither identity nor log.
 * Nothing stops meanwhile. The folder must be empty or absent, and in the same file system:
 * LW_EXISTS. LW_NOT_FOUND if there is no such tree. What fails is removed again; what a crash cut
 * short is known by having no CATALOG, and removed by lw_bundle_remove. */
LW_MUST_USE LW_YIELDS lw_status lw_store_checkpoint(lw_store *store, const uint64_t *trees,
                                                    uint32_t tree_count, const char *directory);

/* The same of one tree, and says what the bundle holds: exactly what was applied up to `index`.
 * `state` is a snapshot of just that, which the caller closes. */
LW_MUST_USE LW_YIELDS lw_status lw_store_checkpoint_tree(lw_store *store, uint64_t tree,
                                                         const char *directory, uint64_t *index,
                                                         lw_snapshot **state);

typedef enum lw_ingest_kind {
    LW_INGEST_INTO,    /* the tree is there, and holds nothing between the keys of a table */
    LW_INGEST_CREATE,  /* the tree is made, with the bounds of the source */
    LW_INGEST_REPLACE, /* the tree, if there is one, is dropped, and made as by CREATE: one edit */
} lw_ingest_kind;

typedef struct lw_ingest {
    const char *directory; /* of a bundle, in the same file system; it stays what it is */
    uint64_t source;       /* the tree in it */
    uint64_t tree;         /* that takes its tables over */
    lw_ingest_kind kind;
    uint64_t index; /* but for INTO: what lw_tree_applied and lw_tree_flushed say of it */
    /* Of REPLACE: other trees, whose keys are in what comes, that are dropped by the same edit.
     * Those that are not there are passed over. */
    const uint64_t *drops;
    uint32_t drop_count;
} lw_ingest;

/* Takes the tables of a tree over, by hard links under numbers of this store. Every block of them
 * is verified first: LW_CORRUPTION, which says how many faults there are, and logs the first.
 * LW_EXISTS if the tree holds anything between the keys of one of the tables, or with CREATE, if it
 * is there; LW_INVALID_ARGUMENT if a table reaches out of its bounds; LW_NOT_FOUND if either
 * tree is not there, or the bundle was cut short. Writes to the tree may go on: one
 * between those keys either comes early enough for LW_EXISTS, or is newer than what is ingested.
 *
 * With REPLACE the lw_tree of before is dropped as by lw_store_drop_tree in the turn in which the
 * new one is there (lw_store_tree finds it by the same id), and in that turn this call returns: who
 * called can let go of the old one before anybody else looks at it. What the old one had in memory
 * is gone, its open snapshots stay good, and of a flush or compaction of it under way nothing comes
 * back. Nothing may be applied to the old one meanwhile. */
LW_MUST_USE LW_YIELDS lw_status lw_store_ingest(lw_store *store, const lw_ingest *ingest);

/* ---- reading ------------------------------------------------------------------------------ */

/* Pins what the tree holds now. Cheap: no copy. */
lw_snapshot *lw_snapshot_open(lw_tree *tree);
void lw_snapshot_close(lw_snapshot *snapshot);
/* Appends the value of `key` to `value`. LW_NOT_FOUND if it has none. */
LW_MUST_USE LW_YIELDS lw_status lw_snapshot_get(lw_snapshot *snapshot, lw_bytes key,
                                                lw_buffer *value);

typedef enum lw_newest_outcome {
    LW_NEWEST_NONE,    /* there is no entry in the range */
    LW_NEWEST_FOUND,   /* this is the first one that counts */
    LW_NEWEST_UNCLEAR, /* somewhere one that does not count comes first: ask a cursor */
} lw_newest_outcome;

typedef struct lw_newest {
    lw_bytes lower, upper;          /* of one filter part; not empty */
    bool (*counts)(lw_bytes value); /* not asked of values that are kept apart: those count */
    lw_buffer bytes;                /* receives the key, and behind it the value */
    size_t key_size;
    lw_newest_outcome outcome;
} lw_newest;
/* What a cursor on [lower, upper) shows first of what counts, without asking all tables: for keys
 * whose owner sees to it that of two that count the lower one is written later, and that neither is
 * deleted. */
LW_MUST_USE LW_YIELDS lw_status lw_snapshot_newest(lw_snapshot *snapshot, lw_newest *newest);

/* A position among the keys of a snapshot that have a value, within [lower, upper); a bound of size
 * 0 is no bound. Bounds are copied. Views live until the cursor moves. The snapshot outlives it. */
lw_cursor *lw_cursor_open(lw_snapshot *snapshot, lw_bytes lower, lw_bytes upper);
void lw_cursor_close(lw_cursor *cursor);
/* To the first key at or after `key`; to the last key before `key`. */
LW_MUST_USE LW_YIELDS lw_status lw_cursor_seek(lw_cursor *cursor, lw_bytes key);
LW_MUST_USE LW_YIELDS lw_status lw_cursor_seek_before(lw_cursor *cursor, lw_bytes key);
LW_MUST_USE LW_YIELDS lw_status lw_cursor_first(lw_cursor *cursor);
LW_MUST_USE LW_YIELDS lw_status lw_cursor_last(lw_cursor *cursor);
LW_MUST_USE LW_YIELDS lw_status lw_cursor_next(lw_cursor *cursor);
LW_MUST_USE LW_YIELDS lw_status lw_cursor_previous(lw_cursor *cursor);
bool lw_cursor_valid(const lw_cursor *cursor);
lw_bytes lw_cursor_key(const lw_cursor *cursor);
lw_bytes lw_cursor_value(const lw_cursor *cursor);

/* ---- looking ------------------------------------------------------------------------------ */

enum { LW_LEVEL_COUNT = 7 };

typedef struct lw_tree_figures {
    uint64_t memtable_bytes, memtable_count;
    uint64_t table_bytes[LW_LEVEL_COUNT], table_count[LW_LEVEL_COUNT];
    uint64_t flushed_bytes, compacted_bytes; /* written since opening */
    uint64_t held_bytes; /* of tables and their values apart, with what others see too divided among
                            all of them */
    uint64_t entry_count, delete_count; /* in tables; of a clipped one, all of it */
    uint64_t stale_count; /* of the entries: those that some safepoint makes needless */
} lw_tree_figures;
void lw_tree_figures_get(const lw_tree *tree, lw_tree_figures *figures);

typedef struct lw_memory_figures {
    size_t limit, used, used_max; /* bytes; used_max since opening */
    size_t parts[LW_BUDGET_PART_COUNT];
    size_t memtables_flushing; /* of the memtables: those that take no more writes */
    size_t memtables_held;     /* ... those that were flushed, and are read by snapshots */
    uint64_t slowed, stalled;  /* writes that were let in later, or had to wait, since opening */
    uint64_t short_count;      /* how often handles or memory were short for work on tables */
    /* Why a write would be slowed down now: "memory" (memtables are behind), "snapshots" (they hold
     * the memory), "tables" (compaction is behind), "disk" (it is full); or "nothing". */
    const char *slowed_by;
} lw_memory_figures;
void lw_store_memory_get(const lw_store *store, lw_memory_figures *figures);
lw_cache *lw_store_cache(lw_store *store);
/* The memory budget of all trees, with its figures: also for the log that goes with the store. */
lw_budget *lw_store_budget(lw_store *store);

/* Values that are kept apart from their keys, of all trees. */
typedef struct lw_value_figures {
    uint64_t file_count, bytes, live_bytes; /* what is not alive is garbage, to be given back */
    uint64_t wasted_count;                  /* files of which more than half is garbage */
    uint64_t moved_bytes;                   /* written again since opening, to give garbage back */
} lw_value_figures;
void lw_store_value_figures(const lw_store *store, lw_value_figures *figures);
/* As in its options: for checking a bundle of its tables. */
lw_filter_part lw_store_filter_part(const lw_store *store);
/* The reserve of the folder: for the log that goes with the store. */
lw_reserve *lw_store_reserve(lw_store *store);

/* Verifies a folder that no process has open: every file, every block, order within and across
 * tables. One line per fault into `faults`; LW_CORRUPTION if there was any. */
LW_MUST_USE LW_YIELDS lw_status lw_store_check(lw_env *env, const char *directory,
                                               lw_filter_part filter_part, lw_buffer *faults);

#endif
