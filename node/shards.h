/* SPDX-License-Identifier: Apache-2.0 */
/* The shards of a node: its replicas, by id and in the order of their ranges, and what they share:
 * the timestamps, the table of pessimistic locks, the log. Requests come in here and are handed to
 * the replica that they name. A node among others holds any of the lattice's shards, or none; what
 * it asks itself about keys of another goes to the node that leads there.
 *
 * Invariants
 * D1. Once open, the shards of a lone node cover every key exactly once. Those of a node among
 *     others hold no key twice (hazard R11).
 * D2. A record of the log goes to the shard of its group. */
#ifndef LW_SHARDS_H
#define LW_SHARDS_H

#include "lattice/neighbour.h"
#include "node/replica.h"

typedef struct lw_shards lw_shards;
struct lw_snapshot_arrival;

/* The other nodes, for the shards of this one. None of these suspends but those marked so. */
typedef struct lw_shards_others {
    /* Queues a message for the lw_shards_receive of another node, or drops it. Copies. */
    void (*send)(void *argument, uint64_t node, lw_bytes message);
    /* Carries out a request of this node's own in another node, as lw_shards_execute does there for
     * session 0. LW_UNAVAILABLE without a reply: it may have been carried out, or not. */
    LW_YIELDS lw_status (*ask)(void *argument, uint64_t node, const lw_request *request,
                               uint64_t deadline_ns, lw_buffer *reply);
    /* Makes a snapshot of a shard and has another node install it: lw_snapshots_send. */
    LW_YIELDS lw_status (*send_snapshot)(void *argument, uint64_t shard, uint64_t node,
                                         uint64_t *index);
    /* What is known of the shard that holds a key: a hint, with views until somebody suspends.
     * False: nothing. */
    bool (*locate)(void *argument, lw_bytes key, lw_shard_descriptor *shard);
    /* A shard's descriptor, or its leader, is another one now. */
    void (*learned)(void *argument, const lw_shard_descriptor *shard);
    /* Where a node listens; empty if that is not known. */
    lw_bytes (*address)(void *argument, uint64_t node);
    /* Whether the client of a session is connected to any node that can be asked, or may be: false
     * if all say that it is not. NULL: nobody can say. */
    LW_YIELDS bool (*session_lives)(void *argument, uint64_t session);
    /* Something that an operator should hear of: an event. `name` is a constant. May be NULL. */
    void (*happened)(void *argument, const char *name, uint64_t shard, const char *text);
} lw_shards_others;

/* What becomes of replicas that halted because they differ (node/shards_judge.c). */
typedef enum lw_halted {
    LW_HALTED_STAYS,
    LW_HALTED_IS_BELIEVED, /* this node has it right */
    LW_HALTED_COMES_ANEW,  /* another one has */
} lw_halted;

typedef struct lw_shards_options {
    lw_env *env;
    lw_store *store;
    uint64_t node; /* this one's id; 0: a lone node that has none */
    bool
        bootstrap; /* the folder is the first of its lattice: makes the root shard if it is empty */
    uint64_t shard_size; /* bytes from which a shard is split; 0: 128 MiB; UINT64_MAX: none is */
    uint64_t election_timeout_ms; /* see lw_groups_options; 0: a second */
    uint32_t drift_ppm;           /* likewise; 0: 2000 */
    bool alone; /* no other node has anything of it: what is damaged comes from nowhere */
    lw_halted halted;
    uint64_t merge_after_ms; /* how long small shards have little to do before they are merged; 0:
                                ten minutes; UINT64_MAX: none is */
    const lw_shards_others *others; /* copied; NULL: a lone node */
    lw_gc *gc;                      /* outlives them; NULL: nothing is forgotten */
    /* The label of a session, for conflict messages; empty if unknown. */
    lw_bytes (*session_label)(void *argument, uint64_t session);
    /* Called once when the log or the store died, with the reason: the node must stop. */
    void (*died)(void *argument, const lw_error *reason);
    void *argument;
} lw_shards_options;

/* Opens a replica for every tree of the store. */
LW_MUST_USE LW_YIELDS lw_status lw_shards_open(const lw_shards_options *options,
                                               lw_shards **shards);
/* Takes one record while the log is replayed: an lw_log_visit. */
LW_MUST_USE lw_status lw_shards_replay(void *shards, const lw_log_record *record);
/* Whether the tree of a group, if there is one, is flushed up to `index`: an lw_log_options.begins.
 */
bool lw_shards_begins(void *shards, uint64_t group, uint64_t index);
/* After replay: all that this node leads serve. LW_CORRUPTION if they leave a gap, or overlap (D1).
 */
LW_MUST_USE LW_YIELDS lw_status lw_shards_start(lw_shards *shards, lw_log *log);
/* Before a stop in good order: others come to lead what this node leads, within a second, or not.
 * Requests are served meanwhile. */
LW_YIELDS void lw_shards_hand_over(lw_shards *shards);
/* Refuses what comes, and takes part in nothing any more: who is led from here elects another. */
void lw_shards_stop(lw_shards *shards);
/* Also waits for what is under way, and frees. */
LW_YIELDS void lw_shards_close(lw_shards *shards);

/* Carries out one request to a shard, as lw_replica_execute does. On LW_UNAVAILABLE the reply may
 * hold descriptors, as TOPOLOGY does: the shards that are here now, from the one on which was
 * meant. Then nothing was done. */
LW_MUST_USE LW_YIELDS lw_status lw_shards_execute(lw_shards *shards, const lw_request *request,
                                                  uint64_t session, lw_buffer *reply);
/* Carries out a request of the node's own at the shard that holds `key`, wherever that is led; the
 * same statuses, but nobody is sent on: it is tried again, for some seconds, while nobody is known
 * to lead there. Then LW_UNAVAILABLE, and it may have been carried out. */
LW_MUST_USE LW_YIELDS lw_status lw_shards_ask(lw_shards *shards, lw_message_kind kind, lw_bytes key,
                                              lw_bytes body, lw_buffer *reply);
/* Where the shard that holds a key ends, as far as is known here, appended: a hint. False: nothing
 * is known. */
bool lw_shards_end(const lw_shards *shards, lw_bytes key, lw_buffer *end);
/* The body of a reply to TOPOLOGY: descriptors in the order of their ranges, beginning with the
 * shard that holds `from`. All of them, or as many as LW_TOPOLOGY_SIZE_MAX bytes hold. */
void lw_shards_topology(const lw_shards *shards, lw_bytes from, lw_buffer *body);
/* A message from another node's `send`. Never suspends. */
void lw_shards_receive(lw_shards *shards, uint64_t from, lw_bytes message);
/* The link to another node is up, or down: it was down at first. Never suspends. */
void lw_shards_link(lw_shards *shards, uint64_t node, bool up);
/* Carries out a request of kind LW_MESSAGE_TIME of another node (node/shards_time.c). */
void lw_shards_time(lw_shards *shards, lw_buffer *reply);
/* Carries out a request of kind LW_MESSAGE_DESCRIBE of another node. Never suspends. */
LW_MUST_USE lw_status lw_shards_describe(lw_shards *shards, lw_bytes body, lw_buffer *reply);
/* A timestamp to hand out with a reply, or 0 when none can be given without waiting. */
uint64_t lw_shards_spare(lw_shards *shards);
/* The session's connection ended and it did not come back: frees its pessimistic locks, and rolls
 * back what it prewrote and never decided. */
void lw_shards_session_ended(lw_shards *shards, uint64_t session);
/* Whether there is anything of these. */
bool lw_shards_session_holds(const lw_shards *shards, uint64_t session);
/* A flush of a tree became durable up to `index`: the log may let go. */
void lw_shards_flushed(lw_shards *shards, const lw_tree *tree, uint64_t index);
/* Tables of a tree failed their check, for the reason in the error slot. Must not suspend. */
void lw_shards_damaged(lw_shards *shards, const lw_tree *tree);
/* The store has died, also while nothing was written: nothing is answered any more. */
void lw_shards_store_died(lw_shards *shards, const lw_error *reason);

/* ---- for node/snapshot.h, whose calls these are: `argument` is the shards -----------------------
 */

LW_MUST_USE LW_YIELDS lw_status lw_shards_snapshot_describe(void *argument, uint64_t shard,
                                                            uint64_t node, uint64_t index,
                                                            lw_snapshot *state, uint64_t *term,
                                                            lw_buffer *head);
bool lw_shards_snapshot_needed(void *argument, uint64_t shard, uint64_t node);
LW_MUST_USE lw_status lw_shards_snapshot_wanted(void *argument,
                                                const struct lw_snapshot_arrival *offered);
LW_MUST_USE LW_YIELDS lw_status
lw_shards_snapshot_install(void *argument, const struct lw_snapshot_arrival *arrived);

/* ---- looking ------------------------------------------------------------------------------ */

uint32_t lw_shards_count(const lw_shards *shards);
/* In the order of their ranges. */
lw_replica *lw_shards_at(const lw_shards *shards, uint32_t index);
/* The index of the one that holds `key`, or would if it held more. */
uint32_t lw_shards_place(const lw_shards *shards, lw_bytes key);
/* By id; NULL if it is not here. */
lw_replica *lw_shards_find(const lw_shards *shards, uint64_t shard);
lw_env *lw_shards_env(const lw_shards *shards);
lw_lock_table *lw_shards_locks(lw_shards *shards);
/* Who wrote lately, and who was killed. */
lw_recent *lw_shards_writers(lw_shards *shards);
lw_recent *lw_shards_killed(lw_shards *shards);
/* What is to be said of a replica here: whole, damaged, damaged everywhere, halted. */
const char *lw_shards_condition(const lw_shards *shards, uint64_t shard);
/* Whether a shard that is led here has little to do, and its left neighbour, which could take it
 * in, is as small: which that is, and for how long. */
bool lw_shards_to_merge(const lw_shards *shards, uint64_t shard, uint64_t *left, uint64_t *idle_ms);
/* Whether a shard is small and has had little to do, as far as this node can say: for long enough
 * to be merged, or far from it. */
lw_idleness lw_shards_idleness(const lw_shards *shards, uint64_t shard);
/* Shards led here that are just becoming part of another one, or are taking one in. */
uint32_t lw_shards_merging(const lw_shards *shards);
/* Replicas here that are damaged, or differ, or come anew because they were. */
uint32_t lw_shards_repairing(const lw_shards *shards);
/* Whether this node has every shard, and is the only one that has any. */
bool lw_shards_alone(const lw_shards *shards);
/* The label of a session; empty if unknown. */
lw_bytes lw_shards_label(const lw_shards *shards, uint64_t session);
lw_timestamps *lw_shards_timestamps(lw_shards *shards);

#endif
