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

/* Everything in level 0 belongs to the round. */
static lw_tuning tuning(void) {
    return (lw_tuning){
        .table_size = TABLE_SIZE, .round_sequence = bench.number, .slice_size = 2 * TABLE_SIZE};
}

static lw_need need(uint64_t safepoint) {
    lw_tuning with = tuning();
    with.round_sequence = 0;
    with.safepoint = safepoint;
    return lw_levels_need(bench.version, &with);
}

static lw_compaction pick_of(const lw_need *wanted) {
    lw_tuning with = tuning();
    return lw_compaction_of_need(bench.env.memory, bench.version, wanted, &with, NULL);
}

static lw_compaction pick(uint32_t level) {
    return pick_of(&(lw_need){.level = level});
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
    lw_compaction compaction = pick(1);
    assert_true(compaction.move);
    lw_compaction_reset(&compaction);
}

/* ---- picking ------------------------------------------------------------------------------------
 */

static void nearly_all_data_lies_in_the_last_level(void **state) {
    (void)state;
    lw_tuning with = tuning();
    assert_int_equal(lw_levels_of(bench.version, &with).base, LW_LEVEL_LAST);
    add(LW_LEVEL_LAST, "a", "b", 80 * TABLE_SIZE);
    assert_int_equal(lw_levels_of(bench.version, &with).base, LW_LEVEL_LAST);
    /* Ten batches of eight tables are merged one by one; above that the ratio is shared. */
    add(LW_LEVEL_LAST, "c", "d", 48 * TABLE_SIZE);
    lw_levels levels = lw_levels_of(bench.version, &with);
    assert_int_equal(levels.base, LW_LEVEL_LAST - 1);
    uint64_t target = levels.targets[levels.base]; /* 8 · 4 = 128 / 4 = 32 tables */
    assert_true(target > 31 * TABLE_SIZE && target <= 32 * TABLE_SIZE);
    with.batch_size = 100 * TABLE_SIZE;
    assert_int_equal(lw_levels_of(bench.version, &with).base, LW_LEVEL_LAST);
}

static void the_level_furthest_above_its_target_is_needed(void **state) {
    (void)state;
    assert_true(need(0).score == 0);
    add(LW_LEVEL_LAST, "a", "b", 128 * TABLE_SIZE);
    assert_true(need(0).score == 0); /* the last level has nowhere to go */
    add(0, "a", "b", 10);
    assert_true(need(0).score > 0.06 && need(0).score < 0.07 && need(0).debt == 0);
    add(LW_LEVEL_LAST - 1, "a", "b", 48 * TABLE_SIZE);
    assert_int_equal(need(0).level, LW_LEVEL_LAST - 1);
    assert_true(need(0).score > 1.2 && need(0).score < 1.5);
    assert_true(need(0).debt > 0);
    /* One above the base level only stands in the way. */
    add(2, "a", "b", 10);
    assert_int_equal(need(0).level, LW_LEVEL_LAST - 1);
    add(0, "a", "b", 10);
    for (uint32_t count = 2; count < 2 * LW_LEVEL0_COMPACT; count++) {
        add(0, "a", "b", 10);
    }
    assert_int_equal(need(0).level, 0);
}

static void a_table_with_much_to_drop_is_compacted_for_that(void **state) {
    (void)state;
    lw_table_file *last = add(LW_LEVEL_LAST, "a", "c", 128 * TABLE_SIZE);
    lw_table_file *above = add(LW_LEVEL_LAST - 1, "b", "d", TABLE_SIZE);
    above->info.entry_count = last->info.entry_count = 100;
    last->info.delete_count = 24;
    assert_null(need(0).file);
    last->info.delete_count = 26;
    assert_ptr_equal(need(0).file, last);
    lw_need wanted = need(0);
    lw_compaction compaction = pick_of(&wanted);
    expect_inputs(&compaction, "1 | ");
    assert_int_equal(compaction.output_level, LW_LEVEL_LAST);
    assert_false(compaction.move);
    lw_compaction_reset(&compaction);
    /* What was rewritten for it and kept it is left alone, until more can go. */
    last->swept = true;
    assert_null(need(0).file);
    last->info.stale_count = 60;
    last->info.stale_from = 1000;
    last->info.stale_to = 2000;
    assert_null(need(999).file);
    assert_ptr_equal(need(1900).file, last);
    last->swept_at = 1900;
    assert_null(need(1900).file);
    /* Where something lies below, deletions have to go down. */
    above->info.delete_count = 40;
    assert_null(need(0).file);
    above->info.delete_count = 60;
    wanted = need(0);
    compaction = pick_of(&wanted);
    expect_inputs(&compaction, "2 | 1 | ");
    lw_compaction_reset(&compaction);
}

static void tables_too_small_for_the_base_level_are_gathered(void **state) {
    (void)state;
    add(LW_LEVEL_LAST, "a", "z", 40 * TABLE_SIZE);
    for (uint32_t count = 0; count < LW_LEVEL0_COMPACT; count++) {
        add(0, "b", "c", TABLE_SIZE / 10);
    }
    lw_need wanted = need(0);
    assert_true(wanted.gather && wanted.level == 0);
    lw_compaction compaction = pick_of(&wanted);
    expect_inputs(&compaction,
                  "17 | 16 | 15 | 14 | 13 | 12 | 11 | 10 | 9 | 8 | 7 | 6 | 5 | 4 | 3 | 2 | ");
    assert_int_equal(compaction.output_level, 0);
    lw_compaction_reset(&compaction);
    /* What a round has begun goes down, and so does what is mostly deletions, or large enough. */
    lw_tuning with = tuning();
    with.round_sequence = 2;
    assert_false(lw_levels_need(bench.version, &with).gather);
    add(0, "b", "c", 2 * TABLE_SIZE);
    assert_false(need(0).gather);
    assert_int_equal(need(0).level, 0);
}

static void what_comes_to_the_bottom_with_deletions_is_not_just_moved(void **state) {
    (void)state;
    lw_table_file *file = add(LW_LEVEL_LAST - 1, "a", "c", TABLE_SIZE);
    add(LW_LEVEL_LAST, "d", "e", TABLE_SIZE);
    lw_compaction compaction = pick(LW_LEVEL_LAST - 1);
    assert_true(compaction.move);
    lw_compaction_reset(&compaction);
    file->info.delete_count = 1;
    compaction = pick(LW_LEVEL_LAST - 1);
    assert_false(compaction.move);
    lw_compaction_reset(&compaction);
}

static void level_0_goes_down_in_slices_of_the_key_space(void **state) {
    (void)state;
    for (char at = 'a'; at < 'z'; at = (char)(at + 2)) {
        add(LW_LEVEL_LAST, (char[]){at, 0}, (char[]){(char)(at + 1), 0}, TABLE_SIZE);
    }
    add(0, "b", "q", 1);
    add(0, "a", "g", 1);
    uint64_t round = bench.number;
    add(0, "a", "z", 1); /* came when the round was under way */
    lw_tuning with = tuning();
    with.round_sequence = round;
    lw_compaction compaction =
        lw_compaction_of_need(bench.env.memory, bench.version, &(lw_need){.level = 0}, &with, NULL);
    expect_inputs(&compaction, "15 | 14 | 1 2 | ");
    assert_int_equal(compaction.output_level, LW_LEVEL_LAST);
    assert_true(lw_equal(compaction.upper, lw_text("e")));
    assert_int_equal(compaction.sliced_count, 2);
    lw_compaction_reset(&compaction);
    /* A slice without an end takes what is left. */
    with.slice_size = 100 * TABLE_SIZE;
    compaction =
        lw_compaction_of_need(bench.env.memory, bench.version, &(lw_need){.level = 0}, &with, NULL);
    expect_inputs(&compaction, "15 | 14 | 1 2 3 4 5 6 7 8 9 | ");
    assert_int_equal(compaction.sliced_count + compaction.upper.size, 0);
    lw_compaction_reset(&compaction);
}

static void level_0_goes_down_as_a_whole_with_what_it_overlaps(void **state) {
    (void)state;
    add(1, "a", "c", 1);
    add(1, "k", "l", 1);
    add(1, "x", "z", 1);
    add(0, "b", "d", 1);
    add(0, "c", "k", 1);
    lw_compaction compaction = pick(0);
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
    lw_compaction compaction = pick(0);
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
    lw_compaction compaction = pick(0);
    assert_true(compaction.move);
    lw_compaction_reset(&compaction);
    add(0, "c", "c", 1);
    compaction = pick(0);
    assert_false(compaction.move);
    lw_compaction_reset(&compaction);
}

static void the_table_that_overlaps_least_for_its_size_goes_down(void **state) {
    (void)state;
    add(2, "a", "d", 5 * TABLE_SIZE);
    add(1, "a", "c", TABLE_SIZE);
    lw_table_file *large = add(1, "d", "f", 2 * TABLE_SIZE);
    lw_compaction compaction = pick(1);
    expect_inputs(&compaction, "3 | 1 | ");
    lw_compaction_reset(&compaction);
    add(2, "e", "f", 6 * TABLE_SIZE);
    compaction = pick(1);
    expect_inputs(&compaction, "2 | 1 | ");
    lw_compaction_reset(&compaction);
    /* What can be dropped counts. */
    large->info.delete_count = 1;
    compaction = pick(1);
    expect_inputs(&compaction, "3 | 1 4 | ");
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

/* A rule for the test: the entry is a deletion, needless at the bottom from 5 on. */
static lw_needless judge_hider(void *argument, lw_bytes key, lw_bytes value, size_t value_size,
                               uint64_t *state) {
    (void)argument, (void)key, (void)value, (void)value_size, (void)state;
    return (lw_needless){.from = UINT64_MAX, .at_bottom_from = 5};
}

static size_t first_letter(lw_bytes key) {
    return key.size > 0;
}

static bool keeps_hider(lw_table_file **inputs, uint32_t count, const char *upper,
                        uint64_t safepoint) {
    lw_sieve sieve = lw_sieve_in(&bench.env, bench.version, LW_LEVEL_LAST);
    sieve.retention.judge = judge_hider;
    sieve.filter_part = first_letter;
    sieve.safepoint = safepoint;
    sieve.upper = lw_text(upper);
    lw_sieve_merges(&sieve, inputs, count);
    bool kept = keeps(&sieve, "k5", 9, LW_ENTRY_PUT);
    lw_sieve_reset(&sieve);
    return kept;
}

static void what_hides_goes_only_where_nothing_of_its_part_is_left(void **state) {
    (void)state;
    lw_table_file *inputs[] = {add(1, "a", "k6", 1), add(1, "m", "z", 1)};
    assert_true(keeps_hider(inputs, 2, "", 4));
    assert_false(keeps_hider(inputs, 2, "", 5));
    /* What stands before it in the part does not matter, nor do other parts. */
    add(2, "k1", "k4", 1);
    add(2, "l", "n", 1);
    assert_false(keeps_hider(inputs, 2, "", 5));
    /* The rest of the part may lie behind the slice, in the next table of an input's level, above,
     * or at the very same key. */
    assert_true(keeps_hider(inputs, 2, "k6", 5));
    assert_false(keeps_hider(inputs, 2, "l", 5));
    lw_table_file *next = add(1, "k7", "k9", 1);
    assert_true(keeps_hider(inputs, 2, "", 5));
    assert_false(keeps_hider((lw_table_file *[]){inputs[0], next, inputs[1]}, 3, "", 5));
    inputs[1] = next;
    add(0, "k5", "k5", 1);
    assert_true(keeps_hider(inputs, 2, "", 5));
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
        STORY(nearly_all_data_lies_in_the_last_level),
        STORY(the_level_furthest_above_its_target_is_needed),
        STORY(a_table_with_much_to_drop_is_compacted_for_that),
        STORY(tables_too_small_for_the_base_level_are_gathered),
        STORY(what_comes_to_the_bottom_with_deletions_is_not_just_moved),
        STORY(level_0_goes_down_in_slices_of_the_key_space),
        STORY(level_0_goes_down_as_a_whole_with_what_it_overlaps),
        STORY(tables_below_a_gap_of_level_0_are_merged_too),
        STORY(tables_that_overlap_nothing_are_moved),
        STORY(the_table_that_overlaps_least_for_its_size_goes_down),
        STORY(everything_goes_into_the_deepest_level_in_use),
        STORY(only_the_newest_entry_of_a_key_is_kept),
        STORY(a_deletion_is_kept_while_something_may_lie_below),
        STORY(what_hides_goes_only_where_nothing_of_its_part_is_left),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
