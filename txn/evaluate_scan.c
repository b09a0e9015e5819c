/* SPDX-License-Identifier: Apache-2.0 */
/* Reads of ranges, a page at a time, at one timestamp: versions and locks are walked side by side.
 */
#include "txn/evaluate_inner.h"

/* Steps over a few entries are cheaper than a seek; over many they are not. */
enum { STEPS_BEFORE_SEEK = 4, ROW_OVERHEAD = 16 };

/* One page being read. */
typedef struct scan_page {
    lw_evaluation *evaluation;
    const lw_scan_request *request;
    lw_cursor *data, *locks; /* locks: NULL when there are none */
    lw_buffer prefix;        /* of the key that the data cursor came to */
    lw_buffer user_key;
    /* While the lock cursor is valid: the next that matters, in the direction of the scan; it is in
     * the way, or an intent of the reader's own. */
    lw_lock_record lock;
    bool rolled_back; /* on the way to a version, a record was met at the reader's own start */
    bool entered;     /* the data cursor stands on the key in `prefix`, as find_version wants it */
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

static bool is_own(const scan_page *page) {
    return page->lock.start == page->request->start;
}

/* Moves the lock cursor, from where it stands on, to the next lock that matters. */
LW_YIELDS static lw_status settle_lock(scan_page *page) {
    while (lw_cursor_valid(page->locks)) {
        LW_TRY(lw_lock_record_decode(lw_cursor_key(page->locks), lw_cursor_value(page->locks),
                                     &page->lock));
        bool intent = is_own(page) && page->lock.kind != LW_MUTATION_LOCK;
        if (intent || evaluation_hinders(page->evaluation, &page->lock, page->request->start,
                                         page->request->read_timestamp)) {
            return LW_OK;
        }
        LW_TRY(page->request->backwards ? lw_cursor_previous(page->locks)
                                        : lw_cursor_next(page->locks));
    }
    return LW_OK;
}

/* Where the next lock stands against the next key with data: below 0, before it in the direction of
 * the scan, 0, on it. There is at least one of them. */
static int order_of_next(const scan_page *page) {
    if (page->locks == NULL || !lw_cursor_valid(page->locks)) {
        return 1;
    }
    if (!lw_cursor_valid(page->data)) {
        return -1;
    }
    int order = lw_compare(lw_record_locked_key(lw_cursor_key(page->locks)),
                           lw_buffer_view(&page->user_key));
    return page->request->backwards ? -order : order;
}

static lw_status add_row(scan_page *page, lw_bytes key, lw_bytes value) {
    value.size = page->request->keys_only ? 0 : value.size;
    size_t size = key.size + value.size + ROW_OVERHEAD;
    page->full = !evaluation_afford(&page->room, size);
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
LW_YIELDS static lw_status find_version(scan_page *page, uint64_t *timestamp,
                                        lw_data_record *record, bool *found) {
    uint32_t steps = 0;
    *found = page->rolled_back = false;
    while (in_prefix(page)) {
        LW_TRY(lw_history_decode(page->data, timestamp, record));
        if (*timestamp <= page->request->read_timestamp && lw_history_is_version(record->kind)) {
            *found = true;
            return LW_OK;
        }
        page->rolled_back = page->rolled_back || *timestamp == page->request->start;
        bool above = *timestamp > page->request->read_timestamp;
        if (above &&
            (++steps > STEPS_BEFORE_SEEK || LW_RARE(page->evaluation->env, "txn.seeks_at_once"))) {
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
    page->entered = false;
    if (page->request->backwards) {
        return lw_cursor_seek_before(page->data, lw_buffer_view(&page->prefix));
    }
    for (uint32_t steps = 0; in_prefix(page); steps++) {
        if (steps == STEPS_BEFORE_SEEK || LW_RARE(page->evaluation->env, "txn.leaves_at_once")) {
            lw_record_data_end(lw_buffer_view(&page->user_key), &page->evaluation->key);
            return lw_cursor_seek(page->data, lw_buffer_view(&page->evaluation->key));
        }
        LW_TRY(lw_cursor_next(page->data));
    }
    return LW_OK;
}

/* Notes the key that the data cursor came to, if it came to one. */
LW_YIELDS static lw_status enter_key(scan_page *page) {
    if (page->entered || !lw_cursor_valid(page->data)) {
        return LW_OK;
    }
    page->entered = true;
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
           (page->row_count > 0 && (page->size >= request->byte_limit ||
                                    LW_RARE(page->evaluation->env, "txn.ends_page_early")));
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

/* What the reader itself is about to write hides what is there, on the key `order` tells. A row
 * that does not fit is the next page's first. */
LW_YIELDS static lw_status take_own(scan_page *page, int order) {
    bool found;
    lw_bytes key = lw_record_locked_key(lw_cursor_key(page->locks));
    LW_TRY(evaluation_own_intent(&page->lock, key, &found));
    if (found) {
        LW_TRY(add_row(page, key, page->lock.value));
    }
    if (page->full) {
        return LW_OK;
    }
    if (order == 0) {
        LW_TRY(leave_key(page));
    }
    LW_TRY(page->request->backwards ? lw_cursor_previous(page->locks)
                                    : lw_cursor_next(page->locks));
    return settle_lock(page);
}

/* E7, of a key with data and no intent of the reader's own; the data cursor stands on the version
 * `found` there. The walk to it has passed a rollback record of its own, or there is none, unless
 * it ended above the reader's start. */
LW_YIELDS static lw_status meet_rollback(const scan_page *page, uint64_t timestamp, bool found) {
    uint64_t start = page->request->start;
    bool passed = start <= page->request->read_timestamp && (!found || timestamp < start);
    return passed && !page->rolled_back
               ? LW_OK
               : evaluation_not_rolled_back(page->evaluation, lw_buffer_view(&page->user_key),
                                            start);
}

LW_YIELDS static lw_status take_data(scan_page *page) {
    lw_data_record record;
    uint64_t timestamp = 0;
    bool found;
    LW_TRY(find_version(page, &timestamp, &record, &found));
    LW_TRY(meet_rollback(page, timestamp, found));
    if (found && lw_history_gives(page->evaluation, &record, page->request->read_timestamp)) {
        LW_TRY(add_row(page, lw_buffer_view(&page->user_key), record.value));
    }
    return page->full ? LW_OK : leave_key(page);
}

static bool exhausted(const scan_page *page) {
    return !lw_cursor_valid(page->data) && (page->locks == NULL || !lw_cursor_valid(page->locks));
}

LW_YIELDS static lw_status fill_page(scan_page *page, lw_scan_reply *reply) {
    while (!exhausted(page)) {
        if (page_done(page)) {
            reply->more = true;
            return LW_OK;
        }
        LW_TRY(enter_key(page));
        int order = order_of_next(page);
        if (order <= 0 && !is_own(page)) {
            return end_at_lock(page, reply);
        }
        LW_TRY(order <= 0 ? take_own(page, order) : take_data(page));
    }
    return LW_OK;
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
    lw_read_marks_raise_range(evaluation->marks, request->lower, request->upper,
                              request->read_timestamp);
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
