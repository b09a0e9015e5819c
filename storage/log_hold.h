/* SPDX-License-Identifier: Apache-2.0 */
/* What holds segments: which groups have entries in a segment that they have not released, and
 * where the newest state of each group is. Memory only; nothing here suspends.
 *
 * Invariants
 * H1. segment->pins is the number of its notes with index_max above the group's released index.
 * H2. A group's state is the newest one appended, so that writing it again at any time is right.
 * H3. Groups are visited in the order of their first record in a segment, never in that of a hash
 *     table (hazard R17). */
#ifndef LW_LOG_HOLD_H
#define LW_LOG_HOLD_H

#include "base/map.h"
#include "storage/log_format.h"

/* What one group has in one segment. */
typedef struct lw_log_note {
    lw_map_node node;
    struct lw_log_note *next; /* in the order of their making */
    uint64_t group;
    uint64_t index_max; /* of its entries here, 0 if there are only states */
} lw_log_note;

typedef struct lw_log_segment {
    struct lw_log_segment *next; /* the newer one */
    lw_log_segment_header header;
    lw_handle file;         /* none when nothing is to be written any more */
    uint64_t offset;        /* where the next batch goes */
    uint64_t last_sequence; /* of the batches in it, 0 for none */
    uint32_t writes;        /* in flight */
    uint32_t pins;
    lw_map notes;
    lw_arena arena; /* of the notes */
    lw_log_note *first_note, *last_note;
} lw_log_segment;

enum { LW_LOG_STATE_NONE = 0 };
#define LW_LOG_STATE_PENDING UINT64_MAX

typedef struct lw_log_group {
    lw_map_node node;
    uint64_t group;
    uint64_t released;
    uint64_t state_segment; /* its number; LW_LOG_STATE_NONE, or _PENDING until it is in one */
    lw_log_record state;    /* owns the payload */
} lw_log_group;

typedef struct lw_log_holds {
    lw_memory *memory;
    lw_map groups;
    lw_log_group *recent;            /* the one that was looked for last, or NULL */
    lw_log_segment *oldest, *newest; /* the segments of the log */
    uint64_t segment_count, segment_bytes;
} lw_log_holds;

static inline lw_log_holds lw_log_holds_in(lw_memory *memory) {
    return (lw_log_holds){.memory = memory, .groups = lw_map_in(memory)};
}
/* Frees all segments and groups; their files are the caller's. */
void lw_log_holds_reset(lw_log_holds *holds);

lw_log_segment *lw_log_segment_make(lw_memory *memory, const lw_log_segment_header *header);
void lw_log_segment_free(lw_memory *memory, lw_log_segment *segment);
/* Adds the newest segment; takes out the oldest one. */
void lw_log_holds_push(lw_log_holds *holds, lw_log_segment *segment);
lw_log_segment *lw_log_holds_shift(lw_log_holds *holds);

/* A record was appended; it is in no segment yet. */
void lw_log_holds_append(lw_log_holds *holds, const lw_log_record *record);
/* A record is in this segment now. */
void lw_log_holds_place(lw_log_holds *holds, lw_log_segment *segment, const lw_log_record *record);
/* Entries up to `index` are needed no more; UINT64_MAX: neither is anything else of the group. */
void lw_log_holds_release(lw_log_holds *holds, uint64_t group, uint64_t index);
/* Bytes of segments before the newest that would stay for the group alone: from the first that it
 * pins on, since segments go in order. */
uint64_t lw_log_holds_pinned(const lw_log_holds *holds, uint64_t group);
/* The number of the first segment that entries hold, or else of the newest. */
uint64_t lw_log_holds_first(const lw_log_holds *holds);
/* The state of the group of `note`, if the newest one is in this segment, else NULL. */
const lw_log_record *lw_log_holds_state(const lw_log_holds *holds, const lw_log_segment *segment,
                                        const lw_log_note *note);
/* Counts everything again and asserts H1. For tests and simulation: it visits every note. */
void lw_log_holds_check(const lw_log_holds *holds);

#endif
