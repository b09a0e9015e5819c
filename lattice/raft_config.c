/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations: who votes, what a quorum is, and how one configuration follows another. */
#include "lattice/raft_state.h"

static bool in_old(lw_raft_membership membership) {
    return membership == LW_RAFT_VOTER || membership == LW_RAFT_LEAVING;
}

static bool in_new(lw_raft_membership membership) {
    return membership == LW_RAFT_VOTER || membership == LW_RAFT_JOINING;
}

const lw_raft_member *lw_raft_config_find(const lw_raft_config *config, uint64_t node) {
    for (uint32_t place = 0; place < config->count; place++) {
        if (config->members[place].node == node) {
            return &config->members[place];
        }
    }
    return NULL;
}

bool lw_raft_stranger(const lw_raft *raft, uint64_t node) {
    return lw_raft_config_find(&raft->config, node) == NULL &&
           lw_raft_config_find(&raft->committed_config, node) == NULL;
}

bool lw_raft_config_joint(const lw_raft_config *config) {
    for (uint32_t place = 0; place < config->count; place++) {
        if (config->members[place].membership >= LW_RAFT_JOINING) {
            return true;
        }
    }
    return false;
}

lw_raft_config lw_raft_config_left(const lw_raft_config *config) {
    lw_raft_config left = {.count = 0};
    for (uint32_t place = 0; place < config->count; place++) {
        lw_raft_member member = config->members[place];
        if (member.membership == LW_RAFT_LEAVING) {
            continue;
        }
        if (member.membership == LW_RAFT_JOINING) {
            member.membership = LW_RAFT_VOTER;
        }
        left.members[left.count++] = member;
    }
    return left;
}

bool lw_raft_config_valid(const lw_raft_config *config) {
    if (config->count > LW_RAFT_MEMBERS_MAX) {
        return false;
    }
    uint64_t last = 0;
    bool has_old = false;
    bool has_new = false;
    for (uint32_t place = 0; place < config->count; place++) {
        const lw_raft_member *member = &config->members[place];
        if (member->node <= last || member->membership < LW_RAFT_VOTER ||
            member->membership > LW_RAFT_LEAVING) {
            return false;
        }
        last = member->node;
        has_old |= in_old(member->membership);
        has_new |= in_new(member->membership);
    }
    return has_old && has_new;
}

static bool same(const lw_raft_config *a, const lw_raft_config *b) {
    bool equal = a->count == b->count;
    for (uint32_t place = 0; equal && place < a->count; place++) {
        equal = a->members[place].node == b->members[place].node &&
                a->members[place].membership == b->members[place].membership;
    }
    return equal;
}

/* Out of one set of voters: who was one stays or leaves, who becomes one was a learner that has
 * what is committed (R5); learners come and go. */
static bool member_follows(const lw_raft *raft, const lw_raft_member *member) {
    const lw_raft_member *before = lw_raft_config_find(&raft->config, member->node);
    bool voted = before != NULL && before->membership == LW_RAFT_VOTER;
    switch (member->membership) {
    case LW_RAFT_VOTER:
    case LW_RAFT_LEAVING:
        return voted;
    case LW_RAFT_LEARNER:
        return !voted;
    case LW_RAFT_JOINING:
        return !voted && (lw_raft_caught_up(raft, member->node) ||
                          LW_RAFT_PLANTED(raft, LW_RAFT_BUG_JOINS_BEHIND));
    }
    return false;
}

bool lw_raft_config_follows(const lw_raft *raft, const lw_raft_config *config) {
    if (!lw_raft_config_valid(config)) {
        return false;
    }
    if (lw_raft_config_joint(&raft->config)) {
        lw_raft_config left = lw_raft_config_left(&raft->config);
        return same(config, &left);
    }
    for (uint32_t place = 0; place < config->count; place++) {
        if (!member_follows(raft, &config->members[place])) {
            return false;
        }
    }
    /* No voter may vanish without having been LEAVING. */
    for (uint32_t place = 0; place < raft->config.count; place++) {
        const lw_raft_member *member = &raft->config.members[place];
        if (member->membership == LW_RAFT_VOTER &&
            lw_raft_config_find(config, member->node) == NULL) {
            return false;
        }
    }
    return true;
}

static bool voter_of(const lw_raft *raft, const lw_raft_config *config) {
    const lw_raft_member *member = lw_raft_config_find(config, raft->options.self);
    return member != NULL && member->membership != LW_RAFT_LEARNER;
}

/* One whose removal is not committed yet still stands: it may be the only one to have the entry
 * that removes it, and who remains could not win against its log. */
bool lw_raft_votes(const lw_raft *raft) {
    return voter_of(raft, &raft->config) || voter_of(raft, &raft->committed_config);
}

bool lw_raft_electable(const lw_raft *raft) {
    return lw_raft_votes(raft) && !lw_raft_mute(raft) && !raft->installing &&
           lw_raft_log_room(raft);
}

bool lw_raft_alone(const lw_raft *raft) {
    for (uint32_t place = 0; place < raft->config.count; place++) {
        const lw_raft_member *member = &raft->config.members[place];
        if (member->node != raft->options.self && member->membership != LW_RAFT_LEARNER) {
            return false;
        }
    }
    return lw_raft_votes(raft);
}

static uint64_t majority(const lw_raft *raft, bool (*belongs)(lw_raft_membership),
                         uint64_t (*value)(const lw_raft *raft, const lw_raft_member *member)) {
    uint64_t sorted[LW_RAFT_MEMBERS_MAX] = {0}; /* falling */
    uint32_t count = 0;
    for (uint32_t place = 0; place < raft->config.count; place++) {
        const lw_raft_member *member = &raft->config.members[place];
        if (!belongs(member->membership) && !(LW_RAFT_PLANTED(raft, LW_RAFT_BUG_LEARNERS_COUNTED) &&
                                              member->membership == LW_RAFT_LEARNER)) {
            continue;
        }
        uint64_t inserted = value(raft, member);
        uint32_t at = count++;
        for (; at > 0 && sorted[at - 1] < inserted; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = inserted;
    }
    LW_ASSERT(count > 0);
    return sorted[count / 2];
}

uint64_t lw_raft_quorum(const lw_raft *raft,
                        uint64_t (*value)(const lw_raft *raft, const lw_raft_member *member)) {
    uint64_t of_new = majority(raft, in_new, value);
    if (LW_RAFT_PLANTED(raft, LW_RAFT_BUG_ONE_SET_COUNTED)) {
        return of_new;
    }
    uint64_t of_old = majority(raft, in_old, value);
    return of_old < of_new ? of_old : of_new;
}

/* ---- taking effect --------------------------------------------------------------------------- */

static void config_changed(lw_raft *raft) {
    if (raft->role == LW_RAFT_LEADER) {
        lw_raft_peers_set(raft);
    } else if (!lw_raft_votes(raft)) {
        raft->deadline = LW_RAFT_NEVER;
    } else if (raft->deadline == LW_RAFT_NEVER && !raft->quiescent) {
        lw_raft_arm_election(raft);
    }
}

bool lw_raft_config_take(lw_raft *raft, uint64_t index, const lw_raft_config *config) {
    if (lw_raft_config_in_flight(raft)) {
        return false;
    }
    raft->config = *config;
    raft->config_index = index;
    if (index <= raft->commit) {
        raft->committed_config = *config;
        raft->committed_config_index = index;
    }
    config_changed(raft);
    return true;
}

void lw_raft_config_undo(lw_raft *raft) {
    LW_ASSERT(lw_raft_config_in_flight(raft));
    raft->config = raft->committed_config;
    raft->config_index = raft->committed_config_index;
    config_changed(raft);
}

/* Who was a member and is none any more would wait for ever to hear so (R14). */
static void tell_gone(lw_raft *raft, const lw_raft_config *before) {
    for (uint32_t place = 0; place < before->count; place++) {
        uint64_t node = before->members[place].node;
        if (node != raft->options.self && lw_raft_config_find(&raft->config, node) == NULL) {
            lw_raft_answer(raft, &(lw_raft_reply){.kind = LW_RAFT_GONE,
                                                  .to = node,
                                                  .term = raft->term,
                                                  .index = raft->config_index});
        }
    }
}

void lw_raft_commit(lw_raft *raft, uint64_t index) {
    LW_ASSERT(index >= raft->commit);
    LW_ASSERT(index <= raft->last_index);
    raft->commit = index;
    if (!lw_raft_config_in_flight(raft) || raft->config_index > index) {
        return;
    }
    lw_raft_config before = raft->committed_config;
    raft->committed_config = raft->config;
    raft->committed_config_index = raft->config_index;
    if (raft->role != LW_RAFT_LEADER) {
        return;
    }
    tell_gone(raft, &before);
    if (!lw_raft_votes(raft)) {
        /* It led until its own removal was agreed. */
        lw_raft_follow(raft, raft->term, 0);
    }
}
