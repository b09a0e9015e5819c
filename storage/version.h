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
 * V3. The tables of each level from 1 on are disjoint and ascend by key.
 * V4. At most open_max tables are open, besides those in which cursors stand: each costs a handle,
 *     and the memory of its index and filter.
 * V5. The file of a table is unlinked when no version names it, and only if, besides, it was marked
 *     as obsolete: by whoever made the catalog durable that no longer names it (T2). */
#ifndef LW_VERSION_H
#define LW_VERSION_H

#include "storage/inventory.h"
#include "storage/memtable.h"
#include "storage/store.h"

/* ---- the parts, which versions share -------------------------------------------------------- */

/* The folder of tables of one store. */
typedef struct lw_table_folder {
    lw_env *env;
    lw_cache *cache;
    const char *path; /* lives longer */
    lw_filter_part filter_part;
    struct lw_table_file
        *unused;           /* named by no version any more, waiting for lw_table_folder_sweep */
    lw_queue sweep_wanted; /* woken when there is something to sweep */
    uint32_t open_count;   /* tables that are open; beyond open_max idle ones are closed */
    uint32_t open_max;
    struct lw_table_file *idle_first, *idle_last; /* open, but used by nobody; longest first */
} lw_table_folder;

/* A table as the store knows it. The file itself is opened at its first use, so that opening a
 * store costs nothing per table. */
typedef struct lw_table_file {
    lw_table_folder *folder;
    struct lw_table_file *next_unused;
    uint32_t references; /* of versions, and of jobs that made it */
    bool obsolete;       /* no durable catalog names it any more */
    bool opening;        /* some fiber is at it */
    lw_queue opened;     /* the others wait here */
    lw_table *table;     /* NULL: not open */
    uint32_t uses;       /* of the open table; 0: it is in the idle list */
    struct lw_table_file *idle_next, *idle_previous;
    lw_table_info info; /* keys behind the struct */
} lw_table_file;

/* Copies `info`. One reference, the caller's. */
lw_table_file *lw_table_file_make(lw_table_folder *folder, const lw_table_info *info);
static inline void lw_table_file_hold(lw_table_file *file) {
    file->references++;
}
void lw_table_file_release(lw_table_file *file);
/* The open table, valid until lw_table_file_done. The caller holds a reference for so long. */
LW_MUST_USE LW_YIELDS lw_status lw_table_file_use(lw_table_file *file, lw_table **table);
/* Never suspends: tables beyond the limit are closed when the next one is opened. */
void lw_table_file_done(lw_table_file *file);
/* Closes the files that no version names, and unlinks the obsolete among them. LW_NOT_FOUND does
 * not trouble it; any other failure to unlink is logged, and left to the next opening. */
LW_YIELDS void lw_table_folder_sweep(lw_table_folder *folder);
/* The path of the table `number`: 16 hexadecimal digits. */
LW_MUST_USE lw_status lw_table_path(char path[LW_PATH_SIZE], const char *folder, uint64_t number);
/* The number that such a name stands for; false if it is no table's name. */
LW_MUST_USE bool lw_table_name_number(const char *name, uint64_t *number);

/* A memtable that versions share. */
typedef struct lw_memtable_share {
    lw_memory *memory;
    uint32_t references;
    lw_memtable *memtable;
    uint64_t index, sequence; /* of the last batch in it; set when it takes no more */
} lw_memtable_share;

/* An empty memtable. One reference, the caller's. */
lw_memtable_share *lw_memtable_share_make(lw_memory *memory);
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
/* The version of the tables that an inventory gives a tree. One reference, the caller's. */
lw_version *lw_version_of_inventory(lw_table_folder *folder, const lw_inventory_tree *tree);
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
uint64_t lw_version_bytes(const lw_version *version, uint32_t level);
/* Whether the table's keys reach into [low, high]; a NULL bound is none. */
bool lw_table_file_overlaps(const lw_table_file *file, const lw_bytes *low, const lw_bytes *high);
/* The index of the first of disjoint ascending files that ends at or after `key`; `count` if none.
 */
uint32_t lw_files_find(lw_table_file *const *files, uint32_t count, lw_bytes key);
/* Whether a table at `level` or deeper may hold `key`, by its bounds alone. */
bool lw_version_may_hold(const lw_version *version, uint32_t level, lw_bytes key);

#endif
