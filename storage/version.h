/* SPDX-License-Identifier: Apache-2.0 */
/* Versions: what a tree is made of at one time. An immutable list of memtables and tables, newest
 * first where that matters, counted by reference: the tree holds the current one, each snapshot and
 * each flush or compaction under way the one it began with.
 *
 * Because a snapshot pins memtables and tables themselves, compaction needs to keep nothing for it:
 * whatever an output leaves out is still in the inputs, which the snapshot reads.
 *
 * Invariants
 * V1. A version never changes. Only its newest memtable takes entries, with higher sequences.
 * V2. Memtables come newest first; so do the tables of level 0. Of one key, everything in an
 *     earlier one is newer than everything in a later one, and level n newer than level n + 1.
 *     Tables of level 0 that share no key may come in any order: those of merged trees do.
 * V3. What is to be seen of the tables of each level from 1 on is disjoint and ascends by key. */
#ifndef LW_VERSION_H
#define LW_VERSION_H

#include "storage/inventory.h"
#include "storage/memtable.h"
#include "storage/shared_file.h"
#include "storage/spent.h"
#include "storage/store.h"

/* ---- the parts, which versions share -------------------------------------------------------- */

/* A table as one tree sees it: the shared file, and what of it is to be seen. The file itself is
 * opened at its first use, so that opening a store costs nothing per table. */
typedef struct lw_table_file {
    lw_memory *memory;
    lw_shared_file *shared;
    uint32_t references; /* of versions, and of jobs that made it */
    bool clipped;        /* not the whole file is to be seen */
    bool high_open;      /* `high` is an upper bound of the clip, and not to be seen any more */
    lw_bytes low, high;  /* the keys to be seen */
    bool swept;          /* it was written to drop what could be dropped at the safepoint ... */
    uint64_t swept_at;   /* ... so another attempt is in vain until there is more */
    lw_table_info info;  /* of the whole file, but for the clip; keys and lists behind the struct */
} lw_table_file;

/* Copies `info`. One reference, the caller's. */
lw_table_file *lw_table_file_make(lw_table_folder *folder, const lw_table_info *info);
static inline void lw_table_file_hold(lw_table_file *file) {
    file->references++;
}
void lw_table_file_release(lw_table_file *file);
/* As lw_shared_file_use and lw_shared_file_done. */
LW_MUST_USE LW_YIELDS static inline lw_status lw_table_file_use(lw_table_file *file,
                                                                lw_table **table) {
    return lw_shared_file_use(file->shared, &file->info, table);
}
static inline void lw_table_file_done(lw_table_file *file) {
    lw_shared_file_done(file->shared);
}
/* A memtable that versions share. */
typedef struct lw_memtable_share {
    lw_memory *memory;
    uint32_t references;
    lw_memtable *memtable;
    lw_budget_share charge;   /* until the last reference goes: as long as anybody can read it */
    uint64_t index, sequence; /* of the last batch in it; set when it takes no more */
    lw_spent *spent;
    struct lw_memtable_share *next_spent;
} lw_memtable_share;

/* An empty memtable. One reference, the caller's; with the last one it becomes one of `spent`. */
lw_memtable_share *lw_memtable_share_make(lw_memory *memory, lw_budget *budget, lw_spent *spent);
void lw_memtable_share_release(lw_memtable_share *share);

/* ---- versions ------------------------------------------------------------------------------- */

typedef struct lw_version {
    lw_memory *memory;
    uint32_t references;
    uint32_t memtable_count;
    uint32_t level_start[LW_LEVEL_COUNT + 1]; /* of each level in `files`, and the end */
    lw_memtable_share **memtables;            /* newest first */
    lw_table_file *files[];                   /* level by level */
} lw_version;

typedef struct lw_version_file {
    uint32_t level;
    lw_table_file *file;
} lw_version_file;

/* How the next version differs. */
typedef struct lw_version_change {
    lw_memtable_share *add_memtable;    /* becomes the newest; or NULL */
    lw_memtable_share *remove_memtable; /* or NULL */
    const lw_version_file *add;
    uint32_t add_count;
    lw_table_file *const *remove;
    uint32_t remove_count; /* a file may be removed and added: it changes its level */
} lw_version_change;

/* The version after `base` (NULL: nothing). Holds references of its own; one is the caller's. */
lw_version *lw_version_next(lw_memory *memory, const lw_version *base,
                            const lw_version_change *change);
/* The version of the tables that an inventory gives a tree: they have their names already. One
 * reference, the caller's. */
lw_version *lw_version_of_inventory(lw_table_folder *folder, const lw_inventory_tree *tree);
/* The version of the same tables without memtables: for whoever works long on tables, since a
 * version keeps the memory of its memtables taken long after they were flushed. One reference, the
 * caller's. */
lw_version *lw_version_of_tables(const lw_version *version);
static inline void lw_version_hold(lw_version *version) {
    version->references++;
}
void lw_version_release(lw_version *version);
/* Whether V2 and V3 hold: false is corruption if the files come from a catalog, else a bug. */
LW_MUST_USE bool lw_version_check(const lw_version *version);

static inline uint32_t lw_version_count(const lw_version *version, uint32_t level) {
    return version->level_start[level + 1] - version->level_start[level];
}
static inline lw_table_file *const *lw_version_files(const lw_version *version, uint32_t level) {
    return version->files + version->level_start[level];
}
/* The deepest level that has tables; 0 if none has. */
uint32_t lw_version_last_level(const lw_version *version);
uint64_t lw_version_bytes(const lw_version *version, uint32_t level);
/* How many of the tables of level 0 may hold one key at most, counting as one what is seen of one
 * file in several places. */
uint32_t lw_version_depth(const lw_version *version);
/* Whether all that is seen of the table lies before `key`. */
bool lw_table_file_before(const lw_table_file *file, lw_bytes key);
/* Whether the keys seen of the table reach into [low, high]; a NULL bound is none. */
bool lw_table_file_overlaps(const lw_table_file *file, const lw_bytes *low, const lw_bytes *high);
/* Whether two tables may show the same key. */
bool lw_table_files_overlap(const lw_table_file *a, const lw_table_file *b);
/* The index of the first of disjoint ascending files that ends at or after `key`; `count` if none.
 */
uint32_t lw_files_find(lw_table_file *const *files, uint32_t count, lw_bytes key);
/* Whether a table at `level` or deeper may hold `key`, by its bounds alone. */
bool lw_version_may_hold(const lw_version *version, uint32_t level, lw_bytes key);

#endif
