/* SPDX-License-Identifier: Apache-2.0 */
#include "node/snapshot_wire.h"

#include "base/hash.h"

enum {
    CHECKSUM_SIZE = 4,
    OFFER_FIELDS = 5,
    PIECE_FIELDS = 4,
    END_FIELDS = 1,
    PLACE_FIELDS = 2,
};

/* ---- what all have --------------------------------------------------------------------------- */

/* Begins a body, and returns where. */
static size_t begin(lw_buffer *body) {
    lw_buffer_append_u32(body, 0);
    return body->size;
}

static void end(lw_buffer *body, size_t start) {
    lw_bytes sealed = lw_view(body->data + start, body->size - start);
    lw_put_u32(body->data + start - CHECKSUM_SIZE, lw_crc32c(0, sealed));
}

static lw_status malformed(const char *what) {
    return lw_fail(LW_INVALID_ARGUMENT,
                   "%s of a snapshot that moves between nodes is not well-formed", what);
}

/* A reader of what is sealed; one that has failed if the seal is broken. */
static lw_reader open(lw_bytes body) {
    lw_reader reader = lw_reader_of(lw_view(NULL, 0));
    if (body.size < CHECKSUM_SIZE) {
        lw_reader_fail(&reader);
        return reader;
    }
    lw_bytes sealed = lw_view(body.data + CHECKSUM_SIZE, body.size - CHECKSUM_SIZE);
    reader = lw_reader_of(sealed);
    if (lw_get_u32(body.data) != lw_crc32c(0, sealed)) {
        lw_reader_fail(&reader);
    }
    return reader;
}

/* ---- offers ---------------------------------------------------------------------------------- */

void lw_snapshot_offer_encode(const lw_snapshot_offer *offer, const lw_snapshot_file *files,
                              lw_buffer *body) {
    LW_ASSERT(offer->file_count > 0 && offer->file_count <= LW_SNAPSHOT_FILES_MAX);
    LW_ASSERT(offer->head.size <= LW_SNAPSHOT_HEAD_SIZE_MAX);
    size_t start = begin(body);
    lw_write_array(body, OFFER_FIELDS);
    lw_write_u64(body, offer->transfer);
    lw_write_u64(body, offer->index);
    lw_write_u64(body, offer->term);
    lw_write_bytes(body, offer->head);
    lw_write_array(body, 2 * offer->file_count);
    for (uint32_t index = 0; index < offer->file_count; index++) {
        lw_write_u64(body, files[index].number);
        lw_write_u64(body, files[index].size);
    }
    end(body, start);
}

/* Walks over the files and adds them up. */
static bool read_files(lw_reader *reader, lw_snapshot_offer *offer) {
    uint32_t count = lw_read_array(reader);
    uint64_t last = 0;
    if (count == 0 || count % 2 != 0 || count / 2 > LW_SNAPSHOT_FILES_MAX) {
        return false;
    }
    offer->file_count = count / 2;
    offer->files = *reader;
    for (uint32_t index = 0; index < offer->file_count; index++) {
        uint64_t number = lw_read_u64(reader);
        uint64_t size = lw_read_u64_max(reader, LW_SNAPSHOT_SIZE_MAX);
        bool in_place = index + 1 == offer->file_count ? number == 0 : number > last;
        offer->size += size;
        if (!lw_reader_ok(reader) || !in_place || size == 0 || offer->size > LW_SNAPSHOT_SIZE_MAX) {
            return false;
        }
        last = number;
    }
    return true;
}

lw_status lw_snapshot_offer_decode(lw_bytes body, lw_snapshot_offer *offer) {
    lw_reader reader = open(body);
    uint32_t extra = lw_read_array_of(&reader, OFFER_FIELDS);
    lw_snapshot_offer read = {.transfer = lw_read_u64(&reader)};
    read.index = lw_read_u64(&reader);
    read.term = lw_read_u64(&reader);
    read.head = lw_read_bytes(&reader);
    if (!read_files(&reader, &read)) {
        return malformed("an offer");
    }
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read.transfer == 0 ||
        read.head.size > LW_SNAPSHOT_HEAD_SIZE_MAX) {
        return malformed("an offer");
    }
    *offer = read;
    return LW_OK;
}

lw_snapshot_file lw_snapshot_file_next(lw_snapshot_offer *offer) {
    lw_snapshot_file file = {.number = lw_read_u64(&offer->files)};
    file.size = lw_read_u64(&offer->files);
    LW_ASSERT(lw_reader_ok(&offer->files));
    return file;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

void lw_snapshot_piece_encode(const lw_snapshot_piece *piece, lw_buffer *body) {
    LW_ASSERT(piece->bytes.size > 0 && piece->bytes.size <= LW_SNAPSHOT_PIECE_SIZE_MAX);
    size_t start = begin(body);
    lw_write_array(body, PIECE_FIELDS);
    lw_write_u64(body, piece->transfer);
    lw_write_u64(body, piece->file);
    lw_write_u64(body, piece->offset);
    lw_write_bytes(body, piece->bytes);
    end(body, start);
}

lw_status lw_snapshot_piece_decode(lw_bytes body, lw_snapshot_piece *piece) {
    lw_reader reader = open(body);
    uint32_t extra = lw_read_array_of(&reader, PIECE_FIELDS);
    lw_snapshot_piece read = {.transfer = lw_read_u64(&reader)};
    read.file = lw_read_u64_max(&reader, LW_SNAPSHOT_FILES_MAX);
    read.offset = lw_read_u64_max(&reader, LW_SNAPSHOT_SIZE_MAX);
    read.bytes = lw_read_bytes(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read.transfer == 0 || read.bytes.size == 0 ||
        read.bytes.size > LW_SNAPSHOT_PIECE_SIZE_MAX) {
        return malformed("a piece");
    }
    *piece = read;
    return LW_OK;
}

/* ---- the end, and places --------------------------------------------------------------------- */

void lw_snapshot_end_encode(uint64_t transfer, lw_buffer *body) {
    size_t start = begin(body);
    lw_write_array(body, END_FIELDS);
    lw_write_u64(body, transfer);
    end(body, start);
}

lw_status lw_snapshot_end_decode(lw_bytes body, uint64_t *transfer) {
    lw_reader reader = open(body);
    uint32_t extra = lw_read_array_of(&reader, END_FIELDS);
    uint64_t read = lw_read_u64(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read == 0) {
        return malformed("the end");
    }
    *transfer = read;
    return LW_OK;
}

void lw_snapshot_place_encode(const lw_snapshot_place *place, lw_buffer *body) {
    size_t start = begin(body);
    lw_write_array(body, PLACE_FIELDS);
    lw_write_u64(body, place->file);
    lw_write_u64(body, place->offset);
    end(body, start);
}

lw_status lw_snapshot_place_decode(lw_bytes body, lw_snapshot_place *place) {
    lw_reader reader = open(body);
    uint32_t extra = lw_read_array_of(&reader, PLACE_FIELDS);
    lw_snapshot_place read = {.file = lw_read_u64_max(&reader, LW_SNAPSHOT_FILES_MAX)};
    read.offset = lw_read_u64_max(&reader, LW_SNAPSHOT_SIZE_MAX);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader)) {
        return malformed("a place");
    }
    *place = read;
    return LW_OK;
}
