/* SPDX-License-Identifier: Apache-2.0 */
/* Seeds of the simulation that nobody has run before: one of each scenario after the other, each
 * twice, until the time is over. How many that are depends on the machine; at least a few always.
 *
 * SIM_SEED names the first; without it the clock does. SIM_FRESH_SECONDS is the time.
 *
 * Of the scenarios of which about one seed in a hundred is known to fail (docs/SIMULATION.md) fresh
 * ones are run only for who asks for a time: else nobody could tell a new failure from those. */
#include "tests/sim_seeds.h"

enum { FRESH_SECONDS = 60, ROUNDS_MIN = 2 };

static const char *const unsettled[] = {"lattice", "lattice-disk", "lattice-moves", "lattice-storm",
                                        "lattice-rot"};

static bool settled(const lw_scenario *scenario) {
    bool found = false;
    for (size_t index = 0; index < sizeof(unsettled) / sizeof(unsettled[0]); index++) {
        found = found || strcmp(scenario->name, unsettled[index]) == 0;
    }
    return !found;
}

static int arm(void **state) {
    (void)state;
    alarm(290); /* the sanitizers take their time */
    return 0;
}

static uint64_t number_of(const char *name, uint64_t otherwise) {
    const char *given = getenv(name);
    return given != NULL ? strtoull(given, NULL, 10) : otherwise;
}

static void fresh_seeds_pass(void **state) {
    (void)state;
    uint64_t begun = (uint64_t)time(NULL), first = number_of("SIM_SEED", begun), rounds = 0;
    uint64_t seconds = number_of("SIM_FRESH_SECONDS", FRESH_SECONDS);
    print_message("fresh seeds from %" PRIu64 " on\n", first);
    while (rounds < ROUNDS_MIN || (uint64_t)time(NULL) - begun < seconds) {
        for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
            if (settled(one) || getenv("SIM_FRESH_SECONDS") != NULL) {
                sim_run_twice(one, first + rounds);
            }
        }
        rounds++;
    }
    print_message("%" PRIu64 " fresh seeds of each scenario\n", rounds);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_seeds_pass),
    };
    return cmocka_run_group_tests(tests, arm, NULL) != 0 ? 1 : 0;
}
