/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/oracle.h"

#include "txn/request.h"

enum { NS_PER_MS = 1000 * 1000 };

_Static_assert(LW_ORACLE_WINDOW_MS <= LW_ORACLE_LEAD_MAX_MS, "a window fits the lead");
_Static_assert(LW_TIMESTAMP_COUNT_MAX < LW_ORACLE_WINDOW_MS << LW_TIMESTAMP_COUNTER_BITS,
               "the largest request fits a window");

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Brings the oracle's time up to the clocks. */
static void advance(lw_oracle *oracle, lw_clock_reading clock) {
    uint64_t passed_ns = clock.now_ns > oracle->read_ns ? clock.now_ns - oracle->read_ns : 0;
    uint64_t passed_ms = passed_ns / NS_PER_MS;
    uint64_t expected_ms = oracle->physical_ms + passed_ms;
    uint64_t wall_ms = smaller(clock.wall_ms, LW_ORACLE_PHYSICAL_MAX_MS);
    if (wall_ms >= expected_ms) {
        uint64_t ahead_ms = wall_ms - expected_ms;
        uint64_t step_ms = ahead_ms <= LW_ORACLE_STEP_MS ? ahead_ms : smaller(ahead_ms, passed_ms);
        oracle->physical_ms = expected_ms + step_ms;
    } else {
        passed_ms -= passed_ms % 2; /* the odd one counts next time, as does what is less */
        oracle->physical_ms = larger(wall_ms, oracle->physical_ms + passed_ms / 2);
    }
    oracle->read_ns += passed_ms * NS_PER_MS;
}

void lw_oracle_init(lw_oracle *oracle, uint64_t ceiling, uint64_t time_ms, lw_clock_reading clock) {
    uint64_t begin_ms =
        smaller(time_ms != 0 ? time_ms : clock.wall_ms, LW_ORACLE_PHYSICAL_MAX_MS); /* O3 */
    *oracle = (lw_oracle){
        .last = ceiling == 0 ? 0 : ceiling - 1,
        .ceiling = ceiling,
        .physical_ms = larger(begin_ms, lw_timestamp_ms(ceiling)),
        .read_ns = clock.now_ns,
    };
}

bool lw_oracle_take(lw_oracle *oracle, lw_clock_reading clock, uint32_t count, uint64_t *first) {
    LW_ASSERT(count >= 1 && count <= LW_TIMESTAMP_COUNT_MAX);
    advance(oracle, clock);
    uint64_t taken = larger(oracle->last + 1, lw_timestamp_of_ms(oracle->physical_ms));
    if (taken + count > oracle->ceiling) {
        taken = oracle->last + 1; /* O4 */
        uint64_t lag_max_ms = oracle->stuck ? UINT64_MAX : LW_ORACLE_LAG_MAX_MS;
        uint64_t taken_ms = lw_timestamp_ms(taken);
        if (oracle->physical_ms > taken_ms && oracle->physical_ms - taken_ms > lag_max_ms) {
            return false;
        }
    }
    if (taken + count > oracle->ceiling) {
        return false;
    }
    oracle->last = taken + count - 1;
    LW_ASSERT(oracle->last < oracle->ceiling);
    *first = taken;
    return true;
}

bool lw_oracle_wants(lw_oracle *oracle, lw_clock_reading clock, uint64_t *ceiling) {
    advance(oracle, clock);
    uint64_t base_ms = larger(oracle->physical_ms, lw_timestamp_ms(oracle->last) + 1);
    uint64_t target_ms = smaller(base_ms + LW_ORACLE_WINDOW_MS,
                                 oracle->physical_ms + LW_ORACLE_LEAD_MAX_MS); /* O3 */
    uint64_t half_ms = LW_ORACLE_WINDOW_MS / 2;
    if (lw_timestamp_of_ms(target_ms) < oracle->ceiling + lw_timestamp_of_ms(half_ms)) {
        return false;
    }
    *ceiling = lw_timestamp_of_ms(target_ms);
    return true;
}

void lw_oracle_raise(lw_oracle *oracle, uint64_t ceiling) {
    oracle->ceiling = larger(oracle->ceiling, ceiling);
    oracle->stuck = false;
}

void lw_oracle_lower(lw_oracle *oracle) {
    oracle->ceiling = oracle->last + 1;
}

void lw_oracle_stick(lw_oracle *oracle) {
    oracle->stuck = true;
}

uint64_t lw_oracle_now(lw_oracle *oracle, lw_clock_reading clock) {
    advance(oracle, clock);
    return lw_timestamp_of_ms(oracle->physical_ms);
}
