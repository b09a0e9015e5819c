/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/known.h"

#include "base/hash.h"

static bool is_there(const lw_known *known) {
#ifdef LW_SIMULATION
    return known != NULL;
#else
    LW_ASSERT(known == NULL);
    return false;
#endif
}

/* ---- signatures ----------------------------------------------------------------------------- */

static uint64_t name_of(const uint8_t *public_key, lw_bytes message, const uint8_t *signature) {
    uint64_t name = lw_hash(0, lw_view(public_key, LW_PUBLIC_KEY_SIZE));
    name = lw_hash(name, lw_view(signature, LW_SIGNATURE_SIZE));
    return lw_hash(name, message);
}

static void note(lw_known *known, uint64_t name) {
    known->signatures[name % LW_KNOWN_SIGNATURES] = name;
}

void lw_known_sign(lw_known *known, const lw_identity *identity, lw_bytes message,
                   uint8_t signature[LW_SIGNATURE_SIZE]) {
    lw_identity_sign(identity, message, signature);
    if (is_there(known)) {
        note(known, name_of(identity->public_key, message, signature));
    }
}

bool lw_known_verify(lw_known *known, const uint8_t public_key[LW_PUBLIC_KEY_SIZE],
                     lw_bytes message, const uint8_t signature[LW_SIGNATURE_SIZE]) {
    if (!is_there(known)) {
        return lw_identity_verify(public_key, message, signature);
    }
    uint64_t name = name_of(public_key, message, signature);
    if (name != 0 && known->signatures[name % LW_KNOWN_SIGNATURES] == name) {
        return true;
    }
    bool good = lw_identity_verify(public_key, message, signature);
    if (good) {
        note(known, name);
    }
    return good;
}

/* ---- exchanges ------------------------------------------------------------------------------ */

/* The same for both sides. */
static uint64_t name_of_pair(const uint8_t *one, const uint8_t *other) {
    return lw_hash(1, lw_view(one, LW_EXCHANGE_SIZE)) +
           lw_hash(1, lw_view(other, LW_EXCHANGE_SIZE));
}

bool lw_known_exchange(lw_known *known, const uint8_t secret[LW_EXCHANGE_SIZE],
                       const uint8_t own_key[LW_EXCHANGE_SIZE],
                       const uint8_t public_key[LW_EXCHANGE_SIZE],
                       uint8_t shared[LW_EXCHANGE_SIZE]) {
    if (!is_there(known)) {
        return lw_exchange(secret, public_key, shared);
    }
    uint64_t name = name_of_pair(own_key, public_key);
    struct lw_known_exchange *place = &known->exchanges[name % LW_KNOWN_EXCHANGES];
    if (name != 0 && place->name == name) {
        memcpy(shared, place->shared, LW_EXCHANGE_SIZE);
        return true;
    }
    bool good = lw_exchange(secret, public_key, shared);
    if (good) {
        place->name = name;
        memcpy(place->shared, shared, LW_EXCHANGE_SIZE);
    }
    return good;
}
