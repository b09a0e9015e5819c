/* SPDX-License-Identifier: Apache-2.0 */
/* lattice/noise: the handshake byte for byte as the specification has it (noise_reference.h, which
 * was held against the published vectors of the XX patterns), and that nothing changed, cut,
 * repeated or left out is taken for what was said. */
#include "lattice/noise.h"

#include "tests/noise_reference.h"

#include <stdio.h>
#include <stdlib.h>

static const char name[] = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";
static const char *const tokens[] = {"psk,e", "e,ee,s,es", "s,se"};
static const char *const payloads[] = {"", "who I am", "and who I am, in more words"};

typedef struct pair {
    lw_memory *memory;
    lw_noise initiator, responder;
    lw_buffer messages[3];
    lw_buffer payload;
} pair;

static void fill(uint8_t *bytes, uint8_t first) {
    for (uint8_t index = 0; index < 32; index++) {
        bytes[index] = (uint8_t)(first + index);
    }
}

static void begin(lw_noise *noise, bool initiator, uint8_t psk_first, const char *prologue) {
    uint8_t secret[32], public_key[32], ephemeral[32], psk[32];
    fill(secret, initiator ? 1 : 65);
    fill(ephemeral, initiator ? 33 : 97);
    fill(psk, psk_first);
    lw_exchange_public(secret, public_key);
    lw_noise_keys keys = {.static_secret = secret,
                          .static_public = public_key,
                          .ephemeral_secret = ephemeral,
                          .psk = psk};
    lw_noise_init(noise, initiator, &keys, lw_text(prologue));
}

static void pair_open(pair *both, uint8_t psk_first, const char *prologue) {
    *both = (pair){.memory = lw_memory_open()};
    for (int step = 0; step < 3; step++) {
        both->messages[step] = lw_buffer_in(both->memory);
    }
    both->payload = lw_buffer_in(both->memory);
    begin(&both->initiator, true, 200, "prologue");
    begin(&both->responder, false, psk_first, prologue);
}

static lw_noise *writer(pair *both, int step) {
    return step % 2 == 0 ? &both->initiator : &both->responder;
}
static lw_noise *reader(pair *both, int step) {
    return step % 2 == 0 ? &both->responder : &both->initiator;
}

static void write_step(pair *both, int step) {
    assert_true(lw_noise_write(writer(both, step), lw_text(payloads[step]), &both->messages[step]));
}

/* Writes and reads the steps before this one. */
static void up_to(pair *both, int end) {
    for (int step = 0; step < end; step++) {
        write_step(both, step);
        lw_buffer_clear(&both->payload);
        assert_true(lw_noise_read(reader(both, step), lw_buffer_view(&both->messages[step]),
                                  &both->payload));
        assert_true(lw_equal(lw_buffer_view(&both->payload), lw_text(payloads[step])));
    }
}

static void split(pair *both, lw_noise_cipher *sending, lw_noise_cipher *receiving) {
    lw_noise_cipher other_sending, other_receiving;
    up_to(both, 3);
    lw_noise_split(&both->initiator, sending, &other_receiving);
    lw_noise_split(&both->responder, &other_sending, receiving);
    assert_memory_equal(sending, receiving, sizeof(*sending));
    assert_memory_equal(&other_sending, &other_receiving, sizeof(other_sending));
    assert_memory_not_equal(sending->key, other_sending.key, sizeof(sending->key));
}

/* ---- the handshake ------------------------------------------------------------------------ */

static void reference_open(reference_party *party, bool initiator) {
    *party = (reference_party){0};
    fill(party->s, initiator ? 1 : 65);
    fill(party->e, initiator ? 33 : 97);
    fill(party->psks[0], 200);
    reference_begin(party, initiator, name, lw_text("prologue"));
}

static void every_byte_is_as_the_specification_says(void **state) {
    (void)state;
    pair both;
    reference_party initiator, responder;
    pair_open(&both, 200, "prologue");
    up_to(&both, 3);
    reference_open(&initiator, true);
    reference_open(&responder, false);
    for (int step = 0; step < 3; step++) {
        reference_message message;
        uint8_t payload[64];
        reference_write(step % 2 == 0 ? &initiator : &responder, tokens[step],
                        lw_text(payloads[step]), &message);
        assert_int_equal(message.size, both.messages[step].size);
        assert_memory_equal(message.bytes, both.messages[step].data, message.size);
        assert_int_equal(reference_read(step % 2 == 0 ? &responder : &initiator, tokens[step],
                                        &message, payload),
                         strlen(payloads[step]));
    }
    assert_memory_equal(both.initiator.hash, initiator.h, 32);
    assert_memory_equal(both.responder.hash, responder.h, 32);
    assert_memory_equal(both.initiator.remote_static, responder.s_public, 32);
    assert_memory_equal(both.responder.remote_static, initiator.s_public, 32);
    uint8_t keys[64];
    lw_noise_cipher sending, receiving;
    reference_split(&initiator, keys);
    lw_noise_split(&both.initiator, &sending, &receiving);
    assert_memory_equal(sending.key, keys, 32);
    assert_memory_equal(receiving.key, keys + 32, 32);
    lw_memory_close(both.memory);
}

/* So that no later version speaks differently without anybody noticing. */
static void the_bytes_of_the_messages_are_these(void **state) {
    (void)state;
    static const char *const digests[] = {
        "c3356a134efa5ae1",
        "f001c1238b1c24b1",
        "52cf9ac49528ee54",
    };
    pair both;
    pair_open(&both, 200, "prologue");
    up_to(&both, 3);
    assert_int_equal(both.messages[0].size, LW_NOISE_FIRST_SIZE + strlen(payloads[0]));
    assert_int_equal(both.messages[1].size, LW_NOISE_SECOND_SIZE + strlen(payloads[1]));
    assert_int_equal(both.messages[2].size, LW_NOISE_THIRD_SIZE + strlen(payloads[2]));
    for (int step = 0; step < 3; step++) {
        uint8_t digest[LW_DIGEST_SIZE];
        char hex[17];
        lw_digest(lw_buffer_view(&both.messages[step]), digest);
        (void)snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)lw_get_u64(digest));
        assert_string_equal(hex, digests[step]);
    }
    lw_memory_close(both.memory);
}

static void every_flipped_bit_and_every_cut_is_refused(void **state) {
    (void)state;
    for (int step = 0; step < 3; step++) {
        pair both;
        pair_open(&both, 200, "prologue");
        up_to(&both, step);
        write_step(&both, step);
        lw_buffer *message = &both.messages[step];
        for (size_t bit = 0; bit < 8 * message->size; bit++) {
            lw_noise copy = *reader(&both, step);
            message->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_false(lw_noise_read(&copy, lw_buffer_view(message), &both.payload));
            message->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            /* After that nothing is good any more. */
            assert_false(lw_noise_read(&copy, lw_buffer_view(message), &both.payload));
        }
        for (size_t size = 0; size < message->size; size++) {
            lw_noise copy = *reader(&both, step);
            assert_false(lw_noise_read(&copy, lw_view(message->data, size), &both.payload));
        }
        lw_noise copy = *reader(&both, step);
        lw_buffer_append_u8(message, 0);
        assert_false(lw_noise_read(&copy, lw_buffer_view(message), &both.payload));
        lw_memory_close(both.memory);
    }
}

static void another_secret_or_prologue_fails_at_the_first_message(void **state) {
    (void)state;
    static const struct {
        uint8_t psk_first;
        const char *prologue;
    } cases[] = {{201, "prologue"}, {200, "prologuf"}, {200, ""}};
    for (size_t index = 0; index < 3; index++) {
        pair both;
        pair_open(&both, cases[index].psk_first, cases[index].prologue);
        write_step(&both, 0);
        assert_false(
            lw_noise_read(&both.responder, lw_buffer_view(&both.messages[0]), &both.payload));
        lw_memory_close(both.memory);
    }
}

/* Points with which everybody agrees on the same. */
static void a_key_that_is_good_for_nothing_is_refused(void **state) {
    (void)state;
    pair both;
    reference_party initiator;
    reference_message message;
    pair_open(&both, 200, "prologue");
    reference_open(&initiator, true);
    memset(initiator.e_public, 0, 32);
    reference_write(&initiator, tokens[0], (lw_bytes){0}, &message);
    assert_true(lw_noise_read(&both.responder, lw_view(message.bytes, message.size),
                              &both.payload)); /* who sent it does know the secret */
    assert_false(lw_noise_write(&both.responder, (lw_bytes){0}, &both.messages[1]));
    lw_memory_close(both.memory);
}

/* ---- records ------------------------------------------------------------------------------ */

static void records_carry_any_number_of_bytes(void **state) {
    (void)state;
    static const size_t sizes[] = {
        1, 200, LW_RECORD_PLAIN_SIZE_MAX, LW_RECORD_PLAIN_SIZE_MAX + 1, 1000000,
    };
    pair both;
    lw_noise_cipher sending, receiving;
    pair_open(&both, 200, "prologue");
    split(&both, &sending, &receiving);
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        lw_buffer plain = lw_buffer_in(both.memory), records = lw_buffer_in(both.memory);
        lw_buffer opened = lw_buffer_in(both.memory);
        for (size_t at = 0; at < sizes[index]; at++) {
            lw_buffer_append_u8(&plain, (uint8_t)(at * 7));
        }
        lw_records_seal(&sending, lw_buffer_view(&plain), &records);
        size_t count = (sizes[index] - 1) / LW_RECORD_PLAIN_SIZE_MAX + 1;
        assert_int_equal(records.size,
                         sizes[index] + count * (LW_RECORD_HEADER_SIZE + LW_SEAL_TAG_SIZE));
        lw_bytes rest = lw_buffer_view(&records);
        while (rest.size > 0) {
            assert_int_equal(lw_records_open(&receiving, &rest, &opened), LW_OK);
        }
        assert_true(lw_equal(lw_buffer_view(&opened), lw_buffer_view(&plain)));
    }
    lw_memory_close(both.memory);
}

static void a_record_opens_once_whole_unchanged_and_in_its_turn(void **state) {
    (void)state;
    pair both;
    lw_noise_cipher sending, receiving, copy;
    pair_open(&both, 200, "prologue");
    split(&both, &sending, &receiving);
    lw_buffer records = lw_buffer_in(both.memory), opened = lw_buffer_in(both.memory);
    lw_records_seal(&sending, lw_text("the first"), &records);
    size_t first = records.size;
    lw_records_seal(&sending, lw_text("the second"), &records);
    for (size_t size = 0; size < first; size++) {
        lw_bytes rest = lw_view(records.data, size);
        copy = receiving;
        assert_int_equal(lw_records_open(&copy, &rest, &opened), LW_NOT_FOUND);
        assert_int_equal(rest.size, size);
        assert_memory_equal(&copy, &receiving, sizeof(copy));
    }
    for (size_t bit = 0; bit < 8 * first; bit++) {
        lw_bytes rest = lw_buffer_view(&records);
        records.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        copy = receiving;
        assert_int_not_equal(lw_records_open(&copy, &rest, &opened), LW_OK);
        records.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    /* Left out, and repeated. */
    lw_bytes second = lw_view(records.data + first, records.size - first);
    copy = receiving;
    assert_int_equal(lw_records_open(&copy, &second, &opened), LW_INVALID_ARGUMENT);
    lw_bytes rest = lw_buffer_view(&records);
    assert_int_equal(lw_records_open(&receiving, &rest, &opened), LW_OK);
    lw_bytes again = lw_buffer_view(&records);
    copy = receiving;
    assert_int_equal(lw_records_open(&copy, &again, &opened), LW_INVALID_ARGUMENT);
    assert_int_equal(lw_records_open(&receiving, &rest, &opened), LW_OK);
    assert_true(lw_equal(lw_buffer_view(&opened), lw_text("the firstthe second")));
    lw_memory_close(both.memory);
}

static void both_sides_change_the_key_before_the_same_record(void **state) {
    (void)state;
    pair both;
    lw_noise_cipher sending, receiving;
    pair_open(&both, 200, "prologue");
    split(&both, &sending, &receiving);
    lw_buffer records = lw_buffer_in(both.memory), opened = lw_buffer_in(both.memory);
    sending.nonce = receiving.nonce = LW_RECORDS_PER_KEY - 1;
    uint8_t key[32], sealed[48], nonce[12], zeros[32] = {0};
    memcpy(key, sending.key, 32);
    lw_records_seal(&sending, lw_text("the last of the old key"), &records);
    assert_memory_equal(sending.key, key, 32);
    lw_records_seal(&sending, lw_text("the first of the new"), &records);
    reference_nonce(UINT64_MAX, nonce);
    lw_seal(key, nonce, (lw_bytes){0}, lw_view(zeros, 32), sealed);
    assert_memory_equal(sending.key, sealed, 32);
    assert_int_equal(sending.nonce, LW_RECORDS_PER_KEY + 1);
    lw_bytes rest = lw_buffer_view(&records);
    assert_int_equal(lw_records_open(&receiving, &rest, &opened), LW_OK);
    assert_int_equal(lw_records_open(&receiving, &rest, &opened), LW_OK);
    assert_memory_equal(sending.key, receiving.key, 32);
    lw_memory_close(both.memory);
}

static void a_record_that_cannot_be_is_refused_before_it_is_whole(void **state) {
    (void)state;
    static const uint32_t sizes[] = {0, 1, LW_SEAL_TAG_SIZE, LW_NOISE_MESSAGE_SIZE_MAX + 1,
                                     UINT32_MAX};
    lw_memory *memory = lw_memory_open();
    lw_buffer opened = lw_buffer_in(memory);
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        lw_noise_cipher cipher = {0};
        uint8_t header[LW_RECORD_HEADER_SIZE];
        lw_put_u32(header, sizes[index]);
        lw_bytes rest = lw_view(header, sizeof(header));
        assert_int_equal(lw_records_open(&cipher, &rest, &opened), LW_INVALID_ARGUMENT);
    }
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_as_the_specification_says),
        cmocka_unit_test(the_bytes_of_the_messages_are_these),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_refused),
        cmocka_unit_test(another_secret_or_prologue_fails_at_the_first_message),
        cmocka_unit_test(a_key_that_is_good_for_nothing_is_refused),
        cmocka_unit_test(records_carry_any_number_of_bytes),
        cmocka_unit_test(a_record_opens_once_whole_unchanged_and_in_its_turn),
        cmocka_unit_test(both_sides_change_the_key_before_the_same_record),
        cmocka_unit_test(a_record_that_cannot_be_is_refused_before_it_is_whole),
    };
    return cmocka_run_group_tests_name("noise", tests, unit_arm, NULL) != 0;
}
