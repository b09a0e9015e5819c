/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client library: commits of transactions with stamped keys. */
#ifndef LW_STAMPED_H
#define LW_STAMPED_H

#include "client/transaction.h"

/* Commits a transaction that has stamped keys. */
LW_MUST_USE LW_YIELDS lw_status lw_txn_commit_stamped(lw_txn *txn);

#endif
