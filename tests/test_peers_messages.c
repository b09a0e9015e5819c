/* SPDX-License-Identifier: Apache-2.0 */
/* node/peers: messages and requests over links, in order and within bounds, and how they end. */
#include "tests/peers_world.h"

/* ---- messages -------------------------------------------------------------------------------- */

static void messages_of_any_size_arrive_in_order(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 65000, 70000, 3000000, LW_PEERS_MESSAGE_SIZE_MAX};
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    uint64_t total = 0, number = 0;
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        lw_buffer message = lw_buffer_in(one->env->memory);
        memset(lw_buffer_reserve(&message, sizes[index]), 'x', sizes[index]);
        message.size = sizes[index];
        uint8_t counted[8];
        lw_put_u64(counted, ++number);
        assert_true(lw_peers_send(one->peers, id_of(other), lw_buffer_view(&message)));
        lw_buffer_reset(&message);
        run_for(in, 30 * SECOND);
        assert_true(lw_peers_send(one->peers, id_of(other), lw_view(counted, 8)));
        run_for(in, SECOND);
        total += sizes[index] + 8;
        assert_int_equal(other->bytes, total);
        assert_int_equal(other->sequence, number);
    }
    assert_int_equal(other->out_of_order, 0);
    assert_int_equal(one->downs, 0);
    close_lattice(in);
}

static void what_a_slow_peer_does_not_read_is_dropped_beyond_the_queue(void **state) {
    (void)state;
    enum { MESSAGE_SIZE = 100000, COUNT = 1000 };
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    lw_buffer message = lw_buffer_in(one->env->memory);
    memset(lw_buffer_reserve(&message, MESSAGE_SIZE), 'x', MESSAGE_SIZE);
    message.size = MESSAGE_SIZE;
    lw_host_pause(other->host, SECOND);
    uint32_t taken = 0, large = 0;
    for (uint32_t count = 0; count < COUNT; count++) {
        uint8_t counted[8];
        lw_put_u64(counted, count + 1);
        large += lw_peers_send(one->peers, id_of(other), lw_buffer_view(&message)) ? 1 : 0;
        taken += lw_peers_send(one->peers, id_of(other), lw_view(counted, 8)) ? 1 : 0;
        run_for(in, MS / 10);
    }
    assert_in_range(large, LW_PEERS_QUEUE_SIZE_MAX / MESSAGE_SIZE, COUNT / 2);
    taken += large;
    assert_true(lw_memory_used(one->env->memory) < 3 * (size_t)LW_PEERS_QUEUE_SIZE_MAX);
    lw_peer_state seen;
    lw_peers_state_get(one->peers, id_of(other), &seen);
    assert_int_equal(seen.dropped, 2 * COUNT - taken);
    assert_true(seen.queued_bytes > LW_PEERS_QUEUE_SIZE_MAX / 2);
    run_for(in, 10 * SECOND);
    assert_int_equal(other->messages, taken);
    assert_int_equal(other->out_of_order, 0);
    lw_buffer_reset(&message);
    run_for(in, SECOND);
    assert_true(lw_memory_used(one->env->memory) < 1000000); /* it is given back */
    close_lattice(in);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void a_request_is_carried_out_on_the_other_side(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    question good, bad;
    lw_peers_set(one->peers, id_of(other), other->address);
    ask(&good, one, other, "what is it?"); /* waits for the link that is being made */
    ask(&bad, one, other, "fail");
    run_for(in, SECOND);
    assert_true(good.done);
    assert_int_equal(good.status, LW_OK);
    assert_true(lw_equal(lw_buffer_view(&good.answer), lw_text("what is it?")));
    assert_int_equal(other->last_from, id_of(one));
    assert_int_equal(bad.status, LW_FULL);
    assert_true(lw_equal(lw_buffer_view(&bad.answer), lw_text("fail"))); /* also a failure's */
    assert_non_null(strstr(bad.error, "as "));
    close_lattice(in);
}

static void many_requests_are_under_way_at_once_and_more_wait_their_turn(void **state) {
    (void)state;
    enum { COUNT = 3 * LW_PEERS_ASKS_MAX };
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    static question questions[COUNT];
    other->quiet = true;
    acquaint(one, other);
    for (uint32_t index = 0; index < COUNT; index++) {
        ask(&questions[index], one, other, "?");
        questions[index].timeout_ns = 100 * SECOND;
    }
    run_for(in, SECOND);
    assert_int_equal(other->waiting, LW_PEERS_ASKS_MAX);
    for (uint32_t round = 0; round < 3; round++) {
        lw_queue_wake_all(&other->gate);
        run_for(in, SECOND);
    }
    for (uint32_t index = 0; index < COUNT; index++) {
        assert_true(questions[index].done);
        assert_int_equal(questions[index].status, LW_OK);
    }
    assert_int_equal(other->handled, COUNT);
    close_lattice(in);
}

static void a_request_waits_for_room_behind_messages(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    lw_host_pause(other->host, SECOND);
    while (lw_peers_send(one->peers, id_of(other), lw_view("x", 1))) {
    }
    question asked;
    ask(&asked, one, other, "?");
    run_for(in, 500 * MS);
    assert_false(asked.done);
    run_for(in, 2 * SECOND);
    assert_true(asked.done);
    assert_int_equal(asked.status, LW_OK);
    close_lattice(in);
}

static void requests_end_with_words_when_nobody_answers(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1), *third = &in->nodes[2];
    question unknown, slow, broken, down;
    make_identity(3, &in->key, &third->identity);
    ask(&unknown, one, third, "?");
    acquaint(one, other);
    other->quiet = true;
    ask(&slow, one, other, "?");
    slow.timeout_ns = SECOND;
    run_for(in, 2 * SECOND);
    assert_true(unknown.done);
    assert_int_equal(unknown.status, LW_UNAVAILABLE);
    assert_non_null(strstr(unknown.error, "nobody knows where it is"));
    assert_int_equal(slow.status, LW_TIMEOUT);
    assert_non_null(strstr(slow.error, "did not answer in time"));

    ask(&broken, one, other, "?");
    run_for(in, 100 * MS);
    lw_host_kill(other->host);
    run_for(in, 200 * MS);
    assert_int_equal(broken.status, LW_UNAVAILABLE);
    assert_non_null(strstr(broken.error, "broke"));
    assert_int_equal(broken.answer.size, 0);
    run_for(in, 10 * SECOND);
    ask(&down, one, other, "?"); /* is not kept waiting: it is known not to be there */
    run_for(in, 2500 * MS);
    assert_true(down.done);
    assert_int_equal(down.status, LW_UNAVAILABLE);
    close_lattice(in);
}

static void a_late_reply_is_nobodys(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    question slow, next;
    acquaint(one, other);
    other->quiet = true;
    ask(&slow, one, other, "first");
    slow.timeout_ns = SECOND;
    run_for(in, 2 * SECOND);
    assert_int_equal(slow.status, LW_TIMEOUT);
    other->quiet = false;
    ask(&next, one, other, "second");
    lw_queue_wake_all(&other->gate);
    run_for(in, SECOND);
    assert_true(lw_equal(lw_buffer_view(&next.answer), lw_text("second")));
    assert_int_equal(slow.answer.size, 0);
    assert_true(lw_world_marked(in->world, "peers.reply_nobody_waits_for") > 0);
    close_lattice(in);
}

/* ---- ending ---------------------------------------------------------------------------------- */

LW_YIELDS static void close_main(void *argument) {
    node *self = argument;
    lw_server_close(self->server);
    lw_peers_close(self->peers);
    self->closed = true;
}

static void closing_ends_links_dials_and_questions(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1), *third = &in->nodes[2];
    make_identity(3, &in->key, &third->identity);
    acquaint(one, other);
    lw_peers_watch(one->peers, id_of(other));
    lw_peers_set(one->peers, id_of(third), "nowhere:1");
    other->quiet = true;
    question asked, answered;
    ask(&asked, one, other, "?");
    one->quiet = true;
    ask(&answered, other, one, "?");
    run_for(in, 100 * MS);
    assert_int_equal(one->waiting, 1);
    lw_env_start(one->env, "close", close_main, one);
    run_for(in, 100 * MS);
    assert_int_equal(asked.status, LW_UNAVAILABLE);
    assert_false(one->closed); /* a handler is still under way */
    lw_queue_wake_all(&one->gate);
    run_for(in, 3 * SECOND);
    assert_true(one->closed);
    assert_int_equal(answered.status, LW_UNAVAILABLE);
    assert_false(up(other, one));
    close_lattice(in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_any_size_arrive_in_order),
        cmocka_unit_test(what_a_slow_peer_does_not_read_is_dropped_beyond_the_queue),
        cmocka_unit_test(a_request_is_carried_out_on_the_other_side),
        cmocka_unit_test(many_requests_are_under_way_at_once_and_more_wait_their_turn),
        cmocka_unit_test(a_request_waits_for_room_behind_messages),
        cmocka_unit_test(requests_end_with_words_when_nobody_answers),
        cmocka_unit_test(a_late_reply_is_nobodys),
        cmocka_unit_test(closing_ends_links_dials_and_questions),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0;
}
