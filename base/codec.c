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

/* ---- writing --------------------------------------------------------------------------------- */

static inline int put_raw(lw_buffer *out, const void *bytes, size_t size) {
    uint8_t *to = lw_buffer_reserve(out, size);
    if (size > 0) {
        memcpy(to, bytes, size);
    }
    out->size += size;
    return 0;
}

/* msgpack-c's packer is a template, which it fills in with a callback; here it writes to a buffer.
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <msgpack.h>
#define msgpack_pack_inline_func(name)                static inline int put##name
#define msgpack_pack_user                             lw_buffer *
#define msgpack_pack_append_buffer(user, bytes, size) return put_raw(user, bytes, size)
#include <msgpack/pack_template.h>
#pragma GCC diagnostic pop

void lw_write_nil(lw_buffer *out) {
    put_nil(out);
}

void lw_write_bool(lw_buffer *out, bool value) {
    (void)(value ? put_true(out) : put_false(out));
}

void lw_write_u64(lw_buffer *out, uint64_t value) {
    put_uint64(out, value);
}

void lw_write_bytes(lw_buffer *out, lw_bytes value) {
    lw_write_bytes_of(out, value, (lw_bytes){0});
}

void lw_write_bytes_of(lw_buffer *out, lw_bytes first, lw_bytes second) {
    size_t size = first.size + second.size;
    LW_ASSERT(size <= UINT32_MAX);
    put_bin(out, size);
    put_bin_body(out, first.data, first.size);
    put_bin_body(out, second.data, second.size);
}

void lw_write_text(lw_buffer *out, lw_bytes value) {
    LW_ASSERT(value.size <= UINT32_MAX);
    put_str(out, value.size);
    put_str_body(out, value.data, value.size);
}

void lw_write_array(lw_buffer *out, uint32_t count) {
    put_array(out, count);
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

/* The number that a format has behind its first byte, of which there are `width` bytes. */
static uint64_t number_behind(lw_bytes whole, uint32_t width) {
    if (whole.size >= 1 + sizeof(uint64_t)) {
        return width == 0 ? 0 : lw_get_u64_sorted(whole.data + 1) >> (64 - 8 * width);
    }
    uint64_t number = 0;
    for (uint32_t index = 0; index < width; index++) {
        number = number << 8 | whole.data[1 + index];
    }
    return number;
}

/* A head of more than one byte at the front of `*rest`, which it moves behind it. */
static head take_long_head(lw_bytes *rest) {
    uint32_t format = rest->data[0] - (uint32_t)FORMAT_FIRST, width = formats[format].width;
    if (rest->size - 1 < width) {
        return (head){REFUSED, 0};
    }
    head taken = {.kind = formats[format].kind, .number = number_behind(*rest, width)};
    *rest = lw_view(rest->data + 1 + width, rest->size - 1 - width);
    return taken.number < formats[format].floor ? (head){REFUSED, 0} : taken;
}

/* Finds the head at the front of `rest` and moves behind it. Anything not in the list above, cut
 * off, longer than needed, or announcing more than is there, is refused, and `rest` no longer of
 * use. */
static head take_head(lw_bytes *rest) {
    if (rest->size == 0) {
        return (head){REFUSED, 0};
    }
    uint8_t first = rest->data[0];
    head taken = head_in_one_byte(first);
    if (taken.kind != REFUSED) {
        *rest = lw_view(rest->data + 1, rest->size - 1);
    } else if (first >= FORMAT_FIRST && first <= FORMAT_LAST) {
        taken = take_long_head(rest);
    }
    /* Each byte announced is one, each element at least one. */
    bool announces = taken.kind == BYTES || taken.kind == TEXT || taken.kind == ARRAY;
    return announces && taken.number > rest->size ? (head){REFUSED, 0} : taken;
}

/* Takes a head of this kind and answers its number; otherwise fails the reader and answers 0. The
 * compiler makes one of it for each kind, which looks for little else. */
static inline __attribute__((always_inline)) uint64_t read_head(lw_reader *reader, kind wanted) {
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
    lw_bytes *rest = &reader->rest;
    if (rest->size > 0 && rest->data[0] < 0x80) { /* as most are */
        uint64_t number = rest->data[0];
        *rest = lw_view(rest->data + 1, rest->size - 1);
        return number;
    }
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

bool lw_read_rows(lw_bytes body, lw_reader *reader, uint32_t *count) {
    lw_reader opened = lw_reader_of(body);
    uint32_t announced = lw_read_array(&opened);
    if (lw_reader_ok(&opened)) {
        *reader = opened;
        *count = announced;
    }
    return lw_reader_ok(&opened);
}

void lw_read_skip(lw_reader *reader, uint32_t count) {
    if (count == 0) {
        return;
    }
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
