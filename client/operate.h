/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask of a node beyond lathwork.h: who holds which locks, to end a transaction, and
 * which shards there are. For the command line. */
#ifndef LW_OPERATE_H
#define LW_OPERATE_H

#include "base/fiber.h"
#include "client/lathwork.h"
#include "lattice/message.h"
#include "txn/request.h"

/* Visits the locks of all shards in the order of their keys, as each shard has them when its page
 * is asked for; with a page's worth of memory. Ends early when `visit` says false. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_locks(lw_client *client, uint32_t page_rows,
                                                 bool (*visit)(void *argument,
                                                               const lw_lock_row *row),
                                                 void *argument);
/* Rolls a transaction back unless it is decided.
 *
 * LW_OK         it was rolled back now.
 * LW_REFUSED    it has committed; `*commit_timestamp` says when.
 * LW_NOT_FOUND  it has no locks and writes nothing; nothing was done. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_kill(lw_client *client, uint64_t transaction,
                                                uint64_t *commit_timestamp);

/* Visits the shards in the order of their ranges. Ends early when `visit` says false. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_shards(
    lw_client *client, bool (*visit)(void *argument, const lw_shard_row *row), void *argument);

#endif
