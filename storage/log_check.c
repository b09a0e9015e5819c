/* SPDX-License-Identifier: Apache-2.0 */
/* The checker of a log that no process has open. The verdict is that of opening (log_recover.c);
 * where it is bad, all segments are read once more, past every fault, to say what else is wrong and
 * where: damaged headers, damaged batches, and sequences that are in none. */
#include "storage/log_state.h"

#include <inttypes.h>
#include <stdio.h>

/* A batch, or several in a row, that are not there; or one whose body is damaged. */
typedef struct gap {
    uint64_t first, last; /* sequences */
    uint64_t segment, offset;
    bool damaged; /* its header is there and its body is not */
} gap;

typedef struct checker {
    lw_log *log;
    lw_log_reader reader;
    lw_buffer *faults;
    lw_buffer gaps;                /* of struct gap, in order */
    uint64_t sequence, generation; /* of the last batch that was believed; 0: none yet */
    uint64_t mark_max;
    uint64_t fault_count;
} checker;

static void fault(checker *check, uint64_t segment, const char *what) {
    check->fault_count++;
    lw_buffer_print(check->faults, "%s/%016" PRIx64 ".log: %s\n", check->log->directory, segment,
                    what);
}

static void add_gap(checker *check, uint64_t first, const lw_log_batch_header *header,
                    bool damaged) {
    gap added = {.first = first,
                 .last = damaged ? header->sequence : header->sequence - 1,
                 .segment = header->segment,
                 .offset = header->offset,
                 .damaged = damaged};
    lw_buffer_append(&check->gaps, lw_view(&added, sizeof(added)));
}

/* A header that is intact and in its place. Those of an earlier opening, behind a place where the
 * log was cut, count for nothing. */
static void take_header(checker *check, const lw_log_batch_header *header, bool damaged) {
    if (header->generation < check->generation || header->sequence <= check->sequence) {
        return;
    }
    check->mark_max = header->mark > check->mark_max ? header->mark : check->mark_max;
    if (check->sequence != 0 && header->sequence > check->sequence + 1) {
        add_gap(check, check->sequence + 1, header, false);
    }
    if (damaged) {
        add_gap(check, header->sequence, header, true);
    }
    check->sequence = header->sequence;
    check->generation = header->generation;
}

static LW_YIELDS lw_status walk_batches(checker *check, const lw_log_segment_header *segment) {
    uint64_t offset = LW_LOG_BLOCK;
    while (offset < segment->size) {
        lw_log_finding finding;
        lw_log_batch_header header;
        const uint8_t *bytes = NULL;
        LW_TRY(lw_log_reader_batch(&check->reader, segment, offset, &finding, &header, &bytes));
        if (finding == LW_LOG_FOUND_NONE) {
            offset += LW_LOG_BLOCK;
            continue;
        }
        take_header(check, &header, finding == LW_LOG_FOUND_HEADER);
        offset += finding == LW_LOG_FOUND_BATCH ? header.size : LW_LOG_BLOCK;
    }
    return LW_OK;
}

/* A file whose header is of another number is a spare: what it holds means nothing. */
static LW_YIELDS lw_status walk_segment(checker *check, uint64_t number) {
    char path[LW_PATH_SIZE];
    lw_log_segment_header header;
    uint32_t format = 0;
    const uint8_t *block = NULL;
    LW_TRY(lw_log_segment_path(check->log->directory, number, path));
    LW_TRY(lw_log_reader_open(&check->reader, path, LW_OPEN_READ_ONLY));
    LW_TRY(lw_log_reader_view(&check->reader, 0, LW_LOG_BLOCK, &block));
    if (block == NULL ||
        lw_log_segment_header_decode(block, &header, &format) != LW_LOG_HEADER_VALID) {
        fault(check, number, "the header at offset 0 is missing or damaged");
        return LW_OK;
    }
    if (header.number != number) {
        return LW_OK;
    }
    if (header.size > check->reader.file_size) {
        fault(check, number, "the file is shorter than its header says");
        header.size = check->reader.file_size / LW_LOG_BLOCK * LW_LOG_BLOCK;
    }
    return walk_batches(check, &header);
}

static LW_YIELDS lw_status walk_log(checker *check) {
    lw_buffer names = lw_buffer_in(check->log->memory);
    uint64_t last = 0;
    lw_status status = lw_path_list(check->log->env, check->log->directory, &names);
    for (size_t at = 0; at < names.size && status == LW_OK;) {
        const char *name = (const char *)names.data + at;
        uint64_t number = lw_log_segment_number(name);
        if (number != 0 && last != 0 && number > last + 1) {
            fault(check, last + 1, "this segment is missing");
        }
        if (number != 0) {
            last = number;
            status = walk_segment(check, number);
        }
        at += strlen(name) + 1;
    }
    lw_buffer_reset(&names);
    return status;
}

/* Only what was durable can be missing: behind the last mark ends a log that was not closed. */
static void tell_gaps(checker *check) {
    const gap *gaps = (const gap *)(const void *)check->gaps.data;
    for (size_t index = 0; index < check->gaps.size / sizeof(gap); index++) {
        char what[LW_ERROR_TEXT_SIZE];
        const gap *one = &gaps[index];
        if (one->first > check->mark_max) {
            continue;
        }
        if (one->damaged) {
            (void)snprintf(what, sizeof(what),
                           "the batch at offset %" PRIu64 " (sequence %" PRIu64 ") is damaged",
                           one->offset, one->first);
        } else {
            (void)snprintf(what, sizeof(what),
                           "before offset %" PRIu64 " the batches %" PRIu64 " to %" PRIu64
                           " are damaged or missing",
                           one->offset, one->first, one->last);
        }
        fault(check, one->segment, what);
    }
}

static LW_YIELDS lw_status tell_everything(lw_log *log, lw_buffer *faults) {
    lw_error verdict = *lw_error_slot();
    checker check = {.log = log,
                     .reader = lw_log_reader_in(log->env),
                     .faults = faults,
                     .gaps = lw_buffer_in(log->memory)};
    lw_buffer_print(faults, "%s\n", verdict.text);
    lw_status status = walk_log(&check);
    if (status == LW_OK) {
        tell_gaps(&check);
    }
    lw_error cause = *lw_error_slot();
    lw_buffer_reset(&check.gaps);
    lw_log_reader_reset(&check.reader);
    return status == LW_OK ? lw_fail(LW_CORRUPTION, "%s", verdict.text)
                           : lw_fail(status, "%s", cause.text);
}

lw_status lw_log_check_judged(lw_log *log, lw_log_visit visit, void *argument, lw_buffer *faults) {
    lw_status status = lw_log_judge(log, visit, argument);
    return status == LW_CORRUPTION ? tell_everything(log, faults) : status;
}
