/* SPDX-License-Identifier: Apache-2.0 */
/* The graph has one node a transaction and one node a moment at which a transaction completed;
 * moments form a chain, so that "completed before that one began" needs two edges a transaction,
 * not a square.
 *
 * A cycle without two anti-dependencies in a row is looked for in a graph of twice the nodes: (n,
 * 0) was reached by any other edge, (n, 1) by an anti-dependency, after which no second one may
 * follow. */
#include "sim/check_append.h"

#include "base/map.h"

#include <stdlib.h>

typedef enum edge_kind { EDGE_WW, EDGE_WR, EDGE_RW, EDGE_TIME } edge_kind;

static const char *const edge_names[] = {"ww", "wr", "rw", "time"};

typedef struct edge {
    uint32_t to;
    edge_kind kind;
    struct edge *next;
} edge;

/* Who appended an element. */
typedef struct element {
    lw_map_node node;
    uint32_t key;
    uint64_t value;
    const lw_list_txn *txn;
    const struct element
        *successor_in_txn; /* the next append of the txn to the key; NULL: the last */
} element;

typedef struct key_order {
    const lw_list_op *longest; /* the longest read that counts */
} key_order;

typedef struct check {
    const lw_history *history;
    lw_buffer *report;
    lw_memory *memory;
    lw_arena arena;
    lw_map elements;
    key_order *keys;
    uint32_t key_count;
    const lw_list_txn **txns; /* by number */
    uint32_t node_count;      /* transactions, then moments */
    edge **edges;             /* by node */
    bool failed;
} check;

static void complain(check *job, const char *what, const lw_list_txn *txn, uint32_t key,
                     const char *detail) {
    job->failed = true;
    lw_buffer_print(job->report, "%s: transaction %u (process %u), key %u%s%s\n", what, txn->number,
                    txn->process, key, detail[0] != 0 ? ": " : "", detail);
}

/* ---- elements ----------------------------------------------------------------------------- */

static uint64_t element_hash(uint32_t key, uint64_t value) {
    uint64_t hash = (value + 0x9e3779b97f4a7c15u * (key + 1u)) * 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 31;
}

static element *find_element(const check *job, uint32_t key, uint64_t value) {
    lw_map_node *node = lw_map_first(&job->elements, element_hash(key, value));
    for (; node != NULL; node = lw_map_next(node)) {
        element *one = LW_MAP_ENTRY(node, element, node);
        if (one->key == key && one->value == value) {
            return one;
        }
    }
    return NULL;
}

static void index_appends(check *job, const lw_list_txn *txn) {
    for (const lw_list_op *op = txn->ops; op != NULL; op = op->next) {
        job->key_count = op->key >= job->key_count ? op->key + 1 : job->key_count;
        if (!op->append) {
            continue;
        }
        LW_ASSERT(find_element(job, op->key, op->element) == NULL); /* the workload's promise */
        element *made = lw_arena_allocate(&job->arena, sizeof(*made));
        *made = (element){.key = op->key, .value = op->element, .txn = txn};
        lw_map_insert(&job->elements, &made->node, element_hash(op->key, op->element));
        for (const lw_list_op *before = txn->ops; before != op; before = before->next) {
            if (before->append && before->key == op->key) {
                find_element(job, op->key, before->element)->successor_in_txn = made;
            }
        }
    }
}

/* ---- reads on their own ------------------------------------------------------------------- */

/* Whether what a transaction was told counts: it committed, or it may have. The reads of one in
 * doubt were served all the same, but prove nothing if it was rolled back in the end. */
static bool counts(const lw_list_txn *txn) {
    return txn->outcome == LW_OUTCOME_OK;
}

static bool is_prefix(const lw_list_op *of, const lw_list_op *whole) {
    return of->element_count <= whole->element_count &&
           (of->element_count == 0 ||
            memcmp(of->elements, whole->elements, of->element_count * sizeof(uint64_t)) == 0);
}

/* Every element known, none twice, none of a failed transaction, none cut out of a transaction. */
static void check_elements(check *job, const lw_list_txn *txn, const lw_list_op *read) {
    for (uint32_t index = 0; index < read->element_count; index++) {
        const element *one = find_element(job, read->key, read->elements[index]);
        if (one == NULL) {
            complain(job, "garbage", txn, read->key, "an element that nobody appended");
            return;
        }
        if (one->txn->outcome == LW_OUTCOME_FAIL) {
            complain(job, "aborted read (G1a)", txn, read->key, "");
        }
        for (uint32_t before = 0; before < index; before++) {
            if (read->elements[before] == read->elements[index]) {
                complain(job, "garbage", txn, read->key, "an element twice");
                return;
            }
        }
        bool last = index + 1 == read->element_count;
        if (last && one->txn != txn && one->successor_in_txn != NULL) {
            complain(job, "intermediate read (G1b)", txn, read->key, "");
        }
    }
}

/* A read after another of the same key in its transaction must be the earlier one plus the
 * transaction's own appends in between. */
static void check_internal(check *job, const lw_list_txn *txn, const lw_list_op *read) {
    const lw_list_op *earlier = NULL;
    for (const lw_list_op *op = txn->ops; op != read; op = op->next) {
        if (op->key == read->key && !op->append && !op->unknown) {
            earlier = op;
        }
    }
    uint32_t own = 0;
    for (const lw_list_op *op = earlier == NULL ? txn->ops : earlier; op != read; op = op->next) {
        own += op->append && op->key == read->key;
    }
    bool good = read->element_count >= own;
    if (good && earlier != NULL) {
        good = is_prefix(earlier, read) && read->element_count == earlier->element_count + own;
    }
    uint32_t index = read->element_count - own;
    for (const lw_list_op *op = earlier == NULL ? txn->ops : earlier; good && op != read;
         op = op->next) {
        if (op->append && op->key == read->key) {
            good = read->elements[index++] == op->element;
        }
    }
    if (!good) {
        complain(job, "internal", txn, read->key, "a read against the transaction's own past");
    }
}

static void check_reads(check *job, const lw_list_txn *txn) {
    for (const lw_list_op *op = txn->ops; op != NULL; op = op->next) {
        if (op->append || op->unknown) {
            continue;
        }
        check_elements(job, txn, op);
        check_internal(job, txn, op);
        key_order *order = &job->keys[op->key];
        if (order->longest == NULL) {
            order->longest = op;
        } else if (op->element_count > order->longest->element_count) {
            if (!is_prefix(order->longest, op)) {
                complain(job, "incompatible order", txn, op->key, "");
            }
            order->longest = op;
        } else if (!is_prefix(op, order->longest)) {
            complain(job, "incompatible order", txn, op->key, "");
        }
    }
}

static bool holds(const lw_list_op *read, uint64_t wanted) {
    for (uint32_t index = 0; index < read->element_count; index++) {
        if (read->elements[index] == wanted) {
            return true;
        }
    }
    return false;
}

/* What was acknowledged must be in every final read of its key. */
static void check_final(check *job, const lw_list_txn *final) {
    const lw_list_op **reads = lw_allocate_zero(job->memory, (job->key_count + 1) * sizeof(*reads));
    for (const lw_list_op *read = final->ops; read != NULL; read = read->next) {
        reads[read->key] = read;
    }
    for (const lw_list_txn *txn = job->history->txns; txn != NULL; txn = txn->next) {
        for (const lw_list_op *op = txn->ops; op != NULL; op = op->next) {
            bool promised = txn->outcome == LW_OUTCOME_OK && op->append && reads[op->key] != NULL;
            if (promised && !holds(reads[op->key], op->element)) {
                complain(job, "lost write", txn, op->key, "acknowledged, and not there");
            }
        }
    }
    lw_free(job->memory, reads);
}

/* ---- the graph ---------------------------------------------------------------------------- */

static void add_edge(check *job, uint32_t from, uint32_t to, edge_kind kind) {
    if (from == to) {
        return;
    }
    edge *made = lw_arena_allocate(&job->arena, sizeof(*made));
    *made = (edge){.to = to, .kind = kind, .next = job->edges[from]};
    job->edges[from] = made;
}

/* Where a read of a key stands in the key's order, and what that says. */
static void add_read_edges(check *job, const lw_list_txn *txn, const lw_list_op *read) {
    const lw_list_op *order = job->keys[read->key].longest;
    if (read->element_count > 0) {
        uint64_t last = read->elements[read->element_count - 1];
        add_edge(job, find_element(job, read->key, last)->txn->number, txn->number, EDGE_WR);
    }
    if (read->element_count < order->element_count) {
        uint64_t next = order->elements[read->element_count];
        add_edge(job, txn->number, find_element(job, read->key, next)->txn->number, EDGE_RW);
    }
}

static void add_order_edges(check *job, uint32_t key) {
    const lw_list_op *order = job->keys[key].longest;
    for (uint32_t index = 1; order != NULL && index < order->element_count; index++) {
        add_edge(job, find_element(job, key, order->elements[index - 1])->txn->number,
                 find_element(job, key, order->elements[index])->txn->number, EDGE_WW);
    }
}

static int by_completion(const void *a, const void *b) {
    const lw_list_txn *first = *(const lw_list_txn *const *)a;
    const lw_list_txn *second = *(const lw_list_txn *const *)b;
    if (first->complete_ns != second->complete_ns) {
        return first->complete_ns < second->complete_ns ? -1 : 1;
    }
    return first->number < second->number ? -1 : first->number > second->number;
}

/* The last of the `count` completions that came before `ns`, or -1. */
static int64_t last_before(const lw_list_txn *const *sorted, uint32_t count, uint64_t ns) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sorted[middle]->complete_ns < ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (int64_t)low - 1;
}

static void add_time_edges(check *job) {
    uint32_t txn_count = job->history->txn_count, count = 0;
    const lw_list_txn **sorted = lw_allocate(job->memory, (txn_count + 1) * sizeof(*sorted));
    for (uint32_t number = 0; number < txn_count; number++) {
        if (job->txns[number]->outcome == LW_OUTCOME_OK) {
            sorted[count++] = job->txns[number];
        }
    }
    qsort(sorted, count, sizeof(*sorted), by_completion);
    for (uint32_t moment = 0; moment < count; moment++) {
        add_edge(job, sorted[moment]->number, txn_count + moment, EDGE_TIME);
        if (moment + 1 < count) {
            add_edge(job, txn_count + moment, txn_count + moment + 1, EDGE_TIME);
        }
    }
    for (uint32_t number = 0; number < txn_count; number++) {
        int64_t moment = last_before(sorted, count, job->txns[number]->invoke_ns);
        if (moment >= 0) {
            add_edge(job, txn_count + (uint32_t)moment, number, EDGE_TIME);
        }
    }
    lw_free(job->memory, sorted);
}

static void build_graph(check *job) {
    job->node_count = 2 * job->history->txn_count;
    job->edges = lw_arena_allocate(&job->arena, (job->node_count + 1) * sizeof(edge *));
    memset(job->edges, 0, (job->node_count + 1) * sizeof(edge *));
    for (uint32_t key = 0; key < job->key_count; key++) {
        add_order_edges(job, key);
    }
    for (const lw_list_txn *txn = job->history->txns; txn != NULL; txn = txn->next) {
        for (const lw_list_op *op = txn->ops; counts(txn) && op != NULL; op = op->next) {
            if (!op->append && !op->unknown) {
                add_read_edges(job, txn, op);
            }
        }
    }
    add_time_edges(job);
}

/* ---- cycles ------------------------------------------------------------------------------- */

/* A walk in depth, without recursion. `layers` is 1 (every cycle counts) or 2 (see above); a vertex
 * is node * layers + layer. */
typedef struct walk {
    const check *job;
    uint32_t layers;
    uint8_t *colour; /* 0 unseen, 1 on the path, 2 done */
    uint32_t *path;
    const edge **taken, **pending; /* by depth: the edge that led here; the next one to try */
    uint32_t depth;
} walk;

static void enter(walk *in, uint32_t vertex, const edge *by) {
    in->colour[vertex] = 1;
    in->path[in->depth] = vertex;
    in->taken[in->depth] = by;
    in->pending[in->depth] = in->job->edges[vertex / in->layers];
    in->depth++;
}

/* Follows edges from `start` until a vertex on the path is met again: then returns the depth at
 * which the cycle begins and the edge that closes it; UINT32_MAX if there is none. */
static uint32_t find_cycle(walk *in, uint32_t start, const edge **closing) {
    enter(in, start, NULL);
    while (in->depth > 0) {
        uint32_t vertex = in->path[in->depth - 1];
        const edge *next = in->pending[in->depth - 1];
        if (next == NULL) {
            in->colour[vertex] = 2;
            in->depth--;
            continue;
        }
        in->pending[in->depth - 1] = next->next;
        bool anti = next->kind == EDGE_RW;
        if (in->layers == 2 && anti && vertex % 2 == 1) {
            continue;
        }
        uint32_t to = next->to * in->layers + (in->layers == 2 && anti ? 1 : 0);
        if (in->colour[to] == 1) {
            *closing = next;
            uint32_t begin = in->depth - 1;
            while (in->path[begin] != to) {
                begin--;
            }
            return begin;
        }
        if (in->colour[to] == 0) {
            enter(in, to, next);
        }
    }
    return UINT32_MAX;
}

static void report_cycle(check *job, const walk *in, uint32_t begin, const edge *closing) {
    job->failed = true;
    uint32_t anti = closing->kind == EDGE_RW;
    bool dirty = closing->kind == EDGE_WR, timed = closing->kind == EDGE_TIME;
    for (uint32_t depth = begin + 1; depth < in->depth; depth++) {
        anti += in->taken[depth]->kind == EDGE_RW;
        dirty = dirty || in->taken[depth]->kind == EDGE_WR;
        timed = timed || in->taken[depth]->kind == EDGE_TIME;
    }
    lw_buffer_print(job->report, "cycle %s%s:",
                    anti > 1    ? "G2"
                    : anti == 1 ? "G-single"
                    : dirty     ? "G1c"
                                : "G0",
                    timed ? " in real time" : "");
    for (uint32_t depth = begin; depth < in->depth; depth++) {
        uint32_t node = in->path[depth] / in->layers;
        const edge *leaving = depth + 1 < in->depth ? in->taken[depth + 1] : closing;
        if (node < job->history->txn_count) {
            lw_buffer_print(job->report, " T%u -%s->", node, edge_names[leaving->kind]);
        }
    }
    lw_buffer_print(job->report, " and round again\n");
}

static void check_cycles(check *job, bool strict) {
    walk in = {.job = job, .layers = strict ? 1 : 2};
    uint32_t vertices = job->node_count * in.layers;
    in.colour = lw_allocate_zero(job->memory, vertices + 1);
    in.path = lw_allocate(job->memory, (vertices + 1) * sizeof(*in.path));
    in.taken = lw_allocate(job->memory, (vertices + 1) * sizeof(*in.taken));
    in.pending = lw_allocate(job->memory, (vertices + 1) * sizeof(*in.pending));
    for (uint32_t vertex = 0; vertex < vertices; vertex++) {
        const edge *closing = NULL;
        uint32_t begin = in.colour[vertex] == 0 ? find_cycle(&in, vertex, &closing) : UINT32_MAX;
        if (begin != UINT32_MAX) {
            report_cycle(job, &in, begin, closing);
            break; /* one is enough, and the rest of the walk is cut short */
        }
    }
    lw_free(job->memory, in.colour);
    lw_free(job->memory, in.path);
    lw_free(job->memory, in.taken);
    lw_free(job->memory, in.pending);
}

bool lw_check_append(const lw_history *history, bool strict, lw_memory *memory, lw_buffer *report) {
    check job = {.history = history,
                 .report = report,
                 .memory = memory,
                 .arena = lw_arena_in(memory),
                 .elements = lw_map_in(memory)};
    job.txns = lw_arena_allocate(&job.arena, (history->txn_count + 1) * sizeof(*job.txns));
    for (const lw_list_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        job.txns[txn->number] = txn;
        index_appends(&job, txn);
    }
    job.keys = lw_arena_allocate(&job.arena, (job.key_count + 1) * sizeof(*job.keys));
    memset(job.keys, 0, (job.key_count + 1) * sizeof(*job.keys));
    for (const lw_list_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        if (counts(txn)) {
            check_reads(&job, txn);
        }
        if (txn->final && counts(txn)) {
            check_final(&job, txn);
        }
    }
    if (!job.failed) { /* on unsound reads the graph would mean nothing */
        build_graph(&job);
        check_cycles(&job, strict);
    }
    lw_map_reset(&job.elements);
    lw_arena_reset(&job.arena);
    return !job.failed;
}
