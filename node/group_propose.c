/* SPDX-License-Identifier: Apache-2.0 */
/* Proposals: appended to the log in the order in which they come, and waited for. In a group of one
 * the proposer's own fiber waits for the log, and whoever wakes first applies all that became
 * durable with its own: no other fiber, and no copy of the entry. With others it waits to be told,
 * since more than the log is needed. */
#include "node/group_state.h"

void group_append(lw_group *group, group_slot *slot) {
    lw_log_record record = {.group = group->id,
                            .term = slot->term,
                            .index = group->last,
                            .kind = LW_LOG_ENTRY,
                            .payload = slot->payload};
    slot->position = group->position = lw_log_append(group->groups->log, &record, 1);
    if (group->raft != NULL) {
        groups_watch(group->groups, group, slot->position);
        groups_dirty(group->groups, group);
    }
}

/* ---- proposing ------------------------------------------------------------------------------ */

/* LW_OK if it can be taken; the core has taken it then. */
static lw_status take(lw_group *group, const lw_buffer *entry, const lw_proposal *proposal) {
    uint64_t term = lw_group_leads(group);
    if (term == 0 || (proposal->term != 0 && proposal->term != term)) {
        return LW_UNAVAILABLE;
    }
    if (proposal->members != NULL && group->raft == NULL) {
        LW_TRY(group_core_lead_on(group));
    }
    if (group->raft == NULL) {
        return LW_OK;
    }
    if (entry->size > GROUP_ENTRY_SIZE_MAX) {
        return LW_INVALID_ARGUMENT;
    }
    lw_raft_write write;
    lw_raft_config config;
    if (proposal->members != NULL) {
        config = group_config_of(proposal->members);
    }
    LW_TRY(lw_raft_propose(group->raft, 1, proposal->members == NULL ? NULL : &config,
                           lw_env_now(group->env), &write));
    LW_ASSERT(write.first == group->last + 1 && write.count == 1 && write.term == term);
    return LW_OK;
}

void lw_group_propose(lw_group *group, lw_buffer *entry, lw_proposal *proposal) {
    LW_ASSERT(group->started && entry->size > 0);
    LW_ASSERT(proposal->index == 0 && !proposal->ended);
    proposal->status = take(group, entry, proposal);
    if (proposal->status != LW_OK) {
        proposal->ended = true;
        return;
    }
    group_payload_close(entry, proposal->members, group->committed);
    LW_ASSERT(entry->size <= LW_LOG_PAYLOAD_SIZE_MAX);
    group_slot *slot = group_slots_push(group, group->term, lw_buffer_view(entry), proposal);
    group_append(group, slot);
    proposal->index = group->last;
    proposal->position = slot->position;
}

/* ---- how it ends ---------------------------------------------------------------------------- */

void group_proposal_end(group_slot *slot, lw_status status) {
    lw_proposal *proposal = slot->proposal;
    if (proposal != NULL) {
        slot->proposal = NULL;
        proposal->status = status;
        proposal->ended = true;
        if (!lw_queue_empty(&proposal->waiting)) { /* its proposer is elsewhere: at the log */
            lw_queue_wake_all(&proposal->waiting);
        }
    }
}

/* What is not applied may be yet, unless nothing is any more. */
void group_proposals_end(lw_group *group, lw_status status) {
    bool over = group->dead || group->halted;
    for (uint64_t index = group->applied + 1; index <= group->last; index++) {
        group_slot *slot = group_slot_at(group, index);
        if (slot->proposal != NULL && !over) {
            group_slot_own(group, slot);
        }
        group_proposal_end(slot, status);
    }
    lw_queue_wake_all(&group->settling);
}

static void die(lw_group *group, const lw_error *reason) {
    group->dead = true;
    group->reason = *reason;
    groups_forget(group->groups, group);
    group_proposals_end(group, LW_UNDETERMINED);
    lw_queue_wake_all(&group->reading);
}

void lw_group_die(lw_group *group, const lw_error *reason) {
    if (!group->dead) {
        die(group, reason);
    }
}

void group_fail(lw_group *group) {
    if (!group->dead) {
        lw_error reason = *lw_error_slot();
        die(group, &reason);
        if (group->started) { /* who replays is told by the call */
            group->options.died(group->options.argument, &group->reason);
        }
    }
}

/* ---- waiting -------------------------------------------------------------------------------- */

void group_durable(lw_group *group, uint64_t position) {
    while (group->durable < group->last &&
           group_slot_at(group, group->durable + 1)->position <= position) {
        group->durable++;
    }
    if (group->raft == NULL) {
        group->committed = group->durable; /* its quorum is this disk */
        group_apply(group);
        return;
    }
    if (group->save_position != 0 && group->save_position <= position) {
        group->save_position = 0;
        lw_raft_saved(group->raft, group->term, group->vote);
    }
    lw_raft_persisted(group->raft, group->durable, group->raft->cuts);
    if (LW_BUG(group->env, "group.apply_uncommitted")) {
        group->committed = group->durable;
        group_apply(group);
    }
    groups_dirty(group->groups, group);
}

/* Waits until this node's log holds what it held up to `position`. */
LW_YIELDS static void await_log(lw_group *group, uint64_t position) {
    if (LW_BUG(group->env, "txn.apply_before_durable") ||
        lw_log_wait(group->groups->log, position) == LW_OK) {
        if (!group->dead) {
            group_durable(group, position);
        }
    } else {
        group_fail(group);
    }
}

/* Why it was refused. */
static lw_status refusal(const lw_group *group, const lw_proposal *proposal) {
    unsigned long long shard = group->id;
    if (group->dead) {
        return lw_fail(LW_UNAVAILABLE, "the node stops: %s", group->reason.text);
    }
    if (proposal->status == LW_INVALID_ARGUMENT) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "shard %llu is on several nodes, and takes at most %d bytes in one piece: "
                       "write less at once",
                       shard, (int)GROUP_ENTRY_SIZE_MAX);
    }
    if (proposal->status == LW_REFUSED) {
        return lw_fail(LW_REFUSED, "the members of shard %llu cannot change so, or not now", shard);
    }
    return lw_fail(LW_UNAVAILABLE, "this node does not lead shard %llu any more", shard);
}

static lw_status outcome(const lw_group *group, const lw_proposal *proposal) {
    if (proposal->status == LW_OK) {
        return LW_OK;
    }
    if (proposal->index == 0) {
        return refusal(group, proposal);
    }
    if (group->dead) {
        return lw_fail(LW_UNDETERMINED, "the node stops before it knows the outcome: %s",
                       group->reason.text);
    }
    if (proposal->status == LW_UNDETERMINED) {
        return lw_fail(LW_UNDETERMINED, "the node stops before it knows the outcome");
    }
    return lw_fail(LW_UNAVAILABLE,
                   "this node came to lead shard %llu no more before it knew the outcome",
                   (unsigned long long)group->id);
}

lw_status lw_group_wait(lw_group *group, lw_proposal *proposal) {
    if (!proposal->ended && group->raft == NULL) {
        await_log(group, proposal->position);
    }
    while (!proposal->ended) {
        LW_ASSERT(group->paused || group->raft != NULL);
        if (group->paused) {
            LW_MARK(group->env, "group.entry_waits_for_resumption");
        }
        lw_queue_wait(&proposal->waiting);
    }
    return outcome(group, proposal);
}

lw_status lw_group_wait_committed(lw_group *group, lw_proposal *proposal) {
    proposal->awaits_commit = true;
    return lw_group_wait(group, proposal);
}

lw_status lw_group_settle(lw_group *group) {
    uint64_t index = group->last, term = group->term;
    if (group->raft == NULL) {
        await_log(group, group->position);
    }
    while (group->applied < index && group->leading && group->term == term && !group->dead &&
           !group->halted) {
        lw_queue_wait(&group->settling);
    }
    if (group->applied >= index && group->term == term) {
        return LW_OK;
    }
    return lw_fail(LW_UNAVAILABLE, "this node came to lead shard %llu no more",
                   (unsigned long long)group->id);
}
