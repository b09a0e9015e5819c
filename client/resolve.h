/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client library: finding out what became of a transaction. */
#ifndef LW_CLIENT_RESOLVE_H
#define LW_CLIENT_RESOLVE_H

#include "client/client.h"
#include "txn/resolve.h"

/* Carries out the resolve machine (txn/resolve.h) for the transaction `start` with this primary
 * key, copied. `remaining_ms`, `decide`: as there. `*fate` is ALIVE only without `decide`;
 * `*commit_timestamp` is set with COMMITTED. */
LW_MUST_USE LW_YIELDS lw_status lw_client_resolve(lw_client *client, uint64_t start,
                                                  lw_bytes primary, uint64_t remaining_ms,
                                                  bool decide, uint64_t deadline_ns, lw_fate *fate,
                                                  uint64_t *commit_timestamp);

#endif
