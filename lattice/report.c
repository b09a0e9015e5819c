/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/report.h"

enum { EVENTS_FIELDS = 1, EVENT_FIELDS = 6, PLAN_FIELDS = 5, NODE_FIELDS = 2, TOKEN_FIELDS = 3 };

void lw_events_request_encode(uint64_t after, lw_buffer *body) {
    lw_write_array(body, EVENTS_FIELDS);
    lw_write_u64(body, after);
}

lw_status lw_events_request_decode(lw_bytes body, uint64_t *after) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, EVENTS_FIELDS);
    uint64_t read = lw_read_u64(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request for events is not well-formed");
    }
    *after = read;
    return LW_OK;
}

void lw_event_row_encode(const lw_event_row *row, lw_buffer *body) {
    lw_write_array(body, EVENT_FIELDS);
    lw_write_u64(body, row->number);
    lw_write_u64(body, row->wall_ms);
    lw_write_text(body, row->name);
    lw_write_u64(body, row->node);
    lw_write_u64(body, row->shard);
    lw_write_text(body, row->text);
}

void lw_plan_row_encode(const lw_plan_row *row, lw_buffer *body) {
    lw_write_array(body, PLAN_FIELDS + 1);
    lw_write_u64(body, row->shard);
    lw_write_text(body, row->step);
    lw_write_u64(body, row->node);
    lw_write_u64(body, row->other);
    lw_write_text(body, row->reason);
    lw_write_array(body, row->wanted_count);
    for (uint32_t index = 0; index < row->wanted_count; index++) {
        lw_write_u64(body, row->wanted[index]);
    }
}

static lw_status malformed(void) {
    return lw_fail(LW_INVALID_ARGUMENT, "a report of the lattice is not well-formed");
}

lw_status lw_report_open(lw_bytes body, lw_reader *reader, uint32_t *count) {
    return lw_read_rows(body, reader, count) ? LW_OK : malformed();
}

lw_status lw_event_row_next(lw_reader *reader, lw_event_row *row) {
    uint32_t extra = lw_read_array_of(reader, EVENT_FIELDS);
    lw_event_row read = {.number = lw_read_u64(reader)};
    read.wall_ms = lw_read_u64(reader);
    read.name = lw_read_text(reader);
    read.node = lw_read_u64(reader);
    read.shard = lw_read_u64(reader);
    read.text = lw_read_text(reader);
    lw_read_skip(reader, extra);
    if (!lw_reader_ok(reader)) {
        return malformed();
    }
    *row = read;
    return LW_OK;
}

/* Of a node that does not tell it yet: nothing. */
static void read_wanted(lw_reader *reader, uint32_t *extra, lw_plan_row *row) {
    if (*extra == 0) {
        return;
    }
    uint32_t count = lw_read_array(reader);
    if (count > LW_SHARD_REPLICAS_MAX) {
        lw_reader_fail(reader);
        return;
    }
    row->wanted_count = count;
    for (uint32_t index = 0; index < count; index++) {
        row->wanted[index] = lw_read_u64(reader);
    }
    *extra -= 1;
}

lw_status lw_plan_row_next(lw_reader *reader, lw_plan_row *row) {
    uint32_t extra = lw_read_array_of(reader, PLAN_FIELDS);
    lw_plan_row read = {.shard = lw_read_u64(reader)};
    read.step = lw_read_text(reader);
    read.node = lw_read_u64(reader);
    read.other = lw_read_u64(reader);
    read.reason = lw_read_text(reader);
    read_wanted(reader, &extra, &read);
    lw_read_skip(reader, extra);
    if (!lw_reader_ok(reader)) {
        return malformed();
    }
    *row = read;
    return LW_OK;
}

void lw_node_request_encode(uint64_t node, bool flag, lw_buffer *body) {
    lw_write_array(body, NODE_FIELDS);
    lw_write_u64(body, node);
    lw_write_bool(body, flag);
}

lw_status lw_node_row_next(lw_reader *reader, uint64_t *node, bool *flag) {
    uint32_t extra = lw_read_array_of(reader, NODE_FIELDS);
    uint64_t read_node = lw_read_u64(reader);
    bool read_flag = lw_read_bool(reader);
    lw_read_skip(reader, extra);
    if (!lw_reader_ok(reader)) {
        return malformed();
    }
    *node = read_node;
    *flag = read_flag;
    return LW_OK;
}

lw_status lw_node_request_decode(lw_bytes body, uint64_t *node, bool *flag) {
    lw_reader reader = lw_reader_of(body);
    uint64_t read_node = 0;
    bool read_flag = false;
    if (lw_node_row_next(&reader, &read_node, &read_flag) != LW_OK || !lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request about a node is not well-formed");
    }
    *node = read_node;
    *flag = read_flag;
    return LW_OK;
}

/* ---- tokens ------------------------------------------------------------------------------------
 */

void lw_token_row_encode(const lw_token_row *row, lw_buffer *body) {
    lw_write_array(body, TOKEN_FIELDS);
    lw_write_u64(body, row->id);
    lw_write_u64(body, row->expires_ms);
    lw_write_bool(body, row->revoked);
}

lw_status lw_token_row_next(lw_reader *reader, lw_token_row *row) {
    uint32_t extra = lw_read_array_of(reader, TOKEN_FIELDS);
    lw_token_row read = {.id = lw_read_u64(reader)};
    read.expires_ms = lw_read_u64(reader);
    read.revoked = lw_read_bool(reader);
    lw_read_skip(reader, extra);
    if (!lw_reader_ok(reader)) {
        return malformed();
    }
    *row = read;
    return LW_OK;
}

void lw_revoke_request_encode(const lw_revoke_request *request, lw_buffer *body) {
    lw_write_array(body, TOKEN_FIELDS);
    lw_write_u64(body, request->id);
    lw_write_u64(body, request->expires_ms);
    lw_write_bytes(body, request->cluster_id);
}

lw_status lw_revoke_request_decode(lw_bytes body, lw_revoke_request *request) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, TOKEN_FIELDS);
    lw_revoke_request read = {.id = lw_read_u64(&reader)};
    read.expires_ms = lw_read_u64(&reader);
    read.cluster_id = lw_read_bytes(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request to revoke a token is not well-formed");
    }
    *request = read;
    return LW_OK;
}
