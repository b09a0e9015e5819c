/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies about locks: what stands in the way, LOCKS, KILL. The format is at the head of
 * request.c. */
#include "txn/request_codec.h"

enum {
    STEP_SIZE_MIN = 6, /* array · start · key 3 · label */
    ROW_SIZE_MIN = 11, /* array · key 3 · kind · start · label · 3 numbers · array */
    WAIT_SIZE_MIN = 4, /* array · start · label · number */
};

/* ---- obstacles ------------------------------------------------------------------------------ */

void lw_obstacle_encode(const lw_obstacle *message, lw_buffer *body) {
    lw_write_array(body, 10);
    lw_write_u64(body, message->kind);
    lw_write_bytes(body, message->key);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_bytes(body, message->primary);
    lw_write_text(body, message->label);
    lw_write_u64(body, message->remaining_ms);
    lw_write_u64(body, message->waited_ms);
    lw_write_u64(body, message->cycle_length);
    lw_write_array(body, message->step_count);
    for (uint32_t index = 0; index < message->step_count; index++) {
        const lw_deadlock_step *step = &message->steps[index];
        lw_write_array(body, 3);
        lw_write_u64(body, step->start);
        lw_write_bytes(body, step->key);
        lw_write_text(body, step->label);
    }
}

static const lw_deadlock_step *read_steps(request_decoder *from, uint32_t *step_count) {
    uint32_t count = request_count(from, STEP_SIZE_MIN);
    lw_deadlock_step *steps = lw_arena_allocate(from->arena, count * sizeof(*steps));
    for (uint32_t index = 0; index < count; index++) {
        request_fields(from, 3);
        steps[index].start = request_start(from);
        steps[index].key = request_key(from);
        steps[index].label = lw_read_text(&from->reader);
    }
    *step_count = count;
    return steps;
}

lw_status lw_obstacle_decode(lw_bytes body, lw_arena *arena, lw_obstacle *message) {
    request_decoder from = request_open(body, arena, 10);
    uint64_t kind = request_number(&from);
    request_demand(&from, kind >= LW_OBSTACLE_LOCK && kind <= LW_OBSTACLE_KILLED,
                   "it is of an unknown kind");
    lw_obstacle read = {.kind = (lw_obstacle_kind)(kind & UINT8_MAX)};
    read.key = request_bound(&from);
    read.start = request_number(&from);
    read.commit_timestamp = request_number(&from);
    read.primary = request_bound(&from);
    read.label = lw_read_text(&from.reader);
    read.remaining_ms = request_number(&from);
    read.waited_ms = request_number(&from);
    read.cycle_length = request_u32(&from);
    read.steps = read_steps(&from, &read.step_count);
    request_demand(&from, read.kind == LW_OBSTACLE_KILLED || read.key.size > 0, "it says no key");
    request_demand(&from, read.kind != LW_OBSTACLE_DEADLOCK || read.step_count >= 2,
                   "a deadlock says not who waits for whom");
    request_demand(&from,
                   read.kind != LW_OBSTACLE_LOCK || (read.start != 0 && read.primary.size > 0),
                   "a lock says neither whose it is nor where its primary is");
    LW_TRY(request_close(&from, "obstacle"));
    *message = read;
    return LW_OK;
}

/* ---- LOCKS ---------------------------------------------------------------------------------- */

void lw_locks_request_encode(const lw_locks_request *message, lw_buffer *body) {
    lw_write_array(body, 2);
    lw_write_bytes(body, message->lower);
    lw_write_u64(body, message->row_limit);
}

lw_status lw_locks_request_decode(lw_bytes body, lw_arena *arena, lw_locks_request *message) {
    request_decoder from = request_open(body, arena, 2);
    lw_locks_request read = {.lower = request_bound(&from)};
    read.row_limit = request_u32(&from);
    request_demand(&from, read.row_limit >= 1 && read.row_limit <= LW_LOCK_ROW_COUNT_MAX,
                   "it asks for no locks, or for more than 1024");
    LW_TRY(request_close(&from, "locks request"));
    *message = read;
    return LW_OK;
}

static void write_row(lw_buffer *body, const lw_lock_row *row) {
    lw_write_array(body, 8);
    lw_write_bytes(body, row->key);
    lw_write_u64(body, row->kind);
    lw_write_u64(body, row->start);
    lw_write_text(body, row->label);
    lw_write_u64(body, row->held_ms);
    lw_write_u64(body, row->remaining_ms);
    lw_write_u64(body, row->waiting);
    lw_write_array(body, row->wait_count);
    for (uint32_t index = 0; index < row->wait_count; index++) {
        const lw_lock_wait *wait = &row->waits[index];
        lw_write_array(body, 3);
        lw_write_u64(body, wait->start);
        lw_write_text(body, wait->label);
        lw_write_u64(body, wait->waited_ms);
    }
}

static const lw_lock_wait *read_waits(request_decoder *from, uint32_t *wait_count) {
    uint32_t count = request_count(from, WAIT_SIZE_MIN);
    lw_lock_wait *waits = lw_arena_allocate(from->arena, count * sizeof(*waits));
    for (uint32_t index = 0; index < count; index++) {
        request_fields(from, 3);
        waits[index].start = request_start(from);
        waits[index].label = lw_read_text(&from->reader);
        waits[index].waited_ms = request_number(from);
    }
    *wait_count = count;
    return waits;
}

static lw_lock_row read_row(request_decoder *from) {
    request_fields(from, 8);
    lw_lock_row row = {.key = request_key(from)};
    uint64_t kind = request_number(from);
    request_demand(from, kind >= LW_LOCK_ROW_PESSIMISTIC && kind <= LW_LOCK_ROW_ASYNC,
                   "a lock is of an unknown kind");
    row.kind = (lw_lock_row_kind)(kind & UINT8_MAX);
    row.start = request_start(from);
    row.label = lw_read_text(&from->reader);
    row.held_ms = request_number(from);
    row.remaining_ms = request_number(from);
    row.waiting = request_u32(from);
    row.waits = read_waits(from, &row.wait_count);
    return row;
}

void lw_locks_reply_encode(const lw_locks_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_bool(body, message->more);
    lw_write_bytes(body, message->next);
    lw_write_array(body, message->row_count);
    for (uint32_t index = 0; index < message->row_count; index++) {
        write_row(body, &message->rows[index]);
    }
}

lw_status lw_locks_reply_decode(lw_bytes body, lw_arena *arena, lw_locks_reply *message) {
    request_decoder from = request_open(body, arena, 3);
    lw_locks_reply read = {.more = request_flag(&from)};
    read.next = request_bound(&from);
    read.row_count = request_count(&from, ROW_SIZE_MIN);
    lw_lock_row *rows = lw_arena_allocate(arena, read.row_count * sizeof(*rows));
    for (uint32_t index = 0; index < read.row_count; index++) {
        rows[index] = read_row(&from);
    }
    read.rows = rows;
    request_demand(&from, read.more == (read.next.size > 0), "it says not where to go on");
    LW_TRY(request_close(&from, "locks reply"));
    *message = read;
    return LW_OK;
}

/* ---- KILL ----------------------------------------------------------------------------------- */

void lw_kill_request_encode(const lw_kill_request *message, lw_buffer *body) {
    lw_write_array(body, 1);
    lw_write_u64(body, message->start);
}

lw_status lw_kill_request_decode(lw_bytes body, lw_arena *arena, lw_kill_request *message) {
    request_decoder from = request_open(body, arena, 1);
    lw_kill_request read = {.start = request_start(&from)};
    LW_TRY(request_close(&from, "kill request"));
    *message = read;
    return LW_OK;
}

void lw_kill_reply_encode(const lw_kill_reply *message, lw_buffer *body) {
    lw_write_array(body, 2);
    lw_write_u64(body, message->fate);
    lw_write_u64(body, message->commit_timestamp);
}

lw_status lw_kill_reply_decode(lw_bytes body, lw_arena *arena, lw_kill_reply *message) {
    request_decoder from = request_open(body, arena, 2);
    uint64_t fate = request_number(&from);
    request_demand(&from, fate >= LW_FATE_COMMITTED && fate <= LW_FATE_UNKNOWN,
                   "it says an unknown fate");
    lw_kill_reply read = {.fate = (lw_fate)(fate & UINT8_MAX)};
    read.commit_timestamp = request_number(&from);
    LW_TRY(request_close(&from, "kill reply"));
    *message = read;
    return LW_OK;
}
