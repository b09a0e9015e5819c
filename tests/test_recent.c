/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of late, against what a list of them would say. */
#include "txn/recent.h"

#include "tests/unit.h"

enum { CAPACITY = 8 };

static lw_memory *memory;
static lw_recent *recent;

static int setup(void **state) {
    (void)state;
    memory = lw_memory_open();
    recent = lw_recent_open(memory, CAPACITY);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_recent_close(recent);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
    return 0;
}

static void the_oldest_is_forgotten_first(void **state) {
    (void)state;
    assert_null(lw_recent_find(recent, 1));
    for (uint64_t start = 1; start <= 100; start++) {
        char label[16];
        (void)snprintf(label, sizeof(label), "client %d", (int)start);
        lw_recent_note(recent, start, start + 1000, lw_text(label));
        for (uint64_t each = 1; each <= start; each++) {
            const lw_recent_entry *found = lw_recent_find(recent, each);
            assert_int_equal(found != NULL, each + CAPACITY > start);
            if (found != NULL) {
                (void)snprintf(label, sizeof(label), "client %d", (int)each);
                assert_true(lw_equal(lw_recent_label(found), lw_text(label)));
                assert_int_equal(found->commit_timestamp, each + 1000);
            }
        }
    }
}

static void what_was_noted_last_is_found(void **state) {
    (void)state;
    lw_recent_note(recent, 7, 0, lw_text("first"));
    lw_recent_note(recent, 7, 0, lw_text("second"));
    assert_true(lw_equal(lw_recent_label(lw_recent_find(recent, 7)), lw_text("second")));
    assert_int_equal(lw_recent_find(recent, 7)->commit_timestamp, 0);
    lw_recent_committed(recent, 7, 9);
    lw_recent_committed(recent, 8, 9);
    assert_int_equal(lw_recent_find(recent, 7)->commit_timestamp, 9);
    assert_null(lw_recent_find(recent, 8));
    lw_recent_forget(recent, 7);
    assert_null(lw_recent_find(recent, 7));
}

static void a_long_label_is_cut_and_none_is_empty(void **state) {
    (void)state;
    char label[100];
    memset(label, 'x', sizeof(label));
    lw_recent_note(recent, 1, 0, lw_view(label, sizeof(label)));
    lw_recent_note(recent, 2, 0, lw_view(NULL, 0));
    assert_int_equal(lw_recent_label(lw_recent_find(recent, 1)).size, LW_RECENT_LABEL_SIZE_MAX);
    assert_int_equal(lw_recent_label(lw_recent_find(recent, 2)).size, 0);
    assert_int_equal(lw_recent_label(lw_recent_find(recent, 3)).size, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_oldest_is_forgotten_first, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_noted_last_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_label_is_cut_and_none_is_empty, setup, teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
