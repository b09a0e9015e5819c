/* SPDX-License-Identifier: Apache-2.0 */
/* Entries: their form, those that are in memory, and applying them in order. */
#include "node/group_state.h"

enum { SLOTS_MIN = 8 };

/* ---- form ----------------------------------------------------------------------------------- */

void group_payload_close(lw_buffer *entry, const lw_group_members *members, uint64_t committed) {
    for (uint32_t index = 0; members != NULL && index < members->count; index++) {
        lw_buffer_append_u64(entry, members->replicas[index].node);
        lw_buffer_append_u8(entry, (uint8_t)members->replicas[index].role);
    }
    if (members != NULL) {
        LW_ASSERT(members->count > 0 && members->count <= LW_SHARD_REPLICAS_MAX);
        lw_buffer_append_u8(entry, (uint8_t)members->count);
    }
    uint8_t *trailer = lw_buffer_reserve(entry, GROUP_TRAILER_SIZE);
    lw_put_u64(trailer, committed);
    trailer[8] = members == NULL ? GROUP_MARK_ENTRY : GROUP_MARK_MEMBERS;
    entry->size += GROUP_TRAILER_SIZE;
}

static bool members_open(lw_bytes *bytes, lw_group_members *members) {
    enum { MEMBER_SIZE = 8 + 1 };
    if (bytes->size < 1) {
        return false;
    }
    uint32_t count = bytes->data[bytes->size - 1];
    size_t size = count * MEMBER_SIZE;
    if (count == 0 || count > LW_SHARD_REPLICAS_MAX || size > bytes->size - 1) {
        return false;
    }
    bytes->size -= 1 + size;
    const uint8_t *from = bytes->data + bytes->size;
    *members = (lw_group_members){.count = count};
    bool sound = true;
    for (uint32_t index = 0; index < count; index++, from += MEMBER_SIZE) {
        lw_shard_replica *replica = &members->replicas[index];
        *replica = (lw_shard_replica){.node = lw_get_u64(from), .role = (lw_replica_role)from[8]};
        sound = sound && replica->role >= LW_REPLICA_VOTER && replica->role <= LW_REPLICA_LEAVING;
        sound = sound && (index == 0 || members->replicas[index - 1].node < replica->node);
    }
    return sound;
}

static bool payload_open(lw_bytes payload, group_payload *opened) {
    *opened = (group_payload){.bytes = payload};
    if (payload.size == 0) {
        return false;
    }
    opened->mark = (group_mark)payload.data[payload.size - 1];
    if (opened->mark == GROUP_MARK_BEFORE) {
        return true;
    }
    if (opened->mark > GROUP_MARK_MEMBERS || payload.size < GROUP_TRAILER_SIZE) {
        return false;
    }
    opened->bytes.size -= GROUP_TRAILER_SIZE;
    opened->committed = lw_get_u64(payload.data + opened->bytes.size);
    return opened->mark != GROUP_MARK_MEMBERS || members_open(&opened->bytes, &opened->members);
}

lw_status group_payload_open(const lw_group *group, uint64_t index, lw_bytes payload,
                             group_payload *opened) {
    if (!payload_open(payload, opened) || opened->committed >= index) {
        return lw_fail(LW_CORRUPTION, "entry %llu of shard %llu is not well-formed",
                       (unsigned long long)index, (unsigned long long)group->id);
    }
    return LW_OK;
}

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

group_slot *group_slots_push(lw_group *group) {
    LW_ASSERT(group->first <= group->last + 1);
    if (group->last + 1 - group->first == group->capacity) {
        grow(group);
    }
    group_slot *pushed = group_slot_at(group, ++group->last);
    *pushed = (group_slot){.term = group->term};
    return pushed;
}

void group_slot_own(lw_group *group, group_slot *slot) {
    if (!slot->owned) {
        slot->payload = lw_copy(group->env->memory, slot->payload);
        slot->owned = true;
    }
}

static void drop_first(lw_group *group) {
    LW_ASSERT(group->first <= group->last);
    group_slot *dropped = group_slot_at(group, group->first++);
    LW_ASSERT(dropped->proposal == NULL);
    if (dropped->owned) {
        lw_free(group->env->memory, (void *)(uintptr_t)dropped->payload.data);
    }
}

void group_slots_reset(lw_group *group) {
    while (group->first <= group->last) {
        drop_first(group);
    }
    lw_free(group->env->memory, group->slots);
    group->slots = NULL;
    group->capacity = 0;
}

/* ---- applying ------------------------------------------------------------------------------- */

static lw_status apply_one(lw_group *group, uint64_t index) {
    const group_slot *slot = group_slot_at(group, index);
    group_payload payload;
    LW_TRY(group_payload_open(group, index, slot->payload, &payload));
    lw_group_entry entry = {
        .index = index, .term = slot->term, .bytes = payload.bytes, .proposal = slot->proposal};
    return group->options.apply(group->options.argument, &entry);
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
    while (group->applied < group->committed && !group->paused && !group->dead && !group->halted) {
        if (apply_one(group, group->applied + 1) != LW_OK) {
            group_fail(group);
            return;
        }
        group->applied++;
        group_proposal_end(group_slot_at(group, group->applied), LW_OK);
        drop_first(group);
    }
    if (group->paused && !group->dead) {
        leave_committed(group);
    }
    if (!lw_queue_empty(&group->settling)) {
        lw_queue_wake_all(&group->settling);
    }
}

void group_durable(lw_group *group, uint64_t position) {
    while (group->durable < group->last &&
           group_slot_at(group, group->durable + 1)->position <= position) {
        group->durable++;
    }
    group->committed = group->durable; /* its quorum is this disk */
    group_apply(group);
}

void lw_group_pause(lw_group *group) {
    LW_ASSERT(!group->paused);
    group->paused = true;
}

void lw_group_resume(lw_group *group) {
    LW_ASSERT(group->paused);
    group->paused = false;
    group_apply(group);
}
