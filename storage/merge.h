/* SPDX-License-Identifier: Apache-2.0 */
/* The merge: one ordered walk over the entries of many sources, memtables and runs of tables, in
 * either direction. Every entry of every source is met, also those that newer ones hide: what
 * counts is decided by cursors and compactions.
 *
 * Invariants
 * 1. Going forward entries come in the order of tables (B1: keys ascend, sequences of one key
 *    descend); going back they come in exactly the reverse.
 * 2. The direction is set by how the merge was placed. After seek and first it goes forward, after
 *    seek_before and last it goes back.
 * 3. After a failure the merge stands on nothing until it is placed again. */
#ifndef LW_MERGE_H
#define LW_MERGE_H

#include "storage/version.h"

typedef struct lw_merge lw_merge;

/* An empty merge with room for `capacity` sources. */
lw_merge *lw_merge_open(lw_memory *memory, uint32_t capacity);
void lw_merge_close(lw_merge *merge);
/* Before sources are added: what is merged is read once, as by lw_table_cursor_open_once. */
void lw_merge_set_once(lw_merge *merge);
/* Adds sources, before the merge is first placed. They live longer than the merge. */
void lw_merge_add_memtable(lw_merge *merge, const lw_memtable *memtable);
/* A run: disjoint files that ascend by key. Only the one under the cursor is open. */
void lw_merge_add_run(lw_merge *merge, lw_table_file *const *files, uint32_t count);

/* The first entry at or after (key, sequence); the last before all of `key`'s. */
LW_MUST_USE LW_YIELDS lw_status lw_merge_seek(lw_merge *merge, lw_bytes key, uint64_t sequence);
LW_MUST_USE LW_YIELDS lw_status lw_merge_seek_before(lw_merge *merge, lw_bytes key);
LW_MUST_USE LW_YIELDS lw_status lw_merge_first(lw_merge *merge);
LW_MUST_USE LW_YIELDS lw_status lw_merge_last(lw_merge *merge);
/* One entry on in the current direction. The merge must stand on one. */
LW_MUST_USE LW_YIELDS lw_status lw_merge_step(lw_merge *merge);
/* Forward, beyond all entries of the key that it stands on. */
LW_MUST_USE LW_YIELDS lw_status lw_merge_next_key(lw_merge *merge);
/* The entry it stands on, or NULL. Views live until the merge moves. */
const lw_entry *lw_merge_entry(const lw_merge *merge);
/* The file in which that entry stands, as the tree sees it; NULL if it stands in a memtable. */
lw_table_file *lw_merge_file(const lw_merge *merge);
bool lw_merge_forward(const lw_merge *merge);

#endif
