/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a group, shared by node/group*.c and nobody else.
 *
 *   group.c           opening, start, end; looking
 *   group_replay.c    what the log says when the node starts, and the core that follows from it
 *   group_payload.c   the form of entries and states
 *   group_slots.c     the entries that are in memory, and applying them
 *   group_propose.c   proposals, and waiting for them
 *   group_step.c      carrying out what the core asks for; roles; reading
 *   group_receive.c   messages that come in
 *   group_send.c      messages that go out, with entries from memory or from the log
 *   group_snapshot.c  the log's end, and snapshots
 *   groups.c          what all groups of a node share
 *   groups_fibers.c   ... the watcher, the alarm, and what is done at the end of a turn
 *
 * A group with no members but this node has no core (lattice/raft.h): every durable entry of it is
 * committed. It gets one when others are to come in.
 *
 * A STATE record of the log has the term in its head, and as payload
 *   vote u64 · index u64 · term of that entry u64 · votes from u64 · halted u64
 * where vote is the node that was voted for in this term (0: none), and the last two say what stood
 * in front of the entries that the log still had when it was written: an entry that was flushed may
 * be in the log no more, and its term is needed all the same. Another record follows before an
 * entry of another term is let go of. `Votes from` is that of lw_raft_options; `halted` the
 * entry at which replicas were found to differ, and nobody knew which was right: 0 if not so. One
 * of before there was more than one node has no payload. */
#ifndef LW_GROUP_STATE_H
#define LW_GROUP_STATE_H

#include "base/hash.h"
#include "lattice/raft_message.h"
#include "node/group.h"

enum {
    GROUP_STATE_SIZE = 5 * 8,
    GROUP_STATE_SIZE_BEFORE = 4 * 8, /* of before halts were durable */
    GROUP_TRAILER_SIZE = 8 + 1,
    GROUP_DIGEST_EVERY = 64, /* entries that a digest covers */
    GROUP_DIGESTS = 8,       /* of them that are remembered */
    GROUP_ENTRIES_PER_MESSAGE = 128,
    GROUP_MESSAGE_SIZE = 1024 * 1024, /* bytes of entries in one message, but for one large entry */
    /* Bytes of an entry that other nodes are to have: it travels in one message. */
    GROUP_ENTRY_SIZE_MAX = LW_FRAME_SIZE_MAX - 64 * 1024,
};

typedef enum group_mark {
    GROUP_MARK_BEFORE = 0, /* of before there was more than one node: no trailer */
    GROUP_MARK_ENTRY = 1,
    GROUP_MARK_MEMBERS = 2, /* changes the members */
} group_mark;

/* An entry in memory. */
typedef struct group_slot {
    uint64_t term, position;
    lw_bytes payload; /* as in the log: its proposer's as long as that waits for it to be applied */
    bool owned;       /* ... no: the group's */
    lw_proposal *proposal;
} group_slot;

typedef struct group_run {
    uint64_t first, term;
} group_run;

/* While the log is replayed. */
typedef struct group_replay {
    group_run runs[LW_RAFT_TERMS_MAX]; /* the terms of entries that the log has, ascending */
    uint32_t run_count;
    uint64_t missing;   /* an entry came that follows from none that is known, and no other yet */
    uint64_t committed; /* as far as entries say */
} group_replay;

typedef struct group_digest {
    uint64_t index; /* of the last entry in it; a multiple of GROUP_DIGEST_EVERY */
    uint64_t value;
} group_digest;

struct lw_group {
    lw_group_options options;
    lw_groups *groups;
    lw_env *env;
    uint64_t id;
    lw_map_node node;          /* by id */
    lw_group *previous, *next; /* of the node's groups */
    uint32_t references;       /* the owner's, and one of each fiber that reads the log for it */
    lw_group_members members;  /* as of `applied` */
    uint64_t members_index;    /* of the entry whose members `changed` was told of last */
    lw_raft *raft;             /* NULL: this node is the sole voter, and there is nobody else */
    group_replay *replay;      /* NULL after it */

    uint64_t term, vote;              /* as in the last STATE record */
    uint64_t votes_from;              /* see lw_raft_options */
    uint64_t start_index, start_term; /* the same */
    lw_group_recovered recovered;
    uint64_t save_position; /* where that is, while the core is to be told of it; or 0 */
    uint64_t last, durable, committed, applied; /* applied <= committed <= durable <= last */
    uint64_t position;                          /* of the last append to the log */
    uint64_t watched;                           /* ... that it is to be told of */
    uint64_t flushed, released;                 /* of the tree; of the log */

    /* The entries from `first` to `last` are in memory, in a ring: all that are not applied, and
     * before them what followers are still to get. */
    group_slot *slots;
    uint32_t capacity; /* a power of two, or 0 */
    uint64_t first;
    size_t unapplied_size; /* bytes of those behind `applied` */
    uint64_t matched;      /* all members that are reachable have everything up to here */
    uint64_t starved_ns;   /* when a message was last stripped of entries for want of room */

    uint64_t paused_at; /* the entry behind which nothing was applied for a while, last time */
    bool started, paused, dead;
    bool installing; /* a snapshot */
    bool held;       /* nothing is applied before a snapshot has replaced the tree */
    bool stuck;      /* ... nor can it, also if this node leads */
    bool halted;     /* nothing is done any more: the node stops, or replicas differ */
    bool leading;    /* the core leads; or alone */
    bool leads;      /* ... and what began the term is applied: serves. Alone: from the start */
    uint64_t begun_index; /* of what began the term */
    uint64_t leader;
    lw_error reason; /* when dead */
    lw_queue settling;

    uint64_t readable; /* reads of rounds up to this one may be served */
    lw_queue reading;

    bool diverged;      /* ... halted for that reason, and may go on */
    uint64_t halted_at; /* durable: see above */
    uint64_t judged;    /* the index of a difference that somebody has looked into, or does */
    uint64_t digest_from, digest; /* of the entries behind `digest_from`, in the present stretch */
    group_digest digests[GROUP_DIGESTS];

    uint64_t snapshot_node, snapshot_index; /* being sent; 0: none */

    bool dirty; /* in the list of those that are drained at the end of the turn */
    lw_group *dirty_next;
    uint64_t deadline;    /* of the core; LW_RAFT_NEVER */
    uint32_t alarm_place; /* in the heap, from 1; 0: not in it */
};

/* A position of the log that a group waits for. */
typedef struct group_watch {
    lw_group *group; /* NULL: it was closed */
    uint64_t position;
} group_watch;

typedef struct group_link {
    uint64_t node;
    bool up;
} group_link;

struct lw_groups {
    lw_groups_options options;
    lw_env *env;
    lw_log *log; /* NULL before the start */
    lw_map by_id;
    lw_group *first;
    size_t kept_size;      /* bytes of entries in memory */
    lw_budget_share share; /* the same */
    lw_buffer message;     /* the one being written */
    group_link *links;
    uint32_t link_count, link_capacity;

    group_watch *watches; /* a ring, in the order of the log */
    uint32_t watch_capacity, watch_first, watch_count;
    lw_queue watching;
    lw_group **alarms;    /* a heap by deadline, in places from 1 on */
    uint64_t alarm_armed; /* when the alarm looks next by itself */
    uint32_t alarm_count, alarm_capacity;
    lw_queue alarmed;
    bool fibers_run; /* watcher and alarm */
    lw_group *dirty_first, *dirty_last;
    bool deferred;
    lw_op defer;

    bool closing;
    uint32_t background_count; /* fibers, and the operation above */
    lw_queue idle;
    lw_groups_figures figures;
};

/* ---- the form of entries and states: group_payload.c ---------------------------------------- */

typedef struct group_payload {
    lw_bytes bytes; /* as proposed */
    group_mark mark;
    uint64_t committed;       /* as its leader knew */
    lw_group_members members; /* with GROUP_MARK_MEMBERS */
} group_payload;
/* Appends what belongs behind an entry. */
void group_payload_close(lw_buffer *entry, const lw_group_members *members, uint64_t committed);
/* LW_CORRUPTION if it is not well-formed. */
LW_MUST_USE lw_status group_payload_open(const lw_group *group, uint64_t index, lw_bytes payload,
                                         group_payload *opened);
lw_raft_config group_config_of(const lw_group_members *members);
lw_group_members group_members_of(const lw_raft_config *config);

/* ---- entries in memory: group_slots.c ------------------------------------------------------- */

/* The slot of an index that is in memory. */
static inline group_slot *group_slot_at(const lw_group *group, uint64_t index) {
    return &group->slots[index & (group->capacity - 1)];
}
/* Adds the next entry, which is its proposer's or, if that is NULL, the caller's until it calls
 * group_slot_own. */
group_slot *group_slots_push(lw_group *group, uint64_t term, lw_bytes payload,
                             lw_proposal *proposal);
/* Makes the payload a copy of the group's own. */
void group_slot_own(lw_group *group, group_slot *slot);
/* Takes out the first, or what is at `index` and behind; their proposals are known to come to
 * nothing. */
void group_slots_drop(lw_group *group);
void group_slots_cut(lw_group *group, uint64_t index);
void group_slots_reset(lw_group *group);
/* Drops what is applied and nobody needs, or what there is no room for. */
void group_slots_trim(lw_group *group);
/* Applies what is committed and durable. */
void group_apply(lw_group *group);

/* ---- proposals: group_propose.c ------------------------------------------------------------- */

/* Appends the last slot to the log. */
void group_append(lw_group *group, group_slot *slot);
void group_proposal_end(group_slot *slot, lw_status status);
/* Ends all that are under way. */
void group_proposals_end(lw_group *group, lw_status status);
/* The log or an apply failed, with the reason in the error slot. */
void group_fail(lw_group *group);
/* The log holds durably what it holds up to `position`. */
void group_durable(lw_group *group, uint64_t position);
/* Nothing is done any more: whoever waits for anything but the log goes home. */
void group_halt(lw_group *group);

/* ---- hard state: group.c, group_replay.c ---------------------------------------------------- */

void group_append_state(lw_group *group);
/* While the log is replayed: what it has up to `index` is committed. */
LW_MUST_USE lw_status group_replay_vouched(lw_group *group, uint64_t index);
/* Makes the core, from what the log says between `index`, which is applied, and the last. */
LW_MUST_USE lw_status group_core_open(lw_group *group, uint64_t index, uint64_t term);
/* Makes that of a group of one that leads, and goes on leading. LW_REFUSED: not yet. */
LW_MUST_USE lw_status group_core_lead_on(lw_group *group);
/* What begins a term. */
void group_begin_term(lw_group *group, uint64_t term);

/* ---- the core: group_step.c, group_receive.c, group_send.c ---------------------------------- */

/* Carries out what the core asks for. */
void group_drain(lw_group *group);
void group_receive(lw_group *group, lw_raft_message *message, lw_reader entries, size_t size);
void group_send(lw_group *group, lw_raft_message *message);
/* The log lets go of what nobody needs. */
void group_release(lw_group *group);
/* The term of an entry that is let go of has to be known all the same, also after a crash. */
void group_note_start(lw_group *group, uint64_t index);

/* ---- all groups: groups.c, groups_fibers.c -------------------------------------------------- */

/* `group` is told once the log is durable up to `position`. */
void groups_watch(lw_groups *groups, lw_group *group, uint64_t position);
/* ... is drained at the end of this turn. */
void groups_dirty(lw_groups *groups, lw_group *group);
/* ... is ticked then; LW_RAFT_NEVER. */
void groups_alarm(lw_groups *groups, lw_group *group, uint64_t deadline_ns);
/* Takes a group out of all of these. */
void groups_forget(lw_groups *groups, lw_group *group);
/* Starts a fiber, or notes an operation, that closing waits for; and its end. */
void groups_background_start(lw_groups *groups, const char *name, void (*body)(void *argument),
                             void *argument);
void groups_background_end(lw_groups *groups);
void groups_enter(lw_groups *groups, lw_group *group);
void groups_leave(lw_groups *groups, lw_group *group);
bool groups_link_up(const lw_groups *groups, uint64_t node);
/* More, or fewer, bytes of entries are in memory. */
void groups_kept(lw_groups *groups, size_t more, size_t less);
/* Frees it with its last reference. */
void group_unreference(lw_group *group);

#endif
