/* SPDX-License-Identifier: Apache-2.0 */
/* The form of entries: see node/group.h. */
#include "node/group_state.h"

enum { MEMBER_SIZE = 8 + 1 };

_Static_assert((int)LW_SHARD_REPLICAS_MAX == (int)LW_RAFT_MEMBERS_MAX,
               "who fits one fits the other");
_Static_assert((int)LW_REPLICA_VOTER == (int)LW_RAFT_VOTER &&
                   (int)LW_REPLICA_LEARNER == (int)LW_RAFT_LEARNER &&
                   (int)LW_REPLICA_JOINING == (int)LW_RAFT_JOINING &&
                   (int)LW_REPLICA_LEAVING == (int)LW_RAFT_LEAVING,
               "roles have the same numbers");

static void members_close(lw_buffer *entry, const lw_group_members *members) {
    LW_ASSERT(members->count > 0 && members->count <= LW_SHARD_REPLICAS_MAX);
    for (uint32_t index = 0; index < members->count; index++) {
        lw_buffer_append_u64(entry, members->replicas[index].node);
        lw_buffer_append_u8(entry, (uint8_t)members->replicas[index].role);
    }
    lw_buffer_append_u8(entry, (uint8_t)members->count);
}

void group_payload_close(lw_buffer *entry, const lw_group_members *members, uint64_t committed) {
    if (members != NULL) {
        members_close(entry, members);
    }
    uint8_t *trailer = lw_buffer_reserve(entry, GROUP_TRAILER_SIZE);
    lw_put_u64(trailer, committed);
    trailer[8] = members == NULL ? GROUP_MARK_ENTRY : GROUP_MARK_MEMBERS;
    entry->size += GROUP_TRAILER_SIZE;
}

/* Takes the members from the end of `bytes`. */
static bool members_open(lw_bytes *bytes, lw_group_members *members) {
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
    for (uint32_t index = 0; index < count; index++, from += MEMBER_SIZE) {
        members->replicas[index] =
            (lw_shard_replica){.node = lw_get_u64(from), .role = (lw_replica_role)from[8]};
    }
    lw_raft_config config = group_config_of(members);
    return lw_raft_config_valid(&config);
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

lw_raft_config group_config_of(const lw_group_members *members) {
    lw_raft_config config = {.count = members->count};
    for (uint32_t index = 0; index < members->count; index++) {
        config.members[index] =
            (lw_raft_member){.node = members->replicas[index].node,
                             .membership = (lw_raft_membership)members->replicas[index].role};
    }
    return config;
}

lw_group_members group_members_of(const lw_raft_config *config) {
    lw_group_members members = {.count = config->count};
    for (uint32_t index = 0; index < config->count; index++) {
        members.replicas[index] =
            (lw_shard_replica){.node = config->members[index].node,
                               .role = (lw_replica_role)config->members[index].membership};
    }
    return members;
}
