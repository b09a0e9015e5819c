/* SPDX-License-Identifier: Apache-2.0 */
/* The agenda of a simulated world: what happens next. A binary heap of events that live in the
 * structs of their owners; nothing is allocated per event.
 *
 * Invariants
 * 1. Events run in the order of (time, sequence); the sequence is given when an event is added, so
 *    that of two at one time the one that was added first runs first. No address decides anything.
 * 2. The time of the agenda never goes back. An event added in the past runs now. */
#ifndef LW_SIM_AGENDA_H
#define LW_SIM_AGENDA_H

#include "base/bytes.h"

typedef struct lw_agenda_event {
    void (*run)(struct lw_agenda_event *event);
    void *owner;
    size_t place; /* in the heap, from 1; 0: not on the agenda */
} lw_agenda_event;

/* When an event is due: in the heap, where events are compared, and not with their owners. */
typedef struct lw_agenda_entry {
    uint64_t time_ns, sequence;
    lw_agenda_event *event;
} lw_agenda_entry;

typedef struct lw_agenda {
    lw_memory *memory;
    lw_agenda_entry *heap; /* from 1 */
    size_t count, capacity;
    uint64_t now_ns;
    uint64_t sequence; /* of the last event added */
} lw_agenda;

static inline lw_agenda lw_agenda_in(lw_memory *memory, uint64_t now_ns) {
    return (lw_agenda){.memory = memory, .now_ns = now_ns};
}
static inline bool lw_agenda_has(const lw_agenda_event *event) {
    return event->place != 0;
}
/* Adds an event that is not on the agenda; `run` and `owner` are set by its owner. */
void lw_agenda_add(lw_agenda *agenda, lw_agenda_event *event, uint64_t time_ns);
/* Takes an event off; nothing happens if it is not on the agenda. */
void lw_agenda_remove(lw_agenda *agenda, lw_agenda_event *event);
/* The next event, or NULL. */
static inline lw_agenda_event *lw_agenda_first(const lw_agenda *agenda) {
    return agenda->count == 0 ? NULL : agenda->heap[1].event;
}
/* When it is due; UINT64_MAX if there is none. */
static inline uint64_t lw_agenda_due(const lw_agenda *agenda) {
    return agenda->count == 0 ? UINT64_MAX : agenda->heap[1].time_ns;
}
/* Takes the next event off, moves the time to it and runs it. False if there is none. */
bool lw_agenda_step(lw_agenda *agenda);

#endif
