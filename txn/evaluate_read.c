/* SPDX-License-Identifier: Apache-2.0 */
/* Reads of single keys, at one timestamp. */
#include "txn/evaluate_inner.h"

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

/* ---- single keys ---------------------------------------------------------------------------- */

bool evaluation_afford(size_t *room, size_t size) {
    if (size > *room) {
        return false;
    }
    *room -= size;
    return true;
}

bool evaluation_hinders(const lw_evaluation *evaluation, const lw_lock_record *lock, uint64_t start,
                        uint64_t read_timestamp) {
    uint64_t floor = lock->floor;
    if (LW_BUG(evaluation->env, "txn.read_ignores_locks")) {
        return false;
    }
    if (lock->commit_timestamp != 0 && LW_BUG(evaluation->env, "txn.floor_lost")) {
        floor = evaluation->given;
    }
    return lock->start != start && lock->start <= read_timestamp && floor < read_timestamp &&
           lock->kind != LW_MUTATION_LOCK;
}

lw_status evaluation_own_intent(const lw_lock_record *lock, lw_bytes key, bool *found) {
    *found = lock->kind == LW_MUTATION_PUT;
    if (lock->kind == LW_MUTATION_STAMP) {
        char text[LW_PRINTABLE_SIZE];
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the value of key \"%s\" is not known before the commit that stamps it",
                       lw_printable(key, text, sizeof(text)));
    }
    return LW_OK;
}

lw_status evaluation_not_rolled_back(lw_evaluation *evaluation, lw_bytes key, uint64_t start) {
    lw_data_record record;
    if (start == 0) {
        return LW_OK;
    }
    lw_status status = lw_history_at(evaluation, key, start, &record);
    if (status == LW_OK && record.kind == LW_RECORD_ROLLBACK &&
        !LW_BUG(evaluation->env, "txn.own_rollback_unseen")) {
        LW_MARK(evaluation->env, "txn.reads_after_rollback");
        return lw_obstacle_rolled_back(evaluation, key, start);
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* One answer being filled. */
typedef struct key_reading {
    lw_evaluation *evaluation;
    const lw_bytes *keys;
    uint32_t key_count;
    uint64_t read_timestamp, start;
    bool *own; /* which keys have an intent of the reader's own; NULL: none */
    size_t room;
} key_reading;

/* Puts the value in, unless it does not fit any more. */
static bool take_value(key_reading *reading, uint64_t commit_timestamp, lw_bytes bytes,
                       lw_get_value *value) {
    if (!evaluation_afford(&reading->room, bytes.size)) {
        return false;
    }
    *value = (lw_get_value){.found = true,
                            .commit_timestamp = commit_timestamp,
                            .value = lw_arena_copy(reading->evaluation->arena, bytes)};
    return true;
}

LW_YIELDS static lw_status read_version(key_reading *reading, lw_bytes key, lw_history *history,
                                        bool *afforded, lw_get_value *value) {
    lw_evaluation *evaluation = reading->evaluation;
    LW_TRY(lw_history_version(evaluation, key, reading->read_timestamp, history));
    if (history->valid && lw_history_gives(evaluation, &history->record, reading->read_timestamp)) {
        *afforded = take_value(reading, history->timestamp, history->record.value, value);
    }
    return LW_OK;
}

/* The lock is there: it was found in the same snapshot before. */
LW_YIELDS static lw_status read_own(key_reading *reading, lw_bytes key, bool *afforded,
                                    lw_get_value *value) {
    lw_lock_record lock;
    bool found;
    LW_TRY(lw_history_lock(reading->evaluation, key, &lock));
    LW_TRY(evaluation_own_intent(&lock, key, &found));
    if (found) {
        *afforded = take_value(reading, 0, lock.value, value);
    }
    return LW_OK;
}

/* Reads values in the order of the keys, until one does not fit the answer any more. */
LW_YIELDS static lw_status read_values(key_reading *reading, const lw_get_value **answer,
                                       uint32_t *value_count) {
    lw_get_value *values =
        lw_arena_allocate(reading->evaluation->arena, reading->key_count * sizeof(*values));
    uint32_t count = 0;
    bool afforded = true;
    reading->room = LW_EVALUATION_REPLY_SIZE_MAX;
    while (count < reading->key_count && afforded) {
        lw_bytes key = reading->keys[count];
        values[count] = (lw_get_value){0};
        if (reading->own != NULL && reading->own[count]) {
            LW_TRY(read_own(reading, key, &afforded, &values[count]));
        } else {
            lw_history history;
            lw_status status = read_version(reading, key, &history, &afforded, &values[count]);
            lw_history_close(&history);
            LW_TRY(status);
        }
        count += afforded;
    }
    LW_ASSERT(count > 0);
    *answer = values;
    *value_count = count;
    return LW_OK;
}

static void note_own(key_reading *reading, uint32_t index) {
    if (reading->own == NULL) {
        reading->own = lw_arena_allocate(reading->evaluation->arena, reading->key_count);
        memset(reading->own, 0, reading->key_count);
    }
    reading->own[index] = true;
}

/* Looks at the locks: those of others may be in the way, with `any` whatever they may become. */
LW_YIELDS static lw_status meet_locks(key_reading *reading, bool any) {
    lw_evaluation *evaluation = reading->evaluation;
    for (uint32_t index = 0; index < reading->key_count && !evaluation->unlocked; index++) {
        lw_lock_record lock;
        lw_status status = lw_history_lock(evaluation, reading->keys[index], &lock);
        if (status == LW_NOT_FOUND) {
            continue;
        }
        LW_TRY(status);
        if (lock.start == reading->start && lock.kind != LW_MUTATION_LOCK) {
            note_own(reading, index);
        } else if (lock.start != reading->start &&
                   (any || evaluation_hinders(evaluation, &lock, reading->start,
                                              reading->read_timestamp))) {
            return lw_obstacle_lock(evaluation, reading->keys[index], &lock);
        }
    }
    return LW_OK;
}

/* E7, of the keys that have no intent of the reader's own. */
LW_YIELDS static lw_status meet_rollbacks(const key_reading *reading) {
    for (uint32_t index = 0; index < reading->key_count; index++) {
        if (reading->own == NULL || !reading->own[index]) {
            LW_TRY(evaluation_not_rolled_back(reading->evaluation, reading->keys[index],
                                              reading->start));
        }
    }
    return LW_OK;
}

static void raise_marks(const lw_evaluation *evaluation, const lw_bytes *keys, uint32_t key_count,
                        uint64_t timestamp) {
    for (uint32_t index = 0; index < key_count; index++) {
        lw_read_marks_raise(evaluation->marks, keys[index], timestamp);
    }
}

lw_status lw_evaluate_get(lw_evaluation *evaluation, const lw_get_request *request,
                          lw_get_reply *reply) {
    LW_ASSERT(request->read_timestamp != 0);
    raise_marks(evaluation, request->keys, request->key_count, request->read_timestamp);
    key_reading reading = {.evaluation = evaluation,
                           .keys = request->keys,
                           .key_count = request->key_count,
                           .read_timestamp = request->read_timestamp,
                           .start = request->start};
    LW_TRY(meet_locks(&reading, false));
    LW_TRY(meet_rollbacks(&reading));
    *reply = (lw_get_reply){.read_timestamp = request->read_timestamp};
    return read_values(&reading, &reply->values, &reply->value_count);
}

lw_status lw_evaluate_lock(lw_evaluation *evaluation, const lw_lock_request *request,
                           lw_lock_reply *reply) {
    LW_ASSERT(reply->for_update != 0);
    raise_marks(evaluation, request->keys, request->key_count, reply->for_update);
    key_reading reading = {.evaluation = evaluation,
                           .keys = request->keys,
                           .key_count = request->key_count,
                           .read_timestamp = reply->for_update,
                           .start = reply->start};
    LW_TRY(meet_locks(&reading, true));
    LW_TRY(meet_rollbacks(&reading));
    return request->read ? read_values(&reading, &reply->values, &reply->value_count) : LW_OK;
}
