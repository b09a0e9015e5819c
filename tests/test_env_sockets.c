/* SPDX-License-Identifier: Apache-2.0 */
/* base/env: sockets, in both real worlds. */
#include "tests/env_worlds.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

enum {
    MESSAGE_SIZE = 16 * 1024 * 1024, /* more than a socket takes at once */
    CHUNK_SIZE = 64 * 1024,
};

static uint8_t message_byte(size_t index, uint32_t seed) {
    return (uint8_t)(((uint32_t)index + seed) * 2654435761U >> 24);
}

static bool send_message(fixture *in, lw_handle socket, uint32_t seed) {
    uint8_t *bytes = lw_allocate(in->env->memory, MESSAGE_SIZE);
    for (size_t index = 0; index < MESSAGE_SIZE; index++) {
        bytes[index] = message_byte(index, seed);
    }
    lw_status status =
        lw_socket_send(in->env, socket, lw_view(bytes, MESSAGE_SIZE), in->deadline_ns);
    lw_free(in->env->memory, bytes);
    return status == LW_OK;
}

static bool receive_message(fixture *in, lw_handle socket, uint32_t seed) {
    uint8_t *chunk = lw_allocate(in->env->memory, CHUNK_SIZE);
    size_t total = 0;
    bool good = true;
    while (good && total < MESSAGE_SIZE) {
        size_t size = 0;
        good = lw_socket_receive(in->env, socket, chunk, CHUNK_SIZE, in->deadline_ns, &size) ==
                   LW_OK &&
               size > 0;
        for (size_t index = 0; good && index < size; index++) {
            good = chunk[index] == message_byte(total + index, seed);
        }
        total += size;
    }
    lw_free(in->env->memory, chunk);
    return good;
}

static void server_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    uint8_t byte;
    size_t size = 99;
    EXPECT(in, lw_socket_accept(in->env, in->listener, &socket) == LW_OK);
    EXPECT(in, receive_message(in, socket, 1));
    EXPECT(in, send_message(in, socket, 2));
    EXPECT(in, lw_socket_receive(in->env, socket, &byte, 1, in->deadline_ns, &size) == LW_OK);
    EXPECT(in, size == 0);
    lw_socket_close(in->env, socket);
    note(in, 's');
}

static void client_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    EXPECT(in, lw_socket_connect(in->env, in->address, in->deadline_ns, &socket) == LW_OK);
    EXPECT(in, send_message(in, socket, 1));
    EXPECT(in, receive_message(in, socket, 2));
    lw_socket_close(in->env, socket);
    note(in, 'c');
}

/* Writes durably while the two above talk: with somebody waiting meanwhile and with nobody. */
static void write_main(void *argument) {
    fixture *in = argument;
    lw_handle file;
    uint64_t number, read_back = 0;
    size_t size = 0;
    EXPECT(in, lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file) == LW_OK);
    for (number = 1; number <= 200; number++) {
        EXPECT(in, lw_file_write(in->env, file, number * sizeof(number),
                                 lw_view(&number, sizeof(number)), LW_WRITE_DURABLE) == LW_OK);
    }
    for (number = 1; number <= 200; number++) {
        EXPECT(in, lw_file_read(in->env, file, number * sizeof(number), &read_back,
                                sizeof(read_back), &size) == LW_OK);
        EXPECT(in, size == sizeof(read_back) && read_back == number);
    }
    lw_file_close(in->env, file);
    note(in, 'w');
}

static void two_fibers_talk_over_a_socket(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_env_start(in->env, "server", server_main, in);
    lw_env_start(in->env, "client", client_main, in);
    run_fibers(in);
    assert_string_equal(in->trace, "cs");
}

static void durable_writes_stand_with_and_without_a_crowd(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_env_start(in->env, "server", server_main, in);
    lw_env_start(in->env, "client", client_main, in);
    lw_env_start(in->env, "write", write_main, in);
    run_fibers(in);
    assert_non_null(strchr(in->trace, 'w'));
    assert_non_null(strchr(in->trace, 's'));
}

static void names_of_hosts_are_resolved(void **state) {
    fixture *in = *state;
    listen_here(in);
    const char *port = strchr(in->address, ':');
    char address[LW_ADDRESS_SIZE];
    snprintf(address, sizeof(address), "localhost%s", port);
    memcpy(in->address, address, sizeof(address));
    lw_env_start(in->env, "server", server_main, in);
    lw_env_start(in->env, "client", client_main, in);
    run_fibers(in);
    assert_string_equal(in->trace, "cs");
}

static void a_port_in_use_is_named(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_handle second;
    char text[LW_ADDRESS_SIZE + 64];
    snprintf(text, sizeof(text), "cannot listen on \"%s\": Address already in use; another process",
             in->address);
    assert_fails(lw_socket_listen(in->env, in->address, &second, NULL), LW_REFUSED, text);
}

static void let_go_main(void *argument) {
    fixture *in = argument;
    lw_env_sleep(in->env, 300ULL * 1000 * 1000);
    lw_socket_close(in->env, in->listener);
}

static void take_over_main(void *argument) {
    fixture *in = argument;
    lw_handle second;
    EXPECT(in, lw_socket_listen(in->env, in->address, &second, NULL) == LW_OK);
    lw_socket_close(in->env, second);
    note(in, 't');
}

static void a_port_that_is_let_go_soon_is_waited_for(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_env_start(in->env, "let go", let_go_main, in);
    lw_env_start(in->env, "take over", take_over_main, in);
    run_fibers(in);
    assert_string_equal(in->trace, "t");
}

static void nobody_listening_is_named(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_socket_close(in->env, in->listener);
    lw_handle socket;
    char text[LW_ADDRESS_SIZE + 64];
    snprintf(text, sizeof(text), "cannot connect to \"%s\": Connection refused", in->address);
    assert_fails(lw_socket_connect(in->env, in->address, in->deadline_ns, &socket), LW_UNAVAILABLE,
                 text);
}

static void addresses_are_checked_before_they_are_used(void **state) {
    fixture *in = *state;
    static const struct {
        const char *address, *words;
    } wrong[] = {
        {"localhost", "names no port"},
        {":80", "names no host"},
        {"[]:80", "names no host"},
        {"::1:80", "more than one colon"},
        {"[::1]80", "]:"},
        {"[::1", "]:"},
        {"host:", "no port between 0 and 65535"},
        {"host:65536", "no port between 0 and 65535"},
        {"host:8x", "no port between"},
        {"host:0000080", "no port between"},
    };
    lw_handle socket;
    for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
        assert_fails(lw_socket_listen(in->env, wrong[index].address, &socket, NULL),
                     LW_INVALID_ARGUMENT, wrong[index].words);
        assert_fails(lw_socket_connect(in->env, wrong[index].address, 0, &socket),
                     LW_INVALID_ARGUMENT, wrong[index].address);
    }
    char host[LW_HOST_SIZE];
    uint16_t port = 1;
    assert_int_equal(lw_address_split("[fe80::1]:65535", host, &port), LW_OK);
    assert_string_equal(host, "fe80::1");
    assert_int_equal(port, 65535);
    assert_int_equal(lw_address_split("db.example:0", host, &port), LW_OK);
    assert_string_equal(host, "db.example");
    assert_int_equal(port, 0);
}

static void a_receive_ends_at_its_deadline(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    char text[8];
    size_t size = 99;
    uint64_t deadline_ns = lw_env_now(in->env) + 20 * MILLISECOND;
    assert_fails(lw_socket_receive(in->env, other, text, sizeof(text), deadline_ns, &size),
                 LW_TIMEOUT, "the deadline passed");
    assert_true(lw_env_now(in->env) >= deadline_ns);
    assert_int_equal(size, 99);
    /* The socket works on. */
    assert_int_equal(lw_socket_send(in->env, in->socket, lw_text("late"), in->deadline_ns), LW_OK);
    assert_int_equal(lw_socket_receive(in->env, other, text, sizeof(text), in->deadline_ns, &size),
                     LW_OK);
    assert_int_equal(size, 4);
}

/* What nobody reads has no room; the system at the other end, which says so, is no silence. */
static void what_has_not_arrived_is_unheard_and_no_silence(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    uint64_t silence_ns = UINT64_MAX;
    uint8_t *bytes = lw_allocate_zero(in->env->memory, MESSAGE_SIZE);
    assert_false(lw_socket_unheard(in->env, in->socket, &silence_ns));
    uint64_t deadline_ns = lw_env_now(in->env) + 500 * MILLISECOND;
    assert_int_equal(lw_socket_send(in->env, in->socket, lw_view(bytes, MESSAGE_SIZE), deadline_ns),
                     LW_TIMEOUT);
    assert_true(lw_socket_unheard(in->env, in->socket, &silence_ns));
    assert_true(silence_ns < LW_KEEPALIVE_NS);
    size_t size = 1;
    deadline_ns = lw_env_now(in->env) + 500 * MILLISECOND;
    while (lw_socket_receive(in->env, other, bytes, MESSAGE_SIZE, deadline_ns, &size) == LW_OK) {
    }
    assert_false(lw_socket_unheard(in->env, in->socket, &silence_ns));
    lw_free(in->env->memory, bytes);
}

static void a_send_that_nobody_reads_ends_at_its_deadline(void **state) {
    fixture *in = *state;
    (void)connect_pair(in);
    size_t size = 64 * 1024 * 1024;
    uint8_t *bytes = lw_allocate_zero(in->env->memory, size);
    uint64_t deadline_ns = lw_env_now(in->env) + 20 * MILLISECOND;
    assert_fails(lw_socket_send(in->env, in->socket, lw_view(bytes, size), deadline_ns), LW_TIMEOUT,
                 "cannot send on socket");
    lw_free(in->env->memory, bytes);
}

static void a_cancelled_operation_completes_all_the_same(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    uint32_t completed = 0;
    char byte;
    lw_op ops[] = {
        {.kind = LW_OP_RECEIVE, .handle = other, .buffer = &byte, .size = 1},
        {.kind = LW_OP_ACCEPT, .handle = in->listener},
        {.kind = LW_OP_TIMER, .deadline_ns = in->deadline_ns},
    };
    enum { COUNT = sizeof(ops) / sizeof(ops[0]) };
    for (size_t turned = 0; turned < 2; turned++) {
        completed = 0;
        for (size_t index = 0; index < COUNT; index++) {
            ops[index].complete = count_main;
            ops[index].owner = &completed;
            lw_env_submit(in->env, &ops[index]);
        }
        if (turned == 1) {
            lw_env_turn(in->env, false);
            lw_env_turn(in->env, false);
        }
        for (size_t index = 0; index < COUNT; index++) {
            lw_env_cancel(in->env, &ops[index]);
            lw_env_cancel(in->env, &ops[index]);
        }
        assert_int_equal(completed, 0);
        while (completed < COUNT) {
            lw_env_turn(in->env, true);
        }
        for (size_t index = 0; index < COUNT; index++) {
            assert_int_equal(ops[index].status, LW_TIMEOUT);
            lw_env_cancel(in->env, &ops[index]);
        }
        lw_env_turn(in->env, false);
        assert_int_equal(completed, COUNT);
    }
}

static void more_may_wait_than_the_ring_takes_at_once(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    enum { COUNT = 700 };
    static lw_op ops[COUNT];
    uint32_t completed = 0;
    assert_int_equal(lw_socket_send(in->env, other, lw_text("x"), in->deadline_ns), LW_OK);
    for (size_t index = 0; index < COUNT; index++) {
        ops[index] = (lw_op){.kind = LW_OP_ACCEPT,
                             .handle = in->listener,
                             .complete = count_main,
                             .owner = &completed};
        lw_env_submit(in->env, &ops[index]);
    }
    /* They wait for ever; what is submitted behind them does not, and ends none of them. */
    lw_socket_close(in->env, other);
    char byte = 0;
    size_t size = 0;
    assert_int_equal(lw_socket_receive(in->env, in->socket, &byte, 1, in->deadline_ns, &size),
                     LW_OK);
    assert_int_equal(byte, 'x');
    assert_int_equal(completed, 0);
    for (size_t index = 0; index < COUNT; index++) {
        lw_env_cancel(in->env, &ops[index]);
    }
    while (completed < COUNT) {
        lw_env_turn(in->env, true);
    }
    for (size_t index = 0; index < COUNT; index++) {
        assert_int_equal(ops[index].status, LW_TIMEOUT);
    }
}

static void blocked_main(void *argument) {
    fixture *in = argument;
    char byte;
    size_t size;
    EXPECT(in, lw_socket_receive(in->env, in->socket, &byte, 1, in->deadline_ns, &size) ==
                   LW_UNAVAILABLE);
    note(in, 'b');
}

static void acceptor_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    EXPECT(in, lw_socket_accept(in->env, in->listener, &socket) == LW_UNAVAILABLE);
    note(in, 'a');
}

static void closer_main(void *argument) {
    fixture *in = argument;
    lw_env_sleep(in->env, 5 * MILLISECOND);
    lw_socket_close(in->env, in->socket);
    lw_socket_close(in->env, in->listener);
}

static void closing_a_socket_ends_what_waits_for_it(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    lw_env_start(in->env, "blocked", blocked_main, in);
    lw_env_start(in->env, "acceptor", acceptor_main, in);
    lw_env_start(in->env, "closer", closer_main, in);
    run_fibers(in);
    assert_string_equal(in->trace, "ba");
    /* The other end hears of it. */
    char byte;
    size_t size = 99;
    assert_int_equal(lw_socket_receive(in->env, other, &byte, 1, in->deadline_ns, &size), LW_OK);
    assert_int_equal(size, 0);
    /* The port is free again. */
    assert_int_equal(lw_socket_listen(in->env, in->address, &in->listener, NULL), LW_OK);
}

static void sending_to_a_closed_peer_fails(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    lw_socket_close(in->env, other);
    lw_status status = LW_OK;
    for (size_t round = 0; round < 100 && status == LW_OK; round++) {
        status = lw_socket_send(in->env, in->socket, lw_text("x"), in->deadline_ns);
        lw_env_sleep(in->env, MILLISECOND);
    }
    assert_int_equal(status, LW_UNAVAILABLE);
}

static void handles_may_be_opened_while_others_wait(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    enum { COUNT = 200 };
    lw_handle files[COUNT];
    uint32_t completed = 0;
    char byte;
    lw_op ops[2];
    for (size_t index = 0; index < 2; index++) {
        ops[index] = (lw_op){.kind = LW_OP_RECEIVE,
                             .handle = index == 0 ? other : in->socket,
                             .buffer = &byte,
                             .size = 1,
                             .complete = count_main,
                             .owner = &completed};
        lw_env_submit(in->env, &ops[index]);
    }
    for (size_t index = 0; index < COUNT; index++) {
        assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &files[index]), LW_OK);
    }
    lw_env_cancel(in->env, &ops[0]);
    assert_int_equal(lw_socket_send(in->env, other, lw_text("x"), in->deadline_ns), LW_OK);
    while (completed < 2) {
        lw_env_turn(in->env, true);
    }
    assert_int_equal(ops[0].status, LW_TIMEOUT);
    assert_int_equal(ops[1].status, LW_OK);
    assert_int_equal(byte, 'x');
    for (size_t index = 0; index < COUNT; index++) {
        lw_file_close(in->env, files[index]);
    }
}

int main(void) {
    static const struct CMUnitTest stories[] = {
        STORY(two_fibers_talk_over_a_socket),
        STORY(durable_writes_stand_with_and_without_a_crowd),
        STORY(names_of_hosts_are_resolved),
        STORY(a_port_in_use_is_named),
        STORY(a_port_that_is_let_go_soon_is_waited_for),
        STORY(nobody_listening_is_named),
        STORY(addresses_are_checked_before_they_are_used),
        STORY(a_receive_ends_at_its_deadline),
        STORY(what_has_not_arrived_is_unheard_and_no_silence),
        STORY(a_send_that_nobody_reads_ends_at_its_deadline),
        STORY(a_cancelled_operation_completes_all_the_same),
        STORY(more_may_wait_than_the_ring_takes_at_once),
        STORY(closing_a_socket_ends_what_waits_for_it),
        STORY(sending_to_a_closed_peer_fails),
        STORY(handles_may_be_opened_while_others_wait),
    };
    return tell_in_both(stories, sizeof(stories) / sizeof(stories[0]));
}
