/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes that run in one process have worked out, as simulations have them: what a signature is
 * good for, and the secret that two keys make, need not be computed by each of them again. NULL is
 * none, which is what a real node has: what is known goes by names that an enemy could forge. */
#ifndef LW_KNOWN_H
#define LW_KNOWN_H

#include "base/seal.h"

/* Of a fixed size: what is pushed out is computed again. Zeroed: nothing is known. */
enum { LW_KNOWN_SIGNATURES = 4096, LW_KNOWN_EXCHANGES = 64 };
typedef struct lw_known {
    uint64_t signatures[LW_KNOWN_SIGNATURES]; /* that are good */
    struct lw_known_exchange {
        uint64_t name; /* of both public keys */
        uint8_t shared[LW_EXCHANGE_SIZE];
    } exchanges[LW_KNOWN_EXCHANGES];
} lw_known;

/* As lw_identity_sign, lw_identity_verify and lw_exchange. `own_key` is the public one of `secret`.
 */
void lw_known_sign(lw_known *known, const lw_identity *identity, lw_bytes message,
                   uint8_t signature[LW_SIGNATURE_SIZE]);
LW_MUST_USE bool lw_known_verify(lw_known *known, const uint8_t public_key[LW_PUBLIC_KEY_SIZE],
                                 lw_bytes message, const uint8_t signature[LW_SIGNATURE_SIZE]);
LW_MUST_USE bool lw_known_exchange(lw_known *known, const uint8_t secret[LW_EXCHANGE_SIZE],
                                   const uint8_t own_key[LW_EXCHANGE_SIZE],
                                   const uint8_t public_key[LW_EXCHANGE_SIZE],
                                   uint8_t shared[LW_EXCHANGE_SIZE]);

#endif
