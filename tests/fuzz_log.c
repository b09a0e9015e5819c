/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes against the readers of the log's format: as a segment header, and as a batch whose
 * place and checksums have been mended, so that what lies behind them is reached too. Properties:
 *   1. a header that is believed is that of its place, and stays within its segment;
 *   2. a record that is taken, from a packed batch too, written again, is the same bytes;
 *   3. a batch that is believed, sealed again, is the same bytes. */
#include "storage/log_pack.h"

#include "base/hash.h"

#include <stdlib.h>

enum {
    INPUT_MAX = 4 * LW_LOG_BLOCK,
    HEADER_CHECKED_FROM = 8,
    BODY_CHECKSUM = 8,
    HEADER_CHECKSUM = 4
};

static const lw_log_segment_header segment = {
    .number = 7, .size = 65536, .salt = 0x5a5a, .format = LW_LOG_FORMAT};
static const uint64_t batch_offset = 8192;

static void check_segment_header(const uint8_t *block) {
    lw_log_segment_header header;
    uint32_t format = 0;
    if (lw_log_segment_header_decode(block, &header, &format) == LW_LOG_HEADER_VALID) {
        uint8_t again[LW_LOG_BLOCK];
        lw_log_segment_header_encode(&header, again);
        LW_ASSERT(memcmp(again, block, sizeof(again)) == 0);
    }
}

/* Puts place and checksums right, as they stand in the format. */
static void mend(uint8_t *bytes) {
    memcpy(bytes, "LWLB", 4);
    lw_put_u64(bytes + 16, segment.number);
    lw_put_u64(bytes + 24, segment.salt);
    lw_put_u64(bytes + 32, batch_offset);
    uint32_t size = lw_get_u32(bytes + 12);
    if (size >= LW_LOG_BLOCK && size <= INPUT_MAX) {
        lw_bytes body = lw_view(bytes + LW_LOG_BATCH_HEADER_SIZE, size - LW_LOG_BATCH_HEADER_SIZE);
        lw_put_u32(bytes + BODY_CHECKSUM, lw_crc32c(0, body));
    }
    lw_bytes fields =
        lw_view(bytes + HEADER_CHECKED_FROM, LW_LOG_BATCH_HEADER_SIZE - HEADER_CHECKED_FROM);
    lw_put_u32(bytes + HEADER_CHECKSUM, lw_crc32c(0, fields));
}

static void check_records(const lw_log_batch_header *header, uint8_t *bytes) {
    lw_bytes rest;
    lw_memory *memory = lw_memory_open();
    lw_decompressor *decompressor = lw_decompressor_open(memory);
    lw_buffer plain = lw_buffer_in(memory);
    bool packed = header->kind == LW_LOG_BATCH_PACKED;
    uint32_t count = 0;
    if (!lw_log_unpack(header, bytes, decompressor, &plain, &rest)) {
        LW_ASSERT(packed && plain.capacity <= LW_LOG_PACKED_MAX);
        lw_decompressor_close(decompressor);
        lw_memory_close(memory);
        return;
    }
    for (; count < header->record_count; count++) {
        const uint8_t *from = rest.data;
        lw_log_record record;
        if (!lw_log_record_take(&rest, &record)) {
            break;
        }
        size_t size = (size_t)(rest.data - from);
        LW_ASSERT(size == lw_log_record_size(&record));
        uint8_t *again = lw_allocate(memory, size);
        LW_ASSERT(lw_log_record_encode(&record, again) == size);
        LW_ASSERT(memcmp(again, from, size) == 0);
        lw_free(memory, again);
    }
    lw_decompressor_close(decompressor);
    /* Only if nothing but padding follows is the batch one that we would write. */
    size_t used = packed ? 0 : (size_t)(rest.data - bytes);
    bool padded = !packed && count == header->record_count && header->size == lw_log_align(used);
    for (size_t index = used; index < header->size && padded; index++) {
        padded = bytes[index] == 0;
    }
    padded = padded && bytes[77] == 0 && bytes[78] == 0 && bytes[79] == 0;
    if (padded) {
        uint8_t *again = lw_allocate(memory, header->size);
        memcpy(again, bytes, header->size);
        lw_log_batch_seal(header, again, used);
        LW_ASSERT(memcmp(again, bytes, header->size) == 0);
    }
    lw_memory_close(memory);
}

static void check_batch(uint8_t *bytes) {
    lw_log_batch_header header;
    if (!lw_log_batch_header_decode(bytes, &segment, batch_offset, &header)) {
        return;
    }
    LW_ASSERT(header.segment == segment.number);
    LW_ASSERT(header.salt == segment.salt);
    LW_ASSERT(header.offset == batch_offset);
    LW_ASSERT(header.size >= LW_LOG_BLOCK);
    LW_ASSERT(header.size <= segment.size - batch_offset);
    LW_ASSERT(header.mark < header.sequence);
    if (header.size <= INPUT_MAX && lw_log_batch_body_intact(&header, bytes)) {
        check_records(&header, bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = calloc(1, INPUT_MAX);
    LW_ASSERT(bytes != NULL);
    memcpy(bytes, data, size < INPUT_MAX ? size : INPUT_MAX);
    check_segment_header(bytes);
    check_batch(bytes);
    mend(bytes);
    check_batch(bytes);
    free(bytes);
    return 0;
}
