/* SPDX-License-Identifier: Apache-2.0 */
/* One story of a store, told again and again: with the power cut at every step of its flushes,
 * compactions and catalog edits, with a full disk at every extension, with each sync, read and
 * write failing. And the planted bugs that only this finds. */
#include "tests/store_attack.h"

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

static const attack steady = {.body = steady_story};

static void the_power_may_go_at_any_step(void **state) {
    (void)state;
    attack_power(&steady, 4);
}

static void the_disk_may_be_full_at_any_extension(void **state) {
    (void)state;
    attack_full_disk(&steady);
}

static void a_failed_sync_stops_the_store(void **state) {
    (void)state;
    attack_syncs(&steady, 8);
}

static void failed_reads_and_writes_make_nothing_wrong(void **state) {
    (void)state;
    attack_reads_and_writes(&steady);
}

static void planted_bugs_of_the_order_of_writes_are_caught(void **state) {
    (void)state;
    const char *const bugs[] = {"store.flush_index_before_table", "store.no_directory_sync",
                                "store.unlink_before_catalog"};
    for (size_t index = 0; index < sizeof(bugs) / sizeof(bugs[0]); index++) {
        if (!attack_catches(&steady, bugs[index])) {
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
