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
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->primary);
    lw_write_u64(body, message->lifetime_ms);
    request_write_mutations(body, message->mutations, message->mutation_count);
}

lw_status lw_prewrite_request_decode(lw_bytes body, lw_arena *arena, lw_prewrite_request *message) {
    request_decoder from = request_open(body, arena, 4);
    lw_prewrite_request read = {.start = request_start(&from)};
    read.primary = request_key(&from);
    read.lifetime_ms = request_u32(&from);
    read.mutations = request_read_mutations(&from, &read.mutation_count);
    LW_TRY(request_close(&from, "prewrite request"));
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

/* ---- CHECK ---------------------------------------------------------------------------------- */

void lw_check_request_encode(const lw_check_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->primary);
    lw_write_bool(body, message->decide);
}

lw_status lw_check_request_decode(lw_bytes body, lw_arena *arena, lw_check_request *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_check_request read = {.start = request_start(&from)};
    read.primary = request_key(&from);
    read.decide = request_flag(&from);
    LW_TRY(request_close(&from, "check request"));
    *message = read;
    return LW_OK;
}

void lw_check_reply_encode(const lw_check_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->fate);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_u64(body, message->remaining_ms);
}

lw_status lw_check_reply_decode(lw_bytes body, lw_arena *arena, lw_check_reply *message) {
    request_decoder from = request_open(body, arena, 3);
    uint64_t fate = request_number(&from);
    request_demand(&from, fate >= LW_FATE_ALIVE && fate <= LW_FATE_ABORTED, "its fate is unknown");
    lw_check_reply read = {.fate = (lw_fate)(fate & UINT8_MAX)};
    read.commit_timestamp = request_number(&from);
    read.remaining_ms = request_number(&from);
    request_demand(&from, (read.fate == LW_FATE_COMMITTED) == (read.commit_timestamp != 0),
                   "its fate and its commit timestamp contradict each other");
    LW_TRY(request_close(&from, "check reply"));
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
