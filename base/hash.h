/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums, hashes, and tables of what is hashed. crc32c guards everything on disk (Castagnoli
 * polynomial, through ISA-L with its own dispatch); xxh3 spreads keys over filters and hash tables
 * and is never on its own a reason to believe bytes that an adversary wrote. */
#ifndef LW_HASH_H
#define LW_HASH_H

#include "base/bytes.h"

/* CRC-32C of `bytes`, continued from `seed` (0 to begin). Standard: "123456789" → e3069283. */
uint32_t lw_crc32c(uint32_t seed, lw_bytes bytes);
/* 64-bit XXH3 with a seed. Stable across versions and machines: it is stored in filters. */
uint64_t lw_hash(uint64_t seed, lw_bytes bytes);
/* A fast permutation of 64 bits, for combining numbers. */
uint64_t lw_mix(uint64_t value);

/* ---- hash tables ------------------------------------------------------------------------------
 *
 * Intrusive: the member lw_map_node lives in the caller's struct, which owns the memory; the table
 * owns only its buckets. Iteration follows no order anyone may rely on, so nothing whose order
 * reaches disk, wire or a decision is iterated from here (hazard R17). */

typedef struct lw_map_node {
    struct lw_map_node *next;
    uint64_t hash;
} lw_map_node;

typedef struct lw_map {
    lw_memory *memory;
    lw_map_node **buckets;
    uint32_t bucket_count; /* a power of two, or 0 before the first insert */
    uint32_t count;
} lw_map;

static inline lw_map lw_map_in(lw_memory *memory) {
    return (lw_map){.memory = memory};
}
/* Frees the buckets; the nodes stay the caller's. */
static inline void lw_map_reset(lw_map *map) {
    lw_free(map->memory, map->buckets);
    *map = lw_map_in(map->memory);
}
/* The first node of this hash, or NULL; walk on with lw_map_next while keys differ. */
static inline lw_map_node *lw_map_first(const lw_map *map, uint64_t hash) {
    if (map->bucket_count == 0) {
        return NULL;
    }
    lw_map_node *node = map->buckets[hash & (map->bucket_count - 1)];
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}
static inline lw_map_node *lw_map_next(const lw_map_node *node) {
    uint64_t hash = node->hash;
    lw_map_node *next = node->next;
    while (next != NULL && next->hash != hash) {
        next = next->next;
    }
    return next;
}
static inline void lw_map_grow(lw_map *map) {
    uint32_t bucket_count = map->bucket_count == 0 ? 16 : map->bucket_count * 2;
    lw_map_node **buckets = lw_allocate_zero(map->memory, bucket_count * sizeof(lw_map_node *));
    for (uint32_t index = 0; index < map->bucket_count; index++) {
        lw_map_node *node = map->buckets[index];
        while (node != NULL) {
            lw_map_node *next = node->next;
            lw_map_node **bucket = &buckets[node->hash & (bucket_count - 1)];
            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    lw_free(map->memory, map->buckets);
    map->buckets = buckets;
    map->bucket_count = bucket_count;
}
/* Adds a node that is not in the table. Equal keys are the caller's to avoid. */
static inline void lw_map_insert(lw_map *map, lw_map_node *node, uint64_t hash) {
    if (map->count >= map->bucket_count) {
        lw_map_grow(map);
    }
    lw_map_node **bucket = &map->buckets[hash & (map->bucket_count - 1)];
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    map->count++;
}
/* Takes out a node that is in the table. */
static inline void lw_map_remove(lw_map *map, lw_map_node *node) {
    lw_map_node **link = &map->buckets[node->hash & (map->bucket_count - 1)];
    while (*link != node) {
        LW_ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    map->count--;
}
/* The struct that holds `node`. */
#define LW_MAP_ENTRY(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

#endif
