/* SPDX-License-Identifier: Apache-2.0 */
/* Reads single values out of a value file, believing none before it is checked (W1). The format is
 * at the head of value_file.h. */
#include "storage/value_file.h"

#include <inttypes.h>

#include "base/hash.h"

struct lw_value_reader {
    lw_env *env;
    lw_bytes path; /* with its closing zero */
    lw_handle file;
    lw_decompressor *decompressor;
    uint64_t origin;      /* the number that the checksums cover */
    uint64_t values_size; /* bytes before the footer */
};

static const char *path_of(const lw_value_reader *reader) {
    return (const char *)reader->path.data;
}

/* ---- opening -------------------------------------------------------------------------------- */

static const char *disagreement(const lw_value_file *info, const lw_value_footer *footer,
                                uint64_t file_size) {
    if (info->origin != footer->number) {
        return "its number is not the one in the catalog";
    }
    return info->size == file_size ? NULL : "its size is not the one in the catalog";
}

lw_status lw_value_reader_open(lw_env *env, const char *path, const lw_value_file *info,
                               lw_decompressor *decompressor, lw_value_reader **reader) {
    lw_handle file;
    uint64_t file_size;
    lw_value_footer footer;
    LW_TRY(lw_value_file_open(env, path, &file, &file_size, &footer));
    const char *reason = disagreement(info, &footer, file_size);
    if (reason != NULL) {
        lw_file_close(env, file);
        return lw_value_damaged(path, file_size - LW_VALUE_FOOTER_SIZE, reason);
    }
    lw_value_reader *opened = lw_allocate(env->memory, sizeof(*opened));
    *opened = (lw_value_reader){.env = env,
                                .path = lw_copy(env->memory, lw_view(path, strlen(path) + 1)),
                                .file = file,
                                .decompressor = decompressor,
                                .origin = footer.number,
                                .values_size = file_size - LW_VALUE_FOOTER_SIZE};
    *reader = opened;
    return LW_OK;
}

void lw_value_reader_close(lw_value_reader *reader) {
    lw_env *env = reader->env;
    lw_file_close(env, reader->file);
    lw_free(env->memory, (void *)(uintptr_t)reader->path.data);
    lw_free(env->memory, reader);
}

/* ---- checking ------------------------------------------------------------------------------- */

/* Holds a value against what was looked for. NULL, or what is wrong. */
static LW_YIELDS const char *wrong_value(const lw_value_reader *reader, lw_bytes key,
                                         const lw_value_place *place, lw_bytes extent) {
    LW_ASSERT(extent.size == lw_value_extent(place, key.size));
    const uint8_t *end = extent.data + extent.size - LW_VALUE_TAIL_SIZE;
    lw_value_tail tail = lw_value_tail_read(end);
    uint32_t checksum = lw_value_checksum_seed(reader->origin, place->offset);
    checksum = lw_value_checksum(checksum, lw_view(extent.data, extent.size - sizeof(uint32_t)));
    if (checksum != tail.checksum && !LW_BUG(reader->env, "value.no_checksum")) {
        return "the checksum of a value does not match";
    }
    if (tail.key_size != key.size || !lw_equal(lw_view(end - key.size, key.size), key)) {
        return "a value is that of another key";
    }
    if (tail.value_size != place->value_size || tail.stored_size != place->stored_size) {
        return "a value is of another size";
    }
    return lw_value_compression_fits(&tail) ? NULL : "the compression of a value is unknown";
}

/* Checks a value and gives a view into `extent`, or, if it is compressed, what it was made of: a
 * view of the end of `scratch`, whose size is left alone. */
static LW_YIELDS lw_status take(lw_value_reader *reader, lw_bytes key, const lw_value_place *place,
                                lw_bytes extent, lw_buffer *scratch, lw_bytes *value) {
    const char *reason = extent.size == lw_value_extent(place, key.size)
                             ? wrong_value(reader, key, place, extent)
                             : "the file ends too early for a value";
    const uint8_t *bytes = extent.data;
    if (reason == NULL && place->stored_size < place->value_size) {
        lw_compression compression =
            lw_value_tail_read(extent.data + extent.size - LW_VALUE_TAIL_SIZE).compression;
        uint8_t *to = lw_buffer_reserve(scratch, place->value_size);
        bytes = to;
        if (!lw_decompress(reader->decompressor, compression,
                           lw_view(extent.data, place->stored_size), to, place->value_size)) {
            reason = "a value cannot be decompressed";
        }
    }
    if (reason != NULL) {
        return lw_value_damaged(path_of(reader), place->offset, reason);
    }
    *value = lw_view(bytes, place->value_size);
    return LW_OK;
}

lw_status lw_value_take(lw_value_reader *reader, lw_bytes key, const lw_value_place *place,
                        lw_bytes extent, lw_buffer *scratch, lw_bytes *value) {
    lw_buffer_clear(scratch);
    return take(reader, key, place, extent, scratch, value);
}

/* ---- reading -------------------------------------------------------------------------------- */

lw_status lw_value_read_ahead(lw_value_reader *reader, uint64_t offset, size_t size,
                              lw_buffer *bytes) {
    LW_ASSERT(bytes->size == 0);
    uint64_t left = offset < reader->values_size ? reader->values_size - offset : 0;
    size = size < left ? size : (size_t)left;
    lw_status status = lw_file_read(reader->env, reader->file, offset,
                                    lw_buffer_reserve(bytes, size), size, &bytes->size);
    if (status != LW_OK) {
        bytes->size = 0;
        return lw_fail_in(status, "reading the value file %s at offset %" PRIu64, path_of(reader),
                          offset);
    }
    return LW_OK;
}

/* Reads to the end of `to`, whose size is left alone. */
static LW_YIELDS lw_status read_extent(lw_value_reader *reader, const lw_value_place *place,
                                       uint64_t extent, lw_buffer *to, lw_bytes *read) {
    if (place->offset > reader->values_size || extent > reader->values_size - place->offset) {
        return lw_value_damaged(path_of(reader), place->offset,
                                "the file ends too early for a value");
    }
    uint8_t *bytes = lw_buffer_reserve(to, (size_t)extent);
    size_t size = 0;
    lw_status status =
        lw_file_read(reader->env, reader->file, place->offset, bytes, (size_t)extent, &size);
    if (status != LW_OK) {
        return lw_fail_in(status, "reading the value file %s at offset %" PRIu64, path_of(reader),
                          place->offset);
    }
    *read = lw_view(bytes, size);
    return LW_OK;
}

/* One that is not compressed is read to where it is wanted, key and tail too, which are then left
 * out. */
lw_status lw_value_read(lw_value_reader *reader, lw_bytes key, const lw_value_place *place,
                        lw_buffer *value) {
    uint64_t extent = lw_value_extent(place, key.size);
    bool compressed = place->stored_size < place->value_size;
    lw_buffer stored = lw_buffer_in(reader->env->memory);
    lw_bytes read = {0}, found = {0};
    lw_status status = read_extent(reader, place, extent, compressed ? &stored : value, &read);
    if (status == LW_OK) {
        LW_ASSERT(read.data != NULL);
        status = take(reader, key, place, read, value, &found);
    }
    if (status == LW_OK) {
        LW_ASSERT(found.data == value->data + value->size);
        value->size += found.size;
    }
    lw_buffer_reset(&stored);
    return status;
}
