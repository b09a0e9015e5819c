/* SPDX-License-Identifier: Apache-2.0 */
/* The face of the log: opening, closing, appending, waiting. What the log guarantees is in log.h,
 * the format at the head of log_format.c, and who does what in log_state.h. */
#include "storage/log_state.h"

enum {
    SEGMENT_SIZE = 16 * 1024 * 1024,
    SEGMENT_SIZE_MIN = 4 * LW_LOG_BLOCK,
    TINY_SEGMENT_SIZE = 8 * LW_LOG_BLOCK, /* makes rare rolling common, in simulations */
    WRITES_IN_FLIGHT = 4,
    BATCH_SIZE_MAX = 256 * 1024,
    WAITING_MAX = 8 * 1024 * 1024, /* bytes that may be appended and not durable */
    WAITING_PART = 8,              /* of the budget, if that is less */
};

/* ---- opening --------------------------------------------------------------------------------- */

static lw_log *make_log(lw_env *env, const char *directory, const lw_log_options *options) {
    lw_log *log = lw_allocate_zero(env->memory, sizeof(*log));
    log->env = env;
    log->memory = env->memory;
    lw_bytes name = lw_view(directory, strlen(directory) + 1);
    log->directory = (char *)(uintptr_t)lw_copy(env->memory, name).data;
    uint64_t segment_size = options->segment_size != 0 ? options->segment_size : SEGMENT_SIZE;
    if (LW_RARE(env, "log.tiny_segments")) {
        segment_size = TINY_SEGMENT_SIZE;
    }
    segment_size = segment_size > SEGMENT_SIZE_MIN ? segment_size : SEGMENT_SIZE_MIN;
    log->segment_size = lw_log_align(segment_size);
    log->writes_max = options->writes_in_flight != 0 ? options->writes_in_flight : WRITES_IN_FLIGHT;
    if (LW_RARE(env, "log.one_write_in_flight")) {
        log->writes_max = 1;
    }
    uint64_t quarter = log->segment_size / 4;
    log->batch_size_max = quarter < BATCH_SIZE_MAX ? (size_t)quarter : BATCH_SIZE_MAX;
    if (LW_RARE(env, "log.small_batches")) {
        log->batch_size_max = LW_LOG_BLOCK;
    }
    log->holds = lw_log_holds_in(env->memory);
    log->reserve = options->reserve;
    log->share = lw_budget_share_in(options->budget, LW_BUDGET_BUFFERS);
    log->index_share = lw_budget_share_in(options->budget, LW_BUDGET_BUFFERS);
    log->begins = options->begins;
    log->waiting_max = WAITING_MAX;
    if (options->budget != NULL) {
        lw_budget_hold(options->budget);
        size_t share = options->budget->limit / WAITING_PART;
        log->waiting_max = share < WAITING_MAX ? share : WAITING_MAX;
    }
    if (LW_RARE(env, "log.little_waits")) {
        log->waiting_max = LW_LOG_BLOCK;
    }
    if (log->reserve != NULL) {
        lw_reserve_hold(log->reserve);
    }
    log->vouched = true;
    return log;
}

static LW_YIELDS void close_file_of(lw_log *log, lw_log_segment *segment) {
    if (lw_handle_valid(segment->file)) {
        lw_file_close(log->env, segment->file);
        segment->file = LW_NO_HANDLE;
    }
}

static LW_YIELDS void wait_until_quiet(lw_log *log) {
    while (log->writes > 0 || log->packing || log->deferred || log->keeper_runs || log->reading) {
        lw_queue_wait(&log->quiet);
    }
}

/* Frees the log once nothing of it is under way any more. */
static LW_YIELDS void free_log(lw_log *log) {
    wait_until_quiet(log);
    LW_ASSERT(log->request_first == NULL);
    lw_log_write_reset(log);
    for (lw_log_segment *segment = log->holds.oldest; segment != NULL; segment = segment->next) {
        close_file_of(log, segment);
    }
    if (log->prepared != NULL) {
        close_file_of(log, log->prepared);
        lw_log_segment_free(log->memory, log->prepared);
    }
    lw_log_holds_reset(&log->holds);
    if (log->share.budget != NULL) {
        LW_ASSERT(log->share.size == 0);
        lw_budget_release(log->share.budget);
    }
    if (log->reserve != NULL) {
        lw_reserve_release(log->reserve);
    }
    lw_free(log->memory, log->directory);
    lw_free(log->memory, log);
}

/* Makes the name of the log's directory itself durable. */
static LW_YIELDS lw_status sync_parent(lw_log *log) {
    char path[LW_PATH_SIZE];
    const char *slash = strrchr(log->directory, '/');
    size_t size = slash != NULL ? (size_t)(slash - log->directory) : 0;
    LW_ASSERT(size < sizeof(path));
    memcpy(path, log->directory, size);
    path[size] = '\0';
    const char *parent = slash == NULL ? "." : size == 0 ? "/" : path;
    return lw_path_sync_directory(log->env, parent);
}

static LW_YIELDS lw_status start_log(lw_log *log, lw_log_visit visit, void *argument) {
    LW_TRY(lw_path_mkdir(log->env, log->directory));
    LW_TRY(lw_log_recover(log, visit, argument));
    if (log->holds.newest == NULL) {
        LW_TRY(sync_parent(log));
        LW_TRY(lw_log_keep_prepare(log));
        lw_log_keep_advance(log);
    }
    /* Alone and durable before anything else is appended: from here on, what an earlier opening
     * left behind the cut is of a lower generation than what comes before it, and so never
     * believed. */
    uint64_t ticket = lw_log_write_empty(log, LW_LOG_BATCH_OPENING);
    return lw_log_write_wait(log, ticket, true);
}

lw_status lw_log_open(lw_env *env, const char *directory, const lw_log_options *options,
                      lw_log_visit visit, void *argument, lw_log **log) {
    static const lw_log_options none;
    lw_log *opened = make_log(env, directory, options != NULL ? options : &none);
    lw_status status = start_log(opened, visit, argument);
    if (status != LW_OK) {
        lw_error cause = *lw_error_slot();
        opened->closing = true;
        lw_queue_wake_all(&opened->keeper_wake);
        free_log(opened);
        return lw_fail(cause.status, "%s", cause.text);
    }
    *log = opened;
    return LW_OK;
}

lw_status lw_log_check(lw_env *env, const char *directory, const lw_log_options *options,
                       lw_log_visit visit, void *argument, lw_buffer *faults) {
    lw_log *log = make_log(env, directory, options);
    lw_status status = lw_log_check_judged(log, visit, argument, faults);
    lw_error cause = *lw_error_slot();
    log->closing = true;
    free_log(log);
    return status == LW_OK ? LW_OK : lw_fail(cause.status, "%s", cause.text);
}

void lw_log_close(lw_log *log) {
    if (!log->dead && log->ticket_last > log->ticket_durable) {
        (void)!lw_log_write_wait(log, log->ticket_last, true);
    }
    if (!log->dead && !log->vouched) {
        /* Vouches for all before it, so that damage to any record of a closed log is noticed. */
        (void)!lw_log_write_wait(log, lw_log_write_empty(log, LW_LOG_BATCH_END), true);
    }
    log->closing = true;
    lw_queue_wake_all(&log->keeper_wake);
    wait_until_quiet(log);
    if (!log->dead) {
        /* What cannot be removed now is kept, or removed, by the next opening. */
        (void)!lw_log_keep_trim(log);
    }
    free_log(log);
}

/* ---- appending and waiting ------------------------------------------------------------------- */

static void check_record(const lw_log_record *record) {
    if (__builtin_expect(record->kind == LW_LOG_ENTRY, 1)) {
        LW_ASSERT(record->index > 0);
        LW_ASSERT(record->payload.size <= LW_LOG_PAYLOAD_SIZE_MAX);
        return;
    }
    LW_ASSERT(record->kind == LW_LOG_STATE || record->kind == LW_LOG_BEGIN);
    LW_ASSERT(record->kind == LW_LOG_BEGIN || record->index == 0);
    LW_ASSERT(record->payload.size <= lw_log_payload_max(record->kind));
}

uint64_t lw_log_append(lw_log *log, const lw_log_record *records, uint32_t count) {
    LW_ASSERT(!log->closing);
    LW_ASSERT(count > 0);
    for (uint32_t index = 0; index < count; index++) {
        check_record(&records[index]);
    }
    return lw_log_write_records(log, records, count);
}

lw_status lw_log_wait(lw_log *log, uint64_t position) {
    return lw_log_write_wait(log, position, false);
}

void lw_log_release(lw_log *log, uint64_t group, uint64_t index) {
    lw_log_holds_release(&log->holds, group, index);
    lw_log_keep_poke(log);
}

void lw_log_begun(lw_log *log, uint64_t group, bool counts) {
    const lw_log_group *found = lw_log_holds_group(&log->holds, group);
    LW_ASSERT(!counts || (found != NULL && found->beginning));
    lw_log_holds_begun(&log->holds, group, counts);
    if (counts) {
        LW_MARK(log->env, "log.begun");
    } else {
        LW_MARK(log->env, "log.begin_given_up");
    }
    lw_log_keep_poke(log);
}

bool lw_log_span(const lw_log *log, uint64_t group, uint64_t *first, uint64_t *last) {
    const lw_log_group *found = lw_log_holds_group(&log->holds, group);
    if (found == NULL || !found->trail.known) {
        return false;
    }
    *first = found->trail.first;
    *last = found->trail.last;
    return true;
}

uint64_t lw_log_pinned(const lw_log *log, uint64_t group) {
    return lw_log_holds_pinned(&log->holds, group);
}

void lw_log_figures_get(const lw_log *log, lw_log_figures *figures) {
    *figures = log->figures;
    figures->durable_position = log->ticket_durable;
    figures->segments = log->holds.segment_count + (log->prepared != NULL);
    figures->segment_bytes =
        log->holds.segment_bytes + (log->prepared != NULL ? log->prepared->header.size : 0);
}
