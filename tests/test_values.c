/* SPDX-License-Identifier: Apache-2.0 */
/* Large values in a store: against the model, under damage, and what they cost in reads, writes and
 * memory. The attacks on them are in test_values_crash.c. */
#include "tests/store_bench.h"

enum { THRESHOLD = 32 };

static bench *make(uint64_t seed, bool rare_paths) {
    lw_faults faults = lw_faults_none();
    faults.rare_paths = rare_paths;
    bench *on = bench_make(seed, &faults);
    on->value_threshold = THRESHOLD;
    on->compression = LW_COMPRESS_NOTHING; /* so that values are worth more than their tables */
    return on;
}

/* ---- against the model ----------------------------------------------------------------------- */

static const char *const marks[] = {"value.read_ahead", "value.garbage_collected", "value.moved",
                                    "value.left_garbage", "value.list_full"};
enum { MARK_COUNT = sizeof(marks) / sizeof(marks[0]) };

static void the_store_is_as_the_model_with_values_apart(void **state) {
    (void)state;
    bool reached[MARK_COUNT] = {false};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        bench *on = make(seed, seed % 3 != 0);
        on->compression = seed % 2 == 0 ? LW_COMPRESS_BY_LEVEL : LW_COMPRESS_NOTHING;
        run_sessions(on, 12);
        expect_right(on, "seed", seed);
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
    for (uint64_t seed = 1; seed <= 40; seed++) {
        lw_faults usual = lw_faults_usual(), none = lw_faults_none();
        usual.rates[LW_FAULT_BIT_FLIP] = 0; /* not to be told from a bug here */
        usual.rates[LW_FAULT_FULL] *= 10;
        lw_faults faults = lw_faults_swarm(&usual, seed);
        bench *on = bench_make(seed, &faults);
        on->value_threshold = THRESHOLD;
        on->faults = true;
        run_sessions(on, 12);
        lw_world_set_faults(on->world, &none);
        on->faults = false;
        (void)run(on, verify_story);
        expect_right(on, "seed", seed);
        bench_drop(on);
    }
}

/* ---- damage ---------------------------------------------------------------------------------- */

#define TABLE_PATH  "data/sst/0000000000000001"
#define VALUES_PATH "data/sst/0000000000000002"

static void fill_story(bench *on) {
    if (open_store(on)) {
        apply_puts(on, 20, 40);
        insist(on, lw_tree_flush, "flush");
        close_store(on);
    }
}

/* A bench whose value file has a flipped bit in its first value. */
static bench *make_damaged(void) {
    bench *on = make(1, false);
    assert_true(run(on, fill_story));
    expect_right(on, "filling", 0);
    lw_disk_flip(lw_host_disk(on->host), VALUES_PATH, 8 * 5);
    return on;
}

static uint32_t damaged_key(const bench *on) {
    text value;
    for (uint32_t index = 20; index < 60; index++) {
        if (value_of(on->now.values[index], &value).size >= THRESHOLD) {
            return index;
        }
    }
    return 0;
}

/* Every key but the damaged one is as it was; that one says what is wrong with it. */
static void check_all_but_one(bench *on) {
    lw_buffer value = lw_buffer_in(on->env->memory);
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    text key;
    uint32_t damaged = damaged_key(on);
    for (uint32_t index = 0; index < KEY_COUNT && !on->stopped; index++) {
        if (index != damaged) {
            check_get(on, snapshot, &on->now, index);
            continue;
        }
        lw_status status = lw_snapshot_get(snapshot, key_of(index, &key), &value);
        if (status != LW_CORRUPTION ||
            strstr(lw_error_slot()->text, VALUES_PATH " is damaged at offset 0:") == NULL) {
            wrong(on, "%s: %s", lw_status_name(status), lw_error_slot()->text);
        }
    }
    lw_snapshot_close(snapshot);
    lw_buffer_reset(&value);
}

/* Makes what is around the damaged value garbage, so that it should be moved. */
static void damaged_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    check_all_but_one(on);
    insist(on, lw_tree_compact, "compact");
    apply_deletes(on, damaged_key(on) + 1, 30);
    insist(on, lw_tree_compact, "compact");
    lw_env_sleep(on->env, 100 * 1000000);
    check_all_but_one(on);
    close_store(on);
}

static void a_damaged_value_costs_its_own_key_and_stays_where_it_is(void **state) {
    (void)state;
    bench *on = make_damaged();
    assert_true(run(on, damaged_story));
    expect_right(on, "damaged", 0);
    assert_true(lw_world_marked(on->world, "value.unreadable_left") > 0);
    bench_drop(on);
}

static void check_damage_story(bench *on) {
    lw_buffer faults = lw_buffer_in(on->env->memory);
    lw_status status = lw_store_check(on->env, "data", filter_part, &faults);
    lw_buffer_append_u8(&faults, 0);
    if (status != LW_CORRUPTION ||
        strstr((const char *)faults.data, VALUES_PATH " is damaged") == NULL) {
        wrong(on, "%s: %s", lw_status_name(status), (const char *)faults.data);
    }
    lw_buffer_reset(&faults);
}

static void the_check_names_the_damaged_value(void **state) {
    (void)state;
    bench *on = make_damaged();
    assert_true(run(on, check_damage_story));
    expect_right(on, "checking", 0);
    bench_drop(on);
}

static void a_value_whose_checksum_is_not_checked_is_noticed(void **state) {
    (void)state;
    bench *on = make_damaged();
    lw_world_plant(on->world, "value.no_checksum");
    assert_true(run(on, verify_story));
    assert_non_null(strstr(on->failure, "another value than"));
    bench_drop(on);
}

static void remove_values(bench *on) {
    LW_ASSERT(lw_path_unlink(on->env, VALUES_PATH) == LW_OK);
}

static void a_missing_value_file_is_noticed(void **state) {
    (void)state;
    bench *on = make(1, false);
    assert_true(run(on, fill_story));
    assert_true(run(on, remove_values));
    assert_true(run(on, verify_story));
    assert_non_null(strstr(on->failure, VALUES_PATH ", a value file of tree 7, is missing"));
    bench_drop(on);
}

/* ---- what it costs --------------------------------------------------------------------------- */

/* An env in front of that of the world: it counts what is asked of the disk, and keeps in mind the
 * most memory there was at such times. */
static struct {
    lw_env env; /* first, so that nothing else is needed to find the rest */
    lw_env *inner;
    uint64_t read_count, read_bytes, written_bytes;
    size_t memory_max;
} meter;

static void meter_submit(lw_env *env, lw_op *op) {
    size_t memory = lw_memory_used(env->memory);
    meter.memory_max = memory > meter.memory_max ? memory : meter.memory_max;
    meter.read_count += op->kind == LW_OP_READ;
    meter.read_bytes += op->kind == LW_OP_READ ? op->size : 0;
    meter.written_bytes += op->kind == LW_OP_WRITE ? op->size : 0;
    meter.inner->world->submit(meter.inner, op);
}

static void meter_cancel(lw_env *env, lw_op *op) {
    (void)env;
    meter.inner->world->cancel(meter.inner, op);
}

static uint64_t meter_now(lw_env *env) {
    (void)env;
    return lw_env_now(meter.inner);
}

static void meter_logline(lw_env *env, lw_level level, const char *line) {
    (void)env;
    meter.inner->world->logline(meter.inner, level, line);
}

static bool open_metered(bench *on) {
    static const lw_env_world calls = {.submit = meter_submit,
                                       .cancel = meter_cancel,
                                       .now_ns = meter_now,
                                       .logline = meter_logline};
    meter.inner = on->env;
    meter.env = *on->env;
    meter.env.world = &calls;
    on->env = &meter.env;
    return open_store(on);
}

static void close_metered(bench *on) {
    close_store(on);
    on->env = meter.inner;
}

static void meter_begin(void) {
    meter.read_count = meter.read_bytes = meter.written_bytes = 0;
    meter.memory_max = lw_memory_used(meter.env.memory);
}

/* Puts values of `size` bytes, which no model knows. */
static void put_large(bench *on, uint32_t first, uint32_t count, uint32_t step, size_t size) {
    lw_buffer value = lw_buffer_in(on->memory);
    text key;
    for (uint32_t index = 0; index < count; index++) {
        lw_buffer *batch = log_begin(on);
        lw_buffer_clear(&value);
        for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
            lw_buffer_append_u64(&value, unit_random(&on->chance));
        }
        lw_batch_put(batch, key_of(first + index * step, &key), lw_buffer_view(&value));
        (void)worked(on, lw_tree_admit(on->tree, size), "admit");
        apply_last(on);
    }
    lw_buffer_reset(&value);
}

static void compaction_story(bench *on) {
    enum { COUNT = 30, SIZE = 8000, ROUNDS = 4 };
    if (!open_metered(on)) {
        return;
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        put_large(on, round, COUNT, ROUNDS, SIZE);
        insist(on, lw_tree_flush, "flush");
    }
    meter_begin();
    insist(on, lw_tree_compact, "compact");
    uint64_t bytes = meter.read_bytes + meter.written_bytes;
    if (bytes > COUNT * ROUNDS * SIZE / 10) {
        wrong(on, "compaction read and wrote %u bytes", (unsigned)bytes);
    }
    lw_value_figures figures;
    lw_store_value_figures(on->store, &figures);
    if (figures.live_bytes < COUNT * ROUNDS * SIZE || figures.moved_bytes > 0) {
        wrong(on, "%u bytes are alive", (unsigned)figures.live_bytes);
    }
    close_metered(on);
}

static void a_compaction_of_references_reads_and_writes_no_values(void **state) {
    (void)state;
    bench *on = make(1, false);
    assert_true(run(on, compaction_story));
    expect_right(on, "compaction", 0);
    bench_drop(on);
}

static void scan_story(bench *on) {
    enum { COUNT = 100, SIZE = 2000 };
    if (!open_metered(on)) {
        return;
    }
    put_large(on, 0, COUNT, 1, SIZE);
    insist(on, lw_tree_compact, "compact");
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    for (uint32_t way = 0; way < 2; way++) {
        bool forward = way == 0;
        uint32_t met = 0;
        lw_cursor *cursor = lw_cursor_open(snapshot, lw_view(NULL, 0), lw_view(NULL, 0));
        meter_begin();
        lw_status status = forward ? lw_cursor_first(cursor) : lw_cursor_last(cursor);
        while (status == LW_OK && lw_cursor_valid(cursor)) {
            met += lw_cursor_value(cursor).size == SIZE;
            status = forward ? lw_cursor_next(cursor) : lw_cursor_previous(cursor);
        }
        if (met != COUNT || meter.read_count > COUNT / 3) {
            wrong(on, "%u values met with %u reads", (unsigned)met, (unsigned)meter.read_count);
        }
        lw_cursor_close(cursor);
    }
    lw_snapshot_close(snapshot);
    close_metered(on);
}

static void a_scan_reads_ahead_both_ways(void **state) {
    (void)state;
    bench *on = make(1, false);
    assert_true(run(on, scan_story));
    expect_right(on, "scan", 0);
    bench_drop(on);
}

static void once_more_story(bench *on) {
    enum { SIZE = 2000 };
    lw_buffer value = lw_buffer_in(on->env->memory);
    text key;
    if (!open_metered(on)) {
        return;
    }
    put_large(on, 3, 1, 1, SIZE);
    insist(on, lw_tree_flush, "flush");
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    for (uint32_t time = 0; time < 2; time++) {
        meter_begin();
        lw_buffer_clear(&value);
        (void)worked(on, lw_snapshot_get(snapshot, key_of(3, &key), &value), "get");
    }
    if (value.size != SIZE || meter.read_count > 0) {
        wrong(on, "%u reads for a value that was just read", (unsigned)meter.read_count);
    }
    lw_snapshot_close(snapshot);
    lw_buffer_reset(&value);
    close_metered(on);
}

static void a_value_that_was_just_read_is_in_the_cache(void **state) {
    (void)state;
    bench *on = make(1, false);
    assert_true(run(on, once_more_story));
    expect_right(on, "once more", 0);
    bench_drop(on);
}

static void huge_story(bench *on) {
    enum { SIZE = LW_TREE_VALUE_SIZE_MAX, SPARE = 2 * 1024 * 1024 };
    lw_buffer value = lw_buffer_in(on->env->memory);
    text key;
    if (!open_metered(on)) {
        return;
    }
    put_large(on, 3, 1, 1, SIZE);
    meter_begin();
    size_t before = lw_memory_used(on->env->memory);
    insist(on, lw_tree_flush, "flush");
    if (meter.memory_max > before + SPARE) {
        wrong(on, "%zu bytes more for a flush", meter.memory_max - before);
    }
    before = lw_memory_used(on->env->memory);
    meter_begin();
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    (void)worked(on, lw_snapshot_get(snapshot, key_of(3, &key), &value), "get");
    if (value.size != SIZE || meter.memory_max > before + SIZE + SPARE) {
        wrong(on, "%zu bytes more for a read of one value", meter.memory_max - before);
    }
    lw_buffer_reset(&value);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_view(NULL, 0), lw_view(NULL, 0));
    meter_begin();
    (void)worked(on, lw_cursor_first(cursor), "first");
    if (lw_cursor_value(cursor).size != SIZE || meter.memory_max > before + SIZE + SPARE) {
        wrong(on, "%zu bytes more for a cursor on one value", meter.memory_max - before);
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    close_metered(on);
}

static void the_largest_value_is_in_memory_once(void **state) {
    (void)state;
    bench *on = make(1, false);
    on->memory_size = 64 * 1024 * 1024;
    assert_true(run(on, huge_story));
    expect_right(on, "huge", 0);
    bench_drop(on);
}

/* Overwrites keys at random, many times over. */
static void overwrite_story(bench *on) {
    enum { COUNT = 100, SIZE = 3000, TIMES = 2000 };
    lw_value_figures figures;
    if (!open_store(on)) {
        return;
    }
    put_large(on, 0, COUNT, 1, SIZE);
    for (uint32_t time = 0; time < TIMES && !on->stopped; time++) {
        put_large(on, below(on, COUNT), 1, 1, SIZE);
    }
    insist(on, lw_tree_compact, "compact");
    lw_env_sleep(on->env, 1000 * 1000000);
    lw_store_value_figures(on->store, &figures);
    if (figures.live_bytes < COUNT * SIZE || figures.bytes > 2 * figures.live_bytes ||
        figures.moved_bytes > (uint64_t)TIMES * SIZE) {
        wrong(on, "%u bytes in files, %u alive, %u moved", (unsigned)figures.bytes,
              (unsigned)figures.live_bytes, (unsigned)figures.moved_bytes);
    }
    close_store(on);
    check_folder(on);
}

static void garbage_stays_below_what_is_alive(void **state) {
    (void)state;
    bench *on = make(1, false);
    assert_true(run(on, overwrite_story));
    expect_right(on, "overwriting", 0);
    bench_drop(on);
}

/* One large value in each of two tables: of the second the range has nothing, though it ends where
 * that begins. */
static void middle_story(bench *on) {
    static const char *const keys[] = {"a1", "m1"};
    uint8_t value[4000] = {0};
    lw_buffer key = lw_buffer_in(on->memory);
    uint64_t bytes = 0;
    if (!open_store(on)) {
        return;
    }
    for (uint32_t index = 0; index < 2; index++) {
        lw_batch_put(log_begin(on), lw_text(keys[index]), lw_view(value, sizeof(value)));
        apply_last(on);
        insist(on, lw_tree_flush, "flush");
    }
    lw_key_range range = {.lower = lw_text("a"), .upper = lw_text("m1")};
    if (lw_tree_middle(on->tree, &range, &key, &bytes) != LW_NOT_FOUND) {
        wrong(on, "a range has its middle where it has nothing");
    }
    range.upper = lw_text("n");
    if (lw_tree_middle(on->tree, &range, &key, &bytes) != LW_OK ||
        !lw_equal(lw_buffer_view(&key), lw_text("m1"))) {
        wrong(on, "its middle is not between two tables");
    }
    lw_buffer_reset(&key);
    close_store(on);
}

static void the_middle_of_a_range_is_within_it(void **state) {
    (void)state;
    bench *on = make(1, false);
    assert_true(run(on, middle_story));
    expect_right(on, "middle", 0);
    bench_drop(on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_store_is_as_the_model_with_values_apart),
        cmocka_unit_test(the_store_is_as_the_model_under_faults),
        cmocka_unit_test(a_damaged_value_costs_its_own_key_and_stays_where_it_is),
        cmocka_unit_test(the_check_names_the_damaged_value),
        cmocka_unit_test(a_value_whose_checksum_is_not_checked_is_noticed),
        cmocka_unit_test(a_missing_value_file_is_noticed),
        cmocka_unit_test(a_compaction_of_references_reads_and_writes_no_values),
        cmocka_unit_test(a_scan_reads_ahead_both_ways),
        cmocka_unit_test(a_value_that_was_just_read_is_in_the_cache),
        cmocka_unit_test(the_largest_value_is_in_memory_once),
        cmocka_unit_test(garbage_stays_below_what_is_alive),
        cmocka_unit_test(the_middle_of_a_range_is_within_it),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
