/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed blocks, footer and properties of table files, byte by byte as at the head of table.c. */
#include "storage/table_file.h"

#include <inttypes.h>

#include "base/codec.h"
#include "base/hash.h"
#include "storage/block.h"

/* ---- sealed blocks --------------------------------------------------------------------------- */

/* `sealed` is all but the checksum. */
static uint32_t part_checksum(const lw_part *part, lw_bytes sealed) {
    uint8_t place[16];
    lw_put_u64(place, part->number);
    lw_put_u64(place + 8, part->offset);
    return lw_crc32c(lw_crc32c(0, lw_view(place, sizeof(place))), sealed);
}

/* Compresses to the end of `out`, if that saves an eighth. Returns the bytes it took, or 0. */
static size_t compress(lw_bytes bytes, lw_compressor *compressor, lw_buffer *out,
                       lw_compression *used) {
    size_t room = bytes.size - bytes.size / 8;
    size_t size = lw_compress(compressor, bytes, lw_buffer_reserve(out, room), room, used);
    /* The smallest blocks save nothing: what is stored must be shorter (see lw_part_compressed). */
    return size < bytes.size ? size : 0;
}

size_t lw_part_seal(const lw_part *part, lw_bytes bytes, lw_compressor *compressor,
                    lw_buffer *out) {
    size_t start = out->size;
    lw_compression used = LW_COMPRESSION_NONE;
    size_t compressed_size = compressor != NULL ? compress(bytes, compressor, out, &used) : 0;
    if (compressed_size > 0) {
        out->size += compressed_size;
    } else {
        lw_buffer_append(out, bytes);
    }
    lw_buffer_append_u8(out, (uint8_t)part->kind);
    lw_buffer_append_u8(out, compressed_size > 0 ? (uint8_t)used : LW_COMPRESSION_NONE);
    lw_buffer_append_u32(out, part_checksum(part, lw_view(out->data + start, out->size - start)));
    return out->size - start;
}

const char *lw_part_check(const lw_part *part, lw_bytes sealed) {
    if (sealed.size <= LW_SEAL_SIZE) {
        return "it is too short";
    }
    const uint8_t *seal = sealed.data + sealed.size - LW_SEAL_SIZE;
    if (lw_get_u32(seal + 2) != part_checksum(part, lw_view(sealed.data, sealed.size - 4))) {
        return "its checksum does not match";
    }
    if (seal[0] != part->kind) {
        return "it is of another kind";
    }
    if (seal[1] > LW_COMPRESSION_ZSTD ||
        (seal[1] != LW_COMPRESSION_NONE && part->kind != LW_PART_DATA)) {
        return "its compression is unknown";
    }
    return NULL;
}

bool lw_part_sizes_valid(uint64_t sealed_size, uint64_t size) {
    return size > 0 && size <= LW_BLOCK_SIZE_MAX && sealed_size > LW_SEAL_SIZE &&
           sealed_size <= size + LW_SEAL_SIZE && size / LW_COMPRESSION_RATIO_MAX <= sealed_size;
}

lw_compression lw_part_compression(lw_bytes sealed) {
    LW_ASSERT(sealed.size > LW_SEAL_SIZE);
    return (lw_compression)sealed.data[sealed.size - LW_SEAL_SIZE + 1];
}

bool lw_part_decompress(lw_decompressor *decompressor, lw_bytes sealed, uint8_t *to, size_t size) {
    lw_bytes stored = lw_view(sealed.data, sealed.size - LW_SEAL_SIZE);
    return lw_decompress(decompressor, lw_part_compression(sealed), stored, to, size);
}

/* ---- footer ---------------------------------------------------------------------------------- */

static const uint8_t footer_magic[8] = {'L', 'W', 'T', 'A', 'B', 'L', 'E', '\n'};

static uint8_t *put_range(uint8_t *to, lw_table_range range) {
    lw_put_u64(to, range.offset);
    lw_put_u32(to + 8, range.size);
    return to + 12;
}

static lw_table_range get_range(const uint8_t *from) {
    return (lw_table_range){.offset = lw_get_u64(from), .size = lw_get_u32(from + 8)};
}

void lw_table_footer_write(lw_table_footer *footer, uint8_t to[LW_TABLE_FOOTER_SIZE]) {
    memcpy(to, footer_magic, sizeof(footer_magic));
    lw_put_u32(to + 8, LW_TABLE_FORMAT);
    lw_put_u64(to + 12, footer->number);
    uint8_t *end = put_range(to + 20, footer->filter);
    end = put_range(end, footer->index);
    end = put_range(end, footer->properties);
    footer->checksum = lw_crc32c(0, lw_view(to, (size_t)(end - to)));
    lw_put_u32(end, footer->checksum);
    LW_ASSERT(end + 4 == to + LW_TABLE_FOOTER_SIZE);
}

/* Whether the magic and the checksum are right; both stay where they are in every later format. */
static bool footer_whole(const uint8_t *from) {
    uint32_t checksum = lw_crc32c(0, lw_view(from, LW_TABLE_FOOTER_SIZE - 4));
    return memcmp(from, footer_magic, sizeof(footer_magic)) == 0 &&
           checksum == lw_get_u32(from + LW_TABLE_FOOTER_SIZE - 4);
}

static bool format_known(const uint8_t *from) {
    uint32_t format = lw_get_u32(from + 8);
    return format >= LW_TABLE_FORMAT_MIN && format <= LW_TABLE_FORMAT;
}

static bool range_ends_at(lw_table_range range, uint64_t end) {
    return range.size > LW_SEAL_SIZE && range.size <= LW_TABLE_PART_SIZE_MAX &&
           range.offset <= end && end - range.offset == range.size;
}

const char *lw_table_footer_read(const uint8_t from[LW_TABLE_FOOTER_SIZE], uint64_t file_size,
                                 lw_table_footer *footer) {
    LW_ASSERT(file_size >= LW_TABLE_FOOTER_SIZE);
    if (memcmp(from, footer_magic, sizeof(footer_magic)) != 0) {
        return "it does not end like a table";
    }
    if (!footer_whole(from)) {
        return "the checksum of its footer does not match";
    }
    if (!format_known(from)) {
        return "its format is not one that this version reads";
    }
    lw_table_footer read = {.format = lw_get_u32(from + 8),
                            .number = lw_get_u64(from + 12),
                            .filter = get_range(from + 20),
                            .index = get_range(from + 32),
                            .properties = get_range(from + 44),
                            .checksum = lw_get_u32(from + LW_TABLE_FOOTER_SIZE - 4)};
    if (!range_ends_at(read.properties, file_size - LW_TABLE_FOOTER_SIZE) ||
        !range_ends_at(read.index, read.properties.offset) ||
        !range_ends_at(read.filter, read.index.offset)) {
        return "the parts that its footer names do not fit the file";
    }
    *footer = read;
    return NULL;
}

/* ---- properties ------------------------------------------------------------------------------ */

/* Of format 1, and what format 2 has besides. */
enum { PROPERTY_COUNT_1 = 6, PROPERTY_COUNT_MORE = 5 };

void lw_table_properties_write(const lw_table_info *info, lw_buffer *out) {
    lw_write_array(out, PROPERTY_COUNT_1 + PROPERTY_COUNT_MORE);
    lw_write_u64(out, info->entry_count);
    lw_write_u64(out, info->delete_count);
    lw_write_u64(out, info->sequence_min);
    lw_write_u64(out, info->sequence_max);
    lw_write_bytes(out, info->key_min);
    lw_write_bytes(out, info->key_max);
    lw_write_u64(out, info->raw_size);
    lw_write_u64(out, (uint64_t)info->compression);
    lw_write_u64(out, info->stale_count);
    lw_write_u64(out, info->stale_from);
    lw_write_u64(out, info->stale_to);
}

static void read_more_properties(lw_reader *reader, lw_table_info *info) {
    info->raw_size = lw_read_u64(reader);
    info->compression = (lw_compression)lw_read_u64_max(reader, LW_COMPRESSION_ZSTD);
    info->stale_count = lw_read_u64_max(reader, info->entry_count);
    info->stale_from = lw_read_u64(reader);
    info->stale_to = lw_read_u64(reader);
}

bool lw_table_properties_read(lw_bytes bytes, lw_table_info *info) {
    lw_reader reader = lw_reader_of(bytes);
    lw_table_info read = {.number = 0};
    uint32_t more = lw_read_array_of(&reader, PROPERTY_COUNT_1);
    read.entry_count = lw_read_u64(&reader);
    read.delete_count = lw_read_u64_max(&reader, read.entry_count);
    read.sequence_min = lw_read_u64(&reader);
    read.sequence_max = lw_read_u64(&reader);
    read.key_min = lw_read_bytes(&reader);
    read.key_max = lw_read_bytes(&reader);
    if (more >= PROPERTY_COUNT_MORE) {
        read_more_properties(&reader, &read);
        more -= PROPERTY_COUNT_MORE;
    }
    lw_read_skip(&reader, more);
    if (!lw_reader_done(&reader) || read.stale_from > read.stale_to) {
        return false;
    }
    *info = read;
    return true;
}

uint64_t lw_table_stale_at(const lw_table_info *info, uint64_t safepoint) {
    if (safepoint < info->stale_from || info->stale_count == 0) {
        return 0;
    }
    if (safepoint >= info->stale_to) {
        return info->stale_count;
    }
    double part = (double)(safepoint - info->stale_from + 1) /
                  (double)(info->stale_to - info->stale_from + 1);
    return (uint64_t)(part * (double)info->stale_count);
}

/* ---- reading from a file ------------------------------------------------------------------ */

lw_status lw_table_damaged(const char *path, uint64_t offset, const char *reason) {
    return lw_fail(LW_CORRUPTION,
                   "the table %s is damaged at offset %" PRIu64 ": %s; take the shard from another "
                   "replica, or restore a backup",
                   path, offset, reason);
}

/* As lw_file_read; the file having fewer bytes is damage. */
static LW_YIELDS lw_status read_whole(lw_env *env, lw_handle file, const char *path,
                                      uint64_t offset, uint8_t *to, size_t size) {
    size_t read_size;
    lw_status status = lw_file_read(env, file, offset, to, size, &read_size);
    if (status != LW_OK) {
        return lw_fail_in(status, "reading the table %s at offset %" PRIu64, path, offset);
    }
    return read_size == size ? LW_OK : lw_table_damaged(path, offset, "the file ends too early");
}

static LW_YIELDS lw_status read_footer(lw_env *env, lw_handle file, const char *path,
                                       uint64_t file_size, lw_table_footer *footer) {
    uint8_t bytes[LW_TABLE_FOOTER_SIZE];
    if (file_size < sizeof(bytes)) {
        return lw_table_damaged(path, 0, "it is too short for a table");
    }
    uint64_t offset = file_size - sizeof(bytes);
    LW_TRY(read_whole(env, file, path, offset, bytes, sizeof(bytes)));
    const char *reason = lw_table_footer_read(bytes, file_size, footer);
    if (reason != NULL && footer_whole(bytes) && !format_known(bytes)) {
        return lw_fail(LW_REFUSED,
                       "the table %s has format %" PRIu32 ", and this version reads %d to %d: run "
                       "the version that wrote it",
                       path, lw_get_u32(bytes + 8), LW_TABLE_FORMAT_MIN, LW_TABLE_FORMAT);
    }
    return reason == NULL ? LW_OK : lw_table_damaged(path, offset, reason);
}

lw_status lw_table_file_open(lw_env *env, const char *path, lw_handle *file, uint64_t *file_size,
                             lw_table_footer *footer) {
    lw_handle opened;
    uint64_t size;
    lw_status status = lw_file_open(env, path, LW_OPEN_READ_ONLY | LW_OPEN_RANDOM, &opened);
    if (status == LW_NOT_FOUND) {
        return lw_table_damaged(path, 0, "the file is missing");
    }
    LW_TRY(status);
    status = lw_file_size(env, opened, &size);
    if (status == LW_OK) {
        status = read_footer(env, opened, path, size, footer);
    }
    if (status != LW_OK) {
        lw_file_close(env, opened);
        return status;
    }
    *file = opened;
    *file_size = size;
    return LW_OK;
}

lw_status lw_part_verify(lw_env *env, const char *path, const lw_part *part, lw_bytes sealed) {
    const char *reason = lw_part_check(part, sealed);
    if (reason != NULL && !LW_BUG(env, "table.no_checksum")) {
        return lw_table_damaged(path, part->offset, reason);
    }
    return LW_OK;
}

lw_status lw_part_read(lw_env *env, lw_handle file, const char *path, const lw_part *part,
                       uint8_t *to, size_t size) {
    LW_TRY(read_whole(env, file, path, part->offset, to, size));
    return lw_part_verify(env, path, part, lw_view(to, size));
}
