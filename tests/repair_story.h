/* SPDX-License-Identifier: Apache-2.0 */
/* Shards on a few nodes whose replicas are damaged, or differ: what is written to them and read,
 * how bits flip in their tables, and how that is found. */
#ifndef LW_TESTS_REPAIR_STORY_H
#define LW_TESTS_REPAIR_STORY_H

#include "tests/shard_operators.h"

enum { KEYS = 60 };

static inline const char *key_of(lattice *in, int index) {
    char *key = lw_arena_allocate(&in->arena, 16);
    (void)snprintf(key, 16, "k%03d", index);
    return key;
}

/* So many that tables have several blocks: text that does not compress well. */
static inline const char *value_of(lattice *in, int index, const char *word) {
    char *value = lw_arena_allocate(&in->arena, 512);
    uint64_t chance = (uint64_t)index + 1;
    size_t size = (size_t)snprintf(value, 512, "%s ", word);
    while (size < 500) {
        value[size++] = (char)('!' + unit_random_below(&chance, 90));
    }
    value[size] = 0;
    return value;
}

static inline void write_some(lattice *in, int from, int count, const char *value) {
    for (int index = from; index < from + count; index++) {
        lattice_write(in, key_of(in, index), value_of(in, index, value));
    }
}

static inline void reads_all(lattice *in, int from, int count, const char *value) {
    for (int index = from; index < from + count; index++) {
        expect_text(in, lattice_read(in, key_of(in, index)), value_of(in, index, value),
                    "what was written is read");
    }
}

/* One shard, on the first so many nodes. */
static inline void make_on(lattice *in, uint32_t count) {
    static const lattice_shard shards[] = {
        {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1}},
        {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2}},
        {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2, 3}}};
    lattice_make(in, &shards[count - 1], 1);
}

/* With all keys. */
static inline void make_written(lattice *in, uint32_t count) {
    make_on(in, count);
    write_some(in, 0, KEYS, "old");
}

/* Two shards with all keys, that rest. */
static inline void make_two_shards(lattice *in) {
    static const lattice_shard shards[] = {
        {.id = LW_ROOT_SHARD, .start = "", .end = "k030", .nodes = {1, 2, 3}},
        {.id = 7, .start = "k030", .end = "", .nodes = {1, 2, 3}}};
    lattice_make(in, shards, 2);
    write_some(in, 0, KEYS, "old");
    lattice_pass_ms(in, 5000);
}

static inline void change_members(lattice *in, lw_change_replicas_request request) {
    expect(in, change(in, "", &request) == LW_OK, "the members change");
}

static inline bool have_it_lead(lattice *in, uint64_t node) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_transfer_request_encode(&(lw_transfer_request){.node = node}, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_TRANSFER, "", &body);
    lw_buffer_reset(&body);
    return ask->done && ask->status == LW_OK;
}

/* ---- what has happened ----------------------------------------------------------------------- */

static inline uint64_t marked(const lattice *in, const char *mark) {
    return lw_world_marked(in->world, mark);
}

/* Until something has happened so often, or too much time has passed. */
static inline void until_marked(lattice *in, const char *mark, uint64_t count) {
    uint64_t until_ns = lw_world_now(in->world) + 40000 * LATTICE_MS;
    while (marked(in, mark) < count && lw_world_now(in->world) < until_ns &&
           lw_world_step(in->world)) {
    }
    expect(in, marked(in, mark) >= count, mark);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static inline void flush_main(void *argument) {
    lattice_node *node = argument;
    lw_status status = lw_tree_flush(lw_store_tree(node->store, LW_ROOT_SHARD));
    expect(node->in, status == LW_OK, "it is flushed");
    node->done = true;
}

static inline void compact_main(void *argument) {
    lattice_node *node = argument;
    lw_tree *tree = lw_store_tree(node->store, LW_ROOT_SHARD);
    (void)!lw_tree_compact(tree);
    node->done = true;
}

/* Returns whether it flipped something. */
typedef bool flip_table(lw_disk *disk, const char *path, size_t size);

/* How many tables of a node were flipped. What has just come has a second name elsewhere, by which
 * it would be flipped back. */
static inline uint32_t flip_tables(lattice *in, uint64_t id, flip_table *table) {
    lw_disk *disk = lw_host_disk(in->nodes[id].host);
    lw_buffer paths = lw_buffer_in(in->memory);
    lw_disk_paths(disk, LW_DISK_VOLATILE, &paths);
    uint32_t count = 0;
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *path = (const char *)paths.data + at;
        if (strncmp(path, "data/sst/", 9) == 0) {
            lw_buffer bytes = lw_buffer_in(in->memory);
            (void)lw_disk_contents(disk, LW_DISK_VOLATILE, path, &bytes);
            count += table(disk, path, bytes.size);
        }
    }
    return count;
}

/* Small is one with hardly more than the descriptor, which is read at a start. */
static inline bool flip_middle(lw_disk *disk, const char *path, size_t size) {
    if (size >= 4096) {
        lw_disk_flip(disk, path, size / 2 * UINT64_C(8));
    }
    return size >= 4096;
}

/* A block in the middle of every table of a node. */
static inline void flip(lattice *in, uint64_t id) {
    expect(in, flip_tables(in, id, flip_middle) > 0, "there are tables");
}

static inline bool flip_all_over(lw_disk *disk, const char *path, size_t size) {
    for (size_t offset = 0; offset < size; offset += 40) {
        lw_disk_flip(disk, path, 8 * offset);
    }
    return true;
}

/* Something in every block of every table of a node. */
static inline void rot_all(lattice *in, uint64_t id) {
    (void)flip_tables(in, id, flip_all_over);
}

static inline void make_damaged_follower(lattice *in, uint64_t *damaged) {
    make_written(in, 3);
    *damaged = next_of(lattice_leader(in, lw_text("")));
    lattice_pass_ms(in, 1000);
    lattice_run(&in->nodes[*damaged], flush_main);
    flip(in, *damaged);
}

static inline void damage_both(lattice *in, uint64_t one, uint64_t other) {
    lattice_pass_ms(in, 1000);
    lattice_run(&in->nodes[one], flush_main);
    lattice_run(&in->nodes[other], flush_main);
    flip(in, one);
    flip(in, other);
}

/* At the same moment: the group goes on with the votes of both. */
static inline void find_both(lattice *in, uint64_t one, uint64_t other) {
    in->nodes[one].done = in->nodes[other].done = false;
    lw_env_start(in->nodes[one].env, "bench", compact_main, &in->nodes[one]);
    lw_env_start(in->nodes[other].env, "bench", compact_main, &in->nodes[other]);
    until_marked(in, "shards.damage_found", 2);
}

#endif
