/* SPDX-License-Identifier: Apache-2.0 */
#include "client/write_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static lw_memory *memory;

static int setup(void **state) {
    (void)state;
    alarm(60);
    memory = lw_memory_open();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_memory_close(memory);
    return 0;
}

static void a_later_write_replaces_an_earlier_one(void **state) {
    (void)state;
    lw_write_set set = lw_write_set_in(memory);
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("k"), lw_text("long value"), 7);
    (void)lw_write_set_put(&set, LW_MUTATION_DELETE, lw_text("k"), (lw_bytes){0}, 9);
    lw_write *found = lw_write_set_find(&set, lw_text("k"));
    assert_non_null(found);
    assert_int_equal(found->mutation.kind, LW_MUTATION_DELETE);
    assert_int_equal(found->mutation.seen, 7);
    assert_int_equal(set.count, 1);
    assert_int_equal(set.bytes, 1);
    lw_write_set_reset(&set);
    assert_null(lw_write_set_find(&set, lw_text("k")));
}

static void bounds_are_found_from_both_sides(void **state) {
    (void)state;
    lw_write_set set = lw_write_set_in(memory);
    assert_null(lw_write_set_before(&set, (lw_bytes){0}));
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("b"), lw_text("1"), 0);
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("d"), lw_text("2"), 0);
    assert_true(lw_equal(lw_write_set_at_or_after(&set, lw_text("b"))->mutation.key, lw_text("b")));
    assert_true(lw_equal(lw_write_set_at_or_after(&set, lw_text("c"))->mutation.key, lw_text("d")));
    assert_null(lw_write_set_at_or_after(&set, lw_text("e")));
    assert_null(lw_write_set_before(&set, lw_text("b")));
    assert_true(lw_equal(lw_write_set_before(&set, lw_text("d"))->mutation.key, lw_text("b")));
    assert_true(lw_equal(lw_write_set_before(&set, (lw_bytes){0})->mutation.key, lw_text("d")));
    lw_write_set_reset(&set);
}

/* Against the simplest thing that could be right: a table of what each of 512 keys is. */
static void it_agrees_with_a_table(void **state) {
    (void)state;
    enum { KEYS = 512, STEPS = 20000 };
    int model[KEYS] = {0};
    uint64_t present = 0, number = 1;
    lw_write_set set = lw_write_set_in(memory);
    for (int step = 1; step <= STEPS; step++) {
        number = number * 6364136223846793005u + 1442695040888963407u;
        uint32_t index = (uint32_t)(number >> 33) % KEYS;
        char key[8], value[16];
        (void)snprintf(key, sizeof(key), "%04u", index);
        (void)snprintf(value, sizeof(value), "%d", step);
        (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text(key), lw_text(value), 0);
        present += model[index] == 0;
        model[index] = step;
    }
    assert_int_equal(set.count, present);
    uint32_t index = 0;
    const lw_write *previous = NULL;
    for (const lw_write *one = set.first[0]; one != NULL; one = one->next[0], index++) {
        while (model[index] == 0) {
            index++;
        }
        char key[8], value[16];
        (void)snprintf(key, sizeof(key), "%04u", index);
        (void)snprintf(value, sizeof(value), "%d", model[index]);
        assert_true(lw_equal(one->mutation.key, lw_text(key)));
        assert_true(lw_equal(one->mutation.value, lw_text(value)));
        assert_ptr_equal(one->previous, previous);
        previous = one;
    }
    assert_ptr_equal(set.last, previous);
    lw_write_set_reset(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_later_write_replaces_an_earlier_one),
        cmocka_unit_test(bounds_are_found_from_both_sides),
        cmocka_unit_test(it_agrees_with_a_table),
    };
    return cmocka_run_group_tests(tests, setup, teardown) != 0 ? 1 : 0;
}
