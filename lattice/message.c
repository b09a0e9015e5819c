/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/message.h"

enum {
    REQUEST_FIELDS = 7,
    REPLY_FIELDS = 5,
    HELLO_FIELDS = 5,
    WELCOME_FIELDS = 6,
    SHARD_FIELDS = 8,
    SHARD_FIELDS_MIN = 7, /* of before there were replicas */
    SHARD_ROW_FIELDS = 2,
    SPLIT_FIELDS = 1,
    CHANGE_REPLICAS_FIELDS = 6,
    TRANSFER_FIELDS = 1,
    MERGE_FIELDS = 2,
    MERGED_FIELDS = 4,
    DESCRIBE_FIELDS = 4,
};

static const char hello_magic[] = "LW01";

/* ---- frames --------------------------------------------------------------------------------- */

/* Leaves room for the size; returns where the frame begins. */
static size_t frame_open(lw_buffer *frame) {
    size_t start = frame->size;
    lw_buffer_append_u32(frame, 0);
    return start;
}

static void frame_close(lw_buffer *frame, size_t start) {
    size_t size = frame->size - start - LW_FRAME_HEADER_SIZE;
    LW_ASSERT(size <= LW_FRAME_SIZE_MAX);
    lw_put_u32(frame->data + start, (uint32_t)size);
}

lw_status lw_frame_size(const uint8_t header[LW_FRAME_HEADER_SIZE], uint32_t *size) {
    uint32_t announced = lw_get_u32(header);
    if (announced == 0 || announced > LW_FRAME_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a frame announces %u bytes, outside 1 to %d: the other side does not speak "
                       "Lathwork's protocol, or a batch is too large",
                       announced, LW_FRAME_SIZE_MAX);
    }
    *size = announced;
    return LW_OK;
}

void lw_request_encode(const lw_request *request, lw_buffer *frame) {
    size_t start = frame_open(frame);
    lw_write_array(frame, REQUEST_FIELDS);
    lw_write_u64(frame, request->kind);
    lw_write_u64(frame, request->id);
    lw_write_u64(frame, request->shard);
    lw_write_u64(frame, request->epoch.range_version);
    lw_write_u64(frame, request->epoch.config_version);
    lw_write_u64(frame, request->timeout_ms);
    lw_write_bytes(frame, request->body);
    frame_close(frame, start);
}

lw_status lw_request_decode(lw_bytes payload, lw_request *request) {
    lw_reader reader = lw_reader_of(payload);
    uint32_t extra = lw_read_array_of(&reader, REQUEST_FIELDS);
    lw_request read = {.kind = (lw_message_kind)lw_read_u64_max(&reader, UINT8_MAX)};
    read.id = lw_read_u64(&reader);
    read.shard = lw_read_u64(&reader);
    read.epoch.range_version = lw_read_u64(&reader);
    read.epoch.config_version = lw_read_u64(&reader);
    read.timeout_ms = (uint32_t)lw_read_u64_max(&reader, UINT32_MAX);
    read.body = lw_read_bytes(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request of %zu bytes is not well-formed",
                       payload.size);
    }
    *request = read;
    return LW_OK;
}

lw_status lw_request_peek(lw_bytes begun, size_t size, lw_request *head) {
    lw_reader reader = lw_reader_of(begun);
    (void)lw_read_array_of(&reader, REQUEST_FIELDS);
    lw_request read = {.kind = (lw_message_kind)lw_read_u64_max(&reader, UINT8_MAX)};
    read.id = lw_read_u64(&reader);
    if (!lw_reader_ok(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request of %zu bytes is not well-formed", size);
    }
    *head = read;
    return LW_OK;
}

bool lw_request_ends(lw_message_kind kind) {
    switch ((int)kind) {
    case LW_MESSAGE_COMMIT:
    case LW_MESSAGE_ROLLBACK:
    case LW_MESSAGE_CHECK:
    case LW_MESSAGE_CHECK_SECONDARIES:
    case LW_MESSAGE_FINISH_RANGE:
    case LW_MESSAGE_HEARTBEAT:
    case LW_MESSAGE_KILL:
    case LW_MESSAGE_UNPIN:
    case LW_MESSAGE_PING:
    case LW_MESSAGE_STATUS:
    case LW_MESSAGE_TOPOLOGY:
        return true;
    default:
        return false;
    }
}

void lw_reply_encode(const lw_reply *reply, lw_buffer *frame) {
    size_t start = frame_open(frame);
    lw_write_array(frame, REPLY_FIELDS);
    lw_write_u64(frame, reply->id);
    lw_write_u64(frame, reply->status);
    lw_write_text(frame, reply->error);
    lw_write_u64(frame, reply->spare);
    lw_write_bytes(frame, reply->body);
    frame_close(frame, start);
}

lw_status lw_reply_decode(lw_bytes payload, lw_reply *reply) {
    lw_reader reader = lw_reader_of(payload);
    uint32_t extra = lw_read_array_of(&reader, REPLY_FIELDS);
    lw_reply read = {.id = lw_read_u64(&reader)};
    uint64_t status = lw_read_u64(&reader);
    read.error = lw_read_text(&reader);
    read.spare = lw_read_u64(&reader);
    read.body = lw_read_bytes(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a reply of %zu bytes is not well-formed",
                       payload.size);
    }
    /* A status that only a newer node knows: all we can say is that it did not go well. */
    read.status = lw_status_known(status) ? (lw_status)status : LW_INTERNAL;
    *reply = read;
    return LW_OK;
}

/* ---- hello ---------------------------------------------------------------------------------- */

void lw_hello_encode(const lw_hello *hello, lw_buffer *body) {
    lw_write_array(body, HELLO_FIELDS);
    lw_write_text(body, lw_text(hello_magic));
    lw_write_u64(body, hello->protocol_min);
    lw_write_u64(body, hello->protocol_max);
    lw_write_u64(body, hello->session);
    lw_write_text(body, hello->label);
}

lw_status lw_hello_decode(lw_bytes body, lw_hello *hello) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, HELLO_FIELDS);
    lw_bytes magic = lw_read_text(&reader);
    lw_hello read = {.protocol_min = lw_read_u64(&reader)};
    read.protocol_max = lw_read_u64(&reader);
    read.session = lw_read_u64(&reader);
    read.label = lw_read_text(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || !lw_equal(magic, lw_text(hello_magic))) {
        return lw_fail(LW_INVALID_ARGUMENT, "the greeting is not Lathwork's");
    }
    *hello = read;
    return LW_OK;
}

void lw_welcome_encode(const lw_welcome *welcome, lw_buffer *body) {
    LW_ASSERT(welcome->cluster_id.size == LW_CLUSTER_ID_BYTES);
    lw_write_array(body, WELCOME_FIELDS);
    lw_write_u64(body, welcome->protocol);
    lw_write_u64(body, welcome->session);
    lw_write_u64(body, welcome->node_id);
    lw_write_bytes(body, welcome->cluster_id);
    lw_write_text(body, welcome->version);
    lw_write_u64(body, welcome->retention_ms);
}

lw_status lw_welcome_decode(lw_bytes body, lw_welcome *welcome) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, WELCOME_FIELDS);
    lw_welcome read = {.protocol = lw_read_u64(&reader)};
    read.session = lw_read_u64(&reader);
    read.node_id = lw_read_u64(&reader);
    read.cluster_id = lw_read_bytes(&reader);
    read.version = lw_read_text(&reader);
    read.retention_ms = lw_read_u64(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read.cluster_id.size != LW_CLUSTER_ID_BYTES) {
        return lw_fail(LW_INVALID_ARGUMENT, "the node's welcome is not well-formed");
    }
    *welcome = read;
    return LW_OK;
}

/* ---- shard descriptors -------------------------------------------------------------------- */

void lw_shard_encode(const lw_shard_descriptor *shard, lw_buffer *body) {
    lw_write_array(body, SHARD_FIELDS);
    lw_write_u64(body, shard->id);
    lw_write_u64(body, shard->epoch.range_version);
    lw_write_u64(body, shard->epoch.config_version);
    lw_write_bytes(body, shard->start);
    lw_write_bytes(body, shard->end);
    lw_write_u64(body, shard->leader);
    lw_write_text(body, shard->leader_address);
    lw_write_array(body, 2 * shard->replica_count);
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        lw_write_u64(body, shard->replicas[index].node);
        lw_write_u64(body, (uint64_t)shard->replicas[index].role);
    }
}

/* Each node once, ascending, in a role that there is. */
static bool read_replicas(lw_reader *reader, lw_shard_descriptor *shard) {
    uint32_t count = lw_read_array(reader);
    if (count % 2 != 0 || count / 2 > LW_SHARD_REPLICAS_MAX) {
        return false;
    }
    uint64_t last = 0;
    for (; shard->replica_count < count / 2; shard->replica_count++) {
        lw_shard_replica *replica = &shard->replicas[shard->replica_count];
        replica->node = lw_read_u64(reader);
        uint64_t role = lw_read_u64(reader);
        if (!lw_reader_ok(reader) || replica->node <= last || role < LW_REPLICA_VOTER ||
            role > LW_REPLICA_LEAVING) {
            return false;
        }
        replica->role = (lw_replica_role)role;
        last = replica->node;
    }
    return true;
}

void lw_topology_encode(const lw_shard_descriptor *shards, uint32_t count, lw_buffer *body) {
    lw_write_array(body, count);
    for (uint32_t index = 0; index < count; index++) {
        lw_shard_encode(&shards[index], body);
    }
}

static lw_status topology_malformed(void) {
    return lw_fail(LW_INVALID_ARGUMENT, "a list of shards is not well-formed");
}

lw_status lw_topology_open(lw_bytes body, lw_reader *reader, uint32_t *count) {
    return lw_read_rows(body, reader, count) ? LW_OK : topology_malformed();
}

lw_status lw_topology_next(lw_reader *reader, lw_shard_descriptor *shard) {
    uint32_t extra = lw_read_array_of(reader, SHARD_FIELDS_MIN);
    lw_shard_descriptor read = {.id = lw_read_u64(reader)};
    read.epoch.range_version = lw_read_u64(reader);
    read.epoch.config_version = lw_read_u64(reader);
    read.start = lw_read_bytes(reader);
    read.end = lw_read_bytes(reader);
    read.leader = lw_read_u64(reader);
    read.leader_address = lw_read_text(reader);
    if (extra > 0) {
        extra--;
        if (!read_replicas(reader, &read)) {
            return topology_malformed();
        }
    }
    lw_read_skip(reader, extra);
    bool range_empty = read.end.size > 0 && lw_compare(read.start, read.end) >= 0;
    if (!lw_reader_ok(reader) || range_empty) {
        return topology_malformed();
    }
    *shard = read;
    return LW_OK;
}

void lw_shard_rows_encode(const lw_shard_row *rows, uint32_t count, lw_buffer *body) {
    lw_write_array(body, count);
    for (uint32_t index = 0; index < count; index++) {
        lw_write_array(body, SHARD_ROW_FIELDS + 1);
        lw_shard_encode(&rows[index].shard, body);
        lw_write_u64(body, rows[index].bytes);
        lw_write_u64(body, rows[index].requests);
    }
}

lw_status lw_shard_row_next(lw_reader *reader, lw_shard_row *row) {
    lw_shard_row read;
    uint32_t extra = lw_read_array_of(reader, SHARD_ROW_FIELDS);
    LW_TRY(lw_topology_next(reader, &read.shard));
    read.bytes = lw_read_u64(reader);
    read.requests = 0; /* what older nodes do not tell */
    if (extra > 0) {
        read.requests = lw_read_u64(reader);
        extra--;
    }
    lw_read_skip(reader, extra);
    if (!lw_reader_ok(reader)) {
        return topology_malformed();
    }
    *row = read;
    return LW_OK;
}

void lw_split_request_encode(const lw_split_request *request, lw_buffer *body) {
    lw_write_array(body, SPLIT_FIELDS);
    lw_write_bytes(body, request->key);
}

lw_status lw_split_request_decode(lw_bytes body, lw_split_request *request) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, SPLIT_FIELDS);
    lw_split_request read = {.key = lw_read_bytes(&reader)};
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read.key.size == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request to split a shard is not well-formed");
    }
    *request = read;
    return LW_OK;
}

void lw_merge_request_encode(const lw_merge_request *request, lw_buffer *body) {
    lw_write_array(body, MERGE_FIELDS);
    lw_write_u64(body, request->right);
    lw_write_bool(body, request->if_idle);
}

lw_status lw_merge_request_decode(lw_bytes body, lw_merge_request *request) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, MERGE_FIELDS);
    lw_merge_request read = {.right = lw_read_u64(&reader)};
    read.if_idle = lw_read_bool(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request to merge two shards is not well-formed");
    }
    *request = read;
    return LW_OK;
}

void lw_merged_request_encode(const lw_merged_request *request, lw_buffer *body) {
    lw_write_array(body, MERGED_FIELDS);
    lw_write_u64(body, request->right);
    lw_write_u64(body, request->left);
    lw_write_u64(body, request->range_version);
    lw_write_bytes(body, request->start);
}

lw_status lw_merged_request_decode(lw_bytes body, lw_merged_request *request) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, MERGED_FIELDS);
    lw_merged_request read = {.right = lw_read_u64(&reader)};
    read.left = lw_read_u64(&reader);
    read.range_version = lw_read_u64(&reader);
    read.start = lw_read_bytes(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read.right == 0 || read.left == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "a question about a merge is not well-formed");
    }
    *request = read;
    return LW_OK;
}

void lw_merged_reply_encode(bool merged, lw_buffer *body) {
    lw_write_bool(body, merged);
}

lw_status lw_merged_reply_decode(lw_bytes body, bool *merged) {
    lw_reader reader = lw_reader_of(body);
    bool read = lw_read_bool(&reader);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "an answer about a merge is not well-formed");
    }
    *merged = read;
    return LW_OK;
}

static lw_status change_malformed(void) {
    return lw_fail(LW_INVALID_ARGUMENT, "a request to change replicas is not well-formed");
}

void lw_change_replicas_request_encode(const lw_change_replicas_request *request, lw_buffer *body) {
    lw_write_array(body, CHANGE_REPLICAS_FIELDS);
    lw_write_u64(body, request->learner);
    lw_write_u64(body, request->voter);
    lw_write_u64(body, request->leaves);
    lw_write_bool(body, request->fewer);
    lw_write_u64(body, request->second_voter);
    lw_write_u64(body, request->second_leaves);
}

/* At least one of them, no node twice, and no second one without a first. */
static bool change_is_sound(const lw_change_replicas_request *request) {
    const uint64_t nodes[] = {request->learner, request->voter, request->leaves,
                              request->second_voter, request->second_leaves};
    bool any = false;
    for (size_t index = 0; index < sizeof(nodes) / sizeof(nodes[0]); index++) {
        for (size_t other = 0; other < index; other++) {
            if (nodes[index] != 0 && nodes[index] == nodes[other]) {
                return false;
            }
        }
        any = any || nodes[index] != 0;
    }
    return any && (request->second_voter == 0 || request->voter != 0) &&
           (request->second_leaves == 0 || request->leaves != 0);
}

lw_status lw_change_replicas_request_decode(lw_bytes body, lw_change_replicas_request *request) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, CHANGE_REPLICAS_FIELDS);
    lw_change_replicas_request read = {.learner = lw_read_u64(&reader)};
    read.voter = lw_read_u64(&reader);
    read.leaves = lw_read_u64(&reader);
    read.fewer = lw_read_bool(&reader);
    read.second_voter = lw_read_u64(&reader);
    read.second_leaves = lw_read_u64(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || !change_is_sound(&read)) {
        return change_malformed();
    }
    *request = read;
    return LW_OK;
}

void lw_describe_request_encode(const lw_describe_request *request, lw_buffer *body) {
    lw_write_array(body, DESCRIBE_FIELDS);
    lw_write_u64(body, request->shard);
    lw_write_u64(body, request->index);
    lw_write_u64(body, request->digest);
    lw_write_u64(body, request->renews);
}

lw_status lw_describe_request_decode(lw_bytes body, lw_describe_request *request) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, DESCRIBE_FIELDS);
    lw_describe_request read = {.shard = lw_read_u64(&reader)};
    read.index = lw_read_u64(&reader);
    read.digest = lw_read_u64(&reader);
    read.renews = lw_read_u64(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read.shard == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request to describe a shard is not well-formed");
    }
    *request = read;
    return LW_OK;
}

void lw_describe_tail_write(const lw_describe_tail *tail, lw_buffer *reply) {
    if (tail->into != 0) {
        lw_write_u64(reply, tail->into);
        return;
    }
    lw_write_u64(reply, tail->applied);
    lw_write_u64(reply, tail->index);
    lw_write_u64(reply, tail->digest);
    lw_write_u64(reply, tail->damaged);
}

void lw_describe_tail_read(lw_reader *reader, bool described, lw_describe_tail *tail) {
    *tail = (lw_describe_tail){.into = described ? 0 : lw_read_u64(reader)};
    if (!described) {
        return;
    }
    tail->applied = lw_read_u64(reader);
    tail->index = lw_read_u64(reader);
    tail->digest = lw_read_u64(reader);
    tail->damaged = lw_read_u64(reader) != 0;
}

void lw_transfer_request_encode(const lw_transfer_request *request, lw_buffer *body) {
    lw_write_array(body, TRANSFER_FIELDS);
    lw_write_u64(body, request->node);
}

lw_status lw_transfer_request_decode(lw_bytes body, lw_transfer_request *request) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, TRANSFER_FIELDS);
    lw_transfer_request read = {.node = lw_read_u64(&reader)};
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read.node == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request to hand a shard over is not well-formed");
    }
    *request = read;
    return LW_OK;
}
