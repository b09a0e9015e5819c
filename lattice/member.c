/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/member.h"

#include "lattice/member_private.h"

#include <stdio.h>

enum {
    ROW_FIELDS = 10,
    ROW_FIELDS_OLD = 6, /* without label and lag, */
    LABEL_FIELDS = 2,   /* which these are, */
    CLOCK_FIELDS = 2,   /* and without these */
    LOAD_FIELDS = 11,
    LOAD_FIELDS_OLD = 6, /* without what ails it, */
    AILMENT_FIELDS = 2,  /* which these are, */
    CHANGE_FIELDS = 3,   /* and without what is changing */
};

const char *lw_member_state_name(lw_member_state state) {
    switch (state) {
    case LW_MEMBER_JOINING:
        return "joining";
    case LW_MEMBER_UP:
        return "up";
    case LW_MEMBER_DRAINING:
        return "draining";
    case LW_MEMBER_LEAVING:
        return "leaving";
    case LW_MEMBER_GONE:
        return "gone";
    }
    return "unknown";
}

/* ---- records ------------------------------------------------------------------------------------
 */

static bool plain(lw_bytes text, size_t size_max) {
    for (size_t index = 0; index < text.size; index++) {
        if (text.data[index] <= ' ' || text.data[index] > '~') {
            return false;
        }
    }
    return text.size <= size_max;
}

static bool name_byte(uint8_t byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '.' || byte == '-';
}

const char *lw_member_clock_words(int64_t ahead_ms, bool of_two, char words[LW_MEMBER_CLOCK_SIZE]) {
    enum { HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS };
    uint64_t by_ms = ahead_ms < 0 ? (uint64_t)-ahead_ms : (uint64_t)ahead_ms;
    bool hours = by_ms >= 2 * HOUR_MS, days = by_ms >= 2 * (uint64_t)DAY_MS;
    double unit_ms = days ? DAY_MS : hours ? HOUR_MS : 1000;
    if (ahead_ms == 0) {
        (void)snprintf(words, LW_MEMBER_CLOCK_SIZE, "its wall clock is right");
    } else {
        (void)snprintf(
            words, LW_MEMBER_CLOCK_SIZE, "its wall clock is %.1f %s %s %s", (double)by_ms / unit_ms,
            days    ? "days"
            : hours ? "hours"
                    : "s",
            ahead_ms < 0 ? "behind" : "ahead of", of_two ? "the other one's" : "most others'");
    }
    return words;
}

bool lw_member_name_sound(lw_bytes name) {
    bool good = name.size > 0 && name.size <= LW_MEMBER_NAME_MAX && name.data[0] != '-';
    for (size_t index = 0; index < name.size && good; index++) {
        good = name_byte(name.data[index]);
    }
    return good;
}

bool lw_member_sound(const lw_member *member) {
    bool known = member->state >= LW_MEMBER_JOINING && member->state <= LW_MEMBER_GONE;
    bool placed = member->state == LW_MEMBER_GONE || member->address.size > 0;
    return member->node != 0 && known && placed && plain(member->address, LW_MEMBER_ADDRESS_MAX) &&
           plain(member->bus_address, LW_MEMBER_ADDRESS_MAX) &&
           plain(member->zone, LW_MEMBER_ZONE_MAX) &&
           (member->name.size == 0 || lw_member_name_sound(member->name));
}

static lw_status malformed(lw_bytes record) {
    return lw_fail(LW_INVALID_ARGUMENT, "a node's record of %zu bytes is not well-formed",
                   record.size);
}

/* Takes the two parts of a record apart. */
static bool read_parts(lw_bytes record, lw_bytes *content, lw_bytes *signature) {
    lw_reader reader = lw_reader_of(record);
    uint32_t extra = lw_read_array_of(&reader, LW_MEMBER_RECORD_FIELDS);
    *content = lw_read_bytes(&reader);
    *signature = lw_read_bytes(&reader);
    lw_read_skip(&reader, extra);
    return lw_reader_done(&reader) && record.size <= LW_MEMBER_RECORD_MAX &&
           signature->size == LW_SIGNATURE_SIZE;
}

static void read_key_epochs(lw_reader *reader, lw_member *member) {
    uint32_t count = lw_read_array(reader);
    for (uint32_t index = 0; index < count && lw_reader_ok(reader); index++) {
        uint32_t epoch = (uint32_t)lw_read_u64_max(reader, UINT32_MAX);
        if (index < LW_MEMBER_KEYS_MAX) {
            member->key_epochs[index] = epoch;
            member->key_count = index + 1;
        }
    }
}

bool lw_member_has_key(const lw_member *member, uint32_t epoch) {
    bool has = false;
    for (uint32_t index = 0; index < member->key_count; index++) {
        has = has || member->key_epochs[index] == epoch;
    }
    return has;
}

static lw_status read_signed(lw_bytes record, lw_bytes content, lw_bytes *cluster_id,
                             lw_member *member) {
    lw_reader reader = lw_reader_of(content);
    uint32_t extra = lw_read_array_of(&reader, LW_MEMBER_NAMELESS_FIELDS);
    uint64_t version = lw_read_u64(&reader);
    if (lw_reader_ok(&reader) && version != LW_MEMBER_VERSION) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a node's record has version %llu, this program knows %d: a newer version "
                       "of Lathwork wrote it",
                       (unsigned long long)version, LW_MEMBER_VERSION);
    }
    *cluster_id = lw_read_bytes(&reader);
    lw_member read = {.node = lw_read_u64(&reader)};
    read.incarnation = lw_read_u64(&reader);
    read.sequence = lw_read_u64(&reader);
    read.state = (lw_member_state)lw_read_u64_max(&reader, UINT8_MAX);
    lw_bytes public_key = lw_read_bytes(&reader);
    read.address = lw_read_text(&reader);
    read.bus_address = lw_read_text(&reader);
    read.zone = lw_read_text(&reader);
    read.capacity = lw_read_u64(&reader);
    enum { NAME_FIELDS = LW_MEMBER_KEYLESS_FIELDS - LW_MEMBER_NAMELESS_FIELDS };
    if (extra >= NAME_FIELDS) {
        read.name = lw_read_text(&reader);
        read.named = lw_read_u64(&reader);
        extra -= NAME_FIELDS;
        if (extra > 0) {
            read_key_epochs(&reader, &read);
            extra--;
        }
    }
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || cluster_id->size != LW_MEMBER_CLUSTER_SIZE ||
        public_key.size != LW_PUBLIC_KEY_SIZE || !lw_member_sound(&read)) {
        return malformed(record);
    }
    memcpy(read.public_key, public_key.data, LW_PUBLIC_KEY_SIZE);
    *member = read;
    return LW_OK;
}

lw_status lw_member_read(lw_bytes record, lw_member_parts *parts) {
    if (!read_parts(record, &parts->content, &parts->signature)) {
        return malformed(record);
    }
    return read_signed(record, parts->content, &parts->cluster_id, &parts->member);
}

lw_status lw_member_decode(lw_bytes record, lw_member *member) {
    lw_member_parts parts;
    LW_TRY(lw_member_read(record, &parts));
    *member = parts.member;
    return LW_OK;
}

int lw_member_order(const lw_member *a, lw_bytes a_record, const lw_member *b, lw_bytes b_record) {
    LW_ASSERT(a->node == b->node);
    bool a_gone = a->state == LW_MEMBER_GONE, b_gone = b->state == LW_MEMBER_GONE;
    if (a_gone != b_gone) {
        return a_gone ? 1 : -1;
    }
    if (a->incarnation != b->incarnation) {
        return a->incarnation > b->incarnation ? 1 : -1;
    }
    if (a->sequence != b->sequence) {
        return a->sequence > b->sequence ? 1 : -1;
    }
    return lw_compare(a_record, b_record);
}

/* ---- the answer to NODES ------------------------------------------------------------------------
 */

void lw_member_load_encode(const lw_member_load *load, lw_buffer *out) {
    lw_write_array(out, LOAD_FIELDS);
    lw_write_u64(out, load->bytes);
    lw_write_u64(out, load->shards);
    lw_write_u64(out, load->leaders);
    lw_write_u64(out, load->reads);
    lw_write_u64(out, load->writes);
    lw_write_u64(out, load->receiving);
    lw_write_bool(out, load->disk_full);
    lw_write_array(out, load->lagging_count);
    for (uint32_t index = 0; index < load->lagging_count; index++) {
        lw_write_u64(out, load->lagging[index]);
    }
    lw_write_u64(out, load->merging);
    lw_write_u64(out, load->repairing);
    lw_write_u64(out, load->snapshots);
}

static void decode_ailments(lw_reader *reader, lw_member_load *load) {
    load->disk_full = lw_read_bool(reader);
    uint32_t count = lw_read_array(reader);
    for (uint32_t index = 0; index < count && lw_reader_ok(reader); index++) {
        uint64_t node = lw_read_u64(reader);
        if (index < LW_LAGGING_MAX) {
            load->lagging[index] = node;
            load->lagging_count = index + 1;
        }
    }
}

void lw_member_load_decode(lw_reader *reader, lw_member_load *load) {
    uint32_t extra = lw_read_array_of(reader, LOAD_FIELDS_OLD);
    *load = (lw_member_load){0};
    load->bytes = lw_read_u64(reader);
    load->shards = lw_read_u64(reader);
    load->leaders = lw_read_u64(reader);
    load->reads = lw_read_u64(reader);
    load->writes = lw_read_u64(reader);
    load->receiving = lw_read_u64(reader);
    if (extra >= AILMENT_FIELDS) {
        decode_ailments(reader, load);
        extra -= AILMENT_FIELDS;
        if (extra >= CHANGE_FIELDS) {
            load->merging = lw_read_u64(reader);
            load->repairing = lw_read_u64(reader);
            load->snapshots = lw_read_u64(reader);
            extra -= CHANGE_FIELDS;
        }
    }
    lw_read_skip(reader, extra);
}

void lw_member_rows_encode(const lw_member_row *rows, uint32_t count, lw_buffer *body) {
    lw_write_array(body, count);
    for (uint32_t index = 0; index < count; index++) {
        const lw_member_row *row = &rows[index];
        lw_write_array(body, ROW_FIELDS);
        lw_write_bytes(body, row->record);
        lw_write_bool(body, row->self);
        lw_write_bool(body, row->linked);
        lw_write_u64(body, row->heard_ms);
        lw_write_u64(body, row->linked_ms);
        lw_member_load_encode(&row->load, body);
        lw_write_text(body, row->label);
        lw_write_bool(body, row->lags);
        int64_t ahead_ms = row->clock_ahead_ms;
        lw_write_u64(body, ahead_ms > 0 ? (uint64_t)ahead_ms : 0);
        lw_write_u64(body, ahead_ms < 0 ? (uint64_t)-ahead_ms : 0);
    }
}

static lw_status rows_malformed(void) {
    return lw_fail(LW_INVALID_ARGUMENT, "a list of nodes is not well-formed");
}

lw_status lw_member_rows_open(lw_bytes body, lw_reader *reader, uint32_t *count) {
    return lw_read_rows(body, reader, count) ? LW_OK : rows_malformed();
}

lw_status lw_member_row_next(lw_reader *reader, lw_member_row *row) {
    uint32_t extra = lw_read_array_of(reader, ROW_FIELDS_OLD);
    lw_member_row read = {.record = lw_read_bytes(reader)};
    read.self = lw_read_bool(reader);
    read.linked = lw_read_bool(reader);
    read.heard_ms = lw_read_u64(reader);
    read.linked_ms = lw_read_u64(reader);
    lw_member_load_decode(reader, &read.load);
    if (extra >= LABEL_FIELDS) {
        read.label = lw_read_text(reader);
        read.lags = lw_read_bool(reader);
        extra -= LABEL_FIELDS;
        if (extra >= CLOCK_FIELDS) {
            read.clock_ahead_ms = (int64_t)lw_read_u64_max(reader, INT64_MAX);
            read.clock_ahead_ms -= (int64_t)lw_read_u64_max(reader, INT64_MAX);
            extra -= CLOCK_FIELDS;
        }
    }
    lw_read_skip(reader, extra);
    if (!lw_reader_ok(reader) || read.label.size >= LW_MEMBER_LABEL_SIZE) {
        return rows_malformed();
    }
    LW_TRY(lw_member_decode(read.record, &read.member));
    *row = read;
    return LW_OK;
}
