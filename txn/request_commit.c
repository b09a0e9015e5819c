/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of requests and replies that commit, roll back, and find out which. The formats are at
 * the head of request.c. */
#include "txn/request_codec.h"

/* ---- COMMIT_NOW ----------------------------------------------------------------------------- */

void lw_commit_now_request_encode(const lw_commit_now_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    request_write_mutations(body, message->mutations, message->mutation_count);
    request_write_seen_keys(body, message->keys, message->key_count);
    request_write_seen_ranges(body, message->ranges, message->range_count);
}

lw_status lw_commit_now_request_decode(lw_bytes body, lw_arena *arena,
                                       lw_commit_now_request *message) {
    request_decoder from = request_open(body, arena, 4);
    lw_commit_now_request read = {.start = request_start(&from)};
    read.mutations = request_read_mutations(&from, &read.mutation_count);
    read.keys = request_read_seen_keys(&from, &read.key_count);
    read.ranges = request_read_seen_ranges(&from, &read.range_count);
    LW_TRY(request_close(&from, "commit now request"));
    *message = read;
    return LW_OK;
}

void lw_commit_reply_encode(const lw_commit_reply *message, lw_buffer *body) {
    lw_write_array(body, 2);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_array(body, message->result_count);
    for (uint32_t index = 0; index < message->result_count; index++) {
        lw_write_array(body, 3);
        lw_write_bool(body, message->results[index].applied);
        lw_write_bool(body, message->results[index].found);
        lw_write_bytes(body, message->results[index].value);
    }
}

static const lw_commit_result *read_results(request_decoder *from, uint32_t *result_count) {
    uint32_t count = request_count(from, REQUEST_RESULT_SIZE_MIN);
    lw_commit_result *results = lw_arena_allocate(from->arena, count * sizeof(*results));
    for (uint32_t index = 0; index < count; index++) {
        request_fields(from, 3);
        results[index].applied = request_flag(from);
        results[index].found = request_flag(from);
        results[index].value = request_value(from);
    }
    *result_count = count;
    return results;
}

lw_status lw_commit_reply_decode(lw_bytes body, lw_arena *arena, lw_commit_reply *message) {
    request_decoder from = request_open(body, arena, 2);
    lw_commit_reply read = {.commit_timestamp =
                                request_timestamp(&from, "its commit timestamp is 0")};
    read.results = read_results(&from, &read.result_count);
    LW_TRY(request_close(&from, "commit reply"));
    *message = read;
    return LW_OK;
}

/* ---- PREWRITE ------------------------------------------------------------------------------- */

void lw_prewrite_request_encode(const lw_prewrite_request *message, lw_buffer *body) {
    lw_write_array(body, 9);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->primary);
    lw_write_u64(body, message->lifetime_ms);
    request_write_mutations(body, message->mutations, message->mutation_count);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_u64(body, message->sequence);
    request_write_keys(body, message->secondaries, message->secondary_count);
    request_write_seen_keys(body, message->keys, message->key_count);
    request_write_seen_ranges(body, message->ranges, message->range_count);
}

static const lw_bytes *read_secondaries(request_decoder *from, uint32_t *count) {
    const lw_bytes *keys = request_read_keys(from, count);
    size_t size = 0;
    for (uint32_t index = 0; index < *count; index++) {
        size += keys[index].size;
    }
    request_demand(from, *count <= LW_SECONDARY_COUNT_MAX && size <= LW_SECONDARY_BYTES_MAX,
                   "it has more than 256 secondary keys, or more than 64 KiB of them");
    return keys;
}

lw_status lw_prewrite_request_decode(lw_bytes body, lw_arena *arena, lw_prewrite_request *message) {
    request_decoder from = request_open(body, arena, 9);
    lw_prewrite_request read = {.start = request_start(&from)};
    read.primary = request_key(&from);
    read.lifetime_ms = request_u32(&from);
    read.mutations = request_read_mutations(&from, &read.mutation_count);
    read.commit_timestamp = request_number(&from);
    read.sequence = request_u32(&from);
    read.secondaries = read_secondaries(&from, &read.secondary_count);
    read.keys = request_read_seen_keys(&from, &read.key_count);
    read.ranges = request_read_seen_ranges(&from, &read.range_count);
    bool asynchronous = read.commit_timestamp != 0;
    request_demand(&from, !asynchronous || read.commit_timestamp > read.start,
                   "its commit timestamp is not above its start");
    request_demand(&from,
                   asynchronous ||
                       (read.secondary_count == 0 && read.key_count == 0 && read.range_count == 0),
                   "it has secondaries or reads, and no commit timestamp");
    LW_TRY(request_close(&from, "prewrite request"));
    *message = read;
    return LW_OK;
}

void lw_prewrite_reply_encode(const lw_prewrite_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->committed);
    lw_write_bool(body, message->asynchronous);
    lw_write_u64(body, message->valid_until);
}

lw_status lw_prewrite_reply_decode(lw_bytes body, lw_arena *arena, lw_prewrite_reply *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_prewrite_reply read = {.committed = request_number(&from)};
    read.asynchronous = request_flag(&from);
    read.valid_until = request_number(&from);
    request_demand(&from, read.committed == 0 || !read.asynchronous,
                   "a transaction that is over is still being locked");
    LW_TRY(request_close(&from, "prewrite reply"));
    *message = read;
    return LW_OK;
}

/* ---- VALIDATE ------------------------------------------------------------------------------- */

void lw_validate_request_encode(const lw_validate_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->commit_timestamp);
    request_write_seen_keys(body, message->keys, message->key_count);
    request_write_seen_ranges(body, message->ranges, message->range_count);
}

lw_status lw_validate_request_decode(lw_bytes body, lw_arena *arena, lw_validate_request *message) {
    request_decoder from = request_open(body, arena, 4);
    lw_validate_request read = {.start = request_start(&from)};
    read.commit_timestamp = request_timestamp(&from, "its commit timestamp is 0");
    read.keys = request_read_seen_keys(&from, &read.key_count);
    read.ranges = request_read_seen_ranges(&from, &read.range_count);
    LW_TRY(request_close(&from, "validate request"));
    *message = read;
    return LW_OK;
}

/* ---- COMMIT and ROLLBACK -------------------------------------------------------------------- */

void lw_finish_request_encode(const lw_finish_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->commit_timestamp);
    request_write_keys(body, message->keys, message->key_count);
}

lw_status lw_finish_request_decode(lw_bytes body, lw_arena *arena, lw_finish_request *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_finish_request read = {.start = request_start(&from)};
    read.commit_timestamp = request_number(&from);
    read.keys = request_read_keys(&from, &read.key_count);
    request_demand(&from, read.key_count > 0 || read.commit_timestamp == 0, "it commits no key");
    request_demand(&from, read.commit_timestamp == 0 || read.commit_timestamp > read.start,
                   "its commit timestamp is not above its start");
    LW_TRY(request_close(&from, "commit or rollback request"));
    *message = read;
    return LW_OK;
}

void lw_finish_range_request_encode(const lw_finish_range_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_bytes(body, message->lower);
    lw_write_bytes(body, message->upper);
}

lw_status lw_finish_range_request_decode(lw_bytes body, lw_arena *arena,
                                         lw_finish_range_request *message) {
    request_decoder from = request_open(body, arena, 4);
    lw_finish_range_request read = {.start = request_start(&from)};
    read.commit_timestamp = request_number(&from);
    read.lower = request_bound(&from);
    read.upper = request_bound(&from);
    request_demand(&from, read.commit_timestamp == 0 || read.commit_timestamp > read.start,
                   "its commit timestamp is not above its start");
    LW_TRY(request_close(&from, "finish range request"));
    *message = read;
    return LW_OK;
}

/* ---- CHECK ---------------------------------------------------------------------------------- */

void lw_check_request_encode(const lw_check_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->primary);
    lw_write_bool(body, message->decide);
    lw_write_bool(body, message->patient);
}

lw_status lw_check_request_decode(lw_bytes body, lw_arena *arena, lw_check_request *message) {
    request_decoder from = request_open(body, arena, 4);
    lw_check_request read = {.start = request_start(&from)};
    read.primary = request_key(&from);
    read.decide = request_flag(&from);
    read.patient = request_flag(&from);
    LW_TRY(request_close(&from, "check request"));
    *message = read;
    return LW_OK;
}

void lw_check_reply_encode(const lw_check_reply *message, lw_buffer *body) {
    lw_write_array(body, 5);
    lw_write_u64(body, message->fate);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_u64(body, message->remaining_ms);
    lw_write_bool(body, message->asynchronous);
    request_write_keys(body, message->secondaries, message->secondary_count);
}

lw_status lw_check_reply_decode(lw_bytes body, lw_arena *arena, lw_check_reply *message) {
    request_decoder from = request_open(body, arena, 5);
    uint64_t fate = request_number(&from);
    request_demand(&from, fate >= LW_FATE_ALIVE && fate <= LW_FATE_UNKNOWN, "its fate is unknown");
    lw_check_reply read = {.fate = (lw_fate)(fate & UINT8_MAX)};
    read.commit_timestamp = request_number(&from);
    read.remaining_ms = request_number(&from);
    read.asynchronous = request_flag(&from);
    read.secondaries = read_secondaries(&from, &read.secondary_count);
    bool timed = read.fate == LW_FATE_COMMITTED || read.asynchronous;
    request_demand(&from, timed == (read.commit_timestamp != 0),
                   "its fate and its commit timestamp contradict each other");
    request_demand(&from, read.fate == LW_FATE_ALIVE || !read.asynchronous,
                   "a transaction that is decided is still asynchronous");
    request_demand(&from, read.asynchronous || read.secondary_count == 0,
                   "it has secondaries, and is not asynchronous");
    LW_TRY(request_close(&from, "check reply"));
    *message = read;
    return LW_OK;
}

/* ---- CHECK_SECONDARIES ---------------------------------------------------------------------- */

void lw_check_secondaries_request_encode(const lw_check_secondaries_request *message,
                                         lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->commit_timestamp);
    request_write_keys(body, message->keys, message->key_count);
    lw_write_bool(body, message->decide);
}

lw_status lw_check_secondaries_request_decode(lw_bytes body, lw_arena *arena,
                                              lw_check_secondaries_request *message) {
    request_decoder from = request_open(body, arena, 4);
    lw_check_secondaries_request read = {.start = request_start(&from)};
    read.commit_timestamp = request_number(&from);
    read.keys = read_secondaries(&from, &read.key_count);
    read.decide = request_flag(&from);
    request_demand(&from, read.key_count > 0, "it asks about no key");
    request_demand(&from, read.commit_timestamp > read.start,
                   "its commit timestamp is not above its start");
    LW_TRY(request_close(&from, "check secondaries request"));
    *message = read;
    return LW_OK;
}

void lw_check_secondaries_reply_encode(const lw_check_secondaries_reply *message, lw_buffer *body) {
    lw_write_array(body, 2);
    lw_write_u64(body, message->state);
    lw_write_u64(body, message->commit_timestamp);
}

lw_status lw_check_secondaries_reply_decode(lw_bytes body, lw_arena *arena,
                                            lw_check_secondaries_reply *message) {
    request_decoder from = request_open(body, arena, 2);
    uint64_t state = request_number(&from);
    request_demand(&from, state >= LW_SECONDARIES_LOCKED && state <= LW_SECONDARIES_CLASSIC,
                   "its state is unknown");
    lw_check_secondaries_reply read = {.state = (lw_secondary_state)(state & UINT8_MAX)};
    read.commit_timestamp = request_number(&from);
    request_demand(&from, (read.state == LW_SECONDARIES_COMMITTED) == (read.commit_timestamp != 0),
                   "its state and its commit timestamp contradict each other");
    LW_TRY(request_close(&from, "check secondaries reply"));
    *message = read;
    return LW_OK;
}

/* ---- HEARTBEAT ------------------------------------------------------------------------------ */

void lw_heartbeat_request_encode(const lw_heartbeat_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->primary);
    lw_write_u64(body, message->lifetime_ms);
}

lw_status lw_heartbeat_request_decode(lw_bytes body, lw_arena *arena,
                                      lw_heartbeat_request *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_heartbeat_request read = {.start = request_start(&from)};
    read.primary = request_key(&from);
    read.lifetime_ms = request_u32(&from);
    LW_TRY(request_close(&from, "heartbeat request"));
    *message = read;
    return LW_OK;
}
