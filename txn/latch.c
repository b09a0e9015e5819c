/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/latch.h"

#include "base/hash.h"

/* ---- keys that meet ------------------------------------------------------------------------- */

/* A set of keys as 64 bits: sets that share none of them share no key. */
static uint64_t signature_of(const lw_bytes *keys, uint32_t key_count) {
    uint64_t signature = 0;
    for (uint32_t index = 0; index < key_count; index++) {
        signature |= UINT64_C(1) << (lw_hash(0, keys[index]) & 63);
    }
    return signature;
}

/* The first of the ascending keys that is not below `key`, or key_count. */
static uint32_t lower_bound(const lw_bytes *keys, uint32_t key_count, lw_bytes key) {
    uint32_t low = 0, high = key_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lw_compare(keys[middle], key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool holds_key(const lw_bytes *keys, uint32_t key_count, lw_bytes key) {
    uint32_t at = lower_bound(keys, key_count, key);
    return at < key_count && lw_equal(keys[at], key);
}

static bool holds_key_in(const lw_bytes *keys, uint32_t key_count, lw_latch_range range) {
    uint32_t at = lower_bound(keys, key_count, range.lower);
    return at < key_count && (range.upper.size == 0 || lw_compare(keys[at], range.upper) < 0);
}

static bool holds_key_in_any(const lw_bytes *keys, uint32_t key_count, const lw_latch_range *ranges,
                             uint32_t range_count) {
    for (uint32_t index = 0; index < range_count; index++) {
        if (holds_key_in(keys, key_count, ranges[index])) {
            return true;
        }
    }
    return false;
}

static bool ranges_overlap(const lw_latch_range *a, const lw_latch_range *b) {
    lw_bytes lower = lw_compare(a->lower, b->lower) < 0 ? b->lower : a->lower;
    return (a->upper.size == 0 || lw_compare(lower, a->upper) < 0) &&
           (b->upper.size == 0 || lw_compare(lower, b->upper) < 0);
}

static bool any_overlap(const lw_latch_range *ranges, uint32_t range_count,
                        const lw_latch_range *others, uint32_t other_count) {
    for (uint32_t index = 0; index < range_count; index++) {
        for (uint32_t other = 0; other < other_count; other++) {
            if (ranges_overlap(&ranges[index], &others[other])) {
                return true;
            }
        }
    }
    return false;
}

/* Each key of the smaller set is looked up in the larger. */
static bool sets_meet(const lw_bytes *keys, uint32_t key_count, const lw_bytes *others,
                      uint32_t other_count) {
    bool fewer = key_count <= other_count;
    const lw_bytes *small = fewer ? keys : others, *large = fewer ? others : keys;
    uint32_t small_count = fewer ? key_count : other_count;
    uint32_t large_count = fewer ? other_count : key_count;
    for (uint32_t index = 0; index < small_count; index++) {
        if (holds_key(large, large_count, small[index])) {
            return true;
        }
    }
    return false;
}

/* Whether `writer` writes what `other` validates. */
static bool writes_what_is_shared(const lw_latch *writer, const lw_latch *other) {
    if ((writer->exclusive_signature & other->shared_signature) == 0) {
        return false;
    }
    return holds_key_in_any(writer->exclusive, writer->exclusive_count, other->ranges,
                            other->range_count) ||
           holds_key_in_any(other->shared, other->shared_count, writer->exclusive_ranges,
                            writer->exclusive_range_count) ||
           any_overlap(writer->exclusive_ranges, writer->exclusive_range_count, other->ranges,
                       other->range_count) ||
           sets_meet(writer->exclusive, writer->exclusive_count, other->shared,
                     other->shared_count);
}

static bool write_the_same(const lw_latch *a, const lw_latch *b) {
    if ((a->exclusive_signature & b->exclusive_signature) == 0) {
        return false;
    }
    return holds_key_in_any(a->exclusive, a->exclusive_count, b->exclusive_ranges,
                            b->exclusive_range_count) ||
           holds_key_in_any(b->exclusive, b->exclusive_count, a->exclusive_ranges,
                            a->exclusive_range_count) ||
           any_overlap(a->exclusive_ranges, a->exclusive_range_count, b->exclusive_ranges,
                       b->exclusive_range_count) ||
           sets_meet(a->exclusive, a->exclusive_count, b->exclusive, b->exclusive_count);
}

static bool conflict(const lw_latch *a, const lw_latch *b) {
    return write_the_same(a, b) || writes_what_is_shared(a, b) || writes_what_is_shared(b, a);
}

/* ---- slots: a quick no ----------------------------------------------------------------------- */

static size_t slot_of(lw_bytes key) {
    return lw_hash(0, key) % LW_LATCH_SLOTS;
}

static bool is_wide(const lw_latch *latch) {
    return latch->range_count > 0 || latch->exclusive_range_count > 0 ||
           latch->exclusive_count + latch->shared_count > LW_LATCH_WIDE;
}

static bool slots_empty(const uint32_t *slots, const lw_bytes *keys, uint32_t key_count) {
    for (uint32_t index = 0; index < key_count; index++) {
        if (slots[slot_of(keys[index])] != 0) {
            return false;
        }
    }
    return true;
}

/* True only if the latch conflicts with none in the table. */
static bool meets_nobody(const lw_latch_table *table, const lw_latch *latch) {
    return table->wide_count == 0 && !is_wide(latch) &&
           slots_empty(table->slots->exclusive, latch->exclusive, latch->exclusive_count) &&
           slots_empty(table->slots->shared, latch->exclusive, latch->exclusive_count) &&
           slots_empty(table->slots->exclusive, latch->shared, latch->shared_count);
}

static void count_slots(uint32_t *slots, const lw_bytes *keys, uint32_t key_count, bool more) {
    for (uint32_t index = 0; index < key_count; index++) {
        uint32_t *slot = &slots[slot_of(keys[index])];
        LW_ASSERT(more || *slot > 0);
        *slot = more ? *slot + 1 : *slot - 1;
    }
}

static void count_latch(lw_latch_table *table, const lw_latch *latch, bool more) {
    if (is_wide(latch)) {
        table->wide_count = more ? table->wide_count + 1 : table->wide_count - 1;
        return;
    }
    count_slots(table->slots->exclusive, latch->exclusive, latch->exclusive_count, more);
    count_slots(table->slots->shared, latch->shared, latch->shared_count, more);
}

/* ---- asking and giving back ----------------------------------------------------------------- */

static void check_ascending(const lw_bytes *keys, uint32_t key_count) {
    for (uint32_t index = 1; index < key_count; index++) {
        LW_ASSERT(lw_compare(keys[index - 1], keys[index]) <= 0);
    }
}

bool lw_latch_request(lw_latch_table *table, lw_latch *latch) {
    check_ascending(latch->exclusive, latch->exclusive_count);
    check_ascending(latch->shared, latch->shared_count);
    LW_ASSERT(latch->drawn == 0);
    latch->exclusive_signature = latch->exclusive_range_count > 0
                                     ? UINT64_MAX
                                     : signature_of(latch->exclusive, latch->exclusive_count);
    latch->shared_signature =
        latch->range_count > 0 ? UINT64_MAX : signature_of(latch->shared, latch->shared_count);
    latch->blocker_count = 0;
    bool alone = meets_nobody(table, latch);
    for (const lw_latch *each = table->first; each != NULL && !alone; each = each->next) {
        latch->blocker_count += conflict(each, latch);
    }
    latch->previous = table->last;
    latch->next = NULL;
    if (table->last == NULL) {
        table->first = latch;
    } else {
        table->last->next = latch;
    }
    table->last = latch;
    table->count++;
    table->waiting_count += !lw_latch_held(latch);
    count_latch(table, latch, true);
    return lw_latch_held(latch);
}

void lw_latch_release(lw_latch_table *table, lw_latch *latch) {
    LW_ASSERT(table->count > 0);
    table->waiting_count -= !lw_latch_held(latch);
    uint32_t waiting_count = table->waiting_count;
    for (lw_latch *later = latch->next; later != NULL && waiting_count > 0; later = later->next) {
        if (lw_latch_held(later)) {
            continue;
        }
        waiting_count--;
        if (conflict(latch, later)) {
            later->blocker_count--;
            if (lw_latch_held(later)) {
                table->waiting_count--;
                lw_queue_wake_all(&later->granted);
            }
        }
    }
    *(latch->previous == NULL ? &table->first : &latch->previous->next) = latch->next;
    *(latch->next == NULL ? &table->last : &latch->next->previous) = latch->previous;
    table->count--;
    count_latch(table, latch, false);
    LW_ASSERT((table->count == 0) == (table->first == NULL));
    lw_queue_wake_all(&latch->readers);
}

/* ---- readers -------------------------------------------------------------------------------- */

static bool drawn_by(const lw_latch *latch, uint64_t read_timestamp) {
    return latch->drawn != 0 && latch->drawn <= read_timestamp;
}

lw_latch *lw_latch_hinders_keys(const lw_latch_table *table, uint64_t read_timestamp,
                                const lw_bytes *keys, uint32_t key_count) {
    if (table->wide_count == 0 && slots_empty(table->slots->exclusive, keys, key_count)) {
        return NULL;
    }
    uint64_t signature = 0;
    for (lw_latch *latch = table->first; latch != NULL; latch = latch->next) {
        if (!drawn_by(latch, read_timestamp)) {
            continue;
        }
        signature = signature != 0 ? signature : signature_of(keys, key_count);
        if ((signature & latch->exclusive_signature) == 0) {
            continue;
        }
        for (uint32_t index = 0; index < key_count; index++) {
            if (holds_key(latch->exclusive, latch->exclusive_count, keys[index]) ||
                holds_key_in_any(&keys[index], 1, latch->exclusive_ranges,
                                 latch->exclusive_range_count)) {
                return latch;
            }
        }
    }
    return NULL;
}

lw_latch *lw_latch_hinders_range(const lw_latch_table *table, uint64_t read_timestamp,
                                 lw_latch_range range) {
    for (lw_latch *latch = table->first; latch != NULL; latch = latch->next) {
        if (drawn_by(latch, read_timestamp) &&
            (holds_key_in(latch->exclusive, latch->exclusive_count, range) ||
             any_overlap(latch->exclusive_ranges, latch->exclusive_range_count, &range, 1))) {
            return latch;
        }
    }
    return NULL;
}
