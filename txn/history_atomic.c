/* SPDX-License-Identifier: Apache-2.0 */
/* Atomic mutations against what their key has: what they come to now, and what they did once. */
#include "txn/atomic.h"
#include "txn/history.h"

/* What the user is told of a key that now has `value` (NULL: none). */
static void tell(lw_evaluation *evaluation, lw_mutation_kind kind, const lw_bytes *value,
                 lw_commit_result *result) {
    uint8_t size[sizeof(uint64_t)];
    lw_bytes told = value != NULL ? *value : (lw_bytes){0};
    if (kind == LW_MUTATION_APPEND) {
        lw_put_u64(size, told.size);
        told = lw_view(size, sizeof(size));
    } else if (kind == LW_MUTATION_STAMP) {
        told = (lw_bytes){0};
    }
    result->found = value != NULL;
    result->value = lw_arena_copy(evaluation->arena, told);
}

/* What builds on a value that expires does so with it; what replaces it does not. */
static bool builds_on(lw_mutation_kind kind) {
    return kind != LW_MUTATION_SWAP && kind != LW_MUTATION_STAMP;
}

/* `version` is what it works on; NULL: there is no value. */
static lw_status become(lw_evaluation *evaluation, const lw_mutation *mutation,
                        const lw_data_record *version, lw_mutation *becomes,
                        lw_commit_result *result) {
    const lw_bytes *base = version != NULL ? &version->value : NULL;
    lw_buffer scratch = lw_buffer_in(evaluation->env->memory);
    lw_status status =
        lw_atomic_apply(mutation->kind, mutation->key, base, mutation->value, &scratch, becomes);
    if (status == LW_OK) {
        bool stays = becomes->kind == LW_MUTATION_LOCK, gone = becomes->kind == LW_MUTATION_DELETE;
        becomes->value = lw_arena_copy(evaluation->arena, becomes->value);
        becomes->expires = version != NULL && builds_on(mutation->kind) ? version->expires : 0;
        result->applied = !stays;
        tell(evaluation, mutation->kind, stays ? base : gone ? NULL : &becomes->value, result);
    }
    lw_buffer_reset(&scratch);
    return status;
}

lw_status lw_history_become(lw_evaluation *evaluation, const lw_mutation *mutation,
                            uint64_t earliest, lw_mutation *becomes, lw_commit_result *result) {
    lw_history history;
    lw_status status = lw_history_version(evaluation, mutation->key, UINT64_MAX, &history);
    if (status == LW_OK) {
        const lw_data_record *record = &history.record;
        bool found = history.valid && lw_history_gives(evaluation, record, earliest);
        if (found && record->expires != 0 && record->expires < evaluation->valid_until) {
            evaluation->valid_until = record->expires;
        }
        status = become(evaluation, mutation, found ? record : NULL, becomes, result);
    }
    lw_history_close(&history);
    return status;
}

lw_status lw_history_become_own(lw_evaluation *evaluation, const lw_mutation *mutation,
                                const lw_lock_record *lock, lw_mutation *becomes) {
    char text[LW_PRINTABLE_SIZE];
    if (lock->kind == LW_MUTATION_STAMP) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the value of key \"%s\" is not known before the commit that stamps it",
                       lw_printable(mutation->key, text, sizeof(text)));
    }
    lw_commit_result result;
    lw_data_record base = {.kind = LW_RECORD_PUT,
                           .start = lock->start,
                           .expires = lock->put_expires,
                           .value = lock->value};
    LW_TRY(become(evaluation, mutation, lock->kind == LW_MUTATION_PUT ? &base : NULL, becomes,
                  &result));
    becomes->ttl_ms =
        becomes->kind == LW_MUTATION_PUT && builds_on(mutation->kind) ? lock->ttl_ms : 0;
    return LW_OK;
}

lw_status lw_history_became(lw_evaluation *evaluation, const lw_mutation *mutation, uint64_t start,
                            uint64_t committed, lw_commit_result *result) {
    lw_history history;
    lw_status status = lw_history_version(evaluation, mutation->key, committed, &history);
    if (status == LW_OK) {
        bool found = history.valid && lw_data_record_gives(&history.record, committed);
        result->applied = history.valid && history.record.start == start;
        tell(evaluation, mutation->kind, found ? &history.record.value : NULL, result);
    }
    lw_history_close(&history);
    return status;
}
