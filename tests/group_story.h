/* SPDX-License-Identifier: Apache-2.0 */
/* What happens in the world of tests/group_world.h: proposals, lives that begin and end, and what
 * is expected in the end. */
#ifndef LW_TESTS_GROUP_STORY_H
#define LW_TESTS_GROUP_STORY_H

#include "tests/group_world.h"

/* ---- proposing ------------------------------------------------------------------------------ */

typedef struct story_proposer {
    story_node *node;
    uint64_t value;
    lw_group_members members;
    bool changes, leaves;
} story_proposer;

static inline void story_acknowledge(story *on, uint64_t value) {
    if (on->acknowledged_count < STORY_VALUES) {
        on->acknowledged[on->acknowledged_count++] = value;
    }
}

static inline void story_propose_main(void *argument) {
    story_proposer *it = argument;
    story_node *node = it->node;
    story *on = node->on;
    lw_buffer entry = lw_buffer_in(node->env->memory);
    lw_proposal proposal = {.members = it->changes ? &it->members : NULL};
    if (it->changes) {
        lw_buffer_append_u8(&entry, 'm');
        lw_buffer_append(&entry, lw_view(&it->members, sizeof(it->members)));
    } else {
        lw_buffer_append_u8(&entry, 'v');
        lw_buffer_append_u64(&entry, it->value);
        while (entry.size < on->value_size) {
            lw_buffer_append_u8(&entry, (uint8_t)it->value);
        }
    }
    lw_group_propose(node->group, &entry, &proposal);
    lw_status status = it->leaves ? lw_group_wait_committed(node->group, &proposal)
                                  : lw_group_wait(node->group, &proposal);
    if (status == LW_OK && !it->changes) {
        story_acknowledge(on, it->value);
    }
    on->last = status;
    node->proposing--;
    lw_buffer_reset(&entry);
    story_flush_if_due(node);
}

/* Proposes a value at a node, whoever leads; false if nobody lives there. Who `leaves` does not
 * wait for more than that it is committed. */
static inline bool story_propose_as(story *on, uint32_t at, bool leaves) {
    story_node *node = &on->nodes[at];
    if (!node->open || !lw_host_running(node->host)) {
        return false;
    }
    story_proposer *it = lw_allocate_zero(on->memory, sizeof(*it));
    *it = (story_proposer){.node = node, .value = ++on->next_value, .leaves = leaves};
    node->proposing++;
    lw_env_start(node->env, "propose", story_propose_main, it);
    return true;
}

static inline bool story_propose(story *on, uint32_t at) {
    return story_propose_as(on, at, false);
}

static inline void story_change(story *on, uint32_t at, const lw_group_members *members) {
    story_node *node = &on->nodes[at];
    story_proposer *it = lw_allocate_zero(on->memory, sizeof(*it));
    *it = (story_proposer){.node = node, .members = *members, .changes = true};
    node->proposing++;
    lw_env_start(node->env, "change", story_propose_main, it);
}

static inline void story_leaves_joint(void *argument, const lw_group_members *members) {
    story_node *node = argument;
    story_change(node->on, (uint32_t)node->id - 1, members);
}

/* ---- lives ---------------------------------------------------------------------------------- */

static inline lw_status story_replay(void *argument, const lw_log_record *record) {
    story_node *node = argument;
    return lw_group_replay(node->group, record);
}

static inline bool story_begins(void *argument, uint64_t group, uint64_t index) {
    story_node *node = argument;
    (void)group;
    return node->flushed.index >= index;
}

static inline void story_open_group(story_node *node) {
    story *on = node->on;
    lw_memory *memory = node->env->memory;
    lw_groups_options shared = {
        .env = node->env,
        .node = node->id,
        .budget = on->memory_size == 0 ? NULL : lw_budget_make(memory, on->memory_size),
        .kept_size = on->kept_size,
        .behind_max = on->behind_max,
        .election_timeout_ns = 100 * STORY_MS,
        .send = story_send,
        .argument = node};
    node->groups = lw_groups_open(&shared);
    lw_group_options options = {.groups = node->groups,
                                .group = STORY_GROUP,
                                .members = node->state.members,
                                .joins = node->state.members.count == 0,
                                .index = node->state.index,
                                .apply = story_apply,
                                .led = story_led,
                                .followed = story_followed,
                                .changed = story_changed,
                                .leaves_joint = story_leaves_joint,
                                .removed = story_removed,
                                .room = story_room,
                                .wants_snapshot = story_wants_snapshot,
                                .diverged = story_diverged,
                                .died = story_died,
                                .argument = node};
    node->group = lw_group_open(&options);
}

static inline lw_status story_open_parts(story_node *node) {
    LW_TRY(story_read_state(node));
    story_open_group(node);
    lw_log_options options = {.segment_size = 64 * 1024, .begins = story_begins};
    LW_TRY(lw_log_open(node->env, "log", &options, story_replay, node, &node->log));
    LW_TRY(lw_group_replay_end(node->group));
    lw_groups_start(node->groups, node->log);
    lw_group_start(node->group);
    node->open = true;
    return lw_group_alone(node->group) ? lw_group_settle(node->group) : LW_OK;
}

static inline void story_open_main(void *argument) {
    story_node *node = argument;
    lw_status status = story_open_parts(node);
    if (status != LW_OK) {
        (void)snprintf(node->on->failure, sizeof(node->on->failure), "node %llu opens: %.200s",
                       (unsigned long long)node->id, lw_error_slot()->text);
    }
    story_tell_links(node->on);
}

static inline void story_boot(story *on, uint32_t at) {
    story_node *node = &on->nodes[at];
    node->open = node->flushing = node->died = false;
    node->led_term = 0;
    node->proposing = 0;
    node->group = NULL;
    node->life++;
    node->env = lw_host_boot(node->host);
    lw_env_start(node->env, "open", story_open_main, node);
}

static inline void story_crash(story *on, uint32_t at) {
    on->nodes[at].open = false;
    lw_host_crash(on->nodes[at].host);
    story_tell_links(on);
}

/* Boots those whom a planned crash took. */
static inline void story_revive(story *on) {
    for (uint32_t at = 0; at < on->node_count; at++) {
        if (!lw_host_running(on->nodes[at].host)) {
            on->nodes[at].open = false;
            story_tell_links(on);
            story_boot(on, at);
        }
    }
}

static inline story *story_open(uint64_t seed, uint32_t node_count, uint32_t voter_count,
                                const char *bug) {
    lw_faults faults = lw_faults_none();
    lw_memory *memory = lw_memory_open();
    story *on = lw_allocate_zero(memory, sizeof(*on));
    on->world = lw_world_open(seed, &faults);
    on->memory = memory;
    on->random = seed;
    on->node_count = node_count;
    on->delay_ms = 2;
    on->value_size = 16;
    on->next_value = 100;
    if (bug != NULL) {
        lw_world_plant(on->world, bug);
    }
    for (uint32_t at = 0; at < node_count; at++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%u", at + 1);
        on->nodes[at] = (story_node){.on = on, .id = at + 1, .joins = at >= voter_count};
        on->nodes[at].host = lw_world_host(on->world, name);
        if (at < voter_count) {
            on->first.replicas[on->first.count++] =
                (lw_shard_replica){.node = at + 1, .role = LW_REPLICA_VOTER};
        }
    }
    return on;
}

static inline void story_boot_all(story *on) {
    for (uint32_t at = 0; at < on->node_count; at++) {
        story_boot(on, at);
    }
}

static inline void story_close(story *on) {
    lw_world_close(on->world);
    lw_memory_close(on->memory);
}

/* ---- looking -------------------------------------------------------------------------------- */

/* Where the leader is; node_count if there is none that serves. */
static inline uint32_t story_leader(const story *on) {
    uint32_t found = on->node_count;
    uint64_t term = 0;
    for (uint32_t at = 0; at < on->node_count; at++) {
        const story_node *node = &on->nodes[at];
        uint64_t led = node->open && lw_host_running(node->host) ? lw_group_leads(node->group) : 0;
        if (led > term) {
            found = at;
            term = led;
        }
    }
    return found;
}

/* Lets time pass until somebody leads. */
static inline uint32_t story_await_leader(story *on) {
    for (int round = 0; round < 400 && story_leader(on) == on->node_count; round++) {
        story_pass(on, 10);
    }
    uint32_t leader = story_leader(on);
    story_expect(on, leader < on->node_count, "somebody comes to lead");
    return leader;
}

/* Proposes `count` values one after the other, at whoever leads. */
static inline void story_write(story *on, uint32_t count) {
    uint32_t until = on->acknowledged_count + count;
    for (int round = 0; round < 4000 && on->acknowledged_count < until; round++) {
        uint32_t leader = story_leader(on);
        if (leader < on->node_count && on->nodes[leader].proposing == 0) {
            (void)story_propose(on, leader);
        }
        story_pass(on, 1);
    }
    story_expect(on, on->acknowledged_count >= until, "values are written");
}

static inline bool story_has(const story_state *state, uint64_t value) {
    for (uint32_t place = 0; place < state->count; place++) {
        if (state->values[place] == value) {
            return true;
        }
    }
    return false;
}

/* Whether a node is a member, as its leader knows. */
static inline bool story_member(const story *on, uint32_t leader, uint32_t at) {
    const lw_group_members *members = &on->nodes[leader].state.members;
    bool found = false;
    for (uint32_t place = 0; place < members->count; place++) {
        found = found || members->replicas[place].node == on->nodes[at].id;
    }
    return found;
}

/* Whether all members have applied the same, and somebody leads. */
static inline bool story_settled(const story *on) {
    uint32_t leader = story_leader(on);
    for (uint32_t at = 0; at < on->node_count && leader < on->node_count; at++) {
        const story_node *node = &on->nodes[at];
        if (!story_member(on, leader, at)) {
            continue;
        }
        if (!node->open || !lw_host_running(node->host) ||
            node->state.index != lw_group_last_index(on->nodes[leader].group)) {
            return false;
        }
    }
    return leader < on->node_count;
}

/* Without trouble: everybody comes to the same state, in which all that was acknowledged is. */
static inline void story_heal(story *on) {
    on->loss_percent = 0;
    for (uint32_t at = 0; at < on->node_count; at++) {
        on->nodes[at].no_room = false;
        for (uint32_t to = 0; to < on->node_count; to++) {
            on->cut[at][to] = false;
        }
    }
    for (int round = 0; round < 500 && !story_settled(on) && on->failure[0] == 0; round++) {
        story_revive(on); /* also whom a crash takes that was planned before */
        story_tell_links(on);
        story_pass(on, 10);
    }
    story_expect(on, story_settled(on), "everybody comes to the same state");
    uint32_t leader = story_leader(on);
    for (uint32_t at = 0; at < on->node_count && leader < on->node_count; at++) {
        for (uint32_t place = 0; place < on->acknowledged_count && story_member(on, leader, at);
             place++) {
            story_expect(on, story_has(&on->nodes[at].state, on->acknowledged[place]),
                         "what was acknowledged is there");
        }
    }
}

static inline bool story_marked(story *on, const char *mark) {
    return lw_world_marked(on->world, mark) > 0;
}

#endif
