/* SPDX-License-Identifier: Apache-2.0 */
/* The mixture: transactions over hot lists and the rows that go with them, as the checker's history
 * has them. Rows are registers: put, inserted, read one by one and by scans of their range, where
 * those that are not shown are absent. */
#include "sim/workload_private.h"

#include "client/transaction.h"

enum {
    OPS_MAX = 20,
    LIST_LIFE = 40,     /* transactions after which the window moves on by one list */
    FINAL_KEYS = 32,    /* lists a final transaction reads */
    LINGER_ONE_IN = 25, /* operations: behind it the transaction rests, for up to */
    LINGER_MS = 800,    /* so that others, and trouble, come between */
    LONG_MS = 8000,     /* that a reader may take who takes its time */
};

static lw_bytes list_key(uint32_t list, char key[WORKLOAD_KEY_SIZE]) {
    int size = snprintf(key, WORKLOAD_KEY_SIZE, "list/%06u", list);
    return lw_view(key, (size_t)size);
}

static lw_bytes row_key(uint32_t list, uint64_t row, char key[WORKLOAD_KEY_SIZE]) {
    int size = snprintf(key, WORKLOAD_KEY_SIZE, "row/%06u/%" PRIu64, list, row);
    return lw_view(key, (size_t)size);
}

/* The number that begins at `from` in a key. */
static uint32_t number_in(lw_bytes key, size_t from) {
    uint32_t number = 0;
    for (size_t at = from; at < key.size && key.data[at] >= '0' && key.data[at] <= '9'; at++) {
        number = number * 10 + key.data[at] - '0';
    }
    return number;
}

/* ---- what is noted ------------------------------------------------------------------------ */

typedef struct mixture {
    workload_txn *in;
    lw_workload *workload;
    lw_history *history;
    lw_history_txn *record;
} mixture;

static void note_list(const mixture *of, uint32_t list, lw_bytes elements) {
    char key[WORKLOAD_KEY_SIZE];
    lw_memory *memory = of->workload->memory;
    uint64_t *copy = lw_allocate(memory, elements.size);
    if (elements.size > 0) {
        memcpy(copy, elements.data, elements.size);
    }
    lw_history_read_list(of->history, of->record,
                         lw_history_key_of(of->history, list_key(list, key)), copy,
                         (uint32_t)(elements.size / sizeof(uint64_t)));
    lw_free(memory, copy);
}

/* `value` of no size: the row is absent. */
static void note_row(const mixture *of, uint32_t list, uint64_t row, lw_bytes value) {
    char key[WORKLOAD_KEY_SIZE];
    uint64_t number = 0;
    if (value.size == sizeof(number)) {
        memcpy(&number, value.data, sizeof(number));
    } else {
        LW_ASSERT(value.size == 0);
    }
    lw_history_read_register(of->history, of->record,
                             lw_history_key_of(of->history, row_key(list, row, key)),
                             value.size > 0 ? &number : NULL);
}

/* ---- lists -------------------------------------------------------------------------------- */

/* LW_OK with no value if there is none. The view lives until the txn's next call. */
LW_YIELDS static lw_status read_key(lw_txn *txn, lw_bytes key, bool for_update, lw_bytes *value) {
    *value = (lw_bytes){0};
    lw_status status = for_update ? lw_get_for_update(txn, key, value) : lw_get(txn, key, value);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* Writes what nobody must ever read, here and there, and takes it back. */
LW_YIELDS static lw_status detour(lw_env *env, lw_txn *txn, uint32_t list) {
    static const char rubbish[] = "rubbish";
    char key[WORKLOAD_KEY_SIZE];
    LW_TRY(lw_savepoint(txn, "detour"));
    for (uint64_t step = workload_below(env, 3); step > 0; step--) {
        LW_TRY(lw_put(txn, list_key(list, key), lw_text(rubbish)));
        LW_TRY(lw_delete(txn, list_key(list + 1, key), NULL));
    }
    return lw_rollback_to(txn, "detour");
}

LW_YIELDS static lw_status read_one_list(const mixture *of, uint32_t list) {
    char key[WORKLOAD_KEY_SIZE];
    lw_bytes elements;
    LW_TRY(read_key(of->in->txn, list_key(list, key), false, &elements));
    note_list(of, list, elements);
    return LW_OK;
}

/* Without a look, until afterwards. Only a strict transaction does: at snapshot isolation such
 * appends are in conflict with nothing, so that one may come between a snapshot and its
 * transaction's own. */
LW_YIELDS static lw_status append_blindly(const mixture *of, uint32_t list) {
    char key[WORKLOAD_KEY_SIZE];
    lw_bytes name = list_key(list, key);
    uint64_t element = of->workload->next_element++;
    lw_history_append(of->history, of->record, lw_history_key_of(of->history, name), element);
    LW_TRY(lw_append(of->in->txn, name, lw_view(&element, sizeof(element))));
    return workload_below(of->in->env, 2) == 0 ? LW_OK : read_one_list(of, list);
}

LW_YIELDS static lw_status append_to_list(const mixture *of, uint32_t list) {
    lw_env *env = of->in->env;
    lw_txn *txn = of->in->txn;
    char key[WORKLOAD_KEY_SIZE];
    lw_bytes elements, name = list_key(list, key);
    if (workload_below(env, 8) == 0) {
        LW_TRY(detour(env, txn, list));
    }
    if (of->in->strict && workload_below(env, 6) == 0) {
        return append_blindly(of, list);
    }
    LW_TRY(read_key(txn, name, workload_below(env, 3) == 0, &elements));
    note_list(of, list, elements);
    uint64_t element = of->workload->next_element++;
    lw_history_append(of->history, of->record, lw_history_key_of(of->history, name), element);
    lw_buffer grown = lw_buffer_in(env->memory);
    lw_buffer_append(&grown, elements);
    lw_buffer_append_u64(&grown, element);
    lw_status status = lw_put(txn, name, lw_buffer_view(&grown));
    lw_buffer_reset(&grown);
    return status;
}

/* Reads all lists of the window by a scan; those that it does not show are empty. */
LW_YIELDS static lw_status scan_lists(const mixture *of) {
    lw_env *env = of->in->env;
    char lower[WORKLOAD_KEY_SIZE], upper[WORKLOAD_KEY_SIZE];
    uint32_t end = of->workload->lists_begun, next = end - of->workload->list_window;
    lw_scan_options options = {.lower = list_key(next, lower), .upper = list_key(end, upper)};
    lw_scan *scan = NULL;
    LW_TRY(lw_scan_open(of->in->txn, &options, &scan));
    lw_bytes key, value;
    lw_status status;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        uint32_t list = number_in(key, strlen("list/"));
        for (; next < list; next++) {
            note_list(of, next, (lw_bytes){0});
        }
        note_list(of, next++, value);
        lw_env_sleep(env, workload_below(env, 4) == 0 ? workload_below(env, 2000000) : 0);
    }
    lw_scan_close(scan);
    for (; status == LW_NOT_FOUND && next < end; next++) {
        note_list(of, next, (lw_bytes){0});
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* ---- rows --------------------------------------------------------------------------------- */

LW_YIELDS static lw_status read_row(const mixture *of, uint32_t list, uint64_t row, bool *present) {
    char key[WORKLOAD_KEY_SIZE];
    lw_bytes value;
    bool for_update = workload_below(of->in->env, 4) == 0;
    LW_TRY(read_key(of->in->txn, row_key(list, row, key), for_update, &value));
    note_row(of, list, row, value);
    *present = value.size > 0;
    return LW_OK;
}

/* Puts a row, having read it or not; inserts one that was not there. */
LW_YIELDS static lw_status write_row(const mixture *of, uint32_t list, uint64_t row) {
    char key[WORKLOAD_KEY_SIZE];
    bool present = true;
    if (workload_below(of->in->env, 3) != 0) {
        LW_TRY(read_row(of, list, row, &present));
    }
    uint64_t number = of->workload->next_element++;
    lw_bytes name = row_key(list, row, key), value = lw_view(&number, sizeof(number));
    lw_history_write(of->history, of->record, lw_history_key_of(of->history, name), number);
    return present ? lw_put(of->in->txn, name, value) : lw_insert(of->in->txn, name, value);
}

/* Reads the rows of a list by a scan, forwards or backwards. */
LW_YIELDS static lw_status scan_rows(const mixture *of, uint32_t list) {
    char prefix[WORKLOAD_KEY_SIZE];
    (void)snprintf(prefix, sizeof(prefix), "row/%06u/", list);
    lw_scan_options options = {.prefix = lw_text(prefix),
                               .backwards = workload_below(of->in->env, 2) == 0};
    bool shown[WORKLOAD_ROWS] = {false};
    lw_scan *scan = NULL;
    LW_TRY(lw_scan_open(of->in->txn, &options, &scan));
    lw_bytes key, value;
    lw_status status;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        uint32_t row = number_in(key, strlen(prefix));
        LW_ASSERT(row < WORKLOAD_ROWS);
        note_row(of, list, row, value);
        shown[row] = true;
    }
    lw_scan_close(scan);
    for (uint64_t row = 0; status == LW_NOT_FOUND && row < WORKLOAD_ROWS; row++) {
        if (!shown[row]) {
            note_row(of, list, row, (lw_bytes){0});
        }
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* ---- one transaction ---------------------------------------------------------------------- */

LW_YIELDS static lw_status run_op(const mixture *of) {
    lw_env *env = of->in->env;
    lw_workload *workload = of->workload;
    uint32_t list =
        workload->lists_begun - 1 - (uint32_t)workload_below(env, workload->list_window);
    uint64_t row = workload_below(env, WORKLOAD_ROWS);
    uint64_t choice = workload_below(env, 14);
    bool present;
    return choice < 4    ? append_to_list(of, list)
           : choice == 4 ? scan_lists(of)
           : choice < 8  ? read_one_list(of, list)
           : choice < 11 ? write_row(of, list, row)
           : choice < 13 ? read_row(of, list, row, &present)
                         : scan_rows(of, list);
}

LW_YIELDS static lw_status run_ops(const mixture *of) {
    lw_env *env = of->in->env;
    uint64_t ops = workload_below(env, 12) == 0 ? OPS_MAX : 1 + workload_below(env, 4);
    for (uint64_t op = 0; op < ops; op++) {
        lw_status status = run_op(of);
        of->record->known_as = of->in->txn->start;
        LW_TRY(status);
        workload_note_timestamp(of->in);
        if (workload_below(env, LINGER_ONE_IN) == 0) {
            lw_env_sleep(env, workload_below(env, LINGER_MS * UINT64_C(1000000)));
        }
    }
    return LW_OK;
}

static const char *copy_token(lw_history *history, const char *token) {
    lw_bytes text = lw_view(token, strlen(token) + 1);
    return text.size > 1 ? (const char *)lw_arena_copy(&history->arena, text).data : NULL;
}

LW_YIELDS static void run_transaction(lw_env *env, lw_workload_client *self, lw_client *client,
                                      uint32_t *process) {
    lw_workload *workload = self->workload;
    workload_txn in;
    if (!workload_begin(&in, env, self, client, false)) {
        return;
    }
    lw_history *history = &workload->history;
    if (history->txn_count % LIST_LIFE == LIST_LIFE - 1) {
        workload->lists_begun++;
    }
    lw_history_txn *record =
        lw_history_begin(history, *process, in.strict, workload->now_ns(workload->clock));
    mixture of = {.in = &in, .workload = workload, .history = history, .record = record};
    self->open = record;
    lw_outcome outcome = workload_finish(&in, run_ops(&of));
    self->open = NULL;
    record->start_timestamp = lw_read_timestamp(in.txn);
    record->commit_timestamp = lw_commit_timestamp(in.txn);
    record->token = copy_token(history, lw_txn_token(in.txn));
    lw_history_end(record, outcome, workload->now_ns(workload->clock));
    workload_close(&in);
    if (outcome == LW_OUTCOME_INFO) {
        *process = workload->next_process++;
    }
}

/* ---- the past ----------------------------------------------------------------------------- */

static bool begins_with(const lw_past_read *whole, const lw_past_read *beginning) {
    return beginning->element_count <= whole->element_count &&
           lw_equal(lw_view(beginning->elements, beginning->element_count * sizeof(uint64_t)),
                    lw_view(whole->elements, beginning->element_count * sizeof(uint64_t)));
}

static void past_violation(lw_workload *workload, uint32_t key, uint64_t timestamp,
                           const char *what) {
    lw_bytes name = workload->history.keys[key]->name;
    lw_buffer_print(&workload->violations, "the past: %.*s at timestamp %" PRIu64 ": %s\n",
                    (int)name.size, (const char *)name.data, timestamp, what);
}

static uint32_t past_kept(const lw_workload *workload) {
    return workload->past_count < LW_PAST_READS_MAX ? workload->past_count : LW_PAST_READS_MAX;
}

/* Lists only grow with the timestamp they are read at, and are the same at the same one. */
static void keep_past(lw_workload *workload, const lw_past_read *read) {
    for (uint32_t index = 0; index < past_kept(workload); index++) {
        const lw_past_read *other = &workload->past[index];
        bool later = read->timestamp >= other->timestamp;
        bool earlier = read->timestamp <= other->timestamp;
        if (other->key == read->key &&
            ((later && !begins_with(read, other)) || (earlier && !begins_with(other, read)))) {
            past_violation(workload, read->key, read->timestamp,
                           "it does not go with what it held at another");
        }
    }
    workload->past[workload->past_count++ % LW_PAST_READS_MAX] = *read;
}

/* A timestamp that was told, and a list that was hot then or is now; or both of an earlier read. */
static void choose_past(lw_env *env, const lw_workload *workload, uint64_t *timestamp,
                        uint32_t *list) {
    *timestamp = workload->highest_timestamp;
    *list = workload->lists_begun - 1 - (uint32_t)workload_below(env, workload->list_window);
    uint32_t kept = past_kept(workload);
    if (kept > 0 && workload_below(env, 2) == 0) {
        const lw_past_read *one = &workload->past[workload_below(env, kept)];
        uint64_t span = workload->highest_timestamp - one->timestamp;
        *timestamp =
            one->timestamp + (workload_below(env, 2) == 0 ? 0 : workload_below(env, span + 1));
        *list = number_in(workload->history.keys[one->key]->name, strlen("list/"));
    }
}

LW_YIELDS static lw_status read_list_then(lw_workload *workload, lw_txn *txn, uint64_t timestamp,
                                          uint32_t list) {
    char key[WORKLOAD_KEY_SIZE];
    lw_bytes elements, name = list_key(list, key);
    uint64_t forgotten =
        workload->forgotten == NULL ? 0 : workload->forgotten(workload->looker, name);
    LW_TRY(read_key(txn, name, false, &elements));
    if (timestamp < forgotten) {
        past_violation(workload, lw_history_key_of(&workload->history, name), timestamp,
                       "it was read, and had been forgotten before");
    }
    lw_bytes copy = lw_arena_copy(&workload->history.arena, elements);
    keep_past(workload, &(lw_past_read){.timestamp = timestamp,
                                        .key = lw_history_key_of(&workload->history, name),
                                        .elements = (const uint64_t *)(const void *)copy.data,
                                        .element_count = (uint32_t)(copy.size / sizeof(uint64_t))});
    return LW_OK;
}

void workload_read_past(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    uint32_t list;
    lw_txn_options options = {.timeout_ms = 2000};
    choose_past(env, workload, &options.at_timestamp, &list);
    lw_txn *txn = NULL;
    if (options.at_timestamp == 0 || lw_begin(client, &options, &txn) != LW_OK) {
        return;
    }
    (void)!read_list_then(workload, txn, options.at_timestamp, list); /* it may be gone */
    lw_txn_close(txn);
}

void workload_read_long(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    lw_txn_options options = {.timeout_ms = LONG_MS, .at_timestamp = workload->highest_timestamp};
    lw_txn *txn = NULL;
    if (options.at_timestamp == 0 || lw_begin(client, &options, &txn) != LW_OK) {
        return;
    }
    lw_status status = LW_OK;
    for (uint64_t step = 2 + workload_below(env, 4); step > 0 && status == LW_OK; step--) {
        uint32_t list =
            workload->lists_begun - 1 - (uint32_t)workload_below(env, workload->list_window);
        status = read_list_then(workload, txn, options.at_timestamp, list);
        lw_env_sleep(env, workload_below(env, LONG_MS * UINT64_C(1000000) / 8));
    }
    lw_txn_close(txn);
}

static bool holds(const lw_past_read *read, uint64_t element) {
    for (uint32_t index = 0; index < read->element_count; index++) {
        if (read->elements[index] == element) {
            return true;
        }
    }
    return false;
}

/* What had been committed by then was there, and nothing else. */
static void judge_past_read(lw_workload *workload, const lw_past_read *read) {
    for (lw_history_txn *txn = workload->history.txns; txn != NULL; txn = txn->next) {
        bool known = txn->outcome == LW_OUTCOME_OK && txn->commit_timestamp != 0;
        for (const lw_history_op *op = txn->ops; op != NULL; op = op->next) {
            if (op->kind != LW_HISTORY_APPEND || op->key != read->key) {
                continue;
            }
            bool there = holds(read, op->value);
            bool wanted = known && txn->commit_timestamp <= read->timestamp;
            if (there != wanted && (known || (there && txn->outcome == LW_OUTCOME_FAIL))) {
                past_violation(workload, read->key, read->timestamp,
                               there ? "it held what was not committed by then"
                                     : "it did not hold what had been committed by then");
            }
        }
    }
}

void workload_judge_past(lw_workload *workload) {
    for (uint32_t index = 0; index < past_kept(workload); index++) {
        judge_past_read(workload, &workload->past[index]);
    }
}

/* ---- all of it ---------------------------------------------------------------------------- */

void workload_run_mixture(lw_env *env, lw_workload_client *self, lw_client *client,
                          uint32_t *process) {
    if (workload_below(env, 12) == 0) {
        workload_read_past(env, self, client);
    } else {
        run_transaction(env, self, client, process);
    }
}

LW_YIELDS static lw_status read_finally(const mixture *of, uint32_t begin, uint32_t end) {
    for (uint32_t list = begin; list < end; list++) {
        LW_TRY(read_one_list(of, list));
        for (uint64_t row = 0; row < WORKLOAD_ROWS; row++) {
            char key[WORKLOAD_KEY_SIZE];
            lw_bytes value;
            LW_TRY(read_key(of->in->txn, row_key(list, row, key), false, &value));
            note_row(of, list, row, value);
        }
    }
    return LW_OK;
}

lw_status workload_final_mixture(lw_workload *workload, lw_client *client) {
    uint32_t process = workload->next_process++;
    for (uint32_t list = 0; list < workload->lists_begun; list += FINAL_KEYS) {
        uint32_t end =
            workload->lists_begun - list < FINAL_KEYS ? workload->lists_begun : list + FINAL_KEYS;
        lw_txn_options options = {.read_only = 1};
        workload_txn in = {.client = client, .strict = true};
        LW_TRY(lw_begin(client, &options, &in.txn));
        lw_history_txn *record =
            lw_history_begin(&workload->history, process, true, workload->now_ns(workload->clock));
        mixture of = {
            .in = &in, .workload = workload, .history = &workload->history, .record = record};
        lw_status status = read_finally(&of, list, end);
        record->final = true;
        lw_history_end(record, status == LW_OK ? LW_OUTCOME_OK : LW_OUTCOME_FAIL,
                       workload->now_ns(workload->clock));
        workload_close(&in);
        LW_TRY(status);
    }
    return LW_OK;
}
