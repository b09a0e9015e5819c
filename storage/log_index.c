/* SPDX-License-Identifier: Apache-2.0 */
/* Where entries are in the log, and which count. See log_index.h. */
#include "storage/log_index.h"

enum { RUNS_LEAST = 4 };

/* ---- what counts ---------------------------------------------------------------------------- */

void lw_log_trail_reset(lw_memory *memory, lw_log_trail *trail) {
    lw_free(memory, trail->runs);
    *trail = (lw_log_trail){0};
}

static void add_run(lw_memory *memory, lw_log_trail *trail, lw_log_run run) {
    if (trail->run_count == trail->run_capacity) {
        trail->run_capacity = trail->run_capacity == 0 ? RUNS_LEAST : 2 * trail->run_capacity;
        trail->runs = lw_reallocate(memory, trail->runs, trail->run_capacity * sizeof(lw_log_run));
    }
    trail->runs[trail->run_count++] = run;
}

static void cut(lw_log_trail *trail, uint64_t index) {
    while (trail->run_count > 0 && trail->runs[trail->run_count - 1].from >= index) {
        trail->run_count--;
    }
    trail->first = index < trail->first ? index : trail->first;
    trail->last = index - 1;
}

void lw_log_trail_append(lw_memory *memory, lw_log_trail *trail, uint64_t index, uint64_t term) {
    LW_ASSERT(index > 0);
    LW_ASSERT(lw_log_trail_takes(trail, index));
    if (!trail->known) {
        trail->known = true;
        trail->first = index;
    } else if (index <= trail->last) {
        cut(trail, index);
    }
    trail->last = index;
    if (trail->run_count == 0 || trail->runs[trail->run_count - 1].term != term) {
        add_run(memory, trail, (lw_log_run){.from = index, .term = term});
    }
}

void lw_log_trail_begin(lw_log_trail *trail, uint64_t index) {
    trail->known = true;
    trail->run_count = 0;
    trail->last = index;
    trail->first = index + 1;
}

void lw_log_trail_release(lw_log_trail *trail, uint64_t index) {
    if (!trail->known || index < trail->first) {
        return;
    }
    trail->first = index < trail->last ? index + 1 : trail->last + 1;
    uint32_t gone = 0;
    while (gone + 1 < trail->run_count && trail->runs[gone + 1].from <= trail->first) {
        gone++;
    }
    trail->run_count -= gone;
    if (gone > 0) {
        memmove(trail->runs, trail->runs + gone, trail->run_count * sizeof(lw_log_run));
    }
}

bool lw_log_trail_counts(const lw_log_trail *trail, uint64_t index, uint64_t term) {
    if (!trail->known || index < trail->first || index > trail->last) {
        return false;
    }
    uint32_t place = trail->run_count;
    while (place > 0 && trail->runs[place - 1].from > index) {
        place--;
    }
    return place > 0 && trail->runs[place - 1].term == term;
}

/* ---- where they are ------------------------------------------------------------------------- */

void lw_log_marks_add(lw_arena *arena, lw_log_marks *marks, uint64_t index, uint64_t offset,
                      uint64_t step, uint32_t *room) {
    LW_ASSERT(offset > 0);
    lw_log_mark *last = marks->last != NULL ? marks->last : &marks->first;
    LW_ASSERT(offset >= last->offset);
    if (last->offset == 0) {
        *last = (lw_log_mark){.index = index, .offset = offset};
    } else if (offset == last->offset) {
        last->index = index < last->index ? index : last->index;
    } else if (offset - last->offset >= step && *room > 0) {
        --*room;
        last->next = lw_arena_allocate(arena, sizeof(*last->next));
        *last->next = (lw_log_mark){.index = index, .offset = offset};
        marks->last = last->next;
    }
}

uint64_t lw_log_marks_find(const lw_log_marks *marks, uint64_t index) {
    uint64_t offset = 0;
    for (const lw_log_mark *mark = &marks->first; mark != NULL && mark->offset > 0;
         mark = mark->next) {
        offset = mark->index <= index ? mark->offset : offset;
    }
    return offset;
}
