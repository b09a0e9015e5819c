/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL in the comparison of transactions: prepared statements in the extended protocol. The
 * two updates of a transfer between numbers are one transaction, and one round trip, by standing
 * before one Sync; a transfer between keys locks and reads two rows, then updates both and commits.
 * One request at a time on a connection, as its own library does it. */
#include "tests/bench_txn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIN "/usr/lib/postgresql/15/bin/"

/* It refuses to run as root. */
static bool other_user(void) {
    return geteuid() == 0;
}

static void prepare(const char *directory) {
    char line[2048];
    snprintf(line, sizeof(line),
             "mkdir -p '%s' && { [ $(id -u) != 0 ] || chown postgres '%s'; } && "
             "%s " BIN "initdb -D '%s' -A trust -U bench --no-sync -E UTF8 --locale=C "
             "> '%s.init' 2>&1",
             directory, directory,
             other_user() ? "setpriv --reuid=postgres --regid=postgres --clear-groups" : "",
             directory, directory);
    if (system(line) != 0) {
        bench_txn_fail("PostgreSQL: initdb failed: see %s.init", directory);
    }
}

static void command(const char *program, const char *directory, int port,
                    const char *arguments[32]) {
    (void)program;
    static char text[16], sockets[600];
    snprintf(text, sizeof(text), "%d", port);
    snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s", directory);
    const char *const words[] = {"setpriv",
                                 "--reuid=postgres",
                                 "--regid=postgres",
                                 "--clear-groups",
                                 BIN "postgres",
                                 "-D",
                                 directory,
                                 "-p",
                                 text,
                                 "-h",
                                 "127.0.0.1",
                                 "-c",
                                 sockets,
                                 "-c",
                                 "max_connections=300",
                                 "-c",
                                 "shared_buffers=128MB",
                                 "-c",
                                 "synchronous_commit=on",
                                 NULL};
    uint32_t skipped = other_user() ? 0 : 4;
    memcpy((void *)arguments, words + skipped, sizeof(words) - skipped * sizeof(*words));
}

/* ---- sending ----------------------------------------------------------------------------------
 */

static void append_u16(lw_buffer *out, uint32_t value) {
    lw_buffer_append_u8(out, (uint8_t)(value >> 8));
    lw_buffer_append_u8(out, (uint8_t)value);
}

static void append_size(lw_buffer *out, uint32_t value) {
    append_u16(out, value >> 16);
    append_u16(out, value & 0xffff);
}

static void append_text(lw_buffer *out, const char *text) {
    lw_buffer_append(out, lw_view(text, strlen(text) + 1));
}

/* Begins a message; the place of its size. */
static size_t message_open(lw_buffer *out, char kind) {
    lw_buffer_append_u8(out, (uint8_t)kind);
    append_size(out, 0);
    return out->size - 4;
}

static void message_close(lw_buffer *out, size_t place) {
    uint32_t size = (uint32_t)(out->size - place);
    for (uint32_t index = 0; index < 4; index++) {
        out->data[place + index] = (uint8_t)(size >> (24 - 8 * index));
    }
}

static void append_parse(lw_buffer *out, const char *name, const char *statement) {
    size_t place = message_open(out, 'P');
    append_text(out, name);
    append_text(out, statement);
    append_u16(out, 0);
    message_close(out, place);
}

static void append_execute(lw_buffer *out, const char *statement, const lw_bytes *values,
                           uint32_t count) {
    size_t place = message_open(out, 'B');
    append_text(out, "");
    append_text(out, statement);
    append_u16(out, 0); /* all in text */
    append_u16(out, count);
    for (uint32_t index = 0; index < count; index++) {
        append_size(out, (uint32_t)values[index].size);
        lw_buffer_append(out, values[index]);
    }
    append_u16(out, 0);
    message_close(out, place);
    place = message_open(out, 'E');
    append_text(out, "");
    append_size(out, 0);
    message_close(out, place);
}

static void append_sync(lw_buffer *out) {
    message_close(out, message_open(out, 'S'));
}

/* The same for both keys of a transfer. */
static void append_for_both(bench_connection *connection, const bench_request *request,
                            const char *statement, uint32_t count) {
    for (uint32_t index = 0; index < 2; index++) {
        char key[BENCH_TXN_KEY_SIZE + 1];
        lw_bytes amount = lw_text(index == 0 ? "-1" : "1");
        bool moves = request->operation == BENCH_MOVE;
        lw_bytes values[2] = {lw_view(key, BENCH_TXN_KEY_SIZE), moves ? amount : bench_value()};
        bench_key(request->keys[index], key);
        append_execute(&connection->out, statement, values, count);
    }
}

/* scratch[1]: of a transfer between keys, whether its second round trip is under way. */
static void begin(bench_connection *connection, uint32_t slot) {
    bench_request *request = &connection->requests[slot];
    char key[BENCH_TXN_KEY_SIZE + 1];
    lw_bytes values[2] = {lw_view(key, BENCH_TXN_KEY_SIZE), bench_value()};
    bench_key(request->keys[0], key);
    request->scratch[1] = 0;
    if (request->operation == BENCH_TRANSFER) {
        append_execute(&connection->out, "begin", NULL, 0);
        append_for_both(connection, request, "lock", 1);
    } else if (request->operation == BENCH_MOVE) {
        append_for_both(connection, request, "add", 2);
    } else {
        bool puts = request->operation == BENCH_PUT;
        append_execute(&connection->out, puts ? "put" : "get", values, puts ? 2 : 1);
    }
    append_sync(&connection->out);
}

/* Of a transfer between keys, once both were read. */
static void go_on(bench_connection *connection, bench_request *request) {
    request->scratch[1] = 1;
    append_for_both(connection, request, "set", 2);
    append_execute(&connection->out, "commit", NULL, 0);
    append_sync(&connection->out);
}

/* ---- receiving --------------------------------------------------------------------------------
 */

/* The size of the message at the head; 0: it is not whole. */
static size_t message_size(lw_bytes bytes) {
    if (bytes.size < 5) {
        return 0;
    }
    size_t size = 1 + ((size_t)bytes.data[1] << 24 | (size_t)bytes.data[2] << 16 |
                       (size_t)bytes.data[3] << 8 | bytes.data[4]);
    return bytes.size >= size ? size : 0;
}

static bench_step take(bench_connection *connection, lw_bytes bytes, size_t *consumed,
                       uint32_t *slot) {
    size_t size = message_size(bytes);
    *slot = 0;
    if (size == 0) {
        return BENCH_MORE;
    }
    *consumed = size;
    connection->state[0] += bytes.data[0] == 'D'; /* rows */
    if (bytes.data[0] == 'E') {
        bench_txn_fail("PostgreSQL: %.*s", (int)(size < 200 ? size : 200),
                       (const char *)bytes.data + 5);
    }
    if (bytes.data[0] != 'Z') {
        return BENCH_GOES_ON;
    }
    bench_request *request = &connection->requests[0];
    bool transfers = request->operation == BENCH_TRANSFER && request->scratch[1] == 0;
    uint64_t wanted = request->operation == BENCH_GET ? 1 : transfers ? 2 : 0;
    if (connection->state[0] != wanted) {
        bench_txn_fail("PostgreSQL: a key that was put is not read");
    }
    connection->state[0] = 0;
    if (transfers) {
        go_on(connection, request);
    }
    return transfers ? BENCH_GOES_ON : BENCH_DONE;
}

/* Until the server is ready for a query. */
static void await_ready(bench_connection *connection) {
    size_t taken = 0;
    for (;;) {
        lw_bytes left = lw_view(connection->in.data + taken, connection->in.size - taken);
        size_t size = message_size(left);
        if (size == 0) {
            bench_exchange(connection);
            continue;
        }
        if (left.data[0] == 'E') {
            bench_txn_fail("PostgreSQL: %.*s", (int)(size < 200 ? size : 200),
                           (const char *)left.data + 5);
        }
        taken += size;
        if (left.data[0] == 'Z') {
            break;
        }
    }
    lw_buffer_clear(&connection->in);
}

static void greet(bench_connection *connection) {
    lw_buffer *out = &connection->out;
    size_t place = out->size;
    append_size(out, 0);
    append_size(out, 3 << 16); /* the protocol's version */
    append_text(out, "user");
    append_text(out, "bench");
    append_text(out, "database");
    append_text(out, "postgres");
    lw_buffer_append_u8(out, 0);
    message_close(out, place);
    await_ready(connection);
    place = message_open(out, 'Q');
    char tables[512];
    snprintf(tables, sizeof(tables),
             "CREATE TABLE IF NOT EXISTS kv (k text PRIMARY KEY, v text);"
             "CREATE TABLE IF NOT EXISTS sums (k text PRIMARY KEY, v bigint NOT NULL);"
             "INSERT INTO sums SELECT 'key:' || lpad(n::text, 12, '0'), 0 "
             "FROM generate_series(0, %d - 1) AS n WHERE NOT EXISTS (SELECT 1 FROM sums)",
             BENCH_TXN_KEYS);
    append_text(out, tables);
    message_close(out, place);
    await_ready(connection);
    append_parse(out, "put",
                 "INSERT INTO kv VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v");
    append_parse(out, "get", "SELECT v FROM kv WHERE k = $1");
    append_parse(out, "set", "UPDATE kv SET v = $2 WHERE k = $1");
    append_parse(out, "lock", "SELECT v FROM kv WHERE k = $1 FOR UPDATE");
    append_parse(out, "add", "UPDATE sums SET v = v + $2 WHERE k = $1");
    append_parse(out, "begin", "BEGIN");
    append_parse(out, "commit", "COMMIT");
    append_sync(out);
    await_ready(connection);
}

const bench_system bench_wire_postgres = {
    .name = "PostgreSQL",
    .settings = "synchronous_commit on, shared_buffers 128MB, prepared statements",
    .ready = "ready to accept connections",
    .transfers = true,
    .depth = 1,
    .prepare = prepare,
    .command = command,
    .greet = greet,
    .begin = begin,
    .take = take,
};
