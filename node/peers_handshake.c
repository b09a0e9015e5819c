/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake as straight code: each side says and reads its steps, and says what went wrong in
 * words that fit the side it was on. */
#include "node/peers_handshake.h"

#include <inttypes.h>

enum {
    WORDS_SIZE_MAX = 400, /* of a refusal that is shown */
};

void lw_presence_init(lw_presence *presence, lw_env *env, const lw_node_identity *identity,
                      const uint8_t cluster_id[LW_SHARED_ID_SIZE], uint64_t run,
                      const char *address) {
    *presence = (lw_presence){.identity = identity, .known = lw_env_known(env), .run = run};
    memcpy(presence->cluster_id, cluster_id, LW_SHARED_ID_SIZE);
    size_t size = strlen(address) + 1;
    LW_ASSERT(size <= sizeof(presence->address));
    memcpy(presence->address, address, size);
    presence->card = lw_buffer_in(env->memory);
    lw_peer_card card = {.node_id = identity->node_id,
                         .incarnation = identity->incarnation,
                         .run = run,
                         .address = lw_text(presence->address)};
    lw_card_encode(&identity->keys, &card, identity->exchange_public, cluster_id, &presence->card);
}

void lw_presence_reset(lw_presence *presence) {
    lw_buffer_reset(&presence->card);
}

bool lw_address_is_loopback(const char *address) {
    char host[LW_HOST_SIZE];
    uint16_t port = 0;
    return lw_address_split(address, host, &port) == LW_OK &&
           (strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 ||
            strcmp(host, "::1") == 0);
}

/* ---- steps -------------------------------------------------------------------------------- */

static void begin(lw_wire *wire, const lw_presence *presence, bool initiator,
                  const uint8_t psk[LW_SHARED_KEY_SIZE], lw_bytes prologue, lw_noise *noise) {
    uint8_t ephemeral[LW_EXCHANGE_SIZE];
    lw_env_entropy(wire->env, ephemeral, sizeof(ephemeral));
    lw_noise_keys keys = {.static_secret = presence->identity->exchange_secret,
                          .static_public = presence->identity->exchange_public,
                          .ephemeral_secret = ephemeral,
                          .psk = psk,
                          .known = presence->known};
    lw_noise_init(noise, initiator, &keys, prologue);
    lw_seal_wipe(ephemeral, sizeof(ephemeral));
}

/* Appends a step that carries the next message of the handshake to `out`. */
static lw_status write_message(lw_noise *noise, lw_bytes payload, lw_buffer *out) {
    lw_buffer message = lw_buffer_in(out->memory);
    bool good = lw_noise_write(noise, payload, &message);
    if (good) {
        lw_step_encode(LW_STEP_NOISE, lw_buffer_view(&message), out);
    }
    lw_buffer_reset(&message);
    return good ? LW_OK
                : lw_fail(LW_REFUSED, "the other side's key is one that is good for nothing");
}

/* Sends the next message, after what is in `out` already. */
LW_YIELDS static lw_status say_message(lw_wire *wire, lw_noise *noise, lw_bytes payload,
                                       lw_buffer *out, uint64_t deadline_ns) {
    LW_TRY(write_message(noise, payload, out));
    return lw_wire_say(wire, lw_buffer_view(out), deadline_ns);
}

/* Reads the next message. `wrong` says what it means when it does not open. */
LW_YIELDS static lw_status read_message(lw_wire *wire, lw_noise *noise, const char *wrong,
                                        lw_buffer *payload, uint64_t deadline_ns) {
    lw_step_kind kind = LW_STEP_NOISE;
    lw_bytes body;
    LW_TRY(lw_wire_read_step(wire, deadline_ns, &kind, &body));
    if (kind == LW_STEP_REFUSED) {
        char words[WORDS_SIZE_MAX];
        return lw_fail(LW_REFUSED, "%s", lw_printable(body, words, sizeof(words)));
    }
    lw_buffer_clear(payload);
    if (!lw_noise_read(noise, body, payload)) {
        return lw_fail(LW_REFUSED, "%s", wrong);
    }
    return LW_OK;
}

static lw_status read_card(const lw_noise *noise, const lw_presence *presence,
                           const lw_buffer *said, lw_peer_card *card) {
    return lw_card_decode(lw_buffer_view(said), noise->remote_static, presence->cluster_id,
                          presence->known, card);
}

/* ---- who dials ---------------------------------------------------------------------------- */

static const char *wrong_answer(const lw_greeting *greeting) {
    return greeting->kind == LW_GREETING_NEWCOMER
               ? "it does not know the token's secret: it is no member of the token's lattice"
               : "it does not know the lattice's key: it is no member, or somebody stands between";
}

LW_YIELDS static lw_status shake(lw_wire *wire, lw_noise *noise, const lw_presence *presence,
                                 const lw_greeting *greeting, uint64_t node, uint64_t deadline_ns,
                                 lw_buffer *out, lw_buffer *said, lw_peer_card *card) {
    LW_TRY(say_message(wire, noise, (lw_bytes){0}, out, deadline_ns));
    LW_TRY(read_message(wire, noise, wrong_answer(greeting), said, deadline_ns));
    LW_TRY(read_card(noise, presence, said, card));
    if (node != 0 && card->node_id != node) {
        return lw_fail(LW_REFUSED, "another node answers there, %016" PRIx64, card->node_id);
    }
    lw_buffer_clear(out);
    return say_message(wire, noise, lw_buffer_view(&presence->card), out, deadline_ns);
}

lw_status lw_handshake_begin(lw_wire *wire, const lw_presence *presence,
                             const lw_greeting *greeting, uint64_t node,
                             const uint8_t psk[LW_SHARED_KEY_SIZE], uint64_t deadline_ns,
                             lw_buffer *said, lw_peer_card *card) {
    lw_noise noise;
    lw_buffer out = lw_buffer_in(wire->env->memory);
    lw_greeting_encode(greeting, &out);
    begin(wire, presence, true, psk, lw_buffer_view(&out), &noise);
    lw_status status = shake(wire, &noise, presence, greeting, node, deadline_ns, &out, said, card);
    if (status == LW_OK) {
        lw_wire_protect(wire, &noise, greeting->plain);
    }
    lw_seal_wipe(&noise, sizeof(noise));
    lw_buffer_reset(&out);
    return status;
}

/* ---- who was dialled ---------------------------------------------------------------------- */

lw_status lw_handshake_listen(lw_wire *wire, uint64_t deadline_ns, lw_greeting *greeting,
                              size_t *size) {
    for (;;) {
        lw_bytes unread = lw_wire_unread(wire);
        lw_bytes rest = unread;
        lw_status status = lw_greeting_take(&rest, greeting);
        if (status != LW_NOT_FOUND) {
            *size = unread.size - rest.size;
            return status;
        }
        LW_TRY(lw_wire_fill(wire, deadline_ns));
    }
}

static const char *wrong_caller(const lw_greeting *greeting) {
    return greeting->kind == LW_GREETING_NEWCOMER
               ? "the token's secret is wrong: copy the whole token, or make another with "
                 "`lathwork token`"
               : "it does not know the lattice's key: it is no member, or its key was changed";
}

LW_YIELDS static lw_status answer(lw_wire *wire, lw_noise *noise, const lw_presence *presence,
                                  const lw_greeting *greeting, uint64_t deadline_ns, lw_buffer *out,
                                  lw_buffer *said, lw_peer_card *card) {
    LW_TRY(read_message(wire, noise, wrong_caller(greeting), said, deadline_ns));
    LW_TRY(say_message(wire, noise, lw_buffer_view(&presence->card), out, deadline_ns));
    LW_TRY(read_message(wire, noise, "its handshake was changed on the way", said, deadline_ns));
    return read_card(noise, presence, said, card);
}

lw_status lw_handshake_answer(lw_wire *wire, const lw_presence *presence,
                              const lw_greeting *greeting, size_t size,
                              const uint8_t psk[LW_SHARED_KEY_SIZE], uint64_t deadline_ns,
                              lw_buffer *said, lw_peer_card *card) {
    lw_noise noise;
    lw_bytes unread = lw_wire_unread(wire);
    LW_ASSERT(size <= unread.size);
    begin(wire, presence, false, psk, lw_view(unread.data, size), &noise);
    lw_wire_keep(wire, unread.size - size);
    lw_buffer out = lw_buffer_in(wire->env->memory);
    lw_status status = answer(wire, &noise, presence, greeting, deadline_ns, &out, said, card);
    if (status == LW_OK) {
        lw_wire_protect(wire, &noise, greeting->plain);
    }
    lw_seal_wipe(&noise, sizeof(noise));
    lw_buffer_reset(&out);
    return status;
}

void lw_handshake_refuse(lw_wire *wire, uint64_t deadline_ns) {
    lw_error why = *lw_error_slot();
    lw_buffer out = lw_buffer_in(wire->env->memory);
    lw_step_encode(LW_STEP_REFUSED, lw_text(why.text), &out);
    lw_status status = lw_wire_say(wire, lw_buffer_view(&out), deadline_ns);
    (void)status; /* then it is not told */
    lw_buffer_reset(&out);
    *lw_error_slot() = why;
}
