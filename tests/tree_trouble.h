/* SPDX-License-Identifier: Apache-2.0 */
/* Stories about trees: on a good day; and where everything happens to them: the power goes at each
 * of its steps, and at one of the recovery, or the n-th occasion of each fault of a disk is one.
 * What a restart finds is right. */
#ifndef LW_TESTS_TREE_TROUBLE_H
#define LW_TESTS_TREE_TROUBLE_H

#include "tests/tree_bench.h"

/* ---- stories on a good day ------------------------------------------------------------------- */

static inline void tell(void (*body)(bench *on)) {
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    assert_true(run(on, body));
    expect_right(on, "the story", 1);
    bench_boot(on, true);
    assert_true(run(on, verify_story));
    expect_right(on, "after a restart", 1);
    bench_drop(on);
}

/* How such a story ends. */
static inline void end(bench *on) {
    if (!on->stopped) {
        check_everything(on);
        check_held(on);
        close_store(on);
        check_folder(on, "data");
    }
}

/* A tree with something at every level there can be: in level 0 twice, and below. */
static inline uint32_t fill(bench *on) {
    uint32_t tree = create(on);
    put_keys(on, 0, KEYS);
    each_tree(on, lw_tree_compact, "compact");
    put_keys(on, 10, 50);
    each_tree(on, lw_tree_flush, "flush");
    delete_keys(on, 20, 30);
    put_keys(on, 40, 42);
    return tree;
}

/* ---- and when everything happens ---------------------------------------------------------------
 */

typedef struct tale {
    void (*story)(bench *on);
    void (*verify)(bench *on); /* what a restart finds */
} tale;

static inline void verify_twice(bench *on, const tale *told) {
    (void)run(on, told->verify);
    bench_boot(on, true);
    lw_host_crash_after(on->host, UINT32_MAX, (lw_crash)0);
    (void)run(on, told->verify);
}

/* False when the story came to its end before `step`. */
static inline bool crash_at(bench *on, const tale *told, uint64_t step, lw_crash crash) {
    lw_host_crash_after(on->host, step, crash);
    bool ended = run(on, told->story);
    bench_boot(on, true);
    lw_host_crash_after(on->host, step % 19, crash);
    verify_twice(on, told);
    return !ended;
}

static inline void power_goes_at_any_step(const tale *told) {
    /* Each step with one of the seeds. */
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        lw_faults faults = lw_faults_none();
        faults.rare_paths = seed % 2 == 0;
        bool more = true;
        for (uint64_t step = seed - 1; more; step += SEEDS * STRIDE) {
            bench *on = bench_make(seed, &faults);
            more = crash_at(on, told, step, (lw_crash)((step + seed) % 3));
            expect_right(on, "power cut at step", step);
            bench_drop(on);
        }
    }
}

/* False when there is no occasion so late. */
static inline bool fault_at(bench *on, const tale *told, lw_fault fault, uint32_t occasion) {
    on->faults = true;
    lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), fault, occasion);
    (void)run(on, told->story);
    lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), fault, 0);
    on->faults = false;
    bench_boot(on, false);
    verify_twice(on, told);
    return lw_world_marked(on->world, lw_fault_mark(fault)) > 0;
}

static inline void faults_come_at_any_occasion(const tale *told) {
    const lw_fault kinds[] = {LW_FAULT_FULL, LW_FAULT_SYNC_ERROR, LW_FAULT_WRITE_ERROR,
                              LW_FAULT_READ_ERROR};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        bool more = true;
        for (uint32_t occasion = 1; more; occasion += STRIDE) {
            lw_faults faults = lw_faults_none();
            bench *on = bench_make(1, &faults);
            more = fault_at(on, told, kinds[kind], occasion);
            expect_right(on, lw_fault_mark(kinds[kind]), occasion);
            bench_drop(on);
        }
    }
}

/* A bug that a loss of power shows, at one of each `stride` steps. */
static inline void power_loss_shows(const tale *told, const char *bug, uint64_t stride) {
    lw_faults faults = lw_faults_none();
    bool found = false, more = true;
    for (uint64_t step = 0; more && !found; step++) {
        bench *on = bench_make(step, &faults);
        lw_world_plant(on->world, bug);
        more = crash_at(on, told, stride * step, (lw_crash)(step % 3));
        found = on->failure[0] != 0;
        bench_drop(on);
    }
    if (!found) {
        fail_msg("%s was not caught", bug);
    }
}

#endif
