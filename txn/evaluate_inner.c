/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/evaluate_inner.h"

#include "storage/batch.h"
#include "txn/atomic.h"

void evaluation_put_data(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                         const lw_data_record *record) {
    lw_record_data_key(key, timestamp, &evaluation->key);
    lw_data_record_encode(record, timestamp, &evaluation->record);
    lw_batch_put(&evaluation->batch, lw_buffer_view(&evaluation->key),
                 lw_buffer_view(&evaluation->record));
    if (evaluation->written != NULL && !LW_BUG(evaluation->env, "txn.written_not_marked")) {
        lw_key_marks_raise(evaluation->written, key, timestamp);
    }
}

void evaluation_put_rollback(lw_evaluation *evaluation, lw_bytes key, uint64_t start) {
    if (LW_BUG(evaluation->env, "txn.no_rollback_record")) {
        return;
    }
    evaluation_put_data(evaluation, key, start,
                        &(lw_data_record){.kind = LW_RECORD_ROLLBACK, .start = start});
}

void evaluation_put_lock(lw_evaluation *evaluation, lw_bytes key, const lw_lock_record *lock) {
    lw_record_lock_key(key, &evaluation->key);
    lw_lock_record_encode(lock, &evaluation->record);
    lw_batch_put(&evaluation->batch, lw_buffer_view(&evaluation->key),
                 lw_buffer_view(&evaluation->record));
}

void evaluation_take_lock(lw_evaluation *evaluation, lw_bytes key) {
    lw_record_lock_key(key, &evaluation->key);
    lw_batch_delete(&evaluation->batch, lw_buffer_view(&evaluation->key));
    evaluation->locks_taken++;
}

bool evaluation_batch_full(const lw_evaluation *evaluation) {
    return evaluation->batch.size >= LW_EVALUATION_BATCH_SIZE;
}

uint64_t evaluation_expiry(const lw_evaluation *evaluation, uint32_t lifetime_ms) {
    uint64_t lifetime =
        lifetime_ms < LW_LOCK_LIFETIME_MAX_MS ? lifetime_ms : LW_LOCK_LIFETIME_MAX_MS;
    return evaluation->now + lw_timestamp_of_ms(lifetime);
}

static lw_record_kind record_kind(lw_mutation_kind kind) {
    return kind == LW_MUTATION_PUT || kind == LW_MUTATION_STAMP ? LW_RECORD_PUT
           : kind == LW_MUTATION_DELETE                         ? LW_RECORD_DELETE
                                                                : LW_RECORD_MARK;
}

void evaluation_put_committed(lw_evaluation *evaluation, const lw_mutation *mutation,
                              uint64_t start, uint64_t commit_timestamp) {
    lw_buffer stamped = lw_buffer_in(evaluation->env->memory);
    lw_data_record record = {.kind = record_kind(mutation->kind),
                             .start = start,
                             .expires = mutation->expires,
                             .value = mutation->value};
    if (mutation->kind == LW_MUTATION_STAMP) {
        lw_stamp_apply(mutation->value, commit_timestamp, &stamped);
        record.value = lw_buffer_view(&stamped);
    }
    if (mutation->ttl_ms != 0) {
        record.expires = commit_timestamp + lw_timestamp_of_ms(mutation->ttl_ms);
    }
    evaluation_put_data(evaluation, mutation->key, commit_timestamp, &record);
    lw_buffer_reset(&stamped);
}

lw_status evaluation_taken(uint64_t timestamp, uint64_t owner) {
    return lw_fail(LW_INVALID_ARGUMENT,
                   "timestamp %llu belongs to transaction %llu: each may be used once",
                   (unsigned long long)timestamp, (unsigned long long)owner);
}

lw_status evaluation_place_free(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                                uint64_t start) {
    lw_data_record record;
    lw_status status = lw_history_at(evaluation, key, timestamp, &record);
    if (status == LW_NOT_FOUND || (status == LW_OK && record.start == start) ||
        LW_BUG(evaluation->env, "txn.timestamps_shared")) {
        return LW_OK;
    }
    return status != LW_OK ? status : evaluation_taken(timestamp, record.start);
}
