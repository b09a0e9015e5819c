/* SPDX-License-Identifier: Apache-2.0 */
/* Cryptography, all of it libsodium's: Ed25519 identities, X25519, ChaCha20-Poly1305, SHA-256 with
 * HMAC and HKDF, BLAKE2b. seal.c is the only file that includes sodium.h. No randomness is drawn
 * here: seeds and secrets come from the env. Every function may be called from any thread. */
#ifndef LW_SEAL_H
#define LW_SEAL_H

#include "base/bytes.h"

enum {
    LW_SEED_SIZE = 32,
    LW_PUBLIC_KEY_SIZE = 32,
    LW_SIGNATURE_SIZE = 64,
    LW_DIGEST_SIZE = 32,
    LW_EXCHANGE_SIZE = 32, /* of X25519: secrets, public keys and what two of them agree on */
    LW_SEAL_KEY_SIZE = 32,
    LW_SEAL_NONCE_SIZE = 12,
    LW_SEAL_TAG_SIZE = 16,
    LW_SHARED_ID_SIZE = 16,
    LW_SHARED_KEY_SIZE = 32,
};

typedef struct lw_identity {
    uint8_t seed[LW_SEED_SIZE]; /* secret */
    uint8_t public_key[LW_PUBLIC_KEY_SIZE];
} lw_identity;

/* Derives the key pair of a seed, which may be the identity's own. */
void lw_identity_derive(const uint8_t seed[LW_SEED_SIZE], lw_identity *identity);
/* The number that whoever has this public key is known by, never 0: the first 8 bytes of its
 * digest.
 */
uint64_t lw_identity_number(const uint8_t public_key[LW_PUBLIC_KEY_SIZE]);
void lw_identity_sign(const lw_identity *identity, lw_bytes message,
                      uint8_t signature[LW_SIGNATURE_SIZE]);
LW_MUST_USE bool lw_identity_verify(const uint8_t public_key[LW_PUBLIC_KEY_SIZE], lw_bytes message,
                                    const uint8_t signature[LW_SIGNATURE_SIZE]);
/* BLAKE2b-256. */
void lw_digest(lw_bytes message, uint8_t digest[LW_DIGEST_SIZE]);
/* The same with a key: nobody without it can tell the digest of a message. */
void lw_digest_keyed(const uint8_t key[LW_SHARED_KEY_SIZE], lw_bytes message,
                     uint8_t digest[LW_DIGEST_SIZE]);

/* What several parties share and others must not know: which one it is, how often it was changed,
 * and the key. */
typedef struct lw_shared_key {
    uint8_t id[LW_SHARED_ID_SIZE];
    uint32_t epoch; /* 0: there is none yet */
    uint8_t key[LW_SHARED_KEY_SIZE];
} lw_shared_key;

/* X25519: the public key of a secret, which may be any bytes; and what a secret and another's
 * public key agree on. False: the public key is one of the few that give everybody the same. */
void lw_exchange_public(const uint8_t secret[LW_EXCHANGE_SIZE],
                        uint8_t public_key[LW_EXCHANGE_SIZE]);
LW_MUST_USE bool lw_exchange(const uint8_t secret[LW_EXCHANGE_SIZE],
                             const uint8_t public_key[LW_EXCHANGE_SIZE],
                             uint8_t shared[LW_EXCHANGE_SIZE]);

/* ChaCha20-Poly1305 (RFC 8439). `sealed` receives plain.size + LW_SEAL_TAG_SIZE bytes, and may be
 * where the plain bytes are. A nonce is used once with a key, ever. */
void lw_seal(const uint8_t key[LW_SEAL_KEY_SIZE], const uint8_t nonce[LW_SEAL_NONCE_SIZE],
             lw_bytes associated, lw_bytes plain, uint8_t *sealed);
/* `plain` receives sealed.size - LW_SEAL_TAG_SIZE bytes, and may be where the sealed bytes are.
 * False: changed, cut off, or sealed otherwise; then `plain` holds nothing. */
LW_MUST_USE bool lw_unseal(const uint8_t key[LW_SEAL_KEY_SIZE],
                           const uint8_t nonce[LW_SEAL_NONCE_SIZE], lw_bytes associated,
                           lw_bytes sealed, uint8_t *plain);

/* SHA-256 of two pieces, one behind the other. */
void lw_sha256(lw_bytes first, lw_bytes second, uint8_t digest[LW_DIGEST_SIZE]);
/* HKDF (RFC 5869) with SHA-256, an empty info, `count` (1 to 3) outputs, one behind the other. */
void lw_hkdf(const uint8_t salt[LW_DIGEST_SIZE], lw_bytes input, uint32_t count, uint8_t *outputs);

/* Whether two secrets are equal, in a time that does not depend on where they differ. */
LW_MUST_USE bool lw_seal_equal(const void *one, const void *other, size_t size);
/* Base64 for file names and links (RFC 4648, section 5) without padding, in a time that does not
 * depend on the bytes. `text` has room for LW_TEXT64_SIZE(bytes.size). */
#define LW_TEXT64_SIZE(size) (((size)*4 + 2) / 3 + 1)
void lw_text64_print(lw_bytes bytes, char *text);
/* False if it is not the text of exactly `size` bytes. */
LW_MUST_USE bool lw_text64_parse(lw_bytes text, uint8_t *bytes, size_t size);
/* Overwrites a secret so that the compiler cannot leave it out. */
void lw_seal_wipe(void *secret, size_t size);

#endif
