/* SPDX-License-Identifier: Apache-2.0 */
/* The values of what a flush or a compaction writes: large ones go into value files beside the
 * table at hand, and of those that lie in value files already only the reference goes on, written
 * anew for the list of this table. Values are moved out of files that are mostly garbage when that
 * is asked for, and when a table would refer to too many files.
 *
 * Invariants
 * 1. A value file is written for one table at a time, and finished with it; so when a table's edit
 *    is written all files that it names are durable (W2).
 * 2. A value that cannot be read is not moved: its reference goes on, and its file is left in peace
 *    from then on. So damage costs its own key, and nothing else. */
#ifndef LW_VALUE_OUTPUT_H
#define LW_VALUE_OUTPUT_H

#include "storage/version.h"

typedef struct lw_value_output {
    lw_store *store;
    uint64_t threshold; /* bytes from which a value is kept apart */
    uint64_t cut_size;  /* bytes at which the next value file is begun */
    uint64_t move_size; /* bytes of values that may still be moved to get rid of garbage */
    lw_value_builder *builder;
    /* The list of the table at hand. */
    lw_value_file *list;
    uint32_t count, capacity;
    uint32_t own;       /* index of the file being written */
    lw_map known;       /* nodes of the others, by number */
    lw_arena arena;     /* of those nodes */
    lw_buffer finished; /* numbers, u64 each, of the files that were written for it */
    lw_buffer moved;    /* a value on its way */
    uint8_t reference[LW_REFERENCE_SIZE_MAX];
    lw_budget_share share; /* the builder's buffer, and the value on its way */
    uint64_t bytes;        /* of finished files */
} lw_value_output;

/* `move_size`: how many bytes of values may be moved out of wasted files; 0: none. */
lw_value_output lw_value_output_in(lw_store *store, uint64_t move_size);
/* What is to stand in the table for `entry`, which comes from `source` (NULL: a memtable). Views
 * live until the next call. A failure to write has been judged already. */
LW_MUST_USE LW_YIELDS lw_status lw_value_output_pass(lw_value_output *values, lw_table_file *source,
                                                     const lw_entry *entry, lw_entry *out);
/* Finishes the files of the table at hand, and gives `info` their list: a view until
 * lw_value_output_next_table. */
LW_MUST_USE LW_YIELDS lw_status lw_value_output_end_table(lw_value_output *values,
                                                          lw_table_info *info);
/* The table at hand is known to its owner, and its value files with it: now comes the next one. */
void lw_value_output_next_table(lw_value_output *values);
/* Frees all; what was written for a table that did not come to its end is removed. */
LW_YIELDS void lw_value_output_reset(lw_value_output *values);

#endif
