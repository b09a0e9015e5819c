/* SPDX-License-Identifier: Apache-2.0 */
/* Workloads: what the clients of a simulation do, written against the ordinary lathwork.h. Each
 * client is a fiber in an env of its own and may be dropped at any moment, so everything that
 * outlives it belongs to the workload.
 *
 * Lists: transactions of one to four, sometimes twenty, reads, appends and scans over a few hot
 * lists: the history that the cycle checker judges.
 *
 * Bank: transfers between accounts, by what was read or by atomic additions, and scans whose sum
 * never changes.
 *
 * Counter: see counter.h.
 *
 * Churn: inserts, deletes and range deletes over a few keys of the client's own, each checked
 * against what the client knows; with values of every size, so that all of the storage moves. */
#ifndef LW_WORKLOAD_H
#define LW_WORKLOAD_H

#include "base/env.h"
#include "client/lathwork.h"
#include "sim/counter.h"
#include "sim/history.h"

typedef struct lw_workload {
    lw_memory *memory; /* outlives every env */
    lw_history history;
    lw_isolation isolation;          /* of all transactions of the run */
    uint64_t (*now_ns)(void *clock); /* one clock for all clients */
    void *clock;
    uint32_t list_window; /* lists that are hot at a time */
    uint32_t lists_begun; /* the window ends here; it moves on as transactions are begun */
    uint64_t next_element;
    uint32_t next_process;
    bool marching; /* clients begin at the same moments, so that their commits meet */
    bool stopping; /* clients end after their transaction */
    uint32_t running;
    uint64_t committed, failed, in_doubt;
    uint64_t highest_timestamp; /* that a client was told so far */
    bool undisturbed;           /* nobody loses a connection or a clock: see judge_rollback */
    lw_counter counter;
    /* Broken promises, one line each; none if empty. */
    lw_buffer violations;
} lw_workload;

enum { LW_BANK_ACCOUNTS = 6, LW_BANK_BALANCE = 100 };

/* One client. Lives as long as the workload; its env may go. */
typedef struct lw_workload_client {
    lw_workload *workload;
    const char *address; /* of a node */
    uint32_t number;
    uint64_t own[16]; /* churn: what its keys held when last known; 0: nothing */
    bool own_known[16];
    uint64_t done; /* transactions with a known outcome */
} lw_workload_client;

void lw_workload_init(lw_workload *workload, lw_memory *memory, lw_isolation isolation,
                      uint64_t (*now_ns)(void *clock), void *clock);
/* Starts the client's fiber in `env`. */
void lw_workload_start(lw_env *env, lw_workload_client *client);
/* The bank's first transaction: must be repeated until it is LW_OK. */
LW_MUST_USE LW_YIELDS lw_status lw_workload_fill(lw_client *client);
/* Reads everything once more, as a final transaction of the history, and checks the bank and the
 * counter. */
LW_MUST_USE LW_YIELDS lw_status lw_workload_final(lw_workload *workload, lw_client *client);

#endif
