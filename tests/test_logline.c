/* SPDX-License-Identifier: Apache-2.0 */
/* base/logline: one event, one line, whatever is in it. */
#include "base/logline.h"

#include "tests/unit.h"

#include "base/env.h"

/* A world that only keeps the last line. */
typedef struct listener {
    lw_env env;
    lw_level level;
    char line[2 * LW_LOGLINE_SIZE];
} listener;

static void hear(lw_env *env, lw_level level, const char *line) {
    listener *heard = (listener *)(void *)env;
    heard->level = level;
    snprintf(heard->line, sizeof(heard->line), "%s", line);
}
static const lw_env_world world = {.logline = hear};

static void an_event_is_one_logfmt_line(void **state) {
    (void)state;
    listener heard = {.env = {.world = &world}};
    lw_logline(&heard.env, LW_LEVEL_INFO, "replica opened", "shard=%d files=%u", 1, 12U);
    assert_string_equal(heard.line, "level=info event=\"replica opened\" shard=1 files=12");
    assert_int_equal(heard.level, LW_LEVEL_INFO);
}

static void an_event_may_stand_alone(void **state) {
    (void)state;
    listener heard = {.env = {.world = &world}};
    static const char *const lines[] = {
        "level=debug event=\"stopping\"",
        "level=info event=\"stopping\"",
        "level=warn event=\"stopping\"",
        "level=error event=\"stopping\"",
    };
    for (lw_level level = LW_LEVEL_DEBUG; level <= LW_LEVEL_ERROR; level++) {
        lw_logline(&heard.env, level, "stopping", NULL);
        assert_string_equal(heard.line, lines[level]);
        assert_int_equal(heard.level, level);
    }
}

static void a_long_line_is_cut(void **state) {
    (void)state;
    listener heard = {.env = {.world = &world}};
    static const char head[] = "level=warn event=\"e\" text=";
    int fits = LW_LOGLINE_SIZE - (int)sizeof(head);
    lw_logline(&heard.env, LW_LEVEL_WARN, "e", "text=%0*d", fits, 0);
    assert_int_equal(strlen(heard.line), LW_LOGLINE_SIZE - 1);
    assert_int_equal(heard.line[LW_LOGLINE_SIZE - 2], '0');

    lw_logline(&heard.env, LW_LEVEL_WARN, "e", "text=%0*d", fits + 1, 0);
    assert_int_equal(strlen(heard.line), LW_LOGLINE_SIZE - 1);
    assert_string_equal(heard.line + LW_LOGLINE_SIZE - 5, "0…");
}

static void a_cut_never_tears_a_character(void **state) {
    (void)state;
    listener heard = {.env = {.world = &world}};
    for (int shift = 1; shift <= 4; shift++) {
        char text[2 * LW_LOGLINE_SIZE];
        size_t size = (size_t)snprintf(text, sizeof(text), "%0*d", shift, 0);
        while (size + sizeof("…") <= sizeof(text)) {
            size += (size_t)snprintf(text + size, sizeof(text) - size, "…");
        }
        lw_logline(&heard.env, LW_LEVEL_WARN, "e", "text=%s", text);
        assert_in_range(strlen(heard.line), LW_LOGLINE_SIZE - 4, LW_LOGLINE_SIZE - 1);
        /* Behind the digits there is nothing but whole characters. */
        const char *rest = strrchr(heard.line, '0') + 1;
        assert_true(strlen(rest) > 0);
        for (; *rest != '\0'; rest += strlen("…")) {
            assert_memory_equal(rest, "…", strlen("…"));
        }
    }
}

static void nobody_forges_a_second_line(void **state) {
    (void)state;
    listener heard = {.env = {.world = &world}};
    lw_logline(&heard.env, LW_LEVEL_ERROR, "e", "text=%s", "a\nlevel=info\r\t\x1b[0m\x7f");
    assert_string_equal(heard.line, "level=error event=\"e\" text=a?level=info???[0m?");
}

static void bytes_are_made_readable(void **state) {
    (void)state;
    char text[LW_PRINTABLE_SIZE];
    static const struct {
        lw_bytes bytes;
        const char *text;
    } cases[] = {
        {{NULL, 0}, ""},
        {{(const uint8_t *)"user/42 ~", 9}, "user/42 ~"},
        {{(const uint8_t *)"\0\n\x1f\x7f\x80\xff", 6}, "\\x00\\x0a\\x1f\\x7f\\x80\\xff"},
        {{(const uint8_t *)"say \"a\\b\"", 9}, "say \\\"a\\\\b\\\""},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        assert_ptr_equal(lw_printable(cases[index].bytes, text, sizeof(text)), text);
        assert_string_equal(text, cases[index].text);
    }
}

static void what_fits_exactly_is_not_cut(void **state) {
    (void)state;
    char text[8];
    assert_string_equal(lw_printable(lw_text("1234567"), text, sizeof(text)), "1234567");
    assert_string_equal(lw_printable(lw_text("12345678"), text, sizeof(text)), "1234…");
    assert_string_equal(lw_printable(lw_text("123\n"), text, sizeof(text)), "123\\x0a");
    assert_string_equal(lw_printable(lw_text("1234\n"), text, sizeof(text)), "1234…");
    assert_string_equal(lw_printable(lw_text("\n1234"), text, sizeof(text)), "\\x0a…");
    assert_string_equal(lw_printable(lw_text("123\"5678"), text, sizeof(text)), "123…");
    assert_string_equal(lw_printable(lw_text("1234"), text, 4), "…");
    assert_string_equal(lw_printable(lw_text("123"), text, 4), "123");
}

/* Against the plainest way: render everything, and cut at the last piece that leaves room. */
static void any_bytes_into_any_room(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (size_t round = 0; round < 20000; round++) {
        uint8_t bytes[24];
        char whole[4 * sizeof(bytes) + 1] = "", text[64];
        size_t byte_count = unit_random_below(&seed, sizeof(bytes) + 1);
        size_t size = 4 + unit_random_below(&seed, sizeof(text) - 3);
        size_t end = 0, cut_at = 0;
        for (size_t index = 0; index < byte_count; index++) {
            bytes[index] = (uint8_t)unit_random_below(&seed, index % 2 == 0 ? 128 : 256);
            bool plain = bytes[index] >= ' ' && bytes[index] < 0x7f;
            bool escaped = bytes[index] == '"' || bytes[index] == '\\';
            end += (size_t)snprintf(whole + end, sizeof(whole) - end,
                                    escaped ? "\\%c" : (plain ? "%c" : "\\x%02x"), bytes[index]);
            cut_at = end + 3 < size ? end : cut_at;
        }
        if (end >= size) {
            snprintf(whole + cut_at, sizeof(whole) - cut_at, "…");
        }
        assert_string_equal(lw_printable(lw_view(bytes, byte_count), text, size), whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_one_logfmt_line),
        cmocka_unit_test(an_event_may_stand_alone),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(a_cut_never_tears_a_character),
        cmocka_unit_test(nobody_forges_a_second_line),
        cmocka_unit_test(bytes_are_made_readable),
        cmocka_unit_test(what_fits_exactly_is_not_cut),
        cmocka_unit_test(any_bytes_into_any_room),
    };
    return cmocka_run_group_tests_name("logline", tests, unit_arm, NULL) != 0;
}
