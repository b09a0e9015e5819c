/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures and digests by libsodium.
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

void lw_seal_wipe(void *secret, size_t size) {
    sodium_memzero(secret, size);
}
