/* SPDX-License-Identifier: Apache-2.0 */
/* The bus: how the nodes of a lattice say things that are good to know and need not be known. What
 * goes over it are hints (who is there, how loaded, who leads, what happened); ownership, epochs
 * and commits never do. Without a bus a lattice reacts later, and is as right as with one.
 *
 * Worlds: NATS (lattice/bus_nats.h), and the simulated one (sim/bus.h). A node without a bus has
 * none.
 *
 * Invariants
 * B1. Publishing never suspends, and never waits for anybody. What cannot go out now is dropped and
 *     counted; nothing is kept for later, so that no old news come in a burst (hazard G5).
 * B2. What is received from a node is newer than all that was received from it before, by
 *     (incarnation, sequence): what comes late or twice is dropped and counted.
 * B3. A message that was not made by a holder of the lattice's key, or was made for another subject
 *     or lattice, is dropped and counted.
 * B4. Both callbacks run on the env's thread, from the turn of its loop, outside any fiber. They
 *     do not suspend and do not close the bus; they may publish.
 * B5. Whether the bus is up says nothing about whether other nodes can be reached, nor the other
 * way round (hazards G7 and G8). */
#ifndef LW_BUS_H
#define LW_BUS_H

#include "base/env.h"

enum {
    LW_BUS_BODY_SIZE_MAX = 16 * 1024, /* whoever has more to say says it in pages */
    LW_BUS_KEY_SIZE = 32,
    LW_BUS_LATTICE_SIZE = 16, /* as LW_CLUSTER_ID_BYTES */
    LW_BUS_REASON_SIZE = 256, /* with the closing zero */
    LW_BUS_ROUTES_MAX = 256,
};

/* What a message is about; its body is none of the bus's business. */
typedef enum lw_bus_kind {
    LW_BUS_HEARTBEAT = 1, /* "hb": I am here, and this is how I am */
    LW_BUS_SHARDS = 2,    /* "sh": these descriptors are new */
    LW_BUS_ASK = 3,       /* "ask" */
    LW_BUS_ANSWER = 4,    /* "ans" */
    LW_BUS_EVENT = 5,     /* "ev": for operators */
    LW_BUS_KIND_LAST = LW_BUS_EVENT,
} lw_bus_kind;

typedef enum lw_bus_state {
    LW_BUS_NONE,     /* there is no bus, and there will be none */
    LW_BUS_STARTING, /* not up yet; nothing went wrong so far */
    LW_BUS_UP,
    LW_BUS_DEGRADED, /* it should be up, and is not: `reason` says why, in words */
} lw_bus_state;

typedef struct lw_bus_message {
    lw_bus_kind kind;
    uint64_t from; /* never this node */
    uint64_t incarnation;
    bool directed; /* to this node alone */
    lw_bytes body; /* a view, until the callback returns */
} lw_bus_message;

typedef struct lw_bus_options {
    uint64_t node;        /* this node's id, not 0 */
    uint64_t incarnation; /* higher than at any earlier opening by this node */
    uint8_t lattice[LW_BUS_LATTICE_SIZE];
    uint8_t key[LW_BUS_KEY_SIZE]; /* of the lattice, for the bus alone; copied */
    void (*receive)(void *argument, const lw_bus_message *message);
    void (*changed)(void *argument); /* state, reason or address is another now; may be NULL */
    void *argument;                  /* of both */
} lw_bus_options;

typedef struct lw_bus_figures {
    uint64_t published;    /* handed on */
    uint64_t unpublished;  /* dropped here: no bus, no room, too long */
    uint64_t received;     /* handed to `receive` */
    uint64_t overrun;      /* dropped on the way in, for want of room */
    uint64_t refused;      /* not sealed by a holder of the key, or not for this subject */
    uint64_t stale;        /* not newer than what its sender had said before */
    uint64_t connects;     /* how often the bus came up */
    uint64_t broker_exits; /* how often the child nats-server ended without having been told to */
} lw_bus_figures;

typedef struct lw_bus lw_bus;

/* What a world implements. */
typedef struct lw_bus_world {
    bool (*publish)(lw_bus *bus, lw_bus_kind kind, uint64_t node, lw_bytes body);
    void (*set_routes)(lw_bus *bus, const char *const *addresses, uint32_t count);
    LW_YIELDS void (*end)(lw_bus *bus);
} lw_bus_world;

/* To be read by everybody, and written by its world. */
struct lw_bus {
    const lw_bus_world *world;
    lw_bus_state state;
    char reason[LW_BUS_REASON_SIZE]; /* while DEGRADED; else empty */
    char address[LW_ADDRESS_SIZE];   /* "HOST:PORT" that the brokers of other nodes reach this
                                        node's at; empty: nowhere (yet) */
    lw_bus_figures figures;
};

/* How a node gets its bus once it knows who it is. */
typedef LW_YIELDS lw_status (*lw_bus_opener)(void *argument, lw_env *env,
                                             const lw_bus_options *options, lw_bus **bus);

/* Says `body` to `node`, or to all others if that is 0. */
void lw_bus_publish(lw_bus *bus, lw_bus_kind kind, uint64_t node, lw_bytes body);
/* The addresses (as in `address`) of all other members' brokers that are known; what is not among
 * them any more is forgotten. Copied. Cheap where nothing changed. */
void lw_bus_set_routes(lw_bus *bus, const char *const *addresses, uint32_t count);
/* Ends it and frees it. No callback comes any more. */
LW_YIELDS void lw_bus_close(lw_bus *bus);
/* "none", "starting", "up", "degraded". */
const char *lw_bus_state_name(lw_bus_state state);

/* ---- for worlds ----------------------------------------------------------------------------- */

/* What was heard last of whom (B2). */
typedef struct lw_bus_heard {
    lw_memory *memory;
    struct lw_bus_speaker *speakers; /* ascending by node */
    uint32_t count, capacity;
    uint32_t round;       /* of lw_bus_heard_lately */
    uint32_t round_count; /* who spoke in it */
} lw_bus_heard;

static inline lw_bus_heard lw_bus_heard_in(lw_memory *memory) {
    return (lw_bus_heard){.memory = memory};
}
void lw_bus_heard_reset(lw_bus_heard *heard);
/* Notes a message; false if it is not newer than the last one, or one speaker too many. */
LW_MUST_USE bool lw_bus_hear(lw_bus_heard *heard, uint64_t node, uint64_t incarnation,
                             uint64_t sequence);
/* How many have spoken since the last call. */
uint32_t lw_bus_heard_lately(lw_bus_heard *heard);
/* "hb", …: the last part of its subject; NULL if there is no such kind. */
const char *lw_bus_kind_name(lw_bus_kind kind);
/* Sets state and reason (NULL: none), and tells whoever is to be told of it. */
void lw_bus_set_state(lw_bus *bus, const lw_bus_options *options, lw_bus_state state,
                      const char *reason);

#endif
