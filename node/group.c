/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a group: opening, start, end. */
#include "node/group_state.h"

/* ---- opening -------------------------------------------------------------------------------- */

lw_group *lw_group_open(const lw_group_options *options) {
    lw_groups *groups = options->groups;
    lw_memory *memory = groups->env->memory;
    lw_group *opened = lw_allocate_zero(memory, sizeof(*opened));
    LW_ASSERT(!options->joins || (options->members.count == 0 && options->index == 0));
    opened->options = *options;
    opened->groups = groups;
    opened->env = groups->env;
    opened->id = options->group;
    opened->references = 1;
    opened->members = options->members;
    if (options->members.count == 0 && !options->joins) {
        opened->members.count = 1;
        opened->members.replicas[0] =
            (lw_shard_replica){.node = groups->options.node, .role = LW_REPLICA_VOTER};
    }
    opened->last = opened->durable = opened->committed = opened->applied = options->index;
    opened->start_index = opened->flushed = opened->members_index = options->index;
    opened->digest_from = options->index;
    opened->first = options->index + 1;
    opened->deadline = LW_RAFT_NEVER;
    opened->replay = lw_allocate_zero(memory, sizeof(*opened->replay));
    groups_enter(groups, opened);
    return opened;
}

void group_unreference(lw_group *group) {
    LW_ASSERT(group->references > 0);
    if (--group->references > 0) {
        return;
    }
    lw_memory *memory = group->env->memory;
    lw_free(memory, group->replay);
    lw_free(memory, group->raft);
    lw_free(memory, group);
}

void lw_group_close(lw_group *group) {
    LW_ASSERT(lw_queue_empty(&group->settling) && lw_queue_empty(&group->reading));
    group->halted = true;
    groups_forget(group->groups, group);
    groups_leave(group->groups, group);
    group_slots_reset(group);
    group_unreference(group);
}

void group_halt(lw_group *group) {
    if (!group->halted) {
        group->halted = true;
        groups_forget(group->groups, group);
        group_proposals_end(group, LW_UNDETERMINED);
        lw_queue_wake_all(&group->reading);
    }
}

void lw_group_go_on(lw_group *group) {
    if (group->diverged && group->halted && !group->dead) {
        group->diverged = group->halted = false;
        group_apply(group);
        groups_dirty(group->groups, group);
    }
}

void lw_group_suspend(lw_group *group) {
    bool led = group->leading;
    group_halt(group);
    group->leading = group->leads = false;
    if (led) {
        group->leader = 0;
        group->options.followed(group->options.argument, group->term, 0);
    }
}

uint64_t lw_group_halt(lw_group *group, uint64_t index) {
    LW_ASSERT(index != 0);
    group->halted_at = index;
    if (!group->dead) {
        group_append_state(group);
    }
    lw_group_stop(group);
    return group->position;
}

uint64_t lw_group_halted_at(const lw_group *group) {
    return group->halted_at;
}

void lw_group_forgive(lw_group *group) {
    LW_ASSERT(!group->started);
    group->halted_at = 0;
    group_append_state(group);
}

bool lw_group_digest(const lw_group *group, uint64_t index, uint64_t *digest) {
    const group_digest *own = &group->digests[index / GROUP_DIGEST_EVERY % GROUP_DIGESTS];
    *digest = own->value;
    return index != 0 && own->index == index;
}

lw_group_recovered lw_group_recovery(const lw_group *group) {
    return group->recovered;
}

bool lw_group_term_at(const lw_group *group, uint64_t index, uint64_t *term) {
    return group->raft != NULL && lw_raft_term_at(group->raft, index, term);
}

void lw_group_stop(lw_group *group) {
    group->diverged = false; /* for good */
    if (group->paused || group->raft != NULL) {
        group_halt(group);
    }
}

/* ---- starting ------------------------------------------------------------------------------- */

void group_append_state(lw_group *group) {
    uint8_t payload[GROUP_STATE_SIZE];
    lw_put_u64(payload, group->vote);
    lw_put_u64(payload + 8, group->start_index);
    lw_put_u64(payload + 16, group->start_term);
    lw_put_u64(payload + 24, group->votes_from);
    lw_put_u64(payload + 32, LW_BUG(group->env, "group.halt_is_forgotten") ? 0 : group->halted_at);
    lw_log_record record = {.group = group->id,
                            .term = group->term,
                            .kind = LW_LOG_STATE,
                            .payload = lw_view(payload, sizeof(payload))};
    group->position = lw_log_append(group->groups->log, &record, 1);
}

void group_begin_term(lw_group *group, uint64_t term) {
    lw_buffer entry = lw_buffer_in(group->env->memory);
    group_payload_close(&entry, NULL, group->committed);
    group_slot *slot = group_slots_push(group, term, lw_buffer_view(&entry), NULL);
    group_slot_own(group, slot);
    lw_buffer_reset(&entry);
    group_append(group, slot);
    group->begun_index = group->last;
}

/* A group of one leads a new term at once: the log keeps the order, so that nothing of the term is
 * durable before the term itself is, and nobody else is told of it. */
static void lead_alone(lw_group *group) {
    group->term++;
    group->vote = group->groups->options.node;
    group_append_state(group);
    group->leading = group->leads = true;
    group->leader = group->groups->options.node;
    group_begin_term(group, group->term);
}

void lw_group_start(lw_group *group) {
    LW_ASSERT(!group->started && group->groups->log != NULL);
    if (group->replay != NULL) { /* the group is new: nothing was replayed that could be wrong */
        lw_status status = lw_group_replay_end(group);
        LW_ASSERT(status == LW_OK);
    }
    group->started = true;
    group->recovered =
        (lw_group_recovered){.term = group->term, .vote = group->vote, .last_index = group->last};
    group->released = group->options.index;
    if (!lw_group_term_at(group, group->last, &group->recovered.last_term)) {
        group->recovered.last_term = group->term; /* it has nobody to tell */
    }
    group_note_start(group, group->released); /* it was flushed, and nobody noted it then */
    lw_log_release(group->groups->log, group->id, group->released);
    if (group->halted_at != 0) {
        group_halt(group);
    } else if (group->raft == NULL) {
        lead_alone(group);
    } else {
        lw_raft_start(group->raft, lw_env_now(group->env));
        lw_raft_applied(group->raft, group->applied, 0, 0);
        groups_dirty(group->groups, group);
    }
}

/* ---- looking -------------------------------------------------------------------------------- */

uint64_t lw_group_leads(const lw_group *group) {
    bool leads = group->leads && !group->halted && !group->dead;
    leads = leads && (group->raft == NULL ||
                      (group->raft->role == LW_RAFT_LEADER && group->raft->term == group->term));
    return leads ? group->term : 0;
}

uint64_t lw_group_leader(const lw_group *group) {
    return group->leader;
}

uint64_t lw_group_term(const lw_group *group) {
    return group->term;
}

uint64_t lw_group_last_index(const lw_group *group) {
    return group->last;
}

bool lw_group_alone(const lw_group *group) {
    return group->raft == NULL;
}

bool lw_group_names(const lw_group *group, uint64_t node) {
    const lw_raft *raft = group->raft;
    return raft == NULL ? node == group->groups->options.node
                        : lw_raft_config_find(&raft->config, node) != NULL ||
                              lw_raft_config_find(&raft->committed_config, node) != NULL;
}

static void peer_figures(const lw_group *group, lw_group_figures *figures) {
    for (uint32_t index = 0; index < figures->members.count; index++) {
        uint64_t node = figures->members.replicas[index].node;
        const lw_raft_peer *peer = lw_raft_peer_of(group->raft, node);
        if (node != group->groups->options.node) {
            figures->peers[figures->peer_count++] =
                (lw_group_peer){.node = node,
                                .match = peer == NULL ? 0 : peer->match,
                                .reachable = groups_link_up(group->groups, node),
                                .granted = lw_raft_granted(group->raft, node),
                                .in_snapshot = peer != NULL && peer->state == LW_RAFT_BEHIND,
                                .caught_up = lw_raft_caught_up(group->raft, node)};
        }
    }
}

void lw_group_pulse_get(const lw_group *group, lw_group_pulse *pulse) {
    *pulse = (lw_group_pulse){.term = group->term,
                              .vote = group->vote,
                              .last_index = group->last,
                              .committed_index = group->committed,
                              .applied_index = group->applied,
                              .leading = group->leading};
}

void lw_group_figures_get(const lw_group *group, lw_group_figures *figures) {
    *figures = (lw_group_figures){.term = group->term,
                                  .vote = group->vote,
                                  .leader = group->leader,
                                  .last_index = group->last,
                                  .committed_index = group->committed,
                                  .applied_index = group->applied,
                                  .leading = group->leading,
                                  .leased = lw_group_leads(group) != 0,
                                  .halted = group->halted,
                                  .members = group->members};
    if (group->raft != NULL) {
        uint64_t index;
        figures->leased =
            figures->leased && lw_raft_lease(group->raft, lw_env_now(group->env), &index);
        figures->members = group_members_of(&group->raft->config);
        peer_figures(group, figures);
    }
}
