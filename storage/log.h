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
 *
 * The format is at the head of log_format.c. Opening, waiting and closing belong in a fiber. */
#ifndef LW_LOG_H
#define LW_LOG_H

#include "base/env.h"
#include "storage/budget.h"
#include "storage/reserve.h"

typedef struct lw_log lw_log;

typedef enum lw_log_kind {
    LW_LOG_ENTRY = 1, /* a replicated entry of a group: kept until released */
    LW_LOG_STATE = 2, /* a group's hard state (term, vote): the newest one counts, kept for ever */
} lw_log_kind;

typedef struct lw_log_record {
    uint64_t group; /* shard id */
    uint64_t term;
    uint64_t index; /* of an entry, ascending by one within a group; 0 for states */
    lw_log_kind kind;
    lw_bytes payload;
} lw_log_record;

enum { LW_LOG_PAYLOAD_SIZE_MAX = 64 * 1024 * 1024 };

typedef struct lw_log_options {
    uint64_t segment_size;     /* bytes of a full segment; 0: 16 MiB. The very first one of a new
                                  folder is small, so that a first start is quick. */
    uint32_t writes_in_flight; /* 0: 4 */
    lw_reserve *reserve;       /* of the folder that the log lies in, spent for a next segment on a
                                  full disk; held until the log is closed. NULL: there is none */
    lw_budget *budget;         /* charged for what is not written yet, an eighth of it at most but
                                  for one large append; held until the log is closed. NULL: 8 MiB
                                  may wait, and are charged to nobody */
} lw_log_options;

/* Called in log order for every record that survives, once per record; a failure ends the opening.
 */
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

/* Reads the log in a directory that no process has open, and judges it as opening would: the same
 * statuses. Of LW_CORRUPTION it tells all it can find: one line per fault into `faults`, the first
 * of them the verdict. `visit` sees the records up to the first fault; it may be NULL. Changes
 * nothing. LW_NOT_FOUND if there is no such directory. */
LW_MUST_USE LW_YIELDS lw_status lw_log_check(lw_env *env, const char *directory, lw_log_visit visit,
                                             void *argument, lw_buffer *faults);
/* Describes a segment file for `lathwork inspect`: one line per batch and record, then a verdict.
 */
LW_MUST_USE LW_YIELDS lw_status lw_log_inspect(lw_env *env, const char *path, lw_buffer *text);

#endif
