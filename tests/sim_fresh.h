/* SPDX-License-Identifier: Apache-2.0 */
/* Seeds of the simulation that nobody has run before: SIM_FRESH_GOAL of each scenario, one of each
 * after the other, or as many as the time allows, but at least a few. Some run twice, and must
 * repeat themselves. Two programs share the work, so that two processors do: test_sim_fresh.c has
 * the even seeds, test_sim_fresh_odd.c the odd ones.
 *
 * SIM_SEED names where they begin; without it the clock does. SIM_FRESH_SECONDS is the time. */
#ifndef LW_TESTS_SIM_FRESH_H
#define LW_TESTS_SIM_FRESH_H

#include "sim/child.h"
#include "tests/sim_seeds.h"

/* Under the sanitizers a run takes eight times as long, and the seeds of the other build are
 * enough. */
#ifdef __SANITIZE_ADDRESS__
enum { SIM_FRESH_SECONDS = 30 };
#else
enum { SIM_FRESH_SECONDS = 210 };
#endif
enum { SIM_FRESH_GOAL = 200, SIM_FRESH_ROUNDS_MIN = 2, SIM_FRESH_TWICE = 10 /* of so many, one */ };

static inline int sim_fresh_arm(void **state) {
    (void)state;
    alarm(290); /* the last round takes its time */
    return 0;
}

static inline uint64_t sim_number_of(const char *name, uint64_t otherwise) {
    const char *given = getenv(name);
    return given != NULL ? strtoull(given, NULL, 10) : otherwise;
}

static inline void sim_fresh_round(uint64_t seed, uint64_t round) {
    lw_memory *memory = lw_memory_open();
    for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
        if (round % SIM_FRESH_TWICE == 0) {
            sim_run_twice(one, seed);
        } else {
            (void)sim_run_once(memory, one, seed);
        }
    }
    lw_memory_close(memory);
}

/* `odd` is 0 or 1. */
static inline void sim_fresh_seeds_pass(uint64_t odd) {
    uint64_t begun = (uint64_t)time(NULL), rounds = 0;
    uint64_t first = (sim_number_of("SIM_SEED", begun) & ~UINT64_C(1)) + odd;
    bool asked = getenv("SIM_FRESH_SECONDS") != NULL;
    uint64_t seconds = sim_number_of("SIM_FRESH_SECONDS", SIM_FRESH_SECONDS);
    uint64_t goal = asked ? UINT64_MAX : SIM_FRESH_GOAL / 2;
    lw_child_keep_heap();
    print_message("fresh seeds from %" PRIu64 " on, every second one\n", first);
    while (rounds < SIM_FRESH_ROUNDS_MIN ||
           (rounds < goal && (uint64_t)time(NULL) - begun < seconds)) {
        sim_fresh_round(first + 2 * rounds, rounds);
        rounds++;
    }
    print_message("%" PRIu64 " fresh seeds of each scenario in %" PRIu64 " s\n", rounds,
                  (uint64_t)time(NULL) - begun);
}

#endif
