/* SPDX-License-Identifier: Apache-2.0 */
/* What strikes in a run, recorded and given again: sim/strike.h. */
#include "sim/scenario.h"
#include "tests/unit.h"

#include <stdlib.h>

static int arm(void **state) {
    (void)state;
    alarm(120);
    return 0;
}

typedef struct bench {
    lw_memory *memory;
    lw_strike_list struck;
    lw_run_result result;
} bench;

static bench run(const char *scenario, uint64_t seed, const lw_strike_list *given,
                 const bool *allowed) {
    lw_memory *memory = lw_memory_open();
    bench on = {.memory = memory, .struck = lw_strike_list_in(memory)};
    lw_run_options options = {.scenario = lw_scenario_find(scenario),
                              .seed = seed,
                              .allowed = allowed,
                              .strikes = given,
                              .struck = &on.struck};
    lw_scenario_run(&options, memory, NULL, NULL, &on.result);
    lw_buffer_reset(&on.result.failures);
    return on;
}

static void drop(bench *on) {
    lw_strike_list_reset(&on->struck);
    lw_memory_close(on->memory);
}

/* STRIKE 1 */
static void what_struck_given_again_is_the_same_run(void **state) {
    (void)state;
    const char *scenarios[] = {"crash",         "disk",          "rot",   "lattice-disk",
                               "lattice-moves", "lattice-storm", "gossip"};
    for (size_t index = 0; index < sizeof(scenarios) / sizeof(scenarios[0]); index++) {
        bench drawn = run(scenarios[index], 3, NULL, NULL);
        assert_true(drawn.struck.count > 0);
        bench given = run(scenarios[index], 3, &drawn.struck, NULL);
        assert_true(given.result.hash == drawn.result.hash);
        assert_true(given.struck.count == drawn.struck.count);
        drop(&given);
        drop(&drawn);
    }
}

/* Also in a run that went otherwise before: trouble keeps its times and its targets. */
static void trouble_stays_where_it_is_when_some_is_taken_out(void **state) {
    (void)state;
    bench whole = run("crash", 1, NULL, NULL);
    lw_strike_list part = lw_strike_list_in(whole.memory);
    for (size_t index = 0; index < whole.struck.count; index++) {
        const lw_strike *each = &whole.struck.items[index];
        if (each->fault == LW_FAULT_CUT || each->fault == LW_FAULT_PAUSE) {
            lw_strike_list_add(&part, each);
        }
    }
    assert_true(part.count > 0 && part.count < whole.struck.count);
    bench again = run("crash", 1, &part, NULL);
    for (size_t index = 0; index < again.struck.count; index++) {
        const lw_strike *each = &again.struck.items[index];
        assert_true(each->fault == LW_FAULT_CUT || each->fault == LW_FAULT_PAUSE);
    }
    /* What was to strike while its target was down strikes now, if it was in the list: no more. */
    assert_true(again.struck.count <= part.count);
    for (size_t index = 0; index < part.count; index++) {
        for (size_t other = 0; other < again.struck.count; other++) {
            const lw_strike *one = &part.items[index], *two = &again.struck.items[other];
            if (one->fault == two->fault && one->ordinal == two->ordinal) {
                assert_true(one->time_ns / 1000000000 == two->time_ns / 1000000000);
            }
        }
    }
    lw_strike_list_reset(&part);
    drop(&again);
    drop(&whole);
}

static void an_empty_list_is_a_run_without_faults(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_strike_list nothing = lw_strike_list_in(memory);
    bench calm = run("disk", 2, &nothing, NULL);
    assert_int_equal(calm.struck.count, 0);
    assert_true(calm.result.passed);
    drop(&calm);
    lw_memory_close(memory);
}

static void faults_that_are_left_out_do_not_strike(void **state) {
    (void)state;
    bool allowed[LW_FAULT_COUNT] = {[LW_FAULT_CRASH] = true, [LW_FAULT_SLOW_SEGMENT] = true};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        bench some = run("crash", seed, NULL, allowed);
        for (size_t index = 0; index < some.struck.count; index++) {
            assert_true(allowed[some.struck.items[index].fault]);
        }
        drop(&some);
    }
}

static void a_list_survives_being_written_and_read(void **state) {
    (void)state;
    bench drawn = run("lattice-disk", 4, NULL, NULL);
    lw_buffer text = lw_buffer_in(drawn.memory);
    lw_buffer_print(&text, "# a comment\n\n");
    lw_strike_list_print(&drawn.struck, &text);
    lw_strike_list read = lw_strike_list_in(drawn.memory);
    lw_status status = lw_strike_list_parse(&read, lw_view(text.data, text.size));
    if (status != LW_OK) {
        fail_msg("%s", lw_error_slot()->text);
    }
    assert_int_equal(read.count, drawn.struck.count);
    for (size_t index = 0; index < read.count; index++) {
        const lw_strike *one = &read.items[index], *other = &drawn.struck.items[index];
        assert_string_equal(one->place, other->place);
        assert_true(one->fault == other->fault && one->ordinal == other->ordinal);
    }
    lw_strike_list_reset(&read);
    lw_buffer_reset(&text);
    drop(&drawn);
}

static void a_wrong_line_is_named(void **state) {
    (void)state;
    const char *wrong[] = {"node1 sync_error",
                           "node1 sync_error 0",
                           "node1 no_such 1",
                           "node1 sync_error 1 2",
                           "a_place_with_a_name_too_long crash 1",
                           "node1 sync_error x7"};
    for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
        lw_memory *memory = lw_memory_open();
        lw_strike_list list = lw_strike_list_in(memory);
        char text[128];
        (void)snprintf(text, sizeof(text), "trouble crash 1\n%s\n", wrong[index]);
        assert_int_equal(lw_strike_list_parse(&list, lw_text(text)), LW_INVALID_ARGUMENT);
        assert_non_null(strstr(lw_error_slot()->text, "line 2 "));
        lw_strike_list_reset(&list);
        lw_memory_close(memory);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_struck_given_again_is_the_same_run),
        cmocka_unit_test(trouble_stays_where_it_is_when_some_is_taken_out),
        cmocka_unit_test(an_empty_list_is_a_run_without_faults),
        cmocka_unit_test(faults_that_are_left_out_do_not_strike),
        cmocka_unit_test(a_list_survives_being_written_and_read),
        cmocka_unit_test(a_wrong_line_is_named),
    };
    return cmocka_run_group_tests(tests, arm, NULL) != 0 ? 1 : 0;
}
