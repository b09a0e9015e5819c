/* SPDX-License-Identifier: Apache-2.0 */
/* For every kind of cycle there is a graph that has a cycle if and only if there is one of that
 * kind: some edges are left out, and where no two anti-dependencies may follow each other there are
 * two vertices a node, (n, 0) reached by any other edge and (n, 1) by an anti-dependency. Such a
 * graph is cut into strongly connected components (Tarjan, 1972), and if one has several vertices,
 * a short cycle is looked for in it. */
#include "sim/dependency.h"

enum {
    UNSEEN = 0,         /* of an index */
    STARTS_MAX = 64,    /* vertices of a component from which a cycle is looked for */
    SINGLES_MAX = 4096, /* anti-dependencies that are tried to be the only one of a cycle */
};

#define BIT(kind) (1u << (kind))
#define WRITES    BIT(LW_DEPENDENCY_WW)
#define FLOW      (WRITES | BIT(LW_DEPENDENCY_WR))
#define TIME      BIT(LW_DEPENDENCY_TIME)
#define ANTI      BIT(LW_DEPENDENCY_RW)

typedef struct pattern {
    uint32_t kinds;
    bool apart;       /* never two anti-dependencies in a row */
    bool single;      /* nor two at all */
    bool strict_only; /* only those of strict transactions */
} pattern;

static const pattern patterns[] = {{.kinds = WRITES},
                                   {.kinds = FLOW},
                                   {.kinds = FLOW | ANTI, .apart = true, .single = true},
                                   {.kinds = FLOW | ANTI, .apart = true},
                                   {.kinds = FLOW | ANTI, .strict_only = true}};

void lw_dependencies_reset(lw_dependencies *graph) {
    lw_free(graph->memory, graph->edges);
    lw_free(graph->memory, graph->first);
    *graph = (lw_dependencies){.memory = graph->memory};
}

void lw_dependencies_add(lw_dependencies *graph, uint32_t from, uint32_t to,
                         lw_dependency_kind kind, uint32_t key) {
    LW_ASSERT(from < graph->node_count);
    LW_ASSERT(to < graph->node_count);
    LW_ASSERT(graph->first == NULL);
    if (from == to) {
        return;
    }
    if (graph->edge_count == graph->edge_capacity) {
        graph->edge_capacity = graph->edge_capacity * 2 + 64;
        graph->edges = lw_reallocate(graph->memory, graph->edges,
                                     graph->edge_capacity * sizeof(*graph->edges));
    }
    graph->edges[graph->edge_count++] =
        (lw_dependency){.from = from, .to = to, .key = key, .kind = kind};
}

/* Sorts the edges by where they begin, by counting. */
static void seal(lw_dependencies *graph) {
    uint32_t *first = lw_allocate_zero(graph->memory, (graph->node_count + 2) * sizeof(*first));
    for (uint32_t edge = 0; edge < graph->edge_count; edge++) {
        first[graph->edges[edge].from + 2]++;
    }
    for (uint32_t node = 2; node < graph->node_count + 2; node++) {
        first[node] += first[node - 1];
    }
    lw_dependency *sorted = lw_allocate(graph->memory, (graph->edge_count + 1) * sizeof(*sorted));
    for (uint32_t edge = 0; edge < graph->edge_count; edge++) {
        sorted[first[graph->edges[edge].from + 1]++] = graph->edges[edge];
    }
    lw_free(graph->memory, graph->edges);
    graph->edges = sorted;
    graph->first = first;
}

/* ---- components --------------------------------------------------------------------------- */

/* A look at the graph as a pattern has it. A vertex is node * layers + layer. */
typedef struct view {
    const lw_dependencies *graph;
    const pattern *wanted;
    uint32_t kinds, layers, vertex_count;
    uint32_t *index, *low; /* by vertex: of Tarjan; index 0: unseen */
    uint32_t *component;   /* by vertex: its component's number; 0: none yet */
    uint32_t *stack, *path, *next_edge;
    uint32_t stacked, depth, indexed, component_count;
} view;

/* Where an edge leads from a vertex; UINT32_MAX if the pattern does not have it there. */
static uint32_t follow(const view *in, uint32_t vertex, const lw_dependency *edge) {
    bool anti = edge->kind == LW_DEPENDENCY_RW;
    bool absent = (in->kinds & BIT(edge->kind)) == 0 ||
                  (anti && in->wanted->strict_only && !in->graph->strict[edge->from]) ||
                  (anti && in->layers == 2 && vertex % 2 == 1);
    return absent ? UINT32_MAX : edge->to * in->layers + (in->layers == 2 && anti);
}

static void enter(view *in, uint32_t vertex) {
    in->index[vertex] = in->low[vertex] = ++in->indexed;
    in->stack[in->stacked++] = vertex;
    in->next_edge[vertex] = in->graph->first[vertex / in->layers];
    in->path[in->depth++] = vertex;
}

static void leave(view *in, uint32_t vertex) {
    if (in->low[vertex] == in->index[vertex]) {
        in->component_count++;
        uint32_t member;
        do {
            member = in->stack[--in->stacked];
            in->component[member] = in->component_count;
        } while (member != vertex);
    }
    in->depth--;
    if (in->depth > 0) {
        uint32_t above = in->path[in->depth - 1];
        in->low[above] = in->low[vertex] < in->low[above] ? in->low[vertex] : in->low[above];
    }
}

static void find_components_from(view *in, uint32_t start) {
    enter(in, start);
    while (in->depth > 0) {
        uint32_t vertex = in->path[in->depth - 1];
        if (in->next_edge[vertex] == in->graph->first[vertex / in->layers + 1]) {
            leave(in, vertex);
            continue;
        }
        uint32_t to = follow(in, vertex, &in->graph->edges[in->next_edge[vertex]++]);
        if (to == UINT32_MAX) {
            continue;
        }
        if (in->index[to] == UNSEEN) {
            enter(in, to);
        } else if (in->component[to] == 0 && in->index[to] < in->low[vertex]) {
            in->low[vertex] = in->index[to];
        }
    }
}

static view open_view(const lw_dependencies *graph, const pattern *wanted, uint32_t kinds) {
    view in = {.graph = graph,
               .wanted = wanted,
               .kinds = kinds,
               .layers = wanted->apart ? 2 : 1,
               .vertex_count = graph->node_count * (wanted->apart ? 2 : 1)};
    size_t size = (in.vertex_count + 1) * sizeof(uint32_t);
    in.index = lw_allocate_zero(graph->memory, size);
    in.low = lw_allocate(graph->memory, size);
    in.component = lw_allocate_zero(graph->memory, size);
    in.stack = lw_allocate(graph->memory, size);
    in.path = lw_allocate(graph->memory, size);
    in.next_edge = lw_allocate(graph->memory, size);
    for (uint32_t vertex = 0; vertex < in.vertex_count; vertex++) {
        if (in.index[vertex] == UNSEEN) {
            find_components_from(&in, vertex);
        }
    }
    return in;
}

static void close_view(view *in) {
    lw_memory *memory = in->graph->memory;
    lw_free(memory, in->index);
    lw_free(memory, in->low);
    lw_free(memory, in->component);
    lw_free(memory, in->stack);
    lw_free(memory, in->path);
    lw_free(memory, in->next_edge);
}

/* ---- a short cycle ------------------------------------------------------------------------ */

/* The shortest way from one vertex to another within their component, as places of edges in
 * `taken`, last first; 0 if there is none. `kinds` are those it may use. */
static uint32_t find_way(view *in, uint32_t from, uint32_t to, uint32_t kinds, uint32_t *taken) {
    uint32_t *by = in->low, *queue = in->stack; /* of no more use to Tarjan */
    uint32_t head = 0, tail = 0;
    memset(by, 0, in->vertex_count * sizeof(*by));
    queue[tail++] = from;
    bool found = false;
    while (head < tail && !found) {
        uint32_t vertex = queue[head++], node = vertex / in->layers;
        for (uint32_t edge = in->graph->first[node]; edge < in->graph->first[node + 1]; edge++) {
            uint32_t next = follow(in, vertex, &in->graph->edges[edge]);
            bool usable = next != UINT32_MAX && (kinds & BIT(in->graph->edges[edge].kind)) != 0 &&
                          in->component[next] == in->component[from] && by[next] == 0 &&
                          (next != from || next == to);
            if (usable) {
                by[next] = edge + 1;
                in->path[next] = vertex; /* where it was come from */
                queue[tail++] = next;
                found = found || next == to;
            }
        }
    }
    uint32_t count = 0;
    for (uint32_t vertex = to; found; vertex = in->path[vertex]) {
        taken[count++] = by[vertex] - 1;
        if (in->path[vertex] == from) {
            break;
        }
    }
    return count;
}

static void keep_cycle(const lw_dependencies *graph, const uint32_t *taken, uint32_t count,
                       lw_dependency_cycle *cycle) {
    if (cycle->edges != NULL && cycle->edge_count <= count) {
        return;
    }
    cycle->edges = lw_reallocate(graph->memory, cycle->edges, count * sizeof(*cycle->edges));
    cycle->edge_count = count;
    for (uint32_t index = 0; index < count; index++) {
        cycle->edges[index] = graph->edges[taken[count - 1 - index]];
    }
}

/* Tries some vertices of components that have several. */
static void find_short(view *in, uint32_t *taken, lw_dependency_cycle *cycle) {
    uint32_t *sizes =
        lw_allocate_zero(in->graph->memory, (in->component_count + 1) * sizeof(*sizes));
    for (uint32_t vertex = 0; vertex < in->vertex_count; vertex++) {
        sizes[in->component[vertex]]++;
    }
    uint32_t starts = 0;
    for (uint32_t vertex = 0; vertex < in->vertex_count && starts < STARTS_MAX; vertex++) {
        if (sizes[in->component[vertex]] > 1) {
            starts++;
            uint32_t count = find_way(in, vertex, vertex, in->kinds, taken);
            LW_ASSERT(count > 0);
            keep_cycle(in->graph, taken, count, cycle);
        }
    }
    lw_free(in->graph->memory, sizes);
}

/* Tries to close each anti-dependency by other edges alone. */
static void find_single(view *in, uint32_t *taken, lw_dependency_cycle *cycle) {
    uint32_t tried = 0;
    for (uint32_t place = 0; place < in->graph->edge_count && tried < SINGLES_MAX; place++) {
        const lw_dependency *edge = &in->graph->edges[place];
        uint32_t before = edge->from * 2, behind = edge->to * 2 + 1;
        if (edge->kind != LW_DEPENDENCY_RW || in->component[before] != in->component[behind]) {
            continue;
        }
        tried++;
        uint32_t count = find_way(in, behind, before, in->kinds & ~ANTI, taken);
        if (count > 0) {
            taken[count++] = place;
            keep_cycle(in->graph, taken, count, cycle);
        }
    }
}

/* ---- names -------------------------------------------------------------------------------- */

static void name_cycle(lw_dependency_cycle *cycle) {
    uint32_t anti = 0;
    bool flows = false, row = false;
    cycle->timed = false;
    for (uint32_t index = 0; index < cycle->edge_count; index++) {
        lw_dependency_kind kind = cycle->edges[index].kind;
        lw_dependency_kind next = cycle->edges[(index + 1) % cycle->edge_count].kind;
        anti += kind == LW_DEPENDENCY_RW;
        flows = flows || kind == LW_DEPENDENCY_WR;
        cycle->timed = cycle->timed || kind == LW_DEPENDENCY_TIME;
        row = row || (kind == LW_DEPENDENCY_RW && next == LW_DEPENDENCY_RW);
    }
    cycle->name = row         ? "G2"
                  : anti > 1  ? "long fork (G-nonadjacent)"
                  : anti == 1 ? "G-single"
                  : flows     ? "G1c"
                              : "G0";
}

bool lw_dependencies_find_cycle(lw_dependencies *graph, lw_dependency_cycle *cycle) {
    *cycle = (lw_dependency_cycle){0};
    seal(graph);
    uint32_t *taken =
        lw_allocate(graph->memory, (2 * (size_t)graph->node_count + 2) * sizeof(*taken));
    const size_t pattern_count = sizeof(patterns) / sizeof(patterns[0]);
    for (size_t round = 0; round < 2 * pattern_count && cycle->edges == NULL; round++) {
        const pattern *wanted = &patterns[round % pattern_count];
        view in = open_view(graph, wanted, wanted->kinds | (round >= pattern_count ? TIME : 0));
        if (in.component_count < in.vertex_count) {
            (wanted->single ? find_single : find_short)(&in, taken, cycle);
        }
        close_view(&in);
    }
    lw_free(graph->memory, taken);
    if (cycle->edges != NULL) {
        name_cycle(cycle);
    }
    return cycle->edges != NULL;
}
