/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a log: reads what survived in order, and decides at the first hole.
 *
 * A hole is a place where the next batch should stand and no whole batch of the next sequence, of a
 * generation not below the last, does. The log ends there if nothing that lies behind vouches for
 * the missing batch; what lies behind is then a tail that nobody was told is durable. It is
 * corruption if the header of any batch behind, in this segment or a later one, carries a durable
 * mark at or above the missing sequence (hazards R16, S3).
 *
 * Why a cut tail stays cut. At the cut every header behind has a mark below the missing sequence,
 * and a generation that recovery has seen. The next opening writes a batch of a higher generation
 * at the cut, alone, before any other; until that is durable nothing has changed and the next
 * recovery cuts at the same place. Once it is durable, a batch behind it must not be of a lower
 * generation, so none of the old tail is believed; and later holes have higher sequences, so none
 * of the old marks vouches for one. Segments behind the cut get a new salt before they are used
 * again.
 *
 * What cannot be told: damage to the very last batch of a log that was not closed, and for which no
 * later one vouches, looks like a torn write, and is cut. A closed log ends in a batch without
 * records that vouches for all others. */
#include "storage/log_state.h"

#include <inttypes.h>

/* Where a batch stands. */
typedef struct place {
    uint64_t sequence, segment, offset;
    uint32_t size;
} place;

typedef struct recovery {
    lw_log *log;
    lw_log_visit visit;
    void *argument;
    lw_log_reader reader;
    char path[LW_PATH_SIZE]; /* of the segment that the reader has open */
    uint64_t *numbers;       /* of the segment files, ascending */
    size_t number_count;
    size_t index;             /* in numbers, of the segment that is being read */
    uint64_t sequence;        /* that the next batch should have; 0: any, before the first */
    uint64_t generation_last; /* of the last batch that was believed */
    uint64_t generation_max;  /* of any header */
    uint64_t mark_max, oldest_max;
    lw_decompressor *decompressor;
    lw_buffer plain;     /* the records of a packed batch */
    lw_buffer unvouched; /* places of the batches above mark_max, ascending */
    bool check_only;     /* change nothing */
    bool tail;           /* there was something behind the hole */
} recovery;

/* ---- files ----------------------------------------------------------------------------------- */

static LW_YIELDS lw_status remove_unfinished(recovery *state, const char *name) {
    LW_TRY(lw_path_join(state->path, state->log->directory, name));
    LW_MARK(state->log->env, "log.unfinished_removed");
    return lw_path_unlink(state->log->env, state->path);
}

static LW_YIELDS lw_status list_segments(recovery *state) {
    lw_log *log = state->log;
    lw_buffer names = lw_buffer_in(log->memory);
    lw_status status = lw_path_list(log->env, log->directory, &names);
    state->numbers = lw_allocate(log->memory, (names.size / 2 + 1) * sizeof(uint64_t));
    /* Names of 16 digits sort as their numbers do. */
    for (size_t at = 0; at < names.size && status == LW_OK;) {
        const char *name = (const char *)names.data + at;
        uint64_t number = lw_log_segment_number(name);
        if (number != 0) {
            state->numbers[state->number_count++] = number;
        } else if (lw_log_segment_unfinished(name) && !state->check_only) {
            status = remove_unfinished(state, name);
        }
        at += strlen(name) + 1;
    }
    lw_buffer_reset(&names);
    return status;
}

/* Opens segment file `number` and reads its header, which may be that of another number: then it
 * only says what the file was before it was given this name. */
static LW_YIELDS lw_status open_segment(recovery *state, uint64_t number,
                                        lw_log_header_state *header_state,
                                        lw_log_segment_header *header) {
    LW_TRY(lw_log_segment_path(state->log->directory, number, state->path));
    LW_TRY(lw_log_reader_open(&state->reader, state->path, 0));
    const uint8_t *block = NULL;
    LW_TRY(lw_log_reader_view(&state->reader, 0, LW_LOG_BLOCK, &block));
    *header_state = LW_LOG_HEADER_DAMAGED;
    uint32_t format = 0;
    if (block != NULL) {
        *header_state = lw_log_segment_header_decode(block, header, &format);
    }
    if (*header_state == LW_LOG_HEADER_NEWER) {
        return lw_fail(LW_REFUSED,
                       "%s has format %" PRIu32 ", this program knows formats up to %d: start the "
                       "newer version of Lathwork that wrote it",
                       state->path, format, LW_LOG_FORMAT);
    }
    if (*header_state == LW_LOG_HEADER_VALID && header->number == number &&
        header->size > state->reader.file_size) {
        *header_state = LW_LOG_HEADER_DAMAGED;
    }
    return LW_OK;
}

static lw_status damaged_header(const recovery *state) {
    return lw_fail(LW_CORRUPTION,
                   "%s: the header at offset 0 is missing or damaged, and the segment is needed: "
                   "restore this node from a backup, or remove it and let its peers replace it",
                   state->path);
}

/* ---- batches in order ------------------------------------------------------------------------ */

/* Hands a record on, or passes over one that does not count. */
static lw_status replay_record(recovery *state, lw_log_segment *segment,
                               const lw_log_record *record) {
    lw_log *log = state->log;
    bool asked = record->kind == LW_LOG_BEGIN && log->begins != NULL;
    if (asked && !log->begins(state->argument, record->group, record->index)) {
        LW_MARK(log->env, "log.begin_passed_over");
        return LW_OK;
    }
    if (!lw_log_holds_takes(&log->holds, record)) {
        return lw_fail(LW_CORRUPTION,
                       "%s: entry %" PRIu64 " of group %" PRIu64
                       " does not follow on the one before it, though all checksums are right: "
                       "please report this",
                       state->path, record->index, record->group);
    }
    (void)lw_log_holds_append(&log->holds, record);
    lw_log_holds_place(&log->holds, segment, record, record->index);
    if (record->kind == LW_LOG_BEGIN) {
        lw_log_holds_begun(&log->holds, record->group, true);
    }
    return state->visit(state->argument, record);
}

/* Hands the records of a batch on. */
static LW_YIELDS lw_status replay(recovery *state, lw_log_segment *segment,
                                  const lw_log_batch_header *header, const uint8_t *bytes) {
    lw_bytes rest;
    if (!lw_log_unpack(header, bytes, state->decompressor, &state->plain, &rest)) {
        return lw_fail(LW_CORRUPTION,
                       "%s: the batch at offset %" PRIu64
                       " cannot be decompressed though its checksum is right: please report this",
                       state->path, header->offset);
    }
    for (uint32_t index = 0; index < header->record_count; index++) {
        lw_log_record record;
        if (!lw_log_record_take(&rest, &record)) {
            return lw_fail(LW_CORRUPTION,
                           "%s: record %" PRIu32 " of the batch at offset %" PRIu64
                           " cannot be read though its checksum is right: please report this",
                           state->path, index, header->offset);
        }
        LW_TRY(replay_record(state, segment, &record));
    }
    lw_log_charge_index(state->log);
    return LW_OK;
}

static bool continues_log(const recovery *state, const lw_log_batch_header *header) {
    return (state->sequence == 0 || header->sequence == state->sequence) &&
           header->generation >= state->generation_last;
}

/* Remembers where the batch stands, until a later one vouches for it. */
static void remember_place(recovery *state, const lw_log_batch_header *header) {
    place *places = (place *)(void *)state->unvouched.data;
    size_t count = state->unvouched.size / sizeof(place);
    size_t kept = 0;
    for (size_t index = 0; index < count; index++) {
        if (places[index].sequence > header->mark) {
            places[kept++] = places[index];
        }
    }
    state->unvouched.size = kept * sizeof(place);
    place added = {.sequence = header->sequence,
                   .segment = header->segment,
                   .offset = header->offset,
                   .size = header->size};
    lw_buffer_append(&state->unvouched, lw_view(&added, sizeof(added)));
}

/* Reads one segment up to its close (`*closed`) or to the hole, which is at segment->offset. */
static LW_YIELDS lw_status read_segment(recovery *state, lw_log_segment *segment, bool *closed) {
    *closed = false;
    while (segment->offset < segment->header.size && !*closed) {
        lw_log_finding finding;
        lw_log_batch_header header;
        const uint8_t *bytes = NULL;
        LW_TRY(lw_log_reader_batch(&state->reader, &segment->header, segment->offset, &finding,
                                   &header, &bytes));
        if (finding != LW_LOG_FOUND_BATCH || !continues_log(state, &header)) {
            break;
        }
        LW_TRY(replay(state, segment, &header, bytes));
        remember_place(state, &header);
        state->sequence = header.sequence + 1;
        state->generation_last = header.generation;
        state->generation_max = header.generation;
        state->mark_max = header.mark;
        state->oldest_max = header.oldest;
        segment->last_sequence = header.sequence;
        segment->offset += header.size;
        *closed = header.kind == LW_LOG_BATCH_CLOSE;
    }
    return LW_OK;
}

/* ---- what lies behind the hole --------------------------------------------------------------- */

static lw_status hole_is_damage(const recovery *state, const lw_log_batch_header *witness) {
    const lw_log_segment *segment = state->log->holds.newest;
    char path[LW_PATH_SIZE];
    LW_TRY(lw_log_segment_path(state->log->directory, segment->header.number, path));
    return lw_fail(LW_CORRUPTION,
                   "%s: the batch at offset %" PRIu64 " is damaged or missing, and was durable, as "
                   "the one at offset %" PRIu64 " of segment %" PRIu64
                   " shows: restore this node from a backup, or remove it and let its peers "
                   "replace it",
                   path, segment->offset, witness->offset, witness->segment);
}

/* A batch in the place of another: what was there is lost, and may have been acknowledged, even if
 * nothing is left that vouches for it (hazard S14). */
static LW_YIELDS lw_status refuse_displaced(recovery *state, const lw_log_segment_header *segment,
                                            uint64_t offset) {
    const uint8_t *block = NULL;
    uint64_t belongs = 0;
    LW_TRY(lw_log_reader_view(&state->reader, offset, LW_LOG_BLOCK, &block));
    if (block == NULL || !lw_log_batch_displaced(block, segment, offset, &belongs)) {
        return LW_OK;
    }
    return lw_fail(LW_CORRUPTION,
                   "%s: at offset %" PRIu64 " stands the batch of offset %" PRIu64
                   ", written to the wrong place: restore this node from a backup, or remove it "
                   "and let its peers replace it",
                   state->path, offset, belongs);
}

/* Looks through the open segment from `offset` on for headers that vouch for the missing batch. */
static LW_YIELDS lw_status search_behind(recovery *state, const lw_log_segment_header *segment,
                                         uint64_t offset) {
    for (; offset < segment->size; offset += LW_LOG_BLOCK) {
        bool found = false;
        lw_log_batch_header header;
        LW_TRY(lw_log_reader_header(&state->reader, segment, offset, &found, &header));
        if (!found) {
            LW_TRY(refuse_displaced(state, segment, offset));
            continue;
        }
        state->tail = true;
        if (header.generation > state->generation_max) {
            state->generation_max = header.generation;
        }
        if (header.mark >= state->sequence && !LW_BUG(state->log->env, "log.ignore_durable_mark")) {
            return hole_is_damage(state, &header);
        }
    }
    return LW_OK;
}

static LW_YIELDS lw_status search_later_segments(recovery *state) {
    for (size_t index = state->index + 1; index < state->number_count; index++) {
        lw_log_header_state header_state;
        lw_log_segment_header header;
        LW_TRY(open_segment(state, state->numbers[index], &header_state, &header));
        if (header_state == LW_LOG_HEADER_VALID && header.number == state->numbers[index]) {
            LW_TRY(search_behind(state, &header, LW_LOG_BLOCK));
        }
    }
    return LW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Reads all segments that belong to the log into log->holds. None if there is no log yet. */
static LW_YIELDS lw_status read_log(recovery *state) {
    lw_log *log = state->log;
    bool closed = true;
    state->sequence = state->number_count > 0 && state->numbers[0] > 1 ? 0 : 1;
    for (state->index = 0; state->index < state->number_count; state->index++) {
        uint64_t number = state->numbers[state->index];
        if (log->holds.newest != NULL && number != log->holds.newest->header.number + 1) {
            break;
        }
        lw_log_header_state header_state;
        lw_log_segment_header header;
        LW_TRY(open_segment(state, number, &header_state, &header));
        if (header_state != LW_LOG_HEADER_VALID || header.number != number) {
            return damaged_header(state);
        }
        lw_log_segment *segment = lw_log_segment_make(log->memory, &header);
        lw_log_holds_push(&log->holds, segment);
        LW_TRY(read_segment(state, segment, &closed));
        if (!closed) {
            return LW_OK;
        }
    }
    if (closed && log->holds.newest != NULL) {
        return lw_fail(LW_CORRUPTION,
                       "the log %s is incomplete: segment %" PRIu64
                       " is missing, though the one before it was closed: restore this node from "
                       "a backup, or remove it and let its peers replace it",
                       log->directory, log->holds.newest->header.number + 1);
    }
    return LW_OK;
}

/* Cuts or refuses. The reader still has the newest segment open. */
static LW_YIELDS lw_status judge_hole(recovery *state) {
    lw_log *log = state->log;
    const lw_log_segment *newest = log->holds.newest;
    char newest_path[LW_PATH_SIZE];
    LW_TRY(lw_log_segment_path(log->directory, newest->header.number, newest_path));
    if (state->sequence == 0) {
        return lw_fail(LW_CORRUPTION,
                       "%s: the first batch, at offset %" PRIu64 ", is damaged or missing: restore "
                       "this node from a backup, or remove it and let its peers replace it",
                       state->path, newest->offset);
    }
    LW_TRY(search_behind(state, &newest->header, newest->offset));
    LW_TRY(search_later_segments(state));
    if (newest->header.size - newest->offset < LW_LOG_BLOCK) {
        return lw_fail(LW_CORRUPTION,
                       "%s is full at offset %" PRIu64 " and was not closed, which is never done: "
                       "restore this node from a backup, or remove it and let its peers replace it",
                       newest_path, newest->offset);
    }
    /* Only now: where a batch is damaged, those that say which segments were let go may be behind
     * it. */
    uint64_t lowest = log->holds.oldest->header.number;
    if (lowest > 1 && state->oldest_max < lowest) {
        return lw_fail(LW_CORRUPTION,
                       "the log %s is incomplete: segments %" PRIu64 " to %" PRIu64
                       " are missing: restore this node from a backup, or remove it and let its "
                       "peers replace it",
                       log->directory, state->oldest_max, lowest - 1);
    }
    if (state->tail) {
        LW_MARK(log->env, "log.tail_cut");
    }
    return LW_OK;
}

/* Writes `size` bytes of the open segment file again, as they are. */
static LW_YIELDS lw_status write_again(recovery *state, uint64_t offset, size_t size) {
    const uint8_t *bytes = NULL;
    LW_TRY(lw_log_reader_view(&state->reader, offset, size, &bytes));
    if (bytes == NULL) {
        return lw_fail(LW_INTERNAL, "%s became shorter while it was read: restart the node",
                       state->path);
    }
    return lw_file_write(state->log->env, state->reader.file, offset, lw_view(bytes, size),
                         LW_WRITE_DURABLE);
}

/* Nothing vouches for the last batches that were read: they may be in a cache only, and the pages
 * of a write that failed may even count as clean, so that no sync would write them (hazard S4).
 * They are written again, since the caller acts on them. Opens the newest segment for writing. */
static LW_YIELDS lw_status make_durable(recovery *state) {
    lw_log *log = state->log;
    const place *places = (const place *)(const void *)state->unvouched.data;
    uint64_t open = 0;
    for (size_t index = 0; index < state->unvouched.size / sizeof(place); index++) {
        lw_log_header_state header_state;
        lw_log_segment_header header;
        if (places[index].segment != open) {
            LW_TRY(open_segment(state, places[index].segment, &header_state, &header));
            LW_TRY(write_again(state, 0, LW_LOG_BLOCK));
            open = places[index].segment;
        }
        LW_TRY(write_again(state, places[index].offset, places[index].size));
    }
    LW_TRY(lw_path_sync_directory(log->env, log->directory));
    lw_log_segment *newest = log->holds.newest;
    if (open != newest->header.number) {
        lw_log_header_state header_state;
        lw_log_segment_header header;
        LW_TRY(open_segment(state, newest->header.number, &header_state, &header));
        LW_TRY(write_again(state, 0, LW_LOG_BLOCK));
    }
    newest->file = lw_log_reader_release(&state->reader);
    return LW_OK;
}

/* Files above the newest segment become spares, if they can be, or are removed. */
static LW_YIELDS lw_status sort_out_files(recovery *state) {
    lw_log *log = state->log;
    uint64_t newest = log->holds.newest != NULL ? log->holds.newest->header.number : 0;
    log->file_last = newest;
    for (size_t index = 0; index < state->number_count; index++) {
        uint64_t number = state->numbers[index];
        if (number <= newest) {
            continue;
        }
        lw_log_header_state header_state;
        lw_log_segment_header header = {0};
        LW_TRY(open_segment(state, number, &header_state, &header));
        if (header_state == LW_LOG_HEADER_VALID && header.size == log->segment_size &&
            state->reader.file_size == header.size && number == log->file_last + 1 &&
            number <= newest + 1 + LW_LOG_SPARES_MAX && newest > 0) {
            log->file_last = number;
        } else {
            LW_TRY(lw_log_segment_remove(log->env, log->directory, number));
            LW_MARK(log->env, "log.leftover_removed");
        }
    }
    return LW_OK;
}

static LW_YIELDS lw_status recover(recovery *state) {
    lw_log *log = state->log;
    LW_TRY(list_segments(state));
    LW_TRY(read_log(state));
    if (log->holds.newest != NULL) {
        LW_TRY(judge_hole(state));
    }
    if (state->check_only) {
        return LW_OK;
    }
    if (log->holds.newest != NULL) {
        LW_TRY(make_durable(state));
    }
    LW_TRY(sort_out_files(state));
    log->sequence_next = state->sequence;
    log->sequence_durable = state->sequence - 1;
    if (log->holds.newest != NULL) {
        log->durable_segment = log->holds.newest->header.number;
        log->durable_offset = log->holds.newest->offset;
    }
    log->generation = state->generation_max + 1;
    if (LW_BUG(log->env, "log.no_generation") && state->generation_max > 0) {
        log->generation = state->generation_max;
    }
    log->oldest_needed = log->holds.oldest != NULL ? log->holds.oldest->header.number : 1;
    log->figures.replayed_bytes = state->reader.total_bytes;
    return LW_OK;
}

static LW_YIELDS lw_status run(lw_log *log, lw_log_visit visit, void *argument, bool check_only) {
    recovery state = {.log = log,
                      .visit = visit,
                      .argument = argument,
                      .check_only = check_only,
                      .reader = lw_log_reader_in(log->env),
                      .decompressor = lw_decompressor_open(log->memory),
                      .plain = lw_buffer_in(log->memory),
                      .unvouched = lw_buffer_in(log->memory)};
    lw_status status = recover(&state);
    lw_error cause = *lw_error_slot();
    lw_log_reader_reset(&state.reader);
    lw_decompressor_close(state.decompressor);
    lw_buffer_reset(&state.plain);
    lw_buffer_reset(&state.unvouched);
    lw_free(log->memory, state.numbers);
    return status == LW_OK ? LW_OK : lw_fail(cause.status, "%s", cause.text);
}

lw_status lw_log_recover(lw_log *log, lw_log_visit visit, void *argument) {
    return run(log, visit, argument, false);
}

/* Records are not looked into: that is their group's business. */
static lw_status pass_over(void *argument, const lw_log_record *record) {
    (void)argument;
    (void)record;
    return LW_OK;
}

lw_status lw_log_judge(lw_log *log, lw_log_visit visit, void *argument) {
    return run(log, visit != NULL ? visit : pass_over, argument, true);
}
