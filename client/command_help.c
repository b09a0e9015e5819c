/* SPDX-License-Identifier: Apache-2.0 */
/* Help, the manual page and the completions, all drawn from the table. */
#include "client/command.h"

enum { WIDTH = 92, INDENT = 22 };

static const char summary[] = "a transactional key-value store";

static const char *const group_names[] = {
    [LW_GROUP_DATA] = "Data",
    [LW_GROUP_NODE] = "Nodes",
    [LW_GROUP_SELF] = "This program",
};

typedef struct exit_code {
    int number;
    const char *text;
} exit_code;
static const exit_code exit_codes[] = {
#define EXIT_CODE(name, number, text) {number, text},
    LW_EXIT_LIST(EXIT_CODE)
#undef EXIT_CODE
};
enum { EXIT_CODE_COUNT = sizeof(exit_codes) / sizeof(exit_codes[0]) };

/* ---- wrapped text ---------------------------------------------------------------------------- */

/* Appends words, beginning at `column`, in lines that are indented by `indent`. */
static void wrap(lw_buffer *out, const char *text, size_t text_size, int column, int indent) {
    size_t index = 0;
    bool first = true;
    while (index < text_size) {
        size_t size = 0;
        while (index + size < text_size && text[index + size] != ' ') {
            size++;
        }
        if (!first && column + 1 + (int)size > WIDTH) {
            lw_buffer_print(out, "\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            lw_buffer_append_u8(out, ' ');
            column++;
        }
        lw_buffer_append(out, lw_view(text + index, size));
        column += (int)size;
        index += size + 1;
        first = false;
    }
    lw_buffer_append_u8(out, '\n');
}

/* Appends lines: indented ones as they are, others wrapped, each with `indent` before it. */
static void lines(lw_buffer *out, const char *text, int indent) {
    while (*text != 0) {
        size_t size = strcspn(text, "\n");
        if (size > 0) {
            lw_buffer_print(out, "%*s", indent, "");
        }
        if (size == 0 || text[0] == ' ') {
            lw_buffer_append(out, lw_view(text, size));
            lw_buffer_append_u8(out, '\n');
        } else {
            wrap(out, text, size, indent, indent);
        }
        text += size + (text[size] == '\n');
    }
}

static void heading(const lw_command *command, lw_buffer *out, const char *text) {
    lw_buffer_append_u8(out, '\n');
    lw_command_color_begin(command, out);
    lw_buffer_print(out, "%s:", text);
    lw_command_color_end(command, out);
    lw_buffer_append_u8(out, '\n');
}

/* ---- help ------------------------------------------------------------------------------------ */

/* "--addr HOST:PORT" */
static int flag_usage(const lw_flag_spec *flag, char *text, size_t size) {
    return flag->value == NULL ? snprintf(text, size, "--%s", flag->name)
                               : snprintf(text, size, "--%s %s", flag->name, flag->value);
}

/* What stands behind a flag's sentence. */
static void flag_more(const lw_flag_spec *flag, char *text, size_t size) {
    const char *environment = flag->environment;
    if (flag->default_value == NULL) {
        text[0] = 0;
    } else {
        (void)snprintf(
            text, size, " (default: %s%s%s)", flag->default_value,
            environment == NULL ? "" : "; environment: ", environment == NULL ? "" : environment);
    }
}

static void flag_line(lw_buffer *out, const lw_flag_spec *flag) {
    char usage[64], more[128], text[512];
    int usage_size = flag_usage(flag, usage, sizeof(usage));
    flag_more(flag, more, sizeof(more));
    int text_size = snprintf(text, sizeof(text), "%s%s", flag->text, more);
    lw_buffer_print(out, "  %-*s ", INDENT - 3, usage);
    if (usage_size > INDENT - 3) {
        lw_buffer_print(out, "\n%*s", INDENT, "");
    }
    wrap(out, text, (size_t)text_size, INDENT, INDENT);
}

/* The flags of a command, or with NULL those of all commands. */
static void flag_lines(lw_buffer *out, const lw_command_spec *spec) {
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        bool common = lw_command_takes(NULL, (lw_flag_id)id);
        if (spec == NULL ? common : !common && lw_command_takes(spec, (lw_flag_id)id)) {
            lw_flag_spec flag = lw_flag_of(spec, (lw_flag_id)id);
            flag_line(out, &flag);
        }
    }
}

static void program_help(const lw_command *command, lw_buffer *out) {
    size_t count;
    const lw_command_spec *table = lw_command_table(&count);
    lw_buffer_print(out, "lathwork %s: %s\n\nusage: lathwork COMMAND [flags] [operands]\n",
                    LW_VERSION, summary);
    for (size_t group = 0; group < sizeof(group_names) / sizeof(group_names[0]); group++) {
        heading(command, out, group_names[group]);
        for (size_t index = 0; index < count; index++) {
            if (table[index].group == group) {
                lw_buffer_print(out, "  %-*s %s\n", INDENT - 3, table[index].name,
                                table[index].summary);
            }
        }
    }
    heading(command, out, "Flags of every command");
    flag_lines(out, NULL);
    heading(command, out, "Exit codes");
    for (size_t index = 0; index < EXIT_CODE_COUNT; index++) {
        lw_buffer_print(out, "  %d  %s\n", exit_codes[index].number, exit_codes[index].text);
    }
    heading(command, out, "To begin");
    lines(out,
          "  lathwork start\n"
          "  lathwork put greeting 'hello, world'     in another terminal\n"
          "  lathwork get greeting\n"
          "  lathwork help COMMAND                    tells more",
          0);
}

static void command_help(const lw_command *command, const lw_command_spec *spec, lw_buffer *out) {
    const char *before = command->program == NULL ? "lathwork " : "";
    lw_buffer_print(out, "%s%s: %s\n\nusage: %s%s%s%s%s\n", before, spec->name, spec->summary,
                    before, spec->name, spec->flags != 0 ? " [flags]" : "",
                    spec->operands[0] ? " " : "", spec->operands);
    if (spec->text[0] != 0) {
        lw_buffer_append_u8(out, '\n');
        lines(out, spec->text, 0);
    }
    heading(command, out, "Flags");
    flag_lines(out, spec);
    flag_lines(out, NULL);
    heading(command, out, "Examples");
    lines(out, spec->examples, 2);
}

void lw_command_help_print(lw_command *command, const lw_command_spec *spec) {
    lw_buffer out = lw_buffer_in(command->memory);
    if (spec == NULL) {
        program_help(command, &out);
    } else {
        command_help(command, spec, &out);
    }
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
}

/* ---- the manual page ------------------------------------------------------------------------- */

/* Appends text to a roff page: backslashes and hyphens escaped, no line taken for a request. */
static void roff(lw_buffer *out, const char *text, size_t text_size) {
    for (size_t index = 0; index < text_size; index++) {
        char byte = text[index];
        bool line_start = index == 0 || text[index - 1] == '\n';
        if (line_start && (byte == '.' || byte == '\'')) {
            lw_buffer_append(out, lw_text("\\&"));
        }
        if (byte == '\\' || byte == '-') {
            lw_buffer_append(out, lw_text(byte == '-' ? "\\-" : "\\e"));
        } else {
            lw_buffer_append_u8(out, (uint8_t)byte);
        }
    }
}

static void roff_text(lw_buffer *out, const char *text) {
    roff(out, text, strlen(text));
}

/* Paragraphs; indented lines stand in a block without filling. */
static void roff_paragraphs(lw_buffer *out, const char *text) {
    bool block = false;
    while (*text != 0) {
        size_t size = strcspn(text, "\n");
        bool indented = text[0] == ' ';
        if (indented != block) {
            lw_buffer_append(out, lw_text(indented ? ".nf\n" : ".fi\n"));
            block = indented;
        }
        if (size == 0) {
            lw_buffer_append(out, lw_text(".PP\n"));
        } else {
            roff(out, text, size);
            lw_buffer_append_u8(out, '\n');
        }
        text += size + (text[size] == '\n');
    }
    if (block) {
        lw_buffer_append(out, lw_text(".fi\n"));
    }
}

static void roff_flag(lw_buffer *out, const lw_flag_spec *flag) {
    char usage[64], more[128];
    (void)flag_usage(flag, usage, sizeof(usage));
    flag_more(flag, more, sizeof(more));
    lw_buffer_append(out, lw_text(".TP\n.B "));
    roff_text(out, usage);
    lw_buffer_append_u8(out, '\n');
    roff_text(out, flag->text);
    roff_text(out, more);
    lw_buffer_append_u8(out, '\n');
}

static void roff_command(lw_buffer *out, const lw_command_spec *spec) {
    lw_buffer_print(out, ".SS \"lathwork %s %s\"\n", spec->name, spec->operands);
    lw_buffer_print(out, "%c%s.\n", spec->summary[0] - 'a' + 'A', spec->summary + 1);
    roff_paragraphs(out, spec->text);
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        if ((spec->flags >> id & 1) != 0) {
            lw_flag_spec flag = lw_flag_of(spec, (lw_flag_id)id);
            roff_flag(out, &flag);
        }
    }
    lw_buffer_append(out, lw_text(".PP\n.nf\n"));
    const char *example = spec->examples;
    while (*example != 0) {
        size_t size = strcspn(example, "\n");
        lw_buffer_append(out, lw_text("    "));
        roff(out, example, size);
        lw_buffer_append_u8(out, '\n');
        example += size + (example[size] == '\n');
    }
    lw_buffer_append(out, lw_text(".fi\n"));
}

static void manual_page(lw_buffer *out) {
    size_t count;
    const lw_command_spec *table = lw_command_table(&count);
    lw_buffer_print(out,
                    ".TH LATHWORK 1 \"\" \"Lathwork %s\"\n.SH NAME\nlathwork \\- %s\n"
                    ".SH SYNOPSIS\n.B lathwork\n.I COMMAND\n[flags] [operands]\n.SH COMMANDS\n",
                    LW_VERSION, summary);
    for (size_t index = 0; index < count; index++) {
        roff_command(out, &table[index]);
    }
    lw_buffer_append(out, lw_text(".SH \"FLAGS OF EVERY COMMAND\"\n"));
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        if (lw_command_takes(NULL, (lw_flag_id)id)) {
            roff_flag(out, lw_flag((lw_flag_id)id));
        }
    }
    lw_buffer_append(out, lw_text(".SH \"EXIT STATUS\"\n"));
    for (size_t index = 0; index < EXIT_CODE_COUNT; index++) {
        lw_buffer_print(out, ".TP\n.B %d\n%s\n", exit_codes[index].number, exit_codes[index].text);
    }
    lw_buffer_append(out, lw_text(".SH ENVIRONMENT\n"));
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        const lw_flag_spec *flag = lw_flag((lw_flag_id)id);
        if (flag->environment != NULL) {
            lw_buffer_print(out, ".TP\n.B %s\nStands in for \\-\\-%s.\n", flag->environment,
                            flag->name);
        }
    }
    lw_buffer_append(out, lw_text(".TP\n.B NO_COLOR\nIf set, there are no colours.\n"));
}

/* ---- completions ----------------------------------------------------------------------------- */

static void completion_values(lw_buffer *out) {
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        const lw_flag_spec *flag = lw_flag((lw_flag_id)id);
        if (flag->kind == LW_KIND_SWITCH) {
            continue;
        }
        lw_buffer_print(out, "    --%s) ", flag->name);
        if (flag->kind == LW_KIND_CHOICE) {
            lw_buffer_print(out, "COMPREPLY=($(compgen -W '%s' -- \"$word\"))", flag->choices);
        } else if (flag->kind == LW_KIND_PATH) {
            lw_buffer_append(out, lw_text("COMPREPLY=($(compgen -f -- \"$word\"))"));
        } else {
            lw_buffer_append(out, lw_text("COMPREPLY=()"));
        }
        lw_buffer_append(out, lw_text("; return ;;\n"));
    }
}

static void completion_flags(lw_buffer *out, const lw_command_spec *spec) {
    lw_buffer_print(out, "    %s) flags='", spec->name);
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        if (lw_command_takes(spec, (lw_flag_id)id)) {
            lw_buffer_print(out, "--%s ", lw_flag((lw_flag_id)id)->name);
        }
    }
    bool files = strstr(spec->operands, "FILE") != NULL || strstr(spec->operands, "DIR") != NULL ||
                 strstr(spec->operands, "PATH") != NULL;
    lw_buffer_print(out, "' operands='%s' ;;\n", files ? "files" : "");
}

static void completion(lw_buffer *out) {
    size_t count;
    const lw_command_spec *table = lw_command_table(&count);
    lw_buffer_append(out, lw_text("_lathwork() {\n"
                                  "    local word=${COMP_WORDS[COMP_CWORD]} command= commands= "
                                  "flags= operands= index\n"
                                  "    commands='"));
    for (size_t index = 0; index < count; index++) {
        lw_buffer_print(out, "%s ", table[index].name);
    }
    lw_buffer_append(out, lw_text("'\n    case ${COMP_WORDS[COMP_CWORD-1]} in\n"));
    completion_values(out);
    lw_buffer_append(out, lw_text("    esac\n"
                                  "    for ((index = 1; index < COMP_CWORD; index++)); do\n"
                                  "        case \" $commands\" in *\" ${COMP_WORDS[index]} \"*) "
                                  "command=${COMP_WORDS[index]}; break ;; esac\n"
                                  "    done\n"
                                  "    case $command in\n"));
    for (size_t index = 0; index < count; index++) {
        completion_flags(out, &table[index]);
    }
    lw_buffer_append(out, lw_text("    *) operands=commands ;;\n"
                                  "    esac\n"
                                  "    case $word:$command:$operands in\n"
                                  "    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;;\n"
                                  "    *:help:* | *:*:commands) "
                                  "COMPREPLY=($(compgen -W \"$commands\" -- \"$word\")) ;;\n"
                                  "    *:files) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
                                  "    esac\n"
                                  "}\n"
                                  "complete -o filenames -F _lathwork lathwork\n"));
}

/* ---- the table as JSON ----------------------------------------------------------------------- */

static void json_flag(lw_json *json, const lw_flag_spec *flag) {
    lw_json_object_open(json, NULL);
    lw_json_text(json, "flag", lw_text(flag->name));
    if (flag->value != NULL) {
        lw_json_text(json, "value", lw_text(flag->value));
    }
    if (flag->choices != NULL) {
        lw_json_text(json, "choices", lw_text(flag->choices));
    }
    if (flag->default_value != NULL) {
        lw_json_text(json, "default", lw_text(flag->default_value));
    }
    if (flag->environment != NULL) {
        lw_json_text(json, "environment", lw_text(flag->environment));
    }
    lw_json_text(json, "text", lw_text(flag->text));
    lw_json_object_close(json);
}

static void json_table(lw_buffer *out, const lw_command_spec *only) {
    size_t count;
    const lw_command_spec *table = lw_command_table(&count);
    lw_json json = lw_json_to(out);
    lw_json_object_open(&json, NULL);
    lw_json_array_open(&json, "commands");
    for (size_t index = 0; index < count; index++) {
        const lw_command_spec *spec = &table[index];
        if (only != NULL && only != spec) {
            continue;
        }
        lw_json_object_open(&json, NULL);
        lw_json_text(&json, "command", lw_text(spec->name));
        lw_json_text(&json, "operands", lw_text(spec->operands));
        lw_json_text(&json, "summary", lw_text(spec->summary));
        lw_json_text(&json, "text", lw_text(spec->text));
        lw_json_array_open(&json, "flags");
        for (int id = 0; id < LW_FLAG_COUNT; id++) {
            if (lw_command_takes(spec, (lw_flag_id)id)) {
                lw_flag_spec flag = lw_flag_of(spec, (lw_flag_id)id);
                json_flag(&json, &flag);
            }
        }
        lw_json_array_close(&json);
        lw_json_object_close(&json);
    }
    lw_json_array_close(&json);
    lw_json_object_close(&json);
    lw_buffer_append_u8(out, '\n');
}

/* ---- the command ----------------------------------------------------------------------------- */

lw_exit lw_command_help(lw_command *command) {
    const lw_command_spec *spec = NULL;
    if (command->operand_count > 0) {
        spec = lw_command_find(command->operands[0]);
        if (spec == NULL) {
            return lw_command_fail(command, LW_NOT_FOUND, "no command has this name",
                                   "lathwork help", "there is no help for \"%.64s\"",
                                   command->operands[0]);
        }
    }
    lw_buffer out = lw_buffer_in(command->memory);
    if (lw_command_given(command, LW_FLAG_MAN)) {
        manual_page(&out);
    } else if (lw_command_given(command, LW_FLAG_COMPLETION)) {
        completion(&out);
    } else if (command->json) {
        json_table(&out, spec);
    } else {
        lw_command_help_print(command, spec);
    }
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
    return LW_EXIT_DONE;
}
