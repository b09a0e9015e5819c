/* SPDX-License-Identifier: Apache-2.0 */
/* Disks are slow, full for a while, or lost for good; and bits rot in the log of one node. */
#include "sim/trouble_private.h"

enum {
    LOSE_LOOK_MS = 250,
    DECAY_COMMITS = 30, /* after which what had been written before is vouched for */
    DECAY_LOOK_MS = 50,
    ENGINE_ROOM_SHARE = 16, /* an engine of its own holds so much less than a node */
    PLENTY_BITS = 40,       /* of the bytes of a disk that has room */
};

void lw_sim_free_disks(void *argument) {
    lw_sim_trial *it = argument;
    uint64_t plenty = UINT64_C(1) << PLENTY_BITS;
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_disk_set_capacity(lw_host_disk(it->nodes[index].host), it->disks_tell ? plenty : 0);
    }
}

/* A disk has little room, until somebody frees some. */
void trouble_fill_disk(void *argument) {
    lw_sim_occasion now = lw_sim_next_occasion(argument, LW_SIM_FILLS);
    const lw_sim_member *node = lw_sim_draw_node(&now);
    uint64_t room_kb = lw_chance_between(&now.chance, 1, 6000);
    room_kb = now.of->engine != NULL ? 1 + room_kb / ENGINE_ROOM_SHARE : room_kb;
    uint64_t lasts_ms = lw_chance_between(&now.chance, 500, LW_SIM_SAFETY_MS / 2);
    if (lw_sim_strikes(&now, LW_FAULT_DISK_FULL, "%s has %u KB for %u ms", node->name,
                       (unsigned)room_kb, (unsigned)lasts_ms)) {
        lw_disk_set_capacity(lw_host_disk(node->host), room_kb * 1024);
        lw_sim_after(argument, lasts_ms, lw_sim_free_disks);
    }
}

void lw_sim_replace_disk(lw_sim_member *node) {
    lw_sim_end_node(node, true);
    lw_host_replace_disk(node->host);
    lw_sim_watch_forget(node->of, (uint32_t)(node - node->of->nodes));
    lw_sim_forget_rots(node->of, (uint32_t)(node - node->of->nodes));
    node->lost_id = node->id;
    node->id = 0;
    node->incarnation = 0;
    node->replaced = true;
    node->expelled = false;
    node->drained = false;
}

static bool anybody_is_expelled(const lw_sim_trial *it) {
    bool any = false;
    for (uint32_t index = 0; index < it->node_count; index++) {
        any = any || it->nodes[index].expelled;
    }
    return any;
}

/* A disk is lost for good, once all its shards can do without it. Who was there never comes back:
 * somebody new joins from that machine. */
void trouble_lose_disk(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_LOSSES);
    lw_sim_member *node = lw_sim_draw_node(&now);
    uint32_t place = (uint32_t)(node - it->nodes);
    if (node->id == 0 || node->out || node->leaving || anybody_is_expelled(it) ||
        !lw_sim_watch_dispensable(it, place) || lw_sim_watch_source(it, place)) {
        lw_sim_after(it, LOSE_LOOK_MS, trouble_lose_disk);
        return;
    }
    if (!lw_sim_strikes(&now, LW_FAULT_DISK_LOST, "%s", node->name)) {
        return;
    }
    lw_sim_replace_disk(node);
}

/* A file of the log that is in use or was; none: a path of no size. */
static void draw_log_file(lw_sim_occasion *now, char path[LW_PATH_SIZE]) {
    lw_sim_trial *it = now->of;
    lw_buffer paths = lw_buffer_in(it->memory);
    lw_disk_paths(lw_host_disk(it->nodes[0].host), LW_DISK_VOLATILE, &paths);
    uint64_t seen = 0;
    path[0] = 0;
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *one = (const char *)paths.data + at;
        if (strstr(one, "log/") != NULL && trouble_below(now, ++seen) == 0) {
            (void)snprintf(path, LW_PATH_SIZE, "%s", one);
        }
    }
    lw_buffer_reset(&paths);
}

/* Lets a bit rot that was written. Whether that is so far back that a later batch vouches for it
 * is known once enough has been acknowledged since: then power fails, and the log is read. */
static void flip_in_log(lw_sim_trial *it) {
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_DECAYS);
    lw_disk *disk = lw_host_disk(it->nodes[0].host);
    char path[LW_PATH_SIZE];
    draw_log_file(&now, path);
    lw_buffer contents = lw_buffer_in(it->memory);
    if (path[0] != 0 && lw_disk_contents(disk, LW_DISK_VOLATILE, path, &contents)) {
        size_t size = contents.size;
        while (size > 0 && contents.data[size - 1] == 0) {
            size--;
        }
        uint64_t bit = size > 0 ? trouble_below(&now, size * 8) : 0;
        if (size > 0 &&
            lw_sim_strikes(&now, LW_FAULT_DECAY, "bit %u of %.60s", (unsigned)bit, path)) {
            lw_disk_flip(disk, path, bit);
            it->decayed = it->workload.committed + DECAY_COMMITS;
        }
    }
    lw_buffer_reset(&contents);
}

void trouble_decay_log(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    if (it->nodes[0].state == LW_SIM_SERVING && it->decayed == 0) {
        flip_in_log(it);
    } else if (it->nodes[0].state == LW_SIM_SERVING && it->workload.committed >= it->decayed) {
        lw_sim_end_node(&it->nodes[0], true);
        it->decayed = 0;
    }
    lw_sim_after(it, DECAY_LOOK_MS, trouble_decay_log);
}

/* A machine whose disk is slow all the time. */
void trouble_slow_disk(lw_sim_occasion *now) {
    const lw_sim_member *node = lw_sim_draw_node(now);
    uint32_t factor = (uint32_t)lw_chance_between(&now->chance, 2, 30);
    if (lw_sim_strikes(now, LW_FAULT_DISK_SLOW, "%s, %u times", node->name, factor)) {
        lw_host_slow_disk(node->host, factor);
    }
}
