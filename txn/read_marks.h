/* SPDX-License-Identifier: Apache-2.0 */
/* Read marks: up to which timestamp reads of a key have been answered. Whoever commits below what
 * is drawn already (an async commit) asks here whether anybody has read the key above it, and so
 * counts on nothing being committed there any more. Pure, and of a fixed size: a mark may be higher
 * than what was read, never lower. After TiKV's max_ts and CockroachDB's timestamp cache.
 *
 * Keys share one table of slots, by hash, among all shards of a node. Of ranges each shard
 * remembers the few that were read last, by the first bytes of their bounds, and one mark for all
 * others.
 *
 * Invariants
 * M1. After a key, or a range that holds it, was raised to a timestamp, its mark is at or above it,
 *     for ever.
 * M2. No mark is above the highest timestamp that any was raised to. */
#ifndef LW_READ_MARKS_H
#define LW_READ_MARKS_H

#include "base/bytes.h"

enum { LW_KEY_MARK_SLOTS = 16 * 1024, LW_RANGE_MARK_COUNT = 16, LW_RANGE_MARK_PREFIX = 32 };

/* Of all keys of a node, by hash: a timestamp that a key's own is never above. Zeroed: no key has
 * any. A node keeps one of what was read, and one of what was written. */
typedef struct lw_key_marks {
    uint64_t slots[LW_KEY_MARK_SLOTS];
} lw_key_marks;

void lw_key_marks_raise(lw_key_marks *marks, lw_bytes key, uint64_t timestamp);
uint64_t lw_key_marks_of(const lw_key_marks *marks, lw_bytes key);

typedef struct lw_range_mark {
    uint64_t timestamp; /* 0: not in use */
    uint8_t lower[LW_RANGE_MARK_PREFIX], upper[LW_RANGE_MARK_PREFIX];
    uint8_t lower_size, upper_size; /* upper_size 0: no bound */
    bool upper_cut;                 /* keys that begin with `upper` are in it */
} lw_range_mark;

/* Of one shard. Zeroed but for `keys`: nothing was read. */
typedef struct lw_read_marks {
    lw_key_marks *keys;
    uint64_t everywhere; /* of every key of the shard */
    lw_range_mark ranges[LW_RANGE_MARK_COUNT];
} lw_read_marks;

void lw_read_marks_raise(lw_read_marks *marks, lw_bytes key, uint64_t timestamp);
/* [lower, upper); an empty one is no bound. */
void lw_read_marks_raise_range(lw_read_marks *marks, lw_bytes lower, lw_bytes upper,
                               uint64_t timestamp);
/* Of a shard that was served by others before, or in an earlier life. */
void lw_read_marks_raise_all(lw_read_marks *marks, uint64_t timestamp);

/* The highest timestamp at which the key may have been read. */
uint64_t lw_read_marks_of(const lw_read_marks *marks, lw_bytes key);

#endif
