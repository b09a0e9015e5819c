/* SPDX-License-Identifier: Apache-2.0 */
/* Many trees in one store: created, split, merged and dropped while they are read and written. */
#include "tests/tree_trouble.h"

/* ---- one story each -----------------------------------------------------------------------------
 */

static uint64_t table_bytes(bench *on, uint32_t id) {
    lw_tree_figures figures;
    uint64_t bytes = 0;
    lw_tree_figures_get(lw_store_tree(on->store, id), &figures);
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        bytes += figures.table_bytes[level];
    }
    return bytes;
}

static void split_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on);
    hold(on, 0, tree);
    uint32_t child = split(on, tree, 25, 45);
    check_everything(on);
    uint32_t count = 0;
    const lw_key_range *bounds = lw_tree_bounds(lw_store_tree(on->store, tree), &count);
    if (count != 2 || bounds[0].lower.size != 0 || bounds[1].upper.size != 0) {
        wrong(on, "the tree that was split has %u ranges", count);
    }
    if (lw_tree_applied(lw_store_tree(on->store, child)) != on->applied[child]) {
        wrong(on, "the child's log does not begin where it should");
    }
    put_keys(on, 24, 46);
    hold(on, 1, child);
    each_tree(on, lw_tree_compact, "compact");
    check_everything(on);
    (void)split(on, child, 25, 26);
    end(on);
}

static void a_tree_is_split_without_a_copy(void **state) {
    (void)state;
    tell(split_story);
}

/* Once both halves were compacted, neither has anything of the other. */
static void shrink_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on);
    each_tree(on, lw_tree_compact, "compact");
    uint64_t before = table_bytes(on, tree);
    uint32_t child = split(on, tree, 32, KEYS);
    each_tree(on, lw_tree_compact, "compact");
    uint64_t after = table_bytes(on, tree) + table_bytes(on, child);
    if (after > before + before / 2) {
        wrong(on, "two halves take %u bytes, the whole took %u", (unsigned)after, (unsigned)before);
    }
    end(on);
}

static void compactions_write_only_what_is_inside_the_clip(void **state) {
    (void)state;
    tell(shrink_story);
}

static void merge_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on);
    uint32_t middle = split(on, tree, 22, 44), right = split(on, tree, 44, KEYS);
    put_keys(on, 30, 60);
    hold(on, 0, middle);
    hold(on, 1, tree);
    merge(on, right, middle);
    check_everything(on);
    delete_keys(on, 40, 50);
    merge(on, tree, right);
    uint32_t count = 1;
    (void)lw_tree_bounds(lw_store_tree(on->store, tree), &count);
    if (count != 0) {
        wrong(on, "three thirds are not the whole");
    }
    put_keys(on, 43, 45);
    check_held(on);
    each_tree(on, lw_tree_compact, "compact");
    end(on);
}

static void trees_that_were_split_can_be_merged(void **state) {
    (void)state;
    tell(merge_story);
}

/* Nothing was written in between: the places of each table become one again. */
static void join_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on);
    each_tree(on, lw_tree_flush, "flush");
    lw_tree_figures before, after;
    lw_tree_figures_get(lw_store_tree(on->store, tree), &before);
    uint32_t child = split(on, tree, 32, KEYS);
    merge(on, tree, child);
    lw_tree_figures_get(lw_store_tree(on->store, tree), &after);
    if (memcmp(before.table_count, after.table_count, sizeof(before.table_count)) != 0) {
        wrong(on, "a split that was taken back left more tables than there were");
    }
    end(on);
}

static void a_split_can_be_taken_back(void **state) {
    (void)state;
    tell(join_story);
}

static uint32_t files_there(bench *on) {
    lw_buffer names = lw_buffer_in(on->env->memory);
    (void)worked(on, lw_path_list(on->env, "data/sst", &names), "list");
    uint32_t count = (uint32_t)(names.size / 17);
    lw_buffer_reset(&names);
    return count;
}

static void drop_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on);
    uint32_t child = split(on, tree, 30, 40);
    put_keys(on, 0, KEYS);
    hold(on, 0, child);
    drop(on, child);
    if (lw_store_tree(on->store, child) != NULL ||
        lw_store_drop_tree(on->store, child) != LW_NOT_FOUND) {
        wrong(on, "a dropped tree is still there");
    }
    check_everything(on);
    check_held(on);
    release(&on->held[0]);
    drop(on, tree);
    lw_env_sleep(on->env, 1000 * UINT64_C(1000000));
    if (files_there(on) != 0) {
        wrong(on, "all trees are gone, and their files are not");
    }
    (void)create(on);
    put_keys(on, 5, 9);
    end(on);
}

static void a_dropped_tree_stays_readable_for_its_snapshots(void **state) {
    (void)state;
    tell(drop_story);
}

static void drop_memory_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    size_t before = lw_memory_used(on->env->memory);
    uint32_t tree = create(on);
    put_keys(on, 0, KEYS);
    hold(on, 0, tree);
    drop(on, tree);
    if (lw_memory_used(on->env->memory) < before + 4096) {
        wrong(on, "a dropped tree left its snapshot without memory");
    }
    check_held(on);
    release(&on->held[0]);
    if (lw_memory_used(on->env->memory) > before + 1024) {
        wrong(on, "%u bytes are left of a dropped tree",
              (unsigned)(lw_memory_used(on->env->memory) - before));
    }
    end(on);
}

static void the_memory_of_a_dropped_tree_goes_with_its_last_snapshot(void **state) {
    (void)state;
    tell(drop_memory_story);
}

/* The tree goes while others wait at it. */
typedef struct waiter {
    bench *on;
    lw_tree *tree;
    lw_status (*call)(lw_tree *tree);
    bool done;
    lw_status status;
} waiter;

static void waiter_main(void *argument) {
    waiter *one = argument;
    one->status = one->call(one->tree);
    one->done = true;
}

static void drop_under_work_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    for (uint32_t round = 0; round < 40 && !on->stopped; round++) {
        uint32_t tree = create(on);
        put_keys(on, 0, KEYS);
        waiter waiters[] = {{.call = lw_tree_flush}, {.call = lw_tree_compact}};
        for (uint32_t index = 0; index < 2; index++) {
            waiters[index].tree = lw_store_tree(on->store, tree);
            (void)lw_env_start(on->env, "waiter", waiter_main, &waiters[index]);
        }
        lw_env_sleep(on->env, below(on, 40) * UINT64_C(100000));
        drop(on, tree);
        while (!waiters[0].done || !waiters[1].done) {
            lw_env_sleep(on->env, 1000000);
        }
        for (uint32_t index = 0; index < 2; index++) {
            if (waiters[index].status != LW_OK && waiters[index].status != LW_NOT_FOUND) {
                wrong(on, "a waiter got %s", lw_status_name(waiters[index].status));
            }
        }
    }
    end(on);
    if (files_there(on) != 0) {
        wrong(on, "all trees are gone, and their files are not");
    }
}

static void a_tree_may_be_dropped_under_flush_and_compaction(void **state) {
    (void)state;
    tell(drop_under_work_story);
}

/* ---- what is refused ----------------------------------------------------------------------------
 */

static void expect_status(bench *on, lw_status got, lw_status wanted, const char *what) {
    if (got != wanted) {
        wrong(on, "%s: got %s", what, lw_status_name(got));
    }
}

static void refuse_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on), child = split(on, tree, 20, 40);
    lw_tree *left = lw_store_tree(on->store, tree), *right = lw_store_tree(on->store, child);
    lw_tree *made = NULL;
    text keys[4][2];
    lw_key_range outside = range_of(30, 50, keys[0]), all = range_of(20, 40, keys[1]);
    lw_key_range touching[] = {range_of(22, 23, keys[2]), range_of(23, 24, keys[3])};
    lw_tree_split bad[] = {{.child = 90, .ranges = &outside, .range_count = 1},
                           {.child = 90, .ranges = &all, .range_count = 1},
                           {.child = 90, .ranges = touching, .range_count = 2},
                           {.child = 90, .ranges = NULL, .range_count = 0},
                           {.child = tree, .ranges = touching, .range_count = 1}};
    for (uint32_t index = 0; index < 5; index++) {
        expect_status(on, lw_store_split_tree(on->store, right, &bad[index], &made),
                      index < 4 ? LW_INVALID_ARGUMENT : LW_EXISTS, "splitting badly");
    }
    lw_buffer batch = lw_buffer_in(on->env->memory);
    lw_batch_put(&batch, key_of(19, &keys[0][0]), lw_text("x"));
    expect_status(on, lw_tree_apply(right, 1 + on->applied[child], lw_buffer_view(&batch)),
                  LW_INVALID_ARGUMENT, "a key of another tree");
    lw_buffer_reset(&batch);
    expect_status(on, lw_store_create_tree(on->store, 91, &made), LW_OK, "creating");
    expect_status(on, lw_store_merge_trees(on->store, left, made), LW_INVALID_ARGUMENT,
                  "merging one that has every key");
    expect_status(on, lw_store_drop_tree(on->store, 91), LW_OK, "dropping");
    end(on);
}

static void what_cannot_be_split_or_merged_is_refused(void **state) {
    (void)state;
    tell(refuse_story);
}

/* ---- the model ----------------------------------------------------------------------------------
 */

/* A tree that is there, or 0. */
static uint32_t some_tree(bench *on) {
    uint32_t key = below(on, KEYS);
    return on->now.owners[key];
}

/* The run of keys around `key` that one tree owns, cut at random. */
static void some_run(bench *on, uint32_t key, uint32_t *from, uint32_t *to) {
    uint32_t tree = on->now.owners[key], low = key, high = key + 1;
    while (low > 0 && on->now.owners[low - 1] == tree) {
        low--;
    }
    while (high < KEYS && on->now.owners[high] == tree) {
        high++;
    }
    *from = below(on, 3) == 0 ? low : low + below(on, key - low + 1);
    *to = below(on, 3) == 0 ? high : key + 1 + below(on, high - key);
}

static void random_split(bench *on) {
    uint32_t key = below(on, KEYS), tree = on->now.owners[key], count = 0;
    deed done = {.kind = SPLIT, .tree = tree, .other = on->last_tree + 1};
    if (tree == 0 || on->last_tree + 1 >= TREES) {
        return;
    }
    some_run(on, key, &done.from[0], &done.to[0]);
    uint32_t second = below(on, KEYS);
    if (second > done.to[0] && on->now.owners[second] == tree &&
        on->now.owners[done.to[0]] == tree) {
        done.from[1] = second;
        done.to[1] = second + 1;
    }
    for (uint32_t index = 0; index < KEYS; index++) {
        bool given = (index >= done.from[0] && index < done.to[0]) ||
                     (index >= done.from[1] && index < done.to[1]);
        count += on->now.owners[index] == tree && !given;
    }
    if (count == 0) {
        return; /* nothing would be left */
    }
    done.index = on->applied[++on->last_tree] = below(on, 100);
    act(on, done);
}

static void random_merge(bench *on) {
    uint32_t tree = some_tree(on), other = some_tree(on), counts[2] = {0, 0};
    if (tree == 0 || other == 0 || tree == other) {
        return;
    }
    const lw_key_range *a = lw_tree_bounds(lw_store_tree(on->store, tree), &counts[0]);
    const lw_key_range *b = lw_tree_bounds(lw_store_tree(on->store, other), &counts[1]);
    lw_range_list both = lw_range_list_in(on->env->memory);
    if (counts[0] > 0 && counts[1] > 0 && lw_ranges_join(a, counts[0], b, counts[1], &both)) {
        merge(on, tree, other);
    }
    lw_range_list_reset(&both);
}

/* A tree for the keys that are nobody's: empty, or with some of them loaded. */
static void random_birth(bench *on) {
    uint32_t from = 0, to;
    while (from < KEYS && on->now.owners[from] != 0) {
        from++;
    }
    for (to = from; to < KEYS && on->now.owners[to] == 0; to++) {
    }
    if (from < KEYS && below(on, 2) == 0) {
        (void)load(on, from, to);
    } else if (from < KEYS) {
        (void)create(on);
    }
}

static void random_step(bench *on) {
    uint32_t what = below(on, 100), tree = some_tree(on);
    lw_tree *some = lw_store_tree(on->store, tree);
    if (what < 70) {
        write_key(on, below(on, KEYS), below(on, 3) != 0);
    } else if (what < 76) {
        random_split(on);
    } else if (what < 82) {
        random_merge(on);
    } else if (what < 84 && tree != 0) {
        drop(on, tree);
    } else if (what < 85 && tree != 0 && on->last_tree + 1 < TREES) {
        (void)move(on, tree);
    } else if (what < 88 && on->last_tree + 1 < TREES) {
        random_birth(on);
    } else if (what < 90) {
        hold(on, below(on, HELD), tree);
    } else if (what < 92) {
        check_held(on);
    } else if (what < 95 && some != NULL) {
        (void)worked(on, lw_tree_flush(some), "flush");
    } else if (what < 97 && some != NULL) {
        (void)worked(on, lw_tree_compact(some), "compact");
    } else if (what < 98) {
        check_everything(on);
    }
}

static void random_session(bench *on) {
    if (!open_store(on)) {
        return;
    }
    check_everything(on);
    for (uint32_t step = 0; step < on->steps && !on->stopped && on->deed_count < DEEDS - 10;
         step++) {
        random_step(on);
    }
    if (!on->stopped) {
        end(on);
    }
}

/* Sessions that end in every way a session can. */
static void run_sessions(bench *on, uint32_t count) {
    while (count-- > 0 && on->failure[0] == 0) {
        on->steps = 20 + below(on, 200);
        if (below(on, 2) == 0) {
            lw_host_crash_after(on->host, below(on, 300), (lw_crash)below(on, 3));
        }
        (void)run(on, random_session);
        bench_boot(on, below(on, 2) == 0);
    }
}

static void many_trees_are_as_the_model_over_crashes(void **state) {
    (void)state;
    const char *const marks[] = {"store.tree_split", "store.trees_merged", "store.places_joined",
                                 "store.edit_outdated", "store.tree_dropped"};
    enum { MARK_COUNT = sizeof(marks) / sizeof(marks[0]) };
    uint64_t reached[MARK_COUNT] = {0};
    for (uint64_t seed = 1; seed <= 60; seed += STRIDE) {
        lw_faults faults = lw_faults_none();
        faults.rare_paths = seed % 2 == 0;
        bench *on = bench_make(seed, &faults);
        run_sessions(on, 8);
        expect_right(on, "seed", seed);
        for (size_t index = 0; index < MARK_COUNT; index++) {
            reached[index] += lw_world_marked(on->world, marks[index]);
        }
        bench_drop(on);
    }
    for (size_t index = 0; index < MARK_COUNT; index++) {
        if (reached[index] == 0) {
            fail_msg("%s was never reached", marks[index]);
        }
    }
}

/* ---- every step ---------------------------------------------------------------------------------
 */

static void steady_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    if (on->deed_count > 0) {
        return;
    }
    uint32_t tree = fill(on);
    uint32_t child = on->stopped ? 0 : split(on, tree, 22, 44);
    put_keys(on, 20, 50);
    hold(on, 0, tree);
    each_tree(on, lw_tree_flush, "flush");
    uint32_t third = on->stopped ? 0 : split(on, child, 30, 35);
    each_tree(on, lw_tree_compact, "compact");
    put_keys(on, 20, 40);
    if (!on->stopped) {
        merge(on, tree, child);
    }
    check_held(on);
    put_keys(on, 0, KEYS);
    if (!on->stopped) {
        drop(on, third);
    }
    each_tree(on, lw_tree_compact, "compact");
    if (!on->stopped) {
        drop(on, tree);
    }
    if (!on->stopped) {
        end(on);
    }
}

static const tale steady = {.story = steady_story, .verify = verify_story};

static void the_power_may_go_at_any_step_of_a_change_of_trees(void **state) {
    (void)state;
    power_goes_at_any_step(&steady);
}

static void a_fault_at_any_occasion_makes_nothing_wrong(void **state) {
    (void)state;
    faults_come_at_any_occasion(&steady);
}

/* Short, and only of the child, since a tree that ignores its clips soon breaks an invariant. */
static void clip_story(bench *on) {
    if (open_store(on)) {
        uint32_t child = split(on, fill(on), 25, 45);
        lw_snapshot *snapshot = lw_snapshot_open(lw_store_tree(on->store, child));
        check_snapshot(on, snapshot, child, &on->now);
    }
}

static void a_clip_that_is_ignored_is_noticed(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    lw_world_plant(on->world, "store.clip_ignored");
    (void)run(on, clip_story);
    assert_true(on->failure[0] != 0);
    bench_drop(on);
}

static void planted_bugs_are_caught(void **state) {
    (void)state;
    power_loss_shows(&steady, "store.unlink_shared", 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_split_without_a_copy),
        cmocka_unit_test(compactions_write_only_what_is_inside_the_clip),
        cmocka_unit_test(trees_that_were_split_can_be_merged),
        cmocka_unit_test(a_split_can_be_taken_back),
        cmocka_unit_test(a_dropped_tree_stays_readable_for_its_snapshots),
        cmocka_unit_test(the_memory_of_a_dropped_tree_goes_with_its_last_snapshot),
        cmocka_unit_test(a_tree_may_be_dropped_under_flush_and_compaction),
        cmocka_unit_test(what_cannot_be_split_or_merged_is_refused),
        cmocka_unit_test(many_trees_are_as_the_model_over_crashes),
        cmocka_unit_test(the_power_may_go_at_any_step_of_a_change_of_trees),
        cmocka_unit_test(a_fault_at_any_occasion_makes_nothing_wrong),
        cmocka_unit_test(a_clip_that_is_ignored_is_noticed),
        cmocka_unit_test(planted_bugs_are_caught),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
