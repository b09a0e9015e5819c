/* SPDX-License-Identifier: Apache-2.0 */
/* node/server and node/session: connections, greetings, sessions, limits, in the simulated world.
 * The handler is the test's: it answers with what it was asked, at once or when it is told to. */
#include "node/server.h"

#include "client/link.h"
#include "node/session.h"
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
    lw_queue gate; /* requests whose body is "wait" stand here */
    uint32_t waiting, handled;
    uint64_t ended_session;
    bool closed, done;
    int failed_line;
} fixture;

LW_YIELDS static lw_status handle(void *argument, const lw_request *request, uint64_t session,
                                  lw_buffer *body) {
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
    in->handled++;
    lw_buffer_append(body, request->body);
    return LW_OK;
}

static uint64_t spare(void *argument) {
    (void)argument;
    return 4711;
}

static void session_ended(void *argument, uint64_t session) {
    ((fixture *)argument)->ended_session = session;
}

LW_YIELDS static void serve(void *argument) {
    fixture *in = argument;
    lw_server_options options = {.listen = "server:1",
                                 .node_id = 5,
                                 .cluster_id = lw_text("0123456789abcdef"),
                                 .version = lw_text("1"),
                                 .handle = handle,
                                 .spare = spare,
                                 .session_ended = session_ended,
                                 .argument = in};
    EXPECT(lw_server_open(in->server_env, &options, &in->server) == LW_OK);
}

static int setup(void **state) {
    fixture *in = calloc(1, sizeof(*in));
    lw_faults none = lw_faults_none();
    in->world = lw_world_open(1, &none);
    in->server_host = lw_world_host(in->world, "server");
    in->client_host = lw_world_host(in->world, "client");
    in->server_env = lw_host_boot(in->server_host);
    in->client_env = lw_host_boot(in->client_host);
    lw_env_start(in->server_env, "serve", serve, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + second / 100);
    *state = in;
    return in->server == NULL;
}

static int teardown(void **state) {
    fixture *in = *state;
    lw_world_close(in->world);
    free(in);
    return 0;
}

/* Runs a story in a fiber of the client's, and then the world until it is done. */
static void tell(fixture *in, void (*story)(void *argument)) {
    lw_env_start(in->client_env, "story", story, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 60 * second);
    if (in->failed_line != 0) {
        fail_msg("the expectation in line %d", in->failed_line);
    }
    assert_true(in->done);
}

/* ---- raw connections ---------------------------------------------------------------------- */

LW_YIELDS static lw_handle dial(fixture *in) {
    lw_handle socket = LW_NO_HANDLE;
    lw_status status = lw_socket_connect(in->client_env, "server:1", 0, &socket);
    return status == LW_OK ? socket : LW_NO_HANDLE;
}

LW_YIELDS static lw_status send_raw(fixture *in, lw_handle socket, lw_bytes bytes) {
    return lw_socket_send(in->client_env, socket, bytes, 0);
}

/* Everything the server sends until it closes, or until `frames` frames came. */
LW_YIELDS static uint32_t receive_frames(fixture *in, lw_handle socket, lw_buffer *all,
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

LW_YIELDS static lw_status one_reply(fixture *in, lw_handle socket, lw_buffer *all,
                                     lw_reply *reply) {
    lw_buffer_clear(all);
    if (receive_frames(in, socket, all, 1) != 1) {
        return LW_UNAVAILABLE;
    }
    return lw_reply_decode(lw_view(all->data + 4, all->size - 4), reply);
}

static void write_hello(lw_buffer *frame, uint64_t protocol_min, uint64_t protocol_max,
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

static void write_request(lw_buffer *frame, uint64_t id, const char *body) {
    lw_request request = {
        .kind = LW_MESSAGE_GET, .id = id, .shard = LW_ROOT_SHARD, .body = lw_text(body)};
    lw_request_encode(&request, frame);
}

/* ---- stories ------------------------------------------------------------------------------ */

LW_YIELDS static void ask_and_hear(void *argument) {
    fixture *in = argument;
    lw_link link;
    lw_link_init(&link, in->client_env, "server:1", lw_text("tester"));
    lw_attempt attempt = {.request = {.kind = LW_MESSAGE_GET, .body = lw_text("hello there")}};
    EXPECT(lw_link_call(&link, &attempt, 1, 0) == LW_OK);
    EXPECT(attempt.answered && attempt.reply.status == LW_OK);
    EXPECT(lw_equal(attempt.reply.body, lw_text("hello there")));
    EXPECT(attempt.reply.spare == 4711);
    EXPECT(lw_equal(lw_server_label(in->server, link.session), lw_text("tester")));
    attempt.request.body = lw_text("fail");
    EXPECT(lw_link_call(&link, &attempt, 1, 0) == LW_OK);
    EXPECT(attempt.reply.status == LW_FULL);
    EXPECT(lw_equal(attempt.reply.error, lw_text("as asked")));
    lw_link_reset(&link);
    in->done = true;
}

static void a_greeted_client_is_answered(void **state) {
    tell(*state, ask_and_hear);
}

LW_YIELDS static void send_garbage(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial(in);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    lw_reply reply;
    EXPECT(send_raw(in, socket, lw_text("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == LW_OK);
    EXPECT(one_reply(in, socket, &all, &reply) == LW_OK);
    EXPECT(reply.id == 0 && reply.status == LW_INVALID_ARGUMENT);
    lw_buffer_clear(&all);
    EXPECT(receive_frames(in, socket, &all, 1) == 0); /* and the connection ends */
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void garbage_is_told_so_and_turned_away(void **state) {
    fixture *in = *state;
    tell(in, send_garbage);
    lw_server_figures figures;
    lw_server_figures_get(in->server, &figures);
    assert_int_equal(figures.refused, 1);
    assert_int_equal(figures.connections, 0);
}

LW_YIELDS static void announce_much(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial(in);
    lw_buffer frame = lw_buffer_in(in->client_env->memory);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    lw_reply reply;
    write_hello(&frame, 1, 1, 0);
    EXPECT(send_raw(in, socket, lw_buffer_view(&frame)) == LW_OK);
    EXPECT(one_reply(in, socket, &all, &reply) == LW_OK);
    size_t before = lw_memory_used(in->server_env->memory);
    lw_buffer_clear(&frame);
    lw_buffer_append_u32(&frame, LW_FRAME_SIZE_MAX); /* allowed, and never sent */
    EXPECT(send_raw(in, socket, lw_buffer_view(&frame)) == LW_OK);
    lw_env_sleep(in->client_env, second);
    EXPECT(lw_memory_used(in->server_env->memory) < before + 64 * 1024);
    lw_socket_close(in->client_env, socket);
    socket = dial(in);
    lw_buffer_clear(&frame);
    lw_buffer_append_u32(&frame, LW_FRAME_SIZE_MAX + 1);
    EXPECT(send_raw(in, socket, lw_buffer_view(&frame)) == LW_OK);
    EXPECT(one_reply(in, socket, &all, &reply) == LW_OK);
    EXPECT(reply.status == LW_INVALID_ARGUMENT);
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void announced_bytes_cost_nothing_before_they_come(void **state) {
    tell(*state, announce_much);
}

LW_YIELDS static void skip_the_greeting(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial(in);
    lw_buffer frame = lw_buffer_in(in->client_env->memory);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    lw_reply reply;
    write_request(&frame, 9, "x");
    EXPECT(send_raw(in, socket, lw_buffer_view(&frame)) == LW_OK);
    EXPECT(one_reply(in, socket, &all, &reply) == LW_OK);
    EXPECT(reply.status == LW_INVALID_ARGUMENT && in->handled == 0);
    lw_socket_close(in->client_env, socket);
    socket = dial(in);
    lw_buffer_clear(&frame);
    write_hello(&frame, 7, 9, 0);
    EXPECT(send_raw(in, socket, lw_buffer_view(&frame)) == LW_OK);
    EXPECT(one_reply(in, socket, &all, &reply) == LW_OK);
    EXPECT(reply.status == LW_REFUSED);
    EXPECT(memmem(reply.error.data, reply.error.size, "protocol 7 to 9", 15) != NULL);
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void without_a_greeting_of_our_version_nothing_is_handled(void **state) {
    tell(*state, skip_the_greeting);
}

LW_YIELDS static void say_nothing(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial(in);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    uint64_t begin = lw_env_now(in->client_env);
    EXPECT(receive_frames(in, socket, &all, 1) == 0);
    uint64_t waited = lw_env_now(in->client_env) - begin;
    EXPECT(waited >= 9 * second && waited <= 11 * second);
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void who_never_greets_is_cut_off_after_ten_seconds(void **state) {
    tell(*state, say_nothing);
}

enum { PIPELINED = 1000 };

LW_YIELDS static void send_many(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial(in);
    lw_buffer frames = lw_buffer_in(in->client_env->memory);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    write_hello(&frames, 1, 1, 0);
    for (uint64_t id = 1; id <= PIPELINED; id++) {
        write_request(&frames, id, id % 3 == 0 ? "" : "some body");
    }
    EXPECT(send_raw(in, socket, lw_buffer_view(&frames)) == LW_OK);
    EXPECT(receive_frames(in, socket, &all, PIPELINED + 1) == PIPELINED + 1);
    EXPECT(in->handled == PIPELINED);
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void many_requests_in_flight_are_all_answered(void **state) {
    tell(*state, send_many);
}

LW_YIELDS static void send_too_many(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial(in);
    lw_buffer frames = lw_buffer_in(in->client_env->memory);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    write_hello(&frames, 1, 1, 0);
    for (uint64_t id = 1; id <= PIPELINED; id++) {
        write_request(&frames, id, "wait");
    }
    EXPECT(send_raw(in, socket, lw_buffer_view(&frames)) == LW_OK);
    lw_env_sleep(in->client_env, second);
    EXPECT(in->waiting == 256); /* V2 */
    while (in->handled < PIPELINED) {
        lw_queue_wake_all(&in->gate);
        lw_env_sleep(in->client_env, second / 100);
    }
    EXPECT(receive_frames(in, socket, &all, PIPELINED + 1) == PIPELINED + 1);
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void requests_in_flight_are_bounded(void **state) {
    tell(*state, send_too_many);
}

LW_YIELDS static void come_and_go(void *argument) {
    fixture *in = argument;
    lw_link link;
    lw_attempt attempt = {.request = {.kind = LW_MESSAGE_GET, .body = lw_text("x")}};
    lw_link_init(&link, in->client_env, "server:1", lw_text("tester"));
    EXPECT(lw_link_call(&link, &attempt, 1, 0) == LW_OK);
    uint64_t session = link.session;
    lw_link_reset(&link);
    lw_env_sleep(in->client_env, 2 * second);
    EXPECT(in->ended_session == 0);
    EXPECT(lw_link_call(&link, &attempt, 1, 0) == LW_OK); /* back within the grace */
    EXPECT(link.session == session);
    lw_env_sleep(in->client_env, 5 * second);
    EXPECT(in->ended_session == 0);
    lw_link_reset(&link);
    lw_env_sleep(in->client_env, 4 * second);
    EXPECT(in->ended_session == session);
    in->done = true;
}

static void a_session_outlives_its_connection_by_the_grace(void **state) {
    tell(*state, come_and_go);
}

LW_YIELDS static void take_over(void *argument) {
    fixture *in = argument;
    lw_handle old = dial(in);
    lw_buffer frames = lw_buffer_in(in->client_env->memory);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    lw_reply reply;
    lw_welcome welcome;
    write_hello(&frames, 1, 1, 0);
    EXPECT(send_raw(in, old, lw_buffer_view(&frames)) == LW_OK);
    EXPECT(one_reply(in, old, &all, &reply) == LW_OK);
    EXPECT(lw_welcome_decode(reply.body, &welcome) == LW_OK);
    uint64_t session = welcome.session;
    lw_handle new = dial(in);
    lw_buffer_clear(&frames);
    write_hello(&frames, 1, 1, session);
    EXPECT(send_raw(in, new, lw_buffer_view(&frames)) == LW_OK);
    EXPECT(one_reply(in, new, &all, &reply) == LW_OK);
    EXPECT(lw_welcome_decode(reply.body, &welcome) == LW_OK);
    EXPECT(welcome.session == session);
    lw_buffer_clear(&frames);
    write_request(&frames, 3, "late");
    (void)!send_raw(in, old, lw_buffer_view(&frames));
    lw_buffer_clear(&all);
    EXPECT(receive_frames(in, old, &all, 1) == 0);
    EXPECT(in->handled == 0); /* N1 */
    lw_socket_close(in->client_env, old);
    lw_env_sleep(in->client_env, 5 * second);
    EXPECT(in->ended_session == 0); /* the session is attached to the new one */
    lw_socket_close(in->client_env, new);
    in->done = true;
}

static void a_session_taken_over_cuts_the_old_connection(void **state) {
    tell(*state, take_over);
}

LW_YIELDS static void close_server(void *argument) {
    fixture *in = argument;
    lw_server_close(in->server);
    in->closed = true;
}

LW_YIELDS static void watch_the_end(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial(in);
    lw_buffer frames = lw_buffer_in(in->client_env->memory);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    lw_reply reply;
    write_hello(&frames, 1, 1, 0);
    EXPECT(send_raw(in, socket, lw_buffer_view(&frames)) == LW_OK);
    EXPECT(one_reply(in, socket, &all, &reply) == LW_OK);
    lw_buffer_clear(&frames);
    write_request(&frames, 2, "wait");
    EXPECT(send_raw(in, socket, lw_buffer_view(&frames)) == LW_OK);
    lw_env_sleep(in->client_env, second);
    EXPECT(in->waiting == 1);
    lw_env_start(in->server_env, "close", close_server, in);
    lw_env_sleep(in->client_env, second);
    EXPECT(!in->closed);
    lw_queue_wake_all(&in->gate);
    EXPECT(one_reply(in, socket, &all, &reply) == LW_OK); /* what was under way is answered */
    EXPECT(reply.id == 2 && reply.status == LW_OK);
    lw_env_sleep(in->client_env, second);
    EXPECT(in->closed);
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void closing_answers_what_is_under_way(void **state) {
    tell(*state, watch_the_end);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(a_greeted_client_is_answered),
        STORY(garbage_is_told_so_and_turned_away),
        STORY(announced_bytes_cost_nothing_before_they_come),
        STORY(without_a_greeting_of_our_version_nothing_is_handled),
        STORY(who_never_greets_is_cut_off_after_ten_seconds),
        STORY(many_requests_in_flight_are_all_answered),
        STORY(requests_in_flight_are_bounded),
        STORY(a_session_outlives_its_connection_by_the_grace),
        STORY(a_session_taken_over_cuts_the_old_connection),
        STORY(closing_answers_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
