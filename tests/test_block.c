/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: the bytes, every move against a sorted array, and any damage. */
#include "tests/sorted_entries.h"

static lw_bytes build(lw_memory *memory, const sorted_entries *entries, uint32_t restart_interval) {
    lw_block_builder builder = lw_block_builder_in(memory, restart_interval);
    for (size_t index = 0; index < entries->count; index++) {
        size_t before = lw_block_builder_size(&builder);
        lw_block_builder_add(&builder, &entries->list[index]);
        assert_true(lw_block_builder_size(&builder) <=
                    before + lw_block_entry_size_max(&entries->list[index]));
    }
    size_t size = lw_block_builder_size(&builder);
    lw_bytes block = lw_copy(memory, lw_block_builder_finish(&builder));
    assert_int_equal(block.size, size);
    lw_block_builder_reset(&builder);
    return block;
}

static void the_bytes_are_the_format(void **state) {
    (void)state;
    static const uint8_t golden[] = {
        0, 5 << 1,     0x90, 0x4e, 3,   'a', 'p', 'p', 'l', 'e', 'r', 'e', 'd', /* put, 10000 */
        4, 1 << 1 | 1, 7,    'y',                                               /* delete */
        0, 3 << 1,     1,    0,    'p', 'e', 'a',                               /* a restart */
        0, 0,          0,    0,    17,  0,   0,   0,                            /* restarts */
        2, 0,          0,    0,                                                 /* their count */
    };
    lw_entry list[] = {
        {lw_text("apple"), 10000, LW_ENTRY_PUT, lw_text("red")},
        {lw_text("apply"), 7, LW_ENTRY_DELETE, lw_text("")},
        {lw_text("pea"), 1, LW_ENTRY_PUT, lw_text("")},
    };
    sorted_entries entries = {.list = list, .count = 3};
    lw_memory *memory = lw_memory_open();
    lw_bytes block = build(memory, &entries, 2);
    assert_int_equal(block.size, sizeof(golden));
    assert_memory_equal(block.data, golden, sizeof(golden));
    lw_memory_close(memory);
}

static void assert_walks(lw_block_cursor *cursor, const sorted_entries *entries) {
    (void)lw_block_cursor_first(cursor);
    for (size_t index = 0; index < entries->count; index++) {
        sorted_assert_at(entries, index, lw_block_cursor_entry(cursor));
        assert_true(index == 0 || cursor->repeats == lw_equal(entries->list[index].key,
                                                              entries->list[index - 1].key));
        (void)lw_block_cursor_next(cursor);
    }
    assert_null(lw_block_cursor_entry(cursor));
    (void)lw_block_cursor_last(cursor);
    for (size_t index = entries->count; index-- > 0;) {
        sorted_assert_at(entries, index, lw_block_cursor_entry(cursor));
        (void)lw_block_cursor_previous(cursor);
    }
    assert_null(lw_block_cursor_entry(cursor));
    assert_false(cursor->damaged);
}

static void assert_seeks(lw_block_cursor *cursor, const sorted_entries *entries, lw_bytes key,
                         uint64_t sequence) {
    size_t index = sorted_seek(entries, key, sequence);
    assert_int_equal(lw_block_cursor_seek(cursor, key, sequence), index < entries->count);
    sorted_assert_at(entries, index, lw_block_cursor_entry(cursor));
    if (index < entries->count) {
        (void)lw_block_cursor_previous(cursor);
        sorted_assert_at(entries, index - 1, lw_block_cursor_entry(cursor));
    }
    assert_int_equal(lw_block_cursor_seek_before(cursor, key, sequence), index > 0);
    sorted_assert_at(entries, index - 1, lw_block_cursor_entry(cursor));
    if (index > 0) {
        (void)lw_block_cursor_next(cursor);
        sorted_assert_at(entries, index, lw_block_cursor_entry(cursor));
    }
}

/* An image of a block; NULL if it is damaged. Exactly as large as it must be. */
static uint8_t *image_of(lw_bytes block) {
    lw_block_plan plan;
    if (!lw_block_plan_make(block, &plan)) {
        return NULL;
    }
    uint8_t *image = malloc(plan.size);
    lw_block_image_write(&plan, image);
    return image;
}

static void assert_finds(const lw_block *block, const sorted_entries *entries, lw_bytes key,
                         uint64_t sequence) {
    lw_entry found;
    size_t index = sorted_seek(entries, key, sequence);
    lw_block_found answer = lw_block_find(block, key, sequence, &found);
    if (index == entries->count) {
        assert_int_equal(answer, LW_BLOCK_BEYOND);
    } else if (lw_equal(entries->list[index].key, key)) {
        assert_int_equal(answer, LW_BLOCK_FOUND);
        sorted_assert_at(entries, index, &found);
    } else {
        assert_int_equal(answer, LW_BLOCK_NONE);
    }
}

static void assert_agrees(lw_block_cursor *cursor, const sorted_entries *entries,
                          const sorted_entries *strange) {
    assert_null(lw_block_cursor_entry(cursor));
    assert_walks(cursor, entries);
    for (size_t index = 0; index < entries->count; index++) {
        const uint64_t sequences[] = {entries->list[index].sequence, UINT64_MAX, 0};
        for (size_t which = 0; which < 3; which++) {
            assert_seeks(cursor, entries, entries->list[index].key, sequences[which]);
            assert_finds(&cursor->block, entries, entries->list[index].key, sequences[which]);
        }
    }
    for (size_t index = 0; index < strange->count; index++) {
        const lw_entry *entry = &strange->list[index];
        assert_seeks(cursor, entries, entry->key, entry->sequence);
        assert_finds(&cursor->block, entries, entry->key, entry->sequence);
    }
}

static void every_move_agrees_with_a_sorted_array(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        lw_memory *memory = lw_memory_open();
        sorted_shape shape = (sorted_shape)(seed % SORTED_SHAPES);
        sorted_entries entries = sorted_make(memory, shape, seed, 1 + seed);
        sorted_entries strange = sorted_make(memory, shape, seed + 1000, 50);
        lw_bytes block = build(memory, &entries, 1 + (uint32_t)(seed / 7 % 20));
        lw_block_cursor cursor = lw_block_cursor_in(memory);
        assert_true(lw_block_cursor_open(&cursor, block));
        assert_agrees(&cursor, &entries, &strange);
        uint8_t *image = image_of(block);
        assert_non_null(image);
        lw_block_cursor_open_image(&cursor, image);
        assert_agrees(&cursor, &entries, &strange);
        free(image);
        lw_memory_close(memory);
    }
}

static void a_builder_builds_one_block_after_another(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    sorted_entries entries = sorted_make(memory, SORTED_COMMON, 5, 40);
    lw_bytes wanted = build(memory, &entries, 7);
    lw_block_builder builder = lw_block_builder_in(memory, 7);
    for (int round = 0; round < 3; round++) {
        for (size_t index = 0; index < entries.count; index++) {
            lw_block_builder_add(&builder, &entries.list[index]);
        }
        assert_true(lw_equal(lw_block_builder_finish(&builder), wanted));
        lw_block_builder_clear(&builder);
    }
    lw_memory_close(memory);
}

static void a_block_without_its_end_is_refused(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_block_cursor cursor = lw_block_cursor_in(memory);
    static const struct {
        uint8_t bytes[16];
        size_t size;
        bool accepted;
    } cases[] = {
        {{0}, 0, false},
        {{0, 0, 0, 0}, 4, false},
        {{0, 2, 1, 0, 'k', 0, 0, 0, 0, 1, 0, 0, 0}, 13, true},
        {{0, 2, 1, 0, 'k', 0, 0, 0, 0, 0, 0, 0, 0}, 13, false},         /* no restart */
        {{0, 2, 1, 0, 'k', 0, 0, 0, 0, 4, 0, 0, 0}, 13, false},         /* more than there is */
        {{0, 2, 1, 0, 'k', 0, 0, 0, 0, 255, 255, 255, 255}, 13, false}, /* far more */
        {{0, 2, 1, 0, 'k', 1, 0, 0, 0, 1, 0, 0, 0}, 13, false},         /* the first is not at 0 */
        {{0, 0, 0, 0, 1, 0, 0, 0}, 8, false},                           /* no entry */
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        lw_bytes copy = lw_copy(memory, lw_view(cases[index].bytes, cases[index].size));
        assert_int_equal(lw_block_cursor_open(&cursor, copy), cases[index].accepted);
    }
    lw_memory_close(memory);
}

static void exercise_moves(lw_block_cursor *cursor, lw_bytes block) {
    size_t steps = 0;
    for (bool on = lw_block_cursor_first(cursor); on; on = lw_block_cursor_next(cursor)) {
        assert_true(++steps <= block.size);
    }
    steps = 0;
    for (bool on = lw_block_cursor_last(cursor); on; on = lw_block_cursor_previous(cursor)) {
        assert_true(++steps <= block.size);
    }
    (void)lw_block_cursor_seek(cursor, lw_text("m"), 5);
    (void)lw_block_cursor_seek_before(cursor, lw_text("m"), 5);
}

/* Every move there is, on a block that may be anything. */
static void exercise(lw_block_cursor *cursor, lw_bytes block) {
    if (!lw_block_cursor_open(cursor, block)) {
        return;
    }
    exercise_moves(cursor, block);
    uint8_t *image = image_of(block);
    if (image != NULL) {
        lw_block_cursor_open_image(cursor, image);
        exercise_moves(cursor, block);
        free(image);
    }
}

/* The address sanitizer sees what is read outside: every copy is as large as it must be. */
static void no_damage_is_read_beyond_the_block(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SORTED_LARGE; seed++) {
        lw_memory *memory = lw_memory_open();
        sorted_entries entries = sorted_make(memory, (sorted_shape)seed, seed, 12);
        lw_bytes block = build(memory, &entries, 3);
        lw_block_cursor cursor = lw_block_cursor_in(memory);
        uint8_t *copy = malloc(block.size);
        for (size_t index = 0; index < block.size; index++) {
            for (unsigned byte = 0; byte < 256; byte += 1 + byte % 3) {
                memcpy(copy, block.data, block.size);
                copy[index] = (uint8_t)byte;
                exercise(&cursor, lw_view(copy, block.size));
            }
        }
        free(copy);
        for (size_t size = 0; size < block.size; size++) {
            copy = malloc(size + 1);
            memcpy(copy, block.data, size);
            exercise(&cursor, lw_view(copy, size));
            free(copy);
        }
        lw_memory_close(memory);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_the_format),
        cmocka_unit_test(every_move_agrees_with_a_sorted_array),
        cmocka_unit_test(a_builder_builds_one_block_after_another),
        cmocka_unit_test(a_block_without_its_end_is_refused),
        cmocka_unit_test(no_damage_is_read_beyond_the_block),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
