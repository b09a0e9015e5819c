/* SPDX-License-Identifier: Apache-2.0 */
/* What the writer and the reader of a table file must agree on: sealed blocks, the footer and the
 * properties. The format is at the head of table.c. */
#ifndef LW_TABLE_FILE_H
#define LW_TABLE_FILE_H

#include "storage/compress.h"

enum {
    LW_TABLE_FORMAT = 2,     /* what is written */
    LW_TABLE_FORMAT_MIN = 1, /* and the oldest that is read */
    LW_SEAL_SIZE = 6,        /* bytes behind what a sealed block holds */
    LW_TABLE_FOOTER_SIZE = 60,
    LW_TABLE_PART_SIZE_MAX = 1 << 30, /* of a filter, an index or properties */
};

typedef enum lw_part_kind {
    LW_PART_DATA = 1,
    LW_PART_INDEX = 2,
    LW_PART_FILTER = 3,
    LW_PART_PROPERTIES = 4,
} lw_part_kind;

/* Which block this is: covered by its checksum, so that no block passes for another (B2). */
typedef struct lw_part {
    lw_part_kind kind;
    uint64_t number; /* of the table */
    uint64_t offset; /* in the file */
} lw_part;

/* Appends `bytes`, sealed, to `out`; returns the size of the sealed block. Compressed only where
 * that saves an eighth. `compressor` may be NULL for none. */
size_t lw_part_seal(const lw_part *part, lw_bytes bytes, lw_compressor *compressor, lw_buffer *out);

/* Whether a sealed block is what `part` says. NULL, or why it is not. */
const char *lw_part_check(const lw_part *part, lw_bytes sealed);
/* Whether a sealed block of two sizes that were read somewhere is worth looking at. */
bool lw_part_sizes_valid(uint64_t sealed_size, uint64_t size);
static inline bool lw_part_compressed(size_t sealed_size, size_t size) {
    return sealed_size != size + LW_SEAL_SIZE;
}
/* Decompresses a checked block to exactly `size` bytes at `to`; false if it yields anything else.
 */
LW_MUST_USE bool lw_part_decompress(lw_decompressor *decompressor, lw_bytes sealed, uint8_t *to,
                                    size_t size);
/* How a checked block is compressed. */
lw_compression lw_part_compression(lw_bytes sealed);

typedef struct lw_table_range {
    uint64_t offset;
    uint32_t size; /* sealed */
} lw_table_range;

typedef struct lw_table_footer {
    uint32_t format; /* when read */
    uint64_t number;
    lw_table_range filter, index, properties; /* one behind another, up to the footer */
    uint32_t checksum;
} lw_table_footer;

/* Writes a footer, and its checksum into the struct. */
void lw_table_footer_write(lw_table_footer *footer, uint8_t to[LW_TABLE_FOOTER_SIZE]);
/* Reads the footer of a file of `file_size` bytes, to which its ranges must fit. NULL, or why it
 * cannot be one. */
const char *lw_table_footer_read(const uint8_t from[LW_TABLE_FOOTER_SIZE], uint64_t file_size,
                                 lw_table_footer *footer);

/* The counts, sequences and keys of `info`; number, size and checksum stand elsewhere. */
void lw_table_properties_write(const lw_table_info *info, lw_buffer *out);
/* The keys are views into `bytes`. */
LW_MUST_USE bool lw_table_properties_read(lw_bytes bytes, lw_table_info *info);

/* ---- reading from a file ------------------------------------------------------------------ */

/* What every complaint about a table says: which file, where, what, and what to do. */
LW_MUST_USE lw_status lw_table_damaged(const char *path, uint64_t offset, const char *reason);
/* Opens a table file to read, and reads its footer. A missing file is LW_CORRUPTION too: only what
 * the catalog names is opened. */
LW_MUST_USE LW_YIELDS lw_status lw_table_file_open(lw_env *env, const char *path, lw_handle *file,
                                                   uint64_t *file_size, lw_table_footer *footer);
/* LW_CORRUPTION unless a sealed block is what `part` says. */
LW_MUST_USE lw_status lw_part_verify(lw_env *env, const char *path, const lw_part *part,
                                     lw_bytes sealed);
/* Reads a sealed block of `size` bytes to `to`, and checks it. */
LW_MUST_USE LW_YIELDS lw_status lw_part_read(lw_env *env, lw_handle file, const char *path,
                                             const lw_part *part, uint8_t *to, size_t size);

#endif
