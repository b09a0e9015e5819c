/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: from the pending buffer to durable. Appends of one turn of the loop, and those that come
 * while all write slots are taken, share a batch; a batch is one write; acknowledgement is in log
 * order (L1). Everything here runs in callbacks or without suspending, but lw_log_write_wait.
 *
 * Invariants
 * 1. The write of a batch is begun only once it has its place in a segment, and a segment is left
 *    only by a close batch that is placed when the next segment's header is durable: so recovery
 * can tell the honest end of a segment from a hole.
 * 2. The durable mark of a batch is what was acknowledged when it was placed (L2). */
#include "storage/log_state.h"

#include <inttypes.h>

enum {
    GATHER_WRITES = 2,               /* in flight, so that the disk has enough to do */
    CAPACITY_MIN = 2 * LW_LOG_BLOCK, /* of a batch, also what an idle log keeps */
};

/* ---- batches --------------------------------------------------------------------------------- */

static lw_log_batch *make_batch(lw_log *log, lw_log_batch_kind kind) {
    lw_log_batch *batch = log->spare;
    log->spare = NULL;
    if (batch == NULL) {
        batch = lw_allocate(log->memory, sizeof(*batch));
        batch->capacity = CAPACITY_MIN;
        lw_budget_share_set(&log->share, log->share.size + CAPACITY_MIN);
        batch->bytes = lw_allocate_aligned(log->memory, CAPACITY_MIN, LW_DIRECT_ALIGNMENT);
    }
    *batch = (lw_log_batch){.log = log,
                            .kind = kind,
                            .bytes = batch->bytes,
                            .capacity = batch->capacity,
                            .used = LW_LOG_BATCH_HEADER_SIZE};
    return batch;
}

static void free_batch(lw_log *log, lw_log_batch *batch) {
    LW_ASSERT(lw_queue_empty(&batch->waiters));
    if (log->spare == NULL && batch->capacity == CAPACITY_MIN &&
        !LW_RARE(log->env, "log.batch_not_kept")) {
        log->spare = batch;
        return;
    }
    lw_budget_share_set(&log->share, log->share.size - batch->capacity);
    lw_free(log->memory, batch->bytes);
    lw_free(log->memory, batch);
}

/* Makes room for `size` more bytes. */
static void grow_batch(lw_log *log, lw_log_batch *batch, size_t size) {
    size_t needed = (size_t)lw_log_align(batch->used + size);
    if (needed <= batch->capacity) {
        return;
    }
    size_t capacity = batch->capacity * 2;
    capacity = capacity > needed ? capacity : needed;
    lw_budget_share_set(&log->share, log->share.size + capacity);
    uint8_t *bytes = lw_allocate_aligned(log->memory, capacity, LW_DIRECT_ALIGNMENT);
    memcpy(bytes, batch->bytes, batch->used);
    lw_budget_share_set(&log->share, log->share.size - batch->capacity);
    lw_free(log->memory, batch->bytes);
    batch->bytes = bytes;
    batch->capacity = capacity;
}

static void flush_at_end_of_turn(lw_op *op) {
    lw_log *log = op->owner;
    LW_ASSERT(log->deferred);
    if (LW_RARE(log->env, "log.delayed_flush")) {
        lw_env_submit(log->env, op);
        return;
    }
    log->deferred = false;
    lw_log_write_start(log);
    lw_queue_wake_all(&log->quiet);
}

/* Puts a batch at the end of the list, where it waits for its place. */
static void push_batch(lw_log *log, lw_log_batch *batch) {
    if (log->last != NULL) {
        log->last->next = batch;
    } else {
        log->first = batch;
    }
    log->last = batch;
    if (log->unplaced == NULL) {
        log->unplaced = batch;
    }
    batch->ticket = ++log->ticket_last;
    log->waiting_bytes += lw_log_align(batch->used);
    log->unplaced_bytes += lw_log_align(batch->used);
    if (!log->deferred) {
        log->deferred = true;
        log->defer = (lw_op){.kind = LW_OP_DEFER, .complete = flush_at_end_of_turn, .owner = log};
        lw_env_submit(log->env, &log->defer);
    }
}

/* The batch that `size` more bytes of records go to. */
static lw_log_batch *pending_batch(lw_log *log, size_t size) {
    lw_log_batch *pending = log->unplaced != NULL ? log->last : NULL;
    if (pending == NULL || pending->kind != LW_LOG_BATCH_RECORDS ||
        pending->packing != LW_LOG_PACKING_NOT ||
        (pending->record_count > 0 && pending->used + size > log->batch_size_max)) {
        pending = make_batch(log, LW_LOG_BATCH_RECORDS);
        push_batch(log, pending);
    }
    return pending;
}

/* Keeps account of what the batch will bring into its segment. */
static void count_record(lw_log_batch *batch, const lw_log_record *record) {
    if (batch->record_count == 0) {
        batch->group = record->group;
        batch->index_min = record->index;
    }
    batch->mixed |= record->group != batch->group || record->kind != LW_LOG_ENTRY;
    batch->index_min = record->index < batch->index_min ? record->index : batch->index_min;
    batch->index_max = record->index > batch->index_max ? record->index : batch->index_max;
    batch->record_count++;
}

uint64_t lw_log_write_records(lw_log *log, const lw_log_record *records, uint32_t count) {
    size_t size = 0;
    for (uint32_t index = 0; index < count; index++) {
        size += lw_log_record_size(&records[index]);
    }
    LW_ASSERT(size < UINT32_MAX / 2);
    if (log->dead) {
        return ++log->ticket_last;
    }
    lw_log_batch *batch = pending_batch(log, size);
    uint64_t size_before = lw_log_align(batch->used);
    grow_batch(log, batch, size);
    for (uint32_t index = 0; index < count; index++) {
        batch->used += lw_log_record_encode(&records[index], batch->bytes + batch->used);
        log->figures.appended_bytes += records[index].payload.size;
        if (lw_log_holds_append(&log->holds, &records[index]) ||
            records[index].kind == LW_LOG_BEGIN) {
            batch->format = LW_LOG_FORMAT_CUT;
        }
        count_record(batch, &records[index]);
    }
    log->waiting_bytes += lw_log_align(batch->used) - size_before;
    log->unplaced_bytes += lw_log_align(batch->used) - size_before;
    log->figures.records += count;
    LW_ASSERT(batch->used <= batch->capacity);
    return batch->ticket;
}

uint64_t lw_log_write_empty(lw_log *log, lw_log_batch_kind kind) {
    lw_log_batch *batch = make_batch(log, kind);
    push_batch(log, batch);
    return batch->ticket;
}

/* ---- placing --------------------------------------------------------------------------------- */

/* Notes which groups the batch brings into its segment. */
static void note_records(lw_log *log, const lw_log_batch *batch) {
    if (batch->record_count > 0 && !batch->mixed) {
        lw_log_record highest = {
            .group = batch->group, .index = batch->index_max, .kind = LW_LOG_ENTRY};
        lw_log_holds_place(&log->holds, batch->segment, &highest, batch->index_min);
        return;
    }
    bool packed = batch->packed != NULL;
    const uint8_t *bytes = packed ? batch->packed : batch->bytes;
    size_t used = packed ? batch->packed_used : batch->used;
    lw_bytes rest = lw_view(bytes + LW_LOG_BATCH_HEADER_SIZE, used - LW_LOG_BATCH_HEADER_SIZE);
    lw_log_record record;
    for (uint32_t index = 0; index < batch->record_count; index++) {
        bool taken = lw_log_record_take(&rest, &record);
        LW_ASSERT(taken);
        lw_log_holds_place(&log->holds, batch->segment, &record, record.index);
    }
    LW_ASSERT(rest.size == 0);
}

static void write_done(lw_op *op);

/* Gives the batch its place in the newest segment, where there is room, and writes it. */
static void place(lw_log *log, lw_log_batch *batch) {
    lw_log_segment *segment = log->holds.newest;
    uint32_t size = (uint32_t)lw_log_align(batch->used);
    LW_ASSERT(lw_handle_valid(segment->file));
    LW_ASSERT(segment->offset + size <= segment->header.size);
    batch->segment = segment;
    batch->sequence = log->sequence_next++;
    lw_log_batch_header header = {
        .size = size,
        .segment = segment->header.number,
        .salt = segment->header.salt,
        .offset = segment->offset,
        .sequence = batch->sequence,
        .generation = log->generation,
        .mark = log->sequence_durable,
        .oldest = log->oldest_needed,
        .record_count = batch->record_count,
        .kind = batch->packed != NULL ? LW_LOG_BATCH_PACKED : batch->kind,
    };
    lw_log_batch_seal(&header, batch->bytes, batch->used);
    note_records(log, batch);
    lw_log_charge_index(log);
    lw_log_pack_forget(batch);
    if (batch->kind != LW_LOG_BATCH_CLOSE) {
        log->vouched = batch->kind != LW_LOG_BATCH_RECORDS;
    }
    /* Those who wait for it came before the turn ended. Where nobody does, appends go on. */
    bool awaited = !lw_queue_empty(&batch->waiters);
    batch->op = (lw_op){.kind = LW_OP_WRITE,
                        .handle = segment->file,
                        .buffer = batch->bytes,
                        .size = size,
                        .offset = segment->offset,
                        .flags = LW_WRITE_DURABLE | (awaited ? LW_WRITE_AWAITED : 0),
                        .complete = write_done,
                        .owner = batch};
    segment->offset += size;
    segment->last_sequence = batch->sequence;
    segment->writes++;
    log->writes++;
    log->figures.batches++;
    log->figures.written_bytes += size;
    lw_env_submit(log->env, &batch->op);
}

/* Leaves the newest segment for the prepared one: a close batch goes in front of those that wait.
 */
static void roll(lw_log *log) {
    lw_log_batch *close = make_batch(log, LW_LOG_BATCH_CLOSE);
    lw_log_batch **link = &log->first;
    while (*link != log->unplaced) {
        link = &(*link)->next;
    }
    close->next = *link;
    *link = close;
    log->waiting_bytes += LW_LOG_BLOCK;
    place(log, close);
    lw_log_keep_advance(log);
    LW_MARK(log->env, "log.rolled");
}

bool lw_log_write_needs_segment(const lw_log *log) {
    const lw_log_segment *newest = log->holds.newest;
    return lw_log_align(log->unplaced->used) > lw_log_room_left(newest) ||
           newest->header.format < log->unplaced->format;
}

/* Whether the first batch that waits could be placed now, after rolling if need be. */
static bool place_first(lw_log *log) {
    lw_log_batch *batch = log->unplaced;
    uint64_t size = lw_log_align(batch->used);
    bool fits = !lw_log_write_needs_segment(log);
    bool fits_next = log->prepared != NULL && size <= lw_log_room_left(log->prepared);
    if (fits && !(fits_next && LW_RARE(log->env, "log.early_roll"))) {
        log->unplaced = batch->next;
        log->unplaced_bytes -= size;
        place(log, batch);
        return true;
    }
    if (!fits_next) {
        LW_MARK(log->env, "log.batch_waits_for_segment");
        return false;
    }
    roll(log);
    return true;
}

/* Whether a batch that nobody waits for had better grow while others are written: each write is a
 * flush of the disk, and few large ones go faster than many small ones. One that ends lets it go,
 * and so does somebody who comes to wait for it then. */
static bool gathers(const lw_log *log, const lw_log_batch *batch) {
    return log->writes >= GATHER_WRITES && !LW_RARE(log->env, "log.gathers_nothing") &&
           batch == log->last && batch->record_count > 0 && batch->packing == LW_LOG_PACKING_NOT &&
           lw_queue_empty(&batch->waiters);
}

void lw_log_write_start(lw_log *log) {
    while (!log->dead && log->unplaced != NULL) {
        if (log->writes >= log->writes_max) {
            LW_MARK(log->env, "log.batch_waits_for_slot");
            break;
        }
        lw_log_batch *batch = log->unplaced;
        if (gathers(log, batch)) {
            LW_MARK(log->env, "log.batch_gathers");
            break;
        }
        if (batch->packing == LW_LOG_PACKING_NOT && lw_log_pack_wanted(log, batch)) {
            lw_log_pack_start(log, batch);
        }
        if (batch->packing == LW_LOG_PACKING_NOW || !place_first(log)) {
            break;
        }
    }
    lw_log_keep_poke(log);
}

/* ---- completion ------------------------------------------------------------------------------ */

/* Takes the oldest batch off the list: it is durable, and so is all before it. */
static void acknowledge_first(lw_log *log) {
    lw_log_batch *batch = log->first;
    LW_ASSERT(batch->done);
    LW_ASSERT(batch->sequence > log->sequence_durable);
    log->sequence_durable = batch->sequence;
    if (batch->ticket > log->ticket_durable) {
        log->ticket_durable = batch->ticket;
    }
    bool closes = batch->kind == LW_LOG_BATCH_CLOSE;
    log->durable_segment = batch->segment->header.number + closes;
    log->durable_offset = closes ? LW_LOG_BLOCK : batch->op.offset + lw_log_align(batch->used);
    log->waiting_bytes -= lw_log_align(batch->used);
    log->first = batch->next;
    if (log->first == NULL) {
        log->last = NULL;
        LW_ASSERT(log->waiting_bytes == 0);
    }
    lw_queue_wake_all(&batch->waiters);
    free_batch(log, batch);
}

static void write_done(lw_op *op) {
    lw_log_batch *batch = op->owner;
    lw_log *log = batch->log;
    LW_ASSERT(log->writes > 0);
    LW_ASSERT(batch->segment->writes > 0);
    log->writes--;
    batch->segment->writes--;
    if (op->status != LW_OK && !log->dead) {
        (void)!lw_fail(op->status,
                       "writing %u bytes at offset %" PRIu64 " of segment %" PRIu64
                       " of the log %s failed (system error %d); the log takes nothing more: mend "
                       "the disk and restart the node",
                       (unsigned)op->size, op->offset, batch->segment->header.number,
                       log->directory, op->system_error);
        lw_log_write_die(log);
    }
    if (!log->dead) {
        batch->done = true;
        if (log->first != batch) {
            LW_MARK(log->env, "log.completed_out_of_order");
        }
        if (LW_BUG(log->env, "log.ack_before_durable") && batch->ticket > log->ticket_durable) {
            log->ticket_durable = batch->ticket;
            lw_log_write_wake(log);
        }
        while (log->first != NULL && log->first->done) {
            acknowledge_first(log);
        }
        lw_log_room_review(log);
        lw_log_write_start(log);
    }
    if (log->writes == 0) {
        lw_queue_wake_all(&log->quiet);
    }
}

void lw_log_write_die(lw_log *log) {
    LW_ASSERT(!log->dead);
    log->dead = true;
    log->error = *lw_error_slot();
    LW_MARK(log->env, "log.died");
    lw_log_write_wake(log);
    lw_log_room_review(log);
    lw_queue_wake_all(&log->keeper_wake);
}

/* ---- waiting --------------------------------------------------------------------------------- */

void lw_log_write_wake(lw_log *log) {
    for (lw_log_batch *batch = log->first; batch != NULL; batch = batch->next) {
        lw_queue_wake_all(&batch->waiters);
    }
}

lw_log_batch *lw_log_write_find(const lw_log *log, uint64_t ticket) {
    lw_log_batch *batch = log->first;
    while (batch != NULL && batch->ticket != ticket) {
        batch = batch->next;
    }
    return batch;
}

lw_status lw_log_write_wait(lw_log *log, uint64_t ticket, bool or_full) {
    LW_ASSERT(ticket <= log->ticket_last);
    while (ticket > log->ticket_durable) {
        if (log->dead || (or_full && log->full)) {
            return lw_fail(log->error.status, "%s", log->error.text);
        }
        lw_log_batch *batch = lw_log_write_find(log, ticket);
        LW_ASSERT(batch != NULL);
        lw_queue_wait(&batch->waiters);
    }
    return LW_OK;
}

void lw_log_write_reset(lw_log *log) {
    LW_ASSERT(log->writes == 0 && !log->packing);
    while (log->first != NULL) {
        lw_log_batch *batch = log->first;
        log->first = batch->next;
        lw_log_pack_forget(batch);
        lw_free(log->memory, batch->bytes);
        lw_free(log->memory, batch);
    }
    if (log->spare != NULL) {
        lw_free(log->memory, log->spare->bytes);
        lw_free(log->memory, log->spare);
    }
    lw_compressor_close(log->compressor);
    log->compressor = NULL;
    lw_budget_share_set(&log->share, 0);
    lw_budget_share_set(&log->index_share, 0);
    log->unplaced = NULL;
    log->last = NULL;
    log->spare = NULL;
}
