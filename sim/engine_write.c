/* SPDX-License-Identifier: Apache-2.0 */
/* Writes to an engine: batches for one tree or several, in one order, durable or not. */
#include "sim/engine_life.h"

#include "storage/batch.h"

enum {
    PARTS_MAX = 3,     /* trees of a write, besides the journal */
    FEW_CHANGES = 6,   /* in each of them, */
    MANY_CHANGES = 18, /* seldom */
    DURABLE_PERCENT = 40,
    DELETE_PERCENT = 25,
};
_Static_assert(PARTS_MAX *MANY_CHANGES <= ENGINE_CHANGES, "a write has room for all of them");

/* ---- what is written ------------------------------------------------------------------------ */

static bool changes_already(const engine_write *write, uint64_t tree, uint32_t key) {
    for (uint32_t index = 0; index < write->count; index++) {
        if (write->changes[index].tree == tree && write->changes[index].key == key) {
            return true;
        }
    }
    return false;
}

static void draw_change(engine_life *on, engine_write *write, const engine_tree *tree) {
    bool plain_only = on->model->uniform;
    uint32_t key = (uint32_t)engine_below(on, plain_only ? ENGINE_PLAIN_KEYS : ENGINE_KEYS);
    bool full = engine_key_versioned(key) &&
                tree->version_counts[key - ENGINE_PLAIN_KEYS] == ENGINE_VERSIONS;
    if (!tree->holds[key] || full || changes_already(write, tree->id, key)) {
        return;
    }
    bool deletes = !plain_only && engine_percent(on, DELETE_PERCENT);
    write->changes[write->count++] =
        (engine_change){.number = write->number,
                        .tree = tree->id,
                        .key = key,
                        .value = deletes ? 0 : on->model->value_next++};
}

/* A few keys of a tree that nobody reshapes. */
static void draw_part(engine_life *on, engine_write *write) {
    const engine_tree *tree = &on->model->trees[engine_below(on, ENGINE_TREES)];
    if (tree->id == 0 || tree->busy ||
        (write->count > 0 && write->changes[write->count - 1].tree == tree->id)) {
        return;
    }
    for (uint32_t index = 0; index + 1 < write->count; index++) {
        if (write->changes[index].tree == tree->id) {
            return; /* those of a tree stand together */
        }
    }
    uint64_t most = engine_percent(on, 10) ? MANY_CHANGES : FEW_CHANGES;
    uint64_t count = on->model->uniform ? 1 : 1 + engine_below(on, most);
    while (count-- > 0) {
        draw_change(on, write, tree);
    }
}

static void draw_write(engine_life *on) {
    engine_write *write = &on->model->writing;
    *write = (engine_write){.number = ++on->model->issued};
    uint64_t parts = on->model->uniform ? 1 : 1 + engine_below(on, PARTS_MAX);
    while (parts-- > 0) {
        draw_part(on, write);
    }
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_change(engine_life *on, const engine_change *change, lw_buffer *batch) {
    uint8_t bytes[ENGINE_KEY_SIZE];
    lw_bytes key = engine_key(change->key, change->number, bytes);
    lw_bytes value = engine_value(on->model, change->value, on->expected);
    if (change->value == 0 && !engine_key_versioned(change->key)) {
        lw_batch_delete(batch, key);
    } else {
        lw_batch_put(batch, key, value);
    }
}

/* A batch for each tree, the journal's first. */
static uint32_t make_batches(engine_life *on, lw_buffer *batches, lw_engine_change *parts) {
    const engine_write *write = &on->model->writing;
    uint8_t number[sizeof(write->number)];
    lw_put_u64(number, write->number);
    uint32_t count = 0;
    parts[0].tree = ENGINE_JOURNAL_ID;
    lw_batch_put(&batches[0], engine_journal_key(), lw_view(number, sizeof(number)));
    for (uint32_t index = 0; index < write->count; index++) {
        const engine_change *change = &write->changes[index];
        if (change->tree != parts[count].tree && change->tree != ENGINE_JOURNAL_ID) {
            parts[++count].tree = change->tree;
        }
        put_change(on, change, &batches[change->tree == ENGINE_JOURNAL_ID ? 0 : count]);
    }
    for (uint32_t index = 0; index <= count; index++) {
        parts[index].batch = lw_buffer_view(&batches[index]);
    }
    return count + 1;
}

LW_YIELDS static lw_status write_one(engine_life *on, bool durable) {
    lw_memory *memory = on->env->memory;
    lw_engine_change parts[PARTS_MAX + 1] = {{.tree = 0}};
    lw_buffer batches[PARTS_MAX + 1];
    for (uint32_t index = 0; index <= PARTS_MAX; index++) {
        batches[index] = lw_buffer_in(memory);
    }
    uint32_t count = make_batches(on, batches, parts);
    lw_status status = count == 1
                           ? lw_engine_write(on->engine, parts[0].tree, parts[0].batch, durable)
                           : lw_engine_write_all(on->engine, parts, count, durable);
    for (uint32_t index = 0; index <= PARTS_MAX; index++) {
        lw_buffer_reset(&batches[index]);
    }
    return status;
}

void engine_write_some(engine_life *on) {
    engine_model *model = on->model;
    engine_take(&on->writing);
    if (on->ending) {
        engine_give(&on->writing);
        return;
    }
    draw_write(on);
    uint64_t number = model->writing.number;
    bool durable = engine_percent(on, DURABLE_PERCENT), at_once = durable && engine_percent(on, 20);
    lw_status status = write_one(on, at_once);
    bool refused = status == LW_FULL || status == LW_BACKPRESSURE;
    if (status == LW_OK) {
        engine_model_write(model);
        on->of->done++;
    } else if (refused && (!at_once || lw_engine_sync(on->engine) == LW_OK)) {
        model->writing.number = 0;
    } else {
        on->died = true; /* a restart may find it, or not */
    }
    bool written = engine_worked(on, status, "writing");
    engine_give(&on->writing);
    if (written && durable && !at_once) { /* others may write meanwhile */
        status = lw_engine_sync(on->engine);
        on->died = on->died || status != LW_OK;
        written = engine_worked(on, status, "syncing");
    }
    if (written && durable) {
        engine_model_settle(model, number);
    }
}
