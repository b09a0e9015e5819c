/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes lose power at bad moments: with two trees of a key; while their log has a split that their
 * tree has not; as they flush, and once more as soon as they are back. */
#include "sim/bare.h"

#include "storage/store.h"
#include "txn/record.h"

enum {
    SPLIT_PERCENT = 50,
    SPLIT_MS_MAX = 20, /* others carry a split out within a tenth of a second */
    FLUSH_EVERY_MS = 1200,
    STEPS_MAX = 40,    /* of a flush, at which power is lost */
    LOOK_MS = 20,      /* until it is looked whether who fell is back, */
    BACK_PERCENT = 20, /* and has been long enough */
};

/* ---- who takes in before it has let go ---------------------------------------------------------
 */

/* Whether the trees of two shards may hold a key: one of them is to go. */
static bool holds_twice(const bare_node *node) {
    for (uint32_t key = 0; bare_up(node) && key < BARE_KEYS; key++) {
        lw_buffer record = lw_buffer_in(node->of->memory);
        lw_record_meta_key(bare_key(key), "shard", &record);
        uint32_t count = 0;
        for (lw_tree *tree = lw_store_next_tree(node->store, NULL); tree != NULL;
             tree = lw_store_next_tree(node->store, tree)) {
            count += lw_tree_may_hold(tree, lw_buffer_view(&record));
        }
        lw_buffer_reset(&record);
        if (count > 1) {
            return true;
        }
    }
    return false;
}

/* It loses power at once: what goes must not be there when it starts. */
static void look_at_trees(void *argument) {
    lw_sim_bare *of = argument;
    lw_sim_trial *it = of->of;
    for (uint32_t place = 0; it->troubled && place < it->node_count; place++) {
        if (holds_twice(&of->nodes[place])) {
            lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ABSENCES);
            if (lw_chance_percent(&now.chance, 80) &&
                lw_sim_strikes(&now, LW_FAULT_CRASH, "%s loses power, with two trees of a key",
                               it->nodes[place].name)) {
                lw_sim_end_node(&it->nodes[place], true);
            }
        }
    }
}

/* ---- who falls before it has split -------------------------------------------------------------
 */

/* Its log has that a shard splits, and what came behind; its tree does not. */
static void fall_amid_a_split(void *argument) {
    bare_node *node = argument;
    lw_sim_trial *it = node->of->of;
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ABSENCES);
    if (it->troubled && bare_up(node) &&
        lw_sim_strikes(&now, LW_FAULT_CRASH, "%s loses power amid a split", node->member->name)) {
        lw_sim_end_node(node->member, true);
    }
}

/* Some node: as likely as not one of those that split. */
static void look_at_splits(void *argument) {
    lw_sim_bare *of = argument;
    lw_sim_trial *it = of->of;
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ABSENCES);
    bare_node *node = &of->nodes[lw_sim_draw_node(&now) - it->nodes];
    uint64_t in_ms = lw_chance_below(&now.chance, SPLIT_MS_MAX);
    if (it->troubled && of->absent == 0 && lw_chance_percent(&now.chance, SPLIT_PERCENT)) {
        lw_world_at(it->world, lw_world_now(it->world) + in_ms * LW_SIM_NS_PER_MS,
                    fall_amid_a_split, node);
    }
}

/* ---- who falls as it flushes, and again --------------------------------------------------------
 */

static void fall_again(void *argument) {
    bare_node *node = argument;
    lw_sim_trial *it = node->of->of;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ABSENCES);
    bool now_or_later = lw_chance_percent(&now.chance, BACK_PERCENT);
    if (!bare_up(node) || !now_or_later) {
        lw_world_at(it->world, lw_world_now(it->world) + LOOK_MS * LW_SIM_NS_PER_MS, fall_again,
                    node);
    } else if (lw_sim_strikes(&now, LW_FAULT_CRASH, "%s loses power once more",
                              node->member->name)) {
        lw_sim_end_node(node->member, true);
    }
}

static void fall_flushing(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ABSENCES);
    lw_sim_strike_after(&now, FLUSH_EVERY_MS, fall_flushing);
    bare_node *node = &it->bare->nodes[lw_sim_draw_node(&now) - it->nodes];
    uint64_t steps = lw_chance_below(&now.chance, STEPS_MAX);
    lw_crash moment = (lw_crash)lw_chance_below(&now.chance, 3);
    if (bare_up(node) && it->bare->absent == 0 &&
        lw_sim_strikes(&now, LW_FAULT_CRASH, "%s loses power as it flushes", node->member->name)) {
        bare_flush(node);
        lw_host_crash_after(node->member->host, steps, moment);
        fall_again(node);
    }
}

void bare_falls(lw_sim_bare *of) {
    lw_world *world = of->of->world;
    if (of->kind != BARE_STORM) {
        return;
    }
    if (of->merges) {
        lw_world_watch_mark(world, "replica.snapshot_installed", look_at_trees, of);
    }
    if (of->dawdles) {
        lw_world_watch_mark(world, "replica.split_known", look_at_splits, of);
    }
    if (of->flushes) {
        lw_sim_after(of->of, FLUSH_EVERY_MS, fall_flushing);
    }
}
