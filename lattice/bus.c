/* SPDX-License-Identifier: Apache-2.0 */
/* What every bus has in common, and the bus that is none. */
#include "lattice/bus.h"

#include <stdio.h>

enum { SPEAKERS_MAX = 4096 };

typedef struct lw_bus_speaker {
    uint64_t node;
    uint64_t incarnation;
    uint64_t sequence;
    uint32_t round; /* in which it spoke last */
} lw_bus_speaker;

/* ---- any bus -------------------------------------------------------------------------------- */

void lw_bus_publish(lw_bus *bus, lw_bus_kind kind, uint64_t node, lw_bytes body) {
    LW_ASSERT(lw_bus_kind_name(kind) != NULL);
    bool taken = body.size <= LW_BUS_BODY_SIZE_MAX && bus->world->publish(bus, kind, node, body);
    bus->figures.published += taken;
    bus->figures.unpublished += !taken;
}

void lw_bus_set_routes(lw_bus *bus, const char *const *addresses, uint32_t count) {
    LW_ASSERT(count <= LW_BUS_ROUTES_MAX);
    bus->world->set_routes(bus, addresses, count);
}

LW_YIELDS void lw_bus_close(lw_bus *bus) {
    bus->world->end(bus);
}

const char *lw_bus_state_name(lw_bus_state state) {
    static const char *const names[] = {
        [LW_BUS_NONE] = "none",
        [LW_BUS_STARTING] = "starting",
        [LW_BUS_UP] = "up",
        [LW_BUS_DEGRADED] = "degraded",
    };
    LW_ASSERT((size_t)state < sizeof(names) / sizeof(names[0]));
    return names[state];
}

const char *lw_bus_kind_name(lw_bus_kind kind) {
    static const char *const names[LW_BUS_KIND_LAST + 1] = {
        [LW_BUS_HEARTBEAT] = "hb", [LW_BUS_SHARDS] = "sh", [LW_BUS_ASK] = "ask",
        [LW_BUS_ANSWER] = "ans",   [LW_BUS_EVENT] = "ev",
    };
    return (uint32_t)kind <= LW_BUS_KIND_LAST ? names[kind] : NULL;
}

void lw_bus_set_state(lw_bus *bus, const lw_bus_options *options, lw_bus_state state,
                      const char *reason) {
    const char *text = state == LW_BUS_DEGRADED && reason != NULL ? reason : "";
    if (bus->state == state && strncmp(bus->reason, text, sizeof(bus->reason) - 1) == 0) {
        return;
    }
    bus->figures.connects += state == LW_BUS_UP && bus->state != LW_BUS_UP;
    bus->state = state;
    (void)snprintf(bus->reason, sizeof(bus->reason), "%s", text);
    if (options->changed != NULL) {
        options->changed(options->argument);
    }
}

/* ---- who was heard -------------------------------------------------------------------------- */

void lw_bus_heard_reset(lw_bus_heard *heard) {
    lw_free(heard->memory, heard->speakers);
    *heard = lw_bus_heard_in(heard->memory);
}

/* The first speaker whose id is not below `node`. */
static uint32_t find_speaker(const lw_bus_heard *heard, uint64_t node) {
    uint32_t low = 0, high = heard->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (heard->speakers[middle].node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void add_speaker(lw_bus_heard *heard, uint32_t place, lw_bus_speaker added) {
    if (heard->count == heard->capacity) {
        heard->capacity = heard->capacity == 0 ? 8 : heard->capacity * 2;
        heard->speakers = lw_reallocate(heard->memory, heard->speakers,
                                        heard->capacity * sizeof(*heard->speakers));
    }
    memmove(heard->speakers + place + 1, heard->speakers + place,
            (heard->count - place) * sizeof(*heard->speakers));
    heard->speakers[place] = added;
    heard->count++;
}

bool lw_bus_hear(lw_bus_heard *heard, uint64_t node, uint64_t incarnation, uint64_t sequence) {
    lw_bus_speaker now = {
        .node = node, .incarnation = incarnation, .sequence = sequence, .round = heard->round};
    uint32_t place = find_speaker(heard, node);
    if (place == heard->count || heard->speakers[place].node != node) {
        if (heard->count == SPEAKERS_MAX) {
            return false;
        }
        add_speaker(heard, place, now);
        heard->round_count++;
        return true;
    }
    lw_bus_speaker *last = &heard->speakers[place];
    bool newer = incarnation != last->incarnation ? incarnation > last->incarnation
                                                  : sequence > last->sequence;
    if (newer) {
        heard->round_count += last->round != heard->round;
        *last = now;
    }
    return newer;
}

uint32_t lw_bus_heard_lately(lw_bus_heard *heard) {
    uint32_t count = heard->round_count;
    heard->round_count = 0;
    heard->round++;
    return count;
}
