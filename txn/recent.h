/* SPDX-License-Identifier: Apache-2.0 */
/* The last transactions of which something is remembered, by their starts, with the label of a
 * client: who wrote lately, so that a conflict can say whose the newer version is; and who was
 * killed, so that it is told. In memory only, and of bounded size: the oldest is forgotten first.
 *
 * Noting costs the same whatever is remembered, and is for every commit. Finding looks at each, and
 * is for conflicts. */
#ifndef LW_RECENT_H
#define LW_RECENT_H

#include "base/bytes.h"

typedef struct lw_recent lw_recent;

enum { LW_RECENT_LABEL_SIZE_MAX = 64 }; /* bytes; a longer one is cut */

#define LW_RECENT_IN_DOUBT UINT64_MAX /* for a commit timestamp: it may have committed */

typedef struct lw_recent_entry {
    uint64_t commit_timestamp; /* 0: not known to be committed */
    uint8_t label_size;
    uint8_t label[LW_RECENT_LABEL_SIZE_MAX];
} lw_recent_entry;

/* Remembers up to `capacity`. Takes its memory with the first one. */
lw_recent *lw_recent_open(lw_memory *memory, uint32_t capacity);
void lw_recent_close(lw_recent *recent);
/* `start` is not 0. What is noted later of a transaction is what is found. */
void lw_recent_note(lw_recent *recent, uint64_t start, uint64_t commit_timestamp, lw_bytes label);
/* The transaction has committed; nothing happens if it is not remembered. */
void lw_recent_committed(lw_recent *recent, uint64_t start, uint64_t commit_timestamp);
void lw_recent_forget(lw_recent *recent, uint64_t start);
/* NULL if it is not remembered; else lives until the next note. */
const lw_recent_entry *lw_recent_find(const lw_recent *recent, uint64_t start);
static inline lw_bytes lw_recent_label(const lw_recent_entry *entry) {
    return entry == NULL ? (lw_bytes){0} : lw_view(entry->label, entry->label_size);
}

#endif
