/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments and environment, held against the table.
 *
 * Invariants
 * 1. Flags may stand anywhere, before the command too, as `--name VALUE` or `--name=VALUE`; after
 *    `--` nothing is a flag. `-` alone is an operand, and so is a negative number. A few have a
 *    letter of their own: -h, -n, -f.
 * 2. A flag is given once at most. A flag comes before the environment, that before the default. */
#include "client/command.h"

#include "base/logline.h"

#include <errno.h>
#include <stdlib.h>

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct unit {
    const char *name;
    uint64_t factor;
} unit;

static const unit size_units[] = {
    {"", 1},           {"B", 1},         {"K", 1u << 10},   {"KB", 1u << 10},
    {"KiB", 1u << 10}, {"M", 1u << 20},  {"MB", 1u << 20},  {"MiB", 1u << 20},
    {"G", 1u << 30},   {"GB", 1u << 30}, {"GiB", 1u << 30}, {NULL, 0},
};
static const unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {NULL, 0},
};
static const unit no_units[] = {{"", 1}, {NULL, 0}};

/* Reads digits and a unit; false if it is not that or does not fit. */
static bool read_number(const char *text, const unit *units, uint64_t *number) {
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    for (; units->name != NULL; units++) {
        if (strcasecmp(units->name, end) == 0) {
            return !__builtin_mul_overflow(value, units->factor, number);
        }
    }
    return false;
}

static bool read_choice(const char *text, const char *choices, uint64_t *number) {
    size_t size = strlen(text);
    *number = 0;
    while (*choices != 0) {
        size_t choice_size = strcspn(choices, " ");
        if (choice_size == size && memcmp(choices, text, size) == 0) {
            return true;
        }
        choices += choice_size + (choices[choice_size] == ' ');
        (*number)++;
    }
    return false;
}

static bool is_address(const char *text) {
    const char *colon = strrchr(text, ':');
    uint64_t port;
    return colon != NULL && colon != text && read_number(colon + 1, no_units, &port) &&
           port <= UINT16_MAX;
}

static lw_status read_value(const lw_flag_spec *flag, const char *text, uint64_t *number) {
    bool good = true;
    const char *wanted = "";
    *number = 0;
    switch (flag->kind) {
    case LW_KIND_SWITCH:
    case LW_KIND_TEXT:
        break;
    case LW_KIND_PATH:
        wanted = "a path";
        good = text[0] != 0;
        break;
    case LW_KIND_ADDRESS:
        wanted = "HOST:PORT, such as " LW_DEFAULT_ADDRESS;
        good = is_address(text);
        break;
    case LW_KIND_NUMBER:
        wanted = "a whole number, 1 or more, and less than 2^64";
        good = read_number(text, no_units, number) && *number > 0;
        break;
    case LW_KIND_SIZE:
        wanted = "a size of 4M or more, such as 64M";
        good = read_number(text, size_units, number) && *number >= 4u << 20;
        break;
    case LW_KIND_DURATION:
        wanted = "a time from 1ms to 1000h, such as 500ms or 5s";
        good = read_number(text, duration_units, number) && *number > 0 &&
               *number <= 1000ull * 3600 * 1000;
        break;
    case LW_KIND_CHOICE:
        wanted = flag->choices;
        good = read_choice(text, flag->choices, number);
        break;
    default:
        LW_ASSERT(flag->kind == LW_KIND_SWITCH);
    }
    char shown[LW_PRINTABLE_SIZE];
    return good ? LW_OK
                : lw_fail(LW_INVALID_ARGUMENT, "\"%s\" is not %s%s",
                          lw_printable(lw_text(text), shown, sizeof(shown)),
                          flag->kind == LW_KIND_CHOICE ? "one of: " : "", wanted);
}

/* ---- near misses ----------------------------------------------------------------------------- */

/* The number of letters to change, add or leave out, if it is at most 2; else 3. */
static int distance(const char *a, const char *b) {
    enum { WORD = 16 };
    size_t a_size = strlen(a), b_size = strlen(b);
    if (a_size >= WORD || b_size >= WORD) {
        return 3;
    }
    int row[WORD + 1];
    for (int column = 0; column <= (int)b_size; column++) {
        row[column] = column;
    }
    for (size_t line = 1; line <= a_size; line++) {
        int diagonal = row[0];
        row[0] = (int)line;
        for (size_t column = 1; column <= b_size; column++) {
            int change = diagonal + (a[line - 1] != b[column - 1]);
            int step = (row[column] < row[column - 1] ? row[column] : row[column - 1]) + 1;
            diagonal = row[column];
            row[column] = change < step ? change : step;
        }
    }
    return row[b_size] < 3 ? row[b_size] : 3;
}

static lw_status unknown_command(const char *name) {
    size_t count;
    const lw_command_spec *table = lw_command_table(&count);
    const char *nearest = NULL;
    int nearest_distance = 3;
    for (size_t index = 0; index < count; index++) {
        int this_distance = distance(name, table[index].name);
        if (this_distance < nearest_distance) {
            nearest = table[index].name;
            nearest_distance = this_distance;
        }
    }
    char shown[LW_PRINTABLE_SIZE];
    (void)lw_printable(lw_text(name), shown, sizeof(shown));
    return nearest == NULL
               ? lw_fail(LW_INVALID_ARGUMENT, "there is no command \"%s\"", shown)
               : lw_fail(LW_INVALID_ARGUMENT, "there is no command \"%s\"; did you mean \"%s\"?",
                         shown, nearest);
}

static lw_status unknown_flag(const char *argument, size_t name_size) {
    char name[32], shown[LW_PRINTABLE_SIZE];
    (void)snprintf(name, sizeof(name), "%.*s", (int)(name_size < 31 ? name_size : 31), argument);
    const char *nearest = NULL;
    int nearest_distance = 3;
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        int this_distance = distance(name, lw_flag((lw_flag_id)id)->name);
        if (this_distance < nearest_distance) {
            nearest = lw_flag((lw_flag_id)id)->name;
            nearest_distance = this_distance;
        }
    }
    (void)lw_printable(lw_text(name), shown, sizeof(shown));
    return nearest == NULL ? lw_fail(LW_INVALID_ARGUMENT, "there is no flag --%s", shown)
                           : lw_fail(LW_INVALID_ARGUMENT,
                                     "there is no flag --%s; did you mean --%s?", shown, nearest);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static lw_status find_flag(const char *name, size_t name_size, lw_flag_id *id) {
    for (int index = 0; index < LW_FLAG_COUNT; index++) {
        const char *known = lw_flag((lw_flag_id)index)->name;
        if (strlen(known) == name_size && memcmp(known, name, name_size) == 0) {
            *id = (lw_flag_id)index;
            return LW_OK;
        }
    }
    return unknown_flag(name, name_size);
}

/* The flag that a single letter stands for; LW_FLAG_COUNT: none. */
static lw_flag_id flag_of_letter(const char *argument) {
    static const struct {
        char letter;
        lw_flag_id id;
    } letters[] = {{'h', LW_FLAG_HELP}, {'n', LW_FLAG_NODES}, {'f', LW_FLAG_FOLLOW}};
    for (size_t index = 0; index < sizeof(letters) / sizeof(letters[0]); index++) {
        if (argument[1] == letters[index].letter && argument[2] == 0) {
            return letters[index].id;
        }
    }
    return LW_FLAG_COUNT;
}

/* Takes the flag at `*index`, and its value. */
static lw_status take_flag(lw_command *command, int count, const char *const *arguments,
                           int *index) {
    const char *name = arguments[*index] + 2;
    size_t name_size = strcspn(name, "=");
    const char *text = name[name_size] == '=' ? name + name_size + 1 : NULL;
    lw_flag_id id = flag_of_letter(arguments[*index]);
    if (id != LW_FLAG_COUNT) {
        text = NULL;
    } else {
        LW_TRY(find_flag(name, name_size, &id));
    }
    const lw_flag_spec *flag = lw_flag(id);
    lw_flag_value *value = &command->flags[id];
    if (value->source == LW_SOURCE_FLAG) {
        return lw_fail(LW_INVALID_ARGUMENT, "--%s is given twice", flag->name);
    }
    if (flag->kind == LW_KIND_SWITCH && text != NULL) {
        return lw_fail(LW_INVALID_ARGUMENT, "--%s takes no value", flag->name);
    }
    if (flag->kind != LW_KIND_SWITCH && text == NULL) {
        if (*index + 1 >= count) {
            return lw_fail(LW_INVALID_ARGUMENT, "--%s needs a value: --%s %s", flag->name,
                           flag->name, lw_flag_of(command->spec, id).value);
        }
        text = arguments[++*index];
    }
    if (read_value(flag, text == NULL ? "" : text, &value->number) != LW_OK) {
        return lw_fail_in(LW_INVALID_ARGUMENT, "--%s", flag->name);
    }
    value->source = LW_SOURCE_FLAG;
    value->text = text;
    return LW_OK;
}

static lw_status take_word(lw_command *command, const char *word) {
    if (command->spec != NULL) {
        command->operands[command->operand_count++] = word;
        return LW_OK;
    }
    command->spec = lw_command_find(word);
    return command->spec == NULL ? unknown_command(word) : LW_OK;
}

static lw_status take_arguments(lw_command *command, int count, const char *const *arguments) {
    bool flags_over = false;
    for (int index = 0; index < count; index++) {
        const char *argument = arguments[index];
        bool negative = argument[0] == '-' && argument[1] >= '0' && argument[1] <= '9';
        if (flags_over || argument[0] != '-' || argument[1] == 0 || negative) {
            LW_TRY(take_word(command, argument));
        } else if (strcmp(argument, "--") == 0) {
            flags_over = true;
        } else if (argument[1] != '-' && flag_of_letter(argument) == LW_FLAG_COUNT) {
            char shown[LW_PRINTABLE_SIZE];
            return lw_fail(LW_INVALID_ARGUMENT,
                           "\"%s\" is no flag; for a key or value that begins with \"-\", put "
                           "\"--\" before it",
                           lw_printable(lw_text(argument), shown, sizeof(shown)));
        } else {
            LW_TRY(take_flag(command, count, arguments, &index));
        }
    }
    return LW_OK;
}

/* ---- what the command makes of them ---------------------------------------------------------- */

static lw_status fill_in(lw_command *command, lw_flag_id id) {
    const lw_flag_spec *flag = lw_flag(id);
    lw_flag_value *value = &command->flags[id];
    if (value->source == LW_SOURCE_FLAG || !lw_command_takes(command->spec, id)) {
        return LW_OK;
    }
    const char *set = flag->environment == NULL ? NULL : getenv(flag->environment);
    if (set != NULL && set[0] != 0) {
        if (read_value(flag, set, &value->number) != LW_OK) {
            return lw_fail_in(LW_INVALID_ARGUMENT, "the environment variable %s",
                              flag->environment);
        }
        *value = (lw_flag_value){LW_SOURCE_ENVIRONMENT, set, value->number};
    } else if (flag->default_value != NULL) {
        LW_TRY(read_value(flag, flag->default_value, &value->number));
        *value = (lw_flag_value){LW_SOURCE_DEFAULT, flag->default_value, value->number};
    }
    return LW_OK;
}

static lw_status check_together(const lw_command *command) {
    static const lw_flag_id exclusive[][2] = {
        {LW_FLAG_ESCAPED, LW_FLAG_HEX},
        {LW_FLAG_PREFIX, LW_FLAG_FROM},
        {LW_FLAG_PREFIX, LW_FLAG_TO},
        {LW_FLAG_MAN, LW_FLAG_COMPLETION},
    };
    for (size_t index = 0; index < sizeof(exclusive) / sizeof(exclusive[0]); index++) {
        if (lw_command_given(command, exclusive[index][0]) &&
            lw_command_given(command, exclusive[index][1])) {
            return lw_fail(LW_INVALID_ARGUMENT, "--%s and --%s exclude each other",
                           lw_flag(exclusive[index][0])->name, lw_flag(exclusive[index][1])->name);
        }
    }
    return LW_OK;
}

static lw_status check_operands(const lw_command *command) {
    const lw_command_spec *spec = command->spec;
    if (command->operand_count >= spec->operand_min &&
        (spec->operand_max < 0 || command->operand_count <= spec->operand_max)) {
        return LW_OK;
    }
    char shown[LW_PRINTABLE_SIZE];
    if (command->operand_count < spec->operand_min) {
        return lw_fail(LW_INVALID_ARGUMENT, "%s needs %s", spec->name, spec->operands);
    }
    return lw_fail(
        LW_INVALID_ARGUMENT, "%s does not take \"%s\"", spec->name,
        lw_printable(lw_text(command->operands[spec->operand_max]), shown, sizeof(shown)));
}

lw_status lw_command_parse(lw_command *command, int count, const char *const *arguments) {
    command->operands =
        lw_allocate_zero(command->memory, sizeof(const char *) * (size_t)(count + 1));
    lw_status taken = take_arguments(command, count, arguments);
    command->json = lw_command_given(command, LW_FLAG_JSON);
    LW_TRY(taken);
    if (command->spec == NULL || lw_command_given(command, LW_FLAG_HELP)) {
        return fill_in(command, LW_FLAG_COLOR);
    }
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        if (command->flags[id].source == LW_SOURCE_FLAG &&
            !lw_command_takes(command->spec, (lw_flag_id)id)) {
            return lw_fail(LW_INVALID_ARGUMENT, "%s does not understand --%s", command->spec->name,
                           lw_flag((lw_flag_id)id)->name);
        }
        LW_TRY(fill_in(command, (lw_flag_id)id));
    }
    LW_TRY(check_together(command));
    return check_operands(command);
}
