/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a block. Properties:
 *   1. every move ends, and reads nothing outside (the sanitizer sees it);
 *   2. a cursor stands on an entry, or is beyond an end, or reports damage;
 *   3. in a block whose entries can all be read, ascend, and share all that they can with the key
 *      before but at restarts, as the builder has it and searching relies on, the way back meets
 * the same entries, and each is found;
 *   4. all of that holds of its image too, and of the image of any block that has one. */
#include "storage/block_entry.h"

enum { ENTRIES_MAX = 4096 };

/* Whether an entry shares with the key before it what the format says. */
static bool shares_all(const lw_block_cursor *cursor, lw_bytes before, lw_bytes key) {
    lw_block_head head;
    bool restart = false;
    for (uint32_t index = 0; index < cursor->block.restart_count && !restart; index++) {
        restart = lw_block_restart(&cursor->block, index) == cursor->offset;
    }
    return restart || (lw_block_head_read(&cursor->block, cursor->offset, &head) &&
                       head.shared_size == lw_common_prefix(before, key));
}

/* Walks forward; answers how many entries there are, or 0 if they cannot be read or do not ascend.
 * Where each one begins goes to `offsets`. */
static uint32_t walk(lw_block_cursor *cursor, lw_memory *memory, uint32_t *offsets) {
    uint32_t count = 0;
    bool ascending = true;
    lw_buffer before = lw_buffer_in(memory);
    uint64_t sequence = 0;
    for (bool on = lw_block_cursor_first(cursor); on; on = lw_block_cursor_next(cursor)) {
        const lw_entry *entry = lw_block_cursor_entry(cursor);
        LW_ASSERT(entry->key.size <= LW_TREE_KEY_SIZE_MAX);
        LW_ASSERT(entry->value.size <= LW_TREE_VALUE_SIZE_MAX);
        ascending = ascending && count < ENTRIES_MAX &&
                    (count == 0 || lw_entry_compare(lw_buffer_view(&before), sequence, entry->key,
                                                    entry->sequence) < 0) &&
                    (count == 0 || shares_all(cursor, lw_buffer_view(&before), entry->key));
        if (ascending) {
            offsets[count] = cursor->offset;
        }
        count++;
        lw_buffer_clear(&before);
        lw_buffer_append(&before, entry->key);
        sequence = entry->sequence;
    }
    lw_buffer_reset(&before);
    return ascending && !cursor->damaged ? count : 0;
}

static void check_back(lw_block_cursor *cursor, const uint32_t *offsets, uint32_t count) {
    bool on = lw_block_cursor_last(cursor);
    while (on) {
        LW_ASSERT(count > 0);
        LW_ASSERT(cursor->offset == offsets[--count]);
        on = lw_block_cursor_previous(cursor);
    }
    LW_ASSERT(count == 0 && !cursor->damaged);
}

/* Looks for what stands at `offset`, from a cursor of its own. */
static void check_found(lw_block_cursor *cursor, lw_block_cursor *seeker, bool sound) {
    for (bool on = lw_block_cursor_first(cursor); on; on = lw_block_cursor_next(cursor)) {
        const lw_entry *entry = lw_block_cursor_entry(cursor);
        bool found = lw_block_cursor_seek(seeker, entry->key, entry->sequence);
        LW_ASSERT(!sound || (found && seeker->offset == cursor->offset));
        lw_entry same;
        lw_block_found answer = lw_block_find(&cursor->block, entry->key, entry->sequence, &same);
        LW_ASSERT(!sound || (answer == LW_BLOCK_FOUND && same.sequence == entry->sequence));
        found = lw_block_cursor_seek_before(seeker, entry->key, entry->sequence);
        LW_ASSERT(!sound || !seeker->damaged);
        LW_ASSERT(!sound || (found ? seeker->next == cursor->offset : cursor->offset == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* `cursor` and `seeker` have been opened, on the block or its image. */
static bool exercise(lw_block_cursor *cursor, lw_block_cursor *seeker, lw_memory *memory) {
    static uint32_t offsets[ENTRIES_MAX];
    uint32_t count = walk(cursor, memory, offsets);
    bool sound = count > 0 && lw_block_cursor_check_restarts(cursor);
    if (sound) {
        check_back(cursor, offsets, count);
    } else {
        for (bool on = lw_block_cursor_last(cursor); on;) {
            on = lw_block_cursor_previous(cursor);
        }
    }
    check_found(cursor, seeker, sound);
    return sound;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lw_memory *memory = lw_memory_open();
    lw_bytes block = lw_copy(memory, lw_view(data, size));
    lw_block_cursor cursor = lw_block_cursor_in(memory), seeker = lw_block_cursor_in(memory);
    lw_block_plan plan;
    bool planned = lw_block_plan_make(block, &plan);
    if (lw_block_cursor_open(&cursor, block)) {
        LW_ASSERT(lw_block_cursor_open(&seeker, block));
        bool sound = exercise(&cursor, &seeker, memory);
        LW_ASSERT(planned || !sound);
    }
    if (planned) {
        uint8_t *image = lw_allocate(memory, plan.size);
        lw_block_image_write(&plan, image);
        lw_block_cursor_open_image(&cursor, image);
        lw_block_cursor_open_image(&seeker, image);
        (void)exercise(&cursor, &seeker, memory);
    }
    lw_memory_close(memory);
    return 0;
}
