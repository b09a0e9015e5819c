/* SPDX-License-Identifier: Apache-2.0 */
/* What must be so at every moment: L1 to L6 of lore.h. */
#include "sim/lore.h"

#include "base/hash.h"

#include <inttypes.h>

enum {
    AWAY_BEATS = 10, /* heartbeats of its own after which one that was away judges others again */
    SLACK_BEATS = 3, /* that a node judges at its heartbeats only */
    SLACK_MS = 300,
    DRIFT_PART = 250, /* what clocks and their allowances may add to a message's age */
};

static const char *name_of(const lore *it, uint64_t id) {
    uint32_t soul = lore_soul_of(it, id);
    return soul == LORE_NOBODY ? "somebody" : it->places[soul].name;
}

/* ---- records -------------------------------------------------------------------------------- */

static bool is_issued(const lore *it, uint64_t record) {
    for (uint32_t index = it->issued_count; index-- > 0;) {
        if (it->issued[index] == record) {
            return true;
        }
    }
    return false;
}

void lore_issue(lore *it, lw_bytes record) {
    uint64_t hash = lw_hash(0, record);
    if (is_issued(it, hash)) {
        return;
    }
    if (it->issued_count == it->issued_capacity) {
        it->issued_capacity = it->issued_capacity == 0 ? 64 : 2 * it->issued_capacity;
        it->issued =
            lw_reallocate(it->memory, it->issued, it->issued_capacity * sizeof(*it->issued));
    }
    it->issued[it->issued_count++] = hash;
}

static lore_seen *seen_of(lore_place *place, uint64_t node) {
    for (uint32_t index = 0; index < place->seen_count; index++) {
        if (place->seen[index].node == node) {
            return &place->seen[index];
        }
    }
    LW_ASSERT(place->seen_count < LORE_SEEN_MAX);
    lore_seen *made = &place->seen[place->seen_count++];
    *made = (lore_seen){.node = node};
    return made;
}

static bool is_older(const lore_seen *now, const lore_seen *before) {
    if (now->gone != before->gone) {
        return before->gone;
    }
    return now->incarnation != before->incarnation ? now->incarnation < before->incarnation
                                                   : now->sequence < before->sequence;
}

/* L1 and L2. */
static void watch_record(lore_place *place, const lw_member *member, lw_bytes record) {
    lw_machines *machines = place->of->machines;
    lore_seen *before = seen_of(place, member->node);
    lore_seen now = {.node = member->node,
                     .incarnation = member->incarnation,
                     .sequence = member->sequence,
                     .record = lw_hash(0, record),
                     .gone = member->state == LW_MEMBER_GONE};
    if (now.record == before->record) {
        return;
    }
    const char *whose = name_of(place->of, member->node);
    if (before->gone && !now.gone) {
        lw_machines_broken(machines, "a tombstone was undone", "%s knows %s as %s again",
                           place->name, whose, lw_member_state_name(member->state));
    } else if (is_older(&now, before)) {
        lw_machines_broken(machines, "an older record stands",
                           "%s took %" PRIu64 ".%" PRIu64 " of %s for %" PRIu64 ".%" PRIu64,
                           place->name, now.incarnation, now.sequence, whose, before->incarnation,
                           before->sequence);
    } else if (!is_issued(place->of, now.record)) {
        lw_machines_broken(machines, "a forged record counts", "%s took one of %s, as %s",
                           place->name, whose, lw_member_state_name(member->state));
    }
    *before = now;
}

static void watch_members(lore_place *place) {
    const lw_members *members = lw_gossip_members(place->gossip);
    uint64_t digest = lw_members_digest(members);
    if (digest == place->members_seen) {
        return;
    }
    place->members_seen = digest;
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        lw_bytes record = lw_members_record(members, index);
        if (member->node == place->id && lw_identity_number(member->public_key) == place->id) {
            lore_issue(place->of, record); /* nobody else's is ever put there */
        }
        watch_record(place, member, record);
    }
}

/* ---- shards --------------------------------------------------------------------------------- */

static uint64_t content_of(lore *it, const lw_directory_row *row) {
    lw_buffer content = lw_buffer_in(it->memory);
    lw_directory_row bare = *row;
    bare.shard.leader = bare.term = 0;
    bare.disputed = false;
    bare.idle_turns = 0;
    lw_directory_row_encode(&bare, &content);
    uint64_t hash = lw_hash(0, lw_buffer_view(&content));
    lw_buffer_reset(&content);
    return hash;
}

/* Keeps an entry for L9. */
static void keep_row(lore *it, const lw_directory_row *row) {
    lw_buffer entry = lw_buffer_in(it->memory);
    lw_directory_row_encode(row, &entry);
    uint64_t hash = lw_hash(0, lw_buffer_view(&entry));
    bool known = it->said_row_count == LORE_ROWS_MAX;
    for (uint32_t index = 0; index < it->said_row_count && !known; index++) {
        known = it->said_hashes[index] == hash;
    }
    if (!known) {
        it->said_hashes[it->said_row_count] = hash;
        it->said_rows[it->said_row_count++] = lw_copy(it->memory, lw_buffer_view(&entry));
    }
    lw_buffer_reset(&entry);
}

static lore_seen_row *seen_row_of(lore_place *place, uint64_t shard) {
    for (uint32_t index = 0; index < place->row_count; index++) {
        if (place->rows[index].shard == shard) {
            return &place->rows[index];
        }
    }
    LW_ASSERT(place->row_count < LORE_SHARDS_MAX);
    lore_seen_row *made = &place->rows[place->row_count++];
    *made = (lore_seen_row){.shard = shard};
    return made;
}

static int epoch_order(lw_epoch a, lw_epoch b) {
    if (a.range_version != b.range_version) {
        return a.range_version > b.range_version ? 1 : -1;
    }
    return (a.config_version > b.config_version) - (a.config_version < b.config_version);
}

/* L1 and L4. */
static void watch_row(lore_place *place, const lw_directory_row *row) {
    lw_machines *machines = place->of->machines;
    lore_seen_row *before = seen_row_of(place, row->shard.id);
    lore_seen_row now = {.shard = row->shard.id,
                         .epoch = row->shard.epoch,
                         .term = row->term,
                         .content = content_of(place->of, row),
                         .disputed = row->disputed,
                         .idle_turns = row->idle_turns};
    int order = epoch_order(now.epoch, before->epoch);
    if (now.idle_turns < before->idle_turns) {
        lw_machines_broken(machines, "older news of idleness stand",
                           "%s knows of shard %016" PRIx64 " turn %" PRIu64 ", after %" PRIu64,
                           place->name, now.shard, now.idle_turns, before->idle_turns);
    } else if (order < 0 || now.term < before->term) {
        lw_machines_broken(machines, "an older descriptor stands",
                           "%s knows shard %016" PRIx64 " at %" PRIu64 ".%" PRIu64 ", term %" PRIu64
                           ", after %" PRIu64 ".%" PRIu64 ", term %" PRIu64,
                           place->name, now.shard, now.epoch.range_version,
                           now.epoch.config_version, now.term, before->epoch.range_version,
                           before->epoch.config_version, before->term);
    } else if (order == 0 && !now.disputed &&
               (before->disputed || now.content != before->content)) {
        lw_machines_broken(
            machines, "a dispute ended in silence",
            "%s knows another descriptor of shard %016" PRIx64 " at %" PRIu64 ".%" PRIu64,
            place->name, now.shard, now.epoch.range_version, now.epoch.config_version);
    }
    if (order != 0 || now.content != before->content || now.idle_turns != before->idle_turns) {
        keep_row(place->of, row);
    }
    *before = now;
}

static void watch_directory(lore_place *place) {
    const lw_directory *directory = lw_gossip_directory(place->gossip);
    uint64_t digest = lw_directory_digest(directory);
    if (digest == place->directory_seen) {
        return;
    }
    place->directory_seen = digest;
    for (uint32_t index = 0; index < directory->count; index++) {
        lw_directory_row row;
        lw_directory_at(directory, index, &row);
        watch_row(place, &row);
    }
}

void lore_watch_begin(lore_place *place) {
    place->members_seen = place->directory_seen = 0;
    place->seen_count = place->row_count = 0;
}

void lore_watch(lore_place *place) {
    watch_members(place);
    watch_directory(place);
}

/* ---- messages ------------------------------------------------------------------------------- */

/* L3, of a heartbeat that was taken. */
static void watch_heartbeat(lore_place *place, const lore_letter *letter) {
    lw_machines *machines = place->of->machines;
    uint32_t soul = lore_soul_of(place->of, letter->from);
    LW_ASSERT(soul != LORE_NOBODY);
    lore_plane *plane = &place->planes[soul];
    uint64_t age_ns = lore_now(place->of) - letter->sent_ns;
    if (place->of->copied[soul]) {
        plane->heard_ms = lore_clock_ms(place); /* two speak as one */
        return;
    }
    if (letter->incarnation < plane->life ||
        (letter->incarnation == plane->life && letter->number <= plane->number)) {
        lw_machines_broken(machines, "an old heartbeat counts again",
                           "%s took message %" PRIu64 " of %s behind %" PRIu64, place->name,
                           letter->number, name_of(place->of, letter->from), plane->number);
    }
    if (letter->incarnation > plane->life) {
        plane->quickest_ns = age_ns;
        plane->quickest_at_ns = lore_now(place->of);
    }
    uint64_t drift_ns = (lore_now(place->of) - plane->quickest_at_ns) / DRIFT_PART;
    uint64_t bound_ns =
        plane->quickest_ns + drift_ns + (LW_GOSSIP_EXPIRY_MS + SLACK_MS) * LW_MACHINES_NS_PER_MS;
    if (age_ns > bound_ns) {
        lw_machines_broken(machines, "a stale heartbeat counts",
                           "%s took one of %s that was %" PRIu64 " ms on the way", place->name,
                           name_of(place->of, letter->from), age_ns / LW_MACHINES_NS_PER_MS);
    }
    if (age_ns < plane->quickest_ns) {
        plane->quickest_ns = age_ns;
        plane->quickest_at_ns = lore_now(place->of);
    }
    plane->life = letter->incarnation;
    plane->number = letter->number;
    plane->heard_ms = lore_clock_ms(place);
}

void lore_watch_letter(lore_place *place, const lore_letter *letter, bool taken, bool changed) {
    bool forged = letter->author != letter->from;
    if (forged && (taken || changed)) {
        lw_machines_broken(place->of->machines, "a forged message counts",
                           "%s took a %s as if %s had said it", place->name,
                           lw_bus_kind_name(letter->kind), name_of(place->of, letter->from));
    } else if (taken && letter->kind == LW_BUS_HEARTBEAT) {
        watch_heartbeat(place, letter);
    }
}

/* ---- who is there --------------------------------------------------------------------------- */

/* L5. */
static void watch_plane(lore_place *place, uint32_t soul, const lw_gossip_peer *peer) {
    const lore *it = place->of;
    const lore_plane *plane = &place->planes[soul];
    const char *whose = it->places[soul].name;
    uint64_t now_ms = lore_clock_ms(place), since_ms = now_ms - plane->since_ms;
    uint64_t silence_ms = LW_GOSSIP_QUIET_BEATS * it->heartbeat_ms;
    uint64_t slack_ms = SLACK_BEATS * it->heartbeat_ms + SLACK_MS;
    uint64_t heard_ms = now_ms - plane->heard_ms;
    if (peer->dead && plane->up) {
        lw_machines_broken(it->machines, "who has a link counts as dead", "%s at %s", whose,
                           place->name);
    } else if (peer->dead && since_ms <= it->grace_ms) {
        lw_machines_broken(it->machines, "the grace was not given",
                           "%s is dead at %s after %" PRIu64 " ms", whose, place->name, since_ms);
    } else if (!peer->dead && !plane->up && since_ms > it->grace_ms + slack_ms) {
        lw_machines_broken(it->machines, "who has no link counts as alive",
                           "%s at %s after %" PRIu64 " ms", whose, place->name, since_ms);
    } else if (!peer->quiet && (plane->heard_ms == 0 || heard_ms > silence_ms + slack_ms)) {
        lw_machines_broken(it->machines, "who is silent counts as heard", "%s at %s", whose,
                           place->name);
    } else if (peer->quiet && plane->heard_ms != 0 && heard_ms < silence_ms) {
        lw_machines_broken(it->machines, "who is heard counts as silent",
                           "%s at %s, %" PRIu64 " ms after a heartbeat", whose, place->name,
                           heard_ms);
    }
}

void lore_watch_planes(lore_place *place) {
    lore *it = place->of;
    uint64_t awake_ms = (lore_now(it) - place->awake_ns) / LW_MACHINES_NS_PER_MS;
    lw_member_state state = lw_gossip_self(place->gossip)->state;
    if (awake_ms < AWAY_BEATS * it->heartbeat_ms || state == LW_MEMBER_GONE) {
        return; /* it judges nobody yet, or any more */
    }
    for (uint32_t soul = 0; soul < it->place_count; soul++) {
        lw_gossip_peer peer;
        if (it->places[soul].soul == soul && soul != place->soul &&
            lw_gossip_peer_of(place->gossip, it->places[soul].id, &peer)) {
            watch_plane(place, soul, &peer);
        }
    }
}

/* ---- steps ---------------------------------------------------------------------------------- */

static bool has_all(const lore_place *place, const lw_placement_progress *progress, uint32_t count,
                    uint64_t node) {
    uint32_t soul = lore_soul_of(place->of, node);
    bool caught_up = false;
    for (uint32_t index = 0; index < count; index++) {
        caught_up = caught_up || (progress[index].node == node && progress[index].caught_up);
    }
    return node == place->id || (caught_up && place->planes[soul].up);
}

/* An odd number stays odd, unless a lone one moves. */
static bool stays_odd(const lore_shard *shard, uint32_t after) {
    uint32_t before = 0;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        before += shard->replicas[index].voter;
    }
    return before <= 1 || before % 2 == 0 || after % 2 == 1;
}

static bool all_have_all(const lore_place *place, const lw_placement_progress *progress,
                         uint32_t count, const lw_placement_step *step) {
    return has_all(place, progress, count, step->node) &&
           (step->kind != LW_PLACEMENT_PROMOTE || step->other == 0 ||
            has_all(place, progress, count, step->other));
}

/* L6, by what its leader knows. */
void lore_watch_step(const lore_place *place, const lore_shard *shard,
                     const lw_placement_progress *progress, uint32_t progress_count,
                     const lw_placement_step *step) {
    lw_machines *machines = place->of->machines;
    uint32_t voter_count = 0, healthy = 0;
    for (uint32_t index = 0; index < step->replica_count; index++) {
        const lw_shard_replica *replica = &step->replicas[index];
        bool voter = replica->role == LW_REPLICA_VOTER;
        voter_count += voter;
        healthy += voter && has_all(place, progress, progress_count, replica->node);
    }
    bool promotes = step->kind == LW_PLACEMENT_PROMOTE || step->kind == LW_PLACEMENT_REPLACE ||
                    step->kind == LW_PLACEMENT_TRANSFER;
    if (healthy < voter_count / 2 + 1) {
        lw_machines_broken(machines, "a step leaves no quorum",
                           "%s leaves %u of %u voters of shard %016" PRIx64 " healthy at %s",
                           lw_placement_step_name(step->kind), healthy, voter_count, shard->id,
                           place->name);
    } else if (!stays_odd(shard, voter_count)) {
        lw_machines_broken(machines, "a step makes an even number of voters",
                           "%s leaves %u of them to shard %016" PRIx64 " at %s",
                           lw_placement_step_name(step->kind), voter_count, shard->id, place->name);
    } else if (promotes && !all_have_all(place, progress, progress_count, step)) {
        lw_machines_broken(machines, "a laggard is promoted", "%s of %s in shard %016" PRIx64,
                           lw_placement_step_name(step->kind), name_of(place->of, step->node),
                           shard->id);
    }
}
