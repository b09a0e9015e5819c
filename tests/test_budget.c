/* SPDX-License-Identifier: Apache-2.0 */
/* The memory budget: sums, who yields to whom, and the bounds of each part. */
#include "storage/budget.h"

#include "storage/cache.h"
#include "tests/unit.h"

enum { LIMIT = 80000, BLOCK_SIZE = 1000 };

typedef struct fixture {
    lw_memory *memory;
    lw_budget *budget;
    lw_cache *cache;
} fixture;

static fixture fixture_open(void) {
    fixture made = {.memory = lw_memory_open()};
    made.budget = lw_budget_make(made.memory, LIMIT);
    made.cache = lw_cache_open(made.memory, made.budget);
    return made;
}

static void fixture_close(fixture *of) {
    lw_cache_close(of->cache);
    lw_budget_release(of->budget);
    assert_int_equal(lw_memory_used(of->memory), 0);
    lw_memory_close(of->memory);
}

static void fill_cache(fixture *in) {
    for (uint64_t offset = 0; offset < 2 * LIMIT; offset += BLOCK_SIZE) {
        lw_cache_block *block = lw_cache_make(in->cache, 1, offset, BLOCK_SIZE);
        memset(lw_cache_block_data(block), 1, BLOCK_SIZE);
        lw_cache_unpin(in->cache, lw_cache_publish(in->cache, block, NULL));
    }
}

static void the_cache_has_what_nobody_else_needs_and_gives_it_back_at_once(void **state) {
    (void)state;
    fixture at = fixture_open();
    fill_cache(&at);
    assert_in_range(at.budget->parts[LW_BUDGET_BLOCKS], LIMIT - 2 * BLOCK_SIZE, LIMIT);
    lw_budget_charge(at.budget, LW_BUDGET_MEMTABLES, LIMIT / 2);
    assert_in_range(at.budget->used, LIMIT - 2 * BLOCK_SIZE, LIMIT);
    assert_int_equal(at.budget->parts[LW_BUDGET_BLOCKS], at.budget->used - LIMIT / 2);
    lw_budget_discharge(at.budget, LW_BUDGET_MEMTABLES, LIMIT / 2);
    fill_cache(&at);
    assert_in_range(at.budget->parts[LW_BUDGET_BLOCKS], LIMIT - 2 * BLOCK_SIZE, LIMIT);
    assert_true(at.budget->used_max <= LIMIT);
    fixture_close(&at);
}

static void taking_never_passes_the_limit_and_says_who_has_the_memory(void **state) {
    (void)state;
    fixture at = fixture_open();
    fill_cache(&at);
    lw_budget_charge(at.budget, LW_BUDGET_MEMTABLES, LIMIT / 2);
    assert_int_equal(lw_budget_take(at.budget, LW_BUDGET_BUFFERS, LIMIT / 2 + 1, "a large value"),
                     LW_BACKPRESSURE);
    assert_non_null(strstr(lw_error_slot()->text, "a large value"));
    assert_non_null(strstr(lw_error_slot()->text, "memtables have 40000"));
    assert_int_equal(lw_budget_take(at.budget, LW_BUDGET_BUFFERS, LIMIT / 2, "a value"), LW_OK);
    assert_int_equal(at.budget->used, LIMIT);
    assert_int_equal(lw_budget_room(at.budget), 0);
    lw_budget_discharge(at.budget, LW_BUDGET_BUFFERS, LIMIT / 2);
    lw_budget_discharge(at.budget, LW_BUDGET_MEMTABLES, LIMIT / 2);
    fixture_close(&at);
}

static void what_has_to_be_taken_is_taken_and_counted(void **state) {
    (void)state;
    fixture at = fixture_open();
    lw_budget_charge(at.budget, LW_BUDGET_MEMTABLES, 2 * LIMIT);
    assert_int_equal(at.budget->used_max, 2 * LIMIT);
    assert_int_equal(lw_budget_room(at.budget), 0);
    lw_budget_discharge(at.budget, LW_BUDGET_MEMTABLES, 2 * LIMIT);
    assert_int_equal(at.budget->used, 0);
    fixture_close(&at);
}

static void memtables_have_three_eighths_and_less_where_others_have_more(void **state) {
    (void)state;
    fixture at = fixture_open();
    fill_cache(&at);
    assert_int_equal(lw_budget_for_memtables(at.budget), LIMIT / 8 * 3);
    /* Neither what memtables have already nor the cache counts. */
    lw_budget_charge(at.budget, LW_BUDGET_MEMTABLES, LIMIT / 4);
    assert_int_equal(lw_budget_for_memtables(at.budget), LIMIT / 8 * 3);
    /* Three eighths for tables and an eighth for work leave as much, and more. */
    lw_budget_charge(at.budget, LW_BUDGET_FILTERS, lw_budget_for_tables(at.budget));
    assert_int_equal(lw_budget_for_memtables(at.budget), LIMIT / 8 * 3);
    lw_budget_charge(at.budget, LW_BUDGET_BUFFERS, LIMIT / 8 * 3);
    assert_int_equal(lw_budget_for_memtables(at.budget), LIMIT / 4);
    /* But never nothing. */
    lw_budget_charge(at.budget, LW_BUDGET_INDEXES, LIMIT);
    assert_int_equal(lw_budget_for_memtables(at.budget), LIMIT / 8);
    lw_budget_discharge(at.budget, LW_BUDGET_INDEXES, LIMIT);
    lw_budget_discharge(at.budget, LW_BUDGET_BUFFERS, LIMIT / 8 * 3);
    lw_budget_discharge(at.budget, LW_BUDGET_FILTERS, lw_budget_for_tables(at.budget));
    lw_budget_discharge(at.budget, LW_BUDGET_MEMTABLES, LIMIT / 4);
    fixture_close(&at);
}

static void a_share_charges_what_it_grew_by(void **state) {
    (void)state;
    fixture at = fixture_open();
    lw_budget_share share = lw_budget_share_in(at.budget, LW_BUDGET_BUFFERS);
    lw_budget_share_set(&share, 700);
    lw_budget_share_set(&share, 300);
    assert_int_equal(at.budget->parts[LW_BUDGET_BUFFERS], 300);
    lw_budget_share_set(&share, 0);
    assert_int_equal(at.budget->used, 0);
    assert_int_equal(at.budget->used_max, 700);
    lw_budget_share none = lw_budget_share_in(NULL, LW_BUDGET_BUFFERS);
    lw_budget_share_set(&none, 5);
    lw_budget_share_set(&none, 0);
    fixture_close(&at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_has_what_nobody_else_needs_and_gives_it_back_at_once),
        cmocka_unit_test(taking_never_passes_the_limit_and_says_who_has_the_memory),
        cmocka_unit_test(what_has_to_be_taken_is_taken_and_counted),
        cmocka_unit_test(memtables_have_three_eighths_and_less_where_others_have_more),
        cmocka_unit_test(a_share_charges_what_it_grew_by),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
