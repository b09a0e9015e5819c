/* SPDX-License-Identifier: Apache-2.0 */
/* get, put, del and scan. */
#include "client/command.h"

#include "base/logline.h"

/* A page of a walk, one transaction: as much as a slow line carries well within a deadline. */
enum { PAGE_KEYS = 4096, PAGE_BYTES = 4 * 1024 * 1024 };
#define WALK_PIN_MS (UINT64_C(24) * 60 * 60 * 1000)

/* ---- keys and values on the command line -------------------------------------------------------
 */

lw_form lw_command_form(const lw_command *command) {
    return lw_command_given(command, LW_FLAG_HEX)       ? LW_FORM_HEX
           : lw_command_given(command, LW_FLAG_ESCAPED) ? LW_FORM_ESCAPED
                                                        : LW_FORM_PLAIN;
}

lw_status lw_command_bytes(const lw_command *command, const char *what, const char *text,
                           lw_buffer *out) {
    return lw_text_decode(lw_command_form(command), lw_text(text), out) == LW_OK
               ? LW_OK
               : lw_fail_in(LW_INVALID_ARGUMENT, "%s", what);
}

void lw_command_record(const lw_command *command, lw_form form, lw_bytes key, lw_bytes value,
                       bool bare, lw_buffer *out) {
    form = form == LW_FORM_PLAIN ? LW_FORM_ESCAPED : form;
    lw_command_color_begin(command, out);
    lw_text_encode(form, key, out);
    lw_command_color_end(command, out);
    if (!bare) {
        lw_buffer_append_u8(out, '\t');
        lw_text_encode(form, value, out);
    }
    lw_buffer_append_u8(out, '\n');
}

lw_exit lw_command_bad_operand(lw_command *command) {
    char hint[64];
    (void)snprintf(hint, sizeof(hint), "lathwork help %s", command->spec->name);
    return lw_command_fail(command, LW_INVALID_ARGUMENT, lw_error_slot()->text, hint,
                           "a key or value cannot be read");
}

/* The operands as keys; the array and the bytes live as long as the command. */
static lw_status read_keys(lw_command *command, lw_lookup **lookups) {
    size_t count = (size_t)command->operand_count;
    lw_lookup *made = lw_allocate_zero(command->memory, count * sizeof(*made));
    for (size_t index = 0; index < count; index++) {
        lw_buffer key = lw_buffer_in(command->memory);
        LW_TRY(lw_command_bytes(command, "the key", command->operands[index], &key));
        made[index].key = lw_buffer_view(&key);
    }
    *lookups = made;
    return LW_OK;
}

/* The bounds that --prefix, --from and --to give; empty: none. What they point into lives as long
 * as the command. */
static lw_status read_bounds(lw_command *command, lw_bytes *lower, lw_bytes *upper) {
    static const struct {
        lw_flag_id flag;
        const char *what;
    } given[] = {{LW_FLAG_PREFIX, "the prefix"},
                 {LW_FLAG_FROM, "the key of --from"},
                 {LW_FLAG_TO, "the key of --to"}};
    *lower = *upper = (lw_bytes){0};
    for (size_t index = 0; index < sizeof(given) / sizeof(given[0]); index++) {
        lw_flag_id flag = given[index].flag;
        if (!lw_command_given(command, flag)) {
            continue;
        }
        lw_buffer key = lw_buffer_in(command->memory);
        LW_TRY(lw_command_bytes(command, given[index].what, command->flags[flag].text, &key));
        *(flag == LW_FLAG_TO ? upper : lower) = lw_buffer_view(&key);
        if (flag == LW_FLAG_PREFIX) {
            lw_buffer bound = lw_buffer_in(command->memory);
            *upper = lw_prefix_bound(*lower, &bound);
        }
    }
    return LW_OK;
}

/* ---- get ---------------------------------------------------------------------------------------
 */

typedef struct get_work {
    lw_command *command;
    lw_lookup *lookups;
    size_t count;
    lw_buffer out;
} get_work;

static void answer_json(get_work *work, uint64_t read_timestamp) {
    lw_json json = lw_json_to(&work->out);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "read_timestamp", read_timestamp);
    lw_json_array_open(&json, "keys");
    for (size_t index = 0; index < work->count; index++) {
        const lw_lookup *lookup = &work->lookups[index];
        lw_json_object_open(&json, NULL);
        lw_json_bytes(&json, "key", lookup->key);
        lw_json_boolean(&json, "found", lookup->status == LW_OK);
        if (lookup->status == LW_OK) {
            lw_json_bytes(&json, "value", lookup->value);
        }
        lw_json_object_close(&json);
    }
    lw_json_array_close(&json);
    lw_json_object_close(&json);
    lw_buffer_append_u8(&work->out, '\n');
}

static void answer_value(const lw_command *command, lw_bytes value, lw_buffer *out) {
    lw_form form = lw_command_form(command);
    bool exact = form == LW_FORM_PLAIN && !command->answers_terminal;
    if (form == LW_FORM_PLAIN && !exact && !lw_text_printable(value)) {
        form = LW_FORM_ESCAPED;
    }
    lw_text_encode(form, value, out);
    if (!exact) {
        lw_buffer_append_u8(out, '\n');
    }
}

static lw_status get_body(lw_txn *txn, void *argument) {
    get_work *work = argument;
    lw_buffer_clear(&work->out);
    LW_TRY(lw_get_many(txn, work->lookups, work->count));
    if (work->command->json) {
        answer_json(work, lw_read_timestamp(txn));
        return LW_OK;
    }
    for (size_t index = 0; index < work->count; index++) {
        const lw_lookup *lookup = &work->lookups[index];
        if (lookup->status == LW_OK && work->count == 1) {
            answer_value(work->command, lookup->value, &work->out);
        } else if (lookup->status == LW_OK) {
            lw_command_record(work->command, lw_command_form(work->command), lookup->key,
                              lookup->value, false, &work->out);
        }
    }
    return LW_OK;
}

/* Names the keys that have no value; returns the exit code. */
static lw_exit tell_absent(const get_work *work) {
    lw_exit code = LW_EXIT_DONE;
    for (size_t index = 0; index < work->count; index++) {
        if (work->lookups[index].status == LW_OK) {
            continue;
        }
        code = LW_EXIT_NEGATIVE;
        if (!work->command->json) {
            char text[LW_PRINTABLE_SIZE];
            lw_command_say(work->command, "not found: \"%s\"",
                           lw_printable(work->lookups[index].key, text, sizeof(text)));
        }
    }
    return code;
}

/* One transaction, on a connection of its own. `undone`: what is said if it fails. */
static lw_exit run_once(lw_command *command, const lw_txn_options *options, lw_txn_body body,
                        void *work, const char *undone) {
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    lw_status status = lw_run(client, options, body, work);
    if (status != LW_OK) {
        code = lw_command_fail_client(command, status, client, undone);
    }
    lw_close(client);
    return code;
}

lw_exit lw_command_get(lw_command *command) {
    get_work work = {.command = command,
                     .count = (size_t)command->operand_count,
                     .out = lw_buffer_in(command->memory)};
    if (read_keys(command, &work.lookups) != LW_OK) {
        return lw_command_bad_operand(command);
    }
    lw_txn_options options = lw_command_txn_options(command);
    options.read_only = 1;
    lw_exit code = run_once(command, &options, get_body, &work, "the keys could not be read");
    if (code != LW_EXIT_DONE) {
        return code;
    }
    lw_command_drain(command, &work.out, true);
    return tell_absent(&work);
}

/* ---- put ---------------------------------------------------------------------------------------
 */

typedef struct put_work {
    lw_buffer key, value;
    uint64_t ttl_ms; /* 0: it lasts */
} put_work;

static lw_status put_body(lw_txn *txn, void *argument) {
    const put_work *work = argument;
    lw_bytes key = lw_buffer_view(&work->key), value = lw_buffer_view(&work->value);
    return work->ttl_ms == 0 ? lw_put(txn, key, value) : lw_put_ttl(txn, key, value, work->ttl_ms);
}

/* Reads standard input to its end, but not much beyond what a value may have. */
static lw_status read_value(lw_command *command, lw_buffer *value) {
    size_t size;
    do {
        size = fread(lw_buffer_reserve(value, 64 * 1024), 1, 64 * 1024, command->in);
        value->size += size;
    } while (size > 0 && value->size <= LW_VALUE_SIZE_MAX);
    if (ferror(command->in) != 0) {
        return lw_fail(LW_INTERNAL, "standard input could not be read");
    }
    return value->size <= LW_VALUE_SIZE_MAX
               ? LW_OK
               : lw_fail(LW_INVALID_ARGUMENT,
                         "standard input has more than %d bytes, the limit of a value",
                         LW_VALUE_SIZE_MAX);
}

lw_status lw_command_value(lw_command *command, const char *text, lw_buffer *out) {
    return strcmp(text, "-") == 0 ? read_value(command, out)
                                  : lw_command_bytes(command, "the value", text, out);
}

static lw_status read_put(lw_command *command, put_work *work) {
    if (lw_command_given(command, LW_FLAG_TTL)) {
        LW_TRY(lw_text_ttl(lw_text(command->flags[LW_FLAG_TTL].text), &work->ttl_ms));
    }
    LW_TRY(lw_command_bytes(command, "the key", command->operands[0], &work->key));
    return lw_command_value(command, command->operands[1], &work->value);
}

/* An answer of one member. */
static void answer_member(lw_command *command, const char *name, uint64_t number) {
    lw_buffer out = lw_buffer_in(command->memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, name, number);
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, '\n');
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
}

lw_exit lw_command_put(lw_command *command) {
    put_work work = {.key = lw_buffer_in(command->memory), .value = lw_buffer_in(command->memory)};
    if (read_put(command, &work) != LW_OK) {
        return lw_command_bad_operand(command);
    }
    lw_txn_options options = lw_command_txn_options(command);
    lw_exit code = run_once(command, &options, put_body, &work, "the value was not stored");
    if (code == LW_EXIT_DONE && command->json) {
        answer_member(command, "stored", 1);
    }
    return code;
}

/* ---- del ---------------------------------------------------------------------------------------
 */

typedef struct del_work {
    lw_lookup *lookups; /* NULL: what is between the bounds */
    size_t count;
    lw_bytes lower, upper;
    uint64_t deleted;
} del_work;

static lw_status del_body(lw_txn *txn, void *argument) {
    del_work *work = argument;
    work->deleted = 0;
    if (work->lookups == NULL) {
        return lw_delete_range(txn, work->lower, work->upper, &work->deleted);
    }
    for (size_t index = 0; index < work->count; index++) {
        int existed = 0;
        LW_TRY(lw_delete(txn, work->lookups[index].key, &existed));
        work->deleted += existed != 0;
    }
    return LW_OK;
}

static lw_status read_del(lw_command *command, del_work *work) {
    bool ranged = lw_command_given(command, LW_FLAG_PREFIX) ||
                  lw_command_given(command, LW_FLAG_FROM) || lw_command_given(command, LW_FLAG_TO);
    if (ranged == (command->operand_count > 0)) {
        return lw_fail(LW_INVALID_ARGUMENT, "del takes keys, or --prefix, or --from and --to: %s",
                       ranged ? "not both" : "there is none of them");
    }
    if (ranged) {
        return read_bounds(command, &work->lower, &work->upper);
    }
    work->count = (size_t)command->operand_count;
    return read_keys(command, &work->lookups);
}

lw_exit lw_command_del(lw_command *command) {
    del_work work = {0};
    if (read_del(command, &work) != LW_OK) {
        return lw_command_bad_operand(command);
    }
    lw_txn_options options = lw_command_txn_options(command);
    lw_exit code = run_once(command, &options, del_body, &work, "nothing was deleted");
    if (code != LW_EXIT_DONE) {
        return code;
    }
    if (command->json) {
        answer_member(command, "deleted", work.deleted);
    } else {
        (void)fprintf(command->answers, "%llu\n", (unsigned long long)work.deleted);
    }
    return work.deleted > 0 ? LW_EXIT_DONE : LW_EXIT_NEGATIVE;
}

/* ---- walks -------------------------------------------------------------------------------------
 */

lw_bytes lw_prefix_bound(lw_bytes prefix, lw_buffer *bound) {
    size_t size = prefix.size;
    while (size > 0 && prefix.data[size - 1] == 0xff) {
        size--;
    }
    lw_buffer_clear(bound);
    lw_buffer_append(bound, lw_view(prefix.data, size));
    if (size > 0) {
        bound->data[size - 1]++;
    }
    return lw_buffer_view(bound);
}

/* Visits the keys of one page. `last` is the last key of the page before, which is not visited
 * again, and becomes that of this one. LW_NOT_FOUND when the walk is over. */
static lw_status walk_page(lw_walk *walk, lw_scan *scan, lw_buffer *last) {
    size_t bytes = 0;
    for (uint32_t seen = 0; seen < PAGE_KEYS && bytes < PAGE_BYTES; seen++) {
        lw_bytes key, value;
        LW_TRY(lw_scan_next(scan, &key, &value));
        bytes += key.size + value.size;
        if (last->size > 0 && lw_equal(key, lw_buffer_view(last))) {
            continue; /* the bound of a page is its first key, when it goes forwards */
        }
        walk->count++;
        bool more = walk->visit(walk->argument, key, value);
        lw_buffer_clear(last);
        lw_buffer_append(last, key);
        if (!more || walk->count == walk->limit) {
            return LW_NOT_FOUND;
        }
    }
    return LW_OK;
}

static lw_status walk_transaction(lw_client *client, lw_walk *walk, uint32_t timeout_ms,
                                  lw_buffer *last) {
    lw_txn_options options = {.read_only = 1, .at_timestamp = walk->at, .timeout_ms = timeout_ms};
    lw_scan_options bounds = {
        .lower = walk->lower,
        .upper = walk->upper,
        .backwards = walk->backwards,
        .keys_only = walk->keys_only,
        .limit = walk->limit == 0 ? 0 : walk->limit - walk->count + 1,
    };
    if (last->size > 0) {
        *(walk->backwards ? &bounds.upper : &bounds.lower) = lw_buffer_view(last);
    }
    lw_txn *txn = NULL;
    lw_scan *scan = NULL;
    LW_TRY(lw_begin(client, &options, &txn));
    lw_status status = lw_scan_open(txn, &bounds, &scan);
    if (status == LW_OK) {
        status = walk_page(walk, scan, last);
    }
    if (walk->at == 0) {
        walk->at = lw_read_timestamp(txn);
    }
    lw_scan_close(scan);
    lw_txn_close(txn);
    return status;
}

/* One of more than a page pins its moment: nobody knows how long it takes, and the pin ends with
 * the process at the latest. */
lw_status lw_command_walk(lw_command *command, lw_client *client, lw_walk *walk) {
    lw_buffer last = lw_buffer_in(command->memory);
    uint32_t timeout_ms = lw_command_txn_options(command).timeout_ms;
    lw_status status = walk_transaction(client, walk, timeout_ms, &last);
    bool pinned = status == LW_OK;
    if (pinned) {
        status = lw_pin(client, WALK_PIN_MS, &walk->at);
        pinned = status == LW_OK;
    }
    while (status == LW_OK) {
        status = walk_transaction(client, walk, timeout_ms, &last);
    }
    if (pinned && status == LW_NOT_FOUND) {
        (void)!lw_unpin(client, walk->at);
    }
    lw_buffer_reset(&last);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* ---- scan --------------------------------------------------------------------------------------
 */

typedef struct scan_work {
    lw_command *command;
    lw_walk walk;
    lw_buffer out;
    lw_json json;
} scan_work;

static bool scan_visit(void *argument, lw_bytes key, lw_bytes value) {
    scan_work *work = argument;
    lw_command *command = work->command;
    if (command->json) {
        lw_json_object_open(&work->json, NULL);
        lw_json_bytes(&work->json, "key", key);
        if (!work->walk.keys_only) {
            lw_json_bytes(&work->json, "value", value);
        }
        lw_json_object_close(&work->json);
    } else {
        lw_command_record(command, lw_command_form(command), key, value, work->walk.keys_only,
                          &work->out);
    }
    lw_command_drain(command, &work->out, false);
    return ferror(command->answers) == 0;
}

static lw_status read_scan(lw_command *command, scan_work *work) {
    lw_walk *walk = &work->walk;
    LW_TRY(read_bounds(command, &walk->lower, &walk->upper));
    walk->backwards = lw_command_given(command, LW_FLAG_REVERSE);
    walk->keys_only = lw_command_given(command, LW_FLAG_KEYS_ONLY);
    walk->limit = command->flags[LW_FLAG_LIMIT].number;
    walk->at = command->flags[LW_FLAG_AT].number;
    return LW_OK;
}

static lw_exit scan_all(lw_command *command, scan_work *work, lw_client *client) {
    if (command->json) {
        work->json = lw_json_to(&work->out);
        lw_json_object_open(&work->json, NULL);
        lw_json_array_open(&work->json, "records");
    }
    lw_status status = lw_command_walk(command, client, &work->walk);
    if (command->json && status == LW_OK) {
        lw_json_array_close(&work->json);
        lw_json_number(&work->json, "count", work->walk.count);
        lw_json_number(&work->json, "read_timestamp", work->walk.at);
        lw_json_object_close(&work->json);
        lw_buffer_append_u8(&work->out, '\n');
    }
    lw_command_drain(command, &work->out, true);
    return status == LW_OK
               ? LW_EXIT_DONE
               : lw_command_fail_client(command, status, client, "the keys could not be read");
}

lw_exit lw_command_scan(lw_command *command) {
    scan_work work = {
        .command = command,
        .walk = {.visit = scan_visit, .argument = &work},
        .out = lw_buffer_in(command->memory),
    };
    if (read_scan(command, &work) != LW_OK) {
        return lw_command_bad_operand(command);
    }
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE) {
        code = scan_all(command, &work, client);
        lw_close(client);
    }
    return code;
}
