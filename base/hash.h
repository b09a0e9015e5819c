/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums and hashes. crc32c guards everything on disk (Castagnoli polynomial, through ISA-L
 * with its own dispatch); xxh3 spreads keys over filters and hash tables and is never on its own a
 * reason to believe bytes that an adversary wrote. */
#ifndef LW_HASH_H
#define LW_HASH_H

#include "base/bytes.h"

/* CRC-32C of `bytes`, continued from `seed` (0 to begin). Standard: "123456789" → e3069283. */
uint32_t lw_crc32c(uint32_t seed, lw_bytes bytes);
/* 64-bit XXH3 with a seed. Stable across versions and machines: it is stored in filters. */
uint64_t lw_hash(uint64_t seed, lw_bytes bytes);
/* A fast permutation of 64 bits, for combining numbers. */
uint64_t lw_mix(uint64_t value);

#endif
