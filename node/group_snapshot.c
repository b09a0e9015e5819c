/* SPDX-License-Identifier: Apache-2.0 */
/* Where the log ends at its beginning, and snapshots, which make it begin anew. */
#include "node/group_state.h"

enum { COMMITTED_TRIES = 200 };
#define COMMITTED_PAUSE_NS (UINT64_C(10) * 1000 * 1000)

/* ---- letting go ----------------------------------------------------------------------------- */

/* What followers may still ask for, within bounds: beyond them they get a snapshot. */
static uint64_t needed_behind(const lw_group *group, uint64_t index) {
    lw_groups *groups = group->groups;
    uint64_t needed = index;
    for (int place = 0; group->leading && place < LW_RAFT_MEMBERS_MAX; place++) {
        const lw_raft_peer *peer = &group->raft->peers[place];
        if (peer->node != 0 && peer->state != LW_RAFT_BEHIND && peer->match < needed) {
            needed = peer->match;
        }
    }
    if (group->snapshot_node != 0 && group->snapshot_index < needed) {
        needed = group->snapshot_index;
    }
    bool too_much =
        needed < index && lw_log_pinned(groups->log, group->id) > groups->options.behind_max;
    return too_much ? index : needed;
}

void group_note_start(lw_group *group, uint64_t index) {
    uint64_t term = group->term;
    bool known = group->raft == NULL ? index >= group->begun_index
                                     : lw_raft_term_at(group->raft, index, &term);
    bool starts = index == group->released;
    if (known && term != group->start_term &&
        !(starts && LW_BUG(group->env, "group.start_unnoted"))) {
        group->start_index = index;
        group->start_term = term;
        group_append_state(group);
    }
}

void group_release(lw_group *group) {
    if (group->flushed <= group->released) {
        return;
    }
    uint64_t index = group->raft == NULL ? group->flushed : needed_behind(group, group->flushed);
    if (index <= group->released) {
        return;
    }
    group_note_start(group, index);
    group->released = index;
    lw_log_release(group->groups->log, group->id, index);
    if (group->raft != NULL) {
        lw_raft_compacted(group->raft, index);
    }
}

void lw_group_flushed(lw_group *group, uint64_t index) {
    group->flushed = index > group->flushed ? index : group->flushed;
    if (group->started && !group->dead && !group->installing) {
        group_release(group);
    }
}

/* ---- sending -------------------------------------------------------------------------------- */

lw_status lw_group_snapshot_begin(lw_group *group, uint64_t node, uint64_t index, uint64_t *term) {
    LW_ASSERT(index <= group->applied);
    if (group->paused || index == group->paused_at) {
        LW_MARK(group->env, "group.snapshot_within_pause");
        /* This checkpoint may have begun before the pause ended. The next one will not, and need
         * not wait for another entry: it may be for who has to acknowledge that. */
        group->paused_at = group->paused ? index : 0;
        return lw_fail(LW_UNAVAILABLE,
                       "what follows from entry %llu of shard %llu may not be in a snapshot of it: "
                       "make another one",
                       (unsigned long long)index, (unsigned long long)group->id);
    }
    if (!group->leading || group->raft == NULL || group->dead || group->halted ||
        !lw_raft_term_at(group->raft, index, term)) {
        return lw_fail(LW_UNAVAILABLE, "this node does not lead shard %llu any more",
                       (unsigned long long)group->id);
    }
    group->snapshot_node = node;
    group->snapshot_index = index;
    return LW_OK;
}

void lw_group_snapshot_sent(lw_group *group, uint64_t node, uint64_t index) {
    if (group->snapshot_node == node) {
        group->snapshot_node = 0;
    }
    if (group->raft != NULL && !group->dead && !group->halted) {
        lw_raft_snapshot_sent(group->raft, node, index, lw_env_now(group->env));
        groups_dirty(group->groups, group);
    }
}

/* ---- installing ----------------------------------------------------------------------------- */

/* The marker, durable; nothing is applied from here on. */
LW_YIELDS static lw_status mark_begin(lw_group *group, const lw_group_snapshot *snapshot) {
    lw_log_record record = {
        .group = group->id, .term = snapshot->term, .index = snapshot->index, .kind = LW_LOG_BEGIN};
    uint64_t position = lw_log_append(group->groups->log, &record, 1);
    if (lw_log_wait(group->groups->log, position) != LW_OK) {
        group_fail(group);
        return group->reason.status;
    }
    return LW_OK;
}

/* All that follows from the tree being another one, in one turn. */
static void begin_anew(lw_group *group, const lw_group_snapshot *snapshot) {
    lw_log *log = group->groups->log;
    lw_log_begun(log, group->id, true);
    if (group->last > group->applied) {
        group_slots_cut(group, group->applied + 1);
    }
    group_slots_reset(group);
    group->last = group->durable = group->committed = group->applied = snapshot->index;
    group->flushed = group->released = group->start_index = snapshot->index;
    group->start_term = snapshot->term;
    group->first = snapshot->index + 1;
    group->digest_from = snapshot->index;
    group->members = snapshot->members;
    group->options.joins = false;
    lw_raft_config config = group_config_of(&snapshot->members);
    lw_raft_install_end(group->raft, snapshot->index, snapshot->term, &config, snapshot->index,
                        lw_env_now(group->env));
    group_append_state(group);
    lw_log_release(log, group->id, snapshot->index);
}

static void abandon(lw_group *group) {
    lw_log_begun(group->groups->log, group->id, false);
    lw_raft_install_end(group->raft, 0, 0, NULL, 0, lw_env_now(group->env));
}

LW_YIELDS static lw_status install(lw_group *group, const lw_group_snapshot *snapshot,
                                   lw_status (*ingest)(void *argument), void *argument) {
    LW_TRY(mark_begin(group, snapshot));
    lw_status status = ingest(argument);
    if (group->dead || group->halted) {
        return lw_fail(LW_UNAVAILABLE, "the node stops while a snapshot is installed");
    }
    if (status == LW_OK) {
        begin_anew(group, snapshot);
    } else {
        abandon(group);
    }
    return status;
}

/* ---- in place of a damaged tree ------------------------------------------------------------- */

void lw_group_hold(lw_group *group, bool on) {
    group->held = on && !group->leading;
    if (!group->held && !group->dead && !group->halted) {
        group_apply(group);
    }
}

/* What is in a snapshot is committed, and this node hears of it soon. */
LW_YIELDS static lw_status await_committed(const lw_group *group, uint64_t index) {
    for (uint32_t tries = 0; tries < COMMITTED_TRIES; tries++) {
        if (group->dead || group->halted || group->leading || group->committed >= index) {
            break;
        }
        lw_env_sleep(group->env, COMMITTED_PAUSE_NS);
    }
    if (group->dead || group->halted || group->leading || group->installing || group->paused ||
        group->committed < index || group->applied > index) {
        return lw_fail(LW_UNAVAILABLE, "shard %llu takes no snapshot of entry %llu now",
                       (unsigned long long)group->id, (unsigned long long)index);
    }
    return LW_OK;
}

/* The tree holds everything up to there, whoever has applied it. */
static void skip_to(lw_group *group, const lw_group_snapshot *snapshot) {
    uint64_t index = snapshot->index;
    if (LW_BUG(group->env, "group.forgets_what_came_meanwhile")) {
        index = group->committed;
    }
    while (group->applied < index) {
        group_slot *slot = group_slot_at(group, ++group->applied);
        group->unapplied_size -= slot->payload.size;
        group_slot_own(group, slot);
        group_proposal_end(slot, LW_OK);
    }
    group->members = snapshot->members;
    group->digest_from = snapshot->index;
    group->flushed = snapshot->index > group->flushed ? snapshot->index : group->flushed;
}

/* With nothing applied meanwhile. What kept this tree from going on is over with it, but the next
 * one may be stuck, too, as `ingest` finds. */
static void begin_installing(lw_group *group, bool *stuck) {
    group->installing = group->paused = true;
    *stuck = group->stuck;
    group->stuck = false;
}

static void end_installing(lw_group *group, bool stuck, lw_status status) {
    group->installing = group->paused = false;
    group->stuck = group->stuck || (stuck && status != LW_OK);
    group->held = group->held && status != LW_OK;
}

LW_YIELDS static lw_status renew(lw_group *group, const lw_group_snapshot *snapshot,
                                 lw_status (*ingest)(void *argument), void *argument) {
    groups_dirty(group->groups, group);
    LW_TRY(await_committed(group, snapshot->index));
    LW_MARK(group->env, "group.tree_renewed");
    bool stuck;
    begin_installing(group, &stuck);
    lw_status status = ingest(argument);
    end_installing(group, stuck, status);
    if (status == LW_OK) {
        skip_to(group, snapshot);
    }
    return status;
}

lw_status lw_group_install(lw_group *group, const lw_group_snapshot *snapshot,
                           lw_status (*ingest)(void *argument), void *argument) {
    if (group->raft == NULL || group->installing || group->paused || group->dead || group->halted) {
        return lw_fail(LW_UNAVAILABLE, "shard %llu takes no snapshot now",
                       (unsigned long long)group->id);
    }
    lw_status status;
    if (lw_raft_install_begin(group->raft, snapshot->index, snapshot->term)) {
        LW_MARK(group->env, "group.snapshot_installed");
        bool stuck;
        begin_installing(group, &stuck);
        status = install(group, snapshot, ingest, argument);
        end_installing(group, stuck, status);
    } else if (snapshot->renews) {
        status = renew(group, snapshot, ingest, argument);
    } else {
        return LW_OK;
    }
    if (!group->dead && !group->halted) {
        group_apply(group);
        groups_dirty(group->groups, group);
    }
    return status;
}
