/* SPDX-License-Identifier: Apache-2.0 */
/* The store against its model on random walks, over crashes and under faults; its folder in every
 * state in which it may be found; and what it costs. */
#include "tests/store_bench.h"

#include "storage/pace.h"

static const char *const marks[] = {
    "store.trivial_move",      "store.memtable_rotated", "store.orphan_removed",
    "store.tombstone_dropped", "catalog.rewritten",      "store.table_closed",
    "store.table_sliced",      "store.level0_gathered",
};
enum { MARK_COUNT = sizeof(marks) / sizeof(marks[0]) };

static void the_store_is_as_the_model_over_crashes(void **state) {
    (void)state;
    bool reached[MARK_COUNT] = {false};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        lw_faults faults = lw_faults_none();
        faults.rare_paths = seed % 3 != 0;
        bench *on = bench_make(seed, &faults);
        run_sessions(on, 12);
        if (on->failure[0] != 0) {
            fail_msg("seed %u: %s", (unsigned)seed, on->failure);
        }
        for (size_t index = 0; index < MARK_COUNT; index++) {
            reached[index] |= lw_world_marked(on->world, marks[index]) > 0;
        }
        bench_drop(on);
    }
    for (size_t index = 0; index < MARK_COUNT; index++) {
        if (!reached[index]) {
            fail_msg("%s was never reached", marks[index]);
        }
    }
}

static void the_store_is_as_the_model_under_faults(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        lw_faults usual = lw_faults_usual(), none = lw_faults_none();
        usual.rates[LW_FAULT_BIT_FLIP] = 0; /* not to be told from a bug here */
        usual.rates[LW_FAULT_FULL] *= 10;
        lw_faults faults = lw_faults_swarm(&usual, seed);
        bench *on = bench_make(seed, &faults);
        on->faults = true;
        run_sessions(on, 12);
        lw_world_set_faults(on->world, &none);
        on->faults = false;
        (void)run(on, verify_story);
        expect_right(on, "seed", seed);
        bench_drop(on);
    }
}

static bool caught_by_sessions(const char *bug) {
    lw_faults faults = lw_faults_none();
    faults.rare_paths = true;
    bool caught = false;
    for (uint64_t seed = 1; seed <= 60 && !caught; seed++) {
        bench *on = bench_make(seed, &faults);
        lw_world_plant(on->world, bug);
        run_sessions(on, 8);
        caught = on->failure[0] != 0;
        bench_drop(on);
    }
    return caught;
}

static void planted_bugs_of_what_is_kept_are_caught(void **state) {
    (void)state;
    const char *const bugs[] = {"store.drop_tombstone_early", "store.snapshot_ignored",
                                "store.slice_without_rest"};
    for (size_t index = 0; index < sizeof(bugs) / sizeof(bugs[0]); index++) {
        if (!caught_by_sessions(bugs[index])) {
            fail_msg("%s was not caught", bugs[index]);
        }
    }
}

/* ---- cursors ------------------------------------------------------------------------------------
 */

/* Seeks in [lower, upper); returns how many blocks of tables that asked for. */
static uint64_t blocks_asked(bench *on, const char *lower, const char *upper) {
    lw_cache_figures before, after;
    lw_cache_figures_get(lw_store_cache(on->store), &before);
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_text(lower), lw_text(upper));
    (void)worked(on, lw_cursor_first(cursor), "first");
    LW_ASSERT(!lw_cursor_valid(cursor));
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    lw_cache_figures_get(lw_store_cache(on->store), &after);
    return after.hits + after.misses - before.hits - before.misses;
}

static void narrow_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    apply_puts(on, 1, 9);
    apply_puts(on, 30, 10);
    insist(on, lw_tree_flush, "flush");
    (void)blocks_asked(on, "k010", "k020"); /* opens the table */
    if (blocks_asked(on, "k010", "k020") == 0) {
        wrong(on, "a cursor over two filter parts left a table out");
    }
    if (blocks_asked(on, "k010", "k019") != 0) {
        wrong(on, "a cursor over one filter part read a table without it");
    }
    close_store(on);
}

static void a_cursor_over_one_filter_part_leaves_tables_without_it_out(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    assert_true(run(on, narrow_story));
    expect_right(on, "a narrow cursor", 0);
    bench_drop(on);
}

/* ---- the folder ---------------------------------------------------------------------------------
 */

static void tables_story(bench *on) {
    if (open_store(on)) {
        apply_puts(on, 0, 40);
        insist(on, lw_tree_flush, "flush");
        apply_puts(on, 60, 40);
        insist(on, lw_tree_flush, "flush");
        close_store(on);
    }
}

/* A bench whose folder holds two tables, 1 and 2. */
static bench *bench_with_tables(void) {
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    assert_true(run(on, tables_story));
    expect_right(on, "making tables", 0);
    return on;
}

/* Opens the store, and expects that to fail with words. */
static void expect_refusal(bench *on, const char *words) {
    assert_true(run(on, verify_story));
    if (strstr(on->failure, words) == NULL) {
        fail_msg("expected \"%s\", got \"%s\"", words, on->failure);
    }
    on->failure[0] = 0;
}

static void open_twice_story(bench *on) {
    if (open_store(on)) {
        lw_store *first = on->store;
        (void)open_store(on);
        lw_store_close(first);
    }
}

static void a_folder_in_use_is_refused(void **state) {
    (void)state;
    bench *on = bench_with_tables();
    assert_true(run(on, open_twice_story));
    assert_non_null(strstr(on->failure, "data is in use by another process: stop it"));
    on->failure[0] = 0;
    assert_true(run(on, verify_story));
    expect_right(on, "opened alone", 0);
    bench_drop(on);
}

static void remove_table(bench *on) {
    LW_ASSERT(lw_path_unlink(on->env, "data/sst/0000000000000002") == LW_OK);
}

static void a_missing_table_is_noticed(void **state) {
    (void)state;
    bench *on = bench_with_tables();
    assert_true(run(on, remove_table));
    expect_refusal(on, "data/sst/0000000000000002, a table of tree 7, is missing");
    bench_drop(on);
}

static void remove_while_open_story(bench *on) {
    lw_buffer value = lw_buffer_in(on->env->memory);
    text key;
    if (open_store(on)) {
        remove_table(on);
        lw_snapshot *snapshot = lw_snapshot_open(on->tree);
        lw_status status = lw_snapshot_get(snapshot, key_of(70, &key), &value);
        LW_ASSERT(status == LW_CORRUPTION);
        LW_ASSERT(strstr(lw_error_slot()->text, "is missing") != NULL);
        lw_snapshot_close(snapshot);
        close_store(on);
    }
}

static void a_missing_table_never_passes_for_a_key_without_a_value(void **state) {
    (void)state;
    bench *on = bench_with_tables();
    assert_true(run(on, remove_while_open_story));
    bench_drop(on);
}

static void remove_catalog(bench *on) {
    LW_ASSERT(lw_path_unlink(on->env, "data/CATALOG") == LW_OK);
}

static void tables_without_a_catalog_are_not_touched(void **state) {
    (void)state;
    bench *on = bench_with_tables();
    assert_true(run(on, remove_catalog));
    expect_refusal(on, "data has tables but no CATALOG");
    lw_buffer contents = lw_buffer_in(on->memory);
    assert_true(lw_disk_contents(lw_host_disk(on->host), LW_DISK_VOLATILE,
                                 "data/sst/0000000000000001", &contents));
    bench_drop(on);
}

static void add_strangers(bench *on) {
    lw_handle file;
    const char *const paths[] = {"data/sst/0000000000000009", "data/sst/notes", "data/CATALOG.new"};
    for (size_t index = 0; index < 3; index++) {
        LW_ASSERT(lw_file_open(on->env, paths[index], LW_OPEN_CREATE, &file) == LW_OK);
        lw_file_close(on->env, file);
    }
}

static void what_no_catalog_names_is_removed_and_what_is_not_ours_is_kept(void **state) {
    (void)state;
    bench *on = bench_with_tables();
    lw_buffer contents = lw_buffer_in(on->memory);
    lw_disk *disk = lw_host_disk(on->host);
    assert_true(run(on, add_strangers));
    on->faults = true; /* the check of names would stumble over the notes */
    assert_true(run(on, verify_story));
    expect_right(on, "with strangers", 0);
    assert_false(lw_disk_contents(disk, LW_DISK_VOLATILE, "data/sst/0000000000000009", &contents));
    assert_false(lw_disk_contents(disk, LW_DISK_VOLATILE, "data/CATALOG.new", &contents));
    assert_true(lw_disk_contents(disk, LW_DISK_VOLATILE, "data/sst/notes", &contents));
    bench_drop(on);
}

/* Reads every key; what cannot be read must say so, and nothing may be read wrong. */
static void damaged_story(bench *on) {
    on->stopped = false;
    if (lw_store_open(on->env, &(lw_store_options){.directory = "data", .filter_part = filter_part},
                      &on->store) != LW_OK) {
        return;
    }
    on->tree = lw_store_tree(on->store, TREE);
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    lw_buffer value = lw_buffer_in(on->env->memory);
    text key, expected;
    for (uint32_t index = 0; index < KEY_COUNT; index++) {
        lw_buffer_clear(&value);
        lw_status status = lw_snapshot_get(snapshot, key_of(index, &key), &value);
        bool right = on->now.values[index] == 0
                         ? status == LW_NOT_FOUND
                         : status == LW_OK && lw_equal(lw_buffer_view(&value),
                                                       value_of(on->now.values[index], &expected));
        if (!right && status != LW_CORRUPTION) {
            wrong(on, "key %u reads %s", (unsigned)index, lw_status_name(status));
        }
    }
    lw_snapshot_close(snapshot);
    lw_store_close(on->store);
}

static void damaged_check(bench *on) {
    lw_buffer faults = lw_buffer_in(on->env->memory);
    lw_status status = lw_store_check(on->env, "data", filter_part, &faults);
    if (status != LW_CORRUPTION || faults.size == 0) {
        wrong(on, "the check did not notice: %s", lw_status_name(status));
    }
    lw_buffer_reset(&faults);
}

static void no_flipped_bit_is_ever_read_as_data(void **state) {
    (void)state;
    lw_buffer contents;
    uint64_t size = 1, chance = 1;
    for (uint64_t byte = 0; byte < size; byte += 7) {
        bench *on = bench_with_tables();
        contents = lw_buffer_in(on->memory);
        lw_disk *disk = lw_host_disk(on->host);
        assert_true(
            lw_disk_contents(disk, LW_DISK_VOLATILE, "data/sst/0000000000000001", &contents));
        size = contents.size;
        lw_disk_flip(disk, "data/sst/0000000000000001", byte * 8 + unit_random_below(&chance, 8));
        assert_true(run(on, damaged_check));
        assert_true(run(on, damaged_story));
        expect_right(on, "flipped in byte", byte);
        bench_drop(on);
    }
    assert_true(size > 500);
}

/* ---- what it costs ------------------------------------------------------------------------------
 */

static void many_trees_story(bench *on) {
    lw_tree *tree;
    if (!open_store(on)) {
        return;
    }
    size_t before = lw_memory_used(on->env->memory);
    for (uint64_t id = 100; id < 200; id++) {
        LW_ASSERT(lw_store_create_tree(on->store, id, &tree) == LW_OK);
    }
    LW_ASSERT(lw_store_create_tree(on->store, 150, &tree) == LW_EXISTS);
    size_t each = (lw_memory_used(on->env->memory) - before) / 100;
    if (each > 2048) {
        wrong(on, "an idle tree costs %zu bytes", each);
    }
    close_store(on);
}

static void an_idle_tree_costs_less_than_2_kib(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    assert_true(run(on, many_trees_story));
    expect_right(on, "trees", 100);
    bench_drop(on);
}

/* Writes as fast as it is let, far more than the memory allows. */
static void flood_story(bench *on) {
    lw_tree_figures figures;
    size_t most = 0;
    if (!open_store(on)) {
        return;
    }
    for (uint32_t index = 0; index < 3000 && !on->stopped; index++) {
        if (worked(on, lw_tree_admit(on->tree, 400), "admit")) {
            apply_random(on);
        }
        lw_tree_figures_get(on->tree, &figures);
        most = figures.memtable_bytes > most ? figures.memtable_bytes : most;
    }
    if (most > 80 * 1024) {
        wrong(on, "%zu bytes of memtables, though 64 KiB are allowed", most);
    }
    check_everything(on);
    close_store(on);
}

static void writers_are_held_back_to_the_memory_there_is(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    lw_host_slow_disk(on->host, 20);
    assert_true(run(on, flood_story));
    expect_right(on, "flood", 0);
    assert_true(lw_world_marked(on->world, "store.writer_slowed") > 0);
    bench_drop(on);
}

/* ---- the pace -----------------------------------------------------------------------------------
 */

enum {
    FLOOD_COUNT = 20000,
    FLOOD_VALUE_SIZE = 1000,
    FLOOD_SEEDS = 4,
    FLOOD_DELAY_MAX_NS = 100 * 1000000
};
static uint64_t flood_delays[FLOOD_COUNT];

/* As fast as it is let, for long enough that flushes and compactions are behind all the time. With
 * memory enough that one write is a small part of it. */
static void paced_story(bench *on) {
    lw_store_options options = {
        .directory = "data", .memory_size = 4 * 1024 * 1024, .table_size = 64 * 1024};
    static uint8_t value[FLOOD_VALUE_SIZE];
    lw_buffer batch = lw_buffer_in(on->env->memory);
    LW_ASSERT(lw_store_open(on->env, &options, &on->store) == LW_OK);
    LW_ASSERT(lw_store_create_tree(on->store, TREE, &on->tree) == LW_OK);
    for (uint32_t index = 0; index < FLOOD_COUNT && !on->stopped; index++) {
        uint8_t key[8];
        lw_put_u64_sorted(key, unit_random(&on->chance));
        lw_put_u64(value, unit_random(&on->chance));
        lw_buffer_clear(&batch);
        lw_batch_put(&batch, lw_view(key, sizeof(key)), lw_view(value, sizeof(value)));
        uint64_t from_ns = lw_env_now(on->env);
        if (worked(on, lw_tree_admit(on->tree, batch.size), "admit")) {
            flood_delays[index] = lw_env_now(on->env) - from_ns;
            LW_ASSERT(lw_tree_apply(on->tree, index + 1, lw_buffer_view(&batch)) == LW_OK);
        }
    }
    lw_buffer_reset(&batch);
    close_store(on);
}

static int order_by_number(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void writers_are_slowed_smoothly_and_meet_no_wall(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= FLOOD_SEEDS; seed++) {
        lw_faults faults = lw_faults_none();
        bench *on = bench_make(seed, &faults);
        lw_host_slow_disk(on->host, 20);
        memset(flood_delays, 0, sizeof(flood_delays));
        assert_true(run(on, paced_story));
        expect_right(on, "pace", 0);
        assert_false(lw_world_marked(on->world, "store.stall"));
        qsort(flood_delays, FLOOD_COUNT, sizeof(flood_delays[0]), order_by_number);
        uint64_t most = flood_delays[FLOOD_COUNT - 1];
        uint64_t slowed = 0;
        while (slowed < FLOOD_COUNT && flood_delays[FLOOD_COUNT - 1 - slowed] > 0) {
            slowed++;
        }
        print_message("%u of %u waited, the longest %.1f ms\n", (unsigned)slowed, FLOOD_COUNT,
                      (double)most / 1e6);
        assert_true(slowed > FLOOD_COUNT / 400); /* it was a flood */
        /* Many wait a little, so that none waits for long. */
        assert_true(most < FLOOD_DELAY_MAX_NS);
        bench_drop(on);
    }
}

static uint64_t delay_of(lw_pace *pace, lw_pressure pressure, size_t size, uint64_t now_ns) {
    lw_pace_delay delay = lw_pace_writer(pace, pressure, size, now_ns);
    return delay.memory_ns > delay.tables_ns ? delay.memory_ns : delay.tables_ns;
}

static void a_delay_is_a_steady_function_of_the_pressure(void **state) {
    (void)state;
    uint64_t before_ns = 0;
    for (uint32_t percent = 0; percent < 97; percent++) {
        lw_pace pace = {.drain_rate = 1e8};
        lw_pressure pressure = {.memory = percent / 100.0};
        uint64_t delay_ns = delay_of(&pace, pressure, 100000, 1000);
        assert_true(delay_ns >= before_ns && delay_ns <= LW_PACE_DELAY_MAX_NS);
        assert_true(delay_ns <= 2 * before_ns + 2000000);
        before_ns = delay_ns;
    }
    assert_true(before_ns > LW_PACE_DELAY_MAX_NS / 4);
    /* At one half writers get what flushes take, however the bytes are divided among them. */
    for (uint32_t parts = 1; parts <= 100; parts *= 10) {
        lw_pace pace = {.sink_rate = 1e8};
        uint64_t now_ns = 1000;
        for (uint32_t count = 0; count < 100 * parts; count++) {
            now_ns += delay_of(&pace, (lw_pressure){0, 0.5}, 1000000 / parts, now_ns);
        }
        assert_true(now_ns > 990000000 && now_ns <= 1000001000);
    }
}

static void who_waits_for_memory_waits_until_a_flush_is_done(void **state) {
    (void)state;
    lw_pace pace = {.drain_rate = 1e8, .sink_rate = 1e8};
    lw_pace_delay delay = lw_pace_writer(&pace, (lw_pressure){0.9, 0.5}, 1000000, 1000);
    assert_in_range(delay.memory_ns, 800000000, 820000000);
    assert_in_range(delay.tables_ns, 9999000, 10001000);
    lw_pace_flushed(&pace, 1000000, 10000000);
    delay = lw_pace_writer(&pace, (lw_pressure){0.1, 0.5}, 1000, 1000);
    assert_int_equal(delay.memory_ns, 0);
    assert_true(delay.tables_ns > 9999000); /* flushes make that no shorter */
}

/* How long it takes to merge 10 MB, when the rate of the writers is known. */
static double merge_for(double write_rate, double pressure, double work) {
    lw_pace pace = {0};
    uint64_t now_ns = 1, from_ns = 0;
    for (uint32_t count = 0; count < 4000; count++) {
        from_ns = count == 3000 ? now_ns : from_ns;
        uint64_t wait_ns = lw_pace_compaction(&pace, pressure, work, 10000, now_ns);
        wait_ns = wait_ns < 10000 ? 10000 : wait_ns; /* the merging itself */
        now_ns += wait_ns;
        pace.written += (uint64_t)(write_rate * (double)wait_ns / 1e9);
    }
    return (double)(now_ns - from_ns) / 1e9;
}

static void compactions_keep_the_pace_of_writers(void **state) {
    (void)state;
    /* 10 MB/s that cost 5 bytes a byte: 50 MB/s, and a quarter more; faster under pressure. */
    double easy = merge_for(10e6, 0, 5), pressed = merge_for(10e6, 0.25, 5);
    assert_true(easy > 0.13 && easy < 0.25);
    assert_true(pressed < 0.7 * easy);
    assert_true(merge_for(10e6, LW_PACE_FREE, 5) < 0.011); /* 10 us for each 10 kB */
    /* When the writers have gone for a second nothing holds it back. */
    lw_pace pace = {.written = 1, .written_ns = 1};
    assert_false(lw_pace_idle(&pace, 200000000));
    assert_true(lw_pace_compaction(&pace, 0, 5, 10000000, 300000000) > 0);
    assert_true(lw_pace_idle(&pace, 300000000 + LW_PACE_IDLE_NS));
    assert_int_equal(lw_pace_compaction(&pace, 0, 5, 10000000, 310000000 + LW_PACE_IDLE_NS), 0);
}

/* A few tables of level 0, and then nobody writes. */
static void idle_story(bench *on) {
    lw_tree_figures figures;
    if (!open_store(on)) {
        return;
    }
    for (uint32_t round = 0; round < 3; round++) {
        apply_puts(on, 0, 40);
        insist(on, lw_tree_flush, "flush");
    }
    lw_tree_figures_get(on->tree, &figures);
    if (figures.table_count[0] != 3) {
        wrong(on, "%u tables in level 0", (unsigned)figures.table_count[0]);
    }
    lw_env_sleep(on->env, 3 * (uint64_t)LW_PACE_IDLE_NS);
    lw_tree_figures_get(on->tree, &figures);
    if (figures.table_count[0] != 0) {
        wrong(on, "%u tables stayed in level 0", (unsigned)figures.table_count[0]);
    }
    close_store(on);
}

static void an_idle_store_tidies_up_for_readers(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    assert_true(run(on, idle_story));
    expect_right(on, "idle", 0);
    bench_drop(on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_store_is_as_the_model_over_crashes),
        cmocka_unit_test(the_store_is_as_the_model_under_faults),
        cmocka_unit_test(planted_bugs_of_what_is_kept_are_caught),
        cmocka_unit_test(a_cursor_over_one_filter_part_leaves_tables_without_it_out),
        cmocka_unit_test(a_folder_in_use_is_refused),
        cmocka_unit_test(a_missing_table_is_noticed),
        cmocka_unit_test(a_missing_table_never_passes_for_a_key_without_a_value),
        cmocka_unit_test(tables_without_a_catalog_are_not_touched),
        cmocka_unit_test(what_no_catalog_names_is_removed_and_what_is_not_ours_is_kept),
        cmocka_unit_test(no_flipped_bit_is_ever_read_as_data),
        cmocka_unit_test(an_idle_tree_costs_less_than_2_kib),
        cmocka_unit_test(writers_are_held_back_to_the_memory_there_is),
        cmocka_unit_test(writers_are_slowed_smoothly_and_meet_no_wall),
        cmocka_unit_test(a_delay_is_a_steady_function_of_the_pressure),
        cmocka_unit_test(who_waits_for_memory_waits_until_a_flush_is_done),
        cmocka_unit_test(compactions_keep_the_pace_of_writers),
        cmocka_unit_test(an_idle_store_tidies_up_for_readers),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
