/* SPDX-License-Identifier: Apache-2.0 */
/* A small world for the consensus core alone: up to seven nodes with clocks that drift, disks that
 * forget what they were not told to be done with, and a network that loses, doubles, delays and
 * reorders; all from one seed. tests/raft_world_check.h judges every step of it.
 *
 * The driver in here is what node/group.c is, without bytes: an entry is a term and a value. */
#ifndef LW_TESTS_RAFT_WORLD_H
#define LW_TESTS_RAFT_WORLD_H

#include "tests/raft_world_parts.h"

/* ---- driving one node ------------------------------------------------------------------------ */

static inline void settle(world *w, uint64_t id);

static inline lw_raft_options options_of(const world *w, uint64_t id) {
    const disk *d = &w->nodes[id].disk;
    lw_raft_options options = {.self = id,
                               .term = d->term,
                               .vote = d->vote,
                               .start_index = d->start,
                               .start_term = d->start_term,
                               .commit = d->start,
                               .config = w->configs[d->start_config],
                               .config_index = d->start_config_index,
                               .votes_from = w->nodes[id].tombstone,
                               .seed = lw_mix(w->seed ^ (id << 32) ^ w->nodes[id].life),
                               .election_timeout_ns = ELECTION,
                               .heartbeat_ns = HEARTBEAT,
                               .quiesce_after_ns = w->quiesce_after,
                               .drift_ppm = w->drift_ppm,
                               .entries_in_flight_max = 20,
                               .bytes_in_flight_max = 600,
                               .entries_per_append_max = BATCH_MAX};
#ifdef LW_SIMULATION
    options.bugs = w->bugs;
#endif
    return options;
}

static inline void node_start(world *w, uint64_t id) {
    node *n = &w->nodes[id];
    n->life++;
    n->up = true;
    n->leads = false;
    n->ticket.round = 0;
    n->write_count = 0;
    n->disk_busy = false;
    n->tick_at = UINT64_MAX;
    n->paused_until = 0;
    n->clock_base = between(w, 1, 1000) * MILLISECOND;
    n->applied = n->disk.start;
    n->checked = n->disk.start;
    memset(n->cut_off, 0, sizeof(n->cut_off));
    lw_raft_options options = options_of(w, id);
    lw_raft_init(&n->raft, &options);
    for (uint64_t index = n->disk.start + 1; index <= n->disk.last; index++) {
        const entry *e = &n->disk.entries[index];
        n->log[index] = *e;
        const lw_raft_config *config = e->config != 0 ? &w->configs[e->config] : NULL;
        if (lw_raft_replay(&n->raft, index, e->term, e->commit, config) != LW_OK) {
            world_fail(w, "node %d cannot read its log: %s", (int)id, lw_error_slot()->text);
            return;
        }
    }
    lw_raft_start(&n->raft, clock_of(w, n));
    SAY(w, "%d starts: term %d, log %d..%d, commit %d", (int)id, (int)n->raft.term,
        (int)n->raft.start_index, (int)n->raft.last_index, (int)n->raft.commit);
    settle(w, id);
}

static inline void node_crash(world *w, uint64_t id) {
    node *n = &w->nodes[id];
    SAY(w, "%d crashes", (int)id);
    /* Some of what waits may have reached the platter, in order, the last of it in part. */
    uint64_t kept = n->write_count == 0 ? 0 : between(w, 0, n->write_count);
    for (uint64_t place = 0; place < kept; place++) {
        disk_apply(&n->disk, &n->writes[place], n->writes[place].count);
    }
    if (kept < n->write_count && !n->writes[kept].save) {
        disk_apply(&n->disk, &n->writes[kept], (uint32_t)between(w, 0, n->writes[kept].count));
    }
    n->up = false;
    n->leads = false;
    n->life++;
}

/* Its disk is taken away: it was told that it is no member any more. */
static inline void node_wipe(world *w, uint64_t id, uint64_t index) {
    node *n = &w->nodes[id];
    SAY(w, "%d is removed", (int)id);
    w->wiped[id] = n->raft.term;
    memset(&n->disk, 0, sizeof(n->disk));
    n->tombstone = index;
    node_start(w, id);
}

static inline void propose(world *w, uint64_t id, uint32_t count, uint32_t config) {
    node *n = &w->nodes[id];
    lw_raft_write write;
    if (n->raft.last_index + count >= LOG_MAX) {
        return;
    }
    uint64_t commit = n->raft.commit;
    if (lw_raft_propose(&n->raft, count, config != 0 ? &w->configs[config] : NULL, clock_of(w, n),
                        &write) != LW_OK) {
        return;
    }
    for (uint32_t place = 0; place < count; place++) {
        n->log[write.first + place] =
            (entry){.term = write.term, .value = ++w->values, .commit = commit, .config = config};
    }
    if (config != 0) {
        w->changes++;
        SAY(w, "%d proposes configuration %d at %d", (int)id, (int)config, (int)write.first);
    }
    disk_write_entries(w, id, &write);
}

static inline uint32_t add_config(world *w, const lw_raft_config *config) {
    if (w->config_count + 1 >= CONFIG_MAX) {
        return 0;
    }
    w->configs[++w->config_count] = *config;
    return w->config_count;
}

static inline void send_effect(world *w, uint64_t id, const lw_raft_message *message) {
    node *n = &w->nodes[id];
    if (message->count == 0) {
        transmit(w, message, NULL);
        return;
    }
    event *made = schedule(w, LOADED, id, percent(w, 20) ? between(w, 0, 5 * MILLISECOND) : 0);
    if (made == NULL) {
        lw_raft_sent(&n->raft, message->to, message->term, 0, 0);
        return;
    }
    made->message = *message;
}

/* As a real driver: what was loaded may be less than was asked for, or nothing. */
static inline void loaded(world *w, event *e) {
    node *n = &w->nodes[e->node];
    lw_raft_message message = e->message;
    if (n->raft.role != LW_RAFT_LEADER || n->raft.term != message.term) {
        return;
    }
    if (percent(w, 5)) {
        message.count = (uint32_t)between(w, 0, message.count);
    }
    bool gone = message.index < n->disk.start;
    lw_raft_sent(&n->raft, message.to, message.term, gone ? 0 : message.count,
                 message.count * sizeof(entry));
    if (!gone && message.count > 0) {
        transmit(w, &message, &n->log[message.index + 1]);
    }
}

static inline void snapshot_begin(world *w, uint64_t id, uint64_t to) {
    node *n = &w->nodes[id];
    bool lost = w->blocked[id][to] || percent(w, w->loss_percent);
    event *made = schedule(w, lost ? SNAPSHOT_ENDED : SNAPSHOT_ARRIVES, lost ? id : to,
                           between(w, MILLISECOND, 30 * MILLISECOND));
    if (made == NULL) {
        lw_raft_snapshot_sent(&n->raft, to, 0, clock_of(w, n));
        return;
    }
    made->other = lost ? to : id;
    made->index = 0;
    if (lost) {
        return;
    }
    made->index = n->applied;
    bool known = lw_raft_term_at(&n->raft, n->applied, &made->term);
    LW_ASSERT(known);
    made->config = n->disk.start_config;
    made->config_index = n->disk.start_config_index;
    for (uint64_t index = n->disk.start + 1; index <= n->applied; index++) {
        if (n->log[index].config != 0) {
            made->config = n->log[index].config;
            made->config_index = index;
        }
    }
}

static inline void snapshot_answer(world *w, const event *e, uint64_t index) {
    event *made = schedule(w, SNAPSHOT_ENDED, e->other, MILLISECOND);
    if (made != NULL) {
        made->other = e->node;
        made->index = index;
    }
}

static inline void snapshot_arrives(world *w, event *e) {
    node *n = &w->nodes[e->node];
    event saved = *e;
    if (n->raft.installing || !lw_raft_install_begin(&n->raft, e->index, e->term)) {
        snapshot_answer(w, &saved, 0);
        return;
    }
    event *made = schedule(w, SNAPSHOT_DURABLE, e->node, between(w, MILLISECOND, 20 * MILLISECOND));
    if (made == NULL) {
        lw_raft_install_end(&n->raft, 0, 0, NULL, 0, clock_of(w, n));
        return;
    }
    made->other = saved.other;
    made->index = saved.index;
    made->term = saved.term;
    made->config = saved.config;
    made->config_index = saved.config_index;
}

static inline void snapshot_durable(world *w, event *e) {
    node *n = &w->nodes[e->node];
    for (uint32_t place = 0; place < n->write_count; place++) {
        disk_apply(&n->disk, &n->writes[place], n->writes[place].count);
        if (n->writes[place].save) {
            lw_raft_saved(&n->raft, n->writes[place].term, n->writes[place].vote);
        }
    }
    n->write_count = 0;
    n->disk.start = e->index;
    n->disk.start_term = e->term;
    n->disk.last = e->index;
    n->disk.start_config = e->config;
    n->disk.start_config_index = e->config_index;
    n->applied = e->index;
    n->checked = e->index;
    lw_raft_install_end(&n->raft, e->index, e->term, &w->configs[e->config], e->config_index,
                        clock_of(w, n));
    w->snapshots++;
    SAY(w, "%d has the snapshot of %d", (int)e->node, (int)e->index);
    snapshot_answer(w, e, e->index);
}

static inline void compact(world *w, uint64_t id, uint64_t index) {
    node *n = &w->nodes[id];
    lw_raft_compacted(&n->raft, index);
    for (uint64_t place = n->disk.start + 1; place <= index; place++) {
        if (n->log[place].config != 0) {
            n->disk.start_config = n->log[place].config;
            n->disk.start_config_index = place;
        }
    }
    n->disk.start_term = n->log[index].term;
    n->disk.start = index;
}

static inline void apply(world *w, uint64_t id, uint64_t index) {
    node *n = &w->nodes[id];
    check_applied(w, id, index);
    n->applied = index;
    lw_raft_applied(&n->raft, index, 0, 0);
    if (!w->silence && n->disk.start + 10 < index && percent(w, 3)) {
        compact(w, id, between(w, n->disk.start + 1, index));
    }
}

static inline void role_changed(world *w, uint64_t id, const lw_raft_effect *effect) {
    node *n = &w->nodes[id];
    SAY(w, "%d is %s of term %d, leader %d", (int)id,
        effect->role == LW_RAFT_LEADER     ? "leader"
        : effect->role == LW_RAFT_FOLLOWER ? "follower"
                                           : "candidate",
        (int)effect->term, (int)effect->leader);
    n->ticket.round = 0;
    n->leads = effect->role == LW_RAFT_LEADER;
    if (!n->leads) {
        return;
    }
    w->elections++;
    check_leader(w, id);
    propose(w, id, 1, 0);
    for (uint64_t other = 1; other <= NODE_COUNT; other++) {
        if (n->cut_off[other]) {
            lw_raft_unreachable(&n->raft, other, clock_of(w, n));
        }
    }
}

/* False: the node begins anew, its effects are void. */
static inline bool carry_out(world *w, uint64_t id, const lw_raft_effect *effect) {
    node *n = &w->nodes[id];
    switch (effect->kind) {
    case LW_RAFT_SAVE: {
        disk_write *one = disk_add(w, id);
        if (one != NULL) {
            one->save = true;
            one->term = effect->term;
            one->vote = effect->vote;
            disk_start(w, id);
        }
        break;
    }
    case LW_RAFT_SEND:
        send_effect(w, id, &effect->message);
        break;
    case LW_RAFT_COMMITTED:
        apply(w, id, effect->index);
        break;
    case LW_RAFT_ROLE:
        role_changed(w, id, effect);
        break;
    case LW_RAFT_READABLE:
        check_readable(w, id, effect->round);
        break;
    case LW_RAFT_SNAPSHOT:
        snapshot_begin(w, id, effect->node);
        break;
    case LW_RAFT_LEAVE_JOINT: {
        lw_raft_config left = lw_raft_config_left(&n->raft.config);
        propose(w, id, 1, add_config(w, &left));
        break;
    }
    case LW_RAFT_REMOVED:
        node_wipe(w, id, effect->index);
        return false;
    }
    return true;
}

/* Carries out what follows from an event, and sees to the next tick. */
static inline void settle(world *w, uint64_t id) {
    node *n = &w->nodes[id];
    lw_raft_effect effect;
    for (uint32_t count = 0; n->up && lw_raft_next(&n->raft, &effect); count++) {
        check_node(w, id);
        if (count > 5000) {
            world_fail(w, "node %d has effects without end", (int)id);
        }
        if (w->failure[0] != '\0' || !carry_out(w, id, &effect)) {
            return;
        }
    }
    check_node(w, id);
    uint64_t deadline = lw_raft_deadline(&n->raft);
    if (!n->up || deadline == LW_RAFT_NEVER) {
        return;
    }
    uint64_t now = clock_of(w, n);
    uint64_t wait = deadline > now ? deadline - now : 0;
    wait += wait / 20 + 1; /* whatever its clock's rate */
    if (w->now + wait < n->tick_at && schedule(w, TICK, id, wait) != NULL) {
        n->tick_at = w->now + wait;
    }
}

static inline void receive(world *w, event *e) {
    node *n = &w->nodes[e->node];
    if (w->through_codec) {
        translate(w, e);
    }
    lw_raft_config_entry configs[BATCH_MAX];
    uint32_t count = 0;
    for (uint32_t place = 0; place < e->message.count; place++) {
        if (e->entries[place].config != 0) {
            configs[count++] =
                (lw_raft_config_entry){.index = e->message.index + 1 + place,
                                       .config = w->configs[e->entries[place].config]};
        }
    }
    e->message.configs = configs;
    e->message.config_count = count;
    bool led = n->raft.role == LW_RAFT_LEADER;
    uint64_t term = n->raft.term;
    lw_raft_write write;
    lw_raft_receive(&n->raft, &e->message, clock_of(w, n), &write);
    if (write.count > 0) {
        if (led && n->raft.term == term) {
            world_fail(w, "leader %d lets its log be changed", (int)e->node);
        }
        if (write.first + write.count >= LOG_MAX) {
            world_fail(w, "the world's logs are too short");
            return;
        }
        memcpy(&n->log[write.first], &e->entries[write.first - e->message.index - 1],
               write.count * sizeof(entry));
        disk_write_entries(w, e->node, &write);
    }
}

static inline void disk_done(world *w, uint64_t id) {
    node *n = &w->nodes[id];
    n->disk_busy = false;
    /* Several may become durable at once; the core hears of each. */
    uint64_t done = n->write_count == 0 ? 0 : between(w, 1, n->write_count);
    for (uint64_t place = 0; place < done; place++) {
        const disk_write *one = &n->writes[place];
        disk_apply(&n->disk, one, one->count);
        if (one->save) {
            lw_raft_saved(&n->raft, one->term, one->vote);
        } else {
            lw_raft_persisted(&n->raft, one->first + one->count - 1, one->cuts);
        }
    }
    n->write_count -= (uint32_t)done;
    memmove(n->writes, n->writes + done, n->write_count * sizeof(n->writes[0]));
    disk_start(w, id);
}

#endif
