/* SPDX-License-Identifier: Apache-2.0 */
/* base/codec: the bytes on the wire, and a reader that believes none of them. */
#include "base/codec.h"

#include "tests/unit.h"

/* ---- golden bytes ---------------------------------------------------------------------------- */

typedef struct fixture {
    lw_memory *memory;
    lw_buffer out;
} fixture;

static int fixture_init(void **state) {
    static fixture shared;
    shared.memory = lw_memory_open();
    shared.out = lw_buffer_in(shared.memory);
    *state = &shared;
    return 0;
}

static int fixture_reset(void **state) {
    lw_memory_close(((fixture *)*state)->memory);
    return 0;
}

static void expect_bytes(fixture *f, const char *bytes, size_t size) {
    assert_int_equal(f->out.size, size);
    assert_memory_equal(f->out.data, bytes, size);
    lw_buffer_clear(&f->out);
}

static void values_have_their_golden_bytes(void **state) {
    fixture *f = *state;
    lw_write_array(&f->out, 6);
    lw_write_nil(&f->out);
    lw_write_bool(&f->out, false);
    lw_write_bool(&f->out, true);
    lw_write_u64(&f->out, 7);
    lw_write_bytes(&f->out, lw_text("k\xff"));
    lw_write_text(&f->out, lw_text("node"));
    lw_reader reader = lw_reader_of(lw_buffer_view(&f->out));
    assert_int_equal(lw_read_array(&reader), 6);
    assert_true(lw_read_nil(&reader));
    assert_false(lw_read_bool(&reader));
    assert_true(lw_read_bool(&reader));
    assert_int_equal(lw_read_u64(&reader), 7);
    assert_true(lw_equal(lw_read_bytes(&reader), lw_text("k\xff")));
    assert_true(lw_equal(lw_read_text(&reader), lw_text("node")));
    assert_true(lw_reader_done(&reader));
    expect_bytes(f, "\x96\xc0\xc2\xc3\x07\xc4\x02k\xff\xa4node", 14);
}

static const struct {
    uint64_t value;
    const char *bytes;
    size_t size;
} numbers[] = {
    {0, "\x00", 1},
    {0x7f, "\x7f", 1},
    {0x80, "\xcc\x80", 2},
    {0xff, "\xcc\xff", 2},
    {0x100, "\xcd\x01\x00", 3},
    {0xffff, "\xcd\xff\xff", 3},
    {0x10000, "\xce\x00\x01\x00\x00", 5},
    {0xffffffff, "\xce\xff\xff\xff\xff", 5},
    {0x100000000, "\xcf\x00\x00\x00\x01\x00\x00\x00\x00", 9},
    {UINT64_MAX, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9},
};

static void a_number_takes_the_shortest_form(void **state) {
    fixture *f = *state;
    for (size_t index = 0; index < sizeof(numbers) / sizeof(numbers[0]); index++) {
        lw_reader reader = lw_reader_of(lw_view(numbers[index].bytes, numbers[index].size));
        assert_int_equal(lw_read_u64(&reader), numbers[index].value);
        assert_true(lw_reader_done(&reader));
        lw_write_u64(&f->out, numbers[index].value);
        expect_bytes(f, numbers[index].bytes, numbers[index].size);
    }
}

/* Sizes on both sides of every change of form: the head's own size in bytes, for each kind. */
static const struct {
    size_t size;
    size_t bytes_head, text_head, array_head;
} sizes[] = {
    {0, 2, 1, 1},   {15, 2, 1, 1},  {16, 2, 1, 3},    {31, 2, 1, 3},    {32, 2, 2, 3},
    {255, 2, 2, 3}, {256, 3, 3, 3}, {65535, 3, 3, 3}, {65536, 5, 5, 5},
};

static void bytes_and_text_of_any_size_come_back_in_place(void **state) {
    fixture *f = *state;
    uint8_t *content = lw_allocate(f->memory, 65536);
    memset(content, 'x', 65536);
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        size_t size = sizes[index].size;
        lw_buffer_clear(&f->out);
        lw_write_bytes(&f->out, lw_view(content, size));
        lw_write_text(&f->out, lw_view(content, size));
        assert_int_equal(f->out.size, sizes[index].bytes_head + sizes[index].text_head + 2 * size);
        lw_reader reader = lw_reader_of(lw_buffer_view(&f->out));
        lw_bytes bytes = lw_read_bytes(&reader);
        lw_bytes text = lw_read_text(&reader);
        assert_true(lw_reader_done(&reader));
        assert_true(lw_equal(bytes, lw_view(content, size)));
        assert_true(lw_equal(text, lw_view(content, size)));
        assert_ptr_equal(bytes.data, f->out.data + sizes[index].bytes_head);
    }
}

static void an_array_of_any_count_is_entered(void **state) {
    fixture *f = *state;
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        uint32_t count = (uint32_t)sizes[index].size;
        lw_buffer_clear(&f->out);
        lw_write_array(&f->out, count);
        assert_int_equal(f->out.size, sizes[index].array_head);
        for (uint32_t element = 0; element < count; element++) {
            lw_write_nil(&f->out);
        }
        lw_reader reader = lw_reader_of(lw_buffer_view(&f->out));
        assert_int_equal(lw_read_array(&reader), count);
        assert_int_equal(reader.rest.size, count);
        lw_read_skip(&reader, count);
        assert_true(lw_reader_done(&reader));
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void only_the_one_form_is_accepted(void **state) {
    (void)state;
    static const struct {
        const char *why, *bytes;
        size_t size;
    } refused[] = {
        {"nothing", "", 0},
        {"a number below 80 in one byte", "\xcc\x7f", 2},
        {"a number below 100 in two bytes", "\xcd\x00\xff", 3},
        {"a number below 10000 in four bytes", "\xce\x00\x00\xff\xff", 5},
        {"a number in eight bytes for four", "\xcf\x00\x00\x00\x00\xff\xff\xff\xff", 9},
        {"a number that is cut off", "\xcf\x01\x00\x00\x00\x00\x00\x00", 8},
        {"a length of bytes in two bytes for one", "\xc5\x00\x01x", 4},
        {"a length of bytes in four bytes for two", "\xc6\x00\x00\x00\x01x", 6},
        {"bytes that are cut off", "\xc4\x02x", 3},
        {"bytes without a length", "\xc4", 1},
        {"bytes of 4 GiB", "\xc6\xff\xff\xff\xff", 5},
        {"a length of text in one byte for none", "\xd9\x01x", 3},
        {"a length of text in two bytes for one", "\xda\x00\x20", 3},
        {"text that is cut off", "\xa2x", 2},
        {"text of 4 GiB", "\xdb\xff\xff\xff\xff", 5},
        {"a count in two bytes for none", "\xdc\x00\x01\xc0", 4},
        {"a count in four bytes for two", "\xdd\x00\x00\x00\x01\xc0", 6},
        {"an array that is cut off", "\x92\xc0", 2},
        {"an array of 4 G elements", "\xdd\xff\xff\xff\xff", 5},
        {"a map", "\x81\x01\x01", 3},
        {"a map in two bytes", "\xde\x00\x00", 3},
        {"the byte that is never used", "\xc1", 1},
        {"a negative number", "\xff", 1},
        {"a signed number", "\xd0\x01", 2},
        {"a float", "\xca\x00\x00\x00\x00", 5},
        {"a double", "\xcb\x00\x00\x00\x00\x00\x00\x00\x00", 9},
        {"an extension", "\xd4\x01x", 3},
        {"an extension with a length", "\xc7\x01\x01x", 4},
    };
    for (size_t index = 0; index < sizeof(refused) / sizeof(refused[0]); index++) {
        lw_bytes bytes = lw_view(refused[index].bytes, refused[index].size);
        lw_reader readers[6];
        for (size_t each = 0; each < 6; each++) {
            readers[each] = lw_reader_of(bytes);
        }
        assert_int_equal(lw_read_u64(&readers[0]), 0);
        assert_false(lw_read_bool(&readers[1]));
        assert_int_equal(lw_read_bytes(&readers[2]).size, 0);
        assert_int_equal(lw_read_text(&readers[3]).size, 0);
        lw_read_skip(&readers[5], 1);
        /* The head of a short array is good; its elements are what is missing. */
        if (lw_read_array(&readers[4]) > 0) {
            lw_read_skip(&readers[4], 2);
        }
        for (size_t each = 0; each < 6; each++) {
            if (lw_reader_ok(&readers[each])) {
                fail_msg("reader %zu accepts %s", each, refused[index].why);
            }
            assert_int_equal(readers[each].rest.size, 0);
        }
    }
}

static void the_longest_of_a_shorter_form_is_refused_in_a_longer_one(void **state) {
    fixture *f = *state;
    static const struct {
        uint8_t first;
        size_t width, size;
    } longer[] = {
        {0xc5, 2, 255},   {0xc6, 4, 65535}, {0xd9, 1, 31},    {0xda, 2, 255},
        {0xdb, 4, 65535}, {0xdc, 2, 15},    {0xdd, 4, 65535},
    };
    for (size_t index = 0; index < sizeof(longer) / sizeof(longer[0]); index++) {
        for (size_t more = 0; more < 2; more++) {
            /* Zeros do for bytes, for text, and as numbers for elements. */
            size_t size = longer[index].size + more;
            lw_buffer_clear(&f->out);
            lw_buffer_append_u8(&f->out, longer[index].first);
            for (size_t shift = 8 * longer[index].width; shift > 0; shift -= 8) {
                lw_buffer_append_u8(&f->out, (uint8_t)(size >> (shift - 8)));
            }
            memset(lw_buffer_reserve(&f->out, size), 0, size);
            f->out.size += size;
            lw_reader reader = lw_reader_of(lw_buffer_view(&f->out));
            lw_read_skip(&reader, 1);
            assert_int_equal(lw_reader_done(&reader), more == 1);
        }
    }
}

static void each_read_takes_its_own_kind_only(void **state) {
    (void)state;
    /* nil, true, a number, bytes, text, an array */
    static const char *const values[] = {"\xc0", "\xc3", "\x05", "\xc4\x01x", "\xa1x", "\x91\x05"};
    const size_t value_sizes[] = {1, 1, 1, 3, 2, 2};
    for (size_t value = 0; value < 6; value++) {
        for (size_t wanted = 0; wanted < 6; wanted++) {
            lw_reader reader = lw_reader_of(lw_view(values[value], value_sizes[value]));
            bool nil = wanted == 0 && lw_read_nil(&reader);
            bool yes = wanted == 1 && lw_read_bool(&reader);
            uint64_t number = wanted == 2 ? lw_read_u64(&reader) : 0;
            lw_bytes bytes = wanted == 3 ? lw_read_bytes(&reader) : lw_view(NULL, 0);
            lw_bytes text = wanted == 4 ? lw_read_text(&reader) : lw_view(NULL, 0);
            uint32_t count = wanted == 5 ? lw_read_array(&reader) : 0;
            assert_int_equal(nil, value == 0 && wanted == 0);
            assert_int_equal(yes, value == 1 && wanted == 1);
            assert_int_equal(number, value == 2 && wanted == 2 ? 5 : 0);
            assert_int_equal(bytes.size, value == 3 && wanted == 3);
            assert_int_equal(text.size, value == 4 && wanted == 4);
            assert_int_equal(count, value == 5 && wanted == 5);
            /* Looking for a nil that is not there changes nothing. */
            assert_int_equal(lw_reader_ok(&reader), value == wanted || wanted == 0);
        }
    }
}

static void the_first_failure_is_remembered(void **state) {
    (void)state;
    lw_reader reader = lw_reader_of(lw_view("\x01\xc0\x02\x03", 4));
    assert_int_equal(lw_read_u64(&reader), 1);
    assert_true(lw_reader_ok(&reader));
    assert_int_equal(lw_read_u64(&reader), 0);
    assert_false(lw_reader_ok(&reader));
    assert_int_equal(lw_read_u64(&reader), 0);
    assert_false(lw_read_nil(&reader));
    assert_false(lw_read_bool(&reader));
    assert_int_equal(lw_read_bytes(&reader).size, 0);
    assert_int_equal(lw_read_text(&reader).size, 0);
    assert_int_equal(lw_read_array(&reader), 0);
    assert_int_equal(lw_read_array_of(&reader, 0), 0);
    lw_read_skip(&reader, 0);
    lw_read_skip(&reader, UINT32_MAX);
    assert_false(lw_reader_done(&reader));
}

static void a_number_may_have_a_limit(void **state) {
    (void)state;
    lw_reader reader = lw_reader_of(lw_view("\x07\x07\x01", 3));
    assert_int_equal(lw_read_u64_max(&reader, 7), 7);
    assert_int_equal(lw_read_u64_max(&reader, 6), 0);
    assert_false(lw_reader_ok(&reader));
}

static void what_is_left_over_is_told(void **state) {
    (void)state;
    lw_reader reader = lw_reader_of(lw_view("\x07\x07", 2));
    assert_int_equal(lw_read_u64(&reader), 7);
    assert_true(lw_reader_ok(&reader));
    assert_false(lw_reader_done(&reader));
}

static void a_newer_peer_may_add_fields(void **state) {
    fixture *f = *state;
    lw_write_array(&f->out, 4);
    lw_write_u64(&f->out, 1);
    lw_write_array(&f->out, 2);
    lw_write_text(&f->out, lw_text("new"));
    lw_write_nil(&f->out);
    lw_write_bytes(&f->out, lw_text("new"));
    lw_write_bool(&f->out, true);
    lw_write_u64(&f->out, 2);

    lw_reader reader = lw_reader_of(lw_buffer_view(&f->out));
    uint32_t more = lw_read_array_of(&reader, 1);
    assert_int_equal(more, 3);
    assert_int_equal(lw_read_u64(&reader), 1);
    lw_read_skip(&reader, more);
    assert_int_equal(lw_read_u64(&reader), 2);
    assert_true(lw_reader_done(&reader));

    reader = lw_reader_of(lw_buffer_view(&f->out));
    assert_int_equal(lw_read_array_of(&reader, 4), 0);
    assert_true(lw_reader_ok(&reader));
    reader = lw_reader_of(lw_buffer_view(&f->out));
    assert_int_equal(lw_read_array_of(&reader, 5), 0);
    assert_false(lw_reader_ok(&reader));
}

static void rows_are_begun_or_nothing_is_set(void **state) {
    fixture *f = *state;
    lw_write_array(&f->out, 2);
    lw_write_u64(&f->out, 1);
    lw_write_u64(&f->out, 2);
    lw_reader reader;
    uint32_t count = 7;
    assert_true(lw_read_rows(lw_buffer_view(&f->out), &reader, &count));
    assert_int_equal(count, 2);
    assert_int_equal(lw_read_u64(&reader), 1);
    count = 7;
    assert_false(lw_read_rows(lw_text("\x07"), &reader, &count));
    assert_false(lw_read_rows(lw_view(NULL, 0), &reader, &count));
    assert_int_equal(count, 7);
    assert_int_equal(lw_read_u64(&reader), 2); /* goes on where it was */
}

static void arrays_are_followed_to_their_depth_and_no_further(void **state) {
    (void)state;
    uint8_t nested[LW_DEPTH_MAX + 2];
    memset(nested, 0x91, sizeof(nested));
    nested[LW_DEPTH_MAX] = 0x90;
    lw_reader reader = lw_reader_of(lw_view(nested, LW_DEPTH_MAX + 1));
    lw_read_skip(&reader, 1);
    assert_false(lw_reader_ok(&reader));

    nested[LW_DEPTH_MAX - 1] = 0x90;
    reader = lw_reader_of(lw_view(nested, LW_DEPTH_MAX));
    lw_read_skip(&reader, 1);
    assert_true(lw_reader_done(&reader));

    nested[LW_DEPTH_MAX - 1] = 0x91;
    nested[LW_DEPTH_MAX] = 0x05;
    reader = lw_reader_of(lw_view(nested, LW_DEPTH_MAX + 1));
    lw_read_skip(&reader, 1);
    assert_true(lw_reader_done(&reader));
}

static void write_too_much(void *argument) {
    lw_buffer out = lw_buffer_in(lw_memory_open());
    lw_write_bytes(&out, lw_view(argument, (size_t)UINT32_MAX + 1));
}

static void more_than_a_length_can_say_is_caught(void **state) {
    (void)state;
    unit_expect_abort(write_too_much, "", "size <= UINT32_MAX");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_init, fixture_reset)
        WITH_FIXTURE(values_have_their_golden_bytes),
        WITH_FIXTURE(a_number_takes_the_shortest_form),
        WITH_FIXTURE(bytes_and_text_of_any_size_come_back_in_place),
        WITH_FIXTURE(an_array_of_any_count_is_entered),
        cmocka_unit_test(only_the_one_form_is_accepted),
        WITH_FIXTURE(the_longest_of_a_shorter_form_is_refused_in_a_longer_one),
        cmocka_unit_test(each_read_takes_its_own_kind_only),
        cmocka_unit_test(the_first_failure_is_remembered),
        cmocka_unit_test(a_number_may_have_a_limit),
        cmocka_unit_test(what_is_left_over_is_told),
        WITH_FIXTURE(a_newer_peer_may_add_fields),
        WITH_FIXTURE(rows_are_begun_or_nothing_is_set),
        cmocka_unit_test(arrays_are_followed_to_their_depth_and_no_further),
        cmocka_unit_test(more_than_a_length_can_say_is_caught),
    };
    return cmocka_run_group_tests_name("codec", tests, unit_arm, NULL) != 0;
}
