/* SPDX-License-Identifier: Apache-2.0 */
/* Where every shard is, as far as is known: descriptors, hints at their leaders, and which of them
 * are idle, from any source in any order. What it says is a hint. The shard's own group is what
 * decides (DESIGN §5), and a replica that knows better says so.
 *
 * The state is a map from shard id to its newest descriptor, newest leader and newest turn of being
 * idle; that is a join. Who overlaps whom is no part of it: while a split is known by halves,
 * parent and child may claim the same keys, and looking up prefers the higher range version.
 *
 *   entry   = [ descriptor (as in TOPOLOGY, lattice/message.h), term, disputed,
 *               idle turns ]                                    not in entries of before
 *   entries = [ entry, … ]                                      a page
 *
 * Invariants
 * D1. Merging is commutative, associative, idempotent and monotone (hazard G2).
 * D2. Of two descriptors of a shard the one of the higher (range version, config version) wins. At
 *     the same epoch they are the same, or the entry becomes `disputed`: an alarm, which only a
 *     higher epoch ends; the content kept then is the one that sorts first (hazard G3).
 * D3. Of two leaders the one of the higher term wins; so does a known one over none in one term.
 * D4. Of two turns of being idle the higher one wins, whoever led: the one who leads adds one when
 *     it is not as it is known to be, so what is known outlives a leader that has not judged yet.
 * D5. Memory is bounded by LW_DIRECTORY_SHARDS_MAX; about 200 bytes a shard of three replicas with
 *     16-byte keys. */
#ifndef LW_DIRECTORY_H
#define LW_DIRECTORY_H

#include "base/hash.h"
#include "lattice/message.h"
#include "lattice/planted.h"

enum {
    LW_DIRECTORY_SHARDS_MAX = 100000,
    LW_DIRECTORY_BUCKETS = 256, /* of digests */
};

typedef struct lw_directory {
    lw_memory *memory;
    struct lw_directory_entry **by_start; /* ascending by (start, id) */
    uint32_t count, capacity;
    size_t entry_bytes; /* of all entries */
    lw_map by_id;
    lw_buffer scratch;                      /* an entry, encoded */
    uint64_t buckets[LW_DIRECTORY_BUCKETS]; /* digests: sums over the hashes of entries */
    uint64_t weight;                        /* rises with every change, whatever it is */
#ifdef LW_SIMULATION
    uint64_t bugs; /* planted ones, bits of lw_planted_bug */
#endif
} lw_directory;

typedef enum lw_directory_merged {
    LW_DIRECTORY_OLD,      /* it was known, or older than what is known */
    LW_DIRECTORY_CHANGED,  /* new, or newer in descriptor or leader */
    LW_DIRECTORY_DISPUTED, /* has just become so: same epoch, different content */
    LW_DIRECTORY_FULL,     /* one shard too many */
} lw_directory_merged;

typedef struct lw_directory_row {
    lw_shard_descriptor shard; /* leader_address is left out */
    uint64_t term;             /* the newest known; shard.leader leads in it, 0: who is not known */
    bool disputed;
    /* Odd: it is small and has had little to do for long, says who leads it (lattice/neighbour.h).
     */
    uint64_t idle_turns;
} lw_directory_row;

lw_directory lw_directory_in(lw_memory *memory);
void lw_directory_reset(lw_directory *directory);
/* Takes a row in; it is copied. */
lw_directory_merged lw_directory_merge(lw_directory *directory, const lw_directory_row *row);
/* By id, and by a key that it holds; false if there is none. Views are valid until the next merge.
 */
LW_MUST_USE bool lw_directory_find(const lw_directory *directory, uint64_t shard,
                                   lw_directory_row *row);
LW_MUST_USE bool lw_directory_lookup(const lw_directory *directory, lw_bytes key,
                                     lw_directory_row *row);
/* The one that ends where `key` begins, and is not empty: of several, some of before, the one of
 * the highest range version. */
LW_MUST_USE bool lw_directory_before(const lw_directory *directory, lw_bytes key,
                                     lw_directory_row *row);
/* The index of the first that begins behind `key`. */
uint32_t lw_directory_behind(const lw_directory *directory, lw_bytes key);
/* The one at `index` in the order of ranges, stale ones among them. */
void lw_directory_at(const lw_directory *directory, uint32_t index, lw_directory_row *row);
uint64_t lw_directory_digest(const lw_directory *directory);
/* Where a shard counts in `buckets`. */
uint32_t lw_directory_bucket(uint64_t shard);
/* Bytes of memory it takes now. */
size_t lw_directory_size(const lw_directory *directory);

void lw_directory_row_encode(const lw_directory_row *row, lw_buffer *out);
/* One row of an array that the reader stands in. */
LW_MUST_USE lw_status lw_directory_row_next(lw_reader *reader, lw_directory_row *row);

#endif
