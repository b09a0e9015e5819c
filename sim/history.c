/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/history.h"

#include "base/hash.h"
#include "client/json.h"

void lw_history_reset(lw_history *history) {
    lw_memory *memory = history->arena.memory;
    lw_map_reset(&history->names);
    lw_free(memory, history->keys);
    lw_singles_reset(&history->singles);
    lw_bank_reset(&history->bank);
    lw_arena_reset(&history->arena);
    *history = lw_history_in(memory);
}

uint32_t lw_history_key_of(lw_history *history, lw_bytes name) {
    uint64_t hash = lw_hash(0, name);
    lw_map_node *node = lw_map_first(&history->names, hash);
    for (; node != NULL; node = lw_map_next(node)) {
        const lw_history_key *one = LW_MAP_ENTRY(node, lw_history_key, node);
        if (lw_equal(one->name, name)) {
            return one->number;
        }
    }
    if (history->key_count == history->key_capacity) {
        history->key_capacity = history->key_capacity * 2 + 16;
        history->keys = lw_reallocate(history->arena.memory, history->keys,
                                      history->key_capacity * sizeof(*history->keys));
    }
    lw_history_key *made = lw_arena_allocate(&history->arena, sizeof(*made));
    *made = (lw_history_key){.name = lw_arena_copy(&history->arena, name),
                             .number = history->key_count};
    lw_map_insert(&history->names, &made->node, hash);
    history->keys[history->key_count++] = made;
    return made->number;
}

lw_history_txn *lw_history_begin(lw_history *history, uint32_t process, bool strict,
                                 uint64_t invoke_ns) {
    lw_history_txn *txn = lw_arena_allocate(&history->arena, sizeof(*txn));
    *txn = (lw_history_txn){.number = history->txn_count,
                            .id = history->txn_count,
                            .process = process,
                            .invoke_ns = invoke_ns,
                            .outcome = LW_OUTCOME_INFO,
                            .strict = strict};
    history->txn_count++;
    *(history->last_txn != NULL ? &history->last_txn->next : &history->txns) = txn;
    history->last_txn = txn;
    return txn;
}

static lw_history_op *add_op(lw_history *history, lw_history_txn *txn, lw_history_kind kind,
                             uint32_t key) {
    LW_ASSERT(key < history->key_count);
    lw_history_op *op = lw_arena_allocate(&history->arena, sizeof(*op));
    *op = (lw_history_op){.kind = kind, .key = key};
    *(txn->last_op != NULL ? &txn->last_op->next : &txn->ops) = op;
    txn->last_op = op;
    return op;
}

static void add_read(lw_history *history, lw_history_txn *txn, uint32_t key, const uint64_t *values,
                     uint32_t value_count) {
    lw_history_op *op = add_op(history, txn, LW_HISTORY_READ, key);
    lw_bytes copy = lw_arena_copy(&history->arena, lw_view(values, value_count * sizeof(uint64_t)));
    op->values = (const uint64_t *)(const void *)copy.data;
    op->value_count = value_count;
}

void lw_history_read_list(lw_history *history, lw_history_txn *txn, uint32_t key,
                          const uint64_t *elements, uint32_t element_count) {
    history->keys[key]->is_list |= element_count > 0;
    add_read(history, txn, key, elements, element_count);
}

void lw_history_read_register(lw_history *history, lw_history_txn *txn, uint32_t key,
                              const uint64_t *value) {
    history->keys[key]->is_register |= value != NULL;
    add_read(history, txn, key, value, value != NULL);
}

void lw_history_append(lw_history *history, lw_history_txn *txn, uint32_t key, uint64_t element) {
    history->keys[key]->is_list = true;
    add_op(history, txn, LW_HISTORY_APPEND, key)->value = element;
}

void lw_history_write(lw_history *history, lw_history_txn *txn, uint32_t key, uint64_t value) {
    history->keys[key]->is_register = true;
    add_op(history, txn, LW_HISTORY_WRITE, key)->value = value;
}

void lw_history_end(lw_history_txn *txn, lw_outcome outcome, uint64_t complete_ns) {
    txn->outcome = outcome;
    txn->complete_ns = outcome == LW_OUTCOME_INFO ? 0 : complete_ns;
}

/* ---- printing ----------------------------------------------------------------------------- */

static void print_read(lw_json *json, const lw_history_key *key, const lw_history_op *op) {
    if (op->unknown) {
        lw_json_null(json, NULL);
        return;
    }
    if (key->is_register && op->value_count == 1) {
        lw_json_number(json, NULL, op->values[0]);
        return;
    }
    lw_json_array_open(json, NULL);
    for (uint32_t index = 0; index < op->value_count; index++) {
        lw_json_number(json, NULL, op->values[index]);
    }
    lw_json_array_close(json);
}

static void print_op(lw_json *json, const lw_history *history, const lw_history_op *op) {
    static const char *const kinds[] = {"r", "append", "w"};
    const lw_history_key *key = history->keys[op->key];
    lw_json_array_open(json, NULL);
    lw_json_text(json, NULL, lw_text(kinds[op->kind]));
    lw_json_text(json, NULL, key->name);
    if (op->kind == LW_HISTORY_READ) {
        print_read(json, key, op);
    } else {
        lw_json_number(json, NULL, op->value);
    }
    lw_json_array_close(json);
}

void lw_history_print_txn(const lw_history *history, const lw_history_txn *txn, lw_buffer *lines) {
    static const char *const outcomes[] = {"ok", "fail", "info"};
    lw_json json = lw_json_to(lines);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "txn", txn->id);
    lw_json_number(&json, "process", txn->process);
    lw_json_number(&json, "invoke_ns", txn->invoke_ns);
    if (txn->outcome == LW_OUTCOME_INFO) {
        lw_json_null(&json, "complete_ns");
    } else {
        lw_json_number(&json, "complete_ns", txn->complete_ns);
    }
    lw_json_text(&json, "status", lw_text(outcomes[txn->outcome]));
    lw_json_array_open(&json, "ops");
    for (const lw_history_op *op = txn->ops; op != NULL; op = op->next) {
        print_op(&json, history, op);
    }
    lw_json_array_close(&json);
    if (txn->start_timestamp != 0) {
        lw_json_number(&json, "start_ts", txn->start_timestamp);
    }
    if (txn->commit_timestamp != 0) {
        lw_json_number(&json, "commit_ts", txn->commit_timestamp);
    }
    lw_json_text(&json, "isolation", lw_text(txn->strict ? "strict" : "snapshot"));
    if (txn->final) {
        lw_json_boolean(&json, "final", true);
    }
    lw_json_object_close(&json);
    lw_buffer_append_u8(lines, '\n');
}

void lw_history_print(const lw_history *history, lw_buffer *lines) {
    for (const lw_history_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        lw_history_print_txn(history, txn, lines);
    }
}
