/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a table file. The fuzzer cannot guess checksums, so after the bytes as they came
 * they are tried again with every checksum mended that can be found. Properties:
 *   1. opening and every move end in LW_OK or LW_CORRUPTION, and leave no memory behind;
 *   2. what the inspection calls sound is read whole, forward and back, and each entry is found. */
#include "tests/memory_world.h"

#include "base/hash.h"
#include "storage/table_file.h"
#include "storage/table_index.h"

enum { CACHE_SIZE = 64 * 1024 * 1024 };

/* ---- mending --------------------------------------------------------------------------------- */

static void mend_part(uint8_t *bytes, const lw_part *part, size_t sealed_size) {
    uint8_t place[16];
    uint8_t *sealed = bytes + part->offset;
    lw_put_u64(place, part->number);
    lw_put_u64(place + 8, part->offset);
    sealed[sealed_size - 6] = (uint8_t)part->kind;
    uint32_t checksum = lw_crc32c(0, lw_view(place, sizeof(place)));
    lw_put_u32(sealed + sealed_size - 4, lw_crc32c(checksum, lw_view(sealed, sealed_size - 4)));
}

static void mend_blocks(uint8_t *bytes, const lw_table_footer *footer, lw_memory *memory) {
    lw_table_index index;
    lw_bytes view = lw_view(bytes + footer->index.offset, footer->index.size - LW_SEAL_SIZE);
    if (!lw_table_index_open(memory, view, footer->filter.offset, &index)) {
        return;
    }
    for (uint32_t block = 0; block < index.block_count; block++) {
        lw_table_place place = lw_table_index_place(&index, block);
        lw_part part = {LW_PART_DATA, footer->number, place.offset};
        mend_part(bytes, &part, place.sealed_size);
    }
    lw_table_index_close(&index);
}

/* Returns whether the bytes end in something like a footer; then the table's parts are valid to
 * their checksums. */
static bool mend(uint8_t *bytes, size_t size, lw_memory *memory) {
    if (size < LW_TABLE_FOOTER_SIZE) {
        return false;
    }
    uint8_t *end = bytes + size - LW_TABLE_FOOTER_SIZE;
    lw_put_u32(end + LW_TABLE_FOOTER_SIZE - 4,
               lw_crc32c(0, lw_view(end, LW_TABLE_FOOTER_SIZE - 4)));
    lw_table_footer footer;
    if (lw_table_footer_read(end, size, &footer) != NULL) {
        return false;
    }
    const lw_part filter = {LW_PART_FILTER, footer.number, footer.filter.offset};
    const lw_part index = {LW_PART_INDEX, footer.number, footer.index.offset};
    const lw_part properties = {LW_PART_PROPERTIES, footer.number, footer.properties.offset};
    mend_part(bytes, &filter, footer.filter.size);
    mend_part(bytes, &index, footer.index.size);
    mend_part(bytes, &properties, footer.properties.size);
    mend_blocks(bytes, &footer, memory);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool fine(lw_status status) {
    LW_ASSERT(status == LW_OK || status == LW_CORRUPTION);
    return status == LW_OK;
}

/* Walks to one end and says how many entries were met; `*whole` unless damage ended the walk. */
static size_t walk(lw_table_cursor *cursor, bool forward, bool *whole) {
    size_t count = 0;
    *whole = fine(forward ? lw_table_cursor_first(cursor) : lw_table_cursor_last(cursor));
    while (*whole && lw_table_cursor_entry(cursor) != NULL) {
        count++;
        *whole = fine(forward ? lw_table_cursor_next(cursor) : lw_table_cursor_previous(cursor));
    }
    LW_ASSERT(lw_table_cursor_entry(cursor) == NULL);
    return count;
}

static void seek_each(lw_table *table, lw_table_cursor *cursor, bool sound) {
    lw_table_cursor *seeker = lw_table_cursor_open(table);
    bool going = fine(lw_table_cursor_first(cursor));
    while (going && lw_table_cursor_entry(cursor) != NULL) {
        const lw_entry *entry = lw_table_cursor_entry(cursor);
        bool found = fine(lw_table_cursor_seek(seeker, entry->key, entry->sequence));
        const lw_entry *same = lw_table_cursor_entry(seeker);
        LW_ASSERT(!sound || (found && same != NULL && lw_equal(same->key, entry->key) &&
                             same->sequence == entry->sequence));
        LW_ASSERT(fine(lw_table_cursor_seek_before(seeker, entry->key)) || !sound);
        (void)lw_table_may_hold(table, entry->key);
        going = fine(lw_table_cursor_next(cursor));
    }
    lw_table_cursor_close(seeker);
}

static void read_table(lw_table *table, bool sound) {
    lw_table_cursor *cursor = lw_table_cursor_open(table);
    bool whole, whole_back;
    size_t count = walk(cursor, true, &whole);
    size_t count_back = walk(cursor, false, &whole_back);
    LW_ASSERT(!sound || (whole && whole_back && count == count_back && count > 0));
    seek_each(table, cursor, sound);
    lw_table_cursor_close(cursor);
}

static void try_file(memory_world *world, lw_bytes bytes) {
    lw_env *env = &world->env;
    lw_buffer *file = &memory_world_file(world, "t")->bytes;
    lw_buffer_clear(file);
    lw_buffer_append(file, bytes);
    lw_buffer text = lw_buffer_in(env->memory);
    bool sound = fine(lw_table_inspect(env, "t", &text));
    lw_buffer_reset(&text);
    if (bytes.size < LW_TABLE_FOOTER_SIZE) {
        LW_ASSERT(!sound);
        return;
    }
    uint64_t number = lw_get_u64(bytes.data + bytes.size - LW_TABLE_FOOTER_SIZE + 12);
    lw_table_info info = {
        .number = number,
        .origin = number,
        .size = bytes.size,
        .checksum = lw_get_u32(bytes.data + bytes.size - 4),
    };
    lw_budget *budget = lw_budget_make(env->memory, CACHE_SIZE);
    lw_cache *cache = lw_cache_open(env->memory, budget);
    lw_budget_release(budget);
    lw_table *table;
    if (fine(lw_table_open(env, cache, "t", &info, NULL, &table))) {
        read_table(table, sound);
        lw_table_close(table);
    } else {
        LW_ASSERT(!sound);
    }
    lw_cache_close(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    memory_world *world = memory_world_open();
    lw_memory *memory = lw_memory_open();
    lw_handle file;
    LW_ASSERT(lw_file_open(&world->env, "t", LW_OPEN_CREATE, &file) == LW_OK);
    lw_buffer *kept = &memory_world_file(world, "t")->bytes;
    size_t used = lw_memory_used(world->env.memory) - kept->capacity;
    try_file(world, lw_view(data, size));
    uint8_t *bytes = lw_allocate(memory, size);
    memcpy(bytes, data, size);
    if (mend(bytes, size, memory)) {
        try_file(world, lw_view(bytes, size));
    }
    LW_ASSERT(lw_memory_used(world->env.memory) - kept->capacity == used);
    lw_memory_close(memory);
    memory_world_close(world);
    return 0;
}
