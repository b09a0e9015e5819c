/* SPDX-License-Identifier: Apache-2.0 */
/* lattice/revoked: the laws of the join, what is forgotten and when, and pages that are none. */
#include "lattice/revoked.h"

#include "tests/unit.h"

#define DAY_MS (UINT64_C(24) * 3600 * 1000)

static void put(lw_revoked *revoked, uint64_t id, uint64_t expires_ms, bool expected_news) {
    bool news = !expected_news;
    assert_int_equal(lw_revoked_add(revoked, (lw_revoked_token){id, expires_ms}, 0, &news), LW_OK);
    assert_int_equal(news, expected_news);
}

static void a_revoked_token_is_known_by_its_id(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_revoked revoked = lw_revoked_in(memory);
    assert_false(lw_revoked_has(&revoked, 5));
    put(&revoked, 5, 100, true);
    put(&revoked, 3, 100, true);
    put(&revoked, 9, 100, true);
    put(&revoked, 5, 100, false);
    put(&revoked, 5, 90, false);
    put(&revoked, 5, 110, true);
    assert_true(lw_revoked_has(&revoked, 3) && lw_revoked_has(&revoked, 5) &&
                lw_revoked_has(&revoked, 9));
    assert_false(lw_revoked_has(&revoked, 4));
    assert_int_equal(revoked.count, 3);
    lw_memory_close(memory);
}

/* The set that a subset of entries makes, merged in an order, one page each, some twice. */
static void make(lw_memory *memory, const lw_revoked_token *tokens, uint32_t count, uint64_t *seed,
                 lw_buffer *page) {
    uint32_t order[16];
    lw_revoked whole = lw_revoked_in(memory);
    for (uint32_t index = 0; index < count; index++) {
        order[index] = index;
    }
    for (uint32_t index = count; index > 1; index--) {
        uint32_t other = (uint32_t)unit_random_below(seed, index), kept = order[index - 1];
        order[index - 1] = order[other];
        order[other] = kept;
    }
    for (uint32_t index = 0; index < 2 * count; index++) {
        lw_revoked one = lw_revoked_in(memory);
        lw_buffer bytes = lw_buffer_in(memory);
        bool news;
        if (index < count || unit_random_below(seed, 2) == 0) {
            assert_int_equal(lw_revoked_add(&one, tokens[order[index % count]], 0, &news), LW_OK);
        }
        lw_revoked_encode(&one, &bytes);
        uint32_t before = whole.count;
        assert_int_equal(lw_revoked_merge(&whole, lw_buffer_view(&bytes), 0, &news), LW_OK);
        assert_true(whole.count >= before);
        assert_true(index < count || !news);
    }
    lw_revoked_encode(&whole, page);
}

static void any_order_of_merging_gives_the_same_set(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        lw_memory *memory = lw_memory_open();
        lw_revoked_token tokens[12];
        for (uint32_t index = 0; index < 12; index++) {
            tokens[index] =
                (lw_revoked_token){unit_random_below(&seed, 6), unit_random_below(&seed, 4)};
        }
        lw_buffer first = lw_buffer_in(memory), second = first;
        make(memory, tokens, 12, &seed, &first);
        make(memory, tokens, 12, &seed, &second);
        assert_true(lw_equal(lw_buffer_view(&first), lw_buffer_view(&second)));
        lw_memory_close(memory);
    }
}

static void what_expired_a_day_ago_is_forgotten_and_not_taken_in_again(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_revoked revoked = lw_revoked_in(memory);
    put(&revoked, 1, 1000, true);
    put(&revoked, 2, 2000, true);
    put(&revoked, 3, UINT64_MAX, true);
    lw_buffer page = lw_buffer_in(memory);
    lw_revoked_encode(&revoked, &page);
    lw_revoked_expire(&revoked, DAY_MS + 999);
    assert_int_equal(revoked.count, 3);
    lw_revoked_expire(&revoked, DAY_MS + 1000);
    assert_false(lw_revoked_has(&revoked, 1));
    assert_int_equal(revoked.count, 2);
    bool news = true;
    assert_int_equal(lw_revoked_merge(&revoked, lw_buffer_view(&page), DAY_MS + 1000, &news),
                     LW_OK);
    assert_false(news);
    lw_revoked_expire(&revoked, UINT64_MAX - 1);
    assert_true(lw_revoked_has(&revoked, 3));
    lw_memory_close(memory);
}

static void there_is_a_bound(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_revoked revoked = lw_revoked_in(memory);
    for (uint64_t id = 0; id < LW_REVOKED_MAX; id++) {
        put(&revoked, id * 3, 100, true);
    }
    bool news = true;
    assert_int_equal(lw_revoked_add(&revoked, (lw_revoked_token){1, 100}, 0, &news), LW_FULL);
    assert_false(news);
    put(&revoked, 3, 101, true);
    lw_memory_close(memory);
}

static void a_page_that_is_none_changes_nothing(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_revoked revoked = lw_revoked_in(memory), other = revoked;
    lw_buffer page = lw_buffer_in(memory);
    put(&other, 1, 100, true);
    put(&other, 2, 100, true);
    lw_revoked_encode(&other, &page);
    for (size_t size = 0; size < page.size; size++) {
        bool news;
        assert_int_equal(lw_revoked_merge(&revoked, lw_view(page.data, size), 0, &news),
                         LW_INVALID_ARGUMENT);
        assert_int_equal(revoked.count, 0);
    }
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_revoked_token_is_known_by_its_id),
        cmocka_unit_test(any_order_of_merging_gives_the_same_set),
        cmocka_unit_test(what_expired_a_day_ago_is_forgotten_and_not_taken_in_again),
        cmocka_unit_test(there_is_a_bound),
        cmocka_unit_test(a_page_that_is_none_changes_nothing),
    };
    return cmocka_run_group_tests_name("revoked", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
