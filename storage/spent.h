/* SPDX-License-Identifier: Apache-2.0 */
/* Spent memtables, which nobody reads any more. A large one lies in thousands of pieces, and giving
 * them back to the system takes milliseconds: so it is done a few at a time by a fiber. Writers
 * have the room at once: more of it is given back in a turn than they can fill. */
#ifndef LW_SPENT_H
#define LW_SPENT_H

#include "base/fiber.h"

struct lw_memtable_share;

typedef struct lw_spent {
    struct lw_memtable_share *first;
    lw_queue wanted;
} lw_spent;

/* Takes one without references; gives back what is small at once. */
void lw_spent_add(lw_spent *spent, struct lw_memtable_share *share);
/* Gives some of it back; false if there was nothing. */
bool lw_spent_reduce(lw_spent *spent);

#endif
