/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/read_marks.h"

#include "base/hash.h"

static size_t slot_of(lw_bytes key) {
    return lw_hash(0, key) % LW_KEY_MARK_SLOTS;
}

static void raise_to(uint64_t *mark, uint64_t timestamp) {
    *mark = *mark < timestamp ? timestamp : *mark;
}

void lw_key_marks_raise(lw_key_marks *marks, lw_bytes key, uint64_t timestamp) {
    raise_to(&marks->slots[slot_of(key)], timestamp);
}

uint64_t lw_key_marks_of(const lw_key_marks *marks, lw_bytes key) {
    return marks->slots[slot_of(key)];
}

void lw_read_marks_raise(lw_read_marks *marks, lw_bytes key, uint64_t timestamp) {
    lw_key_marks_raise(marks->keys, key, timestamp);
}

void lw_read_marks_raise_all(lw_read_marks *marks, uint64_t timestamp) {
    raise_to(&marks->everywhere, timestamp);
}

/* ---- ranges --------------------------------------------------------------------------------- */

static lw_range_mark mark_of(lw_bytes lower, lw_bytes upper, uint64_t timestamp) {
    lw_range_mark mark = {.timestamp = timestamp, .upper_cut = upper.size > LW_RANGE_MARK_PREFIX};
    mark.lower_size =
        (uint8_t)(lower.size < LW_RANGE_MARK_PREFIX ? lower.size : LW_RANGE_MARK_PREFIX);
    mark.upper_size = (uint8_t)(mark.upper_cut ? LW_RANGE_MARK_PREFIX : upper.size);
    if (mark.lower_size > 0) {
        memcpy(mark.lower, lower.data, mark.lower_size);
    }
    if (mark.upper_size > 0) {
        memcpy(mark.upper, upper.data, mark.upper_size);
    }
    return mark;
}

static lw_bytes lower_of(const lw_range_mark *mark) {
    return lw_view(mark->lower, mark->lower_size);
}
static lw_bytes upper_of(const lw_range_mark *mark) {
    return lw_view(mark->upper, mark->upper_size);
}

static bool same_range(const lw_range_mark *a, const lw_range_mark *b) {
    return a->upper_cut == b->upper_cut && lw_equal(lower_of(a), lower_of(b)) &&
           lw_equal(upper_of(a), upper_of(b));
}

static bool holds(const lw_range_mark *mark, lw_bytes key) {
    if (lw_compare(key, lower_of(mark)) < 0) {
        return false;
    }
    return mark->upper_size == 0 || lw_compare(key, upper_of(mark)) < 0 ||
           (mark->upper_cut && lw_starts_with(key, upper_of(mark)));
}

void lw_read_marks_raise_range(lw_read_marks *marks, lw_bytes lower, lw_bytes upper,
                               uint64_t timestamp) {
    bool empty = upper.size > 0 && lw_compare(lower, upper) >= 0;
    if (empty || timestamp <= marks->everywhere) {
        return;
    }
    lw_range_mark raised = mark_of(lower, upper, timestamp);
    lw_range_mark *oldest = &marks->ranges[0];
    for (size_t index = 0; index < LW_RANGE_MARK_COUNT; index++) {
        lw_range_mark *each = &marks->ranges[index];
        if (each->timestamp != 0 && same_range(each, &raised)) {
            raise_to(&each->timestamp, timestamp);
            return;
        }
        oldest = each->timestamp < oldest->timestamp ? each : oldest;
    }
    if (timestamp <= oldest->timestamp) {
        raise_to(&marks->everywhere, timestamp);
        return;
    }
    raise_to(&marks->everywhere, oldest->timestamp);
    *oldest = raised;
}

/* ---- asking --------------------------------------------------------------------------------- */

uint64_t lw_read_marks_of(const lw_read_marks *marks, lw_bytes key) {
    uint64_t mark = marks->everywhere;
    raise_to(&mark, lw_key_marks_of(marks->keys, key));
    for (size_t index = 0; index < LW_RANGE_MARK_COUNT; index++) {
        const lw_range_mark *each = &marks->ranges[index];
        if (each->timestamp > mark && holds(each, key)) {
            mark = each->timestamp;
        }
    }
    return mark;
}
