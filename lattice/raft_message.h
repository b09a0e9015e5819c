/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of Raft groups as bytes: what lattice/raft.h says, with the entries of an append.
 *
 *   message = [ kind, group, term, index, index term, commit, round, sent at, handover, flags,
 *               conflict index, conflict term, digest index, digest, runs, entries ]
 *   flags   = 1 quiesce | 2 granted
 *   runs    = [ length of run, its term, … ]    how many entries of which term; [] without entries
 *   entries = [ bin, … ]
 *
 * Who it is from and to is the link's to know. Arrays may grow at their end.
 *
 * Invariants
 * N1. Whatever bytes come in: LW_INVALID_ARGUMENT, or a message whose runs cover its entries and
 *     rise in term up to the message's own, and whose indexes do not overflow. Nothing is
 * allocated.
 */
#ifndef LW_RAFT_MESSAGE_H
#define LW_RAFT_MESSAGE_H

#include "base/codec.h"
#include "lattice/raft.h"

/* Appends the message, with message->count payloads. Entries of no bytes are possible. */
void lw_raft_message_encode(uint64_t group, const lw_raft_message *message,
                            const lw_bytes *payloads, lw_buffer *out);
/* Reads one. `entries` then gives message->count payloads, by lw_raft_payload_next; they are views
 * into `bytes`. from, to and configs are left empty for the driver. */
LW_MUST_USE lw_status lw_raft_message_decode(lw_bytes bytes, uint64_t *group,
                                             lw_raft_message *message, lw_reader *entries);
/* The next payload: to be called message->count times, after which none is left. */
lw_bytes lw_raft_payload_next(lw_reader *entries);

#endif
