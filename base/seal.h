/* SPDX-License-Identifier: Apache-2.0 */
/* Cryptography, all of it libsodium's: the node's Ed25519 identity, and BLAKE2b. seal.c is
 * the only file that includes sodium.h. No randomness is drawn here: seeds come from the env. Every
 * function may be called from any thread. */
#ifndef LW_SEAL_H
#define LW_SEAL_H

#include "base/bytes.h"

enum {
    LW_SEED_SIZE = 32,
    LW_PUBLIC_KEY_SIZE = 32,
    LW_SIGNATURE_SIZE = 64,
    LW_DIGEST_SIZE = 32,
};

typedef struct lw_identity {
    uint8_t seed[LW_SEED_SIZE]; /* secret */
    uint8_t public_key[LW_PUBLIC_KEY_SIZE];
} lw_identity;

/* Derives the key pair of a seed, which may be the identity's own. */
void lw_identity_derive(const uint8_t seed[LW_SEED_SIZE], lw_identity *identity);
void lw_identity_sign(const lw_identity *identity, lw_bytes message,
                      uint8_t signature[LW_SIGNATURE_SIZE]);
LW_MUST_USE bool lw_identity_verify(const uint8_t public_key[LW_PUBLIC_KEY_SIZE], lw_bytes message,
                                    const uint8_t signature[LW_SIGNATURE_SIZE]);
/* BLAKE2b-256. */
void lw_digest(lw_bytes message, uint8_t digest[LW_DIGEST_SIZE]);
/* Overwrites a secret so that the compiler cannot leave it out. */
void lw_seal_wipe(void *secret, size_t size);

#endif
