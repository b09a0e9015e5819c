/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a replica, shared by node/replica*.c and nobody else.
 *
 *   replica.c           opening, replay, start, close, and the way of a request
 *   replica_lead.c      leading and following
 *   replica_snapshot.c  snapshots to and from other nodes
 *   replica_change.c    CHANGE_REPLICAS, TRANSFER
 *   replica_keep.c      the shard's records about itself
 *   replica_propose.c   entries: to the group, and from there into the tree
 *   replica_wait.c      what a request waits for: latches, pessimistic locks, room
 *   replica_read.c      GET, SCAN, VALIDATE, LOCK
 *   replica_write.c     COMMIT_NOW, PREWRITE
 *   replica_finish.c    COMMIT, ROLLBACK, CHECK, CHECK_SECONDARIES, HEARTBEAT
 *   replica_open.c      transactions that have locks in the tree
 *   replica_sweep.c     ending those of whom nobody is left; FINISH_RANGE
 *   replica_locks.c     LOCKS, and what killing a transaction asks of a shard
 *   replica_explain.c   what a request that did not go through is told
 *   replica_split.c     SPLIT
 *   replica_merge.c     MERGE
 *   replica_frozen.c    what that leaves in a shard; MERGED
 *   replica_load.c      which keys are asked for, for splitting by load
 *   replica_gc.c        what the collector of garbage asks
 *   replica_repair.c    what its repair asks
 *
 * An entry of the log is
 *   batch (storage/batch.h) · kind u8 · range version u64 · config version u64
 * where kind is an entry_kind, and the versions are the epoch in which it was proposed; its group
 * adds what it needs itself (node/group.h). */
#ifndef LW_REPLICA_STATE_H
#define LW_REPLICA_STATE_H

#include "base/hash.h"
#include "node/group.h"
#include "node/replica.h"
#include "storage/batch.h"
#include "txn/evaluate.h"
#include "txn/latch.h"

enum {
    ENTRY_TRAILER_SIZE = 1 + 8 + 8,
    SNAPSHOTS_SENT_MAX = LW_SHARD_REPLICAS_MAX, /* at a time, of one shard */
};

typedef enum entry_kind {
    ENTRY_NOOP = 1,       /* began a term, when the group did not do so itself */
    ENTRY_COMMAND = 2,    /* void in another epoch than its own (P2) */
    ENTRY_DESCRIPTOR = 3, /* changes the shard's descriptor, and so the epoch */
    ENTRY_SPLIT = 4,      /* ... and has the descriptor of the child; void in another epoch, too */
    ENTRY_KEPT = 5,       /* a record at the shard's start key, which no split takes away */
    /* Of a merge (node/replica_merge.c); void in another epoch. */
    ENTRY_FREEZE = 6,   /* nothing behind it changes the shard, but the next one */
    ENTRY_UNFREEZE = 7, /* it goes on */
    ENTRY_MERGE = 8,    /* its right neighbour becomes part of it */
} entry_kind;

/* An entry on its way. */
typedef struct replica_proposal {
    lw_proposal base;
    lw_epoch epoch;   /* in which it was evaluated; all 0: now's */
    lw_status status; /* once applied: LW_OK, or LW_UNAVAILABLE: void (P2) */
    /* How the locks of a transaction change with it. */
    uint64_t start, session;
    uint32_t locks_put, locks_taken;
} replica_proposal;

/* A transaction that has locks in the tree. */
typedef struct open_transaction {
    lw_map_node node;                         /* by start */
    struct open_transaction *previous, *next; /* in the order they came */
    struct open_session *owner;
    struct open_transaction *previous_of_owner, *next_of_owner;
    uint64_t start, session;
    uint64_t lock_count;
    bool leftover; /* of before the start: its session may still come back */

    uint64_t doomed_ns; /* swept from then on; 0: its session lives */
    uint32_t dooms;     /* how often it was doomed, or is to be swept somewhere else than before */
    uint32_t place;     /* in the heap of those doomed; 0: not in it */
    bool decided;       /* what became of it is known: */
    uint64_t commit_timestamp; /* 0: rolled back */
    bool bounded;              /* only what lies below `upper` is to be swept */
    lw_buffer resume, upper; /* user keys: where the sweeper goes on, and ends (empty: no bound) */
} open_transaction;

/* Whose transactions they are. */
typedef struct open_session {
    lw_map_node node; /* by session */
    uint64_t session;
    open_transaction *first;
} open_session;

/* Those to be swept: the one that is due first is at 1. */
typedef struct open_doom {
    open_transaction **heap;
    uint32_t count, capacity;
    lw_queue waiting; /* where the sweeper waits for the next one to be due */
} open_doom;

enum { OPEN_AWAITED_COUNT_MAX = 32 };

/* Who was doomed when this node led last, and when that was due. */
typedef struct open_awaited {
    uint64_t start, doomed_ns;
} open_awaited;

/* A request being carried out, in its fiber's frame. */
typedef struct replica_call {
    lw_replica *replica;
    uint64_t session;
    uint64_t deadline_ns; /* 0: none */
    lw_epoch epoch;       /* in which it came */
    uint64_t leadership;  /* the same of the replica's */
    bool misrouted;       /* the shard has changed since, or does not hold its keys */
    bool orphaned;        /* its session ended meanwhile */
    uint64_t start; /* the transaction that asks; 0: nobody's, or one that cannot be in a cycle */
    uint64_t waited_ns;  /* for locks of others */
    uint64_t writing;    /* the transaction that it prewrites or commits in one round; 0: none */
    bool freeing;        /* gives back more space than it takes, in the end */
    uint32_t timeout_ms; /* as its request says */
    uint64_t stands_on;  /* the lowest timestamp that it reads at or began at; UINT64_MAX: none */
    bool standing;       /* what it finds there counts: its evaluation was opened */
    lw_map_node node;    /* by `committing`, unless that is 0 */
    uint64_t committing; /* the transaction that it commits in one round; 0: none */
    bool looked;         /* whether an earlier copy of it had committed, and none had */
    lw_queue ended;      /* where later copies of the same request, and who kills it, wait */
    struct replica_ending *endings; /* of those that kill it */
    lw_lock_waiter *waiter; /* with which it waits in the table of locks; NULL: it does not */
    lw_arena arena;
    lw_evaluation evaluation;
    lw_latch latch;
    bool latched;
    struct replica_call *previous, *next; /* of the replica */
} replica_call;

/* What somebody wants to know who waits until a call has ended. */
typedef struct replica_ending {
    bool looked; /* as the call's */
    struct replica_ending *next;
} replica_ending;

/* Where a call begins to put what it decodes and writes: most need no more, and no memory. It lives
 * as long as the call. */
typedef struct replica_call_space {
    _Alignas(16) uint8_t arena[512];
    uint8_t batch[448], record[192], key[64];
} replica_call_space;

/* The record of a shard that is frozen. */
typedef struct replica_frozen {
    uint64_t left, range_version; /* into which it is to go, as of when that was decided */
    lw_bytes start;               /* of that one; a copy */
} replica_frozen;

/* What an ENTRY_MERGE says. */
typedef struct replica_merge {
    uint64_t right;       /* the shard that becomes part */
    uint64_t index, term; /* of the entry that froze it */
    lw_bytes start;       /* of that shard; a copy */
} replica_merge;

struct lw_replica {
    lw_replica_options options;
    lw_env *env;
    lw_tree *tree;
    lw_log *log;                    /* NULL before the start */
    lw_group *group;                /* NULL in a child that is still to be split off */
    lw_shard_descriptor descriptor; /* views of descriptor_bytes */
    lw_buffer descriptor_bytes;     /* as in lw_topology_encode */
    bool described;                 /* the tree has it */

    uint64_t leadership; /* the term in which it serves; 0: it does not */
    bool serving, closing, dead;
    bool halted;               /* replicas differ, and nobody knows which is right (R17) */
    bool renews;               /* its tree is damaged, and a snapshot is to replace it */
    uint64_t damage_logged_ns; /* when the log last said that its bytes are damaged; 0: never */
    bool coming_to_lead;       /* a fiber sees to it */
    lw_queue roles_changed;    /* woken when others lead, or the members are others */
    bool reshaping;            /* a split or a change of members is under way */
    bool leaving_joint;        /* a fiber sees to it */
    bool following_split;      /* a fiber splits the tree, and nobody waits for it */
    uint32_t splits;           /* entries applied that split it, or merged another one into it */
    bool tree_is_whole;        /* the last of them has not been done to the tree yet */
    replica_frozen frozen_into;
    bool frozen;             /* it is about to become part of another shard: nobody is served */
    bool merging;            /* ... as a request here wants, which sees to it */
    bool thawing;            /* ... else a fiber does */
    replica_merge absorbs;   /* the last one that became part of it: not yet, while ... */
    bool absorbing;          /* ... this holds, and the group is paused */
    lw_buffer absorbs_shard; /* the descriptor from then on; empty: it has it */
    uint32_t sending_splits[SNAPSHOTS_SENT_MAX]; /* `splits` when the sending began */
    uint64_t sending_to[SNAPSHOTS_SENT_MAX];     /* nodes that are sent snapshots; 0: none */
    uint64_t oracle_lease;                       /* that the oracle stands on, in the root shard */
    bool starting;   /* a call does, which is told if the log or the store die */
    lw_error reason; /* when dead */
    replica_call *calls;
    lw_map committing;         /* calls */
    uint32_t background_count; /* fibers of its own */
    /* What a split gives away, from a key on, while the entry may be known elsewhere and not be
     * carried out here: who reads it waits for the split's latch. NULL: nothing is. */
    lw_latch *giving_away;
    lw_bytes given_from;
    lw_queue idle;  /* woken when the last call or fiber ended */
    lw_queue stop;  /* where fibers of its own sleep; woken when closing or dead */
    lw_queue asked; /* where answers to errands are waited for; woken when closing */

    lw_latch_table latches;
    lw_lock_table *locks;    /* the node's */
    uint64_t written_before; /* records that are not in options.written are at or below it */
    uint32_t latch_waiting, lock_waiting;

    lw_read_marks marks;

    lw_map open_by_start, open_sessions;
    open_transaction *open_first, *open_last;
    uint32_t leftover_count;
    open_doom doomed;
    open_awaited awaited[OPEN_AWAITED_COUNT_MAX];
    uint32_t awaited_count;
    bool sweeping;  /* a fiber sweeps */
    lw_queue swept; /* who waits for its end */

    /* Of the past: see node/replica_gc.c. */
    uint64_t floor;          /* nobody may stand below this timestamp ... */
    uint64_t floor_kept;     /* ... of which that much is durable */
    uint64_t forgotten;      /* below this, what transactions have left may be gone ... */
    uint64_t forgotten_kept; /* ... and that much all replicas know */
    uint64_t led_ns;         /* when it came to serve */
    bool spreading;          /* another node is about to get the shard */
    uint64_t written_index;  /* of the last entry that a request wrote */
    /* Of the memtable: its oldest entry is not behind this one, and none up to here has a timestamp
     * above that. */
    uint64_t aging_index, aging_until;

    lw_replica_figures figures; /* what is counted */
    struct replica_load *load;  /* NULL: its load is not watched */
};

/* ---- calls: replica.c ----------------------------------------------------------------------- */

void replica_call_open(lw_replica *replica, uint64_t session, uint64_t deadline_ns,
                       replica_call *call);
/* Before it does anything. */
void replica_call_lend(replica_call *call, replica_call_space *space);
/* Lets go of everything the call still has. */
void replica_call_close(replica_call *call);
/* LW_UNAVAILABLE while it does not lead, when closing, or dead. */
LW_MUST_USE lw_status replica_gate(const lw_replica *replica);
/* The same, of one that is frozen too. */
LW_MUST_USE lw_status replica_runs(const lw_replica *replica);
/* The same, and if it has led anew since the call came: what that has seen counts no more. To be
 * asked after whatever suspends, before anything is proposed or answered. */
LW_MUST_USE lw_status replica_call_gate(const replica_call *call);
/* The term in which what the call has evaluated may be proposed. */
uint64_t replica_leadership_of(const replica_call *call);
/* Starts a fiber of the replica's own; it ends with replica_background_end. */
void replica_background_start(lw_replica *replica, const char *name, void (*body)(void *argument));
void replica_background_end(lw_replica *replica);
/* Sleeps until then, or until the replica closes or dies: false. */
LW_YIELDS bool replica_background_sleep(lw_replica *replica, lw_queue *queue, uint64_t until_ns);
/* replica_call_gate, and whether the shard is still what it was when the call came:
 * LW_UNAVAILABLE. */
LW_MUST_USE lw_status replica_check_epoch(replica_call *call);
/* After reading: whether this node led all the time up to here, so that nothing was missing in what
 * was read (hazard R7). To be asked of every answer that no entry stands behind. */
LW_MUST_USE LW_YIELDS lw_status replica_confirm(const replica_call *call);
/* Opens the snapshot of the call's evaluation; nothing that was applied is missing in it. Does not
 * suspend. LW_UNAVAILABLE if the shard has changed since the call came (P2). */
LW_MUST_USE lw_status replica_evaluation_open(replica_call *call);
void replica_evaluation_close(replica_call *call);

/* After LW_CORRUPTION, with its reason: says so. LW_UNAVAILABLE if another replica is to take the
 * place of this one, else LW_CORRUPTION. */
LW_MUST_USE lw_status replica_damaged(lw_replica *replica);

/* ---- opening: replica.c --------------------------------------------------------------------- */

/* A replica with no tree yet. */
lw_replica *replica_make(const lw_replica_options *options);
/* Its group, whose entries up to `index` are in the tree. Its descriptor has the members as of
 * `members_index`. */
void replica_open_group(lw_replica *replica, uint64_t index, uint64_t members_index);
void replica_free(lw_replica *replica);

/* ---- leading and following: replica_lead.c -------------------------------------------------- */

/* Passes the descriptor on, with who leads. */
void replica_tell(lw_replica *replica);
/* The group's calls. */
void replica_led(void *argument, uint64_t term);
void replica_followed(void *argument, uint64_t term, uint64_t leader);
/* Begins the group of a child that was split off. `leads`: this node led the parent when it was.
 * Serves when this returns where this node alone decides. LW_FULL: nothing was appended, try again.
 */
LW_MUST_USE LW_YIELDS lw_status replica_begin_child(lw_replica *replica, bool leads);
/* Whether no other node has, or had, a say: then all that was given was given here. */
bool replica_alone(const lw_replica *replica);

/* ---- records about itself: replica_keep.c ---------------------------------------------------- */

/* The ceiling of timestamps in the tree of the root shard, 0: none; puts one into a batch; makes
 * one durable, as lw_timestamps_ground wants it. */
LW_MUST_USE LW_YIELDS lw_status replica_load_ceiling(lw_replica *replica, uint64_t *ceiling);
void replica_put_ceiling(lw_replica *replica, uint64_t ceiling, lw_buffer *batch);
LW_MUST_USE LW_YIELDS lw_status replica_keep_ceiling(void *replica, uint64_t ceiling);

/* ---- entries: replica_propose.c ------------------------------------------------------------- */

/* Closes `batch` into an entry and proposes it. Never suspends. `batch` must stay as it
 * is until the proposal is applied. */
void replica_propose(lw_replica *replica, entry_kind kind, lw_buffer *batch,
                     replica_proposal *proposal);
/* Waits until it is durable and applied (P1). LW_UNDETERMINED when the log died: the entry may be
 * on disk or not. LW_UNAVAILABLE when it was void. */
LW_MUST_USE LW_YIELDS lw_status replica_wait(lw_replica *replica, replica_proposal *proposal);
/* Makes an ENTRY_KEPT of the batch durable, in this term only. While a split is not finished it is
 * applied later. LW_UNDETERMINED as above. */
LW_MUST_USE LW_YIELDS lw_status replica_keep_entry(lw_replica *replica, uint64_t leadership,
                                                   lw_buffer *batch);
/* Applies an entry, or skips a void one: `apply` of the group. */
LW_MUST_USE lw_status replica_apply(void *argument, const lw_group_entry *entry);
/* What else the group calls. */
bool replica_has_room(void *argument, size_t size, bool applies);
void replica_members_changed(void *argument, const lw_group_members *members);
void replica_removed(void *argument, uint64_t index);
void replica_diverged(void *argument, uint64_t node, uint64_t index);
LW_MUST_USE lw_status replica_take_descriptor(lw_replica *replica, lw_bytes bytes);
/* The log or the tree failed, with the reason in the error slot (P5). */
void replica_die(lw_replica *replica);

/* ---- waiting: replica_wait.c ---------------------------------------------------------------- */

/* Takes timestamps, waiting for them if it must; see lw_timestamps_take. */
LW_MUST_USE LW_YIELDS lw_status replica_take(lw_replica *replica, uint32_t count,
                                             uint64_t deadline_ns, uint64_t *first);
/* LW_INVALID_ARGUMENT if the oracle has not given it yet: see lw_timestamps_given. */
LW_MUST_USE LW_YIELDS lw_status replica_given(replica_call *call, uint64_t timestamp);
/* Waits for room to write; LW_FULL, in words. `freeing`: the request gives back more than it takes,
 * and is let in on a full disk too. */
LW_MUST_USE LW_YIELDS lw_status replica_admit(replica_call *call, size_t size, bool freeing);
/* Waits for room in the log, as the call was admitted. */
LW_MUST_USE LW_YIELDS lw_status replica_call_room(replica_call *call, size_t size);
/* ... for an entry of the replica's own. Whoever finds the log dead has the node stop (P5). */
LW_MUST_USE LW_YIELDS lw_status replica_log_room(lw_replica *replica, size_t size, bool freeing);
/* Waits until no earlier copy of this commit in one round is under way: while one is, nobody may
 * answer that the transaction did not commit (hazard T9). */
LW_MUST_USE LW_YIELDS lw_status replica_await_copies(replica_call *call, uint64_t start);
/* Waits for the latches in call->latch. LW_UNAVAILABLE if the shard has changed meanwhile, or does
 * not hold all of these keys and ranges; so it is with the waits of readers below. */
LW_MUST_USE LW_YIELDS lw_status replica_latch(replica_call *call);
void replica_unlatch(replica_call *call);
/* Gets the pessimistic lock of a key, or LW_TIMEOUT (says for whom it waited), LW_CONFLICT (a
 * deadlock), LW_UNAVAILABLE (the session ended). */
LW_MUST_USE LW_YIELDS lw_status replica_lock_key(replica_call *call, uint64_t start, lw_bytes key,
                                                 bool kept, uint64_t deadline_ns, bool *fresh);
/* After LW_CONFLICT. If that is for a lock in the tree of a transaction which is alive: waits until
 * the lock is gone, `*again`, or a while; LW_CONFLICT, now for a deadlock, if that would close a
 * cycle. */
LW_MUST_USE LW_YIELDS lw_status replica_watch(replica_call *call, bool *again);
/* Waits until no split gives the key away; who waits in vain is sent on. */
LW_MUST_USE LW_YIELDS lw_status replica_await_given(replica_call *call, lw_bytes key);
/* Waits for writers whose commit timestamp is at or below `read_timestamp` (P3). */
LW_MUST_USE LW_YIELDS lw_status replica_await_keys(replica_call *call, uint64_t read_timestamp,
                                                   const lw_bytes *keys, uint32_t key_count);
LW_MUST_USE LW_YIELDS lw_status replica_await_range(replica_call *call, uint64_t read_timestamp,
                                                    lw_latch_range range);
/* Sets the shared latches of the call to what a transaction read. */
void replica_share_reads(replica_call *call, const lw_seen_key *keys, uint32_t key_count,
                         const lw_seen_range *ranges, uint32_t range_count);
/* The keys in order, each once, in the call's arena. */
const lw_bytes *replica_sorted(replica_call *call, const lw_bytes *keys, uint32_t *key_count);

/* ---- requests: replica_read.c, replica_write.c ---------------------------------------------- */

LW_MUST_USE LW_YIELDS lw_status replica_get(replica_call *call, lw_bytes body, lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_scan(replica_call *call, lw_bytes body, lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_validate(replica_call *call, lw_bytes body,
                                                 lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_lock(replica_call *call, lw_bytes body, lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_timestamp(replica_call *call, lw_bytes body,
                                                  lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_commit_now(replica_call *call, lw_bytes body,
                                                   lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_prewrite(replica_call *call, lw_bytes body,
                                                 lw_buffer *reply);
/* Proposes the evaluation's batch, unless it is empty, and waits. */
LW_MUST_USE LW_YIELDS lw_status replica_write_batch(replica_call *call, uint64_t start);
LW_MUST_USE LW_YIELDS lw_status replica_commit(replica_call *call, lw_bytes body, lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_rollback(replica_call *call, lw_bytes body,
                                                 lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_check(replica_call *call, lw_bytes body, lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_check_secondaries(replica_call *call, lw_bytes body,
                                                          lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_heartbeat(replica_call *call, lw_bytes body,
                                                  lw_buffer *reply);
/* The same, asked by the sweeper. */
LW_MUST_USE LW_YIELDS lw_status replica_finish(replica_call *call,
                                               const lw_finish_request *request);

/* ---- locks: replica_locks.c ----------------------------------------------------------------- */

LW_MUST_USE LW_YIELDS lw_status replica_page_of_locks(replica_call *call, lw_bytes body,
                                                      lw_buffer *reply);

/* ---- words: replica_explain.c --------------------------------------------------------------- */

/* Remembers who wrote, so that others can be told. */
void replica_note_writer(const replica_call *call, uint64_t start, uint64_t commit_timestamp);
/* Encodes what the evaluation met, with labels. */
void replica_obstacle(const replica_call *call, lw_buffer *reply);
/* LW_CONFLICT, with the whole cycle. */
LW_MUST_USE lw_status replica_deadlock(replica_call *call, lw_bytes key,
                                       const lw_lock_cycle *cycle);
/* The same for one who waits in a cycle that goes through other nodes; frees the reason. */
LW_MUST_USE lw_status replica_refused(replica_call *call, lw_lock_waiter *waiter);
/* WAITS: see txn/detector.h. */
LW_MUST_USE LW_YIELDS lw_status replica_waits(replica_call *call, lw_bytes body, lw_buffer *reply);
/* LW_TIMEOUT, with whoever has the key now. */
LW_MUST_USE lw_status replica_waited_too_long(const replica_call *call, lw_bytes key);
/* LW_CONFLICT if the transaction was killed. */
LW_MUST_USE lw_status replica_spared(replica_call *call, uint64_t start);
/* ---- splitting: replica_split.c ------------------------------------------------------------- */

LW_MUST_USE LW_YIELDS lw_status replica_split(replica_call *call, lw_bytes body, lw_buffer *reply);
/* An entry that nobody waits for, with this batch, is applied: a fiber does what follows from it.
 * The group is paused until then. */
LW_MUST_USE lw_status replica_split_follow(lw_replica *replica, lw_bytes batch);

/* ---- merging: replica_merge.c, replica_frozen.c ---------------------------------------------- */

enum { REPLICA_NAME_SIZE = 32 };
static const char replica_frozen_name[] = "frozen", replica_merge_name[] = "merge";
void replica_absorbed_name(uint64_t right, char name[REPLICA_NAME_SIZE]);
/* Puts a record of the shard that begins at `start`; and its descriptor. */
void replica_put_record(lw_bytes start, const char *name, lw_bytes value, lw_buffer *batch);
void replica_put_shard(const lw_shard_descriptor *shard, lw_buffer *batch);
/* Whether the record is there that says so. */
LW_MUST_USE LW_YIELDS lw_status replica_was_absorbed(lw_replica *replica,
                                                     const lw_merged_request *asked, bool *merged);
/* Asks others in the replica's name, and does not keep it from ending meanwhile: what merges two
 * waits until nobody is at the right one, and who asks may wait for that merge. */
LW_MUST_USE LW_YIELDS lw_status replica_ask_apart(lw_replica *replica, lw_message_kind kind,
                                                  lw_bytes key, const lw_buffer *body,
                                                  uint64_t deadline_ns, lw_buffer *reply);
/* In simulations: lets others come between two steps more often than they would. */
LW_YIELDS void replica_merge_dawdle(lw_replica *replica);

LW_MUST_USE LW_YIELDS lw_status replica_merge_request(replica_call *call, lw_bytes body,
                                                      lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_merged_request(replica_call *call, lw_bytes body,
                                                       lw_buffer *reply);
/* An entry of these kinds is applied, and is in the tree; a descriptor was taken. */
LW_MUST_USE lw_status replica_freeze_applied(lw_replica *replica, lw_bytes batch);
LW_MUST_USE lw_status replica_merge_applied(lw_replica *replica, const lw_group_entry *entry,
                                            lw_bytes batch);
/* What the tree says of all this, when it is opened or was replaced. */
LW_MUST_USE LW_YIELDS lw_status replica_load_merges(lw_replica *replica);
/* It came to serve while it is frozen: sees to it that this ends. */
void replica_thaw(lw_replica *replica);
/* Sends home who waits for locks. */
void replica_send_home(lw_replica *replica);
void replica_merge_close(lw_replica *replica);

/* ---- members: replica_change.c -------------------------------------------------------------- */

/* As the descriptor has them. */
void replica_members(const lw_replica *replica, lw_group_members *members);
/* Whether there are two sets of voters; and what is left when only the new one counts. */
bool replica_members_joint(const lw_group_members *members);
void replica_members_left(lw_group_members *members);
/* What a request makes of the members. `figures`: how far the others have come; `leader`: this
 * node. LW_UNAVAILABLE: not now. LW_INVALID_ARGUMENT: never. */
LW_MUST_USE lw_status replica_members_plan(lw_env *env, const lw_group_figures *figures,
                                           const lw_change_replicas_request *request,
                                           uint64_t leader, lw_group_members *members);
LW_MUST_USE LW_YIELDS lw_status replica_change_replicas(replica_call *call, lw_bytes body,
                                                        lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status replica_transfer(replica_call *call, lw_bytes body,
                                                 lw_buffer *reply);
/* Has the old set of voters left, in the background, while there are two, and this node leads. */
void replica_leave_joint(lw_replica *replica);
/* The group's call. */
void replica_leaves_joint(void *argument, const lw_group_members *members);
/* Waits until nothing changes the descriptor, and is the one that does until replica_reshape_end.
 */
LW_MUST_USE LW_YIELDS lw_status replica_reshape_begin(replica_call *call);
void replica_reshape_end(lw_replica *replica);

/* ---- snapshots: replica_snapshot.c ---------------------------------------------------------- */

/* The group's call. */
void replica_wants_snapshot(void *argument, uint64_t node);
/* Whether a node is being sent one. */
bool replica_sends_to(const lw_replica *replica, uint64_t node);
/* Whether any node is. */
bool replica_sends(const lw_replica *replica);

/* ---- garbage: replica_gc.c ------------------------------------------------------------------ */

/* The call reads at this timestamp, or its transaction began there: see lw_gc_stand. As
 * replica_given. */
LW_MUST_USE LW_YIELDS lw_status replica_stand(replica_call *call, uint64_t timestamp);
/* The same for who did stand, and has suspended since. */
LW_MUST_USE lw_status replica_stands(const lw_replica *replica, uint64_t timestamp);
/* Before another node gets the shard: what was collected here goes with it. */
LW_MUST_USE LW_YIELDS lw_status replica_spread(lw_replica *replica);
/* What the shard knows of its past: from the tree, into a batch of its own or of a child that
 * begins at `start`, and from an entry that is applied. */
LW_MUST_USE LW_YIELDS lw_status replica_load_past(lw_replica *replica);
void replica_put_past(const lw_replica *replica, lw_bytes start, lw_buffer *batch);
void replica_take_past(lw_replica *replica, lw_bytes batch);
/* When `right` becomes part of `left`: the higher of what the two know. */
void replica_put_past_of_both(const lw_replica *left, const lw_replica *right, lw_buffer *batch);
/* COLLECT. */
LW_MUST_USE LW_YIELDS lw_status replica_collect(replica_call *call, lw_bytes body,
                                                lw_buffer *reply);
/* Takes note of an entry that was not proposed here since the start. */
void replica_gc_applied(lw_replica *replica, uint64_t index, lw_bytes entry);

/* ---- open transactions: replica_open.c ------------------------------------------------------ */

/* NULL if it has no locks in the tree. */
open_transaction *replica_open_find(const lw_replica *replica, uint64_t start);
bool replica_open_has(const lw_replica *replica, uint64_t start);
/* Whether one of this session has. */
bool replica_open_has_session(const lw_replica *replica, uint64_t session);
/* Counts what an applied entry changed. */
void replica_open_count(lw_replica *replica, const replica_proposal *proposal);
/* Counts the locks in `tree` on keys at or behind `from`, once, before the start; their sessions
 * have a grace to come back. */
LW_MUST_USE LW_YIELDS lw_status replica_open_load(lw_replica *replica, lw_tree *tree,
                                                  lw_bytes from);
/* What `child` has counted of the locks of its parent is the child's from now on, with all that is
 * known of the sessions. */
void replica_open_hand_over(lw_replica *replica, lw_replica *child);
/* The inverse: what `right` has counted is the replica's from now on. */
void replica_open_take_over(lw_replica *replica, lw_replica *right);
/* The session has come back. */
void replica_open_attach(lw_replica *replica, uint64_t session);
/* It is no more: what it has open is doomed. */
void replica_open_doom(lw_replica *replica, uint64_t session);
/* ... of one transaction. */
void replica_open_doom_one(lw_replica *replica, uint64_t start);
/* ... at some time; and not at all any more. */
void replica_open_doom_at(lw_replica *replica, open_transaction *open, uint64_t doomed_ns);
void replica_open_spare(lw_replica *replica, open_transaction *open);
/* The one that is due first; NULL if none is doomed. */
open_transaction *replica_open_next_doomed(const lw_replica *replica);
/* Its owner says how it ended, and has the sweeper end its locks in a range. */
LW_MUST_USE lw_status replica_open_finish(lw_replica *replica,
                                          const lw_finish_range_request *request);
/* ... of all that began below the safepoint. Returns how many there still are. */
uint32_t replica_open_doom_below(lw_replica *replica, uint64_t safepoint);
/* Sees to those that were loaded. */
void replica_open_sweep_leftovers(lw_replica *replica);
/* Nobody has anything open, as far as is known. */
void replica_open_forget(lw_replica *replica);
/* The same when this node leads no more; if it comes to lead again, it awaits no session for longer
 * than it would have. */
void replica_open_lay_down(lw_replica *replica);
void replica_open_close(lw_replica *replica);

/* ---- load: replica_load.c ---------------------------------------------------------------------
 */

void replica_load_take(lw_replica *replica, const lw_bytes *keys, uint32_t key_count);
/* A request is about these keys. */
static inline void replica_load_note(lw_replica *replica, const lw_bytes *keys,
                                     uint32_t key_count) {
    if (replica->load != NULL && key_count > 0) {
        replica_load_take(replica, keys, key_count);
    }
}

/* ---- the sweeper: replica_sweep.c ----------------------------------------------------------- */

/* Has it look who is doomed. */
void replica_sweep(lw_replica *replica);
/* The locks on [lower, upper); an empty one is no bound. */
lw_cursor *replica_open_locks(const lw_replica *replica, lw_snapshot *snapshot, lw_bytes lower,
                              lw_bytes upper);
LW_MUST_USE LW_YIELDS lw_status replica_finish_range(replica_call *call, lw_bytes body,
                                                     lw_buffer *reply);

#endif
