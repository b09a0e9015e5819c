/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: what lets a newcomer into a lattice. Nothing is stored about them: a token is a few
 * claims and a secret that follows from them and from the lattice's key, so that any member can
 * make one, and any member can check one. What is sent is the claims; the secret goes into the
 * handshake.
 *
 *   claims = format u8 (1) · role u8 · key epoch u32 · id u64 · expires u64 (ms since 1970; 0:
 *            never) · cluster id 16 bytes                                        38 bytes
 *   secret = BLAKE2b-256, keyed with the lattice's token key, of the claims
 *   text   = "lwt1." · base64url without padding of (claims · secret · the first 4 bytes of their
 *            digest)
 *
 * Invariants
 * 1. Claims that were changed in any bit go with another secret: the handshake fails.
 * 2. The text of a token is a secret. No error sentence repeats it. */
#ifndef LW_TOKEN_H
#define LW_TOKEN_H

#include "base/seal.h"

enum {
    LW_TOKEN_CLAIMS_SIZE = 38,
    LW_TOKEN_SECRET_SIZE = 32,
    LW_TOKEN_TEXT_SIZE = 5 + 99 + 1, /* with the closing zero */
};

typedef enum lw_token_role {
    LW_TOKEN_JOIN = 1, /* a new node may join */
} lw_token_role;

typedef struct lw_token {
    lw_token_role role;
    uint32_t key_epoch;
    uint64_t id; /* random: for revoking it */
    uint64_t expires_ms;
    uint8_t cluster_id[LW_SHARED_ID_SIZE];
    uint8_t secret[LW_TOKEN_SECRET_SIZE];
} lw_token;

/* The key that two members of the lattice open a link with. */
void lw_lattice_node_key(const lw_shared_key *lattice, uint8_t key[LW_SHARED_KEY_SIZE]);
/* The key under which one key of the lattice travels to a member that lacks it, sealed, as that
 * member knows this one. */
void lw_lattice_wrap_key(const lw_shared_key *lattice, uint8_t key[LW_SHARED_KEY_SIZE]);
/* Makes the token of these claims; `expires_ms` 0: it never expires. */
void lw_token_make(const lw_shared_key *lattice, lw_token_role role, uint64_t id,
                   uint64_t expires_ms, lw_token *token);
/* The text, as it stands in a file, with its closing zero. */
void lw_token_print(const lw_token *token, char text[LW_TOKEN_TEXT_SIZE]);
/* Reads a text; white space around it is left out. LW_INVALID_ARGUMENT says what is wrong. */
LW_MUST_USE lw_status lw_token_parse(lw_bytes text, lw_token *token);
void lw_token_claims(const lw_token *token, uint8_t claims[LW_TOKEN_CLAIMS_SIZE]);
/* What a member makes of claims that it was sent: the token, with its secret. LW_REFUSED, with what
 * to do, if it is of another lattice, of an older key, or has expired at `now_ms`. LW_UNAVAILABLE:
 * it is of a newer key, which this member has not heard of yet. */
LW_MUST_USE lw_status lw_token_check(const lw_shared_key *lattice, uint64_t now_ms,
                                     const uint8_t claims[LW_TOKEN_CLAIMS_SIZE], lw_token *token);

#endif
