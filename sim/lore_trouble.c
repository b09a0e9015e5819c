/* SPDX-License-Identifier: Apache-2.0 */
/* What strikes, and what people ask for, at drawn moments. What an occasion is like follows from
 * the seed and its number alone, so that one that is left out leaves the others as they were. */
#include "sim/lore.h"

#include "base/hash.h"

#include <inttypes.h>

enum {
    PRESENT_PERCENT = 65, /* of the kinds of happenings, in a run */
    LOST_PERCENT = 40,    /* of the runs: a node does not come back at the end */
    REFILL_PERCENT = 50,  /* of the nodes that were drained */
    DOWN_MS_MAX = 8000,
    PAUSE_MS_MAX = 7000,
    CUT_MS_MIN = 300,
    CUT_MS_MORE = 12000, /* beyond the grace */
    HOLD_MS_MIN = 1000,
    HOLD_MS_MAX = 28000,
    BOOT_MS_MAX = 2000,
    ONE_WAY_PERCENT = 40,
    ALONE_PERCENT = 50, /* of the islands: one node */
    SPLIT_AT_MOST = LORE_SHARDS_MAX - 4,
};

typedef struct occasion {
    lore *of;
    uint64_t number;
    lw_chance chance;
} occasion;

/* ---- drawing -------------------------------------------------------------------------------- */

static uint64_t below(occasion *now, uint64_t bound) {
    return lw_chance_below(&now->chance, bound);
}

static uint64_t between(occasion *now, uint64_t lowest, uint64_t highest) {
    return lw_chance_between(&now->chance, lowest, highest);
}

static bool percent(occasion *now, uint32_t share) {
    return lw_chance_percent(&now->chance, share);
}

/* One that runs; NULL: the one that was drawn does not. */
static lore_place *draw_place(occasion *now) {
    lore_place *place = &now->of->places[below(now, now->of->place_count)];
    return lore_awake(place) ? place : NULL;
}

static uint32_t draw_shard(occasion *now) {
    return (uint32_t)below(now, now->of->shard_count);
}

/* Nodes that run and hold shards, but for one. */
static uint32_t up_count(lore *it, uint32_t but) {
    uint32_t count = 0;
    for (uint32_t soul = 0; soul < it->place_count; soul++) {
        const lore_place *body = it->places[soul].soul == soul ? lore_body(it, soul) : NULL;
        count += body != NULL && soul != but && !it->expelled[soul] &&
                 lw_gossip_self(body->gossip)->state == LW_MEMBER_UP;
    }
    return count;
}

static uint64_t at_ms(const lore *it, uint64_t after_ms) {
    return lore_now(it) + after_ms * LW_MACHINES_NS_PER_MS;
}

/* ---- machines ------------------------------------------------------------------------------- */

static void crash(occasion *now) {
    lore_place *place = draw_place(now);
    uint64_t down_ms = between(now, 1, DOWN_MS_MAX);
    if (place != NULL &&
        lw_machines_strikes(now->of->machines, LW_FAULT_CRASH, now->number,
                            "%s is away for %" PRIu64 " ms", place->name, down_ms)) {
        lore_crash(place, down_ms);
    }
}

static void lose_power(occasion *now) {
    lore *it = now->of;
    uint64_t down_ms = between(now, 1, DOWN_MS_MAX);
    if (!lw_machines_strikes(it->machines, LW_FAULT_OUTAGE, now->number, "all nodes end")) {
        return;
    }
    for (uint32_t index = 0; index < it->place_count; index++) {
        uint64_t more_ms = between(now, 0, BOOT_MS_MAX);
        if (it->places[index].gossip != NULL) {
            lore_crash(&it->places[index], down_ms + more_ms);
        }
    }
}

static void stop(occasion *now) {
    lore_place *place = draw_place(now);
    uint64_t pause_ms = between(now, 100, PAUSE_MS_MAX);
    if (place != NULL && lw_machines_strikes(now->of->machines, LW_FAULT_PAUSE, now->number,
                                             "%s for %" PRIu64 " ms", place->name, pause_ms)) {
        place->paused_until_ns = place->awake_ns = at_ms(now->of, pause_ms);
    }
}

static void copy_folder(occasion *now) {
    lore *it = now->of;
    const lore_place *from = draw_place(now);
    lore_place *to = &it->places[it->place_count - 1];
    if (from == NULL || to->fate != LORE_UNBORN || from->soul == to->soul ||
        it->expelled[from->soul] ||
        !lw_machines_strikes(it->machines, LW_FAULT_FOLDER_COPIED, now->number, "of %s to %s",
                             from->name, to->name)) {
        return;
    }
    it->copied[from->soul] = true;
    to->soul = from->soul;
    to->keys = from->keys;
    to->id = from->id;
    to->incarnation = from->incarnation;
    lw_buffer_clear(&to->records);
    lw_buffer_append(&to->records, lw_buffer_view(&from->records));
    lore_start(to, NULL);
}

/* ---- ways ----------------------------------------------------------------------------------- */

/* Some places, or one; as bits. */
static uint32_t draw_island(occasion *now) {
    uint32_t count = now->of->place_count;
    uint32_t one = UINT32_C(1) << below(now, count);
    uint32_t many = (uint32_t)below(now, UINT32_C(1) << count);
    return percent(now, ALONE_PERCENT) ? one : many;
}

/* Between those on an island and all others: from there, or both ways. */
static void set_until(occasion *now, uint32_t island, bool one_way, uint64_t until_ns,
                      uint64_t ways[LORE_PLACES_MAX][LORE_PLACES_MAX]) {
    uint32_t count = now->of->place_count;
    for (uint32_t from = 0; from < count; from++) {
        for (uint32_t to = 0; to < count; to++) {
            bool here = (island >> from & 1) != 0, there = (island >> to & 1) != 0;
            if (here != there && (here || !one_way)) {
                ways[from][to] = until_ns > ways[from][to] ? until_ns : ways[from][to];
            }
        }
    }
}

static void cut(occasion *now) {
    lore *it = now->of;
    uint32_t island = draw_island(now);
    bool one_way = percent(now, ONE_WAY_PERCENT);
    uint64_t cut_ms = between(now, CUT_MS_MIN, it->grace_ms + CUT_MS_MORE);
    uint64_t planes = between(now, 1, 3), until_ns = at_ms(it, cut_ms);
    const char *ways = one_way ? "from" : "to and from";
    if ((planes & 1) != 0 &&
        lw_machines_strikes(it->machines, LW_FAULT_CUT, now->number, "%s nodes %x, %" PRIu64 " ms",
                            ways, island, cut_ms)) {
        set_until(now, island, one_way, until_ns, it->link_cut_ns);
    }
    if ((planes & 2) != 0 &&
        lw_machines_strikes(it->machines, LW_FAULT_CUT_BUS, now->number,
                            "%s nodes %x, %" PRIu64 " ms", ways, island, cut_ms)) {
        set_until(now, island, one_way, until_ns, it->bus_cut_ns);
    }
}

static void hold(occasion *now) {
    lore *it = now->of;
    uint32_t island = draw_island(now);
    uint64_t hold_ms = between(now, HOLD_MS_MIN, HOLD_MS_MAX);
    if (lw_machines_strikes(it->machines, LW_FAULT_BUS_HELD, now->number,
                            "from nodes %x, %" PRIu64 " ms", island, hold_ms)) {
        set_until(now, island, true, at_ms(it, hold_ms), it->held_ns);
    }
}

/* ---- company -------------------------------------------------------------------------------- */

static void replay(occasion *now) {
    if (lw_machines_strikes(now->of->machines, LW_FAULT_REPLAYED, now->number, "some")) {
        lore_replay(now->of, &now->chance);
    }
}

static void forge(occasion *now) {
    if (lw_machines_strikes(now->of->machines, LW_FAULT_FORGED, now->number, "one")) {
        lore_forge(now->of, &now->chance);
    }
}

/* A member is believed about shards, also one that is wrong. */
static void dispute(occasion *now) {
    lore *it = now->of;
    lore_place *place = draw_place(now);
    uint32_t index = draw_shard(now);
    bool further = percent(now, 50);
    if (place == NULL || !lw_machines_strikes(it->machines, LW_FAULT_DISPUTED, now->number,
                                              "%s, shard %u", place->name, index)) {
        return;
    }
    lw_directory_row row = lore_row(it, &it->shards[index]), known;
    row.shard.end = row.shard.end.size == 0 ? lw_text(further ? "zz" : "z") : lw_text("");
    row.term = row.shard.leader = 0;
    bool knows = lw_directory_find(lw_gossip_directory(place->gossip), row.shard.id, &known) &&
                 known.shard.epoch.range_version == row.shard.epoch.range_version &&
                 known.shard.epoch.config_version == row.shard.epoch.config_version &&
                 !lw_equal(known.shard.end, row.shard.end);
    lw_gossip_shard(place->gossip, &row, true, lore_clock_ms(place));
    bool found = lw_directory_find(lw_gossip_directory(place->gossip), row.shard.id, &known);
    if (knows && !(found && known.disputed)) {
        lw_machines_broken(it->machines, "a dispute was not noticed", "%s was told of shard %u",
                           place->name, index);
    }
    lore_settle(place);
}

/* ---- people --------------------------------------------------------------------------------- */

static void drain(occasion *now) {
    lore_place *place = draw_place(now);
    lw_member_state state = place == NULL ? LW_MEMBER_GONE : lw_gossip_self(place->gossip)->state;
    if (state == LW_MEMBER_DRAINING) {
        lw_gossip_set_state(place->gossip, LW_MEMBER_UP, lore_clock_ms(place));
        lore_settle(place);
    } else if (state == LW_MEMBER_UP && up_count(now->of, place->soul) > 0) {
        lw_gossip_set_state(place->gossip, LW_MEMBER_DRAINING, lore_clock_ms(place));
        lore_settle(place);
    }
}

static void leave(occasion *now) {
    lore_place *place = draw_place(now);
    if (place != NULL && lw_gossip_self(place->gossip)->state == LW_MEMBER_UP &&
        up_count(now->of, place->soul) > 1) {
        lw_gossip_set_state(place->gossip, LW_MEMBER_LEAVING, lore_clock_ms(place));
        lore_settle(place);
    }
}

static void expel(occasion *now) {
    lore *it = now->of;
    lore_place *place = draw_place(now);
    uint32_t soul = (uint32_t)below(now, it->place_count);
    uint64_t id = it->places[soul].id;
    if (place == NULL || it->places[soul].soul != soul || place->soul == soul ||
        it->expelled[soul] || it->copied[soul] || up_count(it, soul) < 2 ||
        !lore_can_lose(it, soul) ||
        lw_gossip_expel(place->gossip, id, lore_clock_ms(place)) != LW_OK) {
        return;
    }
    it->expelled[soul] = true;
    lw_machines_note(it->machines, place->name, "expels", id, "%s", it->places[soul].name);
    const lw_members *members = lw_gossip_members(place->gossip);
    for (uint32_t index = 0; index < members->count; index++) {
        if (lw_members_at(members, index)->node == id) {
            lore_issue(it, lw_members_record(members, index));
        }
    }
    lore_settle(place);
}

static void join(occasion *now) {
    lore *it = now->of;
    lore_place *place = &it->places[below(now, it->place_count - 1)];
    if (place->fate == LORE_UNBORN) {
        place->fate = LORE_DOWN;
        lw_agenda_add(&it->machines->agenda, &place->boots, at_ms(it, 1));
    }
}

static void rename_node(occasion *now) {
    lore_place *place = draw_place(now);
    if (place != NULL && lw_gossip_self(place->gossip)->state != LW_MEMBER_GONE) {
        lw_status status = lw_gossip_set_name(place->gossip, lw_text("db"), lore_clock_ms(place));
        LW_ASSERT(status == LW_OK || status == LW_REFUSED);
        lore_settle(place);
    }
}

static void change_record(occasion *now) {
    lore_place *place = draw_place(now);
    uint32_t epochs[] = {1 + (uint32_t)below(now, 5)};
    char address[24];
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", 4000 + (uint32_t)below(now, 100));
    if (place != NULL && lw_gossip_self(place->gossip)->state != LW_MEMBER_GONE) {
        lw_gossip_set_keys(place->gossip, epochs, 1, lore_clock_ms(place));
        lw_gossip_set_bus_address(place->gossip, lw_text(address), lore_clock_ms(place));
        lore_settle(place);
    }
}

static void split(occasion *now) {
    uint32_t shard = draw_shard(now);
    uint64_t luck = lw_chance_next(&now->chance) >> 16;
    if (now->of->shard_count < SPLIT_AT_MOST) {
        lore_split(now->of, shard, luck);
    }
}

static void hand_over(occasion *now) {
    uint32_t shard = draw_shard(now);
    lore_hand_over(now->of, shard, below(now, 64));
}

/* ---- all of it ------------------------------------------------------------------------------ */

static const struct {
    void (*happens)(occasion *now);
    uint32_t weight;
} happenings[] = {{crash, 4}, {stop, 3},     {lose_power, 1}, {copy_folder, 1}, {cut, 6},
                  {hold, 3},  {replay, 6},   {forge, 6},      {dispute, 1},     {drain, 2},
                  {leave, 1}, {expel, 1},    {join, 2},       {rename_node, 2}, {change_record, 2},
                  {split, 2}, {hand_over, 2}};
enum { HAPPENINGS = sizeof(happenings) / sizeof(happenings[0]) };

static void happen(occasion *now) {
    uint32_t total = 0;
    for (uint32_t kind = 0; kind < HAPPENINGS; kind++) {
        total += happenings[kind].weight;
    }
    uint64_t choice = below(now, total);
    uint32_t kind = 0;
    while (choice >= happenings[kind].weight) {
        choice -= happenings[kind++].weight;
    }
    if (now->of->may[kind]) {
        happenings[kind].happens(now);
    }
}

static void strike(lw_agenda_event *event) {
    lore *it = event->owner;
    occasion now = {.of = it, .number = ++it->occasions};
    now.chance = lw_chance_of(it->machines->options->seed, lw_hash(now.number, lw_text("lore")));
    uint64_t wait_ms = between(&now, 1, 2 * it->occasion_ms);
    lw_agenda_add(&it->machines->agenda, event, at_ms(it, wait_ms));
    happen(&now);
}

void lore_trouble_begin(lore *it) {
    lw_chance chance = lw_chance_of(it->machines->options->seed, lw_hash(0, lw_text("swarm")));
    LW_ASSERT((size_t)HAPPENINGS <= sizeof(it->may) / sizeof(it->may[0]));
    for (uint32_t kind = 0; kind < HAPPENINGS; kind++) {
        it->may[kind] = lw_chance_percent(&chance, PRESENT_PERCENT);
    }
    it->troubled = true;
    it->occasion_ms = (uint32_t)lw_chance_between(&chance, 100, 700);
    it->strikes = (lw_agenda_event){.run = strike, .owner = it};
    lw_agenda_add(&it->machines->agenda, &it->strikes, at_ms(it, 1));
}

/* One that nobody needs does not come back. */
static void lose_one(lore *it) {
    uint32_t first = (uint32_t)lore_between(it, 0, it->place_count - 1);
    bool wanted = lore_percent(it, LOST_PERCENT);
    for (uint32_t step = 0; step < it->place_count && wanted; step++) {
        uint32_t soul = (first + step) % it->place_count;
        lore_place *place = &it->places[soul];
        if (place->gossip != NULL && place->soul == soul && !it->copied[soul] &&
            !it->expelled[soul] && up_count(it, soul) >= 2 && lore_can_lose(it, soul)) {
            lore_end(place, LORE_LOST);
            return;
        }
    }
}

static void wake(lore_place *place) {
    lore *it = place->of;
    place->paused_until_ns = lore_now(it);
    place->awake_ns = place->awake_ns > lore_now(it) ? lore_now(it) : place->awake_ns;
    if (lw_gossip_self(place->gossip)->state == LW_MEMBER_DRAINING &&
        lore_percent(it, REFILL_PERCENT)) {
        lw_gossip_set_state(place->gossip, LW_MEMBER_UP, lore_clock_ms(place));
    }
    lore_settle(place);
}

void lore_trouble_end(lore *it) {
    lw_agenda *agenda = &it->machines->agenda;
    it->troubled = false;
    it->machines->faults = lw_faults_none();
    lw_agenda_remove(agenda, &it->strikes);
    memset(it->bus_cut_ns, 0, sizeof(it->bus_cut_ns));
    memset(it->link_cut_ns, 0, sizeof(it->link_cut_ns));
    memset(it->held_ns, 0, sizeof(it->held_ns));
    lose_one(it);
    for (uint32_t index = 0; index < it->place_count && !it->machines->broken; index++) {
        lore_place *place = &it->places[index];
        uint64_t after_ms = lore_between(it, 1, BOOT_MS_MAX);
        if (place->gossip != NULL) {
            wake(place);
        } else if (place->fate == LORE_DOWN) {
            lw_agenda_remove(agenda, &place->boots);
            lw_agenda_add(agenda, &place->boots, at_ms(it, after_ms));
        }
    }
    lw_machines_note(it->machines, NULL, "peace", 0, "%s", "");
}
