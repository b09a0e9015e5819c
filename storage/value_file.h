/* SPDX-License-Identifier: Apache-2.0 */
/* Value files: large values kept apart from their keys, so that compaction moves a few bytes of
 * reference instead of the value itself. Written once from front to back beside the tables that
 * refer to it, then only read. The idea is that of WiscKey (Lu et al., FAST 2016), with tables
 * instead of a log as the place that knows what is alive.
 *
 * The file, all numbers little-endian:
 *
 *   value *                    one behind another from offset 0
 *   footer
 *
 * A value:
 *
 *   stored bytes               the value, or that as one compressed block
 *   key                        of the entry that refers to it
 *   value size u32             before compression
 *   stored size u32            compressed exactly if that is less
 *   key size u32
 *   compression u8             0 none, 1 LZ4, 2 zstd
 *   crc32c u32                 of file number u64 · offset of the value in the file u64 · all of
 *                              the value before this
 *
 * The value's own bytes come first, so that they can be read to where they are wanted and need not
 * be moved; its sizes come last, and so a file can be walked from its end, without any table.
 *
 * The footer, 40 bytes at the end of the file:
 *
 *    0  "LWVALUE\n"
 *    8  format u32             1
 *   12  file number u64
 *   20  value count u64
 *   28  sum of value sizes u64
 *   36  crc32c u32             of the bytes before
 *
 * A reference, which stands in a table in the place of the value (LW_ENTRY_REFERENCE):
 *
 *   index of the file in the table's list (lw_table_info) varint · offset varint ·
 *   value size varint · stored size varint
 *
 * Invariants
 * W1. No value is believed before its checksum, and before its key is found to be the one that was
 *     looked for: a value of another key, file or place is damage (hazards S14, S15, S16).
 * W2. A value file is durable (data and size) before lw_value_builder_finish returns, and so before
 *     the edit that names it; making its name durable is the business of whoever commits that.
 * W3. Of a large value no second copy is made: it is written from where it lies and read to where
 * it is wanted. Only those up to LW_VALUE_COMPRESS_MAX are ever compressed, and take one more
 *     buffer. */
#ifndef LW_VALUE_FILE_H
#define LW_VALUE_FILE_H

#include "storage/compress.h"

enum {
    LW_VALUE_FORMAT = 1,
    LW_VALUE_FOOTER_SIZE = 40,
    LW_VALUE_TAIL_SIZE = 17, /* of a value: what stands behind its key */
    LW_REFERENCE_SIZE_MAX = 4 * LW_VARINT_SIZE_MAX,
    LW_VALUE_COMPRESS_MAX = 256 * 1024,
};

/* Where a value lies in its file. */
typedef struct lw_value_place {
    uint64_t offset;
    uint32_t value_size, stored_size;
} lw_value_place;

/* Bytes of the file that a value takes. */
static inline uint64_t lw_value_extent(const lw_value_place *place, size_t key_size) {
    return (uint64_t)place->stored_size + key_size + LW_VALUE_TAIL_SIZE;
}

/* What a table holds instead of a value. */
typedef struct lw_reference {
    uint32_t file; /* index in the list of the table's value files */
    lw_value_place place;
} lw_reference;

/* Returns the size. */
size_t lw_reference_write(const lw_reference *reference, uint8_t to[LW_REFERENCE_SIZE_MAX]);
/* False unless `bytes` are exactly one reference to a place that can be. */
LW_MUST_USE bool lw_reference_read(lw_bytes bytes, lw_reference *reference);

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct lw_value_builder lw_value_builder;

/* Starts the value file `number` at `path`, which must not exist. `level` is that of zstd. */
LW_MUST_USE LW_YIELDS lw_status lw_value_builder_open(lw_env *env, const char *path,
                                                      uint64_t number, lw_compression compression,
                                                      int level, lw_value_builder **builder);
/* Adds a value, which is not empty; both views must stay while this suspends. After a failure the
 * builder is only good for lw_value_builder_abandon. */
LW_MUST_USE LW_YIELDS lw_status lw_value_builder_add(lw_value_builder *builder, lw_bytes key,
                                                     lw_bytes value, lw_value_place *place);
/* Bytes of the file so far. */
uint64_t lw_value_builder_size(const lw_value_builder *builder);
/* Bytes of memory that it takes. */
size_t lw_value_builder_memory(const lw_value_builder *builder);
/* Writes the rest, syncs, closes, frees the builder. `*size` is that of the file. */
LW_MUST_USE LW_YIELDS lw_status lw_value_builder_finish(lw_value_builder *builder, uint64_t *size);
/* Closes and unlinks what was begun, frees the builder. */
LW_YIELDS void lw_value_builder_abandon(lw_value_builder *builder);

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct lw_value_reader lw_value_reader;

/* Opens a value file and holds it against what the catalog says of it. LW_CORRUPTION names the
 * file. The decompressor lives longer. */
LW_MUST_USE LW_YIELDS lw_status lw_value_reader_open(lw_env *env, const char *path,
                                                     const lw_value_file *info,
                                                     lw_decompressor *decompressor,
                                                     lw_value_reader **reader);
LW_YIELDS void lw_value_reader_close(lw_value_reader *reader);
/* Appends the value of `key` at `place` to `value`. LW_CORRUPTION names file and offset. */
LW_MUST_USE LW_YIELDS lw_status lw_value_read(lw_value_reader *reader, lw_bytes key,
                                              const lw_value_place *place, lw_buffer *value);
/* Reads `size` bytes of the file as they are, fewer at its end, into an empty buffer: for whoever
 * takes several values from them. */
LW_MUST_USE LW_YIELDS lw_status lw_value_read_ahead(lw_value_reader *reader, uint64_t offset,
                                                    size_t size, lw_buffer *bytes);
/* Takes a value out of what was so read: `extent` must be all of it. Checks it, and gives a view
 * into it, or, if it is compressed, into `scratch`, whose contents are lost. */
LW_MUST_USE LW_YIELDS lw_status lw_value_take(lw_value_reader *reader, lw_bytes key,
                                              const lw_value_place *place, lw_bytes extent,
                                              lw_buffer *scratch, lw_bytes *value);

/* ---- what writer and readers agree on ------------------------------------------------------- */

typedef struct lw_value_tail {
    uint32_t value_size, stored_size, key_size;
    lw_compression compression;
    uint32_t checksum;
} lw_value_tail;

/* All but the checksum, which covers this too. */
void lw_value_tail_write(const lw_value_tail *tail, uint8_t to[LW_VALUE_TAIL_SIZE]);
lw_value_tail lw_value_tail_read(const uint8_t from[LW_VALUE_TAIL_SIZE]);
/* Whether there can be a value of such sizes. */
bool lw_value_sizes_valid(uint64_t value_size, uint64_t stored_size, uint64_t key_size);
/* Whether a value is compressed as its sizes say, in a way that this version reads. */
static inline bool lw_value_compression_fits(const lw_value_tail *tail) {
    bool compressed = tail->stored_size < tail->value_size;
    return compressed == (tail->compression != LW_COMPRESSION_NONE) &&
           tail->compression <= LW_COMPRESSION_ZSTD;
}
/* The checksum of a value begins with this, and continues over its bytes. */
uint32_t lw_value_checksum_seed(uint64_t number, uint64_t offset);
/* Continues a checksum, and lets other fibers run where there is much. */
LW_YIELDS uint32_t lw_value_checksum(uint32_t checksum, lw_bytes bytes);

typedef struct lw_value_footer {
    uint64_t number, value_count, value_bytes;
} lw_value_footer;

void lw_value_footer_write(const lw_value_footer *footer, uint8_t to[LW_VALUE_FOOTER_SIZE]);
/* NULL, or why it cannot be one. */
const char *lw_value_footer_read(const uint8_t from[LW_VALUE_FOOTER_SIZE], lw_value_footer *footer);
/* What every complaint about a value file says: which file, where, what, and what to do. */
LW_MUST_USE lw_status lw_value_damaged(const char *path, uint64_t offset, const char *reason);
/* Opens a value file to read, and reads its footer. A missing file is LW_CORRUPTION too. */
LW_MUST_USE LW_YIELDS lw_status lw_value_file_open(lw_env *env, const char *path, lw_handle *file,
                                                   uint64_t *file_size, lw_value_footer *footer);

/* Describes a value file for `lathwork inspect`, checking every value; the last line is a verdict.
 * LW_CORRUPTION if anything is wrong: the text then says what. */
LW_MUST_USE LW_YIELDS lw_status lw_value_inspect(lw_env *env, const char *path, lw_buffer *text);

#endif
