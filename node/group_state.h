/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a group, shared by node/group*.c and nobody else.
 *
 *   group.c          opening, replay, start, end; looking
 *   group_propose.c  proposals, and waiting for them
 *   group_slots.c    the entries that are in memory, and applying them
 *   groups.c         what all groups of a node share
 *
 * A STATE record of the log has the term in its head, and as payload
 *   vote u64 · index u64 · term of that entry u64
 * where vote is the node that was voted for in this term (0: none), and the last two say what stood
 * in front of the entries that the log still had when it was written: an entry that was flushed may
 * be in the log no more, and its term is needed all the same. One of before there was more than one
 * node has no payload. */
#ifndef LW_GROUP_STATE_H
#define LW_GROUP_STATE_H

#include "node/group.h"

enum { GROUP_STATE_SIZE = 3 * 8, GROUP_TRAILER_SIZE = 8 + 1 };

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

struct lw_groups {
    lw_groups_options options;
    lw_env *env;
    lw_log *log; /* NULL before the start */
};

struct lw_group {
    lw_group_options options;
    lw_groups *groups;
    lw_env *env;
    uint64_t id;
    lw_group_members members;
    bool alone; /* this node is the sole voter, and there is nobody else */

    uint64_t term, vote;
    uint64_t start_index, start_term; /* of the entry in front of what the log has */
    /* applied <= committed <= durable <= last, but that committed may be ahead of durable. */
    uint64_t last, durable, committed, applied;

    /* The entries from `first` to `last` are in memory, in a ring. */
    group_slot *slots;
    uint32_t capacity; /* a power of two, or 0 */
    uint64_t first;

    uint64_t position; /* of the last append to the log */

    bool started, leads, paused, dead;
    bool halted;     /* nothing is applied any more: the node stops, and who waited was sent home */
    lw_error reason; /* when dead */
    lw_queue settling;
};

/* ---- the form of entries: group_slots.c ----------------------------------------------------- */

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

/* ---- entries in memory: group_slots.c ------------------------------------------------------- */

/* The slot of an index that is in memory. */
static inline group_slot *group_slot_at(const lw_group *group, uint64_t index) {
    return &group->slots[index & (group->capacity - 1)];
}
/* Adds the next entry. */
group_slot *group_slots_push(lw_group *group);
/* Makes the payload the group's own, and its proposer free to go. */
void group_slot_own(lw_group *group, group_slot *slot);
/* Frees what is there. */
void group_slots_reset(lw_group *group);
/* The log holds durably what it holds up to `position`: applies what is committed by that. */
void group_durable(lw_group *group, uint64_t position);
/* Applies what is committed and durable. */
void group_apply(lw_group *group);

/* ---- proposals: group_propose.c ------------------------------------------------------------- */

/* Appends what lies in `slot`, the last one, to the log. */
void group_append(lw_group *group, group_slot *slot);
void group_proposal_end(group_slot *slot, lw_status status);
/* Ends all that are under way. */
void group_proposals_end(lw_group *group, lw_status status);
/* The log or an apply failed, with the reason in the error slot. */
void group_fail(lw_group *group);

#endif
