/* SPDX-License-Identifier: Apache-2.0 */
/* Who hears all that is said, plays it again, and makes up what it likes: with a key of its own,
 * that of a member that was taken over, or that of one that was taken out. */
#include "sim/lore.h"

#include "base/hash.h"
#include "lattice/member_private.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    KEPT_PERCENT = 20, /* of what is said, once there is no room for more */
    REPLAYED_MAX = 6,  /* letters at a time */
    DELAY_NS = 1000000,
    BODY_FIELDS = 4,
    BODY_VERSION = 1,
    HEARTBEAT_FIELDS = 7,
    AHEAD_MAX = 3, /* incarnations */
};

/* ---- what was said -------------------------------------------------------------------------- */

static lore_letter *copy_of(lore *it, const lore_letter *letter) {
    lore_letter *copy = lore_letter_make(it, lw_view(letter->body, letter->size));
    copy->kind = letter->kind;
    copy->directed = letter->directed;
    copy->from = letter->from;
    copy->author = letter->author;
    copy->incarnation = letter->incarnation;
    copy->number = letter->number;
    copy->sent_ns = letter->sent_ns;
    copy->from_place = letter->from_place;
    return copy;
}

void lore_overhear(lore *it, const lore_letter *letter) {
    uint64_t luck = lw_mix(letter->number);
    uint32_t place =
        it->archived < LORE_ARCHIVE_MAX ? it->archived : (uint32_t)(luck / 100 % LORE_ARCHIVE_MAX);
    if (!it->troubled || (it->archived == LORE_ARCHIVE_MAX && luck % 100 >= KEPT_PERCENT)) {
        return;
    }
    it->archived += it->archived < LORE_ARCHIVE_MAX;
    lw_free(it->memory, it->archive[place]);
    it->archive[place] = copy_of(it, letter);
}

static void hand_out(lore *it, lore_letter *letter, lw_chance *chance) {
    letter->to_place = (uint32_t)lw_chance_below(chance, it->place_count);
    lore_letter_send(letter, lw_chance_between(chance, 1, DELAY_NS));
}

static const lore_letter *draw_old(const lore *it, lw_chance *chance) {
    uint64_t luck = lw_chance_next(chance);
    return it->archived == 0 ? NULL : it->archive[luck % it->archived];
}

void lore_replay(lore *it, lw_chance *chance) {
    uint64_t count = lw_chance_between(chance, 1, REPLAYED_MAX);
    for (uint64_t index = 0; index < count && it->archived > 0; index++) {
        const lore_letter *old = draw_old(it, chance);
        hand_out(it, copy_of(it, old), chance);
    }
}

/* ---- what was not --------------------------------------------------------------------------- */

/* As gossip_say does. */
static void sign_body(const lore *it, const lw_identity *as, lw_bus_kind kind, lw_bytes content,
                      lw_buffer *body) {
    static const char purpose[] = "lathwork gossip 1";
    uint8_t signature[LW_SIGNATURE_SIZE];
    lw_buffer signable = lw_buffer_in(it->memory);
    lw_buffer_append(&signable, lw_view(purpose, sizeof(purpose)));
    lw_buffer_append(&signable, lw_view(it->cluster, sizeof(it->cluster)));
    lw_buffer_append_u8(&signable, (uint8_t)kind);
    lw_buffer_append(&signable, content);
    lw_identity_sign(as, lw_buffer_view(&signable), signature);
    lw_buffer_reset(&signable);
    lw_write_array(body, BODY_FIELDS);
    lw_write_u64(body, BODY_VERSION);
    lw_write_bytes(body, lw_view(as->public_key, LW_PUBLIC_KEY_SIZE));
    lw_write_bytes(body, content);
    lw_write_bytes(body, lw_view(signature, sizeof(signature)));
}

/* As write_signed and lw_member_encode do, which would refuse. */
void lore_forge_record(const uint8_t cluster[LW_MEMBER_CLUSTER_SIZE], const lw_member *member,
                       const lw_identity *as, lw_buffer *record) {
    static const char purpose[] = "lathwork member 1";
    uint8_t signature[LW_SIGNATURE_SIZE];
    lw_buffer content = lw_buffer_in(record->memory), signable = content;
    lw_write_array(&content, LW_MEMBER_NAMELESS_FIELDS);
    lw_write_u64(&content, LW_MEMBER_VERSION);
    lw_write_bytes(&content, lw_view(cluster, LW_MEMBER_CLUSTER_SIZE));
    lw_write_u64(&content, member->node);
    lw_write_u64(&content, member->incarnation);
    lw_write_u64(&content, member->sequence);
    lw_write_u64(&content, (uint64_t)member->state);
    lw_write_bytes(&content, lw_view(as->public_key, LW_PUBLIC_KEY_SIZE));
    lw_write_text(&content, member->address);
    lw_write_text(&content, member->bus_address);
    lw_write_text(&content, member->zone);
    lw_write_u64(&content, member->capacity);
    lw_buffer_append(&signable, lw_view(purpose, sizeof(purpose)));
    lw_buffer_append(&signable, lw_buffer_view(&content));
    lw_identity_sign(as, lw_buffer_view(&signable), signature);
    lw_write_array(record, LW_MEMBER_RECORD_FIELDS);
    lw_write_bytes(record, lw_buffer_view(&content));
    lw_write_bytes(record, lw_view(signature, sizeof(signature)));
    lw_buffer_reset(&signable);
    lw_buffer_reset(&content);
}

/* A record of `victim` that is ahead of its own. */
static void forge_record(const lore_place *victim, const lw_identity *as, uint64_t ahead,
                         lw_buffer *record) {
    lw_member member = {.node = victim->id,
                        .incarnation = victim->incarnation + ahead,
                        .sequence = 1,
                        .state = LW_MEMBER_UP,
                        .address = lw_text("10.6.6.6:7871")};
    lore_forge_record(victim->of->cluster, &member, as, record);
}

static void forge_heartbeat(const lore_place *victim, uint64_t ahead, lw_buffer *content) {
    lw_member_load load = {0};
    lw_write_array(content, HEARTBEAT_FIELDS);
    lw_write_u64(content, victim->incarnation + ahead);
    lw_write_u64(content, INT32_MAX);
    for (int field = 0; field < 4; field++) {
        lw_write_u64(content, 0);
    }
    lw_member_load_encode(&load, content);
}

/* A page with one record. */
static void write_page(lw_bytes record, lw_buffer *content) {
    lw_write_array(content, 2);
    lw_write_array(content, 1);
    lw_write_bytes(content, record);
    lw_write_array(content, 0);
}

static void send_as(lore *it, const lore_place *from, uint64_t author, lw_bus_kind kind,
                    const lw_buffer *body, lw_chance *chance) {
    lore_letter *letter = lore_letter_make(it, lw_buffer_view(body));
    letter->kind = kind;
    letter->from = from->id;
    letter->author = author;
    letter->from_place = from->index;
    letter->incarnation = from->incarnation;
    hand_out(it, letter, chance);
}

/* A heartbeat, or a page, of one who did not say it: signed with the intruder's own key. */
static void speak_for(lore *it, const lore_place *victim, lw_chance *chance) {
    lw_buffer content = lw_buffer_in(it->memory), body = content, record = content;
    bool beats = lw_chance_percent(chance, 50);
    uint64_t ahead = lw_chance_between(chance, 0, AHEAD_MAX);
    lw_bus_kind kind = beats ? LW_BUS_HEARTBEAT : LW_BUS_SHARDS;
    if (beats) {
        forge_heartbeat(victim, ahead, &content);
    } else {
        forge_record(victim, &it->intruder, ahead, &record);
        write_page(lw_buffer_view(&record), &content);
    }
    sign_body(it, &it->intruder, kind, lw_buffer_view(&content), &body);
    send_as(it, victim, 0, kind, &body, chance);
    lw_buffer_reset(&record);
    lw_buffer_reset(&content);
    lw_buffer_reset(&body);
}

/* A record of one node in a page of another one, well signed by that one, or by whose it is: who
 * was taken out says that it is there. */
static void hand_on(lore *it, const lore_place *victim, const lore_place *member,
                    lw_chance *chance) {
    lw_buffer content = lw_buffer_in(it->memory), body = content, record = content;
    bool own = it->expelled[victim->soul];
    uint64_t ahead = lw_chance_between(chance, 1, AHEAD_MAX);
    forge_record(victim, own ? &victim->keys : &member->keys, ahead, &record);
    if (own) {
        lore_issue(it, lw_buffer_view(&record));
    }
    write_page(lw_buffer_view(&record), &content);
    sign_body(it, &member->keys, LW_BUS_ANSWER, lw_buffer_view(&content), &body);
    send_as(it, member, member->id, LW_BUS_ANSWER, &body, chance);
    lw_buffer_reset(&record);
    lw_buffer_reset(&content);
    lw_buffer_reset(&body);
}

/* Something that was said, changed by a bit, or as if another had said it or of another kind. */
static void twist(lore *it, const lore_place *victim, lw_chance *chance) {
    const lore_letter *old = draw_old(it, chance);
    uint64_t choice = lw_chance_below(chance, 3), luck = lw_chance_next(chance);
    if (old == NULL || (choice == 1 && old->from == victim->id)) {
        return;
    }
    lore_letter *letter = copy_of(it, old);
    letter->author = 0;
    if (choice == 0) {
        letter->body[luck / 8 % letter->size] ^= (uint8_t)(1U << luck % 8);
    } else if (choice == 1) {
        letter->from = victim->id;
    } else {
        letter->kind = letter->kind == LW_BUS_ANSWER ? LW_BUS_SHARDS : LW_BUS_ANSWER;
    }
    hand_out(it, letter, chance);
}

void lore_forge(lore *it, lw_chance *chance) {
    const lore_place *victim = &it->places[lw_chance_below(chance, it->place_count)];
    const lore_place *member = &it->places[lw_chance_below(chance, it->place_count)];
    uint64_t choice = lw_chance_below(chance, 3);
    if (choice == 0) {
        speak_for(it, victim, chance);
    } else if (choice == 1 && member->soul != victim->soul) {
        hand_on(it, victim, member, chance);
    } else {
        twist(it, victim, chance);
    }
}
