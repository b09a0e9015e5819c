/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the peers share. peers.c: who is known, sending, asking, closing;
 * peers_dial.c: our links to others; peers_seek.c: members that came to other addresses;
 * peers_accept.c: links of others to us, and newcomers; peers_judge.c: which run of a node is
 * believed. */
#ifndef LW_PEERS_PRIVATE_H
#define LW_PEERS_PRIVATE_H

#include "base/hash.h"
#include "node/peers.h"
#include "node/peers_handshake.h"

#define LW_PEERS_NS_PER_MS UINT64_C(1000000)

typedef struct lw_peer lw_peer;
typedef struct lw_ask lw_ask;
typedef struct lw_seek lw_seek;

/* A connection that another node dialled. */
typedef struct lw_incoming {
    lw_peers *peers;
    struct lw_incoming *next, *previous;
    lw_wire wire;
    lw_peer *peer; /* NULL: a stranger still */
    uint64_t run;
    uint32_t key_epoch;   /* of the lattice's key that it was made with */
    bool stranger;        /* counted as one */
    uint32_t requests;    /* fibers that carry out a request of this connection */
    size_t request_bytes; /* which these hold */
    lw_queue changed;     /* a request is done */
} lw_incoming;

/* Another node. It exists while somebody refers to it. */
struct lw_peer {
    lw_map_node place;
    lw_peer *next, *previous;
    lw_peers *peers;
    uint64_t id;
    char address[LW_ADDRESS_SIZE];
    uint32_t key_turn; /* which of our keys is tried: it may have another one than we use */
    bool known;        /* to be linked */
    bool dialling;     /* its fiber runs */
    bool trying;       /* a link is being made: those who ask wait for it */
    uint32_t watchers; /* of lw_peers_watch */
    uint32_t holds;    /* fibers that refer to it, besides its own */

    /* The run that is believed to be this node (P2). */
    uint64_t incarnation, run;
    uint64_t run_ns;       /* since then */
    uint64_t address_run;  /* the run that last told us its address */
    lw_incoming *incoming; /* its link to us, or NULL */

    /* Our link to it. */
    lw_wire *wire;        /* NULL: down */
    lw_op connect;        /* while it is being made, the one ... */
    lw_wire *shaking;     /* ... then the other, or NULL, */
    uint64_t shaking_ns;  /* since then, */
    uint64_t shaking_run; /* with this run; 0: it has not answered yet */
    bool connecting;      /* `connect` is submitted */
    bool heard;           /* it dialled us: no pause before we dial it */
    lw_queue wake;        /* the dialling fiber sleeps here */
    lw_queue room;        /* up, down, not trying, room for requests */
    lw_queue changed;     /* a pong, or a link in either direction ended */
    lw_ask *asks, *asks_last;
    uint32_t ask_count;
    uint64_t ask_id;
    bool up_again_told; /* the last thing that was logged is that it is up */
    uint64_t logged_ns; /* when a failure was logged last; 0: never */
    char reason[LW_ERROR_TEXT_SIZE];
    uint64_t dropped;

    /* Signs of life. */
    lw_op timer;
    bool timer_pending;
    bool said;            /* something that no ping followed yet */
    uint64_t ping_number; /* of the last ping on any link to or from it */
    uint64_t ping_ns;     /* when the one on our link was sent that is not answered; 0: none */
    uint64_t ping_answer; /* its number */
    uint64_t round_trip_ns;
    uint64_t pong_run, pong_number; /* the last that came, and from which run */
};

struct lw_peers {
    lw_env *env;
    lw_peers_options options; /* strings are copies */
    lw_presence presence;
    lw_map by_id;
    lw_peer *first, *last;
    lw_incoming *incomings;
    lw_seek *seeks;
    uint32_t stranger_count;
    bool plain; /* the option, and we are on a loopback address */
    bool closing, impostor_told;
    lw_queue changed; /* something ended while closing */
    uint64_t stranger_logged_ns;
    lw_peers_figures figures; /* sums; the rest is counted when asked for */
};

/* A request on its way, on the stack of the fiber that waits. */
struct lw_ask {
    lw_ask *next;
    uint64_t id;
    lw_fiber *fiber;
    lw_queue done_queue;
    bool done;
    lw_buffer *body;
    lw_error error; /* status LW_OK: none */
};

/* ---- peers.c ------------------------------------------------------------------------------ */

lw_peer *lw_peer_find(const lw_peers *peers, uint64_t id);
/* What people call it. Returns `label`. */
const char *lw_peers_label(const lw_peers *peers, uint64_t id, char label[LW_MEMBER_LABEL_SIZE]);
/* Found or made. */
lw_peer *lw_peer_of(lw_peers *peers, uint64_t id);
/* Frees it if nobody refers to it any more. */
void lw_peer_release(lw_peer *peer);
/* Makes it known at this address, and starts to dial. */
void lw_peer_know(lw_peer *peer, const char *address);
/* A reply of our link. */
LW_MUST_USE lw_status lw_peer_take_reply(lw_peer *peer, lw_bytes frame);
/* The link is gone: nobody waits for replies any more. */
void lw_peer_fail_asks(lw_peer *peer);
/* A pong from this run, on whichever link. */
void lw_peer_ponged(lw_peer *peer, uint64_t run, lw_bytes body);
/* Sends a ping on one of its links; returns its number. */
uint64_t lw_peer_ping(lw_peer *peer, lw_wire *wire);

/* ---- peers_dial.c ------------------------------------------------------------------------- */

/* The fiber of a known peer. */
LW_YIELDS void lw_peer_main(void *peer);
/* Something was sent on our link, or is expected from it: pings go until it is answered. */
void lw_peer_expect(lw_peer *peer);

/* How we greet whoever is there, with one of our keys: the one in use for `turn` 0, and those
 * before it, then those behind it, for others. */
lw_greeting lw_peers_greeting(const lw_peers *peers, const char *address, uint32_t turn);
/* The key of links that follows from the lattice's of that epoch, which we have. Wipe it. */
void lw_peers_node_key(const lw_peers *peers, uint32_t epoch, uint8_t key[LW_SHARED_KEY_SIZE]);
/* The other side has shaken hands: whether it takes us. */
LW_MUST_USE LW_YIELDS lw_status lw_peers_wait_for_welcome(lw_peers *peers, uint64_t node,
                                                          lw_wire *wire, uint64_t deadline_ns);

/* ---- peers_seek.c ------------------------------------------------------------------------- */

/* Wakes those fibers, so that they end. */
void lw_peers_stop_seeking(lw_peers *peers);

/* ---- peers_judge.c ------------------------------------------------------------------------ */

/* What a refusal means for who is refused: a byte in front of its words. */
typedef enum lw_refusal {
    LW_REFUSAL_NOW = 0,
    LW_REFUSAL_OF_RUN = 1,   /* its process has to stop: another is this node */
    LW_REFUSAL_FOR_GOOD = 2, /* it is no member any more, and that is durable */
} lw_refusal;

/* Whether the card is of the run that is this node. May ask an older run whether it is still there.
 * LW_REFUSED, and what that means. */
LW_MUST_USE LW_YIELDS lw_status lw_peers_judge(lw_peers *peers, const lw_peer_card *card,
                                               lw_refusal *refusal);
/* From now on this run is the node. */
void lw_peer_believe(lw_peer *peer, const lw_peer_card *card);
/* Sends the words of the error slot in the protected channel, and waits until they left. */
LW_YIELDS void lw_peers_refuse(lw_wire *wire, lw_refusal refusal);
/* `node` refused us in the protected channel: fails with its words. `peers` is NULL for a newcomer.
 */
LW_MUST_USE lw_status lw_peers_refused(lw_peers *peers, uint64_t node, lw_bytes body);

#endif
