/* SPDX-License-Identifier: Apache-2.0 */
/* The pieces of work of who works (sim/bare_work.c), and what they share. */
#ifndef LW_SIM_BARE_WORK_H
#define LW_SIM_BARE_WORK_H

#include "sim/bare.h"

static inline bool bare_percent(bare_asker *self, uint32_t chance) {
    return lw_chance_percent(&self->chance, chance);
}
uint64_t bare_now_ms(const bare_asker *self);
/* The process is gone, and somebody else goes on in its place. */
void bare_renew_session(bare_asker *self);
/* One attempt, at who leads the shard of a key just now. */
LW_YIELDS bare_answer bare_ask_leader(bare_asker *self, lw_message_kind kind, uint32_t key,
                                      const lw_buffer *body, uint64_t patience_ms);

/* A request for the pessimistic lock of a key. */
lw_buffer bare_lock_body(bare_asker *self, uint64_t start, uint32_t key, uint32_t wait_ms);

/* ---- bare_write.c -----------------------------------------------------------------------------
 */

/* A transaction of one key, or of two. */
LW_YIELDS void bare_write_one(bare_asker *self);
LW_YIELDS void bare_write_two(bare_asker *self);
/* Somebody is gone whose transactions have their primaries in one shard and locks in the next one,
 * or the other way round, as that becomes part of the first. */
LW_YIELDS void bare_leave_amid_a_merge(bare_asker *self);
/* One that might last for minutes, and whose machine is lost: its lock goes soon, whoever leads
 * by then, and has never heard of its client. */
LW_YIELDS void bare_write_and_be_lost(bare_asker *self);

/* ---- bare_read.c ------------------------------------------------------------------------------
 */

LW_YIELDS void bare_read_something(bare_asker *self);
/* Asks every shard about a time long past, one after the other. */
LW_YIELDS void bare_read_the_past(bare_asker *self);
/* Comes back within what a new leader waits for readers; in between it reads other keys. Where
 * two nodes are apart it reads what they serve, which nobody else knows of, and other keys only
 * once those would be forgotten if nobody had asked these two. In a quiet run what it reads may
 * become part of another shard meanwhile, which somebody else leads. */
LW_YIELDS void bare_keep_reading(bare_asker *self, uint64_t most_ms);
/* Says nothing for seconds, and counts on its node. Where two nodes are apart it reads what the
 * others serve, who collects cannot ask all, and holds it for this one all the same. */
LW_YIELDS void bare_read_in_silence(bare_asker *self);
/* Whoever cannot be asked by who collects, a timestamp is pinned at once. */
LW_YIELDS void bare_pin_something(bare_asker *self);

/* ---- bare_kill.c, bare_deadlock.c -------------------------------------------------------------
 */

/* A leader that changes meanwhile forgets what was asked of the one before. */
LW_YIELDS void bare_kill_something(bare_asker *self);
/* The first has the pessimistic lock of one key, the second an intent on the other; the second
 * waits for the first, and the first for the second. */
LW_YIELDS void bare_wait_for_each_other(bare_asker *self);

#endif
