/* SPDX-License-Identifier: Apache-2.0 */
/* etcd in the comparison of transactions: Put and Range of its gRPC interface, over HTTP/2 without
 * TLS. Just enough of HTTP/2 to ask and to see that an answer is one: headers go out as literals,
 * those that come are not read; a stream that ends without data is a failure. */
#include "tests/bench_txn.h"

#include <stdio.h>
#include <string.h>

enum {
    FRAME_HEAD = 9,
    DATA = 0,
    HEADERS = 1,
    RESET = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
    WINDOW = 8
};
enum { END_STREAM = 1, END_HEADERS = 4, ACK = 1, WINDOW_STEP = 1 << 20 };

static void command(const char *program, const char *directory, int port,
                    const char *arguments[32]) {
    (void)program;
    static char client[64], peer[64], cluster[80];
    snprintf(client, sizeof(client), "http://127.0.0.1:%d", port);
    snprintf(peer, sizeof(peer), "http://127.0.0.1:%d", port == 65535 ? port - 1 : port + 1);
    snprintf(cluster, sizeof(cluster), "default=%s", peer);
    const char *const words[] = {"etcd",    "--data-dir",
                                 directory, "--listen-client-urls",
                                 client,    "--advertise-client-urls",
                                 client,    "--listen-peer-urls",
                                 peer,      "--initial-advertise-peer-urls",
                                 peer,      "--initial-cluster",
                                 cluster,   NULL};
    memcpy((void *)arguments, words, sizeof(words));
}

/* Three of them, of which one leads. */
static void command_cluster(const char *program, const char *directory, int port,
                            const char *arguments[32]) {
    static char number[16];
    snprintf(number, sizeof(number), "%d", port);
    const char *const words[] = {
        "tests/bench_cluster.sh", "etcd", program, directory, number, NULL};
    memcpy((void *)arguments, words, sizeof(words));
}

/* ---- sending ----------------------------------------------------------------------------------
 */

static void append_head(lw_buffer *out, size_t size, uint8_t kind, uint8_t flags, uint32_t stream) {
    const uint8_t head[FRAME_HEAD] = {(uint8_t)(size >> 16),
                                      (uint8_t)(size >> 8),
                                      (uint8_t)size,
                                      kind,
                                      flags,
                                      (uint8_t)(stream >> 24),
                                      (uint8_t)(stream >> 16),
                                      (uint8_t)(stream >> 8),
                                      (uint8_t)stream};
    lw_buffer_append(out, lw_view(head, sizeof(head)));
}

/* A literal that no table keeps. */
static void append_field(lw_buffer *block, const char *name, const char *value) {
    lw_buffer_append_u8(block, 0);
    lw_buffer_append_u8(block, (uint8_t)strlen(name));
    lw_buffer_append(block, lw_text(name));
    lw_buffer_append_u8(block, (uint8_t)strlen(value));
    lw_buffer_append(block, lw_text(value));
}

static void append_headers(bench_connection *connection, uint32_t stream, const char *path) {
    lw_buffer block = lw_buffer_in(connection->out.memory);
    append_field(&block, ":method", "POST");
    append_field(&block, ":scheme", "http");
    append_field(&block, ":path", path);
    append_field(&block, ":authority", "127.0.0.1");
    append_field(&block, "content-type", "application/grpc");
    append_field(&block, "te", "trailers");
    append_head(&connection->out, block.size, HEADERS, END_HEADERS, stream);
    lw_buffer_append(&connection->out, lw_buffer_view(&block));
    lw_buffer_reset(&block);
}

/* One length-delimited field of a protobuf message; lengths here fit a byte. */
static void append_bytes(lw_buffer *message, uint8_t number, lw_bytes value) {
    lw_buffer_append_u8(message, (uint8_t)(number << 3 | 2));
    lw_buffer_append_u8(message, (uint8_t)value.size);
    lw_buffer_append(message, value);
}

static void begin(bench_connection *connection, uint32_t slot) {
    const bench_request *request = &connection->requests[slot];
    bool put = request->operation == BENCH_PUT;
    uint32_t stream = (uint32_t)(connection->number++ * 2 + 1);
    char key[BENCH_TXN_KEY_SIZE + 1];
    bench_key(request->keys[0], key);
    lw_buffer message = lw_buffer_in(connection->out.memory);
    append_bytes(&message, 1, lw_view(key, BENCH_TXN_KEY_SIZE));
    if (put) {
        append_bytes(&message, 2, bench_value());
    }
    append_headers(connection, stream, put ? "/etcdserverpb.KV/Put" : "/etcdserverpb.KV/Range");
    append_head(&connection->out, message.size + 5, DATA, END_STREAM, stream);
    const uint8_t prefix[5] = {0, 0, 0, 0, (uint8_t)message.size};
    lw_buffer_append(&connection->out, lw_view(prefix, sizeof(prefix)));
    lw_buffer_append(&connection->out, lw_buffer_view(&message));
    lw_buffer_reset(&message);
}

static void append_window(bench_connection *connection) {
    static const uint8_t step[4] = {0, WINDOW_STEP >> 16, 0, 0};
    append_head(&connection->out, sizeof(step), WINDOW, 0, 0);
    lw_buffer_append(&connection->out, lw_view(step, sizeof(step)));
}

static void greet(bench_connection *connection) {
    lw_buffer_append(&connection->out, lw_text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    append_head(&connection->out, 0, SETTINGS, 0, 0);
    append_window(connection);
    append_head(&connection->out, 0, SETTINGS, ACK, 0); /* to what it is about to say */
    bench_exchange(connection);
}

/* ---- receiving --------------------------------------------------------------------------------
 */

/* state[0]: bytes of data since the window was widened; state[1]: since the stream began. */
static void take_data(bench_connection *connection, const uint8_t *data, size_t size) {
    if (connection->requests[0].operation == BENCH_GET &&
        memmem(data, size, bench_value().data, BENCH_TXN_VALUE_SIZE) == NULL) {
        bench_txn_fail("etcd: a key that was put is not read");
    }
    connection->state[0] += size;
    connection->state[1] += size;
    if (connection->state[0] >= WINDOW_STEP / 2) {
        append_window(connection);
        connection->state[0] = 0;
    }
}

static bench_step take(bench_connection *connection, lw_bytes bytes, size_t *consumed,
                       uint32_t *slot) {
    *slot = 0;
    if (bytes.size < FRAME_HEAD) {
        return BENCH_MORE;
    }
    const uint8_t *head = bytes.data;
    size_t size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    if (bytes.size < FRAME_HEAD + size) {
        return BENCH_MORE;
    }
    *consumed = FRAME_HEAD + size;
    if (head[3] == RESET || head[3] == GOAWAY) {
        bench_txn_fail("etcd: it gave up a stream or the connection");
    }
    if (head[3] == PING && (head[4] & ACK) == 0) {
        append_head(&connection->out, size, PING, ACK, 0);
        lw_buffer_append(&connection->out, lw_view(head + FRAME_HEAD, size));
    }
    if (head[3] == DATA) {
        take_data(connection, head + FRAME_HEAD, size);
    }
    if (head[3] != HEADERS || (head[4] & END_STREAM) == 0) {
        return BENCH_GOES_ON;
    }
    if (connection->state[1] == 0) {
        bench_txn_fail("etcd: a request failed");
    }
    connection->state[1] = 0;
    return BENCH_DONE;
}

const bench_system bench_wire_etcd = {
    .name = "etcd",
    .settings = "defaults",
    .depth = 1,
    .command = command,
    .greet = greet,
    .begin = begin,
    .take = take,
};

const bench_system bench_wire_etcd_cluster = {
    .name = "etcd",
    .settings = "3 members, defaults",
    .ready = "leader ",
    .depth = 1,
    .command = command_cluster,
    .greet = greet,
    .begin = begin,
    .take = take,
};
