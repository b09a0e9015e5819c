/* SPDX-License-Identifier: Apache-2.0 */
/* Noise_XXpsk0_25519_ChaChaPoly_SHA256 (Noise Protocol Framework, revision 34): how two ends of a
 * connection prove to each other who they are, and agree on keys that nobody else learns.
 *
 *   → psk, e                                  48 bytes and the payload
 *   ← e, ee, s, es                            96 bytes and the payload
 *   → s, se                                   64 bytes and the payload
 *
 * Then records, each direction under a key of its own:
 *
 *   record = size u32 (of what follows) · at most 65,535 bytes: ciphertext · tag 16 bytes
 *
 * Pure: no I/O, no randomness (the ephemeral secret is handed in), no allocation but the buffers of
 * the caller.
 *
 * Invariants
 * 1. Whoever does not know the psk learns nothing and costs one attempt to open 16 bytes.
 * 2. What was said in clear before (the prologue) is part of every key: whoever changes a bit of it
 *    breaks the handshake (hazard X2).
 * 3. Record n of a direction opens as record n of it on this connection and nowhere else (hazard
 *    X1). The nonce is n, and never comes back under a key.
 * 4. After a failure nothing more is opened or sealed. */
#ifndef LW_NOISE_H
#define LW_NOISE_H

#include "lattice/known.h"

enum {
    LW_NOISE_FIRST_SIZE = LW_EXCHANGE_SIZE + LW_SEAL_TAG_SIZE,
    LW_NOISE_SECOND_SIZE = LW_EXCHANGE_SIZE + LW_EXCHANGE_SIZE + 2 * LW_SEAL_TAG_SIZE,
    LW_NOISE_THIRD_SIZE = LW_EXCHANGE_SIZE + 2 * LW_SEAL_TAG_SIZE,
    LW_NOISE_MESSAGE_SIZE_MAX = 65535,
    LW_RECORD_HEADER_SIZE = 4,
    LW_RECORD_PLAIN_SIZE_MAX = LW_NOISE_MESSAGE_SIZE_MAX - LW_SEAL_TAG_SIZE,
    LW_RECORDS_PER_KEY = 1 << 20, /* then the key is replaced by one that follows from it */
};

/* One direction of a connection. */
typedef struct lw_noise_cipher {
    uint8_t key[LW_SEAL_KEY_SIZE];
    uint64_t nonce; /* of the next record */
} lw_noise_cipher;

typedef struct lw_noise_keys {
    const uint8_t *static_secret, *static_public; /* LW_EXCHANGE_SIZE */
    const uint8_t *ephemeral_secret;              /* LW_EXCHANGE_SIZE, random, for this once */
    const uint8_t *psk;                           /* LW_SHARED_KEY_SIZE */
    lw_known *known;                              /* NULL: nothing is */
} lw_noise_keys;

/* A handshake under way. All of it is secret: wipe it when done. */
typedef struct lw_noise {
    lw_noise_cipher cipher;
    uint8_t chaining_key[LW_DIGEST_SIZE], hash[LW_DIGEST_SIZE];
    uint8_t static_secret[LW_EXCHANGE_SIZE], static_public[LW_EXCHANGE_SIZE];
    uint8_t ephemeral_secret[LW_EXCHANGE_SIZE], ephemeral_public[LW_EXCHANGE_SIZE];
    uint8_t remote_static[LW_EXCHANGE_SIZE]; /* proven once the handshake is done */
    uint8_t remote_ephemeral[LW_EXCHANGE_SIZE];
    lw_known *known;
    bool initiator, failed;
    uint32_t step; /* messages written and read so far; 3: done */
} lw_noise;

/* Begins. The keys are copied; `known` is used all along. */
void lw_noise_init(lw_noise *noise, bool initiator, const lw_noise_keys *keys, lw_bytes prologue);
/* Appends the next message, which is ours to write, with its payload (at most
 * LW_NOISE_MESSAGE_SIZE_MAX in all). False: the other's key is one of the few that are good for
 * nothing. */
LW_MUST_USE bool lw_noise_write(lw_noise *noise, lw_bytes payload, lw_buffer *message);
/* Reads the next message, which is theirs, and appends its payload. False: it is not from somebody
 * who knows the psk and said and heard the same as we did. */
LW_MUST_USE bool lw_noise_read(lw_noise *noise, lw_bytes message, lw_buffer *payload);
/* When the handshake is done: the keys of both directions. Wipes the rest, but the hash (which is
 * of all that was said) and the other's static key. */
void lw_noise_split(lw_noise *noise, lw_noise_cipher *sending, lw_noise_cipher *receiving);

/* Appends `plain` as records. */
void lw_records_seal(lw_noise_cipher *cipher, lw_bytes plain, lw_buffer *records);
/* Takes a whole record off the front of `*rest`, if there is one, and appends what it says.
 * LW_NOT_FOUND: not whole yet. LW_INVALID_ARGUMENT: it is not the next one that the other side
 * sealed; the connection is of no more use. */
LW_MUST_USE lw_status lw_records_open(lw_noise_cipher *cipher, lw_bytes *rest, lw_buffer *plain);

#endif
