/* SPDX-License-Identifier: Apache-2.0 */
/* The heap behind the agenda. */
#include "sim/agenda.h"

static bool before(const lw_agenda_entry *one, const lw_agenda_entry *other) {
    if (one->time_ns != other->time_ns) {
        return one->time_ns < other->time_ns;
    }
    return one->sequence < other->sequence;
}

static void put(lw_agenda *agenda, size_t place, const lw_agenda_entry *entry) {
    agenda->heap[place] = *entry;
    entry->event->place = place;
}

/* Puts an entry into a place that is free, or above it. */
static void rise(lw_agenda *agenda, size_t place, lw_agenda_entry entry) {
    while (place > 1 && before(&entry, &agenda->heap[place / 2])) {
        put(agenda, place, &agenda->heap[place / 2]);
        place /= 2;
    }
    put(agenda, place, &entry);
}

/* ... or below it. */
static void sink(lw_agenda *agenda, size_t place, lw_agenda_entry entry) {
    for (;;) {
        size_t child = place * 2;
        if (child < agenda->count && before(&agenda->heap[child + 1], &agenda->heap[child])) {
            child++;
        }
        if (child > agenda->count || before(&entry, &agenda->heap[child])) {
            break;
        }
        put(agenda, place, &agenda->heap[child]);
        place = child;
    }
    put(agenda, place, &entry);
}

void lw_agenda_add(lw_agenda *agenda, lw_agenda_event *event, uint64_t time_ns) {
    LW_ASSERT(!lw_agenda_has(event));
    LW_ASSERT(event->run != NULL);
    if (agenda->count + 1 >= agenda->capacity) {
        agenda->capacity = agenda->capacity == 0 ? 64 : agenda->capacity * 2;
        agenda->heap =
            lw_reallocate(agenda->memory, agenda->heap, agenda->capacity * sizeof(*agenda->heap));
    }
    lw_agenda_entry entry = {.time_ns = time_ns > agenda->now_ns ? time_ns : agenda->now_ns,
                             .sequence = ++agenda->sequence,
                             .event = event};
    rise(agenda, ++agenda->count, entry);
}

void lw_agenda_remove(lw_agenda *agenda, lw_agenda_event *event) {
    if (!lw_agenda_has(event)) {
        return;
    }
    size_t place = event->place;
    LW_ASSERT(place <= agenda->count && agenda->heap[place].event == event);
    lw_agenda_entry last = agenda->heap[agenda->count];
    agenda->count--;
    event->place = 0;
    if (last.event == event) {
        return;
    }
    if (place > 1 && before(&last, &agenda->heap[place / 2])) {
        rise(agenda, place, last);
    } else {
        sink(agenda, place, last);
    }
}

bool lw_agenda_step(lw_agenda *agenda) {
    lw_agenda_event *event = lw_agenda_first(agenda);
    if (event == NULL) {
        return false;
    }
    uint64_t time_ns = lw_agenda_due(agenda);
    lw_agenda_remove(agenda, event);
    LW_ASSERT(time_ns >= agenda->now_ns);
    agenda->now_ns = time_ns;
    event->run(event);
    return true;
}
