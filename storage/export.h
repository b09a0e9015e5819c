/* SPDX-License-Identifier: Apache-2.0 */
/* Tables built outside of any store, for loading much at once: sorted entries go into a bundle
 * (storage/bundle.h) of one tree, which lw_store_ingest takes over, or which is opened as a store.
 * Each byte is written once, to the last level, where it stays.
 *
 * A key is written once, in ascending order. One fiber at a time uses an export. */
#ifndef LW_EXPORT_H
#define LW_EXPORT_H

#include "base/env.h"
#include "storage/table.h"

typedef struct lw_export lw_export;

typedef struct lw_export_options {
    uint64_t tree;              /* its id in the bundle */
    uint64_t index;             /* what lw_tree_flushed says of it if the bundle is opened */
    lw_filter_part filter_part; /* that of the store which is to have it */
    uint64_t table_size;        /* bytes at which a table is cut; 0: 8 MiB */
} lw_export_options;

/* Begins a bundle. LW_EXISTS if there is anything in the folder. */
LW_MUST_USE LW_YIELDS lw_status lw_export_open(lw_env *env, const char *directory,
                                               const lw_export_options *options,
                                               lw_export **opened);
/* Adds the next entry; copies. LW_INVALID_ARGUMENT if the key does not come behind the last one, or
 * key or value is too large: nothing is added then. After any other failure the export is only good
 * for lw_export_abandon. */
LW_MUST_USE LW_YIELDS lw_status lw_export_add(lw_export *out, lw_bytes key, lw_bytes value);
/* Makes everything durable, the bundle whole, and frees the export; when that fails, as
 * lw_export_abandon. */
LW_MUST_USE LW_YIELDS lw_status lw_export_finish(lw_export *out);
/* Removes what was begun, and frees the export. */
LW_YIELDS void lw_export_abandon(lw_export *out);

#endif
