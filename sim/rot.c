/* SPDX-License-Identifier: Apache-2.0 */
/* Bits that rot in what several nodes have stored: in tables, and in segments of the log that are
 * written to the end. All of it is to be gone in the end (sim/converge.c): found by who reads or by
 * the scrub, and replaced.
 *
 * What has just come with a snapshot is struck more often than its share: before anybody has read
 * it a bit rots there, or, where disks fail, one of the first reads does.
 *
 * Somebody has to be whole, of all shards. A node whose log has rotted may not start again, and is
 * replaced then (sim/keeper.c): so of logs one rots at a time. */
#include "node/group.h"
#include "node/shards.h"
#include "sim/trouble_private.h"
#include "storage/log_segment.h"

enum { LOG_PERCENT = 30, NEWCOMER_PERCENT = 25, NEWCOMER_READS = 6 };

/* ---- which file -------------------------------------------------------------------------------
 */

/* Bytes of a file in which a bit may rot. */
typedef struct extent {
    uint64_t from, size; /* 0: none of it counts */
} extent;

/* What surely is on the disk. */
static bool read_file(const lw_sim_member *node, const char *path, lw_buffer *contents) {
    lw_buffer_clear(contents);
    return lw_disk_contents(lw_host_disk(node->host), LW_DISK_DURABLE, path, contents);
}

static extent extent_of_table(const lw_sim_occasion *now, const lw_sim_member *node,
                              const char *path) {
    lw_buffer contents = lw_buffer_in(now->of->memory);
    extent all = {.size = read_file(node, path, &contents) ? contents.size : 0};
    lw_buffer_reset(&contents);
    return all;
}

/* Batches for which a later one vouches: damage to others is taken for a torn end. */
static extent extent_of_batches(const uint8_t *bytes, const lw_log_segment_header *segment,
                                uint64_t mark) {
    lw_log_batch_header batch;
    uint64_t offset = LW_LOG_BLOCK;
    while (offset < segment->size &&
           lw_log_batch_header_decode(bytes + offset, segment, offset, &batch) &&
           batch.sequence <= mark) {
        offset += batch.size;
    }
    return (extent){.from = LW_LOG_BLOCK, .size = offset - LW_LOG_BLOCK};
}

static bool read_header(const lw_sim_member *node, const char *path, lw_buffer *contents,
                        lw_log_segment_header *header) {
    uint32_t format;
    return read_file(node, path, contents) && contents->size >= LW_LOG_BLOCK &&
           lw_log_segment_header_decode(contents->data, header, &format) == LW_LOG_HEADER_VALID &&
           header->size <= contents->size;
}

/* What the first batch of the next segment says was durable by then. 0: there is none. */
static uint64_t mark_behind(const lw_sim_member *node, uint64_t number, lw_buffer *contents) {
    char path[LW_PATH_SIZE];
    lw_log_segment_header header;
    lw_log_batch_header first;
    (void)snprintf(path, sizeof(path), "data/log/%016llx.log", (unsigned long long)number + 1);
    bool there =
        read_header(node, path, contents, &header) && header.number == number + 1 &&
        header.size >= LW_LOG_BLOCK * 2 &&
        lw_log_batch_header_decode(contents->data + LW_LOG_BLOCK, &header, LW_LOG_BLOCK, &first);
    return there ? first.mark : 0;
}

/* A file of another name than its header's is to be a segment later, and holds nothing. */
static extent extent_of_segment(const lw_sim_occasion *now, const lw_sim_member *node,
                                const char *path) {
    lw_buffer contents = lw_buffer_in(now->of->memory);
    lw_log_segment_header header;
    extent vouched = {.size = 0};
    uint64_t number = lw_log_segment_number(strrchr(path, '/') + 1);
    uint64_t mark = number == 0 ? 0 : mark_behind(node, number, &contents);
    if (mark > 0 && read_header(node, path, &contents, &header) && header.number == number) {
        vouched = extent_of_batches(contents.data, &header, mark);
    }
    lw_buffer_reset(&contents);
    return vouched;
}

/* One of those below `folder`, or the one of the highest number; none: a path of no size. */
static void draw_file(lw_sim_occasion *now, const lw_sim_member *node, const char *folder,
                      bool newest, char path[LW_PATH_SIZE]) {
    lw_buffer paths = lw_buffer_in(now->of->memory);
    lw_disk_paths(lw_host_disk(node->host), LW_DISK_VOLATILE, &paths);
    uint64_t seen = 0;
    path[0] = 0;
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *one = (const char *)paths.data + at;
        if (strncmp(one, folder, strlen(folder)) == 0 &&
            (newest ? strcmp(one, path) > 0 : trouble_below(now, ++seen) == 0)) {
            (void)snprintf(path, LW_PATH_SIZE, "%s", one);
        }
    }
    lw_buffer_reset(&paths);
}

/* ---- rotting ----------------------------------------------------------------------------------
 */

/* Whether it rotted in this file before. Then it would be right again, and the file perhaps whole:
 * nobody would find anything in it, or replace it, while it counted as damaged to the end. */
static bool rotted_before(const lw_sim_trial *it, uint32_t place, const char *path, uint64_t bit) {
    for (uint32_t index = 0; index < it->rot_count; index++) {
        const lw_sim_rot *rot = &it->rots[index];
        if (rot->place == place && rot->bit == bit && strcmp(rot->path, path) == 0) {
            return true;
        }
    }
    return false;
}

typedef enum rot_kind { ROT_TABLE, ROT_NEWEST_TABLE, ROT_LOG } rot_kind;

static void rot_file(lw_sim_occasion *now, const lw_sim_member *node, rot_kind kind) {
    bool log = kind == ROT_LOG;
    lw_sim_trial *it = now->of;
    uint32_t place = (uint32_t)(node - it->nodes);
    lw_sim_rot *rot = &it->rots[it->rot_count];
    extent within = {.size = 0};
    draw_file(now, node, log ? "data/log/" : "data/sst/", kind == ROT_NEWEST_TABLE, rot->path);
    if (rot->path[0] != 0) {
        within =
            log ? extent_of_segment(now, node, rot->path) : extent_of_table(now, node, rot->path);
    }
    uint64_t bit = 8 * within.from + trouble_below(now, 8 * within.size + 1);
    if (within.size == 0 || bit == 8 * (within.from + within.size) ||
        rotted_before(it, place, rot->path, bit) ||
        !lw_sim_strikes(now, LW_FAULT_ROT, "%s: %s", node->name, rot->path)) {
        return;
    }
    lw_disk_flip(lw_host_disk(node->host), rot->path, bit);
    rot->place = place;
    rot->bit = bit;
    it->rot_count++;
}

/* Tables of one node, or of two, or the log of one, as long as all shards can do without them, and
 * a third has nothing that has rotted. */
void lw_sim_rot_something(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ROTS);
    lw_sim_strike_after(&now, it->options->scenario->rot_every_ms, lw_sim_rot_something);
    bool both = lw_chance_percent(&now.chance, 40);
    uint32_t whole = (uint32_t)trouble_below(&now, it->node_count);
    uint32_t other = (whole + 1) % it->node_count;
    bool spared = !lw_sim_rots(it, whole) && lw_sim_watch_has_all(it, whole);
    bool log = lw_chance_percent(&now.chance, LOG_PERCENT) && !lw_sim_rots(it, other) &&
               !lw_sim_rots(it, (whole + 2) % it->node_count);
    for (uint32_t step = 1; step <= (both && !log ? 2 : 1) && spared; step++) {
        uint32_t place = (whole + step) % it->node_count;
        if (it->rot_count < LW_SIM_ROTS_MAX && lw_sim_watch_dispensable(it, place)) {
            rot_file(&now, &it->nodes[place], log ? ROT_LOG : ROT_TABLE);
        }
    }
}

/* Whether somebody else is whole. */
static bool other_is_whole(lw_sim_trial *it, uint32_t place) {
    for (uint32_t other = 0; other < it->node_count; other++) {
        if (other != place && !lw_sim_rots(it, other) && lw_sim_watch_has_all(it, other)) {
            return true;
        }
    }
    return false;
}

/* ---- newcomers ---------------------------------------------------------------------------------
 */

static void await_newcomer(lw_sim_member *node);

/* One of the first reads fails, where reads do. */
static void fail_read(lw_sim_occasion *now, const lw_sim_member *node) {
    lw_dice *dice = lw_disk_dice(lw_host_disk(node->host));
    if (dice->faults->rates[LW_FAULT_READ_ERROR] > 0) {
        lw_dice_arm(dice, LW_FAULT_READ_ERROR, 1 + (uint32_t)trouble_below(now, NEWCOMER_READS));
    }
}

static void strike_newcomer(void *argument) {
    lw_sim_member *node = argument;
    lw_sim_trial *it = node->of;
    uint32_t place = (uint32_t)(node - it->nodes);
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ROTS);
    bool struck = lw_chance_percent(&now.chance, NEWCOMER_PERCENT);
    if (struck && it->options->scenario->rot_every_ms == 0) {
        fail_read(&now, node);
    } else if (struck && it->rot_count < LW_SIM_ROTS_MAX && other_is_whole(it, place) &&
               lw_sim_watch_dispensable(it, place)) {
        rot_file(&now, node, ROT_NEWEST_TABLE);
    }
    await_newcomer(node);
}

/* A tree that has just come with a snapshot, before anybody has read it. */
static void await_newcomer(lw_sim_member *node) {
    lw_passage awaited = {.name = "replica.snapshot_installed",
                          .count = 1,
                          .function = strike_newcomer,
                          .argument = node};
    lw_host_await(node->host, &awaited);
}

void lw_sim_strike_newcomers(lw_sim_trial *it) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        await_newcomer(&it->nodes[place]);
    }
}

/* ---- too much ----------------------------------------------------------------------------------
 */

/* Whether a node lacks what only somebody has whose files have rotted. */
static bool needs_what_rots(const lw_sim_trial *it, uint64_t id) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_shards *shards = lw_sim_shards_of(&it->nodes[place]);
        for (uint32_t index = 0; shards != NULL && index < lw_shards_count(shards); index++) {
            lw_group_figures led;
            lw_replica_group_figures(lw_shards_at(shards, index), &led);
            for (uint32_t peer = 0; led.leading && peer < led.peer_count; peer++) {
                if (led.peers[peer].node == id && led.peers[peer].match < led.committed_index &&
                    lw_sim_rots(it, place)) {
                    return true;
                }
            }
        }
    }
    return false;
}

bool lw_sim_rots_everywhere(const lw_sim_trial *it) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        if (!lw_sim_rots(it, place) && !needs_what_rots(it, it->nodes[place].id)) {
            return false;
        }
    }
    return it->rot_count > 0;
}
