/* SPDX-License-Identifier: Apache-2.0 */
/* Fault profiles and dice. */
#include "sim/fault.h"

static const struct fault_row {
    const char *mark;
    uint32_t rate;
} rows[] = {
#define FAULT_ROW(name, text, rate, occasion) {"fault." text, rate},
    LW_FAULT_LIST(FAULT_ROW)
#undef FAULT_ROW
};
_Static_assert(sizeof(rows) / sizeof(rows[0]) == LW_FAULT_COUNT, "one row a fault");

lw_faults lw_faults_usual(void) {
    lw_faults faults = {.rare_paths = true};
    for (size_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        faults.rates[fault] = rows[fault].rate;
    }
    return faults;
}

lw_faults lw_faults_swarm(const lw_faults *profile, uint64_t seed) {
    lw_chance chance = lw_chance_of(seed, lw_hash(0, lw_text("swarm")));
    lw_faults faults = {.rare_paths = profile->rare_paths && !lw_chance_percent(&chance, 25)};
    for (size_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        uint64_t rate = profile->rates[fault] * (uint64_t)lw_chance_between(&chance, 1, 32) / 8;
        if (lw_chance_percent(&chance, 50)) {
            faults.rates[fault] = rate < LW_FAULT_ALWAYS ? (uint32_t)rate : LW_FAULT_ALWAYS;
        }
    }
    return faults;
}

const char *lw_fault_mark(lw_fault fault) {
    LW_ASSERT(fault < LW_FAULT_COUNT);
    return rows[fault].mark;
}

void lw_faults_print(const lw_faults *faults, lw_buffer *out) {
    lw_buffer_print(out, "rare_paths=%d", faults->rare_paths);
    for (size_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        if (faults->rates[fault] > 0) {
            lw_buffer_print(out, " %s=%u", strchr(rows[fault].mark, '.') + 1, faults->rates[fault]);
        }
    }
}

bool lw_dice_hit(lw_dice *dice, lw_fault fault) {
    LW_ASSERT(fault < LW_FAULT_COUNT);
    bool hit = lw_chance_below(&dice->chance, LW_FAULT_ALWAYS) < dice->faults->rates[fault];
    if (dice->armed[fault] > 0) {
        dice->armed[fault]--;
        hit = hit || dice->armed[fault] == 0;
    }
    dice->hits[fault] += hit;
    return hit;
}
