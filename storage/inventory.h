/* SPDX-License-Identifier: Apache-2.0 */
/* The inventory: what the edits of a catalog add up to. Filled at opening, by the checker and by
 * tests; handed over to the store, then dropped. Pure memory.
 *
 * Invariants
 * 1. Every change is held against what is there: no tree or table is added twice, no table to a
 *    tree that is not, none removed that is not there, none numbered beyond the numbers given out,
 *    no flushed index moves back. What breaks this is corruption, though its checksum was right.
 * 2. Trees, and tables within a tree, are kept in the order of their adding, so that nothing
 *    depends on the order of a hash table. */
#ifndef LW_INVENTORY_H
#define LW_INVENTORY_H

#include "base/map.h"
#include "storage/catalog.h"

typedef struct lw_inventory_table {
    lw_map_node node; /* by number */
    struct lw_inventory_tree *tree;
    struct lw_inventory_table *next, *previous; /* within the tree */
    uint32_t level;
    bool seen;          /* for the owner: its file is there */
    lw_table_info info; /* keys in the arena */
} lw_inventory_table;

typedef struct lw_inventory_tree {
    lw_map_node node; /* by id */
    struct lw_inventory_tree *next;
    uint64_t id;
    uint64_t flushed_index;
    uint64_t sequence; /* the highest that may be in a table */
    lw_inventory_table *first, *last;
    uint32_t table_count;
} lw_inventory_tree;

typedef struct lw_inventory {
    lw_arena arena;
    lw_map tree_map, table_map;
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
lw_inventory_table *lw_inventory_find_table(const lw_inventory *inventory, uint64_t number);
/* Appends the changes that lead from nothing to this inventory. */
void lw_inventory_describe(const lw_inventory *inventory, lw_buffer *edit);

#endif
