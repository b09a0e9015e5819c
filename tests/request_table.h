/* SPDX-License-Identifier: Apache-2.0 */
/* Every message of txn/request.h as a row of one table, so that properties can be held for all of
 * them at once. */
#ifndef LW_TESTS_REQUEST_TABLE_H
#define LW_TESTS_REQUEST_TABLE_H

#include "txn/request.h"

/* Decodes `body` and, if it is accepted, encodes what was read into `again`. */
typedef lw_status request_copy(lw_bytes body, lw_arena *arena, lw_buffer *again);

#define REQUEST_COPY(name)                                                                  \
    static inline lw_status copy_##name(lw_bytes body, lw_arena *arena, lw_buffer *again) { \
        lw_##name message;                                                                  \
        LW_TRY(lw_##name##_decode(body, arena, &message));                                  \
        lw_##name##_encode(&message, again);                                                \
        return LW_OK;                                                                       \
    }
REQUEST_COPY(timestamp_request)
REQUEST_COPY(timestamp_reply)
REQUEST_COPY(get_request)
REQUEST_COPY(get_reply)
REQUEST_COPY(scan_request)
REQUEST_COPY(scan_reply)
REQUEST_COPY(commit_now_request)
REQUEST_COPY(commit_reply)
REQUEST_COPY(prewrite_request)
REQUEST_COPY(validate_request)
REQUEST_COPY(finish_request)
REQUEST_COPY(check_request)
REQUEST_COPY(check_reply)
REQUEST_COPY(lock_request)
REQUEST_COPY(lock_reply)
REQUEST_COPY(heartbeat_request)
REQUEST_COPY(obstacle)
REQUEST_COPY(pin_request)
REQUEST_COPY(pin_reply)
REQUEST_COPY(collect_request)
REQUEST_COPY(collect_reply)
REQUEST_COPY(prewrite_reply)
REQUEST_COPY(finish_range_request)
REQUEST_COPY(check_secondaries_request)
REQUEST_COPY(check_secondaries_reply)
REQUEST_COPY(locks_request)
REQUEST_COPY(locks_reply)
REQUEST_COPY(kill_request)
REQUEST_COPY(kill_reply)

static const struct {
    const char *name;
    request_copy *copy;
} request_table[] = {
    {"timestamp_request", copy_timestamp_request},
    {"timestamp_reply", copy_timestamp_reply},
    {"get_request", copy_get_request},
    {"get_reply", copy_get_reply},
    {"scan_request", copy_scan_request},
    {"scan_reply", copy_scan_reply},
    {"commit_now_request", copy_commit_now_request},
    {"commit_reply", copy_commit_reply},
    {"prewrite_request", copy_prewrite_request},
    {"validate_request", copy_validate_request},
    {"finish_request", copy_finish_request},
    {"check_request", copy_check_request},
    {"check_reply", copy_check_reply},
    {"lock_request", copy_lock_request},
    {"lock_reply", copy_lock_reply},
    {"heartbeat_request", copy_heartbeat_request},
    {"obstacle", copy_obstacle},
    {"prewrite_reply", copy_prewrite_reply},
    {"finish_range_request", copy_finish_range_request},
    {"check_secondaries_request", copy_check_secondaries_request},
    {"check_secondaries_reply", copy_check_secondaries_reply},
    {"locks_request", copy_locks_request},
    {"locks_reply", copy_locks_reply},
    {"kill_request", copy_kill_request},
    {"kill_reply", copy_kill_reply},
    {"pin_request", copy_pin_request},
    {"pin_reply", copy_pin_reply},
    {"collect_request", copy_collect_request},
    {"collect_reply", copy_collect_reply},
};
enum { REQUEST_TABLE_COUNT = sizeof(request_table) / sizeof(request_table[0]) };

/* What holds for any bytes, decoded as any message:
 *   1. memory stays within a small multiple of the body, however much the body announces;
 *   2. what was accepted and written again is accepted, and is then the same bytes. */
static inline bool request_properties_hold(size_t row, lw_bytes body, lw_memory *memory) {
    lw_arena arena = lw_arena_in(memory);
    lw_buffer again = lw_buffer_in(memory);
    lw_buffer thrice = lw_buffer_in(memory);
    bool accepted = request_table[row].copy(body, &arena, &again) == LW_OK;
    LW_ASSERT(arena.used <= 4096 + 16 * body.size);
    if (accepted) {
        LW_ASSERT(again.size <= body.size);
        LW_ASSERT(request_table[row].copy(lw_buffer_view(&again), &arena, &thrice) == LW_OK);
        LW_ASSERT(lw_equal(lw_buffer_view(&again), lw_buffer_view(&thrice)));
    }
    lw_arena_reset(&arena);
    lw_buffer_reset(&again);
    lw_buffer_reset(&thrice);
    return accepted;
}

#endif
