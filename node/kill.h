/* SPDX-License-Identifier: Apache-2.0 */
/* Killing a transaction: KILL, at the node that leads the first shard, which has every shard of the
 * lattice carry out a step, each where it is led: first all mark the transaction, then it is
 * decided, then all end its locks, or take the mark back. Between nodes a step is a KILL, too, of
 * no session:
 *
 *   [ start, id of the kill, step, key bin, label text ]
 *     → [ had, commit timestamp, primary bin, end of the shard bin, term, was marked ]
 *
 * Invariants
 * Y1. From the moment it is marked nothing of it is prewritten or committed in one round any more;
 *     what was on its way then has ended before its locks are looked for. So either it had
 *     prewritten something by then, and is decided at its primary key as any other (E1); or it has
 *     not, and never will.
 * Y2. Who is told that it was killed had not committed when that was decided, behind the question:
 *     the mark is looked at after everything that tells of a commit. A request that was under way
 *     tells so once it has looked whether an earlier copy of it had committed: that a leader who is
 *     gone carried out, this one does not remember. A commit that its leader left in doubt, as it
 *     led no more, is in doubt for the kill, too: the transaction is unknown. Locks in memory are
 *     taken for those of one that has not committed. That is wrong of one that has, in another
 *     shard, whose leader changed before its client was told, or with so many commits there since
 *     that this one is forgotten.
 * Y3. A mark that led to nothing is taken back, by the kill that made it: of a transaction that had
 *     committed, or is unknown. Until it has led to something it says nothing to another kill.
 * Y4. Marks are looked at again until all shards are led in the terms in which they were made: one
 *     that came to be led elsewhere in between was led by somebody who knew of no mark.
 *
 * Marks are in memory, of the nodes that lead: the oldest of LW_KILLED_COUNT_MAX is forgotten
 * first, and so are all when the node ends, or another comes to lead. What a forgotten one would
 * have refused is checked against what was committed meanwhile, as ever. A kill that fails, as a
 * shard has no leader, may leave marks: it is to be asked for again. */
#ifndef LW_KILL_H
#define LW_KILL_H

#include "node/shards.h"

enum { LW_KILLED_COUNT_MAX = 1024, LW_WRITERS_COUNT_MAX = 1024 };

/* Carries out a KILL request of a client's session. */
LW_MUST_USE LW_YIELDS lw_status lw_kill(lw_shards *shards, lw_bytes body, uint64_t session,
                                        lw_buffer *reply);
/* Carries out a step, for a node. */
LW_MUST_USE LW_YIELDS lw_status lw_kill_part(lw_shards *shards, lw_bytes body, lw_buffer *reply);

#endif
