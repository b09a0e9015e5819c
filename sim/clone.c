/* SPDX-License-Identifier: Apache-2.0 */
/* A data folder that is copied and started twice: what a backup that is brought back, or the image
 * of a machine, comes to. The disk of a node that serves is copied as it is at some moment, and a
 * process is started from the copy on a machine of its own, under another address, while the node
 * goes on. Of two processes with one identity the one that was there stays (node/peers_judge.c):
 * the copy has to end and to say why, and its original must not.
 *
 * That holds where nodes hear each other: who was started meanwhile believes whom it meets first.
 * So only scenarios have it in which nothing else is wrong with nodes. */
#include "base/env.h"
#include "sim/bus.h"
#include "sim/run.h"

enum {
    AGE_MS_MAX = 3000, /* of the copy when it is started */
    RUNS_MS = 8000,    /* within which it has ended */
    ENDING_MS = 100,   /* that a process takes to end by itself */
    LINKED_MS = 2000,  /* after its start a node is linked to all others */
    LOOK_MS = 100,
};

struct lw_sim_clone {
    lw_sim_trial *of;
    lw_sim_member *original;
    lw_host *host;
    lw_env *env;
    lw_node *node;
    uint64_t incarnation; /* of the original when it was copied */
    bool ended;
    lw_error error; /* with which it did */
};

/* ---- copying -------------------------------------------------------------------------------- */

/* Makes the directories that a path names, and their names durable. */
static bool make_directories(lw_disk *disk, const char *path) {
    char directory[LW_PATH_SIZE] = "";
    const char *end = path;
    while ((end = strchr(end, '/')) != NULL) {
        char above[LW_PATH_SIZE];
        memcpy(above, directory, sizeof(above));
        (void)snprintf(directory, sizeof(directory), "%.*s", (int)(end - path), path);
        (void)lw_disk_mkdir(disk, directory); /* unless it is there */
        if (lw_disk_sync_directory(disk, above[0] == 0 ? "." : above) != 0) {
            return false;
        }
        end++;
    }
    return true;
}

static bool write_file(lw_disk *disk, const char *path, lw_bytes contents) {
    lw_disk_file *file = NULL;
    if (!make_directories(disk, path) ||
        lw_disk_open_file(disk, path, LW_OPEN_CREATE, &file) != 0) {
        return false;
    }
    bool written = contents.size == 0 || lw_disk_write(disk, file, 0, contents, true) == 0;
    lw_disk_close_file(disk, file, NULL);
    return written;
}

/* The files as processes there see them. */
static bool copy_disk(lw_memory *memory, lw_disk *from, lw_disk *to) {
    lw_buffer paths = lw_buffer_in(memory), contents = lw_buffer_in(memory);
    lw_disk_paths(from, LW_DISK_VOLATILE, &paths);
    bool copied = paths.size > 0;
    for (size_t at = 0; at < paths.size && copied;
         at += strlen((const char *)paths.data + at) + 1) {
        const char *path = (const char *)paths.data + at;
        lw_buffer_clear(&contents);
        copied = lw_disk_contents(from, LW_DISK_VOLATILE, path, &contents) &&
                 write_file(to, path, lw_buffer_view(&contents));
    }
    lw_buffer_reset(&contents);
    lw_buffer_reset(&paths);
    return copied;
}

/* ---- running -------------------------------------------------------------------------------- */

/* A process whose node has died ends. */
static void end_copy(void *run) {
    const lw_sim_trial *it = run;
    if (lw_host_running(it->clone->host)) {
        lw_host_kill(it->clone->host);
    }
}

static void copy_ended(void *argument, const lw_error *reason) {
    lw_sim_clone *self = argument;
    if (!self->ended) {
        self->ended = true;
        self->error = *reason;
        lw_sim_after(self->of, ENDING_MS, end_copy);
    }
}

LW_YIELDS static void copy_main(void *argument) {
    lw_sim_clone *self = argument;
    lw_node_options options = lw_sim_node_options(self->original, "copy:7871", copy_ended, self);
    if (lw_node_open(self->env, &options, &self->node) != LW_OK) {
        copy_ended(self, lw_error_slot());
    }
}

static void judge_copy(void *run) {
    lw_sim_trial *it = run;
    lw_sim_clone *self = it->clone;
    const lw_sim_member *original = self->original;
    bool told = self->error.status == LW_REFUSED && strstr(self->error.text, "cop") != NULL;
    if (!self->ended) {
        lw_sim_broken(it, "copies", "a copy of a node's folder still runs, beside the node");
    } else if (!told) {
        lw_sim_broken(it, "copies: the copy ended, but not for that", self->error.text);
    }
    bool goes_on = lw_sim_serving(original) != NULL && original->incarnation == self->incarnation;
    if (it->troubled && !goes_on) { /* behind that all nodes are started again */
        lw_sim_broken(it, "copies: the node whose folder was copied does not go on",
                      original->error.text);
    }
    end_copy(it);
}

static void start_copy(void *run) {
    lw_sim_trial *it = run;
    lw_sim_clone *self = it->clone;
    if (!it->troubled || lw_sim_serving(self->original) == NULL) {
        return;
    }
    self->env = lw_host_boot(self->host);
    lw_env_start(self->env, "node", copy_main, self);
    lw_sim_after(it, RUNS_MS, judge_copy);
}

/* Or somebody may meet the copy before it has met the node. */
static bool all_are_linked(const lw_sim_trial *it) {
    bool all = true;
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *each = &it->nodes[index];
        all = all && lw_sim_serving(each) != NULL &&
              lw_world_now(it->world) > each->boot_ns + LINKED_MS * LW_SIM_NS_PER_MS;
    }
    return all;
}

void lw_sim_copy_folder(void *run) {
    lw_sim_trial *it = run;
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_COPIES);
    lw_sim_member *node = lw_sim_draw_node(&now);
    uint64_t age_ms = lw_chance_below(&now.chance, AGE_MS_MAX);
    if (it->troubled && !all_are_linked(it)) {
        lw_sim_after(it, LOOK_MS, lw_sim_copy_folder);
        return;
    }
    if (!it->troubled || !lw_sim_strikes(&now, LW_FAULT_FOLDER_COPIED, "of %s, started %u ms later",
                                         node->name, (unsigned)age_ms)) {
        return;
    }
    lw_host *host = lw_world_host(it->world, "copy");
    if (!copy_disk(it->memory, lw_host_disk(node->host), lw_host_disk(host))) {
        return;
    }
    it->clone = lw_arena_allocate(&it->storm_memory, sizeof(*it->clone));
    *it->clone =
        (lw_sim_clone){.of = it, .original = node, .host = host, .incarnation = node->incarnation};
    lw_sim_after(it, age_ms, start_copy);
}
