/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/history.h"

#include "base/logline.h"

lw_status lw_history_lock(lw_evaluation *evaluation, lw_bytes key, lw_lock_record *lock) {
    if (evaluation->unlocked) {
        return LW_NOT_FOUND;
    }
    lw_record_lock_key(key, &evaluation->key);
    lw_buffer_clear(&evaluation->lock);
    LW_TRY(
        lw_snapshot_get(evaluation->snapshot, lw_buffer_view(&evaluation->key), &evaluation->lock));
    return lw_lock_record_decode(lw_buffer_view(&evaluation->key),
                                 lw_buffer_view(&evaluation->lock), lock);
}

/* Whether the key certainly has no record at or above `start`: neither one of that transaction, nor
 * one that it could not have seen. */
static bool untouched_since(const lw_evaluation *evaluation, lw_bytes key, uint64_t start) {
    return evaluation->written != NULL && evaluation->written_before < start &&
           lw_key_marks_of(evaluation->written, key) < start;
}

lw_status lw_history_at(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                        lw_data_record *record) {
    if (untouched_since(evaluation, key, timestamp)) {
        return LW_NOT_FOUND;
    }
    lw_record_data_key(key, timestamp, &evaluation->key);
    lw_buffer_clear(&evaluation->record);
    LW_TRY(lw_snapshot_get(evaluation->snapshot, lw_buffer_view(&evaluation->key),
                           &evaluation->record));
    return lw_data_record_decode(lw_buffer_view(&evaluation->key), timestamp,
                                 lw_buffer_view(&evaluation->record), record);
}

/* ---- versions ------------------------------------------------------------------------------- */

lw_status lw_history_decode(const lw_cursor *cursor, uint64_t *timestamp, lw_data_record *record) {
    lw_bytes prefix;
    LW_TRY(lw_record_data_key_split(lw_cursor_key(cursor), &prefix, timestamp));
    return lw_data_record_decode(lw_cursor_key(cursor), *timestamp, lw_cursor_value(cursor),
                                 record);
}

static lw_status settle(lw_history *history) {
    history->valid = lw_cursor_valid(history->cursor);
    return history->valid
               ? lw_history_decode(history->cursor, &history->timestamp, &history->record)
               : LW_OK;
}

lw_status lw_history_open(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                          lw_history *history) {
    /* Both bounds have the key's filter part, so that tables without the key can be left out.
     * Nothing is ever written at timestamp 0. */
    lw_record_data_key(key, timestamp, &evaluation->key);
    lw_record_data_key(key, 0, &evaluation->bound);
    *history = (lw_history){.cursor = lw_cursor_open(evaluation->snapshot,
                                                     lw_buffer_view(&evaluation->key),
                                                     lw_buffer_view(&evaluation->bound))};
    LW_TRY(lw_cursor_first(history->cursor));
    return settle(history);
}

lw_status lw_history_next(lw_history *history) {
    LW_ASSERT(history->valid);
    LW_TRY(lw_cursor_next(history->cursor));
    return settle(history);
}

void lw_history_close(lw_history *history) {
    if (history->cursor != NULL) {
        lw_cursor_close(history->cursor);
    }
}

LW_YIELDS static lw_status walk_to_version(lw_evaluation *evaluation, lw_bytes key,
                                           uint64_t timestamp, lw_history *history) {
    LW_TRY(lw_history_open(evaluation, key, timestamp, history));
    while (history->valid && !lw_history_is_version(history->record.kind)) {
        LW_TRY(lw_history_next(history));
    }
    return LW_OK;
}

/* In simulations, now and then: whether a walk over everything comes to the same. */
LW_YIELDS static lw_status look_again(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                                      const lw_history *found) {
    lw_history walk;
    lw_status status = walk_to_version(evaluation, key, timestamp, &walk);
    if (status == LW_OK) {
        LW_ASSERT(walk.valid == found->valid);
        LW_ASSERT(!walk.valid || walk.timestamp == found->timestamp);
        LW_ASSERT(!walk.valid || lw_equal(walk.record.value, found->record.value));
    }
    lw_history_close(&walk);
    return status;
}

lw_status lw_history_version(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                             lw_history *history) {
    *history = (lw_history){.cursor = NULL};
    lw_record_data_key(key, timestamp, &evaluation->key);
    lw_record_data_key(key, 0, &evaluation->bound);
    lw_newest newest = {.lower = lw_buffer_view(&evaluation->key),
                        .upper = lw_buffer_view(&evaluation->bound),
                        .counts = lw_data_record_is_version,
                        .bytes = evaluation->record};
    lw_status status = lw_snapshot_newest(evaluation->snapshot, &newest);
    evaluation->record = newest.bytes;
    LW_TRY(status);
    if (newest.outcome == LW_NEWEST_UNCLEAR) {
        LW_MARK(evaluation->env, "txn.version_walked_to");
        return walk_to_version(evaluation, key, timestamp, history);
    }
    history->valid = newest.outcome == LW_NEWEST_FOUND;
    if (history->valid) {
        lw_bytes found = lw_view(newest.bytes.data, newest.key_size), prefix;
        lw_bytes value =
            lw_view(newest.bytes.data + newest.key_size, newest.bytes.size - newest.key_size);
        LW_TRY(lw_record_data_key_split(found, &prefix, &history->timestamp));
        LW_TRY(lw_data_record_decode(found, history->timestamp, value, &history->record));
    }
    return LW_RARE(evaluation->env, "txn.version_looked_at_twice")
               ? look_again(evaluation, key, timestamp, history)
               : LW_OK;
}

/* ---- values that expire --------------------------------------------------------------------- */

bool lw_history_gives(const lw_evaluation *evaluation, const lw_data_record *record,
                      uint64_t timestamp) {
    if (LW_BUG(evaluation->env, "txn.expired_by_the_clock")) {
        timestamp = evaluation->now;
    }
    return lw_data_record_gives(record, timestamp);
}

lw_status lw_history_outlasts(lw_evaluation *evaluation, lw_bytes key, uint64_t expires,
                              uint64_t start, uint64_t seen, uint64_t commit_timestamp) {
    if (expires == 0 || expires <= seen || LW_BUG(evaluation->env, "txn.expiry_not_validated")) {
        return LW_OK;
    }
    bool known = commit_timestamp != UINT64_MAX;
    if (expires <= (known ? commit_timestamp : evaluation->given + 1)) {
        LW_MARK(evaluation->env, "txn.expired_before_commit");
        return lw_obstacle_expired(evaluation, key, expires, start);
    }
    if (!known && expires < evaluation->valid_until) {
        evaluation->valid_until = expires;
    }
    return LW_OK;
}

/* ---- accounts ------------------------------------------------------------------------------- */

LW_YIELDS static lw_status walk_account(lw_evaluation *evaluation, lw_bytes key, uint64_t start,
                                        uint64_t since, lw_history *history, lw_account *account) {
    bool settled = since == UINT64_MAX; /* what was seen cannot matter any more, or is known */
    LW_TRY(lw_history_open(evaluation, key, UINT64_MAX, history));
    while (history->valid) {
        bool newest_known = account->newest != 0 || history->timestamp <= since;
        const lw_data_record *record = &history->record;
        if (newest_known && !settled) {
            settled = account->newest != 0 || lw_history_is_version(record->kind);
            account->expires = account->newest == 0 ? record->expires : 0;
            account->expiring_start = record->start;
        }
        if (history->timestamp < start && newest_known && settled) {
            break;
        }
        if (record->start == start && record->kind == LW_RECORD_ROLLBACK) {
            account->rolled_back = true;
        } else if (record->start == start) {
            account->committed = history->timestamp;
        } else if (lw_history_is_version(record->kind) && !newest_known) {
            account->newest = history->timestamp;
            account->newest_start = record->start;
        }
        LW_TRY(lw_history_next(history));
    }
    return LW_OK;
}

/* The account of a key that has no record at or above the start of the transaction. */
LW_YIELDS static lw_status account_of_newest(lw_evaluation *evaluation, lw_bytes key,
                                             uint64_t since, lw_history *history,
                                             lw_account *account) {
    LW_TRY(lw_history_version(evaluation, key, UINT64_MAX, history));
    if (history->valid && history->timestamp > since) {
        account->newest = history->timestamp;
        account->newest_start = history->record.start;
    } else if (history->valid) {
        account->expires = history->record.expires;
        account->expiring_start = history->record.start;
    }
    return LW_OK;
}

lw_status lw_history_account(lw_evaluation *evaluation, lw_bytes key, uint64_t start,
                             uint64_t since, lw_account *account) {
    lw_history history;
    bool untouched = untouched_since(evaluation, key, start);
    *account = (lw_account){0};
    if (untouched) {
        LW_MARK(evaluation->env, "txn.untouched");
    }
    if (untouched && since == UINT64_MAX) {
        return LW_OK;
    }
    lw_status status = untouched ? account_of_newest(evaluation, key, since, &history, account)
                                 : walk_account(evaluation, key, start, since, &history, account);
    lw_history_close(&history);
    return status;
}

lw_status lw_history_known(const lw_evaluation *evaluation, lw_bytes key, uint64_t start) {
    char text[LW_PRINTABLE_SIZE];
    if (start >= evaluation->forgotten || LW_BUG(evaluation->env, "txn.missing_is_rolled_back")) {
        return LW_OK;
    }
    LW_MARK(evaluation->env, "txn.forgotten");
    return lw_fail(LW_TOO_OLD,
                   "nobody knows any more what became of transaction %llu at key \"%s\": it began "
                   "below the safepoint %llu; ask sooner, or start the nodes with a longer "
                   "--retention",
                   (unsigned long long)start, lw_printable(key, text, sizeof(text)),
                   (unsigned long long)evaluation->forgotten);
}

/* ---- obstacles ------------------------------------------------------------------------------ */

lw_status lw_obstacle_lock(lw_evaluation *evaluation, lw_bytes key, const lw_lock_record *lock) {
    char text[LW_PRINTABLE_SIZE];
    evaluation->obstacle = (lw_obstacle){
        .kind = LW_OBSTACLE_LOCK,
        .key = lw_arena_copy(evaluation->arena, key),
        .start = lock->start,
        .primary = lw_arena_copy(evaluation->arena, lock->primary),
        .remaining_ms = lw_lock_remaining_ms(lock, evaluation->now),
    };
    evaluation->obstacle_session = lock->session;
    return lw_fail(LW_CONFLICT, "key \"%s\" is locked by transaction %llu",
                   lw_printable(key, text, sizeof(text)), (unsigned long long)lock->start);
}

lw_status lw_obstacle_newer(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                            uint64_t start) {
    char text[LW_PRINTABLE_SIZE];
    evaluation->obstacle = (lw_obstacle){
        .kind = LW_OBSTACLE_NEWER,
        .key = lw_arena_copy(evaluation->arena, key),
        .start = start,
        .commit_timestamp = timestamp,
    };
    return lw_fail(LW_CONFLICT,
                   "key \"%s\" was changed at %llu by transaction %llu, after it was read: run the "
                   "transaction again",
                   lw_printable(key, text, sizeof(text)), (unsigned long long)timestamp,
                   (unsigned long long)start);
}

lw_status lw_obstacle_expired(lw_evaluation *evaluation, lw_bytes key, uint64_t expires,
                              uint64_t start) {
    char text[LW_PRINTABLE_SIZE];
    evaluation->obstacle = (lw_obstacle){
        .kind = LW_OBSTACLE_NEWER,
        .key = lw_arena_copy(evaluation->arena, key),
        .start = start,
        .commit_timestamp = expires,
    };
    return lw_fail(LW_CONFLICT,
                   "the value of key \"%s\", of transaction %llu, expired at %llu, after it was "
                   "read: run the transaction again",
                   lw_printable(key, text, sizeof(text)), (unsigned long long)start,
                   (unsigned long long)expires);
}

lw_status lw_obstacle_rolled_back(lw_evaluation *evaluation, lw_bytes key, uint64_t start) {
    char text[LW_PRINTABLE_SIZE];
    evaluation->obstacle = (lw_obstacle){
        .kind = LW_OBSTACLE_ROLLED_BACK,
        .key = lw_arena_copy(evaluation->arena, key),
        .start = start,
    };
    return lw_fail(LW_CONFLICT,
                   "transaction %llu was rolled back at key \"%s\": its lock had expired, or its "
                   "session had ended",
                   (unsigned long long)start, lw_printable(key, text, sizeof(text)));
}
