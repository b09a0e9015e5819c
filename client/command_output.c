/* SPDX-License-Identifier: Apache-2.0 */
/* Answers, errors, colours, exit codes; and the way from a command line to the function that does
 * it. */
#include "client/command.h"

#include "client/command_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

enum { DRAIN_SIZE = 64 * 1024 };

/* ---- exit codes and hints -------------------------------------------------------------------- */

lw_exit lw_exit_of(lw_status status) {
    switch (status) {
    case LW_OK:
        return LW_EXIT_DONE;
    case LW_NOT_FOUND:
    case LW_EXISTS:
        return LW_EXIT_NEGATIVE;
    case LW_INVALID_ARGUMENT:
        return LW_EXIT_USAGE;
    case LW_TIMEOUT:
    case LW_BACKPRESSURE:
    case LW_UNAVAILABLE:
        return LW_EXIT_UNREACHABLE;
    case LW_CONFLICT:
        return LW_EXIT_CONFLICT;
    case LW_UNDETERMINED:
        return LW_EXIT_UNDETERMINED;
    case LW_REFUSED:
    case LW_FULL:
    case LW_TOO_OLD:
        return LW_EXIT_REFUSED;
    case LW_CORRUPTION:
        return LW_EXIT_DAMAGED;
    case LW_INTERNAL:
    default:
        return LW_EXIT_INTERNAL;
    }
}

static const char *usual_hint(lw_status status) {
    switch (status) {
    case LW_NOT_FOUND:
    case LW_EXISTS:
        return "lathwork scan --limit 10";
    case LW_TIMEOUT:
        return "lathwork status, lathwork locks, or give it more time with --timeout 60s";
    case LW_BACKPRESSURE:
        return "lathwork status, and try again a little later";
    case LW_UNAVAILABLE:
        return "lathwork start, or name another node with --addr HOST:PORT";
    case LW_CONFLICT:
        return "run it again, or give it more time with --timeout 60s";
    case LW_UNDETERMINED:
        return "look before you repeat it: lathwork get KEY";
    case LW_REFUSED:
        return "lathwork config";
    case LW_FULL:
        return "lathwork del what is not needed, or free space where the data is (df -h)";
    case LW_TOO_OLD:
        return "lathwork status (it tells the safepoint), lathwork help start (see --retention)";
    case LW_CORRUPTION:
        return "stop the node, then: lathwork check DIR";
    case LW_OK:
    case LW_INVALID_ARGUMENT:
    case LW_INTERNAL:
    default:
        return "report it, together with what this prints: lathwork version --json";
    }
}

/* ---- streams and colours --------------------------------------------------------------------- */

static bool colored(const lw_command *command, bool terminal) {
    enum { AUTO, ALWAYS, NEVER };
    uint64_t when = command->flags[LW_FLAG_COLOR].number;
    const char *none = getenv("NO_COLOR");
    const char *kind = getenv("TERM");
    bool fit =
        terminal && (none == NULL || none[0] == 0) && kind != NULL && strcmp(kind, "dumb") != 0;
    return when == ALWAYS || (when == AUTO && fit);
}

void lw_command_streams(lw_command *command, FILE *in, FILE *answers, FILE *talk) {
    command->in = in;
    command->answers = answers;
    command->talk = talk;
    command->in_terminal = isatty(fileno(in)) == 1;
    command->answers_terminal = isatty(fileno(answers)) == 1;
    command->talk_terminal = isatty(fileno(talk)) == 1;
    command->answers_colored = colored(command, command->answers_terminal);
    command->talk_colored = colored(command, command->talk_terminal);
}

void lw_command_color_begin(const lw_command *command, lw_buffer *out) {
    if (command->answers_colored) {
        lw_buffer_append(out, lw_text("\033[36m"));
    }
}

void lw_command_color_end(const lw_command *command, lw_buffer *out) {
    if (command->answers_colored) {
        lw_buffer_append(out, lw_text("\033[0m"));
    }
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void print_error_json(lw_command *command, lw_status status, const char *what,
                             const char *cause, const char *hint) {
    lw_buffer out = lw_buffer_in(command->memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_bytes(&json, "error", lw_text(what));
    lw_json_bytes(&json, "cause", lw_text(cause));
    lw_json_bytes(&json, "hint", lw_text(hint));
    lw_json_text(&json, "status", lw_text(lw_status_name(status)));
    lw_json_number(&json, "exit", (uint64_t)lw_exit_of(status));
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, '\n');
    (void)fwrite(out.data, 1, out.size, command->talk);
    lw_buffer_reset(&out);
}

/* One part of an error: a bold label, and the text without control characters (K4). */
static void print_part(lw_command *command, const char *color, const char *label,
                       const char *text) {
    lw_buffer out = lw_buffer_in(command->memory);
    lw_bytes bytes = lw_text(text);
    if (!lw_text_printable(bytes)) {
        lw_text_encode(LW_FORM_ESCAPED, bytes, &out);
        bytes = lw_buffer_view(&out);
    }
    (void)fprintf(command->talk, "%s%s%s %.*s\n", command->talk_colored ? color : "", label,
                  command->talk_colored ? "\033[0m" : "", (int)bytes.size,
                  (const char *)bytes.data);
    lw_buffer_reset(&out);
}

lw_exit lw_command_fail(lw_command *command, lw_status status, const char *cause, const char *hint,
                        const char *what, ...) {
    char text[LW_ERROR_TEXT_SIZE];
    va_list list;
    va_start(list, what);
    (void)vsnprintf(text, sizeof(text), what, list);
    va_end(list);
    hint = hint == NULL ? usual_hint(status) : hint;
    (void)fflush(command->answers);
    if (command->json) {
        print_error_json(command, status, text, cause, hint);
    } else {
        print_part(command, "\033[1;31m", "error:", text);
        print_part(command, "\033[1m", "cause:", cause);
        print_part(command, "\033[1m", "hint: ", hint);
    }
    return lw_exit_of(status);
}

lw_exit lw_command_fail_client(lw_command *command, lw_status status, const lw_client *client,
                               const char *what) {
    enum { TOKEN_SHOWN_MAX = 200 };
    char hint[TOKEN_SHOWN_MAX + 64];
    const char *cause = lw_client_error(client), *token = lw_undetermined_token(client);
    bool known = status == LW_UNDETERMINED && token[0] != 0 && strlen(token) <= TOKEN_SHOWN_MAX;
    if (known) {
        (void)snprintf(hint, sizeof(hint), "lathwork txn status %s", token);
    } else {
        (void)snprintf(hint, sizeof(hint), "lathwork help %s", command->spec->name);
    }
    return lw_command_fail(command, status, cause[0] == 0 ? lw_status_text(status) : cause,
                           known || status == LW_INVALID_ARGUMENT ? hint : NULL, "%s", what);
}

void lw_command_say(lw_command *command, const char *format, ...) {
    va_list list;
    va_start(list, format);
    (void)vfprintf(command->talk, format, list);
    va_end(list);
    (void)fputc('\n', command->talk);
}

/* ---- answers --------------------------------------------------------------------------------- */

void lw_command_answer(lw_command *command, lw_bytes bytes) {
    if (bytes.size > 0 && fwrite(bytes.data, 1, bytes.size, command->answers) != bytes.size &&
        command->answers_error == 0) {
        command->answers_error = errno;
    }
}

void lw_command_drain(lw_command *command, lw_buffer *out, bool all) {
    if (all || out->size >= DRAIN_SIZE) {
        lw_command_answer(command, lw_buffer_view(out));
        lw_buffer_clear(out);
    }
}

lw_exit lw_command_finish(lw_command *command, lw_exit done) {
    if (fflush(command->answers) != 0 && command->answers_error == 0) {
        command->answers_error = errno;
    }
    if (ferror(command->answers) == 0) {
        return done;
    }
    bool full = command->answers_error == ENOSPC;
    return lw_command_fail(
        command, full ? LW_FULL : LW_INTERNAL,
        command->answers_error == 0 ? "a write failed" : strerror(command->answers_error),
        "look where standard output goes, then run it again", "the answer could not be written");
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Columns that a text takes: bytes that do not continue a character. */
static size_t text_width(const char *text) {
    size_t width = 0;
    for (; *text != 0; text++) {
        width += ((uint8_t)*text & 0xc0) != 0x80;
    }
    return width;
}

void lw_command_rows(lw_command *command, const char *const *cells, size_t row_count,
                     size_t column_count) {
    lw_buffer out = lw_buffer_in(command->memory);
    size_t *widths = lw_allocate_zero(command->memory, column_count * sizeof(*widths));
    for (size_t cell = 0; cell < row_count * column_count; cell++) {
        size_t width = text_width(cells[cell]);
        size_t *widest = &widths[cell % column_count];
        *widest = width > *widest ? width : *widest;
    }
    for (size_t cell = 0; cell < row_count * column_count; cell++) {
        size_t column = cell % column_count;
        bool last = column + 1 == column_count;
        if (column == 0) {
            lw_command_color_begin(command, &out);
        }
        lw_buffer_append(&out, lw_text(cells[cell]));
        if (column == 0) {
            lw_command_color_end(command, &out);
        }
        if (last || !command->answers_terminal) {
            lw_buffer_append_u8(&out, last ? '\n' : '\t');
        } else {
            lw_buffer_print(&out, "%*s", (int)(widths[column] - text_width(cells[cell])) + 2, "");
        }
    }
    lw_command_drain(command, &out, true);
    lw_free(command->memory, widths);
    lw_buffer_reset(&out);
}

/* ---- running --------------------------------------------------------------------------------- */

static lw_command_function find_function(const lw_command_spec *spec,
                                         const lw_command_binding *bindings, size_t binding_count) {
    for (size_t index = 0; spec->run == NULL && index < binding_count; index++) {
        if (strcmp(bindings[index].name, spec->name) == 0) {
            return bindings[index].run;
        }
    }
    return spec->run;
}

static lw_exit run(lw_command *command, int argc, char **argv, const lw_command_binding *bindings,
                   size_t binding_count) {
    lw_status status = lw_command_parse(command, argc > 0 ? argc - 1 : 0,
                                        (const char *const *)(argv + (argc > 0)));
    lw_command_streams(command, stdin, stdout, stderr);
    if (status != LW_OK) {
        char hint[64];
        (void)snprintf(hint, sizeof(hint), "lathwork help%s%s", command->spec == NULL ? "" : " ",
                       command->spec == NULL ? "" : command->spec->name);
        return lw_command_fail(command, status, lw_error_slot()->text, hint,
                               "the command line cannot be understood");
    }
    if (lw_command_given(command, LW_FLAG_HELP)) {
        lw_command_help_print(command, command->spec);
        return LW_EXIT_DONE;
    }
    if (command->spec == NULL) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT, "no command was given",
                               "lathwork help", "there is nothing to do");
    }
    lw_command_function function = find_function(command->spec, bindings, binding_count);
    LW_ASSERT(function != NULL);
    return function(command);
}

int lw_command_main(int argc, char **argv, const lw_command_binding *bindings,
                    size_t binding_count) {
    lw_command command = {.memory = lw_memory_open()};
    lw_exit code = run(&command, argc, argv, bindings, binding_count);
    code = lw_command_finish(&command, code);
    lw_memory_close(command.memory);
    return (int)code;
}

void lw_command_cells(lw_command *command, lw_buffer *cells, size_t row_count,
                      size_t column_count) {
    size_t cell_count = row_count * column_count;
    const char **views = lw_allocate(command->memory, (cell_count + 1) * sizeof(*views));
    const char *next = (const char *)cells->data;
    for (size_t index = 0; index < cell_count; index++) {
        views[index] = next;
        next += strlen(next) + 1;
    }
    lw_command_rows(command, views, row_count, column_count);
    lw_free(command->memory, views);
    lw_buffer_clear(cells);
}
