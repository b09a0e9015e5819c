/* SPDX-License-Identifier: Apache-2.0 */
/* Letters: over the bus, which loses, repeats, delays and keeps them, and over links. */
#include "sim/lore.h"

#include "base/hash.h"

#include <inttypes.h>

enum { DELAY_NS_MIN = 100000, DELAY_NS_MAX = 3000000, LATE_MS_MAX = 10000 };

/* ---- hearing -------------------------------------------------------------------------------- */

static uint64_t digest_of(const lw_gossip *gossip) {
    return lw_mix(lw_members_digest(lw_gossip_members(gossip))) ^
           lw_directory_digest(lw_gossip_directory(gossip));
}

static uint64_t dropped_by(const lw_gossip *gossip) {
    lw_gossip_figures figures;
    lw_gossip_figures_get(gossip, &figures);
    return figures.stale + figures.malformed + figures.forged;
}

static void hear(lore_place *place, const lore_letter *letter) {
    lw_bus_message message = {.kind = letter->kind,
                              .from = letter->from,
                              .incarnation = letter->incarnation,
                              .directed = letter->directed,
                              .body = lw_view(letter->body, letter->size)};
    lw_gossip_peer peer;
    bool known = lw_gossip_peer_of(place->gossip, letter->from, &peer);
    uint64_t digest = digest_of(place->gossip), dropped = dropped_by(place->gossip);
    lw_gossip_receive(place->gossip, &message, lore_clock_ms(place));
    bool taken = known && dropped_by(place->gossip) == dropped;
    lore_watch_letter(place, letter, taken, digest_of(place->gossip) != digest);
}

/* Over a link: greeted is answered with a page. */
static void answer(lore_place *place, const lore_letter *letter) {
    lore *it = place->of;
    lw_buffer page = lw_buffer_in(it->memory);
    lw_status status = lw_gossip_greeted(place->gossip, lw_view(letter->body, letter->size),
                                         lore_clock_ms(place), &page);
    LW_ASSERT(status == LW_OK);
    lore_letter *reply = lore_letter_make(it, lw_buffer_view(&page));
    reply->carrier = LORE_PAGE;
    reply->from_place = letter->to_place;
    reply->from_life = place->life;
    reply->to_place = letter->from_place;
    reply->to_life = letter->from_life;
    lore_letter_send(reply, lore_between(it, DELAY_NS_MIN, DELAY_NS_MAX));
    lw_buffer_reset(&page);
}

static void read_page(lore_place *place, const lore_letter *letter) {
    lw_status status =
        lw_gossip_learn(place->gossip, lw_view(letter->body, letter->size), lore_clock_ms(place));
    LW_ASSERT(status == LW_OK);
}

/* Heartbeats come all the time: only one that was made up is told. */
static void tell(const lore_place *place, const lore_letter *letter) {
    static const char *const carriers[] = {"bus", "greeting", "page"};
    lore *it = letter->of;
    uint64_t contents = lw_hash(letter->from, lw_view(letter->body, letter->size));
    bool usual = letter->carrier == LORE_BUS && letter->kind == LW_BUS_HEARTBEAT &&
                 letter->author == letter->from;
    if (usual) {
        lw_machines_pass(it->machines, contents ^ place->id);
    } else {
        lw_machines_note(it->machines, place->name, carriers[letter->carrier], contents,
                         "%s from %s, %" PRIu64 "%s",
                         letter->carrier == LORE_BUS ? lw_bus_kind_name(letter->kind) : "link",
                         it->places[letter->from_place].name, letter->number,
                         letter->author == letter->from ? "" : ", forged");
    }
}

static void deliver(const lore_letter *letter) {
    lore *it = letter->of;
    lore_place *place = &it->places[letter->to_place];
    const lore_place *from = &it->places[letter->from_place];
    bool link = letter->carrier != LORE_BUS;
    bool cut = link && (letter->to_life != place->life || letter->from_life != from->life ||
                        !lore_way(it, letter->from_place, letter->to_place));
    if (place->gossip == NULL || cut) {
        return;
    }
    tell(place, letter);
    if (letter->carrier == LORE_BUS) {
        hear(place, letter);
    } else if (letter->carrier == LORE_GREETING) {
        answer(place, letter);
    } else {
        read_page(place, letter);
    }
    lore_settle(place);
}

/* ---- sending -------------------------------------------------------------------------------- */

static void arrive(lw_agenda_event *event) {
    lore_letter *letter = event->owner;
    const lore_place *to = &letter->of->places[letter->to_place];
    if (to->gossip != NULL && !lore_awake(to)) {
        lw_agenda_add(&letter->of->machines->agenda, event, to->paused_until_ns);
        return;
    }
    deliver(letter);
    lw_free(letter->of->memory, letter);
}

lore_letter *lore_letter_make(lore *it, lw_bytes body) {
    lore_letter *letter = lw_allocate(it->memory, sizeof(*letter) + body.size);
    *letter = (lore_letter){.event = {.run = arrive, .owner = letter},
                            .of = it,
                            .number = ++it->numbers,
                            .sent_ns = lore_now(it),
                            .size = body.size};
    memcpy(letter->body, body.data, body.size);
    return letter;
}

void lore_letter_send(lore_letter *letter, uint64_t delay_ns) {
    lore *it = letter->of;
    lw_agenda_add(&it->machines->agenda, &letter->event, lore_now(it) + delay_ns);
}

static void post(lore *it, const lore_letter *said, uint32_t from, uint32_t to) {
    uint64_t now_ns = lore_now(it), held_ns = it->held_ns[from][to];
    uint64_t delay_ns = lore_between(it, DELAY_NS_MIN, DELAY_NS_MAX);
    if (lw_dice_hit(&it->dice, LW_FAULT_BUS_LATE)) {
        delay_ns += lw_chance_below(&it->dice.own, LATE_MS_MAX) * LW_MACHINES_NS_PER_MS;
    }
    if (held_ns > now_ns) { /* one after the other, once it goes on */
        delay_ns = held_ns - now_ns + said->number;
    }
    lore_letter *sent = lore_letter_make(it, lw_view(said->body, said->size));
    sent->kind = said->kind;
    sent->directed = said->directed;
    sent->from = said->from;
    sent->author = said->author;
    sent->incarnation = said->incarnation;
    sent->number = said->number;
    sent->from_place = from;
    sent->to_place = to;
    lore_letter_send(sent, delay_ns);
}

static void post_perhaps(lore *it, const lore_letter *said, uint32_t from, uint32_t to) {
    if (it->bus_cut_ns[from][to] > lore_now(it) || lw_dice_hit(&it->dice, LW_FAULT_BUS_LOSS)) {
        return;
    }
    post(it, said, from, to);
    if (lw_dice_hit(&it->dice, LW_FAULT_BUS_TWICE)) {
        post(it, said, from, to);
    }
}

void lore_publish(lore_place *from, const lw_gossip_message *message) {
    lore *it = from->of;
    LW_ASSERT(message->body.size <= LW_BUS_BODY_SIZE_MAX);
    lore_letter *said = lore_letter_make(it, message->body);
    said->kind = message->kind;
    said->directed = message->to != 0;
    said->from = said->author = from->id;
    said->incarnation = from->incarnation;
    said->from_place = from->index;
    for (uint32_t to = 0; to < it->place_count; to++) {
        const lore_place *place = &it->places[to];
        if (to != from->index && place->gossip != NULL &&
            (message->to == 0 || message->to == place->id)) {
            post_perhaps(it, said, from->index, to);
        }
    }
    lore_overhear(it, said);
    lw_free(it->memory, said);
}
