/* SPDX-License-Identifier: Apache-2.0 */
/* A group: the Raft of one shard on this node. It carries out what lattice/raft.h decides, over the
 * node's log and a `send`, and applies committed entries in order. The replica (node/replica.h)
 * stands on it. A shard on one node is a group of one on the same path: an append to the log, for
 * which its proposer waits and which it then applies.
 *
 * An entry in the log, and on the wire, is
 *   what was proposed · [(node u64 · role u8) × count · count u8] · commit u64 · mark u8
 * where the part in brackets is there if the mark says that it changes the members, and `commit` is
 * what its leader knew to be committed when it proposed it: whoever replays the entry may apply
 * everything up to there. One that begins a term has nothing in front. An entry of before there was
 * more than one node ends with a zero instead, and has nothing of all this.
 *
 * Invariants
 * G1. A vote, a term and an acknowledgement leave this node only after the log holds durably what
 *     they promise (hazard R1).
 * G2. Entries are applied once each, in the order of their indexes, each only when it is committed
 *     and durable here.
 * G3. A proposal ends in one of these ways: it is applied; it is known never to be; nobody here can
 *     know. Its memory is its proposer's, and nobody touches it once the wait is over.
 * G4. What is kept in memory for others is bounded, whatever they do (hazard R18): beyond that it
 *     is read back from the log, and beyond that they get a snapshot.
 * G5. Followers compare what they have applied with their leader; one that finds a difference halts
 *     (hazard R17).
 *
 * Nothing here suspends but what is marked so, and no callback may. */
#ifndef LW_GROUP_H
#define LW_GROUP_H

#include "lattice/message.h"
#include "node/groups.h"

typedef struct lw_group lw_group;

/* Who belongs to a group: as in the shard's descriptor. */
typedef struct lw_group_members {
    lw_shard_replica replicas[LW_SHARD_REPLICAS_MAX]; /* each node once, ascending */
    uint32_t count; /* 0, of before there were several nodes: this one, as sole voter */
} lw_group_members;

/* An entry on its way, in its proposer's frame. Zeroed, but for what is marked "in". */
typedef struct lw_proposal {
    uint64_t term; /* in: of the leadership in which it was evaluated; 0: whatever is now's */
    const lw_group_members *members; /* in: what it makes of the members; NULL: no change */
    uint64_t index;                  /* 0: it was refused */
    uint64_t position;               /* in this node's log */
    lw_status status;                /* once ended */
    bool ended;
    bool awaits_commit; /* its proposer does not wait for more */
    lw_queue waiting;
} lw_proposal;

typedef struct lw_group_entry {
    uint64_t index, term;
    lw_bytes bytes;        /* as proposed; none: it begins a term, and only its index counts */
    lw_proposal *proposal; /* of who waits for it here; NULL: nobody does */
} lw_group_entry;

typedef struct lw_group_options {
    lw_groups *groups;
    uint64_t group;           /* its id: the shard's */
    lw_group_members members; /* as of `index`. None, and index 0, in a group that `joins` */
    bool joins;     /* nothing is known of it here yet: it waits for a leader's snapshot */
    uint64_t index; /* the last that is applied durably: of the shard's tree */
    /* Entries up to here bring no members: `members` are as of then. Above `index` where somebody
     * else told them, who had come farther; at or below it otherwise. */
    uint64_t members_index;

    /* Applies an entry. What fails ends the node. It may call lw_group_pause. */
    lw_status (*apply)(void *argument, const lw_group_entry *entry);
    /* This node leads, and has applied everything of earlier terms: it may serve. */
    void (*led)(void *argument, uint64_t term);
    /* It leads no more, or somebody else does: `leader` is 0 while nobody is known to. Proposals
     * that were under way end right after this. */
    void (*followed)(void *argument, uint64_t term, uint64_t leader);
    /* The members are others now, or again the old ones. Not yet committed. */
    void (*changed)(void *argument, const lw_group_members *members);
    /* Both sets of voters have agreed on the new one: `members` is to be proposed now, which has no
     * others. */
    void (*leaves_joint)(void *argument, const lw_group_members *members);
    /* A leader says that this node is no member any more since `index`: the replica is to go, and
     * the next one of the group here, if there is one, to know of it (hazard R14): in the STATE
     * record that it begins with (node/group_state.h). */
    void (*removed)(void *argument, uint64_t index);
    /* Whether the store has room for entries of `size` bytes: else they are not taken in, and the
     * leader comes again (hazard R18). Unless it `applies` they are for another tree, which is to
     * come in place of this one (lw_group_hold, lw_group_stick). */
    bool (*room)(void *argument, size_t size, bool applies);
    /* `node` needs what the log does not have any more. Not asked again before
     * lw_group_snapshot_sent. */
    void (*wants_snapshot)(void *argument, uint64_t node);
    /* What was applied here up to `index` differs from what `node` has applied (G5). The group
     * applies, votes and acknowledges nothing any more. */
    void (*diverged)(void *argument, uint64_t node, uint64_t index);
    /* The log or an apply failed, with the reason: nothing is done any more. */
    void (*died)(void *argument, const lw_error *reason);
    void *argument;
} lw_group_options;

lw_group *lw_group_open(const lw_group_options *options);
/* Takes one record of its own while the log is replayed, and applies what is known committed. */
LW_MUST_USE lw_status lw_group_replay(lw_group *group, const lw_log_record *record);
/* Before that: where nobody else has to do with the group, all that the log has is committed, and
 * is applied. LW_CORRUPTION if entries are missing. */
LW_MUST_USE lw_status lw_group_replay_alone(lw_group *group);
/* After replay: LW_CORRUPTION if entries are missing. Where nobody else has to do with the group
 * all of it is committed, and is applied. */
LW_MUST_USE lw_status lw_group_replay_end(lw_group *group);
/* Then, or in a group that is new. Where this node is the sole voter it leads a new term at
 * once: propose, and wait for the last. Who proposes nothing awaits the term's beginning with
 * lw_group_settle. Else it waits to hear of others, or to be elected. */
void lw_group_start(lw_group *group);
/* Refuses what comes, and sends home who waits for anything but the log. */
void lw_group_stop(lw_group *group);
/* After `diverged`: this one is found to be right. It applies, votes and acknowledges again. */
void lw_group_go_on(lw_group *group);
/* This one is found to be wrong: as with `diverged`, also where it leads, which it does no more. */
void lw_group_suspend(lw_group *group);
/* Replicas differ at this entry, and nobody knows which is right: nothing is done any more, nor
 * behind a start, once the log is durable up to what this returns. */
uint64_t lw_group_halt(lw_group *group, uint64_t index);
/* After replay: whether that is so, and since which entry; 0: it is not. */
uint64_t lw_group_halted_at(const lw_group *group);
/* Somebody does know: between replay and start. */
void lw_group_forgive(lw_group *group);
/* Nobody waits any more. */
void lw_group_close(lw_group *group);
/* The store died: as when the log does. `died` is not called. */
void lw_group_die(lw_group *group, const lw_error *reason);

/* ---- entries ------------------------------------------------------------------------------ */

/* Closes `entry`, which is not empty, and appends it to the log. It stays as it is until the
 * proposal has ended. Refused (index 0) where this node does not lead, or not in the term that the
 * proposal names, or when members cannot change now (lw_group_may_change): the wait says why. */
void lw_group_propose(lw_group *group, lw_buffer *entry, lw_proposal *proposal);
/* Waits until it has ended. LW_OK: applied. LW_UNAVAILABLE: refused, or the leadership was lost,
 * and it may have happened or not. LW_UNDETERMINED: the node stops or dies under it. */
LW_MUST_USE LW_YIELDS lw_status lw_group_wait(lw_group *group, lw_proposal *proposal);
/* The same, but while the group is paused it is enough that it is committed: then it is applied
 * later, from a copy, and the entry is the caller's again. */
LW_MUST_USE LW_YIELDS lw_status lw_group_wait_committed(lw_group *group, lw_proposal *proposal);
/* Waits until everything proposed here by now, and what begins the term, is applied. */
LW_MUST_USE LW_YIELDS lw_status lw_group_settle(lw_group *group);
/* Applies what the log has up to an entry of this index and term, of which somebody who knows says
 * that it is committed. Also before the end of replay. LW_UNAVAILABLE if the log does not have it.
 */
LW_MUST_USE lw_status lw_group_vouch(lw_group *group, uint64_t index, uint64_t term);
/* From within `apply`, or before anything is replayed: nothing behind this entry is applied before
 * lw_group_resume, which applies what came meanwhile. The entry itself counts as applied: its
 * proposer, if any, goes on at once. */
void lw_group_pause(lw_group *group);
void lw_group_resume(lw_group *group);
/* Instead of that: what follows from the entry cannot be done here. Nothing is applied any more
 * before a snapshot from behind it has replaced the tree. */
void lw_group_stick(lw_group *group);
bool lw_group_stuck(const lw_group *group);

/* ---- reading ------------------------------------------------------------------------------ */

/* Waits until everything that anybody was told is committed by now is applied here, and nobody else
 * leads: at once in a group of one, and under a lease. `lease` goes to lw_group_lease_held.
 * LW_UNAVAILABLE: it does not lead; LW_TIMEOUT after the deadline (0: none). */
LW_MUST_USE LW_YIELDS lw_status lw_group_read(lw_group *group, uint64_t deadline_ns,
                                              uint64_t *lease);
/* After reading, before the answer leaves: whether what the read stood on was there all the time
 * (hazard R7). Else the read is done again. */
bool lw_group_lease_held(const lw_group *group, uint64_t lease);

/* ---- members and leadership --------------------------------------------------------------- */

/* Whether a proposal may change the members now: an entry of this term is committed, and no other
 * change is under way (hazard R3). */
bool lw_group_may_change(const lw_group *group);
/* Waits until most of those who are to vote, by `members`, have answered what was sent since.
 * LW_UNAVAILABLE: they have not in time, or this node leads no more. */
LW_MUST_USE LW_YIELDS lw_status lw_group_hear(lw_group *group, const lw_group_members *members,
                                              uint64_t deadline_ns);
/* Has `node` lead, if it can: a voter that is not far behind. LW_OK: it is asked to; `followed`
 * says when it does. LW_UNAVAILABLE, LW_REFUSED: not now. */
LW_MUST_USE lw_status lw_group_transfer(lw_group *group, uint64_t node);
/* Whether that may still come true: it was not taken back. */
bool lw_group_handing_over(const lw_group *group);

/* Ends its silence, so that a leader hears of all members again. */
void lw_group_wake(lw_group *group);
/* Stands for election without waiting for silence: of a group that is new, as all of it knows who
 * is to lead first. Nothing happens if it leads, or is no voter. */
void lw_group_campaign(lw_group *group);

/* ---- the log's end, and snapshots --------------------------------------------------------- */

/* A flush of the tree became durable up to `index`: the log may let go of what nobody needs. */
void lw_group_flushed(lw_group *group, uint64_t index);

/* A checkpoint is being sent to `node`, of what was applied up to `index`: its term. The log keeps
 * what comes behind, within its bounds, until lw_group_snapshot_sent. LW_UNAVAILABLE: this node
 * does not lead any more, or does not know the term any more; or the group paused behind that
 * entry, and the checkpoint may lack what follows from it (hazard R11). One that is begun after
 * this answer is good, unless the group is paused still. */
LW_MUST_USE lw_status lw_group_snapshot_begin(lw_group *group, uint64_t node, uint64_t index,
                                              uint64_t *term);
/* It was installed there, up to `index`; 0: it was not. */
void lw_group_snapshot_sent(lw_group *group, uint64_t node, uint64_t index);

/* Applies nothing more, but acknowledges and votes, until it is let go of or comes to lead. */
void lw_group_hold(lw_group *group, bool on);

typedef struct lw_group_snapshot {
    uint64_t index, term;     /* of the last entry in it */
    lw_group_members members; /* as of then */
    bool renews;              /* the tree is damaged: wanted also if the replica has come as far */
} lw_group_snapshot;
/* Makes a snapshot what this replica stands on: notes durably that the log begins anew behind it,
 * then calls `ingest`, which replaces the shard's tree by one edit, then goes on from there. A
 * crash leaves all of it or nothing (hazard R10). LW_OK also if the replica has come that far by
 * itself, and `ingest` was not called.
 *
 * With `renews` the log stays what it is, where it reaches as far as the snapshot: the tree is
 * replaced, and what comes behind is applied to the new one. LW_UNAVAILABLE: the replica has come
 * farther (hold it before), or it leads. */
LW_MUST_USE LW_YIELDS lw_status lw_group_install(lw_group *group, const lw_group_snapshot *snapshot,
                                                 lw_status (*ingest)(void *argument),
                                                 void *argument);

/* ---- looking ------------------------------------------------------------------------------ */

typedef struct lw_group_peer {
    uint64_t node;
    uint64_t match;   /* holds durably all up to here, as far as known; of a leader only */
    bool reachable;   /* its link is up */
    bool in_snapshot; /* waits for one, or for its end */
    bool caught_up;   /* a learner that may become a voter (hazard R5) */
    bool granted;     /* its vote was given to this node, in the figures' term */
} lw_group_peer;

/* What a group had in the log when it was opened. */
typedef struct lw_group_recovered {
    uint64_t term, vote, last_index;
    uint64_t last_term; /* of the entry at that index */
} lw_group_recovered;

typedef struct lw_group_figures {
    uint64_t term;
    uint64_t vote;   /* given in that term, to this node id; 0: to nobody */
    uint64_t leader; /* node id; 0: unknown */
    uint64_t last_index, committed_index, applied_index;
    bool leading; /* this node was elected in that term */
    bool leased;  /* ... and nobody else can be yet: it serves without asking */
    bool halted;  /* nothing is done any more: the node stops, or replicas differ */
    lw_group_members members;
    uint32_t peer_count;
    lw_group_peer peers[LW_SHARD_REPLICAS_MAX];
} lw_group_figures;
void lw_group_figures_get(const lw_group *group, lw_group_figures *figures);
/* Of them what moves when something happens here; costs next to nothing. */
typedef struct lw_group_pulse {
    uint64_t term, vote;
    uint64_t last_index, committed_index, applied_index;
    bool leading;
} lw_group_pulse;
void lw_group_pulse_get(const lw_group *group, lw_group_pulse *pulse);

/* A digest of the entries that were applied up to `index`, which is told in `diverged`: the same on
 * all replicas. False if it is not known here, or not any more. */
bool lw_group_digest(const lw_group *group, uint64_t index, uint64_t *digest);
/* What it had when it was started. */
lw_group_recovered lw_group_recovery(const lw_group *group);
/* The term of the entry at `index`; false if it is not known here, or not any more. */
bool lw_group_term_at(const lw_group *group, uint64_t index, uint64_t *term);
/* The term in which this node leads, and may serve; 0: it does not. */
uint64_t lw_group_leads(const lw_group *group);
/* Whether a node is a member, by what is committed or by what is in the log here. */
bool lw_group_names(const lw_group *group, uint64_t node);
/* Whether nobody else has to do with it, so that every durable entry is committed. */
bool lw_group_alone(const lw_group *group);
/* Who leads, as far as known; 0: nobody is known to. */
uint64_t lw_group_leader(const lw_group *group);
uint64_t lw_group_term(const lw_group *group);
/* Of the last entry appended: the next proposal has the index behind it, if nothing suspends. */
uint64_t lw_group_last_index(const lw_group *group);

#endif
