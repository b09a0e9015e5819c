/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a whole engine: several times the budget is written, read, walked and compacted,
 * and at every step of the world the budget is kept, and what the process has allocated is what the
 * budget says, but for a constant. And what happens when handles run out. */
#include "tests/unit.h"

#include "sim/disk.h"
#include "sim/fault.h"
#include "sim/world.h"
#include "storage/batch.h"
#include "storage/engine.h"

#include <stdlib.h>

enum {
    LIMIT = 4 * 1024 * 1024,
    KEYS = 24000,
    READERS = 8,
    /* What is allocated beside the budget: structs of the world's process, of tables that are not
     * open, scratch of zstd and of single reads, fibers' records. */
    BESIDE = 1280 * 1024,
};

typedef struct bench {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_engine *engine;
    size_t limit, used_max, allocated_max;
    uint64_t chance;
    uint32_t fibers;
    char failure[640];
} bench;

static void wrong(bench *on, const char *what) {
    if (on->failure[0] == 0) {
        (void)snprintf(on->failure, sizeof(on->failure), "%.100s: %s", what, lw_error_slot()->text);
    }
}

static bool worked(bench *on, lw_status status, const char *what) {
    if (status != LW_OK) {
        wrong(on, what);
    }
    return status == LW_OK;
}

static bench bench_open(const lw_faults *faults, size_t limit) {
    bench on = {.world = lw_world_open(1, faults), .limit = limit, .chance = 1};
    on.host = lw_world_host(on.world, "node");
    on.env = lw_host_boot(on.host);
    return on;
}

/* The rule that holds at every step. */
static void watch(bench *on) {
    if (on->engine == NULL) {
        return;
    }
    const lw_budget *budget = lw_store_budget(lw_engine_store(on->engine));
    size_t allocated = lw_memory_used(on->env->memory);
    on->used_max = budget->used > on->used_max ? budget->used : on->used_max;
    on->allocated_max = allocated > on->allocated_max ? allocated : on->allocated_max;
}

typedef struct story {
    bench *on;
    void (*body)(bench *on);
    bool done;
} story;

static void story_main(void *argument) {
    story *told = argument;
    told->body(told->on);
    told->done = true;
}

static void run(bench *on, void (*body)(bench *on)) {
    story told = {.on = on, .body = body};
    (void)lw_env_start(on->env, "story", story_main, &told);
    while (!told.done) {
        if (!lw_world_step(on->world)) {
            fail_msg("every fiber waits for another; %s", on->failure);
        }
        watch(on);
    }
    if (on->failure[0] != 0) {
        fail_msg("%s", on->failure);
    }
}

static void open_engine(bench *on) {
    lw_engine_options options = {.store = {.directory = "data", .memory_size = on->limit},
                                 .log = {.segment_size = 1024 * 1024}};
    if (worked(on, lw_engine_open(on->env, &options, &on->engine), "open") &&
        lw_engine_tree(on->engine, 1) == NULL) {
        (void)worked(on, lw_engine_create_tree(on->engine, 1), "create");
    }
}

static void close_engine(bench *on) {
    lw_engine *engine = on->engine;
    on->engine = NULL;
    lw_engine_close(engine);
}

/* ---- data ----------------------------------------------------------------------------------- */

static uint32_t shuffled(uint32_t index) {
    return (uint32_t)((uint64_t)index * 7919 % KEYS);
}

static lw_bytes key_of(uint32_t key, char to[32]) {
    return lw_view((const uint8_t *)to, (size_t)snprintf(to, 32, "key %08u", (unsigned)key));
}

/* Mostly small, some kept apart, few large; half of each can be compressed. */
static lw_bytes value_of(uint32_t key, uint8_t to[64 * 1024]) {
    size_t size = key % 500 == 0 ? 60 * 1024 : key % 50 == 0 ? 6000 : 100 + key % 900;
    uint64_t chance = key;
    for (size_t at = 0; at < size; at++) {
        to[at] = (uint8_t)(at % 16 < 8 ? unit_random_below(&chance, 256) : key % 251);
    }
    return lw_view(to, size);
}

static lw_status put(bench *on, uint32_t key, bool durable) {
    char name[32];
    uint8_t *value = lw_allocate(on->env->memory, 64 * 1024);
    lw_buffer batch = lw_buffer_in(on->env->memory);
    lw_batch_put(&batch, key_of(key, name), value_of(key, value));
    lw_status status = lw_engine_write(on->engine, 1, lw_buffer_view(&batch), durable);
    lw_buffer_reset(&batch);
    lw_free(on->env->memory, value);
    return status;
}

static void get(bench *on, uint32_t key) {
    char name[32];
    uint8_t *wanted = lw_allocate(on->env->memory, 64 * 1024);
    lw_buffer value = lw_buffer_in(on->env->memory);
    lw_snapshot *snapshot = lw_snapshot_open(lw_engine_tree(on->engine, 1));
    if (worked(on, lw_snapshot_get(snapshot, key_of(key, name), &value), "get") &&
        !lw_equal(lw_buffer_view(&value), value_of(key, wanted))) {
        wrong(on, "another value");
    }
    lw_snapshot_close(snapshot);
    lw_buffer_reset(&value);
    lw_free(on->env->memory, wanted);
}

/* False if it could not be done now. */
static bool walk(bench *on, uint32_t count) {
    uint32_t seen = 0;
    lw_snapshot *snapshot = lw_snapshot_open(lw_engine_tree(on->engine, 1));
    lw_cursor *cursor = lw_cursor_open(snapshot, (lw_bytes){0}, (lw_bytes){0});
    lw_status status = lw_cursor_first(cursor);
    while (status == LW_OK && lw_cursor_valid(cursor)) {
        seen++;
        status = lw_cursor_next(cursor);
    }
    bool again = status == LW_BACKPRESSURE;
    if (!again && worked(on, status, "walk") && seen != count) {
        wrong(on, "the walk met another number of keys");
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return !again;
}

static void must_walk(bench *on, uint32_t count) {
    if (!walk(on, count)) {
        wrong(on, "a walk was refused");
    }
}

/* ---- stories -------------------------------------------------------------------------------- */

static void reader_main(void *argument) {
    bench *on = argument;
    for (uint32_t index = 0; index < 500 && on->failure[0] == 0; index++) {
        get(on, (uint32_t)unit_random_below(&on->chance, KEYS));
    }
    on->fibers--;
}

static void all_work(bench *on) {
    open_engine(on);
    for (uint32_t index = 0; index < KEYS && on->failure[0] == 0; index++) {
        (void)worked(on, put(on, shuffled(index), false), "put");
    }
    for (; on->fibers < READERS; on->fibers++) {
        (void)lw_env_start(on->env, "reader", reader_main, on);
    }
    for (uint32_t index = 0; index < KEYS / 4 && on->failure[0] == 0; index++) {
        (void)worked(on, put(on, shuffled(index), false), "put");
    }
    while (on->fibers > 0) {
        lw_env_sleep(on->env, 1000000);
    }
    must_walk(on, KEYS);
    (void)worked(on, lw_tree_compact(lw_engine_tree(on->engine, 1)), "compact");
    must_walk(on, KEYS);
    close_engine(on);
}

static void whatever_is_done_the_budget_is_kept(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench on = bench_open(&faults, LIMIT);
    run(&on, all_work);
    print_message("budget %d, at most %zu of it; allocated at most %zu\n", LIMIT, on.used_max,
                  on.allocated_max);
    assert_true(on.used_max <= LIMIT);
    assert_true(on.used_max > LIMIT / 2); /* it is used, too */
    assert_true(on.allocated_max <= LIMIT + BESIDE);
    lw_world_close(on.world);
}

static void large_writes(bench *on) {
    open_engine(on);
    size_t size = on->limit / 4;
    uint8_t *value = malloc(2 * size);
    memset(value, 'v', 2 * size);
    for (uint32_t index = 0; index < 20 && on->failure[0] == 0; index++) {
        char name[32];
        lw_buffer batch = lw_buffer_in(on->env->memory);
        lw_batch_put(&batch, key_of(index, name), lw_view(value, index % 5 == 4 ? 2 * size : size));
        /* The caller's own copy is not the engine's. */
        lw_bytes bytes = lw_view(malloc(batch.size), batch.size);
        memcpy((void *)(uintptr_t)bytes.data, batch.data, batch.size);
        lw_buffer_reset(&batch);
        lw_status status = lw_engine_write(on->engine, 1, bytes, true);
        if (status != (index % 5 == 4 ? LW_REFUSED : LW_OK)) {
            wrong(on, "a large write");
        }
        free((void *)(uintptr_t)bytes.data);
    }
    free(value);
    must_walk(on, 16);
    close_engine(on);
}

static void a_large_value_is_served_within_the_budget_or_refused(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench on = bench_open(&faults, LIMIT);
    run(&on, large_writes);
    print_message("large values: at most %zu of the budget\n", on.used_max);
    assert_true(on.used_max <= LIMIT);
    lw_world_close(on.world);
}

/* A snapshot that stays open keeps every memtable that it has seen. */
static void held_memory(bench *on) {
    open_engine(on);
    lw_status status = LW_OK;
    lw_snapshot *held[64] = {NULL};
    for (uint32_t index = 0; index < KEYS && status == LW_OK; index++) {
        if (index % 200 == 0) {
            held[index / 200 % 64] = held[index / 200 % 64] == NULL
                                         ? lw_snapshot_open(lw_engine_tree(on->engine, 1))
                                         : held[index / 200 % 64];
        }
        status = put(on, shuffled(index), false);
    }
    if (status != LW_BACKPRESSURE || strstr(lw_error_slot()->text, "snapshots") == NULL) {
        wrong(on, "snapshots held the memory, and writers were not told");
    }
    lw_memory_figures figures;
    lw_store_memory_get(lw_engine_store(on->engine), &figures);
    if (strcmp(figures.slowed_by, "snapshots") != 0 || figures.memtables_held == 0) {
        wrong(on, "the figures name another cause");
    }
    for (uint32_t index = 0; index < 64; index++) {
        if (held[index] != NULL) {
            lw_snapshot_close(held[index]);
        }
    }
    (void)worked(on, put(on, 1, true), "put");
    close_engine(on);
}

static void memory_that_snapshots_hold_is_counted_and_named(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench on = bench_open(&faults, LIMIT);
    run(&on, held_memory);
    assert_true(on.used_max <= LIMIT);
    lw_world_close(on.world);
}

/* ---- handles -------------------------------------------------------------------------------- */

static void few_writes(bench *on) {
    open_engine(on);
    for (uint32_t index = 0; index < 60 && on->failure[0] == 0; index++) {
        lw_status status;
        while ((status = put(on, index % 30, true)) == LW_BACKPRESSURE) {
            lw_env_sleep(on->env, 100000000);
        }
        (void)worked(on, status, "put");
        if (index % 10 == 9) {
            (void)worked(on, lw_tree_flush(lw_engine_tree(on->engine, 1)), "flush");
        }
    }
    while (!walk(on, 30)) {
        lw_env_sleep(on->env, 100000000);
    }
    (void)worked(on, lw_tree_compact(lw_engine_tree(on->engine, 1)), "compact");
    while (!walk(on, 30)) {
        lw_env_sleep(on->env, 100000000);
    }
    close_engine(on);
}

static void handles_may_run_out_at_any_opening(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bool short_of_tables = false, short_of_names = false, short_of_segments = false;
    bool made_way = false;
    for (uint32_t occasion = 12;; occasion++) {
        bench on = bench_open(&faults, LIMIT);
        lw_dice_arm(lw_disk_dice(lw_host_disk(on.host)), LW_FAULT_NO_HANDLES, occasion);
        run(&on, few_writes);
        bool hit = lw_world_marked(on.world, lw_fault_mark(LW_FAULT_NO_HANDLES)) > 0;
        short_of_tables |= lw_world_marked(on.world, "store.short") > 0;
        short_of_segments |= lw_world_marked(on.world, "log.short") > 0;
        made_way |= lw_world_marked(on.world, "store.table_closed_for_another") > 0;
        short_of_names |= lw_world_marked(on.world, "env.short_of_handles") > 0;
        lw_world_close(on.world);
        if (!hit) {
            print_message("%u openings\n", (unsigned)occasion);
            break;
        }
    }
    assert_true(short_of_tables);
    assert_true(short_of_names);
    assert_true(short_of_segments);
    assert_true(made_way);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_done_the_budget_is_kept),
        cmocka_unit_test(a_large_value_is_served_within_the_budget_or_refused),
        cmocka_unit_test(memory_that_snapshots_hold_is_counted_and_named),
        cmocka_unit_test(handles_may_run_out_at_any_opening),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
