/* SPDX-License-Identifier: Apache-2.0 */
/* Value files in a world of memory: what is written is read, whatever its size; what is damaged is
 * never believed; and how many reads, writes and bytes of memory it takes. */
#include "tests/memory_world.h"
#include "tests/unit.h"

#include "storage/value_file.h"

enum { VALUE_COUNT = 40, NUMBER = 77 };

static struct {
    memory_world *world;
    lw_env *env;
    lw_value_place places[VALUE_COUNT];
    lw_value_file info;
    lw_decompressor *decompressor;
} bench;

static int open_bench(void **state) {
    (void)state;
    bench.world = memory_world_open();
    bench.env = &bench.world->env;
    bench.decompressor = lw_decompressor_open(bench.env->memory);
    return 0;
}

static int close_bench(void **state) {
    (void)state;
    memory_world_close(bench.world);
    return 0;
}

static lw_bytes key_of(uint32_t index, char text[16]) {
    snprintf(text, 16, "key%05u", (unsigned)index);
    return lw_text(text);
}

static size_t size_of(uint32_t index) {
    return index == 20 ? 300000 : 1 + index * 97;
}

/* A value of its own for each index. */
static lw_bytes value_of(uint32_t index, lw_buffer *to) {
    lw_buffer_clear(to);
    uint64_t chance = index;
    while (to->size < size_of(index)) {
        lw_buffer_append_u8(to, (uint8_t)unit_random(&chance));
    }
    return lw_buffer_view(to);
}

static void build(void) {
    lw_buffer value = lw_buffer_in(bench.env->memory);
    lw_value_builder *builder;
    char key[16];
    assert_int_equal(
        lw_value_builder_open(bench.env, "v", NUMBER, LW_COMPRESSION_NONE, 0, &builder), LW_OK);
    for (uint32_t index = 0; index < VALUE_COUNT; index++) {
        assert_int_equal(lw_value_builder_add(builder, key_of(index, key), value_of(index, &value),
                                              &bench.places[index]),
                         LW_OK);
    }
    bench.info = (lw_value_file){.number = NUMBER, .origin = NUMBER};
    assert_int_equal(lw_value_builder_finish(builder, &bench.info.size), LW_OK);
    lw_buffer_reset(&value);
}

static lw_value_reader *open_reader(void) {
    lw_value_reader *reader;
    if (lw_value_reader_open(bench.env, "v", &bench.info, bench.decompressor, &reader) != LW_OK) {
        fail_msg("%s", lw_error_slot()->text);
    }
    return reader;
}

static void every_value_is_read_as_it_was_written(void **state) {
    (void)state;
    lw_buffer expected = lw_buffer_in(bench.env->memory), value = lw_buffer_in(bench.env->memory);
    char key[16];
    build();
    assert_int_equal(memory_world_file(bench.world, "v")->synced_size, bench.info.size);
    lw_value_reader *reader = open_reader();
    for (uint32_t index = 0; index < VALUE_COUNT; index++) {
        value.size = 0;
        lw_buffer_append(&value, lw_text("before "));
        assert_int_equal(lw_value_read(reader, key_of(index, key), &bench.places[index], &value),
                         LW_OK);
        assert_memory_equal(value.data, "before ", 7);
        assert_true(lw_equal(lw_view(value.data + 7, value.size - 7), value_of(index, &expected)));
    }
    lw_value_reader_close(reader);
    lw_buffer_reset(&expected);
    lw_buffer_reset(&value);
}

static void values_that_stand_side_by_side_take_one_read(void **state) {
    (void)state;
    lw_buffer expected = lw_buffer_in(bench.env->memory), bytes = lw_buffer_in(bench.env->memory);
    lw_buffer scratch = lw_buffer_in(bench.env->memory);
    char key[16];
    build();
    lw_value_reader *reader = open_reader();
    uint64_t before = bench.world->read_count;
    assert_int_equal(lw_value_read_ahead(reader, bench.places[3].offset, 1 << 20, &bytes), LW_OK);
    for (uint32_t index = 3; index < VALUE_COUNT; index++) {
        const lw_value_place *place = &bench.places[index];
        lw_bytes name = key_of(index, key), found;
        const uint8_t *at = bytes.data + (place->offset - bench.places[3].offset);
        lw_bytes extent = lw_view(at, (size_t)lw_value_extent(place, name.size));
        assert_int_equal(lw_value_take(reader, name, place, extent, &scratch, &found), LW_OK);
        assert_true(lw_equal(found, value_of(index, &expected)));
    }
    assert_int_equal(bench.world->read_count - before, 1);
    assert_int_equal(bytes.size, bench.info.size - LW_VALUE_FOOTER_SIZE - bench.places[3].offset);
    lw_value_reader_close(reader);
    lw_buffer_reset(&expected);
    lw_buffer_reset(&bytes);
}

static void the_format_stays_what_it_is(void **state) {
    (void)state;
    lw_value_builder *builder;
    lw_value_place place;
    uint64_t size;
    assert_int_equal(lw_value_builder_open(bench.env, "v", 0x0102, LW_COMPRESSION_LZ4, 0, &builder),
                     LW_OK);
    assert_int_equal(lw_value_builder_add(builder, lw_text("key"), lw_text("value"), &place),
                     LW_OK);
    assert_int_equal(lw_value_builder_finish(builder, &size), LW_OK);
    const uint8_t expected[] = {'v',
                                'a',
                                'l',
                                'u',
                                'e',
                                'k',
                                'e',
                                'y',
                                5,
                                0,
                                0,
                                0,
                                5,
                                0,
                                0,
                                0,
                                3,
                                0,
                                0,
                                0,
                                0,
                                /* checksum */ 0xce,
                                0x69,
                                0x68,
                                0x23,
                                'L',
                                'W',
                                'V',
                                'A',
                                'L',
                                'U',
                                'E',
                                '\n',
                                1,
                                0,
                                0,
                                0,
                                0x02,
                                0x01,
                                0,
                                0,
                                0,
                                0,
                                0,
                                0,
                                1,
                                0,
                                0,
                                0,
                                0,
                                0,
                                0,
                                0,
                                5,
                                0,
                                0,
                                0,
                                0,
                                0,
                                0,
                                0,
                                /* checksum */ 0xe8,
                                0x9a,
                                0xe3,
                                0x38};
    const lw_buffer *bytes = &memory_world_file(bench.world, "v")->bytes;
    assert_int_equal(bytes->size, sizeof(expected));
    assert_memory_equal(bytes->data, expected, sizeof(expected));
}

static void a_reference_is_read_back_and_nothing_else_passes_for_one(void **state) {
    (void)state;
    lw_reference reference = {.file = 300, .place = {1u << 31, 70000, 60000}}, back;
    uint8_t bytes[LW_REFERENCE_SIZE_MAX + 1] = {0};
    size_t size = lw_reference_write(&reference, bytes);
    assert_true(lw_reference_read(lw_view(bytes, size), &back));
    assert_int_equal(back.file, 300);
    assert_int_equal(back.place.offset, 1u << 31);
    assert_int_equal(back.place.value_size, 70000);
    assert_int_equal(back.place.stored_size, 60000);
    assert_false(lw_reference_read(lw_view(bytes, size + 1), &back));
    for (size_t cut = 0; cut < size; cut++) {
        assert_false(lw_reference_read(lw_view(bytes, cut), &back));
    }
    const lw_reference impossible[] = {{0, {0, 0, 0}},
                                       {0, {0, 5, 6}},
                                       {0, {0, 5, 0}},
                                       {0, {0, 1u << 20, 10}},
                                       {0, {0, LW_TREE_VALUE_SIZE_MAX + 1, 1u << 24}}};
    for (size_t index = 0; index < sizeof(impossible) / sizeof(impossible[0]); index++) {
        size = lw_reference_write(&impossible[index], bytes);
        assert_false(lw_reference_read(lw_view(bytes, size), &back));
    }
}

static void expect_damage(lw_status status, const char *words) {
    assert_int_equal(status, LW_CORRUPTION);
    if (strstr(lw_error_slot()->text, words) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", words, lw_error_slot()->text);
    }
}

static void a_value_of_another_key_place_or_file_is_damage(void **state) {
    (void)state;
    lw_buffer value = lw_buffer_in(bench.env->memory);
    build();
    lw_value_reader *reader = open_reader();
    expect_damage(lw_value_read(reader, lw_text("key00004"), &bench.places[5], &value),
                  "the value file v is damaged at offset");
    expect_damage(lw_value_read(reader, lw_text("key00004"), &bench.places[5], &value),
                  "another key");
    lw_value_place beyond = {.offset = bench.info.size - 60, .value_size = 50, .stored_size = 50};
    expect_damage(lw_value_read(reader, lw_text("key00004"), &beyond, &value), "ends too early");
    beyond.offset = UINT64_MAX - 3;
    expect_damage(lw_value_read(reader, lw_text("key00004"), &beyond, &value), "ends too early");
    lw_value_reader_close(reader);
    /* The same bytes under another number: a file that came from somewhere else. */
    lw_value_file other = bench.info;
    other.origin++;
    expect_damage(lw_value_reader_open(bench.env, "v", &other, bench.decompressor, &reader),
                  "its number is not");
    other = bench.info;
    other.size--;
    expect_damage(lw_value_reader_open(bench.env, "v", &other, bench.decompressor, &reader),
                  "its size is not");
    expect_damage(lw_value_reader_open(bench.env, "w", &bench.info, bench.decompressor, &reader),
                  "is missing");
    assert_int_equal(value.size, 0);
    lw_buffer_reset(&value);
}

/* Reads every value: how many are right. Nothing may be read wrong. */
static uint32_t count_right(lw_value_reader *reader) {
    lw_buffer expected = lw_buffer_in(bench.env->memory), value = lw_buffer_in(bench.env->memory);
    uint32_t right = 0;
    char key[16];
    for (uint32_t index = 0; index < VALUE_COUNT; index++) {
        lw_buffer_clear(&value);
        lw_status status = lw_value_read(reader, key_of(index, key), &bench.places[index], &value);
        assert_true(status == LW_OK || status == LW_CORRUPTION);
        assert_true(status != LW_OK ||
                    lw_equal(lw_buffer_view(&value), value_of(index, &expected)));
        right += status == LW_OK;
    }
    lw_buffer_reset(&expected);
    lw_buffer_reset(&value);
    return right;
}

static void every_flipped_bit_is_noticed_and_costs_one_key_at_most(void **state) {
    (void)state;
    uint64_t chance = 1;
    build();
    uint8_t *bytes = memory_world_file(bench.world, "v")->bytes.data;
    for (uint64_t byte = 0;
         byte<bench.info.size; byte += byte> 70000 && byte < 300000 ? 19937 : 61) {
        lw_buffer text = lw_buffer_in(bench.env->memory);
        lw_value_reader *reader;
        uint8_t bit = (uint8_t)(1u << unit_random_below(&chance, 8));
        bytes[byte] ^= bit;
        assert_int_equal(lw_value_inspect(bench.env, "v", &text), LW_CORRUPTION);
        if (byte >= bench.info.size - LW_VALUE_FOOTER_SIZE) {
            expect_damage(
                lw_value_reader_open(bench.env, "v", &bench.info, bench.decompressor, &reader),
                "value file v");
        } else {
            reader = open_reader();
            assert_int_equal(count_right(reader), VALUE_COUNT - 1);
            lw_value_reader_close(reader);
        }
        bytes[byte] ^= bit;
        lw_buffer_reset(&text);
    }
}

static void the_inspection_names_every_value(void **state) {
    (void)state;
    lw_buffer text = lw_buffer_in(bench.env->memory);
    build();
    assert_int_equal(lw_value_inspect(bench.env, "v", &text), LW_OK);
    lw_buffer_append_u8(&text, 0);
    const char *words = (const char *)text.data;
    assert_non_null(strstr(words, "value file 77: format 1"));
    assert_non_null(strstr(words, "value at offset 0: 1 bytes for 1, key \"key00000\"\n"));
    assert_non_null(strstr(words, "key \"key00039\"\n"));
    assert_non_null(strstr(words, "verdict: sound\n"));
    lw_buffer_reset(&text);
}

static void a_value_of_the_greatest_size_is_never_in_memory_twice(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer value = lw_buffer_in(memory);
    lw_value_builder *builder;
    lw_value_place place;
    memset(lw_buffer_reserve(&value, LW_TREE_VALUE_SIZE_MAX), 'x', LW_TREE_VALUE_SIZE_MAX);
    value.size = LW_TREE_VALUE_SIZE_MAX;
    memory_file *file = NULL;
    assert_int_equal(
        lw_value_builder_open(bench.env, "v", NUMBER, LW_COMPRESSION_NONE, 0, &builder), LW_OK);
    file = memory_world_file(bench.world, "v");
    (void)lw_buffer_reserve(&file->bytes, LW_TREE_VALUE_SIZE_MAX + 4096);
    size_t before = lw_memory_used(bench.env->memory);
    assert_int_equal(lw_value_builder_add(builder, lw_text("k"), lw_buffer_view(&value), &place),
                     LW_OK);
    assert_true(lw_memory_used(bench.env->memory) - before < 1024 * 1024);
    bench.info = (lw_value_file){.number = NUMBER, .origin = NUMBER};
    assert_int_equal(lw_value_builder_finish(builder, &bench.info.size), LW_OK);
    lw_buffer_reset(&value);
    lw_value_reader *reader = open_reader();
    before = lw_memory_used(bench.env->memory);
    assert_int_equal(lw_value_read(reader, lw_text("k"), &place, &value), LW_OK);
    assert_int_equal(value.size, LW_TREE_VALUE_SIZE_MAX);
    assert_int_equal(lw_memory_used(bench.env->memory), before);
    assert_true(value.capacity < LW_TREE_VALUE_SIZE_MAX + 4096);
    lw_value_reader_close(reader);
    lw_memory_close(memory);
}

/* Builds with a compression, and reads every value back; returns the size of the file. */
static uint64_t build_compressed(lw_compression compression, int level) {
    enum { COUNT = 4 };
    const size_t sizes[COUNT] = {100, 5000, 200000, LW_VALUE_COMPRESS_MAX + 1};
    lw_memory *memory = lw_memory_open();
    lw_buffer text = lw_buffer_in(memory), value = lw_buffer_in(memory);
    lw_value_builder *builder;
    lw_value_place places[COUNT];
    while (text.size < sizes[COUNT - 1]) {
        lw_buffer_print(&text, "line %zu of a text that repeats itself\n", text.size);
    }
    assert_int_equal(lw_value_builder_open(bench.env, "v", NUMBER, compression, level, &builder),
                     LW_OK);
    for (size_t index = 0; index < COUNT; index++) {
        lw_bytes part = lw_view(text.data, sizes[index]);
        assert_int_equal(lw_value_builder_add(builder, lw_text("k"), part, &places[index]), LW_OK);
    }
    bench.info = (lw_value_file){.number = NUMBER, .origin = NUMBER};
    assert_int_equal(lw_value_builder_finish(builder, &bench.info.size), LW_OK);
    lw_value_reader *reader = open_reader();
    for (size_t index = 0; index < COUNT; index++) {
        lw_buffer_clear(&value);
        assert_int_equal(lw_value_read(reader, lw_text("k"), &places[index], &value), LW_OK);
        assert_true(lw_equal(lw_buffer_view(&value), lw_view(text.data, sizes[index])));
    }
    lw_value_reader_close(reader);
    lw_buffer_clear(&value);
    assert_int_equal(lw_value_inspect(bench.env, "v", &value), LW_OK);
    lw_memory_close(memory);
    assert_int_equal(lw_path_unlink(bench.env, "v"), LW_OK);
    return bench.info.size;
}

static void values_that_are_not_too_large_are_compressed(void **state) {
    (void)state;
    uint64_t plain = build_compressed(LW_COMPRESSION_NONE, 0);
    uint64_t quick = build_compressed(LW_COMPRESSION_LZ4, 0);
    uint64_t dense = build_compressed(LW_COMPRESSION_ZSTD, LW_ZSTD_DENSE);
    assert_true(plain - quick > 100000);
    assert_true(quick > LW_VALUE_COMPRESS_MAX); /* the largest is stored as it is */
    assert_true(dense < quick);
}

static void a_failed_write_leaves_nothing(void **state) {
    (void)state;
    lw_buffer value = lw_buffer_in(bench.env->memory);
    lw_value_builder *builder;
    lw_value_place place;
    uint64_t size;
    size_t before = lw_memory_used(bench.env->memory);
    assert_int_equal(
        lw_value_builder_open(bench.env, "v", NUMBER, LW_COMPRESSION_NONE, 0, &builder), LW_OK);
    assert_int_equal(lw_value_builder_add(builder, lw_text("k"), value_of(7, &value), &place),
                     LW_OK);
    lw_buffer_reset(&value);
    bench.world->failing_kind = LW_OP_WRITE;
    bench.world->failing_after = 0;
    assert_int_equal(lw_value_builder_finish(builder, &size), LW_INTERNAL);
    assert_null(memory_world_file(bench.world, "v"));
    assert_int_equal(lw_memory_used(bench.env->memory), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)
        STORY(every_value_is_read_as_it_was_written),
        STORY(values_that_stand_side_by_side_take_one_read),
        STORY(the_format_stays_what_it_is),
        STORY(a_reference_is_read_back_and_nothing_else_passes_for_one),
        STORY(a_value_of_another_key_place_or_file_is_damage),
        STORY(every_flipped_bit_is_noticed_and_costs_one_key_at_most),
        STORY(the_inspection_names_every_value),
        STORY(a_value_of_the_greatest_size_is_never_in_memory_twice),
        STORY(values_that_are_not_too_large_are_compressed),
        STORY(a_failed_write_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
