/* SPDX-License-Identifier: Apache-2.0 */
/* The block cache: who is found, who goes first, and that its figures are exact. */
#include "storage/cache.h"

#include "base/hash.h"
#include "tests/unit.h"

enum { BLOCK_SIZE = 1000 };

static lw_cache *cache_of(lw_memory *memory, size_t limit) {
    lw_budget *budget = lw_budget_make(memory, limit);
    lw_cache *cache = lw_cache_open(memory, budget);
    lw_budget_release(budget);
    return cache;
}

/* Room for `count` blocks of BLOCK_SIZE: what one costs with its header is learnt from the cache.
 */
static size_t budget_for(size_t count) {
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, 1);
    lw_cache_figures figures;
    (void)lw_cache_make(cache, 1, 0, BLOCK_SIZE);
    lw_cache_figures_get(cache, &figures);
    lw_memory_close(memory);
    return figures.used * count;
}

static void add(lw_cache *cache, uint64_t number, uint64_t offset) {
    lw_cache_block *block = lw_cache_make(cache, number, offset, BLOCK_SIZE);
    memset(lw_cache_block_data(block), (int)(number + offset) & 0xff, BLOCK_SIZE);
    lw_cache_unpin(cache, lw_cache_publish(cache, block, NULL));
}

static bool use(lw_cache *cache, uint64_t number, uint64_t offset) {
    lw_cache_block *block = lw_cache_find(cache, number, offset, NULL);
    if (block == NULL) {
        return false;
    }
    assert_int_equal(lw_cache_block_size(block), BLOCK_SIZE);
    assert_int_equal(lw_cache_block_data(block)[BLOCK_SIZE - 1], (number + offset) & 0xff);
    lw_cache_unpin(cache, block);
    return true;
}

static size_t used(const lw_cache *cache) {
    lw_cache_figures figures;
    lw_cache_figures_get(cache, &figures);
    return figures.used;
}

static void a_block_is_found_by_file_and_offset_only_after_its_publication(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(4));
    lw_cache_block *block = lw_cache_make(cache, 7, 4096, BLOCK_SIZE);
    memset(lw_cache_block_data(block), 7, BLOCK_SIZE);
    assert_null(lw_cache_find(cache, 7, 4096, NULL));
    block = lw_cache_publish(cache, block, NULL);
    lw_cache_unpin(cache, block);
    block = lw_cache_find(cache, 7, 4096, NULL);
    assert_non_null(block);
    lw_cache_unpin(cache, block);
    assert_null(lw_cache_find(cache, 7, 0, NULL));
    assert_null(lw_cache_find(cache, 8, 4096, NULL));
    lw_cache_figures figures;
    lw_cache_figures_get(cache, &figures);
    assert_int_equal(figures.hits, 1);
    assert_int_equal(figures.misses, 3);
    assert_int_equal(figures.pinned, 0);
    lw_cache_close(cache);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
}

static void the_second_publication_yields_to_the_first(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(4));
    lw_cache_block *first = lw_cache_make(cache, 1, 0, BLOCK_SIZE);
    lw_cache_block *second = lw_cache_make(cache, 1, 0, BLOCK_SIZE);
    assert_ptr_equal(lw_cache_publish(cache, first, NULL), first);
    assert_ptr_equal(lw_cache_publish(cache, second, NULL), first);
    assert_int_equal(used(cache), budget_for(1));
    lw_cache_unpin(cache, first);
    lw_cache_unpin(cache, first);
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void the_oldest_on_probation_goes_first(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(3));
    for (uint64_t offset = 0; offset < 4; offset++) {
        add(cache, 1, offset);
    }
    assert_false(use(cache, 1, 0));
    assert_true(use(cache, 1, 1));
    assert_true(use(cache, 1, 2));
    assert_true(use(cache, 1, 3));
    assert_int_equal(used(cache), budget_for(3));
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void a_scan_does_not_push_out_what_is_used_again(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(10));
    for (uint64_t offset = 0; offset < 5; offset++) {
        add(cache, 1, offset);
        assert_true(use(cache, 1, offset));
    }
    for (uint64_t offset = 0; offset < 1000; offset++) {
        add(cache, 2, offset);
    }
    for (uint64_t offset = 0; offset < 5; offset++) {
        assert_true(use(cache, 1, offset));
    }
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void the_protected_leave_room_for_what_is_new(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(10));
    for (uint64_t offset = 0; offset < 10; offset++) {
        add(cache, 1, offset);
    }
    for (uint64_t offset = 0; offset < 10; offset++) {
        assert_true(use(cache, 1, offset));
    }
    /* Two were sent back to probation: they make room first, so that a newcomer can come to be used
     * a second time. */
    add(cache, 2, 0);
    add(cache, 2, 1);
    assert_true(use(cache, 2, 0));
    assert_true(use(cache, 2, 1));
    assert_false(use(cache, 1, 0));
    assert_false(use(cache, 1, 1));
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void a_slot_is_emptied_when_its_block_goes(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(2));
    lw_cache_slot slots[2] = {NULL};
    lw_cache_block *block =
        lw_cache_publish(cache, lw_cache_make(cache, 1, 0, BLOCK_SIZE), &slots[0]);
    assert_ptr_equal(slots[0], block);
    lw_cache_unpin(cache, block);
    for (uint64_t offset = 1; offset < 8; offset++) {
        add(cache, 1, offset);
    }
    assert_null(slots[0]);
    assert_true(use(cache, 1, 7));
    lw_cache_unpin(cache, lw_cache_find(cache, 1, 7, &slots[1]));
    assert_non_null(slots[1]);
    lw_cache_leave(slots, 2);
    assert_null(slots[1]);
    lw_cache_forget(cache, 1);
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void pinned_blocks_are_passed_by(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(4));
    add(cache, 1, 0);
    assert_true(use(cache, 1, 0));
    lw_cache_block *held[3];
    for (uint64_t offset = 1; offset < 4; offset++) {
        held[offset - 1] =
            lw_cache_publish(cache, lw_cache_make(cache, 1, offset, BLOCK_SIZE), NULL);
    }
    add(cache, 1, 4); /* the one that was used again has to go, as the others are pinned */
    assert_int_equal(used(cache), budget_for(4));
    assert_true(use(cache, 1, 4));
    assert_false(use(cache, 1, 0));
    for (size_t index = 0; index < 3; index++) {
        lw_cache_unpin(cache, held[index]);
    }
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void only_pinned_blocks_exceed_the_budget(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(2));
    lw_cache_block *held[4];
    for (uint64_t offset = 0; offset < 4; offset++) {
        held[offset] = lw_cache_publish(cache, lw_cache_make(cache, 1, offset, BLOCK_SIZE), NULL);
    }
    assert_int_equal(used(cache), budget_for(4));
    lw_cache_unpin(cache, held[0]);
    lw_cache_unpin(cache, held[1]);
    assert_int_equal(used(cache), budget_for(2));
    lw_cache_unpin(cache, held[2]);
    lw_cache_unpin(cache, held[3]);
    assert_int_equal(used(cache), budget_for(2));
    assert_null(lw_cache_find(cache, 1, 0, NULL));
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void an_unpublished_block_is_freed_by_its_unpin(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(2));
    lw_cache_unpin(cache, lw_cache_make(cache, 1, 0, BLOCK_SIZE));
    assert_int_equal(used(cache), 0);
    assert_null(lw_cache_find(cache, 1, 0, NULL));
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void what_others_take_of_the_budget_is_taken_from_the_blocks(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(4));
    for (uint64_t offset = 0; offset < 4; offset++) {
        add(cache, 1, offset);
    }
    lw_budget_charge(lw_cache_budget(cache), LW_BUDGET_MEMTABLES, budget_for(3));
    assert_int_equal(lw_cache_budget(cache)->used, budget_for(4));
    assert_int_equal(used(cache), budget_for(1));
    assert_true(use(cache, 1, 3));
    assert_false(use(cache, 1, 2));
    lw_budget_discharge(lw_cache_budget(cache), LW_BUDGET_MEMTABLES, budget_for(3));
    assert_int_equal(used(cache), budget_for(1));
    lw_cache_close(cache);
    lw_memory_close(memory);
}

static void a_forgotten_file_is_gone_and_its_pinned_blocks_go_with_their_pin(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_cache *cache = cache_of(memory, budget_for(8));
    for (uint64_t offset = 0; offset < 3; offset++) {
        add(cache, 1, offset);
        add(cache, 2, offset);
    }
    lw_cache_block *held = lw_cache_find(cache, 1, 1, NULL);
    lw_cache_forget(cache, 1);
    lw_cache_forget(cache, 99);
    assert_int_equal(used(cache), budget_for(4));
    for (uint64_t offset = 0; offset < 3; offset++) {
        assert_false(use(cache, 1, offset));
        assert_true(use(cache, 2, offset));
    }
    assert_int_equal(lw_cache_block_data(held)[0], 2);
    lw_cache_unpin(cache, held);
    assert_int_equal(used(cache), budget_for(3));
    assert_false(use(cache, 1, 1));
    lw_cache_close(cache);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
}

/* Everything at random, with the simplest account of what must hold beside it. */
static void whatever_happens_the_figures_are_exact(void **state) {
    (void)state;
    enum { HELD_COUNT = 8, STEPS = 20000 };
    lw_memory *memory = lw_memory_open();
    size_t header_size = budget_for(1) - BLOCK_SIZE;
    lw_cache *cache = cache_of(memory, budget_for(12));
    lw_cache_block *held[HELD_COUNT] = {NULL};
    const lw_budget *budget = lw_cache_budget(cache);
    lw_budget_share other = lw_budget_share_in(lw_cache_budget(cache), LW_BUDGET_MEMTABLES);
    lw_cache_slot slots[5][7] = {{NULL}};
    for (uint64_t step = 0; step < STEPS; step++) {
        uint64_t chance = lw_mix(step);
        uint64_t number = chance % 5, offset = chance / 8 % 7;
        size_t slot = chance / 64 % HELD_COUNT, charge = chance / 512 % 3000;
        if (held[slot] != NULL) {
            lw_cache_unpin(cache, held[slot]);
            held[slot] = NULL;
        } else if (chance >> 60 == 0) {
            lw_cache_forget(cache, number);
            assert_null(slots[number][offset]);
        } else if (chance >> 60 == 3) {
            lw_cache_leave(slots[number], 7);
        } else if (chance >> 60 == 1) {
            lw_budget_share_set(&other, charge);
        } else {
            bool shortcut = slots[number][offset] != NULL;
            held[slot] = lw_cache_find(cache, number, offset, &slots[number][offset]);
            assert_true(held[slot] != NULL || !shortcut);
            if (held[slot] == NULL) {
                size_t size = 100 * (number * 7 + offset);
                held[slot] = lw_cache_make(cache, number, offset, size);
                if (chance >> 60 != 2) {
                    held[slot] = lw_cache_publish(cache, held[slot], &slots[number][offset]);
                }
            }
            assert_int_equal(lw_cache_block_size(held[slot]), 100 * (number * 7 + offset));
        }
        size_t pinned = 0;
        for (size_t index = 0; index < HELD_COUNT; index++) {
            size_t before = 0;
            while (held[before] != held[index]) {
                before++;
            }
            bool counted = held[index] == NULL || before < index;
            pinned += counted ? 0 : header_size + lw_cache_block_size(held[index]);
        }
        lw_cache_figures figures;
        lw_cache_figures_get(cache, &figures);
        assert_int_equal(figures.pinned, pinned);
        assert_int_equal(budget->parts[LW_BUDGET_BLOCKS], figures.used);
        assert_int_equal(budget->evictable, figures.used - pinned);
        assert_int_equal(budget->used, figures.used + other.size);
        assert_true(budget->used <= budget->limit || figures.used == pinned);
    }
    for (size_t slot = 0; slot < HELD_COUNT; slot++) {
        if (held[slot] != NULL) {
            lw_cache_unpin(cache, held[slot]);
        }
    }
    lw_budget_share_set(&other, 0);
    lw_cache_close(cache);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_found_by_file_and_offset_only_after_its_publication),
        cmocka_unit_test(the_second_publication_yields_to_the_first),
        cmocka_unit_test(the_oldest_on_probation_goes_first),
        cmocka_unit_test(a_scan_does_not_push_out_what_is_used_again),
        cmocka_unit_test(the_protected_leave_room_for_what_is_new),
        cmocka_unit_test(a_slot_is_emptied_when_its_block_goes),
        cmocka_unit_test(pinned_blocks_are_passed_by),
        cmocka_unit_test(only_pinned_blocks_exceed_the_budget),
        cmocka_unit_test(an_unpublished_block_is_freed_by_its_unpin),
        cmocka_unit_test(what_others_take_of_the_budget_is_taken_from_the_blocks),
        cmocka_unit_test(a_forgotten_file_is_gone_and_its_pinned_blocks_go_with_their_pin),
        cmocka_unit_test(whatever_happens_the_figures_are_exact),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
