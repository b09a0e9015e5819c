/* SPDX-License-Identifier: Apache-2.0 */
/* Filters: which keys a table certainly does not hold. A blocked Bloom filter (Putze, Sanders and
 * Singler, 2007): all bits of a key lie in one line of 64 bytes, so that a look costs one cache
 * miss.
 *
 *   line of 64 bytes + · probe count u8
 *
 * A key's hash picks the line by its high half, and by its low half one bit for each probe.
 *
 * Invariants
 * 1. A filter never denies a key that was put into it.
 * 2. With 10 bits a key it lies for at most 1.5 % of other keys (tested; 1.0 % expected).
 * 3. Any bytes that lw_filter_open accepts can be asked anything. */
#ifndef LW_FILTER_H
#define LW_FILTER_H

#include "base/bytes.h"

enum { LW_FILTER_LINE_SIZE = 64, LW_FILTER_PROBES_MAX = 16 };

/* What a filter remembers of a key. */
uint64_t lw_filter_hash(lw_bytes key);

/* Bytes of the filter of so many hashes. */
size_t lw_filter_size(size_t count, uint32_t bits_per_key);
/* Appends the filter of `count` hashes, at `bits_per_key` (1..30), to `out`. */
void lw_filter_build(const uint64_t *hashes, size_t count, uint32_t bits_per_key, lw_buffer *out);

typedef struct lw_filter {
    const uint8_t *lines;
    uint32_t line_count;
    uint32_t probe_count;
} lw_filter;

/* A view of a filter; the bytes stay the caller's. False if they are none. */
LW_MUST_USE bool lw_filter_open(lw_bytes bytes, lw_filter *filter);
/* False: no key of this hash was put in. */
bool lw_filter_may_hold(const lw_filter *filter, uint64_t hash);

#endif
