/* SPDX-License-Identifier: Apache-2.0 */
/* One seed of a scenario as a test, once or twice. */
#ifndef LW_TESTS_SIM_SEEDS_H
#define LW_TESTS_SIM_SEEDS_H

#include "sim/scenario.h"
#include "tests/unit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t sim_run_once(lw_memory *memory, const lw_scenario *scenario, uint64_t seed) {
    lw_run_options options = {.scenario = scenario, .seed = seed, .report = stderr};
    lw_run_result result;
    lw_scenario_run(&options, memory, NULL, NULL, &result);
    if (!result.passed) {
        fail_msg("lathwork sim --scenario %s --seed %" PRIu64 ": %.*s", scenario->name, seed,
                 (int)result.failures.size, (const char *)result.failures.data);
    }
    if (!result.damaged && result.committed == 0 && scenario->machines == NULL) {
        fail_msg("lathwork sim --scenario %s --seed %" PRIu64 ": nothing was committed",
                 scenario->name, seed);
    }
    lw_buffer_reset(&result.failures);
    return result.hash;
}

/* With the same seed the same happens. */
static inline void sim_run_twice(const lw_scenario *scenario, uint64_t seed) {
    lw_memory *memory = lw_memory_open();
    uint64_t hash = sim_run_once(memory, scenario, seed);
    assert_true(sim_run_once(memory, scenario, seed) == hash);
    assert_int_equal(lw_memory_used(memory), 0); /* a run leaves nothing behind */
    lw_memory_close(memory);
}

#endif
