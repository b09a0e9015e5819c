/* SPDX-License-Identifier: Apache-2.0 */
/* client/link: several requests under way on one connection, and those that nobody waits for,
 * against the node's own server in the simulated world. The handler is the test's: a body says how
 * many milliseconds it takes, and comes back. */
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
static const uint64_t millisecond = 1000000;

typedef struct fixture {
    lw_world *world;
    lw_host *server_host, *client_host;
    lw_env *server_env, *client_env;
    lw_server *server;
    lw_link link;
    uint32_t handled;
    bool slow; /* the handler takes a hundred times as long */
    bool done;
    int failed_line;
} fixture;

LW_YIELDS static lw_status handle(void *argument, const lw_request *request, uint64_t session,
                                  lw_buffer *body) {
    fixture *in = argument;
    (void)session;
    if (request->kind == LW_MESSAGE_PING) {
        return LW_OK;
    }
    lw_env_sleep(in->server_env, request->body.data[0] * millisecond * (in->slow ? 100 : 1));
    in->handled++;
    lw_buffer_append(body, request->body);
    return LW_OK;
}

static uint64_t spare(void *argument) {
    (void)argument;
    return 0;
}

static void session_ended(void *argument, uint64_t session) {
    (void)argument;
    (void)session;
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
    lw_link_init(&in->link, in->client_env, "server:1", lw_text("tester"));
    *state = in;
    return in->server == NULL;
}

static int teardown(void **state) {
    fixture *in = *state;
    lw_world_close(in->world);
    free(in);
    return 0;
}

static void tell(fixture *in, void (*story)(void *argument)) {
    lw_env_start(in->client_env, "story", story, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 60 * second);
    if (in->failed_line != 0) {
        fail_msg("the expectation in line %d", in->failed_line);
    }
    assert_true(in->done);
}

static lw_attempt asking(const char *body) {
    return (lw_attempt){.request = {.kind = LW_MESSAGE_GET, .body = lw_text(body)}};
}

/* ---- stories ----------------------------------------------------------------------------------
 */

LW_YIELDS static void ask_several(void *argument) {
    fixture *in = argument;
    lw_attempt attempts[] = {asking("\x1e three"), asking("\x0a one"), asking("\x14 two")};
    uint64_t began = lw_env_now(in->client_env);
    EXPECT(lw_link_call(&in->link, attempts, 3, 0) == LW_OK);
    EXPECT(lw_env_now(in->client_env) - began < 40 * millisecond);
    for (int index = 0; index < 3; index++) {
        EXPECT(attempts[index].answered);
        EXPECT(lw_equal(attempts[index].reply.body, attempts[index].request.body));
    }
    lw_link_reset(&in->link);
    in->done = true;
}

static void replies_may_come_in_any_order(void **state) {
    tell(*state, ask_several);
}

LW_YIELDS static void ask_much(void *argument) {
    fixture *in = argument;
    enum { COUNT = 16, SIZE = 2 * 1024 * 1024 };
    static uint8_t body[SIZE]; /* twice what a node holds of a connection, both ways */
    lw_attempt *attempts = lw_allocate_zero(in->client_env->memory, COUNT * sizeof(*attempts));
    for (int index = 0; index < COUNT; index++) {
        attempts[index].request = (lw_request){.kind = LW_MESSAGE_GET, .body = lw_view(body, SIZE)};
    }
    EXPECT(lw_link_call(&in->link, attempts, COUNT, 0) == LW_OK);
    for (int index = 0; index < COUNT; index++) {
        EXPECT(attempts[index].answered && attempts[index].reply.body.size == SIZE);
    }
    lw_free(in->client_env->memory, attempts);
    lw_link_reset(&in->link);
    in->done = true;
}

static void neither_side_holds_the_other_up(void **state) {
    tell(*state, ask_much);
}

LW_YIELDS static void send_some_behind(void *argument) {
    fixture *in = argument;
    lw_request behind = {.kind = LW_MESSAGE_COMMIT, .body = lw_text("\x05 behind")};
    lw_link_send_behind(&in->link, &behind);
    EXPECT(in->link.unanswered == 0); /* there is no connection */
    lw_attempt attempt = asking("\x01 call");
    EXPECT(lw_link_call(&in->link, &attempt, 1, 0) == LW_OK);
    uint64_t began = lw_env_now(in->client_env);
    for (int index = 0; index < 3; index++) {
        lw_link_send_behind(&in->link, &behind);
    }
    EXPECT(lw_env_now(in->client_env) == began); /* nobody waits */
    EXPECT(lw_link_call(&in->link, &attempt, 1, 0) == LW_OK);
    EXPECT(lw_equal(attempt.reply.body, lw_text("\x01 call")));
    lw_env_sleep(in->client_env, second / 10); /* their replies lie in wait now */
    EXPECT(lw_link_call(&in->link, &attempt, 1, 0) == LW_OK);
    EXPECT(lw_equal(attempt.reply.body, lw_text("\x01 call")));
    EXPECT(in->link.unanswered == 0 && in->handled == 6);
    lw_link_reset(&in->link);
    in->done = true;
}

static void what_is_sent_behind_is_done_and_its_reply_dropped(void **state) {
    tell(*state, send_some_behind);
}

LW_YIELDS static void send_much_behind(void *argument) {
    fixture *in = argument;
    lw_request behind = {.kind = LW_MESSAGE_COMMIT, .body = lw_text("\x05 behind")};
    lw_attempt attempt = asking("\x01 call");
    EXPECT(lw_link_call(&in->link, &attempt, 1, 0) == LW_OK);
    for (int index = 0; index < 500; index++) {
        lw_link_send_behind(&in->link, &behind);
    }
    uint32_t unanswered = in->link.unanswered;
    EXPECT(unanswered > 100 && unanswered < 256);
    lw_link_settle(&in->link, lw_env_now(in->client_env) + second);
    EXPECT(in->link.unanswered == 0 && in->handled == unanswered + 1);
    lw_link_settle(&in->link, lw_env_now(in->client_env) + second); /* nothing is left */
    lw_link_reset(&in->link);
    in->done = true;
}

static void too_much_behind_is_dropped_and_the_rest_can_be_waited_for(void **state) {
    tell(*state, send_much_behind);
}

LW_YIELDS static void miss_the_deadline(void *argument) {
    fixture *in = argument;
    lw_attempt attempts[] = {asking("\x01 quick"), asking("\xff slow")};
    uint64_t deadline_ns = lw_env_now(in->client_env) + 50 * millisecond;
    EXPECT(lw_link_call(&in->link, attempts, 2, deadline_ns) == LW_TIMEOUT);
    EXPECT(attempts[0].answered && !attempts[1].answered && attempts[1].sent);
    EXPECT(lw_equal(attempts[0].reply.body, lw_text("\x01 quick"))); /* readable all the same */
    EXPECT(!lw_handle_valid(in->link.socket));
    EXPECT(lw_link_call(&in->link, attempts, 1, 0) == LW_OK); /* over a new connection */
    lw_link_reset(&in->link);
    in->done = true;
}

static void who_was_answered_before_the_deadline_is(void **state) {
    tell(*state, miss_the_deadline);
}

/* Power is lost while the network is cut: the connection stands for ever, nobody is at its end. */
LW_YIELDS static void ask_the_dead(void *argument) {
    fixture *in = argument;
    lw_attempt attempt = asking("\xff what it cannot answer any more");
    uint64_t began = lw_env_now(in->client_env);
    EXPECT(lw_link_call(&in->link, &attempt, 1, began + 50 * second) == LW_UNAVAILABLE);
    EXPECT(strstr(lw_error_slot()->text, "has gone silent") != NULL);
    EXPECT(lw_env_now(in->client_env) - began < 5 * second);
    EXPECT(attempt.sent && !attempt.answered);
    in->done = true;
}

static void who_is_dead_is_not_waited_for(void **state) {
    fixture *in = *state;
    lw_env_start(in->client_env, "story", ask_the_dead, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + second / 10);
    lw_world_cut(in->world, in->client_host, in->server_host, true);
    lw_host_crash(in->server_host);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 60 * second);
    assert_int_equal(in->failed_line, 0);
    assert_true(in->done);
}

LW_YIELDS static void ask_the_slow(void *argument) {
    fixture *in = argument;
    in->slow = true;
    lw_attempt attempt = asking("\xff slow");
    EXPECT(lw_link_call(&in->link, &attempt, 1, 0) == LW_OK);
    EXPECT(attempt.answered);
    lw_link_reset(&in->link);
    in->done = true;
}

static void who_is_slow_is_waited_for(void **state) {
    tell(*state, ask_the_slow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replies_may_come_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(neither_side_holds_the_other_up, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_sent_behind_is_done_and_its_reply_dropped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(too_much_behind_is_dropped_and_the_rest_can_be_waited_for,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_answered_before_the_deadline_is, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_dead_is_not_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_slow_is_waited_for, setup, teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
