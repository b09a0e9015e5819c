/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/gossip_private.h"

enum {
    VERSION = 1,
    BODY_FIELDS = 4,
    HEARTBEAT_FIELDS = 8,
    HEARTBEAT_FIELDS_OLD = 7, /* without the wall clock */
    ASK_FIELDS = 2,
    SHARDS_FIELDS = 2,
    PAGE_HEAD_SIZE = 16, /* of the arrays around what is in a page */
};

static const char purpose[] = "lathwork gossip 1";

/* ---- envelopes ----------------------------------------------------------------------------------
 */

enum { SIGNABLE_HEAD_SIZE = sizeof(purpose) + LW_MEMBER_CLUSTER_SIZE + 1 };

/* What a signature is of, appended. */
static void write_signable(const lw_gossip *gossip, lw_bus_kind kind, lw_bytes content,
                           lw_buffer *out) {
    lw_buffer_append(out, lw_view(purpose, sizeof(purpose)));
    lw_buffer_append(out, lw_view(gossip->options.cluster_id, LW_MEMBER_CLUSTER_SIZE));
    lw_buffer_append_u8(out, (uint8_t)kind);
    lw_buffer_append(out, content);
}

void gossip_say(lw_gossip *gossip, lw_bus_kind kind, uint64_t to, lw_bytes content) {
    LW_ASSERT(content.size <= GOSSIP_CONTENT_MAX);
    const lw_identity *identity = gossip->options.identity;
    uint8_t signature[LW_SIGNATURE_SIZE];
    lw_buffer signable = lw_buffer_in(gossip->memory);
    write_signable(gossip, kind, content, &signable);
    lw_known_sign(gossip->options.known, identity, lw_buffer_view(&signable), signature);
    lw_buffer_reset(&signable);
    if (gossip->said_count == gossip->said_capacity) {
        gossip->said_capacity = gossip->said_capacity == 0 ? 8 : 2 * gossip->said_capacity;
        gossip->said = lw_reallocate(gossip->memory, gossip->said,
                                     gossip->said_capacity * sizeof(*gossip->said));
    }
    lw_buffer *out = &gossip->said_bytes;
    gossip_said *said = &gossip->said[gossip->said_count++];
    *said = (gossip_said){.kind = kind, .to = to, .offset = out->size};
    lw_write_array(out, BODY_FIELDS);
    lw_write_u64(out, VERSION);
    lw_write_bytes(out, lw_view(identity->public_key, LW_PUBLIC_KEY_SIZE));
    lw_write_bytes(out, content);
    lw_write_bytes(out, lw_view(signature, LW_SIGNATURE_SIZE));
    said->size = out->size - said->offset;
    LW_ASSERT(said->size <= LW_BUS_BODY_SIZE_MAX);
    gossip->figures.bytes_sent += said->size;
}

bool gossip_open_body(lw_gossip *gossip, const lw_bus_message *message, lw_bytes *content) {
    lw_reader reader = lw_reader_of(message->body);
    uint32_t extra = lw_read_array_of(&reader, BODY_FIELDS);
    uint64_t version = lw_read_u64(&reader);
    lw_bytes public_key = lw_read_bytes(&reader);
    lw_bytes read = lw_read_bytes(&reader);
    lw_bytes signature = lw_read_bytes(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || version != VERSION || read.size > GOSSIP_CONTENT_MAX ||
        public_key.size != LW_PUBLIC_KEY_SIZE || signature.size != LW_SIGNATURE_SIZE) {
        gossip->figures.malformed++;
        return false;
    }
    lw_buffer signable = lw_buffer_in(gossip->memory);
    write_signable(gossip, message->kind, read, &signable);
    bool own = (lw_identity_number(public_key.data) == message->from ||
                LW_PLANTED(&gossip->options, LW_BUG_SENDER_UNCHECKED)) &&
               lw_known_verify(gossip->options.known, public_key.data, lw_buffer_view(&signable),
                               signature.data);
    lw_buffer_reset(&signable);
    gossip->figures.forged += !own;
    *content = read;
    return own;
}

/* ---- heartbeats ---------------------------------------------------------------------------------
 */

void gossip_say_heartbeat(lw_gossip *gossip, const gossip_heartbeat *heartbeat) {
    lw_buffer content = lw_buffer_in(gossip->memory);
    lw_write_array(&content, HEARTBEAT_FIELDS);
    lw_write_u64(&content, heartbeat->incarnation);
    lw_write_u64(&content, heartbeat->sent_ms);
    lw_write_u64(&content, heartbeat->summary.members_digest);
    lw_write_u64(&content, heartbeat->summary.members_weight);
    lw_write_u64(&content, heartbeat->summary.directory_digest);
    lw_write_u64(&content, heartbeat->summary.directory_weight);
    lw_member_load_encode(&heartbeat->load, &content);
    lw_write_u64(&content, heartbeat->wall_ms);
    gossip_say(gossip, LW_BUS_HEARTBEAT, 0, lw_buffer_view(&content));
    lw_buffer_reset(&content);
    gossip->figures.heartbeats_sent++;
}

bool gossip_read_heartbeat(lw_bytes content, gossip_heartbeat *heartbeat) {
    lw_reader reader = lw_reader_of(content);
    uint32_t extra = lw_read_array_of(&reader, HEARTBEAT_FIELDS_OLD);
    gossip_heartbeat read = {.incarnation = lw_read_u64(&reader)};
    read.sent_ms = lw_read_u64_max(&reader, INT64_MAX);
    read.summary.members_digest = lw_read_u64(&reader);
    read.summary.members_weight = lw_read_u64(&reader);
    read.summary.directory_digest = lw_read_u64(&reader);
    read.summary.directory_weight = lw_read_u64(&reader);
    lw_member_load_decode(&reader, &read.load);
    if (extra >= HEARTBEAT_FIELDS - HEARTBEAT_FIELDS_OLD) {
        read.wall_ms = lw_read_u64_max(&reader, GOSSIP_WALL_MAX);
        extra -= HEARTBEAT_FIELDS - HEARTBEAT_FIELDS_OLD;
    }
    lw_read_skip(&reader, extra);
    *heartbeat = read;
    return lw_reader_done(&reader);
}

/* ---- asks ---------------------------------------------------------------------------------------
 */

static void write_digests(lw_buffer *out, const uint64_t *digests, uint32_t count) {
    uint8_t bytes[LW_DIRECTORY_BUCKETS * sizeof(*digests)];
    _Static_assert((int)LW_MEMBER_BUCKETS <= (int)LW_DIRECTORY_BUCKETS, "both fit `bytes`");
    for (uint32_t index = 0; digests != NULL && index < count; index++) {
        lw_put_u64(bytes + index * sizeof(*digests), digests[index]);
    }
    lw_write_bytes(out, lw_view(bytes, digests == NULL ? 0 : count * sizeof(*digests)));
}

static bool read_digests(lw_reader *reader, uint64_t *digests, uint32_t count, bool *has) {
    lw_bytes bytes = lw_read_bytes(reader);
    *has = bytes.size > 0;
    if (bytes.size != (*has ? count * sizeof(*digests) : 0)) {
        return false;
    }
    for (uint32_t index = 0; *has && index < count; index++) {
        digests[index] = lw_get_u64(bytes.data + index * sizeof(*digests));
    }
    return true;
}

void gossip_say_ask(lw_gossip *gossip, uint64_t to, const uint64_t *members,
                    const uint64_t *directory) {
    lw_buffer content = lw_buffer_in(gossip->memory);
    lw_write_array(&content, ASK_FIELDS);
    write_digests(&content, members, LW_MEMBER_BUCKETS);
    write_digests(&content, directory, LW_DIRECTORY_BUCKETS);
    gossip_say(gossip, LW_BUS_ASK, to, lw_buffer_view(&content));
    lw_buffer_reset(&content);
    gossip->figures.asks_sent++;
}

bool gossip_read_ask(lw_bytes content, uint64_t members[LW_MEMBER_BUCKETS], bool *has_members,
                     uint64_t directory[LW_DIRECTORY_BUCKETS], bool *has_directory) {
    lw_reader reader = lw_reader_of(content);
    uint32_t extra = lw_read_array_of(&reader, ASK_FIELDS);
    bool sound = read_digests(&reader, members, LW_MEMBER_BUCKETS, has_members) &&
                 read_digests(&reader, directory, LW_DIRECTORY_BUCKETS, has_directory);
    lw_read_skip(&reader, extra);
    return sound && lw_reader_done(&reader);
}

/* ---- pages --------------------------------------------------------------------------------------
 */

gossip_page gossip_page_open(lw_gossip *gossip, lw_bus_kind kind, uint64_t to) {
    lw_memory *memory = gossip->memory;
    return (gossip_page){.gossip = gossip,
                         .kind = kind,
                         .to = to,
                         .records = lw_buffer_in(memory),
                         .entries = lw_buffer_in(memory),
                         .scratch = lw_buffer_in(memory)};
}

static void say_page(gossip_page *page) {
    if (page->record_count == 0 && page->entry_count == 0) {
        return;
    }
    lw_buffer content = lw_buffer_in(page->gossip->memory);
    lw_write_array(&content, SHARDS_FIELDS);
    lw_write_array(&content, page->record_count);
    lw_buffer_append(&content, lw_buffer_view(&page->records));
    lw_write_array(&content, page->entry_count);
    lw_buffer_append(&content, lw_buffer_view(&page->entries));
    gossip_say(page->gossip, page->kind, page->to, lw_buffer_view(&content));
    lw_buffer_reset(&content);
    lw_buffer_clear(&page->records);
    lw_buffer_clear(&page->entries);
    page->record_count = page->entry_count = 0;
    page->pages++;
}

/* Puts what stands in the scratch buffer among `what`, on the next page if this one is full. */
static void put(gossip_page *page, lw_buffer *what, uint32_t *count) {
    size_t used = page->records.size + page->entries.size + PAGE_HEAD_SIZE;
    if (used + page->scratch.size > GOSSIP_CONTENT_MAX) {
        say_page(page);
    }
    lw_buffer_append(what, lw_buffer_view(&page->scratch));
    lw_buffer_clear(&page->scratch);
    *count += 1;
}

void gossip_page_record(gossip_page *page, lw_bytes record) {
    lw_write_bytes(&page->scratch, record);
    put(page, &page->records, &page->record_count);
}

void gossip_page_entry(gossip_page *page, const lw_directory_row *row) {
    lw_directory_row_encode(row, &page->scratch);
    put(page, &page->entries, &page->entry_count);
}

void gossip_page_close(gossip_page *page) {
    say_page(page);
    lw_buffer_reset(&page->records);
    lw_buffer_reset(&page->entries);
    lw_buffer_reset(&page->scratch);
}

bool gossip_fits(const lw_directory_row *row) {
    enum { REST_SIZE = 128, REPLICA_SIZE = 10 };
    return row->shard.start.size + row->shard.end.size + REST_SIZE +
               row->shard.replica_count * REPLICA_SIZE <=
           LW_GOSSIP_ENTRY_MAX;
}
