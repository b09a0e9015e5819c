/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/retention.h"

#include "txn/record.h"

/* Bytes that a record without a value of its own may take: its kind and its lead. */
enum { BARE_RECORD_SIZE_MAX = 1 + LW_VARINT_SIZE_MAX };

/* What kind of record stands there, and until when it gives a value; a kind of 0 if that cannot be
 * told. One whose value lies elsewhere has a long value that never expires (must_see), so it is a
 * PUT (K2). */
static lw_data_record record_of(lw_bytes key, uint64_t timestamp, lw_bytes value,
                                size_t value_size) {
    lw_data_record record = {.kind = (lw_record_kind)0};
    if (value.size == value_size) {
        lw_status status = lw_data_record_decode(key, timestamp, value, &record);
        return status == LW_OK ? record : (lw_data_record){.kind = (lw_record_kind)0};
    }
    record.kind = value_size > BARE_RECORD_SIZE_MAX ? LW_RECORD_PUT : (lw_record_kind)0;
    return record;
}

/* The safepoint from which a version says only that there is nothing. */
static uint64_t empty_from(lw_env *env, const lw_data_record *record, uint64_t timestamp) {
    if (record->kind == LW_RECORD_DELETE) {
        return timestamp;
    }
    bool early = record->expires < timestamp || LW_BUG(env, "txn.expiring_dropped_early");
    return record->expires == 0 ? UINT64_MAX : early ? timestamp : record->expires;
}

/* `*newer` is the timestamp of the version before, which is the next newer one; 0: none. */
static lw_needless judge_record(lw_env *env, const lw_data_record *record, uint64_t timestamp,
                                uint64_t *newer) {
    lw_needless needless = LW_NEEDED;
    uint64_t empty;
    switch (record->kind) {
    case LW_RECORD_PUT:
    case LW_RECORD_DELETE:
        empty = empty_from(env, record, timestamp);
        needless.from = *newer != 0 ? *newer : UINT64_MAX;
        needless.at_bottom_from = empty < needless.from ? empty : needless.from;
        *newer = timestamp;
        break;
    case LW_RECORD_ROLLBACK:
        /* At the safepoint itself it stays: its transaction may still ask (2). */
        if (timestamp < UINT64_MAX) {
            needless.from = timestamp + !LW_BUG(env, "txn.rollback_dropped_early");
        }
        break;
    case LW_RECORD_MARK:
        needless.from = timestamp;
        break;
    }
    return needless;
}

static lw_needless judge(void *argument, lw_bytes key, lw_bytes value, size_t value_size,
                         uint64_t *newer) {
    lw_bytes prefix;
    uint64_t timestamp;
    if (!lw_record_is_data(key) || lw_record_data_key_split(key, &prefix, &timestamp) != LW_OK) {
        return LW_NEEDED;
    }
    lw_data_record record = record_of(key, timestamp, value, value_size);
    return judge_record(argument, &record, timestamp, newer);
}

static bool must_see(lw_bytes key, lw_bytes value) {
    return lw_record_is_data(key) && lw_data_record_expiring(value);
}

lw_retention lw_record_retention(lw_env *env) {
    return (lw_retention){.judge = judge, .must_see = must_see, .argument = env};
}
