/* SPDX-License-Identifier: Apache-2.0 */
/* What a client and a shard say to each other about transactions: the bodies of requests and
 * replies, as MessagePack arrays. Pure: bytes in, structs of views out, nothing allocated but in
 * the caller's arena.
 *
 * A transaction is known by its start timestamp, which the oracle gave to it alone. Every reply
 * carries one more timestamp (lw_reply.spare), which the session may use as the start timestamp of
 * a transaction that has read nothing: so a blind write needs one round trip, and is still
 * idempotent.
 *
 * What was seen. A transaction vouches for what it read with `seen` timestamps: "nothing newer than
 * this may be committed to that key (or range) when I commit". LW_SEEN_ANYTHING vouches for
 * nothing.
 *
 * All of these may be sent twice, or arrive late, without harm (hazards T2, T6). */
#ifndef LW_TXN_REQUEST_H
#define LW_TXN_REQUEST_H

#include "base/bytes.h"
#include "base/codec.h"

#define LW_SEEN_ANYTHING UINT64_MAX

typedef enum lw_mutation_kind {
    LW_MUTATION_PUT = 1,
    LW_MUTATION_DELETE = 2,
    LW_MUTATION_LOCK = 3, /* writes nothing; the key takes part in conflicts (get for update) */
    /* Atomic: see txn/atomic.h. */
    LW_MUTATION_ADD = 4,
    LW_MUTATION_MIN = 5,
    LW_MUTATION_MAX = 6,
    LW_MUTATION_APPEND = 7,
    LW_MUTATION_SWAP = 8,
    LW_MUTATION_STAMP = 9,
} lw_mutation_kind;

typedef struct lw_mutation {
    lw_mutation_kind kind;
    lw_bytes key, value; /* of an atomic one: the operand */
    uint64_t seen;       /* conflict if a newer version of the key is committed */
    /* A PUT may expire: so long after its commit (0: never), or, once an atomic mutation of a value
     * that expires was worked out, when that does (a timestamp; 0: see ttl_ms; not on the wire). */
    uint64_t ttl_ms;
    uint64_t expires;
} lw_mutation;

typedef struct lw_seen_key {
    lw_bytes key;
    uint64_t seen;
} lw_seen_key;
typedef struct lw_seen_range {
    lw_bytes lower, upper; /* [lower, upper); an empty one is no bound */
    uint64_t seen;
} lw_seen_range;

/* ---- TIMESTAMP: → first of `count` timestamps that are the caller's alone ----------------- */
typedef struct lw_timestamp_request {
    uint32_t count; /* 1..65536 */
} lw_timestamp_request;
typedef struct lw_timestamp_reply {
    uint64_t first;
} lw_timestamp_reply;

/* ---- GET: many keys at one timestamp ------------------------------------------------------ */
typedef struct lw_get_request {
    uint64_t read_timestamp; /* 0: a fresh one, which is then the reader's alone, and its start */
    uint64_t start;          /* the reader's own transaction, whose intents it sees; 0: none */
    const lw_bytes *keys;
    uint32_t key_count;
} lw_get_request;
/* Values in the order of the keys. A reply may answer fewer keys than asked (at least one) to stay
 * within a frame: the client asks again for the rest. */
typedef struct lw_get_value {
    bool found;
    uint64_t commit_timestamp; /* of the version read; 0: an intent of the reader's own */
    lw_bytes value;
} lw_get_value;
typedef struct lw_get_reply {
    uint64_t read_timestamp;
    const lw_get_value *values;
    uint32_t value_count;
} lw_get_reply;

/* ---- SCAN: a page of a range at one timestamp --------------------------------------------- */
typedef struct lw_scan_request {
    uint64_t read_timestamp; /* as for GET */
    uint64_t start;
    lw_bytes lower, upper;
    bool backwards, keys_only;
    uint32_t row_limit;  /* 1.. */
    uint32_t byte_limit; /* a page ends after the row that reaches it */
} lw_scan_request;
typedef struct lw_scan_row {
    lw_bytes key, value;
} lw_scan_row;
typedef struct lw_scan_reply {
    uint64_t read_timestamp;
    bool more; /* the range may hold further keys beyond the last one */
    const lw_scan_row *rows;
    uint32_t row_count;
} lw_scan_reply;

/* ---- COMMIT_NOW: a whole transaction of one shard, in one round --------------------------- */
typedef struct lw_commit_now_request {
    uint64_t start;
    const lw_mutation *mutations; /* distinct keys, in key order */
    uint32_t mutation_count;
    const lw_seen_key *keys; /* strict isolation: what was read */
    uint32_t key_count;
    const lw_seen_range *ranges;
    uint32_t range_count;
} lw_commit_now_request;
/* What an atomic mutation did. */
typedef struct lw_commit_result {
    bool applied;   /* only a SWAP may not be */
    bool found;     /* whether the key has a value now */
    lw_bytes value; /* it; of an APPEND: its size, u64 little-endian; of a STAMP: nothing */
} lw_commit_result;
/* Also the reply of a COMMIT, without results. */
typedef struct lw_commit_reply {
    uint64_t commit_timestamp;
    const lw_commit_result *results; /* of the atomic mutations, in their order */
    uint32_t result_count;
} lw_commit_reply;

/* ---- PREWRITE: locks with intents; the first phase of Percolator --------------------------
 *
 * With a commit timestamp: an async commit. The transaction is committed at it at the moment when
 * all of its keys are locked so, and nobody need say so any more (docs/ARCHITECTURE.md). Locks that
 * cannot be granted so, as somebody has read or written above it already, are classic ones, and the
 * reply says that they are: then the transaction goes on in two phases. */
typedef struct lw_prewrite_request {
    uint64_t start;
    lw_bytes primary;
    uint32_t lifetime_ms; /* the lock may be rolled back by others when so long unrefreshed */
    const lw_mutation *mutations;
    uint32_t mutation_count;
    uint64_t commit_timestamp; /* drawn after the transaction began, above its start; 0: classic */
    uint32_t sequence;         /* an intent of the same transaction with a lower one is replaced */
    /* With a commit timestamp only. Of the request that holds the primary: all other keys of the
     * transaction, at most LW_SECONDARY_COUNT_MAX and LW_SECONDARY_BYTES_MAX. */
    const lw_bytes *secondaries;
    uint32_t secondary_count;
    const lw_seen_key *keys; /* strict isolation: what was read on this shard */
    uint32_t key_count;
    const lw_seen_range *ranges;
    uint32_t range_count;
} lw_prewrite_request;
typedef struct lw_prewrite_reply {
    uint64_t committed; /* when an earlier copy of the transaction committed: it is over, and
                           successful; 0: it did not */
    bool asynchronous;  /* all keys of the request are locked with the commit timestamp asked for */
    uint64_t valid_until; /* it must commit below this timestamp, at which something expires that
                             its mutations vouch for; UINT64_MAX: nothing does */
} lw_prewrite_reply;

/* ---- VALIDATE: nothing newer than what was seen is or will be committed by then ------------ */
typedef struct lw_validate_request {
    uint64_t start, commit_timestamp;
    const lw_seen_key *keys;
    uint32_t key_count;
    const lw_seen_range *ranges;
    uint32_t range_count;
} lw_validate_request;

/* ---- COMMIT and ROLLBACK: the second phase, and the resolving of locks that others left
 * -------------- ROLLBACK of a key leaves a rollback record, so that a late prewrite fails, and
 * frees the pessimistic locks of the transaction on these keys. With no keys at all it frees all of
 * its pessimistic locks. */
typedef struct lw_finish_request {
    uint64_t start;
    uint64_t commit_timestamp; /* 0 in a ROLLBACK */
    const lw_bytes *keys;
    uint32_t key_count;
} lw_finish_request;

/* ---- FINISH_RANGE: the same for all locks of a transaction in a range of keys -------------------
 * Answered as soon as it is taken on, and carried out behind the reply. */
typedef struct lw_finish_range_request {
    uint64_t start;
    uint64_t commit_timestamp; /* 0: roll back */
    lw_bytes lower, upper;     /* [lower, upper); an empty one is no bound */
} lw_finish_range_request;

/* ---- CHECK: what became of a transaction, decided at its primary key (hazard T1) ---------- */
typedef struct lw_check_request {
    uint64_t start;
    lw_bytes primary;
    bool decide;  /* true: a classic lock that is alive is rolled back too (the owner asks) */
    bool patient; /* true: the primary's prewrite may still be on its way: a transaction that is
                     unknown there is left alone. Else it is rolled back */
} lw_check_request;
typedef enum lw_fate {
    LW_FATE_ALIVE = 1,
    LW_FATE_COMMITTED = 2,
    LW_FATE_ABORTED = 3,
    LW_FATE_UNKNOWN = 4, /* only to the patient */
} lw_fate;
typedef struct lw_check_reply {
    lw_fate fate;
    uint64_t commit_timestamp; /* committed; or alive and asynchronous: the one it may have */
    uint64_t remaining_ms; /* alive: until the lock may be rolled back; 0: an asynchronous one has
                              expired */
    /* Alive: the primary is locked for an async commit, so the secondaries decide too. CHECK never
     * rolls such a lock back. */
    bool asynchronous;
    const lw_bytes *secondaries;
    uint32_t secondary_count;
} lw_check_reply;

/* ---- CHECK_SECONDARIES: whether the keys of an async commit are locked for it ------------------
 * The first that holds, of: one is committed; one is rolled back; one has a lock that is not of the
 * async commit; one is not locked at all; all are locked. */
typedef struct lw_check_secondaries_request {
    uint64_t start, commit_timestamp;
    const lw_bytes *keys;
    uint32_t key_count;
    bool decide; /* true: a key that is not locked is rolled back, so that it never will be */
} lw_check_secondaries_request;
typedef enum lw_secondary_state {
    LW_SECONDARIES_LOCKED = 1,    /* all, with the commit timestamp */
    LW_SECONDARIES_COMMITTED = 2, /* the transaction is */
    LW_SECONDARIES_ABORTED = 3,   /* the transaction cannot be committed any more */
    LW_SECONDARIES_MISSING = 4,   /* some not yet; never if the request decides */
    LW_SECONDARIES_CLASSIC = 5,   /* the primary alone decides, whatever its lock says */
} lw_secondary_state;
typedef struct lw_check_secondaries_reply {
    lw_secondary_state state;
    uint64_t commit_timestamp; /* committed; else 0 */
} lw_check_secondaries_reply;

/* ---- LOCK: a pessimistic lock on each key, waiting for other holders ---------------------- */
typedef struct lw_lock_request {
    uint64_t start; /* 0: a fresh one */
    const lw_bytes *keys;
    uint32_t key_count;
    uint32_t wait_ms; /* at most so long; then LW_TIMEOUT */
    bool read;        /* the newest values come along */
} lw_lock_request;
/* Values as in GET when asked for; each mutation of these keys then says seen = for_update. */
typedef struct lw_lock_reply {
    uint64_t start;
    uint64_t for_update; /* no version newer than this was committed when the locks were taken */
    const lw_get_value *values;
    uint32_t value_count;
} lw_lock_reply;

/* ---- HEARTBEAT: a long commit keeps its primary lock alive -------------------------------- */
typedef struct lw_heartbeat_request {
    uint64_t start;
    lw_bytes primary;
    uint32_t lifetime_ms; /* from now */
} lw_heartbeat_request;

/* ---- LOCKS: a page of the locks on the keys of a shard, for people ------------------------ */
typedef struct lw_locks_request {
    lw_bytes lower;     /* keys from here on; empty: all */
    uint32_t row_limit; /* 1..LW_LOCK_ROW_COUNT_MAX */
} lw_locks_request;
typedef enum lw_lock_row_kind {
    LW_LOCK_ROW_PESSIMISTIC = 1, /* in memory */
    LW_LOCK_ROW_PREWRITTEN = 2,  /* in the tree */
    LW_LOCK_ROW_ASYNC = 3,       /* in the tree, for an async commit */
} lw_lock_row_kind;
/* Who waits for a lock. */
typedef struct lw_lock_wait {
    uint64_t start;
    lw_bytes label;
    uint64_t waited_ms;
} lw_lock_wait;
typedef struct lw_lock_row {
    lw_bytes key;
    lw_lock_row_kind kind;
    uint64_t start;   /* of who holds it */
    lw_bytes label;   /* of its client, if known */
    uint64_t held_ms; /* pessimistic: since it has the key; else: since the transaction began */
    uint64_t remaining_ms; /* until others may roll it back; pessimistic: 0, its session's end */
    uint32_t waiting;      /* how many wait for it */
    const lw_lock_wait *waits; /* the first of them, in their order */
    uint32_t wait_count;       /* at most LW_LOCK_WAIT_COUNT_MAX */
} lw_lock_row;
typedef struct lw_locks_reply {
    bool more; /* go on at `next`, with the shard that holds it */
    lw_bytes next;
    const lw_lock_row *rows;
    uint32_t row_count;
} lw_locks_reply;

/* ---- KILL: to the first shard's node: rolls back a transaction that is not decided --------- */
typedef struct lw_kill_request {
    uint64_t start;
} lw_kill_request;
typedef struct lw_kill_reply {
    lw_fate fate;              /* ABORTED: now; COMMITTED: too late; UNKNOWN: it has nothing here */
    uint64_t commit_timestamp; /* committed; 0 if that is not known any more */
} lw_kill_reply;

/* ---- PIN: the safepoint does not pass a timestamp, so that it can be read; UNPIN: it may again,
 * answered at once. To the root shard. ------------------------------------------------------- */
typedef struct lw_pin_request {
    uint64_t timestamp;   /* PIN: 0 stands for now */
    uint64_t lifetime_ms; /* from now, at most LW_PIN_LIFETIME_MAX_MS; UNPIN: 0 */
    bool asked;           /* UNPIN: what PIN has pinned, and not only what its own reading has */
} lw_pin_request;
/* PIN: what is pinned then; it is durable. */
typedef struct lw_pin_reply {
    uint64_t timestamp;
} lw_pin_reply;

/* ---- COLLECT: one step of collecting garbage, from the node that leads the root shard to the
 * leader of the shard that holds a key (node/gc.h) ------------------------------------------- */
typedef enum lw_collect_step {
    LW_COLLECT_WANTED = 1, /* to the root shard: there is garbage from this safepoint on */
    LW_COLLECT_ASK = 2,    /* how low must the safepoint stay? */
    LW_COLLECT_SETTLE = 3, /* it is decided: let in nobody below it, end what is below it */
    LW_COLLECT_FORGET = 4, /* every shard has settled */
} lw_collect_step;
typedef struct lw_collect_request {
    lw_collect_step step;
    uint64_t safepoint;
    lw_bytes key;
} lw_collect_request;
typedef struct lw_collect_reply {
    uint64_t lowest; /* the safepoint, or what is pinned below it */
    bool settled;    /* nothing below it is open */
    lw_bytes end;    /* where the shard ends that this holds of; empty: nowhere */
} lw_collect_reply;

/* ---- what stands in the way: the body of an LW_CONFLICT reply ----------------------------- */
typedef enum lw_obstacle_kind {
    LW_OBSTACLE_LOCK = 1,        /* a lock of another transaction: CHECK its primary, finish it, try
                                    again */
    LW_OBSTACLE_NEWER = 2,       /* a version newer than what was seen */
    LW_OBSTACLE_ROLLED_BACK = 3, /* this transaction was rolled back by somebody */
    LW_OBSTACLE_DEADLOCK = 4,    /* waiting for the lock would close a cycle */
    LW_OBSTACLE_KILLED = 5,      /* this transaction was killed; the label is of who did it */
} lw_obstacle_kind;
/* A transaction of a deadlock: it waits for the key, which the next one has or asked for before;
 * the last one's the first has. The first is the one that is told. */
typedef struct lw_deadlock_step {
    uint64_t start;
    lw_bytes key;
    lw_bytes label;
} lw_deadlock_step;
typedef struct lw_obstacle {
    lw_obstacle_kind kind;
    lw_bytes key;
    uint64_t start;            /* the other transaction */
    uint64_t commit_timestamp; /* NEWER */
    lw_bytes primary;          /* LOCK */
    uint64_t remaining_ms;     /* LOCK: until others may roll it back; 0: now */
    lw_bytes label;            /* of the other's client, if known */
    uint64_t waited_ms;        /* how long the request waited for locks of others */
    uint32_t cycle_length;     /* DEADLOCK: transactions in it */
    uint32_t step_count;       /* ... the first of them */
    const lw_deadlock_step *steps;
} lw_obstacle;

/* Encoders append to `body`; decoders take arrays from `arena`, views point into `body`, and
 * LW_INVALID_ARGUMENT says what is wrong: also an empty or over-long key (LW_USER_KEY_SIZE_MAX; the
 * bound of a range may be empty, and one byte longer, so that it can lie just behind any key), an
 * over-long value (LW_USER_VALUE_SIZE_MAX), mutations out of order, a start of 0 where one is
 * needed, more than LW_REQUEST_ITEM_COUNT_MAX items in one array. The format is at the head of
 * request.c. */
enum {
    LW_USER_KEY_SIZE_MAX = 16 * 1024,
    LW_USER_VALUE_SIZE_MAX = 16 * 1024 * 1024,
    LW_REQUEST_ITEM_COUNT_MAX = 256 * 1024, /* keys, mutations, rows ... of one message */
    LW_TIMESTAMP_COUNT_MAX = 64 * 1024,     /* of one TIMESTAMP request */
    LW_LOCK_ROW_COUNT_MAX = 1024,           /* of one LOCKS reply */
    LW_LOCK_WAIT_COUNT_MAX = 16,            /* of one of its rows */
    LW_SECONDARY_COUNT_MAX = 256,           /* of an async commit */
    LW_SECONDARY_BYTES_MAX = 64 * 1024,     /* of their keys */
};
#define LW_PIN_LIFETIME_MAX_MS (UINT64_C(1000) * 60 * 60 * 1000) /* 1000 hours */
#define LW_USER_TTL_MAX_MS     UINT64_C(4398046511104)           /* 139 years */

#define LW_TXN_CODEC(name)                                              \
    void lw_##name##_encode(const lw_##name *message, lw_buffer *body); \
    LW_MUST_USE lw_status lw_##name##_decode(lw_bytes body, lw_arena *arena, lw_##name *message);

LW_TXN_CODEC(timestamp_request)
LW_TXN_CODEC(timestamp_reply)
LW_TXN_CODEC(get_request)
LW_TXN_CODEC(get_reply)
LW_TXN_CODEC(scan_request)
LW_TXN_CODEC(scan_reply)
LW_TXN_CODEC(commit_now_request)
LW_TXN_CODEC(commit_reply)
LW_TXN_CODEC(prewrite_request)
LW_TXN_CODEC(prewrite_reply)
LW_TXN_CODEC(validate_request)
LW_TXN_CODEC(finish_request)
LW_TXN_CODEC(finish_range_request)
LW_TXN_CODEC(check_request)
LW_TXN_CODEC(check_reply)
LW_TXN_CODEC(check_secondaries_request)
LW_TXN_CODEC(check_secondaries_reply)
LW_TXN_CODEC(lock_request)
LW_TXN_CODEC(lock_reply)
LW_TXN_CODEC(heartbeat_request)
LW_TXN_CODEC(locks_request)
LW_TXN_CODEC(locks_reply)
LW_TXN_CODEC(kill_request)
LW_TXN_CODEC(kill_reply)
LW_TXN_CODEC(pin_request)
LW_TXN_CODEC(pin_reply)
LW_TXN_CODEC(collect_request)
LW_TXN_CODEC(collect_reply)
LW_TXN_CODEC(obstacle)

#endif
