/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes and clients end, and pause. */
#include "sim/trouble_private.h"
#include "sim/user.h"

enum { OUTAGE_PERCENT = 8 };

const char *const trouble_moments[] = {
    [LW_CRASH_BEFORE] = "before", [LW_CRASH_WITHIN] = "within", [LW_CRASH_AFTER] = "after"};

static void crash_client(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    if (it->client_count == 0) {
        return; /* they come once the bank is filled */
    }
    uint32_t index = (uint32_t)trouble_below(now, it->client_count);
    lw_host *host = it->client_hosts[index];
    bool killed = trouble_percent(now, 50);
    if (lw_host_running(host) && lw_user_mortal(it, index) &&
        lw_sim_strikes(now, LW_FAULT_CRASH_CLIENT, "%s %s", lw_host_name(host),
                       killed ? "is killed" : "loses power")) {
        it->workload.running--;
        (killed ? lw_host_kill : lw_host_crash)(host);
    }
}

void lw_sim_lose_client(lw_sim_trial *it, lw_host *host) {
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_DEPARTURES);
    uint64_t steps = trouble_below(&now, 60);
    lw_crash moment = (lw_crash)trouble_below(&now, 3);
    if (lw_host_running(host) &&
        lw_sim_strikes(&now, LW_FAULT_CRASH_CLIENT, "%s loses power %s step %u from now",
                       lw_host_name(host), trouble_moments[moment], (unsigned)steps)) {
        lw_host_crash_after(host, steps, moment);
    }
}

/* Of all nodes at once: nobody remembers what was not on a disk. */
static void lose_power(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    if (lw_sim_strikes(now, LW_FAULT_OUTAGE, "all nodes lose power")) {
        for (uint32_t index = 0; index < it->node_count; index++) {
            lw_sim_end_node(&it->nodes[index], true);
        }
    }
}

static void end_node(lw_sim_occasion *now, bool power_loss) {
    lw_sim_member *node = lw_sim_draw_node(now);
    if (lw_sim_strikes(now, LW_FAULT_CRASH, "%s %s", node->name,
                       power_loss ? "loses power" : "is killed")) {
        lw_sim_end_node(node, power_loss);
    }
}

static void crash_at_step(lw_sim_occasion *now) {
    const lw_sim_member *node = lw_sim_draw_node(now);
    uint64_t steps = trouble_below(now, 60);
    lw_crash moment = (lw_crash)trouble_below(now, 3);
    if (lw_host_running(node->host) &&
        lw_sim_strikes(now, LW_FAULT_CRASH, "%s loses power %s step %u from now", node->name,
                       trouble_moments[moment], (unsigned)steps)) {
        lw_host_crash_after(node->host, steps, moment);
    }
}

void trouble_crash_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_CRASHES);
    lw_sim_strike_after(&now, it->options->scenario->crash_every_ms, trouble_crash_something);
    uint64_t choice = trouble_below(&now, 10);
    if (it->options->scenario->outage && trouble_percent(&now, OUTAGE_PERCENT)) {
        lose_power(&now);
    } else if (choice < 2) {
        crash_client(&now);
    } else if (choice < 5) {
        end_node(&now, choice == 4);
    } else {
        crash_at_step(&now);
    }
}

/* A node that comes to itself is often ended by its first steps: what it did in between without
 * waiting for the disk is lost. */
static void pause_node(lw_sim_occasion *now, uint64_t duration_ms) {
    lw_sim_member *node = lw_sim_draw_node(now);
    bool crashes = trouble_percent(now, 70);
    uint64_t steps = trouble_below(now, TROUBLE_FIRST_STEPS);
    lw_crash moment = (lw_crash)trouble_below(now, 3);
    if (!lw_host_running(node->host) ||
        !lw_sim_strikes(now, LW_FAULT_PAUSE, "%s for %u ms", node->name, (unsigned)duration_ms)) {
        return;
    }
    lw_host_pause(node->host, duration_ms * LW_SIM_NS_PER_MS);
    if (crashes &&
        lw_sim_strikes(now, LW_FAULT_CRASH_PAUSED, "%s loses power %s step %u after its pause",
                       node->name, trouble_moments[moment], (unsigned)steps)) {
        lw_host_crash_after(node->host, steps, moment);
        node->behind = now->of->jumpy;
    }
}

void trouble_pause_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_PAUSES);
    lw_sim_strike_after(&now, it->options->scenario->pause_every_ms, trouble_pause_something);
    uint64_t duration_ms = lw_chance_between(&now.chance, 1, 6000);
    if (trouble_percent(&now, 40) || it->client_count == 0) {
        pause_node(&now, duration_ms);
        return;
    }
    lw_host *host = it->client_hosts[trouble_below(&now, it->client_count)];
    if (lw_host_running(host) && lw_sim_strikes(&now, LW_FAULT_PAUSE, "%s for %u ms",
                                                lw_host_name(host), (unsigned)duration_ms)) {
        lw_host_pause(host, duration_ms * LW_SIM_NS_PER_MS);
    }
}
