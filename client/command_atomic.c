/* SPDX-License-Identifier: Apache-2.0 */
/* add, min, max, append and cas: one atomic write each, in one round trip. */
#include "client/command.h"

#include "base/logline.h"

/* What an atomic write of one key came to, for an answer. */
typedef struct answer {
    const char *name; /* "number" */
    int64_t number;
} answer;

static void print_answer(lw_command *command, const answer *told) {
    lw_buffer out = lw_buffer_in(command->memory);
    if (command->json) {
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_integer(&json, told->name, told->number);
        lw_json_object_close(&json);
        lw_buffer_append_u8(&out, '\n');
    } else {
        lw_buffer_print(&out, "%lld\n", (long long)told->number);
    }
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

typedef lw_status (*number_function)(lw_client *client, lw_bytes key, int64_t number, int64_t *now);

static lw_exit change_number(lw_command *command, number_function change) {
    lw_buffer key = lw_buffer_in(command->memory);
    int64_t number;
    if (lw_command_bytes(command, "the key", command->operands[0], &key) != LW_OK ||
        lw_text_number(lw_text(command->operands[1]), &number) != LW_OK) {
        return lw_command_bad_operand(command);
    }
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    answer told = {.name = "number"};
    lw_status status = change(client, lw_buffer_view(&key), number, &told.number);
    if (status == LW_OK) {
        print_answer(command, &told);
    } else {
        code = lw_command_fail_client(command, status, client, "the number was not changed");
    }
    lw_close(client);
    return code;
}

lw_exit lw_command_add(lw_command *command) {
    return change_number(command, lw_add_now);
}

lw_exit lw_command_min(lw_command *command) {
    return change_number(command, lw_min_now);
}

lw_exit lw_command_max(lw_command *command) {
    return change_number(command, lw_max_now);
}

/* ---- append -----------------------------------------------------------------------------------
 */

lw_exit lw_command_append(lw_command *command) {
    lw_buffer key = lw_buffer_in(command->memory), value = lw_buffer_in(command->memory);
    if (lw_command_bytes(command, "the key", command->operands[0], &key) != LW_OK ||
        lw_command_value(command, command->operands[1], &value) != LW_OK) {
        return lw_command_bad_operand(command);
    }
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    uint64_t size = 0;
    lw_status status = lw_append_now(client, lw_buffer_view(&key), lw_buffer_view(&value), &size);
    if (status == LW_OK) {
        print_answer(command, &(answer){.name = "size", .number = (int64_t)size});
    } else {
        code = lw_command_fail_client(command, status, client, "nothing was appended");
    }
    lw_close(client);
    return code;
}

/* ---- cas --------------------------------------------------------------------------------------
 */

typedef struct cas_work {
    lw_buffer key, bytes[2];
    lw_bytes views[2];
    const lw_bytes *expected, *value; /* NULL: none */
} cas_work;

/* A value that a flag may give; `*value` stays NULL if it does not. */
static lw_status read_flag(lw_command *command, lw_flag_id id, lw_buffer *bytes, lw_bytes *view,
                           const lw_bytes **value) {
    if (!lw_command_given(command, id)) {
        return LW_OK;
    }
    char what[32];
    (void)snprintf(what, sizeof(what), "the value of --%s", lw_flag(id)->name);
    LW_TRY(lw_command_bytes(command, what, command->flags[id].text, bytes));
    *view = lw_buffer_view(bytes);
    *value = view;
    return LW_OK;
}

static lw_status read_cas(lw_command *command, cas_work *work) {
    LW_TRY(lw_command_bytes(command, "the key", command->operands[0], &work->key));
    LW_TRY(read_flag(command, LW_FLAG_EXPECT, &work->bytes[0], &work->views[0], &work->expected));
    LW_TRY(read_flag(command, LW_FLAG_SET, &work->bytes[1], &work->views[1], &work->value));
    return work->expected != NULL || work->value != NULL
               ? LW_OK
               : lw_fail(LW_INVALID_ARGUMENT, "without --expect and --set there is nothing to do");
}

static lw_exit print_cas(lw_command *command, const cas_work *work, bool swapped) {
    if (command->json) {
        lw_buffer out = lw_buffer_in(command->memory);
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_boolean(&json, "swapped", swapped);
        lw_json_object_close(&json);
        lw_buffer_append_u8(&out, '\n');
        lw_command_drain(command, &out, true);
        lw_buffer_reset(&out);
    } else if (!swapped) {
        char key[LW_PRINTABLE_SIZE];
        lw_command_say(command, "not changed: \"%s\" has %s",
                       lw_printable(lw_buffer_view(&work->key), key, sizeof(key)),
                       work->expected == NULL ? "a value" : "another value, or none");
    }
    return swapped ? LW_EXIT_DONE : LW_EXIT_NEGATIVE;
}

lw_exit lw_command_cas(lw_command *command) {
    lw_buffer empty = lw_buffer_in(command->memory);
    cas_work work = {.key = empty, .bytes = {empty, empty}};
    if (read_cas(command, &work) != LW_OK) {
        return lw_command_bad_operand(command);
    }
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    int swapped = 0;
    lw_status status =
        lw_compare_and_set(client, lw_buffer_view(&work.key), work.expected, work.value, &swapped);
    code = status == LW_OK
               ? print_cas(command, &work, swapped != 0)
               : lw_command_fail_client(command, status, client, "the value was not changed");
    lw_close(client);
    return code;
}
