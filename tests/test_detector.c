/* SPDX-License-Identifier: Apache-2.0 */
/* The detector of deadlocks between nodes, held to cycles made by hand and at random. */
#include "txn/detector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static lw_memory *memory;
static lw_detector *detector;
static lw_arena arena;
static lw_waits_reply told;

static int setup(void **state) {
    (void)state;
    alarm(60);
    memory = lw_memory_open();
    detector = lw_detector_open(memory);
    arena = lw_arena_in(memory);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_detector_close(detector);
    lw_arena_reset(&arena);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
    return 0;
}

/* "12 23": transaction 1 waits for 2, and 2 for 3; keys are called after the holder. */
static void report(uint64_t node, const char *edges, uint64_t now_ms) {
    static char names[64][2];
    lw_wait_edge list[64];
    uint32_t count = 0;
    for (const char *at = edges; *at != 0; at += at[2] == ' ' ? 3 : 2) {
        names[count][0] = at[1];
        list[count] = (lw_wait_edge){.waiter = (uint64_t)(at[0] - '0'),
                                     .holder = (uint64_t)(at[1] - '0'),
                                     .key = lw_view(names[count], 1),
                                     .label = lw_text("somebody")};
        count++;
    }
    lw_waits_request sent = {.node = node, .edges = list, .edge_count = count}, got;
    lw_buffer body = lw_buffer_in(memory);
    lw_waits_request_encode(&sent, &body);
    assert_int_equal(lw_waits_request_decode(lw_buffer_view(&body), &arena, &got), LW_OK);
    lw_detector_report(detector, &got, now_ms * UINT64_C(1000000), &arena, &told);
    lw_buffer_clear(&body);
    lw_waits_reply_encode(&told, &body);
    assert_int_equal(lw_waits_reply_decode(lw_buffer_view(&body), &arena, &told), LW_OK);
    told.victims = (const lw_waits_victim *)(const void *)lw_arena_copy(
                       &arena, lw_view(told.victims, told.victim_count * sizeof(*told.victims)))
                       .data;
    /* Views of the body are gone with it: only numbers are looked at from here on. */
    lw_buffer_reset(&body);
}

static void a_cycle_over_two_nodes_is_told_to_who_began_last(void **state) {
    (void)state;
    report(1, "12", 1000);
    assert_int_equal(told.victim_count, 0);
    report(2, "21", 1010);
    assert_int_equal(told.victim_count, 1);
    assert_int_equal(told.victims[0].start, 2);
    assert_int_equal(told.victims[0].obstacle.kind, LW_OBSTACLE_DEADLOCK);
    assert_int_equal(told.victims[0].obstacle.cycle_length, 2);
    assert_int_equal(told.victims[0].obstacle.start, 1);
    /* And to nobody else. */
    report(1, "12", 1200);
    assert_int_equal(told.victim_count, 0);
}

static void the_victim_is_told_when_its_node_reports_next(void **state) {
    (void)state;
    report(2, "31", 1000);
    report(1, "12 23", 1010);
    assert_int_equal(told.victim_count, 0);
    report(2, "31", 1200);
    assert_int_equal(told.victim_count, 1);
    assert_int_equal(told.victims[0].start, 3);
    assert_int_equal(told.victims[0].obstacle.cycle_length, 3);
}

static void what_is_no_cycle_is_let_alone(void **state) {
    (void)state;
    report(1, "12 13 24 34", 1000);
    report(2, "45 56 57", 1000);
    report(1, "12 13 24 34", 1010);
    assert_int_equal(told.victim_count, 0);
    report(2, "45 56 57", 1010);
    assert_int_equal(told.victim_count, 0);
}

static void a_report_replaces_the_one_before(void **state) {
    (void)state;
    report(1, "12", 1000);
    report(1, "34", 1100);
    report(2, "21", 1110);
    assert_int_equal(told.victim_count, 0);
}

static void what_was_said_long_ago_counts_no_more(void **state) {
    (void)state;
    report(1, "12", 1000);
    report(2, "21", 1701);
    assert_int_equal(told.victim_count, 0);
    report(1, "12", 1702);
    report(2, "21", 1703);
    assert_int_equal(told.victim_count, 1);
}

static void a_cycle_beside_others_is_found(void **state) {
    (void)state;
    /* 9 waits for a way that leads nowhere, then for the one that comes back. */
    report(1, "93 92 25", 1000);
    report(2, "34 51 19", 1010);
    report(1, "93 92 25", 1020);
    assert_int_equal(told.victim_count, 1);
    assert_int_equal(told.victims[0].start, 9);
    assert_int_equal(told.victims[0].obstacle.cycle_length, 4);
}

/* Whether there is a cycle left among edges, by taking away who waits for nobody, again and again.
 */
static bool has_cycle(const uint8_t waits[10][10]) {
    bool gone[10] = {false}, more = true;
    while (more) {
        more = false;
        for (int one = 1; one < 10; one++) {
            bool free = true;
            for (int other = 1; other < 10; other++) {
                free = free && (waits[one][other] == 0 || gone[other]);
            }
            more = more || (free && !gone[one]);
            gone[one] = gone[one] || free;
        }
    }
    for (int one = 1; one < 10; one++) {
        if (!gone[one]) {
            return true;
        }
    }
    return false;
}

/* Whoever gives up waits no more: in the end there is no cycle, and nobody gave up without one. */
static void random_waits_end_without_a_cycle(void **state) {
    (void)state;
    srand(7);
    for (int round = 0; round < 2000; round++) {
        uint8_t waits[10][10] = {{0}}; /* the node, from 1 */
        for (int edge = rand() % 14; edge >= 0; edge--) {
            int one = 1 + rand() % 9, other = 1 + rand() % 9;
            if (one != other) {
                waits[one][other] = (uint8_t)(1 + rand() % 3);
            }
        }
        bool any = has_cycle((const uint8_t(*)[10])waits);
        int victims = 0;
        for (uint64_t turn = 0; turn < 40; turn++) {
            uint64_t node = 1 + turn % 3;
            char text[400] = "";
            for (int one = 1; one < 10; one++) {
                for (int other = 1; other < 10; other++) {
                    if (waits[one][other] == node) {
                        snprintf(text + strlen(text), 8, "%s%d%d", text[0] != 0 ? " " : "", one,
                                 other);
                    }
                }
            }
            report(node, text, (uint64_t)round * 10000 + 1000 + turn * 50);
            for (uint32_t index = 0; index < told.victim_count; index++) {
                memset(waits[told.victims[index].start], 0, 10);
                victims++;
            }
        }
        assert_false(has_cycle((const uint8_t(*)[10])waits));
        assert_int_equal(victims > 0, any);
        lw_arena_reset(&arena);
    }
}

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    lw_buffer body = lw_buffer_in(memory);
    lw_wait_edge edge = {.waiter = 1, .holder = 2, .key = lw_text("k"), .label = lw_text("l")};
    lw_waits_request sent = {.node = 1, .edges = &edge, .edge_count = 1}, got;
    lw_waits_request_encode(&sent, &body);
    for (size_t size = 0; size < body.size; size++) {
        assert_int_equal(lw_waits_request_decode(lw_view(body.data, size), &arena, &got),
                         LW_INVALID_ARGUMENT);
    }
    edge.waiter = 0;
    lw_buffer_clear(&body);
    lw_waits_request_encode(&sent, &body);
    assert_int_equal(lw_waits_request_decode(lw_buffer_view(&body), &arena, &got),
                     LW_INVALID_ARGUMENT);
    lw_deadlock_step steps[2] = {{.start = 5, .key = lw_text("k"), .label = lw_text("l")},
                                 {.start = 6, .key = lw_text("m"), .label = lw_text("n")}};
    lw_waits_victim victim = {.start = 5,
                              .obstacle = {.kind = LW_OBSTACLE_DEADLOCK,
                                           .key = lw_text("k"),
                                           .start = 6,
                                           .cycle_length = 2,
                                           .step_count = 2,
                                           .steps = steps}};
    lw_waits_reply reply = {.victims = &victim, .victim_count = 1}, read;
    lw_buffer_clear(&body);
    lw_waits_reply_encode(&reply, &body);
    assert_int_equal(lw_waits_reply_decode(lw_buffer_view(&body), &arena, &read), LW_OK);
    for (size_t size = 0; size < body.size; size++) {
        assert_int_equal(lw_waits_reply_decode(lw_view(body.data, size), &arena, &read),
                         LW_INVALID_ARGUMENT);
    }
    lw_buffer_reset(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_cycle_over_two_nodes_is_told_to_who_began_last, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_victim_is_told_when_its_node_reports_next, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_cycle_is_let_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_report_replaces_the_one_before, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_said_long_ago_counts_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cycle_beside_others_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(random_waits_end_without_a_cycle, setup, teardown),
        cmocka_unit_test_setup_teardown(what_makes_no_sense_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
