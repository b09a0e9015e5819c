/* SPDX-License-Identifier: Apache-2.0 */
/* Where entries are in the log, and which of them count: memory only, filled as records are
 * appended, placed and replayed. Reading back (log_read.c) stands on it.
 *
 * Invariants
 * T1. A trail knows which entries of a group count (L6): one run of indexes, and the term of each.
 *     An entry that is met in the log counts exactly if its index is in the trail, with its term.
 * T2. Of a group's marks in the log, take the last whose index is not above the one looked for: the
 *     entry that counts stands at or behind it. For a batch behind that entry with a lower index
 *     would have cut it off. Marks of entries that do not count any more do no harm.
 * T3. A segment has so many marks at most, however many groups write to it: LW_LOG_MARKS_MAX, and
 *     for one group no two nearer than a LW_LOG_MARKS_PART of it, but the first. */
#ifndef LW_LOG_INDEX_H
#define LW_LOG_INDEX_H

#include "base/bytes.h"

enum {
    LW_LOG_MARKS_PART = 64,
    LW_LOG_MARKS_MAX = 4096,
};

/* ---- what counts ---------------------------------------------------------------------------- */

/* Entries from this index on are of this term, up to the next run. */
typedef struct lw_log_run {
    uint64_t from, term;
} lw_log_run;

/* Of one group. Zeroed: nothing is known yet. */
typedef struct lw_log_trail {
    bool known;           /* there was an entry, or a beginning */
    uint64_t first, last; /* those that count; none: first is last + 1 */
    lw_log_run *runs;     /* ascending; the first one may begin before `first` */
    uint32_t run_count, run_capacity;
} lw_log_trail;

void lw_log_trail_reset(lw_memory *memory, lw_log_trail *trail);
/* Whether an entry of this index may come next. */
static inline bool lw_log_trail_takes(const lw_log_trail *trail, uint64_t index) {
    return !trail->known || index <= trail->last + 1;
}
/* Whether it is the one behind the last, and of the same term: so it is nearly always. */
static inline bool lw_log_trail_goes_on(const lw_log_trail *trail, uint64_t index, uint64_t term) {
    return trail->run_count > 0 && index == trail->last + 1 &&
           trail->runs[trail->run_count - 1].term == term;
}
/* The next entry: what was at its index or behind is gone. */
void lw_log_trail_append(lw_memory *memory, lw_log_trail *trail, uint64_t index, uint64_t term);
/* What was before counts no more; the next index is one more than this. */
void lw_log_trail_begin(lw_log_trail *trail, uint64_t index);
/* Entries up to `index` are needed no more. */
void lw_log_trail_release(lw_log_trail *trail, uint64_t index);
LW_MUST_USE bool lw_log_trail_counts(const lw_log_trail *trail, uint64_t index, uint64_t term);

/* ---- where they are ------------------------------------------------------------------------- */

/* A batch, and the lowest index that the group has in it. */
typedef struct lw_log_mark {
    struct lw_log_mark *next;
    uint64_t index, offset;
} lw_log_mark;

/* Of one group in one segment. Zeroed: none. */
typedef struct lw_log_marks {
    lw_log_mark first; /* of offset 0: none */
    lw_log_mark *last; /* NULL: the first is the last */
} lw_log_marks;

/* An entry is in the batch at `offset`, which is not before the last one. A mark is made if that is
 * `step` behind the last one, and `*room` is left, which counts down. */
void lw_log_marks_add(lw_arena *arena, lw_log_marks *marks, uint64_t index, uint64_t offset,
                      uint64_t step, uint32_t *room);
/* The offset of the last mark not above `index`; 0: none. */
uint64_t lw_log_marks_find(const lw_log_marks *marks, uint64_t index);

#endif
