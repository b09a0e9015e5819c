/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: immutable sorted files of entries, written once from front to back and read through the
 * block cache. Sorted blocks with prefix compression and restart points, a checksum on each block,
 * LZ4 or zstd, a filter, an index, properties. The format, byte by byte, is at the head of table.c.
 *
 * Invariants
 * B1. Entries ascend by key, and within one key descend by sequence (newest first).
 * B2. Nothing read is believed before its checksum, which covers the file's number and the block's
 *     offset, so that a misdirected or stale block is damage too (hazards S14, S15, S16).
 * B3. A table is durable (data and size) before lw_table_builder_finish returns; making its name
 *     durable is the catalog's business. */
#ifndef LW_TABLE_H
#define LW_TABLE_H

#include "base/env.h"
#include "storage/cache.h"

typedef enum lw_entry_kind {
    LW_ENTRY_PUT = 1,
    LW_ENTRY_DELETE = 2,
    LW_ENTRY_REFERENCE = 3, /* a put whose value lies elsewhere: lw_reference (value_file.h). Never
                               in a memtable */
} lw_entry_kind;

/* One entry of a tree: what a key became at a sequence number. */
typedef struct lw_entry {
    lw_bytes key;
    uint64_t sequence;
    lw_entry_kind kind;
    lw_bytes value;
} lw_entry;

enum {
    LW_TREE_KEY_SIZE_MAX = 64 * 1024,          /* bytes of a tree key */
    LW_TREE_VALUE_SIZE_MAX = 17 * 1024 * 1024, /* bytes of a tree value */
};

/* The leading part of a key that its filter holds: its size in bytes. Shared by all versions of a
 * user key, so that a read of any version can skip a table. Must be pure, and keys between two of
 * the same part must have that part too. */
typedef size_t (*lw_filter_part)(lw_bytes key);

typedef enum lw_compression {
    LW_COMPRESSION_NONE = 0,
    LW_COMPRESSION_LZ4 = 1,
    LW_COMPRESSION_ZSTD = 2,
} lw_compression;

enum {
    LW_ZSTD_QUICK = -1, /* a tenth smaller than LZ4, compressed as fast, read half as fast */
    LW_ZSTD_DENSE = 3,
};

typedef struct lw_table_options {
    uint32_t block_size;       /* bytes before compression; 0: 4096 */
    uint32_t restart_interval; /* entries; 0: 16 */
    uint32_t filter_bits;      /* per key; 0: 10 */
    lw_compression compression;
    int compression_level;      /* of zstd; 0: LW_ZSTD_QUICK */
    lw_filter_part filter_part; /* NULL: the whole key */
    size_t buffer_size;         /* bytes that wait for one write; 0: 256 KiB */
    lw_budget *budget;          /* charged for buffers; NULL: none is */
    /* One of that compression, lent by who builds one table after the other; NULL: the table makes
     * its own, which takes as long as compressing some blocks. */
    struct lw_compressor *compressor;
} lw_table_options;

/* The keys from `lower` on and below `upper`; a bound of size 0 is no bound. */
typedef struct lw_key_range {
    lw_bytes lower, upper;
} lw_key_range;

/* A file of large values that entries of a table refer to. */
typedef struct lw_value_file {
    uint64_t number;
    uint64_t origin;    /* as in lw_table_info */
    uint64_t live_size; /* bytes of it that this table refers to */
    uint64_t size;      /* bytes of the file */
} lw_value_file;

/* What a finished table is known by; kept in the catalog. Views belong to whoever filled it. */
typedef struct lw_table_info {
    uint64_t number; /* file number, never reused within a store */
    uint64_t origin; /* the number it was built under, which its checksums cover: another one only
                        if it was ingested from another folder */
    uint64_t size;   /* bytes of the file */
    uint64_t entry_count, delete_count;
    uint64_t sequence_min, sequence_max;
    uint64_t raw_size;          /* of the data blocks before compression; 0: not known */
    lw_compression compression; /* of data blocks, where it saves enough */
    /* Entries that some safepoint makes needless (storage/retention.h), and the lowest and the
     * highest safepoint from which one of them is. */
    uint64_t stale_count, stale_from, stale_to;
    uint32_t checksum; /* of the footer, so that the catalog and the file vouch for each other */
    lw_bytes key_min, key_max;
    lw_key_range clip; /* what is to be seen of it; each bound only if it cuts something off */
    const lw_value_file *values;
    uint32_t value_count;
} lw_table_info;

/* How many of a table's entries a safepoint makes needless, as far as the table knows: an estimate,
 * since it takes their safepoints to be spread evenly. */
uint64_t lw_table_stale_at(const lw_table_info *info, uint64_t safepoint);

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct lw_table_builder lw_table_builder;

/* Starts the table `number` at `path`, which must not exist. */
LW_MUST_USE LW_YIELDS lw_status lw_table_builder_open(lw_env *env, const char *path,
                                                      uint64_t number,
                                                      const lw_table_options *options,
                                                      lw_table_builder **builder);
/* Adds the next entry in the order of B1; copies. Suspends while a full buffer is written. After a
 * failure the builder is only good for lw_table_builder_abandon. */
LW_MUST_USE LW_YIELDS lw_status lw_table_builder_add(lw_table_builder *builder,
                                                     const lw_entry *entry);
/* Counts the last entry as one that is needless from this safepoint on. */
void lw_table_builder_note_stale(lw_table_builder *builder, uint64_t needless_from);
/* Bytes of the file so far, and bytes of memory that it takes, for deciding where to cut. */
uint64_t lw_table_builder_size(const lw_table_builder *builder);
size_t lw_table_builder_memory(const lw_table_builder *builder);
/* Writes the rest, syncs, closes, frees the builder. The views of `info` are copied into `arena`.
 */
LW_MUST_USE LW_YIELDS lw_status lw_table_builder_finish(lw_table_builder *builder, lw_arena *arena,
                                                        lw_table_info *info);
/* Closes and unlinks what was begun, frees the builder. */
LW_YIELDS void lw_table_builder_abandon(lw_table_builder *builder);

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct lw_table lw_table;

/* Opens a table and holds it against what the catalog says (`info`: number, size, checksum). Index
 * and filter are read now and charged to the budget of the cache. LW_CORRUPTION names the file. */
LW_MUST_USE LW_YIELDS lw_status lw_table_open(lw_env *env, lw_cache *cache, const char *path,
                                              const lw_table_info *info, lw_filter_part filter_part,
                                              lw_table **table);
/* Lets single blocks be read past the page cache from now on, through a second handle. False where
 * that cannot be: the table is read as before. */
LW_YIELDS bool lw_table_read_direct(lw_table *table);
LW_YIELDS void lw_table_close(lw_table *table);
/* False when the table certainly holds no key with the filter part of `key`. */
bool lw_table_may_hold(const lw_table *table, lw_bytes key);

/* Cuts what the table has in a range into at most `count` parts of like size, and tells of each a
 * key at or before its first, ascending, and how many bytes of blocks it has. From the index alone:
 * never suspends. */
void lw_table_parts(const lw_table *table, const lw_key_range *range, uint32_t count,
                    void (*visit)(void *argument, lw_bytes key, uint64_t bytes), void *argument);

/* Looks for the newest entry of `key` that is not newer than `sequence`. Its kind goes to `kind`;
 * its value, or the reference to it, is appended to `value`. LW_NOT_FOUND: there is none. */
LW_MUST_USE LW_YIELDS lw_status lw_table_get(lw_table *table, lw_bytes key, uint64_t sequence,
                                             lw_buffer *value, lw_entry_kind *kind);

/* A position in one table. The entry's views live until the cursor moves. */
typedef struct lw_table_cursor lw_table_cursor;
lw_table_cursor *lw_table_cursor_open(lw_table *table);
/* One that reads everything once, in large pieces, and leaves the cache as it is. */
lw_table_cursor *lw_table_cursor_open_once(lw_table *table);
void lw_table_cursor_close(lw_table_cursor *cursor);
/* The first entry at or after (key, sequence) in the order of B1: the newest version of `key` that
 * is not newer than `sequence`, or the next key. */
LW_MUST_USE LW_YIELDS lw_status lw_table_cursor_seek(lw_table_cursor *cursor, lw_bytes key,
                                                     uint64_t sequence);
/* The last entry before all of `key`'s. */
LW_MUST_USE LW_YIELDS lw_status lw_table_cursor_seek_before(lw_table_cursor *cursor, lw_bytes key);
LW_MUST_USE LW_YIELDS lw_status lw_table_cursor_first(lw_table_cursor *cursor);
LW_MUST_USE LW_YIELDS lw_status lw_table_cursor_last(lw_table_cursor *cursor);
LW_MUST_USE LW_YIELDS lw_status lw_table_cursor_next(lw_table_cursor *cursor);
LW_MUST_USE LW_YIELDS lw_status lw_table_cursor_previous(lw_table_cursor *cursor);
/* Whether a step forward led to another entry of the same key. */
bool lw_table_cursor_repeats(const lw_table_cursor *cursor);
/* The entry under the cursor, or NULL beyond either end. */
const lw_entry *lw_table_cursor_entry(const lw_table_cursor *cursor);

/* Describes a table file for `lathwork inspect`, checking every block; the last line is a verdict.
 * LW_CORRUPTION if anything is wrong: the text then says what. */
LW_MUST_USE LW_YIELDS lw_status lw_table_inspect(lw_env *env, const char *path, lw_buffer *text);

#endif
