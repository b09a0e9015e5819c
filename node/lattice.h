/* SPDX-License-Identifier: Apache-2.0 */
/* A node among others: carries out what membership, directory, gossip and placement (lattice/)
 * decide. It feeds the bus and hears it, keeps the links (node/peers.h) to all members, tells
 * shards where others are, moves the replicas of the shards that this node leads, answers what
 * operators ask, and keeps in the folder who belongs to the lattice.
 *
 * The file LATTICE of the data folder holds all records, the node's own among them, from which its
 * state (draining, leaving) comes back after a restart:
 *
 *   "LWLT" · format u32 (1) · records, as of a MEMBERS body · crc32c u32 of all before
 *   "LWLT" · format u32 (2) · size of the records u32 · records · a page of lattice/revoked.h ·
 *            crc32c u32 of all before          once a token is revoked
 *
 * A newcomer and the node that takes it in learn of each other by link, not by bus: whenever a link
 * comes up the two exchange records (MEMBERS), so membership spreads without a bus, slower.
 *
 *   MEMBERS = greeting, as lattice/gossip.h has it  → [ record bin, … ]
 *
 * Invariants
 * L1. While this node is the only member there is no fiber, no timer, no bus and no file (the
 *     records of those that have left make it no company), but for a name that it was given.
 * L2. What the bus says is never evidence about links, nor the other way round (hazards G7, G8);
 *     without a bus nothing moves but what has to (lattice/placement.h).
 * L3. A shard is changed only by its leader, by one step at a time, which is an entry of its log
 *     (hazards R3, R15).
 * L4. Members, events and steps under way are bounded. */
#ifndef LW_NODE_LATTICE_H
#define LW_NODE_LATTICE_H

#include "client/json.h"
#include "lattice/bus.h"
#include "lattice/gossip.h"
#include "node/peers.h"
#include "node/shards.h"
#include "storage/identity.h"

/* In what is said of, and by, a node whose folder is of no more use. */
#define LW_LATTICE_FOR_GOOD "its lattice for good"

typedef struct lw_lattice lw_lattice;

typedef struct lw_lattice_options {
    lw_env *env;
    const lw_node_identity *identity; /* outlives it */
    const char *directory;            /* copied, as all texts */
    const char *address;              /* where this node listens, as others reach it */
    const char *zone;                 /* NULL: none */
    const char *name;                 /* NULL: the one it has, or one that is free */
    uint64_t capacity;                /* 0: not said */
    uint32_t voters;                  /* 0: 3 */
    uint64_t shard_rate;    /* requests a second from which a shard may be split; 0: 2500 */
    uint64_t dead_after_ms; /* 0: 5 minutes */
    lw_bus_opener open_bus; /* NULL: there is none */
    void *bus_argument;
    /* A newcomer: the records it was given by the member that took it in (lw_peers_welcome). */
    lw_bytes welcome;
    /* The lattice's keys are these from now on: durable, and in `identity`, when this returns. */
    LW_YIELDS lw_status (*set_keys)(void *argument, const lw_shared_key *used,
                                    const lw_shared_key *others, uint32_t other_count);
    /* This node must stop: it has left the lattice, was taken out of it, or runs twice. Called
     * once. Must not suspend. */
    void (*ended)(void *argument, const lw_error *reason);
    void *argument;
} lw_lattice_options;

/* Reads the file LATTICE, if there is one; what a newcomer was given is durable when this returns.
 * LW_REFUSED if the node has left for ever, LW_CORRUPTION, LW_FULL. */
LW_MUST_USE LW_YIELDS lw_status lw_lattice_open(const lw_lattice_options *options,
                                                lw_lattice **lattice);
/* Begins, once all of these are open; they outlive the stop. */
void lw_lattice_start(lw_lattice *lattice, lw_store *store, lw_shards *shards, lw_peers *peers);
/* Ends fibers and bus, before shards and peers are closed. The calls below go on answering. */
LW_YIELDS void lw_lattice_stop(lw_lattice *lattice);
void lw_lattice_close(lw_lattice *lattice);
/* Whether the folder says who else is, or was, in the lattice. */
LW_YIELDS bool lw_lattice_knows_others(lw_env *env, const char *directory);
/* What a member is called (lattice/member.h). Returns `label`. */
const char *lw_lattice_label(const lw_lattice *lattice, uint64_t node,
                             char label[LW_MEMBER_LABEL_SIZE]);
/* Whether no two members are called the same. */
bool lw_lattice_names_differ(const lw_lattice *lattice);
/* Whether no other member is, or ever was, known: tombstones count as others. */
bool lw_lattice_alone(const lw_lattice *lattice);
/* The same at two nodes that know the same of all members. */
uint64_t lw_lattice_digest(const lw_lattice *lattice);
/* How many shards it had led that it has handed over since it was opened. */
uint64_t lw_lattice_handed(const lw_lattice *lattice);

#ifdef LW_SIMULATION
/* The bugs that are planted in gossip, directory and placement: bits of lw_planted_bug. */
uint64_t lw_lattice_planted(lw_env *env);
#endif

/* ---- for lw_peers_options ------------------------------------------------------------------- */

void lw_lattice_link(lw_lattice *lattice, uint64_t node, bool up);
LW_MUST_USE lw_status lw_lattice_admit(lw_lattice *lattice, const lw_peer_card *card, bool *gone);
void lw_lattice_refused(lw_lattice *lattice, uint64_t node);
/* Whether a token was revoked, as far as this node has heard. */
bool lw_lattice_revoked(const lw_lattice *lattice, uint64_t token_id);
/* This node made a token: one that TOKENS tells of. */
void lw_lattice_token_made(lw_lattice *lattice, uint64_t id, uint64_t expires_ms);
/* What a newcomer is told: its `welcome`. */
LW_MUST_USE lw_status lw_lattice_joins(lw_lattice *lattice, const lw_peer_card *newcomer,
                                       lw_buffer *members);

/* ---- for lw_shards_others; views live until somebody suspends ---------------------------------
 */

bool lw_lattice_locate(lw_lattice *lattice, lw_bytes key, lw_shard_descriptor *shard);
void lw_lattice_learned(lw_lattice *lattice, const lw_shard_descriptor *shard);
lw_bytes lw_lattice_address(const lw_lattice *lattice, uint64_t node);
/* The members that this node is linked to, LW_MEMBERS_MAX at most; returns how many. */
uint32_t lw_lattice_linked(const lw_lattice *lattice, uint64_t *nodes);

/* Something that is to be told among the events; `name` is a constant. */
void lw_lattice_happened(lw_lattice *lattice, const char *name, uint64_t shard, const char *text);
/* A client asks to have a shard moved: placement does nothing against that for some time, or else
 * it would take a newcomer out that it does not want before that one has caught up. */
void lw_lattice_by_hand(lw_lattice *lattice, const lw_request *request);
/* A client had a shard split, merged, moved or led by another node: `request`, which was carried
 * out here. Other requests are nothing to be told. */
void lw_lattice_asked(lw_lattice *lattice, lw_bytes client, const lw_request *request);

/* ---- requests ------------------------------------------------------------------------------- */

/* Whether a request is one for lw_lattice_request: NODES, EVENTS, PLAN, DRAIN, LEAVE, TOKENS,
 * REVOKE, ROTATE, and, from other nodes only, MEMBERS, REVOKED and KEYS. */
bool lw_lattice_takes(lw_message_kind kind);
/* Carries one out; `from` is the node that asks, 0 for a client. */
LW_MUST_USE LW_YIELDS lw_status lw_lattice_request(lw_lattice *lattice, uint64_t from,
                                                   const lw_request *request, lw_buffer *reply);
/* All shards that are known of, here or elsewhere: the body of a reply to TOPOLOGY. */
void lw_lattice_topology(lw_lattice *lattice, lw_bytes from, lw_buffer *body);
/* Its account of itself: the member "lattice" of an object. */
void lw_lattice_status(lw_lattice *lattice, lw_json *json);

#endif
