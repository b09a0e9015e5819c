/* SPDX-License-Identifier: Apache-2.0 */
/* The marked places of this program: its coverage marks, rare paths and planted bugs (base/env.h),
 * which the linker gathered. A build without LW_SIMULATION has none.
 *
 * Several places may have one name: they are one mark. */
#ifndef LW_SIM_PLACE_H
#define LW_SIM_PLACE_H

#include "base/env.h"

/* All places, and the number of one of them, from 0. */
size_t lw_place_count(void);
size_t lw_place_number(const lw_place *place);
/* The names of a kind, sorted, each once: an array that the caller frees with lw_free. */
const char **lw_place_names(lw_memory *memory, lw_place_kind kind, size_t *count);

#endif
