/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes against the reader of base/codec. Properties, for whatever is accepted as one whole
 * value:
 *   1. exactly one of the reads takes each value in it;
 *   2. written again, it is the same bytes: there is one encoding;
 *   3. cut anywhere, it is refused.
 * And for all bytes: no read leaves the input, allocates, or forgets a failure. */
#include "base/codec.h"

/* Copies the next value, or the head of an array, from `reader` to `out`; answers the number of
 * elements that follow. */
static uint32_t copy_value(lw_reader *reader, lw_buffer *out) {
    lw_reader taken = *reader, each[6] = {taken, taken, taken, taken, taken, taken};
    bool nil = lw_read_nil(&each[0]);
    if (!nil) {
        lw_reader_fail(&each[0]);
    }
    bool yes = lw_read_bool(&each[1]);
    uint64_t number = lw_read_u64(&each[2]);
    lw_bytes bytes = lw_read_bytes(&each[3]);
    lw_bytes text = lw_read_text(&each[4]);
    uint32_t count = lw_read_array(&each[5]);
    size_t taker_count = 0;
    for (size_t index = 0; index < 6; index++) {
        if (lw_reader_ok(&each[index])) {
            taker_count++;
            taken = each[index];
        }
    }
    LW_ASSERT(taker_count == 1);
    if (nil) {
        lw_write_nil(out);
    } else if (lw_reader_ok(&each[1])) {
        lw_write_bool(out, yes);
    } else if (lw_reader_ok(&each[2])) {
        lw_write_u64(out, number);
    } else if (lw_reader_ok(&each[3])) {
        lw_write_bytes(out, bytes);
    } else if (lw_reader_ok(&each[4])) {
        lw_write_text(out, text);
    } else {
        lw_write_array(out, count);
    }
    *reader = taken;
    return count;
}

static void check_accepted(lw_bytes whole) {
    lw_memory *memory = lw_memory_open();
    lw_buffer again = lw_buffer_in(memory);
    lw_reader reader = lw_reader_of(whole);
    for (uint64_t left = 1; left > 0; left--) {
        left += copy_value(&reader, &again);
    }
    LW_ASSERT(lw_reader_done(&reader));
    LW_ASSERT(lw_equal(lw_buffer_view(&again), whole));

    /* All cuts of a long input would take a second; these reach every byte of a short one. */
    size_t step = 1 + whole.size / 256;
    for (size_t size = 0; size < whole.size; size += step) {
        lw_reader cut = lw_reader_of(lw_view(whole.data, size));
        lw_read_skip(&cut, 1);
        LW_ASSERT(!lw_reader_ok(&cut));
    }
    lw_memory_close(memory);
}

/* Lets the input itself choose the reads: two bits of `choices` each. */
static void read_anything(lw_bytes bytes, uint64_t choices) {
    lw_reader reader = lw_reader_of(bytes);
    bool failed = false;
    for (size_t index = 0; index < 32; index++) {
        size_t left = reader.rest.size;
        lw_bytes content = {0};
        switch (choices >> (2 * index) & 3) {
        case 0:
            lw_read_skip(&reader, (uint32_t)index);
            break;
        case 1:
            (void)lw_read_u64_max(&reader, choices);
            break;
        case 2:
            content = index % 2 == 0 ? lw_read_text(&reader) : lw_read_bytes(&reader);
            break;
        default:
            LW_ASSERT(lw_read_array_of(&reader, (uint32_t)(index % 4)) <= reader.rest.size);
        }
        LW_ASSERT(content.size <= left - reader.rest.size);
        LW_ASSERT(!failed || reader.failed);
        LW_ASSERT(!reader.failed || reader.rest.size == 0);
        failed = reader.failed;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lw_bytes whole = lw_view(data, size);
    lw_reader reader = lw_reader_of(whole);
    lw_read_skip(&reader, 1);
    if (lw_reader_ok(&reader)) {
        check_accepted(lw_view(data, size - reader.rest.size));
    }
    if (size >= sizeof(uint64_t)) {
        read_anything(lw_view(data + 8, size - 8), lw_get_u64(data));
    }
    return 0;
}
