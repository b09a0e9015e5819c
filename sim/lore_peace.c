/* SPDX-License-Identifier: Apache-2.0 */
/* What all must come to once nothing stands in the way: L7 to L9 of lore.h. */
#include "sim/lore.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { LEADERS_SLACK = 3, ZONES_MAX = 4 };

static __attribute__((format(printf, 2, 3))) bool not_yet(char why[LORE_WHY_SIZE],
                                                          const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why, LORE_WHY_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- L7 ------------------------------------------------------------------------------------- */

/* Nobody may: who took it out may have ended before anybody else heard of it. */
static bool is_gone_for_others(const lore *it, const lore_place *place) {
    bool gone = false;
    for (uint32_t index = 0; index < it->place_count; index++) {
        const lore_place *other = &it->places[index];
        gone = gone || (other->gossip != NULL && other->soul != place->soul &&
                        lore_knows_gone(other, place->soul));
    }
    return gone;
}

/* Who should have ended, or should run. */
static bool right_ones_run(lore *it, char why[LORE_WHY_SIZE]) {
    for (uint32_t index = 0; index < it->place_count; index++) {
        const lore_place *place = &it->places[index];
        if (place->fate == LORE_DOWN) {
            return not_yet(why, "%s has not started", place->name);
        }
        if (place->gossip != NULL && lore_body(it, place->soul) != place) {
            return not_yet(why, "%s runs as a copy of another", place->name);
        }
        if (place->gossip != NULL && is_gone_for_others(it, place)) {
            return not_yet(why, "%s runs, and was taken out", place->name);
        }
    }
    return true;
}

static bool knows_its_way(const lore_place *place, const lore_place *other,
                          char why[LORE_WHY_SIZE]) {
    lw_gossip_peer peer;
    if (other->fate == LORE_LOST && lw_gossip_peer_of(place->gossip, other->id, &peer)) {
        return peer.dead || not_yet(why, "%s waits for %s", place->name, other->name);
    }
    if (other->gossip == NULL || other == place) {
        return true;
    }
    if (!lw_gossip_peer_of(place->gossip, other->id, &peer)) {
        return not_yet(why, "%s does not know %s", place->name, other->name);
    }
    return (peer.linked && !peer.dead && !peer.quiet) ||
           not_yet(why, "%s does not hear or has no link to %s", place->name, other->name);
}

static bool knows_all(lore *it, const lore_place *place, const lore_place *first,
                      char why[LORE_WHY_SIZE]) {
    const lw_members *members = lw_gossip_members(place->gossip);
    const lw_directory *directory = lw_gossip_directory(place->gossip);
    if (lw_members_digest(members) != lw_members_digest(lw_gossip_members(first->gossip))) {
        return not_yet(why, "%s and %s know other members", place->name, first->name);
    }
    if (lw_directory_digest(directory) != lw_directory_digest(lw_gossip_directory(first->gossip))) {
        return not_yet(why, "%s and %s know other shards", place->name, first->name);
    }
    if (lw_gossip_self(place->gossip)->name.size == 0 || lw_members_outnamed(members, place->id)) {
        return not_yet(why, "%s has another's name", place->name);
    }
    for (uint32_t index = 0; index < it->place_count; index++) {
        if (!knows_its_way(place, &it->places[index], why)) {
            return false;
        }
    }
    return true;
}

/* ---- L11 ------------------------------------------------------------------------------------ */

enum { CLOCKS_ALIKE_MS = 600, CLOCKS_APART_MS = 1500, CLOCK_SLACK_MS = 400 };

static int64_t wall_at(const lore *it, uint32_t rank) {
    for (uint32_t index = 0; index < it->place_count; index++) {
        const lore_place *place = &it->places[index];
        uint32_t below = 0, equal = 0;
        for (uint32_t other = 0; other < it->place_count; other++) {
            const lore_place *compared = &it->places[other];
            below += compared->gossip != NULL && compared->wall_ahead_ms < place->wall_ahead_ms;
            equal += compared->gossip != NULL && compared->wall_ahead_ms == place->wall_ahead_ms;
        }
        if (place->gossip != NULL && below <= rank && rank < below + equal) {
            return place->wall_ahead_ms;
        }
    }
    return 0;
}

/* What one knows of another's clock. */
static bool knows_clock(const lore_place *place, const lore_place *other, int64_t right_ms,
                        char why[LORE_WHY_SIZE]) {
    lw_gossip_peer peer;
    int64_t by_ms = other->wall_ahead_ms - right_ms, told_ms = lw_gossip_own_clock(place->gossip);
    if (place != other) {
        told_ms = lw_gossip_peer_of(place->gossip, other->id, &peer) ? peer.clock_ahead_ms : 0;
    }
    bool wrong = by_ms >= CLOCKS_APART_MS || by_ms <= -CLOCKS_APART_MS;
    bool right = by_ms <= CLOCKS_ALIKE_MS && by_ms >= -CLOCKS_ALIKE_MS;
    bool near = told_ms >= by_ms - CLOCK_SLACK_MS && told_ms <= by_ms + CLOCK_SLACK_MS;
    return (!wrong || near) && (!right || told_ms == 0)
               ? true
               : not_yet(why,
                         "%s takes the clock of %s to be %" PRId64 " ms ahead, and %" PRId64
                         " it is",
                         place->name, other->name, told_ms, by_ms);
}

static bool know_clocks(const lore *it, char why[LORE_WHY_SIZE]) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < it->place_count; index++) {
        count += it->places[index].gossip != NULL;
    }
    int64_t right_ms = (wall_at(it, (count - 1) / 2) + wall_at(it, count / 2)) / 2;
    for (uint32_t index = 0; index < it->place_count; index++) {
        for (uint32_t other = 0; other < it->place_count; other++) {
            const lore_place *place = &it->places[index];
            if (count > 2 && place->gossip != NULL && it->places[other].gossip != NULL &&
                !knows_clock(place, &it->places[other], right_ms, why)) {
                return false;
            }
        }
    }
    return true;
}

bool lore_converged(lore *it, char why[LORE_WHY_SIZE]) {
    const lore_place *first = NULL;
    if (!right_ones_run(it, why)) {
        return false;
    }
    for (uint32_t index = 0; index < it->place_count; index++) {
        const lore_place *place = &it->places[index];
        first = first == NULL && place->gossip != NULL ? place : first;
        if (place->gossip != NULL && !knows_all(it, place, first, why)) {
            return false;
        }
    }
    return (first != NULL || not_yet(why, "nobody runs")) && know_clocks(it, why);
}

/* ---- L8 ------------------------------------------------------------------------------------- */

/* Where shards may be. */
static bool may_hold(lore *it, uint32_t soul) {
    const lore_place *body = lore_body(it, soul);
    return body != NULL && lw_gossip_self(body->gossip)->state == LW_MEMBER_UP;
}

static uint32_t zone_bit(const lore_place *place) {
    return UINT32_C(1) << (place->zone[0] == '\0' ? 0 : place->zone[0] - 'a' + 1);
}

/* Whether people took out those who had it. */
static bool is_thrown_away(const lore *it, const lore_shard *shard) {
    uint32_t voter_count = 0, left = 0;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        voter_count += shard->replicas[index].voter;
        left += shard->replicas[index].voter && !it->expelled[shard->replicas[index].soul];
    }
    return left < voter_count / 2 + 1;
}

typedef struct room {
    uint32_t nodes, zones; /* that may hold shards; bits */
    uint32_t goal;         /* voters of each */
} room;

static room room_of(lore *it) {
    room made = {0};
    for (uint32_t soul = 0; soul < it->place_count; soul++) {
        if (it->places[soul].soul == soul && may_hold(it, soul)) {
            made.nodes++;
            made.zones |= zone_bit(lore_body(it, soul));
        }
    }
    made.goal = made.nodes < it->voters ? made.nodes : it->voters;
    made.goal -= made.goal > 0 && made.goal % 2 == 0;
    return made;
}

static uint32_t count_bits(uint32_t bits) {
    uint32_t count = 0;
    for (; bits != 0; bits >>= 1) {
        count += bits & 1;
    }
    return count;
}

/* Voters beyond the goal may stay while there are not as many nodes as there should be: those that
 * are lost count as if they came back. */
static bool is_placed(lore *it, const lore_shard *shard, const room *in, char why[LORE_WHY_SIZE]) {
    uint32_t held = 0, zones = 0, voter_count = 0;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lore_replica *replica = &shard->replicas[index];
        bool good = replica->voter && replica->current && may_hold(it, replica->soul);
        voter_count += replica->voter;
        held += good;
        zones |= good ? zone_bit(lore_body(it, replica->soul)) : 0;
        if (!replica->voter) {
            return not_yet(why, "shard %016" PRIx64 " has a learner: %s", shard->id, shard->reason);
        }
    }
    bool roomy = in->nodes >= it->voters;
    uint32_t zone_goal = count_bits(in->zones) < in->goal ? count_bits(in->zones) : in->goal;
    if (shard->leader == LORE_NOBODY || it->places[shard->leader].gossip == NULL) {
        return not_yet(why, "nobody leads shard %016" PRIx64, shard->id);
    }
    if (held < in->goal || (roomy && voter_count != in->goal)) {
        return not_yet(why,
                       "shard %016" PRIx64 " has %u of %u voters where they should be; %s says: %s",
                       shard->id, held, in->goal, it->places[shard->leader].name, shard->reason);
    }
    if (roomy && count_bits(zones) < zone_goal) {
        return not_yet(why, "shard %016" PRIx64 " is in %u of %u zones: %s", shard->id,
                       count_bits(zones), zone_goal, shard->reason);
    }
    return true;
}

static bool are_leaders_spread(lore *it, const room *in, char why[LORE_WHY_SIZE]) {
    uint32_t led[LORE_PLACES_MAX] = {0};
    uint64_t rates = 0;
    for (uint32_t index = 0; index < it->shard_count; index++) {
        led[it->shards[index].leader]++;
        rates += it->shards[index].rate;
    }
    uint32_t share = (it->shard_count + in->nodes - 1) / (in->nodes == 0 ? 1 : in->nodes);
    for (uint32_t index = 0; index < it->place_count; index++) {
        if (rates == 0 && it->voters > 1 && in->goal > 1 && led[index] > share + LEADERS_SLACK) {
            return not_yet(why, "%s leads %u shards, and %u are its share", it->places[index].name,
                           led[index], share);
        }
    }
    return true;
}

/* What all know of a shard is so, unless it is disputed. */
static bool is_known(lore *it, const lore_shard *shard, char why[LORE_WHY_SIZE]) {
    lw_directory_row truth = lore_row(it, shard), row;
    const lore_place *leader = &it->places[shard->leader];
    bool found = lw_directory_find(lw_gossip_directory(leader->gossip), shard->id, &row);
    bool same = found && row.shard.epoch.range_version == truth.shard.epoch.range_version &&
                row.shard.epoch.config_version == truth.shard.epoch.config_version &&
                row.shard.leader == truth.shard.leader &&
                (row.disputed || lw_equal(row.shard.end, truth.shard.end));
    return same || not_yet(why, "shard %016" PRIx64 " is not known as it is", shard->id);
}

/* Whoever is disputed counts as busy, and its neighbours may take it for larger than it is. */
static bool is_any_disputed(const lore *it) {
    for (uint32_t index = 0; index < it->place_count; index++) {
        const lore_place *place = &it->places[index];
        for (uint32_t row = 0;
             place->gossip != NULL && row < lw_gossip_directory(place->gossip)->count; row++) {
            lw_directory_row of;
            lw_directory_at(lw_gossip_directory(place->gossip), row, &of);
            if (of.disputed) {
                return true;
            }
        }
    }
    return false;
}

/* L10. Where there are fewer nodes than there should be, some shards have more voters than others.
 */
static bool are_merged(const lore *it, const room *in, char why[LORE_WHY_SIZE]) {
    if (in->nodes < it->voters || is_any_disputed(it)) {
        return true;
    }
    for (uint32_t left = 0; left < it->shard_count; left++) {
        for (uint32_t right = 0; right < it->shard_count; right++) {
            const lore_shard *a = &it->shards[left], *b = &it->shards[right];
            if (a->idle && b->idle && a->end[0] != '\0' && strcmp(a->end, b->start) == 0) {
                return not_yet(why,
                               "shards %016" PRIx64 " and %016" PRIx64 " are idle, and two: %s; %s",
                               a->id, b->id, a->reason, b->reason);
            }
        }
    }
    return true;
}

bool lore_placed(lore *it, char why[LORE_WHY_SIZE]) {
    room in = room_of(it);
    for (uint32_t index = 0; index < it->shard_count; index++) {
        if (is_thrown_away(it, &it->shards[index])) {
            return true; /* whoever waits for it waits for ever */
        }
    }
    for (uint32_t index = 0; index < it->place_count; index++) {
        const lore_place *place = &it->places[index];
        if (place->gossip != NULL && in.nodes > 0 &&
            lw_gossip_self(place->gossip)->state == LW_MEMBER_LEAVING) {
            return not_yet(why, "%s has not left", place->name);
        }
    }
    for (uint32_t index = 0; index < it->shard_count; index++) {
        if (!is_placed(it, &it->shards[index], &in, why) ||
            !is_known(it, &it->shards[index], why)) {
            return false;
        }
    }
    return are_leaders_spread(it, &in, why) && are_merged(it, &in, why);
}

/* ---- L9 ------------------------------------------------------------------------------------- */

static void merge_entry(lw_directory *into, lw_bytes entry) {
    lw_reader reader = lw_reader_of(entry);
    lw_directory_row row;
    lw_status status = lw_directory_row_next(&reader, &row);
    LW_ASSERT(status == LW_OK);
    (void)lw_directory_merge(into, &row);
}

static void merge_all(lw_directory *into, const lw_directory *from) {
    for (uint32_t index = 0; index < from->count; index++) {
        lw_directory_row row;
        lw_directory_at(from, index, &row);
        (void)lw_directory_merge(into, &row);
    }
}

/* In the order in which they came; backwards, and all twice; halves, joined. */
void lore_judge_order(lore *it) {
    enum { FORTH, BACK, ODD, EVEN, ORDERS };
    lw_directory *made = lw_allocate(it->memory, ORDERS * sizeof(*made));
    uint32_t count = it->said_row_count;
    for (int order = 0; order < ORDERS; order++) {
        made[order] = lw_directory_in(it->memory);
#ifdef LW_SIMULATION
        made[order].bugs = it->bugs;
#endif
    }
    for (uint32_t index = 0; index < count; index++) {
        merge_entry(&made[FORTH], it->said_rows[index]);
        merge_entry(&made[index % 2 == 0 ? EVEN : ODD], it->said_rows[index]);
    }
    for (uint32_t index = 2 * count; index-- > 0;) {
        merge_entry(&made[BACK], it->said_rows[index % count]);
    }
    merge_all(&made[ODD], &made[EVEN]);
    uint64_t digest = lw_directory_digest(&made[FORTH]);
    if (lw_directory_digest(&made[BACK]) != digest || lw_directory_digest(&made[ODD]) != digest) {
        lw_machines_broken(it->machines, "the order of news matters",
                           "%u descriptors make other directories in other orders", count);
    }
    for (int order = 0; order < ORDERS; order++) {
        lw_directory_reset(&made[order]);
    }
    lw_free(it->memory, made);
}
