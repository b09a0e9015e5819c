/* SPDX-License-Identifier: Apache-2.0 */
/* What the workloads share: sim/workload.c has it. */
#ifndef LW_WORKLOAD_PRIVATE_H
#define LW_WORKLOAD_PRIVATE_H

#include "sim/workload.h"

#include <inttypes.h>
#include <stdio.h>

enum { WORKLOAD_KEY_SIZE = 32, WORKLOAD_ROWS = 5 /* that go with a list */ };

/* One transaction of a workload, from its begin to its close. */
typedef struct workload_txn {
    lw_workload_client *self;
    lw_client *client;
    lw_env *env;
    lw_txn *txn;
    bool strict;
    uint64_t floor; /* the highest timestamp that anybody was told before */
} workload_txn;

static inline uint64_t workload_below(lw_env *env, uint64_t bound) {
    return lw_env_random_below(env, bound);
}
/* Begins one as the run has them; false if that could not be. */
bool workload_begin(workload_txn *in, lw_env *env, lw_workload_client *self, lw_client *client,
                    bool read_only);
/* A client was told the snapshot's timestamp, whatever becomes of it and its transaction. */
void workload_note_timestamp(const workload_txn *in);
/* Commits if `status` is LW_OK, rolls back otherwise, holds the timestamps against all that were
 * told before, and counts. lw_txn_close is left to do. */
LW_YIELDS lw_outcome workload_finish(workload_txn *in, lw_status status);
void workload_close(workload_txn *in);
/* Counts what came of one. */
void workload_count(lw_workload *workload, lw_workload_client *self, lw_outcome outcome);

LW_YIELDS void workload_run_mixture(lw_env *env, lw_workload_client *self, lw_client *client,
                                    uint32_t *process);
/* Reads a list at a timestamp of the past; several at the newest one that anybody was told,
 * dawdling. */
LW_YIELDS void workload_read_past(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_read_long(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_constraint(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_bank(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_churn(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_expiry(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_split(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_forgery(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_alone(lw_env *env, lw_workload_client *self, lw_client *client,
                                  uint32_t process);
LW_YIELDS void workload_run_journal(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_bulk(lw_env *env, lw_workload_client *self, lw_client *client);
LW_YIELDS void workload_run_pin(lw_env *env, lw_workload_client *self, lw_client *client);

/* Holds what was told of kills against the history. */
void workload_judge_kills(lw_workload *workload);
/* Reads what who is lost left: once one of them was started. */
LW_YIELDS lw_status workload_final_lost(lw_workload *workload, lw_client *client);
/* Reads all lists and rows, as final transactions of the history. */
LW_YIELDS lw_status workload_final_mixture(lw_workload *workload, lw_client *client);
/* Read once more what the workloads of these names left. */
LW_YIELDS lw_status workload_final_alone(lw_workload *workload, lw_client *client);
LW_YIELDS lw_status workload_final_journal(lw_workload *workload, lw_client *client);
LW_YIELDS lw_status workload_final_bulk(lw_workload *workload, lw_client *client);
LW_YIELDS lw_status workload_sum_accounts(lw_workload *workload, lw_txn *txn, bool backwards);
/* Holds what was read of the past against the history. */
void workload_judge_past(lw_workload *workload);

#endif
