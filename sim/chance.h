/* SPDX-License-Identifier: Apache-2.0 */
/* Chance in the simulated world: streams of numbers that all descend from one 64-bit seed. Every
 * part draws from a stream of its own, so that one more draw in a disk leaves the network alone. */
#ifndef LW_SIM_CHANCE_H
#define LW_SIM_CHANCE_H

#include "base/hash.h"

typedef struct lw_chance {
    uint64_t state;
} lw_chance;

/* The stream that `seed` gives to `purpose`, any number that tells the streams of a seed apart. */
static inline lw_chance lw_chance_of(uint64_t seed, uint64_t purpose) {
    return (lw_chance){.state = lw_mix(seed ^ lw_mix(purpose))};
}
static inline uint64_t lw_chance_next(lw_chance *chance) {
    chance->state += 0x9e3779b97f4a7c15U;
    return lw_mix(chance->state);
}
/* Below `bound`, which is not 0. The bias of the remainder does not matter to a simulation. */
static inline uint64_t lw_chance_below(lw_chance *chance, uint64_t bound) {
    LW_ASSERT(bound != 0);
    return lw_chance_next(chance) % bound;
}
/* From `lowest` to `highest`, both possible. */
static inline uint64_t lw_chance_between(lw_chance *chance, uint64_t lowest, uint64_t highest) {
    LW_ASSERT(lowest <= highest && highest - lowest < UINT64_MAX);
    return lowest + lw_chance_below(chance, highest - lowest + 1);
}
static inline bool lw_chance_percent(lw_chance *chance, uint32_t percent) {
    return lw_chance_below(chance, 100) < percent;
}
static inline void lw_chance_fill(lw_chance *chance, void *buffer, size_t size) {
    uint8_t *to = buffer;
    while (size > 0) {
        uint64_t value = lw_chance_next(chance);
        size_t step = size < sizeof(value) ? size : sizeof(value);
        memcpy(to, &value, step);
        to += step;
        size -= step;
    }
}

#endif
