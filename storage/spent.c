/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/spent.h"

#include "storage/version.h"

enum { PIECE_SIZE = 256 * 1024 }; /* about a tenth of a millisecond */

/* True if nothing is left of it. */
static bool reduce(lw_memtable_share *share) {
    bool over = lw_memtable_close_some(share->memtable, PIECE_SIZE);
    if (over) {
        lw_free(share->memory, share);
    }
    return over;
}

void lw_spent_add(lw_spent *spent, lw_memtable_share *share) {
    LW_ASSERT(share->references == 0);
    lw_budget_share_set(&share->charge, 0);
    if (!reduce(share)) {
        share->next_spent = spent->first;
        spent->first = share;
        lw_queue_wake_all(&spent->wanted);
    }
}

bool lw_spent_reduce(lw_spent *spent) {
    lw_memtable_share *share = spent->first;
    if (share == NULL) {
        return false;
    }
    spent->first = share->next_spent;
    lw_spent_add(spent, share);
    return true;
}
