/* SPDX-License-Identifier: Apache-2.0 */
/* What a transaction has written and not yet committed: one entry per key, in key order, so that
 * its own reads and scans see it. A skip list whose shape follows from the keys, so that it is the
 * same in every run. */
#ifndef LW_WRITE_SET_H
#define LW_WRITE_SET_H

#include "base/bytes.h"
#include "txn/request.h"

enum { LW_WRITE_SET_LEVELS = 12 };

typedef struct lw_write {
    lw_mutation mutation; /* key and value live in the set */
    bool found;           /* of a LOCK: the key had this value when it was locked */
    struct lw_write *previous;
    struct lw_write *next[]; /* as many as its height */
} lw_write;

typedef struct lw_write_set {
    lw_arena arena;
    lw_write *first[LW_WRITE_SET_LEVELS];
    lw_write *last;
    uint64_t count;
    uint64_t bytes; /* of keys and values */
} lw_write_set;

static inline lw_write_set lw_write_set_in(lw_memory *memory) {
    return (lw_write_set){.arena = lw_arena_in(memory)};
}
void lw_write_set_reset(lw_write_set *set);
/* The write on `key`, or NULL. */
lw_write *lw_write_set_find(const lw_write_set *set, lw_bytes key);
/* Makes `key` so; copies. An earlier write on the key is replaced, and its memory kept until reset.
 * `seen` of a replaced write stays as it was. Returns the write. */
lw_write *lw_write_set_put(lw_write_set *set, lw_mutation_kind kind, lw_bytes key, lw_bytes value,
                           uint64_t seen);
/* The first write at or after `key`, and the last before it (an empty key: the last of all). */
lw_write *lw_write_set_at_or_after(const lw_write_set *set, lw_bytes key);
lw_write *lw_write_set_before(const lw_write_set *set, lw_bytes key);

#endif
