/* SPDX-License-Identifier: Apache-2.0 */
/* Pessimistic locks: turns, sessions that end, and cycles that must not close. */
#include "txn/lock_table.h"

#include "tests/unit.h"

#include <time.h>

static lw_env *env;
static lw_memory *memory;
static size_t memory_before;
static lw_lock_table *table;
static lw_lock_cycle cycle;

static int setup(void **state) {
    (void)state;
    assert_int_equal(lw_env_posix_open(&env), LW_OK);
    memory = env->memory;
    memory_before = lw_memory_used(memory);
    table = lw_lock_table_open(env, NULL);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_lock_table_check(table);
    lw_lock_table_close(table);
    assert_int_equal(lw_memory_used(memory), memory_before);
    lw_env_close(env);
    return 0;
}

static lw_lock_waiter wanting(uint64_t start, const char *key) {
    return (lw_lock_waiter){.start = start, .session = start, .key = lw_text(key), .kept = true};
}

static lw_lock_answer ask(lw_lock_waiter *waiter) {
    lw_lock_answer answer = lw_lock_table_request(table, waiter, &cycle);
    lw_lock_table_check(table);
    return answer;
}

static void assert_cycle(const char *wanted) {
    char text[256] = "";
    assert_int_equal(cycle.length, cycle.step_count);
    for (uint32_t index = 0; index < cycle.step_count; index++) {
        const lw_lock_step *step = &cycle.steps[index];
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d waits for %.*s",
                       index == 0 ? "" : ", ", (int)step->start, (int)step->key.size,
                       (const char *)step->key.data);
    }
    assert_string_equal(text, wanted);
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

/* What a node tells the detector of deadlocks, and what it does with the answer. */
static void who_waits_for_whom_is_told_and_may_be_refused(void **state) {
    (void)state;
    lw_lock_waiter first = wanting(1, "k"), second = wanting(2, "k"), third = wanting(3, "k");
    lw_lock_waiter watcher = wanting(4, "l");
    lw_lock_edge edges[8];
    assert_int_equal(ask(&first), LW_LOCK_HELD);
    assert_int_equal(ask(&second), LW_LOCK_QUEUED);
    assert_int_equal(ask(&third), LW_LOCK_QUEUED);
    assert_int_equal(lw_lock_table_watch(table, &watcher, 9, 9, &cycle), LW_LOCK_QUEUED);
    assert_int_equal(lw_lock_table_edges(table, 0, 8, edges), 0); /* not for that long */
    static const uint64_t wanted[][2] = {{2, 1}, {3, 1}, {3, 2}, {4, 9}};
    assert_int_equal(lw_lock_table_edges(table, UINT64_MAX, 8, edges), 4);
    for (int index = 0; index < 4; index++) {
        assert_int_equal(edges[index].waiter, wanted[index][0]);
        assert_int_equal(edges[index].holder, wanted[index][1]);
        assert_int_equal(edges[index].session, wanted[index][0]);
    }
    assert_true(lw_equal(edges[3].key, lw_text("l")));
    assert_int_equal(lw_lock_table_edges(table, UINT64_MAX, 3, edges), 3);

    lw_lock_table_refuse(table, 2, lw_text("a cycle"));
    lw_lock_table_check(table);
    assert_true(second.refused && !second.held && !second.cut);
    assert_true(lw_equal(lw_buffer_view(&second.why), lw_text("a cycle")));
    lw_buffer_reset(&second.why);
    lw_lock_table_refuse(table, 4, lw_text("another"));
    assert_true(watcher.refused);
    lw_buffer_reset(&watcher.why);
    lw_lock_table_refuse(table, 7, lw_text("nobody"));
    lw_lock_table_release_all(table, 1);
    assert_true(third.held);
    lw_lock_table_release_all(table, 3);
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

static void locks_are_charged_and_handed_over(void **state) {
    (void)state;
    lw_budget *budget = lw_budget_make(memory, 8 * 4096);
    lw_lock_table *charged = lw_lock_table_open(env, budget);
    lw_lock_waiter waiters[64];
    char names[64][8];
    uint32_t count = 0;
    for (; !lw_lock_table_full(charged) && count < 64; count++) {
        (void)snprintf(names[count], sizeof(names[count]), "k%u", count);
        waiters[count] = wanting(1, names[count]);
        assert_int_equal(lw_lock_table_request(charged, &waiters[count], &cycle), LW_LOCK_HELD);
    }
    assert_in_range(count, 10, 40);
    assert_true(budget->parts[LW_BUDGET_BUFFERS] >= 4096);
    lw_lock_waiter second = wanting(2, "k1");
    assert_int_equal(lw_lock_table_request(charged, &second, &cycle), LW_LOCK_QUEUED);
    lw_lock_table_hand_over(charged, 2, lw_text("k0"));
    assert_int_equal(lw_lock_table_count(charged), count);
    lw_lock_table_hand_over(charged, 1, lw_text("k0"));
    assert_int_equal(lw_lock_table_count(charged), count - 1);
    assert_false(lw_lock_table_full(charged));
    lw_lock_table_hand_over(charged, 1, lw_text("k1")); /* the second waits for it */
    assert_false(second.held);
    assert_int_equal(lw_lock_table_count(charged), count - 1);
    lw_lock_table_release_all(charged, 1);
    assert_true(second.held);
    lw_lock_table_release_all(charged, 2);
    lw_lock_table_check(charged);
    assert_int_equal(budget->used, 0);
    lw_lock_table_close(charged);
    lw_budget_release(budget);
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
    assert_cycle("2 waits for k, 1 waits for l");
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
    assert_cycle("2 waits for k, 3 waits for l");
    lw_lock_table_cancel(table, &three_k);
    lw_lock_table_cancel(table, &three_l);
}

static void a_long_cycle_is_found_without_recursion(void **state) {
    (void)state;
    enum { LENGTH = 20000 };
    char(*keys)[24] = lw_allocate(memory, LENGTH * sizeof(*keys));
    lw_lock_waiter *held = lw_allocate(memory, LENGTH * sizeof(*held));
    lw_lock_waiter *waits = lw_allocate(memory, LENGTH * sizeof(*waits));
    for (size_t index = 0; index < LENGTH; index++) {
        (void)snprintf(keys[index], sizeof(keys[index]), "%zu", index);
        held[index] = wanting(index + 1, keys[index]);
        assert_int_equal(lw_lock_table_request(table, &held[index], &cycle), LW_LOCK_HELD);
    }
    /* Each waits for the one before, so that no walk but the last one is long. */
    for (size_t index = LENGTH - 1; index > 0; index--) {
        waits[index] = wanting(index + 1, keys[index - 1]);
        assert_int_equal(lw_lock_table_request(table, &waits[index], &cycle), LW_LOCK_QUEUED);
    }
    waits[0] = wanting(1, keys[LENGTH - 1]);
    assert_int_equal(ask(&waits[0]), LW_LOCK_DEADLOCK);
    assert_int_equal(cycle.length, LENGTH);
    assert_int_equal(cycle.step_count, LW_LOCK_CYCLE_MAX);
    assert_int_equal(cycle.steps[1].start, LENGTH);
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

static void what_a_killed_transaction_has_and_wants_is_let_go(void **state) {
    (void)state;
    lw_lock_waiter one_k = wanting(1, "k"), two_k = wanting(2, "k");
    lw_lock_waiter two_l = wanting(2, "l"), one_l = wanting(1, "l"), three_l = wanting(3, "l");
    assert_false(lw_lock_table_end(table, 1));
    assert_int_equal(ask(&one_k), LW_LOCK_HELD);
    assert_int_equal(ask(&two_l), LW_LOCK_HELD);
    assert_int_equal(ask(&two_k), LW_LOCK_QUEUED);
    assert_int_equal(ask(&three_l), LW_LOCK_QUEUED);
    assert_int_equal(ask(&one_l), LW_LOCK_DEADLOCK);
    assert_true(lw_lock_table_end(table, 2));
    assert_true(two_k.cut && !two_k.held);
    assert_true(three_l.held);
    lw_lock_table_release_all(table, 1);
    assert_false(two_k.held);
    assert_int_equal(lw_lock_table_count(table), 1);
    lw_lock_table_release_all(table, 3);
}

static void who_is_over_gets_nothing_any_more(void **state) {
    (void)state;
    lw_lock_waiter one = wanting(1, "k"), waits = wanting(2, "k"), late = wanting(2, "l");
    lw_lock_waiter other = wanting(3, "l");
    assert_int_equal(ask(&one), LW_LOCK_HELD);
    assert_int_equal(ask(&waits), LW_LOCK_QUEUED);
    lw_lock_table_over(table, 2);
    assert_true(waits.cut && !waits.held);
    lw_lock_table_release_all(table, 1);
    assert_int_equal(ask(&late), LW_LOCK_QUEUED);
    assert_true(late.cut && !late.held);
    assert_int_equal(lw_lock_table_count(table), 0);
    assert_int_equal(ask(&other), LW_LOCK_HELD);
    lw_lock_table_release_all(table, 3);
}

static void the_locks_of_a_range_are_freed_and_no_others(void **state) {
    (void)state;
    lw_lock_waiter one_k = wanting(1, "k"), two_k = wanting(2, "k"), three_k = wanting(3, "k");
    lw_lock_waiter one_a = wanting(1, "a"), two_a = wanting(2, "a"), four_z = wanting(4, "z");
    assert_int_equal(ask(&one_k), LW_LOCK_HELD);
    assert_int_equal(ask(&one_a), LW_LOCK_HELD);
    assert_int_equal(ask(&four_z), LW_LOCK_HELD);
    assert_int_equal(ask(&two_k), LW_LOCK_QUEUED);
    assert_int_equal(ask(&two_a), LW_LOCK_QUEUED);
    assert_int_equal(ask(&three_k), LW_LOCK_QUEUED);
    lw_lock_table_clear_range(table, lw_text("b"), lw_text("z"));
    lw_lock_table_check(table);
    assert_true(two_k.cut && !two_k.held && three_k.cut && !three_k.held);
    assert_false(two_a.cut);
    assert_int_equal(lw_lock_table_count(table), 2);
    lw_lock_waiter three_again = wanting(3, "k");
    assert_int_equal(ask(&three_again), LW_LOCK_HELD);
    lw_lock_table_clear_range(table, lw_text(""), lw_text("l"));
    lw_lock_table_check(table);
    assert_true(two_a.cut && !two_a.held);
    assert_int_equal(lw_lock_table_count(table), 1);
    lw_lock_table_clear_range(table, lw_text("z"), lw_text(""));
    assert_int_equal(lw_lock_table_count(table), 0);
    assert_int_equal(lw_lock_table_waiting(table), 0);
}

/* ---- looking -------------------------------------------------------------------------------- */

static void a_page_tells_the_first_locks_in_the_order_of_keys(void **state) {
    (void)state;
    enum { COUNT = 200 };
    char keys[COUNT][8];
    lw_lock_view views[COUNT];
    for (size_t index = 0; index < COUNT; index++) {
        (void)snprintf(keys[index], sizeof(keys[index]), "%03zu", index * 77 % COUNT);
        lw_lock_waiter held = wanting(index % 9 + 1, keys[index]);
        assert_int_equal(ask(&held), LW_LOCK_HELD);
    }
    for (uint32_t limit = 1; limit <= COUNT; limit += 33) {
        assert_int_equal(lw_lock_table_page(table, lw_text("050"), lw_text(""), limit, views),
                         limit < 150 ? limit : 150);
        for (uint32_t index = 0; index < limit && index < 150; index++) {
            char wanted[8];
            (void)snprintf(wanted, sizeof(wanted), "%03u", index + 50);
            assert_true(lw_equal(views[index].key, lw_text(wanted)));
        }
    }
    assert_int_equal(lw_lock_table_page(table, lw_text("050"), lw_text("053"), COUNT, views), 3);
    lw_lock_table_clear(table);
}

static void a_lock_tells_who_waits_in_which_order(void **state) {
    (void)state;
    lw_lock_waiter first = wanting(1, "k"), second = wanting(2, "k"), third = wanting(3, "k");
    lw_lock_view view;
    assert_false(lw_lock_table_look(table, lw_text("k"), &view));
    assert_int_equal(ask(&first), LW_LOCK_HELD);
    assert_int_equal(ask(&second), LW_LOCK_QUEUED);
    assert_int_equal(ask(&third), LW_LOCK_QUEUED);
    assert_true(lw_lock_table_look(table, lw_text("k"), &view));
    assert_int_equal(view.start, 1);
    assert_int_equal(view.waiting, 2);
    assert_int_equal(view.first->start, 2);
    assert_int_equal(view.first->next->start, 3);
    assert_true(view.since_ns != 0);
    assert_true(view.since_ns <= view.first->since_ns);
    uint64_t since_ns = view.since_ns;
    lw_lock_table_release_all(table, 1);
    assert_true(lw_lock_table_look(table, lw_text("k"), &view));
    assert_int_equal(view.start, 2);
    assert_int_equal(view.waiting, 1);
    assert_true(view.since_ns > since_ns);
    lw_lock_table_release_all(table, 2);
    lw_lock_table_release_all(table, 3);
}

/* ---- many ----------------------------------------------------------------------------------- */

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The least of three runs, since others use the machine. */
static double cost(void (*work)(size_t count), size_t count) {
    double least = 0;
    for (int run = 0; run < 3; run++) {
        double before = cpu_seconds();
        work(count);
        double spent = cpu_seconds() - before;
        least = run == 0 || spent < least ? spent : least;
    }
    return least;
}

/* Sixteen times as many may cost up to a hundred and twenty times as much, since caches end;
 * quadratic work would cost 256 times as much. */
static void assert_in_proportion(void (*work)(size_t count), size_t count) {
    double few = cost(work, count / 16), many = cost(work, count);
    if (many > 120 * few) {
        fail_msg("%zu cost %.5f s, %zu cost %.5f s", count / 16, few, count, many);
    }
}

static void queue_up_and_go(size_t count) {
    lw_lock_waiter *waiters = lw_allocate(memory, count * sizeof(*waiters));
    for (size_t index = 0; index < count; index++) {
        waiters[index] = wanting(index + 1, "k");
        assert_int_equal(lw_lock_table_request(table, &waiters[index], &cycle),
                         index == 0 ? LW_LOCK_HELD : LW_LOCK_QUEUED);
    }
    for (size_t index = 0; index < count; index++) {
        assert_true(waiters[index].held);
        if (index % 2 == 0) {
            lw_lock_table_release_all(table, index + 1);
        } else {
            lw_lock_table_session_ended(table, index + 1);
        }
    }
    lw_free(memory, waiters);
}

static void twenty_thousand_that_wait_for_one_key_cost_in_proportion(void **state) {
    (void)state;
    assert_in_proportion(queue_up_and_go, 20000);
}

/* Each has a key that another waits for, so that the way to those ahead would be long. */
static void queue_up_with_locks(size_t count) {
    char(*keys)[24] = lw_allocate(memory, count * sizeof(*keys));
    lw_lock_waiter *waiters = lw_allocate(memory, 3 * count * sizeof(*waiters));
    for (size_t index = 0; index < count; index++) {
        lw_lock_waiter *held = &waiters[3 * index], *waits = held + 1, *wants = held + 2;
        (void)snprintf(keys[index], sizeof(keys[index]), "%zu", index);
        *held = wanting(index + 1, keys[index]);
        *waits = wanting(count + index + 1, keys[index]);
        *wants = wanting(index + 1, "k");
        assert_int_equal(lw_lock_table_request(table, held, &cycle), LW_LOCK_HELD);
        assert_int_equal(lw_lock_table_request(table, waits, &cycle), LW_LOCK_QUEUED);
        assert_int_equal(lw_lock_table_request(table, wants, &cycle),
                         index == 0 ? LW_LOCK_HELD : LW_LOCK_QUEUED);
    }
    lw_lock_table_clear(table);
    lw_free(memory, keys);
    lw_free(memory, waiters);
}

static void waiting_with_locks_of_ones_own_costs_in_proportion(void **state) {
    (void)state;
    assert_in_proportion(queue_up_with_locks, 20000);
}

/* One transaction, all of whose requests come with a lock that is another's in between. */
static void lock_many(size_t count) {
    enum { OTHER = 2 };
    char(*keys)[24] = lw_allocate(memory, count * sizeof(*keys));
    for (size_t index = 0; index < count; index++) {
        (void)snprintf(keys[index], sizeof(keys[index]), "%zu", index);
        lw_lock_waiter held = wanting(1, keys[index]);
        lw_lock_waiter theirs = wanting(OTHER, "k"), wants = wanting(1, "k");
        assert_int_equal(lw_lock_table_request(table, &held, &cycle), LW_LOCK_HELD);
        assert_int_equal(lw_lock_table_request(table, &theirs, &cycle), LW_LOCK_HELD);
        assert_int_equal(lw_lock_table_request(table, &wants, &cycle), LW_LOCK_QUEUED);
        lw_lock_table_cancel(table, &wants);
    }
    lw_lock_table_release_all(table, 1);
    lw_lock_table_release_all(table, OTHER);
    lw_free(memory, keys);
}

static void a_hundred_thousand_locks_of_one_transaction_cost_in_proportion(void **state) {
    (void)state;
    assert_in_proportion(lock_many, 100000);
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
            lw_lock_answer answer = lw_lock_table_request(table, waiter, &cycle);
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

/* ---- commits under way that are watched -------------------------------------------------------
 */

static lw_lock_answer ask_after(lw_lock_waiter *waiter, uint64_t other) {
    lw_lock_answer answer = lw_lock_table_watch(table, waiter, other, other, &cycle);
    lw_lock_table_check(table);
    return answer;
}

static void who_watches_is_told_of_its_key(void **state) {
    (void)state;
    lw_lock_waiter one = wanting(1, "k"), two = wanting(2, "k"), other = wanting(3, "l");
    assert_int_equal(ask_after(&one, 9), LW_LOCK_QUEUED);
    assert_int_equal(ask_after(&two, 9), LW_LOCK_QUEUED);
    assert_int_equal(ask_after(&other, 9), LW_LOCK_QUEUED);
    assert_int_equal(lw_lock_table_count(table), 0); /* none of them has anything */
    lw_lock_table_unlocked(table, 8, lw_text("k"));
    assert_false(one.held);
    lw_lock_table_unlocked(table, 9, lw_text("k"));
    lw_lock_table_check(table);
    assert_true(one.held && two.held);
    assert_false(other.held);
    lw_lock_table_cancel(table, &other);
    assert_int_equal(lw_lock_table_waiting(table), 0);
}

/* 1 has a lock and meets the intent of 2, which waits for the lock: whoever comes last is told. */
static void a_cycle_over_an_intent_is_found_from_either_side(void **state) {
    (void)state;
    for (int order = 0; order < 2; order++) {
        lw_lock_waiter has = wanting(1, "a"), waits = wanting(2, "a"), meets = wanting(1, "b");
        waits.kept = false;
        assert_int_equal(ask(&has), LW_LOCK_HELD);
        if (order == 0) {
            assert_int_equal(ask(&waits), LW_LOCK_QUEUED);
            assert_int_equal(ask_after(&meets, 2), LW_LOCK_DEADLOCK);
            assert_cycle("1 waits for b, 2 waits for a");
        } else {
            assert_int_equal(ask_after(&meets, 2), LW_LOCK_QUEUED);
            assert_int_equal(ask(&waits), LW_LOCK_DEADLOCK);
            assert_cycle("2 waits for a, 1 waits for b");
        }
        lw_lock_table_cancel(table, &waits);
        lw_lock_table_cancel(table, &meets);
        lw_lock_table_release_all(table, 1);
        lw_lock_table_check(table);
    }
}

static void a_cycle_of_intents_alone_is_found(void **state) {
    (void)state;
    lw_lock_waiter one = wanting(1, "a"), two = wanting(2, "b"), three = wanting(3, "c");
    assert_int_equal(ask_after(&one, 2), LW_LOCK_QUEUED);
    assert_int_equal(ask_after(&two, 3), LW_LOCK_QUEUED);
    assert_int_equal(ask_after(&three, 1), LW_LOCK_DEADLOCK);
    assert_cycle("3 waits for c, 1 waits for a, 2 waits for b");
    lw_lock_table_cancel(table, &one);
    lw_lock_table_cancel(table, &two);
}

static void the_end_of_who_is_watched_tells_and_of_who_watches_cuts(void **state) {
    (void)state;
    lw_lock_waiter one = wanting(1, "a"), two = wanting(2, "b"), has = wanting(2, "c");
    assert_int_equal(ask(&has), LW_LOCK_HELD);
    assert_int_equal(ask_after(&one, 2), LW_LOCK_QUEUED);
    assert_int_equal(ask_after(&two, 3), LW_LOCK_QUEUED);
    assert_true(lw_lock_table_end(table, 2));
    lw_lock_table_check(table);
    assert_true(one.held);
    assert_true(two.cut);
    lw_lock_waiter four = wanting(4, "d"), five = wanting(5, "e"), six = wanting(6, "f");
    four.session = five.session = 77;
    assert_int_equal(ask_after(&four, 5), LW_LOCK_QUEUED); /* two of one session */
    assert_int_equal(ask_after(&five, 6), LW_LOCK_QUEUED);
    assert_int_equal(ask_after(&six, 4), LW_LOCK_DEADLOCK);
    lw_lock_waiter seven = wanting(7, "g");
    assert_int_equal(ask_after(&seven, 5), LW_LOCK_QUEUED);
    lw_lock_table_session_ended(table, 77);
    lw_lock_table_check(table);
    assert_true(four.cut && five.cut && !seven.cut);
    lw_lock_table_clear(table);
    assert_int_equal(lw_lock_table_waiting(table), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_is_had_in_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_transaction_may_ask_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(who_waits_for_whom_is_told_and_may_be_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_gives_up_lets_the_next_one_by, setup, teardown),
        cmocka_unit_test_setup_teardown(a_passing_commit_keeps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(locks_are_charged_and_handed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_of_a_session_frees_and_cuts, setup, teardown),
        cmocka_unit_test_setup_teardown(two_that_wait_for_one_another_are_a_deadlock, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(waiting_behind_others_counts_as_waiting_for_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_long_cycle_is_found_without_recursion, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_killed_transaction_has_and_wants_is_let_go, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_is_over_gets_nothing_any_more, setup, teardown),
        cmocka_unit_test_setup_teardown(the_locks_of_a_range_are_freed_and_no_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_page_tells_the_first_locks_in_the_order_of_keys, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lock_tells_who_waits_in_which_order, setup, teardown),
        cmocka_unit_test_setup_teardown(twenty_thousand_that_wait_for_one_key_cost_in_proportion,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(waiting_with_locks_of_ones_own_costs_in_proportion, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_hundred_thousand_locks_of_one_transaction_cost_in_proportion, setup, teardown),
        cmocka_unit_test_setup_teardown(deadlocks_are_those_of_the_model, setup, teardown),
        cmocka_unit_test_setup_teardown(who_watches_is_told_of_its_key, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cycle_over_an_intent_is_found_from_either_side, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_cycle_of_intents_alone_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_of_who_is_watched_tells_and_of_who_watches_cuts,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
