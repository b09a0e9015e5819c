/* SPDX-License-Identifier: Apache-2.0 */
/* Reading entries back while the log is written to: for a follower that is so far behind that they
 * are in no memory any more.
 *
 * The entries of a group that count stand in the log in the order of their indexes (L6). So reading
 * begins at a mark that is not behind the first (log_index.h), goes on batch by batch, of whomever
 * they are, and hands on an entry exactly if it is the next one and counts. A reading that goes on
 * where the last one of its group ended begins there.
 *
 * Invariants
 * 1. Only what is durable is read, so a batch that cannot be read is damage. What the reader has in
 *    its buffer from before more was durable is read again.
 * 2. The segment that is being read is held, and with it all behind it. Whatever else was looked up
 *    is looked up again after a suspension: group, span and run may be others.
 * 3. One reading at a time, so that memory is bounded. */
#include "storage/log_state.h"

#include <inttypes.h>

enum { PIECE_SIZE = 256 * 1024 }; /* bytes read at once */

typedef struct reading {
    lw_log *log;
    uint64_t group, next, until;
    size_t left; /* bytes of payloads that may still be handed on */
    bool full;   /* none may */
    lw_log_visit visit;
    void *argument;
    lw_log_segment *segment; /* held; NULL: none yet */
    uint64_t offset;         /* of the next batch in it */
    uint64_t fresh; /* what lies before this offset was durable when the buffer was empty */
    lw_log_reader reader;
    lw_budget_share share; /* of the reader and of `plain` */
    lw_decompressor *decompressor;
    lw_buffer plain;
} reading;

/* ---- where ---------------------------------------------------------------------------------- */

static const lw_log_trail *trail_of(const reading *read) {
    const lw_log_group *group = lw_log_holds_group(&read->log->holds, read->group);
    return group != NULL && group->trail.known ? &group->trail : NULL;
}

/* Whether the next entry is one that counts and may be read. */
static bool goes_on(const reading *read) {
    const lw_log_trail *trail = trail_of(read);
    return !read->full && read->next <= read->until && trail != NULL &&
           read->next >= trail->first && read->next <= trail->last;
}

/* Where what is durable ends in the segment that is being read. */
static uint64_t durable_end(const reading *read) {
    const lw_log *log = read->log;
    uint64_t number = read->segment->header.number;
    if (number == log->durable_segment) {
        return log->durable_offset;
    }
    return number < log->durable_segment ? UINT64_MAX : 0;
}

static LW_YIELDS lw_status enter_segment(reading *read, lw_log_segment *segment, uint64_t offset) {
    char path[LW_PATH_SIZE];
    segment->readers++;
    if (read->segment != NULL) {
        read->segment->readers--;
    }
    read->segment = segment;
    read->offset = offset;
    read->fresh = durable_end(read);
    LW_TRY(lw_log_segment_path(read->log->directory, segment->header.number, path));
    return lw_log_reader_open(&read->reader, path, LW_OPEN_READ_ONLY);
}

static lw_log_segment *find_segment(const lw_log *log, uint64_t number) {
    lw_log_segment *segment = log->holds.oldest;
    while (segment->header.number < number && segment != log->holds.newest) {
        segment = segment->next;
    }
    return segment;
}

static LW_YIELDS lw_status find_start(reading *read) {
    lw_log *log = read->log;
    const lw_log_group *group = lw_log_holds_group(&log->holds, read->group);
    uint64_t oldest = log->holds.oldest->header.number;
    uint64_t least = log->release_upto > oldest ? log->release_upto : oldest;
    uint64_t number = group->read_segment, offset = group->read_offset;
    if (group->read_next != read->next || number < least) {
        lw_log_segment *found = NULL;
        offset = lw_log_holds_find(&log->holds, read->group, read->next, least, &found);
        number = offset > 0 ? found->header.number : 0;
        LW_MARK(log->env, "log.read_sought");
    }
    /* What is in no segment yet, or not surely, comes behind what is durable. */
    if (offset == 0 || number > log->durable_segment ||
        (number == log->durable_segment && offset > log->durable_offset)) {
        number = log->durable_segment;
        offset = log->durable_offset;
    }
    if (number < least) {
        number = least;
        offset = LW_LOG_BLOCK;
    }
    return enter_segment(read, find_segment(log, number), offset);
}

/* ---- batches -------------------------------------------------------------------------------- */

static LW_YIELDS lw_status damaged(const reading *read, const char *how) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_log_segment_path(read->log->directory, read->segment->header.number, path));
    return lw_fail(LW_CORRUPTION,
                   "%s: the batch at offset %" PRIu64
                   " %s, and was durable: remove this node and let its peers replace it, or "
                   "restore it from a backup",
                   path, read->offset, how);
}

static lw_status hand_on(reading *read, const lw_log_record *record) {
    const lw_log_trail *trail = trail_of(read);
    bool counts = record->kind == LW_LOG_ENTRY && record->group == read->group &&
                  record->index == read->next && goes_on(read) &&
                  lw_log_trail_counts(trail, record->index, record->term);
    if (!counts) {
        return LW_OK;
    }
    read->next++;
    read->full = record->payload.size >= read->left;
    read->left -= read->full ? 0 : record->payload.size;
    return read->visit(read->argument, record);
}

static LW_YIELDS lw_status read_records(reading *read, const lw_log_batch_header *header,
                                        const uint8_t *bytes) {
    lw_bytes rest;
    if (!lw_log_unpack(header, bytes, read->decompressor, &read->plain, &rest)) {
        return damaged(read, "cannot be decompressed");
    }
    for (uint32_t index = 0; index < header->record_count && goes_on(read); index++) {
        lw_log_record record;
        if (!lw_log_record_take(&rest, &record)) {
            return damaged(read, "has a record that cannot be read");
        }
        LW_TRY(hand_on(read, &record));
    }
    return LW_OK;
}

static LW_YIELDS lw_status read_batch(reading *read) {
    lw_log_finding finding;
    lw_log_batch_header header;
    const uint8_t *bytes = NULL;
    if (read->offset >= read->fresh) {
        read->reader.filled = 0;
        read->fresh = durable_end(read);
    }
    LW_TRY(lw_log_reader_batch(&read->reader, &read->segment->header, read->offset, &finding,
                               &header, &bytes));
    lw_budget_share_set(&read->share, read->reader.capacity + read->plain.capacity);
    if (finding != LW_LOG_FOUND_BATCH) {
        return damaged(read, "is damaged or missing");
    }
    LW_TRY(read_records(read, &header, bytes));
    if (!goes_on(read)) {
        return LW_OK; /* the next reading may want the rest of the batch */
    }
    if (header.kind == LW_LOG_BATCH_CLOSE) {
        LW_ASSERT(read->segment->next != NULL);
        return enter_segment(read, read->segment->next, LW_LOG_BLOCK);
    }
    read->offset += header.size;
    return LW_OK;
}

/* Entries that count are not on disk yet. */
static LW_YIELDS lw_status await_durable(reading *read) {
    lw_log *log = read->log;
    LW_MARK(log->env, "log.read_waits");
    if (log->ticket_last <= log->ticket_durable) {
        return lw_fail(LW_INTERNAL,
                       "entry %" PRIu64 " of group %" PRIu64
                       " is nowhere in the log %s, though it should be: please report this",
                       read->next, read->group, log->directory);
    }
    return lw_log_write_wait(log, log->ticket_last, true);
}

static LW_YIELDS lw_status read_batches(reading *read) {
    lw_log *log = read->log;
    while (goes_on(read)) {
        if (log->closing) {
            return lw_fail(LW_UNAVAILABLE, "the log %s is being closed", log->directory);
        }
        if (read->segment == NULL) {
            LW_TRY(find_start(read));
        } else if (read->offset >= durable_end(read)) {
            LW_TRY(await_durable(read));
        } else {
            LW_TRY(read_batch(read));
        }
    }
    return LW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Remembers where to go on; lets go. */
static LW_YIELDS void end_reading(reading *read, lw_status status) {
    lw_log_group *group = lw_log_holds_group(&read->log->holds, read->group);
    if (read->segment != NULL) {
        if (group != NULL && status == LW_OK) {
            group->read_next = read->next;
            group->read_segment = read->segment->header.number;
            group->read_offset = read->offset;
        }
        read->segment->readers--;
    }
    lw_log_reader_reset(&read->reader);
    lw_decompressor_close(read->decompressor);
    lw_buffer_reset(&read->plain);
    lw_budget_share_set(&read->share, 0);
}

lw_status lw_log_read(lw_log *log, uint64_t group, uint64_t from, uint64_t until, size_t size_max,
                      lw_log_visit visit, void *argument) {
    while (log->reading) {
        lw_queue_wait(&log->reading_turn);
    }
    reading read = {.log = log,
                    .group = group,
                    .next = from,
                    .until = until,
                    .left = size_max,
                    .visit = visit,
                    .argument = argument,
                    .reader = lw_log_reader_in(log->env),
                    .share = lw_budget_share_in(log->share.budget, LW_BUDGET_BUFFERS),
                    .decompressor = lw_decompressor_open(log->memory),
                    .plain = lw_buffer_in(log->memory)};
    read.reader.piece_size = LW_RARE(log->env, "log.reads_little") ? LW_LOG_BLOCK : PIECE_SIZE;
    log->reading = true;
    lw_status status = read_batches(&read);
    lw_error cause = *lw_error_slot();
    end_reading(&read, status);
    log->reading = false;
    lw_queue_wake_one(&log->reading_turn);
    lw_queue_wake_all(&log->quiet);
    lw_log_keep_poke(log);
    if (status != LW_OK) {
        return lw_fail(cause.status, "%s", cause.text);
    }
    if (read.next == from) {
        return lw_fail(LW_NOT_FOUND, "the log has no entry %" PRIu64 " of group %" PRIu64, from,
                       group);
    }
    return LW_OK;
}
