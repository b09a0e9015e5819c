/* SPDX-License-Identifier: Apache-2.0 */
/* What a compaction is to do: the deciding half, pure memory. Doing it is in
 * compaction.c, the fiber.
 *
 * Levelled: tables as flushed gather in level 0 until there are four, then all of them are merged
 * into level 1. A level from 1 on may hold ten times what the one above may; beyond that its tables
 * go down one by one, in turn around the key space, each merged with what it overlaps below.
 *
 * What an output keeps is decided by the sieve (storage/sieve.h). */
#ifndef LW_COMPACTION_H
#define LW_COMPACTION_H

#include "storage/version.h"

enum {
    LW_LEVEL0_COMPACT = 4, /* tables in level 0 that ask for a compaction */
    LW_LEVEL1_TABLES = 8,  /* bytes that level 1 may hold, in full tables */
    LW_LEVEL_RATIO = 10,   /* of the sizes of two levels */
};

/* How urgently a level needs compaction: from 1 on it does. */
double lw_compaction_score(const lw_version *version, uint32_t level, uint64_t table_size);
/* The neediest level of a version, and its score. */
uint32_t lw_compaction_level(const lw_version *version, uint64_t table_size, double *score);

typedef struct lw_compaction {
    lw_memory *memory;
    uint32_t output_level;
    bool move;          /* the inputs only change their level */
    uint32_t run_count; /* how the inputs fall into runs: each of one table of level 0, or of
                           disjoint tables of one level */
    uint32_t input_count;
    lw_table_file **inputs; /* views into the version; run after run */
    uint32_t *run_ends;     /* indexes in `inputs` */
} lw_compaction;

/* One step at `level`, which has tables. `turn`: the key up to which this level went down last. */
lw_compaction lw_compaction_of_level(lw_memory *memory, const lw_version *version, uint32_t level,
                                     lw_bytes turn);
/* Everything into one level. */
lw_compaction lw_compaction_of_all(lw_memory *memory, const lw_version *version);
void lw_compaction_reset(lw_compaction *compaction);

#endif
