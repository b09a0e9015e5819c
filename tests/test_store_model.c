/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations on a store and its log, held against a plain sorted map: puts, deletes,
 * batches, snapshots, cursors both ways with and without bounds, flushes, compactions, restarts,
 * power losses at any step, full disks. Everything follows from one seed.
 *
 *   MODEL_OPERATIONS=10000000 MODEL_SEED=7 build/debug/tests/test_store_model
 *
 * does more of them, and begins at another seed. */
#include "tests/engine_trees.h"

enum {
#ifdef __SANITIZE_ADDRESS__
    OPERATIONS = 100000,
#else
    OPERATIONS = 400000, /* entries written and looked at, when nothing else is asked for */
#endif
    LIVES = 8, /* of one machine, before the next seed has its turn */
};

/* ---- what a process does ----------------------------------------------------------------------
 */

static void write_random(engine *on) {
    engine_operation operations[ENGINE_BATCH_MAX];
    uint32_t count = 1 + engine_below(on, engine_below(on, 4) == 0 ? ENGINE_BATCH_MAX : 3);
    uint32_t deletes = engine_below(on, 3) == 0 ? 6 : 2; /* of ten */
    /* Keys close to each other, now and then. */
    uint32_t from = engine_below(on, ENGINE_KEYS);
    uint32_t span = engine_below(on, 3) == 0 ? 20 : ENGINE_KEYS;
    for (uint32_t index = 0; index < count; index++) {
        operations[index] = (engine_operation){.key = (from + engine_below(on, span)) % ENGINE_KEYS,
                                               .put = engine_below(on, 10) >= deletes};
    }
    uint32_t tree = engine_below(on, ENGINE_TREES);
    lw_status status = engine_write(on, tree, operations, count);
    if (status != LW_REFUSED) { /* more at once than the memory takes */
        (void)engine_worked(on, status, "writing");
    }
}

static void look_at(engine *on, lw_snapshot *snapshot, const engine_values *values) {
    if (engine_below(on, 4) == 0) {
        engine_check_cursor(on, snapshot, values);
        on->operations += 10;
        return;
    }
    for (uint32_t count = 0; count < 4 && !on->stopped; count++) {
        engine_check_get(on, snapshot, values, engine_below(on, ENGINE_KEYS));
        on->operations++;
    }
}

static void look_now(engine *on) {
    uint32_t tree = engine_below(on, ENGINE_TREES);
    lw_snapshot *snapshot = lw_snapshot_open(on->trees[tree]);
    look_at(on, snapshot, &on->values[tree]);
    lw_snapshot_close(snapshot);
}

static void hold_or_look(engine *on) {
    engine_held *one = &on->held[engine_below(on, ENGINE_SNAPSHOTS)];
    if (one->snapshot == NULL) {
        one->tree = engine_below(on, ENGINE_TREES);
        one->snapshot = lw_snapshot_open(on->trees[one->tree]);
        one->values = on->values[one->tree];
    } else if (engine_below(on, 6) == 0) {
        lw_snapshot_close(one->snapshot);
        one->snapshot = NULL;
    } else {
        look_at(on, one->snapshot, &one->values);
    }
}

static void fill_disk(engine *on) {
    uint64_t used = engine_disk_used(on);
    lw_disk_set_capacity(engine_disk(on), used + engine_below(on, 300) * 1024);
}

static void step(engine *on) {
    lw_tree *tree = on->trees[engine_below(on, ENGINE_TREES)];
    uint32_t what = engine_below(on, 10000);
    if (what < 5500) {
        write_random(on);
    } else if (what < 8000) {
        look_now(on);
    } else if (what < 9700) {
        hold_or_look(on);
    } else if (what < 9760) {
        (void)engine_worked(on, lw_tree_flush(tree), "flush");
    } else if (what < 9780) {
        (void)engine_worked(on, lw_tree_compact(tree), "compact");
    } else if (what < 9790) {
        split_and_merge(on);
    } else if (what < 9796) {
        create_and_drop(on);
    } else if (what < 9800) {
        copy_and_take(on);
    } else if (what < 9805) {
        fill_disk(on);
    } else if (what < 9820) {
        lw_disk_set_capacity(engine_disk(on), 0);
    } else if (what < 9826) {
        engine_check_everything(on);
    } else {
        lw_env_sleep(on->env, engine_below(on, 500) * UINT64_C(1000000));
    }
}

static void life(engine *on) {
    const uint64_t *operations_max = on->argument;
    if (!engine_open(on)) {
        return;
    }
    engine_check_everything(on);
    uint64_t end = on->operations + 500 + engine_below(on, 4000);
    end = end < *operations_max ? end : *operations_max;
    while (on->operations < end && !on->stopped) {
        step(on);
    }
    if (!on->stopped && engine_below(on, 3) != 0) {
        engine_check_everything(on);
        engine_close(on);
        engine_check_folder(on);
    }
}

/* ---- machines ---------------------------------------------------------------------------------
 */

/* Bytes and thresholds differ from machine to machine, so that each rare path is common in some. */
static engine *machine(uint64_t seed) {
    lw_faults faults = lw_faults_none();
    faults.rare_paths = seed % 2 == 0;
    engine *on = engine_make(seed, &faults);
    static const size_t memtable_sizes[] = {64 * 1024, 128 * 1024, 512 * 1024};
    static const uint64_t table_sizes[] = {4 * 1024, 16 * 1024, 64 * 1024};
    static const uint64_t segment_sizes[] = {32 * 1024, 128 * 1024, 512 * 1024};
    on->store_options.memtables_max = memtable_sizes[seed / 2 % 3];
    on->store_options.table_size = table_sizes[seed / 6 % 3];
    on->log_options.segment_size = segment_sizes[seed / 3 % 3];
    static const uint64_t value_thresholds[] = {0, 150, 1000, UINT64_MAX};
    on->store_options.value_threshold = value_thresholds[seed / 4 % 4];
    on->value_size_max = seed % 5 == 0 ? 30 : ENGINE_VALUE_MAX;
    return on;
}

/* Runs one machine through some lives; returns how many operations that were. */
static uint64_t run_machine(uint64_t seed, uint64_t operations_max) {
    engine *on = machine(seed);
    on->argument = &operations_max;
    for (uint32_t lives = 0; lives < LIVES && on->operations < operations_max; lives++) {
        if (engine_below(on, 2) == 0) {
            lw_host_crash_after(on->host, engine_below(on, 3000), (lw_crash)engine_below(on, 3));
        }
        (void)engine_run(on, life);
        engine_expect_right(on, "seed", seed);
        if (engine_below(on, 2) == 0) {
            lw_disk_set_capacity(engine_disk(on), 0);
        }
        engine_boot(on, engine_below(on, 2) == 0);
        lw_host_crash_after(on->host, UINT32_MAX, LW_CRASH_BEFORE);
    }
    lw_disk_set_capacity(engine_disk(on), 0);
    uint64_t none = 0;
    on->argument = &none;
    (void)engine_run(on, life);
    engine_expect_right(on, "at the end of seed", seed);
    uint64_t operations = on->operations;
    engine_drop(on);
    return operations;
}

static uint64_t number_of(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL && text[0] != 0 ? strtoull(text, NULL, 10) : otherwise;
}

static void a_store_is_what_a_sorted_map_is(void **state) {
    (void)state;
    uint64_t wanted = number_of("MODEL_OPERATIONS", OPERATIONS);
    uint64_t seed = number_of("MODEL_SEED", 1), done = 0, first = seed;
    if (wanted > OPERATIONS) {
        alarm(0); /* as long as it takes */
    }
    for (; done < wanted; seed++) {
        done += run_machine(seed, wanted - done);
    }
    print_message("%llu operations, seeds %llu to %llu\n", (unsigned long long)done,
                  (unsigned long long)first, (unsigned long long)(seed - 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_is_what_a_sorted_map_is),
    };
    return cmocka_run_group_tests_name("store_model", tests, unit_arm, NULL) != 0;
}
