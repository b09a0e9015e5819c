/* SPDX-License-Identifier: Apache-2.0 */
/* What the edits of a catalog add up to: see inventory.h. */
#include "storage/inventory.h"

#include "base/hash.h"
#include "storage/range.h"

#include <inttypes.h>

lw_inventory lw_inventory_in(lw_memory *memory) {
    return (lw_inventory){.arena = lw_arena_in(memory),
                          .tree_map = lw_map_in(memory),
                          .file_map = lw_map_in(memory),
                          .number_limit = 1};
}

void lw_inventory_reset(lw_inventory *inventory) {
    lw_memory *memory = inventory->arena.memory;
    lw_map_reset(&inventory->tree_map);
    lw_map_reset(&inventory->file_map);
    lw_arena_reset(&inventory->arena);
    *inventory = lw_inventory_in(memory);
}

/* lw_mix permutes, so equal hashes are equal numbers. */
lw_inventory_tree *lw_inventory_find_tree(const lw_inventory *inventory, uint64_t id) {
    lw_map_node *node = lw_map_first(&inventory->tree_map, lw_mix(id));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lw_inventory_tree, node);
}

lw_inventory_file *lw_inventory_find_file(const lw_inventory *inventory, uint64_t number) {
    lw_map_node *node = lw_map_first(&inventory->file_map, lw_mix(number));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lw_inventory_file, node);
}

/* ---- trees ---------------------------------------------------------------------------------- */

static lw_status take_tree(lw_inventory *inventory, const lw_change *change) {
    if (lw_inventory_find_tree(inventory, change->tree) != NULL) {
        return lw_fail(LW_CORRUPTION, "tree %" PRIu64 " is created twice", change->tree);
    }
    lw_inventory_tree *tree = lw_arena_allocate(&inventory->arena, sizeof(*tree));
    *tree = (lw_inventory_tree){.id = change->tree, .previous = inventory->last};
    lw_map_insert(&inventory->tree_map, &tree->node, lw_mix(tree->id));
    *(inventory->last != NULL ? &inventory->last->next : &inventory->first) = tree;
    inventory->last = tree;
    return LW_OK;
}

static lw_status take_bounds(lw_inventory *inventory, const lw_change *change) {
    lw_inventory_tree *tree = lw_inventory_find_tree(inventory, change->tree);
    if (tree == NULL) {
        return lw_fail(LW_CORRUPTION, "tree %" PRIu64 " gets bounds, but it was not there",
                       change->tree);
    }
    lw_key_range *bounds =
        lw_arena_allocate(&inventory->arena, change->range_count * sizeof(*bounds));
    for (uint32_t index = 0; index < change->range_count; index++) {
        bounds[index].lower = lw_arena_copy(&inventory->arena, change->ranges[index].lower);
        bounds[index].upper = lw_arena_copy(&inventory->arena, change->ranges[index].upper);
    }
    tree->bounds = bounds;
    tree->bound_count = change->range_count;
    return LW_OK;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Counts one more name of a file, and makes it known at its first. */
static lw_status name_file(lw_inventory *inventory, uint64_t number, uint64_t origin, uint64_t size,
                           lw_inventory_file **named) {
    lw_inventory_file *file = lw_inventory_find_file(inventory, number);
    if (number >= inventory->number_limit) {
        return lw_fail(LW_CORRUPTION, "the number of file %" PRIx64 " was never given out", number);
    }
    if (file == NULL) {
        file = lw_arena_allocate(&inventory->arena, sizeof(*file));
        *file = (lw_inventory_file){.number = number, .origin = origin, .size = size};
        lw_map_insert(&inventory->file_map, &file->node, lw_mix(number));
    } else if (file->origin != origin || file->size != size) {
        return lw_fail(LW_CORRUPTION, "file %" PRIx64 " is said to be two things", number);
    }
    file->name_count++;
    *named = file;
    return LW_OK;
}

static void unname_file(lw_inventory *inventory, lw_inventory_file *file) {
    LW_ASSERT(file->name_count > 0);
    if (--file->name_count == 0) {
        lw_map_remove(&inventory->file_map, &file->node);
    }
}

static lw_status name_values(lw_inventory *inventory, const lw_table_info *info) {
    lw_inventory_file *file = NULL;
    for (uint32_t index = 0; index < info->value_count; index++) {
        const lw_value_file *values = &info->values[index];
        LW_TRY(name_file(inventory, values->number, values->origin, values->size, &file));
        LW_ASSERT(file != NULL);
        if (file->tables != NULL) {
            return lw_fail(LW_CORRUPTION,
                           "table %" PRIx64 " is said to hold the values of table %" PRIx64,
                           values->number, info->number);
        }
    }
    return LW_OK;
}

static void unname_values(lw_inventory *inventory, const lw_table_info *info) {
    for (uint32_t index = 0; index < info->value_count; index++) {
        unname_file(inventory, lw_inventory_find_file(inventory, info->values[index].number));
    }
}

/* ---- tables --------------------------------------------------------------------------------- */

/* Whether two places of one table agree on all but the place. */
static bool same_table(const lw_table_info *a, const lw_table_info *b) {
    return a->size == b->size && a->checksum == b->checksum && a->entry_count == b->entry_count &&
           a->delete_count == b->delete_count && a->sequence_min == b->sequence_min &&
           a->sequence_max == b->sequence_max && lw_equal(a->key_min, b->key_min) &&
           lw_equal(a->key_max, b->key_max) && a->value_count == b->value_count &&
           (a->value_count == 0 ||
            memcmp(a->values, b->values, a->value_count * sizeof(a->values[0])) == 0);
}

/* Holds a new place of a table against its others. */
static lw_status check_places(const lw_inventory_file *file, const lw_table_info *info) {
    const lw_inventory_table *other = file->tables;
    if (other == NULL && file->name_count > 1) {
        return lw_fail(LW_CORRUPTION, "file %" PRIx64 ", which holds values, is added as a table",
                       info->number);
    }
    for (; other != NULL; other = other->file_next) {
        if (!same_table(&other->info, info)) {
            return lw_fail(LW_CORRUPTION, "table %" PRIx64 " is said to be two things",
                           info->number);
        }
        if (lw_ranges_overlap(&other->info.clip, &info->clip)) {
            return lw_fail(LW_CORRUPTION, "table %" PRIx64 " is added twice", info->number);
        }
    }
    return LW_OK;
}

static lw_inventory_table *copy_table(lw_arena *arena, const lw_change *change) {
    lw_inventory_table *table = lw_arena_allocate(arena, sizeof(*table));
    *table = (lw_inventory_table){.level = change->level, .info = change->info};
    table->info.key_min = lw_arena_copy(arena, change->info.key_min);
    table->info.key_max = lw_arena_copy(arena, change->info.key_max);
    table->info.clip.lower = lw_arena_copy(arena, change->info.clip.lower);
    table->info.clip.upper = lw_arena_copy(arena, change->info.clip.upper);
    return table;
}

static lw_status take_add(lw_inventory *inventory, const lw_change *change) {
    const lw_table_info *info = &change->info;
    lw_inventory_tree *tree = lw_inventory_find_tree(inventory, change->tree);
    lw_inventory_file *file = NULL;
    if (tree == NULL) {
        return lw_fail(LW_CORRUPTION,
                       "table %" PRIx64 " is added to tree %" PRIu64 ", which there is not",
                       info->number, change->tree);
    }
    LW_TRY(name_file(inventory, info->number, info->origin, info->size, &file));
    LW_ASSERT(file != NULL);
    LW_TRY(check_places(file, info));
    LW_TRY(name_values(inventory, info));
    lw_inventory_table *table = copy_table(&inventory->arena, change);
    table->tree = tree;
    table->file = file;
    table->file_next = file->tables;
    file->tables = table;
    table->previous = tree->last;
    *(tree->last != NULL ? &tree->last->next : &tree->first) = table;
    tree->last = table;
    tree->table_count++;
    return LW_OK;
}

static void remove_table(lw_inventory *inventory, lw_inventory_table *table) {
    lw_inventory_tree *tree = table->tree;
    lw_inventory_table **link = &table->file->tables;
    while (*link != table) {
        link = &(*link)->file_next;
    }
    *link = table->file_next;
    *(table->previous != NULL ? &table->previous->next : &tree->first) = table->next;
    *(table->next != NULL ? &table->next->previous : &tree->last) = table->previous;
    tree->table_count--;
    unname_values(inventory, &table->info);
    unname_file(inventory, table->file);
}

static lw_status take_remove(lw_inventory *inventory, const lw_change *change) {
    bool plain = change->kind == LW_CHANGE_REMOVE_PLAIN;
    lw_inventory_file *file = lw_inventory_find_file(inventory, change->info.number);
    lw_inventory_table *table = file == NULL ? NULL : file->tables;
    while (table != NULL && !plain &&
           (table->tree->id != change->tree ||
            !lw_equal(table->info.clip.lower, change->info.clip.lower))) {
        table = table->file_next;
    }
    if (table == NULL || (plain && table->file_next != NULL)) {
        return lw_fail(LW_CORRUPTION, "table %" PRIx64 " is removed, but it was not there",
                       change->info.number);
    }
    remove_table(inventory, table);
    return LW_OK;
}

static lw_status take_drop(lw_inventory *inventory, const lw_change *change) {
    lw_inventory_tree *tree = lw_inventory_find_tree(inventory, change->tree);
    if (tree == NULL) {
        return lw_fail(LW_CORRUPTION, "tree %" PRIu64 " is dropped, but it was not there",
                       change->tree);
    }
    while (tree->first != NULL) {
        remove_table(inventory, tree->first);
    }
    *(tree->previous != NULL ? &tree->previous->next : &inventory->first) = tree->next;
    *(tree->next != NULL ? &tree->next->previous : &inventory->last) = tree->previous;
    lw_map_remove(&inventory->tree_map, &tree->node);
    return LW_OK;
}

/* ---- edits ---------------------------------------------------------------------------------- */

static lw_status take_flushed(lw_inventory *inventory, const lw_change *change) {
    lw_inventory_tree *tree = lw_inventory_find_tree(inventory, change->tree);
    if (tree == NULL || change->index < tree->flushed_index) {
        return lw_fail(LW_CORRUPTION,
                       "tree %" PRIu64 " is flushed to index %" PRIu64 ", which cannot be",
                       change->tree, change->index);
    }
    tree->flushed_index = change->index;
    /* A flush may be overtaken by tables that came from elsewhere, with higher sequences. */
    tree->sequence = change->sequence > tree->sequence ? change->sequence : tree->sequence;
    return LW_OK;
}

static lw_status take_change(lw_inventory *inventory, const lw_change *change) {
    switch (change->kind) {
    case LW_CHANGE_TREE:
        return take_tree(inventory, change);
    case LW_CHANGE_DROP:
        return take_drop(inventory, change);
    case LW_CHANGE_BOUNDS:
        return take_bounds(inventory, change);
    case LW_CHANGE_ADD:
    case LW_CHANGE_ADD_PLAIN:
        return take_add(inventory, change);
    case LW_CHANGE_REMOVE:
    case LW_CHANGE_REMOVE_PLAIN:
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
    while (lw_edit_next(&inventory->arena, &edit, &change)) {
        LW_TRY(take_change(inventory, &change));
    }
    return edit.size == 0 ? LW_OK : lw_fail(LW_CORRUPTION, "a change in it cannot be read");
}

void lw_inventory_describe(const lw_inventory *inventory, lw_buffer *edit) {
    lw_edit_numbers(edit, inventory->number_limit);
    for (const lw_inventory_tree *tree = inventory->first; tree != NULL; tree = tree->next) {
        lw_edit_tree(edit, tree->id);
        if (tree->bound_count > 0) {
            lw_edit_bounds(edit, tree->id, tree->bounds, tree->bound_count);
        }
        for (const lw_inventory_table *table = tree->first; table != NULL; table = table->next) {
            lw_edit_add(edit, tree->id, table->level, &table->info);
        }
        lw_edit_flushed(edit, tree->id, tree->flushed_index, tree->sequence);
    }
}
