/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of an open table, shared by the files that read it: table.c (opening), table_block.c
 * (blocks, and single keys) and table_cursor.c. Nobody else includes this. */
#ifndef LW_TABLE_INNER_H
#define LW_TABLE_INNER_H

#include "storage/block.h"
#include "storage/filter.h"
#include "storage/table_file.h"
#include "storage/table_index.h"

struct lw_table {
    lw_env *env;
    lw_cache *cache;
    lw_bytes path; /* with its closing zero */
    lw_handle file;
    lw_handle direct;           /* for single blocks past the page cache, or none */
    uint32_t alignment;         /* of what is read from `direct` */
    uint64_t number;            /* of the file: the cache knows its blocks by it */
    uint64_t origin;            /* the number its checksums cover */
    lw_filter_part filter_part; /* NULL: the whole key */
    uint8_t *filter_bytes;
    lw_filter filter;
    lw_table_index index;
    lw_cache_slot *slots; /* of the blocks, in their order */
    lw_budget_share filter_share, index_share;
    lw_table_cursor *spare; /* closed last: a read that opens a cursor need not allocate */
    uint32_t cursor_count;  /* open ones */
};

static inline const char *lw_table_path_of(const lw_table *table) {
    return (const char *)table->path.data;
}

/* ---- blocks, one after another --------------------------------------------------------------- */

/* Sealed blocks that were read in one piece, since it is expected that they are all wanted: what
 * lies in the file from `offset` on. Zeroed is none. */
typedef struct lw_table_ahead {
    lw_budget_share share; /* of `capacity` */
    uint8_t *bytes;
    size_t capacity, size;
    uint64_t offset;
    size_t window; /* bytes of the last piece; 0: nothing is expected */
} lw_table_ahead;

void lw_table_ahead_reset(lw_table *table, lw_table_ahead *ahead);

/* A block as it came from the file, checked, and decompressed. */
typedef struct lw_table_fetched {
    lw_budget_share share;   /* of what is owned */
    uint8_t *sealed, *plain; /* owned, or NULL */
    lw_bytes block;          /* a view, also of what was read ahead */
} lw_table_fetched;
typedef enum lw_table_way { LW_TABLE_ALONE, LW_TABLE_FORWARD, LW_TABLE_BACK } lw_table_way;
/* Fetches a block, and if there is a way to go on, those that come next. `ahead` may be NULL. */
LW_MUST_USE LW_YIELDS lw_status lw_table_fetch(lw_table *table, uint32_t block_index,
                                               lw_table_ahead *ahead, lw_table_way way,
                                               lw_table_fetched *fetched);
void lw_table_fetched_reset(lw_table *table, lw_table_fetched *fetched);
/* Finds a block in the cache, or fetches it there; pins it. What it holds is an image. */
LW_MUST_USE LW_YIELDS lw_status lw_table_pin(lw_table *table, uint32_t block_index,
                                             lw_table_ahead *ahead, lw_table_way way,
                                             lw_cache_block **block);
/* Says that the block holds an entry that cannot be read. */
LW_MUST_USE lw_status lw_table_damaged_entry(const lw_table *table, uint32_t block_index);

/* Frees the cursor that the table keeps. */
void lw_table_spare_free(lw_table *table);

#endif
