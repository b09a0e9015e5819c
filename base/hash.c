/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C by ISA-L, XXH3 by xxHash, and one mixer of our own. The only file that includes them.
 *
 * Invariants
 * 1. lw_crc32c(lw_crc32c(0, a), b) is the checksum of a followed by b. ISA-L leaves the customary
 *    inversion before and after to its caller.
 * 2. The values are part of file formats: the tests pin them. */
#include "base/hash.h"

#include <isa-l/crc.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wswitch-enum"
#define XXH_INLINE_ALL
#include <xxhash.h>
#pragma GCC diagnostic pop

/* ISA-L counts in an int. */
enum { CRC_STEP_MAX = 1 << 30 };

uint32_t lw_crc32c(uint32_t seed, lw_bytes bytes) {
    uint32_t crc = ~seed;
    while (bytes.size > 0) {
        size_t step = bytes.size < CRC_STEP_MAX ? bytes.size : CRC_STEP_MAX;
        /* ISA-L only reads, whatever its prototype says. */
        crc = crc32_iscsi((unsigned char *)(uintptr_t)bytes.data, (int)step, crc);
        bytes = lw_view(bytes.data + step, bytes.size - step);
    }
    return ~crc;
}

uint64_t lw_hash(uint64_t seed, lw_bytes bytes) {
    return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}

/* The finalizer of SplitMix64 (Steele, Lea and Flood 2014, with Stafford's constants). The
 * increment comes first so that 0, the commonest number, does not stay 0. */
uint64_t lw_mix(uint64_t value) {
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31);
}
