/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of trouble share: see sim/trouble.c. */
#ifndef LW_SIM_TROUBLE_PRIVATE_H
#define LW_SIM_TROUBLE_PRIVATE_H

#include "sim/run.h"

enum { TROUBLE_FIRST_STEPS = 9 };

/* As reports call the moments of a crash. */
extern const char *const trouble_moments[];

static inline uint64_t trouble_below(lw_sim_occasion *now, uint64_t bound) {
    return lw_chance_below(&now->chance, bound);
}
static inline bool trouble_percent(lw_sim_occasion *now, uint32_t chance) {
    return lw_chance_percent(&now->chance, chance);
}

/* Strikes while there is trouble, and comes again. */
void trouble_crash_something(void *run);
void trouble_pause_something(void *run);
void trouble_cut_something(void *run);
void trouble_decay_log(void *run);
/* Strikes once. */
void trouble_fill_disk(void *run);
void trouble_lose_disk(void *run);
/* A machine whose disk is slow all the time. */
void trouble_slow_disk(lw_sim_occasion *now);

#endif
