/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a group: opening, replay, start, end. */
#include "node/group_state.h"

/* ---- opening -------------------------------------------------------------------------------- */

static bool is_alone(const lw_group *group) {
    const lw_group_members *members = &group->members;
    return !group->options.joins &&
           (members->count == 0 ||
            (members->count == 1 && members->replicas[0].role == LW_REPLICA_VOTER &&
             members->replicas[0].node == group->groups->options.node));
}

lw_group *lw_group_open(const lw_group_options *options) {
    lw_groups *groups = options->groups;
    lw_group *opened = lw_allocate_zero(groups->env->memory, sizeof(*opened));
    opened->options = *options;
    opened->groups = groups;
    opened->env = groups->env;
    opened->id = options->group;
    opened->members = options->members;
    opened->alone = is_alone(opened);
    opened->last = opened->durable = opened->committed = opened->applied = options->index;
    opened->start_index = options->index;
    opened->first = options->index + 1;
    return opened;
}

void lw_group_close(lw_group *group) {
    group_slots_reset(group);
    lw_free(group->env->memory, group);
}

void lw_group_stop(lw_group *group) {
    if (group->paused && !group->halted) {
        group->halted = true;
        group_proposals_end(group, LW_UNDETERMINED);
    }
}

/* ---- replay --------------------------------------------------------------------------------- */

static lw_status replay_state(lw_group *group, const lw_log_record *record) {
    lw_bytes payload = record->payload;
    if (payload.size != 0 && payload.size != GROUP_STATE_SIZE) {
        return lw_fail(LW_CORRUPTION, "the state of shard %llu in the log is not well-formed",
                       (unsigned long long)group->id);
    }
    group->term = record->term;
    group->vote = payload.size == 0 ? 0 : lw_get_u64(payload.data);
    if (payload.size != 0 && lw_get_u64(payload.data + 8) <= group->options.index) {
        group->start_term = lw_get_u64(payload.data + 16);
    }
    return LW_OK;
}

static lw_status replay_entry(lw_group *group, const lw_log_record *record) {
    if (record->index != group->last + 1) {
        return lw_fail(LW_CORRUPTION,
                       "the log of shard %llu goes from entry %llu to %llu: entries are missing",
                       (unsigned long long)group->id, (unsigned long long)group->last,
                       (unsigned long long)record->index);
    }
    group_payload payload;
    LW_TRY(group_payload_open(group, record->index, record->payload, &payload));
    lw_group_entry entry = {.index = record->index, .term = record->term, .bytes = payload.bytes};
    LW_TRY(group->options.apply(group->options.argument, &entry));
    group->last = group->durable = group->committed = group->applied = record->index;
    group->first = group->last + 1;
    return LW_OK;
}

lw_status lw_group_replay(lw_group *group, const lw_log_record *record) {
    LW_ASSERT(!group->started && record->group == group->id);
    if (record->kind == LW_LOG_STATE) {
        return replay_state(group, record);
    }
    group->term = record->term > group->term ? record->term : group->term;
    if (record->index <= group->options.index) {
        group->start_term = record->term;
        return LW_OK;
    }
    return replay_entry(group, record);
}

/* ---- starting ------------------------------------------------------------------------------- */

static void append_state(lw_group *group) {
    uint8_t payload[GROUP_STATE_SIZE];
    lw_put_u64(payload, group->vote);
    lw_put_u64(payload + 8, group->start_index);
    lw_put_u64(payload + 16, group->start_term);
    lw_log_record record = {.group = group->id,
                            .term = group->term,
                            .kind = LW_LOG_STATE,
                            .payload = lw_view(payload, sizeof(payload))};
    group->position = lw_log_append(group->groups->log, &record, 1);
}

/* What begins a term. */
static void append_first(lw_group *group) {
    lw_buffer entry = lw_buffer_in(group->env->memory);
    group_payload_close(&entry, NULL, group->committed);
    group_slot *slot = group_slots_push(group);
    slot->payload = lw_buffer_view(&entry);
    slot->owned = true;
    group_append(group, slot);
}

void lw_group_start(lw_group *group) {
    LW_ASSERT(!group->started && group->alone);
    lw_log_release(group->groups->log, group->id, group->options.index);
    group->started = true;
    group->term++;
    group->vote = group->groups->options.node;
    append_state(group); /* in front of all that depends on it: the log keeps the order */
    group->leads = true;
    append_first(group);
}

/* ---- the log's end -------------------------------------------------------------------------- */

void lw_group_flushed(lw_group *group, uint64_t index) {
    if (group->started) {
        lw_log_release(group->groups->log, group->id, index);
    }
}

/* ---- looking -------------------------------------------------------------------------------- */

uint64_t lw_group_leads(const lw_group *group) {
    return group->leads ? group->term : 0;
}

uint64_t lw_group_term(const lw_group *group) {
    return group->term;
}

uint64_t lw_group_last_index(const lw_group *group) {
    return group->last;
}
