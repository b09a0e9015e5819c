/* SPDX-License-Identifier: Apache-2.0 */
/* Stories about the client library against a real node, both in the simulated world. A story runs
 * in a fiber, and notes the first thing that is not as expected. */
#ifndef LW_TESTS_CLIENT_STORY_H
#define LW_TESTS_CLIENT_STORY_H

#include "client/transaction.h"
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
#define OK(call) EXPECT((call) == LW_OK)
#define T(text)  lw_text(text)

static const uint64_t second = 1000000000;
static const uint64_t millisecond = 1000000;

typedef struct story {
    lw_world *world;
    lw_host *node_host, *client_host;
    lw_env *node_env, *env; /* of the node, and of the clients */
    lw_client *client;
    lw_node *node;
    uint32_t running; /* helper fibers */
    bool done;
    int failed_line;
    char reason[LW_ERROR_TEXT_SIZE];
    void *own; /* the story's */
} story;

static inline void story_node_died(void *argument, const lw_error *reason) {
    (void)argument;
    (void)fprintf(stderr, "the node died: %s\n", reason->text);
}

LW_YIELDS static inline void story_node_main(void *argument) {
    story *in = argument;
    lw_node_options options = {.directory = "data",
                               .listen = "node:7871",
                               .version = "1",
                               .died = story_node_died,
                               .argument = in};
    if (lw_node_open(in->node_env, &options, &in->node) != LW_OK) {
        (void)fprintf(stderr, "the node did not open: %s\n", lw_error_slot()->text);
    }
}

static inline lw_client *story_client(story *in, const char *label) {
    lw_client_options options = {.address = "node:7871", .label = label};
    lw_client *client = NULL;
    lw_status status = lw_client_open_in(in->env, &options, &client);
    LW_ASSERT(status == LW_OK);
    return client;
}

static inline int story_setup(void **state) {
    story *in = calloc(1, sizeof(*in));
    lw_faults none = lw_faults_none();
    in->world = lw_world_open(3, &none);
    in->node_host = lw_world_host(in->world, "node");
    in->client_host = lw_world_host(in->world, "client");
    in->node_env = lw_host_boot(in->node_host);
    lw_env_start(in->node_env, "node", story_node_main, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + second);
    in->env = lw_host_boot(in->client_host);
    in->client = story_client(in, "tester");
    *state = in;
    return in->node == NULL;
}

static inline int story_teardown(void **state) {
    story *in = *state;
    lw_world_close(in->world);
    free(in);
    return 0;
}

static inline void story_tell(story *in, void (*told)(void *argument)) {
    lw_env_start(in->env, "story", told, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 120 * second);
    if (in->failed_line != 0) {
        fail_msg("the expectation in line %d; the client's last error: %s", in->failed_line,
                 in->reason);
    }
    assert_true(in->done);
}

static inline lw_txn *story_begin(lw_client *client, lw_locking locking, uint32_t timeout_ms) {
    lw_txn_options options = {.locking = locking, .timeout_ms = timeout_ms};
    lw_txn *txn = NULL;
    lw_status status = lw_begin(client, &options, &txn);
    LW_ASSERT(status == LW_OK);
    return txn;
}

LW_YIELDS static inline lw_status story_put(lw_client *client, const char *key, const char *value) {
    lw_txn *txn = story_begin(client, LW_OPTIMISTIC, 0);
    lw_status status = lw_put(txn, T(key), T(value));
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    return status;
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, story_setup, story_teardown)

#endif
