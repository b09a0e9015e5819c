/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles: folders of tables that no store has open. lw_store_checkpoint and lw_export make them,
 * lw_store_ingest takes their tables over; a bundle of a checkpoint can also be opened as a store.
 *
 *   sst/       tables and values, as in a store; hard links, where they are a store's too
 *   LOCK       held while somebody takes from it, opens it or removes it
 *   CATALOG    what the trees are: made last
 *
 * Invariants
 * U1. Nothing in sst/ is ever written again: only immutable files are linked (hazard S17).
 * U2. A bundle has a CATALOG exactly if it is whole: all that it names is durable, and its name.
 *     What a crash cut short has none; lw_bundle_remove removes either.
 * U3. What is removed does not come back once another one has begun in its place: a name in sst/
 *     may be that of a store's table, too, and is written to under the same number. */
#ifndef LW_BUNDLE_H
#define LW_BUNDLE_H

#include "storage/inventory.h"

/* Makes the folder and sst/ in it, durably empty (U3), whose path it writes. LW_EXISTS if there is
 * anything in it. */
LW_MUST_USE LW_YIELDS lw_status lw_bundle_begin(lw_env *env, const char *directory,
                                                char table_path[LW_PATH_SIZE]);
/* Makes all names durable, and then the CATALOG, of this state. */
LW_MUST_USE LW_YIELDS lw_status lw_bundle_end(lw_env *env, const char *directory, lw_bytes state);
/* Locks a bundle and reads its CATALOG. LW_NOT_FOUND if it was cut short; LW_REFUSED if another
 * process has it. With LW_OK the caller closes `lock`. */
LW_MUST_USE LW_YIELDS lw_status lw_bundle_read(lw_env *env, const char *directory,
                                               lw_inventory *inventory, lw_handle *lock);
/* Removes a bundle, also one that was cut short; the empty folders stay. LW_NOT_FOUND if there is
 * no such folder. LW_REFUSED if it is the folder of a node, or somebody has it open: then nothing
 * is touched. */
LW_MUST_USE LW_YIELDS lw_status lw_bundle_remove(lw_env *env, const char *directory);
/* Makes the name of a folder durable in the one above it. Who may not read that one has to have
 * made the folder before. */
LW_MUST_USE LW_YIELDS lw_status lw_path_sync_parent(lw_env *env, const char *directory);
/* The next of the names that lw_path_list gave, or NULL. */
const char *lw_names_next(lw_bytes *names);

#endif
