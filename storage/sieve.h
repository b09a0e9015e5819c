/* SPDX-License-Identifier: Apache-2.0 */
/* The sieve: which of the entries that a flush or a compaction merges are written. Pure memory.
 *
 * Invariants
 * 1. Of each key the newest entry is kept, and only that (T4). Nothing is kept for snapshots, since
 *    they pin the inputs (storage/version.h).
 * 2. A deletion is kept while an older entry of its key may lie in a level below the output
 *    (hazard S11).
 * 3. Of the rest, what the retention rule and the safepoint let go is dropped; why that is safe is
 *    in storage/retention.h. Without a rule, a safepoint or a filter part, all of it is kept. */
#ifndef LW_SIEVE_H
#define LW_SIEVE_H

#include "storage/retention.h"
#include "storage/version.h"

typedef struct lw_sieve {
    lw_env *env;
    const lw_version *version; /* held by the caller */
    uint32_t below;            /* the first level that may hold older entries of a key */
    /* The tree's version at any time, where all that is not merged is looked for. */
    lw_version *const *newest; /* NULL: `version` is it */
    /* What is merged, and so is no other source. */
    const lw_memtable *memtable; /* or NULL */
    lw_table_file **inputs;      /* sorted by address; owned */
    uint32_t input_count;
    lw_bytes upper; /* their keys from here on are not merged; size 0: all are */
    /* Retention. */
    lw_retention retention;
    lw_filter_part filter_part;
    uint64_t safepoint;
    uint64_t state; /* the rule's */
    /* The last entry. */
    bool begun;
    lw_buffer key;
    size_t part_size;
    /* Of the last one that was kept. */
    bool same_part;         /* it belongs to the part of the entry before */
    uint64_t needless_from; /* the safepoint from which it may go; UINT64_MAX: none */
} lw_sieve;

/* One that keeps everything but what T4 lets go. */
static inline lw_sieve lw_sieve_in(lw_env *env, const lw_version *version, uint32_t below) {
    return (lw_sieve){
        .env = env, .version = version, .below = below, .key = lw_buffer_in(env->memory)};
}
/* Names the tables that are merged; copied. */
void lw_sieve_merges(lw_sieve *sieve, lw_table_file *const *inputs, uint32_t input_count);
/* Takes the entries in the order of tables. */
LW_MUST_USE bool lw_sieve_keeps(lw_sieve *sieve, const lw_entry *entry);
void lw_sieve_reset(lw_sieve *sieve);

#endif
