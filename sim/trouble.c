/* SPDX-License-Identifier: Apache-2.0 */
/* Trouble: what goes wrong in a run beside the faults that disks, networks and clocks draw for
 * themselves. Swarm: any kind may be absent from a run.
 *
 * Invariants
 * 1. What strikes, when, where and how follows from the seed, the schedule and the number of the
 *    occasion on it: whether one strikes changes nothing about those to come.
 * 2. Nothing strikes that lw_world_strike was not asked about (sim/strike.h). */
#include "sim/bus.h"
#include "sim/engine.h"
#include "sim/run.h"
#include "sim/user.h"

#include <stdarg.h>

enum {
    HOUR_MS = 3600 * 1000,
    FIRST_STEPS = 9,
    FAIL_START_PERCENT = 30,
    OUTAGE_PERCENT = 8,
    LOSE_LOOK_MS = 250,
    STORM_STEPS = 50,   /* within which the node goes down again, */
    RECOVERY_STEPS = 8, /* or before it is up at all */
    COPY_MS = 1500,
    DECAY_COMMITS = 30, /* after which what had been written before is vouched for */
    DECAY_LOOK_MS = 50,
    ENGINE_ROOM_SHARE = 16,   /* an engine of its own holds so much less than a node */
    BUS_HANGS_MS_MAX = 25000, /* often longer than gossip counts */
    THIN_KB_MIN = 3,          /* that get through a second, where little does */
    THIN_KB_MAX = 200,
    PLENTY_BITS = 40, /* of the bytes of a disk that has room */
};

/* ---- occasions ---------------------------------------------------------------------------- */

lw_sim_occasion lw_sim_next_occasion(lw_sim_trial *it, lw_sim_schedule schedule) {
    uint64_t number = ++it->occasions[schedule];
    return (lw_sim_occasion){.of = it,
                             .number = number,
                             .chance =
                                 lw_chance_of(it->trouble_seed, (uint64_t)schedule << 56 ^ number)};
}

static uint64_t below(lw_sim_occasion *now, uint64_t bound) {
    return lw_chance_below(&now->chance, bound);
}
static bool percent(lw_sim_occasion *now, uint32_t chance) {
    return lw_chance_percent(&now->chance, chance);
}

void lw_sim_strike_after(lw_sim_occasion *now, uint32_t mean_ms, void (*function)(void *it)) {
    lw_sim_after(now->of, below(now, 2 * (uint64_t)mean_ms), function);
}

bool lw_sim_strikes(const lw_sim_occasion *now, lw_fault fault, const char *format, ...) {
    lw_sim_trial *it = now->of;
    if (!lw_sim_allows(it, fault)) {
        return false;
    }
    char text[LW_STRIKE_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return lw_world_strike(it->world, fault, "trouble", now->number, "%s", text);
}

bool lw_sim_allows(const lw_sim_trial *it, lw_fault fault) {
    return it->options->allowed == NULL || it->options->allowed[fault];
}

lw_sim_member *lw_sim_draw_node(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    return &it->nodes[it->node_count == 1 ? 0 : below(now, it->node_count)];
}

/* ---- crashes and pauses ------------------------------------------------------------------- */

static const char *const moments[] = {
    [LW_CRASH_BEFORE] = "before", [LW_CRASH_WITHIN] = "within", [LW_CRASH_AFTER] = "after"};

static void crash_client(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    if (it->client_count == 0) {
        return; /* they come once the bank is filled */
    }
    uint32_t index = (uint32_t)below(now, it->client_count);
    lw_host *host = it->client_hosts[index];
    bool killed = percent(now, 50);
    if (lw_host_running(host) && lw_user_mortal(it, index) &&
        lw_sim_strikes(now, LW_FAULT_CRASH_CLIENT, "%s %s", lw_host_name(host),
                       killed ? "is killed" : "loses power")) {
        it->workload.running--;
        (killed ? lw_host_kill : lw_host_crash)(host);
    }
}

void lw_sim_lose_client(lw_sim_trial *it, lw_host *host) {
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_DEPARTURES);
    uint64_t steps = below(&now, 60);
    lw_crash moment = (lw_crash)below(&now, 3);
    if (lw_host_running(host) &&
        lw_sim_strikes(&now, LW_FAULT_CRASH_CLIENT, "%s loses power %s step %u from now",
                       lw_host_name(host), moments[moment], (unsigned)steps)) {
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
    uint64_t steps = below(now, 60);
    lw_crash moment = (lw_crash)below(now, 3);
    if (lw_host_running(node->host) &&
        lw_sim_strikes(now, LW_FAULT_CRASH, "%s loses power %s step %u from now", node->name,
                       moments[moment], (unsigned)steps)) {
        lw_host_crash_after(node->host, steps, moment);
    }
}

static void crash_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_CRASHES);
    lw_sim_strike_after(&now, it->options->scenario->crash_every_ms, crash_something);
    uint64_t choice = below(&now, 10);
    if (it->options->scenario->outage && percent(&now, OUTAGE_PERCENT)) {
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
    bool crashes = percent(now, 70);
    uint64_t steps = below(now, FIRST_STEPS);
    lw_crash moment = (lw_crash)below(now, 3);
    if (!lw_host_running(node->host) ||
        !lw_sim_strikes(now, LW_FAULT_PAUSE, "%s for %u ms", node->name, (unsigned)duration_ms)) {
        return;
    }
    lw_host_pause(node->host, duration_ms * LW_SIM_NS_PER_MS);
    if (crashes &&
        lw_sim_strikes(now, LW_FAULT_CRASH_PAUSED, "%s loses power %s step %u after its pause",
                       node->name, moments[moment], (unsigned)steps)) {
        lw_host_crash_after(node->host, steps, moment);
        node->behind = now->of->jumpy;
    }
}

static void pause_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_PAUSES);
    lw_sim_strike_after(&now, it->options->scenario->pause_every_ms, pause_something);
    uint64_t duration_ms = lw_chance_between(&now.chance, 1, 6000);
    if (percent(&now, 40) || it->client_count == 0) {
        pause_node(&now, duration_ms);
        return;
    }
    lw_host *host = it->client_hosts[below(&now, it->client_count)];
    if (lw_host_running(host) && lw_sim_strikes(&now, LW_FAULT_PAUSE, "%s for %u ms",
                                                lw_host_name(host), (unsigned)duration_ms)) {
        lw_host_pause(host, duration_ms * LW_SIM_NS_PER_MS);
    }
}

/* ---- the network -------------------------------------------------------------------------- */

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
static void trouble_bus(lw_sim_occasion *now) {
    lw_world *world = now->of->world;
    const lw_sim_member *one = lw_sim_draw_node(now), *other = lw_sim_draw_node(now);
    bool hangs = percent(now, 40);
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
    bool all = percent(now, 50);
    if (!lw_sim_strikes(now, LW_FAULT_CUT, "%s from %s of the others", lonely->name,
                        all ? "all" : "some")) {
        return;
    }
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *other = &it->nodes[index];
        bool chosen = percent(now, 50) || all;
        uint64_t ways = below(now, 3);
        if (other != lonely && chosen) {
            cut_between(it, ways, lonely->host, other->host);
        }
    }
}

static void cut_client_off(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    const lw_host *client = it->client_hosts[below(now, it->client_count)];
    const lw_sim_member *node = lw_sim_draw_node(now);
    static const char *const words[] = {"and", "to", "from"};
    uint64_t ways = below(now, 3);
    if (lw_sim_strikes(now, LW_FAULT_CUT, "%s %s %s", node->name, words[ways],
                       lw_host_name(client))) {
        cut_between(it, ways, node->host, client);
    }
}

/* Something is on the way between two machines that takes most of the room. */
static void make_link_thin(lw_sim_occasion *now) {
    lw_sim_trial *it = now->of;
    const lw_sim_member *one = lw_sim_draw_node(now), *other = lw_sim_draw_node(now);
    const lw_host *client = it->client_hosts[below(now, it->client_count)];
    const lw_host *far = one == other ? client : other->host;
    uint64_t kilobytes = lw_chance_between(&now->chance, THIN_KB_MIN, THIN_KB_MAX);
    if (lw_sim_strikes(now, LW_FAULT_LINK_THIN, "%s and %s, %u KB a second", one->name,
                       lw_host_name(far), (unsigned)kilobytes)) {
        clamp_between(it, one->host, far, kilobytes * 1024);
    }
}

static void cut_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_CUTS);
    lw_sim_strike_after(&now, it->options->scenario->cut_every_ms, cut_something);
    uint64_t mended_ms = lw_chance_between(&now.chance, 1, 5000);
    bool bus = percent(&now, 30), nodes = percent(&now, 60), thin = percent(&now, 15);
    if (it->client_count == 0 && it->bare == NULL) {
        return;
    }
    if (it->bare != NULL) {
        cut_node_off(&now);
    } else if (thin) {
        make_link_thin(&now);
    } else if (it->node_count > 1 && bus) {
        trouble_bus(&now);
    } else if (it->node_count > 1 && nodes) {
        cut_node_off(&now);
    } else {
        cut_client_off(&now);
    }
    lw_sim_after(it, mended_ms, lw_sim_mend_network);
}

/* ---- the disk ----------------------------------------------------------------------------- */

void lw_sim_free_disks(void *argument) {
    lw_sim_trial *it = argument;
    uint64_t plenty = UINT64_C(1) << PLENTY_BITS;
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_disk_set_capacity(lw_host_disk(it->nodes[index].host), it->disks_tell ? plenty : 0);
    }
}

/* A disk has little room, until somebody frees some. */
static void fill_disk(void *argument) {
    lw_sim_occasion now = lw_sim_next_occasion(argument, LW_SIM_FILLS);
    const lw_sim_member *node = lw_sim_draw_node(&now);
    uint64_t room_kb = lw_chance_between(&now.chance, 1, 6000);
    room_kb = now.of->engine != NULL ? 1 + room_kb / ENGINE_ROOM_SHARE : room_kb;
    uint64_t lasts_ms = lw_chance_between(&now.chance, 500, LW_SIM_SAFETY_MS / 2);
    if (lw_sim_strikes(&now, LW_FAULT_DISK_FULL, "%s has %u KB for %u ms", node->name,
                       (unsigned)room_kb, (unsigned)lasts_ms)) {
        lw_disk_set_capacity(lw_host_disk(node->host), room_kb * 1024);
        lw_sim_after(argument, lasts_ms, lw_sim_free_disks);
    }
}

void lw_sim_replace_disk(lw_sim_member *node) {
    lw_sim_end_node(node, true);
    lw_host_replace_disk(node->host);
    lw_sim_watch_forget(node->of, (uint32_t)(node - node->of->nodes));
    lw_sim_forget_rots(node->of, (uint32_t)(node - node->of->nodes));
    node->lost_id = node->id;
    node->id = 0;
    node->incarnation = 0;
    node->replaced = true;
    node->expelled = false;
    node->drained = false;
}

static bool anybody_is_expelled(const lw_sim_trial *it) {
    bool any = false;
    for (uint32_t index = 0; index < it->node_count; index++) {
        any = any || it->nodes[index].expelled;
    }
    return any;
}

/* A disk is lost for good, once all its shards can do without it. Who was there never comes back:
 * somebody new joins from that machine. */
static void lose_disk(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_LOSSES);
    lw_sim_member *node = lw_sim_draw_node(&now);
    uint32_t place = (uint32_t)(node - it->nodes);
    if (node->id == 0 || node->out || node->leaving || anybody_is_expelled(it) ||
        !lw_sim_watch_dispensable(it, place)) {
        lw_sim_after(it, LOSE_LOOK_MS, lose_disk);
        return;
    }
    if (!lw_sim_strikes(&now, LW_FAULT_DISK_LOST, "%s", node->name)) {
        return;
    }
    lw_sim_replace_disk(node);
}

/* A file of the log that is in use or was; none: a path of no size. */
static void draw_log_file(lw_sim_occasion *now, char path[LW_PATH_SIZE]) {
    lw_sim_trial *it = now->of;
    lw_buffer paths = lw_buffer_in(it->memory);
    lw_disk_paths(lw_host_disk(it->nodes[0].host), LW_DISK_VOLATILE, &paths);
    uint64_t seen = 0;
    path[0] = 0;
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *one = (const char *)paths.data + at;
        if (strstr(one, "log/") != NULL && below(now, ++seen) == 0) {
            (void)snprintf(path, LW_PATH_SIZE, "%s", one);
        }
    }
    lw_buffer_reset(&paths);
}

/* Lets a bit rot that was written. Whether that is so far back that a later batch vouches for it
 * is known once enough has been acknowledged since: then power fails, and the log is read. */
static void flip_in_log(lw_sim_trial *it) {
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_DECAYS);
    lw_disk *disk = lw_host_disk(it->nodes[0].host);
    char path[LW_PATH_SIZE];
    draw_log_file(&now, path);
    lw_buffer contents = lw_buffer_in(it->memory);
    if (path[0] != 0 && lw_disk_contents(disk, LW_DISK_VOLATILE, path, &contents)) {
        size_t size = contents.size;
        while (size > 0 && contents.data[size - 1] == 0) {
            size--;
        }
        uint64_t bit = size > 0 ? below(&now, size * 8) : 0;
        if (size > 0 &&
            lw_sim_strikes(&now, LW_FAULT_DECAY, "bit %u of %.60s", (unsigned)bit, path)) {
            lw_disk_flip(disk, path, bit);
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

void lw_sim_begin_faults(lw_sim_trial *it) {
    it->trouble_seed = lw_world_chance(it->world, "trouble").state;
    const lw_scenario *scenario = it->options->scenario;
    lw_faults profile = lw_faults_usual();
    lw_faults faults = lw_faults_swarm(&profile, it->options->seed);
    for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
        bool may = scenario->faults[fault] && lw_sim_allows(it, (lw_fault)fault);
        faults.rates[fault] = may ? faults.rates[fault] : 0;
    }
    lw_world_set_faults(it->world, &faults);
}

/* A machine whose disk is slow all the time. */
static void slow_disk(lw_sim_occasion *now) {
    const lw_sim_member *node = lw_sim_draw_node(now);
    uint32_t factor = (uint32_t)lw_chance_between(&now->chance, 2, 30);
    if (lw_sim_strikes(now, LW_FAULT_DISK_SLOW, "%s, %u times", node->name, factor)) {
        lw_host_slow_disk(node->host, factor);
    }
}

uint64_t lw_sim_safety_ms(const lw_sim_trial *it) {
    if (it->user != NULL && it->user->workload->duration_ms > 0) {
        return it->user->workload->duration_ms;
    }
    if (it->engine != NULL) {
        return LW_SIM_ENGINE_MS;
    }
    return it->options->scenario->storm ? LW_SIM_STORM_MS : LW_SIM_SAFETY_MS;
}

void lw_sim_begin_trouble(lw_sim_trial *it) {
    const lw_scenario *scenario = it->options->scenario;
    lw_sim_begin_faults(it);
    lw_sim_occasion begin = lw_sim_next_occasion(it, LW_SIM_BEGINNING);
    it->troubled = true;
    it->operate_every_ms = scenario->operate_every_ms;
    bool crashes = percent(&begin, 85), pauses = percent(&begin, 50), cuts = percent(&begin, 50);
    bool fills = percent(&begin, scenario->full_percent);
    bool loses = percent(&begin, scenario->lose_percent), slow = percent(&begin, 30);
    it->jumpy = percent(&begin, 50) && scenario->faults[LW_FAULT_WALL_JUMP];
    if (percent(&begin, 40) && scenario->damage) {
        decay_log(it); /* and no other end of the node, which could come before it is time */
        return;
    }
    if (scenario->crash_every_ms != 0 && crashes) {
        for (uint32_t index = 0; index < it->node_count; index++) {
            it->nodes[index].storm = percent(&begin, 30);
        }
        lw_sim_strike_after(&begin, scenario->crash_every_ms, crash_something);
    }
    if (scenario->pause_every_ms != 0 && pauses) {
        lw_sim_strike_after(&begin, scenario->pause_every_ms, pause_something);
    }
    if (scenario->cut_every_ms != 0 && cuts) {
        lw_sim_strike_after(&begin, scenario->cut_every_ms, cut_something);
    }
    if (fills) {
        lw_sim_strike_after(&begin, (uint32_t)lw_sim_safety_ms(it) / 2, fill_disk);
    }
    if (it->node_count > 2 && loses) {
        lw_sim_strike_after(&begin, LW_SIM_SAFETY_MS / 2, lose_disk);
    }
    if (scenario->rot_every_ms != 0) {
        lw_sim_strike_after(&begin, scenario->rot_every_ms, lw_sim_rot_something);
    }
    if (scenario->rot_every_ms != 0 || scenario->faults[LW_FAULT_READ_ERROR]) {
        lw_sim_strike_newcomers(it);
    }
    if (scenario->crash_every_ms != 0 && slow) {
        slow_disk(&begin);
    }
    if (scenario->storm) {
        lw_sim_storm_begin(it, &begin.chance);
    }
    it->copies = percent(&begin, scenario->copy_percent);
    if (it->copies) {
        lw_sim_strike_after(&begin, COPY_MS, lw_sim_copy_folder);
    }
}

static void disarm(const lw_sim_member *node) {
    lw_dice *dice = lw_disk_dice(lw_host_disk(node->host));
    for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
        lw_dice_arm(dice, (lw_fault)fault, 0);
    }
}

void lw_sim_end_trouble(lw_sim_trial *it) {
    lw_faults peace = lw_faults_none();
    peace.rare_paths = true;
    lw_world_set_faults(it->world, &peace);
    lw_world_calm(it->world, "client.dawdles");   /* others must wait for its locks for seconds, */
    lw_world_calm(it->world, "client.asks_late"); /* and it for others' */
    lw_world_calm(it->world, "group.takes_nothing"); /* what lacks hundreds of entries gets few */
    it->troubled = false;
    it->peace_ns = lw_world_now(it->world);
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_host_slow_disk(it->nodes[index].host, 1);
        disarm(&it->nodes[index]);
    }
    lw_sim_mend_network(it);
    lw_sim_free_disks(it);
    lw_sim_count_leads(it);
}

/* A wrong wall clock, and one that is behind the one before. */
static void jump_wall(lw_sim_member *node, int64_t jump_ms) {
    lw_sim_trial *it = node->of;
    if (lw_sim_allows(it, LW_FAULT_WALL_WRONG) &&
        lw_world_strike(it->world, LW_FAULT_WALL_WRONG, node->name, node->boot + 1, "by %d s",
                        (int)(jump_ms / 1000))) {
        lw_host_jump_wall(node->host, jump_ms);
    }
}

/* A start is short, and does what is done at no other time: so now and then it meets a failure of
 * the disk, if the run has such. */
static void fail_start(lw_sim_member *node) {
    static const lw_fault kinds[] = {LW_FAULT_SYNC_ERROR, LW_FAULT_SYNC_ERROR, LW_FAULT_WRITE_ERROR,
                                     LW_FAULT_READ_ERROR};
    lw_chance chance =
        lw_chance_of(node->of->trouble_seed ^ lw_hash(1, lw_text(node->name)), node->boot);
    lw_dice *dice = lw_disk_dice(lw_host_disk(node->host));
    lw_fault fault = kinds[lw_chance_below(&chance, sizeof(kinds) / sizeof(kinds[0]))];
    uint64_t most = lw_chance_below(&chance, FIRST_STEPS);
    uint32_t occasion = 1 + (uint32_t)lw_chance_below(&chance, most + 1);
    bool sticks = lw_chance_percent(&chance, 50);
    if (lw_chance_percent(&chance, FAIL_START_PERCENT) && dice->faults->rates[fault] > 0) {
        lw_dice_arm(dice, fault, occasion);
        bool may_stick = dice->faults->rates[LW_FAULT_SYNC_STICKY] > 0;
        lw_dice_arm(dice, LW_FAULT_SYNC_STICKY, sticks && may_stick ? 1 : 0);
    }
}

void lw_sim_trouble_start(lw_sim_member *node) {
    lw_sim_trial *it = node->of;
    lw_chance chance = lw_chance_of(it->trouble_seed ^ lw_hash(0, lw_text(node->name)), node->boot);
    uint64_t behind_ms = lw_chance_between(&chance, 10000, HOUR_MS);
    bool jumps = lw_chance_percent(&chance, 50);
    int64_t jump_ms = (int64_t)lw_chance_between(&chance, 0, 2 * HOUR_MS) - HOUR_MS;
    bool crashes = lw_chance_percent(&chance, node->storm ? 70 : 10);
    uint64_t bound = lw_chance_percent(&chance, 50) ? STORM_STEPS : RECOVERY_STEPS;
    uint64_t steps = lw_chance_below(&chance, bound);
    lw_crash moment = (lw_crash)lw_chance_below(&chance, 3);
    lw_sim_storm_start(node, &chance);
    if (!it->troubled) {
        return;
    }
    if (node->behind) {
        node->behind = false;
        jump_wall(node, -(int64_t)behind_ms);
        return; /* it comes up, so that somebody is told the time */
    }
    fail_start(node);
    if (it->jumpy && jumps) {
        jump_wall(node, jump_ms);
    }
    if (crashes && !it->copies && lw_sim_allows(it, LW_FAULT_CRASH_AT_START) &&
        lw_world_strike(it->world, LW_FAULT_CRASH_AT_START, node->name, node->boot + 1,
                        "%s step %u of its start", moments[moment], (unsigned)steps)) {
        lw_host_crash_after(node->host, steps, moment);
    }
}
