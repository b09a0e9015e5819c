/* SPDX-License-Identifier: Apache-2.0 */
/* A server and clients that speak to it byte by byte, in the simulated world. The handler is the
 * test's: it answers with what it was asked, at once or when it is told to. */
#ifndef LW_TESTS_SERVER_WORLD_H
#define LW_TESTS_SERVER_WORLD_H

#include "client/link.h"
#include "node/server.h"
#include "sim/world.h"
#include "tests/unit.h"

#include <stdlib.h>

/* Noted instead of asserted, since stories run in fibers. */
#define EXPECT(condition)                                                        \
    do {                                                                         \
        if (!(condition)) {                                                      \
            in->failed_line = in->failed_line != 0 ? in->failed_line : __LINE__; \
            return;                                                              \
        }                                                                        \
    } while (0)

static const uint64_t second = 1000000000;

typedef struct fixture {
    lw_world *world;
    lw_host *server_host, *client_host;
    lw_env *server_env, *client_env;
    lw_server *server;
    size_t request_memory; /* what the server is opened with */
    lw_budget *budget;
    lw_queue gate; /* requests whose body is "wait" stand here */
    uint32_t waiting, handled;
    uint64_t slow_ns;        /* how long requests take whose body begins with "slow" */
    uint32_t slow, slow_max; /* at once */
    uint64_t ended_session, ended_ns;
    bool holds;           /* what is said of every session, */
    bool lives_elsewhere; /* and after how long */
    uint64_t answer_ns;
    uint32_t asked;
    bool closed, done;
    int failed_line;
} fixture;

LW_YIELDS static inline lw_status handle(void *argument, const lw_request *request,
                                         uint64_t session, lw_buffer *body) {
    fixture *in = argument;
    (void)session;
    if (lw_equal(request->body, lw_text("fail"))) {
        return lw_fail(LW_FULL, "as asked");
    }
    if (lw_equal(request->body, lw_text("wait"))) {
        in->waiting++;
        lw_queue_wait(&in->gate);
        in->waiting--;
    }
    if (request->body.size >= 4 && memcmp(request->body.data, "slow", 4) == 0) {
        in->slow++;
        in->slow_max = in->slow > in->slow_max ? in->slow : in->slow_max;
        lw_env_sleep(in->server_env, in->slow_ns);
        in->slow--;
    }
    in->handled++;
    lw_buffer_append(body, request->body);
    return LW_OK;
}

static inline uint64_t spare(void *argument) {
    (void)argument;
    return 4711;
}

static inline bool session_holds(void *argument, uint64_t session) {
    (void)session;
    return ((fixture *)argument)->holds;
}

LW_YIELDS static inline bool session_lives(void *argument, uint64_t session) {
    fixture *in = argument;
    (void)session;
    in->asked++;
    bool lives = in->lives_elsewhere;
    if (in->answer_ns > 0) {
        lw_env_sleep(in->server_env, in->answer_ns);
    }
    return lives;
}

static inline void session_ended(void *argument, uint64_t session) {
    fixture *in = argument;
    in->ended_session = session;
    in->ended_ns = lw_world_now(in->world);
}

LW_YIELDS static inline void serve(void *argument) {
    fixture *in = argument;
    lw_server_options options = {.listen = "server:1",
                                 .node_id = 5,
                                 .cluster_id = lw_text("0123456789abcdef"),
                                 .version = lw_text("1"),
                                 .request_memory = in->request_memory,
                                 .budget = in->budget,
                                 .handle = handle,
                                 .spare = spare,
                                 .session_holds = session_holds,
                                 .session_lives = session_lives,
                                 .session_ended = session_ended,
                                 .argument = in};
    EXPECT(lw_server_open(in->server_env, &options, &in->server) == LW_OK);
}

/* Like the setup of cmocka, of a server that gives requests so much memory; 0: without bound. */
static inline int setup_within(void **state, size_t request_memory) {
    fixture *in = calloc(1, sizeof(*in));
    lw_faults none = lw_faults_none();
    in->world = lw_world_open(1, &none);
    in->server_host = lw_world_host(in->world, "server");
    in->client_host = lw_world_host(in->world, "client");
    in->server_env = lw_host_boot(in->server_host);
    in->client_env = lw_host_boot(in->client_host);
    in->request_memory = request_memory;
    in->budget = lw_budget_make(in->server_env->memory, 64 * 1024 * 1024);
    lw_env_start(in->server_env, "serve", serve, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + second / 100);
    *state = in;
    return in->server == NULL;
}

static inline int setup(void **state) {
    return setup_within(state, 0);
}

static inline int teardown(void **state) {
    fixture *in = *state;
    lw_world_close(in->world);
    free(in);
    return 0;
}

/* Runs a story in a fiber of the client's, and then the world until it is done. */
static inline void tell(fixture *in, void (*story)(void *argument)) {
    lw_env_start(in->client_env, "story", story, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 60 * second);
    if (in->failed_line != 0) {
        fail_msg("the expectation in line %d", in->failed_line);
    }
    assert_true(in->done);
}

/* ---- raw connections ---------------------------------------------------------------------- */

LW_YIELDS static inline lw_handle dial(fixture *in) {
    lw_handle socket = LW_NO_HANDLE;
    lw_status status = lw_socket_connect(in->client_env, "server:1", 0, &socket);
    return status == LW_OK ? socket : LW_NO_HANDLE;
}

LW_YIELDS static inline lw_status send_raw(fixture *in, lw_handle socket, lw_bytes bytes) {
    return lw_socket_send(in->client_env, socket, bytes, 0);
}

/* Everything the server sends until it closes, or until `frames` frames came. */
LW_YIELDS static inline uint32_t receive_frames(fixture *in, lw_handle socket, lw_buffer *all,
                                                uint32_t frames) {
    uint32_t whole = 0;
    size_t start = 0, got = 1;
    while (whole < frames && got > 0) {
        uint64_t deadline = lw_env_now(in->client_env) + 20 * second;
        uint8_t *to = lw_buffer_reserve(all, 4096);
        if (lw_socket_receive(in->client_env, socket, to, 4096, deadline, &got) != LW_OK) {
            break;
        }
        all->size += got;
        uint32_t size = 0;
        while (all->size - start >= 4 && lw_frame_size(all->data + start, &size) == LW_OK &&
               all->size - start - 4 >= size) {
            start += 4 + size;
            whole++;
        }
    }
    return whole;
}

LW_YIELDS static inline lw_status one_reply(fixture *in, lw_handle socket, lw_buffer *all,
                                            lw_reply *reply) {
    lw_buffer_clear(all);
    if (receive_frames(in, socket, all, 1) != 1) {
        return LW_UNAVAILABLE;
    }
    return lw_reply_decode(lw_view(all->data + 4, all->size - 4), reply);
}

static inline void write_hello(lw_buffer *frame, uint64_t protocol_min, uint64_t protocol_max,
                               uint64_t session) {
    lw_buffer body = lw_buffer_in(frame->memory);
    lw_hello hello = {.protocol_min = protocol_min,
                      .protocol_max = protocol_max,
                      .session = session,
                      .label = lw_text("tester")};
    lw_hello_encode(&hello, &body);
    lw_request request = {.kind = LW_MESSAGE_HELLO, .id = 1, .body = lw_buffer_view(&body)};
    lw_request_encode(&request, frame);
    lw_buffer_reset(&body);
}

static inline void write_request(lw_buffer *frame, uint64_t id, const char *body) {
    lw_request request = {
        .kind = LW_MESSAGE_GET, .id = id, .shard = LW_ROOT_SHARD, .body = lw_text(body)};
    lw_request_encode(&request, frame);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
