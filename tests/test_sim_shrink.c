/* SPDX-License-Identifier: Apache-2.0 */
/* Shrinking a failure, and runs in processes of their own: sim/shrink.h, sim/child.h. */
#include "sim/shrink.h"
#include "tests/unit.h"

#ifdef __SANITIZE_ADDRESS__
enum { SECONDS = 30 };
#else
enum { SECONDS = 10 };
#endif
enum { SEEDS_MAX = 80, A_HANDFUL = 20 };

static int arm(void **state) {
    (void)state;
    alarm(290);
    return 0;
}

typedef struct bench {
    lw_memory *memory;
    const char *bugs[2];
    lw_run_options options;
    lw_child_outcome outcome;
} bench;

static bench set_up(const char *bug, const char *scenario, uint64_t seed) {
    return (bench){.memory = lw_memory_open(),
                   .bugs = {bug, NULL},
                   .options = {.scenario = lw_scenario_find(scenario), .seed = seed}};
}

static void drop(bench *on) {
    lw_child_outcome_reset(&on->outcome);
    lw_memory_close(on->memory);
}

static void run(bench *on, const lw_strike_list *given) {
    lw_strike_list wanted = lw_strike_list_in(on->memory);
    lw_run_options options = on->options;
    options.bugs = on->bugs;
    options.strikes = given;
    options.struck = &wanted;
    options.report = stderr;
    lw_child_run(&options, false, on->memory, NULL, NULL, &on->outcome);
}

/* Looks for a seed that shows the bug, from the first one on. */
static void hunt(bench *on) {
    run(on, NULL);
    for (uint32_t more = SEEDS_MAX; on->outcome.result.passed; more--) {
        assert_true(more > 0);
        lw_child_outcome_reset(&on->outcome);
        on->options.seed++;
        run(on, NULL);
    }
    lw_buffer_append_u8(&on->outcome.result.failures, 0);
}

/* The smallest list must fail again, and always in the same way. */
static void replay(bench *on, const lw_strike_list *smallest) {
    run(on, smallest);
    assert_false(on->outcome.result.passed);
    assert_true(on->outcome.struck.count <= smallest->count);
    uint64_t hash = on->outcome.result.hash;
    lw_child_outcome_reset(&on->outcome);
    run(on, smallest);
    assert_true(on->outcome.result.hash == hash);
}

/* How many strikes are left of the first seed from this one on that shows the bug; moves on to the
 * next one. */
static size_t shrink_bug(const char *bug, const char *scenario, uint64_t *seed) {
    bench on = set_up(bug, scenario, *seed);
    hunt(&on);
    *seed = on.options.seed + 1;
    lw_child_outcome found = on.outcome;
    lw_shrink shrink = {.run = on.options,
                        .failures = (const char *)found.result.failures.data,
                        .seconds = SECONDS,
                        .smallest = lw_strike_list_in(on.memory)};
    shrink.run.bugs = on.bugs;
    for (size_t index = 0; index < found.struck.count; index++) {
        lw_strike_list_add(&shrink.smallest, &found.struck.items[index]);
    }
    assert_true(lw_shrink_run(&shrink, on.memory));
    size_t left = shrink.smallest.count;
    print_message("%s, seed %u: %zu of %zu strikes, %u runs\n", bug, (unsigned)on.options.seed,
                  left, found.struck.count, (unsigned)shrink.attempts);
    replay(&on, &shrink.smallest);
    lw_strike_list_reset(&shrink.smallest);
    lw_child_outcome_reset(&found);
    drop(&on);
    return left;
}

/* Some failures take the luck of a whole run; of a few seeds one does not. */
static void what_was_not_durable_takes_few_faults_to_show(void **state) {
    (void)state;
    uint64_t seed = 1;
    size_t least = SIZE_MAX;
    for (int tried = 0; tried < 6 && least > A_HANDFUL; tried++) {
        size_t left = shrink_bug("log.ack_before_durable", "disk", &seed);
        least = left < least ? left : least;
    }
    assert_true(least <= A_HANDFUL);
}

static void a_bug_that_shows_without_faults_needs_none(void **state) {
    (void)state;
    uint64_t seed = 1;
    assert_int_equal(shrink_bug("group.apply_uncommitted", "lattice", &seed), 0);
}

/* An assertion of the production code ends the child, not us; and what struck is known. */
static void a_failed_assertion_is_a_failure_with_what_struck(void **state) {
    (void)state;
    bench on = set_up("group.apply_uncommitted", "lattice", 1);
    hunt(&on);
    assert_false(on.outcome.ended);
    assert_non_null(strstr((const char *)on.outcome.result.failures.data, "assertion failed"));
    assert_true(on.outcome.struck.count > 0);
    drop(&on);
}

/* What the heap holds, and where it lies, decides nothing. */
static void another_heap_gives_the_same_run(void **state) {
    (void)state;
    bench one = set_up(NULL, "lattice-disk", 7);
    bench other = set_up(NULL, "lattice-disk", 7);
    lw_child_run(&one.options, false, one.memory, NULL, NULL, &one.outcome);
    lw_child_run(&other.options, true, other.memory, NULL, NULL, &other.outcome);
    if (!one.outcome.ended || !other.outcome.ended) {
        const lw_buffer *report = one.outcome.ended ? &other.outcome.report : &one.outcome.report;
        fail_msg("%.*s", (int)report->size, (const char *)report->data);
    }
    assert_true(one.outcome.result.hash == other.outcome.result.hash);
    drop(&one);
    drop(&other);
}

static void a_failure_is_known_by_what_stands_before_its_details(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"internal: transaction 80 (process 0)\ncounter: x\n", "internal"},
        {"counter: an addition made it 29\n", "counter"},
        {"a node holds 3 keys twice", "a node holds "},
        {"a/b.c:7: assertion failed: x < 5 (fiber node)\n", "a/b.c:7: assertion failed: x < 5"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        lw_bytes property = lw_shrink_property(cases[index][0]);
        assert_true(lw_equal(property, lw_text(cases[index][1])));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_not_durable_takes_few_faults_to_show),
        cmocka_unit_test(a_bug_that_shows_without_faults_needs_none),
        cmocka_unit_test(a_failed_assertion_is_a_failure_with_what_struck),
        cmocka_unit_test(another_heap_gives_the_same_run),
        cmocka_unit_test(a_failure_is_known_by_what_stands_before_its_details),
    };
    return cmocka_run_group_tests(tests, arm, NULL) != 0 ? 1 : 0;
}
