/* SPDX-License-Identifier: Apache-2.0 */
/* The safepoint and what holds it back, next to a model that keeps a list; and the record of both.
 */
#include "tests/unit.h"

#include "txn/oracle.h"
#include "txn/pins.h"

static lw_memory *memory;
static lw_pins pins;
static lw_buffer record;

static int setup(void **state) {
    (void)state;
    memory = lw_memory_open();
    pins = lw_pins_in(memory);
    record = lw_buffer_in(memory);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_pins_reset(&pins);
    lw_buffer_reset(&record);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
    return 0;
}

static uint64_t at_ms(uint64_t ms) {
    return lw_timestamp_of_ms(ms);
}

static void hold(uint64_t session, uint64_t timestamp, uint64_t until) {
    assert_non_null(lw_pins_hold(&pins, session, timestamp, until, lw_text("reader")));
}

/* ---- moving --------------------------------------------------------------------------------- */

static void the_safepoint_trails_by_the_retention(void **state) {
    (void)state;
    assert_int_equal(lw_pins_reach(&pins, at_ms(500), 600), 0);
    assert_true(lw_pins_reach(&pins, at_ms(10000), 600) == at_ms(9400));
    pins.safepoint = at_ms(9400);
    assert_true(lw_pins_reach(&pins, at_ms(9000), 600) == at_ms(9400)); /* never back */
    assert_true(lw_pins_reach(&pins, at_ms(20000), 60000) == at_ms(9400));
}

static void it_stops_at_the_oldest_pin(void **state) {
    (void)state;
    pins.safepoint = 100;
    hold(1, at_ms(7000) + 5, at_ms(50000));
    hold(2, at_ms(8000), at_ms(50000));
    hold(2, at_ms(30000), at_ms(50000));
    assert_true(lw_pins_oldest(&pins)->timestamp == at_ms(7000) + 5);
    assert_true(lw_pins_reach(&pins, at_ms(20000), 100) == at_ms(7000) + 5);
    assert_true(lw_pins_reach(&pins, at_ms(6000), 100) == at_ms(5900));
    assert_true(lw_pins_drop(&pins, 1, at_ms(7000) + 5, false));
    assert_false(lw_pins_drop(&pins, 1, at_ms(7000) + 5, false));
    assert_true(lw_pins_reach(&pins, at_ms(20000), 100) == at_ms(8000));
    assert_int_equal(lw_pins_end_session(&pins, 2), 2);
    assert_null(lw_pins_oldest(&pins));
    assert_true(lw_pins_reach(&pins, at_ms(20000), 100) == at_ms(19900));
}

static void a_pin_ends_at_its_moment_unless_it_is_lengthened(void **state) {
    (void)state;
    hold(1, 500, 1000);
    hold(1, 500, 900); /* never shortened */
    assert_int_equal(lw_pins_expire(&pins, 999), 0);
    hold(1, 500, 2000);
    assert_int_equal(lw_pins_expire(&pins, 1000), 0);
    assert_int_equal(lw_pins_expire(&pins, 2000), 1);
    assert_null(lw_pins_oldest(&pins));
}

static void a_reader_does_not_let_go_of_what_was_asked_for(void **state) {
    (void)state;
    lw_pins_hold(&pins, 1, 500, 1000, lw_text(""))->asked = true;
    hold(1, 500, 2000); /* it reads there too */
    assert_false(lw_pins_drop(&pins, 1, 500, false));
    assert_non_null(lw_pins_oldest(&pins));
    assert_true(lw_pins_drop(&pins, 1, 500, true));
    assert_null(lw_pins_oldest(&pins));
}

static void there_are_not_too_many_pins(void **state) {
    (void)state;
    for (uint64_t count = 0; count < LW_PIN_COUNT_MAX; count++) {
        hold(count + 1, 500, 1000);
    }
    assert_null(lw_pins_hold(&pins, 7, 501, 1000, lw_text("")));
    assert_non_null(lw_pins_hold(&pins, 7, 500, 3000, lw_text(""))); /* it has this one */
    assert_int_equal(lw_pins_expire(&pins, 1000), LW_PIN_COUNT_MAX - 1);
}

/* Any order of holding, dropping, ending and moving: as in a plain list. */
static void pins_are_what_a_list_of_them_is(void **state) {
    (void)state;
    enum { SESSIONS = 4, TIMES = 40 };
    uint64_t random = 11;
    for (int round = 0; round < 300; round++) {
        uint64_t until[SESSIONS][TIMES] = {{0}}, now = 0, safepoint = 0;
        for (int step = 0; step < 60; step++) {
            uint64_t session = unit_random_below(&random, SESSIONS);
            uint64_t time = unit_random_below(&random, TIMES);
            uint64_t what = unit_random_below(&random, 8);
            if (what < 4 && at_ms(time) >= safepoint) {
                uint64_t end = at_ms(now + 1 + unit_random_below(&random, 20));
                hold(session, at_ms(time), end);
                until[session][time] = end > until[session][time] ? end : until[session][time];
            } else if (what == 4) {
                assert_int_equal(lw_pins_drop(&pins, session, at_ms(time), true),
                                 until[session][time] != 0);
                until[session][time] = 0;
            } else if (what == 5 && time < 10) {
                (void)lw_pins_end_session(&pins, session);
                memset(until[session], 0, sizeof(until[session]));
            } else if (what > 5) {
                now += unit_random_below(&random, 4);
                uint64_t reach = now > 3 ? at_ms(now - 3) : 0;
                (void)lw_pins_expire(&pins, at_ms(now));
                for (int index = 0; index < SESSIONS * TIMES; index++) {
                    uint64_t *one = &until[index / TIMES][index % TIMES];
                    *one = *one <= at_ms(now) ? 0 : *one;
                    reach = *one != 0 && at_ms((uint64_t)index % TIMES) < reach
                                ? at_ms((uint64_t)index % TIMES)
                                : reach;
                }
                reach = reach > safepoint ? reach : safepoint;
                assert_true(lw_pins_reach(&pins, at_ms(now), 3) == reach);
                pins.safepoint = safepoint = reach;
            }
        }
        lw_pins_reset(&pins);
        pins = lw_pins_in(memory);
    }
}

/* ---- the record ----------------------------------------------------------------------------- */

static void the_bytes_of_the_record_never_change(void **state) {
    (void)state;
    static const uint8_t exact[] = {
        1,                              /* format */
        0x34, 0x12, 0,   0, 0, 0, 0, 0, /* safepoint */
        1,                              /* pins */
        1,                              /* asked for */
        7,    0,    0,   0, 0, 0, 0, 0, /* session */
        0,    0x20, 1,   0, 0, 0, 0, 0, /* timestamp */
        0x77, 0x66, 5,   0, 0, 0, 0, 0, /* until */
        2,    'm',  'e',                /* label */
    };
    pins.safepoint = 0x1234;
    lw_pins_hold(&pins, 7, 0x12000, 0x56677, lw_text("me"))->asked = true;
    lw_pins_encode(&pins, &record);
    assert_int_equal(record.size, sizeof(exact));
    assert_memory_equal(record.data, exact, sizeof(exact));
}

static void the_oldest_pins_come_back_and_wait_for_their_sessions(void **state) {
    (void)state;
    pins.safepoint = 100;
    for (uint64_t index = 0; index < LW_PIN_RECORD_COUNT + 20; index++) {
        hold(1 + index % 2, 100 + (index * 35) % (LW_PIN_RECORD_COUNT + 20), 9000);
    }
    lw_pins_encode(&pins, &record);
    lw_pins read = lw_pins_in(memory);
    assert_int_equal(lw_pins_decode(lw_buffer_view(&record), &read), LW_OK);
    assert_int_equal(read.safepoint, 100);
    assert_int_equal(read.leftover_count, LW_PIN_RECORD_COUNT);
    for (const lw_pin *each = read.first; each != NULL; each = each->next) {
        assert_true(each->timestamp < 100 + LW_PIN_RECORD_COUNT && each->until == 9000);
    }
    lw_pins_session_came(&read, 1);
    uint32_t left = read.leftover_count;
    assert_true(left > 0 && left < LW_PIN_RECORD_COUNT);
    assert_int_equal(lw_pins_end_leftovers(&read), left);
    for (const lw_pin *each = read.first; each != NULL; each = each->next) {
        assert_int_equal(each->session, 1);
    }
    assert_int_equal(read.leftover_count, 0);
    lw_pins_reset(&read);
}

static void a_damaged_record_is_corruption(void **state) {
    (void)state;
    uint64_t random = 3;
    pins.safepoint = 100;
    hold(1, 200, 300);
    hold(2, 250, 300);
    lw_pins_encode(&pins, &record);
    for (size_t size = 0; size < record.size; size++) {
        lw_pins read = lw_pins_in(memory);
        assert_int_equal(lw_pins_decode(lw_view(record.data, size), &read), LW_CORRUPTION);
        assert_null(read.first);
    }
    for (int round = 0; round < 20000; round++) {
        lw_pins read = lw_pins_in(memory);
        size_t at = unit_random_below(&random, record.size);
        uint8_t was = record.data[at];
        record.data[at] = (uint8_t)unit_random(&random);
        if (lw_pins_decode(lw_buffer_view(&record), &read) == LW_OK) {
            assert_true(read.first == NULL || lw_pins_oldest(&read)->timestamp >= read.safepoint);
        }
        lw_pins_reset(&read);
        record.data[at] = was;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_safepoint_trails_by_the_retention, setup, teardown),
        cmocka_unit_test_setup_teardown(it_stops_at_the_oldest_pin, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pin_ends_at_its_moment_unless_it_is_lengthened, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_reader_does_not_let_go_of_what_was_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(there_are_not_too_many_pins, setup, teardown),
        cmocka_unit_test_setup_teardown(pins_are_what_a_list_of_them_is, setup, teardown),
        cmocka_unit_test_setup_teardown(the_bytes_of_the_record_never_change, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_pins_come_back_and_wait_for_their_sessions,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_record_is_corruption, setup, teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
