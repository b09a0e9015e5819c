/* SPDX-License-Identifier: Apache-2.0 */
/* Lathwork's storage engine, to be linked into a program: an ordered map from keys to values in a
 * directory, that survives crashes and power loss. No server, no network. This is its whole public
 * interface; it compiles alone, as C and as C++.
 *
 *     cc program.c $(pkg-config --cflags --libs lathwork-storage)
 *
 * Shapes (every name begins with lw_storage)
 *   lw_storage            an open directory.
 *   lw_storage_batch      puts and deletes that become visible, and survive, together or not at
 * all. lw_storage_snapshot   the directory as it was at one moment. lw_storage_cursor     a
 * position among the keys of a snapshot, moved on or back.
 *
 * Threads. A handle, with all that was opened from it, may be used by one thread at a time, and by
 * the thread that opened it only. Different handles are independent: a process may have many, each
 * of its own directory. There is no global state. Flushing and compacting go on within the calls
 * made on the handle, a slice at a time; a program that has nothing to call for a while lends its
 * time with lw_storage_work. Pure computing may be given to threads that the handle owns.
 *
 * Lifetime. What was opened is closed by its own call: cursors before their snapshot, snapshots and
 * batches before the handle. What is passed in is copied before the call returns. Views handed out
 * belong to the handle; each call says how long they live.
 *
 * Keys are 0 to LW_STORAGE_KEY_SIZE_MAX bytes, values 0 to LW_STORAGE_VALUE_SIZE_MAX; both are any
 * bytes. Keys are ordered as unsigned bytes. An empty value is a value.
 *
 * Durability. A durable write has survived any crash when its call returns. A write that is not
 * durable is visible at once, and becomes durable a little later: with the next durable write, with
 * lw_storage_sync, with lw_storage_close, or by itself in the course of other calls. Whatever a
 * crash takes, it takes from the end: what a restart finds is everything up to one point in the
 * order of the writes, and nothing after it.
 *
 * Errors. Calls return a category, and put it with one sentence that says what happened, to what,
 * and what to do into the caller's lw_storage_error, if one is given. After LW_STORAGE_FAILED
 * nothing is written any more: close, and open again. */
#ifndef LATHWORK_STORAGE_H
#define LATHWORK_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LW_STORAGE_PUBLIC __attribute__((visibility("default")))
#else
#define LW_STORAGE_PUBLIC
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define LW_STORAGE_VERSION "0.1.0"

enum {
    LW_STORAGE_KEY_SIZE_MAX = 64 * 1024,          /* bytes */
    LW_STORAGE_VALUE_SIZE_MAX = 16 * 1024 * 1024, /* bytes */
    LW_STORAGE_BATCH_SIZE_MAX = 64 * 1024 * 1024, /* bytes of a batch's keys and values, about */
};

typedef struct lw_storage lw_storage;
typedef struct lw_storage_batch lw_storage_batch;
typedef struct lw_storage_snapshot lw_storage_snapshot;
typedef struct lw_storage_cursor lw_storage_cursor;

/* Every way a call can end. Numbers never change and are never used again. */
typedef enum lw_storage_status {
    LW_STORAGE_OK = 0,
    LW_STORAGE_NOT_FOUND = 1,  /* the key has no value: an answer, not a failure */
    LW_STORAGE_INVALID = 3,    /* the call itself is wrong: too long a key, no directory, … */
    LW_STORAGE_CORRUPTION = 9, /* stored bytes failed their check: names the file */
    LW_STORAGE_REFUSED = 10,   /* the directory is in use, forbidden, or of a newer version */
    LW_STORAGE_FULL = 11,      /* the disk is full: nothing was written; make room, try again */
    LW_STORAGE_FAILED = 12,    /* the disk failed, or a bug: open again */
} lw_storage_status;

typedef struct lw_storage_error {
    lw_storage_status status;
    char message[512]; /* one sentence, ends in zero */
} lw_storage_error;

/* Bytes that somebody else owns. `data` may be NULL when `size` is 0. */
typedef struct lw_storage_bytes {
    const void *data;
    size_t size;
} lw_storage_bytes;

static inline lw_storage_bytes lw_storage_view(const void *data, size_t size) {
    lw_storage_bytes view;
    view.data = data;
    view.size = size;
    return view;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Zeroed means: the defaults. */
typedef struct lw_storage_options {
    size_t memory_size;     /* bytes for what is not yet in tables and for the cache; 0: 64 MiB */
    size_t value_threshold; /* bytes from which values are kept apart from their keys, and not
                               written again by every compaction; 0: 4096; SIZE_MAX: never */
    bool durable;           /* what lw_storage_put and lw_storage_delete do */
    bool no_io_uring;       /* use plain system calls, which wait, even where there is io_uring */
} lw_storage_options;

/* Opens the directory, which is made if it is not there, and recovers what a crash left. `options`
 * may be NULL. On failure `*storage` is NULL. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_open(const char *directory,
                                                    const lw_storage_options *options,
                                                    lw_storage **storage, lw_storage_error *error);
/* Makes durable what is not, and closes, also when it answers that this failed. NULL is allowed. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_close(lw_storage *storage, lw_storage_error *error);

/* ---- writing -------------------------------------------------------------------------------- */

/* One key. Deleting a key that has no value is no failure. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_put(lw_storage *storage, lw_storage_bytes key,
                                                   lw_storage_bytes value, lw_storage_error *error);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_delete(lw_storage *storage, lw_storage_bytes key,
                                                      lw_storage_error *error);
/* Makes everything written so far durable. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_sync(lw_storage *storage, lw_storage_error *error);

LW_STORAGE_PUBLIC lw_storage_batch *lw_storage_batch_open(lw_storage *storage);
LW_STORAGE_PUBLIC void lw_storage_batch_close(lw_storage_batch *batch);
/* Of several changes of one key the last one counts. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_batch_put(lw_storage_batch *batch,
                                                         lw_storage_bytes key,
                                                         lw_storage_bytes value,
                                                         lw_storage_error *error);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_batch_delete(lw_storage_batch *batch,
                                                            lw_storage_bytes key,
                                                            lw_storage_error *error);
LW_STORAGE_PUBLIC void lw_storage_batch_clear(lw_storage_batch *batch);
LW_STORAGE_PUBLIC size_t lw_storage_batch_size(const lw_storage_batch *batch); /* bytes */
/* Writes the batch, which stays as it is. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_write(lw_storage *storage,
                                                     const lw_storage_batch *batch, bool durable,
                                                     lw_storage_error *error);

/* ---- reading -------------------------------------------------------------------------------- */

/* The value of a key now. The view lives until the next lw_storage_get or lw_storage_snapshot_get
 * on the handle. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_get(lw_storage *storage, lw_storage_bytes key,
                                                   lw_storage_bytes *value,
                                                   lw_storage_error *error);

/* Costs no copy; files that it needs stay until it is closed. */
LW_STORAGE_PUBLIC lw_storage_snapshot *lw_storage_snapshot_open(lw_storage *storage);
LW_STORAGE_PUBLIC void lw_storage_snapshot_close(lw_storage_snapshot *snapshot);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_snapshot_get(lw_storage_snapshot *snapshot,
                                                            lw_storage_bytes key,
                                                            lw_storage_bytes *value,
                                                            lw_storage_error *error);

/* A cursor over the keys within [lower, upper); a bound of size 0 is no bound. It stands nowhere
 * until it is placed. */
LW_STORAGE_PUBLIC lw_storage_cursor *lw_storage_cursor_open(lw_storage_snapshot *snapshot,
                                                            lw_storage_bytes lower,
                                                            lw_storage_bytes upper);
LW_STORAGE_PUBLIC void lw_storage_cursor_close(lw_storage_cursor *cursor);
/* To the first or last key; to the first at or after `key`; to the last before `key`; one on; one
 * back. LW_STORAGE_NOT_FOUND: there is none, and the cursor stands nowhere. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_cursor_first(lw_storage_cursor *cursor,
                                                            lw_storage_error *error);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_cursor_last(lw_storage_cursor *cursor,
                                                           lw_storage_error *error);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_cursor_seek(lw_storage_cursor *cursor,
                                                           lw_storage_bytes key,
                                                           lw_storage_error *error);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_cursor_seek_before(lw_storage_cursor *cursor,
                                                                  lw_storage_bytes key,
                                                                  lw_storage_error *error);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_cursor_next(lw_storage_cursor *cursor,
                                                           lw_storage_error *error);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_cursor_previous(lw_storage_cursor *cursor,
                                                               lw_storage_error *error);
/* Where it stands, until it moves; a view of size 0 and data NULL while it stands nowhere. */
LW_STORAGE_PUBLIC lw_storage_bytes lw_storage_cursor_key(const lw_storage_cursor *cursor);
LW_STORAGE_PUBLIC lw_storage_bytes lw_storage_cursor_value(const lw_storage_cursor *cursor);

/* ---- keeping -------------------------------------------------------------------------------- */

/* Lends up to this much time to what goes on behind the calls. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_work(lw_storage *storage, uint32_t milliseconds,
                                                    lw_storage_error *error);
/* Writes what is in memory into tables; as well, merges all tables. Neither is ever needed. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_flush(lw_storage *storage, lw_storage_error *error);
LW_STORAGE_PUBLIC lw_storage_status lw_storage_compact(lw_storage *storage,
                                                       lw_storage_error *error);

/* Makes a copy of what there is now in `copy`, a directory that is not there yet, on the same file
 * system: a directory like this one, at the cost of a flush and some hard links. */
LW_STORAGE_PUBLIC lw_storage_status lw_storage_checkpoint(lw_storage *storage, const char *copy,
                                                          lw_storage_error *error);

typedef struct lw_storage_figures {
    uint64_t memory_bytes;                   /* not yet in tables */
    uint64_t table_bytes, table_count;       /* on disk */
    uint64_t log_bytes;                      /* on disk */
    uint64_t written_bytes, logged_bytes;    /* since opening: handed in; written to the log */
    uint64_t flushed_bytes, compacted_bytes; /* and to tables */
    uint64_t cache_hits, cache_misses;       /* blocks of tables */
} lw_storage_figures;
LW_STORAGE_PUBLIC void lw_storage_figures_get(const lw_storage *storage,
                                              lw_storage_figures *figures);

#ifdef __cplusplus
}
#endif

#endif
