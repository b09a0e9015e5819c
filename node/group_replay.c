/* SPDX-License-Identifier: Apache-2.0 */
/* What the log says when the node starts. Records come in its order: an entry replaces what came
 * with its index before, and all behind that; what is known to be committed is applied, the rest
 * waits in memory, since others may have something else there. */
#include "node/group_state.h"

/* ---- terms ---------------------------------------------------------------------------------- */

static void runs_cut(group_replay *replay, uint64_t index) {
    while (replay->run_count > 0 && replay->runs[replay->run_count - 1].first >= index) {
        replay->run_count--;
    }
}

static void runs_add(group_replay *replay, uint64_t index, uint64_t term) {
    runs_cut(replay, index);
    if (replay->run_count > 0 && replay->runs[replay->run_count - 1].term == term) {
        return;
    }
    if (replay->run_count == LW_RAFT_TERMS_MAX) {
        memmove(&replay->runs[0], &replay->runs[1],
                (LW_RAFT_TERMS_MAX - 1) * sizeof(replay->runs[0]));
        replay->run_count--;
    }
    replay->runs[replay->run_count++] = (group_run){.first = index, .term = term};
}

/* ---- records -------------------------------------------------------------------------------- */

static lw_status replay_state(lw_group *group, const lw_log_record *record) {
    lw_bytes payload = record->payload;
    if (payload.size != 0 && payload.size != GROUP_STATE_SIZE &&
        payload.size != GROUP_STATE_SIZE_BEFORE) {
        return lw_fail(LW_CORRUPTION, "the state of shard %llu in the log is not well-formed",
                       (unsigned long long)group->id);
    }
    group->term = record->term;
    group->vote = payload.size == 0 ? 0 : lw_get_u64(payload.data);
    group->votes_from = payload.size == 0 ? 0 : lw_get_u64(payload.data + 24);
    group->halted_at = payload.size < GROUP_STATE_SIZE ? 0 : lw_get_u64(payload.data + 32);
    if (payload.size != 0 && lw_get_u64(payload.data + 8) <= group->flushed) {
        group->start_index = lw_get_u64(payload.data + 8);
        group->start_term = lw_get_u64(payload.data + 16);
    }
    return LW_OK;
}

/* The log begins anew behind this entry, which is flushed. */
static void replay_begin(lw_group *group, const lw_log_record *record) {
    LW_ASSERT(record->index <= group->flushed);
    if (group->last > group->applied) {
        group_slots_cut(group, group->applied + 1);
    }
    group->replay->run_count = 0;
    group->replay->missing = 0;
    runs_add(group->replay, record->index, record->term);
}

/* Applies what is known to be committed, so far. */
static lw_status apply_known(lw_group *group) {
    uint64_t committed = group->replay->committed;
    group->committed = committed < group->last ? committed : group->last;
    group_apply(group);
    return group->dead ? group->reason.status : LW_OK;
}

/* Puts an entry behind those before it. */
static lw_status replay_tail(lw_group *group, const lw_log_record *record) {
    group_payload payload;
    LW_TRY(group_payload_open(group, record->index, record->payload, &payload));
    uint64_t committed =
        payload.mark == GROUP_MARK_BEFORE ? record->index : payload.committed; /* it was alone */
    if (record->index <= group->last) {
        group_slots_cut(group, record->index);
    }
    group_slots_push(group, record->term, record->payload, NULL);
    group->durable = group->last;
    if (committed > group->replay->committed) {
        group->replay->committed = committed;
    }
    LW_TRY(apply_known(group));
    if (group->last > group->applied) {
        group_slot_own(group, group_slot_at(group, group->last));
    }
    return LW_OK;
}

static lw_status entries_missing(const lw_group *group, uint64_t index) {
    return lw_fail(
        LW_CORRUPTION, "the log of shard %llu goes from entry %llu to %llu: entries are missing",
        (unsigned long long)group->id, (unsigned long long)group->last, (unsigned long long)index);
}

static lw_status replay_entry(lw_group *group, const lw_log_record *record) {
    group_replay *replay = group->replay;
    group->term = record->term > group->term ? record->term : group->term;
    if (record->index > group->last + 1) {
        if (replay->run_count > 0) {
            return entries_missing(group, record->index);
        }
        replay->missing = record->index; /* unless what was replaced it is still to come */
        return LW_OK;
    }
    replay->missing = 0;
    if (record->index <= group->applied && record->index > group->flushed) {
        return lw_fail(LW_CORRUPTION,
                       "the log of shard %llu replaces entry %llu, which was "
                       "committed",
                       (unsigned long long)group->id, (unsigned long long)record->index);
    }
    runs_add(replay, record->index, record->term);
    if (record->index > group->flushed) {
        return replay_tail(group, record);
    }
    if (group->last > group->applied) {
        group_slots_cut(group, group->applied + 1); /* was behind what this one replaces */
    }
    return LW_OK;
}

lw_status lw_group_replay(lw_group *group, const lw_log_record *record) {
    LW_ASSERT(group->replay != NULL && record->group == group->id);
    switch (record->kind) {
    case LW_LOG_STATE:
        return replay_state(group, record);
    case LW_LOG_ENTRY:
        return replay_entry(group, record);
    case LW_LOG_BEGIN:
        replay_begin(group, record);
        return LW_OK;
    }
    return LW_OK;
}

/* ---- the core ------------------------------------------------------------------------------- */

static bool is_self_alone(const lw_group *group, const lw_group_members *members) {
    return members->count == 1 && members->replicas[0].role == LW_REPLICA_VOTER &&
           members->replicas[0].node == group->groups->options.node;
}

/* Whether nobody else has to do with it, now or if what is not known to be committed is. */
static bool is_alone(const lw_group *group) {
    bool alone = is_self_alone(group, &group->members);
    for (uint64_t index = group->applied + 1; index <= group->last && alone; index++) {
        group_payload payload;
        alone = group_payload_open(group, index, group_slot_at(group, index)->payload, &payload) ==
                    LW_OK &&
                payload.mark != GROUP_MARK_MEMBERS;
    }
    return alone;
}

static uint64_t term_of(const group_replay *replay, uint64_t index) {
    uint32_t run = replay->run_count;
    while (run > 1 && replay->runs[run - 1].first > index) {
        run--;
    }
    return replay->runs[run - 1].term;
}

/* What is known to be committed. Only what is stuck does not apply all of it. */
static uint64_t committed_so_far(const lw_group *group) {
    return group->stuck ? group->committed : group->applied;
}

/* Tells the core of the entries behind `index`. */
static lw_status tell_entries(lw_group *group, uint64_t index) {
    uint64_t known = committed_so_far(group);
    while (++index <= group->last) {
        lw_raft_config config;
        group_payload payload = {.mark = GROUP_MARK_ENTRY};
        uint64_t term, committed = index <= known ? index - 1 : known;
        if (index > group->applied) {
            const group_slot *slot = group_slot_at(group, index);
            term = slot->term;
            LW_TRY(group_payload_open(group, index, slot->payload, &payload));
        } else {
            term = term_of(group->replay, index);
        }
        bool changes = payload.mark == GROUP_MARK_MEMBERS;
        if (changes) {
            config = group_config_of(&payload.members);
        }
        LW_TRY(lw_raft_replay(group->raft, index, term, committed, changes ? &config : NULL));
    }
    return LW_OK;
}

#ifdef LW_SIMULATION
uint64_t lw_groups_planted(lw_env *env) {
    uint64_t bugs = 0;
#define PLANTED(name, text, rule) bugs |= (uint64_t)LW_BUG(env, text) << LW_RAFT_BUG_##name;
    LW_RAFT_BUG_LIST(PLANTED)
#undef PLANTED
    return bugs;
}
#endif

static uint64_t members_index(const lw_group *group) {
    uint64_t told = group->options.members_index;
    return told > group->applied ? told : group->applied;
}

lw_status group_core_open(lw_group *group, uint64_t index, uint64_t term) {
    const lw_groups_options *shared = &group->groups->options;
    lw_raft_options options = {.self = shared->node,
                               .term = group->term,
                               .vote = group->vote,
                               .start_index = index,
                               .start_term = term,
                               .commit = group->applied,
                               .config = group_config_of(&group->members),
                               .config_index = members_index(group),
                               .votes_from = group->votes_from,
                               .seed = lw_env_random(group->env),
                               .election_timeout_ns = shared->election_timeout_ns,
                               .heartbeat_ns = shared->election_timeout_ns / 5,
                               .quiesce_after_ns = 3 * shared->election_timeout_ns,
                               .drift_ppm = shared->drift_ppm,
                               .entries_in_flight_max = 4096,
                               .bytes_in_flight_max = 4 * GROUP_MESSAGE_SIZE,
                               .entries_per_append_max = GROUP_ENTRIES_PER_MESSAGE};
    if (LW_RARE(group->env, "group.one_entry_in_flight")) {
        options.entries_in_flight_max = 1;
    }
    if (LW_RARE(group->env, "group.few_bytes_in_flight")) {
        options.bytes_in_flight_max = 1;
    }
    if (LW_RARE(group->env, "group.one_entry_an_append")) {
        options.entries_per_append_max = 1;
    }
    if (LW_RARE(group->env, "group.never_rests")) {
        options.quiesce_after_ns = LW_RAFT_NEVER;
    }
    if (LW_RARE(group->env, "group.beats_often")) {
        options.heartbeat_ns /= 2;
    }
#ifdef LW_SIMULATION
    options.bugs = lw_groups_planted(group->env);
#endif
    LW_ASSERT(index <= group->applied);
    group->raft = lw_allocate_zero(group->env->memory, sizeof(*group->raft));
    lw_raft_init(group->raft, &options);
    group->digest_from = group->applied;
    return tell_entries(group, index);
}

lw_status group_core_lead_on(lw_group *group) {
    if (group->applied < group->begun_index) {
        return LW_REFUSED; /* R3 */
    }
    LW_MARK(group->env, "group.opens_up");
    lw_status status = group_core_open(group, group->applied, group->term);
    LW_ASSERT(status == LW_OK);
    lw_raft_lead_on(group->raft, group->durable, lw_env_now(group->env));
    groups_watch(group->groups, group, group->position);
    groups_dirty(group->groups, group);
    return LW_OK;
}

/* What stands in front of the entries whose terms are known. */
static lw_status core_from_log(lw_group *group) {
    const group_replay *replay = group->replay;
    if (replay->run_count > 0 && replay->runs[0].first <= group->applied) {
        return group_core_open(group, replay->runs[0].first, replay->runs[0].term);
    }
    return group_core_open(group, group->applied, group->start_term);
}

lw_status lw_group_replay_alone(lw_group *group) {
    if (group->replay == NULL) {
        return LW_OK;
    }
    if (group->replay->missing != 0) {
        return entries_missing(group, group->replay->missing);
    }
    if (is_alone(group)) {
        group->replay->committed = group->last;
        return apply_known(group);
    }
    return LW_OK;
}

lw_status group_replay_vouched(lw_group *group, uint64_t index) {
    if (group->replay->committed < index) {
        group->replay->committed = index;
    }
    return apply_known(group);
}

lw_status lw_group_replay_end(lw_group *group) {
    if (group->replay == NULL) {
        return LW_OK;
    }
    bool alone = is_alone(group);
    LW_TRY(lw_group_replay_alone(group));
    if (!alone) {
        LW_TRY(core_from_log(group));
    }
    lw_free(group->env->memory, group->replay);
    group->replay = NULL;
    return LW_OK;
}
