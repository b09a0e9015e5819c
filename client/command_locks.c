/* SPDX-License-Identifier: Apache-2.0 */
/* locks, and txn kill. */
#include "client/command.h"

#include "client/operate.h"

enum {
    PAGE_ROWS = 1024,
    COLUMN_COUNT = 6,
    CELLS_SIZE = 64 * 1024, /* rows are printed, and aligned, so many bytes at a time */
};

typedef struct locks_work {
    lw_command *command;
    lw_buffer cells; /* each with its closing zero */
    size_t row_count;
    lw_buffer out;
    lw_json json;
    uint64_t limit, count; /* locks; a limit of 0 is none */
    bool more;
} locks_work;

static const char *kind_name(lw_lock_row_kind kind) {
    switch (kind) {
    case LW_LOCK_ROW_PESSIMISTIC:
        return "pessimistic";
    case LW_LOCK_ROW_PREWRITTEN:
        return "prewritten";
    case LW_LOCK_ROW_ASYNC:
        return "async";
    }
    return "unknown";
}

/* ---- rows -------------------------------------------------------------------------------------
 */

static void cell(locks_work *work, const char *text) {
    lw_buffer_append(&work->cells, lw_view(text, strlen(text) + 1));
}

static void cell_bytes(locks_work *work, lw_bytes bytes) {
    lw_text_encode(LW_FORM_ESCAPED, bytes, &work->cells);
    lw_buffer_append_u8(&work->cells, 0);
}

static void cell_number(locks_work *work, uint64_t number) {
    lw_buffer_print(&work->cells, "%llu", (unsigned long long)number);
    lw_buffer_append_u8(&work->cells, 0);
}

/* "230ms", "12.5s" */
static void cell_time(locks_work *work, uint64_t time_ms) {
    if (time_ms < 10000 || !work->command->answers_terminal) {
        lw_buffer_print(&work->cells, "%llums", (unsigned long long)time_ms);
    } else {
        lw_buffer_print(&work->cells, "%llu.%llus", (unsigned long long)time_ms / 1000,
                        (unsigned long long)time_ms % 1000 / 100);
    }
    lw_buffer_append_u8(&work->cells, 0);
}

static void print_cells(locks_work *work) {
    lw_command_cells(work->command, &work->cells, work->row_count, COLUMN_COUNT);
    work->row_count = 0;
}

static void heading(locks_work *work) {
    static const char *const names[COLUMN_COUNT] = {"KEY", "LOCK",    "TRANSACTION",
                                                    "FOR", "EXPIRES", "CLIENT"};
    for (int index = 0; index < COLUMN_COUNT; index++) {
        cell(work, names[index]);
    }
    work->row_count++;
}

static void lock_rows(locks_work *work, const lw_lock_row *row) {
    cell_bytes(work, row->key);
    cell(work, kind_name(row->kind));
    cell_number(work, row->start);
    cell_time(work, row->held_ms);
    if (row->kind == LW_LOCK_ROW_PESSIMISTIC) {
        cell(work, "-");
    } else {
        cell_time(work, row->remaining_ms);
    }
    cell_bytes(work, row->label);
    work->row_count++;
    for (uint32_t index = 0; index < row->wait_count; index++) {
        const lw_lock_wait *wait = &row->waits[index];
        cell_bytes(work, row->key);
        cell(work, "waits");
        cell_number(work, wait->start);
        cell_time(work, wait->waited_ms);
        cell(work, "-");
        cell_bytes(work, wait->label);
        work->row_count++;
    }
    if (row->waiting > row->wait_count) {
        cell_bytes(work, row->key);
        cell(work, "waits");
        lw_buffer_print(&work->cells, "and %u more", row->waiting - row->wait_count);
        lw_buffer_append_u8(&work->cells, 0);
        for (int column = 3; column < COLUMN_COUNT; column++) {
            cell(work, "-");
        }
        work->row_count++;
    }
    if (work->cells.size > CELLS_SIZE) {
        print_cells(work);
    }
}

/* ---- JSON -------------------------------------------------------------------------------------
 */

static void lock_json(locks_work *work, const lw_lock_row *row) {
    lw_json *json = &work->json;
    lw_json_object_open(json, NULL);
    lw_json_bytes(json, "key", row->key);
    lw_json_text(json, "lock", lw_text(kind_name(row->kind)));
    lw_json_number(json, "transaction", row->start);
    lw_json_bytes(json, "client", row->label);
    lw_json_number(json, "held_ms", row->held_ms);
    if (row->kind != LW_LOCK_ROW_PESSIMISTIC) {
        lw_json_number(json, "expires_ms", row->remaining_ms);
    }
    lw_json_number(json, "waiting", row->waiting);
    lw_json_array_open(json, "waits");
    for (uint32_t index = 0; index < row->wait_count; index++) {
        const lw_lock_wait *wait = &row->waits[index];
        lw_json_object_open(json, NULL);
        lw_json_number(json, "transaction", wait->start);
        lw_json_bytes(json, "client", wait->label);
        lw_json_number(json, "waited_ms", wait->waited_ms);
        lw_json_object_close(json);
    }
    lw_json_array_close(json);
    lw_json_object_close(json);
    lw_command_drain(work->command, &work->out, false);
}

/* ---- locks ------------------------------------------------------------------------------------
 */

static bool visit(void *argument, const lw_lock_row *row) {
    locks_work *work = argument;
    if (work->limit != 0 && work->count == work->limit) {
        work->more = true;
        return false;
    }
    work->count++;
    if (work->command->json) {
        lock_json(work, row);
    } else {
        lock_rows(work, row);
    }
    return ferror(work->command->answers) == 0;
}

LW_YIELDS static lw_exit list(locks_work *work, lw_client *client) {
    lw_command *command = work->command;
    uint64_t limit = work->limit;
    uint32_t page_rows =
        limit != 0 && limit < PAGE_ROWS ? (uint32_t)limit + 1 : (uint32_t)PAGE_ROWS;
    if (command->json) {
        lw_json_object_open(&work->json, NULL);
        lw_json_array_open(&work->json, "locks");
    } else if (command->answers_terminal) {
        heading(work);
    }
    lw_status status = lw_operate_locks(client, page_rows, visit, work);
    if (status == LW_OK && command->json) {
        lw_json_array_close(&work->json);
        lw_json_boolean(&work->json, "more", work->more);
        lw_json_object_close(&work->json);
        lw_buffer_append_u8(&work->out, '\n');
    }
    lw_command_drain(command, &work->out, true);
    if (!command->json && work->count > 0) {
        print_cells(work);
    }
    if (status != LW_OK) {
        return lw_command_fail_client(command, status, client, "the locks could not be listed");
    }
    if (!command->json && work->more) {
        lw_command_say(command, "there are more: --limit");
    } else if (!command->json && work->count == 0 && command->answers_terminal) {
        lw_command_say(command, "no key is locked");
    }
    return LW_EXIT_DONE;
}

lw_exit lw_command_locks(lw_command *command) {
    locks_work work = {.command = command,
                       .cells = lw_buffer_in(command->memory),
                       .out = lw_buffer_in(command->memory),
                       .limit = command->flags[LW_FLAG_LIMIT].number};
    work.json = lw_json_to(&work.out);
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE) {
        code = list(&work, client);
        lw_close(client);
    }
    return code;
}

/* ---- txn kill ---------------------------------------------------------------------------------
 */

static void print_fate(lw_command *command, const char *fate, uint64_t commit_timestamp) {
    lw_buffer out = lw_buffer_in(command->memory);
    if (command->json) {
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_text(&json, "outcome", lw_text(fate));
        if (commit_timestamp != 0) {
            lw_json_number(&json, "commit_timestamp", commit_timestamp);
        }
        lw_json_object_close(&json);
    } else {
        lw_buffer_append(&out, lw_text(fate));
        if (commit_timestamp != 0) {
            lw_buffer_print(&out, " at %llu", (unsigned long long)commit_timestamp);
        }
    }
    lw_buffer_append_u8(&out, '\n');
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
}

lw_exit lw_command_kill(lw_command *command, const char *transaction) {
    int64_t number;
    if (lw_text_number(lw_text(transaction), &number) != LW_OK || number <= 0) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT,
                               "a transaction is a number, which locks and errors tell",
                               "lathwork locks", "it is not clear which transaction is meant");
    }
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    uint64_t commit_timestamp = 0;
    lw_status status = lw_operate_kill(client, (uint64_t)number, &commit_timestamp);
    if (status == LW_OK || status == LW_REFUSED || status == LW_NOT_FOUND) {
        print_fate(command,
                   status == LW_OK          ? "killed"
                   : status == LW_NOT_FOUND ? "unknown"
                                            : "committed",
                   commit_timestamp);
        code = status == LW_OK ? LW_EXIT_DONE : LW_EXIT_NEGATIVE;
    } else {
        code = lw_command_fail_client(command, status, client, "the transaction was not killed");
    }
    lw_close(client);
    return code;
}
