/* SPDX-License-Identifier: Apache-2.0 */
/* Trees as files: checkpoints, exports, and taking them over. */
#include "tests/tree_trouble.h"

static void expect_status(bench *on, lw_status got, lw_status wanted, const char *what) {
    if (got != wanted) {
        wrong(on, "%s: got %s: %s", what, lw_status_name(got), lw_error_slot()->text);
    }
}

static uint32_t files_there(bench *on, const char *directory) {
    lw_buffer names = lw_buffer_in(on->env->memory);
    (void)worked(on, lw_path_list(on->env, directory, &names), "list");
    uint32_t count = (uint32_t)(names.size / 17);
    lw_buffer_reset(&names);
    return count;
}

/* ---- checkpoints --------------------------------------------------------------------------------
 */

/* Holds a bundle, opened as a store, against a model. */
static void check_bundle(bench *on, const char *directory, const model *of, uint32_t first,
                         uint32_t last) {
    lw_store_options options = {.directory = directory, .memtables_max = 64 * 1024};
    lw_store *bundle = NULL;
    check_folder(on, directory);
    if (!worked(on, lw_store_open(on->env, &options, &bundle), "opening a bundle")) {
        return;
    }
    for (uint32_t id = first; id <= last && !on->stopped; id++) {
        lw_tree *tree = lw_store_tree(bundle, id);
        if (tree == NULL || lw_tree_flushed(tree) != on->applied[id]) {
            wrong(on, "tree %u is not in the bundle, or not up to its index", id);
            break;
        }
        lw_snapshot *snapshot = lw_snapshot_open(tree);
        check_snapshot(on, snapshot, id, of);
        lw_snapshot_close(snapshot);
    }
    lw_store_close(bundle);
}

static void checkpoint_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on), child = split(on, tree, 25, 45);
    put_keys(on, 22, 28);
    model then = on->now;
    (void)worked(on, lw_store_checkpoint(on->store, NULL, 0, "copy"), "checkpoint");
    uint64_t one = child;
    (void)worked(on, lw_store_checkpoint(on->store, &one, 1, "part"), "checkpoint");
    check_bundle(on, "copy", &then, tree, child);
    check_bundle(on, "part", &then, child, child);
    expect_status(on, lw_store_checkpoint(on->store, NULL, 0, "copy"), LW_EXISTS, "again");
    one = 77;
    expect_status(on, lw_store_checkpoint(on->store, &one, 1, "none"), LW_NOT_FOUND, "no tree");
    uint64_t before[2] = {on->applied[tree], on->applied[child]};
    delete_keys(on, 0, KEYS);
    each_tree(on, lw_tree_compact, "compact");
    drop(on, child);
    lw_env_sleep(on->env, 1000 * UINT64_C(1000000));
    /* What the store did since, and removes, is nothing to the bundle. */
    uint64_t after[2] = {on->applied[tree], on->applied[child]};
    on->applied[tree] = before[0];
    on->applied[child] = before[1];
    check_bundle(on, "copy", &then, tree, child);
    on->applied[tree] = after[0];
    on->applied[child] = after[1];
    (void)worked(on, lw_bundle_remove(on->env, "copy"), "removing a bundle");
    if (files_there(on, "copy/sst") != 0) {
        wrong(on, "a removed bundle left files");
    }
    (void)worked(on, lw_store_checkpoint(on->store, NULL, 0, "copy"), "into what was removed");
    expect_status(on, lw_bundle_remove(on->env, "nothing"), LW_NOT_FOUND, "no bundle");
    end(on);
}

static void a_checkpoint_is_a_store_that_nothing_changes(void **state) {
    (void)state;
    tell(checkpoint_story);
}

static void begin_again_story(bench *on) {
    char table_path[LW_PATH_SIZE];
    if (!open_store(on)) {
        return;
    }
    (void)fill(on);
    (void)worked(on, lw_store_checkpoint(on->store, NULL, 0, "copy"), "checkpoint");
    (void)worked(on, lw_bundle_remove(on->env, "copy"), "removing a bundle");
    (void)worked(on, lw_bundle_begin(on->env, "copy", table_path), "beginning another one");
}

/* Files that would be there again behind a loss of power. */
static size_t come_back(const char *bug) {
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    if (bug != NULL) {
        lw_world_plant(on->world, bug);
    }
    assert_true(run(on, begin_again_story));
    expect_right(on, "beginning again", 1);
    lw_memory *memory = lw_memory_open();
    lw_buffer paths = lw_buffer_in(memory);
    lw_disk_paths(lw_host_disk(on->host), LW_DISK_DURABLE, &paths);
    lw_bytes rest = lw_buffer_view(&paths);
    size_t count = 0;
    for (const char *path; (path = lw_names_next(&rest)) != NULL;) {
        count += strncmp(path, "copy/sst/", 9) == 0;
    }
    lw_memory_close(memory);
    bench_drop(on);
    return count;
}

/* They are links to tables of the store, and who makes the next one writes to such names. */
static void what_is_removed_does_not_come_back_under_another_one(void **state) {
    (void)state;
    assert_int_equal(come_back(NULL), 0);
    assert_int_not_equal(come_back("bundle.begins_unsynced"), 0);
}

static void move_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on), child = split(on, tree, 20, 40);
    put_keys(on, 24, 30);
    uint32_t moved = move(on, child);
    check_everything(on);
    uint32_t count = 0;
    (void)lw_tree_bounds(lw_store_tree(on->store, moved), &count);
    if (count != 1) {
        wrong(on, "a moved tree has %u ranges", count);
    }
    put_keys(on, 18, 42);
    each_tree(on, lw_tree_flush, "flush");
    merge(on, tree, moved);
    moved = move(on, tree);
    each_tree(on, lw_tree_compact, "compact");
    end(on);
}

static void a_tree_that_moved_goes_on(void **state) {
    (void)state;
    tell(move_story);
}

/* ---- replacing ----------------------------------------------------------------------------------
 */

static void replace_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on), child = split(on, tree, 20, 40);
    put_keys(on, 10, 30);
    copy(on, child);
    hold(on, 0, child);
    put_keys(on, 15, 35);
    delete_keys(on, 35, 40);
    hold(on, 1, child);
    lw_tree *before = lw_store_tree(on->store, child);
    replace(on, child);
    if (lw_store_tree(on->store, child) == before) {
        wrong(on, "the old tree is still there");
    }
    check_everything(on);
    check_held(on);
    put_keys(on, 25, 30);
    each_tree(on, lw_tree_compact, "compact");
    check_everything(on);
    check_held(on);
    end(on);
}

static void a_tree_that_is_replaced_is_another_and_snapshots_of_it_stay(void **state) {
    (void)state;
    tell(replace_story);
}

enum { LOOKOUTS = 64 }; /* a timer is up to 50 us late: together they look at every microsecond */

typedef struct lookout {
    bench *on;
    uint32_t tree;
    uint32_t looking; /* so many */
    bool done;
} lookout;

/* The old tree is freed when it is replaced: who asked for it has to be the first to know. */
static void look_out(void *argument) {
    lookout *looks = argument;
    bench *on = looks->on;
    while (!looks->done) {
        /* The new one may be where the old one was. */
        const lw_tree *tree = lw_store_tree(on->store, looks->tree);
        if (!on->stopped && lw_tree_applied(tree) != on->applied[looks->tree]) {
            wrong(on, "somebody else saw that a tree was replaced first");
        }
        lw_env_sleep(on->env, 1000);
    }
    looks->looking--;
}

static void first_to_know_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on);
    copy(on, tree);
    lookout looks = {.on = on, .tree = tree, .looking = LOOKOUTS};
    for (uint32_t index = 0; index < LOOKOUTS; index++) {
        (void)lw_env_start(on->env, "look out", look_out, &looks);
    }
    lw_ingest taken = {.directory = "kept",
                       .source = tree,
                       .tree = tree,
                       .kind = LW_INGEST_REPLACE,
                       .index = on->applied[tree] + 1};
    (void)worked(on, lw_store_ingest(on->store, &taken), "replacing");
    looks.done = true;
    while (looks.looking > 0) {
        lw_env_sleep(on->env, 1000);
    }
    on->applied[tree] = taken.index;
    check_everything(on);
    end(on);
}

static void who_replaces_a_tree_knows_first(void **state) {
    (void)state;
    tell(first_to_know_story);
}

typedef struct helper {
    bench *on;
    lw_status (*call)(lw_tree *tree);
    uint64_t delay_ns;
    bool done;
} helper;

static void help(void *argument) {
    helper *helps = argument;
    lw_env_sleep(helps->on->env, helps->delay_ns);
    (void)!helps->call(lw_store_tree(helps->on->store, 1));
    helps->done = true;
}

/* Replaces a tree while a flush and a compaction of it begin. */
static void overtake_story(bench *on) {
    uint64_t delay_ns = on->steps * UINT64_C(1300000);
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = fill(on);
    copy(on, tree);
    put_keys(on, 0, KEYS);
    each_tree(on, lw_tree_flush, "flush");
    put_keys(on, 20, 50);
    hold(on, 0, tree);
    helper flushes = {.on = on, .call = lw_tree_flush, .delay_ns = delay_ns};
    helper compacts = {.on = on, .call = lw_tree_compact, .delay_ns = delay_ns};
    (void)lw_env_start(on->env, "flush", help, &flushes);
    (void)lw_env_start(on->env, "compact", help, &compacts);
    replace(on, tree);
    check_everything(on);
    while (!flushes.done || !compacts.done) {
        lw_env_sleep(on->env, 1000000);
    }
    lw_env_sleep(on->env, UINT64_C(1000000000));
    check_everything(on);
    check_held(on);
    end(on);
}

static void no_flush_or_compaction_brings_back_what_was_replaced(void **state) {
    (void)state;
    uint64_t outdated = 0;
    for (uint32_t delay = 0; delay < 40; delay += STRIDE) {
        lw_faults faults = lw_faults_none();
        bench *on = bench_make(1, &faults);
        lw_host_slow_disk(on->host, 5);
        on->steps = delay;
        assert_true(run(on, overtake_story));
        expect_right(on, "delay", delay);
        outdated += lw_world_marked(on->world, "store.edit_outdated");
        bench_boot(on, true);
        assert_true(run(on, verify_story));
        expect_right(on, "after a restart, delay", delay);
        bench_drop(on);
    }
    assert_true(outdated > 0);
}

/* ---- loading ------------------------------------------------------------------------------------
 */

static void load_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = load(on, 5, 60);
    check_everything(on);
    lw_tree_figures figures;
    lw_tree_figures_get(lw_store_tree(on->store, tree), &figures);
    if (figures.table_count[LW_LEVEL_COUNT - 1] < 2) {
        wrong(on, "what was loaded is not in tables of the last level");
    }
    put_keys(on, 0, 20);
    delete_keys(on, 40, 50);
    each_tree(on, lw_tree_compact, "compact");
    end(on);
}

static void what_was_sorted_elsewhere_is_loaded_as_it_is(void **state) {
    (void)state;
    tell(load_story);
}

/* Exports keys [from, to) as tree 1 of a folder. */
static void export_range(bench *on, const char *directory, uint32_t from, uint32_t to) {
    text key;
    lw_export *out = NULL;
    lw_export_options options = {.tree = 1};
    if (worked(on, lw_export_open(on->env, directory, &options, &out), "exporting")) {
        for (uint32_t index = from; index < to; index++) {
            (void)worked(on, lw_export_add(out, key_of(index, &key), lw_text("loaded")), "adding");
        }
        (void)worked(on, lw_export_finish(out), "finishing");
    }
}

static lw_status ingest(bench *on, const char *directory, uint64_t tree) {
    return lw_store_ingest(on->store,
                           &(lw_ingest){.directory = directory, .source = 1, .tree = tree});
}

static void refuse_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t tree = create(on), child = split(on, tree, 40, 50);
    put_keys(on, 10, 20);
    export_range(on, "low", 15, 16);
    export_range(on, "between", 22, 26);
    expect_status(on, ingest(on, "low", tree), LW_EXISTS, "over a memtable");
    each_tree(on, lw_tree_flush, "flush");
    uint32_t before = files_there(on, "data/sst");
    expect_status(on, ingest(on, "low", tree), LW_EXISTS, "over a table");
    expect_status(on, ingest(on, "between", child), LW_INVALID_ARGUMENT, "out of its bounds");
    expect_status(on, ingest(on, "between", 70), LW_NOT_FOUND, "into no tree");
    expect_status(on, ingest(on, "none", tree), LW_NOT_FOUND, "of no bundle");
    lw_ingest no_source = {.directory = "between", .source = 9, .tree = tree};
    expect_status(on, lw_store_ingest(on->store, &no_source), LW_NOT_FOUND, "of no tree");
    lw_ingest taken = {.directory = "between", .source = 1, .tree = tree, .kind = LW_INGEST_CREATE};
    expect_status(on, lw_store_ingest(on->store, &taken), LW_EXISTS, "as a tree that is there");
    if (files_there(on, "data/sst") != before) {
        wrong(on, "what was not ingested left files");
    }
    expect_status(on, ingest(on, "between", tree), LW_OK, "where nothing is");
    expect_status(on, ingest(on, "between", tree), LW_EXISTS, "twice");
    lw_tree *into = lw_store_tree(on->store, tree);
    lw_snapshot *snapshot = lw_snapshot_open(into);
    lw_buffer value = lw_buffer_in(on->env->memory);
    text key;
    expect_status(on, lw_snapshot_get(snapshot, key_of(22, &key), &value), LW_OK, "get");
    if (!lw_equal(lw_buffer_view(&value), lw_text("loaded"))) {
        wrong(on, "what was ingested is not there");
    }
    lw_buffer_reset(&value);
    lw_snapshot_close(snapshot);
    for (uint32_t index = 22; index < 26; index++) {
        write_key(on, index, true); /* newer than what was ingested */
    }
    delete_keys(on, 22, 24);
    end(on);
}

static void tables_are_taken_only_where_nothing_is(void **state) {
    (void)state;
    tell(refuse_story);
}

static void export_refuse_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    text key;
    lw_export *out = NULL;
    lw_export_options options = {.tree = 1};
    (void)create(on);
    (void)worked(on, lw_export_open(on->env, "load", &options, &out), "exporting");
    expect_status(on, lw_export_add(out, key_of(5, &key), lw_text("x")), LW_OK, "first");
    expect_status(on, lw_export_add(out, key_of(5, &key), lw_text("x")), LW_INVALID_ARGUMENT,
                  "the same");
    expect_status(on, lw_export_add(out, key_of(4, &key), lw_text("x")), LW_INVALID_ARGUMENT,
                  "one before");
    lw_export_abandon(out);
    if (files_there(on, "load/sst") != 0) {
        wrong(on, "an export that was abandoned left files");
    }
    expect_status(on, lw_export_open(on->env, "data", &options, &out), LW_EXISTS, "a store");
    (void)worked(on, lw_export_open(on->env, "load", &options, &out), "exporting again");
    (void)worked(on, lw_export_finish(out), "an empty one");
    expect_status(on, ingest(on, "load", 1), LW_OK, "nothing");
    end(on);
}

static void an_export_takes_keys_in_order(void **state) {
    (void)state;
    tell(export_refuse_story);
}

/* ---- damage -------------------------------------------------------------------------------------
 */

static void bundle_story(bench *on) {
    if (open_store(on)) {
        (void)create(on);
        export_range(on, "load", 10, 40);
        close_store(on);
    }
}

static void damaged_story(bench *on) {
    if (!open_store(on)) {
        return;
    }
    uint32_t before = files_there(on, "data/sst");
    lw_status status = ingest(on, "load", 1);
    if (status == LW_OK) {
        wrong(on, "damage was taken over");
    } else if (status != LW_CORRUPTION && status != LW_REFUSED) {
        wrong(on, "got %s", lw_status_name(status));
    }
    if (files_there(on, "data/sst") != before) {
        wrong(on, "what was not ingested left files");
    }
    check_everything(on);
    close_store(on);
}

/* Bits of every part of a table, and of the CATALOG. */
static void damage_is_found_before_a_table_is_named(void **state) {
    (void)state;
    const char *const paths[] = {"load/sst/0000000000000001", "load/CATALOG"};
    for (size_t path = 0; path < 2; path++) {
        bool more = true;
        for (uint64_t bit = path * 3; more; bit += 41 * STRIDE) {
            lw_faults faults = lw_faults_none();
            bench *on = bench_make(1, &faults);
            assert_true(run(on, bundle_story));
            lw_memory *memory = lw_memory_open();
            lw_buffer contents = lw_buffer_in(memory);
            lw_disk *disk = lw_host_disk(on->host);
            assert_true(lw_disk_contents(disk, LW_DISK_VOLATILE, paths[path], &contents));
            more = bit / 8 < contents.size;
            lw_memory_close(memory);
            if (more) {
                lw_disk_flip(disk, paths[path], bit);
                assert_true(run(on, damaged_story));
                expect_right(on, paths[path], bit);
            }
            bench_drop(on);
        }
    }
}

static void an_ingest_that_verifies_nothing_is_noticed(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = bench_make(1, &faults);
    assert_true(run(on, bundle_story));
    lw_disk_flip(lw_host_disk(on->host), "load/sst/0000000000000001", 100);
    lw_world_plant(on->world, "ingest.not_verified");
    (void)run(on, damaged_story);
    assert_true(on->failure[0] != 0);
    bench_drop(on);
}

/* ---- every step ---------------------------------------------------------------------------------
 */

static void steady_story(bench *on) {
    if (!open_store(on) || on->deed_count > 0) {
        return;
    }
    uint32_t tree = fill(on);
    uint32_t child = on->stopped ? 0 : split(on, tree, 20, 40);
    put_keys(on, 24, 30);
    uint32_t moved = on->stopped ? 0 : move(on, child);
    put_keys(on, 10, 42);
    if (!on->stopped) {
        drop(on, tree);
    }
    if (!on->stopped) {
        (void)load(on, 0, 15);
    }
    put_keys(on, 3, 40);
    if (!on->stopped) {
        copy(on, moved);
    }
    put_keys(on, 18, 30);
    delete_keys(on, 30, 36);
    if (!on->stopped) {
        replace(on, moved);
    }
    put_keys(on, 28, 33);
    if (!on->stopped) {
        (void)move(on, moved);
    }
    if (!on->stopped) {
        end(on);
    }
}

/* A bundle that a crash left is whole, or has no CATALOG; either can be removed. */
static void look_at_bundles(bench *on) {
    const char *const folders[] = {"copy", "load", "kept"};
    for (uint32_t index = 0; index < 3 && !on->stopped; index++) {
        lw_inventory inventory = lw_inventory_in(on->env->memory);
        lw_buffer faults = lw_buffer_in(on->env->memory);
        lw_handle lock = LW_NO_HANDLE;
        if (lw_bundle_read(on->env, folders[index], &inventory, &lock) == LW_OK) {
            lw_file_close(on->env, lock);
            lw_status status = lw_store_check(on->env, folders[index], NULL, &faults);
            if (status != LW_OK) {
                wrong(on, "%s: %s: %.*s", folders[index], lw_error_slot()->text, (int)faults.size,
                      (const char *)faults.data);
            }
        }
        lw_buffer_reset(&faults);
        lw_inventory_reset(&inventory);
    }
}

static void verify_all_story(bench *on) {
    look_at_bundles(on);
    if (!on->stopped) {
        verify_story(on);
    }
}

static const tale steady = {.story = steady_story, .verify = verify_all_story};

static void the_power_may_go_at_any_step(void **state) {
    (void)state;
    power_goes_at_any_step(&steady);
}

static void a_fault_at_any_occasion_makes_nothing_wrong(void **state) {
    (void)state;
    faults_come_at_any_occasion(&steady);
}

static void planted_bugs_are_caught(void **state) {
    (void)state;
    power_loss_shows(&steady, "bundle.no_sync", 1);
    power_loss_shows(&steady, "ingest.no_directory_sync", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_is_a_store_that_nothing_changes),
        cmocka_unit_test(what_is_removed_does_not_come_back_under_another_one),
        cmocka_unit_test(a_tree_that_moved_goes_on),
        cmocka_unit_test(a_tree_that_is_replaced_is_another_and_snapshots_of_it_stay),
        cmocka_unit_test(who_replaces_a_tree_knows_first),
        cmocka_unit_test(no_flush_or_compaction_brings_back_what_was_replaced),
        cmocka_unit_test(what_was_sorted_elsewhere_is_loaded_as_it_is),
        cmocka_unit_test(tables_are_taken_only_where_nothing_is),
        cmocka_unit_test(an_export_takes_keys_in_order),
        cmocka_unit_test(damage_is_found_before_a_table_is_named),
        cmocka_unit_test(an_ingest_that_verifies_nothing_is_noticed),
        cmocka_unit_test(the_power_may_go_at_any_step),
        cmocka_unit_test(a_fault_at_any_occasion_makes_nothing_wrong),
        cmocka_unit_test(planted_bugs_are_caught),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
