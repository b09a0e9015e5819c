/* SPDX-License-Identifier: Apache-2.0 */
/* Subjects and sealed messages of the bus. */
#include "lattice/bus_wire.h"

#include <inttypes.h>
#include <stdio.h>

enum { VERSION = 1, KEYED_SIZE = 33 };
static const char purpose[] = "lathwork bus 1";

void lw_hex_print(lw_bytes bytes, char *text) {
    static const char digits[] = "0123456789abcdef";
    for (size_t index = 0; index < bytes.size; index++) {
        text[2 * index] = digits[bytes.data[index] >> 4];
        text[2 * index + 1] = digits[bytes.data[index] & 15];
    }
    text[2 * bytes.size] = '\0';
}

/* ---- subjects ------------------------------------------------------------------------------- */

static void print_subject(const uint8_t *lattice, uint64_t node, const char *last,
                          char subject[LW_BUS_SUBJECT_SIZE]) {
    char hex[LW_HEX_LATTICE_SIZE], target[17] = "all";
    lw_hex_print(lw_view(lattice, LW_BUS_LATTICE_SIZE), hex);
    if (node != 0) {
        (void)snprintf(target, sizeof(target), "%016" PRIx64, node);
    }
    int size = snprintf(subject, LW_BUS_SUBJECT_SIZE, "lw1.%s.%s.%s", hex, target, last);
    LW_ASSERT(size > 0 && size < LW_BUS_SUBJECT_SIZE);
}

void lw_bus_subject(const uint8_t lattice[LW_BUS_LATTICE_SIZE], uint64_t node, lw_bus_kind kind,
                    char subject[LW_BUS_SUBJECT_SIZE]) {
    print_subject(lattice, node, lw_bus_kind_name(kind), subject);
}

void lw_bus_subscription(const uint8_t lattice[LW_BUS_LATTICE_SIZE], uint64_t node,
                         char subject[LW_BUS_SUBJECT_SIZE]) {
    print_subject(lattice, node, "*", subject);
}

bool lw_bus_subject_parse(const uint8_t lattice[LW_BUS_LATTICE_SIZE], uint64_t self,
                          lw_bytes subject, lw_bus_kind *kind, bool *directed) {
    char expected[LW_BUS_SUBJECT_SIZE];
    for (uint32_t each = 1; each <= LW_BUS_KIND_LAST; each++) {
        for (uint32_t to_self = 0; to_self < 2; to_self++) {
            lw_bus_subject(lattice, to_self != 0 ? self : 0, (lw_bus_kind)each, expected);
            if (lw_equal(subject, lw_text(expected))) {
                *kind = (lw_bus_kind)each;
                *directed = to_self != 0;
                return true;
            }
        }
    }
    return false;
}

/* ---- messages ------------------------------------------------------------------------------- */

static void derive_key(const uint8_t *key, const uint8_t *header, uint8_t derived[LW_DIGEST_SIZE]) {
    uint8_t input[sizeof(purpose) - 1 + KEYED_SIZE];
    memcpy(input, purpose, sizeof(purpose) - 1);
    memcpy(input + sizeof(purpose) - 1, header, KEYED_SIZE);
    lw_digest_keyed(key, lw_view(input, sizeof(input)), derived);
}

/* What is sealed along with a body; returns how much. */
static size_t associate(lw_bytes subject, const uint8_t *header,
                        uint8_t whole[LW_BUS_SUBJECT_SIZE + LW_BUS_HEADER_SIZE]) {
    LW_ASSERT(subject.size < LW_BUS_SUBJECT_SIZE);
    memcpy(whole, subject.data, subject.size);
    memcpy(whole + subject.size, header, LW_BUS_HEADER_SIZE);
    return subject.size + LW_BUS_HEADER_SIZE;
}

static void make_nonce(uint64_t sequence, uint8_t nonce[LW_SEAL_NONCE_SIZE]) {
    memset(nonce, 0, LW_SEAL_NONCE_SIZE);
    lw_put_u64(nonce, sequence);
}

size_t lw_bus_message_seal(const uint8_t key[LW_BUS_KEY_SIZE], const lw_bus_origin *origin,
                           lw_bytes subject, lw_bytes body,
                           uint8_t message[LW_BUS_MESSAGE_SIZE_MAX]) {
    LW_ASSERT(body.size <= LW_BUS_BODY_SIZE_MAX);
    uint8_t derived[LW_DIGEST_SIZE], nonce[LW_SEAL_NONCE_SIZE];
    uint8_t whole[LW_BUS_SUBJECT_SIZE + LW_BUS_HEADER_SIZE];
    message[0] = VERSION;
    lw_put_u64(message + 1, origin->node);
    lw_put_u64(message + 9, origin->incarnation);
    memcpy(message + 17, origin->salt, LW_BUS_SALT_SIZE);
    lw_put_u64(message + 33, origin->sequence);
    derive_key(key, message, derived);
    make_nonce(origin->sequence, nonce);
    size_t whole_size = associate(subject, message, whole);
    lw_seal(derived, nonce, lw_view(whole, whole_size), body, message + LW_BUS_HEADER_SIZE);
    lw_seal_wipe(derived, sizeof(derived));
    return LW_BUS_HEADER_SIZE + body.size + LW_SEAL_TAG_SIZE;
}

bool lw_bus_message_open(const uint8_t key[LW_BUS_KEY_SIZE], lw_bytes subject, lw_bytes message,
                         lw_bus_origin *origin, uint8_t body[LW_BUS_BODY_SIZE_MAX],
                         size_t *body_size) {
    if (message.size < LW_BUS_HEADER_SIZE + LW_SEAL_TAG_SIZE ||
        message.size > LW_BUS_MESSAGE_SIZE_MAX || subject.size >= LW_BUS_SUBJECT_SIZE ||
        message.data[0] != VERSION) {
        return false;
    }
    uint8_t derived[LW_DIGEST_SIZE], nonce[LW_SEAL_NONCE_SIZE];
    uint8_t whole[LW_BUS_SUBJECT_SIZE + LW_BUS_HEADER_SIZE];
    lw_bus_origin read = {.node = lw_get_u64(message.data + 1),
                          .incarnation = lw_get_u64(message.data + 9),
                          .sequence = lw_get_u64(message.data + 33)};
    memcpy(read.salt, message.data + 17, LW_BUS_SALT_SIZE);
    lw_bytes sealed = lw_view(message.data + LW_BUS_HEADER_SIZE, message.size - LW_BUS_HEADER_SIZE);
    derive_key(key, message.data, derived);
    make_nonce(read.sequence, nonce);
    size_t whole_size = associate(subject, message.data, whole);
    bool good = lw_unseal(derived, nonce, lw_view(whole, whole_size), sealed, body);
    lw_seal_wipe(derived, sizeof(derived));
    if (good) {
        *origin = read;
        *body_size = sealed.size - LW_SEAL_TAG_SIZE;
    }
    return good;
}
