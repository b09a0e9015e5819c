/* SPDX-License-Identifier: Apache-2.0 */
/* Large values under attack: flushes that put them apart, compactions that pass references on,
 * values moved out of files that are mostly garbage, while power, disk and reads fail. */
#include "tests/store_attack.h"

enum { THRESHOLD = 32, SETTLED_ATTEMPTS = 100 };

/* Waits until no file is wasted; not for ever, since where rare paths make tables large it may not
 * be worth it. */
static void await_collection(bench *on) {
    lw_value_figures figures = {.wasted_count = 1};
    for (uint32_t attempt = 0; attempt < SETTLED_ATTEMPTS && !on->stopped; attempt++) {
        lw_store_value_figures(on->store, &figures);
        if (figures.wasted_count == 0) {
            return;
        }
        lw_env_sleep(on->env, 10 * 1000000);
        on->stopped |= lw_store_dead(on->store, NULL);
    }
}

/* Two thirds of what is flushed first become garbage; the rest is moved, under the eyes of a
 * snapshot that still reads from the file. */
static void values_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    apply_puts(on, 0, 60);
    insist(on, lw_tree_compact, "compact");
    if (on->stopped) {
        return;
    }
    held *one = &on->held[0];
    *one = (held){.snapshot = lw_snapshot_open(on->tree), .model = on->now};
    apply_puts(on, 0, 30);
    apply_deletes(on, 30, 10);
    insist(on, lw_tree_flush, "flush");
    apply_puts(on, 50, 20);
    insist(on, lw_tree_compact, "compact");
    if (!on->stopped) {
        await_collection(on);
    }
    for (uint32_t index = 0; index < KEY_COUNT && !on->stopped; index++) {
        check_get(on, one->snapshot, &one->model, index);
    }
    if (!on->stopped) {
        check_everything(on);
        close_store(on);
    }
}

/* Not compressed, so that the values are worth more than their tables. */
static const attack values = {
    .body = values_story, .value_threshold = THRESHOLD, .compression = LW_COMPRESS_NOTHING};

static void values_are_moved_out_of_garbage(void **state) {
    (void)state;
    const char *const marks[] = {"value.garbage_collected", "value.left_garbage", "value.moved",
                                 "value.read_ahead"};
    bench *on = attack_make(&values, 1, false);
    assert_true(run(on, values_story));
    expect_right(on, "values", 0);
    for (size_t index = 0; index < sizeof(marks) / sizeof(marks[0]); index++) {
        if (lw_world_marked(on->world, marks[index]) == 0) {
            fail_msg("%s was not reached", marks[index]);
        }
    }
    bench_drop(on);
}

static void the_power_may_go_at_any_step(void **state) {
    (void)state;
    attack_power(&values, 4);
}

static void the_disk_may_be_full_at_any_extension(void **state) {
    (void)state;
    attack_full_disk(&values);
}

static void a_failed_sync_stops_the_store(void **state) {
    (void)state;
    attack_syncs(&values, 4);
}

static void failed_reads_and_writes_make_nothing_wrong(void **state) {
    (void)state;
    attack_reads_and_writes(&values);
}

static void planted_bugs_are_caught(void **state) {
    (void)state;
    const char *const bugs[] = {"value.not_synced", "value.live_file_removed"};
    for (size_t index = 0; index < sizeof(bugs) / sizeof(bugs[0]); index++) {
        if (!attack_catches(&values, bugs[index])) {
            fail_msg("%s was not caught", bugs[index]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_moved_out_of_garbage),
        cmocka_unit_test(the_power_may_go_at_any_step),
        cmocka_unit_test(the_disk_may_be_full_at_any_extension),
        cmocka_unit_test(a_failed_sync_stops_the_store),
        cmocka_unit_test(failed_reads_and_writes_make_nothing_wrong),
        cmocka_unit_test(planted_bugs_are_caught),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
