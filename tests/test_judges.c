/* SPDX-License-Identifier: Apache-2.0 */
/* The judges of single registers and of banks, held to hand-made histories: each kind of lie is
 * found, and what only looks like one is not. */
#include "sim/check.h"
#include "tests/unit_memory.h"

/* Whether a history in JSON lines is sound; else the report must have `found` in it. */
static void judge(const char *lines, const char *found) {
    lw_history history = lw_history_in(memory);
    lw_buffer report = lw_buffer_in(memory);
    lw_status status = lw_history_parse(&history, lw_text(lines));
    if (status != LW_OK) {
        fail_msg("%s", lw_error_slot()->text);
    }
    bool sound = lw_check_history(&history, LW_CHECK_AS_TOLD, memory, &report);
    lw_buffer_append_u8(&report, 0);
    if (sound != (found == NULL)) {
        fail_msg("%s\nis %ssound, and should be otherwise: %s", lines, sound ? "" : "not ",
                 (const char *)report.data);
    }
    if (found != NULL && strstr((const char *)report.data, found) == NULL) {
        fail_msg("wanted \"%s\": %s", found, (const char *)report.data);
    }
    lw_buffer_reset(&report);
    lw_history_reset(&history);
}

/* ---- registers ---------------------------------------------------------------------------- */

#define OP(process, f, value, from, to, status)                                \
    "{\"process\":" #process ",\"key\":\"k\",\"f\":\"" f "\",\"value\":" value \
    ",\"invoke_ns\":" #from ",\"complete_ns\":" #to ",\"status\":\"" status "\"}\n"

static void operations_one_after_the_other_are_held_to_their_order(void **state) {
    (void)state;
    judge(OP(1, "read", "null", 1, 2, "ok") OP(1, "write", "7", 3, 4, "ok")
              OP(2, "read", "7", 5, 6, "ok") OP(1, "delete", "null", 7, 8, "ok")
                  OP(2, "read", "null", 9, 10, "ok"),
          NULL);
    judge(OP(1, "write", "7", 3, 4, "ok") OP(2, "read", "null", 5, 6, "ok"),
          "key k: no order gives process 2, read null, 5 to 6 ns");
    judge(OP(1, "read", "9", 3, 4, "ok"), "not linearizable");
}

static void operations_at_the_same_time_may_have_any_order(void **state) {
    (void)state;
    judge(OP(1, "write", "7", 1, 10, "ok") OP(2, "read", "null", 2, 3, "ok")
              OP(2, "read", "7", 4, 5, "ok") OP(3, "read", "7", 11, 12, "ok"),
          NULL);
    /* But once one has seen it nobody may see what was before. */
    judge(OP(1, "write", "7", 1, 10, "ok") OP(2, "read", "7", 2, 3, "ok")
              OP(3, "read", "null", 4, 5, "ok"),
          "not linearizable");
    judge(OP(1, "write", "7", 1, 10, "ok") OP(2, "write", "8", 1, 10, "ok")
              OP(3, "read", "7", 11, 12, "ok") OP(3, "read", "8", 13, 14, "ok"),
          "read 8");
}

static void what_is_in_doubt_may_happen_late_or_never(void **state) {
    (void)state;
    judge(OP(1, "write", "7", 1, null, "info") OP(2, "read", "null", 5, 6, "ok"), NULL);
    judge(OP(1, "write", "7", 1, null, "info") OP(2, "read", "null", 5, 6, "ok")
              OP(2, "read", "7", 50, 60, "ok"),
          NULL);
    judge(OP(1, "write", "7", 1, null, "info") OP(2, "read", "7", 5, 6, "ok")
              OP(2, "read", "null", 50, 60, "ok"),
          "read null");
    judge(OP(1, "write", "7", 8, null, "info") OP(2, "read", "7", 5, 6, "ok"), "read 7");
}

static void what_failed_did_not_happen(void **state) {
    (void)state;
    judge(OP(1, "write", "7", 1, 2, "fail") OP(2, "read", "null", 5, 6, "ok"), NULL);
    judge(OP(1, "write", "7", 1, 2, "fail") OP(2, "read", "7", 5, 6, "ok"), "read 7");
}

static void a_swap_finds_what_it_expects_or_tells_that_it_did_not(void **state) {
    (void)state;
    const char *set = OP(1, "write", "1", 1, 2, "ok");
    char lines[1024];
    (void)snprintf(lines, sizeof(lines), "%s%s%s", set, OP(2, "cas", "[1,2]", 3, 4, "ok"),
                   OP(2, "read", "2", 5, 6, "ok"));
    judge(lines, NULL);
    (void)snprintf(lines, sizeof(lines), "%s%s", set, OP(2, "cas", "[5,2]", 3, 4, "ok"));
    judge(lines, "cas [5,2]");
    const char *unswapped = "{\"process\":2,\"key\":\"k\",\"f\":\"cas\",\"value\":[%d,2],"
                            "\"swapped\":false,\"invoke_ns\":3,\"complete_ns\":4,"
                            "\"status\":\"ok\"}\n";
    for (int expected = 1; expected <= 5; expected += 4) {
        char swap[256];
        (void)snprintf(swap, sizeof(swap), unswapped, expected);
        (void)snprintf(lines, sizeof(lines), "%s%s", set, swap);
        judge(lines, expected == 1 ? "cas [1,2] not swapped" : NULL);
    }
}

static void registers_are_judged_alone(void **state) {
    (void)state;
    judge("{\"process\":1,\"key\":\"a\",\"f\":\"write\",\"value\":1,\"invoke_ns\":1,"
          "\"complete_ns\":2,\"status\":\"ok\"}\n"
          "{\"process\":1,\"key\":\"b\",\"f\":\"read\",\"value\":1,\"invoke_ns\":3,"
          "\"complete_ns\":4,\"status\":\"ok\"}\n",
          "key b");
}

/* One client after the other writes, all reads overlap: what a real order makes is found sound, and
 * with a read turned stale it is not. */
static void a_long_history_is_decided(void **state) {
    (void)state;
    for (int lie = 0; lie < 2; lie++) {
        lw_buffer lines = lw_buffer_in(memory);
        uint64_t value = 0;
        for (uint64_t step = 1; step <= 3000; step++) {
            uint64_t at = step * 100, seen = value;
            if (step % 3 == 0) {
                value = step;
                seen = step;
            }
            bool stale = lie == 1 && step == 2000;
            lw_buffer_print(&lines,
                            "{\"process\":%d,\"key\":\"k\",\"f\":\"%s\",\"value\":%s%llu,"
                            "\"invoke_ns\":%llu,\"complete_ns\":%llu,\"status\":\"ok\"}\n",
                            (int)(step % 7), step % 3 == 0 ? "write" : "read", "",
                            (unsigned long long)(seen == 0 ? 3
                                                 : stale   ? seen - 300
                                                           : seen),
                            (unsigned long long)(seen == 0 ? 1 : at - 90),
                            (unsigned long long)(seen == 0 ? 400 : at + 250));
        }
        lw_buffer_append_u8(&lines, 0);
        judge((const char *)lines.data, lie == 1 ? "not linearizable" : NULL);
        lw_buffer_reset(&lines);
    }
}

/* ---- banks -------------------------------------------------------------------------------- */

#define BANK "{\"type\":\"init\",\"balances\":{\"a\":100,\"b\":100,\"c\":100}}\n"
#define MOVE(id, from, to, amount, begin, end, status)                                       \
    "{\"type\":\"transfer\",\"id\":" #id ",\"process\":1,\"from\":\"" from "\",\"to\":\"" to \
    "\",\"amount\":" #amount ",\"invoke_ns\":" #begin ",\"complete_ns\":" #end               \
    ",\"status\":\"" status "\"}\n"
#define SEE(a, b, c, begin, end)                                                      \
    "{\"type\":\"read\",\"process\":2,\"invoke_ns\":" #begin ",\"complete_ns\":" #end \
    ",\"status\":\"ok\",\"balances\":{\"a\":" #a ",\"b\":" #b ",\"c\":" #c "},\"final\":false}\n"

static void a_read_holds_what_was_acknowledged(void **state) {
    (void)state;
    judge(BANK SEE(100, 100, 100, 1, 2) MOVE(1, "a", "b", 5, 3, 4, "ok") SEE(95, 105, 100, 5, 6),
          NULL);
    judge(BANK MOVE(1, "a", "b", 5, 3, 4, "ok") SEE(100, 100, 100, 5, 6), "one is missing");
    judge(BANK MOVE(1, "a", "b", 5, 3, 4, "ok") SEE(90, 110, 100, 5, 6), "doubled");
    judge(BANK SEE(95, 105, 100, 1, 2) MOVE(1, "a", "b", 5, 3, 4, "ok"), "no transfers make");
    judge(BANK MOVE(1, "a", "b", 5, 3, 4, "fail") SEE(95, 105, 100, 5, 6), "no transfers make");
}

static void the_sum_stays(void **state) {
    (void)state;
    judge(BANK MOVE(1, "a", "b", 5, 3, 9, "ok") SEE(95, 100, 100, 5, 6), "the sum");
}

static void what_is_under_way_is_seen_whole_or_not_at_all(void **state) {
    (void)state;
    judge(BANK MOVE(1, "a", "b", 5, 3, 9, "ok") SEE(95, 105, 100, 5, 6), NULL);
    judge(BANK MOVE(1, "a", "b", 5, 3, 9, "ok") SEE(100, 100, 100, 5, 6), NULL);
    judge(BANK MOVE(1, "a", "b", 5, 3, null, "info") MOVE(2, "b", "c", 7, 3, null, "info")
              SEE(95, 98, 107, 50, 60) SEE(100, 93, 107, 50, 60),
          NULL);
    /* Half of one, half of another: the sum is right. */
    judge(BANK MOVE(1, "a", "b", 5, 3, 9, "ok") MOVE(2, "c", "a", 5, 3, 9, "ok")
              SEE(100, 105, 100, 5, 6),
          "the sum");
    judge(BANK MOVE(1, "a", "b", 5, 3, 9, "ok") MOVE(2, "c", "a", 5, 3, 9, "ok")
              SEE(95, 100, 105, 5, 6),
          "torn");
}

/* A client that may die says beforehand what it is about to do. */
static void the_later_line_of_a_transfer_counts(void **state) {
    (void)state;
    judge(BANK MOVE(1, "a", "b", 5, 3, null, "info") MOVE(1, "a", "b", 5, 3, 4, "ok")
              SEE(100, 100, 100, 5, 6),
          "one is missing");
}

/* ---- lines -------------------------------------------------------------------------------- */

static void refused(const char *line, const char *problem) {
    lw_history history = lw_history_in(memory);
    assert_int_equal(lw_history_parse(&history, lw_text(line)), LW_INVALID_ARGUMENT);
    if (strstr(lw_error_slot()->text, problem) == NULL) {
        fail_msg("wanted \"%s\": %s", problem, lw_error_slot()->text);
    }
    lw_history_reset(&history);
}

static void lines_that_make_no_sense_are_refused(void **state) {
    (void)state;
    refused("{\"key\":\"k\",\"f\":\"jump\"}", "read, write, delete or cas");
    refused("{\"key\":\"k\",\"f\":\"write\",\"status\":\"ok\"}", "no \"value\"");
    refused("{\"key\":\"k\",\"f\":\"read\",\"value\":1,\"invoke_ns\":5,\"status\":\"ok\"}",
            "no \"complete_ns\"");
    refused("{\"type\":\"gift\"}", "init, transfer or read");
    refused("{\"type\":\"transfer\",\"id\":1,\"from\":\"a\"}", "\"to\"");
    refused("{\"type\":\"read\",\"balances\":{\"a\":99999999999999999999}}", "64 bits");
    refused("{\"type\":\"read\",\"balances\":{\"a\":1}", "does not end");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_one_after_the_other_are_held_to_their_order),
        cmocka_unit_test(operations_at_the_same_time_may_have_any_order),
        cmocka_unit_test(what_is_in_doubt_may_happen_late_or_never),
        cmocka_unit_test(what_failed_did_not_happen),
        cmocka_unit_test(a_swap_finds_what_it_expects_or_tells_that_it_did_not),
        cmocka_unit_test(registers_are_judged_alone),
        cmocka_unit_test(a_long_history_is_decided),
        cmocka_unit_test(a_read_holds_what_was_acknowledged),
        cmocka_unit_test(the_sum_stays),
        cmocka_unit_test(what_is_under_way_is_seen_whole_or_not_at_all),
        cmocka_unit_test(the_later_line_of_a_transfer_counts),
        cmocka_unit_test(lines_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, unit_memory_open, unit_memory_close_empty) != 0;
}
