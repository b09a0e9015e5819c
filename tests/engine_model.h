/* SPDX-License-Identifier: Apache-2.0 */
/* A store and its log on a simulated machine, as a node has them, next to the simplest model of
 * what they hold: one array of values a tree, in the order of the keys. Writes go into the log,
 * and, once durable, into their tree. What was appended and not acknowledged when the machine
 * stopped may be there after a restart or not, but only as a prefix: the model is rolled back to
 * what the log still shows.
 *
 * Whatever is wrong is noted, not asserted, since it is noticed inside of fibers. */
#ifndef LW_TESTS_ENGINE_MODEL_H
#define LW_TESTS_ENGINE_MODEL_H

#include "tests/unit.h"

#include "storage/batch.h"
#include "storage/bundle.h"
#include "storage/folder_check.h"
#include "storage/log.h"
#include "storage/range.h"
#include "storage/store.h"
#include "sim/world.h"

#include <stdlib.h>

enum {
    ENGINE_KEYS = 600,
    ENGINE_TREES = 3,
    ENGINE_SNAPSHOTS = 4,
    ENGINE_BATCH_MAX = 24, /* operations of a batch */
    ENGINE_VALUE_MAX = 40000,
};

/* The number of each key's value; 0: none. */
typedef struct engine_values {
    uint32_t of[ENGINE_KEYS];
} engine_values;

typedef struct engine_undo {
    uint64_t index;
    uint32_t tree, key, before;
} engine_undo;

typedef struct engine_held {
    lw_snapshot *snapshot;
    uint32_t tree;
    engine_values values;
} engine_held;

typedef struct engine {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    uint64_t chance;
    lw_store_options store_options;
    lw_log_options log_options;
    lw_store *store;
    lw_log *log;
    lw_tree *trees[ENGINE_TREES];
    engine_values values[ENGINE_TREES];
    uint64_t appended[ENGINE_TREES], acknowledged[ENGINE_TREES];
    bool created[ENGINE_TREES];
    uint64_t replayed[ENGINE_TREES]; /* while opening: the last index that the log has shown */
    engine_undo *undo;               /* of what is not acknowledged, oldest first */
    size_t undo_count, undo_capacity;
    uint32_t last_value;
    uint32_t value_size_max;
    engine_held held[ENGINE_SNAPSHOTS];
    uint64_t operations, full_count;
    bool faults;       /* calls may fail */
    bool stopped;      /* this life of the process is over */
    char failure[512]; /* the first thing that was wrong */
    void *argument;    /* of a story */
} engine;

static inline void engine_wrong(engine *on, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void engine_wrong(engine *on, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (on->failure[0] == 0) {
        vsnprintf(on->failure, sizeof(on->failure), format, arguments);
    }
    va_end(arguments);
    on->stopped = true;
}

static inline uint32_t engine_below(engine *on, uint32_t bound) {
    return (uint32_t)unit_random_below(&on->chance, bound);
}

/* ---- keys and values --------------------------------------------------------------------------
 */

/* Ascending in `index`; the first is empty, some end in zeros, neighbours share a filter part. */
static inline lw_bytes engine_key(uint32_t index, uint8_t to[16]) {
    size_t size = (size_t)snprintf((char *)to, 16, "k%04u", (unsigned)index);
    to[size] = 0;
    to[size + 1] = 0xff;
    return index == 0 ? lw_view(to, 0) : lw_view(to, size + index % 3);
}

static inline size_t engine_filter_part(lw_bytes key) {
    return key.size < 4 ? key.size : 4;
}

static inline lw_bytes engine_value(const engine *on, uint32_t value, uint8_t *to) {
    uint64_t state = value;
    uint64_t draw = unit_random_below(&state, 1000);
    size_t size = draw < 50 ? 0 : (size_t)unit_random_below(&state, draw < 950 ? 200 : 6000);
    if (draw == 999) {
        size = ENGINE_VALUE_MAX;
    }
    size = size < on->value_size_max ? size : on->value_size_max;
    for (size_t index = 0; index < size; index++) {
        to[index] = (uint8_t)(value >> 8 * (index % 4)) ^ (uint8_t)(index / 64 * 31);
    }
    return lw_view(to, size);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

static inline bool engine_worked(engine *on, lw_status status, const char *what) {
    if (status == LW_OK) {
        return true;
    }
    on->full_count += status == LW_FULL;
    /* What cannot be read counts as damaged. */
    bool allowed = status == LW_FULL || status == LW_BACKPRESSURE || /* of space, of memory */
                   (on->faults && (status == LW_INTERNAL || status == LW_CORRUPTION));
    if (!allowed) {
        engine_wrong(on, "%s: %s: %s", what, lw_status_name(status), lw_error_slot()->text);
    }
    on->stopped |= on->store != NULL && lw_store_dead(on->store, NULL);
    return false;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static inline void engine_check_get(engine *on, lw_snapshot *snapshot, const engine_values *values,
                                    uint32_t key) {
    uint8_t bytes[16];
    static uint8_t expected[ENGINE_VALUE_MAX];
    lw_buffer value = lw_buffer_in(on->env->memory);
    lw_status status = lw_snapshot_get(snapshot, engine_key(key, bytes), &value);
    if (status != LW_NOT_FOUND && !engine_worked(on, status, "get")) {
        lw_buffer_reset(&value);
        return;
    }
    if ((status == LW_NOT_FOUND) != (values->of[key] == 0)) {
        engine_wrong(on, "key %u: got %s, expected value %u", (unsigned)key, lw_status_name(status),
                     (unsigned)values->of[key]);
    } else if (status == LW_OK &&
               !lw_equal(lw_buffer_view(&value), engine_value(on, values->of[key], expected))) {
        engine_wrong(on, "key %u: another value than %u", (unsigned)key, (unsigned)values->of[key]);
    }
    lw_buffer_reset(&value);
}

/* The next key from `at` on that has a value, within [low, high); -1 if there is none. */
static inline int32_t engine_find(const engine_values *values, int32_t at, int32_t step,
                                  int32_t low, int32_t high) {
    while (at >= low && at < high && values->of[at] == 0) {
        at += step;
    }
    return at >= low && at < high ? at : -1;
}

static inline bool engine_check_place(engine *on, lw_cursor *cursor, const engine_values *values,
                                      int32_t expected) {
    uint8_t key[16];
    static uint8_t value[ENGINE_VALUE_MAX];
    if (lw_cursor_valid(cursor) != (expected >= 0)) {
        engine_wrong(on, "a cursor is %s, but should be at key %d",
                     expected < 0 ? "at a key" : "at no key", (int)expected);
        return false;
    }
    if (expected < 0) {
        return false;
    }
    if (!lw_equal(lw_cursor_key(cursor), engine_key((uint32_t)expected, key)) ||
        !lw_equal(lw_cursor_value(cursor), engine_value(on, values->of[expected], value))) {
        engine_wrong(on, "a cursor is not at key %d with its value", (int)expected);
        return false;
    }
    return true;
}

static inline lw_status engine_place(engine *on, lw_cursor *cursor, const engine_values *values,
                                     int32_t low, int32_t high, int32_t *expected) {
    uint8_t key[16];
    uint32_t target = engine_below(on, ENGINE_KEYS);
    int32_t at = (int32_t)target;
    switch (engine_below(on, 4)) {
    case 0:
        *expected = engine_find(values, low, 1, low, high);
        return lw_cursor_first(cursor);
    case 1:
        *expected = engine_find(values, high - 1, -1, low, high);
        return lw_cursor_last(cursor);
    case 2:
        *expected = engine_find(values, at < low ? low : at, 1, low, high);
        return lw_cursor_seek(cursor, engine_key(target, key));
    default:
        *expected = engine_find(values, at > high ? high - 1 : at - 1, -1, low, high);
        return lw_cursor_seek_before(cursor, engine_key(target, key));
    }
}

static inline void engine_walk(engine *on, lw_cursor *cursor, const engine_values *values,
                               int32_t low, int32_t high) {
    int32_t at = -1;
    if (!engine_worked(on, engine_place(on, cursor, values, low, high, &at), "placing a cursor")) {
        return;
    }
    uint32_t turn = engine_below(on, 3); /* mostly on, mostly back, or both */
    while (engine_check_place(on, cursor, values, at) && engine_below(on, 40) != 0) {
        bool forward =
            turn == 2 ? engine_below(on, 2) == 0 : (engine_below(on, 8) == 0) == (turn == 1);
        at = engine_find(values, forward ? at + 1 : at - 1, forward ? 1 : -1, low, high);
        lw_status status = forward ? lw_cursor_next(cursor) : lw_cursor_previous(cursor);
        if (!engine_worked(on, status, "moving a cursor")) {
            return;
        }
    }
}

/* Walks within random bounds. */
static inline void engine_check_cursor(engine *on, lw_snapshot *snapshot,
                                       const engine_values *values) {
    uint8_t lower[16], upper[16];
    int32_t low = (int32_t)engine_below(on, ENGINE_KEYS - 1), high = ENGINE_KEYS;
    lw_bytes lower_key = engine_key((uint32_t)low, lower), upper_key = {0};
    if (engine_below(on, 2) == 0) {
        high = low + 1 + (int32_t)engine_below(on, (uint32_t)(ENGINE_KEYS - low - 1));
        upper_key = engine_key((uint32_t)high, upper);
    }
    if (engine_below(on, 2) == 0) {
        low = 0;
        lower_key = (lw_bytes){0};
    }
    lw_cursor *cursor = lw_cursor_open(snapshot, lower_key, upper_key);
    for (uint32_t walk = 0; walk < 2 && !on->stopped; walk++) {
        engine_walk(on, cursor, values, low, high);
    }
    lw_cursor_close(cursor);
}

/* Every key of every tree, by asking and by walking. */
static inline void engine_check_everything(engine *on) {
    for (uint32_t tree = 0; tree < ENGINE_TREES && !on->stopped; tree++) {
        const engine_values *values = &on->values[tree];
        lw_snapshot *snapshot = lw_snapshot_open(on->trees[tree]);
        for (uint32_t key = 0; key < ENGINE_KEYS && !on->stopped; key++) {
            engine_check_get(on, snapshot, values, key);
        }
        lw_cursor *cursor = lw_cursor_open(snapshot, (lw_bytes){0}, (lw_bytes){0});
        int32_t at = engine_find(values, 0, 1, 0, ENGINE_KEYS);
        bool good = !on->stopped && engine_worked(on, lw_cursor_first(cursor), "first");
        while (good && engine_check_place(on, cursor, values, at)) {
            at = engine_find(values, at + 1, 1, 0, ENGINE_KEYS);
            good = engine_worked(on, lw_cursor_next(cursor), "next");
        }
        lw_cursor_close(cursor);
        lw_snapshot_close(snapshot);
    }
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static inline void engine_set(engine *on, uint32_t tree, uint32_t key, uint32_t value) {
    if (on->undo_count == on->undo_capacity) {
        on->undo_capacity = on->undo_capacity == 0 ? 1024 : on->undo_capacity * 2;
        on->undo = realloc(on->undo, on->undo_capacity * sizeof(*on->undo));
        LW_ASSERT(on->undo != NULL);
    }
    on->undo[on->undo_count++] = (engine_undo){
        .index = on->appended[tree], .tree = tree, .key = key, .before = on->values[tree].of[key]};
    on->values[tree].of[key] = value;
}

typedef struct engine_operation {
    uint32_t key;
    bool put;
} engine_operation;

static inline void engine_release_held(engine *on) {
    for (uint32_t index = 0; index < ENGINE_SNAPSHOTS; index++) {
        if (on->held[index].snapshot != NULL) {
            lw_snapshot_close(on->held[index].snapshot);
        }
    }
    memset(on->held, 0, sizeof(on->held));
}

/* Logs a batch, waits until it is durable, applies it. LW_FULL: nothing happened. */
static inline lw_status engine_write(engine *on, uint32_t tree, const engine_operation *operations,
                                     uint32_t count) {
    static uint8_t value[ENGINE_VALUE_MAX];
    uint8_t key[16];
    bool puts = false;
    lw_buffer batch = lw_buffer_in(on->env->memory);
    uint32_t first_value = on->last_value + 1;
    for (uint32_t index = 0; index < count; index++) {
        lw_bytes name = engine_key(operations[index].key, key);
        if (operations[index].put) {
            lw_batch_put(&batch, name, engine_value(on, first_value + index, value));
        } else {
            lw_batch_delete(&batch, name);
        }
        puts |= operations[index].put;
    }
    lw_status status = puts ? lw_tree_admit(on->trees[tree], batch.size)
                            : lw_tree_admit_freeing(on->trees[tree], batch.size);
    if (status == LW_BACKPRESSURE) {
        engine_release_held(on); /* what they hold of memory is the only thing that may be wrong */
        status = lw_tree_admit(on->trees[tree], batch.size);
    }
    if (status == LW_OK) {
        status = puts ? lw_log_room(on->log, batch.size) : lw_log_room_freeing(on->log, batch.size);
    }
    if (status != LW_OK) {
        lw_buffer_reset(&batch);
        return status;
    }
    lw_log_record record = {.group = tree + 1,
                            .term = 1,
                            .index = ++on->appended[tree],
                            .kind = LW_LOG_ENTRY,
                            .payload = lw_buffer_view(&batch)};
    on->last_value += count;
    for (uint32_t index = 0; index < count; index++) {
        engine_set(on, tree, operations[index].key,
                   operations[index].put ? first_value + index : 0);
    }
    status = lw_log_wait(on->log, lw_log_append(on->log, &record, 1));
    if (status == LW_OK) {
        on->acknowledged[tree] = on->appended[tree];
        on->undo_count = 0; /* one writer: nothing else is under way */
        on->operations += count;
        status = lw_tree_apply(on->trees[tree], on->appended[tree], lw_buffer_view(&batch));
        LW_ASSERT(status == LW_OK);
    } else {
        on->stopped = true;
    }
    lw_buffer_reset(&batch);
    return status;
}

/* ---- opening and closing ----------------------------------------------------------------------
 */

static inline lw_status engine_replay(void *argument, const lw_log_record *record) {
    engine *on = argument;
    LW_ASSERT(record->group >= 1 && record->group <= ENGINE_TREES);
    uint32_t tree = (uint32_t)record->group - 1;
    if (on->replayed[tree] != 0 && record->index != on->replayed[tree] + 1) {
        return lw_fail(LW_CORRUPTION, "the log leaves out entries");
    }
    on->replayed[tree] = record->index;
    if (record->index <= lw_tree_flushed(on->trees[tree])) {
        return LW_OK;
    }
    if (record->index != lw_tree_applied(on->trees[tree]) + 1) {
        return lw_fail(LW_CORRUPTION, "entries between tables and log are missing");
    }
    return lw_tree_apply(on->trees[tree], record->index, record->payload);
}

static inline void engine_flushed(void *argument, lw_tree *tree, uint64_t index) {
    engine *on = argument;
    if (on->log != NULL) {
        lw_log_release(on->log, lw_tree_id(tree), index);
    }
}

/* Takes back what did not survive. */
static inline void engine_roll_back(engine *on) {
    for (uint32_t tree = 0; tree < ENGINE_TREES; tree++) {
        uint64_t survived = lw_tree_applied(on->trees[tree]);
        if (survived < on->acknowledged[tree] || survived > on->appended[tree]) {
            engine_wrong(on,
                         "tree %u shows entries up to %u; %u were acknowledged, %u were appended",
                         (unsigned)tree, (unsigned)survived, (unsigned)on->acknowledged[tree],
                         (unsigned)on->appended[tree]);
            return;
        }
    }
    while (on->undo_count > 0) {
        const engine_undo *undo = &on->undo[--on->undo_count];
        if (undo->index > lw_tree_applied(on->trees[undo->tree])) {
            on->values[undo->tree].of[undo->key] = undo->before;
        }
    }
    for (uint32_t tree = 0; tree < ENGINE_TREES; tree++) {
        on->appended[tree] = on->acknowledged[tree] = lw_tree_applied(on->trees[tree]);
    }
}

/* The tree that holds a part of another one, between a split and a merge. */
static inline uint64_t engine_child(uint32_t tree) {
    return 100 + tree;
}

/* What a split left, when the machine stopped before the merge. */
static inline lw_status engine_merge_back(engine *on, uint32_t tree) {
    lw_tree *child = lw_store_tree(on->store, engine_child(tree));
    return child == NULL ? LW_OK : lw_store_merge_trees(on->store, on->trees[tree], child);
}

/* The tree that was taken over from a copy, until it is dropped. */
static inline uint64_t engine_taken(uint32_t tree) {
    return 200 + tree;
}

/* Removes what was left of a copy when the machine stopped. */
static inline lw_status engine_forget_copy(engine *on) {
    for (uint32_t tree = 0; tree < ENGINE_TREES; tree++) {
        lw_status status = lw_store_drop_tree(on->store, engine_taken(tree));
        LW_TRY(status == LW_NOT_FOUND ? LW_OK : status);
    }
    lw_status status = lw_bundle_remove(on->env, "copy");
    return status == LW_NOT_FOUND ? LW_OK : status;
}

static inline lw_status engine_open_trees(engine *on) {
    LW_TRY(engine_forget_copy(on));
    for (uint32_t tree = 0; tree < ENGINE_TREES; tree++) {
        on->trees[tree] = lw_store_tree(on->store, tree + 1);
        if (on->trees[tree] == NULL && on->created[tree]) {
            engine_wrong(on, "tree %u is gone", (unsigned)tree);
            return LW_CORRUPTION;
        }
        if (on->trees[tree] == NULL) {
            LW_TRY(lw_store_create_tree(on->store, tree + 1, &on->trees[tree]));
        }
        LW_TRY(engine_merge_back(on, tree));
        on->created[tree] = true;
    }
    return LW_OK;
}

static inline void engine_close(engine *on) {
    engine_release_held(on);
    if (on->store != NULL) {
        lw_store_close(on->store);
    }
    if (on->log != NULL) {
        lw_log_close(on->log);
    }
    on->store = NULL;
    on->log = NULL;
}

/* False, and stopped, if it could not be opened: which is wrong, but on a full disk and with
 * faults.
 */
static inline bool engine_open(engine *on) {
    on->stopped = false;
    on->store = NULL;
    on->log = NULL;
    memset(on->held, 0, sizeof(on->held));
    memset(on->replayed, 0, sizeof(on->replayed));
    on->store_options.directory = "data";
    on->store_options.filter_part = engine_filter_part;
    on->store_options.flushed = engine_flushed;
    on->store_options.argument = on;
    lw_status status = lw_store_open(on->env, &on->store_options, &on->store);
    if (status == LW_OK) {
        status = engine_open_trees(on);
    }
    if (status == LW_OK) {
        on->log_options.reserve = lw_store_reserve(on->store);
        on->log_options.budget = lw_store_budget(on->store);
        status = lw_log_open(on->env, "data/log", &on->log_options, engine_replay, on, &on->log);
    }
    if (status != LW_OK) {
        (void)engine_worked(on, status, "opening");
        lw_error cause = *lw_error_slot();
        if (on->store != NULL) {
            lw_store_close(on->store);
            on->store = NULL;
        }
        *lw_error_slot() = cause;
        on->stopped = true;
        return false;
    }
    engine_roll_back(on);
    for (uint32_t tree = 0; tree < ENGINE_TREES && !on->stopped; tree++) {
        lw_log_release(on->log, tree + 1, lw_tree_flushed(on->trees[tree]));
    }
    return !on->stopped;
}

static inline void engine_check_folder(engine *on) {
    lw_buffer faults = lw_buffer_in(on->env->memory), notes = lw_buffer_in(on->env->memory);
    lw_status status = lw_folder_check(on->env, "data", engine_filter_part, &faults, &notes);
    if (status != LW_OK && status != LW_FULL && !on->faults) {
        engine_wrong(on, "checking: %s: %.*s", lw_error_slot()->text, (int)faults.size,
                     (const char *)faults.data);
    }
    lw_buffer_reset(&faults);
    lw_buffer_reset(&notes);
}

/* ---- the machine ------------------------------------------------------------------------------
 */

static inline engine *engine_make(uint64_t seed, const lw_faults *faults) {
    engine *on = calloc(1, sizeof(*on));
    assert_non_null(on);
    on->world = lw_world_open(seed, faults);
    on->host = lw_world_host(on->world, "node");
    on->env = lw_host_boot(on->host);
    on->chance = seed;
    on->value_size_max = ENGINE_VALUE_MAX;
    on->store_options = (lw_store_options){.memory_size = 4 * 1024 * 1024,
                                           .memtables_max = 128 * 1024,
                                           .table_size = 8 * 1024,
                                           .open_max = 4};
    on->log_options = (lw_log_options){.segment_size = 64 * 1024};
    return on;
}

static inline void engine_drop(engine *on) {
    lw_world_close(on->world);
    free(on->undo);
    free(on);
}

/* The process is gone, and what it had in memory, if not the power. */
static inline void engine_boot(engine *on, bool power_loss) {
    if (lw_host_running(on->host)) {
        power_loss ? lw_host_crash(on->host) : lw_host_kill(on->host);
    }
    on->env = lw_host_boot(on->host);
}

static inline lw_disk *engine_disk(engine *on) {
    return lw_host_disk(on->host);
}

/* Bytes of all files as the machine sees them. */
static inline uint64_t engine_disk_used(engine *on) {
    lw_memory *memory = lw_memory_open();
    lw_buffer paths = lw_buffer_in(memory), contents = lw_buffer_in(memory);
    lw_disk_paths(engine_disk(on), LW_DISK_VOLATILE, &paths);
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        (void)lw_disk_contents(engine_disk(on), LW_DISK_VOLATILE, (const char *)paths.data + at,
                               &contents);
    }
    uint64_t used = contents.size;
    lw_memory_close(memory);
    return used;
}

typedef struct engine_story {
    engine *on;
    void (*body)(engine *on);
    bool done;
} engine_story;

static inline void engine_story_main(void *argument) {
    engine_story *told = argument;
    told->body(told->on);
    told->done = true;
}

/* Runs a story in a fiber to its end; false if the power went before. */
static inline bool engine_run(engine *on, void (*body)(engine *on)) {
    engine_story told = {.on = on, .body = body};
    (void)lw_env_start(on->env, "story", engine_story_main, &told);
    while (!told.done && lw_host_running(on->host)) {
        if (!lw_world_step(on->world)) {
            engine_wrong(on, "the story is stuck: every fiber waits for another");
            return false;
        }
    }
    return told.done;
}

static inline void engine_expect_right(engine *on, const char *what, uint64_t number) {
    if (on->failure[0] != 0) {
        lw_world_report(on->world, stderr);
        fail_msg("%s %llu: %s", what, (unsigned long long)number, on->failure);
    }
}

#endif
