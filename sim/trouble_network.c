/* SPDX-License-Identifier: Apache-2.0 */
/* Machines are cut off from others, and links are thin; brokers stop, hang, and do not hear. */
#include "sim/bus.h"
#include "sim/trouble_private.h"

enum {
    BUS_HANGS_MS_MAX = 25000, /* often longer than gossip counts */
    THIN_KB_MIN = 3,          /* that get through a second, where little does */
    THIN_KB_MAX = 200,
};

static void clamp_between(lw_sim_trial *it, const lw_host *one, const lw_host *other,
                          uint64_t bytes_per_second) {
    lw_world_clamp(it->world, one, other, bytes_per_second);
    lw_world_clamp(it->world, other, one, bytes_per_second);
}

void lw_sim_mend_network(void *argument) {
    lw_sim_trial *it = argument;
    for (uint32_t place = 0; place < it->node_count; place++) {
        lw_host *host = it->nodes[place].host;
        for (uint32_t index = 0; index < it->client_count; index++) {
            lw_world_cut(it->world, host, it->client_hosts[index], false);
            clamp_between(it, host, it->client_hosts[index], 0);
        }
        for (uint32_t index = 0; index < place; index++) {
            lw_world_cut(it->world, host, it->nodes[index].host, false);
            lw_world_lag(it->world, host, it->nodes[index].host, 0);
            lw_world_lag(it->world, it->nodes[index].host, host, 0);
            clamp_between(it, host, it->nodes[index].host, 0);
            lw_sim_bus_cut(it->world, host, it->nodes[index].host, false);
        }
        if (it->node_count > 1) {
            lw_sim_bus_stop(it->world, host, false);
        }
    }
}

static void cut_between(lw_sim_trial *it, uint64_t ways, const lw_host *one, const lw_host *other) {
    switch (ways) {
    case 0:
        lw_world_cut(it->world, one, other, true);
        break;
    case 1:
        lw_world_cut_one_way(it->world, one, other, true);
        break;
    default:
        lw_world_cut_one_way(it->world, other, one, true);
    }
}

/* The bus alone: a broker stops, or does not hear others. */
static void strike_bus(lw_sim_occasion *now) {
    lw_world *world = now->of->world;
    const lw_sim_member *one = lw_sim_draw_node(now), *other = lw_sim_draw_node(now);
    bool hangs = trouble_percent(now, 40);
    uint64_t hangs_ms = lw_chance_between(&now->chance, 1000, BUS_HANGS_MS_MAX);
    if (hangs) {
        if (lw_sim_strikes(now, LW_FAULT_CUT_BUS, "the broker of %s hangs for %u ms", one->name,
                           (unsigned)hangs_ms)) {
            lw_sim_bus_hold(world, one->host, hangs_ms * LW_SIM_NS_PER_MS);
        }
    } else if (one == other) {
        if (lw_sim_strikes(now, LW_FAULT_CUT_BUS, "the broker of %s stops", one->name)) {
            lw_sim_bus_stop(world, one->host, true);
        }
    } else if (lw_sim_strikes(now, LW_FAULT_CUT_BUS, "from %s to %s", one->name, other->name)) {
        lw_sim_bus_cut_one_way(world, one->host, other->host, true);
    }
}

/* A node loses some or all of the others. */
static void cut_node_off(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    const lw_sim_member *lonely = lw_sim_draw_node(now);
    bool all = trouble_percent(now, 50);
    if (!lw_sim_strikes(now, LW_FAULT_CUT, "%s from %s of the others", lonely->name,
                        all ? "all" : "some")) {
        return;
    }
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *other = &it->nodes[index];
        bool chosen = trouble_percent(now, 50) || all;
        uint64_t ways = trouble_below(now, 3);
        if (other != lonely && chosen) {
            cut_between(it, ways, lonely->host, other->host);
        }
    }
}

static void cut_client_off(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    const lw_host *client = it->client_hosts[trouble_below(now, it->client_count)];
    const lw_sim_member *node = lw_sim_draw_node(now);
    static const char *const words[] = {"and", "to", "from"};
    uint64_t ways = trouble_below(now, 3);
    if (lw_sim_strikes(now, LW_FAULT_CUT, "%s %s %s", node->name, words[ways],
                       lw_host_name(client))) {
        cut_between(it, ways, node->host, client);
    }
}

/* Something is on the way between two machines that takes most of the room. */
static void make_link_thin(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    const lw_sim_member *one = lw_sim_draw_node(now), *other = lw_sim_draw_node(now);
    const lw_host *client = it->client_hosts[trouble_below(now, it->client_count)];
    const lw_host *far = one == other ? client : other->host;
    uint64_t kilobytes = lw_chance_between(&now->chance, THIN_KB_MIN, THIN_KB_MAX);
    if (lw_sim_strikes(now, LW_FAULT_LINK_THIN, "%s and %s, %u KB a second", one->name,
                       lw_host_name(far), (unsigned)kilobytes)) {
        clamp_between(it, one->host, far, kilobytes * 1024);
    }
}

void trouble_cut_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_CUTS);
    lw_sim_strike_after(&now, it->options->scenario->cut_every_ms, trouble_cut_something);
    uint64_t mended_ms = lw_chance_between(&now.chance, 1, 5000);
    bool bus = trouble_percent(&now, 30), nodes = trouble_percent(&now, 60);
    bool thin = trouble_percent(&now, 15);
    if (it->client_count == 0 && it->bare == NULL) {
        return;
    }
    if (it->bare != NULL) {
        cut_node_off(&now);
    } else if (thin) {
        make_link_thin(&now);
    } else if (it->node_count > 1 && bus) {
        strike_bus(&now);
    } else if (it->node_count > 1 && nodes) {
        cut_node_off(&now);
    } else {
        cut_client_off(&now);
    }
    lw_sim_after(it, mended_ms, lw_sim_mend_network);
}
