/* SPDX-License-Identifier: Apache-2.0 */
/* Killing a transaction: KILL, on the node whose shards it uses.
 *
 * Invariants
 * Y1. From the moment it is marked nothing of it is prewritten or committed in one round any more;
 *     what was on its way then has ended before its locks are looked for. So either it had
 * prewritten something by then, and is decided at its primary key as any other (E1); or it has not,
 * and never will. Y2. Who is told that it was killed never committed: the mark is looked at after
 * everything that tells of a commit. Y3. A mark that led to nothing is taken back: of a transaction
 * that had committed, or is unknown. Marks are in memory, and the oldest of LW_KILLED_COUNT_MAX is
 * forgotten first; what a forgotten one would have refused is checked against what was committed
 * meanwhile, as ever. */
#ifndef LW_KILL_H
#define LW_KILL_H

#include "node/shards.h"

enum { LW_KILLED_COUNT_MAX = 1024, LW_WRITERS_COUNT_MAX = 1024 };

/* Carries out a KILL request of a session. */
LW_MUST_USE LW_YIELDS lw_status lw_kill(lw_shards *shards, lw_bytes body, uint64_t session,
                                        lw_buffer *reply);

#endif
