/* SPDX-License-Identifier: Apache-2.0 */
/* What travels on a bus that others can see: subjects, and messages that only holders of the
 * lattice's key can make or read. Who talks to whom, how much and about what kind of thing can be
 * seen; what is said cannot.
 *
 *   subject = "lw1." lattice (32 hex) "." ( "all" | node (16 hex) ) "." kind
 *   message = version u8 = 1 · sender u64 · incarnation u64 · salt 16 · sequence u64 · sealed
 *   sealed  = ChaCha20-Poly1305 of the body
 *             key        BLAKE2b-256 with the bus's key of "lathwork bus 1" and the 33 bytes of the
 *                        message before its sequence
 *             nonce      sequence · 0 u32
 *             associated the subject, then the 41 bytes before `sealed`
 *
 * The salt is random for every opening of a bus, so that no key meets a nonce twice, even if a
 * folder is copied and its incarnations come again. Integers are little-endian. */
#ifndef LW_BUS_WIRE_H
#define LW_BUS_WIRE_H

#include "base/seal.h"
#include "lattice/bus.h"

enum {
    LW_BUS_SALT_SIZE = 16,
    LW_BUS_HEADER_SIZE = 41,
    LW_BUS_MESSAGE_SIZE_MAX = LW_BUS_HEADER_SIZE + LW_BUS_BODY_SIZE_MAX + LW_SEAL_TAG_SIZE,
    LW_BUS_SUBJECT_SIZE = 64, /* with the closing zero */
    LW_HEX_LATTICE_SIZE = 2 * LW_BUS_LATTICE_SIZE + 1,
};

/* Appends nothing: writes lower-case hexadecimal digits and a closing zero. */
void lw_hex_print(lw_bytes bytes, char *text);

/* `node` 0: to all. */
void lw_bus_subject(const uint8_t lattice[LW_BUS_LATTICE_SIZE], uint64_t node, lw_bus_kind kind,
                    char subject[LW_BUS_SUBJECT_SIZE]);
/* The two subscriptions of a node: everything to all, and everything to it. */
void lw_bus_subscription(const uint8_t lattice[LW_BUS_LATTICE_SIZE], uint64_t node,
                         char subject[LW_BUS_SUBJECT_SIZE]);
/* Reads a subject of this lattice that is meant for `self`; false if it is none. */
LW_MUST_USE bool lw_bus_subject_parse(const uint8_t lattice[LW_BUS_LATTICE_SIZE], uint64_t self,
                                      lw_bytes subject, lw_bus_kind *kind, bool *directed);

typedef struct lw_bus_origin {
    uint64_t node, incarnation;
    uint8_t salt[LW_BUS_SALT_SIZE];
    uint64_t sequence;
} lw_bus_origin;

/* Writes a message; returns its size. */
size_t lw_bus_message_seal(const uint8_t key[LW_BUS_KEY_SIZE], const lw_bus_origin *origin,
                           lw_bytes subject, lw_bytes body,
                           uint8_t message[LW_BUS_MESSAGE_SIZE_MAX]);
/* Opens one: `body` receives at most LW_BUS_BODY_SIZE_MAX bytes. False if it was not made so. */
LW_MUST_USE bool lw_bus_message_open(const uint8_t key[LW_BUS_KEY_SIZE], lw_bytes subject,
                                     lw_bytes message, lw_bus_origin *origin,
                                     uint8_t body[LW_BUS_BODY_SIZE_MAX], size_t *body_size);

#endif
