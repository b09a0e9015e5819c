/* SPDX-License-Identifier: Apache-2.0 */
/* The scrub: a slow walk over everything that is stored, tables first and then the log, so that
 * damage is found where nobody reads. One whole pass a week; a fiber that sleeps in between.
 *
 * Damage is an event, a line of the log, and in `lathwork status` for as long as the file is there.
 * That of a table goes the way of damage that a read has found (node/shards_repair.c). A damaged
 * segment of the log would keep the node from starting again; as long as it runs all that counts of
 * it is in memory, too, so everything is flushed, and the log lets go of the segment. What keeps it
 * after that, entries that are not committed yet, is flushed by the next pass.
 *
 *   SCRUB, in the node's folder (u64 little-endian):
 *     magic "LWSCRUB2" · begun · ended · after · last · after · last · bytes · files ·
 *     crc32c u32 of all before
 *   begun and ended are wall clocks in ms, of the pass that was begun last, and of the last whole
 * one (0: none); after and last are numbers of files: where the pass is, and its end, among tables
 * and among segments of the log.
 *
 * It is written when a pass begins and ends, and now and then in between; without it, or if it is
 * damaged, a pass begins anew. */
#ifndef LW_NODE_SCRUB_H
#define LW_NODE_SCRUB_H

#include "client/json.h"
#include "storage/log.h"
#include "storage/store.h"

typedef struct lw_scrub lw_scrub;

typedef struct lw_scrub_options {
    lw_env *env;
    lw_store *store;
    lw_log *log;               /* NULL: there is none */
    const char *directory;     /* of the node; lives longer */
    uint64_t every_ms;         /* from the begin of a pass to the next; 0: a week */
    uint64_t bytes_per_second; /* at most; 0: 8 MiB */
    /* Requests that clients have made by now: where they come fast, it goes slowly. */
    uint64_t (*requests)(void *argument);
    /* Damage in a file: an event. */
    void (*found)(void *argument, const char *text);
    void *argument;
} lw_scrub_options;

/* Starts the fiber. */
LW_YIELDS lw_scrub *lw_scrub_open(const lw_scrub_options *options);
LW_YIELDS void lw_scrub_close(lw_scrub *scrub);
void lw_scrub_status(const lw_scrub *scrub, lw_json *json);

#endif
