/* SPDX-License-Identifier: Apache-2.0 */
/* What atomic mutations come to. */
#include "tests/unit.h"
#include "txn/atomic.h"

static lw_memory *memory;
static lw_buffer scratch;

static int setup(void **state) {
    (void)state;
    memory = lw_memory_open();
    scratch = lw_buffer_in(memory);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_memory_close(memory);
    return 0;
}

static lw_bytes number_of(int64_t number, uint8_t *to) {
    lw_number_encode(number, to);
    return lw_view(to, LW_NUMBER_SIZE);
}

static int64_t worked_out(lw_mutation_kind kind, const int64_t *base, int64_t operand) {
    uint8_t first[LW_NUMBER_SIZE], second[LW_NUMBER_SIZE];
    lw_bytes view = base != NULL ? number_of(*base, first) : (lw_bytes){0};
    lw_mutation becomes;
    int64_t number = 0;
    assert_int_equal(lw_atomic_apply(kind, lw_text("k"), base != NULL ? &view : NULL,
                                     number_of(operand, second), &scratch, &becomes),
                     LW_OK);
    assert_int_equal(becomes.kind, LW_MUTATION_PUT);
    assert_true(lw_number_decode(becomes.value, &number));
    return number;
}

static void numbers_are_added_and_compared_with_their_signs(void **state) {
    (void)state;
    int64_t base = -3;
    assert_int_equal(worked_out(LW_MUTATION_ADD, &base, 5), 2);
    assert_int_equal(worked_out(LW_MUTATION_ADD, NULL, 5), 5);
    assert_int_equal(worked_out(LW_MUTATION_MIN, &base, 5), -3);
    assert_int_equal(worked_out(LW_MUTATION_MIN, &base, -7), -7);
    assert_int_equal(worked_out(LW_MUTATION_MIN, NULL, 9), 9);
    assert_int_equal(worked_out(LW_MUTATION_MAX, &base, 5), 5);
    assert_int_equal(worked_out(LW_MUTATION_MAX, &base, -7), -3);
    assert_int_equal(worked_out(LW_MUTATION_MAX, NULL, -9), -9);
}

static lw_status refused(lw_mutation_kind kind, lw_bytes base, lw_bytes operand) {
    lw_mutation becomes;
    lw_status status =
        lw_atomic_apply(kind, lw_text("some-key"), &base, operand, &scratch, &becomes);
    if (status != LW_OK) {
        assert_non_null(strstr(lw_error_slot()->text, "some-key"));
    }
    return status;
}

static void what_cannot_be_done_is_refused_by_key(void **state) {
    (void)state;
    uint8_t most[LW_NUMBER_SIZE], one[LW_NUMBER_SIZE], least[LW_NUMBER_SIZE];
    number_of(1, one);
    assert_int_equal(
        refused(LW_MUTATION_ADD, number_of(INT64_MAX, most), lw_view(one, sizeof(one))),
        LW_INVALID_ARGUMENT);
    assert_int_equal(refused(LW_MUTATION_ADD, number_of(INT64_MIN, least), number_of(-1, most)),
                     LW_INVALID_ARGUMENT);
    assert_int_equal(refused(LW_MUTATION_MAX, lw_text("seven"), lw_view(one, sizeof(one))),
                     LW_INVALID_ARGUMENT);
    lw_bytes large =
        lw_view(lw_allocate_zero(memory, LW_USER_VALUE_SIZE_MAX), LW_USER_VALUE_SIZE_MAX);
    assert_int_equal(refused(LW_MUTATION_APPEND, large, lw_text("x")), LW_INVALID_ARGUMENT);
    assert_int_equal(refused(LW_MUTATION_APPEND, large, (lw_bytes){0}), LW_OK);
}

static void a_swap_takes_place_only_where_all_is_as_expected(void **state) {
    (void)state;
    lw_bytes old = lw_text("old"), new = lw_text("new"), empty = {0};
    const lw_bytes *choices[] = {NULL, &empty, &old, &new};
    lw_buffer operand = lw_buffer_in(memory);
    for (size_t at = 0; at < 64; at++) {
        const lw_bytes *base = choices[at % 4], *expected = choices[at / 4 % 4];
        const lw_bytes *value = choices[at / 16];
        lw_swap_encode(expected, value, &operand);
        assert_true(lw_atomic_operand_valid(LW_MUTATION_SWAP, lw_buffer_view(&operand)));
        lw_mutation becomes;
        assert_int_equal(lw_atomic_apply(LW_MUTATION_SWAP, lw_text("k"), base,
                                         lw_buffer_view(&operand), &scratch, &becomes),
                         LW_OK);
        lw_mutation_kind expected_kind = base != expected ? LW_MUTATION_LOCK
                                         : value == NULL  ? LW_MUTATION_DELETE
                                                          : LW_MUTATION_PUT;
        assert_int_equal(becomes.kind, expected_kind);
        assert_true(lw_equal(becomes.value, becomes.kind == LW_MUTATION_PUT ? *value : empty));
    }
}

static void a_stamp_stands_where_it_was_wanted(void **state) {
    (void)state;
    lw_buffer operand = lw_buffer_in(memory);
    lw_buffer_append(&operand, lw_text("ab________c"));
    lw_buffer_append_u32(&operand, 2);
    assert_true(lw_atomic_operand_valid(LW_MUTATION_STAMP, lw_buffer_view(&operand)));
    lw_stamp_apply(lw_buffer_view(&operand), 0x0102030405060708, &scratch);
    assert_true(lw_equal(lw_buffer_view(&scratch), lw_text("ab\1\2\3\4\5\6\7\10c")));
    operand.data[operand.size - 4] = 4; /* one byte beyond the end */
    assert_false(lw_atomic_operand_valid(LW_MUTATION_STAMP, lw_buffer_view(&operand)));
}

static void wrong_operands_are_known(void **state) {
    (void)state;
    assert_false(lw_atomic_operand_valid(LW_MUTATION_ADD, lw_text("1")));
    assert_false(lw_atomic_operand_valid(LW_MUTATION_DELETE, lw_text("1")));
    assert_false(lw_atomic_operand_valid(LW_MUTATION_SWAP, lw_text("1")));
    assert_false(lw_atomic_operand_valid(LW_MUTATION_SWAP, lw_view("\2\0\0\0\0\0", 6)));
    assert_false(lw_atomic_operand_valid(LW_MUTATION_SWAP, lw_view("\1\0\1\0\0\0", 6)));
    assert_false(lw_atomic_operand_valid(LW_MUTATION_SWAP, lw_view("\0\0\1\0\0\0x", 7)));
    assert_false(lw_atomic_operand_valid(LW_MUTATION_SWAP, lw_view("\0\0\0\0\0\0x", 7)));
    assert_false(lw_atomic_operand_valid(LW_MUTATION_STAMP, lw_view("12345678\0\0\0", 11)));
    assert_false(lw_atomic_operand_valid(LW_MUTATION_STAMP + 1, (lw_bytes){0}));
}

/* Doing two one after the other is doing what they compose to. */
static void composed_is_one_after_the_other(void **state) {
    (void)state;
    static const lw_mutation_kind kinds[] = {LW_MUTATION_ADD, LW_MUTATION_MIN, LW_MUTATION_MAX};
    static const int64_t numbers[] = {-9, 0, 4, 70};
    for (size_t at = 0; at < 3 * 64; at++) {
        int64_t base = numbers[at % 4], a = numbers[at / 4 % 4], b = numbers[at / 16 % 4];
        lw_mutation_kind kind = kinds[at / 64];
        uint8_t first[LW_NUMBER_SIZE], second[LW_NUMBER_SIZE];
        lw_buffer composed = lw_buffer_in(memory);
        int64_t both = 0;
        assert_true(lw_atomic_compose(kind, number_of(a, first), number_of(b, second), &composed));
        assert_true(lw_number_decode(lw_buffer_view(&composed), &both));
        int64_t middle = worked_out(kind, &base, a);
        assert_int_equal(worked_out(kind, &base, both), worked_out(kind, &middle, b));
    }
    lw_buffer composed = lw_buffer_in(memory);
    assert_true(lw_atomic_compose(LW_MUTATION_APPEND, lw_text("a"), lw_text("bc"), &composed));
    assert_true(lw_equal(lw_buffer_view(&composed), lw_text("abc")));
    assert_false(lw_atomic_compose(LW_MUTATION_SWAP, lw_text("a"), lw_text("bc"), &composed));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_added_and_compared_with_their_signs),
        cmocka_unit_test(what_cannot_be_done_is_refused_by_key),
        cmocka_unit_test(a_swap_takes_place_only_where_all_is_as_expected),
        cmocka_unit_test(a_stamp_stands_where_it_was_wanted),
        cmocka_unit_test(wrong_operands_are_known),
        cmocka_unit_test(composed_is_one_after_the_other),
    };
    return cmocka_run_group_tests(tests, setup, teardown) != 0 ? 1 : 0;
}
