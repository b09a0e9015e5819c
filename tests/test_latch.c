/* SPDX-License-Identifier: Apache-2.0 */
/* Latches: who waits for whom, and that nobody waits for ever. */
#include "txn/latch.h"

#include "tests/unit.h"

static const lw_bytes a = {(const uint8_t *)"a", 1}, b = {(const uint8_t *)"b", 1},
                      c = {(const uint8_t *)"c", 1}, d = {(const uint8_t *)"d", 1};

static lw_latch_table empty_table(void) {
    static lw_latch_slots slots;
    memset(&slots, 0, sizeof(slots));
    return (lw_latch_table){.slots = &slots};
}

static void writers_of_one_key_take_turns_in_order(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    lw_latch first = {.exclusive = &a, .exclusive_count = 1}, second = first, third = first;
    assert_true(lw_latch_request(&table, &first));
    assert_false(lw_latch_request(&table, &second));
    assert_false(lw_latch_request(&table, &third));
    lw_latch_release(&table, &first);
    assert_true(lw_latch_held(&second));
    assert_false(lw_latch_held(&third));
    lw_latch_release(&table, &second);
    assert_true(lw_latch_held(&third));
    lw_latch_release(&table, &third);
    assert_int_equal(table.count, 0);
}

static void writers_of_different_keys_do_not_wait(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    lw_latch first = {.exclusive = &a, .exclusive_count = 1};
    lw_latch second = {.exclusive = &b, .exclusive_count = 1};
    assert_true(lw_latch_request(&table, &first));
    assert_true(lw_latch_request(&table, &second));
}

static void validators_share_and_writers_wait_for_them(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    const lw_bytes keys[] = {a, c};
    lw_latch first = {.shared = keys, .shared_count = 2}, second = first;
    lw_latch writer = {.exclusive = &c, .exclusive_count = 1};
    assert_true(lw_latch_request(&table, &first));
    assert_true(lw_latch_request(&table, &second));
    assert_false(lw_latch_request(&table, &writer));
    lw_latch_release(&table, &second);
    assert_false(lw_latch_held(&writer));
    lw_latch_release(&table, &first);
    assert_true(lw_latch_held(&writer));
}

static void a_range_meets_the_writers_of_its_keys_only(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    const lw_latch_range from_b_to_d = {.lower = b, .upper = d};
    lw_latch range = {.ranges = &from_b_to_d, .range_count = 1};
    lw_latch below = {.exclusive = &a, .exclusive_count = 1};
    lw_latch inside = {.exclusive = &b, .exclusive_count = 1};
    lw_latch behind = {.exclusive = &d, .exclusive_count = 1};
    assert_true(lw_latch_request(&table, &range));
    assert_true(lw_latch_request(&table, &below));
    assert_false(lw_latch_request(&table, &inside));
    assert_true(lw_latch_request(&table, &behind));

    const lw_latch_range everything = {0};
    lw_latch all = {.ranges = &everything, .range_count = 1};
    assert_false(lw_latch_request(&table, &all));
    lw_latch_release(&table, &below);
    lw_latch_release(&table, &behind);
    lw_latch_release(&table, &range);
    assert_true(lw_latch_held(&inside));
    assert_false(lw_latch_held(&all));
    lw_latch_release(&table, &inside);
    assert_true(lw_latch_held(&all));
}

static void who_writes_a_range_has_all_of_it_alone(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    const lw_latch_range from_b_to_d = {.lower = b, .upper = d}, up_to_c = {.upper = c},
                         from_d = {.lower = d};
    lw_latch earlier = {.exclusive = &c, .exclusive_count = 1};
    lw_latch split = {.exclusive_ranges = &from_b_to_d, .exclusive_range_count = 1};
    assert_true(lw_latch_request(&table, &earlier));
    assert_false(lw_latch_request(&table, &split));
    lw_latch_release(&table, &earlier);
    assert_true(lw_latch_held(&split));

    lw_latch below = {.exclusive = &a, .exclusive_count = 1};
    lw_latch writer = {.exclusive = &b, .exclusive_count = 1};
    lw_latch validator = {.shared = &c, .shared_count = 1};
    lw_latch of_a_range = {.ranges = &up_to_c, .range_count = 1};
    lw_latch behind = {.ranges = &from_d, .range_count = 1};
    lw_latch other = {.exclusive_ranges = &up_to_c, .exclusive_range_count = 1};
    assert_true(lw_latch_request(&table, &below));
    assert_false(lw_latch_request(&table, &writer));
    assert_false(lw_latch_request(&table, &validator));
    assert_false(lw_latch_request(&table, &of_a_range));
    assert_true(lw_latch_request(&table, &behind));
    assert_false(lw_latch_request(&table, &other));
    split.drawn = 5;
    assert_ptr_equal(lw_latch_hinders_keys(&table, 5, &c, 1), &split);
    assert_null(lw_latch_hinders_keys(&table, 5, &d, 1));
    assert_ptr_equal(lw_latch_hinders_range(&table, 5, up_to_c), &split);
    assert_null(lw_latch_hinders_range(&table, 5, from_d));

    lw_latch_release(&table, &below);
    lw_latch_release(&table, &split);
    assert_true(lw_latch_held(&writer));
    assert_true(lw_latch_held(&validator));
    assert_false(lw_latch_held(&of_a_range));
    lw_latch_release(&table, &writer);
    lw_latch_release(&table, &validator);
    assert_true(lw_latch_held(&of_a_range));
    assert_false(lw_latch_held(&other));
    lw_latch_release(&table, &of_a_range);
    assert_true(lw_latch_held(&other));
    lw_latch_release(&table, &other);
    lw_latch_release(&table, &behind);
    assert_int_equal(table.count, 0);
    assert_int_equal(table.wide_count, 0);
}

static void who_gives_up_frees_those_behind(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    const lw_bytes both[] = {a, b};
    lw_latch first = {.exclusive = &a, .exclusive_count = 1};
    lw_latch second = {.exclusive = both, .exclusive_count = 2};
    lw_latch third = {.exclusive = &b, .exclusive_count = 1};
    assert_true(lw_latch_request(&table, &first));
    assert_false(lw_latch_request(&table, &second));
    assert_false(lw_latch_request(&table, &third));
    lw_latch_release(&table, &second);
    assert_true(lw_latch_held(&third));
}

static void readers_wait_for_drawn_timestamps_at_or_below_theirs(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    const lw_bytes keys[] = {d, a};
    const lw_latch_range from_a_to_b = {.lower = a, .upper = b}, from_b = {.lower = b};
    lw_latch writer = {.exclusive = &a, .exclusive_count = 1};
    assert_true(lw_latch_request(&table, &writer));
    assert_null(lw_latch_hinders_keys(&table, 100, keys, 2));
    writer.drawn = 50;
    assert_ptr_equal(lw_latch_hinders_keys(&table, 50, keys, 2), &writer);
    assert_null(lw_latch_hinders_keys(&table, 49, keys, 2));
    assert_null(lw_latch_hinders_keys(&table, 50, keys, 1));
    assert_ptr_equal(lw_latch_hinders_range(&table, 50, from_a_to_b), &writer);
    assert_null(lw_latch_hinders_range(&table, 49, from_a_to_b));
    assert_null(lw_latch_hinders_range(&table, 50, from_b));
    lw_latch_release(&table, &writer);
    assert_null(lw_latch_hinders_keys(&table, 100, keys, 2));
}

static void a_latch_of_very_many_keys_meets_those_of_few(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    enum { MANY = LW_LATCH_WIDE + 50 };
    static uint8_t bytes[MANY][2];
    static lw_bytes keys[MANY];
    for (size_t index = 0; index < MANY; index++) {
        bytes[index][0] = (uint8_t)(index >> 8);
        bytes[index][1] = (uint8_t)index;
        keys[index] = lw_view(bytes[index], 2);
    }
    lw_latch many = {.exclusive = keys, .exclusive_count = MANY};
    lw_latch one = {.exclusive = &keys[40], .exclusive_count = 1};
    assert_true(lw_latch_request(&table, &one));
    assert_false(lw_latch_request(&table, &many));
    lw_latch_release(&table, &one);
    assert_true(lw_latch_held(&many));
    many.drawn = 5;
    assert_ptr_equal(lw_latch_hinders_keys(&table, 5, &keys[MANY - 1], 1), &many);
    one = (lw_latch){.shared = &keys[40], .shared_count = 1};
    assert_false(lw_latch_request(&table, &one));
    lw_latch_release(&table, &many);
    assert_true(lw_latch_held(&one));
    lw_latch_release(&table, &one);
    assert_int_equal(table.wide_count, 0);
    assert_int_equal(table.waiting_count, 0);
}

static void tables_may_share_their_slots(void **state) {
    (void)state;
    lw_latch_table table = empty_table(), other = table;
    lw_latch first = {.exclusive = &a, .exclusive_count = 1}, second = first, third = first;
    assert_true(lw_latch_request(&table, &first));
    assert_true(lw_latch_request(&other, &second));
    assert_false(lw_latch_request(&table, &third));
    lw_latch_release(&other, &second);
    assert_false(lw_latch_held(&third));
    lw_latch_release(&table, &first);
    assert_true(lw_latch_held(&third));
}

/* ---- against the simplest model: eight keys as bits ----------------------------------------- */

enum { MODEL_KEYS = 8, MODEL_LATCHES = 12 };

typedef struct modelled {
    lw_latch latch;
    lw_bytes keys[2][MODEL_KEYS];
    lw_latch_range range;
    uint32_t writes, reads; /* bits */
    bool entered;
    uint64_t order;
} modelled;

static const uint8_t model_bytes[MODEL_KEYS] = {0, 1, 2, 3, 4, 5, 6, 7};

static uint32_t fill_keys(uint32_t bits, lw_bytes *keys) {
    uint32_t count = 0;
    for (size_t index = 0; index < MODEL_KEYS; index++) {
        if (bits >> index & 1) {
            keys[count++] = lw_view(&model_bytes[index], 1);
        }
    }
    return count;
}

static void make_random(modelled *one, uint64_t *random) {
    *one = (modelled){.entered = true};
    one->writes = (uint32_t)(unit_random(random) & unit_random(random) & unit_random(random) & 255);
    one->reads = (uint32_t)(unit_random(random) & unit_random(random) & 255);
    one->latch.exclusive = one->keys[0];
    one->latch.exclusive_count = fill_keys(one->writes, one->keys[0]);
    one->latch.shared = one->keys[1];
    one->latch.shared_count = fill_keys(one->reads, one->keys[1]);
    if (unit_random_below(random, 15) == 0) { /* rare enough that tables without one are met too */
        uint64_t lower = unit_random_below(random, MODEL_KEYS);
        uint64_t upper = lower + unit_random_below(random, MODEL_KEYS - lower);
        one->range = (lw_latch_range){.lower = lw_view(&model_bytes[lower], 1),
                                      .upper = lw_view(&model_bytes[upper], 1)};
        uint32_t bits = (1u << upper) - (1u << lower);
        if (unit_random_below(random, 2) == 0) {
            one->latch.ranges = &one->range;
            one->latch.range_count = 1;
            one->reads |= bits;
        } else {
            one->latch.exclusive_ranges = &one->range;
            one->latch.exclusive_range_count = 1;
            one->writes |= bits;
        }
    }
}

static bool model_blocked(const modelled *all, const modelled *one) {
    for (size_t index = 0; index < MODEL_LATCHES; index++) {
        const modelled *other = &all[index];
        bool earlier = other->entered && other->order < one->order;
        if (earlier &&
            ((other->writes & (one->writes | one->reads)) | (one->writes & other->reads))) {
            return true;
        }
    }
    return false;
}

static void grants_are_those_of_the_model(void **state) {
    (void)state;
    lw_latch_table table = empty_table();
    static modelled all[MODEL_LATCHES];
    memset(all, 0, sizeof(all));
    uint64_t random = 1, blocked_count = 0;
    for (uint64_t round = 1; round < 100000; round++) {
        modelled *one = &all[unit_random_below(&random, MODEL_LATCHES)];
        if (one->entered) {
            lw_latch_release(&table, &one->latch);
            one->entered = false;
        } else {
            make_random(one, &random);
            one->order = round;
            bool held = lw_latch_request(&table, &one->latch);
            assert_int_equal(held, lw_latch_held(&one->latch));
        }
        for (size_t index = 0; index < MODEL_LATCHES; index++) {
            if (all[index].entered) {
                bool blocked = model_blocked(all, &all[index]);
                assert_int_equal(lw_latch_held(&all[index].latch), !blocked);
                blocked_count += blocked;
            }
        }
    }
    assert_true(blocked_count > 10000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writers_of_one_key_take_turns_in_order),
        cmocka_unit_test(writers_of_different_keys_do_not_wait),
        cmocka_unit_test(validators_share_and_writers_wait_for_them),
        cmocka_unit_test(a_range_meets_the_writers_of_its_keys_only),
        cmocka_unit_test(who_writes_a_range_has_all_of_it_alone),
        cmocka_unit_test(who_gives_up_frees_those_behind),
        cmocka_unit_test(readers_wait_for_drawn_timestamps_at_or_below_theirs),
        cmocka_unit_test(a_latch_of_very_many_keys_meets_those_of_few),
        cmocka_unit_test(tables_may_share_their_slots),
        cmocka_unit_test(grants_are_those_of_the_model),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
