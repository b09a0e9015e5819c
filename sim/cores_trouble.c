/* SPDX-License-Identifier: Apache-2.0 */
/* What befalls the cores: crashes, links that break, pauses, disks that stall, members that come
 * and go, transfers; by chance, and some of it after one another, since most mistakes of consensus
 * need three things in a row. Who has just begun to lead is hunted: what is only safe if a leader's
 * first entries arrive is seen where they do not. */
#include "sim/cores.h"

#include <inttypes.h>

enum {
    SOON_DIVISOR = 50,     /* of an election timeout: a restart that nobody notices */
    CONFIGS_SPARE = 128,   /* for those that changes lead to by themselves */
    HUNTS = 1000000,       /* from which hunts are numbered among the occasions, */
    PEACES = 2000000,      /* and beginnings of peace */
    BEHIND_PERCENT = 25,   /* of changes ask for voters whether they caught up or not */
    LEFT_CUT_PERCENT = 40, /* of peaces begin with one node that is still cut off */
};

/* ---- nodes ----------------------------------------------------------------------------------- */

uint64_t lw_cores_leader(lw_cores *world) {
    uint64_t from = lw_cores_any(world);
    for (uint64_t step = 0; step < world->node_count; step++) {
        uint64_t id = (from + step - 1) % world->node_count + 1;
        if (lw_cores_awake(world, id) && world->nodes[id].leads) {
            return id;
        }
    }
    return 0;
}

static uint64_t soon(const lw_cores *world) {
    return world->habits.timeout / SOON_DIVISOR;
}

static void crash(lw_cores *world, uint64_t id) {
    if (!world->nodes[id].up) {
        return;
    }
    lw_cores_crash(world, id);
    lw_cores_tell_links(world, id, true);
    uint64_t timeout = world->habits.timeout;
    uint64_t away = lw_cores_percent(world, 50) ? timeout / 10 : 2 * timeout;
    (void)lw_cores_schedule(world, LW_CORES_RESTART, id, lw_cores_between(world, 0, away));
}

static void crash_any(lw_cores *world, uint64_t leader) {
    (void)leader;
    crash(world, lw_cores_any(world));
}

static void crash_leader(lw_cores *world, uint64_t leader) {
    crash(world, leader);
}

static void outage(lw_cores *world, uint64_t leader) {
    (void)leader;
    for (uint64_t id = 1; id <= world->node_count; id++) {
        crash(world, id);
    }
}

static void pause_node(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    node->paused_until = world->now + lw_cores_between(world, 1, 3 * world->habits.timeout);
    lw_cores_note_of(world, id, "stops until %" PRIu64 " ns", node->paused_until, 0, 0, 0);
}

static void pause_any(lw_cores *world, uint64_t leader) {
    (void)leader;
    pause_node(world, lw_cores_any(world));
}

static void pause_leader(lw_cores *world, uint64_t leader) {
    pause_node(world, leader);
}

static void stall_disk(lw_cores *world, uint64_t leader) {
    (void)leader;
    lw_cores_node *node = &world->nodes[lw_cores_any(world)];
    node->stalled_until = world->now + lw_cores_between(world, 1, 3 * world->habits.timeout);
}

/* All but the leader are asked to stand, by and by: whoever may vote is asked for its vote. */
static void tempt_within(lw_cores *world, uint64_t leader, uint64_t within) {
    for (uint64_t id = 1; id <= world->node_count; id++) {
        if (id != leader) {
            (void)lw_cores_schedule(world, LW_CORES_STAND, id, lw_cores_between(world, 0, within));
        }
    }
}

static void tempt(lw_cores *world, uint64_t leader) {
    tempt_within(world, leader, world->habits.timeout);
}

/* ---- links ----------------------------------------------------------------------------------- */

static void cut_off(lw_cores *world, uint64_t a, bool hears, bool speaks) {
    lw_cores_note_of(world, a, "is cut off: still hears %" PRIu64 ", is still heard %" PRIu64,
                     hears, speaks, 0, 0);
    for (uint64_t b = 1; b <= world->node_count; b++) {
        if (b == a || !lw_cores_percent(world, 70)) {
            continue;
        }
        world->blocked[a][b] = world->blocked[a][b] || !speaks;
        world->blocked[b][a] = world->blocked[b][a] || !hears;
        if (lw_cores_percent(world, 50)) {
            lw_cores_tell_link(world, a, b, true);
        }
    }
}

static void cut_any(lw_cores *world, uint64_t leader) {
    (void)leader;
    uint64_t way = lw_cores_between(world, 0, 3);
    cut_off(world, lw_cores_any(world), way == 1, way == 2);
}

static void cut_leader(lw_cores *world, uint64_t leader) {
    uint64_t way = lw_cores_between(world, 0, 3);
    cut_off(world, leader, way == 1, way == 2);
    if (lw_cores_percent(world, 50)) {
        tempt_within(world, leader, 3 * world->habits.timeout / 2);
    }
}

static void mend(lw_cores *world, uint64_t leader) {
    (void)leader;
    lw_cores_mend(world);
}

/* Two halves, drawn. */
static void divide(lw_cores *world, uint64_t leader) {
    (void)leader;
    if (world->node_count < 2) {
        return;
    }
    uint64_t side = lw_cores_between(world, 1, (1U << world->node_count) - 2);
    lw_cores_note_of(world, 0, "the lattice is divided: %" PRIx64, side, 0, 0, 0);
    for (uint64_t a = 1; a <= world->node_count; a++) {
        for (uint64_t b = 1; b < a; b++) {
            if ((side >> (a - 1) & 1) != (side >> (b - 1) & 1)) {
                lw_cores_part(world, a, b);
            }
        }
    }
}

/* Who stays a voter cannot reach who comes or goes, while there are two sets. */
static void divide_sets(lw_cores *world, uint64_t leader) {
    const lw_raft_config *config = &world->nodes[leader].raft.config;
    lw_raft_membership apart = lw_cores_percent(world, 50) ? LW_RAFT_JOINING : LW_RAFT_LEAVING;
    for (uint32_t one = 0; one < config->count; one++) {
        for (uint32_t other = 0; other < config->count; other++) {
            if (config->members[one].membership == apart &&
                config->members[other].membership != apart) {
                lw_cores_part(world, config->members[one].node, config->members[other].node);
            }
        }
    }
}

/* The leader keeps one other, who may then have what nobody else has, and may be lost, too. */
static void strand_leader(lw_cores *world, uint64_t leader) {
    uint64_t kept = lw_cores_any(world);
    lw_cores_note_of(world, leader, "is left with %" PRIu64, kept, 0, 0, 0);
    for (uint64_t id = 1; id <= world->node_count; id++) {
        if (id != leader && id != kept) {
            lw_cores_part(world, leader, id);
        }
    }
    uint64_t timeout = world->habits.timeout;
    lw_cores_event *made = lw_cores_schedule(world, LW_CORES_BETRAYAL, 0,
                                             lw_cores_between(world, timeout / 2, 2 * timeout));
    if (made != NULL) {
        made->other = leader;
        made->index = kept;
    }
}

void lw_cores_betray(lw_cores *world, uint64_t leader, uint64_t kept) {
    if (world->calm || leader == kept || !world->nodes[leader].leads || !world->nodes[kept].up) {
        return;
    }
    lw_cores_note_of(world, kept, "leaves %" PRIu64 " alone", leader, 0, 0, 0);
    lw_cores_part(world, leader, kept);
    lw_cores_crash(world, kept);
    lw_cores_tell_links(world, kept, true);
    (void)lw_cores_schedule(world, LW_CORES_RESTART, kept, lw_cores_between(world, 0, soon(world)));
    tempt_within(world, leader, 5 * soon(world));
}

/* ---- members and leadership ------------------------------------------------------------------ */

void lw_cores_set_member(lw_raft_config *config, uint64_t id, lw_raft_membership membership) {
    uint32_t at = 0;
    while (at < config->count && config->members[at].node < id) {
        at++;
    }
    if (at == config->count || config->members[at].node != id) {
        memmove(&config->members[at + 1], &config->members[at],
                (config->count - at) * sizeof(config->members[0]));
        config->count++;
    }
    config->members[at] = (lw_raft_member){.node = id, .membership = membership};
}

static void remove_member(lw_raft_config *config, uint64_t id) {
    for (uint32_t at = 0; at < config->count; at++) {
        if (config->members[at].node == id) {
            config->count--;
            memmove(&config->members[at], &config->members[at + 1],
                    (config->count - at) * sizeof(config->members[0]));
        }
    }
}

static void change_member(lw_cores *world, const lw_raft *raft, lw_raft_config *config, uint64_t id,
                          bool voters_change, bool blindly) {
    const lw_raft_member *member = lw_raft_config_find(config, id);
    if (member == NULL) {
        if (lw_cores_percent(world, 40)) {
            lw_cores_set_member(config, id, LW_RAFT_LEARNER);
        }
    } else if (member->membership == LW_RAFT_LEARNER) {
        if (voters_change && lw_cores_percent(world, 70) &&
            (blindly || lw_raft_caught_up(raft, id))) {
            lw_cores_set_member(config, id, LW_RAFT_JOINING);
        } else if (lw_cores_percent(world, 10)) {
            remove_member(config, id);
        }
    } else if (voters_change && lw_cores_percent(world, 30)) {
        lw_cores_set_member(config, id, LW_RAFT_LEAVING);
    }
}

/* A learner comes or goes, learners become voters, voters leave; the core says what may be. */
static void change_members(lw_cores *world, uint64_t leader) {
    const lw_raft *raft = &world->nodes[leader].raft;
    if (lw_raft_config_joint(&raft->config) ||
        world->config_count + CONFIGS_SPARE > LW_CORES_CONFIGS_MAX) {
        return;
    }
    lw_raft_config config = raft->config;
    bool voters_change = lw_cores_percent(world, 60);
    bool blindly = lw_cores_percent(world, BEHIND_PERCENT);
    for (uint64_t id = 1; id <= world->node_count; id++) {
        change_member(world, raft, &config, id, voters_change, blindly);
    }
    if (lw_raft_config_valid(&config)) {
        (void)lw_cores_propose(world, leader, 1, lw_cores_add_config(world, &config));
    }
}

/* A learner goes, or one comes: often the one that went, which hears late that it did. */
static void change_learner(lw_cores *world, uint64_t leader) {
    const lw_raft *raft = &world->nodes[leader].raft;
    if (lw_raft_config_joint(&raft->config) ||
        world->config_count + CONFIGS_SPARE > LW_CORES_CONFIGS_MAX) {
        return;
    }
    lw_raft_config config = raft->config;
    uint64_t id = lw_cores_any(world);
    const lw_raft_member *member = lw_raft_config_find(&config, id);
    if (member == NULL) {
        lw_cores_set_member(&config, id, LW_RAFT_LEARNER);
    } else if (member->membership == LW_RAFT_LEARNER) {
        remove_member(&config, id);
    } else {
        return;
    }
    (void)lw_cores_propose(world, leader, 1, lw_cores_add_config(world, &config));
}

static void hand_over(lw_cores *world, uint64_t leader, uint64_t to) {
    lw_cores_node *node = &world->nodes[leader];
    if (lw_raft_transfer(&node->raft, to, lw_cores_clock(world, node)) == LW_OK) {
        world->counts[LW_CORES_HANDED_OVER]++;
        lw_cores_note_of(world, leader, "hands over to %" PRIu64, to, 0, 0, 0);
    }
}

/* One who is to vote, and does not lead; else the leader, whom the core refuses. */
static uint64_t draw_heir(lw_cores *world, uint64_t leader) {
    const lw_raft_config *config = &world->nodes[leader].raft.config;
    uint64_t from = lw_cores_between(world, 0, config->count);
    for (uint64_t step = 0; step < config->count; step++) {
        const lw_raft_member *member = &config->members[(from + step) % config->count];
        if (member->node != leader && member->membership != LW_RAFT_LEARNER) {
            return member->node;
        }
    }
    return leader;
}

static void transfer(lw_cores *world, uint64_t leader) {
    hand_over(world, leader, draw_heir(world, leader));
}

/* Who is to lead hears so when it has been taken back, and is not heard where it was. */
static void transfer_in_vain(lw_cores *world, uint64_t leader) {
    uint32_t usual = world->habits.stale_percent;
    uint64_t heir = draw_heir(world, leader);
    world->habits.stale_percent = 100;
    world->unheard = heir;
    hand_over(world, leader, heir);
    lw_cores_settle(world, leader);
    world->habits.stale_percent = usual;
}

/* Something befalls the leader while its change is in flight. */
static void change_in_trouble(lw_cores *world, uint64_t leader) {
    strand_leader(world, leader);
    change_members(world, leader);
    if (lw_cores_percent(world, 30)) {
        crash(world, leader);
    }
}

/* Of the two sets only the new one hears of it. */
static void change_divided(lw_cores *world, uint64_t leader) {
    change_members(world, leader);
    divide_sets(world, leader);
}

static void stand_any(lw_cores *world, uint64_t leader) {
    (void)leader;
    uint64_t id = lw_cores_any(world);
    lw_cores_node *node = &world->nodes[id];
    if (lw_cores_awake(world, id)) {
        lw_raft_campaign(&node->raft, lw_cores_clock(world, node));
    }
}

/* Entries that some have and others lack, and then nobody who knows which. */
static void write_and_crash(lw_cores *world, uint64_t leader) {
    (void)lw_cores_propose(world, leader, (uint32_t)lw_cores_between(world, 1, 3), 0);
    lw_cores_settle(world, leader);
    if (lw_cores_percent(world, 50)) {
        cut_leader(world, leader);
    } else {
        crash(world, leader);
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* What people do to a group, or nothing: it is no fault, and always happens. */
enum { NO_FAULT = LW_FAULT_COUNT };

typedef struct trouble {
    const char *text;
    void (*strike)(lw_cores *world, uint64_t leader);
    int fault;       /* that it is one of; or NO_FAULT */
    bool of_leader;  /* nothing happens while there is none */
    uint32_t weight; /* of it among the others, at most */
} trouble;

static const trouble troubles[] = {
    [LW_CORES_MEND] = {"links are mended", mend, NO_FAULT, false, 10},
    {"a crash", crash_any, LW_FAULT_CRASH, false, 8},
    {"an outage", outage, LW_FAULT_OUTAGE, false, 1},
    {"a pause", pause_any, LW_FAULT_PAUSE, false, 8},
    {"a disk stalls", stall_disk, LW_FAULT_SLOW_DISK, false, 8},
    {"one is cut off", cut_any, LW_FAULT_CUT, false, 10},
    {"all are divided", divide, LW_FAULT_CUT, false, 6},
    {"one stands", stand_any, NO_FAULT, false, 8},
    {"the leader loses power", crash_leader, LW_FAULT_CRASH, true, 8},
    {"the leader stops", pause_leader, LW_FAULT_PAUSE, true, 8},
    {"the leader is cut off", cut_leader, LW_FAULT_CUT, true, 10},
    {"the leader is left with one", strand_leader, LW_FAULT_CUT, true, 10},
    {"the leader writes and fails", write_and_crash, LW_FAULT_CRASH, true, 8},
    {"others stand", tempt, NO_FAULT, true, 6},
    {"members change", change_members, NO_FAULT, true, 10},
    {"members change, the leader is left with one", change_in_trouble, LW_FAULT_CUT, true, 10},
    {"members change, and are divided", change_divided, LW_FAULT_CUT, true, 10},
    {"sets of members are divided", divide_sets, LW_FAULT_CUT, true, 6},
    {"the leader hands over", transfer, NO_FAULT, true, 10},
    {"the leader hands over, and is heard late", transfer_in_vain, NO_FAULT, true, 8},
    {"a learner comes or goes", change_learner, NO_FAULT, true, 15},
};
enum { TROUBLES = sizeof(troubles) / sizeof(troubles[0]) };
_Static_assert((int)TROUBLES <= (int)LW_CORES_TROUBLES_MAX, "habits have room for all of them");

uint32_t lw_cores_trouble_count(void) {
    return TROUBLES;
}

uint32_t lw_cores_trouble_weight(uint32_t place) {
    return troubles[place].weight;
}

/* One of those that the round prefers; of leaders only, if that is wanted. */
static uint32_t draw_trouble(lw_cores *world, bool of_leader) {
    uint64_t total = 0;
    for (uint32_t place = 0; place < TROUBLES; place++) {
        total += of_leader && !troubles[place].of_leader ? 0 : world->habits.preferred[place];
    }
    if (total == 0) {
        return LW_CORES_MEND;
    }
    uint64_t choice = lw_cores_between(world, 0, total - 1);
    for (uint32_t place = 0;; place++) {
        uint64_t weight =
            of_leader && !troubles[place].of_leader ? 0 : world->habits.preferred[place];
        if (choice < weight) {
            return place;
        }
        choice -= weight;
    }
}

/* Draws of an occasion come from a stream of its own, so that one that is left out leaves the next
 * ones what they are. Answers the usual stream. */
static lw_chance begin_occasion(lw_cores *world, uint64_t number) {
    lw_chance usual = world->chance;
    world->chance = lw_chance_of(world->seed, lw_hash(number, lw_text("raft trouble")));
    return usual;
}

static void strike(lw_cores *world, uint32_t place, uint64_t number, uint64_t leader) {
    const trouble *one = &troubles[place];
    bool happens = !one->of_leader || leader != 0;
    if (happens && one->fault != NO_FAULT) {
        happens = lw_machines_strikes(world->machines, (lw_fault)one->fault, number,
                                      "%s (leader: node%" PRIu64 ")", one->text, leader);
    }
    if (!happens) {
        return;
    }
    one->strike(world, leader);
    for (uint64_t id = 1; id <= world->node_count; id++) {
        if (world->nodes[id].up) {
            lw_cores_settle(world, id);
        }
    }
}

void lw_cores_nemesis(lw_cores *world) {
    uint64_t number = ++world->occasions;
    lw_chance usual = begin_occasion(world, number);
    uint32_t place = draw_trouble(world, false);
    strike(world, place, number, lw_cores_leader(world));
    (void)lw_cores_schedule(world, LW_CORES_NEMESIS, 0,
                            lw_cores_between(world, 0, world->habits.trouble_gap));
    world->chance = usual;
}

void lw_cores_hunt(lw_cores *world, uint64_t leader) {
    if (world->calm || !lw_cores_awake(world, leader) || !world->nodes[leader].leads) {
        return;
    }
    uint64_t number = HUNTS + world->nodes[leader].raft.term; /* no two are of one term */
    lw_chance usual = begin_occasion(world, number);
    strike(world, draw_trouble(world, true), number, leader);
    world->chance = usual;
}

/* Whether all the others can do without this one: they go by one configuration, of one set, in
 * which more than half vote without it. Where a change is in flight nobody might be elected: who
 * has it may need the vote of one who does not, and has a newer log. */
static bool dispensable(const lw_cores *world, uint64_t id) {
    const lw_raft *newest = &world->nodes[id].raft;
    for (uint64_t other = 1; other <= world->node_count; other++) {
        const lw_raft *raft = &world->nodes[other].raft;
        newest = raft->config_index > newest->config_index ? raft : newest;
    }
    uint32_t all = 0, rest = 0;
    bool alike = !lw_raft_config_joint(&newest->config);
    for (uint32_t place = 0; place < newest->config.count; place++) {
        const lw_raft_member *member = &newest->config.members[place];
        const lw_raft *raft = &world->nodes[member->node].raft;
        bool votes = member->membership == LW_RAFT_VOTER;
        alike = alike && (!votes || raft->config_index == newest->config_index);
        all += votes;
        rest += votes && member->node != id && !lw_raft_mute(raft);
    }
    return alike && 2 * rest > all;
}

/* One, best a leader, hears nobody or is heard by nobody, also in peace: the others get on (R6). */
static void leave_one_cut(lw_cores *world, uint32_t round) {
    uint64_t leader = lw_cores_leader(world);
    uint64_t id = leader != 0 && lw_cores_percent(world, 70) ? leader : lw_cores_any(world);
    bool hears = lw_cores_percent(world, 50);
    if (!dispensable(world, id) ||
        !lw_machines_strikes(world->machines, LW_FAULT_CUT, PEACES + round,
                             "node%" PRIu64 " stays cut off in peace", id)) {
        return;
    }
    lw_cores_note_of(world, id, "stays cut off in peace: still hears %" PRIu64, hears, 0, 0, 0);
    for (uint64_t other = 1; other <= world->node_count; other++) {
        world->blocked[id][other] = world->blocked[id][other] || hears;
        world->blocked[other][id] = world->blocked[other][id] || !hears;
    }
    if (world->habits.quiesce_after != LW_RAFT_NEVER || lw_cores_percent(world, 50)) {
        lw_cores_tell_links(world, id, true); /* who sleeps is woken by nothing else */
    }
}

void lw_cores_heal(lw_cores *world, uint32_t round) {
    static const uint64_t delay_max = 5 * LW_CORES_MS, disk_max = 4 * LW_CORES_MS;
    lw_cores_habits *habits = &world->habits;
    lw_cores_note_of(world, 0, "---- all is healed", 0, 0, 0, 0);
    world->calm = true;
    world->healed_at = world->now;
    habits->loss_percent = habits->double_percent = habits->late_percent = 0;
    habits->stale_percent = 0;
    habits->delay_max = habits->delay_max < delay_max ? habits->delay_max : delay_max;
    habits->disk_max = habits->disk_max < disk_max ? habits->disk_max : disk_max;
    habits->install_max = LW_CORES_INSTALL_MS * LW_CORES_MS;
    for (uint64_t id = 1; id <= world->node_count; id++) {
        world->nodes[id].stalled_until = 0;
        if (!world->nodes[id].up) {
            lw_cores_start(world, id);
        }
    }
    lw_cores_mend(world);
    lw_chance usual = begin_occasion(world, PEACES + round);
    if (lw_cores_percent(world, LEFT_CUT_PERCENT)) {
        leave_one_cut(world, round);
    }
    world->chance = usual;
}
