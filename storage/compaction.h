/* SPDX-License-Identifier: Apache-2.0 */
/* What a step of compaction is to do: the deciding half, pure memory. Doing it is in compaction.c,
 * the fiber; which step a tree needs is decided in levels.c, and what an output keeps in the sieve
 * (storage/sieve.h).
 *
 * Invariants
 * P1. Steps are bounded, so that nothing waits long for one and little is lost with it: a step of
 *     level 0 takes a slice of the key space that overlaps a few tables of the base level, of all
 *     its tables in the round; any other step takes one table and what that overlaps. (While the
 *     base level is small, a slice is all of it.)
 *     Where level 0 is far too little for the base level, its tables become one table of level 0.
 * P2. Of level 0 a step takes what no other table of level 0 has older entries of: all tables up
 *     to a sequence, and of these all keys of the slice. What stays behind keeps its place, clipped
 *     to the keys behind the slice, in the same edit: so a round that a crash cuts short goes on.
 * P3. A slice ends between two filter parts, if it can (hazard S10; the sieve minds the case that
 *     it cannot).
 * P4. Tables of the output level that lie between the lowest and the highest key of the inputs are
 *     inputs too, also those that no input overlaps. */
#ifndef LW_COMPACTION_H
#define LW_COMPACTION_H

#include "storage/levels.h"

typedef struct lw_compaction {
    lw_memory *memory;
    uint32_t output_level;
    bool move;          /* the inputs only change their level */
    uint32_t run_count; /* how the inputs fall into runs: each of one table of level 0, or of
                           disjoint tables of one level */
    uint32_t input_count;
    uint32_t sliced_count;  /* of the first inputs, those of level 0, up to `upper` */
    lw_table_file **inputs; /* views into the version; run after run */
    uint32_t *run_ends;     /* indexes in `inputs` */
    lw_bytes upper;         /* of the slice; owned; size 0: all keys */
    uint64_t move_size;     /* bytes of values that may be moved out of wasted files */
} lw_compaction;

/* The step that a tree needs. `filter_part` may be NULL. */
lw_compaction lw_compaction_of_need(lw_memory *memory, const lw_version *version,
                                    const lw_need *need, const lw_tuning *tuning,
                                    lw_filter_part filter_part);
/* Everything into one level. */
lw_compaction lw_compaction_of_all(lw_memory *memory, const lw_version *version);
void lw_compaction_reset(lw_compaction *compaction);

#endif
