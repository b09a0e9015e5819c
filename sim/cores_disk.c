/* SPDX-License-Identifier: Apache-2.0 */
/* What a node's disk holds: hard state and entries, in the order in which they were written. A loss
 * of power keeps some first part of what waits. The log's start moves on as what is applied is cut
 * away behind it, and all at once by a snapshot, which another node sends. */
#include "sim/cores.h"

#include <inttypes.h>

enum {
    SYNC_MIN_NS = 50000,
    STALL_TIMEOUTS = 3, /* that one write may take */
    SEND_MS = 30,       /* a snapshot is on its way at most */
};

/* ---- writes ---------------------------------------------------------------------------------- */

static void begin_sync(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    if (node->write_count == 0 || node->disk_busy) {
        return;
    }
    uint64_t delay = lw_cores_between(world, SYNC_MIN_NS, world->habits.disk_max);
    if (!world->calm && lw_cores_percent(world, world->habits.stall_percent)) {
        world->counts[LW_CORES_STALLED]++;
        delay = lw_cores_between(world, 1, STALL_TIMEOUTS * world->habits.timeout);
    }
    if (world->now + delay < node->stalled_until) {
        delay += node->stalled_until - world->now;
    }
    if (lw_cores_schedule(world, LW_CORES_DISK_DONE, id, delay) != NULL) {
        node->disk_busy = true;
    }
}

static lw_cores_write *add_write(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    if (node->write_count == LW_CORES_WRITES_MAX) {
        lw_cores_fail(world, "bounds", "node %" PRIu64 " writes without end", id);
        return NULL;
    }
    lw_cores_write *added = &node->writes[node->write_count++];
    *added = (lw_cores_write){0};
    return added;
}

void lw_cores_write_save(lw_cores *world, uint64_t id, uint64_t term, uint64_t vote) {
    lw_cores_write *one = add_write(world, id);
    if (one != NULL) {
        one->save = true;
        one->term = term;
        one->vote = vote;
        begin_sync(world, id);
    }
}

void lw_cores_write_entries(lw_cores *world, uint64_t id, const lw_raft_write *write) {
    const lw_cores_node *node = &world->nodes[id];
    for (uint32_t done = 0; done < write->count;) {
        lw_cores_write *one = add_write(world, id);
        if (one == NULL) {
            return;
        }
        one->first = write->first + done;
        one->cuts = write->cuts;
        while (done < write->count && one->count < LW_CORES_BATCH_MAX) {
            one->entries[one->count++] = node->log[write->first + done++];
        }
    }
    begin_sync(world, id);
}

/* The first `count` entries of a write reach the platter: all, or what a crash left of it. */
static void store(lw_cores_disk *disk, const lw_cores_write *one, uint32_t count) {
    if (one->save) {
        disk->term = one->term;
        disk->vote = one->vote;
        return;
    }
    for (uint32_t place = 0; place < count; place++) {
        if (one->first + place > disk->start) {
            disk->entries[one->first + place] = one->entries[place];
            disk->last = one->first + place;
        }
    }
}

void lw_cores_disk_done(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    node->disk_busy = false;
    /* Several may become durable at once; the core hears of each. */
    uint64_t done = node->write_count == 0 ? 0 : lw_cores_between(world, 1, node->write_count);
    for (uint64_t place = 0; place < done; place++) {
        const lw_cores_write *one = &node->writes[place];
        store(&node->disk, one, one->count);
        if (one->save) {
            lw_raft_saved(&node->raft, one->term, one->vote);
        } else {
            lw_raft_persisted(&node->raft, one->first + one->count - 1, one->cuts);
        }
    }
    node->write_count -= (uint32_t)done;
    memmove(node->writes, node->writes + done, node->write_count * sizeof(node->writes[0]));
    begin_sync(world, id);
}

void lw_cores_disk_crash(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    /* In order, the last of it in part. */
    uint64_t kept = node->write_count == 0 ? 0 : lw_cores_between(world, 0, node->write_count);
    for (uint64_t place = 0; place < kept; place++) {
        store(&node->disk, &node->writes[place], node->writes[place].count);
    }
    if (kept < node->write_count && !node->writes[kept].save) {
        uint64_t part = lw_cores_between(world, 0, node->writes[kept].count);
        store(&node->disk, &node->writes[kept], (uint32_t)part);
    }
    node->write_count = 0;
}

/* ---- the log's start ------------------------------------------------------------------------- */

void lw_cores_compact(lw_cores *world, uint64_t id, uint64_t index) {
    lw_cores_node *node = &world->nodes[id];
    lw_raft_compacted(&node->raft, index);
    for (uint64_t place = node->disk.start + 1; place <= index; place++) {
        if (node->log[place].config != 0) {
            node->disk.start_config = node->log[place].config;
            node->disk.start_config_index = place;
        }
    }
    node->disk.entries[index] = node->log[index];
    node->disk.start = index;
    world->counts[LW_CORES_COMPACTED]++;
}

/* ---- snapshots ------------------------------------------------------------------------------- */

/* Of what is applied now. */
static void take_snapshot(const lw_cores_node *node, lw_cores_event *made) {
    made->index = node->applied;
    made->entries[0] = node->log[node->applied];
    made->config = node->disk.start_config;
    made->config_index = node->disk.start_config_index;
    for (uint64_t index = node->disk.start + 1; index <= node->applied; index++) {
        if (node->log[index].config != 0) {
            made->config = node->log[index].config;
            made->config_index = index;
        }
    }
}

void lw_cores_snapshot_begin(lw_cores *world, uint64_t id, uint64_t to) {
    lw_cores_node *node = &world->nodes[id];
    bool lost = world->blocked[id][to] || lw_cores_percent(world, world->habits.loss_percent);
    lw_cores_event_kind kind = lost ? LW_CORES_SNAPSHOT_ENDED : LW_CORES_SNAPSHOT_ARRIVES;
    uint64_t delay = lw_cores_between(world, LW_CORES_MS, SEND_MS * LW_CORES_MS);
    lw_cores_event *made = lw_cores_schedule(world, kind, lost ? id : to, delay);
    if (made == NULL) {
        lw_raft_snapshot_sent(&node->raft, to, 0, lw_cores_clock(world, node));
        return;
    }
    made->other = lost ? to : id;
    made->index = 0;
    if (!lost) {
        take_snapshot(node, made);
    }
}

void lw_cores_snapshot_answer(lw_cores *world, const lw_cores_event *event, uint64_t index) {
    uint64_t from = event->node;
    lw_cores_event *made =
        lw_cores_schedule(world, LW_CORES_SNAPSHOT_ENDED, event->other, LW_CORES_MS);
    if (made != NULL) {
        made->other = from;
        made->index = index;
    }
}

void lw_cores_snapshot_arrives(lw_cores *world, const lw_cores_event *event) {
    lw_cores_node *node = &world->nodes[event->node];
    bool wanted = !node->raft.installing &&
                  lw_raft_install_begin(&node->raft, event->index, event->entries[0].term);
    lw_cores_check_committed(world, event->node, false); /* a snapshot tells what is committed */
    if (!wanted) {
        lw_cores_snapshot_answer(world, event, 0);
        return;
    }
    uint64_t delay = lw_cores_between(world, LW_CORES_MS, world->habits.install_max);
    lw_cores_event *made = lw_cores_schedule(world, LW_CORES_SNAPSHOT_DURABLE, event->node, delay);
    if (made == NULL) {
        lw_raft_install_end(&node->raft, 0, 0, NULL, 0, lw_cores_clock(world, node));
        return;
    }
    made->other = event->other;
    made->index = event->index;
    made->entries[0] = event->entries[0];
    made->config = event->config;
    made->config_index = event->config_index;
}

/* One write replaces the log; what was written before it is durable, too. */
void lw_cores_snapshot_durable(lw_cores *world, const lw_cores_event *event) {
    lw_cores_node *node = &world->nodes[event->node];
    lw_cores_disk *disk = &node->disk;
    for (uint32_t place = 0; place < node->write_count; place++) {
        store(disk, &node->writes[place], node->writes[place].count);
        if (node->writes[place].save) {
            lw_raft_saved(&node->raft, node->writes[place].term, node->writes[place].vote);
        }
    }
    node->write_count = 0;
    disk->start = event->index;
    disk->last = event->index;
    disk->entries[event->index] = event->entries[0];
    disk->start_config = event->config;
    disk->start_config_index = event->config_index;
    node->log[event->index] = event->entries[0];
    node->config_at = event->config_index;
    node->applied = event->index;
    node->checked = event->index;
    lw_raft_install_end(&node->raft, event->index, event->entries[0].term,
                        &world->configs[event->config], event->config_index,
                        lw_cores_clock(world, node));
    world->counts[LW_CORES_INSTALLED]++;
    lw_cores_note_of(world, event->node, "has the snapshot of %" PRIu64, event->index, 0, 0, 0);
    lw_cores_snapshot_answer(world, event, event->index);
}
