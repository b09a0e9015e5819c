/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes meet as they start: a wrong clock, a failure of the disk, the end after few steps. */
#include "sim/trouble_private.h"

enum {
    HOUR_MS = 3600 * 1000,
    FAIL_START_PERCENT = 30,
    STORM_STEPS = 50,   /* within which the node goes down again, */
    RECOVERY_STEPS = 8, /* or before it is up at all */
};

/* A wrong wall clock, and one that is behind the one before. */
static void jump_wall(lw_sim_member *node, int64_t jump_ms) {
    lw_sim_trial *it = node->of;
    if (lw_sim_allows(it, LW_FAULT_WALL_WRONG) &&
        lw_world_strike(it->world, LW_FAULT_WALL_WRONG, node->name, node->boot + 1, "by %d s",
                        (int)(jump_ms / 1000))) {
        lw_host_jump_wall(node->host, jump_ms);
    }
}

/* A start is short, and does what is done at no other time: so now and then it meets a failure of
 * the disk, if the run has such. */
static void fail_start(lw_sim_member *node) {
    static const lw_fault kinds[] = {LW_FAULT_SYNC_ERROR, LW_FAULT_SYNC_ERROR, LW_FAULT_WRITE_ERROR,
                                     LW_FAULT_READ_ERROR};
    lw_chance chance =
        lw_chance_of(node->of->trouble_seed ^ lw_hash(1, lw_text(node->name)), node->boot);
    lw_dice *dice = lw_disk_dice(lw_host_disk(node->host));
    lw_fault fault = kinds[lw_chance_below(&chance, sizeof(kinds) / sizeof(kinds[0]))];
    uint64_t most = lw_chance_below(&chance, TROUBLE_FIRST_STEPS);
    uint32_t occasion = 1 + (uint32_t)lw_chance_below(&chance, most + 1);
    bool sticks = lw_chance_percent(&chance, 50);
    if (lw_chance_percent(&chance, FAIL_START_PERCENT) && dice->faults->rates[fault] > 0) {
        lw_dice_arm(dice, fault, occasion);
        bool may_stick = dice->faults->rates[LW_FAULT_SYNC_STICKY] > 0;
        lw_dice_arm(dice, LW_FAULT_SYNC_STICKY, sticks && may_stick ? 1 : 0);
    }
}

void lw_sim_trouble_start(lw_sim_member *node) {
    lw_sim_trial *it = node->of;
    lw_chance chance = lw_chance_of(it->trouble_seed ^ lw_hash(0, lw_text(node->name)), node->boot);
    uint64_t behind_ms = lw_chance_between(&chance, 10000, HOUR_MS);
    bool jumps = lw_chance_percent(&chance, 50);
    int64_t jump_ms = (int64_t)lw_chance_between(&chance, 0, 2 * HOUR_MS) - HOUR_MS;
    bool crashes = lw_chance_percent(&chance, node->storm ? 70 : 10);
    uint64_t bound = lw_chance_percent(&chance, 50) ? STORM_STEPS : RECOVERY_STEPS;
    uint64_t steps = lw_chance_below(&chance, bound);
    lw_crash moment = (lw_crash)lw_chance_below(&chance, 3);
    lw_sim_storm_start(node, &chance);
    if (!it->troubled) {
        return;
    }
    if (node->behind) {
        node->behind = false;
        jump_wall(node, -(int64_t)behind_ms);
        return; /* it comes up, so that somebody is told the time */
    }
    fail_start(node);
    if (it->jumpy && jumps) {
        jump_wall(node, jump_ms);
    }
    if (crashes && !it->copies && lw_sim_allows(it, LW_FAULT_CRASH_AT_START) &&
        lw_world_strike(it->world, LW_FAULT_CRASH_AT_START, node->name, node->boot + 1,
                        "%s step %u of its start", trouble_moments[moment], (unsigned)steps)) {
        lw_host_crash_after(node->host, steps, moment);
    }
}
