/* SPDX-License-Identifier: Apache-2.0 */
/* Carrying out what the core asks for, at the end of the turn in which something happened: so that
 * what happened together leaves in one message. And reading. */
#include "node/group_state.h"

enum { HEAR_PAUSE_MS = 5 }; /* until it is seen again who has answered */
#define NS_PER_MS UINT64_C(1000000)

/* ---- hard state ----------------------------------------------------------------------------- */

static void save(lw_group *group, const lw_raft_effect *effect) {
    group->term = effect->term;
    group->vote = effect->vote;
    LW_MARK(group->env, "group.votes");
    if (LW_BUG(group->env, "group.vote_not_persisted")) {
        lw_raft_saved(group->raft, effect->term, effect->vote);
        return;
    }
    group_append_state(group);
    group->save_position = group->position;
    groups_watch(group->groups, group, group->position);
}

/* ---- roles ---------------------------------------------------------------------------------- */

/* A core that comes to lead takes everybody for reachable. */
static void tell_links(lw_group *group) {
    const lw_raft_config *config = &group->raft->config;
    for (uint32_t index = 0; index < config->count; index++) {
        uint64_t node = config->members[index].node;
        if (node != group->groups->options.node && !groups_link_up(group->groups, node)) {
            lw_raft_unreachable(group->raft, node, lw_env_now(group->env));
        }
    }
}

/* Proposals that are under way may come to something or not: nobody here can know. */
static void follow(lw_group *group, const lw_raft_effect *effect) {
    bool led = group->leading;
    group->leading = group->leads = false;
    group->options.followed(group->options.argument, effect->term, effect->leader);
    if (led) {
        LW_MARK(group->env, "group.leadership_lost");
        group_proposals_end(group, LW_UNAVAILABLE);
        lw_queue_wake_all(&group->reading);
    }
}

static void lead(lw_group *group) {
    lw_raft_write write;
    if (lw_raft_propose(group->raft, 1, NULL, lw_env_now(group->env), &write) != LW_OK) {
        return; /* it leads no more; the next effect says so */
    }
    LW_ASSERT(write.first == group->last + 1 && write.term == group->term);
    LW_MARK(group->env, "group.leads");
    group->held = false;
    group->leading = true;
    group->leads = false;
    group->readable = 0;
    tell_links(group);
    group_begin_term(group, write.term);
}

static void change_role(lw_group *group, const lw_raft_effect *effect) {
    group->leader = effect->leader;
    if (group->leading || effect->role != LW_RAFT_LEADER) {
        follow(group, effect);
    }
    if (effect->role == LW_RAFT_LEADER) {
        lead(group);
    }
}

/* ---- members -------------------------------------------------------------------------------- */

/* The members are others since an entry was appended or cut off. */
static void see_members(lw_group *group) {
    const lw_raft *raft = group->raft;
    if (group->members_index == raft->config_index) {
        return;
    }
    group->members_index = raft->config_index;
    if (group->leading) {
        tell_links(group);
    }
    lw_group_members members = group_members_of(&raft->config);
    group->options.changed(group->options.argument, &members);
}

bool lw_group_may_change(const lw_group *group) {
    if (lw_group_leads(group) == 0 || group->applied < group->begun_index) {
        return false;
    }
    const lw_raft *raft = group->raft;
    return raft == NULL ||
           (raft->transfer_to == 0 && raft->config_index == raft->committed_config_index);
}

lw_status lw_group_transfer(lw_group *group, uint64_t node) {
    bool stuck = group->stuck && group->leading; /* it leads, and cannot serve */
    if ((lw_group_leads(group) == 0 && !stuck) || group->raft == NULL) {
        return lw_fail(LW_UNAVAILABLE, "this node does not lead shard %llu, or nobody else can",
                       (unsigned long long)group->id);
    }
    LW_TRY(lw_raft_transfer(group->raft, node, lw_env_now(group->env)));
    groups_dirty(group->groups, group);
    return LW_OK;
}

bool lw_group_handing_over(const lw_group *group) {
    return group->raft != NULL && (!group->leading || group->raft->transfer_to != 0);
}

void lw_group_campaign(lw_group *group) {
    if (group->raft != NULL && !group->dead && !group->halted) {
        lw_raft_campaign(group->raft, lw_env_now(group->env));
        groups_dirty(group->groups, group);
    }
}

void lw_group_wake(lw_group *group) {
    if (group->raft != NULL && !group->dead && !group->halted) {
        lw_raft_wake(group->raft, lw_env_now(group->env));
        groups_dirty(group->groups, group);
    }
}

static void leave_joint(lw_group *group) {
    lw_raft_config left = lw_raft_config_left(&group->raft->config);
    lw_group_members members = group_members_of(&left);
    group->options.leaves_joint(group->options.argument, &members);
}

/* ---- effects -------------------------------------------------------------------------------- */

static void carry_out(lw_group *group, lw_raft_effect *effect) {
    switch (effect->kind) {
    case LW_RAFT_SAVE:
        save(group, effect);
        break;
    case LW_RAFT_SEND:
        group_send(group, &effect->message);
        break;
    case LW_RAFT_COMMITTED:
        if (effect->index > group->committed) {
            group->committed = effect->index;
        }
        group_apply(group);
        break;
    case LW_RAFT_ROLE:
        change_role(group, effect);
        break;
    case LW_RAFT_READABLE:
        group->readable = effect->round;
        lw_queue_wake_all(&group->reading);
        break;
    case LW_RAFT_SNAPSHOT:
        LW_MARK(group->env, "group.snapshot_wanted");
        group->options.wants_snapshot(group->options.argument, effect->node);
        break;
    case LW_RAFT_LEAVE_JOINT:
        leave_joint(group);
        break;
    case LW_RAFT_REMOVED:
        if (effect->index > group->raft->config_index) {
            group->options.removed(group->options.argument, effect->index);
        }
        break;
    }
}

void group_drain(lw_group *group) {
    lw_raft_effect effect;
    LW_ASSERT(group->raft != NULL);
    group_slots_trim(group);
    while (!group->dead && !group->halted && lw_raft_next(group->raft, &effect)) {
        carry_out(group, &effect);
    }
    if (group->dead || group->halted) {
        return;
    }
    see_members(group);
    group_slots_trim(group);
    group_release(group);
    groups_alarm(group->groups, group, lw_raft_deadline(group->raft));
}

/* ---- reading -------------------------------------------------------------------------------- */

static lw_status leads_not(const lw_group *group) {
    return lw_fail(LW_UNAVAILABLE, "this node does not lead shard %llu",
                   (unsigned long long)group->id);
}

/* Until what is committed up to `index` is applied, and the round is confirmed. */
LW_YIELDS static lw_status await_readable(lw_group *group, uint64_t term, lw_raft_ticket ticket,
                                          uint64_t deadline_ns) {
    while (lw_group_leads(group) == term &&
           (group->readable < ticket.round || group->applied < ticket.index)) {
        if (!lw_env_wait(group->env, &group->reading, deadline_ns)) {
            return lw_fail(LW_TIMEOUT, "waited too long to hear that this node still leads");
        }
    }
    return lw_group_leads(group) == term ? LW_OK : leads_not(group);
}

lw_status lw_group_read(lw_group *group, uint64_t deadline_ns, uint64_t *lease) {
    *lease = 0;
    uint64_t term = lw_group_leads(group);
    if (term == 0) {
        return leads_not(group);
    }
    if (group->raft == NULL) {
        return LW_OK;
    }
    lw_raft_ticket ticket = {.round = 0};
    if (!LW_RARE(group->env, "group.trusts_no_lease") &&
        lw_raft_lease(group->raft, lw_env_now(group->env), &ticket.index)) {
        *lease = term;
    } else {
        LW_MARK(group->env, "group.read_by_round");
        LW_TRY(lw_raft_read(group->raft, lw_env_now(group->env), &ticket));
        groups_dirty(group->groups, group);
    }
    return await_readable(group, term, ticket, deadline_ns);
}

bool lw_group_lease_held(const lw_group *group, uint64_t lease) {
    uint64_t index;
    return lease == 0 ||
           (lw_group_leads(group) == lease &&
            (group->raft == NULL || lw_raft_lease(group->raft, lw_env_now(group->env), &index)));
}

/* ---- hearing -------------------------------------------------------------------------------- */

static bool most_answered(const lw_group *group, const lw_group_members *members, uint64_t round) {
    uint32_t voters = 0, answered = 0;
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_shard_replica *each = &members->replicas[index];
        if (each->role != LW_REPLICA_VOTER && each->role != LW_REPLICA_JOINING) {
            continue;
        }
        const lw_raft_peer *peer = lw_raft_peer_of(group->raft, each->node);
        bool self = each->node == group->groups->options.node;
        answered += self || (peer != NULL && peer->round >= round);
        voters++;
    }
    return answered > voters / 2;
}

lw_status lw_group_hear(lw_group *group, const lw_group_members *members, uint64_t deadline_ns) {
    uint64_t term = lw_group_leads(group);
    if (term == 0) {
        return leads_not(group);
    }
    if (group->raft == NULL) {
        return LW_OK;
    }
    lw_raft_ticket ticket;
    LW_TRY(lw_raft_read(group->raft, lw_env_now(group->env), &ticket));
    groups_dirty(group->groups, group);
    while (!most_answered(group, members, ticket.round)) {
        if (lw_env_now(group->env) >= deadline_ns) {
            LW_MARK(group->env, "group.voters_unheard");
            return lw_fail(LW_UNAVAILABLE, "too few of those who are to vote answer: ask again");
        }
        lw_env_sleep(group->env, HEAR_PAUSE_MS * NS_PER_MS);
        if (lw_group_leads(group) != term) {
            return leads_not(group);
        }
    }
    return LW_OK;
}
