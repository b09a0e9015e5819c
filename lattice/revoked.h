/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens that were revoked: a set that only grows, of the tokens' ids and of when each would have
 * expired anyway, after which nobody needs to know of it any more.
 *
 *   page = [ [ id, expires ms ], … ]     ascending by id
 *
 * Invariants
 * V1. Merging is a join: commutative, associative, idempotent, monotone. Of two entries of an id
 *     the later expiry stands.
 * V2. What is in the set is forgotten only a day after it expired, by this node's clock: such a
 *     token is refused for its age, even if the clock is set back by less than that. Entries that
 *     old are not taken in, so that they do not travel between nodes for ever.
 * V3. Memory is bounded by LW_REVOKED_MAX. */
#ifndef LW_REVOKED_H
#define LW_REVOKED_H

#include "base/codec.h"

enum { LW_REVOKED_MAX = 4096 };
/* Of a token whose expiry is not known: no command makes one that lasts longer. */
#define LW_TOKEN_LIFETIME_MAX_MS (UINT64_C(1000) * 3600 * 1000)

typedef struct lw_revoked_token {
    uint64_t id;
    uint64_t expires_ms; /* UINT64_MAX: never */
} lw_revoked_token;

typedef struct lw_revoked {
    lw_memory *memory;
    lw_revoked_token *tokens; /* ascending by id */
    uint32_t count, capacity;
} lw_revoked;

lw_revoked lw_revoked_in(lw_memory *memory);
void lw_revoked_reset(lw_revoked *revoked);
/* `*news`: the set is another now. LW_FULL: it has no room. */
LW_MUST_USE lw_status lw_revoked_add(lw_revoked *revoked, lw_revoked_token token, uint64_t now_ms,
                                     bool *news);
bool lw_revoked_has(const lw_revoked *revoked, uint64_t id);
/* Forgets what nobody needs any more. */
void lw_revoked_expire(lw_revoked *revoked, uint64_t now_ms);
/* Appends all of it. */
void lw_revoked_encode(const lw_revoked *revoked, lw_buffer *page);
/* Takes a page in. LW_INVALID_ARGUMENT: then nothing of it counts, or LW_FULL. */
LW_MUST_USE lw_status lw_revoked_merge(lw_revoked *revoked, lw_bytes page, uint64_t now_ms,
                                       bool *news);

#endif
