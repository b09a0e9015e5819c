/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/counter.h"

#include <inttypes.h>
#include <stdlib.h>

static const char counter_key[] = "counter";

lw_status lw_counter_add(lw_counter *counter, lw_client *client, lw_buffer *violations) {
    uint64_t floor = counter->highest;
    int64_t now = 0;
    counter->begun++;
    lw_status status = lw_add_now(client, lw_text(counter_key), 1, &now);
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
    LW_TRY(lw_add_now(client, lw_text(counter_key), 0, &now));
    judge(counter, (uint64_t)now, violations);
    return LW_OK;
}
