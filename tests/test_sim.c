/* SPDX-License-Identifier: Apache-2.0 */
/* The simulation as a test: some seeds of every scenario, each twice. Fresh ones are in
 * test_sim_fresh.c; planted bugs, which must be found, in test_sim_bugs.c. Seeds that once failed
 * for a real bug stay here for ever. */
#include "tests/sim_seeds.h"

/* Under the sanitizers a run takes eight times as long, and one in four shows what they can show.
 */
#ifdef __SANITIZE_ADDRESS__
enum { SHARE = 4 };
#else
enum { SHARE = 1 };
#endif

static int arm(void **state) {
    (void)state;
    alarm(280); /* the sanitizers take their time */
    return 0;
}

/* ---- seeds -------------------------------------------------------------------------------------
 */

static void run_twice(const char *name, uint64_t seed) {
    const lw_scenario *scenario = lw_scenario_find(name);
    assert_non_null(scenario);
    sim_run_twice(scenario, seed);
}

static void run_seeds(const char *name, uint64_t first, uint64_t count) {
    for (uint64_t seed = first; seed < first + (count + SHARE - 1) / SHARE; seed++) {
        run_twice(name, seed);
    }
}

static void without_faults_everything_works(void **state) {
    (void)state;
    run_seeds("calm", 1, 3);
}

static void crashes_and_a_bad_network_cost_no_promise(void **state) {
    (void)state;
    run_seeds("crash", 1, 10);
}

static void consensus_alone_keeps_its_promises(void **state) {
    (void)state;
    run_seeds("raft", 1, 100);
}

static void a_failing_disk_costs_no_promise(void **state) {
    (void)state;
    run_seeds("disk", 1, 10);
}

static void hostile_company_keeps_no_lattice_from_knowing_itself(void **state) {
    (void)state;
    run_seeds("gossip", 1, 40);
}

static void rotten_bits_are_never_served(void **state) {
    (void)state;
    run_seeds("rot", 1, 6);
}

static void shards_alone_keep_what_they_promised(void **state) {
    (void)state;
    run_seeds("shards", 1, 40);
}

static void links_alone_stand_hostile_company(void **state) {
    (void)state;
    run_seeds("links", 1, 30);
}

static void an_engine_of_its_own_keeps_what_it_promised(void **state) {
    (void)state;
    run_seeds("engine", 1, 20);
}

/* crash 10, 12: a pessimistic snapshot transaction lost an update. crash 17, 169: the scenario
 * struck at hosts without power, and before there were clients. disk 21 to 24: a replica that could
 * not open did not close either. calm 1: scans left tables out. calm 26: a lock outlived its
 * transaction by a minute. crash 49: an append, then a read under a lock that was lost with the
 * node, and an update that came in between. crash 33: an addition that had happened was told as
 * failed, since its answer was lost with its number. crash 2037: an async commit at the timestamp
 * that another had read at. disk 30: entries of a replica that had died stayed in its queue.
 * lattice-disk 1: a log that died making room left the node up. lattice-disk 10: a read error kept
 * a tree from being compacted for a minute. lattice-disk 131: a voter that held nothing yet did not
 * vote. lattice-moves 17: a replica that was taken away and came back lost what it acknowledged.
 * lattice-moves 5141: a compaction looked at the pressure of a tree that had been dropped.
 * lattice-moves 5046: replicas were compared that had been compacted at different safepoints.
 * lattice-disk 5130: a store that died while the node started left it up, mute. lattice-disk 5023:
 * a replica that had applied its own removal stayed, and a learner of a group at rest never voted.
 * crash 262: a store that closed waited until its reserve had grown.
 * engine 1817368231: a reader after a write that had failed was held against a world without it.
 * engine 1817369580: a compaction waited for memory while its tree gave all tables away.
 * disk 77001090: a merge and the sweeper of what it merges waited for each other. calm 77000975: a
 * node that was asked to stop made its reserve larger first, for 20 seconds.
 * shards 20: what was set aside for a merge that had happened elsewhere stayed for ever. shards
 * 21149: a node that decides noted one reader in ten seconds. shards 40605: a replica that was
 * being removed came back beside who had its keys by then. */
static void seeds_that_once_failed_still_pass(void **state) {
    (void)state;
    static const struct {
        const char *scenario;
        uint64_t seed;
    } failed[] = {{"crash", 12},
                  {"crash", 17},
                  {"crash", 169},
                  {"disk", 21},
                  {"disk", 22},
                  {"calm", 26},
                  {"crash", 33},
                  {"crash", 2037},
                  {"crash", 49},
                  {"disk", 23},
                  {"disk", 24},
                  {"disk", 49},
                  {"crash", 262},
                  {"disk", 236},
                  {"disk", 30},
                  {"lattice-disk", 1},
                  {"lattice-disk", 10},
                  {"lattice-disk", 131},
                  {"lattice-moves", 17},
                  {"lattice-moves", 5141},
                  {"lattice-moves", 5046},
                  {"lattice-disk", 5130},
                  {"lattice-disk", 5023},
                  {"engine", 1817368231},
                  {"engine", 1817369580},
                  {"disk", 77001090},
                  {"calm", 77000975},
                  {"shards", 20},
                  {"shards", 21149},
                  {"shards", 40605}};
    for (size_t index = 0; index < sizeof(failed) / sizeof(failed[0]); index++) {
        run_twice(failed[index].scenario, failed[index].seed);
    }
}

/* Constraints that two rows or a range keep together: snapshot isolation lets transactions break
 * them, and if it never did here, strict runs that never do would prove nothing. */
static void write_skew_shows_at_snapshot_isolation_and_never_at_strict(void **state) {
    (void)state;
    uint64_t broken = 0, strict_runs = 0;
    for (uint64_t seed = 1000; seed < 1060 && (broken == 0 || strict_runs < 3); seed++) {
        lw_memory *memory = lw_memory_open();
        lw_run_options options = {.scenario = lw_scenario_find("calm"), .seed = seed};
        lw_run_result result;
        lw_scenario_run(&options, memory, NULL, NULL, &result);
        assert_true(result.passed);
        assert_true(!result.strict || result.broken_constraints == 0);
        strict_runs += result.strict;
        broken += result.broken_constraints;
        lw_buffer_reset(&result.failures);
        lw_memory_close(memory);
    }
    assert_true(strict_runs > 0);
    assert_true(broken > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_everything_works),
        cmocka_unit_test(crashes_and_a_bad_network_cost_no_promise),
        cmocka_unit_test(a_failing_disk_costs_no_promise),
        cmocka_unit_test(hostile_company_keeps_no_lattice_from_knowing_itself),
        cmocka_unit_test(consensus_alone_keeps_its_promises),
        cmocka_unit_test(rotten_bits_are_never_served),
        cmocka_unit_test(shards_alone_keep_what_they_promised),
        cmocka_unit_test(links_alone_stand_hostile_company),
        cmocka_unit_test(an_engine_of_its_own_keeps_what_it_promised),
        cmocka_unit_test(seeds_that_once_failed_still_pass),
        cmocka_unit_test(write_skew_shows_at_snapshot_isolation_and_never_at_strict),
    };
    return cmocka_run_group_tests(tests, arm, NULL) != 0 ? 1 : 0;
}
