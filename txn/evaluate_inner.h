/* SPDX-License-Identifier: Apache-2.0 */
/* What evaluations have in common: shared by txn/evaluate_*.c and nobody else. */
#ifndef LW_EVALUATE_INNER_H
#define LW_EVALUATE_INNER_H

#include "txn/history.h"

/* ---- reading -------------------------------------------------------------------------------- */

/* Whether a lock may become a version at or below `read_timestamp` (E2). One of a transaction that
 * began later cannot, nor one that writes nothing. */
bool evaluation_hinders(const lw_evaluation *evaluation, const lw_lock_record *lock, uint64_t start,
                        uint64_t read_timestamp);
/* Whether the reader's own intent gives the key a value. LW_INVALID_ARGUMENT: nobody knows yet. */
LW_MUST_USE lw_status evaluation_own_intent(const lw_lock_record *lock, lw_bytes key, bool *found);
/* E7: the conflict if `start`, which has no intent on the key, was rolled back there. */
LW_MUST_USE LW_YIELDS lw_status evaluation_not_rolled_back(lw_evaluation *evaluation, lw_bytes key,
                                                           uint64_t start);
/* Takes `size` bytes of what is still allowed into an answer. */
bool evaluation_afford(size_t *room, size_t size);
/* VALIDATE without a word about it to anybody. UINT64_MAX: the commit timestamp is not known yet.
 */
LW_MUST_USE LW_YIELDS lw_status evaluation_validate(lw_evaluation *evaluation,
                                                    const lw_validate_request *request);
/* ... and a word: nothing is committed there below `commit_timestamp` any more. */
void evaluation_raise_seen(const lw_evaluation *evaluation, const lw_seen_key *keys,
                           uint32_t key_count, const lw_seen_range *ranges, uint32_t range_count,
                           uint64_t commit_timestamp);

/* ---- writing -------------------------------------------------------------------------------- */

void evaluation_put_data(lw_evaluation *evaluation, lw_bytes key, uint64_t timestamp,
                         const lw_data_record *record);
void evaluation_put_rollback(lw_evaluation *evaluation, lw_bytes key, uint64_t start);
/* What a mutation that was worked out leaves when it commits. Its value must not be a view of
 * evaluation->record. */
void evaluation_put_committed(lw_evaluation *evaluation, const lw_mutation *mutation,
                              uint64_t start, uint64_t commit_timestamp);
/* `lock` must not be a view of evaluation->record. */
void evaluation_put_lock(lw_evaluation *evaluation, lw_bytes key, const lw_lock_record *lock);
void evaluation_take_lock(lw_evaluation *evaluation, lw_bytes key);
/* It is to be proposed before more is added. */
bool evaluation_batch_full(const lw_evaluation *evaluation);
/* What a mutation may meet. `account` is of its key. */
LW_MUST_USE LW_YIELDS lw_status evaluation_check_mutation(lw_evaluation *evaluation,
                                                          const lw_mutation *mutation,
                                                          uint64_t start,
                                                          const lw_account *account);
/* Fails unless there is room for a record of `start` at `timestamp`: timestamps are given once, so
 * another's record there means that a client made its own up (hazard T3). */
LW_MUST_USE LW_YIELDS lw_status evaluation_place_free(lw_evaluation *evaluation, lw_bytes key,
                                                      uint64_t timestamp, uint64_t start);
/* The failure that says so. */
LW_MUST_USE lw_status evaluation_taken(uint64_t timestamp, uint64_t owner);
/* When a lock that is to live so long from now expires. */
uint64_t evaluation_expiry(const lw_evaluation *evaluation, uint32_t lifetime_ms);

#endif
