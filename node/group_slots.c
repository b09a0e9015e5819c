/* SPDX-License-Identifier: Apache-2.0 */
/* Entries in memory, and applying them in order.
 *
 * Invariants
 * 1. What is not applied is in memory; in front of it there may be more, without a gap.
 * 2. What is not owned is its proposer's, who waits: it becomes owned before that ends, if it
 *    stays. */
#include "node/group_state.h"

#include "base/hash.h"

enum {
    SLOTS_MIN = 8,
    SLOTS_KEPT_MAX = 128, /* that an idle group keeps room for */
};

/* ---- in memory ------------------------------------------------------------------------------ */

static void grow(lw_group *group) {
    uint32_t capacity = group->capacity == 0 ? SLOTS_MIN : 2 * group->capacity;
    group_slot *slots = lw_allocate(group->env->memory, capacity * sizeof(*slots));
    for (uint64_t index = group->first; index <= group->last; index++) {
        slots[index & (capacity - 1)] = *group_slot_at(group, index);
    }
    lw_free(group->env->memory, group->slots);
    group->slots = slots;
    group->capacity = capacity;
}

group_slot *group_slots_push(lw_group *group, uint64_t term, lw_bytes payload,
                             lw_proposal *proposal) {
    LW_ASSERT(group->first <= group->applied + 1 && group->applied <= group->last);
    if (group->last + 1 - group->first == group->capacity) {
        grow(group);
    }
    group_slot *pushed = group_slot_at(group, ++group->last);
    *pushed = (group_slot){.term = term, .payload = payload, .proposal = proposal};
    group->unapplied_size += payload.size;
    return pushed;
}

void group_slot_own(lw_group *group, group_slot *slot) {
    if (!slot->owned) {
        slot->payload = lw_copy(group->env->memory, slot->payload);
        slot->owned = true;
        groups_kept(group->groups, slot->payload.size, 0);
    }
}

static void forget(lw_group *group, group_slot *slot) {
    LW_ASSERT(slot->proposal == NULL);
    if (slot->owned) {
        groups_kept(group->groups, 0, slot->payload.size);
        lw_free(group->env->memory, (void *)(uintptr_t)slot->payload.data);
    }
}

void group_slots_drop(lw_group *group) {
    LW_ASSERT(group->first <= group->applied && group->first <= group->last);
    forget(group, group_slot_at(group, group->first++));
    if (group->first > group->last &&
        (group->capacity > SLOTS_KEPT_MAX || LW_RARE(group->env, "group.slots_not_kept"))) {
        lw_free(group->env->memory, group->slots);
        group->slots = NULL;
        group->capacity = 0;
    }
}

void group_slots_cut(lw_group *group, uint64_t index) {
    LW_ASSERT(index > group->applied && index >= group->first);
    while (group->last >= index) {
        group_slot *slot = group_slot_at(group, group->last--);
        group->unapplied_size -= slot->payload.size;
        group_proposal_end(slot, LW_UNAVAILABLE);
        forget(group, slot);
    }
    group->durable = group->durable < group->last ? group->durable : group->last;
}

void group_slots_reset(lw_group *group) {
    for (uint64_t index = group->first; index <= group->last; index++) {
        forget(group, group_slot_at(group, index));
    }
    group->first = group->last + 1;
    group->unapplied_size = 0;
    lw_free(group->env->memory, group->slots);
    group->slots = NULL;
    group->capacity = 0;
}

/* ---- keeping for followers ------------------------------------------------------------------ */

/* Up to where every member that can be reached has everything. */
static uint64_t matched_by_all(const lw_group *group) {
    uint64_t matched = UINT64_MAX;
    for (int place = 0; group->leading && place < LW_RAFT_MEMBERS_MAX; place++) {
        const lw_raft_peer *peer = &group->raft->peers[place];
        if (peer->node != 0 && !peer->unreachable && peer->state != LW_RAFT_BEHIND &&
            peer->match < matched) {
            matched = peer->match;
        }
    }
    return matched;
}

void group_slots_trim(lw_group *group) {
    size_t size_max = group->groups->options.kept_size;
    if (LW_RARE(group->env, "group.keeps_nothing")) {
        size_max = 0;
    }
    group->matched = matched_by_all(group);
    while (group->first <= group->applied && group->first <= group->last &&
           (group->first <= group->matched || group->groups->kept_size > size_max)) {
        group_slots_drop(group);
    }
}

/* ---- digests (G5) --------------------------------------------------------------------------- */

/* What replicas applied is compared in stretches that begin at the same indexes everywhere, so that
 * nobody has to remember more than that, and one that was restarted joins in with the next. */
static void digest_one(lw_group *group, const group_slot *slot) {
    uint64_t index = group->applied;
    if ((index - 1) % GROUP_DIGEST_EVERY == 0) {
        group->digest_from = index - 1;
        group->digest = 0;
    }
    group->digest = lw_mix(group->digest ^ lw_hash(slot->term, slot->payload));
    bool whole = group->digest_from + GROUP_DIGEST_EVERY == index;
    if (whole && index % GROUP_DIGEST_EVERY == 0) {
        group->digests[index / GROUP_DIGEST_EVERY % GROUP_DIGESTS] =
            (group_digest){.index = index, .value = group->digest};
        lw_raft_applied(group->raft, index, index, group->digest);
    }
}

/* ---- applying ------------------------------------------------------------------------------- */

/* A planted one: what a bug in the order of entries, or a bit of memory, would come to. */
static bool applies_otherwise(const lw_group *group, const group_slot *slot,
                              const group_payload *payload) {
    (void)group;
    (void)slot;
    (void)payload;
    return LW_BUG(group->env, "group.applies_otherwise") && group->raft != NULL &&
           group->replay == NULL && slot->proposal == NULL && payload->mark == GROUP_MARK_ENTRY &&
           group->groups->options.node % 3 == 2 && (group->applied + 1) % GROUP_DIGEST_EVERY == 40;
}

static lw_status apply_one(lw_group *group, uint64_t index) {
    group_slot *slot = group_slot_at(group, index);
    group_payload payload;
    LW_TRY(group_payload_open(group, index, slot->payload, &payload));
    lw_group_entry entry = {
        .index = index, .term = slot->term, .bytes = payload.bytes, .proposal = slot->proposal};
    if (applies_otherwise(group, slot, &payload)) {
        entry.bytes = lw_view(NULL, 0);
        group->digest++;
    }
    LW_TRY(group->options.apply(group->options.argument, &entry));
    group->applied = index;
    group->unapplied_size -= slot->payload.size;
    group->paused_at = group->paused ? index : group->paused_at;
    if (payload.mark == GROUP_MARK_MEMBERS) {
        group->members = payload.members;
    }
    return LW_OK;
}

/* It was applied: ends its proposal, and keeps it for followers, or not. */
static void applied_one(lw_group *group) {
    group_slot *slot = group_slot_at(group, group->applied);
    if (group->raft != NULL) {
        digest_one(group, slot);
    }
    bool kept = group->raft != NULL && group->applied > group->matched;
    if (kept) {
        group_slot_own(group, slot);
    }
    group_proposal_end(slot, LW_OK);
    if (!kept && group->first == group->applied) {
        group_slots_drop(group);
    }
}

/* Those who wait for no more than that it is committed. */
static void leave_committed(lw_group *group) {
    for (uint64_t index = group->applied + 1; index <= group->committed; index++) {
        group_slot *slot = group_slot_at(group, index);
        if (slot->proposal != NULL && slot->proposal->awaits_commit) {
            LW_MARK(group->env, "group.entry_left_behind_pause");
            group_slot_own(group, slot);
            group_proposal_end(slot, LW_OK);
        }
    }
}

void group_apply(lw_group *group) {
    while (group->applied < group->committed && !group->paused && !group->held && !group->stuck &&
           !group->dead && !group->halted) {
        if (apply_one(group, group->applied + 1) != LW_OK) {
            group_fail(group);
            return;
        }
        applied_one(group);
        if (group->leading && !group->leads && group->applied >= group->begun_index) {
            group->leads = true;
            group->options.led(group->options.argument, group->term);
        }
    }
    if (group->paused && !group->dead && !group->halted) {
        leave_committed(group);
    }
    if (group->raft != NULL && group->applied <= group->raft->commit) {
        lw_raft_applied(group->raft, group->applied, 0, 0);
    }
    if (!lw_queue_empty(&group->settling)) {
        lw_queue_wake_all(&group->settling);
    }
    if (!lw_queue_empty(&group->reading)) {
        lw_queue_wake_all(&group->reading);
    }
}

lw_status lw_group_vouch(lw_group *group, uint64_t index, uint64_t term) {
    if (index <= group->applied) {
        return LW_OK;
    }
    if (index > group->durable || group_slot_at(group, index)->term != term || group->halted ||
        group->dead || group->paused) {
        return lw_fail(
            LW_UNAVAILABLE, "the log of shard %llu does not have entry %llu of term %llu",
            (unsigned long long)group->id, (unsigned long long)index, (unsigned long long)term);
    }
    LW_MARK(group->env, "group.vouched_for");
    if (group->replay != NULL) {
        return group_replay_vouched(group, index);
    }
    group->committed = index > group->committed ? index : group->committed;
    if (group->raft != NULL) {
        lw_raft_vouch(group->raft, group->committed);
    }
    group_apply(group);
    return group->dead ? group->reason.status : LW_OK;
}

void lw_group_stick(lw_group *group) {
    LW_ASSERT(group->paused);
    group->paused = false;
    group->stuck = true;
}

bool lw_group_stuck(const lw_group *group) {
    return group->stuck;
}

void lw_group_pause(lw_group *group) {
    LW_ASSERT(!group->paused);
    group->paused = true;
}

void lw_group_resume(lw_group *group) {
    LW_ASSERT(group->paused);
    group->paused = false;
    group_apply(group);
    if (group->raft != NULL) {
        groups_dirty(group->groups, group);
    }
}
