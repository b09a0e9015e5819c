/* SPDX-License-Identifier: Apache-2.0 */
/* The timestamp oracle: hands out timestamps, milliseconds << 18 | counter, each once, each above
 * all before it, also across restarts. Pure: time and the durable ceiling are told to it.
 *
 * The oracle's own time follows the wall clock where that is believable, and the monotonic clock
 * where not. While it runs, a wall clock ahead by more than LW_ORACLE_STEP_MS is approached at
 * double speed, one behind at half speed; so a clock that jumps by years, either way, neither
 * stops timestamps nor carries them away: a minute under a wrong clock moves them by one more
 * minute, or half a minute less. One that begins where another oracle left off is told the time of
 * that one, and goes on from there. When all begin there is only the wall clock to ask: it is taken
 * as it is, up to LW_ORACLE_PHYSICAL_MAX_MS, if it is ahead of the ceiling.
 *
 * Invariants
 * O1. Every timestamp given is above every one given before, and below the ceiling.
 * O2. The ceiling is only ever one that was said to be durable; after a restart the first timestamp
 *     is at or above the ceiling of before (hazard O2).
 * O3. A wanted ceiling is at most LW_ORACLE_LEAD_MAX_MS ahead of the oracle's time, however many
 *     timestamps are asked for (hazard O3): beyond, takers wait for time to pass.
 * O4. A timestamp is behind the oracle's time by LW_ORACLE_LAG_MAX_MS at most, since values expire
 *     by it and safepoints follow the time: who was idle waits until the ceiling is raised. Only
 *     while that cannot be done, as on a full disk, what is left below it is handed out, however
 * old.
 */
#ifndef LW_ORACLE_H
#define LW_ORACLE_H

#include "base/bytes.h"

enum {
    LW_TIMESTAMP_COUNTER_BITS = 18,
    LW_ORACLE_WINDOW_MS = 3000,
    LW_ORACLE_STEP_MS = 1000,
    LW_ORACLE_LEAD_MAX_MS = 10000,
    LW_ORACLE_LAG_MAX_MS = 100,
};
#define LW_ORACLE_PHYSICAL_MAX_MS (UINT64_C(1) << 45) /* in the year 3084 */

/* What the clocks said at one moment. */
typedef struct lw_clock_reading {
    uint64_t now_ns;  /* monotonic */
    uint64_t wall_ms; /* since 1970, believed by nobody */
} lw_clock_reading;

typedef struct lw_oracle {
    uint64_t last;        /* the highest timestamp given, or that may have been given before */
    uint64_t ceiling;     /* durable: none at or above it is given */
    uint64_t physical_ms; /* the oracle's time */
    uint64_t read_ns;     /* the monotonic clock when it was that */
    bool stuck;           /* the ceiling cannot be raised: the disk is full (O4) */
} lw_oracle;

/* `ceiling` is the durable one of before, 0 if there was none. `time_ms` is about what the oracle's
 * time would be by now, 0 if that is not known. Gives nothing until raised. */
void lw_oracle_init(lw_oracle *oracle, uint64_t ceiling, uint64_t time_ms, lw_clock_reading clock);
/* Takes `count` timestamps in a row, 1..LW_TIMESTAMP_COUNT_MAX. False, and nothing taken, when the
 * ceiling must rise first. */
LW_MUST_USE bool lw_oracle_take(lw_oracle *oracle, lw_clock_reading clock, uint32_t count,
                                uint64_t *first);
/* Whether the ceiling should be raised now, and to what: make that durable, then say so with
 * lw_oracle_raise. */
LW_MUST_USE bool lw_oracle_wants(lw_oracle *oracle, lw_clock_reading clock, uint64_t *ceiling);
void lw_oracle_raise(lw_oracle *oracle, uint64_t ceiling);
/* Gives nothing until it is raised again: what is durable may come down to the ceiling that it has
 * then. */
void lw_oracle_lower(lw_oracle *oracle);
/* That failed, and may for long (O4); until the next time it does not. */
void lw_oracle_stick(lw_oracle *oracle);
/* The oracle's time as a timestamp that is nobody's: what expiry is judged by (hazard T8). */
uint64_t lw_oracle_now(lw_oracle *oracle, lw_clock_reading clock);

static inline uint64_t lw_timestamp_of_ms(uint64_t physical_ms) {
    return physical_ms << LW_TIMESTAMP_COUNTER_BITS;
}
static inline uint64_t lw_timestamp_ms(uint64_t timestamp) {
    return timestamp >> LW_TIMESTAMP_COUNTER_BITS;
}

#endif
