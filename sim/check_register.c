/* SPDX-License-Identifier: Apache-2.0 */
/* Registers: unique values tell who was read, and as much of the order of versions as follows from
 * it. That a write came before another is known
 *   by reading    if the other's transaction read it, or what came behind it, before writing
 *   by the clock  if it was acknowledged before the other's transaction began
 * and every version comes behind the absence of any. */
#include "sim/check_private.h"

#include <stdlib.h>

static const check_version *own_version(const check *job, const check_read *read) {
    const check_version *last = NULL;
    for (const lw_history_op *op = read->txn->ops; op != NULL; op = op->next) {
        if (op->kind == LW_HISTORY_WRITE && op->key == read->op->key) {
            last = check_find(job, op->key, op->value);
        }
    }
    return last;
}

void check_register(check *job, uint32_t key) {
    for (const check_read *read = job->keys[key].reads; read != NULL; read = read->next_of_key) {
        if (read->foreign_count > 0) {
            (void)check_value(job, read->txn, key, read->op->values[0], true);
        }
    }
}

/* ---- who came next by reading ------------------------------------------------------------- */

/* By the value read, so that readers and successors of a version lie together; absence first. */
static int by_value_read(const void *a, const void *b) {
    const check_read *first = *(const check_read *const *)a;
    const check_read *second = *(const check_read *const *)b;
    if (first->foreign_count == 0 || second->foreign_count == 0) {
        return (first->foreign_count != 0) - (second->foreign_count != 0);
    }
    uint64_t one = first->op->values[0], other = second->op->values[0];
    return (one > other) - (one < other);
}

/* All committed reads of one version; whoever wrote the register after reading it comes behind. */
static void add_successors(check *job, uint32_t key, const check_read *const *reads,
                           uint32_t count) {
    const check_read *updater = NULL;
    bool absent = reads[0]->foreign_count == 0;
    const check_version *version = absent ? NULL : check_find(job, key, reads[0]->op->values[0]);
    for (uint32_t index = 0; index < count; index++) {
        uint32_t number = reads[index]->txn->number;
        if (!absent) {
            lw_dependencies_add(&job->graph, version->txn->number, number, LW_DEPENDENCY_WR, key);
        }
        if (own_version(job, reads[index]) == NULL) {
            continue;
        }
        if (updater != NULL) {
            check_complain(job, "lost update", reads[index]->txn, key,
                           "another wrote it as well, having read the same version");
        }
        updater = reads[index];
        if (!absent) {
            lw_dependencies_add(&job->graph, version->txn->number, number, LW_DEPENDENCY_WW, key);
        }
        for (uint32_t reader = 0; reader < count; reader++) {
            lw_dependencies_add(&job->graph, reads[reader]->txn->number, number, LW_DEPENDENCY_RW,
                                key);
        }
    }
}

/* ---- who came later by the clock ---------------------------------------------------------- */

static int by_invocation(const void *a, const void *b) {
    const lw_history_txn *first = (*(const check_version *const *)a)->txn;
    const lw_history_txn *second = (*(const check_version *const *)b)->txn;
    if (first->invoke_ns != second->invoke_ns) {
        return first->invoke_ns < second->invoke_ns ? -1 : 1;
    }
    return first->number < second->number ? -1 : first->number > second->number;
}

static uint64_t end_of(const lw_history_txn *txn) {
    return txn->outcome == LW_OUTCOME_OK ? txn->complete_ns : UINT64_MAX;
}

/* Versions in the order in which their transactions began, and for each the earliest end of it and
 * all that follow. */
typedef struct timeline {
    const check_version **versions;
    uint64_t *ends;
    uint32_t count;
} timeline;

static timeline make_timeline(check *job, uint32_t key) {
    timeline made = {0};
    const check_version *one;
    for (one = job->keys[key].versions; one != NULL; one = one->next_of_key) {
        made.count += job->committed[one->txn->number];
    }
    made.versions = lw_allocate(job->memory, (made.count + 1) * sizeof(*made.versions));
    made.ends = lw_allocate(job->memory, (made.count + 1) * sizeof(*made.ends));
    uint32_t index = 0;
    for (one = job->keys[key].versions; one != NULL; one = one->next_of_key) {
        if (job->committed[one->txn->number]) {
            made.versions[index++] = one;
        }
    }
    qsort(made.versions, made.count, sizeof(*made.versions), by_invocation);
    made.ends[made.count] = UINT64_MAX;
    while (index > 0) {
        index--;
        uint64_t end = end_of(made.versions[index]->txn);
        made.ends[index] = end < made.ends[index + 1] ? end : made.ends[index + 1];
    }
    return made;
}

static uint32_t first_after(const timeline *of, uint64_t ns) {
    uint32_t low = 0, high = of->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (of->versions[middle]->txn->invoke_ns <= ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Those that began after what was read had been acknowledged, but for those that began only when
 * another of them had been, which real time joins to it. */
static void add_later(check *job, uint32_t key, const timeline *of, const check_read *read) {
    uint32_t index = 0;
    if (read->foreign_count > 0) {
        const lw_history_txn *txn = check_find(job, key, read->op->values[0])->txn;
        if (txn->outcome != LW_OUTCOME_OK) {
            return;
        }
        index = first_after(of, txn->complete_ns);
    }
    uint64_t end = of->ends[index];
    for (; index < of->count && of->versions[index]->txn->invoke_ns <= end; index++) {
        lw_dependencies_add(&job->graph, read->txn->number, of->versions[index]->txn->number,
                            LW_DEPENDENCY_RW, key);
    }
}

/* ---- all of it ---------------------------------------------------------------------------- */

void check_register_order(check *job, uint32_t key) {
    uint32_t count = 0;
    for (const check_read *read = job->keys[key].reads; read != NULL; read = read->next_of_key) {
        count += job->committed[read->txn->number];
    }
    const check_read **reads = lw_allocate(job->memory, (count + 1) * sizeof(*reads));
    timeline writers = make_timeline(job, key);
    uint32_t index = 0;
    for (const check_read *read = job->keys[key].reads; read != NULL; read = read->next_of_key) {
        if (job->committed[read->txn->number]) {
            reads[index++] = read;
            add_later(job, key, &writers, read);
        }
    }
    qsort(reads, count, sizeof(*reads), by_value_read);
    for (uint32_t begin = 0; begin < count;) {
        uint32_t end = begin + 1;
        while (end < count && by_value_read(&reads[begin], &reads[end]) == 0) {
            end++;
        }
        add_successors(job, key, &reads[begin], end - begin);
        begin = end;
    }
    lw_free(job->memory, reads);
    lw_free(job->memory, writers.versions);
    lw_free(job->memory, writers.ends);
}
