/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures, digests, key exchange and sealing by libsodium.
 *
 * Invariants
 * 1. A secret key exists only while it signs: an identity keeps the seed, which is half of it, and
 *    every copy is wiped.
 * 2. Same input, same output: nothing here draws a random number, so a simulated node signs as a
 *    real one does. */
#include "base/seal.h"

#include <sodium.h>

_Static_assert(LW_SEED_SIZE == crypto_sign_SEEDBYTES, "an Ed25519 seed");
_Static_assert(LW_PUBLIC_KEY_SIZE == crypto_sign_PUBLICKEYBYTES, "an Ed25519 public key");
_Static_assert(LW_SIGNATURE_SIZE == crypto_sign_BYTES, "an Ed25519 signature");
_Static_assert(LW_DIGEST_SIZE == crypto_generichash_BYTES, "BLAKE2b-256");
_Static_assert(LW_SHARED_KEY_SIZE == crypto_generichash_KEYBYTES, "a key of BLAKE2b");
_Static_assert(LW_EXCHANGE_SIZE == crypto_scalarmult_BYTES, "a point");
_Static_assert(LW_EXCHANGE_SIZE == crypto_scalarmult_SCALARBYTES, "a scalar");
_Static_assert(LW_SEAL_KEY_SIZE == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "its key");
_Static_assert(LW_SEAL_NONCE_SIZE == crypto_aead_chacha20poly1305_ietf_NPUBBYTES, "its nonce");
_Static_assert(LW_SEAL_TAG_SIZE == crypto_aead_chacha20poly1305_ietf_ABYTES, "its tag");
_Static_assert(LW_DIGEST_SIZE == crypto_hash_sha256_BYTES, "SHA-256");
_Static_assert(LW_DIGEST_SIZE == crypto_auth_hmacsha256_BYTES, "HMAC-SHA-256");
_Static_assert(crypto_sign_SECRETKEYBYTES == LW_SEED_SIZE + LW_PUBLIC_KEY_SIZE, "seed, then key");

/* libsodium picks its fastest code once; asked again, from any thread, it answers at once. */
static void start_library(void) {
    LW_ASSERT(sodium_init() >= 0);
}

void lw_identity_derive(const uint8_t seed[LW_SEED_SIZE], lw_identity *identity) {
    start_library();
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    LW_ASSERT(crypto_sign_seed_keypair(identity->public_key, secret_key, seed) == 0);
    lw_seal_wipe(secret_key, sizeof(secret_key));
    /* The seed may be the identity's own. */
    memmove(identity->seed, seed, LW_SEED_SIZE);
}

uint64_t lw_identity_number(const uint8_t public_key[LW_PUBLIC_KEY_SIZE]) {
    uint8_t digest[LW_DIGEST_SIZE];
    lw_digest(lw_view(public_key, LW_PUBLIC_KEY_SIZE), digest);
    uint64_t number = lw_get_u64(digest);
    return number != 0 ? number : 1;
}

void lw_identity_sign(const lw_identity *identity, lw_bytes message,
                      uint8_t signature[LW_SIGNATURE_SIZE]) {
    start_library();
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    memcpy(secret_key, identity->seed, LW_SEED_SIZE);
    memcpy(secret_key + LW_SEED_SIZE, identity->public_key, LW_PUBLIC_KEY_SIZE);
    LW_ASSERT(crypto_sign_detached(signature, NULL, message.data, message.size, secret_key) == 0);
    lw_seal_wipe(secret_key, sizeof(secret_key));
}

bool lw_identity_verify(const uint8_t public_key[LW_PUBLIC_KEY_SIZE], lw_bytes message,
                        const uint8_t signature[LW_SIGNATURE_SIZE]) {
    start_library();
    return crypto_sign_verify_detached(signature, message.data, message.size, public_key) == 0;
}

void lw_digest(lw_bytes message, uint8_t digest[LW_DIGEST_SIZE]) {
    start_library();
    LW_ASSERT(crypto_generichash(digest, LW_DIGEST_SIZE, message.data, message.size, NULL, 0) == 0);
}

void lw_digest_keyed(const uint8_t key[LW_SHARED_KEY_SIZE], lw_bytes message,
                     uint8_t digest[LW_DIGEST_SIZE]) {
    start_library();
    LW_ASSERT(crypto_generichash(digest, LW_DIGEST_SIZE, message.data, message.size, key,
                                 LW_SHARED_KEY_SIZE) == 0);
}

/* ---- X25519 ------------------------------------------------------------------------------- */

void lw_exchange_public(const uint8_t secret[LW_EXCHANGE_SIZE],
                        uint8_t public_key[LW_EXCHANGE_SIZE]) {
    start_library();
    LW_ASSERT(crypto_scalarmult_base(public_key, secret) == 0);
}

bool lw_exchange(const uint8_t secret[LW_EXCHANGE_SIZE], const uint8_t public_key[LW_EXCHANGE_SIZE],
                 uint8_t shared[LW_EXCHANGE_SIZE]) {
    start_library();
    return crypto_scalarmult(shared, secret, public_key) == 0;
}

/* ---- ChaCha20-Poly1305 -------------------------------------------------------------------- */

void lw_seal(const uint8_t key[LW_SEAL_KEY_SIZE], const uint8_t nonce[LW_SEAL_NONCE_SIZE],
             lw_bytes associated, lw_bytes plain, uint8_t *sealed) {
    start_library();
    LW_ASSERT(crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, plain.data, plain.size,
                                                        associated.data, associated.size, NULL,
                                                        nonce, key) == 0);
}

bool lw_unseal(const uint8_t key[LW_SEAL_KEY_SIZE], const uint8_t nonce[LW_SEAL_NONCE_SIZE],
               lw_bytes associated, lw_bytes sealed, uint8_t *plain) {
    start_library();
    return crypto_aead_chacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed.data, sealed.size,
                                                     associated.data, associated.size, nonce,
                                                     key) == 0;
}

/* ---- SHA-256 ------------------------------------------------------------------------------ */

void lw_sha256(lw_bytes first, lw_bytes second, uint8_t digest[LW_DIGEST_SIZE]) {
    start_library();
    crypto_hash_sha256_state state;
    LW_ASSERT(crypto_hash_sha256_init(&state) == 0);
    LW_ASSERT(crypto_hash_sha256_update(&state, first.data, first.size) == 0);
    LW_ASSERT(crypto_hash_sha256_update(&state, second.data, second.size) == 0);
    LW_ASSERT(crypto_hash_sha256_final(&state, digest) == 0);
}

static void hmac(const uint8_t key[LW_DIGEST_SIZE], lw_bytes first, lw_bytes second,
                 uint8_t digest[LW_DIGEST_SIZE]) {
    crypto_auth_hmacsha256_state state;
    LW_ASSERT(crypto_auth_hmacsha256_init(&state, key, LW_DIGEST_SIZE) == 0);
    LW_ASSERT(crypto_auth_hmacsha256_update(&state, first.data, first.size) == 0);
    LW_ASSERT(crypto_auth_hmacsha256_update(&state, second.data, second.size) == 0);
    LW_ASSERT(crypto_auth_hmacsha256_final(&state, digest) == 0);
    lw_seal_wipe(&state, sizeof(state));
}

void lw_hkdf(const uint8_t salt[LW_DIGEST_SIZE], lw_bytes input, uint32_t count, uint8_t *outputs) {
    LW_ASSERT(count >= 1 && count <= 3);
    start_library();
    uint8_t key[LW_DIGEST_SIZE];
    hmac(salt, input, (lw_bytes){0}, key);
    lw_bytes before = {0};
    for (uint32_t index = 0; index < count; index++) {
        uint8_t *output = outputs + (size_t)index * LW_DIGEST_SIZE;
        uint8_t number = (uint8_t)(index + 1);
        hmac(key, before, lw_view(&number, 1), output);
        before = lw_view(output, LW_DIGEST_SIZE);
    }
    lw_seal_wipe(key, sizeof(key));
}

/* ---- secrets ------------------------------------------------------------------------------ */

bool lw_seal_equal(const void *one, const void *other, size_t size) {
    return sodium_memcmp(one, other, size) == 0;
}

void lw_text64_print(lw_bytes bytes, char *text) {
    LW_ASSERT(LW_TEXT64_SIZE(bytes.size) ==
              sodium_base64_encoded_len(bytes.size, sodium_base64_VARIANT_URLSAFE_NO_PADDING));
    (void)sodium_bin2base64(text, LW_TEXT64_SIZE(bytes.size), bytes.data, bytes.size,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

bool lw_text64_parse(lw_bytes text, uint8_t *bytes, size_t size) {
    size_t parsed = 0;
    return text.size == LW_TEXT64_SIZE(size) - 1 &&
           sodium_base642bin(bytes, size, (const char *)text.data, text.size, NULL, &parsed, NULL,
                             sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
           parsed == size;
}

void lw_seal_wipe(void *secret, size_t size) {
    sodium_memzero(secret, size);
}
