/* SPDX-License-Identifier: Apache-2.0 */
/* Messages come late, twice, in any order or never; who has a link hears now and then whether it is
 * whole. News that a link broke comes sooner than news that it is whole again. */
#include "sim/cores.h"

#include <inttypes.h>

enum { DELAY_MIN_NS = 100000, NEWS_MS = 15, CODEC_GROUP = 9 };

/* ---- messages -------------------------------------------------------------------------------- */

static uint64_t draw_delay(lw_cores *world, const lw_raft_message *message) {
    const lw_cores_habits *habits = &world->habits;
    bool handover = message->kind == LW_RAFT_HAND_OVER;
    if ((handover || message->kind == LW_RAFT_GONE) &&
        lw_cores_percent(world, habits->stale_percent)) {
        /* A transfer that was taken back by then; a removal of who is a member again. */
        return lw_cores_between(world, habits->timeout, (handover ? 2 : 8) * habits->timeout);
    }
    if (lw_cores_percent(world, habits->late_percent)) {
        world->counts[LW_CORES_LATE]++;
        return lw_cores_between(world, LW_CORES_MS, habits->late_max);
    }
    return lw_cores_between(world, DELAY_MIN_NS, habits->delay_max);
}

static void put_on_wire(lw_cores *world, const lw_raft_message *message,
                        const lw_cores_entry *entries) {
    uint64_t delay = draw_delay(world, message);
    lw_cores_event *made = lw_cores_schedule(world, LW_CORES_DELIVER, message->to, delay);
    if (made != NULL) {
        made->message = *message;
        if (message->count > 0) {
            memcpy(made->entries, entries, message->count * sizeof(*entries));
        }
    }
}

void lw_cores_transmit(lw_cores *world, const lw_raft_message *message,
                       const lw_cores_entry *entries) {
    lw_cores_check_sent(world, message);
    if (world->blocked[message->from][message->to] ||
        lw_cores_percent(world, world->habits.loss_percent)) {
        world->counts[LW_CORES_LOST]++;
        return;
    }
    put_on_wire(world, message, entries);
    if (lw_cores_percent(world, world->habits.double_percent)) {
        world->counts[LW_CORES_DOUBLED]++;
        put_on_wire(world, message, entries);
    }
}

void lw_cores_translate(lw_cores *world, lw_cores_event *event) {
    lw_bytes payloads[LW_CORES_BATCH_MAX];
    for (uint32_t place = 0; place < event->message.count; place++) {
        payloads[place] = lw_view(&event->entries[place], sizeof(lw_cores_entry));
    }
    lw_buffer_clear(&world->bytes);
    lw_raft_message_encode(CODEC_GROUP, &event->message, payloads, &world->bytes);
    lw_raft_message read;
    lw_reader entries;
    uint64_t group = 0;
    lw_status status =
        lw_raft_message_decode(lw_buffer_view(&world->bytes), &group, &read, &entries);
    if (status != LW_OK || group != CODEC_GROUP || read.count != event->message.count) {
        lw_cores_fail(world, "codec", "a message does not survive its bytes");
        return;
    }
    read.from = event->message.from;
    read.to = event->message.to;
    event->message = read;
    for (uint32_t place = 0; place < read.count; place++) {
        memcpy(&event->entries[place], lw_raft_payload_next(&entries).data, sizeof(lw_cores_entry));
    }
}

/* ---- links ----------------------------------------------------------------------------------- */

void lw_cores_part(lw_cores *world, uint64_t a, uint64_t b) {
    world->blocked[a][b] = true;
    world->blocked[b][a] = true;
}

void lw_cores_tell_link(lw_cores *world, uint64_t a, uint64_t b, bool down) {
    for (uint32_t side = 0; side < 2; side++) {
        uint64_t delay = lw_cores_between(world, 0, NEWS_MS * LW_CORES_MS);
        delay += down ? 0 : NEWS_MS * LW_CORES_MS;
        lw_cores_event *made = lw_cores_schedule(world, LW_CORES_LINK, side == 0 ? a : b, delay);
        if (made != NULL) {
            made->other = side == 0 ? b : a;
            made->flag = down;
        }
    }
}

void lw_cores_tell_links(lw_cores *world, uint64_t id, bool down) {
    for (uint64_t other = 1; other <= world->node_count; other++) {
        if (other != id) {
            lw_cores_tell_link(world, id, other, down);
        }
    }
}

void lw_cores_link_changed(lw_cores *world, const lw_cores_event *event) {
    lw_cores_node *node = &world->nodes[event->node];
    node->cut_off[event->other] = event->flag;
    uint64_t now = lw_cores_clock(world, node);
    if (event->flag) {
        lw_raft_unreachable(&node->raft, event->other, now);
    } else {
        lw_raft_reachable(&node->raft, event->other, now);
    }
}

void lw_cores_mend(lw_cores *world) {
    lw_cores_note_of(world, 0, "links are mended", 0, 0, 0, 0);
    memset(world->blocked, 0, sizeof(world->blocked));
    for (uint64_t a = 1; a <= world->node_count; a++) {
        for (uint64_t b = a + 1; b <= world->node_count; b++) {
            lw_cores_tell_link(world, a, b, false);
        }
    }
}
