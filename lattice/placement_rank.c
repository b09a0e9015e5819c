/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "lattice/placement_private.h"

enum {
    WEIGHT_MAX = 1 << 20,
    WEIGHT_USUAL = 1024, /* GiB: of a node that does not say */
    FRACTION_BITS = 20,  /* of logarithms */
    COST_SHIFT = 30,
};

/* ---- rendezvous ---------------------------------------------------------------------------------
 */

/* -log2(value / 2^64) in units of 2^-FRACTION_BITS; value is not 0. Whole numbers, so that every
 * machine ranks alike. */
static uint64_t minus_log2(uint64_t value) {
    int shift = __builtin_clzll(value);
    uint64_t fraction = 0;
    uint64_t mantissa = value << shift; /* 1.x with 63 bits behind the point */
    for (int bit = 0; bit < FRACTION_BITS; bit++) {
        mantissa >>= 32; /* 1.x with 31 bits behind the point */
        mantissa *= mantissa;
        fraction <<= 1;
        if (mantissa >> 63 != 0) {
            fraction |= 1;
        } else {
            mantissa <<= 1;
        }
    }
    return ((uint64_t)(shift + 1) << FRACTION_BITS) - fraction;
}

uint64_t placement_weight(const lw_placement_node *node) {
    uint64_t size = node->capacity >> 30;
    if (node->capacity == 0) {
        return WEIGHT_USUAL;
    }
    return size == 0 ? 1 : size > WEIGHT_MAX ? WEIGHT_MAX : size;
}

/* The lower the better. Without weights the order of logarithms is that of the numbers. */
static uint64_t cost(const lw_placement_view *view, uint64_t shard, const lw_placement_node *node) {
    uint64_t chance = lw_mix(shard ^ lw_mix(node->node));
    if (!view->weighted) {
        return ~chance;
    }
    return (minus_log2(chance == 0 ? 1 : chance) << COST_SHIFT) / placement_weight(node);
}

/* ---- what is wanted -----------------------------------------------------------------------------
 */

static bool among(const uint64_t *nodes, uint32_t count, uint64_t node) {
    for (uint32_t index = 0; index < count; index++) {
        if (nodes[index] == node) {
            return true;
        }
    }
    return false;
}

static bool full(const lw_placement_view *view, const lw_placement_node *node) {
    return node->loaded && node->capacity != 0 &&
           node->load.bytes / 100 >= node->capacity / 10000 * view->options.full_percent;
}

/* How many of those picked are in the zone of `node`. */
static uint32_t zone_count(const lw_placement_view *view, const placement_wanted *picked,
                           const lw_placement_node *node) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < picked->count; index++) {
        count += lw_equal(placement_node(view, picked->nodes[index])->zone, node->zone);
    }
    return count;
}

static uint32_t target_of(const lw_placement_view *view, const uint64_t *voters,
                          uint32_t voter_count) {
    uint32_t live = 0, kept = 0;
    for (uint32_t index = 0; index < view->count; index++) {
        live += view->nodes[index].state == LW_MEMBER_UP && !view->nodes[index].dead;
    }
    for (uint32_t index = 0; index < voter_count; index++) {
        const lw_placement_node *node = placement_node(view, voters[index]);
        kept += node != NULL && node->state <= LW_MEMBER_UP;
    }
    uint32_t possible = live > kept ? live : kept;
    uint32_t target = possible < view->options.voters ? possible : view->options.voters;
    return target == 0 ? 1 : target - (target % 2 == 0);
}

/* The best of those that are left: of the zone that is used least, the one of the lowest cost. */
static const lw_placement_node *pick(const lw_placement_view *view, uint64_t shard,
                                     const uint64_t *voters, uint32_t voter_count,
                                     const placement_wanted *picked) {
    const lw_placement_node *best = NULL;
    uint32_t best_zone = 0;
    uint64_t best_cost = 0;
    for (uint32_t index = 0; index < view->count; index++) {
        const lw_placement_node *node = &view->nodes[index];
        if (node->state != LW_MEMBER_UP || node->dead ||
            among(picked->nodes, picked->count, node->node) ||
            (full(view, node) && !among(voters, voter_count, node->node))) {
            continue;
        }
        uint32_t zone = zone_count(view, picked, node);
        if (best != NULL && zone > best_zone) {
            continue;
        }
        uint64_t its_cost = cost(view, shard, node);
        if (best == NULL || zone < best_zone || its_cost < best_cost) {
            best = node;
            best_zone = zone;
            best_cost = its_cost;
        }
    }
    return best;
}

void placement_want(const lw_placement_view *view, uint64_t shard, const uint64_t *voters,
                    uint32_t voter_count, placement_wanted *wanted) {
    *wanted = (placement_wanted){.target = target_of(view, voters, voter_count)};
    while (wanted->count < wanted->target) {
        const lw_placement_node *node = pick(view, shard, voters, voter_count, wanted);
        if (node == NULL) {
            return;
        }
        wanted->nodes[wanted->count++] = node->node;
    }
}

/* ---- leaders ------------------------------------------------------------------------------------
 */

enum {
    SHARE = 1000,      /* what the whole lattice leads, and does, for each node */
    RATE_MIN = 200,    /* requests a second and node: below, rates are noise */
    RATE_MARGIN = 250, /* of SHARE: rates are not exact */
    UNEVEN_PART = 4,   /* of the average: by so much less than one that has not too much */
};

typedef struct totals {
    uint64_t nodes, leaders, rate;
} totals;

static uint64_t rate_of(const lw_placement_node *node) {
    return node->load.reads + node->load.writes;
}

static bool counts(const lw_placement_node *node) {
    return node->state == LW_MEMBER_UP && node->linked && node->loaded;
}

static totals total(const lw_placement_view *view) {
    totals sum = {0};
    for (uint32_t index = 0; index < view->count; index++) {
        const lw_placement_node *node = &view->nodes[index];
        if (counts(node)) {
            sum.nodes++;
            sum.leaders += node->load.leaders;
            sum.rate += rate_of(node);
        }
    }
    return sum;
}

static bool rates_count(const totals *sum) {
    return sum->rate > 0 && sum->rate >= RATE_MIN * sum->nodes;
}

/* What so many leaders and requests weigh: SHARE for each of the two is the average of a node. */
static uint64_t weigh(const totals *sum, uint64_t leaders, uint64_t rate) {
    uint64_t weighed = sum->leaders == 0 ? 0 : leaders * SHARE * sum->nodes / sum->leaders;
    if (rates_count(sum)) {
        weighed += rate * SHARE * sum->nodes / sum->rate;
    }
    return weighed;
}

/* Leaders beyond the average. */
static uint64_t excess_of(const lw_placement_node *node, uint64_t average) {
    bool over = counts(node) && node->load.leaders > average;
    return over ? node->load.leaders - average : 0;
}

/* Of those that could give to one, who is to do it first: all that heard the same draw alike. */
static uint64_t lot(const lw_placement_node *to, uint64_t giver) {
    return lw_mix(giver ^ lw_mix(to->node ^ lw_mix(to->round)));
}

/* How many of those that could give are to do it before this node. */
static uint64_t before_self(const lw_placement_view *view, const lw_placement_node *to,
                            uint64_t least) {
    uint64_t own = lot(to, view->options.self), count = 0;
    for (uint32_t index = 0; index < view->count; index++) {
        const lw_placement_node *node = &view->nodes[index];
        count += counts(node) && node->load.leaders > least && lot(to, node->node) < own;
    }
    return count;
}

/* All that lead more than the average may be giving to one that leads less: each gives as much of
 * what it lacks as it has of what is too much. If that is less than one, or there is nobody who
 * leads too much, so many as it lacks give one, by lot. */
static bool may_give(const lw_placement_view *view, const totals *sum,
                     const lw_placement_node *self, const lw_placement_node *to) {
    uint64_t has = to->load.leaders - to->given, too_much = 0;
    uint64_t average = (sum->leaders + sum->nodes - 1) / sum->nodes;
    uint64_t lacks = average > has ? average - has : 1;
    for (uint32_t index = 0; index < view->count; index++) {
        too_much += excess_of(&view->nodes[index], average);
    }
    uint64_t part = too_much == 0 ? 0 : lacks * excess_of(self, average) / too_much;
    uint64_t least = too_much == 0 ? has + 1 : average;
    return to->given < part || (to->given == 0 && before_self(view, to, least) < lacks);
}

/* By how much another one must weigh less: nothing, if this one has too much, and rates, which are
 * not exact, count for nothing. */
static uint64_t margin_of(const totals *sum, uint64_t mine) {
    bool rated = rates_count(sum);
    uint64_t average = rated ? 2 * SHARE : SHARE, margin = rated ? RATE_MARGIN : 0;
    return mine <= average && margin < average / UNEVEN_PART ? average / UNEVEN_PART : margin;
}

uint64_t placement_leader(const lw_placement_view *view, uint64_t shard_rate,
                          const uint64_t *eligible, uint32_t count) {
    const lw_placement_node *self = placement_node(view, view->options.self);
    totals sum = total(view);
    if (self == NULL || !counts(self)) {
        return 0;
    }
    uint64_t mine = weigh(&sum, self->load.leaders, rate_of(self));
    uint64_t enough = 2 * weigh(&sum, 1, shard_rate) + margin_of(&sum, mine);
    uint64_t best = 0, best_weighs = 0;
    for (uint32_t index = 0; index < count; index++) {
        const lw_placement_node *node = placement_node(view, eligible[index]);
        if (node == NULL || node == self || !counts(node)) {
            continue;
        }
        uint64_t weighs = weigh(&sum, node->load.leaders, rate_of(node));
        bool nearer = mine >= weighs + enough;
        if (nearer && (best == 0 || weighs < best_weighs) && may_give(view, &sum, self, node)) {
            best = node->node;
            best_weighs = weighs;
        }
    }
    return best;
}
