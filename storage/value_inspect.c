/* SPDX-License-Identifier: Apache-2.0 */
/* Value files, looked at whole and without any table, for people: what the file says it is, each
 * value, whatever is wrong, and a verdict. The walk goes from the end to the front, since a value's
 * sizes stand behind it; where they make no sense it ends. The format is at the head of
 * value_file.h. */
#include "storage/value_file.h"

#include <inttypes.h>

#include "base/hash.h"

typedef struct inspection {
    lw_env *env;
    const char *path;
    lw_buffer *text;
    lw_handle file;
    lw_value_footer footer;
    uint64_t end; /* of the values that were not looked at yet */
    uint64_t value_count, value_bytes, fault_count;
    lw_buffer bytes; /* of a value, as it is stored */
    lw_buffer value;
    lw_decompressor *decompressor;
} inspection;

static void fault(inspection *of, uint64_t offset, const char *reason) {
    of->fault_count++;
    lw_buffer_print(of->text, "  fault at offset %" PRIu64 ": %s\n", offset, reason);
}

static LW_YIELDS lw_status read_at(inspection *of, uint64_t offset, size_t size) {
    lw_buffer_clear(&of->bytes);
    lw_status status = lw_file_read(of->env, of->file, offset, lw_buffer_reserve(&of->bytes, size),
                                    size, &of->bytes.size);
    if (status == LW_OK && of->bytes.size < size) {
        return lw_value_damaged(of->path, offset, "the file ends too early");
    }
    return status;
}

static bool decompresses(inspection *of, const lw_value_tail *tail) {
    if (tail->compression == LW_COMPRESSION_NONE) {
        return true;
    }
    lw_buffer_clear(&of->value);
    return lw_decompress(of->decompressor, tail->compression,
                         lw_view(of->bytes.data, tail->stored_size),
                         lw_buffer_reserve(&of->value, tail->value_size), tail->value_size);
}

static LW_YIELDS void inspect_value(inspection *of, uint64_t offset, const lw_value_tail *tail) {
    lw_bytes all = lw_buffer_view(&of->bytes);
    char key[LW_PRINTABLE_SIZE];
    lw_bytes stored_key = lw_view(all.data + tail->stored_size, tail->key_size);
    lw_buffer_print(
        of->text, "  value at offset %" PRIu64 ": %" PRIu32 " bytes for %" PRIu32 ", key \"%s\"\n",
        offset, tail->stored_size, tail->value_size, lw_printable(stored_key, key, sizeof(key)));
    uint32_t checksum = lw_value_checksum_seed(of->footer.number, offset);
    checksum = lw_value_checksum(checksum, lw_view(all.data, all.size - sizeof(uint32_t)));
    if (checksum != tail->checksum) {
        fault(of, offset, "the checksum of a value does not match");
    } else if (!lw_value_compression_fits(tail)) {
        fault(of, offset, "the compression of a value is unknown");
    } else if (!decompresses(of, tail)) {
        fault(of, offset, "a value cannot be decompressed");
    }
    of->value_count++;
    of->value_bytes += tail->value_size;
}

/* Looks at the last value of those left; `*more` unless its sizes make no sense. */
static LW_YIELDS lw_status inspect_last(inspection *of, bool *more) {
    *more = false;
    if (of->end < LW_VALUE_TAIL_SIZE) {
        fault(of, 0, "there is no room for a value");
        return LW_OK;
    }
    LW_TRY(read_at(of, of->end - LW_VALUE_TAIL_SIZE, LW_VALUE_TAIL_SIZE));
    lw_value_tail tail = lw_value_tail_read(of->bytes.data);
    lw_value_place place = {.value_size = tail.value_size, .stored_size = tail.stored_size};
    uint64_t extent = lw_value_extent(&place, tail.key_size);
    if (!lw_value_sizes_valid(tail.value_size, tail.stored_size, tail.key_size) ||
        extent > of->end) {
        fault(of, of->end - LW_VALUE_TAIL_SIZE, "the sizes of a value make no sense");
        return LW_OK;
    }
    LW_TRY(read_at(of, of->end - extent, (size_t)extent));
    of->end -= extent;
    inspect_value(of, of->end, &tail);
    *more = of->end > 0;
    return LW_OK;
}

static LW_YIELDS lw_status inspect_values(inspection *of) {
    bool more = of->end > 0;
    while (more) {
        LW_TRY(inspect_last(of, &more));
    }
    if (of->fault_count == 0 &&
        (of->value_count != of->footer.value_count || of->value_bytes != of->footer.value_bytes)) {
        fault(of, 0, "the footer does not count the values that are there");
    }
    return LW_OK;
}

lw_status lw_value_inspect(lw_env *env, const char *path, lw_buffer *text) {
    inspection of = {.env = env,
                     .path = path,
                     .text = text,
                     .bytes = lw_buffer_in(env->memory),
                     .value = lw_buffer_in(env->memory)};
    uint64_t file_size;
    LW_TRY(lw_value_file_open(env, path, &of.file, &file_size, &of.footer));
    of.end = file_size - LW_VALUE_FOOTER_SIZE;
    lw_buffer_print(text,
                    "value file %" PRIu64 ": format %d, %" PRIu64 " bytes; %" PRIu64
                    " values of %" PRIu64 " bytes, the last one first\n",
                    of.footer.number, LW_VALUE_FORMAT, file_size, of.footer.value_count,
                    of.footer.value_bytes);
    of.decompressor = lw_decompressor_open(env->memory);
    lw_status status = inspect_values(&of);
    lw_decompressor_close(of.decompressor);
    lw_file_close(env, of.file);
    lw_buffer_reset(&of.bytes);
    lw_buffer_reset(&of.value);
    LW_TRY(status);
    if (of.fault_count > 0) {
        lw_buffer_print(text, "verdict: damaged, faults: %" PRIu64 "\n", of.fault_count);
        return lw_value_damaged(path, 0, "the inspection found faults");
    }
    lw_buffer_print(text, "verdict: sound\n");
    return LW_OK;
}
