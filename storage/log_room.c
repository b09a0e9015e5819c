/* SPDX-License-Identifier: Apache-2.0 */
/* Who may append more. Two things run short: memory, while writes are slower than appends, and
 * space, while the disk is full. Requests are answered in the order in which they came.
 *
 * Invariants
 * 1. What is granted has room in the newest or the prepared segment, so that a full disk delays
 *    nothing that was admitted (hazard S13).
 * 2. A reserve stays free in the segment that is written to: on a full disk old segments can still
 * be let go, which takes a few small records, and then become the next one without new space. */
#include "storage/log_state.h"

static const uint64_t patience_ns = UINT64_C(5000000000);
enum {
    RESERVE_MAX = 64 * 1024,
    REQUEST_OVERHEAD = 256, /* bytes of headers that a request's records are reckoned to need */
};

uint64_t lw_log_room_left(const lw_log_segment *segment) {
    return segment->header.size - LW_LOG_BLOCK - segment->offset;
}

static uint64_t reserve_of(uint64_t segment_size) {
    uint64_t reserve = lw_log_align(segment_size / 16);
    return reserve < RESERVE_MAX ? reserve : RESERVE_MAX;
}

/* Bytes that a request takes of a segment. */
static uint64_t request_bytes(size_t size) {
    return lw_log_align(size + REQUEST_OVERHEAD + LW_LOG_BATCH_HEADER_SIZE);
}

static bool has_space_in(const lw_log *log, const lw_log_segment *segment, size_t size) {
    uint64_t needed = request_bytes(size) + log->unplaced_bytes +
                      lw_log_align(log->promised_bytes) + reserve_of(segment->header.size);
    return needed <= lw_log_room_left(segment);
}

static bool has_space(const lw_log *log, size_t size) {
    return has_space_in(log, log->holds.newest, size) ||
           (log->prepared != NULL && has_space_in(log, log->prepared, size));
}

static bool has_memory(const lw_log *log, size_t size) {
    uint64_t waiting = log->waiting_bytes + log->promised_bytes;
    return waiting == 0 || waiting + size <= log->waiting_max;
}

uint64_t lw_log_room_wanted(const lw_log *log) {
    uint64_t wanted = 0;
    if (log->unplaced != NULL) {
        wanted = lw_log_write_needs_segment(log) ? lw_log_align(log->unplaced->used) : 0;
    }
    if (log->request_first != NULL && !has_space(log, log->request_first->size)) {
        uint64_t size = request_bytes(log->request_first->size);
        wanted = size > wanted ? size : wanted;
    }
    if (wanted == 0) {
        return 0;
    }
    uint64_t size = wanted + 2 * LW_LOG_BLOCK;
    /* With the reserve that the larger segment will ask for. */
    return lw_log_align(size + RESERVE_MAX < 16 * (uint64_t)RESERVE_MAX ? size + size / 8
                                                                        : size + RESERVE_MAX);
}

/* The first request cannot be granted yet. Those who would rather be told than wait are. */
static void refuse_impatient(lw_log *log) {
    lw_log_request **link = &log->request_first;
    log->request_last = NULL;
    while (*link != NULL) {
        lw_log_request *request = *link;
        if (log->dead || (!request->patient && !has_space(log, request->size))) {
            request->state = LW_LOG_REQUEST_REFUSED;
            *link = request->next;
            lw_queue_wake_all(&request->queue);
        } else {
            log->request_last = request;
            link = &request->next;
        }
    }
}

void lw_log_room_review(lw_log *log) {
    while (log->request_first != NULL && !log->dead) {
        lw_log_request *request = log->request_first;
        if (!has_space(log, request->size) || !has_memory(log, request->size)) {
            break;
        }
        request->state = LW_LOG_REQUEST_GRANTED;
        log->promised_bytes += request->size;
        log->request_first = request->next;
        if (log->request_first == NULL) {
            log->request_last = NULL;
        }
        lw_queue_wake_all(&request->queue);
    }
    if (log->dead || log->full) {
        refuse_impatient(log);
    }
}

static void push_request(lw_log *log, lw_log_request *request) {
    if (log->request_last != NULL) {
        log->request_last->next = request;
    } else {
        log->request_first = request;
    }
    log->request_last = request;
    lw_log_room_review(log);
    if (request->state == LW_LOG_REQUEST_WAITS) {
        LW_MARK(log->env, "log.room_waits");
        lw_log_keep_poke(log);
    }
}

static void give_up(lw_log *log, lw_log_request *given_up) {
    lw_log_request **link = &log->request_first;
    while (*link != given_up) {
        link = &(*link)->next;
    }
    *link = given_up->next;
    log->request_last = NULL;
    for (lw_log_request *each = log->request_first; each != NULL; each = each->next) {
        log->request_last = each;
    }
    given_up->state = LW_LOG_REQUEST_REFUSED;
}

static lw_status answer(lw_log *log, const lw_log_request *request) {
    if (request->state == LW_LOG_REQUEST_GRANTED) {
        log->promised_bytes -= request->size;
    }
    /* The caller may have changed its mind, so the next one must not wait for its append. */
    lw_log_room_review(log);
    return request->state == LW_LOG_REQUEST_GRANTED
               ? LW_OK
               : lw_fail(log->error.status, "%s", log->error.text);
}

/* Whether there is room, and nobody waits for it: so it is nearly always. */
static bool room_is_there(const lw_log *log, size_t size) {
    return log->request_first == NULL && !log->dead && has_space(log, size) &&
           has_memory(log, size);
}

lw_status lw_log_room(lw_log *log, size_t size) {
    if (room_is_there(log, size)) {
        return LW_OK;
    }
    lw_log_request request = {.size = size, .state = LW_LOG_REQUEST_WAITS};
    push_request(log, &request);
    while (request.state == LW_LOG_REQUEST_WAITS) {
        lw_queue_wait(&request.queue);
    }
    return answer(log, &request);
}

lw_status lw_log_room_freeing(lw_log *log, size_t size) {
    if (room_is_there(log, size)) {
        return LW_OK;
    }
    lw_log_request request = {.size = size, .patient = true, .state = LW_LOG_REQUEST_WAITS};
    push_request(log, &request);
    bool in_time = true;
    uint64_t deadline_ns = lw_env_now(log->env) + patience_ns;
    while (request.state == LW_LOG_REQUEST_WAITS && (in_time || !log->full)) {
        deadline_ns = in_time ? deadline_ns : lw_env_now(log->env) + patience_ns;
        in_time = lw_env_wait(log->env, &request.queue, deadline_ns);
    }
    if (request.state == LW_LOG_REQUEST_WAITS) {
        give_up(log, &request);
    }
    return answer(log, &request);
}
