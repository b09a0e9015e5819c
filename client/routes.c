/* SPDX-License-Identifier: Apache-2.0 */
#include "client/routes.h"

static void free_bytes(lw_memory *memory, lw_bytes bytes) {
    lw_free(memory, (void *)(uintptr_t)bytes.data);
}

static void free_shard(lw_routes *routes, const lw_shard_descriptor *shard) {
    free_bytes(routes->memory, shard->start);
    free_bytes(routes->memory, shard->end);
    free_bytes(routes->memory, shard->leader_address);
}

void lw_routes_reset(lw_routes *routes) {
    for (uint32_t index = 0; index < routes->count; index++) {
        free_shard(routes, &routes->shards[index]);
    }
    lw_free(routes->memory, routes->shards);
    *routes = lw_routes_in(routes->memory);
}

/* ---- finding -------------------------------------------------------------------------------- */

/* How many shards start at or below `key`. */
static uint32_t starting_up_to(const lw_routes *routes, lw_bytes key) {
    uint32_t low = 0, high = routes->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lw_compare(routes->shards[middle].start, key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const lw_shard_descriptor *lw_routes_find(const lw_routes *routes, lw_bytes key) {
    uint32_t count = starting_up_to(routes, key);
    if (count == 0 || !lw_shard_holds(&routes->shards[count - 1], key)) {
        return NULL;
    }
    return &routes->shards[count - 1];
}

const lw_shard_descriptor *lw_routes_find_before(const lw_routes *routes, lw_bytes bound) {
    uint32_t count = bound.size == 0 ? routes->count : starting_up_to(routes, bound);
    if (count > 0 && bound.size > 0 && lw_equal(routes->shards[count - 1].start, bound)) {
        count--;
    }
    if (count == 0) {
        return NULL;
    }
    const lw_shard_descriptor *found = &routes->shards[count - 1];
    bool reaches = found->end.size == 0 || (bound.size > 0 && lw_compare(bound, found->end) <= 0);
    return reaches ? found : NULL;
}

/* ---- learning ------------------------------------------------------------------------------- */

static bool newer(lw_epoch a, lw_epoch b) {
    return a.range_version > b.range_version ||
           (a.range_version == b.range_version && a.config_version > b.config_version);
}

static bool begins_below(lw_bytes start, lw_bytes end) {
    return end.size == 0 || lw_compare(start, end) < 0;
}

static void take_out(lw_routes *routes, uint32_t first, uint32_t count) {
    for (uint32_t index = first; index < first + count; index++) {
        free_shard(routes, &routes->shards[index]);
    }
    uint32_t behind = routes->count - first - count;
    if (behind == 0 || count == 0) {
        routes->count -= count;
        return; /* nothing moves; there may be no array at all */
    }
    memmove(&routes->shards[first], &routes->shards[first + count],
            behind * sizeof(*routes->shards));
    routes->count -= count;
}

static void put_in(lw_routes *routes, uint32_t place, const lw_shard_descriptor *shard) {
    if (routes->count == routes->capacity) {
        routes->capacity = routes->capacity == 0 ? 4 : routes->capacity * 2;
        routes->shards = lw_reallocate(routes->memory, routes->shards,
                                       routes->capacity * sizeof(*routes->shards));
    }
    memmove(&routes->shards[place + 1], &routes->shards[place],
            (routes->count - place) * sizeof(*routes->shards));
    lw_shard_descriptor *made = &routes->shards[place];
    *made = *shard;
    made->start = lw_copy(routes->memory, shard->start);
    made->end = lw_copy(routes->memory, shard->end);
    made->leader_address = lw_copy(routes->memory, shard->leader_address);
    routes->count++;
}

bool lw_routes_learn(lw_routes *routes, const lw_shard_descriptor *shard) {
    uint32_t first = starting_up_to(routes, shard->start);
    if (first > 0 && begins_below(shard->start, routes->shards[first - 1].end)) {
        first--;
    }
    uint32_t overlapping = 0;
    while (first + overlapping < routes->count &&
           begins_below(routes->shards[first + overlapping].start, shard->end)) {
        if (!newer(shard->epoch, routes->shards[first + overlapping].epoch)) {
            return false;
        }
        overlapping++;
    }
    take_out(routes, first, overlapping);
    put_in(routes, first, shard);
    routes->changes++;
    return true;
}

bool lw_routes_learn_all(lw_routes *routes, lw_bytes topology) {
    lw_reader reader;
    uint32_t count = 0;
    bool news = false;
    if (lw_topology_open(topology, &reader, &count) != LW_OK) {
        return false;
    }
    for (uint32_t index = 0; index < count; index++) {
        lw_shard_descriptor shard;
        if (lw_topology_next(&reader, &shard) != LW_OK) {
            break;
        }
        news |= lw_routes_learn(routes, &shard);
    }
    return news;
}

/* ---- leaders -------------------------------------------------------------------------------- */

static void set_leader(lw_routes *routes, lw_shard_descriptor *shard, uint64_t leader,
                       lw_bytes address) {
    if (shard->leader != leader || !lw_equal(shard->leader_address, address)) {
        lw_bytes copy = lw_copy(routes->memory, address);
        free_bytes(routes->memory, shard->leader_address);
        shard->leader = leader;
        shard->leader_address = copy;
    }
}

void lw_routes_lead(lw_routes *routes, lw_bytes key, uint64_t leader, lw_bytes address) {
    uint32_t count = starting_up_to(routes, key);
    if (count > 0 && lw_shard_holds(&routes->shards[count - 1], key)) {
        set_leader(routes, &routes->shards[count - 1], leader, address);
    }
}

void lw_routes_learn_leaders(lw_routes *routes, lw_bytes topology) {
    lw_reader reader;
    uint32_t count = 0;
    if (lw_topology_open(topology, &reader, &count) != LW_OK) {
        return;
    }
    for (uint32_t index = 0; index < count; index++) {
        lw_shard_descriptor told;
        if (lw_topology_next(&reader, &told) != LW_OK) {
            break;
        }
        uint32_t place = starting_up_to(routes, told.start);
        lw_shard_descriptor *known = place == 0 ? NULL : &routes->shards[place - 1];
        if (known != NULL && known->id == told.id && !lw_shard_led(known) &&
            !newer(known->epoch, told.epoch) && !newer(told.epoch, known->epoch)) {
            set_leader(routes, known, told.leader, told.leader_address);
        }
    }
}

void lw_routes_forget(lw_routes *routes, lw_bytes key) {
    const lw_shard_descriptor *found = lw_routes_find(routes, key);
    if (found != NULL) {
        take_out(routes, (uint32_t)(found - routes->shards), 1);
        routes->changes++;
    }
}
