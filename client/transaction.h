/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client library: a transaction's state, shared by reading, writing, scanning,
 * committing. */
#ifndef LW_TRANSACTION_H
#define LW_TRANSACTION_H

#include "base/hash.h"
#include "client/client.h"
#include "client/touched.h"
#include "client/write_set.h"

/* A key that was read, and must still be what it was when a strict transaction commits. */
typedef struct lw_read_key {
    lw_map_node node;
    struct lw_read_key *next; /* in the order of reading */
    lw_seen_key seen;
} lw_read_key;

/* A range that was scanned, as far as the scan came. */
typedef struct lw_read_range {
    struct lw_read_range *next;
    lw_seen_range seen;
} lw_read_range;

typedef enum lw_txn_state { LW_TXN_OPEN, LW_TXN_ENDED } lw_txn_state;

struct lw_txn {
    lw_client *client;
    lw_txn *previous, *next; /* among the client's open ones */
    lw_txn_options options;
    lw_txn_state state;
    uint64_t held_up_ns; /* when the lock that is in the way was met first */
    uint64_t deadline_ns;
    uint64_t start;            /* what the transaction is known by; 0: nothing sent yet */
    uint64_t read_timestamp;   /* the snapshot; 0: none yet */
    uint64_t commit_timestamp; /* once committed */
    uint64_t valid_until;      /* what is prewritten must commit below this timestamp, or never */
    bool locks;                /* pessimistic locks may be held ... */
    lw_touched locked;         /* ... on these keys; in the arena */
    uint64_t begun_ns;
    lw_write_set writes;
    /* Of a large transaction, whose writes are prewritten ahead of the commit (client/large.c). */
    uint32_t flushes;                /* how often that was begun */
    uint64_t refreshed_ns;           /* when the primary lock last began its lifetime */
    lw_bytes primary;                /* in the arena */
    lw_touched touched;              /* what is prewritten; in the arena */
    struct lw_savepoint *savepoints; /* the newest one; in the arena */
    struct lw_stamped *stamped;      /* the newest one; in the arena (client/stamped.c) */
    lw_arena arena;                  /* ranges, savepoints, and what was touched */
    lw_arena read_arena;             /* the keys that were read */
    lw_map read_keys;
    lw_read_key *first_read, *last_read;
    lw_read_range *ranges;
    uint64_t read_count, range_count;
    uint64_t read_bytes; /* of the keys and bounds above */
    lw_buffer request;   /* body of the request being made */
    lw_buffer values;    /* what the views handed out point into */
    lw_buffer token;
    uint32_t scans; /* open ones */
    /* Of a lone atomic write: what it did, and where the value lives. NULL: nobody asks. */
    lw_commit_result *result;
    lw_buffer *result_value;
};

/* Checks that belong in front of every call. */
LW_MUST_USE lw_status lw_txn_check_open(const lw_txn *txn);
LW_MUST_USE lw_status lw_txn_check_key(lw_bytes key);
LW_MUST_USE lw_status lw_txn_check_write(const lw_txn *txn, lw_bytes key, lw_bytes value);

/* Makes the call, whose body is in txn->request, again and again while locks of others are in its
 * way, finishing those whose transaction is over and waiting for those that live. Returns as
 * lw_client_call_all, but LW_CONFLICT only for what no waiting cures; the reason then names the key
 * and the other. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_call(lw_txn *txn, lw_call *call);
/* Deals with the body of an LW_CONFLICT reply so: LW_OK means try again. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_take_conflict(lw_txn *txn, lw_bytes body, uint32_t attempt);
/* Deals with the lock in `obstacle`: finishes its transaction's key if that is decided, else
 * pauses. LW_OK: try again. LW_TIMEOUT: it still stands at the deadline. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_resolve(lw_txn *txn, const lw_obstacle *obstacle,
                                               uint32_t attempt);
/* Turns an obstacle that cannot be waited for into the error that the user sees. */
LW_MUST_USE lw_status lw_txn_conflict(const lw_obstacle *obstacle);
/* LW_TIMEOUT in words: the lock in the way still lives. */
LW_MUST_USE lw_status lw_txn_held_up(lw_txn *txn, const lw_obstacle *obstacle);

/* Notes what must still hold at commit. Only strict transactions that may write need it. */
void lw_txn_note_key(lw_txn *txn, lw_bytes key, uint64_t seen);
/* Returns the range, so that a scan can widen it as it goes on. `NULL` if nothing needs noting. */
lw_read_range *lw_txn_note_range(lw_txn *txn, lw_bytes lower, lw_bytes upper);
/* What the transaction itself knows of a key: LW_OK or LW_NOT_FOUND. False if it must ask. */
bool lw_txn_read_own(const lw_txn *txn, lw_bytes key, lw_status *status, lw_bytes *value);
/* Asks the key's shard at the snapshot. The value lives until the client's next call. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_ask(lw_txn *txn, lw_bytes key, lw_get_value *value);
/* Before a read: one that is to see what the transaction has sent ahead names it, and so cannot
 * have its snapshot drawn by the node that reads. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_draw_snapshot(lw_txn *txn);
/* Takes the snapshot of a first read; a later one must be of the same. */
LW_MUST_USE lw_status lw_txn_take_snapshot(lw_txn *txn, uint64_t read_timestamp);
/* What the key has apart from the transaction's own writes, vouched for as any read; in a
 * pessimistic transaction the newest there is, and its LOCK replaces the own write. The view lives
 * until the client's next call.
 */
LW_MUST_USE LW_YIELDS lw_status lw_txn_read_committed(lw_txn *txn, lw_bytes key, lw_bytes *value);
/* Turns an atomic write on the key, if there is one, into an ordinary one (client/atomic.c). */
LW_MUST_USE LW_YIELDS lw_status lw_txn_settle(lw_txn *txn, lw_bytes key);
/* If the node may keep the snapshot for this transaction longer than the past, it need not any more
 * (client/pin.c). Sends that behind, and does not wait. */
void lw_txn_let_go(lw_txn *txn);
/* Sends the writes ahead and forgets them if they have grown large; after every write. A failure
 * has ended the transaction. Views of own writes do not outlive it. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_flush_if_large(lw_txn *txn);
/* Rolls back what was sent ahead. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_drop_flushed(lw_txn *txn);
/* How long its locks live unrefreshed: a large transaction may take as long as it has, any other is
 * soon over. */
uint32_t lw_txn_lifetime_ms(const lw_txn *txn);
/* Sends the commit (client/commit.c). */
LW_MUST_USE LW_YIELDS lw_status lw_txn_commit(lw_txn *txn);
/* The same at this timestamp, which was drawn after the transaction's start, and no other. If some
 * shard does not grant it nothing was committed, and never will be under this start. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_commit_at(lw_txn *txn, uint64_t timestamp, bool *granted);
/* Frees the pessimistic locks, unless a node does not hear it by the deadline. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_release_locks(lw_txn *txn, uint64_t deadline_ns);

#endif
