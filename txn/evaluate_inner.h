/* SPDX-License-Identifier: Apache-2.0 */
/* What evaluations write: shared by txn/evaluate_*.c and nobody else. */
#ifndef LW_EVALUATE_INNER_H
#define LW_EVALUATE_INNER_H

#include "txn/evaluate.h"

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
/* When a lock that is to live so long from now expires. */
uint64_t evaluation_expiry(const lw_evaluation *evaluation, uint32_t lifetime_ms);

#endif
