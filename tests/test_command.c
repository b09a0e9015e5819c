/* SPDX-License-Identifier: Apache-2.0 */
/* The command line without a node: parsing, help, exit codes, the text form, scripts. */
#include "client/command.h"
#include "client/command_script.h"

#include "tests/unit.h"

#include <stdlib.h>

static lw_memory *memory;

static int setup(void **state) {
    (void)state;
    memory = lw_memory_open();
    unsetenv("LATHWORK_ADDR");
    unsetenv("LATHWORK_TIMEOUT");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_memory_close(memory);
    return 0;
}

/* ---- parsing -----------------------------------------------------------------------------------
 */

enum { WORDS_MAX = 16 };

/* Parses words that are separated by single blanks. They live in `line`. */
static lw_status parse(lw_command *command, char *line) {
    const char *words[WORDS_MAX];
    int count = 0;
    char *rest;
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        assert_true(count < WORDS_MAX);
        words[count++] = word;
    }
    *command = (lw_command){.memory = memory};
    return lw_command_parse(command, count, words);
}

static void flags_may_stand_anywhere(void **state) {
    (void)state;
    char line[] = "--addr [::1]:9 get --json a -- --b - --timeout";
    lw_command command;
    assert_int_equal(parse(&command, line), LW_OK);
    assert_string_equal(command.spec->name, "get");
    assert_string_equal(command.flags[LW_FLAG_ADDR].text, "[::1]:9");
    assert_true(command.json);
    assert_int_equal(command.operand_count, 4);
    assert_string_equal(command.operands[0], "a");
    assert_string_equal(command.operands[1], "--b");
    assert_string_equal(command.operands[2], "-");
    assert_string_equal(command.operands[3], "--timeout");
}

static void a_few_flags_have_letters(void **state) {
    (void)state;
    char up[] = "up -n 5 --data d", events[] = "events -f", again[] = "up -n 5 --nodes 3",
         unfinished[] = "up -n", strange[] = "events -x", wrong[] = "get a -n 5";
    lw_command command;
    assert_int_equal(parse(&command, up), LW_OK);
    assert_int_equal(command.flags[LW_FLAG_NODES].number, 5);
    assert_int_equal(parse(&command, events), LW_OK);
    assert_true(lw_command_given(&command, LW_FLAG_FOLLOW));
    assert_int_equal(parse(&command, again), LW_INVALID_ARGUMENT);
    assert_int_equal(parse(&command, unfinished), LW_INVALID_ARGUMENT);
    assert_int_equal(parse(&command, strange), LW_INVALID_ARGUMENT);
    assert_int_equal(parse(&command, wrong), LW_INVALID_ARGUMENT);
}

static void values_are_read_in_their_units(void **state) {
    (void)state;
    lw_command command;
    char sizes[] = "start --memory=64MB --listen :0:0";
    assert_int_equal(parse(&command, sizes), LW_OK);
    assert_int_equal(command.flags[LW_FLAG_MEMORY].number, 64u << 20);
    char gigabytes[] = "start --memory 3GiB";
    assert_int_equal(parse(&command, gigabytes), LW_OK);
    assert_int_equal(command.flags[LW_FLAG_MEMORY].number, 3ull << 30);
    char times[] = "scan --timeout 5s --limit 7 --reverse";
    assert_int_equal(parse(&command, times), LW_OK);
    assert_int_equal(command.flags[LW_FLAG_TIMEOUT].number, 5000);
    assert_int_equal(command.flags[LW_FLAG_LIMIT].number, 7);
    assert_int_equal(command.flags[LW_FLAG_REVERSE].source, LW_SOURCE_FLAG);
    char choice[] = "get k --isolation snapshot";
    assert_int_equal(parse(&command, choice), LW_OK);
    assert_int_equal(command.flags[LW_FLAG_ISOLATION].number, 1);
}

static void a_flag_comes_before_the_environment_and_that_before_the_default(void **state) {
    (void)state;
    lw_command command;
    char bare[] = "status";
    assert_int_equal(parse(&command, bare), LW_OK);
    assert_int_equal(command.flags[LW_FLAG_ADDR].source, LW_SOURCE_DEFAULT);
    assert_string_equal(command.flags[LW_FLAG_ADDR].text, LW_DEFAULT_ADDRESS);
    assert_int_equal(command.flags[LW_FLAG_TIMEOUT].number, 10000);
    setenv("LATHWORK_ADDR", "there:1", 1);
    char with_environment[] = "status";
    assert_int_equal(parse(&command, with_environment), LW_OK);
    assert_int_equal(command.flags[LW_FLAG_ADDR].source, LW_SOURCE_ENVIRONMENT);
    assert_string_equal(command.flags[LW_FLAG_ADDR].text, "there:1");
    char with_flag[] = "status --addr here:1";
    assert_int_equal(parse(&command, with_flag), LW_OK);
    assert_int_equal(command.flags[LW_FLAG_ADDR].source, LW_SOURCE_FLAG);
    assert_string_equal(command.flags[LW_FLAG_ADDR].text, "here:1");
    setenv("LATHWORK_ADDR", "nowhere", 1);
    char wrong[] = "status";
    assert_int_equal(parse(&command, wrong), LW_INVALID_ARGUMENT);
    assert_non_null(strstr(lw_error_slot()->text, "LATHWORK_ADDR"));
    unsetenv("LATHWORK_ADDR");
}

static void what_is_wrong_with_a_line_is_said(void **state) {
    (void)state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"gte k", "did you mean \"get\"?"},
        {"frobnicate", "no command \"frobnicate\""},
        {"get", "get needs KEY..."},
        {"put k", "put needs KEY VALUE"},
        {"put k v w", "put does not take \"w\""},
        {"get k --adr x:1", "did you mean --addr?"},
        {"get k --frobnicate", "no flag --frobnicate"},
        {"get k --addr", "--addr needs a value"},
        {"get k --addr here", "HOST:PORT"},
        {"get k --addr here:70000", "HOST:PORT"},
        {"get k --json=yes", "takes no value"},
        {"get k --json --json", "given twice"},
        {"get k --hex --escaped", "exclude each other"},
        {"get k --limit 5", "get does not understand --limit"},
        {"get k -v", "\"-v\" is no flag"},
        {"scan --limit 0", "1 or more"},
        {"scan --limit 5x", "1 or more"},
        {"scan --limit 99999999999999999999", "1 or more"},
        {"scan --prefix a --from b", "exclude each other"},
        {"start --memory 64Q", "size"},
        {"start --memory 1K", "4M or more"},
        {"start --memory 99999999999999999G", "size"},
        {"start --data=", "a path"},
        {"get k --timeout 5", "500ms or 5s"},
        {"get k --timeout 9999h", "500ms or 5s"},
        {"get k --isolation fuzzy", "strict snapshot"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        char line[128];
        lw_command command;
        (void)snprintf(line, sizeof(line), "%s", cases[index].line);
        if (parse(&command, line) != LW_INVALID_ARGUMENT ||
            strstr(lw_error_slot()->text, cases[index].words) == NULL) {
            fail_msg("\"%s\" gives \"%s\"", cases[index].line, lw_error_slot()->text);
        }
    }
}

static void every_row_of_the_table_is_whole(void **state) {
    (void)state;
    size_t count;
    const lw_command_spec *table = lw_command_table(&count);
    for (size_t index = 0; index < count; index++) {
        assert_ptr_equal(lw_command_find(table[index].name), &table[index]);
        assert_true(strlen(table[index].summary) > 0);
        assert_true(table[index].operand_max < 0 ||
                    table[index].operand_min <= table[index].operand_max);
        assert_int_equal(strncmp(table[index].examples, "", 1) != 0, 1);
    }
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        const lw_flag_spec *flag = lw_flag((lw_flag_id)id);
        assert_non_null(flag->name);
        assert_int_equal(flag->kind == LW_KIND_SWITCH, flag->value == NULL);
        assert_int_equal(flag->kind == LW_KIND_CHOICE, flag->choices != NULL);
    }
}

/* ---- output ------------------------------------------------------------------------------------
 */

typedef struct captured {
    char *answers, *talk;
    size_t answers_size, talk_size;
    FILE *answers_file, *talk_file;
    lw_command command;
} captured;

static void capture(captured *to, char *line) {
    assert_int_equal(parse(&to->command, line), LW_OK);
    to->answers_file = open_memstream(&to->answers, &to->answers_size);
    to->talk_file = open_memstream(&to->talk, &to->talk_size);
    lw_command_streams(&to->command, stdin, to->answers_file, to->talk_file);
}

static void captured_end(captured *to) {
    (void)fclose(to->answers_file);
    (void)fclose(to->talk_file);
}

static void captured_free(captured *to) {
    free(to->answers);
    free(to->talk);
}

static void statuses_have_their_exit_codes(void **state) {
    (void)state;
    static const lw_exit wanted[] = {
        [LW_OK] = 0,           [LW_NOT_FOUND] = 1,
        [LW_EXISTS] = 1,       [LW_INVALID_ARGUMENT] = 2,
        [LW_CONFLICT] = 4,     [LW_TIMEOUT] = 3,
        [LW_BACKPRESSURE] = 3, [LW_UNAVAILABLE] = 3,
        [LW_UNDETERMINED] = 5, [LW_CORRUPTION] = 7,
        [LW_REFUSED] = 6,      [LW_FULL] = 6,
        [LW_INTERNAL] = 8,     [LW_TOO_OLD] = 6,
    };
    for (int status = LW_OK; status <= LW_TOO_OLD; status++) {
        assert_int_equal(lw_exit_of((lw_status)status), wanted[status]);
    }
}

static void an_error_has_three_parts_and_no_control_characters(void **state) {
    (void)state;
    char line[] = "get k";
    captured to;
    capture(&to, line);
    lw_exit code =
        lw_command_fail(&to.command, LW_REFUSED, "bad \033[2J", NULL, "key %d failed", 7);
    captured_end(&to);
    assert_int_equal(code, LW_EXIT_REFUSED);
    assert_string_equal(to.talk, "error: key 7 failed\n"
                                 "cause: bad \\x1b[2J\n"
                                 "hint:  lathwork config\n");
    assert_string_equal(to.answers, "");
    captured_free(&to);
}

static void an_error_is_json_when_json_is_asked_for(void **state) {
    (void)state;
    char line[] = "get k --json --color always";
    captured to;
    capture(&to, line);
    (void)lw_command_fail(&to.command, LW_CONFLICT, "why", "do", "what");
    captured_end(&to);
    assert_string_equal(to.talk, "{\"error\":\"what\",\"cause\":\"why\",\"hint\":\"do\","
                                 "\"status\":\"LW_CONFLICT\",\"exit\":4}\n");
    captured_free(&to);
}

static void rows_are_separated_by_tabs_when_piped_and_colored_when_forced(void **state) {
    (void)state;
    static const char *const cells[] = {"a", "1", "long", "2"};
    char line[] = "config --color always";
    captured to;
    capture(&to, line);
    lw_command_rows(&to.command, cells, 2, 2);
    captured_end(&to);
    assert_string_equal(to.answers, "\033[36ma\033[0m\t1\n\033[36mlong\033[0m\t2\n");
    captured_free(&to);
    char plain_line[] = "config";
    capture(&to, plain_line);
    to.command.answers_terminal = true;
    lw_command_rows(&to.command, cells, 2, 2);
    captured_end(&to);
    assert_string_equal(to.answers, "a     1\nlong  2\n");
    captured_free(&to);
}

static void help_shows_everything_in_the_table(void **state) {
    (void)state;
    static const char *const lines[] = {"help", "help --man", "help --completion bash",
                                        "help --json"};
    size_t count;
    const lw_command_spec *table = lw_command_table(&count);
    for (size_t index = 0; index < sizeof(lines) / sizeof(lines[0]); index++) {
        char line[64];
        captured to;
        (void)snprintf(line, sizeof(line), "%s", lines[index]);
        capture(&to, line);
        assert_int_equal(lw_command_help(&to.command), LW_EXIT_DONE);
        captured_end(&to);
        for (size_t row = 0; row < count; row++) {
            assert_non_null(strstr(to.answers, table[row].name));
        }
        captured_free(&to);
    }
}

static void help_for_a_command_shows_its_flags_within_the_width(void **state) {
    (void)state;
    size_t count;
    const lw_command_spec *table = lw_command_table(&count);
    for (size_t row = 0; row < count; row++) {
        char line[64];
        captured to;
        (void)snprintf(line, sizeof(line), "help %s", table[row].name);
        capture(&to, line);
        assert_int_equal(lw_command_help(&to.command), LW_EXIT_DONE);
        captured_end(&to);
        for (int id = 0; id < LW_FLAG_COUNT; id++) {
            char flag[32];
            (void)snprintf(flag, sizeof(flag), "  --%s ", lw_flag((lw_flag_id)id)->name);
            if (lw_command_takes(&table[row], (lw_flag_id)id)) {
                assert_non_null(strstr(to.answers, flag));
            }
        }
        for (const char *at = to.answers; *at != 0; at += strcspn(at, "\n") + 1) {
            assert_true(strcspn(at, "\n") <= 100);
        }
        captured_free(&to);
    }
}

/* What help says of a flag of a command. */
static bool help_says(const char *command, const char *words) {
    char line[64];
    captured to;
    (void)snprintf(line, sizeof(line), "help %s", command);
    capture(&to, line);
    assert_int_equal(lw_command_help(&to.command), LW_EXIT_DONE);
    captured_end(&to);
    bool says = strstr(to.answers, words) != NULL;
    captured_free(&to);
    return says;
}

static void a_flag_is_described_as_its_command_takes_it(void **state) {
    (void)state;
    assert_true(help_says("move", "--from NODE         The node that gives the shard up"));
    assert_false(help_says("move", "those after it"));
    assert_true(help_says("scan", "--from KEY          Only this key and those after it."));
    assert_false(help_says("scan", "gives the shard up"));
    assert_true(help_says("sim", "12 at most."));
    assert_false(help_says("bench", "seed"));
    assert_true(help_says("bench", "(default: 16)"));
    assert_false(help_says("sim", "(default: 16)"));
    assert_true(help_says("up", "Where the first node takes"));
    assert_false(help_says("check", "made if it is absent"));
    char line[] = "move 1 n2 --from";
    lw_command command;
    assert_int_equal(parse(&command, line), LW_INVALID_ARGUMENT);
    assert_non_null(strstr(lw_error_slot()->text, "--from NODE"));
}

static void config_tells_where_settings_come_from(void **state) {
    (void)state;
    setenv("LATHWORK_TIMEOUT", "3s", 1);
    char line[] = "config --addr here:1";
    captured to;
    capture(&to, line);
    assert_int_equal(lw_command_config(&to.command), LW_EXIT_DONE);
    captured_end(&to);
    unsetenv("LATHWORK_TIMEOUT");
    assert_non_null(strstr(to.answers, "addr\there:1\tflag --addr\n"));
    assert_non_null(strstr(to.answers, "timeout\t3s\tenvironment LATHWORK_TIMEOUT\n"));
    assert_non_null(strstr(to.answers, "data\t./lathwork-data\tdefault\n"));
    captured_free(&to);
}

static void a_status_becomes_rows(void **state) {
    (void)state;
    static const char json[] =
        "{\"state\":\"serving\",\"log\":{\"bytes\":3145728,\"x\":\"a,]}\\\"\"},"
        "\"shards\":[{\"id\":1,\"levels\":[{\"tables\":0},{\"tables\":2}]},"
        "{}],\"up_ms\":1500,\"flag\":true}";
    char line[] = "status";
    captured to;
    capture(&to, line);
    assert_int_equal(lw_command_print_status(&to.command, lw_text(json)), LW_EXIT_DONE);
    captured_end(&to);
    assert_string_equal(to.answers, "state\tserving\nlog.bytes\t3145728\nlog.x\ta,]}\\\"\n"
                                    "shards[1].id\t1\nshards[1].levels[1].tables\t0\n"
                                    "shards[1].levels[2].tables\t2\nup_ms\t1500\nflag\ttrue\n");
    captured_free(&to);
    char again[] = "status";
    capture(&to, again);
    to.command.answers_terminal = true;
    assert_int_equal(lw_command_print_status(&to.command, lw_text(json)), LW_EXIT_DONE);
    captured_end(&to);
    assert_non_null(strstr(to.answers, "3.0 MiB"));
    assert_non_null(strstr(to.answers, "1.5 s"));
    assert_null(strstr(to.answers, "levels[1]"));
    captured_free(&to);
}

static void a_status_that_is_no_json_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[1]",
                                      "{\"a\"}",
                                      "{\"a",
                                      "{\"a\":",
                                      "{\"a\":\"b}",
                                      "{{",
                                      "{\"a\":[[[[[[[[[1]]]]]]]]]}"};
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        char line[] = "status";
        captured to;
        capture(&to, line);
        assert_int_equal(lw_command_print_status(&to.command, lw_text(bad[index])),
                         LW_EXIT_DAMAGED);
        captured_end(&to);
        captured_free(&to);
    }
}

/* ---- the text form ------------------------------------------------------------------------------
 */

static void expect_encoded(lw_form form, const char *bytes, size_t size, const char *text) {
    lw_buffer out = lw_buffer_in(memory);
    lw_text_encode(form, lw_view(bytes, size), &out);
    lw_buffer_append_u8(&out, 0);
    assert_string_equal(out.data, text);
    lw_buffer_reset(&out);
}

static void text_is_encoded_as_documented(void **state) {
    (void)state;
    expect_encoded(LW_FORM_ESCAPED, "a\tb\nc\\d\0\x7f", 9, "a\\tb\\nc\\\\d\\x00\\x7f");
    expect_encoded(LW_FORM_ESCAPED, "é€𝄞 \xff\xc3", 12, "é€𝄞 \\xff\\xc3");
    expect_encoded(LW_FORM_ESCAPED, "\xc2\x85\xe2\x80\xae", 5, "\\xc2\\x85\\xe2\\x80\\xae");
    expect_encoded(LW_FORM_HEX,
                   "\0\xff"
                   "A",
                   3, "00ff41");
    expect_encoded(LW_FORM_PLAIN, "a\\", 2, "a\\");
}

static void what_is_no_text_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"\\", "a\\q", "\\x1", "\\xg0", "a\tb", "\x01", "\x7f"};
    lw_buffer out = lw_buffer_in(memory);
    lw_buffer_append_u8(&out, 'k');
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        assert_int_equal(lw_text_decode(LW_FORM_ESCAPED, lw_text(bad[index]), &out),
                         LW_INVALID_ARGUMENT);
        assert_int_equal(out.size, 1);
    }
    assert_int_equal(lw_text_decode(LW_FORM_HEX, lw_view("abcd", 3), &out), LW_INVALID_ARGUMENT);
    assert_int_equal(lw_text_decode(LW_FORM_HEX, lw_text("0g"), &out), LW_INVALID_ARGUMENT);
    assert_int_equal(out.size, 1);
    assert_int_equal(lw_text_decode(LW_FORM_HEX, lw_text("fF"), &out), LW_OK);
    assert_int_equal(out.data[1], 0xff);
}

static void any_bytes_round_trip(void **state) {
    (void)state;
    uint64_t random = 7;
    lw_buffer key = lw_buffer_in(memory), value = lw_buffer_in(memory);
    lw_buffer line = lw_buffer_in(memory);
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[64];
        size_t size = 1 + unit_random_below(&random, sizeof(bytes));
        /* Many of the bytes that are special, some of all. */
        static const uint8_t special[] = {'\t', '\n', '\\', 'x', '0', 0, 0x7f, 0xc3, 0xa9, 0xe2};
        for (size_t index = 0; index < size; index++) {
            bytes[index] = unit_random_below(&random, 2) == 0
                               ? (uint8_t)unit_random(&random)
                               : special[unit_random_below(&random, sizeof(special))];
        }
        size_t cut = 1 + unit_random_below(&random, size);
        lw_buffer_clear(&line);
        lw_record_encode(lw_view(bytes, cut), lw_view(bytes + cut, size - cut), &line);
        assert_int_equal(line.data[line.size - 1], '\n');
        assert_null(memchr(line.data, '\n', line.size - 1));
        assert_int_equal(lw_record_decode(lw_view(line.data, line.size - 1), &key, &value), LW_OK);
        assert_true(lw_equal(lw_buffer_view(&key), lw_view(bytes, cut)));
        assert_true(lw_equal(lw_buffer_view(&value), lw_view(bytes + cut, size - cut)));
    }
}

static void records_are_held_to_the_limits(void **state) {
    (void)state;
    lw_buffer key = lw_buffer_in(memory), value = lw_buffer_in(memory);
    lw_buffer line = lw_buffer_in(memory);
    assert_int_equal(lw_record_decode(lw_text("no tab"), &key, &value), LW_INVALID_ARGUMENT);
    assert_int_equal(lw_record_decode(lw_text("\tv"), &key, &value), LW_INVALID_ARGUMENT);
    assert_int_equal(lw_record_decode(lw_text("k\tv\tw"), &key, &value), LW_INVALID_ARGUMENT);
    assert_int_equal(lw_record_decode(lw_text(""), &key, &value), LW_INVALID_ARGUMENT);
    assert_int_equal(lw_record_decode(lw_text("k\t"), &key, &value), LW_OK);
    assert_int_equal(value.size, 0);
    memset(lw_buffer_reserve(&line, LW_KEY_SIZE_MAX + 2), 'k', LW_KEY_SIZE_MAX + 1);
    line.data[LW_KEY_SIZE_MAX] = '\t';
    assert_int_equal(lw_record_decode(lw_view(line.data, LW_KEY_SIZE_MAX + 1), &key, &value),
                     LW_OK);
    line.data[LW_KEY_SIZE_MAX] = 'k';
    line.data[LW_KEY_SIZE_MAX + 1] = '\t';
    assert_int_equal(lw_record_decode(lw_view(line.data, LW_KEY_SIZE_MAX + 2), &key, &value),
                     LW_INVALID_ARGUMENT);
    assert_non_null(strstr(lw_error_slot()->text, "16384"));
}

/* ---- scripts ------------------------------------------------------------------------------------
 */

static lw_status read_step(const char *line, lw_step *step) {
    lw_arena arena = lw_arena_in(memory);
    lw_words words;
    LW_TRY(lw_words_read(lw_text(line), &arena, &words));
    assert_true(words.count > 0);
    return lw_step_read(&words, 3, step);
}

static void words_are_quoted_and_escaped(void **state) {
    (void)state;
    lw_step step;
    assert_int_equal(read_step("  put \"a b\\\"\\x41\"\tx\\\\\\ty\r", &step), LW_OK);
    assert_int_equal(step.kind, LW_STEP_PUT);
    assert_int_equal(step.line, 3);
    assert_true(lw_equal(step.words.words[0], lw_text("a b\"A")));
    assert_true(lw_equal(step.words.words[1], lw_text("x\\\ty")));
    assert_int_equal(read_step("put k \"\"", &step), LW_OK);
    assert_int_equal(step.words.words[1].size, 0);
    assert_int_equal(read_step("scan p 12", &step), LW_OK);
    assert_int_equal(step.limit, 12);
    assert_int_equal(read_step("add c -12", &step), LW_OK);
    assert_int_equal(step.number, -12);
    assert_int_equal(read_step("del a b c", &step), LW_OK);
    assert_int_equal(step.words.count, 3);
}

static void numbers_of_64_bits_are_read_and_no_others(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t number;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"007", 7},
                {"-1", -1},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      "1 ",
                                      "--1",
                                      "1e3",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999999"};
    for (size_t index = 0; index < sizeof(good) / sizeof(good[0]); index++) {
        int64_t number = 1;
        assert_int_equal(lw_text_number(lw_text(good[index].text), &number), LW_OK);
        assert_true(number == good[index].number);
    }
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        int64_t number;
        assert_int_equal(lw_text_number(lw_text(bad[index]), &number), LW_INVALID_ARGUMENT);
    }
}

static void lines_without_words_are_no_steps(void **state) {
    (void)state;
    static const char *const lines[] = {"", "   \t\r", "# get k", "  #"};
    lw_arena arena = lw_arena_in(memory);
    for (size_t index = 0; index < sizeof(lines) / sizeof(lines[0]); index++) {
        lw_words words;
        assert_int_equal(lw_words_read(lw_text(lines[index]), &arena, &words), LW_OK);
        assert_int_equal(words.count, 0);
    }
}

static void wrong_steps_are_refused(void **state) {
    (void)state;
    static const char *const lines[] = {"get",
                                        "get a b",
                                        "put a",
                                        "expect a",
                                        "del",
                                        "jump a",
                                        "put \"a",
                                        "put \"a\"b c",
                                        "put a \\",
                                        "put a \\xg",
                                        "scan a 0",
                                        "scan a 1x",
                                        "add a",
                                        "add a 1x",
                                        "max a -",
                                        "append a",
                                        "scan a 99999999999999999999",
                                        "expect-absent a b"};
    for (size_t index = 0; index < sizeof(lines) / sizeof(lines[0]); index++) {
        lw_step step;
        assert_int_equal(read_step(lines[index], &step), LW_INVALID_ARGUMENT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_may_stand_anywhere),
        cmocka_unit_test(a_few_flags_have_letters),
        cmocka_unit_test(values_are_read_in_their_units),
        cmocka_unit_test(a_flag_comes_before_the_environment_and_that_before_the_default),
        cmocka_unit_test(what_is_wrong_with_a_line_is_said),
        cmocka_unit_test(every_row_of_the_table_is_whole),
        cmocka_unit_test(statuses_have_their_exit_codes),
        cmocka_unit_test(an_error_has_three_parts_and_no_control_characters),
        cmocka_unit_test(an_error_is_json_when_json_is_asked_for),
        cmocka_unit_test(rows_are_separated_by_tabs_when_piped_and_colored_when_forced),
        cmocka_unit_test(help_shows_everything_in_the_table),
        cmocka_unit_test(help_for_a_command_shows_its_flags_within_the_width),
        cmocka_unit_test(a_flag_is_described_as_its_command_takes_it),
        cmocka_unit_test(config_tells_where_settings_come_from),
        cmocka_unit_test(a_status_becomes_rows),
        cmocka_unit_test(a_status_that_is_no_json_is_refused),
        cmocka_unit_test(text_is_encoded_as_documented),
        cmocka_unit_test(what_is_no_text_is_refused),
        cmocka_unit_test(any_bytes_round_trip),
        cmocka_unit_test(records_are_held_to_the_limits),
        cmocka_unit_test(words_are_quoted_and_escaped),
        cmocka_unit_test(numbers_of_64_bits_are_read_and_no_others),
        cmocka_unit_test(lines_without_words_are_no_steps),
        cmocka_unit_test(wrong_steps_are_refused),
    };
    alarm(UNIT_SECONDS_MAX);
    return cmocka_run_group_tests(tests, setup, teardown) != 0 ? 1 : 0;
}
