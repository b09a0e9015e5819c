/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine shows, held against the model. */
#include "sim/engine_life.h"

enum { SOME_KEYS = 12 };

/* ---- single keys ---------------------------------------------------------------------------- */

LW_YIELDS static void look_at_plain(engine_life *on, lw_snapshot *snapshot, const engine_tree *tree,
                                    uint32_t key) {
    uint8_t bytes[ENGINE_KEY_SIZE];
    uint32_t value = tree->plain[key];
    lw_buffer found = lw_buffer_in(on->env->memory);
    lw_status status = lw_snapshot_get(snapshot, engine_key(key, 0, bytes), &found);
    if (status != LW_NOT_FOUND && !engine_worked(on, status, "reading a key")) {
        lw_buffer_reset(&found);
        return;
    }
    if ((status == LW_NOT_FOUND) != (value == 0)) {
        engine_wrong(on, "tree %u: key %u has %s value, but value %u is what was written",
                     (unsigned)tree->id, key, status == LW_OK ? "some" : "no", value);
    } else if (status == LW_OK &&
               !lw_equal(lw_buffer_view(&found), engine_value(on->model, value, on->expected))) {
        uint32_t number = found.size < sizeof(number) ? 0 : lw_get_u32(found.data);
        engine_wrong(on,
                     "tree %u: key %u has not value %u, but %zu bytes that begin as those of %u",
                     (unsigned)tree->id, key, value, found.size, number);
    }
    lw_buffer_reset(&found);
}

static bool any_counts(lw_bytes value) {
    (void)value;
    return true;
}

/* The newest version at or below `at`, by a cursor or the quick way. A value of size 0: none. */
LW_YIELDS static lw_status find_version(engine_life *on, lw_snapshot *snapshot, uint32_t key,
                                        uint64_t at, lw_buffer *value) {
    uint8_t lower[ENGINE_KEY_SIZE], upper[ENGINE_KEY_SIZE];
    lw_newest newest = {.lower = engine_key(key, at, lower),
                        .upper = engine_key(key, 0, upper),
                        .counts = any_counts,
                        .bytes = lw_buffer_in(on->env->memory)};
    lw_status status = LW_OK;
    if (engine_percent(on, 50)) {
        status = lw_snapshot_newest(snapshot, &newest);
        if (status == LW_OK && newest.outcome == LW_NEWEST_FOUND) {
            lw_buffer_append(value, lw_view(newest.bytes.data + newest.key_size,
                                            newest.bytes.size - newest.key_size));
        }
    } else {
        lw_cursor *cursor = lw_cursor_open(snapshot, newest.lower, newest.upper);
        status = lw_cursor_first(cursor);
        if (status == LW_OK && lw_cursor_valid(cursor)) {
            lw_buffer_append(value, lw_cursor_value(cursor));
        }
        lw_cursor_close(cursor);
    }
    lw_buffer_reset(&newest.bytes);
    return status;
}

/* Somebody reads at the floor, or above it. */
LW_YIELDS static void look_at_versions(engine_life *on, lw_snapshot *snapshot,
                                       const engine_tree *tree, uint32_t key) {
    uint64_t span = tree->written > tree->floor ? tree->written - tree->floor : 0;
    uint64_t at = tree->floor + (engine_percent(on, 50) ? 0 : engine_below(on, span + 1));
    uint32_t value = engine_version_at(tree, key, at);
    lw_buffer found = lw_buffer_in(on->env->memory);
    lw_status status = find_version(on, snapshot, key, at, &found);
    if (engine_worked(on, status, "reading a version") &&
        !lw_equal(lw_buffer_view(&found), engine_value(on->model, value, on->expected))) {
        engine_wrong(on, "tree %u: key %u read at %u, floor %u, is not what it was then, value %u",
                     (unsigned)tree->id, key, (unsigned)at, (unsigned)tree->floor, value);
    }
    lw_buffer_reset(&found);
}

static bool going_on(const engine_life *on) {
    return !on->of->of->damaged && !lw_store_dead(lw_engine_store(on->engine), NULL);
}

/* ---- ranges --------------------------------------------------------------------------------- */

/* The next plain key that has a value, from `key` on; ENGINE_PLAIN_KEYS if there is none. */
static uint32_t next_plain(const engine_tree *tree, uint32_t key) {
    while (key < ENGINE_PLAIN_KEYS && tree->plain[key] == 0) {
        key++;
    }
    return key;
}

static bool stands_at(engine_life *on, lw_cursor *cursor, const engine_tree *tree, uint32_t key) {
    uint8_t bytes[ENGINE_KEY_SIZE];
    if (key == ENGINE_PLAIN_KEYS || !lw_cursor_valid(cursor)) {
        if ((key == ENGINE_PLAIN_KEYS) != !lw_cursor_valid(cursor)) {
            engine_wrong(on, "tree %u: a cursor is %s, but the next key is %u", (unsigned)tree->id,
                         lw_cursor_valid(cursor) ? "at a key" : "at the end", key);
        }
        return false;
    }
    if (!lw_equal(lw_cursor_key(cursor), engine_key(key, 0, bytes)) ||
        !lw_equal(lw_cursor_value(cursor),
                  engine_value(on->model, tree->plain[key], on->expected))) {
        engine_wrong(on, "tree %u: a cursor is not at key %u with value %u", (unsigned)tree->id,
                     key, tree->plain[key]);
        return false;
    }
    return true;
}

/* From a key on to the end, or for a few steps. */
LW_YIELDS static void walk(engine_life *on, lw_snapshot *snapshot, const engine_tree *tree,
                           uint32_t first, bool everything) {
    uint8_t lower[ENGINE_KEY_SIZE], upper[ENGINE_KEY_SIZE];
    lw_cursor *cursor = lw_cursor_open(snapshot, engine_bound(first, lower),
                                       engine_bound(ENGINE_PLAIN_KEYS, upper));
    uint32_t key = next_plain(tree, first);
    bool good = engine_worked(on, lw_cursor_first(cursor), "placing a cursor");
    while (good && stands_at(on, cursor, tree, key) &&
           (everything || engine_below(on, SOME_KEYS) != 0)) {
        key = next_plain(tree, key + 1);
        good = engine_worked(on, lw_cursor_next(cursor), "moving a cursor");
    }
    lw_cursor_close(cursor);
}

void engine_look(engine_life *on, lw_snapshot *snapshot, const engine_tree *tree, bool everything) {
    uint32_t count = everything ? ENGINE_KEYS : SOME_KEYS;
    for (uint32_t step = 0; step < count && going_on(on); step++) {
        uint32_t key = everything ? step : (uint32_t)engine_below(on, ENGINE_KEYS);
        if (tree->holds[key] && engine_key_versioned(key)) {
            look_at_versions(on, snapshot, tree, key);
        } else if (tree->holds[key]) {
            look_at_plain(on, snapshot, tree, key);
        }
    }
    if (going_on(on)) {
        walk(on, snapshot, tree, everything ? 0 : (uint32_t)engine_below(on, ENGINE_PLAIN_KEYS),
             everything);
    }
}

/* ---- snapshots ------------------------------------------------------------------------------ */

lw_snapshot *engine_pin(engine_life *on, engine_tree **copy) {
    lw_snapshot *snapshot = NULL;
    *copy = lw_allocate(on->env->memory, sizeof(**copy));
    engine_take(&on->writing); /* what is being written would be there already, or not yet */
    const engine_tree *tree = &on->model->trees[engine_below(on, ENGINE_TREES)];
    lw_tree *there = tree->id == 0 ? NULL : lw_engine_tree(on->engine, tree->id);
    bool unsure = on->model->writing.number != 0; /* a write failed, and may be seen or not */
    if (there != NULL && !tree->busy && !unsure) {
        **copy = *tree;
        snapshot = lw_snapshot_open(there);
    }
    engine_give(&on->writing);
    if (snapshot == NULL) {
        lw_free(on->env->memory, *copy);
        *copy = NULL;
    }
    return snapshot;
}

void engine_look_at(engine_life *on, const engine_tree *tree) {
    lw_tree *there = lw_engine_tree(on->engine, tree->id);
    if (there == NULL) {
        engine_wrong(on, "tree %u is gone", (unsigned)tree->id);
        return;
    }
    lw_snapshot *snapshot = lw_snapshot_open(there);
    engine_look(on, snapshot, tree, true);
    lw_snapshot_close(snapshot);
}

lw_status engine_read_journal(engine_life *on, uint64_t *number) {
    *number = 0;
    lw_tree *journal = lw_engine_tree(on->engine, ENGINE_JOURNAL_ID);
    if (journal == NULL) {
        return LW_OK;
    }
    lw_buffer value = lw_buffer_in(on->env->memory);
    lw_snapshot *snapshot = lw_snapshot_open(journal);
    lw_status status = lw_snapshot_get(snapshot, engine_journal_key(), &value);
    lw_snapshot_close(snapshot);
    if (status == LW_OK && value.size == sizeof(*number)) {
        *number = lw_get_u64(value.data);
    } else if (status == LW_OK) {
        engine_wrong(on, "the journal holds no number");
    }
    lw_buffer_reset(&value);
    return status == LW_NOT_FOUND ? LW_OK : status;
}
