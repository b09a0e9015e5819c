/* SPDX-License-Identifier: Apache-2.0 */
/* Attacks on a store while a story is told: the power cut at every step of it, a full disk at every
 * extension, each sync, read and write failing once. What stands behind is checked after each. */
#ifndef LW_TESTS_STORE_ATTACK_H
#define LW_TESTS_STORE_ATTACK_H

#include "tests/store_bench.h"

typedef struct attack {
    void (*body)(bench *on);
    uint64_t value_threshold; /* of the store */
    lw_store_compression compression;
} attack;

static inline bench *attack_make(const attack *of, uint64_t seed, bool rare_paths) {
    lw_faults faults = lw_faults_none();
    faults.rare_paths = rare_paths;
    bench *on = bench_make(seed, &faults);
    on->value_threshold = of->value_threshold;
    on->compression = of->compression;
    return on;
}

/* Cuts the power at a step of the story, then at a step of the recovery, then verifies. False when
 * the story came to its end before. */
static inline bool attack_crash_at(const attack *of, bench *on, uint64_t step, lw_crash crash) {
    lw_host_crash_after(on->host, step, crash);
    bool ended = run(on, of->body);
    bench_boot(on, true);
    lw_host_crash_after(on->host, step % 17, crash);
    (void)run(on, verify_story);
    bench_boot(on, true);
    lw_host_crash_after(on->host, UINT32_MAX, crash);
    (void)run(on, verify_story);
    return !ended;
}

static inline void attack_power(const attack *of, uint64_t seed_count) {
    for (uint64_t seed = 1; seed <= seed_count; seed++) {
        bool more = true;
        for (uint64_t step = 0; more; step++) {
            bench *on = attack_make(of, seed, seed % 2 == 0);
            more = attack_crash_at(of, on, step, (lw_crash)((step + seed) % 3));
            expect_right(on, "power cut at step", step);
            bench_drop(on);
        }
    }
}

/* Lets the n-th occasion of a fault hit while the story runs; false when there is none so late. */
static inline bool attack_fault_at(const attack *of, bench *on, lw_fault fault, uint32_t occasion) {
    on->faults = true;
    lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), fault, occasion);
    (void)run(on, of->body);
    lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), fault, 0);
    return lw_world_marked(on->world, lw_fault_mark(fault)) > 0;
}

static inline void attack_verify_twice(bench *on) {
    on->faults = false;
    bench_boot(on, false);
    (void)run(on, verify_story);
    bench_boot(on, true);
    (void)run(on, verify_story);
}

static inline void attack_full_disk(const attack *of) {
    bool more = true;
    for (uint32_t occasion = 1; more; occasion++) {
        bench *on = attack_make(of, 1, false);
        more = attack_fault_at(of, on, LW_FAULT_FULL, occasion);
        if (more && on->store != NULL) {
            wrong(on, "a full disk stopped the store");
        }
        expect_right(on, "full at extension", occasion);
        attack_verify_twice(on);
        expect_right(on, "after full at extension", occasion);
        bench_drop(on);
    }
}

static inline void attack_syncs(const attack *of, uint64_t seed_count) {
    for (uint64_t seed = 1; seed <= seed_count; seed++) {
        bool more = true;
        for (uint32_t occasion = 1; more; occasion++) {
            bench *on = attack_make(of, seed, false);
            more = attack_fault_at(of, on, LW_FAULT_SYNC_ERROR, occasion);
            if (more && !on->stopped) {
                wrong(on, "the store went on");
            }
            attack_verify_twice(on);
            expect_right(on, "sync error", occasion);
            bench_drop(on);
        }
    }
}

static inline void attack_reads_and_writes(const attack *of) {
    const lw_fault kinds[] = {LW_FAULT_READ_ERROR, LW_FAULT_WRITE_ERROR};
    for (size_t kind = 0; kind < 2; kind++) {
        bool more = true;
        for (uint32_t occasion = 1; more; occasion++) {
            bench *on = attack_make(of, 1, false);
            more = attack_fault_at(of, on, kinds[kind], occasion);
            attack_verify_twice(on);
            expect_right(on, lw_fault_mark(kinds[kind]), occasion);
            bench_drop(on);
        }
    }
}

/* Whether a planted bug is caught by cutting the power. */
static inline bool attack_catches(const attack *of, const char *bug) {
    bool caught = false, more = true;
    for (uint64_t step = 0; more && !caught; step++) {
        bench *on = attack_make(of, step, false);
        lw_world_plant(on->world, bug);
        more = attack_crash_at(of, on, step, (lw_crash)(step % 3));
        caught = on->failure[0] != 0;
        bench_drop(on);
    }
    return caught;
}

#endif
