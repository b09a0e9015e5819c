/* SPDX-License-Identifier: Apache-2.0 */
/* Packed batches of the log: the records of a large batch, compressed. The log is written for no
 * one to read, mostly, and every byte of it counts twice on a disk that is written to a lot.
 *
 *   body of a packed batch = size of the records u32 · stored size u32 · stored bytes (LZ4) · zeros
 *
 * Invariants
 * 1. What a batch unpacks to has at most LW_LOG_PACKED_MAX bytes, and is at most 255 times as large
 *    as what is stored: damage asks for no memory beyond that.
 * 2. A packed batch stands only in segments of format 2, which programs that cannot read it refuse.
 */
#ifndef LW_LOG_PACK_H
#define LW_LOG_PACK_H

#include "storage/compress.h"
#include "storage/log_format.h"

enum {
    LW_LOG_PACK_HEAD_SIZE = 8,       /* bytes of the body before those that are stored */
    LW_LOG_PACKED_MAX = 1024 * 1024, /* bytes of records in a packed batch */
};

/* Packs the batch whose records stand in `bytes` from LW_LOG_BATCH_HEADER_SIZE to `used`, to the
 * same place at `to`. Returns where it ends there, or 0 if that is not before `room`. */
size_t lw_log_pack(lw_compressor *compressor, const uint8_t *bytes, size_t used, uint8_t *to,
                   size_t room);
/* The records of a batch whose body is intact: a view of `bytes`, or, of a packed one, of `plain`.
 * False if it cannot be unpacked. */
LW_MUST_USE bool lw_log_unpack(const lw_log_batch_header *header, const uint8_t *bytes,
                               lw_decompressor *decompressor, lw_buffer *plain, lw_bytes *records);

#endif
