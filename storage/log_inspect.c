/* SPDX-License-Identifier: Apache-2.0 */
/* Describes a segment file in words, for `lathwork inspect`. Reads only, and judges the one file:
 * what the whole log says about it is recovery's business. */
#include "storage/log_pack.h"
#include "storage/log_segment.h"

#include <inttypes.h>

static const char *kind_name(lw_log_batch_kind kind) {
    static const char *const names[] = {[LW_LOG_BATCH_RECORDS] = "records",
                                        [LW_LOG_BATCH_OPENING] = "opening",
                                        [LW_LOG_BATCH_CLOSE] = "close",
                                        [LW_LOG_BATCH_END] = "end",
                                        [LW_LOG_BATCH_PACKED] = "packed"};
    LW_ASSERT(kind >= LW_LOG_BATCH_RECORDS && kind <= LW_LOG_BATCH_PACKED);
    return names[kind];
}

static const char *record_name(lw_log_kind kind) {
    return kind == LW_LOG_ENTRY ? "entry" : kind == LW_LOG_STATE ? "state" : "begin";
}

static lw_status print_records(const lw_log_batch_header *header, lw_bytes rest, lw_buffer *text) {
    for (uint32_t index = 0; index < header->record_count; index++) {
        lw_log_record record;
        if (!lw_log_record_take(&rest, &record)) {
            return lw_fail(LW_CORRUPTION,
                           "record %" PRIu32 " of the batch at offset %" PRIu64
                           " cannot be read though its checksum is right",
                           index, header->offset);
        }
        lw_buffer_print(
            text, "  %s group=%" PRIu64 " term=%" PRIu64 " index=%" PRIu64 " size=%zu\n",
            record_name(record.kind), record.group, record.term, record.index, record.payload.size);
    }
    return LW_OK;
}

static lw_status print_batch(lw_memory *memory, const lw_log_batch_header *header,
                             const uint8_t *bytes, lw_buffer *text) {
    lw_buffer_print(text,
                    "batch offset=%" PRIu64 " sequence=%" PRIu64 " kind=%s generation=%" PRIu64
                    " mark=%" PRIu64 " oldest=%" PRIu64 " size=%" PRIu32 " records=%" PRIu32 "\n",
                    header->offset, header->sequence, kind_name(header->kind), header->generation,
                    header->mark, header->oldest, header->size, header->record_count);
    lw_decompressor *decompressor = lw_decompressor_open(memory);
    lw_buffer plain = lw_buffer_in(memory);
    lw_bytes records;
    lw_status status = lw_log_unpack(header, bytes, decompressor, &plain, &records)
                           ? print_records(header, records, text)
                           : lw_fail(LW_CORRUPTION,
                                     "the batch at offset %" PRIu64
                                     " cannot be decompressed though its checksum is right",
                                     header->offset);
    lw_buffer_reset(&plain);
    lw_decompressor_close(decompressor);
    return status;
}

/* Says what stands behind the last batch, and whether it vouches for more than was found. */
static LW_YIELDS lw_status print_rest(lw_log_reader *reader, const lw_log_segment_header *segment,
                                      uint64_t end, uint64_t sequence, lw_buffer *text) {
    uint64_t count = 0, mark_max = 0;
    for (uint64_t offset = end; offset < segment->size; offset += LW_LOG_BLOCK) {
        bool found = false;
        lw_log_batch_header header;
        LW_TRY(lw_log_reader_header(reader, segment, offset, &found, &header));
        if (found) {
            count++;
            mark_max = header.mark > mark_max ? header.mark : mark_max;
        }
    }
    if (sequence > 0 && mark_max >= sequence) {
        return lw_fail(LW_CORRUPTION,
                       "the batch at offset %" PRIu64
                       " is damaged or missing, and was durable, as a batch behind it shows",
                       end);
    }
    lw_buffer_print(text, "end offset=%" PRIu64 " verdict=\"%s\" headers_behind=%" PRIu64 "\n", end,
                    count == 0 ? "nothing behind" : "a tail that was cut or lost behind", count);
    return LW_OK;
}

static LW_YIELDS lw_status print_batches(lw_log_reader *reader,
                                         const lw_log_segment_header *segment, lw_buffer *text) {
    uint64_t offset = LW_LOG_BLOCK, sequence = 0, generation = 0;
    while (offset < segment->size) {
        lw_log_finding finding;
        lw_log_batch_header header;
        const uint8_t *bytes = NULL;
        LW_TRY(lw_log_reader_batch(reader, segment, offset, &finding, &header, &bytes));
        if (finding != LW_LOG_FOUND_BATCH || (sequence != 0 && header.sequence != sequence) ||
            header.generation < generation) {
            break;
        }
        LW_TRY(print_batch(reader->env->memory, &header, bytes, text));
        offset += header.size;
        sequence = header.sequence + 1;
        generation = header.generation;
        if (header.kind == LW_LOG_BATCH_CLOSE) {
            lw_buffer_print(text, "end offset=%" PRIu64 " verdict=\"closed\"\n", offset);
            return LW_OK;
        }
    }
    return print_rest(reader, segment, offset, sequence, text);
}

static LW_YIELDS lw_status inspect(lw_log_reader *reader, const char *path, lw_buffer *text) {
    LW_TRY(lw_log_reader_open(reader, path, LW_OPEN_READ_ONLY));
    const uint8_t *block = NULL;
    LW_TRY(lw_log_reader_view(reader, 0, LW_LOG_BLOCK, &block));
    lw_log_segment_header header;
    uint32_t format = 0;
    lw_log_header_state state = LW_LOG_HEADER_DAMAGED;
    if (block != NULL) {
        state = lw_log_segment_header_decode(block, &header, &format);
    }
    if (state == LW_LOG_HEADER_NEWER) {
        return lw_fail(LW_REFUSED, "%s has format %" PRIu32 ", this program knows up to %d", path,
                       format, LW_LOG_FORMAT);
    }
    if (state != LW_LOG_HEADER_VALID) {
        return lw_fail(LW_CORRUPTION, "%s: the header at offset 0 is missing or damaged", path);
    }
    lw_buffer_print(text, "segment number=%" PRIu64 " format=%" PRIu32 " size=%" PRIu64 "\n",
                    header.number, format, header.size);
    return print_batches(reader, &header, text);
}

lw_status lw_log_inspect(lw_env *env, const char *path, lw_buffer *text) {
    lw_log_reader reader = lw_log_reader_in(env);
    lw_status status = inspect(&reader, path, text);
    if (status != LW_OK) {
        lw_buffer_print(text, "verdict=\"%s\"\n", lw_error_slot()->text);
    }
    lw_log_reader_reset(&reader);
    return status;
}
