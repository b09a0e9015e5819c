/* SPDX-License-Identifier: Apache-2.0 */
/* Links between nodes: they come while both sides run, reach each other and want it, and each side
 * is told so, and that one broke, a little later. Of two that run with one identity the newer one
 * has links (node/peers_judge.c). */
#include "sim/lore.h"

enum {
    COMES_MS_MIN = 50,
    COMES_MS_MAX = 800,
    BREAKS_MS_MIN = 200,
    BREAKS_MS_MAX = 2000,
    DELAY_NS_MIN = 100000,
    DELAY_NS_MAX = 20000000,
};

bool lore_way(const lore *it, uint32_t from, uint32_t to) {
    return lore_awake(&it->places[from]) && lore_awake(&it->places[to]) &&
           it->link_cut_ns[from][to] <= lore_now(it);
}

bool lore_reaches(lore *it, const lore_place *place, uint32_t soul) {
    const lore_place *other = lore_body(it, soul);
    return other != NULL && (other == place || (lore_way(it, place->index, other->index) &&
                                                lore_way(it, other->index, place->index)));
}

/* Whether one of the two knows the other as a member, and none as one that is gone. */
static bool are_members(const lore_place *one, const lore_place *other) {
    return (lore_knows(one, other->soul) || lore_knows(other, one->soul)) &&
           !lore_knows_gone(one, other->soul) && !lore_knows_gone(other, one->soul);
}

static bool is_linked(lore *it, lore_place *place, uint32_t soul) {
    const lore_place *other = lore_body(it, soul);
    return other != NULL && lore_body(it, place->soul) == place && lore_reaches(it, place, soul) &&
           are_members(place, other);
}

/* As lw_lattice_link does. */
static void tell(lore_place *place, uint32_t soul, bool up) {
    lore_plane *plane = &place->planes[soul];
    plane->up = up;
    plane->turns_ns = 0;
    if (lore_knows(place, soul)) {
        plane->since_ms = lore_clock_ms(place);
        lw_gossip_link(place->gossip, place->of->places[soul].id, up, plane->since_ms);
    }
    if (up) {
        lore_greet(place, soul);
    }
    lore_settle(place);
}

static void turn_link(lore_place *place, uint32_t soul) {
    lore *it = place->of;
    lore_plane *plane = &place->planes[soul];
    bool up = is_linked(it, place, soul);
    if (up == plane->up) {
        plane->turns_ns = 0;
    } else if (plane->turns_ns == 0) {
        uint64_t after_ms = up ? lore_between(it, COMES_MS_MIN, COMES_MS_MAX)
                               : lore_between(it, BREAKS_MS_MIN, BREAKS_MS_MAX);
        plane->turns_ns = lore_now(it) + after_ms * LW_MACHINES_NS_PER_MS;
    } else if (plane->turns_ns <= lore_now(it)) {
        tell(place, soul, up);
    }
}

void lore_turn_links(lore *it) {
    for (uint32_t index = 0; index < it->place_count; index++) {
        lore_place *place = &it->places[index];
        for (uint32_t soul = 0; soul < it->place_count && lore_awake(place); soul++) {
            if (soul != place->soul && it->places[soul].soul == soul) {
                turn_link(place, soul);
            }
        }
    }
}

void lore_greet(lore_place *place, uint32_t soul) {
    lore *it = place->of;
    const lore_place *other = lore_body(it, soul);
    if (!place->planes[soul].up || other == NULL || other->soul == place->soul) {
        return;
    }
    lw_buffer greeting = lw_buffer_in(it->memory);
    lw_gossip_greeting(place->gossip, other->id, lore_clock_ms(place), &greeting);
    lore_letter *letter = lore_letter_make(it, lw_buffer_view(&greeting));
    letter->carrier = LORE_GREETING;
    letter->from_place = place->index;
    letter->from_life = place->life;
    letter->to_place = other->index;
    letter->to_life = other->life;
    lore_letter_send(letter, lore_between(it, DELAY_NS_MIN, DELAY_NS_MAX));
    lw_buffer_reset(&greeting);
}

void lore_greet_all(lore_place *place) {
    for (uint32_t soul = 0; soul < place->of->place_count; soul++) {
        lore_greet(place, soul);
    }
}
