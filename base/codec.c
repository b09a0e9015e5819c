/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack: written by msgpack-c, read by a cursor of our own. See codec.h.
 *
 * What is read is what is written here and nothing else (hazard X5): of everything accepted there
 * is exactly one encoding, so a message that was read and written again is the same bytes. Byte by
 * byte, `..` being a big-endian number:
 *
 *   c0                          nil
 *   c2, c3                      false, true
 *   00..7f                      that number
 *   cc .. cd .. ce .. cf ..     a number in 1, 2, 4 or 8 bytes, if it needs them
 *   c4 .. c5 .. c6 ..           a length in 1, 2 or 4 bytes, then so many bytes
 *   a0..bf, d9 .. da .. db ..   a length below 32, or in 1, 2 or 4 bytes, then so much text
 *   90..9f, dc .. dd ..         a count below 16, or in 2 or 4 bytes, then so many values
 *
 * Refused are negative numbers, maps (finding duplicate keys would take memory), floats and
 * extensions. */
#include "base/codec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <msgpack.h>
#pragma GCC diagnostic pop

/* ---- writing --------------------------------------------------------------------------------- */

static int append(void *out, const char *bytes, size_t size) {
    lw_buffer_append(out, lw_view(bytes, size));
    return 0;
}

static msgpack_packer packer_into(lw_buffer *out) {
    return (msgpack_packer){.data = out, .callback = append};
}

/* The packer answers what `append` answers, which cannot fail. */
#define PACKED(call) LW_ASSERT((call) == 0)

void lw_write_nil(lw_buffer *out) {
    msgpack_packer packer = packer_into(out);
    PACKED(msgpack_pack_nil(&packer));
}

void lw_write_bool(lw_buffer *out, bool value) {
    msgpack_packer packer = packer_into(out);
    PACKED(value ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer));
}

void lw_write_u64(lw_buffer *out, uint64_t value) {
    msgpack_packer packer = packer_into(out);
    PACKED(msgpack_pack_uint64(&packer, value));
}

void lw_write_bytes(lw_buffer *out, lw_bytes value) {
    LW_ASSERT(value.size <= UINT32_MAX);
    msgpack_packer packer = packer_into(out);
    PACKED(msgpack_pack_bin(&packer, value.size));
    PACKED(msgpack_pack_bin_body(&packer, value.data, value.size));
}

void lw_write_bytes_of(lw_buffer *out, lw_bytes first, lw_bytes second) {
    LW_ASSERT(first.size + second.size <= UINT32_MAX);
    msgpack_packer packer = packer_into(out);
    PACKED(msgpack_pack_bin(&packer, first.size + second.size));
    PACKED(msgpack_pack_bin_body(&packer, first.data, first.size));
    PACKED(msgpack_pack_bin_body(&packer, second.data, second.size));
}

void lw_write_text(lw_buffer *out, lw_bytes value) {
    LW_ASSERT(value.size <= UINT32_MAX);
    msgpack_packer packer = packer_into(out);
    PACKED(msgpack_pack_str(&packer, value.size));
    PACKED(msgpack_pack_str_body(&packer, value.data, value.size));
}

void lw_write_array(lw_buffer *out, uint32_t count) {
    msgpack_packer packer = packer_into(out);
    PACKED(msgpack_pack_array(&packer, count));
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef enum kind { REFUSED, NIL, BOOL, NUMBER, BYTES, TEXT, ARRAY } kind;

/* What a value begins with. `number` is the number or boolean itself, or the length or count of
 * what follows, of which there may be less. */
typedef struct head {
    kind kind;
    uint64_t number;
} head;

/* The first bytes c0 to df; those below and above hold their number themselves. */
enum { FORMAT_FIRST = 0xc0, FORMAT_LAST = 0xdf };
static const struct {
    kind kind;
    uint8_t width;  /* bytes of the number that follows */
    uint64_t floor; /* a smaller number has a shorter encoding */
} formats[FORMAT_LAST - FORMAT_FIRST + 1] = {
    [0xc0 - FORMAT_FIRST] = {NIL, 0, 0},
    [0xc4 - FORMAT_FIRST] = {BYTES, 1, 0},
    [0xc5 - FORMAT_FIRST] = {BYTES, 2, UINT8_MAX + 1},
    [0xc6 - FORMAT_FIRST] = {BYTES, 4, UINT16_MAX + 1},
    [0xcc - FORMAT_FIRST] = {NUMBER, 1, 0x80},
    [0xcd - FORMAT_FIRST] = {NUMBER, 2, UINT8_MAX + 1},
    [0xce - FORMAT_FIRST] = {NUMBER, 4, UINT16_MAX + 1},
    [0xcf - FORMAT_FIRST] = {NUMBER, 8, (uint64_t)UINT32_MAX + 1},
    [0xd9 - FORMAT_FIRST] = {TEXT, 1, 0x20},
    [0xda - FORMAT_FIRST] = {TEXT, 2, UINT8_MAX + 1},
    [0xdb - FORMAT_FIRST] = {TEXT, 4, UINT16_MAX + 1},
    [0xdc - FORMAT_FIRST] = {ARRAY, 2, 0x10},
    [0xdd - FORMAT_FIRST] = {ARRAY, 4, UINT16_MAX + 1},
};

static head head_in_one_byte(uint8_t first) {
    if (first < 0x80) {
        return (head){NUMBER, first};
    }
    if (first >= 0x90 && first < 0xa0) {
        return (head){ARRAY, first & 0x0f};
    }
    if (first >= 0xa0 && first < 0xc0) {
        return (head){TEXT, first & 0x1f};
    }
    if (first == 0xc2 || first == 0xc3) {
        return (head){BOOL, first & 0x01};
    }
    return (head){REFUSED, 0};
}

/* Finds the head at the front of `rest` and moves behind it. Anything not in the list above, cut
 * off, longer than needed, or announcing more than is there, is refused, and `rest` no longer of
 * use. */
static head take_head(lw_bytes *rest) {
    lw_bytes first, number;
    if (!lw_take_bytes(rest, 1, &first)) {
        return (head){REFUSED, 0};
    }
    head taken = head_in_one_byte(first.data[0]);
    if (taken.kind == REFUSED && first.data[0] >= FORMAT_FIRST && first.data[0] <= FORMAT_LAST) {
        size_t format = first.data[0] - FORMAT_FIRST;
        if (!lw_take_bytes(rest, formats[format].width, &number)) {
            return (head){REFUSED, 0};
        }
        taken.kind = formats[format].kind;
        for (size_t index = 0; index < number.size; index++) {
            taken.number = taken.number << 8 | number.data[index];
        }
        if (taken.number < formats[format].floor) {
            return (head){REFUSED, 0};
        }
    }
    /* Each byte announced is one, each element at least one. */
    bool announces = taken.kind == BYTES || taken.kind == TEXT || taken.kind == ARRAY;
    return announces && taken.number > rest->size ? (head){REFUSED, 0} : taken;
}

/* Takes a head of this kind and answers its number; otherwise fails the reader and answers 0. */
static uint64_t read_head(lw_reader *reader, kind wanted) {
    head taken = take_head(&reader->rest);
    if (taken.kind != wanted) {
        lw_reader_fail(reader);
        return 0;
    }
    return taken.number;
}

static lw_bytes read_content(lw_reader *reader, kind wanted) {
    size_t size = read_head(reader, wanted);
    lw_bytes content;
    LW_ASSERT(lw_take_bytes(&reader->rest, size, &content));
    return content;
}

uint64_t lw_read_u64(lw_reader *reader) {
    return read_head(reader, NUMBER);
}

uint64_t lw_read_u64_max(lw_reader *reader, uint64_t limit) {
    uint64_t value = lw_read_u64(reader);
    if (value > limit) {
        lw_reader_fail(reader);
        return 0;
    }
    return value;
}

bool lw_read_bool(lw_reader *reader) {
    return read_head(reader, BOOL) != 0;
}

lw_bytes lw_read_bytes(lw_reader *reader) {
    return read_content(reader, BYTES);
}

lw_bytes lw_read_text(lw_reader *reader) {
    return read_content(reader, TEXT);
}

uint32_t lw_read_array(lw_reader *reader) {
    return (uint32_t)read_head(reader, ARRAY);
}

uint32_t lw_read_array_of(lw_reader *reader, uint32_t known) {
    uint32_t count = lw_read_array(reader);
    if (count < known) {
        lw_reader_fail(reader);
        return 0;
    }
    return count - known;
}

void lw_read_skip(lw_reader *reader, uint32_t count) {
    uint64_t left[LW_DEPTH_MAX + 1] = {count}; /* values left to skip at each depth */
    size_t depth = 0;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) {
                return;
            }
            depth--;
        }
        left[depth]--;
        head taken = take_head(&reader->rest);
        if (taken.kind == REFUSED || (taken.kind == ARRAY && depth == LW_DEPTH_MAX)) {
            lw_reader_fail(reader);
            return;
        }
        if (taken.kind == ARRAY) {
            left[++depth] = taken.number;
        } else if (taken.kind == BYTES || taken.kind == TEXT) {
            lw_bytes skipped;
            LW_ASSERT(lw_take_bytes(&reader->rest, taken.number, &skipped));
        }
    }
}

bool lw_read_nil(lw_reader *reader) {
    lw_bytes rest = reader->rest;
    if (take_head(&rest).kind != NIL) {
        return false;
    }
    reader->rest = rest;
    return true;
}
