/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the collector of garbage, shared by node/gc*.c and nobody else.
 *
 *   gc.c          who is refused; the fiber; collecting where the node is alone
 *   gc_lattice.c  collecting among several nodes
 *   gc_walk.c     asking all shards
 *   gc_lease.c    readers outlive the node they stand on
 *   gc_request.c  PIN and UNPIN, and its account of itself */
#ifndef LW_GC_STATE_H
#define LW_GC_STATE_H

#include "node/gc.h"
#include "node/shards.h"
#include "txn/pins.h"

#define NS_PER_MS UINT64_C(1000000)
enum { GC_SETTLE_PAUSE_MS = 5 }; /* between two looks at shards that have not settled; doubling */

struct lw_gc {
    lw_env *env;
    lw_gc_options options;
    struct lw_shards *shards; /* NULL before the start */
    lw_timestamps *timestamps;
    lw_pins pins;       /* with the safepoint: decided, or about to be */
    uint64_t loaded;    /* what was decided before the start */
    uint64_t durable;   /* what is decided for sure */
    uint64_t collected; /* since the start: every shard has settled up to here */
    bool alone;         /* as of the fiber's last look */
    /* Of a node among others that leads the root shard: */
    uint64_t record_term; /* in which it took over the record; 0: it has not */
    uint64_t forgotten;   /* all shards were told in this term to forget up to here */
    uint64_t wanted;      /* others have garbage from this safepoint on */

    uint64_t pin_changes, pin_changes_durable; /* that somebody waits for */
    bool pin_asked;                            /* since the fiber looked */
    lw_queue pinned;                           /* where they wait */

    uint64_t writes, writes_seen;
    uint64_t dirty_from;  /* no garbage was written between the safepoint and this timestamp ... */
    uint64_t dirty_until; /* ... nor above this one; 0: none at all */
    uint64_t settle_pause_ms;
    uint64_t started_ns;
    bool dormant; /* sleeps, and is to be woken when something is written */
    bool running, stopping;
    bool leasing;          /* the fiber of gc_lease.c runs */
    uint64_t leased;       /* the timestamp that a lease is had for; 0: none */
    bool lease_noted;      /* ... by this node's own record, */
    bool noted_alone;      /* ... which is not written for that while there are no others */
    uint64_t leased_until; /* when the last reader ends that it is for */
    uint64_t renew_ns;     /* ... which is to be renewed then */
    lw_queue reading;      /* where it waits for a reader */
    lw_queue ending;       /* where it sleeps */
    bool changed;          /* the roles, or what is wanted, since the fiber looked */
    lw_queue work, stopped;
};

/* ---- gc.c ----------------------------------------------------------------------------------- */

/* The oracle's time; 0 before the start. */
uint64_t gc_now(const lw_gc *gc);
/* How far the safepoint may go as far as this node knows. Ends the pins whose time is over. */
uint64_t gc_target(lw_gc *gc);
/* Whether a move to `target` would make anything needless here. */
bool gc_worth_moving(const lw_gc *gc, uint64_t target);
/* The lowest safepoint that would; UINT64_MAX: none that is known. */
uint64_t gc_next_garbage(const lw_gc *gc);
/* Lowers `*target` to what the oracle has given. False if nothing is left to move. */
LW_YIELDS bool gc_catch_up(lw_gc *gc, uint64_t *target);
/* Makes the safepoint and the pins durable as they are. */
LW_YIELDS bool gc_write_record(lw_gc *gc);

/* ---- gc_lattice.c --------------------------------------------------------------------------- */

/* The term in which this node leads the root shard; 0: it does not. */
uint64_t gc_root_term(const lw_gc *gc);
/* Whether this node decides: it is alone, or leads the root shard and has its record. */
bool gc_decides(const lw_gc *gc);
/* Takes over the record if it leads the root shard anew. */
LW_YIELDS void gc_take_over(lw_gc *gc);
/* What is to be done now: a round, or telling the leader of the root shard that one is due. */
LW_YIELDS void gc_among_others(lw_gc *gc);
/* False unless every shard has answered. What they said all together is in `*all`: gc_walk.c. */
LW_YIELDS bool gc_walk(lw_gc *gc, lw_collect_step step, uint64_t safepoint, lw_collect_reply *all);
LW_MUST_USE LW_YIELDS lw_status gc_ask(lw_gc *gc, const lw_collect_request *request,
                                       lw_arena *arena, lw_collect_reply *answer);
/* Starts the fiber that keeps a lease for the readers here. */
void gc_lease_start(lw_gc *gc);
/* Whether a round is under way. */
bool gc_round_open(const lw_gc *gc);

#endif
