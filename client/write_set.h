/* SPDX-License-Identifier: Apache-2.0 */
/* What a transaction has written and not yet committed: one entry per key, in key order, so that
 * its own reads and scans see it. A skip list whose shape follows from the keys, so that it is the
 * same in every run.
 *
 * From the first savepoint on, what each change replaced is kept, so that it can be taken back. */
#ifndef LW_WRITE_SET_H
#define LW_WRITE_SET_H

#include "base/bytes.h"
#include "txn/request.h"

enum { LW_WRITE_SET_LEVELS = 12 };

typedef struct lw_write {
    lw_mutation mutation; /* key and value live in the set */
    bool read;            /* of a LOCK: whether what the key had is known */
    bool found;           /* ... and if so, whether it had this value when it was locked */
    struct lw_write *previous;
    struct lw_write *next[]; /* as many as its height */
} lw_write;

/* What a write was before a change; nothing for one that was not there. */
typedef struct lw_write_undo {
    lw_write *write;
    lw_mutation before; /* kind 0: the write was new */
    bool read, found;
} lw_write_undo;

typedef struct lw_write_set {
    lw_arena arena;
    lw_buffer undo; /* of lw_write_undo, oldest first */
    bool keeps_undo;
    lw_write *first[LW_WRITE_SET_LEVELS];
    lw_write *last;
    uint64_t count;
    uint64_t bytes; /* of keys and values */
} lw_write_set;

static inline lw_write_set lw_write_set_in(lw_memory *memory) {
    return (lw_write_set){.arena = lw_arena_in(memory), .undo = lw_buffer_in(memory)};
}
void lw_write_set_reset(lw_write_set *set);
/* The write on `key`, or NULL. */
lw_write *lw_write_set_find(const lw_write_set *set, lw_bytes key);
/* Makes `key` so; copies. An earlier write on the key is replaced, and its memory kept until reset.
 * `seen` of a replaced write stays as it was, unless that was LW_SEEN_ANYTHING: what was once read
 * must be so at the commit. Returns the write. */
lw_write *lw_write_set_put(lw_write_set *set, lw_mutation_kind kind, lw_bytes key, lw_bytes value,
                           uint64_t seen);
/* A point to come back to. Costs a few dozen bytes for each later change. */
size_t lw_write_set_mark(lw_write_set *set);
/* Takes back every change made since the mark was set. A LOCK stays: the key is locked at the
 * shard, or what was read has to be vouched for. */
void lw_write_set_return(lw_write_set *set, size_t mark);
/* Whether the write tells what its key has. */
static inline bool lw_write_knows(const lw_write *write) {
    return write->mutation.kind == LW_MUTATION_PUT || write->mutation.kind == LW_MUTATION_DELETE ||
           (write->mutation.kind == LW_MUTATION_LOCK && write->read);
}
/* ... and whether that is a value. */
static inline bool lw_write_present(const lw_write *write) {
    return write->mutation.kind == LW_MUTATION_PUT ||
           (write->mutation.kind == LW_MUTATION_LOCK && write->found);
}
/* The first write at or after `key`, and the last before it (an empty key: the last of all). */
lw_write *lw_write_set_at_or_after(const lw_write_set *set, lw_bytes key);
lw_write *lw_write_set_before(const lw_write_set *set, lw_bytes key);

#endif
