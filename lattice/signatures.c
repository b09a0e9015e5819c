/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/signatures.h"

#include "base/hash.h"

static uint64_t name_of(const uint8_t *public_key, lw_bytes message, const uint8_t *signature) {
    uint64_t name = lw_hash(0, lw_view(public_key, LW_PUBLIC_KEY_SIZE));
    name = lw_hash(name, lw_view(signature, LW_SIGNATURE_SIZE));
    return lw_hash(name, message);
}

void lw_signatures_note(lw_signatures *signatures, const uint8_t public_key[LW_PUBLIC_KEY_SIZE],
                        lw_bytes message, const uint8_t signature[LW_SIGNATURE_SIZE]) {
    uint64_t name = name_of(public_key, message, signature);
    signatures->known[name % LW_SIGNATURES_KNOWN] = name;
}

bool lw_signatures_know(const lw_signatures *signatures,
                        const uint8_t public_key[LW_PUBLIC_KEY_SIZE], lw_bytes message,
                        const uint8_t signature[LW_SIGNATURE_SIZE]) {
    uint64_t name = name_of(public_key, message, signature);
    return name != 0 && signatures->known[name % LW_SIGNATURES_KNOWN] == name;
}
