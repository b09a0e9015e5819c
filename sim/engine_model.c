/* SPDX-License-Identifier: Apache-2.0 */
/* What the trees of an engine must hold: see engine_model.h. */
#include "sim/engine_model.h"

#include "sim/chance.h"

#include <stdio.h>

enum { UNIFORM_VALUE_SIZE = 120 };

void engine_model_init(engine_model *model, lw_memory *memory) {
    *model = (engine_model){.memory = memory, .tree_next = ENGINE_JOURNAL_ID + 1, .value_next = 1};
}

void engine_model_reset(engine_model *model) {
    lw_free(model->memory, model->undo);
}

engine_tree *engine_model_find(engine_model *model, uint64_t id) {
    for (uint32_t index = 0; index < ENGINE_TREES; index++) {
        if (model->trees[index].id == id) {
            return &model->trees[index];
        }
    }
    return NULL;
}

engine_tree *engine_model_place(engine_model *model) {
    return engine_model_find(model, 0);
}

/* ---- keys and values ------------------------------------------------------------------------ */

lw_bytes engine_bound(uint32_t key, uint8_t to[ENGINE_KEY_SIZE]) {
    if (key >= ENGINE_KEYS) {
        return lw_view(to, 0);
    }
    bool versioned = engine_key_versioned(key);
    uint32_t index = versioned ? key - ENGINE_PLAIN_KEYS : key;
    char text[ENGINE_KEY_SIZE];
    int size = snprintf(text, sizeof(text), "%c%03u", versioned ? 'v' : 'p', index);
    LW_ASSERT(size == ENGINE_PART_SIZE);
    memcpy(to, text, ENGINE_PART_SIZE);
    return lw_view(to, ENGINE_PART_SIZE);
}

lw_bytes engine_key(uint32_t key, uint64_t number, uint8_t to[ENGINE_KEY_SIZE]) {
    lw_bytes part = engine_bound(key, to);
    if (!engine_key_versioned(key)) {
        return part;
    }
    lw_put_u64_sorted(to + ENGINE_PART_SIZE, ~number);
    return lw_view(to, ENGINE_KEY_SIZE);
}

lw_bytes engine_journal_key(void) {
    return lw_text("n");
}

/* From the number of a value all of its bytes follow. */
lw_bytes engine_value(const engine_model *model, uint32_t value, uint8_t *to) {
    if (value == 0) {
        return lw_view(to, 0);
    }
    lw_chance chance = lw_chance_of(value, 1);
    size_t size = 1 + (size_t)lw_chance_below(&chance, lw_chance_percent(&chance, 90) ? 200 : 6000);
    size = model->uniform ? UNIFORM_VALUE_SIZE : size;
    LW_ASSERT(size <= ENGINE_VALUE_SIZE_MAX);
    for (size_t index = 0; index < size; index++) {
        to[index] = (uint8_t)(value >> 8 * (index % 4)) ^ (uint8_t)(index / 64 * 31);
    }
    return lw_view(to, size);
}

size_t engine_filter_part(lw_bytes key) {
    return key.size < ENGINE_PART_SIZE ? key.size : ENGINE_PART_SIZE;
}

/* An lw_retention: what is older than the newest version at or below the safepoint may go; and a
 * version that says that there is nothing, where nothing lies behind it. */
static lw_needless judge(void *argument, lw_bytes key, lw_bytes value, size_t value_size,
                         uint64_t *newer) {
    (void)argument;
    (void)value;
    if (key.size != ENGINE_KEY_SIZE || key.data[0] != 'v') {
        return LW_NEEDED;
    }
    uint64_t number = ~lw_get_u64_sorted(key.data + ENGINE_PART_SIZE);
    lw_needless needless = {.from = *newer != 0 ? *newer : UINT64_MAX};
    bool empty = value_size == 0 && number < needless.from;
    needless.at_bottom_from = empty ? number : needless.from;
    *newer = number;
    return needless;
}

lw_retention engine_retention(void) {
    return (lw_retention){.judge = judge};
}

/* ---- writes --------------------------------------------------------------------------------- */

uint32_t engine_version_at(const engine_tree *tree, uint32_t key, uint64_t at) {
    uint32_t part = key - ENGINE_PLAIN_KEYS;
    for (uint32_t index = tree->version_counts[part]; index > 0; index--) {
        const engine_version *version = &tree->versions[part][index - 1];
        if (version->number <= at) {
            return version->value;
        }
    }
    return 0;
}

static void note_undo(engine_model *model, const engine_change *change) {
    if (model->undo_count == model->undo_capacity) {
        model->undo_capacity = model->undo_capacity == 0 ? 256 : 2 * model->undo_capacity;
        model->undo =
            lw_reallocate(model->memory, model->undo, model->undo_capacity * sizeof(*model->undo));
    }
    model->undo[model->undo_count++] = *change;
}

static void change_key(engine_model *model, const engine_change *change) {
    engine_tree *tree = engine_model_find(model, change->tree);
    engine_change before = *change;
    LW_ASSERT(tree != NULL && tree->holds[change->key]);
    if (engine_key_versioned(change->key)) {
        uint32_t part = change->key - ENGINE_PLAIN_KEYS;
        LW_ASSERT(tree->version_counts[part] < ENGINE_VERSIONS);
        tree->versions[part][tree->version_counts[part]++] =
            (engine_version){.number = change->number, .value = change->value};
    } else {
        before.value = tree->plain[change->key];
        tree->plain[change->key] = change->value;
    }
    tree->written = change->number;
    note_undo(model, &before);
}

void engine_model_write(engine_model *model) {
    for (uint32_t index = 0; index < model->writing.count; index++) {
        change_key(model, &model->writing.changes[index]);
    }
    model->trees[0].written = model->writing.number;
    model->writing.number = 0;
}

void engine_model_settle(engine_model *model, uint64_t number) {
    if (number <= model->durable) {
        return;
    }
    model->durable = number;
    size_t settled = 0;
    while (settled < model->undo_count && model->undo[settled].number <= number) {
        settled++;
    }
    model->undo_count -= settled;
    if (model->undo_count > 0) {
        memmove(model->undo, model->undo + settled, model->undo_count * sizeof(*model->undo));
    }
}

static void undo_one(engine_model *model, const engine_change *before) {
    engine_tree *tree = engine_model_find(model, before->tree);
    if (tree == NULL) {
        return; /* it was dropped */
    }
    if (engine_key_versioned(before->key)) {
        uint32_t part = before->key - ENGINE_PLAIN_KEYS, count = tree->version_counts[part];
        LW_ASSERT(count > 0 && tree->versions[part][count - 1].number == before->number);
        tree->version_counts[part]--;
    } else {
        tree->plain[before->key] = before->value;
    }
}

void engine_model_lose(engine_model *model, uint64_t survived) {
    if (model->writing.number != 0 && model->writing.number <= survived) {
        engine_model_write(model);
    }
    model->writing.number = 0;
    while (model->undo_count > 0 && model->undo[model->undo_count - 1].number > survived) {
        undo_one(model, &model->undo[--model->undo_count]);
    }
    for (uint32_t index = 0; index < ENGINE_TREES; index++) {
        engine_tree *tree = &model->trees[index];
        tree->written = tree->written < survived ? tree->written : survived;
    }
    model->undo_count = 0;
    model->durable = survived;
}

/* ---- trees ---------------------------------------------------------------------------------- */

static void move_key(engine_tree *from, engine_tree *to, uint32_t key) {
    from->holds[key] = false;
    to->holds[key] = true;
    if (!engine_key_versioned(key)) {
        to->plain[key] = from->plain[key];
        from->plain[key] = 0;
        return;
    }
    uint32_t part = key - ENGINE_PLAIN_KEYS;
    memcpy(to->versions[part], from->versions[part], sizeof(to->versions[part]));
    to->version_counts[part] = from->version_counts[part];
    from->version_counts[part] = 0;
}

static void split(const engine_intent *intent) {
    *intent->to = (engine_tree){.id = intent->id,
                                .bounded = true,
                                .written = intent->from->written,
                                .floor = intent->from->floor};
    for (uint32_t key = intent->low; key < intent->high; key++) {
        move_key(intent->from, intent->to, key);
    }
    intent->from->bounded = true;
}

static void merge(const engine_intent *intent) {
    engine_tree *from = intent->from, *to = intent->to;
    for (uint32_t key = 0; key < ENGINE_KEYS; key++) {
        if (from->holds[key]) {
            move_key(from, to, key);
        }
    }
    to->floor = to->floor > from->floor ? to->floor : from->floor;
    to->written = to->written > from->written ? to->written : from->written;
    to->outer = to->outer || from->outer;
    *from = (engine_tree){.id = 0};
}

void engine_model_reshape(engine_model *model) {
    engine_intent intent = model->intent;
    model->intent = (engine_intent){.kind = ENGINE_NOTHING};
    switch (intent.kind) {
    case ENGINE_NOTHING:
        break;
    case ENGINE_CREATE:
        *intent.to = (engine_tree){.id = intent.id, .outer = true};
        memset(intent.to->holds, true, sizeof(intent.to->holds));
        break;
    case ENGINE_DROP:
        *intent.from = (engine_tree){.id = 0};
        break;
    case ENGINE_SPLIT:
        split(&intent);
        break;
    case ENGINE_MERGE:
        merge(&intent);
        break;
    case ENGINE_TAKE:
        *intent.to = *intent.source;
        intent.to->id = intent.id;
        intent.to->busy = false;
        break;
    }
}
