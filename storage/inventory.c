/* SPDX-License-Identifier: Apache-2.0 */
/* What the edits of a catalog add up to: see inventory.h. */
#include "storage/inventory.h"

#include "base/hash.h"

#include <inttypes.h>

lw_inventory lw_inventory_in(lw_memory *memory) {
    return (lw_inventory){.arena = lw_arena_in(memory),
                          .tree_map = lw_map_in(memory),
                          .table_map = lw_map_in(memory),
                          .number_limit = 1};
}

void lw_inventory_reset(lw_inventory *inventory) {
    lw_memory *memory = inventory->arena.memory;
    lw_map_reset(&inventory->tree_map);
    lw_map_reset(&inventory->table_map);
    lw_arena_reset(&inventory->arena);
    *inventory = lw_inventory_in(memory);
}

/* lw_mix permutes, so equal hashes are equal numbers. */
lw_inventory_tree *lw_inventory_find_tree(const lw_inventory *inventory, uint64_t id) {
    lw_map_node *node = lw_map_first(&inventory->tree_map, lw_mix(id));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lw_inventory_tree, node);
}

lw_inventory_table *lw_inventory_find_table(const lw_inventory *inventory, uint64_t number) {
    lw_map_node *node = lw_map_first(&inventory->table_map, lw_mix(number));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lw_inventory_table, node);
}

static lw_status take_tree(lw_inventory *inventory, const lw_change *change) {
    if (lw_inventory_find_tree(inventory, change->tree) != NULL) {
        return lw_fail(LW_CORRUPTION, "tree %" PRIu64 " is created twice", change->tree);
    }
    lw_inventory_tree *tree = lw_arena_allocate(&inventory->arena, sizeof(*tree));
    *tree = (lw_inventory_tree){.id = change->tree};
    lw_map_insert(&inventory->tree_map, &tree->node, lw_mix(tree->id));
    if (inventory->last == NULL) {
        inventory->first = tree;
    } else {
        inventory->last->next = tree;
    }
    inventory->last = tree;
    return LW_OK;
}

static lw_status take_add(lw_inventory *inventory, const lw_change *change) {
    uint64_t number = change->info.number;
    lw_inventory_tree *tree = lw_inventory_find_tree(inventory, change->tree);
    if (tree == NULL) {
        return lw_fail(LW_CORRUPTION,
                       "table %" PRIx64 " is added to tree %" PRIu64 ", which there is not", number,
                       change->tree);
    }
    if (lw_inventory_find_table(inventory, number) != NULL) {
        return lw_fail(LW_CORRUPTION, "table %" PRIx64 " is added twice", number);
    }
    if (number >= inventory->number_limit) {
        return lw_fail(LW_CORRUPTION, "the number of table %" PRIx64 " was never given out",
                       number);
    }
    lw_inventory_table *table = lw_arena_allocate(&inventory->arena, sizeof(*table));
    *table = (lw_inventory_table){
        .tree = tree, .previous = tree->last, .level = change->level, .info = change->info};
    table->info.key_min = lw_arena_copy(&inventory->arena, change->info.key_min);
    table->info.key_max = lw_arena_copy(&inventory->arena, change->info.key_max);
    lw_map_insert(&inventory->table_map, &table->node, lw_mix(number));
    tree->table_count++;
    if (tree->last == NULL) {
        tree->first = table;
    } else {
        tree->last->next = table;
    }
    tree->last = table;
    return LW_OK;
}

static lw_status take_remove(lw_inventory *inventory, const lw_change *change) {
    lw_inventory_table *table = lw_inventory_find_table(inventory, change->info.number);
    if (table == NULL) {
        return lw_fail(LW_CORRUPTION, "table %" PRIx64 " is removed, but it was not there",
                       change->info.number);
    }
    lw_inventory_tree *tree = table->tree;
    *(table->previous != NULL ? &table->previous->next : &tree->first) = table->next;
    *(table->next != NULL ? &table->next->previous : &tree->last) = table->previous;
    lw_map_remove(&inventory->table_map, &table->node);
    tree->table_count--;
    return LW_OK;
}

static lw_status take_flushed(lw_inventory *inventory, const lw_change *change) {
    lw_inventory_tree *tree = lw_inventory_find_tree(inventory, change->tree);
    if (tree == NULL || change->index < tree->flushed_index || change->sequence < tree->sequence) {
        return lw_fail(LW_CORRUPTION,
                       "tree %" PRIu64 " is flushed to index %" PRIu64 ", which cannot be",
                       change->tree, change->index);
    }
    tree->flushed_index = change->index;
    tree->sequence = change->sequence;
    return LW_OK;
}

static lw_status take_change(lw_inventory *inventory, const lw_change *change) {
    switch (change->kind) {
    case LW_CHANGE_TREE:
        return take_tree(inventory, change);
    case LW_CHANGE_ADD:
        return take_add(inventory, change);
    case LW_CHANGE_REMOVE:
        return take_remove(inventory, change);
    case LW_CHANGE_FLUSHED:
        return take_flushed(inventory, change);
    case LW_CHANGE_NUMBERS:
        if (change->limit < inventory->number_limit) {
            return lw_fail(LW_CORRUPTION, "the numbers given out go back to %" PRIu64,
                           change->limit);
        }
        inventory->number_limit = change->limit;
        return LW_OK;
    }
    return lw_fail(LW_CORRUPTION, "a change of an unknown kind");
}

lw_status lw_inventory_take(void *argument, uint64_t offset, lw_bytes edit) {
    lw_inventory *inventory = argument;
    lw_change change;
    (void)offset;
    while (lw_edit_next(&edit, &change)) {
        LW_TRY(take_change(inventory, &change));
    }
    return edit.size == 0 ? LW_OK : lw_fail(LW_CORRUPTION, "a change in it cannot be read");
}

void lw_inventory_describe(const lw_inventory *inventory, lw_buffer *edit) {
    lw_edit_numbers(edit, inventory->number_limit);
    for (const lw_inventory_tree *tree = inventory->first; tree != NULL; tree = tree->next) {
        lw_edit_tree(edit, tree->id);
        for (const lw_inventory_table *table = tree->first; table != NULL; table = table->next) {
            lw_edit_add(edit, tree->id, table->level, &table->info);
        }
        lw_edit_flushed(edit, tree->id, tree->flushed_index, tree->sequence);
    }
}
