/* SPDX-License-Identifier: Apache-2.0 */
/* References, tails and footers of value files, byte by byte as at the head of value_file.h. */
#include "storage/value_file.h"

#include <inttypes.h>

#include "base/hash.h"

enum {
    CHECKSUM_PIECE = 256 * 1024, /* bytes between two passes: some 20 microseconds */
};

/* ---- references ----------------------------------------------------------------------------- */

size_t lw_reference_write(const lw_reference *reference, uint8_t to[LW_REFERENCE_SIZE_MAX]) {
    uint8_t *end = to + lw_put_varint(to, reference->file);
    end += lw_put_varint(end, reference->place.offset);
    end += lw_put_varint(end, reference->place.value_size);
    end += lw_put_varint(end, reference->place.stored_size);
    return (size_t)(end - to);
}

bool lw_reference_read(lw_bytes bytes, lw_reference *reference) {
    uint64_t file, offset, value_size, stored_size;
    if (!lw_take_varint(&bytes, &file) || !lw_take_varint(&bytes, &offset) ||
        !lw_take_varint(&bytes, &value_size) || !lw_take_varint(&bytes, &stored_size) ||
        bytes.size > 0 || file > UINT32_MAX || !lw_value_sizes_valid(value_size, stored_size, 0)) {
        return false;
    }
    *reference = (lw_reference){.file = (uint32_t)file,
                                .place = {.offset = offset,
                                          .value_size = (uint32_t)value_size,
                                          .stored_size = (uint32_t)stored_size}};
    return true;
}

/* ---- values --------------------------------------------------------------------------------- */

bool lw_value_sizes_valid(uint64_t value_size, uint64_t stored_size, uint64_t key_size) {
    return value_size > 0 && value_size <= LW_TREE_VALUE_SIZE_MAX && stored_size > 0 &&
           stored_size <= value_size && value_size / LW_COMPRESSION_RATIO_MAX <= stored_size &&
           (stored_size == value_size || value_size <= LW_VALUE_COMPRESS_MAX) &&
           key_size <= LW_TREE_KEY_SIZE_MAX;
}

void lw_value_tail_write(const lw_value_tail *tail, uint8_t to[LW_VALUE_TAIL_SIZE]) {
    lw_put_u32(to, tail->value_size);
    lw_put_u32(to + 4, tail->stored_size);
    lw_put_u32(to + 8, tail->key_size);
    to[12] = (uint8_t)tail->compression;
    lw_put_u32(to + 13, tail->checksum);
}

lw_value_tail lw_value_tail_read(const uint8_t from[LW_VALUE_TAIL_SIZE]) {
    return (lw_value_tail){.value_size = lw_get_u32(from),
                           .stored_size = lw_get_u32(from + 4),
                           .key_size = lw_get_u32(from + 8),
                           .compression = (lw_compression)from[12],
                           .checksum = lw_get_u32(from + 13)};
}

uint32_t lw_value_checksum_seed(uint64_t number, uint64_t offset) {
    uint8_t place[16];
    lw_put_u64(place, number);
    lw_put_u64(place + 8, offset);
    return lw_crc32c(0, lw_view(place, sizeof(place)));
}

uint32_t lw_value_checksum(uint32_t checksum, lw_bytes bytes) {
    lw_bytes piece;
    while (lw_take_bytes(&bytes, CHECKSUM_PIECE, &piece)) {
        checksum = lw_crc32c(checksum, piece);
        if (lw_fiber_current() != NULL) {
            lw_fiber_pass();
        }
    }
    return lw_crc32c(checksum, bytes);
}

/* ---- footer --------------------------------------------------------------------------------- */

static const uint8_t footer_magic[8] = {'L', 'W', 'V', 'A', 'L', 'U', 'E', '\n'};

void lw_value_footer_write(const lw_value_footer *footer, uint8_t to[LW_VALUE_FOOTER_SIZE]) {
    memcpy(to, footer_magic, sizeof(footer_magic));
    lw_put_u32(to + 8, LW_VALUE_FORMAT);
    lw_put_u64(to + 12, footer->number);
    lw_put_u64(to + 20, footer->value_count);
    lw_put_u64(to + 28, footer->value_bytes);
    lw_put_u32(to + 36, lw_crc32c(0, lw_view(to, 36)));
}

const char *lw_value_footer_read(const uint8_t from[LW_VALUE_FOOTER_SIZE],
                                 lw_value_footer *footer) {
    if (memcmp(from, footer_magic, sizeof(footer_magic)) != 0) {
        return "it does not end like a value file";
    }
    if (lw_crc32c(0, lw_view(from, 36)) != lw_get_u32(from + 36)) {
        return "the checksum of its footer does not match";
    }
    if (lw_get_u32(from + 8) != LW_VALUE_FORMAT) {
        return "its format is not one that this version reads";
    }
    *footer = (lw_value_footer){.number = lw_get_u64(from + 12),
                                .value_count = lw_get_u64(from + 20),
                                .value_bytes = lw_get_u64(from + 28)};
    return NULL;
}

/* ---- opening -------------------------------------------------------------------------------- */

lw_status lw_value_damaged(const char *path, uint64_t offset, const char *reason) {
    return lw_fail(LW_CORRUPTION,
                   "the value file %s is damaged at offset %" PRIu64 ": %s; take the shard from "
                   "another replica, or restore a backup",
                   path, offset, reason);
}

static LW_YIELDS lw_status read_footer(lw_env *env, lw_handle file, const char *path,
                                       uint64_t file_size, lw_value_footer *footer) {
    uint8_t bytes[LW_VALUE_FOOTER_SIZE];
    size_t read_size;
    if (file_size < sizeof(bytes)) {
        return lw_value_damaged(path, 0, "it is too short for a value file");
    }
    uint64_t offset = file_size - sizeof(bytes);
    lw_status status = lw_file_read(env, file, offset, bytes, sizeof(bytes), &read_size);
    if (status != LW_OK) {
        return lw_fail_in(status, "reading the value file %s at offset %" PRIu64, path, offset);
    }
    const char *reason = read_size == sizeof(bytes) ? lw_value_footer_read(bytes, footer)
                                                    : "the file ends too early";
    return reason == NULL ? LW_OK : lw_value_damaged(path, offset, reason);
}

lw_status lw_value_file_open(lw_env *env, const char *path, lw_handle *file, uint64_t *file_size,
                             lw_value_footer *footer) {
    lw_handle opened;
    uint64_t size;
    lw_status status = lw_file_open(env, path, LW_OPEN_READ_ONLY, &opened);
    if (status == LW_NOT_FOUND) {
        return lw_value_damaged(path, 0, "the file is missing");
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
