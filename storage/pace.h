/* SPDX-License-Identifier: Apache-2.0 */
/* The pace of a store: how fast writers are let in while flushes and compactions are behind, and
 * how fast compactions go while there are writers. Pure: numbers in, times to wait out.
 *
 * Writers. A pressure tells how near something is to its bound: 0 from where on writers are slowed
 * down, 1 where they have to wait. In between they share a rate, ((1 - p) / p)² times that of what
 * works the thing off, as it was lately: flushes for memory, compactions for tables. That is any
 * rate as the pressure begins, just what goes out at one half, and nothing at 1. So writers settle
 * where as much comes in as goes out, and none of them meets a wall. What one of them takes, the
 * next one waits for: a token bucket in time, one for memory and one for compaction. When a flush
 * is done there is memory for all that were let in, and nobody waits for it any longer.
 *
 * Compactions. While writers are at it, a compaction goes as fast as the tree needs in order to
 * stay as it is, and a little faster: write rate times the bytes that are merged for each byte
 * written. So its work is spread evenly over the time in which it is caused, in place of bursts at
 * full speed that readers and writers feel. As the pressure mounts it goes faster; from
 * LW_PACE_FREE on, and when nobody writes, as fast as it can.
 *
 * Invariants
 * 1. A delay is a steady function of the pressure, and at most LW_PACE_DELAY_MAX_NS.
 * 2. Compaction is never held back at or above the pressure LW_PACE_FREE: so debt is bounded by
 *    what the disk and the processor can do, not by the pace. */
#ifndef LW_PACE_H
#define LW_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LW_PACE_FREE 0.5

enum {
    LW_PACE_DELAY_MAX_NS = 1000 * 1000000,
    LW_PACE_IDLE_NS = 500 * 1000000, /* without a write, after which nobody is thought to write */
};

typedef struct lw_pace {
    double drain_rate; /* bytes of memtables that a second of flushing took, lately */
    double sink_rate;  /* and bytes of level 0, before compression, of its compaction */
    /* When the last writer let in is paid for, by flushes and by compactions. */
    uint64_t memory_paid_ns, tables_paid_ns;
    uint64_t flush_count;
    uint64_t written;       /* bytes applied since opening */
    uint64_t seen, seen_ns; /* as of the last look at `written` */
    uint64_t written_ns;    /* of the last look that saw it grow */
    double write_rate;      /* bytes a second, lately */
    double tokens;          /* bytes that the compaction may merge at once */
    uint64_t tokens_ns;
} lw_pace;

/* Learns from a flush, and lets off who waited for it. */
void lw_pace_flushed(lw_pace *pace, size_t size, uint64_t duration_ns);
/* Bytes of memtables that so much time of flushing probably took. */
double lw_pace_drained(const lw_pace *pace, uint64_t duration_ns);
/* Learns from a round of level 0. */
void lw_pace_sunk(lw_pace *pace, uint64_t size, uint64_t duration_ns);

typedef struct lw_pressure {
    double memory, tables; /* from 0; from 1 on writers wait */
} lw_pressure;
static inline double lw_pressure_most(lw_pressure pressure) {
    return pressure.memory > pressure.tables ? pressure.memory : pressure.tables;
}
/* How long a writer has to wait: for a flush, unless one is done before, and in any case. */
typedef struct lw_pace_delay {
    uint64_t memory_ns, tables_ns;
} lw_pace_delay;
/* Takes a writer of `size` bytes in, at pressures below 1. */
lw_pace_delay lw_pace_writer(lw_pace *pace, lw_pressure pressure, size_t size, uint64_t now_ns);
/* Whether nothing was written for a while, and how fast it is. To be called now and then. */
bool lw_pace_idle(lw_pace *pace, uint64_t now_ns);
/* Counts `size` bytes merged, of `work` for each byte written; how long the compaction waits. */
uint64_t lw_pace_compaction(lw_pace *pace, double pressure, double work, size_t size,
                            uint64_t now_ns);

#endif
