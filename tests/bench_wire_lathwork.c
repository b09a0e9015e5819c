/* SPDX-License-Identifier: Apache-2.0 */
/* Our node in the comparison of transactions: frames as the client library makes them. A put is one
 * COMMIT_NOW under the timestamp that came with the last reply, and so is a transfer between two
 * numbers, as lw_add makes it; one between two keys reads them, then commits both, strictly. */
#include "lattice/message.h"
#include "tests/bench_txn.h"
#include "txn/atomic.h"
#include "txn/request.h"

#include <stdio.h>

static void command(const char *program, const char *directory, int port,
                    const char *arguments[32]) {
    static char listen[64];
    snprintf(listen, sizeof(listen), "127.0.0.1:%d", port);
    const char *const words[] = {program, "start",    "--data", directory, "--listen",
                                 listen,  "--memory", "128M",   NULL};
    memcpy((void *)arguments, words, sizeof(words));
}

/* Three of them, of which one leads. */
static void command_cluster(const char *program, const char *directory, int port,
                            const char *arguments[32]) {
    static char number[16];
    snprintf(number, sizeof(number), "%d", port);
    const char *const words[] = {
        "tests/bench_cluster.sh", "lathwork", program, directory, number, NULL};
    memcpy((void *)arguments, words, sizeof(words));
}

/* ---- sending ----------------------------------------------------------------------------------
 */

/* The slot travels in the low bits of the identifier. */
static void append(bench_connection *connection, uint32_t slot, lw_message_kind kind,
                   const lw_buffer *body) {
    lw_request request = {.kind = kind,
                          .id = connection->number++ * BENCH_TXN_DEPTH_MAX + slot + 1,
                          .timeout_ms = 10000,
                          .body = lw_buffer_view(body)};
    if (kind >= LW_MESSAGE_TIMESTAMP) {
        request.shard = LW_ROOT_SHARD;
        request.epoch = (lw_epoch){.range_version = connection->state[0],
                                   .config_version = connection->state[1]};
    }
    lw_request_encode(&request, &connection->out);
}

static void append_commit(bench_connection *connection, uint32_t slot, uint64_t start,
                          uint32_t count) {
    bench_request *request = &connection->requests[slot];
    char keys[2][BENCH_TXN_KEY_SIZE + 1];
    lw_mutation mutations[2];
    bool reads = request->operation == BENCH_TRANSFER, moves = request->operation == BENCH_MOVE;
    uint8_t numbers[2][LW_NUMBER_SIZE];
    for (uint32_t index = 0; index < count; index++) {
        bench_key(request->keys[index], keys[index]);
        mutations[index] = (lw_mutation){.kind = LW_MUTATION_PUT,
                                         .key = lw_view(keys[index], BENCH_TXN_KEY_SIZE),
                                         .value = bench_value(),
                                         .seen = reads ? start : LW_SEEN_ANYTHING};
        if (moves) {
            lw_number_encode(index == 0 ? -1 : 1, numbers[index]);
            memcpy(keys[index], "sum", 3);
            mutations[index].kind = LW_MUTATION_ADD;
            mutations[index].value = lw_view(numbers[index], LW_NUMBER_SIZE);
        }
    }
    lw_commit_now_request commit = {
        .start = start, .mutations = mutations, .mutation_count = count};
    lw_buffer body = lw_buffer_in(connection->out.memory);
    lw_commit_now_request_encode(&commit, &body);
    append(connection, slot, LW_MESSAGE_COMMIT_NOW, &body);
    lw_buffer_reset(&body);
}

static void append_get(bench_connection *connection, uint32_t slot, uint32_t count) {
    bench_request *request = &connection->requests[slot];
    char keys[2][BENCH_TXN_KEY_SIZE + 1];
    lw_bytes views[2];
    for (uint32_t index = 0; index < count; index++) {
        bench_key(request->keys[index], keys[index]);
        views[index] = lw_view(keys[index], BENCH_TXN_KEY_SIZE);
    }
    lw_get_request get = {.keys = views, .key_count = count};
    lw_buffer body = lw_buffer_in(connection->out.memory);
    lw_get_request_encode(&get, &body);
    append(connection, slot, LW_MESSAGE_GET, &body);
    lw_buffer_reset(&body);
}

static void append_timestamp(bench_connection *connection, uint32_t slot) {
    lw_buffer body = lw_buffer_in(connection->out.memory);
    lw_timestamp_request_encode(&(lw_timestamp_request){.count = 1}, &body);
    append(connection, slot, LW_MESSAGE_TIMESTAMP, &body);
    lw_buffer_reset(&body);
}

/* scratch[0]: the timestamp to go on with. scratch[1]: which message is under way. */
static void begin(bench_connection *connection, uint32_t slot) {
    bench_request *request = &connection->requests[slot];
    bool blind = request->operation == BENCH_PUT || request->operation == BENCH_MOVE;
    if (blind && request->scratch[0] == 0) {
        request->scratch[1] = LW_MESSAGE_TIMESTAMP;
        append_timestamp(connection, slot);
    } else if (blind) {
        request->scratch[1] = LW_MESSAGE_COMMIT_NOW;
        append_commit(connection, slot, request->scratch[0],
                      request->operation == BENCH_PUT ? 1 : 2);
    } else {
        request->scratch[1] = LW_MESSAGE_GET;
        append_get(connection, slot, request->operation == BENCH_TRANSFER ? 2 : 1);
    }
}

static void greet(bench_connection *connection) {
    lw_buffer body = lw_buffer_in(connection->out.memory);
    lw_hello hello = {.protocol_min = LW_PROTOCOL_MIN,
                      .protocol_max = LW_PROTOCOL_MAX,
                      .label = lw_text("bench")};
    lw_hello_encode(&hello, &body);
    append(connection, 0, LW_MESSAGE_HELLO, &body);
    lw_buffer_reset(&body);
    bench_exchange(connection); /* a welcome is small, and comes whole */
    lw_buffer_clear(&connection->in);
    body = lw_buffer_in(connection->out.memory);
    append(connection, 0, LW_MESSAGE_TOPOLOGY, &body);
    bench_exchange(connection);
    lw_reply reply;
    lw_reader reader;
    lw_shard_descriptor shard;
    uint32_t count = 0;
    lw_bytes frame = lw_buffer_view(&connection->in);
    if (frame.size <= LW_FRAME_HEADER_SIZE ||
        lw_reply_decode(
            lw_view(frame.data + LW_FRAME_HEADER_SIZE, frame.size - LW_FRAME_HEADER_SIZE),
            &reply) != LW_OK ||
        lw_topology_open(reply.body, &reader, &count) != LW_OK || count != 1 ||
        lw_topology_next(&reader, &shard) != LW_OK) {
        bench_txn_fail("Lathwork: it does not say which shard it has");
    }
    connection->state[0] = shard.epoch.range_version;
    connection->state[1] = shard.epoch.config_version;
    lw_buffer_clear(&connection->in);
}

/* ---- receiving --------------------------------------------------------------------------------
 */

static bench_step take_get(bench_connection *connection, uint32_t slot, const lw_reply *reply) {
    bench_request *request = &connection->requests[slot];
    lw_arena arena = lw_arena_in(connection->out.memory);
    lw_get_reply answer;
    if (lw_get_reply_decode(reply->body, &arena, &answer) != LW_OK || answer.value_count == 0 ||
        !answer.values[0].found || !lw_equal(answer.values[0].value, bench_value())) {
        bench_txn_fail("Lathwork: a key that was put is not read");
    }
    uint64_t read_timestamp = answer.read_timestamp;
    lw_arena_reset(&arena);
    if (request->operation == BENCH_GET) {
        return BENCH_DONE;
    }
    request->scratch[1] = LW_MESSAGE_COMMIT_NOW;
    append_commit(connection, slot, read_timestamp, 2);
    return BENCH_GOES_ON;
}

static bench_step take(bench_connection *connection, lw_bytes bytes, size_t *consumed,
                       uint32_t *slot) {
    uint32_t size;
    lw_reply reply;
    if (bytes.size < LW_FRAME_HEADER_SIZE) {
        return BENCH_MORE;
    }
    if (lw_frame_size(bytes.data, &size) != LW_OK) {
        bench_txn_fail("Lathwork: no frame");
    }
    if (bytes.size < LW_FRAME_HEADER_SIZE + (size_t)size) {
        return BENCH_MORE;
    }
    *consumed = LW_FRAME_HEADER_SIZE + (size_t)size;
    if (lw_reply_decode(lw_view(bytes.data + LW_FRAME_HEADER_SIZE, size), &reply) != LW_OK ||
        reply.id == 0) {
        bench_txn_fail("Lathwork: no reply");
    }
    *slot = (uint32_t)((reply.id - 1) % BENCH_TXN_DEPTH_MAX);
    bench_request *request = &connection->requests[*slot];
    request->scratch[0] = reply.spare;
    if (reply.status == LW_CONFLICT) {
        return BENCH_AGAIN;
    }
    if (reply.status != LW_OK) {
        bench_txn_fail("Lathwork: %.*s", (int)reply.error.size, (const char *)reply.error.data);
    }
    if (request->scratch[1] == LW_MESSAGE_TIMESTAMP) {
        if (reply.spare == 0) {
            bench_txn_fail("Lathwork: no spare timestamp came");
        }
        begin(connection, *slot);
        return BENCH_GOES_ON;
    }
    return request->scratch[1] == LW_MESSAGE_GET ? take_get(connection, *slot, &reply) : BENCH_DONE;
}

const bench_system bench_wire_lathwork = {
    .name = "Lathwork",
    .settings = "defaults, --memory 128M",
    .transfers = true,
    .depth = BENCH_TXN_DEPTH_MAX,
    .command = command,
    .greet = greet,
    .begin = begin,
    .take = take,
};

const bench_system bench_wire_lathwork_cluster = {
    .name = "Lathwork",
    .settings = "3 nodes with brokers, --memory 128M each",
    .ready = "leader ",
    .transfers = true,
    .depth = BENCH_TXN_DEPTH_MAX,
    .command = command_cluster,
    .greet = greet,
    .begin = begin,
    .take = take,
};
