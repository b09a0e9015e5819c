/* SPDX-License-Identifier: Apache-2.0 */
/* The marked places of the production code: how many there are, and that they are known without
 * being reached. */
#include "sim/coverage.h"
#include "sim/scenario.h"
#include "tests/unit.h"

/* Under the sanitizers a run takes eight times as long. */
#ifdef __SANITIZE_ADDRESS__
enum { SEEDS = 1, TAKEN_AT_LEAST = 50 };
#else
enum { SEEDS = 3, TAKEN_AT_LEAST = 80 };
#endif
enum { MARKS_AT_LEAST = 150, RARE_AT_LEAST = 100 };

static int arm(void **state) {
    (void)state;
    alarm(280);
    return 0;
}

static void the_linker_knows_every_place(void **state) {
    (void)state;
    assert_non_null(lw_scenario_find("lattice")); /* with all it runs, this program is linked */
    lw_memory *memory = lw_memory_open();
    size_t count = 0;
    const char **names = lw_place_names(memory, LW_PLACE_MARK, &count);
    assert_in_range(count, MARKS_AT_LEAST, lw_place_count());
    bool found = false;
    for (size_t index = 0; index < count; index++) {
        assert_true(index == 0 || strcmp(names[index - 1], names[index]) < 0);
        found = found || strcmp(names[index], "log.tail_cut") == 0;
    }
    assert_true(found);
    lw_free(memory, names);
    lw_memory_close(memory);
}

static void what_was_never_reached_is_told(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_coverage *coverage = lw_coverage_open(memory);
    lw_buffer text = lw_buffer_in(memory);
    size_t before = lw_coverage_missing(coverage, &text);
    lw_coverage_add(coverage, &(lw_mark){.name = "log.tail_cut", .count = 3});
    lw_buffer_clear(&text);
    assert_int_equal(lw_coverage_missing(coverage, &text), before - 1);
    lw_buffer_append_u8(&text, 0);
    assert_null(strstr((const char *)text.data, "never reached: log.tail_cut\n"));
    assert_non_null(strstr((const char *)text.data, "never reached: log.full\n"));
    lw_buffer_clear(&text);
    lw_coverage_print(coverage, true, &text);
    lw_buffer_append_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data, "marks       1 of "));
    assert_non_null(
        strstr((const char *)text.data, "log.tail_cut                             3\n"));
    lw_buffer_reset(&text);
    lw_memory_close(memory);
}

/* Each is active in about half of the runs, which the simulation's own seeds decide. */
static void every_rare_path_is_active_in_some_worlds(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    size_t count = 0;
    const char **names = lw_place_names(memory, LW_PLACE_RARE, &count);
    assert_in_range(count, RARE_AT_LEAST, lw_place_count());
    for (size_t index = 0; index < count; index++) {
        uint32_t active = 0;
        for (uint64_t seed = 1; seed <= 64; seed++) {
            active += lw_trace_rare_percent(seed, names[index]) > 0;
        }
        if (active < 16 || active > 48) {
            fail_msg("%s is active in %u of 64 worlds", names[index], active);
        }
    }
    lw_free(memory, names);
    lw_memory_close(memory);
}

/* Some seeds of every scenario: what one of them takes is enough. */
static void rare_paths_are_taken(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_coverage *coverage = lw_coverage_open(memory);
    for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            lw_run_options options = {.scenario = one, .seed = seed};
            lw_run_result result;
            lw_scenario_run(&options, memory, lw_coverage_add, coverage, &result);
            lw_buffer_reset(&result.failures);
        }
    }
    assert_in_range(lw_coverage_reached(coverage, LW_PLACE_RARE), TAKEN_AT_LEAST, 1000);
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_linker_knows_every_place),
        cmocka_unit_test(what_was_never_reached_is_told),
        cmocka_unit_test(every_rare_path_is_active_in_some_worlds),
        cmocka_unit_test(rare_paths_are_taken),
    };
    return cmocka_run_group_tests(tests, arm, NULL) != 0 ? 1 : 0;
}
