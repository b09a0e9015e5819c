/* SPDX-License-Identifier: Apache-2.0 */
/* The inventory: what the edits of a catalog add up to. Filled at opening, by the checker and by
 * tests; handed over to the store, then dropped. Pure memory.
 *
 * Invariants
 * 1. Every change is held against what is there: no tree is created twice, no table added to a tree
 *    that is not, none removed that is not there, none numbered beyond the numbers given out, no
 *    flushed index moves back. What breaks this is corruption, though its checksum was right.
 * 2. One file is the same thing wherever it is named, and no key of it is seen in two places (C5).
 * 3. Trees, and tables within a tree, are kept in the order of their adding, so that nothing
 *    depends on the order of a hash table. */
#ifndef LW_INVENTORY_H
#define LW_INVENTORY_H

#include "base/hash.h"
#include "storage/catalog.h"

/* A file in the folder of tables: a table, or large values of tables. */
typedef struct lw_inventory_file {
    lw_map_node node; /* by number */
    uint64_t number, origin, size;
    struct lw_inventory_table *tables; /* the places where it stands; NULL if it holds values */
    uint32_t name_count;               /* tables that refer to it, or places where it stands */
    bool seen;                         /* for the owner: it is there, or was looked at */
    uint64_t new_number;               /* for the owner: in another folder; 0: none yet */
} lw_inventory_file;

/* One place of a table: in a tree, at a level, with a clip. */
typedef struct lw_inventory_table {
    lw_inventory_file *file;
    struct lw_inventory_table *file_next; /* the next place of the same file */
    struct lw_inventory_tree *tree;
    struct lw_inventory_table *next, *previous; /* within the tree */
    uint32_t level;
    lw_table_info info; /* keys and lists in the arena */
} lw_inventory_table;

typedef struct lw_inventory_tree {
    lw_map_node node; /* by id */
    struct lw_inventory_tree *next, *previous;
    uint64_t id;
    uint64_t flushed_index;
    uint64_t sequence; /* the highest that may be in a table */
    lw_inventory_table *first, *last;
    uint32_t table_count;
    uint32_t bound_count;
    const lw_key_range *bounds; /* the keys it may hold: ascending, disjoint; none: every key */
} lw_inventory_tree;

typedef struct lw_inventory {
    lw_arena arena;
    lw_map tree_map, file_map;
    lw_inventory_tree *first, *last;
    uint64_t number_limit; /* file numbers below are taken */
} lw_inventory;

lw_inventory lw_inventory_in(lw_memory *memory);
void lw_inventory_reset(lw_inventory *inventory);
/* An lw_catalog_visit: `argument` is the inventory. Of an edit that fails a part may have been
 * taken in. */
LW_MUST_USE lw_status lw_inventory_take(void *argument, uint64_t offset, lw_bytes edit);
/* NULL if there is none. */
lw_inventory_tree *lw_inventory_find_tree(const lw_inventory *inventory, uint64_t id);
lw_inventory_file *lw_inventory_find_file(const lw_inventory *inventory, uint64_t number);
/* Appends the changes that lead from nothing to this inventory. */
void lw_inventory_describe(const lw_inventory *inventory, lw_buffer *edit);

#endif
