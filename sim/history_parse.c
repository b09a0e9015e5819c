/* SPDX-License-Identifier: Apache-2.0 */
/* Reading histories. What is read here was written by whoever was recorded, so nothing of it is
 * believed: a line that cannot be understood is refused with its number. */
#include "sim/history.h"

enum { DEPTH_MAX = 64 };

typedef struct reader {
    lw_history *history;
    const uint8_t *at, *end; /* of the line */
    uint64_t line;
    const char *problem; /* the first one of the line; NULL: none */
    lw_buffer values;    /* of the read at hand, u64 each as in memory */
    lw_map by_id;        /* of seen_id */
} reader;

typedef struct seen_id {
    lw_map_node node;
    lw_history_txn *txn;
} seen_id;

/* ---- JSON --------------------------------------------------------------------------------- */

static bool problem(reader *in, const char *what) {
    if (in->problem == NULL) {
        in->problem = what;
    }
    return false;
}

static void skip_space(reader *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\r')) {
        in->at++;
    }
}

/* Takes a character, if it is the next. */
static bool take(reader *in, char wanted) {
    skip_space(in);
    bool found = in->at < in->end && *in->at == (uint8_t)wanted;
    in->at += found;
    return found;
}

static bool want(reader *in, char wanted, const char *otherwise) {
    return take(in, wanted) || problem(in, otherwise);
}

static bool take_word(reader *in, const char *word) {
    skip_space(in);
    size_t size = strlen(word);
    bool found = (size_t)(in->end - in->at) >= size && memcmp(in->at, word, size) == 0;
    in->at += found ? size : 0;
    return found;
}

/* Escapes are left as they are: they are compared, not shown. */
static bool want_text(reader *in, lw_bytes *text) {
    if (!want(in, '"', "a text is wanted")) {
        return false;
    }
    const uint8_t *begin = in->at;
    while (in->at < in->end && *in->at != '"') {
        in->at += *in->at == '\\' && in->at + 1 < in->end ? 2 : 1;
    }
    if (in->at >= in->end) {
        return problem(in, "a text does not end");
    }
    *text = lw_view(begin, (size_t)(in->at - begin));
    in->at++;
    return true;
}

static bool want_number(reader *in, uint64_t *number) {
    skip_space(in);
    const uint8_t *begin = in->at;
    *number = 0;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++) {
        uint64_t digit = (uint64_t)(*in->at - '0');
        if (*number > (UINT64_MAX - digit) / 10) {
            return problem(in, "a number is above 64 bits");
        }
        *number = *number * 10 + digit;
    }
    bool fraction = in->at < in->end && (*in->at == '.' || *in->at == 'e' || *in->at == 'E');
    return (in->at > begin && !fraction) || problem(in, "a number without sign is wanted");
}

/* Passes over any value. */
static bool skip_value(reader *in) {
    uint32_t depth = 0;
    do {
        skip_space(in);
        lw_bytes text;
        if (in->at >= in->end) {
            return problem(in, "the line ends too early");
        }
        if (*in->at == '"') {
            if (!want_text(in, &text)) {
                return false;
            }
            continue;
        }
        uint8_t byte = *in->at;
        bool bare = strchr(",:[]{}", byte) == NULL;
        if (depth == 0 && strchr(",:]}", byte) != NULL) {
            return problem(in, "a value is missing");
        }
        depth += byte == '[' || byte == '{';
        depth -= byte == ']' || byte == '}';
        if (depth > DEPTH_MAX) {
            return problem(in, "values are nested too deeply");
        }
        in->at++;
        while (bare && in->at < in->end && strchr(",]} \t\r", *in->at) == NULL) {
            in->at++;
        }
    } while (depth > 0);
    return true;
}

/* ---- operations --------------------------------------------------------------------------- */

static bool want_values(reader *in) {
    lw_buffer_clear(&in->values);
    if (take(in, ']')) {
        return true;
    }
    do {
        uint64_t value;
        if (!want_number(in, &value)) {
            return false;
        }
        lw_buffer_append(&in->values, lw_view(&value, sizeof(value)));
    } while (take(in, ','));
    return want(in, ']', "a list of values does not end with ]");
}

/* The result of a read: [] or [1,2] or 7 or null. */
static bool want_result(reader *in, lw_history_txn *txn, uint32_t key) {
    if (take_word(in, "null")) {
        lw_history_read_register(in->history, txn, key, NULL);
        txn->last_op->unknown = true;
        return true;
    }
    if (take(in, '[')) {
        if (!want_values(in)) {
            return false;
        }
        lw_history_read_list(in->history, txn, key, (const uint64_t *)(const void *)in->values.data,
                             (uint32_t)(in->values.size / sizeof(uint64_t)));
        return true;
    }
    uint64_t value;
    if (!want_number(in, &value)) {
        return false;
    }
    lw_history_read_register(in->history, txn, key, &value);
    return true;
}

static bool want_op(reader *in, lw_history_txn *txn) {
    lw_bytes kind, name;
    if (!want(in, '[', "an operation is wanted: [kind, key, value]") || !want_text(in, &kind) ||
        !want(in, ',', "an operation has no key") || !want_text(in, &name) ||
        !want(in, ',', "an operation has no value")) {
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
            return problem(in, "operations are r, append and w");
        }
        if (!want_number(in, &value)) {
            return false;
        }
        (append ? lw_history_append : lw_history_write)(in->history, txn, key, value);
    }
    if (in->history->keys[key]->is_list && in->history->keys[key]->is_register) {
        return problem(in, "a key is a list in one place and a register in another");
    }
    return want(in, ']', "an operation does not end with ]");
}

static bool want_ops(reader *in, lw_history_txn *txn) {
    if (!want(in, '[', "\"ops\" is no list")) {
        return false;
    }
    if (take(in, ']')) {
        return true;
    }
    do {
        if (!want_op(in, txn)) {
            return false;
        }
    } while (take(in, ','));
    return want(in, ']', "\"ops\" does not end with ]");
}

/* ---- transactions ------------------------------------------------------------------------- */

static bool want_outcome(reader *in, lw_history_txn *txn) {
    lw_bytes text;
    if (!want_text(in, &text)) {
        return false;
    }
    if (lw_equal(text, lw_text("ok"))) {
        txn->outcome = LW_OUTCOME_OK;
    } else if (lw_equal(text, lw_text("fail"))) {
        txn->outcome = LW_OUTCOME_FAIL;
    } else if (lw_equal(text, lw_text("info"))) {
        txn->outcome = LW_OUTCOME_INFO;
    } else {
        return problem(in, "\"status\" is ok, fail or info");
    }
    return true;
}

static bool want_isolation(reader *in, lw_history_txn *txn) {
    lw_bytes text;
    if (!want_text(in, &text)) {
        return false;
    }
    txn->strict = lw_equal(text, lw_text("strict"));
    return txn->strict || lw_equal(text, lw_text("snapshot")) ||
           problem(in, "\"isolation\" is strict or snapshot");
}

static bool want_process(reader *in, lw_history_txn *txn) {
    uint64_t number;
    if (!want_number(in, &number)) {
        return false;
    }
    txn->process = (uint32_t)number;
    return number <= UINT32_MAX || problem(in, "\"process\" is above 32 bits");
}

static bool want_member(reader *in, lw_bytes name, lw_history_txn *txn, bool *named) {
    if (lw_equal(name, lw_text("txn"))) {
        *named = true;
        return want_number(in, &txn->id);
    }
    if (lw_equal(name, lw_text("process"))) {
        return want_process(in, txn);
    }
    if (lw_equal(name, lw_text("invoke_ns"))) {
        return want_number(in, &txn->invoke_ns);
    }
    if (lw_equal(name, lw_text("complete_ns"))) {
        return take_word(in, "null") || want_number(in, &txn->complete_ns);
    }
    if (lw_equal(name, lw_text("status"))) {
        return want_outcome(in, txn);
    }
    if (lw_equal(name, lw_text("ops"))) {
        return want_ops(in, txn);
    }
    if (lw_equal(name, lw_text("start_ts"))) {
        return take_word(in, "null") || want_number(in, &txn->start_timestamp);
    }
    if (lw_equal(name, lw_text("commit_ts"))) {
        return take_word(in, "null") || want_number(in, &txn->commit_timestamp);
    }
    if (lw_equal(name, lw_text("isolation"))) {
        return want_isolation(in, txn);
    }
    if (lw_equal(name, lw_text("final"))) {
        txn->final = take_word(in, "true");
        return txn->final || take_word(in, "false") || problem(in, "\"final\" is true or false");
    }
    return skip_value(in);
}

static bool want_txn(reader *in, lw_history_txn *txn) {
    bool named = false;
    *txn = (lw_history_txn){.outcome = LW_OUTCOME_INFO, .strict = true};
    if (!want(in, '{', "a line is an object")) {
        return false;
    }
    do {
        lw_bytes name;
        if (!want_text(in, &name) || !want(in, ':', "a member has no value") ||
            !want_member(in, name, txn, &named)) {
            return false;
        }
    } while (take(in, ','));
    if (!want(in, '}', "the object does not end with }")) {
        return false;
    }
    skip_space(in);
    if (in->at < in->end) {
        return problem(in, "there is more behind the object");
    }
    if (txn->outcome == LW_OUTCOME_OK && txn->complete_ns < txn->invoke_ns) {
        return problem(in, "a transaction that is ok has no \"complete_ns\" after its start");
    }
    txn->complete_ns = txn->outcome == LW_OUTCOME_INFO ? 0 : txn->complete_ns;
    return named || problem(in, "it has no \"txn\": only transactions can be checked");
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

static lw_status parse_line(reader *in, lw_bytes line) {
    lw_history_txn txn;
    in->line++;
    in->at = line.data;
    in->end = line.data + line.size;
    in->problem = NULL;
    skip_space(in);
    if (in->at == in->end || *in->at == '#') {
        return LW_OK;
    }
    if (!want_txn(in, &txn)) {
        return lw_fail(LW_INVALID_ARGUMENT, "line %llu of the history, byte %zu: %s",
                       (unsigned long long)in->line, (size_t)(in->at - line.data), in->problem);
    }
    place_txn(in, &txn);
    return LW_OK;
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
