/* SPDX-License-Identifier: Apache-2.0 */
/* One node loses power, amid a merge or at any time, and is away for long. Meanwhile the others
 * flush all they have and are started again, so that their logs are gone: it has all that it missed
 * by snapshots, of what shards have become since. */
#include "sim/bare.h"

#include "storage/store.h"

enum {
    FALLS_PERCENT = 70, /* of the followers that merge bring it about, while nobody is away */
    STEPS_MAX = 8,      /* until power is lost */
    AWAY_MS_MIN = 1500, /* that it is away, */
    AWAY_MS_MAX = 4000,
    LOOK_MS = 25,
    LEAVE_EVERY_MS = 2000,
    NEXT_MS = 300,  /* between the falls of two of the others, */
    FLUSH_MS = 100, /* which have so long to flush */
};

static void cut_off(lw_sim_bare *of, bool cut) {
    const lw_sim_trial *it = of->of;
    for (uint32_t place = 0; place < it->node_count; place++) {
        if (place != of->absent - 1) {
            lw_world_cut(it->world, it->nodes[of->absent - 1].host, it->nodes[place].host, cut);
        }
    }
}

/* Others mend the network for what they did to it. */
static void keep_away(void *argument) {
    lw_sim_trial *it = argument;
    lw_sim_bare *of = it->bare;
    bool away = it->troubled && lw_world_now(it->world) < of->absent_until_ns;
    cut_off(of, away);
    if (away) {
        lw_sim_after(it, LOOK_MS, keep_away);
    } else {
        of->absent = 0;
    }
}

LW_YIELDS static void flush_main(void *argument) {
    const bare_node *node = argument;
    for (uint32_t index = 0; node->shards != NULL && index < lw_shards_count(node->shards);
         index++) {
        (void)!lw_tree_flush(lw_replica_tree(lw_shards_at(node->shards, index)));
    }
}

void bare_flush(void *argument) {
    bare_node *node = argument;
    if (bare_up(node)) {
        (void)lw_env_start(node->env, "flush", flush_main, node);
    }
}

static void fall(void *argument) {
    const bare_node *node = argument;
    lw_sim_trial *it = node->of->of;
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ABSENCES);
    if (it->troubled && lw_host_running(node->member->host) &&
        lw_sim_strikes(&now, LW_FAULT_CRASH, "%s is killed", node->member->name)) {
        lw_sim_end_node(node->member, false);
    }
}

/* The others flush and fall, one after the other. */
static void renew_others(lw_sim_bare *of, uint64_t after_ms) {
    lw_world *world = of->of->world;
    uint64_t time_ns = lw_world_now(world) + after_ms * LW_SIM_NS_PER_MS;
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        if (place != of->absent - 1) {
            lw_world_at(world, time_ns, bare_flush, &of->nodes[place]);
            lw_world_at(world, time_ns + FLUSH_MS * LW_SIM_NS_PER_MS, fall, &of->nodes[place]);
            time_ns += NEXT_MS * LW_SIM_NS_PER_MS;
        }
    }
}

/* A node that does not lead a shard which takes in another one; NULL: none. */
static bare_node *who_follows(lw_sim_bare *of) {
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        bare_node *node = &of->nodes[place];
        for (uint32_t index = 0; bare_up(node) && index < lw_shards_count(node->shards); index++) {
            const lw_replica *replica = lw_shards_at(node->shards, index);
            lw_replica_merge what;
            if (!lw_replica_leads(replica) && lw_replica_absorbs(replica, &what)) {
                return node;
            }
        }
    }
    return NULL;
}

static void begin(lw_sim_bare *of, const bare_node *node, lw_sim_occasion *now) {
    lw_sim_trial *it = of->of;
    uint64_t away_ms = lw_chance_between(&now->chance, AWAY_MS_MIN, AWAY_MS_MAX);
    uint64_t steps = lw_chance_below(&now->chance, STEPS_MAX);
    lw_crash moment = (lw_crash)lw_chance_below(&now->chance, 3);
    if (!bare_up(node) || of->absent != 0 ||
        !lw_sim_strikes(now, LW_FAULT_CRASH, "%s loses power soon, and is away for %u ms",
                        node->member->name, (unsigned)away_ms)) {
        return;
    }
    of->absent = node->id;
    of->absent_until_ns = lw_world_now(it->world) + away_ms * LW_SIM_NS_PER_MS;
    lw_host_crash_after(node->member->host, steps, moment);
    keep_away(it);
    renew_others(of, away_ms / 2);
}

/* Amid a merge. */
static void look(void *argument) {
    lw_sim_bare *of = argument;
    const bare_node *node = who_follows(of);
    lw_sim_occasion now = lw_sim_next_occasion(of->of, LW_SIM_ABSENCES);
    if (of->of->troubled && node != NULL && lw_chance_percent(&now.chance, FALLS_PERCENT)) {
        begin(of, node, &now);
    }
}

/* Or at any time. */
static void leave(void *argument) {
    lw_sim_trial *it = argument;
    if (it->troubled) {
        lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_ABSENCES);
        lw_sim_strike_after(&now, LEAVE_EVERY_MS, leave);
        begin(it->bare, &it->bare->nodes[lw_sim_draw_node(&now) - it->nodes], &now);
    }
}

void bare_absence(lw_sim_bare *of) {
    if (of->merges && of->kind == BARE_STORM) {
        lw_sim_after(of->of, LEAVE_EVERY_MS, leave);
        lw_world_watch_mark(of->of->world, "replica.merge_followed", look, of);
    }
}
