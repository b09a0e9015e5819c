/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying what is stored while it is in use: every checksum of a file that a tree shows, past the
 * block cache, and of the log, so that damage is found where nobody reads. Files are taken by their
 * numbers, which rise: whoever goes from number to number up to the newest of when it began has
 * seen all of them that there still are. */
#ifndef LW_SCRUB_H
#define LW_SCRUB_H

#include "storage/log.h"
#include "storage/store.h"

/* The highest number that a file has by now. */
uint64_t lw_store_newest_file(const lw_store *store);

/* Called after each piece that was read, of `size` bytes. False: give up. */
typedef LW_YIELDS bool lw_scrub_pause(void *argument, size_t size);

/* Verifies the file with the lowest number above `after`, up to `last`; `*number` receives it.
 * LW_NOT_FOUND   there is none.
 * LW_CORRUPTION  it is damaged: file and offset are in the error slot, and the store's `damaged`
 *                was told of every tree that shows it.
 * LW_UNAVAILABLE it was given up.
 * Any other failure of the disk. */
LW_MUST_USE LW_YIELDS lw_status lw_store_scrub(lw_store *store, uint64_t after, uint64_t last,
                                               lw_scrub_pause *pause, void *argument,
                                               uint64_t *number);
/* Verifies all files that one tree shows. LW_CORRUPTION for the first that is damaged, and nobody
 * else is told; LW_NOT_FOUND: there is no such tree, or not any more. */
LW_MUST_USE LW_YIELDS lw_status lw_store_verify_tree(lw_store *store, uint64_t tree,
                                                     lw_scrub_pause *pause, void *argument);
/* Whether any tree still shows a file. */
bool lw_store_shows_file(const lw_store *store, uint64_t number);

/* ---- the log: storage/log_scrub.c -------------------------------------------------------------
 */

/* The highest number of a segment to which nothing will be written any more; 0: none. */
uint64_t lw_log_newest_sealed(const lw_log *log);
/* Verifies every batch of the segment with the lowest number above `after`, up to `last`, of those
 * that are written to the end; `*number` receives it. Segments that the log lets go of meanwhile
 * are passed over. Statuses as of lw_store_scrub, but nobody else is told. To be ended before the
 * log is closed. */
LW_MUST_USE LW_YIELDS lw_status lw_log_scrub(lw_log *log, uint64_t after, uint64_t last,
                                             lw_scrub_pause *pause, void *argument,
                                             uint64_t *number);
/* Whether the log still holds such a segment. */
bool lw_log_has_segment(const lw_log *log, uint64_t number);

#endif
