/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a stranger may send: a greeting, a step of a handshake, a message of it, a
 * card, a record, a token. What is accepted is, byte for byte, what its writer writes; without the
 * keys nothing is accepted. */
#include "lattice/greeting.h"
#include "lattice/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t psk[LW_SHARED_KEY_SIZE] = "the key of the lattice";

static void check_greeting(lw_bytes input, lw_memory *memory) {
    lw_bytes rest = input;
    lw_greeting greeting;
    lw_buffer again = lw_buffer_in(memory);
    if (lw_greeting_take(&rest, &greeting) == LW_OK) {
        lw_greeting_encode(&greeting, &again);
        LW_ASSERT(lw_starts_with(input, lw_buffer_view(&again)));
        LW_ASSERT(again.size == input.size - rest.size);
        LW_ASSERT(again.size <= LW_GREETING_SIZE_MAX);
    } else {
        LW_ASSERT(rest.size == input.size);
    }
}

static void check_step(lw_bytes input, lw_memory *memory) {
    lw_bytes rest = input, body;
    lw_step_kind kind;
    lw_buffer again = lw_buffer_in(memory);
    if (lw_step_take(&rest, &kind, &body) == LW_OK) {
        lw_step_encode(kind, body, &again);
        LW_ASSERT(lw_equal(lw_buffer_view(&again), lw_view(input.data, again.size)));
        LW_ASSERT(again.size == input.size - rest.size);
    }
}

/* Nobody signs by chance. */
static void check_card(lw_bytes input) {
    static const uint8_t exchange[LW_EXCHANGE_SIZE], cluster[LW_SHARED_ID_SIZE];
    lw_peer_card card;
    LW_ASSERT(lw_card_decode(input, exchange, cluster, NULL, &card) != LW_OK);
}

static void check_message(lw_bytes input, lw_memory *memory) {
    static const uint8_t secret[LW_EXCHANGE_SIZE] = {1}, ephemeral[LW_EXCHANGE_SIZE] = {2};
    uint8_t public_key[LW_EXCHANGE_SIZE];
    lw_exchange_public(secret, public_key);
    lw_noise_keys keys = {.static_secret = secret,
                          .static_public = public_key,
                          .ephemeral_secret = ephemeral,
                          .psk = psk};
    lw_noise noise;
    lw_buffer payload = lw_buffer_in(memory);
    lw_noise_init(&noise, false, &keys, lw_text("prologue"));
    LW_ASSERT(!lw_noise_read(&noise, input, &payload));
    LW_ASSERT(noise.failed);
}

static void check_record(lw_bytes input, lw_memory *memory) {
    lw_noise_cipher cipher = {.key = "a key"};
    lw_buffer plain = lw_buffer_in(memory);
    lw_bytes rest = input;
    LW_ASSERT(lw_records_open(&cipher, &rest, &plain) != LW_OK);
    LW_ASSERT(plain.size == 0);
}

static void check_token(lw_bytes input) {
    lw_token token;
    char text[LW_TOKEN_TEXT_SIZE];
    if (lw_token_parse(input, &token) == LW_OK) {
        lw_token_print(&token, text);
        LW_ASSERT(input.size >= strlen(text));
        LW_ASSERT(memmem(input.data, input.size, text, strlen(text)) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    lw_memory *memory = lw_memory_open();
    lw_bytes input = lw_view(data + 1, size - 1);
    switch (data[0] % 6) {
    case 0:
        check_greeting(input, memory);
        break;
    case 1:
        check_step(input, memory);
        break;
    case 2:
        check_card(input);
        break;
    case 3:
        check_message(input, memory);
        break;
    case 4:
        check_record(input, memory);
        break;
    default:
        check_token(input);
        break;
    }
    lw_memory_close(memory);
    return 0;
}
