/* SPDX-License-Identifier: Apache-2.0 */
/* lattice/greeting: its bytes, and that a card is worth nothing with another key, in another
 * lattice, or changed. */
#include "lattice/greeting.h"

#include "lattice/message.h"
#include "tests/unit.h"

typedef struct shown {
    lw_memory *memory;
    lw_identity identity;
    uint8_t exchange[LW_EXCHANGE_SIZE], cluster[LW_SHARED_ID_SIZE];
    lw_buffer card;
} shown;

static shown show(void) {
    shown it = {.memory = lw_memory_open(), .exchange = {1}, .cluster = {2}};
    uint8_t seed[LW_SEED_SIZE] = {3};
    lw_identity_derive(seed, &it.identity);
    it.card = lw_buffer_in(it.memory);
    lw_peer_card card = {.incarnation = 4, .run = 5, .address = lw_text("alpha:7871")};
    lw_card_encode(&it.identity, &card, it.exchange, it.cluster, &it.card);
    return it;
}

static void the_bytes_of_a_greeting_are_these(void **state) {
    (void)state;
    static const uint8_t expected[] = {'L', 'W', '0', '1', 24, 0, 1, 2, 1, 1, 7, 0, 0, 0, 9,
                                       9,   9,   9,   9,   9,  9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
    lw_memory *memory = lw_memory_open();
    lw_buffer bytes = lw_buffer_in(memory);
    lw_greeting greeting = {.protocol_min = 1,
                            .protocol_max = 2,
                            .kind = LW_GREETING_NODE,
                            .plain = true,
                            .key_epoch = 7},
                read;
    memset(greeting.cluster_id, 9, sizeof(greeting.cluster_id));
    lw_greeting_encode(&greeting, &bytes);
    assert_int_equal(bytes.size, sizeof(expected));
    assert_memory_equal(bytes.data, expected, sizeof(expected));
    assert_true(lw_greeting_begins(lw_buffer_view(&bytes)));
    for (size_t size = 0; size < bytes.size; size++) {
        lw_bytes rest = lw_view(bytes.data, size);
        assert_int_equal(lw_greeting_take(&rest, &read), LW_NOT_FOUND);
    }
    lw_buffer_append_u8(&bytes, 'x');
    lw_bytes rest = lw_buffer_view(&bytes);
    assert_int_equal(lw_greeting_take(&rest, &read), LW_OK);
    assert_int_equal(rest.size, 1);
    assert_int_equal(read.key_epoch, 7);
    assert_true(read.plain);
    assert_memory_equal(read.cluster_id, greeting.cluster_id, sizeof(read.cluster_id));
    lw_memory_close(memory);
}

static void no_client_begins_as_a_node_does(void **state) {
    (void)state;
    uint32_t size = 0;
    assert_int_equal(lw_frame_size((const uint8_t *)"LW01", &size), LW_INVALID_ARGUMENT);
    assert_false(lw_greeting_begins(lw_text("LW0")));
    assert_false(lw_greeting_begins(lw_text("GET /")));
}

/* Only the place of the protocols is the same for ever. */
static void a_greeting_of_the_future_is_refused_by_its_protocol(void **state) {
    (void)state;
    uint8_t bytes[] = {'L', 'W', '0', '1', 5, 0, 9, 12, 200, 201, 202};
    lw_greeting read;
    lw_bytes rest = lw_view(bytes, sizeof(bytes));
    assert_int_equal(lw_greeting_take(&rest, &read), LW_REFUSED);
    assert_non_null(strstr(lw_error_slot()->text, "protocol 9 to 12"));
    bytes[6] = 1; /* it speaks ours too, but not so */
    assert_int_equal(lw_greeting_take(&rest, &read), LW_INVALID_ARGUMENT);
    bytes[5] = 1; /* as much as 261 bytes */
    assert_int_equal(lw_greeting_take(&rest, &read), LW_INVALID_ARGUMENT);
}

static void a_card_tells_who_shows_it(void **state) {
    (void)state;
    shown it = show();
    lw_peer_card card;
    assert_int_equal(lw_card_decode(lw_buffer_view(&it.card), it.exchange, it.cluster, NULL, &card),
                     LW_OK);
    assert_int_equal(card.node_id, lw_identity_number(it.identity.public_key));
    assert_memory_equal(card.public_key, it.identity.public_key, LW_PUBLIC_KEY_SIZE);
    assert_int_equal(card.incarnation, 4);
    assert_int_equal(card.run, 5);
    assert_true(lw_equal(card.address, lw_text("alpha:7871")));
    lw_memory_close(it.memory);
}

static void a_card_is_worth_nothing_changed_or_elsewhere(void **state) {
    (void)state;
    shown it = show();
    lw_peer_card card;
    for (size_t bit = 0; bit < 8 * it.card.size; bit++) {
        it.card.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_not_equal(
            lw_card_decode(lw_buffer_view(&it.card), it.exchange, it.cluster, NULL, &card), LW_OK);
        it.card.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t size = 0; size < it.card.size; size++) {
        assert_int_equal(
            lw_card_decode(lw_view(it.card.data, size), it.exchange, it.cluster, NULL, &card),
            LW_INVALID_ARGUMENT);
    }
    it.exchange[0]++; /* somebody else's key */
    assert_int_equal(lw_card_decode(lw_buffer_view(&it.card), it.exchange, it.cluster, NULL, &card),
                     LW_REFUSED);
    it.exchange[0]--;
    it.cluster[0]++; /* another lattice */
    assert_int_equal(lw_card_decode(lw_buffer_view(&it.card), it.exchange, it.cluster, NULL, &card),
                     LW_REFUSED);
    lw_memory_close(it.memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_a_greeting_are_these),
        cmocka_unit_test(no_client_begins_as_a_node_does),
        cmocka_unit_test(a_greeting_of_the_future_is_refused_by_its_protocol),
        cmocka_unit_test(a_card_tells_who_shows_it),
        cmocka_unit_test(a_card_is_worth_nothing_changed_or_elsewhere),
    };
    return cmocka_run_group_tests_name("greeting", tests, unit_arm, NULL) != 0;
}
