/* SPDX-License-Identifier: Apache-2.0 */
/* Reading histories. What is read here was written by whoever was recorded, so nothing of it is
 * believed: a line that cannot be understood is refused with its number. */
#include "sim/history.h"
#include "sim/line.h"

typedef struct reader {
    lw_history *history;
    lw_line line;
    uint64_t number;  /* of the line */
    lw_buffer values; /* of the read at hand, u64 each as in memory */
    lw_map by_id;     /* of seen_id */
} reader;

typedef struct seen_id {
    lw_map_node node;
    lw_history_txn *txn;
} seen_id;

/* ---- operations --------------------------------------------------------------------------- */

static bool want_values(reader *in) {
    lw_buffer_clear(&in->values);
    if (lw_line_take(&in->line, ']')) {
        return true;
    }
    do {
        uint64_t value;
        if (!lw_line_want_number(&in->line, &value)) {
            return false;
        }
        lw_buffer_append(&in->values, lw_view(&value, sizeof(value)));
    } while (lw_line_take(&in->line, ','));
    return lw_line_want(&in->line, ']', "a list of values does not end with ]");
}

/* The result of a read: [] or [1,2] or 7 or null. */
static bool want_result(reader *in, lw_history_txn *txn, uint32_t key) {
    if (lw_line_take_word(&in->line, "null")) {
        lw_history_read_register(in->history, txn, key, NULL);
        txn->last_op->unknown = true;
        return true;
    }
    if (lw_line_take(&in->line, '[')) {
        if (!want_values(in)) {
            return false;
        }
        lw_history_read_list(in->history, txn, key, (const uint64_t *)(const void *)in->values.data,
                             (uint32_t)(in->values.size / sizeof(uint64_t)));
        return true;
    }
    uint64_t value;
    if (!lw_line_want_number(&in->line, &value)) {
        return false;
    }
    lw_history_read_register(in->history, txn, key, &value);
    return true;
}

static bool want_op(reader *in, lw_history_txn *txn) {
    lw_bytes kind, name;
    if (!lw_line_want(&in->line, '[', "an operation is wanted: [kind, key, value]") ||
        !lw_line_want_text(&in->line, &kind) ||
        !lw_line_want(&in->line, ',', "an operation has no key") ||
        !lw_line_want_text(&in->line, &name) ||
        !lw_line_want(&in->line, ',', "an operation has no value")) {
        return false;
    }
    uint32_t key = lw_history_key_of(in->history, name);
    if (lw_equal(kind, lw_text("r"))) {
        if (!want_result(in, txn, key)) {
            return false;
        }
    } else {
        bool append = lw_equal(kind, lw_text("append"));
        uint64_t value;
        if (!append && !lw_equal(kind, lw_text("w"))) {
            return lw_line_problem(&in->line, "operations are r, append and w");
        }
        if (!lw_line_want_number(&in->line, &value)) {
            return false;
        }
        (append ? lw_history_append : lw_history_write)(in->history, txn, key, value);
    }
    if (in->history->keys[key]->is_list && in->history->keys[key]->is_register) {
        return lw_line_problem(&in->line, "a key is a list in one place and a register in another");
    }
    return lw_line_want(&in->line, ']', "an operation does not end with ]");
}

static bool want_ops(reader *in, lw_history_txn *txn) {
    if (!lw_line_want(&in->line, '[', "\"ops\" is no list")) {
        return false;
    }
    if (lw_line_take(&in->line, ']')) {
        return true;
    }
    do {
        if (!want_op(in, txn)) {
            return false;
        }
    } while (lw_line_take(&in->line, ','));
    return lw_line_want(&in->line, ']', "\"ops\" does not end with ]");
}

/* ---- transactions ------------------------------------------------------------------------- */

static bool want_outcome(reader *in, lw_history_txn *txn) {
    int status;
    if (!lw_line_want_status(&in->line, &status)) {
        return false;
    }
    txn->outcome = (lw_outcome)status;
    return true;
}

static bool want_isolation(reader *in, lw_history_txn *txn) {
    lw_bytes text;
    if (!lw_line_want_text(&in->line, &text)) {
        return false;
    }
    txn->strict = lw_equal(text, lw_text("strict"));
    return txn->strict || lw_equal(text, lw_text("snapshot")) ||
           lw_line_problem(&in->line, "\"isolation\" is strict or snapshot");
}

static bool want_process(reader *in, lw_history_txn *txn) {
    uint64_t number;
    if (!lw_line_want_number(&in->line, &number)) {
        return false;
    }
    txn->process = (uint32_t)number;
    return number <= UINT32_MAX || lw_line_problem(&in->line, "\"process\" is above 32 bits");
}

/* A transaction, and whether its line named it. */
typedef struct line_of_txn {
    reader *in;
    lw_history_txn *txn;
    bool named;
} line_of_txn;

static bool want_member(void *argument, lw_line *line, lw_bytes name) {
    line_of_txn *of = argument;
    reader *in = of->in;
    lw_history_txn *txn = of->txn;
    LW_ASSERT(line == &in->line);
    if (lw_equal(name, lw_text("txn"))) {
        of->named = true;
        return lw_line_want_number(&in->line, &txn->id);
    }
    if (lw_equal(name, lw_text("process"))) {
        return want_process(in, txn);
    }
    if (lw_equal(name, lw_text("invoke_ns"))) {
        return lw_line_want_number(&in->line, &txn->invoke_ns);
    }
    if (lw_equal(name, lw_text("complete_ns"))) {
        return lw_line_take_word(&in->line, "null") ||
               lw_line_want_number(&in->line, &txn->complete_ns);
    }
    if (lw_equal(name, lw_text("status"))) {
        return want_outcome(in, txn);
    }
    if (lw_equal(name, lw_text("ops"))) {
        return want_ops(in, txn);
    }
    if (lw_equal(name, lw_text("start_ts"))) {
        return lw_line_take_word(&in->line, "null") ||
               lw_line_want_number(&in->line, &txn->start_timestamp);
    }
    if (lw_equal(name, lw_text("commit_ts"))) {
        return lw_line_take_word(&in->line, "null") ||
               lw_line_want_number(&in->line, &txn->commit_timestamp);
    }
    if (lw_equal(name, lw_text("isolation"))) {
        return want_isolation(in, txn);
    }
    if (lw_equal(name, lw_text("final"))) {
        txn->final = lw_line_take_word(&in->line, "true");
        return txn->final || lw_line_take_word(&in->line, "false") ||
               lw_line_problem(&in->line, "\"final\" is true or false");
    }
    return lw_line_skip_value(&in->line);
}

static bool want_txn(reader *in, lw_history_txn *txn) {
    line_of_txn of = {.in = in, .txn = txn};
    *txn = (lw_history_txn){.outcome = LW_OUTCOME_INFO, .strict = true};
    if (!lw_line_want_object(&in->line, want_member, &of) || !lw_line_want_end(&in->line)) {
        return false;
    }
    if (txn->outcome == LW_OUTCOME_OK && txn->complete_ns < txn->invoke_ns) {
        return lw_line_problem(&in->line,
                               "a transaction that is ok has no \"complete_ns\" after its start");
    }
    txn->complete_ns = txn->outcome == LW_OUTCOME_INFO ? 0 : txn->complete_ns;
    return of.named ||
           lw_line_problem(&in->line,
                           "it has no \"txn\", no \"f\" and no \"type\": it is neither a "
                           "transaction, nor an operation, nor of a bank");
}

/* Puts a transaction in the place of an earlier one with its id, if there is one. */
static void place_txn(reader *in, const lw_history_txn *txn) {
    uint64_t hash = txn->id * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 32;
    lw_map_node *node = lw_map_first(&in->by_id, hash);
    while (node != NULL && LW_MAP_ENTRY(node, seen_id, node)->txn->id != txn->id) {
        node = lw_map_next(node);
    }
    lw_history_txn *to;
    if (node != NULL) {
        to = LW_MAP_ENTRY(node, seen_id, node)->txn;
    } else {
        to = lw_history_begin(in->history, 0, true, 0);
        seen_id *made = lw_arena_allocate(&in->history->arena, sizeof(*made));
        *made = (seen_id){.txn = to};
        lw_map_insert(&in->by_id, &made->node, hash);
    }
    uint32_t number = to->number;
    lw_history_txn *next = to->next;
    *to = *txn;
    to->number = number;
    to->next = next;
}

/* ---- lines -------------------------------------------------------------------------------- */

/* Which kind of line it is: known by a member that no other kind has. */
typedef struct line_kind {
    bool single, bank;
} line_kind;

static bool see_member(void *argument, lw_line *line, lw_bytes name) {
    line_kind *kind = argument;
    kind->single = kind->single || lw_equal(name, lw_text("f"));
    kind->bank = kind->bank || lw_equal(name, lw_text("type"));
    return lw_line_skip_value(line);
}

static bool parse_object(reader *in) {
    lw_history_txn txn;
    line_kind kind = {0};
    lw_line again = in->line;
    if (!lw_line_want_object(&in->line, see_member, &kind)) {
        return false;
    }
    in->line = again;
    if (kind.single) {
        return lw_singles_parse(&in->history->singles, &in->line);
    }
    if (kind.bank) {
        return lw_bank_parse(&in->history->bank, &in->line);
    }
    if (!want_txn(in, &txn)) {
        return false;
    }
    place_txn(in, &txn);
    return true;
}

static lw_status parse_line(reader *in, lw_bytes text) {
    in->number++;
    in->line = lw_line_of(text);
    lw_line_skip_space(&in->line);
    if (in->line.at == in->line.end || *in->line.at == '#' || parse_object(in)) {
        return LW_OK;
    }
    return lw_fail(LW_INVALID_ARGUMENT, "line %llu of the history, byte %zu: %s",
                   (unsigned long long)in->number, (size_t)(in->line.at - text.data),
                   in->line.problem);
}

lw_status lw_history_parse(lw_history *history, lw_bytes lines) {
    lw_memory *memory = history->arena.memory;
    reader in = {.history = history, .values = lw_buffer_in(memory), .by_id = lw_map_in(memory)};
    lw_status status = LW_OK;
    for (size_t at = 0; at < lines.size && status == LW_OK;) {
        const uint8_t *end = memchr(lines.data + at, '\n', lines.size - at);
        size_t size = (end != NULL ? (size_t)(end - lines.data) : lines.size) - at;
        status = parse_line(&in, lw_view(lines.data + at, size));
        at += size + 1;
    }
    lw_map_reset(&in.by_id);
    lw_buffer_reset(&in.values);
    return status;
}
