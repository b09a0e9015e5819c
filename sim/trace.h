/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated world remembers of its run: one hash over everything that happened, the last
 * notes for the report of a failure, and how often each coverage mark was reached.
 *
 * Invariants
 * 1. The hash covers time, host, kind, numbers, contents and outcome of every note, and nothing
 * that differs between two runs of one seed (no address, no unset byte).
 * 2. Marks outlive the node that reached them. Whether a rare path is active in a run, and how
 * often it is taken, follows from the seed and its name alone. */
#ifndef LW_SIM_TRACE_H
#define LW_SIM_TRACE_H

#include "base/hash.h"
#include "sim/fault.h"
#include "sim/place.h"

#include <stdio.h>

enum {
    LW_TRACE_NOTES = 256,     /* kept for reports */
    LW_TRACE_TEXT_SIZE = 256, /* bytes of a note's text, with the closing zero; more is cut */
    LW_TRACE_HOST_SIZE = 24,
};

/* One thing that happened. */
typedef struct lw_trace_event {
    uint64_t time_ns;
    const char *what; /* a constant */
    int32_t handle;   /* -1: none */
    uint64_t offset, size;
    uint64_t contents; /* a checksum of the bytes that moved, or 0 */
    lw_status status;
} lw_trace_event;

/* ... as it is kept. */
typedef struct lw_note {
    lw_trace_event event;
    char host[LW_TRACE_HOST_SIZE]; /* "" for the world's own */
    char text[LW_TRACE_TEXT_SIZE]; /* a path, an address, a log line */
} lw_note;

/* What is counted under one name: a mark, a rare path, a planted bug, or a fault of the world. */
typedef struct lw_mark {
    lw_map_node node;
    const char *name; /* a constant */
    lw_place_kind kind;
    uint64_t count;
    uint32_t rare_percent; /* how often the rare path is taken; 0: not in this run */
    lw_chance chance;      /* of the rare path */
    bool planted, passed;  /* of a planted bug: it is switched on; its place was passed */
} lw_mark;

typedef struct lw_trace {
    lw_memory *memory;
    uint64_t seed;
    uint64_t hash;
    uint64_t note_count;
    lw_note *notes; /* a ring of LW_TRACE_NOTES */
    FILE *file;     /* NULL, or where every note is written as it happens */
    lw_map marks;
    lw_mark **placed; /* by the number of the place; NULL: not come by yet */
    bool insists;     /* on some rare paths */
} lw_trace;

/* Lives in `memory` and goes with it. */
lw_trace lw_trace_in(lw_memory *memory, uint64_t seed);
/* Adds a note to the hash, the ring and the file. `host` and `text` may be NULL; all is copied. */
void lw_trace_note(lw_trace *trace, const lw_trace_event *event, const char *host,
                   const char *text);
/* Writes the last `count` notes, oldest first. */
void lw_trace_print(const lw_trace *trace, uint64_t count, FILE *to);
/* The head of a failure's report, and the last notes. */
void lw_trace_report(const lw_trace *trace, uint64_t now_ns, const lw_faults *faults, FILE *to);

/* The mark of this name, which is a constant; and counts one, by its place. */
const lw_mark *lw_trace_mark_of(lw_trace *trace, const char *name);
const lw_mark *lw_trace_mark(lw_trace *trace, const lw_place *place);
bool lw_trace_rare(lw_trace *trace, const lw_place *place);
/* From now on the rare path is not taken any more. */
void lw_trace_calm(lw_trace *trace, const char *name);
/* ... or is taken each time, by whoever asks this. */
void lw_trace_insist(lw_trace *trace, const char *name);
bool lw_trace_insisted(lw_trace *trace, const lw_place *place);
bool lw_trace_bug(lw_trace *trace, const lw_place *place);
/* In how many of a hundred cases the rare path of this name is taken in the run of a seed; 0: it is
 * not active there. */
uint32_t lw_trace_rare_percent(uint64_t seed, const char *name);
/* Counts what has no place in the code: a fault. */
void lw_trace_count(lw_trace *trace, const char *name, uint64_t times);
/* Switches a planted bug on. `name` outlives the trace. */
void lw_trace_plant(lw_trace *trace, const char *name);
/* How often a mark was reached. */
uint64_t lw_trace_marked(const lw_trace *trace, const char *name);
/* The marks that were reached, and the planted bugs whose place was passed, sorted by name: an
 * array that the caller frees with lw_free. */
const lw_mark **lw_trace_marks(const lw_trace *trace, size_t *count);

#endif
