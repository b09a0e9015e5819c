/* SPDX-License-Identifier: Apache-2.0 */
/* Dependencies between transactions, and the cycles in them, which are the anomalies (Adya, Liskov
 * and O'Neil, ICDE 2000; the search after Elle, Kingsbury and Alvaro, VLDB 2020).
 *
 *   ww    the second wrote what follows on what the first wrote
 *   wr    the second read what the first wrote
 *   rw    the second wrote what follows on what the first read: an anti-dependency
 *   time  the first was known to have committed before the second began
 *
 * Not allowed, at
 *   snapshot isolation  a cycle without two anti-dependencies in a row (Cerone and Gotsman, JACM
 *                       2018): G0, G1c, G-single, long fork
 *   strict              any cycle: G2 too
 * Where both occur, a cycle is not allowed either if every anti-dependency in it is a strict
 * transaction's: its reads hold up to its commit, so that along such a cycle commits would only get
 * later. Snapshots are strong, so that time counts at both.
 *
 * Named is the gravest cycle there is, without real time if that is possible, and the shortest that
 * is found in passing:
 *   G0        of ww alone
 *   G1c       of ww and wr
 *   G-single  with one rw: reads of two different states, lost updates
 *   long fork (G-nonadjacent)  with several, never two in a row
 *   G2        with two in a row: write skew, phantoms */
#ifndef LW_DEPENDENCY_H
#define LW_DEPENDENCY_H

#include "base/bytes.h"

typedef enum lw_dependency_kind {
    LW_DEPENDENCY_WW,
    LW_DEPENDENCY_WR,
    LW_DEPENDENCY_RW,
    LW_DEPENDENCY_TIME,
} lw_dependency_kind;

typedef struct lw_dependency {
    uint32_t from, to;
    uint32_t key; /* over which; of TIME nothing */
    lw_dependency_kind kind;
} lw_dependency;

/* A cycle: each edge ends where the next begins, the last where the first does. */
typedef struct lw_dependency_cycle {
    const char *name;
    bool timed; /* real time takes part */
    lw_dependency *edges;
    uint32_t edge_count;
} lw_dependency_cycle;

typedef struct lw_dependencies {
    lw_memory *memory;
    uint32_t node_count;
    const bool *strict; /* by node: whether its anti-dependencies count for themselves */
    lw_dependency *edges;
    uint32_t edge_count, edge_capacity;
    uint32_t *first; /* once sealed: by node, the place of its first edge; then the end */
} lw_dependencies;

/* `strict` outlives it. */
static inline lw_dependencies lw_dependencies_of(lw_memory *memory, uint32_t node_count,
                                                 const bool *strict) {
    return (lw_dependencies){.memory = memory, .node_count = node_count, .strict = strict};
}
void lw_dependencies_reset(lw_dependencies *graph);
/* An edge from a node to itself is none. */
void lw_dependencies_add(lw_dependencies *graph, uint32_t from, uint32_t to,
                         lw_dependency_kind kind, uint32_t key);
/* Looks for a cycle that is not allowed. Takes time in proportion to the graph if there is none.
 * The edges of the cycle are the caller's to free. Nothing can be added any more. */
bool lw_dependencies_find_cycle(lw_dependencies *graph, lw_dependency_cycle *cycle);

#endif
