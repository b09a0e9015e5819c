/* SPDX-License-Identifier: Apache-2.0 */
/* Latches: they keep commands that are being carried out on the same keys apart. A command asks for
 * everything at once: exclusively the keys it writes, shared the keys and ranges it validates; who
 * changes a whole range, such as a split, asks for that exclusively.
 * First come, first served, so there is no deadlock. Readers take no latches: they wait for those
 * writers only whose commit timestamp is drawn already and lies at or below what they read at.
 * Bookkeeping only: who has to wait does so in the queues below.
 *
 * Invariants
 * H1. Of two latches that conflict, the one asked for later is granted after the other's release.
 * H2. Whoever draws a commit timestamp holds its latches, and draws it from the oracle that also
 *     gives the readers theirs: so a writer without one will lie above every reader that is here.
 *     One that comes with a timestamp drawn before says it in `drawn` first, and then asks the read
 *     marks (txn/read_marks.h) who was here already.
 */
#ifndef LW_LATCH_H
#define LW_LATCH_H

#include "base/fiber.h"

typedef struct lw_latch_range {
    lw_bytes lower, upper; /* [lower, upper); an empty one is no bound */
} lw_latch_range;

/* One command's latches: in its frame, from the request to the release. */
typedef struct lw_latch {
    /* Set before the request. Keys ascend; arrays and keys stay as they are until the release. */
    const lw_bytes *exclusive, *shared;
    uint32_t exclusive_count, shared_count;
    const lw_latch_range *ranges; /* shared */
    const lw_latch_range *exclusive_ranges;
    uint32_t range_count, exclusive_range_count;

    uint64_t drawn;   /* set when granted: the commit timestamp that is on its way; 0: none */
    lw_queue granted; /* woken when it is granted */
    lw_queue readers; /* woken when it is released */

    /* The table's. */
    struct lw_latch *previous, *next;
    uint64_t exclusive_signature, shared_signature;
    uint32_t blocker_count; /* earlier latches that conflict */
} lw_latch;

enum { LW_LATCH_SLOTS = 2048, LW_LATCH_WIDE = 256 };

/* How many latched keys fall into each slot by their hash: who finds only zeros meets nobody, and
 * need not look at every latch there is. Zeroed is empty. Tables may share one, as those of the
 * shards of a node do: what they latch are different keys. */
typedef struct lw_latch_slots {
    uint32_t exclusive[LW_LATCH_SLOTS], shared[LW_LATCH_SLOTS];
} lw_latch_slots;

/* Zeroed but for the slots is empty. */
typedef struct lw_latch_table {
    lw_latch_slots *slots;
    lw_latch *first, *last; /* in the order they were asked for */
    uint32_t count, waiting_count;
    uint32_t wide_count; /* latches with ranges, or of so many keys that they are not in slots */
} lw_latch_table;

/* Enters a command's latches. True if they are granted at once; else wait in latch->granted until
 * lw_latch_held. */
LW_MUST_USE bool lw_latch_request(lw_latch_table *table, lw_latch *latch);
static inline bool lw_latch_held(const lw_latch *latch) {
    return latch->blocker_count == 0;
}
/* Gives them back, or gives up waiting. */
void lw_latch_release(lw_latch_table *table, lw_latch *latch);
/* The first latch that a reader at `read_timestamp` of these keys, in any order, or of this range
 * must wait for, in its `readers`; NULL if there is none. */
lw_latch *lw_latch_hinders_keys(const lw_latch_table *table, uint64_t read_timestamp,
                                const lw_bytes *keys, uint32_t key_count);
lw_latch *lw_latch_hinders_range(const lw_latch_table *table, uint64_t read_timestamp,
                                 lw_latch_range range);

#endif
