/* SPDX-License-Identifier: Apache-2.0 */
/* Greetings, steps and cards, written and read. What is read is held against what could have been
 * written before any of it is believed. */
#include "lattice/greeting.h"

#include "lattice/message.h"

enum {
    GREETING_BODY_SIZE = 4 + 4 + LW_SHARED_ID_SIZE,
    CARD_ADDRESS_AT = 4 + LW_PUBLIC_KEY_SIZE + 8 + 8 + 2,
};
static const char magic[4] = {'L', 'W', '0', '1'};
static const char card_magic[4] = {'L', 'W', 'c', '1'};

/* The magic, read as a size, is 0x3130574c. */
_Static_assert(0x3130574c > LW_FRAME_SIZE_MAX, "told from every client's first frame");

/* ---- the greeting ------------------------------------------------------------------------- */

bool lw_greeting_begins(lw_bytes received) {
    return lw_starts_with(received, lw_view(magic, sizeof(magic)));
}

void lw_greeting_encode(const lw_greeting *greeting, lw_buffer *out) {
    bool newcomer = greeting->kind == LW_GREETING_NEWCOMER;
    uint8_t size[2];
    lw_put_u16(size, (uint16_t)(GREETING_BODY_SIZE + (newcomer ? LW_TOKEN_CLAIMS_SIZE : 0)));
    lw_buffer_append(out, lw_view(magic, sizeof(magic)));
    lw_buffer_append(out, lw_view(size, sizeof(size)));
    lw_buffer_append_u8(out, greeting->protocol_min);
    lw_buffer_append_u8(out, greeting->protocol_max);
    lw_buffer_append_u8(out, (uint8_t)greeting->kind);
    lw_buffer_append_u8(out, greeting->plain ? 1 : 0);
    lw_buffer_append_u32(out, greeting->key_epoch);
    lw_buffer_append(out, lw_view(greeting->cluster_id, LW_SHARED_ID_SIZE));
    if (newcomer) {
        lw_buffer_append(out, lw_view(greeting->claims, LW_TOKEN_CLAIMS_SIZE));
    }
}

/* Of another version the rest may look different: its protocols are looked at first. */
static lw_status read_greeting(lw_bytes body, lw_greeting *greeting) {
    if (body.size < 2) {
        return lw_fail(LW_INVALID_ARGUMENT, "the greeting is too short");
    }
    *greeting = (lw_greeting){.protocol_min = body.data[0], .protocol_max = body.data[1]};
    if (greeting->protocol_max < LW_PEER_PROTOCOL_MIN ||
        greeting->protocol_min > LW_PEER_PROTOCOL_MAX) {
        return lw_fail(LW_REFUSED,
                       "one node speaks protocol %u to %u, the other %d to %d: bring both to "
                       "nearer versions of Lathwork",
                       greeting->protocol_min, greeting->protocol_max, LW_PEER_PROTOCOL_MIN,
                       LW_PEER_PROTOCOL_MAX);
    }
    uint8_t kind = body.size < GREETING_BODY_SIZE ? 0 : body.data[2];
    size_t size = GREETING_BODY_SIZE + (kind == LW_GREETING_NEWCOMER ? LW_TOKEN_CLAIMS_SIZE : 0);
    if (body.size != size || (kind != LW_GREETING_NODE && kind != LW_GREETING_NEWCOMER) ||
        body.data[3] > 1) {
        return lw_fail(LW_INVALID_ARGUMENT, "the greeting makes no sense");
    }
    greeting->kind = (lw_greeting_kind)kind;
    greeting->plain = body.data[3] == 1;
    greeting->key_epoch = lw_get_u32(body.data + 4);
    memcpy(greeting->cluster_id, body.data + 8, LW_SHARED_ID_SIZE);
    memcpy(greeting->claims, body.data + GREETING_BODY_SIZE, size - GREETING_BODY_SIZE);
    return LW_OK;
}

lw_status lw_greeting_take(lw_bytes *rest, lw_greeting *greeting) {
    size_t seen = rest->size < sizeof(magic) ? rest->size : sizeof(magic);
    if (seen > 0 && memcmp(rest->data, magic, seen) != 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "this is not the greeting of a node");
    }
    if (rest->size < LW_GREETING_HEADER_SIZE) {
        return LW_NOT_FOUND;
    }
    size_t size = lw_get_u16(rest->data + sizeof(magic));
    if (size > LW_GREETING_SIZE_MAX - LW_GREETING_HEADER_SIZE) {
        return lw_fail(LW_INVALID_ARGUMENT, "a greeting of %zu bytes is too long", size);
    }
    if (rest->size - LW_GREETING_HEADER_SIZE < size) {
        return LW_NOT_FOUND;
    }
    LW_TRY(read_greeting(lw_view(rest->data + LW_GREETING_HEADER_SIZE, size), greeting));
    size += LW_GREETING_HEADER_SIZE;
    *rest = lw_view(rest->data + size, rest->size - size);
    return LW_OK;
}

/* ---- steps -------------------------------------------------------------------------------- */

void lw_step_encode(lw_step_kind kind, lw_bytes body, lw_buffer *out) {
    LW_ASSERT(body.size <= LW_STEP_SIZE_MAX);
    uint8_t size[2];
    lw_put_u16(size, (uint16_t)body.size);
    lw_buffer_append(out, lw_view(size, sizeof(size)));
    lw_buffer_append_u8(out, (uint8_t)kind);
    lw_buffer_append(out, body);
}

lw_status lw_step_take(lw_bytes *rest, lw_step_kind *kind, lw_bytes *body) {
    if (rest->size < LW_STEP_HEADER_SIZE) {
        return LW_NOT_FOUND;
    }
    size_t size = lw_get_u16(rest->data);
    uint8_t number = rest->data[2];
    if (size > LW_STEP_SIZE_MAX || number > LW_STEP_REFUSED) {
        return lw_fail(LW_INVALID_ARGUMENT, "this is not a step of a handshake");
    }
    if (rest->size - LW_STEP_HEADER_SIZE < size) {
        return LW_NOT_FOUND;
    }
    *kind = (lw_step_kind)number;
    *body = lw_view(rest->data + LW_STEP_HEADER_SIZE, size);
    size += LW_STEP_HEADER_SIZE;
    *rest = lw_view(rest->data + size, rest->size - size);
    return LW_OK;
}

/* ---- cards -------------------------------------------------------------------------------- */

/* What the signature is of: the card so far, and what it is shown with. */
static void append_context(const uint8_t *exchange_public, const uint8_t *cluster_id, lw_bytes card,
                           lw_buffer *out) {
    lw_buffer_append(out, card);
    lw_buffer_append(out, lw_view(exchange_public, LW_EXCHANGE_SIZE));
    lw_buffer_append(out, lw_view(cluster_id, LW_SHARED_ID_SIZE));
}

void lw_card_encode(const lw_identity *identity, const lw_peer_card *card,
                    const uint8_t exchange_public[LW_EXCHANGE_SIZE],
                    const uint8_t cluster_id[LW_SHARED_ID_SIZE], lw_buffer *out) {
    LW_ASSERT(card->address.size < LW_ADDRESS_SIZE);
    size_t start = out->size;
    uint8_t size[2], signature[LW_SIGNATURE_SIZE];
    lw_put_u16(size, (uint16_t)card->address.size);
    lw_buffer_append(out, lw_view(card_magic, sizeof(card_magic)));
    lw_buffer_append(out, lw_view(identity->public_key, LW_PUBLIC_KEY_SIZE));
    lw_buffer_append_u64(out, card->incarnation);
    lw_buffer_append_u64(out, card->run);
    lw_buffer_append(out, lw_view(size, sizeof(size)));
    lw_buffer_append(out, card->address);
    lw_buffer signed_bytes = lw_buffer_in(out->memory);
    append_context(exchange_public, cluster_id, lw_view(out->data + start, out->size - start),
                   &signed_bytes);
    lw_identity_sign(identity, lw_buffer_view(&signed_bytes), signature);
    lw_buffer_reset(&signed_bytes);
    lw_buffer_append(out, lw_view(signature, sizeof(signature)));
}

static bool vouched_for(lw_bytes card, const uint8_t *exchange_public, const uint8_t *cluster_id,
                        const uint8_t *public_key, const uint8_t *signature, lw_known *known) {
    uint8_t bytes[LW_CARD_SIZE_MAX + LW_EXCHANGE_SIZE + LW_SHARED_ID_SIZE];
    LW_ASSERT(card.size <= LW_CARD_SIZE_MAX);
    memcpy(bytes, card.data, card.size);
    memcpy(bytes + card.size, exchange_public, LW_EXCHANGE_SIZE);
    memcpy(bytes + card.size + LW_EXCHANGE_SIZE, cluster_id, LW_SHARED_ID_SIZE);
    lw_bytes all = lw_view(bytes, card.size + LW_EXCHANGE_SIZE + LW_SHARED_ID_SIZE);
    return lw_known_verify(known, public_key, all, signature);
}

static bool address_sound(lw_bytes address) {
    char text[LW_ADDRESS_SIZE], host[LW_HOST_SIZE];
    uint16_t port = 0;
    if (address.size >= LW_ADDRESS_SIZE || memchr(address.data, 0, address.size) != NULL) {
        return false;
    }
    memcpy(text, address.data, address.size);
    text[address.size] = '\0';
    return lw_address_split(text, host, &port) == LW_OK;
}

lw_status lw_card_decode(lw_bytes bytes, const uint8_t exchange_public[LW_EXCHANGE_SIZE],
                         const uint8_t cluster_id[LW_SHARED_ID_SIZE], lw_known *known,
                         lw_peer_card *card) {
    size_t least = CARD_ADDRESS_AT + LW_SIGNATURE_SIZE;
    size_t address_size = bytes.size < least ? 0 : lw_get_u16(bytes.data + CARD_ADDRESS_AT - 2);
    if (bytes.size < least || bytes.size > LW_CARD_SIZE_MAX ||
        memcmp(bytes.data, card_magic, sizeof(card_magic)) != 0 ||
        bytes.size != least + address_size ||
        !address_sound(lw_view(bytes.data + CARD_ADDRESS_AT, address_size))) {
        return lw_fail(LW_INVALID_ARGUMENT, "the node's card makes no sense");
    }
    const uint8_t *public_key = bytes.data + sizeof(card_magic);
    size_t signature_at = CARD_ADDRESS_AT + address_size;
    if (!vouched_for(lw_view(bytes.data, signature_at), exchange_public, cluster_id, public_key,
                     bytes.data + signature_at, known)) {
        return lw_fail(LW_REFUSED, "the node's card is not signed by the key that it shows");
    }
    card->node_id = lw_identity_number(public_key);
    memcpy(card->public_key, public_key, LW_PUBLIC_KEY_SIZE);
    card->incarnation = lw_get_u64(public_key + LW_PUBLIC_KEY_SIZE);
    card->run = lw_get_u64(public_key + LW_PUBLIC_KEY_SIZE + 8);
    card->address = lw_view(bytes.data + CARD_ADDRESS_AT, address_size);
    return LW_OK;
}
