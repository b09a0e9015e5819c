/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of WAITS. The format is at the head of request.c. */
#include "txn/detector.h"
#include "txn/request_codec.h"

enum {
    EDGE_SIZE_MIN = 7,   /* array · 2 starts · key 3 · label */
    VICTIM_SIZE_MIN = 4, /* array · start · obstacle 2 */
};

void lw_waits_request_encode(const lw_waits_request *message, lw_buffer *body) {
    lw_write_array(body, 2);
    lw_write_u64(body, message->node);
    lw_write_array(body, message->edge_count);
    for (uint32_t index = 0; index < message->edge_count; index++) {
        const lw_wait_edge *edge = &message->edges[index];
        lw_write_array(body, 4);
        lw_write_u64(body, edge->waiter);
        lw_write_u64(body, edge->holder);
        lw_write_bytes(body, edge->key);
        lw_write_text(body, edge->label);
    }
}

lw_status lw_waits_request_decode(lw_bytes body, lw_arena *arena, lw_waits_request *message) {
    request_decoder from = request_open(body, arena, 2);
    lw_waits_request read = {.node = request_number(&from)};
    read.edge_count = request_count(&from, EDGE_SIZE_MIN);
    request_demand(&from, read.edge_count <= LW_DETECTOR_EDGES_MAX, "it has too many edges");
    uint32_t count = from.flaw == NULL ? read.edge_count : 0;
    lw_wait_edge *edges = lw_arena_allocate(arena, (count + 1) * sizeof(*edges));
    for (uint32_t index = 0; index < count; index++) {
        request_fields(&from, 4);
        edges[index].waiter = request_start(&from);
        edges[index].holder = request_start(&from);
        edges[index].key = request_key(&from);
        edges[index].label = lw_read_text(&from.reader);
        request_demand(&from, edges[index].label.size <= LW_DETECTOR_LABEL_SIZE_MAX,
                       "a label is too long");
    }
    read.edges = edges;
    LW_TRY(request_close(&from, "waits request"));
    *message = read;
    return LW_OK;
}

void lw_waits_reply_encode(const lw_waits_reply *message, lw_buffer *body) {
    lw_buffer obstacle = lw_buffer_in(body->memory);
    lw_write_array(body, 1);
    lw_write_array(body, message->victim_count);
    for (uint32_t index = 0; index < message->victim_count; index++) {
        lw_buffer_clear(&obstacle);
        lw_obstacle_encode(&message->victims[index].obstacle, &obstacle);
        lw_write_array(body, 2);
        lw_write_u64(body, message->victims[index].start);
        lw_write_bytes(body, lw_buffer_view(&obstacle));
    }
    lw_buffer_reset(&obstacle);
}

lw_status lw_waits_reply_decode(lw_bytes body, lw_arena *arena, lw_waits_reply *message) {
    request_decoder from = request_open(body, arena, 1);
    lw_waits_reply read = {.victim_count = request_count(&from, VICTIM_SIZE_MIN)};
    lw_waits_victim *victims = lw_arena_allocate(arena, (read.victim_count + 1) * sizeof(*victims));
    for (uint32_t index = 0; index < read.victim_count; index++) {
        request_fields(&from, 2);
        victims[index].start = request_start(&from);
        lw_bytes obstacle = lw_read_bytes(&from.reader);
        if (!lw_reader_ok(&from.reader)) {
            break;
        }
        LW_TRY(lw_obstacle_decode(obstacle, arena, &victims[index].obstacle));
    }
    read.victims = victims;
    LW_TRY(request_close(&from, "waits reply"));
    *message = read;
    return LW_OK;
}
