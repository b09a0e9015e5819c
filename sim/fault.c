/* SPDX-License-Identifier: Apache-2.0 */
/* Fault profiles and dice. */
#include "sim/fault.h"

#include "sim/strike.h"

static const struct fault_row {
    const char *mark, *text;
    uint32_t rate;
} rows[] = {
#define FAULT_ROW(name, text, rate, occasion) {"fault." text, occasion, rate},
    LW_FAULT_LIST(FAULT_ROW)
#undef FAULT_ROW
#define TROUBLE_ROW(name, text, what) {"fault." text, what, 0},
        LW_TROUBLE_LIST(TROUBLE_ROW)
#undef TROUBLE_ROW
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

const char *lw_fault_name(lw_fault fault) {
    return lw_fault_mark(fault) + strlen("fault.");
}

const char *lw_fault_text(lw_fault fault) {
    LW_ASSERT(fault < LW_FAULT_COUNT);
    return rows[fault].text;
}

lw_fault lw_fault_find(lw_bytes name) {
    lw_fault found = 0;
    while (found < LW_FAULT_COUNT && !lw_equal(lw_text(lw_fault_name(found)), name)) {
        found++;
    }
    return found;
}

void lw_faults_print(const lw_faults *faults, lw_buffer *out) {
    lw_buffer_print(out, "rare_paths=%d", faults->rare_paths);
    for (size_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        if (faults->rates[fault] > 0) {
            lw_buffer_print(out, " %s=%u", lw_fault_name((lw_fault)fault), faults->rates[fault]);
        }
    }
}

bool lw_dice_hit(lw_dice *dice, lw_fault fault) {
    LW_ASSERT(fault < LW_FAULT_COUNT);
    uint64_t ordinal = ++dice->occasions[fault];
    if (!lw_dice_possible(dice, fault)) {
        return false;
    }
    dice->own = lw_chance_of(dice->seed, (uint64_t)fault << 56 ^ ordinal);
    bool hit = lw_chance_below(&dice->own, LW_FAULT_ALWAYS) < dice->faults->rates[fault];
    if (dice->armed[fault] > 0) {
        dice->armed[fault]--;
        hit = hit || dice->armed[fault] == 0;
    }
    if (dice->strikes != NULL && fault != LW_FAULT_SHORT_RECEIVE) {
        hit = lw_strikes_decide(dice->strikes, dice->place, fault, ordinal, hit);
    }
    dice->hits[fault] += hit;
    dice->struck += hit;
    return hit;
}
