/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client library: a commit under way. What is to be sent is cut into parts, each of one
 * shard and one message, and sent a window of parts at a time: so much that the round trips count
 * little, and so little that the memory of both sides stays bounded. */
#ifndef LW_COMMIT_JOB_H
#define LW_COMMIT_JOB_H

#include "client/transaction.h"
#include "txn/commit.h"

/* How far a phase is: items before `item` are done, and of it, a range, all below `bound` if that
 * is not empty. */
typedef struct lw_commit_cursor {
    uint64_t item;
    lw_bytes bound;
} lw_commit_cursor;

typedef struct lw_commit_job {
    lw_txn *txn;
    lw_commit_machine machine;
    lw_arena arena; /* the writes and reads below; lives as long as the job */
    /* The writes and reads as arrays in the order of their keys, so that any part can be sent. */
    lw_mutation *mutations;
    lw_bytes *keys; /* of the mutations */
    uint64_t mutation_count;
    lw_bytes primary; /* the first of them, or of those that were flushed ahead */
    lw_seen_key *read_keys;
    lw_seen_range *read_ranges;
    uint64_t read_key_count, read_range_count;
    bool sorted; /* the reads are */

    lw_commit_cursor at, next; /* where the window begins, and where the one after it will */
    lw_arena window;           /* what lives as long as the window */
    lw_call *calls;            /* room for more is made as it is needed: mostly there is one */
    lw_buffer *bodies;         /* of the calls */
    uint32_t call_count, call_room;
    size_t window_bytes;

    uint64_t planned;      /* what was known of the shards when it was settled which reads travel */
    uint64_t proposal;     /* a timestamp drawn ahead, for an async commit; 0: none */
    uint64_t refreshed_ns; /* when the primary lock last began its lifetime */
    uint32_t attempt;      /* of resolving, for growing pauses */
    lw_obstacle obstacle;  /* what stands in the way; lives in `kept` */
    lw_buffer kept;
} lw_commit_job;

enum { LW_LOCK_LIFETIME_MS = 5000 };

/* Takes the transaction's writes in, and its reads if asked; nothing of them may change until the
 * end. */
void lw_commit_job_open(lw_txn *txn, bool reads, lw_commit_job *job);
void lw_commit_job_close(lw_commit_job *job);

/* Puts the reads in the order of their keys, which only several shards need. */
void lw_commit_sort_reads(lw_commit_job *job);

/* Whether all mutations lie in one shard. */
LW_MUST_USE LW_YIELDS lw_status lw_commit_lies_in_one_shard(lw_commit_job *job, bool *lies);

/* These make the window's calls, from job->at on, and set job->next; `*more` tells whether that
 * leaves anything. No call at all is made when there is nothing (left) to send. */

/* The whole transaction in one call, if it lies in one shard; else none. */
LW_MUST_USE LW_YIELDS lw_status lw_commit_make_now(lw_commit_job *job);
/* `proposed`: not 0 in an async commit. */
LW_MUST_USE LW_YIELDS lw_status lw_commit_make_prewrites(lw_commit_job *job, uint64_t proposed,
                                                         bool *more);
/* `apart`: only what does not travel with the prewrites. */
LW_MUST_USE LW_YIELDS lw_status lw_commit_make_validations(lw_commit_job *job, bool apart,
                                                           uint64_t commit_timestamp, bool *more);
/* COMMIT or, with commit_timestamp 0, ROLLBACK; of what was flushed ahead FINISH_RANGE. */
LW_MUST_USE LW_YIELDS lw_status lw_commit_make_ends(lw_commit_job *job, uint64_t commit_timestamp,
                                                    bool *more);
/* COMMIT of the primary alone. */
void lw_commit_make_primary(lw_commit_job *job, uint64_t commit_timestamp);

/* Makes the window's calls and tells what came of them; what stands in the way is in job->obstacle,
 * and the reason of a failure in the error slot. */
LW_YIELDS void lw_commit_send_window(lw_commit_job *job, uint64_t proposed, lw_commit_event *event);

#endif
