/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a value file: as they came, and once more with every checksum mended that can be
 * found from the end. Properties:
 *   1. opening, inspecting and reading end in LW_OK or LW_CORRUPTION, and leave no memory behind;
 *   2. what the inspection calls sound is read whole: each value by its own key, both ways of
 *      reading alike, and by no other key;
 *   3. a reference that is accepted, written again, is the same bytes. */
#include "tests/memory_world.h"

#include "base/hash.h"
#include "storage/value_file.h"

static const char path[] = "v";

/* ---- mending --------------------------------------------------------------------------------- */

static void mend_footer(uint8_t *end) {
    memcpy(end, "LWVALUE\n", 8);
    lw_put_u32(end + 8, LW_VALUE_FORMAT);
    lw_put_u32(end + LW_VALUE_FOOTER_SIZE - 4,
               lw_crc32c(0, lw_view(end, LW_VALUE_FOOTER_SIZE - 4)));
}

/* The extent of the value that ends at `end`; 0 if there can be none. */
static uint64_t extent_before(const uint8_t *bytes, uint64_t end, lw_value_tail *tail) {
    if (end < LW_VALUE_TAIL_SIZE) {
        return 0;
    }
    *tail = lw_value_tail_read(bytes + end - LW_VALUE_TAIL_SIZE);
    if (!lw_value_sizes_valid(tail->value_size, tail->stored_size, tail->key_size)) {
        return 0;
    }
    lw_value_place place = {.value_size = tail->value_size, .stored_size = tail->stored_size};
    uint64_t extent = lw_value_extent(&place, tail->key_size);
    return extent <= end ? extent : 0;
}

/* Returns how many values stand one behind another up to the footer; fills in what they sum up to.
 */
static void mend(uint8_t *bytes, size_t size) {
    uint8_t *footer = bytes + size - LW_VALUE_FOOTER_SIZE;
    uint64_t number = lw_get_u64(footer + 12), count = 0, sum = 0, extent;
    uint64_t end = size - LW_VALUE_FOOTER_SIZE;
    lw_value_tail tail;
    for (; (extent = extent_before(bytes, end, &tail)) > 0; end -= extent) {
        uint64_t offset = end - extent;
        uint32_t checksum = lw_crc32c(lw_value_checksum_seed(number, offset),
                                      lw_view(bytes + offset, (size_t)extent - 4));
        lw_put_u32(bytes + end - 4, checksum);
        count++;
        sum += tail.value_size;
    }
    lw_put_u64(footer + 20, count);
    lw_put_u64(footer + 28, sum);
    mend_footer(footer);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool fine(lw_status status) {
    LW_ASSERT(status == LW_OK || status == LW_CORRUPTION);
    return status == LW_OK;
}

static void read_value(lw_env *env, lw_value_reader *reader, lw_bytes key,
                       const lw_value_place *place, bool sound) {
    lw_buffer value = lw_buffer_in(env->memory), extent = value, scratch = value;
    lw_bytes taken = {0};
    bool read = fine(lw_value_read(reader, key, place, &value));
    LW_ASSERT(!sound || read);
    LW_ASSERT(!read || value.size == place->value_size);
    size_t size = (size_t)lw_value_extent(place, key.size);
    bool ahead = fine(lw_value_read_ahead(reader, place->offset, size, &extent)) &&
                 extent.size == size &&
                 fine(lw_value_take(reader, key, place, lw_buffer_view(&extent), &scratch, &taken));
    LW_ASSERT(read == ahead);
    LW_ASSERT(!read || lw_equal(taken, lw_buffer_view(&value)));
    lw_buffer_clear(&value);
    if (key.size > 0) { /* another key, of the same size or of another */
        uint8_t *other = lw_allocate(env->memory, key.size);
        memcpy(other, key.data, key.size);
        other[0] ^= 1;
        LW_ASSERT(!fine(lw_value_read(reader, lw_view(other, key.size), place, &value)));
        LW_ASSERT(!fine(lw_value_read(reader, lw_view(key.data, key.size - 1), place, &value)));
        lw_free(env->memory, other);
    }
    lw_buffer_reset(&value);
    lw_buffer_reset(&extent);
    lw_buffer_reset(&scratch);
}

static void read_all(lw_env *env, lw_value_reader *reader, lw_bytes bytes, bool sound) {
    uint64_t end = bytes.size - LW_VALUE_FOOTER_SIZE, extent;
    lw_value_tail tail;
    for (; (extent = extent_before(bytes.data, end, &tail)) > 0; end -= extent) {
        lw_value_place place = {
            .offset = end - extent, .value_size = tail.value_size, .stored_size = tail.stored_size};
        lw_bytes key = lw_view(bytes.data + place.offset + place.stored_size, tail.key_size);
        read_value(env, reader, key, &place, sound);
    }
    LW_ASSERT(!sound || end == 0);
}

static void try_file(memory_world *world, lw_bytes bytes) {
    lw_env *env = &world->env;
    lw_buffer *file = &memory_world_file(world, path)->bytes;
    lw_buffer text = lw_buffer_in(env->memory);
    lw_value_reader *reader = NULL;
    lw_buffer_clear(file);
    lw_buffer_append(file, bytes);
    bool sound = fine(lw_value_inspect(env, path, &text));
    lw_buffer_reset(&text);
    if (bytes.size < LW_VALUE_FOOTER_SIZE) {
        LW_ASSERT(!sound);
        return;
    }
    uint64_t number = lw_get_u64(bytes.data + bytes.size - LW_VALUE_FOOTER_SIZE + 12);
    lw_value_file info = {.number = number, .origin = number, .size = bytes.size};
    lw_decompressor *decompressor = lw_decompressor_open(env->memory);
    if (fine(lw_value_reader_open(env, path, &info, decompressor, &reader))) {
        read_all(env, reader, bytes, sound);
        lw_value_reader_close(reader);
    } else {
        LW_ASSERT(!sound);
    }
    lw_decompressor_close(decompressor);
}

static void try_reference(lw_bytes bytes) {
    uint8_t again[LW_REFERENCE_SIZE_MAX];
    lw_reference reference;
    if (lw_reference_read(bytes, &reference)) {
        LW_ASSERT(lw_equal(lw_view(again, lw_reference_write(&reference, again)), bytes));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    memory_world *world = memory_world_open();
    lw_memory *memory = lw_memory_open();
    lw_handle file;
    LW_ASSERT(lw_file_open(&world->env, path, LW_OPEN_CREATE, &file) == LW_OK);
    lw_buffer *kept = &memory_world_file(world, path)->bytes;
    size_t used = lw_memory_used(world->env.memory) - kept->capacity;
    try_reference(lw_view(data, size));
    try_file(world, lw_view(data, size));
    if (size >= LW_VALUE_FOOTER_SIZE) {
        uint8_t *bytes = lw_allocate(memory, size);
        memcpy(bytes, data, size);
        mend(bytes, size);
        try_file(world, lw_view(bytes, size));
    }
    LW_ASSERT(lw_memory_used(world->env.memory) - kept->capacity == used);
    lw_memory_close(memory);
    memory_world_close(world);
    return 0;
}
