/* SPDX-License-Identifier: Apache-2.0 */
/* The files of tables in the folder of a store, each once however many trees see it: a table that
 * was split stands in several, each with its own clip (storage/version.h), and a file of values is
 * referred to by several tables.
 *
 * Invariants
 * H1. There is one lw_shared_file for each number that somebody refers to. It closes with the last
 *     reference.
 * H2. name_count is the number of places in the durable catalog that name the file. It changes in
 *     the turn in which the commit of an edit returned, with the version (I2 of tree.h).
 * H3. A file is unlinked when nobody refers to it, and only if no durable catalog names it (T2): it
 *     had names and lost the last one, or was discarded by who made it and knows that no edit named
 *     it. Of an edit whose fate is unknown neither holds: its files stay, and the next opening
 *     decides.
 * H4. Besides those in which cursors stand, at most open_max files are open, and no more tables
 * than the budget has memory for (lw_budget_for_tables): each costs a handle, and the memory of its
 *     index and filter. Where the system has no handles left, ours give way first.
 * H5. The live size of a value file is the sum over the tables that have names, each counted once
 *     however many it has. So of a table that was split, what only one part shows counts until that
 *     part is written anew: garbage is found late, and never where there is none. */
#ifndef LW_SHARED_FILE_H
#define LW_SHARED_FILE_H

#include "base/hash.h"
#include "storage/value_file.h"

typedef struct lw_shared_file lw_shared_file;

/* The folder of tables of one store. */
typedef struct lw_table_folder {
    lw_env *env;
    lw_cache *cache;
    const char *path; /* lives longer */
    lw_filter_part filter_part;
    lw_map files;           /* by number */
    lw_shared_file *unused; /* without references, for lw_table_folder_sweep */
    lw_queue sweep_wanted;  /* woken when there is something to sweep */
    uint32_t handle_count;  /* of open files; beyond open_max idle ones are closed */
    uint32_t open_max;
    uint64_t memory_size;                   /* of the machine, as lw_env_memory_size */
    uint64_t table_bytes;                   /* of tables that have names */
    lw_shared_file *idle_first, *idle_last; /* open, but used by nobody; longest first */
    uint32_t value_file_count;              /* value files that have names */
    uint64_t value_bytes, value_live_bytes; /* of them */
    uint32_t wasted_count;                  /* of them, those that are wasted */
} lw_table_folder;

struct lw_shared_file {
    lw_map_node node; /* by number */
    lw_table_folder *folder;
    lw_shared_file *next_unused;
    uint64_t number;
    uint32_t references;     /* of table files, and of tables whose values it holds */
    uint32_t name_count;     /* H2 */
    bool obsolete;           /* no durable catalog names it any more */
    bool opening;            /* some fiber is at it */
    lw_queue opened;         /* the others wait here */
    lw_table *table;         /* NULL: not open, or a value file */
    lw_value_reader *reader; /* NULL: not open, or a table */
    uint32_t uses;           /* of what is open; 0: it is in the idle list */
    lw_shared_file *idle_next, *idle_previous;
    uint32_t value_count; /* of a table: the files its entries refer to, in the order of its list */
    lw_shared_file **values;
    uint64_t *live_sizes;  /* bytes of each of them that the table refers to */
    uint32_t handle_count; /* while it is open */
    uint64_t size;
    /* Of a value file. */
    uint64_t live_size; /* H5 */
    bool unreadable;    /* a value in it could not be moved: it is left in peace */
};

/* Whether the page cache is of no use to single blocks of tables, so that they are better read past
 * it: where the cache of ours (`limit` bytes) is at least half as large as what the system has left
 * for the page cache, it has most of what that could have, which keeps two pages for a block of
 * one; and the tables have more than twice as many bytes as fit there. `memory_size` 0: not known.
 */
static inline bool lw_table_folder_beyond(uint64_t memory_size, uint64_t limit,
                                          uint64_t table_bytes) {
    uint64_t rest = memory_size > limit ? memory_size - limit : 0;
    return memory_size > 0 && limit >= rest / 2 && table_bytes > 2 * rest;
}

/* The file of a table, and with it those of its values. One more reference, the caller's. */
lw_shared_file *lw_shared_file_of(lw_table_folder *folder, const lw_table_info *info);
static inline void lw_shared_file_hold(lw_shared_file *file) {
    file->references++;
}
void lw_shared_file_release(lw_shared_file *file);
/* A place of this table came into the durable catalog, or went. */
void lw_shared_file_name(lw_shared_file *table);
void lw_shared_file_unname(lw_shared_file *table);
/* No edit named this table, nor those of its values that nobody else names. */
void lw_shared_file_discard(lw_shared_file *table);

/* The open table, valid until lw_shared_file_done. The caller holds a reference for so long. */
LW_MUST_USE LW_YIELDS lw_status lw_shared_file_use(lw_shared_file *file, const lw_table_info *info,
                                                   lw_table **table);
/* The same of a value file, which `info` describes. */
LW_MUST_USE LW_YIELDS lw_status lw_shared_file_use_values(lw_shared_file *file,
                                                          const lw_value_file *info,
                                                          lw_value_reader **reader);
/* Never suspends: files beyond the limit are closed when the next one is opened. */
void lw_shared_file_done(lw_shared_file *file);
/* A value in it cannot be read, so it cannot be moved: the file is never wasted. */
void lw_shared_file_leave(lw_shared_file *values);
/* Closes the file that nobody has used for longest: for its handle, or for the memory of its index
 * and filter. False if none is idle. */
LW_YIELDS bool lw_table_folder_close_idle(lw_table_folder *folder);
/* Whether more than half of a value file is garbage, so that moving what is left pays. */
static inline bool lw_shared_file_wasted(const lw_shared_file *file) {
    return file->name_count > 0 && file->live_size < file->size / 2 && !file->unreadable;
}

/* Closes the files that nobody refers to, and unlinks the obsolete among them. LW_NOT_FOUND does
 * not trouble it; any other failure to unlink is logged, and left to the next opening. */
LW_YIELDS void lw_table_folder_sweep(lw_table_folder *folder);
/* The path of the file `number`: 16 hexadecimal digits. */
LW_MUST_USE lw_status lw_table_path(char path[LW_PATH_SIZE], const char *folder, uint64_t number);
/* The number that such a name stands for; false if it is no table's name. */
LW_MUST_USE bool lw_table_name_number(const char *name, uint64_t *number);

#endif
