/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/gossip.h"

#include "lattice/gossip_private.h"

/* ---- lists --------------------------------------------------------------------------------------
 */

enum {
    UNHEARD_MAX = 1024,   /* shards: what is beyond is healed by digests */
    SILENT_INTERVALS = 2, /* without a heartbeat of anybody: nothing went through */
};

static void ids_add(lw_gossip *gossip, gossip_ids *ids, uint64_t id) {
    if (ids->count == ids->capacity) {
        ids->capacity = ids->capacity == 0 ? 8 : 2 * ids->capacity;
        ids->ids = lw_reallocate(gossip->memory, ids->ids, ids->capacity * sizeof(*ids->ids));
    }
    ids->ids[ids->count++] = id;
}

void gossip_tell(lw_gossip *gossip, lw_gossip_event_kind kind, uint64_t node, uint64_t shard,
                 lw_member_state state) {
    if (gossip->event_count == gossip->event_capacity) {
        gossip->event_capacity = gossip->event_capacity == 0 ? 16 : 2 * gossip->event_capacity;
        gossip->events = lw_reallocate(gossip->memory, gossip->events,
                                       gossip->event_capacity * sizeof(*gossip->events));
    }
    gossip->events[gossip->event_count++] =
        (lw_gossip_event){.kind = kind, .node = node, .shard = shard, .state = state};
}

void gossip_tell_of(lw_gossip *gossip, lw_gossip_event_kind kind, const gossip_peer *peer) {
    const lw_member *member = lw_members_find(&gossip->members, peer->node);
    gossip_tell(gossip, kind, peer->node, 0, member == NULL ? LW_MEMBER_GONE : member->state);
}

bool lw_gossip_next_message(lw_gossip *gossip, lw_gossip_message *message) {
    if (gossip->said_first == gossip->said_count) {
        gossip->said_first = gossip->said_count = 0;
        lw_buffer_clear(&gossip->said_bytes);
        return false;
    }
    const gossip_said *said = &gossip->said[gossip->said_first++];
    *message =
        (lw_gossip_message){.kind = said->kind,
                            .to = said->to,
                            .body = lw_view(gossip->said_bytes.data + said->offset, said->size)};
    return true;
}

bool lw_gossip_next_event(lw_gossip *gossip, lw_gossip_event *event) {
    if (gossip->event_first == gossip->event_count) {
        gossip->event_first = gossip->event_count = 0;
        return false;
    }
    *event = gossip->events[gossip->event_first++];
    return true;
}

/* ---- peers --------------------------------------------------------------------------------------
 */

static uint32_t place_of(const lw_gossip *gossip, uint64_t node) {
    uint32_t low = 0, high = gossip->peer_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (gossip->peers[middle].node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

gossip_peer *gossip_peer_of(const lw_gossip *gossip, uint64_t node) {
    uint32_t place = place_of(gossip, node);
    bool found = place < gossip->peer_count && gossip->peers[place].node == node;
    return found ? &gossip->peers[place] : NULL;
}

void gossip_add_peer(lw_gossip *gossip, uint64_t node, uint64_t now_ms) {
    if (gossip->peer_count == gossip->peer_capacity) {
        gossip->peer_capacity = gossip->peer_capacity == 0 ? 4 : 2 * gossip->peer_capacity;
        gossip->peers = lw_reallocate(gossip->memory, gossip->peers,
                                      gossip->peer_capacity * sizeof(*gossip->peers));
    }
    if (gossip->peer_count == 0) {
        gossip->beat_ms = now_ms; /* alone no longer */
    }
    uint32_t place = place_of(gossip, node);
    memmove(&gossip->peers[place + 1], &gossip->peers[place],
            (gossip->peer_count - place) * sizeof(*gossip->peers));
    gossip->peers[place] =
        (gossip_peer){.node = node, .known = {.quiet = true, .changed_ms = now_ms}};
    gossip->peer_count++;
}

void gossip_remove_peer(lw_gossip *gossip, uint64_t node) {
    uint32_t place = place_of(gossip, node);
    if (place < gossip->peer_count && gossip->peers[place].node == node) {
        gossip->peer_count--;
        memmove(&gossip->peers[place], &gossip->peers[place + 1],
                (gossip->peer_count - place) * sizeof(*gossip->peers));
    }
}

uint64_t gossip_interval_ms(const lw_gossip *gossip) {
    uint64_t slow = (uint64_t)(gossip->peer_count + 1) * 1000 / LW_GOSSIP_BEATS_MAX;
    uint64_t usual = gossip->options.heartbeat_ms;
    return slow > usual ? slow : usual;
}

/* ---- opening ------------------------------------------------------------------------------------
 */

static lw_bytes keep_text(char *to, lw_bytes text, size_t size_max) {
    LW_ASSERT(text.size <= size_max);
    memcpy(to, text.size == 0 ? (const uint8_t *)"" : text.data, text.size);
    return lw_view(to, text.size);
}

static void news(lw_gossip *gossip, uint64_t now_ms) {
    if (gossip->news_ms == 0) {
        gossip->news_ms = now_ms + LW_GOSSIP_BATCH_MS;
    }
}

void gossip_say_record_soon(lw_gossip *gossip, uint64_t node, uint64_t now_ms) {
    ids_add(gossip, &gossip->news_nodes, node);
    news(gossip, now_ms);
}

/* Puts `record` into the set, and lets it be said. */
static void put_own_record(lw_gossip *gossip, const lw_buffer *record, uint64_t node,
                           uint64_t now_ms) {
    lw_member_merged merged = lw_members_merge(&gossip->members, lw_buffer_view(record));
    LW_ASSERT(merged == LW_MEMBER_NEW || merged == LW_MEMBER_CHANGED);
    gossip_say_record_soon(gossip, node, now_ms);
}

static void sign_self(lw_gossip *gossip, uint64_t now_ms) {
    lw_buffer record = lw_buffer_in(gossip->memory);
    gossip->self.sequence++;
    lw_member_encode(&gossip->self, gossip->options.cluster_id, gossip->options.identity, &record);
    put_own_record(gossip, &record, gossip->self.node, now_ms);
    lw_buffer_reset(&record);
}

lw_gossip *lw_gossip_open(const lw_gossip_options *options, uint64_t now_ms) {
    LW_ASSERT(options->self.state != LW_MEMBER_GONE);
    LW_ASSERT(options->self.node == lw_identity_number(options->identity->public_key));
    lw_gossip *gossip = lw_allocate_zero(options->memory, sizeof(*gossip));
    gossip->options = *options;
    if (gossip->options.heartbeat_ms == 0) {
        gossip->options.heartbeat_ms = LW_GOSSIP_HEARTBEAT_MS;
    }
    if (gossip->options.grace_ms == 0) {
        gossip->options.grace_ms = LW_GOSSIP_GRACE_MS;
    }
    gossip->memory = options->memory;
    gossip->members = lw_members_in(options->memory, options->cluster_id);
    gossip->members.known = options->known;
    gossip->directory = lw_directory_in(options->memory);
#ifdef LW_SIMULATION
    gossip->members.bugs = gossip->directory.bugs = options->bugs;
#endif
    gossip->said_bytes = lw_buffer_in(options->memory);
    gossip->self = options->self;
    gossip->self.sequence = 0;
    gossip->self.address = keep_text(gossip->address, options->self.address, LW_MEMBER_ADDRESS_MAX);
    gossip->self.bus_address =
        keep_text(gossip->bus_address, options->self.bus_address, LW_MEMBER_ADDRESS_MAX);
    gossip->self.zone = keep_text(gossip->zone, options->self.zone, LW_MEMBER_ZONE_MAX);
    gossip->self.name = keep_text(gossip->name, options->self.name, LW_MEMBER_NAME_MAX);
    sign_self(gossip, now_ms);
    return gossip;
}

void lw_gossip_close(lw_gossip *gossip) {
    lw_memory *memory = gossip->memory;
    lw_members_reset(&gossip->members);
    lw_directory_reset(&gossip->directory);
    lw_buffer_reset(&gossip->said_bytes);
    lw_free(memory, gossip->peers);
    lw_free(memory, gossip->news_nodes.ids);
    lw_free(memory, gossip->news_shards.ids);
    lw_free(memory, gossip->unheard.ids);
    lw_free(memory, gossip->said);
    lw_free(memory, gossip->events);
    lw_free(memory, gossip);
}

/* ---- time ---------------------------------------------------------------------------------------
 */

static void say_news(lw_gossip *gossip) {
    gossip_page page = gossip_page_open(gossip, LW_BUS_SHARDS, 0);
    for (uint32_t index = 0; gossip->peer_count > 0 && index < gossip->members.count; index++) {
        uint64_t node = lw_members_at(&gossip->members, index)->node;
        bool wanted = false;
        for (uint32_t news_index = 0; news_index < gossip->news_nodes.count; news_index++) {
            wanted = wanted || gossip->news_nodes.ids[news_index] == node;
        }
        if (wanted) {
            gossip_page_record(&page, lw_members_record(&gossip->members, index));
        }
    }
    for (uint32_t index = 0; gossip->peer_count > 0 && index < gossip->news_shards.count; index++) {
        lw_directory_row row;
        if (lw_directory_find(&gossip->directory, gossip->news_shards.ids[index], &row)) {
            gossip_page_entry(&page, &row);
        }
    }
    gossip_page_close(&page);
    for (uint32_t index = 0; index < gossip->news_shards.count; index++) {
        if (gossip->unheard.count < UNHEARD_MAX) {
            ids_add(gossip, &gossip->unheard, gossip->news_shards.ids[index]);
        }
    }
    gossip->news_nodes.count = gossip->news_shards.count = 0;
    gossip->news_ms = 0;
}

void gossip_hear_anybody(lw_gossip *gossip, uint64_t now_ms) {
    bool silence = gossip->heard_ms != 0 &&
                   now_ms - gossip->heard_ms > SILENT_INTERVALS * gossip_interval_ms(gossip);
    for (uint32_t index = 0; silence && index < gossip->unheard.count; index++) {
        ids_add(gossip, &gossip->news_shards, gossip->unheard.ids[index]);
        news(gossip, now_ms);
    }
    gossip->unheard.count = 0;
    gossip->heard_ms = now_ms;
}

static void judge(lw_gossip *gossip, gossip_peer *peer, uint64_t now_ms) {
    uint64_t silence_ms = LW_GOSSIP_QUIET_BEATS * gossip_interval_ms(gossip);
    if (!peer->known.quiet && now_ms - peer->known.heard_ms > silence_ms) {
        peer->known.quiet = true;
        gossip_tell_of(gossip, LW_GOSSIP_QUIET, peer);
    }
    bool missed = !peer->known.linked;
    missed = missed || (LW_PLANTED(&gossip->options, LW_BUG_SILENCE_IS_DEATH) && peer->known.quiet);
    missed = missed && (!LW_PLANTED(&gossip->options, LW_BUG_WORDS_ARE_LINKS) || peer->known.quiet);
    if (missed && !peer->known.dead && now_ms - peer->known.changed_ms > gossip->options.grace_ms) {
        peer->known.dead = true;
        gossip_tell_of(gossip, LW_GOSSIP_DEAD, peer);
    }
}

/* What the wall clock shows then; 0: it is not known, or far from any year. */
static uint64_t wall_of(const lw_gossip *gossip, uint64_t at_ms) {
    int64_t wall_ms = (int64_t)at_ms + gossip->wall_ahead_ms;
    return gossip->wall_known && wall_ms > 0 && wall_ms <= GOSSIP_WALL_MAX ? (uint64_t)wall_ms : 0;
}

static void beat(lw_gossip *gossip, uint64_t now_ms) {
    uint64_t interval_ms = gossip_interval_ms(gossip);
    if (now_ms - gossip->beat_ms > 2 * interval_ms) {
        /* This node was away itself: what it did not hear is no evidence. */
        gossip->judge_ms = now_ms + LW_GOSSIP_QUIET_BEATS * interval_ms;
    }
    uint64_t shown_ms = now_ms + gossip->ahead_ms;
    uint64_t sent_ms = shown_ms > gossip->beat_sent_ms ? shown_ms : gossip->beat_sent_ms + 1;
    gossip_heartbeat heartbeat = {
        .incarnation = gossip->self.incarnation,
        .sent_ms = sent_ms,
        .summary = gossip_summary_of(gossip),
        .load = gossip->load,
        .wall_ms = wall_of(gossip, now_ms),
    };
    gossip_say_heartbeat(gossip, &heartbeat);
    gossip->beat_sent_ms = sent_ms;
    gossip->beat_ms = now_ms + interval_ms;
    gossip->round++;
    for (uint32_t index = 0; index < gossip->peer_count && now_ms >= gossip->judge_ms; index++) {
        judge(gossip, &gossip->peers[index], now_ms);
    }
    gossip_judge_clocks(gossip);
    gossip_ask(gossip, now_ms);
}

void lw_gossip_tick(lw_gossip *gossip, uint64_t now_ms) {
    if (gossip->news_ms != 0 && (now_ms >= gossip->news_ms || gossip->peer_count == 0)) {
        say_news(gossip);
    }
    bool silent = gossip->peer_count == 0 || gossip->copied || gossip->expelled ||
                  gossip->self.state == LW_MEMBER_GONE;
    if (!silent && now_ms >= gossip->beat_ms) {
        beat(gossip, now_ms);
    }
}

uint64_t lw_gossip_deadline(const lw_gossip *gossip) {
    bool silent = gossip->copied || gossip->expelled || gossip->self.state == LW_MEMBER_GONE;
    if (gossip->peer_count == 0) {
        return LW_GOSSIP_NEVER;
    }
    uint64_t beat_ms = silent ? LW_GOSSIP_NEVER : gossip->beat_ms;
    return gossip->news_ms != 0 && gossip->news_ms < beat_ms ? gossip->news_ms : beat_ms;
}

/* ---- what happened here -------------------------------------------------------------------------
 */

void lw_gossip_link(lw_gossip *gossip, uint64_t node, bool up, uint64_t now_ms) {
    gossip_peer *peer = gossip_peer_of(gossip, node);
    if (peer == NULL || peer->known.linked == up) {
        return;
    }
    peer->known.linked = up;
    peer->known.dead = false;
    peer->known.changed_ms = now_ms;
    gossip_tell_of(gossip, up ? LW_GOSSIP_LINKED : LW_GOSSIP_UNLINKED, peer);
}

void lw_gossip_shard(lw_gossip *gossip, const lw_directory_row *row, bool say, uint64_t now_ms) {
    lw_directory_merged merged = gossip_take_row(gossip, row);
    if (!say) {
        return;
    }
    if (merged == LW_DIRECTORY_CHANGED || merged == LW_DIRECTORY_DISPUTED) {
        ids_add(gossip, &gossip->news_shards, row->shard.id);
        news(gossip, now_ms);
    }
}

bool lw_gossip_idleness(lw_gossip *gossip, uint64_t shard, lw_idleness judged, uint64_t now_ms) {
    lw_directory_row row;
    if (!lw_directory_find(&gossip->directory, shard, &row)) {
        return false;
    }
    uint64_t turns = lw_neighbour_turns(row.idle_turns, judged);
    bool news = turns != row.idle_turns;
    if (news) {
        row.idle_turns = turns;
        lw_gossip_shard(gossip, &row, true, now_ms);
    }
    return news;
}

void lw_gossip_load(lw_gossip *gossip, const lw_member_load *load) {
    gossip->load = *load;
}

void lw_gossip_own_load(const lw_gossip *gossip, lw_member_load *load) {
    *load = gossip->load;
}

void lw_gossip_set_state(lw_gossip *gossip, lw_member_state state, uint64_t now_ms) {
    if (gossip->self.state != state) {
        LW_ASSERT(gossip->self.state != LW_MEMBER_GONE);
        gossip->self.state = state;
        sign_self(gossip, now_ms);
    }
}

void lw_gossip_set_keys(lw_gossip *gossip, const uint32_t *epochs, uint32_t count,
                        uint64_t now_ms) {
    LW_ASSERT(count > 0 && count <= LW_MEMBER_KEYS_MAX);
    lw_member *self = &gossip->self;
    if (self->state != LW_MEMBER_GONE &&
        (self->key_count != count ||
         memcmp(self->key_epochs, epochs, count * sizeof(*epochs)) != 0)) {
        memcpy(self->key_epochs, epochs, count * sizeof(*epochs));
        self->key_count = count;
        sign_self(gossip, now_ms);
    }
}

/* One that is free, like the one that is wanted. */
static void take_free_name(lw_gossip *gossip, lw_bytes wanted, uint64_t now_ms) {
    char name[LW_MEMBER_NAME_MAX + 1];
    lw_members_free_name(&gossip->members, wanted, gossip->self.node, name, &gossip->self.named);
    gossip->self.name = keep_text(gossip->name, lw_text(name), LW_MEMBER_NAME_MAX);
    sign_self(gossip, now_ms);
}

lw_status lw_gossip_set_name(lw_gossip *gossip, lw_bytes name, uint64_t now_ms) {
    LW_ASSERT(name.size == 0 || lw_member_name_sound(name));
    if (name.size == 0 && gossip->self.name.size == 0) {
        take_free_name(gossip, name, now_ms);
    }
    if (name.size == 0 || lw_equal(name, gossip->self.name)) {
        return LW_OK;
    }
    const lw_member *other = lw_members_named(&gossip->members, name, gossip->self.node);
    if (other != NULL) {
        return lw_member_name_taken(other);
    }
    char unused[LW_MEMBER_NAME_MAX + 1];
    lw_members_free_name(&gossip->members, name, gossip->self.node, unused, &gossip->self.named);
    gossip->self.name = keep_text(gossip->name, name, LW_MEMBER_NAME_MAX);
    sign_self(gossip, now_ms);
    return LW_OK;
}

void gossip_keep_name_unique(lw_gossip *gossip, uint64_t now_ms) {
    bool silent = gossip->copied || gossip->expelled || gossip->self.state == LW_MEMBER_GONE;
    if (!silent && lw_members_outnamed(&gossip->members, gossip->self.node) &&
        !LW_PLANTED(&gossip->options, LW_BUG_NAMES_SHARED)) {
        take_free_name(gossip, gossip->self.name, now_ms);
        gossip_tell(gossip, LW_GOSSIP_RENAMED, gossip->self.node, 0, gossip->self.state);
    }
}

void lw_gossip_set_bus_address(lw_gossip *gossip, lw_bytes address, uint64_t now_ms) {
    if (!lw_equal(gossip->self.bus_address, address)) {
        gossip->self.bus_address = keep_text(gossip->bus_address, address, LW_MEMBER_ADDRESS_MAX);
        sign_self(gossip, now_ms);
    }
}

lw_status lw_gossip_expel(lw_gossip *gossip, uint64_t node, uint64_t now_ms) {
    const lw_member *known = lw_members_find(&gossip->members, node);
    if (known == NULL || known->state == LW_MEMBER_GONE) {
        return lw_fail(LW_NOT_FOUND, "node %016llx is no member of the lattice",
                       (unsigned long long)node);
    }
    if (node == gossip->self.node) {
        return lw_fail(LW_REFUSED, "a node does not take itself out so: let it leave instead");
    }
    lw_member gone = {.node = node,
                      .incarnation = known->incarnation,
                      .sequence = known->sequence + 1,
                      .state = LW_MEMBER_GONE,
                      .name = known->name,
                      .named = known->named};
    if (gossip->members.gone_count == LW_TOMBSTONES_MAX) {
        return lw_fail(LW_FULL, "%d nodes have left this lattice: it can forget none of them",
                       LW_TOMBSTONES_MAX);
    }
    lw_buffer record = lw_buffer_in(gossip->memory);
    lw_member_encode(&gone, gossip->options.cluster_id, gossip->options.identity, &record);
    put_own_record(gossip, &record, node, now_ms);
    lw_buffer_reset(&record);
    gossip_remove_peer(gossip, node);
    gossip_tell(gossip, LW_GOSSIP_STATE, node, 0, LW_MEMBER_GONE);
    return LW_OK;
}

/* ---- looking ------------------------------------------------------------------------------------
 */

const char *lw_gossip_event_name(lw_gossip_event_kind kind) {
    switch (kind) {
    case LW_GOSSIP_JOINED:
        return "joined";
    case LW_GOSSIP_CHANGED:
        return "changed";
    case LW_GOSSIP_STATE:
        return "state";
    case LW_GOSSIP_QUIET:
        return "quiet";
    case LW_GOSSIP_HEARD:
        return "heard";
    case LW_GOSSIP_UNLINKED:
        return "unlinked";
    case LW_GOSSIP_LINKED:
        return "linked";
    case LW_GOSSIP_DEAD:
        return "dead";
    case LW_GOSSIP_DISPUTED:
        return "disputed";
    case LW_GOSSIP_COPIED:
        return "copied";
    case LW_GOSSIP_EXPELLED:
        return "expelled";
    case LW_GOSSIP_RENAMED:
        return "renamed";
    case LW_GOSSIP_CLOCK_WRONG:
    case LW_GOSSIP_CLOCK_RIGHT:
        return "clock";
    }
    return "unknown";
}

const lw_members *lw_gossip_members(const lw_gossip *gossip) {
    return &gossip->members;
}

const lw_directory *lw_gossip_directory(const lw_gossip *gossip) {
    return &gossip->directory;
}

const lw_member *lw_gossip_self(const lw_gossip *gossip) {
    return &gossip->self;
}

bool lw_gossip_peer_of(const lw_gossip *gossip, uint64_t node, lw_gossip_peer *peer) {
    const gossip_peer *found = gossip_peer_of(gossip, node);
    if (found != NULL) {
        *peer = found->known;
    }
    return found != NULL;
}

bool lw_gossip_connected(const lw_gossip *gossip) {
    for (uint32_t index = 0; index < gossip->peer_count; index++) {
        if (!gossip->peers[index].known.quiet) {
            return true;
        }
    }
    return false;
}

void lw_gossip_figures_get(const lw_gossip *gossip, lw_gossip_figures *figures) {
    *figures = gossip->figures;
}
