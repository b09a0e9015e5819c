/* SPDX-License-Identifier: Apache-2.0 */
/* Lathwork: a transactional key-value store. This is the whole public interface of the C client.
 *
 * Shapes
 *   lw_client  a connection to a lattice: open one per thread, or one per user of a thread.
 *   lw_txn     one transaction of a client.
 *   lw_scan    one walk over keys inside a transaction.
 *
 * Threads. There is no hidden thread and no global state. A client, with its transactions and
 * scans, may be used by one thread at a time; different clients are independent, in any number.
 *
 * Lifetime. Everything opened is closed by its own call: scans before their transaction,
 * transactions before their client. Keys and values passed in are copied before the call returns.
 * Views handed out (lw_bytes, error texts) belong to the handle; each call says how long they live.
 *
 * Keys are 1 to LW_KEY_SIZE_MAX bytes, values 0 to LW_VALUE_SIZE_MAX; both are any bytes, ordered
 * as unsigned bytes. An empty value is a value.
 *
 * Errors. Calls return an lw_status; lw_client_error says why, in words. LW_NOT_FOUND and LW_EXISTS
 * are answers, not failures: the transaction goes on. After LW_CONFLICT the transaction is over:
 * close it and run it again from the start, which lw_run does. After LW_UNDETERMINED nobody knows
 * whether the commit happened; do not repeat it blindly: ask lw_txn_outcome with
 * lw_undetermined_token.
 *
 * Deadlines. Every call ends by its transaction's deadline, or the client's timeout where there is
 * no transaction.
 *
 * Limits. What is beyond one of the constants below, or beyond a limit that a call names, is
 * LW_INVALID_ARGUMENT, and the message says which limit and by how much; nothing is ever cut. There
 * is no limit on the number of keys, writes and reads of a transaction, and none but memory on the
 * number of transactions, scans and savepoints, and none on how long a transaction lasts but its
 * deadline, at most UINT32_MAX ms (49 days). docs/LIMITS.md lists all of them, those of a node too.
 *
 * Several nodes. A client finds all nodes of a lattice through any of them, and asks whoever serves
 * a key. The loss of a node in the middle of a call shows in its outcome only if nobody takes over
 * before the deadline. A client does nothing between calls: a transaction that holds locks on a
 * node which fails meanwhile keeps them if it makes its next call within three seconds or so; else
 * it may end in LW_CONFLICT, and is to be run again.
 *
 * Large transactions. A client keeps the writes of a transaction until the commit, up to
 * lw_client_options.write_memory. One that outgrows it sends them to the nodes ahead, where its own
 * reads find them, and nobody else. Its keys stay locked until it ends: others that need them wait.
 * A write may then fail as a commit does, and a savepoint set before can no longer be rolled back
 * to; if it is rolled back meanwhile, a read of a key that it wrote is LW_CONFLICT. Keys read
 * beyond 65,536 at strict isolation are vouched for as ranges that cover them, so that a change
 * between them is a conflict too. */
#ifndef LATHWORK_H
#define LATHWORK_H

#include "base/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LW_VERSION         "0.1.0"
#define LW_DEFAULT_ADDRESS "127.0.0.1:7871"

enum {
    LW_KEY_SIZE_MAX = 16 * 1024,          /* bytes; of the upper bound of a range one more */
    LW_VALUE_SIZE_MAX = 16 * 1024 * 1024, /* bytes */
    LW_ADDRESS_SIZE_MAX = 279,            /* bytes of "HOST:PORT" */
    LW_ADDRESS_COUNT_MAX = 64,            /* of nodes to begin with */
    LW_LABEL_SIZE_MAX = 64,               /* bytes */
    LW_SAVEPOINT_SIZE_MAX = 255,          /* bytes of a name */
    LW_STAMP_SIZE = 8,                    /* bytes */
    /* What is sent along with a value takes a little from it, bytes: */
    LW_STAMPED_VALUE_SIZE_MAX = LW_VALUE_SIZE_MAX - 4, /* of lw_put_stamped */
    LW_SWAP_SIZE_MAX = LW_VALUE_SIZE_MAX - 6,          /* both of lw_compare_and_set together */
    /* Of a transaction with stamped keys: how many it writes, and their bytes together. */
    LW_STAMPED_KEY_COUNT_MAX = 257,
    LW_STAMPED_KEY_BYTES_MAX = 64 * 1024,
};
#define LW_TTL_MAX_MS (UINT64_C(1) << 42) /* 139 years */

typedef struct lw_client lw_client;
typedef struct lw_txn lw_txn;
typedef struct lw_scan lw_scan;

/* ---- statuses ------------------------------------------------------------------------------- */

/* "LW_CONFLICT"; what it means in a few words; whether running the transaction again may help (what
 * lw_run retries). */
LW_PUBLIC const char *lw_status_name(lw_status status);
LW_PUBLIC const char *lw_status_text(lw_status status);
LW_PUBLIC int lw_status_is_retryable(lw_status status);

/* ---- clients -------------------------------------------------------------------------------- */

/* Zeroed means: the defaults. */
typedef struct lw_client_options {
    const char *address;   /* "HOST:PORT" of any node, or of several, with commas between them: one
                              of them suffices to hear of all others, but it must be there then;
                              NULL: environment LATHWORK_ADDR, or LW_DEFAULT_ADDRESS */
    const char *label;     /* who you are, shown to those you conflict with; NULL: none */
    uint32_t timeout_ms;   /* for calls outside transactions, and the default deadline of
                              transactions; 0: 10,000 */
    uint64_t write_memory; /* bytes of memory for the writes of a transaction: one that outgrows it
                              sends them to the nodes ahead of its commit; 0: 32 MiB */
} lw_client_options;

/* Opens a client. Nothing is sent: a node that is not there shows at the first call, if there is no
 * other one to ask. `options` may be NULL. On failure `*client` is still a handle, good for
 * lw_client_error and lw_close only.
 *
 * LW_INVALID_ARGUMENT  the address cannot be read. */
LW_MUST_USE LW_PUBLIC lw_status lw_open(const lw_client_options *options, lw_client **client);
/* Closes all connections and frees the handle. Open transactions are rolled back. NULL is allowed.
 */
LW_PUBLIC void lw_close(lw_client *client);
/* Why the last failed call on this client, its transactions or scans failed: one sentence. Never
 * NULL; valid until the next call on any of them. */
LW_PUBLIC const char *lw_client_error(const lw_client *client);
/* Reaches a node and comes back: the first of those it was opened with, unless that is not there.
 */
LW_MUST_USE LW_PUBLIC lw_status lw_ping(lw_client *client);
/* That node's own account of itself as one JSON object; `*json` lives until the next call. */
LW_MUST_USE LW_PUBLIC lw_status lw_node_status(lw_client *client, lw_bytes *json);
/* Lets a shard begin at `key`: the shard that held it until now keeps what is below. Copies
 * nothing, whatever the size; transactions go on, and those that are under way there may wait for
 * it a little. Done already where a shard begins at the key. May be repeated.
 *
 * LW_INVALID_ARGUMENT  the key is empty or too large.
 * LW_FULL              the node's disk is. */
LW_MUST_USE LW_PUBLIC lw_status lw_split(lw_client *client, lw_bytes key);

/* ---- transactions --------------------------------------------------------------------------- */

typedef enum lw_isolation {
    LW_STRICT = 0,   /* strict serializability: as if one at a time, in real-time order */
    LW_SNAPSHOT = 1, /* strong snapshot isolation: all reads from one snapshot that holds everything
                        acknowledged before it; write skew is possible */
} lw_isolation;

typedef enum lw_locking {
    LW_OPTIMISTIC = 0,  /* writes are buffered; conflicts show at commit */
    LW_PESSIMISTIC = 1, /* writes lock their key when they are made, and wait for other holders */
} lw_locking;

/* Zeroed means: strict, optimistic, read and write, now, the client's timeout. */
typedef struct lw_txn_options {
    lw_isolation isolation;
    lw_locking locking;
    int read_only;         /* writes are refused */
    uint64_t at_timestamp; /* read as of this timestamp (implies read_only); 0: now */
    uint32_t timeout_ms;   /* the deadline of the whole transaction, from now; 0: the client's. Its
                              snapshot is kept until then, however short the nodes' retention is */
} lw_txn_options;

/* Begins a transaction; sends nothing. Its snapshot is taken at its first read. `options` may be
 * NULL. LW_INVALID_ARGUMENT for values outside the enumerations. */
LW_MUST_USE LW_PUBLIC lw_status lw_begin(lw_client *client, const lw_txn_options *options,
                                         lw_txn **txn);

/* Reads the value `key` has in this transaction: what it put itself, or what the snapshot holds.
 *
 * value  a view, valid until the next call on `txn`; untouched unless LW_OK.
 *
 * LW_OK, or LW_NOT_FOUND when the key has no value. */
LW_MUST_USE LW_PUBLIC lw_status lw_get(lw_txn *txn, lw_bytes key, lw_bytes *value);
/* As lw_get, and locks the key, so that what is read stays true until commit. In a pessimistic
 * transaction it waits for other holders and reads the newest value; at snapshot isolation that is
 * a conflict if it is newer than the snapshot, which the first read or lock takes. In an optimistic
 * one a change by others is a conflict at commit, at every isolation. */
LW_MUST_USE LW_PUBLIC lw_status lw_get_for_update(lw_txn *txn, lw_bytes key, lw_bytes *value);
/* One key of lw_get_many: the caller sets `key`; `status` becomes LW_OK or LW_NOT_FOUND, and
 * `value` a view as in lw_get. */
typedef struct lw_lookup {
    lw_bytes key;
    lw_status status;
    lw_bytes value;
} lw_lookup;
/* Reads many keys in one round trip (a few for very many). LW_OK when all were looked up. */
LW_MUST_USE LW_PUBLIC lw_status lw_get_many(lw_txn *txn, lw_lookup *lookups, size_t count);

/* Gives `key` the value, whether it had one or not. */
LW_MUST_USE LW_PUBLIC lw_status lw_put(lw_txn *txn, lw_bytes key, lw_bytes value);
/* As lw_put, for so many milliseconds from the commit on (1 to LW_TTL_MAX_MS): then it
 * is as if somebody had deleted the key. That moment belongs to the lattice's time, as timestamps
 * do: a snapshot of before it goes on seeing the value, however late it asks. A transaction that
 * read the value, and whose commit comes after that moment, is in conflict as it would be with that
 * somebody. A later put without a time to live lasts; lw_add, lw_min, lw_max and lw_append leave
 * the value the time it has. */
LW_MUST_USE LW_PUBLIC lw_status lw_put_ttl(lw_txn *txn, lw_bytes key, lw_bytes value,
                                           uint64_t ttl_ms);
/* Gives `key` the value if it has none; LW_EXISTS, and nothing changed, if it has. */
LW_MUST_USE LW_PUBLIC lw_status lw_insert(lw_txn *txn, lw_bytes key, lw_bytes value);
/* Takes the value away. With `existed` not NULL the key is read first, and *existed tells (0 or 1).
 */
LW_MUST_USE LW_PUBLIC lw_status lw_delete(lw_txn *txn, lw_bytes key, int *existed);
/* Deletes every key in [lower, upper), an empty bound being none: those this transaction sees when
 * it calls. At strict isolation a key that others add to the range meanwhile is a conflict.
 * `count`, if not NULL, receives how many there were. */
LW_MUST_USE LW_PUBLIC lw_status lw_delete_range(lw_txn *txn, lw_bytes lower, lw_bytes upper,
                                                uint64_t *count);

/* ---- atomic writes: carried out where the key lies, when the transaction commits ---------------
 */

/* They read nothing and lock nothing, so they are never in conflict with one another, at any
 * isolation, however many add to one key at once. A get or scan of such a key in the same
 * transaction reads it after all, as any other. Numbers are values of 8 bytes, signed,
 * little-endian; no value counts as 0 to add, and as the number itself to min and max. What cannot
 * be done (no number there, a sum beyond 64 bits, a value beyond LW_VALUE_SIZE_MAX) fails the
 * commit with LW_INVALID_ARGUMENT: nothing happened then. */
LW_MUST_USE LW_PUBLIC lw_status lw_add(lw_txn *txn, lw_bytes key, int64_t number);
LW_MUST_USE LW_PUBLIC lw_status lw_min(lw_txn *txn, lw_bytes key, int64_t number);
LW_MUST_USE LW_PUBLIC lw_status lw_max(lw_txn *txn, lw_bytes key, int64_t number);
/* Puts `bytes` behind the value; no value counts as empty. */
LW_MUST_USE LW_PUBLIC lw_status lw_append(lw_txn *txn, lw_bytes key, lw_bytes bytes);
/* As lw_put, and at the commit its timestamp is written into the LW_STAMP_SIZE bytes of the value
 * at `offset`, big-endian, so that stamps sort as the commits did. Cannot be read before. The value
 * has at most LW_STAMPED_VALUE_SIZE_MAX bytes. */
LW_MUST_USE LW_PUBLIC lw_status lw_put_stamped(lw_txn *txn, lw_bytes key, lw_bytes value,
                                               size_t offset);

/* Puts a value under a key that nobody else will have: `prefix`, then the commit timestamp in
 * LW_STAMP_SIZE bytes, big-endian, then `suffix`. So what is put under one prefix is ordered as the
 * commits were: a log that many may write without conflict. lw_commit_timestamp tells the key; it
 * cannot be read before. A second one of the same prefix and suffix replaces the first.
 *
 * A transaction with such keys writes at most LW_STAMPED_KEY_COUNT_MAX keys. Where others scan all
 * the time its commit may take several attempts, which end by its deadline. */
LW_MUST_USE LW_PUBLIC lw_status lw_put_stamped_key(lw_txn *txn, lw_bytes prefix, lw_bytes suffix,
                                                   lw_bytes value);

/* The same as transactions of their own, in one round trip. `now`, if not NULL, receives the number
 * that the key then has; `size` the size of its value. */
LW_MUST_USE LW_PUBLIC lw_status lw_add_now(lw_client *client, lw_bytes key, int64_t number,
                                           int64_t *now);
LW_MUST_USE LW_PUBLIC lw_status lw_min_now(lw_client *client, lw_bytes key, int64_t number,
                                           int64_t *now);
LW_MUST_USE LW_PUBLIC lw_status lw_max_now(lw_client *client, lw_bytes key, int64_t number,
                                           int64_t *now);
LW_MUST_USE LW_PUBLIC lw_status lw_append_now(lw_client *client, lw_bytes key, lw_bytes bytes,
                                              uint64_t *size);
/* Gives `key` the value (NULL: takes it away) if it has the expected one (NULL: none at all).
 * *swapped tells whether it had (0 or 1). Both together have at most LW_SWAP_SIZE_MAX bytes. */
LW_MUST_USE LW_PUBLIC lw_status lw_compare_and_set(lw_client *client, lw_bytes key,
                                                   const lw_bytes *expected, const lw_bytes *value,
                                                   int *swapped);

/* ---- ending --------------------------------------------------------------------------------- */

/* Commits, whatever the number of shards: all of it, or nothing. What lies in one shard takes one
 * round trip; what lies in several mostly one or two: it is committed as soon as every key is
 * locked for its timestamp, which is drawn ahead, and what is left to do is sent behind the answer.
 * Who reads meanwhile sees all of it or waits. A transaction that wrote nothing commits without
 * sending anything.
 *
 * LW_OK            everything is durable, and every read that begins from now on sees it.
 *                  lw_commit_timestamp tells when.
 * LW_CONFLICT      another transaction was first; the message names the key. Nothing happened.
 * LW_UNDETERMINED  the deadline passed after the decision may have been made, and before it could
 *                  be asked for.
 * anything else    nothing happened.
 *
 * Whatever it returns, the transaction has ended: lw_txn_close is all that is left. */
LW_MUST_USE LW_PUBLIC lw_status lw_commit(lw_txn *txn);
/* Gives up what was written. The same as closing it, but tells whether the node heard it. */
LW_MUST_USE LW_PUBLIC lw_status lw_rollback(lw_txn *txn);
/* Marks this point of the transaction. A second savepoint of the same name hides the first. The
 * name is copied. LW_INVALID_ARGUMENT in a transaction that cannot write. */
LW_MUST_USE LW_PUBLIC lw_status lw_savepoint(lw_txn *txn, const char *name);
/* Takes back what was written since the savepoint; the transaction goes on, and the savepoint
 * stays, but none that was set after it. What was read since still counts at commit, and keys that
 * were locked stay locked. LW_INVALID_ARGUMENT if there is no such savepoint. */
LW_MUST_USE LW_PUBLIC lw_status lw_rollback_to(lw_txn *txn, const char *name);
/* Frees the transaction; one that is still open is rolled back. NULL is allowed. */
LW_PUBLIC void lw_txn_close(lw_txn *txn);

/* The snapshot's timestamp (0 before the first read), and the commit's (0 unless committed with
 * writes). Timestamps of one lattice increase with real time. */
LW_PUBLIC uint64_t lw_read_timestamp(const lw_txn *txn);
LW_PUBLIC uint64_t lw_commit_timestamp(const lw_txn *txn);

/* Names the transaction, for lw_txn_outcome: printable text that lives as long as `txn`; empty
 * until a commit with writes was begun. */
LW_PUBLIC const char *lw_txn_token(const lw_txn *txn);
/* What became of a transaction whose commit ended LW_UNDETERMINED (also asked from another
 * process): it is decided by this call if it was not yet.
 *
 * LW_OK         committed; *commit_timestamp says when.
 * LW_NOT_FOUND  it did not commit, and never will.
 * LW_TOO_OLD    nobody knows any more: it began longer ago than the past is kept. */
LW_MUST_USE LW_PUBLIC lw_status lw_txn_outcome(lw_client *client, const char *token,
                                               uint64_t *commit_timestamp);

/* The same without deciding anything: LW_UNDETERMINED while the transaction may still be committed.
 */
LW_MUST_USE LW_PUBLIC lw_status lw_txn_peek(lw_client *client, const char *token,
                                            uint64_t *commit_timestamp);
/* The token of the last transaction of this client whose commit ended LW_UNDETERMINED, also one of
 * lw_run or of an atomic write alone; empty if there was none. Lives until the next commit. */
LW_PUBLIC const char *lw_undetermined_token(const lw_client *client);

/* What lw_run runs: reads and writes through `txn`; does not commit, roll back or close it.
 * Returning anything but LW_OK rolls back and ends lw_run with that status, unless it is retryable.
 * Must be ready to be called again: what it changes outside the database it must set anew each
 * time. */
typedef lw_status (*lw_txn_body)(lw_txn *txn, void *argument);
/* Runs `body` in a transaction and commits, again and again with capped, jittered pauses while the
 * outcome is retryable and the deadline (options->timeout_ms, over all attempts) has not passed.
 * Never repeats after LW_UNDETERMINED. */
LW_MUST_USE LW_PUBLIC lw_status lw_run(lw_client *client, const lw_txn_options *options,
                                       lw_txn_body body, void *argument);

/* ---- the past ------------------------------------------------------------------------------- */

/* What was there earlier can be read (lw_txn_options.at_timestamp), and the outcome of a
 * transaction be asked for, as long as the nodes keep the past: their --retention, ten minutes by
 * default. Then space comes back, and who asks hears LW_TOO_OLD.
 *
 * Keeps the snapshot at *timestamp readable, by transactions of any client, for so many
 * milliseconds from now (at least 1, at most 1000 hours); 0 stands for now, and *timestamp then
 * tells it. For backups, and whatever else reads in many transactions what it was at one moment. It
 * is durable when this returns; it ends with lw_unpin, when this client is closed or its process
 * dies, and when its time is over. Doing it again sets a later end.
 *
 * LW_TOO_OLD       the snapshot may be gone already.
 * LW_BACKPRESSURE  too many are pinned. */
LW_MUST_USE LW_PUBLIC lw_status lw_pin(lw_client *client, uint64_t lifetime_ms,
                                       uint64_t *timestamp);
LW_MUST_USE LW_PUBLIC lw_status lw_unpin(lw_client *client, uint64_t timestamp);

/* ---- scans ---------------------------------------------------------------------------------- */

/* Zeroed means: every key, forwards, without end. */
typedef struct lw_scan_options {
    lw_bytes lower;  /* first key; empty: from the start */
    lw_bytes upper;  /* first key beyond; empty: to the end */
    lw_bytes prefix; /* only keys that begin so; not together with bounds */
    int backwards;   /* from the upper end down */
    uint64_t limit;  /* at most so many keys; 0: all */
    int keys_only;   /* values come empty */
} lw_scan_options;

/* Starts a walk over the keys this transaction sees, its own writes included, also those it makes
 * ahead of the walk while that goes on. Streams: neither side ever holds more than a page.
 * `options` may be NULL. */
LW_MUST_USE LW_PUBLIC lw_status lw_scan_open(lw_txn *txn, const lw_scan_options *options,
                                             lw_scan **scan);
/* The next key and value; views valid until the next call on `scan`. LW_NOT_FOUND at the end. */
LW_MUST_USE LW_PUBLIC lw_status lw_scan_next(lw_scan *scan, lw_bytes *key, lw_bytes *value);
/* Frees the scan. NULL is allowed. */
LW_PUBLIC void lw_scan_close(lw_scan *scan);

/* The library's version, "MAJOR.MINOR.PATCH". */
LW_PUBLIC const char *lw_version(void);

#ifdef __cplusplus
}
#endif

#endif
