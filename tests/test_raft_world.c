/* SPDX-License-Identifier: Apache-2.0 */
/* Scenario `raft`: the consensus core under every fault at once, hundreds of seeds a run.
 * RAFT_RUNS=n makes more of them, RAFT_SEED=n begins at another seed; one is looked at with
 * `lathwork sim --scenario raft`. */
#include "sim/cores.h"
#include "tests/planted_bugs.h"
#include "tests/unit.h"

#include <inttypes.h>

#ifdef __SANITIZE_ADDRESS__
enum { RUNS = 60 };
#else
enum { RUNS = 400 };
#endif

static uint64_t number_of(const char *name, uint64_t otherwise) {
    const char *given = getenv(name);
    return given == NULL ? otherwise : strtoull(given, NULL, 10);
}

static lw_run_options options_of(uint64_t seed) {
    return (lw_run_options){.scenario = lw_scenario_find("raft"), .seed = seed};
}

/* ---- what holds ------------------------------------------------------------------------------ */

static const char *const counted[] = {
#define NAME(name, text) text,
    LW_CORES_COUNT_LIST(NAME)
#undef NAME
};

static void add_count(void *argument, const lw_mark *mark) {
    uint64_t *totals = argument;
    for (size_t index = 0; index < LW_CORES_COUNTS; index++) {
        totals[index] += strcmp(counted[index], mark->name) == 0 ? mark->count : 0;
    }
}

static void all_promises_are_kept_under_faults(void **state) {
    (void)state;
    uint64_t first = number_of("RAFT_SEED", 1), runs = number_of("RAFT_RUNS", RUNS);
    uint64_t totals[LW_CORES_COUNTS] = {0};
    for (uint64_t seed = first; seed < first + runs; seed++) {
        lw_memory *memory = lw_memory_open();
        lw_run_options options = options_of(seed);
        lw_run_result result;
        lw_scenario_run(&options, memory, add_count, totals, &result);
        if (!result.passed) {
            fail_msg("lathwork sim --scenario raft --seed %" PRIu64 ": %.*s", seed,
                     (int)result.failures.size, (const char *)result.failures.data);
        }
        lw_memory_close(memory);
    }
    for (size_t index = 0; index < LW_CORES_COUNTS; index++) {
        print_message("%s %" PRIu64 "\n", counted[index], totals[index]);
        assert_true(totals[index] > 0);
    }
}

static uint64_t hash_of(uint64_t seed, FILE *trace, uint32_t node_count) {
    lw_memory *memory = lw_memory_open();
    lw_run_options options = options_of(seed);
    options.trace = trace;
    options.node_count = node_count;
    lw_run_result result;
    lw_scenario_run(&options, memory, NULL, NULL, &result);
    assert_true(result.passed);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
    return result.hash;
}

static void a_seed_is_a_run_whether_it_is_looked_at_or_not(void **state) {
    (void)state;
    FILE *trace = tmpfile();
    assert_non_null(trace);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        assert_true(hash_of(seed, NULL, 0) == hash_of(seed, trace, 0));
        assert_true(hash_of(seed, NULL, 0) != hash_of(seed + 1, NULL, 0));
        assert_true(hash_of(seed, NULL, 3) != hash_of(seed, NULL, 7));
    }
    assert_true(ftell(trace) > 0);
    (void)fclose(trace);
}

/* What is left out leaves the rest where it was, so that failures can be shrunk. */
static void no_fault_strikes_that_is_not_allowed(void **state) {
    (void)state;
    static const bool allowed[LW_FAULT_COUNT] = {[LW_FAULT_PAUSE] = true};
    lw_memory *memory = lw_memory_open();
    for (uint64_t seed = 1; seed <= 10; seed++) {
        lw_strike_list struck = lw_strike_list_in(memory);
        lw_run_options options = options_of(seed);
        options.allowed = allowed;
        options.struck = &struck;
        lw_run_result result;
        lw_scenario_run(&options, memory, NULL, NULL, &result);
        assert_true(result.passed);
        for (size_t index = 0; index < struck.count; index++) {
            assert_int_equal(struck.items[index].fault, LW_FAULT_PAUSE);
        }
        lw_run_options again = options_of(seed);
        again.strikes = &struck;
        lw_run_result repeated;
        lw_scenario_run(&again, memory, NULL, NULL, &repeated);
        assert_true(repeated.hash == result.hash);
        lw_strike_list_reset(&struck);
    }
    lw_memory_close(memory);
}

/* ---- planted bugs ---------------------------------------------------------------------------- */

/* Whether each is found, tests/test_sim_bugs.c looks. */
static void every_bug_of_the_core_is_in_the_bank(void **state) {
    (void)state;
    static const char *const planted[] = {
#define NAME(name, text, rule) text,
        LW_RAFT_BUG_LIST(NAME)
#undef NAME
    };
    static const struct {
        const char *bug, *scenario;
        uint64_t seed;
    } bank[] = {
#define ENTRY(bug, scenario, seed) {bug, scenario, seed},
        LW_PLANTED_BUGS(ENTRY)
#undef ENTRY
    };
    for (size_t index = 0; index < LW_RAFT_BUG_COUNT; index++) {
        uint32_t found = 0;
        for (size_t place = 0; place < sizeof(bank) / sizeof(bank[0]); place++) {
            found += strcmp(bank[place].bug, planted[index]) == 0 &&
                     strcmp(bank[place].scenario, "raft") == 0 && bank[place].seed > 0;
        }
        if (found != 1) {
            fail_msg("tests/planted_bugs.h names no seed of scenario raft for %s", planted[index]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_promises_are_kept_under_faults),
        cmocka_unit_test(a_seed_is_a_run_whether_it_is_looked_at_or_not),
        cmocka_unit_test(no_fault_strikes_that_is_not_allowed),
        cmocka_unit_test(every_bug_of_the_core_is_in_the_bank),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
