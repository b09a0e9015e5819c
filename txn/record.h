/* SPDX-License-Identifier: Apache-2.0 */
/* What a shard keeps in its tree: the versions of user keys, the locks on them, and a few records
 * about itself. Pure: bytes in, views out.
 *
 * Keys of the tree
 *   'd' · escaped user key · 00 01 · timestamp   a data record; one user key's lie together, the
 *                                                newest first
 *   'l' · user key                               the lock on it
 *   'm' · escaped start key · 00 01 · name       the shard's own, by the key it begins at, so that
 *                                                a split moves them with the data: "shard" as in
 *                                                lw_topology_encode; in the root shard "ceiling",
 *                                                u64 little-endian
 * In an escaped user key each 00 is 00 ff, so that 00 01 ends it and sorts before all that goes on.
 * The timestamp is big-endian with every bit turned, 8 bytes.
 *
 * Values of the tree
 *   data record   kind u8 · lead varint · value
 *                 lead = timestamp - start; only PUT has a value; before that of one that expires,
 *                 which has kind 5, stands the timestamp from which it is gone, u64
 *   lock record   kind u8 (lw_mutation_kind) · start u64 · floor u64 · expires u64 · session u64 ·
 *                 commit timestamp u64 · sequence varint · primary size varint · primary ·
 *                 size of the secondaries varint · secondaries · value
 *                 secondaries: each size varint · key
 *                 only PUT and STAMP have a value; no other atomic mutation is ever in a lock: it
 *                 was worked out when the key was locked; before the value of a PUT that expires
 *                 stands its time to live in ms, u64 (kind 10), or the timestamp, u64 (kind 11)
 *
 * Invariants
 * K1. Tree keys of data records sort by (user key ascending, timestamp descending).
 * K2. A data record of kind ROLLBACK stands at its own start (lead 0); every other stands at its
 *     commit timestamp, above its start. Timestamps are given once only, so no two transactions
 *     ever want the same place; who writes one looks first all the same (hazards T2, T3).
 * K3. A lock with a commit timestamp stands for an async commit at it, and its floor is just below:
 *     a reader at or above it waits, one below does not. Only the one on the primary has
 *     secondaries. */
#ifndef LW_RECORD_H
#define LW_RECORD_H

#include "txn/request.h"

/* ---- keys ----------------------------------------------------------------------------------- */

/* These replace what `tree_key` held. */
void lw_record_data_key(lw_bytes user_key, uint64_t timestamp, lw_buffer *tree_key);
/* What all data records of a user key begin with; also where those of [user_key, ...) begin. For an
 * empty key: where data records begin at all. */
void lw_record_data_prefix(lw_bytes user_key, lw_buffer *tree_key);
/* Just behind all data records of the user key; for an empty key, behind all data records. */
void lw_record_data_end(lw_bytes user_key, lw_buffer *tree_key);
void lw_record_lock_key(lw_bytes user_key, lw_buffer *tree_key);
/* Where the locks on [user_key, ...) begin; and where all locks end. */
void lw_record_lock_end(lw_buffer *tree_key);
/* Of the shard that begins at `start_key`, which may be empty. */
void lw_record_meta_key(lw_bytes start_key, const char *name, lw_buffer *tree_key);
/* What the records of all shards that begin at or behind `start_key` follow; and where all end. */
void lw_record_meta_prefix(lw_bytes start_key, lw_buffer *tree_key);
void lw_record_meta_end(lw_buffer *tree_key);
/* The name in such a key: a view; empty if it is none. */
lw_bytes lw_record_meta_name(lw_bytes tree_key);

/* Whether a key of the tree stands among those of data records. */
bool lw_record_is_data(lw_bytes tree_key);
/* ... or among the shard's own. */
bool lw_record_is_meta(lw_bytes tree_key);
/* Takes the key of a data record apart: what it shares with the other versions, and its timestamp.
 * LW_CORRUPTION if it is none. */
LW_MUST_USE lw_status lw_record_data_key_split(lw_bytes tree_key, lw_bytes *prefix,
                                               uint64_t *timestamp);
/* Appends the user key behind such a prefix. LW_CORRUPTION if it is not well-formed. */
LW_MUST_USE lw_status lw_record_user_key(lw_bytes prefix, lw_buffer *user_key);
/* Appends what of a user key is in the key of a data record that may have been cut off anywhere:
 * nothing that begins with such a piece lies before it. */
void lw_record_user_key_piece(lw_bytes piece, lw_buffer *user_key);
/* The user key of a lock record: a view. */
lw_bytes lw_record_locked_key(lw_bytes tree_key);
/* The part that all versions share, for the filters of tables: see lw_filter_part. Bounds are taken
 * as they are, not for keys that end in a timestamp. */
size_t lw_record_filter_part(lw_bytes tree_key);

/* ---- values --------------------------------------------------------------------------------- */

typedef enum lw_record_kind {
    LW_RECORD_PUT = 1,
    LW_RECORD_DELETE = 2,
    LW_RECORD_ROLLBACK = 3, /* the transaction `start` will never commit here (hazard T2) */
    LW_RECORD_MARK = 4,     /* `start` committed, and wrote nothing here: no version */
} lw_record_kind;

typedef struct lw_data_record {
    lw_record_kind kind;
    uint64_t start;
    uint64_t expires; /* PUT: readers at or above it do not see the value any more; 0: all do */
    lw_bytes value;
} lw_data_record;
/* Whether a reader at `timestamp` whom this version is for finds a value in it. What expires is as
 * if deleted then. */
static inline bool lw_data_record_gives(const lw_data_record *record, uint64_t timestamp) {
    return record->kind == LW_RECORD_PUT && (record->expires == 0 || timestamp < record->expires);
}

typedef struct lw_lock_record {
    lw_mutation_kind kind;
    uint64_t start;
    uint64_t floor;            /* the commit timestamp will be above it (hazards T4, T5) */
    uint64_t expires;          /* a timestamp: from then on others may roll it back (hazard T8) */
    uint64_t session;          /* whose end has it swept */
    uint64_t commit_timestamp; /* of an async commit; 0: classic */
    uint32_t sequence;         /* a prewrite with a higher one replaces the intent */
    lw_bytes primary;
    lw_bytes secondaries; /* as they lie in the record: see lw_lock_secondary */
    lw_bytes value;
    uint64_t ttl_ms, put_expires; /* as in lw_mutation */
} lw_lock_record;

/* These replace what `out` held. */
void lw_data_record_encode(const lw_data_record *record, uint64_t timestamp, lw_buffer *out);
void lw_lock_record_encode(const lw_lock_record *record, lw_buffer *out);
/* Whether the bytes are of a version that expires. Compaction must see when, so its value is never
 * kept apart from its key. */
bool lw_data_record_expiring(lw_bytes bytes);
/* Whether they are of a version, expiring or not. */
bool lw_data_record_is_version(lw_bytes bytes);
/* Views point into `bytes`. LW_CORRUPTION names the key. */
LW_MUST_USE lw_status lw_data_record_decode(lw_bytes tree_key, uint64_t timestamp, lw_bytes bytes,
                                            lw_data_record *record);
LW_MUST_USE lw_status lw_lock_record_decode(lw_bytes tree_key, lw_bytes bytes,
                                            lw_lock_record *record);
/* Appends a key to the secondaries of a lock; takes the next one from their front, until false. */
void lw_lock_secondary_add(lw_bytes key, lw_buffer *secondaries);
LW_MUST_USE bool lw_lock_secondary(lw_bytes *secondaries, lw_bytes *key);

#endif
