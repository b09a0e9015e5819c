/* SPDX-License-Identifier: Apache-2.0 */
/* The format of the log.
 *
 * A log is a folder of segments, files named by their number in 16 hexadecimal digits and ".log".
 * Numbers, and everything in a segment, are little-endian. Segments consist of blocks of 4096
 * bytes: a header block, batches, and whatever lies behind the last batch (zeros, or what an
 * earlier use of the file left there, or a tail that was cut).
 *
 *   segment header                          batch
 *    0  8  "LWLOGSEG"                        0  4  "LWLB"
 *    8  4  format, 3                         4  4  crc32c of bytes 8..79
 *   12  4  crc32c of the first 48 bytes,     8  4  crc32c of bytes 80..size-1
 *          with zeros in this place         12  4  size, a multiple of 4096
 *   16  8  number of the segment            16  8  number of the segment
 *   24  8  size of the segment              24  8  salt of the segment
 *   32  8  salt                             32  8  offset in the segment
 *   40  8  zero                             40  8  sequence
 *   48  …  zeros to the end of the block    48  8  generation
 *                                           56  8  durable mark
 *                                           64  8  oldest segment needed
 *                                           72  4  count of records
 *                                           76  1  kind: 1 records, 2 opening, 3 close, 4 end,
 *                                                  5 packed records
 *                                           77  3  zero
 *                                           80  …  records, then zeros to `size`
 *
 *   packed records: size u32 · stored size u32 · stored bytes, the records compressed with LZ4;
 *   only in segments of format 2 on. Formats 1 and 2 are read too, and appended to: but records of
 *   kind 3, and entries that replace others, come only into segments of format 3.
 *
 *   record: kind u8 (1 entry, 2 state, 3 begin) · group · term · index · payload size (varints) ·
 * payload
 *
 * Invariants
 * F1. Header and body have a checksum each, so that the durable mark of a batch can be believed
 *     when its body is torn.
 * F2. The segment header fits into its first sector, and the rest of the block never changes: a
 *     write of it that was torn leaves the header before (zeros or another number) or this one,
 *     never a mixture.
 * F3. A batch is believed only where it names its place: segment number, offset, and the salt,
 *     which is drawn when the file becomes this segment. So no batch of an earlier use of the file
 *     is believed (hazards S2, S14), and neither is a payload that was made to look like a batch:
 *     what it would have to contain is secret. */
#include "storage/log_format.h"

#include "base/hash.h"

enum {
    SEGMENT_FORMAT = 8,
    SEGMENT_CHECKSUM = 12,
    SEGMENT_NUMBER = 16,
    SEGMENT_SIZE = 24,
    SEGMENT_SALT = 32,
    SEGMENT_FIELDS_SIZE = 48,

    BATCH_CHECKSUM = 4,
    BATCH_BODY_CHECKSUM = 8,
    BATCH_SIZE = 12,
    BATCH_SEGMENT = 16,
    BATCH_SALT = 24,
    BATCH_OFFSET = 32,
    BATCH_SEQUENCE = 40,
    BATCH_GENERATION = 48,
    BATCH_MARK = 56,
    BATCH_OLDEST = 64,
    BATCH_RECORD_COUNT = 72,
    BATCH_KIND = 76,
};

/* Of segments, sequences and generations: no log ever gets there, so that one may always be added.
 */
static const uint64_t number_max = UINT64_C(1) << 62;
static const char segment_magic[8] = {'L', 'W', 'L', 'O', 'G', 'S', 'E', 'G'};
static const char batch_magic[4] = {'L', 'W', 'L', 'B'};

static bool all_zero(const uint8_t *bytes, size_t size) {
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* ---- segment headers ------------------------------------------------------------------------- */

static uint32_t segment_checksum(const uint8_t *block) {
    static const uint8_t zeros[4];
    uint32_t checksum = lw_crc32c(0, lw_view(block, SEGMENT_CHECKSUM));
    checksum = lw_crc32c(checksum, lw_view(zeros, sizeof(zeros)));
    return lw_crc32c(checksum,
                     lw_view(block + SEGMENT_NUMBER, SEGMENT_FIELDS_SIZE - SEGMENT_NUMBER));
}

void lw_log_segment_header_encode(const lw_log_segment_header *header, uint8_t *block) {
    LW_ASSERT(header->number > 0);
    LW_ASSERT(header->format > 0 && header->format <= LW_LOG_FORMAT);
    LW_ASSERT(header->size % LW_LOG_BLOCK == 0);
    memset(block, 0, LW_LOG_BLOCK);
    memcpy(block, segment_magic, sizeof(segment_magic));
    lw_put_u32(block + SEGMENT_FORMAT, header->format);
    lw_put_u64(block + SEGMENT_NUMBER, header->number);
    lw_put_u64(block + SEGMENT_SIZE, header->size);
    lw_put_u64(block + SEGMENT_SALT, header->salt);
    lw_put_u32(block + SEGMENT_CHECKSUM, segment_checksum(block));
}

lw_log_header_state lw_log_segment_header_decode(const uint8_t *block,
                                                 lw_log_segment_header *header, uint32_t *format) {
    if (memcmp(block, segment_magic, sizeof(segment_magic)) != 0) {
        return LW_LOG_HEADER_DAMAGED;
    }
    if (lw_get_u32(block + SEGMENT_CHECKSUM) != segment_checksum(block)) {
        return LW_LOG_HEADER_DAMAGED;
    }
    uint32_t found = lw_get_u32(block + SEGMENT_FORMAT);
    if (found > LW_LOG_FORMAT) {
        *format = found;
        return LW_LOG_HEADER_NEWER;
    }
    uint64_t number = lw_get_u64(block + SEGMENT_NUMBER);
    uint64_t size = lw_get_u64(block + SEGMENT_SIZE);
    if (found == 0 || number == 0 || number > number_max || size % LW_LOG_BLOCK != 0 ||
        !all_zero(block + SEGMENT_SALT + 8, LW_LOG_BLOCK - SEGMENT_SALT - 8)) {
        return LW_LOG_HEADER_DAMAGED;
    }
    *format = found;
    *header = (lw_log_segment_header){
        .number = number, .size = size, .salt = lw_get_u64(block + SEGMENT_SALT), .format = found};
    return LW_LOG_HEADER_VALID;
}

/* ---- batches --------------------------------------------------------------------------------- */

void lw_log_batch_seal(const lw_log_batch_header *header, uint8_t *bytes, size_t used) {
    LW_ASSERT(used >= LW_LOG_BATCH_HEADER_SIZE);
    LW_ASSERT(header->size == lw_log_align(used));
    LW_ASSERT(header->mark < header->sequence);
    memset(bytes + used, 0, header->size - used);
    memset(bytes, 0, LW_LOG_BATCH_HEADER_SIZE);
    memcpy(bytes, batch_magic, sizeof(batch_magic));
    lw_put_u32(bytes + BATCH_SIZE, header->size);
    lw_put_u64(bytes + BATCH_SEGMENT, header->segment);
    lw_put_u64(bytes + BATCH_SALT, header->salt);
    lw_put_u64(bytes + BATCH_OFFSET, header->offset);
    lw_put_u64(bytes + BATCH_SEQUENCE, header->sequence);
    lw_put_u64(bytes + BATCH_GENERATION, header->generation);
    lw_put_u64(bytes + BATCH_MARK, header->mark);
    lw_put_u64(bytes + BATCH_OLDEST, header->oldest);
    lw_put_u32(bytes + BATCH_RECORD_COUNT, header->record_count);
    bytes[BATCH_KIND] = (uint8_t)header->kind;
    lw_bytes body =
        lw_view(bytes + LW_LOG_BATCH_HEADER_SIZE, header->size - LW_LOG_BATCH_HEADER_SIZE);
    lw_put_u32(bytes + BATCH_BODY_CHECKSUM, lw_crc32c(0, body));
    lw_bytes fields =
        lw_view(bytes + BATCH_BODY_CHECKSUM, LW_LOG_BATCH_HEADER_SIZE - BATCH_BODY_CHECKSUM);
    lw_put_u32(bytes + BATCH_CHECKSUM, lw_crc32c(0, fields));
}

/* Whether the first bytes are a header at all. */
static bool header_intact(const uint8_t *block) {
    lw_bytes fields =
        lw_view(block + BATCH_BODY_CHECKSUM, LW_LOG_BATCH_HEADER_SIZE - BATCH_BODY_CHECKSUM);
    return memcmp(block, batch_magic, sizeof(batch_magic)) == 0 &&
           lw_get_u32(block + BATCH_CHECKSUM) == lw_crc32c(0, fields);
}

bool lw_log_batch_displaced(const uint8_t *block, const lw_log_segment_header *segment, uint64_t at,
                            uint64_t *offset) {
    if (!header_intact(block) || lw_get_u64(block + BATCH_SEGMENT) != segment->number ||
        lw_get_u64(block + BATCH_SALT) != segment->salt || lw_get_u64(block + BATCH_OFFSET) == at) {
        return false;
    }
    *offset = lw_get_u64(block + BATCH_OFFSET);
    return true;
}

bool lw_log_batch_header_decode(const uint8_t *block, const lw_log_segment_header *segment,
                                uint64_t offset, lw_log_batch_header *header) {
    LW_ASSERT(offset % LW_LOG_BLOCK == 0);
    LW_ASSERT(offset < segment->size);
    if (!header_intact(block)) {
        return false;
    }
    lw_log_batch_header found = {
        .size = lw_get_u32(block + BATCH_SIZE),
        .segment = lw_get_u64(block + BATCH_SEGMENT),
        .salt = lw_get_u64(block + BATCH_SALT),
        .offset = lw_get_u64(block + BATCH_OFFSET),
        .sequence = lw_get_u64(block + BATCH_SEQUENCE),
        .generation = lw_get_u64(block + BATCH_GENERATION),
        .mark = lw_get_u64(block + BATCH_MARK),
        .oldest = lw_get_u64(block + BATCH_OLDEST),
        .record_count = lw_get_u32(block + BATCH_RECORD_COUNT),
        .kind = (lw_log_batch_kind)block[BATCH_KIND],
    };
    lw_log_batch_kind kind_max =
        segment->format < LW_LOG_FORMAT_PACKED ? LW_LOG_BATCH_END : LW_LOG_BATCH_PACKED;
    if (found.segment != segment->number || found.salt != segment->salt || found.offset != offset ||
        found.size == 0 || found.size % LW_LOG_BLOCK != 0 || found.size > segment->size - offset ||
        found.mark >= found.sequence || found.sequence > number_max ||
        found.generation > number_max || found.kind < LW_LOG_BATCH_RECORDS ||
        found.kind > kind_max) {
        return false;
    }
    *header = found;
    return true;
}

bool lw_log_batch_body_intact(const lw_log_batch_header *header, const uint8_t *bytes) {
    lw_bytes body =
        lw_view(bytes + LW_LOG_BATCH_HEADER_SIZE, header->size - LW_LOG_BATCH_HEADER_SIZE);
    return lw_get_u32(bytes + BATCH_BODY_CHECKSUM) == lw_crc32c(0, body);
}

/* ---- records --------------------------------------------------------------------------------- */

static size_t varint_size(uint64_t value) {
    return value < 0x80 ? 1 : ((size_t)(64 - __builtin_clzll(value)) + 6) / 7;
}

size_t lw_log_record_size(const lw_log_record *record) {
    return 1 + varint_size(record->group) + varint_size(record->term) + varint_size(record->index) +
           varint_size(record->payload.size) + record->payload.size;
}

size_t lw_log_record_encode(const lw_log_record *record, uint8_t *to) {
    size_t size = 0;
    to[size++] = (uint8_t)record->kind;
    size += lw_put_varint(to + size, record->group);
    size += lw_put_varint(to + size, record->term);
    size += lw_put_varint(to + size, record->index);
    size += lw_put_varint(to + size, record->payload.size);
    if (record->payload.size > 0) {
        memcpy(to + size, record->payload.data, record->payload.size);
    }
    size += record->payload.size;
    LW_ASSERT(size == lw_log_record_size(record));
    return size;
}

bool lw_log_record_take(lw_bytes *rest, lw_log_record *record) {
    lw_bytes left = *rest, kind;
    lw_log_record found = {0};
    uint64_t payload_size = 0;
    if (!lw_take_bytes(&left, 1, &kind) || !lw_take_varint(&left, &found.group) ||
        !lw_take_varint(&left, &found.term) || !lw_take_varint(&left, &found.index) ||
        !lw_take_varint(&left, &payload_size)) {
        return false;
    }
    found.kind = (lw_log_kind)kind.data[0];
    if (found.kind < LW_LOG_ENTRY || found.kind > LW_LOG_BEGIN ||
        payload_size > lw_log_payload_max(found.kind) ||
        !lw_take_bytes(&left, payload_size, &found.payload)) {
        return false;
    }
    *record = found;
    *rest = left;
    return true;
}
