/* SPDX-License-Identifier: Apache-2.0 */
/* A replica: one shard on this node (node/shards.h holds them all). It carries out requests:
 * evaluates them against the shard's tree under key latches (txn/), replicates the resulting write
 * batch through the log, applies it, answers. A lone node is a group of one on this same path: its
 * quorum is its own disk.
 *
 * Invariants
 * P1. A reply that promises something is sent only after the entry behind it is durable and applied
 *     (hazard R1). Entries are applied strictly in the order of their index.
 * P2. A command is checked against the shard's range when it comes, when its snapshot is opened,
 *     and when its entry is applied (hazard R12): who waited is told where to go. It counts only in
 *     the leadership in which it came: what another leader may have changed meanwhile it has not
 *     seen.
 * P3. Reads wait for writers on the same keys that drew, or came with, a commit timestamp at or
 *     below theirs, and leave a mark for those that come later (txn/evaluate.h, E6).
 * P4. Nothing is served before everything of earlier terms is applied, and no timestamp is given
 *     out that is not below the durable ceiling (hazards O1, O2).
 * P5. Once the log or the store is dead, nothing is answered any more but errors, and the node
 *     stops.
 * P6. A split is an entry in the parent's log, and has happened once that is durable: what follows
 *     from it, in the tree and in the log of the child, is done before the next entry is applied,
 *     or else by the next start. The steps are in node/replica_split.c. A merge is one in the log
 *     of the left shard: node/replica_merge.c. */
#ifndef LW_REPLICA_H
#define LW_REPLICA_H

#include "base/env.h"
#include "lattice/message.h"
#include "node/gc.h"
#include "node/groups.h"
#include "node/resolve.h"
#include "node/timestamps.h"
#include "storage/log.h"
#include "storage/store.h"
#include "node/waits.h"
#include "txn/detector.h"
#include "txn/latch.h"
#include "txn/lock_table.h"
#include "txn/read_marks.h"
#include "txn/recent.h"

typedef struct lw_replica lw_replica;
struct lw_group;
struct lw_group_figures;

/* By which entry of its log a shard was frozen, for becoming part of another one. */
typedef struct lw_replica_merge {
    uint64_t right, index, term;
} lw_replica_merge;

/* What is asked for a replica that may end meanwhile. */
typedef struct lw_errand {
    lw_message_kind kind;
    lw_bytes key, body;   /* copied */
    uint64_t deadline_ns; /* 0: as usual */
    const bool *given_up; /* true: nobody waits for the answer any more; */
    lw_queue *asked;      /* where who asks waits is woken then */
} lw_errand;

typedef struct lw_replica_options {
    lw_env *env;
    lw_store *store;
    uint64_t shard;
    uint64_t node;     /* this one's id */
    lw_groups *groups; /* outlives it */
    /* What all replicas of a node share, and outlives them. Pessimistic locks are one table, so
     * that a deadlock over several shards is found. */
    lw_timestamps *timestamps;
    lw_lock_table *locks;
    lw_latch_slots *latch_slots;
    lw_recent *writers;      /* who wrote lately */
    lw_recent *killed;       /* who is to write no more */
    lw_key_marks *key_marks; /* up to which timestamp keys were read */
    lw_key_marks *written;   /* ... and up to which they have records */
    lw_gc *gc;               /* NULL: nothing is forgotten */
    lw_detector *detector;   /* of deadlocks between nodes: the root shard's leader's */
    lw_waits *waits;         /* NULL: there are no other nodes */
    lw_ask *ask;             /* see lw_replica_execute */
    /* As `ask`; but who asks may go before the answer is there: then LW_UNAVAILABLE. */
    LW_YIELDS lw_status (*ask_apart)(void *argument, const lw_errand *what, lw_buffer *reply);
    /* Carries out KILL, which is about all shards of the node. */
    LW_YIELDS lw_status (*kill)(void *argument, lw_bytes body, uint64_t session, lw_buffer *reply);
    /* A shard was split: `child`, which does not serve yet, is the replica of what it gave away,
     * and belongs to whoever is told. Must not suspend. */
    void (*split)(void *argument, lw_replica *child);
    /* The shard's descriptor, or who leads it, is another now. Neither this nor `address` may
     * suspend; they may be NULL. */
    void (*learned)(void *argument, const lw_shard_descriptor *shard);
    /* Where a node listens; empty if that is not known. A view until somebody suspends. */
    lw_bytes (*address)(void *argument, uint64_t node);
    /* Makes a snapshot of the shard, and has another node install it: lw_snapshots_send. NULL where
     * there are no others. */
    LW_YIELDS lw_status (*send_snapshot)(void *argument, uint64_t shard, uint64_t node,
                                         uint64_t *index);
    /* It has a tree, or another one, from a snapshot, and the descriptor that is in it. Must not
     * suspend. */
    void (*installed)(void *argument, lw_replica *replica);
    /* It is no member of its group any more, since the entry `index`: to be closed, and its tree
     * dropped. Must not suspend. May come again. */
    void (*gone)(void *argument, lw_replica *replica, uint64_t index);
    /* Stored bytes of the tree failed their check, as the error slot says. True: another replica is
     * to take its place, so that it is worth asking again. Must not suspend. May come again. */
    bool (*damaged)(void *argument, lw_replica *replica);
    /* It has applied something else than another one, up to the entry `index`, and its group does
     * nothing any more if it follows: lw_replica_go_on. Must not suspend. */
    void (*differs)(void *argument, lw_replica *replica, uint64_t index);
    /* Asks others what the oracle's time is, for the root shard, which this one is, and tells the
     * timestamps if enough of them answer. NULL where there are no others. */
    LW_YIELDS void (*learn_time)(void *argument, struct lw_replica *root);
    /* ---- merging: node/replica_merge.c ---- */
    /* The replica here, with a tree, of the shard that begins at `key`; NULL: none. */
    struct lw_replica *(*beginning)(void *argument, lw_bytes key);
    /* Waits until every replica of a shard has applied the entry that froze it, wherever it is.
     * LW_UNAVAILABLE after the deadline. */
    LW_YIELDS lw_status (*await_applied)(void *argument, const lw_replica_merge *frozen,
                                         uint64_t deadline_ns);
    /* An entry was applied by which another shard becomes part of this one: does what follows from
     * that (lw_replica_absorbs). LW_UNAVAILABLE: the replica cannot go on from there. */
    LW_YIELDS lw_status (*absorb)(void *argument, struct lw_replica *replica);
    /* Whether it has had little to do for long: node/shards_small.c. */
    bool (*idle)(void *argument, struct lw_replica *replica);
    /* A shard goes on that was frozen. Must not suspend. */
    void (*thawed)(void *argument);
    /* It has become part of another one, which may not be on this node any more: then it is to be
     * closed, and its tree dropped. Must not suspend. May come again. */
    void (*orphaned)(void *argument, struct lw_replica *replica);

    /* The label of a session, for conflict messages; empty if unknown. */
    lw_bytes (*session_label)(void *argument, uint64_t session);
    /* Whether its client may be connected to any node. */
    LW_YIELDS bool (*session_lives)(void *argument, uint64_t session);
    /* Called when the log or the store died, with the reason: the node must stop. */
    void (*died)(void *argument, const lw_error *reason);
    void *argument;
} lw_replica_options;

/* The part of a tree key that filters hold: see lw_store_options.filter_part. */
size_t lw_replica_filter_part(lw_bytes tree_key);
/* What of a tree may be forgotten: see lw_store_options.retention. */
lw_retention lw_replica_retention(lw_env *env);

/* Opens the shard's tree, or creates it with the range of all keys. Takes no requests yet. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_open(const lw_replica_options *options,
                                                lw_replica **replica);
/* One that has no tree yet, and waits for the snapshot of a leader. `shard` is what another node
 * says of it, so far. */
LW_MUST_USE lw_status lw_replica_open_waiting(const lw_replica_options *options,
                                              const lw_shard_descriptor *shard,
                                              lw_replica **replica);
void lw_replica_start_waiting(lw_replica *replica, lw_log *log);
/* Takes one record of its group while the log is replayed. */
LW_MUST_USE lw_status lw_replica_replay(lw_replica *replica, const lw_log_record *record);
/* After replay: does what is left to do of a split that a crash interrupted. `*child` is the id of
 * the shard that came off the tree, 0 if none did: open that, too. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_finish_split(lw_replica *replica, uint64_t *child);
/* After replay. Where this node alone decides it takes a new term, and serves when this returns;
 * else once it is elected. Then LW_CORRUPTION may be told of its tree, and it has started all the
 * same: it is to be repaired. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_start(lw_replica *replica, lw_log *log);
/* Whether it has: this way, or as what came off another one. */
bool lw_replica_started(const lw_replica *replica);
/* Refuses what comes, and sends home who waits. */
void lw_replica_stop(lw_replica *replica);
/* Stops, waits for what is under way, frees. */
LW_YIELDS void lw_replica_close(lw_replica *replica);

/* Carries out one request to the shard. `reply` receives the body: on LW_OK the answer, on
 * LW_CONFLICT an lw_obstacle, on LW_UNAVAILABLE of another epoch, or of keys that the shard does
 * not hold, its descriptor: then nothing was done; else nothing. LW_UNDETERMINED: the log died
 * under a write, which may be on disk or not. Many fibers may be in it; request->body must live
 * until it returns. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_execute(lw_replica *replica, const lw_request *request,
                                                   uint64_t session, lw_buffer *reply);
/* Waits until no request is under way that writes for the transaction; true if there was one. With
 * `*ended_here` the outcome of one is known: this node led all along. */
LW_YIELDS bool lw_replica_await_writes(lw_replica *replica, uint64_t start, bool *ended_here);
/* The primary key that the locks of a transaction in this tree name; LW_NOT_FOUND if it has none
 * here. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_primary_of(lw_replica *replica, uint64_t start,
                                                      lw_buffer *primary);
/* Ends what the transaction has prewritten here, in the background: it is decided. */
void lw_replica_doom(lw_replica *replica, uint64_t start);
/* The session's connection ended and it did not come back: rolls back, in the background, what it
 * prewrote here and never decided. Its pessimistic locks are the caller's. */
void lw_replica_session_ended(lw_replica *replica, uint64_t session);
bool lw_replica_session_holds(const lw_replica *replica, uint64_t session);
/* The session is heard of again, on this shard or another. True while the replica still waits for
 * sessions of before the start. */
bool lw_replica_session_came(lw_replica *replica, uint64_t session);
/* A flush of its tree became durable up to `index`: the log may let go. */
void lw_replica_flushed(lw_replica *replica, uint64_t index);
/* The store has died, also while nothing was written here: nothing is answered any more (P5). */
void lw_replica_store_died(lw_replica *replica, const lw_error *reason);
/* Whether this node leads the shard, and serves it. */
bool lw_replica_leads(const lw_replica *replica);
/* What it knows of the shard, but for who leads; valid until it changes. */
const lw_shard_descriptor *lw_replica_shard(const lw_replica *replica);
/* Views live as long as the replica does not change: copy before suspending. */
void lw_replica_descriptor(const lw_replica *replica, lw_shard_descriptor *descriptor);

/* ---- snapshots: see node/snapshot.h ----------------------------------------------------------
 */

/* What a snapshot for `node` whose last entry is `index` says of itself: the term of that, and the
 * shard's descriptor as of then, which `state` holds. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_describe(lw_replica *replica, uint64_t node,
                                                    uint64_t index, lw_snapshot *state,
                                                    uint64_t *term, lw_buffer *head);
/* Whether one is of use to `node`, as far as is known here. */
bool lw_replica_snapshot_needed(const lw_replica *replica, uint64_t node);
/* What a head says. LW_INVALID_ARGUMENT; views of it. */
LW_MUST_USE lw_status lw_replica_snapshot_shard(lw_bytes head, uint64_t shard,
                                                lw_shard_descriptor *told);
typedef struct lw_replica_snapshot {
    uint64_t index, term;
    lw_bytes head;
    const char *directory; /* of the bundle */
    /* Called once nothing but the edit is left to do, and nothing is applied before it: ends the
     * shards here that are part of it, and says which trees go with the same edit. */
    lw_status (*end_beneath)(void *argument, const uint64_t **drops, uint32_t *drop_count);
    void *argument;
} lw_replica_snapshot;
/* Has the replica stand on a snapshot, unless it has come as far by itself. LW_UNAVAILABLE: not
 * now. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_install(lw_replica *replica,
                                                   const lw_replica_snapshot *snapshot);

/* ---- merging: node/shards_merge.c -------------------------------------------------------------
 */

/* Before the end of replay: all that is known to be committed is applied. */
LW_MUST_USE lw_status lw_replica_replay_alone(lw_replica *replica);
/* Whether an entry is applied by which another shard becomes part of this one, and its tree is yet
 * to. Nothing behind that entry is applied. `what` says of the last one in any case. */
bool lw_replica_absorbs(const lw_replica *replica, lw_replica_merge *what);
/* Applies the entry that froze it, which is known to be committed. LW_UNAVAILABLE: it does not have
 * it. */
LW_MUST_USE lw_status lw_replica_vouch(lw_replica *replica, uint64_t index, uint64_t term);
/* Whether another shard has become part of it, its tree included. False as well if that could not
 * be read. */
LW_YIELDS bool lw_replica_has_absorbed(lw_replica *replica, uint64_t right);
/* Whether a key is being given away by a split: nobody reads it here meanwhile. */
bool lw_replica_gives_away(const lw_replica *replica, lw_bytes key);
/* Whether it is frozen, to become part of `left`: nobody is served. */
bool lw_replica_frozen(const lw_replica *replica, uint64_t *left);
/* Whether a shard of this range is what it is frozen for, or what that one comes off. */
bool lw_replica_frozen_for(const lw_replica *replica, const lw_shard_descriptor *range);
/* Ends what it does, and waits for that, but keeps its memory until it is discarded. The
 * pessimistic locks of its keys stay. */
LW_YIELDS void lw_replica_retire(lw_replica *replica);
void lw_replica_discard(lw_replica *replica);
/* `right` is retired. Its open transactions are counted, if nobody has. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_prepare_take_over(const lw_replica *left,
                                                             lw_replica *right);
/* In the turn in which the tree of `right` became part of that of `left`: so does what it knew. */
void lw_replica_take_over(lw_replica *left, lw_replica *right);
/* Or else: it can do nothing before a snapshot from behind that has replaced its tree. */
void lw_replica_stick(lw_replica *left);
/* Then: goes on applying. */
void lw_replica_go_on_merged(lw_replica *left);

/* ---- load ------------------------------------------------------------------------------------
 */

/* Notes the keys of requests from now on, about one of so many; 0: not any more. */
void lw_replica_load_watch(lw_replica *replica, uint32_t stride);
/* Appends a key that has a quarter of the noted ones on either side at least, as near to a half as
 * can be. LW_NOT_FOUND if there is none, or too few are known. */
LW_MUST_USE lw_status lw_replica_load_middle(const lw_replica *replica, lw_buffer *key);

/* ---- for the collector of garbage: node/gc.h --------------------------------------------------
 */

/* Makes a record about the shard durable, as `encode` makes it when its turn in the log comes, in
 * the leadership of now. Let in on a full disk too. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_keep(lw_replica *replica, const char *name,
                                                void (*encode)(void *argument, lw_buffer *value),
                                                void *argument);
/* Appends such a record. LW_NOT_FOUND. */
LW_MUST_USE LW_YIELDS lw_status lw_replica_kept(lw_replica *replica, const char *name,
                                                lw_buffer *value);
/* Has what transactions that began below the safepoint have locked here ended, in the background.
 * True once nothing of it is there, and no request of theirs is under way: so it stays, as their
 * requests are refused. Does not suspend. */
bool lw_replica_settle(lw_replica *replica, uint64_t safepoint);
/* Whether no other node holds the shard, or is about to. */
bool lw_replica_alone(const lw_replica *replica);
/* Lets the tree forget (lw_tree_set_safepoint). */
void lw_replica_collect(lw_replica *replica, uint64_t safepoint);
/* See lw_tree_stale_after. */
uint64_t lw_replica_stale_after(const lw_replica *replica, uint64_t safepoint);
/* Whether requests have written something that is in memory only. */
bool lw_replica_unflushed(const lw_replica *replica);
/* Flushes what is in memory once some of it is as old as the safepoint, since compactions drop
 * nothing that is only there. Asked again and again; `newest` is above all that was written. */
LW_YIELDS void lw_replica_flush_old(lw_replica *replica, uint64_t safepoint, uint64_t newest);

/* ---- for its repair: node/shards_repair.c -----------------------------------------------------
 */

/* One whose tree is damaged where it says what it is. `shard` is what another node says, which had
 * applied its entries up to `index`, and names other voters. The tree stays as it is, and nothing
 * is applied to it. Its log is to be replayed as far as it counts; then it is started. */
LW_MUST_USE lw_status lw_replica_open_damaged(const lw_replica_options *options,
                                              const lw_shard_descriptor *shard, uint64_t index,
                                              lw_replica **replica);
LW_MUST_USE lw_status lw_replica_start_damaged(lw_replica *replica, lw_log *log);
/* Behind lw_replica_finish_split that met damage: nothing is applied to the tree any more, before a
 * snapshot has replaced it. */
void lw_replica_leave_tree(lw_replica *replica);

/* Asks another voter to lead. LW_UNAVAILABLE, LW_REFUSED: not now. */
LW_MUST_USE lw_status lw_replica_hand_over(lw_replica *replica, uint64_t node);
/* Its tree is damaged: `on`, a snapshot replaces it in its place, also if the replica has come as
 * far, and nothing is applied before that unless it comes to lead. */
void lw_replica_renew(lw_replica *replica, bool on);
/* Whether a snapshot would be taken in for that. */
bool lw_replica_renews(const lw_replica *replica);
/* Whether nothing can be applied before a snapshot has replaced its tree. */
bool lw_replica_stuck(const lw_replica *replica);
/* Has another member, whose tree is damaged, get a snapshot, if this one leads and sends it none
 * yet. */
void lw_replica_send_anew(lw_replica *replica, uint64_t node);
/* What it has applied up to `index`: see lw_group_digest. */
bool lw_replica_digest(const lw_replica *replica, uint64_t index, uint64_t *digest);
/* After `differs`: it goes on; or it does nothing until it is closed; or for ever, in words: also
 * behind a start, once this returns. */
void lw_replica_go_on(lw_replica *replica);
void lw_replica_suspend(lw_replica *replica);
LW_YIELDS void lw_replica_halt(lw_replica *replica, uint64_t index);
/* Whether it has halted in an earlier run; and before its start: somebody knows which is right. */
bool lw_replica_halted(const lw_replica *replica);
void lw_replica_forgive(lw_replica *replica);

typedef struct lw_replica_figures {
    uint64_t term, applied_index;
    uint64_t reads, scans, commits, conflicts; /* requests carried out since the start */
    uint64_t latched, waiting;                 /* requests now */
    uint64_t open;                             /* transactions that have locks in the tree */
    uint64_t serving;                          /* the term in which it serves now; 0: it does not */
    uint64_t marked; /* the timestamp up to which every key counts as read (hazard T4) */
} lw_replica_figures;
void lw_replica_figures_get(const lw_replica *replica, lw_replica_figures *figures);
/* The highest timestamp at which a key may have been read, as who leads knows. */
uint64_t lw_replica_read_up_to(const lw_replica *replica, lw_bytes key);
/* Its tree; NULL: it waits for a snapshot, or for its parent to be split. */
lw_tree *lw_replica_tree(const lw_replica *replica);
/* Of its group: who belongs to it, and how far they are. Nothing in one that has no group yet. */
void lw_replica_group_figures(const lw_replica *replica, struct lw_group_figures *figures);
/* The group itself, to look at; NULL: it has none yet. */
const struct lw_group *lw_replica_group(const lw_replica *replica);

#endif
