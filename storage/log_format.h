/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the log, pure: blocks in, fields out, and back. No I/O, no allocation. The format is
 * at the head of log_format.c. */
#ifndef LW_LOG_FORMAT_H
#define LW_LOG_FORMAT_H

#include "storage/log.h"

enum {
    LW_LOG_FORMAT = 3,
    LW_LOG_FORMAT_PACKED = 2,      /* segments of this format on may have packed batches, */
    LW_LOG_FORMAT_CUT = 3,         /* ... entries that replace others, and BEGIN records */
    LW_LOG_BLOCK = 4096,           /* bytes; everything in a segment begins at a multiple */
    LW_LOG_BATCH_HEADER_SIZE = 80, /* bytes before the first record */
    LW_LOG_RECORD_SIZE_MAX = 1 + 4 * LW_VARINT_SIZE_MAX, /* bytes of a record before its payload */
};
_Static_assert((int)LW_LOG_BLOCK == (int)LW_DIRECT_ALIGNMENT, "batches are written unbuffered");

/* What a segment begins with. */
typedef struct lw_log_segment_header {
    uint64_t number;
    uint64_t size; /* bytes of the segment, this block included */
    uint64_t salt; /* drawn anew each time the file becomes a segment */
    uint32_t format;
} lw_log_segment_header;

typedef enum lw_log_header_state {
    LW_LOG_HEADER_VALID,
    LW_LOG_HEADER_DAMAGED,
    LW_LOG_HEADER_NEWER, /* intact, of a format that this program does not know */
} lw_log_header_state;

/* Fills a whole block. */
void lw_log_segment_header_encode(const lw_log_segment_header *header, uint8_t *block);
/* `*format` is set for VALID and NEWER, `*header` for VALID. */
lw_log_header_state lw_log_segment_header_decode(const uint8_t *block,
                                                 lw_log_segment_header *header, uint32_t *format);

typedef enum lw_log_batch_kind {
    LW_LOG_BATCH_RECORDS = 1,
    LW_LOG_BATCH_OPENING = 2, /* the first of a generation; no records */
    LW_LOG_BATCH_CLOSE = 3,   /* the last of its segment: the log goes on in the next one */
    LW_LOG_BATCH_END = 4,     /* a clean shutdown; no records */
    LW_LOG_BATCH_PACKED = 5,  /* records, compressed (log_pack.h) */
} lw_log_batch_kind;

typedef struct lw_log_batch_header {
    uint32_t size;                  /* bytes, a multiple of LW_LOG_BLOCK */
    uint64_t segment, salt, offset; /* where it was meant to be */
    uint64_t sequence;              /* contiguous by one over the whole log, from 1 */
    uint64_t generation;            /* of the opening that wrote it */
    uint64_t mark;   /* everything up to this sequence was durable when it was written */
    uint64_t oldest; /* the lowest segment that was still needed */
    uint32_t record_count;
    lw_log_batch_kind kind;
} lw_log_batch_header;

/* Completes a batch whose records stand in `bytes` from LW_LOG_BATCH_HEADER_SIZE to `used`: pads
 * with zeros to header->size and puts the header, checksums and all, in front. */
void lw_log_batch_seal(const lw_log_batch_header *header, uint8_t *bytes, size_t used);
/* Reads the header at the front of a block: true if it is intact and belongs right here. `room` is
 * what is left of the segment. The body is not looked at. */
LW_MUST_USE bool lw_log_batch_header_decode(const uint8_t *block,
                                            const lw_log_segment_header *segment, uint64_t offset,
                                            lw_log_batch_header *header);
/* Whether a header of this segment stands here that belongs to another place in it, `*offset`: only
 * a disk that wrote to the wrong place does that. */
LW_MUST_USE bool lw_log_batch_displaced(const uint8_t *block, const lw_log_segment_header *segment,
                                        uint64_t at, uint64_t *offset);
/* Whether the body of the batch is what its header vouches for. `bytes` holds header->size. */
LW_MUST_USE bool lw_log_batch_body_intact(const lw_log_batch_header *header, const uint8_t *bytes);

static inline size_t lw_log_payload_max(lw_log_kind kind) {
    return kind == LW_LOG_ENTRY   ? LW_LOG_PAYLOAD_SIZE_MAX
           : kind == LW_LOG_STATE ? LW_LOG_STATE_SIZE_MAX
                                  : 0;
}
/* Bytes that a record takes in a batch. */
size_t lw_log_record_size(const lw_log_record *record);
/* Writes it, and returns the bytes used: those of lw_log_record_size. */
size_t lw_log_record_encode(const lw_log_record *record, uint8_t *to);
/* Takes the next record from the front of a body; the payload is a view. False, and nothing
 * changed, if it is no record. */
LW_MUST_USE bool lw_log_record_take(lw_bytes *rest, lw_log_record *record);

static inline uint64_t lw_log_align(uint64_t size) {
    return (size + LW_LOG_BLOCK - 1) / LW_LOG_BLOCK * LW_LOG_BLOCK;
}

#endif
