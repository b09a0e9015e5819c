/* SPDX-License-Identifier: Apache-2.0 */
/* Segment files. See log_segment.h for what this file answers for, log_format.c for the bytes. */
#include "storage/log_segment.h"

#include <stdio.h>

enum {
    FILL_SIZE = 128 * 1024, /* bytes of zeros written at once: a turn has to get and pin them */
    READ_SIZE = 1024 * 1024,
    NAME_DIGITS = 16,
};
static const char name_suffix[] = ".log", unfinished_suffix[] = ".new";

/* ---- names ----------------------------------------------------------------------------------- */

_Static_assert(sizeof(name_suffix) == sizeof(unfinished_suffix), "names have one size");

static lw_status make_path(const char *directory, uint64_t number, const char *suffix, char *path) {
    LW_ASSERT(number > 0);
    char name[NAME_DIGITS + sizeof(name_suffix)];
    snprintf(name, sizeof(name), "%016llx%s", (unsigned long long)number, suffix);
    return lw_path_join(path, directory, name);
}

lw_status lw_log_segment_path(const char *directory, uint64_t number, char *path) {
    return make_path(directory, number, name_suffix, path);
}

/* The number in front of `suffix`, or 0 if the name is not made like that. */
static uint64_t number_before(const char *name, const char *suffix) {
    if (strlen(name) != NAME_DIGITS + sizeof(name_suffix) - 1 ||
        strcmp(name + NAME_DIGITS, suffix) != 0) {
        return 0;
    }
    uint64_t number = 0;
    for (size_t index = 0; index < NAME_DIGITS; index++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = memchr(digits, name[index], sizeof(digits) - 1);
        if (digit == NULL) {
            return 0;
        }
        number = number << 4 | (uint64_t)(digit - digits);
    }
    return number;
}

uint64_t lw_log_segment_number(const char *name) {
    return number_before(name, name_suffix);
}

bool lw_log_segment_unfinished(const char *name) {
    return number_before(name, unfinished_suffix) != 0;
}

/* ---- making ---------------------------------------------------------------------------------- */

static LW_YIELDS lw_status fill_with_zeros(lw_env *env, lw_handle file, uint64_t size) {
    size_t step_max = size < FILL_SIZE ? (size_t)size : FILL_SIZE;
    if (LW_RARE(env, "log.fills_slowly")) {
        step_max = LW_LOG_BLOCK;
    }
    uint8_t *zeros = lw_allocate_aligned(env->memory, step_max, LW_DIRECT_ALIGNMENT);
    memset(zeros, 0, step_max);
    lw_status status = LW_OK;
    for (uint64_t offset = 0; offset < size && status == LW_OK; offset += step_max) {
        size_t step = size - offset < step_max ? (size_t)(size - offset) : step_max;
        status = lw_file_write(env, file, offset, lw_view(zeros, step), 0);
    }
    lw_free(env->memory, zeros);
    return status;
}

static LW_YIELDS lw_status write_header(lw_env *env, lw_handle file,
                                        const lw_log_segment_header *header) {
    uint8_t *block = lw_allocate_aligned(env->memory, LW_LOG_BLOCK, LW_DIRECT_ALIGNMENT);
    lw_log_segment_header_encode(header, block);
    lw_status status = lw_file_write(env, file, 0, lw_view(block, LW_LOG_BLOCK), LW_WRITE_DURABLE);
    lw_free(env->memory, block);
    return status;
}

static LW_YIELDS lw_status sync_names(lw_env *env, const char *directory) {
    if (LW_BUG(env, "log.no_directory_sync")) {
        return LW_OK;
    }
    return lw_path_sync_directory(env, directory);
}

lw_status lw_log_segment_create(lw_env *env, const char *directory,
                                const lw_log_segment_header *header, lw_handle *file) {
    char path[LW_PATH_SIZE], path_new[LW_PATH_SIZE];
    LW_TRY(lw_log_segment_path(directory, header->number, path));
    LW_TRY(make_path(directory, header->number, unfinished_suffix, path_new));
    lw_handle made = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path_new, LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE | LW_OPEN_DIRECT, &made));
    lw_status status = fill_with_zeros(env, made, header->size);
    if (status == LW_OK) {
        status = write_header(env, made, header);
    }
    if (status == LW_OK) {
        status = lw_file_sync(env, made);
    }
    if (status == LW_OK) {
        status = lw_path_rename(env, path_new, path);
    }
    if (status != LW_OK) {
        lw_error cause = *lw_error_slot();
        lw_file_close(env, made);
        /* What cannot be removed now is found and removed at the next opening. */
        (void)!lw_path_unlink(env, path_new);
        return lw_fail(cause.status, "making the log segment %s: %s", path, cause.text);
    }
    status = sync_names(env, directory);
    if (status != LW_OK) {
        lw_error cause = *lw_error_slot();
        lw_file_close(env, made);
        /* Not LW_FULL, whatever it was: the name is there and must not be made again (S4). */
        return lw_fail(LW_INTERNAL, "making the log segment %s: %s", path, cause.text);
    }
    *file = made;
    return LW_OK;
}

lw_status lw_log_segment_renew(lw_env *env, const char *directory,
                               const lw_log_segment_header *header, lw_handle *file) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_log_segment_path(directory, header->number, path));
    lw_handle opened = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path, LW_OPEN_DIRECT, &opened));
    lw_status status = write_header(env, opened, header);
    if (status != LW_OK) {
        lw_error cause = *lw_error_slot();
        lw_file_close(env, opened);
        /* Not LW_FULL, whatever it was: that would have it tried again on the same file (S4). */
        return lw_fail(LW_INTERNAL, "renewing the log segment %s: %s", path, cause.text);
    }
    *file = opened;
    return LW_OK;
}

lw_status lw_log_segment_remove(lw_env *env, const char *directory, uint64_t number) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_log_segment_path(directory, number, path));
    LW_TRY(lw_path_unlink(env, path));
    return sync_names(env, directory);
}

lw_status lw_log_segment_rename(lw_env *env, const char *directory, uint64_t from, uint64_t to) {
    char path[LW_PATH_SIZE], path_to[LW_PATH_SIZE];
    LW_TRY(lw_log_segment_path(directory, from, path));
    LW_TRY(lw_log_segment_path(directory, to, path_to));
    LW_TRY(lw_path_rename(env, path, path_to));
    return sync_names(env, directory);
}

/* ---- reading --------------------------------------------------------------------------------- */

void lw_log_reader_reset(lw_log_reader *reader) {
    if (lw_handle_valid(reader->file)) {
        lw_file_close(reader->env, reader->file);
    }
    lw_free(reader->env->memory, reader->buffer);
    *reader = lw_log_reader_in(reader->env);
}

lw_status lw_log_reader_open(lw_log_reader *reader, const char *path, uint32_t flags) {
    if (lw_handle_valid(reader->file)) {
        lw_file_close(reader->env, reader->file);
        reader->file = LW_NO_HANDLE;
    }
    reader->filled = 0;
    LW_TRY(lw_file_open(reader->env, path, flags | LW_OPEN_DIRECT, &reader->file));
    return lw_file_size(reader->env, reader->file, &reader->file_size);
}

lw_handle lw_log_reader_release(lw_log_reader *reader) {
    lw_handle file = reader->file;
    reader->file = LW_NO_HANDLE;
    reader->filled = 0;
    return file;
}

/* Makes the buffer hold `size` bytes at least; what it held is lost. */
static void reader_grow(lw_log_reader *reader, size_t size) {
    if (size <= reader->capacity) {
        return;
    }
    size_t file_size = (size_t)lw_log_align(reader->file_size);
    size_t piece = reader->piece_size != 0 ? reader->piece_size : READ_SIZE;
    size_t usual = file_size < piece ? file_size : piece;
    if (LW_RARE(reader->env, "log.views_little")) {
        usual = LW_LOG_BLOCK;
    }
    lw_free(reader->env->memory, reader->buffer);
    reader->capacity = size > usual ? size : usual;
    reader->buffer =
        lw_allocate_aligned(reader->env->memory, reader->capacity, LW_DIRECT_ALIGNMENT);
    reader->filled = 0;
}

lw_status lw_log_reader_view(lw_log_reader *reader, uint64_t offset, size_t size,
                             const uint8_t **bytes) {
    LW_ASSERT(offset % LW_LOG_BLOCK == 0);
    LW_ASSERT(size % LW_LOG_BLOCK == 0);
    if (offset > reader->file_size || size > reader->file_size - offset) {
        *bytes = NULL;
        return LW_OK;
    }
    bool there = offset >= reader->offset && offset - reader->offset <= reader->filled &&
                 reader->filled - (size_t)(offset - reader->offset) >= size;
    if (!there) {
        reader_grow(reader, size);
        reader->filled = 0;
        size_t filled = 0;
        LW_TRY(lw_file_read(reader->env, reader->file, offset, reader->buffer, reader->capacity,
                            &filled));
        reader->offset = offset;
        reader->filled = filled;
        reader->total_bytes += filled;
        if (filled < size) {
            *bytes = NULL;
            return LW_OK;
        }
    }
    *bytes = reader->buffer + (offset - reader->offset);
    return LW_OK;
}

lw_status lw_log_reader_header(lw_log_reader *reader, const lw_log_segment_header *segment,
                               uint64_t offset, bool *found, lw_log_batch_header *header) {
    const uint8_t *block = NULL;
    LW_TRY(lw_log_reader_view(reader, offset, LW_LOG_BLOCK, &block));
    *found = block != NULL && lw_log_batch_header_decode(block, segment, offset, header);
    return LW_OK;
}

lw_status lw_log_reader_batch(lw_log_reader *reader, const lw_log_segment_header *segment,
                              uint64_t offset, lw_log_finding *finding, lw_log_batch_header *header,
                              const uint8_t **bytes) {
    bool found = false;
    LW_TRY(lw_log_reader_header(reader, segment, offset, &found, header));
    if (!found) {
        *finding = LW_LOG_FOUND_NONE;
        return LW_OK;
    }
    /* Only a header that is intact and in its place says how much to read (hazard X5). */
    const uint8_t *whole = NULL;
    LW_TRY(lw_log_reader_view(reader, offset, header->size, &whole));
    if (whole == NULL || !lw_log_batch_body_intact(header, whole)) {
        *finding = LW_LOG_FOUND_HEADER;
        return LW_OK;
    }
    *finding = LW_LOG_FOUND_BATCH;
    *bytes = whole;
    return LW_OK;
}
