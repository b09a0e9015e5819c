/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of keys, held against sets of the few keys there are: one letter each. */
#include "tests/unit.h"

#include "storage/range.h"

enum { KEYS = 7 }; /* "" and "a".."f": one bit each in a set */

static lw_bytes key_of(uint32_t index) {
    static const char letters[] = "abcdef";
    return index == 0 ? lw_view(NULL, 0) : lw_view(letters + index - 1, 1);
}

/* The list of the ranges of a set: runs of bits. */
static lw_range_list list_of(lw_memory *memory, uint32_t set) {
    lw_range_list list = lw_range_list_in(memory);
    for (uint32_t from = 0, to; from < KEYS; from = to + 1) {
        for (to = from; to < KEYS && (set >> to & 1) != 0; to++) {
        }
        if (to > from) {
            lw_range_list_add(&list, (lw_key_range){.lower = key_of(from),
                                                    .upper = to == KEYS ? key_of(0) : key_of(to)});
        }
    }
    return list;
}

static uint32_t set_of(const lw_key_range *ranges, uint32_t count) {
    uint32_t set = 0;
    for (uint32_t index = 0; index < KEYS; index++) {
        set |= (uint32_t)lw_ranges_have(ranges, count, key_of(index)) << index;
    }
    return set;
}

static void lists_are_sets(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    for (uint32_t a = 0; a < 1 << KEYS; a++) {
        lw_range_list left = list_of(memory, a);
        assert_int_equal(set_of(left.ranges, left.count), a);
        assert_int_equal(lw_ranges_valid(left.ranges, left.count), a != 0);
        for (uint32_t b = 0; b < 1 << KEYS; b++) {
            lw_range_list right = list_of(memory, b), minus = lw_range_list_in(memory),
                          both = lw_range_list_in(memory);
            lw_ranges_subtract(left.ranges, left.count, right.ranges, right.count, &minus);
            assert_int_equal(set_of(minus.ranges, minus.count), a & ~b);
            assert_int_equal(lw_ranges_valid(minus.ranges, minus.count), (a & ~b) != 0);
            bool joined = lw_ranges_join(left.ranges, left.count, right.ranges, right.count, &both);
            assert_int_equal(joined, (a & b) == 0);
            assert_int_equal(joined ? set_of(both.ranges, both.count) : a | b, a | b);
            assert_true(!joined || both.count == 0 || lw_ranges_valid(both.ranges, both.count));
            lw_range_list_reset(&right);
            lw_range_list_reset(&minus);
            lw_range_list_reset(&both);
        }
        lw_range_list_reset(&left);
    }
    lw_memory_close(memory);
}

static void two_ranges_share_what_both_have(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    for (uint32_t a = 1; a < 1 << KEYS; a++) {
        lw_range_list left = list_of(memory, a);
        for (uint32_t b = 1; b < 1 << KEYS; b++) {
            lw_range_list right = list_of(memory, b);
            lw_key_range shared = {.lower = key_of(0)};
            if (left.count == 1 && right.count == 1) {
                bool any = lw_range_cut(left.ranges, right.ranges, &shared);
                assert_int_equal(any ? set_of(&shared, 1) : 0, a & b);
                assert_int_equal(lw_ranges_overlap(left.ranges, right.ranges), (a & b) != 0);
            }
            if (right.count == 1) {
                assert_int_equal(lw_ranges_contain(left.ranges, left.count, right.ranges),
                                 (b & ~a) == 0);
            }
            lw_range_list_reset(&right);
        }
        lw_range_list_reset(&left);
    }
    lw_memory_close(memory);
}

static void what_overlaps_or_touches_is_no_list(void **state) {
    (void)state;
    const lw_key_range bad[][2] = {{{key_of(1), key_of(3)}, {key_of(3), key_of(4)}},
                                   {{key_of(1), key_of(3)}, {key_of(2), key_of(4)}},
                                   {{key_of(1), key_of(0)}, {key_of(2), key_of(4)}},
                                   {{key_of(3), key_of(4)}, {key_of(1), key_of(2)}},
                                   {{key_of(1), key_of(1)}, {key_of(2), key_of(3)}},
                                   {{key_of(2), key_of(1)}, {key_of(3), key_of(4)}}};
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        assert_false(lw_ranges_valid(bad[index], 2));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_sets),
        cmocka_unit_test(two_ranges_share_what_both_have),
        cmocka_unit_test(what_overlaps_or_touches_is_no_list),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
