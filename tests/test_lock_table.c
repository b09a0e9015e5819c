/* SPDX-License-Identifier: Apache-2.0 */
/* Pessimistic locks: turns, sessions that end, and cycles that must not close. */
#include "txn/lock_table.h"

#include "tests/unit.h"

static lw_memory *memory;
static lw_lock_table *table;
static lw_buffer cycle;
static uint64_t other;

static int setup(void **state) {
    (void)state;
    memory = lw_memory_open();
    table = lw_lock_table_open(memory);
    cycle = lw_buffer_in(memory);
    other = 0;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_lock_table_check(table);
    lw_lock_table_close(table);
    lw_buffer_reset(&cycle);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
    return 0;
}

static lw_lock_waiter wanting(uint64_t start, const char *key) {
    return (lw_lock_waiter){.start = start, .session = start, .key = lw_text(key), .kept = true};
}

static lw_lock_answer ask(lw_lock_waiter *waiter) {
    lw_lock_answer answer = lw_lock_table_request(table, waiter, &other, &cycle);
    lw_lock_table_check(table);
    return answer;
}

static void a_key_is_had_in_turns(void **state) {
    (void)state;
    lw_lock_waiter first = wanting(1, "k"), second = wanting(2, "k"), third = wanting(3, "k");
    assert_int_equal(ask(&first), LW_LOCK_HELD);
    assert_int_equal(ask(&second), LW_LOCK_QUEUED);
    assert_int_equal(ask(&third), LW_LOCK_QUEUED);
    assert_int_equal(lw_lock_table_waiting(table), 2);
    lw_lock_table_release_all(table, 1);
    assert_true(second.held);
    assert_false(third.held);
    uint64_t owner = 0, session = 0;
    assert_true(lw_lock_table_foreign(table, 3, lw_text("k"), &owner, &session));
    assert_int_equal(owner, 2);
    assert_int_equal(session, 2);
    assert_false(lw_lock_table_foreign(table, 2, lw_text("k"), NULL, NULL));
    lw_lock_table_release(table, 2, lw_text("k"), false);
    assert_true(third.held);
    lw_lock_table_release_all(table, 3);
    assert_int_equal(lw_lock_table_count(table), 0);
}

static void a_transaction_may_ask_twice(void **state) {
    (void)state;
    lw_lock_waiter first = wanting(1, "k"), again = wanting(1, "k");
    lw_lock_waiter second = wanting(2, "k"), second_again = wanting(2, "k");
    assert_int_equal(ask(&first), LW_LOCK_HELD);
    assert_int_equal(ask(&again), LW_LOCK_HELD);
    assert_int_equal(ask(&second), LW_LOCK_QUEUED);
    assert_int_equal(ask(&second_again), LW_LOCK_QUEUED);
    lw_lock_table_release_all(table, 1);
    assert_true(second.held);
    assert_true(second_again.held);
}

static void who_gives_up_lets_the_next_one_by(void **state) {
    (void)state;
    lw_lock_waiter first = wanting(1, "k"), second = wanting(2, "k"), third = wanting(3, "k");
    assert_int_equal(ask(&first), LW_LOCK_HELD);
    assert_int_equal(ask(&second), LW_LOCK_QUEUED);
    assert_int_equal(ask(&third), LW_LOCK_QUEUED);
    lw_lock_table_cancel(table, &second);
    lw_lock_table_release_all(table, 1);
    assert_false(second.held);
    assert_true(third.held);
}

static void a_passing_commit_keeps_nothing(void **state) {
    (void)state;
    lw_lock_waiter first = wanting(1, "k"), passing = wanting(2, "k"), third = wanting(3, "k");
    passing.kept = false;
    assert_int_equal(ask(&first), LW_LOCK_HELD);
    assert_int_equal(ask(&passing), LW_LOCK_QUEUED);
    assert_int_equal(ask(&third), LW_LOCK_QUEUED);
    lw_lock_table_release(table, 1, lw_text("k"), true);
    assert_false(passing.held);
    lw_lock_table_release(table, 1, lw_text("k"), false);
    assert_true(passing.held);
    lw_lock_table_release(table, 2, lw_text("k"), true);
    assert_true(third.held);
}

static void the_end_of_a_session_frees_and_cuts(void **state) {
    (void)state;
    lw_lock_waiter first = wanting(1, "k"), second = wanting(2, "k"), third = wanting(3, "k");
    lw_lock_waiter fourth = wanting(1, "l"), fifth = wanting(2, "l");
    second.session = fifth.session = 1;
    assert_int_equal(ask(&first), LW_LOCK_HELD);
    assert_int_equal(ask(&fourth), LW_LOCK_HELD);
    assert_int_equal(ask(&second), LW_LOCK_QUEUED);
    assert_int_equal(ask(&fifth), LW_LOCK_QUEUED);
    assert_int_equal(ask(&third), LW_LOCK_QUEUED);
    lw_lock_table_session_ended(table, 1);
    assert_true(second.cut && !second.held);
    assert_true(fifth.cut && !fifth.held);
    assert_true(third.held);
    assert_int_equal(lw_lock_table_count(table), 1);
    assert_int_equal(lw_lock_table_waiting(table), 0);
}

static void two_that_wait_for_one_another_are_a_deadlock(void **state) {
    (void)state;
    lw_lock_waiter one_k = wanting(1, "k"), two_l = wanting(2, "l");
    lw_lock_waiter one_l = wanting(1, "l"), two_k = wanting(2, "k");
    assert_int_equal(ask(&one_k), LW_LOCK_HELD);
    assert_int_equal(ask(&two_l), LW_LOCK_HELD);
    assert_int_equal(ask(&one_l), LW_LOCK_QUEUED);
    assert_int_equal(ask(&two_k), LW_LOCK_DEADLOCK);
    assert_int_equal(other, 1);
    lw_buffer_append_u8(&cycle, 0);
    assert_string_equal((char *)cycle.data, "2 waits for key \"k\", 1 waits for key \"l\"");
    lw_lock_table_release_all(table, 2);
    assert_true(one_l.held);
}

static void waiting_behind_others_counts_as_waiting_for_them(void **state) {
    (void)state;
    lw_lock_waiter one_k = wanting(1, "k"), two_l = wanting(2, "l");
    lw_lock_waiter three_k = wanting(3, "k"), three_l = wanting(3, "l"), two_k = wanting(2, "k");
    assert_int_equal(ask(&one_k), LW_LOCK_HELD);
    assert_int_equal(ask(&two_l), LW_LOCK_HELD);
    assert_int_equal(ask(&three_k), LW_LOCK_QUEUED);
    assert_int_equal(ask(&three_l), LW_LOCK_QUEUED);
    assert_int_equal(ask(&two_k), LW_LOCK_DEADLOCK); /* behind 3, which waits for 2 */
    assert_int_equal(other, 3);
    lw_lock_table_cancel(table, &three_k);
    lw_lock_table_cancel(table, &three_l);
}

static void a_long_cycle_is_found_without_recursion(void **state) {
    (void)state;
    enum { LENGTH = 20000 };
    char(*keys)[8] = lw_allocate(memory, LENGTH * sizeof(*keys));
    lw_lock_waiter *held = lw_allocate(memory, LENGTH * sizeof(*held));
    lw_lock_waiter *waits = lw_allocate(memory, LENGTH * sizeof(*waits));
    for (size_t index = 0; index < LENGTH; index++) {
        (void)snprintf(keys[index], sizeof(keys[index]), "%zu", index);
        held[index] = wanting(index + 1, keys[index]);
        assert_int_equal(lw_lock_table_request(table, &held[index], &other, &cycle), LW_LOCK_HELD);
    }
    /* Each waits for the one before, so that no walk but the last one is long. */
    for (size_t index = LENGTH - 1; index > 0; index--) {
        waits[index] = wanting(index + 1, keys[index - 1]);
        assert_int_equal(lw_lock_table_request(table, &waits[index], &other, &cycle),
                         LW_LOCK_QUEUED);
    }
    waits[0] = wanting(1, keys[LENGTH - 1]);
    assert_int_equal(ask(&waits[0]), LW_LOCK_DEADLOCK);
    assert_int_equal(other, LENGTH);
    assert_true(cycle.size < 1024);
    for (size_t index = 0; index < LENGTH; index++) {
        lw_lock_table_release_all(table, index + 1);
    }
    for (size_t index = 1; index < LENGTH; index++) {
        assert_true(waits[index].held);
    }
    for (size_t index = 0; index < LENGTH; index++) {
        lw_lock_table_release_all(table, index + 1);
    }
    lw_free(memory, keys);
    lw_free(memory, held);
    lw_free(memory, waits);
}

/* ---- against the simplest model ------------------------------------------------------------- */

enum { TRANSACTIONS = 7, KEYS = 5 };

/* Each key's queue, its owner first. */
typedef struct model {
    int queue[KEYS][TRANSACTIONS];
    int size[KEYS];
} model;

static int model_place(const model *all, int key, int transaction) {
    for (int place = 0; place < all->size[key]; place++) {
        if (all->queue[key][place] == transaction) {
            return place;
        }
    }
    return -1;
}

static void model_remove(model *all, int key, int transaction) {
    int place = model_place(all, key, transaction);
    if (place >= 0) {
        all->size[key]--;
        memmove(&all->queue[key][place], &all->queue[key][place + 1],
                (size_t)(all->size[key] - place) * sizeof(int));
    }
}

static bool model_has_cycle(const model *all) {
    bool reaches[TRANSACTIONS][TRANSACTIONS] = {0};
    for (int key = 0; key < KEYS; key++) {
        for (int place = 0; place < all->size[key]; place++) {
            for (int ahead = 0; ahead < place; ahead++) {
                reaches[all->queue[key][place]][all->queue[key][ahead]] = true;
            }
        }
    }
    for (int by = 0; by < TRANSACTIONS; by++) {
        for (int from = 0; from < TRANSACTIONS; from++) {
            for (int to = 0; to < TRANSACTIONS; to++) {
                reaches[from][to] |= reaches[from][by] && reaches[by][to];
            }
        }
    }
    for (int one = 0; one < TRANSACTIONS; one++) {
        if (reaches[one][one]) {
            return true;
        }
    }
    return false;
}

static void deadlocks_are_those_of_the_model(void **state) {
    (void)state;
    static const char *const keys[KEYS] = {"a", "b", "c", "d", "e"};
    static lw_lock_waiter waiters[TRANSACTIONS][KEYS];
    memset(waiters, 0, sizeof(waiters));
    model all = {0};
    uint64_t random = 1, deadlock_count = 0;
    for (int round = 0; round < 60000; round++) {
        int transaction = (int)unit_random_below(&random, TRANSACTIONS);
        int key = (int)unit_random_below(&random, KEYS);
        uint64_t start = (uint64_t)transaction + 1;
        lw_lock_waiter *waiter = &waiters[transaction][key];
        if (unit_random_below(&random, 6) == 0) { /* it ends */
            for (int each = 0; each < KEYS; each++) {
                lw_lock_table_cancel(table, &waiters[transaction][each]);
                model_remove(&all, each, transaction);
            }
            lw_lock_table_release_all(table, start);
        } else if (model_place(&all, key, transaction) < 0) {
            *waiter = wanting(start, keys[key]);
            all.queue[key][all.size[key]++] = transaction;
            lw_buffer_clear(&cycle);
            lw_lock_answer answer = lw_lock_table_request(table, waiter, &other, &cycle);
            bool deadlock = model_has_cycle(&all);
            assert_int_equal(answer == LW_LOCK_DEADLOCK, deadlock);
            if (deadlock) {
                model_remove(&all, key, transaction);
                deadlock_count++;
            }
        }
        for (int each = 0; each < KEYS; each++) {
            for (int place = 0; place < all.size[each]; place++) {
                assert_int_equal(waiters[all.queue[each][place]][each].held, place == 0);
            }
        }
        if (round % 64 == 0) {
            lw_lock_table_check(table);
        }
    }
    assert_true(deadlock_count > 1000);
    for (int transaction = 0; transaction < TRANSACTIONS; transaction++) {
        for (int key = 0; key < KEYS; key++) {
            lw_lock_table_cancel(table, &waiters[transaction][key]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_is_had_in_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_transaction_may_ask_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(who_gives_up_lets_the_next_one_by, setup, teardown),
        cmocka_unit_test_setup_teardown(a_passing_commit_keeps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_of_a_session_frees_and_cuts, setup, teardown),
        cmocka_unit_test_setup_teardown(two_that_wait_for_one_another_are_a_deadlock, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(waiting_behind_others_counts_as_waiting_for_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_long_cycle_is_found_without_recursion, setup, teardown),
        cmocka_unit_test_setup_teardown(deadlocks_are_those_of_the_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
