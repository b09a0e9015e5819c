/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out what the resolve machine (txn/resolve.h) decides, for a node that finds out by itself
 * what became of a transaction: its requests go to whichever shards hold the keys. */
#ifndef LW_NODE_RESOLVE_H
#define LW_NODE_RESOLVE_H

#include "base/env.h"
#include "lattice/message.h"
#include "txn/request.h"

/* Carries a request of the node's own to the shard that holds `key`. */
typedef LW_YIELDS lw_status lw_ask(void *argument, lw_message_kind kind, lw_bytes key,
                                   lw_bytes body, lw_buffer *reply);

/* `fate->fate` is COMMITTED, with the timestamp, or ABORTED; ALIVE only without `decide`. Any other
 * failure than a request's own: LW_INTERNAL, when shards contradict each other. `remaining_ms`: see
 * lw_resolve_machine_init. */
LW_MUST_USE LW_YIELDS lw_status lw_resolve_by_asking(lw_env *env, lw_ask *ask, void *argument,
                                                     uint64_t start, lw_bytes primary,
                                                     uint64_t remaining_ms, bool decide,
                                                     lw_check_reply *fate);

#endif
