/* SPDX-License-Identifier: Apache-2.0 */
/* load and dump: many records as text.
 *
 * Invariants
 * 1. A batch is one transaction. What was said to be acknowledged was committed before.
 * 2. Neither holds more than a batch, a line and a page of the walk in memory.
 * 3. A dumped file has its name only once all of it is on disk. */
#include "client/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH_RECORDS = 500, BATCH_BYTES = 1024 * 1024, CHUNK = 64 * 1024, BAR_WIDTH = 30 };

/* ---- lines -------------------------------------------------------------------------------------
 */

typedef struct line_reader {
    int file;
    const char *name;
    lw_buffer buffer;
    size_t start;  /* of the next line in the buffer */
    bool ended;    /* nothing more to read */
    uint64_t line; /* number of the last line, from 1 */
    uint64_t done; /* bytes of the lines so far */
} line_reader;

static lw_status read_more(line_reader *reader) {
    size_t kept = reader->buffer.size - reader->start;
    if (kept > lw_record_size_max()) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the line is longer than any record: keys have at most %d bytes, values %d",
                       LW_KEY_SIZE_MAX, LW_VALUE_SIZE_MAX);
    }
    if (reader->start > 0) {
        memmove(reader->buffer.data, reader->buffer.data + reader->start, kept);
        reader->buffer.size = kept;
        reader->start = 0;
    }
    ssize_t size;
    do {
        size = read(reader->file, lw_buffer_reserve(&reader->buffer, CHUNK), CHUNK);
    } while (size < 0 && errno == EINTR);
    if (size < 0) {
        return lw_fail(LW_REFUSED, "%s: %s", reader->name, strerror(errno));
    }
    reader->buffer.size += (size_t)size;
    reader->ended = size == 0;
    return LW_OK;
}

/* The next line without its newline; it lives until the next call. LW_NOT_FOUND at the end. */
static lw_status next_line(line_reader *reader, lw_bytes *line) {
    size_t searched = 0;
    for (;;) {
        const uint8_t *from = reader->buffer.data + reader->start;
        size_t size = reader->buffer.size - reader->start;
        const uint8_t *newline =
            size == searched ? NULL : memchr(from + searched, '\n', size - searched);
        if (newline != NULL || (reader->ended && size > 0)) {
            size_t line_size = newline == NULL ? size : (size_t)(newline - from);
            *line = lw_view(from, line_size);
            reader->start += line_size + (newline != NULL);
            reader->done += line_size + (newline != NULL);
            reader->line++;
            return LW_OK;
        }
        if (reader->ended) {
            return LW_NOT_FOUND;
        }
        searched = size;
        LW_TRY(read_more(reader));
    }
}

/* ---- load --------------------------------------------------------------------------------------
 */

typedef struct load_work {
    lw_command *command;
    lw_client *client;
    line_reader reader;
    uint64_t input_size;  /* 0: unknown */
    lw_buffer key, value; /* of the record being read */
    lw_buffer batch;      /* key size, key, value size, value: one after the other */
    uint64_t batch_count;
    uint64_t acknowledged, batches;
} load_work;

static lw_status load_body(lw_txn *txn, void *argument) {
    const load_work *work = argument;
    lw_bytes rest = lw_buffer_view(&work->batch);
    while (rest.size > 0) {
        uint64_t size;
        lw_bytes key, value;
        bool whole = lw_take_varint(&rest, &size) && lw_take_bytes(&rest, size, &key) &&
                     lw_take_varint(&rest, &size) && lw_take_bytes(&rest, size, &value);
        LW_ASSERT(whole);
        LW_TRY(lw_put(txn, key, value));
    }
    return LW_OK;
}

/* "[######          ]  42%  12345 records" on the last line of the terminal. */
static void show_progress(const load_work *work) {
    lw_command *command = work->command;
    if (lw_command_given(command, LW_FLAG_PROGRESS)) {
        lw_command_say(command, "acknowledged %llu", (unsigned long long)work->acknowledged);
        (void)fflush(command->talk);
    } else if (command->talk_terminal && !command->json) {
        if (work->input_size > 0) {
            uint64_t part = work->reader.done >= work->input_size
                                ? 100
                                : work->reader.done * 100 / work->input_size;
            (void)fprintf(command->talk, "\r[%-*.*s] %3llu%%  ", BAR_WIDTH,
                          (int)(part * BAR_WIDTH / 100), "##############################",
                          (unsigned long long)part);
        }
        (void)fprintf(command->talk, "%s%llu records", work->input_size > 0 ? "" : "\r",
                      (unsigned long long)work->acknowledged);
        (void)fflush(command->talk);
    }
}

static lw_status commit_batch(load_work *work) {
    if (work->batch_count == 0) {
        return LW_OK;
    }
    lw_txn_options options = lw_command_txn_options(work->command);
    lw_status status = lw_run(work->client, &options, load_body, work);
    if (status != LW_OK) {
        return lw_fail(status, "%s", lw_client_error(work->client));
    }
    work->acknowledged += work->batch_count;
    work->batches++;
    work->batch_count = 0;
    lw_buffer_clear(&work->batch);
    show_progress(work);
    return LW_OK;
}

static void add_record(load_work *work) {
    lw_buffer_append_varint(&work->batch, work->key.size);
    lw_buffer_append(&work->batch, lw_buffer_view(&work->key));
    lw_buffer_append_varint(&work->batch, work->value.size);
    lw_buffer_append(&work->batch, lw_buffer_view(&work->value));
    work->batch_count++;
}

/* Reads and commits everything. After a wrong line what was right before it is committed too. */
static lw_status load_all(load_work *work) {
    lw_bytes line;
    for (;;) {
        lw_status status = next_line(&work->reader, &line);
        uint64_t number = work->reader.line + (status != LW_OK);
        if (status == LW_NOT_FOUND) {
            return commit_batch(work);
        }
        if (status == LW_OK) {
            status = lw_record_decode(line, &work->key, &work->value);
        }
        if (status != LW_OK) {
            lw_error wrong = *lw_error_slot();
            LW_TRY(commit_batch(work));
            return lw_fail(status, "%s, line %llu: %.400s", work->reader.name,
                           (unsigned long long)number, wrong.text);
        }
        size_t record_size = work->key.size + work->value.size;
        if (work->batch_count > 0 && work->batch.size + record_size > BATCH_BYTES) {
            LW_TRY(commit_batch(work));
        }
        add_record(work);
        if (work->batch_count == BATCH_RECORDS) {
            LW_TRY(commit_batch(work));
        }
    }
}

static void answer_load(load_work *work, bool complete) {
    lw_command *command = work->command;
    if (command->json) {
        lw_buffer out = lw_buffer_in(command->memory);
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_number(&json, "acknowledged", work->acknowledged);
        lw_json_number(&json, "batches", work->batches);
        lw_json_boolean(&json, "complete", complete);
        lw_json_object_close(&json);
        lw_buffer_append_u8(&out, '\n');
        lw_command_drain(command, &out, true);
        lw_buffer_reset(&out);
        return;
    }
    bool bar = command->talk_terminal && !lw_command_given(command, LW_FLAG_PROGRESS);
    lw_command_say(command, "%sacknowledged %llu records in %llu transactions",
                   bar && work->batches > 0 ? "\n" : "", (unsigned long long)work->acknowledged,
                   (unsigned long long)work->batches);
}

static lw_exit load_run(load_work *work) {
    struct stat facts;
    (void)lw_buffer_reserve(&work->reader.buffer, CHUNK);
    if (fstat(work->reader.file, &facts) == 0 && S_ISREG(facts.st_mode)) {
        work->input_size = (uint64_t)facts.st_size;
    }
    lw_exit code = lw_command_connect(work->command, &work->client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    lw_status status = load_all(work);
    answer_load(work, status == LW_OK);
    if (status != LW_OK) {
        lw_error reason = *lw_error_slot();
        code = lw_command_fail(
            work->command, status, reason.text,
            status == LW_INVALID_ARGUMENT
                ? "lathwork help load"
                : "lathwork status, then load the same again: what is stored already is harmless",
            "not all records were loaded");
    }
    lw_close(work->client);
    return code;
}

static lw_exit cannot_open(lw_command *command, const char *path, const char *what) {
    char cause[LW_ERROR_TEXT_SIZE];
    (void)snprintf(cause, sizeof(cause), "%s: %s", path, strerror(errno));
    return lw_command_fail(command, errno == ENOSPC ? LW_FULL : LW_REFUSED, cause,
                           "look at it: ls -ld FILE, and df -h", "%s", what);
}

lw_exit lw_command_load(lw_command *command) {
    const char *path = command->operand_count > 0 ? command->operands[0] : "-";
    bool from_stdin = strcmp(path, "-") == 0;
    load_work work = {
        .command = command,
        .reader = {.file = STDIN_FILENO,
                   .name = from_stdin ? "standard input" : path,
                   .buffer = lw_buffer_in(command->memory)},
        .key = lw_buffer_in(command->memory),
        .value = lw_buffer_in(command->memory),
        .batch = lw_buffer_in(command->memory),
    };
    if (!from_stdin) {
        work.reader.file = open(path, O_RDONLY | O_CLOEXEC);
        if (work.reader.file < 0) {
            return cannot_open(command, path, "the records cannot be read");
        }
    }
    lw_exit code = load_run(&work);
    if (!from_stdin) {
        close(work.reader.file);
    }
    return code;
}

/* ---- dump --------------------------------------------------------------------------------------
 */

typedef struct dump_work {
    lw_command *command;
    FILE *file;
    lw_buffer prefix, upper, out;
    lw_walk walk;
} dump_work;

static void dump_write(dump_work *work) {
    (void)fwrite(work->out.data, 1, work->out.size, work->file);
    lw_buffer_clear(&work->out);
}

static bool dump_visit(void *argument, lw_bytes key, lw_bytes value) {
    dump_work *work = argument;
    lw_record_encode(key, value, &work->out);
    if (work->out.size >= CHUNK) {
        dump_write(work);
    }
    return ferror(work->file) == 0;
}

static void answer_dump(const dump_work *work) {
    lw_command *command = work->command;
    if (!command->json) {
        lw_command_say(command, "dumped %llu records", (unsigned long long)work->walk.count);
        return;
    }
    lw_buffer out = lw_buffer_in(command->memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "dumped", work->walk.count);
    lw_json_number(&json, "read_timestamp", work->walk.at);
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, '\n');
    /* Standard output may be the dump itself. */
    bool apart = work->file != command->answers;
    (void)fwrite(out.data, 1, out.size, apart ? command->answers : command->talk);
    lw_buffer_reset(&out);
}

static lw_exit dump_run(dump_work *work) {
    lw_command *command = work->command;
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    lw_status status = lw_command_walk(command, client, &work->walk);
    dump_write(work);
    errno = 0;
    if (status != LW_OK) {
        code = lw_command_fail_client(command, status, client, "the dump is not complete");
    } else if (fflush(work->file) != 0 || ferror(work->file) != 0 ||
               (work->file != command->answers && fsync(fileno(work->file)) != 0)) {
        code = cannot_open(command,
                           command->operand_count > 0 ? command->operands[0] : "standard output",
                           "the dump could not be written");
    }
    lw_close(client);
    return code;
}

/* Writes beside the file, and gives it the name at the end. */
static lw_exit dump_to_file(dump_work *work, const char *path) {
    size_t size = strlen(path) + sizeof(".partial");
    char *partial = lw_allocate(work->command->memory, size);
    (void)snprintf(partial, size, "%s.partial", path);
    work->file = fopen(partial, "we");
    if (work->file == NULL) {
        return cannot_open(work->command, partial, "the dump cannot be written");
    }
    lw_exit code = dump_run(work);
    (void)fclose(work->file);
    if (code == LW_EXIT_DONE && rename(partial, path) != 0) {
        code = cannot_open(work->command, path, "the dump cannot get its name");
    }
    if (code != LW_EXIT_DONE) {
        (void)unlink(partial);
    }
    return code;
}

lw_exit lw_command_dump(lw_command *command) {
    dump_work work = {
        .command = command,
        .file = command->answers,
        .prefix = lw_buffer_in(command->memory),
        .upper = lw_buffer_in(command->memory),
        .out = lw_buffer_in(command->memory),
        .walk = {.visit = dump_visit, .argument = &work, .at = command->flags[LW_FLAG_AT].number},
    };
    if (lw_command_given(command, LW_FLAG_PREFIX)) {
        lw_buffer_append(&work.prefix, lw_text(command->flags[LW_FLAG_PREFIX].text));
        work.walk.lower = lw_buffer_view(&work.prefix);
        work.walk.upper = lw_prefix_bound(work.walk.lower, &work.upper);
    }
    bool to_file = command->operand_count > 0 && strcmp(command->operands[0], "-") != 0;
    lw_exit code = to_file ? dump_to_file(&work, command->operands[0]) : dump_run(&work);
    if (code == LW_EXIT_DONE) {
        answer_dump(&work);
    }
    return code;
}
