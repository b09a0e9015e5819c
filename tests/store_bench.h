/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store share: a store on a host of the simulated world, next to the simplest
 * possible model: an array with one value a key. The bench keeps what was applied, as the log of a
 * node would, and applies again after each opening what the store had not flushed. Whatever is
 * wrong is noted, not asserted, since it is noticed inside of fibers, and since planted bugs must
 * be noticed too. */
#ifndef LW_TESTS_STORE_BENCH_H
#define LW_TESTS_STORE_BENCH_H

#include "tests/story.h"
#include "tests/unit.h"

#include "storage/batch.h"
#include "storage/inventory.h"
#include "storage/store.h"
#include "sim/world.h"

#include <stdlib.h>

enum { KEY_COUNT = 120, LOG_COUNT = 6000, HELD_COUNT = 3, TREE = 7 };

/* What a tree holds: for each key the number of its value; 0: none. */
typedef struct model {
    uint32_t values[KEY_COUNT];
} model;

typedef struct held {
    lw_snapshot *snapshot;
    model model;
} held;

typedef struct bench {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    uint64_t chance;
    lw_memory *memory; /* outlives the process, as a log would */
    lw_buffer log[LOG_COUNT + 1];
    uint64_t applied;      /* the last index in the log */
    uint64_t flushed_told; /* by the callback */
    uint32_t last_value;
    model now;
    lw_store *store;
    lw_tree *tree;
    held held[HELD_COUNT];
    uint64_t value_threshold; /* of the store; 0: its own */
    size_t memory_size;       /* of the store; 0: 128 KiB */
    lw_store_compression compression;
    uint32_t steps;    /* of the next session */
    bool faults;       /* are on: calls may fail */
    bool stopped;      /* the session ended with a dead store or a failed call */
    char failure[256]; /* the first thing that was wrong */
} bench;

STORIES_OF(bench)

static inline uint32_t below(bench *on, uint32_t bound) {
    return (uint32_t)unit_random_below(&on->chance, bound);
}

/* ---- keys and values ----------------------------------------------------------------------------
 */

typedef struct text {
    uint8_t data[512];
    size_t size;
} text;

/* Ascending in `index`; the first is empty, some end in zeros, groups share a filter part. */
static inline lw_bytes key_of(uint32_t index, text *to) {
    to->size = (size_t)snprintf((char *)to->data, sizeof(to->data), "k%03u", (unsigned)index);
    to->data[to->size] = 0;
    to->size += index % 3;
    to->data[to->size - 1] = index % 3 == 2 ? 0xff : to->data[to->size - 1];
    return index == 0 ? lw_view(to->data, 0) : lw_view(to->data, to->size);
}

static inline size_t filter_part(lw_bytes key) {
    return key.size < 3 ? key.size : 3;
}

static inline lw_bytes value_of(uint32_t value, text *to) {
    to->size = value % 11 == 0 ? 0 : value * 37 % 300;
    memset(to->data, (int)(value % 251), to->size);
    snprintf((char *)to->data + to->size, 16, "%u", (unsigned)value);
    to->size += strlen((char *)to->data + to->size);
    return lw_view(to->data, to->size);
}

/* ---- calls that may fail only with faults ------------------------------------------------- */

static inline bool worked(bench *on, lw_status status, const char *what) {
    if (status == LW_OK) {
        return true;
    }
    bool allowed = on->faults && (status == LW_FULL || status == LW_INTERNAL);
    if (!allowed) {
        wrong(on, "%s: %s", what, lw_error_slot()->text);
    }
    on->stopped |= lw_store_dead(on->store, NULL);
    return false;
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static inline void check_get(bench *on, lw_snapshot *snapshot, const model *of, uint32_t index) {
    text key, expected;
    lw_buffer value = lw_buffer_in(on->env->memory);
    lw_status status = lw_snapshot_get(snapshot, key_of(index, &key), &value);
    if (of->values[index] == 0 ? status == LW_OK : status == LW_NOT_FOUND) {
        wrong(on, "key %u: got %s, expected value %u", (unsigned)index, lw_status_name(status),
              (unsigned)of->values[index]);
    } else if (status == LW_OK &&
               !lw_equal(lw_buffer_view(&value), value_of(of->values[index], &expected))) {
        wrong(on, "key %u: another value than %u", (unsigned)index, (unsigned)of->values[index]);
    } else if (status != LW_NOT_FOUND) {
        (void)worked(on, status, "get");
    }
    lw_buffer_reset(&value);
}

/* The next index from `at` in the direction that has a value, within [low, high); -1 if none. */
static inline int32_t model_find(const model *of, int32_t at, int32_t step, int32_t low,
                                 int32_t high) {
    while (at >= low && at < high && of->values[at] == 0) {
        at += step;
    }
    return at >= low && at < high ? at : -1;
}

static inline bool check_place(bench *on, lw_cursor *cursor, const model *of, int32_t expected) {
    text key, value;
    if (lw_cursor_valid(cursor) != (expected >= 0)) {
        wrong(on, "a cursor is %s, but should be at key %d",
              expected < 0 ? "at a key" : "at no key", (int)expected);
        return false;
    }
    if (expected < 0) {
        return false;
    }
    uint32_t index = (uint32_t)expected;
    if (!lw_equal(lw_cursor_key(cursor), key_of(index, &key)) ||
        !lw_equal(lw_cursor_value(cursor), value_of(of->values[index], &value))) {
        wrong(on, "a cursor is not at key %d with its value", (int)expected);
        return false;
    }
    return true;
}

/* Places the cursor somehow; answers where it must be then. */
static inline lw_status place_cursor(bench *on, lw_cursor *cursor, const model *of, int32_t low,
                                     int32_t high, int32_t *expected) {
    text key;
    uint32_t target = below(on, KEY_COUNT);
    int32_t at = (int32_t)target;
    switch (below(on, 4)) {
    case 0:
        *expected = model_find(of, low, 1, low, high);
        return lw_cursor_first(cursor);
    case 1:
        *expected = model_find(of, high - 1, -1, low, high);
        return lw_cursor_last(cursor);
    case 2:
        *expected = model_find(of, at < low ? low : at, 1, low, high);
        return lw_cursor_seek(cursor, key_of(target, &key));
    default:
        *expected = model_find(of, at > high ? high - 1 : at - 1, -1, low, high);
        return lw_cursor_seek_before(cursor, key_of(target, &key));
    }
}

static inline void walk_cursor(bench *on, lw_cursor *cursor, const model *of, int32_t low,
                               int32_t high) {
    int32_t at = -1;
    if (!worked(on, place_cursor(on, cursor, of, low, high, &at), "placing a cursor")) {
        return;
    }
    uint32_t turn = below(on, 3); /* mostly on, mostly back, or both */
    while (check_place(on, cursor, of, at) && below(on, 40) != 0) {
        bool forward = turn == 2 ? below(on, 2) == 0 : (below(on, 8) == 0) == (turn == 1);
        at = model_find(of, forward ? at + 1 : at - 1, forward ? 1 : -1, low, high);
        lw_status status = forward ? lw_cursor_next(cursor) : lw_cursor_previous(cursor);
        if (!worked(on, status, "moving a cursor")) {
            return;
        }
    }
}

static inline void check_cursor(bench *on, lw_snapshot *snapshot, const model *of) {
    text lower, upper;
    int32_t low = (int32_t)below(on, KEY_COUNT / 2), high = KEY_COUNT;
    lw_bytes lower_key = key_of((uint32_t)low, &lower), upper_key = lw_view(NULL, 0);
    if (below(on, 2) == 0) {
        high = low + 1 + (int32_t)below(on, (uint32_t)(KEY_COUNT - low - 1));
        upper_key = key_of((uint32_t)high, &upper);
    }
    if (below(on, 2) == 0) {
        low = 0;
        lower_key = lw_view(NULL, 0);
    }
    lw_cursor *cursor = lw_cursor_open(snapshot, lower_key, upper_key);
    for (uint32_t walk = 0; walk < 3 && !on->stopped; walk++) {
        walk_cursor(on, cursor, of, low, high);
    }
    lw_cursor_close(cursor);
}

static inline void check_everything(bench *on) {
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    for (uint32_t index = 0; index < KEY_COUNT && !on->stopped; index++) {
        check_get(on, snapshot, &on->now, index);
    }
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_view(NULL, 0), lw_view(NULL, 0));
    int32_t at = model_find(&on->now, 0, 1, 0, KEY_COUNT);
    bool good = !on->stopped && worked(on, lw_cursor_first(cursor), "first");
    while (good && check_place(on, cursor, &on->now, at)) {
        at = model_find(&on->now, at + 1, 1, 0, KEY_COUNT);
        good = worked(on, lw_cursor_next(cursor), "next");
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
}

/* ---- writing ------------------------------------------------------------------------------------
 */

static inline void log_put(bench *on, lw_buffer *batch, uint32_t index) {
    text key, value;
    on->now.values[index] = ++on->last_value;
    lw_batch_put(batch, key_of(index, &key), value_of(on->last_value, &value));
}

static inline void log_delete(bench *on, lw_buffer *batch, uint32_t index) {
    text key;
    on->now.values[index] = 0;
    lw_batch_delete(batch, key_of(index, &key));
}

static inline lw_buffer *log_begin(bench *on) {
    LW_ASSERT(on->applied < LOG_COUNT);
    lw_buffer *batch = &on->log[++on->applied];
    *batch = lw_buffer_in(on->memory);
    return batch;
}

static inline void apply_last(bench *on) {
    lw_status status = lw_tree_apply(on->tree, on->applied, lw_buffer_view(&on->log[on->applied]));
    LW_ASSERT(status == LW_OK);
}

static inline void apply_random(bench *on) {
    lw_buffer *batch = log_begin(on);
    uint32_t deletes = below(on, 2) == 0 ? 2 : 5; /* of ten */
    for (uint32_t count = below(on, 8); count > 0; count--) {
        uint32_t index = below(on, KEY_COUNT);
        if (below(on, 10) < deletes) {
            log_delete(on, batch, index);
        } else {
            log_put(on, batch, index);
        }
    }
    apply_last(on);
}

/* Puts `count` keys from `first` on, one batch each. */
static inline void apply_puts(bench *on, uint32_t first, uint32_t count) {
    for (uint32_t index = first; index < first + count; index++) {
        log_put(on, log_begin(on), index);
        apply_last(on);
    }
}

static inline void apply_deletes(bench *on, uint32_t first, uint32_t count) {
    for (uint32_t index = first; index < first + count; index++) {
        log_delete(on, log_begin(on), index);
        apply_last(on);
    }
}

/* ---- opening and closing ------------------------------------------------------------------------
 */

static inline void flushed(void *argument, lw_tree *tree, uint64_t index) {
    bench *on = argument;
    LW_ASSERT(index > on->flushed_told);
    LW_ASSERT(lw_tree_flushed(tree) == index);
    on->flushed_told = index;
}

static inline void replay(bench *on) {
    uint64_t from = lw_tree_flushed(on->tree);
    if (from > on->applied || from < on->flushed_told) {
        wrong(on, "flushed up to %u, but told %u and applied %u", (unsigned)from,
              (unsigned)on->flushed_told, (unsigned)on->applied);
        return;
    }
    on->flushed_told = from;
    for (uint64_t index = from + 1; index <= on->applied; index++) {
        lw_status status = lw_tree_apply(on->tree, index, lw_buffer_view(&on->log[index]));
        LW_ASSERT(status == LW_OK);
    }
}

static inline bool open_store(bench *on) {
    lw_store_options options = {.directory = "data",
                                .memory_size = on->memory_size != 0 ? on->memory_size : 4 << 20,
                                .memtables_max = on->memory_size != 0 ? 0 : 64 * 1024,
                                .table_size = 4096,
                                .value_threshold = on->value_threshold,
                                .compression = on->compression,
                                .open_max = 3,
                                .filter_part = filter_part,
                                .flushed = flushed,
                                .argument = on};
    on->stopped = false;
    on->store = NULL;
    lw_status status = lw_store_open(on->env, &options, &on->store);
    if (status != LW_OK) {
        on->stopped = true;
        if (!on->faults || (status != LW_FULL && status != LW_INTERNAL)) {
            wrong(on, "opening: %s", lw_error_slot()->text);
        }
        return false;
    }
    on->tree = lw_store_tree(on->store, TREE);
    if (on->tree == NULL) {
        if (on->flushed_told > 0) {
            wrong(on, "the tree is gone");
        } else if (worked(on, lw_store_create_tree(on->store, TREE, &on->tree), "creating")) {
            LW_ASSERT(lw_store_tree(on->store, TREE) == on->tree);
        }
    }
    if (on->tree == NULL) {
        on->stopped = true;
        lw_store_close(on->store);
        on->store = NULL;
        return false;
    }
    replay(on);
    return true;
}

static inline void release(held *one) {
    if (one->snapshot != NULL) {
        lw_snapshot_close(one->snapshot);
        one->snapshot = NULL;
    }
}

static inline void close_store(bench *on) {
    for (uint32_t index = 0; index < HELD_COUNT; index++) {
        release(&on->held[index]);
    }
    uint64_t failed = lw_world_marked(on->world, lw_fault_mark(LW_FAULT_SYNC_ERROR));
    lw_store_close(on->store);
    on->store = NULL;
    /* A sync that fails while the store closes has stopped it as well. */
    on->stopped |= lw_world_marked(on->world, lw_fault_mark(LW_FAULT_SYNC_ERROR)) > failed;
}

/* Each file that the catalog names is there, and no other (T2). */
static inline void check_names(bench *on) {
    lw_inventory inventory = lw_inventory_in(on->env->memory);
    lw_buffer names = lw_buffer_in(on->env->memory);
    lw_catalog_facts facts;
    lw_status status =
        lw_catalog_read(on->env, "data/CATALOG", lw_inventory_take, &inventory, &facts);
    if (status == LW_OK) {
        status = lw_path_list(on->env, "data/sst", &names);
    }
    uint32_t named = inventory.file_map.count;
    uint32_t there = (uint32_t)(names.size / 17);
    if (status != LW_OK || named != there) {
        wrong(on, "%s: %u files are named, %u are there", lw_status_name(status), named, there);
    }
    lw_inventory_reset(&inventory);
    lw_buffer_reset(&names);
}

/* Holds the closed folder against its own catalog. */
static inline void check_folder(bench *on) {
    lw_buffer faults = lw_buffer_in(on->env->memory);
    if (!on->faults) {
        check_names(on);
    }
    lw_status status = lw_store_check(on->env, "data", filter_part, &faults);
    if (status != LW_OK && !on->faults) {
        wrong(on, "checking: %s: %.*s", lw_error_slot()->text, (int)faults.size,
              (const char *)faults.data);
    }
    lw_buffer_reset(&faults);
}

/* ---- sessions -----------------------------------------------------------------------------------
 */

static inline void hold_or_check(bench *on) {
    held *one = &on->held[below(on, HELD_COUNT)];
    if (one->snapshot == NULL) {
        *one = (held){.snapshot = lw_snapshot_open(on->tree), .model = on->now};
    } else if (below(on, 4) == 0) {
        release(one);
    } else if (below(on, 2) == 0) {
        check_get(on, one->snapshot, &one->model, below(on, KEY_COUNT));
    } else {
        check_cursor(on, one->snapshot, &one->model);
    }
}

static inline void look_now(bench *on) {
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    check_get(on, snapshot, &on->now, below(on, KEY_COUNT));
    if (below(on, 3) == 0) {
        check_cursor(on, snapshot, &on->now);
    }
    lw_snapshot_close(snapshot);
}

/* Where memory is short, only what snapshots hold may be to blame. */
static inline void admit_or_release(bench *on) {
    bool was_held = false;
    lw_status status = lw_tree_admit(on->tree, 1000);
    for (uint32_t index = 0; status == LW_BACKPRESSURE && index < HELD_COUNT; index++) {
        was_held |= on->held[index].snapshot != NULL;
        release(&on->held[index]);
    }
    (void)worked(on, was_held ? lw_tree_admit(on->tree, 1000) : status, "admit");
}

static inline void random_step(bench *on) {
    uint32_t what = below(on, 100);
    if (what < 60) {
        apply_random(on);
    } else if (what < 75) {
        look_now(on);
    } else if (what < 90) {
        hold_or_check(on);
    } else if (what < 93) {
        (void)worked(on, lw_tree_flush(on->tree), "flush");
    } else if (what < 95) {
        (void)worked(on, lw_tree_compact(on->tree), "compact");
    } else if (what < 99) {
        admit_or_release(on);
    } else {
        lw_env_sleep(on->env, 200 * UINT64_C(1000000));
    }
}

static inline void random_session(bench *on) {
    if (!open_store(on)) {
        return;
    }
    check_everything(on);
    for (uint32_t step = 0; step < on->steps && !on->stopped && on->applied < LOG_COUNT; step++) {
        random_step(on);
    }
    if (!on->stopped) {
        check_everything(on);
        close_store(on);
        check_folder(on);
    }
}

static inline bench *bench_make(uint64_t seed, const lw_faults *faults) {
    bench *on = calloc(1, sizeof(*on));
    assert_non_null(on);
    on->world = lw_world_open(seed, faults);
    on->host = lw_world_host(on->world, "node");
    on->env = lw_host_boot(on->host);
    on->memory = lw_memory_open();
    on->chance = seed;
    return on;
}

static inline void bench_drop(bench *on) {
    lw_world_close(on->world);
    lw_memory_close(on->memory);
    free(on);
}

/* The process is gone, and its store with it, if not the power. */
static inline void bench_boot(bench *on, bool power_loss) {
    if (lw_host_running(on->host)) {
        power_loss ? lw_host_crash(on->host) : lw_host_kill(on->host);
    }
    memset(on->held, 0, sizeof(on->held));
    on->env = lw_host_boot(on->host);
}

/* Sessions that end in every way a session can. */
static inline void run_sessions(bench *on, uint32_t count) {
    while (count-- > 0 && on->failure[0] == 0) {
        on->steps = 20 + below(on, 200);
        if (below(on, 2) == 0) {
            lw_host_crash_after(on->host, below(on, 300), (lw_crash)below(on, 3));
        }
        (void)run(on, random_session);
        bench_boot(on, below(on, 2) == 0);
    }
}

/* Flushes or compacts, and tries again while the disk is full. */
static inline void insist(bench *on, lw_status (*call)(lw_tree *tree), const char *what) {
    lw_status status = LW_OK;
    for (uint32_t attempt = 0; attempt < 3 && !on->stopped; attempt++) {
        status = call(on->tree);
        if (worked(on, status, what)) {
            return;
        }
    }
    if (status == LW_FULL) {
        wrong(on, "%s: the disk had room again, and it did not return", what);
    }
    on->stopped = true;
}

/* What a restart finds is all there, and nothing else. */
static inline void verify_story(bench *on) {
    if (open_store(on)) {
        check_everything(on);
        close_store(on);
        check_folder(on);
    }
}

#endif
