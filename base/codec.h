/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack, written and read. Writing is msgpack-c's; reading is a cursor over the bytes, since
 * an object tree of hostile input costs up to 24 bytes a node before anyone has looked at it
 * (hazard X5). Tests hold both against msgpack-c.
 *
 * Reading never fails half-way: a reader remembers its first failure, from then on every read
 * answers with zero, and the caller asks once, at the end. Nothing is allocated; views point into
 * the input. Accepted is exactly what the writers below can write: nil, booleans, unsigned numbers,
 * bytes, text and arrays, each in its shortest form, so that equal values are equal bytes. No
 * negative numbers, maps, floats or extensions. */
#ifndef LW_CODEC_H
#define LW_CODEC_H

#include "base/bytes.h"

enum { LW_DEPTH_MAX = 16 }; /* arrays within arrays that lw_read_skip follows */

void lw_write_nil(lw_buffer *out);
void lw_write_bool(lw_buffer *out, bool value);
void lw_write_u64(lw_buffer *out, uint64_t value);
/* bin format: keys, values, any bytes. At most UINT32_MAX of them, as for text. */
void lw_write_bytes(lw_buffer *out, lw_bytes value);
/* Both, as one. */
void lw_write_bytes_of(lw_buffer *out, lw_bytes first, lw_bytes second);
/* str format: names and messages for people. Neither side checks that it is UTF-8: who shows what a
 * peer sent uses lw_printable. */
void lw_write_text(lw_buffer *out, lw_bytes value);
/* Announces an array of `count` elements, which the caller writes next. */
void lw_write_array(lw_buffer *out, uint32_t count);

typedef struct lw_reader {
    lw_bytes rest;
    bool failed;
} lw_reader;

static inline lw_reader lw_reader_of(lw_bytes bytes) {
    return (lw_reader){.rest = bytes};
}
uint64_t lw_read_u64(lw_reader *reader);
/* As lw_read_u64; a value above `limit` is a failure. */
uint64_t lw_read_u64_max(lw_reader *reader, uint64_t limit);
bool lw_read_bool(lw_reader *reader);
lw_bytes lw_read_bytes(lw_reader *reader);
lw_bytes lw_read_text(lw_reader *reader);
/* The announced number of elements, never more than the bytes left. */
uint32_t lw_read_array(lw_reader *reader);
/* Enters an array of at least `known` elements, and answers how many more there are, which the
 * caller hands to lw_read_skip after its own: so that a newer peer may add fields. */
uint32_t lw_read_array_of(lw_reader *reader, uint32_t known);
/* Begins to read a body that is one array, of `*count` rows; what is read from `*reader` are views
 * of the body. False: it is none, and neither `*reader` nor `*count` is set. */
LW_MUST_USE bool lw_read_rows(lw_bytes body, lw_reader *reader, uint32_t *count);
/* Skips `count` whole values. Arrays nested deeper than LW_DEPTH_MAX are a failure. */
void lw_read_skip(lw_reader *reader, uint32_t count);
/* True, and the nil taken, if the next value is nil. Anything else, and the end, is left for the
 * next read, and no failure. */
bool lw_read_nil(lw_reader *reader);
/* Whether all that was read was well-formed; and whether nothing is left over. */
static inline bool lw_reader_ok(const lw_reader *reader) {
    return !reader->failed;
}
static inline bool lw_reader_done(const lw_reader *reader) {
    return !reader->failed && reader->rest.size == 0;
}
static inline void lw_reader_fail(lw_reader *reader) {
    reader->failed = true;
    reader->rest.size = 0;
}

#endif
