/* SPDX-License-Identifier: Apache-2.0 */
/* What happens when, in the small world of tests/raft_world.h; its network, and its disks. */
#ifndef LW_TESTS_RAFT_WORLD_PARTS_H
#define LW_TESTS_RAFT_WORLD_PARTS_H

#include "tests/raft_world_check.h"

/* ---- events ---------------------------------------------------------------------------------- */

static inline bool sooner(const world *w, uint16_t a, uint16_t b) {
    const event *left = &w->events[a];
    const event *right = &w->events[b];
    return left->at < right->at || (left->at == right->at && left->order < right->order);
}

/* NULL: too many, this one is lost. The caller fills it before anything else happens. */
static inline event *schedule(world *w, event_kind kind, uint64_t node_id, uint64_t delay) {
    if (w->spare_count == 0) {
        return NULL;
    }
    uint16_t slot = w->spare[--w->spare_count];
    event *made = &w->events[slot];
    made->at = w->now + delay;
    made->order = w->order++;
    made->kind = kind;
    made->node = node_id;
    made->life = node_id == 0 ? 0 : w->nodes[node_id].life;
    uint32_t at = w->heap_count++;
    while (at > 0 && sooner(w, slot, w->heap[(at - 1) / 2])) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = slot;
    return made;
}

static inline uint16_t next_event(world *w) {
    uint16_t first = w->heap[0];
    uint16_t moved = w->heap[--w->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= w->heap_count) {
            break;
        }
        if (child + 1 < w->heap_count && sooner(w, w->heap[child + 1], w->heap[child])) {
            child++;
        }
        if (!sooner(w, w->heap[child], moved)) {
            break;
        }
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = moved;
    return first;
}

static inline uint64_t between(world *w, uint64_t lowest, uint64_t highest) {
    return lw_chance_between(&w->chance, lowest, highest);
}
static inline bool percent(world *w, uint32_t share) {
    return lw_chance_percent(&w->chance, share);
}

/* ---- network --------------------------------------------------------------------------------- */

static inline void put_on_wire(world *w, const lw_raft_message *message, const entry *entries) {
    uint64_t delay = between(w, MILLISECOND / 10, w->delay_max);
    if (percent(w, w->late_percent)) {
        delay = between(w, MILLISECOND, 3 * ELECTION);
    }
    if (message->kind == LW_RAFT_HAND_OVER && percent(w, w->late_percent)) {
        delay = between(w, ELECTION, 2 * ELECTION); /* once it is taken back */
    }
    event *made = schedule(w, DELIVER, message->to, delay);
    if (made != NULL) {
        made->message = *message;
        if (message->count > 0) {
            memcpy(made->entries, entries, message->count * sizeof(entry));
        }
    }
}

static inline void transmit(world *w, const lw_raft_message *message, const entry *entries) {
    check_sent(w, message);
    if (w->blocked[message->from][message->to] || percent(w, w->loss_percent)) {
        return;
    }
    put_on_wire(w, message, entries);
    if (percent(w, w->double_percent)) {
        put_on_wire(w, message, entries);
    }
}

/* Through bytes and back, as between real nodes. */
static inline void translate(world *w, event *e) {
    lw_bytes payloads[BATCH_MAX];
    for (uint32_t place = 0; place < e->message.count; place++) {
        payloads[place] = lw_view(&e->entries[place], sizeof(entry));
    }
    lw_buffer_clear(&w->bytes);
    lw_raft_message_encode(9, &e->message, payloads, &w->bytes);
    lw_raft_message read;
    lw_reader entries;
    uint64_t group = 0;
    lw_status status = lw_raft_message_decode(lw_buffer_view(&w->bytes), &group, &read, &entries);
    if (status != LW_OK || group != 9 || read.count != e->message.count) {
        world_fail(w, "a message does not survive its bytes");
        return;
    }
    read.from = e->message.from;
    read.to = e->message.to;
    e->message = read;
    for (uint32_t place = 0; place < read.count; place++) {
        memcpy(&e->entries[place], lw_raft_payload_next(&entries).data, sizeof(entry));
    }
}

/* ---- disks ----------------------------------------------------------------------------------- */

static inline void disk_start(world *w, uint64_t id) {
    node *n = &w->nodes[id];
    if (n->write_count > 0 && !n->disk_busy &&
        schedule(w, DISK_DONE, id, between(w, MILLISECOND / 20, w->disk_max)) != NULL) {
        n->disk_busy = true;
    }
}

static inline disk_write *disk_add(world *w, uint64_t id) {
    node *n = &w->nodes[id];
    if (n->write_count == WRITE_MAX) {
        world_fail(w, "node %d writes without end", (int)id);
        return NULL;
    }
    disk_write *added = &n->writes[n->write_count++];
    *added = (disk_write){0};
    return added;
}

/* The first `count` entries of a write reach the platter: all, or what a crash left of it. */
static inline void disk_apply(disk *d, const disk_write *one, uint32_t count) {
    if (one->save) {
        d->term = one->term;
        d->vote = one->vote;
        return;
    }
    for (uint32_t place = 0; place < count; place++) {
        if (one->first + place > d->start) {
            d->entries[one->first + place] = one->entries[place];
            d->last = one->first + place;
        }
    }
}

/* Writes entries that the log of the node holds already. */
static inline void disk_write_entries(world *w, uint64_t id, const lw_raft_write *write) {
    node *n = &w->nodes[id];
    for (uint32_t done = 0; done < write->count;) {
        disk_write *one = disk_add(w, id);
        if (one == NULL) {
            return;
        }
        one->first = write->first + done;
        one->cuts = write->cuts;
        while (done < write->count && one->count < BATCH_MAX) {
            one->entries[one->count++] = n->log[write->first + done++];
        }
    }
    disk_start(w, id);
}

#endif
