/* SPDX-License-Identifier: Apache-2.0 */
/* Read marks: what was read is never forgotten, and seldom more than that is believed. */
#include "tests/unit.h"
#include "txn/read_marks.h"

static lw_key_marks keys;
static lw_read_marks marks;

static int setup(void **state) {
    (void)state;
    memset(&keys, 0, sizeof(keys));
    marks = (lw_read_marks){.keys = &keys};
    return 0;
}

static uint64_t of(const char *key) {
    return lw_read_marks_of(&marks, lw_text(key));
}

static void a_key_keeps_the_highest_timestamp_it_was_read_at(void **state) {
    (void)state;
    assert_int_equal(of("a"), 0);
    lw_read_marks_raise(&marks, lw_text("a"), 7);
    lw_read_marks_raise(&marks, lw_text("a"), 5);
    assert_int_equal(of("a"), 7);
    assert_int_equal(of("b"), 0);
}

static void shards_share_the_keys_and_not_the_ranges(void **state) {
    (void)state;
    lw_read_marks other = {.keys = &keys};
    lw_read_marks_raise(&marks, lw_text("a"), 7);
    lw_read_marks_raise_range(&marks, lw_text("b"), lw_text("c"), 8);
    lw_read_marks_raise_all(&marks, 3);
    assert_int_equal(lw_read_marks_of(&other, lw_text("a")), 7);
    assert_int_equal(lw_read_marks_of(&other, lw_text("b")), 0);
    assert_int_equal(of("z"), 3);
}

static void a_range_marks_its_keys_and_no_others(void **state) {
    (void)state;
    lw_read_marks_raise_range(&marks, lw_text("b"), lw_text("d"), 7);
    assert_int_equal(of("a"), 0);
    assert_int_equal(of("b"), 7);
    assert_int_equal(of("czzz"), 7);
    assert_int_equal(of("d"), 0);
    lw_read_marks_raise_range(&marks, lw_text("e"), lw_view(NULL, 0), 8);
    assert_int_equal(of("d"), 0);
    assert_int_equal(of("zz"), 8);
    lw_read_marks_raise_range(&marks, lw_text("d"), lw_text("c"), 9);
    assert_int_equal(of("d"), 0); /* an empty one */
}

static void long_bounds_are_taken_for_a_little_more(void **state) {
    (void)state;
    char lower[LW_RANGE_MARK_PREFIX + 3], upper[LW_RANGE_MARK_PREFIX + 3];
    memset(lower, 'x', sizeof(lower));
    memset(upper, 'y', sizeof(upper));
    lower[sizeof(lower) - 1] = upper[sizeof(upper) - 1] = 0;
    lw_read_marks_raise_range(&marks, lw_text(lower), lw_text(upper), 7);
    assert_int_equal(of(lower), 7);
    assert_int_equal(of("xy"), 7);
    upper[sizeof(upper) - 2] = 'a';
    assert_int_equal(of(upper), 7);
    upper[sizeof(upper) - 2] = 'z'; /* above it, with the same beginning */
    assert_int_equal(of(upper), 7);
    assert_int_equal(of("yz"), 0);
    assert_int_equal(of("xa"), 0);
    memset(upper, 'w', LW_RANGE_MARK_PREFIX);
    lw_read_marks_raise_range(&marks, lw_text("v"), lw_view(upper, LW_RANGE_MARK_PREFIX), 8);
    assert_int_equal(of(upper), 0);
    lw_read_marks_raise_range(&marks, lw_text("v"), lw_text(upper), 9); /* a little longer */
    assert_int_equal(lw_read_marks_of(&marks, lw_view(upper, LW_RANGE_MARK_PREFIX)), 9);
}

static void the_ranges_read_last_are_known_exactly(void **state) {
    (void)state;
    char lower[2] = "a", upper[2] = "b";
    for (uint64_t timestamp = 1; timestamp <= LW_RANGE_MARK_COUNT + 2; timestamp++) {
        lw_read_marks_raise_range(&marks, lw_text(lower), lw_text(upper), timestamp);
        lower[0]++;
        upper[0]++;
    }
    assert_int_equal(of("a"), 2); /* two are forgotten, and mark everything */
    assert_int_equal(of("zz"), 2);
    assert_int_equal(of("c"), 3);
    lw_read_marks_raise_range(&marks, lw_text("0"), lw_text("1"), 3); /* older than all of them */
    assert_int_equal(of("0"), 3);
    assert_int_equal(of("d"), 4);
}

static void the_same_range_again_takes_no_room(void **state) {
    (void)state;
    lw_read_marks_raise_range(&marks, lw_text("a"), lw_text("b"), 1);
    for (uint64_t timestamp = 2; timestamp < 1000; timestamp++) {
        lw_read_marks_raise_range(&marks, lw_text("c"), lw_text("d"), timestamp);
    }
    assert_int_equal(of("a"), 1);
    assert_int_equal(of("c"), 999);
    assert_int_equal(of("e"), 0);
}

/* ---- against a list of everything that was read (M1, M2) ------------------------------------ */

enum { READS = 400, ROUNDS = 200, KEY_BYTES = 40 };

typedef struct past_read {
    uint8_t lower[KEY_BYTES], upper[KEY_BYTES];
    lw_bytes low, high;
    bool key;
    uint64_t timestamp;
} past_read;

/* Few letters, so that keys meet, and often a long beginning in common. */
static lw_bytes random_key(uint64_t *random, uint8_t bytes[KEY_BYTES]) {
    size_t size = unit_random_below(random, 4);
    if (unit_random_below(random, 3) == 0) {
        size = LW_RANGE_MARK_PREFIX - 1 + unit_random_below(random, 4);
        memset(bytes, 'm', size);
    }
    for (size_t index = size > 3 ? size - 3 : 0; index < size; index++) {
        bytes[index] = (uint8_t)('k' + unit_random_below(random, 5));
    }
    return lw_view(bytes, size);
}

static uint64_t truth(const past_read *reads, size_t read_count, lw_bytes key) {
    uint64_t highest = 0;
    for (size_t index = 0; index < read_count; index++) {
        const past_read *each = &reads[index];
        bool in = each->key ? lw_equal(each->low, key)
                            : lw_compare(each->low, key) <= 0 &&
                                  (each->high.size == 0 || lw_compare(key, each->high) < 0);
        highest = in && each->timestamp > highest ? each->timestamp : highest;
    }
    return highest;
}

static void no_read_is_ever_forgotten(void **state) {
    (void)state;
    static past_read reads[READS];
    uint64_t random = 1;
    for (size_t round = 0; round < ROUNDS; round++) {
        uint64_t highest = 0;
        setup(NULL);
        for (size_t count = 0; count < READS; count++) {
            past_read *read = &reads[count];
            read->low = random_key(&random, read->lower);
            read->high = random_key(&random, read->upper);
            read->timestamp = count / 2 + unit_random_below(&random, 20);
            read->key = read->low.size > 0 && unit_random_below(&random, 2) == 0;
            highest = read->timestamp > highest ? read->timestamp : highest;
            if (read->key) {
                lw_read_marks_raise(&marks, read->low, read->timestamp);
            } else {
                lw_read_marks_raise_range(&marks, read->low, read->high, read->timestamp);
            }
            uint8_t bytes[KEY_BYTES];
            lw_bytes key = random_key(&random, bytes);
            uint64_t mark = lw_read_marks_of(&marks, key);
            assert_true(mark >= truth(reads, count + 1, key));
            assert_true(mark <= highest);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_key_keeps_the_highest_timestamp_it_was_read_at, setup),
        cmocka_unit_test_setup(shards_share_the_keys_and_not_the_ranges, setup),
        cmocka_unit_test_setup(a_range_marks_its_keys_and_no_others, setup),
        cmocka_unit_test_setup(long_bounds_are_taken_for_a_little_more, setup),
        cmocka_unit_test_setup(the_ranges_read_last_are_known_exactly, setup),
        cmocka_unit_test_setup(the_same_range_again_takes_no_room, setup),
        cmocka_unit_test_setup(no_read_is_ever_forgotten, setup),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
