/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a value file from front to back. The format is at the head of value_file.h.
 *
 * Invariants
 * 1. Bytes go out in the order of their offsets; `written` of them are in the file, the rest waits
 *    in `out`, which holds little more than OUT_SIZE and one compressed value. Others above
 *    DIRECT_SIZE do not pass through it (W3).
 * 2. After a failure nothing but lw_value_builder_abandon makes sense. */
#include "storage/value_file.h"

#include "base/hash.h"

enum {
    OFFLOAD_SIZE = 64 * 1024, /* values from here on are compressed on another thread */
    OUT_SIZE = 256 * 1024,    /* bytes that wait for one write */
    DIRECT_SIZE = 128 * 1024, /* values from here on are written from where they lie */
    PIECE_SIZE = 1024 * 1024, /* of such a value, for one write */
};

struct lw_value_builder {
    lw_env *env;
    lw_bytes path; /* with its closing zero */
    lw_handle file;
    lw_value_footer footer;    /* counts so far */
    lw_compressor *compressor; /* or NULL */
    lw_buffer out;
    uint64_t written;
};

static const char *path_of(const lw_value_builder *builder) {
    return (const char *)builder->path.data;
}

lw_status lw_value_builder_open(lw_env *env, const char *path, uint64_t number,
                                lw_compression compression, int level, lw_value_builder **builder) {
    lw_handle file;
    LW_TRY(lw_file_open(env, path, LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE, &file));
    lw_value_builder *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    opened->path = lw_copy(env->memory, lw_view(path, strlen(path) + 1));
    opened->file = file;
    opened->footer.number = number;
    opened->out = lw_buffer_in(env->memory);
    opened->compressor = lw_compressor_open(env->memory, compression, level);
    *builder = opened;
    return LW_OK;
}

static void builder_free(lw_value_builder *builder) {
    lw_free(builder->env->memory, (void *)(uintptr_t)builder->path.data);
    lw_buffer_reset(&builder->out);
    lw_compressor_close(builder->compressor);
    lw_free(builder->env->memory, builder);
}

void lw_value_builder_abandon(lw_value_builder *builder) {
    lw_file_close(builder->env, builder->file);
    /* What cannot be removed now, no catalog names, and the store removes it when it opens. */
    lw_status status = lw_path_unlink(builder->env, path_of(builder));
    (void)status;
    builder_free(builder);
}

uint64_t lw_value_builder_size(const lw_value_builder *builder) {
    return builder->written + builder->out.size;
}

size_t lw_value_builder_memory(const lw_value_builder *builder) {
    return builder->out.capacity + lw_compressor_size(builder->compressor);
}

static LW_YIELDS lw_status write_bytes(lw_value_builder *builder, lw_bytes bytes) {
    LW_TRY(lw_file_write(builder->env, builder->file, builder->written, bytes, 0));
    builder->written += bytes.size;
    return LW_OK;
}

static LW_YIELDS lw_status write_out(lw_value_builder *builder) {
    if (builder->out.size > 0) {
        LW_TRY(write_bytes(builder, lw_buffer_view(&builder->out)));
        lw_buffer_clear(&builder->out);
    }
    return LW_OK;
}

/* Compressing a value: what another thread is given. */
typedef struct compression {
    lw_compressor *compressor;
    lw_bytes value;
    uint8_t *to;
    size_t room, size; /* 0: it does not fit */
    lw_compression used;
} compression;

static void compress(void *argument) {
    compression *work = argument;
    work->size = lw_compress(work->compressor, work->value, work->to, work->room, &work->used);
}

/* Puts a value into the buffer, compressed if that saves an eighth. */
static LW_YIELDS void append_value(lw_value_builder *builder, lw_bytes value, lw_value_tail *tail) {
    compression work = {
        .compressor = builder->compressor, .value = value, .room = value.size - value.size / 8 - 1};
    if (work.compressor != NULL && value.size <= LW_VALUE_COMPRESS_MAX) {
        work.to = lw_buffer_reserve(&builder->out, work.room);
        if (value.size >= OFFLOAD_SIZE || LW_RARE(builder->env, "value.compressed_elsewhere")) {
            lw_env_offload(builder->env, compress, &work);
        } else {
            compress(&work);
        }
    }
    if (work.size > 0) {
        tail->compression = work.used;
        tail->stored_size = (uint32_t)work.size;
        builder->out.size += work.size;
    } else if (value.size < DIRECT_SIZE && !LW_RARE(builder->env, "value.written_directly")) {
        lw_buffer_append(&builder->out, value);
    }
}

/* Writes a large value from where it lies. */
static LW_YIELDS lw_status write_direct(lw_value_builder *builder, lw_bytes value,
                                        uint32_t *checksum) {
    lw_bytes piece;
    LW_TRY(write_out(builder));
    while (value.size > 0) {
        size_t size = value.size < PIECE_SIZE ? value.size : PIECE_SIZE;
        LW_ASSERT(lw_take_bytes(&value, size, &piece));
        *checksum = lw_value_checksum(*checksum, piece);
        LW_TRY(write_bytes(builder, piece));
    }
    return LW_OK;
}

lw_status lw_value_builder_add(lw_value_builder *builder, lw_bytes key, lw_bytes value,
                               lw_value_place *place) {
    LW_ASSERT(lw_value_sizes_valid(value.size, value.size, key.size));
    uint64_t offset = lw_value_builder_size(builder);
    uint32_t checksum = lw_value_checksum_seed(builder->footer.number, offset);
    lw_value_tail tail = {.value_size = (uint32_t)value.size,
                          .stored_size = (uint32_t)value.size,
                          .key_size = (uint32_t)key.size,
                          .compression = LW_COMPRESSION_NONE};
    uint8_t bytes[LW_VALUE_TAIL_SIZE];
    size_t before = builder->out.size;
    append_value(builder, value, &tail);
    if (builder->out.size > before) {
        lw_bytes stored = lw_view(builder->out.data + before, tail.stored_size);
        checksum = lw_value_checksum(checksum, stored);
    } else {
        LW_TRY(write_direct(builder, value, &checksum));
    }
    lw_value_tail_write(&tail, bytes);
    checksum = lw_crc32c(checksum, key);
    tail.checksum = lw_crc32c(checksum, lw_view(bytes, LW_VALUE_TAIL_SIZE - sizeof(uint32_t)));
    lw_value_tail_write(&tail, bytes);
    lw_buffer_append(&builder->out, key);
    lw_buffer_append(&builder->out, lw_view(bytes, sizeof(bytes)));
    builder->footer.value_count++;
    builder->footer.value_bytes += value.size;
    *place = (lw_value_place){
        .offset = offset, .value_size = tail.value_size, .stored_size = tail.stored_size};
    LW_ASSERT(lw_value_builder_size(builder) == offset + lw_value_extent(place, key.size));
    bool full = builder->out.size >= OUT_SIZE || LW_RARE(builder->env, "value.written_early");
    return full ? write_out(builder) : LW_OK;
}

static LW_YIELDS lw_status finish(lw_value_builder *builder) {
    uint8_t bytes[LW_VALUE_FOOTER_SIZE];
    lw_value_footer_write(&builder->footer, bytes);
    lw_buffer_append(&builder->out, lw_view(bytes, sizeof(bytes)));
    LW_TRY(write_out(builder));
    if (LW_BUG(builder->env, "value.not_synced")) {
        return LW_OK;
    }
    return lw_file_sync(builder->env, builder->file);
}

lw_status lw_value_builder_finish(lw_value_builder *builder, uint64_t *size) {
    LW_ASSERT(builder->footer.value_count > 0);
    lw_status status = finish(builder);
    if (status != LW_OK) {
        lw_value_builder_abandon(builder);
        return status;
    }
    lw_file_close(builder->env, builder->file);
    *size = builder->written;
    builder_free(builder);
    return LW_OK;
}
