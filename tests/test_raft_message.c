/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of consensus groups as bytes. */
#include "lattice/raft_message.h"
#include "tests/unit.h"

static const lw_raft_message append = {.kind = LW_RAFT_APPEND,
                                       .term = 5,
                                       .index = 10,
                                       .index_term = 2,
                                       .count = 3,
                                       .run_count = 2,
                                       .run_firsts = {11, 13},
                                       .run_terms = {3, 5},
                                       .commit = 9,
                                       .round = 4,
                                       .sent_at = 300,
                                       .handover = 1,
                                       .digest_index = 8,
                                       .digest = 0x1122334455667788};

static lw_buffer encoded(lw_memory *memory, const lw_raft_message *message) {
    static const lw_bytes payloads[] = {
        {(const uint8_t *)"a", 1}, {NULL, 0}, {(const uint8_t *)"ccc", 3}};
    lw_buffer bytes = lw_buffer_in(memory);
    lw_raft_message_encode(7, message, payloads, &bytes);
    return bytes;
}

static void an_append_is_these_bytes(void **state) {
    (void)state;
    static const uint8_t golden[] = {
        0xdc, 0x00, 0x10,                                     /* sixteen fields */
        5,    7,    5,    10,   2,    9,    4,                /* kind … round */
        0xcd, 0x01, 0x2c, 1,    0,    0,    0,    8,          /* sent at … digest index */
        0xcf, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, /* digest */
        0x94, 2,    3,    1,    5,                            /* two of term 3, one of term 5 */
        0x93, 0xc4, 1,    'a',  0xc4, 0,    0xc4, 3,    'c',  'c', 'c'};
    lw_memory *memory = lw_memory_open();
    lw_buffer bytes = encoded(memory, &append);
    assert_int_equal(bytes.size, sizeof(golden));
    assert_memory_equal(bytes.data, golden, sizeof(golden));
    lw_memory_close(memory);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer bytes = encoded(memory, &append);
    uint64_t group = 0;
    lw_raft_message read;
    lw_reader entries;
    assert_int_equal(lw_raft_message_decode(lw_buffer_view(&bytes), &group, &read, &entries),
                     LW_OK);
    assert_int_equal(group, 7);
    lw_buffer again = encoded(memory, &read);
    assert_true(lw_equal(lw_buffer_view(&again), lw_buffer_view(&bytes)));
    assert_int_equal(lw_raft_payload_next(&entries).size, 1);
    assert_int_equal(lw_raft_payload_next(&entries).size, 0);
    assert_memory_equal(lw_raft_payload_next(&entries).data, "ccc", 3);
    assert_true(lw_reader_done(&entries));
    lw_memory_close(memory);
}

static void fewer_entries_take_their_runs_along(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_raft_message shorter = append;
    shorter.count = 1;
    lw_buffer bytes = encoded(memory, &shorter);
    uint64_t group;
    lw_raft_message read;
    lw_reader entries;
    assert_int_equal(lw_raft_message_decode(lw_buffer_view(&bytes), &group, &read, &entries),
                     LW_OK);
    assert_int_equal(read.count, 1);
    assert_int_equal(read.run_count, 1);
    assert_int_equal(read.run_terms[0], 3);
    lw_memory_close(memory);
}

static void expect_refused(const lw_raft_message *message) {
    lw_memory *memory = lw_memory_open();
    lw_buffer bytes = encoded(memory, message);
    uint64_t group;
    lw_raft_message read;
    lw_reader entries;
    assert_int_equal(lw_raft_message_decode(lw_buffer_view(&bytes), &group, &read, &entries),
                     LW_INVALID_ARGUMENT);
    lw_memory_close(memory);
}

static void what_no_log_could_say_is_refused(void **state) {
    (void)state;
    lw_raft_message message = append;
    message.run_terms[1] = 3; /* does not rise */
    expect_refused(&message);
    message = append;
    message.run_terms[0] = 1; /* below the entry before */
    expect_refused(&message);
    message = append;
    message.run_terms[1] = 6; /* above the leader's own */
    expect_refused(&message);
    message = append;
    message.index_term = 6;
    expect_refused(&message);
    message = append;
    message.kind = LW_RAFT_VOTE; /* entries in a message that has none */
    expect_refused(&message);
    message = append;
    message.term = UINT64_MAX;
    expect_refused(&message);
    message = append;
    message.index = UINT64_MAX - 5;
    message.run_firsts[0] = UINT64_MAX - 4;
    message.run_firsts[1] = UINT64_MAX - 2;
    expect_refused(&message);
}

static void no_cut_of_a_message_is_one(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer bytes = encoded(memory, &append);
    for (size_t size = 0; size < bytes.size; size++) {
        uint64_t group;
        lw_raft_message read;
        lw_reader entries;
        assert_int_equal(lw_raft_message_decode(lw_view(bytes.data, size), &group, &read, &entries),
                         LW_INVALID_ARGUMENT);
    }
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_append_is_these_bytes),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(fewer_entries_take_their_runs_along),
        cmocka_unit_test(what_no_log_could_say_is_refused),
        cmocka_unit_test(no_cut_of_a_message_is_one),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
