/* SPDX-License-Identifier: Apache-2.0 */
/* The two sides of a handshake, carried out on a wire: who dials begins. */
#ifndef LW_PEERS_HANDSHAKE_H
#define LW_PEERS_HANDSHAKE_H

#include "node/peers_wire.h"
#include "storage/identity.h"

/* What a node shows of itself. */
typedef struct lw_presence {
    const lw_node_identity *identity;
    lw_known *known;                       /* to other nodes of this process; NULL: nothing */
    uint8_t cluster_id[LW_SHARED_ID_SIZE]; /* of the lattice that the card is for */
    uint64_t run;
    char address[LW_ADDRESS_SIZE];
    lw_buffer card; /* signed once, shown often */
} lw_presence;

/* Signs the card. The memory of its buffer is the env's. */
void lw_presence_init(lw_presence *presence, lw_env *env, const lw_node_identity *identity,
                      const uint8_t cluster_id[LW_SHARED_ID_SIZE], uint64_t run,
                      const char *address);
void lw_presence_reset(lw_presence *presence);

/* Whether "HOST:PORT" is an address that only this machine reaches. */
bool lw_address_is_loopback(const char *address);

/* Greets and shows who we are; learns who they are. `card` has views of `*said`, an initialised
 * buffer. Then frames can go. LW_REFUSED has the other side's words or ours. Who is not `node` (0:
 * whoever it is) is not shown who we are: it would take this for our link to it, in place of one
 * that is. */
LW_MUST_USE LW_YIELDS lw_status lw_handshake_begin(lw_wire *wire, const lw_presence *presence,
                                                   const lw_greeting *greeting, uint64_t node,
                                                   const uint8_t psk[LW_SHARED_KEY_SIZE],
                                                   uint64_t deadline_ns, lw_buffer *said,
                                                   lw_peer_card *card);
/* Receives the greeting, at most LW_GREETING_SIZE_MAX bytes; it stays unread, since its bytes are
 * the prologue: `*size` of them. */
LW_MUST_USE LW_YIELDS lw_status lw_handshake_listen(lw_wire *wire, uint64_t deadline_ns,
                                                    lw_greeting *greeting, size_t *size);
/* Goes on after a greeting that was found good. */
LW_MUST_USE LW_YIELDS lw_status lw_handshake_answer(lw_wire *wire, const lw_presence *presence,
                                                    const lw_greeting *greeting, size_t size,
                                                    const uint8_t psk[LW_SHARED_KEY_SIZE],
                                                    uint64_t deadline_ns, lw_buffer *said,
                                                    lw_peer_card *card);
/* Tells the other side in clear, in the words of the error slot, that it is refused. Keeps the
 * slot. */
LW_YIELDS void lw_handshake_refuse(lw_wire *wire, uint64_t deadline_ns);

#endif
