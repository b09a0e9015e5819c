/* SPDX-License-Identifier: Apache-2.0 */
/* Proposals: appended to the log in the order in which they come, and waited for. In a group of one
 * the proposer's own fiber waits for the log, and whoever wakes first applies all that became
 * durable with its own: no other fiber, and no copy of the entry. */
#include "node/group_state.h"

void group_append(lw_group *group, group_slot *slot) {
    lw_log_record record = {.group = group->id,
                            .term = slot->term,
                            .index = group->last,
                            .kind = LW_LOG_ENTRY,
                            .payload = slot->payload};
    slot->position = group->position = lw_log_append(group->groups->log, &record, 1);
}

static bool refused(const lw_group *group, const lw_proposal *proposal) {
    return group->dead || group->halted || !group->leads ||
           (proposal->term != 0 && proposal->term != group->term);
}

void lw_group_propose(lw_group *group, lw_buffer *entry, lw_proposal *proposal) {
    LW_ASSERT(group->started && entry->size > 0);
    LW_ASSERT(proposal->index == 0 && !proposal->ended);
    if (refused(group, proposal)) {
        proposal->status = LW_UNAVAILABLE;
        proposal->ended = true;
        return;
    }
    group_payload_close(entry, proposal->members, group->committed);
    LW_ASSERT(entry->size <= LW_LOG_PAYLOAD_SIZE_MAX);
    group_slot *slot = group_slots_push(group);
    slot->payload = lw_buffer_view(entry);
    slot->proposal = proposal;
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
        lw_queue_wake_all(&proposal->waiting);
    }
}

void group_proposals_end(lw_group *group, lw_status status) {
    for (uint64_t index = group->first; index <= group->last; index++) {
        group_proposal_end(group_slot_at(group, index), status);
    }
    lw_queue_wake_all(&group->settling);
}

static void die(lw_group *group, const lw_error *reason) {
    group->dead = true;
    group->reason = *reason;
    group_proposals_end(group, LW_UNDETERMINED);
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
        group->options.died(group->options.argument, &group->reason);
    }
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* Waits until this node's log holds what it held up to `position`. */
LW_YIELDS static void await_log(lw_group *group, uint64_t position) {
    if (LW_BUG(group->env, "txn.apply_before_durable") ||
        lw_log_wait(group->groups->log, position) == LW_OK) {
        group_durable(group, position);
    } else {
        group_fail(group);
    }
}

static lw_status outcome(const lw_group *group, const lw_proposal *proposal) {
    if (proposal->status == LW_OK) {
        return LW_OK;
    }
    if (group->dead) {
        return proposal->index == 0
                   ? lw_fail(LW_UNAVAILABLE, "the node stops: %s", group->reason.text)
                   : lw_fail(LW_UNDETERMINED, "the node stops before it knows the outcome: %s",
                             group->reason.text);
    }
    if (proposal->index == 0) {
        return lw_fail(LW_UNAVAILABLE, "this node does not lead shard %llu any more",
                       (unsigned long long)group->id);
    }
    return lw_fail(proposal->status, "the node stops before the outcome is applied");
}

lw_status lw_group_wait(lw_group *group, lw_proposal *proposal) {
    if (!proposal->ended) {
        await_log(group, proposal->position);
    }
    while (!proposal->ended) {
        LW_ASSERT(group->paused);
        LW_MARK(group->env, "group.entry_waits_for_resumption");
        lw_queue_wait(&proposal->waiting);
    }
    return outcome(group, proposal);
}

lw_status lw_group_wait_committed(lw_group *group, lw_proposal *proposal) {
    proposal->awaits_commit = true;
    return lw_group_wait(group, proposal);
}

lw_status lw_group_settle(lw_group *group) {
    uint64_t index = group->last;
    await_log(group, group->position);
    while (group->applied < index && !group->dead && !group->halted) {
        lw_queue_wait(&group->settling);
    }
    return group->applied >= index ? LW_OK
                                   : lw_fail(LW_UNAVAILABLE, "the node stops before it serves");
}
