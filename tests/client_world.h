/* SPDX-License-Identifier: Apache-2.0 */
/* Stories of clients and a node in one simulated world: for tests of the client library. A story
 * runs in a fiber of the clients' host, and notes the first thing that is not as expected. */
#ifndef LW_TESTS_CLIENT_WORLD_H
#define LW_TESTS_CLIENT_WORLD_H

#include "client/client.h"
#include "client/lathwork.h"
#include "node/node.h"
#include "sim/world.h"
#include "tests/unit.h"

#include <stdlib.h>

/* Noted instead of asserted, since stories run in fibers. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            if (in->failed_line == 0) {                                                            \
                in->failed_line = __LINE__;                                                        \
                (void)snprintf(in->reason, sizeof(in->reason), "%s", lw_client_error(in->client)); \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
    } while (0)
/* The options of every client but its label: whoever includes this may say otherwise before. */
#ifndef CLIENT_OPTIONS
#define CLIENT_OPTIONS \
    { .address = "node:7871" }
#endif
#define OK(call)   EXPECT((call) == LW_OK)
#define T(text)    lw_text(text)
#define SAME(a, b) EXPECT(lw_equal((a), lw_text(b)))

static const uint64_t second = 1000000000;
static const uint64_t millisecond = 1000000;

typedef struct fixture {
    lw_world *world;
    lw_host *node_host, *client_host;
    lw_env *env; /* of the clients */
    lw_client *client;
    lw_node *node;
    uint32_t running; /* helper fibers */
    bool done;
    int failed_line;
    char reason[LW_ERROR_TEXT_SIZE];
    void *own; /* the story's */
} fixture;

static inline void node_died(void *argument, const lw_error *reason) {
    (void)argument;
    (void)fprintf(stderr, "the node died: %s\n", reason->text);
}

typedef struct process {
    lw_env *env;
    const char *listen;
    lw_node **node; /* set once it serves */
} process;

LW_YIELDS static inline void node_main(void *argument) {
    process *self = argument;
    lw_node_options options = {.directory = "data",
                               .listen = self->listen,
                               .version = "1",
                               .died = node_died,
                               .argument = self};
    if (lw_node_open(self->env, &options, self->node) != LW_OK) {
        (void)fprintf(stderr, "the node did not open: %s\n", lw_error_slot()->text);
    }
}

static inline void boot_on(lw_host *host, const char *listen, lw_node **node) {
    lw_env *env = lw_host_boot(host);
    process *self = lw_allocate(env->memory, sizeof(*self));
    *self = (process){.env = env, .listen = listen, .node = node};
    lw_env_start(env, "node", node_main, self);
}

static inline void boot(fixture *in) {
    boot_on(in->node_host, "node:7871", &in->node);
}

static inline lw_client *another(fixture *in, const char *label) {
    lw_client_options options = CLIENT_OPTIONS;
    options.label = label;
    lw_client *client = NULL;
    lw_status status = lw_client_open_in(in->env, &options, &client);
    LW_ASSERT(status == LW_OK);
    return client;
}

static inline int setup(void **state) {
    fixture *in = calloc(1, sizeof(*in));
    lw_faults none = lw_faults_none();
    in->world = lw_world_open(3, &none);
    in->node_host = lw_world_host(in->world, "node");
    in->client_host = lw_world_host(in->world, "client");
    boot(in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + second);
    in->env = lw_host_boot(in->client_host);
    in->client = another(in, "tester");
    *state = in;
    return in->node == NULL;
}

static inline int teardown(void **state) {
    fixture *in = *state;
    lw_world_close(in->world);
    free(in);
    return 0;
}

static inline void tell(fixture *in, void (*story)(void *argument)) {
    lw_env_start(in->env, "story", story, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 120 * second);
    if (in->failed_line != 0) {
        fail_msg("the expectation in line %d; the client's last error: %s", in->failed_line,
                 in->reason);
    }
    assert_true(in->done);
}

static inline lw_txn *begin(lw_client *client, lw_isolation isolation, lw_locking locking) {
    lw_txn_options options = {.isolation = isolation, .locking = locking};
    lw_txn *txn = NULL;
    lw_status status = lw_begin(client, &options, &txn);
    LW_ASSERT(status == LW_OK);
    return txn;
}

/* At the default isolation; `timeout_ms` 0: the default. */
static inline lw_txn *begin_within(lw_client *client, lw_locking locking, uint32_t timeout_ms) {
    lw_txn_options options = {.locking = locking, .timeout_ms = timeout_ms};
    lw_txn *txn = NULL;
    lw_status status = lw_begin(client, &options, &txn);
    LW_ASSERT(status == LW_OK);
    return txn;
}

/* Puts one key in a transaction of its own. */
LW_YIELDS static inline lw_status put_alone(lw_client *client, const char *key, const char *value) {
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    lw_status status = lw_put(txn, T(key), T(value));
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    return status;
}

/* Whether a fresh transaction reads `expected` (NULL: nothing) under `key`. */
LW_YIELDS static inline bool holds(lw_client *client, const char *key, const char *expected) {
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    lw_bytes value;
    lw_status status = lw_get(txn, T(key), &value);
    bool good =
        expected == NULL ? status == LW_NOT_FOUND : status == LW_OK && lw_equal(value, T(expected));
    lw_txn_close(txn);
    return good;
}

/* What a scan gives, as "key=value " pairs. */
LW_YIELDS static inline lw_status scan_text(lw_txn *txn, const lw_scan_options *options, char *text,
                                            size_t size) {
    lw_scan *scan = NULL;
    size_t used = 0;
    text[0] = 0;
    LW_TRY(lw_scan_open(txn, options, &scan));
    lw_bytes key, value;
    lw_status status;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK && used + 40 < size) {
        used += (size_t)snprintf(text + used, size - used, "%.*s=%.*s ", (int)key.size,
                                 (const char *)key.data, (int)value.size, (const char *)value.data);
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

#define SCANNED(options, expected)                        \
    do {                                                  \
        lw_scan_options scanned = options;                \
        OK(scan_text(txn, &scanned, text, sizeof(text))); \
        EXPECT(strcmp(text, (expected)) == 0);            \
    } while (0)
#define SCAN(...) ((lw_scan_options){__VA_ARGS__})

/* Splits at the key, through a client that learns nothing of it, and nobody else. */
LW_YIELDS static inline lw_status split(fixture *in, const char *key) {
    lw_client *client = another(in, "splitter");
    lw_buffer body = lw_buffer_in(in->env->memory);
    lw_reply reply;
    lw_split_request_encode(&(lw_split_request){.key = T(key)}, &body);
    lw_error *outer = lw_client_enter(client);
    lw_status status = lw_client_call(client, LW_MESSAGE_SPLIT, T(key), lw_buffer_view(&body),
                                      lw_env_now(in->env) + 5 * second, &reply, NULL);
    (void)lw_client_leave(outer, status);
    lw_buffer_reset(&body);
    lw_close(client);
    return status;
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
