/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of the comparison of transactions: one thread, closed loops. Every slot of every
 * connection has one transaction under way; when it is answered the next one begins. */
#include "tests/bench_txn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 64 * 1024, LATENCIES_MAX = 4 * 1024 * 1024, EVENTS = 64 };

typedef struct drive {
    const bench_server *server;
    const bench_load *load;
    lw_memory *memory;
    int events;
    uint64_t chance, next_key;
    uint64_t measured_from_ns, until_ns;
    double processor; /* when measuring began; below 0: it has not */
    bool ending;      /* no further transaction is begun */
    uint32_t busy;
    uint64_t done, again;
    float *latencies;
    bench_connection connections[BENCH_TXN_CONNECTIONS_MAX];
} drive;

bool bench_about_two(bench_operation operation) {
    return operation == BENCH_TRANSFER || operation == BENCH_MOVE;
}

void bench_key(uint64_t number, char key[BENCH_TXN_KEY_SIZE + 1]) {
    snprintf(key, BENCH_TXN_KEY_SIZE + 1, "key:%012llu", (unsigned long long)number);
}

lw_bytes bench_value(void) {
    static char value[BENCH_TXN_VALUE_SIZE];
    if (value[0] == 0) {
        for (int index = 0; index < BENCH_TXN_VALUE_SIZE; index++) {
            value[index] = (char)('a' + index * 7 % 26);
        }
    }
    return lw_view(value, BENCH_TXN_VALUE_SIZE);
}

/* ---- bytes -------------------------------------------------------------------------------------
 */

static void send_some(bench_connection *connection) {
    while (connection->sent < connection->out.size) {
        ssize_t size = send(connection->socket, connection->out.data + connection->sent,
                            connection->out.size - connection->sent, MSG_NOSIGNAL);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            return; /* with the next reply: requests in flight are few and small */
        }
        if (size < 0) {
            bench_txn_fail("sending failed: %s", strerror(errno));
        }
        connection->sent += (size_t)size;
    }
    lw_buffer_clear(&connection->out);
    connection->sent = 0;
}

/* False when there is nothing now. */
static bool receive_some(bench_connection *connection) {
    uint8_t *to = lw_buffer_reserve(&connection->in, READ_SIZE);
    ssize_t size = recv(connection->socket, to, READ_SIZE, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (size <= 0) {
        bench_txn_fail("the server closed a connection: %s", size < 0 ? strerror(errno) : "end");
    }
    connection->in.size += (size_t)size;
    return true;
}

void bench_exchange(bench_connection *connection) {
    send_some(connection);
    (void)receive_some(connection); /* the socket still blocks */
}

/* ---- transactions ------------------------------------------------------------------------------
 */

static uint64_t chance(drive *of) {
    of->chance = of->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return of->chance >> 33;
}

static void choose(drive *of, bench_request *request) {
    request->operation = of->load->operation;
    request->keys[0] =
        of->load->each_once > 0 ? of->next_key++ : chance(of) % (uint64_t)BENCH_TXN_KEYS;
    request->keys[1] = chance(of) % (uint64_t)BENCH_TXN_KEYS;
    if (request->keys[1] == request->keys[0]) {
        request->keys[1] = (request->keys[0] + 1) % BENCH_TXN_KEYS;
    }
    if (bench_about_two(request->operation) && request->keys[1] < request->keys[0]) {
        uint64_t first = request->keys[1];
        request->keys[1] = request->keys[0];
        request->keys[0] = first;
    }
}

static void begin(drive *of, bench_connection *connection, uint32_t slot) {
    bench_request *request = &connection->requests[slot];
    if (of->ending || (of->load->each_once > 0 && of->next_key >= of->load->each_once)) {
        return;
    }
    choose(of, request);
    request->begun_ns = bench_time_ns();
    request->busy = true;
    of->busy++;
    of->server->system->begin(connection, slot);
}

static void finish(drive *of, bench_request *request) {
    request->busy = false;
    of->busy--;
    uint64_t now = bench_time_ns();
    if (of->processor >= 0 && !of->ending && of->done < LATENCIES_MAX) {
        of->latencies[of->done++] = (float)(now - request->begun_ns) / 1000.0F;
    }
    if (of->processor < 0 && now >= of->measured_from_ns) {
        of->processor = bench_server_processor(of->server);
        of->measured_from_ns = bench_time_ns();
        of->until_ns += of->measured_from_ns - now;
    }
    of->ending = of->ending || (of->load->each_once == 0 && now >= of->until_ns);
}

static void take_replies(drive *of, bench_connection *connection) {
    size_t taken = 0;
    for (;;) {
        size_t consumed = 0;
        uint32_t slot = 0;
        bench_step step = of->server->system->take(
            connection, lw_view(connection->in.data + taken, connection->in.size - taken),
            &consumed, &slot);
        if (step == BENCH_MORE) {
            break;
        }
        taken += consumed;
        if (step == BENCH_DONE) {
            finish(of, &connection->requests[slot]);
            begin(of, connection, slot);
        } else if (step == BENCH_AGAIN) {
            of->again++;
            of->server->system->begin(connection, slot);
        }
    }
    memmove(connection->in.data, connection->in.data + taken, connection->in.size - taken);
    connection->in.size -= taken;
}

/* ---- connections -------------------------------------------------------------------------------
 */

static void open_connection(drive *of, bench_connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)of->server->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    *connection = (bench_connection){.socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                                     .in = lw_buffer_in(of->memory),
                                     .out = lw_buffer_in(of->memory)};
    if (connect(connection->socket, (struct sockaddr *)&address, sizeof(address)) != 0) {
        bench_txn_fail("%s: %s", of->server->system->name, strerror(errno));
    }
    (void)setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    of->server->system->greet(connection);
    (void)fcntl(connection->socket, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(of->events, EPOLL_CTL_ADD, connection->socket, &event);
}

static void close_connection(bench_connection *connection) {
    close(connection->socket);
    lw_buffer_reset(&connection->in);
    lw_buffer_reset(&connection->out);
}

static void turn(drive *of) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(of->events, events, EVENTS, 30000);
    if (count == 0) {
        bench_txn_fail("%s has not answered for half a minute", of->server->system->name);
    }
    for (int index = 0; index < count; index++) {
        bench_connection *connection = events[index].data.ptr;
        if (receive_some(connection)) {
            take_replies(of, connection);
        }
        send_some(connection);
    }
}

/* ---- figures ----------------------------------------------------------------------------------
 */

static int ascending(const void *a, const void *b) {
    float first = *(const float *)a, second = *(const float *)b;
    return (first > second) - (first < second);
}

static bench_outcome sum_up(drive *of, uint64_t ended_ns, double processor) {
    bench_outcome outcome = {.again = of->again};
    if (of->done > 0) {
        qsort(of->latencies, of->done, sizeof(float), ascending);
        outcome.rate = (double)of->done * 1e9 / (double)(ended_ns - of->measured_from_ns);
        outcome.median_us = (double)of->latencies[of->done / 2];
        outcome.p99_us = (double)of->latencies[of->done * 99 / 100];
        outcome.processor_us = (processor - of->processor) * 1e6 / (double)of->done;
    }
    return outcome;
}

bench_outcome bench_drive(const bench_server *server, const bench_load *load) {
    static drive of;
    of = (drive){.server = server,
                 .load = load,
                 .memory = lw_memory_open(),
                 .events = epoll_create1(EPOLL_CLOEXEC),
                 .chance = load->chance,
                 .processor = -1,
                 .latencies = malloc(LATENCIES_MAX * sizeof(float))};
    for (uint32_t index = 0; index < load->connections; index++) {
        open_connection(&of, &of.connections[index]);
    }
    uint64_t now = bench_time_ns();
    of.measured_from_ns = now + (uint64_t)(load->seconds * 0.25e9);
    of.until_ns = now + (uint64_t)(load->seconds * 1.25e9);
    for (uint32_t index = 0; index < load->connections; index++) {
        for (uint32_t slot = 0; slot < load->depth; slot++) {
            begin(&of, &of.connections[index], slot);
        }
        send_some(&of.connections[index]);
    }
    while (of.busy > 0 && !of.ending) {
        turn(&of);
    }
    uint64_t ended_ns = bench_time_ns();
    double processor = bench_server_processor(server);
    while (of.busy > 0) {
        turn(&of);
    }
    bench_outcome outcome = sum_up(&of, ended_ns, processor);
    for (uint32_t index = 0; index < load->connections; index++) {
        close_connection(&of.connections[index]);
    }
    close(of.events);
    free(of.latencies);
    lw_memory_close(of.memory);
    return outcome;
}
