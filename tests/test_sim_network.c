/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated network: streams that keep their promises, and every way in which they end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "sim/network.h"

#define SECOND_NS UINT64_C(1000000000)
enum { SEEDS = 100, PORT = 7871 };

/* Two hosts: 0 connects, 1 listens. */
typedef struct link_bench {
    lw_memory *memory;
    lw_agenda agenda;
    lw_trace trace;
    lw_faults faults;
    uint64_t hits[LW_FAULT_COUNT];
    lw_network *network;
    lw_endpoint *listener, *caller, *callee;
    uint32_t wakes;
} link_bench;

static int arm_alarm(void **state) {
    (void)state;
    alarm(60);
    return 0;
}

static void count_wake(void *owner) {
    uint32_t *wakes = owner;
    (*wakes)++;
}

static void set_up(link_bench *bench, uint64_t seed) {
    *bench = (link_bench){.memory = lw_memory_open()};
    bench->agenda = lw_agenda_in(bench->memory, 1);
    bench->trace = lw_trace_in(bench->memory, seed);
    bench->network = lw_network_open(bench->memory, &bench->agenda, &bench->trace,
                                     lw_chance_of(seed, 0), &bench->faults, bench->hits);
    assert_int_equal(lw_network_add_host(bench->network, "node1"), 0);
    assert_int_equal(lw_network_add_host(bench->network, "node2"), 1);
}

static void tear_down(link_bench *bench) {
    lw_memory_close(bench->memory);
}

static void run_for(link_bench *bench, uint64_t duration_ns) {
    uint64_t end = bench->agenda.now_ns + duration_ns;
    while (lw_agenda_due(&bench->agenda) <= end) {
        lw_agenda_step(&bench->agenda);
    }
    bench->agenda.now_ns = end;
}

static void listen_at(link_bench *bench, uint16_t port) {
    assert_int_equal(
        lw_network_listen(bench->network, 1, &port, count_wake, &bench->wakes, &bench->listener),
        0);
}

static lw_endpoint *call(link_bench *bench) {
    return lw_network_connect(bench->network, 0, 1, PORT, count_wake, &bench->wakes);
}

/* A connection from host 0 to host 1. */
static void set_up_link(link_bench *bench, uint64_t seed) {
    set_up(bench, seed);
    listen_at(bench, PORT);
    bench->caller = call(bench);
    assert_int_equal(lw_endpoint_connected(bench->caller), EAGAIN);
    run_for(bench, SECOND_NS);
    assert_int_equal(lw_endpoint_connected(bench->caller), 0);
    assert_int_equal(lw_endpoint_accept(bench->listener, count_wake, &bench->wakes, &bench->callee),
                     0);
}

static int send_text(lw_endpoint *from, const char *text) {
    size_t count = 0;
    int error = lw_endpoint_send(from, lw_text(text), &count);
    assert_true(error != 0 || count == strlen(text));
    return error;
}

/* What a receive of up to 64 bytes answers; the bytes in `text`. */
static int receive_text(lw_endpoint *at, char text[65]) {
    uint64_t count = 0;
    int error = lw_endpoint_receive(at, text, 64, &count);
    text[error == 0 ? count : 0] = '\0';
    return error;
}

static void assert_receives(lw_endpoint *at, const char *expected) {
    char text[65];
    assert_int_equal(receive_text(at, text), 0);
    assert_string_equal(text, expected);
}

static void assert_receive_fails(lw_endpoint *at, int expected) {
    char text[65];
    assert_int_equal(receive_text(at, text), expected);
}

/* ---- streams -------------------------------------------------------------------------------- */

static void bytes_arrive_whole_and_in_order(void **state) {
    (void)state;
    uint64_t short_receives = 0, slow_segments = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        link_bench bench;
        set_up_link(&bench, seed);
        bench.faults.rates[LW_FAULT_SHORT_RECEIVE] = LW_FAULT_ALWAYS / 2;
        bench.faults.rates[LW_FAULT_SLOW_SEGMENT] = LW_FAULT_ALWAYS / 2;
        lw_chance chance = lw_chance_of(seed, 1);
        uint32_t sent = 0, received = 0;
        while (received < 20000) {
            uint8_t bytes[4000];
            size_t size = (size_t)lw_chance_between(&chance, 1, sizeof(bytes)), taken = 0;
            for (size_t index = 0; index < size; index++) {
                bytes[index] = (uint8_t)lw_mix(sent + index);
            }
            int error = lw_endpoint_send(bench.caller, lw_view(bytes, size), &taken);
            assert_true(error == 0 || error == EAGAIN);
            sent += (uint32_t)taken;
            run_for(&bench, lw_chance_below(&chance, SECOND_NS / 10));
            uint64_t count = 0;
            error = lw_endpoint_receive(bench.callee, bytes, sizeof(bytes), &count);
            assert_true(error == 0 || error == EAGAIN);
            for (uint64_t index = 0; index < count; index++, received++) {
                assert_int_equal(bytes[index], (uint8_t)lw_mix(received));
            }
        }
        short_receives += bench.hits[LW_FAULT_SHORT_RECEIVE];
        slow_segments += bench.hits[LW_FAULT_SLOW_SEGMENT];
        tear_down(&bench);
    }
    assert_true(short_receives > SEEDS && slow_segments > SEEDS);
}

static void a_full_window_waits_for_the_reader(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    uint8_t *bytes = lw_allocate_zero(bench.memory, LW_NETWORK_WINDOW + 1);
    size_t taken = 0;
    assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, LW_NETWORK_WINDOW + 1), &taken),
                     0);
    assert_int_equal(taken, LW_NETWORK_WINDOW);
    taken = 0;
    assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, 1), &taken), EAGAIN);
    run_for(&bench, 5 * SECOND_NS);
    assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, 1), &taken), EAGAIN);
    uint64_t count = 0;
    assert_int_equal(lw_endpoint_receive(bench.callee, bytes, 1000, &count), 0);
    assert_int_equal(count, 1000);
    bench.wakes = 0;
    run_for(&bench, SECOND_NS);
    assert_true(bench.wakes > 0);
    assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, 2000), &taken), 0);
    assert_int_equal(taken, 1000);
    tear_down(&bench);
}

static void a_window_that_opens_is_used_at_once(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    uint8_t *bytes = lw_allocate_zero(bench.memory, LW_NETWORK_WINDOW);
    size_t taken = 0;
    uint64_t count = 0;
    assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, LW_NETWORK_WINDOW), &taken), 0);
    run_for(&bench, 2 * SECOND_NS);
    assert_int_equal(send_text(bench.caller, "next"), EAGAIN);
    assert_int_equal(lw_endpoint_receive(bench.callee, bytes, LW_NETWORK_WINDOW, &count), 0);
    assert_int_equal(count, LW_NETWORK_WINDOW);
    run_for(&bench, SECOND_NS / 1000);
    assert_int_equal(send_text(bench.caller, "next"), 0);
    run_for(&bench, SECOND_NS / 1000);
    assert_receives(bench.callee, "next");
    tear_down(&bench);
}

static void a_crashed_reader_makes_no_room(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    uint8_t *bytes = lw_allocate_zero(bench.memory, LW_NETWORK_WINDOW);
    size_t taken = 0;
    uint64_t count = 0;
    assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, LW_NETWORK_WINDOW), &taken), 0);
    run_for(&bench, 2 * SECOND_NS);
    assert_int_equal(lw_endpoint_receive(bench.callee, bytes, 1000, &count), 0);
    lw_network_power_loss(bench.network, 1);
    lw_network_power_on(bench.network, 1);
    run_for(&bench, SECOND_NS / 2);
    assert_int_equal(send_text(bench.caller, "next"), EAGAIN);
    tear_down(&bench);
}

static void a_closed_stream_ends_behind_its_bytes(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    assert_int_equal(send_text(bench.caller, "last words"), 0);
    lw_endpoint_close(bench.caller);
    run_for(&bench, SECOND_NS);
    assert_receives(bench.callee, "last words");
    assert_receives(bench.callee, "");
    assert_receives(bench.callee, "");
    assert_int_equal(send_text(bench.callee, "too late"), 0);
    run_for(&bench, SECOND_NS);
    assert_int_equal(send_text(bench.callee, "too late"), EPIPE);
    tear_down(&bench);
}

static void closing_with_unread_bytes_resets(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    assert_int_equal(send_text(bench.caller, "unread"), 0);
    run_for(&bench, SECOND_NS);
    lw_endpoint_close(bench.callee);
    run_for(&bench, SECOND_NS);
    assert_receive_fails(bench.caller, ECONNRESET);
    tear_down(&bench);
}

static void a_connection_that_is_over_leaves_no_memory(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    lw_endpoint_close(bench.caller);
    lw_endpoint_close(bench.callee);
    run_for(&bench, SECOND_NS);
    size_t used = lw_memory_used(bench.memory);
    for (uint32_t round = 0; round < 50; round++) {
        lw_endpoint *caller = call(&bench), *callee;
        run_for(&bench, SECOND_NS);
        assert_int_equal(lw_endpoint_accept(bench.listener, count_wake, &bench.wakes, &callee), 0);
        assert_int_equal(send_text(caller, "hello"), 0);
        assert_int_equal(send_text(callee, "hello"), 0);
        run_for(&bench, round % 2 * SECOND_NS);
        lw_endpoint_close(callee);
        lw_endpoint_close(caller);
        run_for(&bench, 60 * SECOND_NS);
    }
    assert_int_equal(lw_memory_used(bench.memory), used);
    assert_null(lw_agenda_first(&bench.agenda));
    tear_down(&bench);
}

/* ---- connecting ----------------------------------------------------------------------------- */

static void nobody_listening_refuses(void **state) {
    (void)state;
    link_bench bench;
    set_up(&bench, 1);
    lw_endpoint *caller = call(&bench);
    run_for(&bench, SECOND_NS);
    assert_int_equal(lw_endpoint_connected(caller), ECONNREFUSED);
    tear_down(&bench);
}

static void a_port_has_one_listener(void **state) {
    (void)state;
    link_bench bench;
    set_up(&bench, 1);
    listen_at(&bench, PORT);
    lw_endpoint *first = bench.listener, *other;
    uint16_t port = PORT;
    assert_int_equal(lw_network_listen(bench.network, 1, &port, count_wake, &bench.wakes, &other),
                     EADDRINUSE);
    assert_int_equal(lw_network_listen(bench.network, 0, &port, count_wake, &bench.wakes, &other),
                     0);
    port = 0;
    assert_int_equal(lw_network_listen(bench.network, 1, &port, count_wake, &bench.wakes, &other),
                     0);
    assert_true(port != 0 && port != PORT);
    uint16_t second_port = 0;
    assert_int_equal(
        lw_network_listen(bench.network, 1, &second_port, count_wake, &bench.wakes, &other), 0);
    assert_true(second_port != port);
    lw_endpoint_close(first);
    listen_at(&bench, PORT);
    tear_down(&bench);
}

static void names_mean_hosts(void **state) {
    (void)state;
    link_bench bench;
    set_up(&bench, 1);
    assert_int_equal(lw_network_find_host(bench.network, 0, "node2"), 1);
    assert_int_equal(lw_network_find_host(bench.network, 1, "localhost"), 1);
    assert_int_equal(lw_network_find_host(bench.network, 0, "127.0.0.1"), 0);
    assert_int_equal(lw_network_find_host(bench.network, 0, "node3"), -1);
    tear_down(&bench);
}

static void a_closed_listener_resets_those_who_wait(void **state) {
    (void)state;
    link_bench bench;
    set_up(&bench, 1);
    listen_at(&bench, PORT);
    lw_endpoint *caller = call(&bench);
    run_for(&bench, SECOND_NS);
    assert_int_equal(lw_endpoint_connected(caller), 0);
    lw_endpoint_close(bench.listener);
    run_for(&bench, SECOND_NS);
    assert_receive_fails(caller, ECONNRESET);
    tear_down(&bench);
}

static void a_full_backlog_makes_callers_wait(void **state) {
    (void)state;
    link_bench bench;
    set_up(&bench, 1);
    listen_at(&bench, PORT);
    lw_endpoint *callers[LW_NETWORK_BACKLOG + 1];
    for (size_t index = 0; index <= LW_NETWORK_BACKLOG; index++) {
        callers[index] = call(&bench);
    }
    run_for(&bench, SECOND_NS);
    uint32_t waiting = 0;
    for (size_t index = 0; index <= LW_NETWORK_BACKLOG; index++) {
        waiting += lw_endpoint_connected(callers[index]) == EAGAIN;
    }
    assert_int_equal(waiting, 1);
    lw_endpoint *callee;
    assert_int_equal(lw_endpoint_accept(bench.listener, count_wake, &bench.wakes, &callee), 0);
    run_for(&bench, 2 * SECOND_NS);
    for (size_t index = 0; index <= LW_NETWORK_BACKLOG; index++) {
        assert_int_equal(lw_endpoint_connected(callers[index]), 0);
    }
    tear_down(&bench);
}

static void a_caller_that_left_resets_who_accepts(void **state) {
    (void)state;
    link_bench bench;
    set_up(&bench, 1);
    listen_at(&bench, PORT);
    lw_endpoint *caller = call(&bench);
    lw_network_cut(bench.network, 1, 0, true); /* the welcome does not get through */
    run_for(&bench, SECOND_NS);
    assert_int_equal(lw_endpoint_connected(caller), EAGAIN);
    lw_endpoint_close(caller);
    lw_network_cut(bench.network, 1, 0, false);
    run_for(&bench, 3 * SECOND_NS);
    lw_endpoint *callee;
    assert_int_equal(lw_endpoint_accept(bench.listener, count_wake, &bench.wakes, &callee), 0);
    assert_receive_fails(callee, ECONNRESET);
    tear_down(&bench);
}

/* ---- cuts ----------------------------------------------------------------------------------- */

static void a_cut_stalls_what_was_sent(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    lw_network_cut(bench.network, 0, 1, true);
    assert_int_equal(send_text(bench.caller, "stalled"), 0);
    assert_int_equal(send_text(bench.callee, "the other way"), 0);
    run_for(&bench, 2 * SECOND_NS);
    assert_receive_fails(bench.callee, EAGAIN);
    assert_receives(bench.caller, "the other way");
    lw_network_cut(bench.network, 0, 1, false);
    run_for(&bench, 2 * SECOND_NS);
    assert_receives(bench.callee, "stalled");
    tear_down(&bench);
}

static void patience_begins_anew_with_every_cut(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    for (uint32_t cut = 0; cut < 3; cut++) {
        lw_network_cut(bench.network, 1, 0, true);
        assert_int_equal(send_text(bench.callee, "stalled"), 0);
        run_for(&bench, LW_NETWORK_PATIENCE_NS - 2 * SECOND_NS);
        lw_network_cut(bench.network, 1, 0, false);
        run_for(&bench, 2 * SECOND_NS);
        assert_receives(bench.caller, "stalled");
    }
    tear_down(&bench);
}

static void a_long_cut_breaks_the_side_that_sends(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    lw_network_cut(bench.network, 1, 0, true);
    assert_int_equal(send_text(bench.callee, "lost"), 0);
    run_for(&bench, LW_NETWORK_PATIENCE_NS + 2 * SECOND_NS);
    assert_receive_fails(bench.callee, ETIMEDOUT);
    assert_int_equal(send_text(bench.callee, "more"), ETIMEDOUT);
    assert_receive_fails(bench.caller, EAGAIN);
    lw_network_cut(bench.network, 1, 0, false);
    run_for(&bench, 60 * SECOND_NS);
    assert_receive_fails(bench.caller, EAGAIN);
    assert_int_equal(send_text(bench.caller, "anybody there?"), 0);
    run_for(&bench, SECOND_NS);
    assert_receive_fails(bench.caller, ECONNRESET);
    tear_down(&bench);
}

static void an_idle_caller_outlives_a_cut_and_who_accepted_a_short_one(void **state) {
    (void)state;
    for (uint32_t seconds = 2; seconds <= 3600; seconds += 3598) {
        link_bench bench;
        set_up_link(&bench, 1);
        lw_network_cut(bench.network, 0, 1, true);
        lw_network_cut(bench.network, 1, 0, true);
        run_for(&bench, seconds * SECOND_NS);
        lw_network_cut(bench.network, 0, 1, false);
        lw_network_cut(bench.network, 1, 0, false);
        run_for(&bench, 10 * SECOND_NS);
        assert_receive_fails(bench.caller, EAGAIN);
        assert_int_equal(send_text(bench.caller, "still here"), 0);
        run_for(&bench, SECOND_NS);
        if (seconds == 2) {
            assert_receives(bench.callee, "still here");
        } else {
            assert_receive_fails(bench.callee, ETIMEDOUT);
            assert_receive_fails(bench.caller, ECONNRESET);
        }
        tear_down(&bench);
    }
}

/* Who has sent something that is not acknowledged is asked nothing by its system, but can ask. */
static void a_stalled_reply_is_unheard_and_keeps_the_connection(void **state) {
    (void)state;
    link_bench bench;
    uint64_t silence_ns = 0;
    set_up_link(&bench, 1);
    assert_false(lw_endpoint_unheard(bench.callee, &silence_ns));
    lw_network_power_loss(bench.network, 0);
    assert_int_equal(send_text(bench.callee, "a reply"), 0);
    run_for(&bench, LW_KEEPALIVE_NS + 2 * SECOND_NS);
    assert_true(lw_endpoint_unheard(bench.callee, &silence_ns));
    assert_true(silence_ns >= LW_KEEPALIVE_NS && silence_ns <= LW_KEEPALIVE_NS + 3 * SECOND_NS);
    run_for(&bench, 60 * SECOND_NS);
    assert_receive_fails(bench.callee, EAGAIN);
    tear_down(&bench);
}

static void who_takes_nothing_is_heard_all_the_same(void **state) {
    (void)state;
    link_bench bench;
    uint64_t silence_ns = 1;
    set_up_link(&bench, 1);
    uint8_t *much = calloc(1, LW_NETWORK_WINDOW);
    size_t count = 0;
    assert_int_equal(lw_endpoint_send(bench.callee, lw_view(much, LW_NETWORK_WINDOW), &count), 0);
    free(much);
    assert_int_equal(count, LW_NETWORK_WINDOW);
    run_for(&bench, 60 * SECOND_NS);
    assert_true(lw_endpoint_unheard(bench.callee, &silence_ns));
    assert_int_equal(silence_ns, 0);
    tear_down(&bench);
}

static void connecting_across_a_cut_times_out(void **state) {
    (void)state;
    link_bench bench;
    set_up(&bench, 1);
    listen_at(&bench, PORT);
    lw_network_cut(bench.network, 0, 1, true);
    lw_endpoint *caller = call(&bench);
    run_for(&bench, 10 * SECOND_NS);
    assert_int_equal(lw_endpoint_connected(caller), EAGAIN);
    run_for(&bench, LW_NETWORK_PATIENCE_NS);
    assert_int_equal(lw_endpoint_connected(caller), ETIMEDOUT);
    tear_down(&bench);
}

/* ---- power ---------------------------------------------------------------------------------- */

static void a_host_without_power_is_silent(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    lw_network_power_loss(bench.network, 1);
    run_for(&bench, 3600 * SECOND_NS);
    assert_receive_fails(bench.caller, EAGAIN);
    assert_int_equal(send_text(bench.caller, "hello?"), 0);
    run_for(&bench, LW_NETWORK_PATIENCE_NS + 2 * SECOND_NS);
    assert_receive_fails(bench.caller, ETIMEDOUT);
    tear_down(&bench);
}

static void who_accepted_finds_out_that_a_caller_has_no_power(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    lw_network_power_loss(bench.network, 0);
    run_for(&bench, LW_KEEPALIVE_NS - SECOND_NS);
    assert_receive_fails(bench.callee, EAGAIN);
    run_for(&bench, 2 * SECOND_NS);
    assert_receive_fails(bench.callee, ETIMEDOUT);
    tear_down(&bench);
}

static void a_host_that_came_back_resets_old_connections(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    lw_network_power_loss(bench.network, 1);
    run_for(&bench, SECOND_NS);
    lw_network_power_on(bench.network, 1);
    run_for(&bench, 60 * SECOND_NS);
    assert_receive_fails(bench.caller, EAGAIN);
    assert_int_equal(send_text(bench.caller, "hello?"), 0);
    run_for(&bench, SECOND_NS);
    assert_receive_fails(bench.caller, ECONNRESET);
    lw_endpoint *caller = call(&bench);
    run_for(&bench, SECOND_NS);
    assert_int_equal(lw_endpoint_connected(caller), ECONNREFUSED);
    listen_at(&bench, PORT);
    tear_down(&bench);
}

static void a_crash_may_be_told_at_once(void **state) {
    (void)state;
    link_bench bench;
    set_up_link(&bench, 1);
    bench.faults.rates[LW_FAULT_CRASH_RESET] = LW_FAULT_ALWAYS;
    lw_network_power_loss(bench.network, 1);
    run_for(&bench, SECOND_NS);
    assert_receive_fails(bench.caller, ECONNRESET);
    tear_down(&bench);
}

static void what_had_left_a_crashed_host_may_arrive(void **state) {
    (void)state;
    bool none = false, part = false, whole = false;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        link_bench bench;
        set_up_link(&bench, seed);
        assert_int_equal(send_text(bench.callee, "one,"), 0);
        assert_int_equal(send_text(bench.callee, "two"), 0);
        lw_network_power_loss(bench.network, 1);
        run_for(&bench, SECOND_NS);
        char text[65];
        int error = receive_text(bench.caller, text);
        none = none || error == EAGAIN;
        part = part || strcmp(text, "one,") == 0;
        whole = whole || strcmp(text, "one,two") == 0;
        tear_down(&bench);
    }
    assert_true(none && part && whole);
}

static void a_sender_with_a_full_window_learns_of_a_crash(void **state) {
    (void)state;
    for (uint32_t restarted = 0; restarted < 2; restarted++) {
        link_bench bench;
        set_up_link(&bench, 1);
        uint8_t *bytes = lw_allocate_zero(bench.memory, LW_NETWORK_WINDOW);
        size_t taken;
        assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, LW_NETWORK_WINDOW), &taken),
                         0);
        run_for(&bench, 2 * SECOND_NS);
        assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, 1), &taken), EAGAIN);
        run_for(&bench, 10 * SECOND_NS);
        lw_network_power_loss(bench.network, 1);
        if (restarted == 1) {
            lw_network_power_on(bench.network, 1);
        }
        run_for(&bench, LW_NETWORK_PATIENCE_NS + 5 * SECOND_NS);
        assert_int_equal(lw_endpoint_send(bench.caller, lw_view(bytes, 1), &taken),
                         restarted == 1 ? EPIPE : ETIMEDOUT);
        tear_down(&bench);
    }
}

static void a_reset_tells_both_sides(void **state) {
    (void)state;
    bool dropped = false, kept = false;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        link_bench bench;
        set_up_link(&bench, seed);
        assert_int_equal(send_text(bench.caller, "good"), 0);
        run_for(&bench, SECOND_NS);
        lw_dice_arm(lw_network_dice(bench.network), LW_FAULT_CONNECTION_RESET, 1);
        assert_int_equal(send_text(bench.caller, "bad"), 0);
        run_for(&bench, SECOND_NS);
        assert_receive_fails(bench.caller, ECONNRESET);
        char text[65];
        if (receive_text(bench.callee, text) == 0) {
            assert_string_equal(text, "good");
            kept = true;
        } else {
            dropped = true;
        }
        assert_receive_fails(bench.callee, ECONNRESET);
        tear_down(&bench);
    }
    assert_true(dropped && kept);
}

/* ---- slow ways ------------------------------------------------------------------------------ */

/* One connection is held up; what the same hosts say on another comes first, and what was on its
 * way comes all the same, behind the end of who sent it. */
static void what_is_late_on_one_connection_is_overtaken_on_another(void **state) {
    (void)state;
    uint32_t overtaken = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        link_bench bench;
        set_up_link(&bench, seed);
        lw_dice_arm(lw_network_dice(bench.network), LW_FAULT_LATE_SEGMENT, 1);
        assert_int_equal(send_text(bench.caller, "old"), 0);
        lw_endpoint_close(bench.caller);
        lw_endpoint *again = call(&bench), *callee = NULL;
        run_for(&bench, SECOND_NS);
        assert_int_equal(lw_endpoint_accept(bench.listener, count_wake, &bench.wakes, &callee), 0);
        assert_int_equal(send_text(again, "new"), 0);
        run_for(&bench, SECOND_NS);
        assert_receives(callee, "new");
        char text[65];
        bool late = receive_text(bench.callee, text) == EAGAIN;
        overtaken += late;
        run_for(&bench, 15 * SECOND_NS);
        if (late) {
            assert_receives(bench.callee, "old");
        }
        assert_receives(bench.callee, ""); /* the end */
        tear_down(&bench);
    }
    assert_in_range(overtaken, SEEDS / 2, SEEDS);
}

static void what_goes_a_thin_way_waits_for_what_went_before(void **state) {
    (void)state;
    link_bench bench;
    char text[65] = "0123456789012345678901234567890123456789012345678901234567890123";
    set_up_link(&bench, 1);
    lw_network_clamp(bench.network, 0, 1, sizeof(text) - 1);
    assert_int_equal(send_text(bench.caller, text), 0);
    assert_int_equal(send_text(bench.caller, "more"), 0);
    assert_int_equal(send_text(bench.callee, "back"), 0);
    run_for(&bench, SECOND_NS / 2);
    assert_receives(bench.caller, "back"); /* the way back is another */
    assert_receive_fails(bench.callee, EAGAIN);
    run_for(&bench, SECOND_NS / 2 + SECOND_NS / 100);
    assert_receives(bench.callee, text);
    assert_receive_fails(bench.callee, EAGAIN);
    run_for(&bench, SECOND_NS / 10);
    assert_receives(bench.callee, "more");
    lw_network_clamp(bench.network, 0, 1, 0);
    assert_int_equal(send_text(bench.caller, text), 0);
    run_for(&bench, SECOND_NS / 100);
    assert_receives(bench.callee, text);
    tear_down(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_whole_and_in_order),
        cmocka_unit_test(a_full_window_waits_for_the_reader),
        cmocka_unit_test(a_window_that_opens_is_used_at_once),
        cmocka_unit_test(a_crashed_reader_makes_no_room),
        cmocka_unit_test(a_closed_stream_ends_behind_its_bytes),
        cmocka_unit_test(closing_with_unread_bytes_resets),
        cmocka_unit_test(a_connection_that_is_over_leaves_no_memory),
        cmocka_unit_test(nobody_listening_refuses),
        cmocka_unit_test(a_port_has_one_listener),
        cmocka_unit_test(names_mean_hosts),
        cmocka_unit_test(a_closed_listener_resets_those_who_wait),
        cmocka_unit_test(a_full_backlog_makes_callers_wait),
        cmocka_unit_test(a_caller_that_left_resets_who_accepts),
        cmocka_unit_test(a_cut_stalls_what_was_sent),
        cmocka_unit_test(patience_begins_anew_with_every_cut),
        cmocka_unit_test(a_long_cut_breaks_the_side_that_sends),
        cmocka_unit_test(an_idle_caller_outlives_a_cut_and_who_accepted_a_short_one),
        cmocka_unit_test(a_stalled_reply_is_unheard_and_keeps_the_connection),
        cmocka_unit_test(who_takes_nothing_is_heard_all_the_same),
        cmocka_unit_test(connecting_across_a_cut_times_out),
        cmocka_unit_test(a_host_without_power_is_silent),
        cmocka_unit_test(who_accepted_finds_out_that_a_caller_has_no_power),
        cmocka_unit_test(a_host_that_came_back_resets_old_connections),
        cmocka_unit_test(a_crash_may_be_told_at_once),
        cmocka_unit_test(what_had_left_a_crashed_host_may_arrive),
        cmocka_unit_test(a_sender_with_a_full_window_learns_of_a_crash),
        cmocka_unit_test(a_reset_tells_both_sides),
        cmocka_unit_test(what_is_late_on_one_connection_is_overtaken_on_another),
        cmocka_unit_test(what_goes_a_thin_way_waits_for_what_went_before),
    };
    return cmocka_run_group_tests(tests, arm_alarm, NULL) ? 1 : 0;
}
