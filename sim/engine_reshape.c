/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated engine does with whole trees: makes and drops them, splits and merges them,
 * copies them as files and takes the copies over. One such thing at a time; writes to other trees,
 * flushes, compactions and readers go on. */
#include "sim/engine_life.h"

#include "storage/bundle.h"
#include "storage/export.h"

#include <stdio.h>

enum { EXPORT_TABLE_SIZE = 4 * 1024 };

static lw_store *store_of(const engine_life *on) {
    return lw_engine_store(on->engine);
}

/* ---- trees that nobody writes to ------------------------------------------------------------ */

/* Any tree but the journal, which is reserved; or NULL. */
LW_YIELDS static engine_tree *reserve(engine_life *on, bool journal) {
    uint32_t first = journal ? 0 : 1;
    engine_tree *tree = &on->model->trees[first + engine_below(on, ENGINE_TREES - first)];
    if (tree->id == 0) {
        return NULL;
    }
    engine_take(&on->writing); /* none is under way then */
    tree->busy = true;
    engine_give(&on->writing);
    return tree;
}

static void begin(engine_life *on, const engine_intent *intent) {
    LW_ASSERT(on->model->intent.kind == ENGINE_NOTHING);
    on->model->intent = *intent;
}

void engine_release(engine_life *on, uint64_t id) {
    lw_log_release(lw_engine_log(on->engine), id, UINT64_MAX);
}

/* Of what the call was asked for all is done, or nothing. */
static bool end(engine_life *on, lw_status status, const char *what) {
    bool worked = engine_worked(on, status, what);
    if (worked) {
        engine_model_reshape(on->model);
    } else if (!on->died) {
        on->model->intent = (engine_intent){.kind = ENGINE_NOTHING};
    }
    return worked;
}

/* ---- making, dropping, splitting, merging --------------------------------------------------- */

LW_YIELDS static void create(engine_life *on) {
    engine_model *model = on->model;
    engine_tree *place = engine_model_place(model);
    if (place == NULL) {
        return;
    }
    uint64_t id = model->tree_next++;
    begin(on, &(engine_intent){.kind = ENGINE_CREATE, .to = place, .id = id});
    (void)end(on, lw_engine_create_tree(on->engine, id), "creating a tree");
}

LW_YIELDS static void drop(engine_life *on) {
    engine_tree *tree = reserve(on, false);
    if (tree == NULL) {
        return;
    }
    uint64_t id = tree->id;
    begin(on, &(engine_intent){.kind = ENGINE_DROP, .from = tree});
    if (end(on, lw_store_drop_tree(store_of(on), id), "dropping a tree")) {
        engine_release(on, id);
    } else {
        tree->busy = false;
    }
}

/* Keys of a tree that stand together: not all of them. */
static bool draw_range(engine_life *on, const engine_tree *tree, uint32_t *low, uint32_t *high) {
    *low = (uint32_t)engine_below(on, ENGINE_KEYS);
    uint32_t longest = 1 + (uint32_t)engine_below(on, ENGINE_KEYS), held = 0;
    *high = *low;
    while (*high < ENGINE_KEYS && *high - *low < longest && tree->holds[*high]) {
        ++*high;
    }
    for (uint32_t key = 0; key < ENGINE_KEYS; key++) {
        held += tree->holds[key];
    }
    return *high > *low && *high - *low < held;
}

LW_YIELDS static void split(engine_life *on) {
    uint8_t lower[ENGINE_KEY_SIZE], upper[ENGINE_KEY_SIZE];
    engine_tree *place = engine_model_place(on->model), *tree = reserve(on, false);
    uint32_t low, high;
    if (tree == NULL) {
        return;
    }
    if (place != NULL && draw_range(on, tree, &low, &high)) {
        uint64_t id = on->model->tree_next++;
        lw_key_range range = {.lower = engine_bound(low, lower),
                              .upper = engine_bound(high, upper)};
        lw_tree_split asked = {.child = id, .ranges = &range, .range_count = 1};
        lw_tree *child = NULL, *there = lw_engine_tree(on->engine, tree->id);
        begin(on, &(engine_intent){.kind = ENGINE_SPLIT,
                                   .from = tree,
                                   .to = place,
                                   .id = id,
                                   .low = low,
                                   .high = high});
        (void)end(on, lw_store_split_tree(store_of(on), there, &asked, &child), "splitting a tree");
    }
    tree->busy = false;
}

/* Whether both have bounds, which do not overlap. */
static bool apart(const engine_tree *one, const engine_tree *other) {
    bool overlap = one == other || (one->outer && other->outer);
    for (uint32_t key = 0; key < ENGINE_KEYS; key++) {
        overlap = overlap || (one->holds[key] && other->holds[key]);
    }
    return one->bounded && other->bounded && !overlap;
}

LW_YIELDS static void merge(engine_life *on) {
    engine_tree *from = reserve(on, false), *to = reserve(on, false);
    if (from != NULL && to != NULL && apart(from, to)) {
        lw_tree *into = lw_engine_tree(on->engine, to->id);
        uint64_t id = from->id;
        lw_tree *other = lw_engine_tree(on->engine, id);
        begin(on, &(engine_intent){.kind = ENGINE_MERGE, .from = from, .to = to});
        if (end(on, lw_store_merge_trees(store_of(on), into, other), "merging trees")) {
            engine_release(on, id);
        }
    }
    if (from != NULL) {
        from->busy = false;
    }
    if (to != NULL) {
        to->busy = false;
    }
}

/* What could not be read counts as damaged where a whole bundle is looked at. */
static uint64_t read_errors(const engine_life *on) {
    return lw_world_marked(on->of->of->world, lw_fault_mark(LW_FAULT_READ_ERROR));
}

/* ---- bundles -------------------------------------------------------------------------------- */

static engine_bundle *draw_bundle(engine_life *on, engine_bundle_state state) {
    engine_bundle *bundle = &on->model->bundles[engine_below(on, ENGINE_BUNDLES)];
    return bundle->state == state ? bundle : NULL;
}

LW_YIELDS static void remove_bundle(engine_life *on, engine_bundle *bundle) {
    bundle->state = ENGINE_BUNDLE_UNSURE;
    lw_status status = lw_bundle_remove(on->env, bundle->directory);
    if (status == LW_NOT_FOUND || engine_worked(on, status, "removing a bundle")) {
        bundle->state = ENGINE_BUNDLE_NONE;
    }
}

static void add_copy(engine_bundle *bundle, const engine_tree *tree) {
    bundle->trees[bundle->tree_count] = *tree;
    bundle->trees[bundle->tree_count++].busy = false;
}

/* All trees, while nobody writes. */
LW_YIELDS static lw_status copy_all(engine_life *on, engine_bundle *bundle) {
    engine_take(&on->writing);
    for (uint32_t index = 0; index < ENGINE_TREES; index++) {
        if (on->model->trees[index].id != 0) {
            add_copy(bundle, &on->model->trees[index]);
        }
    }
    lw_status status = lw_store_checkpoint(store_of(on), NULL, 0, bundle->directory);
    engine_give(&on->writing);
    return status;
}

LW_YIELDS static lw_status copy_one(engine_life *on, engine_bundle *bundle,
                                    const engine_tree *tree) {
    uint64_t index;
    lw_snapshot *state = NULL;
    add_copy(bundle, tree);
    LW_TRY(lw_store_checkpoint_tree(store_of(on), tree->id, bundle->directory, &index, &state));
    engine_look(on, state, &bundle->trees[0], engine_percent(on, 30));
    lw_snapshot_close(state);
    return LW_OK;
}

LW_YIELDS static lw_status export_key(engine_life *on, lw_export *out, lw_bytes key,
                                      uint32_t value) {
    lw_buffer bytes = lw_buffer_in(on->env->memory); /* others need `expected` meanwhile */
    lw_buffer_append(&bytes, engine_value(on->model, value, on->expected));
    lw_status status = lw_export_add(out, key, lw_buffer_view(&bytes));
    lw_buffer_reset(&bytes);
    return status;
}

/* All versions of a key, the newest first. */
LW_YIELDS static lw_status export_versions(engine_life *on, lw_export *out, const engine_tree *tree,
                                           uint32_t key) {
    uint8_t bytes[ENGINE_KEY_SIZE];
    uint32_t part = key - ENGINE_PLAIN_KEYS;
    lw_status status = LW_OK;
    for (uint32_t left = tree->version_counts[part]; left > 0 && status == LW_OK; left--) {
        const engine_version *version = &tree->versions[part][left - 1];
        status = export_key(on, out, engine_key(key, version->number, bytes), version->value);
    }
    return status;
}

LW_YIELDS static lw_status export_keys(engine_life *on, lw_export *out, const engine_tree *tree) {
    uint8_t bytes[ENGINE_KEY_SIZE];
    lw_status status = LW_OK;
    for (uint32_t key = 0; key < ENGINE_KEYS && status == LW_OK; key++) {
        if (engine_key_versioned(key)) {
            status = export_versions(on, out, tree, key);
        } else if (tree->plain[key] != 0) {
            status = export_key(on, out, engine_key(key, 0, bytes), tree->plain[key]);
        }
    }
    return status;
}

/* The same contents, written anew. */
LW_YIELDS static lw_status export_one(engine_life *on, engine_bundle *bundle,
                                      const engine_tree *tree) {
    lw_export_options options = {
        .tree = tree->id, .filter_part = engine_filter_part, .table_size = EXPORT_TABLE_SIZE};
    lw_export *out = NULL;
    add_copy(bundle, tree);
    bundle->trees[0].bounded = false;
    bundle->trees[0].outer = true;
    memset(bundle->trees[0].holds, true, sizeof(bundle->trees[0].holds));
    bundle->exported = true;
    LW_TRY(lw_export_open(on->env, bundle->directory, &options, &out));
    lw_status status = export_keys(on, out, &bundle->trees[0]);
    if (status != LW_OK) {
        lw_error why = *lw_error_slot();
        lw_export_abandon(out);
        *lw_error_slot() = why; /* clearing up must not hide it */
        return status;
    }
    return lw_export_finish(out);
}

LW_YIELDS static void make_bundle(engine_life *on) {
    engine_bundle *bundle = draw_bundle(on, ENGINE_BUNDLE_NONE);
    uint64_t choice = engine_below(on, 10);
    engine_tree *tree = bundle == NULL || choice < 2 ? NULL : reserve(on, true);
    if (bundle == NULL || (choice >= 2 && tree == NULL)) {
        return;
    }
    *bundle = (engine_bundle){.state = ENGINE_BUNDLE_UNSURE};
    (void)snprintf(bundle->directory, sizeof(bundle->directory), "copy%u",
                   ++on->model->bundle_next);
    lw_status status = choice < 2   ? copy_all(on, bundle)
                       : choice < 6 ? copy_one(on, bundle, tree)
                                    : export_one(on, bundle, tree);
    bool whole = engine_worked(on, status, "making a bundle");
    bundle->state = whole ? ENGINE_BUNDLE_WHOLE : ENGINE_BUNDLE_NONE; /* what fails is removed */
    if (tree != NULL) {
        tree->busy = false;
    }
}

/* ---- bits that rot in bundles --------------------------------------------------------------- */

/* One of the files of a bundle; none: a path of no size. */
static uint64_t draw_file(engine_life *on, const engine_bundle *bundle, char path[LW_PATH_SIZE]) {
    lw_disk *disk = lw_host_disk(on->member->host);
    lw_buffer paths = lw_buffer_in(on->env->memory), contents = paths;
    char prefix[32];
    int prefix_size = snprintf(prefix, sizeof(prefix), "%s/sst/", bundle->directory);
    uint64_t seen = 0;
    path[0] = 0;
    lw_disk_paths(disk, LW_DISK_VOLATILE, &paths);
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *one = (const char *)paths.data + at;
        if (strncmp(one, prefix, (size_t)prefix_size) == 0 && engine_below(on, ++seen) == 0) {
            (void)snprintf(path, LW_PATH_SIZE, "%s", one);
        }
    }
    bool there = path[0] != 0 && lw_disk_contents(disk, LW_DISK_VOLATILE, path, &contents);
    uint64_t size = there ? contents.size : 0;
    lw_buffer_reset(&paths);
    lw_buffer_reset(&contents);
    return size;
}

/* A bit of a file that nobody else has. */
static void rot_bundle(engine_life *on) {
    lw_sim_trial *it = on->of->of;
    engine_bundle *bundle = draw_bundle(on, ENGINE_BUNDLE_WHOLE);
    char path[LW_PATH_SIZE];
    if (bundle == NULL || !bundle->exported || bundle->taken || !it->troubled ||
        !lw_sim_allows(it, LW_FAULT_ROT)) {
        return;
    }
    uint64_t size = draw_file(on, bundle, path), ordinal = ++on->of->rots;
    uint64_t bit = size == 0 ? 0 : engine_below(on, 8 * size);
    if (size > 0 && lw_world_strike(it->world, LW_FAULT_ROT, "engine", ordinal, "bit %u of %.40s",
                                    (unsigned)bit, path)) {
        lw_disk_flip(lw_host_disk(on->member->host), path, bit);
        bundle->rotted = true;
    }
}

/* ---- taking bundles over -------------------------------------------------------------------- */

LW_YIELDS static void take_over(engine_life *on) {
    engine_model *model = on->model;
    engine_bundle *bundle = draw_bundle(on, ENGINE_BUNDLE_WHOLE);
    engine_tree *place = engine_model_place(model);
    if (bundle == NULL || place == NULL) {
        return;
    }
    const engine_tree *source = &bundle->trees[engine_below(on, bundle->tree_count)];
    uint64_t id = model->tree_next++;
    begin(on, &(engine_intent){.kind = ENGINE_TAKE, .to = place, .id = id, .source = source});
    lw_ingest ingest = {
        .directory = bundle->directory, .source = source->id, .tree = id, .kind = LW_INGEST_CREATE};
    uint64_t errors = read_errors(on);
    bundle->taken = true;
    lw_status status = lw_store_ingest(store_of(on), &ingest);
    if (status == LW_CORRUPTION && (bundle->rotted || read_errors(on) > errors)) {
        model->intent = (engine_intent){.kind = ENGINE_NOTHING};
        remove_bundle(on, bundle);
        return;
    }
    if (end(on, status, "taking a bundle over") && engine_percent(on, 50)) {
        engine_take(&on->writing);
        engine_look_at(on, place);
        engine_give(&on->writing);
    }
}

/* ---- at a start ----------------------------------------------------------------------------- */

LW_YIELDS static void check_bundle(engine_life *on, const engine_bundle *bundle) {
    lw_buffer faults = lw_buffer_in(on->env->memory);
    uint64_t errors = read_errors(on);
    lw_status status = lw_store_check(on->env, bundle->directory, engine_filter_part, &faults);
    if (status == LW_CORRUPTION && read_errors(on) > errors) {
        status = LW_OK;
    } else if (status == LW_CORRUPTION) {
        status = lw_fail(status, "%.*s", (int)faults.size, (const char *)faults.data);
    }
    (void)engine_worked(on, status, "checking a bundle");
    lw_buffer_reset(&faults);
}

void engine_check_bundles(engine_life *on) {
    for (uint32_t index = 0; index < ENGINE_BUNDLES && !on->ending; index++) {
        engine_bundle *bundle = &on->model->bundles[index];
        if (bundle->state == ENGINE_BUNDLE_UNSURE) {
            remove_bundle(on, bundle);
        } else if (bundle->state == ENGINE_BUNDLE_WHOLE && !bundle->rotted) {
            check_bundle(on, bundle);
        }
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

void engine_reshape(engine_life *on) {
    engine_take(&on->reshaping);
    uint64_t choice = on->ending ? 100 : engine_below(on, 20);
    if (choice < 2) {
        create(on);
    } else if (choice < 4) {
        drop(on);
    } else if (choice < 8) {
        split(on);
    } else if (choice < 11) {
        merge(on);
    } else if (choice < 14) {
        make_bundle(on);
    } else if (choice < 15) {
        rot_bundle(on);
    } else if (choice < 18) {
        take_over(on);
    } else if (choice < 19) {
        engine_bundle *bundle = draw_bundle(on, ENGINE_BUNDLE_WHOLE);
        if (bundle != NULL) {
            remove_bundle(on, bundle);
        }
    }
    engine_give(&on->reshaping);
}
