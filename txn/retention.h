/* SPDX-License-Identifier: Apache-2.0 */
/* Which records of a shard's tree nobody needs any more, once a safepoint is given: the rule that
 * storage's compactions go by (storage/retention.h). Timestamps are the safepoints.
 *
 * Of each user key there stay: everything above the safepoint; the newest version at or below it,
 * but for one with nothing behind it that is a deletion, or has expired at the safepoint. Rollback
 * records below the safepoint go, and marks at or below it. Locks, and the shard's own records,
 * always stay; so does what cannot be read.
 *
 * Invariants
 * 1. A read at or above the safepoint gets what it would get without the rule (hazards T11, T17).
 * 2. What a transaction that began at or above the safepoint left behind stays: its commit and
 *    rollback records answer repeated and late requests (hazards T2, T6, T12), but for a version
 *    that a newer one at or below the safepoint hides, which cannot be its own.
 *
 * Whoever moves the safepoint first has every lock below it resolved, and from then on refuses the
 * requests of transactions that began below it: neither their records nor the versions that they
 * would read are there for sure. */
#ifndef LW_TXN_RETENTION_H
#define LW_TXN_RETENTION_H

#include "base/env.h"
#include "storage/retention.h"

/* The rule. `env` is for marks and planted bugs only, and lives as long as the store. */
lw_retention lw_record_retention(lw_env *env);

#endif
