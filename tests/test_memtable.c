/* SPDX-License-Identifier: Apache-2.0 */
/* The memtable against a sorted array, and what its cursors promise while inserts go on. */
#include "storage/memtable.h"

#include "base/hash.h"
#include "tests/unit.h"

#include <stdlib.h>

typedef struct model_entry {
    char key[48];
    size_t key_size;
    uint64_t sequence;
    lw_entry_kind kind;
    uint64_t value;
} model_entry;

enum { MODEL_CAPACITY = 20000 };

typedef struct model {
    model_entry entries[MODEL_CAPACITY];
    size_t count;
} model;

typedef struct chance {
    uint64_t seed, step;
} chance;

static uint64_t draw(chance *from, uint64_t bound) {
    return lw_mix(from->seed ^ lw_mix(++from->step)) % bound;
}

static int compare_to(const model_entry *of, lw_bytes key, uint64_t sequence) {
    int order = lw_compare(lw_view(of->key, of->key_size), key);
    return order != 0 ? order : (of->sequence < sequence) - (of->sequence > sequence);
}

/* The first index at or after (key, sequence). */
static size_t model_seek(const model *in, lw_bytes key, uint64_t sequence) {
    size_t low = 0, high = in->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_to(&in->entries[middle], key, sequence) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void model_insert(model *into, const model_entry *added) {
    lw_bytes key = lw_view(added->key, added->key_size);
    size_t index = model_seek(into, key, added->sequence);
    bool same = index < into->count && compare_to(&into->entries[index], key, added->sequence) == 0;
    if (!same) {
        assert_true(into->count < MODEL_CAPACITY);
        memmove(&into->entries[index + 1], &into->entries[index],
                (into->count - index) * sizeof(model_entry));
        into->count++;
    }
    into->entries[index] = *added;
}

static lw_entry entry_of(const model_entry *added) {
    lw_entry entry = {.key = lw_view(added->key, added->key_size),
                      .sequence = added->sequence,
                      .kind = added->kind};
    if (added->kind == LW_ENTRY_PUT) {
        entry.value = lw_view(&added->value, sizeof(added->value));
    }
    return entry;
}

static void insert(lw_memtable *memtable, const model_entry *added) {
    lw_entry entry = entry_of(added);
    lw_memtable_insert(memtable, &entry);
}

static void assert_stands_on(const lw_memtable_cursor *cursor, const model *expected,
                             size_t index) {
    const lw_entry *entry = lw_memtable_cursor_entry(cursor);
    if (index >= expected->count) {
        assert_null(entry);
        return;
    }
    const model_entry *wanted = &expected->entries[index];
    assert_non_null(entry);
    assert_int_equal(compare_to(wanted, entry->key, entry->sequence), 0);
    assert_int_equal(entry->kind, wanted->kind);
    if (wanted->kind == LW_ENTRY_PUT) {
        assert_int_equal(entry->value.size, sizeof(wanted->value));
        assert_memory_equal(entry->value.data, &wanted->value, sizeof(wanted->value));
    } else {
        assert_int_equal(entry->value.size, 0);
    }
}

static void assert_equal(const lw_memtable *memtable, const model *expected) {
    lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
    assert_int_equal(lw_memtable_count(memtable), expected->count);
    lw_memtable_cursor_first(&cursor);
    for (size_t index = 0; index < expected->count; index++) {
        assert_stands_on(&cursor, expected, index);
        lw_memtable_cursor_next(&cursor);
    }
    assert_null(lw_memtable_cursor_entry(&cursor));
    lw_memtable_cursor_last(&cursor);
    for (size_t index = expected->count; index-- > 0;) {
        assert_stands_on(&cursor, expected, index);
        lw_memtable_cursor_previous(&cursor);
    }
    assert_null(lw_memtable_cursor_entry(&cursor));
}

/* Shapes of keys that go wrong in one tree or another: few and short (many versions each), zeros at
 * the end, a long prefix in common, numbers that ascend, many that differ late, and such among
 * which every now and then one comes that begins otherwise. */
static void draw_entry(chance *from, uint64_t shape, model_entry *drawn) {
    *drawn = (model_entry){.sequence = draw(from, shape == 0 ? 8 : 1000),
                           .kind = draw(from, 8) == 0 ? LW_ENTRY_DELETE : LW_ENTRY_PUT,
                           .value = draw(from, UINT64_MAX)};
    size_t size = 0;
    if (shape == 2 || shape >= 4) {
        size = (size_t)snprintf(drawn->key, sizeof(drawn->key), "tenant/7/table/12/");
    }
    if (shape == 5 && draw(from, 400) == 0) {
        size = draw(from, size);
    }
    if (shape == 3) {
        size = (size_t)snprintf(drawn->key, sizeof(drawn->key), "%016llx",
                                (unsigned long long)from->step);
    } else {
        size_t random_size = shape >= 4 ? 12 : draw(from, 12);
        uint64_t letters = shape == 1 ? 2 : (shape == 0 ? 3 : 256);
        for (size_t index = 0; index < random_size; index++) {
            drawn->key[size++] = (char)draw(from, letters);
        }
    }
    drawn->key_size = size;
}

static void it_agrees_with_a_sorted_array(void **state) {
    (void)state;
    model *expected = malloc(sizeof(*expected));
    for (uint64_t seed = 0; seed < 20; seed++) {
        chance from = {.seed = seed};
        lw_memory *memory = lw_memory_open();
        lw_memtable *memtable = lw_memtable_open(memory);
        lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
        expected->count = 0;
        size_t steps = seed < 6 ? 6000 : 700;
        for (size_t step = 0; step < steps; step++) {
            model_entry drawn;
            draw_entry(&from, seed % 6, &drawn);
            insert(memtable, &drawn);
            model_insert(expected, &drawn);
            draw_entry(&from, seed % 6, &drawn);
            lw_bytes key = lw_view(drawn.key, drawn.key_size);
            lw_memtable_cursor_seek(&cursor, key, drawn.sequence);
            assert_stands_on(&cursor, expected, model_seek(expected, key, drawn.sequence));
            lw_memtable_cursor_seek_before(&cursor, key);
            assert_stands_on(&cursor, expected, model_seek(expected, key, UINT64_MAX) - 1);
            assert_int_equal(lw_memtable_size(memtable), lw_memory_used(memory));
        }
        assert_equal(memtable, expected);
        lw_memtable_close(memtable);
        assert_int_equal(lw_memory_used(memory), 0);
        lw_memory_close(memory);
    }
    free(expected);
}

static void deferred_or_not_makes_no_difference(void **state) {
    (void)state;
    model *expected = malloc(sizeof(*expected));
    for (uint64_t seed = 0; seed < 60; seed++) {
        chance from = {.seed = seed};
        lw_memory *memory = lw_memory_open();
        lw_memtable *memtable = lw_memtable_open(memory);
        expected->count = 0;
        for (size_t round = 0; round < 5; round++) {
            for (uint64_t left = draw(&from, 1200); left > 0; left--) {
                model_entry drawn;
                draw_entry(&from, seed % 6, &drawn);
                lw_entry entry = entry_of(&drawn);
                lw_memtable_defer(memtable, &entry);
                model_insert(expected, &drawn);
            }
            lw_memtable_settle(memtable);
            assert_int_equal(lw_memtable_size(memtable), lw_memory_used(memory));
            for (uint64_t left = draw(&from, 10); left > 0; left--) {
                model_entry drawn;
                draw_entry(&from, seed % 6, &drawn);
                insert(memtable, &drawn);
                model_insert(expected, &drawn);
            }
            assert_equal(memtable, expected);
        }
        lw_memtable_close(memtable);
        assert_int_equal(lw_memory_used(memory), 0);
        lw_memory_close(memory);
    }
    free(expected);
}

static void a_cursor_keeps_its_place_while_inserts_go_on(void **state) {
    (void)state;
    model *expected = malloc(sizeof(*expected));
    chance from = {.seed = 99};
    lw_memory *memory = lw_memory_open();
    lw_memtable *memtable = lw_memtable_open(memory);
    expected->count = 0;
    model_entry drawn;
    for (size_t step = 0; step < 500; step++) {
        draw_entry(&from, 4, &drawn);
        insert(memtable, &drawn);
        model_insert(expected, &drawn);
    }
    for (size_t round = 0; round < 200; round++) {
        lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
        size_t at = (size_t)draw(&from, expected->count);
        model_entry mark = expected->entries[at];
        lw_memtable_cursor_seek(&cursor, lw_view(mark.key, mark.key_size), mark.sequence);
        assert_stands_on(&cursor, expected, at);
        for (uint64_t step = draw(&from, 100); step > 0; step--) {
            draw_entry(&from, 4, &drawn);
            insert(memtable, &drawn);
            model_insert(expected, &drawn);
        }
        at = model_seek(expected, lw_view(mark.key, mark.key_size), mark.sequence);
        assert_stands_on(&cursor, expected, at);
        if (round % 2 == 0) {
            lw_memtable_cursor_next(&cursor);
            assert_stands_on(&cursor, expected, at + 1);
        } else {
            lw_memtable_cursor_previous(&cursor);
            assert_stands_on(&cursor, expected, at - 1);
        }
    }
    lw_memory_close(memory);
    free(expected);
}

static void views_outlive_the_entry_that_replaces_theirs(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_memtable *memtable = lw_memtable_open(memory);
    lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
    lw_entry entry = {
        .key = lw_text("k"), .sequence = 5, .kind = LW_ENTRY_PUT, .value = lw_text("first")};
    lw_memtable_insert(memtable, &entry);
    lw_memtable_cursor_seek(&cursor, lw_text("k"), 5);
    lw_bytes first = lw_memtable_cursor_entry(&cursor)->value;
    entry.value = lw_text("second");
    lw_memtable_insert(memtable, &entry);
    assert_true(lw_equal(first, lw_text("first")));
    assert_int_equal(lw_memtable_count(memtable), 1);
    lw_memtable_cursor_next(&cursor);
    assert_null(lw_memtable_cursor_entry(&cursor));
    lw_memtable_cursor_first(&cursor);
    assert_true(lw_equal(lw_memtable_cursor_entry(&cursor)->value, lw_text("second")));
    lw_memory_close(memory);
}

static void an_empty_one_costs_next_to_nothing(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_memtable *memtable = lw_memtable_open(memory);
    lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
    assert_true(lw_memtable_size(memtable) <= 256);
    assert_int_equal(lw_memtable_count(memtable), 0);
    assert_int_equal(lw_memtable_sequence_min(memtable), 0);
    assert_int_equal(lw_memtable_sequence_max(memtable), 0);
    lw_memtable_cursor_first(&cursor);
    assert_null(lw_memtable_cursor_entry(&cursor));
    lw_memtable_cursor_last(&cursor);
    assert_null(lw_memtable_cursor_entry(&cursor));
    lw_memtable_cursor_seek(&cursor, lw_text("a"), 1);
    assert_null(lw_memtable_cursor_entry(&cursor));
    lw_memtable_cursor_seek_before(&cursor, lw_text("a"));
    assert_null(lw_memtable_cursor_entry(&cursor));
    lw_entry entry = {.key = lw_text("a"), .sequence = UINT64_MAX, .kind = LW_ENTRY_DELETE};
    lw_memtable_insert(memtable, &entry);
    assert_true(lw_memtable_size(memtable) <= 4096);
    lw_memory_close(memory);
}

static void it_knows_its_lowest_and_highest_sequence(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_memtable *memtable = lw_memtable_open(memory);
    const uint64_t sequences[] = {7, UINT64_MAX, 3, 9, 0};
    const uint64_t lowest[] = {7, 7, 3, 3, 0};
    for (size_t index = 0; index < 5; index++) {
        lw_entry entry = {
            .key = lw_text("a"), .sequence = sequences[index], .kind = LW_ENTRY_DELETE};
        lw_memtable_insert(memtable, &entry);
        assert_true(lw_memtable_sequence_min(memtable) == lowest[index]);
        assert_true(lw_memtable_sequence_max(memtable) == (index == 0 ? 7 : UINT64_MAX));
    }
    lw_memory_close(memory);
}

/* A log that is applied in the order of its keys should not leave half of every node empty. */
static void keys_that_ascend_fill_its_nodes(void **state) {
    (void)state;
    enum { ENTRY_COUNT = 50000, RECORD_SIZE = 32, NODE_SHARE_MAX = 20 };
    lw_memory *memory = lw_memory_open();
    lw_memtable *memtable = lw_memtable_open(memory);
    for (uint64_t index = 0; index < ENTRY_COUNT; index++) {
        uint8_t key[16];
        lw_put_u64_sorted(key, 0);
        lw_put_u64_sorted(key + 8, index);
        lw_entry entry = {
            .key = lw_view(key, sizeof(key)), .sequence = index, .kind = LW_ENTRY_DELETE};
        lw_memtable_insert(memtable, &entry);
    }
    assert_true(lw_memtable_size(memtable) <
                (size_t)ENTRY_COUNT * (RECORD_SIZE + NODE_SHARE_MAX) + 65536);
    lw_memory_close(memory);
}

static void the_largest_entry_fits(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_memtable *memtable = lw_memtable_open(memory);
    uint8_t *bytes = lw_allocate(memory, LW_TREE_VALUE_SIZE_MAX);
    memset(bytes, 'v', LW_TREE_VALUE_SIZE_MAX);
    lw_entry entry = {.key = lw_view(bytes, LW_TREE_KEY_SIZE_MAX),
                      .sequence = 1,
                      .kind = LW_ENTRY_PUT,
                      .value = lw_view(bytes, LW_TREE_VALUE_SIZE_MAX)};
    lw_memtable_insert(memtable, &entry);
    lw_memtable_cursor cursor = lw_memtable_cursor_in(memtable);
    lw_memtable_cursor_last(&cursor);
    assert_true(lw_equal(lw_memtable_cursor_entry(&cursor)->key, entry.key));
    assert_true(lw_equal(lw_memtable_cursor_entry(&cursor)->value, entry.value));
    lw_memory_close(memory);
}

/* Whoever gives back a large one must not keep others waiting (storage/spent.h). */
static void it_can_be_closed_piece_by_piece(void **state) {
    (void)state;
    enum { ENTRIES = 20000, PIECE = 256 * 1024, BLOCK = 64 * 1024 };
    lw_memory *memory = lw_memory_open();
    lw_memtable *memtable = lw_memtable_open(memory);
    for (uint32_t index = 0; index < ENTRIES; index++) {
        char key[16], value[100] = {0};
        (void)snprintf(key, sizeof(key), "%u", (unsigned)lw_mix(index) % 100000);
        lw_entry entry = {.key = lw_text(key),
                          .sequence = index + 1,
                          .kind = LW_ENTRY_PUT,
                          .value = lw_view(value, sizeof(value))};
        lw_memtable_insert(memtable, &entry);
    }
    size_t before = lw_memtable_size(memtable), pieces = before / PIECE, taken = 0;
    assert_true(pieces >= 8);
    while (!lw_memtable_close_some(memtable, PIECE)) {
        size_t size = lw_memtable_size(memtable);
        assert_true(size < before && before - size < PIECE + BLOCK);
        before = size;
        taken++;
    }
    assert_true(taken + 1 >= pieces / 2 && taken <= pieces);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_agrees_with_a_sorted_array),
        cmocka_unit_test(deferred_or_not_makes_no_difference),
        cmocka_unit_test(a_cursor_keeps_its_place_while_inserts_go_on),
        cmocka_unit_test(views_outlive_the_entry_that_replaces_theirs),
        cmocka_unit_test(an_empty_one_costs_next_to_nothing),
        cmocka_unit_test(it_knows_its_lowest_and_highest_sequence),
        cmocka_unit_test(keys_that_ascend_fill_its_nodes),
        cmocka_unit_test(the_largest_entry_fits),
        cmocka_unit_test(it_can_be_closed_piece_by_piece),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
