/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper: a fiber that exists while there is something to do behind the writes. It prepares the
 * next segment before the newest one is full, and lets go of segments that nobody needs any more.
 *
 * Invariants
 * 1. Before a segment goes, each state in it that is still the newest of its group is appended
 * again (L5), and a batch that names a later segment as the oldest needed is durable. So recovery
 * knows whether a segment that is not there was let go or lost, and the first batch of the oldest
 *    segment is durable.
 * 2. Segments go in order, each durably before the next, so that their numbers never have a gap.
 * 3. Files above the newest segment are spares, numbered without a gap up to file_last, each of
 *    segment_size bytes and once a segment; only their header is written before they are used. So
 *    a log that is written to writes the zeros of a new file seldom; one at rest has no spares.
 * 4. The keeper never waits for a write: the write may be waiting for the keeper. */
#include "storage/log_state.h"

enum {
    GROWTH = 4, /* each segment is that many times the one before, up to segment_size */
    FIRST_SIZE = 1024 * 1024, /* bytes of a log's very first segment: quick to make */
    SEGMENTS_LEAST = 2,       /* with so many, none may have been written to the end and let go */
};
static const uint64_t full_retry_ns = 500 * 1000 * 1000;
static const uint64_t rest_ns = 500 * 1000 * 1000; /* without a batch: the log is at rest */

/* ---- spares ---------------------------------------------------------------------------------- */

/* The number of the last file that is no spare. */
static uint64_t used_last(const lw_log *log) {
    return log->prepared != NULL ? log->prepared->header.number : log->holds.newest->header.number;
}

/* Segments in use, without those that are just being let go. */
static uint64_t used_count(const lw_log *log) {
    uint64_t first = log->holds.oldest->header.number;
    return used_last(log) + 1 - (log->release_upto > first ? log->release_upto : first);
}

static uint64_t spare_count(const lw_log *log) {
    return log->file_last > used_last(log) ? log->file_last - used_last(log) : 0;
}

/* How many may be kept: on a full disk others need the space more. */
static uint64_t spares_max(const lw_log *log) {
    uint64_t used = used_count(log);
    uint64_t more = log->used_most > used ? log->used_most - used : 0;
    if (more <= LW_LOG_SPARES_MIN || LW_RARE(log->env, "log.few_spares") ||
        (log->reserve != NULL && lw_reserve_short(log->reserve))) {
        return LW_LOG_SPARES_MIN;
    }
    return more < LW_LOG_SPARES_MAX ? more : LW_LOG_SPARES_MAX;
}

/* From the last one on, so that there is never a gap. */
static LW_YIELDS lw_status remove_spare(lw_log *log) {
    LW_MARK(log->env, "log.spare_removed");
    LW_TRY(lw_log_segment_remove(log->env, log->directory, log->file_last));
    log->file_last--;
    return LW_OK;
}

lw_status lw_log_keep_trim(lw_log *log) {
    LW_ASSERT(!log->keeper_runs);
    while (spare_count(log) > 0) {
        LW_TRY(remove_spare(log));
    }
    return LW_OK;
}

/* Waits for work; when none comes, and nothing is written, the spares go. */
static LW_YIELDS lw_status rest(lw_log *log) {
    uint64_t batches = log->figures.batches;
    log->keeper_rests = true;
    bool woken = lw_env_wait(log->env, &log->keeper_wake, lw_env_now(log->env) + rest_ns);
    log->keeper_rests = false;
    if (!woken && log->figures.batches == batches) {
        log->used_most = used_count(log);
    }
    while (!woken && !log->closing && !log->dead && log->figures.batches == batches &&
           spare_count(log) > 0) {
        LW_TRY(remove_spare(log));
    }
    return LW_OK;
}

/* ---- preparing the next segment -------------------------------------------------------------- */

static uint64_t next_number(const lw_log *log) {
    return log->holds.newest != NULL ? log->holds.newest->header.number + 1 : 1;
}

static bool next_is_wanted(const lw_log *log) {
    uint64_t wanted = lw_log_room_wanted(log);
    if (log->prepared != NULL) {
        return log->prepared->header.size < wanted;
    }
    const lw_log_segment *newest = log->holds.newest;
    return wanted > 0 || newest->offset >= newest->header.size / 4;
}

/* The size of a segment behind one of this size, with nothing large waiting for it. */
static uint64_t size_after(const lw_log *log, uint64_t size) {
    return size * GROWTH < log->segment_size ? size * GROWTH : log->segment_size;
}

static uint64_t next_size(const lw_log *log) {
    uint64_t usual = FIRST_SIZE < log->segment_size ? FIRST_SIZE : log->segment_size;
    if (log->holds.newest != NULL) {
        usual = size_after(log, log->holds.newest->header.size);
    }
    uint64_t wanted = log->holds.newest != NULL ? lw_log_room_wanted(log) : 0;
    return wanted > usual ? wanted : usual;
}

/* Gives up a prepared segment that is too small for what has to go into it. */
static LW_YIELDS void unprepare(lw_log *log) {
    lw_log_segment *segment = log->prepared;
    LW_ASSERT(segment->writes == 0);
    log->prepared = NULL;
    lw_file_close(log->env, segment->file);
    lw_log_segment_free(log->memory, segment);
    LW_MARK(log->env, "log.prepared_too_small");
}

/* Whether the space for a segment would be found by letting go of others, once what holds them is
 * flushed. */
static bool may_let_go(const lw_log *log) {
    return log->holds.segment_count > SEGMENTS_LEAST;
}

/* What is left of a full disk is for the flush that lets go of segments, not for more of them. */
static lw_status may_create(const lw_log *log) {
    if (log->reserve != NULL && lw_reserve_short(log->reserve) && may_let_go(log)) {
        return lw_fail(LW_FULL,
                       "the log %s gets no more segments while the disk is full and older ones are "
                       "held; delete something, or give the disk more room",
                       log->directory);
    }
    return LW_OK;
}

/* The spare of this number was removed, and nothing took its place: the last one does. Answers with
 * the failure that is in the error slot, or with a worse one. */
static LW_YIELDS lw_status close_gap(lw_log *log, uint64_t number) {
    lw_error cause = *lw_error_slot();
    if (log->file_last > number) {
        LW_MARK(log->env, "log.gap_closed");
        LW_TRY(lw_log_segment_rename(log->env, log->directory, log->file_last, number));
    }
    log->file_last--;
    return lw_fail(cause.status, "%s", cause.text);
}

lw_status lw_log_keep_prepare(lw_log *log) {
    uint64_t there_size = log->segment_size; /* of a spare */
    if (log->prepared != NULL) {
        there_size = log->prepared->header.size; /* of a young log it may be less */
        unprepare(log);
    }
    lw_log_segment_header header = {
        .number = next_number(log), .size = next_size(log), .format = LW_LOG_FORMAT};
    lw_env_entropy(log->env, &header.salt, sizeof(header.salt));
    lw_handle file = LW_NO_HANDLE;
    bool there = header.number <= log->file_last;
    if (there && header.size <= there_size) {
        header.size = there_size;
        LW_TRY(lw_log_segment_renew(log->env, log->directory, &header, &file));
        LW_MARK(log->env, "log.segment_renewed");
    } else {
        LW_TRY(may_create(log));
        if (there) {
            LW_TRY(lw_log_segment_remove(log->env, log->directory, header.number));
        }
        lw_status status = lw_log_segment_create(log->env, log->directory, &header, &file);
        if (status != LW_OK) {
            return there ? close_gap(log, header.number) : status;
        }
        LW_MARK(log->env, "log.segment_created");
    }
    if (log->file_last < header.number) {
        log->file_last = header.number;
    }
    log->prepared = lw_log_segment_make(log->memory, &header);
    log->prepared->file = file;
    if (log->holds.newest != NULL && used_count(log) > log->used_most) {
        log->used_most = used_count(log);
    }
    lw_reserve_want(log->reserve, LW_RESERVE_LOG, size_after(log, header.size));
    return LW_OK;
}

void lw_log_keep_advance(lw_log *log) {
    LW_ASSERT(log->prepared != NULL);
    lw_log_holds_push(&log->holds, log->prepared);
    log->prepared = NULL;
}

/* ---- letting go ------------------------------------------------------------------------------ */

/* Appends the states again that would go with segments below `first`. */
static void carry_states(lw_log *log, uint64_t first) {
    for (lw_log_segment *segment = log->holds.oldest; segment->header.number < first;
         segment = segment->next) {
        for (lw_log_note *note = segment->first_note; note != NULL; note = note->next) {
            const lw_log_record *state = lw_log_holds_state(&log->holds, segment, note);
            if (state != NULL) {
                lw_log_record record = *state;
                (void)lw_log_write_records(log, &record, 1);
                LW_MARK(log->env, "log.state_carried");
            }
        }
    }
}

static bool release_is_wanted(const lw_log *log) {
    return log->release_upto == 0 &&
           lw_log_holds_first(&log->holds) > log->holds.oldest->header.number;
}

/* Decides which segments go, and appends what must be durable before. */
static void begin_release(lw_log *log) {
    uint64_t first = lw_log_holds_first(&log->holds);
    log->release_upto = first;
    log->oldest_needed = first;
    if (LW_BUG(log->env, "log.recycle_too_early") && log->holds.oldest->writes == 0 &&
        first == log->holds.oldest->header.number + 1) {
        log->release_ticket = 0;
        return;
    }
    carry_states(log, first);
    log->release_ticket = lw_log_write_records(log, NULL, 0);
}

static bool release_is_due(const lw_log *log) {
    return log->release_upto != 0 && lw_log_write_find(log, log->release_ticket) == NULL;
}

/* Makes the file of a segment that is needed no more into a spare, or removes it. */
static LW_YIELDS lw_status let_go(lw_log *log, const lw_log_segment_header *header) {
    if (header->size == log->segment_size && spare_count(log) < spares_max(log) &&
        !LW_RARE(log->env, "log.spare_unwanted")) {
        LW_TRY(lw_log_segment_rename(log->env, log->directory, header->number, log->file_last + 1));
        log->file_last++;
        LW_MARK(log->env, "log.segment_recycled");
        return LW_OK;
    }
    LW_MARK(log->env, "log.segment_removed");
    return lw_log_segment_remove(log->env, log->directory, header->number);
}

static LW_YIELDS lw_status finish_release(lw_log *log) {
    while (log->holds.oldest->header.number < log->release_upto) {
        lw_log_segment *segment = lw_log_holds_shift(&log->holds);
        lw_log_segment_header header = segment->header;
        lw_handle file = segment->file;
        lw_log_segment_free(log->memory, segment);
        lw_log_charge_index(log);
        if (lw_handle_valid(file)) {
            lw_file_close(log->env, file);
        }
        LW_TRY(let_go(log, &header));
    }
    log->release_upto = 0;
    return LW_OK;
}

/* ---- closing files --------------------------------------------------------------------------- */

/* The first segment before the newest whose file is open and written to no more. */
static lw_log_segment *find_idle_file(const lw_log *log) {
    lw_log_segment *segment = log->holds.oldest;
    while (segment != log->holds.newest &&
           (!lw_handle_valid(segment->file) || segment->writes > 0)) {
        segment = segment->next;
    }
    return segment != log->holds.newest ? segment : NULL;
}

/* ---- the fiber ------------------------------------------------------------------------------- */

static bool has_work(const lw_log *log) {
    return !log->dead && (release_is_due(log) || release_is_wanted(log) || next_is_wanted(log) ||
                          find_idle_file(log) != NULL || spare_count(log) > spares_max(log));
}

/* Does one thing. */
static LW_YIELDS lw_status keep_one(lw_log *log) {
    lw_log_segment *idle = find_idle_file(log);
    if (idle != NULL) {
        lw_handle file = idle->file;
        idle->file = LW_NO_HANDLE;
        lw_file_close(log->env, file);
        return LW_OK;
    }
    if (release_is_due(log)) {
        lw_status status = finish_release(log);
        /* A segment that is half gone cannot be waited for: the next one would leave a gap. */
        bool passes = status == LW_FULL || status == LW_BACKPRESSURE;
        return passes ? lw_fail(LW_INTERNAL, "%s", lw_error_slot()->text) : status;
    }
    if (release_is_wanted(log)) {
        begin_release(log);
        return LW_OK;
    }
    if (spare_count(log) > spares_max(log)) {
        return remove_spare(log);
    }
    LW_TRY(lw_log_keep_prepare(log));
    log->full = false;
    lw_log_room_review(log);
    lw_log_write_start(log);
    return LW_OK;
}

/* The disk is full, or handles are short: those who can wait do, the others are told, and later it
 * is tried again. */
static LW_YIELDS void wait_for_space(lw_log *log) {
    log->full = true;
    log->error = *lw_error_slot();
    lw_log_room_review(log);
    lw_log_write_wake(log);
    if (log->error.status == LW_FULL) {
        LW_MARK(log->env, "log.full");
        lw_reserve_log_waits(log->reserve);
    } else {
        LW_MARK(log->env, "log.short");
    }
    if (!log->closing) {
        (void)lw_env_wait(log->env, &log->keeper_wake, lw_env_now(log->env) + full_retry_ns);
    }
}

static LW_YIELDS void keeper_main(void *argument) {
    lw_log *log = argument;
    while (!log->closing && (has_work(log) || (!log->dead && spare_count(log) > 0))) {
        lw_status status = has_work(log) ? keep_one(log) : rest(log);
        if (status == LW_FULL && !log->dead) {
            lw_error cause = *lw_error_slot();
            if (may_let_go(log) || !lw_reserve_spend(log->reserve)) {
                *lw_error_slot() = cause;
                wait_for_space(log);
            }
        } else if (status == LW_BACKPRESSURE && !log->dead) {
            wait_for_space(log);
        } else if (status != LW_OK && !log->dead) {
            lw_log_write_die(log);
        }
    }
    log->keeper_runs = false;
    lw_queue_wake_all(&log->quiet);
}

void lw_log_keep_poke(lw_log *log) {
    if (log->keeper_runs) {
        if (release_is_due(log) || release_is_wanted(log) || (log->keeper_rests && has_work(log))) {
            lw_queue_wake_all(&log->keeper_wake);
        }
    } else if (!log->closing && (has_work(log) || (!log->dead && spare_count(log) > 0))) {
        log->keeper_runs = true;
        (void)lw_env_start(log->env, "log keeper", keeper_main, log);
    }
}
