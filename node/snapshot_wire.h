/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes say to each other about a snapshot that moves (node/snapshot.h): pure, no allocation.
 * Bodies of requests and replies, which name the shard in their envelope.
 *
 *   body   = crc32c u32 little-endian, of what follows · msgpack
 *   OFFER  = [ transfer, index, term, head bin, files ]            → place
 *   files  = [ number, size, number, size, … ]   tables and values, ascending, each once; last, as
 *                                                number 0, the CATALOG
 *   PIECE  = [ transfer, file, offset, bytes bin ]                 → place
 *   END    = [ transfer ]                                          → nothing
 *   place  = [ file, offset ]    what the receiver wants next: a place in `files`, and where in it;
 *                                beyond the last file: it has all
 *
 * `transfer` is drawn by the sender for each snapshot that it makes, and never 0.
 *
 * Invariants
 * M1. Whatever bytes come in: LW_INVALID_ARGUMENT, or a message whose files number at most
 *     LW_SNAPSHOT_FILES_MAX and add up to at most LW_SNAPSHOT_SIZE_MAX.
 * M2. What was changed on its way is not a message (hazard S15). */
#ifndef LW_SNAPSHOT_WIRE_H
#define LW_SNAPSHOT_WIRE_H

#include "base/codec.h"

enum {
    LW_SNAPSHOT_FILES_MAX = 256 * 1024,
    LW_SNAPSHOT_HEAD_SIZE_MAX = 1024 * 1024, /* bytes */
    LW_SNAPSHOT_PIECE_SIZE_MAX = 4 * 1024 * 1024,
};
#define LW_SNAPSHOT_SIZE_MAX (UINT64_C(1) << 60) /* bytes of all files */

typedef struct lw_snapshot_file {
    uint64_t number; /* in sst/; 0: the CATALOG */
    uint64_t size;   /* bytes, not 0 */
} lw_snapshot_file;

typedef struct lw_snapshot_offer {
    uint64_t transfer, index, term;
    lw_bytes head;
    uint32_t file_count; /* at least 1 */
    uint64_t size;       /* bytes of all of them: set by decoding */
    lw_reader files;     /* of a decoded one: for lw_snapshot_file_next */
} lw_snapshot_offer;
void lw_snapshot_offer_encode(const lw_snapshot_offer *offer, const lw_snapshot_file *files,
                              lw_buffer *body);
LW_MUST_USE lw_status lw_snapshot_offer_decode(lw_bytes body, lw_snapshot_offer *offer);
/* The next file: to be called offer->file_count times. */
lw_snapshot_file lw_snapshot_file_next(lw_snapshot_offer *offer);

typedef struct lw_snapshot_piece {
    uint64_t transfer, file, offset;
    lw_bytes bytes; /* 1..LW_SNAPSHOT_PIECE_SIZE_MAX of them */
} lw_snapshot_piece;
void lw_snapshot_piece_encode(const lw_snapshot_piece *piece, lw_buffer *body);
LW_MUST_USE lw_status lw_snapshot_piece_decode(lw_bytes body, lw_snapshot_piece *piece);

void lw_snapshot_end_encode(uint64_t transfer, lw_buffer *body);
LW_MUST_USE lw_status lw_snapshot_end_decode(lw_bytes body, uint64_t *transfer);

typedef struct lw_snapshot_place {
    uint64_t file, offset;
} lw_snapshot_place;
void lw_snapshot_place_encode(const lw_snapshot_place *place, lw_buffer *body);
LW_MUST_USE lw_status lw_snapshot_place_decode(lw_bytes body, lw_snapshot_place *place);

#endif
