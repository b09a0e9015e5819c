/* SPDX-License-Identifier: Apache-2.0 */
/* How fast writers and compactions go: see pace.h. */
#include "storage/pace.h"

#include "base/status.h"

enum {
    GRAIN_NS = 1000 * 1000,      /* what is shorter is not waited for, but remembered */
    LOOK_NS = 100 * 1000 * 1000, /* between two looks at what was written */
};

#define SECOND_NS        1e9
#define DRAIN_RATE_FIRST 64e6 /* bytes a second, before the first flush */
#define SINK_COST_FIRST  4    /* of flushing, before the first round of level 0 */
#define MERGE_RATE_MIN   16e6 /* bytes a second: under so little load nobody notices more */
#define MERGE_HEADROOM   1.25 /* faster than needed */
#define MERGE_BURST_S    0.02 /* seconds of the rate that may be merged at once */

/* ---- writers ------------------------------------------------------------------------------------
 */

static void learn(double *rate, double size, uint64_t duration_ns) {
    if (size > 0 && duration_ns > 0) {
        double now = size / ((double)duration_ns / SECOND_NS);
        *rate = *rate == 0 ? now : (3 * *rate + now) / 4;
    }
}

void lw_pace_flushed(lw_pace *pace, size_t size, uint64_t duration_ns) {
    learn(&pace->drain_rate, (double)size, duration_ns);
    pace->memory_paid_ns = 0;
    pace->flush_count++;
}

void lw_pace_sunk(lw_pace *pace, uint64_t size, uint64_t duration_ns) {
    learn(&pace->sink_rate, (double)size, duration_ns);
}

static double drain_rate_of(const lw_pace *pace) {
    return pace->drain_rate == 0 ? DRAIN_RATE_FIRST : pace->drain_rate;
}

static double sink_rate_of(const lw_pace *pace) {
    return pace->sink_rate == 0 ? drain_rate_of(pace) / SINK_COST_FIRST : pace->sink_rate;
}

double lw_pace_drained(const lw_pace *pace, uint64_t duration_ns) {
    return drain_rate_of(pace) * ((double)duration_ns / SECOND_NS);
}

/* Seconds that a byte takes at this pressure. */
static double cost_at(double pressure, double rate) {
    LW_ASSERT(pressure >= 0 && pressure < 1);
    double slowness = pressure / (1 - pressure);
    return slowness * slowness / rate;
}

/* Puts a cost on what has to be paid; how long that takes from now. */
static uint64_t pay(uint64_t *paid_ns, double cost_ns, uint64_t now_ns) {
    uint64_t from_ns = *paid_ns > now_ns ? *paid_ns : now_ns;
    uint64_t most_ns = now_ns + LW_PACE_DELAY_MAX_NS;
    bool beyond = from_ns >= most_ns || cost_ns > (double)(most_ns - from_ns);
    *paid_ns = beyond ? most_ns : from_ns + (uint64_t)cost_ns;
    uint64_t wait_ns = *paid_ns - now_ns;
    return wait_ns < GRAIN_NS ? 0 : wait_ns;
}

lw_pace_delay lw_pace_writer(lw_pace *pace, lw_pressure pressure, size_t size, uint64_t now_ns) {
    double size_ns = SECOND_NS * (double)size;
    double memory_ns = size_ns * cost_at(pressure.memory, drain_rate_of(pace));
    double tables_ns = size_ns * cost_at(pressure.tables, sink_rate_of(pace));
    return (lw_pace_delay){.memory_ns = pay(&pace->memory_paid_ns, memory_ns, now_ns),
                           .tables_ns = pay(&pace->tables_paid_ns, tables_ns, now_ns)};
}

/* ---- compactions --------------------------------------------------------------------------------
 */

bool lw_pace_idle(lw_pace *pace, uint64_t now_ns) {
    if (now_ns - pace->seen_ns >= LOOK_NS) {
        uint64_t grown = pace->written - pace->seen;
        double rate = (double)grown / ((double)(now_ns - pace->seen_ns) / SECOND_NS);
        pace->write_rate = pace->seen_ns == 0 ? rate : (3 * pace->write_rate + rate) / 4;
        pace->written_ns = grown > 0 ? now_ns : pace->written_ns;
        pace->seen = pace->written;
        pace->seen_ns = now_ns;
    }
    return pace->written == pace->seen && now_ns - pace->written_ns >= LW_PACE_IDLE_NS;
}

uint64_t lw_pace_compaction(lw_pace *pace, double pressure, double work, size_t size,
                            uint64_t now_ns) {
    if (lw_pace_idle(pace, now_ns) || pressure >= LW_PACE_FREE) {
        pace->tokens = 0;
        pace->tokens_ns = now_ns;
        return 0;
    }
    double rate = pace->write_rate * work * MERGE_HEADROOM;
    rate = (rate > MERGE_RATE_MIN ? rate : MERGE_RATE_MIN) / (1 - pressure / LW_PACE_FREE);
    double passed_s = (double)(now_ns - pace->tokens_ns) / SECOND_NS;
    double burst = MERGE_BURST_S * rate, tokens = pace->tokens + passed_s * rate;
    pace->tokens = (tokens < burst ? tokens : burst) - (double)size;
    pace->tokens_ns = now_ns;
    if (pace->tokens >= 0) {
        return 0;
    }
    double wait_ns = -pace->tokens / rate * SECOND_NS;
    wait_ns = wait_ns < LW_PACE_DELAY_MAX_NS ? wait_ns : LW_PACE_DELAY_MAX_NS;
    return wait_ns < GRAIN_NS ? 0 : (uint64_t)wait_ns;
}
