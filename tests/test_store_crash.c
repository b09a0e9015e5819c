/* SPDX-License-Identifier: Apache-2.0 */
/* One story of a store, told again and again: with the power cut at every step of its flushes,
 * compactions and catalog edits, with a full disk at every extension, with each sync, read and
 * write failing. And the planted bugs that only this finds. */
#include "tests/store_bench.h"

/* Flushes, compactions of each kind, moves, deletions that reach the bottom, and rewritten
 * catalogs. */
static void steady_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    apply_puts(on, 0, 40);
    insist(on, lw_tree_flush, "flush");
    held *one = &on->held[0];
    *one = (held){.snapshot = lw_snapshot_open(on->tree), .model = on->now};
    apply_deletes(on, 10, 20);
    insist(on, lw_tree_flush, "flush");
    apply_puts(on, 5, 30);
    insist(on, lw_tree_flush, "flush");
    apply_puts(on, 60, 40);
    insist(on, lw_tree_flush, "flush");
    insist(on, lw_tree_compact, "compact");
    for (uint32_t index = 0; index < KEY_COUNT && !on->stopped; index++) {
        check_get(on, one->snapshot, &one->model, index);
    }
    apply_deletes(on, 0, KEY_COUNT / 2);
    insist(on, lw_tree_flush, "flush");
    apply_puts(on, 100, 10);
    insist(on, lw_tree_compact, "compact");
    if (!on->stopped) {
        check_everything(on);
        close_store(on);
    }
}

/* Cuts the power at a step of the story, then at a step of the recovery, then verifies. False when
 * the story came to its end before. */
static bool crash_at(bench *on, uint64_t step, lw_crash crash) {
    lw_host_crash_after(on->host, step, crash);
    bool ended = run(on, steady_story);
    bench_boot(on, true);
    lw_host_crash_after(on->host, step % 17, crash);
    (void)run(on, verify_story);
    bench_boot(on, true);
    lw_host_crash_after(on->host, UINT32_MAX, crash);
    (void)run(on, verify_story);
    return !ended;
}

static void the_power_may_go_at_any_step(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        lw_faults faults = lw_faults_none();
        faults.rare_paths = seed % 2 == 0;
        bool more = true;
        for (uint64_t step = 0; more; step++) {
            bench *on = bench_make(seed, &faults);
            more = crash_at(on, step, (lw_crash)((step + seed) % 3));
            expect_right(on, "power cut at step", step);
            bench_drop(on);
        }
    }
}

/* Lets the n-th occasion of a fault hit while the story runs; false when there is none so late. */
static bool fault_at(bench *on, lw_fault fault, uint32_t occasion) {
    on->faults = true;
    lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), fault, occasion);
    (void)run(on, steady_story);
    lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), fault, 0);
    return lw_world_marked(on->world, lw_fault_mark(fault)) > 0;
}

static void verify_twice(bench *on) {
    on->faults = false;
    bench_boot(on, false);
    (void)run(on, verify_story);
    bench_boot(on, true);
    (void)run(on, verify_story);
}

static void the_disk_may_be_full_at_any_extension(void **state) {
    (void)state;
    bool more = true;
    for (uint32_t occasion = 1; more; occasion++) {
        lw_faults faults = lw_faults_none();
        bench *on = bench_make(1, &faults);
        more = fault_at(on, LW_FAULT_FULL, occasion);
        if (more && on->store != NULL) {
            wrong(on, "a full disk stopped the store");
        }
        expect_right(on, "full at extension", occasion);
        verify_twice(on);
        expect_right(on, "after full at extension", occasion);
        bench_drop(on);
    }
}

static void a_failed_sync_stops_the_store(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        bool more = true;
        for (uint32_t occasion = 1; more; occasion++) {
            lw_faults faults = lw_faults_none();
            bench *on = bench_make(seed, &faults);
            more = fault_at(on, LW_FAULT_SYNC_ERROR, occasion);
            if (more && !on->stopped) {
                wrong(on, "the store went on");
            }
            verify_twice(on);
            expect_right(on, "sync error", occasion);
            bench_drop(on);
        }
    }
}

static void failed_reads_and_writes_make_nothing_wrong(void **state) {
    (void)state;
    const lw_fault kinds[] = {LW_FAULT_READ_ERROR, LW_FAULT_WRITE_ERROR};
    for (size_t kind = 0; kind < 2; kind++) {
        bool more = true;
        for (uint32_t occasion = 1; more; occasion++) {
            lw_faults faults = lw_faults_none();
            bench *on = bench_make(1, &faults);
            more = fault_at(on, kinds[kind], occasion);
            verify_twice(on);
            expect_right(on, lw_fault_mark(kinds[kind]), occasion);
            bench_drop(on);
        }
    }
}

static bool caught_by_crashes(const char *bug) {
    lw_faults faults = lw_faults_none();
    bool caught = false, more = true;
    for (uint64_t step = 0; more && !caught; step++) {
        bench *on = bench_make(step, &faults);
        lw_world_plant(on->world, bug);
        more = crash_at(on, step, (lw_crash)(step % 3));
        caught = on->failure[0] != 0;
        bench_drop(on);
    }
    return caught;
}

static void planted_bugs_of_the_order_of_writes_are_caught(void **state) {
    (void)state;
    const char *const bugs[] = {"store.flush_index_before_table", "store.no_directory_sync",
                                "store.unlink_before_catalog"};
    for (size_t index = 0; index < sizeof(bugs) / sizeof(bugs[0]); index++) {
        if (!caught_by_crashes(bugs[index])) {
            fail_msg("%s was not caught", bugs[index]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_power_may_go_at_any_step),
        cmocka_unit_test(the_disk_may_be_full_at_any_extension),
        cmocka_unit_test(a_failed_sync_stops_the_store),
        cmocka_unit_test(failed_reads_and_writes_make_nothing_wrong),
        cmocka_unit_test(planted_bugs_of_the_order_of_writes_are_caught),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
