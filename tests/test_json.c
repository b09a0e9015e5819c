/* SPDX-License-Identifier: Apache-2.0 */
#include "client/json.h"
#include "tests/unit_memory.h"

static void members_are_separated_and_nested(void **state) {
    (void)state;
    lw_buffer out = lw_buffer_in(memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "a", UINT64_MAX);
    lw_json_array_open(&json, "b");
    lw_json_boolean(&json, NULL, true);
    lw_json_object_open(&json, NULL);
    lw_json_object_close(&json);
    lw_json_null(&json, NULL);
    lw_json_array_close(&json);
    lw_json_text(&json, "c", lw_text("x"));
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, 0);
    assert_string_equal(out.data, "{\"a\":18446744073709551615,\"b\":[true,{},null],\"c\":\"x\"}");
}

static void text_is_escaped(void **state) {
    (void)state;
    lw_buffer out = lw_buffer_in(memory);
    lw_json json = lw_json_to(&out);
    lw_json_text(&json, NULL, lw_view("\"\\\n\0\x7fé", 7));
    lw_buffer_append_u8(&out, 0);
    assert_string_equal(out.data, "\"\\\"\\\\\\u000a\\u0000\\u007fé\"");
}

static void bytes_that_are_not_text_become_hex(void **state) {
    (void)state;
    lw_buffer out = lw_buffer_in(memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_bytes(&json, "k", lw_view("\xff\x00", 2));
    lw_json_bytes(&json, "v", lw_text("é"));
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, 0);
    assert_string_equal(out.data, "{\"k\":{\"hex\":\"ff00\"},\"v\":\"é\"}");
}

static void malformed_text_is_told_apart(void **state) {
    (void)state;
    static const char *const good[] = {"", "a", "é", "€", "𝄞", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"};
    static const char *const bad[] = {
        "\x80",             /* a continuation first */
        "\xc3",             /* cut */
        "\xc0\xaf",         /* over-long */
        "\xe0\x80\xaf",     /* over-long */
        "\xed\xa0\x80",     /* a surrogate */
        "\xf4\x90\x80\x80", /* beyond U+10FFFF */
        "\xf0\x8f\xbf\xbf", /* over-long */
        "\xe2\x82\x28",     /* a bad third byte */
    };
    for (size_t index = 0; index < sizeof(good) / sizeof(good[0]); index++) {
        assert_true(lw_utf8_valid(lw_text(good[index])));
    }
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        assert_false(lw_utf8_valid(lw_text(bad[index])));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_separated_and_nested),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(bytes_that_are_not_text_become_hex),
        cmocka_unit_test(malformed_text_is_told_apart),
    };
    return cmocka_run_group_tests(tests, unit_memory_open, unit_memory_close) != 0 ? 1 : 0;
}
