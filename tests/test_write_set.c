/* SPDX-License-Identifier: Apache-2.0 */
#include "client/write_set.h"
#include "tests/unit_memory.h"

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

/* An atomic write reads nothing. Once its key is locked and read, what was read counts, whatever
 * the key is given and whatever of that is taken back: the lock may be lost with its node (hazard
 * T7).
 */
static void what_a_lock_has_seen_counts_from_then_on(void **state) {
    (void)state;
    lw_write_set set = lw_write_set_in(memory);
    size_t mark = lw_write_set_mark(&set);
    lw_write *one =
        lw_write_set_put(&set, LW_MUTATION_APPEND, lw_text("k"), lw_text("tail"), LW_SEEN_ANYTHING);
    assert_true(one->mutation.seen == LW_SEEN_ANYTHING);
    size_t inner = lw_write_set_mark(&set);
    (void)lw_write_set_put(&set, LW_MUTATION_LOCK, lw_text("k"), lw_text("head"), 7);
    assert_int_equal(one->mutation.seen, 7);
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("k"), lw_text("headtail"),
                           LW_SEEN_ANYTHING);
    assert_int_equal(one->mutation.seen, 7);
    lw_write_set_return(&set, inner);
    assert_int_equal(one->mutation.kind, LW_MUTATION_APPEND);
    assert_int_equal(one->mutation.seen, 7);
    lw_write_set_return(&set, mark);
    assert_ptr_equal(lw_write_set_find(&set, lw_text("k")), one);
    assert_int_equal(one->mutation.kind, LW_MUTATION_LOCK);
    assert_int_equal(one->mutation.seen, 7);
    assert_int_equal(set.bytes, 1);
    lw_write_set_reset(&set);
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

static void holds_value(const lw_write_set *set, const char *key, const char *value) {
    const lw_write *found = lw_write_set_find(set, lw_text(key));
    assert_non_null(found);
    assert_true(lw_equal(found->mutation.value, lw_text(value)));
}

static void what_came_after_a_mark_is_taken_back(void **state) {
    (void)state;
    lw_write_set set = lw_write_set_in(memory);
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("a"), lw_text("one"), 3);
    size_t mark = lw_write_set_mark(&set);
    (void)lw_write_set_put(&set, LW_MUTATION_DELETE, lw_text("a"), (lw_bytes){0}, 0);
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("b"), lw_text("two"), 0);
    size_t inner = lw_write_set_mark(&set);
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("b"), lw_text("three"), 0);
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("c"), lw_text("four"), 0);
    lw_write_set_return(&set, inner);
    assert_null(lw_write_set_find(&set, lw_text("c")));
    holds_value(&set, "b", "two");
    assert_int_equal(set.count, 2);
    assert_int_equal(set.bytes, 5); /* a, b, two */
    lw_write_set_return(&set, mark);
    lw_write_set_return(&set, mark);
    holds_value(&set, "a", "one");
    assert_int_equal(lw_write_set_find(&set, lw_text("a"))->mutation.kind, LW_MUTATION_PUT);
    assert_int_equal(lw_write_set_find(&set, lw_text("a"))->mutation.seen, 3);
    assert_int_equal(set.count, 1);
    assert_int_equal(set.bytes, 4);
    assert_true(lw_equal(set.last->mutation.key, lw_text("a")));
    lw_write_set_reset(&set);
}

static void a_lock_outlives_the_return(void **state) {
    (void)state;
    lw_write_set set = lw_write_set_in(memory);
    size_t mark = lw_write_set_mark(&set);
    lw_write *lock = lw_write_set_put(&set, LW_MUTATION_LOCK, lw_text("k"), lw_text("was"), 5);
    lock->read = lock->found = true;
    (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text("k"), lw_text("is"), 0);
    lw_write_set_return(&set, mark);
    holds_value(&set, "k", "was");
    assert_true(lw_write_knows(lock) && lw_write_present(lock));
    lw_write *blind = lw_write_set_put(&set, LW_MUTATION_LOCK, lw_text("l"), (lw_bytes){0}, 6);
    assert_false(lw_write_knows(blind));
    lw_write_set_reset(&set);
}

/* Marks are set and returned to at random; the whole set is held against copies of a table. */
static void returns_agree_with_copies_of_a_table(void **state) {
    (void)state;
    enum { KEYS = 40, STEPS = 4000, DEPTH = 8 };
    int model[DEPTH + 1][KEYS] = {{0}};
    size_t marks[DEPTH] = {0};
    uint32_t depth = 0;
    uint64_t number = 7;
    lw_write_set set = lw_write_set_in(memory);
    for (int step = 1; step <= STEPS; step++) {
        number = number * 6364136223846793005u + 1442695040888963407u;
        uint32_t choice = (uint32_t)(number >> 60), index = (uint32_t)(number >> 33) % KEYS;
        char key[8], value[16];
        (void)snprintf(key, sizeof(key), "%04u", index);
        (void)snprintf(value, sizeof(value), "%d", step);
        if (choice == 0 && depth < DEPTH) {
            marks[depth++] = lw_write_set_mark(&set);
            memcpy(model[depth], model[depth - 1], sizeof(model[0]));
        } else if (choice == 1 && depth > 0) {
            depth = index % depth;
            lw_write_set_return(&set, marks[depth]);
        } else {
            (void)lw_write_set_put(&set, LW_MUTATION_PUT, lw_text(key), lw_text(value), 0);
            model[depth][index] = step;
        }
        uint64_t present = 0;
        for (index = 0; index < KEYS; index++) {
            (void)snprintf(key, sizeof(key), "%04u", index);
            (void)snprintf(value, sizeof(value), "%d", model[depth][index]);
            const lw_write *found = lw_write_set_find(&set, lw_text(key));
            assert_int_equal(found != NULL, model[depth][index] != 0);
            assert_true(found == NULL || lw_equal(found->mutation.value, lw_text(value)));
            present += found != NULL;
        }
        assert_int_equal(set.count, present);
    }
    const lw_write *previous = NULL;
    for (const lw_write *one = set.first[0]; one != NULL; previous = one, one = one->next[0]) {
        assert_ptr_equal(one->previous, previous);
    }
    assert_ptr_equal(set.last, previous);
    lw_write_set_reset(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_later_write_replaces_an_earlier_one),
        cmocka_unit_test(what_a_lock_has_seen_counts_from_then_on),
        cmocka_unit_test(bounds_are_found_from_both_sides),
        cmocka_unit_test(it_agrees_with_a_table),
        cmocka_unit_test(what_came_after_a_mark_is_taken_back),
        cmocka_unit_test(a_lock_outlives_the_return),
        cmocka_unit_test(returns_agree_with_copies_of_a_table),
    };
    return cmocka_run_group_tests(tests, unit_memory_open, unit_memory_close) != 0 ? 1 : 0;
}
