/* SPDX-License-Identifier: Apache-2.0 */
/* node/server and node/session: connections, greetings, sessions, limits. */
#include "node/session.h"
#include "tests/server_world.h"

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

LW_YIELDS static void go_while_waiting(void *argument) {
    fixture *in = argument;
    lw_handle socket = dial(in);
    lw_buffer frames = lw_buffer_in(in->client_env->memory);
    write_hello(&frames, 1, 1, 4712);
    write_request(&frames, 2, "wait");
    EXPECT(send_raw(in, socket, lw_buffer_view(&frames)) == LW_OK);
    lw_env_sleep(in->client_env, second);
    EXPECT(in->waiting == 1);
    lw_socket_close(in->client_env, socket);
    lw_env_sleep(in->client_env, 4 * second);
    EXPECT(in->ended_session == 4712); /* V5 */
    EXPECT(in->waiting == 1);
    in->done = true;
}

static void a_session_does_not_wait_for_its_requests(void **state) {
    tell(*state, go_while_waiting);
}

/* ---- who is silent -------------------------------------------------------------------------- */

enum { SESSION = 4713 };

LW_YIELDS static void say(fixture *in, lw_handle *socket, const char *body, uint32_t count) {
    lw_buffer frames = lw_buffer_in(in->client_env->memory);
    *socket = dial(in);
    write_hello(&frames, 1, 1, SESSION);
    for (uint32_t index = 0; index < count; index++) {
        write_request(&frames, 2 + index, body);
    }
    (void)!send_raw(in, *socket, lw_buffer_view(&frames));
}

LW_YIELDS static void say_little(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    say(in, &socket, "slow", 1);
}

/* Seconds from the client's last sign of life to the end of its session, if its machine loses power
 * so long after it has asked for something that takes two seconds; -1: it did not end. */
static double seconds_until_the_end(void **state, uint64_t power_ns, const char *bug) {
    fixture *in = *state;
    if (bug != NULL) {
        lw_world_plant(in->world, bug);
    }
    in->slow_ns = 2 * second;
    lw_env_start(in->client_env, "story", say_little, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + power_ns);
    uint64_t last_ns = lw_world_now(in->world);
    lw_host_crash(in->client_host);
    (void)lw_world_run(in->world, last_ns + 60 * second);
    return in->ended_session != SESSION ? -1 : (double)(in->ended_ns - last_ns) / (double)second;
}

static void a_machine_that_died_at_rest_is_gone_within_five_seconds(void **state) {
    double seconds = seconds_until_the_end(state, 10 * second, NULL);
    assert_true(seconds > 4 && seconds < 5);
}

static void one_that_died_before_its_reply_came_too(void **state) {
    double seconds = seconds_until_the_end(state, second, NULL);
    assert_true(seconds > 4 && seconds < 7); /* of which two until something is sent */
}

static void one_that_died_as_its_reply_was_on_its_way_too(void **state) {
    double seconds = seconds_until_the_end(state, 2 * second - second / 1000, NULL);
    assert_true(seconds > 4 && seconds < 5);
}

/* ... and then the beginning of another request, byte by byte. */
LW_YIELDS static void say_and_go_on(void *argument) {
    fixture *in = argument;
    enum { BYTES = 300 };
    char body[BYTES + 1];
    memset(body, 'x', BYTES);
    body[BYTES] = 0;
    lw_handle socket;
    say(in, &socket, "slow", 1);
    lw_buffer frames = lw_buffer_in(in->client_env->memory);
    write_request(&frames, 9, body);
    lw_env_sleep(in->client_env, 2 * second - second / 1000);
    for (size_t at = 0; at < BYTES; at++) {
        (void)!send_raw(in, socket, lw_view(frames.data + at, 1));
        lw_env_sleep(in->client_env, 10 * 1000);
    }
}

/* What it had sent before says nothing of whether the reply arrived. */
static void one_that_died_as_its_next_request_was_on_its_way_too(void **state) {
    fixture *in = *state;
    in->slow_ns = 2 * second;
    lw_env_start(in->client_env, "story", say_and_go_on, in);
    while (in->handled == 0) {
        (void)lw_world_run(in->world, lw_world_now(in->world) + 1000);
    }
    uint64_t last_ns = lw_world_now(in->world);
    lw_host_crash(in->client_host);
    (void)lw_world_run(in->world, last_ns + 60 * second);
    assert_int_equal(in->ended_session, SESSION);
    assert_true(in->ended_ns - last_ns < 5 * second);
}

static void without_listening_it_would_stay_for_minutes(void **state) {
    assert_true(seconds_until_the_end(state, second, "server.silence_unnoticed") < 0);
}

LW_YIELDS static void take_nothing(void *argument) {
    fixture *in = argument;
    enum { LARGE = 100 * 1024, COUNT = 10 };
    char *body = lw_allocate(in->client_env->memory, LARGE + 1);
    memset(body, 'x', LARGE);
    body[LARGE] = 0;
    lw_handle socket;
    say(in, &socket, body, COUNT); /* answered with the same */
    lw_env_sleep(in->client_env, 20 * second);
    EXPECT(in->handled == COUNT && in->ended_session == 0);
    EXPECT(lw_server_is_connected(in->server, SESSION)); /* Q1 */
    lw_socket_close(in->client_env, socket);
    in->done = true;
}

static void who_takes_nothing_is_not_silent(void **state) {
    tell(*state, take_nothing);
}

/* ---- who is connected elsewhere -------------------------------------------------------------- */

LW_YIELDS static void live_elsewhere(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    in->holds = in->lives_elsewhere = true;
    say(in, &socket, "x", 1);
    lw_env_sleep(in->client_env, second);
    lw_socket_close(in->client_env, socket);
    lw_env_sleep(in->client_env, 30 * second);
    EXPECT(in->asked > 10 && in->ended_session == 0); /* N3 */
    EXPECT(lw_server_has_session(in->server, SESSION));
    EXPECT(!lw_server_is_connected(in->server, SESSION));
    in->lives_elsewhere = false;
    lw_env_sleep(in->client_env, second / 2);
    EXPECT(in->ended_session == SESSION);
    in->done = true;
}

static void a_session_lives_while_its_client_is_connected_elsewhere(void **state) {
    tell(*state, live_elsewhere);
}

static void unasked_it_would_end(void **state) {
    fixture *in = *state;
    lw_world_plant(in->world, "session.ends_unasked");
    lw_env_start(in->client_env, "story", live_elsewhere, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 60 * second);
    assert_int_equal(in->ended_session, SESSION);
    assert_true(in->lives_elsewhere);
}

LW_YIELDS static void come_while_asked_for(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    in->holds = true;
    in->answer_ns = second;
    say(in, &socket, "x", 1);
    lw_env_sleep(in->client_env, second);
    lw_socket_close(in->client_env, socket);
    lw_env_sleep(in->client_env, 3 * second + second / 2);
    EXPECT(in->asked == 1 && in->ended_session == 0);
    say(in, &socket, "x", 1); /* back before the answer: nobody knows it */
    lw_env_sleep(in->client_env, 10 * second);
    EXPECT(in->asked == 1 && in->ended_session == 0); /* N2 */
    lw_socket_close(in->client_env, socket);
    lw_env_sleep(in->client_env, 5 * second);
    EXPECT(in->asked == 2 && in->ended_session == SESSION);
    in->done = true;
}

static void who_comes_back_while_it_is_asked_for_stays(void **state) {
    tell(*state, come_while_asked_for);
}

LW_YIELDS static void hold_nothing(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    in->lives_elsewhere = true;
    say(in, &socket, "x", 1);
    lw_env_sleep(in->client_env, second);
    lw_socket_close(in->client_env, socket);
    lw_env_sleep(in->client_env, 4 * second);
    EXPECT(in->asked == 0 && in->ended_session == SESSION);
    in->done = true;
}

static void nobody_is_asked_for_who_holds_nothing(void **state) {
    tell(*state, hold_nothing);
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
        STORY(a_session_does_not_wait_for_its_requests),
        STORY(a_session_taken_over_cuts_the_old_connection),
        STORY(a_machine_that_died_at_rest_is_gone_within_five_seconds),
        STORY(one_that_died_before_its_reply_came_too),
        STORY(one_that_died_as_its_reply_was_on_its_way_too),
        STORY(one_that_died_as_its_next_request_was_on_its_way_too),
        STORY(without_listening_it_would_stay_for_minutes),
        STORY(who_takes_nothing_is_not_silent),
        STORY(a_session_lives_while_its_client_is_connected_elsewhere),
        STORY(unasked_it_would_end),
        STORY(who_comes_back_while_it_is_asked_for_stays),
        STORY(nobody_is_asked_for_who_holds_nothing),
        STORY(closing_answers_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
