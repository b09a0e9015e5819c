/* SPDX-License-Identifier: Apache-2.0 */
/* Redis in the comparison of transactions: SET and GET, every write in the append-only file and on
 * disk before it is answered. It answers in order. */
#include "tests/bench_txn.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void prepare(const char *directory) {
    (void)mkdir(directory, 0755);
}

static void command(const char *program, const char *directory, int port,
                    const char *arguments[32]) {
    (void)program;
    static char text[16];
    snprintf(text, sizeof(text), "%d", port);
    const char *const words[] = {"redis-server",
                                 "--port",
                                 text,
                                 "--bind",
                                 "127.0.0.1",
                                 "--dir",
                                 directory,
                                 "--appendonly",
                                 "yes",
                                 "--appendfsync",
                                 "always",
                                 "--save",
                                 "",
                                 "--protected-mode",
                                 "no",
                                 NULL};
    memcpy((void *)arguments, words, sizeof(words));
}

static void greet(bench_connection *connection) {
    lw_buffer_append(&connection->out, lw_text("PING\r\n"));
    bench_exchange(connection);
    lw_buffer_clear(&connection->in);
}

static void begin(bench_connection *connection, uint32_t slot) {
    const bench_request *request = &connection->requests[slot];
    char key[BENCH_TXN_KEY_SIZE + 1];
    bench_key(request->keys[0], key);
    if (request->operation == BENCH_GET) {
        lw_buffer_print(&connection->out, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", BENCH_TXN_KEY_SIZE,
                        key);
        return;
    }
    lw_buffer_print(&connection->out, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n", BENCH_TXN_KEY_SIZE,
                    key, BENCH_TXN_VALUE_SIZE);
    lw_buffer_append(&connection->out, bench_value());
    lw_buffer_append(&connection->out, lw_text("\r\n"));
}

/* The oldest request under way: slots are begun in turn, and answered so. */
static uint32_t oldest(bench_connection *connection) {
    uint32_t slot = connection->first;
    uint32_t next = (slot + 1) % BENCH_TXN_DEPTH_MAX;
    connection->first = connection->requests[next].busy ? next : 0;
    return slot;
}

static bench_step take(bench_connection *connection, lw_bytes bytes, size_t *consumed,
                       uint32_t *slot) {
    static const char stored[] = "+OK\r\n", head[] = "$100\r\n";
    const size_t whole = sizeof(head) - 1 + BENCH_TXN_VALUE_SIZE + 2;
    if (bytes.size < sizeof(stored) - 1 || (bytes.data[0] == '$' && bytes.size < whole)) {
        return BENCH_MORE;
    }
    bool put = memcmp(bytes.data, stored, sizeof(stored) - 1) == 0;
    if (!put && memcmp(bytes.data, head, sizeof(head) - 1) != 0) {
        bench_txn_fail("Redis: %.*s", (int)(bytes.size < 80 ? bytes.size : 80),
                       (const char *)bytes.data);
    }
    *consumed = put ? sizeof(stored) - 1 : whole;
    *slot = oldest(connection);
    return BENCH_DONE;
}

const bench_system bench_wire_redis = {
    .name = "Redis",
    .settings = "appendonly yes, appendfsync always, no snapshots",
    .depth = BENCH_TXN_DEPTH_MAX,
    .prepare = prepare,
    .command = command,
    .greet = greet,
    .begin = begin,
    .take = take,
};
