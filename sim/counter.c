/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/counter.h"

#include <inttypes.h>
#include <stdlib.h>

static lw_bytes key_of(const lw_counter *counter) {
    return lw_text(counter->by_run ? "counter by run" : "counter");
}

typedef struct addition {
    lw_bytes key;
    int64_t now; /* what the last attempt made it */
} addition;

/* Reads and puts it. Is run again after a conflict. */
LW_YIELDS static lw_status add_body(lw_txn *txn, void *argument) {
    addition *made = argument;
    lw_bytes value;
    uint8_t number[sizeof(uint64_t)];
    lw_status status = lw_get(txn, made->key, &value);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    LW_ASSERT(status == LW_NOT_FOUND || value.size == sizeof(number));
    made->now = (status == LW_OK ? (int64_t)lw_get_u64(value.data) : 0) + 1;
    lw_put_u64(number, (uint64_t)made->now);
    return lw_put(txn, made->key, lw_view(number, sizeof(number)));
}

LW_YIELDS static lw_status add_one(const lw_counter *counter, lw_client *client, int64_t *now) {
    if (!counter->by_run) {
        return lw_add_now(client, key_of(counter), 1, now);
    }
    addition made = {.key = key_of(counter)};
    lw_status status = lw_run(client, NULL, add_body, &made);
    *now = made.now;
    return status;
}

lw_status lw_counter_add(lw_counter *counter, lw_client *client, lw_buffer *violations) {
    uint64_t floor = counter->highest;
    int64_t now = 0;
    counter->begun++;
    lw_status status = add_one(counter, client, &now);
    if (status != LW_OK) {
        counter->refused += status != LW_UNDETERMINED;
        return status;
    }
    uint64_t number = (uint64_t)now;
    if (number <= floor) {
        lw_buffer_print(violations,
                        "counter: an addition made it %" PRIu64 ", and %" PRIu64
                        " was told before it began\n",
                        number, floor);
    }
    counter->highest = number > counter->highest ? number : counter->highest;
    lw_buffer_append_u64(&counter->told, number);
    return LW_OK;
}

static int by_number(const void *a, const void *b) {
    uint64_t first = lw_get_u64(a), second = lw_get_u64(b);
    return (first > second) - (first < second);
}

static void judge(lw_counter *counter, uint64_t number, lw_buffer *violations) {
    uint64_t count = counter->told.size / sizeof(uint64_t);
    if (number < count || number > counter->begun - counter->refused || number < counter->highest) {
        lw_buffer_print(violations,
                        "counter: it is %" PRIu64 " after %" PRIu64 " additions, %" PRIu64
                        " of them acknowledged, %" PRIu64 " refused; %" PRIu64 " was told\n",
                        number, counter->begun, count, counter->refused, counter->highest);
    }
    if (count > 0) {
        qsort(counter->told.data, count, sizeof(uint64_t), by_number);
    }
    for (uint64_t index = 1; index < count; index++) {
        const uint8_t *at = counter->told.data + index * sizeof(uint64_t);
        if (lw_get_u64(at) == lw_get_u64(at - sizeof(uint64_t))) {
            lw_buffer_print(violations, "counter: two additions made it %" PRIu64 "\n",
                            lw_get_u64(at));
        }
    }
}

lw_status lw_counter_final(lw_counter *counter, lw_client *client, lw_buffer *violations) {
    int64_t now = 0;
    LW_TRY(lw_add_now(client, key_of(counter), 0, &now));
    judge(counter, (uint64_t)now, violations);
    return LW_OK;
}
