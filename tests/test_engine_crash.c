/* SPDX-License-Identifier: Apache-2.0 */
/* One story of an engine, told again and again with the power cut at every step that changes the
 * disk, then at a step of the recovery; and with a full disk, failing syncs and failing writes.
 * Each restart must find a prefix of the writes over both trees, with everything durable in it. And
 * the planted bug that only this finds. */
#include "tests/engine_bench.h"

static void flush(bench *on, uint64_t tree) {
    if (!on->stopped) {
        (void)insist(on, lw_tree_flush(lw_engine_tree(on->engine, tree)), "flush");
    }
}

/* Writes that wait and writes that do not, flushes of one tree in between. */
static void steady_story(bench *on) {
    bench_start(on);
    bench_write(on, 30);
    flush(on, 1);
    bench_write(on, 40);
    flush(on, 2);
    bench_write(on, 6);
    flush(on, 1);
    bench_write(on, 60);
    if (!on->stopped) {
        bench_check(on);
        bench_stop(on);
    }
}

static void restart(bench *on) {
    if (lw_host_running(on->host)) {
        lw_host_crash(on->host);
    }
    bench_boot(on);
}

/* False when the story came to its end before the power went. */
static bool crash_at(bench *on, uint64_t step, lw_crash crash) {
    lw_host_crash_after(on->host, step, crash);
    bool ended = run(on, steady_story);
    restart(on);
    lw_host_crash_after(on->host, step % 23, crash);
    (void)run(on, bench_verify);
    restart(on);
    lw_host_crash_after(on->host, UINT32_MAX, crash);
    (void)run(on, bench_verify);
    return !ended;
}

static void the_power_may_go_at_any_step(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        lw_faults faults = lw_faults_none();
        faults.rates[LW_FAULT_STALE_SECTOR] = lw_faults_usual().rates[LW_FAULT_STALE_SECTOR];
        faults.rare_paths = seed % 2 == 0;
        bool more = true;
        for (uint64_t step = 0; more; step++) {
            bench on;
            bench_open(&on, seed, &faults, NULL);
            more = crash_at(&on, step, (lw_crash)((step + seed) % 3));
            expect_right(&on, "power cut at step", step);
            bench_close(&on);
        }
    }
}

/* Lets the n-th occasion of a fault hit while the story runs; false when there is none so late. */
static bool fault_at(bench *on, lw_fault fault, uint32_t occasion) {
    lw_dice *dice = lw_disk_dice(lw_host_disk(on->host));
    lw_dice_arm(dice, fault, occasion);
    on->faults = true;
    (void)run(on, steady_story);
    bool struck = lw_world_marked(on->world, lw_fault_mark(fault)) > 0;
    lw_dice_arm(dice, fault, 0);
    on->faults = false;
    bench_boot(on);
    (void)run(on, bench_verify);
    restart(on);
    (void)run(on, bench_verify);
    return struck;
}

static void failing_disks_lose_nothing_that_was_durable(void **state) {
    (void)state;
    const lw_fault kinds[] = {LW_FAULT_FULL, LW_FAULT_SYNC_ERROR, LW_FAULT_WRITE_ERROR,
                              LW_FAULT_READ_ERROR};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        bool more = true;
        for (uint32_t occasion = 1; more; occasion++) {
            lw_faults faults = lw_faults_none();
            bench on;
            bench_open(&on, occasion, &faults, NULL);
            more = fault_at(&on, kinds[kind], occasion);
            expect_right(&on, lw_fault_mark(kinds[kind]), occasion);
            bench_close(&on);
        }
    }
}

/* It shows where the write of the log fails that a flush did not wait for. */
static void flush_ahead_of_the_log(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        bool more = true;
        for (uint32_t occasion = 1; more; occasion++) {
            lw_faults faults = lw_faults_none();
            bench on;
            bench_open(&on, seed, &faults, "engine.flush_before_log");
            more = fault_at(&on, LW_FAULT_WRITE_ERROR, occasion);
            assert_int_equal(on.failure[0], 0);
            bench_close(&on);
        }
    }
}
/* A failed assertion catches it too. */
static void a_flush_ahead_of_the_log_is_caught(void **state) {
    assert_true(unit_story_fails(flush_ahead_of_the_log, state));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_power_may_go_at_any_step),
        cmocka_unit_test(failing_disks_lose_nothing_that_was_durable),
        cmocka_unit_test(a_flush_ahead_of_the_log_is_caught),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
