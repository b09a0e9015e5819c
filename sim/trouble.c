/* SPDX-License-Identifier: Apache-2.0 */
/* Trouble: what goes wrong in a run beside the faults that disks, networks and clocks draw for
 * themselves. Swarm: any kind may be absent from a run. */
#include "sim/bus.h"
#include "sim/run.h"

enum {
    HOUR_MS = 3600 * 1000,
    FIRST_STEPS = 9,
    OUTAGE_PERCENT = 8,
    LOSE_LOOK_MS = 250,
    STORM_STEPS = 50,   /* within which the node goes down again, */
    RECOVERY_STEPS = 8, /* or before it is up at all */
    DECAY_COMMITS = 30, /* after which what had been written before is vouched for */
    DECAY_LOOK_MS = 50,
};

/* Calls function(it) after something between nothing and twice the mean. */
static void strike_after(lw_sim_trial *it, uint32_t mean_ms, void (*function)(void *it)) {
    lw_sim_after(it, lw_chance_below(&it->chance, 2 * (uint64_t)mean_ms), function);
}

/* One of the nodes. */
static lw_sim_member *draw_node(lw_sim_trial *it) {
    return &it->nodes[it->node_count == 1 ? 0 : lw_chance_below(&it->chance, it->node_count)];
}

/* ---- crashes and pauses ------------------------------------------------------------------- */

static void crash_client(lw_sim_trial *it) {
    if (it->client_count == 0) {
        return; /* they come once the bank is filled */
    }
    uint32_t index = (uint32_t)lw_chance_below(&it->chance, it->client_count);
    if (lw_host_running(it->client_hosts[index])) {
        it->workload.running--;
        if (lw_chance_percent(&it->chance, 50)) {
            lw_host_kill(it->client_hosts[index]);
        } else {
            lw_host_crash(it->client_hosts[index]);
        }
    }
}

/* Of all nodes at once: nobody remembers what was not on a disk. */
static void lose_power(lw_sim_trial *it) {
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_sim_end_node(&it->nodes[index], true);
    }
}

static void crash_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    uint64_t choice = lw_chance_below(&it->chance, 10);
    if (it->options->scenario->outage && lw_chance_percent(&it->chance, OUTAGE_PERCENT)) {
        lose_power(it);
    } else if (choice < 2) {
        crash_client(it);
    } else if (choice < 4) {
        lw_sim_end_node(draw_node(it), false);
    } else if (choice < 5) {
        lw_sim_end_node(draw_node(it), true);
    } else {
        lw_host *host = draw_node(it)->host;
        if (lw_host_running(host)) {
            lw_host_crash_after(host, lw_chance_below(&it->chance, 60),
                                (lw_crash)lw_chance_below(&it->chance, 3));
        }
    }
    strike_after(it, it->options->scenario->crash_every_ms, crash_something);
}

/* A node that comes to itself is often ended by its first steps: what it did in between without
 * waiting for the disk is lost. */
static void pause_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_chance *chance = &it->chance;
    bool choose_node = it->client_count == 0 || lw_chance_percent(chance, 40);
    lw_sim_member *node = choose_node ? draw_node(it) : NULL;
    lw_host *host =
        node != NULL ? node->host : it->client_hosts[lw_chance_below(chance, it->client_count)];
    if (lw_host_running(host)) {
        lw_host_pause(host, lw_chance_between(chance, 1, 6000) * LW_SIM_NS_PER_MS);
        if (node != NULL && lw_chance_percent(chance, 70)) {
            lw_host_crash_after(host, lw_chance_below(chance, FIRST_STEPS),
                                (lw_crash)lw_chance_below(chance, 3));
            node->behind = it->jumpy;
        }
    }
    strike_after(it, it->options->scenario->pause_every_ms, pause_something);
}

/* ---- the network -------------------------------------------------------------------------- */

static void mend_network(void *argument) {
    lw_sim_trial *it = argument;
    for (uint32_t place = 0; place < it->node_count; place++) {
        lw_host *host = it->nodes[place].host;
        for (uint32_t index = 0; index < it->client_count; index++) {
            lw_world_cut(it->world, host, it->client_hosts[index], false);
        }
        for (uint32_t index = 0; index < place; index++) {
            lw_world_cut(it->world, host, it->nodes[index].host, false);
            lw_sim_bus_cut(it->world, host, it->nodes[index].host, false);
        }
        if (it->node_count > 1) {
            lw_sim_bus_stop(it->world, host, false);
        }
    }
}

static void cut_between(lw_sim_trial *it, const lw_host *one, const lw_host *other) {
    switch (lw_chance_below(&it->chance, 3)) {
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
static void trouble_bus(lw_sim_trial *it) {
    const lw_sim_member *one = draw_node(it), *other = draw_node(it);
    if (one == other) {
        lw_sim_bus_stop(it->world, one->host, true);
    } else {
        lw_sim_bus_cut_one_way(it->world, one->host, other->host, true);
    }
}

/* A node loses some or all of the others. */
static void cut_node_off(lw_sim_trial *it) {
    const lw_sim_member *lonely = draw_node(it);
    bool all = lw_chance_percent(&it->chance, 50);
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *other = &it->nodes[index];
        if (other != lonely && (all || lw_chance_percent(&it->chance, 50))) {
            cut_between(it, lonely->host, other->host);
        }
    }
}

static void cut_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    if (it->client_count == 0) {
        strike_after(it, it->options->scenario->cut_every_ms, cut_something);
        return;
    }
    if (it->node_count > 1 && lw_chance_percent(&it->chance, 30)) {
        trouble_bus(it);
    } else if (it->node_count > 1 && lw_chance_percent(&it->chance, 60)) {
        cut_node_off(it);
    } else {
        uint32_t index = (uint32_t)lw_chance_below(&it->chance, it->client_count);
        cut_between(it, draw_node(it)->host, it->client_hosts[index]);
    }
    lw_sim_after(it, lw_chance_between(&it->chance, 1, 5000), mend_network);
    strike_after(it, it->options->scenario->cut_every_ms, cut_something);
}

/* ---- the disk ----------------------------------------------------------------------------- */

static void empty_disks(void *argument) {
    lw_sim_trial *it = argument;
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_disk_set_capacity(lw_host_disk(it->nodes[index].host), 0);
    }
}

/* A disk has little room, until somebody frees some. */
static void fill_disk(void *argument) {
    lw_sim_trial *it = argument;
    lw_disk_set_capacity(lw_host_disk(draw_node(it)->host),
                         lw_chance_between(&it->chance, 1, 6000) * 1024);
    lw_sim_after(it, lw_chance_between(&it->chance, 500, LW_SIM_SAFETY_MS / 2), empty_disks);
}

/* A disk is lost for good, once all its shards can do without it. Who was there never comes back:
 * somebody new joins from that machine. */
static void lose_disk(void *argument) {
    lw_sim_trial *it = argument;
    uint32_t place = (uint32_t)lw_chance_below(&it->chance, it->node_count);
    lw_sim_member *node = &it->nodes[place];
    if (!it->troubled) {
        return;
    }
    if (node->id == 0 || node->out || node->leaving || !lw_sim_watch_dispensable(it, place)) {
        lw_sim_after(it, LOSE_LOOK_MS, lose_disk);
        return;
    }
    lw_sim_end_node(node, true);
    lw_host_replace_disk(node->host);
    lw_sim_watch_forget(it, place);
    node->lost_id = node->id;
    node->id = 0;
    node->incarnation = 0;
    node->replaced = true;
    node->drained = false;
}

/* A file of the log that is in use or was; none: a path of no size. */
static void draw_log_file(lw_sim_trial *it, char path[LW_PATH_SIZE]) {
    lw_buffer paths = lw_buffer_in(it->memory);
    lw_disk_paths(lw_host_disk(it->nodes[0].host), LW_DISK_VOLATILE, &paths);
    uint64_t seen = 0;
    path[0] = 0;
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *one = (const char *)paths.data + at;
        if (strstr(one, "log/") != NULL && lw_chance_below(&it->chance, ++seen) == 0) {
            (void)snprintf(path, LW_PATH_SIZE, "%s", one);
        }
    }
    lw_buffer_reset(&paths);
}

/* Lets a bit rot that was written. Whether that is so far back that a later batch vouches for it
 * is known once enough has been acknowledged since: then power fails, and the log is read. */
static void flip_in_log(lw_sim_trial *it) {
    char path[LW_PATH_SIZE];
    draw_log_file(it, path);
    lw_buffer contents = lw_buffer_in(it->memory);
    if (path[0] != 0 &&
        lw_disk_contents(lw_host_disk(it->nodes[0].host), LW_DISK_VOLATILE, path, &contents)) {
        size_t size = contents.size;
        while (size > 0 && contents.data[size - 1] == 0) {
            size--;
        }
        if (size > 0) {
            lw_disk_flip(lw_host_disk(it->nodes[0].host), path,
                         lw_chance_below(&it->chance, size * 8));
            it->decayed = it->workload.committed + DECAY_COMMITS;
        }
    }
    lw_buffer_reset(&contents);
}

static void decay_log(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    if (it->nodes[0].state == LW_SIM_SERVING && it->decayed == 0) {
        flip_in_log(it);
    } else if (it->nodes[0].state == LW_SIM_SERVING && it->workload.committed >= it->decayed) {
        lw_sim_end_node(&it->nodes[0], true);
        it->decayed = 0;
    }
    lw_sim_after(it, DECAY_LOOK_MS, decay_log);
}

/* ---- all of it ---------------------------------------------------------------------------- */

static void begin_faults(lw_sim_trial *it) {
    const lw_scenario *scenario = it->options->scenario;
    lw_faults profile = lw_faults_usual();
    for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
        profile.rates[fault] = scenario->faults[fault] ? profile.rates[fault] : 0;
    }
    lw_faults faults = lw_faults_swarm(&profile, it->options->seed);
    lw_world_set_faults(it->world, &faults);
}

void lw_sim_begin_trouble(lw_sim_trial *it) {
    const lw_scenario *scenario = it->options->scenario;
    lw_chance *chance = &it->chance;
    begin_faults(it);
    it->troubled = true;
    if (scenario->damage && lw_chance_percent(chance, 40)) {
        decay_log(it); /* and no other end of the node, which could come before it is time */
        return;
    }
    if (scenario->crash_every_ms != 0 && lw_chance_percent(chance, 85)) {
        for (uint32_t index = 0; index < it->node_count; index++) {
            it->nodes[index].storm = lw_chance_percent(chance, 30);
        }
        strike_after(it, scenario->crash_every_ms, crash_something);
    }
    if (scenario->pause_every_ms != 0 && lw_chance_percent(chance, 50)) {
        strike_after(it, scenario->pause_every_ms, pause_something);
    }
    if (scenario->cut_every_ms != 0 && lw_chance_percent(chance, 50)) {
        strike_after(it, scenario->cut_every_ms, cut_something);
    }
    if (lw_chance_percent(chance, scenario->full_percent)) {
        strike_after(it, LW_SIM_SAFETY_MS / 2, fill_disk);
    }
    if (scenario->lose_percent > 0 && it->node_count > 2 &&
        lw_chance_percent(chance, scenario->lose_percent)) {
        strike_after(it, LW_SIM_SAFETY_MS / 2, lose_disk);
    }
    if (scenario->crash_every_ms != 0 && lw_chance_percent(chance, 30)) {
        lw_host_slow_disk(draw_node(it)->host, (uint32_t)lw_chance_between(chance, 2, 30));
    }
    it->jumpy = scenario->faults[LW_FAULT_WALL_JUMP] && lw_chance_percent(chance, 50);
}

void lw_sim_end_trouble(lw_sim_trial *it) {
    lw_faults peace = lw_faults_none();
    peace.rare_paths = true;
    lw_world_set_faults(it->world, &peace);
    it->troubled = false;
    it->peace_ns = lw_world_now(it->world);
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_host_slow_disk(it->nodes[index].host, 1);
    }
    mend_network(it);
    empty_disks(it);
}

void lw_sim_trouble_start(lw_sim_member *node) {
    lw_sim_trial *it = node->of;
    lw_chance *chance = &it->chance;
    if (it->troubled && node->behind) {
        node->behind = false;
        lw_host_jump_wall(node->host, -(int64_t)lw_chance_between(chance, 10000, HOUR_MS));
        return; /* it comes up, so that somebody is told the time */
    }
    if (it->troubled && it->jumpy && lw_chance_percent(chance, 50)) {
        lw_host_jump_wall(node->host, (int64_t)lw_chance_between(chance, 0, 2 * HOUR_MS) - HOUR_MS);
    }
    if (it->troubled && lw_chance_percent(chance, node->storm ? 70 : 10)) {
        uint64_t steps = lw_chance_percent(chance, 50) ? STORM_STEPS : RECOVERY_STEPS;
        lw_host_crash_after(node->host, lw_chance_below(chance, steps),
                            (lw_crash)lw_chance_below(chance, 3));
    }
}
