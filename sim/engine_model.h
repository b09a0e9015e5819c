/* SPDX-License-Identifier: Apache-2.0 */
/* What the trees of a storage engine must hold: the model that runs of the engine alone
 * (sim/engine.h) are held against.
 *
 * Each write has a number, one more than the one before, and puts it into the journal, the tree
 * that is always there. So a restart tells which writes survived, and must show all trees as just
 * these writes left them: nothing of a later one, and nothing missing of an earlier one.
 *
 * A tree holds plain keys (p and three digits), which are written again and deleted, and versions
 * of others (v, three digits, the complement of the write's number), which the retention rule may
 * forget: those that nobody needs who reads at or above the tree's floor.
 *
 * Invariants
 * 1. The model is changed when a call has returned, in the same turn. Until then what the call may
 *    do stands in `writing` or `intent`, so that after a crash either is known to be possible.
 * 2. A tree has nothing under keys that it does not hold.
 * 3. Writes above `durable` can be undone, in their reverse order. */
#ifndef LW_SIM_ENGINE_MODEL_H
#define LW_SIM_ENGINE_MODEL_H

#include "base/bytes.h"
#include "storage/store.h"

enum {
    ENGINE_PLAIN_KEYS = 96,
    ENGINE_VERSIONED_KEYS = 12,
    ENGINE_KEYS = ENGINE_PLAIN_KEYS + ENGINE_VERSIONED_KEYS, /* in the order of the trees */
    ENGINE_VERSIONS = 40,                                    /* of a key, in all of a run */
    ENGINE_TREES = 6,
    ENGINE_JOURNAL_ID = 1, /* of the first tree */
    ENGINE_BUNDLES = 3,
    ENGINE_CHANGES = 64, /* of a write */
    ENGINE_KEY_SIZE = 12,
    ENGINE_PART_SIZE = 4, /* bytes of a key that make its filter part */
    ENGINE_VALUE_SIZE_MAX = 6000,
};

/* A value is known by its number, from 1 on. 0 is none: of a version, that there is nothing. */
typedef struct engine_version {
    uint64_t number; /* of the write */
    uint32_t value;
} engine_version;

typedef struct engine_tree {
    uint64_t id; /* 0: there is no tree in this place */
    bool holds[ENGINE_KEYS];
    bool bounded;     /* it was split off, or something was split off it */
    bool outer;       /* it reaches beyond all keys */
    bool busy;        /* somebody reshapes or copies it: nobody writes to it */
    uint64_t written; /* number of the last write to it */
    uint64_t floor;   /* versions are there for who reads at or above it */
    uint32_t plain[ENGINE_PLAIN_KEYS];
    uint32_t version_counts[ENGINE_VERSIONED_KEYS];
    engine_version versions[ENGINE_VERSIONED_KEYS][ENGINE_VERSIONS]; /* oldest first */
} engine_tree;

/* A key of a tree is given a value. */
typedef struct engine_change {
    uint64_t number; /* of the write */
    uint64_t tree;   /* its id */
    uint32_t key, value;
} engine_change;

typedef struct engine_write {
    uint64_t number; /* 0: none */
    uint32_t count;
    engine_change changes[ENGINE_CHANGES]; /* those of a tree stand together */
} engine_write;

/* Folders of tables that no engine has open (storage/bundle.h). */
typedef enum engine_bundle_state {
    ENGINE_BUNDLE_NONE,
    ENGINE_BUNDLE_UNSURE, /* it is being made, or removed */
    ENGINE_BUNDLE_WHOLE,
} engine_bundle_state;

typedef struct engine_bundle {
    engine_bundle_state state;
    char directory[16];
    bool exported; /* its files are nobody else's */
    bool taken;    /* ... no more */
    bool rotted;
    uint32_t tree_count;
    engine_tree trees[ENGINE_TREES];
} engine_bundle;

/* What changes the set of trees. */
typedef enum engine_intent_kind {
    ENGINE_NOTHING,
    ENGINE_CREATE,
    ENGINE_DROP,
    ENGINE_SPLIT, /* keys [low, high) of `from` go into `to` */
    ENGINE_MERGE, /* all of `from` goes into `to` */
    ENGINE_TAKE,  /* `source`, of a bundle, becomes `to` */
} engine_intent_kind;

typedef struct engine_intent {
    engine_intent_kind kind;
    engine_tree *from, *to;
    uint64_t id; /* of a tree that is made */
    uint32_t low, high;
    const engine_tree *source;
} engine_intent;

typedef struct engine_model {
    lw_memory *memory;
    engine_tree trees[ENGINE_TREES]; /* the journal first */
    engine_bundle bundles[ENGINE_BUNDLES];
    engine_write writing;
    engine_intent intent;
    uint64_t issued;     /* the last number given to a write */
    uint64_t durable;    /* writes up to this one survive */
    engine_change *undo; /* what was there before, of writes above it, oldest first */
    size_t undo_count, undo_capacity;
    uint64_t tree_next;   /* an id that no tree ever had */
    uint32_t bundle_next; /* likewise, of folders */
    uint32_t value_next;
    bool uniform; /* all values have one size, and writes as many */
} engine_model;

void engine_model_init(engine_model *model, lw_memory *memory);
void engine_model_reset(engine_model *model);
/* The tree of this id, or NULL; a place for another one, or NULL. */
engine_tree *engine_model_find(engine_model *model, uint64_t id);
engine_tree *engine_model_place(engine_model *model);

/* Key number `key`; of a version, that of write `number`. */
lw_bytes engine_key(uint32_t key, uint64_t number, uint8_t to[ENGINE_KEY_SIZE]);
/* Where a range begins or ends: at this key; nowhere, if there is none of this number. */
lw_bytes engine_bound(uint32_t key, uint8_t to[ENGINE_KEY_SIZE]);
static inline bool engine_key_versioned(uint32_t key) {
    return key >= ENGINE_PLAIN_KEYS;
}
lw_bytes engine_value(const engine_model *model, uint32_t value, uint8_t *to);
/* What stands in the journal. */
lw_bytes engine_journal_key(void);
/* The rules that the store is to know. */
size_t engine_filter_part(lw_bytes key);
lw_retention engine_retention(void);

/* The value that a reader of a versioned key at `at` gets; 0: none. */
uint32_t engine_version_at(const engine_tree *tree, uint32_t key, uint64_t at);

/* Does what `writing` says, or what `intent` says; neither is under way any more. */
void engine_model_write(engine_model *model);
void engine_model_reshape(engine_model *model);
/* Writes up to this one survive whatever comes. */
void engine_model_settle(engine_model *model, uint64_t number);
/* After a crash: the writes above this one did not survive. */
void engine_model_lose(engine_model *model, uint64_t survived);

#endif
