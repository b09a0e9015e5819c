/* SPDX-License-Identifier: Apache-2.0 */
/* The struct behind lw_log, and the seams between the files that work on it:
 *
 *   log.c          the face: opening, closing, appending, waiting
 *   log_write.c    batches: from the pending buffer to durable, in order
 *   log_pack.c     large batches, compressed before they are written
 *   log_room.c     who may append more: bytes that wait, space that is left
 *   log_keep.c     the keeper, a fiber: prepares the next segment, lets go of old ones
 *   log_read.c     reading back the entries of a group
 *   log_scrub.c    verifying what is written to the end
 *   log_recover.c  opening: reads what survived, cuts the tail or refuses
 *   log_check.c    the checker: goes on behind the first fault
 *   log_hold.c     what holds segments
 *   log_index.c    where entries are, and which count
 *   log_segment.c  files
 *   log_format.c   bytes
 *
 * Invariants
 * 1. Batches stand in one list in log order: acknowledged ones leave at its front; those in flight
 *    come before `unplaced`, those that wait for their place from there on.
 * 2. A ticket counts batches of this opening that somebody may wait for; it is what callers know as
 * a position. A sequence counts batches of the log, for ever, and is given at placing, since the
 *    close of a segment may come in between. */
#ifndef LW_LOG_STATE_H
#define LW_LOG_STATE_H

#include "storage/log_hold.h"
#include "storage/log_pack.h"
#include "storage/log_segment.h"

/* Files kept for segments to come, besides the prepared one: as many as were in use at once since
 * the log was last at rest, within these bounds. */
enum { LW_LOG_SPARES_MIN = 2, LW_LOG_SPARES_MAX = 16 };

typedef enum lw_log_packing {
    LW_LOG_PACKING_NOT,
    LW_LOG_PACKING_NOW, /* on another thread: it takes no more records */
    LW_LOG_PACKING_DONE,
} lw_log_packing;

typedef struct lw_log_batch {
    struct lw_log_batch *next; /* the younger one */
    lw_log *log;
    lw_log_batch_kind kind;
    uint8_t *bytes; /* aligned; records begin behind the header */
    size_t capacity;
    size_t used; /* bytes, header included, before padding */
    uint32_t record_count;
    lw_log_packing packing;
    /* While it is packed: where to. When it was, until it is placed: what was there before. */
    uint8_t *packed;
    size_t packed_used, packed_capacity;
    /* What the records bring into a segment, as long as all are entries of one group. */
    uint64_t group, index_min, index_max;
    bool mixed;        /* they are not */
    uint32_t format;   /* that the segment has to have at least */
    uint64_t ticket;   /* 0: nobody waits for it (the close of a segment) */
    uint64_t sequence; /* once placed */
    lw_log_segment *segment;
    bool done; /* the write completed */
    lw_op op;
    lw_queue waiters;
} lw_log_batch;

/* A fiber in lw_log_room. */
typedef struct lw_log_request {
    struct lw_log_request *next;
    size_t size;
    bool patient; /* not to be refused for want of space */
    enum { LW_LOG_REQUEST_WAITS, LW_LOG_REQUEST_GRANTED, LW_LOG_REQUEST_REFUSED } state;
    lw_queue queue;
} lw_log_request;

struct lw_log {
    lw_env *env;
    lw_memory *memory;
    lw_reserve *reserve;         /* or NULL */
    lw_budget_share share;       /* of all batches */
    lw_budget_share index_share; /* of marks */
    size_t waiting_max;          /* bytes appended and not durable, from which appenders wait */
    char *directory;
    bool (*begins)(void *argument, uint64_t group, uint64_t index); /* of the options */
    uint64_t segment_size;
    uint32_t writes_max;
    size_t batch_size_max; /* beyond it an append begins another batch */

    lw_log_holds holds;       /* the segments of the log; the newest is written to */
    lw_log_segment *prepared; /* the one after the newest, or NULL */
    uint64_t file_last;       /* highest number of a file; those above `prepared` are spares */

    lw_log_batch *first, *unplaced, *last; /* see invariant 1 */
    lw_log_batch *spare;                   /* a small one, kept for the next append */
    uint32_t writes;                       /* in flight */
    uint64_t sequence_next, generation, sequence_durable;
    uint64_t durable_segment, durable_offset; /* where the last batch that is durable ends */
    uint64_t ticket_last, ticket_durable;
    uint64_t oldest_needed;                 /* written into batches: files below it may be gone */
    uint64_t waiting_bytes, unplaced_bytes; /* of batches not acknowledged; of those, not placed */
    bool vouched;                           /* no records since the last opening or end batch */

    lw_compressor *compressor; /* NULL before the first batch is packed */
    bool packing;              /* a batch is being packed */
    /* Batches that are not packed since others could not be: still, and after the next. */
    uint32_t pack_skip, pack_skip_next;

    bool deferred; /* the flush at the end of this turn is under way */
    lw_op defer;

    bool dead; /* L4 */
    bool full; /* no next segment could be made for want of space */
    bool closing;
    bool reading; /* somebody reads entries back; others wait their turn */
    lw_queue reading_turn;
    lw_error error; /* why dead or full */

    uint64_t used_most; /* segments at once since the log was last at rest */
    bool keeper_runs;
    bool keeper_rests; /* it has nothing to do, and waits for the log to come to rest */
    lw_queue keeper_wake;
    uint64_t release_upto; /* segments below it go once release_ticket is durable; 0: none */
    uint64_t release_ticket;

    lw_log_request *request_first, *request_last;
    uint64_t promised_bytes; /* granted to fibers that have not run since */

    lw_queue quiet; /* lw_log_close waits here for writes, flush and keeper to end */
    lw_log_figures figures;
};

/* ---- log_write.c -------------------------------------------------------------------------- */

/* Appends records to the pending batch and returns its ticket. */
uint64_t lw_log_write_records(lw_log *log, const lw_log_record *records, uint32_t count);
/* Appends a batch without records. */
uint64_t lw_log_write_empty(lw_log *log, lw_log_batch_kind kind);
/* The next batch needs another segment than the newest: for its size, or for its format. */
bool lw_log_write_needs_segment(const lw_log *log);
/* Charges the marks as they are now. */
static inline void lw_log_charge_index(lw_log *log) {
    if (log->index_share.size != log->holds.mark_size) {
        lw_budget_share_set(&log->index_share, log->holds.mark_size);
    }
}
/* Sends what waits, as far as slots and segments allow. */
void lw_log_write_start(lw_log *log);
/* The batch of this ticket, or NULL once it is acknowledged. */
lw_log_batch *lw_log_write_find(const lw_log *log, uint64_t ticket);
/* Waits for a ticket; LW_FULL if it cannot be written for want of space and `or_full`. */
LW_MUST_USE LW_YIELDS lw_status lw_log_write_wait(lw_log *log, uint64_t ticket, bool or_full);
/* The log dies of the failure in the error slot. */
void lw_log_write_die(lw_log *log);
/* Wakes all who wait for batches, so that they look again. */
void lw_log_write_wake(lw_log *log);
/* Frees all batches. Nothing is in flight. */
void lw_log_write_reset(lw_log *log);

/* ---- log_pack.c --------------------------------------------------------------------------- */

/* Whether a batch whose turn it is should be packed first. To be asked once. */
LW_MUST_USE bool lw_log_pack_wanted(lw_log *log, const lw_log_batch *batch);
void lw_log_pack_start(lw_log *log, lw_log_batch *batch);
/* Frees the other bytes of a batch. */
void lw_log_pack_forget(lw_log_batch *batch);

/* ---- log_room.c --------------------------------------------------------------------------- */

/* Bytes that a batch may still take in the segment: all but the block of its close. */
uint64_t lw_log_room_left(const lw_log_segment *segment);
/* The least size of a next segment that would let somebody go on who cannot now; 0: nobody. */
uint64_t lw_log_room_wanted(const lw_log *log);
/* Grants and refuses requests, in order. */
void lw_log_room_review(lw_log *log);

/* ---- log_keep.c --------------------------------------------------------------------------- */

/* Starts the keeper if there is work for it. */
void lw_log_keep_poke(lw_log *log);
/* Makes a prepared segment the newest one. */
void lw_log_keep_advance(lw_log *log);
/* Removes all spares. The keeper has ended. */
LW_MUST_USE LW_YIELDS lw_status lw_log_keep_trim(lw_log *log);
/* Prepares the segment after the newest, or, with none, the first. */
LW_MUST_USE LW_YIELDS lw_status lw_log_keep_prepare(lw_log *log);

/* ---- log_recover.c ------------------------------------------------------------------------ */

/* Replays the folder: fills holds, sequence_next, generation, oldest_needed and file_last, opens
 * the newest segment. Leaves holds without a segment if there was no log. */
LW_MUST_USE LW_YIELDS lw_status lw_log_recover(lw_log *log, lw_log_visit visit, void *argument);
/* The same verdict, and nothing is changed. */
LW_MUST_USE LW_YIELDS lw_status lw_log_judge(lw_log *log, lw_log_visit visit, void *argument);

/* ---- log_check.c -------------------------------------------------------------------------- */

/* The verdict, and, where it is LW_CORRUPTION, a line for each fault. */
LW_MUST_USE LW_YIELDS lw_status lw_log_check_judged(lw_log *log, lw_log_visit visit, void *argument,
                                                    lw_buffer *faults);

#endif
