/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges that hold every key to which a transaction has done something: few, so that they can be
 * remembered however many keys there are. Where there would be too many, neighbours become one. */
#ifndef LW_TOUCHED_H
#define LW_TOUCHED_H

#include "txn/request.h"

enum { LW_TOUCHED_COUNT_MAX = 256 };

/* Zeroed: nothing was touched. Ascending and apart; no bound is empty. Lives in an arena. */
typedef struct lw_touched {
    lw_seen_range *ranges;
    uint32_t count;
} lw_touched;

/* Keys from `first` to `last` are touched. */
void lw_touched_add(lw_touched *touched, lw_arena *arena, lw_bytes first, lw_bytes last);
/* Whether the key is. */
bool lw_touched_holds(const lw_touched *touched, lw_bytes key);

#endif
