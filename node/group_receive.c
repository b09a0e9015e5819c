/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that come in: entries go to the log at once, answers follow once they are durable. */
#include "node/group_state.h"

enum {
    RECORDS_AT_ONCE = 32,
    UNAPPLIED_SIZE_MAX = 16 * 1024 * 1024, /* bytes that a follower takes before it applies some */
    UNAPPLIED_CROWDED_MAX = 64 * 1024,     /* ... while all groups together have too many */
    STARVED_NS = 20 * 1000 * 1000,         /* at most so often a leader is told: not now */
};

/* ---- what replicas applied (G5) ------------------------------------------------------------- */

/* False if the leader has applied something else. Nobody knows which of the two is right, but only
 * the follower halts: were it the leader, one replica that is wrong could halt all others. */
static bool compare_digests(lw_group *group, const lw_raft_message *message) {
    uint64_t index = message->digest_index;
    const group_digest *own = &group->digests[index / GROUP_DIGEST_EVERY % GROUP_DIGESTS];
    bool known = message->kind == LW_RAFT_APPEND && index != 0 && own->index == index;
    known = known && index > group->judged;
    if (!known || own->value == message->digest ||
        LW_BUG(group->env, "group.digests_not_compared")) {
        return true;
    }
    lw_logline(group->env, LW_LEVEL_ERROR, "replicas differ", "shard=%llu index=%llu node=%llu",
               (unsigned long long)group->id, (unsigned long long)index,
               (unsigned long long)message->from);
    group_halt(group);
    group->diverged = true;
    group->judged = index;
    group->options.diverged(group->options.argument, message->from, index);
    return false;
}

/* ---- room (R18) ----------------------------------------------------------------------------- */

/* What waits to be applied is in memory; so is what this node keeps as a leader elsewhere. A tree
 * that is damaged may never be compacted again: it has no part in this, as whoever could send
 * another one may wait for this log. */
static bool has_room(const lw_group *group, size_t size) {
    const lw_groups *groups = group->groups;
    bool crowded = groups->kept_size > 4 * groups->options.kept_size;
    bool applies =
        (!group->held && !group->stuck) || LW_BUG(group->env, "group.damaged_tree_lets_in");
    if (LW_RARE(group->env, "group.takes_nothing")) {
        return false;
    }
    return group->unapplied_size < (crowded ? UNAPPLIED_CROWDED_MAX : UNAPPLIED_SIZE_MAX) &&
           group->options.room(group->options.argument, size, applies);
}

/* Where there is no room, entries are left out: the leader is told so, knows that we live, and
 * sends them again. Not too often, since it does so at once; else it is told by its next heartbeat
 * that they are not here. False: nothing is left. */
static bool strip_without_room(lw_group *group, lw_raft_message *message, size_t size) {
    if (message->count == 0 || has_room(group, size)) {
        return true;
    }
    LW_MARK(group->env, "group.no_room");
    uint64_t now = lw_env_now(group->env);
    if (now - group->starved_ns < STARVED_NS) {
        return false;
    }
    group->starved_ns = now;
    message->count = message->run_count = 0;
    message->no_room = true;
    return true;
}

/* ---- entries -------------------------------------------------------------------------------- */

/* Looks at every payload: whether it is well-formed, and which of them change the members. */
static bool find_configs(lw_group *group, lw_raft_message *message, lw_reader entries,
                         lw_raft_config_entry **configs) {
    uint32_t capacity = 0;
    message->config_count = 0;
    for (uint32_t place = 0; place < message->count; place++) {
        group_payload payload;
        uint64_t index = message->index + 1 + place;
        if (group_payload_open(group, index, lw_raft_payload_next(&entries), &payload) != LW_OK) {
            return false;
        }
        if (payload.mark != GROUP_MARK_MEMBERS) {
            continue;
        }
        if (message->config_count == capacity) {
            capacity = capacity == 0 ? 4 : 2 * capacity;
            *configs = lw_reallocate(group->env->memory, *configs, capacity * sizeof(**configs));
        }
        (*configs)[message->config_count++] =
            (lw_raft_config_entry){.index = index, .config = group_config_of(&payload.members)};
    }
    message->configs = *configs;
    return lw_reader_ok(&entries);
}

static uint64_t term_at(const lw_raft_message *message, uint64_t index) {
    uint32_t run = message->run_count - 1;
    while (message->run_firsts[run] > index) {
        run--;
    }
    return message->run_terms[run];
}

static void flush(lw_group *group, const lw_log_record *records, uint32_t count) {
    group->position = lw_log_append(group->groups->log, records, count);
    for (uint32_t back = 0; back < count; back++) {
        group_slot_at(group, group->last - back)->position = group->position;
    }
}

/* Takes the entries from `write` on into memory and the log. */
static void take_in(lw_group *group, const lw_raft_message *message, lw_reader entries,
                    const lw_raft_write *write) {
    lw_log_record records[RECORDS_AT_ONCE];
    uint32_t count = 0;
    if (write->first <= group->last) {
        LW_MARK(group->env, "group.suffix_replaced");
        group_slots_cut(group, write->first);
    }
    LW_ASSERT(write->first == group->last + 1);
    for (uint64_t index = message->index + 1; index < write->first + write->count; index++) {
        lw_bytes payload = lw_raft_payload_next(&entries);
        if (index < write->first) {
            continue;
        }
        group_slot *slot = group_slots_push(group, term_at(message, index), payload, NULL);
        group_slot_own(group, slot);
        records[count++] = (lw_log_record){.group = group->id,
                                           .term = slot->term,
                                           .index = index,
                                           .kind = LW_LOG_ENTRY,
                                           .payload = slot->payload};
        if (count == RECORDS_AT_ONCE || LW_RARE(group->env, "group.one_record_at_once")) {
            flush(group, records, count);
            count = 0;
        }
    }
    if (count > 0) {
        flush(group, records, count);
    }
    groups_watch(group->groups, group, group->position);
    if (LW_BUG(group->env, "group.ack_before_fsync")) {
        lw_raft_persisted(group->raft, group->last, group->raft->cuts);
    }
}

void group_receive(lw_group *group, lw_raft_message *message, lw_reader entries, size_t size) {
    if (group->dead || group->halted || group->raft == NULL || !group->started) {
        return;
    }
    if (!compare_digests(group, message) || !strip_without_room(group, message, size)) {
        return;
    }
    lw_raft_config_entry *configs = NULL;
    if (find_configs(group, message, entries, &configs)) {
        lw_raft_write write;
        lw_raft_receive(group->raft, message, lw_env_now(group->env), &write);
        if (write.count > 0) {
            take_in(group, message, entries, &write);
        }
        groups_dirty(group->groups, group);
    } else {
        group->groups->figures.unreadable++;
    }
    lw_free(group->env->memory, configs);
}
