/* SPDX-License-Identifier: Apache-2.0 */
/* The checker, held to hand-made histories: each anomaly is found, and what is none is not.
 *
 * A history is written as text, one transaction after the other:
 *   "BEGIN-END outcome op op …;"  with outcome ok, fail or info, and ops aK:E (append E to key K)
 * and rK:E,E (a read of K; rK: alone is a list that does not exist). */
#include "sim/check_append.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static lw_memory *memory;

static int setup(void **state) {
    (void)state;
    alarm(60);
    memory = lw_memory_open();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_memory_close(memory);
    return 0;
}

static uint64_t take_number(const char **at) {
    char *end = NULL;
    uint64_t number = strtoull(*at, &end, 10);
    assert_ptr_not_equal(end, *at);
    *at = end;
    return number;
}

static void take_op(lw_history *history, lw_list_txn *txn, const char **at) {
    bool append = **at == 'a';
    assert_true(append || **at == 'r');
    (*at)++;
    uint32_t key = (uint32_t)take_number(at);
    uint64_t elements[16];
    uint32_t count = 0;
    assert_int_equal(*(*at)++, ':');
    while (**at >= '0' && **at <= '9') {
        elements[count++] = take_number(at);
        *at += **at == ',';
    }
    if (append) {
        lw_history_append(history, txn, key, elements[0]);
    } else {
        lw_history_read(history, txn, key, elements, count);
    }
}

static lw_history history_of(const char *text) {
    lw_history history = lw_history_in(memory);
    const char *at = text;
    while (*at != 0) {
        uint64_t begin = take_number(&at);
        assert_int_equal(*at++, '-');
        uint64_t end = take_number(&at);
        lw_list_txn *txn = lw_history_begin(&history, history.txn_count, true, begin);
        at++;
        lw_outcome outcome = *at == 'o'   ? LW_OUTCOME_OK
                             : *at == 'f' ? LW_OUTCOME_FAIL
                                          : LW_OUTCOME_INFO;
        at += outcome == LW_OUTCOME_OK ? 2 : 4;
        txn->final = *at == '!';
        at += *at == '!';
        while (*at == ' ') {
            at++;
            take_op(&history, txn, &at);
        }
        lw_history_end(txn, outcome, end);
        assert_int_equal(*at++, ';');
        at += *at == ' ';
    }
    return history;
}

/* `found`: what the report must name; NULL: nothing wrong. */
static void judge(const char *text, bool strict, const char *found) {
    lw_history history = history_of(text);
    lw_buffer report = lw_buffer_in(memory);
    bool good = lw_check_append(&history, strict, memory, &report);
    lw_buffer_append_u8(&report, 0);
    if (found == NULL) {
        assert_string_equal(report.data, "");
        assert_true(good);
    } else {
        assert_false(good);
        if (strstr((const char *)report.data, found) == NULL) {
            fail_msg("wanted \"%s\" in: %s", found, (const char *)report.data);
        }
    }
    lw_buffer_reset(&report);
    lw_history_reset(&history);
}

static void serial_histories_are_sound(void **state) {
    (void)state;
    const char *serial = "1-2 ok a1:1; 3-4 ok r1:1 a1:2; 5-6 ok r1:1,2; 7-8 ok! r1:1,2;";
    judge(serial, true, NULL);
    judge(serial, false, NULL);
    judge("", true, NULL);
}

static void concurrent_transactions_may_go_either_way(void **state) {
    (void)state;
    judge("1-9 ok a1:1; 2-8 ok r1:; 3-7 ok r1:1;", true, NULL);
    judge("1-9 ok r1: a2:1; 2-8 ok r2: a3:1;", true, NULL);
}

static void what_is_in_doubt_may_be_seen_or_not(void **state) {
    (void)state;
    judge("1-2 info a1:1; 3-4 ok r1:; 5-6 ok r1:1;", true, NULL);
    judge("1-2 info a1:1; 3-4 ok! r1:;", true, NULL);
}

static void a_lost_write_is_found(void **state) {
    (void)state;
    judge("1-2 ok a1:1; 3-4 ok a1:2; 5-6 ok! r1:2;", false, "lost write");
    judge("1-2 ok a1:1; 3-4 ok! r1:;", false, "lost write");
}

static void an_aborted_read_is_found(void **state) {
    (void)state;
    judge("1-2 fail a1:1; 3-4 ok r1:1;", false, "G1a");
}

static void an_intermediate_read_is_found(void **state) {
    (void)state;
    judge("1-9 ok a1:1 a1:2; 2-8 ok r1:1;", false, "G1b");
    judge("1-9 ok a1:1 r1:1 a1:2;", false, NULL); /* one's own middle is no secret */
}

static void garbage_is_found(void **state) {
    (void)state;
    judge("1-2 ok r1:7;", false, "garbage");
    judge("1-2 ok a1:1; 3-4 ok r1:1,1;", false, "garbage");
}

static void orders_that_disagree_are_found(void **state) {
    (void)state;
    judge("1-9 ok a1:1; 1-9 ok a1:2; 2-8 ok r1:1,2; 2-8 ok r1:2,1;", false, "incompatible order");
    judge("1-9 ok a1:1; 1-9 ok a1:2; 2-8 ok r1:1; 2-8 ok r1:2;", false, "incompatible order");
}

static void reads_against_their_own_past_are_found(void **state) {
    (void)state;
    judge("1-2 ok a1:1 r1:;", false, "internal");
    judge("1-2 ok a1:1; 1-9 ok r1: r1:1;", false, "internal");
    judge("1-2 ok a1:1; 3-9 ok r1:1 a1:2 r1:1,2;", false, NULL);
}

static void a_cycle_of_writes_is_found(void **state) {
    (void)state;
    judge("1-9 ok a1:1 a2:1; 1-9 ok a1:2 a2:2; 10-11 ok r1:1,2 r2:2,1;", false, "G0");
}

static void a_cycle_of_information_is_found(void **state) {
    (void)state;
    judge("1-9 ok a1:1 r2:1; 1-9 ok a2:1 r1:1;", false, "G1c");
}

static void a_lost_update_is_found(void **state) {
    (void)state;
    judge("1-9 ok r1: a1:1; 1-9 ok r1: a1:2; 10-11 ok r1:1,2;", false, "G-single");
}

static void a_torn_read_is_found(void **state) {
    (void)state;
    judge("1-9 ok a1:1 a2:1; 1-9 ok r1:1 r2:; 10-11 ok r2:1;", false, "G-single");
}

static void a_long_fork_is_found(void **state) {
    (void)state;
    const char *fork = "1-9 ok a1:1; 1-9 ok a2:1; 1-9 ok r1:1 r2:; 1-9 ok r1: r2:1;";
    judge(fork, true, "cycle");
    judge(fork, false, "cycle");
}

static void write_skew_is_an_anomaly_only_when_strict(void **state) {
    (void)state;
    const char *skew = "1-9 ok r1: r2: a1:1; 1-9 ok r1: r2: a2:1; 10-11 ok r1:1; 12-13 ok r2:1;";
    judge(skew, false, NULL);
    judge(skew, true, "G2");
}

static void a_stale_read_is_found_by_the_clock(void **state) {
    (void)state;
    const char *stale = "1-2 ok a1:1; 3-4 ok r1:; 5-6 ok r1:1;";
    judge(stale, true, "in real time");
    judge(stale, false, "in real time"); /* snapshots are strong */
}

/* Between the ends of a long chain of moments no edge is lost. */
static void real_time_reaches_across_many_transactions(void **state) {
    (void)state;
    lw_buffer text = lw_buffer_in(memory);
    lw_buffer_print(&text, "1-2 ok a1:1;");
    for (int index = 0; index < 200; index++) {
        lw_buffer_print(&text, " %d-%d ok a2:%d;", 3 + 2 * index, 4 + 2 * index, index + 1);
    }
    lw_buffer_print(&text, " 1000-1001 ok r1:; 1002-1003 ok r1:1;");
    lw_buffer_append_u8(&text, 0);
    judge((const char *)text.data, true, "in real time");
    lw_buffer_reset(&text);
}

static void a_history_is_written_as_json_lines(void **state) {
    (void)state;
    lw_history history = history_of("1-2 ok a1:1; 3-4 info r1:1; 5-6 ok! r1:1;");
    lw_buffer lines = lw_buffer_in(memory);
    lw_history_write(&history, &lines);
    lw_buffer_append_u8(&lines, 0);
    assert_string_equal(
        lines.data,
        "{\"txn\":0,\"process\":0,\"invoke_ns\":1,\"complete_ns\":2,\"status\":\"ok\","
        "\"ops\":[[\"append\",\"1\",1]],\"isolation\":\"strict\"}\n"
        "{\"txn\":1,\"process\":1,\"invoke_ns\":3,\"complete_ns\":null,\"status\":\"info\","
        "\"ops\":[[\"r\",\"1\",[1]]],\"isolation\":\"strict\"}\n"
        "{\"txn\":2,\"process\":2,\"invoke_ns\":5,\"complete_ns\":6,\"status\":\"ok\","
        "\"ops\":[[\"r\",\"1\",[1]]],\"isolation\":\"strict\",\"final\":true}\n");
    lw_buffer_reset(&lines);
    lw_history_reset(&history);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serial_histories_are_sound),
        cmocka_unit_test(concurrent_transactions_may_go_either_way),
        cmocka_unit_test(what_is_in_doubt_may_be_seen_or_not),
        cmocka_unit_test(a_lost_write_is_found),
        cmocka_unit_test(an_aborted_read_is_found),
        cmocka_unit_test(an_intermediate_read_is_found),
        cmocka_unit_test(garbage_is_found),
        cmocka_unit_test(orders_that_disagree_are_found),
        cmocka_unit_test(reads_against_their_own_past_are_found),
        cmocka_unit_test(a_cycle_of_writes_is_found),
        cmocka_unit_test(a_cycle_of_information_is_found),
        cmocka_unit_test(a_lost_update_is_found),
        cmocka_unit_test(a_torn_read_is_found),
        cmocka_unit_test(a_long_fork_is_found),
        cmocka_unit_test(write_skew_is_an_anomaly_only_when_strict),
        cmocka_unit_test(a_stale_read_is_found_by_the_clock),
        cmocka_unit_test(real_time_reaches_across_many_transactions),
        cmocka_unit_test(a_history_is_written_as_json_lines),
    };
    return cmocka_run_group_tests(tests, setup, teardown) != 0 ? 1 : 0;
}
