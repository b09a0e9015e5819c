/* SPDX-License-Identifier: Apache-2.0 */
/* The scrub of a node: what rots where nobody reads is found, told, and remembered over a restart;
 * otherwise it sleeps. */
#include "tests/unit.h"

#include "client/json.h"
#include "node/scrub.h"
#include "sim/world.h"
#include "storage/batch.h"
#include "storage/scrub.h"

#include <stdio.h>

#define HOUR_NS (UINT64_C(3600) * 1000 * 1000 * 1000)
enum { KEYS = 400, TREE = 7, SEGMENT_SIZE = 64 * 1024 };

typedef struct bench {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_store *store;
    lw_log *log;
    lw_scrub *scrub;
    const char *where; /* damage is */
    uint32_t found;    /* events */
    uint32_t told;     /* trees */
    bool done;
} bench;

static uint64_t no_requests(void *argument) {
    (void)argument;
    return 0;
}
static void found(void *argument, const char *text) {
    bench *on = argument;
    assert_non_null(strstr(text, on->where));
    on->found++;
}
static void tree_damaged(void *argument, lw_tree *tree) {
    bench *on = argument;
    assert_int_equal(lw_tree_id(tree), TREE);
    on->told++;
}

static void flushed(void *argument, lw_tree *tree, uint64_t index) {
    bench *on = argument;
    if (on->log != NULL) {
        lw_log_release(on->log, lw_tree_id(tree), index);
    }
}

static lw_status replay(void *argument, const lw_log_record *record) {
    (void)argument;
    (void)record;
    return LW_OK;
}

static void open_main(void *argument) {
    bench *on = argument;
    lw_store_options options = {
        .directory = "data", .flushed = flushed, .damaged = tree_damaged, .argument = on};
    lw_log_options log = {.segment_size = SEGMENT_SIZE};
    on->log = NULL;
    assert_int_equal(lw_store_open(on->env, &options, &on->store), LW_OK);
    assert_int_equal(lw_log_open(on->env, "data/log", &log, replay, NULL, &on->log), LW_OK);
    lw_scrub_options scrub = {.env = on->env,
                              .store = on->store,
                              .log = on->log,
                              .directory = "data",
                              .requests = no_requests,
                              .found = found,
                              .argument = on};
    on->scrub = lw_scrub_open(&scrub);
    on->done = true;
}

/* As a group does: first in the log, then in the tree. */
static void write_entries(bench *on) {
    lw_tree *tree;
    assert_int_equal(lw_store_create_tree(on->store, TREE, &tree), LW_OK);
    for (uint64_t index = 1; index <= KEYS; index++) {
        lw_buffer batch = lw_buffer_in(on->env->memory);
        char key[16], value[300];
        uint64_t chance = index;
        (void)snprintf(key, sizeof(key), "k%06d", (int)index);
        for (size_t place = 0; place < sizeof(value); place++) {
            value[place] = (char)unit_random_below(&chance, 256);
        }
        lw_batch_put(&batch, lw_text(key), lw_view(value, sizeof(value)));
        lw_log_record record = {.group = TREE,
                                .term = 1,
                                .index = index,
                                .kind = LW_LOG_ENTRY,
                                .payload = lw_buffer_view(&batch)};
        assert_int_equal(lw_log_wait(on->log, lw_log_append(on->log, &record, 1)), LW_OK);
        assert_int_equal(lw_tree_apply(tree, index, lw_buffer_view(&batch)), LW_OK);
        lw_buffer_reset(&batch);
    }
}

static void write_main(void *argument) {
    bench *on = argument;
    write_entries(on);
    assert_int_equal(lw_tree_flush(lw_store_tree(on->store, TREE)), LW_OK);
    on->done = true;
}

static void write_only_main(void *argument) {
    bench *on = argument;
    write_entries(on);
    on->done = true;
}

static void run(bench *on, void (*body)(void *argument)) {
    on->done = false;
    lw_env_start(on->env, "bench", body, on);
    while (!on->done && lw_world_step(on->world)) {
    }
    assert_true(on->done);
}

static void boot(bench *on) {
    on->env = lw_host_boot(on->host);
    run(on, open_main);
}

static bench begin(void) {
    lw_faults faults = lw_faults_none();
    bench on = {.world = lw_world_open(1, &faults), .where = "data/sst/"};
    on.host = lw_world_host(on.world, "node");
    return on;
}

static void pass_hours(bench *on, uint64_t hours) {
    (void)lw_world_run(on->world, lw_world_now(on->world) + hours * HOUR_NS);
}

static uint64_t passes(const bench *on) {
    return lw_world_marked(on->world, "scrub.pass_ended");
}

/* The first file below a folder. */
static void rot(bench *on, const char *folder) {
    lw_disk *disk = lw_host_disk(on->host);
    lw_buffer paths = lw_buffer_in(on->env->memory);
    lw_disk_paths(disk, LW_DISK_VOLATILE, &paths);
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *path = (const char *)paths.data + at;
        if (strncmp(path, folder, strlen(folder)) == 0) {
            lw_disk_flip(disk, path, 8 * UINT64_C(5000));
            lw_buffer_reset(&paths);
            return;
        }
    }
    fail_msg("there is no file in %s", folder);
}

static uint64_t figure(bench *on, const char *name) {
    lw_buffer text = lw_buffer_in(on->env->memory);
    lw_json json = lw_json_to(&text);
    lw_json_object_open(&json, NULL);
    lw_scrub_status(on->scrub, &json);
    lw_json_object_close(&json);
    lw_buffer_append_u8(&text, 0);
    const char *at = strstr((const char *)text.data, name);
    assert_non_null(at);
    uint64_t count = strtoull(at + strlen(name) + strlen("\":"), NULL, 10);
    lw_buffer_reset(&text);
    return count;
}

static void what_rots_is_found_where_nobody_reads(void **state) {
    (void)state;
    bench on = begin();
    boot(&on);
    run(&on, write_main);
    pass_hours(&on, 3);
    assert_int_equal(passes(&on), 1);
    assert_int_equal(on.found, 0);
    rot(&on, "data/sst/");
    pass_hours(&on, 6 * 24);
    assert_int_equal(passes(&on), 1); /* once a week */
    pass_hours(&on, 2 * 24);
    assert_int_equal(passes(&on), 2);
    assert_int_equal(on.found, 1);
    assert_int_equal(on.told, 1);
    assert_int_equal(figure(&on, "damaged_files"), 1);
    lw_world_close(on.world);
}

static void a_restart_remembers_the_last_pass(void **state) {
    (void)state;
    bench on = begin();
    boot(&on);
    run(&on, write_main);
    pass_hours(&on, 3);
    assert_int_equal(passes(&on), 1);
    for (uint32_t day = 0; day < 6; day++) {
        lw_host_crash(on.host);
        boot(&on);
        pass_hours(&on, 23);
        assert_int_equal(passes(&on), 1);
    }
    lw_host_crash(on.host);
    boot(&on);
    pass_hours(&on, 2 * 24);
    assert_int_equal(passes(&on), 2);
    lw_world_close(on.world);
}

/* Of what is in the log only: once it is flushed, the segment goes. */
static void check_the_log(const char *bug, uint64_t left) {
    bench on = begin();
    if (bug != NULL) {
        lw_world_plant(on.world, bug);
    }
    on.where = "data/log/";
    boot(&on);
    run(&on, write_only_main);
    uint64_t first = lw_log_newest_sealed(on.log);
    assert_true(first > 1);
    rot(&on, "data/log/");
    pass_hours(&on, 3);
    assert_int_equal(passes(&on), 1);
    assert_int_equal(on.found, 1);
    assert_int_equal(on.told, 0);
    assert_int_equal(figure(&on, "damaged_segments"), left);
    lw_world_close(on.world);
}

static void a_rotten_segment_of_the_log_is_flushed_away(void **state) {
    (void)state;
    check_the_log(NULL, 0);
    check_the_log("scrub.keeps_damaged_log", 1);
}

/* What is let go of while it is walked is passed over. */
static void the_log_goes_on_while_it_is_walked(void **state) {
    (void)state;
    bench on = begin();
    boot(&on);
    run(&on, write_only_main);
    pass_hours(&on, 2);
    while (lw_world_marked(on.world, "scrub.pass_ended") == 0 &&
           figure(&on, "bytes") < SEGMENT_SIZE) {
        assert_true(lw_world_step(on.world));
    }
    lw_log_release(on.log, TREE, KEYS);
    pass_hours(&on, 1);
    assert_int_equal(passes(&on), 1);
    assert_int_equal(on.found, 0);
    assert_int_equal(lw_world_marked(on.world, "log.scrubbed_segment_went"), 1);
    lw_world_close(on.world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rots_is_found_where_nobody_reads),
        cmocka_unit_test(a_restart_remembers_the_last_pass),
        cmocka_unit_test(a_rotten_segment_of_the_log_is_flushed_away),
        cmocka_unit_test(the_log_goes_on_while_it_is_walked),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
