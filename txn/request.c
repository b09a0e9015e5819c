/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of requests and replies about transactions. See request.h.
 *
 * Each is one MessagePack array. Numbers are unsigned; keys, values and bounds are bin, labels str.
 *
 *   timestamp request   [ count ]
 *   timestamp reply     [ first ]
 *   get request         [ read timestamp, start, [ key ... ] ]
 *   get reply           [ read timestamp, [ value ... ] ]
 *   scan request        [ read timestamp, start, lower, upper, backwards, keys only, row limit,
 *                         byte limit ]
 *   scan reply          [ read timestamp, more, [ [ key, value ] ... ] ]
 *   commit now request  [ start, [ mutation ... ], [ seen key ... ], [ seen range ... ] ]
 *   commit reply        [ commit timestamp, [ [ applied, found, value ] ... ] ]
 *   prewrite request    [ start, primary, lifetime ms, [ mutation ... ], commit timestamp,
 *                         sequence, [ secondary ... ], [ seen key ... ], [ seen range ... ] ]
 *   prewrite reply      [ committed, asynchronous, valid until ]
 *   validate request    [ start, commit timestamp, [ seen key ... ], [ seen range ... ] ]
 *   finish request      [ start, commit timestamp, [ key ... ] ]
 *   finish range req.   [ start, commit timestamp, lower, upper ]
 *   check request       [ start, primary, decide, patient ]
 *   check reply         [ fate, commit timestamp, remaining ms, asynchronous, [ secondary ... ] ]
 *   check sec. request  [ start, commit timestamp, [ key ... ], decide ]
 *   check sec. reply    [ state, commit timestamp ]
 *   lock request        [ start, [ key ... ], wait ms, read ]
 *   lock reply          [ start, for update, [ value ... ] ]
 *   heartbeat request   [ start, primary, lifetime ms ]
 *   locks request       [ lower, row limit ]
 *   locks reply         [ more, next, [ [ key, kind, start, label, held ms, remaining ms, waiting,
 *                         [ [ start, label, waited ms ] ... ] ] ... ] ]
 *   kill request        [ start ]
 *   kill reply          [ fate, commit timestamp ]
 *   obstacle            [ kind, key, start, commit timestamp, primary, label, remaining ms,
 *                         waited ms, cycle length, [ [ start, key, label ] ... ] ]
 *   waits request       [ node, [ [ waiter, holder, key, label ] ... ] ]
 *   waits reply         [ [ [ start, obstacle bin ] ... ] ]
 *   pin request         [ timestamp, lifetime ms, asked ]
 *   pin reply           [ timestamp ]
 *   collect request     [ step, safepoint, key ]
 *   collect reply       [ lowest, settled, end ]
 *
 *   mutation            [ kind, key, value, seen ]; a PUT that expires has kind 10, and its time to
 *                       live in ms, u64 little-endian, stands before its value
 *   seen key            [ key, seen ]
 *   seen range          [ lower, upper, seen ]
 *   value               [ found, commit timestamp, value ]
 *
 * The outer array may grow at its end, and what a reader does not know there it skips; the inner
 * ones never change, so that a newer peer cannot make an older one misread a mutation.
 *
 * Invariants
 * Q1. A decoder takes from the arena at most LW_REQUEST_ITEM_COUNT_MAX items an array, and never
 *     more items than the bytes at hand can hold.
 * Q2. What a decoder accepted may be used as it is: kinds are known, keys fit a tree, mutations are
 *     distinct and ascend by key. */
#include "txn/request_codec.h"

/* ---- TIMESTAMP ------------------------------------------------------------------------------ */

void lw_timestamp_request_encode(const lw_timestamp_request *message, lw_buffer *body) {
    lw_write_array(body, 1);
    lw_write_u64(body, message->count);
}

lw_status lw_timestamp_request_decode(lw_bytes body, lw_arena *arena,
                                      lw_timestamp_request *message) {
    request_decoder from = request_open(body, arena, 1);
    lw_timestamp_request read = {.count = request_u32(&from)};
    request_demand(&from, read.count >= 1 && read.count <= LW_TIMESTAMP_COUNT_MAX,
                   "it asks for none, or for more than 65536 timestamps");
    LW_TRY(request_close(&from, "timestamp request"));
    *message = read;
    return LW_OK;
}

void lw_timestamp_reply_encode(const lw_timestamp_reply *message, lw_buffer *body) {
    lw_write_array(body, 1);
    lw_write_u64(body, message->first);
}

lw_status lw_timestamp_reply_decode(lw_bytes body, lw_arena *arena, lw_timestamp_reply *message) {
    request_decoder from = request_open(body, arena, 1);
    lw_timestamp_reply read = {.first = request_timestamp(&from, "its timestamp is 0")};
    LW_TRY(request_close(&from, "timestamp reply"));
    *message = read;
    return LW_OK;
}

/* ---- PIN and UNPIN -------------------------------------------------------------------------- */

void lw_pin_request_encode(const lw_pin_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->timestamp);
    lw_write_u64(body, message->lifetime_ms);
    lw_write_bool(body, message->asked);
}

lw_status lw_pin_request_decode(lw_bytes body, lw_arena *arena, lw_pin_request *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_pin_request read = {.timestamp = request_number(&from)};
    read.lifetime_ms = request_number(&from);
    read.asked = request_flag(&from);
    request_demand(&from, read.timestamp > 0 || read.lifetime_ms > 0, "it names no pin");
    request_demand(&from, read.lifetime_ms <= LW_PIN_LIFETIME_MAX_MS,
                   "it is to hold for more than 1000 hours");
    LW_TRY(request_close(&from, "pin request"));
    *message = read;
    return LW_OK;
}

void lw_pin_reply_encode(const lw_pin_reply *message, lw_buffer *body) {
    lw_write_array(body, 1);
    lw_write_u64(body, message->timestamp);
}

lw_status lw_pin_reply_decode(lw_bytes body, lw_arena *arena, lw_pin_reply *message) {
    request_decoder from = request_open(body, arena, 1);
    lw_pin_reply read = {.timestamp = request_timestamp(&from, "its timestamp is 0")};
    LW_TRY(request_close(&from, "pin reply"));
    *message = read;
    return LW_OK;
}

/* ---- GET ------------------------------------------------------------------------------------ */

void lw_get_request_encode(const lw_get_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->read_timestamp);
    lw_write_u64(body, message->start);
    request_write_keys(body, message->keys, message->key_count);
}

lw_status lw_get_request_decode(lw_bytes body, lw_arena *arena, lw_get_request *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_get_request read = {.read_timestamp = request_number(&from)};
    read.start = request_number(&from);
    read.keys = request_read_keys(&from, &read.key_count);
    request_demand(&from, read.key_count > 0, "it asks for no key");
    LW_TRY(request_close(&from, "get request"));
    *message = read;
    return LW_OK;
}

void lw_get_reply_encode(const lw_get_reply *message, lw_buffer *body) {
    lw_write_array(body, 2);
    lw_write_u64(body, message->read_timestamp);
    request_write_values(body, message->values, message->value_count);
}

lw_status lw_get_reply_decode(lw_bytes body, lw_arena *arena, lw_get_reply *message) {
    request_decoder from = request_open(body, arena, 2);
    lw_get_reply read = {.read_timestamp = request_timestamp(&from, "its read timestamp is 0")};
    read.values = request_read_values(&from, &read.value_count);
    request_demand(&from, read.value_count > 0, "it answers no key");
    LW_TRY(request_close(&from, "get reply"));
    *message = read;
    return LW_OK;
}

/* ---- SCAN ----------------------------------------------------------------------------------- */

void lw_scan_request_encode(const lw_scan_request *message, lw_buffer *body) {
    lw_write_array(body, 8);
    lw_write_u64(body, message->read_timestamp);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->lower);
    lw_write_bytes(body, message->upper);
    lw_write_bool(body, message->backwards);
    lw_write_bool(body, message->keys_only);
    lw_write_u64(body, message->row_limit);
    lw_write_u64(body, message->byte_limit);
}

lw_status lw_scan_request_decode(lw_bytes body, lw_arena *arena, lw_scan_request *message) {
    request_decoder from = request_open(body, arena, 8);
    lw_scan_request read = {.read_timestamp = request_number(&from)};
    read.start = request_number(&from);
    read.lower = request_bound(&from);
    read.upper = request_bound(&from);
    read.backwards = request_flag(&from);
    read.keys_only = request_flag(&from);
    read.row_limit = request_u32(&from);
    read.byte_limit = request_u32(&from);
    request_demand(&from, read.row_limit > 0, "it asks for no row");
    LW_TRY(request_close(&from, "scan request"));
    *message = read;
    return LW_OK;
}

void lw_scan_reply_encode(const lw_scan_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->read_timestamp);
    lw_write_bool(body, message->more);
    lw_write_array(body, message->row_count);
    for (uint32_t index = 0; index < message->row_count; index++) {
        lw_write_array(body, 2);
        lw_write_bytes(body, message->rows[index].key);
        lw_write_bytes(body, message->rows[index].value);
    }
}

lw_status lw_scan_reply_decode(lw_bytes body, lw_arena *arena, lw_scan_reply *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_scan_reply read = {.read_timestamp = request_timestamp(&from, "its read timestamp is 0")};
    read.more = request_flag(&from);
    read.row_count = request_count(&from, REQUEST_ROW_SIZE_MIN);
    lw_scan_row *rows = lw_arena_allocate(arena, read.row_count * sizeof(*rows));
    for (uint32_t index = 0; index < read.row_count; index++) {
        request_fields(&from, 2);
        rows[index].key = request_key(&from);
        rows[index].value = request_value(&from);
    }
    read.rows = rows;
    request_demand(&from, !read.more || read.row_count > 0,
                   "a page without rows says that more follow");
    LW_TRY(request_close(&from, "scan reply"));
    *message = read;
    return LW_OK;
}

/* ---- LOCK ----------------------------------------------------------------------------------- */

void lw_lock_request_encode(const lw_lock_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    request_write_keys(body, message->keys, message->key_count);
    lw_write_u64(body, message->wait_ms);
    lw_write_bool(body, message->read);
}

lw_status lw_lock_request_decode(lw_bytes body, lw_arena *arena, lw_lock_request *message) {
    request_decoder from = request_open(body, arena, 4);
    lw_lock_request read = {.start = request_number(&from)};
    read.keys = request_read_keys(&from, &read.key_count);
    read.wait_ms = request_u32(&from);
    read.read = request_flag(&from);
    request_demand(&from, read.key_count > 0, "it locks no key");
    LW_TRY(request_close(&from, "lock request"));
    *message = read;
    return LW_OK;
}

void lw_lock_reply_encode(const lw_lock_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->for_update);
    request_write_values(body, message->values, message->value_count);
}

lw_status lw_lock_reply_decode(lw_bytes body, lw_arena *arena, lw_lock_reply *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_lock_reply read = {.start = request_start(&from)};
    read.for_update = request_timestamp(&from, "it says at 0 what the newest version is");
    read.values = request_read_values(&from, &read.value_count);
    LW_TRY(request_close(&from, "lock reply"));
    *message = read;
    return LW_OK;
}
