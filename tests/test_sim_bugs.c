/* SPDX-License-Identifier: Apache-2.0 */
/* Planted bugs, each of which the simulation must find: how we know that it looks. */
#include "sim/scenario.h"
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
    uint64_t first_seed; /* one that found it when it was last looked; others follow if not now */
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

/* Those that no run shows, and the tests that do, are in docs/SIMULATION.md. */
static void planted_bugs_are_found(void **state) {
    (void)state;
    static const hunt planted[] = {
        {"client.doubt_is_failure", "crash", 2},
        {"gc.passes_pins", "calm", 3},
        {"gc.read_below_the_safepoint", "calm", 3},
        {"group.apply_uncommitted", "lattice", 1},
        {"identity.no_directory_sync", "crash", 1},
        {"log.ack_before_durable", "disk", 1},
        {"log.ignore_durable_mark", "rot", 6},
        {"log.no_directory_sync", "disk", 1},
        {"raft.any_log_elected", "lattice", 5},
        {"raft.learners_counted", "lattice", 1},
        {"scrub.skips_checksums", "lattice-rot", 1},
        {"shard.child_without_locks", "calm", 1},
        {"shard.route_unchecked", "calm", 21},
        {"shard.split_without_latch", "calm", 1},
        {"shards.overlap_ignored", "lattice", 1},
        {"store.clip_ignored", "calm", 1},
        {"store.drop_hider_early", "calm", 3},
        {"store.drop_tombstone_early", "calm", 5},
        {"store.flush_index_before_table", "disk", 1},
        {"store.no_directory_sync", "crash", 1},
        {"store.unlink_before_catalog", "disk", 1},
        {"timestamps.stale_cached_timestamp", "lattice", 4},
        {"txn.apply_before_durable", "crash", 3},
        {"txn.check_ignores_expiry", "calm", 1},
        {"txn.commit_without_lock", "crash", 23},
        {"txn.expired_by_the_clock", "calm", 1},
        {"txn.expiring_dropped_early", "calm", 7},
        {"txn.expiry_not_validated", "calm", 4},
        {"txn.fallback_kept_async", "calm", 1},
        {"txn.floor_lost", "crash", 3},
        {"txn.missing_counts_as_locked", "crash", 2},
        {"txn.missing_is_rolled_back", "crash", 14},
        {"txn.no_idempotence", "crash", 3},
        {"txn.no_validation", "calm", 1},
        {"txn.prewrite_not_drawn", "calm", 3},
        {"txn.ranges_not_validated", "calm", 1},
        {"txn.read_ignores_locks", "calm", 3},
        {"txn.read_mark_ignored", "calm", 1},
        {"txn.reads_ignore_latches", "calm", 3},
        {"txn.rollback_of_committed", "crash", 1},
        {"txn.secondary_decided_alone", "calm", 1},
        {"txn.seen_ignored", "calm", 1},
        {"txn.snapshot_of_before", "calm", 1},
        {"txn.timestamps_shared", "calm", 1},
        {"txn.written_not_marked", "calm", 3},
        {"value.live_file_removed", "calm", 1},
        {"value.not_synced", "calm", 1},
    };
    uint32_t missed = 0;
    for (size_t index = 0; index < sizeof(planted) / sizeof(planted[0]); index += SHARE) {
        hunt one = planted[index];
        char text[512];
        if (unit_child(hunt_bug, &one, text, sizeof(text)) == 0) {
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
