/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a store and its trees, shared by the files that make them: tree.c (writes),
 * snapshot.c and cursor.c (reads), flush.c, compaction.c, output.c, space.c, store.c and folder.c.
 * Nobody else includes this.
 *
 * Four fibers work for a store: one flushes, one compacts, one sweeps files that nobody names any
 * more, one sees to the space on the disk. Each waits in a queue of the store, and ends when the
 * store closes or dies.
 *
 * Invariants
 * I1. version->memtables[0] is the active memtable; the others take no more writes and are flushed
 *     oldest first. A tree with such others stands in the flush list, once.
 * I2. A version is installed in the same turn in which the commit of its edit returned, so that the
 *     versions of all trees are always what the catalog says (lw_catalog_describe).
 * I3. Sequences: one per batch, from 1, strictly ascending within a tree, restored as the highest
 *     in any table or flushed edit (hazard S9).
 * I4. memtable_bytes is the sum of the sizes of all memtables that are not flushed, active_bytes of
 *     those that take writes. What the budget has as memtables is more by those that were flushed,
 *     and are still read by a snapshot: no flush gives their memory back.
 * I5. What trees there are, and which keys one holds, changes in one place: reshape.c. While a tree
 *     is reshaped nothing else commits an edit of it, and a flush or compaction that began before
 *     finds its `shape` changed, and drops what it made.
 * I6. A tree that was dropped is in no list; it stays until the last snapshot, and the last fiber
 *     that is at it, let it go. */
#ifndef LW_TREE_H
#define LW_TREE_H

#include "base/hash.h"
#include "storage/inventory.h"
#include "storage/levels.h"
#include "storage/merge.h"
#include "storage/pace.h"
#include "storage/range.h"
#include "storage/sieve.h"
#include "storage/value_output.h"

struct lw_tree {
    lw_map_node node;         /* by id */
    lw_tree *next, *previous; /* of the store, in the order of their creation */
    lw_tree *flush_next;
    lw_store *store;
    lw_version *version;
    uint32_t depth; /* its lw_version_depth */
    uint64_t id;
    uint64_t sequence; /* of the last batch */
    uint64_t applied;
    uint64_t rotated;                   /* the last index that is not in the active memtable */
    uint64_t flushed, flushed_sequence; /* as the catalog says */
    uint64_t flushed_bytes, compacted_bytes;
    uint64_t safepoint; /* see lw_tree_set_safepoint */
    bool in_flush_list;
    /* What reshape.c keeps. */
    uint32_t references; /* of the store, of snapshots, of fibers that are at it (I6) */
    uint32_t shape;      /* counts the reshapings */
    uint32_t committing; /* edits of it under way */
    bool reshaping, dropped;
    bool frozen;          /* nothing may be applied */
    lw_range_list bounds; /* the keys it may hold; none: every key */
    uint8_t *bound_keys;  /* of the bounds */
    /* The compaction. */
    uint32_t compact_wanted, compact_done; /* requests of lw_tree_compact */
    lw_error compact_error;                /* of the last of them that was done, or LW_OK */
    uint64_t compact_again_ns;             /* after a read error: not before this; 0: none */
    uint32_t compact_read_errors;          /* in a row */
    lw_need need;                          /* of the current version */
    uint64_t batch_size, round_sequence;   /* see lw_tuning */
    uint64_t round_size, round_ns;         /* of the round: bytes before compression; its begin */
};

struct lw_store {
    lw_env *env;
    lw_memory *memory;
    lw_store_options options;
    char directory[LW_PATH_SIZE], table_path[LW_PATH_SIZE];
    lw_handle lock;
    lw_catalog *catalog;
    lw_budget *budget;
    lw_cache *cache;
    lw_table_folder folder;
    lw_spent spent;
    lw_map trees; /* by id */
    lw_tree *first_tree, *last_tree;
    uint64_t number_next, number_limit;  /* file numbers; below the limit they are durably taken */
    uint64_t number_step;                /* so many are taken by one edit */
    bool numbering;                      /* an edit that takes some is under way: */
    lw_queue numbered;                   /* who needs a number waits for it */
    size_t memtable_bytes, active_bytes; /* I4 */
    size_t admitted, admitted_before;    /* see storage/tree.c */
    lw_pace pace;
    uint64_t flushing_ns; /* since when a memtable is being flushed, or may be */
    bool idle;            /* nobody writes: compact what is worth it for readers */
    bool steep;           /* see lw_tuning */
    uint64_t admitted_ns;
    uint64_t evicted; /* of the budget's: what was evicted before does not count for readers */
    uint64_t slowed_count, stalled_count, short_count;
    lw_tree *flush_first, *flush_last; /* trees with memtables to flush */
    lw_reserve *reserve;
    uint64_t full_count;  /* how often a write met a full disk */
    uint32_t full_streak; /* ... with none in between that found room */
    bool squeezing;       /* compact whatever may give space back */
    bool compacting;      /* a step is under way */
    uint64_t moved_bytes; /* of values, out of wasted files */
    uint32_t fibers;      /* that work now */
    bool committing, shaping, closing, dead;
    bool replaying; /* entries are deferred (storage/memtable.h): so many by now, at most so many */
    uint32_t deferred, deferred_max;
    bool flush_full, compaction_full; /* the last attempt met a full disk */
    lw_error why_dead;
    lw_queue commit_turn, shaping_turn;
    lw_queue flush_wanted, compaction_wanted; /* the fibers wait here */
    lw_queue stopping;                        /* pauses that the end of the store cuts short */
    lw_queue changed;      /* whoever waits for room, for a flush, for a compaction, for the end */
    uint32_t snapshots;    /* open now */
    lw_inventory *loading; /* while the catalog is read at opening */
};

struct lw_snapshot {
    lw_tree *tree;
    lw_version *version;
    uint64_t sequence; /* of the last batch it sees */
};

/* ---- store.c -------------------------------------------------------------------------------- */

/* Gives out the next file number. */
LW_MUST_USE LW_YIELDS lw_status lw_store_number(lw_store *store, uint64_t *number);
/* Makes an edit durable. The failure is judged as that of a write. The caller installs what the
 * edit says before it suspends (I2). */
LW_MUST_USE LW_YIELDS lw_status lw_store_commit(lw_store *store, lw_bytes edit);
/* As above; while the disk is full it sets `*full` and tries again, and so it does while handles or
 * memory are short, until the store closes or dies. */
LW_MUST_USE LW_YIELDS lw_status lw_store_commit_surely(lw_store *store, lw_bytes edit, bool *full);
/* Makes the names of new tables durable. A failure kills the store. */
LW_MUST_USE LW_YIELDS lw_status lw_store_sync_tables(lw_store *store);
/* Judges the failure of a write: LW_FULL is survived, and so is LW_BACKPRESSURE, which a shortage
 * of handles or memory is; anything else kills the store. Returns it. What was being written is
 * begun anew, in another file. */
lw_status lw_store_judge(lw_store *store, lw_status status);
/* Whether the fibers have to stop; and the reason, as a status. */
static inline bool lw_store_stopping(const lw_store *store) {
    return store->closing || store->dead;
}
LW_MUST_USE lw_status lw_store_stopped(const lw_store *store);
/* Waits for a change of the store, or until `deadline_ns` (0: none). */
LW_YIELDS void lw_store_wait(lw_store *store, uint64_t deadline_ns);
/* `last`: for a table of the last level of its tree. */
lw_table_options lw_store_table_options(const lw_store *store, bool last);
/* A new tree of the store, of these tables (NULL: none), whose reference it takes over. */
lw_tree *lw_store_add_tree(lw_store *store, uint64_t id, lw_version *tables);
/* An lw_catalog_describe: `argument` is the store. */
void lw_store_describe(void *argument, lw_buffer *edit);
/* Starts the fibers of an opened store; frees one whose fibers have ended, or never began. */
void lw_store_start(lw_store *store);
LW_YIELDS void lw_store_free(lw_store *store);
/* A write met a full disk, and will be tried again: gives up the reserve for it, or, if there is
 * none, sets `*full` and pauses. */
LW_YIELDS void lw_store_make_room(lw_store *store, bool *full);
/* Pauses while the disk is full, longer each time; the end of the store cuts it short. */
LW_YIELDS void lw_store_pause_full(lw_store *store);
/* Something could not be done for want of handles or of memory: closes a few idle tables, and waits
 * a little. */
LW_YIELDS void lw_store_pause_short(lw_store *store);

/* ---- tree.c --------------------------------------------------------------------------------- */

/* Makes the version after this change the current one, and counts the names of files (H2). */
void lw_tree_install(lw_tree *tree, const lw_version_change *change);
/* Gives the tree a new active memtable, and the old one to the flush. */
void lw_tree_rotate(lw_tree *tree);
/* Flushes a memtable if readers would have more of its memory than writers. */
void lw_store_relieve_readers(lw_store *store);
lw_tuning lw_tree_tuning(const lw_tree *tree);
/* How far writers of the tree have to be slowed down: 0 not at all, from 1 on they have to wait. */
lw_pressure lw_tree_pressure(const lw_tree *tree, size_t size);
/* Decides anew what the tree needs. */
void lw_tree_look(lw_tree *tree);
/* A sieve with the store's retention rule and the tree's safepoint, for an output above `below`. */
lw_sieve lw_tree_sieve(const lw_tree *tree, const lw_version *version, uint32_t below);
/* Counts a piece of work, and lets other fibers run every now and then. */
LW_YIELDS void lw_work_done(uint32_t *count);
/* As many pieces as an entry of `size` bytes is. */
LW_YIELDS void lw_work_done_on(uint32_t *count, size_t size);

/* ---- reshape.c ------------------------------------------------------------------------------ */

/* Commits an edit of a tree that had this shape when the work for it began; while the disk is full
 * it sets `*full` and tries again, until the store stops. LW_CONFLICT if the tree was reshaped or
 * dropped meanwhile: then no restart finds the edit, and what it would have named can go. */
LW_MUST_USE LW_YIELDS lw_status lw_tree_commit(lw_tree *tree, uint32_t shape, lw_bytes edit,
                                               bool *full);
/* Copies the bounds. */
void lw_tree_set_bounds(lw_tree *tree, const lw_key_range *ranges, uint32_t count);
/* Whether all its tables show lies within its bounds. */
LW_MUST_USE bool lw_version_within(const lw_version *version, const lw_key_range *bounds,
                                   uint32_t bound_count);
static inline void lw_tree_hold(lw_tree *tree) {
    tree->references++;
}
/* Frees the tree when it was the last reference. */
void lw_tree_release(lw_tree *tree);
/* Why whoever waits at a dropped tree waits in vain. */
LW_MUST_USE lw_status lw_tree_gone(const lw_tree *tree);
/* Lets no other edit of the tree be committed; when none is any more, the caller commits its own.
 */
LW_YIELDS void lw_tree_reshape_begin(lw_tree *tree);
void lw_tree_reshape_end(lw_tree *tree, bool reshaped);
/* Takes a tree, for which lw_tree_reshape_begin was called, out of the store: the catalog has it no
 * longer. */
void lw_tree_remove(lw_tree *tree);
/* Whether both ends of what is seen of a table lie within the bounds (none: every key). */
bool lw_table_file_within(const lw_table_file *file, const lw_key_range *bounds,
                          uint32_t bound_count);
/* One at a time creates, drops, splits and merges trees. */
LW_YIELDS void lw_store_shaping_begin(lw_store *store);
void lw_store_shaping_end(lw_store *store);

/* ---- check.c -------------------------------------------------------------------------------- */

/* Verifies all that a tree of a folder holds: what lw_store_check does with each. */
LW_MUST_USE LW_YIELDS lw_status lw_check_tree(lw_env *env, const char *directory,
                                              lw_inventory *inventory,
                                              const lw_inventory_tree *tree,
                                              lw_filter_part filter_part, lw_buffer *faults);

/* ---- output.c ------------------------------------------------------------------------------- */

/* Tables being written by a flush or a compaction. A failure to write has been judged already. */
typedef struct lw_output {
    lw_store *store;
    uint64_t cut_size; /* bytes at which the next table is begun */
    bool last;         /* the tables are for the last level */
    /* The level below them, if there is one: no table may overlap too much of it. */
    const lw_version *below; /* or NULL; held by the caller */
    uint32_t below_level;
    uint32_t below_index;  /* of the table in it at or behind the last entry */
    uint64_t overlap_size; /* bytes of those that the table at hand overlaps */
    lw_table_builder *builder;
    struct lw_compressor *compressor; /* of all tables; NULL before the first one */
    lw_table_file **files;            /* finished; one reference each */
    uint32_t count, capacity;
    lw_value_output values;
    uint64_t bytes; /* of tables and value files */
} lw_output;

static inline lw_output lw_output_in(lw_store *store, uint64_t cut_size) {
    return (lw_output){
        .store = store, .cut_size = cut_size, .values = lw_value_output_in(store, 0)};
}
/* Adds the entry of `source` (NULL: a memtable) that the sieve has just kept. A table ends between
 * two filter parts, so that all versions of a user key stand in one table of a level (hazard S10),
 * unless they fill several. */
LW_MUST_USE LW_YIELDS lw_status lw_output_add(lw_output *output, lw_table_file *source,
                                              const lw_entry *entry, const lw_sieve *sieve);
/* Ends the last table and makes all names durable. */
LW_MUST_USE LW_YIELDS lw_status lw_output_finish(lw_output *output);
/* Drops the references. `obsolete`: no edit names the tables, so they are removed. */
LW_YIELDS void lw_output_reset(lw_output *output, bool obsolete);

/* ---- the fibers ----------------------------------------------------------------------------- */

LW_YIELDS void lw_flush_main(void *store);
LW_YIELDS void lw_compaction_main(void *store);
LW_YIELDS void lw_space_main(void *store);

/* ---- space.c -------------------------------------------------------------------------------- */

/* The tree has other tables: what its compaction may need of the disk may be more. */
void lw_space_tables_changed(const lw_tree *tree);

#endif
