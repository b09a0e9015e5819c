/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of COLLECT. The format is at the head of request.c. */
#include "txn/request_codec.h"

void lw_collect_request_encode(const lw_collect_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->step);
    lw_write_u64(body, message->safepoint);
    lw_write_bytes(body, message->key);
}

lw_status lw_collect_request_decode(lw_bytes body, lw_arena *arena, lw_collect_request *message) {
    request_decoder from = request_open(body, arena, 3);
    uint64_t step = request_number(&from);
    request_demand(&from, step >= LW_COLLECT_WANTED && step <= LW_COLLECT_FORGET,
                   "it names no step");
    lw_collect_request read = {.step = (lw_collect_step)step,
                               .safepoint = request_timestamp(&from, "its safepoint is 0"),
                               .key = request_bound(&from)};
    LW_TRY(request_close(&from, "collect request"));
    *message = read;
    return LW_OK;
}

void lw_collect_reply_encode(const lw_collect_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->lowest);
    lw_write_bool(body, message->settled);
    lw_write_bytes(body, message->end);
}

lw_status lw_collect_reply_decode(lw_bytes body, lw_arena *arena, lw_collect_reply *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_collect_reply read = {.lowest = request_number(&from),
                             .settled = request_flag(&from),
                             .end = request_bound(&from)};
    LW_TRY(request_close(&from, "collect reply"));
    *message = read;
    return LW_OK;
}
