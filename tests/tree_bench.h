/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of many trees share: a store on a host of the simulated world, next to the
 * simplest possible model: for each key its value, and the tree that owns it. The bench keeps what
 * was done, as the logs of a node would: each change of trees ended before the next thing began, so
 * after a crash only the last may have to be done again; writes are applied again where the tables
 * lack them. Whatever is wrong is noted, not asserted, since it is noticed inside of fibers, and
 * since planted bugs must be noticed too. */
#ifndef LW_TESTS_TREE_BENCH_H
#define LW_TESTS_TREE_BENCH_H

#include "tests/story.h"
#include "tests/unit.h"

#include "storage/batch.h"
#include "storage/bundle.h"
#include "storage/export.h"
#include "storage/range.h"
#include "storage/store.h"
#include "sim/world.h"

#include <stdlib.h>

enum { KEYS = 64, DEEDS = 4000, HELD = 3, TREES = 200 };

/* Of steps and seeds only each of so many is tried under AddressSanitizer: another run has all. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 7, SEEDS = 4 };
#else
enum { STRIDE = 1, SEEDS = 4 };
#endif

typedef enum deed_kind {
    PUT,
    DELETE,
    CREATE,
    SPLIT,
    MERGE,
    DROP,
    MOVE,
    LOAD,
    COPY,
    REPLACE
} deed_kind;

typedef struct deed {
    deed_kind kind;
    uint32_t tree, other; /* the child of a split, what a merge takes over, what a move leaves */
    uint64_t index;       /* of a write, in the log of its tree; of a child's first */
    uint32_t key, value;
    uint32_t from[2], to[2]; /* the keys that a split gives away: two ranges; from == to: none;
                                those that are loaded */
} deed;

typedef struct model {
    uint32_t values[KEYS]; /* 0: none */
    uint32_t owners[KEYS]; /* 0: none */
} model;

typedef struct held {
    lw_snapshot *snapshot;
    uint32_t tree;
    model model;
} held;

typedef struct bench {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    uint64_t chance;
    deed deeds[DEEDS];
    uint32_t deed_count;
    uint64_t applied[TREES]; /* by tree: the last index in its log */
    uint32_t last_tree, last_value;
    model now, copied; /* what a copy holds, for a replacement */
    lw_store *store;
    held held[HELD];
    uint64_t value_threshold; /* values from here on lie in files of their own */
    uint32_t steps;           /* of the next session */
    bool faults;              /* are on: calls may fail */
    bool stopped;             /* the session ended with a dead store or a failed call */
    char failure[256];        /* the first thing that was wrong */
} bench;

STORIES_OF(bench)

static inline uint32_t below(bench *on, uint32_t bound) {
    return (uint32_t)unit_random_below(&on->chance, bound);
}

static inline bool worked(bench *on, lw_status status, const char *what) {
    if (status == LW_OK) {
        return true;
    }
    /* LW_CORRUPTION is what the verifying of tables makes of a read that failed. */
    bool allowed =
        on->faults && (status == LW_FULL || status == LW_INTERNAL || status == LW_CORRUPTION);
    if (!allowed) {
        wrong(on, "%s: %s", what, lw_error_slot()->text);
    }
    on->stopped |= on->store == NULL || lw_store_dead(on->store, NULL);
    return false;
}

/* ---- keys and values ----------------------------------------------------------------------------
 */

typedef struct text {
    uint8_t data[400];
} text;

/* Ascending; the first is empty. */
static inline lw_bytes key_of(uint32_t index, text *to) {
    int size = snprintf((char *)to->data, sizeof(to->data), "key%03u", (unsigned)index);
    return lw_view(to->data, index == 0 ? 0 : (size_t)size);
}

static inline lw_bytes value_of(uint32_t value, text *to) {
    size_t size = value * 37 % 300;
    memset(to->data, (int)(value % 251), size);
    size += (size_t)snprintf((char *)to->data + size, 16, "%u", (unsigned)value);
    return lw_view(to->data, size);
}

/* The range of the keys from `from` on and below `to`. */
static inline lw_key_range range_of(uint32_t from, uint32_t to, text keys[2]) {
    return (lw_key_range){.lower = key_of(from, &keys[0]),
                          .upper = to >= KEYS ? lw_view(NULL, 0) : key_of(to, &keys[1])};
}

/* ---- checking -----------------------------------------------------------------------------------
 */

static inline uint32_t expected(const model *of, uint32_t tree, uint32_t key) {
    return of->owners[key] == tree ? of->values[key] : 0;
}

static inline void check_get(bench *on, lw_snapshot *snapshot, uint32_t tree, const model *of,
                             uint32_t index) {
    text key, value_text;
    lw_buffer value = lw_buffer_in(on->env->memory);
    uint32_t wanted = expected(of, tree, index);
    lw_status status = lw_snapshot_get(snapshot, key_of(index, &key), &value);
    if (wanted == 0 ? status == LW_OK : status == LW_NOT_FOUND) {
        wrong(on, "tree %u key %u: got %s, expected value %u", tree, index, lw_status_name(status),
              wanted);
    } else if (status == LW_OK &&
               !lw_equal(lw_buffer_view(&value), value_of(wanted, &value_text))) {
        wrong(on, "tree %u key %u: another value than %u", tree, index, wanted);
    } else if (status != LW_NOT_FOUND) {
        (void)worked(on, status, "get");
    }
    lw_buffer_reset(&value);
}

/* Holds one key under a cursor against the model; false when nothing more is to be looked at. */
static inline bool check_at(bench *on, lw_cursor *cursor, uint32_t tree, const model *of,
                            uint32_t index) {
    text key, value;
    if (!lw_cursor_valid(cursor) || !lw_equal(lw_cursor_key(cursor), key_of(index, &key)) ||
        !lw_equal(lw_cursor_value(cursor), value_of(of->values[index], &value))) {
        wrong(on, "tree %u: a cursor is not at key %u with its value", tree, index);
        return false;
    }
    return true;
}

/* Walks over all keys in one direction. */
static inline void check_walk(bench *on, lw_snapshot *snapshot, uint32_t tree, const model *of,
                              bool forward) {
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_view(NULL, 0), lw_view(NULL, 0));
    lw_status status = forward ? lw_cursor_first(cursor) : lw_cursor_last(cursor);
    for (uint32_t step = 0; step < KEYS && !on->stopped && status == LW_OK; step++) {
        uint32_t index = forward ? step : KEYS - 1 - step;
        if (expected(of, tree, index) != 0 && check_at(on, cursor, tree, of, index)) {
            status = forward ? lw_cursor_next(cursor) : lw_cursor_previous(cursor);
        }
    }
    if (worked(on, status, "walking") && !on->stopped && lw_cursor_valid(cursor)) {
        wrong(on, "tree %u: a cursor found more keys than there are", tree);
    }
    lw_cursor_close(cursor);
}

static inline void check_snapshot(bench *on, lw_snapshot *snapshot, uint32_t tree,
                                  const model *of) {
    for (uint32_t key = 0; key < KEYS && !on->stopped; key++) {
        check_get(on, snapshot, tree, of, key);
    }
    check_walk(on, snapshot, tree, of, true);
    check_walk(on, snapshot, tree, of, false);
}

static inline bool owns_any(const model *of, uint32_t tree) {
    for (uint32_t key = 0; key < KEYS; key++) {
        if (of->owners[key] == tree) {
            return true;
        }
    }
    return false;
}

static inline void check_everything(bench *on) {
    for (uint32_t id = 1; id <= on->last_tree && !on->stopped; id++) {
        lw_tree *tree = lw_store_tree(on->store, id);
        if ((tree != NULL) != owns_any(&on->now, id)) {
            wrong(on, "tree %u is %s", id, tree != NULL ? "there" : "not there");
        } else if (tree != NULL) {
            lw_snapshot *snapshot = lw_snapshot_open(tree);
            check_snapshot(on, snapshot, id, &on->now);
            lw_snapshot_close(snapshot);
        }
    }
}

/* Each file that the catalog names is there, and no other (T2). */
static inline void check_names(bench *on, const char *directory) {
    char path[LW_PATH_SIZE];
    lw_inventory inventory = lw_inventory_in(on->env->memory);
    lw_buffer names = lw_buffer_in(on->env->memory);
    lw_catalog_facts facts;
    snprintf(path, sizeof(path), "%s/CATALOG", directory);
    lw_status status = lw_catalog_read(on->env, path, lw_inventory_take, &inventory, &facts);
    if (status == LW_OK) {
        snprintf(path, sizeof(path), "%s/sst", directory);
        status = lw_path_list(on->env, path, &names);
    }
    uint32_t there = (uint32_t)(names.size / 17);
    if (status != LW_OK || inventory.file_map.count != there) {
        wrong(on, "%s: %u files are named, %u are there", lw_status_name(status),
              inventory.file_map.count, there);
    }
    lw_inventory_reset(&inventory);
    lw_buffer_reset(&names);
}

static inline void check_folder(bench *on, const char *directory) {
    lw_buffer faults = lw_buffer_in(on->env->memory);
    if (!on->faults) {
        check_names(on, directory);
    }
    lw_status status = lw_store_check(on->env, directory, NULL, &faults);
    if (status != LW_OK && !on->faults) {
        wrong(on, "checking: %s: %.*s", lw_error_slot()->text, (int)faults.size,
              (const char *)faults.data);
    }
    lw_buffer_reset(&faults);
}

/* ---- doing --------------------------------------------------------------------------------------
 */

static inline void apply_deed(bench *on, const deed *done) {
    text key, value;
    lw_tree *tree = lw_store_tree(on->store, done->tree);
    lw_buffer batch = lw_buffer_in(on->env->memory);
    if (done->kind == PUT) {
        lw_batch_put(&batch, key_of(done->key, &key), value_of(done->value, &value));
    } else {
        lw_batch_delete(&batch, key_of(done->key, &key));
    }
    lw_status status = lw_tree_apply(tree, done->index, lw_buffer_view(&batch));
    if (status != LW_OK) {
        wrong(on, "applying: %s", lw_error_slot()->text);
    }
    lw_buffer_reset(&batch);
}

static inline lw_status remove_bundle(bench *on, const char *directory) {
    lw_status status = lw_bundle_remove(on->env, directory);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* A tree goes by way of a bundle, and comes back as another one. Whatever of it was done before is
 * not done again. */
static inline lw_status move_tree(bench *on, const deed *done) {
    lw_inventory inventory = lw_inventory_in(on->env->memory);
    uint64_t old = done->other;
    lw_handle lock = LW_NO_HANDLE;
    lw_status status = LW_OK;
    if (lw_store_tree(on->store, done->tree) == NULL) {
        status = lw_bundle_read(on->env, "copy", &inventory, &lock);
        if (status == LW_OK) {
            lw_file_close(on->env, lock);
        }
        lw_inventory_reset(&inventory);
        if (status != LW_OK) {
            LW_TRY(remove_bundle(on, "copy"));
            LW_TRY(lw_store_checkpoint(on->store, &old, 1, "copy"));
        }
        LW_TRY(lw_store_ingest(on->store, &(lw_ingest){.directory = "copy",
                                                       .source = old,
                                                       .tree = done->tree,
                                                       .kind = LW_INGEST_CREATE,
                                                       .index = done->index}));
    }
    if (lw_store_tree(on->store, old) != NULL) {
        LW_TRY(lw_store_drop_tree(on->store, old));
    }
    return remove_bundle(on, "copy");
}

static inline lw_status export_keys(bench *on, const deed *done) {
    text key, value;
    lw_export *out = NULL;
    lw_export_options options = {.tree = 1, .table_size = 500};
    LW_TRY(lw_export_open(on->env, "load", &options, &out));
    for (uint32_t index = done->from[0]; index < done->to[0]; index++) {
        lw_status status =
            lw_export_add(out, key_of(index, &key), value_of(done->value + index, &value));
        if (status != LW_OK) {
            lw_error why = *lw_error_slot();
            lw_export_abandon(out);
            *lw_error_slot() = why;
            return status;
        }
    }
    return lw_export_finish(out);
}

/* A tree is made of entries that were sorted elsewhere. */
static inline lw_status load_tree(bench *on, const deed *done) {
    if (lw_store_tree(on->store, done->tree) == NULL) {
        LW_TRY(remove_bundle(on, "load"));
        LW_TRY(export_keys(on, done));
        LW_TRY(lw_store_ingest(on->store, &(lw_ingest){.directory = "load",
                                                       .source = 1,
                                                       .tree = done->tree,
                                                       .kind = LW_INGEST_CREATE,
                                                       .index = done->index}));
    }
    return remove_bundle(on, "load");
}

/* A copy of a tree is kept, for later. */
static inline lw_status copy_tree(bench *on, const deed *done) {
    lw_inventory inventory = lw_inventory_in(on->env->memory);
    lw_handle lock = LW_NO_HANDLE;
    lw_status status = lw_bundle_read(on->env, "kept", &inventory, &lock);
    lw_inventory_reset(&inventory);
    if (status == LW_OK) {
        lw_file_close(on->env, lock);
        return LW_OK;
    }
    uint64_t index = 0;
    lw_snapshot *state = NULL;
    LW_TRY(remove_bundle(on, "kept"));
    LW_TRY(lw_store_checkpoint_tree(on->store, done->tree, "kept", &index, &state));
    if (index != done->index) {
        wrong(on, "a copy of tree %u is of another index", done->tree);
    }
    check_snapshot(on, state, done->tree, &on->copied);
    lw_snapshot_close(state);
    return LW_OK;
}

/* A tree becomes what it was when it was copied, at a later index. */
static inline lw_status replace_tree(bench *on, const deed *done) {
    lw_tree *tree = lw_store_tree(on->store, done->tree);
    if (lw_tree_flushed(tree) < done->index) {
        LW_TRY(lw_store_ingest(on->store, &(lw_ingest){.directory = "kept",
                                                       .source = done->tree,
                                                       .tree = done->tree,
                                                       .kind = LW_INGEST_REPLACE,
                                                       .index = done->index}));
    }
    return remove_bundle(on, "kept");
}

/* Carries out a change of trees; LW_OK also if it was done before. */
static inline lw_status carry_out(bench *on, const deed *done) {
    text keys[2][2];
    lw_tree *tree = lw_store_tree(on->store, done->tree), *made = NULL;
    lw_tree *other = lw_store_tree(on->store, done->other);
    lw_key_range ranges[] = {range_of(done->from[0], done->to[0], keys[0]),
                             range_of(done->from[1], done->to[1], keys[1])};
    lw_tree_split split = {.child = done->other,
                           .child_index = done->index,
                           .ranges = ranges,
                           .range_count = done->from[1] < done->to[1] ? 2 : 1};
    switch (done->kind) {
    case PUT:
    case DELETE:
        break;
    case CREATE:
        return tree != NULL ? LW_OK : lw_store_create_tree(on->store, done->tree, &made);
    case SPLIT:
        return other != NULL ? LW_OK : lw_store_split_tree(on->store, tree, &split, &made);
    case MERGE:
        return other == NULL ? LW_OK : lw_store_merge_trees(on->store, tree, other);
    case DROP:
        return tree == NULL ? LW_OK : lw_store_drop_tree(on->store, done->tree);
    case MOVE:
        return move_tree(on, done);
    case LOAD:
        return load_tree(on, done);
    case COPY:
        return copy_tree(on, done);
    case REPLACE:
        return replace_tree(on, done);
    }
    return LW_OK;
}

static inline void note_owner(model *now, uint32_t from, uint32_t to) {
    for (uint32_t key = 0; key < KEYS; key++) {
        now->owners[key] = now->owners[key] == from ? to : now->owners[key];
    }
}

/* What a deed means. */
static inline void note_deed(bench *on, const deed *done) {
    model *now = &on->now;
    switch (done->kind) {
    case PUT:
    case DELETE:
        now->values[done->key] = done->kind == PUT ? done->value : 0;
        break;
    case SPLIT:
        for (uint32_t range = 0; range < 2; range++) {
            for (uint32_t key = done->from[range]; key < done->to[range]; key++) {
                now->owners[key] = done->other;
            }
        }
        break;
    case DROP:
        for (uint32_t key = 0; key < KEYS; key++) {
            now->values[key] = now->owners[key] == done->tree ? 0 : now->values[key];
        }
        note_owner(now, done->tree, 0);
        break;
    case MERGE:
    case MOVE:
        note_owner(now, done->other, done->tree);
        break;
    case LOAD:
        for (uint32_t key = done->from[0]; key < done->to[0]; key++) {
            now->values[key] = done->value + key;
        }
        note_owner(now, 0, done->tree);
        break;
    case CREATE:
        note_owner(now, 0, done->tree);
        break;
    case COPY:
        on->copied = *now;
        break;
    case REPLACE:
        for (uint32_t key = 0; key < KEYS; key++) {
            bool its = now->owners[key] == done->tree;
            now->values[key] = its ? on->copied.values[key] : now->values[key];
        }
        break;
    }
}

/* Writes down a deed, and does it. */
static inline void act(bench *on, deed done) {
    LW_ASSERT(on->deed_count < DEEDS);
    on->deeds[on->deed_count++] = done;
    note_deed(on, &done);
    if (done.kind == PUT || done.kind == DELETE) {
        apply_deed(on, &done);
        return;
    }
    for (uint32_t attempt = 0; attempt < 3; attempt++) {
        if (worked(on, carry_out(on, &done), "changing trees") || on->stopped) {
            return;
        }
    }
    on->stopped = true; /* full for too long: the next session does it */
}

static inline void write_key(bench *on, uint32_t key, bool put) {
    uint32_t tree = on->now.owners[key];
    if (tree != 0) {
        act(on, (deed){.kind = put ? PUT : DELETE,
                       .tree = tree,
                       .index = ++on->applied[tree],
                       .key = key,
                       .value = put ? ++on->last_value : 0});
    }
}

static inline void put_keys(bench *on, uint32_t from, uint32_t to) {
    for (uint32_t key = from; key < to && !on->stopped; key++) {
        write_key(on, key, true);
    }
}

static inline void delete_keys(bench *on, uint32_t from, uint32_t to) {
    for (uint32_t key = from; key < to && !on->stopped; key++) {
        write_key(on, key, false);
    }
}

static inline uint32_t create(bench *on) {
    uint32_t id = ++on->last_tree;
    act(on, (deed){.kind = CREATE, .tree = id});
    return id;
}

/* Gives the keys from `from` on and below `to` to a new tree. */
static inline uint32_t split(bench *on, uint32_t tree, uint32_t from, uint32_t to) {
    uint32_t id = ++on->last_tree;
    on->applied[id] = 10 * id;
    act(on, (deed){.kind = SPLIT,
                   .tree = tree,
                   .other = id,
                   .index = on->applied[id],
                   .from = {from},
                   .to = {to}});
    return id;
}

static inline void merge(bench *on, uint32_t tree, uint32_t other) {
    act(on, (deed){.kind = MERGE, .tree = tree, .other = other});
}

static inline void drop(bench *on, uint32_t tree) {
    act(on, (deed){.kind = DROP, .tree = tree});
}

static inline uint32_t move(bench *on, uint32_t tree) {
    uint32_t id = ++on->last_tree;
    on->applied[id] = on->applied[tree];
    act(on, (deed){.kind = MOVE, .tree = id, .other = tree, .index = on->applied[id]});
    return id;
}

static inline void copy(bench *on, uint32_t tree) {
    act(on, (deed){.kind = COPY, .tree = tree, .index = on->applied[tree]});
}

static inline void replace(bench *on, uint32_t tree) {
    on->applied[tree] += 100;
    act(on, (deed){.kind = REPLACE, .tree = tree, .index = on->applied[tree]});
}

/* The keys must be nobody's. */
static inline uint32_t load(bench *on, uint32_t from, uint32_t to) {
    uint32_t id = ++on->last_tree, value = on->last_value + 1;
    on->applied[id] = id;
    on->last_value += KEYS;
    act(on,
        (deed){.kind = LOAD, .tree = id, .index = id, .value = value, .from = {from}, .to = {to}});
    return id;
}

static inline void each_tree(bench *on, lw_status (*call)(lw_tree *tree), const char *what) {
    for (uint32_t id = 1; id <= on->last_tree && !on->stopped; id++) {
        lw_tree *tree = lw_store_tree(on->store, id);
        for (uint32_t attempt = 0; tree != NULL && attempt < 3 && !on->stopped; attempt++) {
            if (worked(on, call(tree), what)) {
                break;
            }
        }
    }
}

/* ---- opening and closing ------------------------------------------------------------------------
 */

/* Does again what the store lacks. */
static inline void replay(bench *on) {
    for (uint32_t index = 0; index < on->deed_count && !on->stopped; index++) {
        const deed *done = &on->deeds[index];
        lw_tree *tree = lw_store_tree(on->store, done->tree);
        if (done->kind > DELETE || tree == NULL || done->index <= lw_tree_applied(tree)) {
            continue;
        }
        apply_deed(on, done);
    }
    if (on->deed_count > 0 && !on->stopped) {
        const deed *last = &on->deeds[on->deed_count - 1];
        on->stopped = !worked(on, carry_out(on, last), "changing trees after a crash");
    }
}

static inline bool open_store(bench *on) {
    lw_store_options options = {.directory = "data",
                                .memory_size = 4 << 20,
                                .memtables_max = 64 * 1024,
                                .reserve_size_max = 32 * 1024,
                                .compression = LW_COMPRESS_QUICK,
                                .table_size = 2048,
                                .open_max = 3,
                                .value_threshold = on->value_threshold};
    on->stopped = false;
    on->store = NULL;
    if (!worked(on, lw_store_open(on->env, &options, &on->store), "opening")) {
        on->stopped = true;
        return false;
    }
    replay(on);
    return !on->stopped;
}

static inline void release(held *one) {
    if (one->snapshot != NULL) {
        lw_snapshot_close(one->snapshot);
        one->snapshot = NULL;
    }
}

static inline void close_store(bench *on) {
    for (uint32_t index = 0; index < HELD; index++) {
        release(&on->held[index]);
    }
    lw_store_close(on->store);
    on->store = NULL;
}

static inline void hold(bench *on, uint32_t place, uint32_t tree) {
    release(&on->held[place]);
    lw_tree *of = lw_store_tree(on->store, tree);
    if (of != NULL) {
        on->held[place] = (held){.snapshot = lw_snapshot_open(of), .tree = tree, .model = on->now};
    }
}

static inline void check_held(bench *on) {
    for (uint32_t index = 0; index < HELD && !on->stopped; index++) {
        held *one = &on->held[index];
        if (one->snapshot != NULL) {
            check_snapshot(on, one->snapshot, one->tree, &one->model);
        }
    }
}

/* ---- running ------------------------------------------------------------------------------------
 */

static inline bench *bench_make(uint64_t seed, const lw_faults *faults) {
    bench *on = calloc(1, sizeof(*on));
    assert_non_null(on);
    on->world = lw_world_open(seed, faults);
    on->host = lw_world_host(on->world, "node");
    on->env = lw_host_boot(on->host);
    on->chance = seed;
    on->value_threshold = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 150 : 1;
    return on;
}

static inline void bench_drop(bench *on) {
    lw_world_close(on->world);
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

/* What a restart finds is all there, and nothing else. */
static inline void verify_story(bench *on) {
    if (open_store(on)) {
        check_everything(on);
        if (!on->stopped) {
            close_store(on);
            check_folder(on, "data");
        }
    }
}

#endif
