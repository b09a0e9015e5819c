/* SPDX-License-Identifier: Apache-2.0 */
/* The machine that keeps nodes informed of each other: what to say over the bus and when, what to
 * ask for, and what to make of silence. It owns the set of members and the directory. Time and
 * messages come in as arguments; what is to be done is popped from it.
 *
 *   body       = [ version = 1, sender's public key bin 32, content bin, signature bin 64 ]
 *   HEARTBEAT  = [ incarnation, sent ms, members' digest and weight, directory's digest and weight,
 *                  load, wall ms ]        the last one is not in those of before
 *   ASK        = [ members' bucket digests, directory's ]     bin of u64 little-endian, or empty
 *   SHARDS     = [ [ record bin, … ], [ entry, … ] ]          also ANSWER
 *   greeting   = [ own record bin, members' bucket digests bin, incarnation, ms ]
 *                  over a link, unsigned; the last two say what the clock of whom it is for shows,
 *                  by what was heard of it (S7), or are 0; they are not in those of before
 *
 * The signature is of "lathwork gossip 1", the cluster id, the kind (a byte) and the content.
 *
 * Everybody hears everybody's heartbeat. Whoever differs from a sender by digest, and has no more
 * than it by weight (a sum that rises with every change), asks it, one of them at a time, which of
 * its buckets differ, and is answered with what lies in those: for all to hear when it is little,
 * since others probably lack it too, else alone. Who has more is asked in its turn. News of shards
 * that were said while nobody was heard are said again, as they are then, once somebody is.
 *
 * Two planes, never mixed: silence on the bus makes a node *quiet*, a broken link makes it
 * *unlinked*, and after the grace *dead*. Neither is evidence for the other (hazards G7 and G8).
 * Dead is this node's own judgement, of its own links; it needs nobody's consent (hazard G9).
 *
 * Invariants
 * S1. Whatever is lost is healed: two nodes that hear each other's heartbeats become equal in a
 *     bounded number of them (hazard G4).
 * S2. What comes late changes nothing: heartbeats are dropped unless (incarnation, sent) is newer
 *     than the last, and when they were long on the way; records and entries merge (hazard G5).
 * S3. What is not signed by who is said to have sent it is dropped (hazard X3).
 * S4. Alone, it says nothing and wants no time: lw_gossip_deadline is LW_GOSSIP_NEVER.
 * S5. Said are at most about 200 heartbeats a second in the whole lattice; all bodies are at most
 *     LW_BUS_BODY_SIZE_MAX. An entry of the directory that is longer than LW_GOSSIP_ENTRY_MAX,
 * since its bounds are long keys, is not gossiped.
 * S6. Wall clocks decide nothing. One that differs by more than LW_GOSSIP_CLOCK_MS from what most
 *     nodes' show, this node's own among them, is told; of two nodes it is the other one's.
 * S7. Who was overtaken in its own name is heard again: if a copy of its folder spoke in the same
 *     incarnation, or its machine was put back to an earlier moment, its heartbeats count as old.
 *     Who does not hear it tells it so over the link, and they go on from there. Nobody asks it
 *     for what it alone knows meanwhile: if it hears an older record of itself, it says its own. */
#ifndef LW_GOSSIP_H
#define LW_GOSSIP_H

#include "lattice/bus.h"
#include "lattice/member.h"
#include "lattice/neighbour.h"

enum {
    LW_GOSSIP_HEARTBEAT_MS = 500,
    LW_GOSSIP_QUIET_BEATS = 6,          /* missed before a node is quiet */
    LW_GOSSIP_GRACE_MS = 5 * 60 * 1000, /* unlinked before a node is dead */
    LW_GOSSIP_BATCH_MS = 10,            /* changes of that time go together */
    LW_GOSSIP_EXPIRY_MS = 10 * 1000,    /* longer on the way than usual: too old */
    LW_GOSSIP_ENTRY_MAX = 4 * 1024,     /* bytes, encoded */
    LW_GOSSIP_BEATS_MAX = 200,          /* heartbeats a second, in the whole lattice */
    LW_GOSSIP_CLOCK_MS = 1000,          /* wall clocks may differ by less */
    LW_GOSSIP_CLOCK_BEATS = 6,          /* for which one has to, before it is told */
};
#define LW_GOSSIP_NEVER UINT64_MAX

typedef struct lw_gossip lw_gossip;

typedef struct lw_gossip_options {
    lw_memory *memory;
    const lw_identity *identity; /* outlives it */
    uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE];
    lw_member self;        /* all but sequence and public key; copied */
    uint32_t heartbeat_ms; /* 0: LW_GOSSIP_HEARTBEAT_MS */
    uint64_t grace_ms;     /* 0: LW_GOSSIP_GRACE_MS */
    lw_known *known;       /* to other nodes of this process; NULL: nothing */
#ifdef LW_SIMULATION
    uint64_t bugs; /* planted ones, bits of lw_planted_bug */
#endif
} lw_gossip_options;

typedef struct lw_gossip_message {
    lw_bus_kind kind;
    uint64_t to;   /* 0: all */
    lw_bytes body; /* valid until the next call */
} lw_gossip_message;

typedef enum lw_gossip_event_kind {
    LW_GOSSIP_JOINED = 1, /* a node that was not known */
    LW_GOSSIP_CHANGED,    /* its address, zone, capacity or incarnation is another */
    LW_GOSSIP_STATE,      /* its state is another; GONE: it left, for ever */
    LW_GOSSIP_QUIET,      /* not heard of on the bus for a while */
    LW_GOSSIP_HEARD,      /* heard of again */
    LW_GOSSIP_UNLINKED,
    LW_GOSSIP_LINKED,
    LW_GOSSIP_DEAD,     /* unlinked for longer than the grace */
    LW_GOSSIP_DISPUTED, /* two descriptors of one epoch: `shard`, an alarm */
    LW_GOSSIP_COPIED,   /* somebody speaks as this node: its folder was copied. This node must stop
                         */
    LW_GOSSIP_EXPELLED, /* this node is gone for the others, and must stop */
    LW_GOSSIP_RENAMED,  /* this node took another name: another had a better claim to the one it had
                         */
    LW_GOSSIP_CLOCK_WRONG, /* its wall clock differs from most others: see clock_ahead_ms */
    LW_GOSSIP_CLOCK_RIGHT, /* ... and does no more */
} lw_gossip_event_kind;

typedef struct lw_gossip_event {
    lw_gossip_event_kind kind;
    uint64_t node;
    uint64_t shard;
    lw_member_state state;
} lw_gossip_event;

/* What is known of a node besides its record. Milliseconds of the caller's clock. */
typedef struct lw_gossip_peer {
    lw_member_load load;
    bool loaded; /* `load` was heard in this incarnation */
    bool quiet;  /* as the bus goes */
    bool linked; /* as links go */
    bool dead;
    uint64_t heard_ms;      /* when it was heard last; 0: never */
    uint64_t told_ms;       /* when it said that, at the latest: what was late is known to be */
    uint64_t sent_ms;       /* the same by its own clock, alike for all who heard it */
    uint64_t changed_ms;    /* when the link came or broke, or since when it is known */
    int64_t clock_ahead_ms; /* by so much its wall clock is wrong; 0: it is right, or not known */
} lw_gossip_peer;

typedef struct lw_gossip_figures {
    uint64_t heartbeats_sent, asks_sent, answers_sent, bytes_sent;
    uint64_t messages_received, bytes_received;
    uint64_t stale, malformed, forged;
} lw_gossip_figures;

lw_gossip *lw_gossip_open(const lw_gossip_options *options, uint64_t now_ms);
void lw_gossip_close(lw_gossip *gossip);

/* ---- what happened -------------------------------------------------------------------------- */

/* Its deadline passed (calling early is harmless). */
void lw_gossip_tick(lw_gossip *gossip, uint64_t now_ms);
/* When it wants to be called next, by the same clock. */
uint64_t lw_gossip_deadline(const lw_gossip *gossip);
void lw_gossip_receive(lw_gossip *gossip, const lw_bus_message *message, uint64_t now_ms);
/* Records from a page: of the folder, of the node that let this one in. */
LW_MUST_USE lw_status lw_gossip_learn(lw_gossip *gossip, lw_bytes page, uint64_t now_ms);
/* What `node` is to be told when a link to it comes up, when it becomes quiet, and now and then;
 * and what it answers: a page for lw_gossip_learn. Works without a bus. LW_INVALID_ARGUMENT. */
void lw_gossip_greeting(const lw_gossip *gossip, uint64_t node, uint64_t now_ms,
                        lw_buffer *greeting);
LW_MUST_USE lw_status lw_gossip_greeted(lw_gossip *gossip, lw_bytes greeting, uint64_t now_ms,
                                        lw_buffer *page);
/* The link to a node came up or broke. */
void lw_gossip_link(lw_gossip *gossip, uint64_t node, bool up, uint64_t now_ms);
/* A descriptor or a leader, first hand, from a replica here; if it is news and `say`, all are told
 * soon. One of the replicas is enough for that: the leader. */
void lw_gossip_shard(lw_gossip *gossip, const lw_directory_row *row, bool say, uint64_t now_ms);
/* What this node, which leads a shard, makes of it: all are told if that is another than is known.
 * True: so they are. */
bool lw_gossip_idleness(lw_gossip *gossip, uint64_t shard, lw_idleness judged, uint64_t now_ms);
/* What this node's wall clock shows now, in milliseconds since 1970. */
void lw_gossip_wall(lw_gossip *gossip, uint64_t wall_ms, uint64_t now_ms);
/* By how much it is ahead of those of most nodes; 0: it is right, as far as is known. */
int64_t lw_gossip_own_clock(const lw_gossip *gossip);
/* What the next heartbeats tell. */
void lw_gossip_load(lw_gossip *gossip, const lw_member_load *load);
void lw_gossip_own_load(const lw_gossip *gossip, lw_member_load *load);
/* This node's state, or its broker's address, is another: said to all at once. */
void lw_gossip_set_state(lw_gossip *gossip, lw_member_state state, uint64_t now_ms);
/* Gives this node a name of its own; empty: one that is free, if it has none yet. LW_REFUSED if
 * another live member is called so. */
LW_MUST_USE lw_status lw_gossip_set_name(lw_gossip *gossip, lw_bytes name, uint64_t now_ms);
/* Which keys of the lattice this node has, the one in use first. */
void lw_gossip_set_keys(lw_gossip *gossip, const uint32_t *epochs, uint32_t count, uint64_t now_ms);
void lw_gossip_set_bus_address(lw_gossip *gossip, lw_bytes address, uint64_t now_ms);
/* Takes a node out for ever, on behalf of an operator. LW_NOT_FOUND, or LW_REFUSED for this node
 * itself. */
LW_MUST_USE lw_status lw_gossip_expel(lw_gossip *gossip, uint64_t node, uint64_t now_ms);

/* ---- what is to be done --------------------------------------------------------------------- */

/* Takes the next message to publish; false if there is none. */
LW_MUST_USE bool lw_gossip_next_message(lw_gossip *gossip, lw_gossip_message *message);
LW_MUST_USE bool lw_gossip_next_event(lw_gossip *gossip, lw_gossip_event *event);
/* "joined", "changed", … */
const char *lw_gossip_event_name(lw_gossip_event_kind kind);

/* ---- looking -------------------------------------------------------------------------------- */

const lw_members *lw_gossip_members(const lw_gossip *gossip);
const lw_directory *lw_gossip_directory(const lw_gossip *gossip);
/* This node's own record, as the others have it. */
const lw_member *lw_gossip_self(const lw_gossip *gossip);
/* False if nothing is known of it but, perhaps, its record. */
LW_MUST_USE bool lw_gossip_peer_of(const lw_gossip *gossip, uint64_t node, lw_gossip_peer *peer);
/* Whether any other node was heard of lately: else the bus is of no use now. */
bool lw_gossip_connected(const lw_gossip *gossip);
void lw_gossip_figures_get(const lw_gossip *gossip, lw_gossip_figures *figures);

#endif
