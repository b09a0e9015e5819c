/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/history.h"

#include "client/json.h"

#include <stdio.h>

void lw_history_reset(lw_history *history) {
    lw_memory *memory = history->arena.memory;
    lw_arena_reset(&history->arena);
    *history = lw_history_in(memory);
}

lw_list_txn *lw_history_begin(lw_history *history, uint32_t process, bool strict,
                              uint64_t invoke_ns) {
    lw_list_txn *txn = lw_arena_allocate(&history->arena, sizeof(*txn));
    *txn = (lw_list_txn){.number = history->txn_count++,
                         .process = process,
                         .invoke_ns = invoke_ns,
                         .outcome = LW_OUTCOME_INFO,
                         .strict = strict};
    *(history->last_txn != NULL ? &history->last_txn->next : &history->txns) = txn;
    history->last_txn = txn;
    return txn;
}

static lw_list_op *add_op(lw_history *history, lw_list_txn *txn, uint32_t key) {
    lw_list_op *op = lw_arena_allocate(&history->arena, sizeof(*op));
    *op = (lw_list_op){.key = key};
    *(txn->last_op != NULL ? &txn->last_op->next : &txn->ops) = op;
    txn->last_op = op;
    return op;
}

void lw_history_read(lw_history *history, lw_list_txn *txn, uint32_t key, const uint64_t *elements,
                     uint32_t element_count) {
    lw_list_op *op = add_op(history, txn, key);
    lw_bytes copy =
        lw_arena_copy(&history->arena, lw_view(elements, element_count * sizeof(uint64_t)));
    op->elements = (const uint64_t *)(const void *)copy.data;
    op->element_count = element_count;
}

void lw_history_append(lw_history *history, lw_list_txn *txn, uint32_t key, uint64_t element) {
    lw_list_op *op = add_op(history, txn, key);
    op->append = true;
    op->element = element;
}

void lw_history_end(lw_list_txn *txn, lw_outcome outcome, uint64_t complete_ns) {
    txn->outcome = outcome;
    txn->complete_ns = outcome == LW_OUTCOME_INFO ? 0 : complete_ns;
}

static void write_op(lw_json *json, const lw_list_op *op) {
    char key[16];
    (void)snprintf(key, sizeof(key), "%u", op->key);
    lw_json_array_open(json, NULL);
    lw_json_text(json, NULL, lw_text(op->append ? "append" : "r"));
    lw_json_text(json, NULL, lw_text(key));
    if (op->append) {
        lw_json_number(json, NULL, op->element);
    } else if (op->unknown) {
        lw_json_null(json, NULL);
    } else {
        lw_json_array_open(json, NULL);
        for (uint32_t index = 0; index < op->element_count; index++) {
            lw_json_number(json, NULL, op->elements[index]);
        }
        lw_json_array_close(json);
    }
    lw_json_array_close(json);
}

static void write_txn(lw_json *json, const lw_list_txn *txn) {
    static const char *const outcomes[] = {"ok", "fail", "info"};
    lw_json_object_open(json, NULL);
    lw_json_number(json, "txn", txn->number);
    lw_json_number(json, "process", txn->process);
    lw_json_number(json, "invoke_ns", txn->invoke_ns);
    if (txn->outcome == LW_OUTCOME_INFO) {
        lw_json_null(json, "complete_ns");
    } else {
        lw_json_number(json, "complete_ns", txn->complete_ns);
    }
    lw_json_text(json, "status", lw_text(outcomes[txn->outcome]));
    lw_json_array_open(json, "ops");
    for (const lw_list_op *op = txn->ops; op != NULL; op = op->next) {
        write_op(json, op);
    }
    lw_json_array_close(json);
    if (txn->start_timestamp != 0) {
        lw_json_number(json, "start_ts", txn->start_timestamp);
    }
    if (txn->commit_timestamp != 0) {
        lw_json_number(json, "commit_ts", txn->commit_timestamp);
    }
    lw_json_text(json, "isolation", lw_text(txn->strict ? "strict" : "snapshot"));
    if (txn->final) {
        lw_json_boolean(json, "final", true);
    }
    lw_json_object_close(json);
}

void lw_history_write(const lw_history *history, lw_buffer *lines) {
    for (const lw_list_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        lw_json json = lw_json_to(lines);
        write_txn(&json, txn);
        lw_buffer_append_u8(lines, '\n');
    }
}
