/* SPDX-License-Identifier: Apache-2.0 */
/* How the tables of a tree are spread over its levels, how they should be, and so what is to be
 * compacted next. Pure memory.
 *
 * Levels are counted from the bottom: nearly all data lies in the last one, and the levels above
 * are there only so that no merge is much larger than what it brings down. Level 0 hands down a
 * batch of tables as flushed to the base level. While all data is less than LW_LEVEL_RATIO batches
 * the base level is the last one: one merge a byte, and no space but that of the batch is taken by
 * what newer entries hide. Beyond that there are as few levels in between as keep the ratio, each
 * the same part of the one below, whatever that has grown to (dynamic levels, as of Dong et al.,
 * "Optimizing Space Amplification in RocksDB", 2017).
 *
 * What can be dropped counts as well: a table that is largely deletions, or entries that the
 * safepoint has made needless, is compacted for its own sake, so that space comes back without
 * further writes. */
#ifndef LW_LEVELS_H
#define LW_LEVELS_H

#include "storage/version.h"

enum {
    LW_LEVEL0_COMPACT_IDLE = 3, /* and while nobody writes */
    LW_LEVEL0_COMPACT = 16,     /* tables of level 0 over one key that ask for a compaction */
    LW_BATCH_TABLES_MIN = 8,    /* a batch is taken to be at least so many full tables */
    LW_GATHER_RATIO = 16,       /* so much less than the base level is too little */
    LW_LEVEL_RATIO = 10,        /* of the sizes of two levels, at most */
    LW_LEVEL_RATIO_STEEP = 2,   /* ... and in a steep tree */
    LW_LEVEL_LAST = LW_LEVEL_COUNT - 1,
};

/* What a tree knows besides its tables. */
typedef struct lw_tuning {
    uint64_t table_size; /* bytes at which tables are cut */
    uint64_t batch_size; /* bytes that level 0 hands down at a time, as seen; 0: not known yet */
    /* Level 0 goes down in slices of the key space, a round of them for all its tables with
     * sequences up to this one; 0: none is under way. */
    uint64_t round_sequence;
    bool idle;           /* nobody writes: level 0 goes down earlier, for readers */
    bool gather;         /* gather level 0 whenever that is possible */
    bool steep;          /* each table is a batch, and levels grow by little: in simulations */
    uint64_t slice_size; /* bytes of the base level that a slice overlaps */
    uint64_t safepoint;
} lw_tuning;

typedef struct lw_levels {
    uint32_t base;                    /* where level 0 goes when it goes into an empty tree */
    uint64_t targets[LW_LEVEL_COUNT]; /* bytes, of the levels from the base to the last but one */
} lw_levels;
lw_levels lw_levels_of(const lw_version *version, const lw_tuning *tuning);

/* What a tree needs most. */
typedef struct lw_need {
    double score;        /* from 1 on it should be done; 0: there is nothing to do at all */
    uint32_t level;      /* that goes down, or that `file` is in */
    lw_table_file *file; /* for what can be dropped from this one; NULL: for the level's size */
    bool gather;         /* level 0 is too little to go down: its tables become one of it */
    double work;         /* bytes merged on all levels, for each byte that comes in */
    uint64_t debt;       /* bytes that have to be written until every level is within its target */
} lw_need;
lw_need lw_levels_need(const lw_version *version, const lw_tuning *tuning);

/* The part of a table's entries that can probably be dropped. */
double lw_table_garbage(const lw_table_file *file, uint64_t safepoint);
/* Whether a table of a deeper level than `level` shows a key between the table's. */
bool lw_levels_below(const lw_version *version, uint32_t level, const lw_table_file *file);
/* The level that takes what level 0 hands down. */
uint32_t lw_levels_output(const lw_version *version, const lw_levels *levels);
/* Whether a table of level 0 belongs to the round under way. */
static inline bool lw_levels_in_round(const lw_table_file *file, const lw_tuning *tuning) {
    return file->info.sequence_max <= tuning->round_sequence;
}

#endif
