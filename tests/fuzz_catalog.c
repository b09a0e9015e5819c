/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes against the readers of the catalog: as a whole file, and as one edit, since a fuzzer
 * rarely guesses a checksum. Properties:
 *   1. a change that is accepted, written again, is the same bytes: there is one encoding. One of
 *      format 1, written as one of today, is read as the same;
 *   2. an inventory that took edits, described and taken in anew, describes itself the same;
 *   3. what a file is said to hold fits into it. */
#include "storage/inventory.h"

#include "storage/store.h"

static void write_again(lw_buffer *edit, const lw_change *change) {
    switch (change->kind) {
    case LW_CHANGE_DROP:
        lw_edit_drop(edit, change->tree);
        break;
    case LW_CHANGE_BOUNDS:
        lw_edit_bounds(edit, change->tree, change->ranges, change->range_count);
        break;
    case LW_CHANGE_ADD_PLAIN:
    case LW_CHANGE_TREE:
        lw_edit_tree(edit, change->tree);
        break;
    case LW_CHANGE_ADD:
        lw_edit_add(edit, change->tree, change->level, &change->info);
        break;
    case LW_CHANGE_REMOVE:
    case LW_CHANGE_REMOVE_PLAIN:
        lw_edit_remove(edit, change->tree, &change->info);
        break;
    case LW_CHANGE_FLUSHED:
        lw_edit_flushed(edit, change->tree, change->index, change->sequence);
        break;
    case LW_CHANGE_NUMBERS:
        lw_edit_numbers(edit, change->limit);
        break;
    }
}

static void check_edit(lw_memory *memory, lw_bytes edit) {
    lw_arena arena = lw_arena_in(memory);
    lw_buffer again = lw_buffer_in(memory), third = lw_buffer_in(memory);
    lw_bytes rest = edit, before = edit;
    lw_change change;
    for (; lw_edit_next(&arena, &rest, &change); before = rest) {
        LW_ASSERT(change.level < LW_LEVEL_COUNT);
        lw_buffer_clear(&again);
        lw_buffer_clear(&third);
        write_again(&again, &change);
        lw_bytes written = lw_buffer_view(&again), left = written;
        if (change.kind == LW_CHANGE_ADD_PLAIN || change.kind == LW_CHANGE_REMOVE_PLAIN) {
            LW_ASSERT(lw_edit_next(&arena, &left, &change) && left.size == 0);
            write_again(&third, &change);
            LW_ASSERT(lw_equal(lw_buffer_view(&third), written));
        } else {
            LW_ASSERT(lw_equal(written, lw_view(before.data, before.size - rest.size)));
        }
    }
}

static void check_inventory(lw_memory *memory, const lw_inventory *inventory) {
    lw_inventory second = lw_inventory_in(memory);
    lw_buffer first_text = lw_buffer_in(memory), second_text = lw_buffer_in(memory);
    lw_inventory_describe(inventory, &first_text);
    LW_ASSERT(lw_inventory_take(&second, 0, lw_buffer_view(&first_text)) == LW_OK);
    lw_inventory_describe(&second, &second_text);
    LW_ASSERT(lw_equal(lw_buffer_view(&first_text), lw_buffer_view(&second_text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lw_memory *memory = lw_memory_open();
    lw_bytes input = lw_view(data, size);
    lw_inventory of_file = lw_inventory_in(memory), of_edit = lw_inventory_in(memory);
    lw_catalog_facts facts = {0};
    if (lw_catalog_parse("CATALOG", input, lw_inventory_take, &of_file, &facts) == LW_OK) {
        LW_ASSERT(facts.base <= facts.size);
        LW_ASSERT(facts.size + facts.torn_size == size);
        check_inventory(memory, &of_file);
    }
    check_edit(memory, input);
    if (lw_inventory_take(&of_edit, 0, input) == LW_OK) {
        check_inventory(memory, &of_edit);
    }
    lw_memory_close(memory);
    return 0;
}
