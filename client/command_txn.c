/* SPDX-License-Identifier: Apache-2.0 */
/* txn: a script, read whole before anything is sent, run as one transaction. */
#include "client/command.h"

#include "client/command_script.h"

#include <errno.h>

/* A script is held in memory, and so is what it writes. */
static const size_t script_size_max = 64u << 20;

typedef struct txn_work {
    lw_command *command;
    lw_buffer script;
    lw_arena arena;  /* words */
    lw_buffer steps; /* of lw_step */
    size_t step_count;
    lw_buffer out;
    uint64_t read_timestamp;
    lw_error why; /* which step was disappointed */
} txn_work;

/* ---- reading -----------------------------------------------------------------------------------
 */

static lw_status read_script(FILE *file, const char *name, lw_buffer *script) {
    enum { CHUNK = 64 * 1024 };
    size_t size;
    do {
        size = fread(lw_buffer_reserve(script, CHUNK), 1, CHUNK, file);
        script->size += size;
        if (script->size > script_size_max) {
            return lw_fail(LW_INVALID_ARGUMENT, "%s has more than %zu bytes, the limit of a script",
                           name, script_size_max);
        }
    } while (size > 0);
    return ferror(file) == 0 ? LW_OK : lw_fail(LW_REFUSED, "%s: %s", name, strerror(errno));
}

static lw_status open_script(txn_work *work) {
    const lw_command *command = work->command;
    const char *path = command->operand_count > 0 ? command->operands[0] : "-";
    if (strcmp(path, "-") == 0) {
        return read_script(command->in, "standard input", &work->script);
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return lw_fail(LW_REFUSED, "%s: %s", path, strerror(errno));
    }
    lw_status status = read_script(file, path, &work->script);
    (void)fclose(file);
    return status;
}

/* Takes the lines apart. */
static lw_status read_steps(txn_work *work) {
    lw_bytes rest = lw_buffer_view(&work->script);
    for (uint64_t line = 1; rest.size > 0; line++) {
        const uint8_t *newline = memchr(rest.data, '\n', rest.size);
        size_t size = newline == NULL ? rest.size : (size_t)(newline - rest.data);
        lw_words words;
        lw_step step;
        lw_status status = lw_words_read(lw_view(rest.data, size), &work->arena, &words);
        if (status == LW_OK && words.count > 0) {
            status = lw_step_read(&words, line, &step);
        }
        if (status != LW_OK) {
            return lw_fail_in(status, "line %llu", (unsigned long long)line);
        }
        if (words.count > 0) {
            lw_buffer_append(&work->steps, lw_view(&step, sizeof(step)));
            work->step_count++;
        }
        size += newline != NULL;
        rest = lw_view(rest.data + size, rest.size - size);
    }
    return LW_OK;
}

/* ---- running -----------------------------------------------------------------------------------
 */

static lw_status txn_body(lw_txn *txn, void *argument) {
    txn_work *work = argument;
    const lw_command *command = work->command;
    const lw_step *steps = (const lw_step *)(const void *)work->steps.data;
    lw_buffer_clear(&work->out);
    work->why.status = LW_OK;
    lw_step_answers answers = {
        .out = &work->out,
        .form = LW_FORM_ESCAPED,
        .as_json = command->json,
        .json = lw_json_to(&work->out),
    };
    if (command->json) {
        lw_json_object_open(&answers.json, NULL);
        lw_json_array_open(&answers.json, "answers");
    }
    for (size_t index = 0; index < work->step_count; index++) {
        LW_TRY(lw_step_run(txn, &steps[index], &answers, &work->why));
    }
    if (command->json) {
        lw_json_array_close(&answers.json);
        lw_json_number(&answers.json, "read_timestamp", lw_read_timestamp(txn));
        lw_json_boolean(&answers.json, "committed", true); /* or it is not printed */
        lw_json_object_close(&answers.json);
        lw_buffer_append_u8(&work->out, '\n');
    }
    return LW_OK;
}

static lw_exit run_steps(txn_work *work, lw_client *client) {
    lw_command *command = work->command;
    lw_txn_options options = lw_command_txn_options(command);
    lw_status status = lw_run(client, &options, txn_body, work);
    if (status == LW_OK) {
        lw_command_drain(command, &work->out, true);
        return LW_EXIT_DONE;
    }
    if (work->why.status == status) {
        return lw_command_fail(command, status, work->why.text,
                               "look at what is there: lathwork get KEY",
                               "nothing was changed: an expectation failed");
    }
    return lw_command_fail_client(command, status, client,
                                  status == LW_UNDETERMINED
                                      ? "the transaction may or may not have been committed"
                                      : "nothing was changed: the transaction failed");
}

/* ---- asking ------------------------------------------------------------------------------------
 */

static void print_outcome(lw_command *command, lw_status status, uint64_t commit_timestamp) {
    const char *word = status == LW_OK ? "committed" : status == LW_NOT_FOUND ? "aborted" : "open";
    lw_buffer out = lw_buffer_in(command->memory);
    if (command->json) {
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_text(&json, "outcome", lw_text(word));
        if (status == LW_OK) {
            lw_json_number(&json, "commit_timestamp", commit_timestamp);
        }
        lw_json_object_close(&json);
    } else if (status == LW_OK) {
        lw_buffer_print(&out, "%s at %llu", word, (unsigned long long)commit_timestamp);
    } else {
        lw_buffer_append(&out, lw_text(word));
    }
    lw_buffer_append_u8(&out, '\n');
    lw_command_drain(command, &out, true);
}

static lw_exit ask_outcome(lw_command *command) {
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    uint64_t commit_timestamp = 0;
    lw_status status = lw_txn_peek(client, command->operands[1], &commit_timestamp);
    if (status == LW_OK || status == LW_NOT_FOUND || status == LW_UNDETERMINED) {
        print_outcome(command, status, commit_timestamp);
        code = lw_exit_of(status);
    } else {
        code =
            lw_command_fail_client(command, status, client, "the outcome could not be asked for");
    }
    lw_close(client);
    return code;
}

lw_exit lw_command_txn(lw_command *command) {
    if (command->operand_count == 2) {
        if (strcmp(command->operands[0], "status") == 0) {
            return ask_outcome(command);
        }
        if (strcmp(command->operands[0], "kill") == 0) {
            return lw_command_kill(command, command->operands[1]);
        }
        return lw_command_fail(command, LW_INVALID_ARGUMENT,
                               "txn takes one FILE, or status and a token, or kill and a "
                               "transaction",
                               "lathwork help txn", "it is not clear what to do");
    }
    lw_memory *memory = command->memory;
    txn_work work = {.command = command,
                     .script = lw_buffer_in(memory),
                     .arena = lw_arena_in(memory),
                     .steps = lw_buffer_in(memory),
                     .out = lw_buffer_in(memory)};
    lw_status status = open_script(&work);
    if (status == LW_OK) {
        status = read_steps(&work);
    }
    if (status != LW_OK) {
        return lw_command_fail(command, status, lw_error_slot()->text, "lathwork help txn",
                               "the script cannot be run");
    }
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE) {
        code = run_steps(&work, client);
        lw_close(client);
    }
    return code;
}
