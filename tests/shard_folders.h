/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of the nodes of tests/shard_lattice.h that hold shards from the beginning, or are to be
 * the first of a lattice. */
#ifndef LW_TESTS_SHARD_FOLDERS_H
#define LW_TESTS_SHARD_FOLDERS_H

#include "tests/shard_lattice.h"

#include "storage/batch.h"
#include "txn/record.h"

typedef struct lattice_shard {
    uint64_t id;
    const char *start, *end;
    uint64_t nodes[3]; /* voters; 0: no more */
} lattice_shard;

typedef struct lattice_format {
    lattice_node *node;
    const lattice_shard *shards;
    uint32_t count;
} lattice_format;

static inline bool lattice_names(const lattice_shard *shard, uint64_t node) {
    return shard->nodes[0] == node || shard->nodes[1] == node || shard->nodes[2] == node;
}

/* Gives what a tree has from a key on to another one. */
static inline lw_status lattice_cut_tree(lattice_node *node, lw_tree *tree, const char *from,
                                         uint64_t child) {
    lw_buffer keys[6];
    lw_key_range ranges[3];
    lw_tree *made;
    for (int index = 0; index < 6; index++) {
        keys[index] = lw_buffer_in(node->env->memory);
    }
    lw_record_data_prefix(lw_text(from), &keys[0]);
    lw_record_data_end(lw_view(NULL, 0), &keys[1]);
    lw_record_lock_key(lw_text(from), &keys[2]);
    lw_record_lock_end(&keys[3]);
    lw_record_meta_prefix(lw_text(from), &keys[4]);
    lw_record_meta_end(&keys[5]);
    for (int index = 0; index < 3; index++) {
        ranges[index] =
            (lw_key_range){lw_buffer_view(&keys[2 * index]), lw_buffer_view(&keys[2 * index + 1])};
    }
    lw_tree_split split = {.child = child, .child_index = 1, .ranges = ranges, .range_count = 3};
    return lw_store_split_tree(node->store, tree, &split, &made);
}

enum { LATTICE_SPARE_TREE = 1000 };

/* An empty tree with the bounds of a shard. */
static inline lw_status lattice_bound_tree(lattice_node *node, const lattice_shard *shard,
                                           lw_tree **tree) {
    bool lower = shard->start[0] != 0;
    uint64_t first = lower ? (uint64_t)LATTICE_SPARE_TREE : shard->id;
    LW_TRY(lw_store_create_tree(node->store, first, tree));
    if (lower) {
        LW_TRY(lattice_cut_tree(node, *tree, shard->start, shard->id));
        LW_TRY(lw_store_drop_tree(node->store, LATTICE_SPARE_TREE));
        *tree = lw_store_tree(node->store, shard->id);
    }
    if (shard->end[0] != 0) {
        LW_TRY(lattice_cut_tree(node, *tree, shard->end, LATTICE_SPARE_TREE));
        LW_TRY(lw_store_drop_tree(node->store, LATTICE_SPARE_TREE));
    }
    return LW_OK;
}

static inline lw_status lattice_make_tree(lattice_node *node, const lattice_shard *shard) {
    lw_memory *memory = node->env->memory;
    lw_tree *tree;
    lw_shard_descriptor described = {.id = shard->id,
                                     .epoch = {.range_version = 2, .config_version = 2},
                                     .start = lw_text(shard->start),
                                     .end = lw_text(shard->end)};
    for (uint32_t index = 0; index < 3 && shard->nodes[index] != 0; index++) {
        described.replicas[described.replica_count++] =
            (lw_shard_replica){.node = shard->nodes[index], .role = LW_REPLICA_VOTER};
    }
    lw_buffer key = lw_buffer_in(memory), value = key, batch = key;
    lw_topology_encode(&described, 1, &value);
    lw_record_meta_key(described.start, "shard", &key);
    lw_batch_put(&batch, lw_buffer_view(&key), lw_buffer_view(&value));
    LW_TRY(lattice_bound_tree(node, shard, &tree));
    LW_TRY(lw_tree_apply(tree, lw_tree_applied(tree) + 1, lw_buffer_view(&batch)));
    return lw_tree_flush(tree);
}

static inline lw_status lattice_format_parts(lattice_format *job) {
    LW_TRY(lattice_open_store(job->node));
    for (uint32_t index = 0; index < job->count; index++) {
        if (lattice_names(&job->shards[index], job->node->id)) {
            LW_TRY(lattice_make_tree(job->node, &job->shards[index]));
        }
    }
    lw_store_close(job->node->store);
    return LW_OK;
}

static inline void lattice_format_main(void *argument) {
    lattice_format *job = argument;
    job->node->opened = lattice_format_parts(job);
    job->node->done = true;
}

/* Makes the folders of all nodes, and boots those that hold something. */
static inline void lattice_bootstrap(lattice *in) {
    in->nodes[1].bootstrap = true;
    for (uint64_t id = 1; id <= LATTICE_NODES; id++) {
        lattice_boot(in, id);
    }
}

static inline void lattice_make(lattice *in, const lattice_shard *shards, uint32_t count) {
    for (uint64_t id = 1; id <= LATTICE_NODES; id++) {
        lattice_node *node = &in->nodes[id];
        lattice_format job = {.node = node, .shards = shards, .count = count};
        bool any = false;
        for (uint32_t index = 0; index < count; index++) {
            any |= lattice_names(&shards[index], id);
        }
        node->env = lw_host_boot(node->host);
        node->done = false;
        lw_env_start(node->env, "format", lattice_format_main, &job);
        while (!node->done && lw_world_step(in->world)) {
        }
        expect(in, node->done && node->opened == LW_OK, "a folder is made");
        lw_host_kill(node->host);
        if (any) {
            lattice_boot(in, id);
        }
    }
}

#endif
