/* SPDX-License-Identifier: Apache-2.0 */
/* Frames, envelopes, greetings and shard descriptors, there and back. */
#include "lattice/message.h"
#include "tests/unit_memory.h"

/* Takes the size off a frame, and checks it. */
static lw_bytes payload_of(const lw_buffer *frame) {
    uint32_t size = 0;
    assert_int_equal(lw_frame_size(frame->data, &size), LW_OK);
    assert_int_equal(size + LW_FRAME_HEADER_SIZE, frame->size);
    return lw_view(frame->data + LW_FRAME_HEADER_SIZE, size);
}

static const lw_request sample_request = {
    .kind = LW_MESSAGE_GET,
    .id = 300,
    .shard = LW_ROOT_SHARD,
    .epoch = {.range_version = 2, .config_version = 70000},
    .timeout_ms = 1500,
    .body = {.data = (const uint8_t *)"body", .size = 4},
};

static void a_request_arrives_as_it_was_sent(void **state) {
    (void)state;
    lw_buffer frame = lw_buffer_in(memory);
    lw_request_encode(&sample_request, &frame);
    lw_request request;
    assert_int_equal(lw_request_decode(payload_of(&frame), &request), LW_OK);
    assert_int_equal(request.kind, LW_MESSAGE_GET);
    assert_int_equal(request.id, 300);
    assert_int_equal(request.shard, LW_ROOT_SHARD);
    assert_int_equal(request.epoch.range_version, 2);
    assert_int_equal(request.epoch.config_version, 70000);
    assert_int_equal(request.timeout_ms, 1500);
    assert_true(lw_equal(request.body, lw_text("body")));
}

static void the_bytes_of_a_request_never_change(void **state) {
    (void)state;
    static const uint8_t golden[] = {
        0x15, 0,    0,    0,          /* size */
        0x97,                         /* array of 7 */
        0x11,                         /* kind: GET */
        0xcd, 0x01, 0x2c,             /* request id 300 */
        0x01,                         /* root shard */
        0x02,                         /* range version */
        0xce, 0x00, 0x01, 0x11, 0x70, /* config version 70000 */
        0xcd, 0x05, 0xdc,             /* timeout 1500 ms */
        0xc4, 0x04, 'b',  'o',  'd',  'y',
    };
    lw_buffer frame = lw_buffer_in(memory);
    lw_request_encode(&sample_request, &frame);
    assert_int_equal(frame.size, sizeof(golden));
    assert_memory_equal(frame.data, golden, sizeof(golden));
}

static void a_reply_arrives_as_it_was_sent(void **state) {
    (void)state;
    lw_buffer frame = lw_buffer_in(memory);
    lw_reply sent = {.id = 9,
                     .status = LW_CONFLICT,
                     .error = lw_text("because"),
                     .spare = 77,
                     .body = lw_text("detail")};
    lw_reply_encode(&sent, &frame);
    lw_reply reply;
    assert_int_equal(lw_reply_decode(payload_of(&frame), &reply), LW_OK);
    assert_int_equal(reply.id, 9);
    assert_int_equal(reply.status, LW_CONFLICT);
    assert_true(lw_equal(reply.error, lw_text("because")));
    assert_int_equal(reply.spare, 77);
    assert_true(lw_equal(reply.body, lw_text("detail")));
}

static void a_status_of_a_newer_node_reads_as_internal(void **state) {
    (void)state;
    lw_buffer frame = lw_buffer_in(memory);
    lw_reply sent = {.id = 9, .status = (lw_status)99};
    lw_reply_encode(&sent, &frame);
    lw_reply reply;
    assert_int_equal(lw_reply_decode(payload_of(&frame), &reply), LW_OK);
    assert_int_equal(reply.status, LW_INTERNAL);
}

static void fields_of_a_newer_peer_are_skipped(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_write_array(&body, 7);
    lw_write_text(&body, lw_text("LW01"));
    lw_write_u64(&body, 1);
    lw_write_u64(&body, 3);
    lw_write_u64(&body, 0);
    lw_write_text(&body, lw_text("me"));
    lw_write_text(&body, lw_text("news"));
    lw_write_array(&body, 0);
    lw_hello hello;
    assert_int_equal(lw_hello_decode(lw_buffer_view(&body), &hello), LW_OK);
    assert_int_equal(hello.protocol_max, 3);
    assert_true(lw_equal(hello.label, lw_text("me")));
}

static void sizes_outside_the_limit_are_refused(void **state) {
    (void)state;
    uint32_t size = 5;
    const uint8_t nothing[4] = {0};
    assert_int_equal(lw_frame_size(nothing, &size), LW_INVALID_ARGUMENT);
    const uint8_t http[4] = {'G', 'E', 'T', ' '};
    assert_int_equal(lw_frame_size(http, &size), LW_INVALID_ARGUMENT);
    assert_non_null(strstr(lw_error_slot()->text, "does not speak"));
    assert_int_equal(size, 5);
}

static void a_request_cut_anywhere_is_refused(void **state) {
    (void)state;
    lw_buffer frame = lw_buffer_in(memory);
    lw_request_encode(&sample_request, &frame);
    lw_bytes whole = payload_of(&frame);
    for (size_t size = 0; size < whole.size; size++) {
        lw_request request;
        assert_int_equal(lw_request_decode(lw_view(whole.data, size), &request),
                         LW_INVALID_ARGUMENT);
    }
}

static void a_greeting_of_another_protocol_is_refused(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_hello hello = {.protocol_min = 1, .protocol_max = 1, .label = lw_text("x")};
    lw_hello_encode(&hello, &body);
    assert_int_equal(lw_hello_decode(lw_buffer_view(&body), &hello), LW_OK);
    body.data[2] = 'X';
    assert_int_equal(lw_hello_decode(lw_buffer_view(&body), &hello), LW_INVALID_ARGUMENT);
}

static void a_welcome_arrives_as_it_was_sent(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_welcome sent = {.protocol = 1,
                       .session = 12,
                       .node_id = UINT64_MAX,
                       .cluster_id = lw_text("0123456789abcdef"),
                       .version = lw_text("1.0")};
    sent.retention_ms = 600000;
    lw_welcome_encode(&sent, &body);
    lw_welcome welcome;
    assert_int_equal(lw_welcome_decode(lw_buffer_view(&body), &welcome), LW_OK);
    assert_int_equal(welcome.session, 12);
    assert_true(welcome.node_id == UINT64_MAX);
    assert_true(lw_equal(welcome.cluster_id, sent.cluster_id));
    assert_true(lw_equal(welcome.version, sent.version));
    assert_int_equal(welcome.retention_ms, 600000);
}

static void shards_arrive_as_they_were_sent(void **state) {
    (void)state;
    lw_shard_descriptor sent[2] = {
        {.id = 1, .epoch = {1, 1}, .end = lw_text("m"), .leader = 5},
        {.id = 2, .epoch = {3, 4}, .start = lw_text("m"), .leader_address = lw_text("h:1")},
    };
    lw_buffer body = lw_buffer_in(memory);
    lw_topology_encode(sent, 2, &body);
    lw_reader reader;
    uint32_t count = 0;
    assert_int_equal(lw_topology_open(lw_buffer_view(&body), &reader, &count), LW_OK);
    assert_int_equal(count, 2);
    lw_shard_descriptor shard;
    assert_int_equal(lw_topology_next(&reader, &shard), LW_OK);
    assert_int_equal(shard.id, 1);
    assert_int_equal(shard.leader, 5);
    assert_true(lw_equal(shard.end, lw_text("m")));
    assert_int_equal(lw_topology_next(&reader, &shard), LW_OK);
    assert_int_equal(shard.epoch.config_version, 4);
    assert_true(lw_equal(shard.leader_address, lw_text("h:1")));
    assert_int_equal(lw_topology_next(&reader, &shard), LW_INVALID_ARGUMENT);
}

static void a_shard_arrives_with_its_replicas(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_shard_descriptor sent = {.id = 7,
                                .replicas = {{3, LW_REPLICA_VOTER},
                                             {5, LW_REPLICA_LEAVING},
                                             {UINT64_MAX, LW_REPLICA_LEARNER}},
                                .replica_count = 3};
    lw_topology_encode(&sent, 1, &body);
    lw_reader reader;
    uint32_t count;
    lw_shard_descriptor shard;
    assert_int_equal(lw_topology_open(lw_buffer_view(&body), &reader, &count), LW_OK);
    assert_int_equal(lw_topology_next(&reader, &shard), LW_OK);
    assert_true(lw_reader_done(&reader));
    assert_int_equal(shard.replica_count, 3);
    assert_memory_equal(shard.replicas, sent.replicas, sizeof(sent.replicas));

    lw_shard_descriptor wrong[3] = {sent, sent, sent};
    wrong[0].replicas[1].node = 3; /* twice */
    wrong[1].replicas[1].role = (lw_replica_role)5;
    wrong[2].replicas[0].role = (lw_replica_role)0;
    for (int index = 0; index < 3; index++) {
        body.size = 0;
        lw_topology_encode(&wrong[index], 1, &body);
        assert_int_equal(lw_topology_open(lw_buffer_view(&body), &reader, &count), LW_OK);
        assert_int_equal(lw_topology_next(&reader, &shard), LW_INVALID_ARGUMENT);
    }
    lw_buffer_reset(&body);
}

/* As it was written before shards had replicas. */
static void a_shard_of_before_has_no_replicas(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_write_array(&body, 1);
    lw_write_array(&body, 7);
    lw_write_u64(&body, 1);
    lw_write_u64(&body, 1);
    lw_write_u64(&body, 1);
    lw_write_bytes(&body, lw_text(""));
    lw_write_bytes(&body, lw_text("m"));
    lw_write_u64(&body, 0);
    lw_write_text(&body, lw_text(""));
    lw_reader reader;
    uint32_t count;
    lw_shard_descriptor shard;
    assert_int_equal(lw_topology_open(lw_buffer_view(&body), &reader, &count), LW_OK);
    assert_int_equal(lw_topology_next(&reader, &shard), LW_OK);
    assert_int_equal(shard.replica_count, 0);
    assert_true(lw_reader_done(&reader));
    lw_buffer_reset(&body);
}

static void a_shard_whose_range_is_empty_is_refused(void **state) {
    (void)state;
    lw_shard_descriptor sent = {.id = 1, .start = lw_text("m"), .end = lw_text("m")};
    lw_buffer body = lw_buffer_in(memory);
    lw_topology_encode(&sent, 1, &body);
    lw_reader reader;
    uint32_t count = 0;
    assert_int_equal(lw_topology_open(lw_buffer_view(&body), &reader, &count), LW_OK);
    lw_shard_descriptor shard;
    assert_int_equal(lw_topology_next(&reader, &shard), LW_INVALID_ARGUMENT);
}

static void shards_arrive_with_what_they_hold(void **state) {
    (void)state;
    lw_shard_row sent[2] = {
        {.shard = {.id = 1, .epoch = {1, 1}, .end = lw_text("m")}, .bytes = UINT64_MAX},
        {.shard =
             {.id = 2, .epoch = {3, 4}, .start = lw_text("m"), .leader_address = lw_text("h:1")},
         .bytes = 5,
         .requests = 6},
    };
    lw_buffer body = lw_buffer_in(memory);
    lw_shard_rows_encode(sent, 2, &body);
    for (size_t size = 0; size <= body.size; size++) {
        lw_reader reader;
        uint32_t count = 0;
        lw_shard_row rows[2];
        lw_status status = lw_topology_open(lw_view(body.data, size), &reader, &count);
        for (uint32_t index = 0; index < 2 && status == LW_OK; index++) {
            status = lw_shard_row_next(&reader, &rows[index]);
        }
        assert_int_equal(status, size < body.size ? LW_INVALID_ARGUMENT : LW_OK);
        if (status == LW_OK) {
            assert_int_equal(count, 2);
            assert_true(rows[0].bytes == UINT64_MAX && rows[0].shard.id == 1);
            assert_true(rows[0].requests == 0 && rows[1].requests == 6);
            assert_true(rows[1].bytes == 5 && rows[1].shard.epoch.config_version == 4);
            assert_true(lw_equal(rows[1].shard.leader_address, lw_text("h:1")));
        }
    }
}

static void a_request_to_split_arrives_as_it_was_sent(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_split_request request = {.key = lw_text("m")};
    lw_split_request_encode(&request, &body);
    assert_int_equal(body.size, 4);
    assert_memory_equal(body.data, "\x91\xc4\x01m", 4);
    assert_int_equal(lw_split_request_decode(lw_buffer_view(&body), &request), LW_OK);
    assert_true(lw_equal(request.key, lw_text("m")));
    for (size_t size = 0; size < body.size; size++) {
        assert_int_equal(lw_split_request_decode(lw_view(body.data, size), &request),
                         LW_INVALID_ARGUMENT);
    }
    lw_buffer_clear(&body);
    lw_split_request_encode(&(lw_split_request){0}, &body);
    assert_int_equal(lw_split_request_decode(lw_buffer_view(&body), &request), LW_INVALID_ARGUMENT);
}

static void a_merge_arrives_as_it_was_sent(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_merge_request request = {.right = 7, .if_idle = true};
    lw_merge_request_encode(&request, &body);
    assert_int_equal(body.size, 3);
    assert_memory_equal(body.data, "\x92\x07\xc3", 3);
    request = (lw_merge_request){0};
    assert_int_equal(lw_merge_request_decode(lw_buffer_view(&body), &request), LW_OK);
    assert_true(request.right == 7 && request.if_idle);
    for (size_t size = 0; size < body.size; size++) {
        assert_int_equal(lw_merge_request_decode(lw_view(body.data, size), &request),
                         LW_INVALID_ARGUMENT);
    }
}

static void what_became_of_a_merge_is_asked_and_told(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_merged_request request = {.right = 7, .left = 5, .range_version = 3, .start = lw_text("k")};
    lw_merged_request_encode(&request, &body);
    assert_int_equal(body.size, 7);
    assert_memory_equal(body.data, "\x94\x07\x05\x03\xc4\x01k", 7);
    request = (lw_merged_request){0};
    assert_int_equal(lw_merged_request_decode(lw_buffer_view(&body), &request), LW_OK);
    assert_true(request.right == 7 && request.left == 5 && request.range_version == 3 &&
                lw_equal(request.start, lw_text("k")));
    for (size_t size = 0; size < body.size; size++) {
        assert_int_equal(lw_merged_request_decode(lw_view(body.data, size), &request),
                         LW_INVALID_ARGUMENT);
    }
    lw_buffer_clear(&body);
    lw_merged_request_encode(&(lw_merged_request){.left = 5}, &body);
    assert_int_equal(lw_merged_request_decode(lw_buffer_view(&body), &request),
                     LW_INVALID_ARGUMENT);
    bool merged = false;
    lw_buffer_clear(&body);
    lw_merged_reply_encode(true, &body);
    assert_int_equal(lw_merged_reply_decode(lw_buffer_view(&body), &merged), LW_OK);
    assert_true(merged);
    assert_int_equal(lw_merged_reply_decode(lw_view(NULL, 0), &merged), LW_INVALID_ARGUMENT);
}

static void a_change_of_replicas_arrives_as_it_was_sent(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_change_replicas_request request = {
        .voter = 7, .leaves = 5, .fewer = true, .second_voter = 8, .second_leaves = 6};
    lw_change_replicas_request_encode(&request, &body);
    assert_int_equal(body.size, 7);
    assert_memory_equal(body.data, "\x96\x00\x07\x05\xc3\x08\x06", 7);
    request = (lw_change_replicas_request){0};
    assert_int_equal(lw_change_replicas_request_decode(lw_buffer_view(&body), &request), LW_OK);
    assert_true(request.learner == 0 && request.voter == 7 && request.leaves == 5 && request.fewer);
    assert_true(request.second_voter == 8 && request.second_leaves == 6);
    for (size_t size = 0; size < body.size; size++) {
        assert_int_equal(lw_change_replicas_request_decode(lw_view(body.data, size), &request),
                         LW_INVALID_ARGUMENT);
    }
    const lw_change_replicas_request bad[] = {{.fewer = true},
                                              {.learner = 7, .voter = 7},
                                              {.voter = 7, .leaves = 7},
                                              {.learner = 7, .leaves = 7},
                                              {.second_voter = 7},
                                              {.second_leaves = 7},
                                              {.voter = 7, .second_voter = 7},
                                              {.voter = 5, .leaves = 7, .second_leaves = 5}};
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        lw_buffer_clear(&body);
        lw_change_replicas_request_encode(&bad[index], &body);
        assert_int_equal(lw_change_replicas_request_decode(lw_buffer_view(&body), &request),
                         LW_INVALID_ARGUMENT);
    }
}

static void a_transfer_arrives_as_it_was_sent(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_transfer_request request = {.node = 9};
    lw_transfer_request_encode(&request, &body);
    assert_int_equal(body.size, 2);
    assert_memory_equal(body.data, "\x91\x09", 2);
    request.node = 0;
    assert_int_equal(lw_transfer_request_decode(lw_buffer_view(&body), &request), LW_OK);
    assert_int_equal(request.node, 9);
    assert_int_equal(lw_transfer_request_decode(lw_view(body.data, 1), &request),
                     LW_INVALID_ARGUMENT);
    lw_buffer_clear(&body);
    lw_transfer_request_encode(&(lw_transfer_request){0}, &body);
    assert_int_equal(lw_transfer_request_decode(lw_buffer_view(&body), &request),
                     LW_INVALID_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_arrives_as_it_was_sent),
        cmocka_unit_test(the_bytes_of_a_request_never_change),
        cmocka_unit_test(a_reply_arrives_as_it_was_sent),
        cmocka_unit_test(a_status_of_a_newer_node_reads_as_internal),
        cmocka_unit_test(fields_of_a_newer_peer_are_skipped),
        cmocka_unit_test(sizes_outside_the_limit_are_refused),
        cmocka_unit_test(a_request_cut_anywhere_is_refused),
        cmocka_unit_test(a_greeting_of_another_protocol_is_refused),
        cmocka_unit_test(a_welcome_arrives_as_it_was_sent),
        cmocka_unit_test(shards_arrive_as_they_were_sent),
        cmocka_unit_test(a_shard_arrives_with_its_replicas),
        cmocka_unit_test(a_shard_of_before_has_no_replicas),
        cmocka_unit_test(a_shard_whose_range_is_empty_is_refused),
        cmocka_unit_test(shards_arrive_with_what_they_hold),
        cmocka_unit_test(a_request_to_split_arrives_as_it_was_sent),
        cmocka_unit_test(a_merge_arrives_as_it_was_sent),
        cmocka_unit_test(what_became_of_a_merge_is_asked_and_told),
        cmocka_unit_test(a_change_of_replicas_arrives_as_it_was_sent),
        cmocka_unit_test(a_transfer_arrives_as_it_was_sent),
    };
    return cmocka_run_group_tests(tests, unit_memory_open, unit_memory_close) != 0 ? 1 : 0;
}
