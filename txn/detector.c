/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/detector.h"

#include <stdlib.h>

/* What a node said last. */
typedef struct reporter {
    uint64_t node, reported_ns;
    lw_arena arena; /* of the edges' bytes */
    lw_wait_edge *edges;
    uint32_t edge_count;
    struct reporter *next;
} reporter;

struct lw_detector {
    lw_memory *memory;
    reporter *reporters;
    uint32_t reporter_count;
};

lw_detector *lw_detector_open(lw_memory *memory) {
    lw_detector *opened = lw_allocate_zero(memory, sizeof(*opened));
    opened->memory = memory;
    return opened;
}

static void drop(lw_detector *detector, reporter **place) {
    reporter *dropped = *place;
    *place = dropped->next;
    lw_arena_reset(&dropped->arena);
    lw_free(detector->memory, dropped);
    detector->reporter_count--;
}

void lw_detector_close(lw_detector *detector) {
    while (detector->reporters != NULL) {
        drop(detector, &detector->reporters);
    }
    lw_free(detector->memory, detector);
}

/* ---- reports -------------------------------------------------------------------------------- */

static void forget_stale(lw_detector *detector, uint64_t node, uint64_t now_ns) {
    for (reporter **place = &detector->reporters; *place != NULL;) {
        bool stale = (*place)->reported_ns + LW_DETECTOR_FRESH_NS < now_ns;
        if (stale || (*place)->node == node) {
            drop(detector, place);
        } else {
            place = &(*place)->next;
        }
    }
}

static void take_in(lw_detector *detector, const lw_waits_request *report, uint64_t now_ns) {
    forget_stale(detector, report->node, now_ns);
    if (report->edge_count == 0 || detector->reporter_count == LW_DETECTOR_NODES_MAX) {
        return;
    }
    reporter *made = lw_allocate_zero(detector->memory, sizeof(*made));
    made->node = report->node;
    made->reported_ns = now_ns;
    made->arena = lw_arena_in(detector->memory);
    made->edge_count =
        report->edge_count < LW_DETECTOR_EDGES_MAX ? report->edge_count : LW_DETECTOR_EDGES_MAX;
    made->edges = lw_arena_allocate(&made->arena, made->edge_count * sizeof(*made->edges));
    for (uint32_t index = 0; index < made->edge_count; index++) {
        lw_wait_edge *edge = &made->edges[index];
        *edge = report->edges[index];
        edge->key = lw_arena_copy(&made->arena, edge->key);
        edge->label = lw_arena_copy(&made->arena, edge->label);
    }
    made->next = detector->reporters;
    detector->reporters = made;
    detector->reporter_count++;
}

/* ---- cycles --------------------------------------------------------------------------------- */

/* All edges, by waiter, and a walk along them. */
typedef struct walk {
    const lw_wait_edge **edges;
    uint32_t count;
    bool *passed;   /* by edge: leads nowhere, or is on the way */
    uint32_t *path; /* of edges */
    uint32_t depth;
} walk;

static int by_waiter(const void *a, const void *b) {
    const lw_wait_edge *one = *(const lw_wait_edge *const *)a;
    const lw_wait_edge *other = *(const lw_wait_edge *const *)b;
    if (one->waiter != other->waiter) {
        return one->waiter < other->waiter ? -1 : 1;
    }
    return (one->holder > other->holder) - (one->holder < other->holder);
}

static walk begin_walk(const lw_detector *detector, lw_arena *arena) {
    walk made = {0};
    for (const reporter *each = detector->reporters; each != NULL; each = each->next) {
        made.count += each->edge_count;
    }
    made.edges = lw_arena_allocate(arena, (made.count + 1) * sizeof(*made.edges));
    made.passed = lw_arena_allocate(arena, made.count + 1);
    made.path = lw_arena_allocate(arena, (made.count + 1) * sizeof(*made.path));
    uint32_t place = 0;
    for (const reporter *each = detector->reporters; each != NULL; each = each->next) {
        for (uint32_t index = 0; index < each->edge_count; index++) {
            made.edges[place++] = &each->edges[index];
        }
    }
    qsort(made.edges, made.count, sizeof(*made.edges), by_waiter);
    return made;
}

/* The first edge of a transaction, or where it would be. */
static uint32_t first_of(const walk *in, uint64_t waiter) {
    uint32_t low = 0, high = in->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (in->edges[middle]->waiter < waiter) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Whether a cycle leads through `start` and only such as began before it: then it is in the path.
 */
static bool closes(walk *in, uint64_t start) {
    memset(in->passed, 0, in->count);
    in->depth = 0;
    uint64_t at = start;
    uint32_t next = first_of(in, at);
    for (;;) {
        while (next < in->count && in->edges[next]->waiter == at &&
               (in->passed[next] || in->edges[next]->holder > start)) {
            next++;
        }
        if (next < in->count && in->edges[next]->waiter == at) {
            in->passed[next] = true;
            in->path[in->depth++] = next;
            at = in->edges[next]->holder;
            if (at == start) {
                return true;
            }
            next = first_of(in, at);
        } else if (in->depth == 0) {
            return false;
        } else {
            next = in->path[--in->depth];
            at = in->edges[next]->waiter;
        }
    }
}

/* As the victim's client is told: it first. */
static void describe(const walk *in, lw_arena *arena, lw_waits_victim *victim) {
    uint32_t told = in->depth < LW_DETECTOR_STEPS_MAX ? in->depth : LW_DETECTOR_STEPS_MAX;
    lw_deadlock_step *steps = lw_arena_allocate(arena, told * sizeof(*steps));
    for (uint32_t index = 0; index < told; index++) {
        const lw_wait_edge *edge = in->edges[in->path[index]];
        steps[index] = (lw_deadlock_step){.start = edge->waiter,
                                          .key = lw_arena_copy(arena, edge->key),
                                          .label = lw_arena_copy(arena, edge->label)};
    }
    const lw_wait_edge *second = in->edges[in->path[in->depth > 1 ? 1 : 0]];
    victim->start = steps[0].start;
    victim->obstacle = (lw_obstacle){.kind = LW_OBSTACLE_DEADLOCK,
                                     .key = steps[0].key,
                                     .start = second->waiter,
                                     .label = lw_arena_copy(arena, second->label),
                                     .cycle_length = in->depth,
                                     .step_count = told,
                                     .steps = steps};
}

void lw_detector_report(lw_detector *detector, const lw_waits_request *report, uint64_t now_ns,
                        lw_arena *arena, lw_waits_reply *reply) {
    take_in(detector, report, now_ns);
    walk in = begin_walk(detector, arena);
    lw_waits_victim *victims =
        lw_arena_allocate(arena, (report->edge_count + 1) * sizeof(*victims));
    const reporter *own = detector->reporters;
    uint32_t count = 0;
    uint64_t last = 0; /* looked at */
    for (uint32_t index = 0; index < in.count; index++) {
        const lw_wait_edge *edge = in.edges[index];
        bool here =
            own->node == report->node && edge >= own->edges && edge < own->edges + own->edge_count;
        if (here && edge->waiter != last) {
            last = edge->waiter;
            if (closes(&in, last)) {
                describe(&in, arena, &victims[count++]);
            }
        }
    }
    *reply = (lw_waits_reply){.victims = victims, .victim_count = count};
}
