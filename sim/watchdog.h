/* SPDX-License-Identifier: Apache-2.0 */
/* Ends the process, in words, when a user's callback computes on and on: virtual time stands still
 * then, so no limit of virtual time can end it. Uses SIGVTALRM while it is open. */
#ifndef LW_WATCHDOG_H
#define LW_WATCHDOG_H

#include "base/bytes.h"
#include "sim/world.h"

typedef struct lw_watchdog lw_watchdog;

/* Looks after `world`. `name` is what is told of the run, and lives as long. */
lw_watchdog *lw_watchdog_open(lw_memory *memory, const lw_world *world, const char *name);
void lw_watchdog_close(lw_watchdog *watchdog);

#endif
