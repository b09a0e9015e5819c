/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: what is read ahead, alone, past the page cache and by several at once; disks that fail.
 */
#include "base/hash.h"
#include "tests/table_world.h"

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

/* ---- parts ------------------------------------------------------------------------------------
 */

enum { FENCES_MAX = 1000 };

typedef struct fences {
    lw_memory *memory;
    lw_bytes keys[FENCES_MAX];
    uint32_t count;
} fences;

static void note_part(void *argument, lw_bytes key, uint64_t bytes) {
    fences *noted = argument;
    assert_true(bytes > 0 && noted->count < FENCES_MAX);
    noted->keys[noted->count++] = lw_copy(noted->memory, key);
}

/* Even if it ends where a block begins. */
static void a_part_of_a_range_begins_before_its_end(void **state) {
    (void)state;
    fixture at = fixture_open(64 << 20);
    sorted_entries entries = series_make(at.memory);
    build_and_open(&at, &entries, NULL);
    fences all = {.memory = at.memory};
    lw_table_parts(at.table, &(lw_key_range){0}, FENCES_MAX, note_part, &all);
    assert_true(all.count > 50);
    for (uint32_t end = 1; end < all.count; end++) {
        fences some = {.memory = at.memory};
        lw_key_range range = {.upper = all.keys[end]};
        lw_table_parts(at.table, &range, FENCES_MAX, note_part, &some);
        assert_int_equal(some.count, end);
        assert_true(lw_compare(some.keys[end - 1], range.upper) < 0);
    }
    fixture_close(&at);
}

/* ---- one block after another ----------------------------------------------------------------- */

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_of_a_range_begins_before_its_end),
        cmocka_unit_test(walks_read_ahead_in_growing_pieces),
        cmocka_unit_test(a_seek_reads_one_block),
        cmocka_unit_test(single_blocks_are_read_past_the_page_cache),
        cmocka_unit_test(a_file_cut_under_direct_reads_is_damage),
        cmocka_unit_test(what_cannot_be_read_ahead_is_read_alone),
        cmocka_unit_test(a_full_scan_leaves_the_hot_blocks_in_the_cache),
        cmocka_unit_test(any_operation_may_fail_and_nothing_is_left_behind),
        cmocka_unit_test(fibers_that_read_the_same_block_at_once_share_it),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
