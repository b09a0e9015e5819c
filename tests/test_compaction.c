/* SPDX-License-Identifier: Apache-2.0 */
/* What a compaction decides, on versions that never had a file. */
#include "tests/unit.h"

#include "storage/compaction.h"
#include "storage/sieve.h"

enum { TABLE_SIZE = 1000 };

static struct {
    lw_env env;
    lw_table_folder folder;
    lw_version *version;
    uint64_t number;
} bench;

static int open_bench(void **state) {
    (void)state;
    bench.env = (lw_env){.memory = lw_memory_open()};
    static const lw_env_world world;
    bench.env.world = &world;
    bench.folder = (lw_table_folder){.env = &bench.env, .files = lw_map_in(bench.env.memory)};
    bench.version = lw_version_next(bench.env.memory, NULL, &(lw_version_change){0});
    bench.number = 0;
    return 0;
}

static int close_bench(void **state) {
    (void)state;
    lw_memory_close(bench.env.memory);
    return 0;
}

/* Adds a table; its sequences are above those of all before. */
static lw_table_file *add(uint32_t level, const char *low, const char *high, uint64_t size) {
    uint64_t number = ++bench.number;
    lw_table_info info = {.number = number,
                          .origin = number,
                          .size = size,
                          .entry_count = 1,
                          .sequence_min = number,
                          .sequence_max = number,
                          .key_min = lw_text(low),
                          .key_max = lw_text(high)};
    lw_table_file *file = lw_table_file_make(&bench.folder, &info);
    lw_version_file added = {.level = level, .file = file};
    bench.version = lw_version_next(bench.env.memory, bench.version,
                                    &(lw_version_change){.add = &added, .add_count = 1});
    assert_true(lw_version_check(bench.version));
    return file;
}

static lw_compaction pick(uint32_t level, const char *turn) {
    return lw_compaction_of_level(bench.env.memory, bench.version, level, lw_text(turn));
}

static void expect_inputs(const lw_compaction *compaction, const char *numbers) {
    char text[128] = "";
    size_t size = 0;
    for (uint32_t run = 0, index = 0; run < compaction->run_count; run++) {
        for (; index < compaction->run_ends[run]; index++) {
            uint64_t number = compaction->inputs[index]->info.number;
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%u ", (unsigned)number);
        }
        size += (size_t)snprintf(text + size, sizeof(text) - size, "| ");
    }
    assert_string_equal(text, numbers);
}

/* Adds what is seen of a table from `lower` on and below `upper`. */
static lw_table_file *add_clipped(uint32_t level, const char *low, const char *high,
                                  const char *lower, const char *upper) {
    lw_table_info info = {.number = ++bench.number,
                          .origin = 1,
                          .size = 1,
                          .entry_count = 1,
                          .sequence_min = bench.number,
                          .sequence_max = bench.number,
                          .key_min = lw_text(low),
                          .key_max = lw_text(high),
                          .clip = {.lower = lw_text(lower), .upper = lw_text(upper)}};
    lw_table_file *file = lw_table_file_make(&bench.folder, &info);
    lw_version_file added = {.level = level, .file = file};
    bench.version = lw_version_next(bench.env.memory, bench.version,
                                    &(lw_version_change){.add = &added, .add_count = 1});
    return file;
}

/* ---- versions -----------------------------------------------------------------------------------
 */

static void level_0_comes_newest_first_and_others_by_key(void **state) {
    (void)state;
    add(0, "a", "m", 1);
    add(0, "c", "z", 1);
    add(1, "p", "z", 1);
    add(1, "a", "b", 1);
    assert_int_equal(lw_version_files(bench.version, 0)[0]->info.number, 2);
    assert_int_equal(lw_version_files(bench.version, 0)[1]->info.number, 1);
    assert_int_equal(lw_version_files(bench.version, 1)[0]->info.number, 4);
    assert_int_equal(lw_version_files(bench.version, 1)[1]->info.number, 3);
}

static void overlapping_tables_of_a_level_are_noticed(void **state) {
    (void)state;
    add(1, "a", "f", 1);
    lw_table_info info = {.number = 9, .key_min = lw_text("f"), .key_max = lw_text("z")};
    lw_version_file added = {.level = 1, .file = lw_table_file_make(&bench.folder, &info)};
    lw_version *broken = lw_version_next(bench.env.memory, bench.version,
                                         &(lw_version_change){.add = &added, .add_count = 1});
    assert_false(lw_version_check(broken));
}

static void a_version_keeps_its_tables_until_it_is_released(void **state) {
    (void)state;
    lw_table_file *file = add(0, "a", "b", 1);
    lw_shared_file *shared = file->shared;
    lw_table_file_release(file); /* what `add` held */
    lw_version *with = bench.version;
    lw_version *without = lw_version_next(bench.env.memory, with,
                                          &(lw_version_change){.remove = &file, .remove_count = 1});
    assert_int_equal(lw_version_count(without, 0), 0);
    assert_int_equal(lw_version_count(with, 0), 1);
    assert_null(bench.folder.unused);
    lw_version_release(with);
    assert_ptr_equal(bench.folder.unused, shared);
    bench.version = without;
}

static void names_of_tables_are_their_numbers(void **state) {
    (void)state;
    char path[LW_PATH_SIZE];
    uint64_t number = 0;
    assert_int_equal(lw_table_path(path, "d/sst", 0xabcdef), LW_OK);
    assert_string_equal(path, "d/sst/0000000000abcdef");
    assert_true(lw_table_name_number("0000000000abcdef", &number));
    assert_int_equal(number, 0xabcdef);
    assert_false(lw_table_name_number("0000000000ABCDEF", &number));
    assert_false(lw_table_name_number("abcdef", &number));
    assert_false(lw_table_name_number("0000000000abcdefg", &number));
}

static void a_key_is_looked_for_in_every_level_that_may_hold_it(void **state) {
    (void)state;
    add(1, "a", "c", 1);
    add(3, "f", "h", 1);
    assert_true(lw_version_may_hold(bench.version, 0, lw_text("b")));
    assert_false(lw_version_may_hold(bench.version, 2, lw_text("b")));
    assert_true(lw_version_may_hold(bench.version, 2, lw_text("f")));
    assert_true(lw_version_may_hold(bench.version, 3, lw_text("h")));
    assert_false(lw_version_may_hold(bench.version, 0, lw_text("d")));
}

static void a_clipped_table_ends_before_its_upper_bound(void **state) {
    (void)state;
    lw_table_file *left = add_clipped(1, "b", "y", "", "m");
    lw_table_file *right = add_clipped(1, "b", "y", "m", "");
    assert_true(lw_version_check(bench.version)); /* V3: they meet, and do not overlap */
    assert_false(lw_table_files_overlap(left, right));
    lw_table_file *const *files = lw_version_files(bench.version, 1);
    assert_int_equal(lw_files_find(files, 2, lw_text("lz")), 0);
    assert_int_equal(lw_files_find(files, 2, lw_text("m")), 1);
    lw_bytes key = lw_text("m");
    assert_false(lw_table_file_overlaps(left, &key, &key));
    assert_true(lw_table_file_overlaps(right, &key, &key));
    key = lw_text("lz");
    assert_true(lw_table_file_overlaps(left, &key, &key));
    assert_false(lw_table_file_overlaps(right, &key, &key));
    assert_true(lw_version_may_hold(bench.version, 1, lw_text("m")));
    (void)add_clipped(1, "b", "y", "", "c");
    assert_false(lw_version_check(bench.version));
}

static void a_clipped_table_moves_beside_its_neighbour(void **state) {
    (void)state;
    (void)add_clipped(2, "b", "y", "", "m");
    (void)add_clipped(1, "b", "y", "m", "");
    lw_compaction compaction = pick(1, "");
    assert_true(compaction.move);
    lw_compaction_reset(&compaction);
}

/* ---- picking ------------------------------------------------------------------------------------
 */

static void the_level_furthest_above_its_limit_is_picked(void **state) {
    (void)state;
    double score = 0;
    add(0, "a", "b", 10);
    assert_int_equal(lw_compaction_level(bench.version, TABLE_SIZE, &score), 0);
    assert_true(score > 0.2 && score < 0.3);
    add(1, "a", "b", 12 * TABLE_SIZE);
    assert_int_equal(lw_compaction_level(bench.version, TABLE_SIZE, &score), 1);
    assert_true(score > 1.4 && score < 1.6);
    add(2, "a", "b", 200 * TABLE_SIZE);
    assert_int_equal(lw_compaction_level(bench.version, TABLE_SIZE, &score), 2);
    /* The last level has nowhere to go. */
    add(LW_LEVEL_COUNT - 1, "a", "b", (uint64_t)1 << 60);
    assert_int_equal(lw_compaction_level(bench.version, TABLE_SIZE, &score), 2);
}

static void level_0_goes_down_as_a_whole_with_what_it_overlaps(void **state) {
    (void)state;
    add(1, "a", "c", 1);
    add(1, "k", "l", 1);
    add(1, "x", "z", 1);
    add(0, "b", "d", 1);
    add(0, "c", "k", 1);
    lw_compaction compaction = pick(0, "");
    expect_inputs(&compaction, "5 | 4 | 1 2 | ");
    assert_int_equal(compaction.output_level, 1);
    assert_false(compaction.move);
    lw_compaction_reset(&compaction);
}

static void tables_below_a_gap_of_level_0_are_merged_too(void **state) {
    (void)state;
    add(1, "a", "c", 1);
    add(1, "k", "l", 1);
    add(1, "x", "z", 1);
    add(0, "b", "d", 1);
    add(0, "p", "q", 1);
    lw_compaction compaction = pick(0, "");
    /* An output may reach from b to q, over k to l. */
    expect_inputs(&compaction, "5 | 4 | 1 2 | ");
    assert_false(compaction.move);
    lw_compaction_reset(&compaction);
}

static void tables_that_overlap_nothing_are_moved(void **state) {
    (void)state;
    add(1, "m", "p", 1);
    add(0, "a", "c", 1);
    add(0, "d", "f", 1);
    lw_compaction compaction = pick(0, "");
    assert_true(compaction.move);
    lw_compaction_reset(&compaction);
    add(0, "c", "c", 1);
    compaction = pick(0, "");
    assert_false(compaction.move);
    lw_compaction_reset(&compaction);
}

static void deeper_levels_go_down_in_turn_around_the_key_space(void **state) {
    (void)state;
    add(2, "a", "d", 1);
    add(1, "a", "c", 1);
    add(1, "d", "f", 1);
    lw_compaction compaction = pick(1, "");
    expect_inputs(&compaction, "2 | 1 | ");
    lw_compaction_reset(&compaction);
    compaction = pick(1, "c");
    expect_inputs(&compaction, "3 | 1 | ");
    lw_compaction_reset(&compaction);
    compaction = pick(1, "f");
    expect_inputs(&compaction, "2 | 1 | ");
    lw_compaction_reset(&compaction);
}

static void everything_goes_into_the_deepest_level_in_use(void **state) {
    (void)state;
    add(3, "a", "d", 1);
    add(1, "a", "c", 1);
    add(1, "d", "f", 1);
    add(0, "a", "z", 1);
    lw_compaction compaction = lw_compaction_of_all(bench.env.memory, bench.version);
    expect_inputs(&compaction, "4 | 2 3 | 1 | ");
    assert_int_equal(compaction.output_level, 3);
    lw_compaction_reset(&compaction);
}

/* ---- what is kept -------------------------------------------------------------------------------
 */

static bool keeps(lw_sieve *sieve, const char *key, uint64_t sequence, lw_entry_kind kind) {
    lw_entry entry = {.key = lw_text(key), .sequence = sequence, .kind = kind};
    return lw_sieve_keeps(sieve, &entry);
}

static void only_the_newest_entry_of_a_key_is_kept(void **state) {
    (void)state;
    lw_sieve sieve = lw_sieve_in(&bench.env, bench.version, 2);
    assert_true(keeps(&sieve, "", 9, LW_ENTRY_PUT));
    assert_false(keeps(&sieve, "", 8, LW_ENTRY_PUT));
    assert_true(keeps(&sieve, "a", 7, LW_ENTRY_PUT));
    assert_false(keeps(&sieve, "a", 3, LW_ENTRY_DELETE));
    assert_true(keeps(&sieve, "ab", 3, LW_ENTRY_PUT));
    lw_sieve_reset(&sieve);
}

static void a_deletion_is_kept_while_something_may_lie_below(void **state) {
    (void)state;
    add(1, "a", "z", 1);
    add(2, "b", "c", 1);
    lw_sieve sieve = lw_sieve_in(&bench.env, bench.version, 2);
    assert_false(keeps(&sieve, "a", 9, LW_ENTRY_DELETE));
    assert_false(keeps(&sieve, "a", 8, LW_ENTRY_PUT));
    assert_true(keeps(&sieve, "b", 9, LW_ENTRY_DELETE));
    assert_false(keeps(&sieve, "b", 8, LW_ENTRY_PUT));
    assert_false(keeps(&sieve, "d", 9, LW_ENTRY_DELETE));
    lw_sieve_reset(&sieve);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)
        STORY(a_clipped_table_ends_before_its_upper_bound),
        STORY(a_clipped_table_moves_beside_its_neighbour),
        STORY(level_0_comes_newest_first_and_others_by_key),
        STORY(overlapping_tables_of_a_level_are_noticed),
        STORY(a_version_keeps_its_tables_until_it_is_released),
        STORY(names_of_tables_are_their_numbers),
        STORY(a_key_is_looked_for_in_every_level_that_may_hold_it),
        STORY(the_level_furthest_above_its_limit_is_picked),
        STORY(level_0_goes_down_as_a_whole_with_what_it_overlaps),
        STORY(tables_below_a_gap_of_level_0_are_merged_too),
        STORY(tables_that_overlap_nothing_are_moved),
        STORY(deeper_levels_go_down_in_turn_around_the_key_space),
        STORY(everything_goes_into_the_deepest_level_in_use),
        STORY(only_the_newest_entry_of_a_key_is_kept),
        STORY(a_deletion_is_kept_while_something_may_lie_below),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
