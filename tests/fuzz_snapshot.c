/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as any message about a snapshot that moves; the first byte chooses which. The checksum
 * is put right first, so that what lies behind it is reached. Properties, of what is accepted:
 *   1. its numbers are within their bounds, and the sizes of its files add up;
 *   2. without fields that this program does not know, it is the same bytes when written again. */
#include "node/snapshot_wire.h"

#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OFFER_KNOWN = 0x95, PIECE_KNOWN = 0x94, END_KNOWN = 0x91, PLACE_KNOWN = 0x92 };

static void expect_same(const lw_buffer *again, lw_bytes body, uint8_t known) {
    bool grown = body.data[4] != known; /* the head of the array: as many fields as there are now */
    LW_ASSERT(grown || lw_equal(lw_buffer_view(again), body));
}

static void try_offer(lw_memory *memory, lw_bytes body, lw_buffer *again) {
    lw_snapshot_offer offer;
    if (lw_snapshot_offer_decode(body, &offer) != LW_OK) {
        return;
    }
    LW_ASSERT(offer.file_count > 0 && offer.file_count <= LW_SNAPSHOT_FILES_MAX);
    lw_snapshot_file *files = lw_allocate(memory, offer.file_count * sizeof(*files));
    uint64_t sum = 0;
    for (uint32_t index = 0; index < offer.file_count; index++) {
        files[index] = lw_snapshot_file_next(&offer);
        LW_ASSERT(files[index].size > 0);
        LW_ASSERT((files[index].number == 0) == (index + 1 == offer.file_count));
        sum += files[index].size;
    }
    LW_ASSERT(sum == offer.size && sum <= LW_SNAPSHOT_SIZE_MAX);
    lw_snapshot_offer_encode(&offer, files, again);
    expect_same(again, body, OFFER_KNOWN);
}

static void try_piece(lw_bytes body, lw_buffer *again) {
    lw_snapshot_piece piece;
    if (lw_snapshot_piece_decode(body, &piece) == LW_OK) {
        LW_ASSERT(piece.file <= LW_SNAPSHOT_FILES_MAX && piece.offset <= LW_SNAPSHOT_SIZE_MAX);
        lw_snapshot_piece_encode(&piece, again);
        expect_same(again, body, PIECE_KNOWN);
    }
}

static void try_others(lw_bytes body, bool end, lw_buffer *again) {
    uint64_t transfer = 0;
    lw_snapshot_place place;
    if (end && lw_snapshot_end_decode(body, &transfer) == LW_OK) {
        lw_snapshot_end_encode(transfer, again);
        expect_same(again, body, END_KNOWN);
    } else if (!end && lw_snapshot_place_decode(body, &place) == LW_OK) {
        lw_snapshot_place_encode(&place, again);
        expect_same(again, body, PLACE_KNOWN);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 6) {
        return 0;
    }
    lw_memory *memory = lw_memory_open();
    lw_buffer body = lw_buffer_in(memory), again = lw_buffer_in(memory);
    lw_buffer_append(&body, lw_view(data + 1, size - 1));
    lw_put_u32(body.data, lw_crc32c(0, lw_view(body.data + 4, body.size - 4)));
    lw_bytes whole = lw_buffer_view(&body);
    switch (data[0] % 4) {
    case 0:
        try_offer(memory, whole, &again);
        break;
    case 1:
        try_piece(whole, &again);
        break;
    default:
        try_others(whole, data[0] % 4 == 2, &again);
        break;
    }
    lw_memory_close(memory);
    return 0;
}
