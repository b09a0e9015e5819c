/* SPDX-License-Identifier: Apache-2.0 */
/* The graph has one node a transaction and one node a moment at which a transaction completed;
 * moments form a chain, so that "completed before that one began" needs two edges a transaction,
 * not a square. */
#include "sim/check_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { COMPLAINTS_MAX = 20, TXN_TEXT_MAX = 1000 };

void check_complain(check *job, const char *what, const lw_history_txn *txn, uint32_t key,
                    const char *detail) {
    if (job->complaints++ >= COMPLAINTS_MAX) {
        return;
    }
    lw_bytes name = job->history->keys[key]->name;
    lw_buffer_print(job->report, "%s: transaction %" PRIu64 " (process %u), key %.*s%s%s\n", what,
                    txn->id, txn->process, (int)name.size, (const char *)name.data,
                    detail[0] != 0 ? ": " : "", detail);
}

/* ---- what was written --------------------------------------------------------------------- */

static uint64_t version_hash(uint32_t key, uint64_t value) {
    uint64_t hash =
        (value + UINT64_C(0x9e3779b97f4a7c15) * (key + 1u)) * UINT64_C(0xbf58476d1ce4e5b9);
    return hash ^ hash >> 31;
}

check_version *check_find(const check *job, uint32_t key, uint64_t value) {
    lw_map_node *node = lw_map_first(&job->versions, version_hash(key, value));
    for (; node != NULL; node = lw_map_next(node)) {
        check_version *one = LW_MAP_ENTRY(node, check_version, node);
        if (one->key == key && one->value == value) {
            return one;
        }
    }
    return NULL;
}

static void index_write(check *job, const lw_history_txn *txn, const lw_history_op *op) {
    if (check_find(job, op->key, op->value) != NULL) {
        job->unsound = true;
        check_complain(job, "ambiguous", txn, op->key,
                       "a value was written twice, which no history may do");
        return;
    }
    check_version *made = lw_arena_allocate(&job->arena, sizeof(*made));
    *made = (check_version){.key = op->key, .value = op->value, .txn = txn};
    lw_map_insert(&job->versions, &made->node, version_hash(op->key, op->value));
    for (const lw_history_op *later = op->next; later != NULL; later = later->next) {
        made->intermediate |= later->key == op->key && later->kind != LW_HISTORY_READ;
    }
    if (!made->intermediate) {
        made->next_of_key = job->keys[op->key].versions;
        job->keys[op->key].versions = made;
    }
}

bool check_value(check *job, const lw_history_txn *txn, uint32_t key, uint64_t value, bool last) {
    const check_version *one = check_find(job, key, value);
    const char *wrong = one == NULL                            ? "garbage"
                        : one->txn == txn                      ? NULL
                        : one->txn->outcome == LW_OUTCOME_FAIL ? "aborted read (G1a)"
                        : last && one->intermediate            ? "intermediate read (G1b)"
                                                               : NULL;
    if (wrong == NULL) {
        if (one->txn != txn) {
            job->committed[one->txn->number] = true;
        }
        return true;
    }
    char detail[64];
    (void)snprintf(detail, sizeof(detail), "%s%" PRIu64,
                   one == NULL ? "nobody wrote " : "the value ", value);
    job->unsound = true;
    check_complain(job, wrong, txn, key, detail);
    return false;
}

/* ---- reads against their own transaction -------------------------------------------------- */

static bool same_values(const lw_history_op *one, const lw_history_op *other, uint32_t count) {
    return count == 0 || memcmp(one->values, other->values, count * sizeof(uint64_t)) == 0;
}

/* What a read of a register must be, if its transaction knows. */
static bool register_agrees(const lw_history_op *first, const lw_history_op *read) {
    const lw_history_op *known = NULL;
    for (const lw_history_op *op = first; op != read; op = op->next) {
        if (op->key == read->key && !op->unknown) {
            known = op;
        }
    }
    if (known == NULL) {
        return true;
    }
    if (known->kind == LW_HISTORY_WRITE) {
        return read->value_count == 1 && read->values[0] == known->value;
    }
    return known->value_count == read->value_count && same_values(known, read, read->value_count);
}

/* A read of a list must be the earlier one plus the transaction's own appends in between. */
static bool list_agrees(const lw_history_op *first, const lw_history_op *read) {
    const lw_history_op *earlier = NULL;
    for (const lw_history_op *op = first; op != read; op = op->next) {
        if (op->key == read->key && op->kind == LW_HISTORY_READ && !op->unknown) {
            earlier = op;
        }
    }
    const lw_history_op *since = earlier == NULL ? first : earlier;
    uint32_t own = 0;
    for (const lw_history_op *op = since; op != read; op = op->next) {
        own += op->kind == LW_HISTORY_APPEND && op->key == read->key;
    }
    if (read->value_count < own ||
        (earlier != NULL && (read->value_count != earlier->value_count + own ||
                             !same_values(earlier, read, earlier->value_count)))) {
        return false;
    }
    uint32_t index = read->value_count - own;
    for (const lw_history_op *op = since; op != read; op = op->next) {
        if (op->kind == LW_HISTORY_APPEND && op->key == read->key &&
            read->values[index++] != op->value) {
            return false;
        }
    }
    return true;
}

/* How many of the values read were there without the transaction; those of its own come last. */
static uint32_t count_foreign(const check *job, const lw_history_txn *txn,
                              const lw_history_op *read) {
    uint32_t count = read->value_count;
    while (count > 0) {
        const check_version *one = check_find(job, read->key, read->values[count - 1]);
        if (one == NULL || one->txn != txn) {
            break;
        }
        count--;
    }
    return count;
}

/* The first read of a key within a transaction is from outside, if nothing was written before. */
static bool is_first(const lw_history_txn *txn, const lw_history_op *read) {
    const lw_history_op *op = txn->ops;
    while (op->key != read->key || op->unknown) {
        op = op->next;
    }
    return op == read;
}

static void note_read(check *job, const lw_history_txn *txn, const lw_history_op *op) {
    bool is_register = job->history->keys[op->key]->is_register;
    bool agrees = is_register ? register_agrees(txn->ops, op) : list_agrees(txn->ops, op);
    if (!agrees) {
        /* One that did not commit may have read of two snapshots. */
        if (txn->outcome == LW_OUTCOME_OK) {
            job->unsound = true;
            check_complain(job, "internal", txn, op->key,
                           "a read against the transaction's own past");
        }
        return;
    }
    if (is_register && !is_first(txn, op)) {
        return;
    }
    check_read *made = lw_arena_allocate(&job->arena, sizeof(*made));
    *made =
        (check_read){.txn = txn,
                     .op = op,
                     .foreign_count = is_register ? op->value_count : count_foreign(job, txn, op),
                     .next_of_key = job->keys[op->key].reads};
    job->keys[op->key].reads = made;
}

/* ---- real time ---------------------------------------------------------------------------- */

static int by_completion(const void *a, const void *b) {
    const lw_history_txn *first = *(const lw_history_txn *const *)a;
    const lw_history_txn *second = *(const lw_history_txn *const *)b;
    if (first->complete_ns != second->complete_ns) {
        return first->complete_ns < second->complete_ns ? -1 : 1;
    }
    return first->number < second->number ? -1 : first->number > second->number;
}

/* The last of the `count` completions that came before `ns`, or -1. */
static int64_t last_before(const lw_history_txn *const *sorted, uint32_t count, uint64_t ns) {
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

static void add_time(check *job, uint32_t from, uint32_t to) {
    lw_dependencies_add(&job->graph, from, to, LW_DEPENDENCY_TIME, 0);
}

static void add_time_edges(check *job) {
    uint32_t txn_count = job->history->txn_count, count = 0;
    const lw_history_txn **sorted = lw_allocate(job->memory, (txn_count + 1) * sizeof(*sorted));
    for (uint32_t number = 0; number < txn_count; number++) {
        if (job->txns[number]->outcome == LW_OUTCOME_OK) {
            sorted[count++] = job->txns[number];
        }
    }
    qsort(sorted, count, sizeof(*sorted), by_completion);
    for (uint32_t moment = 0; moment < count; moment++) {
        add_time(job, sorted[moment]->number, txn_count + moment);
        if (moment + 1 < count) {
            add_time(job, txn_count + moment, txn_count + moment + 1);
        }
    }
    for (uint32_t number = 0; number < txn_count; number++) {
        int64_t moment = last_before(sorted, count, job->txns[number]->invoke_ns);
        if (moment >= 0 && job->committed[number]) {
            add_time(job, txn_count + (uint32_t)moment, number);
        }
    }
    lw_free(job->memory, sorted);
}

/* ---- cycles ------------------------------------------------------------------------------- */

/* Transactions may be long, and say enough by their beginning. */
static void report_txn(check *job, const lw_history_txn *txn) {
    lw_buffer line = lw_buffer_in(job->memory);
    lw_history_print_txn(job->history, txn, &line);
    bool cut = line.size > TXN_TEXT_MAX;
    lw_buffer_append(job->report, lw_view(line.data, cut ? TXN_TEXT_MAX : line.size));
    lw_buffer_print(job->report, "%s", cut ? "...\n" : "");
    lw_buffer_reset(&line);
}

static void report_cycle(check *job, const lw_dependency_cycle *cycle) {
    static const char *const kinds[] = {"ww", "wr", "rw", "time"};
    const lw_history *history = job->history;
    lw_buffer_print(job->report, "cycle %s%s:", cycle->name, cycle->timed ? " in real time" : "");
    for (uint32_t index = 0; index < cycle->edge_count; index++) {
        const lw_dependency *edge = &cycle->edges[index];
        if (edge->from >= history->txn_count) {
            continue; /* a moment */
        }
        lw_buffer_print(job->report, " T%" PRIu64 " -%s", job->txns[edge->from]->id,
                        kinds[edge->kind]);
        if (edge->kind != LW_DEPENDENCY_TIME) {
            lw_bytes name = history->keys[edge->key]->name;
            lw_buffer_print(job->report, " %.*s", (int)name.size, (const char *)name.data);
        }
        lw_buffer_print(job->report, "->");
    }
    lw_buffer_print(job->report, " and round again\n");
    for (uint32_t index = 0; index < cycle->edge_count; index++) {
        if (cycle->edges[index].from < history->txn_count) {
            report_txn(job, job->txns[cycle->edges[index].from]);
        }
    }
}

static void check_cycles(check *job) {
    uint32_t node_count = 2 * job->history->txn_count;
    job->graph = lw_dependencies_of(job->memory, node_count, job->strict);
    for (uint32_t key = 0; key < job->history->key_count; key++) {
        (job->history->keys[key]->is_register ? check_register_order : check_list_order)(job, key);
    }
    lw_dependency_cycle cycle;
    if (!job->unsound) {
        add_time_edges(job);
        if (lw_dependencies_find_cycle(&job->graph, &cycle)) {
            job->complaints++;
            report_cycle(job, &cycle);
            lw_free(job->memory, cycle.edges);
        }
    }
    lw_dependencies_reset(&job->graph);
}

/* ---- all of it ---------------------------------------------------------------------------- */

/* What was acknowledged must be in every final read of its list. */
static void check_final(check *job, const lw_history_txn *final) {
    for (const lw_history_op *read = final->ops; read != NULL; read = read->next) {
        const check_version *one = job->keys[read->key].versions;
        bool is_list = !job->history->keys[read->key]->is_register;
        for (; is_list && !read->unknown && one != NULL; one = one->next_of_key) {
            if (one->txn->outcome == LW_OUTCOME_OK &&
                (one->position == 0 || one->position > read->value_count)) {
                check_complain(job, "lost write", one->txn, read->key,
                               "acknowledged, and not in a final read");
            }
        }
    }
}

static void index_history(check *job, lw_check_level level) {
    const lw_history *history = job->history;
    for (const lw_history_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        job->txns[txn->number] = txn;
        job->committed[txn->number] = txn->outcome == LW_OUTCOME_OK;
        job->strict[txn->number] =
            level == LW_CHECK_STRICT || (level == LW_CHECK_AS_TOLD && txn->strict);
        for (const lw_history_op *op = txn->ops; op != NULL; op = op->next) {
            if (op->kind != LW_HISTORY_READ) {
                index_write(job, txn, op);
            }
        }
    }
    for (const lw_history_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        for (const lw_history_op *op = txn->ops; op != NULL; op = op->next) {
            if (op->kind == LW_HISTORY_READ && !op->unknown) {
                note_read(job, txn, op);
            }
        }
    }
}

static void *make_array(check *job, size_t count, size_t size) {
    void *made = lw_arena_allocate(&job->arena, (count + 1) * size);
    memset(made, 0, (count + 1) * size);
    return made;
}

bool lw_check_history(const lw_history *history, lw_check_level level, lw_memory *memory,
                      lw_buffer *report) {
    check job = {.history = history,
                 .report = report,
                 .memory = memory,
                 .arena = lw_arena_in(memory),
                 .versions = lw_map_in(memory)};
    job.txns = make_array(&job, history->txn_count, sizeof(*job.txns));
    job.committed = make_array(&job, history->txn_count, sizeof(*job.committed));
    job.strict = make_array(&job, 2 * (size_t)history->txn_count, sizeof(*job.strict));
    job.keys = make_array(&job, history->key_count, sizeof(*job.keys));
    index_history(&job, level);
    for (uint32_t key = 0; key < history->key_count; key++) {
        (history->keys[key]->is_register ? check_register : check_list)(&job, key);
    }
    for (const lw_history_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        if (txn->final && txn->outcome == LW_OUTCOME_OK && !job.unsound) {
            check_final(&job, txn);
        }
    }
    if (!job.unsound) {
        check_cycles(&job);
    }
    bool others = lw_singles_check(&history->singles, memory, report);
    others = lw_bank_check(&history->bank, memory, report) && others;
    if (job.complaints > COMPLAINTS_MAX) {
        lw_buffer_print(report, "and %u more\n", job.complaints - COMPLAINTS_MAX);
    }
    lw_map_reset(&job.versions);
    lw_arena_reset(&job.arena);
    return job.complaints == 0 && others;
}
