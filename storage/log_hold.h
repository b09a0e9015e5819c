/* SPDX-License-Identifier: Apache-2.0 */
/* What holds segments: which groups have entries in a segment that they have not released, and
 * where the newest state of each group is. What a group has, and where, is noted on the way, for
 * reading it back. Memory only; nothing here suspends.
 *
 * Invariants
 * H1. segment->pins is the number of its notes with index_max above the group's released index.
 * H2. A group's state is the newest one appended, so that writing it again at any time is right.
 * H3. Groups are visited in the order of their first record in a segment, never in that of a hash
 *     table (hazard R17).
 * H4. No note has an index_max above the last entry of its group that counts, or above its BEGIN
 *     that is open: so who releases all it has holds nothing. */
#ifndef LW_LOG_HOLD_H
#define LW_LOG_HOLD_H

#include "base/hash.h"
#include "storage/log_format.h"
#include "storage/log_index.h"

/* What one group has in one segment. */
typedef struct lw_log_note {
    lw_map_node node;
    struct lw_log_note *next; /* in the order of their making */
    uint64_t group;
    uint64_t index_max; /* of its entries here, 0 if there are only states */
    lw_log_marks marks; /* of its entries here */
} lw_log_note;

typedef struct lw_log_segment {
    struct lw_log_segment *next; /* the newer one */
    lw_log_segment_header header;
    lw_handle file;         /* none when nothing is to be written any more */
    uint64_t offset;        /* where the next batch goes */
    uint64_t last_sequence; /* of the batches in it, 0 for none */
    uint32_t writes;        /* in flight */
    uint32_t pins;
    uint32_t readers;   /* who read it now: it stays, and so do all behind it */
    uint32_t mark_room; /* marks that may still be made */
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
    lw_log_trail trail;     /* what counts of its entries */
    bool beginning;         /* a BEGIN is open: */
    uint64_t begin_index;
    uint64_t begin_segment; /* the number of its segment; 0: in none yet */
    /* Where the last reading ended: entries from `read_next` on are from there on. */
    uint64_t read_next, read_segment, read_offset;
} lw_log_group;

typedef struct lw_log_holds {
    lw_memory *memory;
    lw_map groups;
    lw_log_group *recent;            /* the one that was looked for last, or NULL */
    lw_log_segment *oldest, *newest; /* the segments of the log */
    uint64_t segment_count, segment_bytes;
    size_t mark_size; /* bytes of marks, of all segments */
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

/* Whether a record may be appended: an entry leaves no gap. */
LW_MUST_USE bool lw_log_holds_takes(lw_log_holds *holds, const lw_log_record *record);
/* A record was appended; it is in no segment yet. True if it is an entry that replaces another. */
bool lw_log_holds_append(lw_log_holds *holds, const lw_log_record *record);
/* A record is in this segment now, in the batch at its offset; of several entries of a group the
 * one with the highest index, and the lowest one. */
void lw_log_holds_place(lw_log_holds *holds, lw_log_segment *segment, const lw_log_record *record,
                        uint64_t index_min);
/* The BEGIN that is open counts, or does not: see log.h. It is in a segment. */
void lw_log_holds_begun(lw_log_holds *holds, uint64_t group, bool counts);
/* The group, or NULL. */
lw_log_group *lw_log_holds_group(const lw_log_holds *holds, uint64_t group);
/* Where to look for an entry of a group that counts: it is in this batch or behind, in a segment
 * not below `least`. Its offset; 0: it is in no segment yet. */
uint64_t lw_log_holds_find(const lw_log_holds *holds, uint64_t group, uint64_t index,
                           uint64_t least, lw_log_segment **segment);
/* Entries up to `index` are needed no more; UINT64_MAX: neither is anything else of the group. */
void lw_log_holds_release(lw_log_holds *holds, uint64_t group, uint64_t index);
/* Bytes of segments before the newest that would stay for the group alone: from the first that it
 * pins on, since segments go in order. */
uint64_t lw_log_holds_pinned(const lw_log_holds *holds, uint64_t group);
/* The number of the first segment that entries or readers hold, or else of the newest. */
uint64_t lw_log_holds_first(const lw_log_holds *holds);
/* The state of the group of `note`, if the newest one is in this segment, else NULL. */
const lw_log_record *lw_log_holds_state(const lw_log_holds *holds, const lw_log_segment *segment,
                                        const lw_log_note *note);
/* Counts everything again and asserts H1 and H4. For tests and simulation: it visits every note. */
void lw_log_holds_check(const lw_log_holds *holds);

#endif
