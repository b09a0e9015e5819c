/* SPDX-License-Identifier: Apache-2.0 */
/* Who belongs to the lattice: what a node says of itself, signed, and the set of all that is known.
 *
 * A record is slow news: where a node is, and what it is about to do. How it fares (load, whether
 * it is heard of) comes with heartbeats (lattice/gossip.h) and is in no record, so that two nodes
 * that know the same records have the same digest.
 *
 *   record  = [ signed bin, signature bin 64 ]
 *   signed  = [ version = 1, cluster id bin 16, node, incarnation, sequence, state,
 *               public key bin 32, address str, bus address str, zone str, capacity,
 *               name str, named,      these two are not in records of before there were names
 *               [ key epoch, … ] ]    nor these in those of before keys could be changed
 *   records = [ record bin, … ]                       a page
 *   NODES   = [ [ record bin, self, linked, heard ms, linked ms, load, label str, lags,
 *                 clock ahead ms, clock behind ms ], … ]
 *   load    = [ bytes, shards, leaders, reads, writes, receiving, disk full, [ lagging node, … ],
 *               merging, repairing, snapshots ]
 *             the last of either are not in those of before
 *
 * The signature is Ed25519 of "lathwork member 1" and the signed bytes. A node's id is its
 * public key's lw_identity_number, so a record proves by itself who wrote it. A
 * record GONE may be signed by any node: it is how one that is lost for good is taken out.
 *
 * Names are for people: n1, n2, … in the order of joining, unless one is given. Nobody hands them
 * out. Who joins takes one that is free as far as it knows; if two took the same at once, the one
 * that is earlier by (named, node) keeps it, and the other, when it hears of that, takes a free one
 * (lattice/gossip.h). Until then all show that one with digits of its id behind the name.
 *
 * Invariants
 * M1. Merging is a join: commutative, associative, idempotent, monotone (hazard G2). Of two records
 *     of a node the later wins: GONE before all others, then the higher (incarnation, sequence),
 *     then, which only two copies of one folder can cause, the one whose bytes sort behind.
 * M2. GONE is for ever: no record of that node counts again, and the tombstone is never forgotten
 *     (hazards G1 and G11). A node that wants back comes with a new identity.
 * M3. A record that its node has not signed is refused, whoever hands it on (hazard X3). It is
 *     handed on as it came, byte for byte, so fields of newer versions survive old nodes.
 * M4. Memory is bounded by LW_MEMBERS_MAX and LW_TOMBSTONES_MAX.
 * M5. Labels follow from the set alone: two nodes that know the same records show the same ones,
 * and no two live members have the same. */
#ifndef LW_MEMBER_H
#define LW_MEMBER_H

#include "base/codec.h"
#include "base/seal.h"
#include "lattice/known.h"
#include "lattice/planted.h"

enum {
    LW_MEMBERS_MAX = 1024,
    LW_TOMBSTONES_MAX = 16384,
    LW_MEMBER_ADDRESS_MAX = 279, /* bytes of "HOST:PORT" */
    LW_MEMBER_ZONE_MAX = 64,
    LW_MEMBER_NAME_MAX = 32, /* letters, digits, points and hyphens, not a hyphen first */
    LW_MEMBER_LABEL_SIZE = LW_MEMBER_NAME_MAX + 1 + 16 + 1, /* with the closing zero */
    LW_MEMBER_RECORD_MAX = 1024,                            /* bytes, encoded */
    LW_MEMBER_PAGE_SIZE = 14 * 1024,
    LW_MEMBER_CLUSTER_SIZE = 16,
    LW_MEMBER_BUCKETS = 64, /* of digests */
    LW_LAGGING_MAX = 8,
    LW_MEMBER_KEYS_MAX = 4,
    LW_MEMBER_CLOCK_SIZE = 80, /* of words about a clock, with the closing zero */
};

typedef enum lw_member_state {
    LW_MEMBER_JOINING = 1,  /* known, takes no shards yet */
    LW_MEMBER_UP = 2,       /* takes part */
    LW_MEMBER_DRAINING = 3, /* its shards move away; it stays a member */
    LW_MEMBER_LEAVING = 4,  /* its shards move away, and then it is gone */
    LW_MEMBER_GONE = 5,     /* for ever */
} lw_member_state;

typedef struct lw_member {
    uint64_t node;
    uint64_t incarnation; /* rises with every start of the node */
    uint64_t sequence;    /* rises with every change of the record within one */
    lw_member_state state;
    uint8_t public_key[LW_PUBLIC_KEY_SIZE]; /* of who signed: the node, or whoever removed it */
    lw_bytes address;                       /* "HOST:PORT" of the node */
    lw_bytes bus_address;                   /* "HOST:PORT" of its broker; empty: none */
    lw_bytes zone;                          /* failure domain; empty: a zone like any other */
    uint64_t capacity;                      /* bytes of storage it is meant for; 0: not said */
    lw_bytes name;                          /* empty: of before there were names */
    uint64_t named; /* one more than any that was known when it took the name */
    uint32_t
        key_epochs[LW_MEMBER_KEYS_MAX]; /* of the lattice's keys that it has; in use: the first */
    uint32_t key_count;                 /* 0: it does not say */
} lw_member;

/* How a node fares, as it says with each heartbeat. */
typedef struct lw_member_load {
    uint64_t bytes;     /* of its replicas, about */
    uint64_t shards;    /* replicas it holds */
    uint64_t leaders;   /* shards it leads */
    uint64_t reads;     /* a second */
    uint64_t writes;    /* a second */
    uint64_t receiving; /* replicas that are being filled here */
    bool disk_full;     /* it cannot write: it acknowledges nothing */
    uint32_t lagging_count;
    uint64_t
        lagging[LW_LAGGING_MAX]; /* nodes with a voter, of a shard it leads, that is far behind */
    uint64_t merging;            /* shards it leads that just become one with another */
    uint64_t repairing;          /* replicas it holds that are damaged, and come anew */
    uint64_t snapshots;          /* that replicas of shards it leads are just being given */
} lw_member_load;

/* "joining", "up", … */
const char *lw_member_state_name(lw_member_state state);
/* Whether that may be a member's name. */
bool lw_member_name_sound(lw_bytes name);
/* By how much a wall clock is wrong, in words; `of_two`: there are but two. Returns `words`. */
const char *lw_member_clock_words(int64_t ahead_ms, bool of_two, char words[LW_MEMBER_CLOCK_SIZE]);
/* Whether it has the lattice's key of that epoch. */
bool lw_member_has_key(const lw_member *member, uint32_t epoch);
/* Signs and appends a record. member->public_key is set from `identity`. */
void lw_member_encode(lw_member *member, const uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE],
                      const lw_identity *identity, lw_buffer *record);
/* Reads a record without checking who signed it; views point into `record`. LW_INVALID_ARGUMENT. */
LW_MUST_USE lw_status lw_member_decode(lw_bytes record, lw_member *member);
/* Reads and checks it: LW_REFUSED if it is of another lattice, or not signed by who had to. */
LW_MUST_USE lw_status lw_member_verify(lw_bytes record,
                                       const uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE],
                                       lw_known *known, lw_member *member);
/* The order of M1: positive if `a` wins over `b`, 0 if they are the same. Both are of one node. */
int lw_member_order(const lw_member *a, lw_bytes a_record, const lw_member *b, lw_bytes b_record);

/* ---- the answer to NODES -------------------------------------------------------------------- */

#define LW_MEMBER_NEVER UINT64_MAX

typedef struct lw_member_row {
    lw_bytes record;
    lw_member member; /* decoded from it */
    lw_member_load load;
    bool self;              /* the node that answers */
    bool linked;            /* it has a link to it now */
    uint64_t heard_ms;      /* since its last heartbeat; LW_MEMBER_NEVER */
    uint64_t linked_ms;     /* since the link came, or broke; LW_MEMBER_NEVER */
    bool lags;              /* a leader says that a voter there is far behind, mute, or made anew */
    lw_bytes label;         /* what it is called; empty if the asked node knows no names */
    int64_t clock_ahead_ms; /* of those of most nodes; 0: by little, or it is not known */
} lw_member_row;

void lw_member_rows_encode(const lw_member_row *rows, uint32_t count, lw_buffer *body);
LW_MUST_USE lw_status lw_member_rows_open(lw_bytes body, lw_reader *reader, uint32_t *count);
/* The record is not verified: the answer came over a connection that is trusted for that. */
LW_MUST_USE lw_status lw_member_row_next(lw_reader *reader, lw_member_row *row);
void lw_member_load_encode(const lw_member_load *load, lw_buffer *out);
/* A failure is the reader's. */
void lw_member_load_decode(lw_reader *reader, lw_member_load *load);

/* ---- the set -------------------------------------------------------------------------------- */

typedef struct lw_members {
    lw_memory *memory;
    uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE];
    struct lw_member_entry **entries; /* ascending by node, tombstones among them */
    uint32_t count, capacity;
    uint32_t gone_count;
    uint64_t buckets[LW_MEMBER_BUCKETS]; /* digests: sums over the hashes of records */
    uint64_t weight;                     /* rises with every change, whatever it is */
    lw_known *known;                     /* set by the owner; NULL: nothing is */
#ifdef LW_SIMULATION
    uint64_t bugs; /* planted ones, bits of lw_planted_bug */
#endif
} lw_members;

typedef enum lw_member_merged {
    LW_MEMBER_OLD,     /* it was known, or older than what is known */
    LW_MEMBER_NEW,     /* of a node that was not known */
    LW_MEMBER_CHANGED, /* it replaces what was known */
    LW_MEMBER_REFUSED, /* malformed, forged, of another lattice, or one too many: see the error */
} lw_member_merged;

lw_members lw_members_in(lw_memory *memory, const uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE]);
void lw_members_reset(lw_members *members);
/* Takes a record in; it is copied. */
lw_member_merged lw_members_merge(lw_members *members, lw_bytes record);
/* NULL if it is not known. Valid until its node's next change. */
const lw_member *lw_members_find(const lw_members *members, uint64_t node);
/* In ascending order of node; index < members->count. Tombstones are among them. */
const lw_member *lw_members_at(const lw_members *members, uint32_t index);
lw_bytes lw_members_record(const lw_members *members, uint32_t index);
/* The digest of everything. */
uint64_t lw_members_digest(const lw_members *members);
/* Where a node's record counts in `buckets`. */
uint32_t lw_members_bucket(uint64_t node);
/* What to call a node: its name, that with digits of its id while another has a better claim to it,
 * or its id if it is not known, has no name, or is gone and its name is another's now. Returns
 * `label`. */
const char *lw_members_label(const lw_members *members, uint64_t node,
                             char label[LW_MEMBER_LABEL_SIZE]);
/* The live member with the best claim to a name, other than `node`; NULL: nobody has it. */
const lw_member *lw_members_named(const lw_members *members, lw_bytes name, uint64_t node);
/* Why nobody else may have the name of this one: LW_REFUSED. */
LW_MUST_USE lw_status lw_member_name_taken(const lw_member *member);
/* Whether another live member has a better claim to the name of this one, which is known. */
bool lw_members_outnamed(const lw_members *members, uint64_t node);
/* Finds a name that no live member has, for `node`: like n4 if `wanted` is empty or like that, in
 * the order of those that want the same one; else `wanted` with a number behind it. `*named` is the
 * one to go with it. */
void lw_members_free_name(const lw_members *members, lw_bytes wanted, uint64_t node,
                          char name[LW_MEMBER_NAME_MAX + 1], uint64_t *named);
/* Hands all records to emit(), as pages of at most LW_MEMBER_PAGE_SIZE bytes: for a newcomer, and
 * to keep on disk. */
void lw_members_pages(const lw_members *members, void (*emit)(void *argument, lw_bytes page),
                      void *argument);

#endif
