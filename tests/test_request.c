/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of requests and replies: there and back, exactly, and nothing wrong accepted. */
#include "tests/request_table.h"
#include "tests/unit.h"

static lw_memory *memory;
static lw_arena arena;
static lw_buffer body;

static int setup(void **state) {
    (void)state;
    memory = lw_memory_open();
    arena = lw_arena_in(memory);
    body = lw_buffer_in(memory);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_memory_close(memory);
    return 0;
}

static const lw_bytes some_keys[] = {
    {(const uint8_t *)"a", 1}, {(const uint8_t *)"b\0c", 3}, {(const uint8_t *)"zz", 2}};
static const lw_get_value some_values[] = {
    {.found = true, .commit_timestamp = 1u << 20, .value = {(const uint8_t *)"one", 3}},
    {.found = false},
    {.found = true, .commit_timestamp = 5}};
static const lw_mutation some_mutations[] = {
    {.kind = LW_MUTATION_PUT,
     .key = {(const uint8_t *)"a", 1},
     .value = {(const uint8_t *)"one", 3},
     .seen = LW_SEEN_ANYTHING},
    {.kind = LW_MUTATION_DELETE, .key = {(const uint8_t *)"a\0", 2}, .seen = 77},
    {.kind = LW_MUTATION_ADD,
     .key = {(const uint8_t *)"b", 1},
     .value = {(const uint8_t *)"12345678", 8},
     .seen = 0}};
static const lw_commit_result some_results[] = {
    {.applied = true, .found = true, .value = {(const uint8_t *)"12345678", 8}}, {.found = false}};
static const lw_seen_key some_seen_keys[] = {{.key = {(const uint8_t *)"k", 1}, .seen = 9}};
static const lw_seen_range some_ranges[] = {
    {.seen = 9},
    {.lower = {(const uint8_t *)"k", 1}, .upper = {(const uint8_t *)"l", 1}, .seen = 300}};
static const lw_scan_row some_rows[] = {
    {.key = {(const uint8_t *)"k", 1}, .value = {(const uint8_t *)"v", 1}},
    {.key = {(const uint8_t *)"l", 1}}};

static const lw_deadlock_step some_steps[] = {
    {.start = 7, .key = {(const uint8_t *)"a", 1}, .label = {(const uint8_t *)"one", 3}},
    {.start = 6, .key = {(const uint8_t *)"b", 1}}};
static const lw_lock_wait some_waits[] = {
    {.start = 6, .label = {(const uint8_t *)"one", 3}, .waited_ms = 1}, {.start = 8}};
static const lw_lock_row some_locks[] = {{.key = {(const uint8_t *)"a", 1},
                                          .kind = LW_LOCK_ROW_PESSIMISTIC,
                                          .start = 7,
                                          .label = {(const uint8_t *)"one", 3},
                                          .held_ms = 300,
                                          .waiting = 40,
                                          .waits = some_waits,
                                          .wait_count = 2},
                                         {.key = {(const uint8_t *)"b", 1},
                                          .kind = LW_LOCK_ROW_ASYNC,
                                          .start = 5,
                                          .remaining_ms = 2000}};

/* Encodes a good message of row `row` of the table into `body`. */
static void encode_sample(size_t row) {
    lw_timestamp_request timestamp_request = {.count = 65536};
    lw_timestamp_reply timestamp_reply = {.first = 1};
    lw_get_request get_request = {
        .read_timestamp = 7, .start = 7, .keys = some_keys, .key_count = 3};
    lw_get_reply get_reply = {.read_timestamp = 7, .values = some_values, .value_count = 3};
    lw_scan_request scan_request = {.lower = some_keys[0],
                                    .upper = some_keys[2],
                                    .backwards = true,
                                    .row_limit = 100,
                                    .byte_limit = 1u << 20};
    lw_scan_reply scan_reply = {
        .read_timestamp = 7, .more = true, .rows = some_rows, .row_count = 2};
    lw_commit_now_request commit_now_request = {.start = 7,
                                                .mutations = some_mutations,
                                                .mutation_count = 3,
                                                .keys = some_seen_keys,
                                                .key_count = 1,
                                                .ranges = some_ranges,
                                                .range_count = 2};
    lw_commit_reply commit_reply = {
        .commit_timestamp = 8, .results = some_results, .result_count = 2};
    lw_prewrite_request prewrite_request = {.start = 7,
                                            .primary = some_keys[0],
                                            .lifetime_ms = 3000,
                                            .mutations = some_mutations,
                                            .mutation_count = 3,
                                            .commit_timestamp = 8,
                                            .sequence = 5,
                                            .secondaries = some_keys,
                                            .secondary_count = 3,
                                            .keys = some_seen_keys,
                                            .key_count = 1,
                                            .ranges = some_ranges,
                                            .range_count = 2};
    lw_prewrite_reply prewrite_reply = {.asynchronous = true};
    lw_validate_request validate_request = {.start = 7,
                                            .commit_timestamp = 8,
                                            .keys = some_seen_keys,
                                            .key_count = 1,
                                            .ranges = some_ranges,
                                            .range_count = 2};
    lw_finish_request finish_request = {
        .start = 7, .commit_timestamp = 8, .keys = some_keys, .key_count = 3};
    lw_check_request check_request = {
        .start = 7, .primary = some_keys[1], .decide = true, .patient = true};
    lw_finish_range_request finish_range_request = {
        .start = 7, .commit_timestamp = 8, .lower = some_keys[0]};
    lw_check_reply check_reply = {.fate = LW_FATE_ALIVE,
                                  .commit_timestamp = 8,
                                  .remaining_ms = 100,
                                  .asynchronous = true,
                                  .secondaries = some_keys,
                                  .secondary_count = 3};
    lw_check_secondaries_request check_secondaries_request = {
        .start = 7, .commit_timestamp = 8, .keys = some_keys, .key_count = 3, .decide = true};
    lw_check_secondaries_reply check_secondaries_reply = {.state = LW_SECONDARIES_COMMITTED,
                                                          .commit_timestamp = 8};
    lw_lock_request lock_request = {
        .keys = some_keys, .key_count = 3, .wait_ms = 1000, .read = true};
    lw_lock_reply lock_reply = {
        .start = 7, .for_update = 9, .values = some_values, .value_count = 3};
    lw_heartbeat_request heartbeat_request = {
        .start = 7, .primary = some_keys[0], .lifetime_ms = 3000};
    lw_obstacle obstacle = {.kind = LW_OBSTACLE_LOCK,
                            .key = some_keys[1],
                            .start = 6,
                            .primary = some_keys[0],
                            .label = lw_text("importer"),
                            .remaining_ms = 70,
                            .waited_ms = 80,
                            .cycle_length = 3,
                            .step_count = 2,
                            .steps = some_steps};
    lw_locks_request locks_request = {.lower = some_keys[1], .row_limit = 100};
    lw_locks_reply locks_reply = {
        .more = true, .next = some_keys[2], .rows = some_locks, .row_count = 2};
    lw_kill_request kill_request = {.start = 7};
    lw_kill_reply kill_reply = {.fate = LW_FATE_COMMITTED, .commit_timestamp = 8};
    switch (row) {
    case 0:
        lw_timestamp_request_encode(&timestamp_request, &body);
        break;
    case 1:
        lw_timestamp_reply_encode(&timestamp_reply, &body);
        break;
    case 2:
        lw_get_request_encode(&get_request, &body);
        break;
    case 3:
        lw_get_reply_encode(&get_reply, &body);
        break;
    case 4:
        lw_scan_request_encode(&scan_request, &body);
        break;
    case 5:
        lw_scan_reply_encode(&scan_reply, &body);
        break;
    case 6:
        lw_commit_now_request_encode(&commit_now_request, &body);
        break;
    case 7:
        lw_commit_reply_encode(&commit_reply, &body);
        break;
    case 8:
        lw_prewrite_request_encode(&prewrite_request, &body);
        break;
    case 9:
        lw_validate_request_encode(&validate_request, &body);
        break;
    case 10:
        lw_finish_request_encode(&finish_request, &body);
        break;
    case 11:
        lw_check_request_encode(&check_request, &body);
        break;
    case 12:
        lw_check_reply_encode(&check_reply, &body);
        break;
    case 13:
        lw_lock_request_encode(&lock_request, &body);
        break;
    case 14:
        lw_lock_reply_encode(&lock_reply, &body);
        break;
    case 15:
        lw_heartbeat_request_encode(&heartbeat_request, &body);
        break;
    case 16:
        lw_obstacle_encode(&obstacle, &body);
        break;
    case 17:
        lw_prewrite_reply_encode(&prewrite_reply, &body);
        break;
    case 18:
        lw_finish_range_request_encode(&finish_range_request, &body);
        break;
    case 19:
        lw_check_secondaries_request_encode(&check_secondaries_request, &body);
        break;
    case 20:
        lw_check_secondaries_reply_encode(&check_secondaries_reply, &body);
        break;
    case 21:
        lw_locks_request_encode(&locks_request, &body);
        break;
    case 22:
        lw_locks_reply_encode(&locks_reply, &body);
        break;
    case 23:
        lw_kill_request_encode(&kill_request, &body);
        break;
    case 24:
        lw_kill_reply_encode(&kill_reply, &body);
        break;
    case 25:
        lw_pin_request_encode(&(lw_pin_request){.timestamp = 7, .lifetime_ms = 9000}, &body);
        break;
    case 26:
        lw_pin_reply_encode(&(lw_pin_reply){.timestamp = 7}, &body);
        break;
    case 27:
        lw_collect_request_encode(
            &(lw_collect_request){.step = LW_COLLECT_SETTLE, .safepoint = 7, .key = lw_text("key")},
            &body);
        break;
    default:
        assert_int_equal(row, REQUEST_TABLE_COUNT - 1);
        lw_collect_reply_encode(
            &(lw_collect_reply){.lowest = 7, .settled = true, .end = lw_text("end")}, &body);
    }
}

static void every_message_arrives_as_it_was_sent(void **state) {
    (void)state;
    for (size_t row = 0; row < REQUEST_TABLE_COUNT; row++) {
        lw_buffer again = lw_buffer_in(memory);
        lw_buffer_clear(&body);
        encode_sample(row);
        assert_int_equal(request_table[row].copy(lw_buffer_view(&body), &arena, &again), LW_OK);
        assert_int_equal(again.size, body.size);
        assert_memory_equal(again.data, body.data, body.size);
    }
}

static void every_field_of_a_commit_arrives(void **state) {
    (void)state;
    encode_sample(6);
    lw_commit_now_request read;
    assert_int_equal(lw_commit_now_request_decode(lw_buffer_view(&body), &arena, &read), LW_OK);
    assert_int_equal(read.start, 7);
    assert_int_equal(read.mutation_count, 3);
    assert_int_equal(read.mutations[0].kind, LW_MUTATION_PUT);
    assert_true(lw_equal(read.mutations[0].value, lw_text("one")));
    assert_true(read.mutations[0].seen == LW_SEEN_ANYTHING);
    assert_int_equal(read.mutations[1].kind, LW_MUTATION_DELETE);
    assert_true(lw_equal(read.mutations[1].key, lw_view("a\0", 2)));
    assert_int_equal(read.mutations[1].seen, 77);
    assert_int_equal(read.mutations[2].kind, LW_MUTATION_ADD);
    assert_int_equal(read.key_count, 1);
    assert_int_equal(read.keys[0].seen, 9);
    assert_int_equal(read.range_count, 2);
    assert_int_equal(read.ranges[0].lower.size, 0);
    assert_true(lw_equal(read.ranges[1].upper, lw_text("l")));
}

static void the_bytes_of_a_commit_never_change(void **state) {
    (void)state;
    static const uint8_t golden[] = {
        0x94, 0x07,                                                /* start */
        0x93,                                                      /* mutations */
        0x94, 0x01, 0xc4, 1,    'a',  0xc4, 3,    'o',  'n',  'e', /* put, key, value */
        0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,      /* seen anything */
        0x94, 0x02, 0xc4, 2,    'a',  0,    0xc4, 0,    0x4d,      /* delete */
        0x94, 0x04, 0xc4, 1,    'b',  0xc4, 8,    '1',  '2',  '3',
        '4',  '5',  '6',  '7',  '8',  0x00,       /* add */
        0x91, 0x92, 0xc4, 1,    'k',  0x09,       /* seen keys */
        0x92, 0x93, 0xc4, 0,    0xc4, 0,    0x09, /* seen ranges */
        0x93, 0xc4, 1,    'k',  0xc4, 1,    'l',  0xcd, 0x01, 0x2c,
    };
    encode_sample(6);
    assert_int_equal(body.size, sizeof(golden));
    assert_memory_equal(body.data, golden, sizeof(golden));
}

static void every_field_of_a_prewrite_arrives(void **state) {
    (void)state;
    encode_sample(8);
    lw_prewrite_request read;
    assert_int_equal(lw_prewrite_request_decode(lw_buffer_view(&body), &arena, &read), LW_OK);
    assert_int_equal(read.start, 7);
    assert_true(lw_equal(read.primary, lw_text("a")));
    assert_int_equal(read.lifetime_ms, 3000);
    assert_int_equal(read.mutation_count, 3);
    assert_int_equal(read.commit_timestamp, 8);
    assert_int_equal(read.sequence, 5);
    assert_int_equal(read.secondary_count, 3);
    assert_true(lw_equal(read.secondaries[1], lw_view("b\0c", 3)));
    assert_int_equal(read.key_count, 1);
    assert_int_equal(read.keys[0].seen, 9);
    assert_int_equal(read.range_count, 2);
    assert_int_equal(read.ranges[1].seen, 300);
}

static void every_field_of_a_check_arrives(void **state) {
    (void)state;
    encode_sample(12);
    lw_check_reply read;
    assert_int_equal(lw_check_reply_decode(lw_buffer_view(&body), &arena, &read), LW_OK);
    assert_int_equal(read.fate, LW_FATE_ALIVE);
    assert_int_equal(read.commit_timestamp, 8);
    assert_int_equal(read.remaining_ms, 100);
    assert_true(read.asynchronous);
    assert_int_equal(read.secondary_count, 3);
    assert_true(lw_equal(read.secondaries[2], lw_text("zz")));
}

static void fields_of_a_newer_peer_are_skipped(void **state) {
    (void)state;
    lw_write_array(&body, 5);
    lw_write_u64(&body, 7);
    lw_write_bytes(&body, some_keys[0]);
    lw_write_bool(&body, true);
    lw_write_bool(&body, false);
    lw_write_array(&body, 2);
    lw_write_nil(&body);
    lw_write_text(&body, lw_text("news"));
    lw_check_request read;
    assert_int_equal(lw_check_request_decode(lw_buffer_view(&body), &arena, &read), LW_OK);
    assert_true(read.decide);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void expect_flaw(lw_status status, const char *words) {
    assert_int_equal(status, LW_INVALID_ARGUMENT);
    if (strstr(lw_error_slot()->text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", lw_error_slot()->text, words);
    }
}

static void expect_mutations_refused(const lw_mutation *mutations, uint32_t mutation_count,
                                     const char *words) {
    lw_commit_now_request sent = {
        .start = 7, .mutations = mutations, .mutation_count = mutation_count};
    lw_commit_now_request read;
    lw_buffer_clear(&body);
    lw_commit_now_request_encode(&sent, &body);
    expect_flaw(lw_commit_now_request_decode(lw_buffer_view(&body), &arena, &read), words);
}

static void mutations_out_of_order_are_refused(void **state) {
    (void)state;
    lw_mutation mutations[2] = {some_mutations[2], some_mutations[0]};
    expect_mutations_refused(mutations, 2, "not in the order of their keys");
    mutations[1] = mutations[0];
    expect_mutations_refused(mutations, 2, "each key once");
}

static void mutations_that_make_no_sense_are_refused(void **state) {
    (void)state;
    lw_mutation mutation = some_mutations[0];
    expect_mutations_refused(&mutation, 0, "no mutations");
    mutation.kind = (lw_mutation_kind)11;
    expect_mutations_refused(&mutation, 1, "unknown kind");
    mutation.kind = LW_MUTATION_DELETE;
    expect_mutations_refused(&mutation, 1, "its kind cannot have");
    mutation = some_mutations[0];
    mutation.key.size = 0;
    expect_mutations_refused(&mutation, 1, "empty");
}

static void keys_and_values_end_at_their_limits(void **state) {
    (void)state;
    size_t room = LW_USER_VALUE_SIZE_MAX + 1;
    uint8_t *bytes = lw_allocate_zero(memory, room);
    lw_mutation mutation = {.kind = LW_MUTATION_PUT,
                            .key = lw_view(bytes, LW_USER_KEY_SIZE_MAX + 1)};
    expect_mutations_refused(&mutation, 1, "longer than 16 KiB");
    mutation.key.size = 1;
    mutation.value = lw_view(bytes, room);
    expect_mutations_refused(&mutation, 1, "longer than 16 MiB");

    mutation.key.size = LW_USER_KEY_SIZE_MAX;
    mutation.value.size = LW_USER_VALUE_SIZE_MAX;
    lw_commit_now_request read;
    lw_commit_now_request sent = {.start = 7, .mutations = &mutation, .mutation_count = 1};
    lw_buffer_clear(&body);
    lw_commit_now_request_encode(&sent, &body);
    assert_int_equal(lw_commit_now_request_decode(lw_buffer_view(&body), &arena, &read), LW_OK);
}

static void a_put_that_expires_says_when(void **state) {
    (void)state;
    lw_mutation mutation = {.kind = LW_MUTATION_PUT,
                            .key = some_keys[0],
                            .value = lw_text("value"),
                            .seen = 9,
                            .ttl_ms = LW_USER_TTL_MAX_MS};
    lw_commit_now_request read;
    lw_commit_now_request sent = {.start = 7, .mutations = &mutation, .mutation_count = 1};
    lw_commit_now_request_encode(&sent, &body);
    assert_int_equal(lw_commit_now_request_decode(lw_buffer_view(&body), &arena, &read), LW_OK);
    assert_int_equal(read.mutations[0].kind, LW_MUTATION_PUT);
    assert_true(read.mutations[0].ttl_ms == LW_USER_TTL_MAX_MS);
    assert_int_equal(read.mutations[0].seen, 9);
    assert_int_equal(read.mutations[0].expires, 0);
    assert_true(lw_equal(read.mutations[0].value, mutation.value));
    /* As long as other values, and no longer. */
    uint8_t *bytes = lw_allocate_zero(memory, LW_USER_VALUE_SIZE_MAX + 1);
    mutation.value = lw_view(bytes, LW_USER_VALUE_SIZE_MAX);
    lw_buffer_clear(&body);
    lw_commit_now_request_encode(&sent, &body);
    assert_int_equal(lw_commit_now_request_decode(lw_buffer_view(&body), &arena, &read), LW_OK);
    assert_int_equal(read.mutations[0].value.size, LW_USER_VALUE_SIZE_MAX);
    mutation.value.size++;
    expect_mutations_refused(&mutation, 1, "longer than 16 MiB");
    mutation.value.size = 1;
    mutation.ttl_ms = LW_USER_TTL_MAX_MS + 1;
    expect_mutations_refused(&mutation, 1, "139 years");
}

static void a_transaction_without_a_name_is_refused(void **state) {
    (void)state;
    lw_check_request check;
    lw_check_request_encode(&(lw_check_request){.primary = some_keys[0]}, &body);
    expect_flaw(lw_check_request_decode(lw_buffer_view(&body), &arena, &check), "no transaction");
    lw_buffer_clear(&body);
    lw_lock_request lock;
    lw_lock_request_encode(&(lw_lock_request){.keys = some_keys, .key_count = 1}, &body);
    assert_int_equal(lw_lock_request_decode(lw_buffer_view(&body), &arena, &lock), LW_OK);
}

static void a_commit_timestamp_lies_above_its_start(void **state) {
    (void)state;
    lw_finish_request sent = {.start = 7, .commit_timestamp = 7, .keys = some_keys, .key_count = 1};
    lw_finish_request read;
    lw_finish_request_encode(&sent, &body);
    expect_flaw(lw_finish_request_decode(lw_buffer_view(&body), &arena, &read), "above its start");
}

static void what_belongs_to_an_async_commit_comes_with_its_timestamp(void **state) {
    (void)state;
    lw_prewrite_request sent = {.start = 7,
                                .primary = some_keys[0],
                                .mutations = some_mutations,
                                .mutation_count = 3,
                                .commit_timestamp = 7};
    lw_prewrite_request read;
    lw_prewrite_request_encode(&sent, &body);
    expect_flaw(lw_prewrite_request_decode(lw_buffer_view(&body), &arena, &read),
                "above its start");
    sent.commit_timestamp = 0;
    for (uint32_t part = 0; part < 3; part++) {
        sent.secondaries = some_keys;
        sent.secondary_count = part == 0;
        sent.keys = some_seen_keys;
        sent.key_count = part == 1;
        sent.ranges = some_ranges;
        sent.range_count = part == 2;
        lw_buffer_clear(&body);
        lw_prewrite_request_encode(&sent, &body);
        expect_flaw(lw_prewrite_request_decode(lw_buffer_view(&body), &arena, &read),
                    "no commit timestamp");
    }
}

static void an_async_commit_ends_at_so_many_secondaries(void **state) {
    (void)state;
    uint8_t bytes[LW_USER_KEY_SIZE_MAX] = {0};
    lw_bytes keys[LW_SECONDARY_COUNT_MAX + 1];
    for (size_t index = 0; index <= LW_SECONDARY_COUNT_MAX; index++) {
        keys[index] = lw_view(bytes, 1);
    }
    lw_check_secondaries_request sent = {
        .start = 7, .commit_timestamp = 8, .keys = keys, .key_count = LW_SECONDARY_COUNT_MAX};
    lw_check_secondaries_request read;
    lw_check_secondaries_request_encode(&sent, &body);
    assert_int_equal(lw_check_secondaries_request_decode(lw_buffer_view(&body), &arena, &read),
                     LW_OK);
    sent.key_count++;
    lw_buffer_clear(&body);
    lw_check_secondaries_request_encode(&sent, &body);
    expect_flaw(lw_check_secondaries_request_decode(lw_buffer_view(&body), &arena, &read),
                "more than 256 secondary keys");
    sent.key_count = 5;
    for (size_t index = 0; index < sent.key_count; index++) {
        keys[index] = lw_view(bytes, LW_SECONDARY_BYTES_MAX / 5 + 1);
    }
    lw_buffer_clear(&body);
    lw_check_secondaries_request_encode(&sent, &body);
    expect_flaw(lw_check_secondaries_request_decode(lw_buffer_view(&body), &arena, &read),
                "64 KiB");
}

static void a_fate_that_contradicts_itself_is_refused(void **state) {
    (void)state;
    const lw_check_reply wrong[] = {
        {.fate = LW_FATE_COMMITTED},
        {.fate = LW_FATE_ALIVE, .commit_timestamp = 8},
        {.fate = LW_FATE_ALIVE, .asynchronous = true},
        {.fate = LW_FATE_COMMITTED, .commit_timestamp = 8, .asynchronous = true},
        {.fate = LW_FATE_ALIVE, .secondaries = some_keys, .secondary_count = 1},
    };
    for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
        lw_check_reply read;
        lw_buffer_clear(&body);
        lw_check_reply_encode(&wrong[index], &body);
        assert_int_equal(lw_check_reply_decode(lw_buffer_view(&body), &arena, &read),
                         LW_INVALID_ARGUMENT);
    }
    lw_check_secondaries_reply read;
    lw_buffer_clear(&body);
    lw_check_secondaries_reply_encode(
        &(lw_check_secondaries_reply){.state = LW_SECONDARIES_LOCKED, .commit_timestamp = 8},
        &body);
    expect_flaw(lw_check_secondaries_reply_decode(lw_buffer_view(&body), &arena, &read),
                "contradict");
}

static void an_announced_count_takes_no_memory(void **state) {
    (void)state;
    lw_write_array(&body, 3);
    lw_write_u64(&body, 7);
    lw_write_u64(&body, 7);
    lw_write_array(&body, 1000 * 1000);
    uint8_t *filling = lw_buffer_reserve(&body, 1000 * 1000);
    memset(filling, 0x01, 1000 * 1000);
    body.size += 1000 * 1000;
    lw_get_request read;
    expect_flaw(lw_get_request_decode(lw_buffer_view(&body), &arena, &read), "262144");
    assert_true(arena.used < 1024);

    lw_buffer_clear(&body);
    lw_write_array(&body, 3);
    lw_write_u64(&body, 7);
    lw_write_u64(&body, 7);
    lw_write_array(&body, 1000);
    filling = lw_buffer_reserve(&body, 1000);
    memset(filling, 0x01, 1000);
    body.size += 1000;
    expect_flaw(lw_get_request_decode(lw_buffer_view(&body), &arena, &read), "than it holds");
    assert_true(arena.used < 1024);
}

static void damaged_messages_do_no_harm(void **state) {
    (void)state;
    uint64_t random = 1;
    uint64_t accepted_count = 0;
    for (size_t round = 0; round < 40000; round++) {
        size_t row = unit_random_below(&random, REQUEST_TABLE_COUNT);
        lw_buffer_clear(&body);
        encode_sample(row);
        for (uint64_t left = unit_random_below(&random, 4); left > 0; left--) {
            body.data[unit_random_below(&random, body.size)] = (uint8_t)unit_random(&random);
        }
        lw_bytes damaged = lw_buffer_view(&body);
        if (unit_random_below(&random, 4) == 0) {
            damaged.size = unit_random_below(&random, damaged.size + 1);
        }
        accepted_count += request_properties_hold(row, damaged, memory);
    }
    assert_in_range(accepted_count, 8000, 32000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_message_arrives_as_it_was_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(every_field_of_a_commit_arrives, setup, teardown),
        cmocka_unit_test_setup_teardown(the_bytes_of_a_commit_never_change, setup, teardown),
        cmocka_unit_test_setup_teardown(every_field_of_a_prewrite_arrives, setup, teardown),
        cmocka_unit_test_setup_teardown(every_field_of_a_check_arrives, setup, teardown),
        cmocka_unit_test_setup_teardown(what_belongs_to_an_async_commit_comes_with_its_timestamp,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_async_commit_ends_at_so_many_secondaries, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_fate_that_contradicts_itself_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(fields_of_a_newer_peer_are_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(mutations_out_of_order_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(mutations_that_make_no_sense_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_and_values_end_at_their_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_put_that_expires_says_when, setup, teardown),
        cmocka_unit_test_setup_teardown(a_transaction_without_a_name_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_commit_timestamp_lies_above_its_start, setup, teardown),
        cmocka_unit_test_setup_teardown(an_announced_count_takes_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_messages_do_no_harm, setup, teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
