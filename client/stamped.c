/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that hold the timestamp of their commit (lw_put_stamped_key). A key must be known before it
 * is prewritten, so the timestamp is drawn first and proposed for an async commit
 * (txn/commit.h). A shard that has served a read above it cannot grant it: then what was prewritten
 * is rolled back, and all is tried again with a newer timestamp and under a new start, since the
 * old one can never commit any more. What was seen travels with every attempt, so no later one
 * commits what the first could not have. */
#include "client/stamped.h"

#include <stdlib.h>

_Static_assert((int)LW_STAMPED_KEY_COUNT_MAX == (int)LW_SECONDARY_COUNT_MAX + 1,
               "a primary and its secondaries");
_Static_assert((int)LW_STAMPED_KEY_BYTES_MAX == (int)LW_SECONDARY_BYTES_MAX,
               "one limit, two names");

/* A write whose key is not known yet; in the transaction's arena. */
struct lw_stamped {
    struct lw_stamped *earlier;
    lw_bytes prefix, suffix, value;
};

/* ---- writing -------------------------------------------------------------------------------- */

static lw_status put_stamped_key(lw_txn *txn, lw_bytes prefix, lw_bytes suffix, lw_bytes value) {
    size_t size = prefix.size + LW_STAMP_SIZE + suffix.size;
    if (size > LW_KEY_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a key of %zu bytes, stamp included, is longer than the limit of %d", size,
                       LW_KEY_SIZE_MAX);
    }
    LW_TRY(lw_txn_check_write(txn, lw_text("stamp"), value));
    struct lw_stamped *made = lw_arena_allocate(&txn->arena, sizeof(*made));
    *made = (struct lw_stamped){.earlier = txn->stamped,
                                .prefix = lw_arena_copy(&txn->arena, prefix),
                                .suffix = lw_arena_copy(&txn->arena, suffix),
                                .value = lw_arena_copy(&txn->arena, value)};
    txn->stamped = made;
    return LW_OK;
}

lw_status lw_put_stamped_key(lw_txn *txn, lw_bytes prefix, lw_bytes suffix, lw_bytes value) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, put_stamped_key(txn, prefix, suffix, value));
}

/* ---- committing ----------------------------------------------------------------------------- */

static void add_key(lw_txn *txn, const struct lw_stamped *one, uint64_t timestamp,
                    lw_buffer *scratch) {
    lw_buffer_clear(scratch);
    lw_buffer_append(scratch, one->prefix);
    for (int shift = 56; shift >= 0; shift -= 8) {
        lw_buffer_append_u8(scratch, (uint8_t)(timestamp >> shift));
    }
    lw_buffer_append(scratch, one->suffix);
    (void)lw_write_set_put(&txn->writes, LW_MUTATION_PUT, lw_buffer_view(scratch), one->value,
                           LW_SEEN_ANYTHING);
}

/* Puts the keys as they are at this timestamp; of equal ones the last that was put stays. */
static void add_keys(lw_txn *txn, uint64_t timestamp) {
    lw_memory *memory = txn->client->env->memory;
    lw_buffer scratch = lw_buffer_in(memory);
    size_t count = 0, index;
    for (const struct lw_stamped *one = txn->stamped; one != NULL; one = one->earlier) {
        count++;
    }
    const struct lw_stamped **all = lw_allocate(memory, count * sizeof(*all));
    index = count;
    for (const struct lw_stamped *one = txn->stamped; one != NULL; one = one->earlier) {
        all[--index] = one;
    }
    for (index = 0; index < count; index++) {
        add_key(txn, all[index], timestamp, &scratch);
    }
    lw_free(memory, all);
    lw_buffer_reset(&scratch);
}

static lw_status check_size(const lw_txn *txn) {
    uint64_t count = 0, bytes = 0;
    for (const struct lw_stamped *one = txn->stamped; one != NULL; one = one->earlier) {
        count++;
        bytes += one->prefix.size + LW_STAMP_SIZE + one->suffix.size;
    }
    for (const lw_write *one = txn->writes.first[0]; one != NULL; one = one->next[0]) {
        count++;
        bytes += one->mutation.key.size;
    }
    if (txn->flushes > 0 || count > LW_STAMPED_KEY_COUNT_MAX || bytes > LW_STAMPED_KEY_BYTES_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a transaction with stamped keys writes %llu keys of %llu bytes together, "
                       "more than the limit of %d keys, or of %d bytes",
                       (unsigned long long)count, (unsigned long long)bytes,
                       LW_STAMPED_KEY_COUNT_MAX, LW_STAMPED_KEY_BYTES_MAX);
    }
    return LW_OK;
}

/* A start, unless the transaction has one, and a timestamp above it. */
LW_YIELDS static lw_status draw(lw_txn *txn, uint64_t *timestamp) {
    bool named = txn->start != 0;
    LW_TRY(lw_client_fresh_timestamp(txn->client, named ? 1 : 2, txn->deadline_ns, timestamp));
    if (!named) {
        txn->start = (*timestamp)++;
    }
    return LW_OK;
}

LW_YIELDS static lw_status attempt(lw_txn *txn, bool *granted) {
    uint64_t timestamp;
    *granted = true;
    LW_TRY(draw(txn, &timestamp));
    size_t mark = lw_write_set_mark(&txn->writes);
    add_keys(txn, timestamp);
    lw_status status = lw_txn_commit_at(txn, timestamp, granted);
    if (!*granted) {
        lw_write_set_return(&txn->writes, mark);
    }
    return status;
}

lw_status lw_txn_commit_stamped(lw_txn *txn) {
    LW_TRY(check_size(txn));
    for (uint32_t attempts = 0;; attempts++) {
        bool granted;
        lw_status status = attempt(txn, &granted);
        if (granted) {
            return status;
        }
        LW_MARK(txn->client->env, "client.stamp_not_granted");
        LW_TRY(lw_txn_release_locks(txn, txn->deadline_ns));
        txn->start = 0;
        if (!lw_client_pause(txn->client, attempts, txn->deadline_ns)) {
            return lw_fail(LW_TIMEOUT,
                           "no timestamp was granted to the stamped keys before the deadline, in "
                           "%u attempts, as others read there meanwhile",
                           attempts + 1);
        }
    }
}
