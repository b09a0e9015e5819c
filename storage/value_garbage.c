/* SPDX-License-Identifier: Apache-2.0 */
/* Which table is to be written again for its wasted values: see value_garbage.h. */
#include "storage/value_garbage.h"

enum {
    MOVE_TABLES = 8,   /* full tables' worth of values that one step moves */
    LOOK_SIZE = 4096,  /* references to files looked at between two passes */
    WORTH = 2,         /* a gain may be so many times smaller than what it costs, */
    WORTH_LITTLE = 64, /* and on a full disk so many */
};

/* The search so far. */
typedef struct search {
    lw_store *store;
    uint32_t worth;
    uint32_t looked;     /* since the last pass */
    uint64_t gain;       /* of the best */
    lw_tree *tree;       /* held, as is the */
    lw_table_file *file; /* NULL: none yet */
    uint32_t level;
} search;

/* What rewriting a table gives back; 0 unless it pays. */
static uint64_t gain_of(const search *among, const lw_table_file *file) {
    double gain = 0, cost = (double)file->info.size;
    bool wasted = false;
    for (uint32_t index = 0; index < file->info.value_count; index++) {
        const lw_shared_file *values = file->shared->values[index];
        double own = (double)file->info.values[index].live_size;
        if (lw_shared_file_wasted(values) && values->live_size > 0) {
            gain += (double)(values->size - values->live_size) * own / (double)values->live_size;
            cost += own;
            wasted = true;
        }
    }
    return wasted && gain * among->worth >= cost ? (uint64_t)gain + 1 : 0;
}

static void forget(search *among) {
    if (among->file != NULL) {
        lw_table_file_release(among->file);
        lw_tree_release(among->tree);
    }
    among->file = NULL;
}

static void consider(search *among, lw_tree *tree, uint32_t level, lw_table_file *file) {
    uint64_t gain = gain_of(among, file);
    if (gain <= among->gain) {
        return;
    }
    forget(among);
    lw_table_file_hold(file);
    lw_tree_hold(tree);
    among->gain = gain;
    among->tree = tree;
    among->file = file;
    among->level = level;
}

/* Looks through the tables of a tree; the next one, or NULL at the end, and if this one was dropped
 * meanwhile: the next search finds what there is. */
LW_YIELDS static lw_tree *search_tree(search *among, lw_tree *tree) {
    lw_version *version = tree->version;
    lw_version_hold(version);
    lw_tree_hold(tree);
    for (uint32_t level = 1; level < LW_LEVEL_COUNT; level++) {
        for (uint32_t index = 0; index < lw_version_count(version, level); index++) {
            lw_table_file *file = lw_version_files(version, level)[index];
            consider(among, tree, level, file);
            among->looked += 1 + file->info.value_count;
            if (among->looked >= LOOK_SIZE) {
                among->looked = 0;
                lw_fiber_pass();
            }
        }
    }
    lw_tree *next = tree->dropped ? NULL : tree->next;
    lw_tree_release(tree);
    lw_version_release(version);
    return next;
}

/* Whether the table still stands where it was found. */
static bool stands(const lw_tree *tree, uint32_t level, const lw_table_file *file) {
    for (uint32_t index = 0; index < lw_version_count(tree->version, level); index++) {
        if (lw_version_files(tree->version, level)[index] == file) {
            return true;
        }
    }
    return false;
}

static lw_compaction rewrite_in_place(const search *among) {
    lw_memory *memory = among->store->memory;
    uint64_t table_size = among->store->options.table_size;
    bool little = LW_RARE(among->store->env, "value.moves_little");
    lw_compaction compaction = {.memory = memory,
                                .output_level = among->level,
                                .run_count = 1,
                                .input_count = 1,
                                .inputs = lw_allocate(memory, sizeof(lw_table_file *)),
                                .run_ends = lw_allocate(memory, sizeof(uint32_t)),
                                .move_size = little ? 1 : MOVE_TABLES * table_size};
    compaction.inputs[0] = among->file;
    compaction.run_ends[0] = 1;
    return compaction;
}

bool lw_garbage_find(lw_store *store, lw_tree **tree, lw_compaction *compaction) {
    bool anyway = store->squeezing || LW_RARE(store->env, "value.worth_little");
    search among = {.store = store, .worth = anyway ? WORTH_LITTLE : WORTH};
    uint64_t now_ns = lw_env_now(store->env);
    if (store->folder.wasted_count == 0) {
        return false;
    }
    for (lw_tree *at = store->first_tree; at != NULL;) {
        at = at->compact_again_ns > now_ns ? at->next : search_tree(&among, at);
    }
    bool found =
        among.file != NULL && !among.tree->dropped && stands(among.tree, among.level, among.file);
    if (found) {
        *tree = among.tree;
        *compaction = rewrite_in_place(&among);
        lw_tree_hold(among.tree);
    }
    forget(&among); /* the tree's version holds the file */
    return found;
}
