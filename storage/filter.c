/* SPDX-License-Identifier: Apache-2.0 */
/* A blocked Bloom filter; the format is at the head of filter.h, and so part of table files: the
 * tests pin a filter byte by byte. */
#include "storage/filter.h"

#include "base/hash.h"

enum { LINE_BITS = LW_FILTER_LINE_SIZE * 8, LINE_BITS_LOG2 = 9 };
_Static_assert(1 << LINE_BITS_LOG2 == LINE_BITS, "a probe addresses every bit of a line");

uint64_t lw_filter_hash(lw_bytes key) {
    return lw_hash(0, key);
}

/* The line of a hash: its high half scaled to the count, which needs no division. */
static size_t line_of(uint64_t hash, uint32_t line_count) {
    return (size_t)(((hash >> 32) * line_count) >> 32) * LW_FILTER_LINE_SIZE;
}

/* The bit of the next probe: the top bits of the low half, which an odd multiplier turns over. */
static uint32_t next_bit(uint32_t *probe) {
    *probe *= 0x9e3779b9U;
    return *probe >> (32 - LINE_BITS_LOG2);
}

/* The best count for a line: ln 2 * bits per key, a little less since lines fill unevenly. */
static uint32_t probe_count_for(uint32_t bits_per_key) {
    uint32_t count = bits_per_key * 2 / 3;
    count = count < 1 ? 1 : count;
    return count > LW_FILTER_PROBES_MAX ? LW_FILTER_PROBES_MAX : count;
}

static size_t line_count_for(size_t count, uint32_t bits_per_key) {
    size_t line_count = (count * bits_per_key + LINE_BITS - 1) / LINE_BITS;
    return line_count < 1 ? 1 : line_count;
}

size_t lw_filter_size(size_t count, uint32_t bits_per_key) {
    return line_count_for(count, bits_per_key) * LW_FILTER_LINE_SIZE + 1;
}

void lw_filter_build(const uint64_t *hashes, size_t count, uint32_t bits_per_key, lw_buffer *out) {
    LW_ASSERT(bits_per_key >= 1 && bits_per_key <= 30);
    LW_ASSERT(count <= UINT32_MAX);
    uint32_t probe_count = probe_count_for(bits_per_key);
    size_t line_count = line_count_for(count, bits_per_key);
    size_t lines_size = line_count * LW_FILTER_LINE_SIZE;
    uint8_t *lines = lw_buffer_reserve(out, lines_size);
    memset(lines, 0, lines_size);
    for (size_t index = 0; index < count; index++) {
        uint8_t *line = lines + line_of(hashes[index], (uint32_t)line_count);
        uint32_t probe = (uint32_t)hashes[index];
        for (uint32_t turn = 0; turn < probe_count; turn++) {
            uint32_t bit = next_bit(&probe);
            line[bit / 8] |= (uint8_t)(1U << (bit % 8));
        }
    }
    out->size += lines_size;
    lw_buffer_append_u8(out, (uint8_t)probe_count);
}

bool lw_filter_open(lw_bytes bytes, lw_filter *filter) {
    if (bytes.size < LW_FILTER_LINE_SIZE + 1 || bytes.size % LW_FILTER_LINE_SIZE != 1 ||
        bytes.size / LW_FILTER_LINE_SIZE > UINT32_MAX) {
        return false;
    }
    uint8_t probe_count = bytes.data[bytes.size - 1];
    if (probe_count < 1 || probe_count > LW_FILTER_PROBES_MAX) {
        return false;
    }
    *filter = (lw_filter){.lines = bytes.data,
                          .line_count = (uint32_t)(bytes.size / LW_FILTER_LINE_SIZE),
                          .probe_count = probe_count};
    return true;
}

bool lw_filter_may_hold(const lw_filter *filter, uint64_t hash) {
    const uint8_t *line = filter->lines + line_of(hash, filter->line_count);
    uint32_t probe = (uint32_t)hash;
    for (uint32_t turn = 0; turn < filter->probe_count; turn++) {
        uint32_t bit = next_bit(&probe);
        if ((line[bit / 8] & (1U << (bit % 8))) == 0) {
            return false;
        }
    }
    return true;
}
