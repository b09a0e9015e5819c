/* SPDX-License-Identifier: Apache-2.0 */
/* The evaluation of reads: single keys and pages of ranges, at one timestamp. */
#include "txn/evaluate.h"
#include "txn/history.h"

lw_evaluation lw_evaluation_in(lw_env *env, lw_arena *arena) {
    lw_buffer empty = lw_buffer_in(env->memory);
    return (lw_evaluation){.env = env,
                           .arena = arena,
                           .valid_until = UINT64_MAX,
                           .batch = empty,
                           .key = empty,
                           .bound = empty,
                           .record = empty,
                           .lock = empty};
}

void lw_evaluation_reset(lw_evaluation *evaluation) {
    lw_buffer_reset(&evaluation->batch);
    lw_buffer_reset(&evaluation->key);
    lw_buffer_reset(&evaluation->bound);
    lw_buffer_reset(&evaluation->record);
    lw_buffer_reset(&evaluation->lock);
}

/* Whether a lock may become a version at or below `read_timestamp` (E2). One of a transaction that
 * began later cannot, nor one that writes nothing. */
static bool hinders_reader(const lw_evaluation *evaluation, const lw_lock_record *lock,
                           uint64_t start, uint64_t read_timestamp) {
    if (LW_BUG(evaluation->env, "txn.read_ignores_locks")) {
        return false;
    }
    return lock->start != start && lock->start <= read_timestamp && lock->floor < read_timestamp &&
           lock->kind != LW_MUTATION_LOCK;
}

/* ---- single keys ---------------------------------------------------------------------------- */

/* Takes `size` bytes of what is still allowed into an answer. */
static bool afford(size_t *room, size_t size) {
    if (size > *room) {
        return false;
    }
    *room -= size;
    return true;
}

LW_YIELDS static lw_status read_version(lw_evaluation *evaluation, lw_bytes key,
                                        uint64_t read_timestamp, lw_history *history, size_t *room,
                                        bool *afforded, lw_get_value *value) {
    LW_TRY(lw_history_open(evaluation, key, read_timestamp, history));
    while (history->valid && !lw_history_is_version(history->record.kind)) {
        LW_TRY(lw_history_next(history));
    }
    *value = (lw_get_value){0};
    *afforded = true;
    if (history->valid && lw_history_gives(evaluation, &history->record, read_timestamp)) {
        *afforded = afford(room, history->record.value.size);
        *value = (lw_get_value){.found = true, .commit_timestamp = history->timestamp};
        if (*afforded) {
            value->value = lw_arena_copy(evaluation->arena, history->record.value);
        }
    }
    return LW_OK;
}

/* Reads values in the order of the keys, until one does not fit the answer any more. */
LW_YIELDS static lw_status read_values(lw_evaluation *evaluation, const lw_bytes *keys,
                                       uint32_t key_count, uint64_t read_timestamp,
                                       lw_get_value *values, uint32_t *value_count) {
    size_t room = LW_EVALUATION_REPLY_SIZE_MAX;
    uint32_t count = 0;
    bool afforded = true;
    while (count < key_count && afforded) {
        lw_history history;
        lw_status status = read_version(evaluation, keys[count], read_timestamp, &history, &room,
                                        &afforded, &values[count]);
        lw_history_close(&history);
        LW_TRY(status);
        count += afforded;
    }
    LW_ASSERT(count > 0);
    *value_count = count;
    return LW_OK;
}

lw_status lw_evaluate_get(lw_evaluation *evaluation, const lw_get_request *request,
                          lw_get_reply *reply) {
    LW_ASSERT(request->read_timestamp != 0);
    for (uint32_t index = 0; index < request->key_count && !evaluation->unlocked; index++) {
        lw_lock_record lock;
        lw_status status = lw_history_lock(evaluation, request->keys[index], &lock);
        if (status == LW_OK &&
            hinders_reader(evaluation, &lock, request->start, request->read_timestamp)) {
            return lw_obstacle_lock(evaluation, request->keys[index], &lock);
        }
        if (status != LW_OK && status != LW_NOT_FOUND) {
            return status;
        }
    }
    lw_get_value *values =
        lw_arena_allocate(evaluation->arena, request->key_count * sizeof(*values));
    *reply = (lw_get_reply){.read_timestamp = request->read_timestamp, .values = values};
    return read_values(evaluation, request->keys, request->key_count, request->read_timestamp,
                       values, &reply->value_count);
}

lw_status lw_evaluate_lock(lw_evaluation *evaluation, const lw_lock_request *request,
                           lw_lock_reply *reply) {
    LW_ASSERT(reply->for_update != 0);
    for (uint32_t index = 0; index < request->key_count && !evaluation->unlocked; index++) {
        lw_lock_record lock;
        lw_status status = lw_history_lock(evaluation, request->keys[index], &lock);
        if (status == LW_OK && lock.start != reply->start) {
            return lw_obstacle_lock(evaluation, request->keys[index], &lock);
        }
        if (status != LW_OK && status != LW_NOT_FOUND) {
            return status;
        }
    }
    if (!request->read) {
        return LW_OK;
    }
    lw_get_value *values =
        lw_arena_allocate(evaluation->arena, request->key_count * sizeof(*values));
    reply->values = values;
    return read_values(evaluation, request->keys, request->key_count, reply->for_update, values,
                       &reply->value_count);
}

/* ---- ranges --------------------------------------------------------------------------------- */

/* Steps over a few entries are cheaper than a seek; over many they are not. */
enum { STEPS_BEFORE_SEEK = 4, ROW_OVERHEAD = 16 };

/* One page being read. */
typedef struct scan_page {
    lw_evaluation *evaluation;
    const lw_scan_request *request;
    lw_cursor *data, *locks; /* locks: NULL when there are none */
    lw_buffer prefix;        /* of the key that the data cursor came to */
    lw_buffer user_key;
    lw_lock_record lock; /* the next in the way, in the direction of the scan, while the lock
                            cursor is valid */
    lw_scan_row *rows;
    uint32_t row_count, row_capacity;
    uint64_t size;
    size_t room;
    bool full; /* the next row did not fit */
} scan_page;

static bool in_prefix(const scan_page *page) {
    return lw_cursor_valid(page->data) &&
           lw_starts_with(lw_cursor_key(page->data), lw_buffer_view(&page->prefix));
}

/* Moves the lock cursor, from where it stands on, to the next lock that hinders. */
LW_YIELDS static lw_status settle_lock(scan_page *page) {
    while (lw_cursor_valid(page->locks)) {
        LW_TRY(lw_lock_record_decode(lw_cursor_key(page->locks), lw_cursor_value(page->locks),
                                     &page->lock));
        if (hinders_reader(page->evaluation, &page->lock, page->request->start,
                           page->request->read_timestamp)) {
            return LW_OK;
        }
        LW_TRY(page->request->backwards ? lw_cursor_previous(page->locks)
                                        : lw_cursor_next(page->locks));
    }
    return LW_OK;
}

/* Whether a lock stands between the rows so far and `user_key`, itself included. */
static bool lock_before(const scan_page *page, lw_bytes user_key) {
    if (page->locks == NULL || !lw_cursor_valid(page->locks)) {
        return false;
    }
    int order = lw_compare(lw_record_locked_key(lw_cursor_key(page->locks)), user_key);
    return page->request->backwards ? order >= 0 : order <= 0;
}

static lw_status add_row(scan_page *page, lw_bytes value) {
    lw_bytes key = lw_buffer_view(&page->user_key);
    value.size = page->request->keys_only ? 0 : value.size;
    size_t size = key.size + value.size + ROW_OVERHEAD;
    page->full = !afford(&page->room, size);
    if (page->full) {
        return LW_OK;
    }
    if (page->row_count == page->row_capacity) {
        uint32_t capacity = page->row_capacity == 0 ? 16 : page->row_capacity * 2;
        lw_scan_row *rows = lw_arena_allocate(page->evaluation->arena, capacity * sizeof(*rows));
        if (page->row_count > 0) {
            memcpy(rows, page->rows, page->row_count * sizeof(*rows));
        }
        page->rows = rows;
        page->row_capacity = capacity;
    }
    page->rows[page->row_count++] =
        (lw_scan_row){.key = lw_arena_copy(page->evaluation->arena, key),
                      .value = lw_arena_copy(page->evaluation->arena, value)};
    page->size += size;
    return LW_OK;
}

/* Moves the data cursor, which stands somewhere on the key, forward to the version to be read. It
 * is then valid and in the key, or the key has none. */
LW_YIELDS static lw_status find_version(scan_page *page, lw_data_record *record, bool *found) {
    uint64_t timestamp;
    uint32_t steps = 0;
    *found = false;
    while (in_prefix(page)) {
        LW_TRY(lw_history_decode(page->data, &timestamp, record));
        if (timestamp <= page->request->read_timestamp && lw_history_is_version(record->kind)) {
            *found = true;
            return LW_OK;
        }
        if (timestamp > page->request->read_timestamp && ++steps > STEPS_BEFORE_SEEK) {
            lw_record_data_key(lw_buffer_view(&page->user_key), page->request->read_timestamp,
                               &page->evaluation->key);
            LW_TRY(lw_cursor_seek(page->data, lw_buffer_view(&page->evaluation->key)));
            steps = 0;
        } else {
            LW_TRY(lw_cursor_next(page->data));
        }
    }
    return LW_OK;
}

/* Moves the data cursor off the key, in the direction of the scan. */
LW_YIELDS static lw_status leave_key(scan_page *page) {
    if (page->request->backwards) {
        return lw_cursor_seek_before(page->data, lw_buffer_view(&page->prefix));
    }
    for (uint32_t steps = 0; in_prefix(page); steps++) {
        if (steps == STEPS_BEFORE_SEEK) {
            lw_record_data_end(lw_buffer_view(&page->user_key), &page->evaluation->key);
            return lw_cursor_seek(page->data, lw_buffer_view(&page->evaluation->key));
        }
        LW_TRY(lw_cursor_next(page->data));
    }
    return LW_OK;
}

/* Notes the key that the data cursor came to. */
LW_YIELDS static lw_status enter_key(scan_page *page) {
    lw_bytes prefix;
    uint64_t timestamp;
    LW_TRY(lw_record_data_key_split(lw_cursor_key(page->data), &prefix, &timestamp));
    lw_buffer_clear(&page->prefix);
    lw_buffer_append(&page->prefix, prefix);
    lw_buffer_clear(&page->user_key);
    LW_TRY(lw_record_user_key(prefix, &page->user_key));
    if (!page->request->backwards || timestamp > page->request->read_timestamp) {
        return LW_OK;
    }
    /* Going back a key is entered at its oldest version. */
    lw_record_data_key(lw_buffer_view(&page->user_key), page->request->read_timestamp,
                       &page->evaluation->key);
    return lw_cursor_seek(page->data, lw_buffer_view(&page->evaluation->key));
}

static bool page_done(const scan_page *page) {
    const lw_scan_request *request = page->request;
    return page->full || page->row_count >= request->row_limit ||
           page->row_count >= LW_REQUEST_ITEM_COUNT_MAX ||
           (page->row_count > 0 && page->size >= request->byte_limit);
}

/* A lock in the way ends a page that has rows, and is the answer to one that has none. */
static lw_status end_at_lock(scan_page *page, lw_scan_reply *reply) {
    if (page->row_count > 0) {
        reply->more = true;
        return LW_OK;
    }
    return lw_obstacle_lock(page->evaluation, lw_record_locked_key(lw_cursor_key(page->locks)),
                            &page->lock);
}

LW_YIELDS static lw_status fill_page(scan_page *page, lw_scan_reply *reply) {
    while (lw_cursor_valid(page->data)) {
        if (page_done(page)) {
            reply->more = true;
            return LW_OK;
        }
        LW_TRY(enter_key(page));
        if (lock_before(page, lw_buffer_view(&page->user_key))) {
            return end_at_lock(page, reply);
        }
        lw_data_record record;
        bool found;
        LW_TRY(find_version(page, &record, &found));
        if (found && lw_history_gives(page->evaluation, &record, page->request->read_timestamp)) {
            LW_TRY(add_row(page, record.value));
        }
        if (!page->full) { /* a row that does not fit is the next page's first */
            LW_TRY(leave_key(page));
        }
    }
    bool locked = page->locks != NULL && lw_cursor_valid(page->locks);
    return locked ? end_at_lock(page, reply) : LW_OK;
}

LW_YIELDS static lw_status open_locks(scan_page *page) {
    lw_evaluation *evaluation = page->evaluation;
    if (evaluation->unlocked) {
        return LW_OK;
    }
    lw_record_lock_key(page->request->lower, &evaluation->key);
    if (page->request->upper.size > 0) {
        lw_record_lock_key(page->request->upper, &evaluation->bound);
    } else {
        lw_record_lock_end(&evaluation->bound);
    }
    page->locks = lw_cursor_open(evaluation->snapshot, lw_buffer_view(&evaluation->key),
                                 lw_buffer_view(&evaluation->bound));
    LW_TRY(page->request->backwards ? lw_cursor_last(page->locks) : lw_cursor_first(page->locks));
    return settle_lock(page);
}

LW_YIELDS static lw_status open_data(scan_page *page) {
    lw_evaluation *evaluation = page->evaluation;
    lw_record_data_prefix(page->request->lower, &evaluation->key);
    if (page->request->upper.size > 0) {
        lw_record_data_prefix(page->request->upper, &evaluation->bound);
    } else {
        lw_record_data_end(page->request->upper, &evaluation->bound);
    }
    page->data = lw_cursor_open(evaluation->snapshot, lw_buffer_view(&evaluation->key),
                                lw_buffer_view(&evaluation->bound));
    return page->request->backwards ? lw_cursor_last(page->data) : lw_cursor_first(page->data);
}

LW_YIELDS static lw_status read_page(scan_page *page, lw_scan_reply *reply) {
    LW_TRY(open_data(page));
    LW_TRY(open_locks(page));
    LW_TRY(fill_page(page, reply));
    reply->rows = page->rows;
    reply->row_count = page->row_count;
    LW_ASSERT(!reply->more || reply->row_count > 0);
    return LW_OK;
}

lw_status lw_evaluate_scan(lw_evaluation *evaluation, const lw_scan_request *request,
                           lw_scan_reply *reply) {
    LW_ASSERT(request->read_timestamp != 0);
    *reply = (lw_scan_reply){.read_timestamp = request->read_timestamp};
    if (request->upper.size > 0 && lw_compare(request->lower, request->upper) >= 0) {
        return LW_OK;
    }
    scan_page page = {.evaluation = evaluation,
                      .request = request,
                      .prefix = lw_buffer_in(evaluation->env->memory),
                      .user_key = lw_buffer_in(evaluation->env->memory),
                      .room = LW_EVALUATION_REPLY_SIZE_MAX};
    lw_status status = read_page(&page, reply);
    if (page.data != NULL) {
        lw_cursor_close(page.data);
    }
    if (page.locks != NULL) {
        lw_cursor_close(page.locks);
    }
    lw_buffer_reset(&page.prefix);
    lw_buffer_reset(&page.user_key);
    return status;
}
