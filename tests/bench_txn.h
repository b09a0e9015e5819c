/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison of transactions: our node against Redis, etcd and PostgreSQL, each spoken to in
 * its own protocol by one driver of one thread, over loopback.
 *
 *   bench_txn.c         rounds, arguments, the table
 *   bench_driver.c      connections, requests in flight, latencies
 *   bench_server.c      starting and stopping servers, their processor time
 *   bench_wire_NAME.c   one system each: lathwork, redis, etcd, postgres
 *
 * Invariants
 * 1. Whatever is acknowledged is on disk, in every system; keys, values and their order are the
 *    driver's, and the same for all.
 * 2. All servers run all the time, and take turns; only one has work.
 * 3. An answer that is not the one expected ends the bench. */
#ifndef LW_TESTS_BENCH_TXN_H
#define LW_TESTS_BENCH_TXN_H

#include "base/bytes.h"

enum {
    BENCH_TXN_KEYS = 100000,
    BENCH_TXN_KEY_SIZE = 16,
    BENCH_TXN_VALUE_SIZE = 100,
    BENCH_TXN_DEPTH_MAX = 64, /* requests in flight on one connection */
    BENCH_TXN_CONNECTIONS_MAX = 256,
};

typedef enum bench_operation {
    BENCH_PUT,
    BENCH_GET,
    BENCH_TRANSFER, /* reads two keys, then puts both: two round trips in every system */
    BENCH_MOVE,     /* takes from one number and adds to another, as the server works out: one */
} bench_operation;

typedef struct bench_request {
    bench_operation operation;
    uint64_t keys[2]; /* numbers, ascending; one for PUT and GET */
    uint64_t begun_ns;
    uint64_t scratch[2]; /* the system's, between the steps of one transaction */
    bool busy;
} bench_request;

typedef struct bench_connection {
    int socket;
    lw_buffer in, out;
    size_t sent;       /* of `out` */
    uint64_t number;   /* of requests so far: for identifiers */
    uint64_t state[2]; /* the system's, as zeroed at the connect */
    bench_request requests[BENCH_TXN_DEPTH_MAX];
    uint32_t first; /* slot of the oldest request, for systems that answer in order */
} bench_connection;

/* What a reply came to. */
typedef enum bench_step {
    BENCH_MORE,    /* not whole yet: nothing was consumed */
    BENCH_GOES_ON, /* the transaction's next message was appended, or nothing was to be said */
    BENCH_DONE,
    BENCH_AGAIN, /* others were first: it is begun anew */
} bench_step;

typedef struct bench_system {
    const char *name;
    const char *settings; /* printed at the head of the table */
    const char *ready;    /* what the server writes when it serves; NULL: it is when it listens. A
                             number behind it is the port to go to */
    bool transfers;       /* two-key transactions */
    uint32_t depth;       /* requests it takes in flight on one connection */
    /* Fills in the arguments of the server's command line. */
    void (*command)(const char *program, const char *directory, int port,
                    const char *arguments[32]);
    /* Before the server's first start; may be NULL. */
    void (*prepare)(const char *directory);
    /* Says what a new connection begins with; blocking. */
    void (*greet)(bench_connection *connection);
    /* Appends the first message of a request to connection->out. */
    void (*begin)(bench_connection *connection, uint32_t slot);
    /* Takes one reply off `bytes`: how much of it, and of which slot. */
    bench_step (*take)(bench_connection *connection, lw_bytes bytes, size_t *consumed,
                       uint32_t *slot);
} bench_system;

extern const bench_system bench_wire_lathwork, bench_wire_redis, bench_wire_etcd,
    bench_wire_postgres, bench_wire_lathwork_cluster, bench_wire_etcd_cluster;

/* Whether it is about two keys. */
bool bench_about_two(bench_operation operation);
/* "key:000000000042", BENCH_TXN_KEY_SIZE bytes and a zero; and the value of every put. */
void bench_key(uint64_t number, char key[BENCH_TXN_KEY_SIZE + 1]);
lw_bytes bench_value(void);
/* Sends `out`, and receives at least one byte more into `in`: for greetings. */
void bench_exchange(bench_connection *connection);
void bench_txn_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- servers (bench_server.c) ----------------------------------------------------------------
 */

typedef struct bench_server {
    const bench_system *system;
    char directory[512];
    int port;
    int process;
} bench_server;

/* Starts it and waits until it serves. It is stopped when this process exits, at the latest. */
void bench_server_start(bench_server *server, const char *program);
void bench_server_stop(bench_server *server);
/* Seconds of processor time of the server and all processes that it started. */
double bench_server_processor(const bench_server *server);
/* Bytes of memory that are its own (Pss), of all its processes. */
double bench_server_memory(const bench_server *server);
uint64_t bench_time_ns(void);

/* ---- the driver (bench_driver.c) --------------------------------------------------------------
 */

typedef struct bench_load {
    bench_operation operation;
    uint32_t connections, depth;
    double seconds;     /* measured, after a quarter of it that is not */
    uint64_t each_once; /* not 0: instead of a time, puts of the keys 0, 1, … up to it */
    uint64_t chance;    /* seed */
} bench_load;

typedef struct bench_outcome {
    double rate; /* transactions a second */
    double median_us, p99_us;
    double processor_us; /* of the server, a transaction */
    uint64_t again;      /* conflicts */
} bench_outcome;

bench_outcome bench_drive(const bench_server *server, const bench_load *load);

#endif
