/* SPDX-License-Identifier: Apache-2.0 */
/* Noise handshakes of the XX family as the specification words them, for comparing: patterns are
 * lists of tokens, walked one by one; nothing is fast, everything is asserted. */
#ifndef LW_TESTS_NOISE_REFERENCE_H
#define LW_TESTS_NOISE_REFERENCE_H

#include "base/seal.h"
#include "tests/unit.h"

enum { REFERENCE_SIZE_MAX = 1024 };

typedef struct reference_party {
    bool initiator;
    uint8_t s[32], s_public[32], e[32], e_public[32], rs[32], re[32];
    uint8_t psks[4][32]; /* in the order in which the pattern asks for them */
    uint32_t psk_next;
    bool has_psk;
    uint8_t ck[32], h[32], k[32];
    uint64_t n;
    bool has_key;
} reference_party;

typedef struct reference_message {
    uint8_t bytes[REFERENCE_SIZE_MAX];
    size_t size;
} reference_message;

static inline void reference_nonce(uint64_t n, uint8_t nonce[12]) {
    memset(nonce, 0, 4);
    for (int index = 0; index < 8; index++) {
        nonce[4 + index] = (uint8_t)(n >> (8 * index));
    }
}

static inline void reference_mix_hash(reference_party *party, const uint8_t *data, size_t size) {
    uint8_t all[32 + REFERENCE_SIZE_MAX];
    memcpy(all, party->h, 32);
    memcpy(all + 32, data, size);
    lw_sha256(lw_view(all, 32 + size), (lw_bytes){0}, party->h);
}

static inline void reference_mix_key(reference_party *party, const uint8_t input[32]) {
    uint8_t outputs[64];
    lw_hkdf(party->ck, lw_view(input, 32), 2, outputs);
    memcpy(party->ck, outputs, 32);
    memcpy(party->k, outputs + 32, 32);
    party->n = 0;
    party->has_key = true;
}

static inline void reference_psk(reference_party *party) {
    uint8_t outputs[96];
    lw_hkdf(party->ck, lw_view(party->psks[party->psk_next++], 32), 3, outputs);
    memcpy(party->ck, outputs, 32);
    reference_mix_hash(party, outputs + 32, 32);
    memcpy(party->k, outputs + 64, 32);
    party->n = 0;
    party->has_key = true;
}

static inline void reference_dh(reference_party *party, const uint8_t secret[32],
                                const uint8_t public_key[32]) {
    uint8_t shared[32];
    assert_true(lw_exchange(secret, public_key, shared));
    reference_mix_key(party, shared);
}

static inline void reference_encrypt(reference_party *party, const uint8_t *plain, size_t size,
                                     reference_message *out) {
    uint8_t nonce[12], *at = out->bytes + out->size;
    if (!party->has_key) {
        memcpy(at, plain, size);
        out->size += size;
        reference_mix_hash(party, at, size);
        return;
    }
    reference_nonce(party->n++, nonce);
    lw_seal(party->k, nonce, lw_view(party->h, 32), lw_view(plain, size), at);
    out->size += size + 16;
    reference_mix_hash(party, at, size + 16);
}

static inline void reference_decrypt(reference_party *party, const uint8_t **at, size_t size,
                                     uint8_t *plain) {
    uint8_t nonce[12];
    if (!party->has_key) {
        memcpy(plain, *at, size);
        reference_mix_hash(party, *at, size);
        *at += size;
        return;
    }
    reference_nonce(party->n++, nonce);
    assert_true(lw_unseal(party->k, nonce, lw_view(party->h, 32), lw_view(*at, size + 16), plain));
    reference_mix_hash(party, *at, size + 16);
    *at += size + 16;
}

/* Keys s and e, and the psks, are set by the caller. */
static inline void reference_begin(reference_party *party, bool initiator, const char *name,
                                   lw_bytes prologue) {
    party->initiator = initiator;
    party->has_psk = strstr(name, "psk") != NULL;
    lw_exchange_public(party->s, party->s_public);
    lw_exchange_public(party->e, party->e_public);
    if (strlen(name) <= 32) {
        memset(party->h, 0, 32);
        memcpy(party->h, name, strlen(name));
    } else {
        lw_sha256(lw_text(name), (lw_bytes){0}, party->h);
    }
    memcpy(party->ck, party->h, 32);
    party->has_key = false;
    reference_mix_hash(party, prologue.data, prologue.size);
}

/* Each token of one message of a pattern: "psk,e,ee,s,es". */
static inline void reference_tokens(reference_party *party, const char *tokens, bool writing,
                                    const uint8_t **at, reference_message *out) {
    char list[64], *rest = NULL;
    (void)snprintf(list, sizeof(list), "%s", tokens);
    for (char *token = strtok_r(list, ",", &rest); token != NULL;
         token = strtok_r(NULL, ",", &rest)) {
        if (strcmp(token, "psk") == 0) {
            reference_psk(party);
        } else if (strcmp(token, "e") == 0) {
            uint8_t *key = writing ? party->e_public : party->re;
            if (writing) {
                memcpy(out->bytes + out->size, key, 32);
                out->size += 32;
            } else {
                memcpy(key, *at, 32);
                *at += 32;
            }
            reference_mix_hash(party, key, 32);
            if (party->has_psk) {
                reference_mix_key(party, key);
            }
        } else if (strcmp(token, "s") == 0) {
            if (writing) {
                reference_encrypt(party, party->s_public, 32, out);
            } else {
                reference_decrypt(party, at, 32, party->rs);
            }
        } else if (strcmp(token, "ee") == 0) {
            reference_dh(party, party->e, party->re);
        } else if ((strcmp(token, "es") == 0) == party->initiator) {
            reference_dh(party, party->e, party->rs); /* es of the initiator, se of the other */
        } else {
            reference_dh(party, party->s, party->re);
        }
    }
}

static inline void reference_write(reference_party *party, const char *tokens, lw_bytes payload,
                                   reference_message *out) {
    out->size = 0;
    reference_tokens(party, tokens, true, NULL, out);
    reference_encrypt(party, payload.data, payload.size, out);
}

/* `payload` has room; returns its size. */
static inline size_t reference_read(reference_party *party, const char *tokens,
                                    const reference_message *message, uint8_t *payload) {
    const uint8_t *at = message->bytes;
    reference_tokens(party, tokens, false, &at, NULL);
    size_t size = message->size - (size_t)(at - message->bytes) - (party->has_key ? 16 : 0);
    reference_decrypt(party, &at, size, payload);
    return size;
}

/* The initiator's sending key, then the responder's. */
static inline void reference_split(const reference_party *party, uint8_t keys[64]) {
    lw_hkdf(party->ck, (lw_bytes){0}, 2, keys);
}

#endif
