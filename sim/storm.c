/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/storm.h"

#include "sim/run.h"

enum {
    FIVE_PERCENT = 35, /* of the runs have five nodes */
    STEPS_MAX = 4,     /* until a node that was struck loses power */
    COUNT_BITS = 7,    /* a place is passed up to so many times, as a power of two */
    LAG_MS_MAX = 3000, /* on a slow link */
    WRITE_NS = 200000, /* that a durable write takes */
    WRITES_MAX = 4,    /* until power is lost under one */
    YEARS_MAX = 10,    /* that a wall clock is off */
    STOPPED_PART = 2,  /* of the time some node may be stopped, */
    STOPPED_MS = 1000, /* and so long besides */
};

static const uint64_t timeouts_ms[] = {50, 100, 100, 200, 400, 1000};
static const uint32_t drifts_ppm[] = {2000, 2000, 20000, 100000};
static const uint32_t disk_factors[] = {1, 1, 5, 20};
static const uint32_t weights[] = {0, 1, 1, 3};
static const uint32_t percents[] = {0, 20, 40, 80};
static const uint64_t places[] = {1, 4, 16, 16, 64};

#define YEAR_MS             INT64_C(31557600000)
#define DRAW(chance, table) ((table)[lw_chance_below((chance), sizeof(table) / sizeof((table)[0]))])

/* Mostly about as long as leases are, at times much longer. */
static uint64_t draw_duration_ms(lw_sim_occasion *now) {
    uint64_t timeout_ms = now->of->storm.election_timeout_ms;
    uint64_t most = timeout_ms * (lw_chance_percent(&now->chance, 25) ? 12 : 4);
    return lw_chance_between(&now->chance, 1, most);
}

/* ---- what a node is struck with ------------------------------------------------------------- */

static void lose_power(lw_sim_occasion *now, lw_sim_member *node, lw_fault fault) {
    bool at_once = lw_chance_percent(&now->chance, 40), power = lw_chance_percent(&now->chance, 80);
    uint64_t steps = lw_chance_below(&now->chance, STEPS_MAX);
    lw_crash moment = (lw_crash)lw_chance_below(&now->chance, 3);
    if (!lw_sim_strikes(now, fault, "%s loses power", node->name)) {
        return;
    }
    if (at_once) {
        lw_sim_end_node(node, power);
    } else {
        lw_host_crash_after(node->host, steps, moment);
    }
}

/* Counts the time in which some node is stopped, up to the end of the stops that are under way. */
static void count_stops(lw_sim_trial *it) {
    lw_sim_storm *storm = &it->storm;
    uint64_t now_ns = lw_world_now(it->world);
    for (uint32_t index = 0; index < it->node_count; index++) {
        uint64_t until_ns = lw_host_paused_until(it->nodes[index].host);
        uint64_t from_ns = storm->counted_ns > now_ns ? storm->counted_ns : now_ns;
        if (until_ns > from_ns) {
            storm->stopped_ns += until_ns - from_ns;
            storm->counted_ns = until_ns;
        }
    }
}

/* Nodes could stop one after the other so that no majority ever runs for long: nobody promises to
 * get on there. So there are times without. */
static bool may_stop(lw_sim_trial *it, uint64_t duration_ms) {
    count_stops(it);
    uint64_t passed_ns = lw_world_now(it->world) - it->storm.begun_ns;
    uint64_t most_ns = passed_ns / STOPPED_PART + STOPPED_MS * LW_SIM_NS_PER_MS;
    return it->storm.stopped_ns + duration_ms * LW_SIM_NS_PER_MS <= most_ns;
}

static void pause_node(lw_sim_occasion *now, const lw_sim_member *node, lw_fault fault) {
    uint64_t duration_ms = draw_duration_ms(now);
    if (may_stop(now->of, duration_ms) &&
        lw_sim_strikes(now, fault, "%s stops for %u ms", node->name, (unsigned)duration_ms)) {
        lw_host_pause(node->host, duration_ms * LW_SIM_NS_PER_MS);
    }
}

/* From all others, or from most: in both directions, or in the same one. */
static void cut_off(lw_sim_occasion *now, const lw_sim_member *node, lw_fault fault) {
    lw_sim_trial *it = now->of;
    uint64_t way = lw_chance_below(&now->chance, 4);
    uint64_t spared = lw_chance_percent(&now->chance, 50) ? 0 : lw_chance_next(&now->chance);
    uint64_t duration_ms = draw_duration_ms(now);
    if (!lw_sim_strikes(now, fault, "%s is cut off for %u ms", node->name, (unsigned)duration_ms)) {
        return;
    }
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *other = &it->nodes[index];
        if (other == node || (spared >> 2 * index & 3) == 3) {
            continue;
        }
        if (way != 0) {
            lw_world_cut_one_way(it->world, node->host, other->host, true);
        }
        if (way != 1) {
            lw_world_cut_one_way(it->world, other->host, node->host, true);
        }
    }
    lw_sim_after(it, duration_ms, lw_sim_mend_network);
}

static void slow_links(lw_sim_occasion *now, const lw_sim_member *node, lw_fault fault) {
    lw_sim_trial *it = now->of;
    uint64_t way = lw_chance_below(&now->chance, 3);
    uint64_t most =
        lw_chance_percent(&now->chance, 70) ? it->storm.election_timeout_ms : LAG_MS_MAX;
    uint64_t duration_ms = 4 * draw_duration_ms(now);
    if (!lw_sim_strikes(now, fault, "%s has slow links for %u ms", node->name,
                        (unsigned)duration_ms)) {
        return;
    }
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *other = &it->nodes[index];
        uint64_t lag_ns = lw_chance_between(&now->chance, 1, most) * LW_SIM_NS_PER_MS;
        if (other == node) {
            continue;
        }
        if (way != 0) {
            lw_world_lag(it->world, node->host, other->host, lag_ns);
        }
        if (way != 1) {
            lw_world_lag(it->world, other->host, node->host, lag_ns);
        }
    }
    lw_sim_after(it, duration_ms, lw_sim_mend_network);
}

static void strike(lw_sim_occasion *now, lw_sim_member *node, lw_fault fault) {
    const lw_sim_storm *storm = &now->of->storm;
    uint64_t choice = lw_chance_below(&now->chance, (uint64_t)storm->powers + storm->pauses +
                                                        storm->lags + storm->cuts);
    if (!lw_host_running(node->host)) {
        return;
    }
    if (choice < storm->powers) {
        lose_power(now, node, fault);
    } else if (choice < (uint64_t)storm->powers + storm->pauses) {
        pause_node(now, node, fault);
    } else if (choice < (uint64_t)storm->powers + storm->pauses + storm->lags) {
        slow_links(now, node, fault);
    } else {
        cut_off(now, node, fault);
    }
}

/* ---- places --------------------------------------------------------------------------------- */

/* A node that is to pass a place. */
typedef struct ambush {
    lw_sim_occasion occasion;
    lw_sim_member *node;
    bool strikes; /* or has done so by having stopped */
    bool writes;  /* it loses power while a durable write is under way */
} ambush;

static void passed(void *argument) {
    ambush *self = argument;
    lw_sim_occasion *now = &self->occasion;
    if (!now->of->troubled || !self->strikes || !lw_host_running(self->node->host)) {
        return;
    }
    if (!self->writes) {
        strike(now, self->node, LW_FAULT_STRUCK);
    } else if (lw_sim_strikes(now, LW_FAULT_STRUCK, "%s loses power as it writes",
                              self->node->name)) {
        lw_sim_end_node(self->node, true);
    }
}

static void await_a_place(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_PLACES);
    lw_sim_strike_after(&now, it->storm.await_every_ms, await_a_place);
    lw_sim_member *node = lw_sim_draw_node(&now);
    lw_chance *chance = &now.chance;
    lw_passage awaited = {.places = DRAW(chance, places), .function = passed};
    awaited.choice = lw_chance_below(chance, awaited.places);
    awaited.count =
        lw_chance_between(chance, 1, UINT64_C(1) << lw_chance_below(chance, COUNT_BITS));
    bool stops = lw_chance_percent(chance, it->storm.stop_percent);
    bool strikes = lw_chance_percent(chance, 50) || !stops;
    uint64_t stop_ms = draw_duration_ms(&now);
    uint64_t delay_ns = lw_chance_below(chance, WRITE_NS) * it->storm.disk_factor;
    bool writes = lw_chance_percent(chance, it->storm.write_percent);
    bool votes = lw_chance_percent(chance, 30); /* ... of a vote */
    uint64_t few = lw_chance_between(chance, 1, WRITES_MAX);
    if (writes) {
        awaited.name = votes ? "group.votes" : LW_PLACE_DURABLE_WRITE;
        awaited.delay_ns = delay_ns;
        awaited.count = few;
    } else if (stops && may_stop(it, stop_ms) &&
               lw_sim_strikes(&now, LW_FAULT_STOPPED, "%s for %u ms", node->name,
                              (unsigned)stop_ms)) {
        awaited.stop_ns = stop_ms * LW_SIM_NS_PER_MS;
    }
    ambush *self = lw_arena_allocate(&it->storm_memory, sizeof(*self));
    *self = (ambush){.occasion = now, .node = node, .strikes = strikes || writes, .writes = writes};
    awaited.argument = self;
    lw_host_await(node->host, &awaited);
}

/* ---- hunts ---------------------------------------------------------------------------------- */

/* Who leads some shard, as far as was seen. */
static lw_sim_member *draw_leader(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    uint64_t choice = lw_chance_next(&now->chance);
    if (it->watch.shard_count > 0) {
        uint64_t leader = it->watch.shards[choice % it->watch.shard_count].leader;
        for (uint32_t place = 0; place < it->node_count; place++) {
            if (leader != 0 && it->nodes[place].id == leader) {
                return &it->nodes[place];
            }
        }
    }
    return lw_sim_draw_node(now);
}

static void hunt(void *argument) {
    lw_sim_trial *it = argument;
    if (it->troubled) {
        lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_HUNTS);
        lw_sim_strike_after(&now, it->storm.hunt_every_ms, hunt);
        strike(&now, draw_leader(&now), LW_FAULT_HUNTED);
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

uint32_t lw_sim_storm_nodes(const lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "storm nodes");
    return lw_chance_percent(&chance, FIVE_PERCENT) ? 5 : 3;
}

void lw_sim_storm_draw(lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "storm");
    it->storm.election_timeout_ms = DRAW(&chance, timeouts_ms);
    it->storm.drift_ppm = DRAW(&chance, drifts_ppm);
    if (lw_chance_percent(&chance, 25)) {
        it->storm.liar = (uint32_t)lw_chance_between(&chance, 1, it->node_count - 1);
    }
}

/* How often which of the ways to strike is taken: some never. */
static void draw_ways(lw_sim_storm *storm, lw_chance *chance) {
    storm->powers = DRAW(chance, weights);
    storm->pauses = DRAW(chance, weights);
    storm->lags = DRAW(chance, weights);
    storm->cuts = DRAW(chance, weights);
    if (storm->powers + storm->pauses + storm->lags + storm->cuts == 0) {
        storm->powers = storm->cuts = 1;
    }
    storm->stop_percent = DRAW(chance, percents);
    storm->write_percent = DRAW(chance, percents);
}

/* Nobody promises to get on in a storm that does not end: what is not set up by now is in peace. */
static void pass(void *argument) {
    lw_sim_trial *it = argument;
    if (it->client_count == 0) {
        lw_sim_end_trouble(it);
    }
}

void lw_sim_storm_begin(lw_sim_trial *it, lw_chance *chance) {
    lw_sim_storm *storm = &it->storm;
    lw_sim_after(it, LW_SIM_STORM_MS, pass);
    bool awaits = lw_chance_percent(chance, 80), hunts = lw_chance_percent(chance, 75);
    storm->begun_ns = lw_world_now(it->world);
    draw_ways(storm, chance);
    if (lw_chance_percent(chance, 60)) {
        it->operate_every_ms = 0;
    }
    /* What is not durable yet is much, when power is lost. */
    storm->disk_factor = DRAW(chance, disk_factors);
    for (uint32_t index = 0; index < it->node_count && storm->disk_factor > 1; index++) {
        const lw_sim_member *node = &it->nodes[index];
        if (lw_sim_allows(it, LW_FAULT_DISK_SLOW) &&
            lw_world_strike(it->world, LW_FAULT_DISK_SLOW, node->name, 1, "%u times",
                            storm->disk_factor)) {
            lw_host_slow_disk(node->host, storm->disk_factor);
        }
    }
    if (awaits) {
        storm->await_every_ms = (uint32_t)lw_chance_between(chance, 20, 400);
        await_a_place(it);
    }
    if (hunts) {
        storm->hunt_every_ms =
            (uint32_t)(storm->election_timeout_ms * lw_chance_between(chance, 2, 8));
        lw_sim_after(it, storm->hunt_every_ms, hunt);
    }
}

void lw_sim_storm_start(lw_sim_member *node, lw_chance *chance) {
    lw_sim_trial *it = node->of;
    int32_t most = (int32_t)it->storm.drift_ppm * 19 / 20;
    int32_t drift_ppm = most * ((int32_t)lw_chance_below(chance, 3) - 1);
    uint64_t years = lw_chance_between(chance, 1, YEARS_MAX);
    bool ahead = lw_chance_percent(chance, 50);
    if (it->storm.liar != 0 && node == &it->nodes[it->storm.liar] &&
        lw_sim_allows(it, LW_FAULT_WALL_WRONG) &&
        lw_world_strike(it->world, LW_FAULT_WALL_WRONG, node->name, node->boot + 1, "by %d years",
                        ahead ? (int)years : -(int)years)) {
        lw_host_jump_wall(node->host, (int64_t)years * (ahead ? YEAR_MS : -YEAR_MS));
    }
    if (drift_ppm != 0 && lw_sim_allows(it, LW_FAULT_CLOCK_FAST) &&
        lw_world_strike(it->world, LW_FAULT_CLOCK_FAST, node->name, node->boot + 1, "by %d ppm",
                        drift_ppm)) {
        lw_host_set_drift(node->host, drift_ppm);
    }
}
