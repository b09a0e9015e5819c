/* SPDX-License-Identifier: Apache-2.0 */
/* base/status: the closed list, the slot with the reason of a failure, and assertions. */
#include "base/status.h"

#include "tests/unit.h"

#include <pthread.h>

#include "base/fiber.h"

/* ---- the list -------------------------------------------------------------------------------- */

/* Written out again, since these numbers are on wires and disks of older nodes. */
static const struct {
    lw_status status;
    const char *name;
    bool retryable;
} pinned[] = {
    {0, "LW_OK", false},           {1, "LW_NOT_FOUND", false},
    {2, "LW_EXISTS", false},       {3, "LW_INVALID_ARGUMENT", false},
    {4, "LW_CONFLICT", true},      {5, "LW_TIMEOUT", false},
    {6, "LW_BACKPRESSURE", true},  {7, "LW_UNAVAILABLE", true},
    {8, "LW_UNDETERMINED", false}, {9, "LW_CORRUPTION", false},
    {10, "LW_REFUSED", false},     {11, "LW_FULL", false},
    {12, "LW_INTERNAL", false},    {13, "LW_TOO_OLD", false},
};
enum { PINNED_COUNT = sizeof(pinned) / sizeof(pinned[0]) };

static void a_status_keeps_its_number_name_and_advice(void **state) {
    (void)state;
    for (size_t index = 0; index < PINNED_COUNT; index++) {
        assert_string_equal(lw_status_name(pinned[index].status), pinned[index].name);
        assert_int_equal(lw_status_retryable(pinned[index].status), pinned[index].retryable);
        assert_true(strlen(lw_status_text(pinned[index].status)) > 0);
        assert_true(lw_status_known(index));
    }
}

static void a_number_outside_the_list_is_our_bug(void **state) {
    (void)state;
    const uint64_t outside[] = {PINNED_COUNT, UINT32_MAX, (uint64_t)1 << 32, UINT64_MAX};
    for (size_t index = 0; index < sizeof(outside) / sizeof(outside[0]); index++) {
        assert_false(lw_status_known(outside[index]));
    }
    assert_string_equal(lw_status_name((lw_status)PINNED_COUNT), "LW_INTERNAL");
    assert_string_equal(lw_status_name((lw_status)-1), "LW_INTERNAL");
    assert_string_equal(lw_status_text((lw_status)1000), lw_status_text(LW_INTERNAL));
    assert_false(lw_status_retryable((lw_status)1000));
}

/* ---- the slot -------------------------------------------------------------------------------- */

static void a_failure_leaves_its_reason_in_the_slot(void **state) {
    (void)state;
    assert_int_equal(lw_fail(LW_FULL, "cannot write %s: free %d bytes", "log/7", 4096), LW_FULL);
    assert_int_equal(lw_error_slot()->status, LW_FULL);
    assert_string_equal(lw_error_slot()->text, "cannot write log/7: free 4096 bytes");
}

static void too_long_a_reason_is_cut(void **state) {
    (void)state;
    assert_int_equal(lw_fail(LW_FULL, "%s%*s", "start", 2000, "end"), LW_FULL);
    assert_int_equal(strlen(lw_error_slot()->text), LW_ERROR_TEXT_SIZE - 1);
    assert_memory_equal(lw_error_slot()->text, "start", 5);
}

static void a_caller_puts_what_it_knows_before_the_reason(void **state) {
    (void)state;
    assert_int_equal(lw_fail(LW_CORRUPTION, "bad checksum at %d", 12), LW_CORRUPTION);
    assert_int_equal(lw_fail_in(LW_CORRUPTION, "sst/%d", 3), LW_CORRUPTION);
    assert_int_equal(lw_fail_in(LW_CORRUPTION, "cannot open"), LW_CORRUPTION);
    assert_string_equal(lw_error_slot()->text, "cannot open: sst/3: bad checksum at 12");
}

static void a_prefix_of_any_length_fits(void **state) {
    (void)state;
    for (int size = LW_ERROR_TEXT_SIZE - 5; size < LW_ERROR_TEXT_SIZE + 5; size++) {
        assert_int_equal(lw_fail(LW_FULL, "reason"), LW_FULL);
        assert_int_equal(lw_fail_in(LW_FULL, "%*s", size, "x"), LW_FULL);
        assert_int_equal(strlen(lw_error_slot()->text), LW_ERROR_TEXT_SIZE - 1);
    }
}

static void a_reason_may_repeat_the_one_before(void **state) {
    (void)state;
    assert_int_equal(lw_fail(LW_FULL, "disk"), LW_FULL);
    assert_int_equal(lw_fail(LW_UNAVAILABLE, "peer said: %s!", lw_error_slot()->text),
                     LW_UNAVAILABLE);
    assert_string_equal(lw_error_slot()->text, "peer said: disk!");
}

static lw_status fails_second(int *calls) {
    LW_TRY(LW_OK);
    ++*calls;
    LW_TRY(lw_fail(LW_TIMEOUT, "second"));
    ++*calls;
    return LW_OK;
}

static void a_failed_call_ends_the_caller(void **state) {
    (void)state;
    int calls = 0;
    assert_int_equal(fails_second(&calls), LW_TIMEOUT);
    assert_int_equal(calls, 1);
}

static void slots_are_swapped_and_put_back(void **state) {
    (void)state;
    lw_error *own = lw_error_slot();
    lw_error handle = {0};
    assert_int_equal(lw_fail(LW_FULL, "own"), LW_FULL);

    lw_error *before = lw_error_slot_set(&handle);
    assert_ptr_equal(before, own);
    assert_ptr_equal(lw_error_slot(), &handle);
    assert_int_equal(lw_fail(LW_REFUSED, "handle"), LW_REFUSED);
    assert_ptr_equal(lw_error_slot_set(before), &handle);

    assert_string_equal(lw_error_slot()->text, "own");
    assert_string_equal(handle.text, "handle");
    assert_ptr_equal(lw_error_slot_set(NULL), own);
    assert_ptr_equal(lw_error_slot(), own);
}

static void *fail_in_a_thread(void *seen) {
    *(lw_error **)seen = lw_error_slot();
    return (void *)(uintptr_t)lw_fail(LW_TIMEOUT, "thread");
}

static void each_thread_has_a_slot_of_its_own(void **state) {
    (void)state;
    assert_int_equal(lw_fail(LW_FULL, "main"), LW_FULL);
    pthread_t thread;
    lw_error *seen = NULL;
    void *result = NULL;
    assert_int_equal(pthread_create(&thread, NULL, fail_in_a_thread, &seen), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((uintptr_t)result, LW_TIMEOUT);
    assert_ptr_not_equal(seen, lw_error_slot());
    assert_string_equal(lw_error_slot()->text, "main");
}

/* ---- assertions ------------------------------------------------------------------------------ */

static void fail_with_ok(void *argument) {
    (void)argument;
    (void)!lw_fail(LW_OK, "not a failure");
}
static void fail_in_another(void *argument) {
    (void)argument;
    (void)!lw_fail(LW_FULL, "one");
    (void)!lw_fail_in(LW_TIMEOUT, "another");
}

static void a_success_has_no_reason(void **state) {
    (void)state;
    unit_expect_abort(fail_with_ok, NULL, "status != LW_OK");
}

static void only_the_current_failure_gets_a_prefix(void **state) {
    (void)state;
    unit_expect_abort(fail_in_another, NULL, "slot->status == status");
}

static void witness_and_fail_again(void *argument) {
    fprintf(stderr, "seed %d\n", *(int *)argument);
    LW_ASSERT(argument == NULL);
}
static void fail_before_a_witness(void *argument) {
    lw_assert_set_witness(witness_and_fail_again, argument);
    LW_ASSERT(2 + 2 == 5);
}

static void a_failed_assertion_says_what_and_where_and_hears_its_witness_once(void **state) {
    (void)state;
    int seed = 42;
    char text[4096];
    int status = unit_child(fail_before_a_witness, &seed, text, sizeof(text));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);

    assert_non_null(strstr(text, "tests/test_status.c:"));
    assert_non_null(strstr(text, "assertion failed: 2 + 2 == 5 (fiber none)"));
    const char *heard = strstr(text, "seed 42\n");
    assert_non_null(heard);
    assert_non_null(strstr(heard, "assertion failed: argument == NULL"));
    assert_null(strstr(heard + 1, "seed 42\n"));
}

static void assert_in_fiber(void *argument) {
    LW_ASSERT(argument != NULL);
}
static void fail_in_a_fiber(void *argument) {
    lw_memory *memory = lw_memory_open();
    lw_fibers *fibers = lw_fibers_open(memory);
    (void)lw_fiber_start(fibers, "compaction", assert_in_fiber, argument);
    (void)lw_fibers_run(fibers);
}

static void a_failed_assertion_names_the_fiber(void **state) {
    (void)state;
    unit_expect_abort(fail_in_a_fiber, NULL, "argument != NULL (fiber compaction)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_keeps_its_number_name_and_advice),
        cmocka_unit_test(a_number_outside_the_list_is_our_bug),
        cmocka_unit_test(a_failure_leaves_its_reason_in_the_slot),
        cmocka_unit_test(too_long_a_reason_is_cut),
        cmocka_unit_test(a_caller_puts_what_it_knows_before_the_reason),
        cmocka_unit_test(a_prefix_of_any_length_fits),
        cmocka_unit_test(a_reason_may_repeat_the_one_before),
        cmocka_unit_test(a_failed_call_ends_the_caller),
        cmocka_unit_test(slots_are_swapped_and_put_back),
        cmocka_unit_test(each_thread_has_a_slot_of_its_own),
        cmocka_unit_test(a_success_has_no_reason),
        cmocka_unit_test(only_the_current_failure_gets_a_prefix),
        cmocka_unit_test(a_failed_assertion_says_what_and_where_and_hears_its_witness_once),
        cmocka_unit_test(a_failed_assertion_names_the_fiber),
    };
    return cmocka_run_group_tests_name("status", tests, unit_arm, NULL) != 0;
}
