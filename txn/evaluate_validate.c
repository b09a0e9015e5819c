/* SPDX-License-Identifier: Apache-2.0 */
/* Validation: whether anything was, or may yet be, committed to what a transaction read (E4). */
#include "txn/evaluate_inner.h"

/* Whether the lock of another may become a version that a transaction which commits at or below
 * `commit_timestamp` had to see. */
static bool hinders_validation(const lw_lock_record *lock, uint64_t start,
                               uint64_t commit_timestamp) {
    return lock->start != start && lock->kind != LW_MUTATION_LOCK &&
           lock->start < commit_timestamp && lock->floor < commit_timestamp;
}

/* Looks at versions of one key in (seen, commit_timestamp], newest first, some of which may be the
 * transaction's own, and at the one that was seen. */
LW_YIELDS static lw_status walk_versions(lw_evaluation *evaluation, lw_bytes key, uint64_t start,
                                         uint64_t seen, uint64_t commit_timestamp,
                                         lw_history *history) {
    LW_TRY(lw_history_open(evaluation, key, commit_timestamp, history));
    for (; history->valid && history->timestamp > seen;) {
        if (lw_history_is_version(history->record.kind) && history->record.start != start) {
            return lw_obstacle_newer(evaluation, key, history->timestamp, history->record.start);
        }
        LW_TRY(lw_history_next(history));
    }
    while (history->valid && !lw_history_is_version(history->record.kind)) {
        LW_TRY(lw_history_next(history));
    }
    return history->valid ? lw_history_outlasts(evaluation, key, history->record.expires,
                                                history->record.start, seen, commit_timestamp)
                          : LW_OK;
}

/* The same, without a walk where the newest version tells. */
LW_YIELDS static lw_status check_versions(lw_evaluation *evaluation, lw_bytes key, uint64_t start,
                                          uint64_t seen, uint64_t commit_timestamp,
                                          lw_history *history) {
    LW_TRY(lw_history_version(evaluation, key, commit_timestamp, history));
    if (!history->valid) {
        return LW_OK;
    }
    if (history->timestamp <= seen) {
        return lw_history_outlasts(evaluation, key, history->record.expires, history->record.start,
                                   seen, commit_timestamp);
    }
    if (history->record.start != start) {
        return lw_obstacle_newer(evaluation, key, history->timestamp, history->record.start);
    }
    lw_history_close(history);
    return walk_versions(evaluation, key, start, seen, commit_timestamp, history);
}

LW_YIELDS static lw_status validate_key(lw_evaluation *evaluation, const lw_seen_key *read,
                                        uint64_t start, uint64_t commit_timestamp) {
    lw_lock_record lock;
    lw_status status = lw_history_lock(evaluation, read->key, &lock);
    if (status == LW_OK && hinders_validation(&lock, start, commit_timestamp)) {
        return lw_obstacle_lock(evaluation, read->key, &lock);
    }
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    lw_history history;
    status = check_versions(evaluation, read->key, start, read->seen, commit_timestamp, &history);
    lw_history_close(&history);
    return status;
}

LW_YIELDS static lw_status check_range_locks(lw_evaluation *evaluation, lw_cursor *locks,
                                             uint64_t start, uint64_t commit_timestamp) {
    LW_TRY(lw_cursor_first(locks));
    while (lw_cursor_valid(locks)) {
        lw_lock_record lock;
        LW_TRY(lw_lock_record_decode(lw_cursor_key(locks), lw_cursor_value(locks), &lock));
        if (hinders_validation(&lock, start, commit_timestamp)) {
            return lw_obstacle_lock(evaluation, lw_record_locked_key(lw_cursor_key(locks)), &lock);
        }
        LW_TRY(lw_cursor_next(locks));
    }
    return LW_OK;
}

LW_YIELDS static lw_status validate_range_locks(lw_evaluation *evaluation,
                                                const lw_seen_range *range, uint64_t start,
                                                uint64_t commit_timestamp) {
    if (evaluation->unlocked) {
        return LW_OK;
    }
    lw_record_lock_key(range->lower, &evaluation->key);
    if (range->upper.size > 0) {
        lw_record_lock_key(range->upper, &evaluation->bound);
    } else {
        lw_record_lock_end(&evaluation->bound);
    }
    lw_cursor *locks = lw_cursor_open(evaluation->snapshot, lw_buffer_view(&evaluation->key),
                                      lw_buffer_view(&evaluation->bound));
    lw_status status = check_range_locks(evaluation, locks, start, commit_timestamp);
    lw_cursor_close(locks);
    return status;
}

static lw_status found_newer(lw_evaluation *evaluation, lw_bytes prefix, uint64_t timestamp,
                             uint64_t start) {
    lw_buffer key = lw_buffer_in(evaluation->env->memory);
    lw_status status = lw_record_user_key(prefix, &key);
    if (status == LW_OK) {
        status = lw_obstacle_newer(evaluation, lw_buffer_view(&key), timestamp, start);
    }
    lw_buffer_reset(&key);
    return status;
}

/* A version that was there before the range was seen, and expires: whether it was seen is looked up
 * only if it would matter. */
LW_YIELDS static lw_status check_expiring(lw_evaluation *evaluation, lw_bytes prefix,
                                          uint64_t timestamp, const lw_data_record *record,
                                          uint64_t seen, uint64_t commit_timestamp) {
    bool known = commit_timestamp != UINT64_MAX;
    if (record->expires <= seen || (known && record->expires > commit_timestamp) ||
        (!known && record->expires >= evaluation->valid_until)) {
        return LW_OK;
    }
    lw_history history;
    lw_buffer key = lw_buffer_in(evaluation->env->memory);
    uint64_t expires = record->expires, start = record->start;
    lw_status status = lw_record_user_key(prefix, &key);
    if (status == LW_OK) {
        status = lw_history_open(evaluation, lw_buffer_view(&key), seen, &history);
        while (status == LW_OK && history.valid && !lw_history_is_version(history.record.kind)) {
            status = lw_history_next(&history);
        }
        bool seen_itself = status == LW_OK && history.valid && history.timestamp == timestamp;
        lw_history_close(&history);
        if (seen_itself) {
            status = lw_history_outlasts(evaluation, lw_buffer_view(&key), expires, start, seen,
                                         commit_timestamp);
        }
    }
    lw_buffer_reset(&key);
    return status;
}

/* Every record in the range is looked at: older ones lie between those that matter. */
LW_YIELDS static lw_status check_range_versions(lw_evaluation *evaluation, lw_cursor *data,
                                                const lw_seen_range *range, uint64_t start,
                                                uint64_t commit_timestamp) {
    LW_TRY(lw_cursor_first(data));
    while (lw_cursor_valid(data)) {
        lw_bytes prefix;
        uint64_t timestamp;
        LW_TRY(lw_record_data_key_split(lw_cursor_key(data), &prefix, &timestamp));
        if (timestamp <= range->seen && lw_data_record_expiring(lw_cursor_value(data))) {
            lw_data_record record;
            LW_TRY(lw_history_decode(data, &timestamp, &record));
            LW_TRY(check_expiring(evaluation, prefix, timestamp, &record, range->seen,
                                  commit_timestamp));
        } else if (timestamp > range->seen && timestamp <= commit_timestamp) {
            lw_data_record record;
            LW_TRY(lw_history_decode(data, &timestamp, &record));
            if (lw_history_is_version(record.kind) && record.start != start) {
                return found_newer(evaluation, prefix, timestamp, record.start);
            }
        }
        LW_TRY(lw_cursor_next(data));
    }
    return LW_OK;
}

LW_YIELDS static lw_status validate_range(lw_evaluation *evaluation, const lw_seen_range *range,
                                          uint64_t start, uint64_t commit_timestamp) {
    bool empty = range->upper.size > 0 && lw_compare(range->lower, range->upper) >= 0;
    if (empty || LW_BUG(evaluation->env, "txn.ranges_not_validated")) {
        return LW_OK;
    }
    LW_TRY(validate_range_locks(evaluation, range, start, commit_timestamp));
    lw_record_data_prefix(range->lower, &evaluation->key);
    if (range->upper.size > 0) {
        lw_record_data_prefix(range->upper, &evaluation->bound);
    } else {
        lw_record_data_end(range->upper, &evaluation->bound);
    }
    lw_cursor *data = lw_cursor_open(evaluation->snapshot, lw_buffer_view(&evaluation->key),
                                     lw_buffer_view(&evaluation->bound));
    lw_status status = check_range_versions(evaluation, data, range, start, commit_timestamp);
    lw_cursor_close(data);
    return status;
}

lw_status evaluation_validate(lw_evaluation *evaluation, const lw_validate_request *request) {
    if (LW_BUG(evaluation->env, "txn.no_validation")) {
        return LW_OK;
    }
    for (uint32_t index = 0; index < request->key_count; index++) {
        LW_TRY(validate_key(evaluation, &request->keys[index], request->start,
                            request->commit_timestamp));
    }
    for (uint32_t index = 0; index < request->range_count; index++) {
        LW_TRY(validate_range(evaluation, &request->ranges[index], request->start,
                              request->commit_timestamp));
    }
    return LW_OK;
}

void evaluation_raise_seen(const lw_evaluation *evaluation, const lw_seen_key *keys,
                           uint32_t key_count, const lw_seen_range *ranges, uint32_t range_count,
                           uint64_t commit_timestamp) {
    uint64_t others = commit_timestamp - 1; /* what it writes itself may be locked with its own */
    for (uint32_t index = 0; index < key_count; index++) {
        lw_read_marks_raise(evaluation->marks, keys[index].key, others);
    }
    for (uint32_t index = 0; index < range_count; index++) {
        lw_read_marks_raise_range(evaluation->marks, ranges[index].lower, ranges[index].upper,
                                  others);
    }
}

lw_status lw_evaluate_validate(lw_evaluation *evaluation, const lw_validate_request *request) {
    evaluation_raise_seen(evaluation, request->keys, request->key_count, request->ranges,
                          request->range_count, request->commit_timestamp);
    return evaluation_validate(evaluation, request);
}
