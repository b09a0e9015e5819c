/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values of a shard's tree: their order, there and back, and no harm from damage. */
#include "txn/record.h"

#include "tests/unit.h"

static lw_memory *memory;
static lw_buffer first, second, third;

static int setup(void **state) {
    (void)state;
    memory = lw_memory_open();
    first = second = third = lw_buffer_in(memory);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_memory_close(memory);
    return 0;
}

/* Short keys of few different bytes, so that prefixes and zeros meet often. */
static lw_bytes random_key(uint64_t *random, uint8_t *room) {
    static const uint8_t alphabet[] = {0x00, 0x01, 0x02, 'a', 0xff};
    size_t size = 1 + unit_random_below(random, 4);
    for (size_t index = 0; index < size; index++) {
        room[index] = alphabet[unit_random_below(random, sizeof(alphabet))];
    }
    return lw_view(room, size);
}

static int sign(int order) {
    return (order > 0) - (order < 0);
}

static void data_keys_sort_by_key_then_newest_first(void **state) {
    (void)state;
    uint64_t random = 1;
    for (int round = 0; round < 20000; round++) {
        uint8_t rooms[2][4];
        lw_bytes a = random_key(&random, rooms[0]), b = random_key(&random, rooms[1]);
        uint64_t a_time = unit_random(&random), b_time = unit_random_below(&random, 3);
        lw_record_data_key(a, a_time, &first);
        lw_record_data_key(b, b_time, &second);
        int expected = lw_compare(a, b);
        if (expected == 0) {
            expected = (a_time < b_time) - (a_time > b_time);
        }
        int order = lw_compare(lw_buffer_view(&first), lw_buffer_view(&second));
        assert_int_equal(sign(order), sign(expected));
    }
}

static void a_prefix_and_an_end_enclose_one_key_only(void **state) {
    (void)state;
    uint64_t random = 2;
    for (int round = 0; round < 20000; round++) {
        uint8_t rooms[2][4];
        lw_bytes a = random_key(&random, rooms[0]), b = random_key(&random, rooms[1]);
        lw_record_data_prefix(a, &first);
        lw_record_data_end(a, &second);
        lw_record_data_key(b, unit_random(&random), &third);
        bool inside = lw_compare(lw_buffer_view(&first), lw_buffer_view(&third)) <= 0 &&
                      lw_compare(lw_buffer_view(&third), lw_buffer_view(&second)) < 0;
        assert_int_equal(inside, lw_equal(a, b));
        bool from = lw_compare(lw_buffer_view(&first), lw_buffer_view(&third)) <= 0;
        assert_int_equal(from, lw_compare(a, b) <= 0);
    }
}

static void an_empty_bound_encloses_all_data_and_nothing_else(void **state) {
    (void)state;
    lw_record_data_prefix(lw_view(NULL, 0), &first);
    lw_record_data_end(lw_view(NULL, 0), &second);
    lw_record_data_key(lw_view("\0", 1), UINT64_MAX, &third);
    assert_true(lw_compare(lw_buffer_view(&first), lw_buffer_view(&third)) <= 0);
    lw_record_data_key(lw_view("\xff\xff", 2), 0, &third);
    assert_true(lw_compare(lw_buffer_view(&third), lw_buffer_view(&second)) < 0);
    lw_record_lock_key(lw_view("\0", 1), &third);
    assert_true(lw_compare(lw_buffer_view(&second), lw_buffer_view(&third)) < 0);
    lw_record_lock_key(lw_view("\xff\xff", 2), &third);
    lw_record_lock_end(&first);
    assert_true(lw_compare(lw_buffer_view(&third), lw_buffer_view(&first)) < 0);
    lw_record_meta_key(lw_view(NULL, 0), "ceiling", &third);
    assert_true(lw_compare(lw_buffer_view(&first), lw_buffer_view(&third)) <= 0);
}

static void a_data_key_comes_apart_into_what_it_was_made_of(void **state) {
    (void)state;
    uint64_t random = 3;
    for (int round = 0; round < 5000; round++) {
        uint8_t room[4];
        lw_bytes key = random_key(&random, room);
        uint64_t time = unit_random(&random);
        lw_record_data_key(key, time, &first);
        lw_bytes prefix;
        uint64_t timestamp;
        assert_int_equal(lw_record_data_key_split(lw_buffer_view(&first), &prefix, &timestamp),
                         LW_OK);
        assert_true(timestamp == time);
        assert_int_equal(lw_record_filter_part(lw_buffer_view(&first)), prefix.size);
        lw_buffer_clear(&second);
        assert_int_equal(lw_record_user_key(prefix, &second), LW_OK);
        assert_true(lw_equal(lw_buffer_view(&second), key));
    }
}

/* However it is cut, what is left is no key behind the one it came from, and no other one's. */
static void a_piece_of_a_data_key_is_a_beginning_of_its_user_key(void **state) {
    (void)state;
    const lw_bytes keys[] = {lw_text("a"),      lw_text("key"),       lw_view("\0", 1),
                             lw_view("a\0", 2), lw_view("a\0\0b", 4), lw_view("\xff\0\x01", 3)};
    for (size_t index = 0; index < sizeof(keys) / sizeof(keys[0]); index++) {
        size_t before = 0;
        lw_record_data_key(keys[index], 77, &first);
        for (size_t size = 0; size <= first.size; size++) {
            lw_buffer_clear(&second);
            lw_record_user_key_piece(lw_view(first.data, size), &second);
            assert_true(second.size >= before && second.size <= keys[index].size);
            assert_true(lw_equal(lw_buffer_view(&second), lw_view(keys[index].data, second.size)));
            before = second.size;
        }
        assert_true(lw_equal(lw_buffer_view(&second), keys[index]));
    }
}

static void the_bytes_of_keys_and_records_never_change(void **state) {
    (void)state;
    static const uint8_t data_key[] = {'d',  'a',  0x00, 0xff, 'b',  0x00, 0x01, 0xff,
                                       0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xfd};
    lw_record_data_key(lw_view("a\0b", 3), 0x102, &first);
    assert_int_equal(first.size, sizeof(data_key));
    assert_memory_equal(first.data, data_key, sizeof(data_key));

    static const uint8_t data[] = {0x01, 0x82, 0x02, 'v', 'w'};
    lw_data_record_encode(
        &(lw_data_record){.kind = LW_RECORD_PUT, .start = 0x100, .value = lw_text("vw")}, 0x202,
        &first);
    assert_int_equal(first.size, sizeof(data));
    assert_memory_equal(first.data, data, sizeof(data));

    static const uint8_t expiring[] = {0x05, 0x82, 0x02, 0x09, 0x03, 0, 0, 0, 0, 0, 0, 'v', 'w'};
    lw_data_record_encode(
        &(lw_data_record){
            .kind = LW_RECORD_PUT, .start = 0x100, .expires = 0x309, .value = lw_text("vw")},
        0x202, &first);
    assert_int_equal(first.size, sizeof(expiring));
    assert_memory_equal(first.data, expiring, sizeof(expiring));

    static const uint8_t lock[] = {
        1,                                   /* kind */
        7,    0, 0,   0,   0,   0,   0,   0, /* start */
        9,    0, 0,   0,   0,   0,   0,   0, /* floor */
        1,    2, 0,   0,   0,   0,   0,   0, /* expires */
        5,    0, 0,   0,   0,   0,   0,   0, /* session */
        10,   0, 0,   0,   0,   0,   0,   0, /* commit timestamp */
        0x83, 1, 2,   'p', 'k',              /* sequence, primary */
        5,    1, 'a', 2,   'b', 'c', 'v',    /* secondaries, value */
    };
    lw_lock_secondary_add(lw_text("a"), &second);
    lw_lock_secondary_add(lw_text("bc"), &second);
    lw_lock_record_encode(&(lw_lock_record){.kind = LW_MUTATION_PUT,
                                            .start = 7,
                                            .floor = 9,
                                            .expires = 0x201,
                                            .session = 5,
                                            .commit_timestamp = 10,
                                            .sequence = 0x83,
                                            .primary = lw_text("pk"),
                                            .secondaries = lw_buffer_view(&second),
                                            .value = lw_text("v")},
                          &first);
    assert_int_equal(first.size, sizeof(lock));
    assert_memory_equal(first.data, lock, sizeof(lock));
}

static void what_expires_comes_back_as_it_was_written(void **state) {
    (void)state;
    lw_bytes key = lw_text("key");
    lw_data_record data = {
        .kind = LW_RECORD_PUT, .start = 3, .expires = 900, .value = lw_text("value")};
    lw_data_record read;
    lw_data_record_encode(&data, 500, &first);
    assert_true(lw_data_record_expiring(lw_buffer_view(&first)));
    assert_int_equal(lw_data_record_decode(key, 500, lw_buffer_view(&first), &read), LW_OK);
    assert_int_equal(read.kind, LW_RECORD_PUT);
    assert_int_equal(read.expires, 900);
    assert_true(lw_equal(read.value, data.value));
    assert_true(lw_data_record_gives(&read, 899));
    assert_false(lw_data_record_gives(&read, 900));
    lw_lock_record lock = {.kind = LW_MUTATION_PUT, .start = 7, .primary = key, .value = key};
    lw_lock_record back;
    for (int which = 0; which < 3; which++) {
        lock.ttl_ms = which == 1 ? 30000 : 0;
        lock.put_expires = which == 2 ? 1234567 : 0;
        lw_lock_record_encode(&lock, &first);
        assert_int_equal(lw_lock_record_decode(key, lw_buffer_view(&first), &back), LW_OK);
        assert_int_equal(back.kind, LW_MUTATION_PUT);
        assert_int_equal(back.ttl_ms, lock.ttl_ms);
        assert_int_equal(back.put_expires, lock.put_expires);
        assert_true(lw_equal(back.value, key));
    }
}

static void records_come_back_as_they_were_written(void **state) {
    (void)state;
    lw_bytes key = lw_text("key");
    for (lw_record_kind kind = LW_RECORD_PUT; kind <= LW_RECORD_MARK; kind++) {
        lw_data_record sent = {.kind = kind,
                               .start = kind == LW_RECORD_ROLLBACK ? 500 : 30,
                               .value = lw_text(kind == LW_RECORD_PUT ? "value" : "")};
        lw_data_record read;
        lw_data_record_encode(&sent, 500, &first);
        assert_int_equal(lw_data_record_decode(key, 500, lw_buffer_view(&first), &read), LW_OK);
        assert_int_equal(read.kind, kind);
        assert_int_equal(read.start, sent.start);
        assert_true(lw_equal(read.value, sent.value));
    }
    lw_lock_record sent = {.kind = LW_MUTATION_LOCK,
                           .start = 7,
                           .floor = UINT64_MAX,
                           .expires = 8,
                           .session = 9,
                           .primary = key};
    lw_lock_record read;
    lw_lock_record_encode(&sent, &first);
    assert_int_equal(lw_lock_record_decode(key, lw_buffer_view(&first), &read), LW_OK);
    assert_int_equal(read.kind, LW_MUTATION_LOCK);
    assert_int_equal(read.start, 7);
    assert_true(read.floor == UINT64_MAX);
    assert_int_equal(read.expires, 8);
    assert_int_equal(read.session, 9);
    assert_int_equal(read.commit_timestamp, 0);
    assert_true(lw_equal(read.primary, key));
}

static void a_lock_of_an_async_commit_names_its_secondaries(void **state) {
    (void)state;
    lw_lock_secondary_add(lw_text("one"), &second);
    lw_lock_secondary_add(lw_view("\0", 1), &second);
    lw_lock_record sent = {.kind = LW_MUTATION_DELETE,
                           .start = 7,
                           .floor = 8,
                           .commit_timestamp = 9,
                           .sequence = UINT32_MAX,
                           .primary = lw_text("key"),
                           .secondaries = lw_buffer_view(&second)};
    lw_lock_record read;
    lw_bytes key;
    lw_lock_record_encode(&sent, &first);
    assert_int_equal(lw_lock_record_decode(lw_text("key"), lw_buffer_view(&first), &read), LW_OK);
    assert_int_equal(read.commit_timestamp, 9);
    assert_true(read.sequence == UINT32_MAX);
    assert_true(lw_lock_secondary(&read.secondaries, &key));
    assert_true(lw_equal(key, lw_text("one")));
    assert_true(lw_lock_secondary(&read.secondaries, &key));
    assert_true(lw_equal(key, lw_view("\0", 1)));
    assert_false(lw_lock_secondary(&read.secondaries, &key));
}

/* Writes `value` into the eight bytes at `at` of the record in `first`. */
static lw_status decode_with(size_t at, uint64_t value) {
    lw_lock_record read;
    uint64_t before = lw_get_u64(first.data + at);
    lw_put_u64(first.data + at, value);
    lw_status status = lw_lock_record_decode(lw_text("lk"), lw_buffer_view(&first), &read);
    lw_put_u64(first.data + at, before);
    return status;
}

static void a_lock_of_an_async_commit_has_its_floor_just_below(void **state) {
    (void)state;
    enum { FLOOR_AT = 9, COMMIT_AT = 33 };
    lw_lock_secondary_add(lw_text("one"), &second);
    lw_lock_record sent = {.kind = LW_MUTATION_DELETE,
                           .start = 7,
                           .floor = 8,
                           .commit_timestamp = 9,
                           .primary = lw_text("key"),
                           .secondaries = lw_buffer_view(&second)};
    lw_lock_record_encode(&sent, &first);
    assert_int_equal(decode_with(FLOOR_AT, 8), LW_OK);
    assert_int_equal(decode_with(FLOOR_AT, 9), LW_CORRUPTION);
    assert_int_equal(decode_with(FLOOR_AT, 7), LW_CORRUPTION);
    assert_int_equal(decode_with(COMMIT_AT, 7), LW_CORRUPTION);
    assert_int_equal(decode_with(COMMIT_AT, 0), LW_CORRUPTION); /* classic, with secondaries */
}

static void a_damaged_record_is_corruption_that_names_its_key(void **state) {
    (void)state;
    lw_data_record data;
    lw_lock_record lock;
    const uint8_t expires_never[] = {5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 'v'}, timeless[] = {5, 1, 7};
    const uint8_t unknown[] = {9, 1}, cut[] = {1}, ahead[] = {1, 100}, deleted[] = {2, 1, 'v'},
                  no_rollback[] = {3, 1}, committed_at_start[] = {1, 0};
    const lw_bytes wrong[] = {
        {0},
        lw_view(expires_never, sizeof(expires_never)),
        lw_view(timeless, sizeof(timeless)),
        lw_view(unknown, sizeof(unknown)),
        lw_view(cut, sizeof(cut)),
        lw_view(ahead, sizeof(ahead)),
        lw_view(deleted, sizeof(deleted)),
        lw_view(no_rollback, sizeof(no_rollback)),
        lw_view(committed_at_start, sizeof(committed_at_start)),
    };
    for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
        lw_status status = lw_data_record_decode(lw_text("dsome"), 50, wrong[index], &data);
        assert_int_equal(status, LW_CORRUPTION);
        assert_non_null(strstr(lw_error_slot()->text, "dsome"));
    }
    assert_int_equal(lw_lock_record_decode(lw_text("lsome"), lw_text("short"), &lock),
                     LW_CORRUPTION);
    assert_non_null(strstr(lw_error_slot()->text, "lsome"));
}

static void any_bytes_are_records_or_corruption(void **state) {
    (void)state;
    uint64_t random = 4;
    uint8_t bytes[64];
    size_t accepted_count = 0;
    for (int round = 0; round < 100000; round++) {
        size_t size = unit_random_below(&random, sizeof(bytes));
        for (size_t index = 0; index < size; index++) {
            uint64_t value = unit_random(&random);
            bytes[index] = (uint8_t)(value & 0x100 ? value % 5 : value);
        }
        lw_bytes view = lw_view(bytes, size);
        lw_data_record data;
        if (lw_data_record_decode(lw_text("k"), UINT64_MAX / 2, view, &data) == LW_OK) {
            accepted_count++;
            lw_data_record_encode(&data, UINT64_MAX / 2, &first);
            assert_true(lw_equal(lw_buffer_view(&first), view));
        }
        lw_lock_record lock;
        if (lw_lock_record_decode(lw_text("k"), view, &lock) == LW_OK) {
            accepted_count++;
            lw_lock_record_encode(&lock, &first);
            assert_true(lw_equal(lw_buffer_view(&first), view));
        }
        lw_bytes prefix;
        uint64_t timestamp;
        if (lw_record_data_key_split(view, &prefix, &timestamp) == LW_OK) {
            lw_buffer_clear(&first);
            lw_status status = lw_record_user_key(prefix, &first);
            assert_true(status == LW_OK || status == LW_CORRUPTION);
        }
        assert_true(lw_record_filter_part(view) <= size);
    }
    assert_true(accepted_count > 1000);
}

/* Else a cursor over [lower, upper) would leave out tables that hold what lies between. */
static void bounds_of_different_keys_share_no_filter_part(void **state) {
    (void)state;
    lw_record_data_prefix(lw_text("account/000001"), &first);
    lw_record_data_prefix(lw_text("account/000003"), &second);
    assert_int_equal(lw_record_filter_part(lw_buffer_view(&first)), first.size);
    assert_int_equal(lw_record_filter_part(lw_buffer_view(&second)), second.size);
    lw_record_data_key(lw_view("a\0b", 3), 7, &first);
    lw_record_data_prefix(lw_view("a\0b", 3), &second);
    assert_int_equal(lw_record_filter_part(lw_buffer_view(&first)), second.size);
    lw_record_data_end(lw_text("account/000001"), &second);
    assert_int_equal(lw_record_filter_part(lw_buffer_view(&second)), second.size);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(data_keys_sort_by_key_then_newest_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_piece_of_a_data_key_is_a_beginning_of_its_user_key, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_prefix_and_an_end_enclose_one_key_only, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_bound_encloses_all_data_and_nothing_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_data_key_comes_apart_into_what_it_was_made_of, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_bytes_of_keys_and_records_never_change, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(records_come_back_as_they_were_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lock_of_an_async_commit_names_its_secondaries, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lock_of_an_async_commit_has_its_floor_just_below, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_expires_comes_back_as_it_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_record_is_corruption_that_names_its_key, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(any_bytes_are_records_or_corruption, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_of_different_keys_share_no_filter_part, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
