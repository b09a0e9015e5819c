/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes should hold a shard, and the next safe step there. There is no driver: the leader of
 * each shard asks for its own shard, with what it knows just then, and at most one step comes back,
 * with the reason in words.
 *
 * The wanted set of a shard is the first of its nodes in weighted rendezvous order (the lowest
 * -log2(u) / capacity, where u is a hash of shard and node), passing over nodes of zones that are
 * taken while there are others. So each node gets its share, a newcomer takes about its share and
 * moves nothing else, and nobody has to remember or agree on anything.
 *
 * A shard has `voters` voters, or the largest odd number for which there are live nodes. That nodes
 * die never makes it fewer: they may come back.
 *
 * Leaders spread by count and by rate. One hands a shard on only if that brings the two nearer to
 * each other, so it ends. All decide at once, and what others tell of themselves is some seconds
 * old, so a node that lacks leaders is given to once for each load that it tells: of all that could
 * give each gives its part, or, of more than it lacks, those do whose lot it is, which is drawn
 * alike by all. What this node gave is kept in a ledger, and counts as the receiver's until a load
 * comes that must include it. So no decision is taken twice.
 *
 * Invariants
 * P1. A voter is removed only if the ones that stay, healthy and caught up, are a quorum of what
 *     stays, and, unless it is dead or there are to be fewer, in exchange for a voter that is
 *     caught up (hazards R5 and R15).
 * P2. No step while one is under way, and none that a node silent on a link for less than the grace
 *     would need: it is waited for.
 * P3. No rule asks whether all nodes were seen (hazard G9). What is not known of a node keeps
 *     shards from moving to it, never from staying.
 * P4. With unchanged input the steps end: the set that is reached wants no further step.
 * P5. Shards that wait for room on each other's nodes get it: a shard some of whose learners have
 *     caught up does not wait.
 * P6. Of an odd number of voters no step makes an even one, unless a lone one moves: two voters can
 *     do without neither of them. So voters come and go in pairs.
 * P7. A shard that is placed as another one wants the nodes that this one wants, as long as both
 *     are to have as many voters: so they come together, and moving there is balance, never need.
 * P8. What is handed over counts as the receiver's, and no more as this node's, from when that
 *     begins until it failed, or the receiver told a load of LW_PLACEMENT_TOLD_MS after it ended.
 */
#ifndef LW_PLACEMENT_H
#define LW_PLACEMENT_H

#include "lattice/gossip.h"
#include "lattice/message.h"

enum {
    LW_PLACEMENT_VOTERS = 3,   /* replicas a shard is to have */
    LW_PLACEMENT_REASON = 192, /* bytes of a reason in words, with the closing zero */
    LW_PLACEMENT_NODES_MAX = LW_MEMBERS_MAX,
    LW_PLACEMENT_TOLD_MS = 3000,  /* a new leader's load includes a shard after so long */
    LW_PLACEMENT_ROUND_MS = 2000, /* for which a lot is good, by the receiver's clock */
    LW_PLACEMENT_HANDED_MAX = 64,
};

/* A member, as placement sees it. */
typedef struct lw_placement_node {
    uint64_t node;
    lw_member_state state; /* never GONE: those are left out */
    lw_bytes zone, name;
    uint64_t capacity;
    lw_member_load load;
    bool linked;    /* this node has a link to it, or is it */
    bool dead;      /* has had none for longer than the grace */
    bool settled;   /* has been linked for long enough to be given shards in good times */
    bool loaded;    /* `load` is recent */
    uint64_t round; /* another one now and then, the same wherever the load was heard */
    uint32_t given; /* leaders that this node handed to it, of which it has not told */
} lw_placement_node;

typedef struct lw_placement_options {
    uint64_t self;          /* the node that asks; it leads every shard it asks about */
    uint32_t voters;        /* 0: LW_PLACEMENT_VOTERS; odd */
    uint32_t receiving_max; /* replicas filled at once on one node; 0: 2 */
    uint32_t changing_max;  /* steps of this node under way at once; 0: 8 */
    uint32_t full_percent;  /* of capacity: above, a node is given nothing; 0: 90 */
    bool calm;              /* the bus is up: shards may move for balance */
#ifdef LW_SIMULATION
    uint64_t bugs; /* planted ones, bits of lw_planted_bug */
#endif
} lw_placement_options;

/* All nodes, prepared once for many shards. */
typedef struct lw_placement_view {
    lw_placement_options options;
    lw_placement_node nodes[LW_PLACEMENT_NODES_MAX]; /* ascending by node */
    uint32_t count;
    bool weighted;     /* nodes are of different capacity */
    uint32_t changing; /* steps of this node that are under way */
} lw_placement_view;

/* How far a replica is, as its leader knows. */
typedef struct lw_placement_progress {
    uint64_t node;
    bool caught_up; /* it lacks nothing but what is under way; true for the leader */
} lw_placement_progress;

typedef struct lw_placement_shard {
    const lw_shard_descriptor *shard;
    const lw_placement_progress *progress; /* those missing are not caught up */
    uint32_t progress_count;
    bool changing; /* a change of replicas, a split or a transfer is under way */
    bool settled;  /* the last change is long enough ago for a step for balance */
    bool by_hand;  /* a client moves it just now: no step against that */
    uint64_t rate; /* reads and writes a second */
    /* Another shard, as which this one is placed, so that they can be merged (lattice/neighbour.h);
     * 0, or its own id: none. */
    uint64_t anchor;
} lw_placement_shard;

typedef enum lw_placement_step_kind {
    LW_PLACEMENT_NOTHING = 0,
    LW_PLACEMENT_ADD,      /* `node` as learner */
    LW_PLACEMENT_PROMOTE,  /* the learner `node` to a voter, and `other` with it, unless 0 */
    LW_PLACEMENT_REPLACE,  /* the learner `node` for the voter `other`, at once */
    LW_PLACEMENT_REMOVE,   /* `node`, and `other` with it, unless 0 */
    LW_PLACEMENT_TRANSFER, /* leadership to `node` */
} lw_placement_step_kind;

typedef struct lw_placement_step {
    lw_placement_step_kind kind;
    uint64_t node, other;
    uint64_t rate; /* of a shard that is handed over */
    /* The replicas after the step, as voters and learners. */
    lw_shard_replica replicas[LW_SHARD_REPLICAS_MAX];
    uint32_t replica_count;
    /* Where the shard should be, as far as there are nodes; none while its voters change. */
    uint64_t wanted[LW_SHARD_REPLICAS_MAX];
    uint32_t wanted_count;
    char reason[LW_PLACEMENT_REASON]; /* also why there is nothing to do */
} lw_placement_step;

/* Leaders that this node hands to others, or did: those of which these may not have told yet.
 * Bounded: what ended longest ago is forgotten first. All zero is empty. */
typedef struct lw_placement_ledger {
    struct lw_placement_handed {
        uint64_t node;
        uint32_t under_way, done;
        uint64_t rate;     /* of all of these */
        uint64_t ended_ms; /* when the last one of them did */
    } rows[LW_PLACEMENT_HANDED_MAX];
    uint32_t count;
} lw_placement_ledger;

/* A hand-over begins, and ends: `done`, or it failed. Steps of other kinds are none. */
void lw_placement_hand(lw_placement_ledger *ledger, const lw_placement_step *step);
void lw_placement_handed(lw_placement_ledger *ledger, const lw_placement_step *step, bool done,
                         uint64_t now_ms);
/* Counts to `node`, whose load was told at `told_ms`, what it was handed and has not told of. */
void lw_placement_count_handed(lw_placement_ledger *ledger, lw_placement_node *node,
                               uint64_t told_ms);

/* Empties a view. `changing` as above. */
void lw_placement_begin(lw_placement_view *view, const lw_placement_options *options,
                        uint32_t changing);
/* What one node knows, and does. */
typedef struct lw_placement_look {
    const lw_gossip *gossip;
    const lw_member_load *own_load; /* without what is being handed over */
    lw_placement_ledger *ledger;
    uint32_t changing;   /* as above */
    uint64_t settled_ms; /* for which a link has to be there before shards come for balance */
    uint64_t now_ms;
} lw_placement_look;

/* Begins a view, and adds all members. Of the options it sets `self` and `calm`. */
void lw_placement_look_around(lw_placement_view *view, const lw_placement_options *options,
                              const lw_placement_look *look);
/* Adds a node, in ascending order. */
void lw_placement_add(lw_placement_view *view, const lw_placement_node *node);
/* The next step of a shard. */
void lw_placement_decide(const lw_placement_view *view, const lw_placement_shard *shard,
                         lw_placement_step *step);
/* The caller carries a step out: the view counts it, so that what it decides next knows of it. */
void lw_placement_took(lw_placement_view *view, const lw_placement_step *step);
/* "add", "promote", … */
const char *lw_placement_step_name(lw_placement_step_kind kind);

#endif
