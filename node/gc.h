/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage collection: the fiber of the node that moves the safepoint, what refuses whoever comes
 * too late, and the pins that hold it back.
 *
 * The safepoint trails the oracle's time by the retention. It moves in three steps:
 *   decided     a record with it and the pins is made durable through the root shard's log
 *               (txn/pins.h); from the moment on that this is begun, nobody may read below it, and
 *               transactions that began below it may do no more
 *   settled     every shard has ended all locks of such transactions, and every request of theirs
 *               that was under way is over
 *   collected   the trees are told, and their compactions forget (txn/retention.h)
 * A restart finds what was decided, and settles anew before it collects.
 *
 * A transaction whose deadline, as its requests tell it, lies so far ahead that its snapshot would
 * be collected before, pins it: at once in memory, durably with the next record, before anything
 * is decided that would need it.
 *
 * It costs nothing while nothing is written and nothing expires: the fiber sleeps until the first
 * write, then until that is as old as the retention.
 *
 * Invariants
 * C1. Nothing is decided beyond a pin; who is let in is above what is decided, and pins before it
 *     suspends. So no reader loses its snapshot while its pin lasts (hazard T11).
 * C2. Nothing is collected in any shard before all shards have settled: whoever resolves a lock
 *     finds what its primary says (hazards T5, T12).
 * C3. Who is told that a transaction is unknown is told so only of one below what is decided.
 * C4. Only the node that leads the root shard decides, or one that has all shards to itself. Among
 *     others a step is a request to each shard's leader (node/gc_lattice.c), and what it promises
 * is durable in the shard first, so that whoever leads there next keeps it (node/replica_gc.c).
 *     Before a shard of a lone node gets another member, what was decided by then is written into
 *     the shard in the same way. */
#ifndef LW_GC_H
#define LW_GC_H

#include "base/env.h"
#include "client/json.h"
#include "lattice/message.h"

typedef struct lw_gc lw_gc;
struct lw_shards;

enum {
    LW_RETENTION_DEFAULT_MS = 10 * 60 * 1000,
    LW_RETENTION_MIN_MS = 1000, /* for people: below that, ordinary transactions would need pins */
};

typedef struct lw_gc_options {
    lw_env *env;
    uint64_t retention_ms; /* 0: LW_RETENTION_DEFAULT_MS */
    /* The label of a session, for the pins; empty if unknown. */
    lw_bytes (*session_label)(void *argument, uint64_t session);
    void *argument;
} lw_gc_options;

/* Opened before the shards, which ask it. Refuses nobody yet. */
lw_gc *lw_gc_open(const lw_gc_options *options);
/* Once all shards are started: takes over the record in the root shard, and begins. */
LW_MUST_USE LW_YIELDS lw_status lw_gc_start(lw_gc *gc, struct lw_shards *shards);
/* Waits until the fiber has ended. Before the shards are closed. */
LW_YIELDS void lw_gc_stop(lw_gc *gc);
void lw_gc_close(lw_gc *gc);

/* ---- for the shards: gc may be NULL, which forgets nothing and refuses nobody ------------------
 */

/* A request stands on a timestamp: it reads at it, or belongs to a transaction that began there.
 * LW_TOO_OLD if that is below the safepoint. Else, if a client's request says with `timeout_ms` (0:
 * nothing) that it needs it for longer than it is kept anyway, it is pinned. Does not suspend. */
LW_MUST_USE lw_status lw_gc_stand(lw_gc *gc, uint64_t session, uint64_t timestamp,
                                  uint32_t timeout_ms);
/* The same for who did stand, and has suspended since. */
LW_MUST_USE lw_status lw_gc_stands(const lw_gc *gc, uint64_t timestamp);
/* What is decided by now, or is about to be. */
uint64_t lw_gc_decided(const lw_gc *gc);
/* `safepoint`, or what somebody who stands on a shard of this node has pinned below it. */
uint64_t lw_gc_lowest(lw_gc *gc, uint64_t safepoint);
/* A node has garbage from this safepoint on: to the one that leads the root shard. */
void lw_gc_wanted(lw_gc *gc, uint64_t safepoint);
/* Every shard of the lattice has settled up to here. */
void lw_gc_all_settled(lw_gc *gc, uint64_t safepoint);
/* This node leads other shards than before. */
void lw_gc_roles_changed(lw_gc *gc);
/* Below this, what transactions have left may be gone: to a client, and to the node itself, which
 * asks only about locks that it has seen (C2). */
uint64_t lw_gc_forgotten(const lw_gc *gc, bool own);
/* A request has written something. */
void lw_gc_written(lw_gc *gc);

/* ---- for the node --------------------------------------------------------------------------- */

/* PIN and UNPIN. */
LW_MUST_USE LW_YIELDS lw_status lw_gc_request(lw_gc *gc, const lw_request *request,
                                              uint64_t session, lw_buffer *reply);
/* A session's request has come; and its end. */
void lw_gc_session_came(lw_gc *gc, uint64_t session);
void lw_gc_session_ended(lw_gc *gc, uint64_t session);
/* Whether it has pins. */
bool lw_gc_session_holds(const lw_gc *gc, uint64_t session);
uint64_t lw_gc_retention_ms(const lw_gc *gc);
/* Its account of itself: the member "retention" of an object. */
void lw_gc_status(lw_gc *gc, lw_json *json);

#endif
