/* SPDX-License-Identifier: Apache-2.0 */
/* Retention: what may be forgotten. The owner of the keys says it of each entry by a pure rule, and
 * moves a safepoint; the store knows nothing of what either stands for. Flushes and compactions
 * leave out what the rule and the safepoint allow (storage/sieve.h).
 *
 * The unit is the filter part: all keys of one part belong together (all versions of a user key),
 * and within a part keys ascend from new to old. For each entry the rule answers two safepoints
 * from which nobody needs it any more:
 *
 *   from             because of a newer entry of its part that the rule met before. The entry goes
 *                    wherever it is met.
 *   at_bottom_from   because it says only that there is nothing (a deletion). It goes only where no
 *                    entry of its part at or behind its key lies outside of what is being merged,
 *                    since such an entry would come to light again.
 *
 * Why that is safe, whatever lies in levels, tables and memtables that are not merged. Let S be the
 * safepoint, and let a reader ask for a part at some place, as it may at or above S: the answer is
 * the first entry at or behind that place that is a version.
 * 1. An entry that goes because of `from` <= S was hidden from every such reader by a newer version
 *    of the same merge. That one is written to the output, or goes itself: then because of a still
 *    newer one of the same merge (and the first of that chain is written), or at the bottom (2). So
 *    nothing that is not an input has to be there for the hiding, and nothing may be missing: a
 *    merge that lacks the newer version keeps the entry. What lies elsewhere behind the entry was
 *    hidden by the same version, and still is.
 * 2. An entry that goes at the bottom leaves nothing of its part behind it: what was an input goes
 *    because of it (1), what was none is not there. All other sources are looked at, those above
 *    included: tables of one level may share a part, and then its newer half goes down alone.
 * 3. Two merges may run at once (a flush and a compaction). Neither relies on an entry of the other
 *    to be there (1), and what 2 relies on is that something is absent, which no merge changes.
 * 4. What is written while a merge runs is not looked at, nor is what lies above the inputs in (1).
 *    So the owner promises: an entry of a part, once written, is neither deleted nor replaced by
 *    one that hides less; once a safepoint is set, no version is written at or below it; and
 *    whoever may still ask at a place below it is refused before the store is asked. */
#ifndef LW_RETENTION_H
#define LW_RETENTION_H

#include "base/bytes.h"

/* The safepoints from which an entry is needless; UINT64_MAX: never. */
typedef struct lw_needless {
    uint64_t from;
    uint64_t at_bottom_from;
} lw_needless;
#define LW_NEEDED ((lw_needless){.from = UINT64_MAX, .at_bottom_from = UINT64_MAX})

typedef struct lw_retention {
    /* Judges the entries of a part in their order, the newest of each key only, no deletions of
     * the store's own. `value` may be empty although `value_size` is not 0: the value lies
     * elsewhere then, and is too long for what the rule must see. `*state` is 0 at the first entry
     * of a part, and the rule's own until the last. NULL: everything is needed. */
    lw_needless (*judge)(void *argument, lw_bytes key, lw_bytes value, size_t value_size,
                         uint64_t *state);
    /* Whether the rule has to see this value, so that it is never kept apart from its key. NULL:
     * none. */
    bool (*must_see)(lw_bytes key, lw_bytes value);
    void *argument;
} lw_retention;

#endif
