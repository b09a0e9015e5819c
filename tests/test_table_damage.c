/* SPDX-License-Identifier: Apache-2.0 */
/* Tables whose file is damaged: nothing wrong is believed, and the inspection says what is wrong.
 */
#include "base/hash.h"
#include "tests/table_world.h"

/* ---- damage ---------------------------------------------------------------------------------- */

typedef enum outcome { SAME, DETECTED, WRONG } outcome;

/* Whether a table still reads as it was written, every way there is to read it. */
static outcome judge(fixture *in, const sorted_entries *entries) {
    lw_status status = reopen(in, NULL);
    if (status != LW_OK) {
        assert_int_equal(status, LW_CORRUPTION);
        assert_non_null(strstr(lw_error_slot()->text, "the table t is damaged at offset "));
        return DETECTED;
    }
    lw_table_cursor *cursor = lw_table_cursor_open(in->table);
    outcome so_far = SAME;
    for (size_t index = 0; index < entries->count && so_far == SAME; index++) {
        const lw_entry *wanted = &entries->list[index];
        if (!lw_table_may_hold(in->table, wanted->key)) {
            so_far = WRONG;
            break;
        }
        status = index % 2 == 0 || lw_table_cursor_entry(cursor) == NULL
                     ? lw_table_cursor_seek(cursor, wanted->key, wanted->sequence)
                     : lw_table_cursor_next(cursor);
        const lw_entry *entry = lw_table_cursor_entry(cursor);
        if (status != LW_OK) {
            assert_int_equal(status, LW_CORRUPTION);
            assert_null(entry);
            so_far = DETECTED;
        } else if (entry == NULL || sorted_compare(entry, wanted) != 0 ||
                   entry->kind != wanted->kind || !lw_equal(entry->value, wanted->value)) {
            so_far = WRONG;
        }
    }
    lw_table_cursor_close(cursor);
    return so_far;
}

typedef struct flips {
    size_t same, detected, wrong;
    size_t property_bits; /* which only the inspection reads */
} flips;

/* Flips each bit of a small table, one at a time. */
static flips flip_every_bit(const char *bug, lw_compression compression) {
    flips counted = {0};
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    lw_table_options options = {.block_size = 200, .compression = compression};
    build_and_open(&at, &entries, &options);
    assert_int_equal(judge(&at, &entries), SAME);
    at.world->bug = bug;
    counted.property_bits = (size_t)8 * lw_get_u32(file_bytes(&at)->data + at.info.size - 8);
    for (size_t bit = 0; bit < at.info.size * 8; bit++) {
        uint8_t *byte = &file_bytes(&at)->data[bit / 8];
        *byte ^= (uint8_t)(1U << (bit % 8));
        outcome judged = judge(&at, &entries);
        *(judged == SAME       ? &counted.same
          : judged == DETECTED ? &counted.detected
                               : &counted.wrong) += 1;
        *byte ^= (uint8_t)(1U << (bit % 8));
        if (judged == SAME && bug == NULL) {
            lw_buffer text = lw_buffer_in(at.memory);
            *byte ^= (uint8_t)(1U << (bit % 8));
            assert_int_equal(lw_table_inspect(at.env, "t", &text), LW_CORRUPTION);
            *byte ^= (uint8_t)(1U << (bit % 8));
            lw_buffer_reset(&text);
        }
    }
    assert_int_equal(judge(&at, &entries), SAME);
    fixture_close(&at);
    return counted;
}

static void no_flipped_bit_is_ever_believed(void **state) {
    (void)state;
    for (int compression = 0; compression < 3; compression++) {
        flips counted = flip_every_bit(NULL, (lw_compression)compression);
        assert_int_equal(counted.wrong, 0);
        assert_int_equal(counted.same, counted.property_bits);
        /* And the checksum is what sees it: without it, wrong entries come out. */
        counted = flip_every_bit("table.no_checksum", (lw_compression)compression);
        assert_true(counted.wrong > 100);
    }
}

static void a_table_cut_anywhere_is_refused(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    build_and_open(&at, &entries, NULL);
    for (size_t size = file_bytes(&at)->size; size-- > 0;) {
        file_bytes(&at)->size = size;
        assert_int_equal(judge(&at, &entries), DETECTED);
        at.info.size = size;
        assert_int_equal(judge(&at, &entries), DETECTED);
    }
    fixture_close(&at);
}

static void a_file_cut_while_it_is_open_is_damage(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    build_and_open(&at, &entries, NULL);
    file_bytes(&at)->size = 100;
    lw_table_cursor *cursor = lw_table_cursor_open(at.table);
    assert_int_equal(lw_table_cursor_first(cursor), LW_CORRUPTION);
    assert_non_null(strstr(lw_error_slot()->text, "offset 0: the file ends too early"));
    assert_null(lw_table_cursor_entry(cursor));
    lw_table_cursor_close(cursor);
    fixture_close(&at);
}

static void only_the_table_that_the_catalog_names_is_opened(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 12);
    build_and_open(&at, &entries, NULL);
    lw_table_info info = at.info;
    at.info.origin++;
    assert_int_equal(judge(&at, &entries), DETECTED);
    at.info = info;
    at.info.number++; /* as one that was ingested: only its name is another */
    assert_int_equal(judge(&at, &entries), SAME);
    at.info = info;
    at.info.checksum++;
    assert_int_equal(judge(&at, &entries), DETECTED);
    at.info = info;
    at.info.size++;
    assert_int_equal(judge(&at, &entries), DETECTED);
    at.info = info;
    assert_int_equal(judge(&at, &entries), SAME);
    assert_ok(lw_path_unlink(at.env, "t"));
    assert_int_equal(judge(&at, &entries), DETECTED);
    fixture_close(&at);
}

/* What a misdirected write or a stale sector leaves: a whole block with a valid checksum,
 * elsewhere. */
static void a_block_of_another_table_or_place_is_not_believed(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    lw_entry list[] = {
        {lw_text("a"), 1, LW_ENTRY_PUT, lw_text("one")},
        {lw_text("b"), 1, LW_ENTRY_PUT, lw_text("two")},
    };
    sorted_entries entries = {.list = list, .count = 2};
    lw_table_options options = {.block_size = 1};
    assert_ok(build(&at, "other", 8, &entries, &options));
    build_and_open(&at, &entries, &options);
    uint8_t *bytes = file_bytes(&at)->data;
    const uint8_t *other = memory_world_file(at.world, "other")->bytes.data;
    enum { SEALED_SIZE = 8 + 8 + 6 };
    uint8_t first[SEALED_SIZE], second[SEALED_SIZE];
    memcpy(first, bytes, SEALED_SIZE);
    memcpy(second, bytes + SEALED_SIZE, SEALED_SIZE);
    assert_int_equal(judge(&at, &entries), SAME);
    memcpy(bytes, other, SEALED_SIZE);
    assert_int_equal(judge(&at, &entries), DETECTED);
    memcpy(bytes, second, SEALED_SIZE);
    assert_int_equal(judge(&at, &entries), DETECTED);
    memcpy(bytes, first, SEALED_SIZE);
    assert_int_equal(judge(&at, &entries), SAME);
    fixture_close(&at);
}

/* ---- inspection ------------------------------------------------------------------------------ */

static void the_inspection_describes_a_table(void **state) {
    (void)state;
    lw_entry list[] = {
        {lw_text("a"), 9, LW_ENTRY_PUT, lw_text("one")},
        {lw_text("b\n"), 4, LW_ENTRY_DELETE, lw_text("")},
    };
    sorted_entries entries = {.list = list, .count = 2};
    fixture at = fixture_open(1 << 20);
    lw_table_options options = {.block_size = 1};
    build_and_open(&at, &entries, &options);
    lw_buffer text = lw_buffer_in(at.memory);
    assert_ok(lw_table_inspect(at.env, "t", &text));
    lw_buffer_append_u8(&text, 0);
    assert_string_equal(
        (const char *)text.data,
        "table 7: format 2, 222 bytes\n"
        "  2 entries, 1 of them deletes; sequences 4 to 9; keys \"a\" to \"b\\x0a\"\n"
        "  data of 29 bytes before compression: none\n"
        "  filter at offset 41: 1 lines, 6 probes\n"
        "  index at offset 112: 2 blocks\n"
        "  block 0 at offset 0: 22 bytes for 16, 1 entries from \"a\"\n"
        "  block 1 at offset 22: 19 bytes for 13, 1 entries from \"b\\x0a\"\n"
        "verdict: sound\n");
    fixture_close(&at);
}

static void the_inspection_goes_on_after_damage(void **state) {
    (void)state;
    fixture at = fixture_open(1 << 20);
    sorted_entries entries = sorted_make(at.memory, SORTED_COMMON, 11, 100);
    lw_table_options options = {.block_size = 300};
    build_and_open(&at, &entries, &options);
    file_bytes(&at)->data[0] ^= 1;
    lw_buffer text = lw_buffer_in(at.memory);
    assert_int_equal(lw_table_inspect(at.env, "t", &text), LW_CORRUPTION);
    lw_buffer_append_u8(&text, 0);
    const char *words = (const char *)text.data;
    assert_non_null(strstr(words, "fault at offset 0: its checksum does not match\n"));
    assert_null(strstr(words, "block 0 at"));
    assert_non_null(strstr(words, "block 1 at"));
    assert_non_null(strstr(words, "verdict: damaged, faults: 1\n"));
    fixture_close(&at);
}

/* Puts another part, of the same size, where one is, with a seal that is right. */
static void replace_part(fixture *in, lw_part_kind kind, uint64_t offset, lw_bytes bytes) {
    lw_part part = {kind, 7, offset};
    lw_buffer sealed = lw_buffer_in(in->memory);
    (void)lw_part_seal(&part, bytes, NULL, &sealed);
    memcpy(file_bytes(in)->data + offset, sealed.data, sealed.size);
}

static void assert_fault(fixture *in, const char *words) {
    lw_buffer text = lw_buffer_in(in->memory);
    assert_int_equal(lw_table_inspect(in->env, "t", &text), LW_CORRUPTION);
    lw_buffer_append_u8(&text, 0);
    if (strstr((const char *)text.data, words) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", words, text.data);
    }
}

/* Faults of ours rather than of a disk: every checksum is right. */
static void the_inspection_sees_what_no_checksum_can(void **state) {
    (void)state;
    lw_entry list[] = {
        {lw_text("a"), 9, LW_ENTRY_PUT, lw_text("one")},
        {lw_text("c"), 4, LW_ENTRY_PUT, lw_text("two")},
    };
    sorted_entries entries = {.list = list, .count = 2};
    fixture at = fixture_open(1 << 20);
    lw_table_options options = {.block_size = 1};
    build_and_open(&at, &entries, &options);
    enum { SEALED_SIZE = 22 };

    const struct {
        lw_entry entry;
        const char *words;
    } others[] = {
        {{lw_text("b"), 4, LW_ENTRY_PUT, lw_text("two")}, "beyond the fences"},
        {{lw_text("a"), 9, LW_ENTRY_PUT, lw_text("two")}, "out of order"},
        {{lw_text("d"), 4, LW_ENTRY_PUT, lw_text("two")}, "not those of the entries"},
        {{lw_text("c"), 5, LW_ENTRY_PUT, lw_text("two")}, "not those of the entries"},
        {{lw_text("c"), 4, LW_ENTRY_DELETE, lw_text("")}, "cannot be read"},
    };
    for (size_t index = 0; index < sizeof(others) / sizeof(others[0]); index++) {
        lw_block_builder block = lw_block_builder_in(at.memory, 1);
        lw_block_builder_add(&block, &others[index].entry);
        lw_bytes bytes = lw_block_builder_finish(&block);
        if (others[index].entry.kind == LW_ENTRY_DELETE) {
            /* As large as the block that was there, but for the middle, which is no entry. */
            static const uint8_t strange[16] = {0, 3, 4, 'c', 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1};
            bytes = lw_view(strange, sizeof(strange));
        }
        replace_part(&at, LW_PART_DATA, SEALED_SIZE, bytes);
        assert_fault(&at, others[index].words);
        lw_block_builder_reset(&block);
    }
    fixture_close(&at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_flipped_bit_is_ever_believed),
        cmocka_unit_test(a_table_cut_anywhere_is_refused),
        cmocka_unit_test(a_file_cut_while_it_is_open_is_damage),
        cmocka_unit_test(only_the_table_that_the_catalog_names_is_opened),
        cmocka_unit_test(a_block_of_another_table_or_place_is_not_believed),
        cmocka_unit_test(the_inspection_describes_a_table),
        cmocka_unit_test(the_inspection_goes_on_after_damage),
        cmocka_unit_test(the_inspection_sees_what_no_checksum_can),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
