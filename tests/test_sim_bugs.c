/* SPDX-License-Identifier: Apache-2.0 */
/* Planted bugs, each of which the simulation must find: how we know that it looks. */
#include "sim/scenario.h"
#include "tests/planted_bugs.h"
#include "tests/unit.h"

/* Under the sanitizers a run takes eight times as long: then every fourth bug will do. */
#ifdef __SANITIZE_ADDRESS__
enum { SHARE = 4 };
#else
enum { SHARE = 1 };
#endif
enum { BUG_SEEDS_MAX = 80 };

static int arm(void **state) {
    (void)state;
    alarm(290);
    return 0;
}

typedef struct hunt {
    const char *bug, *scenario;
    uint64_t first_seed; /* one that found it when it was last looked; others follow if not now; 0:
                            it takes too many for here */
} hunt;

/* In a child: ends with 0 when no seed finds the bug. A failed assertion finds it too. */
static void hunt_bug(void *argument) {
    const hunt *one = argument;
    const char *bugs[] = {one->bug, NULL};
    for (uint64_t seed = one->first_seed; seed < one->first_seed + BUG_SEEDS_MAX; seed++) {
        lw_memory *memory = lw_memory_open();
        lw_run_options options = {
            .scenario = lw_scenario_find(one->scenario), .seed = seed, .bugs = bugs};
        lw_run_result result;
        lw_scenario_run(&options, memory, NULL, NULL, &result);
        if (!result.passed) {
            _exit(1);
        }
        lw_memory_close(memory);
    }
}

/* Those that take more seeds are for `make sim-bugs`. */
static void planted_bugs_are_found(void **state) {
    (void)state;
#define HUNT(bug, scenario, seed) {bug, scenario, seed},
    static const hunt planted[] = {LW_PLANTED_BUGS(HUNT)};
#undef HUNT
    uint32_t missed = 0;
    for (size_t index = 0; index < sizeof(planted) / sizeof(planted[0]); index += SHARE) {
        hunt one = planted[index];
        char text[512];
        if (one.first_seed != 0 && unit_child(hunt_bug, &one, text, sizeof(text)) == 0) {
            print_error("%s was not found in %d seeds of %s\n", one.bug, BUG_SEEDS_MAX,
                        one.scenario);
            missed++;
        }
    }
    assert_int_equal(missed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_bugs_are_found),
    };
    return cmocka_run_group_tests(tests, arm, NULL) != 0 ? 1 : 0;
}
