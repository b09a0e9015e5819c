/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting many records at once, mostly by numbers that were taken from their keys. */
#include "storage/heads.h"
#include "storage/memtable_record.h"

#include <stdlib.h>

static int order_deferred(const void *left, const void *right) {
    const lw_headed *a = left, *b = right;
    int order = record_compare(a->of, target_of(b->of), 0);
    return order != 0 ? order : (a->number > b->number) - (a->number < b->number);
}

/* Up to eight bytes of a key behind so many, which it need not have. */
static uint64_t head_or_none(lw_bytes key, size_t before) {
    return key.size > before ? lw_head_of(key, before) : 0;
}

size_t memtable_sort_deferred(lw_memory *memory, lw_headed *deferred, uint32_t count) {
    enum { FEW = 128 }; /* below which counting bytes takes longer */
    lw_bytes shared = record_key(deferred[0].of);
    if (count < FEW) {
        qsort(deferred, count, sizeof(*deferred), order_deferred);
        return MEMTABLE_NOT_KNOWN;
    }
    for (uint32_t index = 1; index < count; index++) {
        shared.size = lw_common_prefix(shared, record_key(deferred[index].of));
    }
    for (uint32_t index = 0; index < count; index++) {
        lw_bytes key = record_key(deferred[index].of);
        deferred[index].head = lw_head_of(key, shared.size);
        deferred[index].next = head_or_none(key, shared.size + sizeof(uint64_t));
    }
    lw_headed_sort(memory, deferred, count);
    for (uint32_t from = 0, until; from < count; from = until) {
        for (until = from + 1; until < count && deferred[until].head == deferred[from].head;) {
            until++;
        }
        if (until - from > 1) {
            qsort(deferred + from, until - from, sizeof(*deferred), order_deferred);
        }
    }
    return shared.size;
}
