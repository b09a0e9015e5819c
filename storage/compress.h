/* SPDX-License-Identifier: Apache-2.0 */
/* Compression of blocks: LZ4, quick to read, and zstd, denser and still quick. All memory that it
 * takes is the caller's: no allocation hides in a library.
 *
 * Invariants
 * 1. What was compressed is at least a 255th of what it was: so a few bytes read somewhere cannot
 *    ask for much memory, whatever a library could do with zeros.
 * 2. Decompressing reads and writes no byte outside of what it was given, whatever the bytes are.
 */
#ifndef LW_COMPRESS_H
#define LW_COMPRESS_H

#include "storage/table.h"

enum { LW_COMPRESSION_RATIO_MAX = 255 };

typedef struct lw_compressor lw_compressor;

/* `level` is zstd's, and 0 stands for LW_ZSTD_QUICK; of LZ4 there is one. NULL for no compression.
 */
lw_compressor *lw_compressor_open(lw_memory *memory, lw_compression compression, int level);
/* `compressor` may be NULL. */
void lw_compressor_close(lw_compressor *compressor);
/* Bytes of memory; 0 for NULL. */
size_t lw_compressor_size(const lw_compressor *compressor);
/* Compresses to at most `room` bytes at `to`; returns how many, or 0 if they do not suffice.
 * `*used` is how it is to be decompressed. */
size_t lw_compress(lw_compressor *compressor, lw_bytes bytes, uint8_t *to, size_t room,
                   lw_compression *used);

typedef struct lw_decompressor lw_decompressor;

lw_decompressor *lw_decompressor_open(lw_memory *memory);
void lw_decompressor_close(lw_decompressor *decompressor);
/* Decompresses to exactly `size` bytes at `to`; false if it yields anything else. */
LW_MUST_USE bool lw_decompress(lw_decompressor *decompressor, lw_compression compression,
                               lw_bytes bytes, uint8_t *to, size_t size);

#endif
