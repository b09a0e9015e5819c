/* SPDX-License-Identifier: Apache-2.0 */
#include "client/command_script.h"

#include "base/logline.h"

#include <stdio.h>

/* ---- words -------------------------------------------------------------------------------------
 */

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\r';
}

/* The end of the word at `index`, which for a quoted one is its closing quote; `size` of the line
 * if there is none. */
static size_t word_end(lw_bytes line, size_t index, bool quoted) {
    while (index < line.size) {
        uint8_t byte = line.data[index];
        if (quoted ? byte == '"' : is_blank(byte)) {
            break;
        }
        index += byte == '\\' && index + 1 < line.size ? 2 : 1;
    }
    return index;
}

/* Puts \" as the byte it is, so that the rest is plain escaped form. */
static lw_status decode_word(lw_bytes word, lw_buffer *scratch, lw_arena *arena, lw_bytes *out) {
    lw_buffer_clear(scratch);
    size_t index = 0;
    while (index < word.size) {
        uint8_t byte = word.data[index];
        bool quote = byte == '\\' && index + 1 < word.size && word.data[index + 1] == '"';
        size_t size = byte == '\\' && !quote && index + 1 < word.size ? 2 : 1;
        lw_buffer_append(scratch, lw_view(word.data + index + quote, size));
        index += size + quote;
    }
    lw_buffer decoded = lw_buffer_in(scratch->memory);
    lw_status status = lw_text_decode(LW_FORM_ESCAPED, lw_buffer_view(scratch), &decoded);
    if (status == LW_OK) {
        *out = lw_arena_copy(arena, lw_buffer_view(&decoded));
    }
    lw_buffer_reset(&decoded);
    return status;
}

static lw_status take_word(lw_bytes line, size_t *index, lw_buffer *scratch, lw_arena *arena,
                           lw_bytes *word) {
    bool quoted = line.data[*index] == '"';
    size_t start = *index + quoted;
    size_t end = word_end(line, start, quoted);
    if (quoted && end >= line.size) {
        return lw_fail(LW_INVALID_ARGUMENT, "a double quote is opened and not closed");
    }
    *index = end + quoted;
    if (*index < line.size && !is_blank(line.data[*index])) {
        return lw_fail(LW_INVALID_ARGUMENT, "a blank must follow a closing double quote");
    }
    return decode_word(lw_view(line.data + start, end - start), scratch, arena, word);
}

lw_status lw_words_read(lw_bytes line, lw_arena *arena, lw_words *words) {
    lw_buffer found = lw_buffer_in(arena->memory);
    lw_buffer scratch = lw_buffer_in(arena->memory);
    lw_status status = LW_OK;
    size_t index = 0;
    size_t count = 0;
    for (;;) {
        while (index < line.size && is_blank(line.data[index])) {
            index++;
        }
        bool comment = count == 0 && index < line.size && line.data[index] == '#';
        if (index >= line.size || comment) {
            break;
        }
        lw_bytes word;
        status = take_word(line, &index, &scratch, arena, &word);
        if (status != LW_OK) {
            break;
        }
        lw_buffer_append(&found, lw_view(&word, sizeof(word)));
        count++;
    }
    if (status == LW_OK) {
        words->words = (lw_bytes *)(uintptr_t)lw_arena_copy(arena, lw_buffer_view(&found)).data;
        words->count = count;
    }
    lw_buffer_reset(&found);
    lw_buffer_reset(&scratch);
    return status;
}

/* ---- steps -------------------------------------------------------------------------------------
 */

typedef struct step_shape {
    const char *name;
    const char *usage;
    size_t word_min, word_max;
} step_shape;

static const step_shape shapes[] = {
    [LW_STEP_GET] = {"get", "get KEY", 1, 1},
    [LW_STEP_PUT] = {"put", "put KEY VALUE [TIME]", 2, 3},
    [LW_STEP_INSERT] = {"insert", "insert KEY VALUE", 2, 2},
    [LW_STEP_DEL] = {"del", "del KEY...", 1, SIZE_MAX},
    [LW_STEP_DEL_RANGE] = {"del-range", "del-range FROM TO", 2, 2},
    [LW_STEP_SCAN] = {"scan", "scan PREFIX [COUNT]", 1, 2},
    [LW_STEP_ADD] = {"add", "add KEY NUMBER", 2, 2},
    [LW_STEP_MIN] = {"min", "min KEY NUMBER", 2, 2},
    [LW_STEP_MAX] = {"max", "max KEY NUMBER", 2, 2},
    [LW_STEP_APPEND] = {"append", "append KEY VALUE", 2, 2},
    [LW_STEP_PUT_STAMPED_KEY] = {"put-stamped-key", "put-stamped-key PREFIX SUFFIX VALUE", 3, 3},
    [LW_STEP_EXPECT] = {"expect", "expect KEY VALUE", 2, 2},
    [LW_STEP_EXPECT_ABSENT] = {"expect-absent", "expect-absent KEY", 1, 1},
    [LW_STEP_SAVEPOINT] = {"savepoint", "savepoint NAME", 1, 1},
    [LW_STEP_ROLLBACK_TO] = {"rollback-to", "rollback-to NAME", 1, 1},
};
enum { SHAPE_COUNT = sizeof(shapes) / sizeof(shapes[0]) };

static lw_status read_count(lw_bytes text, uint64_t *count) {
    uint64_t number = 0;
    for (size_t index = 0; index < text.size; index++) {
        uint8_t byte = text.data[index];
        if (byte < '0' || byte > '9' || number > (UINT64_MAX - 9) / 10) {
            number = 0;
            break;
        }
        number = 10 * number + (uint64_t)(byte - '0');
    }
    if (number == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "the count of a scan is a whole number, 1 or more");
    }
    *count = number;
    return LW_OK;
}

lw_status lw_step_read(const lw_words *words, uint64_t line, lw_step *step) {
    LW_ASSERT(words->count > 0);
    for (int kind = 0; kind < SHAPE_COUNT; kind++) {
        const step_shape *shape = &shapes[kind];
        if (!lw_equal(words->words[0], lw_text(shape->name))) {
            continue;
        }
        lw_step made = {.kind = (lw_step_kind)kind,
                        .line = line,
                        .words = {words->words + 1, words->count - 1}};
        if (made.words.count < shape->word_min || made.words.count > shape->word_max) {
            return lw_fail(LW_INVALID_ARGUMENT, "the step is: %s", shape->usage);
        }
        if (made.kind == LW_STEP_PUT && made.words.count == 3) {
            LW_TRY(lw_text_ttl(made.words.words[2], &made.ttl_ms));
        }
        if (made.kind == LW_STEP_SCAN && made.words.count == 2) {
            LW_TRY(read_count(made.words.words[1], &made.limit));
        }
        if (made.kind == LW_STEP_ADD || made.kind == LW_STEP_MIN || made.kind == LW_STEP_MAX) {
            LW_TRY(lw_text_number(made.words.words[1], &made.number));
        }
        *step = made;
        return LW_OK;
    }
    char shown[LW_PRINTABLE_SIZE];
    return lw_fail(
        LW_INVALID_ARGUMENT,
        "there is no step \"%s\"; there are get, put, insert, del, del-range, scan, add, min, "
        "max, append, put-stamped-key, expect, expect-absent, savepoint and rollback-to",
        lw_printable(words->words[0], shown, sizeof(shown)));
}

/* ---- carrying out ------------------------------------------------------------------------------
 */

static void json_begin(lw_step_answers *answers, const char *step, lw_bytes key) {
    lw_json_object_open(&answers->json, NULL);
    lw_json_text(&answers->json, "step", lw_text(step));
    lw_json_bytes(&answers->json, "key", key);
}

static void record(lw_step_answers *answers, lw_bytes key, lw_bytes value) {
    lw_text_encode(answers->form, key, answers->out);
    lw_buffer_append_u8(answers->out, '\t');
    lw_text_encode(answers->form, value, answers->out);
    lw_buffer_append_u8(answers->out, '\n');
}

static lw_status run_get(lw_txn *txn, lw_bytes key, lw_step_answers *answers) {
    lw_bytes value = {0};
    lw_status status = lw_get(txn, key, &value);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    if (answers->as_json) {
        json_begin(answers, "get", key);
        lw_json_boolean(&answers->json, "found", status == LW_OK);
        if (status == LW_OK) {
            lw_json_bytes(&answers->json, "value", value);
        }
        lw_json_object_close(&answers->json);
    } else if (status == LW_OK) {
        record(answers, key, value);
    } else {
        lw_text_encode(answers->form, key, answers->out);
        lw_buffer_append_u8(answers->out, '\n');
    }
    return LW_OK;
}

static lw_status run_del(lw_txn *txn, const lw_words *keys, lw_step_answers *answers) {
    for (size_t index = 0; index < keys->count; index++) {
        int existed = 0;
        LW_TRY(lw_delete(txn, keys->words[index], &existed));
        if (answers->as_json) {
            json_begin(answers, "del", keys->words[index]);
            lw_json_boolean(&answers->json, "found", existed != 0);
            lw_json_object_close(&answers->json);
        }
    }
    return LW_OK;
}

static lw_status run_del_range(lw_txn *txn, const lw_words *bounds, lw_step_answers *answers) {
    uint64_t deleted = 0;
    LW_TRY(lw_delete_range(txn, bounds->words[0], bounds->words[1], &deleted));
    if (answers->as_json) {
        json_begin(answers, "del-range", bounds->words[0]);
        lw_json_number(&answers->json, "deleted", deleted);
        lw_json_object_close(&answers->json);
    }
    return LW_OK;
}

static lw_status run_scan(lw_txn *txn, const lw_step *step, lw_step_answers *answers) {
    lw_scan_options options = {.prefix = step->words.words[0], .limit = step->limit};
    lw_scan *scan = NULL;
    lw_bytes key, value;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    if (answers->as_json) {
        json_begin(answers, "scan", options.prefix);
        lw_json_array_open(&answers->json, "records");
    }
    lw_status status;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        if (answers->as_json) {
            lw_json_object_open(&answers->json, NULL);
            lw_json_bytes(&answers->json, "key", key);
            lw_json_bytes(&answers->json, "value", value);
            lw_json_object_close(&answers->json);
        } else {
            record(answers, key, value);
        }
    }
    if (answers->as_json) {
        lw_json_array_close(&answers->json);
        lw_json_object_close(&answers->json);
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

static lw_status disappointed(const lw_step *step, lw_status status, const char *found,
                              lw_error *why) {
    char key[LW_PRINTABLE_SIZE];
    why->status = status;
    (void)snprintf(why->text, sizeof(why->text), "line %llu, %s: the key \"%s\" %s",
                   (unsigned long long)step->line, shapes[step->kind].name,
                   lw_printable(step->words.words[0], key, sizeof(key)), found);
    return status;
}

static lw_status run_expect(lw_txn *txn, const lw_step *step, lw_error *why) {
    lw_bytes value = {0};
    lw_status status = lw_get(txn, step->words.words[0], &value);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    if (step->kind == LW_STEP_EXPECT_ABSENT) {
        return status == LW_NOT_FOUND ? LW_OK : disappointed(step, LW_EXISTS, "has a value", why);
    }
    if (status == LW_NOT_FOUND) {
        return disappointed(step, LW_NOT_FOUND, "has no value", why);
    }
    return lw_equal(value, step->words.words[1])
               ? LW_OK
               : disappointed(step, LW_EXISTS, "has another value", why);
}

/* The name as a C string; the client asks for one. */
static lw_status run_savepoint(lw_txn *txn, const lw_step *step) {
    char name[LW_SAVEPOINT_SIZE_MAX + 1];
    lw_bytes word = step->words.words[0];
    if (word.size > LW_SAVEPOINT_SIZE_MAX || memchr(word.data, 0, word.size) != NULL) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a savepoint's name has at most %d bytes, none of them 0",
                       LW_SAVEPOINT_SIZE_MAX);
    }
    memcpy(name, word.data, word.size);
    name[word.size] = 0;
    return step->kind == LW_STEP_SAVEPOINT ? lw_savepoint(txn, name) : lw_rollback_to(txn, name);
}

lw_status lw_step_run(lw_txn *txn, const lw_step *step, lw_step_answers *answers, lw_error *why) {
    const lw_bytes *words = step->words.words;
    lw_status status;
    switch (step->kind) {
    case LW_STEP_GET:
        return run_get(txn, words[0], answers);
    case LW_STEP_PUT:
        return step->ttl_ms == 0 ? lw_put(txn, words[0], words[1])
                                 : lw_put_ttl(txn, words[0], words[1], step->ttl_ms);
    case LW_STEP_INSERT:
        status = lw_insert(txn, words[0], words[1]);
        return status == LW_EXISTS ? disappointed(step, status, "has a value already", why)
                                   : status;
    case LW_STEP_DEL:
        return run_del(txn, &step->words, answers);
    case LW_STEP_DEL_RANGE:
        return run_del_range(txn, &step->words, answers);
    case LW_STEP_SCAN:
        return run_scan(txn, step, answers);
    case LW_STEP_ADD:
        return lw_add(txn, words[0], step->number);
    case LW_STEP_MIN:
        return lw_min(txn, words[0], step->number);
    case LW_STEP_MAX:
        return lw_max(txn, words[0], step->number);
    case LW_STEP_APPEND:
        return lw_append(txn, words[0], words[1]);
    case LW_STEP_PUT_STAMPED_KEY:
        return lw_put_stamped_key(txn, words[0], words[1], words[2]);
    case LW_STEP_EXPECT:
    case LW_STEP_EXPECT_ABSENT:
        return run_expect(txn, step, why);
    case LW_STEP_SAVEPOINT:
    case LW_STEP_ROLLBACK_TO:
        return run_savepoint(txn, step);
    default:
        LW_ASSERT(step->kind == LW_STEP_GET);
        return LW_INTERNAL;
    }
}
