/* SPDX-License-Identifier: Apache-2.0 */
/* What the requests of all clients may take of a node's memory at once. */
#include "node/intake.h"
#include "tests/server_world.h"

enum {
    ROOM = 1024 * 1024,
    LARGE = 400 * 1024, /* the body of a request of which one fits, and two do not */
    CLIENTS = 12,
};

static int setup_bounded(void **state) {
    return setup_within(state, ROOM);
}

/* A connection that was greeted. */
LW_YIELDS static lw_handle dial_and_greet(fixture *in) {
    lw_buffer bytes = lw_buffer_in(in->client_env->memory);
    lw_handle socket = dial(in);
    lw_reply reply;
    write_hello(&bytes, 1, 1, 0);
    lw_status status = send_raw(in, socket, lw_buffer_view(&bytes));
    if (status == LW_OK) {
        status = one_reply(in, socket, &bytes, &reply);
    }
    lw_buffer_reset(&bytes);
    LW_ASSERT(status == LW_OK);
    return socket;
}

/* The frame of a request whose body is `size` bytes that begin with `head`. */
static lw_buffer request_of(fixture *in, lw_message_kind kind, uint64_t id, const char *head,
                            size_t size) {
    lw_buffer body = lw_buffer_in(in->client_env->memory);
    lw_buffer frame = lw_buffer_in(in->client_env->memory);
    memset(lw_buffer_reserve(&body, size), '.', size);
    memcpy(body.data, head, strlen(head));
    body.size = size;
    lw_request request = {
        .kind = kind, .id = id, .shard = LW_ROOT_SHARD, .body = lw_buffer_view(&body)};
    lw_request_encode(&request, &frame);
    lw_buffer_reset(&body);
    return frame;
}

/* The status of the answer to a request of its own. */
LW_YIELDS static lw_status ask(fixture *in, lw_handle socket, lw_message_kind kind, uint64_t id,
                               const char *head, size_t size) {
    lw_buffer frame = request_of(in, kind, id, head, size);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    lw_reply reply = {.status = LW_INTERNAL};
    lw_status status = send_raw(in, socket, lw_buffer_view(&frame));
    if (status == LW_OK) {
        status = one_reply(in, socket, &all, &reply);
    }
    lw_buffer_reset(&frame);
    lw_buffer_reset(&all);
    return status != LW_OK ? status : reply.id != id ? LW_INTERNAL : reply.status;
}

/* ---- one bound for all ------------------------------------------------------------------------
 */

typedef struct asker {
    fixture *in;
    lw_status status;
    bool done;
} asker;

LW_YIELDS static void ask_slowly(void *argument) {
    asker *self = argument;
    lw_handle socket = dial_and_greet(self->in);
    self->status = ask(self->in, socket, LW_MESSAGE_GET, 2, "slow", LARGE);
    lw_socket_close(self->in->client_env, socket);
    self->done = true;
}

static void large_requests_of_many_clients_take_turns(void **state) {
    fixture *in = *state;
    asker askers[CLIENTS];
    in->slow_ns = second / 10;
    for (uint32_t index = 0; index < CLIENTS; index++) {
        askers[index] = (asker){.in = in};
        lw_env_start(in->client_env, "asker", ask_slowly, &askers[index]);
    }
    (void)lw_world_run(in->world, lw_world_now(in->world) + 5 * second);
    for (uint32_t index = 0; index < CLIENTS; index++) {
        assert_true(askers[index].done);
        assert_int_equal(askers[index].status, LW_OK);
    }
    assert_int_equal(in->slow_max, 1);
    assert_true(in->budget->used_max >= LARGE && in->budget->used_max < 3 * ROOM);
    assert_int_equal(in->budget->used, 0);
}

/* ---- too long, and what must not wait ---------------------------------------------------------
 */

LW_YIELDS static void ask_in_vain(void *argument) {
    fixture *in = argument;
    asker first = {.in = in};
    in->slow_ns = 10 * second;
    lw_env_start(in->client_env, "asker", ask_slowly, &first);
    lw_env_sleep(in->client_env, second);
    lw_handle one = dial_and_greet(in), other = dial_and_greet(in);
    EXPECT(ask(in, other, LW_MESSAGE_GET, 2, "small", 100) == LW_OK);
    uint64_t began = lw_env_now(in->client_env);
    EXPECT(ask(in, one, LW_MESSAGE_PREWRITE, 3, "large", LARGE) == LW_BACKPRESSURE);
    uint64_t waited = lw_env_now(in->client_env) - began;
    EXPECT(waited >= 2 * second && waited < 3 * second);
    EXPECT(ask(in, one, LW_MESSAGE_COMMIT, 4, "large", LARGE) == LW_OK); /* ends something */
    EXPECT(ask(in, one, LW_MESSAGE_GET, 5, "small", 100) == LW_OK);
    lw_env_sleep(in->client_env, 10 * second);
    EXPECT(first.done && first.status == LW_OK);
    EXPECT(ask(in, one, LW_MESSAGE_PREWRITE, 6, "large", LARGE) == LW_OK);
    lw_socket_close(in->client_env, one);
    lw_socket_close(in->client_env, other);
    in->done = true;
}

static void who_waits_too_long_is_told_and_its_connection_goes_on(void **state) {
    fixture *in = *state;
    tell(in, ask_in_vain);
    assert_int_equal(in->budget->used, 0);
}

/* ---- who holds room and does nothing ----------------------------------------------------------
 */

LW_YIELDS static void stall(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial_and_greet(in);
    lw_buffer all = lw_buffer_in(in->client_env->memory);
    lw_buffer frame = request_of(in, LW_MESSAGE_GET, 2, "slow", LARGE);
    EXPECT(send_raw(in, socket, lw_view(frame.data, LARGE / 2)) == LW_OK);
    lw_env_sleep(in->client_env, second);
    EXPECT(in->budget->used >= LARGE);
    lw_env_sleep(in->client_env, 20 * second);
    EXPECT(in->budget->used >= LARGE);
    lw_env_sleep(in->client_env, 10 * second);
    EXPECT(in->budget->used == 0);
    EXPECT(receive_frames(in, socket, &all, 1) == 0); /* it was cut off */
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void a_frame_that_stops_coming_is_not_waited_for(void **state) {
    tell(*state, stall);
}

LW_YIELDS static void take_no_answer(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial_and_greet(in);
    for (uint64_t id = 2; id < 6; id++) {
        lw_buffer frame = request_of(in, LW_MESSAGE_GET, id, "echo", LARGE);
        EXPECT(send_raw(in, socket, lw_buffer_view(&frame)) == LW_OK);
        lw_buffer_reset(&frame);
    }
    lw_env_sleep(in->client_env, second);
    EXPECT(in->budget->used >= LARGE && in->budget->used < 4 * ROOM);
    lw_env_sleep(in->client_env, 40 * second);
    EXPECT(in->budget->used == 0);
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void answers_that_nobody_takes_are_dropped(void **state) {
    tell(*state, take_no_answer);
}

#define BOUNDED(name) cmocka_unit_test_setup_teardown(name, setup_bounded, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        BOUNDED(large_requests_of_many_clients_take_turns),
        BOUNDED(who_waits_too_long_is_told_and_its_connection_goes_on),
        BOUNDED(a_frame_that_stops_coming_is_not_waited_for),
        BOUNDED(answers_that_nobody_takes_are_dropped),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
