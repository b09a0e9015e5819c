/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: the bytes, every move against a sorted array, filters and compression. */
#include "base/hash.h"
#include "tests/table_world.h"

/* ---- the format ------------------------------------------------------------------------------ */

static void the_bytes_are_the_format(void **state) {
    (void)state;
    /* clang-format off */
    static const uint8_t golden[] = {
        /* data */
        0x00, 0x0a, 0x90, 0x4e, 0x03, 0x61, 0x70, 0x70, 0x6c, 0x65, 0x72, 0x65, 0x64, 0x04, 0x03,
        0x07, 0x79, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0xce, 0x84, 0x64,
        0x3f,
        /* data */
        0x00, 0x06, 0x01, 0x12, 0x70, 0x65, 0x61, 0x67, 0x72, 0x65, 0x65, 0x6e, 0x20, 0x61, 0x6e,
        0x64, 0x20, 0x69, 0x6e, 0x20, 0x61, 0x20, 0x70, 0x6f, 0x64, 0x00, 0x00, 0x00, 0x00, 0x01,
        0x00, 0x00, 0x00, 0x01, 0x00, 0x85, 0x66, 0xdf, 0xb8,
        /* filter */
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
        0x01, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x10, 0x20, 0x01, 0x40, 0x00, 0x80, 0x20,
        0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x10,
        0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x01, 0x00,
        0x01, 0x00, 0x00, 0x00, 0x06, 0x03, 0x00, 0x21, 0xb0, 0x6e, 0x40,
        /* index */
        0x00, 0x00, 0x00, 0x02, 0x1f, 0x19, 0x00, 0x02, 0x00, 0x02, 0x70, 0x27, 0x21, 0x00, 0x00,
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0xcd, 0x62, 0xc1, 0x99,
        /* properties */
        0x9b, 0x03, 0x01, 0x01, 0xcd, 0x27, 0x10, 0xc4, 0x05, 0x61, 0x70, 0x70, 0x6c, 0x65, 0xc4,
        0x03, 0x70, 0x65, 0x61, 0x3a, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0xa2, 0xf0, 0x15, 0x4a,
        /* footer */
        0x4c, 0x57, 0x54, 0x41, 0x42, 0x4c, 0x45, 0x0a, 0x02, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x46, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x47, 0x00,
        0x00, 0x00, 0x8d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1b, 0x00, 0x00, 0x00, 0xa8,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1e, 0x00, 0x00, 0x00, 0x25, 0x59, 0xc8, 0x54,
    };
    /* clang-format on */
    lw_entry list[] = {
        {lw_text("apple"), 10000, LW_ENTRY_PUT, lw_text("red")},
        {lw_text("apply"), 7, LW_ENTRY_DELETE, lw_text("")},
        {lw_text("pea"), 1, LW_ENTRY_PUT, lw_text("green and in a pod")},
    };
    sorted_entries entries = {.list = list, .count = 3};
    fixture at = fixture_open(1 << 20);
    lw_table_options options = {.block_size = 60};
    build_and_open(&at, &entries, &options);
    const lw_buffer *bytes = file_bytes(&at);
    if (bytes->size != sizeof(golden) || memcmp(bytes->data, golden, sizeof(golden)) != 0) {
        for (size_t index = 0; index < bytes->size; index++) {
            printf("0x%02x,%s", bytes->data[index], index % 16 == 15 ? "\n" : " ");
        }
        fail_msg("the table of %zu bytes above is not the golden one", bytes->size);
    }
    fixture_close(&at);
}

/* ---- moves ----------------------------------------------------------------------------------- */

static void every_move_agrees_with_a_sorted_array(void **state) {
    (void)state;
    const uint32_t block_sizes[] = {1, 60, 300, 4096};
    const size_t budgets[] = {80 * 1000, 120 * 1000, 16 << 20};
    for (uint64_t seed = 0; seed < 60; seed++) {
        fixture at = fixture_open(budgets[seed % 3]);
        sorted_shape shape = (sorted_shape)(seed % SORTED_SHAPES);
        sorted_entries entries = sorted_make(at.memory, shape, seed, 1 + 3 * seed);
        sorted_entries strange = sorted_make(at.memory, shape, seed + 1000, 50);
        lw_table_options options = {.block_size = block_sizes[seed % 4],
                                    .restart_interval = 1 + (uint32_t)(seed % 5),
                                    .compression = (lw_compression)(seed / 5 % 3)};
        build_and_open(&at, &entries, &options);
        assert_walks(at.table, &entries);
        lw_table_cursor *cursor = lw_table_cursor_open(at.table);
        for (size_t index = 0; index < entries.count; index++) {
            const lw_entry *entry = &entries.list[index];
            assert_true(lw_table_may_hold(at.table, entry->key));
            assert_seeks(cursor, &entries, entry->key, entry->sequence);
            assert_seeks(cursor, &entries, entry->key, UINT64_MAX);
            assert_seeks(cursor, &entries, entry->key, 0);
            assert_gets(&at, &entries, entry->key, entry->sequence);
            assert_gets(&at, &entries, entry->key, UINT64_MAX);
            assert_gets(&at, &entries, entry->key, 0);
        }
        for (size_t index = 0; index < strange.count; index++) {
            const lw_entry *entry = &strange.list[index];
            assert_seeks(cursor, &entries, entry->key, entry->sequence);
            assert_gets(&at, &entries, entry->key, entry->sequence);
        }
        lw_table_cursor_close(cursor);
        fixture_close(&at);
    }
}

/* The end of the same table as the versions before wrote it; what stands before is the same. */
static void a_table_of_format_1_is_still_read(void **state) {
    (void)state;
    /* clang-format off */
    static const uint8_t end[] = {
        /* properties */
        0x96, 0x03, 0x01, 0x01, 0xcd, 0x27, 0x10, 0xc4, 0x05, 0x61, 0x70, 0x70, 0x6c, 0x65, 0xc4,
        0x03, 0x70, 0x65, 0x61, 0x04, 0x00, 0x3a, 0xf7, 0x17, 0x51,
        /* footer */
        0x4c, 0x57, 0x54, 0x41, 0x42, 0x4c, 0x45, 0x0a, 0x01, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x46, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x47, 0x00,
        0x00, 0x00, 0x8d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1b, 0x00, 0x00, 0x00, 0xa8,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x19, 0x00, 0x00, 0x00, 0xe3, 0xc6, 0xb3, 0x69,
    };
    /* clang-format on */
    enum { PROPERTIES_OFFSET = 0xa8 };
    lw_entry list[] = {
        {lw_text("apple"), 10000, LW_ENTRY_PUT, lw_text("red")},
        {lw_text("apply"), 7, LW_ENTRY_DELETE, lw_text("")},
        {lw_text("pea"), 1, LW_ENTRY_PUT, lw_text("green and in a pod")},
    };
    sorted_entries entries = {.list = list, .count = 3};
    fixture at = fixture_open(1 << 20);
    lw_table_options options = {.block_size = 60};
    assert_ok(build(&at, "t", 7, &entries, &options));
    file_bytes(&at)->size = PROPERTIES_OFFSET;
    lw_buffer_append(file_bytes(&at), lw_view(end, sizeof(end)));
    at.info.size = file_bytes(&at)->size;
    at.info.checksum = lw_get_u32(end + sizeof(end) - 4);
    assert_ok(reopen(&at, NULL));
    assert_walks(at.table, &entries);
    lw_buffer text = lw_buffer_in(at.memory);
    assert_ok(lw_table_inspect(at.env, "t", &text));
    lw_buffer_append_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data, "table 7: format 1, 253 bytes\n  3 entries"));
    assert_null(strstr((const char *)text.data, "before compression"));
    fixture_close(&at);
}

/* It is whole, so it is no damage: nobody must repair or drop it. */
static void a_table_of_a_later_format_is_refused(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    assert_ok(build(&at, "t", 7, &entries, NULL));
    uint8_t *footer = file_bytes(&at)->data + at.info.size - LW_TABLE_FOOTER_SIZE;
    footer[8] = LW_TABLE_FORMAT + 1;
    assert_int_equal(reopen(&at, NULL), LW_CORRUPTION);
    at.info.checksum = lw_crc32c(0, lw_view(footer, LW_TABLE_FOOTER_SIZE - 4));
    lw_put_u32(footer + LW_TABLE_FOOTER_SIZE - 4, at.info.checksum);
    assert_int_equal(reopen(&at, NULL), LW_REFUSED);
    assert_non_null(strstr(lw_error_slot()->text, "has format 3, and this version reads 1 to 2"));
    fixture_close(&at);
}

static void what_the_builder_tells_is_true(void **state) {
    (void)state;
    lw_entry list[] = {
        {lw_text("a"), UINT64_MAX, LW_ENTRY_PUT, lw_text("1")},
        {lw_text("a"), 40, LW_ENTRY_DELETE, lw_text("")},
        {lw_text("c"), 50, LW_ENTRY_DELETE, lw_text("")},
        {lw_text("dd"), 60, LW_ENTRY_PUT, lw_text("")},
    };
    sorted_entries entries = {.list = list, .count = 4};
    fixture at = fixture_open(1 << 20);
    build_and_open(&at, &entries, NULL);
    const memory_file *file = memory_world_file(at.world, "t");
    assert_int_equal(at.info.number, 7);
    assert_int_equal(at.info.size, file->bytes.size);
    assert_int_equal(file->synced_size, file->bytes.size);
    assert_int_equal(at.info.checksum, lw_get_u32(file->bytes.data + file->bytes.size - 4));
    assert_int_equal(at.info.entry_count, 4);
    assert_int_equal(at.info.delete_count, 2);
    assert_int_equal(at.info.sequence_min, 40);
    assert_true(at.info.sequence_max == UINT64_MAX);
    assert_true(lw_equal(at.info.key_min, lw_text("a")));
    assert_true(lw_equal(at.info.key_max, lw_text("dd")));
    fixture_close(&at);
}

static void the_largest_entry_stands_in_a_block_of_its_own(void **state) {
    (void)state;
    fixture at = fixture_open(64 << 20);
    uint8_t *bytes = lw_allocate(at.memory, LW_TREE_VALUE_SIZE_MAX);
    memset(bytes, 'v', LW_TREE_VALUE_SIZE_MAX);
    lw_bytes largest = lw_view(bytes, LW_TREE_VALUE_SIZE_MAX);
    lw_entry list[] = {
        {lw_text("a"), 1, LW_ENTRY_PUT, lw_text("small")},
        {lw_view(bytes, LW_TREE_KEY_SIZE_MAX), 2, LW_ENTRY_PUT, largest},
        {lw_text("w"), 3, LW_ENTRY_PUT, lw_text("small")},
    };
    sorted_entries entries = {.list = list, .count = 3};
    for (int compression = 0; compression < 3; compression++) {
        lw_table_options options = {.compression = (lw_compression)compression};
        build_and_open(&at, &entries, &options);
        assert_walks(at.table, &entries);
        lw_table_close(at.table);
        at.table = NULL;
        lw_cache_forget(at.cache, 7);
        assert_ok(lw_path_unlink(at.env, "t"));
    }
    fixture_close(&at);
}

static void moves_within_the_cache_read_no_file(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 1, 500);
    build_and_open(&at, &entries, NULL);
    assert_walk(lw_table_cursor_open(at.table), &entries);
    uint64_t read_count = at.world->read_count;
    assert_walk(lw_table_cursor_open(at.table), &entries);
    assert_int_equal(at.world->read_count, read_count);
    fixture_close(&at);
}

static void an_open_table_charges_its_filter_and_its_index(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 1, 500);
    lw_table_options options = {.block_size = 1};
    size_t used = lw_memory_used(at.env->memory);
    build_and_open(&at, &entries, &options);
    const lw_budget *budget = lw_cache_budget(at.cache);
    size_t charged = lw_budget_of_tables(budget);
    assert_true(budget->parts[LW_BUDGET_FILTERS] > 500);
    assert_true(budget->parts[LW_BUDGET_INDEXES] > 500);
    size_t taken = lw_memory_used(at.env->memory) - used - file_bytes(&at)->capacity;
    assert_true(charged <= taken);
    assert_true(taken - charged < 600);
    fixture_close(&at);
}

/* ---- filter, compression, writing ------------------------------------------------------------ */

static size_t part_of_three(lw_bytes key) {
    return key.size < 3 ? key.size : 3;
}

static void the_filter_asks_for_the_part_of_the_key_that_versions_share(void **state) {
    (void)state;
    lw_entry list[] = {
        {lw_text("abc/1"), 1, LW_ENTRY_PUT, lw_text("")},
        {lw_text("abc/2"), 1, LW_ENTRY_PUT, lw_text("")},
        {lw_text("xy"), 1, LW_ENTRY_PUT, lw_text("")},
    };
    sorted_entries entries = {.list = list, .count = 3};
    fixture at = fixture_open(1 << 20);
    lw_table_options options = {.filter_part = part_of_three};
    build_and_open(&at, &entries, &options);
    assert_true(lw_table_may_hold(at.table, lw_text("abc/7 of which nobody heard")));
    assert_true(lw_table_may_hold(at.table, lw_text("xy")));
    size_t count = 0;
    for (int letter = 'd'; letter <= 'z'; letter++) {
        uint8_t key[] = {(uint8_t)letter, 'b', 'c'};
        count += lw_table_may_hold(at.table, lw_view(key, sizeof(key)));
    }
    assert_true(count <= 2);
    assert_true(memory_world_marked(at.world, "table.filter_denied"));
    fixture_close(&at);
}

/* The size of a table of 1,000 values of 64 bytes, of which the last `zero_size` say nothing. */
static uint64_t compressed_table_size(lw_compression compression, size_t zero_size,
                                      bool *incompressible) {
    uint64_t chance = 3;
    fixture at = fixture_open(1 << 20);
    lw_table_builder *builder;
    lw_table_options options = {.compression = compression};
    assert_ok(lw_table_builder_open(at.env, "t", 7, &options, &builder));
    for (uint64_t index = 0; index < 1000; index++) {
        uint8_t key[8], value[64] = {0};
        lw_put_u64_sorted(key, index);
        for (size_t byte = 0; byte < sizeof(value) - zero_size; byte++) {
            value[byte] = (uint8_t)unit_random(&chance);
        }
        lw_entry entry = {lw_view(key, sizeof(key)), 1, LW_ENTRY_PUT,
                          lw_view(value, sizeof(value))};
        assert_ok(lw_table_builder_add(builder, &entry));
    }
    assert_ok(lw_table_builder_finish(builder, &at.arena, &at.info));
    *incompressible = memory_world_marked(at.world, "table.block_incompressible");
    uint64_t size = at.info.size;
    fixture_close(&at);
    return size;
}

static void a_block_is_compressed_where_that_saves_an_eighth(void **state) {
    (void)state;
    bool incompressible;
    for (lw_compression compression = LW_COMPRESSION_LZ4; compression <= LW_COMPRESSION_ZSTD;
         compression++) {
        assert_true(compressed_table_size(compression, 64, &incompressible) < 20 * 1000);
        assert_false(incompressible);
        assert_true(compressed_table_size(compression, 24, &incompressible) < 60 * 1000);
        assert_false(incompressible);
        uint64_t plain_size = compressed_table_size(compression, 0, &incompressible);
        assert_true(incompressible);
        /* A few bytes could be saved here, too few to pay a decompression at each read. */
        assert_int_equal(compressed_table_size(compression, 2, &incompressible), plain_size);
        assert_true(incompressible);
    }
}

static void writes_are_gathered(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_LARGE, 1, 200);
    build_and_open(&at, &entries, NULL);
    assert_true(at.info.size > 1 << 20);
    assert_in_range(at.world->write_count, 2, at.info.size / (256 * 1024) + 1);
    assert_walks(at.table, &entries);
    fixture_close(&at);
}

static void tiny_blocks_are_a_rare_path_that_reads_the_same(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    at.world->rare = "table.tiny_blocks";
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 1, 100);
    build_and_open(&at, &entries, NULL);
    assert_walks(at.table, &entries);
    lw_cache_figures figures;
    lw_cache_figures_get(at.cache, &figures);
    assert_true(figures.misses > 20);
    fixture_close(&at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_the_format),
        cmocka_unit_test(a_table_of_format_1_is_still_read),
        cmocka_unit_test(a_table_of_a_later_format_is_refused),
        cmocka_unit_test(what_the_builder_tells_is_true),
        cmocka_unit_test(every_move_agrees_with_a_sorted_array),
        cmocka_unit_test(the_largest_entry_stands_in_a_block_of_its_own),
        cmocka_unit_test(moves_within_the_cache_read_no_file),
        cmocka_unit_test(an_open_table_charges_its_filter_and_its_index),
        cmocka_unit_test(the_filter_asks_for_the_part_of_the_key_that_versions_share),
        cmocka_unit_test(a_block_is_compressed_where_that_saves_an_eighth),
        cmocka_unit_test(writes_are_gathered),
        cmocka_unit_test(tiny_blocks_are_a_rare_path_that_reads_the_same),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
