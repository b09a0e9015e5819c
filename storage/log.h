/* SPDX-License-Identifier: Apache-2.0 */
/* The log: the only write-ahead log of a node. All shards of a reactor append to it; everything
 * that waits goes into one durable write, with a few writes in flight (group commit without a
 * hand-off: the write leaves at the end of the turn, through LW_OP_DEFER).
 *
 * Invariants
 * L1. Acknowledgement goes strictly in log order: lw_log_wait(p) returns LW_OK only when every byte
 *     up to p is on disk, whatever order the writes completed in.
 * L2. Every batch carries the position up to which the log was known durable when it was written,
 *     its own sequence number, the segment's number and the generation of the opening that wrote
 *     it, all under its checksum. A recycled segment's old bytes are never believed (hazard S2).
 * L3. Recovery stops at the first hole above the highest durable mark (a torn tail, hazard R16:
 *     what lies behind it is unreadable for ever, since later batches carry a higher generation),
 *     and refuses a hole below it as corruption, naming file and offset (hazard S3).
 * L4. After a failed write or sync the log is dead: every wait, then and later, fails, and nothing
 *     is retried (hazard S4). The node stops.
 * L5. A segment is recycled once every group has released all its records in it. The newest STATE
 *     record of a group is never lost by this: the log writes it again into a newer segment first.
 * L6. What counts of a group is decided by the order of the log alone. An entry at or below the
 *     last one replaces that index and cuts off all behind it, as Raft does with a tail that is in
 *     conflict; its term may be lower than that of what it replaces. Two entries of one index and
 *     term are the same. So what counts is one run of indexes, which stand in the log in order.
 *
 * Beginning anew (hazard R10). A snapshot of a group's state takes the place of its tree, and makes
 * all its entries void. Two places have to switch as one, the catalog and the log:
 *
 *   1. A BEGIN record of the snapshot's (index, term) is appended, and durable. Only of a snapshot
 *      that the log does not contain: if it has that very entry there is nothing to install.
 *   2. One edit of the catalog replaces the tree: what it holds, and its flushed index, which is
 *      now that of the snapshot (lw_store_ingest). It is what decides.
 *   3. lw_log_begun: what was appended before the record is void from here on. Entries go on behind
 *      the snapshot's index. The owner makes durable what else it knows the snapshot by (a STATE
 *      record), then lets go of the marker: lw_log_release up to the snapshot's index.
 *
 * While the log is replayed it asks its owner of each marker whether the tree's flushed index has
 * reached it (lw_log_options.begins). If not, step 2 never happened: the marker is passed over, and
 * what came before it counts. If it has, all before it is void. That is right too where step 2
 * never happened and the tree came that far later, entry by entry: what counts of the entries
 * before the marker lies below its index, since the log did not contain (1.), and so is flushed.
 * Of a marker that is lost with its segment nothing is left that it would make void, since segments
 * go in order.
 * A BEGIN of index 0 always counts: it makes a group's id new, before its tree is made again.
 *
 * The format is at the head of log_format.c. Opening, reading, waiting and closing belong in a
 * fiber. */
#ifndef LW_LOG_H
#define LW_LOG_H

#include "base/env.h"
#include "storage/budget.h"
#include "storage/reserve.h"

typedef struct lw_log lw_log;

typedef enum lw_log_kind {
    LW_LOG_ENTRY = 1, /* a replicated entry of a group: kept until released */
    LW_LOG_STATE = 2, /* a group's hard state (term, vote): the newest one counts, kept for ever */
    LW_LOG_BEGIN = 3, /* the group begins anew behind this (index, term): see above. No payload */
} lw_log_kind;

typedef struct lw_log_record {
    uint64_t group; /* shard id */
    uint64_t term;
    uint64_t index; /* of an entry: within its group at most one more than that of the last (L6); of
                       a BEGIN: any; of a state: 0 */
    lw_log_kind kind;
    lw_bytes payload;
} lw_log_record;

enum {
    LW_LOG_PAYLOAD_SIZE_MAX = 64 * 1024 * 1024,
    LW_LOG_STATE_SIZE_MAX = 1024, /* bytes of a state's payload, which means nothing to the log */
};

typedef struct lw_log_options {
    uint64_t segment_size;     /* bytes of a full segment; 0: 16 MiB. The very first one of a new
                                  folder is small, so that a first start is quick. */
    uint32_t writes_in_flight; /* 0: 4 */
    lw_reserve *reserve;       /* of the folder that the log lies in, spent for a next segment on a
                                  full disk; held until the log is closed. NULL: there is none */
    lw_budget *budget;         /* charged for what is not written yet, an eighth of it at most but
                                  for one large append; held until the log is closed. NULL: 8 MiB
                                  may wait, and are charged to nobody */
    /* Asked of each BEGIN while the log is replayed, with the argument of `visit`: whether the tree
     * of the group is there, and flushed up to this index at least. NULL: all of them count. */
    bool (*begins)(void *argument, uint64_t group, uint64_t index);
} lw_log_options;

/* Called in log order for every record that survives, once per record; a failure ends the opening.
 * An entry at or below the last one that was shown of its group replaces it and all behind (L6),
 * also where that reaches below what is flushed; so none but those known to be committed may be
 * acted on at once. A BEGIN is shown if it counts: all that was shown of the group is void, and the
 * next entry may have any index up to one more than it. Of the first entry that is shown
 * nothing is known: what is missing before it was released, or is replaced by what is shown later.
 * Whether the log reaches down to what is flushed is to be judged at the end (lw_log_span). */
typedef lw_status (*lw_log_visit)(void *argument, const lw_log_record *record);

/* Opens the log in `directory` (made if absent), replays it through `visit`, and is ready to
 * append. LW_CORRUPTION with file and offset for a hole below the durable mark or a damaged header;
 * LW_REFUSED for a newer format. */
LW_MUST_USE LW_YIELDS lw_status lw_log_open(lw_env *env, const char *directory,
                                            const lw_log_options *options, lw_log_visit visit,
                                            void *argument, lw_log **log);
/* Waits for writes in flight, then closes. What was appended and never waited for is written too.
 */
LW_YIELDS void lw_log_close(lw_log *log);

/* Appends records, all in one batch: after a crash all of them are there or none. Copies; never
 * suspends. Returns the position to wait for. On a dead log the wait reports it. */
uint64_t lw_log_append(lw_log *log, const lw_log_record *records, uint32_t count);
/* Waits until everything up to `position` is durable. Fails with the cause if the log died before
 * it was. */
LW_MUST_USE LW_YIELDS lw_status lw_log_wait(lw_log *log, uint64_t position);
/* Waits until `size` more payload bytes may be appended: while too many bytes wait to be written it
 * suspends. LW_FULL while no new segment could be made because the disk is full (tried again as
 * time passes, nothing is lost, hazard S13). */
LW_MUST_USE LW_YIELDS lw_status lw_log_room(lw_log *log, size_t size);
/* The same for records that in the end free space: LW_FULL only after some seconds, in which old
 * segments may be let go and used again. Inside a fiber only. */
LW_MUST_USE LW_YIELDS lw_status lw_log_room_freeing(lw_log *log, size_t size);
/* Says that entries of `group` up to and with `index` are needed no more. UINT64_MAX: nor is its
 * state; the group is gone, until something is appended for it again. Never suspends. */
void lw_log_release(lw_log *log, uint64_t group, uint64_t index);
/* Ends what a BEGIN of the group began. With `counts`: step 3 above. Without: the snapshot was
 * given up, as it also is by an entry of the group that is appended meanwhile. Never suspends. */
void lw_log_begun(lw_log *log, uint64_t group, bool counts);
/* The entries of a group that count and are not released: `first` to `last`, none if first is one
 * more than last. False, and nothing set, of a group that the log has never heard of, or of which
 * it has neither entries nor a BEGIN. */
LW_MUST_USE bool lw_log_span(const lw_log *log, uint64_t group, uint64_t *first, uint64_t *last);
/* Reads back the entries of a group that count, from index `from` up to and with `until`, in order,
 * each once, until their payloads have `size_max` bytes (the first one comes whatever its size).
 * What is not durable yet is waited for. Payloads are views, valid during the visit. Costs no more
 * than half a megabyte of memory besides the largest batch, charged to the budget, and one reader
 * goes at a time. What was visited may have been replaced when the call returns, as it suspends.
 *
 * LW_NOT_FOUND   `from` is not an entry that counts and is not released (any more).
 * LW_CORRUPTION  with file and offset: a batch that was durable is damaged.
 * A failure of `visit` ends the reading and is returned, as is the death of the log. */
LW_MUST_USE LW_YIELDS lw_status lw_log_read(lw_log *log, uint64_t group, uint64_t from,
                                            uint64_t until, size_t size_max, lw_log_visit visit,
                                            void *argument);
/* How many bytes of segments before the newest one would stay for `group` alone: for deciding which
 * idle shard to flush. */
uint64_t lw_log_pinned(const lw_log *log, uint64_t group);

typedef struct lw_log_figures {
    uint64_t appended_bytes, written_bytes; /* payload, and with padding and headers */
    uint64_t batches, records;
    uint64_t segments, segment_bytes; /* on disk now */
    uint64_t durable_position;
    uint64_t replayed_bytes; /* at opening */
} lw_log_figures;
void lw_log_figures_get(const lw_log *log, lw_log_figures *figures);

/* Reads the log in a directory that no process has open, and judges it as opening would with these
 * options, of which only `begins` counts: the same statuses. Of LW_CORRUPTION it tells all it can
 * find: one line per fault into `faults`, the first of them the verdict. `visit` sees the records
 * up to the first fault; it may be NULL. Changes nothing. LW_NOT_FOUND if there is no such
 * directory. */
LW_MUST_USE LW_YIELDS lw_status lw_log_check(lw_env *env, const char *directory,
                                             const lw_log_options *options, lw_log_visit visit,
                                             void *argument, lw_buffer *faults);
/* Describes a segment file for `lathwork inspect`: one line per batch and record, then a verdict.
 */
LW_MUST_USE LW_YIELDS lw_status lw_log_inspect(lw_env *env, const char *path, lw_buffer *text);

#endif
