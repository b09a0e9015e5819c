/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: the bytes, every move against a sorted array, and what happens when the file, the disk or
 * another fiber interferes. */
#include "base/hash.h"
#include "storage/table_file.h"

#include "tests/memory_world.h"
#include "tests/sorted_entries.h"

/* A finished table in a world of its own. */
typedef struct fixture {
    memory_world *world;
    lw_env *env;
    lw_memory *memory;
    lw_arena arena;
    lw_cache *cache;
    lw_table_info info;
    lw_table *table;
} fixture;

static void assert_ok(lw_status status) {
    if (status != LW_OK) {
        fail_msg("%s: %s", lw_status_name(status), lw_error_slot()->text);
    }
}

static fixture fixture_open(size_t cache_budget) {
    fixture made = {.world = memory_world_open()};
    made.env = &made.world->env;
    made.memory = lw_memory_open();
    made.arena = lw_arena_in(made.memory);
    lw_budget *budget = lw_budget_make(made.memory, cache_budget);
    made.cache = lw_cache_open(made.memory, budget);
    lw_budget_release(budget);
    return made;
}

static void fixture_close(fixture *of) {
    if (of->table != NULL) {
        lw_table_close(of->table);
    }
    lw_cache_figures figures;
    lw_cache_figures_get(of->cache, &figures);
    assert_int_equal(figures.pinned, 0);
    assert_int_equal(lw_cache_budget(of->cache)->used, figures.used);
    lw_cache_close(of->cache);
    lw_memory_close(of->memory);
    memory_world_close(of->world);
}

static lw_status build(fixture *in, const char *path, uint64_t number,
                       const sorted_entries *entries, const lw_table_options *options) {
    lw_table_builder *builder;
    LW_TRY(lw_table_builder_open(in->env, path, number, options, &builder));
    for (size_t index = 0; index < entries->count; index++) {
        lw_status status = lw_table_builder_add(builder, &entries->list[index]);
        if (status != LW_OK) {
            lw_table_builder_abandon(builder);
            return status;
        }
    }
    return lw_table_builder_finish(builder, &in->arena, &in->info);
}

static lw_status reopen(fixture *in, lw_filter_part filter_part) {
    if (in->table != NULL) {
        lw_table_close(in->table);
        in->table = NULL;
    }
    lw_cache_forget(in->cache, in->info.number);
    return lw_table_open(in->env, in->cache, "t", &in->info, filter_part, &in->table);
}

static void build_and_open(fixture *in, const sorted_entries *entries,
                           const lw_table_options *options) {
    assert_ok(build(in, "t", 7, entries, options));
    assert_ok(reopen(in, options != NULL ? options->filter_part : NULL));
}

static lw_buffer *file_bytes(const fixture *of) {
    return &memory_world_file(of->world, "t")->bytes;
}

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

static void assert_walk(lw_table_cursor *cursor, const sorted_entries *entries) {
    assert_null(lw_table_cursor_entry(cursor));
    assert_ok(lw_table_cursor_first(cursor));
    for (size_t index = 0; index < entries->count; index++) {
        sorted_assert_at(entries, index, lw_table_cursor_entry(cursor));
        assert_true(index == 0 ||
                    lw_table_cursor_repeats(cursor) ==
                        lw_equal(entries->list[index].key, entries->list[index - 1].key));
        assert_ok(lw_table_cursor_next(cursor));
    }
    assert_null(lw_table_cursor_entry(cursor));
    assert_ok(lw_table_cursor_last(cursor));
    for (size_t index = entries->count; index-- > 0;) {
        sorted_assert_at(entries, index, lw_table_cursor_entry(cursor));
        assert_ok(lw_table_cursor_previous(cursor));
    }
    assert_null(lw_table_cursor_entry(cursor));
    lw_table_cursor_close(cursor);
}

static void assert_walks(lw_table *table, const sorted_entries *entries) {
    assert_walk(lw_table_cursor_open(table), entries);
    assert_walk(lw_table_cursor_open_once(table), entries);
}

static void assert_gets(fixture *at, const sorted_entries *entries, lw_bytes key,
                        uint64_t sequence) {
    size_t index = sorted_seek(entries, key, sequence);
    const lw_entry *expected = index < entries->count ? &entries->list[index] : NULL;
    lw_buffer value = lw_buffer_in(at->memory);
    lw_entry_kind kind;
    lw_status status = lw_table_get(at->table, key, sequence, &value, &kind);
    if (expected == NULL || !lw_equal(expected->key, key)) {
        assert_int_equal(status, LW_NOT_FOUND);
    } else {
        assert_ok(status);
        assert_int_equal(kind, expected->kind);
        assert_true(lw_equal(lw_buffer_view(&value), expected->value));
    }
    lw_buffer_reset(&value);
}

static void assert_seeks(lw_table_cursor *cursor, const sorted_entries *entries, lw_bytes key,
                         uint64_t sequence) {
    size_t index = sorted_seek(entries, key, sequence);
    assert_ok(lw_table_cursor_seek(cursor, key, sequence));
    sorted_assert_at(entries, index, lw_table_cursor_entry(cursor));
    if (index < entries->count) {
        assert_ok(lw_table_cursor_previous(cursor));
        sorted_assert_at(entries, index - 1, lw_table_cursor_entry(cursor));
    }
    index = sorted_seek(entries, key, UINT64_MAX);
    assert_ok(lw_table_cursor_seek_before(cursor, key));
    sorted_assert_at(entries, index - 1, lw_table_cursor_entry(cursor));
    if (index > 0) {
        assert_ok(lw_table_cursor_next(cursor));
        sorted_assert_at(entries, index, lw_table_cursor_entry(cursor));
    }
}

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

/* ---- damage ---------------------------------------------------------------------------------- */

typedef enum outcome { SAME, DETECTED, WRONG } outcome;

/* Whether a table still reads as it was written, every way there is to read it. */
static outcome judge(fixture *in, const sorted_entries *entries) {
    lw_status status = reopen(in, NULL);
    if (status != LW_OK) {
        assert_int_equal(status, LW_CORRUPTION);
        assert_non_null(strstr(lw_error_slot()->text, "the table t is damaged at offset "));
        return DETECTED;
    }
    lw_table_cursor *cursor = lw_table_cursor_open(in->table);
    outcome so_far = SAME;
    for (size_t index = 0; index < entries->count && so_far == SAME; index++) {
        const lw_entry *wanted = &entries->list[index];
        if (!lw_table_may_hold(in->table, wanted->key)) {
            so_far = WRONG;
            break;
        }
        status = index % 2 == 0 || lw_table_cursor_entry(cursor) == NULL
                     ? lw_table_cursor_seek(cursor, wanted->key, wanted->sequence)
                     : lw_table_cursor_next(cursor);
        const lw_entry *entry = lw_table_cursor_entry(cursor);
        if (status != LW_OK) {
            assert_int_equal(status, LW_CORRUPTION);
            assert_null(entry);
            so_far = DETECTED;
        } else if (entry == NULL || sorted_compare(entry, wanted) != 0 ||
                   entry->kind != wanted->kind || !lw_equal(entry->value, wanted->value)) {
            so_far = WRONG;
        }
    }
    lw_table_cursor_close(cursor);
    return so_far;
}

typedef struct flips {
    size_t same, detected, wrong;
    size_t property_bits; /* which only the inspection reads */
} flips;

/* Flips each bit of a small table, one at a time. */
static flips flip_every_bit(const char *bug, lw_compression compression) {
    flips counted = {0};
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    lw_table_options options = {.block_size = 200, .compression = compression};
    build_and_open(&at, &entries, &options);
    assert_int_equal(judge(&at, &entries), SAME);
    at.world->bug = bug;
    counted.property_bits = (size_t)8 * lw_get_u32(file_bytes(&at)->data + at.info.size - 8);
    for (size_t bit = 0; bit < at.info.size * 8; bit++) {
        uint8_t *byte = &file_bytes(&at)->data[bit / 8];
        *byte ^= (uint8_t)(1U << (bit % 8));
        outcome judged = judge(&at, &entries);
        *(judged == SAME       ? &counted.same
          : judged == DETECTED ? &counted.detected
                               : &counted.wrong) += 1;
        *byte ^= (uint8_t)(1U << (bit % 8));
        if (judged == SAME && bug == NULL) {
            lw_buffer text = lw_buffer_in(at.memory);
            *byte ^= (uint8_t)(1U << (bit % 8));
            assert_int_equal(lw_table_inspect(at.env, "t", &text), LW_CORRUPTION);
            *byte ^= (uint8_t)(1U << (bit % 8));
            lw_buffer_reset(&text);
        }
    }
    assert_int_equal(judge(&at, &entries), SAME);
    fixture_close(&at);
    return counted;
}

static void no_flipped_bit_is_ever_believed(void **state) {
    (void)state;
    for (int compression = 0; compression < 3; compression++) {
        flips counted = flip_every_bit(NULL, (lw_compression)compression);
        assert_int_equal(counted.wrong, 0);
        assert_int_equal(counted.same, counted.property_bits);
        /* And the checksum is what sees it: without it, wrong entries come out. */
        counted = flip_every_bit("table.no_checksum", (lw_compression)compression);
        assert_true(counted.wrong > 100);
    }
}

static void a_table_cut_anywhere_is_refused(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    build_and_open(&at, &entries, NULL);
    for (size_t size = file_bytes(&at)->size; size-- > 0;) {
        file_bytes(&at)->size = size;
        assert_int_equal(judge(&at, &entries), DETECTED);
        at.info.size = size;
        assert_int_equal(judge(&at, &entries), DETECTED);
    }
    fixture_close(&at);
}

static void a_file_cut_while_it_is_open_is_damage(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    build_and_open(&at, &entries, NULL);
    file_bytes(&at)->size = 100;
    lw_table_cursor *cursor = lw_table_cursor_open(at.table);
    assert_int_equal(lw_table_cursor_first(cursor), LW_CORRUPTION);
    assert_non_null(strstr(lw_error_slot()->text, "offset 0: the file ends too early"));
    assert_null(lw_table_cursor_entry(cursor));
    lw_table_cursor_close(cursor);
    fixture_close(&at);
}

static void only_the_table_that_the_catalog_names_is_opened(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    build_and_open(&at, &entries, NULL);
    lw_table_info info = at.info;
    at.info.origin++;
    assert_int_equal(judge(&at, &entries), DETECTED);
    at.info = info;
    at.info.number++; /* as one that was ingested: only its name is another */
    assert_int_equal(judge(&at, &entries), SAME);
    at.info = info;
    at.info.checksum++;
    assert_int_equal(judge(&at, &entries), DETECTED);
    at.info = info;
    at.info.size++;
    assert_int_equal(judge(&at, &entries), DETECTED);
    at.info = info;
    assert_int_equal(judge(&at, &entries), SAME);
    assert_ok(lw_path_unlink(at.env, "t"));
    assert_int_equal(judge(&at, &entries), DETECTED);
    fixture_close(&at);
}

/* What a misdirected write or a stale sector leaves: a whole block with a valid checksum,
 * elsewhere. */
static void a_block_of_another_table_or_place_is_not_believed(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    lw_entry list[] = {
        {lw_text("a"), 1, LW_ENTRY_PUT, lw_text("one")},
        {lw_text("b"), 1, LW_ENTRY_PUT, lw_text("two")},
    };
    sorted_entries entries = {.list = list, .count = 2};
    lw_table_options options = {.block_size = 1};
    assert_ok(build(&at, "other", 8, &entries, &options));
    build_and_open(&at, &entries, &options);
    uint8_t *bytes = file_bytes(&at)->data;
    const uint8_t *other = memory_world_file(at.world, "other")->bytes.data;
    enum { SEALED_SIZE = 8 + 8 + 6 };
    uint8_t first[SEALED_SIZE], second[SEALED_SIZE];
    memcpy(first, bytes, SEALED_SIZE);
    memcpy(second, bytes + SEALED_SIZE, SEALED_SIZE);
    assert_int_equal(judge(&at, &entries), SAME);
    memcpy(bytes, other, SEALED_SIZE);
    assert_int_equal(judge(&at, &entries), DETECTED);
    memcpy(bytes, second, SEALED_SIZE);
    assert_int_equal(judge(&at, &entries), DETECTED);
    memcpy(bytes, first, SEALED_SIZE);
    assert_int_equal(judge(&at, &entries), SAME);
    fixture_close(&at);
}

/* ---- one block after another ----------------------------------------------------------------- */

enum { SERIES_COUNT = 4000 };

/* Entries of about 100 bytes with keys in series. */
static sorted_entries series_make(lw_memory *memory) {
    sorted_entries made = {.list = lw_allocate(memory, SERIES_COUNT * sizeof(lw_entry)),
                           .count = SERIES_COUNT};
    for (size_t index = 0; index < SERIES_COUNT; index++) {
        lw_buffer key = lw_buffer_in(memory);
        lw_buffer_print(&key, "key %06zu", index);
        uint8_t *value = lw_allocate(memory, 90);
        memset(value, (int)index & 0xff, 90);
        made.list[index] = (lw_entry){lw_buffer_view(&key), 1, LW_ENTRY_PUT, lw_view(value, 90)};
    }
    return made;
}

static void walks_read_ahead_in_growing_pieces(void **state) {
    (void)state;
    enum { WHOLE = 128 << 20, PIECES = 3 + 400 / 256 + 1 }; /* 16, 32, 64, ... of 400 KB */
    fixture at = fixture_open(WHOLE);
    sorted_entries entries = series_make(at.memory);
    build_and_open(&at, &entries, NULL);
    uint64_t reads = at.world->read_count;
    assert_walk(lw_table_cursor_open(at.table), &entries);
    assert_in_range(at.world->read_count - reads, 3, 1 + PIECES + 1);
    assert_int_equal(lw_cache_budget(at.cache)->parts[LW_BUDGET_BUFFERS], 0);
    assert_ok(reopen(&at, NULL));
    reads = at.world->read_count;
    lw_table_cursor *back = lw_table_cursor_open(at.table);
    assert_ok(lw_table_cursor_last(back));
    while (lw_table_cursor_entry(back) != NULL) {
        assert_ok(lw_table_cursor_previous(back));
    }
    lw_table_cursor_close(back);
    assert_in_range(at.world->read_count - reads, 3, 1 + PIECES + 1);
    fixture_close(&at);
}

/* A seek is no walk: what comes next is read only when it is wanted. */
static void a_seek_reads_one_block(void **state) {
    (void)state;
    fixture at = fixture_open(64 << 20);
    sorted_entries entries = series_make(at.memory);
    build_and_open(&at, &entries, NULL);
    lw_table_cursor *cursor = lw_table_cursor_open(at.table);
    for (size_t index = 0; index < entries.count; index += 500) {
        uint64_t reads = at.world->read_count;
        assert_ok(lw_table_cursor_seek(cursor, entries.list[index].key, 1));
        assert_int_equal(at.world->read_count, reads + 1);
        assert_int_equal(lw_cache_budget(at.cache)->parts[LW_BUDGET_BUFFERS], 0);
    }
    lw_table_cursor_close(cursor);
    fixture_close(&at);
}

static void single_blocks_are_read_past_the_page_cache(void **state) {
    (void)state;
    fixture at = fixture_open(64 << 20);
    sorted_entries entries = series_make(at.memory);
    build_and_open(&at, &entries, NULL);
    assert_true(lw_table_read_direct(at.table));
    lw_buffer value = lw_buffer_in(at.memory);
    lw_entry_kind kind;
    for (size_t index = 0; index < entries.count; index += 7) {
        lw_buffer_clear(&value);
        assert_ok(lw_table_get(at.table, entries.list[index].key, 1, &value, &kind));
        assert_true(lw_equal(lw_buffer_view(&value), entries.list[index].value));
    }
    uint64_t direct_reads = at.world->direct_read_count;
    assert_true(direct_reads > 50);
    assert_int_equal(lw_cache_budget(at.cache)->parts[LW_BUDGET_BUFFERS], 0);
    /* What reads ahead profits from what the page cache has. */
    assert_ok(reopen(&at, NULL));
    assert_true(lw_table_read_direct(at.table));
    assert_walk(lw_table_cursor_open(at.table), &entries);
    assert_in_range(at.world->direct_read_count - direct_reads, 0, 1);
    lw_buffer_reset(&value);
    fixture_close(&at);
}

static void a_file_cut_under_direct_reads_is_damage(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    build_and_open(&at, &entries, NULL);
    assert_true(lw_table_read_direct(at.table));
    file_bytes(&at)->size = 100;
    lw_buffer value = lw_buffer_in(at.memory);
    lw_entry_kind kind;
    assert_int_equal(lw_table_get(at.table, entries.list[0].key, UINT64_MAX, &value, &kind),
                     LW_CORRUPTION);
    assert_non_null(strstr(lw_error_slot()->text, "offset 0: the file ends too early"));
    lw_buffer_reset(&value);
    fixture_close(&at);
}

/* A bad place ahead of a walk troubles it only when it comes there. */
static void what_cannot_be_read_ahead_is_read_alone(void **state) {
    (void)state;
    fixture at = fixture_open(64 << 20);
    sorted_entries entries = series_make(at.memory);
    build_and_open(&at, &entries, NULL);
    lw_table_cursor *cursor = lw_table_cursor_open(at.table);
    assert_ok(lw_table_cursor_first(cursor));
    uint64_t reads = at.world->read_count;
    at.world->failing_kind = LW_OP_READ;
    for (size_t index = 1; index < entries.count; index++) {
        bool fails = at.world->read_count > reads;
        reads = at.world->read_count;
        at.world->failing_after = fails ? 1 : 0; /* now and then, and then not the next one */
        lw_status status = lw_table_cursor_next(cursor);
        if (status != LW_OK) {
            assert_int_equal(status, LW_INTERNAL);
            at.world->failing_after = UINT32_MAX;
            assert_ok(lw_table_cursor_seek(cursor, entries.list[index].key, 1));
        }
        sorted_assert_at(&entries, index, lw_table_cursor_entry(cursor));
    }
    at.world->failing_after = UINT32_MAX;
    lw_table_cursor_close(cursor);
    fixture_close(&at);
}

/* Hot blocks outlive a scan of a table ten times as large as the cache; and a reader of everything
 * once leaves no trace at all. */
static void a_full_scan_leaves_the_hot_blocks_in_the_cache(void **state) {
    (void)state;
    enum { HOT = 200 };
    fixture at = fixture_open(96 * 1024);
    sorted_entries entries = series_make(at.memory);
    build_and_open(&at, &entries, NULL);
    lw_cache_figures before, after;
    for (int round = 0; round < 3; round++) {
        for (size_t index = 0; index < HOT; index++) {
            assert_gets(&at, &entries, entries.list[index].key, 1);
        }
    }
    lw_cache_figures_get(at.cache, &before);
    assert_walk(lw_table_cursor_open_once(at.table), &entries);
    lw_cache_figures_get(at.cache, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_walk(lw_table_cursor_open(at.table), &entries);
    lw_cache_figures_get(at.cache, &before);
    assert_true(before.misses - after.misses > 100);
    for (size_t index = 0; index < HOT; index++) {
        assert_gets(&at, &entries, entries.list[index].key, 1);
    }
    lw_cache_figures_get(at.cache, &after);
    assert_int_equal(after.misses, before.misses);
    assert_true(lw_cache_budget(at.cache)->used_max <= 96 * 1024);
    fixture_close(&at);
}

/* ---- the world around ------------------------------------------------------------------------ */

static lw_status build_and_read(fixture *at, const sorted_entries *entries) {
    lw_table_options options = {.block_size = 100, .compression = LW_COMPRESSION_LZ4};
    LW_TRY(build(at, "t", 7, entries, &options));
    LW_TRY(reopen(at, NULL));
    lw_table_cursor *cursor = lw_table_cursor_open(at->table);
    lw_status status = lw_table_cursor_first(cursor);
    while (status == LW_OK && lw_table_cursor_entry(cursor) != NULL) {
        status = lw_table_cursor_next(cursor);
    }
    lw_table_cursor_close(cursor);
    return status;
}

static void any_operation_may_fail_and_nothing_is_left_behind(void **state) {
    (void)state;
    const lw_op_kind kinds[] = {LW_OP_OPEN, LW_OP_READ, LW_OP_WRITE, LW_OP_SYNC, LW_OP_SIZE};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        lw_status status = LW_INTERNAL;
        for (uint32_t after = 0; status != LW_OK; after++) {
            fixture at = fixture_open(1 << 20);
            sorted_entries entries = sorted_make(at.memory, SORTED_LARGE, 4, 60);
            size_t used = lw_memory_used(at.env->memory);
            at.world->failing_kind = kinds[kind];
            at.world->failing_after = after;
            status = build_and_read(&at, &entries);
            assert_true(status == LW_OK || status == LW_INTERNAL);
            at.world->failing_after = UINT32_MAX;
            if (at.table != NULL) {
                lw_table_close(at.table);
                at.table = NULL;
            }
            if (memory_world_file(at.world, "t") != NULL) {
                assert_true(at.info.number == 7);
                assert_ok(lw_path_unlink(at.env, "t"));
            }
            assert_int_equal(lw_memory_used(at.env->memory), used);
            fixture_close(&at);
            assert_true(after < 200);
        }
    }
}

typedef struct reading {
    fixture *in;
    const sorted_entries *entries;
    bool done;
} reading;

static void read_main(void *argument) {
    reading *of = argument;
    lw_table_cursor *cursor = lw_table_cursor_open(of->in->table);
    size_t index = 0;
    bool same = true;
    lw_status status = lw_table_cursor_first(cursor);
    while (status == LW_OK && lw_table_cursor_entry(cursor) != NULL) {
        same = same && index < of->entries->count &&
               sorted_compare(lw_table_cursor_entry(cursor), &of->entries->list[index++]) == 0;
        status = lw_table_cursor_next(cursor);
    }
    lw_table_cursor_close(cursor);
    of->done = same && status == LW_OK && index == of->entries->count;
}

static void fibers_that_read_the_same_block_at_once_share_it(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 100);
    lw_table_options options = {.block_size = 300, .compression = LW_COMPRESSION_LZ4};
    build_and_open(&at, &entries, &options);
    reading readings[3];
    for (size_t index = 0; index < 3; index++) {
        readings[index] = (reading){.in = &at, .entries = &entries};
        (void)lw_env_start(at.env, "reader", read_main, &readings[index]);
    }
    for (size_t turn = 0; turn < 1000 && lw_fibers_count(at.env->fibers) > 0; turn++) {
        lw_env_turn(at.env, false);
    }
    for (size_t index = 0; index < 3; index++) {
        assert_true(readings[index].done);
    }
    assert_true(memory_world_marked(at.world, "table.block_published_twice"));
    fixture_close(&at);
}

/* ---- inspection ------------------------------------------------------------------------------ */

static void the_inspection_describes_a_table(void **state) {
    (void)state;
    lw_entry list[] = {
        {lw_text("a"), 9, LW_ENTRY_PUT, lw_text("one")},
        {lw_text("b\n"), 4, LW_ENTRY_DELETE, lw_text("")},
    };
    sorted_entries entries = {.list = list, .count = 2};
    fixture at = fixture_open(1 << 20);
    lw_table_options options = {.block_size = 1};
    build_and_open(&at, &entries, &options);
    lw_buffer text = lw_buffer_in(at.memory);
    assert_ok(lw_table_inspect(at.env, "t", &text));
    lw_buffer_append_u8(&text, 0);
    assert_string_equal(
        (const char *)text.data,
        "table 7: format 2, 222 bytes\n"
        "  2 entries, 1 of them deletes; sequences 4 to 9; keys \"a\" to \"b\\x0a\"\n"
        "  data of 29 bytes before compression: none\n"
        "  filter at offset 41: 1 lines, 6 probes\n"
        "  index at offset 112: 2 blocks\n"
        "  block 0 at offset 0: 22 bytes for 16, 1 entries from \"a\"\n"
        "  block 1 at offset 22: 19 bytes for 13, 1 entries from \"b\\x0a\"\n"
        "verdict: sound\n");
    fixture_close(&at);
}

static void the_inspection_goes_on_after_damage(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 100);
    lw_table_options options = {.block_size = 300};
    build_and_open(&at, &entries, &options);
    file_bytes(&at)->data[0] ^= 1;
    lw_buffer text = lw_buffer_in(at.memory);
    assert_int_equal(lw_table_inspect(at.env, "t", &text), LW_CORRUPTION);
    lw_buffer_append_u8(&text, 0);
    const char *words = (const char *)text.data;
    assert_non_null(strstr(words, "fault at offset 0: its checksum does not match\n"));
    assert_null(strstr(words, "block 0 at"));
    assert_non_null(strstr(words, "block 1 at"));
    assert_non_null(strstr(words, "verdict: damaged, faults: 1\n"));
    fixture_close(&at);
}

/* Puts another part, of the same size, where one is, with a seal that is right. */
static void replace_part(fixture *in, lw_part_kind kind, uint64_t offset, lw_bytes bytes) {
    lw_part part = {kind, 7, offset};
    lw_buffer sealed = lw_buffer_in(in->memory);
    (void)lw_part_seal(&part, bytes, NULL, &sealed);
    memcpy(file_bytes(in)->data + offset, sealed.data, sealed.size);
}

static void assert_fault(fixture *in, const char *words) {
    lw_buffer text = lw_buffer_in(in->memory);
    assert_int_equal(lw_table_inspect(in->env, "t", &text), LW_CORRUPTION);
    lw_buffer_append_u8(&text, 0);
    if (strstr((const char *)text.data, words) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", words, text.data);
    }
}

/* Faults of ours rather than of a disk: every checksum is right. */
static void the_inspection_sees_what_no_checksum_can(void **state) {
    (void)state;
    lw_entry list[] = {
        {lw_text("a"), 9, LW_ENTRY_PUT, lw_text("one")},
        {lw_text("c"), 4, LW_ENTRY_PUT, lw_text("two")},
    };
    sorted_entries entries = {.list = list, .count = 2};
    fixture at = fixture_open(1 << 20);
    lw_table_options options = {.block_size = 1};
    build_and_open(&at, &entries, &options);
    enum { SEALED_SIZE = 22 };

    const struct {
        lw_entry entry;
        const char *words;
    } others[] = {
        {{lw_text("b"), 4, LW_ENTRY_PUT, lw_text("two")}, "beyond the fences"},
        {{lw_text("a"), 9, LW_ENTRY_PUT, lw_text("two")}, "out of order"},
        {{lw_text("d"), 4, LW_ENTRY_PUT, lw_text("two")}, "not those of the entries"},
        {{lw_text("c"), 5, LW_ENTRY_PUT, lw_text("two")}, "not those of the entries"},
        {{lw_text("c"), 4, LW_ENTRY_DELETE, lw_text("")}, "cannot be read"},
    };
    for (size_t index = 0; index < sizeof(others) / sizeof(others[0]); index++) {
        lw_block_builder block = lw_block_builder_in(at.memory, 1);
        lw_block_builder_add(&block, &others[index].entry);
        lw_bytes bytes = lw_block_builder_finish(&block);
        if (others[index].entry.kind == LW_ENTRY_DELETE) {
            /* As large as the block that was there, but for the middle, which is no entry. */
            static const uint8_t strange[16] = {0, 3, 4, 'c', 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1};
            bytes = lw_view(strange, sizeof(strange));
        }
        replace_part(&at, LW_PART_DATA, SEALED_SIZE, bytes);
        assert_fault(&at, others[index].words);
        lw_block_builder_reset(&block);
    }
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
        cmocka_unit_test(no_flipped_bit_is_ever_believed),
        cmocka_unit_test(a_table_cut_anywhere_is_refused),
        cmocka_unit_test(a_file_cut_while_it_is_open_is_damage),
        cmocka_unit_test(only_the_table_that_the_catalog_names_is_opened),
        cmocka_unit_test(a_block_of_another_table_or_place_is_not_believed),
        cmocka_unit_test(walks_read_ahead_in_growing_pieces),
        cmocka_unit_test(a_seek_reads_one_block),
        cmocka_unit_test(single_blocks_are_read_past_the_page_cache),
        cmocka_unit_test(a_file_cut_under_direct_reads_is_damage),
        cmocka_unit_test(what_cannot_be_read_ahead_is_read_alone),
        cmocka_unit_test(a_full_scan_leaves_the_hot_blocks_in_the_cache),
        cmocka_unit_test(any_operation_may_fail_and_nothing_is_left_behind),
        cmocka_unit_test(fibers_that_read_the_same_block_at_once_share_it),
        cmocka_unit_test(the_inspection_describes_a_table),
        cmocka_unit_test(the_inspection_goes_on_after_damage),
        cmocka_unit_test(the_inspection_sees_what_no_checksum_can),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
