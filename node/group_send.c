/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that go out. An append takes its entries from memory; those of a follower that is behind
 * are read back from the log, by a fiber of their own, one at a time for each follower. */
#include "node/group_state.h"

static void encode_and_send(lw_group *group, const lw_raft_message *message,
                            const lw_bytes *payloads) {
    lw_groups *groups = group->groups;
    lw_buffer_clear(&groups->message);
    lw_raft_message_encode(group->id, message, payloads, &groups->message);
    groups->figures.sent++;
    LW_MESSAGE(groups->env, groups->options.node, message->to, true,
               lw_buffer_view(&groups->message));
    groups->options.send(groups->options.argument, message->to, lw_buffer_view(&groups->message));
    if (groups->message.capacity > GROUP_MESSAGE_SIZE) {
        lw_buffer_reset(&groups->message);
    }
}

/* Sends the first `message->count` of these, and says so. */
static void send_entries(lw_group *group, const lw_raft_message *message, const lw_bytes *payloads,
                         size_t size) {
    encode_and_send(group, message, payloads);
    lw_raft_sent(group->raft, message->to, message->term, message->count, size);
}

static void send_from_memory(lw_group *group, lw_raft_message *message) {
    lw_bytes payloads[GROUP_ENTRIES_PER_MESSAGE];
    uint32_t count = 0;
    size_t size = 0, size_max = GROUP_MESSAGE_SIZE;
    if (LW_RARE(group->env, "group.short_message")) {
        size_max = 1;
    }
    while (count < message->count && count < GROUP_ENTRIES_PER_MESSAGE) {
        lw_bytes payload = group_slot_at(group, message->index + 1 + count)->payload;
        if (count > 0 && size + payload.size > size_max) {
            break;
        }
        payloads[count++] = payload;
        size += payload.size;
    }
    message->count = count;
    send_entries(group, message, payloads, size);
}

/* ---- from the log --------------------------------------------------------------------------- */

/* Entries being read back. */
typedef struct group_load {
    lw_group *group;
    lw_raft_message message;
    uint32_t count;
    size_t size;
    lw_bytes payloads[GROUP_ENTRIES_PER_MESSAGE]; /* owned */
} group_load;

static lw_status load_one(void *argument, const lw_log_record *record) {
    group_load *load = argument;
    uint64_t term;
    const lw_raft *raft = load->group->raft;
    uint64_t index = load->message.index + 1 + load->count;
    if (record->index != index || load->count == GROUP_ENTRIES_PER_MESSAGE ||
        !lw_raft_term_at(raft, index, &term) || term != record->term) {
        return lw_fail(LW_NOT_FOUND, "the log of shard %llu has changed",
                       (unsigned long long)load->group->id);
    }
    load->payloads[load->count++] = lw_copy(load->group->env->memory, record->payload);
    load->size += record->payload.size;
    return LW_OK;
}

/* What is in memory by now is not there any more when it was asked for: it goes on from there. */
LW_YIELDS static lw_status load(group_load *load) {
    const lw_group *group = load->group;
    const lw_raft_message *message = &load->message;
    return lw_log_read(group->groups->log, group->id, message->index + 1,
                       message->index + message->count, GROUP_MESSAGE_SIZE, load_one, load);
}

static bool still_leads(const lw_group *group, const lw_raft_message *message) {
    return !group->dead && !group->halted && group->raft->role == LW_RAFT_LEADER &&
           group->raft->term == message->term;
}

/* What cannot be read is not there: the follower gets a snapshot instead. */
static void give_up(lw_group *group, const lw_raft_message *message, lw_status status) {
    LW_MARK(group->env, "group.entries_not_in_log");
    if (status != LW_NOT_FOUND) {
        lw_logline(group->env, LW_LEVEL_ERROR, "entries cannot be read back",
                   "shard=%llu reason=\"%s\"", (unsigned long long)group->id,
                   lw_error_slot()->text);
    }
    lw_raft_sent(group->raft, message->to, message->term, 0, 0);
    if (message->index + 1 <= group->applied) {
        lw_raft_compacted(group->raft, message->index + 1);
    }
}

LW_YIELDS static void load_main(void *argument) {
    group_load *work = argument;
    lw_group *group = work->group;
    lw_groups *groups = group->groups;
    lw_status status = load(work);
    if (still_leads(group, &work->message)) {
        if (work->count > 0) {
            groups->figures.read_back_bytes += work->size;
            work->message.count = work->count;
            send_entries(group, &work->message, work->payloads, work->size);
        } else {
            give_up(group, &work->message, status);
        }
        groups_dirty(groups, group);
    }
    for (uint32_t index = 0; index < work->count; index++) {
        lw_free(group->env->memory, (void *)(uintptr_t)work->payloads[index].data);
    }
    lw_free(group->env->memory, work);
    group_unreference(group);
    groups_background_end(groups);
}

static void send_from_log(lw_group *group, const lw_raft_message *message) {
    LW_MARK(group->env, "group.read_back");
    group_load *work = lw_allocate(group->env->memory, sizeof(*work));
    work->group = group;
    work->message = *message;
    work->count = 0;
    work->size = 0;
    group->references++;
    groups_background_start(group->groups, "read back", load_main, work);
}

/* What is in memory is in the log too, once it is durable. */
static bool from_log(const lw_group *group, const lw_raft_message *message) {
    return message->index + message->count <= group->durable &&
           LW_RARE(group->env, "group.reads_back");
}

void group_send(lw_group *group, lw_raft_message *message) {
    if (message->kind != LW_RAFT_APPEND || message->count == 0) {
        encode_and_send(group, message, NULL);
    } else if (message->index + 1 >= group->first && !from_log(group, message)) {
        send_from_memory(group, message);
    } else {
        send_from_log(group, message);
    }
}
