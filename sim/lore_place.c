/* SPDX-License-Identifier: Apache-2.0 */
/* Machines with a folder, and the node that runs there: see lore.h. What is done with gossip is
 * what node/lattice.c does. */
#include "sim/lore.h"

#include <inttypes.h>

enum {
    CLOCK_MS_MAX = 100000000,
    DRIFT_PPM_MAX = 900, /* of each clock */
    GREET_MS_MIN = 3000,
    GREET_MS_MAX = 10000,
    SAVED_AT_ONCE_PERCENT = 60,
    JOIN_AGAIN_MS = 300,
    COPY_DOWN_MS = 1000,
    WALL_RIGHT_MS = 300, /* what most clocks are apart, */
    WALL_WRONG_MS = 1000000,
    WALL_WRONG_PERCENT = 20,
};

/* ---- looking -------------------------------------------------------------------------------- */

uint64_t lore_clock_ms(const lore_place *place) {
    uint64_t elapsed_ns = lore_now(place->of);
    uint64_t drifted_ns = elapsed_ns / 1000000 * place->drift_ppm;
    return (place->clock_ns + elapsed_ns + drifted_ns) / LW_MACHINES_NS_PER_MS;
}

bool lore_awake(const lore_place *place) {
    return place->gossip != NULL && place->paused_until_ns <= lore_now(place->of);
}

lore_place *lore_body(lore *it, uint32_t soul) {
    lore_place *body = NULL;
    for (uint32_t index = 0; index < it->place_count; index++) {
        lore_place *place = &it->places[index];
        bool runs = place->gossip != NULL && place->soul == soul;
        if (runs && (body == NULL || place->incarnation > body->incarnation)) {
            body = place;
        }
    }
    return body;
}

uint32_t lore_soul_of(const lore *it, uint64_t id) {
    for (uint32_t index = 0; index < it->place_count; index++) {
        if (it->places[index].id == id) {
            return it->places[index].soul;
        }
    }
    return LORE_NOBODY;
}

static const lw_member *member_of(const lore_place *place, uint32_t soul) {
    return lw_members_find(lw_gossip_members(place->gossip), place->of->places[soul].id);
}

bool lore_knows(const lore_place *place, uint32_t soul) {
    const lw_member *member = member_of(place, soul);
    return member != NULL && member->state != LW_MEMBER_GONE;
}

bool lore_knows_gone(const lore_place *place, uint32_t soul) {
    const lw_member *member = member_of(place, soul);
    return member != NULL && member->state == LW_MEMBER_GONE;
}

/* ---- the folder ----------------------------------------------------------------------------- */

static void keep_page(void *argument, lw_bytes page) {
    lw_buffer *records = argument;
    LW_ASSERT(records->size == 0); /* so few fit one page */
    lw_buffer_append(records, page);
}

static void copy_members(const lore_place *place, lw_buffer *records) {
    lw_buffer_clear(records);
    lw_members_pages(lw_gossip_members(place->gossip), keep_page, records);
}

static void save(lore_place *place) {
    copy_members(place, &place->records);
    place->unsaved = false;
}

/* What the node was when it stopped: state and name. False: it has left for ever. */
static bool as_before(const lore_place *place, lw_member *self) {
    lw_reader reader = lw_reader_of(lw_buffer_view(&place->records));
    uint32_t count = place->records.size == 0 ? 0 : lw_read_array(&reader);
    for (uint32_t index = 0; index < count; index++) {
        lw_member member;
        lw_status status = lw_member_decode(lw_read_bytes(&reader), &member);
        LW_ASSERT(status == LW_OK);
        if (member.node == place->id) {
            self->state = member.state;
            self->name = member.name;
            self->named = member.named;
        }
    }
    return self->state != LW_MEMBER_GONE;
}

/* ---- what gossip wants ---------------------------------------------------------------------- */

/* As lattice_meet does. */
static void meet(lore_place *place, uint32_t soul) {
    lore_plane *plane = &place->planes[soul];
    plane->since_ms = lore_clock_ms(place);
    plane->heard_ms = 0;
    if (plane->up) {
        lw_gossip_link(place->gossip, place->of->places[soul].id, true, plane->since_ms);
    }
}

static void handle(lore_place *place, const lw_gossip_event *event) {
    uint32_t soul = lore_soul_of(place->of, event->node);
    lw_machines_note(place->of->machines, place->name, lw_gossip_event_name(event->kind),
                     event->shard, "%s %s",
                     soul == LORE_NOBODY ? "-" : place->of->places[soul].name,
                     lw_member_state_name(event->state));
    switch (event->kind) {
    case LW_GOSSIP_JOINED:
        place->unsaved = true;
        if (soul != LORE_NOBODY) {
            meet(place, soul);
        }
        break;
    case LW_GOSSIP_CHANGED:
    case LW_GOSSIP_STATE:
        place->unsaved = true;
        break;
    case LW_GOSSIP_RENAMED:
        place->unsaved = true;
        lore_greet_all(place);
        break;
    case LW_GOSSIP_COPIED:
        place->ends = true;
        break;
    case LW_GOSSIP_EXPELLED:
        place->unsaved = true;
        place->ends = true;
        break;
    case LW_GOSSIP_QUIET:
        lore_greet(place, soul);
        break;
    case LW_GOSSIP_HEARD:
    case LW_GOSSIP_UNLINKED:
    case LW_GOSSIP_LINKED:
    case LW_GOSSIP_DEAD:
    case LW_GOSSIP_DISPUTED:
    case LW_GOSSIP_CLOCK_WRONG:
    case LW_GOSSIP_CLOCK_RIGHT:
        break;
    }
}

/* It was told to: as a copy, or since it is gone for the others. Of two copies one may go on; if
 * both were told, people start one again. */
static void end_as_told(lore_place *place) {
    bool gone = lore_knows_gone(place, place->soul);
    if (gone && lore_percent(place->of, 90)) {
        save(place);
    }
    lore *it = place->of;
    lore_end(place, LORE_OVER);
    bool goes_on = gone || lore_body(it, place->soul) != NULL;
    for (uint32_t index = 0; index < it->place_count; index++) {
        const lore_place *other = &it->places[index];
        goes_on = goes_on || (other->fate == LORE_DOWN && other->soul == place->soul);
    }
    if (!goes_on) {
        place->fate = LORE_DOWN;
        lw_agenda_add(&it->machines->agenda, &place->boots,
                      lore_now(it) + COPY_DOWN_MS * LW_MACHINES_NS_PER_MS);
    }
}

static void tick_at_deadline(lore_place *place) {
    lw_agenda *agenda = &place->of->machines->agenda;
    uint64_t deadline_ms = lw_gossip_deadline(place->gossip), now_ms = lore_clock_ms(place);
    lw_agenda_remove(agenda, &place->ticks);
    if (deadline_ms != LW_GOSSIP_NEVER) {
        uint64_t wait_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
        lw_agenda_add(agenda, &place->ticks, lore_now(place->of) + wait_ms * LW_MACHINES_NS_PER_MS);
    }
}

void lore_settle(lore_place *place) {
    lw_gossip_message message;
    lw_gossip_event event;
    while (lw_gossip_next_event(place->gossip, &event)) {
        handle(place, &event);
    }
    while (lw_gossip_next_message(place->gossip, &message)) {
        lore_publish(place, &message);
    }
    lore_watch(place);
    if (place->unsaved && lore_percent(place->of, SAVED_AT_ONCE_PERCENT)) {
        save(place);
    }
    if (place->ends) {
        end_as_told(place);
    } else {
        tick_at_deadline(place);
    }
}

/* Put off while it is paused. */
static bool sleeps(lore_place *place, lw_agenda_event *event) {
    bool paused = !lore_awake(place);
    if (paused) {
        lw_agenda_add(&place->of->machines->agenda, event, place->paused_until_ns);
    }
    return paused;
}

static void tick(lw_agenda_event *event) {
    lore_place *place = event->owner;
    if (sleeps(place, event)) {
        return;
    }
    lw_gossip_tick(place->gossip, lore_clock_ms(place));
    lore_settle(place);
    if (place->gossip != NULL && lw_gossip_self(place->gossip)->state == LW_MEMBER_GONE &&
        lw_gossip_deadline(place->gossip) == LW_GOSSIP_NEVER) {
        save(place);
        lore_end(place, LORE_OVER);
    }
}

/* As look_after_shards does. */
static void look(lw_agenda_event *event) {
    lore_place *place = event->owner;
    lore *it = place->of;
    if (sleeps(place, event)) {
        return;
    }
    lore_look(place);
    if (place->unsaved) {
        save(place);
    }
    if (lore_now(it) >= place->greets_ns) {
        uint64_t wait_ms = lore_between(it, GREET_MS_MIN, GREET_MS_MAX);
        place->greets_ns = lore_now(it) + wait_ms * LW_MACHINES_NS_PER_MS;
        place->greeted = (place->greeted + 1) % it->place_count;
        lore_greet(place, place->greeted);
    }
    lore_watch_planes(place);
    lw_agenda_add(&it->machines->agenda, event, lore_now(it) + it->look_ms * LW_MACHINES_NS_PER_MS);
    lore_settle(place);
}

/* ---- starting and ending -------------------------------------------------------------------- */

/* Somebody who lets a newcomer in. */
static const lore_place *find_host(lore *it, const lore_place *newcomer) {
    uint32_t first = (uint32_t)lore_between(it, 0, it->place_count - 1);
    for (uint32_t step = 0; step < it->place_count; step++) {
        const lore_place *place = &it->places[(first + step) % it->place_count];
        if (lore_awake(place) && place->soul != newcomer->soul &&
            lw_gossip_self(place->gossip)->state != LW_MEMBER_GONE &&
            it->link_cut_ns[place->index][newcomer->index] <= lore_now(it) &&
            it->link_cut_ns[newcomer->index][place->index] <= lore_now(it)) {
            return place;
        }
    }
    return NULL;
}

static void boot(lw_agenda_event *event) {
    lore_place *place = event->owner;
    lore *it = place->of;
    bool founder = place->index == 0 && place->records.size == 0;
    bool newcomer = place->records.size == 0 && !founder;
    const lore_place *host = newcomer ? find_host(it, place) : NULL;
    if (newcomer && host == NULL) {
        lw_agenda_add(&it->machines->agenda, event,
                      lore_now(it) + JOIN_AGAIN_MS * LW_MACHINES_NS_PER_MS);
        return;
    }
    lore_start(place, host);
}

void lore_place_make(lore *it, uint32_t index) {
    static const char *const zones[] = {"", "a", "b", "c"};
    lore_place *place = &it->places[index];
    *place = (lore_place){.of = it, .index = index, .soul = index};
    (void)snprintf(place->name, sizeof(place->name), "node%u", index + 1);
    (void)snprintf(place->address, sizeof(place->address), "10.0.0.%u:7871", index + 1);
    (void)snprintf(place->zone, sizeof(place->zone), "%s", zones[lore_between(it, 0, 3)]);
    place->capacity = lore_between(it, 1, 2) << 40;
    bool wrong = lw_chance_percent(&it->whims, WALL_WRONG_PERCENT);
    int64_t most_ms = wrong ? WALL_WRONG_MS : WALL_RIGHT_MS;
    place->wall_ahead_ms = (int64_t)lw_chance_below(&it->whims, (uint64_t)most_ms) - most_ms / 2;
    uint8_t seed[LW_SEED_SIZE];
    lw_chance_fill(&it->chance, seed, sizeof(seed));
    lw_identity_derive(seed, &place->keys);
    place->id = lw_identity_number(place->keys.public_key);
    place->records = lw_buffer_in(it->memory);
    place->boots = (lw_agenda_event){.run = boot, .owner = place};
    place->ticks = (lw_agenda_event){.run = tick, .owner = place};
    place->looks = (lw_agenda_event){.run = look, .owner = place};
}

static void begin_life(lore_place *place) {
    lore *it = place->of;
    place->fate = LORE_RUNS;
    place->life++;
    place->awake_ns = lore_now(it);
    place->paused_until_ns = place->greets_ns = 0;
    place->ends = false;
    place->clock_ns = lore_between(it, 1, CLOCK_MS_MAX) * LW_MACHINES_NS_PER_MS;
    place->drift_ppm = lore_between(it, 0, DRIFT_PPM_MAX);
    memset(place->planes, 0, sizeof(place->planes));
    place->ledger = (lw_placement_ledger){0};
    lore_watch_begin(place);
    it->machines->result->boots++;
}

static void learn(lore_place *place, lw_bytes page) {
    lw_status status =
        page.size == 0 ? LW_OK : lw_gossip_learn(place->gossip, page, lore_clock_ms(place));
    LW_ASSERT(status == LW_OK);
}

/* Whom its folder names, or its command line; if that one is taken, another. */
static void name_itself(lore_place *place) {
    lw_bytes wanted = lw_text(place->index % 4 == 3 && place->life == 1 ? "db" : "");
    uint64_t now_ms = lore_clock_ms(place);
    if (lw_gossip_set_name(place->gossip, wanted, now_ms) != LW_OK) {
        lw_status status = lw_gossip_set_name(place->gossip, (lw_bytes){0}, now_ms);
        LW_ASSERT(status == LW_OK);
    }
}

void lore_start(lore_place *place, const lore_place *host) {
    lore *it = place->of;
    lw_gossip_options options = {.memory = it->memory,
                                 .identity = &place->keys,
                                 .self = {.node = place->id,
                                          .incarnation = ++place->incarnation,
                                          .state = LW_MEMBER_UP,
                                          .address = lw_text(place->address),
                                          .zone = lw_text(place->zone),
                                          .capacity = place->capacity},
                                 .heartbeat_ms = (uint32_t)it->heartbeat_ms,
                                 .grace_ms = it->grace_ms};
#ifdef LW_SIMULATION
    options.bugs = it->bugs;
#endif
    memcpy(options.cluster_id, it->cluster, sizeof(it->cluster));
    if (!as_before(place, &options.self)) {
        place->fate = LORE_OVER;
        return;
    }
    begin_life(place);
    place->gossip = lw_gossip_open(&options, lore_clock_ms(place));
    lw_machines_note(it->machines, place->name, "starts", place->id, "incarnation %" PRIu64,
                     place->incarnation);
    learn(place, lw_buffer_view(&place->records));
    if (host != NULL) {
        copy_members(host, &place->records);
        learn(place, lw_buffer_view(&place->records));
    }
    name_itself(place);
    if (it->shard_count == 0) {
        lore_shards_make(it, (uint32_t)lore_between(it, 1, 6));
    }
    lore_shards_tell(place);
    save(place); /* what a newcomer was given is durable before it begins */
    uint64_t first_look_ms = lore_between(it, 1, it->look_ms);
    lw_agenda_add(&it->machines->agenda, &place->looks,
                  lore_now(it) + first_look_ms * LW_MACHINES_NS_PER_MS);
    lore_settle(place);
}

void lore_end(lore_place *place, lore_fate fate) {
    lw_agenda *agenda = &place->of->machines->agenda;
    LW_ASSERT(place->gossip != NULL);
    lw_machines_note(place->of->machines, place->name, "ends", place->id, "%s",
                     fate == LORE_OVER   ? "for ever"
                     : fate == LORE_LOST ? "and is lost"
                                         : "");
    lw_gossip_close(place->gossip);
    place->gossip = NULL;
    place->fate = fate;
    lw_agenda_remove(agenda, &place->ticks);
    lw_agenda_remove(agenda, &place->looks);
}

void lore_crash(lore_place *place, uint64_t down_ms) {
    lore *it = place->of;
    lore_end(place, LORE_DOWN);
    lw_agenda_add(&it->machines->agenda, &place->boots,
                  lore_now(it) + down_ms * LW_MACHINES_NS_PER_MS);
}
