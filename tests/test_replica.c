/* SPDX-License-Identifier: Apache-2.0 */
/* A replica in a simulated world: requests side by side, crashes, restarts, sessions that end. */
#include "tests/shard_bench.h"

/* ---- durability ----------------------------------------------------------------------------- */

static void what_was_committed_survives_a_crash_story(bench *on) {
    uint64_t committed = bench_write(on, "k", "one");
    bench_crash(on);
    expect_text(on, bench_read(on, 0, "k"), "one", "after a crash");
    expect(on, bench_write(on, "k", "two") > committed, "timestamps go on");
    bench_shut(on);
    bench_boot(on);
    expect_text(on, bench_read(on, 0, "k"), "two", "after a restart");
    expect_text(on, bench_read(on, committed, "k"), "one", "in the past");
}
static void what_was_committed_survives_a_crash(void **state) {
    (void)state;
    bench_hold(what_was_committed_survives_a_crash_story, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_committed_survives_a_crash),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
