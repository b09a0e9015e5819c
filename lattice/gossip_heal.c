/* SPDX-License-Identifier: Apache-2.0 */
/* How nodes that differ become equal: see gossip.h. */
#include "base/hash.h"
#include "lattice/gossip_private.h"

enum {
    MEMBERS_FEW = 4, /* buckets that differ: up to so many are answered for all to hear */
    DIRECTORY_FEW = 8,
    GREETING_FIELDS = 4,
    GREETING_FIELDS_MIN = 2,
    PAGES_MAX = 16, /* of one answer: the asker asks again */
    ROUNDS_FOR_ALL = 16,
    FRESH_INTERVALS = 3, /* a heartbeat is believed for so long */
};

/* ---- asking -------------------------------------------------------------------------------------
 */

gossip_summary gossip_summary_of(const lw_gossip *gossip) {
    return (gossip_summary){.members_digest = lw_members_digest(&gossip->members),
                            .members_weight = gossip->members.weight,
                            .directory_digest = lw_directory_digest(&gossip->directory),
                            .directory_weight = gossip->directory.weight};
}

typedef struct wish {
    bool members, directory;
} wish;

/* What to ask a peer for: where it differs and has no less. Weights are no proof, so everybody is
 * asked now and then. */
static wish wish_of(const lw_gossip *gossip, const gossip_peer *peer, const gossip_summary *own,
                    uint64_t now_ms) {
    const gossip_summary *its = &peer->summary;
    bool fresh = peer->known.heard_ms != 0 &&
                 now_ms - peer->known.heard_ms <= FRESH_INTERVALS * gossip_interval_ms(gossip);
    bool all = gossip->round % ROUNDS_FOR_ALL == 0;
    return (wish){.members = fresh && its->members_digest != own->members_digest &&
                             (all || its->members_weight >= own->members_weight),
                  .directory = fresh && its->directory_digest != own->directory_digest &&
                               (all || its->directory_weight >= own->directory_weight)};
}

/* One of those who have something: each node takes another, and another each time. */
static const gossip_peer *choose(const lw_gossip *gossip, const gossip_summary *own,
                                 uint64_t now_ms, wish *chosen) {
    const gossip_peer *best = NULL;
    uint64_t best_luck = 0;
    for (uint32_t index = 0; index < gossip->peer_count; index++) {
        const gossip_peer *peer = &gossip->peers[index];
        wish its = wish_of(gossip, peer, own, now_ms);
        uint64_t luck = lw_mix(peer->node ^ lw_mix(gossip->self.node ^ lw_mix(gossip->round)));
        if ((its.members || its.directory) && (best == NULL || luck > best_luck)) {
            best = peer;
            best_luck = luck;
            *chosen = its;
        }
    }
    return best;
}

void gossip_ask(lw_gossip *gossip, uint64_t now_ms) {
    if (LW_PLANTED(&gossip->options, LW_BUG_NEVER_ASKS)) {
        return;
    }
    if (gossip->stranger != 0) {
        gossip_say_ask(gossip, gossip->stranger, gossip->members.buckets, NULL);
        gossip->stranger = 0;
        return;
    }
    gossip_summary own = gossip_summary_of(gossip);
    wish chosen;
    const gossip_peer *peer = choose(gossip, &own, now_ms, &chosen);
    if (peer != NULL) {
        gossip_say_ask(gossip, peer->node, chosen.members ? gossip->members.buckets : NULL,
                       chosen.directory ? gossip->directory.buckets : NULL);
    }
}

/* ---- answering ----------------------------------------------------------------------------------
 */

/* Keeps of `theirs` a 1 where they differ from `ours`, else 0; how many do. */
static uint32_t compare(uint64_t *theirs, const uint64_t *ours, uint32_t count) {
    uint32_t different = 0;
    for (uint32_t index = 0; index < count; index++) {
        theirs[index] = theirs[index] != ours[index];
        different += (uint32_t)theirs[index];
    }
    return different;
}

/* Takes out of `wanted` what all have just heard, and notes that they hear the rest now. */
static void hush(uint64_t *wanted, uint64_t *said_ms, uint32_t count, uint64_t now_ms,
                 uint64_t interval_ms) {
    for (uint32_t index = 0; index < count; index++) {
        if (wanted[index] != 0 && said_ms[index] != 0 && now_ms - said_ms[index] < interval_ms) {
            wanted[index] = 0;
        } else if (wanted[index] != 0) {
            said_ms[index] = now_ms;
        }
    }
}

static void put_members(gossip_page *page, const uint64_t *wanted) {
    const lw_members *members = &page->gossip->members;
    for (uint32_t index = 0; index < members->count; index++) {
        if (wanted[lw_members_bucket(lw_members_at(members, index)->node)] != 0) {
            gossip_page_record(page, lw_members_record(members, index));
        }
    }
}

/* The places of all shards in the directory, bucket after bucket: bucket b has those from begins[b]
 * to begins[b + 1]. Freed with lw_free. */
static uint32_t *sort_by_bucket(const lw_gossip *gossip,
                                uint32_t begins[LW_DIRECTORY_BUCKETS + 1]) {
    const lw_directory *directory = &gossip->directory;
    uint32_t *places = lw_allocate(gossip->memory, (directory->count + 1) * sizeof(*places));
    uint32_t filled[LW_DIRECTORY_BUCKETS] = {0};
    lw_directory_row row;
    memset(begins, 0, (LW_DIRECTORY_BUCKETS + 1) * sizeof(*begins));
    for (uint32_t index = 0; index < directory->count; index++) {
        lw_directory_at(directory, index, &row);
        begins[lw_directory_bucket(row.shard.id) + 1]++;
    }
    for (uint32_t bucket = 0; bucket < LW_DIRECTORY_BUCKETS; bucket++) {
        begins[bucket + 1] += begins[bucket];
    }
    for (uint32_t index = 0; index < directory->count; index++) {
        lw_directory_at(directory, index, &row);
        uint32_t bucket = lw_directory_bucket(row.shard.id);
        places[begins[bucket] + filled[bucket]++] = index;
    }
    return places;
}

/* Whole buckets, as many as fit: those the asker has then, and asks for the others next. Parts of
 * many buckets would leave all of them different, and come again from whoever is asked then. Begins
 * behind the last one each time, so that what the asker does not take keeps nothing from it. */
static void put_directory(gossip_page *page, const uint64_t *wanted) {
    lw_gossip *gossip = page->gossip;
    uint32_t begins[LW_DIRECTORY_BUCKETS + 1];
    uint32_t *places = sort_by_bucket(gossip, begins);
    uint32_t first = gossip->rotor;
    for (uint32_t step = 0; step < LW_DIRECTORY_BUCKETS && page->pages < PAGES_MAX; step++) {
        uint32_t bucket = (first + step) % LW_DIRECTORY_BUCKETS;
        gossip->rotor = (bucket + 1) % LW_DIRECTORY_BUCKETS;
        for (uint32_t at = begins[bucket]; wanted[bucket] != 0 && at < begins[bucket + 1]; at++) {
            lw_directory_row row;
            lw_directory_at(&gossip->directory, places[at], &row);
            gossip_page_entry(page, &row);
        }
    }
    lw_free(gossip->memory, places);
}

void gossip_answer(lw_gossip *gossip, uint64_t from, lw_bytes content, uint64_t now_ms) {
    uint64_t members[LW_MEMBER_BUCKETS], directory[LW_DIRECTORY_BUCKETS];
    bool has_members, has_directory;
    if (!gossip_read_ask(content, members, &has_members, directory, &has_directory)) {
        gossip->figures.malformed++;
        return;
    }
    uint32_t member_count =
        has_members ? compare(members, gossip->members.buckets, LW_MEMBER_BUCKETS) : 0;
    uint32_t directory_count =
        has_directory ? compare(directory, gossip->directory.buckets, LW_DIRECTORY_BUCKETS) : 0;
    bool few = member_count <= MEMBERS_FEW && directory_count <= DIRECTORY_FEW;
    gossip_page page = gossip_page_open(gossip, LW_BUS_ANSWER, few ? 0 : from);
    uint64_t interval_ms = gossip_interval_ms(gossip);
    if (member_count > 0) {
        if (few) {
            hush(members, gossip->members_said_ms, LW_MEMBER_BUCKETS, now_ms, interval_ms);
        }
        put_members(&page, members);
    }
    if (directory_count > 0) {
        if (few) {
            hush(directory, gossip->directory_said_ms, LW_DIRECTORY_BUCKETS, now_ms, interval_ms);
        }
        put_directory(&page, directory);
    }
    gossip_page_close(&page);
    gossip->figures.answers_sent += page.pages;
}

/* ---- over links ---------------------------------------------------------------------------------
 */

static lw_bytes own_record(const lw_gossip *gossip) {
    uint32_t index = 0;
    while (lw_members_at(&gossip->members, index)->node != gossip->self.node) {
        index++;
    }
    return lw_members_record(&gossip->members, index);
}

void lw_gossip_greeting(const lw_gossip *gossip, uint64_t node, uint64_t now_ms,
                        lw_buffer *greeting) {
    const gossip_peer *peer = gossip_peer_of(gossip, node);
    uint64_t clock_ms = peer == NULL ? 0 : gossip_reckon_clock(peer, now_ms);
    uint8_t buckets[LW_MEMBER_BUCKETS * sizeof(uint64_t)];
    for (uint32_t index = 0; index < LW_MEMBER_BUCKETS; index++) {
        lw_put_u64(buckets + index * sizeof(uint64_t), gossip->members.buckets[index]);
    }
    lw_write_array(greeting, GREETING_FIELDS);
    lw_write_bytes(greeting, own_record(gossip));
    lw_write_bytes(greeting, lw_view(buckets, sizeof(buckets)));
    lw_write_u64(greeting, clock_ms == 0 ? 0 : peer->incarnation);
    lw_write_u64(greeting, clock_ms);
}

/* What heartbeats of this node were heard to say (S7): the next ones say no less. */
static void go_on_from(lw_gossip *gossip, uint64_t incarnation, uint64_t clock_ms,
                       uint64_t now_ms) {
    bool overtaken = incarnation == gossip->self.incarnation && clock_ms <= GOSSIP_CLOCK_MAX &&
                     clock_ms > now_ms + gossip->ahead_ms;
    if (overtaken && !LW_PLANTED(&gossip->options, LW_BUG_OVERTAKEN_STAY_SO)) {
        gossip->ahead_ms = clock_ms - now_ms;
    }
}

lw_status lw_gossip_greeted(lw_gossip *gossip, lw_bytes greeting, uint64_t now_ms,
                            lw_buffer *page) {
    lw_reader reader = lw_reader_of(greeting);
    uint32_t extra = lw_read_array_of(&reader, GREETING_FIELDS_MIN);
    lw_bytes record = lw_read_bytes(&reader);
    lw_bytes buckets = lw_read_bytes(&reader);
    bool told = extra >= GREETING_FIELDS - GREETING_FIELDS_MIN;
    uint64_t incarnation = told ? lw_read_u64(&reader) : 0;
    uint64_t clock_ms = told ? lw_read_u64(&reader) : 0;
    lw_read_skip(&reader, told ? extra - (GREETING_FIELDS - GREETING_FIELDS_MIN) : extra);
    if (!lw_reader_done(&reader) || buckets.size != LW_MEMBER_BUCKETS * sizeof(uint64_t)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a node's greeting is not well-formed");
    }
    gossip_take_record(gossip, record, now_ms);
    go_on_from(gossip, incarnation, clock_ms, now_ms);
    const lw_members *members = &gossip->members;
    bool different[LW_MEMBER_BUCKETS];
    for (uint32_t index = 0; index < LW_MEMBER_BUCKETS; index++) {
        different[index] =
            lw_get_u64(buckets.data + index * sizeof(uint64_t)) != members->buckets[index];
    }
    uint32_t count = 0;
    for (uint32_t index = 0; index < members->count; index++) {
        count += different[lw_members_bucket(lw_members_at(members, index)->node)];
    }
    lw_write_array(page, count);
    for (uint32_t index = 0; index < members->count; index++) {
        if (different[lw_members_bucket(lw_members_at(members, index)->node)]) {
            lw_write_bytes(page, lw_members_record(members, index));
        }
    }
    return LW_OK;
}
