/* SPDX-License-Identifier: Apache-2.0 */
/* Good signatures that are known to be so, of many nodes that run in one process, as simulations
 * have them: what one of them made need not be checked by each of the others. */
#ifndef LW_SIGNATURES_H
#define LW_SIGNATURES_H

#include "base/seal.h"

/* Of a fixed size: what is pushed out is checked again. Zeroed: none is known. */
enum { LW_SIGNATURES_KNOWN = 4096 };
typedef struct lw_signatures {
    uint64_t known[LW_SIGNATURES_KNOWN];
} lw_signatures;

void lw_signatures_note(lw_signatures *signatures, const uint8_t public_key[LW_PUBLIC_KEY_SIZE],
                        lw_bytes message, const uint8_t signature[LW_SIGNATURE_SIZE]);
LW_MUST_USE bool lw_signatures_know(const lw_signatures *signatures,
                                    const uint8_t public_key[LW_PUBLIC_KEY_SIZE], lw_bytes message,
                                    const uint8_t signature[LW_SIGNATURE_SIZE]);

#endif
