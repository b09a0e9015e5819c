/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying segments that are written to the end, while the log goes on: after the opening nobody
 * reads them but who is far behind, and the next opening would refuse what has rotted since.
 *
 * A segment is held only while it is read, and looked up again each time: whoever goes slowly keeps
 * none. What has been let go meanwhile is nobody's any more. */
#include "storage/log_state.h"
#include "storage/scrub.h"

#include <inttypes.h>

enum { PIECE_SIZE = 256 * 1024 }; /* bytes read at once */

typedef struct walking {
    lw_log *log;
    uint64_t number, offset;
    uint64_t sequence; /* that the next batch has to have; 0: any, before the first */
    lw_log_reader reader;
    lw_budget_share share; /* of the reader */
    char path[LW_PATH_SIZE];
    bool ended;
} walking;

/* ---- which segment ----------------------------------------------------------------------------
 */

/* Whether all that will ever be in it is durable, and it is not about to go. */
static bool is_sealed(const lw_log *log, const lw_log_segment *segment) {
    uint64_t number = segment->header.number;
    return number < log->durable_segment && number >= log->release_upto;
}

/* The one with the lowest number above `after`, up to `last`; NULL: none. */
static lw_log_segment *next_sealed(const lw_log *log, uint64_t after, uint64_t last) {
    lw_log_segment *segment = log->holds.oldest;
    while (segment != NULL && segment->header.number <= last &&
           (segment->header.number <= after || !is_sealed(log, segment))) {
        segment = segment->next;
    }
    return segment != NULL && segment->header.number <= last ? segment : NULL;
}

uint64_t lw_log_newest_sealed(const lw_log *log) {
    return log->durable_segment > 0 ? log->durable_segment - 1 : 0;
}

bool lw_log_has_segment(const lw_log *log, uint64_t number) {
    return number > 0 && next_sealed(log, number - 1, number) != NULL;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static lw_status damaged(const walking *walk, const char *what) {
    return lw_fail(LW_CORRUPTION,
                   "%s: the %s at offset %" PRIu64
                   " is damaged, and was durable: what the segment holds is flushed, so that the "
                   "log lets go of it. Replace the disk if that comes often",
                   walk->path, what, walk->offset);
}

static LW_YIELDS lw_status read_header(walking *walk, const lw_log_segment_header *wanted) {
    const uint8_t *block = NULL;
    lw_log_segment_header found;
    uint32_t format = 0;
    LW_TRY(lw_log_reader_open(&walk->reader, walk->path, LW_OPEN_READ_ONLY));
    LW_TRY(lw_log_reader_view(&walk->reader, 0, LW_LOG_BLOCK, &block));
    bool whole = block != NULL &&
                 lw_log_segment_header_decode(block, &found, &format) == LW_LOG_HEADER_VALID;
    if (!whole || found.number != wanted->number || found.salt != wanted->salt) {
        return damaged(walk, "header");
    }
    walk->offset = LW_LOG_BLOCK;
    return LW_OK;
}

static LW_YIELDS lw_status read_batch(walking *walk, const lw_log_segment_header *segment,
                                      size_t *size) {
    lw_log_finding finding;
    lw_log_batch_header header;
    const uint8_t *bytes = NULL;
    LW_TRY(lw_log_reader_batch(&walk->reader, segment, walk->offset, &finding, &header, &bytes));
    lw_budget_share_set(&walk->share, walk->reader.capacity);
    bool whole =
        finding == LW_LOG_FOUND_BATCH && (walk->sequence == 0 || header.sequence == walk->sequence);
    if (!whole) {
        walk->ended = LW_BUG(walk->log->env, "scrub.skips_checksums");
        return walk->ended ? LW_OK : damaged(walk, "batch");
    }
    walk->sequence = header.sequence + 1;
    walk->offset += header.size;
    walk->ended = header.kind == LW_LOG_BATCH_CLOSE;
    *size = header.size;
    return LW_OK;
}

/* One piece, while the segment is held. Ended, too, once it has been let go. */
static LW_YIELDS lw_status read_piece(walking *walk, size_t *size) {
    lw_log *log = walk->log;
    lw_log_segment *segment = next_sealed(log, walk->number - 1, walk->number);
    *size = 0;
    walk->ended = segment == NULL;
    if (walk->ended) {
        LW_MARK(log->env, "log.scrubbed_segment_went");
        return LW_OK;
    }
    segment->readers++;
    lw_status status = walk->offset == 0 ? read_header(walk, &segment->header)
                                         : read_batch(walk, &segment->header, size);
    segment->readers--;
    lw_log_keep_poke(log);
    return status;
}

static LW_YIELDS lw_status walk_segment(walking *walk, lw_scrub_pause *pause, void *argument) {
    while (!walk->ended) {
        size_t size;
        if (walk->log->dead || walk->log->closing) {
            return lw_fail(LW_UNAVAILABLE, "the log %s is being closed", walk->log->directory);
        }
        LW_TRY(read_piece(walk, &size));
        if (size > 0 && !pause(argument, size)) {
            return lw_fail(LW_UNAVAILABLE, "the scrub was given up");
        }
    }
    return LW_OK;
}

lw_status lw_log_scrub(lw_log *log, uint64_t after, uint64_t last, lw_scrub_pause *pause,
                       void *argument, uint64_t *number) {
    const lw_log_segment *segment = next_sealed(log, after, last);
    if (segment == NULL) {
        return lw_fail(LW_NOT_FOUND, "no segment is left to be verified");
    }
    walking walk = {.log = log,
                    .number = segment->header.number,
                    .reader = lw_log_reader_in(log->env),
                    .share = lw_budget_share_in(log->share.budget, LW_BUDGET_BUFFERS)};
    *number = walk.number;
    LW_TRY(lw_log_segment_path(log->directory, walk.number, walk.path));
    walk.reader.piece_size = PIECE_SIZE;
    lw_status status = walk_segment(&walk, pause, argument);
    lw_error reason = *lw_error_slot();
    lw_log_reader_reset(&walk.reader);
    lw_budget_share_set(&walk.share, 0);
    if (status == LW_CORRUPTION) {
        LW_MARK(log->env, "log.scrub_found_damage");
    }
    *lw_error_slot() = reason;
    return status;
}
