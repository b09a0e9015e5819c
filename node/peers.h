/* SPDX-License-Identifier: Apache-2.0 */
/* Links between the nodes of one lattice: authenticated, encrypted, made again when they break.
 *
 * Each node dials every peer it knows, and sends what it has to say on the link that it dialled:
 * messages and requests go out on it, replies come back. So there are two connections to a pair of
 * nodes, nobody has to agree which of two survives, and each side judges for itself whom it reaches
 * (a one-way partition looks like what it is).
 *
 * A connection begins in clear with a greeting (lattice/greeting.h), then a Noise handshake
 * (lattice/noise.h) in which both prove that they know the lattice's key and which node they are,
 * then frames, in the stream that the handshake protects:
 *
 *   frame = kind u8 · size u32 (of what follows) · body
 *
 * Invariants
 * P1. Nothing is sent to, and nothing taken from, a node that did not prove its id, and that it
 *     belongs to this lattice. Refusals say why on both sides.
 * P2. Of one node at most one run (process) is linked: a second one with the same identity, or an
 *     older incarnation of it, is told so inside the protected channel, and stops.
 * P3. Memory is bounded: before the handshake a few KB for each of at most LW_PEERS_STRANGERS_MAX
 *     connections and 10 s; after it by queue and window sizes, however slowly the peer reads.
 * P4. Messages between two nodes arrive in order or not at all, at most once; a gap lies between
 *     two links or where a queue was full. */
#ifndef LW_PEERS_H
#define LW_PEERS_H

#include "base/env.h"
#include "lattice/greeting.h"
#include "lattice/member.h"
#include "lattice/message.h"
#include "storage/identity.h"

typedef struct lw_peers lw_peers;

enum {
    LW_PEERS_STRANGERS_MAX = 64,
    LW_PEERS_QUEUE_SIZE_MAX = 8 * 1024 * 1024, /* bytes that wait for one peer */
    LW_PEERS_MESSAGE_SIZE_MAX = LW_FRAME_SIZE_MAX,
    LW_PEERS_ASKS_MAX = 128,    /* requests in flight to one peer; more wait their turn */
    LW_PEERS_PING_MS = 500,     /* while an answer is expected */
    LW_PEERS_SILENCE_MS = 1500, /* of a peer that owes an answer: it is down */
};

typedef struct lw_peers_options {
    const lw_node_identity *identity; /* outlives the peers */
    const char *address;              /* ours, as others reach it; copied */
    bool plain; /* links whose two ends are loopback addresses are neither encrypted nor
                   authenticated: development only, both sides must have it on */

    /* A one-way message. Must not suspend. The view lives during the call. */
    void (*message)(void *argument, uint64_t from, lw_bytes message);
    /* A request of another node, in a fiber of its own. `body` receives the reply's body, also with
     * a failure, whose reason is in the error slot. */
    LW_YIELDS lw_status (*handle)(void *argument, uint64_t from, const lw_request *request,
                                  lw_buffer *body);
    /* Our link to `node` is up, or is down now. Once for each change. Must not suspend. */
    void (*link)(void *argument, uint64_t node, bool up);
    /* A node of our lattice (the card's view lives during the call) presents itself on a new
     * connection: LW_OK, or LW_REFUSED with words that it is shown; `*gone`, which is false, says
     * whether they mean that it is no member any more, and that this is durable here. Must not
     * suspend. NULL: all are let in. */
    lw_status (*admit)(void *argument, const lw_peer_card *card, bool *gone);
    /* That was said to us, by `node`. Must not suspend. May be NULL. */
    void (*gone)(void *argument, uint64_t node);
    /* A newcomer with a valid token, in a fiber: what it is told about the lattice's members is
     * appended to `members`, opaque here. Another status than LW_OK, with words, turns it away.
     * NULL: this node takes nobody in. */
    LW_YIELDS lw_status (*joins)(void *argument, const lw_peer_card *newcomer, lw_buffer *members);
    /* What people call a node, put into `label`, which it returns. NULL: its id. */
    const char *(*label)(void *argument, uint64_t node, char label[LW_MEMBER_LABEL_SIZE]);
    /* Whether a token was revoked. Must not suspend. NULL: none is. */
    bool (*revoked)(void *argument, uint64_t token_id);
    /* Another process runs with our identity, or ours is an old copy: this one has to stop, with
     * this reason. Called once, must not suspend. */
    void (*impostor)(void *argument, const lw_error *reason);
    void *argument;
} lw_peers_options;

lw_peers *lw_peers_open(lw_env *env, const lw_peers_options *options);
/* Closes every link; asks under way end with LW_UNAVAILABLE; waits for handlers under way. */
LW_YIELDS void lw_peers_close(lw_peers *peers);
/* A connection that the server accepted and that began with the magic of a greeting. Takes the
 * socket over; `received` (copied) is what was read from it so far. Does not suspend. */
void lw_peers_take(lw_peers *peers, lw_handle socket, lw_bytes received);

/* The node is to be linked, at this address (copied). Again with another address: linked there from
 * now on. A node that dials us is known by that, and each run of it at the address that it states,
 * until somebody sets another. Ourselves: nothing happens. */
void lw_peers_set(lw_peers *peers, uint64_t node, const char *address);
/* Members may be at these addresses ("HOST:PORT", with commas), whoever they are: while a known
 * node is not linked they are dialled, until each has answered once. For nodes that all came to
 * other addresses. */
void lw_peers_seek(lw_peers *peers, const char *addresses);
/* The identity has fewer keys of the lattice than before: links of others that were made with one
 * of those end, and are made again. */
void lw_peers_end_old_links(lw_peers *peers);
/* Forgets it, and ends its links in both directions. Callback `link` comes if it was up. */
void lw_peers_remove(lw_peers *peers, uint64_t node);
/* Whether our link to it is up now. */
bool lw_peers_up(const lw_peers *peers, uint64_t node);
/* Somebody wants to know when this node dies though nothing is expected of it (quiescent groups):
 * while watched it is pinged every LW_PEERS_PING_MS. Counts; unwatch as often. The node need not be
 * known yet. */
void lw_peers_watch(lw_peers *peers, uint64_t node);
void lw_peers_unwatch(lw_peers *peers, uint64_t node);

/* Queues a one-way message (copied), which leaves at the end of this turn with all others. False:
 * dropped, because there is no link, or because more than LW_PEERS_QUEUE_SIZE_MAX would wait (an
 * empty queue takes any message). True promises nothing either. Never suspends. At most
 * LW_PEERS_MESSAGE_SIZE_MAX bytes. To ourselves: false. */
bool lw_peers_send(lw_peers *peers, uint64_t node, lw_bytes message);

/* Has another node carry out a request, with its callback `handle`; request->id is ours to fill.
 * Returns the reply's status, with its words in the error slot, and appends its body, which a
 * failure can have too. Waits for the link while it is being made, or for its turn. Of our own:
 *
 * LW_UNAVAILABLE  no link (body is empty). The request may have been carried out if the link broke
 *                 meanwhile.
 * LW_TIMEOUT      the deadline (of lw_env_now; not 0) passed; it may have been carried out. */
LW_MUST_USE LW_YIELDS lw_status lw_peers_ask(lw_peers *peers, uint64_t node,
                                             const lw_request *request, uint64_t deadline_ns,
                                             lw_buffer *body);

/* What a newcomer is given. */
typedef struct lw_peers_welcome {
    lw_shared_key lattice; /* for lw_identity_adopt; wipe it */
    uint64_t node_id;      /* of the member that answered */
    lw_buffer members;     /* opaque: what its callback `joins` said */
} lw_peers_welcome;

/* Presents a new node to the member at `address` with a token. `identity` is the newcomer's, opened
 * to join; `own_address` where it will listen. Needs no lw_peers. `welcome->members` is an
 * initialised buffer.
 *
 * LW_UNAVAILABLE       nobody answers there in time, or the connection broke: try again.
 * LW_REFUSED           the member does not want us, or is not what the token says, in words.
 * LW_INVALID_ARGUMENT  not an address. */
LW_MUST_USE LW_YIELDS lw_status lw_peers_join(lw_env *env, const char *address,
                                              const lw_token *token,
                                              const lw_node_identity *identity,
                                              const char *own_address, uint64_t deadline_ns,
                                              lw_peers_welcome *welcome);

typedef struct lw_peers_figures {
    uint32_t known, up;    /* nodes */
    uint32_t incoming;     /* links of others to us */
    uint64_t queued_bytes; /* now, all peers */
    uint64_t messages_sent, messages_received, messages_dropped;
    uint64_t asks, handled; /* requests sent and received */
    uint64_t bytes_sent, bytes_received;
    uint64_t links_made, links_lost, refused;
} lw_peers_figures;
void lw_peers_figures_get(const lw_peers *peers, lw_peers_figures *figures);

typedef struct lw_peer_state {
    bool known, up;
    char address[LW_ADDRESS_SIZE];
    uint64_t incarnation;   /* of the run that is linked, else 0 */
    uint64_t round_trip_ns; /* of the last ping; 0: none yet */
    uint64_t queued_bytes, dropped;
    char reason[LW_ERROR_TEXT_SIZE]; /* why it is not up; empty: it is, or nothing was tried */
} lw_peer_state;
void lw_peers_state_get(const lw_peers *peers, uint64_t node, lw_peer_state *state);

#endif
