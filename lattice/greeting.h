/* SPDX-License-Identifier: Apache-2.0 */
/* How a connection between nodes begins: what is said in clear before the handshake, and the card
 * by which each side then shows, inside it, which node it is.
 *
 *   greeting = "LW01" · size u16 (of what follows) · protocol min u8 · protocol max u8 · kind u8 ·
 *              plain u8 · key epoch u32 · cluster id 16 bytes · token claims, of a newcomer
 *   step     = size u16 (of what follows the kind) · kind u8 · body: a handshake message, or a
 *              refusal in words
 *   card     = "LWc1" · node's public key 32 bytes · incarnation u64 · run u64 · address size u16 ·
 *              address · signature 64 bytes (of all before, then exchange key and cluster id)
 *
 * The greeting goes with the first step, and is the prologue of the handshake, so that both sides
 * have seen the same (hazard X2). No client frame begins with its first four bytes: as a size they
 * are above LW_FRAME_SIZE_MAX.
 *
 * Invariants
 * 1. Who shows a card holds the secret of the exchange key (the handshake proves that), and the
 *    node's own key vouches for that exchange key: nobody else can show it.
 * 2. A refusal in clear proves nothing: it is shown to people, and nothing is done about it. */
#ifndef LW_GREETING_H
#define LW_GREETING_H

#include "base/env.h"
#include "lattice/known.h"
#include "lattice/token.h"

enum {
    LW_PEER_PROTOCOL_MIN = 1,
    LW_PEER_PROTOCOL_MAX = 1,
    LW_GREETING_HEADER_SIZE = 6, /* magic and size */
    LW_GREETING_SIZE_MAX = 256,  /* with the header */
    LW_STEP_HEADER_SIZE = 3,
    LW_CARD_SIZE_MAX = 4 + LW_PUBLIC_KEY_SIZE + 16 + 2 + LW_ADDRESS_SIZE + LW_SIGNATURE_SIZE,
    LW_STEP_SIZE_MAX = 1024, /* of its body */
};

typedef enum lw_greeting_kind {
    LW_GREETING_NODE = 1,     /* a member to another */
    LW_GREETING_NEWCOMER = 2, /* who has a token */
} lw_greeting_kind;

typedef enum lw_step_kind {
    LW_STEP_NOISE = 0,
    LW_STEP_REFUSED = 1, /* body: words */
} lw_step_kind;

typedef struct lw_greeting {
    uint8_t protocol_min, protocol_max;
    lw_greeting_kind kind;
    bool plain; /* after the handshake nothing is sealed */
    uint32_t key_epoch;
    uint8_t cluster_id[LW_SHARED_ID_SIZE];
    uint8_t claims[LW_TOKEN_CLAIMS_SIZE]; /* of NEWCOMER */
} lw_greeting;

/* Who a node proved to be. */
typedef struct lw_peer_card {
    uint64_t node_id;
    uint64_t incarnation;
    uint64_t run; /* random, of this process: tells two that were started from copies of a folder */
    uint8_t public_key[LW_PUBLIC_KEY_SIZE];
    lw_bytes address; /* "HOST:PORT" where it listens, as it says; a view */
} lw_peer_card;

/* Whether a connection is one of these: its first four bytes. */
bool lw_greeting_begins(lw_bytes received);
void lw_greeting_encode(const lw_greeting *greeting, lw_buffer *out);
/* Takes a whole greeting off the front of `*rest`. LW_NOT_FOUND: not whole yet;
 * LW_INVALID_ARGUMENT: not one; LW_REFUSED: of protocols that this version does not speak. */
LW_MUST_USE lw_status lw_greeting_take(lw_bytes *rest, lw_greeting *greeting);

void lw_step_encode(lw_step_kind kind, lw_bytes body, lw_buffer *out);
/* The same for a step; `body` is a view. */
LW_MUST_USE lw_status lw_step_take(lw_bytes *rest, lw_step_kind *kind, lw_bytes *body);

/* `card->public_key` and `node_id` are the identity's. */
void lw_card_encode(const lw_identity *identity, const lw_peer_card *card,
                    const uint8_t exchange_public[LW_EXCHANGE_SIZE],
                    const uint8_t cluster_id[LW_SHARED_ID_SIZE], lw_buffer *out);
/* Reads a card that came inside a handshake with this exchange key. LW_REFUSED: it is not vouched
 * for; LW_INVALID_ARGUMENT: not a card. */
LW_MUST_USE lw_status lw_card_decode(lw_bytes bytes,
                                     const uint8_t exchange_public[LW_EXCHANGE_SIZE],
                                     const uint8_t cluster_id[LW_SHARED_ID_SIZE], lw_known *known,
                                     lw_peer_card *card);

#endif
