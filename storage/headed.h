/* SPDX-License-Identifier: Apache-2.0 */
/* Things sorted by eight bytes of their keys (storage/heads.h): many at once, without comparing. */
#ifndef LW_HEADED_H
#define LW_HEADED_H

#include "base/bytes.h"

typedef struct lw_headed {
    uint64_t head, next; /* eight bytes, and the eight behind them */
    const void *of;
    uint32_t number; /* the caller's */
} lw_headed;

/* Sorts by head; those of equal heads keep their order. Takes as much memory again meanwhile. */
void lw_headed_sort(lw_memory *memory, lw_headed *items, uint32_t count);

#endif
