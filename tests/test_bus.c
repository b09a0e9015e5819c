/* SPDX-License-Identifier: Apache-2.0 */
/* lattice/bus: what all buses have in common. */
#include "lattice/broker_text.h"
#include "lattice/bus.h"
#include "lattice/bus_ring.h"
#include "lattice/bus_wire.h"

#include "tests/unit.h"

#include <pthread.h>
#include <sched.h>

static void what_comes_late_or_twice_is_not_newer(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_bus_heard heard = lw_bus_heard_in(memory);
    assert_true(lw_bus_hear(&heard, 7, 3, 10));
    assert_false(lw_bus_hear(&heard, 7, 3, 10));
    assert_false(lw_bus_hear(&heard, 7, 3, 9));
    assert_true(lw_bus_hear(&heard, 7, 3, 12));
    /* Another node counts for itself. */
    assert_true(lw_bus_hear(&heard, 5, 1, 1));
    /* A node that begins anew counts from the start, and what is left of its past is late. */
    assert_true(lw_bus_hear(&heard, 7, 4, 1));
    assert_false(lw_bus_hear(&heard, 7, 3, 99));
    assert_true(lw_bus_hear(&heard, 7, 4, 2));
    lw_bus_heard_reset(&heard);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
}

static void speakers_are_kept_apart_in_any_order_and_bounded(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_bus_heard heard = lw_bus_heard_in(memory);
    uint64_t seed = 1, nodes[5000];
    uint32_t count = 0;
    for (uint32_t index = 0; index < 5000; index++) {
        nodes[index] = unit_random(&seed);
        count += lw_bus_hear(&heard, nodes[index], 1, index + 1);
    }
    assert_int_equal(count, 4096);
    for (uint32_t index = 0; index < 4096; index++) {
        assert_false(lw_bus_hear(&heard, nodes[index], 1, index + 1));
        assert_true(lw_bus_hear(&heard, nodes[index], 1, index + 2));
    }
    assert_false(lw_bus_hear(&heard, nodes[4999], 1, 10000));
    lw_bus_heard_reset(&heard);
    lw_memory_close(memory);
}

static void who_has_spoken_lately_is_counted_once(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_bus_heard heard = lw_bus_heard_in(memory);
    assert_int_equal(lw_bus_heard_lately(&heard), 0);
    assert_true(lw_bus_hear(&heard, 7, 1, 1));
    assert_true(lw_bus_hear(&heard, 7, 1, 2));
    assert_true(lw_bus_hear(&heard, 8, 1, 1));
    assert_int_equal(lw_bus_heard_lately(&heard), 2);
    assert_true(lw_bus_hear(&heard, 7, 1, 3));
    assert_true(lw_bus_hear(&heard, 7, 1, 4));
    assert_false(lw_bus_hear(&heard, 8, 1, 1));
    assert_int_equal(lw_bus_heard_lately(&heard), 1);
    assert_int_equal(lw_bus_heard_lately(&heard), 0);
    lw_bus_heard_reset(&heard);
    lw_memory_close(memory);
}

static void note_change(void *argument) {
    (*(uint32_t *)argument)++;
}

static void a_change_of_state_is_told_once(void **state) {
    (void)state;
    uint32_t changes = 0;
    lw_bus bus = {.state = LW_BUS_STARTING};
    lw_bus_options options = {.changed = note_change, .argument = &changes};
    lw_bus_set_state(&bus, &options, LW_BUS_UP, NULL);
    lw_bus_set_state(&bus, &options, LW_BUS_UP, "is not kept");
    assert_int_equal(changes, 1);
    lw_bus_set_state(&bus, &options, LW_BUS_DEGRADED, "the broker ended");
    lw_bus_set_state(&bus, &options, LW_BUS_DEGRADED, "the broker ended");
    assert_int_equal(changes, 2);
    assert_string_equal(bus.reason, "the broker ended");
    lw_bus_set_state(&bus, &options, LW_BUS_UP, NULL);
    assert_string_equal(bus.reason, "");
    assert_int_equal(bus.figures.connects, 2);
}

/* ---- messages that others can see ----------------------------------------------------------- */

static const uint8_t lattice[LW_BUS_LATTICE_SIZE] = {
    0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
static const uint8_t key[LW_BUS_KEY_SIZE] = "a key of thirty-two bytes, as it";
static const char all_events[] = "lw1.0123456789abcdeffedcba9876543210.all.ev";

static void subjects_are_made_of_hexadecimal_digits(void **state) {
    (void)state;
    char subject[LW_BUS_SUBJECT_SIZE];
    lw_bus_subject(lattice, 0, LW_BUS_EVENT, subject);
    assert_string_equal(subject, all_events);
    lw_bus_subject(lattice, 0xbeef, LW_BUS_ANSWER, subject);
    assert_string_equal(subject, "lw1.0123456789abcdeffedcba9876543210.000000000000beef.ans");
    lw_bus_subscription(lattice, 0xbeef, subject);
    assert_string_equal(subject, "lw1.0123456789abcdeffedcba9876543210.000000000000beef.*");
}

static void only_subjects_for_this_node_are_read(void **state) {
    (void)state;
    char subject[LW_BUS_SUBJECT_SIZE];
    lw_bus_kind kind;
    bool directed;
    for (uint32_t each = 1; each <= LW_BUS_KIND_LAST; each++) {
        lw_bus_subject(lattice, 0, (lw_bus_kind)each, subject);
        assert_true(lw_bus_subject_parse(lattice, 7, lw_text(subject), &kind, &directed));
        assert_int_equal(kind, each);
        assert_false(directed);
        lw_bus_subject(lattice, 7, (lw_bus_kind)each, subject);
        assert_true(lw_bus_subject_parse(lattice, 7, lw_text(subject), &kind, &directed));
        assert_int_equal(kind, each);
        assert_true(directed);
        assert_false(lw_bus_subject_parse(lattice, 8, lw_text(subject), &kind, &directed));
        subject[5] ^= 1;
        assert_false(lw_bus_subject_parse(lattice, 7, lw_text(subject), &kind, &directed));
    }
    assert_false(lw_bus_subject_parse(lattice, 7, lw_text(""), &kind, &directed));
    lw_bus_subscription(lattice, 0, subject);
    assert_false(lw_bus_subject_parse(lattice, 7, lw_text(subject), &kind, &directed));
}

static size_t seal_words(uint8_t message[LW_BUS_MESSAGE_SIZE_MAX]) {
    lw_bus_origin origin = {.node = 0x1122334455667788, .incarnation = 2, .sequence = 3};
    memset(origin.salt, 0x44, sizeof(origin.salt));
    return lw_bus_message_seal(key, &origin, lw_text(all_events), lw_text("words"), message);
}

static void a_message_has_its_golden_bytes(void **state) {
    (void)state;
    uint8_t message[LW_BUS_MESSAGE_SIZE_MAX];
    char text[2 * 62 + 1];
    assert_int_equal(seal_words(message), 62);
    lw_hex_print(lw_view(message, 62), text);
    assert_string_equal(text, "018877665544332211"
                              "0200000000000000"
                              "44444444444444444444444444444444"
                              "0300000000000000"
                              "37a13344a334398ca755437cc7de3fcb142624fbf6");
}

static void a_message_is_what_its_sender_said(void **state) {
    (void)state;
    uint8_t message[LW_BUS_MESSAGE_SIZE_MAX], body[LW_BUS_BODY_SIZE_MAX];
    size_t size = seal_words(message), body_size = 0;
    lw_bus_origin origin;
    assert_true(lw_bus_message_open(key, lw_text(all_events), lw_view(message, size), &origin, body,
                                    &body_size));
    assert_int_equal(origin.node, 0x1122334455667788);
    assert_int_equal(origin.incarnation, 2);
    assert_int_equal(origin.sequence, 3);
    assert_true(lw_equal(lw_view(body, body_size), lw_text("words")));
}

static void a_message_that_was_changed_is_none(void **state) {
    (void)state;
    uint8_t message[LW_BUS_MESSAGE_SIZE_MAX], body[LW_BUS_BODY_SIZE_MAX], other_key[32];
    size_t size = seal_words(message), body_size;
    lw_bus_origin origin;
    lw_bytes subject = lw_text(all_events);
    for (size_t bit = 0; bit < size * 8; bit++) {
        message[bit / 8] ^= (uint8_t)(1 << (bit % 8));
        assert_false(
            lw_bus_message_open(key, subject, lw_view(message, size), &origin, body, &body_size));
        message[bit / 8] ^= (uint8_t)(1 << (bit % 8));
    }
    for (size_t cut = 0; cut < size; cut++) {
        assert_false(
            lw_bus_message_open(key, subject, lw_view(message, cut), &origin, body, &body_size));
    }
    memcpy(other_key, key, sizeof(other_key));
    other_key[31] ^= 1;
    assert_false(
        lw_bus_message_open(other_key, subject, lw_view(message, size), &origin, body, &body_size));
    assert_false(lw_bus_message_open(key, lw_text("lw1.0123456789abcdeffedcba9876543210.all.sh"),
                                     lw_view(message, size), &origin, body, &body_size));
    assert_true(
        lw_bus_message_open(key, subject, lw_view(message, size), &origin, body, &body_size));
}

/* ---- the ring between two threads ----------------------------------------------------------- */

enum { RING_SIZE = 1024, RING_RECORDS = 200000 };

static size_t ring_record_size(uint32_t number) {
    return number * 2654435761U % (RING_SIZE / 2 - 8);
}

static void *put_records(void *argument) {
    lw_ring *ring = argument;
    uint8_t bytes[RING_SIZE];
    for (uint32_t number = 0; number < RING_RECORDS; number++) {
        size_t size = ring_record_size(number);
        memset(bytes, (int)(number & 0xff), size);
        while (!lw_ring_put(ring, lw_view(bytes, size / 3), lw_view(bytes, size - size / 3))) {
            sched_yield();
        }
    }
    return NULL;
}

static void a_ring_hands_over_every_record_whole_and_in_order(void **state) {
    (void)state;
    static _Alignas(8) uint8_t room[RING_SIZE];
    lw_ring ring = {.data = room, .size = RING_SIZE};
    pthread_t thread;
    uint32_t wrong = 0;
    assert_int_equal(pthread_create(&thread, NULL, put_records, &ring), 0);
    for (uint32_t number = 0; number < RING_RECORDS; number++) {
        lw_bytes record;
        while (!lw_ring_peek(&ring, &record)) {
            sched_yield();
        }
        wrong += record.size != ring_record_size(number);
        for (size_t index = 0; index < record.size; index++) {
            wrong += record.data[index] != (number & 0xff);
        }
        lw_ring_drop(&ring, record);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(wrong, 0);
}

static void a_full_ring_takes_nothing_more(void **state) {
    (void)state;
    static _Alignas(8) uint8_t room[RING_SIZE];
    lw_ring ring = {.data = room, .size = RING_SIZE};
    uint8_t bytes[RING_SIZE] = {0};
    lw_bytes record = {0};
    assert_false(lw_ring_put(&ring, lw_view(bytes, RING_SIZE), lw_view(NULL, 0)));
    assert_false(lw_ring_peek(&ring, &record));
    for (uint32_t index = 0; index < 8; index++) {
        assert_true(lw_ring_put(&ring, lw_view(bytes, 100), lw_view(bytes, 24)));
    }
    assert_false(lw_ring_put(&ring, lw_view(bytes, 0), lw_view(bytes, 0)));
    assert_true(lw_ring_peek(&ring, &record));
    lw_ring_drop(&ring, record);
    assert_true(lw_ring_put(&ring, lw_view(bytes, 0), lw_view(bytes, 0)));
}

/* ---- what is written for a nats-server, and read from it ------------------------------------ */

static void a_configuration_has_its_golden_text(void **state) {
    (void)state;
    static const char *const routes[] = {"10.0.0.2:8871", "[fd00::3]:8871"};
    lw_memory *memory = lw_memory_open();
    lw_buffer text = lw_buffer_in(memory);
    lw_broker_config config = {.node = 0xa1,
                               .client_port = 4321,
                               .route_listen = "10.0.0.1:8871",
                               .route_address = "10.0.0.1:8871",
                               .client_token = "00112233445566778899aabbccddeeff",
                               .route_password = "ffeeddccbbaa99887766554433221100",
                               .routes = routes,
                               .route_count = 2};
    memcpy(config.lattice, lattice, sizeof(lattice));
    lw_broker_config_print(&config, &text);
    lw_buffer_append_u8(&text, 0);
    assert_string_equal(
        (const char *)text.data,
        "# Written by lathwork at every start of its broker.\n"
        "server_name: \"00000000000000a1\"\n"
        "listen: \"127.0.0.1:4321\"\n"
        "ports_file_dir: \".\"\n"
        "pid_file: \"nats.pid\"\n"
        "log_file: \"nats.log\"\n"
        "logfile_size_limit: 8MB\n"
        "max_payload: 256KB\n"
        "max_pending: 8MB\n"
        "max_control_line: 1KB\n"
        "max_connections: 16\n"
        "max_subscriptions: 256\n"
        "write_deadline: \"2s\"\n"
        "ping_interval: \"2s\"\n"
        "ping_max: 2\n"
        "authorization { token: \"00112233445566778899aabbccddeeff\", timeout: 2 }\n"
        "cluster {\n"
        "  name: \"0123456789abcdeffedcba9876543210\"\n"
        "  listen: \"10.0.0.1:8871\"\n"
        "  advertise: \"10.0.0.1:8871\"\n"
        "  no_advertise: true\n"
        "  connect_retries: 30\n"
        "  authorization { user: \"lattice\", password: "
        "\"ffeeddccbbaa99887766554433221100\", timeout: 2 }\n"
        "  routes = [\n"
        "    \"nats-route://lattice:ffeeddccbbaa99887766554433221100@10.0.0.2:8871\"\n"
        "    \"nats-route://lattice:ffeeddccbbaa99887766554433221100@[fd00::3]:8871\"\n"
        "  ]\n"
        "}\n");
    lw_buffer_reset(&text);
    lw_memory_close(memory);
}

static void secrets_differ_between_nodes_where_they_should(void **state) {
    (void)state;
    lw_broker_config one = {.node = 1}, two = {.node = 2}, other = {.node = 1};
    uint8_t other_key[LW_BUS_KEY_SIZE] = {0};
    lw_broker_secrets(key, &one);
    lw_broker_secrets(key, &two);
    lw_broker_secrets(other_key, &other);
    assert_int_equal(strlen(one.client_token), 32);
    assert_int_equal(strspn(one.client_token, "0123456789abcdef"), 32);
    assert_string_not_equal(one.client_token, two.client_token);
    assert_string_equal(one.route_password, two.route_password);
    assert_string_not_equal(one.client_token, one.route_password);
    assert_string_not_equal(one.client_token, other.client_token);
    assert_string_not_equal(one.route_password, other.route_password);
}

static void an_address_that_could_be_more_than_that_is_refused(void **state) {
    (void)state;
    static const char *const good[] = {"10.0.0.1:8871", "node-3.example:1", "[fd00::3]:65535"};
    static const char *const bad[] = {"",         "10.0.0.1",      "10.0.0.1:0",
                                      "host\":1", "host\n:1",      "user@host:1",
                                      "a b:1",    "[fd00::3\"]:1", "host/x:1"};
    for (size_t index = 0; index < sizeof(good) / sizeof(good[0]); index++) {
        assert_true(lw_broker_address_good(good[index]));
    }
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        assert_false(lw_broker_address_good(bad[index]));
    }
}

static void a_ports_file_is_believed_once_it_is_whole(void **state) {
    (void)state;
    static const char whole[] =
        "{\"nats\":[\"nats://127.0.0.1:38271\"],\"cluster\":[\"nats://127.0.0.1:18248\"]}";
    uint16_t port = 0;
    for (size_t size = 0; size < sizeof(whole) - 1; size++) {
        assert_false(lw_broker_ports_parse(lw_view(whole, size), &port));
    }
    assert_true(lw_broker_ports_parse(lw_text(whole), &port));
    assert_int_equal(port, 38271);
    assert_false(lw_broker_ports_parse(lw_text("{\"nats\":[\"nats://127.0.0.1:70000\"]}"), &port));
    assert_false(lw_broker_ports_parse(lw_text("{\"nats\":[\"nats://10.0.0.1:4222\"]}"), &port));
    assert_false(lw_broker_ports_parse(lw_text("{\"nats\":[\"nats://127.0.0.1:}"), &port));
}

static void the_servers_complaint_is_found(void **state) {
    (void)state;
    char text[80];
    lw_broker_complaint(lw_text("[1] 2026/01/01 [INF] Starting\n"
                                "[1] 2026/01/01 [FTL] Error listening: address already in use\n"
                                "[1] 2026/01/01 [INF] Exiting\n"),
                        lw_text("printed\n"), text, sizeof(text));
    assert_string_equal(text, "Error listening: address already in use");
    lw_broker_complaint(lw_text("[1] [INF] Starting\n"),
                        lw_text("first\nnats-server: Parse error on line 8\n\n"), text,
                        sizeof(text));
    assert_string_equal(text, "nats-server: Parse error on line 8");
    lw_broker_complaint(lw_text(""), lw_text("\n"), text, sizeof(text));
    assert_string_equal(text, "");
}

static void a_server_that_is_too_old_is_refused(void **state) {
    (void)state;
    assert_int_equal(lw_broker_version_check(lw_text("nats-server: v2.9.10\n")), LW_OK);
    assert_int_equal(lw_broker_version_check(lw_text("nats-server: v2.11.0-dev\n")), LW_OK);
    assert_int_equal(lw_broker_version_check(lw_text("nats-server: v3.0.0\n")), LW_OK);
    assert_int_equal(lw_broker_version_check(lw_text("nats-server: v2.8.4\n")), LW_REFUSED);
    assert_int_equal(lw_broker_version_check(lw_text("nats-server: v1.99\n")), LW_REFUSED);
    assert_int_equal(lw_broker_version_check(lw_text("")), LW_REFUSED);
    assert_int_equal(lw_broker_version_check(lw_text("cannot be executed\n")), LW_REFUSED);
    assert_non_null(strstr(lw_error_slot()->text, "it says \"cannot be executed\""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_late_or_twice_is_not_newer),
        cmocka_unit_test(speakers_are_kept_apart_in_any_order_and_bounded),
        cmocka_unit_test(who_has_spoken_lately_is_counted_once),
        cmocka_unit_test(a_change_of_state_is_told_once),
        cmocka_unit_test(subjects_are_made_of_hexadecimal_digits),
        cmocka_unit_test(only_subjects_for_this_node_are_read),
        cmocka_unit_test(a_message_has_its_golden_bytes),
        cmocka_unit_test(a_message_is_what_its_sender_said),
        cmocka_unit_test(a_message_that_was_changed_is_none),
        cmocka_unit_test(a_ring_hands_over_every_record_whole_and_in_order),
        cmocka_unit_test(a_full_ring_takes_nothing_more),
        cmocka_unit_test(a_configuration_has_its_golden_text),
        cmocka_unit_test(secrets_differ_between_nodes_where_they_should),
        cmocka_unit_test(an_address_that_could_be_more_than_that_is_refused),
        cmocka_unit_test(a_ports_file_is_believed_once_it_is_whole),
        cmocka_unit_test(the_servers_complaint_is_found),
        cmocka_unit_test(a_server_that_is_too_old_is_refused),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
