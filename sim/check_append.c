/* SPDX-License-Identifier: Apache-2.0 */
/* Lists: the longest read of a key tells the order of its elements, and every other must be a
 * beginning of it. */
#include "sim/check_private.h"

/* How much of a read must be a beginning of the order. What a transaction appended itself belongs
 * to it only if the transaction committed. */
static uint32_t settled_count(const check_read *read) {
    return read->txn->outcome == LW_OUTCOME_OK ? read->op->value_count : read->foreign_count;
}

static bool is_prefix(const check_read *of, const check_read *whole) {
    uint32_t count = settled_count(of);
    return count <= settled_count(whole) &&
           (count == 0 || memcmp(of->op->values, whole->op->values, count * sizeof(uint64_t)) == 0);
}

/* Every element of the longest read known, and none twice. */
static void check_longest(check *job, uint32_t key) {
    const check_read *longest = job->keys[key].longest;
    uint32_t count = settled_count(longest);
    for (uint32_t index = 0; index < count; index++) {
        uint64_t value = longest->op->values[index];
        if (!check_value(job, longest->txn, key, value, index + 1 == count)) {
            return;
        }
        check_version *one = check_find(job, key, value);
        if (one->position != 0) {
            job->unsound = true;
            check_complain(job, "garbage", longest->txn, key, "an element twice");
            return;
        }
        one->position = index + 1;
    }
}

/* What is a beginning of the longest read needs but its last element looked at. */
static void check_against(check *job, uint32_t key, const check_read *read) {
    uint32_t count = settled_count(read);
    bool prefix = is_prefix(read, job->keys[key].longest);
    for (uint32_t index = prefix && count > 0 ? count - 1 : 0; index < count; index++) {
        if (!check_value(job, read->txn, key, read->op->values[index], index + 1 == count)) {
            return;
        }
    }
    if (!prefix) {
        job->unsound = true;
        check_complain(job, "incompatible order", read->txn, key, "");
    }
}

void check_list(check *job, uint32_t key) {
    check_key *of = &job->keys[key];
    for (const check_read *read = of->reads; read != NULL; read = read->next_of_key) {
        if (of->longest == NULL || settled_count(read) > settled_count(of->longest)) {
            of->longest = read;
        }
    }
    if (of->longest == NULL) {
        return;
    }
    check_longest(job, key);
    for (const check_read *read = of->reads; read != NULL; read = read->next_of_key) {
        if (read != of->longest) {
            check_against(job, key, read);
        }
    }
}

/* The first element that the transaction of a read appended to its key, if it is in the order. */
static const check_version *first_append(const check *job, const check_read *read) {
    for (const lw_history_op *op = read->txn->ops; op != NULL; op = op->next) {
        if (op->kind == LW_HISTORY_APPEND && op->key == read->op->key) {
            const check_version *one = check_find(job, op->key, op->value);
            return one->position != 0 ? one : NULL;
        }
    }
    return NULL;
}

static void check_update(check *job, uint32_t key, const check_read *read) {
    const check_version *own = first_append(job, read);
    bool before = read->foreign_count == read->op->value_count;
    if (before && own != NULL && own->position != read->foreign_count + 1) {
        check_complain(job, "lost update", read->txn, key,
                       "another appended between its read and its append");
    }
}

static void add_read_edges(check *job, uint32_t key, const check_read *read) {
    const check_read *order = job->keys[key].longest;
    const uint64_t *values = order->op->values;
    uint32_t number = read->txn->number;
    if (read->foreign_count > 0) {
        uint64_t last = read->op->values[read->foreign_count - 1];
        lw_dependencies_add(&job->graph, check_find(job, key, last)->txn->number, number,
                            LW_DEPENDENCY_WR, key);
    }
    if (read->op->value_count < settled_count(order)) {
        uint64_t next = values[read->op->value_count];
        lw_dependencies_add(&job->graph, number, check_find(job, key, next)->txn->number,
                            LW_DEPENDENCY_RW, key);
    }
}

/* What was acknowledged and nobody ever read came behind all that was. */
static void add_unread(check *job, uint32_t key, const check_version *unread) {
    const check_read *order = job->keys[key].longest;
    uint32_t count = order != NULL ? settled_count(order) : 0, number = unread->txn->number;
    if (count > 0) {
        uint64_t last = order->op->values[count - 1];
        lw_dependencies_add(&job->graph, check_find(job, key, last)->txn->number, number,
                            LW_DEPENDENCY_WW, key);
    }
    for (const check_read *read = job->keys[key].reads; read != NULL; read = read->next_of_key) {
        if (job->committed[read->txn->number] && read->op->value_count == count) {
            lw_dependencies_add(&job->graph, read->txn->number, number, LW_DEPENDENCY_RW, key);
        }
    }
}

void check_list_order(check *job, uint32_t key) {
    const check_version *one = job->keys[key].versions;
    for (; one != NULL; one = one->next_of_key) {
        if (one->position == 0 && one->txn->outcome == LW_OUTCOME_OK) {
            add_unread(job, key, one);
        }
    }
    const check_read *order = job->keys[key].longest;
    if (order == NULL) {
        return;
    }
    const uint64_t *values = order->op->values;
    for (uint32_t index = 1; index < settled_count(order); index++) {
        lw_dependencies_add(&job->graph, check_find(job, key, values[index - 1])->txn->number,
                            check_find(job, key, values[index])->txn->number, LW_DEPENDENCY_WW,
                            key);
    }
    for (const check_read *read = job->keys[key].reads; read != NULL; read = read->next_of_key) {
        if (job->committed[read->txn->number]) {
            check_update(job, key, read);
            add_read_edges(job, key, read);
        }
    }
}
