/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the shards of a node, shared by node/shards*.c and nobody else.
 *
 *   shards.c       who is there; requests of clients; opening and closing
 *   shards_ask.c   requests of the node's own, to shards here and elsewhere
 *   shards_join.c  replicas that come, and that go
 *   shards_past.c  what is remembered of groups that have no tree here
 *   shards_hand.c  what is led here goes to others before a stop
 *   shards_split.c splits those that have grown
 *   shards_small.c  merges those that have little to do
 *   shards_beneath.c  what is here of the keys of a snapshot
 *   shards_merge.c  what merging asks of more than one replica
 *   shards_repair.c  replicas that are damaged
 *   shards_headless.c  ... so that this node does not know what they are
 *   shards_judge.c  those that differ from the others
 *
 * Of a replica that was removed a STATE record stays in the log, under its group, as payload
 *   range version u64 · config version u64 · index u64 · mark u8 = 1
 * which a group's own never is (node/group_state.h), with the term that it had come to. The index
 * is that of the entry that removed it, or a later one. Of one that became part of another shard
 *   range version u64 · config version u64 · index u64 · id of that shard u64 · mark u8 = 2 */
#ifndef LW_SHARDS_STATE_H
#define LW_SHARDS_STATE_H

#include "base/hash.h"
#include "node/shards.h"

enum {
    SHARDS_INTRODUCTIONS = 8, /* strangers that are asked about at a time */
    SHARDS_STATE_SIZE_MAX = 64,
};

/* One replica, and its place in the map. */
typedef struct shards_member {
    lw_map_node node;    /* by id */
    lw_replica *replica; /* NULL while its tree is dropped */
    lw_replica *passing; /* ... or what has ended, while it becomes part of another one */
    uint64_t shard;
    bool grown;               /* it may have, since the splitter looked */
    uint64_t undivided_bytes; /* it held so much, and no key was known to split it at */
    bool waits;               /* for a snapshot: it has no tree, and is not among the sorted */
    bool leaving;             /* it is being removed, and nobody finds it any more */
    bool repairing;           /* it is damaged, or may differ from the others: a fiber sees to it */
    bool damaged;             /* ... damaged, since its last snapshot */
    bool nowhere_whole;       /* ... and so are those of all other voters: who reads is told */
    uint64_t asked_count;     /* requests until the last look, and one; 0: none was looked at */
    uint64_t idle_ms;         /* since when it is small and has little to do; 0: it is not */
    bool busy;                /* at the last look it was far from that, and led here */
    bool absorbed;            /* ... as it has become part of another one, or is about to */
    uint64_t beneath;         /* ... of this one, by a snapshot of that; its tree goes with it */
    uint32_t merged_looks;    /* that found that it is part of another one */
    bool lacks_part;          /* a shard that is to become part of it is not here as it has to be */
    bool anew;       /* it takes the place of one that was thrown away, and waits for a snapshot */
    uint64_t let_go; /* the configuration in which an earlier one was let go of; 0: none was */
    uint64_t told_index; /* whoever introduced it had come so far, and named this node */
    bool going;          /* its replica has ended, but a crash would bring it back, with: */
    lw_buffer going_start, going_end;
} shards_member;

/* What the log says of a group that has no tree here. */
typedef struct shards_past {
    lw_map_node node; /* by group */
    uint64_t group, term;
    uint8_t state[SHARDS_STATE_SIZE_MAX]; /* payload of its last state */
    uint32_t state_size;
    bool entries;   /* it has entries, or had */
    bool gone;      /* it was removed: */
    lw_epoch epoch; /* as of then */
    uint64_t index; /* of the entry that did it, or a later one */
    uint64_t into;  /* it became part of this shard, and its tree is not to be dropped; 0: no */
} shards_past;

/* A tree that does not say any more what it is. */
typedef struct shards_headless {
    uint64_t shard;
    bool given_up; /* its log is of no use either: nothing may be made in its place */
} shards_headless;

struct lw_shards {
    lw_shards_options options;
    lw_shards_others others; /* on a lone node: zeroed */
    lw_env *env;
    lw_groups *groups;
    lw_log *log; /* NULL before the start */
    lw_timestamps *timestamps;
    lw_lock_table *locks;
    lw_detector *detector;
    lw_waits *waits; /* NULL on a lone node */
    lw_latch_slots *latch_slots;
    lw_key_marks *key_marks;
    lw_recent *writers, *killed;
    lw_key_marks *written;
    lw_map by_id;           /* members */
    shards_member **sorted; /* by start key, once started */
    uint32_t count, capacity;
    lw_map pasts;
    shards_headless *headless;
    uint32_t headless_count;
    uint64_t introducing[SHARDS_INTRODUCTIONS]; /* groups; 0: none */
    uint32_t background_count;                  /* fibers of its own */
    lw_queue idle;                              /* woken when the last one ended */
    bool serving, dead;
    lw_error reason;        /* when dead */
    uint64_t time_asked_ns; /* since when others are asked for the oracle's time; 0: not yet */
    bool settled;           /* no shard waits any more for sessions of before the start */
    lw_queue stop;          /* where pauses are slept; woken at the end */
    lw_queue patrol;        /* where the patrol rests while all replicas here lead */
    lw_queue grown;         /* where the splitter rests */
    lw_queue shrunk;        /* where those that may be merged are waited for */
    lw_queue thawed;        /* where requests wait for the end of a merge */
};

/* The replica that holds `key`, as far as its descriptor says; NULL if none does. */
lw_replica *shards_holding(const lw_shards *shards, lw_bytes key);

/* The member of this id, whatever state it is in; NULL: none. */
shards_member *shards_member_of(const lw_shards *shards, uint64_t shard);
/* Makes a member, which then belongs to the shards. */
shards_member *shards_enter(lw_shards *shards, uint64_t shard, lw_replica *replica, bool waits);
/* It has a tree now, and its range counts. */
void shards_arrived(lw_shards *shards, shards_member *member);
/* Takes it out of those that are sorted, if it is one. */
void shards_unsort(lw_shards *shards, const shards_member *member);
/* Takes it out for good, and frees it. */
void shards_forget(lw_shards *shards, shards_member *member);
lw_replica_options shards_replica_options(lw_shards *shards, uint64_t shard);
/* The keys that a member holds, or would hold again behind a crash. False: none that are known. */
bool shards_held(const lw_shards *shards, const shards_member *member, lw_shard_descriptor *held);
/* Whether a member other than `shard` holds any of the keys of a range, but for what a start has
 * set aside to become part of `shard`. */
bool shards_overlap(const lw_shards *shards, uint64_t shard, const lw_shard_descriptor *range);

/* The log or the store died: nothing is done any more. */
void shards_die(lw_shards *shards, const lw_error *reason);

/* ---- shards_small.c ------------------------------------------------------------------------- */

void shards_small_start(lw_shards *shards);
/* Has it look: there may be something to merge, or to bring together, now. */
void shards_shrunk(lw_shards *shards);
/* Of lw_replica_options. */
bool shards_idle(void *shards, lw_replica *replica);

/* ---- shards_ask.c --------------------------------------------------------------------------- */

/* Of lw_replica_options: ask_apart. */
LW_YIELDS lw_status shards_ask_apart(void *shards, const lw_errand *what, lw_buffer *reply);

/* ---- shards_time.c -------------------------------------------------------------------------- */

/* Of lw_replica_options: learn_time. */
LW_YIELDS void shards_learn_time(void *shards, lw_replica *root);

/* ---- shards_merge.c ------------------------------------------------------------------------- */

/* Of lw_replica_options: beginning, await_applied, absorb, thawed, orphaned. */
lw_replica *shards_beginning(void *shards, lw_bytes key);
LW_MUST_USE LW_YIELDS lw_status shards_await_applied(void *shards, const lw_replica_merge *frozen,
                                                     uint64_t deadline_ns);
LW_MUST_USE LW_YIELDS lw_status shards_absorb(void *shards, lw_replica *left);
void shards_thawed(void *shards);
void shards_orphaned(void *shards, lw_replica *replica);
/* Waits a while, if the shard is just being merged. */
LW_YIELDS void shards_await_merge(lw_shards *shards, uint64_t shard, uint32_t timeout_ms);
/* What a crash left of merges; and what there is to do about it later. */
LW_MUST_USE LW_YIELDS lw_status shards_finish_merges(lw_shards *shards, lw_log *log);
void shards_mend_merges(lw_shards *shards);
/* Ends one that was set aside at the start, to become part of another one, if that does without it.
 * Any other shard is left alone. */
LW_MUST_USE LW_YIELDS lw_status shards_end_left_over(lw_shards *shards, lw_log *log,
                                                     uint64_t shard);
/* Whether a member is such a one, to become part of `of`. */
bool shards_is_part_set_aside(const lw_shards *shards, const shards_member *member, uint64_t of);
/* Makes durable that a replica, which is retired, is part of another shard. */
LW_MUST_USE LW_YIELDS lw_status shards_bury_merged(lw_shards *shards, const lw_replica *right,
                                                   uint64_t into);
/* Whether a replica here has become part of another shard, and this node will not hear of it. */
LW_YIELDS bool shards_is_orphan(lw_shards *shards, uint64_t id);
void shards_send_orphan(lw_shards *shards, lw_replica *replica);

/* ---- shards_beneath.c ----------------------------------------------------------------------- */

/* Whether a shard, as it is known, has become part of what holds these keys now. */
bool shards_is_part_of(const lw_shard_descriptor *shard, const lw_shard_descriptor *now);
/* Whether all that is here of the keys of a snapshot has become part of its shard. */
bool shards_beneath_may_go(const lw_shards *shards, const lw_shard_descriptor *told);
/* Ends it; then says which trees are to go with the snapshot; then forgets those that did. */
LW_MUST_USE LW_YIELDS lw_status shards_end_beneath(lw_shards *shards,
                                                   const lw_shard_descriptor *told);
uint32_t shards_ended_beneath(const lw_shards *shards, const lw_shard_descriptor *told,
                              uint64_t *ids, uint32_t limit);
void shards_forget_beneath(lw_shards *shards, const uint64_t *ids, uint32_t count);
/* The shard is not on this node any more, and no snapshot of it comes: what was ended for one goes,
 * too. Else it would keep everybody from coming who may have its keys. */
LW_MUST_USE LW_YIELDS lw_status shards_drop_beneath(lw_shards *shards, uint64_t shard);

/* ---- shards_ask.c --------------------------------------------------------------------------- */

/* From the leader of the root shard: an lw_timestamps_fetch. */
LW_MUST_USE LW_YIELDS lw_status shards_fetch_timestamps(void *shards, uint32_t count,
                                                        uint64_t deadline_ns, uint64_t *first);

/* ---- shards_join.c -------------------------------------------------------------------------- */

/* See lw_groups_options.stranger. */
void shards_stranger(void *shards, uint64_t from, uint64_t group, lw_raft_kind kind);
/* A replica has a tree from a snapshot. */
void shards_installed(void *shards, lw_replica *replica);
/* A replica has learned that it is no member any more. */
void shards_gone(void *shards, lw_replica *replica, uint64_t index);
/* In `epoch`, and with the entry `index` applied, it is known not to be a member. */
void shards_send_away(lw_shards *shards, shards_member *member, lw_epoch epoch, uint64_t index);
/* Looks now and then after replicas that do not lead, in a fiber: whether they are members still.
 */
void shards_patrol(lw_shards *shards);
/* Makes a replica that waits for a snapshot. `shard` names this node, as of the entry `applied`,
 * and nothing speaks against it. What was let go of here does not come back, nor by a snapshot that
 * was on its way then. */
LW_MUST_USE lw_status shards_take_in(lw_shards *shards, const lw_shard_descriptor *shard,
                                     uint64_t applied);
/* Ends a replica that is leaving, and makes its tombstone durable. */
LW_MUST_USE LW_YIELDS lw_status shards_bury(lw_shards *shards, shards_member *member,
                                            const shards_past *gone);
/* Drops a tree, and what the log keeps for it but the tombstone. */
LW_MUST_USE LW_YIELDS lw_status shards_drop(lw_shards *shards, lw_log *log, uint64_t shard);
/* What another node knows of a shard. Views of `reply`. */
LW_MUST_USE LW_YIELDS lw_status shards_describe_by(lw_shards *shards, uint64_t node, uint64_t shard,
                                                   lw_buffer *reply, lw_shard_descriptor *told,
                                                   uint64_t *applied);
/* The same, with all that was said: if it fails, the shard may be part of `tail->into`. */
LW_MUST_USE LW_YIELDS lw_status shards_hear_of(lw_shards *shards, uint64_t node, uint64_t shard,
                                               lw_buffer *reply, lw_shard_descriptor *told,
                                               lw_describe_tail *tail);
/* Whether the replica on another node is there, and whole; one that leads is asked for a snapshot
 * for `renews`, unless that is 0. */
LW_MUST_USE LW_YIELDS lw_status shards_look_at(lw_shards *shards, uint64_t node, uint64_t shard,
                                               uint64_t renews, uint64_t *leader, bool *damaged);
/* Compares digests with another node: in, this node's; out, the other's, which has index 0 if it
 * does not know it. */
LW_MUST_USE LW_YIELDS lw_status shards_compare(lw_shards *shards, uint64_t node, uint64_t shard,
                                               uint64_t *index, uint64_t *digest);
bool shards_names(const lw_shard_descriptor *shard, uint64_t node);
/* The ids of all members, who come and go while somebody waits. Ends with a 0; the caller frees. */
uint64_t *shards_ids(const lw_shards *shards);
/* What a crash left of a replica that was being removed. */
LW_MUST_USE LW_YIELDS lw_status shards_finish_removals(lw_shards *shards, lw_log *log);
/* A fiber of its own ends. */
void shards_background_end(lw_shards *shards);
/* Waits until all of them have. */
LW_YIELDS void shards_await_idle(lw_shards *shards);

/* ---- shards_split.c ------------------------------------------------------------------------- */

/* Splits those that this node leads and that have grown, in a fiber. */
void shards_split_start(lw_shards *shards);
/* Has it look at a shard: something was flushed, or it is led here now. */
void shards_grown(lw_shards *shards, uint64_t shard);

/* ---- shards_repair.c ------------------------------------------------------------------------ */

/* Of lw_replica_options: damaged. */
bool shards_damaged(void *shards, lw_replica *replica);
/* Has the damaged replicas of before the start repaired; or one. */
void shards_repair_start(lw_shards *shards);
void shards_repair_begin(lw_shards *shards, shards_member *member);
/* The replica, or the one that takes its place, has its snapshot. */
void shards_repaired(lw_shards *shards, uint64_t shard);
/* A line of the log, and an event. */
__attribute__((format(printf, 5, 6))) void shards_say(lw_shards *shards, lw_level level,
                                                      const char *name, uint64_t shard,
                                                      const char *format, ...);
bool shards_run(const lw_shards *shards);
bool shards_votes(const lw_shard_replica *replica);
/* Until then, or until the shards close or die. */
LW_YIELDS void shards_pause(lw_shards *shards, uint64_t pause_ms);

/* ---- shards_headless.c ---------------------------------------------------------------------- */

/* Whether what is damaged here may come from elsewhere. */
bool shards_has_others(const lw_shards *shards);
/* A replica could not be opened, as the tree is damaged: the failure is in the error slot. LW_OK:
 * the shards start without it, and it comes anew from elsewhere. */
LW_MUST_USE lw_status shards_behead(lw_shards *shards, uint64_t shard);
bool shards_is_headless(const lw_shards *shards, uint64_t shard);
/* After replay, and after merges were finished: those that were removed are dropped. */
LW_MUST_USE LW_YIELDS lw_status shards_finish_headless(lw_shards *shards, lw_log *log);
/* Asks others for what they know of them, in a fiber. */
void shards_headless_start(lw_shards *shards);

/* ---- shards_judge.c ------------------------------------------------------------------------- */

/* Of lw_replica_options: differs. */
void shards_differs(void *shards, lw_replica *replica, uint64_t index);
/* Between replay and start: what is to become of a replica that halted in an earlier run. */
void shards_halted_before(lw_shards *shards, shards_member *member);
/* Once the node serves: those that stay halted come anew if they are left behind. */
void shards_judge_start(lw_shards *shards);
/* Tells the other members that a replica here begins anew, so that whoever leads sends a snapshot.
 */
void shards_announce(lw_shards *shards, const shards_member *member);

/* ---- shards_past.c -------------------------------------------------------------------------- */

/* NULL: nothing is remembered. */
shards_past *shards_past_of(const lw_shards *shards, uint64_t group);
/* Takes a record of a group that has no tree, or a tombstone. True if it was such. */
bool shards_past_replay(lw_shards *shards, const lw_log_record *record);
/* LW_CORRUPTION if the log has entries of a shard that was never removed, and has no tree. */
LW_MUST_USE lw_status shards_past_check(const lw_shards *shards);
/* Once removals and merges that a crash interrupted are finished: the log keeps nothing of those
 * that are gone, which it still had, but that they are. */
void shards_past_let_go(const lw_shards *shards);
/* Makes durable that the shard was removed here: its group, term, epoch and index. */
LW_MUST_USE LW_YIELDS lw_status shards_past_bury(lw_shards *shards, const shards_past *gone);
/* A group of this id begins here: it takes over what is known of its terms and votes. */
LW_MUST_USE lw_status shards_past_revive(lw_shards *shards, lw_replica *replica, uint64_t group);
void shards_past_close(lw_shards *shards);

#endif
