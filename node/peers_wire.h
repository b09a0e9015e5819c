/* SPDX-License-Identifier: Apache-2.0 */
/* One connection between nodes, as bytes and frames: the steps of its handshake in clear, then
 * frames in sealed records. It knows how to carry them, not what they mean.
 *
 *   frame = kind u8 · size u32 (of what follows) · body
 *
 * Invariants
 * Q1. What is put within one turn leaves in one write, at most SEND_SIZE_MAX at a time.
 * Q2. Nothing that a peer announces is allocated before it has arrived.
 * Q3. One fiber reads; anybody on the same env may put frames, and cut. */
#ifndef LW_PEERS_WIRE_H
#define LW_PEERS_WIRE_H

#include "base/env.h"
#include "lattice/greeting.h"
#include "lattice/message.h"
#include "lattice/noise.h"

enum {
    LW_WIRE_HEADER_SIZE = 5,
    LW_WIRE_BODY_SIZE_MAX = LW_FRAME_HEADER_SIZE + LW_FRAME_SIZE_MAX, /* a request has both */
};

typedef enum lw_wire_kind {
    LW_WIRE_MESSAGE = 1,
    LW_WIRE_REQUEST = 2, /* a frame of lattice/message.h, with its size */
    LW_WIRE_REPLY = 3,
    LW_WIRE_PING = 4, /* number u64 */
    LW_WIRE_PONG = 5, /* the same */
    LW_WIRE_WELCOME = 6,
    LW_WIRE_REFUSED = 7, /* final u8 · words */
    LW_WIRE_SECRETS = 8, /* cluster id · key epoch u32 · key · members */
    LW_WIRE_KIND_LAST = LW_WIRE_SECRETS,
} lw_wire_kind;

typedef struct lw_wire {
    lw_env *env;
    lw_handle socket;
    bool plain; /* frames are not sealed */
    bool cut;   /* of no more use */
    bool receiving, deferred, is_sending;
    lw_noise_cipher sending_cipher, receiving_cipher;
    lw_buffer received; /* as it came; the first `received_taken` bytes are dealt with */
    lw_buffer clear;    /* what it says, the same with `clear_taken`; unused if plain */
    size_t received_taken, clear_taken;
    size_t read_size; /* to ask for next */
    lw_buffer out;    /* frames that wait, from `out_taken` on */
    size_t out_taken;
    lw_buffer sending; /* bytes under way */
    lw_op receive, defer, send;
    lw_queue *room;    /* the owner's: woken when many bytes have left; NULL: none */
    lw_queue changed;  /* something left, or it was cut */
    uint64_t heard_ns; /* when bytes came last */
    uint64_t bytes_received, bytes_sent;
} lw_wire;

/* Takes the socket over. `received` is what was read from it so far. */
void lw_wire_init(lw_wire *wire, lw_env *env, lw_handle socket, lw_bytes received);
/* Cuts, closes the socket, frees. */
LW_YIELDS void lw_wire_reset(lw_wire *wire);
/* Nothing more is sent or received: reading and waiting end. Does not suspend. */
void lw_wire_cut(lw_wire *wire);

/* ---- before and in the handshake ---------------------------------------------------------- */

/* What was received and not taken. */
lw_bytes lw_wire_unread(const lw_wire *wire);
/* Forgets all of it but the last `left_size` bytes. */
void lw_wire_keep(lw_wire *wire, size_t left_size);
/* Receives more. LW_UNAVAILABLE: the other side closed; LW_TIMEOUT. */
LW_MUST_USE LW_YIELDS lw_status lw_wire_fill(lw_wire *wire, uint64_t deadline_ns);
/* The next step; `body` lives until the next call. */
LW_MUST_USE LW_YIELDS lw_status lw_wire_read_step(lw_wire *wire, uint64_t deadline_ns,
                                                  lw_step_kind *kind, lw_bytes *body);
/* Sends bytes as they are, and waits. */
LW_MUST_USE LW_YIELDS lw_status lw_wire_say(lw_wire *wire, lw_bytes bytes, uint64_t deadline_ns);
/* From now on frames go both ways, under these keys; `plain`: as they are. */
void lw_wire_protect(lw_wire *wire, lw_noise *noise, bool plain);

/* ---- frames ------------------------------------------------------------------------------- */

/* Queues a frame of two pieces, which leaves at the end of the turn. */
void lw_wire_put(lw_wire *wire, lw_wire_kind kind, lw_bytes first, lw_bytes second);
/* The same for a frame whose header and body the caller has appended to `wire->out`. */
void lw_wire_flush(lw_wire *wire);
/* Bytes that wait or are under way. */
size_t lw_wire_queued(const lw_wire *wire);
/* Waits until they have left, the wire was cut, or the deadline. */
LW_YIELDS void lw_wire_drain(lw_wire *wire, uint64_t deadline_ns);
/* The next frame; `body` is a view that lives until the next call. LW_UNAVAILABLE: the connection
 * ended; LW_TIMEOUT; LW_INVALID_ARGUMENT: what came is not what a node sends. */
LW_MUST_USE LW_YIELDS lw_status lw_wire_next(lw_wire *wire, uint64_t deadline_ns,
                                             lw_wire_kind *kind, lw_bytes *body);

#endif
