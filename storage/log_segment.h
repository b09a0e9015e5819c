/* SPDX-License-Identifier: Apache-2.0 */
/* Segment files: their names, how one is made so that a durable write into it needs nothing of the
 * file system, how an old one becomes a new one, and how their blocks are read.
 *
 * Invariants
 * G1. A file gets its name as a segment when it is written out with data, header included, and
 *     synced; the name is durable before the segment is used. So a segment without a header that
 *     can be read is damaged, never unfinished (hazard S1).
 * G2. A header is durable before anything else is written to its segment. */
#ifndef LW_LOG_SEGMENT_H
#define LW_LOG_SEGMENT_H

#include "storage/log_format.h"

/* Writes the path of segment `number` into `path` (LW_PATH_SIZE). */
LW_MUST_USE lw_status lw_log_segment_path(const char *directory, uint64_t number, char *path);
/* The number in a file name, or 0 if it is not one of a segment. */
uint64_t lw_log_segment_number(const char *name);
/* Whether it is the name of a segment whose making was interrupted. */
bool lw_log_segment_unfinished(const char *name);

/* Makes a new segment file of header->size bytes, and opens it. On failure no file is left behind.
 */
LW_MUST_USE LW_YIELDS lw_status lw_log_segment_create(lw_env *env, const char *directory,
                                                      const lw_log_segment_header *header,
                                                      lw_handle *file);
/* Makes an existing file, which has been a segment of header->size bytes, into this one. */
LW_MUST_USE LW_YIELDS lw_status lw_log_segment_renew(lw_env *env, const char *directory,
                                                     const lw_log_segment_header *header,
                                                     lw_handle *file);
/* Removes the file, durably. */
LW_MUST_USE LW_YIELDS lw_status lw_log_segment_remove(lw_env *env, const char *directory,
                                                      uint64_t number);
/* Gives the file the number `to`, durably. */
LW_MUST_USE LW_YIELDS lw_status lw_log_segment_rename(lw_env *env, const char *directory,
                                                      uint64_t from, uint64_t to);

/* Reads a segment file through a buffer that moves along. */
typedef struct lw_log_reader {
    lw_env *env;
    lw_handle file;
    uint64_t file_size;
    uint8_t *buffer;
    size_t piece_size;    /* bytes read at once, or as many as are asked for; 0: 1 MiB */
    size_t capacity;      /* bytes of the buffer */
    uint64_t offset;      /* in the file, of the buffer's first byte */
    size_t filled;        /* bytes that are there */
    uint64_t total_bytes; /* read so far, over all files */
} lw_log_reader;

/* A reader without a file. */
static inline lw_log_reader lw_log_reader_in(lw_env *env) {
    return (lw_log_reader){.env = env, .file = LW_NO_HANDLE};
}
/* Frees the buffer, closes the file. */
LW_YIELDS void lw_log_reader_reset(lw_log_reader *reader);
/* Turns to another file: closes the one before, opens this one, with `flags` besides
 * LW_OPEN_DIRECT. */
LW_MUST_USE LW_YIELDS lw_status lw_log_reader_open(lw_log_reader *reader, const char *path,
                                                   uint32_t flags);
/* Gives the file away: the reader has none then. */
lw_handle lw_log_reader_release(lw_log_reader *reader);
/* A view of `size` bytes at `offset`, both multiples of LW_LOG_BLOCK, valid until the next call.
 * `*bytes` is NULL if the file ends before. */
LW_MUST_USE LW_YIELDS lw_status lw_log_reader_view(lw_log_reader *reader, uint64_t offset,
                                                   size_t size, const uint8_t **bytes);

typedef enum lw_log_finding {
    LW_LOG_FOUND_BATCH,  /* whole */
    LW_LOG_FOUND_HEADER, /* of a batch whose body is torn or damaged */
    LW_LOG_FOUND_NONE,
} lw_log_finding;

/* Looks for a batch at `offset`. `*bytes`, for a whole one, is valid until the next call; `*header`
 * is set unless there is none. */
LW_MUST_USE LW_YIELDS lw_status lw_log_reader_batch(lw_log_reader *reader,
                                                    const lw_log_segment_header *segment,
                                                    uint64_t offset, lw_log_finding *finding,
                                                    lw_log_batch_header *header,
                                                    const uint8_t **bytes);
/* Looks for the header of a batch alone. */
LW_MUST_USE LW_YIELDS lw_status lw_log_reader_header(lw_log_reader *reader,
                                                     const lw_log_segment_header *segment,
                                                     uint64_t offset, bool *found,
                                                     lw_log_batch_header *header);

#endif
