/* SPDX-License-Identifier: Apache-2.0 */
/* Every path on which a store and its log write, in one story: batches, rolled and recycled
 * segments, flushes, compactions, value files, split, merge, drop, checkpoint, ingest, closing. The
 * power goes at every step of it, in every way it can, and each sync, write and read fails once;
 * then everything that was acknowledged has to be there.
 *
 * PATHS_STRIDE is how many steps lie between two at which something happens; 1 takes them all. */
#include "tests/engine_trees.h"

static void write_some(engine *on, uint32_t tree, uint32_t from, uint32_t count, uint32_t step) {
    for (uint32_t index = 0; index < count && !on->stopped; index++) {
        engine_operation operations[4];
        for (uint32_t other = 0; other < 4; other++) {
            operations[other] = (engine_operation){
                .key = (from + (index * 4 + other) * step) % ENGINE_KEYS, .put = index % 5 != 4};
        }
        (void)engine_worked(on, engine_write(on, tree, operations, 4), "writing");
    }
}

static void try_to(engine *on, lw_status (*call)(lw_tree *tree), uint32_t tree) {
    if (!on->stopped) {
        (void)engine_worked(on, call(on->trees[tree]), "flushing or compacting");
    }
}

static void story(engine *on) {
    if (!engine_open(on)) {
        return;
    }
    write_some(on, 0, 0, 12, 7);
    try_to(on, lw_tree_flush, 0);
    write_some(on, 1, 100, 12, 3);
    write_some(on, 0, 50, 12, 11);
    try_to(on, lw_tree_flush, 1);
    try_to(on, lw_tree_compact, 0);
    if (!on->stopped) {
        split_and_merge(on);
    }
    write_some(on, 2, 0, 12, 13);
    if (!on->stopped) {
        copy_and_take(on);
    }
    if (!on->stopped) {
        create_and_drop(on);
    }
    write_some(on, 1, 0, 20, 1);
    try_to(on, lw_tree_compact, 1);
    if (!on->stopped) {
        engine_check_everything(on);
        engine_close(on);
    }
}

static void verify(engine *on) {
    if (engine_open(on)) {
        engine_check_everything(on);
        write_some(on, 0, 7, 2, 31);
        engine_close(on);
        engine_check_folder(on);
    }
}

static engine *machine(uint64_t seed) {
    lw_faults faults = lw_faults_none();
    faults.rare_paths = seed % 2 == 1;
    engine *on = engine_make(seed, &faults);
    on->store_options.memory_size = 256 * 1024;
    on->store_options.table_size = 4096;
    on->store_options.value_threshold = 150;
    on->log_options.segment_size = 32 * 1024;
    on->value_size_max = 2000;
    return on;
}

enum {
    READ_STRIDE = 31,  /* reads change nothing */
    VERIFY_STEPS = 23, /* of which the power goes at one as well */
#ifdef __SANITIZE_ADDRESS__
    STEP_STRIDE = 37,
#else
    STEP_STRIDE = 5,
#endif
};

static uint32_t stride(void) {
    const char *text = getenv("PATHS_STRIDE");
    uint32_t number = text != NULL ? (uint32_t)strtoul(text, NULL, 10) : 0;
    if (number > 0) {
        alarm(0); /* as long as it takes */
    }
    return number > 0 ? number : STEP_STRIDE;
}

static void the_power_may_go_at_any_step(void **state) {
    (void)state;
    uint64_t steps = 0;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        bool more = true;
        for (uint64_t step = seed; more; step += stride(), steps++) {
            engine *on = machine(seed);
            lw_crash crash = (lw_crash)((step + seed) % 3);
            lw_host_crash_after(on->host, step, crash);
            more = !engine_run(on, story);
            engine_expect_right(on, "before the power went at step", step);
            engine_boot(on, true);
            lw_host_crash_after(on->host, step % VERIFY_STEPS, crash);
            (void)engine_run(on, verify);
            engine_boot(on, true);
            lw_host_crash_after(on->host, UINT32_MAX, crash);
            (void)engine_run(on, verify);
            engine_expect_right(on, "power cut at step", step);
            engine_drop(on);
        }
    }
    print_message("%llu steps\n", (unsigned long long)steps);
}

/* The n-th occasion of a fault hits; returns false if there is none so late. */
static bool strike(lw_fault fault, uint32_t occasion) {
    engine *on = machine(2);
    on->faults = true;
    lw_dice_arm(lw_disk_dice(engine_disk(on)), fault, occasion);
    (void)engine_run(on, story);
    lw_dice_arm(lw_disk_dice(engine_disk(on)), fault, 0);
    bool struck = lw_world_marked(on->world, lw_fault_mark(fault)) > 0;
    if (struck && fault == LW_FAULT_SYNC_ERROR && on->store != NULL && !on->stopped) {
        engine_wrong(on, "the machine went on after a failed sync");
    }
    engine_expect_right(on, lw_fault_mark(fault), occasion);
    on->faults = false;
    for (uint32_t life = 0; life < 2; life++) {
        engine_boot(on, life == 1);
        (void)engine_run(on, verify);
        engine_expect_right(on, lw_fault_mark(fault), occasion);
    }
    engine_drop(on);
    return struck;
}

static void any_sync_may_fail_and_stops_the_machine(void **state) {
    (void)state;
    uint32_t occasion = 1;
    while (strike(LW_FAULT_SYNC_ERROR, occasion)) {
        occasion += stride();
    }
    print_message("%u syncs\n", (unsigned)occasion);
}

static void any_write_or_read_may_fail(void **state) {
    (void)state;
    const lw_fault faults[] = {LW_FAULT_WRITE_ERROR, LW_FAULT_READ_ERROR, LW_FAULT_FULL};
    for (size_t index = 0; index < sizeof(faults) / sizeof(*faults); index++) {
        for (uint32_t occasion = 1; strike(faults[index], occasion);) {
            occasion += faults[index] == LW_FAULT_READ_ERROR ? READ_STRIDE : stride();
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_power_may_go_at_any_step),
        cmocka_unit_test(any_sync_may_fail_and_stops_the_machine),
        cmocka_unit_test(any_write_or_read_may_fail),
    };
    return cmocka_run_group_tests_name("write_paths", tests, unit_arm, NULL) != 0;
}
