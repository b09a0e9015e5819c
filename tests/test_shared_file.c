/* SPDX-License-Identifier: Apache-2.0 */
/* How long a file lives that several trees, or several tables, refer to. */
#include "tests/unit.h"

#include "storage/version.h"

static struct {
    lw_env env;
    lw_table_folder folder;
} bench;

static int open_bench(void **state) {
    (void)state;
    static const lw_env_world world;
    bench.env = (lw_env){.memory = lw_memory_open(), .world = &world};
    bench.folder = (lw_table_folder){.env = &bench.env, .files = lw_map_in(bench.env.memory)};
    return 0;
}

static int close_bench(void **state) {
    (void)state;
    lw_memory_close(bench.env.memory);
    return 0;
}

/* Table 3 with its values in files 4 and `values`. */
static lw_table_file *make(uint64_t number, uint64_t values, const char *lower, const char *upper) {
    const lw_value_file files[] = {{.number = 4, .origin = 4, .live_size = 1, .size = 1},
                                   {.number = values, .origin = 4, .live_size = 1, .size = 1}};
    return lw_table_file_make(&bench.folder,
                              &(lw_table_info){.number = number,
                                               .origin = number,
                                               .entry_count = 1,
                                               .sequence_min = 1,
                                               .sequence_max = 1,
                                               .key_min = lw_text("b"),
                                               .key_max = lw_text("y"),
                                               .clip = {lw_text(lower), lw_text(upper)},
                                               .values = files,
                                               .value_count = 2});
}

/* The numbers of the files that nobody refers to, the latest first. */
static const char *unused(void) {
    static char text[64];
    size_t size = 0;
    text[0] = 0;
    for (lw_shared_file *file = bench.folder.unused; file != NULL; file = file->next_unused) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%u%s ", (unsigned)file->number,
                                 file->obsolete ? " goes" : "");
    }
    return text;
}

static void what_is_copied_from_a_clip_stands_alone(void **state) {
    (void)state;
    char lower[] = "f";
    lw_table_file *file = make(3, 5, lower, "p");
    lower[0] = 'x';
    assert_true(lw_equal(file->low, lw_text("f")));
    assert_true(lw_equal(file->high, lw_text("p")));
    assert_true(lw_equal(file->info.key_max, lw_text("y")));
    assert_int_equal(file->info.values[1].number, 5);
    lw_table_file_release(file);
}

static void two_places_of_a_table_share_its_file(void **state) {
    (void)state;
    lw_table_file *left = make(3, 5, "", "m"), *right = make(3, 5, "m", "");
    assert_ptr_equal(left->shared, right->shared);
    lw_shared_file_name(left->shared);
    lw_shared_file_name(right->shared);
    lw_shared_file_unname(left->shared);
    lw_table_file_release(left);
    assert_string_equal(unused(), "");
    lw_shared_file_unname(right->shared);
    assert_string_equal(unused(), ""); /* a snapshot may still read it */
    lw_table_file_release(right);
    assert_string_equal(unused(), "3 goes 5 goes 4 goes ");
}

static void values_live_until_the_last_table_that_refers_to_them(void **state) {
    (void)state;
    lw_table_file *first = make(3, 5, "", ""), *second = make(6, 7, "", "");
    lw_shared_file_name(first->shared);
    lw_shared_file_name(second->shared);
    lw_shared_file_unname(first->shared);
    lw_table_file_release(first);
    assert_string_equal(unused(), "3 goes 5 goes ");
    lw_shared_file_unname(second->shared);
    lw_table_file_release(second);
    assert_string_equal(unused(), "6 goes 7 goes 4 goes 3 goes 5 goes ");
}

static void what_no_edit_named_goes_and_what_may_be_named_stays(void **state) {
    (void)state;
    lw_table_file *known = make(3, 5, "", ""), *discarded = make(6, 7, "", ""),
                  *doubtful = make(8, 9, "", "");
    lw_shared_file_name(known->shared);
    lw_shared_file_discard(discarded->shared);
    lw_table_file_release(discarded);
    assert_string_equal(unused(), "6 goes 7 goes "); /* not 4, which a named table refers to */
    lw_table_file_release(doubtful);
    assert_string_equal(unused(), "8 9 6 goes 7 goes ");
    lw_table_file_release(known); /* the store closes */
    assert_string_equal(unused(), "3 5 4 8 9 6 goes 7 goes ");
}

/* In GB: what the machine has, what of it is ours, and what the tables take. */
static void tables_beyond_the_page_cache_are_read_past_it(void **state) {
    (void)state;
    assert_true(lw_table_folder_beyond(16, 8, 17));
    assert_false(lw_table_folder_beyond(16, 8, 16)); /* much of it is in the page cache */
    assert_true(lw_table_folder_beyond(18, 6, 25));
    assert_false(lw_table_folder_beyond(21, 6, 100)); /* which has what ours has not */
    assert_true(lw_table_folder_beyond(16, 20, 1));   /* there is none */
    assert_false(lw_table_folder_beyond(0, 20, 1));   /* nothing is known */
}

static void the_bytes_of_tables_are_those_that_the_catalog_names(void **state) {
    (void)state;
    lw_table_info info = {.number = 3, .entry_count = 1, .size = 100};
    lw_table_file *left = lw_table_file_make(&bench.folder, &info);
    lw_table_file *right = lw_table_file_make(&bench.folder, &info);
    assert_int_equal(bench.folder.table_bytes, 0);
    lw_shared_file_name(left->shared);
    lw_shared_file_name(right->shared);
    assert_int_equal(bench.folder.table_bytes, 100);
    lw_shared_file_unname(left->shared);
    assert_int_equal(bench.folder.table_bytes, 100);
    lw_shared_file_unname(right->shared);
    assert_int_equal(bench.folder.table_bytes, 0);
    lw_table_file_release(left);
    lw_table_file_release(right);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)
        STORY(what_is_copied_from_a_clip_stands_alone),
        STORY(two_places_of_a_table_share_its_file),
        STORY(values_live_until_the_last_table_that_refers_to_them),
        STORY(tables_beyond_the_page_cache_are_read_past_it),
        STORY(the_bytes_of_tables_are_those_that_the_catalog_names),
        STORY(what_no_edit_named_goes_and_what_may_be_named_stays),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
